"""Java's `DateTimeFormatter` patterns over `datetime`, as the `date` processor reads and writes them.

Weeks start on Monday, text is English: the formats of Elasticsearch are built for its root locale, and the `locale`
option of the `date` processor changes parsing only. Precision is microseconds (Java has nanoseconds).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from elastic_sandbox.errors import unsupported

Printer = Callable[[datetime], str]
Parts = dict[str, str]

MONTHS: Final = [
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
]
DAYS: Final = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_TOKEN: Final = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|\[|\]|[^A-Za-z'\[\]]+")
NAMED: Final = {
    "strict_date_optional_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "date_optional_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "iso8601": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "strict_date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "strict_date_time_no_millis": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "date_time_no_millis": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "strict_date": "yyyy-MM-dd",
    "date": "yyyy-MM-dd",
    "basic_date": "yyyyMMdd",
    "strict_hour": "HH",
    "hour": "HH",
    "strict_year": "yyyy",
    "year": "yyyy",
    "strict_year_month": "yyyy-MM",
    "year_month": "yyyy-MM",
}


@lru_cache(maxsize=512)
def zone_of(text: str) -> tzinfo:
    """`ZoneId.of`: `Z`, `UTC`, `+02:00`, `UTC+1`, `Europe/Berlin`; ValueError in Java's words otherwise."""
    if text in {"Z", "UTC", "GMT", "UT"}:
        return UTC
    offset = re.fullmatch(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?(?::?(\d{2}))?", text)
    if offset is not None:
        hours, minutes, seconds = (int(offset[group] or 0) for group in (2, 3, 4))
        if hours > 18 or minutes > 59 or seconds > 59:
            raise ValueError(
                f"Zone offset hours not in valid range: value {offset[1]}{hours} is not in the range -18 to 18"
            )
        delta = timedelta(hours=hours, minutes=minutes, seconds=seconds)
        return timezone(-delta if offset[1] == "-" else delta)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9~/._+-]+", text) is None:
        raise ValueError(f"Invalid ID for ZoneId, invalid format: {text}")
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"Unknown time-zone ID: {text}") from None


def _tokens(pattern: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    end = 0
    for match in _TOKEN.finditer(pattern):
        if match.start() != end:
            break
        end = match.end()
        text = match[0]
        if text.startswith("'"):
            pieces.append(("text", (match[1] or "'").replace("''", "'")))
        elif text in "[]":
            pieces.append((text, text))
        else:
            pieces.append(("field" if text[0].isalpha() else "text", text))
    if end != len(pattern):
        raise ValueError(f"Pattern ends with an incomplete string literal: {pattern}")
    return pieces


def _number(width: int, read: Callable[[datetime], int]) -> Printer:
    return lambda moment: f"{read(moment):0{width}d}"


def _offset(letters: str) -> Printer:
    zulu = letters[0] == "X" or letters == "ZZZZZ"
    separator = ":" if letters in {"XXX", "XXXXX", "xxx", "xxxxx", "ZZZZZ"} else ""
    short = letters in {"X", "x"}

    def offset(moment: datetime) -> str:
        seconds = int((moment.utcoffset() or timedelta(0)).total_seconds())
        if seconds == 0 and zulu:
            return "Z"
        sign = "-" if seconds < 0 else "+"
        hours, minutes = divmod(abs(seconds) // 60, 60)
        if short and minutes == 0:
            return f"{sign}{hours:02d}"
        return f"{sign}{hours:02d}{separator}{minutes:02d}"

    return offset


def _zone_id(moment: datetime) -> str:
    key = getattr(moment.tzinfo, "key", None)
    if key is not None:
        return str(key)
    return "Z" if moment.tzinfo is UTC else _offset("XXX")(moment)


def _field_printer(letters: str) -> Printer:
    letter, width = letters[0], len(letters)
    numbers: dict[str, Callable[[datetime], int]] = {
        "d": lambda moment: moment.day,
        "D": lambda moment: moment.timetuple().tm_yday,
        "H": lambda moment: moment.hour,
        "h": lambda moment: moment.hour % 12 or 12,
        "k": lambda moment: moment.hour or 24,
        "K": lambda moment: moment.hour % 12,
        "m": lambda moment: moment.minute,
        "s": lambda moment: moment.second,
        "w": lambda moment: moment.isocalendar().week,
        "Y": lambda moment: moment.isocalendar().year,
    }
    if letter in numbers and width <= {"D": 3, "Y": 4}.get(letter, 2):
        return _number(width, numbers[letter])
    if letter in "yu":
        return (
            _number(2, lambda moment: moment.year % 100) if width == 2 else _number(width, lambda moment: moment.year)
        )
    if letter == "S":
        return lambda moment: f"{moment.microsecond:06d}000"[:width]
    if letter in "ML":
        return {
            1: _number(1, lambda moment: moment.month),
            2: _number(2, lambda moment: moment.month),
            3: lambda moment: MONTHS[moment.month - 1][:3],
            4: lambda moment: MONTHS[moment.month - 1],
        }[width]
    if letter == "E" or (letter in "ec" and width >= 3):
        return (lambda moment: DAYS[moment.weekday()]) if width == 4 else (lambda moment: DAYS[moment.weekday()][:3])
    if letter in "ec":
        return _number(width, lambda moment: moment.isoweekday())
    if letters == "a":
        return lambda moment: "AM" if moment.hour < 12 else "PM"
    if letters == "VV":
        return _zone_id
    if letter in "XxZ":
        return _offset(letters)
    raise KeyError(letters)


@lru_cache(maxsize=512)
def printer(pattern: str) -> Printer:
    """A function from an aware datetime to its text; ValueError for no pattern, 501 for letters missing here."""
    first = pattern.split("||", maxsplit=1)[0]
    if first == "epoch_millis":
        return lambda moment: str(int(moment.timestamp() * 1000))
    if first == "epoch_second":
        return lambda moment: str(int(moment.timestamp()))
    parts: list[str | Printer] = []
    for kind, text in _tokens(NAMED.get(first, first)):
        if kind == "field":
            try:
                parts.append(_field_printer(text))
            except KeyError:
                raise _unknown_letters(text, pattern) from None
        elif kind == "text":
            parts.append(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    if first == "yyyy-MM-dd":
        return lambda moment: moment.date().isoformat()
    return lambda moment: "".join([part if isinstance(part, str) else part(moment) for part in parts])


def _unknown_letters(letters: str, pattern: str) -> Exception:
    if letters[0] in "GyuYDMLdQqwWEecFahKkHmsSAnNvVzOXxZpB":
        return unsupported(f"date pattern letters [{letters}] of [{pattern}]")
    return ValueError(f"Invalid format: [{pattern}]: Unknown pattern letter: {letters[0]}")


_READERS: Final = {
    "yyyy": r"(?P<year>\d{4})", "uuuu": r"(?P<year>\d{4})", "y": r"(?P<year>\d{4})", "yy": r"(?P<year2>\d{2})",
    "MMMM": r"(?P<month_name>[A-Za-z]+)", "MMM": r"(?P<month_name>[A-Za-z]{3})",
    "MM": r"(?P<month>\d{2})", "M": r"(?P<month>\d{1,2})",
    "dd": r"(?P<day>\d{2})", "d": r"(?P<day>\d{1,2})", "DDD": r"(?P<day_of_year>\d{3})",
    "EEEE": r"(?P<weekday>[A-Za-z]+)", "EEE": r"(?P<weekday>[A-Za-z]{3})",
    "EE": r"(?P<weekday>[A-Za-z]{3})", "E": r"(?P<weekday>[A-Za-z]{3})",
    "HH": r"(?P<hour>\d{2})", "H": r"(?P<hour>\d{1,2})", "hh": r"(?P<hour12>\d{2})", "h": r"(?P<hour12>\d{1,2})",
    "a": r"(?P<half>[AaPp][Mm])", "mm": r"(?P<minute>\d{2})", "m": r"(?P<minute>\d{1,2})",
    "ss": r"(?P<second>\d{2})", "s": r"(?P<second>\d{1,2})",
    "XXX": r"(?P<zone>Z|[+-]\d{2}:\d{2})", "XX": r"(?P<zone>Z|[+-]\d{4})", "X": r"(?P<zone>Z|[+-]\d{2}(?:\d{2})?)",
    "xxx": r"(?P<zone>[+-]\d{2}:\d{2})", "xx": r"(?P<zone>[+-]\d{4})", "x": r"(?P<zone>[+-]\d{2}(?:\d{2})?)",
    "ZZZZZ": r"(?P<zone>Z|[+-]\d{2}:\d{2})", "ZZZ": r"(?P<zone>[+-]\d{4})", "ZZ": r"(?P<zone>[+-]\d{4})",
    "Z": r"(?P<zone>[+-]\d{4})", "z": r"(?P<zone>[A-Za-z][A-Za-z0-9/_+:-]*)",
    "VV": r"(?P<zone>[A-Za-z][A-Za-z0-9/_+:-]*)",
}  # fmt: skip


@lru_cache(maxsize=512)
def pattern_reader(pattern: str) -> re.Pattern[str]:
    """A regular expression for a pattern; ValueError or 501 as `printer`."""
    pieces = []
    for kind, text in _tokens(pattern.removeprefix("8") if pattern[:1] == "8" else pattern):
        if kind == "text":
            pieces.append(re.escape(text))
        elif kind == "field":
            if text[0] == "S":
                pieces.append(rf"(?P<fraction>\d{{{len(text)}}})")
            elif text in _READERS:
                pieces.append(_READERS[text])
            else:
                raise _unknown_letters(text, pattern)
        else:
            pieces.append("(?:" if kind == "[" else ")?")
    try:
        return re.compile("".join(pieces))
    except re.error as problem:
        raise unsupported(f"date pattern [{pattern}] ({problem})") from None


def assemble(parts: dict[str, str | None], default_zone: tzinfo, current_year: int) -> datetime:
    """A moment from what a pattern found; a date without a year is of the current one. ValueError when impossible."""

    def number(name: str, default: int) -> int:
        return int(parts.get(name) or default)

    year = number("year", 0) or (2000 + number("year2", 0) if parts.get("year2") else 0)
    known_year = parts.get("year") is not None or parts.get("year2") is not None
    month = number("month", 1)
    name = parts.get("month_name")
    if name:
        names = [known for known in MONTHS if known[:3].lower() == name[:3].lower() and len(name) in {3, len(known)}]
        if not names:
            raise ValueError(f"could not be parsed: {name}")
        month = MONTHS.index(names[0]) + 1
    hour = number("hour", 0)
    if parts.get("hour12"):
        hour = number("hour12", 0) % 12 + (12 if (parts.get("half") or "am").lower() == "pm" else 0)
    micros = int((parts.get("fraction") or "0").ljust(6, "0")[:6])
    zone_text = parts.get("zone")
    zone = zone_of(zone_text) if zone_text else default_zone
    if not known_year:
        year = current_year
    moment = datetime(year, month, number("day", 1), hour, number("minute", 0), number("second", 0), micros, zone)
    if parts.get("day_of_year"):
        moment = moment.replace(month=1, day=1) + timedelta(days=number("day_of_year", 1) - 1)
    return moment


_ISO: Final = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d{2})(?:-(?P<day>\d{2})(?:T(?:(?P<hour>\d{2})(?::(?P<minute>\d{2})"
    r"(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?)?(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?)?)?)?"
)


_ISO_IN_FULL: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)


def parse_iso8601(text: str, default_zone: tzinfo) -> datetime:
    """The `iso8601` format; ValueError for anything else."""
    if _ISO_IN_FULL.fullmatch(text) is not None:
        try:
            return datetime.fromisoformat(text)  # a fifth of the time; what it refuses is worded below
        except ValueError:
            pass
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"failed to parse date field [{text}] with format [iso8601]")
    return assemble(match.groupdict(), default_zone, 1970)


@lru_cache(maxsize=16_384)  # several processors of a pipeline read the same timestamp, a batch at a time
def local_iso8601(text: str, zone: tzinfo) -> datetime:
    """:func:`parse_iso8601`, in the zone that is the default, too."""
    return parse_iso8601(text, zone).astimezone(zone)
