"""The datafeed of an anomaly job in Elasticsearch's words, and what its server refuses of one.

The rules are those of `DatafeedConfig` and `DatafeedJobValidator`. Whether the query can be read, whether the fields
exist: only the cluster knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from elastic_ml.project.elastic_query import Query
from elastic_ml.project.elastic_values import Delay, NotBlank, Period, Seconds, Truth, one_of, parse_time
from elastic_ml.project.yaml_files import Body, FileModel, InvalidValueError

_MOST_BUCKETS = 10_000
_UNITS = {
    "second": "1s", "minute": "1m", "hour": "1h", "day": "1d", "week": "7d", "1w": "7d",
    "month": "", "quarter": "", "year": "", "1M": "", "1q": "", "1y": "",
}  # fmt: skip
"""Units of the calendar as times; those that are of no fixed length have none."""


class Chunking(FileModel):
    """How a search over a long time is cut into shorter ones."""

    mode: Annotated[str, one_of("auto", "manual", "off")]
    time_span: Period | None = None

    @model_validator(mode="after")
    def _has_its_span(self) -> Chunking:
        if (self.mode == "manual") != (self.time_span is not None):
            raise InvalidValueError(
                f"the mode {self.mode} {'needs a time_span' if self.mode == 'manual' else 'takes no time_span'}",
                "write `{mode: manual, time_span: 3h}`, or the mode alone",
                "mode" if self.mode == "manual" else "time_span",
            )
        return self


class DelayedData(FileModel):
    """Whether the datafeed looks for documents that came too late, and how far back."""

    enabled: Truth
    check_window: str | None = None

    @field_validator("check_window")
    @classmethod
    def _is_a_time(cls, written: str | None) -> str | None:
        if written is not None:
            parse_time(written)
        return written


class DatafeedBody(FileModel):
    """The datafeed in Elasticsearch's words; its id and the job's follow from the file's name."""

    indices: Annotated[list[NotBlank], Field(min_length=1)]
    query: Query = Field(default_factory=lambda: {"match_all": {}})
    query_delay: Delay = "120s"
    frequency: Seconds | None = None
    scroll_size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    aggregations: Body | None = None
    chunking_config: Chunking | None = None
    delayed_data_check_config: DelayedData | None = None
    indices_options: Body | None = None
    max_empty_searches: int | None = None
    runtime_mappings: Body | None = None
    script_fields: Body | None = None

    @field_validator("max_empty_searches")
    @classmethod
    def _counts(cls, written: int | None) -> int | None:
        if written is not None and written != -1 and written < 1:
            raise InvalidValueError(f"{written} is no number of searches", "write 1 or more, or -1 for no limit")
        return written

    @field_validator("runtime_mappings")
    @classmethod
    def _fields_have_types(cls, written: dict[str, Any] | None) -> dict[str, Any] | None:
        for name, definition in (written or {}).items():
            if not isinstance(definition, dict) or definition.get("type") is None:
                raise InvalidValueError(
                    "the runtime field has no type", "write `{type: keyword, script: ...}`", str(name)
                )
        return written

    @model_validator(mode="after")
    def _searches_in_one_way(self) -> DatafeedBody:
        if self.aggregations is not None:
            if self.script_fields:
                raise InvalidValueError(
                    "a datafeed with aggregations takes no script_fields", "use runtime_mappings", "script_fields"
                )
            histogram = Histogram.of(self.aggregations)
            interval = histogram.interval
            if self.frequency is not None and interval and parse_time(self.frequency) % interval:
                raise InvalidValueError(
                    f"{self.frequency} is no multiple of the interval of {histogram.name}",
                    "write a multiple of it",
                    "frequency",
                )
        return self

    def check_job(self, bucket_span: str, summary: str | None, time_field: str) -> None:
        """Refuse what does not go with the job; raises InvalidValueError with a place in the datafeed."""
        span = parse_time(bucket_span)
        if time_field in (self.runtime_mappings or {}):
            raise InvalidValueError(
                f"{time_field} is the time, which no runtime field can be", "give it another name",
                "runtime_mappings", time_field,
            )  # fmt: skip
        check = self.delayed_data_check_config
        if check is not None and check.enabled and check.check_window is not None:
            window = parse_time(check.check_window)
            if not span <= window <= min(parse_time("24h"), span * _MOST_BUCKETS):
                raise InvalidValueError(
                    f"{check.check_window} is shorter than a bucket, or longer than a day or {_MOST_BUCKETS:,} buckets",
                    f"write {bucket_span} to 24h, or remove it",
                    "delayed_data_check_config", "check_window",
                )  # fmt: skip
        if self.aggregations is None:
            return
        if not summary:
            raise InvalidValueError(
                "aggregations need a job that counts what they summarize",
                "add `summary_count_field_name: doc_count` to analysis_config",
                "aggregations",
            )
        histogram = Histogram.of(self.aggregations)
        if histogram.interval and (histogram.interval > span or span % histogram.interval):
            raise InvalidValueError(
                f"the interval of {histogram.name} does not divide a bucket of {bucket_span}",
                "write an interval that does, as a tenth of it",
                *histogram.place,
            )


@dataclass(frozen=True)
class Histogram:
    """The one histogram over time that a datafeed's aggregations must have; `interval` in ns, 0 where unknown."""

    name: str
    interval: int
    place: tuple[int | str, ...]

    @classmethod
    def of(cls, aggregations: Mapping[str, Any]) -> Histogram:
        """Find and check it; raises InvalidValueError, with a place in the datafeed."""
        place: tuple[int | str, ...] = ("aggregations",)
        inner: Any = aggregations
        while True:
            if not isinstance(inner, Mapping) or len(inner) != 1:
                raise InvalidValueError(
                    "aggregations need one date_histogram, with nothing beside it",
                    "write `{buckets: {date_histogram: {field: ..., fixed_interval: 5m}, aggregations: ...}}`",
                    *place,
                )
            [(name, body)] = inner.items()
            place = (*place, str(name))
            if not isinstance(body, Mapping):
                raise InvalidValueError("the aggregation is no object", "write its type and options", *place)
            kind = _histogram_in(body)
            if kind is not None:
                break
            key = "aggs" if "aggs" in body else "aggregations"
            inner, place = body.get(key), (*place, key)
        definition, below = body[kind], body.get("aggregations", body.get("aggs"))
        inside = (*place, kind)
        if kind == "composite":
            definition = _date_source(definition, len(place) > 2, inside)
        elif not isinstance(definition, Mapping):
            raise InvalidValueError("the histogram is no object", "write its field and interval", *inside)
        if _more_histograms(below):
            raise InvalidValueError("there is a second histogram below it", "keep one of the two", *place)
        field = definition.get("field")
        if not any(
            isinstance(one, Mapping) and isinstance(one.get("max"), Mapping) and one["max"].get("field") == field
            for one in (below.values() if isinstance(below, Mapping) else ())
        ):
            raise InvalidValueError(
                "the histogram does not say the time of its buckets",
                f"add `aggregations: {{{field or '@timestamp'}: {{max: {{field: {field or '@timestamp'}}}}}}}` to it",
                *place,
            )
        return cls(str(name), _interval(kind, definition, inside), inside)


def _histogram_in(body: Mapping[str, Any]) -> str | None:
    for kind in ("date_histogram", "histogram"):
        if kind in body:
            return kind
    composite = body.get("composite")
    return "composite" if isinstance(composite, Mapping) and any(_dated(composite)) else None


def _dated(composite: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The sources of a composite that are histograms over time."""
    sources = composite.get("sources")
    for source in sources if isinstance(sources, list) else ():
        for definition in source.values() if isinstance(source, Mapping) else ():
            if isinstance(definition, Mapping) and isinstance(definition.get("date_histogram"), Mapping):
                yield definition["date_histogram"]


def _date_source(composite: Mapping[str, Any], nested: bool, place: tuple[int | str, ...]) -> Mapping[str, Any]:
    found = list(_dated(composite))
    if nested or len(found) != 1:
        raise InvalidValueError(
            "a composite stands at the top, with one date_histogram among its sources", "write it so", *place
        )
    if found[0].get("missing_bucket") in {True, "true"} or str(found[0].get("order", "asc")).lower() != "asc":
        raise InvalidValueError(
            "the date_histogram of a composite is ascending, without missing_bucket", "remove both", *place
        )
    return found[0]


def _more_histograms(aggregations: Any) -> bool:
    if not isinstance(aggregations, Mapping):
        return False
    return any(
        isinstance(body, Mapping)
        and (
            bool(body.keys() & {"date_histogram", "histogram", "composite"})
            or _more_histograms(body.get("aggregations", body.get("aggs")))
        )
        for body in aggregations.values()
    )


def _interval(kind: str, definition: Mapping[str, Any], place: tuple[int | str, ...]) -> int:
    """Nanoseconds; 0 for what only the server can judge."""
    if kind == "histogram":
        milliseconds = definition.get("interval")
        if isinstance(milliseconds, int | float) and milliseconds < 1:
            raise InvalidValueError(f"{milliseconds} is no interval", "write milliseconds, as 300000", *place)
        return int(milliseconds) * 10**6 if isinstance(milliseconds, int | float) else 0
    for key in ("calendar_interval", "fixed_interval"):
        if (written := definition.get(key)) is not None:
            text = _UNITS.get(str(written), str(written)) if key == "calendar_interval" else str(written)
            try:
                nanos = parse_time(text) if text else 0
            except InvalidValueError as error:
                raise InvalidValueError(str(error), error.remedy, *place, key) from None
            if nanos <= 0 or (key == "calendar_interval" and nanos > parse_time("7d")):
                raise InvalidValueError(f"{written!r} is no interval of buckets", "write 1s to 7d", *place, key)
            return nanos
    raise InvalidValueError("the date_histogram has no interval", "add `fixed_interval: 5m`", *place)
