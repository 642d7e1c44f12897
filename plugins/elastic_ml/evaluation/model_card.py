"""The model card: what a model learned from, what it sees, how well it does, and what it must not be used for.

A card is one JSON document in the project's `model_cards` index, its `_id` the trained model's id. Gate, approval,
drift and dashboards read it, so every figure a decision rests on is in one place, with its interval and its rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elastic_ml.evaluation.calibration import brier_score, calibration_bins, expected_calibration_error
from elastic_ml.evaluation.drift import daily_reference, keyword_baseline, numeric_baseline
from elastic_ml.evaluation.intervals import Interval, bootstrap_interval, bootstrap_mean, paired_difference
from elastic_ml.evaluation.ranking import precision_recall_curve, review_figures
from elastic_ml.evaluation.regression import mean_absolute_error, r_squared

if TYPE_CHECKING:
    from elastic_ml.project.templates import Templates

RANKING = ("auc_roc", "average_precision")


@dataclass(frozen=True)
class Holdout:
    """The scored holdout, one entry per row in every column.

    :param labels: (rows,), whether the row is of the positive class; for a regression the true value.
    :param days: (rows,), UTC day of the event as text.
    :param challenger: (rows,), the new model's corrected score, or its prediction.
    :param champion: likewise for the model in production; None when there is none.
    :param inputs: feature name → (rows,) values as they were read, None = missing.
    """

    labels: NDArray[Any]
    days: Sequence[str]
    challenger: NDArray[np.float64]
    champion: NDArray[np.float64] | None
    inputs: Mapping[str, Sequence[Any]]


def classification_metrics(labels: ArrayLike, scores: ArrayLike, days: Sequence[str], capacity: int) -> dict[str, Any]:
    """Return the figures of one classifier on the holdout: ranking with intervals, review capacity, calibration."""
    return {
        **{name: bootstrap_interval(name, labels, scores).to_json() for name in RANKING},
        "review": review_figures(labels, scores, days, capacity),
        "brier": _finite(brier_score(labels, scores)),
        "calibration_error": _finite(expected_calibration_error(labels, scores)),
        "calibration": calibration_bins(labels, scores),
        "curve": precision_recall_curve(labels, scores, points=100),
    }


def regression_metrics(actual: ArrayLike, predicted: ArrayLike) -> dict[str, Any]:
    """Return the figures of one regression on the holdout."""
    truth, values = np.asarray(actual, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return {
        "r_squared": Interval(r_squared(truth, values), float("nan"), float("nan")).to_json(),
        "mean_absolute_error": {
            **bootstrap_mean(np.abs(truth - values)).to_json(),
            "value": _finite(mean_absolute_error(truth, values)),
        },
    }


def judge(holdout: Holdout, *, kind: str, capacity: int) -> dict[str, Any]:
    """Measure challenger and champion on the same rows.

    :return: `challenger`, `champion` (None without one) and `difference`: challenger minus champion per ranking metric,
        with the paired interval.
    """
    if kind != "classification":
        champion = None if holdout.champion is None else regression_metrics(holdout.labels, holdout.champion)
        return {
            "challenger": regression_metrics(holdout.labels, holdout.challenger),
            "champion": champion,
            "difference": {} if holdout.champion is None else _regression_difference(holdout),
        }
    measured = classification_metrics(holdout.labels, holdout.challenger, holdout.days, capacity)
    if holdout.champion is None:
        return {"challenger": measured, "champion": None, "difference": {}}
    return {
        "challenger": measured,
        "champion": classification_metrics(holdout.labels, holdout.champion, holdout.days, capacity),
        "difference": {
            name: paired_difference(name, holdout.labels, holdout.challenger, holdout.champion).to_json()
            for name in RANKING
        },
    }


def _regression_difference(holdout: Holdout) -> dict[str, Any]:
    truth = np.asarray(holdout.labels, dtype=np.float64)
    ours = np.abs(truth - holdout.challenger)
    theirs = np.abs(truth - np.asarray(holdout.champion, dtype=np.float64))
    # Turned round, so that in every metric below zero means the challenger is worse.
    return {"mean_absolute_error": bootstrap_mean(theirs - ours).to_json()}


def baselines(holdout: Holdout) -> dict[str, Any]:
    """Return the histograms drift is measured against: one per feature, and `_score` for the corrected score.

    Each has `days` beside its counts: what the holdout's single days look like, see `drift.daily_reference`.
    """
    found: dict[str, Any] = {"_score": numeric_baseline(holdout.challenger)}
    found["_score"]["days"] = daily_reference(found["_score"], holdout.challenger.tolist(), holdout.days)
    for feature, values in holdout.inputs.items():
        flat = [value[0] if isinstance(value, list) and value else value for value in values]
        found[feature] = baseline_of(flat)
        # Inputs are every n-th row's where there are very many.
        every = -(-len(holdout.days) // len(flat)) if flat else 1
        found[feature]["days"] = daily_reference(found[feature], flat, list(holdout.days)[::every])
    return found


def baseline_of(values: Sequence[Any]) -> dict[str, Any]:
    """Return the histogram of one input: of numbers where all values are, else of categories."""
    numbers = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values)
    if numbers and any(value is not None for value in values):
        return numeric_baseline(
            np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
        )
    return keyword_baseline(values)


def importance_of(total_feature_importance: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return `[{feature, importance}]` by falling mean magnitude from a trained model's `total_feature_importance`.

    Classification gives one magnitude per class, regression one for the feature; per feature the largest counts.
    """
    found = []
    for entry in total_feature_importance:
        parts = [entry["importance"]] if "importance" in entry else [c["importance"] for c in entry.get("classes", [])]
        magnitudes = [float(part["mean_magnitude"]) for part in parts]
        found.append({"feature": str(entry["feature_name"]), "importance": max(magnitudes, default=0.0)})
    return sorted(found, key=lambda item: (-float(item["importance"]), str(item["feature"])))


def limits_of(card: Mapping[str, Any]) -> list[str]:
    """Return sentences about what the card's figures do not say."""
    sentences = [
        f"Judged on {card['rows']['holdout']:,} events from {card['windows']['holdout_start']} to "
        f"{card['windows']['holdout_end']} only; behaviour that began later was never measured.",
    ]
    if card["kind"] == "classification":
        positives = card["rows"]["holdout_positives"]
        sentences.append(
            f"{positives:,} positive events in the holdout: a figure that moves by less than its interval says nothing."
        )
        sentences.append(
            f"Events without a verdict {card['windows']['label_delay']} after they happened count as negative, so what "
            "nobody looked at counts as harmless."
        )
        shares = {name: share for name, share in card["kept"].items() if share < 1}
        if shares:
            sentences.append(
                "The training set was down-sampled ("
                + ", ".join(f"{share:.1%} of {name} kept" for name, share in shares.items())
                + "); scores are corrected for it, raw probabilities are not."
            )
    sentences += card["readiness"].get("warnings", [])
    return sentences


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scalars of one model's metrics, for registry events and gates."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        number = value.get("value") if isinstance(value, Mapping) and "value" in value else value
        if isinstance(number, int | float) and not isinstance(number, bool):
            found[name] = float(number)
    for name in ("precision", "recall"):
        number = metrics.get("review", {}).get(name)
        if number is not None:
            found[f"{name}_at_capacity"] = float(number)
    return found


def render_markdown(card: Mapping[str, Any], templates: Templates) -> str:
    """Render the card as Markdown, for an approval request and a task log."""
    return templates.render_text("model/card.md.j2", card=card)


def render_html(card: Mapping[str, Any], templates: Templates) -> str:
    """Render the card as one self-contained HTML page with its calibration and precision-recall curves."""
    return templates.render_text("model/card.html.j2", card=card)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
