"""``_source`` filtering: what of a document a hit shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import parsing

if TYPE_CHECKING:
    from elastic_sandbox.http import Request


@lru_cache(maxsize=1024)
def wildcard_regex(pattern: str) -> re.Pattern[str]:
    """A compiled ``*`` pattern, where ``*`` also crosses dots."""
    return re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.DOTALL)


@dataclass(frozen=True)
class SourceFilter:
    """Which fields of the source are shown."""

    enabled: bool = True
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: Any) -> SourceFilter:
        """From the ``_source`` of a body: a boolean, a pattern, a list of patterns, or includes and excludes.

        :raises ElasticError: 400 parsing_exception
        """
        if isinstance(value, bool):
            return cls(enabled=value)
        if isinstance(value, str):
            return cls(includes=(value,))
        if isinstance(value, list):
            return cls(includes=_patterns(value))
        if isinstance(value, dict):
            sides: dict[str, tuple[str, ...]] = {"includes": (), "excludes": ()}
            for key, patterns in value.items():
                side = {"include": "includes", "exclude": "excludes"}.get(key, key)
                if side not in sides:
                    raise parsing(
                        f"Unknown key for a {'VALUE_STRING' if isinstance(patterns, str) else 'START_ARRAY'} in "
                        f"[{key}]."
                    )
                sides[side] = _patterns(patterns)
            return cls(True, sides["includes"], sides["excludes"])
        raise parsing(
            "Expected one of [VALUE_BOOLEAN, VALUE_STRING, START_ARRAY, START_OBJECT] but found [VALUE_NUMBER]"
        )

    def apply(self, source: dict[str, Any]) -> dict[str, Any]:
        """The part of ``source`` that is shown."""
        if not self.includes and not self.excludes:
            return source
        return self._filter(source, "", not self.includes)

    def _filter(self, source: dict[str, Any], prefix: str, included: bool) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in source.items():
            path = prefix + key
            if any(wildcard_regex(pattern).fullmatch(path) for pattern in self.excludes):
                continue
            inside = included or any(wildcard_regex(pattern).fullmatch(path) for pattern in self.includes)
            if isinstance(value, dict):
                inner = self._filter(value, path + ".", inside)
                if inner or inside:
                    kept[key] = inner
            elif isinstance(value, list):
                items = [
                    self._filter(item, path + ".", inside) if isinstance(item, dict) else item
                    for item in value
                    if isinstance(item, dict) or inside
                ]
                if inside or any(items):
                    kept[key] = items
            elif inside:
                kept[key] = value
        return kept


def _patterns(value: Any) -> tuple[str, ...]:
    patterns = value if isinstance(value, list) else [value]
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise parsing("Unknown key for a VALUE_NUMBER in [_source].")
    return tuple(patterns)


def source_filter_of_request(request: Request) -> SourceFilter:
    """From the URL parameters ``_source``, ``_source_includes``, ``_source_excludes``."""
    value = request.params.get("_source")
    includes = _listed(request.params.get("_source_includes"))
    excludes = _listed(request.params.get("_source_excludes"))
    if value in {"true", "false", ""}:
        return SourceFilter(value != "false", includes, excludes)
    return SourceFilter(True, _listed(value) + includes, excludes)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
