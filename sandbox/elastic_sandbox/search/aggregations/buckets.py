"""Bucket aggregations by condition: filter, filters, missing, range."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elastic_sandbox.errors import illegal_argument, parsing, unsupported
from elastic_sandbox.search.aggregations.base import Aggregation, FieldColumn, Result, Run
from elastic_sandbox.search.query_parser import parse_query


@dataclass
class Conditional(Aggregation):
    """Buckets given by conditions on a document; a document may lie in several."""

    conditions: list[str] = field(default_factory=list)

    def counted(self, run: Run, relation: str, buckets: int) -> list[list[Result]]:
        """For each parent bucket the ``doc_count`` and children of each condition's bucket."""
        wide = len(self.conditions)
        tests = ", ".join(f"count(*) FILTER ({condition})" for condition in self.conditions)
        counts = {row[0]: row[1:] for row in run.rows(f"SELECT b, {tests} FROM {relation} GROUP BY b")}
        results: list[list[Result]] = [
            [{"doc_count": count} for count in counts.get(b, (0,) * wide)] for b in range(buckets)
        ]
        if self.children:
            parts = [
                f"SELECT b * {wide} + {at} AS b, * EXCLUDE (b) FROM {relation} WHERE {condition}"
                for at, condition in enumerate(self.conditions)
            ]
            inner = run.children(self.children, run.table(" UNION ALL ".join(parts)), buckets * wide)
            for b in range(buckets):
                for at in range(wide):
                    results[b][at] |= inner[b * wide + at]
        return results


@dataclass
class Filter(Conditional):
    """The documents that match a query."""

    def prepare(self, run: Run) -> None:
        """Parse the query."""
        self.conditions = [run.predicate(parse_query(self.body))]

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """One bucket."""
        return [result[0] for result in self.counted(run, relation, buckets)]


@dataclass
class Missing(Conditional):
    """The documents without a value in a field."""

    def prepare(self, run: Run) -> None:
        """Ask for the field."""
        if "field" not in self.body:
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        column = run.field(self.body["field"], self.body.get("missing"))
        self.conditions = [f"coalesce(len({column.name}), 0) = 0" if column.multi else f"{column.name} IS NULL"]

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """One bucket."""
        return [result[0] for result in self.counted(run, relation, buckets)]


@dataclass
class Filters(Conditional):
    """One bucket per query, named or in order."""

    names: list[str] | None = None

    def prepare(self, run: Run) -> None:
        """Parse the queries."""
        filters = self.body.get("filters")
        if isinstance(filters, dict):
            # Named buckets come back sorted by name.
            self.names = sorted(filters)
            queries = [filters[name] for name in self.names]
        elif isinstance(filters, list):
            queries = filters
        else:
            raise parsing("Missing [filters] in the filters aggregation")
        self.conditions = [run.predicate(parse_query(query)) for query in queries]
        other = self.body.get("other_bucket_key")
        if other is not None or self.body.get("other_bucket"):
            self.conditions.append("NOT (" + " OR ".join(self.conditions) + ")")
            if self.names is not None:
                self.names.append(other or "_other_")

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Buckets by name, or as a list."""
        counted = self.counted(run, relation, buckets)
        if self.names is None:
            return [{"buckets": result} for result in counted]
        return [{"buckets": dict(zip(self.names, result, strict=True))} for result in counted]


@dataclass
class Range(Conditional):
    """One bucket per range of numbers, ``from`` included and ``to`` not."""

    shown: list[Result] = field(default_factory=list)
    column: FieldColumn | None = None

    def prepare(self, run: Run) -> None:
        """Ask for the field and sort the ranges."""
        if "field" not in self.body:
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        column = run.field(self.body["field"], self.body.get("missing"))
        if column.kind not in {"long", "double"} and any(view.target(column.path) for view in run.plan.views):
            raise unsupported(f"a range aggregation on field [{column.path}] of kind [{column.kind}]")
        ranges = self.body.get("ranges")
        if not ranges:
            raise illegal_argument("No [ranges] specified for the [range] aggregation")
        for item in ranges:
            for key in item:
                if key not in {"from", "to", "key"}:
                    raise parsing(f"[range] unknown field [{key}]")
        infinite = float("inf")
        ordered = sorted(ranges, key=lambda r: (_number(r.get("from"), -infinite), _number(r.get("to"), infinite)))
        for item in ordered:
            low, high = _number(item.get("from"), None), _number(item.get("to"), None)
            tests = [f"{{}} >= {low!r}"] if low is not None else []
            tests += [f"{{}} < {high!r}"] if high is not None else []
            test = " AND ".join(tests) or "{} IS NOT NULL"
            if column.kind == "keyword":
                self.conditions.append("false")  # mapped nowhere
            elif column.multi:
                inner = test.replace("{}", "x")
                self.conditions.append(f"coalesce(len(list_filter({column.name}, lambda x: {inner})), 0) > 0")
            else:
                self.conditions.append(test.replace("{}", column.name))
            key = item.get("key", f"{'*' if low is None else low}-{'*' if high is None else high}")
            bucket: Result = {"key": key}
            if low is not None:
                bucket["from"] = low
            if high is not None:
                bucket["to"] = high
            self.shown.append(bucket)

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Buckets in ascending order, keyed if asked."""
        merged = [
            [{**shown, **result} for shown, result in zip(self.shown, counted, strict=True)]
            for counted in self.counted(run, relation, buckets)
        ]
        if self.body.get("keyed"):
            return [{"buckets": {bucket.pop("key"): bucket for bucket in row}} for row in merged]
        return [{"buckets": row} for row in merged]


def _number(value: Any, default: float | None) -> Any:
    return default if value is None else float(value)
