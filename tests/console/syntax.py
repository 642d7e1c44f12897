"""Console's syntax, read as Kibana's Console reads it: comments, `METHOD path`, JSON with triple quotes, NDJSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LINE = re.compile(r"(GET|PUT|POST|DELETE|HEAD|PATCH)\s+(\S+)\s*$")
VARIABLE = re.compile(r"\$\{(\w+)\}")
REPEAT = re.compile(r"Repeat it until `([^`]+)` is (\w+)\.")
SET = re.compile(r"[Ss]et Console's variable `(\w+)` to `([^`]+)`")


@dataclass(frozen=True)
class Sent:
    """One request of a script, with the comments above it."""

    line: int
    method: str
    path: str
    body: str
    said: str

    @property
    def ndjson(self) -> bool:
        return self.path.split("?")[0].endswith("_bulk")


def requests(text: str) -> Iterator[Sent]:
    """The requests of a script in order; raises ValueError for what Console would not understand."""
    said: list[str] = []
    head: tuple[int, str, str] | None = None
    body: list[str] = []
    quoted = False

    def finished() -> Iterator[Sent]:
        if head is not None:
            yield Sent(*head, body="\n".join(body).strip(), said=" ".join(spoken))

    spoken: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not quoted and line.startswith("#"):
            said.append(line[1:].strip())
            continue
        found = None if quoted else LINE.match(line)
        if found:
            yield from finished()
            head, body, spoken, said = (number, found[1], found[2]), [], said, []
        elif not quoted and not line.strip():
            if head is None:
                said = []  # a paragraph about the whole script
        elif head is None:
            raise ValueError(f"line {number}: {line!r} belongs to no request")
        else:
            body.append(line)
            quoted ^= line.count('"""') % 2 == 1
    yield from finished()


def parsed(body: str) -> Any:
    """A JSON body with triple-quoted texts."""
    plain = re.sub(r'"""(.*?)"""', lambda found: json.dumps(found[1]), body, flags=re.DOTALL)
    return json.loads(plain)


def run(text: str, send: Callable[[str, str, Any], Any], variables: dict[str, str], *, most: int = 1200) -> int:
    """Send a script's requests one after another, as its comments say; return how many there were.

    :param send: `(method, path, body)` → the answer's body; raises where the server refuses.
    :param variables: Console's, changed by the script.
    """
    count = 0
    for one in requests(text):
        count += 1
        path, body = filled(one.path, variables), filled(one.body, variables)
        content: Any = None
        if body:
            content = [json.loads(line) for line in body.splitlines()] if one.ndjson else parsed(body)
        answer = send(one.method, path, content)
        repeat = REPEAT.search(one.said)
        tries = 0
        while repeat and str(at(answer, repeat[1])) != repeat[2]:
            tries += 1
            if tries > most:
                raise AssertionError(f"line {one.line}: {repeat[1]} is {at(answer, repeat[1])}, not {repeat[2]}")
            answer = send(one.method, path, content)
        if found := SET.search(one.said):
            variables[found[1]] = str(at(answer, found[2]))
    return count


def filled(text: str, variables: dict[str, str]) -> str:
    """Text with Console's variables in it."""
    return VARIABLE.sub(lambda found: variables[found[1]], text)


def at(answer: Any, path: str) -> Any:
    """What stands at a dotted path of an answer."""
    for step in path.split("."):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer
