"""The clinic's whole life on a sandbox, by the tasks of its DAGs: what a cluster gets to see of the product."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from clinic.world import DAYS, FIRST, Clinic, Result, TaskRunner, clinic_events, open_clinic, short_waits

from elastic_sandbox.testing import Sandbox

SOURCES = {
    "access": {
        "stream": "logs-clinic.access-eu",
        "fields": {
            "@timestamp": "time",
            "event.id": "id",
            "event.action": "action",
            "event.outcome": "outcome",
            "event.timezone": "zone",
            "user.id": "user",
            "source.ip": "ip",
            "audit.records": "records",
            "audit.distance": "distance",
            "audit.minutes": "minutes",
        },
    },
    "verdicts": {"stream": "logs-clinic.verdicts-eu", "kind": "labels"},
}


FIRST_DELIVERY = FIRST + timedelta(days=10)
DELIVERIES = [f"{FIRST_DELIVERY + timedelta(days=day):%Y-%m-%d}" for day in range(DAYS - 10)]


def deliver(folder: Path) -> None:
    """Write the clinic's fourteen days as files of four deliveries: the first one brings ten days at once.

    The last one has a repeated, an unreadable and an unfit record.
    """
    for name, source in SOURCES.items():
        reader = {"kind": "files", "path": f"{folder}/{name}-{{day}}.ndjson"}
        body = {
            "start_date": FIRST_DELIVERY.date(),
            "partition": "day",
            "adapter": "ndjson",
            "reader": reader,
            **source,
        }
        (folder / "sources" / f"{name}.yml").write_text(yaml.safe_dump(body))
    files: dict[str, list[str]] = {}
    for document, misuse in clinic_events():
        day = max(document["@timestamp"][:10], DELIVERIES[0])
        event, audit = document["event"], document["audit"]
        record = {"time": document["@timestamp"], "zone": event["timezone"], "user": document["user"]["id"]}
        record |= {"ip": "192.0.2.7", "id": event["id"], "action": event["action"], "outcome": event["outcome"]}
        record |= {name: audit[name] for name in ("records", "distance", "minutes")}
        files.setdefault(f"access-{day}", []).append(json.dumps(record))
        files.setdefault(f"verdicts-{day}", [])
        if misuse:
            verdict = {"decision_id": f"d-{event['id']}", "event_id": event["id"], "verdict": "confirmed"}
            verdict |= {
                "decided_at": f"{document['@timestamp'][:10]}T23:00:00Z",
                "decided_by": "ana",
                "reason": "asked",
            }
            files[f"verdicts-{day}"].append(json.dumps(verdict))
    *_, last = (name for name in files if name.startswith("access"))
    unfit = {**json.loads(files[last][0]), "id": "access-unfit", "ip": "not an address"}
    files[last] += [files[last][0], "{broken", json.dumps(unfit)]
    for name, lines in files.items():
        (folder / f"{name}.ndjson").write_text("".join(f"{line}\n" for line in lines))


class Lifecycle:
    """Each method runs tasks of one DAG, as its scheduler would."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic

    def task(self, stage: str, dag: str, task_id: str, **conf: Any) -> Result:
        """A task of a DAG that Clinic has no runner for."""
        from elastic_ml.stages import audit_ingest, elastic_setup

        module = {"setup": elastic_setup, "ingest": audit_ingest}[stage]
        result = TaskRunner(
            lambda: module.build(self.clinic.folder)[dag].get_task(task_id),
            connections={"elasticsearch_default": self.clinic.sandbox.elasticsearch_url},
            params={"mode": "plan", "overwrite_edited": False, "day": None},
            dag_id=dag,
            conf=conf,
        ).complete()
        assert result.state == "success", (task_id, conf, result.error)
        return result

    def set_up(self, mode: str) -> None:
        self.task("setup", "elastic_setup", "setup", mode=mode)

    def ingest(self, day: str) -> dict[str, Any]:
        return dict(self.task("ingest", "audit_ingest", "ingest", day=day).value)

    def train(self, model: str, **conf: Any) -> None:
        for task_id in ("wait_for_data", "readiness", "training_set", "train", "evaluate", "candidate"):
            result = self.clinic.run(f"train_{model}", task_id, **conf)
            assert result.state == "success", (task_id, result.error)

    def promote(self, answer: str) -> None:
        assert self.clinic.gate().state == "success"
        assert self.clinic.answer(answer).state == "success"
        for task_id in ("switch", "record") if answer == "Approve" else ("record",):
            result = self.clinic.run("promote_misuse", task_id)
            assert result.state == "success", (task_id, result.error)

    def task_of(self, dag: str, task_id: str, **conf: Any) -> dict[str, Any]:
        """A task of one of the DAGs that decide which model scores."""
        result = self.clinic.run(dag, task_id, user="cid", run_id=f"{dag}__{conf}", **conf)
        assert result.state == "success", (dag, task_id, result.error)
        return dict(result.value)

    def decide_again(self) -> None:
        """Judge an event, score the past, and take the model out of scoring and back into it."""
        self.task_of("record_verdict", "record", event_id="access-000004", verdict="suspicious", reason="asked")
        self.task_of("rescore", "rescore", model="misuse", window="1d", until="2026-11-15", documents_per_second=-1)
        champion = self.clinic.champion()
        self.task_of("rollback_misuse", "rollback", to="none", reason="flooded")
        self.task_of("rollback_misuse", "rollback", to=champion, reason="it was the data")

    def exchange(self) -> None:
        """Carry the model out and, once it is forgotten here, in again."""
        clinic, model_id = self.clinic, self.clinic.model_id
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER", f"file://{clinic.folder}/exchange/")
            exported = self.task_of("export_model", "export", model="misuse", model_id=model_id)
            clinic.client.ml.delete_trained_model(model_id=model_id, force=True)
            clinic.client.delete(index=clinic.names.model_cards, id=model_id, refresh=True)
            for task_id in ("import", "evaluate"):
                self.task_of("import_model", task_id, file=exported["file"], day="2026-11-16", holdout_window="2d")


def live(sandbox: Sandbox, directory: Path) -> None:
    """Set up, ingest, train, promote, score; then once more, with a champion to compare with."""
    with short_waits(), open_clinic(sandbox, directory) as clinic:
        deliver(clinic.folder)
        life = Lifecycle(clinic)
        for mode in ("plan", "apply", "verify"):
            life.set_up(mode)
        *before, last = DELIVERIES
        for day in before:
            life.ingest(day)
        life.train("misuse", day="2026-11-15")
        life.promote("Approve")
        figures = life.ingest(last)["access"]
        assert (figures["indexed"], figures["duplicate"], figures["rejected"]) == (150, 1, 2)
        assert life.ingest(last)["access"]["duplicate"] == 151
        life.train("misuse", run_id="manual__2")
        life.promote("Reject")
        life.decide_again()
        life.exchange()
        life.train("stay", day="2026-11-15")
        life.set_up("verify")
