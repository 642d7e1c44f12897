"""The body of an anomaly job in Elasticsearch's words, and what its server refuses of one.

The rules are those of `Job`, `AnalysisConfig` and the classes inside them; what an index holds, nobody knows here.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from elastic_ml.project.anomaly_detector import SPLITS, Detector, check_field_name
from elastic_ml.project.durations import parse_duration
from elastic_ml.project.elastic_values import (
    Memory,
    NotBlank,
    Number,
    PersistInterval,
    Seconds,
    Truth,
    WholeSeconds,
    number,
    one_of,
    parse_time,
)
from elastic_ml.project.yaml_files import Body, FileModel, InvalidValueError

SNAPSHOT_DAYS = 10
"""How long the server keeps model snapshots, unless it is told."""

_CATEGORY = "mlcategory"
"""The field that categorization makes."""


class PerPartitionCategorization(FileModel):
    """Whether each partition has its own categories."""

    enabled: Truth
    stop_on_warn: Truth | None = None

    @model_validator(mode="after")
    def _stops_what_runs(self) -> PerPartitionCategorization:
        if self.stop_on_warn and not self.enabled:
            raise InvalidValueError(
                "there is nothing to stop while it is not enabled",
                "write `enabled: true`, or remove it",
                "stop_on_warn",
            )
        return self


class AnalysisConfig(FileModel):
    """How time is cut into buckets, and the detectors that look at each."""

    bucket_span: str
    detectors: Annotated[list[Detector], Field(min_length=1)]
    influencers: list[str] = Field(default_factory=list)
    summary_count_field_name: str | None = None
    model_prune_window: Seconds | None = None
    latency: WholeSeconds | None = None
    multivariate_by_fields: bool | None = None
    categorization_field_name: str | None = None
    categorization_filters: list[str] | None = None
    categorization_analyzer: Body | str | None = None
    per_partition_categorization: PerPartitionCategorization | None = None

    @field_validator("bucket_span")
    @classmethod
    def _is_a_duration(cls, bucket_span: str) -> str:
        try:
            parse_duration(bucket_span)
        except ValueError as error:
            raise InvalidValueError(str(error), "write a duration such as 15m or 1h") from None
        return bucket_span

    @property
    def span(self) -> timedelta:
        """The bucket span."""
        return parse_duration(self.bucket_span)

    @property
    def fields(self) -> dict[str, tuple[int | str, ...]]:
        """Every field that is analysed, with its place."""
        found: dict[str, tuple[int | str, ...]] = {}
        for position, detector in enumerate(self.detectors):
            for key in ("field_name", *SPLITS):
                if name := getattr(detector, key):
                    found.setdefault(name, ("detectors", position, key))
        for position, name in enumerate(self.influencers):
            found.setdefault(name, ("influencers", position))
        for key in ("summary_count_field_name", "categorization_field_name"):
            if name := getattr(self, key):
                found.setdefault(name, (key,))
        return found

    @model_validator(mode="after")
    def _parts_fit(self) -> AnalysisConfig:
        for key in ("summary_count_field_name", "categorization_field_name"):
            check_field_name(getattr(self, key), key)
        if self.latency is not None and parse_time(self.latency) > 0:
            raise InvalidValueError("a job with a datafeed takes no latency", "remove it", "latency")
        if self.model_prune_window is not None:
            window, span = parse_time(self.model_prune_window), parse_time(self.bucket_span)
            if window % span or window < 2 * span:
                raise InvalidValueError(
                    f"{self.model_prune_window} is not two or more whole spans of {self.bucket_span}",
                    "write a multiple of bucket_span, as 30d",
                    "model_prune_window",
                )
        self._check_detectors()
        self._check_nesting()
        self._check_categorization()
        return self

    def _check_detectors(self) -> None:
        for position, detector in enumerate(self.detectors):
            if detector in self.detectors[:position]:
                raise InvalidValueError("the same detector is there twice", "keep one of them", "detectors", position)
            if detector.function == "metric" and self.summary_count_field_name:
                raise InvalidValueError(
                    "metric cannot work on summaries", "write mean, min and max instead of it",
                    "detectors", position, "function",
                )  # fmt: skip

    def _check_nesting(self) -> None:
        """A value cannot be split by and have fields below it; the server compares neighbours in order."""
        places = self.fields
        splitting = {name for detector in self.detectors for name in detector.splits.values()} | {*self.influencers}
        for outer, inner in pairwise(sorted(splitting - {""})):
            if inner.startswith(f"{outer}."):
                raise InvalidValueError(
                    f"{outer} and {inner} cannot both be used: one is inside the other", "remove one", *places[inner]
                )

    def _check_categorization(self) -> None:
        uses = [n for n, detector in enumerate(self.detectors) if _CATEGORY in detector.splits.values()]
        if self.categorization_field_name is None:
            if uses:
                raise InvalidValueError(
                    f"{_CATEGORY} is there only with categorization", "add `categorization_field_name:`",
                    "detectors", uses[0],
                )  # fmt: skip
            for key in ("categorization_filters", "categorization_analyzer"):
                if getattr(self, key):
                    raise InvalidValueError("nothing is categorized", "add `categorization_field_name:`", key)
        elif not uses:
            raise InvalidValueError(
                f"no detector is split by {_CATEGORY}", f"add `by_field_name: {_CATEGORY}` to one",
                "categorization_field_name",
            )  # fmt: skip
        filters = self.categorization_filters or []
        if filters and self.categorization_analyzer is not None:
            raise InvalidValueError(
                "an analyzer has its filters inside", "remove one of the two", "categorization_filters"
            )
        for position, text in enumerate(filters):
            if not text or text in filters[:position]:
                raise InvalidValueError(
                    "the filter is empty, or there already", "remove it", "categorization_filters", position
                )
        if self.per_partition_categorization is not None and self.per_partition_categorization.enabled:
            self._check_partitions(uses)

    def _check_partitions(self, uses: list[int]) -> None:
        """Categories by partition: all detectors that are divided have the same partitions."""
        if self.categorization_field_name is None:
            raise InvalidValueError(
                "nothing is categorized", "add `categorization_field_name:`", "per_partition_categorization"
            )
        first: str | None = None
        for position, detector in enumerate(self.detectors):
            partition = detector.partition_field_name
            place = ("detectors", position, "partition_field_name")
            if partition == _CATEGORY or (position in uses and partition is None):
                raise InvalidValueError(
                    "categories by partition need a partition of their own", "add a field that is no category", *place
                )
            if partition is not None and partition != (first := first or partition):
                raise InvalidValueError(
                    f"categories by partition are divided by {first} already", "use the same field", *place
                )


class AnalysisLimits(FileModel):
    """How much memory the model may take, and how many examples a category keeps."""

    model_memory_limit: Memory | None = None
    categorization_examples_limit: Annotated[Number, number(0, whole=True)] | None = None


class DataDescription(FileModel):
    """Which field is the time."""

    format: Annotated[str, one_of("xcontent", "delimited")] | None = None
    time_field: NotBlank | None = None
    time_format: str | None = None
    field_delimiter: str | None = None


class ModelPlot(FileModel):
    """Whether the model's bounds are kept, for Kibana to draw."""

    enabled: Truth
    terms: str | None = None
    annotations_enabled: Truth | None = None


ResultsIndex = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([a-z0-9_\-.]*[a-z0-9])?)?$")]


class JobBody(FileModel):
    """The job in Elasticsearch's words; `description` and `groups` stand beside it, the id is the file's name."""

    analysis_config: AnalysisConfig
    data_description: DataDescription = Field(default_factory=lambda: DataDescription(time_field="@timestamp"))
    analysis_limits: AnalysisLimits | None = None
    model_plot_config: ModelPlot | None = None
    allow_lazy_open: bool = True
    background_persist_interval: PersistInterval | None = None
    renormalization_window_days: Annotated[int, Field(ge=0)] | None = None
    results_retention_days: Annotated[int, Field(ge=0)] | None = None
    model_snapshot_retention_days: Annotated[int, Field(ge=0)] | None = None
    daily_model_snapshot_retention_after_days: Annotated[int, Field(ge=0)] | None = None
    results_index_name: ResultsIndex | None = None
    custom_settings: Body | None = None

    @property
    def time_field(self) -> str:
        """The field of the time; without a name it is Elasticsearch's own default."""
        return self.data_description.time_field or "time"

    @model_validator(mode="after")
    def _parts_fit(self) -> JobBody:
        if place := self.analysis_config.fields.get(self.time_field):
            raise InvalidValueError(
                f"{self.time_field} is the time and cannot be analysed", "use another field", "analysis_config", *place
            )
        kept = SNAPSHOT_DAYS if self.model_snapshot_retention_days is None else self.model_snapshot_retention_days
        daily = self.daily_model_snapshot_retention_after_days
        if daily is not None and daily > kept:
            raise InvalidValueError(
                f"snapshots are deleted after {kept} days, before they would become daily ones",
                f"write {kept} or less, or raise model_snapshot_retention_days",
                "daily_model_snapshot_retention_after_days",
            )
        return self
