"""What transforms write: once, again and again, after a restart; compared with grouping in plain Python."""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.testing import Sandbox, serve
from elastic_sandbox.transform.pivot import document_id
from elastic_sandbox.transform.transform import Transform

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MAPPINGS = {
    "properties": {
        "@timestamp": {"type": "date"},
        "ingested": {"type": "date"},
        "user": {"properties": {"id": {"type": "keyword"}}},
        "outcome": {"type": "keyword"},
        "records": {"type": "long"},
    }
}
PIVOT = {
    "group_by": {
        "user.id": {"terms": {"field": "user.id"}},
        "@timestamp": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}},
    },
    "aggregations": {
        "events": {"value_count": {"field": "@timestamp"}},
        "failures": {"filter": {"term": {"outcome": "failure"}}},
        "failed": {
            "filter": {"term": {"outcome": "failure"}},
            "aggregations": {"records": {"sum": {"field": "records"}}, "most": {"max": {"field": "records"}}},
        },
        "records.avg": {"avg": {"field": "records"}},
        "records.least": {"min": {"field": "records"}},
        "outcomes": {"cardinality": {"field": "outcome"}},
    },
}
CONTINUOUS = {
    "source": {"index": "events"},
    "dest": {"index": "hours"},
    "pivot": PIVOT,
    "sync": {"time": {"field": "ingested", "delay": "60s"}},
    "frequency": "5m",
}


def event(sandbox: Sandbox, user: str, minute: int, **more: Any) -> dict[str, Any]:
    when = (START + timedelta(minutes=minute)).isoformat()
    return {"@timestamp": when, "ingested": sandbox.clock.now_iso(), "user": {"id": user}, **more}


def ingest(elasticsearch: Elasticsearch, events: list[dict[str, Any]]) -> None:
    operations = [line for e in events for line in ({"index": {}}, e)]
    assert not elasticsearch.bulk(index="events", operations=operations, refresh=True)["errors"]


def hours(elasticsearch: Elasticsearch) -> dict[tuple[str, int], dict[str, Any]]:
    elasticsearch.indices.refresh(index="hours")
    hits = elasticsearch.search(index="hours", size=1000, version=True)["hits"]["hits"]
    found = {}
    for hit in hits:
        source = hit["_source"]
        hour = datetime.fromisoformat(source["@timestamp"]).hour
        found[source["user"]["id"], hour] = {**source, "version": hit["_version"]}
    return found


def until(ready: Callable[[], bool]) -> None:
    for _ in range(1000):
        if ready():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to that")


def stats_of(elasticsearch: Elasticsearch, name: str = "t") -> dict[str, Any]:
    return dict(elasticsearch.transform.get_transform_stats(transform_id=name)["transforms"][0])


def next_look(sandbox: Sandbox, elasticsearch: Elasticsearch, *, seconds: float = 400) -> dict[str, Any]:
    """Move the clock, by default beyond delay and frequency, and wait for the look at the source to be over."""
    before = stats_of(elasticsearch)["stats"]["trigger_count"]
    sandbox.clock.advance(seconds)

    def looked() -> bool:
        stats = stats_of(elasticsearch)
        return stats["stats"]["trigger_count"] > before and stats["state"] == "started"

    until(looked)
    return stats_of(elasticsearch)


@pytest.fixture
def events(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="events", mappings=MAPPINGS)


@pytest.fixture
def running(sandbox: Sandbox, elasticsearch: Elasticsearch, events: None) -> None:
    ingest(elasticsearch, [event(sandbox, "ana", 5, records=4), event(sandbox, "ben", 65, records=1)])
    sandbox.clock.advance(61)
    elasticsearch.transform.put_transform(transform_id="t", body=CONTINUOUS)
    elasticsearch.transform.start_transform(transform_id="t")
    until(lambda: stats_of(elasticsearch)["checkpointing"]["last"]["checkpoint"] == 1)


def test_a_late_event_rewrites_its_hour_and_no_other(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    assert set(hours(elasticsearch)) == {("ana", 8), ("ben", 9)}
    ingest(elasticsearch, [event(sandbox, "ana", 20, records=6)])
    stats = next_look(sandbox, elasticsearch)
    found = hours(elasticsearch)
    assert (found["ana", 8]["events"], found["ana", 8]["records"]["avg"]) == (2, 5.0)
    assert {key: value["version"] for key, value in found.items()} == {("ana", 8): 2, ("ben", 9): 1}
    last = stats["checkpointing"]["last"]
    assert (last["checkpoint"], last["timestamp_millis"] - last["time_upper_bound_millis"]) == (2, 60_000)


def test_a_transform_that_syncs_on_the_time_of_the_event_misses_late_ones(
    sandbox: Sandbox, elasticsearch: Elasticsearch, events: None
):
    now = sandbox.clock.now()
    ingest(elasticsearch, [{"@timestamp": now.isoformat(), "user": {"id": "ana"}}])
    sandbox.clock.advance(61)
    body = {**CONTINUOUS, "sync": {"time": {"field": "@timestamp", "delay": "60s"}}}
    elasticsearch.transform.put_transform(transform_id="t", body=body)
    elasticsearch.transform.start_transform(transform_id="t")
    until(lambda: stats_of(elasticsearch)["checkpointing"]["last"]["checkpoint"] == 1)

    late = {"@timestamp": (now - timedelta(hours=3)).isoformat(), "user": {"id": "late"}}
    ingest(elasticsearch, [late, {"@timestamp": sandbox.clock.now_iso(), "user": {"id": "ben"}}])
    next_look(sandbox, elasticsearch, seconds=7200)  # the hours of the sync field are complete by then
    assert {user for user, _ in hours(elasticsearch)} == {"ana", "ben"}


def test_an_event_younger_than_the_delay_waits_for_a_later_checkpoint(
    sandbox: Sandbox, elasticsearch: Elasticsearch, running: None
):
    sandbox.clock.advance(290)
    ingest(elasticsearch, [event(sandbox, "cleo", 5)])
    next_look(sandbox, elasticsearch, seconds=20)
    assert ("cleo", 8) not in hours(elasticsearch)
    assert stats_of(elasticsearch)["checkpointing"]["operations_behind"] == 1
    next_look(sandbox, elasticsearch)
    assert ("cleo", 8) in hours(elasticsearch)
    assert "operations_behind" not in stats_of(elasticsearch)["checkpointing"]


def test_a_quiet_source_makes_no_checkpoint(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    stats = next_look(sandbox, elasticsearch)
    assert stats["checkpointing"]["last"]["checkpoint"] == 1
    assert stats["checkpointing"]["last_search_time"] > stats["checkpointing"]["changes_last_detected_at"]


def test_checkpoints_are_aligned_only_where_the_hours_are_of_the_sync_field(
    sandbox: Sandbox, elasticsearch: Elasticsearch, events: None
):
    ingest(elasticsearch, [event(sandbox, "ana", 5)])
    by_ingestion = {"date_histogram": {"field": "ingested", "fixed_interval": "1h"}}
    pivot = {**PIVOT, "group_by": {"user.id": {"terms": {"field": "user.id"}}, "hour": by_ingestion}}
    for name, changes in {"aligned": {"pivot": pivot}, "not": {}}.items():
        body = {**CONTINUOUS, "dest": {"index": name}, "settings": {"align_checkpoints": True}, **changes}
        elasticsearch.transform.put_transform(transform_id=name, body=body)
        elasticsearch.transform.start_transform(transform_id=name)
        until(lambda name=name: stats_of(elasticsearch, name)["checkpointing"]["last"]["checkpoint"] == 1)
    bounds = {
        n: stats_of(elasticsearch, n)["checkpointing"]["last"]["time_upper_bound_millis"] for n in ("aligned", "not")
    }
    assert bounds["aligned"] % 3_600_000 == 0
    assert bounds["not"] % 3_600_000 != 0


def test_documents_pass_the_destination_pipeline_and_keep_the_destinations_types(
    sandbox: Sandbox, elasticsearch: Elasticsearch, events: None
):
    ingest(elasticsearch, [event(sandbox, "ana", 5, records=4)])
    elasticsearch.ingest.put_pipeline(id="key", processors=[{"set": {"field": "key", "value": "{{{user.id}}}|x"}}])
    elasticsearch.indices.create(index="hours", mappings={"properties": {"@timestamp": {"type": "date"},
                                 "events": {"type": "long"}, "outcomes": {"type": "double"}}})  # fmt: skip
    batch = {"source": {"index": "events"}, "dest": {"index": "hours", "pipeline": "key"}, "pivot": PIVOT}
    elasticsearch.transform.put_transform(transform_id="t", body=batch)
    elasticsearch.transform.start_transform(transform_id="t")
    until(lambda: stats_of(elasticsearch)["state"] == "stopped")
    found = hours(elasticsearch)["ana", 8]
    assert (found["key"], repr(found["events"]), repr(found["outcomes"])) == ("ana|x", "1", "0.0")
    assert found["failed"] == {"records": 0.0, "most": None}


def test_an_update_takes_effect_at_the_next_checkpoint(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    elasticsearch.ingest.put_pipeline(id="mark", processors=[{"set": {"field": "marked", "value": True}}])
    elasticsearch.transform.update_transform(transform_id="t", dest={"index": "hours", "pipeline": "mark"})
    assert "marked" not in hours(elasticsearch)["ana", 8]
    ingest(elasticsearch, [event(sandbox, "ana", 6)])
    next_look(sandbox, elasticsearch)
    assert hours(elasticsearch)["ana", 8]["marked"] is True
    assert "marked" not in hours(elasticsearch)["ben", 9]


def test_a_stopped_transform_goes_on_where_it_was(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    elasticsearch.transform.stop_transform(transform_id="t", wait_for_completion=True)
    ingest(elasticsearch, [event(sandbox, "ana", 20)])
    sandbox.clock.advance(1000)
    time.sleep(0.1)
    assert hours(elasticsearch)["ana", 8]["events"] == 1
    elasticsearch.transform.start_transform(transform_id="t")
    until(lambda: stats_of(elasticsearch)["checkpointing"]["last"]["checkpoint"] == 2)
    assert (hours(elasticsearch)["ana", 8]["events"], hours(elasticsearch)["ben", 9]["version"]) == (2, 1)


def test_from_leaves_out_what_was_ingested_before(sandbox: Sandbox, elasticsearch: Elasticsearch, events: None):
    ingest(elasticsearch, [event(sandbox, "ana", 5)])
    sandbox.clock.advance(100)
    since = sandbox.clock.now_iso()
    ingest(elasticsearch, [event(sandbox, "ben", 5)])
    sandbox.clock.advance(100)
    elasticsearch.transform.put_transform(transform_id="t", body=CONTINUOUS)
    elasticsearch.transform.start_transform(transform_id="t", from_=since)
    until(lambda: stats_of(elasticsearch)["checkpointing"]["last"]["checkpoint"] == 1)
    assert set(hours(elasticsearch)) == {("ben", 8)}


def test_a_source_that_vanishes_fails_the_transform(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    elasticsearch.indices.delete(index="events")
    sandbox.clock.advance(400)
    until(lambda: stats_of(elasticsearch)["state"] == "failed")
    assert stats_of(elasticsearch)["reason"] == "task encountered irrecoverable failure: no such index [events]"


def test_a_deleted_transform_writes_no_more(sandbox: Sandbox, elasticsearch: Elasticsearch, running: None):
    ingest(elasticsearch, [event(sandbox, "ana", 20)])
    elasticsearch.transform.delete_transform(transform_id="t", force=True)
    sandbox.clock.advance(1000)
    time.sleep(0.1)
    assert hours(elasticsearch)["ana", 8]["events"] == 1


def test_a_started_transform_goes_on_after_a_restart(tmp_path: Path):
    with serve(data=tmp_path) as sandbox:
        client = Elasticsearch(sandbox.elasticsearch_url)
        client.indices.create(index="events", mappings=MAPPINGS)
        client.transform.put_transform(transform_id="t", body={**CONTINUOUS, "frequency": "1s"})
        client.transform.start_transform(transform_id="t")
        until(lambda: stats_of(client)["checkpointing"]["last"]["checkpoint"] == 1)
        ingest(client, [event(sandbox, "ana", 5)])
    with serve(data=tmp_path) as sandbox:
        client = Elasticsearch(sandbox.elasticsearch_url)
        assert stats_of(client)["state"] in {"started", "indexing"}
        sandbox.clock.advance(100)
        until(lambda: stats_of(client)["checkpointing"]["last"]["checkpoint"] == 2)
        assert hours(client)["ana", 8]["events"] == 1


def test_ids_depend_on_the_key_alone_and_have_the_length_of_the_servers():
    key = {"user.id": "ana", "@timestamp": 1_772_438_400_000}
    assert document_id(key) == document_id(dict(reversed(key.items())))
    assert len(document_id(key)) == len(document_id({"a": "x"})) == 32
    assert len({document_id({"a": v}) for v in ("", None, "x", 1, 1.0, "__NULL_VALUE__x")}) == 6


# Against plain Python ------------------------------------------------------------------------------------------------

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"minute": st.integers(0, 300), "user": st.sampled_from(["a", "b", "ä", "c|d"])},
        optional={"outcome": st.sampled_from(["success", "failure"]), "records": st.integers(-3, 50)},
    ),
    max_size=25,
)


def naive(events: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for e in events:
        hour = START + timedelta(hours=e["minute"] // 60)
        groups[e["user"], f"{hour:%Y-%m-%dT%H}:00:00.000Z"].append(e)
    return {key: _grouped(group) for key, group in groups.items()}


def _grouped(group: list[dict[str, Any]]) -> dict[str, Any]:
    def records(events: list[dict[str, Any]]) -> list[int]:
        return [e["records"] for e in events if "records" in e]

    failed = [e for e in group if e.get("outcome") == "failure"]
    known = records(group)
    return {
        "events": len(group),
        "failures": len(failed),
        "failed": {"records": float(sum(records(failed))), "most": max(records(failed), default=None)},
        "records": {"avg": sum(known) / len(known) if known else None, "least": min(known, default=None)},
        "outcomes": len({e["outcome"] for e in group if "outcome" in e}),
    }


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(first=EVENTS, late=EVENTS)
def test_a_pivot_equals_grouping_in_python_also_after_late_events(
    first: list[dict[str, Any]], late: list[dict[str, Any]]
):
    backend = Backend()
    try:
        backend.clock.freeze(START)
        backend.indices.create("events", {"mappings": MAPPINGS})
        backend.transforms.put("t", CONTINUOUS, defer_validation=False)
        backend.transforms.start("t", from_text=None)
        transform = backend.transforms.get("t")
        until(lambda: transform.last.number == 1)
        for batch, so_far in ((first, first), (late, first + late)):
            _write(backend, batch)
            _look(backend, transform)
            assert _stored(backend) == naive(so_far)
    finally:
        backend.close()


def _write(backend: Backend, events: list[dict[str, Any]]) -> None:
    if not events:
        return
    backend.documents.bulk(
        [
            BulkOperation(
                "index",
                "events",
                source={
                    "@timestamp": (START + timedelta(minutes=e["minute"])).isoformat(),
                    "ingested": backend.clock.now_iso(),
                    "user": {"id": e["user"]},
                    **{key: e[key] for key in ("outcome", "records") if key in e},
                },
            )
            for e in events
        ],
        refresh=True,
    )


def _look(backend: Backend, transform: Transform) -> None:
    before = transform.counters["trigger_count"]
    backend.clock.advance(400)
    until(lambda: transform.counters["trigger_count"] > before and transform.state == "started")


def _stored(backend: Backend) -> dict[tuple[str, str], dict[str, Any]]:
    backend.documents.refresh(backend.indices.resolve("hours"))
    found = {}
    for hit in backend.documents.scan("hours"):
        source = dict(hit.source)
        found[source.pop("user")["id"], source.pop("@timestamp")] = source
    return found
