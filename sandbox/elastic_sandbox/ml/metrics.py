"""The metrics of `_evaluate`, over plain lists.

Shapes, rounding and orders are those of Elastic's YAML test evaluate_data_frame. AUC ROC is the exact rank statistic;
Elasticsearch approximates it from percentiles of a t-digest, so small differences are expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES: Final = 1000
DEFAULT_MATRIX_SIZE: Final = 10
_CURVE_POINTS: Final = 101

Floats = NDArray[np.float64]
Pairs = Sequence[tuple[str, str]]


def top_classes(actual: Sequence[str], size: int) -> list[str]:
    """The most frequent actual classes, then sorted by name."""
    counts = Counter(actual)
    return sorted(sorted(counts, key=lambda name: (-counts[name], name))[:size])


def accuracy(pairs: Pairs) -> dict[str, Any]:
    """Share of rows on whose membership in each class actual and predicted agree, and the share of equal pairs."""
    classes = []
    for name in top_classes([actual for actual, _ in pairs], MAX_CLASSES):
        agreeing = sum(bool((actual == name) == (predicted == name)) for actual, predicted in pairs)
        classes.append({"class_name": name, "value": agreeing / len(pairs)})
    overall = sum(actual == predicted for actual, predicted in pairs) / len(pairs)
    return {"classes": classes, "overall_accuracy": overall}


def precision(pairs: Pairs) -> dict[str, Any]:
    """Share of right ones among the rows predicted as each class; classes never predicted are left out."""
    predicted = Counter(prediction for _, prediction in pairs)
    right = Counter(actual for actual, prediction in pairs if actual == prediction)
    names = [name for name in top_classes([actual for actual, _ in pairs], MAX_CLASSES) if predicted[name]]
    classes = [{"class_name": name, "value": right[name] / predicted[name]} for name in names]
    return {"classes": classes, "avg_precision": _mean(classes)}


def recall(pairs: Pairs) -> dict[str, Any]:
    """Share of right ones among the rows of each class."""
    totals = Counter(actual for actual, _ in pairs)
    right = Counter(actual for actual, prediction in pairs if actual == prediction)
    classes = [
        {"class_name": name, "value": right[name] / totals[name]}
        for name in top_classes(list(totals.elements()), MAX_CLASSES)
    ]
    return {"classes": classes, "avg_recall": _mean(classes)}


def _mean(classes: list[dict[str, Any]]) -> float:
    return sum(item["value"] for item in classes) / len(classes) if classes else 0.0


def confusion_matrix(pairs: Pairs, size: int = DEFAULT_MATRIX_SIZE) -> dict[str, Any]:
    """Counts of predicted classes per actual class, for the `size` most frequent actual classes."""
    names = top_classes([actual for actual, _ in pairs], size)
    cells = Counter(pairs)
    totals = Counter(actual for actual, _ in pairs)
    rows = []
    for name in names:
        predicted = [{"predicted_class": other, "count": cells[name, other]} for other in names]
        rows.append(
            {
                "actual_class": name,
                "actual_class_doc_count": totals[name],
                "predicted_classes": predicted,
                "other_predicted_class_doc_count": totals[name] - sum(cells[name, other] for other in names),
            }
        )
    return {"confusion_matrix": rows, "other_actual_class_count": len(totals) - len(names)}


def thresholds(positive: Sequence[bool], scores: Sequence[float], at: Sequence[float]) -> dict[str, dict[str, int]]:
    """The confusion matrix of calling a row an outlier from each threshold on: threshold → tp, fp, tn, fn."""
    truth, values = np.asarray(positive, dtype=np.bool_), np.asarray(scores, dtype=np.float64)
    found = {}
    for threshold in at:
        called = values >= threshold
        tp, fp = int((called & truth).sum()), int((called & ~truth).sum())
        found[str(float(threshold))] = {
            "tp": tp,
            "fp": fp,
            "tn": int((~truth).sum()) - fp,
            "fn": int(truth.sum()) - tp,
        }
    return found


def precision_at(cells: dict[str, int]) -> float:
    """Right ones among those called outliers; 0 when none is."""
    return _share(cells["tp"], cells["fp"])


def recall_at(cells: dict[str, int]) -> float:
    """Found ones among the outliers; 0 when there are none."""
    return _share(cells["tp"], cells["fn"])


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part else 0.0


def mean_squared_error(actual: Floats, predicted: Floats) -> float:
    """Mean of the squared differences."""
    return float(np.mean((actual - predicted) ** 2))


def mean_squared_logarithmic_error(actual: Floats, predicted: Floats, offset: float = 1.0) -> float:
    """Mean of the squared differences of the logarithms; NaN where a value plus the offset is below 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.mean((np.log(actual + offset) - np.log(predicted + offset)) ** 2))


def huber(actual: Floats, predicted: Floats, delta: float = 1.0) -> float:
    """Mean pseudo-Huber loss: quadratic for differences well below delta, linear above."""
    return float(delta**2 * np.mean(np.sqrt(1.0 + ((actual - predicted) / delta) ** 2) - 1.0))


def r_squared(actual: Floats, predicted: Floats) -> float:
    """Share of the variance explained; minus infinity or NaN when the actual values are all the same."""
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sum((actual - actual.mean()) ** 2)
        return float(1.0 - np.sum((actual - predicted) ** 2) / spread)


def auc_roc(positive: Sequence[bool], scores: Sequence[float], *, include_curve: bool = False) -> dict[str, Any]:
    """Area under the ROC curve, ties counted half; with the curve on request, thinned to about 100 thresholds.

    positive: whether each row is of the class; scores: its score for the class. Both classes must occur.
    """
    truth = np.asarray(positive, dtype=np.bool_)
    values = np.asarray(scores, dtype=np.float64)
    false_rates, true_rates, thresholds = _roc(truth, values)
    area = float(np.sum(np.diff(false_rates) * (true_rates[1:] + true_rates[:-1]) / 2.0))
    result: dict[str, Any] = {"value": area}
    if include_curve:
        keep = np.unique(np.linspace(0, len(thresholds) - 1, min(len(thresholds), _CURVE_POINTS)).astype(int))
        result["curve"] = [
            {"tpr": float(true_rates[i]), "fpr": float(false_rates[i]), "threshold": float(thresholds[i])} for i in keep
        ]
    return result


def _roc(
    truth: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true_counts = np.cumsum(truth[order])[ends]
    false_counts = np.cumsum(~truth[order])[ends]
    return (
        np.concatenate([[0.0], false_counts / max(1, int((~truth).sum()))]),
        np.concatenate([[0.0], true_counts / max(1, int(truth.sum()))]),
        np.concatenate([[1.0], ranked[ends]]),
    )
