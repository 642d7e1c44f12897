"""Promotions and rollbacks while events come in: each event is scored by one of two models, with its own correction.

Some of the tasks that change the model die in the middle and are tried again. `CHAOS_CHANGES=10 make chaos` makes it a
short one.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from clinic.lifecycle import OLD, InProduction
from clinic.world import STREAM, Clinic, clinic_event, open_clinic, short_waits
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.clients.documents import scan
from elastic_sandbox.testing import serve

CHANGES = int(os.environ.get("CHAOS_CHANGES", "50"))
NEW = "misuse-20261101-abcdef02-1"
KEPT = {OLD: {"true": 1.0, "false": 0.5}, NEW: {"true": 1.0, "false": 0.2}}
"""Shares kept in training: each model's probabilities want another correction."""
BULK = 40
START = datetime(2026, 11, 17, tzinfo=UTC)


def card(model_id: str) -> dict[str, Any]:
    """Everything that gate and switch ask of a card."""
    figure = {"value": 0.9, "low": 0.85, "high": 0.95}
    return {
        "model_name": "misuse",
        "model_id": model_id,
        "job_id": model_id.rpartition("-")[0],
        "stage": "candidate",
        "kind": "classification",
        "day": "2026-11-16",
        "created_at": 1,
        "features": [],
        "importance": [],
        "kept": KEPT[model_id],
        "positive_class": "true",
        "windows": {},
        "figures": {"auc_roc": 0.9, "average_precision": 0.9},
        "metrics": {"challenger": {"auc_roc": figure, "average_precision": figure}, "difference": {}},
        "baseline": {},
        "limits": [],
        "markdown": "",
        "champion": None,
        "compared": None,
        "triggered": {"by": None, "started_by": None},
    }


@dataclass
class Load:
    """Indexes accesses without a pause, past the client that the dying tasks use."""

    url: str
    sent: int = 0
    refused: list[Any] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send one bulk request after the other until told to stop."""
        generator = random.Random(3)
        with httpx.Client(timeout=60) as client:
            while not self.stop.is_set():
                lines: list[str] = []
                for number in range(self.sent, self.sent + BULK):
                    document, _ = clinic_event(5_000_000 + number, START + timedelta(seconds=number), generator)
                    lines += [json.dumps({"create": {"_id": document["event"]["id"]}}), json.dumps(document)]
                answer = client.post(
                    f"{self.url}/{STREAM}/_bulk",
                    content="\n".join([*lines, ""]),
                    headers={"Content-Type": "application/x-ndjson"},
                )
                self.refused += [
                    item["create"]
                    for item in answer.json()["items"]
                    if item["create"]["status"] != 201 or item["create"].get("failure_store") == "used"
                ]
                self.sent += BULK


@contextmanager
def loaded(clinic: Clinic) -> Iterator[Load]:
    """Index as long as the block lasts."""
    load = Load(clinic.sandbox.elasticsearch_url)
    thread = threading.Thread(target=load.run)
    thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


@pytest.fixture
def production(tmp_path: Path) -> Iterator[InProduction]:
    """A clinic with two models made by hand, the older one in production."""
    with serve() as sandbox, open_clinic(sandbox, tmp_path) as clinic, short_waits():
        clinic.fill(days=1)
        clinic.card = card(OLD)
        production = InProduction(clinic)
        clinic.card = card(NEW)
        clinic.another_version(NEW)
        clinic.xcoms["evaluate", "return_value"] = {"model_id": NEW}
        production.put(OLD)
        yield production


@pytest.mark.timeout(900)
def test_every_event_is_scored_by_one_of_two_models_with_its_own_correction(
    production: InProduction, show: Callable[..., None]
):
    chance = random.Random(11)
    crashes = Counter[str]()
    clinic = production.clinic
    with loaded(clinic) as load:
        for change in range(CHANGES):
            dies_after = chance.randrange(1, 24) if change % 3 == 0 else None
            if change % 2 == 0:
                run = production.waiting(NEW)
                runner = clinic.runner("promote_misuse", "switch", run_id=run)
                wanted = NEW
            else:
                runner, wanted = production.rollback(run=f"rollback__{change}"), OLD
            _finish(runner, dies_after, crashes, "rollback" if change % 2 else "switch")
            assert clinic.champion() == wanted

    assert load.refused == [], load.refused[:3]
    clinic.client.indices.refresh(index=STREAM)
    of_the_load = {"range": {"@timestamp": {"gte": START.isoformat()}}}
    scored = Counter[str]()
    for hit in scan(clinic.client, STREAM, of_the_load, True):
        result = hit["_source"]["ml"]["misuse"]
        assert "error" not in result, hit
        model_id = result["model_id"]
        raw = result["prediction_probability"]
        raw = raw if result["prediction"] == "true" else 1 - raw
        positive, negative = raw / KEPT[model_id]["true"], (1 - raw) / KEPT[model_id]["false"]
        assert result["score"] == pytest.approx(positive / (positive + negative), rel=1e-9), hit
        scored[model_id] += 1
    assert sum(scored.values()) == load.sent, "an event is missing"
    assert min(scored[OLD], scored[NEW]) > load.sent / 20, "one model hardly scored at all"
    show(
        f"{CHANGES} promotions and rollbacks under load",
        {
            "events": {"sent": load.sent, "refused": len(load.refused), "not scored": 0},
            "scored by": {"older model": scored[OLD], "newer model": scored[NEW]},
            "died and tried again": dict(crashes),
        },
    )


def _finish(runner: TaskRunner, dies_after: int | None, crashes: Counter[str], what: str) -> None:
    """Run a task to its success; with `dies_after`, it is killed after so many answers first."""
    if dies_after is not None:
        with crash_after(dies_after):
            crashed = runner.run()
        if crashed.state == "success":
            return
        assert crashed.state == "killed", crashed.error
        crashes[what] += 1
    result = runner.run()
    assert result.state == "success", result.error
