"""Every name the project puts into Elasticsearch, Airflow or the ledger is rendered here, nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Literal

from elastic_ml.project.settings import ProjectSettings, StreamSettings

LabelKind = Literal["by_event", "by_user_hour"]


@dataclass(frozen=True)
class Stream:
    """A data stream `<type>-<dataset>-<namespace>`; an unmanaged one is never reconfigured."""

    name: str
    managed: bool
    dataset: str
    type: str = "logs"

    @property
    def custom_pipeline(self) -> str:
        """The hook that Elastic's own pipelines call at their end: `<type>-<dataset>@custom`."""
        return f"{self.type}-{self.dataset}@custom"


class Names:
    """Renders the names of one project from its `project.yml`."""

    def __init__(self, settings: ProjectSettings) -> None:
        self._settings = settings
        self.name = settings.name
        self.prefix = settings.prefix
        self.namespace = settings.namespace
        self.environment = settings.environment

    def on_cluster(self, name: str) -> str:
        """Name of a model or an anomaly job as ids in Elasticsearch begin: all projects of a cluster share them."""
        return f"{self._settings.id_prefix}{name}"

    def in_project(self, name: str) -> str:
        """Name of the file, from the beginning of an id in Elasticsearch."""
        return name.removeprefix(self._settings.id_prefix)

    # data streams

    def _stream(self, stream: StreamSettings) -> Stream:
        namespace = stream.namespace or self.namespace
        return Stream(f"{stream.type}-{stream.dataset}-{namespace}", stream.managed, stream.dataset, stream.type)

    @property
    def audit_streams(self) -> list[Stream]:
        """The audit streams in the order of project.yml."""
        return [self._stream(stream) for stream in self._settings.streams]

    def stream(self, name: str) -> Stream | None:
        """The audit or verdict stream of that full name, None for one that is not the project's."""
        return next((s for s in [*self.audit_streams, self.verdicts] if s.name == name), None)

    @property
    def verdicts(self) -> Stream:
        """The stream of all verdicts."""
        labels = self._settings.labels
        dataset = labels.dataset if labels else f"{self.name}.labels"
        return Stream(f"logs-{dataset}-{self.namespace}", True, dataset)

    @property
    def labels_stream(self) -> str:
        """Name of the stream of all verdicts."""
        return self.verdicts.name

    def _operations(self, subject: str) -> str:
        return f"logs-{self.prefix}.{subject}-{self._settings.operations_namespace}"

    @property
    def registry(self) -> str:
        """Stream of model events, from registered and evaluated to deployed, rolled_back and deleted."""
        return self._operations("registry")

    @property
    def predictions(self) -> str:
        """Stream of prediction counts, heartbeats and first scores."""
        return self._operations("predictions")

    @property
    def drift(self) -> str:
        """Stream of drift measurements."""
        return self._operations("drift")

    @property
    def alerts(self) -> str:
        """Stream of alerts."""
        return self._operations("alerts")

    @property
    def health(self) -> str:
        """Stream of disk, stream, job, transform and credential states."""
        return self._operations("health")

    @property
    def dead_letter(self) -> str:
        """Stream of records that could not be parsed."""
        return self._operations("dead_letter")

    @property
    def operations_streams(self) -> list[str]:
        """All streams of the template `ml_logs_template`."""
        return [self.registry, self.predictions, self.drift, self.alerts, self.health, self.dead_letter]

    def history_index(self, stream: str, month: str, number: int) -> str:
        """Index that holds a past month (`yyyy.MM`) before and after it is sealed into its stream."""
        return f"history-{stream}-{month}-{number}"

    # user-hours

    @property
    def features(self) -> str | None:
        """Index of the user-hours and id of the continuous transform that keeps them; None without `features:`."""
        settings = self._settings.features
        return f"features-{settings.dataset}" if settings else None

    @property
    def features_template(self) -> str:
        """Index template of the user-hours."""
        return f"{self.name}-features"

    @property
    def features_prepare(self) -> str:
        """Destination pipeline of the transform: the key `user_hour` and defaults for what an hour lacks."""
        return f"{self.features}@prepare"

    @property
    def features_score(self) -> str:
        """Pipeline that calls each model's `<model>@score` for a user-hour."""
        return f"{self.features}@score"

    def month_transform(self, month: str) -> str:
        """Id of the batch transform over one sealed month (`yyyy.MM`)."""
        return f"{self.features}-{month}"

    # our own indices

    @property
    def ledger(self) -> str:
        """Index of partitions and locks."""
        return f"{self.prefix}-ledger"

    @property
    def labels(self) -> str:
        """Lookup index with the latest verdict per event."""
        return f"{self.prefix}-labels"

    @property
    def baselines(self) -> str:
        """Lookup index with the measured latency per model version."""
        return f"{self.prefix}-baselines"

    @property
    def model_cards(self) -> str:
        """Index of model cards."""
        return f"{self.prefix}-model-cards"

    # templates, policies, pipelines

    @property
    def audit_template(self) -> str:
        """Index template of the managed audit streams; without `@`, as all index templates of ours."""
        return f"{self.name}-audit"

    @property
    def audit_mappings(self) -> str:
        """Component template with the audit streams' mappings."""
        return f"{self.name}-audit@mappings"

    @property
    def audit_settings(self) -> str:
        """Component template with the audit streams' settings."""
        return f"{self.name}-audit@settings"

    @property
    def audit_custom(self) -> str:
        """Component template that belongs to the user; ignored while missing."""
        return f"{self.name}-audit@custom"

    @property
    def labels_template(self) -> str:
        """Index template of the verdict stream."""
        return f"{self.name}-labels"

    @property
    def ml_logs_template(self) -> str:
        """Index template of the operations streams."""
        return f"{self.prefix}-logs"

    @property
    def audit_policy(self) -> str:
        """ILM policy of the audit and verdict streams."""
        return f"{self.name}-audit"

    @property
    def ml_logs_policy(self) -> str:
        """ILM policy of the operations streams."""
        return f"{self.prefix}-logs"

    @property
    def audit_normalize(self) -> str:
        """Default pipeline of the managed audit streams."""
        return f"{self.name}-audit@normalize"

    @property
    def audit_score(self) -> str:
        """Pipeline that calls each model's `<model>@score`."""
        return f"{self.name}-audit@score"

    @property
    def ml_logs_normalize(self) -> str:
        """Default pipeline of the operations streams."""
        return f"{self.prefix}-logs@normalize"

    def score_pipeline(self, model: str) -> str:
        """Pipeline that scores one event with the model's champion; written by promotion only."""
        return f"{self.on_cluster(model)}@score"

    def label_pipeline(self, model: str) -> str:
        """Pipeline that sets the label of a training or holdout row."""
        return f"{self.on_cluster(model)}@label"

    def rescore_pipeline(self, model: str) -> str:
        """Pipeline through which history is scored again."""
        return f"{self.on_cluster(model)}@rescore"

    def training_pipeline(self, job: str) -> str:
        """Pipeline through which a job's training set is materialised; deleted when training ends."""
        return f"{job}@training"

    def holdout_pipeline(self, job: str) -> str:
        """Pipeline through which a job's holdout is scored; deleted when training ends."""
        return f"{job}@holdout"

    def enrich_policy(self, kind: LabelKind, body_hash: str) -> str:
        """Enrich policy that joins verdicts; policies cannot change, so 8 hex of the body are in the name."""
        return f"{self.prefix}-labels-{kind.replace('_', '-')}-{body_hash[:8]}"

    # models and jobs

    def job_id(self, model: str, day: date | str, digest: str) -> str:
        """Analytics job of one training: `<model>-<yyyymmdd>-<8 hex>`; the same inputs give the same job."""
        written = day if isinstance(day, str) else day.isoformat()
        return f"{self.on_cluster(model)}-{written[:10].replace('-', '')}-{digest[:8]}"

    def train_index(self, job: str) -> str:
        """Training set of a job."""
        return f"{self.prefix}-train-{job}"

    def holdout_index(self, job: str) -> str:
        """Temporal holdout of a job, scored by challenger and champion."""
        return f"{self.prefix}-holdout-{job}"

    def results_index(self, job: str) -> str:
        """Destination index of a job."""
        return f"{self.prefix}-results-{job}"

    def champion(self, model: str) -> str:
        """Model alias of the version in production."""
        return f"{self.on_cluster(model)}_champion"

    def previous(self, model: str) -> str:
        """Model alias of the version before it, for rollback."""
        return f"{self.on_cluster(model)}_previous"

    def results_alias(self, model: str) -> str:
        """Index alias of an outlier model's current results."""
        return f"{self.on_cluster(model)}_results"

    def scores_index(self, model: str, model_id: str) -> str:
        """History as one trained model scores it."""
        return f"{self.prefix}-scores-{self.on_cluster(model)}-{sha256(model_id.encode()).hexdigest()[:8]}"

    def scores_alias(self, model: str) -> str:
        """Index alias of the history that was scored last."""
        return f"{self.on_cluster(model)}_scores"

    # anomaly jobs

    def anomaly_job(self, job: str, version: int = 1) -> str:
        """Id of an anomaly job; a change that Elasticsearch cannot make in place gives `<job>_v2`, `<job>_v3`, ..."""
        return self.on_cluster(job) if version == 1 else f"{self.on_cluster(job)}_v{version}"

    def datafeed(self, job_id: str) -> str:
        """Id of a job's datafeed."""
        return f"datafeed-{job_id}"

    def anomaly_calendar(self, job: str, calendar: str) -> str:
        """Id of a calendar of a job file; no other job's, so that one file says all of it."""
        return f"{self.on_cluster(job)}-{calendar}"

    def anomaly_filter(self, job: str, name: str) -> str:
        """Id of a filter of a job file."""
        return f"{self.on_cluster(job)}-{name}"

    # Kibana, Airflow and the ledger

    def kibana_asset(self, name: str) -> str:
        """Id of a dashboard, data view or tag that `<folder>/<kind>/<name>.yml` describes."""
        return f"{self.prefix}-{name}"

    def candidate_asset(self, model: str) -> tuple[str, str]:
        """Name and URI of the asset that a trained candidate emits."""
        return self._asset(f"{self.prefix}_{model}_candidate", self._settings.connections.learn)

    def drift_asset(self, model: str) -> tuple[str, str]:
        """Name and URI of the asset that drift emits."""
        return self._asset(f"{self.prefix}_{model}_drift", self._settings.connections.learn)

    def stream_asset(self, stream: str) -> tuple[str, str]:
        """Name and URI of the asset that an ingest into `stream` emits."""
        return self._asset(stream, self._settings.connections.ingest)

    def _asset(self, name: str, connection: str) -> tuple[str, str]:
        return name, f"elasticsearch://{connection}/{name}"

    def dag_id(self, stage: str, subject: str | None = None) -> str:
        """DAG id of a stage, per model or job where `subject` is given: `train_audit_fraud`."""
        return f"{self._settings.dag_id_prefix}{stage}{'_' + subject if subject else ''}"

    def partition_id(self, source: str, partition: str) -> str:
        """Ledger id of a source's partition."""
        return f"partition|{source}|{partition}"

    def partition_label(self, source: str, partition: str) -> str:
        """What every document of a partition carries in `labels.partition`."""
        return f"{source}|{partition}"

    def lock_id(self, name: str) -> str:
        """Ledger id of a lock."""
        return f"lock|{name}"
