"""Ranking figures agree with scikit-learn, ties and weights included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from elastic_ml.evaluation.intervals import bootstrap_interval, paired_difference
from elastic_ml.evaluation.ranking import (
    auc_roc,
    average_precision,
    precision_recall_curve,
    review_figures,
    single_feature_auc,
)

rows = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2, max_size=60
).filter(lambda pairs: len({label for label, _ in pairs}) == 2)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_auc_and_average_precision_equal_scikit_learns_with_ties(pairs):
    labels, scores = zip(*pairs, strict=True)
    assert auc_roc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores))


@settings(max_examples=30, deadline=None)
@given(rows, st.integers(0, 2**32 - 1))
def test_weights_mean_repeated_rows(pairs, seed):
    labels, scores = (np.array(column) for column in zip(*pairs, strict=True))
    weights = np.random.default_rng(seed).integers(0, 3, labels.size)
    repeated = np.repeat(np.arange(labels.size), weights)
    for metric in (auc_roc, average_precision):
        weighted, plain = metric(labels, scores, weights), metric(labels[repeated], scores[repeated])
        assert weighted == pytest.approx(plain, nan_ok=True)


def test_a_metric_without_both_classes_is_not_a_number():
    assert math.isnan(auc_roc([True, True], [0.1, 0.2]))
    assert math.isnan(average_precision([False], [0.1]))


def test_review_takes_the_highest_scores_of_each_day():
    labels = [True, False, False, True, True]
    scores = [0.9, 0.8, 0.1, 0.2, 0.7]
    days = ["1", "1", "1", "2", "2"]
    figures = review_figures(labels, scores, days, capacity=1)
    assert figures == {
        "precision": 1.0,
        "recall": 2 / 3,
        "reviewed": 2,
        "found": 2,
        "positives": 3,
        "days": 2,
        "capacity": 1,
    }
    assert review_figures(labels, scores, days, capacity=10)["recall"] == 1.0
    with pytest.raises(ValueError, match="capacity"):
        review_figures(labels, scores, days, capacity=0)


def test_the_curve_ends_with_all_positives_found():
    generator = np.random.default_rng(3)
    labels = generator.random(1000) < 0.1
    curve = precision_recall_curve(labels, labels * 0.3 + generator.random(1000), points=50)
    assert len(curve) <= 50
    assert curve[-1]["recall"] == 1.0
    assert [p["threshold"] for p in curve] == sorted((p["threshold"] for p in curve), reverse=True)


def test_one_feature_that_gives_the_label_away_has_an_auc_of_one():
    labels = np.array([True] * 20 + [False] * 80)
    assert single_feature_auc(labels, np.where(labels, "fraud", "fine")) == 1.0
    assert single_feature_auc(labels, np.where(labels, -5.0, 5.0)) == 1.0
    assert single_feature_auc(labels, np.where(labels, np.nan, 1.0)) == 1.0, "a missing value can give it away too"
    assert single_feature_auc(labels, np.ones(100)) == 0.5


def test_an_interval_holds_its_figure_and_shrinks_with_rows():
    generator = np.random.default_rng(5)

    def sample(n):
        labels = generator.random(n) < 0.2
        return labels, labels * 1.0 + generator.normal(size=n)

    small, large = bootstrap_interval("auc_roc", *sample(200)), bootstrap_interval("auc_roc", *sample(5000))
    assert small.low <= small.value <= small.high
    assert large.high - large.low < (small.high - small.low) / 2


def test_the_paired_difference_sees_what_separate_intervals_hide():
    generator = np.random.default_rng(7)
    labels = generator.random(1500) < 0.1
    good = labels * 1.0 + generator.normal(size=1500)
    slightly_worse = good + generator.normal(scale=0.4, size=1500)
    difference = paired_difference("auc_roc", labels, slightly_worse, good)
    first, second = bootstrap_interval("auc_roc", labels, slightly_worse), bootstrap_interval("auc_roc", labels, good)
    assert difference.high < 0
    assert first.high > second.low, "the separate intervals overlap"
    same = paired_difference("auc_roc", labels, good, good)
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)
