"""A script in Console's syntax: comments, requests, bodies."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDTH = 118
_SHORT = WIDTH


@dataclass(frozen=True)
class Request:
    """One request.

    :param path: of Elasticsearch, or `kbn:/api/...` of Kibana. `${name}` is a variable of Console.
    :param body: an object; a list of objects is sent as NDJSON, one a line.
    :param why: what it is for; a comment above it.
    :param until: `(path, value)`: the answer has to say so, or the request is sent again.
    :param variable: `(name, path)`: what of the answer the next requests need.
    """

    method: str
    path: str
    body: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    why: str = ""
    until: tuple[str, str] | None = None
    variable: tuple[str, str] | None = None

    def text(self) -> str:
        """The request with its comments."""
        said = [self.why] if self.why else []
        if self.until:
            said.append(f"Repeat it until `{self.until[0]}` is {self.until[1]}.")
        if self.variable:
            name, of_answer = self.variable
            said.append(f"{'Then set' if said else 'Set'} Console's variable `{name}` to `{of_answer}` of the answer.")
        lines = [*comment(" ".join(said))] if said else []
        lines.append(f"{self.method} {self.path}")
        if isinstance(self.body, Mapping):
            lines.append(written(self.body))
        elif self.body is not None:
            lines += [json.dumps(one, ensure_ascii=False) for one in self.body]
        return "\n".join(lines)


@dataclass(frozen=True)
class Script:
    """What a person does instead of one DAG.

    :param dag_id: the DAG.
    :param what: what it comes to.
    :param when: when somebody does so.
    :param look: what to look at afterwards.
    :param differs: what the DAG does that this does not.
    :param order: its place among the others, which is the order in which they can be run on an empty cluster.
    """

    dag_id: str
    order: int
    what: str
    when: str
    look: str
    differs: str
    requests: list[Request] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.order:02d}-{self.dag_id}.console"

    def text(self) -> str:
        """The file."""
        head = [
            *comment(f"{self.dag_id}, by hand. {self.what}"),
            *comment(f"When: {self.when}"),
            *comment(f"Look at: {self.look}"),
            *comment(f"The DAG: {self.differs}"),
        ]
        if not self.requests:
            head += comment("There is nothing to send: this DAG has no counterpart by hand.")
        return "\n\n".join(["\n".join(head), *(request.text() for request in self.requests)]) + "\n"


def comment(text: str) -> list[str]:
    """A paragraph as lines of comment."""
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), WIDTH - 2, break_long_words=False)]


def written(value: Any, depth: int = 0) -> str:
    """A body as a person would write it: what is short on one line, scripts between triple quotes."""
    pad, inner = "  " * depth, "  " * (depth + 1)
    if isinstance(value, str) and "\n" in value and '"""' not in value:
        return f'"""{value}"""'
    if not isinstance(value, Mapping | list) or not value:
        return json.dumps(value, ensure_ascii=False)
    short = json.dumps(value, ensure_ascii=False)
    if depth and len(short) + len(pad) <= _SHORT and "\\n" not in short:
        return short
    if isinstance(value, Mapping):
        items = [f"{inner}{json.dumps(str(name))}: {written(one, depth + 1)}" for name, one in value.items()]
        return "{\n" + ",\n".join(items) + f"\n{pad}}}"
    items = [f"{inner}{written(one, depth + 1)}" for one in value]
    return "[\n" + ",\n".join(items) + f"\n{pad}]"
