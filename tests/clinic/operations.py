"""The clinic with a model in production that took no training: a hand-made tree behind the real pipeline and alias."""

import random
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from types import ModuleType
from typing import Any

import numpy as np
from harness.task_runner import TaskRunner

from clinic.world import CLINIC, STREAM, Clinic, ClinicApi, clinic_event, clinic_events
from elastic_ml.evaluation.model_card import Holdout, baselines
from elastic_ml.project import load_project
from elastic_ml.registry.champion_switch import score_pipeline

MODEL_ID = "misuse-20261110-abcdef01-1"
TREE = {
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


class Operations:
    """The clinic, and its operations DAGs without a scheduler."""

    def __init__(self, clinic: Clinic) -> None:
        self.clinic = clinic
        self.sandbox = clinic.sandbox
        self.client = clinic.client
        self.folder = clinic.folder
        self.names = clinic.names
        self._pipelines = self._unstamped_pipelines()
        self._indices = set(self.client.indices.get(index="*", features=["aliases"]).body)

    def as_set_up(self) -> None:
        """Take away what a test left: documents, models, jobs, pipelines and indices; mend what it broke."""
        self.sandbox.faults.clear()
        self.sandbox.clock.reset()
        self.sandbox.requests.clear()
        shutil.rmtree(self.folder)
        shutil.copytree(CLINIC, self.folder)
        ml = self.client.ml
        for feed in ml.get_datafeeds()["datafeeds"]:
            ml.delete_datafeed(datafeed_id=feed["datafeed_id"], force=True)
        for job in ml.get_jobs()["jobs"]:
            ml.delete_job(job_id=job["job_id"], force=True)
        for job in ml.get_data_frame_analytics()["data_frame_analytics"]:
            ml.delete_data_frame_analytics(id=job["id"], force=True)
        for model in ml.get_trained_models()["trained_model_configs"]:
            ml.delete_trained_model(model_id=model["model_id"], force=True)
        there = self._unstamped_pipelines()
        for name in there.keys() - self._pipelines.keys():
            self.client.ingest.delete_pipeline(id=name)
        for name in (name for name, body in self._pipelines.items() if there.get(name) != body):
            self.client.ingest.put_pipeline(id=name, body=self._pipelines[name])
        for name in set(self.client.indices.get(index="*", features=["aliases"]).body) - self._indices:
            if not name.startswith("."):
                self.client.indices.delete(index=name)
        everything = "logs-*,clinicml-*,features-*"
        self.client.indices.refresh(index=everything)
        self.client.delete_by_query(index=everything, query={"match_all": {}}, refresh=True)
        streams = {stream["name"] for stream in self.client.indices.get_data_stream(name="*")["data_streams"]}
        transforms = self.client.transform.get_transform_stats(transform_id="*")["transforms"]
        if len(streams) < 8 or [t["state"] for t in transforms] != ["started"]:
            self.clinic.set_up()

    def _unstamped_pipelines(self) -> dict[str, Any]:
        dates = ("_date", "_date_millis")
        return {
            name: {key: value for key, value in body.items() if not key.endswith(dates)}
            for name, body in self.client.ingest.get_pipeline().body.items()
        }

    def put_model(self, model_id: str, *, tags: list[str] | None = None) -> None:
        """A trained model of one tree, with a card: six records or fewer are harmless."""
        self.client.ml.put_trained_model(
            model_id=model_id,
            tags=tags or [model_id.rpartition("-")[0]],
            input={"field_names": ["event.action", "audit.records", "audit.distance", "audit.hour"]},
            inference_config={"classification": {"num_top_classes": -1}},
            definition={"trained_model": {"tree": TREE}},
        )
        now = datetime.fromtimestamp(self.sandbox.clock.now_ms() / 1000, UTC).isoformat()
        self.client.index(
            index=self.names.model_cards,
            id=model_id,
            document={
                "@timestamp": now,
                "model_name": "misuse",
                "model_id": model_id,
                "job_id": model_id.rpartition("-")[0],
                "stage": "candidate",
                "kept": {"false": 1.0, "true": 1.0},
            },
            refresh=True,
        )

    def promote(self, model_id: str, model: str = "misuse") -> None:
        """What a promotion leaves behind, by the package's own pipeline."""
        self.put_model(model_id)
        project = load_project(self.folder)
        alias = self.names.champion(model)
        kept = {model_id: {"false": 1.0, "true": 1.0}}
        body = score_pipeline(project, project.model(model), reference=alias, kept=kept)
        self.client.ml.put_trained_model_alias(model_id=model_id, model_alias=alias, reassign=True)
        self.client.ingest.put_pipeline(id=self.names.score_pipeline(model), body=project.stamp(body))

    def card(self, model_id: str = MODEL_ID, *, holdout_days: int = 5, a_day: int = 150) -> None:
        """A card whose histograms come from earlier days of the same clinic."""
        rows: list[dict[str, Any]] = []
        days: list[str] = []
        for number, (document, _) in enumerate(clinic_events(holdout_days, a_day, seed=3)):
            rows.append(document)
            days.append(f"2026-10-{1 + number // a_day:02}")
        scores = np.array([0.9 if row["audit"]["records"] > 5 else 0.1 for row in rows])
        inputs = {
            "event.action": [row["event"]["action"] for row in rows],
            "audit.records": [row["audit"]["records"] for row in rows],
            "audit.distance": [row["audit"]["distance"] for row in rows],
        }
        # A tree of one split gives two scores: these, by its own leaves.
        found = self.client.ml.infer_trained_model(
            model_id=model_id, docs=[{"audit.records": 1}, {"audit.records": 9}]
        )["inference_results"]
        low, high = (self._positive(result) for result in found)
        scores = np.where(scores > 0.5, high, low)
        holdout = Holdout(labels=scores > 0.5, days=days, challenger=scores, champion=None, inputs=inputs)
        self.client.update(
            index=self.names.model_cards,
            id=model_id,
            doc={
                "baseline": baselines(holdout),
                "metrics": {"challenger": {"review": {"precision": 0.8}}},
            },
            refresh=True,
        )

    @staticmethod
    def _positive(result: dict[str, Any]) -> float:
        return next(c["class_probability"] for c in result["top_classes"] if c["class_name"] == "true")

    def deployed(self, model_id: str, at: datetime) -> None:
        """The registry's word on a promotion."""
        self.client.create(
            index=self.names.registry,
            id=f"deployed-{model_id}",
            document={
                "@timestamp": at.isoformat(),
                "event_type": "deployed",
                "status": "success",
                "model_name": "misuse",
                "model_version": model_id,
            },
            refresh=True,
        )

    def day(self, day: date, *, a_day: int = 150, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> None:
        """Index one day of accesses, changed if asked for."""
        operations: list[dict[str, Any]] = []
        for document in steady(day, a_day):
            change(document)
            operations += [{"create": {"_id": document["event"]["id"]}}, document]
        answer = self.client.bulk(index=STREAM, operations=operations, refresh=True)
        assert not answer["errors"], answer["items"][0]

    def index(self, number: int, *, first: int = 0, at: datetime | None = None, **more: Any) -> None:
        """Index accesses as they come in, one second apart."""
        generator = random.Random(first)
        operations: list[dict[str, Any]] = []
        for offset in range(number):
            moment = (at or datetime.now(UTC)) + timedelta(seconds=offset if at else 0)
            document, _ = clinic_event(first + offset, moment, generator)
            operations += [{"create": {"_id": document["event"]["id"]}}, {**document, **more}]
        if operations:
            answer = self.client.bulk(index=STREAM, operations=operations, refresh=True)
            assert not answer["errors"], answer["items"][0]

    def runner(
        self,
        stage: ModuleType,
        dag_id: str,
        task_id: str,
        *,
        run_id: str = "manual__1",
        retries: int = 3,
        **params: Any,
    ) -> TaskRunner:
        """A task of one of the stage's DAGs, with its own params as defaults."""
        runner = TaskRunner(
            lambda: stage.build(self.folder)[dag_id].get_task(task_id),
            connections={"elasticsearch_default": self.sandbox.elasticsearch_url},
            dag_id=dag_id,
            run_id=run_id,
            conf=params,
            retries=retries,
        )
        runner.api = ClinicApi(**vars(runner.api))
        return runner

    def documents(self, stream: str, **terms: Any) -> list[dict[str, Any]]:
        """Documents of a stream, oldest first."""
        self.client.indices.refresh(index=stream)
        query = {"bool": {"filter": [{"term": {name.replace("__", "."): value}} for name, value in terms.items()]}}
        hits = self.client.search(index=stream, query=query, sort=[{"@timestamp": "asc"}], size=1000)["hits"]["hits"]
        return [hit["_source"] for hit in hits]


def steady(day: date, a_day: int = 150) -> Iterator[dict[str, Any]]:
    """The accesses of one day, always the same for that day."""
    generator = random.Random(day.toordinal())
    for number in range(a_day):
        moment = datetime.combine(day, datetime.min.time(), UTC) + timedelta(seconds=int(86_400 * number / a_day))
        yield clinic_event(day.toordinal() * 1000 + number, moment, generator)[0]


def snapshot(operations: Operations) -> dict[str, Any]:
    """Everything that the operations streams hold, by id."""
    found = {}
    for stream in operations.names.operations_streams:
        operations.client.indices.refresh(index=stream)
        for hit in operations.client.search(index=stream, size=5000)["hits"]["hits"]:
            found[stream, hit["_id"]] = hit["_source"]
    return found
