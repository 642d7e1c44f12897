"""Results, snapshots, forecasts, calendars and filters of anomaly jobs over HTTP, and every method of the client."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError
from harness.specification import specification
from sandbox.anomaly_world import HOUR, START, failed_logins, index_records, look_back
from sandbox.ml_contract import by_the_specification  # noqa: F401

from elastic_sandbox.testing import serve

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = [
    pytest.mark.usefixtures("by_the_specification"),
    pytest.mark.filterwarnings("ignore:Posting data directly"),
]

DAY = 24 * HOUR
ANALYSIS: dict[str, Any] = {
    "bucket_span": "1h",
    "influencers": ["user.name"],
    "detectors": [{"function": "high_count", "partition_field_name": "user.name"}],
}
JOB: dict[str, Any] = {"analysis_config": ANALYSIS, "data_description": {"time_field": "@timestamp"},
                       "datafeed_config": {"indices": ["auth"]}}  # fmt: skip


@pytest.fixture
def es(elasticsearch: Elasticsearch) -> Elasticsearch:
    """Four weeks of failed logins with two bursts, and a job on them."""
    index_records(elasticsearch, "auth", failed_logins(4, burst=(20 * 24 + 10, 5, 20)).part(0, 1800))
    elasticsearch.ml.put_job(job_id="job", **JOB)
    return elasticsearch


@pytest.fixture
def by_hand(elasticsearch: Elasticsearch) -> Elasticsearch:
    """A job whose results were written by somebody else, as in Elastic's tests."""
    elasticsearch.ml.put_job(job_id="job", analysis_config={"detectors": [{"function": "count"}]}, data_description={})
    base = {"job_id": "job", "bucket_span": 1}
    rows = [("bucket", "2016-06-01", 90.0, {}), ("bucket", "2016-08-01", 60.0, {"is_interim": True}),
            ("bucket", "2016-08-02", 60.0, {})]  # fmt: skip
    for number, (kind, day, score, more) in enumerate(rows):
        document = {**base, "result_type": kind, "timestamp": f"{day}T00:00:00Z", "anomaly_score": score, **more}
        elasticsearch.index(index=".ml-anomalies-job", id=f"b{number}", document=document)
    for number, (day, score, more) in enumerate(
        [("2016-06-01", 50.0, {}), ("2016-06-02", 80.0, {"is_interim": True}), ("2016-06-03", 60.0, {})]
    ):
        document = {**base, "result_type": "influencer", "timestamp": f"{day}T00:00:00Z", "influencer_score": score,
                    "influencer_field_name": "foo", "influencer_field_value": "bar", **more}  # fmt: skip
        elasticsearch.index(index=".ml-anomalies-job", id=f"i{number}", document=document)
        record = {**base, "result_type": "record", "timestamp": f"{day}T00:00:00Z", "record_score": score, **more}
        elasticsearch.index(index=".ml-anomalies-job", id=f"r{number}", document=record)
    for number, day in (("1", "2016-06-02"), ("2", "2016-06-01")):
        document = {"job_id": "job", "snapshot_id": number, "timestamp": f"{day}T00:00:00Z", "snapshot_doc_count": 1}
        elasticsearch.index(index=".ml-anomalies-job", id=f"s{number}", document=document)
    elasticsearch.indices.refresh(index=".ml-anomalies-job")
    return elasticsearch


JUNE_1, JUNE_2, JUNE_3 = 1464739200000, 1464825600000, 1464912000000
AUGUST_1, AUGUST_2 = 1470009600000, 1470096000000


def test_buckets_by_time_score_page_and_interim(by_hand: Elasticsearch) -> None:
    def times(**arguments: Any) -> tuple[int, list[int]]:
        answer = by_hand.ml.get_buckets(job_id="job", **arguments)
        return answer["count"], [bucket["timestamp"] for bucket in answer["buckets"]]

    assert times() == (3, [JUNE_1, AUGUST_1, AUGUST_2])
    assert times(start="2016-05-01T00:00:00Z", end="2016-07-01T00:00:00Z") == (1, [JUNE_1])
    assert times(from_=1, size=2) == (3, [AUGUST_1, AUGUST_2])
    assert times(page={"from": 1, "size": 2}) == (3, [AUGUST_1, AUGUST_2])
    assert times(exclude_interim=True) == (2, [JUNE_1, AUGUST_2])
    assert times(timestamp="2016-06-01T00:00:00Z") == (1, [JUNE_1])
    assert times(sort="anomaly_score") == (3, [AUGUST_1, AUGUST_2, JUNE_1])
    assert times(sort="anomaly_score", desc=True) == (3, [JUNE_1, AUGUST_2, AUGUST_1])
    assert times(anomaly_score=80) == (1, [JUNE_1])
    assert by_hand.ml.get_buckets(job_id="job", exclude_interim=True)["buckets"][0]["is_interim"] is False
    for clash in ({"start": "2016-05-01T00:00:00Z"}, {"from_": 1}, {"anomaly_score": 80}):
        with pytest.raises(BadRequestError):
            by_hand.ml.get_buckets(job_id="job", timestamp="2016-06-01T00:00:00Z", **clash)  # type: ignore[arg-type]
    with pytest.raises(NotFoundError):
        by_hand.ml.get_buckets(job_id="none")


def test_influencers_and_records_come_by_score(by_hand: Elasticsearch) -> None:
    for api, name, score in ((by_hand.ml.get_influencers, "influencers", "influencer_score"),
                             (by_hand.ml.get_records, "records", "record_score")):  # fmt: skip

        def times(**arguments: Any) -> tuple[int, list[int]]:
            answer = api(job_id="job", **arguments)  # noqa: B023
            return answer["count"], [one["timestamp"] for one in answer[name]]  # noqa: B023

        assert times() == (3, [JUNE_2, JUNE_3, JUNE_1])
        assert times(from_=1, size=2) == times(page={"from": 1, "size": 2}) == (3, [JUNE_3, JUNE_1])
        assert times(exclude_interim=True) == (2, [JUNE_3, JUNE_1])
        assert times(start="2016-06-01T00:00:00Z", end="2016-06-01T01:00:00Z") == (1, [JUNE_1])
        assert times(**{score: 70}) == (1, [JUNE_2])
        assert times(desc=False) == (3, [JUNE_1, JUNE_3, JUNE_2])
        assert times(sort="timestamp") == (3, [JUNE_3, JUNE_2, JUNE_1])
        with pytest.raises(NotFoundError):
            api(job_id="none")


def test_results_are_sorted_by_their_own_fields_only(by_hand: Elasticsearch) -> None:
    for api in (by_hand.ml.get_buckets, by_hand.ml.get_influencers, by_hand.ml.get_records):
        with pytest.raises(BadRequestError, match=r"No mapping found for \[nope\] in order to sort on"):
            api(job_id="job", sort="nope")


def test_records_of_one_moment_come_by_score_and_then_by_name(by_hand: Elasticsearch) -> None:
    for number, (score, name) in enumerate([(5, "b"), (50, "a"), (5, "c")]):
        document = {"job_id": "job", "result_type": "record", "timestamp": JUNE_1, "bucket_span": 1,
                    "record_score": score, "by_field_value": name, "partition_field_value": "new"}  # fmt: skip
        by_hand.index(index=".ml-anomalies-job", id=f"tie{number}", document=document, refresh=True)
    found = by_hand.ml.get_records(job_id="job", sort="timestamp", desc=True, size=100)["records"]
    names = [one["by_field_value"] for one in found if one.get("partition_field_value") == "new"]
    assert names == ["a", "c", "b"]


def test_snapshots_come_newest_first(by_hand: Elasticsearch) -> None:
    def times(**arguments: Any) -> tuple[int, list[int]]:
        answer = by_hand.ml.get_model_snapshots(job_id="job", **arguments)
        return answer["count"], [one["timestamp"] for one in answer["model_snapshots"]]

    assert times() == times(snapshot_id="_all") == (2, [JUNE_2, JUNE_1])
    assert times(snapshot_id="2") == (1, [JUNE_1])
    assert times(start="2016-05-01T00:00:00Z", end="2016-07-01T00:00:00Z") == (2, [JUNE_2, JUNE_1])
    assert times(desc=False) == (2, [JUNE_1, JUNE_2])
    assert times(size=1) == (2, [JUNE_2])
    assert times(from_=1) == (2, [JUNE_1])
    with pytest.raises(NotFoundError):
        by_hand.ml.get_model_snapshots(job_id="none")


def test_the_burst_is_in_records_buckets_influencers_and_ordinary_searches(es: Elasticsearch) -> None:
    look_back(es, "job", START, START + 28 * DAY)
    [record] = es.ml.get_records(job_id="job", record_score=75, exclude_interim=True)["records"]
    when = START + (20 * 24 + 10) * HOUR
    assert record["timestamp"] == when
    assert record["actual"][0] >= 20 > record["typical"][0]
    assert record["function"] == "high_count"
    assert record["function_description"] == "count"
    assert (record["partition_field_name"], record["partition_field_value"]) == ("user.name", "user005")
    assert record["user.name"] == ["user005"]
    assert record["influencers"] == [{"influencer_field_name": "user.name", "influencer_field_values": ["user005"]}]
    assert "field_name" not in record
    [bucket] = es.ml.get_buckets(job_id="job", anomaly_score=75, expand=True)["buckets"]
    assert bucket["timestamp"] == when
    assert [one["record_score"] for one in bucket["records"]] == [record["record_score"]]
    assert {one["influencer_field_name"] for one in bucket["bucket_influencers"]} == {"bucket_time", "user.name"}
    influencer = es.ml.get_influencers(job_id="job", influencer_score=75)["influencers"][0]
    assert influencer["influencer_field_value"] == "user005"
    searched = es.search(index=".ml-anomalies-*", query={"bool": {"filter": [
        {"term": {"result_type": "record"}}, {"range": {"record_score": {"gte": 75}}},
        {"term": {"user.name": "user005"}}]}})["hits"]["hits"]  # fmt: skip
    assert [hit["_source"]["timestamp"] for hit in searched] == [when]
    assert searched[0]["_id"].startswith(f"job_record_{when}_3600_0_")


def test_a_custom_rule_skips_users_in_a_filter(es: Elasticsearch) -> None:
    es.ml.put_filter(filter_id="trusted", items=["user005", "svc-*"])
    rule = {"scope": {"user.name": {"filter_id": "trusted"}}}
    detectors = [{**ANALYSIS["detectors"][0], "custom_rules": [rule]}]
    es.ml.put_job(job_id="ruled", **{**JOB, "analysis_config": {**ANALYSIS, "detectors": detectors}})
    [kept] = es.ml.get_jobs(job_id="ruled")["jobs"][0]["analysis_config"]["detectors"][0]["custom_rules"]
    assert kept == {
        "actions": ["skip_result"],
        "scope": {"user.name": {"filter_id": "trusted", "filter_type": "include"}},
    }
    look_back(es, "ruled", START, START + 28 * DAY)
    assert es.ml.get_records(job_id="ruled", record_score=75)["count"] == 0
    with pytest.raises(ConflictError, match="Cannot delete filter \\[trusted\\] currently used by jobs \\[ruled\\]"):
        es.ml.delete_filter(filter_id="trusted")


def test_a_rule_on_the_actual_value_skips_what_it_names(es: Elasticsearch) -> None:
    rule = {"conditions": [{"applies_to": "actual", "operator": "gt", "value": 15},
                           {"applies_to": "diff_from_typical", "operator": "gt", "value": 1}]}  # fmt: skip
    detectors = [{**ANALYSIS["detectors"][0], "custom_rules": [rule]}]
    es.ml.put_job(job_id="ruled", **{**JOB, "analysis_config": {**ANALYSIS, "detectors": detectors}})
    look_back(es, "ruled", START, START + 28 * DAY)
    assert not [r for r in es.ml.get_records(job_id="ruled", size=1000)["records"] if r["actual"][0] > 15]


def test_a_calendar_keeps_a_job_silent(es: Elasticsearch) -> None:
    es.ml.put_job(job_id="calm", **JOB, groups=["auth-jobs"])
    es.ml.put_calendar(calendar_id="drill", job_ids=["auth-jobs"])
    day = START + 20 * DAY
    es.ml.post_calendar_events(
        calendar_id="drill", events=[{"description": "red team", "start_time": day, "end_time": day + DAY}]
    )
    look_back(es, "calm", START, START + 28 * DAY)
    assert es.ml.get_records(job_id="calm", record_score=75)["count"] == 0
    during = es.ml.get_buckets(job_id="calm", start=str(day), end=str(day + DAY), size=100)["buckets"]
    assert [bucket.get("scheduled_events") for bucket in during] == [["red team"]] * 24


def test_a_snapshot_is_described_retained_and_not_deleted_while_in_use(es: Elasticsearch, sandbox: Sandbox) -> None:
    look_back(es, "job", START, START + 10 * DAY)
    [first] = es.ml.get_model_snapshots(job_id="job")["model_snapshots"]
    assert first["latest_record_time_stamp"] < START + 10 * DAY
    assert es.ml.get_jobs(job_id="job")["jobs"][0]["model_snapshot_id"] == first["snapshot_id"]
    with pytest.raises(ConflictError) as error:
        es.ml.delete_model_snapshot(job_id="job", snapshot_id=first["snapshot_id"])
    assert str(error.value.body["error"]["reason"]) == (
        f"Model snapshot '{first['snapshot_id']}' is the active snapshot for job 'job', so cannot be deleted"
    )
    changed = es.ml.update_model_snapshot(
        job_id="job", snapshot_id=first["snapshot_id"], description="day 10", retain=True
    )
    assert changed["acknowledged"] is True
    assert (changed["model"]["description"], changed["model"]["retain"]) == ("day 10", True)
    sandbox.clock.advance(3600)
    look_back(es, "job", START + 10 * DAY, START + 11 * DAY)
    second = es.ml.get_jobs(job_id="job")["jobs"][0]["model_snapshot_id"]
    sandbox.clock.advance(12 * 86400)
    look_back(es, "job", START + 11 * DAY, START + 12 * DAY)
    kept = [one["snapshot_id"] for one in es.ml.get_model_snapshots(job_id="job")["model_snapshots"]]
    assert second not in kept  # twelve days old, and not retained
    assert first["snapshot_id"] in kept
    assert es.ml.delete_model_snapshot(job_id="job", snapshot_id=first["snapshot_id"])["acknowledged"] is True
    for call in (lambda: es.ml.update_model_snapshot(job_id="job", snapshot_id="9999", description="x"),
                 lambda: es.ml.delete_model_snapshot(job_id="job", snapshot_id="9999"),
                 lambda: es.ml.revert_model_snapshot(job_id="job", snapshot_id="9999"),
                 lambda: es.ml.revert_model_snapshot(job_id="none", snapshot_id="9999")):  # fmt: skip
        with pytest.raises(NotFoundError):
            call()


def test_a_reverted_job_gives_the_same_results_again(es: Elasticsearch, sandbox: Sandbox) -> None:
    def records(start: int) -> list[Any]:
        found = es.ml.get_records(job_id="job", start=str(start), sort="timestamp", desc=False, size=1000)["records"]
        return [(r["timestamp"], r["partition_field_value"], r["record_score"]) for r in found]

    look_back(es, "job", START, START + 20 * DAY)
    snapshot = es.ml.get_jobs(job_id="job")["jobs"][0]["model_snapshot_id"]
    sandbox.clock.advance(3600)
    look_back(es, "job", START + 20 * DAY, START + 25 * DAY)
    before, buckets = records(START + 20 * DAY), es.ml.get_buckets(job_id="job")["count"]
    assert before
    reverted = es.ml.revert_model_snapshot(job_id="job", snapshot_id=snapshot)["model"]
    assert reverted["snapshot_id"] == snapshot
    assert es.ml.get_buckets(job_id="job")["count"] == buckets
    es.ml.revert_model_snapshot(job_id="job", snapshot_id=snapshot, delete_intervening_results=True)
    assert records(START + 20 * DAY) == []
    assert es.ml.get_buckets(job_id="job")["count"] < buckets
    look_back(es, "job", START + 20 * DAY, START + 25 * DAY)
    assert records(START + 20 * DAY) == before
    assert es.ml.get_buckets(job_id="job")["count"] == buckets
    empty = es.ml.revert_model_snapshot(job_id="job", snapshot_id="empty", delete_intervening_results=True)["model"]
    assert empty["snapshot_id"] == "empty"
    assert es.ml.get_buckets(job_id="job")["count"] == 0
    assert "model_snapshot_id" not in es.ml.get_jobs(job_id="job")["jobs"][0]


def test_expired_results_and_forecasts_go(es: Elasticsearch, sandbox: Sandbox) -> None:
    es.ml.update_job(job_id="job", results_retention_days=5)
    look_back(es, "job", START, START + 20 * DAY)
    es.ml.open_job(job_id="job")
    es.ml.forecast(job_id="job", duration="1h", expires_in="1d")
    es.ml.close_job(job_id="job")
    sandbox.clock.advance(2 * 86400)
    assert es.ml.delete_expired_data(job_id="job")["deleted"] is True
    newest, oldest = (es.ml.get_buckets(job_id="job", sort="timestamp", desc=desc, size=1)["buckets"][0]["timestamp"]
                      for desc in (True, False))  # fmt: skip
    assert 4 * DAY < newest - oldest <= 5 * DAY
    assert es.ml.get_job_stats(job_id="job")["jobs"][0]["forecasts_stats"]["total"] == 0
    with pytest.raises(NotFoundError):
        es.ml.delete_expired_data(job_id="none")


def test_a_forecast_is_written_and_deleted(es: Elasticsearch) -> None:
    look_back(es, "job", START, START + 20 * DAY)
    es.ml.open_job(job_id="job")
    made = es.ml.forecast(job_id="job", duration="3h")
    clauses = [{"term": {"result_type": "model_forecast"}}, {"term": {"forecast_id": made["forecast_id"]}}]
    query = {"bool": {"filter": clauses}}
    found = es.search(index=".ml-anomalies-job", size=1000, query=query)["hits"]["hits"]
    series = es.ml.get_job_stats(job_id="job")["jobs"][0]["model_size_stats"]["total_partition_field_count"]
    assert len(found) == 3 * series
    first = found[0]["_source"]
    assert first["forecast_lower"] <= first["forecast_prediction"] <= first["forecast_upper"]
    stats = es.ml.get_job_stats(job_id="job")["jobs"][0]["forecasts_stats"]
    assert (stats["total"], stats["forecasted_jobs"], stats["status"]) == (1, 1, {"finished": 1})
    assert es.ml.delete_forecast(job_id="job", forecast_id=made["forecast_id"])["acknowledged"] is True
    assert es.count(index=".ml-anomalies-job", query={"term": {"forecast_id": made["forecast_id"]}})["count"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"duration": "0s"}, "[duration] must be positive: [0s]"),
     ({"duration": "-1s"}, "[duration] must be positive: [-1]"),
     ({"duration": "3651d"}, "[duration] must be 3650d or less: [3651d]"),
     ({"expires_in": "-1s"}, "[expires_in] must be non-negative: [-1]"),
     ({"max_model_memory": "1000mb"}, "[max_model_memory] must be less than 500mb")],
)  # fmt: skip
def test_a_forecast_has_limits(es: Elasticsearch, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequestError) as error:
        es.ml.forecast(job_id="job", **arguments)
    assert str(error.value.body["error"]["reason"]) == words


def test_a_forecast_needs_a_job_with_data_and_without_a_population(es: Elasticsearch) -> None:
    with pytest.raises(NotFoundError):
        es.ml.forecast(job_id="none")
    es.ml.open_job(job_id="job")
    with pytest.raises(BadRequestError, match="requires data to have been processed"):
        es.ml.forecast(job_id="job")
    es.ml.put_job(
        job_id="crowd",
        analysis_config={"detectors": [{"function": "count", "over_field_name": "u"}]},
        data_description={},
    )
    es.ml.open_job(job_id="crowd")
    with pytest.raises(BadRequestError, match="contains population analysis"):
        es.ml.forecast(job_id="crowd")
    for arguments in ({"forecast_id": "bad"}, {"forecast_id": "_all", "allow_no_forecasts": False}):
        with pytest.raises(NotFoundError):
            es.ml.delete_forecast(job_id="job", **arguments)  # type: ignore[arg-type]
    assert es.ml.delete_forecast(job_id="job", allow_no_forecasts=True)["acknowledged"] is True


def test_calendars_hold_jobs_groups_and_events(elasticsearch: Elasticsearch) -> None:
    ml = elasticsearch.ml
    for job_id in ("tiger", "otter"):
        ml.put_job(job_id=job_id, analysis_config={"detectors": [{"function": "count"}]}, data_description={},
                   groups=["cats"] if job_id == "tiger" else [])  # fmt: skip
    assert ml.get_calendars(calendar_id="_all")["count"] == 0
    made = ml.put_calendar(calendar_id="advent", job_ids=["tiger", "new-group"], description="about")
    assert made.body == {"calendar_id": "advent", "job_ids": ["new-group", "tiger"], "description": "about"}
    ml.put_calendar(calendar_id="wildlife")
    ml.put_calendar(calendar_id="zoo", job_ids=["cats"])
    assert [c["calendar_id"] for c in ml.get_calendars(from_=1, size=1)["calendars"]] == ["wildlife"]
    assert [c["calendar_id"] for c in ml.get_calendars(page={"from": 1, "size": 2})["calendars"]] == ["wildlife", "zoo"]
    for wrong in (lambda: ml.put_calendar(calendar_id="Mayas"), lambda: ml.put_calendar(calendar_id="_all"),
                  lambda: ml.put_calendar(calendar_id="zoo"),
                  lambda: ml.get_calendars(calendar_id="zoo", size=10)):  # fmt: skip
        with pytest.raises(BadRequestError):
            wrong()
    with pytest.raises(NotFoundError, match="No calendar with id \\[unknown\\]"):
        ml.get_calendars(calendar_id="unknown")
    assert ml.put_calendar_job(calendar_id="wildlife", job_id="tiger,otter")["job_ids"] == ["otter", "tiger"]
    assert ml.delete_calendar_job(calendar_id="wildlife", job_id="tiger")["job_ids"] == ["otter"]
    with pytest.raises(
        NotFoundError, match="Cannot remove \\[tiger\\] as it is not present in calendar \\[wildlife\\]"
    ):
        ml.delete_calendar_job(calendar_id="wildlife", job_id="tiger")
    days = [("event 1", 1, 2), ("event 2", 5, 6), ("event 3", 12, 13), ("event 4", 12, 15)]
    events = [{"description": d, "start_time": f"2017-12-{a:02}T00:00:00Z", "end_time": f"2017-12-{b:02}T00:00:00Z"}
              for d, a, b in days]  # fmt: skip
    assert len(ml.post_calendar_events(calendar_id="zoo", events=events)["events"]) == 4

    def named(calendar_id: str = "zoo", **arguments: Any) -> list[str]:
        return [e["description"] for e in ml.get_calendar_events(calendar_id=calendar_id, **arguments)["events"]]

    assert named() == ["event 1", "event 2", "event 3", "event 4"]
    assert named(from_=1, size=2) == ["event 2", "event 3"]
    assert named(end="2017-12-12T00:00:00Z") == ["event 1", "event 2"]
    assert named(start="2017-12-05T03:00:00Z") == ["event 2", "event 3", "event 4"]
    assert named(start="2017-12-02T00:00:00Z", end="2017-12-12T00:00:00Z") == ["event 2"]
    assert named("_all", job_id="tiger") == named("_all", job_id="cats") == named()
    assert named("_all", job_id="otter") == []
    with pytest.raises(BadRequestError) as error:
        named("zoo", job_id="tiger")
    assert error.value.error == "action_request_validation_exception"
    with pytest.raises(BadRequestError, match="At least 1 event is required"):
        ml.post_calendar_events(calendar_id="zoo", events=[])
    with pytest.raises(BadRequestError):
        ml.post_calendar_events(calendar_id="zoo", events=[{**events[0], "calendar_id": "advent"}])
    event_id = ml.get_calendar_events(calendar_id="zoo")["events"][0]["event_id"]
    with pytest.raises(BadRequestError):
        ml.delete_calendar_event(calendar_id="advent", event_id=event_id)
    with pytest.raises(NotFoundError):
        ml.delete_calendar_event(calendar_id="zoo", event_id="none")
    ml.delete_calendar_event(calendar_id="zoo", event_id=event_id)
    assert len(named()) == 3
    ml.delete_job(job_id="otter")
    assert ml.get_calendars(calendar_id="wildlife")["calendars"][0]["job_ids"] == []
    ml.delete_calendar(calendar_id="zoo")
    assert ml.get_calendar_events(calendar_id="*")["count"] == 0


def test_filters_are_kept_sorted_and_changed(elasticsearch: Elasticsearch) -> None:
    ml = elasticsearch.ml
    ml.put_filter(filter_id="filter-foo", items=["xyz", "abc"])
    ml.put_filter(filter_id="filter-foo2", items=["123", "lmnop"], description="described")
    found = ml.get_filters(filter_id="filter-foo*")
    assert found["count"] == 2
    assert found["filters"][0] == {"filter_id": "filter-foo", "items": ["abc", "xyz"]}
    assert [f["filter_id"] for f in ml.get_filters(from_=1, size=1)["filters"]] == ["filter-foo2"]
    changed = ml.update_filter(filter_id="filter-foo", description="new", add_items=["c", "d"], remove_items=["abc"])
    assert changed.body == {"filter_id": "filter-foo", "description": "new", "items": ["c", "d", "xyz"]}
    with pytest.raises(BadRequestError, match="Cannot remove item \\[not present\\] as it is not present in filter"):
        ml.update_filter(filter_id="filter-foo", remove_items=["not present"])
    with pytest.raises(BadRequestError):
        ml.put_filter(filter_id="Invalid", items=[])
    for call in (lambda: ml.get_filters(filter_id="none"), lambda: ml.delete_filter(filter_id="none"),
                 lambda: ml.update_filter(filter_id="none")):  # fmt: skip
        with pytest.raises(NotFoundError):
            call()
    ml.delete_filter(filter_id="filter-foo")
    assert ml.get_filters()["count"] == 1


CLIENT: list[tuple[str, dict[str, Any]]] = [
    ("info", {}), ("set_upgrade_mode", {"enabled": False}), ("get_memory_stats", {}),
    ("validate", {"analysis_config": ANALYSIS, "data_description": {}}),
    ("validate_detector", {"detector": {"function": "count"}}),
    ("estimate_model_memory", {"analysis_config": ANALYSIS}),
    ("put_job", {"job_id": "new", "analysis_config": ANALYSIS, "data_description": {}}),
    ("update_job", {"job_id": "new", "description": "d"}), ("get_jobs", {}), ("get_job_stats", {}),
    ("put_filter", {"filter_id": "f", "items": ["a"]}), ("get_filters", {}),
    ("update_filter", {"filter_id": "f", "add_items": ["b"]}), ("delete_filter", {"filter_id": "f"}),
    ("put_calendar", {"calendar_id": "c"}), ("get_calendars", {}),
    ("put_calendar_job", {"calendar_id": "c", "job_id": "new"}),
    ("post_calendar_events", {"calendar_id": "c", "events": [
        {"description": "e", "start_time": 1513641600000, "end_time": 1513728000000}]}),
    ("get_calendar_events", {"calendar_id": "c"}), ("delete_calendar_event", {"calendar_id": "c", "event_id": "EVENT"}),
    ("delete_calendar_job", {"calendar_id": "c", "job_id": "new"}), ("delete_calendar", {"calendar_id": "c"}),
    ("put_datafeed", {"datafeed_id": "feed", "job_id": "new", "indices": ["auth"]}), ("get_datafeeds", {}),
    ("update_datafeed", {"datafeed_id": "feed", "scroll_size": 500}), ("preview_datafeed", {"datafeed_id": "job"}),
    ("delete_datafeed", {"datafeed_id": "feed"}), ("open_job", {"job_id": "job"}),
    ("start_datafeed", {"datafeed_id": "job", "start": str(START)}), ("get_datafeed_stats", {}),
    ("stop_datafeed", {"datafeed_id": "job", "force": True}), ("post_data", {"job_id": "open", "data": [
        {"time": 1}, {"time": 86_400_000}]}),
    ("flush_job", {"job_id": "open"}), ("forecast", {"job_id": "open", "duration": "1h"}),
    ("delete_forecast", {"job_id": "open"}), ("close_job", {"job_id": "open"}),
    ("get_buckets", {"job_id": "open"}), ("get_records", {"job_id": "open"}), ("get_influencers", {"job_id": "open"}),
    ("get_categories", {"job_id": "open"}), ("get_overall_buckets", {"job_id": "open"}),
    ("get_model_snapshots", {"job_id": "open"}),
    ("update_model_snapshot", {"job_id": "open", "snapshot_id": "SNAPSHOT", "retain": True}),
    ("revert_model_snapshot", {"job_id": "open", "snapshot_id": "SNAPSHOT"}),
    ("upgrade_job_snapshot", {"job_id": "open", "snapshot_id": "SNAPSHOT"}),
    ("get_model_snapshot_upgrade_stats", {"job_id": "open", "snapshot_id": "SNAPSHOT"}),
    ("delete_model_snapshot", {"job_id": "open", "snapshot_id": "OTHER"}),
    ("delete_expired_data", {}), ("reset_job", {"job_id": "open"}), ("delete_job", {"job_id": "new"}),
]  # fmt: skip
ABSENT = {"estimate_model_memory", "get_categories", "get_overall_buckets", "upgrade_job_snapshot",
          "get_model_snapshot_upgrade_stats"}  # fmt: skip


def test_every_method_of_the_client_answers_properly_or_says_that_it_is_not_here(
    es: Elasticsearch, sandbox: Sandbox
) -> None:
    es.ml.put_job(job_id="open", analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
                  data_description={"time_format": "epoch_ms"}, description="a job")  # fmt: skip
    es.ml.open_job(job_id="open")
    absent = set()
    for name, arguments in CLIENT:
        given = dict(arguments)
        if given.get("event_id") == "EVENT":
            given["event_id"] = es.ml.get_calendar_events(calendar_id="c")["events"][0]["event_id"]
        if given.get("snapshot_id") == "SNAPSHOT":
            given["snapshot_id"] = es.ml.get_model_snapshots(job_id="open")["model_snapshots"][0]["snapshot_id"]
        elif given.get("snapshot_id") == "OTHER":
            given["snapshot_id"] = es.ml.get_model_snapshots(job_id="open")["model_snapshots"][0]["snapshot_id"]
            es.ml.revert_model_snapshot(job_id="open", snapshot_id="empty")
        try:
            getattr(es.ml, name)(**given)
        except ApiError as error:
            absent.add((name, error.meta.status, error.error))
    assert absent == {(name, 501, "sandbox_unsupported") for name in ABSENT}
    # Held against the specification by the module's fixture.
    assert len(sandbox.requests.matching("*", "/_ml/*")) > 40


def test_the_list_above_is_all_of_the_client_that_is_about_anomalies() -> None:
    from elasticsearch import Elasticsearch as Client

    others = ("trained", "data_frame", "inference", "vocabulary", "model_deployment")
    methods = {name for name, _ in inspect.getmembers(type(Client("http://127.0.0.1:9").ml), inspect.isfunction)}
    mine = {
        name for name in methods if not name.startswith(("_", "perform")) and not any(word in name for word in others)
    }
    assert mine == {name for name, _ in CLIENT}


def test_serverless_refuses_what_is_private_there() -> None:
    with serve(flavor="serverless") as sandbox, httpx.Client(base_url=f"{sandbox.elasticsearch_url}/_ml") as client:
        body = {"analysis_config": ANALYSIS, "data_description": {}}
        assert client.put("/anomaly_detectors/job", json=body).status_code == 200
        for path in ("results/records", "results/buckets", "results/influencers", "model_snapshots"):
            assert client.get(f"/anomaly_detectors/job/{path}").status_code == 410
        assert client.post("/anomaly_detectors/job/_open").status_code == 200
        stats = client.get("/anomaly_detectors/job/_stats").json()["jobs"][0]
        assert stats["state"] == "opened"
        assert "node" not in stats
        assert client.post("/anomaly_detectors/job/_data", json=[]).status_code == 410


@pytest.mark.parametrize("node", [None, "_all", "ml:true", "sandbox"])
def test_memory_is_reserved_while_a_job_is_open(es: Elasticsearch, sandbox: Sandbox, node: str | None) -> None:
    def reserved() -> tuple[int, int, int]:
        answer = es.ml.get_memory_stats(node_id=node) if node else es.ml.get_memory_stats()
        assert answer["_nodes"] == {"total": 1, "successful": 1, "failed": 0}
        (shown,) = answer["nodes"].values()
        assert shown["mem"]["total_in_bytes"] > shown["mem"]["ml"]["max_in_bytes"] > 0
        assert shown["jvm"]["heap_max_in_bytes"] > shown["jvm"]["java_inference_max_in_bytes"] > 0
        of = shown["mem"]["ml"]
        names = ("native_code_overhead", "anomaly_detectors", "data_frame_analytics")
        return tuple(of[f"{name}_in_bytes"] for name in names)  # type: ignore[return-value]

    assert reserved() == (0, 0, 0)
    es.ml.put_job(job_id="open", analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
                  data_description={}, analysis_limits={"model_memory_limit": "50mb"})  # fmt: skip
    assert reserved() == (0, 0, 0)
    es.ml.open_job(job_id="open")
    assert reserved() == (30 << 20, 50 << 20, 0)
    es.ml.close_job(job_id="open")
    assert reserved() == (0, 0, 0)
    call = sandbox.requests.matching("GET", "/_ml/memory*")[0]
    assert specification().check_response("ml.get_memory_stats", call.response) == []
