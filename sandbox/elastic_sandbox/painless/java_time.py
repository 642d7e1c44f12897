"""The part of `java.time` that scripts on dates need: moments, zones, days of the week and months.

`doc['@timestamp'].value` is a `ZonedDateTime` in UTC. Names are in English, as `Locale.ROOT` and `Locale.ENGLISH` have
them. Members that are real Java and not here are refused with a 501 when the script reaches them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from elastic_sandbox.painless.errors import ScriptThrow

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                  "November", "December")  # fmt: skip
_UNITS: Final = {"MILLIS": 1, "SECONDS": 1000, "MINUTES": 60_000, "HOURS": 3_600_000}


@dataclass(frozen=True, slots=True)
class Constant:
    """A value of a Java enumeration or a locale: `DayOfWeek.MONDAY`, `TextStyle.FULL`, `Locale.ROOT`."""

    java_class: str
    name: str
    number: int = 0

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Zone:
    """A `ZoneId`."""

    id: str
    info: Any

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True, order=True, slots=True)
class Instant:
    """A moment, in milliseconds since 1970."""

    ms: int

    def __str__(self) -> str:
        return f"{_text(_moment(self.ms))}Z"


@dataclass(frozen=True, slots=True)
class ZonedDateTime:
    """A moment in a zone."""

    ms: int
    zone: Zone

    @property
    def local(self) -> datetime:
        """Year to microsecond as clocks of the zone show them."""
        return _moment(self.ms).astimezone(self.zone.info)

    def __str__(self) -> str:
        local = self.local
        offset = local.utcoffset() or timedelta()
        if not offset:
            shown = "Z"
        else:
            minutes = int(offset.total_seconds()) // 60
            shown = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
        return _text(local) + shown + ("" if self.zone is UTC_ZONE else f"[{self.zone.id}]")


JavaTime = Constant | Zone | Instant | ZonedDateTime
UTC_ZONE: Final = Zone("Z", UTC)
_NAMES: Final = {
    ZonedDateTime: "java.time.ZonedDateTime", Instant: "java.time.Instant", Zone: "java.time.ZoneId"
}  # fmt: skip


def class_of(value: JavaTime) -> str:
    """The Java class of a value."""
    return value.java_class if isinstance(value, Constant) else _NAMES[type(value)]


def _moment(ms: int) -> datetime:
    try:
        return _EPOCH + ms * _MILLISECOND
    except OverflowError:
        raise ScriptThrow("date_time_exception", f"the sandbox knows no date [{ms}] ms from 1970") from None


def _text(moment: datetime) -> str:
    """As `LocalDateTime.toString` prints it: seconds only where they are not zero, then milliseconds alike."""
    text = f"{moment:%Y-%m-%dT%H:%M}"
    milliseconds = moment.microsecond // 1000
    if moment.second or milliseconds:
        text += f":{moment.second:02d}"
    return text + (f".{milliseconds:03d}" if milliseconds else "")


def _zone(name: str) -> Zone:
    if name in {"Z", "+00:00", "-00:00", "+0", "-0"}:
        return UTC_ZONE
    try:
        if name[:1] in {"+", "-"} and len(name) == 6:
            return Zone(name, datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo)
        return Zone(name, ZoneInfo(name))
    except (KeyError, ValueError, OSError):  # a ZoneInfoNotFoundError is a KeyError
        raise ScriptThrow("zone_rules_exception", f"Unknown time-zone ID: {name}") from None


def _moved(value: Any, ms: int) -> Any:
    return Instant(value.ms + ms) if isinstance(value, Instant) else ZonedDateTime(value.ms + ms, value.zone)


def _moved_days(value: Any, days: int) -> Any:
    if isinstance(value, Instant):
        return _moved(value, days * 86_400_000)
    # A day of a zone may have 23 or 25 hours: the clock shows the same time of day.
    local = value.local.replace(tzinfo=None) + timedelta(days=days)
    return ZonedDateTime((local.replace(tzinfo=value.zone.info) - _EPOCH) // _MILLISECOND, value.zone)


def _plus(sign: int) -> Callable[..., Any]:
    def move(value: Any, amount: int, unit: Constant) -> Any:
        if unit.name == "WEEKS" and isinstance(value, Instant):
            raise ScriptThrow("unsupported_temporal_type_exception", "Unsupported unit: Weeks")
        if unit.name in {"DAYS", "WEEKS"}:
            return _moved_days(value, sign * amount * (7 if unit.name == "WEEKS" else 1))
        return _moved(value, sign * amount * _UNITS[unit.name])

    return move


def _display(names: tuple[str, ...]) -> Callable[..., str]:
    def display(value: Constant, style: Constant, _locale: Constant) -> str:
        full = names[value.number - 1]
        return {"FULL": full, "SHORT": full[:3], "NARROW": full[0]}[style.name]

    return display


def _day(value: ZonedDateTime) -> Constant:
    number = value.local.isoweekday()
    return Constant("java.time.DayOfWeek", _DAYS[number - 1].upper(), number)


def _month(value: ZonedDateTime) -> Constant:
    number = value.local.month
    return Constant("java.time.Month", _MONTHS[number - 1].upper(), number)


def _named(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    return {"equals": lambda one, other: one == other, "getDisplayName": _display(names),
            "getValue": lambda one: one.number, "toString": str}  # fmt: skip


_MOVES: Final[dict[str, Callable[..., Any]]] = {
    "plus": _plus(1), "minus": _plus(-1),
    "plusDays": _moved_days, "minusDays": lambda value, n: _moved_days(value, -n),
    "plusWeeks": lambda value, n: _moved_days(value, 7 * n), "minusWeeks": lambda value, n: _moved_days(value, -7 * n),
    **{f"{word}{unit.capitalize()}": (lambda value, n, by=sign * ms: _moved(value, n * by))
       for word, sign in (("plus", 1), ("minus", -1)) for unit, ms in _UNITS.items()},
    "isAfter": lambda value, other: value.ms > other.ms,
    "isBefore": lambda value, other: value.ms < other.ms,
    "compareTo": lambda value, other: (value.ms > other.ms) - (value.ms < other.ms),
    "equals": lambda value, other: value == other,
    "toEpochMilli": lambda value: value.ms,
    "toString": str,
}  # fmt: skip
MOMENT: Final[dict[str, Callable[..., Any]]] = {
    **{name: method for name, method in _MOVES.items() if not name.endswith("Millis")},
    "getDayOfMonth": lambda value: value.local.day,
    "getDayOfWeek": _day,
    "getDayOfWeekEnum": _day,
    "getDayOfYear": lambda value: value.local.timetuple().tm_yday,
    "getHour": lambda value: value.local.hour,
    "getMinute": lambda value: value.local.minute,
    "getMonth": _month,
    "getMonthValue": lambda value: value.local.month,
    "getNano": lambda value: value.ms % 1000 * 1_000_000,
    "getSecond": lambda value: value.local.second,
    "getYear": lambda value: value.local.year,
    "isEqual": lambda value, other: value.ms == other.ms,
    "toEpochSecond": lambda value: value.ms // 1000,
    "toInstant": lambda value: Instant(value.ms),
    "withZoneSameInstant": lambda value, zone: ZonedDateTime(value.ms, zone),
}
_INSTANT: Final[dict[str, Callable[..., Any]]] = {
    **{name: method for name, method in _MOVES.items()
       if not name.endswith(("Days", "Weeks", "Hours", "Minutes"))},
    "atZone": lambda value, zone: ZonedDateTime(value.ms, zone),
    "getEpochSecond": lambda value: value.ms // 1000,
    "getNano": lambda value: value.ms % 1000 * 1_000_000,
}  # fmt: skip
_TABLES: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "java.time.ZonedDateTime": MOMENT,
    "java.time.Instant": _INSTANT,
    "java.time.ZoneId": {"getId": str, "toString": str},
    "java.time.DayOfWeek": _named(_DAYS),
    "java.time.Month": _named(_MONTHS),
}
KNOWN: Final = frozenset().union(*_TABLES.values())


def methods_of(value: JavaTime) -> dict[str, Callable[..., Any]]:
    """The methods of a value."""
    return _TABLES.get(class_of(value), {})


STATIC: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("Instant", "ofEpochMilli"): Instant,
    ("Instant", "ofEpochSecond"): lambda seconds: Instant(1000 * seconds),
    ("ZoneId", "of"): lambda name: _zone("" + name),
    ("ZonedDateTime", "ofInstant"): lambda instant, zone: ZonedDateTime(instant.ms, zone),
}
CONSTANTS: Final[dict[tuple[str, str], Any]] = {
    **{("TextStyle", name): Constant("java.time.format.TextStyle", name) for name in ("FULL", "SHORT", "NARROW")},
    **{("Locale", name): Constant("java.util.Locale", name) for name in ("ROOT", "ENGLISH", "US")},
    **{("ChronoUnit", name): Constant("java.time.temporal.ChronoUnit", name) for name in (*_UNITS, "DAYS", "WEEKS")},
    **{("DayOfWeek", name.upper()): Constant("java.time.DayOfWeek", name.upper(), number)
       for number, name in enumerate(_DAYS, 1)},
    **{("Month", name.upper()): Constant("java.time.Month", name.upper(), number)
       for number, name in enumerate(_MONTHS, 1)},
    ("ZoneOffset", "UTC"): UTC_ZONE,
}  # fmt: skip
