"""The composite aggregation: buckets by several sources, page by page."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elastic_sandbox.documents.columns import ip_from_column, ip_to_column
from elastic_sandbox.errors import illegal_argument, parsing, unsupported
from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.search.aggregations.base import Aggregation, FieldColumn, Result, Run
from elastic_sandbox.search.aggregations.histograms import date_keys
from elastic_sandbox.search.aggregations.rounding import Rounding, number_key, rounding_of
from elastic_sandbox.search.view import KIND_SQL


@dataclass
class Source:
    """One element of the key."""

    name: str
    kind: str
    column: FieldColumn
    descending: bool
    missing_bucket: bool
    rounding: Rounding | None
    interval: float | None
    format: str | None

    @property
    def key_type(self) -> str:
        """DuckDB type of the key."""
        return "DOUBLE" if self.interval is not None else KIND_SQL[self.column.kind]

    def shown(self, key: Any) -> Any:
        """The value in the bucket's ``key``."""
        if key is None:
            return None
        if self.rounding is not None and self.format is not None:
            return format_date(key, self.format, self.rounding.zone)
        return ip_from_column(key) if self.column.kind == "ip" else key

    def given(self, value: Any) -> Any:
        """A value of ``after`` as the column has it."""
        if value is None:
            return None
        if self.rounding is not None and isinstance(value, str):
            from elastic_sandbox.indices.dates import parse_date

            return parse_date(value, self.format or self.column.format)
        return ip_to_column(value) if self.column.kind == "ip" else value


@dataclass
class Composite(Aggregation):
    """Buckets in the order of their keys; ``after`` continues behind a key."""

    sources: list[Source] = field(default_factory=list)

    def prepare(self, run: Run) -> None:
        """Read the sources and ask for their fields."""
        sources = self.body.get("sources")
        if not isinstance(sources, list) or not sources:
            raise illegal_argument("Composite [sources] cannot be null or empty")
        for item in sources:
            [(name, definition)] = item.items()
            [(kind, body)] = definition.items()
            self.sources.append(_source(run, name, kind, body))
        int(self.body.get("size", 10))
        names = [source.name for source in self.sources]
        doubled = next((name for name in names if names.count(name) > 1), None)
        if doubled is not None:
            raise illegal_argument(f"Composite source names must be unique, found duplicates: [{doubled}]")
        after = self.body.get("after")
        if after is not None and set(after) != set(names):
            raise illegal_argument(
                f"Missing value for [after.{next(iter(set(names) - set(after)), names[0])}]"
                if len(after) <= len(names)
                else f"[after] has {len(after)} value(s) but [sources] has {len(names)}"
            )

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """The next ``size`` buckets and the key to go on from."""
        if buckets != 1:
            raise illegal_argument(
                "[composite] aggregation cannot be used with a parentAggregation of type: "
                "[MultiBucketsAggregatorFactory]"
            )
        keyed = self._keyed(run, relation)
        names = [f"v{at}" for at in range(len(self.sources))]
        listed = ", ".join(names)
        ordering = ", ".join(
            f"{name} {'DESC NULLS LAST' if source.descending else 'ASC NULLS FIRST'}"
            for name, source in zip(names, self.sources, strict=True)
        )
        size = int(self.body.get("size", 10))
        rows = run.rows(
            f"SELECT {listed}, count(*) FROM ({keyed}) WHERE {self._after(run)} GROUP BY {listed} ORDER BY "
            f"{ordering} LIMIT {size}"
        )
        inner: list[Result] = [{} for _ in rows]
        if self.children and rows:
            inner = run.children(self.children, self._inside(run, keyed, rows), len(rows))
        shown = [
            {
                "key": {source.name: source.shown(value) for source, value in zip(self.sources, row, strict=False)},
                "doc_count": row[-1],
                **children,
            }
            for row, children in zip(rows, inner, strict=True)
        ]
        return [{"after_key": shown[-1]["key"], "buckets": shown}] if shown else [{"buckets": []}]

    def _keyed(self, run: Run, relation: str) -> str:
        for at, source in enumerate(self.sources):
            if source.rounding is not None:
                sql = date_keys(run, relation, source.column, source.rounding)
            elif source.interval is not None:
                sql = f"SELECT *, {source.column.key(number_key(source.interval, 0.0))} AS v FROM {relation}"
            else:
                sql = f"SELECT *, {source.column.key()} AS v FROM {relation}"
            if source.column.multi and source.missing_bucket:
                raise unsupported(
                    f"missing_bucket of multi-valued field [{source.column.path}] in a composite aggregation"
                )
            keep = "" if source.missing_bucket else " WHERE v IS NOT NULL"
            relation = run.table(f"SELECT * RENAME (v AS v{at}) FROM ({sql}){keep}")
        return f"SELECT * FROM {relation}"

    def _after(self, run: Run) -> str:
        after = self.body.get("after")
        if after is None:
            return "true"
        steps: list[str] = []
        equal: list[str] = []
        for at, source in enumerate(self.sources):
            value = source.given(after[source.name])
            name = f"v{at}"
            if value is None:
                beyond = "false" if source.descending else f"{name} IS NOT NULL"
                same = f"{name} IS NULL"
            else:
                placeholder = f"{run.plan.parameters.add(value)}::{source.key_type}"
                beyond = (
                    f"({name} < {placeholder} OR {name} IS NULL)" if source.descending else f"{name} > {placeholder}"
                )
                same = f"{name} = {placeholder}"
            steps.append(" AND ".join([*equal, beyond]))
            equal.append(same)
        return " OR ".join(f"({step})" for step in steps)

    def _inside(self, run: Run, keyed: str, rows: list[tuple[Any, ...]]) -> str:
        add = run.plan.parameters.add
        columns = [
            f"unnest({add([row[at] for row in rows])}::{source.key_type}[]) AS v{at}"
            for at, source in enumerate(self.sources)
        ]
        mapping = f"SELECT {', '.join(columns)}, unnest({add(list(range(len(rows))))}::BIGINT[]) AS n"
        names = [f"v{at}" for at in range(len(self.sources))]
        joined = " AND ".join(f"k.{name} IS NOT DISTINCT FROM m.{name}" for name in names)
        return run.table(
            f"SELECT m.n AS b, k.* EXCLUDE (b, {', '.join(names)}) FROM ({keyed}) AS k JOIN ({mapping}) AS m ON "
            f"{joined}"
        )


def _source(run: Run, name: str, kind: str, body: dict[str, Any]) -> Source:
    known = {
        "terms": {"field"},
        "histogram": {"field", "interval"},
        "date_histogram": {"field", "calendar_interval", "fixed_interval", "time_zone", "offset", "format"},
    }
    if kind not in known:
        if kind == "geotile_grid":
            raise unsupported("source [geotile_grid] of a composite aggregation")
        raise parsing(f"invalid source type: {kind}")
    for key in body:
        if key == "missing_order":
            raise unsupported("[missing_order] of a composite aggregation")
        if key not in known[kind] | {"order", "missing_bucket"}:
            raise parsing(f"[{kind}] unknown field [{key}]")
    if "field" not in body:
        raise illegal_argument("Required one of fields [field, script], but none were specified. ")
    order = str(body.get("order", "asc")).lower()
    return Source(
        name,
        kind,
        run.field(body["field"]),
        order == "desc",
        bool(body.get("missing_bucket", False)),
        rounding_of(body, name) if kind == "date_histogram" else None,
        float(body["interval"]) if kind == "histogram" else None,
        body.get("format"),
    )
