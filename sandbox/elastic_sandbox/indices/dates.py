"""Date formats of Elasticsearch: parsing to epoch milliseconds and printing.

Named formats and Java patterns as a mapping's ``format`` lists them, alternatives joined by ``||``
(docs: Elasticsearch reference, "format").
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from elastic_sandbox.errors import illegal_argument

DEFAULT_FORMAT = "strict_date_optional_time||epoch_millis"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Parser = Callable[[str], int]
"""Text to epoch milliseconds; raises ValueError."""


def to_ms(moment: datetime) -> int:
    """Epoch milliseconds of an aware datetime, exactly (no float between)."""
    delta = moment - EPOCH
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def _iso(text: str) -> int:
    """``strict_date_optional_time``: ``2026-01-31``, ``2026-01-31T10:00:00.000+02:00`` and everything between."""
    if len(text) >= 10 and text[4] == "-" and text[7] == "-":
        if len(text) > 10 and text[10] != "T":
            raise ValueError(text)
        # fromisoformat reads T14 and T14:30 too; a trailing bare T is Elasticsearch's own liberty.
        moment = datetime.fromisoformat(text if len(text) != 11 else text[:10])
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        moment = datetime.fromisoformat(text + "-01")
    elif re.fullmatch(r"\d{4}", text):
        moment = datetime.fromisoformat(text + "-01-01")
    else:
        raise ValueError(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return to_ms(moment)


def _lenient_iso(text: str) -> int:
    """``date_optional_time``: months, days and hours may lack their leading zero."""
    match = re.fullmatch(r"(\d{1,4})-(\d{1,2})(?:-(\d{1,2}))?(?:T(\d{1,2})((?::.*)?))?", text)
    if match is None:
        return _iso(text)
    year, month, day, hour, rest = match.groups()
    strict = f"{int(year):04d}-{int(month):02d}-{int(day or 1):02d}"
    return _iso(strict if hour is None else f"{strict}T{int(hour):02d}{rest}")


def _epoch_millis(text: str) -> int:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return int(float(text))
    raise ValueError(text)


def _epoch_second(text: str) -> int:
    if not re.fullmatch(r"-?\d+(\.\d{1,9})?", text):
        raise ValueError(text)
    whole, _, fraction = text.partition(".")
    ms = int((fraction + "000")[:3])
    return int(whole) * 1000 + (-ms if text.startswith("-") else ms)


# Java's DateTimeFormatter letters, as regex and as strftime where one exists.
_LETTERS: dict[str, str] = {
    "yyyy": r"(?P<year>\d{4})",
    "uuuu": r"(?P<year>\d{4})",
    "yy": r"(?P<year2>\d{2})",
    "MMMM": r"(?P<month_name>[A-Za-z]+)",
    "MMM": r"(?P<month_name>[A-Za-z]{3})",
    "MM": r"(?P<month>\d{2})",
    "M": r"(?P<month>\d{1,2})",
    "dd": r"(?P<day>\d{2})",
    "d": r"(?P<day>\d{1,2})",
    "EEE": r"(?:[A-Za-z]{3})",
    "HH": r"(?P<hour>\d{2})",
    "H": r"(?P<hour>\d{1,2})",
    "hh": r"(?P<hour12>\d{2})",
    "h": r"(?P<hour12>\d{1,2})",
    "a": r"(?P<half>AM|PM|am|pm)",
    "mm": r"(?P<minute>\d{2})",
    "m": r"(?P<minute>\d{1,2})",
    "ss": r"(?P<second>\d{2})",
    "s": r"(?P<second>\d{1,2})",
    "XXX": r"(?P<zone>Z|[+-]\d{2}:\d{2})",
    "XX": r"(?P<zone>Z|[+-]\d{4})",
    "X": r"(?P<zone>Z|[+-]\d{2}(?:\d{2})?)",
    "xxx": r"(?P<zone>[+-]\d{2}:\d{2})",
    "xx": r"(?P<zone>[+-]\d{4})",
    "ZZZZZ": r"(?P<zone>Z|[+-]\d{2}:\d{2})",
    "ZZ": r"(?P<zone>[+-]\d{4})",
    "Z": r"(?P<zone>[+-]\d{4})",
    "z": r"(?P<zone_name>[A-Za-z][A-Za-z_/+-]*)",
    "VV": r"(?P<zone_name>[A-Za-z][A-Za-z_/+0-9-]*)",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
_TOKEN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")

_NAMED_PATTERNS = {
    "date": "yyyy-MM-dd",
    "strict_date": "yyyy-MM-dd",
    "basic_date": "yyyyMMdd",
    "basic_date_time": "yyyyMMdd'T'HHmmss.SSSXXX",
    "basic_date_time_no_millis": "yyyyMMdd'T'HHmmssXXX",
    "date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss",
    "strict_date_hour_minute_second": "yyyy-MM-dd'T'HH:mm:ss",
    "date_hour_minute_second_millis": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "strict_date_hour_minute_second_millis": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "strict_date_time": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "date_time_no_millis": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "strict_date_time_no_millis": "yyyy-MM-dd'T'HH:mm:ssXXX",
    "year_month": "yyyy-MM",
    "strict_year_month": "yyyy-MM",
    "year": "yyyy",
    "strict_year": "yyyy",
    "hour_minute_second": "HH:mm:ss",
}


def _tokens(pattern: str) -> list[tuple[str, str]]:
    """("literal", text) and ("letters", "yyyy") pieces of a Java pattern."""
    pieces: list[tuple[str, str]] = []
    for match in _TOKEN.finditer(pattern):
        text = match.group(0)
        if text.startswith("'"):
            pieces.append(("literal", match.group(1).replace("''", "'") or "'"))
        elif text[0].isalpha():
            if text not in _LETTERS and set(text) != {"S"}:
                raise illegal_argument(f"Invalid format: [{pattern}]: Unknown pattern letter: {text[0]}")
            pieces.append(("letters", text))
        else:
            pieces.append(("literal", text))
    return pieces


def _pattern(pattern: str) -> Parser:
    regex = re.compile(
        "".join(
            re.escape(text) if kind == "literal" else _LETTERS.get(text, rf"(?P<fraction>\d{{{len(text)}}})")
            for kind, text in _tokens(pattern)
        )
    )

    def parse(text: str) -> int:
        match = regex.fullmatch(text)
        if match is None:
            raise ValueError(text)
        return to_ms(_assemble(match.groupdict()))

    return parse


def _assemble(parts: dict[str, str | None]) -> datetime:
    def number(name: str, default: int) -> int:
        value = parts.get(name)
        return default if value is None else int(value)

    year = number("year", 1970) if parts.get("year2") is None else 2000 + number("year2", 0)
    name = parts.get("month_name")
    month = number("month", 1) if name is None else _MONTHS.index(name[:3].lower()) + 1
    hour = number("hour", 0)
    if parts.get("hour12") is not None:
        hour = number("hour12", 0) % 12 + (12 if (parts.get("half") or "").lower() == "pm" else 0)
    micro = int((parts.get("fraction") or "0").ljust(6, "0")[:6])
    return datetime(
        year, month, number("day", 1), hour, number("minute", 0), number("second", 0), micro, tzinfo=_zone(parts)
    )


def _zone(parts: dict[str, str | None]) -> tzinfo:
    offset, name = parts.get("zone"), parts.get("zone_name")
    if offset is not None:
        return zone(offset)
    return UTC if name is None else zone(name)


@lru_cache(maxsize=256)
def zone(text: str) -> tzinfo:
    """A time zone by offset (``+02:00``, ``-0730``, ``Z``) or by name (``Europe/Berlin``); ValueError otherwise."""
    if text in {"Z", "UTC", "GMT"}:
        return UTC
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})?", text)
    if match is not None:
        delta = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        return timezone(-delta if match[1] == "-" else delta)
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(text) from error


@lru_cache(maxsize=256)
def _single(name: str) -> Parser:
    if name in {"strict_date_optional_time", "strict_date_optional_time_nanos", "iso8601"}:
        return _iso
    if name == "date_optional_time":
        return _lenient_iso
    if name == "epoch_millis":
        return _epoch_millis
    if name == "epoch_second":
        return _epoch_second
    return _pattern(_NAMED_PATTERNS.get(name, name))


@lru_cache(maxsize=256)
def parser(date_format: str = DEFAULT_FORMAT) -> Parser:
    """A function from text to epoch milliseconds for ``date_format``; it raises ValueError on a mismatch.

    :raises ElasticError: 400 for a format that is none.
    """
    alternatives = [_single(name) for name in date_format.split("||")]
    if len(alternatives) == 1:
        return alternatives[0]

    def parse(text: str) -> int:
        for alternative in alternatives:
            try:
                return alternative(text)
            except ValueError:
                continue
        raise ValueError(text)

    return parse


def parse_date(value: str | float, date_format: str = DEFAULT_FORMAT) -> int:
    """Epoch milliseconds of one JSON value; numbers are read as their text, so a format without epoch refuses them."""
    return parser(date_format)(str(value))


def format_date(ms: int, date_format: str = "strict_date_optional_time", time_zone: tzinfo = UTC) -> str:
    """Print epoch milliseconds by the first alternative of ``date_format``: ``2026-01-31T10:00:00.000Z``."""
    name = date_format.split("||", maxsplit=1)[0]
    if name == "epoch_millis":
        return str(ms)
    if name == "epoch_second":
        return str(ms // 1000)
    # A sum of dates lies beyond the years of a datetime; the calendar repeats itself every 400 years.
    cycles = (ms - _EARLIEST) // _CYCLE if not _EARLIEST <= ms < _LATEST else 0
    moment = (EPOCH + timedelta(milliseconds=ms - cycles * _CYCLE)).astimezone(time_zone)
    year = _year(moment.year + 400 * cycles)
    if name in {"strict_date_optional_time", "date_optional_time", "strict_date_optional_time_nanos", "iso8601"}:
        return year + moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")[4:]
    pieces = []
    for kind, text in _tokens(_NAMED_PATTERNS.get(name, name)):
        pieces.append(text if kind == "literal" else _print(text, moment, year))
    return "".join(pieces)


_CYCLE = 146_097 * 86_400_000
_EARLIEST = -62_135_510_400_000  # 0001-01-02: every time zone's day is a datetime
_LATEST = 253_402_214_400_000  # 9999-12-31


def _year(number: int) -> str:
    """As java.time prints it: four digits, and a sign where that is not enough."""
    return f"+{number}" if number > 9999 else f"{number:04d}" if number >= 0 else f"-{-number:04d}"


def _print(letters: str, moment: datetime, year: str) -> str:
    if set(letters) == {"S"}:
        return f"{moment.microsecond:06d}".ljust(len(letters), "0")[: len(letters)]
    numbers = {"M": moment.month, "d": moment.day, "H": moment.hour, "m": moment.minute, "s": moment.second}
    if letters[0] in numbers and len(letters) <= 2:
        return f"{numbers[letters[0]]:0{len(letters)}d}"
    if letters[0] == "h":
        return f"{moment.hour % 12 or 12:0{len(letters)}d}"
    offset = moment.strftime("%z")
    offset = f"{offset[:3]}:{offset[3:5]}" if letters in {"XXX", "xxx", "ZZZZZ"} else offset[:5]
    if letters[0] == "X" and moment.utcoffset() == timedelta(0):
        offset = "Z"
    return {
        "yyyy": year,
        "uuuu": year,
        "yy": f"{moment.year % 100:02d}",
        "MMMM": moment.strftime("%B"),
        "MMM": _MONTHS[moment.month - 1].capitalize(),
        "EEE": _DAYS[moment.weekday()],
        "a": "AM" if moment.hour < 12 else "PM",
        "z": str(moment.tzname()),
        "VV": str(moment.tzinfo),
    }.get(letters, offset)
