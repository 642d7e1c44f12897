"""The DAGs that the train and promote stages build: shape, cost, and who starts whom."""

import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import AssetOrTimeSchedule, PartitionedAssetTimetable
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from clinic.world import CLINIC

from elastic_ml.stages import promote, train
from elastic_ml.stages.approval import PromotionApprovalOperator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CLINIC, tmp_path / "clinic"))


def edges(dag: Any) -> list[tuple[str, str]]:
    return sorted((task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids)


def test_one_dag_per_model_and_at_most_six_tasks_each(folder: Path) -> None:
    dags = {**train.build(folder), **promote.build(folder)}
    assert sorted(dags) == ["promote_misuse", "promote_stay", "train_misuse", "train_stay"]
    assert edges(dags["train_misuse"]) == [
        ("evaluate", "candidate"),
        ("readiness", "training_set"),
        ("train", "evaluate"),
        ("training_set", "train"),
        ("wait_for_data", "readiness"),
    ]
    assert edges(dags["promote_misuse"]) == [("approve", "switch"), ("gate", "approve"), ("switch", "record")]


def test_an_outlier_model_is_trained_and_published_and_never_promoted(folder: Path) -> None:
    (folder / "models" / "odd_users.yml").write_text(
        "owner: privacy\nsource: {index: [features-clinic]}\nfeatures: [a]\nanalysis: {outlier_detection: {}}\n"
        "windows: {train: 7d}\n"
    )
    dag = train.build(folder)["train_odd_users"]
    assert edges(dag) == [
        ("readiness", "training_set"),
        ("train", "publish"),
        ("training_set", "train"),
        ("wait_for_data", "readiness"),
    ]
    assert set(dag.params) == {"day", "train_window", "requested_by"}
    assert "promote_odd_users" not in promote.build(folder)


def test_a_broken_model_file_takes_no_other_dag_with_it(folder: Path) -> None:
    (folder / "models" / "broken.yml").write_text("owner: [")
    assert sorted(train.build(folder)) == ["train_misuse", "train_stay"]


def test_a_task_process_reads_only_the_file_of_its_dag(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "train_misuse")
    (folder / "models" / "stay.yml").write_text("owner: [")
    assert list(train.build(folder)) == ["train_misuse"]
    assert promote.build(folder) == {}


def test_the_candidate_that_training_emits_is_what_starts_the_promotion(folder: Path) -> None:
    training, promotion = train.build(folder)["train_misuse"], promote.build(folder)["promote_misuse"]
    (candidate,) = training.get_task("candidate").outlets
    assert isinstance(promotion.timetable, PartitionedAssetTimetable)
    assert promotion.timetable.asset_condition == candidate
    assert candidate.uri == "elasticsearch://elasticsearch_default/clinicml_misuse_candidate"
    assert [task.task_id for task in training.tasks if task.outlets] == ["candidate"]


def test_training_starts_on_its_schedule_or_on_drift(folder: Path) -> None:
    dags = train.build(folder)
    assert isinstance(dags["train_misuse"].timetable, AssetOrTimeSchedule)
    assert "clinicml_misuse_drift" in str(dags["train_misuse"].timetable.asset_condition)
    assert "clinicml_stay_drift" in str(dags["train_stay"].timetable.asset_condition)


def test_pages_tags_owners_and_parameters(folder: Path) -> None:
    for dag in [*train.build(folder).values(), *promote.build(folder).values()]:
        assert "When it fails" in dag.doc_md
        # The UI takes <model> for an HTML tag and shows nothing.
        assert "<model>" not in dag.doc_md
        assert dag.doc_md.startswith(dag.dag_id)
        assert {"elastic-ml", "clinic"} <= set(dag.tags)
        assert dag.max_active_runs == 1
        assert {task.owner for task in dag.tasks} == {"privacy" if "misuse" in dag.dag_id else "planning"}
        assert dag.params.validate() is not None
    params = train.build(folder)["train_misuse"].params
    assert set(params) == {"day", "label_delay", "train_window", "holdout_window", "requested_by"}
    with pytest.raises(ParamValidationError, match="'nine days' does not match"):
        params["train_window"] = "nine days"


def test_automatic_approval_needs_airflows_own_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def approve() -> Any:
        return promote.build(folder)["promote_stay"].get_task("approve")

    assert isinstance(approve(), PromotionApprovalOperator), "the YAML alone leaves a person in charge"
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__ALLOW_AUTO_APPROVAL", "True")
    assert isinstance(approve(), EmptyOperator)
    assert promote.build(folder)["promote_stay"].get_task("switch").approval == "auto"
    person = promote.build(folder)["promote_misuse"].get_task("approve")
    assert isinstance(person, PromotionApprovalOperator)
    assert [user["id"] for user in person.assigned_users] == ["ana"]
    assert person.defaults == ["Reject"]


def test_a_model_file_without_approval_still_asks_a_person_and_not_for_ever(folder: Path) -> None:
    path = folder / "models" / "misuse.yml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("approval:")))
    person = promote.build(folder)["promote_misuse"].get_task("approve")
    assert isinstance(person, PromotionApprovalOperator)
    assert person.response_timeout == timedelta(hours=24)


def test_dags_survive_serialisation(folder: Path) -> None:
    for dag in [*train.build(folder).values(), *promote.build(folder).values()]:
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert [task.task_id for task in again.tasks] == [task.task_id for task in dag.tasks]


def test_building_is_quick_once_warm(folder: Path) -> None:
    fastest = {}
    for stage in (train, promote):
        times = []
        for _ in range(5):
            began = time.process_time()
            stage.build(folder)
            times.append(time.process_time() - began)
        fastest[stage.__name__] = min(times)
    assert all(seconds < 0.020 for seconds in fastest.values()), fastest
