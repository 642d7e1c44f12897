"""Answers of the document, search and reindex APIs against Elasticsearch's published schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from harness.specification import specification

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


@pytest.fixture(scope="module")
def schema() -> Any:
    return specification()


def test_every_answer_fits_the_published_schema(schema: Any, elasticsearch: Elasticsearch) -> None:
    client = elasticsearch
    properties = {"k": {"type": "keyword"}, "n": {"type": "long"}, "d": {"type": "date"}, "b": {"type": "boolean"}}
    client.indices.create(index="a", mappings={"properties": properties})
    operations = [
        line
        for n in range(6)
        for line in (
            {"index": {"_index": "a", "_id": str(n)}},
            {"k": f"k{n % 2}", "n": n, "d": f"2026-01-0{n + 1}", "b": n > 3},
        )
    ]
    answers: list[tuple[str, Any]] = [("bulk", client.bulk(operations=[*operations, *operations[:2]], refresh=True))]
    answers.append(("index", client.index(index="a", document={"n": 7})))
    answers.append(("create", client.create(index="a", id="x", document={"n": 8})))
    answers.append(("update", client.update(index="a", id="x", doc={"n": 9})))
    answers.append(("get", client.get(index="a", id="x")))
    answers.append(("mget", client.mget(index="a", ids=["x", "y"])))
    answers.append(("delete", client.delete(index="a", id="x")))
    answers.append(("count", client.count(index="a")))
    answers.append(("indices.refresh", client.indices.refresh(index="a")))
    aggregations = {
        "terms": {"terms": {"field": "b"}},
        "days": {"date_histogram": {"field": "d", "fixed_interval": "2d"}},
        "steps": {"histogram": {"field": "n", "interval": 2}},
        "ranges": {"range": {"field": "n", "ranges": [{"to": 3}, {"from": 3}]}},
        "filters": {"filters": {"filters": {"even": {"term": {"k": "k0"}}}}},
        "filter": {"filter": {"term": {"k": "k0"}}},
        "missing": {"missing": {"field": "k"}},
        "composite": {"composite": {"sources": [{"k": {"terms": {"field": "k"}}}]}},
        **{
            kind: {kind: {"field": "n"}}
            for kind in ("avg", "sum", "min", "max", "stats", "extended_stats", "cardinality")
        },
        "percentiles": {"percentiles": {"field": "n"}},
    }
    answers.append(("search", client.search(index="a", sort=["n"], aggs=aggregations, fields=["k"], version=True)))
    pit = client.open_point_in_time(index="a", keep_alive="1m")
    answers.append(("open_point_in_time", pit))
    answers.append(("search", client.search(pit={"id": pit["id"]}, sort=["n"])))
    answers.append(("close_point_in_time", client.close_point_in_time(id=pit["id"])))
    page = client.search(index="a", scroll="1m", size=2)
    answers.append(("scroll", client.scroll(scroll_id=page["_scroll_id"])))
    answers.append(("clear_scroll", client.clear_scroll(scroll_id=page["_scroll_id"])))
    answers.append(("reindex", client.reindex(source={"index": "a"}, dest={"index": "b"}, slices=2)))
    answers.append(("delete_by_query", client.delete_by_query(index="a", query={"match_all": {}})))
    problems = {api: found for api, answer in answers if (found := schema.check_response(api, answer.body))}
    assert problems == {}
