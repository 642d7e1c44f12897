"""What `anomaly_jobs/<name>.yml` may say: one anomaly detection job with its datafeed, calendars, filters and alerts.

`job` and `datafeed` are in Elasticsearch's own words and sent as they are, through the templates `anomaly/*.j2`. What
is checked here would otherwise fail late: a misspelt key, a detector that lacks its field, a filter nobody defined.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, field_validator, model_validator

from elastic_ml.project.cron import Cron
from elastic_ml.project.durations import parse_duration
from elastic_ml.project.source import is_zone
from elastic_ml.project.yaml_files import Body, FileModel, InvalidValueError

Mode = Literal["partition", "realtime"]
Part = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,28}[a-z0-9]$")]
"""Names of calendars and filters inside a file: with the job's name before them they stay below 64 characters."""
Group = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])?$", max_length=64)]

_OF_A_FIELD = frozenset(
    f"{side}{function}"
    for function in ("distinct_count", "info_content", "mean", "avg", "median", "sum", "non_null_sum")
    for side in ("", "high_", "low_")
) | {"metric", "min", "max", "varp", "high_varp", "low_varp", "lat_long"}
_OF_EVENTS = frozenset(
    f"{side}{function}" for function in ("count", "non_zero_count") for side in ("", "high_", "low_")
) | {"rare", "freq_rare", "time_of_day", "time_of_week"}
FUNCTIONS = _OF_A_FIELD | _OF_EVENTS | {"nzc", "high_nzc", "low_nzc", "dc", "high_dc", "low_dc"}
"""The functions of a detector; the last ones are Elasticsearch's short names."""


class Detector(FileModel):
    """What is watched: a function, of a field, split by others. Elasticsearch's own words."""

    function: str
    field_name: str | None = None
    by_field_name: str | None = None
    over_field_name: str | None = None
    partition_field_name: str | None = None
    detector_description: str | None = None
    exclude_frequent: Literal["all", "none", "by", "over"] | None = None
    use_null: bool | None = None
    custom_rules: list[Body] | None = None

    @model_validator(mode="after")
    def _has_what_its_function_needs(self) -> Detector:
        if self.function not in FUNCTIONS:
            near = difflib.get_close_matches(self.function, sorted(FUNCTIONS), n=1)
            remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(FUNCTIONS))}"
            raise InvalidValueError(f"{self.function!r} is no function", remedy, "function")
        if self.function in _OF_A_FIELD and self.field_name is None:
            raise InvalidValueError(f"{self.function} is computed of a field", "add `field_name:`", "function")
        if self.function in _OF_EVENTS and self.field_name is not None:
            raise InvalidValueError(f"{self.function} has no field", "remove field_name", "field_name")
        if self.function.endswith("rare") and self.by_field_name is None:
            raise InvalidValueError(
                f"{self.function} needs the field whose values are rare", "add `by_field_name:`", "function"
            )
        if self.function == "freq_rare" and self.over_field_name is None:
            raise InvalidValueError("freq_rare needs a population", "add `over_field_name:`", "function")
        return self

    def filters(self) -> list[tuple[str, tuple[int | str, ...]]]:
        """The filters that its rules name, each with its place in the detector."""
        return [
            (scope["filter_id"], ("custom_rules", number, "scope", field, "filter_id"))
            for number, rule in enumerate(self.custom_rules or [])
            for field, scope in (rule.get("scope") or {}).items()
            if isinstance(scope, dict) and "filter_id" in scope
        ]


class AnalysisConfig(FileModel):
    """How time is cut into buckets, and the detectors that look at each."""

    bucket_span: str
    detectors: Annotated[list[Detector], Field(min_length=1)]
    influencers: list[str] = Field(default_factory=list)
    summary_count_field_name: str | None = None
    model_prune_window: str | None = None
    latency: str | None = None
    multivariate_by_fields: bool | None = None
    categorization_field_name: str | None = None
    categorization_filters: list[str] | None = None
    categorization_analyzer: Body | str | None = None
    per_partition_categorization: Body | None = None

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


class JobBody(FileModel):
    """The job in Elasticsearch's words; `description` and `groups` stand beside it, the id is the file's name."""

    analysis_config: AnalysisConfig
    data_description: Body = Field(default_factory=lambda: {"time_field": "@timestamp"})
    analysis_limits: Body | None = None
    model_plot_config: Body | None = None
    allow_lazy_open: bool = True
    background_persist_interval: str | None = None
    renormalization_window_days: Annotated[int, Field(ge=0)] | None = None
    results_retention_days: Annotated[int, Field(ge=0)] | None = None
    model_snapshot_retention_days: Annotated[int, Field(ge=0)] | None = None
    daily_model_snapshot_retention_after_days: Annotated[int, Field(ge=0)] | None = None
    results_index_name: str | None = None
    custom_settings: Body | None = None


class DatafeedBody(FileModel):
    """The datafeed in Elasticsearch's words; its id and the job's follow from the file's name."""

    indices: Annotated[list[str], Field(min_length=1)]
    query: Body = Field(default_factory=lambda: {"match_all": {}})
    query_delay: str = "120s"
    frequency: str | None = None
    scroll_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    aggregations: Body | None = None
    chunking_config: Body | None = None
    delayed_data_check_config: Body | None = None
    indices_options: Body | None = None
    max_empty_searches: int | None = None
    runtime_mappings: Body | None = None
    script_fields: Body | None = None


class CalendarEvent(FileModel):
    """A period that is out of the ordinary."""

    description: str
    start: datetime = Field(description="Without an offset: in the calendar's time zone")
    end: datetime


class Calendar(FileModel):
    """Events of one calendar: written out, and `holidays: true` for the holidays of project.yml, local day by day.

    `skip_result: false` reports what happens in them all the same: an attacker knows the holidays too.
    """

    description: str | None = None
    holidays: bool = False
    timezone: str = Field(default="UTC", description="IANA name or offset: where a holiday begins and ends")
    skip_result: bool = True
    skip_model_update: bool = True
    events: list[CalendarEvent] = Field(default_factory=list)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, written: str) -> str:
        if not is_zone(written):
            raise InvalidValueError(f"{written!r} is no time zone", "write an IANA name or offset, as in Europe/Berlin")
        return written

    @model_validator(mode="after")
    def _has_events_in_order(self) -> Calendar:
        if not self.holidays and not self.events:
            raise InvalidValueError("the calendar has no events", "add `holidays: true` or `events:`")
        for number, event in enumerate(self.events):
            if self.instant(event.start) >= self.instant(event.end):
                raise InvalidValueError(
                    f"{event.description!r} ends before it begins", "swap start and end", "events", number, "end"
                )
        return self

    def instant(self, local: datetime) -> datetime:
        """A moment of the file in UTC; one without an offset is in the calendar's time zone."""
        if local.tzinfo is None:
            written = self.timezone
            zone = datetime.fromisoformat(f"2000-01-01T00:00:00{written}").tzinfo if written[0] in "+-" else None
            local = local.replace(tzinfo=zone or ZoneInfo(written))
        return local.astimezone(UTC)


class Filter(FileModel):
    """A list of values that the rules of a detector refer to by the filter's name; `*` at an end is a wildcard."""

    description: str | None = None
    items: Annotated[list[str], Field(max_length=10_000)]

    @field_validator("items")
    @classmethod
    def _each_once(cls, items: list[str]) -> list[str]:
        for position, item in enumerate(items):
            if item in items[:position]:
                raise InvalidValueError(f"{item} is listed twice", "keep one of the two lines", position)
        return items


class AnomalyJob(FileModel):
    """One anomaly job file; `name` is the file's name."""

    name: str = Field(exclude=True)
    owner: str
    description: str | None = None
    groups: list[Group] = Field(default_factory=list)
    job: JobBody
    datafeed: DatafeedBody
    mode: Mode = "partition"
    replay_days: Annotated[int, Field(ge=1, description="How far back a partition can be run again")] = 30
    alert_score: Annotated[float, Field(ge=0, le=100)] = 75
    calendars: dict[Part, Calendar] = Field(default_factory=dict)
    filters: dict[Part, Filter] = Field(default_factory=dict)
    schedule: Cron | None = None

    @property
    def population(self) -> bool:
        """Whether a detector compares with a population (`over`); Elasticsearch forecasts no such job."""
        return any(detector.over_field_name for detector in self.job.analysis_config.detectors)

    @model_validator(mode="after")
    def _parts_fit(self) -> AnomalyJob:
        if self.name in self.groups:
            raise InvalidValueError(
                f"a job and a group cannot both be called {self.name}", "rename the group", "groups"
            )
        span = self.job.analysis_config.span
        if self.mode == "partition":
            if timedelta(days=1) % span:
                raise InvalidValueError(
                    f"a day is no multiple of {self.job.analysis_config.bucket_span}, so partitions would end inside a "
                    "bucket",
                    "write a span that divides a day, as 15m or 1h, or `mode: realtime`",
                    "job", "analysis_config", "bucket_span",
                )  # fmt: skip
        elif "replay_days" in self.model_fields_set:
            raise InvalidValueError(
                "a real-time job has no partitions to replay", "remove it, or write `mode: partition`", "replay_days"
            )
        self._check_filters()
        return self

    def _check_filters(self) -> None:
        used = set()
        for number, detector in enumerate(self.job.analysis_config.detectors):
            for name, place in detector.filters():
                used.add(name)
                if name not in self.filters:
                    near = difflib.get_close_matches(name, self.filters, n=1)
                    raise InvalidValueError(
                        f"{name!r} is no filter of this file",
                        f"did you mean {near[0]}?" if near else f"add it: `filters: {{{name}: {{items: [...]}}}}`",
                        "job", "analysis_config", "detectors", number, *place,
                    )  # fmt: skip
        for name in self.filters:
            if name not in used:
                raise InvalidValueError(
                    "no rule of a detector names this filter", "name it in custom_rules, or remove it", "filters", name
                )
