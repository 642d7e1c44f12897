"""Elastic tree definitions: evaluation, validation, feature importance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.definition import Definition, lacks_samples, parse_definition
from elastic_sandbox.ml.definition_export import to_definition
from elastic_sandbox.ml.importance import Explainer
from elastic_sandbox.ml.target import Target


def tree(*nodes: dict[str, Any], features: list[str] | None = None, **extra: Any) -> dict[str, Any]:
    structure = [{"node_index": index, **node} for index, node in enumerate(nodes)]
    return {"tree": {"feature_names": features or ["a", "b"], "tree_structure": structure, **extra}}


def ensemble(*trees: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"trained_model": {"ensemble": {"trained_models": list(trees), **extra}}}


def stump(decision: str, *, default_left: bool = True, **options: Any) -> dict[str, Any]:
    split = {"split_feature": 0, "threshold": 2.0, "decision_type": decision, "default_left": default_left}
    return tree({**split, "left_child": 1, "right_child": 2, **options}, {"leaf_value": 10.0}, {"leaf_value": 20.0})


def values(body: dict[str, Any], *rows: float | None) -> list[float]:
    definition = parse_definition(body)
    column = [row if row is not None else None for row in rows]
    return definition.values(definition.matrix({"a": list(column), "b": [0.0] * len(rows)})).tolist()


@pytest.mark.parametrize(
    ("decision", "at_one", "at_two", "at_three"),
    [("lt", 10, 20, 20), ("lte", 10, 10, 20), ("gt", 20, 20, 10), ("gte", 20, 10, 10)],
)
def test_each_decision_type_compares_as_its_name_says(
    decision: str, at_one: float, at_two: float, at_three: float
) -> None:
    assert values(ensemble(stump(decision)), 1.0, 2.0, 3.0) == [at_one, at_two, at_three]


@pytest.mark.parametrize("decision", ["lt", "lte", "gt", "gte"])
def test_a_missing_value_goes_where_default_left_says_for_every_decision_type(decision: str) -> None:
    assert values(ensemble(stump(decision, default_left=True)), None) == [10]
    assert values(ensemble(stump(decision, default_left=False)), None) == [20]


def test_an_unset_decision_type_is_lte_and_trees_are_summed_with_their_weights() -> None:
    split = {"split_feature": 0, "threshold": 2, "left_child": 1, "right_child": 2}
    plain = tree(split, {"leaf_value": 1}, {"leaf_value": 2})
    assert values(ensemble(plain, plain), 2.0) == [2]
    weighted = ensemble(plain, plain, aggregate_output={"weighted_sum": {"weights": [1.0, 10.0]}})
    assert values(weighted, 3.0) == [22]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.floats(-50, 50))
def test_evaluation_in_batches_equals_evaluation_one_by_one(rows: list[float], threshold: float) -> None:
    deep = tree(
        {"split_feature": 0, "threshold": threshold, "decision_type": "lt", "left_child": 1, "right_child": 2},
        {"split_feature": 0, "threshold": threshold - 5, "decision_type": "gte", "left_child": 3, "right_child": 4},
        {"leaf_value": 1.0},
        {"leaf_value": 2.0},
        {"leaf_value": 4.0},
    )

    def by_hand(value: float) -> float:
        if value >= threshold:
            return 1.0
        return 2.0 if value >= threshold - 5 else 4.0

    assert values(ensemble(deep), *rows) == [by_hand(row) for row in rows]


def test_estimated_operations_and_target_are_those_of_elastics_own_example() -> None:
    split = {"threshold": 2, "left_child": 1, "right_child": 2}
    member = tree(split, {"leaf_value": 0}, {"leaf_value": 1}, target_type="regression")
    definition = parse_definition(ensemble(member, member, target_type="regression"))
    assert definition.estimated_operations == 6
    assert definition.classes == 0


def test_a_lone_classification_tree_gives_the_class_its_leaf_names_all_the_probability() -> None:
    lone = tree({"leaf_value": 1}, target_type="classification", classification_labels=["no", "yes"])
    definition = parse_definition({"trained_model": lone})
    assert definition.probabilities(np.zeros((2, 2))).tolist() == [[0.0, 1.0], [0.0, 1.0]]


def voters(**aggregate: Any) -> dict[str, Any]:
    """Three trees that vote for class 0 or 1: the example of Elastic's EnsembleTests."""
    first = {"split_feature": 0, "threshold": 0.5, "left_child": 1, "right_child": 2}
    inner = {"split_feature": 1, "threshold": 0.8, "left_child": 3, "right_child": 4}
    last = {"split_feature": 1, "threshold": 1.0, "left_child": 1, "right_child": 2, "default_left": False}
    return ensemble(
        tree(first, {"leaf_value": 1.0}, inner, {"leaf_value": 0.0}, {"leaf_value": 1.0}),
        tree(first, {"leaf_value": 0.0}, {"leaf_value": 1.0}),
        tree(last, {"leaf_value": 1.0}, {"leaf_value": 0.0}),
        target_type="classification",
        aggregate_output={"weighted_mode": {"weights": [0.7, 0.5, 1.0]} | aggregate},
        classification_weights=[0.7, 0.3],
    )


@pytest.mark.parametrize(
    ("row", "probabilities"),
    [
        ((0.4, 0.0), (0.231475216, 0.768524783)),
        ((2.0, 0.7), (0.310025518, 0.6899744811)),
        ((0.0, 1.0), (0.231475216, 0.768524783)),
        ((0.3, None), (0.6899744811, 0.3100255188)),
    ],
)
def test_a_weighted_mode_is_the_softmax_of_the_votes(
    row: tuple[float, float | None], probabilities: tuple[float, float]
) -> None:
    definition = parse_definition(voters())
    found = definition.probabilities(definition.matrix({"a": [row[0]], "b": [row[1]]}))
    assert found[0].tolist() == pytest.approx(probabilities, abs=1e-6)
    assert definition.weights is not None
    assert definition.weights.tolist() == [0.7, 0.3]


def test_a_class_without_a_vote_has_no_part_in_the_softmax() -> None:
    members = [tree({"leaf_value": value}) for value in (1.0, 1.0, 1.0, 1.0, 2.0)]
    mode = {"aggregate_output": {"weighted_mode": {"num_classes": 6}}, "target_type": "classification"}
    definition = parse_definition(ensemble(*members, **mode))
    assert definition.probabilities(np.zeros((1, 2)))[0].tolist() == pytest.approx(
        [0.0, 0.95257412, 1 - 0.95257412, 0.0, 0.0, 0.0], abs=1e-7
    )
    leaves = [[1.0, 0.0, 1.0], [2.0, 0.0, 0.0], [2.0, 3.0, 1.0], [3.0, 3.0, 1.0], [1.0, 1.0, 5.0]]
    lists = parse_definition(ensemble(*[tree({"leaf_value": leaf}) for leaf in leaves], **mode))
    assert lists.probabilities(np.zeros((1, 2)))[0, :3].tolist() == pytest.approx(
        [0.665240955, 0.090030573, 0.244728471], abs=1e-7
    )


def test_an_exponent_is_of_the_sum_of_the_trees() -> None:
    assert values(ensemble(stump("lt"), aggregate_output={"exponent": {"weights": [0.1]}}), 1.0) == pytest.approx(
        [np.exp(1.0)]
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (ensemble(), "[trained_models] must not be empty"),
        (
            ensemble(tree({"split_feature": 1, "left_child": 1, "right_child": 2}, features=["only"])),
            "feature index [1] is out of bounds for the [feature_names] array",
        ),
        (ensemble(tree({"split_feature": 0, "left_child": 7, "right_child": 1})), "missing node at [7]"),
        (ensemble(tree({"split_feature": 0, "left_child": 0, "right_child": 0})), "contains a cycle"),
        ({"trained_model": {"ensemble": {"trees": []}}}, "unknown field [trees]"),
        (
            ensemble(stump("lt"), aggregate_output={"weighted_sum": {"weights": [1.0] * 7}}),
            "[aggregate_output] expects value array of size [7] but number of models is [1]",
        ),
        (
            ensemble(stump("lt"), target_type="classification", aggregate_output={"weighted_sum": {}}),
            "[aggregate_output] of type [weighted_sum] is not compatible with target_type [classification]",
        ),
        (
            ensemble(stump("lt"), classification_labels=["a", "b"]),
            "[target_type] should be [classification] if [classification_labels] or [classification_weights] are",
        ),
    ],
)
def test_a_broken_definition_is_refused_naming_what_is_wrong(body: dict[str, Any], reason: str) -> None:
    with pytest.raises(ElasticError) as refused:
        parse_definition(body)
    assert refused.value.status == 400
    assert reason in refused.value.reason


@pytest.mark.parametrize(
    "body",
    [
        {"trained_model": {"lang_ident_neural_network": {}}},
        {"preprocessors": [{"n_gram_encoding": {}}], **ensemble(stump("lt"))},
        ensemble(stump("lt"), aggregate_output={"median": {}}),
    ],
)
def test_what_is_not_evaluated_exactly_answers_501(body: dict[str, Any]) -> None:
    with pytest.raises(ElasticError) as refused:
        parse_definition(body)
    assert refused.value.status == 501


def test_preprocessors_make_no_column_from_a_missing_value_and_the_default_from_an_unknown_one() -> None:
    split = {"split_feature": 0, "threshold": 0.5, "decision_type": "lt", "left_child": 1, "right_child": 2}
    trees = [
        tree(split, {"leaf_value": 1}, {"leaf_value": 2}, features=[name]) for name in ("c_red", "c_freq", "c_mean")
    ]
    body = {
        "preprocessors": [
            {"one_hot_encoding": {"field": "c", "hot_map": {"red": "c_red", "true": "c_true"}}},
            {"frequency_encoding": {"field": "c", "feature_name": "c_freq", "frequency_map": {"red": 0.25}}},
            {
                "target_mean_encoding": {
                    "field": "c",
                    "feature_name": "c_mean",
                    "target_map": {"red": 0.75},
                    "default_value": 0.1,
                }
            },
        ],
        **ensemble(*trees),
    }
    definition = parse_definition(body)
    matrix = definition.matrix({"c": ["red", "blue", None, True]})
    assert matrix[:2].tolist() == [[1.0, 0.25, 0.75], [0.0, 0.0, 0.1]]
    assert np.isnan(matrix[2]).all()
    assert matrix[3].tolist() == [0.0, 0.0, 0.1]


def boosted(classes: int) -> tuple[Any, Definition, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A booster xgboost trained, and its definition."""
    import xgboost

    generator = np.random.default_rng(4)
    x = generator.normal(size=(600, 5)).astype(np.float32)
    x[generator.random(x.shape) < 0.15] = np.nan
    y = (np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1]) > 0).astype(int)
    if classes == 3:
        y[np.nan_to_num(x[:, 2]) > 0.8] = 2
    prior = np.log(np.bincount(y) / len(y))
    margin = np.full(len(y), prior[1] - prior[0]) if classes == 2 else np.tile(prior, (len(y), 1))
    settings = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "base_score": 0.5}
    if classes > 2:
        settings |= {"objective": "multi:softprob", "num_class": classes}
    data = xgboost.DMatrix(x, label=y, base_margin=margin, missing=np.nan)
    booster = xgboost.train(settings, data, 12)
    labels = [f"class {index}" for index in range(classes)]
    wide = x.astype(np.float64)
    names = [f"f{index}" for index in range(5)]
    definition = to_definition(booster, [], names, Target.of_classes(y, labels), np.ones(classes), wide)
    return booster.predict(data), definition, wide, margin


@pytest.mark.parametrize("classes", [2, 3])
def test_a_definition_made_from_xgboost_predicts_what_xgboost_predicts(classes: int) -> None:
    expected, definition, x, _ = boosted(classes)
    probabilities = definition.probabilities(x)
    found = probabilities[:, 1] if classes == 2 else probabilities
    np.testing.assert_allclose(found, expected, atol=1e-6)
    again = parse_definition(definition.body)
    np.testing.assert_array_equal(again.probabilities(x), probabilities)


@pytest.mark.parametrize("classes", [2, 3])
def test_feature_importance_and_baseline_add_up_to_the_log_odds(classes: int) -> None:
    _, definition, x, _ = boosted(classes)
    contributions, baseline = Explainer(definition).contributions(x)
    np.testing.assert_allclose(contributions.sum(axis=2) + baseline, definition.forest.outputs(x), atol=1e-5)


def test_importance_of_encoded_columns_is_summed_into_the_field_they_come_from() -> None:
    split = {"split_feature": 0, "threshold": 0.5, "decision_type": "lt", "left_child": 1, "right_child": 2}
    nodes = [{**split, "number_samples": 10}, {"leaf_value": 1.0, "number_samples": 5}]
    nodes.append({"leaf_value": 3.0, "number_samples": 5})
    body = {
        "preprocessors": [{"one_hot_encoding": {"field": "c", "hot_map": {"x": "c_x", "y": "c_y"}}}],
        **ensemble(tree(*nodes, features=["c_x"]), tree(*nodes, features=["c_y"])),
    }
    definition = parse_definition(body)
    explainer = Explainer(definition)
    contributions, baseline = explainer.contributions(definition.matrix({"c": ["x", "z"]}))
    assert explainer.features == ["c"]
    assert baseline.tolist() == [4.0]
    assert contributions[:, 0, 0].tolist() == pytest.approx([0.0, -2.0])


def test_importance_needs_the_number_of_samples_of_each_node() -> None:
    _, definition, _, _ = boosted(2)
    assert not lacks_samples(definition)
    assert lacks_samples(parse_definition(ensemble(stump("lt"))))
