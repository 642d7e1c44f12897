"""The terms aggregation: a bucket per value, the most frequent first."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cmp_to_key, partial
from typing import Any

from elastic_sandbox.documents.columns import ip_to_column
from elastic_sandbox.errors import ElasticError, illegal_argument, parsing, unsupported
from elastic_sandbox.indices.dates import parse_date
from elastic_sandbox.search.aggregations.base import Aggregation, FieldColumn, Result, Run
from elastic_sandbox.search.aggregations.metrics import Metric
from elastic_sandbox.search.view import KIND_SQL

# Operators Lucene's regular expressions have and Python's have not, or mean otherwise.
_LUCENE_ONLY = re.compile(r'(?<!\\)[~@&<>#"]')


@dataclass
class Terms(Aggregation):
    """A bucket per distinct value of a field."""

    column: FieldColumn | None = None
    order: list[tuple[str, bool]] = field(default_factory=list)

    def prepare(self, run: Run) -> None:
        """Ask for the field and read the order."""
        if "field" not in self.body:
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        self.column = run.field(self.body["field"], self.body.get("missing"))
        if self._size() <= 0:
            raise illegal_argument(f"[size] must be greater than 0. Found [{self._size()}] in [{self.name}]")
        if int(self.body.get("min_doc_count", 1)) == 0:
            raise unsupported("min_doc_count 0 of a terms aggregation")
        self.order = _order(self.body.get("order", {"_count": "desc"}))
        for path, _ in self.order:
            if path not in {"_count", "_key"}:
                self._metric(path)
        self._accepted()

    def _size(self) -> int:
        return int(self.body.get("size", 10))

    def _metric(self, path: str) -> tuple[Metric, str]:
        if ">" in path:
            raise unsupported(f"ordering a terms aggregation by the path [{path}]")
        name, _, member = path.partition(".")
        child = next((child for child in self.children if child.name == name), None)
        if child is None:
            raise ElasticError(
                400,
                "aggregation_execution_exception",
                f"Invalid aggregation order path [{path}]. The provided aggregation [{name}] either does not "
                "exist, or is a "
                "pipeline aggregation and cannot be used to sort the buckets.",
            )
        if not isinstance(child, Metric):
            raise unsupported(f"ordering a terms aggregation by [{path}]")
        return child, member or "value"

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Buckets, and how many documents lie in those left out."""
        assert self.column is not None
        key_type = KIND_SQL[self.column.kind]
        keyed = f"SELECT *, {self.column.key()} AS v FROM {relation}"
        rows = run.rows(f"SELECT b, v, count(*) FROM ({keyed}) WHERE v IS NOT NULL GROUP BY b, v")
        groups: dict[int, list[tuple[Any, int]]] = {b: [] for b in range(buckets)}
        total = dict.fromkeys(range(buckets), 0)
        accepted = self._accepted()
        for b, key, count in rows:
            if accepted(key):
                groups[b].append((key, count))
                total[b] += count
        metrics = self._order_values(run, keyed, groups, key_type)
        minimum = int(self.body.get("min_doc_count", 1))
        chosen: list[tuple[int, Any, int]] = []
        spans = []
        for b in range(buckets):
            group = [item for item in groups[b] if item[1] >= minimum]
            group.sort(key=cmp_to_key(partial(self._compare, metrics, b)))
            start = len(chosen)
            chosen += [(b, key, count) for key, count in group[: self._size()]]
            spans.append((start, len(chosen)))
        inner: list[Result] = [{} for _ in chosen]
        if self.children and chosen:
            kept = run.inside(keyed, [(b, key) for b, key, _ in chosen], key_type)
            inner = run.children(self.children, kept, len(chosen))
        results = []
        for b, (start, end) in enumerate(spans):
            shown = [
                {**self.column.shown(key, self.body.get("format")), "doc_count": count, **inner[start + at]}
                for at, (_, key, count) in enumerate(chosen[start:end])
            ]
            others = total[b] - sum(count for _, _, count in chosen[start:end])
            results.append({"doc_count_error_upper_bound": 0, "sum_other_doc_count": others, "buckets": shown})
        return results

    def _order_values(
        self, run: Run, keyed: str, groups: dict[int, list[tuple[Any, int]]], key_type: str
    ) -> dict[tuple[str, int, Any], float]:
        values: dict[tuple[str, int, Any], float] = {}
        for path, _ in self.order:
            if path in {"_count", "_key"}:
                continue
            metric, member = self._metric(path)
            every = [(b, key) for b, group in groups.items() for key, _ in group]
            if every:
                results = metric.results(run, run.inside(keyed, every, key_type), len(every))
                for (b, key), result in zip(every, results, strict=True):
                    values[path, b, key] = metric.order_value(result, member)
        return values

    def _compare(
        self, metrics: dict[tuple[str, int, Any], float], b: int, left: tuple[Any, int], right: tuple[Any, int]
    ) -> int:
        for path, descending in [*self.order, ("_key", False)]:
            x: Any
            y: Any
            if path == "_count":
                x, y = left[1], right[1]
            elif path == "_key":
                x, y = left[0], right[0]
            else:
                x, y = metrics[path, b, left[0]], metrics[path, b, right[0]]
                if math.isnan(x) or math.isnan(y):
                    if math.isnan(x) and math.isnan(y):
                        continue
                    return 1 if math.isnan(x) else -1
            if x != y:
                return (1 if x > y else -1) * (-1 if descending else 1)
        return 0

    def _accepted(self) -> Any:
        assert self.column is not None
        include, exclude = self.body.get("include"), self.body.get("exclude")
        if isinstance(include, dict) or isinstance(exclude, dict):
            raise unsupported("partitions in [include] of a terms aggregation")
        wanted = None if include is None else self._test(include, "include")
        unwanted = None if exclude is None else self._test(exclude, "exclude")
        return lambda key: (wanted is None or wanted(key)) and (unwanted is None or not unwanted(key))

    def _test(self, given: Any, what: str) -> Any:
        assert self.column is not None
        kind = self.column.kind
        if isinstance(given, list):
            values = {_value(kind, item) for item in given}
            return lambda key: key in values
        if kind != "keyword":
            raise illegal_argument(
                f"Aggregation [{self.name}] cannot support regular expression style include/exclude settings as "
                "they can only "
                "be applied to string fields. Use an array of values for include/exclude clauses"
            )
        if _LUCENE_ONLY.search(str(given)):
            raise unsupported(f"the regular expression [{given}] in [{what}] of a terms aggregation")
        regex = re.compile(str(given), re.DOTALL)
        return lambda key: regex.fullmatch(key) is not None


def _value(kind: str, item: Any) -> Any:
    if kind == "long":
        return int(item)
    if kind == "double":
        return float(item)
    if kind == "boolean":
        return item in {True, "true"}
    if kind == "date":
        return parse_date(item)
    return ip_to_column(str(item)) if kind == "ip" else str(item)


def _order(body: Any) -> list[tuple[str, bool]]:
    """(path, descending) of each criterion."""
    criteria = []
    for item in body if isinstance(body, list) else [body]:
        if not isinstance(item, dict) or len(item) != 1:
            raise parsing(
                "Must specify at least one field for [order]"
                if item == {}
                else "Order must be an object with one field"
            )
        [(path, direction)] = item.items()
        if str(direction).lower() not in {"asc", "desc"}:
            raise parsing(f"Unknown order direction [{direction}]")
        criteria.append((path, str(direction).lower() == "desc"))
    return criteria
