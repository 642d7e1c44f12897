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
_WEEK_MS = 604_800_000
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
        if step is None:
            if self.unit not in {"s", "m", "h", "d", "w"}:
                return None
            step = 7 * _UNIT_MS["d"] if self.unit == "w" else _UNIT_MS[self.unit]
            if self.unit == "w":
                shift += 4 * _UNIT_MS["d"]  # 1970-01-05 was a Monday
        # A step that divides a quarter of an hour falls on the same instants in every zone.
        constant = self._constant_offset()
        if constant is None and QUARTER_HOUR_MS % step:
            return None
        shift -= constant or 0
        return f"({{}} - (((({{}} - {shift}) % {step}) + {step}) % {step}))"

    @property
    def grain_ms(self) -> int:
        """Instants between two multiples of this have the same key."""
        return math.gcd(QUARTER_HOUR_MS, self.fixed_ms or QUARTER_HOUR_MS, self.offset_ms)

    def _constant_offset(self) -> int | None:
        """Milliseconds ahead of UTC when that never changes."""
        if self.zone is UTC:
            return 0
        offset = self.zone.utcoffset(None)
        return None if offset is None else int(offset / timedelta(milliseconds=1))

    # How a zone's changes of offset are crossed is org.elasticsearch.common.Rounding's: TimeIntervalRounding for fixed
    # intervals, TimeUnitRounding for calendar ones, where hours are instants (NotToMidnightRounding), days dates.

    def key(self, ms: int) -> int:
        """The key of an instant."""
        shifted = ms - self.offset_ms
        step = self.fixed_ms or (_UNIT_MS["h"] if self.unit == "h" else None)
        if step is not None:
            return self._stepped(shifted, step) + self.offset_ms
        assert self.unit is not None
        # Of two midnights of one day the first counts; where there is none, the moment the clocks skipped it.
        return to_ms(floor(moment(shifted, self.zone), self.unit).replace(fold=0)) + self.offset_ms

    def _stepped(self, ms: int, step: int) -> int:
        while True:
            ahead = self._ahead(ms)
            wall = ms + ahead
            start = wall - wall % step
            change = self._change(start - ahead, ms)
            if change is None:
                return start - ahead
            if self.fixed_ms is not None and change + self._ahead(change - 1) <= start < change + ahead:
                return change  # the clocks skipped the start of the bucket
            ms = change - 1

    def _ahead(self, ms: int) -> int:
        return int((moment(ms, self.zone).utcoffset() or timedelta()) / timedelta(milliseconds=1))

    def _change(self, after: int, until: int) -> int | None:
        """The last instant in ``(after, until]`` at which another offset began."""
        ahead, later = self._ahead(until), until
        while later > after:
            earlier = max(after, later - _WEEK_MS)
            if self._ahead(earlier) != ahead:
                while later - earlier > 1:
                    middle = (earlier + later) // 2
                    earlier, later = (middle, later) if self._ahead(middle) != ahead else (earlier, middle)
                return later
            later = earlier
        return None

    def next(self, key: int) -> int:
        """The key of the bucket after that of ``key``."""
        step = self.fixed_ms or (_UNIT_MS["h"] if self.unit == "h" else None)
        if step is None:
            assert self.unit is not None
            start = floor(moment(key - self.offset_ms, self.zone), self.unit).replace(fold=0)
            return to_ms(plus(start, 1, self.unit)) + self.offset_ms
        later = key + step
        while (following := self.key(later)) <= key:
            later += step
        while (between := self.key(following - 1)) > key:
            following = between
        return following


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
