"""Enrich: policies, the frozen copy an execution makes, and the processor that reads it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, NotFoundError

from elastic_sandbox.backend import Backend

if TYPE_CHECKING:
    from pathlib import Path

    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

POLICY: dict[str, Any] = {"indices": "ml-labels", "match_field": "event.id", "enrich_fields": ["verdict", "rank"]}
MAPPINGS = {
    "dynamic": False,
    "properties": {
        "event": {"properties": {"id": {"type": "keyword"}}},
        "verdict": {"type": "keyword"},
        "rank": {"type": "byte"},
        "secret": {"type": "keyword"},
    },
}


@pytest.fixture
def labels(elasticsearch: Elasticsearch) -> Elasticsearch:
    elasticsearch.indices.create(index="ml-labels", mappings=MAPPINGS)
    documents: list[dict[str, Any]] = [
        {"event": {"id": "a"}, "verdict": "confirmed", "rank": 2, "secret": "s"},
        {"event.id": "b", "verdict": "none", "rank": 0},
        {"event": {"id": "b"}, "verdict": "suspicious", "rank": 1},
    ]
    operations = [line for document in documents for line in ({"index": {}}, document)]
    elasticsearch.bulk(index="ml-labels", operations=operations, refresh=True)
    elasticsearch.enrich.put_policy(name="by-event", match=POLICY)
    return elasticsearch


def enriched(client: Elasticsearch, source: dict[str, Any], **options: Any) -> Any:
    processor = {"policy_name": "by-event", "field": "event.id", "target_field": "label", **options}
    answer = client.ingest.simulate(pipeline={"processors": [{"enrich": processor}]}, docs=[{"_source": source}])
    doc = answer["docs"][0]
    return doc["error"]["reason"] if "error" in doc else doc["doc"]["_source"].get("label")


def test_a_policy_is_put_read_and_deleted(labels: Elasticsearch) -> None:
    expected = {"name": "by-event", **POLICY, "indices": ["ml-labels"]}
    assert labels.enrich.get_policy(name="by-event")["policies"] == [{"config": {"match": expected}}]
    assert labels.enrich.get_policy()["policies"] == [{"config": {"match": expected}}]
    assert labels.enrich.get_policy(name="nope")["policies"] == []
    assert labels.enrich.delete_policy(name="by-event") == {"acknowledged": True}
    with pytest.raises(NotFoundError, match=r"policy \[by-event\] not found"):
        labels.enrich.delete_policy(name="by-event")


def test_a_policy_cannot_be_put_twice(labels: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as caught:
        labels.enrich.put_policy(name="by-event", match=POLICY)
    assert caught.value.body["error"]["type"] == "resource_already_exists_exception"
    assert caught.value.body["error"]["reason"] == "policy [by-event] already exists"


def test_a_policy_over_a_missing_index_or_field_is_refused(labels: Elasticsearch) -> None:
    with pytest.raises(NotFoundError, match=r"no such index \[nope\]"):
        labels.enrich.put_policy(name="p", match={**POLICY, "indices": ["nope"]})
    with pytest.raises(ApiError) as caught:
        labels.enrich.put_policy(name="p", match={**POLICY, "match_field": "event.code"})
    assert caught.value.body["error"]["caused_by"]["reason"] == (
        "Could not traverse mapping to field [event.code]. Could not find the [code] field under [event]"
    )


@pytest.mark.parametrize("kind", ["range", "geo_match"])
def test_other_policy_types_are_not_pretended(labels: Elasticsearch, kind: str) -> None:
    with pytest.raises(ApiError) as caught:
        labels.enrich.put_policy(name="p", **{kind: POLICY})
    assert caught.value.status_code == 501
    assert caught.value.body["error"]["type"] == "sandbox_unsupported"


def test_a_pipeline_cannot_name_a_policy_that_was_never_executed(labels: Elasticsearch) -> None:
    processor = {"enrich": {"policy_name": "by-event", "field": "event.id", "target_field": "label"}}
    with pytest.raises(ApiError) as caught:
        labels.ingest.put_pipeline(id="p", processors=[processor])
    assert caught.value.status_code == 500
    assert caught.value.body["error"]["processor_type"] == "enrich"
    assert caught.value.body["error"]["caused_by"] == {
        "type": "illegal_argument_exception",
        "reason": "no enrich index exists for policy with name [by-event]",
    }
    assert labels.enrich.execute_policy(name="by-event") == {"status": {"phase": "COMPLETE"}}
    labels.ingest.put_pipeline(id="p", processors=[processor])


def test_the_processor_adds_match_and_enrich_fields_of_the_first_match(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    assert enriched(labels, {"event": {"id": "a"}}) == {"event": {"id": "a"}, "verdict": "confirmed", "rank": 2}
    assert enriched(labels, {"event": {"id": "z"}}) is None
    assert enriched(labels, {"event": {"id": "a"}, "label": "kept"}, override=False) == "kept"
    assert enriched(labels, {}, ignore_missing=True) is None
    assert enriched(labels, {}) == "field [event] not present as part of path [event.id]"


def test_several_matches_make_a_list(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    assert [label["rank"] for label in enriched(labels, {"event": {"id": "b"}}, max_matches=128)] == [0, 1]
    assert [label["rank"] for label in enriched(labels, {"event": {"id": "a"}}, max_matches=2)] == [2]
    both = enriched(labels, {"event": {"id": ["a", "b"]}}, max_matches=5)
    assert sorted(label["rank"] for label in both) == [0, 1, 2]
    with pytest.raises(BadRequestError, match="should be between 1 and 128"):
        enriched(labels, {}, max_matches=129)


def test_a_policy_query_limits_the_copy(labels: Elasticsearch) -> None:
    labels.enrich.put_policy(name="ranked", match={**POLICY, "query": {"range": {"rank": {"gte": 1}}}})
    labels.enrich.execute_policy(name="ranked")
    found = enriched(labels, {"event": {"id": "b"}}, policy_name="ranked", max_matches=9)
    assert [label["verdict"] for label in found] == ["suspicious"]


def test_documents_see_the_last_execution_not_the_index(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    labels.index(index="ml-labels", document={"event": {"id": "new"}, "verdict": "none", "rank": 0}, refresh=True)
    assert enriched(labels, {"event": {"id": "new"}}) is None
    labels.enrich.execute_policy(name="by-event")
    assert enriched(labels, {"event": {"id": "new"}})["verdict"] == "none"


def test_what_was_not_refreshed_is_not_copied(labels: Elasticsearch) -> None:
    labels.indices.put_settings(index="ml-labels", settings={"index.refresh_interval": "-1"})
    labels.index(index="ml-labels", document={"event": {"id": "new"}, "verdict": "none", "rank": 0})
    labels.enrich.execute_policy(name="by-event")
    assert enriched(labels, {"event": {"id": "new"}}) is None


def gone(client: Elasticsearch, task: str, seconds: float = 10) -> bool:
    """Wait until a task is neither running nor kept."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            client.tasks.get(task_id=task)
        except NotFoundError as error:
            return "isn't running and hasn't stored its results" in str(error)
        time.sleep(0.01)
    return False


def test_an_execution_can_run_as_a_task_that_keeps_no_result(labels: Elasticsearch) -> None:
    task = labels.enrich.execute_policy(name="by-event", wait_for_completion=False)["task"]
    assert gone(labels, task)
    assert enriched(labels, {"event": {"id": "a"}})["rank"] == 2


def test_executing_a_missing_policy_is_a_404_both_ways(elasticsearch: Elasticsearch) -> None:
    for wait in (True, False):
        with pytest.raises(NotFoundError, match=r"policy \[nope\]"):
            elasticsearch.enrich.execute_policy(name="nope", wait_for_completion=wait)


def test_one_execution_per_policy_at_a_time(sandbox: Sandbox, labels: Elasticsearch) -> None:
    refusal = "Could not obtain lock because policy execution for [by-event] is already in progress."
    with sandbox.backend.enrich.lock("by-event"):
        for attempt in (
            lambda: labels.enrich.execute_policy(name="by-event"),
            lambda: labels.enrich.execute_policy(name="by-event", wait_for_completion=False),
            lambda: labels.enrich.delete_policy(name="by-event"),
        ):
            with pytest.raises(ApiError) as caught:
                attempt()
            assert caught.value.status_code == 429
            assert caught.value.body["error"]["reason"] == refusal
    labels.enrich.execute_policy(name="by-event")


def test_a_task_releases_the_policy_when_it_fails(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    labels.indices.delete(index="ml-labels")
    task = labels.enrich.execute_policy(name="by-event", wait_for_completion=False)["task"]
    assert gone(labels, task)
    assert enriched(labels, {"event": {"id": "a"}})["rank"] == 2  # the older copy still serves
    labels.enrich.delete_policy(name="by-event")


def test_a_policy_that_a_pipeline_names_cannot_be_deleted(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    inner = {"enrich": {"policy_name": "by-event", "field": "event.id", "target_field": "label"}}
    labels.ingest.put_pipeline(id="p", processors=[{"foreach": {"field": "x", "processor": inner}}])
    with pytest.raises(ConflictError) as caught:
        labels.enrich.delete_policy(name="by-event")
    assert caught.value.body["error"]["reason"] == (
        "Could not delete policy [by-event] because a pipeline is referencing it [p]"
    )
    labels.ingest.delete_pipeline(id="p")
    labels.enrich.delete_policy(name="by-event")


def test_the_copy_survives_a_restart(tmp_path: Path) -> None:
    def write(backend: Backend) -> None:
        from elastic_sandbox.documents.operations import BulkOperation

        document = b'{"event":{"id":"a"},"verdict":"none","rank":0}'
        backend.documents.bulk([BulkOperation("index", "ml-labels", "1", raw=document)], refresh=True)

    first = Backend(tmp_path)
    first.indices.create("ml-labels", {"mappings": MAPPINGS})
    write(first)
    first.enrich.put("by-event", {"match": POLICY})
    first.enrich.execute("by-event")
    first.close()
    second = Backend(tmp_path)
    snapshot = second.enrich.snapshot("by-event")
    assert snapshot is not None
    assert snapshot.matches("a", 1) == [{"event": {"id": "a"}, "verdict": "none", "rank": 0}]
    second.close()


def test_a_thousand_look_ups_take_less_than_a_second(labels: Elasticsearch) -> None:
    labels.enrich.execute_policy(name="by-event")
    processor = {"enrich": {"policy_name": "by-event", "field": "event.id", "target_field": "label"}}
    docs = [{"_source": {"event": {"id": "a"}}}] * 1000
    started = time.perf_counter()
    answer = labels.ingest.simulate(pipeline={"processors": [processor]}, docs=docs)["docs"]
    assert len(answer) == 1000
    assert time.perf_counter() - started < 1
