"""An anomaly job over 90 days of 15-minute buckets and 200 partitions, and how requests fare while it runs.

Every partition has a document in every bucket: 1.7 million of them. The sandbox serves from a process of its own, as
it does for a user; the time is from starting the datafeed to the closed job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch, helpers

from benchmarks.requests import ask_until
from benchmarks.server import Served, served

DAYS, SPAN_MS, PARTITIONS = 90, 900_000, 200
START = 1_767_571_200_000


def _documents() -> Iterator[dict[str, Any]]:
    generator = np.random.default_rng(1)
    levels = generator.uniform(20, 300, PARTITIONS)
    for bucket in range(DAYS * 86_400_000 // SPAN_MS):
        values = (levels * generator.lognormal(0, 0.2, PARTITIONS)).round(2).tolist()
        for number, value in enumerate(values):
            moment = START + bucket * SPAN_MS + number
            yield {"_index": "busy", "@timestamp": moment, "user": f"user{number:03d}", "value": value}


def run() -> None:
    """Fill a sandbox, run the job, print its time and the latency of small requests meanwhile."""
    with (
        served() as server, Elasticsearch(server.url, request_timeout=120) as es,
        served() as other, Elasticsearch(other.url, request_timeout=120) as idle,
    ):  # fmt: skip
        _prepare(idle, islice(_documents(), 20_000))
        started = time.perf_counter()
        _prepare(es, _documents())
        print(f"  documents        {DAYS * 96 * PARTITIONS:>10,} indexed in {time.perf_counter() - started:.0f} s")
        _measure(es, server, idle)


def _prepare(es: Elasticsearch, documents: Iterable[dict[str, Any]]) -> None:
    properties = {"@timestamp": {"type": "date"}, "user": {"type": "keyword"}, "value": {"type": "double"}}
    es.indices.create(index="busy", mappings={"properties": properties}, settings={"refresh_interval": "-1"})
    for _ in helpers.parallel_bulk(es, documents, thread_count=2, chunk_size=5000):
        pass
    es.indices.refresh(index="busy")
    detector = {"function": "high_mean", "field_name": "value", "partition_field_name": "user"}
    es.ml.put_job(
        job_id="busy", analysis_config={"bucket_span": "15m", "detectors": [detector], "influencers": ["user"]},
        data_description={"time_field": "@timestamp"}, datafeed_config={"indices": ["busy"]},
    )  # fmt: skip
    es.ml.open_job(job_id="busy")


def _calls(es: Elasticsearch) -> list[Any]:
    return [
        es.info,
        lambda: es.ml.get_job_stats(job_id="busy"),
        lambda: es.search(index="busy", size=1),
        lambda: es.search(index=".ml-anomalies-*", size=1),
        lambda: es.ml.get_records(job_id="busy", page={"size": 5}),
        lambda: es.esql.query(query="FROM busy | LIMIT 1"),
    ]


def _measure(es: Elasticsearch, server: Served, idle: Elasticsearch) -> None:
    started = time.perf_counter()
    es.ml.start_datafeed(datafeed_id="busy", start=str(START), end=str(START + DAYS * 86_400_000))
    ask_until(
        es,
        server,
        idle,
        _calls,
        lambda: es.ml.get_datafeed_stats(datafeed_id="busy")["datafeeds"][0]["state"] == "stopped",
    )
    took = time.perf_counter() - started
    buckets = es.ml.get_job_stats(job_id="busy")["jobs"][0]["data_counts"]["bucket_count"]
    print(f"    {buckets:,} buckets of {PARTITIONS} partitions in {took:.1f} s with these requests (budget 20 s)")
