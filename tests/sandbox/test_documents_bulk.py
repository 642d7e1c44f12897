"""Bulk requests: items, pipelines, data streams and their failure store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from elasticsearch import ApiError, BadRequestError, helpers

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

STREAM = "logs-app.audit-test"


@pytest.fixture
def stream(elasticsearch: Elasticsearch) -> str:
    """A data stream with a failure store and a long field."""
    elasticsearch.indices.put_index_template(
        name="app-audit",
        index_patterns=["logs-app.audit-*"],
        data_stream={},
        priority=501,
        template={
            "settings": {"index.mode": "standard"},
            "mappings": {"properties": {"@timestamp": {"type": "date"}, "count": {"type": "long"}}},
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
    )
    elasticsearch.indices.create_data_stream(name=STREAM)
    return STREAM


def _raw_bulk(sandbox: Sandbox, body: str) -> tuple[int, Any]:
    # The client would mend the body: it adds the missing newline.
    answer = requests.post(
        f"{sandbox.elasticsearch_url}/_bulk",
        data=body.encode(),
        headers={"content-type": "application/x-ndjson"},
        timeout=10,
    )
    return answer.status_code, answer.json()


def test_items_answer_in_order_and_fail_one_by_one(elasticsearch: Elasticsearch) -> None:
    answer = elasticsearch.bulk(
        operations=[
            {"index": {"_index": "a", "_id": "1"}}, {"n": 1},
            {"create": {"_index": "a", "_id": "1"}}, {"n": 2},
            {"update": {"_index": "a", "_id": "1"}}, {"doc": {"m": 3}},
            {"delete": {"_index": "a", "_id": "2"}},
            {"index": {"_index": "a", "_id": ""}}, {"n": 4},
            {"create": {"_index": "a"}}, {"n": 5},
        ]
    )  # fmt: skip
    assert answer["errors"] is True
    items = [next(iter(item.items())) for item in answer["items"]]
    assert [(action, result.get("status")) for action, result in items] == [
        ("index", 201), ("create", 409), ("update", 200), ("delete", 404), ("index", 400), ("create", 201),
    ]  # fmt: skip
    conflict = items[1][1]["error"]
    assert conflict["reason"] == "[1]: version conflict, document already exists (current version [1])"
    assert set(conflict) == {"type", "reason", "index_uuid", "shard", "index"}
    assert items[4][1]["error"]["reason"] == "if _id is specified it must not be empty"
    assert len(items[5][1]["_id"]) == 20


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"index": {"_index": "a"}}\n{"f": 1}\n{}\n', "Malformed action/metadata line [3], expected FIELD_NAME but found [END_OBJECT]"),  # noqa: E501
        ('{"index": {"_index": "a"}}\n{"f": 1}', "The bulk request must be terminated by a newline [\\n]"),
        ('{"upsert": {"_index": "a"}}\n{"f": 1}\n', "expected field [create], [delete], [index] or [update] but found [upsert]"),  # noqa: E501
        ('{"index": {"_index": "a", "_type": "t"}}\n{"f": 1}\n', "Action/metadata line [1] contains an unknown parameter [_type]"),  # noqa: E501
        ('{"index": {}}\n{"f": 1}\n', "Validation Failed: 1: index is missing;"),
        ("[]\n", "Malformed action/metadata line [1], expected START_OBJECT but found [START_ARRAY]"),
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused_as_a_whole(
    elasticsearch: Elasticsearch, sandbox: Sandbox, body: str, words: str
) -> None:
    status, answer = _raw_bulk(sandbox, body)
    assert status == 400
    assert words in answer["error"]["reason"]
    assert not elasticsearch.indices.exists(index="a")


def test_a_source_line_that_is_no_json_fails_only_its_item(sandbox: Sandbox) -> None:
    _, answer = _raw_bulk(sandbox, '{"index": {"_index": "a"}}\n{"f": \n{"index": {"_index": "a"}}\n{"f": 1}\n')
    assert [item["index"]["status"] for item in answer["items"]] == [400, 201]


def test_streams_take_creates_only(elasticsearch: Elasticsearch, stream: str) -> None:
    answer = elasticsearch.bulk(
        operations=[
            {"index": {"_index": stream, "_id": "1"}}, {"@timestamp": "2026-01-01"},
            {"create": {"_index": stream, "_id": "1"}}, {"@timestamp": "2026-01-01"},
            {"delete": {"_index": stream, "_id": "1"}},
        ]
    )  # fmt: skip
    index, create, delete = (next(iter(item.values())) for item in answer["items"])
    assert index["error"]["reason"] == "only write ops with an op_type of create are allowed in data streams"
    assert delete["error"]["reason"] == "only write ops with an op_type of create are allowed in data streams"
    assert create["_index"].startswith(f".ds-{stream}-")
    # By the name of its backing index a document may be deleted.
    assert elasticsearch.delete(index=create["_index"], id="1")["result"] == "deleted"


def test_a_document_that_does_not_fit_goes_to_the_failure_store_and_is_reported_as_success(
    elasticsearch: Elasticsearch, stream: str
) -> None:
    answer = elasticsearch.bulk(
        operations=[{"create": {"_index": stream, "_id": "bad"}}, {"@timestamp": "2026-01-01", "count": "x"}],
        refresh=True,
    )
    [item] = answer["items"]
    assert answer["errors"] is False
    assert item["create"]["status"] == 201
    assert item["create"]["failure_store"] == "used"
    assert item["create"]["_index"].startswith(f".fs-{stream}-")
    assert item["create"]["_id"] != "bad"
    assert elasticsearch.count(index=stream)["count"] == 0
    [hit] = elasticsearch.search(index=f"{stream}::failures")["hits"]["hits"]
    assert hit["_source"]["document"] == {
        "id": "bad",
        "index": stream,
        "source": {"@timestamp": "2026-01-01", "count": "x"},
    }
    assert hit["_source"]["error"]["type"] == "document_parsing_exception"
    assert "failed to parse field [count] of type [long]" in hit["_source"]["error"]["message"]


def test_a_document_without_a_timestamp_is_redirected_with_the_servers_reason(
    elasticsearch: Elasticsearch, stream: str
) -> None:
    answer = elasticsearch.bulk(operations=[{"create": {"_index": stream}}, {"count": 1}], refresh=True)
    assert answer["items"][0]["create"]["failure_store"] == "used"
    found = elasticsearch.search(
        index=f"{stream}::failures", query={"term": {"error.type": "document_parsing_exception"}}
    )
    assert (
        "data stream timestamp field [@timestamp] is missing" in found["hits"]["hits"][0]["_source"]["error"]["message"]
    )


def test_a_conflict_in_a_stream_is_an_error_and_not_redirected(elasticsearch: Elasticsearch, stream: str) -> None:
    document = {"@timestamp": "2026-01-01"}
    elasticsearch.create(index=stream, id="1", document=document)
    answer = elasticsearch.bulk(operations=[{"create": {"_index": stream, "_id": "1"}}, document])
    assert answer["items"][0]["create"]["status"] == 409
    assert elasticsearch.count(index=f"{stream}::failures")["count"] == 0


def test_a_pipeline_sets_the_id_drops_and_fails_in_one_request(elasticsearch: Elasticsearch, stream: str) -> None:
    elasticsearch.ingest.put_pipeline(
        id="normalize",
        processors=[
            {"set": {"field": "_id", "copy_from": "event.id", "if": "ctx.event?.id != null"}},
            {"drop": {"if": "ctx.kind == 'noise'"}},
            {"fail": {"message": "broken {{kind}}", "tag": "judge", "if": "ctx.kind == 'broken'"}},
            {"set": {"field": "seen", "value": True}},
        ],
    )
    events = [{"@timestamp": "2026-01-01", "kind": kind, "event": {"id": kind}} for kind in ("fine", "noise", "broken")]
    operations = [line for event in events for line in ({"create": {"_index": stream}}, event)]
    answer = elasticsearch.bulk(operations=operations, pipeline="normalize", refresh=True)
    fine, noise, broken = (item["create"] for item in answer["items"])
    assert (fine["_id"], fine["status"], fine["result"]) == ("fine", 201, "created")
    assert (noise["result"], noise["status"], noise["_id"], noise["_version"]) == ("noop", 200, "auto-generated", -3)
    assert broken["failure_store"] == "used"
    assert "ingest_took" in answer
    [hit] = elasticsearch.search(index=stream)["hits"]["hits"]
    assert hit["_source"]["seen"] is True
    [failure] = elasticsearch.search(index=f"{stream}::failures")["hits"]["hits"]
    error = failure["_source"]["error"]
    assert (error["message"], error["pipeline"], error["processor_tag"], error["processor_type"]) == (
        "broken broken", "normalize", "judge", "fail",
    )  # fmt: skip
    assert error["type"] == "fail_processor_exception"
    # The failure store keeps the document as it came.
    assert failure["_source"]["document"]["source"] == events[2]


def test_require_data_stream_refuses_a_plain_index(elasticsearch: Elasticsearch) -> None:
    answer = elasticsearch.bulk(operations=[{"create": {"_index": "plain"}}, {"a": 1}], require_data_stream=True)
    assert answer["items"][0]["create"]["status"] == 404
    assert not elasticsearch.indices.exists(index="plain")


def test_injected_item_faults_hit_single_items(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.faults.add(action="bulk_items", path="a", status=429, times=1)
    operations = [{"index": {"_index": "a", "_id": "1"}}, {"n": 1}, {"index": {"_index": "a", "_id": "2"}}, {"n": 2}]
    answer = elasticsearch.bulk(operations=operations)
    assert [item["index"]["status"] for item in answer["items"]] == [429, 201]


def test_a_flooded_disk_refuses_items_with_429(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.faults.flood_stage_pattern = "a*"
    answer = elasticsearch.bulk(operations=[{"index": {"_index": "abc"}}, {"n": 1}])
    assert answer["items"][0]["index"]["error"]["type"] == "cluster_block_exception"
    with pytest.raises(ApiError) as blocked:
        elasticsearch.index(index="abc", document={"n": 1})
    assert blocked.value.status_code == 429


def test_the_clients_own_helpers_write_and_read_everything(elasticsearch: Elasticsearch) -> None:
    actions = ({"_index": "many", "_id": str(n), "n": n} for n in range(2500))
    assert helpers.bulk(elasticsearch, actions, chunk_size=400, refresh=True) == (2500, [])
    seen = [hit["_source"]["n"] for hit in helpers.scan(elasticsearch, index="many", size=700)]
    assert sorted(seen) == list(range(2500))


def test_a_failure_store_is_read_by_its_selector_and_written_by_nobody(
    elasticsearch: Elasticsearch, stream: str
) -> None:
    bad = {"@timestamp": "2026-01-01", "count": "x"}
    good = {"@timestamp": "2026-01-01", "count": 1}
    create = {"create": {"_index": stream}}
    elasticsearch.bulk(operations=[create, bad, create, good, create, bad], refresh=True)
    failures = f"{stream}::failures"
    for expression, count in {
        failures: 2,
        f"{stream}::data": 1,
        "logs-*::failures": 2,
        f"{stream},{failures}": 3,
    }.items():
        assert elasticsearch.count(index=expression)["count"] == count, expression
        assert elasticsearch.search(index=expression)["hits"]["total"]["value"] == count, expression
        rows = elasticsearch.esql.query(query=f"FROM {expression} | STATS n = COUNT(*) | LIMIT 1")["values"]
        assert rows == [[count]], expression
    caps = elasticsearch.field_caps(index=failures, fields="error.type,count")
    assert [name.startswith(f".fs-{stream}-") for name in caps["indices"]] == [True]
    assert list(caps["fields"]) == ["error", "error.type"]
    with pytest.raises(BadRequestError) as unknown:
        elasticsearch.count(index=f"{stream}::nothing")
    assert "[nothing] is not a recognized selector" in unknown.value.body["error"]["reason"]

    with pytest.raises(BadRequestError) as mapped:
        elasticsearch.indices.put_mapping(index=failures, properties={"n": {"type": "long"}})
    assert mapped.value.error == "unsupported_selector_exception"
    with pytest.raises(BadRequestError) as deleted:
        elasticsearch.indices.delete(index=failures)
    assert (deleted.value.error, deleted.value.body["error"]["reason"]) == (
        "unsupported_selector_exception",
        f"Index component selectors are not supported in this context but found selector in expression [{failures}]",
    )
    for write in (
        lambda: elasticsearch.index(index=failures, document=good),
        lambda: elasticsearch.create(index=failures, id="n", document=good),
        lambda: elasticsearch.update(index=failures, id="n", doc=good, doc_as_upsert=True),
        lambda: elasticsearch.delete(index=failures, id="n"),
    ):
        with pytest.raises(ApiError) as refused:
            write()
        # Nothing has that name, so it is to be created, and is no name for a stream (MetadataCreateDataStreamService).
        assert refused.value.body["error"]["reason"] in {
            f"data_stream [{failures}] must not contain ':'",
            f"no such index [{failures}]",
        }
    [item] = elasticsearch.bulk(operations=[{"create": {"_index": failures}}, good], refresh=True)["items"]
    assert (item["create"]["status"], item["create"]["error"]["reason"]) == (
        400,
        f"data_stream [{failures}] must not contain ':'",
    )
    assert elasticsearch.count(index=f"{stream},{failures}")["count"] == 3
