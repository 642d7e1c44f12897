"""Filters and aggregations against the same thing in plain Python, over documents hypothesis makes up."""

from __future__ import annotations

import itertools
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.search.aggregations.rounding import rounding_of
from elastic_sandbox.search.request import parse_body

MAPPINGS = {
    "properties": {
        "k": {"type": "keyword"}, "n": {"type": "long"}, "d": {"type": "double"}, "b": {"type": "boolean"},
        "t": {"type": "date"},
    }
}  # fmt: skip
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


# Every aggregation, alone and inside a bucket


MINUTE = 60_000
_EPOCH = date(1970, 1, 1).toordinal()
ZONES = ["UTC", "+05:30", "America/Chicago", "America/Havana", "Australia/Lord_Howe"]
SPANS = [datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 10, 30, tzinfo=UTC)]
"""Five days each, in which Chicago and Havana (at midnight) change their clocks, or Lord Howe by half an hour."""
FIXED = {"10m": 10, "30m": 30, "1h": 60, "12h": 720, "1d": 1440, "2d": 2880}
CALENDAR = ["minute", "hour", "day", "week", "month"]
INTERVALS = [("fixed_interval", one) for one in FIXED] + [("calendar_interval", one) for one in CALENDAR]


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@lru_cache(maxsize=len(SPANS))
def _wall_clock(zone: str, span: datetime) -> list[tuple[int, int, int]]:
    """What the wall clock says every ten minutes: (the moment, minutes since 1970, the day's number)."""
    tz = datetime.strptime(zone, "%z").tzinfo if zone[0] == "+" else ZoneInfo(zone)
    seen = []
    for tens in range(80 * 144):
        moment = span - timedelta(days=40) + timedelta(minutes=10 * tens)
        wall = moment.astimezone(tz)
        days = wall.toordinal() - _EPOCH
        seen.append((_millis(moment), days * 1440 + wall.hour * 60 + wall.minute, days))
    return seen


@lru_cache
def _boundaries(zone: str, kind: str, interval: str, span: datetime) -> list[int]:
    """Where buckets begin, found by looking at the wall clock every ten minutes: where what it says is another period,
    or, for what is counted in minutes, where it says that one begins just now, for the second time in a day."""
    steps = {**FIXED, "hour": 60}
    found: list[int] = []
    before: Any = None
    for ms, minutes, days in _wall_clock(zone, span):
        begins = False
        if interval in steps:
            period: Any = minutes // steps[interval]
            begins = minutes % steps[interval] == 0
        elif interval == "month":
            period = date.fromordinal(_EPOCH + days).month
        else:
            period = days if interval == "day" else (days + 3) // 7  # 1970-01-01 was a Thursday
        if before is not None and (period != before or begins):
            found.append(ms)
        before = period
    return found


def _rounded(zone: str, kind: str, interval: str, span: datetime, ms: int) -> int:
    if interval == "minute":
        return ms - ms % MINUTE
    found = _boundaries(zone, kind, interval, span)
    return found[bisect_right(found, ms) - 1]


@st.composite
def _dated(draw: st.DrawFn) -> tuple[datetime, list[dict[str, Any]]]:
    span = draw(st.sampled_from(SPANS))
    documents = draw(DOCUMENTS)
    times = st.integers(0, 5 * 24 * 60 * 60 - 1).map(lambda s: _millis(span) + s * 1000)
    for document in documents:
        moments = draw(st.none() | times | st.lists(times, max_size=3))
        if moments is not None:
            document["t"] = moments
    return span, documents


RANGES = [{"to": -1}, {"from": -1, "to": 2}, {"from": 1, "key": "more"}]
PERCENTS = [0, 10, 50, 95, 100]
FLAT: dict[str, Any] = {
    "cardinality": {"cardinality": {"field": "k"}},
    "moments": {"cardinality": {"field": "t"}},
    "avg": {"avg": {"field": "d"}},
    "min": {"min": {"field": "n"}},
    "latest": {"max": {"field": "t"}},
    "stats": {"stats": {"field": "d"}},
    "percentiles": {"percentiles": {"field": "d", "percents": PERCENTS}},
    "filled": {"sum": {"field": "n", "missing": 7}},
    "missing": {"missing": {"field": "k"}},
    "filter": {"filter": {"term": {"b": True}}, "aggs": {"n": {"stats": {"field": "n"}}}},
    "filters": {"filters": {"other_bucket_key": "else", "filters": {
        "a": {"term": {"k": "a"}}, "big": {"range": {"n": {"gte": 1}}}}}},
    "range": {"range": {"field": "n", "ranges": RANGES}, "aggs": {"k": {"cardinality": {"field": "k"}}}},
    "top": {"top_hits": {"size": 3, "from": 1, "sort": [{"n": "desc"}], "_source": ["n"]}},
}  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dated=_dated(),
    split=st.integers(0, 12),
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(INTERVALS),
    gaps=st.booleans(),
    descending=st.booleans(),
)
def test_every_aggregation_agrees_with_plain_python(
    backend: Backend,
    dated: tuple[datetime, list[dict[str, Any]]],
    split: int,
    zone: str,
    interval: tuple[str, str],
    gaps: bool,
    descending: bool,
) -> None:
    span, documents = dated
    gaps = gaps and interval[1] not in {"minute", "10m"}
    for name in ("p-1", "p-2"):
        backend.indices.drop(name)
        backend.indices.create(name, {"mappings": MAPPINGS})
    backend.documents.bulk(
        [
            BulkOperation("index", "p-1" if at < split else "p-2", str(at), document)
            for at, document in enumerate(documents)
        ],
        refresh=True,
    )
    indices = backend.indices.resolve("p-*")
    dates = {"field": "t", interval[0]: interval[1], "time_zone": zone}
    histogram = {"date_histogram": {**dates, "min_doc_count": 0 if gaps else 1}, "aggs": FLAT}
    tree = {**FLAT, "dates": histogram, "by_k": {"terms": {"field": "k", "size": 50}, "aggs": FLAT}}
    found = backend.search.search(indices, parse_body({"size": 0, "aggs": tree}))["aggregations"]

    def key(ms: int) -> int:
        return _rounded(zone, *interval, span, ms)

    _check_flat(found, documents)
    for bucket in found["by_k"]["buckets"]:
        _check_flat(bucket, [document for document in documents if bucket["key"] in _values(document, "k")])
    counted = Counter(one for document in documents for one in {key(ms) for ms in _values(document, "t")})
    keys = sorted(counted)
    if gaps and keys:
        keys = [one for one in _boundaries(zone, *interval, span) if keys[0] <= one <= keys[-1]]
    assert [(b["key"], b["doc_count"]) for b in found["dates"]["buckets"]] == [(one, counted[one]) for one in keys]
    for bucket in found["dates"]["buckets"]:
        assert _millis(datetime.fromisoformat(bucket["key_as_string"])) == bucket["key"]
        _check_flat(bucket, [d for d in documents if any(key(ms) == bucket["key"] for ms in _values(d, "t"))])

    sources = [
        {"k": {"terms": {"field": "k", "order": "desc" if descending else "asc"}}},
        {"n": {"histogram": {"field": "n", "interval": 2}}},
        {"t": {"date_histogram": dates}},
    ]
    expected = Counter(
        one
        for document in documents
        for one in itertools.product(
            set(_values(document, "k")),
            {float(value // 2 * 2) for value in _values(document, "n")},
            {key(ms) for ms in _values(document, "t")},
        )
    )
    pages, after = [], None
    while True:
        body = {"sources": sources, "size": 2, **({} if after is None else {"after": after})}
        tree = {"pages": {"composite": body, "aggs": {"d": {"sum": {"field": "d"}}}}}
        page = backend.search.search(indices, parse_body({"size": 0, "aggs": tree}))["aggregations"]["pages"]
        if not page["buckets"]:
            break
        pages += page["buckets"]
        after = page["after_key"]
        assert len(pages) <= len(expected)
    order = sorted(sorted(expected, key=lambda one: one[1:]), key=lambda one: one[0], reverse=descending)
    assert [(tuple(bucket["key"].values()), bucket["doc_count"]) for bucket in pages] == [
        (one, expected[one]) for one in order
    ]
    for bucket in pages:
        k, n, t = bucket["key"].values()
        inside = [
            document
            for document in documents
            if k in _values(document, "k")
            and any(value // 2 * 2 == n for value in _values(document, "n"))
            and any(key(ms) == t for ms in _values(document, "t"))
        ]
        assert bucket["d"]["value"] == sum(_all(inside, "d"))


def _all(documents: list[dict[str, Any]], path: str) -> list[Any]:
    return [value for document in documents for value in _values(document, path)]


def _check_flat(result: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    n, d = _all(documents, "n"), _all(documents, "d")
    assert result["cardinality"]["value"] == len(set(_all(documents, "k")))
    assert result["moments"]["value"] == len(set(_all(documents, "t")))
    assert result["avg"]["value"] == (pytest.approx(statistics.fmean(d)) if d else None)
    assert result["min"]["value"] == min(n, default=None)
    assert result["latest"]["value"] == max(_all(documents, "t"), default=None)
    assert result["stats"] == _stats(d)
    assert result["percentiles"]["values"] == {str(float(p)): _percentile(d, p) for p in PERCENTS}
    assert result["filled"]["value"] == sum(n) + 7 * sum(not _values(document, "n") for document in documents)
    assert result["missing"]["doc_count"] == sum(not _values(document, "k") for document in documents)
    true = [document for document in documents if True in _values(document, "b")]
    assert result["filter"] == {"doc_count": len(true), "n": _stats(_all(true, "n"))}
    a = {id(document) for document in documents if "a" in _values(document, "k")}
    big = {id(document) for document in documents if any(value >= 1 for value in _values(document, "n"))}
    assert result["filters"]["buckets"] == {
        "a": {"doc_count": len(a)},
        "big": {"doc_count": len(big)},
        "else": {"doc_count": len(documents) - len(a | big)},
    }
    for bucket, bounds in zip(result["range"]["buckets"], RANGES, strict=True):
        low, high = bounds.get("from", -100), bounds.get("to", 100)
        inside = [document for document in documents if any(low <= value < high for value in _values(document, "n"))]
        assert (bucket["doc_count"], bucket["k"]["value"]) == (len(inside), len(set(_all(inside, "k"))))
    top = result["top"]["hits"]
    assert top["total"] == {"value": len(documents), "relation": "eq"}
    best = sorted((max(_values(document, "n"), default=-100) for document in documents), reverse=True)[1:4]
    assert [max(_values(hit["_source"], "n"), default=-100) for hit in top["hits"]] == best


def _stats(values: list[Any]) -> dict[str, Any]:
    average = pytest.approx(statistics.fmean(values)) if values else None
    return {
        "count": len(values), "min": min(values, default=None), "max": max(values, default=None), "avg": average,
        "sum": sum(values),
    }  # fmt: skip


def _percentile(values: list[Any], percent: float) -> Any:
    """Interpolated between the sorted values: see docs/sandbox.md for where Elasticsearch approximates instead."""
    if not values:
        return None
    ordered = sorted(values)
    at = percent / 100 * (len(ordered) - 1)
    low = ordered[int(at)]
    return pytest.approx(low + (ordered[min(int(at) + 1, len(ordered) - 1)] - low) * (at - int(at)))


def test_a_bucket_is_as_long_as_its_interval_says_although_the_clock_changes(backend: Backend) -> None:
    # org.elasticsearch.common.Rounding: minutes and odd steps in a zone that changes its clocks are no quarter hours.
    backend.indices.drop("p-1")
    backend.indices.create("p-1", {"mappings": MAPPINGS})
    times = [f"2026-11-01T06:{minute:02d}:30Z" for minute in (2, 10, 14, 16, 29)]
    backend.documents.bulk(
        [BulkOperation("index", "p-1", str(at), {"t": one}) for at, one in enumerate(times)], refresh=True
    )
    for options, expected in {
        ("calendar_interval", "minute", ""): ["06:02", "06:10", "06:14", "06:16", "06:29"],
        ("fixed_interval", "7m", ""): ["06:02", "06:09", "06:16", "06:23"],
        ("calendar_interval", "hour", "+5m"): ["05:05", "06:05"],
    }.items():
        body = {"field": "t", options[0]: options[1], "time_zone": "America/Chicago", "min_doc_count": 1}
        if options[2]:
            body["offset"] = options[2]
        answer = backend.search.search(
            backend.indices.resolve("p-1"), parse_body({"aggs": {"t": {"date_histogram": body}}})
        )
        shown = [datetime.fromtimestamp(b["key"] / 1000, UTC) for b in answer["aggregations"]["t"]["buckets"]]
        assert [f"{one:%H:%M}" for one in shown] == expected


@pytest.mark.parametrize("interval", [one for one in INTERVALS if one[1] != "minute"])
@pytest.mark.parametrize("zone", ZONES[2:])
def test_buckets_begin_where_the_wall_clock_says_so(zone: str, interval: tuple[str, str]) -> None:
    rounding = rounding_of({interval[0]: interval[1], "time_zone": zone}, "t")
    for span in SPANS:
        for ms in range(_millis(span), _millis(span + timedelta(days=5)), 20 * MINUTE):
            key = _rounded(zone, *interval, span, ms)
            assert rounding.key(ms) == key, datetime.fromtimestamp(ms / 1000, UTC)
        found = _boundaries(zone, *interval, span)
        first = bisect_right(found, _millis(span))
        for before, after in itertools.pairwise(found[first - 1 : first + 40]):
            assert rounding.next(before) == after
