"""Many trees in flat arrays, evaluated for whole batches at a time.

A batch of n rows walks all trees at once: one step per level, not one per node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.strict import bad_request, parse_strict

Floats = NDArray[np.float64]

_TREE = {
    "feature_names": list,
    "tree_structure": list,
    "target_type": str,
    "classification_labels": list,
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
            values = self.leaf_values(x[start : start + _ROWS_PER_STEP])
            if self.tree_weights is not None:
                values = values * self.tree_weights[None, :, None]
            result[start : start + _ROWS_PER_STEP] = values.sum(axis=1)
        return result

    def leaf_values(self, x: Floats) -> Floats:
        """(rows, trees, outputs): the value of the leaf each row ends in, of each tree, unweighted."""
        return self.value[self._leaves(x)]

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
