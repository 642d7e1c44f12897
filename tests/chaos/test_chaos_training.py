"""Workers and the triggerer are killed in the middle of a training: one job, one model, and the run succeeds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from chaos.running_stack import HISTORY_DAYS, RunningStack, kill, wait_until

DAG = "train_audit_fraud"
JOBS = "/_ml/data_frame/analytics"
IN_FLIGHT_SECONDS = 4.0


@dataclass
class Attack:
    """One training run and what is done to it."""

    stack: RunningStack
    run: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def requests_in_flight(self, *wanted: tuple[str, str, str]) -> None:
        """Kill each task while one of its requests is on its way; the cluster serves it all the same, to nobody.

        :param wanted: task, method and path of each, in their order.
        """
        # All at once: a task's next try is at its next request before the cluster has finished the one before.
        delay = {"action": "delay", "seconds": IN_FLIGHT_SECONDS}
        faults = [self.stack.sandbox.faults.add(method=method, path=path, **delay) for _, method, path in wanted]
        for (task_id, method, path), fault in zip(wanted, faults, strict=True):
            self._request_in_flight(task_id, method, path, fault)

    def _request_in_flight(self, task_id: str, method: str, path: str, fault: Any) -> None:
        requests = self.stack.sandbox.requests
        self._wait_until(lambda: fault.hits, f"{method} {path}")
        task = self.stack.task(DAG, self.run, task_id)
        runner, _ = self.stack.task_processes(task["id"])
        kill(runner)
        sent = requests.matching(method, path)[-1]
        assert sent.status is None, f"{sent} was answered before the kill"
        wait_until(lambda: sent.status, f"the cluster to finish {sent}")
        self._note(f"{task_id}, {method} {path} on its way", "task runner", task)

    def waiting_in_the_worker(self) -> None:
        """Kill task and supervisor while the job runs and the worker, not yet the triggerer, waits for it."""
        requests = self.stack.sandbox.requests
        self._wait_until(
            lambda: any(sent.status == 200 for sent in requests.matching("POST", f"{JOBS}/*/_start")), "the job's start"
        )
        task = self.stack.task(DAG, self.run, "train")
        assert task["state"] == "running"
        kill(*self.stack.task_processes(task["id"]))
        self._note("train, waiting in the worker", "task runner and supervisor", task)
        self._wait_until(lambda: self._try("train") > task["try_number"], "Airflow to notice and try again")

    def deferred(self) -> None:
        """Kill the triggerer with everything it holds while it waits for the job; another one is started."""
        task = self._wait_until(lambda: self._state("train", "deferred"), "the task to be deferred")
        kill(*(process for process in self.stack.processes() if _is_triggerer(process)))
        self.stack.start_again("triggerer")
        self._note("train, deferred", "triggerer", task)

    def _wait_until(self, condition: Callable[[], Any], what: str, *, every: float = 0.2) -> Any:
        """Wait for something that a failed run would never bring."""
        return wait_until(lambda: condition() or self._failed(), what, every=every)

    def _failed(self) -> None:
        failed = [task["task_id"] for task in self.stack.airflow.tasks(DAG, self.run) if task["state"] == "failed"]
        if failed:
            self.stack.wait_for_run(DAG, self.run)

    def _state(self, task_id: str, state: str) -> dict[str, Any] | None:
        task = self.stack.task(DAG, self.run, task_id)
        return task if task["state"] == state else None

    def _try(self, task_id: str) -> int:
        return int(self.stack.task(DAG, self.run, task_id)["try_number"])

    def _note(self, where: str, killed: str, task: dict[str, Any]) -> None:
        self.rows[where] = {"killed": killed, "try": task["try_number"]}


@pytest.fixture
def training(stack: RunningStack) -> Callable[[str], Attack]:
    """Start a training of four days of events, whose windows are the test's own; the days are ingested if need be."""
    needed = [day for day in stack.history if not stack.count("verdicts", day)]
    if needed:
        stack.finish_backfills()
        runs = stack.backfill(needed)
        wait_until(lambda: len(runs()) == len(needed), "the backfill's runs")
        for run in runs().values():
            stack.wait_for_run("audit_ingest", run["dag_run_id"])
    stack.sandbox.requests.clear()

    def _start(label_delay: str) -> Attack:
        conf = {
            "day": stack.last_day.isoformat(),
            "label_delay": label_delay,
            "holdout_window": "1d",
            "train_window": f"{HISTORY_DAYS - 1 - int(label_delay[:-1])}d",
        }
        return Attack(stack, stack.airflow.trigger(DAG, conf=conf))

    return _start


@pytest.mark.timeout(600)
def test_tasks_killed_while_their_requests_are_on_their_way_leave_one_job_and_one_model(
    training: Callable[[str], Attack], show: Callable[..., None]
):
    attack = training("1d")
    attack.requests_in_flight(
        ("training_set", "POST", "/_reindex"), ("train", "PUT", f"{JOBS}/*"), ("train", "POST", f"{JOBS}/*/_start")
    )
    attack.stack.wait_for_run(DAG, attack.run)
    show("Killed while a request was on its way", attack.rows | {"afterwards": _check(attack)})


@pytest.mark.timeout(600)
def test_a_killed_worker_and_a_killed_triggerer_find_the_job_that_is_running(
    training: Callable[[str], Attack], show: Callable[..., None]
):
    attack = training("2d")
    faults = attack.stack.sandbox.faults
    faults.lazy_assignment = True
    try:
        attack.waiting_in_the_worker()
        attack.deferred()
    finally:
        faults.lazy_assignment = False
    lifted = time.monotonic()
    attack.stack.wait_for_run(DAG, attack.run)
    row = _check(attack) | {"seconds": round(time.monotonic() - lifted)}
    show("Killed while waiting for the job", attack.rows | {"afterwards": row})


def _check(attack: Attack) -> dict[str, Any]:
    """Assert what has to hold after a training; return it as a line of the table."""
    stack = attack.stack
    trained = stack.airflow.xcom(DAG, attack.run, "train")
    job, model = trained["job_id"], trained["model_id"]
    requests = stack.sandbox.requests
    put = [sent for sent in requests.matching("PUT", f"{JOBS}/*") if sent.status == 200]
    started = [sent for sent in requests.matching("POST", f"{JOBS}/*/_start") if sent.status == 200]
    jobs = [found["id"] for found in stack.client.ml.get_data_frame_analytics(id="*")["data_frame_analytics"]]
    models = stack.client.ml.get_trained_models(tags=job)["trained_model_configs"]
    stats = stack.client.ml.get_data_frame_analytics_stats(id=job)["data_frame_analytics"][0]
    assert {sent.path for sent in put} == {f"{JOBS}/{job}"}
    assert len(put) == 1
    assert {sent.path for sent in started} == {f"{JOBS}/{job}/_start"}
    assert len(started) == 1
    assert jobs.count(job) == 1
    assert [found["model_id"] for found in models] == [model]
    assert stats["state"] == "stopped"
    assert {phase["progress_percent"] for phase in stats["progress"]} == {100}

    # Copied twice in part, and still every positive of the window once: the copies keep the events' own ids.
    index = stack.project.names.train_index(job)
    copied = stack.airflow.xcom(DAG, attack.run, "training_set")
    rows = stack.client.count(index=index)["count"]
    positives = stack.client.count(index=index, query={"term": {"label": "true"}})["count"]
    assert rows == copied["documents"] == trained["documents"]
    assert positives == copied["classes"]["true"] > 0
    assert stack.task(DAG, attack.run, "candidate")["state"] == "success"
    return {
        "try": stack.task(DAG, attack.run, "train")["try_number"],
        "jobs": len(put),
        "starts accepted": len(started),
        "models": len(models),
        "training set": rows,
        "positives": positives,
    }


def _is_triggerer(process: psutil.Process) -> bool:
    try:
        return "triggerer" in " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
