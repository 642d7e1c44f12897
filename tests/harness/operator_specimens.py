"""A task of every class of operators and sensors, on an empty cluster; and remote work of every kind."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from airflow.sdk import BaseOperator
from matrix.story import STORY
from matrix.world import World

from elastic_ml.clients.remote_jobs import job_status
from elastic_ml.operators.kibana import KibanaBaseOperator
from elastic_ml.stages.pages import built
from harness.provider_classes import concrete, remote
from harness.task_runner import TaskRunner

JOB = {"job_id": "job", "body": {"analysis_config": {"bucket_span": "1h", "detectors": [{"function": "count"}]}}}
FED = {**JOB, "datafeed": {"indices": ["rows"]}}
OF_NO_DAG: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "AnomalyCalendarsOperator": lambda folder: {"project_folder": folder, "job": "reads"},
    "AnomalyForecastOperator": lambda _: {"job_id": "job"},
    "AnomalyJobOperator": lambda _: FED,
    "AnomalyPartitionOperator": lambda _: {**FED, "partition": "2026-06-01"},
    "AnomalyRecordsSensor": lambda _: {"job_id": "job"},
    "ApplyObjectsOperator": lambda _: {"objects": [{"kind": "ilm_policy", "name": "p", "body": {"phases": {}}}]},
    "BatchTransformOperator": lambda folder: {"project_folder": folder, "month": "2026.05"},
    "DataFrameAnalyticsOperator": lambda _: {
        "job_id": "job",
        "body": {"source": {"index": "rows"}, "dest": {"index": "out"}, "analysis": {"outlier_detection": {}}},
    },
    "ElasticsearchApiOperator": lambda _: {"api": "ml.info"},
    "EsqlCheckOperator": lambda _: {"query": "ROW n = 1"},
    "EsqlQueryOperator": lambda _: {"query": "ROW n = 1"},
    "EsqlThresholdSensor": lambda _: {"query": "ROW n = 1", "threshold": 1},
    "ExecuteEnrichPolicyOperator": lambda _: {"policy": "people"},
    "ReindexOperator": lambda _: {"source": "rows", "dest": "copy"},
    "RevertModelSnapshotOperator": lambda _: {"job_id": "job", "snapshot_id": "1"},
}
"""Operators that no stage uses, and arguments for one of each."""
ASKS_NO_CLUSTER = {"PromotionApprovalOperator": "asks a person"}
ELASTIC = {
    name: c for name, c in concrete().items() if not issubclass(c, KibanaBaseOperator) and name not in ASKS_NO_CLUSTER
}
BEFORE = {
    "model_id": "misuse-20260301-abcdef03-1", "model": "misuse", "job_id": "reads", "start": 0, "end": 9_000,
    "figures": {}, "champion": None, "day": "2026-03-01", "features": ["audit.hour"], "drifted": True, "created_at": 0,
    "classes": {"false": 90, "true": 10}, "kept": {}, "train": {"documents": 100, "classes": {"false": 90, "true": 10}},
    "warnings": [], "documents": 100, "option": "Reject", "user": "ana", "reason": "no", "timed_out": False,
    "requested_by": None, "started_by": None,
}  # fmt: skip
"""What tasks before a task may have returned, all in one."""
TASKS = ("approve", "detect", "evaluate", "gate", "import", "measure", "readiness", "train", "training_set")


@cache
def of_dags(home: Path) -> dict[str, tuple[BaseOperator, Mapping[str, Any]]]:
    """A task of each class that a DAG has, and its params; of `anomalies_reads` rather than of `anomalies_live`."""
    params = {(step.dag, step.task): step.params for step in STORY if not callable(step.params)}
    found: dict[str, tuple[BaseOperator, Mapping[str, Any]]] = {}
    with mock.patch.dict("os.environ", {"AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER": "file:///nowhere/"}):
        there = built(home / "dags")
    for dag in (dag for dags in there.values() for dag in dags):
        for task in dag.tasks:
            found.setdefault(type(task).__name__, (task, params.get((dag.dag_id, task.task_id), {})))
    return found


def runner(sandbox: Any, home: Path, name: str) -> TaskRunner:
    """A task of a class, on an empty cluster."""
    if name in OF_NO_DAG:
        arguments = OF_NO_DAG[name](str(home / "include"))
        return TaskRunner(
            lambda: concrete()[name](task_id="task", **arguments),
            connections={"elasticsearch_default": sandbox.elasticsearch_url},
            retries=3,
        )
    task, params = of_dags(home)[name]
    earlier = {(task_id, key): BEFORE for task_id in TASKS for key in ("return_value", "decision")}
    if name == "SwitchChampionOperator":
        earlier["approve", "decision"] = {**BEFORE, "option": "Approve"}
    world = World(sandbox, None, home, {task.dag_id: earlier})  # type: ignore[arg-type]
    conf = {"model_id": BEFORE["model_id"], "forecast": "1d", **params}
    made = world.runner(task.dag_id, task.task_id, params=conf)
    # Its first leg is all that runs here: the files need not be read again for each.
    made.make_task = lambda: copy.copy(task)
    return made


def _task(client: Any) -> str:
    client.bulk(index="rows", operations=[line for n in range(9) for line in ({"index": {}}, {"n": n})], refresh=True)
    slowly: dict[str, Any] = {"requests_per_second": 0.01, "wait_for_completion": False}
    return str(client.reindex(source={"index": "rows", "size": 1}, dest={"index": "copy"}, **slowly)["task"])


def _analytics(client: Any) -> str:
    client.indices.create(index="rows", mappings={"properties": {"n": {"type": "long"}}})
    client.index(index="rows", document={"n": 1}, refresh=True)
    analysis: dict[str, Any] = {"outlier_detection": {}}
    client.ml.put_data_frame_analytics(
        id="job", source={"index": "rows"}, dest={"index": "out"}, analysis=analysis, allow_lazy_start=True
    )
    client.ml.start_data_frame_analytics(id="job")
    return "job"


def _transform(client: Any) -> str:
    mappings = {"properties": {"n": {"type": "long"}, "@timestamp": {"type": "date"}}}
    client.indices.create(index="rows", mappings=mappings)
    pivot = {"group_by": {"n": {"terms": {"field": "n"}}}, "aggregations": {"many": {"value_count": {"field": "n"}}}}
    sync = {"time": {"field": "@timestamp"}}
    client.transform.put_transform(
        transform_id="job", source={"index": "rows"}, dest={"index": "out"}, pivot=pivot, sync=sync
    )
    client.transform.start_transform(transform_id="job")
    return "job"


def _anomaly_job(client: Any) -> str:
    client.ml.put_job(job_id="job", allow_lazy_open=True, data_description={"time_field": "@timestamp"}, **JOB["body"])
    client.ml.open_job(job_id="job", timeout="1ms")
    return "job"


def _forecast(client: Any) -> str:
    client.indices.create(index="rows")
    description = {"time_field": "@timestamp"}
    feed = {"datafeed_id": "datafeed-job", "indices": ["rows"]}
    client.ml.put_job(job_id="job", data_description=description, datafeed_config=feed, **JOB["body"])
    client.ml.open_job(job_id="job")
    client.ml.post_data(job_id="job", data=[{"@timestamp": 1_780_272_000_000 + n * 600_000} for n in range(300)])
    made = str(client.ml.forecast(job_id="job", duration="6h")["forecast_id"])
    results = ".ml-anomalies-shared-000001"
    # As a busy node would show it.
    working = {"forecast_status": "started", "forecast_progress": 0.5}
    client.update(index=results, id=f"job_model_forecast_request_stats_{made}", doc=working, refresh=True)
    return f"job/{made}"


WORK: Mapping[str, Callable[[Any], str]] = {
    "anomaly_job": _anomaly_job,
    "data_frame_analytics": _analytics,
    "forecast": _forecast,
    "task": _task,
    "transform": _transform,
}
"""Starts work of a kind that goes on until somebody stops it; returns its id."""
OF_SEVERAL_KINDS = {"ElasticsearchApiOperator": "task"}
STOPPABLE = {name: OF_SEVERAL_KINDS.get(name, c.kind) for name, c in remote().items() if name in OF_SEVERAL_KINDS
             or c.kind in WORK}  # fmt: skip


def at_work(client: Any, kind: str, name: str) -> bool:
    """Whether the work goes on; a forecast does as long as its job is open."""
    if kind == "forecast":
        return bool(client.ml.get_job_stats(job_id="job")["jobs"][0]["state"] != "closed")
    until = time.monotonic() + 5
    while job_status(client, kind, name).active:
        if time.monotonic() > until:
            return True
        time.sleep(0.01)
    return False
