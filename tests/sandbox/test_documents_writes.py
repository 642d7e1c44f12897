"""Writing, reading and deleting one document at a time: results, versions and conflicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox


def _reason(error: ApiError) -> str:
    return error.body["error"]["reason"]


def test_a_document_is_created_then_updated_with_rising_version_and_sequence_number(
    elasticsearch: Elasticsearch,
) -> None:
    first = elasticsearch.index(index="notes", id="1", document={"n": 1})
    second = elasticsearch.index(index="notes", id="1", document={"n": 2})
    assert (first["result"], first["_version"], first["_seq_no"], first["_primary_term"]) == ("created", 1, 0, 1)
    assert (second["result"], second["_version"], second["_seq_no"]) == ("updated", 2, 1)
    assert first.meta.status == 201
    assert second.meta.status == 200


def test_get_sees_a_write_at_once_and_search_only_after_a_refresh(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="notes", settings={"index.refresh_interval": "-1"})
    elasticsearch.index(index="notes", id="1", document={"n": 1})
    assert elasticsearch.get(index="notes", id="1")["_source"] == {"n": 1}
    assert elasticsearch.count(index="notes")["count"] == 0
    elasticsearch.indices.refresh(index="notes")
    assert elasticsearch.count(index="notes")["count"] == 1


def test_a_write_becomes_visible_when_the_refresh_interval_has_passed(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    elasticsearch.indices.create(index="notes", settings={"index.refresh_interval": "30s"})
    elasticsearch.index(index="notes", id="1", document={"n": 1})
    assert elasticsearch.count(index="notes")["count"] == 0
    sandbox.clock.advance(31)
    assert elasticsearch.count(index="notes")["count"] == 1


def test_create_refuses_a_taken_id_in_the_servers_words(elasticsearch: Elasticsearch) -> None:
    elasticsearch.create(index="notes", id="1", document={"n": 1})
    with pytest.raises(ConflictError) as conflict:
        elasticsearch.create(index="notes", id="1", document={"n": 2})
    assert _reason(conflict.value) == "[1]: version conflict, document already exists (current version [1])"
    assert conflict.value.body["error"]["type"] == "version_conflict_engine_exception"
    assert conflict.value.body["error"]["index"] == "notes"
    assert conflict.value.body["error"]["shard"] == "0"


def test_an_id_deleted_can_be_created_again_with_a_higher_version(elasticsearch: Elasticsearch) -> None:
    elasticsearch.create(index="notes", id="1", document={"n": 1})
    assert elasticsearch.delete(index="notes", id="1")["_version"] == 2
    assert elasticsearch.create(index="notes", id="1", document={"n": 1})["_version"] == 3


def test_deleting_what_is_not_there_is_a_404_with_a_result(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="notes")
    with pytest.raises(NotFoundError) as missing:
        elasticsearch.delete(index="notes", id="1")
    assert missing.value.body["result"] == "not_found"


def test_a_compare_and_set_write_fails_when_the_document_moved_on(elasticsearch: Elasticsearch) -> None:
    seen = elasticsearch.index(index="locks", id="a", document={"owner": "x"})
    elasticsearch.index(index="locks", id="a", document={"owner": "y"})
    with pytest.raises(ConflictError) as conflict:
        elasticsearch.index(
            index="locks",
            id="a",
            document={"owner": "z"},
            if_seq_no=seen["_seq_no"],
            if_primary_term=seen["_primary_term"],
        )
    assert _reason(conflict.value) == (
        "[a]: version conflict, required seqNo [0], primary term [1]. current document has seqNo [1] and primary term [1]"  # noqa: E501
    )
    taken = elasticsearch.get(index="locks", id="a")
    elasticsearch.index(
        index="locks",
        id="a",
        document={"owner": "z"},
        if_seq_no=taken["_seq_no"],
        if_primary_term=taken["_primary_term"],
    )
    assert elasticsearch.get(index="locks", id="a")["_source"] == {"owner": "z"}


def test_external_versions_let_only_newer_or_equal_ones_in(elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="labels", id="e", document={"v": 5}, version=5, version_type="external_gte")
    again = elasticsearch.index(index="labels", id="e", document={"v": 5}, version=5, version_type="external_gte")
    assert (again["result"], again["_version"]) == ("updated", 5)
    with pytest.raises(ConflictError) as older:
        elasticsearch.index(index="labels", id="e", document={"v": 4}, version=4, version_type="external_gte")
    assert _reason(older.value) == "[e]: version conflict, current version [5] is higher than the one provided [4]"
    with pytest.raises(ConflictError) as equal:
        elasticsearch.index(index="labels", id="e", document={"v": 5}, version=5, version_type="external")
    assert _reason(equal.value) == (
        "[e]: version conflict, current version [5] is higher or equal to the one provided [5]"
    )


def test_an_update_merges_objects_and_notices_when_nothing_changes(elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="notes", id="1", document={"a": {"x": 1}, "b": [1]})
    changed = elasticsearch.update(index="notes", id="1", doc={"a": {"y": 2}, "b": [2]})
    same = elasticsearch.update(index="notes", id="1", doc={"a": {"y": 2}})
    assert (changed["result"], same["result"], same["_version"]) == ("updated", "noop", 2)
    assert elasticsearch.get(index="notes", id="1")["_source"] == {"a": {"x": 1, "y": 2}, "b": [2]}


def test_an_update_of_a_missing_document_is_a_404_unless_it_upserts(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="notes")
    with pytest.raises(NotFoundError) as missing:
        elasticsearch.update(index="notes", id="1", doc={"n": 1})
    assert missing.value.body["error"]["type"] == "document_missing_exception"
    assert _reason(missing.value) == "[1]: document missing"
    assert elasticsearch.update(index="notes", id="1", doc={"n": 1}, doc_as_upsert=True)["result"] == "created"


def test_a_scripted_update_is_refused_by_name(elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="notes", id="1", document={"n": 1})
    with pytest.raises(ApiError) as refused:
        elasticsearch.update(index="notes", id="1", script={"source": "ctx._source.n++"})
    assert refused.value.status_code == 501
    assert "[script]" in _reason(refused.value)


def test_an_unknown_parameter_is_refused(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.perform_request("GET", "/notes/_doc/1?colour=red", headers={"accept": "application/json"})
    assert "contains unrecognized parameter: [colour]" in _reason(refused.value)


def test_mget_answers_each_document_on_its_own(elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="notes", id="1", document={"n": 1, "m": 2})
    answer = elasticsearch.mget(
        docs=[
            {"_index": "notes", "_id": "1", "_source": ["n"]},
            {"_index": "notes", "_id": "2"},
            {"_index": "gone", "_id": "1"},
        ]
    )
    assert answer["docs"][0]["_source"] == {"n": 1}
    assert answer["docs"][1] == {"_index": "notes", "_id": "2", "found": False}
    assert answer["docs"][2]["error"]["type"] == "index_not_found_exception"


def test_a_document_that_does_not_fit_its_mapping_is_a_400_naming_the_field(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="notes", mappings={"properties": {"n": {"type": "long"}}})
    with pytest.raises(BadRequestError) as refused:
        elasticsearch.index(index="notes", id="7", document={"n": "many"})
    assert refused.value.body["error"]["type"] == "document_parsing_exception"
    assert "failed to parse field [n] of type [long] in document with id '7'" in _reason(refused.value)
    assert not elasticsearch.exists(index="notes", id="7")


def test_values_a_column_held_singly_and_then_as_a_list_are_all_found(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="notes", mappings={"properties": {"tag": {"type": "keyword"}}})
    elasticsearch.index(index="notes", id="1", document={"tag": "a"}, refresh=True)
    elasticsearch.index(index="notes", id="2", document={"tag": ["a", "b"]}, refresh=True)
    elasticsearch.index(index="notes", id="3", document={"tag": []}, refresh=True)
    for tag, ids in {"a": ["1", "2"], "b": ["2"]}.items():
        found = elasticsearch.search(index="notes", query={"term": {"tag": tag}}, sort=["_doc"])
        assert [hit["_id"] for hit in found["hits"]["hits"]] == ids
    buckets = elasticsearch.search(index="notes", size=0, aggs={"t": {"terms": {"field": "tag"}}})
    assert [(b["key"], b["doc_count"]) for b in buckets["aggregations"]["t"]["buckets"]] == [("a", 2), ("b", 1)]
