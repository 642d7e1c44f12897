"""How sure a figure is: bootstrap percentile intervals, for one model and for the difference of two on the same rows.

Rows are resampled by multinomial weights (Efron 1979), so each round costs one cumulative sum over rows sorted once:
200 rounds of AUC over 100,000 rows take about a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elastic_ml.evaluation.ranking import Ranked, auc_of, average_precision_of

RankingMetric = Callable[[Ranked, "NDArray[np.float64] | None"], float]
RANKING_METRICS: dict[str, RankingMetric] = {"auc_roc": auc_of, "average_precision": average_precision_of}


@dataclass(frozen=True)
class Interval:
    """A figure and the range that holds it with the given confidence; low and high are nan when undefined."""

    value: float
    low: float
    high: float
    confidence: float = 0.95

    def to_json(self) -> dict[str, float | None]:
        """Return the fields, with None for nan, as stored in a model card."""
        return {name: None if np.isnan(value) else float(value) for name, value in asdict(self).items()}


def _interval(value: float, samples: list[float], confidence: float) -> Interval:
    usable = np.array([sample for sample in samples if not np.isnan(sample)])
    if np.isnan(value) or usable.size == 0:
        return Interval(value, float("nan"), float("nan"), confidence)
    tail = (1 - confidence) / 2
    return Interval(value, float(np.quantile(usable, tail)), float(np.quantile(usable, 1 - tail)), confidence)


def bootstrap_interval(
    metric: str,
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a ranking metric (`auc_roc` or `average_precision`) with its bootstrap interval.

    :param labels: shape (rows,), truthy for the positive class.
    :param scores: shape (rows,).
    :param rounds: resamples; 200 settle a 95 % interval to about a tenth of its width.
    :param seed: the same seed and rows give the same interval, so a re-run writes the same card.
    """
    measure, ranked = RANKING_METRICS[metric], Ranked.of(labels, scores)
    rows = ranked.order.size
    samples: list[float] = []
    generator = np.random.default_rng(seed)
    for _ in range(rounds if rows else 0):
        weights = np.bincount(generator.integers(0, rows, rows), minlength=rows).astype(float)
        samples.append(measure(ranked, weights))
    return _interval(measure(ranked, None), samples, confidence)


def paired_difference(
    metric: str,
    labels: ArrayLike,
    challenger: ArrayLike,
    champion: ArrayLike,
    *,
    rounds: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return challenger minus champion with its interval, both measured on the same resampled rows.

    The challenger is worse beyond doubt when `high` is below zero. Comparing two separate intervals instead would call
    many real differences a tie, since most of the spread is which rows were drawn, and that is common to both.
    """
    measure = RANKING_METRICS[metric]
    ours, theirs = Ranked.of(labels, challenger), Ranked.of(labels, champion)
    rows = ours.order.size
    samples: list[float] = []
    generator = np.random.default_rng(seed)
    for _ in range(rounds if rows else 0):
        weights = np.bincount(generator.integers(0, rows, rows), minlength=rows).astype(float)
        samples.append(measure(ours, weights) - measure(theirs, weights))
    return _interval(measure(ours, None) - measure(theirs, None), samples, confidence)


def bootstrap_mean(values: ArrayLike, *, rounds: int = 200, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean of `values` (rows,) with its bootstrap interval, for errors of a regression."""
    column = np.asarray(values, dtype=np.float64)
    if column.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"), confidence)
    generator = np.random.default_rng(seed)
    samples = [float(column[generator.integers(0, column.size, column.size)].mean()) for _ in range(rounds)]
    return _interval(float(column.mean()), samples, confidence)
