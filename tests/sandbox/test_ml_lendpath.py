"""How good the sandbox's classification is on LendPath's data. The figures are the sandbox's, not Elasticsearch's."""

from __future__ import annotations

import pytest
from sandbox.ml_lendpath import read, sandbox_scores, tuned_scores
from sklearn.metrics import roc_auc_score


@pytest.mark.long
def test_classification_with_default_settings_ranks_as_well_as_xgboost_tuned_directly() -> None:
    train, judged = read(0, 6), read(6, 9)
    found = roc_auc_score(judged.misuse, sandbox_scores(train, judged))
    tuned = roc_auc_score(judged.misuse, tuned_scores(train, judged))
    assert found > tuned - 0.02
    assert found > 0.8
