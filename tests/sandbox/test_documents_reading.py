"""Gets beside writers: never late, never torn; and bulks read by columns beside the same read one by one."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox


def test_a_get_does_not_wait_for_a_refresh(sandbox: Sandbox, elasticsearch: Elasticsearch) -> None:
    elasticsearch.index(index="a", id="1", document={"n": 1}, refresh=True)
    elasticsearch.index(index="a", id="2", document={"n": 2})
    with sandbox.backend.lock:  # as a refresh holds it; the answers come from other threads
        found = [elasticsearch.options(request_timeout=5).get(index="a", id=name)["_source"]["n"] for name in "12"]
    assert found == [1, 2]


def test_a_get_beside_writes_and_refreshes_sees_every_version_in_order_and_always_one(sandbox: Sandbox) -> None:
    from elastic_sandbox.documents.operations import BulkOperation

    documents, indices = sandbox.backend.documents, sandbox.backend.indices
    written, done = [0], threading.Event()

    def write() -> None:
        for number in range(1, 200):
            documents.bulk([BulkOperation("index", "a", "1", {"n": number})], refresh=number % 3 == 0)
            written[0] = number
        done.set()

    documents.bulk([BulkOperation("index", "a", "1", {"n": 0})], refresh=True)
    writer = threading.Thread(target=write)
    writer.start()
    seen = [0]
    while not done.is_set():
        known = written[0]
        stored = documents.get(indices.resolve("a")[0], "1")
        assert stored is not None
        number = json.loads(stored.source)["n"]
        assert stored.version == number + 1
        assert known <= number
        assert seen[-1] <= number
        seen.append(number)
    writer.join()
    assert len(set(seen)) > 5


_LISTS: list[dict[str, Any]] = [
    {"o": [{"k": "a", "n": 1, "f": {"x": 1}}, {"k": ["b", "c"]}], "f": {"x": {"y": 2}}},
    {"o": {"k": "d", "n": 2}, "f": None},
    {"o": [], "f": {}},
    {"o": [{"k": "e"}]},
    {"o": None},
    {"o": [{}, {"n": 3}, {"n": 3}]},
]


@pytest.mark.parametrize("wrong", [None, "no object", [["x"]]])
def test_lists_of_objects_and_flattened_objects_are_stored_alike_by_columns_and_one_by_one(
    sandbox: Sandbox, elasticsearch: Elasticsearch, wrong: Any
) -> None:
    documents = [*_LISTS, *({"o": {"k": f"k{number}"}, "f": {"z": number}} for number in range(20))]
    documents += [] if wrong is None else [{"o": wrong}]
    mappings = {
        "dynamic": "false",
        "properties": {
            "o": {"properties": {"k": {"type": "keyword"}, "n": {"type": "long"}, "f": {"type": "flattened"}}},
            "f": {"type": "flattened"},
        },
    }
    found, failed = [], []
    for name in ("columns", "single"):
        elasticsearch.indices.create(index=name, mappings=mappings)
        actions = [{"create": {"_index": name, "_id": f"{at:03d}"}} for at in range(len(documents))]
        pairs = list(zip(actions, documents, strict=True))
        requests = [pairs] if name == "columns" else [[pair] for pair in pairs]
        items = [
            item["create"]
            for request in requests
            for item in elasticsearch.bulk(operations=[line for pair in request for line in pair])["items"]
        ]
        failed.append([item["_id"] for item in items if item["status"] != 201])
        elasticsearch.indices.refresh(index=name)
        tests: list[dict[str, Any]] = [{"term": {"o.k": "c"}}, {"term": {"o.n": 3}}]
        tests += [{"exists": {"field": field}} for field in ("o.k", "o.n", "f")]
        hits = [
            [hit["_id"] for hit in elasticsearch.search(index=name, query=query, size=100, sort="o.k")["hits"]["hits"]]
            for query in tests
        ]
        counted = elasticsearch.search(
            index=name, size=0, aggs={"k": {"terms": {"field": "o.k", "size": 50}}, "n": {"sum": {"field": "o.n"}}}
        )["aggregations"]
        found.append((hits, counted))
    index = sandbox.backend.indices.get("columns")
    assert index is not None
    assert (index.mapping.columns(documents) is not None) is (wrong is None)
    assert found[0] == found[1]
    assert failed[0] == failed[1] == ([] if wrong is None else [f"{len(documents) - 1:03d}"])
    assert found[0][0][0] == ["000"]
    assert found[0][1]["n"]["value"] == 9.0
