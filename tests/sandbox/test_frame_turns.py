"""Jobs give way to requests, and a reset or a stop waits a bounded time for whatever runs."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from elasticsearch import Elasticsearch, helpers
from sandbox.ml_world import events, index_events, job_body, run_job, stats, wait_for

import elastic_sandbox.backend
from elastic_sandbox import turns
from elastic_sandbox.backend import Backend
from elastic_sandbox.tasks import Task
from elastic_sandbox.testing import Sandbox
from elastic_sandbox.turns import Turns


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(30)
    assert not thread.is_alive()


def answering(taken: Turns, until: threading.Event) -> Callable[[], None]:
    """A request that is answered until the event."""

    def answer() -> None:
        with taken.request():
            until.wait(30)

    return answer


def test_a_worker_lets_the_requests_that_are_there_end_but_not_those_that_come_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 30)
    taken, early, late = Turns(), threading.Event(), threading.Event()
    with running(answering(taken, early)):
        while not taken._visits:
            time.sleep(0.001)
        with running(taken.give_way) as worker:
            time.sleep(0.05)
            assert worker.is_alive()
            with running(answering(taken, late)):
                while len(taken._visits) < 2:
                    time.sleep(0.001)
                early.set()
                worker.join(10)
                assert not worker.is_alive(), "it waits for the request that came after it"
                late.set()


def test_nobody_waits_long_for_a_request_that_takes_long() -> None:
    taken, done = Turns(), threading.Event()
    with running(answering(taken, done)):
        while not taken._visits:
            time.sleep(0.001)
        began = time.monotonic()
        taken.give_way()
        taken.give_way()
        assert time.monotonic() - began < 5
        assert taken._visits
        done.set()


def test_a_request_waits_neither_for_itself_nor_is_it_waited_for_when_it_waits_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 30)
    taken = Turns()
    began = time.monotonic()
    with taken.request():
        taken.release()
        taken.leave()
        with running(taken.give_way):
            pass
    assert time.monotonic() - began < 10


def test_a_job_stands_still_while_a_request_is_answered(
    sandbox: Sandbox, elasticsearch: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_events(elasticsearch, events(60))
    elasticsearch.ml.put_data_frame_analytics(id="job", **job_body())
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 30)
    sandbox.faults.add(method="GET", path="/_cluster/health", action="delay", seconds=0.7)
    with running(Elasticsearch(sandbox.elasticsearch_url).cluster.health) as slow:
        while not sandbox.requests.matching("GET", "/_cluster/health"):
            time.sleep(0.001)
        elasticsearch.ml.start_data_frame_analytics(id="job")
        moved = set()
        while True:
            found = stats(elasticsearch, "job")
            if not slow.is_alive():
                break
            moved.add((found["state"], sum(phase["progress_percent"] for phase in found["progress"])))
            time.sleep(0.02)
    assert moved <= {("starting", 0), ("started", 0)}, moved
    assert wait_for(elasticsearch, "job", "stopped", "failed")["state"] == "stopped"


def test_no_worker_gives_way_with_the_clusters_lock(
    sandbox: Sandbox, elasticsearch: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_events(elasticsearch, events(60))
    held: dict[str, bool] = {}
    give_way = Turns.give_way

    def spied(self: Turns) -> None:
        worker = threading.current_thread().name.partition("-")[0]
        held[worker] = held.get(worker, False) or sandbox.backend.lock._is_owned()  # type: ignore[attr-defined]
        give_way(self)

    monkeypatch.setattr(Turns, "give_way", spied)
    run_job(elasticsearch)
    elasticsearch.ml.put_job(
        job_id="counts", data_description={"time_field": "when"}, datafeed_config={"indices": ["events"]},
        analysis_config={"bucket_span": "1m", "detectors": [{"function": "count"}]},
    )  # fmt: skip
    elasticsearch.ml.open_job(job_id="counts")
    elasticsearch.ml.start_datafeed(datafeed_id="counts", start="1699999200000", end="1700010000000")
    elasticsearch.transform.put_transform(
        transform_id="kinds", source={"index": "events"}, dest={"index": "kinds"},
        pivot={"group_by": {"kind": {"terms": {"field": "kind"}}},
               "aggregations": {"most": {"max": {"field": "amount"}}}},
    )  # fmt: skip
    elasticsearch.transform.start_transform(transform_id="kinds")
    until = time.monotonic() + 30
    while held.keys() < {"analytics", "datafeed", "transform"}:
        assert time.monotonic() < until, held
        time.sleep(0.01)
    while elasticsearch.ml.get_datafeed_stats(datafeed_id="counts")["datafeeds"][0]["state"] != "stopped":
        time.sleep(0.01)
    assert not any(held.values()), held


def test_a_reset_waits_a_bounded_time_for_all_workers_together_and_names_who_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(elastic_sandbox.backend, "HALT_SECONDS", 0.3)
    backend, done = Backend(), threading.Event()

    def deaf(task: Task) -> dict[str, bool]:
        return {"woken": done.wait(30)}

    tasks = [backend.tasks.start("indices:data/write/reindex", "deaf", deaf) for _ in range(5)]
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        backend.reset()
    assert time.monotonic() - began < 0.3 * len(tasks)
    assert all(f"task-{task.number}" in caplog.text for task in tasks)
    done.set()
    assert all(task.wait(10) for task in tasks)
    backend.close()


def test_a_stop_in_the_middle_of_a_job_leaves_no_worker_behind(caplog: pytest.LogCaptureFixture) -> None:
    from elastic_sandbox.testing import serve

    with caplog.at_level(logging.WARNING), serve() as sandbox, Elasticsearch(sandbox.elasticsearch_url) as client:
        index_events(client, events(60))
        helpers.bulk(client, ({"_index": "events", **event, "_id": None} for event in events(2000)), refresh=True)
        client.ml.put_data_frame_analytics(id="job", **job_body(max_trees=500))
        client.ml.start_data_frame_analytics(id="job")
        wait_for(client, "job", "started")
        worker = sandbox.backend.ml.jobs.get("job").worker
        assert worker is not None
        assert worker.is_alive()
    assert not worker.is_alive()
    assert "left behind" not in caplog.text
