"""The wait that several sensors share: what is stored of it, and what ends it."""

import asyncio
import json
import time
from typing import Any

import psutil
import pytest
from airflow.sdk.module_loading import import_string
from harness.task_runner import TaskRunner

from elastic_ml.clients import elasticsearch
from elastic_ml.exceptions import ConnectionSettingsError
from elastic_ml.sensors.esql import EsqlThresholdSensor
from elastic_ml.triggers.esql import EsqlThresholdTrigger
from elastic_ml.triggers.look import LookTrigger, _Client

WHEN = {"elastic_conn_id": "elasticsearch_default", "deadline": 1800000000.5, "poll_interval": 60.0}
# As 0.1.0 stored them: an upgrade finds them in Airflow's database.
STORED: dict[str, dict[str, Any]] = {
    "elastic_ml.triggers.esql.EsqlThresholdTrigger": {
        "query": "ROW n = 1", "comparison": "at_least", "threshold": 2.0, "parameters": None, "filter": {"a": 1},
    },
    "elastic_ml.triggers.anomaly_records.AnomalyRecordsTrigger": {
        "job_id": "j", "start": 1, "end": None, "min_score": 75.0,
    },
    "elastic_ml.sensors.training_data.TrainingDataTrigger": {
        "requests": [["mget", {"index": "ml-ledger", "ids": ["partition|a|2026-11-01"]}]],
    },
}  # fmt: skip


@pytest.mark.parametrize("path", STORED)
def test_a_task_that_waits_survives_an_upgrade(path: str) -> None:
    stored = {**STORED[path], **WHEN}
    again = import_string(path)(**json.loads(json.dumps(stored)))
    assert isinstance(again, LookTrigger)
    assert again.serialize() == (path, stored)


def waiting(url: str, **extra: Any) -> TaskRunner:
    connection = {"conn_type": "elastic", "host": url, "extra": json.dumps(extra)}
    return TaskRunner(
        lambda: EsqlThresholdSensor(task_id="wait", query="ROW n = 1", threshold=2, poll_interval=0.05),
        connections={"elasticsearch_default": connection},
    )


def test_a_connection_that_was_deleted_meanwhile_is_said_by_the_task(sandbox) -> None:
    task = waiting(sandbox.elasticsearch_url)
    assert task.run().state == "deferred"
    task.connections.clear()
    event = task.fire()
    assert event["status"] == "look"
    assert "elasticsearch_default" in str(task.resume(event).error)


def test_a_connection_that_somebody_broke_meanwhile_is_said_by_the_task(sandbox) -> None:
    task = waiting(sandbox.elasticsearch_url)
    assert task.run().state == "deferred"
    task.connections["elasticsearch_default"]["extra"] = '{"api_kee": "x"}'
    error = task.resume(task.fire()).error
    assert isinstance(error, ConnectionSettingsError)
    assert "unknown extra: api_kee" in str(error)


def test_a_triggerer_that_can_make_no_client_does_not_chase_the_task(sandbox, tmp_path) -> None:
    """A CA that only the workers have: the task looks itself, once per interval."""
    task = waiting(sandbox.elasticsearch_url)
    assert task.run().state == "deferred"
    assert task.deferral is not None
    task.deferral.trigger_kwargs["poll_interval"] = 0.1
    task.connections["elasticsearch_default"] |= {
        "host": "https://127.0.0.1:1", "extra": json.dumps({"ca_certs": str(tmp_path / "only-on-workers.pem")}),
    }  # fmt: skip
    began = time.monotonic()
    assert task.fire()["status"] == "look"
    assert time.monotonic() - began >= 0.1


def test_an_event_of_another_version_names_the_remedy(sandbox) -> None:
    task = waiting(sandbox.elasticsearch_url)
    assert task.run().state == "deferred"
    assert "on the same version of airflow-provider-elastic-ml?" in str(task.resume({"state": "ok"}).error)


def test_what_pins_a_certificate_waits_in_the_worker() -> None:
    """The triggerer's client cannot check a fingerprint."""
    sensor = EsqlThresholdSensor(task_id="wait", query="ROW n = 1", threshold=2)
    hook = type("Hook", (), {"settings": type("Settings", (), {"ssl_assert_fingerprint": "ab" * 32})})
    sensor.__dict__["hook"] = hook
    assert sensor._may_defer() is False


@pytest.mark.long
def test_two_hundred_waits_share_one_client_and_weigh_little(sandbox, monkeypatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": sandbox.elasticsearch_url}))
    made: list[Any] = []
    connect = elasticsearch.connect_async

    def counted(*arguments: Any, **named: Any) -> Any:
        made.append(connect(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(elasticsearch, "connect_async", counted)

    def trigger(threshold: float, seconds: float) -> EsqlThresholdTrigger:
        return EsqlThresholdTrigger("ROW n = 1", "at_least", threshold, "es", time.time() + seconds, poll_interval=1.5)

    async def wait() -> tuple[int, list[Any]]:
        await anext(trigger(1, 5).run())  # the client's own modules are in memory now, as in every triggerer
        before = psutil.Process().memory_info().rss
        running = [asyncio.create_task(anext(trigger(1 + number % 2, 3).run())) for number in range(200)]
        events = await asyncio.gather(*running)
        return psutil.Process().memory_info().rss - before, [event.payload["status"] for event in events]

    grown, statuses = asyncio.run(wait())
    assert (statuses.count("look"), statuses.count("timeout")) == (100, 100)
    assert len(made) == 2, "the first one closed its own when it left"
    assert grown < 50 * 2**20, f"{grown / 2**20:.0f} MB, the sandbox included"


def test_a_client_that_was_refused_is_not_given_to_the_next(sandbox, monkeypatch) -> None:
    """An expired key is corrected in the connection while others still wait."""
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": sandbox.elasticsearch_url}))

    sandbox.faults.add(
        method="POST", path="/_query", status=401, type="security_exception", reason="api key is expired", times=1
    )

    async def wait() -> tuple[str, bool]:
        old = _Client.of("es")
        refused = await anext(EsqlThresholdTrigger("ROW n = 1", "at_least", 9, "es", 2e9, poll_interval=0.1).run())
        new = _Client.of("es")
        await old.leave()
        await new.leave()
        return refused.payload["status"], new is old

    assert asyncio.run(wait()) == ("look", False)
