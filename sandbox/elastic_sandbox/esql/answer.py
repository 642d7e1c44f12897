"""What a query answers: columns, rows, warnings, each value as JSON has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.documents.columns import ip_from_column
from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.runtime import java_double
from elastic_sandbox.indices.dates import format_date

if TYPE_CHECKING:
    from elastic_sandbox.esql.types import Value


@dataclass(frozen=True)
class Result:
    """The rows of a query.

    :param columns: ``{"name", "type"}`` of each, for a field of several types also ``original_types``
    :param values: one list per row; dates as text, lists for several values, None for none
    :param warnings: what the ``Warning`` header says
    """

    columns: list[dict[str, Any]]
    values: list[list[Any]]
    warnings: list[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dictionaries by column name."""
        names = [column["name"] for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.values]

    def columnar(self) -> list[list[Any]]:
        """One list per column instead."""
        return [list(column) for column in zip(*self.values, strict=True)] or [[] for _ in self.columns]


def described(name: str, value: Value) -> dict[str, Any]:
    """A column of the answer (REST test 160_union_types)."""
    column: dict[str, Any] = {"name": name, "type": value.type}
    if value.type == "unsupported":
        field = value.field
        column["original_types"] = sorted(field.types) if len(field.types) > 1 else field.original
        if len(field.types) > 1 and "unsupported" not in field.types:
            column["suggested_cast"] = "keyword"
    return column


def rendered(rows: list[tuple[Any, ...]], types: list[str]) -> list[list[Any]]:
    """DuckDB's rows as JSON values."""
    changed = [(at, _RENDER[kind]) for at, kind in enumerate(types) if kind in _RENDER]
    made = []
    for row in rows:
        values = [one[0] if type(one) is list and len(one) == 1 else one for one in row]
        for at, render in changed:
            value = values[at]
            if value is not None:
                values[at] = [render(one) for one in value] if type(value) is list else render(value)
        made.append(values)
    return made


@lru_cache(maxsize=65536)
def _date(ms: int) -> str:
    return format_date(ms)


def _points(text: str) -> Any:
    """Points as well-known text, from the source's own notation."""
    made = [_point(one) for one in orjson.loads(text)]
    return made[0] if len(made) == 1 else made


def _point(value: Any) -> str:
    if isinstance(value, dict) and "lat" in value:
        longitude, latitude = value["lon"], value["lat"]
    elif isinstance(value, str) and value.upper().startswith("POINT"):
        longitude, latitude = value[value.index("(") + 1 : value.index(")")].split()[:2]
    elif isinstance(value, str) and "," in value:
        latitude, longitude = value.split(",")
    else:
        raise unsupported(f"showing the geo_point [{value}]")
    return f"POINT ({java_double(str(longitude))} {java_double(str(latitude))})"


_RENDER: dict[str, Callable[[Any], Any]] = {
    "date": _date,
    "ip": ip_from_column,
    "_source": orjson.loads,
    "geo_point": _points,
}
