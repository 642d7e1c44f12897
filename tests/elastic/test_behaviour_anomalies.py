"""Anomaly jobs, datafeeds, snapshots and calendars, as a cluster behaves. Needs machine learning: a trial at least."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from elastic.real_stack import until
from elasticsearch import BadRequestError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Names = Callable[[str], str]
HOUR = 3_600_000
START = 1_767_571_200_000  # Monday 2026-01-05
COUNT: dict[str, Any] = {"bucket_span": "1h", "detectors": [{"function": "count"}]}


@pytest.fixture
def job(es: Elasticsearch, ml: Any, mine: Names) -> str:
    """A job with its datafeed over three events an hour for ten hours."""
    es.indices.create(index=mine("events"), mappings={"properties": {"time": {"type": "date"}}})
    times = [START + hour * HOUR + n * 60_000 for hour in range(10) for n in range(3)]
    es.bulk(
        index=mine("events"), operations=[line for at in times for line in ({"index": {}}, {"time": at})], refresh=True
    )
    ml.put_job(
        job_id=mine("job"),
        analysis_config=COUNT,
        data_description={"time_field": "time"},
        analysis_limits={"model_memory_limit": "20mb"},
        datafeed_config={"indices": [mine("events")], "datafeed_id": mine("job")},
    )
    return mine("job")


def look_back(ml: Any, job: str, start: int, end: int) -> None:
    ml.open_job(job_id=job)
    ml.start_datafeed(datafeed_id=job, start=str(start), end=str(end))
    until(lambda: ml.get_job_stats(job_id=job)["jobs"][0]["state"] == "closed")


def test_one_request_makes_a_job_and_its_datafeed(ml: Any, job: str):
    [found] = ml.get_jobs(job_id=job)["jobs"]
    assert found["datafeed_config"]["datafeed_id"] == found["datafeed_config"]["job_id"] == job


def test_a_job_has_one_datafeed(ml: Any, job: str, mine: Names):
    with pytest.raises(ConflictError, match="already exists"):
        ml.put_datafeed(datafeed_id=mine("second"), job_id=job, indices=[mine("events")])


def test_a_datafeed_of_a_closed_job_does_not_start(ml: Any, job: str):
    with pytest.raises(ConflictError, match="is closed"):
        ml.start_datafeed(datafeed_id=job, start=str(START))


def test_a_running_datafeed_is_neither_updated_nor_deleted(ml: Any, job: str):
    ml.open_job(job_id=job)
    ml.start_datafeed(datafeed_id=job, start=str(START))
    until(lambda: ml.get_datafeed_stats(datafeed_id=job)["datafeeds"][0]["state"] == "started")
    with pytest.raises(ConflictError, match="while its status is started"):
        ml.update_datafeed(datafeed_id=job, scroll_size=5)
    with pytest.raises(ConflictError, match="while its status is started"):
        ml.delete_datafeed(datafeed_id=job)
    ml.stop_datafeed(datafeed_id=job)
    assert ml.update_datafeed(datafeed_id=job, scroll_size=5)["scroll_size"] == 5


def test_a_look_back_closes_its_job_which_leaves_a_snapshot(ml: Any, job: str):
    look_back(ml, job, START, START + 6 * HOUR)
    [found] = ml.get_jobs(job_id=job)["jobs"]
    [snapshot] = ml.get_model_snapshots(job_id=job)["model_snapshots"]
    assert found["model_snapshot_id"] == snapshot["snapshot_id"]
    assert ml.get_buckets(job_id=job)["count"] >= 5


def test_an_open_job_refuses_a_revert_and_its_deletion(ml: Any, job: str):
    ml.open_job(job_id=job)
    with pytest.raises(ConflictError, match="when the job is closed"):
        ml.revert_model_snapshot(job_id=job, snapshot_id="empty")
    with pytest.raises(ConflictError, match="because the job is opened"):
        ml.delete_job(job_id=job)


def test_a_revert_that_deletes_results_lets_the_same_time_be_learnt_again(ml: Any, job: str):
    look_back(ml, job, START, START + 4 * HOUR)
    [first] = ml.get_model_snapshots(job_id=job)["model_snapshots"]
    before = ml.get_buckets(job_id=job, exclude_interim=True)["count"]
    look_back(ml, job, START + 4 * HOUR, START + 8 * HOUR)
    assert ml.get_buckets(job_id=job, exclude_interim=True)["count"] > before
    ml.revert_model_snapshot(job_id=job, snapshot_id=first["snapshot_id"], delete_intervening_results=True)
    until(lambda: ml.get_buckets(job_id=job)["count"] == before)  # the interim results of both look-backs are gone
    look_back(ml, job, START + 4 * HOUR, START + 8 * HOUR)
    assert ml.get_buckets(job_id=job, exclude_interim=True)["count"] > before


def test_the_active_snapshot_is_not_deleted_and_one_can_be_retained(ml: Any, job: str):
    look_back(ml, job, START, START + 4 * HOUR)
    name = ml.get_model_snapshots(job_id=job)["model_snapshots"][0]["snapshot_id"]
    assert ml.update_model_snapshot(job_id=job, snapshot_id=name, retain=True)["model"]["retain"] is True
    with pytest.raises(ConflictError, match="is the active snapshot"):
        ml.delete_model_snapshot(job_id=job, snapshot_id=name)


def test_detectors_and_bucket_span_of_a_job_cannot_be_updated(es: Elasticsearch, job: str):
    for change in ({"analysis_config": {**COUNT, "bucket_span": "2h"}}, {"bucket_span": "2h"}):
        with pytest.raises(BadRequestError):
            es.perform_request(
                "POST",
                f"/_ml/anomaly_detectors/{job}/_update",
                headers={"accept": "application/json", "content-type": "application/json"},
                body=change,
            )


def test_a_closed_job_and_one_over_a_population_have_no_forecast(ml: Any, job: str, mine: Names):
    with pytest.raises(ConflictError, match="is not open"):
        ml.forecast(job_id=job)
    detectors = [{"function": "count", "over_field_name": "user"}]
    ml.put_job(job_id=mine("crowd"), analysis_config={"bucket_span": "1h", "detectors": detectors}, data_description={},
               analysis_limits={"model_memory_limit": "20mb"})  # fmt: skip
    ml.open_job(job_id=mine("crowd"))
    with pytest.raises(BadRequestError, match="population"):
        ml.forecast(job_id=mine("crowd"))
    ml.close_job(job_id=mine("crowd"))


def test_events_of_a_calendar_have_no_id_of_ours_so_that_the_same_twice_is_two(ml: Any, mine: Names):
    ml.put_calendar(calendar_id=mine("days"))
    day = {"description": "holiday", "start_time": START, "end_time": START + 24 * HOUR}
    for _ in range(2):
        ml.post_calendar_events(calendar_id=mine("days"), events=[day])
    assert until(lambda: ml.get_calendar_events(calendar_id=mine("days"))["count"]) == 2


def test_a_missing_job_is_a_404_and_a_wildcard_without_a_match_is_none(ml: Any, mine: Names):
    with pytest.raises(NotFoundError):
        ml.get_jobs(job_id=mine("none"))
    assert ml.get_jobs(job_id=mine("none*"), allow_no_match=True)["count"] == 0
