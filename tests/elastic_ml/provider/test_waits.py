"""Two hundred tasks that wait at once, of every kind: what they ask of the cluster and of the triggerer."""

import asyncio
import gc
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from elastic_transport import Urllib3HttpNode
from elasticsearch import Elasticsearch

from elastic_ml.triggers.esql import EsqlThresholdTrigger
from elastic_ml.triggers.remote_job import RemoteJobTrigger

WAITS = {"data_frame_analytics": 40, "transform": 30, "task": 20, "upgrade_mode": 60, "pause": 50}
INTERVAL = 0.5
SECONDS = 3.0


@pytest.fixture(autouse=True)
def connection(sandbox, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": sandbox.elasticsearch_url}))


@pytest.fixture
def steps() -> Iterator[list[tuple[float, str]]]:
    """Every step of the event loop: its seconds of CPU, and what it was. Waiting for anything but the loop fails."""
    found: list[tuple[float, str]] = []
    real, loops = asyncio.Handle._run, threading.get_ident()

    def run(handle: asyncio.Handle) -> None:
        started = time.thread_time()
        real(handle)
        found.append((time.thread_time() - started, repr(handle)))

    def elsewhere(function: Any) -> Any:
        def checked(*arguments: Any, **named: Any) -> Any:
            assert threading.get_ident() != loops, "a trigger blocks the event loop"
            return function(*arguments, **named)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", run)
        patch.setattr(time, "sleep", elsewhere(time.sleep))
        patch.setattr(Urllib3HttpNode, "perform_request", elsewhere(Urllib3HttpNode.perform_request))
        yield found


@pytest.fixture
def tasks(sandbox, elasticsearch: Elasticsearch):
    """Ids of reindex tasks that run for minutes."""
    lines: list[Any] = []
    for number in range(50):
        lines += [{"index": {"_id": str(number)}}, {"n": number}]
    elasticsearch.bulk(index="slow", operations=lines, refresh=True)
    arguments = {"source": {"index": "slow", "size": 1}, "requests_per_second": 0.2, "wait_for_completion": False}
    ids = [elasticsearch.reindex(dest={"index": f"copy-{n}"}, **arguments)["task"] for n in range(WAITS["task"])]
    yield ids
    for task_id in ids:
        elasticsearch.options(ignore_status=404).tasks.cancel(task_id=task_id)


@pytest.fixture
def jobs(sandbox, elasticsearch: Elasticsearch):
    """As many analytics jobs and transforms as wait, none of which ends."""
    fields = {"a": {"type": "double"}, "y": {"type": "keyword"}, "@timestamp": {"type": "date"}}
    elasticsearch.indices.create(index="rows", mappings={"properties": fields})
    for label in "xy":
        elasticsearch.index(index="rows", document={"a": 1, "y": label, "@timestamp": "2026-01-01"}, refresh=True)
    sandbox.faults.lazy_assignment = True
    for number in range(WAITS["data_frame_analytics"]):
        elasticsearch.ml.put_data_frame_analytics(
            id=f"data_frame_analytics-{number}",
            source={"index": "rows"},
            dest={"index": f"out-{number}"},
            analysis={"classification": {"dependent_variable": "y"}},
            allow_lazy_start=True,
        )
        elasticsearch.ml.start_data_frame_analytics(id=f"data_frame_analytics-{number}")
    pivot = {"group_by": {"y": {"terms": {"field": "y"}}}, "aggregations": {"n": {"value_count": {"field": "a"}}}}
    for number in range(WAITS["transform"]):
        elasticsearch.transform.put_transform(
            transform_id=f"transform-{number}",
            source={"index": "rows"},
            dest={"index": f"by-{number}"},
            sync={"time": {"field": "@timestamp"}},
            frequency="1h",
            pivot=pivot,
        )
        elasticsearch.transform.start_transform(transform_id=f"transform-{number}")
    elasticsearch.ml.set_upgrade_mode(enabled=True)


def waits(tasks: list[str]) -> list[RemoteJobTrigger]:
    deadline = time.time() + 120
    more = {"elastic_conn_id": "es", "deadline": deadline, "poll_interval": INTERVAL}
    found = []
    for kind, count in WAITS.items():
        for number in range(count):
            job_id = tasks[number] if kind == "task" else f"{kind}-{number}"
            interval = {"poll_interval": 60.0} if kind == "pause" else {}
            found.append(RemoteJobTrigger(**{**more, **interval, "kind": kind, "job_id": job_id}))
    return found


def kind_of(path: str) -> str:
    return next((part for part in ("/_ml/data_frame", "/_transform", "/_tasks", "/_ml/info") if part in path), path)


def test_two_hundred_waits_cost_one_request_per_kind_and_interval_and_no_memory(sandbox, jobs, tasks, steps):
    process = psutil.Process()

    async def wait() -> tuple[int, Counter[str], tuple[float, str]]:
        first = asyncio.create_task(anext(RemoteJobTrigger("upgrade_mode", "x", "es", time.time() + 60, 0.1).run()))
        await asyncio.sleep(1.0)  # the client's own modules are in memory now, as in every triggerer
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gc.collect()
        before = process.memory_info().rss
        sandbox.requests.clear()
        running = [asyncio.create_task(anext(one.run())) for one in waits(tasks)]
        await asyncio.sleep(0)
        steps.clear()  # what this test did itself
        await asyncio.sleep(SECONDS)
        longest = max(steps)
        asked = Counter(kind_of(entry.path) for entry in sandbox.requests)
        grown = process.memory_info().rss - before
        assert not [task for task in running if task.done()], "none of them has anything to say yet"
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return grown, asked, longest

    grown, asked, longest = asyncio.run(wait())
    assert sum(WAITS.values()) == 200
    most = SECONDS / INTERVAL + 1
    assert {kind: count for kind, count in asked.items() if count > most} == {}, asked
    assert {"/_ml/data_frame", "/_transform", "/_tasks", "/_ml/info"} <= set(asked)
    assert grown < 50 * 2**20, f"{grown / 2**20:.0f} MB"
    assert longest[0] < 0.2, f"Airflow warns of such a step: {longest}"


def test_a_task_that_ends_among_others_is_noticed(sandbox, elasticsearch, tasks):
    async def wait() -> tuple[str, list[asyncio.Task[Any]]]:
        deadline = time.time() + 60
        running = [
            asyncio.create_task(anext(RemoteJobTrigger("task", one, "es", deadline, 0.1).run())) for one in tasks[:3]
        ]
        await asyncio.sleep(0.5)
        elasticsearch.tasks.cancel(task_id=tasks[1])
        done, pending = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        return done.pop().result().payload, list(pending)

    event, pending = asyncio.run(wait())
    assert (event["status"], event["job_id"]) == ("stopped", tasks[1])
    assert len(pending) == 2


def test_a_waiting_query_does_not_block_the_loop(sandbox, steps):
    async def wait() -> Any:
        more = {"elastic_conn_id": "es", "deadline": time.time() + 20, "poll_interval": 0.1}
        return await anext(EsqlThresholdTrigger(query="ROW n = 1", comparison="at_least", threshold=1, **more).run())

    assert asyncio.run(wait()).payload["status"] == "look"
    assert max(steps)[0] < 0.2, max(steps)
