"""Queries: what matches, and what is refused in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

MAPPINGS = {
    "properties": {
        "@timestamp": {"type": "date"},
        "user": {"type": "keyword"},
        "message": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
        "amount": {"type": "double"},
        "count": {"type": "long"},
        "ok": {"type": "boolean"},
        "ip": {"type": "ip"},
        "tags": {"type": "keyword"},
        "classes": {"type": "nested", "properties": {"name": {"type": "keyword"}, "p": {"type": "double"}}},
    }
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "1": {"@timestamp": "2026-01-01T10:00:00Z", "user": "ana", "message": "Quick brown fox", "amount": 1.5, "count": 1,
          "ok": True, "ip": "10.0.0.1", "tags": ["a", "b"],
          "classes": [{"name": "yes", "p": 0.9}, {"name": "no", "p": 0.1}]},
    "2": {"@timestamp": "2026-01-01T23:59:59.999Z", "user": "bob", "message": "The quick dog's tail", "amount": 2.0, "count": 5,  # noqa: E501
          "ok": False, "ip": "10.0.1.7", "tags": ["b"], "classes": [{"name": "yes", "p": 0.1}, {"name": "no", "p": 0.9}]},  # noqa: E501
    "3": {"@timestamp": "2026-01-02T00:00:00Z", "user": "Bobby", "message": "lazy", "count": 10, "ip": "2001:db8::1"},
    "4": {"user": "a*c", "amount": -1.0, "tags": "c"},
}  # fmt: skip


@pytest.fixture
def events(elasticsearch: Elasticsearch) -> Elasticsearch:
    """Four documents in index ``events``."""
    elasticsearch.indices.create(index="events", mappings=MAPPINGS)
    operations = [line for key, doc in DOCUMENTS.items() for line in ({"index": {"_index": "events", "_id": key}}, doc)]
    assert not elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    return elasticsearch


def _ids(client: Elasticsearch, query: dict[str, Any], index: str = "events") -> str:
    found = client.search(index=index, query=query, sort=["_doc"], size=100)
    assert client.count(index=index, query=query)["count"] == len(found["hits"]["hits"])
    return "".join(hit["_id"] for hit in found["hits"]["hits"])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"match_all": {}}, "1234"),
        ({"match_none": {}}, ""),
        ({"term": {"user": "bob"}}, "2"),
        ({"term": {"user": {"value": "BOB", "case_insensitive": True}}}, "2"),
        ({"term": {"message": "quick"}}, "12"),
        ({"term": {"message": "Quick"}}, ""),
        ({"term": {"message.raw": "lazy"}}, "3"),
        ({"term": {"count": 5}}, "2"),
        ({"term": {"count": "5"}}, "2"),
        ({"term": {"count": 5.5}}, ""),
        ({"term": {"ok": "true"}}, "1"),
        ({"term": {"ip": "10.0.0.0/16"}}, "12"),
        ({"term": {"@timestamp": "2026-01-01"}}, "12"),
        ({"term": {"tags": "b"}}, "12"),
        ({"term": {"nowhere": "x"}}, ""),
        ({"term": {"_id": "3"}}, "3"),
        ({"term": {"_index": "events"}}, "1234"),
        ({"terms": {"tags": ["a", "c"]}}, "14"),
        ({"terms": {"count": [1, 10, 11]}}, "13"),
        ({"terms": {"_id": ["1", "4", "9"]}}, "14"),
        ({"ids": {"values": ["2", "9"]}}, "2"),
        ({"range": {"count": {"gt": 1, "lte": 10}}}, "23"),
        ({"range": {"count": {"gt": 1.5}}}, "23"),
        ({"range": {"amount": {"lt": 0}}}, "4"),
        ({"range": {"user": {"gte": "a", "lt": "b"}}}, "14"),
        ({"range": {"ip": {"gte": "10.0.1.0", "lte": "10.0.1.255"}}}, "2"),
        ({"range": {"@timestamp": {"gte": "2026-01-01", "lte": "2026-01-01"}}}, "12"),
        ({"range": {"@timestamp": {"gt": "2026-01-01"}}}, "3"),
        ({"range": {"@timestamp": {"lt": "2026-01-01||+1d/d"}}}, "12"),
        ({"range": {"@timestamp": {"gte": "02.01.2026", "format": "dd.MM.yyyy"}}}, "3"),
        ({"range": {"@timestamp": {"gte": "2026-01-02", "time_zone": "+01:00"}}}, "23"),
        ({"range": {"@timestamp": {"gte": 1767312000000}}}, "3"),
        ({"exists": {"field": "amount"}}, "124"),
        ({"exists": {"field": "tags"}}, "124"),
        ({"exists": {"field": "nowhere"}}, ""),
        ({"bool": {"must_not": [{"exists": {"field": "amount"}}]}}, "3"),
        ({"bool": {"must_not": [{"term": {"ok": True}}]}}, "234"),
        ({"bool": {"filter": [{"term": {"tags": "b"}}], "should": [{"term": {"user": "ana"}}]}}, "12"),
        ({"bool": {"should": [{"term": {"user": "ana"}}, {"term": {"user": "bob"}}]}}, "12"),
        ({"bool": {"should": [{"term": {"tags": "a"}}, {"term": {"tags": "b"}}], "minimum_should_match": 2}}, "1"),
        ({"bool": {}}, "1234"),
        ({"prefix": {"user": "bo"}}, "2"),
        ({"prefix": {"user": {"value": "bo", "case_insensitive": True}}}, "23"),
        ({"wildcard": {"user": "*o*"}}, "23"),
        ({"wildcard": {"user": "a\\*c"}}, "4"),
        ({"wildcard": {"user": {"value": "b?b"}}}, "2"),
        ({"match": {"message": "brown tail"}}, "12"),
        ({"match": {"message": {"query": "quick fox", "operator": "and"}}}, "1"),
        ({"match": {"user": "ana"}}, "1"),
        ({"constant_score": {"filter": {"term": {"user": "ana"}}}}, "1"),
        ({"nested": {"path": "classes", "query": {"bool": {"must": [
            {"term": {"classes.name": "yes"}}, {"range": {"classes.p": {"gt": 0.5}}}]}}}}, "1"),
        ({"term": {"classes.name": "yes"}}, ""),
    ],
)  # fmt: skip
def test_a_query_finds_exactly(events: Elasticsearch, query: dict[str, Any], ids: str) -> None:
    assert _ids(events, query) == ids


def test_now_is_the_clock_of_the_sandbox(events: Elasticsearch, sandbox: Sandbox) -> None:
    from datetime import UTC, datetime

    sandbox.clock.set(datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert _ids(events, {"range": {"@timestamp": {"gte": "now-1d/d", "lt": "now/d"}}}) == "12"


@pytest.mark.parametrize(
    ("query", "kind", "words"),
    [
        ({"tern": {"user": "x"}}, "parsing_exception", "unknown query [tern]"),
        ({"term": {"user": ["x"]}}, "parsing_exception", "[term] query does not support array of values"),
        ({"term": {"a": 1, "b": 2}}, "parsing_exception", "[term] query doesn't support multiple fields, found [a] and [b]"),  # noqa: E501
        ({"terms": {"user": "x"}}, "parsing_exception", "[terms] query does not support [user]"),
        ({"range": {"count": {"over": 1}}}, "parsing_exception", "[range] query does not support [over]"),
        ({"bool": {"most": []}}, "parsing_exception", "[bool] query does not support [most]"),
        ({"term": {"a": 1}, "range": {}}, "parsing_exception", "[term] malformed query, expected [END_OBJECT] but found [FIELD_NAME]"),  # noqa: E501
        ({"term": {"count": "many"}}, "query_shard_exception", 'failed to create query: For input string: "many"'),
        ({"term": {"ok": "maybe"}}, "query_shard_exception", "Can't parse boolean value [maybe], expected [true] or [false]"),  # noqa: E501
        ({"prefix": {"count": "1"}}, "query_shard_exception",
         "Can only use prefix queries on keyword, text and wildcard fields - not on [count] which is of type [long]"),
        ({"nested": {"path": "user", "query": {"match_all": {}}}}, "query_shard_exception",
         "[nested] failed to find nested object under path [user]"),
        ({"range": {"@timestamp": {"gte": "yesterday"}}}, "parse_exception", "failed to parse date field [yesterday]"),
        ({"terms": {"count": list(range(65_537))}}, "illegal_argument_exception", "The number of terms [65537]"),
    ],
)  # fmt: skip
def test_a_query_that_cannot_run_is_refused_in_the_servers_words(
    events: Elasticsearch, query: dict[str, Any], kind: str, words: str
) -> None:
    with pytest.raises(BadRequestError) as refused:
        events.search(index="events", query=query)
    cause = refused.value.body["error"]["root_cause"][0]
    assert cause["type"] == kind
    assert words in cause["reason"]


@pytest.mark.parametrize("query", [{"fuzzy": {"user": "x"}}, {"query_string": {"query": "*"}}, {"knn": {"field": "v"}}])
def test_a_query_the_sandbox_lacks_is_501_by_name(events: Elasticsearch, query: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        events.search(index="events", query=query)
    assert refused.value.status_code == 501
    assert f"query [{next(iter(query))}]" in refused.value.body["error"]["reason"]


def test_text_is_not_scored_but_filtered_and_sorted(events: Elasticsearch) -> None:
    with pytest.raises(ApiError) as refused:
        events.search(index="events", query={"match": {"message": "quick"}})
    assert refused.value.status_code == 501
    reason = refused.value.body["error"]["reason"]
    assert (
        "scoring by the text field [message] (add a sort, or put the query into the filter of a bool query)" in reason
    )
    filtered = events.search(index="events", query={"bool": {"filter": {"match": {"message": "quick"}}}})
    assert {(hit["_id"], hit["_score"]) for hit in filtered["hits"]["hits"]} == {("1", 0.0), ("2", 0.0)}


def test_a_keyword_term_scores_its_inverse_document_frequency(events: Elasticsearch) -> None:
    found = events.search(index="events", query={"term": {"user": "ana"}})
    # ln(1 + (4 - 1 + 0.5) / (1 + 0.5)), in 32 bits
    assert found["hits"]["max_score"] == pytest.approx(1.2039728, abs=1e-7)
    assert events.search(index="events", query={"term": {"count": 5}})["hits"]["max_score"] == 1.0


def test_random_scores_repeat_with_their_seed_and_change_with_it(events: Elasticsearch) -> None:
    def order(seed: int) -> list[tuple[str, float]]:
        random = {"random_score": {"seed": seed, "field": "_seq_no"}, "query": {"exists": {"field": "user"}}}
        hits = events.search(index="events", query={"function_score": random})["hits"]["hits"]
        return [(hit["_id"], hit["_score"]) for hit in hits]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(5)}) == 5
    assert all(0 <= score < 1 for _, score in order(1))
    assert order(1) == sorted(order(1), key=lambda item: -item[1])


def test_each_index_is_queried_by_its_own_mapping(elasticsearch: Elasticsearch) -> None:
    elasticsearch.indices.create(index="x-1", mappings={"properties": {"code": {"type": "keyword"}}})
    elasticsearch.indices.create(index="x-2", mappings={"properties": {"code": {"type": "long"}}})
    elasticsearch.indices.create(index="x-3")
    elasticsearch.index(index="x-1", id="1", document={"code": "07"}, refresh=True)
    elasticsearch.index(index="x-2", id="2", document={"code": 7}, refresh=True)
    assert _ids(elasticsearch, {"term": {"code": "07"}}, "x-*") == "12"
    assert _ids(elasticsearch, {"term": {"code": 7}}, "x-*") == "2"
    # Where only some indices can run the query, the others answer and the failures are listed.
    part = elasticsearch.search(index="x-*", query={"term": {"code": "seven"}})
    assert part["_shards"]["failed"] == 1
    assert part["_shards"]["failures"][0]["index"] == "x-2"


def test_a_missing_index_is_404_unless_it_may_be_missing(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(NotFoundError):
        elasticsearch.search(index="gone")
    assert elasticsearch.search(index="gone", ignore_unavailable=True)["hits"]["total"]["value"] == 0
    assert elasticsearch.search(index="gone-*")["hits"]["hits"] == []


def test_ignored_values_are_shown_and_searchable(elasticsearch: Elasticsearch) -> None:
    mappings = {
        "properties": {"n": {"type": "long", "ignore_malformed": True}, "k": {"type": "keyword", "ignore_above": 3}}
    }
    elasticsearch.indices.create(index="loose", mappings=mappings)
    elasticsearch.index(index="loose", id="1", document={"n": "x", "k": "long"}, refresh=True)
    elasticsearch.index(index="loose", id="2", document={"n": 1, "k": "abc"}, refresh=True)
    [hit] = elasticsearch.search(index="loose", query={"exists": {"field": "_ignored"}})["hits"]["hits"]
    assert sorted(hit["_ignored"]) == ["k", "n"]
    assert _ids(elasticsearch, {"exists": {"field": "k"}}, "loose") == "2"


@pytest.mark.parametrize(
    "body",
    [
        {"query": []},
        {"query": {"bool": {"must": "x"}}},
        {"query": {"range": {"n": 5}}},
        {"query": {"term": {"n": {"value": 1, "boost": {}}}}},
        {"sort": {"n": [1]}},
        {"sort": [[0]]},
        {"fields": 1},
        {"_source": 5},
        {"size": "x"},
        {"aggs": {"x": 1}},
        {"aggs": {"x": {"terms": []}}},
        {"aggs": {"x": {"percentiles": {"field": "count", "percents": "high"}}}},
        {"aggs": {"x": {"composite": {"sources": [{"a": 1}]}}}},
        {"aggs": {"x": {"missing": {"field": "ok", "missing": {}}}}},
        {"track_total_hits": 10**20},
    ],
)
def test_a_body_of_the_wrong_shape_is_a_400_and_never_a_500(events: Elasticsearch, body: dict[str, Any]) -> None:
    headers = {"accept": "application/json", "content-type": "application/json"}
    with pytest.raises(BadRequestError):
        events.perform_request("POST", "/events/_search", headers=headers, body=body)
    # The point is not to be mistaken for the search of everything either.
    assert events.count(index="events")["count"] == 4
