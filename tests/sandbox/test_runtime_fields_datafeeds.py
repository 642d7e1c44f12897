"""Runtime fields of datafeeds: what is looked at when, and what a job is fed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import ApiError, BadRequestError, Elasticsearch, helpers
from sandbox.anomaly_world import look_back
from sandbox.ml_contract import by_the_specification  # noqa: F401

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = pytest.mark.usefixtures("by_the_specification")

ROWS = [("2017-02-18T00:00:00Z", "foo", 1.0), ("2017-02-18T00:30:00Z", "foo", 1.0),
        ("2017-02-18T01:00:00Z", "bar", 42.0), ("2017-02-18T01:01:00Z", "foo", 42.0)]  # fmt: skip
SHOUTED = {"type": "keyword", "script": "emit(doc['airline'].value.toUpperCase())"}
TWICE = {"type": "double", "script": {"source": "emit(doc['time_ms'].value * params.by)", "params": {"by": 2}}}
RUNTIME: dict[str, Any] = {"shouted": SHOUTED, "twice": TWICE, "note": {"type": "keyword"}}
SUM = {
    "bucket_span": "1h",
    "detectors": [{"function": "sum", "field_name": "twice", "by_field_name": "shouted"}],
    "influencers": ["note"],
}


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    properties = {"time": {"type": "date"}, "airline": {"type": "keyword"}, "time_ms": {"type": "float"}}
    mappings = {"dynamic": "false", "properties": {**properties, "words": {"type": "text"}}}
    elasticsearch.indices.create(index="airline-data", mappings=mappings)
    documents = [{"time": t, "airline": a, "time_ms": r, "note": f"n{r:g}", "words": f"of {a}"} for t, a, r in ROWS]
    helpers.bulk(elasticsearch, [{"_index": "airline-data", **one} for one in documents], refresh=True)
    put_job(elasticsearch, "job", SUM)
    return elasticsearch


def put_job(es: Elasticsearch, job_id: str, analysis: dict[str, Any], time_field: str = "time") -> None:
    es.ml.put_job(job_id=job_id, analysis_config=analysis, data_description={"time_field": time_field})


def put_feed(es: Elasticsearch, job_id: str = "job", runtime: Any = RUNTIME, **body: Any) -> dict[str, Any]:
    return dict(
        es.ml.put_datafeed(
            datafeed_id=job_id, job_id=job_id, indices=["airline-data"], runtime_mappings=runtime, **body
        )
    )


def reason(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_they_are_echoed_replaced_as_a_whole_and_taken_away_by_none(es: Elasticsearch) -> None:
    assert put_feed(es)["runtime_mappings"] == RUNTIME
    [exported] = es.ml.get_datafeeds(datafeed_id="job", exclude_generated=True)["datafeeds"]
    assert exported["runtime_mappings"] == RUNTIME
    assert es.ml.update_datafeed(datafeed_id="job", scroll_size=500)["runtime_mappings"] == RUNTIME
    changed = es.ml.update_datafeed(datafeed_id="job", runtime_mappings={"shouted": SHOUTED})
    assert changed["runtime_mappings"] == {"shouted": SHOUTED}
    assert "runtime_mappings" not in es.ml.update_datafeed(datafeed_id="job", runtime_mappings={})
    [kept] = es.ml.get_datafeeds(datafeed_id="job")["datafeeds"]
    assert "runtime_mappings" not in kept


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ({"a": "not a map"}, "Expected map for runtime field [a] definition but got a String"),
        ({"a": None}, "Expected map for runtime field [a] definition but got a String"),
        ({"a": {"script": "emit(1)"}}, "No type specified for runtime field [a]"),
    ],
)
def test_their_form_is_checked_when_a_datafeed_is_put_or_updated(es: Elasticsearch, runtime: Any, words: str) -> None:
    with pytest.raises(BadRequestError) as error:
        put_feed(es, runtime=runtime)
    assert reason(error) == words
    put_feed(es)
    with pytest.raises(BadRequestError) as error:
        es.ml.update_datafeed(datafeed_id="job", runtime_mappings=runtime)
    assert reason(error) == words


@pytest.mark.parametrize(
    ("definition", "status", "words"),
    [
        (
            {"type": "long", "format": "yyyy"},
            400,
            "unknown parameter [format] on runtime field [shouted] of type [long]",
        ),
        ({"type": "keyword", "script": "emit("}, 400, "compile error"),
        ({"type": "geo_point"}, 501, "type [geo_point] of runtime field [shouted]"),
        ({"type": "keyword", "script": "emit(doc['gone'].value)"}, None, ""),
    ],
)
def test_the_rest_is_checked_when_it_starts_or_is_previewed(
    es: Elasticsearch, definition: dict[str, Any], status: int | None, words: str
) -> None:
    put_feed(es, runtime={**RUNTIME, "shouted": definition})
    es.ml.open_job(job_id="job")
    with pytest.raises(ApiError) as error:
        es.ml.preview_datafeed(datafeed_id="job")
    assert error.value.status_code == (status or 400)
    assert words in reason(error)
    if status is not None:  # a script that fails on documents is not known before there are any
        with pytest.raises(ApiError) as error:
            es.ml.start_datafeed(datafeed_id="job", start="0")
        assert words in reason(error)


def test_a_field_of_the_job_may_be_a_runtime_field_or_must_be_mapped(es: Elasticsearch) -> None:
    put_feed(es, runtime={"shouted": SHOUTED, "note": {"type": "keyword"}})
    es.ml.open_job(job_id="job")
    with pytest.raises(BadRequestError) as error:
        es.ml.start_datafeed(datafeed_id="job", start="0")
    assert reason(error) == "[job] cannot retrieve field [twice] because it has no mappings"


def test_a_preview_shows_them_beside_what_is_read_from_the_source(es: Elasticsearch) -> None:
    analysis = {**SUM, "influencers": ["note", "words"]}
    put_job(es, "texts", analysis)
    put_feed(es, "texts", query={"term": {"shouted": "FOO"}})
    rows = [dict(row) for row in es.ml.preview_datafeed(datafeed_id="texts")]
    assert [row["time"] for row in rows] == [1487376000000, 1487377800000, 1487379660000]
    assert rows[2] == {
        "time": 1487379660000, "shouted": "FOO", "twice": 84.0, "note": "n42", "words": "of foo",
    }  # fmt: skip
    feed = {"indices": ["airline-data"], "runtime_mappings": RUNTIME}
    job = {"analysis_config": SUM, "data_description": {"time_field": "time"}}
    inline = es.ml.preview_datafeed(datafeed_config=feed, job_config=job)
    assert [row["shouted"] for row in inline] == ["FOO", "FOO", "BAR", "FOO"]


def test_an_aggregation_of_a_datafeed_may_be_over_them(es: Elasticsearch) -> None:
    put_job(es, "summed", {**SUM, "influencers": ["shouted"], "summary_count_field_name": "doc_count"})
    put_feed(es, "summed", aggregations={
        "buckets": {
            "date_histogram": {"field": "time", "fixed_interval": "1h"},
            "aggregations": {
                "time": {"max": {"field": "time"}},
                "shouted": {"terms": {"field": "shouted"},
                            "aggregations": {"twice": {"sum": {"field": "twice"}}}},
            },
        }
    })  # fmt: skip
    assert [dict(row) for row in es.ml.preview_datafeed(datafeed_id="summed")] == [
        {"time": 1487377800000, "shouted": "FOO", "twice": 4.0, "doc_count": 2},
        {"time": 1487379660000, "shouted": "BAR", "twice": 84.0, "doc_count": 1},
        {"time": 1487379660000, "shouted": "FOO", "twice": 84.0, "doc_count": 1},
    ]  # fmt: skip


def test_the_time_field_may_be_one(es: Elasticsearch) -> None:
    count = {"bucket_span": "1h", "detectors": [{"function": "count"}]}
    put_job(es, "shifted", count, time_field="later")
    later = {"type": "date", "script": "emit(doc['time'].value.plusHours(1).toInstant().toEpochMilli())"}
    put_feed(es, "shifted", {"later": later})
    rows = es.ml.preview_datafeed(datafeed_id="shifted", start="2017-02-18T02:00:00Z")
    assert [row["later"] for row in rows] == [1487383200000, 1487383260000]
    put_job(es, "not_a_time", count, time_field="shouted")
    put_feed(es, "not_a_time", {"shouted": SHOUTED})
    with pytest.raises(BadRequestError, match="is of type \\[keyword\\] and cannot be the time field"):
        es.ml.preview_datafeed(datafeed_id="not_a_time")


def test_a_script_that_fails_on_a_document_ends_a_look_back_and_in_real_time_the_next_search_tries_again(
    es: Elasticsearch, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    document = {"time": "2017-02-18T02:00:00Z", "note": "x", "time_ms": 1}
    es.index(index="airline-data", id="bad", document=document, refresh=True)
    put_feed(es, query_delay="0s", frequency="1m")
    look_back(es, "job", 1487376000000, 1487390400000)
    [stats] = es.ml.get_job_stats(job_id="job")["jobs"]
    assert (stats["state"], stats["data_counts"]["input_record_count"]) == ("closed", 0)
    assert "is encountering errors extracting data: all shards failed: A document doesn't have a value" in caplog.text
    es.ml.open_job(job_id="job")
    es.ml.start_datafeed(datafeed_id="job", start=1487376000000)
    until(lambda: caplog.text.count("errors extracting data") == 2)
    es.delete(index="airline-data", id="bad", refresh=True)
    sandbox.clock.advance(120)
    until(lambda: es.ml.get_job_stats(job_id="job")["jobs"][0]["data_counts"]["input_record_count"] == 4)
    assert es.ml.get_datafeed_stats(datafeed_id="job")["datafeeds"][0]["state"] == "started"


def test_what_the_sandbox_lacks_of_painless_fails_the_job_and_does_not_pass_unseen(es: Elasticsearch) -> None:
    put_feed(es, runtime={**RUNTIME, "shouted": {"type": "keyword", "script": "emit(doc['time'].value.zone.id)"}})
    look_back(es, "job", 1487376000000, 1487390400000)
    assert es.ml.get_job_stats(job_id="job")["jobs"][0]["state"] == "failed"
