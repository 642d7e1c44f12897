"""Interim results, of buckets that are under way: as Elastic's InterimResultsIT, flush API and datafeeds have them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import orjson
import pytest
from elasticsearch import BadRequestError, ConflictError, Elasticsearch, ElasticsearchWarning
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.anomaly_world import (
    HOUR,
    START,
    config,
    failed_logins,
    index_records,
    latencies,
    look_back,
    privileged_actions,
    record_reads,
)
from sandbox.ml_contract import by_the_specification  # noqa: F401

from elastic_sandbox.ml.anomaly.analysis import Analysis, Records
from elastic_sandbox.ml.anomaly.results import documents_of
from elastic_sandbox.ml.anomaly.snapshots import pack
from elastic_sandbox.testing import serve

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

DAYS_SEEN = 10
NOW = START + DAYS_SEEN * 24 * HOUR
"""Begin of the bucket that is under way in most tests."""
COUNT = {"bucket_span": "1h", "detectors": [{"function": "high_count", "partition_field_name": "user.name"}],
         "influencers": ["user.name"]}  # fmt: skip


# The analysis -------------------------------------------------------------------------------------------------------


@cache
def world(name: str) -> Records:
    made = {"failed_logins": failed_logins, "record_reads": record_reads, "latencies": latencies,
            "privileged_actions": privileged_actions}[name](5)  # fmt: skip
    return made.part(0, int(np.searchsorted(made.times, START + 6 * 24 * HOUR)))


def final(name: str, cuts: list[float], asked: list[tuple[int, int] | None]) -> tuple[bytes, str, int]:
    """What a job of that shape has found in the end, its model, and how many interim buckets were seen meanwhile."""
    analysis_config, records = config(name), world(name)
    analysis = Analysis(analysis_config)
    found, seen, at = [], 0, 0
    for cut in [*sorted(cuts), 1.0]:
        end = int(cut * len(records.times))
        for bucket in analysis.add(records.part(at, end))[0]:
            found += documents_of("job", analysis_config, analysis.span, bucket, 0)
        at = end
        for window in asked:
            begin = analysis.next_bucket or START
            span = (None, None) if window is None else (begin + window[0] * HOUR, begin + window[1] * HOUR)
            seen += sum(bucket.interim for bucket in analysis.interim(*span))
    return orjson.dumps(found), pack(analysis.to_state()), seen


undisturbed = cache(lambda name: final(name, [], []))


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(["failed_logins", "record_reads", "latencies", "privileged_actions"]),
    cuts=st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    asked=st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 3)), max_size=1),
)
def test_final_results_and_the_model_are_the_same_whoever_asked_for_interim_results(
    name: str, cuts: list[float], asked: list[tuple[int, int] | None]
) -> None:
    *results, seen = final(name, cuts, [*asked, None])
    assert seen
    assert results == list(undisturbed(name)[:2])


def test_a_bucket_that_gets_nothing_more_is_judged_as_it_will_be_in_the_end() -> None:
    records = failed_logins(4, burst=(20 * 24 + 3, 5, 20))
    analysis, burst = Analysis(config("failed_logins")), START + (20 * 24 + 3) * HOUR
    list(analysis.add(records.part(0, int(np.searchsorted(records.times, burst + HOUR))))[0])
    [interim] = analysis.interim()
    [last] = analysis.advance(burst + HOUR)
    assert (interim.start, interim.interim, last.interim) == (last.start, True, False)
    assert [one for one in interim.findings if one.y > 1] == [one for one in last.findings if one.y > 1] != []


def steady(function: str, **detector: str) -> Analysis:
    """A detector that has seen 30 events of the value 100 an hour for ten days."""
    made = {"function": function, "detector_index": 0, **detector}
    analysis = Analysis({"bucket_span": "1h", "influencers": [], "detectors": [made]})
    times = np.arange(START, NOW, HOUR // 30)
    generator = np.random.default_rng(1)
    values = (100 * generator.lognormal(0, 1, len(times))).tolist()
    list(analysis.add(Records(times, dict.fromkeys(analysis.fields, values)))[0])
    list(analysis.advance(NOW))
    return analysis


def reported(analysis: Analysis) -> list[float]:
    return [finding.actual for bucket in analysis.interim() for finding in bucket.findings]


@pytest.mark.parametrize(("function", "detector"), [("low_count", {}), ("count", {}), ("low_sum", {"field_name": "v"})])
def test_what_adds_up_is_not_low_because_its_bucket_has_only_begun(function: str, detector: dict[str, str]) -> None:
    analysis = steady(function, **detector)
    for minute in (0, 1, 5):
        assert not list(analysis.advance(NOW + minute * 60_000))
        assert reported(analysis) == []
    assert not list(analysis.advance(NOW + HOUR - 1))
    assert reported(analysis) == [0.0], "as the actual value, what there is, not what may still come"
    [last] = analysis.advance(NOW + HOUR)
    assert [finding.actual for finding in last.findings] == [0.0]


def test_a_mean_is_judged_as_it_stands() -> None:
    analysis = steady("low_mean", field_name="v")
    analysis.add(Records(np.array([NOW + 60_000] * 5), {"v": [1.0] * 5}))
    assert reported(analysis) == [1.0]


# Flush --------------------------------------------------------------------------------------------------------------


def rows(user: str, start: int, number: int, step: int = 60_000) -> list[dict[str, Any]]:
    return [{"time": start + i * step, "user.name": user} for i in range(number)]


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    """An open job that has seen ten quiet days of two users, and now 40 events of one of them."""
    open_job(elasticsearch)
    return elasticsearch


def open_job(client: Elasticsearch) -> None:
    client.ml.put_job(job_id="job", analysis_config=COUNT, data_description={"time_field": "time"})
    client.ml.open_job(job_id="job")
    quiet = [row for hour in range(DAYS_SEEN * 24) for user in ("ana", "ben")
             for row in rows(user, START + hour * HOUR, 1 + hour % 2)]  # fmt: skip
    post(client, sorted(quiet, key=lambda row: row["time"]) + rows("ana", NOW, 40))


def post(client: Elasticsearch, data: list[dict[str, Any]]) -> None:
    client.ml.post_data(job_id="job", data=data)


def interim(client: Elasticsearch, kind: str = "bucket") -> list[tuple[str, Any]]:
    """(id, document) of the job's interim results of a kind."""
    client.indices.refresh(index=".ml-anomalies-job")
    query = {"bool": {"filter": [{"term": {"is_interim": True}}, {"term": {"result_type": kind}}]}}
    hits = client.search(index=".ml-anomalies-job", query=query, sort="timestamp", size=100)["hits"]["hits"]
    return [(hit["_id"], hit["_source"]) for hit in hits]


@pytest.mark.usefixtures("by_the_specification")
def test_a_flush_writes_interim_results_that_can_be_left_out(es: Elasticsearch) -> None:
    with pytest.warns(ElasticsearchWarning, match="Forcing any buffered data to be processed is deprecated"):
        assert es.ml.flush_job(job_id="job")["last_finalized_bucket_end"] == NOW
    assert interim(es) == []
    before = es.ml.get_job_stats(job_id="job")["jobs"][0]
    assert es.ml.flush_job(job_id="job", calc_interim=True)["last_finalized_bucket_end"] == NOW
    [(_, bucket)] = interim(es)
    assert (bucket["timestamp"], bucket["event_count"]) == (NOW, 40)
    for kind in ("record", "influencer", "bucket_influencer"):
        assert interim(es, kind), kind
    window = {"job_id": "job", "start": str(NOW), "end": str(NOW + HOUR)}
    for api, name in ((es.ml.get_buckets, "buckets"), (es.ml.get_records, "records"),
                      (es.ml.get_influencers, "influencers")):  # fmt: skip
        assert [one["is_interim"] for one in api(**window)[name]] == [True], name
        assert api(**window, exclude_interim=True)["count"] == 0
    assert es.ml.get_records(**window)["records"][0]["actual"] == [40.0]
    [expanded] = es.ml.get_buckets(job_id="job", timestamp=str(NOW), expand=True)["buckets"]
    assert [record["is_interim"] for record in expanded["records"]] == [True]
    after = es.ml.get_job_stats(job_id="job")["jobs"][0]
    assert after["data_counts"] == before["data_counts"]
    assert after["model_size_stats"] == before["model_size_stats"]
    assert after["timing_stats"]["bucket_count"] == before["timing_stats"]["bucket_count"] + 1


def test_the_next_interim_results_replace_the_last_and_final_ones_both(es: Elasticsearch) -> None:
    es.ml.flush_job(job_id="job", calc_interim=True)
    post(es, rows("ben", NOW + 41 * 60_000, 10))
    es.ml.flush_job(job_id="job")
    assert [bucket["event_count"] for _, bucket in interim(es)] == [40], "until the next are calculated"
    es.ml.flush_job(job_id="job", calc_interim=True)
    assert [bucket["event_count"] for _, bucket in interim(es)] == [50]
    ids = {doc_id for doc_id, _ in interim(es, "record")}
    assert len(ids) == 2
    es.ml.flush_job(job_id="job", advance_time=str(NOW + HOUR))
    assert [interim(es, kind) for kind in ("bucket", "record", "influencer", "bucket_influencer")] == [[]] * 4
    [bucket] = es.ml.get_buckets(job_id="job", timestamp=str(NOW))["buckets"]
    assert (bucket["event_count"], bucket["is_interim"]) == (50, False)
    found = es.search(index=".ml-anomalies-job", query={"ids": {"values": sorted(ids)}})["hits"]["hits"]
    assert {hit["_id"] for hit in found} == ids, "the same record has the same id"
    es.ml.flush_job(job_id="job", advance_time=str(NOW + HOUR), calc_interim=True)
    [(_, bucket)] = interim(es)
    assert (bucket["timestamp"], bucket["event_count"]) == (NOW + HOUR, 0)


def test_interim_results_outlive_a_close_and_go_with_the_first_bucket_after(es: Elasticsearch) -> None:
    es.ml.flush_job(job_id="job", calc_interim=True)
    es.ml.close_job(job_id="job")
    assert len(interim(es, "record")) == 1
    es.ml.open_job(job_id="job")
    post(es, rows("ana", NOW + 50 * 60_000, 2))
    assert len(interim(es, "record")) == 1
    post(es, rows("ana", NOW + HOUR, 1))
    assert interim(es, "record") == interim(es) == []
    es.ml.flush_job(job_id="job", calc_interim=True)
    es.ml.close_job(job_id="job")
    es.ml.reset_job(job_id="job")
    assert interim(es) == []


def test_a_time_range_names_the_buckets(es: Elasticsearch) -> None:
    def asked(**window: str) -> list[int]:
        es.ml.flush_job(job_id="job", calc_interim=True, **window)
        return [bucket["timestamp"] for _, bucket in interim(es)]

    assert asked(start=str(START), end=str(NOW + HOUR + 1000)) == [NOW, NOW + HOUR], "finished ones are left out"
    assert asked(start=str(NOW + 2 * HOUR + 5000)) == [NOW + 2 * HOUR], "without an end, one second"
    assert asked(start=str(START), end=str(NOW - 1000)) == [NOW + 2 * HOUR], "nothing new, so nothing is replaced"
    assert asked() == [NOW]


def test_before_any_data_there_is_nothing_to_judge(elasticsearch: Elasticsearch) -> None:
    elasticsearch.ml.put_job(job_id="job", analysis_config=COUNT, data_description={"time_field": "time"})
    elasticsearch.ml.open_job(job_id="job")
    assert elasticsearch.ml.flush_job(job_id="job", calc_interim=True).body == {"flushed": True}
    assert interim(elasticsearch) == []


def test_what_a_flush_is_asked_has_to_fit_together(es: Elasticsearch, sandbox: Sandbox) -> None:
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"start": "2026-01-01"}, "illegal_argument_exception", "Invalid flush parameters: unexpected 'start'."),
        ({"end": "2026-01-01"}, "illegal_argument_exception", "Invalid flush parameters: unexpected 'end'."),
        ({"calc_interim": True, "end": "2026-01-01"}, "illegal_argument_exception",
         "Invalid flush parameters: 'start' has not been specified."),
        ({"calc_interim": True, "start": "2026-01-02", "end": "2026-01-01"}, "illegal_argument_exception",
         "Invalid time range: end time '2026-01-01' is earlier than start time '2026-01-02'."),
        ({"advance_time": "1403488700", "skip_time": "1403488700"}, "status_exception",
         "advance_time [1403488700] must be later than skip_time [1403488700]"),
        ({"calc_interim": True, "start": "soon"}, "parse_exception", "Query param [start] with value [soon]"),
        ({"skip_time": "soon"}, "parse_exception", "Query param [skip_time] with value [soon]"),
    ]  # fmt: skip
    for arguments, kind, words in refused:
        with pytest.raises(BadRequestError) as error:
            es.ml.flush_job(job_id="job", **arguments)
        assert error.value.error == kind
        assert words in error.value.body["error"]["reason"]
    answer = httpx.post(f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors/job/_flush", json={"advance_time": NOW})
    assert (answer.status_code, "doesn't support values of type: VALUE_NUMBER" in answer.text) == (400, True)
    es.ml.close_job(job_id="job")
    with pytest.raises(ConflictError, match="is not open"):
        es.ml.flush_job(job_id="job", start="soon")


def test_after_a_restart_the_next_bucket_still_takes_interim_results_away(tmp_path: Path) -> None:
    with serve(data=tmp_path) as sandbox, Elasticsearch(sandbox.elasticsearch_url) as client:
        open_job(client)
        client.ml.close_job(job_id="job")
        client.ml.open_job(job_id="job")
        client.ml.flush_job(job_id="job", calc_interim=True)
    with serve(data=tmp_path) as sandbox, Elasticsearch(sandbox.elasticsearch_url) as client:
        assert len(interim(client, "record")) == 1
        client.ml.flush_job(job_id="job", advance_time=str(NOW + HOUR))
        assert interim(client, "record") == interim(client) == []
        assert client.ml.get_records(job_id="job", start=str(NOW))["records"][0]["is_interim"] is False


# Datafeeds ----------------------------------------------------------------------------------------------------------


def test_datafeeds_ask_for_interim_results_of_the_bucket_they_are_in(
    elasticsearch: Elasticsearch, sandbox: Sandbox
) -> None:
    index_records(elasticsearch, "auth", failed_logins(4).part(0, 200))
    elasticsearch.ml.put_job(
        job_id="job", data_description={"time_field": "@timestamp"},
        analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
        datafeed_config={"indices": ["auth"], "query_delay": "60s", "frequency": "10m"},
    )  # fmt: skip
    sandbox.clock.freeze(datetime.fromtimestamp((START + 30 * HOUR) / 1000, UTC))
    look_back(elasticsearch, "job", START, START + 7 * HOUR)
    [(_, bucket)] = interim(elasticsearch)  # a look-back does not advance time: the last bucket is not finished
    assert bucket["timestamp"] == START + 6 * HOUR
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.start_datafeed(datafeed_id="job", start=str(START))
    for minutes in (25, 60):
        sandbox.clock.advance(minutes * 60)
        now = sandbox.clock.now_ms() - 60_000
        wanted = now - now % HOUR
        deadline = datetime.now(UTC).timestamp() + 20
        while [one["timestamp"] for _, one in interim(elasticsearch)] != [wanted]:
            assert datetime.now(UTC).timestamp() < deadline, interim(elasticsearch)
    elasticsearch.ml.stop_datafeed(datafeed_id="job")
    elasticsearch.ml.close_job(job_id="job")
