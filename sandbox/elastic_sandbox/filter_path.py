"""``filter_path``: which parts of an answer are sent (include, and exclude with a leading ``-``)."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.indices.names import matches

Patterns = list[list[str]]


def apply(body: Any, expression: str) -> Any:
    """Keep what an include names (everything when there is none), then drop what an exclude names."""
    pieces = [piece for piece in expression.split(",") if piece]
    includes = [piece.split(".") for piece in pieces if not piece.startswith("-")]
    excludes = [piece[1:].split(".") for piece in pieces if piece.startswith("-")]
    if includes:
        kept = _include(body, includes)
        body = {} if kept is _NOTHING else kept
    if excludes:
        body = _exclude(body, excludes)
    return body


_NOTHING = object()


def _rest(patterns: Patterns, key: str) -> Patterns:
    """What remains of each pattern after stepping into ``key``; an empty rest is a hit."""
    rest: Patterns = []
    for pattern in patterns:
        if pattern[0] == "**":
            rest.append(pattern)
            if len(pattern) > 1 and matches(pattern[1], key):
                rest.append(pattern[2:])
        elif matches(pattern[0], key):
            rest.append(pattern[1:])
    return rest


def _include(value: Any, patterns: Patterns) -> Any:
    if isinstance(value, list):
        kept = [item for item in (_include(item, patterns) for item in value) if item is not _NOTHING]
        return kept or _NOTHING
    if not isinstance(value, dict):
        return value if any(pattern == ["**"] for pattern in patterns) else _NOTHING
    kept_members = {}
    for key, inner in value.items():
        rest = _rest(patterns, key)
        if any(not pattern or pattern == ["**"] for pattern in rest):
            kept_members[key] = inner
        elif rest:
            found = _include(inner, rest)
            if found is not _NOTHING:
                kept_members[key] = found
    return kept_members or _NOTHING


def _exclude(value: Any, patterns: Patterns) -> Any:
    if isinstance(value, list):
        return [_exclude(item, patterns) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        rest = _rest(patterns, key)
        if any(not pattern for pattern in rest):
            continue
        kept[key] = _exclude(inner, rest) if rest else inner
    return kept
