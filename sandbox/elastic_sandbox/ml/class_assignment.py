"""Class weights: from probabilities to the class a classification assigns.

The assigned class maximises probability times weight; that product is the score Elasticsearch reports as
`prediction_score` and `class_score`. `maximize_accuracy` weighs all classes alike; `maximize_minimum_recall`, the
default, chooses the weights for which the worst recall of any class, on rows the model did not see, is best.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def class_weights(objective: str, probabilities: Floats, classes: Integers) -> Floats:
    """Weights in (0, 1] for an objective.

    probabilities: (rows, classes) out-of-fold; classes: (rows,) the true class index of each row.
    """
    count = probabilities.shape[1]
    if objective == "maximize_accuracy":
        return np.ones(count)
    if count == 2:
        threshold = _best_threshold(probabilities[:, 1], classes == 1)
        weights = np.array([1.0 / (1.0 - threshold), 1.0 / threshold])
        return weights / weights.max()
    return _ascend(probabilities, classes)


def minimum_recall(weights: Floats, probabilities: Floats, classes: Integers) -> float:
    """The smallest recall of any class under the weights."""
    assigned = np.argmax(probabilities * weights, axis=1)
    recalls = [
        float((assigned[classes == index] == index).mean()) for index in range(len(weights)) if (classes == index).any()
    ]
    return min(recalls)


def _best_threshold(positive: Floats, truth: NDArray[np.bool_]) -> float:
    """The threshold on the positive class's probability that maximises the smaller of the two recalls."""
    order = np.argsort(positive, kind="stable")
    ranked, is_positive = positive[order], truth[order]
    # cut k: the first k rows are called negative
    negatives_right = np.concatenate([[0], np.cumsum(~is_positive)]) / max(1, int((~truth).sum()))
    positives_right = 1.0 - np.concatenate([[0], np.cumsum(is_positive)]) / max(1, int(truth.sum()))
    worst = np.minimum(negatives_right, positives_right)
    splits = np.concatenate([[True], ranked[1:] > ranked[:-1], [True]])  # a cut between equal scores is none
    worst[~splits] = -1.0
    best = int(np.argmax(worst))
    low = ranked[best - 1] if best > 0 else 0.0
    high = ranked[best] if best < len(ranked) else 1.0
    return float(np.clip((low + high) / 2.0, 1e-6, 1.0 - 1e-6))


def _ascend(probabilities: Floats, classes: Integers) -> Floats:
    """Coordinate ascent from inverse class shares; deterministic, a few hundred evaluations."""
    count = probabilities.shape[1]
    shares = np.bincount(classes, minlength=count) / len(classes)
    weights = 1.0 / np.maximum(shares, 1e-6)
    best = minimum_recall(weights, probabilities, classes)
    step = 2.0
    while step > 1.02:
        improved = False
        for index in range(count):
            for factor in (step, 1.0 / step):
                candidate = weights.copy()
                candidate[index] *= factor
                recall = minimum_recall(candidate, probabilities, classes)
                if recall > best + 1e-12:
                    weights, best, improved = candidate, recall, True
        if not improved:
            step = float(np.sqrt(step))
    normalised: Floats = weights / weights.max()
    return normalised
