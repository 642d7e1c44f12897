"""Options of data frame analytics in Elasticsearch's words: what each analysis takes, and in which range.

As its classes `Classification`, `Regression`, `OutlierDetection` and `BoostedTreeParams` read them.
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import Field, ValidationError

from elastic_ml.project.elastic_values import Number, Truth, number, one_of
from elastic_ml.project.yaml_files import FileModel, InvalidValueError, shortened

SET_BY_TRAINING: dict[str, dict[str, object]] = {
    "classification": {"prediction_field_name": "label_prediction", "training_percent": 100, "num_top_classes": -1},
    "regression": {"prediction_field_name": "label_prediction", "training_percent": 100},
    "outlier_detection": {},
}
"""Options that the package's template of the body sets, whatever the model file says."""


class _BoostedTrees(FileModel):
    """What classification and regression have in common; `dependent_variable` is the training stage's."""

    alpha: Annotated[Number, number(0)] | None = None
    downsample_factor: Annotated[Number, number(0, 1, above=True)] | None = None
    early_stopping_enabled: Truth | None = None
    eta: Annotated[Number, number(0.001, 1)] | None = None
    eta_growth_rate_per_tree: Annotated[Number, number(0.5, 2)] | None = None
    feature_bag_fraction: Annotated[Number, number(0, 1, above=True)] | None = None
    feature_processors: list[dict[str, Any]] | None = None
    gamma: Annotated[Number, number(0)] | None = None
    lambda_: Annotated[Number, number(0)] | None = Field(default=None, alias="lambda")
    max_optimization_rounds_per_hyperparameter: Annotated[Number, number(0, 20, whole=True)] | None = None
    max_trees: Annotated[Number, number(1, 2000, whole=True)] | None = None
    maximum_number_trees: Annotated[Number, number(1, 2000, whole=True)] | None = None
    num_top_feature_importance_values: Annotated[Number, number(0, 2**31 - 1, whole=True)] | None = None
    prediction_field_name: str | None = None
    randomize_seed: Annotated[Number, number(whole=True)] | None = None
    soft_tree_depth_limit: Annotated[Number, number(0)] | None = None
    soft_tree_depth_tolerance: Annotated[Number, number(0.01)] | None = None
    training_percent: Annotated[Number, number(0, 100, above=True)] | None = None


class _Classification(_BoostedTrees):
    class_assignment_objective: Annotated[str, one_of("maximize_accuracy", "maximize_minimum_recall")] | None = None
    num_top_classes: Annotated[Number, number(-1, 1000, whole=True)] | None = None


class _Regression(_BoostedTrees):
    loss_function: Annotated[str, one_of("mse", "msle", "huber")] | None = None
    loss_function_parameter: Annotated[Number, number(0, above=True)] | None = None


class _OutlierDetection(FileModel):
    compute_feature_influence: Truth | None = None
    feature_influence_threshold: Annotated[Number, number(0, 1)] | None = None
    method: Annotated[str, one_of("lof", "ldof", "distance_kth_nn", "distance_knn")] | None = None
    n_neighbors: Annotated[Number, number(1, 2**31 - 1, whole=True)] | None = None
    outlier_fraction: Annotated[Number, number(0, 1)] | None = None
    standardization_enabled: Truth | None = None


_OPTIONS: dict[str, type[FileModel]] = {
    "classification": _Classification,
    "regression": _Regression,
    "outlier_detection": _OutlierDetection,
}


def check_options(kind: str, options: dict[str, Any]) -> None:
    """Refuse an option that the server would; raises InvalidValueError with its place below `analysis`."""
    shape = _OPTIONS[kind]
    try:
        shape.model_validate(options)
    except ValidationError as invalid:
        problem = invalid.errors(include_url=False)[0]
        name = problem["loc"][0]
        if problem["type"] == "extra_forbidden":
            known = sorted(field.alias or key for key, field in shape.model_fields.items())
            near = difflib.get_close_matches(str(name), known, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"its options are {', '.join(known)}"
            raise InvalidValueError(f"{kind} has no such option", remedy, kind, name) from None
        reason: Any = problem.get("ctx", {}).get("error")
        if isinstance(reason, InvalidValueError):
            raise InvalidValueError(str(reason), reason.remedy, kind, name) from None
        raise InvalidValueError(
            problem["msg"], f"correct the value {shortened(problem['input'])}", kind, name
        ) from None
