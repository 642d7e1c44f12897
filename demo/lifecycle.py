"""The tour's stages: real DAG runs, started, watched and answered over Airflow's API."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from demo.airflow_server import AirflowServer
from demo.approvals import APPROVER, Approvals, current
from demo.days import HOLDOUT_WINDOW, LABEL_DELAY, TRAIN_WINDOW, Days
from demo.screen import Stage
from demo.sessions import TourError

MODEL = "audit_fraud"
BY_HOUR = "privileged_access"
MODELS = (MODEL, BY_HOUR)
ANOMALIES = "anomalies_failed_authentications"
HEALTH, MONITOR, DEPLOY = "elastic_health", f"monitor_{MODEL}", "kibana_deploy"
# Consumers of assets before their producers.
DAGS = (
    *(f"promote_{model}" for model in MODELS),
    *(f"train_{model}" for model in MODELS),
    ANOMALIES,
    MONITOR,
    HEALTH,
    DEPLOY,
    "audit_ingest",
    "elastic_setup",
)
Tasks = list[dict[str, Any]]
Chain = Generator[Tasks, None, Any]
"""Runs of the tour that come one after the other; yields the tasks of the one that goes on."""
_COUNTS = ("read", "indexed", "duplicate", "rejected")
_PATIENCE_SECONDS = 600.0
_START_SECONDS = 60.0
_OFTEN = 0.4


@dataclass
class Lifecycle:
    """Drives the DAGs; safe to repeat: what an interrupted tour left unfinished is waited for first.

    :param check: called while waiting; raises where waiting has become pointless.
    :param unseen: returns how many events no user-hour holds yet.
    """

    airflow: AirflowServer
    days: Days
    check: Callable[[], None] = lambda: None
    unseen: Callable[[], int] = lambda: 0
    documents: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def approvals(self) -> Approvals:
        """Who promotes the models of the tour."""
        return Approvals(self.airflow, [f"promote_{model}" for model in MODELS])

    def prepare(self) -> None:
        """Unpause what the tour drives."""
        for dag_id in DAGS:
            self.airflow.unpause(dag_id)

    def set_up(self, stage: Stage) -> None:
        """Run elastic_setup in mode apply."""
        self._side_by_side(stage, {"elastic_setup": self._run("elastic_setup", conf={"mode": "apply"})})
        stage.detail = "templates, data streams, pipelines, our own indices"

    # Days -------------------------------------------------------------------------------------------------------------

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

    def ingest_live_days(self, stage: Stage) -> None:
        """Ingest the days since the training: their events are scored by the champion as they are indexed."""
        self._side_by_side(stage, {"earlier": self._leftovers("audit_ingest")})
        keys = [day.isoformat() for day in self.days.live]
        runs = [self.airflow.trigger("audit_ingest", partition_key=key) for key in keys]
        chains = zip(keys, (self.airflow.watch("audit_ingest", run, every=0) for run in runs), strict=True)
        self._side_by_side(stage, dict(chains))
        for run in runs:
            self._count(run)
        stage.detail = f"{keys[0]}, and until {keys[-1]} the verdicts on it" if len(keys) > 1 else keys[0]

    # Models -----------------------------------------------------------------------------------------------------------

    def train(self, stage: Stage) -> set[str]:
        """Train both models for the tour's day, and let the anomaly job learn; return which models are offered.

        Promotions that ask meanwhile are answered. A training that ran before finds its own job and model, and offers
        nothing once that model was decided on.
        """
        chains = {
            MODEL: self._training(MODEL),
            BY_HOUR: self._hours_then(self._training(BY_HOUR)),
            ANOMALIES: self._learning(),
        }
        ended = self._side_by_side(stage, chains, tolerated={BY_HOUR, ANOMALIES}, answering=True)
        offered = {model for model in MODELS if _succeeded(ended.get(model, []), "candidate")}
        stage.detail = " and ".join(sorted(offered)) if offered else "found their jobs and models, no new candidate"
        return offered

    def promote(self, stage: Stage, *, offered: set[str]) -> None:
        """Answer approvals as a named person until no promotion is open.

        The runs are started by the candidates' asset events, never by hand. An interrupted tour may have left one, too.
        """
        began = time.monotonic()
        while True:
            self.check()
            going_on = self.approvals.answer()
            late = {f"promote_{model}" for model in offered} - set(self.approvals.runs)
            if not going_on and not late:
                break
            waited = time.monotonic() - began
            if late and not going_on and waited > _START_SECONDS:
                names = ", ".join(sorted(late))
                raise TourError(f"no candidate started {names} within {_START_SECONDS:.0f} s; is the DAG paused?")
            if waited > _PATIENCE_SECONDS:
                raise TourError(f"{', '.join(sorted({*going_on, *late}))} took more than {_PATIENCE_SECONDS:.0f} s.")
            stage.detail = _shown(going_on) or "waiting for the candidates to start their runs"
            time.sleep(_OFTEN)
        # Whether the second model passes with so small a holdout is for its gate to say, not for the tour.
        ran = {model: run for model in MODELS if (run := self.approvals.runs.get(f"promote_{model}"))}
        chains = {model: self.airflow.watch(f"promote_{model}", run, every=0) for model, run in ran.items()}
        self._side_by_side(stage, dict(chains), tolerated={BY_HOUR})
        stage.detail = (
            f"approved by {APPROVER}" if self.approvals.answered else "these models are the champions already"
        )

    def _training(self, model: str) -> Chain:
        conf = {
            "day": self.days.last.isoformat(),
            "label_delay": f"{LABEL_DELAY}d",
            "train_window": f"{TRAIN_WINDOW}d",
            "holdout_window": f"{HOLDOUT_WINDOW}d",
        }
        if (yield from self._leftovers(f"train_{model}")) is None:
            yield from self._run(f"train_{model}", conf=conf)

    # What watches them ------------------------------------------------------------------------------------------------

    def look(self, stage: Stage) -> None:
        """Measure the scored day, look at everything once the user-hours are scored, deploy dashboards and rules."""
        looks = {
            MONITOR: self._run(MONITOR, conf={"day": self.days.last.isoformat()}),
            HEALTH: self._hours_then(self._run(HEALTH)),
        }
        self._side_by_side(stage, looks, tolerated=set(looks))
        # Last: before the first look, a rule would say that nobody looks.
        self._side_by_side(stage, {DEPLOY: self._run(DEPLOY, conf={"mode": "apply"})}, tolerated={DEPLOY})
        stage.detail = "drift, coverage, predictions, streams, disks, jobs"

    def _learning(self) -> Chain:
        """Let the anomaly job learn the first day, then all others with the last: it takes what no run took before."""
        for day in (self.days.history[0], self.days.history[-1]):
            yield from self._run(ANOMALIES, partition_key=day.isoformat())

    def _hours_then(self, chain: Chain) -> Chain:
        until = time.monotonic() + _PATIENCE_SECONDS
        while missing := self.unseen():
            if time.monotonic() > until:
                raise TourError(f"{missing:,} events were in no user-hour after {_PATIENCE_SECONDS:.0f} s.")
            yield [{"task_id": f"{missing:,} events to come", "state": "user-hours"}]
        yield from chain

    # Runs -------------------------------------------------------------------------------------------------------------

    def _side_by_side(
        self, stage: Stage, chains: dict[str, Chain], *, tolerated: Collection[str] = (), answering: bool = False
    ) -> dict[str, Tasks]:
        """Go through chains in turns until all have ended; return the last tasks of each.

        :param tolerated: chains that the last screen can do without: their failure becomes a note.
        :param answering: also answer what promotions ask meanwhile.
        """
        last: dict[str, Tasks] = {}
        while chains:
            self.check()
            for name, chain in list(chains.items()):
                try:
                    last[name] = next(chain)
                except StopIteration:
                    del chains[name]
                except TourError as failure:
                    if name not in tolerated:
                        raise
                    del chains[name]
                    self.notes.append(f"{name} was left out: {failure}")
            if not chains:
                break
            stage.detail = _shown({name: current(last[name]) for name in chains if name in last})
            if answering:
                self.approvals.answer()
            time.sleep(_OFTEN)
        return last

    def _run(self, dag_id: str, **how: Any) -> Chain:
        """Run a DAG once what an interrupted tour left of it has ended."""
        yield from self._leftovers(dag_id)
        yield from self.airflow.watch(dag_id, self.airflow.trigger(dag_id, **how), every=0)

    def _leftovers(self, dag_id: str) -> Generator[Tasks, None, str | None]:
        """Wait for runs that an interrupted tour left; return the newest one that succeeded."""
        finished = None
        for run in reversed(self.airflow.unfinished(dag_id)):
            try:
                yield from self.airflow.watch(dag_id, run["dag_run_id"], every=0)
                finished = run["dag_run_id"]
            except TourError as failure:
                self.notes.append(f"The interrupted run {run['dag_run_id']} of {dag_id} failed: {str(failure)[:200]}")
        return finished

    def _watch_partitions(self, stage: Stage, keys: list[str], backfill: dict[str, Any]) -> None:
        created = datetime.fromisoformat(backfill["created_at"])
        counted: set[str] = set()
        until = time.monotonic() + _PATIENCE_SECONDS
        while len(counted) < len(keys):
            if time.monotonic() > until:
                missing = ", ".join(sorted(set(keys) - counted))
                raise TourError(
                    f"backfill {backfill['id']} of audit_ingest was not done after {_PATIENCE_SECONDS:.0f} s; "
                    f"unfinished: {missing}"
                )
            self.check()
            runs = self._partition_runs(keys, created)
            for key, run in runs.items():
                if key in counted or run["state"] not in {"success", "failed"}:
                    continue
                if run["state"] == "failed":
                    list(self.airflow.watch("audit_ingest", run["dag_run_id"]))
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

    def _end_old_backfill(self, stage: Stage) -> None:
        """Cancel what an interrupted tour still backfills: a second backfill of one DAG is refused with 409."""
        active = self.airflow.call("GET", "backfills", params={"dag_id": "audit_ingest"})["backfills"]
        for backfill in active:
            if backfill.get("completed_at") is None:
                stage.detail = "ending the backfill of an interrupted demo"
                self.airflow.call("PUT", f"backfills/{backfill['id']}/cancel", expect=(409,))
        self._side_by_side(stage, {"earlier": self._leftovers("audit_ingest")})

    def _count(self, run: str) -> None:
        result = self.airflow.xcom("audit_ingest", run, "ingest") or {}
        for source in result.values():
            counts = self.documents.setdefault(source["stream"], dict.fromkeys(_COUNTS, 0))
            for name in _COUNTS:
                counts[name] += source[name]

    def _total(self) -> int:
        return sum(counts["read"] for counts in self.documents.values())


def _succeeded(tasks: Tasks, task_id: str) -> bool:
    return any(task["task_id"] == task_id and task["state"] == "success" for task in tasks)


def _shown(at: dict[str, str]) -> str:
    return "   ".join(f"{name}: {what}" for name, what in at.items())
