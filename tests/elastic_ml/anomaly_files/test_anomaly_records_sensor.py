"""Waiting for a record: at once when it is there, in the triggerer when not, and never for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from harness.task_runner import TaskRunner
from webshop_jobs.world import DAY, HOUR, JOB, Shop

from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, NotFoundError, WaitTimeoutError
from elastic_ml.sensors.anomaly_records import AnomalyRecordsSensor
from elastic_ml.triggers.anomaly_records import AnomalyRecordsTrigger


def sensor(shop: Shop, **more: Any) -> TaskRunner:
    arguments = {"job_id": JOB, "min_score": 80, "start": "2026-06-01", "poll_interval": 0.05} | more
    return shop.runner(AnomalyRecordsSensor, **arguments)


@pytest.fixture
def quiet(shop: Shop) -> Shop:
    """A job whose only record is below 80."""
    shop.put_job()
    shop.put_record(DAY + HOUR, "ana", 79.9)
    return shop


def test_a_record_that_is_there_is_returned_at_once(quiet: Shop) -> None:
    quiet.put_record(DAY + 2 * HOUR, "ben", 85)
    quiet.put_record(DAY + 3 * HOUR, "eva", 95)
    result = sensor(quiet).run()
    assert result.state == "success"
    assert result.value["split"] == [["partition", "user.id", "eva"]]
    assert (result.value["score"], result.value["bucket"]) == (95, "2026-06-01T03:00:00+00:00")


def test_a_record_that_comes_later_is_waited_for_without_a_worker(quiet: Shop) -> None:
    task = sensor(quiet)
    assert task.run().state == "deferred"
    threading.Timer(0.2, quiet.put_record, (DAY + 4 * HOUR, "eva", 80)).start()
    event = task.fire()
    assert event["status"] == "look"
    assert task.resume(event).value["score"] == 80


def test_the_worker_can_wait_itself(quiet: Shop) -> None:
    threading.Timer(0.2, quiet.put_record, (DAY + 4 * HOUR, "eva", 80)).start()
    assert sensor(quiet, deferrable=False).run().value["score"] == 80


def test_records_outside_the_window_do_not_count(quiet: Shop) -> None:
    quiet.put_record(DAY - HOUR, "ben", 99)
    quiet.put_record(DAY + 24 * HOUR, "eva", 99)
    result = sensor(quiet, end="2026-06-02", timeout=timedelta(0)).run()
    assert isinstance(result.error, WaitTimeoutError)
    assert "no record with a score of 80 or more from 2026-06-01T00:00:00+00:00 to 2026-06-02" in str(result.error)


def test_without_a_start_the_window_begins_with_the_first_try(quiet: Shop) -> None:
    quiet.put_record(DAY + HOUR, "ana", 99)
    task = sensor(quiet, start=None)
    assert task.run().state == "deferred"
    begin = task.api.state_store["since"]
    quiet.put_record(round(time.time() * 1000) + HOUR, "eva", 90)
    assert task.run().value["split"] == [["partition", "user.id", "eva"]]
    assert task.api.state_store["since"] == begin


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_wait_that_is_over_fails_or_skips(quiet: Shop, soft_fail: bool, state: str) -> None:
    task = sensor(quiet, soft_fail=soft_fail, timeout=timedelta(seconds=0.2))
    task.run()
    event = task.fire()
    assert event["status"] == "timeout"
    assert task.resume(event).state == state


def test_a_cluster_that_cannot_answer_is_asked_again(quiet: Shop) -> None:
    task = sensor(quiet)
    task.run()
    quiet.sandbox.faults.add(status=503, method="POST", path="/.ml-anomalies-*/_search", times=2)
    quiet.put_record(DAY + 4 * HOUR, "eva", 80)
    assert task.fire()["status"] == "look"


def test_an_unknown_job_is_an_error(shop: Shop) -> None:
    assert isinstance(sensor(shop).run().error, NotFoundError)


def test_a_job_that_is_deleted_meanwhile_times_out_as_an_error_of_the_job(quiet: Shop) -> None:
    task = sensor(quiet, timeout=timedelta(seconds=0.2))
    task.run()
    quiet.client.ml.delete_job(job_id=JOB)
    assert isinstance(task.resume(task.fire()).error, NotFoundError)


@pytest.mark.parametrize(
    "wrong", [{"min_score": "high"}, {"start": "soon"}, {"min_score": "101"}, {"end": "2026-05-31"}]
)
def test_what_cannot_be_read_or_never_comes_is_refused(quiet: Shop, wrong: dict[str, str]) -> None:
    assert isinstance(sensor(quiet, **wrong).run().error, InvalidRequestError)


def test_an_event_of_another_version_is_an_error(quiet: Shop) -> None:
    task = sensor(quiet)
    task.run()
    error = task.resume({"status": "found"}).error
    assert isinstance(error, ElasticMLError)
    assert "does not know" in str(error)


def test_the_trigger_round_trips() -> None:
    trigger = AnomalyRecordsTrigger("j", 1, None, 75, "elasticsearch_default", 12.5, 3)
    path, arguments = trigger.serialize()
    assert import_string(path)(**arguments).serialize() == (path, arguments)


def test_the_trigger_does_not_block_the_loop(quiet: Shop) -> None:
    task = sensor(quiet, timeout=timedelta(seconds=0.6))
    task.run()

    async def beats() -> int:
        assert task.deferral is not None
        waiting = asyncio.ensure_future(anext(task.deferral.trigger().run()))
        count = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            count += 1
        return count

    with task.environment():
        assert asyncio.run(beats()) > 15


def test_on_serverless_the_results_are_searched(quiet: Shop) -> None:
    quiet.put_record(DAY + 2 * HOUR, "ben", 85)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic_ml.hooks.elastic.ElasticHook.serverless", True)
        quiet.sandbox.requests.clear()
        assert sensor(quiet).run().value["score"] == 85
    assert not [one for one in quiet.sandbox.requests if "/results/" in one.path]
