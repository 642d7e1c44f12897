"""What `project.yml` may say: name, prefix, namespaces, connections by role, streams, features, lifecycle, holidays."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from elastic_ml.project.durations import Duration, parse_duration
from elastic_ml.project.elastic_values import NotBlank
from elastic_ml.project.yaml_files import FileModel, InvalidValueError

Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=30)]
Namespace = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.]*$", max_length=100)]
Dataset = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.]*$", max_length=100)]
Severity = Literal["P1", "P2", "P3"]
"""Of an alert rule: wake somebody, look today, look this week."""
ByteSize = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(kb|mb|gb|tb)$")]


OPERATIONS = ("registry", "predictions", "drift", "alerts", "health", "dead_letter")
"""Subjects of the package's own streams, `logs-<prefix>.<subject>-<operations_namespace>`."""

LONGEST_DAG_PREFIX = 250 - len("anomalies_") - 30
"""Airflow takes DAG ids of 250 characters, and the longest ends in a job's name."""


class Connections(FileModel):
    """Airflow connection ids by role, so that each task can hold only the rights it needs."""

    setup: NotBlank = "elasticsearch_default"
    ingest: NotBlank = "elasticsearch_default"
    learn: NotBlank = "elasticsearch_default"
    read: NotBlank = "elasticsearch_default"
    kibana: NotBlank = "kibana_default"


class StreamSettings(FileModel):
    """One audit stream, `<type>-<dataset>-<namespace>`; unmanaged ones already arrive and stay as they are."""

    dataset: Dataset
    namespace: Namespace | None = None
    type: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")] = "logs"
    managed: bool = True


class LabelSettings(FileModel):
    """The stream that keeps every verdict."""

    dataset: Dataset


class FeatureSettings(FileModel):
    """User-hours across the audit streams, kept by a continuous transform in the index `features-<dataset>`.

    `transform` is the template of its body; `sync_delay` how long an event may take from its ingestion until searches
    find it; `frequency` how often the transform looks for new events (1 s to 1 h).
    """

    dataset: Dataset
    transform: Annotated[str, StringConstraints(pattern=r"^transforms/[\w./-]+\.(yml|yaml|json)\.j2$")] = (
        "transforms/user_hour.yml.j2"
    )
    sync_delay: Duration = parse_duration("2m")
    frequency: Duration = parse_duration("5m")

    @field_validator("dataset")
    @classmethod
    def _fits_transform_ids(cls, dataset: str) -> str:
        # A transform id has at most 64 characters: `features-<dataset>-<yyyy.MM>`; it cannot end in a dot either.
        if len(dataset) > 47 or not dataset[-1].isalnum():
            raise InvalidValueError(
                f"{dataset} can be no transform's name",
                "use at most 47 characters, the last one a letter or digit",
            )
        return dataset

    @field_validator("frequency")
    @classmethod
    def _within_bounds(cls, frequency: timedelta) -> timedelta:
        if frequency > timedelta(hours=1):
            raise InvalidValueError("transforms look at least once an hour", "write 1h or less")
        return frequency


class Phases(FileModel):
    """Ages of a data stream's lifecycle; on Serverless (data stream lifecycle) only `delete_after` applies."""

    rollover_size: ByteSize = "50gb"
    rollover_age: Duration = parse_duration("30d")
    warm_after: Duration | None = None
    cold_after: Duration | None = None
    delete_after: Duration

    @model_validator(mode="after")
    def _ages_rise(self) -> Phases:
        ages = [(n, a) for n in ("warm_after", "cold_after", "delete_after") if (a := getattr(self, n)) is not None]
        for (earlier, first), (later, second) in pairwise(ages):
            if first >= second:
                raise InvalidValueError(
                    f"{later} is not later than {earlier}", f"make {later} longer than {earlier}", later
                )
        return self


class Lifecycle(FileModel):
    """Retention of the audit streams and of the operations streams."""

    audit: Phases
    operations: Phases = Phases.model_construct(delete_after=parse_duration("400d"))


class Holidays(FileModel):
    """Whose holidays `audit.holiday` marks, and for which years (first and last) the list is rendered."""

    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
    subdivision: str | None = None
    years: Annotated[list[int], Field(min_length=2, max_length=2)]

    @field_validator("years")
    @classmethod
    def _in_order(cls, years: list[int]) -> list[int]:
        if not 1900 <= years[0] <= years[1] <= 2200:
            raise InvalidValueError(
                "years are not [first, last]", "write the first and the last year, as in [2020, 2035]"
            )
        return years


class Notified(FileModel):
    """A connector that Kibana's own configuration names (`xpack.actions.preconfigured`), told of alerts of some rules.

    `to` are the recipients of an email.
    """

    connector: Annotated[str, StringConstraints(min_length=1)]
    severities: list[Severity] = Field(default_factory=lambda: list(get_args(Severity)), min_length=1)
    to: list[str] = Field(default_factory=list)


class KibanaAssets(FileModel):
    """What people see in Kibana.

    `folders` hold dashboards, rules and connectors; paths are relative to the project folder, and `platform` is the
    package's own. `rules` changes the `values` of a rule by the name of its file; false leaves the rule out. `runbooks`
    is the address of a page whose headings are names of rules; rules link to it. `airflow` is the address of Airflow's
    pages: dashboards link to the DAGs that mend what they show.
    """

    folders: list[NotBlank] = Field(default_factory=lambda: ["platform"], min_length=1)
    notify: list[Notified] = Field(default_factory=list)
    rules: dict[str, dict[str, bool | int | float | str] | Literal[False]] = Field(default_factory=dict)
    runbooks: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None
    airflow: Annotated[str, StringConstraints(pattern=r"^https?://\S+$")] | None = None


class ProjectSettings(FileModel):
    """Everything in `project.yml`."""

    name: Word
    prefix: Word = "ml"
    namespace: Namespace
    operations_namespace: Namespace = "default"
    environment: Word = "production"
    dag_id_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]*$", max_length=LONGEST_DAG_PREFIX)] = ""
    id_prefix: Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9_]*_)?$", max_length=12)] = ""
    owner: str = "data-platform"
    connections: Connections = Connections.model_construct()
    streams: Annotated[list[StreamSettings], Field(min_length=1)]
    labels: LabelSettings | None = None
    features: FeatureSettings | None = None
    lifecycle: Lifecycle
    backfill_after: Duration = parse_duration("30d")
    holidays: Holidays | None = None
    kibana: KibanaAssets = KibanaAssets.model_construct()

    @field_validator("streams")
    @classmethod
    def _each_once(cls, streams: list[StreamSettings]) -> list[StreamSettings]:
        seen: set[tuple[str, str, str | None]] = set()
        for position, stream in enumerate(streams):
            key = (stream.type, stream.dataset, stream.namespace)
            if key in seen:
                raise InvalidValueError(f"{stream.dataset} is listed twice", "keep one of the two entries", position)
            seen.add(key)
        return streams

    @model_validator(mode="after")
    def _each_stream_has_one_template(self) -> ProjectSettings:
        """Elasticsearch refuses a second index template for a stream, and a stream is either managed or not."""
        own = {f"logs-{self.prefix}.{subject}-{self.operations_namespace}" for subject in OPERATIONS}
        verdicts = f"logs-{self.labels.dataset if self.labels else f'{self.name}.labels'}-{self.namespace}"
        if verdicts in own and self.labels is not None:
            raise InvalidValueError(
                f"{verdicts} is a stream of this package's own", "write another dataset", "labels", "dataset"
            )
        listed = set()
        for position, stream in enumerate(self.streams):
            name = f"{stream.type}-{stream.dataset}-{stream.namespace or self.namespace}"
            problem = f"{name} is listed twice" if name in listed else ""
            if stream.managed and name in {*own, verdicts}:
                problem = f"{name} is {'the stream of verdicts' if name == verdicts else 'kept by this package itself'}"
            if problem:
                raise InvalidValueError(problem, "remove the entry, or write another name", "streams", position)
            listed.add(name)
        return self
