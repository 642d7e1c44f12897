"""Sorting: what to order by, what a hit's ``sort`` shows, and the condition of ``search_after``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elastic_sandbox.documents.columns import ip_from_column, ip_to_column
from elastic_sandbox.errors import illegal_argument, parsing, unsupported
from elastic_sandbox.indices.dates import DEFAULT_FORMAT, format_date
from elastic_sandbox.search.dates import bound, zone_of
from elastic_sandbox.search.failures import fielddata_disabled, fielddata_of_id, query_shard
from elastic_sandbox.search.view import IndexView, Parameters

_LONG_MAX = 2**63 - 1
_LONG_MIN = -(2**63)
# A shard's documents are numbered from 0; 32 bits leave room for them below the shard's own number.
SHARD_DOC = "((i::BIGINT << 32) + _seq_no)"


@dataclass(frozen=True)
class SortKey:
    """One element of ``sort``."""

    path: str
    descending: bool = False
    missing: Any = "_last"
    unmapped_type: str | None = None
    format: str | None = None
    mode: str | None = None

    @property
    def special(self) -> bool:
        """Whether it sorts by something that is no field."""
        return self.path in {"_score", "_doc", "_shard_doc"}


def parse_sort(body: Any) -> list[SortKey]:
    """The keys of a ``sort``.

    :raises ElasticError: 400 parsing_exception, 501 for an option the sandbox has not
    """
    if body is None:
        return []
    return [_key(item) for item in (body if isinstance(body, list) else [body])]


def _key(item: Any) -> SortKey:
    if isinstance(item, str):
        path, _, order = item.partition(":")
        item = {path: order or ("desc" if path == "_score" else "asc")}
    if not isinstance(item, dict) or len(item) != 1:
        raise illegal_argument(
            "malformed sort format, within the sort array, an object, or an actual string are allowed"
        )
    [(path, options)] = item.items()
    if path in {"_geo_distance", "_script"}:
        raise unsupported(f"sort [{path}]")
    if isinstance(options, str):
        options = {"order": options}
    for key in options:
        if key in {"nested", "numeric_type"}:
            raise unsupported(f"[{key}] of a sort")
        if key not in {"order", "missing", "unmapped_type", "format", "mode"}:
            raise parsing(f"[field_sort] unknown field [{key}]")
    order = str(options.get("order", "desc" if path == "_score" else "asc")).lower()
    if order not in {"asc", "desc"}:
        raise illegal_argument(f"No enum constant org.elasticsearch.search.sort.SortOrder.{order.upper()}")
    mode = options.get("mode")
    if mode not in {None, "min", "max", "avg", "sum"}:
        raise unsupported(f"sort mode [{mode}]")
    return SortKey(
        path,
        order == "desc",
        options.get("missing", "_last"),
        options.get("unmapped_type"),
        options.get("format"),
        mode,
    )


@dataclass(frozen=True)
class Bound:
    """A sort key as one index computes it: SQL of its value, and the kind of the value."""

    sql: str
    kind: str
    format: str | None = None


def bind(key: SortKey, view: IndexView, score: str) -> Bound:
    """The key over one index.

    :raises ShardFailure: the field is not mapped, or is text
    """
    if key.path == "_score":
        return Bound(score, "double")
    if key.path in {"_doc", "_shard_doc"}:
        return Bound(f"(({view.ordinal}::BIGINT << 32) + _seq_no)", "long")
    if key.path == "_seq_no":
        return Bound("_seq_no", "long")
    if key.path == "_id":
        raise fielddata_of_id()
    if key.path in {"_index", "_version", "_source", "_routing", "_ignored"}:
        raise unsupported(f"sorting by [{key.path}]")
    target = view.target(key.path)
    if target is None:
        if key.unmapped_type is None:
            raise query_shard(f"No mapping found for [{key.path}] in order to sort on")
        return Bound("NULL", "unmapped")
    if target.kind == "text":
        raise fielddata_disabled(key.path, view.index.name)
    if target.kind in {"flattened", "geo_point"}:
        raise unsupported(f"sorting by field [{key.path}] of type [{target.type}]")
    sql = target.sql or "NULL"
    if target.multi:
        mode = key.mode or ("max" if key.descending else "min")
        sql = f"list_{mode}({sql})"
    if target.kind == "boolean":
        sql = f"({sql})::BIGINT"
    return Bound(
        sql, "long" if target.kind == "boolean" else target.kind, key.format if target.kind == "date" else None
    )


@dataclass(frozen=True)
class Ordering:
    """A sort key over all indices of a search; ``name`` is its column in the joined relation."""

    key: SortKey
    kind: str
    name: str
    format: str | None

    @property
    def sql_type(self) -> str:
        """Type every index's value is cast to."""
        return {"keyword": "VARCHAR", "ip": "VARCHAR", "double": "DOUBLE"}.get(self.kind, "BIGINT")

    @property
    def _missing_first(self) -> bool:
        return self.key.missing == "_first"

    def filled(self, sql: str, parameters: Parameters, now_ms: int) -> str:
        """The value of one index with its missing value filled in."""
        missing = self.key.missing
        typed = f"({sql})::{self.sql_type}"
        if missing not in {"_first", "_last"}:
            return f"coalesce({typed}, {parameters.add(self.decode(missing, now_ms))}::{self.sql_type})"
        if self.kind in {"keyword", "ip", "unmapped"}:
            return typed
        # Numbers that are missing sort as the greatest or the smallest number, and are shown as it.
        largest = self._missing_first == self.key.descending
        if self.kind == "double":
            return f"coalesce({typed}, '{'' if largest else '-'}Infinity'::DOUBLE)"
        return f"coalesce({typed}, {_LONG_MAX if largest else f'({_LONG_MIN + 1} - 1)'})"

    def order_by(self) -> str:
        """The ORDER BY terms."""
        direction = "DESC" if self.key.descending else "ASC"
        return f"{self.name} {direction} NULLS {'FIRST' if self._missing_first else 'LAST'}"

    def shown(self, value: Any) -> Any:
        """The value in a hit's ``sort``."""
        if value is None:
            return None
        if self.kind == "ip":
            return ip_from_column(value)
        if self.kind == "double" and value in {float("inf"), float("-inf")}:
            return "Infinity" if value > 0 else "-Infinity"
        if self.kind == "date" and self.format is not None and abs(value) < 253402300800000:
            return format_date(value, self.format)
        return value

    def decode(self, value: Any, now_ms: int) -> Any:
        """A ``search_after`` or ``missing`` value as the column has it."""
        if value is None:
            return None
        try:
            if self.kind == "ip":
                return ip_to_column(str(value))
            if self.kind == "keyword":
                return value if isinstance(value, str) else str(value)
            if self.kind == "double":
                return float(value)
            if self.kind == "date" and isinstance(value, str):
                return bound(value, self.format or DEFAULT_FORMAT, zone_of("UTC"), now_ms, round_up=False)
            return int(value)
        except (TypeError, ValueError):
            raise illegal_argument(f"Failed to parse search_after value for field [{self.key.path}].") from None


def orderings(keys: list[SortKey], bound_by_index: list[list[Bound]]) -> list[Ordering]:
    """Join the keys of all indices.

    :raises ElasticError: 400 when a field is a string in one index and a number in another
    """
    joined = []
    for at, key in enumerate(keys):
        kinds = {bounds[at].kind for bounds in bound_by_index} - {"unmapped"}
        if kinds <= {"long", "double"} and len(kinds) == 2:
            kinds = {"double"}
        if len(kinds) > 1:
            names = ", ".join(sorted(f"[{'STRING' if kind in {'keyword', 'ip'} else 'LONG'}]" for kind in kinds))
            raise illegal_argument(
                f"Can't sort on field [{key.path}]; the field has incompatible sort types: {names} across shards!"
            )
        kind = next(iter(kinds), "keyword")
        date_format = next((bounds[at].format for bounds in bound_by_index if bounds[at].format), None)
        joined.append(Ordering(key, kind, f"k{at}", date_format))
    return joined


def after(orders: list[Ordering], values: list[Any], parameters: Parameters, now_ms: int) -> str:
    """The condition that a document comes after ``values``."""
    if len(values) != len(orders):
        raise illegal_argument(f"search_after has {len(values)} value(s) but sort has {len(orders)}.")
    steps = []
    equal: list[str] = []
    for order, value in zip(orders, values, strict=True):
        decoded = order.decode(value, now_ms)
        steps.append(" AND ".join([*equal, _beyond(order, decoded, parameters)]))
        placeholder = "NULL" if decoded is None else parameters.add(decoded)
        equal.append(f"{order.name} IS NOT DISTINCT FROM {placeholder}")
    return " OR ".join(f"({step})" for step in steps) or "true"


def _beyond(order: Ordering, value: Any, parameters: Parameters) -> str:
    nulls_last = order.key.missing != "_first"
    if value is None:
        return "false" if nulls_last else f"{order.name} IS NOT NULL"
    sign = "<" if order.key.descending else ">"
    condition = f"{order.name} {sign} {parameters.add(value)}::{order.sql_type}"
    return f"({condition} OR {order.name} IS NULL)" if nulls_last else condition
