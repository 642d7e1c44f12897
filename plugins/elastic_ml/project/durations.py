"""Durations as people write them in YAML: `14d`, `24h`, `90m`, `30s`.

Elasticsearch's own unit letters, whole numbers only, so that a value means the same in a body and in a file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WRITTEN = re.compile(r"^([1-9][0-9]*)([dhms])$")


def parse_duration(written: str) -> timedelta:
    """Read `14d`, `24h`, `90m` or `30s`; raises ValueError naming the accepted form."""
    found = _WRITTEN.fullmatch(written)
    if not found:
        raise ValueError(f"{written!r} is no duration: write a whole number and d, h, m or s, as in 14d or 90m")
    try:
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except (OverflowError, ValueError):  # int() refuses more than 4,300 digits
        raise ValueError(f"{written[:20]!r} is too long a duration: write less than 999999999d") from None


def print_duration(duration: timedelta) -> str:
    """Write a duration of whole seconds in its largest exact unit: 14 days become `14d`, 90 minutes `90m`."""
    seconds = int(duration.total_seconds())
    for unit, size in _SECONDS.items():
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    raise AssertionError("one second divides every whole number of seconds")


def _accept(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_accept),
    PlainSerializer(print_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _WRITTEN.pattern, "examples": ["14d", "24h", "90m"]}),
]
