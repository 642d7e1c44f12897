"""`POST _ml/data_frame/_evaluate`: reading the fields, checking what Elasticsearch checks, metrics.

Documents that lack a required field are ignored. Words and defaults: Elastic's YAML test evaluate_data_frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

from elastic_sandbox.ml import metrics
from elastic_sandbox.ml.encodings import number_of, text_of
from elastic_sandbox.ml.inference import reader
from elastic_sandbox.ml.strict import bad_request, parse_error, parse_strict, required
from elastic_sandbox.shapes import STRINGS, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices.index import Index

_BODY = {"index": (str, list), "query": dict, "evaluation": dict}
DEFAULT_TOP_CLASSES_FIELD: Final = "ml.top_classes"
DEFAULT_THRESHOLDS: Final = (0.25, 0.5, 0.75)
_PRECISIONS: Final[dict[str, type[np.floating[Any]]]] = {"float": np.float32, "half_float": np.float16}
Options = dict[str, Any]


def evaluate(backend: Backend, body: Any) -> dict[str, Any]:
    """The metrics of a body's evaluation.

    :raises ElasticError: 400 for a bad body, or when no document has the required fields; 404 for a missing index.
    """
    parse_strict("evaluate_data_frame_request", body, _BODY)
    check_shape("evaluate_data_frame_request", body, {"index": (*STRINGS, None)})
    missing = [name for name in ("index", "evaluation") if body.get(name) is None]
    if missing:
        raise required("evaluate_data_frame_request", *missing)
    if len(body["evaluation"]) != 1:
        raise parse_error("evaluate_data_frame_request", "[evaluation] must have exactly one evaluation type")
    kind, options = next(iter(body["evaluation"].items()))
    if kind not in _EVALUATIONS:
        raise parse_error("evaluate_data_frame_request", f"unknown field [{kind}]")
    evaluation = _EVALUATIONS[kind](kind, options)
    expression = body["index"] if isinstance(body["index"], str) else ",".join(body["index"])
    return {kind: evaluation.run(backend, expression, body.get("query") or {"match_all": {}})}


class _Evaluation:
    """One evaluation: which fields it reads, and what it computes of the rows that have them all."""

    FIELDS: ClassVar[dict[str, Any]]
    """Fields of the body beside `metrics`."""
    REQUIRED: ClassVar[tuple[str, ...]]
    METRICS: ClassVar[dict[str, dict[str, Any]]]
    """Metric → its options' types."""
    DEFAULT: ClassVar[tuple[str, ...]]

    def __init__(self, kind: str, options: Any) -> None:
        parse_strict(kind, options, {**self.FIELDS, "metrics": dict})
        missing = [name for name in self.REQUIRED if options.get(name) is None]
        if missing:
            raise required(kind, *missing)
        self.options: Options = options
        self.types: dict[str, str] = {}
        self.actual: str = options["actual_field"]
        chosen = options.get("metrics")
        self.metrics: dict[str, Options] = {name: {} for name in self.DEFAULT} if chosen is None else chosen
        if not self.metrics:
            raise bad_request(f"[{kind}] must have one or more metrics")
        for name, given in self.metrics.items():
            if name not in self.METRICS:
                raise parse_error(kind, f"unknown field [{name}]")
            parse_strict(name, given, self.METRICS[name])
            self.check(name, given)

    def check(self, name: str, options: Options) -> None:
        """Refuse options of a metric that are out of range."""

    def readers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        """(field, from its value to what is computed with, None when it is missing), in the order of messages."""
        raise NotImplementedError

    def compute(self, name: str, options: Options, columns: list[list[Any]]) -> Any:
        """The value of a metric over one column per reader."""
        raise NotImplementedError

    def run(self, backend: Backend, expression: str, query: dict[str, Any]) -> dict[str, Any]:
        """Read the documents once and compute every metric."""
        indices = backend.indices.resolve(expression)
        backend.documents.refresh(indices)
        fields = [item for index in indices for item in index.mapping.fields.items()]
        parents = {path: field.parent for path, field in fields if field.parent is not None}
        self.types = {path: field.type for path, field in fields}
        wanted = self.readers()
        read = [(reader(parents.get(field) or field), convert) for field, convert in wanted]
        unseen = {index.name for index in indices if not self.sees(index)}
        rows = []
        for hit in backend.documents.scan(expression, query):
            if hit.index in unseen:
                continue
            row = [convert(fetch(hit.source)) for fetch, convert in read]
            if all(value is not None for value in row):
                rows.append(row)
        if not rows:
            raise bad_request(
                f"No documents found containing all the required fields [{', '.join(self.required_fields())}]"
            )
        columns = [list(column) for column in zip(*rows, strict=True)]
        return {name: self.compute(name, options, columns) for name, options in self.metrics.items()}

    def sees(self, index: Index) -> bool:
        """Whether the documents of an index can have the required fields, by its mapping."""
        return True

    def required_fields(self) -> list[str]:
        """The fields a document must have, as messages name them."""
        return [field for field, _ in self.readers()]

    def check_both_occur(self, positive: list[bool], wanted: str) -> None:
        """Refuse an area under the curve where one side is empty."""
        if not any(positive):
            raise bad_request(f"[auc_roc] requires at least one [{self.actual}] to have the value [{wanted}]")
        if all(positive):
            raise bad_request(
                f"[auc_roc] requires at least one [{self.actual}] to have a different value than [{wanted}]"
            )


class _Classification(_Evaluation):
    FIELDS: ClassVar[dict[str, Any]] = {"actual_field": str, "predicted_field": str, "top_classes_field": str}
    REQUIRED = ("actual_field",)
    METRICS: ClassVar[dict[str, dict[str, Any]]] = {
        "accuracy": {},
        "precision": {},
        "recall": {},
        "multiclass_confusion_matrix": {"size": int},
        "auc_roc": {"class_name": str, "include_curve": bool},
    }
    DEFAULT = ("multiclass_confusion_matrix", "accuracy", "precision", "recall")

    def __init__(self, kind: str, options: Any) -> None:
        super().__init__(kind, options)
        self.predicted: str | None = options.get("predicted_field")
        self.top_classes: str = options.get("top_classes_field") or DEFAULT_TOP_CLASSES_FIELD
        self.needing = sorted(name for name in self.metrics if name != "auc_roc")
        if self.needing and self.predicted is None:
            listed = ", ".join(self.needing)
            raise bad_request(
                f"[classification] must define [predicted_field] as required by the following metrics [{listed}]"
            )

    def check(self, name: str, options: Options) -> None:
        if name == "auc_roc" and options.get("class_name") is None:
            raise parse_error("auc_roc", "Failed to build [auc_roc] after last required field arrived")
        size = options.get("size")
        if size is not None and not 1 <= size <= metrics.MAX_CLASSES:
            raise bad_request(f"[size] must be an integer in [1, {metrics.MAX_CLASSES}]")

    def readers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        found: list[tuple[str, Callable[[Any], Any]]] = [(self.actual, _text)]
        if self.needing and self.predicted is not None:
            found.append((self.predicted, _text))
        if "auc_roc" in self.metrics:
            found.append((self.top_classes, _entries))
        return found

    def sees(self, index: Index) -> bool:
        # The fields must exist by a nested query that ignores what is unmapped (Evaluation.newSearchSourceBuilder):
        # mapped as a plain object, the top classes are not found and no document is left.
        mapped = index.mapping.objects.get(self.top_classes)
        return "auc_roc" not in self.metrics or (mapped is not None and mapped.type == "nested")

    def required_fields(self) -> list[str]:
        fields = super().required_fields()
        if "auc_roc" in self.metrics:
            fields[-1:] = [f"{self.top_classes}.class_name", f"{self.top_classes}.class_probability"]
        return fields

    def compute(self, name: str, options: Options, columns: list[list[Any]]) -> Any:
        if name == "auc_roc":
            return self._auc_roc(options, columns[0], columns[-1])
        pairs = list(zip(columns[0], columns[1], strict=True))
        if name == "multiclass_confusion_matrix":
            return metrics.confusion_matrix(pairs, options.get("size") or metrics.DEFAULT_MATRIX_SIZE)
        return {"accuracy": metrics.accuracy, "precision": metrics.precision, "recall": metrics.recall}[name](pairs)

    def _auc_roc(self, options: Options, actual: list[str], classes: list[Any]) -> dict[str, Any]:
        wanted: str = options["class_name"]
        positive = [value == wanted for value in actual]
        self.check_both_occur(positive, wanted)
        scores = [_score_of(entries, wanted) for entries in classes]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            raise bad_request(
                f"[auc_roc] requires that [{wanted}] appears as one of the [{self.top_classes}.class_name] for every "
                f"document (appeared in {len(known)} out of {len(scores)}). This is probably caused by the "
                "[num_top_classes] option being less than the total number of actual classes in the dataset."
            )
        return metrics.auc_roc(positive, known, include_curve=bool(options.get("include_curve")))


class _OutlierDetection(_Evaluation):
    FIELDS: ClassVar[dict[str, Any]] = {"actual_field": str, "predicted_probability_field": str}
    REQUIRED = ("actual_field", "predicted_probability_field")
    METRICS: ClassVar[dict[str, dict[str, Any]]] = {
        "auc_roc": {"include_curve": bool},
        "precision": {"at": list},
        "recall": {"at": list},
        "confusion_matrix": {"at": list},
    }
    DEFAULT = ("auc_roc", "precision", "recall", "confusion_matrix")

    def check(self, name: str, options: Options) -> None:
        at = options.get("at")
        if at is None:
            return
        if not at:
            raise bad_request(f"[{name}.at] must have at least one value")
        if not all(0.0 <= number_of(value) <= 1.0 for value in at):
            raise bad_request(f"[{name}.at] values must be in [0.0, 1.0]")

    def readers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        return [(self.actual, _text), (self.options["predicted_probability_field"], _number)]

    def compute(self, name: str, options: Options, columns: list[list[Any]]) -> Any:
        positive = [value in {"true", "1", "1.0"} for value in columns[0]]
        if name == "auc_roc":
            self.check_both_occur(positive, "true")
            return metrics.auc_roc(positive, columns[1], include_curve=bool(options.get("include_curve")))
        at = [number_of(value) for value in options.get("at") or DEFAULT_THRESHOLDS]
        found = metrics.thresholds(positive, columns[1], at)
        if name == "confusion_matrix":
            return found
        rate = {"precision": metrics.precision_at, "recall": metrics.recall_at}[name]
        return {threshold: rate(cells) for threshold, cells in found.items()}


class _Regression(_Evaluation):
    FIELDS: ClassVar[dict[str, Any]] = {"actual_field": str, "predicted_field": str}
    REQUIRED = ("actual_field", "predicted_field")
    METRICS: ClassVar[dict[str, dict[str, Any]]] = {
        "mse": {},
        "msle": {"offset": float},
        "huber": {"delta": float},
        "r_squared": {},
    }
    DEFAULT = ("mse", "r_squared", "huber")
    _FUNCTIONS: ClassVar[dict[str, Callable[..., float]]] = {
        "mse": metrics.mean_squared_error,
        "msle": metrics.mean_squared_logarithmic_error,
        "huber": metrics.huber,
        "r_squared": metrics.r_squared,
    }

    def readers(self) -> list[tuple[str, Callable[[Any], Any]]]:
        return [(self.actual, _number), (self.options["predicted_field"], _number)]

    def compute(self, name: str, options: Options, columns: list[list[Any]]) -> Any:
        # Elasticsearch computes with the indexed values: those of a `float` have single precision
        precisions = [_PRECISIONS.get(self.types.get(field, ""), np.float64) for field, _ in self.readers()]
        actual, predicted = (
            np.asarray(column, dtype=precision).astype(np.float64)
            for column, precision in zip(columns, precisions, strict=True)
        )
        given = {key: value for key, value in options.items() if value is not None}
        value = self._FUNCTIONS[name](actual, predicted, **given)
        # JSON has no such numbers: Elasticsearch's writer makes texts of them, "NaN" and "-Infinity"
        return {"value": value if math.isfinite(value) else str(value).replace("inf", "Infinity").replace("nan", "NaN")}


_EVALUATIONS: Final[dict[str, type[_Evaluation]]] = {
    "classification": _Classification,
    "outlier_detection": _OutlierDetection,
    "regression": _Regression,
}


def _first(value: Any) -> Any:
    return (value[0] if value else None) if isinstance(value, list) else value


def _text(value: Any) -> str | None:
    first = _first(value)
    return None if isinstance(first, dict) else text_of(first)


def _number(value: Any) -> float | None:
    number = number_of(_first(value))
    return None if math.isnan(number) else number


def _entries(value: Any) -> list[dict[str, Any]] | None:
    entries = value if isinstance(value, list) else [value]
    return [
        e
        for e in entries
        if isinstance(e, dict) and e.get("class_name") is not None and e.get("class_probability") is not None
    ] or None


def _score_of(entries: list[dict[str, Any]], wanted: str) -> float | None:
    for entry in entries:
        if text_of(entry["class_name"]) == wanted:
            return float(entry["class_probability"])
    return None
