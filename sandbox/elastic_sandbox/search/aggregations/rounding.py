"""Rounding dates to buckets: fixed and calendar intervals, in any time zone."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo

from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.indices.dates import to_ms
from elastic_sandbox.search.dates import floor, moment, plus, zone_of

_CALENDAR = {
    "second": "s", "1s": "s", "minute": "m", "1m": "m", "hour": "h", "1h": "h", "day": "d", "1d": "d",
    "week": "w", "1w": "w", "month": "M", "1M": "M", "quarter": "q", "1q": "q", "year": "y", "1y": "y",
}  # fmt: skip
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FIXED = re.compile(r"(-?\d+)(ms|s|m|h|d)")
QUARTER_HOUR_MS = 900_000
"""Every time zone's offset, and every moment it changes at, is a multiple of this."""


@dataclass(frozen=True)
class Rounding:
    """How instants become keys; ``fixed_ms`` for fixed intervals, ``unit`` for calendar ones."""

    fixed_ms: int | None
    unit: str | None
    zone: tzinfo
    offset_ms: int = 0

    @property
    def arithmetic(self) -> str | None:
        """SQL of the key of ``{}``, or None when only a calendar can tell."""
        step, shift = self.fixed_ms, self.offset_ms
        if self.zone is not UTC and self._constant_offset() is None:
            # A step that divides a quarter of an hour falls on the same instants in every zone.
            if step is None or QUARTER_HOUR_MS % step:
                return None
        elif (constant := self._constant_offset() or 0) and (step is None or QUARTER_HOUR_MS % step):
            shift -= constant
        if step is None:
            if self.unit not in {"s", "m", "h", "d", "w"}:
                return None
            step = 7 * _UNIT_MS["d"] if self.unit == "w" else _UNIT_MS[self.unit]
            if self.unit == "w":
                shift += 4 * _UNIT_MS["d"]  # 1970-01-05 was a Monday
        return f"({{}} - (((({{}} - {shift}) % {step}) + {step}) % {step}))"

    def _constant_offset(self) -> int | None:
        """Milliseconds ahead of UTC when that never changes."""
        if self.zone is UTC:
            return 0
        offset = self.zone.utcoffset(None)
        return None if offset is None else int(offset / timedelta(milliseconds=1))

    def key(self, ms: int) -> int:
        """The key of an instant."""
        shifted = ms - self.offset_ms
        if self.fixed_ms is not None:
            local = moment(shifted, self.zone)
            ahead = int((local.utcoffset() or timedelta()) / timedelta(milliseconds=1))
            wall = shifted + ahead
            start = wall - wall % self.fixed_ms
            naive = moment(start).replace(tzinfo=None)
            return to_ms(naive.replace(tzinfo=self.zone)) + self.offset_ms
        assert self.unit is not None
        return to_ms(floor(moment(shifted, self.zone), self.unit)) + self.offset_ms

    def next(self, key: int) -> int:
        """The key of the bucket after that of ``key``."""
        start = moment(key - self.offset_ms, self.zone)
        if self.fixed_ms is not None:
            following = self.key(key + self.fixed_ms)
            return following if following > key else key + self.fixed_ms
        assert self.unit is not None
        return to_ms(plus(start, 1, self.unit)) + self.offset_ms


def rounding_of(body: dict[str, object], name: str) -> Rounding:
    """The rounding of a date_histogram body.

    :raises ElasticError: 400 for an interval that is none
    """
    zone = zone_of(str(body.get("time_zone", "UTC")))
    offset = _signed_ms(str(body["offset"])) if body.get("offset") else 0
    if "interval" in body:
        raise unsupported("[interval] of a date_histogram (removed in 8.0: use fixed_interval or calendar_interval)")
    calendar, fixed = body.get("calendar_interval"), body.get("fixed_interval")
    if (calendar is None) == (fixed is None):
        raise illegal_argument(
            "Invalid interval specified, must be non-null and non-empty"
            if calendar is None
            else "Cannot use [fixed_interval] with [calendar_interval] configuration option."
        )
    if calendar is not None:
        unit = _CALENDAR.get(str(calendar))
        if unit is None:
            raise illegal_argument(f"The supplied interval [{calendar}] could not be parsed as a calendar interval.")
        return Rounding(None, unit, zone, offset)
    step = _signed_ms(str(fixed))
    if step <= 0:
        raise illegal_argument("Zero or negative time interval not supported")
    return Rounding(step, None, zone, offset)


def _signed_ms(text: str) -> int:
    match = _FIXED.fullmatch(text.removeprefix("+"))
    if match is None:
        raise illegal_argument(
            f"failed to parse setting [date_histogram.fixedInterval] with value [{text}] as a time value: unit is "
            "missing or "
            "unrecognized"
        )
    return int(match[1]) * _UNIT_MS[match[2]]


def number_key(interval: float, offset: float) -> str:
    """SQL of the key of ``{}`` in a histogram of numbers."""
    return f"(floor((({{}})::DOUBLE - {offset!r}) / {interval!r}) * {interval!r} + {offset!r})"


def number_steps(low: float, high: float, interval: float, offset: float) -> list[float]:
    """Keys from ``low`` to ``high``, by counting rather than by adding, so that they do not drift."""
    first = math.floor((low - offset) / interval + 0.5)
    last = math.floor((high - offset) / interval + 0.5)
    return [step * interval + offset for step in range(first, last + 1)]
