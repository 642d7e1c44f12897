"""A trained xgboost booster written as an Elastic model definition."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.definition import Definition, parse_definition
from elastic_sandbox.ml.encodings import Preprocessor
from elastic_sandbox.ml.target import Target

if TYPE_CHECKING:
    from xgboost import Booster

Floats = NDArray[np.float64]


def to_definition(
    booster: Booster,
    preprocessors: list[Preprocessor],
    names: list[str],
    target: Target,
    weights: Floats | None,
    x: Floats,
) -> Definition:
    """The booster as an Elastic definition; where the trees start (class shares, mean) becomes a tree of one leaf.

    weights: per class, None for a regression; x: the training matrix, (rows, features), counted through the trees as
    `number_samples`.
    """
    raw = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    prior = target.prior
    outputs = len(prior) if len(prior) > 2 else 1
    bias = (
        [float(value) for value in prior] if outputs > 1 else float(prior[1] - prior[0] if target.labels else prior[0])
    )
    trees = [_tree_json([{"node_index": 0, "leaf_value": bias}], names)]
    thresholds = _Thresholds(x)
    for tree, group in zip(raw["trees"], raw["tree_info"], strict=True):
        trees.append(_tree_json(_nodes(tree, group, outputs, thresholds, target.scale), names))
    weighed = {"weights": [1.0] * len(trees)}
    ensemble: dict[str, Any] = {
        "feature_names": names,
        "trained_models": trees,
        "aggregate_output": {"logistic_regression" if target.labels else "weighted_sum": weighed},
        "target_type": "classification" if target.labels else "regression",
    }
    if target.labels and weights is not None:
        ensemble["classification_labels"] = target.labels
        ensemble["classification_weights"] = [float(weight) for weight in weights]
    body = {"preprocessors": [p.to_json() for p in preprocessors], "trained_model": {"ensemble": ensemble}}
    definition = parse_definition(body)
    definition.forest.count_samples(x)
    samples = iter(definition.forest.samples.tolist())
    for tree in trees:
        for node in tree["tree"]["tree_structure"]:
            node["number_samples"] = next(samples)
    return definition


def _tree_json(nodes: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    return {"tree": {"feature_names": names, "tree_structure": nodes, "target_type": "regression"}}


class _Thresholds:
    """Split values moved to the middle between the two training values they part.

    xgboost splits at a training value in single precision; the definition is evaluated in double precision, where that
    value itself could fall on either side.
    """

    def __init__(self, x: Floats) -> None:
        self._values = [np.unique(column[~np.isnan(column)]) for column in x.T]
        self._singles = [values.astype(np.float32) for values in self._values]

    def between(self, feature: int, split: float) -> float:
        """The threshold that parts the same training values as `value < split` does in single precision."""
        values = self._values[feature]
        above = int(np.searchsorted(self._singles[feature], np.float32(split), side="left"))
        if not 0 < above < len(values):
            return split
        middle = float((values[above - 1] + values[above]) / 2.0)
        return middle if middle > values[above - 1] else float(values[above])


def _nodes(
    tree: dict[str, Any], group: int, outputs: int, thresholds: _Thresholds, scale: float
) -> list[dict[str, Any]]:
    """xgboost's parallel arrays as Elastic nodes, renumbered so that pruned nodes leave no gap."""
    order = [0]
    for index in order:
        if tree["left_children"][index] != -1:
            order += [tree["left_children"][index], tree["right_children"][index]]
    number = {old: new for new, old in enumerate(order)}
    nodes = []
    for old in order:
        if tree["left_children"][old] == -1:
            value: Any = float(tree["split_conditions"][old]) * scale
            if outputs > 1:
                value = [value if output == group else 0.0 for output in range(outputs)]
            nodes.append({"node_index": number[old], "leaf_value": value})
            continue
        nodes.append(
            {
                "node_index": number[old],
                "decision_type": "lt",
                "threshold": thresholds.between(tree["split_indices"][old], tree["split_conditions"][old]),
                "split_feature": tree["split_indices"][old],
                "split_gain": float(tree["loss_changes"][old]),
                "default_left": bool(tree["default_left"][old]),
                "left_child": number[tree["left_children"][old]],
                "right_child": number[tree["right_children"][old]],
            }
        )
    return nodes
