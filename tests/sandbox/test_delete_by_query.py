"""_delete_by_query as the tests of modules/reindex state it: slices, throttling, tasks, conflicts, data streams."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

ALL: dict[str, Any] = {"match_all": {}}
RATE = "[requests_per_second] must be a float greater than 0. Use -1 to disable throttling."


@pytest.fixture
def six(elasticsearch: Elasticsearch) -> Elasticsearch:
    """Six documents in index ``test``."""
    operations = [line for n in range(6) for line in ({"index": {"_index": "test", "_id": str(n)}}, {"n": n})]
    assert not elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    return elasticsearch


def _left(client: Elasticsearch, index: str = "test") -> int:
    client.indices.refresh(index=index)
    return int(client.count(index=index)["count"])


def _until(client: Elasticsearch, task: str, deleted: int) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    status: dict[str, Any] = {}
    while time.monotonic() < deadline:
        status = client.tasks.get(task_id=task)["task"]["status"]
        if status.get("deleted") == deleted:
            return status
    raise AssertionError(f"never {deleted} deleted: {status}")


def _until_started(client: Elasticsearch, task: str) -> None:
    # A rate given before the work begins would be replaced by its own.
    deadline = time.monotonic() + 10
    while not client.tasks.get(task_id=task)["task"]["status"]:
        assert time.monotonic() < deadline


def _finished(client: Elasticsearch, task: str) -> dict[str, Any]:
    return dict(client.tasks.get(task_id=task, wait_for_completion=True, timeout="20s"))


def test_each_slice_reports_itself_and_together_they_delete_everything(six: Elasticsearch) -> None:
    # 80_slices.yml
    answer = six.delete_by_query(index="test", query=ALL, slices=5)
    assert (answer["total"], answer["deleted"], answer["failures"], answer["timed_out"]) == (6, 6, [], False)
    assert [piece["slice_id"] for piece in answer["slices"]] == [0, 1, 2, 3, 4]
    assert sum(piece["deleted"] for piece in answer["slices"]) == 6
    assert all(piece["version_conflicts"] == piece["throttled_millis"] == 0 for piece in answer["slices"])
    assert _left(six) == 0


def test_automatic_slices_are_the_shards(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="test", settings={"number_of_shards": 3})
    for n in range(4):
        elasticsearch.index(index="test", id=str(n), document={"n": n}, refresh=True)
    answer = elasticsearch.delete_by_query(index="test", query=ALL, slices="auto")
    assert (answer["deleted"], len(answer["slices"])) == (4, 3)


def test_without_waiting_the_answer_is_a_task_whose_result_is_kept(six: Elasticsearch) -> None:
    # 10_basic.yml and 80_slices.yml, wait_for_completion=false
    started = six.delete_by_query(index="test", query=ALL, slices=2, wait_for_completion=False)
    assert list(started) == ["task"]
    result = _finished(six, started["task"])
    assert result["completed"] is True
    assert result["task"]["action"] == "indices:data/write/delete/byquery"
    assert result["task"]["description"] == "delete-by-query [test]"
    assert (result["response"]["deleted"], len(result["response"]["slices"])) == (6, 2)
    assert (result["task"]["status"]["deleted"], len(result["task"]["status"]["slices"])) == (6, 2)
    assert not {"created", "updated", "task"} & set(result["response"])


def test_throttling_waits_between_batches_by_the_clock(six: Elasticsearch, sandbox: Sandbox) -> None:
    # 70_throttle.yml
    started = six.delete_by_query(
        index="test", query=ALL, scroll_size=2, requests_per_second=0.1, wait_for_completion=False
    )
    for done in (2, 4, 6):
        status = _until(six, started["task"], done)
        assert status["requests_per_second"] == pytest.approx(0.1)
        sandbox.clock.advance(21)
    response = _finished(six, started["task"])["response"]
    assert (response["batches"], response["deleted"]) == (3, 6)
    assert response["throttled_millis"] >= 40_000


def test_a_throttled_one_is_cancelled_after_the_batch_it_is_at(six: Elasticsearch) -> None:
    started = six.delete_by_query(
        index="test", query=ALL, scroll_size=2, requests_per_second=0.0001, wait_for_completion=False
    )
    _until(six, started["task"], 2)
    six.tasks.cancel(task_id=started["task"])
    response = _finished(six, started["task"])["response"]
    assert (response["deleted"], response["canceled"]) == (2, "by user request")
    assert _left(six) == 4


def test_rethrottling_lets_it_go_on(six: Elasticsearch) -> None:
    # 80_slices.yml rethrottles a delete by query by the path of _reindex.
    started = six.delete_by_query(
        index="test", query=ALL, slices=2, scroll_size=1, requests_per_second=0.0001, wait_for_completion=False
    )
    _until_started(six, started["task"])
    six.reindex_rethrottle(task_id=started["task"], requests_per_second=-1)
    response = _finished(six, started["task"])["response"]
    assert (response["total"], response["deleted"], len(response["slices"])) == (6, 6, 2)


def test_a_conflict_is_409_and_counted_or_passed_over(elasticsearch: Elasticsearch) -> None:
    # 10_basic.yml, version conflict (seq no powered) and conflicts=proceed
    elasticsearch.indices.create(index="test", settings={"index.refresh_interval": "-1"})
    elasticsearch.index(index="test", id="1", document={"v": 1}, refresh=True)
    elasticsearch.index(index="test", id="1", document={"v": 2})
    with pytest.raises(ApiError) as conflict:
        elasticsearch.delete_by_query(index="test", query=ALL)
    assert conflict.value.status_code == 409
    body = conflict.value.body
    assert (body["deleted"], body["version_conflicts"], body["batches"]) == (0, 1, 1)
    [failure] = body["failures"]
    assert (failure["index"], failure["id"], failure["status"]) == ("test", "1", 409)
    assert failure["cause"]["type"] == "version_conflict_engine_exception"
    assert failure["cause"]["index"] == "test"
    assert failure["cause"]["shard"] == "0"
    passed = elasticsearch.delete_by_query(index="test", query=ALL, conflicts="proceed")
    assert (passed["deleted"], passed["version_conflicts"], passed["noops"], passed["failures"]) == (0, 1, 0, [])
    assert _left(elasticsearch) == 1


@pytest.mark.parametrize("place", ["url", "body"])
def test_max_docs_limits_it(six: Elasticsearch, place: str) -> None:
    # The client sends both in the body.
    path, body = ("?max_docs=2", {"query": ALL}) if place == "url" else ("", {"query": ALL, "max_docs": 2})
    headers = {"accept": "application/json", "content-type": "application/json"}
    answer = six.perform_request("POST", f"/test/_delete_by_query{path}", headers=headers, body=body).body
    assert (answer["total"], answer["deleted"], answer["batches"]) == (2, 2, 1)
    assert _left(six) == 4


def test_in_a_stream_it_deletes_from_every_backing_index(elasticsearch: Elasticsearch) -> None:
    stream = "logs-x.y-z"
    elasticsearch.indices.put_index_template(name="t", index_patterns=["logs-x.y-*"], data_stream={}, priority=501)
    for n in range(4):
        moment = f"2026-01-01T00:00:0{n}Z"
        elasticsearch.create(index=stream, id=str(n), document={"@timestamp": moment, "n": n}, refresh=True)
        if n == 1:
            elasticsearch.indices.rollover(alias=stream)
    answer = elasticsearch.delete_by_query(index=stream, query={"range": {"n": {"lt": 3}}}, refresh=True)
    assert (answer["total"], answer["deleted"]) == (3, 3)
    assert [hit["_id"] for hit in elasticsearch.search(index=stream)["hits"]["hits"]] == ["3"]


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ("", {}, "query is missing"),
        ("conflicts=cat", None, 'conflicts may only be "proceed" or "abort" but was [cat]'),
        ("max_docs=-4", None, "[max_docs] parameter cannot be negative, found [-4]"),
        ("max_docs=1&slices=2", None, "[max_docs] should be >= [slices]"),
        ("scroll_size=asdf", None, "Failed to parse int parameter [scroll_size] with value [asdf]"),
        ("requests_per_second=", None, RATE),
        ("requests_per_second=-12", None, RATE),
        ("requests_per_second=unlimited", None, RATE),
        ("slices=junk", None, '[slices] must be a positive integer or the string "auto"'),
        ("slices=0", None, '[slices] must be a positive integer or the string "auto"'),
        ("", {"stored_fields": ["_id"]}, "stored_fields is not supported in this context"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_and_nothing_deleted(six: Elasticsearch, query: str, body: Any, words: str) -> None:
    # 20_validation.yml
    headers = {"accept": "application/json", "content-type": "application/json"}
    body = {"query": ALL} if body is None else body
    with pytest.raises(BadRequestError) as refused:
        six.perform_request("POST", f"/test/_delete_by_query?{query}", headers=headers, body=body)
    assert words in refused.value.body["error"]["reason"]
    assert _left(six) == 6
