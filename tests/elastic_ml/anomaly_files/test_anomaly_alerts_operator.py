"""Records as alerts: each once, whatever is run again, and withdrawn when they no longer hold."""

from __future__ import annotations

from typing import Any

import pytest
from harness.specification import specification
from harness.task_runner import crash_after
from webshop_jobs.world import ALERTS, DAY, HOUR, JOB, Shop

from elastic_ml.exceptions import IngestError, InvalidRequestError, NotFoundError, NotReadyError
from elastic_ml.monitoring.alerts import severity_of
from elastic_ml.operators.anomaly_records import AnomalyAlertsOperator


def arguments(shop: Shop, **more: Any) -> dict[str, Any]:
    return {"project_folder": str(shop.folder), "job": JOB, "start": "2026-06-01", "end": "2026-06-02"} | more


def publish(shop: Shop, **more: Any) -> dict[str, Any]:
    value: dict[str, Any] = shop.complete(AnomalyAlertsOperator, **arguments(shop, **more))
    return value


def counts(value: dict[str, Any]) -> tuple[int, int, int, int]:
    return value["alerts"], value["new"], value["changed"], value["withdrawn"]


@pytest.fixture
def found(shop: Shop) -> Shop:
    """A job with two records at or above the file's alert_score of 60, and one below it."""
    shop.put_job()
    shop.put_record(DAY + 2 * HOUR, "ana", 91.5)
    shop.put_record(DAY + 5 * HOUR, "ben", 60)
    shop.put_record(DAY + 6 * HOUR, "eva", 59.9)
    return shop


def test_a_record_becomes_a_document_that_says_who_what_and_how_unusual(found: Shop) -> None:
    assert counts(publish(found)) == (2, 2, 0, 0)
    alert = found.alerts()[0]
    assert alert["event"].pop("ingested")
    event_id = alert["event"].pop("id")
    assert len(event_id) == 32
    assert alert == {
        "@timestamp": "2026-06-01T02:00:00.000+00:00",
        "event": {"kind": "alert", "action": "anomaly", "outcome": "success"},
        "event_type": "anomaly", "kind": "anomaly", "status": "success", "state": "open", "count": 1,
        "name": JOB, "job_id": JOB, "record_score": 91.5, "severity": "critical", "actual": 12.0, "typical": 1.5,
        "influencers": ["source.ip=10.0.0.7", "source.ip=10.0.0.9", "user.id=ana"], "user": {"id": "ana"},
        "environment": "production",
        "message": "logins: high_count of source.ip=10.0.0.7, source.ip=10.0.0.9, user.id=ana was 12, typically 1.5 "
        "from 2026-06-01 02:00 UTC (score 92, critical)",
    }  # fmt: skip
    assert found.client.get(index=found.client.search(index=ALERTS)["hits"]["hits"][0]["_index"], id=event_id)["found"]


def test_a_second_run_changes_nothing(found: Shop) -> None:
    publish(found)
    before = found.alerts()
    found.sandbox.requests.clear()
    assert counts(publish(found)) == (2, 0, 0, 0)
    assert found.alerts() == before
    assert not found.sandbox.requests.matching("PUT", "/_bulk") + found.sandbox.requests.matching("POST", "/_bulk")


def test_two_detectors_that_compute_the_same_have_an_alert_each(shop: Shop) -> None:
    """One with a rule and one without: what a record is about does not tell them apart."""
    shop.write("    influencers:", "      - {function: high_count, partition_field_name: user.id}\n    influencers:")
    shop.put_job()
    shop.put_record(DAY + 2 * HOUR, "ana", 91.5)
    record = shop.client.search(index=".ml-anomalies-shared-000001")["hits"]["hits"][0]["_source"]
    shop.client.index(
        index=".ml-anomalies-shared-000001", id="other", document={**record, "detector_index": 1}, refresh=True
    )
    assert counts(publish(shop)) == (2, 2, 0, 0)
    assert counts(publish(shop)) == (2, 0, 0, 0)


def test_an_alert_follows_its_record_when_elasticsearch_changes_the_score(found: Shop) -> None:
    publish(found)
    found.put_record(DAY + 2 * HOUR, "ana", 74)
    assert counts(publish(found)) == (2, 0, 1, 0)
    [alert, _] = found.alerts()
    assert (alert["record_score"], alert["severity"], alert["state"]) == (74, "major", "open")
    assert "(score 74, major)" in alert["message"]


def test_an_alert_of_a_reverted_bucket_is_withdrawn_and_comes_back_when_it_is_found_again(found: Shop) -> None:
    publish(found)
    found.delete_record(DAY + 2 * HOUR, "ana")
    assert counts(publish(found)) == (1, 0, 0, 1)
    [alert, other] = found.alerts()
    assert (alert["state"], other["state"]) == ("withdrawn", "open")
    assert alert["reason"].startswith("No record with a score of 60 or more is there any more")
    assert counts(publish(found)) == (1, 0, 0, 0)
    found.put_record(DAY + 2 * HOUR, "ana", 88)
    assert counts(publish(found)) == (2, 0, 1, 0)
    [alert, _] = found.alerts()
    assert (alert["state"], alert.get("reason"), alert["record_score"]) == ("open", None, 88)


def test_raising_the_threshold_withdraws_what_is_below_it(found: Shop) -> None:
    publish(found)
    found.write("alert_score: 60", "alert_score: 80")
    assert counts(publish(found)) == (1, 0, 0, 1)
    assert [one["state"] for one in found.alerts()] == ["open", "withdrawn"]


def test_alerts_outside_the_window_and_of_other_jobs_are_left_alone(found: Shop) -> None:
    publish(found)
    found.delete_record(DAY + 2 * HOUR, "ana")
    assert counts(publish(found, start="2026-06-01T03:00:00Z")) == (1, 0, 0, 0)
    (found.folder / "anomaly_jobs" / "others.yml").write_text(
        (found.folder / "anomaly_jobs" / f"{JOB}.yml").read_text()
    )
    assert counts(publish(found, job="others", job_id=JOB, start="2026-06-01T06:00:00Z")) == (0, 0, 0, 0)
    assert {one["state"] for one in found.alerts()} == {"open"}


def test_another_version_of_the_job_finds_the_same_alert_again(found: Shop) -> None:
    publish(found)
    found.client.ml.put_job(job_id=f"{JOB}_v2", analysis_config={"detectors": [{"function": "count"}]},
                            data_description={})  # fmt: skip
    found.put_record(DAY + 2 * HOUR, "ana", 95, job=f"{JOB}_v2")
    assert counts(publish(found, job_id=f"{JOB}_v2")) == (1, 0, 1, 1)
    assert [(one["job_id"], one["state"]) for one in found.alerts()] == [(f"{JOB}_v2", "open"), (JOB, "withdrawn")]


def test_an_alert_in_an_older_backing_index_is_found_and_changed_there(found: Shop) -> None:
    publish(found)
    found.client.indices.rollover(alias=ALERTS)
    found.put_record(DAY + 2 * HOUR, "ana", 70)
    assert counts(publish(found)) == (2, 0, 1, 0)
    assert len(found.alerts()) == 2


@pytest.mark.parametrize("calls", range(11))
def test_a_worker_that_dies_after_any_request_leaves_each_alert_once(found: Shop, calls: int) -> None:
    publish(found, end="2026-06-01T03:00:00Z")
    found.delete_record(DAY + 2 * HOUR, "ana")
    found.put_record(DAY + 1 * HOUR, "joe", 99)
    task = found.runner(AnomalyAlertsOperator, **arguments(found))
    with crash_after(calls):
        task.run()
    assert task.run().state == "success"
    assert [(one["influencers"][-1], one["state"]) for one in found.alerts()] == [
        ("user.id=joe", "open"), ("user.id=ana", "withdrawn"), ("user.id=ben", "open"),
    ]  # fmt: skip


def test_many_records_are_written_in_chunks(found: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastic_ml.monitoring.alerts.CHUNK", 2)
    for number in range(5):
        found.put_record(DAY + 8 * HOUR, f"user{number}", 65)
    assert counts(publish(found)) == (7, 7, 0, 0)
    found.write("alert_score: 60", "alert_score: 90")
    assert counts(publish(found)) == (1, 0, 0, 6)


def test_on_serverless_records_are_searched_since_the_api_is_private(found: Shop) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic_ml.hooks.elastic.ElasticHook.serverless", True)
        found.sandbox.requests.clear()
        assert counts(publish(found)) == (2, 2, 0, 0)
    assert not [one for one in found.sandbox.requests if one.path.endswith("/results/records")]


def test_a_missing_job_and_a_missing_stream_are_different_errors(shop: Shop) -> None:
    task = shop.runner(AnomalyAlertsOperator, **arguments(shop))
    assert isinstance(task.run().error, NotFoundError)
    shop.put_job()
    shop.put_record(DAY, "ana", 90)
    project = shop.folder / "project.yml"
    project.write_text(project.read_text().replace("operations_namespace: eu", "operations_namespace: us"))
    error = shop.runner(AnomalyAlertsOperator, **arguments(shop)).run().error
    assert isinstance(error, NotReadyError)
    assert "logs-shop.alerts-us does not exist" in str(error)


def test_an_alert_that_the_failure_store_took_is_an_error(found: Shop) -> None:
    (found.folder / "templates" / "anomaly").mkdir(parents=True)
    (found.folder / "templates" / "anomaly" / "alert.json.j2").write_text(
        '{"@timestamp": {{ record.bucket.isoformat() | tojson }}, "record_score": "high"}'
    )
    error = found.runner(AnomalyAlertsOperator, **arguments(found)).run().error
    assert isinstance(error, IngestError)
    assert f"{ALERTS}::failures" in str(error)
    found.client.delete_by_query(index=f"{ALERTS}::failures", query={"match_all": {}}, refresh=True)


@pytest.mark.parametrize(("start", "end"), [("yesterday", "2026-06-02"), ("2026-06-03", "2026-06-02")])
def test_a_window_that_makes_no_sense_is_refused(shop: Shop, start: str, end: str) -> None:
    error = shop.runner(AnomalyAlertsOperator, **arguments(shop, start=start, end=end)).run().error
    assert isinstance(error, InvalidRequestError)


def test_severities_are_kibanas() -> None:
    assert [severity_of(score) for score in (100, 75, 74.9, 50, 49, 25, 24, 0)] == [
        "critical", "critical", "major", "major", "minor", "minor", "warning", "warning",
    ]  # fmt: skip


def test_what_is_sent_fits_the_specification(found: Shop) -> None:
    spec = specification()
    publish(found)
    sent = [one for one in found.sandbox.requests if one.path.endswith("/results/records")]
    assert sent
    for one in sent:
        assert spec.check_request("ml.get_records", one.body or {}) == []
