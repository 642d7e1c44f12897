"""Inference: a batch of documents through one model, results as Elasticsearch's inference results.

Everything is done for the whole batch: columns are collected once, the trees walk all rows together, and SHAP values
are computed in one call, only when feature importance is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ml.definition import Definition, has_voting_leaves, importance_needs_samples, lacks_samples
from elastic_sandbox.ml.encodings import text_of
from elastic_sandbox.ml.importance import Explainer
from elastic_sandbox.ml.inference_config import InferenceConfig

Floats = NDArray[np.float64]
Document = Mapping[str, Any]
_ABSENT: Final = object()


def value_at(document: Any, path: str) -> Any:
    """The value at a dotted path, whether objects are nested or keys contain the dots; None when there is none."""
    found = _dig(document, path)
    return None if found is _ABSENT else found


def _dig(value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        return _ABSENT
    if path in value:
        return value[path]
    start = path.find(".")
    while start != -1:
        head = path[:start]
        if head in value:
            found = _dig(value[head], path[start + 1 :])
            if found is not _ABSENT:
                return found
        start = path.find(".", start + 1)
    return _ABSENT


def reader(path: str) -> Callable[[Document], Any]:
    """A fast `value_at` for one path: the nested spelling first, any other spelling after."""
    keys = path.split(".")

    def read(document: Document) -> Any:
        value: Any = document
        for key in keys:
            if type(value) is not dict:
                return value_at(document, path)
            value = value.get(key, _ABSENT)
            if value is _ABSENT:
                return value_at(document, path) if len(keys) > 1 else None
        return value

    return read


class LoadedModel:
    """A trained model ready to infer: its definition in arrays, its SHAP explainer once somebody asked for it."""

    def __init__(
        self,
        model_id: str,
        definition: Definition,
        config: InferenceConfig,
        input_fields: Sequence[str],
        default_field_map: Mapping[str, str],
    ) -> None:
        self.model_id = model_id
        self.definition = definition
        self.config = config
        self.input_fields = list(input_fields)
        self._field_map = dict(default_field_map)
        self._explainer: Explainer | None = None
        self._lock = threading.Lock()
        used = {p.field for p in definition.preprocessors} | set(definition.forest.feature_names)
        made = {output for p in definition.preprocessors for output in p.outputs}
        self._fields = sorted((used - made) | set(self.input_fields))

    def infer(
        self,
        documents: Sequence[Document],
        update: dict[str, Any] | None = None,
        field_map: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """One result per document; `{"warning": ...}` where every input field was missing.

        :param update: overriding `inference_config`
        :param field_map: document field → model field
        """
        config = self.config.updated(update, self.model_id)
        columns, empty = self._columns(documents, field_map or {})
        results = self.results(self.definition.matrix(columns), config)
        warning = f"Model [{self.model_id}] could not be inferred as all fields were missing"
        return [{"warning": warning} if empty[i] else result for i, result in enumerate(results)]

    def results(self, matrix: Floats, config: InferenceConfig) -> list[dict[str, Any]]:
        """One result per row of the definition's matrix."""
        if config.kind == "regression":
            return self._regression(matrix, config)
        return self._classification(matrix, config)

    def _columns(
        self, documents: Sequence[Document], field_map: Mapping[str, str]
    ) -> tuple[dict[str, list[Any]], list[bool]]:
        columns: dict[str, list[Any]] = {}
        origins: dict[str, list[str]] = {}
        for mapping in (field_map, self._field_map):
            for in_document, in_model in mapping.items():
                origins.setdefault(in_model, []).append(in_document)
        for field in self._fields:
            read = reader(field)
            column = [read(document) for document in documents]
            for origin in origins.get(field, ()):
                read_origin = reader(origin)
                mapped = [read_origin(document) for document in documents]
                if origin in field_map:
                    column = [old if new is None else new for old, new in zip(column, mapped, strict=True)]
                else:
                    column = [new if old is None else old for old, new in zip(column, mapped, strict=True)]
            columns[field] = column
        inputs = [columns[field] for field in self.input_fields if field in columns]
        empty = [all(value is None for value in row) for row in zip(*inputs, strict=True)] if inputs else []
        return columns, empty or [False] * len(documents)

    def explain(self, matrix: Floats) -> tuple[Explainer, Floats]:
        """SHAP values of rows the definition's matrix made, (rows, outputs, features).

        :raises ElasticError: 400 when the definition has no number_samples, 501 when its leaves are votes.
        """
        with self._lock:
            if self._explainer is None:
                if has_voting_leaves(self.definition):
                    raise unsupported("feature importance of a model whose trees vote for classes")
                if lacks_samples(self.definition):
                    raise importance_needs_samples(self.model_id)
                self._explainer = Explainer(self.definition)
            explainer = self._explainer
            return explainer, explainer.contributions(matrix)[0]

    def _regression(self, matrix: Floats, config: InferenceConfig) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = [{config.results_field: v} for v in self.definition.values(matrix).tolist()]
        count = config.num_top_feature_importance_values
        if count > 0 and results:
            explainer, contributions = self.explain(matrix)
            for result, row in zip(results, contributions[:, 0, :], strict=True):
                top = np.argsort(-np.abs(row), kind="stable")[:count].tolist()
                result["feature_importance"] = [
                    {"feature_name": explainer.features[i], "importance": float(row[i])} for i in top
                ]
        return results

    def _classification(self, matrix: Floats, config: InferenceConfig) -> list[dict[str, Any]]:
        definition = self.definition
        probabilities = definition.probabilities(matrix)
        scores = probabilities if definition.weights is None else probabilities * definition.weights
        order = np.argsort(-scores, axis=1, kind="stable")
        names = class_names(definition, config.prediction_field_type)
        wanted = len(names) if config.num_top_classes < 0 else min(config.num_top_classes, len(names))
        importances = self._class_importances(matrix, config, names)
        field, top_field = config.results_field, config.top_classes_results_field
        results = []
        for row, (ranked, chances, weighed) in enumerate(
            zip(order.tolist(), probabilities.tolist(), scores.tolist(), strict=True)
        ):
            best = ranked[0]
            result: dict[str, Any] = {field: names[best]}
            if wanted:
                result[top_field] = [
                    {"class_name": names[k], "class_probability": chances[k], "class_score": weighed[k]}
                    for k in ranked[:wanted]
                ]
            result["prediction_probability"] = chances[best]
            result["prediction_score"] = weighed[best]
            if importances:
                result["feature_importance"] = importances[row]
            results.append(result)
        return results

    def _class_importances(
        self, matrix: Floats, config: InferenceConfig, names: list[Any]
    ) -> list[list[dict[str, Any]]]:
        count = config.num_top_feature_importance_values
        if count <= 0 or not len(matrix):
            return []
        explainer, contributions = self.explain(matrix)
        return class_importances(explainer.features, contributions, names, count)


def class_importances(
    features: list[str], contributions: Floats, names: list[Any], count: int
) -> list[list[dict[str, Any]]]:
    """The `count` features of largest total magnitude per row, with an importance per class.

    contributions: (rows, outputs, features); one output stands for two classes of opposite sign.
    """
    totals = np.abs(contributions).sum(axis=1)
    top = np.argsort(-totals, axis=1, kind="stable")[:, :count]
    picked = np.take_along_axis(contributions, top[:, None, :], axis=2)
    if picked.shape[1] == 1:
        picked = np.concatenate([-picked, picked], axis=1)
    result = []
    for indices, values in zip(top.tolist(), picked.transpose(0, 2, 1).tolist(), strict=True):
        result.append(
            [
                {
                    "feature_name": features[index],
                    "classes": [
                        {"class_name": name, "importance": value} for name, value in zip(names, by_class, strict=True)
                    ],
                }
                for index, by_class in zip(indices, values, strict=True)
            ]
        )
    return result


def class_names(definition: Definition, field_type: str) -> list[Any]:
    """The classes as JSON values: strings, booleans (class 1 is true) or numbers."""
    labels = definition.labels or [text_of(index) or "" for index in range(definition.classes)]
    if field_type == "boolean":
        return [index == 1 for index in range(len(labels))]
    if field_type == "number":
        return [float(label) for label in labels]
    return list(labels)
