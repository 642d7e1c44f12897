"""Transforms, promotion and rollback on a cluster that answers a part of all requests with 429 or 503."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clinic.world import STREAM, Clinic, ClinicApi, open_clinic, short_waits
from harness.task_runner import Result, TaskRunner

from elastic_ml.clients import elasticsearch as client_module
from elastic_ml.operators.champion import SwitchChampionOperator
from elastic_ml.operators.rollback import RollbackOperator
from elastic_ml.operators.transform import BatchTransformOperator
from elastic_ml.registry.model_cards import model_behind
from elastic_sandbox.testing import serve

MONTH, HOURS = datetime(2026, 5, 1, 10, tzinfo=UTC), 12
OLD, NEW = "misuse-20260101-abcdef01-1", "misuse-20260201-abcdef02-1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("stumbling")) as clinic, short_waits():
        card = {"model_name": "misuse", "kept": {"false": 1.0, "true": 1.0}, "metrics": {}, "stage": "candidate"}
        for name, day in ((OLD, "2026-01-01"), (NEW, "2026-02-01")):
            clinic.another_version(name, **card, day=day, created_at=0, job_id=name.rpartition("-")[0])
        lines: list[dict[str, Any]] = []
        for number in range(HOURS):
            event = {"id": f"e{number}", "dataset": "clinic.access", "action": "view"}
            at = (MONTH + timedelta(days=number)).isoformat()
            audit = {"records": number, "distance": 1.0}
            lines += [{"create": {}}, {"@timestamp": at, "event": event, "user": {"id": "ana"}, "audit": audit}]
        answer = clinic.client.bulk(index=STREAM, operations=lines, refresh=True)
        assert not answer["errors"], answer["items"][0]
        yield clinic


@pytest.fixture
def clinic(shared: Clinic, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """Refuses a third of all requests."""
    monkeypatch.setattr(client_module, "_wait_before_retry", lambda *_: 0.0)
    shared.sandbox.requests.clear()
    refusals = [shared.sandbox.faults.add(status=status, share=0.2, times=None) for status in (429, 503)]
    yield shared
    assert all(one.hits for one in refusals), "nothing stumbled"
    shared.sandbox.faults.clear()


@contextmanager
def calm(clinic: Clinic) -> Iterator[None]:
    """Without refusals, for what the test itself asks."""
    refusals = list(clinic.sandbox.faults.requests)
    clinic.sandbox.faults.requests.clear()
    yield
    clinic.sandbox.faults.requests.extend(refusals)


def run(clinic: Clinic, operator: type[Any], run_id: str = "manual__1", *, rollbacks: int = 0, **arguments: Any) -> Any:
    gated = {
        "model_id": NEW, "job_id": "misuse-20260201-abcdef02", "champion": OLD, "figures": {}, "day": "2026-02-01",
        "created_at": 0, "rollbacks": rollbacks,
    }  # fmt: skip
    runner = TaskRunner(
        lambda: operator(task_id="task", project_folder=str(clinic.folder), **arguments),
        connections={"elasticsearch_default": clinic.sandbox.elasticsearch_url},
        xcoms={("gate", "return_value"): gated, ("approve", "decision"): {"option": "Approve", "user": "ana"}},
        run_id=run_id,
    )
    runner.api = ClinicApi(**vars(runner.api))
    result: Result = runner.complete()
    assert result.state == "success", result.error
    return result.value


def rollbacks_of(clinic: Clinic) -> int:
    ledger, lock = clinic.names.ledger, clinic.names.lock_id("model|misuse")
    found = clinic.client.options(ignore_status=404).get(index=ledger, id=lock).body
    return int((found.get("_source") or {}).get("rollbacks", 0))


def written(clinic: Clinic, part: str) -> list[str]:
    """Writes that the cluster carried out."""
    done = [one for one in clinic.sandbox.requests if one.status < 300 and one.method in {"PUT", "DELETE"}]
    return [f"{one.method} {one.path}" for one in done if part in one.path]


def test_a_month_under_bursts_is_written_once_and_written_again_the_same(clinic: Clinic) -> None:
    arguments = {"month": "2026.05", "poll_interval": 0.05}
    first = run(clinic, BatchTransformOperator, **arguments)
    assert first["user_hours"] == HOURS
    name = first["transform"]
    assert written(clinic, name) == [f"PUT /_transform/{name}", f"DELETE /_transform/{name}"]

    def documents() -> dict[str, Any]:
        with calm(clinic):
            clinic.client.indices.refresh(index=first["index"])
            hits = clinic.client.search(index=first["index"], size=100)["hits"]["hits"]
        # When it was written is all that differs.
        return {hit["_id"]: {**hit["_source"], "event": None} for hit in hits}

    before = documents()
    run(clinic, BatchTransformOperator, run_id="manual__2", **arguments)
    assert documents() == before


def test_a_promotion_and_a_rollback_under_bursts_change_each_thing_once(clinic: Clinic) -> None:
    names, client = clinic.names, clinic.client
    with calm(clinic):
        client.ml.put_trained_model_alias(model_id=OLD, model_alias=names.champion("misuse"), reassign=True)
        before = rollbacks_of(clinic)
    clinic.sandbox.requests.clear()
    run_id = f"manual__{time.monotonic_ns()}"

    promoted = run(clinic, SwitchChampionOperator, model="misuse", run_id=run_id, rollbacks=before)
    assert (promoted["model_id"], promoted["previous"]) == (NEW, OLD)
    assert sorted(written(clinic, "model_aliases")) == [
        f"PUT /_ml/trained_models/{OLD}/model_aliases/{names.previous('misuse')}",
        f"PUT /_ml/trained_models/{NEW}/model_aliases/{names.champion('misuse')}",
    ]
    assert written(clinic, "_ingest") == [f"PUT /_ingest/pipeline/{names.score_pipeline('misuse')}"]

    clinic.sandbox.requests.clear()
    back = run(clinic, RollbackOperator, model="misuse", run_id=run_id)
    assert (back["model_id"], back["previous_version"]) == (OLD, NEW)
    assert len(written(clinic, "model_aliases")) == len(set(written(clinic, "model_aliases")))
    with calm(clinic):
        assert model_behind(client, names.champion("misuse")) == OLD
        client.indices.refresh(index=names.registry)
        query = {"term": {"event_type": "rolled_back"}}
        assert client.count(index=names.registry, query=query)["count"] == before + 1


def test_elasticsearch_127022_an_event_without_its_inputs_is_scored_alike_each_time_and_never_fails(
    shared: Clinic,
) -> None:
    """Elsewhere the same document failed on one cluster, "Input field does not exist", and passed on another."""
    client, names = shared.client, shared.names
    client.ml.put_trained_model_alias(model_id=OLD, model_alias=names.champion("misuse"), reassign=True)
    run(shared, SwitchChampionOperator, model="misuse", run_id="manual__inputs", rollbacks=rollbacks_of(shared))
    scored = []
    for number in range(3):
        event = {"id": f"without-{number}", "dataset": "clinic.access", "action": "view"}
        bare = {"@timestamp": MONTH.isoformat(), "event": event, "user": {"id": "ana"}}
        answer = client.create(index=STREAM, id=event["id"], document=bare, refresh=True)
        assert answer["_index"].startswith(".ds-"), "it is in the failure store"
        [hit] = client.search(index=STREAM, query={"ids": {"values": [event["id"]]}})["hits"]["hits"]
        scored.append(hit["_source"]["ml"]["misuse"])
    assert scored[0] == scored[1] == scored[2]
    assert scored[0]["model_id"] == NEW
    assert "error" not in scored[0]
