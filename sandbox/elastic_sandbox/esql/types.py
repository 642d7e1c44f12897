"""Types of ES|QL: how fields become them, how DuckDB holds them, which go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elastic_sandbox.esql.tree import Node

FIELD_TYPES = {
    "keyword": "keyword", "wildcard": "keyword", "constant_keyword": "keyword",
    "text": "text", "match_only_text": "text",
    "long": "long", "integer": "integer", "short": "integer", "byte": "integer", "unsigned_long": "unsigned_long",
    "double": "double", "float": "double", "half_float": "double", "scaled_float": "double",
    "date": "date", "boolean": "boolean", "ip": "ip", "geo_point": "geo_point", "flattened": "unsupported",
}  # fmt: skip
"""Field type to ES|QL type (documentation page "ES|QL limitations", csv-spec ``stats``: a short is an integer, a
float a double)."""

SQL = {
    "keyword": "VARCHAR", "text": "VARCHAR", "ip": "VARCHAR", "_source": "VARCHAR", "geo_point": "VARCHAR",
    "unsupported": "VARCHAR", "long": "BIGINT", "integer": "BIGINT", "date": "BIGINT", "unsigned_long": "UBIGINT",
    "double": "DOUBLE", "boolean": "BOOLEAN", "null": "BOOLEAN", "unresolved": "BOOLEAN",
}  # fmt: skip
"""Dates are epoch milliseconds, IPs 32 hex digits, as the document tables hold them."""

STRINGS = frozenset({"keyword", "text"})
NUMBERS = frozenset({"integer", "long", "double", "unsigned_long"})
AMOUNTS = frozenset({"date_period", "time_duration"})
_RANK = ["integer", "long", "double"]

PERIODS = {
    "day": ("day", 1), "days": ("day", 1), "d": ("day", 1), "week": ("day", 7), "weeks": ("day", 7), "w": ("day", 7),
    "month": ("month", 1), "months": ("month", 1), "mo": ("month", 1), "quarter": ("month", 3),
    "quarters": ("month", 3), "q": ("month", 3), "year": ("month", 12), "years": ("month", 12), "yr": ("month", 12),
    "y": ("month", 12),
}  # fmt: skip
DURATIONS = {
    "millisecond": 1, "milliseconds": 1, "ms": 1, "second": 1000, "seconds": 1000, "sec": 1000, "s": 1000,
    "minute": 60_000, "minutes": 60_000, "min": 60_000, "hour": 3_600_000, "hours": 3_600_000,
    "h": 3_600_000,
}  # fmt: skip
"""Units of time spans (documentation page "ES|QL time spans")."""


@dataclass(frozen=True, slots=True)
class Amount:
    """A time span: months or days of the calendar, or milliseconds."""

    months: int = 0
    days: int = 0
    ms: int = 0

    @property
    def type(self) -> str:
        """``time_duration`` when it is a number of milliseconds."""
        return "date_period" if self.months or self.days else "time_duration"

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.months + other.months, self.days + other.days, self.ms + other.ms)

    def __neg__(self) -> Amount:
        return Amount(-self.months, -self.days, -self.ms)


def amount_of(number: int, unit: str) -> Amount | None:
    """``5 minutes``; None for a word that is no unit."""
    if unit in DURATIONS:
        return Amount(ms=number * DURATIONS[unit])
    if unit in PERIODS:
        base, factor = PERIODS[unit]
        return Amount(days=number * factor) if base == "day" else Amount(months=number * factor)
    return None


@dataclass(frozen=True, slots=True)
class Value:
    """A typed expression.

    :param sql: DuckDB text of its value, or of the list of its values when ``multi``
    :param node: where it stands, for errors and warnings
    :param atom: whether writing ``sql`` twice costs nothing
    :param constant: whether it is the same for every row
    :param literal: the Python value of a constant that is known already; see :attr:`known`
    :param field: the mapped field it is, unchanged
    """

    sql: str
    type: str
    node: Node
    multi: bool = False
    atom: bool = False
    constant: bool = False
    literal: Any = None
    field: Any = None

    @property
    def known(self) -> bool:
        """Whether :attr:`literal` says what it is."""
        return self.constant and (self.literal is not None or self.type == "null")

    @property
    def sql_type(self) -> str:
        """Its DuckDB type."""
        return SQL[self.type] + ("[]" if self.multi else "")


def shown(type_name: str) -> str:
    """A type as error messages name it."""
    return "datetime" if type_name == "date" else type_name


def wider(left: str, right: str) -> str | None:
    """The type that holds both; None when there is none."""
    if right in {left, "null"}:
        return left
    if left == "null":
        return right
    if left in STRINGS and right in STRINGS:
        return "keyword"
    if left in _RANK and right in _RANK:
        return max(left, right, key=_RANK.index)
    return None


def unresolved(node: Node) -> Value:
    """What stands for an expression that was refused already."""
    return Value("NULL", "unresolved", node, atom=True)


def null_of(node: Node, kind: str) -> Value:
    """NULL of a type."""
    return Value(f"CAST(NULL AS {SQL[kind]})", kind, node, atom=True)
