"""Training: quality, reproducibility, hyperparameters, class weights, cancellation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from elastic_sandbox.ml.class_assignment import class_weights, minimum_recall
from elastic_sandbox.ml.importance import Explainer
from elastic_sandbox.ml.rows import choose_training_rows, class_labels
from elastic_sandbox.ml.target import Target
from elastic_sandbox.ml.training import TrainedForest, TrainingCancelledError, stratified_folds, train_forest

CATEGORICAL = ["kind", "user"]


def sample(rows: int = 900, classes: int = 2) -> tuple[dict[str, list[Any]], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(11)
    amount, hour = generator.normal(size=rows), generator.integers(0, 24, rows)
    kind, user = generator.integers(0, 5, rows), generator.integers(0, 60, rows)
    odds = 1.5 * amount + 2.0 * (kind == 3) + 1.5 * (user % 9 == 0) - 2.0
    label = (generator.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    if classes == 3:
        label[hour > 18] = 2
    missing = generator.random(rows) < 0.1
    columns = {
        "amount": [None if gone else float(value) for gone, value in zip(missing, amount, strict=True)],
        "hour": hour.astype(float).tolist(),
        "kind": [f"kind {value}" for value in kind],
        "user": [f"user {value}" for value in user],
    }
    return columns, label


def train(columns: dict[str, list[Any]], label: np.ndarray[Any, Any], **options: Any) -> TrainedForest:
    names = [str(index) for index in range(int(label.max()) + 1)]
    return train_forest(columns, CATEGORICAL, Target.of_classes(label, names), {"randomize_seed": 7} | options)


def test_the_model_ranks_unseen_rows_well_and_its_probabilities_are_calibrated_to_the_base_rate() -> None:
    columns, label = sample(4000)
    model = train({name: column[:3000] for name, column in columns.items()}, label[:3000])
    unseen = model.definition.matrix({name: column[3000:] for name, column in columns.items()})
    chances = model.definition.probabilities(unseen)[:, 1]
    assert roc_auc_score(label[3000:], chances) > 0.8
    assert chances.mean() == pytest.approx(label.mean(), abs=0.03)


def test_the_same_rows_and_seed_give_the_same_model_and_another_seed_another_one() -> None:
    columns, label = sample()
    first, again = train(columns, label), train(columns, label)
    assert first.definition.body == again.definition.body
    assert train(columns, label, randomize_seed=8).definition.body != first.definition.body


def numbers(rows: int = 900) -> tuple[dict[str, list[Any]], np.ndarray[Any, Any]]:
    """Rows, and minutes that follow from amount, kind and user."""
    columns, _ = sample(rows)
    amount = np.array([value or 0.0 for value in columns["amount"]])
    kind = np.array([int(value[-1]) for value in columns["kind"]])
    user = np.array([int(value.split()[1]) for value in columns["user"]])
    noise = np.random.default_rng(12).normal(0, 2, rows)
    return columns, 40.0 + 8.0 * amount + 3.0 * kind + 12.0 * (user % 9 == 0) + noise


def regress(columns: dict[str, list[Any]], values: np.ndarray[Any, Any], **options: Any) -> TrainedForest:
    return train_forest(columns, CATEGORICAL, Target.of_numbers(values), {"randomize_seed": 7} | options)


def test_a_regression_explains_most_of_the_variance_of_unseen_rows() -> None:
    columns, values = numbers(4000)
    model = regress({name: column[:3000] for name, column in columns.items()}, values[:3000])
    unseen = model.definition.matrix({name: column[3000:] for name, column in columns.items()})
    assert r2_score(values[3000:], model.definition.values(unseen)) > 0.9
    assert model.fold_losses[0] < values.var()


def test_a_regressions_importance_and_baseline_add_up_to_its_prediction() -> None:
    columns, values = numbers()
    model = regress(columns, values, max_trees=20)
    matrix = model.definition.matrix(columns)
    contributions, baseline = Explainer(model.definition).contributions(matrix)
    total = contributions.sum(axis=2)[:, 0] + baseline[0]
    np.testing.assert_allclose(total, model.definition.values(matrix), rtol=1e-5)
    assert model.baseline == pytest.approx([values.mean()], abs=3.0)
    assert {item["feature_name"] for item in model.total_importance} <= set(columns)


@pytest.mark.parametrize(("factor", "offset"), [(1e-3, 0.0), (1e3, -500.0), (1e6, 7.0)])
def test_the_unit_of_a_number_does_not_change_what_is_learned(factor: float, offset: float) -> None:
    columns, values = numbers(300)
    few = {"max_trees": 5, "early_stopping_enabled": False, "max_optimization_rounds_per_hyperparameter": 0}
    plain, scaled = regress(columns, values, **few), regress(columns, values * factor + offset, **few)
    expected = plain.definition.values(plain.definition.matrix(columns)) * factor + offset
    assert r2_score(expected, scaled.definition.values(scaled.definition.matrix(columns))) > 0.99


def test_a_constant_target_is_predicted_as_that_constant() -> None:
    columns, _ = numbers(200)
    model = regress(columns, np.full(200, 5.0))
    assert model.definition.values(model.definition.matrix(columns)).tolist() == [5.0] * 200


def test_three_classes_get_one_output_each_and_probabilities_that_sum_to_one() -> None:
    columns, label = sample(classes=3)
    model = train(columns, label)
    chances = model.definition.probabilities(model.definition.matrix(columns))
    assert chances.shape == (900, 3)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    assert np.mean(np.argmax(chances, axis=1) == label) > 0.8
    assert len(model.baseline) == 3


def test_given_hyperparameters_are_used_as_given() -> None:
    columns, label = sample()
    given = {"max_trees": 7, "eta": 0.3, "lambda": 4.0, "gamma": 0.25, "feature_bag_fraction": 0.9, "alpha": 0.1}
    model = train(columns, label, early_stopping_enabled=False, **given)
    assert {name: model.hyperparameters[name] for name in given} == given
    assert model.supplied == set(given)
    assert len(model.definition.forest.roots) == 7 + 1  # and the tree that carries the class shares


def test_a_category_seen_once_does_not_give_its_row_away() -> None:
    rows = 600
    label = (np.random.default_rng(3).random(rows) < 0.5).astype(np.int64)
    columns = {"kind": ["same"] * rows, "user": [f"user {index}" for index in range(rows)], "amount": [1.0] * rows}
    model = train(columns, label)
    chances = model.definition.probabilities(model.definition.matrix(columns | {"user": ["nobody"] * rows}))[:, 1]
    assert np.ptp(chances) == pytest.approx(0.0)
    assert 0.35 < chances[0] < 0.65


def test_maximize_minimum_recall_lifts_the_recall_of_the_rare_class() -> None:
    generator = np.random.default_rng(5)
    label = (generator.random(3000) < 0.05).astype(np.int64)
    chance = np.clip(0.05 + 0.1 * label + generator.normal(0, 0.04, 3000), 0.001, 0.999)
    probabilities = np.stack([1 - chance, chance], axis=1)
    accurate = class_weights("maximize_accuracy", probabilities, label)
    balanced = class_weights("maximize_minimum_recall", probabilities, label)
    assert minimum_recall(accurate, probabilities, label) < 0.05
    assert minimum_recall(balanced, probabilities, label) > 0.8
    assert balanced.max() == 1.0
    best = max(
        minimum_recall(np.array([1 / (1 - cut), 1 / cut]), probabilities, label) for cut in np.linspace(0.01, 0.4, 400)
    )
    assert minimum_recall(balanced, probabilities, label) >= best - 1e-9


def test_weights_for_three_classes_beat_weighing_them_alike() -> None:
    columns, label = sample(classes=3)
    definition = train(columns, label).definition
    probabilities = definition.probabilities(definition.matrix(columns))
    weights = class_weights("maximize_minimum_recall", probabilities, label)
    assert minimum_recall(weights, probabilities, label) >= minimum_recall(np.ones(3), probabilities, label)


def test_training_reports_every_phase_to_its_end_in_order() -> None:
    columns, label = sample(600)
    seen: list[tuple[str, int]] = []
    target = Target.of_classes(label, ["0", "1"])
    train_forest(columns, CATEGORICAL, target, {}, progress=lambda phase, percent: seen.append((phase, percent)))
    ended = [phase for phase, percent in seen if percent == 100]
    phases = ["feature_selection", "coarse_parameter_search", "fine_tuning_parameters", "final_training"]
    assert list(dict.fromkeys(ended)) == phases


def test_a_cancelled_training_stops_between_trees() -> None:
    columns, label = sample(600)
    calls, target = iter(range(1000)), Target.of_classes(label, ["0", "1"])
    with pytest.raises(TrainingCancelledError):
        train_forest(columns, CATEGORICAL, target, {}, is_cancelled=lambda: next(calls) > 20)
    assert next(calls) < 60


def test_seven_thousand_rows_of_fourteen_features_train_within_six_seconds() -> None:
    columns, label = sample(7000)
    wide = columns | {f"more {index}": columns["amount"][index:] + columns["amount"][:index] for index in range(10)}
    train(*sample(50))  # the import of xgboost is not the training
    started = time.perf_counter()
    train(wide, label)
    assert time.perf_counter() - started < 6


THREADED = """
import hashlib, json
import numpy as np
from elastic_sandbox.ml.target import Target
from elastic_sandbox.ml.training import train_forest
generator = np.random.default_rng(3)
x = generator.normal(size=(4, 1000))
columns = {f"f{i}": column.tolist() for i, column in enumerate(x)}
columns["who"] = [f"user {i}" for i in generator.integers(0, 60, 1000)]
found = []
for target in (Target.of_classes((x[0] + x[1] * x[2] > 0).astype(np.int64), ["no", "yes"]), Target.of_numbers(x[0])):
    model = train_forest(columns, ["who"], target, {"max_trees": 20})
    found.append([model.definition.body, model.total_importance, model.baseline])
print(hashlib.sha256(json.dumps(found).encode()).hexdigest())
"""


def test_the_number_of_threads_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(THREADED, "threaded", "exec"), {})  # with as many threads as there are processors
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = subprocess.run(
        [sys.executable, "-c", THREADED], env=environment, capture_output=True, text=True, check=True
    )
    assert alone.stdout == capsys.readouterr().out


def test_training_percent_takes_that_share_of_each_class_reproducibly() -> None:
    classes = np.array([0] * 90 + [1] * 10 + [-1] * 5)
    chosen = choose_training_rows(classes, 50, seed=1)
    assert chosen[:90].sum() == 45
    assert chosen[90:100].sum() == 5
    assert not chosen[100:].any()
    assert (chosen == choose_training_rows(classes, 50, seed=1)).all()
    assert (chosen != choose_training_rows(classes, 50, seed=2)).any()
    assert choose_training_rows(classes, 100, seed=1).tolist() == [True] * 100 + [False] * 5


def test_classes_are_ordered_by_value_numbers_by_size() -> None:
    assert class_labels(["true", None, "false"], "boolean") == ["false", "true"]
    assert class_labels(["10", "9"], "number") == ["9", "10"]


def test_folds_spread_every_class_evenly() -> None:
    classes = np.array([0] * 9 + [1] * 3)
    folds = stratified_folds(classes, 3, seed=0)
    assert sorted(folds[9:].tolist()) == [0, 1, 2]
    assert np.bincount(folds).tolist() == [4, 4, 4]
