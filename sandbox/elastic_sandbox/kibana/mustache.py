"""Mustache as Kibana renders action parameters with it: variables and sections, nothing escaped.

Source: actions/server/lib/mustache_renderer.ts. Keys with dots become objects, objects render as JSON. What is not
there renders as nothing. Lambdas, partials and other delimiters are not supported.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from elastic_sandbox.kibana.errors import unsupported

_TAG: Final = re.compile(r"\{\{\{\s*([^{}]+?)\s*\}\}\}|\{\{\s*([#^/!>=&]?)\s*([^{}]*?)\s*\}\}")
_LAMBDAS: Final = frozenset({"EvalMath", "ParseHjson", "FormatDate", "FormatNumber"})


def check(params: Any) -> None:
    """Raise 501 for templates that need what is not supported here."""
    for text in _texts(params):
        for tag in _TAG.finditer(text):
            if tag[2] in {">", "="} or (tag[3] or "") in _LAMBDAS or (tag[1] or tag[3] or "").endswith(".asJSON"):
                raise unsupported(f"the mustache tag {tag[0]}")


def render(params: Any, variables: dict[str, Any]) -> Any:
    """A copy of the parameters with every text rendered."""
    return _render(params, _with_objects(json.loads(json.dumps(variables, default=str))))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


def _render(value: Any, variables: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return _text(value, [variables])
    if isinstance(value, dict):
        return {key: _render(inner, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_render(inner, variables) for inner in value]
    return value


def _with_objects(value: Any) -> Any:
    """Keys with dots as objects, beside what was there."""
    if isinstance(value, list):
        return [_with_objects(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {key: _with_objects(inner) for key, inner in value.items()}
    for key, inner in list(made.items()):
        *above, last = key.split(".")
        place = made
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                break
        else:
            if above:
                place[last] = inner
    return made


def _text(template: str, scopes: list[Any]) -> str:
    out, at = [], 0
    while (tag := _TAG.search(template, at)) is not None:
        out.append(template[at : tag.start()])
        at = tag.end()
        kind, name = tag[2] or "", tag[1] or tag[3] or ""
        if kind == "!":
            continue
        if kind in {"#", "^"}:
            inner, at = _section(template, at, name)
            out.append(_sections(inner, _lookup(name, scopes), scopes, negated=kind == "^"))
        elif kind != "/":
            out.append(_shown(_lookup(name, scopes)))
    return "".join([*out, template[at:]])


def _section(template: str, at: int, name: str) -> tuple[str, int]:
    depth, start = 1, at
    while (tag := _TAG.search(template, at)) is not None:
        at = tag.end()
        if tag[3] == name and tag[2] in {"#", "^", "/"}:
            depth += -1 if tag[2] == "/" else 1
        if depth == 0:
            return template[start : tag.start()], at
    return template[start:], len(template)


def _sections(inner: str, value: Any, scopes: list[Any], *, negated: bool) -> str:
    if negated:
        return "" if value else _text(inner, scopes)
    if isinstance(value, list):
        return "".join(_text(inner, [*scopes, one]) for one in value)
    return _text(inner, [*scopes, value]) if value else ""


def _lookup(name: str, scopes: list[Any]) -> Any:
    if name == ".":
        return scopes[-1]
    first, *rest = name.split(".")
    for scope in reversed(scopes):
        value = _member(scope, first)
        if value is not None:
            for part in rest:
                value = _member(value, part)
            return value
    return None


def _member(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and name.isdigit() and int(name) < len(value):
        return value[int(name)]
    return None


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(_shown(one) for one in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) if isinstance(value, dict) else str(value)
