"""Anomaly jobs over HTTP: configuration, states, conflicts, posted data, as Elastic's YAML tests state them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from elasticsearch import ApiError, BadRequestError, ConflictError, Elasticsearch, NotFoundError
from sandbox.ml_contract import by_the_specification  # noqa: F401

if TYPE_CHECKING:
    from elastic_sandbox.testing import Sandbox

pytestmark = [
    pytest.mark.usefixtures("by_the_specification"),
    pytest.mark.filterwarnings("ignore:Posting data directly"),
]

COUNT = {"bucket_span": "1h", "detectors": [{"function": "count"}]}
MEAN = {
    "bucket_span": "1h",
    "detectors": [{"function": "mean", "field_name": "responsetime", "by_field_name": "airline"}],
}


def put(es: Elasticsearch, job_id: str = "job", **body: Any) -> dict[str, Any]:
    given = {"analysis_config": COUNT, "data_description": {"time_field": "time", "time_format": "epoch"}, **body}
    return dict(es.ml.put_job(job_id=job_id, **given))


def state(es: Elasticsearch, job_id: str = "job") -> str:
    return str(es.ml.get_job_stats(job_id=job_id)["jobs"][0]["state"])


def reason(error: pytest.ExceptionInfo[ApiError]) -> str:
    return str(error.value.body["error"]["reason"])


def test_a_new_job_echoes_its_defaults(elasticsearch: Elasticsearch) -> None:
    created = put(elasticsearch, analysis_config={"detectors": [{"function": "dc", "field_name": "a.b"}]},
                  data_description={})  # fmt: skip
    assert created.pop("create_time") > 0
    assert created == {
        "job_id": "job",
        "job_type": "anomaly_detector",
        "job_version": "12.0.0",
        "analysis_config": {
            "bucket_span": "5m",
            "detectors": [{"detector_description": 'distinct_count("a.b")', "function": "distinct_count",
                           "field_name": "a.b", "detector_index": 0}],
            "influencers": [],
            "model_prune_window": "30d",
        },
        "analysis_limits": {"model_memory_limit": "1024mb", "categorization_examples_limit": 4},
        "data_description": {"time_field": "time", "time_format": "epoch_ms"},
        "model_snapshot_retention_days": 10,
        "daily_model_snapshot_retention_after_days": 1,
        "results_index_name": "shared",
        "allow_lazy_open": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "shown"), [(2048, "2048mb"), ("3000g", "3072000mb"), ("8g", "8192mb"), ("10m", "10mb")]
)
def test_memory_is_shown_in_megabytes(elasticsearch: Elasticsearch, limit: Any, shown: str) -> None:
    assert (
        put(elasticsearch, analysis_limits={"model_memory_limit": limit})["analysis_limits"]["model_memory_limit"]
        == shown
    )


def test_memory_above_the_cluster_limit_is_refused(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    sandbox.backend.ml.max_model_memory_limit = "9gb"
    with pytest.raises(BadRequestError) as error:
        put(elasticsearch, analysis_limits={"model_memory_limit": "10g"})
    assert (
        "model_memory_limit [10gb] must be less than the value of the xpack.ml.max_model_memory_limit setting [9gb]"
        in reason(error)
    )


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model_snapshot_retention_days": 3, "daily_model_snapshot_retention_after_days": 4}, 400,
     "The value of daily_model_snapshot_retention_after_days [4] cannot be greater than "
     "model_snapshot_retention_days [3]"),
    ({"daily_model_snapshot_retention_after_days": -1}, 400,
     "daily_model_snapshot_retention_after_days cannot be less than 0. Value = -1"),
    ({"analysis_config": {"detectors": [{"function": "mean", "field_name": "time"}]}}, 400,
     "data_description.time_field may not be used in the analysis_config"),
    ({"analysis_config": {"detectors": [{"function": "max", "field_name": "a"}] * 2}}, 400,
     "Duplicate detectors are not allowed"),
    ({"analysis_config": {"detectors": []}}, 400, "No detectors configured"),
    ({"analysis_config": {"detectors": [{"function": "nosuch"}]}}, 400, "Unknown function 'nosuch'"),
    ({"analysis_config": {"detectors": [{"function": "rare"}]}}, 400,
     "by_field_name must be set when the 'rare' function is used"),
    ({"analysis_config": {"detectors": [{"function": "count", "field_name": "a"}]}}, 400,
     "field_name cannot be used with function 'count'"),
    ({"analysis_config": {"detectors": [{"function": "mean", "by_field_name": "a"}]}}, 400,
     "field_name must be set when the 'mean' function is used"),
    ({"analysis_config": {"detectors": [{"function": "count", "by_field_name": "a", "over_field_name": "a"}]}}, 400,
     "by_field_name and over_field_name cannot be the same: 'a'"),
    ({"groups": ["Not A Group"]}, 400, "Invalid group id 'Not A Group'"),
    ({"analysis_config": {"detectors": [{"function": "median", "field_name": "a"}]}}, 501, "[median]"),
    ({"analysis_config": {"detectors": [{"function": "count", "exclude_frequent": "all"}]}}, 501, "exclude_frequent"),
    ({"analysis_config": {"detectors": [{"function": "count"}], "categorization_field_name": "m"}}, 501,
     "categorization"),
    ({"model_plot_config": {"enabled": True}}, 501, "model_plot_config"),
    ({"analysis_config": {"detectors": [{"function": "count", "custom_rules": [
        {"actions": ["skip_model_update"],
         "conditions": [{"applies_to": "typical", "operator": "lt", "value": 1}]}]}]}}, 501, "skip_model_update"),
    ({"analysis_config": {"detectors": [{"function": "count", "custom_rules": [{"actions": ["skip_result"]}]}]}}, 400,
     "at least scope or a condition is required"),
    ({"analysis_config": {"detectors": [{"function": "count",
       "custom_rules": [{"scope": {"x": {"filter_id": "f"}}}]}]}},
     400, "detector has no available fields for scoping"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "words"), REFUSED, ids=[words[:40] for _, _, words in REFUSED])
def test_a_bad_configuration_is_refused(
    elasticsearch: Elasticsearch, body: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(ApiError) as error:
        put(elasticsearch, **body)
    assert error.value.meta.status == status
    assert words in reason(error)


def test_an_id_is_taken_once_and_agrees_with_the_body(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    put(elasticsearch)
    with pytest.raises(BadRequestError) as error:
        put(elasticsearch)
    assert error.value.error == "resource_already_exists_exception"
    assert reason(error) == "The job cannot be created with the Id 'job'. The Id is already used."
    body = {"job_id": "other", "analysis_config": COUNT, "data_description": {}}
    answer = httpx.put(f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors/one", json=body)
    assert "Inconsistent job_id; 'other' specified in the body differs from 'one'" in answer.text
    answer = httpx.put(
        f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors/one", json={**body, "job_id": "one", "nonsense": 1}
    )
    assert answer.json()["error"]["type"] == "x_content_parse_exception"
    body = {**body, "job_id": "one", "model_snapshot_id": "s"}
    answer = httpx.put(f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors/one", json=body)
    assert answer.json()["error"]["type"] == "illegal_argument_exception"


def test_jobs_are_found_by_wildcard_and_group(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, "foo-1", groups=["web"])
    put(elasticsearch, "foo-2")
    put(elasticsearch, "bar-1", groups=["web"])

    def ids(expression: str | None, **options: Any) -> list[str]:
        return [job["job_id"] for job in elasticsearch.ml.get_jobs(job_id=expression, **options)["jobs"]]

    assert ids(None) == ids("_all") == ["bar-1", "foo-1", "foo-2"]
    assert ids("foo-*") == ["foo-1", "foo-2"]
    assert ids("web") == ["bar-1", "foo-1"]
    assert ids("none-*") == []
    for missing in ({"job_id": "none"}, {"job_id": "none-*", "allow_no_match": False}):
        with pytest.raises(NotFoundError):
            elasticsearch.ml.get_jobs(**missing)
    with pytest.raises(BadRequestError) as error:
        put(elasticsearch, "web")
    assert "job and group names must be unique but job [web] and group [web] have the same name" in reason(error)


def test_an_exported_job_has_nothing_the_server_generated(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, description="Job 1")
    [job] = elasticsearch.ml.get_jobs(job_id="job", exclude_generated=True)["jobs"]
    assert job["description"] == "Job 1"
    assert not {"job_type", "job_version", "create_time", "finished_time", "model_snapshot_id"} & set(job)


def test_what_can_be_updated_is_and_the_rest_refused(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    put(elasticsearch, analysis_config=MEAN, analysis_limits={"model_memory_limit": "10mb"},
        model_snapshot_retention_days=3,
        daily_model_snapshot_retention_after_days=2)  # fmt: skip
    elasticsearch.ml.open_job(job_id="job")
    rule = {"conditions": [{"applies_to": "actual", "operator": "gt", "value": 10}]}
    changed = elasticsearch.ml.update_job(
        job_id="job", groups=["group-1", "group-2"], description="after", renormalization_window_days=10,
        detectors=[{"detector_index": 0, "custom_rules": [rule], "description": "other"}],  # type: ignore[arg-type]
        background_persist_interval="3h", model_snapshot_retention_days=30, results_retention_days=40,
        custom_settings={"setting": "x"}, allow_lazy_open=True,
    )  # fmt: skip
    detector = changed["analysis_config"]["detectors"][0]
    assert detector["custom_rules"] == [
        {"actions": ["skip_result"], "conditions": [{"applies_to": "actual", "operator": "gt", "value": 10.0}]}
    ]
    assert (detector["detector_description"], detector["detector_index"]) == ("other", 0)
    assert changed["groups"] == ["group-1", "group-2"]
    assert changed["background_persist_interval"] == "3h"
    assert changed["daily_model_snapshot_retention_after_days"] == 2
    with pytest.raises(BadRequestError) as error:
        elasticsearch.ml.update_job(job_id="job", analysis_limits={"model_memory_limit": "20mb"})
    assert reason(error) == "Cannot update analysis_limits while the job is open"
    elasticsearch.ml.close_job(job_id="job")
    changed = elasticsearch.ml.update_job(job_id="job", analysis_limits={"model_memory_limit": "15mb"})
    assert changed["analysis_limits"]["model_memory_limit"] == "15mb"
    with pytest.raises(BadRequestError, match="cannot be greater than"):
        elasticsearch.ml.update_job(job_id="job", daily_model_snapshot_retention_after_days=31)
    with pytest.raises(BadRequestError):
        elasticsearch.ml.update_job(job_id="_all", description="no")
    for fixed in ({"analysis_config": COUNT}, {"bucket_span": "2h"}):
        answer = httpx.post(f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors/job/_update", json=fixed)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "x_content_parse_exception")
    put(elasticsearch, "clash")
    with pytest.raises(BadRequestError, match="job and group names must be unique"):
        elasticsearch.ml.update_job(job_id="job", groups=["clash"])


def test_a_job_opens_and_closes(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch)
    stats = elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]
    assert (stats["state"], "node" in stats, "open_time" in stats) == ("closed", False, False)
    opened = elasticsearch.ml.open_job(job_id="job")
    assert opened["opened"] is True
    assert opened["node"]
    stats = elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]
    assert (stats["state"], stats["assignment_explanation"], stats["open_time"]) == ("opened", "", "0s")
    assert stats["node"]["attributes"]["ml.machine_memory"]
    with pytest.raises(ConflictError, match="because it has already been opened"):
        elasticsearch.ml.open_job(job_id="job")
    for force in (False, True):
        assert elasticsearch.ml.close_job(job_id="job", force=force)["closed"] is True
        assert elasticsearch.ml.close_job(job_id="job", force=force)["closed"] is True
    assert elasticsearch.ml.get_jobs(job_id="job")["jobs"][0]["finished_time"] > 0
    elasticsearch.ml.open_job(job_id="job")
    assert "finished_time" not in elasticsearch.ml.get_jobs(job_id="job")["jobs"][0]
    with pytest.raises(NotFoundError):
        elasticsearch.ml.open_job(job_id="none")
    with pytest.raises(NotFoundError):
        elasticsearch.ml.close_job(job_id="none-*", allow_no_match=False)
    assert elasticsearch.ml.close_job(job_id="none-*", allow_no_match=True)["closed"] is True


def test_an_open_job_is_neither_deleted_nor_reset_nor_reverted(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch)
    elasticsearch.ml.open_job(job_id="job")
    for call, words in (
        (lambda: elasticsearch.ml.delete_job(job_id="job"), "Cannot delete job [job] because the job is opened"),
        (lambda: elasticsearch.ml.reset_job(job_id="job"), "Can only reset a job when it is closed"),
        (lambda: elasticsearch.ml.revert_model_snapshot(job_id="job", snapshot_id="empty"),
         "Can only revert to a model snapshot when the job is closed."),
    ):  # fmt: skip
        with pytest.raises(ConflictError) as error:
            call()
        assert words in reason(error)
    assert elasticsearch.ml.delete_job(job_id="job", force=True)["acknowledged"] is True
    assert elasticsearch.ml.get_jobs()["count"] == 0
    with pytest.raises(NotFoundError):
        elasticsearch.ml.delete_job(job_id="job", force=True)


def test_a_job_waits_for_a_node_when_it_may(elasticsearch: Elasticsearch, sandbox: Sandbox) -> None:
    put(elasticsearch)
    put(elasticsearch, "lazy", allow_lazy_open=True)
    sandbox.faults.lazy_assignment = True
    with pytest.raises(ApiError) as error:
        elasticsearch.ml.open_job(job_id="job")
    assert error.value.meta.status == 429
    assert "Could not open job because no suitable nodes were found" in reason(error)
    assert elasticsearch.ml.open_job(job_id="lazy").body == {"opened": True, "node": ""}
    stats = elasticsearch.ml.get_job_stats(job_id="lazy")["jobs"][0]
    assert stats["state"] == "opening"
    assert "Not opening job [lazy]" in stats["assignment_explanation"]
    sandbox.faults.lazy_assignment = False
    assert state(elasticsearch, "lazy") == "opened"
    elasticsearch.ml.close_job(job_id="lazy")
    sandbox.faults.lazy_assignment = True
    elasticsearch.ml.open_job(job_id="lazy")
    assert elasticsearch.ml.close_job(job_id="lazy")["closed"] is True
    assert state(elasticsearch, "lazy") == "closed"


def test_upgrade_mode_keeps_jobs_open_and_lets_none_open(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch)
    put(elasticsearch, "late")
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.set_upgrade_mode(enabled=True)
    stats = elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]
    assert stats["state"] == "opened"
    assert stats["assignment_explanation"] == "persistent task cannot be assigned while upgrade mode is enabled."
    with pytest.raises(ApiError) as error:
        elasticsearch.ml.open_job(job_id="late")
    assert (error.value.meta.status, reason(error)) == (
        429, "Cannot perform cluster:admin/xpack/ml/job/open action while upgrade mode is enabled"
    )  # fmt: skip
    elasticsearch.ml.set_upgrade_mode(enabled=False)
    assert elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]["assignment_explanation"] == ""


POSTED = [{"airline": "AAL", "responsetime": 132.2046, "sourcetype": "post-data-job", "time": 1403481600},
          {"airline": "JZA", "responsetime": 990.4628, "sourcetype": "post-data-job", "time": 1403481700}]  # fmt: skip


def test_posted_data_is_counted(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, analysis_config=MEAN)
    elasticsearch.ml.open_job(job_id="job")
    answer = elasticsearch.ml.post_data(job_id="job", data=POSTED)
    assert answer.meta.status == 202
    counts = {name: answer[name] for name in (
        "processed_record_count", "processed_field_count", "input_field_count", "invalid_date_count",
        "missing_field_count", "out_of_order_timestamp_count", "earliest_record_timestamp",
        "latest_record_timestamp")}  # fmt: skip
    assert counts == {
        "processed_record_count": 2, "processed_field_count": 4, "input_field_count": 6, "invalid_date_count": 0,
        "missing_field_count": 0, "out_of_order_timestamp_count": 0, "earliest_record_timestamp": 1403481600000,
        "latest_record_timestamp": 1403481700000,
    }  # fmt: skip
    assert 140 <= answer["input_bytes"] <= 180
    flushed = elasticsearch.ml.flush_job(job_id="job")
    assert flushed.body == {"flushed": True, "last_finalized_bucket_end": 1403481600000}
    elasticsearch.ml.close_job(job_id="job")
    kept = elasticsearch.get(index=".ml-anomalies-job", id="job_data_counts")["_source"]
    assert {name: kept[name] for name in counts} == counts


def test_flush_can_skip_time(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, analysis_config=MEAN)
    elasticsearch.ml.open_job(job_id="job")

    def post(*times: int) -> None:
        elasticsearch.ml.post_data(job_id="job", data=[{**POSTED[0], "time": moment} for moment in times])

    assert elasticsearch.ml.flush_job(job_id="job").body == {"flushed": True}
    post(1403481600, 1403485200)
    flushed = elasticsearch.ml.flush_job(job_id="job", skip_time="1403488700")
    assert flushed["last_finalized_bucket_end"] == 1403488800000
    post(1403488600, 1403488700)
    post(1403488900, 1403492400)
    elasticsearch.ml.close_job(job_id="job")
    buckets = elasticsearch.ml.get_buckets(job_id="job")["buckets"]
    assert [(b["timestamp"], b["event_count"]) for b in buckets] == [(1403481600000, 1), (1403488800000, 1)]


def test_what_cannot_be_read_is_counted_and_a_closed_job_takes_nothing(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, analysis_config=MEAN)
    for call in (lambda: elasticsearch.ml.post_data(job_id="job", data=POSTED),
                 lambda: elasticsearch.ml.flush_job(job_id="job"),
                 lambda: elasticsearch.ml.forecast(job_id="job")):  # fmt: skip
        with pytest.raises(ConflictError) as error:
            call()
        assert reason(error) == "Cannot perform requested action because job [job] is not open"
    elasticsearch.ml.open_job(job_id="job")
    answer = elasticsearch.ml.post_data(
        job_id="job",
        data=[{"time": "never"}, {"time": 1403481600}, {"time": 1403488800, "airline": "A"}, {"time": 1403481600}],
    )
    assert answer["invalid_date_count"] == 1
    assert answer["missing_field_count"] == 3
    assert answer["out_of_order_timestamp_count"] == 1
    assert answer["input_record_count"] == 4
    for bad in ({"start": "not_a_date"}, {"advance_time": "not_a_date"}):
        with pytest.raises(BadRequestError) as refused:
            elasticsearch.ml.flush_job(job_id="job", **bad)  # type: ignore[arg-type]
        assert refused.value.error == "parse_exception"


def test_statistics_of_a_job_that_has_seen_little(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, analysis_config=MEAN)
    stats = elasticsearch.ml.get_job_stats()["jobs"][0]
    assert stats["model_size_stats"]["model_bytes"] == 0
    assert stats["timing_stats"]["total_bucket_processing_time_ms"] == 0.0
    assert not {"minimum_bucket_processing_time_ms", "average_bucket_processing_time_ms"} & set(stats["timing_stats"])
    elasticsearch.ml.open_job(job_id="job")
    rows = [{"airline": a, "responsetime": r, "time": t} for a, r, t in (
        ("AAL", "132.2", "1403481600"), ("JZA", "990.4", "1403481600"), ("JZA", "244.1", "1403485200"))]  # fmt: skip
    elasticsearch.ml.post_data(job_id="job", data=rows)
    elasticsearch.ml.flush_job(job_id="job")
    stats = elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]
    assert stats["data_counts"]["processed_record_count"] == 3
    assert stats["data_counts"]["processed_field_count"] == stats["data_counts"]["input_field_count"] == 6
    assert stats["model_size_stats"]["model_bytes"] > 0
    assert stats["model_size_stats"]["total_by_field_count"] == 2
    assert stats["timing_stats"]["bucket_count"] == 1
    assert stats["timing_stats"]["average_bucket_processing_time_ms"] >= 0


def test_a_reset_job_is_as_new(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch)
    elasticsearch.ml.open_job(job_id="job")
    elasticsearch.ml.post_data(job_id="job", data=[{"time": 1403481600 + 3600 * hour} for hour in range(5)])
    elasticsearch.ml.close_job(job_id="job")
    assert elasticsearch.ml.get_buckets(job_id="job")["count"] == 4
    assert elasticsearch.ml.reset_job(job_id="job")["acknowledged"] is True
    assert elasticsearch.ml.get_buckets(job_id="job")["count"] == 0
    assert elasticsearch.ml.get_model_snapshots(job_id="job")["count"] == 0
    assert elasticsearch.ml.get_job_stats(job_id="job")["jobs"][0]["data_counts"]["processed_record_count"] == 0
    task = elasticsearch.ml.reset_job(job_id="job", wait_for_completion=False)["task"]
    assert elasticsearch.tasks.get(task_id=task, wait_for_completion=True)["completed"] is True


def test_a_job_with_its_own_results_index_shares_no_alias(elasticsearch: Elasticsearch) -> None:
    put(elasticsearch, "one")
    put(elasticsearch, "two", results_index_name="mine")
    assert elasticsearch.ml.get_jobs(job_id="two")["jobs"][0]["results_index_name"] == "custom-mine"
    names = set(elasticsearch.indices.get_mapping(index=".ml-anomalies-*").body)
    assert names == {".ml-anomalies-shared-000001", ".ml-anomalies-custom-mine-000001"}
    for job in ("one", "two"):
        elasticsearch.ml.open_job(job_id=job)
        elasticsearch.ml.post_data(job_id=job, data=[{"time": 1403481600 + 3600 * hour} for hour in range(3)])
        elasticsearch.ml.close_job(job_id=job)
    put(elasticsearch, "three")
    mapping = elasticsearch.indices.get_mapping(index=".ml-anomalies-shared-000001")[".ml-anomalies-shared-000001"][
        "mappings"
    ]
    assert mapping["_meta"]["version"]
    of_one = elasticsearch.search(index=".ml-anomalies-one", query={"term": {"result_type": "bucket"}})
    assert {hit["_source"]["job_id"] for hit in of_one["hits"]["hits"]} == {"one"}
    assert elasticsearch.count(index=".ml-anomalies-three")["count"] == 0
    everything = elasticsearch.search(index=".ml-anomalies-*", query={"term": {"result_type": "bucket"}})
    assert {hit["_source"]["job_id"] for hit in everything["hits"]["hits"]} == {"one", "two"}
    elasticsearch.ml.delete_job(job_id="two")
    assert not elasticsearch.indices.exists(index=".ml-anomalies-custom-mine-000001")


def test_validation_without_creating(elasticsearch: Elasticsearch) -> None:
    assert elasticsearch.ml.validate(analysis_config=COUNT, data_description={"format": "xcontent"})["acknowledged"]
    with pytest.raises(BadRequestError, match="failed to parse field"):
        elasticsearch.ml.validate(analysis_config=COUNT, data_description={"format": "wrong"})
    with pytest.raises(BadRequestError, match="Invalid job_id; '_' can contain lowercase alphanumeric"):
        elasticsearch.ml.validate(job_id="_", analysis_config=COUNT, data_description={})
    assert elasticsearch.ml.validate_detector(detector={"function": "rare", "by_field_name": "a"})["acknowledged"]
    assert elasticsearch.ml.get_jobs()["count"] == 0


def test_a_basic_licence_refuses(sandbox: Sandbox) -> None:
    sandbox.backend.license = "basic"
    try:
        answer = httpx.get(f"{sandbox.elasticsearch_url}/_ml/anomaly_detectors")
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "security_exception")
    finally:
        sandbox.backend.license = "platinum"
