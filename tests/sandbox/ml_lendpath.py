"""The sandbox's default classification beside xgboost tuned directly, on the same LendPath events."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from elastic_sandbox.ml.encodings import text_of
from elastic_sandbox.ml.target import Target
from elastic_sandbox.ml.training import train_forest
from lendpath import feeds

FIRST = datetime(2026, 11, 2, tzinfo=UTC)
NUMBERS = ("records", "gap_seconds", "discount_bps", "failures_last_hour")
CATEGORIES = ("action", "result", "country", "role", "mfa")
FLAGS = ("vpn", "new_device")


@dataclass
class Rows:
    """Columns as an analysis reads them, and whether each event was confirmed to be misuse."""

    columns: dict[str, list[Any]]
    misuse: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.misuse)


def read(first: int, last: int, seed: int = 11) -> Rows:
    """The internal audit of days [first, last), judged by the verdicts of the three days after each."""
    start, end = FIRST + timedelta(days=first), FIRST + timedelta(days=last)
    judged = (json.loads(line) for line in feeds.verdicts(start, end + timedelta(days=3), seed=seed))
    confirmed = {verdict["event_id"] for verdict in judged if verdict["verdict"] == "confirmed"}
    columns: dict[str, list[Any]] = {name: [] for name in (*NUMBERS, *FLAGS, "event", "hour", *CATEGORIES)}
    misuse = []
    for line in feeds.internal_audit(start, end, seed=seed):
        record = json.loads(line)
        flat = {**record, **record["client"], "role": record["actor"]["role"], "event": record["session"]["event"]}
        flat["hour"] = int(record["time"][11:13])
        for name, column in columns.items():
            value = flat.get(name)
            column.append(text_of(value) if name in CATEGORIES else None if value is None else float(value))
        misuse.append(record["id"] in confirmed)
    return Rows(columns, np.array(misuse))


def sandbox_scores(train: Rows, judged: Rows) -> np.ndarray[Any, Any]:
    """What the sandbox's classification with default settings gives the events of another time."""
    target = Target.of_classes(train.misuse.astype(np.int64), ["false", "true"])
    forest = train_forest(train.columns, list(CATEGORIES), target, {"randomize_seed": 42}).definition
    scores: np.ndarray[Any, Any] = forest.probabilities(forest.matrix(judged.columns))[:, 1]
    return scores


def tuned_scores(train: Rows, judged: Rows) -> np.ndarray[Any, Any]:
    """What xgboost gives them with the best of six settings, chosen on the last third of the training rows."""
    import xgboost
    from sklearn.metrics import roc_auc_score

    names = {name: sorted({value for value in train.columns[name] if value is not None}) for name in CATEGORIES}
    x, later = _matrix(train, names), _matrix(judged, names)
    cut = 2 * len(x) // 3
    best, chosen = -1.0, {}
    for depth, eta in itertools.product((3, 4, 6), (0.05, 0.1)):
        settings = {"max_depth": depth, "learning_rate": eta, "subsample": 0.8, "n_jobs": 1}
        model = xgboost.XGBClassifier(n_estimators=400, early_stopping_rounds=20, eval_metric="logloss", **settings)
        model.fit(x[:cut], train.misuse[:cut], eval_set=[(x[cut:], train.misuse[cut:])], verbose=False)
        area = float(roc_auc_score(train.misuse[cut:], model.predict_proba(x[cut:])[:, 1]))
        if area > best:
            best, chosen = area, {**settings, "n_estimators": model.best_iteration + 1}
    final = xgboost.XGBClassifier(**chosen).fit(x, train.misuse)
    scores: np.ndarray[Any, Any] = final.predict_proba(later)[:, 1]
    return scores


def _matrix(rows: Rows, names: dict[str, list[str]]) -> np.ndarray[Any, Any]:
    columns = [
        np.array([np.nan if value is None else value for value in rows.columns[name]])
        for name in rows.columns
        if name not in names
    ]
    for name, values in names.items():
        columns += [np.array([value == known for value in rows.columns[name]], dtype=float) for known in values]
    return np.column_stack(columns)
