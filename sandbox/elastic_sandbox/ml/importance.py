"""Feature importance: SHAP values of each row, in log-odds, per original feature.

The trees of the definition are handed to xgboost as a booster of plain regression trees, whose `pred_contribs` is the
exact path-dependent TreeSHAP with the definition's `number_samples` as cover. What the columns of one encoded field
contribute is summed into that field, so that contributions plus the baseline are the row's log-odds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from elastic_sandbox.ml.definition import Definition
from elastic_sandbox.ml.encodings import original_fields
from elastic_sandbox.ml.forest import Forest

if TYPE_CHECKING:
    from xgboost import Booster

Floats = NDArray[np.float64]


def single_precision_ceiling(threshold: Floats) -> Floats:
    """The smallest 32-bit floats not below the thresholds: xgboost compares in single precision, we in double."""
    single = threshold.astype(np.float32)
    low = single.astype(np.float64) < threshold
    single[low] = np.nextafter(single[low], np.float32(np.inf))
    return single.astype(np.float64)


def booster_of(forest: Forest, threads: int = 2) -> Booster:
    """An xgboost booster whose raw margins are the forest's outputs; vector leaves become one tree per output."""
    import xgboost

    outputs = forest.value.shape[1]
    thresholds = single_precision_ceiling(forest.threshold)
    trees: list[dict[str, Any]] = []
    groups: list[int] = []
    ends = np.append(forest.roots[1:], len(forest.feature))
    for index, (start, end) in enumerate(zip(forest.roots.tolist(), ends.tolist(), strict=True)):
        weight = 1.0 if forest.tree_weights is None else float(forest.tree_weights[index])
        for output in range(outputs):
            values = forest.value[start:end, output] * weight
            if outputs > 1 and not values.any():
                continue
            trees.append(_tree(forest, thresholds, values, start, end, len(trees)))
            groups.append(output)
    booster = xgboost.Booster({"nthread": threads, "verbosity": 0})
    booster.load_model(bytearray(orjson.dumps(_model(trees, groups, len(forest.feature_names), outputs))))
    return booster


def _tree(forest: Forest, thresholds: Floats, values: Floats, start: int, end: int, index: int) -> dict[str, Any]:
    leaf = forest.leaf[start:end]
    size = end - start
    left = np.where(leaf, -1, forest.left[start:end] - start)
    right = np.where(leaf, -1, forest.right[start:end] - start)
    parents = np.full(size, 2147483647, dtype=np.int64)
    inner = np.flatnonzero(~leaf)
    parents[left[inner]] = inner
    parents[right[inner]] = inner
    zeros = [0.0] * size
    return {
        "base_weights": zeros,
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": forest.default_left[start:end].astype(int).tolist(),
        "id": index,
        "left_children": left.tolist(),
        "loss_changes": zeros,
        "parents": parents.tolist(),
        "right_children": right.tolist(),
        "split_conditions": np.where(leaf, values, thresholds[start:end]).tolist(),
        "split_indices": np.where(leaf, 0, forest.feature[start:end]).tolist(),
        "split_type": [0] * size,
        "sum_hessian": np.maximum(forest.samples[start:end], 1e-6).astype(float).tolist(),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(max(1, len(forest.feature_names))),
            "num_nodes": str(size),
            "size_leaf_vector": "1",
        },
    }


def _model(trees: list[dict[str, Any]], groups: list[int], features: int, outputs: int) -> dict[str, Any]:
    objective: dict[str, Any] = {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}}
    if outputs > 1:
        objective = {"name": "multi:softprob", "softmax_multiclass_param": {"num_class": str(outputs)}}
    base_score = "[" + ",".join(["0E0"] * outputs) + "]"
    return {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                    "iteration_indptr": [0, len(trees)],
                    "tree_info": groups,
                    "trees": trees,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": base_score,
                "boost_from_average": "0",
                "num_class": "0" if outputs == 1 else str(outputs),
                "num_feature": str(max(1, features)),
                "num_target": "1",
            },
            "objective": objective,
        },
        "version": [3, 2, 0],
    }


class Explainer:
    """SHAP values of one model; building it costs milliseconds, so it is kept with the model.

    :param threads: how many cores explaining takes; a job leaves the others to requests
    """

    def __init__(self, definition: Definition, threads: int = 2) -> None:
        self._threads = threads
        self._booster = booster_of(definition.forest, threads)
        origin = original_fields(definition.preprocessors)
        names = definition.forest.feature_names
        originals = [origin.get(name, name) for name in names]
        self.features = list(dict.fromkeys(originals))
        """The original feature names, in the order of the last axis of `contributions`."""
        self._column_of = np.array([self.features.index(name) for name in originals], dtype=np.int64)

    def contributions(self, x: Floats) -> tuple[Floats, Floats]:
        """SHAP values of the rows of x, the matrix the trees see.

        Returns (rows, outputs, features) in log-odds, and the baseline per output, (outputs,).
        """
        import xgboost

        if not len(x):
            return np.zeros((0, 1, len(self.features))), np.zeros(1)
        data = xgboost.DMatrix(x.astype(np.float32), missing=np.nan, nthread=self._threads)
        raw = np.asarray(self._booster.predict(data, pred_contribs=True), dtype=np.float64)
        if raw.ndim == 2:
            raw = raw[:, None, :]
        summed = np.zeros((*raw.shape[:2], len(self.features)))
        for column, target in enumerate(self._column_of.tolist()):
            summed[:, :, target] += raw[:, :, column]
        return summed, raw[0, :, -1]
