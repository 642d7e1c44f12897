"""Whether a score of 0.2 is right one time in five."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance of probability and outcome: 0 is perfect; always predicting the share of
    positives p gives p(1 - p) (Brier, 1950). nan without rows."""
    truth, values = np.asarray(labels, dtype=bool).astype(float), np.asarray(probabilities, dtype=np.float64)
    return float(np.mean((values - truth) ** 2)) if truth.size else float("nan")


def calibration_bins(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> list[dict[str, float | int]]:
    """Group rows by predicted probability and compare with what happened.

    The bins hold about equally many rows each: with rare positives nearly all scores lie near zero, and bins of equal
    width would leave the interesting end empty.

    :return: by rising probability, `{from, to, count, predicted, observed}`: mean prediction and share of positives.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(probabilities, dtype=np.float64)
    if truth.size == 0:
        return []
    order = np.argsort(values, kind="stable")
    # Rows with the same probability stay together: the edge moves to the next change of value.
    edges = [0]
    ordered = values[order]
    for edge in np.linspace(0, ordered.size, bins + 1).astype(int)[1:-1]:
        start = int(np.searchsorted(ordered, ordered[min(edge, ordered.size - 1)], side="left"))
        if start > edges[-1]:
            edges.append(start)
    edges.append(ordered.size)
    result: list[dict[str, float | int]] = []
    for start, end in pairwise(edges):
        rows = order[start:end]
        result.append(
            {
                "from": float(values[rows[0]]),
                "to": float(values[rows[-1]]),
                "count": int(end - start),
                "predicted": float(values[rows].mean()),
                "observed": float(truth[rows].mean()),
            }
        )
    return result


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Return the mean absolute distance of predicted and observed share over `calibration_bins`, weighted by rows."""
    groups = calibration_bins(labels, probabilities, bins)
    rows = sum(group["count"] for group in groups)
    if not rows:
        return float("nan")
    return float(sum(group["count"] * abs(group["predicted"] - group["observed"]) for group in groups) / rows)
