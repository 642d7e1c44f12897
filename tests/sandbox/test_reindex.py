"""Reindex and delete by query: counts, conflicts, pipelines, throttling, tasks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox


@pytest.fixture
def source(elasticsearch: Elasticsearch) -> Elasticsearch:
    """Twenty documents in index ``source``."""
    operations = [
        line
        for n in range(20)
        for line in ({"index": {"_index": "source", "_id": str(n)}}, {"n": n, "drop": n % 4 == 0})
    ]
    assert not elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    return elasticsearch


def _finished(client: Elasticsearch, task: str) -> Any:
    return client.tasks.get(task_id=task, wait_for_completion=True, timeout="20s")


def test_documents_are_copied_and_counted(source: Elasticsearch) -> None:
    answer = source.reindex(source={"index": "source", "size": 8}, dest={"index": "copy"}, refresh=True)
    assert {key: answer[key] for key in ("total", "created", "updated", "batches", "version_conflicts", "noops", "failures")} == {  # noqa: E501
        "total": 20, "created": 20, "updated": 0, "batches": 3, "version_conflicts": 0, "noops": 0, "failures": [],
    }  # fmt: skip
    assert "slices" not in answer
    assert source.count(index="copy")["count"] == 20
    again = source.reindex(source={"index": "source", "query": {"range": {"n": {"lt": 5}}}}, dest={"index": "copy"})
    assert (again["created"], again["updated"]) == (0, 5)


def test_only_chosen_fields_are_copied(source: Elasticsearch) -> None:
    source.reindex(source={"index": "source", "_source": ["n"]}, dest={"index": "copy"}, max_docs=3)
    assert source.get(index="copy", id="2")["_source"] == {"n": 2}
    assert not source.exists(index="copy", id="3")


def test_a_conflict_stops_it_unless_conflicts_may_proceed(source: Elasticsearch) -> None:
    source.index(index="copy", id="3", document={"n": -1})
    with pytest.raises(ApiError) as stopped:
        source.reindex(source={"index": "source"}, dest={"index": "copy", "op_type": "create"})
    assert stopped.value.status_code == 409
    [failure] = stopped.value.body["failures"]
    assert (failure["index"], failure["id"], failure["status"]) == ("copy", "3", 409)
    assert failure["cause"]["reason"] == "[3]: version conflict, document already exists (current version [1])"
    proceeded = source.reindex(
        source={"index": "source"}, dest={"index": "copy", "op_type": "create"}, conflicts="proceed"
    )
    assert (proceeded["version_conflicts"], proceeded["created"], proceeded["failures"]) == (20, 0, [])


def test_what_a_pipeline_drops_is_counted_as_updated(source: Elasticsearch) -> None:
    source.ingest.put_pipeline(
        id="thin", processors=[{"drop": {"if": "ctx.drop"}}, {"set": {"field": "seen", "value": "{{_index}}"}}]
    )
    answer = source.reindex(source={"index": "source"}, dest={"index": "copy", "pipeline": "thin"}, refresh=True)
    assert (answer["total"], answer["created"], answer["updated"], answer["noops"]) == (20, 15, 5, 0)
    assert source.count(index="copy")["count"] == 15
    assert source.get(index="copy", id="1")["_source"]["seen"] == "copy"


def test_slices_share_the_documents_and_report_themselves(source: Elasticsearch) -> None:
    answer = source.reindex(source={"index": "source"}, dest={"index": "copy"}, slices=3)
    assert [piece["slice_id"] for piece in answer["slices"]] == [0, 1, 2]
    assert sum(piece["created"] for piece in answer["slices"]) == answer["created"] == 20
    assert "slices" not in source.reindex(source={"index": "source"}, dest={"index": "copy"}, slices="auto")


def test_a_task_shows_its_status_result_and_who_asked_for_it(source: Elasticsearch) -> None:
    started = source.options(opaque_id="run-7").reindex(
        source={"index": "source"}, dest={"index": "copy"}, wait_for_completion=False
    )
    result = _finished(source, started["task"])
    assert result["completed"] is True
    assert result["response"]["created"] == 20
    assert result["task"]["action"] == "indices:data/write/reindex"
    assert result["task"]["description"] == "reindex from [source] to [copy]"
    assert result["task"]["headers"] == {"X-Opaque-Id": "run-7"}
    assert result["task"]["status"]["created"] == 20


def test_an_error_of_a_task_is_found_in_its_result(elasticsearch: Elasticsearch) -> None:
    started = elasticsearch.reindex(source={"index": "gone"}, dest={"index": "copy"}, wait_for_completion=False)
    result = _finished(elasticsearch, started["task"])
    assert result["error"]["type"] == "index_not_found_exception"
    with pytest.raises(NotFoundError):
        elasticsearch.reindex(source={"index": "gone"}, dest={"index": "copy"})


def test_a_throttled_task_waits_by_the_clock(source: Elasticsearch, sandbox: Sandbox) -> None:
    started = source.reindex(
        source={"index": "source", "size": 5},
        dest={"index": "copy"},
        requests_per_second=0.1,
        wait_for_completion=False,
    )
    task = _until(source, started["task"], lambda status: status.get("created") == 5)
    assert task["requests_per_second"] == pytest.approx(0.1)
    assert task["throttled_until_millis"] > 0
    for done in (10, 15, 20):
        sandbox.clock.advance(51)
        _until(source, started["task"], lambda status, done=done: status["created"] == done)
    sandbox.clock.advance(51)
    response = _finished(source, started["task"])["response"]
    assert response["created"] == 20
    assert response["throttled_millis"] >= 150_000


def test_a_cancelled_task_stops_and_says_so(source: Elasticsearch) -> None:
    started = source.reindex(
        source={"index": "source", "size": 5},
        dest={"index": "copy"},
        requests_per_second=0.001,
        wait_for_completion=False,
    )
    _until(source, started["task"], lambda status: status.get("created") == 5)
    source.tasks.cancel(task_id=started["task"])
    response = _finished(source, started["task"])["response"]
    assert response["canceled"] == "by user request"
    assert response["created"] == 5


def test_rethrottling_lets_a_slow_task_run(source: Elasticsearch) -> None:
    started = source.reindex(
        source={"index": "source", "size": 5},
        dest={"index": "copy"},
        requests_per_second=0.001,
        wait_for_completion=False,
    )
    _until(source, started["task"], lambda status: status.get("created") == 5)
    source.reindex_rethrottle(task_id=started["task"], requests_per_second=-1)
    assert _finished(source, started["task"])["response"]["created"] == 20


def _until(client: Elasticsearch, task: str, reached: Any) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = client.tasks.get(task_id=task)["task"]["status"]
        if reached(status):
            return status
    raise AssertionError(f"task {task} did not get there: {status}")


def test_a_stream_takes_creates_from_a_reindex(source: Elasticsearch) -> None:
    source.indices.put_index_template(name="t", index_patterns=["logs-x.y-*"], data_stream={}, priority=501)
    source.ingest.put_pipeline(
        id="stamp", processors=[{"set": {"field": "@timestamp", "value": "2026-01-01T00:00:00Z"}}]
    )
    dest = {"index": "logs-x.y-z", "op_type": "create", "pipeline": "stamp"}
    assert source.reindex(source={"index": "source"}, dest=dest, refresh=True)["created"] == 20
    assert source.count(index="logs-x.y-z")["count"] == 20


@pytest.mark.parametrize(
    ("body", "params", "words"),
    [
        ({"source": {"index": "source"}, "dest": {"index": "source"}}, {}, "reindex cannot write into an index its reading from [source]"),  # noqa: E501
        ({"source": {"index": "source"}, "dest": {}}, {}, "index must be specified"),
        ({"junk": 1}, {}, "[reindex] unknown field [junk]"),
        ({"source": {"index": "source"}, "dest": {"junk": 1}}, {}, "[dest] unknown field [junk]"),
        ({"source": {"index": "source", "junk": {}}, "dest": {"index": "d"}}, {}, "Unknown key for a START_OBJECT in [junk]."),  # noqa: E501
        ({"conflicts": "cat", "source": {"index": "source"}, "dest": {"index": "d"}}, {}, 'conflicts may only be "proceed" or "abort" but was [cat]'),  # noqa: E501
        ({"source": {"index": "source"}, "dest": {"index": "d"}}, {"slices": "0"}, '[slices] must be a positive integer or the string "auto"'),  # noqa: E501
        ({"source": {"index": "source"}, "dest": {"index": "d"}}, {"requests_per_second": "0"},
         "[requests_per_second] must be a float greater than 0. Use -1 to disable throttling."),
        ({"source": {"index": "source"}, "dest": {"index": "d"}}, {"max_docs": "1", "slices": "2"}, "[max_docs] should be >= [slices]"),  # noqa: E501
        ({"source": {"index": "source"}, "dest": {"index": "d"}, "max_docs": -4}, {}, "[max_docs] parameter cannot be negative, found [-4]"),  # noqa: E501
        ({"source": {"index": "source", "query": {"nope": {}}}, "dest": {"index": "d"}}, {}, "unknown query [nope]"),
    ],
)  # fmt: skip
def test_a_reindex_that_makes_no_sense_is_refused(
    source: Elasticsearch, body: dict[str, Any], params: dict[str, str], words: str
) -> None:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    headers = {"accept": "application/json", "content-type": "application/json"}
    with pytest.raises(BadRequestError) as refused:
        source.perform_request("POST", f"/_reindex?{query}", headers=headers, body=body)
    assert words in str(refused.value.body).replace("\\'", "'")
    assert not source.indices.exists(index="d")


def test_a_script_is_501(source: Elasticsearch) -> None:
    with pytest.raises(ApiError) as refused:
        source.reindex(source={"index": "source"}, dest={"index": "d"}, script={"source": "ctx.op = 'noop'"})
    assert refused.value.status_code == 501


def test_delete_by_query_deletes_what_matches(source: Elasticsearch) -> None:
    answer = source.delete_by_query(index="source", query={"range": {"n": {"gte": 15}}}, refresh=True, scroll_size=2)
    assert (answer["total"], answer["deleted"], answer["batches"], answer["version_conflicts"]) == (5, 5, 3, 0)
    assert "created" not in answer
    assert "updated" not in answer
    assert source.count(index="source")["count"] == 15


def test_delete_by_query_spares_what_changed_since_it_was_found(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="test", settings={"index.refresh_interval": "-1"})
    elasticsearch.index(index="test", id="1", document={"v": 1}, refresh=True)
    elasticsearch.index(index="test", id="1", document={"v": 2})
    with pytest.raises(ApiError) as conflict:
        elasticsearch.delete_by_query(index="test", query={"match_all": {}})
    assert conflict.value.status_code == 409
    [failure] = conflict.value.body["failures"]
    assert failure["cause"]["reason"].startswith("[1]: version conflict, required seqNo [0]")
    spared = elasticsearch.delete_by_query(index="test", query={"match_all": {}}, conflicts="proceed")
    assert (spared["deleted"], spared["version_conflicts"], spared["failures"]) == (0, 1, [])
    assert elasticsearch.get(index="test", id="1")["_source"] == {"v": 2}


def test_delete_by_query_needs_a_query(source: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as refused:
        source.delete_by_query(index="source", body={})
    assert "query is missing" in refused.value.body["error"]["reason"]
