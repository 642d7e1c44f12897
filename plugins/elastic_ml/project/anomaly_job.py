"""What `anomaly_jobs/<name>.yml` may say: one anomaly detection job with its datafeed, calendars, filters and alerts.

`job` and `datafeed` are in Elasticsearch's own words and sent as they are, through the templates `anomaly/*.j2`. What
is checked here and in `anomaly_detector`, `anomaly_analysis` and `anomaly_feed` would otherwise fail late: a misspelt
key, a detector that lacks its field, a filter nobody defined.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, field_validator, model_validator

from elastic_ml.project.anomaly_analysis import JobBody
from elastic_ml.project.anomaly_feed import DatafeedBody
from elastic_ml.project.cron import Cron
from elastic_ml.project.source import is_zone
from elastic_ml.project.yaml_files import FileModel, InvalidValueError

Mode = Literal["partition", "realtime"]
Part = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,28}[a-z0-9]$")]
"""Names of calendars and filters inside a file: with the job's name before them they stay below 64 characters."""
Group = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])?$", max_length=64)]


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
    replay_days: Annotated[int, Field(ge=1, le=36_500, description="How far back a partition can be run again")] = 30
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
        self._check_datafeed()
        return self

    def _check_datafeed(self) -> None:
        analysis = self.job.analysis_config
        try:
            self.datafeed.check_job(analysis.bucket_span, analysis.summary_count_field_name, self.job.time_field)
        except InvalidValueError as error:
            raise InvalidValueError(str(error), error.remedy, "datafeed", *error.place) from None

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
