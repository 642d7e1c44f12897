"""`POST _ml/data_frame/_evaluate` for classification: reading the fields, checking what Elasticsearch checks, metrics.

Documents that lack a required field are ignored. Words and defaults: Elastic's YAML test evaluate_data_frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ml import metrics
from elastic_sandbox.ml.encodings import text_of
from elastic_sandbox.ml.inference import reader
from elastic_sandbox.ml.strict import bad_request, parse_error, parse_strict, required

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_BODY = {"index": (str, list), "query": dict, "evaluation": dict}
_CLASSIFICATION = {"actual_field": str, "predicted_field": str, "top_classes_field": str, "metrics": dict}
_METRICS: Final[dict[str, dict[str, Any]]] = {
    "accuracy": {},
    "precision": {},
    "recall": {},
    "multiclass_confusion_matrix": {"size": int},
    "auc_roc": {"class_name": str, "include_curve": bool},
}
_DEFAULT_METRICS: Final = ("multiclass_confusion_matrix", "accuracy", "precision", "recall")
DEFAULT_TOP_CLASSES_FIELD: Final = "ml.top_classes"


def evaluate(backend: Backend, body: Any) -> dict[str, Any]:
    """The metrics of a body's evaluation.

    :raises ElasticError: 400 for a bad body, or when no document has the required fields; 404 for a missing index;
        501 for regression and outlier detection.
    """
    parse_strict("evaluate_data_frame_request", body, _BODY)
    missing = [name for name in ("index", "evaluation") if body.get(name) is None]
    if missing:
        raise required("evaluate_data_frame_request", *missing)
    if len(body["evaluation"]) != 1:
        raise parse_error("evaluate_data_frame_request", "[evaluation] must have exactly one evaluation type")
    kind, options = next(iter(body["evaluation"].items()))
    if kind in {"regression", "outlier_detection"}:
        raise unsupported(f"evaluation [{kind}]")
    if kind != "classification":
        raise parse_error("evaluate_data_frame_request", f"unknown field [{kind}]")
    evaluation = _Classification(options)
    expression = body["index"] if isinstance(body["index"], str) else ",".join(body["index"])
    return {"classification": evaluation.run(backend, expression, body.get("query") or {"match_all": {}})}


class _Classification:
    def __init__(self, options: Any) -> None:
        parse_strict("classification", options, _CLASSIFICATION)
        if options.get("actual_field") is None:
            raise required("classification", "actual_field")
        self.actual: str = options["actual_field"]
        self.predicted: str | None = options.get("predicted_field")
        self.top_classes: str = options.get("top_classes_field") or DEFAULT_TOP_CLASSES_FIELD
        self.metrics = self._metrics(options.get("metrics"))
        needing = [name for name in self.metrics if name != "auc_roc"]
        if needing and self.predicted is None:
            listed = ", ".join(sorted(needing))
            raise bad_request(
                f"[classification] must define [predicted_field] as required by the following metrics [{listed}]"
            )
        self.needs_predicted = bool(needing)

    @staticmethod
    def _metrics(body: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
        if body is None:
            return {name: {} for name in _DEFAULT_METRICS}
        if not body:
            raise bad_request("[classification] must have one or more metrics")
        for name, options in body.items():
            if name not in _METRICS:
                raise parse_error("classification", f"unknown field [{name}]")
            parse_strict(name, options, _METRICS[name])
        if "auc_roc" in body and body["auc_roc"].get("class_name") is None:
            raise parse_error("auc_roc", "Failed to build [auc_roc] after last required field arrived")
        size = (body.get("multiclass_confusion_matrix") or {}).get("size")
        if size is not None and not 1 <= size <= metrics.MAX_CLASSES:
            raise bad_request(f"[size] must be an integer in [1, {metrics.MAX_CLASSES}]")
        return body

    def run(self, backend: Backend, expression: str, query: dict[str, Any]) -> dict[str, Any]:
        """Read the documents once and compute every metric."""
        indices = backend.indices.resolve(expression)
        backend.documents.refresh(indices)
        parents = {
            path: field.parent
            for index in indices
            for path, field in index.mapping.fields.items()
            if field.parent is not None
        }
        read_actual = reader(parents.get(self.actual) or self.actual)
        read_predicted = None
        if self.needs_predicted and self.predicted is not None:
            read_predicted = reader(parents.get(self.predicted) or self.predicted)
        read_classes = reader(self.top_classes) if "auc_roc" in self.metrics else None
        actuals: list[str] = []
        predicted: list[str] = []
        classes: list[Any] = []
        for hit in backend.documents.scan(expression, query):
            actual = _first(read_actual(hit.source))
            prediction = None if read_predicted is None else _first(read_predicted(hit.source))
            ranked = None if read_classes is None else _entries(read_classes(hit.source))
            if actual is None or (read_predicted and prediction is None) or (read_classes and not ranked):
                continue
            actuals.append(actual)
            predicted.append(prediction or "")
            classes.append(ranked)
        if not actuals:
            raise bad_request(
                f"No documents found containing all the required fields [{', '.join(self._required_fields())}]"
            )
        pairs = list(zip(actuals, predicted, strict=True))
        return {name: self._compute(name, options, pairs, classes) for name, options in self.metrics.items()}

    def _required_fields(self) -> list[str]:
        fields = [self.actual]
        if self.needs_predicted and self.predicted is not None:
            fields.append(self.predicted)
        if "auc_roc" in self.metrics:
            fields += [f"{self.top_classes}.class_name", f"{self.top_classes}.class_probability"]
        return fields

    def _compute(
        self, name: str, options: dict[str, Any], pairs: list[tuple[str, str]], classes: list[Any]
    ) -> dict[str, Any]:
        if name == "accuracy":
            return metrics.accuracy(pairs)
        if name == "precision":
            return metrics.precision(pairs)
        if name == "recall":
            return metrics.recall(pairs)
        if name == "multiclass_confusion_matrix":
            return metrics.confusion_matrix(pairs, options.get("size") or metrics.DEFAULT_MATRIX_SIZE)
        return self._auc_roc(options, pairs, classes)

    def _auc_roc(self, options: dict[str, Any], pairs: list[tuple[str, str]], classes: list[Any]) -> dict[str, Any]:
        wanted: str = options["class_name"]
        positive = [actual == wanted for actual, _ in pairs]
        if not any(positive):
            raise bad_request(f"[auc_roc] requires at least one [{self.actual}] to have the value [{wanted}]")
        if all(positive):
            raise bad_request(
                f"[auc_roc] requires at least one [{self.actual}] to have a different value than [{wanted}]"
            )
        scores = [_score_of(entries, wanted) for entries in classes]
        known = [score for score in scores if score is not None]
        if len(known) < len(scores):
            raise bad_request(
                f"[auc_roc] requires that [{wanted}] appears as one of the [{self.top_classes}.class_name] for every "
                f"document (appeared in {len(known)} out of {len(scores)}). This is probably caused by the "
                "[num_top_classes] option being less than the total number of actual classes in the dataset."
            )
        return metrics.auc_roc(positive, known, include_curve=bool(options.get("include_curve")))


def _first(value: Any) -> str | None:
    if isinstance(value, list):
        value = value[0] if value else None
    return None if isinstance(value, dict) else text_of(value)


def _entries(value: Any) -> list[dict[str, Any]]:
    entries = value if isinstance(value, list) else [value]
    return [
        e
        for e in entries
        if isinstance(e, dict) and e.get("class_name") is not None and e.get("class_probability") is not None
    ]


def _score_of(entries: list[dict[str, Any]], wanted: str) -> float | None:
    for entry in entries:
        if text_of(entry["class_name"]) == wanted:
            return float(entry["class_probability"])
    return None
