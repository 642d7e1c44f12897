"""A runtime field and the same values indexed cannot be told apart: by a query, an aggregation, a sort."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox.test_search_property import DOCUMENTS, MAPPINGS, QUERIES

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.search.request import parse_body

TYPES = {"k": "keyword", "n": "long", "d": "double", "b": "boolean"}
# From doc values, through a second runtime field, and from the source, where what is mapped is not the field itself.
RUNTIME = {
    **{f"r{name}": {"type": kind, "script": f"for (def v : doc['{name}']) {{ emit(v); }}"}
       for name, kind in TYPES.items()},
    **{f"q{name}": {"type": kind, "script": f"for (def v : doc['r{name}']) {{ emit(v); }}"}
       for name, kind in TYPES.items()},
    **{f"o.{name}": {"type": kind} for name, kind in TYPES.items()},
}  # fmt: skip


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


def renamed(query: Any, names: dict[str, str]) -> Any:
    """The query with its fields renamed."""
    if isinstance(query, list):
        return [renamed(item, names) for item in query]
    if not isinstance(query, dict):
        return query
    return {
        names.get(key, key): names[value] if key == "field" else renamed(value, names) for key, value in query.items()
    }


def aggregations(names: dict[str, str]) -> dict[str, Any]:
    """One of each kind, over fields by their names."""
    return {
        "terms": {"terms": {"field": names["k"], "size": 50}, "aggs": {"sum": {"sum": {"field": names["n"]}}}},
        "histogram": {"histogram": {"field": names["d"], "interval": 2, "min_doc_count": 1}},
        "missing": {"missing": {"field": names["b"]}},
        "distinct": {"cardinality": {"field": names["n"]}},
    }


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=DOCUMENTS,
    split=st.integers(0, 12),
    query=QUERIES,
    chosen=st.fixed_dictionaries(
        {name: st.sampled_from([name, f"r{name}", f"q{name}", f"o.{name}"]) for name in TYPES}
    ),
    by=st.sampled_from(sorted(TYPES)),
)
def test_a_runtime_field_answers_as_the_indexed_field_of_its_values_does(
    backend: Backend, documents: list[dict[str, Any]], split: int, query: Any, chosen: dict[str, str], by: str
) -> None:
    for name in ("p-1", "p-2"):
        backend.indices.drop(name)
        properties = {**MAPPINGS["properties"], "o": {"type": "object", "enabled": False}}
        backend.indices.create(name, {"mappings": {"properties": properties}})
    operations = [
        BulkOperation("index", "p-1" if at < split else "p-2", str(at), {**document, "o": document})
        for at, document in enumerate(documents)
    ]
    backend.documents.bulk(operations, refresh=True)
    indices = backend.indices.resolve("p-*")

    def answer(names: dict[str, str]) -> Any:
        body = {
            "query": renamed(query, names), "size": 50, "sort": [names[by], "_doc"], "aggs": aggregations(names),
            "_source": False, "runtime_mappings": RUNTIME, "fields": [names[by]],
        }  # fmt: skip
        found = backend.search.search(indices, parse_body(body))
        hits = [
            (hit["_id"], hit["sort"], sorted(set(hit.get("fields", {}).get(names[by], []))))
            for hit in found["hits"]["hits"]
        ]
        return hits, found.get("aggregations"), found["_shards"]["failed"]

    assert answer(chosen) == answer({name: name for name in TYPES})
