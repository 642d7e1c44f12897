"""A real-time job's interim records: they never become alerts, whether they vanish or stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from elasticsearch import helpers
from webshop_jobs.world import DAY, HOUR, JOB, Shop

from elastic_ml.clients.anomaly_records import highest_record, moment, read_records
from elastic_ml.operators.anomaly_records import AnomalyAlertsOperator

MINUTE = 60_000
BUCKET = DAY + 2 * HOUR
ANALYSIS = {
    "bucket_span": "1h", "influencers": ["user.id"],
    "detectors": [{"function": "high_mean", "field_name": "took", "partition_field_name": "user.id"}],
}  # fmt: skip


@pytest.fixture
def slow(shop: Shop) -> Iterator[Shop]:
    """A real-time job 25 minutes into a bucket in which two users began slowly, after two quiet weeks."""
    generator = np.random.default_rng(3)
    times = range(DAY - 14 * 24 * HOUR, BUCKET, 15 * MINUTE)
    quiet = [(at, user, float(100 * generator.lognormal(0, 0.2))) for at in times for user in ("ana", "ben")]
    properties = {"@timestamp": {"type": "date"}, "user.id": {"type": "keyword"}, "took": {"type": "double"}}
    shop.client.indices.create(index="slow", mappings={"properties": properties})
    add(shop, [*quiet, *((BUCKET + MINUTE * number, user, 5000.0) for number in range(3) for user in ("ana", "ben"))])
    shop.sandbox.clock.freeze(datetime.fromtimestamp((BUCKET + 25 * MINUTE) / 1000, UTC))
    shop.client.ml.put_job(
        job_id=JOB, analysis_config=ANALYSIS, data_description={"time_field": "@timestamp"},
        datafeed_config={"indices": ["slow"], "query_delay": "1m", "frequency": "10m"},
    )  # fmt: skip
    shop.client.ml.open_job(job_id=JOB)
    shop.client.ml.start_datafeed(datafeed_id=JOB, start=str(times[0]))
    yield shop
    shop.client.ml.stop_datafeed(datafeed_id=JOB)
    shop.client.indices.delete(index="slow")
    shop.sandbox.clock.reset()


def add(shop: Shop, rows: list[tuple[int, str, float]]) -> None:
    documents = ({"_index": "slow", "@timestamp": at, "user.id": user, "took": took} for at, user, took in rows)
    helpers.bulk(shop.client, documents, refresh=True)


def in_results(shop: Shop, *, interim: bool) -> list[str]:
    """Who has a record of the bucket in question, among the interim or the final results."""
    found = shop.client.ml.get_records(
        job_id=JOB, start=str(BUCKET), end=str(BUCKET + HOUR), record_score=60, sort="partition_field_value", desc=False
    )["records"]
    return [one["partition_field_value"] for one in found if one["is_interim"] is interim]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alerts(shop: Shop) -> list[Any]:
    arguments = {"project_folder": str(shop.folder), "job": JOB, "start": "2026-06-01", "end": "2026-06-02"}
    shop.complete(AnomalyAlertsOperator, **arguments)
    return [alert["user"]["id"] for alert in shop.alerts()]


def test_an_interim_record_is_no_alert_until_its_bucket_is_over_and_it_still_holds(slow: Shop) -> None:
    until(lambda: in_results(slow, interim=True) == ["ana", "ben"])
    window = {"start": moment(DAY), "end": moment(DAY + 24 * HOUR), "min_score": 60}
    for serverless in (False, True):
        assert list(read_records(slow.client, JOB, serverless=serverless, **window)) == []
        assert highest_record(slow.client, JOB, serverless=serverless, **window) is None
    assert alerts(slow) == []

    # The rest of the hour: ana is as always, of hundreds of events three were slow; ben stays slow.
    add(slow, [(BUCKET + 26 * MINUTE + number * 5000, "ana", 100.0) for number in range(400)])
    add(slow, [(BUCKET + 26 * MINUTE + number * MINUTE, "ben", 5000.0) for number in range(30)])
    slow.sandbox.clock.advance(60 * 60)
    until(lambda: in_results(slow, interim=True) == [] and in_results(slow, interim=False) != [])
    assert in_results(slow, interim=False) == ["ben"]
    assert alerts(slow) == ["ben"]
