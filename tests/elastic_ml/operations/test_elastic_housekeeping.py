"""Housekeeping: what goes, what never goes, and what is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic.operations import MODEL_ID, Operations
from clinic.world import STREAM
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.maintenance.house import House
from elastic_ml.maintenance.steps import Step
from elastic_ml.project import load_project
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.registry.events import events_of
from elastic_ml.stages import housekeeping

OLD, OTHER = "misuse-20250101-0000aaaa", "misuse-20250102-0000bbbb"
META = {"managed_by": MANAGED_BY, "project": "clinic"}


@pytest.fixture
def house(production: Operations) -> Operations:
    """The clinic with a model in production, and two trainings of half a year ago that came to nothing."""
    with long_ago(production):
        for job_id in (OLD, OTHER):
            leftovers(production, job_id)
    return production


@contextmanager
def long_ago(clinic: Operations) -> Iterator[None]:
    """Do something half a year ago, by the cluster's clock."""
    clinic.sandbox.clock.set(datetime.now(UTC) - timedelta(days=180))
    yield
    clinic.sandbox.clock.reset()


def leftovers(clinic: Operations, job_id: str) -> None:
    """What a training leaves behind."""
    client, names = clinic.client, clinic.names
    for index in (names.train_index(job_id), names.holdout_index(job_id)):
        client.indices.create(index=index, mappings={"_meta": {**META, "job_id": job_id}})
    client.indices.create(index=names.results_index(job_id))
    client.ml.put_data_frame_analytics(
        id=job_id,
        source={"index": [STREAM]},
        dest={"index": names.results_index(job_id)},
        analysis={"classification": {"dependent_variable": "event.action"}},
        meta={**META, "airflow_dag": "train_misuse", "airflow_run": "manual__old"},
    )
    clinic.put_model(f"{job_id}-1", tags=[job_id])


def run(clinic: Operations, **params: Any) -> Any:
    result = runner(clinic, **params).complete()
    assert result.state == "success", result.error
    return result.value


def runner(clinic: Operations, **params: Any) -> TaskRunner:
    return clinic.runner(housekeeping, "elastic_housekeeping", "housekeeping", **params)


def models(clinic: Operations) -> set[str]:
    return {config["model_id"] for config in clinic.client.ml.get_trained_models()["trained_model_configs"]}


def test_without_apply_it_only_says_what_it_would_do(house: Operations) -> None:
    house.sandbox.requests.clear()
    report = run(house)
    assert not report["applied"]
    assert {("trained model", f"{OLD}-1"), ("analytics job", OLD), ("index", house.names.train_index(OLD))} <= {
        (step["kind"], step["name"]) for step in report["steps"]
    }
    assert {step["action"] for step in report["steps"]} == {"delete"}
    assert {entry.method for entry in house.sandbox.requests} <= {"GET", "POST"}
    assert not [e for e in house.sandbox.requests if e.method == "POST" and not e.path.endswith("/_search")]
    assert f"{OLD}-1" in models(house)


def test_everything_of_an_unused_training_goes_and_the_registry_says_so(house: Operations) -> None:
    run(house, apply=True)
    assert models(house) == {MODEL_ID}
    assert house.client.ml.get_data_frame_analytics()["count"] == 0
    assert not house.client.indices.get(index=f"{house.names.prefix}-*-{OLD}", allow_no_indices=True).body
    assert [e["event_type"] for e in events_of(house.client, house.names, f"{OLD}-1")] == ["deleted"]
    assert house.client.get(index=house.names.model_cards, id=f"{OLD}-1")["_source"]["stage"] == "retired"


def test_a_second_run_finds_nothing_to_do(house: Operations) -> None:
    run(house, apply=True)
    events = len(events_of(house.client, house.names, f"{OLD}-1"))
    again = run(house, apply=True)
    assert [step for step in again["steps"] if step["action"] != "keep"] == []
    assert len(events_of(house.client, house.names, f"{OLD}-1")) == events


@pytest.mark.parametrize("alias", ["misuse_champion", "misuse_previous", "somebodys_own"])
def test_a_model_with_an_alias_stays_and_so_does_its_training(house: Operations, alias: str) -> None:
    house.client.ml.put_trained_model_alias(model_id=f"{OLD}-1", model_alias=alias, reassign=True)
    run(house, apply=True)
    assert f"{OLD}-1" in models(house)
    assert house.client.indices.exists(index=house.names.train_index(OLD))
    assert f"{OTHER}-1" not in models(house)


def test_a_model_that_any_pipeline_names_stays(house: Operations) -> None:
    inner = {"inference": {"model_id": f"{OLD}-1", "inference_config": {"classification": {}}}}
    body = {"processors": [{"set": {"field": "a", "value": 1, "on_failure": [inner]}}]}
    house.client.ingest.put_pipeline(id="of-somebody", body=body)
    report = run(house, apply=True)
    assert f"{OLD}-1" in models(house)
    assert [s["reason"] for s in report["steps"] if s["name"] == OLD] == ["named by the pipeline of-somebody"]


def test_a_training_whose_model_cannot_be_deleted_keeps_its_job_and_its_indices(house: Operations) -> None:
    """Somebody named the model after it was found unused."""
    house.sandbox.faults.add(
        method="DELETE",
        path=f"/_ml/trained_models/{OLD}-1",
        status=409,
        type="status_exception",
        reason="Cannot delete model as it is still referenced by ingest processors",
    )
    report = run(house, apply=True)
    assert f"{OLD}-1" in models(house)
    assert OLD in {job["id"] for job in house.client.ml.get_data_frame_analytics()["data_frame_analytics"]}
    assert house.client.indices.exists(index=house.names.train_index(OLD))
    reasons = {step["name"]: step["reason"] for step in report["steps"] if step["action"] == "keep"}
    assert "still referenced" in reasons[f"{OLD}-1"]
    assert reasons[OLD] == f"another part of {OLD} could not be deleted"
    assert f"{OTHER}-1" not in models(house), "the other training goes"
    run(house, apply=True)
    assert models(house) == {MODEL_ID}


@pytest.mark.parametrize("answer", ["503", "not all"])
def test_expired_data_that_cannot_all_be_deleted_is_left_to_the_next_run(house: Operations, answer: str) -> None:
    class NotAll:
        def __init__(self) -> None:
            self.ml = self

        def options(self, **arguments: Any) -> Any:
            assert arguments["request_timeout"] > 300
            return self

        def delete_expired_data(self, **arguments: Any) -> dict[str, Any]:
            assert arguments == {"job_id": "bursts", "timeout": "300s"}
            return {"deleted": False}

    house.sandbox.faults.add(method="DELETE", path="/_ml/_delete_expired_data/bursts", status=503)
    client: Any = house.client if answer == "503" else NotAll()
    step = Step("forecasts and results", "bursts", "delete", "")
    done = House(client, load_project(house.folder), datetime.now(UTC), serverless=False).do(step)
    assert done.action == "keep"
    assert ("the server refuses" if answer == "503" else "not all of it in 5 minutes") in done.reason


def test_what_is_young_or_not_ours_stays(house: Operations) -> None:
    foreign, young = "misuse-20250103-0000cccc", "misuse-20250104-0000dddd"
    with long_ago(house):
        house.client.ml.put_data_frame_analytics(
            id=foreign,
            source={"index": [STREAM]},
            dest={"index": "elsewhere"},
            analysis={"classification": {"dependent_variable": "event.action"}},
            meta={**META, "project": "another"},
        )
    leftovers(house, young)
    run(house, apply=True)
    assert models(house) == {MODEL_ID, f"{young}-1"}
    assert {job["id"] for job in house.client.ml.get_data_frame_analytics()["data_frame_analytics"]} == {foreign, young}


def test_rescored_history_goes_when_its_alias_has_moved_on(house: Operations) -> None:
    client, names = house.client, house.names
    old, now = f"{names.prefix}-scores-misuse-00000001", f"{names.prefix}-scores-misuse-00000002"
    with long_ago(house):
        for index in (old, now):
            client.indices.create(index=index, mappings={"_meta": META})
    client.indices.put_alias(index=now, name="misuse_scores")
    run(house, apply=True)
    assert not client.indices.exists(index=old)
    assert client.indices.exists(index=now)


def test_a_job_whose_run_is_over_is_stopped(house: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
    house.index(30)
    house.sandbox.faults.lazy_assignment = True
    house.client.ml.put_data_frame_analytics(
        id="misuse-20990101-0000eeee",
        source={"index": [STREAM]},
        dest={"index": "somewhere"},
        analysis={"classification": {"dependent_variable": "event.action"}},
        allow_lazy_start=True,
        meta={**META, "airflow_dag": "train_misuse", "airflow_run": "manual__dead"},
    )
    house.client.ml.start_data_frame_analytics(id="misuse-20990101-0000eeee")
    states = {"manual__dead": "running", "manual__old": "success"}
    asked = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance.get_dagrun_state"
    monkeypatch.setattr(asked, staticmethod(lambda dag_id, run_id: states[run_id]))

    def state() -> str:
        stats = house.client.ml.get_data_frame_analytics_stats(id="misuse-20990101-0000eeee")
        return str(stats["data_frame_analytics"][0]["state"])

    run(house, apply=True)
    assert state() == "starting", "its run still runs"
    states["manual__dead"] = "failed"
    report = run(house, apply=True)
    assert state() == "stopped"
    assert {"kind": "analytics job", "name": "misuse-20990101-0000eeee", "action": "stopped",
            "reason": "the run manual__dead of train_misuse is over"} in report["steps"]  # fmt: skip


def test_nothing_of_a_training_goes_while_the_cluster_does_not_tell_its_models(
    house: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(House, "_models", lambda self: None)
    report = run(house, apply=True)
    assert [step for step in report["steps"] if step["action"] != "keep"] == []
    assert house.client.indices.exists(index=house.names.train_index(OLD))
    assert events_of(house.client, house.names, f"{OLD}-1") == []


def test_a_snapshot_that_an_anomaly_job_can_go_back_to_stays(house: Operations) -> None:
    folder = Path(house.folder) / "anomaly_jobs"
    folder.mkdir()
    (folder / "bursts.yml").write_text(
        "owner: privacy\nmode: partition\nreplay_days: 3\n"
        "job:\n  analysis_config: {bucket_span: 1h, detectors: [{function: count}]}\n"
        "datafeed: {indices: [logs-clinic.access-eu]}\n"
    )
    day = 86_400_000
    snapshots = [
        {"snapshot_id": str(number), "latest_record_time_stamp": number * day, "timestamp": number * day}
        for number in (1, 2, 9)
    ]
    # Nothing came between the second day and the ninth: to learn the third to ninth again, it goes back to the second.
    record = {"start": "1970-01-03T00:00:00Z", "base": "2", "ends": {"1970-01-10T00:00:00Z": ["9", 4]}}
    job = {"job_id": "bursts", "model_snapshot_id": "9", "custom_settings": {"partitions": record}}

    class Snapshots:
        def __init__(self) -> None:
            self.ml = self

        def get_model_snapshots(self, **arguments: Any) -> dict[str, Any]:
            return {"model_snapshots": snapshots}

    kept = House(Snapshots(), load_project(house.folder), datetime.now(UTC), serverless=False)  # type: ignore[arg-type]
    assert [step.name for step in kept._snapshots(job, "bursts")] == ["bursts/1"]


def test_a_crash_after_any_request_is_finished_by_the_retry(house: Operations) -> None:
    task = runner(house, apply=True)
    steps = 0
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        # Every second request, so that deletions are interrupted in the middle as well.
        steps += 2
    assert result.state == "success", result.error
    assert models(house) == {MODEL_ID}
    assert [e["event_type"] for e in events_of(house.client, house.names, f"{OLD}-1")] == ["deleted"]
