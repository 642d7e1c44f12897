"""The frame itself: events, several steps in one task, settings."""

import json
import math
import re
from datetime import timedelta

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from harness.task_runner import TaskRunner, crash_after

from elastic_ml import exceptions
from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, JobFailedError
from elastic_ml.operators.anomaly_job import AnomalyJobOperator
from elastic_ml.operators.anomaly_snapshots import RevertModelSnapshotOperator
from elastic_ml.operators.base import RETRY_POLICY, ElasticBaseOperator
from elastic_ml.operators.data_frame_analytics import DataFrameAnalyticsOperator
from elastic_ml.operators.enrich import ExecuteEnrichPolicyOperator
from elastic_ml.operators.forecast import AnomalyForecastOperator
from elastic_ml.operators.reindex import ReindexOperator, reindex_job, reindex_result, submit_reindex
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator
from elastic_ml.sensors.anomaly_records import AnomalyRecordsSensor

OPERATORS = [
    ElasticBaseOperator,
    RemoteJobOperator,
    DataFrameAnalyticsOperator,
    ReindexOperator,
    ExecuteEnrichPolicyOperator,
]


class CopyTwiceOperator(RemoteJobOperator):
    """Two pieces of remote work in one task, each begun only when the one before is done."""

    kind = "task"

    def prepare(self, context):
        first = reindex_job(source="rows", dest="first")
        return first._replace(spec={**first.spec, "step": 1})

    def submit(self, context, job):
        return submit_reindex(self.client, job)

    def following(self, context, job, status):
        if job.spec["step"] == 1:
            second = reindex_job(source="first", dest="second")
            return second._replace(spec={**second.spec, "step": 2})
        return None

    def finish(self, context, job, status):
        return reindex_result(self.client, job, status)


@pytest.fixture
def rows(elasticsearch):
    lines = []
    for n in range(20):
        lines += [{"index": {"_id": str(n)}}, {"n": n}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)


def two_copies(sandbox, **more):
    return TaskRunner(
        lambda: CopyTwiceOperator(task_id="t", poll_interval=0.05, **more),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )


def slow_copy(sandbox):
    return TaskRunner(
        lambda: ReindexOperator(task_id="t", source="rows", dest="copy", requests_per_second=1, poll_interval=0.05),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )


def test_the_second_step_follows_the_first(sandbox, elasticsearch, rows):
    result = two_copies(sandbox).complete()
    assert result.state == "success", result.error
    assert result.value["index"] == "second"
    assert result.value["documents"] == 20


def test_a_crash_in_the_second_step_does_not_repeat_the_first(sandbox, elasticsearch, rows):
    task = two_copies(sandbox, deferrable=False)
    with crash_after(2, only="POST /_reindex"):
        assert task.run().state == "killed"
    assert task.run().state == "success"
    copies = [r.body["dest"]["index"] for r in sandbox.requests.matching("POST", "/_reindex")]
    assert copies.count("first") == 1
    assert elasticsearch.count(index="second")["count"] == 20


@pytest.mark.parametrize("event", [None, {}, {"status": "wonderful"}, "done"])
def test_an_event_that_nobody_knows_never_counts_as_success(sandbox, rows, event):
    task = slow_copy(sandbox)
    assert task.run().state == "deferred"
    result = task.resume(event)
    assert result.state in {"failed", "up_for_retry"}
    assert "same version" in str(result.error)


def test_a_lost_task_state_goes_on_with_the_id_of_the_event(sandbox, elasticsearch, rows):
    task = slow_copy(sandbox)
    assert task.run().state == "deferred"
    task.api.state_store.clear()
    event = {"status": "check", "kind": "task", "job_id": task.deferral.trigger_kwargs["job_id"], "reason": "",
             "deadline": task.deferral.trigger_kwargs["deadline"]}  # fmt: skip
    again = task.resume(event)
    assert again.state == "deferred"
    assert again.deferral.trigger_kwargs["job_id"] == event["job_id"]


def test_what_is_stored_is_json_and_is_read_by_other_versions_too():
    job = RemoteJob(kind="task", id="n:1", spec={"a": [1]}, reattached=True, recoveries=("restart",))
    stored = json.loads(json.dumps(job.to_json()))
    assert RemoteJob.from_json({**stored, "key_of_tomorrow": 1}) == job
    assert RemoteJob.from_json({"kind": "task", "id": "x"}) == RemoteJob("task", "x")


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.__name__)
def test_template_fields_are_sorted_and_hold_the_connection_and_the_colour_is_elastics(operator):
    assert list(operator.template_fields) == sorted(operator.template_fields)
    assert "elastic_conn_id" in operator.template_fields
    assert operator.ui_color == "#00BFB3"


def test_a_dag_with_our_operators_survives_serialisation():
    with DAG("d", schedule=None) as dag:
        ReindexOperator(task_id="r", source="a", dest="b", timeout=timedelta(hours=1))
        DataFrameAnalyticsOperator(task_id="t", job_id="{{ ds }}", body={"a": 1})
        DataFrameAnalyticsOperator.partial(task_id="m", body={}).expand(job_id=["a", "b"])
    again = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert sorted(again.task_ids) == ["m", "r", "t"]


@pytest.mark.parametrize(
    ("error", "action"),
    [
        ("UnavailableError", "retry"),
        ("LockHeldError", "retry"),
        ("SecurityError", "fail"),
        ("LicenseError", "fail"),
        ("DiskFullError", "fail"),
        ("AlreadyExistsError", "fail"),
        ("InvalidRequestError", "fail"),
        ("ConnectionSettingsError", "fail"),
        ("JobFailedError", "default"),
        ("ConflictError", "default"),
        ("WaitTimeoutError", "default"),
    ],
)
def test_only_what_another_try_can_mend_is_tried_again(error, action):
    decision = RETRY_POLICY.evaluate(getattr(exceptions, error)("x"), 1, 3)
    assert decision.action.value == action


def test_the_retry_policy_reaches_the_task(sandbox):
    sandbox.faults.add(path="/", status=401, times=None)
    task = TaskRunner(
        lambda: ReindexOperator(task_id="t", source="a", dest="b", retries=3),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        retries=3,
    )
    result = task.run()
    assert result.state == "failed"
    assert isinstance(result.error, ElasticMLError)


class KilledWhileItWaits(ReindexOperator):
    """Gets SIGTERM as it waits in the worker: Airflow's handler calls on_kill and returns to where the task was."""

    def _over_within(self, *args):
        self.on_kill()
        return super()._over_within(*args)


def reindexes(sandbox):
    return [r for r in sandbox.requests if r.path == "/_reindex"]


def running(elasticsearch):
    nodes = elasticsearch.tasks.list(actions="*reindex")["nodes"].values()
    return [task for node in nodes for task in node["tasks"].values() if not task.get("cancelled")]


def throttled_copy(sandbox, operator, **more):
    return TaskRunner(
        lambda: operator(
            task_id="t", source="rows", dest="copy", slices=1, requests_per_second=0.5, poll_interval=0.05, **more
        ),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )


@pytest.mark.parametrize("more", [{"deferrable": False}, {"defer_after": 9}], ids=["in the worker", "before deferring"])
def test_what_a_kill_stopped_is_not_started_again_by_a_task_that_had_reattached(sandbox, elasticsearch, rows, more):
    with crash_after(1, only="/_reindex"):
        assert throttled_copy(sandbox, ReindexOperator).run().state == "killed"
    assert len(running(elasticsearch)) == 1
    result = throttled_copy(sandbox, KilledWhileItWaits, **more).run()
    assert isinstance(result.error, JobFailedError), result.error
    assert len(reindexes(sandbox)) == 1
    assert running(elasticsearch) == []


class KilledWhileItStarts(ReindexOperator):
    """Gets SIGTERM while the request that starts the work is on its way: the task's id is not known yet."""

    def submit(self, context, job):
        self.on_kill()
        return super().submit(context, job)


def test_what_was_started_while_the_task_was_killed_is_stopped(sandbox, elasticsearch, rows):
    assert isinstance(throttled_copy(sandbox, KilledWhileItStarts).run().error, JobFailedError)
    assert len(reindexes(sandbox)) == 1
    assert running(elasticsearch) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"poll_interval": 0}, {"poll_interval": -1}, {"poll_interval": "5s"}, {"poll_interval": math.nan},
        {"poll_interval": timedelta(seconds=5)}, {"defer_after": -1}, {"timeout": 3600}, {"timeout": timedelta(0)},
        {"timeout": timedelta(seconds=-1)},
    ],
    ids=str,
)  # fmt: skip
def test_times_that_would_fail_once_the_work_runs_are_refused_where_they_are_written(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*: write"):
        ReindexOperator(task_id="t", source="rows", dest="copy", **wrong)


def test_an_interval_of_the_configuration_that_no_trigger_takes_fails_before_anything_is_started(
    sandbox, rows, monkeypatch
):
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__POLL_INTERVAL", "0")
    task = TaskRunner(
        lambda: ReindexOperator(task_id="t", source="rows", dest="copy"),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )
    assert "poll_interval is 0" in str(task.run().error)
    assert reindexes(sandbox) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataFrameAnalyticsOperator(task_id="t", job_id="", body={}),
        lambda: ExecuteEnrichPolicyOperator(task_id="t", policy="{{ '' }}"),
        lambda: AnomalyForecastOperator(task_id="t", job_id=""),
        lambda: AnomalyJobOperator(task_id="t", job_id=" ", body={"a": 1}, datafeed={"indices": ["rows"]}),
        lambda: AnomalyRecordsSensor(task_id="t", job_id=""),
        lambda: RevertModelSnapshotOperator(task_id="t", job_id="j", snapshot_id=""),
    ],
    ids=["analytics", "enrich", "forecast", "anomaly job", "records", "snapshot"],
)
def test_an_id_that_is_empty_once_it_is_rendered_is_refused_by_its_name(sandbox, make):
    error = TaskRunner(make, connections={"elasticsearch_default": sandbox.elasticsearch_url}).run().error
    assert isinstance(error, InvalidRequestError)
    assert re.search(r"(job_id|policy|snapshot_id) of task t is ' ?'", str(error))
    assert [r for r in sandbox.requests if r.method != "GET"] == []


def test_an_unknown_connection_says_its_id():
    result = TaskRunner(lambda: ReindexOperator(task_id="t", source="a", dest="b", elastic_conn_id="nowhere")).run()
    assert "nowhere" in str(result.error)
