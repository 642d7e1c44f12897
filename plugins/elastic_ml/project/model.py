"""What `models/<name>.yml` may say: one data frame analytics model from its source to its monitoring."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from elastic_ml.project.analytics_options import check_options
from elastic_ml.project.cron import Cron
from elastic_ml.project.durations import Duration, parse_duration
from elastic_ml.project.elastic_query import Query
from elastic_ml.project.elastic_values import NotBlank
from elastic_ml.project.feature_names import check_features
from elastic_ml.project.yaml_files import Body, FileModel, InvalidValueError

MODEL_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,28}[a-z]$"
"""Names of models and anomaly jobs: 30 characters, ending in a letter since ids derive from it."""

LONGEST_PAST = timedelta(days=700_000)
"""Further back there is no year that Python or Elasticsearch could write."""

ROW_LABEL = "label"
"""The field of a training or holdout row that says what is to be learned."""

Kind = Literal["classification", "regression", "outlier_detection"]
KINDS: tuple[Kind, ...] = ("classification", "regression", "outlier_detection")


class ModelSource(FileModel):
    """Where the model's events are: index names or data streams, and a query in Elasticsearch's own words."""

    index: Annotated[list[NotBlank], Field(min_length=1)]
    query: Query = Field(default_factory=lambda: {"match_all": {}})


class Label(FileModel):
    """What the model learns: the verdicts that people give, or a field that the event itself carries."""

    verdicts: Literal["by_event", "by_user_hour"] | None = None
    field: NotBlank | None = None
    positive_class: NotBlank | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Label:
        if (self.verdicts is None) == (self.field is None):
            raise InvalidValueError(
                "a label comes from either verdicts or field", "write exactly one of `verdicts:` and `field:`"
            )
        return self


class Windows(FileModel):
    """Lengths of the training window and of the temporal holdout after it."""

    train: Duration
    holdout: Duration = parse_duration("14d")


class Gate(FileModel):
    """Lowest figures on the temporal holdout with which a candidate may be promoted."""

    auc_roc: Annotated[float, Field(ge=0, le=1)] | None = None
    average_precision: Annotated[float, Field(ge=0, le=1)] | None = None
    r_squared: Annotated[float, Field(le=1, allow_inf_nan=False)] | None = None

    def limits(self) -> dict[str, float]:
        """The metrics that are set, by name."""
        return self.model_dump(exclude_none=True)


class Approval(FileModel):
    """Who lets a candidate that passed its gate into production."""

    mode: Literal["person", "auto"] = "person"
    approvers: list[NotBlank] = Field(default_factory=list)
    timeout: Duration = parse_duration("24h")


class Serve(FileModel):
    """How events are scored while indexed: `pipeline` calls `<model>@score` where `if` (Painless) holds."""

    pipeline: str
    if_: str | None = Field(default=None, alias="if")
    review_capacity: Annotated[int, Field(ge=1, le=2**31 - 1)] = 50

    @field_validator("if_")
    @classmethod
    def _says_something(cls, written: str | None) -> str | None:
        return written.strip() if written else written


class Monitor(FileModel):
    """Drift limit (population stability index), days above it in a row, quietest interval worth an alert."""

    psi_limit: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    days: Annotated[int, Field(ge=1, le=36_500)] = 2
    min_expected: Annotated[int, Field(ge=0, le=2**31 - 1)] = 10


class Model(FileModel):
    """One model file; `name` is the file's name."""

    name: str = Field(exclude=True)
    owner: str
    description: str | None = None
    source: ModelSource
    label: Label | None = None
    label_delay: Duration = parse_duration("14d")
    windows: Windows | None = None
    features: Annotated[list[str], Field(min_length=1)]
    analysis: dict[str, Body]
    gate: Gate | None = None
    approval: Approval | None = None
    serve: Serve | None = None
    monitor: Monitor = Field(default_factory=Monitor)
    schedule: Cron | None = None

    @property
    def kind(self) -> Kind:
        """The analysis: classification, regression or outlier_detection."""
        return next(kind for kind in KINDS if kind in self.analysis)

    @property
    def supervised(self) -> bool:
        """Whether training makes a trained model; outlier detection only scores its own rows."""
        return self.kind != "outlier_detection"

    @field_validator("features")
    @classmethod
    def _can_be_learned_from(cls, features: list[str]) -> list[str]:
        check_features(features)
        return features

    @field_validator("analysis")
    @classmethod
    def _one_analysis(cls, analysis: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if len(analysis) != 1 or next(iter(analysis)) not in KINDS:
            raise InvalidValueError(f"{sorted(analysis)} is no analysis", f"write exactly one of {', '.join(KINDS)}")
        kind, options = next(iter(analysis.items()))
        if "dependent_variable" in options:
            raise InvalidValueError(
                "dependent_variable is set by the training stage",
                "remove it; `label:` says what is learned",
                kind,
                "dependent_variable",
            )
        check_options(kind, options)
        return analysis

    @model_validator(mode="after")
    def _windows_reach_back_to_a_date(self) -> Model:
        if self.windows is not None:
            back = self.windows.train + (self.windows.holdout + self.label_delay if self.supervised else timedelta(0))
            if back > LONGEST_PAST:
                raise InvalidValueError(
                    f"windows and label_delay reach {back.days} days back, to before any date there is",
                    f"write less than {LONGEST_PAST.days}d for all of them",
                    "windows",
                )
        return self

    @model_validator(mode="after")
    def _parts_fit_the_analysis(self) -> Model:
        if self.supervised:
            self._check_supervised()
        else:
            self._check_outliers()
        return self

    def _check_supervised(self) -> None:
        for position, feature in enumerate(self.features):
            if feature == ROW_LABEL or feature.startswith(f"{ROW_LABEL}."):
                raise InvalidValueError(
                    f"the rows that are learned from keep their own {ROW_LABEL} there",
                    "index the feature under another name",
                    "features",
                    position,
                )
        if self.label is None:
            raise InvalidValueError(f"{self.kind} needs a label", "add `label:` with `verdicts:` or `field:`", "label")
        if self.windows is None:
            raise InvalidValueError(
                f"{self.kind} needs windows", "add `windows: {train: 90d, holdout: 14d}`", "windows"
            )
        if self.label.field in self.features:
            raise InvalidValueError(
                f"{self.label.field} is the label and cannot be a feature",
                "remove it from features",
                "features",
                self.features.index(str(self.label.field)),
            )
        if self.kind == "classification":
            if self.label.positive_class is None:
                raise InvalidValueError(
                    "classification needs the class that scores stand for",
                    'add `positive_class`, for verdicts usually "true"',
                    "label",
                )
            refused, why = ["r_squared"], "regression"
        else:
            if self.label.verdicts is not None:
                raise InvalidValueError(
                    "regression cannot learn verdicts", "use `field:` with a numeric field", "label"
                )
            if self.label.positive_class is not None:
                raise InvalidValueError("regression has no classes", "remove it", "label", "positive_class")
            refused, why = ["auc_roc", "average_precision"], "classification"
        for metric in refused:
            if self.gate is not None and getattr(self.gate, metric) is not None:
                raise InvalidValueError(f"{metric} is a metric of {why}", "remove it", "gate", metric)

    def _check_outliers(self) -> None:
        for part in ("label", "gate", "approval", "serve"):
            if getattr(self, part) is not None:
                raise InvalidValueError(
                    f"outlier detection makes no trained model, so it has no {part}",
                    f"remove `{part}:`; its scores are published under the alias <model>_results",
                    part,
                )
        if self.windows is None:
            raise InvalidValueError("outlier detection needs a window", "add `windows: {train: 14d}`", "windows")
        if "holdout" in self.windows.model_fields_set:
            raise InvalidValueError("outlier detection judges nothing, so it has no holdout", "remove it", "windows")
        if "label_delay" in self.model_fields_set:
            raise InvalidValueError("outlier detection waits for no label", "remove it", "label_delay")
