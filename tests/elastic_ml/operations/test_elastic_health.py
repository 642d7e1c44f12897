"""What elastic_health writes: predictions, heartbeats, first scores, and the state of everything around the models."""

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic.operations import MODEL_ID, Operations, snapshot
from clinic.world import open_clinic
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.stages import elastic_health
from elastic_sandbox.testing import serve

LATER = "misuse-20261117-abcdef02-1"
HOURLY_ID = "hourly-20261101-abcdef01-1"
HOURLY = """
owner: privacy
source: {index: [features-clinic.user_hour]}
label: {verdicts: by_user_hour, positive_class: confirmed}
windows: {train: 60d, holdout: 7d}
features: [events]
analysis: {classification: {}}
serve: {pipeline: "features-clinic.user_hour@score"}
"""


def now() -> datetime:
    return datetime.now(UTC)


def looker(clinic: Operations, at: datetime, *, run_id: str = "") -> TaskRunner:
    run_id = run_id or f"scheduled__{at.isoformat()}"
    return clinic.runner(elastic_health, "elastic_health", "look", run_id=run_id, at=at.isoformat())


def look(clinic: Operations, at: datetime | None = None) -> dict[str, Any]:
    result = looker(clinic, at or now() + timedelta(seconds=2)).complete()
    assert result.state == "success", result.error
    return dict(result.value)


def predictions(clinic: Operations) -> list[tuple[str, int]]:
    return [(d["status"], d["count"]) for d in clinic.documents(clinic.names.predictions, event_type="predict")]


def minute(clinic: Operations, number: int) -> datetime:
    """Go to another minute by the cluster's clock; returns when a look in that minute is due."""
    start = now().replace(second=0, microsecond=0) + timedelta(minutes=number)
    clinic.sandbox.clock.set(start)
    return start + timedelta(seconds=59)


def health(clinic: Operations, kind: str) -> list[dict[str, Any]]:
    return clinic.documents(clinic.names.health, kind=kind)


def test_one_success_and_one_error_document_say_what_the_pipeline_scored(production: Operations) -> None:
    production.index(12)
    at = now() + timedelta(seconds=2)
    assert look(production, at)["models"] == {"misuse": {"predictions": 12, "errors": 0, "expected": 12}}
    (document,) = production.documents(production.names.predictions, event_type="predict")
    assert document["model_version"] == MODEL_ID
    assert (document["status"], document["count"], document["stage"]) == ("success", 12, "champion")
    assert document["provider"] == "pipeline"
    assert document["latency_ms"] >= 0
    assert document["@timestamp"] == at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_events_that_the_model_failed_on_are_counted_apart(production: Operations) -> None:
    production.index(3)
    # Without its model every event fails in the processor, and is indexed all the same.
    production.client.ml.delete_trained_model(model_id=MODEL_ID, force=True)
    production.put_model(LATER)
    production.index(2, first=50)
    production.client.ml.put_trained_model_alias(model_id=LATER, model_alias="misuse_champion", reassign=True)
    look(production)
    assert sorted(predictions(production)) == [("error", 2), ("success", 3)]


def test_what_was_counted_is_never_counted_again(production: Operations) -> None:
    for step, number in enumerate((5, 7, 0, 4)):
        minute(production, step)
        production.index(number, first=step * 50)
        look(production, minute(production, step))
    counted = predictions(production)
    assert sum(count for _, count in counted) == 16
    assert len(counted) == 3, "an interval without predictions has no predict document"
    assert len(production.documents(production.names.predictions, event_type="heartbeat")) == 4


def test_a_restarted_node_counts_from_nothing(production: Operations) -> None:
    minute(production, 0)
    production.index(9)
    look(production, minute(production, 0))
    minute(production, 1)
    # Written anew, the pipeline counts from zero, as after a restart.
    body = production.client.ingest.get_pipeline(id="misuse@score")["misuse@score"]
    changed = {k: v for k, v in body.items() if not k.endswith(("_date", "_date_millis"))}
    production.client.ingest.delete_pipeline(id="misuse@score")
    production.client.ingest.put_pipeline(id="misuse@score", body=changed)
    production.index(4, first=500)
    look(production, minute(production, 1))
    assert predictions(production) == [("success", 9), ("success", 4)]


def test_holdouts_and_rescoring_are_not_predictions(production: Operations) -> None:
    look(production)
    production.client.ingest.put_pipeline(
        id="somebodys-holdout",
        processors=[
            {"inference": {"model_id": MODEL_ID, "target_field": "x", "inference_config": {"classification": {}}}}
        ],
    )
    source = {"audit": {"records": 3}}
    for _ in range(3):
        production.client.index(index="elsewhere", document=source, pipeline="somebodys-holdout")
    production.client.ml.infer_trained_model(model_id=MODEL_ID, docs=[{"audit.records": 1}])
    look(production, now() + timedelta(seconds=5))
    assert predictions(production) == []


def test_a_heartbeat_tells_a_quiet_night_from_silence(production: Operations) -> None:
    look(production, minute(production, 0))
    minute(production, 1)
    broken = production.client.ingest.get_pipeline(id="clinic-audit@score")["clinic-audit@score"]["description"]
    # Somebody took scoring out of the stream: events come, and nothing scores them.
    production.client.ingest.put_pipeline(id="clinic-audit@score", description=broken, processors=[])
    production.index(15, first=300)
    look(production, minute(production, 1))
    night, silent = production.documents(production.names.predictions, event_type="heartbeat")
    assert (night["expected"], silent["expected"]) == (0, 15)
    assert silent["min_expected"] == 10
    assert predictions(production) == []


def test_the_first_look_expects_what_came_since_the_promotion(production: Operations) -> None:
    promoted = minute(production, 1)
    production.index(5)
    production.deployed(MODEL_ID, promoted)
    at = minute(production, 2)
    production.index(7, first=100)
    assert look(production, at)["models"]["misuse"]["expected"] == 7


def test_a_model_that_is_not_in_production_has_no_heartbeat(clinic: Operations) -> None:
    clinic.put_model(MODEL_ID)
    assert look(clinic)["models"] == {}


def test_after_a_promotion_predictions_are_the_new_models(production: Operations) -> None:
    production.index(2)
    look(production)
    production.promote(LATER)
    production.index(3, first=40)
    look(production, now() + timedelta(seconds=5))
    found = production.documents(production.names.predictions, event_type="predict")
    assert [(d["model_version"], d["count"]) for d in found] == [(MODEL_ID, 2), (LATER, 3)]


def test_a_second_run_of_the_same_look_adds_nothing(production: Operations) -> None:
    production.index(6)
    at = now() + timedelta(seconds=2)
    look(production, at)
    before = snapshot(production)
    production.index(3, first=70)
    again = looker(production, at, run_id="cleared").complete()
    assert again.value["written"] == 0
    assert snapshot(production) == before
    look(production, at + timedelta(minutes=5))
    assert [count for _, count in predictions(production)] == [6, 3], "nothing was lost either"


def test_a_look_that_a_later_one_has_overtaken_writes_no_predictions(production: Operations) -> None:
    production.index(6)
    at = now() + timedelta(minutes=10)
    look(production, at)
    production.index(2, first=70)
    assert look(production, at - timedelta(minutes=5))["models"] == {}
    assert predictions(production) == [("success", 6)]


def test_a_crash_after_any_request_counts_every_prediction_once(production: Operations) -> None:
    production.index(5)
    at = now() + timedelta(seconds=2)
    task = looker(production, at)
    steps, indexed = 0, 5
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        steps += 1
        # Events go on coming between two tries.
        production.index(1, first=1000 + steps)
        indexed += 1
    assert result.state == "success", result.error
    look(production, now() + timedelta(minutes=5))
    assert sum(count for _, count in predictions(production)) == indexed
    ids = [d["event"]["id"] for d in production.documents(production.names.health)]
    assert len(ids) == len(set(ids))


def test_a_cluster_that_cannot_answer_one_question_is_told_all_the_others(production: Operations) -> None:
    production.index(3)
    production.sandbox.faults.add(path="/_nodes/stats/fs", status=403, type="security_exception", times=99)
    report = look(production)
    assert report["models"]["misuse"]["predictions"] == 3
    assert "disk *" in report["unwell"]
    (unreadable,) = health(production, "disk")
    assert (unreadable["state"], unreadable["status"]) == ("unreadable", "error")
    assert "_nodes/stats" in unreadable["message"]


def test_a_busy_probe_fails_the_try_after_everything_else_is_written(
    production: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elastic_ml.clients.elasticsearch.MAX_RETRIES", 0)
    production.index(3)
    production.sandbox.faults.add(path="/_data_stream/*/_stats", status=503, times=1)
    task = looker(production, now() + timedelta(seconds=2))
    first = task.run()
    assert first.state == "up_for_retry"
    assert predictions(production) == [("success", 3)]
    assert task.run().state == "success"
    assert predictions(production) == [("success", 3)]
    assert len(health(production, "stream")) == 8


def test_the_operations_streams_missing_is_one_sentence(production: Operations) -> None:
    production.client.indices.delete_data_stream(name=production.names.predictions)
    result = looker(production, now()).complete()
    assert "Run the DAG elastic_setup with mode=apply" in str(result.error)


# what is around the models


def test_a_full_disk_is_an_error_above_eighty_percent(production: Operations) -> None:
    production.sandbox.faults.disk_used_percent = 79
    look(production)
    production.sandbox.faults.disk_used_percent = 85.5
    look(production, now() + timedelta(minutes=5))
    fine, full = health(production, "disk")
    assert (fine["status"], fine["state"]) == ("success", "ok")
    assert (full["status"], full["state"], full["value"], full["limit"]) == ("error", "high", 85.5, 80.0)


def test_streams_are_listed_with_size_and_age_and_missed_when_gone(production: Operations) -> None:
    production.index(5)
    production.client.indices.delete_data_stream(name=production.names.alerts)
    look(production, now() + timedelta(hours=1))
    found = {d["name"]: d for d in health(production, "stream")}
    access = found["logs-clinic.access-eu"]
    assert access["value"] > 0
    assert 3500 < access["age_seconds"] <= 3605
    assert found[production.names.alerts]["state"] == "missing"
    assert found[production.names.alerts]["status"] == "error"


def test_the_transform_of_the_user_hours_has_to_run(production: Operations) -> None:
    look(production)
    production.client.transform.stop_transform(transform_id="features-clinic.user_hour", wait_for_completion=True)
    look(production, now() + timedelta(minutes=5))
    production.client.transform.delete_transform(transform_id="features-clinic.user_hour")
    look(production, now() + timedelta(minutes=10))
    found = [(d["state"], d["status"]) for d in health(production, "transform")]
    assert found == [("started", "success"), ("stopped", "error"), ("missing", "error")]


def test_a_real_time_datafeed_has_to_run_and_one_of_partitions_rests(production: Operations) -> None:
    folder = Path(production.folder) / "anomaly_jobs"
    folder.mkdir()
    body = (
        "owner: privacy\njob:\n  analysis_config: {bucket_span: 15m, detectors: [{function: count}]}\n"
        "datafeed: {indices: [logs-clinic.access-eu]}\n"
    )
    for name, mode in (("bursts", "realtime"), ("nightly", "partition"), ("strangers", "")):
        if mode:
            (folder / f"{name}.yml").write_text(f"{body}mode: {mode}\n")
        production.client.ml.put_job(
            job_id=name,
            analysis_config={"bucket_span": "15m", "detectors": [{"function": "count"}]},
            data_description={"time_field": "@timestamp"},
        )
        production.client.ml.put_datafeed(
            datafeed_id=f"datafeed-{name}", job_id=name, indices=["logs-clinic.access-eu"]
        )
    look(production)
    found = {d["name"]: (d["state"], d["status"]) for d in health(production, "job")}
    assert found == {
        "bursts": ("closed", "success"),
        "nightly": ("closed", "success"),
        "datafeed-bursts": ("stopped", "error"),
        "datafeed-nightly": ("stopped", "success"),
    }


def test_a_real_time_datafeed_that_another_version_replaced_may_rest(production: Operations) -> None:
    folder = Path(production.folder) / "anomaly_jobs"
    folder.mkdir()
    (folder / "bursts.yml").write_text(
        "owner: privacy\nmode: realtime\n"
        "job:\n  analysis_config: {bucket_span: 15m, detectors: [{function: count}]}\n"
        "datafeed: {indices: [logs-clinic.access-eu]}\n"
    )
    for name in ("bursts", "bursts_v2"):
        production.client.ml.put_job(
            job_id=name,
            analysis_config={"bucket_span": "15m", "detectors": [{"function": "count"}]},
            data_description={"time_field": "@timestamp"},
        )
        production.client.ml.put_datafeed(
            datafeed_id=f"datafeed-{name}", job_id=name, indices=["logs-clinic.access-eu"]
        )
    look(production)
    found = {d["name"]: d["status"] for d in health(production, "job") if d["name"].startswith("datafeed-")}
    assert found == {"datafeed-bursts": "success", "datafeed-bursts_v2": "error"}


def test_a_key_is_announced_fourteen_days_before_it_expires(production: Operations) -> None:
    backend = production.sandbox.backend
    backend.api_key_id = "abc"
    key = base64.b64encode(b"abc:secret").decode()

    def with_key(days: float) -> dict[str, Any]:
        backend.faults.api_key_expires = (now() + timedelta(days=days)).isoformat()
        task = looker(production, now(), run_id=f"run {days}")
        task.connections["elasticsearch_default"] |= {"extra": f'{{"api_key": "{key}"}}'}
        result = task.complete()
        assert result.state == "success", result.error
        assert key not in str(result.xcoms)
        return health(production, "credential")[-1]

    try:
        fine = with_key(20)
        production.client.delete_by_query(index=production.names.health, query={"match_all": {}}, refresh=True)
        close = with_key(10)
    finally:
        backend.api_key_id = None
    assert (fine["state"], fine["status"]) == ("ok", "success")
    assert (close["state"], close["status"]) == ("expiring", "error")
    assert 9.9 < close["value"] <= 10
    assert "elastic_rotate_credentials" in close["message"]


def test_serverless_is_asked_only_what_it_answers(tmp_path: Path) -> None:
    with serve(flavor="serverless") as sandbox, open_clinic(sandbox, tmp_path) as opened:
        clinic = Operations(opened)
        clinic.promote(MODEL_ID)
        clinic.index(4)
        sandbox.requests.clear()
        look(clinic)
        assert predictions(clinic) == [("success", 4)]
        assert health(clinic, "disk") == []
        access = next(d for d in health(clinic, "stream") if d["name"] == "logs-clinic.access-eu")
        assert access["value"] > 0
        assert access["age_seconds"] >= 0
        assert not [entry for entry in sandbox.requests if entry.status >= 400]


# user-hours


@pytest.fixture
def hourly(clinic: Operations) -> Operations:
    """The clinic with a model of user-hours, whose scores are written as the transform's pipeline would."""
    (Path(clinic.folder) / "models" / "hourly.yml").write_text(HOURLY)
    clinic.promote(HOURLY_ID, "hourly")
    return clinic


def user_hour(clinic: Operations, user: str, hour: datetime, score: float, *, written: datetime) -> None:
    start = hour.replace(minute=0, second=0, microsecond=0)
    clinic.client.index(
        index="features-clinic.user_hour",
        id=f"{user}-{start:%Y%m%d%H}",
        document={
            "@timestamp": start.isoformat(),
            "event": {"ingested": written.isoformat()},
            "user": {"id": user},
            "user_hour": f"{user}|{start:%Y-%m-%dT%H}",
            "ml": {"hourly": {"score": score, "model_id": HOURLY_ID}},
        },
        refresh=True,
        pipeline="_none",
    )


def scored(clinic: Operations) -> list[tuple[str, float]]:
    return [(d["user_hour"], d["value"]) for d in clinic.documents(clinic.names.predictions, event_type="scored")]


def test_the_first_score_of_a_user_hour_is_copied_once_its_hour_has_ended(hourly: Operations) -> None:
    noon = now().replace(hour=12, minute=0, second=0, microsecond=0)
    user_hour(hourly, "ana", noon, 0.3, written=noon + timedelta(minutes=20))
    look(hourly, noon + timedelta(minutes=59))
    assert scored(hourly) == [], "the hour runs"
    look(hourly, noon + timedelta(minutes=75))
    assert scored(hourly) == [(f"ana|{noon:%Y-%m-%dT%H}", 0.3)]
    # A late event writes the hour again; precision is judged on what people saw.
    user_hour(hourly, "ana", noon, 0.9, written=noon + timedelta(minutes=90))
    look(hourly, noon + timedelta(minutes=95))
    assert scored(hourly) == [(f"ana|{noon:%Y-%m-%dT%H}", 0.3)]


def test_user_hours_are_not_read_while_no_model_of_theirs_is_in_production(clinic: Operations) -> None:
    (Path(clinic.folder) / "models" / "hourly.yml").write_text(HOURLY)
    noon = now().replace(hour=12, minute=0, second=0, microsecond=0)
    user_hour(clinic, "ana", noon, 0.3, written=noon + timedelta(minutes=20))
    clinic.sandbox.requests.clear()
    look(clinic, noon + timedelta(minutes=75))
    assert not clinic.sandbox.requests.matching("POST", "/features-clinic.user_hour/_search")
    assert scored(clinic) == []


def test_a_user_hour_that_came_late_is_copied_too(hourly: Operations) -> None:
    noon = now().replace(hour=12, minute=0, second=0, microsecond=0)
    look(hourly, noon + timedelta(hours=3))
    user_hour(hourly, "bo", noon - timedelta(hours=5), 0.7, written=noon + timedelta(hours=3, minutes=2))
    look(hourly, noon + timedelta(hours=3, minutes=5))
    (late,) = hourly.documents(hourly.names.predictions, event_type="scored")
    assert (late["user"]["id"], late["value"]) == ("bo", 0.7)
    assert late["model_version"] == HOURLY_ID
