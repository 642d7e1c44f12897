"""Dates: epoch milliseconds in UTC. The ``time_zone`` of a request is UTC or refused."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem, wrong_type
from elastic_sandbox.esql.functions.registry import ORDINALS, function
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import AMOUNTS, NUMBERS, Amount, Value, null_of, shown, unresolved

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

ISO = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"
"""How dates are shown."""
_DAY = 86_400_000
_WEEK_START = 4 * _DAY  # 1970-01-05 was a Monday


@function("now")
def now(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The same moment all through a query."""
    return expressions.compilation.literal(expressions.compilation.now_ms, "date", node)


# Rounding -----------------------------------------------------------------------------------------------------------


def rounded(sql: str, amount: Amount, owner: Node) -> str:
    """The start of the span that an instant lies in (DateTrunc.createRounding).

    Days and weeks are the calendar's only when there is one of them, months and years are counted from year 1.

    :raises Problem: the span is not positive
    """
    if amount.ms + amount.days + amount.months <= 0:
        raise Problem(owner, "Zero or negative time interval is not supported")
    if amount.months in {1, 3, 12}:
        unit = {1: "month", 3: "quarter", 12: "year"}[amount.months]
        return f"epoch_ms(date_trunc('{unit}', epoch_ms({sql})))"
    if amount.months:
        step = amount.months
        moment = f"epoch_ms({sql})"
        counted = f"((year({moment}) - 1) * 12 + month({moment}) - 1)"
        start = f"({counted} - {counted} % {step})"
        return f"epoch_ms(make_timestamp({start} // 12 + 1, {start} % 12 + 1, 1, 0, 0, 0))"
    shift = _WEEK_START if amount.days == 7 else 0
    return _floored(sql, amount.days * _DAY or amount.ms, shift)


def _floored(sql: str, step: int, shift: int = 0) -> str:
    return f"({sql} - ((({sql} - {shift}) % {step} + {step}) % {step}))"


@function("date_trunc", "amount", "date")
def date_trunc(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Rounded down to a span."""
    span, date = arguments
    if span.literal is None:
        return null_of(node, "date")
    return Value(rounded(expressions.rows.bind(date).sql, span.literal, node), "date", node, constant=date.constant)


# The spans that BUCKET chooses from, finest last; those of whole days and more are the calendar's.
_SPANS = [
    Amount(months=12), Amount(months=1), Amount(days=7), Amount(days=1),
    *(Amount(ms=hours * 3_600_000) for hours in (12, 3, 1)),
    *(Amount(ms=minutes * 60_000) for minutes in (30, 10, 5, 1)),
    *(Amount(ms=seconds * 1000) for seconds in (30, 10, 5, 1)),
    *(Amount(ms=ms) for ms in (100, 50, 10, 1)),
]  # fmt: skip


def chosen_span(buckets: int, start: int, end: int) -> Amount:
    """The finest span that covers [start, end] in at most ``buckets``; an end on a boundary needs no bucket.

    REST test 26_aggs_bucket: ``BUCKET(ts, 4, 08:00, 12:00)`` is hourly, one millisecond more makes it three-hourly.
    """
    best = _SPANS[0]
    for span in _SPANS[1:]:
        if not _covers(span, buckets, start, end):
            # A month may not fit where weeks do: five weeks can touch three months.
            if span == Amount(months=1):
                continue
            break
        best = span
    return best


def _covers(span: Amount, buckets: int, start: int, end: int) -> bool:
    from elastic_sandbox.indices.dates import to_ms
    from elastic_sandbox.search.dates import floor, moment, plus

    if span.months:
        at, unit = floor(moment(start), "M" if span.months == 1 else "y"), "M" if span.months == 1 else "y"
        for _ in range(min(buckets, 12 * 10_000)):
            at = plus(at, 1, unit)
            if to_ms(at) >= end:
                return True
        return False
    step, shift = span.days * _DAY or span.ms, _WEEK_START if span.days == 7 else 0
    first = start - (start - shift) % step
    return max(math.ceil((end - first) / step), 1) <= buckets


@function("bucket bin", "any", "any", "any", "any", minimum=2, grouping=True, lazy=True)
def bucket(expressions: Expressions, node: Node, arguments: list[Node]) -> Value:
    """``BUCKET(field, span)`` or ``BUCKET(field, buckets, from, to)``."""
    values = [expressions.value(argument) for argument in arguments]
    if any(value.type == "unresolved" for value in values):
        return unresolved(node)
    field = values[0]
    for position, value in enumerate(values[1:], 1):
        if not value.constant and value.type != "null":
            raise Problem(
                node, f"{ORDINALS[position]} argument of [{node.text}] must be a constant, received [{value.node.text}]"
            )
    if field.type == "date":
        return _date_bucket(expressions, node, values)
    if field.type in NUMBERS - {"unsigned_long"}:
        return _number_bucket(expressions, node, values)
    if field.type == "null":
        return Value("NULL", "null", node, atom=True)
    if field.type == "unsigned_long":
        raise unsupported("BUCKET of an unsigned_long")
    raise wrong_type(node, "date_nanos, datetime or numeric", field, "first ")


def _wrong(node: Node, values: list[Value], position: int, words: str) -> Problem:
    value = values[position]
    return wrong_type(node, words, value, f"{ORDINALS[position]} ")


def _four(node: Node, values: list[Value]) -> Problem:
    return Problem(
        node,
        "function expects exactly four arguments when the first one is of type "
        f"[{shown(values[0].type).upper()}] and the second of type [{values[1].type.upper()}]",
    )


def _date_bucket(expressions: Expressions, node: Node, values: list[Value]) -> Value:
    date = expressions.rows.bind(expressions.single(values[0], node))
    second = values[1]
    if second.type == "keyword" and second.known:
        from elastic_sandbox.esql.functions.conversion import literal_as

        second = literal_as(expressions, second, "amount")
    if second.type in AMOUNTS:
        if len(values) != 2:
            raise Problem(node, f"function expects exactly two arguments when the first one is of type [DATETIME] and "
                                f"the second of type [{second.type.upper()}]")  # fmt: skip
        return Value(rounded(date.sql, second.literal, node), "date", node, constant=date.constant)
    if second.type not in {"integer", "long"}:
        raise _wrong(node, values, 1, "integral, date_period or time_duration")
    if len(values) != 4:
        raise _four(node, values)
    bounds = [_instant(expressions, node, values, position) for position in (2, 3)]
    buckets = int(expressions.compilation.fold(second))
    return Value(rounded(date.sql, chosen_span(buckets, *bounds), node), "date", node, constant=date.constant)


def _instant(expressions: Expressions, node: Node, values: list[Value], position: int) -> int:
    value = values[position]
    if value.type in {"keyword", "text"}:
        from elastic_sandbox.esql.functions.conversion import literal_as

        folded = expressions.compilation.literal(expressions.compilation.fold(value), "keyword", value.node)
        value = literal_as(expressions, folded, "date")
    if value.type != "date":
        raise _wrong(node, values, position, "datetime or string")
    return int(expressions.compilation.fold(value))


def _number_bucket(expressions: Expressions, node: Node, values: list[Value]) -> Value:
    number = expressions.single(values[0], node)
    for position, value in enumerate(values[1:], 1):
        if value.type not in NUMBERS:
            raise _wrong(node, values, position, "numeric")
    folded = [float(expressions.compilation.fold(value)) for value in values[1:]]
    if len(folded) == 3:
        span = _chosen_step(*folded)
    elif len(folded) == 1:
        span = folded[0]
    else:
        raise _four(node, values)
    if span == 0:
        raise unsupported("BUCKET with a span of zero")
    return Value(f"(floor({number.sql} / {span!r}::DOUBLE) * {span!r}::DOUBLE)", "double", node)


def _chosen_step(buckets: float, low: float, high: float) -> float:
    """A power of ten or half of one."""
    precise = (high - low) / buckets
    if precise <= 0:
        raise unsupported("BUCKET over an empty range")
    ten = 10.0 ** math.ceil(math.log10(precise))
    return ten / 2 if precise < ten / 2 else ten


# Parts and differences ----------------------------------------------------------------------------------------------

_PARTS = {
    "year": "year({m})", "month_of_year": "month({m})", "day_of_month": "day({m})", "day_of_week": "isodow({m})",
    "aligned_day_of_week_in_month": "((day({m}) - 1) % 7 + 1)", "day_of_year": "dayofyear({m})",
    "aligned_week_of_month": "((day({m}) - 1) // 7 + 1)", "aligned_week_of_year": "((dayofyear({m}) - 1) // 7 + 1)",
    "epoch_day": "(({v} - (({v} % 86400000) + 86400000) % 86400000) // 86400000)",
    "proleptic_month": "(year({m}) * 12 + month({m}) - 1)", "year_of_era": "year({m})",
    "hour_of_day": "hour({m})", "hour_of_ampm": "(hour({m}) % 12)", "clock_hour_of_ampm":
    "((hour({m}) + 11) % 12 + 1)", "clock_hour_of_day": "((hour({m}) + 23) % 24 + 1)", "ampm_of_day":
    "(hour({m}) // 12)", "minute_of_hour": "minute({m})", "minute_of_day": "(hour({m}) * 60 + minute({m}))",
    "second_of_minute": "second({m})", "second_of_day": "((({v} % 86400000) + 86400000) % 86400000 // 1000)",
    "milli_of_second": "((({v} % 1000) + 1000) % 1000)", "milli_of_day": "((({v} % 86400000) + 86400000) % 86400000)",
}  # fmt: skip
"""java.time.temporal.ChronoField; ``{m}`` is the timestamp, ``{v}`` its milliseconds."""


@function("date_extract", "string", "date")
def date_extract(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A part of a date, as a long."""
    part, date = arguments
    name = str(expressions.compilation.fold(part)).lower()
    if name not in _PARTS:
        raise Problem(node, f"invalid date field for [{node.text}]: {expressions.compilation.fold(part)}")
    value = expressions.rows.bind(date).sql
    sql = _PARTS[name].replace("{m}", f"epoch_ms({value})").replace("{v}", value)
    return Value(f"CAST({sql} AS BIGINT)", "long", node, constant=date.constant)


_UNITS = {
    **dict.fromkeys(("year", "years", "yyyy", "yy"), ("months", 12)),
    **dict.fromkeys(("quarter", "quarters", "qq", "q"), ("months", 3)),
    **dict.fromkeys(("month", "months", "mm", "m"), ("months", 1)),
    **dict.fromkeys(("dayofyear", "dy", "y", "day", "days", "dd", "d", "weekday", "weekdays", "dw"), ("ms", _DAY)),
    **dict.fromkeys(("week", "weeks", "wk", "ww"), ("ms", 7 * _DAY)),
    **dict.fromkeys(("hour", "hours", "hh"), ("ms", 3_600_000)),
    **dict.fromkeys(("minute", "minutes", "mi", "n"), ("ms", 60_000)),
    **dict.fromkeys(("second", "seconds", "ss", "s"), ("ms", 1000)),
    **dict.fromkeys(("millisecond", "milliseconds", "ms"), ("ms", 1)),
}
"""Units of DATE_DIFF and their short forms (documentation page of the function)."""


@function("date_diff", "string", "date", "date")
def date_diff(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Whole units from one date to another, towards zero (ChronoUnit.between); an integer or a failure."""
    unit, *dates = arguments
    name = str(expressions.compilation.fold(unit)).lower()
    if name not in _UNITS:
        raise unsupported(f"the unit [{name}] of DATE_DIFF")
    base, size = _UNITS[name]
    start, end = (expressions.rows.bind(one).sql for one in dates)
    if base == "ms":
        counted = f"(({end} - {start}) // {size})"
    else:
        a, b = f"epoch_ms({start})", f"epoch_ms({end})"
        months = f"((year({b}) - year({a})) * 12 + month({b}) - month({a}))"
        rest_a, rest_b = (f"({m} - date_trunc('month', {m}))" for m in (a, b))
        whole = (
            f"CASE WHEN {months} > 0 AND {rest_b} < {rest_a} THEN {months} - 1 "
            f"WHEN {months} < 0 AND {rest_b} > {rest_a} THEN {months} + 1 ELSE {months} END"
        )
        counted = f"(({whole}) // {size})"
    made = expressions.rows.bind(Value(f"CAST({counted} AS BIGINT)", "long", node)).sql
    words = (
        "'org.elasticsearch.xpack.esql.core.InvalidArgumentException: [' || "
        f"{made}::VARCHAR || '] out of [integer] range'"
    )
    failed = expressions.compilation.fail(node, words, "BIGINT")
    sql = f"CASE WHEN {made} BETWEEN -2147483648 AND 2147483647 THEN {made} WHEN {made} IS NOT NULL THEN {failed} END"
    return Value(sql, "integer", node)


_STRFTIME = {"yyyy": "%Y", "uuuu": "%Y", "MM": "%m", "dd": "%d", "HH": "%H", "mm": "%M", "ss": "%S", "SSS": "%g"}
_PATTERN = re.compile(r"'([^'%]+)'|([A-Za-z])\2*|[^A-Za-z'%]+")


def printed(date: str, pattern: str) -> str | None:
    """SQL that prints a date by a plain numeric pattern; None for any other."""
    pieces, end = [], 0
    for match in _PATTERN.finditer(pattern):
        letters = match[0] if match[2] else None
        if match.start() != end or (letters and letters not in _STRFTIME):
            return None
        pieces.append(_STRFTIME[letters] if letters else match[1] or match[0])
        end = match.end()
    return f"strftime(epoch_ms({date}), '{''.join(pieces)}')" if end == len(pattern) else None


@function("date_format", "any", "any", minimum=1)
def date_format(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """``DATE_FORMAT(pattern, date)``; without a pattern as dates are shown."""
    from elastic_sandbox.ingest.java_time import printer

    date = _date_argument(expressions, node, arguments)
    pattern = ""
    if len(arguments) == 2:
        if arguments[0].type == "null":
            return null_of(node, "keyword")
        pattern = str(expressions.compilation.fold(arguments[0]))
        try:
            printer(pattern)
        except ValueError as error:
            raise Problem(node, f"invalid date pattern for [{node.text}]: {error}") from None
    # A call into Python costs microseconds a row, which is seconds for a million.
    sql = printed(date.sql, pattern or ISO) or (
        f"esql_text('date', {date.sql}::VARCHAR, {expressions.compilation.text(pattern)})"
    )
    return Value(sql, "keyword", node, constant=date.constant)


def _date_argument(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    from elastic_sandbox.esql.functions.conversion import literal_as

    date: Any = arguments[-1]
    if date.type == "keyword" and date.known:
        date = literal_as(expressions, date, "date")
    if date.type not in {"date", "null"}:
        ordinal = "second " if len(arguments) == 2 else ""
        raise wrong_type(node, "datetime or date_nanos", date, ordinal)
    return date


@function("date_parse", "string", "string", minimum=1)
def date_parse(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """``DATE_PARSE(pattern, text)``; a text that does not fit is null with a warning."""
    from elastic_sandbox.errors import ElasticError
    from elastic_sandbox.esql.runtime import DATE_FORMAT
    from elastic_sandbox.indices.dates import parser

    pattern = DATE_FORMAT
    if len(arguments) == 2:
        if arguments[0].type == "null" or (arguments[0].known and arguments[0].literal is None):
            return null_of(node, "date")
        pattern = str(expressions.compilation.fold(arguments[0]))
        try:
            parser(pattern)
        except ElasticError as error:
            raise unsupported(f"the pattern [{pattern}] of DATE_PARSE ({error.reason})") from None
    text = expressions.rows.bind(arguments[-1]).sql
    words = (
        f"'java.lang.IllegalArgumentException: failed to parse date field [' || {text} || '] with format [' || "
        f"{expressions.compilation.text(pattern)} || ']'"
    )
    failed = expressions.compilation.fail(node, words, "BIGINT")
    read = f"esql_text('to_date', {text}, {expressions.compilation.text(pattern)})::BIGINT"
    return Value(f"coalesce({read}, CASE WHEN {text} IS NOT NULL THEN {failed} END)", "date", node)
