"""Correction, calibration, regression figures and histograms."""

import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, r2_score

from elastic_ml.evaluation.calibration import brier_score, calibration_bins, expected_calibration_error
from elastic_ml.evaluation.correction import correct_probabilities, positive_score
from elastic_ml.evaluation.drift import (
    count_like,
    expected_counts,
    keyword_baseline,
    numeric_baseline,
    population_stability_index,
)
from elastic_ml.evaluation.regression import mean_absolute_error, r_squared


def test_nothing_kept_back_means_nothing_corrected():
    assert correct_probabilities([[0.3, 0.7]], [1, 1]) == pytest.approx(np.array([[0.3, 0.7]]))


def test_a_tenth_of_the_negatives_kept_makes_even_odds_one_in_eleven():
    assert correct_probabilities([[0.5, 0.5]], [0.1, 1.0])[0, 1] == pytest.approx(1 / 11)


def test_the_scalar_of_a_document_equals_the_matrix():
    classes = [{"class_name": "true", "class_probability": 0.6}, {"class_name": False, "class_probability": 0.4}]
    kept = {"False": 0.2, "true": 1.0}
    assert positive_score(classes, "true", kept) == pytest.approx(correct_probabilities([[0.4, 0.6]], [0.2, 1])[0, 1])
    assert positive_score(classes, "absent", kept) == 0.0


@pytest.mark.parametrize("kept", [[0.0, 1.0], [1.5, 1.0], [1.0]])
def test_a_share_outside_its_range_is_refused(kept):
    with pytest.raises(ValueError, match="kept"):
        correct_probabilities([[0.5, 0.5]], kept)


def test_correction_restores_the_calibration_that_down_sampling_broke():
    generator = np.random.default_rng(11)
    x = generator.normal(size=(40_000, 2))
    labels = generator.random(40_000) < 1 / (1 + np.exp(4 - 1.5 * x[:, 0]))
    kept = labels | (generator.random(40_000) < 0.15)
    model = LogisticRegression().fit(x[kept], labels[kept])
    raw = model.predict_proba(x)
    corrected = correct_probabilities(raw, [0.15, 1.0])
    assert expected_calibration_error(labels, raw[:, 1]) > 0.05
    assert expected_calibration_error(labels, corrected[:, 1]) < 0.01


def test_brier_equals_scikit_learns_and_bins_hold_every_row():
    generator = np.random.default_rng(2)
    scores = np.round(generator.random(500) ** 4, 2)
    labels = generator.random(500) < scores
    assert brier_score(labels, scores) == pytest.approx(brier_score_loss(labels, scores))
    bins = calibration_bins(labels, scores)
    assert sum(b["count"] for b in bins) == 500
    assert all(left["to"] < right["from"] for left, right in pairwise(bins))
    assert calibration_bins([], []) == []
    assert len(calibration_bins([True, False], [0.5, 0.5])) == 1


def test_regression_figures():
    actual, predicted = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    assert r_squared(actual, predicted) == pytest.approx(r2_score(actual, predicted))
    assert mean_absolute_error(actual, predicted) == pytest.approx(0.5)
    assert math.isnan(r_squared([1, 1], [1, 1]))


def test_a_numeric_histogram_counts_its_own_values_and_missing_ones():
    values = np.r_[np.arange(100.0), [np.nan] * 5]
    baseline = numeric_baseline(values)
    assert sum(baseline["counts"]) == 100
    assert baseline["missing"] == 5
    assert max(baseline["counts"]) - min(baseline["counts"]) <= 1
    assert count_like(baseline, [*np.arange(100.0), *[None] * 5]) == expected_counts(baseline)


@pytest.mark.parametrize("values", [[0.0] * 99 + [7.0], [3.0] * 10, [], [0.0] * 5 + [1.0] * 5])
def test_lopsided_values_leave_no_bin_empty(values):
    baseline = numeric_baseline(values)
    assert sum(baseline["counts"]) == len(values)
    assert all(baseline["counts"]) or not values
    if len(set(values)) > 1:
        assert len(baseline["counts"]) > 1


def test_a_keyword_histogram_keeps_the_frequent_values_and_counts_the_rest():
    baseline = keyword_baseline(["a"] * 5 + ["b"] * 3 + ["c"] + [None] * 2 + [True], top=2)
    assert baseline == {"kind": "keyword", "values": ["a", "b"], "counts": [5, 3], "other": 2, "missing": 2}
    assert count_like(baseline, ["b", "z", None]) == [0, 1, 1, 1]


def test_psi_is_nothing_for_the_same_shape_and_large_for_a_shift():
    generator = np.random.default_rng(4)
    baseline = numeric_baseline(generator.normal(size=20_000))
    same = count_like(baseline, generator.normal(size=5_000))
    shifted = count_like(baseline, generator.normal(loc=1.0, size=5_000))
    assert population_stability_index(expected_counts(baseline), same) < 0.01
    assert population_stability_index(expected_counts(baseline), shifted) > 0.2
    assert math.isnan(population_stability_index([1, 2], [0, 0]))
    with pytest.raises(ValueError, match="different bins"):
        population_stability_index([1], [1, 2])
