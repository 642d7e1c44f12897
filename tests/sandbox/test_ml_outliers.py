"""Outlier scores: each measure against its definition, the common scale, standardization, influence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from elastic_sandbox.ml import outliers
from elastic_sandbox.ml.outliers import MEASURES, Outliers, detect_outliers, find_neighbors

DEFAULTS = {"compute_feature_influence": True, "outlier_fraction": 0.05, "standardization_enabled": True}


def cloud(rows: int = 200, odd: int = 10) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A cloud, and rows that are far from it in the third of four features."""
    generator = np.random.default_rng(6)
    x = generator.normal(size=(rows, 4))
    is_odd = np.arange(rows) < odd
    x[is_odd, 2] += generator.choice([-1, 1], odd) * generator.uniform(9, 15, odd)
    return x, is_odd


def detect(x: np.ndarray[Any, Any], **options: Any) -> Outliers:
    return detect_outliers(x, DEFAULTS | options)


def test_the_local_outlier_factor_is_scikit_learns() -> None:
    x, _ = cloud()
    expected = -LocalOutlierFactor(n_neighbors=7).fit(x).negative_outlier_factor_
    np.testing.assert_allclose(MEASURES["lof"](find_neighbors(x, 7)), expected, rtol=1e-9)


def test_the_distances_are_those_to_the_nearest_other_rows() -> None:
    x, _ = cloud()
    among = np.sort(cdist(x, x), axis=1)[:, 1:8]
    around = find_neighbors(x, 7)
    np.testing.assert_allclose(MEASURES["distance_kth_nn"](around), among[:, -1])
    np.testing.assert_allclose(MEASURES["distance_knn"](around), among.mean(axis=1))


def test_the_distance_based_factor_divides_by_the_distances_among_the_neighbours() -> None:
    x, _ = cloud(60, 3)
    distances = cdist(x, x)
    expected = []
    for row in range(len(x)):
        nearest = np.argsort(distances[row])[1:6]
        inner = distances[np.ix_(nearest, nearest)].sum() / (5 * 4)
        expected.append(distances[row, nearest].mean() / inner)
    np.testing.assert_allclose(MEASURES["ldof"](find_neighbors(x, 5)), expected)


@pytest.mark.parametrize("method", [None, *MEASURES])
def test_every_method_and_the_ensemble_put_the_odd_rows_first(method: str | None) -> None:
    x, odd = cloud()
    found = detect(x, **({"method": method} if method else {}))
    assert roc_auc_score(odd, found.scores) > 0.9
    assert found.scores.min() >= 0
    assert found.scores.max() <= 1


def test_a_score_of_one_half_is_where_the_assumed_share_of_outliers_begins() -> None:
    x = np.random.default_rng(1).normal(size=(1000, 3))
    for share in (0.02, 0.05, 0.2):
        scores = detect(x, method="distance_knn", outlier_fraction=share).scores
        assert (scores > 0.5).mean() == pytest.approx(share, abs=0.002)
    few, many = (detect(x, outlier_fraction=share).scores for share in (0.01, 0.3))
    assert few.mean() < many.mean()


def test_an_outlier_is_explained_by_the_feature_that_makes_it_one() -> None:
    x, odd = cloud()
    found = detect(x)
    shares = np.array([found.influence(row) for row in np.flatnonzero(odd)])
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares.argmax(axis=1) == 2).all()
    assert (shares[:, 2] > 0.6).all()


def test_standardization_keeps_a_wide_feature_from_hiding_a_narrow_one() -> None:
    x, odd = cloud()
    x[:, 0] *= 1000
    assert roc_auc_score(odd, detect(x).scores) > 0.97
    assert roc_auc_score(odd, detect(x, standardization_enabled=False).scores) < 0.8


def test_alike_rows_are_no_outliers_and_the_one_among_them_is() -> None:
    x = np.zeros((100, 2))
    x[:, 1] = 5.0
    assert (detect(x).scores < 0.02).all()
    x[7] = [9.0, 9.0]
    scores = detect(x).scores
    assert scores[7] > 0.4
    assert (np.delete(scores, 7) < 0.05).all()


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_handful_of_rows_is_scored_too(rows: int) -> None:
    scores = detect(np.arange(rows * 2, dtype=float).reshape(rows, 2)).scores
    assert np.isfinite(scores).all()
    assert len(scores) == rows


def test_neighbours_come_from_a_sample_where_there_are_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, odd = cloud(600, 12)
    monkeypatch.setattr(outliers, "SAMPLE_ROWS", 300)
    found = detect(x)
    assert len(found.neighborhoods.reference) == 300
    assert roc_auc_score(odd, found.scores) > 0.97
    np.testing.assert_array_equal(found.scores, detect(x).scores)


def test_scores_do_not_depend_on_the_order_of_the_features() -> None:
    x, _ = cloud()
    np.testing.assert_allclose(detect(x).scores, detect(x[:, ::-1]).scores, rtol=1e-6)
