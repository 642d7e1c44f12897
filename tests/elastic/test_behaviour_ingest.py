"""Ingest pipelines, enrich, reindex and ES|QL joins, as a cluster behaves."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elastic.real_stack import until
from elasticsearch import ApiError, BadRequestError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Names = Callable[[str], str]


def simulated(es: Elasticsearch, pipeline: str, **source: Any) -> dict[str, Any]:
    [made] = es.ingest.simulate(id=pipeline, docs=[{"_source": source}])["docs"]
    found: dict[str, Any] = made["doc"]["_source"]
    return found


def test_a_missing_pipeline_fails_a_document_unless_it_may_be_missing(es: Elasticsearch, mine: Names):
    es.indices.create(index=mine("index"))
    for ignored in (False, True):
        call = {"name": mine("absent"), "ignore_missing_pipeline": ignored}
        es.ingest.put_pipeline(id=mine("caller"), processors=[{"pipeline": call}])
        item = es.bulk(index=mine("index"), pipeline=mine("caller"), operations=[{"index": {}}, {"n": 1}])["items"][0]
        assert ("error" in item["index"]) is not ignored


def test_a_pipeline_gives_a_document_its_id(es: Elasticsearch, mine: Names):
    es.ingest.put_pipeline(id=mine("id"), processors=[{"set": {"field": "_id", "copy_from": "event.id"}}])
    answer = es.index(index=mine("index"), pipeline=mine("id"), document={"event": {"id": "e-1"}})
    assert answer["_id"] == "e-1"


def test_a_simulation_writes_nothing(es: Elasticsearch, mine: Names):
    es.ingest.put_pipeline(id=mine("set"), processors=[{"set": {"field": "a", "value": 1}}])
    assert simulated(es, mine("set")) == {"a": 1}
    assert not es.indices.exists(index=mine("*"), allow_no_indices=False)


def test_a_fingerprint_is_sixteen_bytes_that_follow_from_the_value_alone(es: Elasticsearch, mine: Names):
    """The down-sampling of a training set compares their first two characters, 1 of 4,096 values."""
    hashed = {"fingerprint": {"fields": ["event.id"], "target_field": "h", "method": "MurmurHash3"}}
    es.ingest.put_pipeline(id=mine("sample"), processors=[hashed])
    first, again, other = (simulated(es, mine("sample"), event={"id": name})["h"] for name in ("a", "a", "b"))
    assert first == again != other
    assert len(base64.b64decode(first, validate=True)) == 16


@pytest.fixture
def policy(es: Elasticsearch, mine: Names) -> str:
    fields = {"id": {"type": "keyword"}, "verdict": {"type": "keyword"}}
    es.indices.create(index=mine("labels"), mappings={"properties": fields})
    es.index(index=mine("labels"), id="1", document={"id": "e", "verdict": "none"}, refresh=True)
    body = {"indices": mine("labels"), "match_field": "id", "enrich_fields": ["verdict"]}
    es.enrich.put_policy(name=mine("policy"), match=body)
    return mine("policy")


def put_label_pipeline(es: Elasticsearch, mine: Names, policy: str) -> None:
    joined = {"policy_name": policy, "field": "id", "target_field": "label"}
    es.ingest.put_pipeline(id=mine("label"), processors=[{"enrich": joined}])


def test_a_pipeline_that_enriches_needs_the_policy_executed(es: Elasticsearch, mine: Names, policy: str):
    with pytest.raises(ApiError, match="no enrich index exists"):
        put_label_pipeline(es, mine, policy)
    es.enrich.execute_policy(name=policy)
    put_label_pipeline(es, mine, policy)


def test_enrich_answers_from_its_copy_until_the_next_execution(es: Elasticsearch, mine: Names, policy: str):
    es.enrich.execute_policy(name=policy)
    put_label_pipeline(es, mine, policy)
    es.index(index=mine("labels"), id="1", document={"id": "e", "verdict": "confirmed"}, refresh=True)
    assert simulated(es, mine("label"), id="e")["label"]["verdict"] == "none"
    es.enrich.execute_policy(name=policy)
    # A real one caches look-ups by the copy's name, so that a new copy is seen at once.
    assert simulated(es, mine("label"), id="e")["label"]["verdict"] == "confirmed"


def test_a_policy_cannot_be_changed(es: Elasticsearch, mine: Names, policy: str):
    body = {"indices": mine("labels"), "match_field": "id", "enrich_fields": ["id"]}
    with pytest.raises(BadRequestError, match="already exists"):
        es.enrich.put_policy(name=policy, match=body)


def test_a_policy_that_a_pipeline_names_cannot_be_deleted(es: Elasticsearch, mine: Names, policy: str):
    es.enrich.execute_policy(name=policy)
    put_label_pipeline(es, mine, policy)
    with pytest.raises(ConflictError, match="Could not delete policy"):
        es.enrich.delete_policy(name=policy)


def test_an_execution_of_a_policy_keeps_no_task_result(es: Elasticsearch, policy: str):
    task = es.enrich.execute_policy(name=policy, wait_for_completion=False)["task"]

    def gone() -> bool:
        try:
            return bool(es.tasks.get(task_id=task) is None)
        except NotFoundError:
            return True

    until(gone)


@pytest.fixture
def source(es: Elasticsearch, mine: Names) -> str:
    operations = [line for n in range(3) for line in ({"index": {"_id": str(n)}}, {"n": n})]
    es.bulk(index=mine("source"), operations=operations, refresh=True)
    return mine("source")


def test_a_copy_passes_over_what_is_there_and_completes_itself(es: Elasticsearch, mine: Names, source: str):
    es.index(index=mine("copy"), id="1", document={"kept": True}, refresh=True)
    answer = es.reindex(
        source={"index": source}, dest={"index": mine("copy"), "op_type": "create"}, conflicts="proceed"
    )
    assert (answer["created"], answer["version_conflicts"]) == (2, 1)
    assert es.get(index=mine("copy"), id="1")["_source"] == {"kept": True}


def test_in_a_pipeline_of_a_reindex_the_index_is_the_destination(es: Elasticsearch, mine: Names, source: str):
    es.ingest.put_pipeline(id=mine("where"), processors=[{"set": {"field": "at", "value": "{{_index}}"}}])
    es.reindex(source={"index": source}, dest={"index": mine("copy"), "pipeline": mine("where")}, refresh=True)
    assert {hit["_source"]["at"] for hit in es.search(index=mine("copy"))["hits"]["hits"]} == {mine("copy")}


def test_what_a_pipeline_drops_is_counted_as_noops_or_updates_never_as_created(
    es: Elasticsearch, mine: Names, source: str
):
    es.ingest.put_pipeline(id=mine("drop"), processors=[{"drop": {"if": "ctx.n == 0"}}])
    answer = es.reindex(source={"index": source}, dest={"index": mine("copy"), "pipeline": mine("drop")}, refresh=True)
    assert (answer["total"], answer["created"], es.count(index=mine("copy"))["count"]) == (3, 2, 2)


def test_a_reindex_task_keeps_its_result_and_who_asked(es: Elasticsearch, mine: Names, source: str):
    started = es.options(opaque_id=mine("run")).reindex(
        source={"index": source}, dest={"index": mine("copy")}, wait_for_completion=False
    )
    until(lambda: es.tasks.get(task_id=started["task"])["completed"])
    kept = es.tasks.get(task_id=started["task"])
    assert kept["response"]["created"] == 3
    assert kept["task"]["headers"]["X-Opaque-Id"] == mine("run")


def test_a_lookup_join_overwrites_columns_of_the_same_name(es: Elasticsearch, mine: Names):
    fields = {"id": {"type": "keyword"}, "verdict": {"type": "keyword"}}
    for name, settings in ((mine("events"), {}), (mine("lookup"), {"index.mode": "lookup"})):
        es.indices.create(index=name, mappings={"properties": fields}, settings=settings)
    es.index(index=mine("events"), document={"id": "e", "verdict": "of the event"}, refresh=True)
    es.index(index=mine("lookup"), document={"id": "e", "verdict": "of the table"}, refresh=True)
    query = f'FROM "{mine("events")}" | LOOKUP JOIN "{mine("lookup")}" ON id | KEEP id, verdict | LIMIT 1'
    assert es.esql.query(query=query)["values"] == [["e", "of the table"]]


def test_esql_does_not_see_what_is_nested(es: Elasticsearch, mine: Names):
    fields = {"id": {"type": "keyword"}, "top": {"type": "nested", "properties": {"p": {"type": "double"}}}}
    es.indices.create(index=mine("nested"), mappings={"properties": fields})
    es.index(index=mine("nested"), document={"id": "e", "top": [{"p": 0.9}]}, refresh=True)
    columns = es.esql.query(query=f'FROM "{mine("nested")}" | LIMIT 1')["columns"]
    assert [column["name"] for column in columns] == ["id"]


def test_scripts_cannot_read_ids(es: Elasticsearch, mine: Names):
    es.index(index=mine("index"), id="1", document={"n": 1}, refresh=True)
    with pytest.raises(ApiError):
        es.search(index=mine("index"), sort=[{"_id": "asc"}])
