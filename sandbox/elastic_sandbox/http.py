"""Requests, routes and answers, independent of the web server that carries them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Response = tuple[int, Any] | Any
Handler = Callable[["Backend", "Request"], Response]

COMMON_PARAMETERS = frozenset({"pretty", "human", "error_trace", "filter_path", "format"})

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(nanos|micros|ms|s|m|h|d)", re.IGNORECASE)
_UNIT_SECONDS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_seconds(text: str, setting: str) -> float:
    """Seconds of a time value such as ``30d`` or ``500ms``; ``setting`` names it in the error."""
    if text in {"0", "-1"}:
        return float(text)
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise illegal_argument(
            f"failed to parse setting [{setting}] with value [{text}] as a time value: unit is missing or unrecognized"
        )
    return float(match[1]) * _UNIT_SECONDS[match[2].lower()]


@dataclass
class Request:
    """One HTTP request, its body already unzipped."""

    method: str
    path: str
    path_params: dict[str, str]
    params: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    opaque_id: str | None = None
    response_headers: dict[str, str] = field(default_factory=dict)

    def json(self, default: Any = None) -> Any:
        """The parsed body, or ``default`` when there is none.

        :raises ElasticError: 400 x_content_parse_exception for a body that is not JSON.
        """
        if not self.body.strip():
            return default
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise x_content_parse(f"[{error.lineno}:{error.colno}] {error.msg}") from None

    def object(self, *, required: bool = True) -> dict[str, Any]:
        """The body as a JSON object; an absent one is an error, or ``{}`` when not required."""
        body = self.json()
        if body is None:
            if required:
                raise ElasticError(400, "parse_exception", "request body is required")
            return {}
        if not isinstance(body, dict):
            token = "START_ARRAY" if isinstance(body, list) else "VALUE_STRING"
            raise x_content_parse(f"[1:1] Expected START_OBJECT but was: {token}")
        return body

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter; a bare ``?refresh`` is true."""
        value = self.params.get(name)
        if value is None:
            return default
        if value in {"", "true"}:
            return True
        if value == "false":
            return False
        raise illegal_argument(f"Failed to parse value [{value}] as only [true] or [false] are allowed.")

    def integer(self, name: str, default: int) -> int:
        """An integer parameter."""
        value = self.params.get(name)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise illegal_argument(
                f"Failed to parse int parameter [{name}] with value [{value}]",
                caused_by={"type": "number_format_exception", "reason": f'For input string: "{value}"'},
            ) from None

    def duration_seconds(self, name: str, default: float) -> float:
        """A time parameter such as ``30s``, in seconds."""
        value = self.params.get(name)
        return default if value is None else duration_seconds(value, name)

    def warn(self, text: str, version: str) -> None:
        """Add a warning to the answer's ``Warning`` header, in Elasticsearch's form."""
        known = self.response_headers.get("warning")
        warning = f'299 Elasticsearch-{version}-{"0" * 40} "{text}"'
        self.response_headers["warning"] = warning if known is None else f"{known}, {warning}"

    def allow(self, *names: str) -> None:
        """Refuse every parameter that is neither named here nor common to all APIs, as the server does."""
        unknown = sorted(set(self.params) - COMMON_PARAMETERS - set(names))
        if unknown:
            plural = "s" if len(unknown) > 1 else ""
            listed = ", ".join(f"[{name}]" for name in unknown)
            raise illegal_argument(f"request [{self.path}] contains unrecognized parameter{plural}: {listed}")

    def unsupported_parameters(self, *names: str) -> None:
        """501 for parameters the server knows and the sandbox does not."""
        for name in names:
            if name in self.params:
                raise unsupported(f"parameter [{name}] of {self.method} {self.path}")


class Router:
    """Routes of one API family; the server joins those of all families.

    Literal segments win over placeholders, from left to right, as in Elasticsearch's path trie. A placeholder in
    first place never takes a segment that starts with ``_`` (no index is named so), except ``_all``.
    """

    def __init__(self) -> None:
        self._root = _Node()
        self.entries: list[tuple[str, str, Handler]] = []
        """Every (method, path, handler), in the order of registration."""

    def route(self, methods: str, path: str) -> Callable[[Handler], Handler]:
        """Register a handler for ``"GET|POST"`` on ``"/{index}/_search"``."""

        def register(handler: Handler) -> Handler:
            for method in methods.split("|"):
                self._add(method, path, handler)
            return handler

        return register

    def include(self, other: Router) -> None:
        """Take over all routes of another family; the same method and path twice is a programming error."""
        for method, path, handler in other.entries:
            self._add(method, path, handler)

    def _add(self, method: str, path: str, handler: Handler) -> None:
        node = self._root
        names = []
        for segment in _segments(path):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node = node.children.setdefault(_PLACEHOLDER, _Node())
            else:
                node = node.children.setdefault(segment, _Node())
        if method in node.handlers:
            raise RuntimeError(f"route {method} {path} is registered twice")
        node.handlers[method] = (handler, names)
        self.entries.append((method, path, handler))

    def match(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | set[str] | None:
        """The handler and its path parameters; the allowed methods when only the method is wrong; else None.

        ``path`` still holds its percent-encoding, so that an encoded slash stays inside its segment.
        """
        allowed: set[str] = set()
        for node, values in self._walk(self._root, _segments(path), []):
            if method in node.handlers:
                handler, names = node.handlers[method]
                return handler, dict(zip(names, values, strict=True))
            allowed |= set(node.handlers)
        return allowed or None

    def _walk(self, node: _Node, segments: list[str], values: list[str]) -> list[tuple[_Node, list[str]]]:
        if not segments:
            return [(node, values)] if node.handlers else []
        segment, rest = segments[0], segments[1:]
        found = []
        literal = node.children.get(segment)
        if literal is not None:
            found += self._walk(literal, rest, values)
        placeholder = node.children.get(_PLACEHOLDER)
        if placeholder is not None and (node is not self._root or not segment.startswith("_") or segment == "_all"):
            found += self._walk(placeholder, rest, [*values, segment])
        return found


_PLACEHOLDER = "{}"


class _Node:
    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.handlers: dict[str, tuple[Handler, list[str]]] = {}


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]
