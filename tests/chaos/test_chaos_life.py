"""A model's life under a real scheduler: trained, approved, scoring, drifted away from, trained again by itself.

Nobody starts what an asset starts: the promotion, and the second training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from chaos.running_stack import RunningStack, generated, running_stack, wait_until

from elastic_ml.registry.events import events_of
from elastic_ml.registry.model_cards import model_behind

MODEL = "audit_fraud"
TRAIN, PROMOTE, MONITOR = f"train_{MODEL}", f"promote_{MODEL}", f"monitor_{MODEL}"
EVENTS_PER_DAY = 4_000
# A whole week judges the model: against a weekend no weekday is unusual.
LABEL_DELAY, TRAIN_DAYS, HOLDOUT_DAYS = 2, 7, 7
SECONDS = 900.0
"""What one step may take on two cores that others may be using."""
SOMEBODY_READS_SECONDS = 3.0
"""An answer that comes before the scheduler has noticed the question is lost; people are slower than that."""


@pytest.mark.timeout(5400)
def test_a_model_is_trained_approved_scores_and_is_trained_again_when_its_inputs_drift(
    tmp_path: Path, show: Callable[..., None]
) -> None:
    with running_stack(tmp_path, events_per_day=EVENTS_PER_DAY, patience=SECONDS) as stack:
        life = Life(stack)
        normal, drifted = life.days()
        # Consumers of assets before their producers: events that nobody listens to are lost.
        for dag_id in (PROMOTE, TRAIN, MONITOR):
            stack.airflow.unpause(dag_id)

        life.ingest(normal)
        first = life.trained(life.train(for_day=drifted[0]))
        life.approve()
        assert life.champion() == first["model_id"]

        life.read_zones_wrongly()
        life.ingest(drifted)
        assert life.scored(drifted[-1]) == {first["model_id"]}
        found = {}
        for day in drifted[:2]:
            found[day] = life.monitor(day)
            assert "audit.hour" in found[day], "drift is flagged on the day that it begins"
        second = life.trained(life.run_started_by_an_asset(TRAIN))
        assert second["model_id"] != first["model_id"]
        assert life.champion() == first["model_id"], "whatever a training finds, a person decides"
        life.approve()
        assert life.champion() == second["model_id"]
        assert model_behind(stack.client, stack.project.names.previous(MODEL)) == first["model_id"]

        story = {
            f"{number}. {event['event_type']}": {
                "model": event["model_version"],
                "stage": event.get("stage"),
                "by": (event.get("user") or {}).get("name"),
            }
            for number, event in enumerate(life.history(first, second), 1)
        }
        show(f"Drift of {', '.join(sorted({f for fs in found.values() for f in fs}))}", story)


class Life:
    """Drives what people drive, over Airflow's API, and waits for what assets start."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.seen: set[str] = set()
        include = stack.folder / "project" / "include"
        sources = include / "sources"
        for source in sources.glob("*.yml"):
            if source.stem not in {"internal_audit", "verdicts"}:
                source.unlink()
        path = include / "models" / f"{MODEL}.yml"
        lines = path.read_text().splitlines()
        changed = {
            "label_delay:": f"label_delay: {LABEL_DELAY}d",
            "windows:": f"windows: {{train: {TRAIN_DAYS}d, holdout: {HOLDOUT_DAYS}d}}",
            # With so few days a figure moves by itself.
            "gate:": "gate: {auc_roc: 0.6, average_precision: 0.05}",
        }
        path.write_text("\n".join(
            next((new for key, new in changed.items() if line.startswith(key)), line) for line in lines
        ))  # fmt: skip
        self.audit = sources / "internal_audit.yml"

    def days(self) -> tuple[list[str], list[str]]:
        """The days before the drift, and those from its begin to yesterday; it begins with two busy days in a row.

        A weekend or a holiday says too little to count as a day of drift.
        """
        project, last = self.stack.project, self.stack.last_day
        events = {}
        for back in range(10):
            day = last - timedelta(days=back)
            events[day] = len(generated(project, "internal_audit", day.isoformat()))
        busy = {day for day, number in events.items() if number > 0.7 * max(events.values())}
        begin = max(day for day in busy if day + timedelta(days=1) in busy)
        first = begin - timedelta(days=LABEL_DELAY + HOLDOUT_DAYS + TRAIN_DAYS)
        return _between(first, begin), _between(begin, last + timedelta(days=1))

    def ingest(self, days: list[str]) -> None:
        """Backfill days, as Airflow does it."""
        runs = self.stack.backfill(days)
        wait_until(lambda: len(runs()) == len(days), "the backfill's runs", seconds=SECONDS, every=1)
        for run in runs().values():
            self.stack.wait_for_run("audit_ingest", run["dag_run_id"], seconds=SECONDS)
        self.stack.finish_backfills()

    def read_zones_wrongly(self) -> None:
        """From now on the audit trail is taken to come from Tokyo: everybody seems to work at night."""
        text = self.audit.read_text()
        assert "  event.timezone: zone\n" in text
        text = text.replace("  event.timezone: zone\n", "")
        self.audit.write_text(text.replace("constants:\n", "constants:\n  event.timezone: Asia/Tokyo\n"))

    def train(self, *, for_day: str) -> str:
        """Trigger a training by hand; returns its run."""
        run = self.stack.airflow.trigger(TRAIN, conf={"day": for_day})
        self.seen.add(run)
        return run

    def trained(self, run: str) -> dict[str, Any]:
        """Wait for a training to offer its model; returns what it made."""
        self.stack.wait_for_run(TRAIN, run, seconds=SECONDS)
        assert self.stack.task(TRAIN, run, "candidate")["state"] == "success"
        return dict(self.stack.airflow.xcom(TRAIN, run, "train"))

    def run_started_by_an_asset(self, dag_id: str) -> str:
        """Wait for a run that nobody triggered; returns its id."""

        def new() -> list[str]:
            runs = self.stack.airflow.runs(dag_id)
            return [
                run["dag_run_id"]
                for run in runs
                if run["dag_run_id"] not in self.seen and run["run_type"].startswith("asset")
            ]

        (run,) = wait_until(new, f"an asset to start {dag_id}", seconds=SECONDS, every=1)
        self.seen.add(run)
        return run

    def approve(self) -> None:
        """Approve, as ana, the promotion that a candidate started, and wait for its end."""
        run = self.run_started_by_an_asset(PROMOTE)
        asked: dict[int, float] = {}
        for tasks in self.stack.airflow.watch(PROMOTE, run, seconds=SECONDS):
            task = next(one for one in tasks if one["task_id"] == "approve")
            if task["state"] not in {"awaiting_input", "deferred"}:
                continue
            since = asked.setdefault(task["try_number"], time.monotonic())
            if time.monotonic() - since >= SOMEBODY_READS_SECONDS:
                asked[task["try_number"]] = float("inf")
                self.stack.airflow.call(
                    "PATCH",
                    f"dags/{PROMOTE}/dagRuns/{run}/taskInstances/approve/-1/hitlDetails",
                    user="ana",
                    expect=(404, 409),
                    json={"chosen_options": ["Approve"], "params_input": {"reason": "figures are good"}},
                )
        assert self.stack.airflow.xcom(PROMOTE, run, "switch")["approved_by"] == "ana"

    def monitor(self, day: str) -> list[str]:
        """Measure a day; returns what was beyond its limit."""
        run = self.stack.airflow.trigger(MONITOR, conf={"day": day})
        self.stack.wait_for_run(MONITOR, run, seconds=SECONDS)
        measured = self.stack.airflow.xcom(MONITOR, run, "measure")
        return [finding["feature"] for finding in measured["findings"] if finding["breached"]]

    def champion(self) -> str | None:
        """The model in production."""
        return model_behind(self.stack.client, self.stack.project.names.champion(MODEL))

    def scored(self, day: str) -> set[str]:
        """The models that scored the events of a day; each event has a score."""
        source = self.stack.project.source("internal_audit")
        self.stack.client.indices.refresh(index=source.stream)
        label = self.stack.project.names.partition_label("internal_audit", day)
        of_day = {"term": {"labels.partition": label}}
        answer = self.stack.client.search(
            index=source.stream, size=0, track_total_hits=True, query=of_day,
            aggs={"by": {"terms": {"field": f"ml.{MODEL}.model_id"}}},
        )  # fmt: skip
        buckets = answer["aggregations"]["by"]["buckets"]
        assert sum(bucket["doc_count"] for bucket in buckets) == answer["hits"]["total"]["value"] > 0
        return {bucket["key"] for bucket in buckets}

    def history(self, *trained: dict[str, Any]) -> list[dict[str, Any]]:
        """What the registry tells of these models, oldest first."""
        found = [event for one in trained for event in self._events(one["model_id"])]
        return sorted(found, key=lambda event: event["@timestamp"])

    def _events(self, model_id: str) -> list[dict[str, Any]]:
        return list(events_of(self.stack.client, self.stack.project.names, model_id))


def _between(first: date, end: date) -> list[str]:
    return [(first + timedelta(days=number)).isoformat() for number in range((end - first).days)]
