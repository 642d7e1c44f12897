"""How well a score ranks: the figures Elasticsearch's `_evaluate` has no word for, and its AUC without sketches.

All functions take `labels` (rows,), truthy for the positive class, `scores` (rows,), higher = more suspicious, and
optional non-negative `weights` (rows,), which is how the bootstrap resamples without copying rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Ranked:
    """Scores sorted once, equal scores grouped: every ranking metric is then a cumulative sum.

    :param order: shape (rows,), row numbers by falling score.
    :param starts: shape (groups,), where each group of equal scores starts in `order`.
    :param positives: shape (rows,), 1.0 for the positive class, in the order of `order`.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    positives: NDArray[np.float64]

    @classmethod
    def of(cls, labels: ArrayLike, scores: ArrayLike) -> Ranked:
        """Sort `scores` falling and remember where ties begin."""
        values = np.asarray(scores, dtype=np.float64)
        truth = np.asarray(labels, dtype=bool)
        if values.shape != truth.shape or values.ndim != 1:
            raise ValueError(f"labels and scores are one value per row: {truth.shape} against {values.shape}")
        if np.isnan(values).any():
            raise ValueError("a score is not a number")
        order = np.argsort(-values, kind="stable")
        ordered = values[order]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if ordered.size else np.array([], np.intp)
        return cls(order=order, starts=starts, positives=truth[order].astype(np.float64))

    def counts(self, weights: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return true and false positives per group of equal scores, each of shape (groups,)."""
        if self.starts.size == 0:
            return np.array([]), np.array([])
        ordered = np.ones_like(self.positives) if weights is None else weights[self.order]
        true = np.add.reduceat(ordered * self.positives, self.starts)
        false = np.add.reduceat(ordered * (1.0 - self.positives), self.starts)
        return true, false


def auc_roc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the probability that a positive outranks a negative, ties counting half (Mann-Whitney).

    :return: in [0, 1]; nan when one of the two classes is absent.
    """
    return auc_of(Ranked.of(labels, scores), None if weights is None else np.asarray(weights, np.float64))


def auc_of(ranked: Ranked, weights: NDArray[np.float64] | None = None) -> float:
    """Return `auc_roc` of rows that are already sorted."""
    true, false = ranked.counts(weights)
    positives, negatives = true.sum(), false.sum()
    if positives == 0 or negatives == 0:
        return float("nan")
    positives_above = np.cumsum(true) - true
    return float((false * (positives_above + true / 2)).sum() / (positives * negatives))


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the mean precision over the positives, by falling score (area under precision-recall, no interpolation).

    :return: in [0, 1]; its chance level is the share of positives. nan without positives.
    """
    return average_precision_of(Ranked.of(labels, scores), None if weights is None else np.asarray(weights, np.float64))


def average_precision_of(ranked: Ranked, weights: NDArray[np.float64] | None = None) -> float:
    """Return `average_precision` of rows that are already sorted."""
    true, false = ranked.counts(weights)
    positives = true.sum()
    if positives == 0:
        return float("nan")
    found, seen = np.cumsum(true), np.cumsum(true + false)
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((precision * true).sum() / positives)


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike, points: int = 200) -> list[dict[str, float]]:
    """Return at most `points` points `{threshold, precision, recall}` by falling threshold, for a picture."""
    ranked = Ranked.of(labels, scores)
    true, false = ranked.counts()
    if true.sum() == 0:
        return []
    thresholds = np.asarray(scores, np.float64)[ranked.order][ranked.starts]
    found, seen = np.cumsum(true), np.cumsum(true + false)
    picked = np.unique(np.linspace(0, thresholds.size - 1, min(points, thresholds.size)).astype(int))
    return [
        {
            "threshold": float(thresholds[i]),
            "precision": float(found[i] / seen[i]),
            "recall": float(found[i] / true.sum()),
        }
        for i in picked
    ]


def review_figures(
    labels: ArrayLike, scores: ArrayLike, days: ArrayLike, capacity: int
) -> dict[str, float | int | None]:
    """Return precision and recall when people review the `capacity` highest scores of each day.

    :param days: shape (rows,), the day of each row, any sortable values.
    :param capacity: reviews a day, at least 1.
    :return: `precision` (found / reviewed), `recall` (found / positives, None without positives), `reviewed`, `found`,
        `positives`, `days`, `capacity`.
    """
    if capacity < 1:
        raise ValueError(f"review capacity is at least one a day, not {capacity}")
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    day_of_row = np.unique(np.asarray(days), return_inverse=True)[1] if truth.size else np.array([], np.intp)
    order = np.lexsort((np.arange(values.size), -values, day_of_row))
    ordered_days = day_of_row[order]
    first = np.searchsorted(ordered_days, ordered_days, side="left")
    reviewed = order[np.arange(order.size) - first < capacity]
    found, positives = int(truth[reviewed].sum()), int(truth.sum())
    return {
        "precision": found / reviewed.size if reviewed.size else 0.0,
        "recall": found / positives if positives else None,
        "reviewed": int(reviewed.size),
        "found": found,
        "positives": positives,
        "days": int(np.unique(ordered_days).size),
        "capacity": capacity,
    }


def single_feature_auc(labels: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return how far one feature alone separates the classes: the larger of AUC and 1 - AUC, in [0.5, 1].

    Numbers are ranked as they are, missing ones (nan) below all others; text is ranked by its own share of positives,
    which is the best any order of its values can do on these rows and so overstates a little on rare values.
    nan when one class is absent.
    """
    truth = np.asarray(labels, dtype=bool)
    row_weights = np.ones(truth.size) if weights is None else np.asarray(weights, np.float64)
    column = np.asarray(values)
    if column.dtype.kind in "OUS":
        codes = np.unique(np.array(["" if v is None else f"={v}" for v in column.tolist()]), return_inverse=True)[1]
        total = np.bincount(codes, row_weights)
        positive = np.bincount(codes, row_weights * truth)
        scores = (positive / np.where(total > 0, total, 1))[codes]
    else:
        scores = column.astype(np.float64)
        scores = np.where(np.isnan(scores), -np.inf, scores)
    area = auc_roc(truth, scores, row_weights)
    return area if np.isnan(area) else max(area, 1 - area)
