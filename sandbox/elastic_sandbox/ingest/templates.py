"""Mustache in processor options: `{{field}}`, `{{{field}}}`, and constants without any.

Elasticsearch renders ingest templates as JSON text: two braces escape quotes and control characters, three do not.
Sections and partials are refused with a 501.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ingest.document import METADATA, IngestDocument
from elastic_sandbox.painless.values import to_string

_TAG: Final = re.compile(r"\{\{\{\s*(?P<raw>[^{}]+?)\s*\}\}\}|\{\{(?P<sigil>[#^/&>!=]?)\s*(?P<name>[^{}]*?)\s*\}\}")


def _raw(path: str) -> Callable[[IngestDocument], str]:
    """The text under a dotted path: of metadata, `_ingest`, `_source` or source; empty when absent."""
    head, _, rest = path.partition(".")
    keys = rest.split(".") if rest else []
    in_metadata = head in METADATA

    def render(document: IngestDocument) -> str:
        value: Any
        if head == "_ingest":
            value = document.ingest
        elif head == "_source":
            value = document.source
        else:
            value = (document.metadata if in_metadata else document.source).get(head)
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                return ""
        return value if type(value) is str else "" if value is None else to_string(value)

    return render


def _escaped(path: str) -> Callable[[IngestDocument], str]:
    raw = _raw(path)
    return lambda document: orjson.dumps(raw(document)).decode()[1:-1]


class Template:
    """A compiled template; call it with a document to get its text.

    `constant` is the text itself when there is nothing to fill in, else None.
    """

    __slots__ = ("_escape", "_only", "_parts", "constant", "source")

    def __init__(self, source: str, *, escape: bool = True) -> None:
        self.source = source
        self._escape = escape
        self.constant: str | None = source if "{{" not in source else None
        self._parts: list[str | Callable[[IngestDocument], str]] = []
        self._only: Callable[[IngestDocument], str] | None = None
        if self.constant is None:
            self._compile()

    def _compile(self) -> None:
        end = 0
        for tag in _TAG.finditer(self.source):
            if tag.start() > end:
                self._parts.append(self.source[end : tag.start()])
            end = tag.end()
            sigil, name = tag["sigil"], tag["raw"] or tag["name"]
            if sigil == "!":
                continue
            if sigil not in {None, "", "&"}:
                raise unsupported(f"mustache tag [{tag[0]}] in an ingest template")
            self._parts.append(_escaped(name) if self._escape and not tag["raw"] and sigil != "&" else _raw(name))
        if end < len(self.source):
            self._parts.append(self.source[end:])
        if len(self._parts) == 1 and not isinstance(self._parts[0], str):
            self._only = self._parts[0]

    def __call__(self, document: IngestDocument) -> str:
        """The text for a document."""
        if self.constant is not None:
            return self.constant
        if self._only is not None:
            return self._only(document)
        return "".join([part if isinstance(part, str) else part(document) for part in self._parts])


class ValueSource:
    """A JSON value whose strings are templates; every call answers a fresh copy, so documents never share one."""

    __slots__ = ("_build", "source")

    def __init__(self, value: Any, *, escape: bool = True) -> None:
        self.source = value
        self._build = _value_builder(value, escape)

    def __call__(self, document: IngestDocument) -> Any:
        """The value for a document."""
        return self._build(document)


def _value_builder(value: Any, escape: bool) -> Callable[[IngestDocument], Any]:
    if isinstance(value, str):
        template = Template(value, escape=escape)
        return template if template.constant is None else lambda document: value
    if isinstance(value, list):
        items = [_value_builder(item, escape) for item in value]
        return lambda document: [item(document) for item in items]
    if isinstance(value, dict):
        entries = [(_value_builder(key, escape), _value_builder(item, escape)) for key, item in value.items()]
        return lambda document: {key(document): item(document) for key, item in entries}
    return lambda document: value
