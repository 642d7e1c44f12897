"""Datafeeds over HTTP: configuration, look-back, real time, preview. Behaviour of Elastic's YAML tests of that name."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError, helpers
from sandbox.anomaly_world import HOUR, START, failed_logins, index_records, look_back, wait_until_stopped
from sandbox.ml_contract import by_the_specification  # noqa: F401

from elastic_sandbox.ml.anomaly.analysis import Records
from elastic_sandbox.testing import serve

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = pytest.mark.usefixtures("by_the_specification")

AIRLINE = {"time": {"type": "date"}, "airline": {"type": "keyword"}, "airport": {"type": "text"},
           "responsetime": {"type": "float"}, "event_rate": {"type": "integer"}}  # fmt: skip
ROWS = [("2017-02-18T00:00:00Z", "foo", 1.0, 5), ("2017-02-18T00:30:00Z", "foo", 1.0, 6),
        ("2017-02-18T01:00:00Z", "bar", 42.0, 8), ("2017-02-18T01:01:00Z", "foo", 42.0, 7)]  # fmt: skip
SUM = {
    "bucket_span": "1h",
    "detectors": [{"function": "sum", "field_name": "responsetime", "by_field_name": "airline"}],
}
BY_HOUR = {
    "buckets": {
        "date_histogram": {"field": "time", "fixed_interval": "1h"},
        "aggregations": {
            "time": {"max": {"field": "time"}},
            "airline": {
                "terms": {"field": "airline", "size": 100},
                "aggregations": {"responsetime": {"sum": {"field": "responsetime"}}},
            },
        },
    }
}


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    elasticsearch.indices.create(index="airline-data", mappings={"properties": AIRLINE})
    documents = [{"time": t, "airline": a, "responsetime": r, "event_rate": e, "airport": "an airport"}
                 for t, a, r, e in ROWS]  # fmt: skip
    helpers.bulk(elasticsearch, [{"_index": "airline-data", **one} for one in documents], refresh=True)
    put_job(elasticsearch, "job", SUM)
    return elasticsearch


def put_job(es: Elasticsearch, job_id: str, analysis: dict[str, Any], **body: Any) -> None:
    es.ml.put_job(job_id=job_id, analysis_config=analysis, data_description={"time_field": "time"}, **body)


def reason(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def test_a_new_datafeed_echoes_its_defaults(es: Elasticsearch) -> None:
    made = dict(es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["index-foo"]))
    delay = made.pop("query_delay")
    assert 60_000 <= int(delay.removesuffix("ms")) < 120_000
    assert made == {
        "datafeed_id": "feed", "job_id": "job", "indices": ["index-foo"], "query": {"match_all": {}},
        "scroll_size": 1000, "chunking_config": {"mode": "auto"}, "delayed_data_check_config": {"enabled": True},
        "indices_options": {"expand_wildcards": ["open"], "ignore_unavailable": False, "allow_no_indices": True,
                            "ignore_throttled": True},
        "authorization": {"roles": ["superuser"]},
    }  # fmt: skip
    [exported] = es.ml.get_datafeeds(datafeed_id="feed", exclude_generated=True)["datafeeds"]
    assert not {"query_delay", "chunking_config", "authorization"} & set(exported)


def test_what_a_datafeed_may_not_be_is_refused(es: Elasticsearch, sandbox: Sandbox) -> None:
    put_job(es, "other", SUM)
    put_job(es, "summary", {**SUM, "summary_count_field_name": "doc_count"})
    with pytest.raises(NotFoundError):
        es.ml.put_datafeed(datafeed_id="feed", job_id="none", indices=["i"])
    body = {"job_id": "job", "indices": ["i"], "headers": {"a": "secret"}}
    assert "unknown field [headers]" in httpx.put(f"{sandbox.elasticsearch_url}/_ml/datafeeds/feed", json=body).text
    body = {"job_id": "job", "indices": ["i"], "query": {"match_all_misspelled": {}}}
    assert (
        "failed to parse field [query]" in httpx.put(f"{sandbox.elasticsearch_url}/_ml/datafeeds/feed", json=body).text
    )
    es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["i"])
    refused: list[tuple[dict[str, Any], str]] = [
        ({"datafeed_id": "feed", "job_id": "other"}, "A datafeed with id [feed] already exists"),
        ({"datafeed_id": "feed-2", "job_id": "job"}, "A datafeed [feed] already exists for job [job]"),
        ({"datafeed_id": "Feed", "job_id": "other"}, "Invalid datafeed_id"),
        ({"datafeed_id": "f", "job_id": "other", "aggregations": BY_HOUR}, "must set summary_count_field_name"),
        ({"datafeed_id": "f", "job_id": "summary", "aggregations": {"a": {"terms": {"field": "x"}}}},
         "A date_histogram (or histogram) aggregation is required"),
        ({"datafeed_id": "f", "job_id": "summary", "aggregations": {"a": {"date_histogram": {
            "field": "time", "fixed_interval": "1h"}}}}, "must have nested max aggregation for time_field [time]"),
        ({"datafeed_id": "f", "job_id": "summary", "aggregations": {"a": {"date_histogram": {
            "field": "time", "fixed_interval": "7m"}, "aggs": {"time": {"max": {"field": "time"}}}}}},
         "Aggregation interval [420000ms] must be a divisor of the bucket_span [1h]"),
        ({"datafeed_id": "f", "job_id": "other", "chunking_config": {"mode": "manual"}}, "time_span is required"),
    ]  # fmt: skip
    for arguments, words in refused:
        with pytest.raises(ApiError) as error:
            es.ml.put_datafeed(indices=["i"], **arguments)
        assert error.value.meta.status in {400, 409}
        assert words in reason(error)
    with pytest.raises(ApiError) as error:
        es.ml.put_datafeed(datafeed_id="f", job_id="other", indices=["i"], script_fields={"r": {"script": "1"}})
    assert error.value.meta.status == 501


def test_a_datafeed_is_updated_while_it_is_stopped(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["i"], frequency="1m", query_delay="30s",
                       max_empty_searches=42, indices_options={"expand_wildcards": ["closed", "open"]})  # fmt: skip
    changed = es.ml.update_datafeed(datafeed_id="feed", indices=["airline-*"], scroll_size=10000, frequency="2m",
                                    query_delay="0s", max_empty_searches=-1, job_id="job")  # fmt: skip
    assert (changed["indices"], changed["scroll_size"], changed["frequency"]) == (["airline-*"], 10000, "2m")
    assert changed["indices_options"]["expand_wildcards"] == ["open", "closed"]
    assert "max_empty_searches" not in changed
    changed = es.ml.update_datafeed(datafeed_id="feed", ignore_throttled=False, allow_no_indices=False)
    assert changed["indices_options"]["ignore_throttled"] is False
    with pytest.raises(BadRequestError, match="Datafeed's job_id cannot be changed"):
        es.ml.update_datafeed(datafeed_id="feed", job_id="other")
    with pytest.raises(NotFoundError):
        es.ml.update_datafeed(datafeed_id="none")
    es.ml.open_job(job_id="job")
    es.ml.start_datafeed(datafeed_id="feed", start="0")
    with pytest.raises(ConflictError, match="Cannot update datafeed \\[feed\\] while its status is started"):
        es.ml.update_datafeed(datafeed_id="feed", scroll_size=5)
    with pytest.raises(ConflictError, match="Cannot delete datafeed \\[feed\\] while its status is started"):
        es.ml.delete_datafeed(datafeed_id="feed")
    assert es.ml.delete_datafeed(datafeed_id="feed", force=True)["acknowledged"] is True
    assert es.ml.get_datafeeds()["count"] == 0


def test_a_job_brings_its_datafeed_along(es: Elasticsearch) -> None:
    made = es.ml.put_job(job_id="both", analysis_config=SUM, data_description={"time_field": "time"},
                         datafeed_config={"indices": ["airline-data"]}, ignore_throttled=False)  # fmt: skip
    assert made["datafeed_config"]["datafeed_id"] == made["datafeed_config"]["job_id"] == "both"
    assert made["datafeed_config"]["indices_options"]["ignore_throttled"] is False
    assert es.ml.get_jobs(job_id="both")["jobs"][0]["datafeed_config"]["datafeed_id"] == "both"
    es.ml.open_job(job_id="both")
    es.ml.start_datafeed(datafeed_id="both", start="0")
    assert es.ml.delete_job(job_id="both", force=True)["acknowledged"] is True
    assert es.ml.get_datafeeds()["count"] == 0


def test_what_cannot_start_says_why(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["airline-data"])
    with pytest.raises(NotFoundError, match="No datafeed with id \\[none\\] exists"):
        es.ml.start_datafeed(datafeed_id="none")
    with pytest.raises(ConflictError) as error:
        es.ml.start_datafeed(datafeed_id="feed", start="0")
    assert reason(error) == "cannot start datafeed [feed] because job [job] is closed"
    es.ml.open_job(job_id="job")
    with pytest.raises(BadRequestError) as refused:
        es.ml.start_datafeed(datafeed_id="feed", start="2017-02-01T01:00:00Z", end="2017-02-01T00:00:00Z")
    assert reason(refused).endswith("start [1485910800000] must be earlier than end [1485907200000]")
    es.ml.update_datafeed(datafeed_id="feed", indices=["utopia"])
    with pytest.raises(ApiError) as missing:
        es.ml.start_datafeed(datafeed_id="feed")
    assert reason(missing) == "datafeed [feed] cannot retrieve data because index [utopia] does not exist"
    es.ml.update_datafeed(datafeed_id="feed", indices=["utopia-*"])
    with pytest.raises(ApiError, match="no index matches datafeed's indices"):
        es.ml.start_datafeed(datafeed_id="feed")
    put_job(es, "unmapped", {"bucket_span": "1h", "detectors": [{"function": "count", "by_field_name": "airline2"}]})
    es.ml.put_datafeed(datafeed_id="feed-2", job_id="unmapped", indices=["airline-data"])
    es.ml.open_job(job_id="unmapped")
    with pytest.raises(BadRequestError) as refused:
        es.ml.start_datafeed(datafeed_id="feed-2")
    assert reason(refused) == "[feed-2] cannot retrieve field [airline2] because it has no mappings"


def test_a_real_time_datafeed_starts_once_and_stops(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["airline-data"])
    stats = es.ml.get_datafeed_stats(datafeed_id="feed")["datafeeds"][0]
    assert stats["state"] == "stopped"
    assert stats["timing_stats"]["search_count"] == 0
    assert not {"node", "running_state"} & set(stats)
    es.ml.open_job(job_id="job")
    assert es.ml.start_datafeed(datafeed_id="feed", start="0")["started"] is True
    stats = es.ml.get_datafeed_stats(datafeed_id="feed")["datafeeds"][0]
    assert stats["state"] == "started"
    assert stats["running_state"]["real_time_configured"] is True
    assert stats["node"]["name"]
    with pytest.raises(ConflictError) as error:
        es.ml.start_datafeed(datafeed_id="feed", start="0")
    assert reason(error) == "cannot start datafeed [feed] because it has already been started"
    for _ in range(2):
        assert es.ml.stop_datafeed(datafeed_id="feed")["stopped"] is True
    assert es.ml.get_datafeed_stats()["datafeeds"][0]["state"] == "stopped"
    assert es.ml.get_job_stats(job_id="job")["jobs"][0]["state"] == "opened"
    es.ml.start_datafeed(datafeed_id="feed", start="now")
    es.ml.stop_datafeed(datafeed_id="feed", force=True, close_job=True)
    assert es.ml.get_job_stats(job_id="job")["jobs"][0]["state"] == "closed"
    with pytest.raises(NotFoundError):
        es.ml.stop_datafeed(datafeed_id="none-*", allow_no_match=False)
    assert es.ml.stop_datafeed(datafeed_id="none-*", allow_no_match=True)["stopped"] is True


def test_a_look_back_closes_its_job_and_the_next_one_goes_on(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="job", job_id="job", indices=["airline-data"])
    look_back(es, "job", 0, 1487379600001)
    stats = es.ml.get_job_stats(job_id="job")["jobs"][0]
    assert stats["state"] == "closed"
    assert stats["data_counts"]["processed_record_count"] == 3
    assert stats["data_counts"]["latest_record_timestamp"] == 1487379600000
    assert es.ml.get_buckets(job_id="job", exclude_interim=True)["count"] == 1
    look_back(es, "job", 0, 1487390400000)
    stats = es.ml.get_job_stats(job_id="job")["jobs"][0]
    assert stats["data_counts"]["processed_record_count"] == 4
    es.ml.open_job(job_id="job")
    es.ml.flush_job(job_id="job", advance_time="1487383200000")
    es.ml.close_job(job_id="job")
    buckets = es.ml.get_buckets(job_id="job")["buckets"]
    assert [(b["timestamp"], b["event_count"]) for b in buckets] == [(1487376000000, 2), (1487379600000, 2)]


def test_a_later_start_skips_to_its_bucket(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="job", job_id="job", indices=["airline-data"])
    look_back(es, "job", 0, 1487377800001)
    look_back(es, "job", 1487379600000, 1487390400000)
    stats = es.ml.get_job_stats(job_id="job")["jobs"][0]
    assert stats["data_counts"]["processed_record_count"] == 4
    # The first bucket was left out before it was finished, the last one is not finished.
    assert es.ml.get_buckets(job_id="job", exclude_interim=True)["count"] == 0


def test_chunks_change_nothing(elasticsearch: Elasticsearch) -> None:
    index_records(elasticsearch, "auth", failed_logins(4, burst=(20 * 24, 5, 20)).part(0, 1500))
    detector = {"function": "high_count", "partition_field_name": "user.name"}
    found = []
    for number, chunking in enumerate((
        {"mode": "auto"}, {"mode": "manual", "time_span": "1d"}, {"mode": "manual", "time_span": "9d"},
    )):  # fmt: skip
        job_id = f"job-{number}"
        elasticsearch.ml.put_job(
            job_id=job_id, data_description={"time_field": "@timestamp"},
            analysis_config={"bucket_span": "1h", "influencers": ["user.name"], "detectors": [detector]},
            datafeed_config={"indices": ["auth"], "chunking_config": chunking},
        )  # fmt: skip
        look_back(elasticsearch, job_id, START, START + 28 * 24 * HOUR)
        records = elasticsearch.ml.get_records(job_id=job_id, sort="timestamp", desc=False, size=1000)["records"]
        found.append(
            [(r["timestamp"], r["partition_field_value"], r["record_score"], r["probability"]) for r in records]
        )
    assert found[0]
    assert found[0] == found[1] == found[2]


def test_real_time_goes_by_the_sandbox_clock(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.clock.freeze(datetime.fromtimestamp(START / 1000 + 6 * 3600, UTC))
    records = failed_logins(4).part(0, 200)
    index_records(elasticsearch, "auth", records)
    elasticsearch.ml.put_job(
        job_id="job", data_description={"time_field": "@timestamp"},
        analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
        datafeed_config={"indices": ["auth"], "query_delay": "60s", "frequency": "10m"},
    )  # fmt: skip
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.start_datafeed(datafeed_id="job", start=str(START))

    def finished() -> int:
        return int(elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]["data_counts"]["bucket_count"])

    def running() -> dict[str, Any]:
        return dict(elasticsearch.ml.get_datafeed_stats(datafeed_id="job")["datafeeds"][0]["running_state"])

    until(lambda: running()["real_time_running"])
    before = finished()
    assert before <= 6
    sandbox.clock.advance(5 * 3600)
    until(lambda: finished() >= 10)
    assert finished() <= 11
    newest = elasticsearch.ml.get_buckets(job_id="job", sort="timestamp", desc=True, size=1)["buckets"][0]
    assert newest["timestamp"] <= START + 10 * HOUR
    elasticsearch.ml.set_upgrade_mode(enabled=True)
    sandbox.clock.advance(3 * 3600)
    time.sleep(0.1)
    paused = finished()
    stats = elasticsearch.ml.get_datafeed_stats(datafeed_id="job")["datafeeds"][0]
    assert stats["assignment_explanation"] == "persistent task cannot be assigned while upgrade mode is enabled."
    elasticsearch.ml.set_upgrade_mode(enabled=False)
    until(lambda: finished() > paused)
    elasticsearch.ml.close_job(job_id="job")
    assert elasticsearch.ml.get_datafeed_stats(datafeed_id="job")["datafeeds"][0]["state"] == "stopped"


def test_a_real_time_job_takes_snapshots_now_and_then_and_thins_them_to_one_a_day(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    sandbox.clock.freeze(datetime.fromtimestamp(START / 1000 + 6 * 3600, UTC))
    every_ten_minutes = START + np.arange(4 * 144) * HOUR // 6
    index_records(elasticsearch, "auth", Records(every_ten_minutes, {"user.name": ["user001"] * 4 * 144}))
    elasticsearch.ml.put_job(
        job_id="job", data_description={"time_field": "@timestamp"}, background_persist_interval="1h",
        analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
        datafeed_config={"indices": ["auth"]},
    )  # fmt: skip
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.start_datafeed(datafeed_id="job", start=str(START))

    def taken() -> list[str]:
        found = elasticsearch.ml.get_model_snapshots(job_id="job", desc=False)["model_snapshots"]
        return [str(one["snapshot_id"]) for one in found]

    for count in range(1, 5):
        until(lambda count=count: len(taken()) == count)  # type: ignore[misc]
        sandbox.clock.advance(3600)
    until(lambda: len(taken()) == 5)
    first = taken()[0]
    sandbox.clock.advance(2 * 86_400)
    until(lambda: len(taken()) == 2)
    assert taken()[0] == first
    assert elasticsearch.ml.get_jobs(job_id="job")["jobs"][0]["model_snapshot_id"] == taken()[1]
    elasticsearch.ml.close_job(job_id="job")


def test_an_end_in_the_future_is_reached_in_real_time(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.clock.freeze(datetime.fromtimestamp(START / 1000 + 6 * 3600, UTC))
    index_records(elasticsearch, "auth", failed_logins(4).part(0, 200))
    elasticsearch.ml.put_job(
        job_id="job", data_description={"time_field": "@timestamp"},
        analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
        datafeed_config={"indices": ["auth"], "query_delay": "60s"},
    )  # fmt: skip
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.start_datafeed(datafeed_id="job", start=str(START), end=str(START + 8 * HOUR))
    sandbox.clock.advance(3 * 3600)
    wait_until_stopped(elasticsearch, "job")
    assert elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]["state"] == "closed"


def test_a_waiting_job_keeps_its_datafeed_waiting(es: Elasticsearch, sandbox: Sandbox) -> None:
    put_job(es, "lazy", SUM, allow_lazy_open=True, datafeed_config={"indices": ["airline-data"]})
    sandbox.faults.lazy_assignment = True
    es.ml.open_job(job_id="lazy")
    assert es.ml.start_datafeed(datafeed_id="lazy", start="0", end="1487390400000").body == {
        "started": True,
        "node": "",
    }
    stats = es.ml.get_datafeed_stats(datafeed_id="lazy")["datafeeds"][0]
    assert stats["state"] == "starting"
    assert "state is [opening]" in stats["assignment_explanation"]
    sandbox.faults.lazy_assignment = False
    wait_until_stopped(es, "lazy")
    assert es.ml.get_job_stats(job_id="lazy")["jobs"][0]["data_counts"]["processed_record_count"] == 4


def test_a_preview_shows_what_would_be_sent(es: Elasticsearch) -> None:
    es.ml.put_datafeed(datafeed_id="feed", job_id="job", indices=["airline-data"])
    expected = [{"time": 1487376000000, "airline": "foo", "responsetime": 1.0},
                {"time": 1487377800000, "airline": "foo", "responsetime": 1.0},
                {"time": 1487379600000, "airline": "bar", "responsetime": 42.0},
                {"time": 1487379660000, "airline": "foo", "responsetime": 42.0}]  # fmt: skip
    job = {"analysis_config": SUM, "data_description": {"time_field": "time"}}
    feed = {"indices": ["airline-data"]}
    assert list(es.ml.preview_datafeed(datafeed_id="feed")) == expected
    assert list(es.ml.preview_datafeed(datafeed_config={"job_id": "job", **feed})) == expected
    assert list(es.ml.preview_datafeed(datafeed_config=feed, job_config=job)) == expected
    assert list(es.ml.preview_datafeed(job_config={**job, "datafeed_config": feed})) == expected
    part = es.ml.preview_datafeed(
        datafeed_config=feed, job_config=job, start="2017-02-18T00:30:00Z", end="2017-02-18T01:00:00Z"
    )
    assert list(part) == expected[1:2]
    es.ml.update_datafeed(datafeed_id="feed", query={"term": {"airline": "missing"}})
    assert list(es.ml.preview_datafeed(datafeed_id="feed")) == []
    for wrong in ({"datafeed_id": "feed", "job_config": job}, {"job_config": job},
                  {"datafeed_config": feed, "job_config": {**job, "datafeed_config": feed}}):  # fmt: skip
        with pytest.raises(BadRequestError):
            es.ml.preview_datafeed(**wrong)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        es.ml.preview_datafeed(datafeed_id="none")
    es.ml.update_datafeed(datafeed_id="feed", indices=["unavailable"])
    with pytest.raises(NotFoundError):
        es.ml.preview_datafeed(datafeed_id="feed")


def test_aggregations_are_flattened(es: Elasticsearch) -> None:
    put_job(es, "summary", {**SUM, "summary_count_field_name": "doc_count"},
            datafeed_config={"indices": ["airline-data"], "aggregations": BY_HOUR})  # fmt: skip
    assert list(es.ml.preview_datafeed(datafeed_id="summary")) == [
        {"time": 1487377800000, "airline": "foo", "responsetime": 2.0, "doc_count": 2},
        {"time": 1487379660000, "airline": "bar", "responsetime": 42.0, "doc_count": 1},
        {"time": 1487379660000, "airline": "foo", "responsetime": 42.0, "doc_count": 1},
    ]
    look_back(es, "summary", 0, 1487390400000)
    assert es.ml.get_buckets(job_id="summary")["buckets"][0]["event_count"] == 2
    composite = {
        "buckets": {
            "composite": {"size": 1, "sources": [
                {"stamp": {"date_histogram": {"field": "time", "fixed_interval": "1h"}}},
                {"airline": {"terms": {"field": "airline"}}}]},
            "aggregations": {"time": {"max": {"field": "time"}}, "responsetime": {"sum": {"field": "responsetime"}}},
        }
    }  # fmt: skip
    put_job(es, "composite", {**SUM, "summary_count_field_name": "doc_count"},
            datafeed_config={"indices": ["airline-data"], "aggregations": composite})  # fmt: skip
    rows = list(es.ml.preview_datafeed(datafeed_id="composite"))
    assert [(row["airline"], row["responsetime"], row["doc_count"]) for row in rows] == [
        ("foo", 2.0, 2), ("bar", 42.0, 1), ("foo", 42.0, 1)
    ]  # fmt: skip


def test_text_and_lists_are_read_too(es: Elasticsearch) -> None:
    detectors = [{"function": "count", "by_field_name": "airline"}]
    put_job(es, "text", {"bucket_span": "1h", "influencers": ["airport"], "detectors": detectors},
            datafeed_config={"indices": ["airline-data"]})  # fmt: skip
    assert next(iter(es.ml.preview_datafeed(datafeed_id="text"))) == {
        "time": 1487376000000, "airline": "foo", "airport": "an airport"}  # fmt: skip
    es.index(index="airline-data", document={"time": "2017-02-18T02:00:00Z", "airline": ["x", "y"]}, refresh=True)
    assert list(es.ml.preview_datafeed(datafeed_id="text"))[-1]["airline"] == ["x", "y"]


def test_a_source_that_goes_away_fails_the_job(es: Elasticsearch, sandbox: Sandbox) -> None:
    es.ml.put_datafeed(datafeed_id="job", job_id="job", indices=["airline-data"])
    es.ml.open_job(job_id="job")
    sandbox.faults.flood_stage_pattern = ".ml-anomalies-*"
    es.ml.start_datafeed(datafeed_id="job", start="0", end="1487390400000")
    wait_until_stopped(es, "job")
    sandbox.faults.flood_stage_pattern = None
    assert es.ml.get_job_stats(job_id="job")["jobs"][0]["state"] == "failed"
    with pytest.raises(ConflictError, match="cannot close job \\[job\\] because it failed, use force close"):
        es.ml.close_job(job_id="job")
    assert es.ml.close_job(job_id="job", force=True)["closed"] is True


def test_a_restart_goes_on_with_what_ran(tmp_path: Path) -> None:
    records = failed_logins(4, burst=(20 * 24, 5, 20)).part(0, 1500)
    with serve(data=tmp_path) as sandbox, Elasticsearch(sandbox.elasticsearch_url) as es:
        index_records(es, "auth", records)
        for job_id in ("whole", "broken"):
            es.ml.put_job(
                job_id=job_id, data_description={"time_field": "@timestamp"},
                analysis_config={"bucket_span": "1h", "detectors": [
                    {"function": "high_count", "partition_field_name": "user.name"}]},
                datafeed_config={"indices": ["auth"]},
            )  # fmt: skip
        look_back(es, "whole", START, START + 20 * 24 * HOUR)
        look_back(es, "whole", START + 20 * 24 * HOUR, START + 25 * 24 * HOUR)
        look_back(es, "broken", START, START + 20 * 24 * HOUR)
        es.ml.open_job(job_id="broken")
        es.ml.start_datafeed(datafeed_id="broken", start=str(START + 20 * 24 * HOUR))
    with serve(data=tmp_path) as sandbox, Elasticsearch(sandbox.elasticsearch_url) as es:
        until(
            lambda: (
                es.ml.get_datafeed_stats(datafeed_id="broken")["datafeeds"][0]
                .get("running_state", {})
                .get("real_time_running", False)
            )
        )
        assert es.ml.get_job_stats(job_id="broken")["jobs"][0]["state"] == "opened"
        es.ml.close_job(job_id="broken")
        end = str(START + 24 * 24 * HOUR)

        def figures(job_id: str) -> list[Any]:
            found = es.ml.get_records(job_id=job_id, end=end, sort="timestamp", desc=False, size=1000)["records"]
            return [(r["timestamp"], r["partition_field_value"], r["record_score"]) for r in found]

        assert figures("whole")
        assert figures("broken") == figures("whole")
