"""Metric aggregations: one number, or a few, per bucket."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported
from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.search.aggregations.base import Aggregation, FieldColumn, Result, Run

DEFAULT_PERCENTS = (1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0)


@dataclass
class Metric(Aggregation):
    """An aggregation over the values of one field; ``kind`` is its name in the DSL."""

    kind: str = ""
    column: FieldColumn | None = None

    def prepare(self, run: Run) -> None:
        """Ask for the field."""
        path = self.body.get("field")
        if path is None:
            raise illegal_argument("Required one of fields [field, script], but none were specified. ")
        self.column = run.field(path, self.body.get("missing"))
        float(self.body.get("sigma", 2.0))
        if self.kind == "percentiles":
            self._percents()
        numeric = self.column.kind not in {"keyword", "ip"} or not any(
            view.target(path) is not None for view in run.plan.views
        )
        if not numeric and self.kind not in {"value_count", "cardinality"}:
            declared = next(target.type for view in run.plan.views if (target := view.target(path)) is not None)
            raise ElasticError(
                400,
                "search_phase_execution_exception",
                "all shards failed",
                root_cause=[_unaggregatable(path, declared, self.kind)],
                phase="query",
                grouped=True,
                failed_shards=[
                    {
                        "shard": 0,
                        "index": run.plan.views[0].index.name,
                        "node": run.plan.node,
                        "reason": _unaggregatable(path, declared, self.kind),
                    }
                ],
                caused_by={
                    **_unaggregatable(path, declared, self.kind),
                    "caused_by": _unaggregatable(path, declared, self.kind),
                },
            )

    def results(self, run: Run, relation: str, buckets: int) -> list[Result]:
        """Grouped by bucket; buckets without values give the empty result."""
        assert self.column is not None
        values = f"SELECT b, {self.column.values()} AS v FROM {relation}"
        number = "v" if self.kind in {"value_count", "cardinality"} else "v::DOUBLE"
        sql = self._sql(number)
        found = {row[0]: row[1:] for row in run.rows(f"SELECT b, {sql} FROM ({values}) WHERE v IS NOT NULL GROUP BY b")}
        return [self._result(found.get(b)) for b in range(buckets)]

    def _sql(self, v: str) -> str:
        if self.kind in {"min", "max", "avg", "sum"}:
            return f"{self.kind}({v})"
        if self.kind == "value_count":
            return f"count({v})"
        if self.kind == "cardinality":
            return f"count(DISTINCT {v})"
        basic = f"count({v}), min({v}), max({v}), avg({v}), sum({v})"
        if self.kind == "stats":
            return basic
        if self.kind == "extended_stats":
            return f"{basic}, sum({v} * {v}), var_pop({v}), var_samp({v})"
        fractions = ", ".join(repr(percent / 100) for percent in self._percents())
        return f"quantile_cont({v}, [{fractions}])"

    def _result(self, row: tuple[Any, ...] | None) -> Result:
        if self.kind in {"value_count", "cardinality"}:
            return {"value": 0 if row is None else row[0]}
        if self.kind == "sum":
            return self._single(0.0 if row is None else row[0])
        if self.kind in {"min", "max", "avg"}:
            return self._single(None if row is None else row[0])
        if self.kind == "stats":
            return self._stats(row)
        if self.kind == "extended_stats":
            return {**self._stats(row), **self._extended(row)}
        return self._percentiles(None if row is None else row[0])

    def _text(self, value: float) -> str | None:
        assert self.column is not None
        if self.column.kind == "date":
            return format_date(int(value), self.column.format)
        if self.column.kind == "boolean":
            return "true" if value else "false"
        return None

    def _single(self, value: float | None) -> Result:
        text = None if value is None else self._text(value)
        return {"value": value} if text is None else {"value": value, "value_as_string": text}

    def _stats(self, row: tuple[Any, ...] | None) -> Result:
        names = ("count", "min", "max", "avg", "sum")
        stats: Result = dict(zip(names, row or (0, None, None, None, 0.0), strict=False))
        if row is not None and self._text(0) is not None:
            stats |= {f"{name}_as_string": self._text(stats[name]) for name in names[1:]}
        return stats

    def _extended(self, row: tuple[Any, ...] | None) -> Result:
        sigma = float(self.body.get("sigma", 2.0))
        squares, population, sampling = (None, None, None) if row is None else row[5:8]
        average = 0.0 if row is None else row[3]

        def deviation(variance: float | None) -> float | str | None:
            if variance is None:
                return None if row is None else "NaN"
            return math.sqrt(max(variance, 0.0))

        def limit(variance: float | None, sign: int) -> float | str | None:
            spread = deviation(variance)
            return spread if isinstance(spread, str) or spread is None else average + sign * sigma * spread

        return {
            "sum_of_squares": squares,
            "variance": population,
            "variance_population": population,
            "variance_sampling": sampling if sampling is not None or row is None else "NaN",
            "std_deviation": deviation(population),
            "std_deviation_population": deviation(population),
            "std_deviation_sampling": deviation(sampling),
            "std_deviation_bounds": {
                "upper": limit(population, 1),
                "lower": limit(population, -1),
                "upper_population": limit(population, 1),
                "lower_population": limit(population, -1),
                "upper_sampling": limit(sampling, 1),
                "lower_sampling": limit(sampling, -1),
            },
        }

    def _percents(self) -> list[float]:
        if "hdr" in self.body:
            raise unsupported("[hdr] of a percentiles aggregation")
        percents = [float(percent) for percent in self.body.get("percents", DEFAULT_PERCENTS)]
        if any(not 0 <= percent <= 100 for percent in percents):
            raise illegal_argument(f"percent must be in [0,100], got [{max(percents)}]")
        return percents

    def _percentiles(self, values: list[float] | None) -> Result:
        # Linear interpolation between the sorted values, which is also what Elasticsearch's hybrid digest does up to
        # some thousand values per bucket; beyond, its t-digest approximates and this does not.
        percents = self._percents()
        shown: list[float | None] = [*values] if values else [None] * len(percents)
        if self.body.get("keyed", True):
            keyed: Result = {}
            for percent, value in zip(percents, shown, strict=True):
                keyed[str(percent)] = value
                text = None if value is None else self._text(value)
                if text is not None:
                    keyed[f"{percent}_as_string"] = text
            return {"values": keyed}
        return {"values": [{"key": p, "value": v} for p, v in zip(percents, shown, strict=True)]}

    def order_value(self, result: Result, member: str) -> float:
        """The number a terms aggregation orders by; missing ones come last whichever way."""
        if self.kind == "percentiles":
            for percent, value in result["values"].items():
                if not percent.endswith("_as_string") and float(percent) == float(member):
                    return math.nan if value is None else value
            raise illegal_argument(f"Invalid aggregation order path [{self.name}.{member}]")
        value = result.get(member)
        return math.nan if value is None or value == "NaN" else float(value)


def _unaggregatable(path: str, declared: str, kind: str) -> dict[str, Any]:
    return {
        "type": "illegal_argument_exception",
        "reason": f"Field [{path}] of type [{declared}] is not supported for aggregation [{kind}]",
    }
