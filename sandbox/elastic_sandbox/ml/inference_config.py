"""`inference_config`: how a model's predictions are reported, and how a request overrides it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.ml.strict import bad_request, parse_strict

_CLASSIFICATION = {
    "num_top_classes": int,
    "num_top_feature_importance_values": int,
    "results_field": str,
    "top_classes_results_field": str,
    "prediction_field_type": str,
}
_REGRESSION = {"num_top_feature_importance_values": int, "results_field": str}
_KNOWN: Final[dict[str, dict[str, Any]]] = {"classification": _CLASSIFICATION, "regression": _REGRESSION}
_NATURAL_LANGUAGE: Final = {
    "fill_mask", "ner", "pass_through", "question_answering", "text_classification", "text_embedding",
    "text_expansion", "text_similarity", "zero_shot_classification", "learning_to_rank",
}  # fmt: skip
_RESERVED_FIELDS: Final = ("warning", "model_id")


@dataclass(frozen=True)
class InferenceConfig:
    """The settings of one inference, defaults filled in."""

    kind: str
    results_field: str = "predicted_value"
    num_top_classes: int = 0
    num_top_feature_importance_values: int = 0
    top_classes_results_field: str = "top_classes"
    prediction_field_type: str = "string"

    def to_json(self) -> dict[str, Any]:
        """As a model's configuration shows it."""
        shown: dict[str, Any] = {
            "results_field": self.results_field,
            "num_top_feature_importance_values": self.num_top_feature_importance_values,
        }
        if self.kind == "classification":
            shown = {
                "num_top_classes": self.num_top_classes,
                "top_classes_results_field": self.top_classes_results_field,
                **shown,
                "prediction_field_type": self.prediction_field_type,
            }
        return {self.kind: shown}

    def updated(self, update: dict[str, Any] | None, model_id: str) -> InferenceConfig:
        """This configuration with a request's overrides; 400 when they are of another kind than the model."""
        if not update:
            return self
        kind, values = next(iter(update.items()))
        if kind != self.kind:
            raise bad_request(
                f"Model [{model_id}] has inference config of type [{self.kind}] which is not supported by inference "
                f"request of type [{kind}]"
            )
        return replace(self, **{name: value for name, value in values.items() if value is not None})


def check_update(body: Any) -> dict[str, Any]:
    """Validate an `inference_config` with exactly one known kind; returned as given.

    :raises ElasticError: 400 for unknown kinds or options, 501 for natural language kinds.
    """
    if not isinstance(body, dict) or len(body) != 1 or not isinstance(next(iter(body.values())), dict):
        raise bad_request("inference_config must be an object with one inference type mapped to an object.")
    kind, options = next(iter(body.items()))
    if kind in _NATURAL_LANGUAGE:
        raise unsupported(f"inference_config [{kind}]")
    if kind not in _KNOWN:
        raise bad_request(
            f"unrecognized inference configuration type [{kind}]. Supported types [classification, regression]"
        )
    parse_strict(f"{kind}_config", options, _KNOWN[kind])
    field_type = options.get("prediction_field_type")
    if field_type is not None and field_type not in {"string", "number", "boolean"}:
        raise illegal_argument(f"No enum constant PredictionFieldType.{field_type.upper()}")
    if (options.get("num_top_feature_importance_values") or 0) < 0:
        raise bad_request("[num_top_feature_importance_values] must be greater than or equal to 0")
    fields = [options[name] for name in ("results_field", "top_classes_results_field") if options.get(name)]
    for field in fields:  # in Elastic's InferenceProcessorFactoryTests "duplicate fields"
        if [*fields, *_RESERVED_FIELDS].count(field) > 1:
            raise bad_request(f"Cannot create processor as configured. More than one field is configured as [{field}]")
    return body


def parse_inference_config(body: Any) -> InferenceConfig:
    """A model's own `inference_config`, complete with defaults."""
    kind, options = next(iter(check_update(body).items()))
    return InferenceConfig(kind, **{name: value for name, value in options.items() if value is not None})
