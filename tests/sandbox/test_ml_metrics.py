"""The metrics of evaluations against Elastic's published example and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox.ml_world import ACTUAL, CAT_SCORES, PREDICTED
from sklearn import metrics as reference

from elastic_sandbox.ml import metrics
from sandbox import ml_world

PAIRS = list(zip(ACTUAL, PREDICTED, strict=True))

names = st.sampled_from(["a", "b", "c", "d"])
pairs_of_names = st.lists(st.tuples(names, names), min_size=1, max_size=40)


def test_accuracy_counts_agreement_per_class_and_overall() -> None:
    assert metrics.accuracy(PAIRS) == {
        "classes": [
            {"class_name": "cat", "value": 0.625},
            {"class_name": "dog", "value": 0.75},
            {"class_name": "mouse", "value": 0.875},
        ],
        "overall_accuracy": 0.625,
    }


def test_precision_and_recall_average_over_the_classes() -> None:
    assert metrics.precision(PAIRS)["avg_precision"] == pytest.approx(0.7222222222)
    assert metrics.recall(PAIRS)["avg_recall"] == pytest.approx(0.6111111111)


def test_a_confusion_matrix_of_limited_size_counts_the_classes_it_leaves_out() -> None:
    matrix = metrics.confusion_matrix(PAIRS, size=2)
    assert [row["actual_class"] for row in matrix["confusion_matrix"]] == ["cat", "dog"]
    assert matrix["other_actual_class_count"] == 1
    cat = matrix["confusion_matrix"][0]
    assert cat["predicted_classes"] == [{"predicted_class": "cat", "count": 2}, {"predicted_class": "dog", "count": 1}]
    assert cat["other_predicted_class_doc_count"] == 0


def test_the_exact_area_is_near_the_percentile_estimate_elasticsearch_publishes() -> None:
    area = metrics.auc_roc([actual == "cat" for actual in ACTUAL], CAT_SCORES)["value"]
    assert area == pytest.approx(reference.roc_auc_score([a == "cat" for a in ACTUAL], CAT_SCORES))
    assert area == pytest.approx(0.77541527618109091, abs=0.03)


@given(pairs_of_names)
def test_metrics_equal_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    actual, predicted = [list(side) for side in zip(*pairs, strict=True)]
    labels = sorted(set(actual))
    recalls = reference.recall_score(actual, predicted, labels=labels, average=None, zero_division=0)
    assert [item["value"] for item in metrics.recall(pairs)["classes"]] == pytest.approx(recalls.tolist())
    seen = [label for label in labels if label in predicted]
    found = {item["class_name"]: item["value"] for item in metrics.precision(pairs)["classes"]}
    if seen:
        precisions = reference.precision_score(actual, predicted, labels=seen, average=None, zero_division=0)
        assert found == pytest.approx(dict(zip(seen, precisions.tolist(), strict=True)))
    assert metrics.accuracy(pairs)["overall_accuracy"] == pytest.approx(reference.accuracy_score(actual, predicted))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.9])), min_size=2, max_size=60))
def test_the_area_under_the_curve_is_exact_also_with_ties(rows: list[tuple[bool, float]]) -> None:
    truth, scores = [list(side) for side in zip(*rows, strict=True)]
    if len(set(truth)) < 2:
        return
    assert metrics.auc_roc(truth, scores)["value"] == pytest.approx(reference.roc_auc_score(truth, scores))


def test_the_curve_runs_from_nothing_flagged_to_everything_flagged_in_about_a_hundred_steps() -> None:
    generator = np.random.default_rng(2)
    truth, scores = generator.random(5000) < 0.3, generator.random(5000)
    curve = metrics.auc_roc(truth.tolist(), scores.tolist(), include_curve=True)["curve"]
    assert 90 <= len(curve) <= 101
    assert (curve[0]["tpr"], curve[0]["fpr"]) == (0.0, 0.0)
    assert (curve[-1]["tpr"], curve[-1]["fpr"]) == (1.0, 1.0)


# in single precision, as the fields of the example are mapped
MEASURED, GUESSED = (np.array(side, dtype=np.float32).astype(float) for side in (ml_world.MEASURED, ml_world.GUESSED))
number_pairs = st.lists(st.tuples(st.floats(-0.5, 1e4), st.floats(-0.5, 1e4)), min_size=2, max_size=40)


def test_regression_metrics_are_those_elastic_publishes_for_its_example() -> None:
    assert metrics.mean_squared_error(MEASURED, GUESSED) == pytest.approx(28.67749840974834, rel=1e-12)
    assert metrics.mean_squared_logarithmic_error(MEASURED, GUESSED, offset=6.0) == pytest.approx(
        0.08680568028334916, rel=1e-12
    )
    assert metrics.huber(MEASURED, GUESSED, delta=2.0) == pytest.approx(3.5088110471730145, rel=1e-12)
    assert metrics.huber(MEASURED, GUESSED) == pytest.approx(1.9205280586939963, rel=1e-12)
    assert metrics.r_squared(MEASURED, GUESSED) == pytest.approx(0.8551031778603486, rel=1e-12)


@given(number_pairs)
def test_regression_metrics_equal_scikit_learns(pairs: list[tuple[float, float]]) -> None:
    actual, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    assert metrics.mean_squared_error(actual, predicted) == pytest.approx(
        reference.mean_squared_error(actual, predicted), rel=1e-9, abs=1e-9
    )
    assert metrics.mean_squared_logarithmic_error(actual, predicted) == pytest.approx(
        reference.mean_squared_log_error(actual, predicted), rel=1e-9, abs=1e-9
    )
    if np.ptp(actual) > 1e-3:
        assert metrics.r_squared(actual, predicted) == pytest.approx(
            reference.r2_score(actual, predicted), rel=1e-9, abs=1e-9
        )


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
)
def test_a_threshold_counts_as_scikit_learn_does(rows: list[tuple[bool, float]], at: float) -> None:
    truth, scores = [list(side) for side in zip(*rows, strict=True)]
    called = [score >= at for score in scores]
    cells = metrics.thresholds(truth, scores, [at])[str(at)]
    matrix = reference.confusion_matrix(truth, called, labels=[False, True]).tolist()
    assert [[cells["tn"], cells["fp"]], [cells["fn"], cells["tp"]]] == matrix
    assert metrics.precision_at(cells) == pytest.approx(reference.precision_score(truth, called, zero_division=0))
    assert metrics.recall_at(cells) == pytest.approx(reference.recall_score(truth, called, zero_division=0))
