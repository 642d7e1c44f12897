"""`runtime_mappings` of a search. Facts: Elastic's YAML tests `runtime_fields`, whose six sensor readings these are."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, helpers
from harness.specification import specification

READINGS = [
    (1516729294000, 200, 5.2, "a"), (1516642894000, 201, 5.8, "b"), (1516556494000, 202, 5.1, "a"),
    (1516470094000, 198, 5.6, "b"), (1516383694000, 200, 4.2, "c"), (1516297294000, 202, 4.0, "c"),
]  # fmt: skip
DAY = "emit(doc['timestamp'].value.dayOfWeekEnum.getDisplayName(TextStyle.FULL, Locale.ROOT));"
FIELDS: dict[str, Any] = {
    "day_of_week": {"type": "keyword", "script": {"source": DAY, "lang": "painless"}},
    "letters": {
        "type": "keyword",
        "script": "for (String day : doc['day_of_week']) { for (int i = 0; i < day.length(); i++) "
        "{ emit(day.charAt(i).toString()); } }",
    },
    "v10": {
        "type": "long",
        "script": {"source": "for (double v : doc['voltage']) { emit((long) (v * params.by)); }", "params": {"by": 10}},
    },
    "over_v": {"type": "boolean", "script": "emit(doc['voltage'].value >= 5.0)"},
    "tomorrow": {
        "type": "date",
        "format": "yyyy-MM-dd",
        "script": "for (def t : doc['timestamp']) { emit(t.plus(1, ChronoUnit.DAYS).toEpochMilli()); }",
    },
    "address": {"type": "ip", "script": "emit('10.0.0.' + doc['temperature'].value)"},
}


@pytest.fixture
def sensors(elasticsearch: Elasticsearch) -> Elasticsearch:
    properties = {"timestamp": "date", "temperature": "long", "voltage": "double", "node": "keyword", "text": "text"}
    mappings = {"dynamic": "false", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    elasticsearch.indices.create(index="sensor", mappings=mappings)
    documents = ({"timestamp": t, "temperature": c, "voltage": v, "node": n} for t, c, v, n in READINGS)
    helpers.bulk(elasticsearch, ({"_index": "sensor", **one} for one in documents), refresh=True)
    return elasticsearch


def search(es: Elasticsearch, runtime: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    return dict(es.search(index="sensor", runtime_mappings=FIELDS if runtime is None else runtime, **body))


def matching(es: Elasticsearch, query: dict[str, Any], fields: dict[str, Any] | None = None) -> list[float]:
    hits = search(es, fields, query=query, sort=["timestamp"])["hits"]["hits"]
    return [hit["_source"]["voltage"] for hit in hits]


def buckets(es: Elasticsearch, aggregation: dict[str, Any], fields: dict[str, Any] | None = None) -> list[Any]:
    found = search(es, fields, size=0, aggregations={"it": aggregation})["aggregations"]["it"]["buckets"]
    return [(bucket["key"], bucket["doc_count"]) for bucket in found]


def failed(es: Elasticsearch, fields: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Why the one shard of a search failed."""
    with pytest.raises(BadRequestError) as caught:
        search(es, fields, **(body or {"aggregations": {"x": {"terms": {"field": next(iter(fields))}}}}))
    error = caught.value.body["error"]
    assert (error["type"], error["reason"]) == ("search_phase_execution_exception", "all shards failed")
    return dict(error["failed_shards"][0]["reason"])


def test_values_are_shown_sorted_by_name_or_pattern(sensors: Elasticsearch) -> None:
    hits = search(sensors, size=1, sort=["timestamp"], fields=["*"], source=False)["hits"]["hits"]
    assert hits[0]["fields"] == {
        "timestamp": ["2018-01-18T17:41:34.000Z"], "temperature": [202], "voltage": [4.0], "node": ["c"],
        "day_of_week": ["Thursday"], "letters": ["T", "a", "d", "h", "r", "s", "u", "y"], "v10": [40],
        "over_v": [False], "tomorrow": ["2018-01-19"], "address": ["10.0.0.202"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("query", "voltages"),
    [
        ({"term": {"day_of_week": "Monday"}}, [5.8]),
        ({"match": {"letters": "u"}}, [4.0, 5.6, 5.1, 5.2]),
        ({"prefix": {"day_of_week": "S"}}, [5.1, 5.6][::-1]),
        ({"range": {"v10": {"gt": 51.5}}}, [5.6, 5.8, 5.2]),
        ({"term": {"tomorrow": "2018-01-19"}}, [4.0]),
        ({"range": {"address": {"gte": "10.0.0.201"}}}, [4.0, 5.1, 5.8]),
        ({"term": {"address": "10.0.0.200/31"}}, [4.2, 5.8, 5.2]),
        ({"bool": {"must_not": {"term": {"over_v": True}}}}, [4.0, 4.2]),
        ({"bool": {"filter": {"term": {"node": "b"}}, "should": [{"term": {"v10": 58}}], "minimum_should_match": 1}},
         [5.8]),
        ({"exists": {"field": "day_*"}}, [reading[2] for reading in READINGS[::-1]]),
    ],
)  # fmt: skip
def test_queries_find_what_scripts_emit(sensors: Elasticsearch, query: dict[str, Any], voltages: list[float]) -> None:
    assert matching(sensors, query) == voltages


def test_aggregations_count_them(sensors: Elasticsearch) -> None:
    assert buckets(sensors, {"terms": {"field": "letters", "size": 2}}) == [("a", 6), ("d", 6)]
    assert buckets(sensors, {"terms": {"field": "over_v"}}) == [(1, 4), (0, 2)]
    assert buckets(sensors, {"histogram": {"field": "v10", "interval": 10}}) == [(40.0, 2), (50.0, 4)]
    total = search(sensors, size=0, query={"term": {"node": "c"}}, aggs={"s": {"sum": {"field": "v10"}}})
    assert total["aggregations"]["s"]["value"] == 82.0


def test_hits_are_sorted_by_them_and_all_score_alike(sensors: Elasticsearch) -> None:
    hits = search(sensors, sort=[{"day_of_week": "desc"}], size=2)["hits"]["hits"]
    assert [hit["sort"] for hit in hits] == [["Tuesday"], ["Thursday"]]
    scored = search(sensors, query={"term": {"day_of_week": {"value": "Monday", "boost": 7}}})["hits"]
    assert scored["max_score"] == 7.0


def test_a_field_without_a_script_reads_the_source_and_leaves_out_what_does_not_fit(sensors: Elasticsearch) -> None:
    counts = [10, [11.2], [{"count": 12}], "13", [14.5, True, "manglewurzle"], None]
    sensors.indices.create(index="history", mappings={"dynamic": "false"})
    for number, count in enumerate(counts):
        history = count if number == 2 else {"count": count}
        sensors.index(index="history", id=str(number), document={"history": history})
    sensors.indices.refresh(index="history")
    fields = {"history.count": {"type": "long"}}
    answer = sensors.search(index="history", runtime_mappings=fields, fields=["history.count"], sort=["_doc"])
    shown = [hit.get("fields", {}).get("history.count") for hit in answer["hits"]["hits"]]
    assert shown == [[10], [11], [12], [13], [14], None]


def test_a_runtime_field_hides_the_mapped_field_of_its_name(sensors: Elasticsearch) -> None:
    fields = {"node": {"type": "long", "script": "emit(doc['temperature'].value)"}}
    assert buckets(sensors, {"terms": {"field": "node", "size": 1}}, fields) == [(200, 2)]
    assert matching(sensors, {"range": {"node": {"lt": 200}}}, fields) == [5.6]
    assert matching(sensors, {"term": {"node": "a"}}, {}) == [5.1, 5.2]


def test_fields_that_read_each_other_are_followed_five_deep_and_not_in_circles(sensors: Elasticsearch) -> None:
    chain = {f"f{at}": {"type": "keyword", "script": f"emit(doc['f{at + 1}'].value)"} for at in range(5)}
    chain["f5"] = {"type": "keyword", "script": "emit('end')"}
    assert buckets(sensors, {"terms": {"field": "f1"}}, chain) == [("end", 6)]
    reason = failed(sensors, chain, query={"match": {"f0": "x"}})
    words = "Field requires resolving too many dependent fields: f0 -> f1 -> f2 -> f3 -> f4 -> f5"
    assert (reason["type"], reason["caused_by"]["reason"]) == ("script_exception", words)
    loop = {"loop": {"type": "keyword", "script": "emit(doc['a'].value)"},
            "a": {"type": "keyword", "script": "emit(doc['loop'].value)"}}  # fmt: skip
    words = "Cyclic dependency detected while resolving runtime fields: loop -> a -> loop"
    assert failed(sensors, loop)["caused_by"] == {"type": "illegal_argument_exception", "reason": words}
    # A circle that no document comes to is none.
    assert buckets(sensors, {"terms": {"field": "l"}}, {"l": {"type": "long", "script": "if (1 > 2) emit(doc['l'].value); else emit(1)"}}) == [(1, 6)]  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("definition", "kind", "words"),
    [
        (None, "mapper_parsing_exception", "Runtime field [f] was set to null but its removal is not supported in this context"),  # noqa: E501
        ("long", "mapper_parsing_exception", "Expected map for runtime field [f] definition but got a java.lang.String"),  # noqa: E501
        ({}, "mapper_parsing_exception", "No type specified for runtime field [f]"),
        ({"type": "text"}, "mapper_parsing_exception", "The mapper type [text] declared on runtime field [f] does not exist"),  # noqa: E501
        ({"type": "long", "format": "yyyy"}, "mapper_parsing_exception", "unknown parameter [format] on runtime field [f] of type [long]"),  # noqa: E501
        ({"type": "long", "script": None}, "mapper_parsing_exception", "[script] on runtime field [f] of type [long] must not have a [null] value"),  # noqa: E501
        ({"type": "long", "script": {"id": "x"}}, "mapper_parsing_exception", "stored scripts are not supported for runtime field [f]"),  # noqa: E501
        ({"type": "long", "on_script_error": "stop"}, "mapper_parsing_exception", "Unknown value [stop] for field [on_script_error] - accepted values are [fail, continue]"),  # noqa: E501
        ({"type": "long", "script": "emit('a')"}, "script_exception", "compile error"),
        ({"type": "long", "script": "emit(doc['nope'].value)"}, "script_exception", "runtime error"),
    ],
)  # fmt: skip
def test_a_definition_that_cannot_be_fails_the_search(
    sensors: Elasticsearch, definition: Any, kind: str, words: str
) -> None:
    reason = failed(sensors, {"f": definition})
    assert reason["type"] == kind
    assert words in reason["reason"]


@pytest.mark.parametrize(
    "definition",
    [
        {"type": []}, {"type": {"a": 1}}, {"type": "long", "script": 5}, {"type": "long", "script": {"source": {}}},
        {"type": "long", "script": {"source": "emit(1)", "params": [1]}}, {"type": "long", "on_script_error": []},
        {"type": "long", "script": {"source": "emit(1)", "lang": ["painless"]}}, {"type": "date", "format": {"a": 1}},
        {"type": "date", "locale": 1}, {"type": "long", "script": {}}, {"type": "long", "script": {"code": "emit(1)"}},
        5, True, [],
    ],
)  # fmt: skip
def test_a_malformed_definition_is_refused_and_breaks_nothing(sensors: Elasticsearch, definition: Any) -> None:
    with pytest.raises(ApiError) as caught:
        search(sensors, {"f": definition}, query={"term": {"f": 1}})
    assert caught.value.status_code in {400, 501}


@pytest.mark.parametrize(
    "definition",
    [{"type": "geo_point"}, {"type": "composite"}, {"type": "long", "script": {"source": "1", "lang": "expression"}}],
)
def test_what_the_sandbox_lacks_is_501(sensors: Elasticsearch, definition: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        search(sensors, {"f": definition})
    assert caught.value.status_code == 501


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("emit(doc['nope'].value)", "No field found for [nope] in mapping"),
        ("emit(doc['text'].value)", "Fielddata is disabled on [text] in [sensor]"),
        ("emit(doc['missing'].value)", "A document doesn't have a value for a field!"),
    ],
)
def test_what_a_script_cannot_read_is_said(sensors: Elasticsearch, script: str, words: str) -> None:
    fields = {
        "f": {"type": "keyword", "script": script},
        "missing": {"type": "keyword", "script": "if (false) emit('')"},
    }
    cause = failed(sensors, fields)["caused_by"]
    assert words in cause["reason"]


def test_a_script_that_fails_may_leave_its_document_without_a_value(sensors: Elasticsearch) -> None:
    script = "emit(1); emit(6 / (doc['temperature'].value - 200))"
    fields = {"f": {"type": "long", "script": script, "on_script_error": "continue"}}
    # Two readings are 200: what such a script emitted before it failed is not kept.
    assert buckets(sensors, {"terms": {"field": "f"}}, fields) == [(1, 4), (3, 2), (-3, 1), (6, 1)]
    fields["f"]["on_script_error"] = "fail"
    assert failed(sensors, fields)["caused_by"] == {"type": "arithmetic_exception", "reason": "/ by zero"}


def test_only_documents_that_can_match_are_evaluated_and_only_fields_that_are_asked_for(sensors: Elasticsearch) -> None:
    fields = {"f": {"type": "long", "script": "emit(6 / (doc['temperature'].value - 200))"}}
    others = {"bool": {"filter": [{"range": {"f": {"gt": 0}}}], "must": [{"range": {"temperature": {"gt": 200}}}]}}
    assert matching(sensors, others, fields) == [4.0, 5.1, 5.8]
    assert matching(sensors, {"term": {"node": "a"}}, fields) == [5.1, 5.2]
    narrowed = search(sensors, fields, query={"term": {"temperature": 202}}, aggs={"m": {"max": {"field": "f"}}})
    assert narrowed["aggregations"]["m"]["value"] == 3.0


def test_an_index_on_which_a_script_fails_leaves_the_search_to_the_others(sensors: Elasticsearch) -> None:
    sensors.indices.create(index="sensor-2", mappings={"properties": {"other": {"type": "keyword"}}})
    sensors.index(index="sensor-2", document={"other": "x"}, refresh=True)
    fields = {"f": {"type": "keyword", "script": "emit(doc['node'].value)"}}
    answer = sensors.search(index="sensor*", runtime_mappings=fields, query={"term": {"f": "a"}})
    assert (answer["hits"]["total"]["value"], answer["_shards"]["failed"]) == (2, 1)
    assert answer["_shards"]["failures"][0]["index"] == "sensor-2"


def test_pages_of_a_scroll_and_of_a_point_in_time_have_them(sensors: Elasticsearch) -> None:
    query = {"range": {"v10": {"gte": 50}}}
    pages = helpers.scan(sensors, index="sensor", query={"query": query, "runtime_mappings": FIELDS}, size=1)
    assert sorted(hit["_source"]["voltage"] for hit in pages) == [5.1, 5.2, 5.6, 5.8]
    pit = sensors.open_point_in_time(index="sensor", keep_alive="1m")["id"]
    seen: list[Any] = []
    after = None
    while True:
        found = sensors.search(
            pit={"id": pit}, size=3, sort=["v10"], runtime_mappings=FIELDS, search_after=after, query=query
        )["hits"]["hits"]
        if not found:
            break
        seen += [hit["sort"][0] for hit in found]
        after = found[-1]["sort"]
    assert seen == [51, 52, 56, 58]


def test_request_answer_and_failure_fit_the_published_schema(sensors: Elasticsearch) -> None:
    schema = specification()
    body = {"runtime_mappings": FIELDS, "query": {"term": {"day_of_week": "Monday"}}, "fields": ["*"],
            "aggs": {"v10": {"avg": {"field": "v10"}}}}  # fmt: skip
    assert schema.check_request("search", body) == []
    answer = sensors.search(index="sensor", **body)
    assert schema.check_response("search", answer.body) == []
    with pytest.raises(BadRequestError) as caught:
        search(sensors, {"f": {"type": "long", "script": "emit(doc['none'].value)"}}, query={"term": {"f": 1}})
    assert schema.check_error(caught.value.body) == []
