"""What can be shown of all operators and sensors alike, class by class, against the sandbox.

A burst, a missing licence, a kill, a deadline; which of them stands where for each class: `test_eight_situations.py`.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from harness.operator_specimens import ELASTIC, OF_NO_DAG, STOPPABLE, WORK, at_work, of_dags, runner
from harness.provider_classes import concrete, remote
from harness.task_runner import TaskRunner
from matrix.world import write_project

from elastic_ml.clients import elasticsearch as client_module
from elastic_ml.clients import kibana as kibana_client
from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.remote_jobs import job_status
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import WaitTimeoutError
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator
from elastic_ml.project import load_project


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("situations")
    write_project(folder)
    return folder


def test_each_class_can_be_run_here(home: Path) -> None:
    assert set(ELASTIC) - set(OF_NO_DAG) - set(of_dags(home)) == set(), "give arguments for one in OF_NO_DAG"
    assert set(OF_NO_DAG) & set(of_dags(home)) == set(), "a DAG has it now"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_wait_before_retry", lambda *_: 0.0)
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__POLL_INTERVAL", "0.05")


@pytest.mark.parametrize("name", ELASTIC)
def test_a_burst_is_sat_out_and_a_missing_licence_is_named_and_not_retried(
    name: str, sandbox: Any, home: Path, quick: None
) -> None:
    """The first requests meet 429 and 503; then an empty cluster refuses everything for want of a licence."""
    bursts = [sandbox.faults.add(status=status, times=2) for status in (429, 503)]
    sandbox.faults.add(
        status=403, type="security_exception", reason="current license is non-compliant for [ml]", times=None
    )
    result = runner(sandbox, home, name).run()
    if name in SENDS_NOTHING_SO_EARLY:
        assert list(sandbox.requests) == [], "it asks the cluster first now: remove it from the list"
        return
    assert [fault.hits for fault in bursts] == [2, 2]
    assert "Machine learning needs a Platinum or Enterprise licence" in str(result.error)
    assert result.state == "failed", "no retry buys a licence"
    assert [entry for entry in sandbox.requests if entry.status < 300] == []


SENDS_NOTHING_SO_EARLY = {"ImportModelOperator": "reads its file first; see the matrix' walk under bursts"}


# What runs is stopped -------------------------------------------------------------------------------------------------


FRAME = ("_drive", "_over_within", "_timed_out", "_wait", "on_kill", "resume")
ALIKE = {(kind, *(getattr(remote()[name], method) for method in FRAME)): name for name, kind in STOPPABLE.items()}
"""One of those that have kind and every method of the frame in common."""


@pytest.mark.parametrize("name", ALIKE.values())
@pytest.mark.parametrize("end", ["killed", "killed while it waits without a slot", "deadline"])
def test_what_a_task_waits_for_is_stopped(name: str, end: str, sandbox: Any, home: Path, quick: None) -> None:
    """By the class itself: whatever it replaces of its frame is part of this; only what it starts is replaced here."""
    cls, kind = remote()[name], STOPPABLE[name]
    sandbox.faults.lazy_assignment = kind in {"anomaly_job", "data_frame_analytics"}
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        job = RemoteJob(kind, WORK[kind](client))
        assert job_status(client, kind, job.id).active
        task = runner(sandbox, home, name)
        make, seconds = task.make_task, 0.1 if end == "deadline" else 60

        def with_a_deadline() -> Any:
            operator: Any = make()
            operator.timeout = timedelta(seconds=seconds)
            return operator

        task.make_task = with_a_deadline
        begun = {"prepare": lambda *_: job, "submit": lambda self, context, job: job, "link_names": lambda *_: {}}
        with mock.patch.multiple(cls, execute=RemoteJobOperator.execute, **begun):
            if end == "killed":
                operator = task.make_task()
                operator._job = job
                with task.environment():
                    operator.on_kill()
            else:
                assert task.run().state == "deferred"
                if end == "deadline":
                    result = task.resume(task.fire())
                    assert isinstance(result.error, WaitTimeoutError), repr(result.error)
                else:
                    task.kill_deferred()
        assert not at_work(client, kind, job.id)


@pytest.mark.parametrize("name", ["AnomalyDataSensor", "MonitoredDaySensor", "TrainingDataSensor"])
def test_data_that_does_not_come_is_named_at_the_deadline(name: str, sandbox: Any, home: Path, quick: None) -> None:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        fields = {name: {"type": "keyword"} for name in ("kind", "partition", "source", "state")}
        client.indices.create(index=load_project(home / "include").names.ledger, mappings={"properties": fields})
    task = runner(sandbox, home, name)
    make = task.make_task

    def impatient() -> Any:
        operator: Any = make()
        operator.timeout, operator.poll_interval = timedelta(seconds=0.1), 0.05
        return operator

    task.make_task = impatient
    assert task.run().state == "deferred", "no worker slot is held meanwhile"
    result = task.resume(task.fire())
    assert isinstance(result.error, WaitTimeoutError), repr(result.error)
    assert "of source access is not attempted" in str(result.error)


# Kibana ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["KibanaDeployOperator", "KibanaMlSyncOperator"])
@pytest.mark.parametrize("status", [429, 503])
def test_what_works_in_kibana_alone_sits_out_a_burst(
    name: str, status: int, sandbox: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kibana_client, "BACKOFF_SECONDS", 0.0)
    arguments = {"project_folder": str(home / "include")} if name == "KibanaDeployOperator" else {}
    task = TaskRunner(
        lambda: concrete()[name](task_id="task", **arguments),
        connections={"kibana_default": {"conn_type": "kibana", "host": sandbox.kibana_url}},
    )
    burst = sandbox.faults.add(path="/api/*", status=status, times=3)
    result = task.run()
    assert result.state == "success", result.error
    assert burst.hits == 3
