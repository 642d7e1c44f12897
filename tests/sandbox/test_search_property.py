"""Filters and aggregations against the same thing in plain Python, over documents hypothesis makes up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.search.request import parse_body

MAPPINGS = {
    "properties": {"k": {"type": "keyword"}, "n": {"type": "long"}, "d": {"type": "double"}, "b": {"type": "boolean"}}
}
WORDS = st.sampled_from(["", "a", "ab", "b", "ä*", "it's"])
NUMBERS = st.integers(-4, 4)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "k": WORDS,
    "n": NUMBERS,
    "d": st.integers(-8, 8).map(lambda n: n / 2),
    "b": st.booleans(),
}
DOCUMENTS = st.lists(
    st.fixed_dictionaries({}, optional={path: value | st.lists(value, max_size=3) for path, value in VALUES.items()}),
    max_size=12,
)


def _leaf() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.dictionaries(
        st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBERS | st.sampled_from([-0.5, 1.5]), max_size=2
    )
    return st.one_of(
        st.sampled_from(sorted(VALUES)).flatmap(lambda path: VALUES[path].map(lambda value: {"term": {path: value}})),
        st.sampled_from(sorted(VALUES)).flatmap(
            lambda path: st.lists(VALUES[path], max_size=3).map(lambda values: {"terms": {path: values}})
        ),
        st.tuples(st.sampled_from(["n", "d"]), bounds).map(lambda item: {"range": {item[0]: item[1]}}),
        st.sampled_from(sorted(VALUES)).map(lambda path: {"exists": {"field": path}}),
        st.sampled_from(["a", "", "ä"]).map(lambda text: {"prefix": {"k": text}}),
    )


def _boolean(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    clauses = st.lists(inner, max_size=2)
    return st.fixed_dictionaries(
        {}, optional={"must": clauses, "filter": clauses, "should": clauses, "must_not": clauses}
    ).map(lambda body: {"bool": body})


QUERIES = st.recursive(_leaf(), _boolean, max_leaves=6)


def _values(document: dict[str, Any], path: str) -> list[Any]:
    value = document.get(path, [])
    return value if isinstance(value, list) else [value]


def _matches(document: dict[str, Any], query: dict[str, Any]) -> bool:
    [(kind, body)] = query.items()
    if kind == "bool":
        should = [_matches(document, item) for item in body.get("should", [])]
        required = [*body.get("must", []), *body.get("filter", [])]
        return (
            all(_matches(document, item) for item in required)
            and not any(_matches(document, item) for item in body.get("must_not", []))
            and (bool(required) or not should or any(should))
        )
    if kind == "exists":
        return bool(_values(document, body["field"]))
    [(path, argument)] = body.items()
    values = _values(document, path)
    if kind == "term":
        return argument in values
    if kind == "terms":
        return any(value in argument for value in values)
    if kind == "prefix":
        return any(value.startswith(argument) for value in values)
    tests = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
    return any(
        all(getattr(float(value), tests[name])(float(limit)) for name, limit in argument.items()) for value in values
    )


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    made = Backend()
    yield made
    made.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=DOCUMENTS, split=st.integers(0, 12), queries=st.lists(QUERIES, min_size=1, max_size=3))
def test_search_agrees_with_plain_python(
    backend: Backend, documents: list[dict[str, Any]], split: int, queries: list[dict[str, Any]]
) -> None:
    for name in ("p-1", "p-2"):
        backend.indices.drop(name)
        backend.indices.create(name, {"mappings": MAPPINGS})
    operations = [
        BulkOperation("index", "p-1" if at < split else "p-2", str(at), document)
        for at, document in enumerate(documents)
    ]
    # Two refreshes, so that a column may have been made before its first list arrives.
    backend.documents.bulk(operations[::2], refresh=True)
    backend.documents.bulk(operations[1::2], refresh=True)
    indices = backend.indices.resolve("p-*")
    for query in queries:
        expected = [at for at, document in enumerate(documents) if _matches(document, query)]
        body = {
            "query": query,
            "size": 50,
            "sort": ["_doc"],
            "aggs": {
                "k": {"terms": {"field": "k", "size": 50}, "aggs": {"n": {"sum": {"field": "n"}}, "d": {"max": {"field": "d"}}}},  # noqa: E501
                "n": {"histogram": {"field": "n", "interval": 2, "min_doc_count": 1}, "aggs": {"v": {"value_count": {"field": "d"}}}},  # noqa: E501
            },
        }  # fmt: skip
        answer = backend.search.search(indices, parse_body(body))
        assert sorted(int(hit["_id"]) for hit in answer["hits"]["hits"]) == expected
        assert backend.documents.count("p-*", query) == len(expected)
        found = [documents[at] for at in expected]
        _check_terms(answer["aggregations"]["k"], found)
        _check_histogram(answer["aggregations"]["n"], found)


def _check_terms(result: dict[str, Any], found: list[dict[str, Any]]) -> None:
    counted = Counter(value for document in found for value in set(_values(document, "k")))
    expected = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    assert [(bucket["key"], bucket["doc_count"]) for bucket in result["buckets"]] == expected
    for bucket in result["buckets"]:
        inside = [document for document in found if bucket["key"] in _values(document, "k")]
        assert bucket["n"]["value"] == sum(value for document in inside for value in _values(document, "n"))
        assert bucket["d"]["value"] == max((v for document in inside for v in _values(document, "d")), default=None)


def _check_histogram(result: dict[str, Any], found: list[dict[str, Any]]) -> None:
    counted: Counter[float] = Counter()
    for document in found:
        counted.update({float(value // 2 * 2) for value in _values(document, "n")})
    assert [(bucket["key"], bucket["doc_count"]) for bucket in result["buckets"]] == sorted(counted.items())
    for bucket in result["buckets"]:
        inside = [d for d in found if any(float(v // 2 * 2) == bucket["key"] for v in _values(d, "n"))]
        assert bucket["v"]["value"] == sum(len(_values(document, "d")) for document in inside)
