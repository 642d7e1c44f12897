"""Date math and the rounding of dates in queries: ``now-1d/d``, ``2026-01||+1M``, ``2026-01-05`` as a whole day."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.indices.dates import EPOCH, parser, to_ms
from elastic_sandbox.indices.dates import zone as parse_zone
from elastic_sandbox.search.failures import ShardFailure

_MATH = re.compile(r"([+-])(\d*)([yMwdhHms])|/([yMwdhHms])")
_ISO = re.compile(
    r"(?P<y>\d{4})(?:-(?P<mo>\d{2})(?:-(?P<d>\d{2})(?:T(?:(?P<h>\d{2})(?::?(?P<mi>\d{2})(?::?(?P<s>\d{2})"
    r"(?P<f>[.,]\d{1,9})?)?)?)?(?P<z>Z|[+-]\d{2}:?\d{2})?)?)?)?"
)


def zone_of(text: str) -> tzinfo:
    """A time zone of a request.

    :raises ElasticError: 400 illegal_argument_exception
    """
    try:
        return parse_zone(text)
    except ValueError:
        raise ElasticError(400, "illegal_argument_exception", f"unknown time-zone ID: {text}") from None


def moment(ms: int, zone: tzinfo = UTC) -> datetime:
    """Epoch milliseconds as an aware datetime."""
    return (EPOCH + timedelta(milliseconds=ms)).astimezone(zone)


def local(year: int, month: int, day: int, zone: tzinfo) -> int:
    """Epoch milliseconds of the local start of a day."""
    return to_ms(datetime(year, month, day, tzinfo=zone))


def bound(value: object, date_format: str, zone: tzinfo, now_ms: int, *, round_up: bool) -> int:
    """The instant a query means by ``value``.

    :param format: the field's or the request's date format
    :param round_up: fill what the text leaves out, and what ``/d`` cuts off, with the end instead of the start of the
        period: true for ``gt`` and ``lte``
    :raises ShardFailure: 400 parse_exception
    """
    text = value if isinstance(value, str) else str(value)
    if text.startswith("now"):
        return _math(now_ms, text[3:], zone, round_up=round_up, whole=text)
    anchor, separator, expression = text.partition("||")
    if separator:
        return _math(_parse(anchor, date_format, zone, round_up=False), expression, zone, round_up=round_up, whole=text)
    return _parse(text, date_format, zone, round_up=round_up)


def _parse(text: str, date_format: str, zone: tzinfo, *, round_up: bool) -> int:
    for name in date_format.split("||"):
        if name in {"strict_date_optional_time", "date_optional_time", "strict_date_optional_time_nanos", "iso8601"}:
            found = _iso(text, zone, round_up=round_up)
            if found is not None:
                return found
            continue
        try:
            ms = parser(name)(text)
        except ValueError:
            continue
        if name in {"epoch_millis", "epoch_second"}:
            return ms
        return _shift(ms, name, zone, round_up=round_up)
    raise ShardFailure(
        "parse_exception",
        f"failed to parse date field [{text}] with format [{date_format}]: [failed to parse date field [{text}] with "
        f"format [{date_format}]]",
        caused_by={
            "type": "illegal_argument_exception",
            "reason": f"failed to parse date field [{text}] with format [{date_format}]",
        },
    )


def _iso(text: str, zone: tzinfo, *, round_up: bool) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    parts = match.groupdict()
    micro = int((parts["f"] or ".0")[1:].ljust(6, "0")[:6])
    try:
        start = datetime(
            int(parts["y"]),
            int(parts["mo"] or 1),
            int(parts["d"] or 1),
            int(parts["h"] or 0),
            int(parts["mi"] or 0),
            int(parts["s"] or 0),
            micro,
            tzinfo=zone if parts["z"] is None else parse_zone(parts["z"]),
        )
    except ValueError:
        return None
    if not round_up or parts["f"]:
        return to_ms(start)
    unit = next(
        (unit for part, unit in [("s", "s"), ("mi", "m"), ("h", "h"), ("d", "d"), ("mo", "M")] if parts[part]), "y"
    )
    return to_ms(plus(start, 1, unit)) - 1


def _shift(ms: int, pattern: str, zone: tzinfo, *, round_up: bool) -> int:
    """A pattern's result, read in ``zone`` when the pattern has none, at the end of its smallest unit if asked."""
    if not re.search("[XxZzV]", re.sub("'[^']*'", "", pattern)):
        ms = to_ms(moment(ms).replace(tzinfo=zone))
    if not round_up or "S" in pattern:
        return ms
    bare = re.sub("'[^']*'", "", pattern)
    for letter, unit in [("s", "s"), ("m", "m"), ("H", "h"), ("h", "h"), ("d", "d"), ("M", "M")]:
        if letter in bare:
            return to_ms(plus(moment(ms, zone), 1, unit)) - 1
    return ms


def _math(ms: int, expression: str, zone: tzinfo, *, round_up: bool, whole: str) -> int:
    at = 0
    when = moment(ms, zone)
    while at < len(expression):
        match = _MATH.match(expression, at)
        if match is None:
            raise ShardFailure("parse_exception", f"operator not supported for date math [{whole}]")
        sign, amount, unit, rounding = match.groups()
        if rounding is None:
            count = int(amount or 1)
            when = plus(when, -count if sign == "-" else count, unit)
        else:
            when = floor(when, rounding)
            if round_up:
                when = plus(when, 1, rounding) - timedelta(milliseconds=1)
        at = match.end()
    return to_ms(when)


def floor(when: datetime, unit: str) -> datetime:
    """The start of the unit ``when`` lies in, in its own time zone."""
    if unit == "s":
        return when.replace(microsecond=0)
    if unit == "m":
        return when.replace(second=0, microsecond=0)
    if unit in {"h", "H"}:
        return when.replace(minute=0, second=0, microsecond=0)
    day = when.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "d":
        return day
    if unit == "w":
        return day - timedelta(days=day.weekday())
    if unit == "M":
        return day.replace(day=1)
    if unit == "q":
        return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    return day.replace(month=1, day=1)


def plus(when: datetime, count: int, unit: str) -> datetime:
    """Calendar arithmetic in local time: a day after midnight is midnight, whatever the clocks do in between."""
    if unit in {"s", "m", "h", "H"}:
        seconds = {"s": 1, "m": 60, "h": 3600, "H": 3600}[unit] * count
        return (when.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(when.tzinfo)
    if unit in {"d", "w"}:
        return when + timedelta(days=count * (7 if unit == "w" else 1))
    months = {"M": 1, "q": 3, "y": 12}[unit] * count
    year, month = divmod(when.year * 12 + when.month - 1 + months, 12)
    day = when.day
    while True:
        try:
            return when.replace(year=year, month=month + 1, day=day)
        except ValueError:
            day -= 1  # 31 January plus a month is the last of February
