"""The models that the use case ships, trained on what its sources deliver by the tasks of their own DAGs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import yaml
from clinic.world import ClinicApi, short_waits
from harness.task_runner import Result, TaskRunner

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.ingest.labels import LatestVerdicts
from elastic_ml.project import Project, load_project
from elastic_ml.project.features import run_month
from elastic_ml.project.setup import run_setup
from elastic_ml.registry.events import events_of
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import read
from elastic_ml.sources.records import Rejected
from elastic_ml.stages import promote, train
from elastic_sandbox.testing import Sandbox, serve

pytestmark = pytest.mark.long
INCLUDE = Path(__file__).parents[3] / "include"
LAST = date(2026, 10, 30)
TRAIN_DAYS, HOLDOUT_DAYS, DELAY = 9, 3, 2
DAYS = TRAIN_DAYS + HOLDOUT_DAYS + DELAY
WINDOWS = {
    "day": f"{LAST}",
    "label_delay": f"{DELAY}d",
    "train_window": f"{TRAIN_DAYS}d",
    "holdout_window": f"{HOLDOUT_DAYS}d",
}
TRAIN = ("readiness", "training_set", "train", "evaluate")


@dataclass
class Lender:
    """LendPath on a cluster, and runs of its DAGs without a scheduler."""

    sandbox: Sandbox
    folder: Path
    client: Any
    xcoms: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return load_project(self.folder)

    def run(self, stage: Any, dag_id: str, task_id: str, **conf: Any) -> Result:
        runner = TaskRunner(
            lambda: stage.build(self.folder)[dag_id].get_task(task_id),
            connections={"elasticsearch_default": self.sandbox.elasticsearch_url},
            xcoms=self.xcoms,
            dag_id=dag_id,
            conf=conf,
        )
        runner.api = ClinicApi(**vars(runner.api))
        result = runner.complete()
        assert result.state == "success", f"{dag_id}.{task_id} is {result.state}: {result.error}"
        self.xcoms.update({(task_id, key): value for key, value in result.xcoms.items()})
        return result

    def fill(self) -> None:
        """Index what the sources deliver, without the ledger of an ingest run, and a third of the verdicts milder.

        Reviewers who hesitate are rare in LendPath: in two weeks they give the class `suspicious` too few rows.
        """
        project, labels = self.project, {}
        for name in project.sources():
            source = project.source(name)
            people = NameTable.read(name, self.folder / source.names) if source.names else None
            lines: list[Any] = []
            for back in range(DAYS, 0, -1):
                partition = Partition.parse(f"{LAST - timedelta(days=back)}")
                for document in adapt(source, read(source, partition), people):
                    assert not isinstance(document, Rejected)
                    lines += [{"create": {"_id": document["event"]["id"]}}, document]
                    if source.kind == "labels":
                        labels[document["verdict"]["event_id"]] = document["verdict"]
            for start in range(0, len(lines), 10_000):
                self.client.bulk(index=source.stream, operations=lines[start : start + 10_000], refresh=False)
        writer = LatestVerdicts(self.client, project.names.labels, [])
        writer.write([milder(verdict) for verdict in labels.values()])
        self.client.indices.refresh(index="logs-*")

    def user_hours(self) -> None:
        """Write the user-hours of all that is there, as the transform does after a month was sealed."""
        assert run_month(self.client, self.project, f"{LAST:%Y.%m}", poll_seconds=0.05)
        self.client.indices.refresh(index=self.project.names.features)

    def train(self, model: str) -> dict[str, Any]:
        """Train a supervised model; returns its card."""
        for task_id in TRAIN:
            self.run(train, f"train_{model}", task_id, **WINDOWS)
        model_id = self.xcoms["evaluate", "return_value"]["model_id"]
        card: dict[str, Any] = self.client.get(index=self.project.names.model_cards, id=model_id)["_source"]
        return card

    def promote(self, model: str, card: dict[str, Any]) -> None:
        for task_id in ("gate", "approve", "switch"):
            self.run(promote, f"promote_{model}", task_id, model_id=card["model_id"])


def milder(verdict: dict[str, Any]) -> dict[str, Any]:
    if verdict["decision"] != "confirmed" or crc32(verdict["event_time"][:13].encode()) % 3:
        return verdict
    return verdict | {"decision": "suspicious"}


@contextmanager
def _open(folder: Path) -> Iterator[Lender]:
    shutil.copytree(INCLUDE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (folder / "sources").glob("*.yml"):
        source = yaml.safe_load(path.read_text())
        source["reader"]["options"] |= {"events_per_day": 1200, "prevalence": 0.05}
        path.write_text(yaml.safe_dump(source))
    for path in (folder / "models").glob("*.yml"):
        model = yaml.safe_load(path.read_text())
        if "approval" in model:
            model["approval"] = {"mode": "auto"}
        path.write_text(yaml.safe_dump(model))
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, load_project(folder), server_facts(client), mode="apply").raise_for_state()
        yield Lender(sandbox, folder, client)


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    """Two weeks of LendPath with their verdicts and user-hours."""
    with (
        pytest.MonkeyPatch.context() as environment,
        short_waits(),
        _open(tmp_path_factory.mktemp("lender") / "include") as lender,
    ):
        environment.setenv("AIRFLOW__ELASTIC_ML__ALLOW_AUTO_APPROVAL", "True")
        lender.fill()
        lender.user_hours()
        yield lender


def test_the_regression_tells_how_long_a_session_should_have_lasted(lender: Lender) -> None:
    card = lender.train("session_duration")
    assert card["figures"]["r_squared"] > 0.5
    assert card["importance"][0]["feature"] == "audit.session_event"
    lender.promote("session_duration", card)
    stream = lender.project.source("internal_audit").stream
    for name, session in (("signed-out", {"id": "s-1", "duration": 9_000.0}), ("still-in", {"id": "s-1"})):
        document = {
            "@timestamp": f"{LAST}T15:00:00Z",
            "event": {"id": name, "action": "sign_out", "dataset": "lendpath.audit", "timezone": "America/Chicago"},
            "audit": {"session_event": 3, "gap_seconds": 30.0, "role": "closer", "mfa": "push", "vpn": False},
            "session": session,
        }
        lender.client.index(index=stream, id=name, document=document, op_type="create", refresh=True)
    hits = lender.client.search(index=stream, query={"ids": {"values": ["signed-out", "still-in"]}}, sort="_doc")
    scored = {hit["_id"]: hit["_source"].get("ml", {}).get("session_duration") for hit in hits["hits"]["hits"]}
    assert scored["still-in"] is None
    assert scored["signed-out"]["model_id"] == card["model_id"]
    assert 0 < scored["signed-out"]["score"] < 3_000, "three events take minutes, not hours"


def test_the_user_hour_model_learns_three_verdicts_and_scores_hours_as_they_are_written(lender: Lender) -> None:
    card = lender.train("privileged_access")
    assert set(card["classes"]) == {"none", "suspicious", "confirmed"}
    assert card["positive_class"] == "confirmed"
    gate = lender.project.model("privileged_access").gate
    assert gate is not None
    assert all(card["figures"][name] >= limit for name, limit in gate.limits().items()), card["figures"]
    lender.promote("privileged_access", card)
    lender.user_hours()
    features = lender.project.names.features
    hits = lender.client.search(
        index=features, size=20, sort=[{"ml.privileged_access.score": "desc"}], query={"match_all": {}}
    )["hits"]["hits"]
    best = [hit["_source"]["ml"]["privileged_access"] for hit in hits]
    assert {found["model_id"] for found in best} == {card["model_id"]}
    assert all(0.3 < found["score"] <= 1 and found["reason"] for found in best)
    everything = lender.client.count(index=features)["count"]
    scored = lender.client.count(index=features, query={"exists": {"field": "ml.privileged_access.score"}})["count"]
    assert scored == everything


def test_outliers_are_published_by_an_alias_that_never_goes_back(lender: Lender) -> None:
    def run(day: date) -> dict[str, Any]:
        for task_id in ("readiness", "training_set", "train", "publish"):
            result = lender.run(train, "train_user_outliers", task_id, day=f"{day}")
        value: dict[str, Any] = result.value
        return value

    alias = lender.project.names.results_alias("user_outliers")
    first = run(LAST - timedelta(days=1))
    second = run(LAST)
    assert second["published"]
    assert second["previous"] == first["index"]
    assert list(lender.client.indices.get_alias(name=alias)) == [second["index"]]
    assert 0 < second["outliers"] < 0.15 * second["rows"]
    top = second["top"][0]
    assert top["user"]
    assert top["@timestamp"]
    assert len(top["reasons"]) == 3
    best = lender.client.search(index=alias, size=1, sort=[{"ml.outlier_score": "desc"}])["hits"]["hits"][0]
    assert best["_source"]["ml"]["outlier_score"] == pytest.approx(top["score"], abs=1e-3)

    lender.sandbox.requests.clear()
    again, older = run(LAST), run(LAST - timedelta(days=1))
    assert again == {**second, "previous": None}
    assert not older["published"]
    assert list(lender.client.indices.get_alias(name=alias)) == [second["index"]]
    sent = {request.path for request in lender.sandbox.requests if request.method in {"PUT", "POST"}}
    assert not [path for path in sent if "_reindex" in path or "_start" in path or "_aliases" in path], sent
    told = events_of(lender.client, lender.project.names, second["job_id"])
    assert [(event["event_type"], event["previous_version"]) for event in told] == [("deployed", first["index"])]
