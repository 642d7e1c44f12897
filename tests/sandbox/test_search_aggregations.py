"""Aggregations: buckets, metrics, order, gaps, pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

MAPPINGS = {
    "properties": {
        "@timestamp": {"type": "date"},
        "user": {"type": "keyword"},
        "country": {"type": "keyword"},
        "amount": {"type": "double"},
        "count": {"type": "long"},
        "ok": {"type": "boolean"},
        "text": {"type": "text"},
    }
}
DOCUMENTS: list[dict[str, Any]] = [
    {"@timestamp": "2026-03-28T22:30:00Z", "user": "ana", "country": "DE", "amount": 10.0, "count": 1, "ok": True},
    {"@timestamp": "2026-03-28T23:30:00Z", "user": "ana", "country": "FR", "amount": 20.0, "count": 2, "ok": False},
    {"@timestamp": "2026-03-29T21:30:00Z", "user": "bob", "country": "DE", "amount": 5.0, "count": 7, "ok": True},
    {"@timestamp": "2026-03-29T22:30:00Z", "user": "bob", "country": ["DE", "US"], "amount": [1.0, 3.0], "count": 8},
    {"@timestamp": "2026-04-02T10:00:00Z", "user": "cid", "count": 12, "text": "words"},
]


@pytest.fixture
def sales(elasticsearch: Elasticsearch) -> Elasticsearch:
    """Five documents over two indices; in one of them ``country`` has several values."""
    for name in ("sales-1", "sales-2"):
        elasticsearch.indices.create(index=name, mappings=MAPPINGS)
    operations: list[dict[str, Any]] = []
    for number, document in enumerate(DOCUMENTS):
        operations += [{"index": {"_index": f"sales-{1 + number // 3}", "_id": str(number)}}, document]
    assert not elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    return elasticsearch


def _aggregate(client: Elasticsearch, body: dict[str, Any], **options: Any) -> Any:
    return client.search(index="sales-*", size=0, aggs={"x": body}, **options)["aggregations"]["x"]


def _pairs(result: Any) -> list[tuple[Any, int]]:
    return [(bucket["key"], bucket["doc_count"]) for bucket in result["buckets"]]


def test_terms_count_documents_per_value_and_say_what_was_left_out(sales: Elasticsearch) -> None:
    everything = _aggregate(sales, {"terms": {"field": "country"}})
    assert _pairs(everything) == [("DE", 3), ("FR", 1), ("US", 1)]
    first = _aggregate(sales, {"terms": {"field": "country", "size": 1}})
    assert (_pairs(first), first["sum_other_doc_count"], first["doc_count_error_upper_bound"]) == ([("DE", 3)], 2, 0)


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({"missing": "??"}, [("DE", 3), ("??", 1), ("FR", 1), ("US", 1)]),
        ({"include": ["US", "FR"]}, [("FR", 1), ("US", 1)]),
        ({"include": "[DF].*", "exclude": "F."}, [("DE", 3)]),
        ({"min_doc_count": 2}, [("DE", 3)]),
        ({"order": {"_key": "desc"}}, [("US", 1), ("FR", 1), ("DE", 3)]),
        ({"order": [{"_count": "asc"}, {"_key": "desc"}]}, [("US", 1), ("FR", 1), ("DE", 3)]),
    ],
)
def test_terms_take_their_options(sales: Elasticsearch, options: dict[str, Any], pairs: list[Any]) -> None:
    assert _pairs(_aggregate(sales, {"terms": {"field": "country", **options}})) == pairs


def test_terms_are_ordered_by_a_metric_below_them(sales: Elasticsearch) -> None:
    result = _aggregate(
        sales,
        {"terms": {"field": "user", "order": {"spent.sum": "desc"}}, "aggs": {"spent": {"stats": {"field": "amount"}}}},
    )
    assert [(bucket["key"], bucket["spent"]["sum"]) for bucket in result["buckets"]] == [
        ("ana", 30.0), ("bob", 9.0), ("cid", 0.0),
    ]  # fmt: skip
    assert result["buckets"][2]["spent"] == {"count": 0, "min": None, "max": None, "avg": None, "sum": 0.0}


def test_keys_of_booleans_and_dates_are_also_given_as_text(sales: Elasticsearch) -> None:
    assert _aggregate(sales, {"terms": {"field": "ok"}})["buckets"] == [
        {"key": 1, "key_as_string": "true", "doc_count": 2},
        {"key": 0, "key_as_string": "false", "doc_count": 1},
    ]
    dates = _aggregate(sales, {"terms": {"field": "@timestamp", "size": 1, "order": {"_key": "asc"}}})
    assert dates["buckets"][0]["key_as_string"] == "2026-03-28T22:30:00.000Z"


def test_metrics_of_several_values_and_of_none(sales: Elasticsearch) -> None:
    metrics = {
        kind: {kind: {"field": "amount"}}
        for kind in ("min", "max", "avg", "sum", "value_count", "cardinality", "extended_stats")
    }
    found = sales.search(index="sales-*", size=0, aggs=metrics)["aggregations"]
    assert (found["min"]["value"], found["max"]["value"], found["avg"]["value"]) == (1.0, 20.0, 7.8)
    assert (found["sum"]["value"], found["value_count"]["value"], found["cardinality"]["value"]) == (39.0, 5, 5)
    assert found["extended_stats"]["variance"] == pytest.approx(46.16)
    assert found["extended_stats"]["std_deviation_bounds"]["upper"] == pytest.approx(7.8 + 2 * 46.16**0.5)
    empty = sales.search(index="sales-*", size=0, query={"match_none": {}}, aggs=metrics)["aggregations"]
    assert (empty["min"]["value"], empty["sum"]["value"], empty["value_count"]["value"]) == (None, 0.0, 0)
    assert empty["extended_stats"]["std_deviation_bounds"]["upper"] is None
    assert _aggregate(sales, {"max": {"field": "@timestamp"}})["value_as_string"] == "2026-04-02T10:00:00.000Z"
    assert _aggregate(sales, {"avg": {"field": "amount", "missing": 100}})["value"] == pytest.approx(139 / 6)


def test_percentiles_interpolate_between_values(sales: Elasticsearch) -> None:
    assert _aggregate(sales, {"percentiles": {"field": "amount", "percents": [0, 50, 75]}})["values"] == {
        "0.0": 1.0, "50.0": 5.0, "75.0": 10.0,
    }  # fmt: skip
    listed = _aggregate(sales, {"percentiles": {"field": "amount", "percents": [10], "keyed": False}})["values"]
    assert listed == [{"key": 10.0, "value": pytest.approx(1.8)}]


def test_conditions_make_buckets(sales: Elasticsearch) -> None:
    aggs = {"sum": {"sum": {"field": "count"}}}
    assert _aggregate(sales, {"filter": {"term": {"country": "DE"}}, "aggs": aggs}) == {
        "doc_count": 3,
        "sum": {"value": 16.0},
    }
    assert _aggregate(sales, {"missing": {"field": "country"}, "aggs": aggs}) == {
        "doc_count": 1,
        "sum": {"value": 12.0},
    }
    named = _aggregate(
        sales,
        {
            "filters": {
                "other_bucket": True,
                "filters": {"a": {"term": {"user": "ana"}}, "d": {"term": {"country": "DE"}}},
            }
        },
    )
    assert {name: bucket["doc_count"] for name, bucket in named["buckets"].items()} == {"a": 2, "d": 3, "_other_": 1}
    ranges = {"field": "amount", "ranges": [{"from": 5}, {"to": 5}, {"from": 2, "to": 15, "key": "some"}]}
    assert _aggregate(sales, {"range": ranges})["buckets"] == [
        {"key": "*-5.0", "to": 5.0, "doc_count": 1},
        {"key": "some", "from": 2.0, "to": 15.0, "doc_count": 3},
        {"key": "5.0-*", "from": 5.0, "doc_count": 3},
    ]


def test_days_follow_the_clock_of_their_time_zone_through_its_change(sales: Elasticsearch) -> None:
    # On 29 March 2026 Berlin's day has 23 hours.
    result = _aggregate(
        sales, {"date_histogram": {"field": "@timestamp", "calendar_interval": "day", "time_zone": "Europe/Berlin"}}
    )
    assert [(bucket["key_as_string"], bucket["doc_count"]) for bucket in result["buckets"]] == [
        ("2026-03-28T00:00:00.000+01:00", 1),
        ("2026-03-29T00:00:00.000+01:00", 2),
        ("2026-03-30T00:00:00.000+02:00", 1),
        ("2026-03-31T00:00:00.000+02:00", 0),
        ("2026-04-01T00:00:00.000+02:00", 0),
        ("2026-04-02T00:00:00.000+02:00", 1),
    ]


@pytest.mark.parametrize(
    ("options", "buckets"),
    [
        ({"calendar_interval": "month"}, [("2026-03-01", 4), ("2026-04-01", 1)]),
        ({"calendar_interval": "week"}, [("2026-03-23", 4), ("2026-03-30", 1)]),
        ({"calendar_interval": "quarter"}, [("2026-01-01", 4), ("2026-04-01", 1)]),
        ({"fixed_interval": "2d", "min_doc_count": 1}, [("2026-03-28", 4), ("2026-04-01", 1)]),
        ({"calendar_interval": "1d", "min_doc_count": 1, "offset": "+6h"}, [("2026-03-28", 2), ("2026-03-29", 2), ("2026-04-02", 1)]),  # noqa: E501
        ({"calendar_interval": "1d", "min_doc_count": 1, "order": {"_count": "asc"}}, [("2026-04-02", 1), ("2026-03-28", 2), ("2026-03-29", 2)]),  # noqa: E501
    ],
)  # fmt: skip
def test_dates_are_bucketed_by(sales: Elasticsearch, options: dict[str, Any], buckets: list[Any]) -> None:
    result = _aggregate(sales, {"date_histogram": {"field": "@timestamp", "format": "yyyy-MM-dd", **options}})
    assert [(bucket["key_as_string"], bucket["doc_count"]) for bucket in result["buckets"]] == buckets


def test_a_histogram_fills_its_gaps_and_stretches_to_its_bounds(sales: Elasticsearch) -> None:
    plain = {"field": "count", "interval": 5}
    assert _pairs(_aggregate(sales, {"histogram": plain})) == [(0.0, 2), (5.0, 2), (10.0, 1)]
    stretched = {**plain, "interval": 10, "offset": 1, "extended_bounds": {"min": -10, "max": 25}}
    assert _pairs(_aggregate(sales, {"histogram": stretched})) == [
        (-19.0, 0),
        (-9.0, 0),
        (1.0, 4),
        (11.0, 1),
        (21.0, 0),
    ]


def test_buckets_nest_to_any_depth_and_empty_ones_have_empty_children(sales: Elasticsearch) -> None:
    result = _aggregate(
        sales,
        {
            "date_histogram": {"field": "@timestamp", "calendar_interval": "day"},
            "aggs": {"by": {"terms": {"field": "country"}, "aggs": {"top": {"top_hits": {"size": 1, "sort": [{"count": "desc"}], "_source": ["count"]}}}}},  # noqa: E501
        },
    )  # fmt: skip
    shape = [
        [
            (bucket["key"], [hit["_source"]["count"] for hit in bucket["top"]["hits"]["hits"]])
            for bucket in day["by"]["buckets"]
        ]
        for day in result["buckets"]
    ]
    assert shape == [[("DE", [1]), ("FR", [2])], [("DE", [8]), ("US", [8])], [], [], [], []]
    hits = result["buckets"][1]["by"]["buckets"][0]["top"]["hits"]
    assert hits["total"] == {"value": 2, "relation": "eq"}
    assert hits["hits"][0]["sort"] == [8]


def test_composite_pages_through_every_combination(sales: Elasticsearch) -> None:
    sources = [
        {"day": {"date_histogram": {"field": "@timestamp", "calendar_interval": "month", "format": "yyyy-MM"}}},
        {"user": {"terms": {"field": "user", "order": "desc"}}},
    ]
    seen: list[Any] = []
    after = None
    while True:
        composite: dict[str, Any] = {"sources": sources, "size": 2}
        if after is not None:
            composite["after"] = after
        page = _aggregate(sales, {"composite": composite, "aggs": {"n": {"value_count": {"field": "amount"}}}})
        if not page["buckets"]:
            break
        seen += [(bucket["key"], bucket["doc_count"], bucket["n"]["value"]) for bucket in page["buckets"]]
        after = page["after_key"]
    assert seen == [
        ({"day": "2026-03", "user": "bob"}, 2, 3),
        ({"day": "2026-03", "user": "ana"}, 2, 2),
        ({"day": "2026-04", "user": "cid"}, 1, 0),
    ]


def test_aggregating_text_is_refused_in_the_servers_words(sales: Elasticsearch) -> None:
    with pytest.raises(BadRequestError) as refused:
        _aggregate(sales, {"terms": {"field": "text"}})
    body = refused.value.body["error"]
    assert body["type"] == "search_phase_execution_exception"
    assert body["root_cause"][0]["reason"].startswith("Fielddata is disabled on [text] in [sales-1].")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"trems": {"field": "user"}}, 400, "Unknown aggregation type [trems]"),
        ({"terms": {"field": "user", "sise": 1}}, 400, "[terms] unknown field [sise]"),
        ({"terms": {}}, 400, "Required one of fields [field, script], but none were specified."),
        ({"significant_terms": {"field": "user"}}, 501, "aggregation [significant_terms]"),
        ({"bucket_sort": {}}, 501, "aggregation [bucket_sort]"),
        ({"avg": {"script": "1"}}, 501, "[script] of a avg aggregation"),
        ({"avg": {"field": "user"}}, 400, "Field [user] of type [keyword] is not supported for aggregation [avg]"),
        ({"date_histogram": {"field": "@timestamp"}}, 400, "Invalid interval specified"),
    ],
)
def test_what_cannot_be_aggregated_is_refused(
    sales: Elasticsearch, body: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(ApiError) as refused:
        _aggregate(sales, body)
    assert refused.value.status_code == status
    assert words in str(refused.value.body)


def test_a_field_mapped_as_text_here_and_number_there_is_not_aggregated_silently(elasticsearch: Elasticsearch) -> None:
    for name, kind in {"m-1": "keyword", "m-2": "long"}.items():
        elasticsearch.indices.create(index=name, mappings={"properties": {"v": {"type": kind}}})
        elasticsearch.index(index=name, document={"v": 1}, refresh=True)
    with pytest.raises(ApiError) as refused:
        elasticsearch.search(index="m-*", size=0, aggs={"x": {"terms": {"field": "v"}}})
    assert refused.value.status_code == 501
    assert "[v]" in refused.value.body["error"]["reason"]
