"""The operations DAGs: their shape, their pages, and each of them run from end to end, twice."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable
from airflow.serialization.serialized_objects import DagSerialization
from clinic.operations import MODEL_ID, Operations, snapshot
from clinic.world import CLINIC, Clinic, open_clinic
from harness.dag_runs import ROOT, DagRuns

from elastic_ml.stages import (
    elastic_health,
    elastic_setup,
    housekeeping,
    monitor,
    remove,
    rotate_credentials,
    train,
)
from elastic_sandbox.testing import serve

pytestmark = pytest.mark.long
STAGES = (elastic_health, elastic_setup, housekeeping, monitor, remove, rotate_credentials)
FILES = ("elastic_health", "elastic_setup", "housekeeping", "monitor", "remove", "rotate_credentials")
DAY = date(2026, 11, 10)
AT = "2026-11-11T03:00:00+00:00"


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = Path(shutil.copytree(CLINIC, tmp_path_factory.mktemp("dags") / "clinic"))
    return {dag_id: dag for stage in STAGES for dag_id, dag in stage.build(folder).items()}


def test_one_dag_each_and_one_monitor_per_model(dags: dict[str, Any]) -> None:
    assert sorted(dags) == [
        "elastic_health",
        "elastic_housekeeping",
        "elastic_remove",
        "elastic_rotate_credentials",
        "elastic_setup",
        "monitor_misuse",
        "monitor_stay",
    ]
    assert max(len(dag.tasks) for dag in dags.values()) == 3


def test_pages_tags_owners_parameters_retries_and_deadlines(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags.items():
        assert dag.doc_md.startswith(dag_id), dag_id
        assert "When it fails" in dag.doc_md, dag_id
        # The UI takes <model> for an HTML tag and shows nothing.
        assert "<model>" not in dag.doc_md.replace("`<model>@score`", ""), dag_id
        assert {"elastic-ml", "clinic"} <= set(dag.tags), dag_id
        assert dag.max_active_runs == 1
        assert dag.deadline, dag_id
        assert dag.params.validate() is not None
        for task in dag.tasks:
            assert task.owner == ("data-platform" if "monitor" not in dag_id else task.owner)
            assert task.retries == (0 if dag_id == "elastic_remove" else 2)
            assert task.retry_policy is not None
    assert all("description" in param.serialize() or param.description for d in dags.values() for param in [
        d.params.get_param(name) for name in d.params
    ])  # fmt: skip


def test_what_deletes_does_nothing_unless_told_to(dags: dict[str, Any]) -> None:
    assert dags["elastic_setup"].params["mode"] == "plan"
    for dag_id in ("elastic_housekeeping", "elastic_remove", "elastic_rotate_credentials"):
        assert dags[dag_id].params["apply"] is False, dag_id
    assert dags["elastic_remove"].params["data"] is False
    assert dags["elastic_remove"].schedule is None


def test_the_drift_that_a_monitor_emits_is_what_starts_the_training(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(CLINIC, tmp_path / "clinic"))
    monitoring, training = monitor.build(folder)["monitor_misuse"], train.build(folder)["train_misuse"]
    (drift,) = monitoring.get_task("drift").outlets
    assert [task.task_id for task in monitoring.tasks if task.outlets] == ["drift"]
    # A run with a partition key would emit keyed events, which plain consumers never see.
    assert isinstance(monitoring.timetable, CronTriggerTimetable)
    assert isinstance(training.timetable, AssetOrTimeSchedule)
    assert drift.uri in str(training.timetable.asset_condition)


def test_dags_survive_serialisation(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert [task.task_id for task in again.tasks] == [task.task_id for task in dag.tasks]


def test_a_task_process_builds_only_its_dag(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "monitor_stay")
    assert [dag_id for stage in STAGES for dag_id in stage.build(CLINIC)] == ["monitor_stay"]


# end to end


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every DAG, each twice, by what was run; and what the operations streams held after each."""
    home = tmp_path_factory.mktemp("operations")
    seen: dict[str, Any] = {}
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("clinic")) as opened:
        clinic = Operations(opened)
        _in_production(clinic, opened)
        shutil.copytree(opened.folder, home / "include")
        connections = {"elasticsearch_default": {"conn_type": "elastic", "host": sandbox.elasticsearch_url}}
        steps: list[tuple[str, str, dict[str, Any]]] = [
            ("looked", "elastic_health", {"at": AT}),
            ("measured", "monitor_misuse", {"day": DAY.isoformat()}),
            ("tidied", "elastic_housekeeping", {"apply": True}),
            ("rotated", "elastic_rotate_credentials", {"apply": True}),
            ("verified", "elastic_setup", {"mode": "verify"}),
        ]
        with DagRuns(home, [ROOT / "dags" / f"{name}.py" for name in FILES], connections) as airflow:
            for what, dag_id, conf in steps:
                for turn in ("", " again"):
                    seen[what + turn] = airflow.run(dag_id, conf)
                    seen[f"streams, {what}{turn}"] = snapshot(clinic)
            seen["listed"] = airflow.run("elastic_remove")
            seen["streams"] = sorted(s["name"] for s in clinic.client.indices.get_data_stream(name="*")["data_streams"])
            seen["log"] = airflow.log()
    return seen


def _in_production(clinic: Operations, opened: Clinic) -> None:
    clinic.promote(MODEL_ID)
    clinic.card()
    clinic.deployed(MODEL_ID, datetime(2026, 11, 1, tzinfo=UTC))
    # Two days on which everybody exports.
    for offset in (0, 1):
        clinic.day(DAY - timedelta(days=offset), change=lambda document: document["event"].update(action="export"))
    for source in ("access", "verdicts"):
        opened.ledger(source, DAY, "done")


RUNS = ("looked", "measured", "tidied", "rotated", "verified")


@pytest.mark.parametrize("what", RUNS)
def test_each_dag_runs_to_its_end(life: dict[str, Any], what: str) -> None:
    run = life[what]
    assert run.state == "success", life["log"][-3000:]
    assert set(run.states.values()) <= {"success", "skipped"}


@pytest.mark.parametrize("what", RUNS)
def test_a_second_run_changes_nothing(life: dict[str, Any], what: str) -> None:
    assert life[f"{what} again"].state == "success"
    assert life[f"streams, {what} again"] == life[f"streams, {what}"]


def test_the_runs_found_what_there_was(life: dict[str, Any]) -> None:
    assert life["looked"].values["look"]["models"]["misuse"]["predictions"] == 300
    measured = life["measured"].values["measure"]
    assert [f["feature"] for f in measured["findings"] if f["breached"]] == ["event.action"]
    # One drifted day is not two, so nothing was asked for.
    assert life["measured"].states["drift"] == "skipped"
    assert life["rotated"].values["rotate"]["counts"] == {"current transform": 1}
    listed = life["listed"].values["remove"]
    assert not listed["applied"]
    assert listed["counts"]["keep data stream"] == len(life["streams"]) == 8
