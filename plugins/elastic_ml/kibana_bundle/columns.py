"""Which columns an ES|QL query answers with, told from its text alone.

Enough of the language to know what STATS, KEEP, EVAL, RENAME, DROP and LOOKUP JOIN leave; whether the query is right
otherwise is for Elasticsearch to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_STRING: Final = re.compile(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"')
_COMMENT: Final = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_ASSIGNED: Final = re.compile(r"^\s*(`[^`]+`|[\w@.?]+)\s*=(?!=)")


@dataclass
class Answer:
    """Columns of a query's answer.

    :param columns: those that are known, in order.
    :param open: there are others, which its text does not name: fields of an index.
    """

    columns: list[str] = field(default_factory=list)
    open: bool = False

    def add(self, name: str) -> None:
        """A new column; one of that name loses its place."""
        self.columns = [column for column in self.columns if column != name] + [name]


def commands(esql: str) -> list[tuple[str, str]]:
    """The commands of a query: name in capitals, and what follows it; texts are blanked, comments removed."""
    plain = _COMMENT.sub(" ", _STRING.sub(lambda found: '"' + "_" * (len(found[0]) - 2) + '"', esql))
    found = []
    for part in split(plain, "|"):
        words = re.match(r"\s*(LOOKUP\s+JOIN|[A-Za-z_]+)\b(.*)", part, re.IGNORECASE | re.DOTALL)
        if words:
            found.append((" ".join(words[1].upper().split()), words[2]))
    return found


def answer_of(esql: str) -> Answer:
    """The columns that a query answers with."""
    answer = Answer()
    for name, rest in commands(esql):
        if name in {"FROM", "TS"}:
            answer = Answer(open=True)
        elif name == "STATS":
            answer = Answer(list(dict.fromkeys(_stats(rest))))
        elif name in {"EVAL", "ROW"}:
            for one in split(rest, ","):
                answer.add(_named(one))
        elif name == "KEEP":
            answer = _kept(answer, [one.strip().strip("`") for one in split(rest, ",")])
        elif name == "DROP":
            dropped = {one.strip().strip("`") for one in split(rest, ",")}
            answer.columns = [column for column in answer.columns if column not in dropped]
        elif name == "RENAME":
            _rename(answer, rest)
        elif name == "LOOKUP JOIN":
            answer.open = True
    return answer


def split(text: str, by: str) -> Iterator[str]:
    """Parts of a text between a character outside of brackets and texts."""
    depth, begin, quoted = 0, 0, False
    for position, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += (letter in "([{") - (letter in ")]}")
            if letter == by and depth == 0:
                yield text[begin:position]
                begin = position + 1
    yield text[begin:]


def _stats(rest: str) -> Iterator[str]:
    made, *by = re.split(r"\bBY\b", rest, maxsplit=1, flags=re.IGNORECASE)
    for group in (made, *by):
        for one in split(group, ","):
            if one.strip():
                yield _named(re.split(r"\bWHERE\b", one, maxsplit=1, flags=re.IGNORECASE)[0])


def _named(expression: str) -> str:
    assigned = _ASSIGNED.match(expression)
    return (assigned[1] if assigned else " ".join(expression.split())).strip("`")


def _kept(answer: Answer, patterns: list[str]) -> Answer:
    kept = Answer()
    for pattern in patterns:
        if "*" not in pattern:
            kept.add(pattern)
            continue
        shape = re.compile(re.escape(pattern).replace(r"\*", ".*"))
        for column in answer.columns:
            if shape.fullmatch(column):
                kept.add(column)
        kept.open = kept.open or answer.open
    return kept


def _rename(answer: Answer, rest: str) -> None:
    for one in split(rest, ","):
        names = re.split(r"\bAS\b", one, maxsplit=1, flags=re.IGNORECASE)
        if len(names) == 2:
            old, new = (name.strip().strip("`") for name in names)
            answer.columns = [new if column == old else column for column in answer.columns]
            if answer.open and new not in answer.columns:
                answer.columns.append(new)
