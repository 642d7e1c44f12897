"""Elastic's definition of a tree model: parsing, validation and evaluation, whole batches at a time.

A definition is `{"preprocessors": [...], "trained_model": {"tree": {...}} | {"ensemble": {...}}}`, the body of
`PUT _ml/trained_models` (elasticsearch-specification, ml/put_trained_model/types.ts).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ml.encodings import Preprocessor, parse_preprocessors
from elastic_sandbox.ml.forest import Forest, build_forest
from elastic_sandbox.ml.strict import bad_request, parse_strict

Floats = NDArray[np.float64]

_ENSEMBLE = {
    "feature_names": list,
    "trained_models": list,
    "aggregate_output": dict,
    "target_type": str,
    "classification_labels": list,
    "classification_weights": list,
}
_AGGREGATES: Final = {
    "weighted_sum": "regression",
    "exponent": "regression",
    "logistic_regression": "classification",
    "weighted_mode": "classification",
}
"""Ways to put the trees' outputs together, and the target type each is for."""


@dataclass
class Definition:
    """A validated model: preprocessors, trees, and how the trees' outputs become a prediction."""

    preprocessors: list[Preprocessor]
    forest: Forest
    target_type: str
    aggregate: str
    labels: list[str]
    weights: Floats | None
    """Class weights, in [0, 1]: the predicted class maximises probability times weight."""
    single_tree: bool
    body: dict[str, Any]
    voted_classes: int = 0
    """`num_classes` of a weighted_mode."""

    @property
    def classes(self) -> int:
        """How many classes the model tells apart (0 for regression)."""
        if self.target_type == "regression":
            return 0
        return max(2, len(self.labels), self.forest.value.shape[1], self.voted_classes)

    @property
    def estimated_operations(self) -> int:
        """Elasticsearch's estimate: the depth of balanced trees of that size, and one addition a tree."""
        sizes = np.diff(np.append(self.forest.roots, len(self.forest.feature)))
        steps = sum(math.ceil(math.log2(size)) if size > 1 else 0 for size in sizes.tolist())
        return int(steps + (0 if self.single_tree else 2 * (len(sizes) - 1)))

    @property
    def size_bytes(self) -> int:
        """Memory of the evaluated form."""
        arrays = (self.forest.feature, self.forest.threshold, self.forest.left, self.forest.right, self.forest.value)
        return int(sum(array.nbytes for array in arrays) + sum(p.size_bytes for p in self.preprocessors) + 1024)

    def matrix(self, columns: dict[str, list[Any]]) -> Floats:
        """The model's input: preprocessors applied to raw columns. Returns (rows, features), NaN = missing."""
        return feature_matrix(self.preprocessors, self.forest.feature_names, columns)

    def probabilities(self, x: Floats) -> Floats:
        """Class probabilities per row, (rows, classes)."""
        if self.aggregate == "weighted_mode":
            return self._votes(x)
        outputs = self.forest.outputs(x)
        if self.single_tree:
            return _one_hot(outputs, self.classes) if outputs.shape[1] == 1 else outputs
        if outputs.shape[1] == 1:
            with np.errstate(over="ignore"):
                positive = 1.0 / (1.0 + np.exp(-outputs[:, 0]))
            return np.stack([1.0 - positive, positive], axis=1)
        return _softmax(outputs)

    def _votes(self, x: Floats) -> Floats:
        """`weighted_mode`: softmax over the votes, or over the summed vector leaves.

        A class that no tree votes for has no part in the softmax (Elastic's WeightedModeTests).
        """
        if self.forest.value.shape[1] > 1:
            return _softmax(self.forest.outputs(x))
        votes = np.full((len(x), self.classes), -np.inf)
        for row, leaves in enumerate(self.forest.leaf_values(x)[:, :, 0]):
            weights = self.forest.tree_weights if self.forest.tree_weights is not None else np.ones(len(leaves))
            chosen = leaves.astype(np.int64)
            cast = np.bincount(chosen, weights=weights, minlength=self.classes)
            votes[row, np.unique(chosen)] = cast[np.unique(chosen)]
        return _softmax(votes)

    def values(self, x: Floats) -> Floats:
        """Predictions of a regression model, (rows,)."""
        outputs = self.forest.outputs(x)[:, 0]
        return np.exp(outputs) if self.aggregate == "exponent" else outputs


def _softmax(outputs: Floats) -> Floats:
    shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    normalised: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return normalised


def _one_hot(class_index: Floats, classes: int) -> Floats:
    result = np.zeros((len(class_index), classes))
    result[np.arange(len(class_index)), class_index[:, 0].astype(int)] = 1.0
    return result


def feature_matrix(preprocessors: list[Preprocessor], names: list[str], columns: dict[str, list[Any]]) -> Floats:
    """Raw columns (equally long lists of JSON values) as the numeric matrix the trees see."""
    from elastic_sandbox.ml.encodings import numeric_column

    rows = len(next(iter(columns.values()))) if columns else 0
    made: dict[str, Floats] = {}
    for preprocessor in preprocessors:
        column = columns.get(preprocessor.field)
        if column is not None:
            made.update(preprocessor.apply(column))
    matrix = np.full((rows, len(names)), np.nan)
    for index, name in enumerate(names):
        if name in made:
            matrix[:, index] = made[name]
        elif name in columns:
            matrix[:, index] = numeric_column(columns[name])
    return matrix


def parse_definition(body: Any) -> Definition:
    """A definition from its JSON; 400 in Elasticsearch's words for a broken one, 501 for a kind not evaluated."""
    parse_strict("trained_model_definition", body, {"preprocessors": list, "trained_model": dict})
    if "trained_model" not in body:
        raise bad_request("[trained_model] must not be null.")
    preprocessors = parse_preprocessors(body.get("preprocessors") or [])
    model = body["trained_model"]
    if len(model) != 1:
        raise bad_request("[trained_model] must have exactly one trained model defined")
    kind, inner = next(iter(model.items()))
    if kind == "tree":
        return _definition(body, preprocessors, inner, [model], {}, single_tree=True)
    if kind != "ensemble":
        raise unsupported(f"trained model of kind [{kind}] (the sandbox evaluates [tree] and [ensemble])")
    parse_strict("ensemble", inner, _ENSEMBLE)
    members = inner.get("trained_models")
    if not members:
        raise bad_request("[trained_models] must not be empty")
    return _definition(body, preprocessors, inner, members, inner.get("aggregate_output") or {}, single_tree=False)


def _definition(
    body: dict[str, Any],
    preprocessors: list[Preprocessor],
    outer: dict[str, Any],
    members: list[dict[str, Any]],
    aggregate: dict[str, Any],
    *,
    single_tree: bool,
) -> Definition:
    target = outer.get("target_type") or "regression"
    if target not in {"regression", "classification"}:
        raise bad_request(f"No enum constant TargetType.{target.upper()}")
    name, options = next(iter(aggregate.items())) if aggregate else ("weighted_sum", {})
    if name not in _AGGREGATES:
        raise unsupported(f"aggregate_output [{name}] (the sandbox evaluates {', '.join(_AGGREGATES)})")
    parse_strict(name, options, {"weights": list, "num_classes": int})
    if not single_tree and target != _AGGREGATES[name]:
        raise bad_request(f"[aggregate_output] of type [{name}] is not compatible with target_type [{target}]")
    for member in members:
        if set(member) != {"tree"}:
            raise unsupported(f"ensemble member of kind {sorted(member)} (only [tree])")
    forest = build_forest([member["tree"] for member in members], outer.get("feature_names") or [])
    weights = options.get("weights")
    if weights is not None:
        if len(weights) != len(members):
            raise bad_request(
                f"[aggregate_output] expects value array of size [{len(weights)}] but number of models is "
                f"[{len(members)}]"
            )
        forest.tree_weights = np.asarray(weights, dtype=np.float64)
    labels = [str(label) for label in outer.get("classification_labels") or []]
    class_weights = outer.get("classification_weights")
    if target == "regression" and (labels or class_weights):
        raise bad_request(
            "[target_type] should be [classification] if [classification_labels] or [classification_weights] are "
            "provided"
        )
    if class_weights is not None and labels and len(class_weights) != len(labels):
        raise bad_request(
            f"[classification_weights] and [classification_labels] should be the same length if both are provided; "
            f"[{len(class_weights)}] weights, [{len(labels)}] labels"
        )
    definition = Definition(
        preprocessors=preprocessors,
        forest=forest,
        target_type=target,
        aggregate=name,
        labels=labels,
        weights=None if class_weights is None else np.asarray(class_weights, dtype=np.float64),
        single_tree=single_tree,
        body=body,
        voted_classes=int(options.get("num_classes") or 0),
    )
    outputs = forest.value.shape[1]
    if target == "classification" and labels and outputs > 1 and outputs != len(labels):
        raise bad_request(f"[classification_labels] has [{len(labels)}] labels but leaves have [{outputs}] values")
    if target == "classification" and outputs == 1 and (single_tree or name == "weighted_mode"):
        largest = int(forest.value.max())
        if labels and largest >= len(labels):
            raise bad_request(
                f"the leaf value [{largest}] is not a valid index in [classification_labels] of size [{len(labels)}]"
            )
    return definition


def has_voting_leaves(definition: Definition) -> bool:
    """Whether contributions mean nothing: the leaves are votes for classes, not addends."""
    return definition.aggregate == "weighted_mode" and definition.forest.value.shape[1] == 1


def lacks_samples(definition: Definition) -> bool:
    """Whether feature importance is impossible because some inner node does not say how many rows passed it."""
    inner = ~definition.forest.leaf
    return bool((definition.forest.samples[inner] <= 0).any())


def importance_needs_samples(model_id: str) -> ElasticError:
    """The refusal for feature importance from a definition without `number_samples`."""
    return bad_request(
        f"Feature importance is not supported for model [{model_id}]: its trees do not define [number_samples]"
    )
