"""Figures of a regression on the holdout."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def r_squared(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Return the share of variance explained: 1 is perfect, 0 equals predicting the mean. nan for constant `actual`."""
    truth, values = np.asarray(actual, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    spread = float(((truth - truth.mean()) ** 2).sum()) if truth.size else 0.0
    return float("nan") if spread == 0 else 1.0 - float(((truth - values) ** 2).sum()) / spread


def mean_absolute_error(actual: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean distance, in the unit of the label."""
    truth, values = np.asarray(actual, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return float(np.abs(truth - values).mean()) if truth.size else float("nan")
