"""The tour's stages: real DAG runs, started, watched and answered over Airflow's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from demo.airflow_server import AirflowServer
from demo.days import HOLDOUT_WINDOW, LABEL_DELAY, TRAIN_WINDOW, Days
from demo.screen import Stage
from demo.sessions import TourError

MODEL = "audit_fraud"
TRAIN, PROMOTE = f"train_{MODEL}", f"promote_{MODEL}"
DAGS = (PROMOTE, TRAIN, "audit_ingest", "elastic_setup")
APPROVER = "ana"
_COUNTS = ("read", "indexed", "duplicate", "rejected")


@dataclass
class Lifecycle:
    """Drives the DAGs; safe to repeat: what an interrupted tour left unfinished is waited for first.

    `check` is called while waiting, and raises where waiting has become pointless; `patience` is how many seconds a
    question stands before it is answered.
    """

    airflow: AirflowServer
    days: Days
    check: Callable[[], None] = lambda: None
    patience: float = 2.0
    documents: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Unpause what the tour drives, consumers of assets before their producers."""
        for dag_id in DAGS:
            self.airflow.unpause(dag_id)

    def set_up(self, stage: Stage) -> None:
        """Run elastic_setup in mode apply."""
        self._finish_leftovers("elastic_setup", stage)
        run = self.airflow.trigger("elastic_setup", conf={"mode": "apply"})
        for _ in self._watch("elastic_setup", run):
            stage.detail = "templates, data streams, pipelines, our own indices"

    def ingest_history(self, stage: Stage) -> None:
        """Backfill the fourteen days with Airflow's own backfill; every day is read again if it was read before."""
        self._end_old_backfill(stage)
        keys = [day.isoformat() for day in self.days.history]
        answer = self.airflow.call(
            "POST",
            "backfills",
            json={
                "dag_id": "audit_ingest",
                "from_date": f"{keys[0]}T00:00:00Z",
                "to_date": f"{keys[-1]}T00:00:00Z",
                "max_active_runs": 4,
                "reprocess_behavior": "completed",
            },
        )
        self._watch_partitions(stage, keys, answer)

    def _watch(self, dag_id: str, run: str) -> Iterator[list[dict[str, Any]]]:
        for tasks in self.airflow.watch(dag_id, run):
            self.check()
            yield tasks

    def _watch_partitions(self, stage: Stage, keys: list[str], backfill: dict[str, Any]) -> None:
        created = datetime.fromisoformat(backfill["created_at"])
        counted: set[str] = set()
        until = time.monotonic() + 300
        while len(counted) < len(keys):
            if time.monotonic() > until:
                missing = ", ".join(sorted(set(keys) - counted))
                raise TourError(
                    f"backfill {backfill['id']} of audit_ingest was not done after 300 s; unfinished: {missing}"
                )
            self.check()
            runs = self._partition_runs(keys, created)
            for key, run in runs.items():
                if key in counted or run["state"] not in {"success", "failed"}:
                    continue
                if run["state"] == "failed":
                    list(self._watch("audit_ingest", run["dag_run_id"]))
                self._count(run["dag_run_id"])
                counted.add(key)
            stage.detail = f"{len(counted)} of {len(keys)} days, {self._total():,} documents read"
            time.sleep(0.4)

    def _partition_runs(self, keys: list[str], created: datetime) -> dict[str, dict[str, Any]]:
        """Return the backfill's run of each partition; runs of earlier backfills stay beside them as records."""
        return {
            run["partition_key"]: run
            for run in self.airflow.runs("audit_ingest", run_type=["backfill"])
            if run["partition_key"] in keys and datetime.fromisoformat(run["queued_at"]) >= created
        }

    def train(self, stage: Stage) -> bool:
        """Run train_audit_fraud for the tour's days; return whether it offered a candidate.

        A training that ran before finds its own job and model, and offers nothing once that model was decided on.
        """
        run = self._finish_leftovers(TRAIN, stage) or self.airflow.trigger(
            TRAIN,
            conf={
                "day": self.days.last.isoformat(),
                "label_delay": f"{LABEL_DELAY}d",
                "train_window": f"{TRAIN_WINDOW}d",
                "holdout_window": f"{HOLDOUT_WINDOW}d",
            },
        )
        for tasks in self._watch(TRAIN, run):
            stage.detail = _current(tasks)
        offered = any(task["task_id"] == "candidate" and task["state"] == "success" for task in tasks)
        stage.detail = "a candidate" if offered else "found its own job and model, no new candidate"
        return offered

    def promote(self, stage: Stage, *, candidate_expected: bool) -> None:
        """Answer approvals as a named person until no promotion is open.

        The run is started by the candidate's asset event, never by hand. An interrupted tour may have left one, too.
        """
        answered = 0
        until = time.monotonic() + 60
        stage.detail = "waiting for the candidate to start the run"
        while True:
            self.check()
            open_runs = self.airflow.unfinished(PROMOTE)
            for run in reversed(open_runs):
                answered += self._answer(run["dag_run_id"], stage)
            if not open_runs:
                if answered or not candidate_expected:
                    break
                if time.monotonic() > until:
                    raise TourError(f"the candidate did not start {PROMOTE} within 60 s; is the DAG paused?")
                time.sleep(0.3)
        stage.detail = f"approved by {APPROVER}" if answered else "this model is the champion already"

    def _answer(self, run: str, stage: Stage) -> int:
        # An answer that comes before the scheduler has noticed the pause makes it take the try for lost and ask again
        # in a new one, half a minute later. People are slower than that, so the tour is, too.
        asked: dict[int, float] = {}
        answered: set[int] = set()
        for tasks in self._watch(PROMOTE, run):
            stage.detail = _current(tasks)
            for task in tasks:
                if task["task_id"] != "approve" or task["state"] not in {"awaiting_input", "deferred"}:
                    continue
                number, now = task["try_number"], time.monotonic()
                patient = now - asked.setdefault(number, now) >= self.patience
                if patient and number not in answered and self._approve(run):
                    answered.add(number)
        return 1

    def _approve(self, run: str) -> bool:
        answer = self.airflow.call(
            "PATCH",
            f"dags/{PROMOTE}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails",
            user=APPROVER,
            expect=(404, 409),
            json={"chosen_options": ["Approve"], "params_input": {"reason": "figures on the holdout are good"}},
        )
        return "chosen_options" in (answer or {})

    def ingest_last_day(self, stage: Stage) -> None:
        """Ingest the day after the training: its events are scored by the champion as they are indexed."""
        self._finish_leftovers("audit_ingest", stage)
        run = self.airflow.trigger("audit_ingest", partition_key=self.days.last.isoformat())
        for _ in self._watch("audit_ingest", run):
            stage.detail = f"{self.days.last}"
        self._count(run)

    def _count(self, run: str) -> None:
        result = self.airflow.xcom("audit_ingest", run, "ingest") or {}
        for source in result.values():
            counts = self.documents.setdefault(source["stream"], dict.fromkeys(_COUNTS, 0))
            for name in _COUNTS:
                counts[name] += source[name]

    def _total(self) -> int:
        return sum(counts["read"] for counts in self.documents.values())

    def _finish_leftovers(self, dag_id: str, stage: Stage) -> str | None:
        """Wait for runs that an interrupted tour left; return the newest one that succeeded."""
        finished = None
        for run in reversed(self.airflow.unfinished(dag_id)):
            stage.detail = "finishing the run of an interrupted demo"
            try:
                list(self._watch(dag_id, run["dag_run_id"]))
                finished = run["dag_run_id"]
            except TourError as failure:
                self.notes.append(f"The interrupted run {run['dag_run_id']} of {dag_id} failed: {str(failure)[:200]}")
        return finished

    def _end_old_backfill(self, stage: Stage) -> None:
        """Cancel what an interrupted tour still backfills: a second backfill of one DAG is refused with 409."""
        active = self.airflow.call("GET", "backfills", params={"dag_id": "audit_ingest"})["backfills"]
        for backfill in active:
            if backfill.get("completed_at") is None:
                stage.detail = "ending the backfill of an interrupted demo"
                self.airflow.call("PUT", f"backfills/{backfill['id']}/cancel", expect=(409,))
        self._finish_leftovers("audit_ingest", stage)


def _current(tasks: list[dict[str, Any]]) -> str:
    working = [task for task in tasks if task["state"] not in {None, "success", "skipped", "scheduled", "none"}]
    return ", ".join(f"{task['task_id']} ({task['state']})" for task in working) or "scheduling"
