"""The date filter's formats: `ISO8601`, and patterns of Joda-Time with the letters used here.

Rules: CasualISO8601Parser.java and JodaParser.java of logstash-filter-date. `ISO8601` takes
`2026-05-28T10:15:30`, and with a space only where milliseconds follow: `2026-05-28 10:15:30,123`, with or without a
zone. The result has milliseconds. Times without a zone are in `timezone`, else in that of the machine: here UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from elastic_sandbox.logstash.config import ConfigError

Parse = Callable[[Any], datetime | None]
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_OFFSET = r"(?P<zone>Z|[+-]\d{2}:?(?:\d{2})?)"
_ISO = re.compile(
    r"(?P<year>\d{4,9})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?"
    rf"(?:T(?P<hour>\d{{1,2}})(?::(?P<minute>\d{{1,2}})(?::(?P<second>\d{{1,2}})(?:[.,](?P<fraction>\d{{1,9}}))?)?)?{_OFFSET}?)?",
    re.ASCII,
)
_SPACED = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2}) (?P<hour>\d{1,2}):(?P<minute>\d{1,2}):(?P<second>\d{1,2})"
    rf"[.,](?P<fraction>\d{{1,3}}){_OFFSET}?",
    re.ASCII,
)
# Letters of Joda that numbers and names stand for; a run of a letter is one field.
_LETTERS = {
    "y": r"(?P<year>\d{4})",
    "d": r"(?P<day>\d{1,2})",
    "H": r"(?P<hour>\d{1,2})",
    "m": r"(?P<minute>\d{1,2})",
    "s": r"(?P<second>\d{1,2})",
    "Z": _OFFSET,
}


def parser(format_: str, zone: str | None, locale: str | None) -> Parse:
    """A function that reads a value in this format; None when it is not in it.

    :raises ConfigError: a letter that the runner does not know, or a zone that does not exist.
    """
    local = zone_of(zone) if zone else UTC
    if format_ == "ISO8601":
        return lambda value: _matched(value, (_ISO, _SPACED), local)
    if format_ in {"UNIX", "UNIX_MS", "TAI64N"}:
        raise ConfigError(f"date: the format {format_} is not supported by the runner")
    pattern = _joda(format_, locale)
    return lambda value: _matched(value, (pattern,), local)


def zone_of(name: str) -> tzinfo:
    """A time zone by name or offset.

    :raises ConfigError: there is none of that name; Logstash would not start.
    """
    if found := re.fullmatch(r"([+-])(\d{2}):?(\d{2})", name):
        return _offset(found[0].replace(":", ""))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(f"date: {name!r} is no time zone; give a name such as Europe/Berlin, or UTC") from None


def _joda(format_: str, locale: str | None) -> re.Pattern[str]:
    parts: list[str] = []
    for run in re.finditer(r"'([^']*)'|([A-Za-z])\2*|.", format_):
        text, letter = run[0], run[2]
        if letter is None:
            parts.append(re.escape(run[1] if text.startswith("'") else text))
        elif letter == "M" and len(text) > 2:
            if locale is None or not locale.lower().startswith("en"):
                raise ConfigError(
                    f"date: {format_!r} names months: set locale => 'en', as the machine's may be another"
                )
            names = "|".join(MONTHS) if len(text) == 3 else r"[A-Za-z]{3,9}"
            parts.append(f"(?P<month>(?i:{names}))")
        elif letter == "M":
            parts.append(r"(?P<month>\d{1,2})")
        elif letter == "S":
            parts.append(rf"(?P<fraction>\d{{1,{len(text)}}})")
        elif letter in _LETTERS:
            parts.append(_LETTERS[letter])
        else:
            raise ConfigError(f"date: the letter {letter} of {format_!r} is not supported by the runner")
    if not any("<year>" in part for part in parts):
        raise ConfigError(f"date: {format_!r} has no year; Logstash would guess it, the runner does not")
    return re.compile("".join(parts), re.ASCII)


def _matched(value: Any, patterns: tuple[re.Pattern[str], ...], local: tzinfo) -> datetime | None:
    if not isinstance(value, str):
        return None
    for pattern in patterns:
        if found := pattern.fullmatch(value):
            try:
                return _moment(found.groupdict(), local)
            except (ValueError, OverflowError):
                continue
    return None


def _moment(parts: dict[str, str | None], local: tzinfo) -> datetime:
    month = parts.get("month") or "1"
    zone = parts.get("zone")
    moment = datetime(
        int(parts["year"] or 0),
        int(month) if month.isdigit() else MONTHS.index(month[:3].lower()) + 1,
        int(parts.get("day") or 1),
        int(parts.get("hour") or 0),
        int(parts.get("minute") or 0),
        int(parts.get("second") or 0),
        int((parts.get("fraction") or "0")[:3].ljust(3, "0")) * 1000,
        tzinfo=_offset(zone) if zone else local,
    )
    return moment.astimezone(UTC)


def _offset(text: str) -> tzinfo:
    if text == "Z":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
