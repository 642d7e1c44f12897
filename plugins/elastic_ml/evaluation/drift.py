"""Histograms of what a model saw, and how far today is from them.

A baseline is kept in the model card and later compared with counts from one aggregation, so bins follow Elasticsearch's
`range` aggregation: `from` inclusive, `to` exclusive. PSI (population stability index) is the symmetric
Kullback-Leibler divergence of two histograms; below 0.1 is usually called stable, above 0.2 shifted
(Siddiqi, "Credit Risk Scorecards", 2006).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def numeric_baseline(values: ArrayLike, bins: int = 10) -> dict[str, Any]:
    """Return `{kind: numeric, edges, counts, missing}` with about equally filled bins.

    :param values: shape (rows,); nan = missing.
    :return: `edges` are the inner bounds (at most bins - 1, rising): bin 0 lies below edges[0], bin i in
        [edges[i-1], edges[i]), the last at or above edges[-1]; `counts` has one more entry than `edges`.
    """
    column = np.asarray(values, dtype=np.float64)
    present = column[~np.isnan(column)]
    edges = (
        np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
        if present.size
        else np.array([])
    )
    if edges.size and edges[0] == present.min():
        # Nothing lies below the smallest value: an edge there would leave the first bin empty for ever.
        above = present[present > edges[0]]
        edges = edges[1:] if edges.size > 1 else (above.min(keepdims=True) if above.size else np.array([]))
    return {
        "kind": "numeric",
        "edges": [float(edge) for edge in edges],
        "counts": _bin(present, edges.tolist()),
        "missing": int(column.size - present.size),
    }


def keyword_baseline(values: Iterable[str | bool | None], top: int = 20) -> dict[str, Any]:
    """Return `{kind: keyword, values, counts, other, missing}` for the `top` most frequent values, as text."""
    counted = Counter(None if value is None else keyword_text(value) for value in values)
    missing = counted.pop(None, 0)
    common = sorted(counted.items(), key=lambda item: (-item[1], str(item[0])))[:top]
    return {
        "kind": "keyword",
        "values": [name for name, _ in common],
        "counts": [count for _, count in common],
        "other": sum(counted.values()) - sum(count for _, count in common),
        "missing": missing,
    }


def keyword_text(value: object) -> str:
    """Return a value as a `terms` aggregation names it (`key_as_string` for booleans)."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def count_like(baseline: dict[str, Any], values: Sequence[Any]) -> list[int]:
    """Count `values` in the baseline's bins, in the order of `expected_counts`."""
    if baseline["kind"] == "numeric":
        column = np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
        present = column[~np.isnan(column)]
        return [*_bin(present, baseline["edges"]), int(column.size - present.size)]
    counted = Counter(None if value is None else keyword_text(value) for value in values)
    named = [counted.get(name, 0) for name in baseline["values"]]
    missing = counted.get(None, 0)
    return [*named, len(values) - sum(named) - missing, missing]


def expected_counts(baseline: dict[str, Any]) -> list[int]:
    """Return the baseline's counts with its `other` and `missing` bins at the end."""
    if baseline["kind"] == "numeric":
        return [*baseline["counts"], baseline["missing"]]
    return [*baseline["counts"], baseline["other"], baseline["missing"]]


def population_stability_index(expected: ArrayLike, actual: ArrayLike) -> float:
    """Return PSI of two histograms over the same bins.

    :param expected: shape (bins,), counts of the baseline.
    :param actual: shape (bins,), counts of today.
    :return: at least 0. Half a row is added to every bin used by either side, so an empty bin costs much but not
        infinitely much; bins empty on both sides are left out. nan when a side has no rows.
    """
    left, right = np.asarray(expected, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if left.shape != right.shape:
        raise ValueError(f"histograms over different bins: {left.shape} and {right.shape}")
    if left.sum() == 0 or right.sum() == 0:
        return float("nan")
    used = (left + right) > 0
    left, right = left[used] + 0.5, right[used] + 0.5
    left, right = left / left.sum(), right / right.sum()
    return float(((right - left) * np.log(right / left)).sum())


MOST_DAYS = 28
"""Days of the baseline that are kept one by one: four weeks know every weekday and a month's end."""
MARGIN = 2.0
"""How much further than the baseline's own most unusual day a day has to be to count as drift."""


def daily_reference(baseline: dict[str, Any], values: Sequence[Any], days: Sequence[str]) -> dict[str, Any]:
    """Return what the baseline's single days look like: `{fewest, counts, natural}`.

    One day is never like the mean of all: a Monday has other hours than a week. So a day is compared with the
    baseline's days one by one, and how far these are from each other is what drift has to exceed. Days with few rows
    (weekends, holidays) are left out: a handful of sessions is no reference.

    :param values: shape (rows,), the values the baseline was made of.
    :param days: shape (rows,), the day of each.
    :return: `fewest`: rows that a usual day has at least, half of the median; `counts`: one histogram per usual day, in
        the order of `expected_counts`, at most the newest 28; `natural`: the largest distance of one such day from
        the most similar of the others, 0 for a single day.
    """
    by_day: dict[str, list[Any]] = {}
    for value, day in zip(values, days, strict=True):
        by_day.setdefault(day, []).append(value)
    fewest = float(np.median([len(rows) for rows in by_day.values()])) / 2 if by_day else 0.0
    usual = [day for day in sorted(by_day) if len(by_day[day]) >= fewest][-MOST_DAYS:]
    counts = [count_like(baseline, by_day[day]) for day in usual]
    whole = np.asarray(expected_counts(baseline))
    distances = [
        min(
            population_stability_index(other, day)
            for other in ([whole - day] if (whole - day).sum() > 0 else []) + counts[:number] + counts[number + 1 :]
        )
        for number, day in enumerate(counts)
        if len(counts) > 1
    ]
    return {"fewest": fewest, "counts": counts, "natural": max(distances, default=0.0)}


def distance(baseline: dict[str, Any], counts: Sequence[int]) -> float:
    """Return PSI of some rows against what they are most like: the whole baseline, or one of its days.

    :param baseline: with `days` from `daily_reference`, if it has them.
    :param counts: the rows, counted by `count_like`.
    :return: at least 0; nan without rows.
    """
    references = [expected_counts(baseline), *(baseline.get("days") or {}).get("counts", [])]
    return min(population_stability_index(reference, counts) for reference in references)


def drift_limit(baseline: dict[str, Any], psi_limit: float) -> float:
    """Return the distance above which a day has drifted: the model file's limit, or more where days differ anyway."""
    return max(psi_limit, MARGIN * float((baseline.get("days") or {}).get("natural", 0.0)))


def row_text(value: Any) -> Any:
    """Return a value of `_source` as training reads it: a list is one text, `a,b`."""
    return ",".join(map(keyword_text, value)) if isinstance(value, list) else value


def _bin(present: ArrayLike, edges: Sequence[float]) -> list[int]:
    index = np.searchsorted(np.asarray(edges, dtype=np.float64), np.asarray(present), side="right")
    return [int(count) for count in np.bincount(index, minlength=len(edges) + 1)]
