"""Histograms of numbers and of dates, gaps filled."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported
from elastic_sandbox.search.aggregations.base import Aggregation, FieldColumn, Result, Run
from elastic_sandbox.search.aggregations.rounding import (
    Rounding,
    number_key,
    number_steps,
    rounding_of,
)
from elastic_sandbox.search.dates import bound, zone_of

MAX_BUCKETS = 65_536


def date_keys(run: Run, relation: str, column: FieldColumn, rounding: Rounding) -> str:
    """``relation`` with the key of each date in ``v``, one row per distinct key of a document."""
    arithmetic = rounding.arithmetic
    if arithmetic is not None:
        return f"SELECT *, {column.key(arithmetic)} AS v FROM {relation}"
    grain = rounding.grain_ms
    keyed = f"SELECT *, {column.key(f'({{}} - ((({{}} % {grain}) + {grain}) % {grain}))')} AS q FROM {relation}"
    known = [row[0] for row in run.rows(f"SELECT DISTINCT q FROM ({keyed}) WHERE q IS NOT NULL")]
    add = run.plan.parameters.add
    mapping = run.table(
        f"SELECT unnest({add(known)}::BIGINT[]) AS q, unnest({add([rounding.key(q) for q in known])}::BIGINT[]) AS v"
    )
    # Two grains of one document may lie in one bucket, which counts it once.
    distinct = "DISTINCT " if column.multi else ""
    return f"SELECT {distinct}r.* EXCLUDE (q), m.v FROM ({keyed}) AS r LEFT JOIN {mapping} AS m ON r.q = m.q"


@dataclass
class Histogram(Aggregation):
    """A bucket per interval; dates when ``dates``."""

    dates: bool = False
    column: FieldColumn | None = None
    rounding: Rounding | None = None

    def prepare(self, run: Run) -> None:
        """Ask for the field and read the interval."""
        if "field" not in self.body:
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        self.column = run.field(self.body["field"], self.body.get("missing"))
        int(self.body.get("min_doc_count", 0))
        mapped = any(view.target(self.column.path) for view in run.plan.views)
        if self.dates:
            self.rounding = rounding_of(self.body, self.name)
            if mapped and self.column.kind != "date":
                raise unsupported(f"a date_histogram on field [{self.column.path}], which is no date,")
        else:
            if float(self.body.get("interval", 0)) <= 0:
                raise illegal_argument("[interval] must be >0 for histogram aggregation [" + self.name + "]")
            float(self.body.get("offset", 0))
            if mapped and self.column.kind not in {"long", "double"}:
                raise unsupported(f"a histogram on field [{self.column.path}], which is no number,")

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Buckets in order of their key."""
        assert self.column is not None
        if self.column.kind == "keyword":
            return [{"buckets": {} if self.body.get("keyed") else []} for _ in range(buckets)]
        keyed = self._keyed(run, relation)
        groups: dict[int, dict[Any, int]] = {b: {} for b in range(buckets)}
        for b, key, count in run.rows(f"SELECT b, v, count(*) FROM ({keyed}) WHERE v IS NOT NULL GROUP BY b, v"):
            groups[b][key] = count
        minimum = int(self.body.get("min_doc_count", 0))
        chosen: list[tuple[int, Any, int]] = []
        spans = []
        for b, group in groups.items():
            start = len(chosen)
            keys = (
                self._filled(group, run.plan.now_ms)
                if minimum == 0
                else sorted(k for k in group if group[k] >= minimum)
            )
            chosen += [(b, key, group.get(key, 0)) for key in self._ordered(keys, group)]
            spans.append((start, len(chosen)))
        if len(chosen) > MAX_BUCKETS:
            raise ElasticError(
                400,
                "too_many_buckets_exception",
                f"Trying to create too many buckets. Must be less than or equal to: [{MAX_BUCKETS}] but this "
                "number of buckets "
                "was exceeded. This limit can be set by changing the [search.max_buckets] cluster level setting.",
                max_buckets=MAX_BUCKETS,
            )
        inner: list[Result] = [{} for _ in chosen]
        if self.children and chosen:
            key_type = "BIGINT" if self.dates else "DOUBLE"
            inner = run.children(
                self.children, run.inside(keyed, [(b, key) for b, key, _ in chosen], key_type), len(chosen)
            )
        return [self._shown(chosen[start:end], inner[start:end]) for start, end in spans]

    def _keyed(self, run: Run, relation: str) -> str:
        assert self.column is not None
        if self.dates:
            assert self.rounding is not None
            return date_keys(run, relation, self.column, self.rounding)
        key = number_key(float(self.body["interval"]), float(self.body.get("offset", 0)))
        return f"SELECT *, {self.column.key(key)} AS v FROM {relation}"

    def _filled(self, group: dict[Any, int], now_ms: int) -> list[Any]:
        bounds = self.body.get("extended_bounds")
        ends = sorted(group)
        if bounds:
            ends = sorted(
                [*ends, *(self._bound_key(bounds[side], now_ms) for side in ("min", "max") if side in bounds)]
            )
        if not ends:
            return []
        if not self.dates:
            return number_steps(ends[0], ends[-1], float(self.body["interval"]), float(self.body.get("offset", 0)))
        assert self.rounding is not None
        keys = [ends[0]]
        while keys[-1] < ends[-1]:
            if len(keys) > MAX_BUCKETS:
                break
            keys.append(self.rounding.next(keys[-1]))
        return keys

    def _bound_key(self, value: Any, now_ms: int) -> Any:
        assert self.column is not None
        if self.dates:
            assert self.rounding is not None
            zone = zone_of(str(self.body.get("time_zone", "UTC")))
            return self.rounding.key(
                bound(value, self.body.get("format") or self.column.format, zone, now_ms, round_up=False)
            )
        interval, offset = float(self.body["interval"]), float(self.body.get("offset", 0))
        return (float(value) - offset) // interval * interval + offset

    def _ordered(self, keys: list[Any], group: dict[Any, int]) -> list[Any]:
        order = self.body.get("order", {"_key": "asc"})
        [(path, direction)] = order.items() if isinstance(order, dict) and len(order) == 1 else [("?", "?")]
        if path not in {"_key", "_count"} or str(direction).lower() not in {"asc", "desc"}:
            raise unsupported(f"order {order} of a histogram")
        descending = str(direction).lower() == "desc"
        if path == "_key":
            return keys[::-1] if descending else keys
        return sorted(keys, key=lambda key: ((-1 if descending else 1) * group.get(key, 0), key))

    def _shown(self, chosen: list[tuple[int, Any, int]], inner: list[Result]) -> Result:
        assert self.column is not None
        shown = []
        for (_, key, count), children in zip(chosen, inner, strict=True):
            zone = None if self.rounding is None else self.rounding.zone
            entry = self.column.shown(key, self.body.get("format"), zone) if self.dates else {"key": key}
            shown.append({**_text_first(entry), "doc_count": count, **children})
        if self.body.get("keyed"):
            return {"buckets": {str(bucket.get("key_as_string", bucket["key"])): bucket for bucket in shown}}
        return {"buckets": shown}


def _text_first(entry: Result) -> Result:
    """``key_as_string`` before ``key``, as the server prints a date's bucket."""
    return dict(sorted(entry.items(), key=lambda item: item[0] != "key_as_string"))
