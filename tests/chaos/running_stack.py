"""A real Airflow on a sandbox that lives in the test's own process: its faults and its request log are at hand."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from demo.airflow_server import ROOT, AirflowServer, start_airflow, wait_until_healthy
from demo.cluster import Cluster
from demo.sessions import Sessions, session_members
from elastic_ml.project import Project, load_project
from elastic_sandbox.testing import Sandbox, serve

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

EVENTS_PER_DAY = 20_000
HISTORY_DAYS = 6
# Waiting in the worker for this long before deferring gives both legs of a wait a time to be killed in.
DEFER_AFTER_SECONDS = 6
# Appended to the stage files: waiting for a retry's delay proves nothing.
RETRY_SOON = """
from datetime import timedelta

for dag in [value for value in globals().values() if hasattr(value, "task_dict")]:
    for task in dag.tasks:
        task.retry_delay = timedelta(seconds=2)
"""
# Two cores that others may be using.
PATIENCE_SECONDS = 240.0


@dataclass
class RunningStack:
    """Airflow, sandbox and the project that both serve."""

    folder: Path
    sessions: Sessions
    sandbox: Sandbox
    airflow: AirflowServer
    client: Elasticsearch
    project: Project

    @property
    def last_day(self) -> date:
        """The day after the history: the one that models are trained for."""
        return datetime.now(UTC).date() - timedelta(days=1)

    @property
    def history(self) -> list[str]:
        """The days that have events, oldest first, as partition keys."""
        return [(self.last_day - timedelta(days=n)).isoformat() for n in range(HISTORY_DAYS, 0, -1)]

    def backfill(self, days: list[str]) -> Callable[[], dict[str, dict[str, Any]]]:
        """Start a backfill of audit_ingest; returns a function that gives its runs by partition key."""
        answer = self.airflow.call(
            "POST",
            "backfills",
            json={
                "dag_id": "audit_ingest",
                "from_date": f"{days[0]}T00:00:00Z",
                "to_date": f"{days[-1]}T00:00:00Z",
                "max_active_runs": len(days),
                "reprocess_behavior": "completed",
            },
        )
        created = datetime.fromisoformat(answer["created_at"])

        def runs() -> dict[str, dict[str, Any]]:
            found = self.airflow.runs("audit_ingest", run_type=["backfill"])
            return {run["partition_key"]: run for run in found if datetime.fromisoformat(run["queued_at"]) >= created}

        return runs

    def finish_backfills(self) -> None:
        """Wait until no backfill is open: a second one of the same DAG is refused."""
        wait_until(
            lambda: all(
                backfill["completed_at"]
                for backfill in self.airflow.call("GET", "backfills", params={"dag_id": "audit_ingest"})["backfills"]
            ),
            "the backfill to be closed",
        )

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return one task instance of a run."""
        return next(task for task in self.airflow.tasks(dag_id, run_id) if task["task_id"] == task_id)

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a run has succeeded; a failed one raises with the failed task's log."""
        for _ in self.airflow.watch(dag_id, run_id, seconds=seconds):
            time.sleep(0.5)

    def processes(self) -> list[psutil.Process]:
        """Return every process of every session that was started."""
        return [member for process in self.sessions.started.values() for member in session_members(process.pid)]

    def task_processes(self, task_instance_id: str) -> tuple[psutil.Process, psutil.Process]:
        """Return the process that runs a task, and the supervisor that started it and sends its heartbeats."""
        found = [process for process in self.processes() if task_instance_id in _command_of(process)]
        runner = [process for process in found if "LocalExecutor" not in _command_of(process)]
        supervisor = [process for process in found if "LocalExecutor" in _command_of(process)]
        if len(runner) != 1 or len(supervisor) != 1:
            raise AssertionError(f"task {task_instance_id} has the processes {[_command_of(p) for p in found]}")
        assert runner[0].ppid() == supervisor[0].pid
        return runner[0], supervisor[0]

    def documents_of(self, source: str, day: str) -> dict[str, int]:
        """Return how often each event id of a partition lies in the source's stream, by event id."""
        stream = self.project.source(source).stream
        label = self.project.names.partition_label(source, day)
        self.client.indices.refresh(index=stream)
        found: dict[str, int] = {}
        after: dict[str, Any] | None = None
        while True:
            composite: dict[str, Any] = {"size": 10_000, "sources": [{"id": {"terms": {"field": "event.id"}}}]}
            if after:
                composite["after"] = after
            answer = self.client.search(
                index=stream,
                size=0,
                query={"term": {"labels.partition": label}},
                aggs={"ids": {"composite": composite}},
            )["aggregations"]["ids"]
            found |= {bucket["key"]["id"]: bucket["doc_count"] for bucket in answer["buckets"]}
            after = answer.get("after_key")
            if not after:
                return found

    def count(self, source: str, day: str) -> int:
        """Return how many documents of a partition can be searched now."""
        stream = self.project.source(source).stream
        self.client.indices.refresh(index=stream)
        query = {"term": {"labels.partition": self.project.names.partition_label(source, day)}}
        return int(self.client.count(index=stream, query=query)["count"])

    def start_again(self, component: str) -> None:
        """Start a component of Airflow (``triggerer``) anew, as whoever runs it in production would."""
        environment = psutil.Process(self.sessions.started["airflow"].pid).environ()
        self.sessions.start(component, [sys.executable, "-m", "airflow", component], environment)


@contextmanager
def running_stack(
    folder: Path,
    *,
    events_per_day: int = EVENTS_PER_DAY,
    start_date: date | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[RunningStack]:
    """Start sandbox and Airflow on a copy of the project; end everything when the block ends.

    :param start_date: first day of every source, by default the project's.
    :param patience: seconds for Airflow to start, and then for the setup.
    """
    copy = folder / "project"
    shutil.copytree(ROOT / "dags", copy / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    for stage in (copy / "dags").glob("*.py"):
        if "globals().update" in stage.read_text():
            stage.write_text(stage.read_text() + RETRY_SOON)
    shutil.copytree(ROOT / "include", copy / "include", ignore=shutil.ignore_patterns("__pycache__"))
    for source in (copy / "include" / "sources").glob("*.yml"):
        text, changed = re.subn(r"events_per_day: \d+", f"events_per_day: {events_per_day}", source.read_text())
        assert changed == 1, f"{source.name} has no events_per_day to set"
        if start_date is not None:
            text = re.sub(r"^start_date: .*$", f"start_date: {start_date}", text, flags=re.MULTILINE)
        source.write_text(text)
    sessions = Sessions(folder / "run")
    try:
        with serve() as sandbox:
            airflow = start_airflow(
                sessions,
                first_live_day="2100-01-01",
                dags=copy / "dags",
                settings={"ELASTIC_ML__DEFER_AFTER": str(DEFER_AFTER_SECONDS)},
            )
            wait_until_healthy(sessions, airflow, patience)
            cluster = Cluster(sandbox.elasticsearch_url, sandbox.kibana_url, None, sandbox=True)
            for connection in cluster.connections():
                airflow.put_connection(connection)
            for dag_id in ("train_audit_fraud", "audit_ingest", "elastic_setup"):
                airflow.unpause(dag_id)
            stack = RunningStack(folder, sessions, sandbox, airflow, cluster.client(), load_project(copy / "include"))
            setup = airflow.trigger("elastic_setup", conf={"mode": "apply"})
            stack.wait_for_run("elastic_setup", setup, seconds=patience)
            yield stack
    finally:
        started = [process.pid for process in sessions.started.values()]
        sessions.stop()
        left = [member for session in started for member in session_members(session)]
        assert not left, f"still there after the stack was stopped: {left}"


def kill(*processes: psutil.Process) -> None:
    """Send SIGKILL, and wait until they are gone."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(runs_still(process) for process in processes), "the killed processes to end")


def runs_still(process: psutil.Process) -> bool:
    """Whether a process is there and more than a zombie that its parent has not looked at."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(
    condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE_SECONDS, every: float = 0.1
) -> Any:
    """Return the condition's value as soon as it is true; fail, naming what was waited for, when it takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def generated(project: Project, source: str, day: str) -> list[str]:
    """Return the ids that a source delivers in a partition, in its order, repetitions and all."""
    from lendpath import feeds

    reader = project.source(source).reader
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    feed, key = {"internal_audit": (feeds.internal_audit, "id"), "verdicts": (feeds.verdicts, "decision_id")}[source]
    return [json.loads(record)[key] for record in feed(start, start + timedelta(days=1), **reader.options)]


def _command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""
