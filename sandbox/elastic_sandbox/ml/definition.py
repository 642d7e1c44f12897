"""Elastic's definition of a tree model: parsing, validation and evaluation, whole batches at a time.

A definition is `{"preprocessors": [...], "trained_model": {"tree": {...}} | {"ensemble": {...}}}`, the body of
`PUT _ml/trained_models` (elasticsearch-specification, ml/put_trained_model/types.ts). Trees of one ensemble are laid
out in flat arrays, so a batch of n rows walks all trees at once: one step per level, not one per node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ml.encodings import Preprocessor, parse_preprocessors
from elastic_sandbox.ml.strict import bad_request, parse_strict

Floats = NDArray[np.float64]

_TREE = {
    "feature_names": list,
    "tree_structure": list,
    "target_type": str,
    "classification_labels": list,
}
_ENSEMBLE = {
    "feature_names": list,
    "trained_models": list,
    "aggregate_output": dict,
    "target_type": str,
    "classification_labels": list,
    "classification_weights": list,
}
_NODE = {
    "node_index": int,
    "decision_type": str,
    "threshold": float,
    "split_feature": int,
    "split_gain": float,
    "default_left": bool,
    "left_child": int,
    "right_child": int,
    "leaf_value": (float, list),
    "number_samples": int,
}
_ROWS_PER_STEP = 2048


@dataclass
class Forest:
    """All trees of a model in flat node arrays; `roots[t]` is where tree t starts.

    A row goes left at a node when its value is below `threshold` (`lte`, `gt` and `gte` nodes are rewritten to that
    form), and to `default_left`'s side when the value is missing. Leaves point at themselves.
    """

    feature_names: list[str]
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    default_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf: NDArray[np.bool_]
    value: Floats
    """Shape (nodes, outputs); zero at inner nodes."""
    samples: NDArray[np.int64]
    depth: int
    tree_weights: Floats | None = None

    def _step(self, x_flat: Floats, offsets: NDArray[np.int64], node: NDArray[np.int32]) -> NDArray[np.int32]:
        cell = x_flat[offsets + self.feature[node]]
        goes_left = np.where(np.isnan(cell), self.default_left[node], cell < self.threshold[node])
        moved: NDArray[np.int32] = np.where(goes_left, self.left[node], self.right[node])
        return moved

    def outputs(self, x: Floats) -> Floats:
        """Sum of the trees' leaf values per row. x: (rows, features), NaN = missing. Returns (rows, outputs)."""
        result = np.empty((len(x), self.value.shape[1]))
        for start in range(0, len(x), _ROWS_PER_STEP):
            leaves = self._leaves(x[start : start + _ROWS_PER_STEP])
            values = self.value[leaves]
            if self.tree_weights is not None:
                values = values * self.tree_weights[None, :, None]
            result[start : start + _ROWS_PER_STEP] = values.sum(axis=1)
        return result

    def _leaves(self, x: Floats) -> NDArray[np.int32]:
        x_flat = np.ascontiguousarray(x, dtype=np.float64).reshape(-1)
        width = max(1, x.shape[1])
        if not x_flat.size:  # a model of lone leaves may have no features at all
            x_flat = np.zeros(max(1, len(x)))
        offsets = (np.arange(len(x), dtype=np.int64) * (width if x.shape[1] else 1))[:, None]
        node = np.broadcast_to(self.roots, (len(x), len(self.roots))).copy()
        for _ in range(self.depth):
            node = self._step(x_flat, offsets, node)
        return node

    def count_samples(self, x: Floats) -> None:
        """Set `samples` to the number of rows of x that pass each node."""
        counts = np.zeros(len(self.feature), dtype=np.int64)
        for start in range(0, len(x), _ROWS_PER_STEP):
            part = np.ascontiguousarray(x[start : start + _ROWS_PER_STEP])
            x_flat = part.reshape(-1)
            offsets = (np.arange(len(part), dtype=np.int64) * part.shape[1])[:, None]
            node = np.broadcast_to(self.roots, (len(part), len(self.roots))).copy()
            counts += np.bincount(node.ravel(), minlength=len(counts))
            for _ in range(self.depth):
                moved = self._step(x_flat, offsets, node)
                counts += np.bincount(moved[moved != node], minlength=len(counts))
                node = moved
        self.samples = counts


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

    @property
    def classes(self) -> int:
        """How many classes the model tells apart (0 for regression)."""
        if self.target_type == "regression":
            return 0
        return max(2, len(self.labels), self.forest.value.shape[1])

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
        outputs = self.forest.outputs(x)
        if self.single_tree:
            return _one_hot(outputs, self.classes) if outputs.shape[1] == 1 else outputs
        if outputs.shape[1] == 1:
            with np.errstate(over="ignore"):
                positive = 1.0 / (1.0 + np.exp(-outputs[:, 0]))
            return np.stack([1.0 - positive, positive], axis=1)
        shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        normalised: Floats = shifted / shifted.sum(axis=1, keepdims=True)
        return normalised

    def values(self, x: Floats) -> Floats:
        """Predictions of a regression model, (rows,)."""
        outputs = self.forest.outputs(x)[:, 0]
        return np.exp(outputs) if self.aggregate == "exponent" else outputs


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
    if target == "classification" and not single_tree and name != "logistic_regression":
        raise unsupported(f"aggregate_output [{name}] of a classification ensemble (only logistic_regression)")
    if target == "regression" and name not in {"weighted_sum", "exponent"}:
        raise unsupported(f"aggregate_output [{name}] of a regression ensemble (only weighted_sum and exponent)")
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
    if target == "regression" and labels:
        raise bad_request("[target_type] should be [classification] if [classification_labels] are provided")
    class_weights = outer.get("classification_weights")
    if class_weights is not None and len(class_weights) != len(labels):
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
    )
    outputs = forest.value.shape[1]
    if target == "classification" and labels and outputs > 1 and outputs != len(labels):
        raise bad_request(f"[classification_labels] has [{len(labels)}] labels but leaves have [{outputs}] values")
    if single_tree and target == "classification" and outputs == 1 and labels:
        largest = int(forest.value.max())
        if largest >= len(labels):
            raise bad_request(
                f"the leaf value [{largest}] is not a valid index in [classification_labels] of size [{len(labels)}]"
            )
    return definition


def build_forest(trees: list[dict[str, Any]], feature_names: list[str]) -> Forest:
    """Lay the trees out in arrays; trees name their own features, the union of all names becomes the matrix."""
    names: list[str] = []
    position: dict[str, int] = {}
    for tree in trees:
        parse_strict("tree", tree, _TREE)
        for name in tree.get("feature_names") or feature_names:
            if name not in position:
                position[name] = len(names)
                names.append(name)
    outputs = 1
    total = 0
    for tree in trees:
        nodes = tree.get("tree_structure") or []
        if not nodes:
            raise bad_request("[tree_structure] must not be empty")
        total += len(nodes)
        for node in nodes:
            leaf_value = node.get("leaf_value")
            if isinstance(leaf_value, list):
                outputs = max(outputs, len(leaf_value))
    forest = Forest(
        feature_names=names,
        roots=np.zeros(len(trees), dtype=np.int32),
        feature=np.zeros(total, dtype=np.int32),
        threshold=np.zeros(total),
        default_left=np.ones(total, dtype=np.bool_),
        left=np.arange(total, dtype=np.int32),
        right=np.arange(total, dtype=np.int32),
        leaf=np.ones(total, dtype=np.bool_),
        value=np.zeros((total, outputs)),
        samples=np.zeros(total, dtype=np.int64),
        depth=0,
    )
    start = 0
    for index, tree in enumerate(trees):
        forest.roots[index] = start
        _lay_out(forest, tree, start, [position[name] for name in tree.get("feature_names") or feature_names])
        start += len(tree["tree_structure"])
    return forest


def _lay_out(forest: Forest, tree: dict[str, Any], start: int, columns: list[int]) -> None:
    nodes = {}
    for node in tree["tree_structure"]:
        parse_strict("tree_node", node, _NODE)
        nodes[node.get("node_index", 0)] = node
    if sorted(nodes) != list(range(len(tree["tree_structure"]))):
        raise bad_request("[tree_structure] node_index values must be unique and contiguous from 0")
    for index, node in nodes.items():
        at = start + index
        forest.samples[at] = node.get("number_samples", 0)
        if "leaf_value" in node and "left_child" not in node:
            value = node["leaf_value"]
            forest.value[at, :] = value
            continue
        _inner_node(forest, node, at, start, columns, len(nodes))
    forest.depth = max(forest.depth, _depth(nodes))


def _inner_node(forest: Forest, node: dict[str, Any], at: int, start: int, columns: list[int], size: int) -> None:
    split = node.get("split_feature", 0)
    if split >= len(columns):
        raise bad_request(f"feature index [{split}] is out of bounds for the [feature_names] array")
    for side in ("left_child", "right_child"):
        if not 0 <= node.get(side, -1) < size:
            raise bad_request(
                f"[tree] has a missing node at [{node.get(side)}] that is a child of [{node['node_index']}]"
            )
    left, right = start + node["left_child"], start + node["right_child"]
    threshold = float(node.get("threshold", 0.0))
    default_left = bool(node.get("default_left", False))
    decision = (node.get("decision_type") or "lte").lower()
    if decision in {"lte", "gt"}:  # v <= t is v < the next number after t
        threshold = math.nextafter(threshold, math.inf)
    if decision in {"gt", "gte"}:  # the opposite question, so the children and the default change sides
        left, right, default_left = right, left, not default_left
    elif decision not in {"lte", "lt"}:
        raise bad_request(f"No enum constant Operator.{decision.upper()}")
    forest.leaf[at] = False
    forest.feature[at] = columns[split]
    forest.threshold[at] = threshold
    forest.default_left[at] = default_left
    forest.left[at] = left
    forest.right[at] = right


def _depth(nodes: dict[int, dict[str, Any]]) -> int:
    seen: set[int] = set()
    level, depth = [0], 0
    while level:
        below = []
        for index in level:
            if index in seen:
                raise bad_request("[tree] contains a cycle")
            seen.add(index)
            node = nodes[index]
            if "left_child" in node:
                below += [node["left_child"], node["right_child"]]
        if below:
            depth += 1
        level = below
    return depth


def lacks_samples(definition: Definition) -> bool:
    """Whether feature importance is impossible because some inner node does not say how many rows passed it."""
    inner = ~definition.forest.leaf
    return bool((definition.forest.samples[inner] <= 0).any())


def importance_needs_samples(model_id: str) -> ElasticError:
    """The refusal for feature importance from a definition without `number_samples`."""
    return bad_request(
        f"Feature importance is not supported for model [{model_id}]: its trees do not define [number_samples]"
    )
