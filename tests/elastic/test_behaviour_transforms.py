"""Transforms, as a cluster behaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elastic.real_stack import until
from elasticsearch import BadRequestError, ConflictError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Names = Callable[[str], str]


@pytest.fixture
def pivot(es: Elasticsearch, mine: Names) -> dict[str, Any]:
    fields = {"at": {"type": "date"}, "user": {"type": "keyword"}, "n": {"type": "long"}}
    es.indices.create(index=mine("events"), mappings={"properties": fields})
    rows = [("ana", 1), ("ana", 2), ("ben", 4)]
    operations = [line for user, n in rows for line in ({"index": {}}, {"at": "2026-01-01", "user": user, "n": n})]
    es.bulk(index=mine("events"), operations=operations, refresh=True)
    aggregations = {"total": {"sum": {"field": "n"}}}
    return {
        "source": {"index": mine("events")},
        "dest": {"index": mine("by-user")},
        "pivot": {"group_by": {"user": {"terms": {"field": "user"}}}, "aggregations": aggregations},
    }


def state(es: Elasticsearch, name: str) -> dict[str, Any]:
    found: dict[str, Any] = es.transform.get_transform_stats(transform_id=name)["transforms"][0]
    return found


def test_a_batch_transform_writes_one_document_per_group_and_stops(es: Elasticsearch, mine: Names, pivot: Any):
    es.transform.put_transform(transform_id=mine("batch"), **pivot)
    es.transform.start_transform(transform_id=mine("batch"))

    def finished() -> bool:
        now = state(es, mine("batch"))
        return bool(now["state"] == "stopped" and now["checkpointing"]["last"]["checkpoint"] == 1)

    until(finished)
    es.indices.refresh(index=mine("by-user"))
    hits = es.search(index=mine("by-user"))["hits"]["hits"]
    assert {hit["_source"]["user"]: hit["_source"]["total"] for hit in hits} == {"ana": 3, "ben": 4}


def test_a_running_transform_is_not_deleted(es: Elasticsearch, mine: Names, pivot: Any):
    body = {**pivot, "sync": {"time": {"field": "at", "delay": "60s"}}, "frequency": "1h"}
    es.transform.put_transform(transform_id=mine("continuous"), **body)
    es.transform.start_transform(transform_id=mine("continuous"))
    with pytest.raises(ConflictError, match="as the task is running"):
        es.transform.delete_transform(transform_id=mine("continuous"))
    es.transform.stop_transform(transform_id=mine("continuous"), wait_for_completion=True)
    es.transform.delete_transform(transform_id=mine("continuous"))


def test_an_id_that_is_taken_is_a_400(es: Elasticsearch, mine: Names, pivot: Any):
    es.transform.put_transform(transform_id=mine("batch"), **pivot)
    with pytest.raises(BadRequestError, match="already exists"):
        es.transform.put_transform(transform_id=mine("batch"), **pivot)


def test_a_source_that_is_not_there_is_refused_unless_it_may_come_later(es: Elasticsearch, mine: Names, pivot: Any):
    body = {**pivot, "source": {"index": mine("none")}}
    with pytest.raises(BadRequestError):
        es.transform.put_transform(transform_id=mine("early"), **body)
    es.transform.put_transform(transform_id=mine("early"), defer_validation=True, **body)
