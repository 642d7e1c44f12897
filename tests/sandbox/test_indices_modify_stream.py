"""Attaching indices to data streams and detaching them, after Elastic's test 170_modify_data_stream.yml."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch

from elastic_sandbox.testing import Sandbox

STREAM, OTHER = "logs-mine.audit-prod", "logs-mine.audit-test"


@pytest.fixture
def streams(sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.put_index_template(
        name="mine",
        index_patterns=["logs-mine.audit-*"],
        priority=501,
        data_stream={},
        template={
            "settings": {"index.mapping.ignore_malformed": False},
            "mappings": {"properties": {"count": {"type": "long"}}},
            "data_stream_options": {"failure_store": {"enabled": True}},
        },
    )
    for name in (STREAM, OTHER):
        elasticsearch.indices.create_data_stream(name=name)
    plain(elasticsearch, "history-1")


def plain(client: Elasticsearch, name: str, properties: dict[str, Any] | None = None) -> None:
    client.indices.create(
        index=name, mappings={"properties": properties or {"@timestamp": {"type": "date"}, "count": {"type": "long"}}}
    )


def action(kind: str, index: str, stream: str = STREAM, **more: Any) -> dict[str, Any]:
    return {f"{kind}_backing_index": {"data_stream": stream, "index": index, **more}}


def modify(client: Elasticsearch, *actions: dict[str, Any]) -> None:
    assert client.indices.modify_data_stream(actions=list(actions))["acknowledged"]


def refusal(client: Elasticsearch, *actions: dict[str, Any]) -> str:
    with pytest.raises(BadRequestError) as refused:
        client.indices.modify_data_stream(actions=list(actions))
    assert refused.value.error == "illegal_argument_exception"
    return str(refused.value.body["error"]["reason"])


def shown(client: Elasticsearch, name: str = STREAM) -> tuple[int, list[str], list[str]]:
    [found] = client.indices.get_data_stream(name=name)["data_streams"]
    failures = found["failure_store"]["indices"]
    return (
        found["generation"],
        [index["index_name"] for index in found["indices"]],
        [index["index_name"] for index in failures],
    )


@pytest.mark.usefixtures("streams")
def test_an_attached_index_comes_first_and_counts_as_a_generation(elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="history-1", document={"@timestamp": "2009-11-15T14:12:12", "count": 1}, refresh=True)
    elasticsearch.indices.rollover(alias=STREAM)
    _, [first, write], _ = shown(elasticsearch)

    modify(elasticsearch, action("add", "history-1"))

    assert shown(elasticsearch) == (3, ["history-1", first, write], [])
    assert elasticsearch.count(index=STREAM)["count"] == 1
    made = elasticsearch.indices.get(index="history-1")["history-1"]
    assert made["settings"]["index"]["hidden"] == "true"
    assert made["data_stream"] == STREAM
    assert made["mappings"]["_data_stream_timestamp"] == {"enabled": True}


@pytest.mark.usefixtures("streams")
def test_an_attached_index_takes_no_more_documents_and_a_detached_one_does(elasticsearch: Elasticsearch) -> None:
    modify(elasticsearch, action("add", "history-1"))
    for call in (elasticsearch.create, elasticsearch.index):
        with pytest.raises(BadRequestError, match="targeting backing indices is disallowed"):
            call(index="history-1", id="1", document={"@timestamp": "2020-01-01T00:00:00Z"})

    modify(elasticsearch, action("remove", "history-1"))
    elasticsearch.index(index="history-1", id="1", document={"@timestamp": "2020-01-01T00:00:00Z"})

    assert elasticsearch.indices.get_settings(index="history-1")["history-1"]["settings"]["index"]["hidden"] == "false"
    assert shown(elasticsearch)[0] == 3


@pytest.mark.usefixtures("streams")
def test_what_an_index_must_be_to_be_attached(elasticsearch: Elasticsearch) -> None:
    plain(elasticsearch, "no-time", {"count": {"type": "long"}})
    plain(elasticsearch, "wrong-time", {"@timestamp": {"type": "keyword"}})
    elasticsearch.indices.create(index="empty")
    plain(elasticsearch, "aliased")
    elasticsearch.indices.put_alias(index="aliased", name="a")

    assert refusal(elasticsearch, action("add", "missing")) == "index [missing] not found"
    assert refusal(elasticsearch, action("add", "a")) == "index [a] not found"
    assert refusal(elasticsearch, action("add", "history-1", "nowhere")) == "data stream [nowhere] not found"
    assert refusal(elasticsearch, action("add", "no-time")) == (
        "data stream timestamp field [@timestamp] does not exist"
    )
    assert "is of type [keyword], but [date,date_nanos] is expected" in refusal(
        elasticsearch, action("add", "wrong-time")
    )
    assert refusal(elasticsearch, action("add", "empty")) == (
        "backing index [empty] must have mappings for a timestamp field"
    )
    assert refusal(elasticsearch, action("add", "aliased")) == (
        f"cannot add index [aliased] to data stream [{STREAM}] until its alias [a] is removed"
    )
    elasticsearch.indices.put_alias(index="aliased", name="b")
    assert "until its aliases [a,b] are removed" in refusal(elasticsearch, action("add", "aliased"))


@pytest.mark.usefixtures("streams")
def test_the_write_index_stays_and_an_index_has_one_stream(elasticsearch: Elasticsearch) -> None:
    _, [write], _ = shown(elasticsearch)
    _, [other], _ = shown(elasticsearch, OTHER)

    assert refusal(elasticsearch, action("remove", write)) == (
        f"cannot remove backing index [{write}] of data stream [{STREAM}] because it is the write index"
    )
    assert refusal(elasticsearch, action("remove", "history-1")) == "index [history-1] not found"
    assert refusal(elasticsearch, action("add", other)) == (
        f"cannot add index [{other}] to data stream [{STREAM}] because it is already a backing index on data stream "
        f"[{OTHER}]"
    )
    assert f"because it is already a backing index on data stream [{STREAM}]" in refusal(
        elasticsearch, action("add", write, failure_store=True)
    )
    modify(elasticsearch, action("add", write))
    assert shown(elasticsearch)[0] == 1


@pytest.mark.usefixtures("streams")
def test_one_impossible_action_undoes_all(elasticsearch: Elasticsearch) -> None:
    before = shown(elasticsearch), elasticsearch.indices.get(index="history-1").body

    refusal(elasticsearch, action("add", "history-1"), action("add", "missing"))

    assert (shown(elasticsearch), elasticsearch.indices.get(index="history-1").body) == before


@pytest.mark.usefixtures("streams")
def test_an_index_can_be_attached_detached_and_attached_in_one_request(elasticsearch: Elasticsearch) -> None:
    modify(elasticsearch, action("add", "history-1"), action("remove", "history-1"), action("add", "history-1", OTHER))

    assert shown(elasticsearch)[:1] == (3,)
    assert shown(elasticsearch, OTHER)[1][0] == "history-1"


@pytest.mark.usefixtures("streams")
def test_the_failure_store_gains_and_loses_indices_even_its_last(elasticsearch: Elasticsearch) -> None:
    bad = {"@timestamp": "2020-12-12", "count": "x"}
    elasticsearch.index(index=STREAM, op_type="create", document=bad)
    elasticsearch.index(index=OTHER, op_type="create", document=bad)
    _, [write], [failure] = shown(elasticsearch)
    _, _, [other] = shown(elasticsearch, OTHER)

    modify(elasticsearch, action("add", "history-1", failure_store=True))
    assert shown(elasticsearch) == (3, [write], ["history-1", failure])
    reason = f"because it is already a failure store index on data stream [{OTHER}]"
    assert reason in refusal(elasticsearch, action("add", other, failure_store=True))
    assert reason in refusal(elasticsearch, action("add", other))
    assert refusal(elasticsearch, action("remove", write, failure_store=True)) == f"index [{write}] not found"

    modify(elasticsearch, action("remove", failure, failure_store=True))
    modify(elasticsearch, action("remove", "history-1", failure_store=True))
    assert shown(elasticsearch) == (5, [write], [])

    elasticsearch.index(index=STREAM, op_type="create", document=bad)
    assert len(shown(elasticsearch)[2]) == 1


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        ({"actions": []}, "illegal_argument_exception", "no data stream actions specified"),
        ({"actions": [{"x": {}}]}, "x_content_parse_exception", "unknown field [x]"),
        ({"actions": [action("add", "")]}, "illegal_argument_exception", "[index] is required"),
        ({"other": []}, "x_content_parse_exception", "unknown field [other]"),
    ],
)
@pytest.mark.usefixtures("streams")
def test_a_body_that_says_nothing_sensible_is_refused(
    elasticsearch: Elasticsearch, body: dict[str, Any], error: str, reason: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.perform_request(
            "POST",
            "/_data_stream/_modify",
            body=body,
            headers={"content-type": "application/json", "accept": "application/json"},
        )
    assert refused.value.error == error
    assert reason in str(refused.value)


@pytest.mark.usefixtures("streams")
def test_sealing_sets_the_policy_and_indexing_complete_in_one_request(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.put_settings(index="history-1", settings={"index.lifecycle.origination_date": 1257812351999})
    modify(elasticsearch, action("add", "history-1"))

    elasticsearch.indices.put_settings(
        index="history-1", settings={"index.lifecycle": {"name": "logs@lifecycle", "indexing_complete": True}}
    )

    [attached, *_] = elasticsearch.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]
    assert (attached["ilm_policy"], attached["managed_by"]) == ("logs@lifecycle", "Index Lifecycle Management")
