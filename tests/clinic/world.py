"""A clinic's access log with a learnable kind of misuse, its verdicts, and the tasks of its DAGs by name."""

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.task_runner import ExecutionApi, Result, TaskRunner

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_ml.registry.events import events_of
from elastic_ml.registry.model_cards import model_behind
from elastic_sandbox.testing import Sandbox

CLINIC = Path(__file__).parent / "project"
STREAM = "logs-clinic.access-eu"
DAY = date(2026, 11, 16)
FIRST = datetime(2026, 11, 2, tzinfo=UTC)
DAYS = 14
EVENTS_A_DAY = 150
STAGES = {
    "train": "train", "promote": "promote", "rollback": "rollback", "rescore": "rescore", "export": "exchange",
    "import": "exchange", "record": "record_verdict",
}  # fmt: skip
"""Module of `elastic_ml.stages` by the first word of a DAG's id."""


def clinic_event(number: int, moment: datetime, generator: random.Random) -> tuple[dict[str, Any], bool]:
    """One access and whether it is misuse: far-away patients, many records, exports; with noise on top."""
    action = generator.choice(["view", "view", "view", "edit", "print", "export"])
    records = generator.randint(1, 12)
    distance = round(generator.expovariate(0.2), 2)
    odds = -6.5 + 0.28 * records + 0.16 * distance + (2.4 if action == "export" else 0)
    misuse = generator.random() < 1 / (1 + 2.718281828**-odds)
    document = {
        "@timestamp": moment.isoformat(),
        "event": {
            "id": f"access-{number:06d}",
            "dataset": "clinic.access",
            "action": action,
            "outcome": "success",
            "timezone": "Europe/Berlin",
        },
        "user": {"id": f"nurse{number % 17}"},
        "audit": {"records": records, "distance": distance, "minutes": round(2 * records + 0.5 * distance, 2)},
    }
    if misuse:
        document["audit"]["case"] = "opened"  # written weeks later in any real clinic: it gives the answer away
    return document, misuse


def clinic_events(days: int = DAYS, a_day: int = EVENTS_A_DAY, seed: int = 5) -> Iterator[tuple[dict[str, Any], bool]]:
    generator = random.Random(seed)
    for day in range(days):
        for number in range(a_day):
            moment = FIRST + timedelta(days=day, seconds=int(86_400 * number / a_day))
            yield clinic_event(day * a_day + number, moment, generator)


@dataclass
class Clinic:
    """The project on a sandbox, and runs of its DAGs without a scheduler."""

    sandbox: Sandbox
    folder: Path
    client: Any
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)
    card: dict[str, Any] = field(default_factory=dict)
    learned: dict[tuple[str, str], Any] = field(default_factory=dict)
    registered: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def model_id(self) -> str:
        return str(self.xcoms["evaluate", "return_value"]["model_id"])

    @property
    def names(self) -> Any:
        return load_project(self.folder).names

    def set_up(self) -> None:
        run_setup(self.client, load_project(self.folder), server_facts(self.client), mode="apply")

    def fill(self, *, days: int = DAYS) -> int:
        """Index the log and its verdicts; returns how many accesses are misuse."""
        operations: list[dict[str, Any]] = []
        verdicts: list[dict[str, Any]] = []
        for document, misuse in clinic_events(days):
            operations += [{"create": {"_id": document["event"]["id"]}}, document]
            if misuse:
                self.verdict(document["event"]["id"], document, verdicts)
        answer = self.client.bulk(index=STREAM, operations=operations, refresh=True)
        assert not answer["errors"], [item for item in answer["items"] if "error" in item["create"]][:2]
        self.client.bulk(index=self.names.labels, operations=verdicts, refresh=True)
        return len(verdicts) // 2

    @staticmethod
    def verdict(event_id: str, document: dict[str, Any], operations: list[dict[str, Any]]) -> None:
        decided = datetime.fromisoformat(document["@timestamp"]) + timedelta(hours=20)
        operations += [
            {"index": {"_id": event_id}},
            {
                "event": {"id": event_id},
                "user_hour": f"{document['user']['id']}|{document['@timestamp'][:13]}",
                "verdict": "confirmed",
                "rank": 2,
                "decided_at": decided.isoformat(),
            },
        ]

    def ledger(self, source: str, partition: date, state: str) -> None:
        """Write what an ingest run would leave."""
        self.client.index(
            index=self.names.ledger,
            id=self.names.partition_id(source, partition.isoformat()),
            document={"kind": "partition", "source": source, "partition": partition.isoformat(), "state": state},
            refresh=True,
        )

    def ingested(self) -> None:
        for source in ("access", "verdicts"):
            for day in range(DAYS):
                self.ledger(source, (FIRST + timedelta(days=day)).date(), "done")

    def runner(
        self, dag: str, task_id: str, *, run_id: str = "manual__1", user: str | None = "bo", **params: Any
    ) -> TaskRunner:
        """A task of one of the project's DAGs, with the XComs of the tasks before it."""
        stage = STAGES[dag.partition("_")[0]]

        def make() -> Any:
            return import_module(f"elastic_ml.stages.{stage}").build(self.folder)[dag].get_task(task_id)

        runner = TaskRunner(
            make,
            connections={"elasticsearch_default": self.sandbox.elasticsearch_url},
            xcoms=self.xcoms,
            dag_id=dag,
            run_id=run_id,
            conf={"day": DAY.isoformat(), **params} if dag.startswith("train") else params,
            triggering_user_name=user,
            retries=3,
        )
        runner.api = ClinicApi(**vars(runner.api))
        return runner

    def run(self, dag: str, task_id: str, **more: Any) -> Result:
        """Run one task through its deferrals and keep its XComs for the next ones."""
        result = self.runner(dag, task_id, **more).complete()
        self.keep(task_id, result)
        return result

    def keep(self, task_id: str, result: Result) -> None:
        for key, value in result.xcoms.items():
            self.xcoms[task_id, key] = value

    def as_trained(self) -> None:
        """Forget every decision and promotion."""
        self.sandbox.faults.clear()
        self.sandbox.requests.clear()
        shutil.rmtree(self.folder)
        shutil.copytree(CLINIC, self.folder)
        self.xcoms = dict(self.learned)
        for pipeline in self.client.ingest.get_pipeline():
            if pipeline == self.names.score_pipeline("misuse"):
                self.client.ingest.delete_pipeline(id=pipeline)
        for alias in (self.names.champion("misuse"), self.names.previous("misuse")):
            if model := model_behind(self.client, alias):
                self.client.ml.delete_trained_model_alias(model_id=model, model_alias=alias)
        self.client.indices.delete_data_stream(name=self.names.registry)
        self.client.indices.create_data_stream(name=self.names.registry)
        self.client.index(index=self.names.model_cards, id=self.model_id, document=self.card, refresh=True)
        self.client.delete_by_query(index=self.names.ledger, query={"term": {"kind": "partition"}}, refresh=True)
        for config in self.client.ml.get_trained_models()["trained_model_configs"]:
            if config["model_id"] != self.model_id:
                self.client.ml.delete_trained_model(model_id=config["model_id"], force=True)
        for hit in self.client.search(index=self.names.model_cards, size=100)["hits"]["hits"]:
            if hit["_id"] != self.model_id:
                self.client.delete(index=self.names.model_cards, id=hit["_id"], refresh=True)

    def answer(self, option: str = "Approve", *, user: str | None = "ana", reason: str = "looks right") -> Result:
        """Ask for approval and answer; None as user is the timeout's default."""
        runner = self.runner("promote_misuse", "approve")
        asked = runner.run()
        assert asked.state == "awaiting_input", (asked.state, asked.error)
        event = {
            "chosen_options": [option],
            "params_input": {"reason": reason} if user else {},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": user, "name": user} if user else None,
            "timedout": user is None,
        }
        result = runner._leg(("execute_complete", {"event": event}))
        self.keep("approve", result)
        return result

    def gate(self, model_id: str | None = None) -> Result:
        return self.run("promote_misuse", "gate", model_id=model_id or self.model_id)

    def champion(self) -> str | None:
        return model_behind(self.client, self.names.champion("misuse"))

    def events(self, model_id: str | None = None) -> list[tuple[str, str, str | None]]:
        """(event type, status, user) of the registry, oldest first."""
        found = events_of(self.client, self.names, model_id or self.model_id)
        return [(e["event_type"], e["status"], (e.get("user") or {}).get("name")) for e in found]

    def another_version(self, name: str = "misuse-20260101-abcdef01-1", **card: Any) -> str:
        """A second trained model, small and made by hand, with a card."""
        self.client.ml.put_trained_model(
            model_id=name,
            input={"field_names": ["event.action", "audit.records", "audit.distance", "audit.hour"]},
            inference_config={"classification": {"num_top_classes": -1}},
            definition={
                "trained_model": {
                    "tree": {
                        "feature_names": ["audit.records"],
                        "classification_labels": ["false", "true"],
                        "target_type": "classification",
                        "tree_structure": [
                            {
                                "node_index": 0,
                                "split_feature": 0,
                                "split_gain": 1.0,
                                "threshold": 6.0,
                                "decision_type": "lte",
                                "default_left": True,
                                "left_child": 1,
                                "right_child": 2,
                                "number_samples": 100,
                            },
                            {"node_index": 1, "leaf_value": 0.0, "number_samples": 50},
                            {"node_index": 2, "leaf_value": 1.0, "number_samples": 50},
                        ],
                    }
                }
            },
        )
        self.client.index(
            index=self.names.model_cards, id=name, document={**self.card, "model_id": name, **card}, refresh=True
        )
        return name

    def train(self, model: str = "misuse", **more: Any) -> dict[str, Any]:
        """Run readiness to evaluate; returns what evaluate returned."""
        for task_id in ("readiness", "training_set", "train", "evaluate"):
            result = self.run(f"train_{model}", task_id, **more)
            assert result.state == "success", (task_id, result.error)
        return dict(self.xcoms["evaluate", "return_value"])


class ClinicApi(ExecutionApi):
    """Also answers what a request for a person's decision and `xcom_pull(task_ids=...)` ask for."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.strip("/").split("/")
        if parts[0] == "hitlDetails":
            self.asked = json.loads(request.content)
            return httpx.Response(201, json=self.asked)
        if parts[0] == "xcoms" and parts[-1] == "slice":
            found = (parts[-3], parts[-2])
            return httpx.Response(200, json=[self.xcoms[found]] if found in self.xcoms else [])
        return super().__call__(request)


@contextlib.contextmanager
def open_clinic(sandbox: Sandbox, directory: Path) -> Iterator[Clinic]:
    folder = Path(shutil.copytree(CLINIC, directory / "clinic"))
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        clinic = Clinic(sandbox, folder, client)
        clinic.set_up()
        yield clinic


@contextlib.contextmanager
def short_waits() -> Iterator[None]:
    """Look at remote jobs often and wait for them in the worker, as long as the block lasts."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__ELASTIC_ML__POLL_INTERVAL", "0.1")
        environment.setenv("AIRFLOW__ELASTIC_ML__DEFER_AFTER", "5")
        yield
