"""The DAGs audit_ingest and audit_ingest_hourly."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from airflow.sdk import CronPartitionTimetable

from elastic_ml.stages import audit_ingest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sources").mkdir()
    (tmp_path / "project.yml").write_text(
        yaml.safe_dump(
            {
                "name": "acme",
                "namespace": "test",
                "dag_id_prefix": "x_",
                "streams": [{"dataset": "acme.audit"}],
                "lifecycle": {"audit": {"delete_after": "400d"}},
            }
        )
    )
    return tmp_path


def write_source(folder: Path, name: str, **changes) -> None:
    body = {
        "stream": "logs-acme.audit-test",
        "start_date": datetime(2024, 1, 1, tzinfo=UTC).date(),
        "reader": {"kind": "files", "path": "/x/{day}"},
        "adapter": "oracle",
        **changes,
    }
    (folder / "sources" / f"{name}.yml").write_text(yaml.safe_dump(body))


def test_daily_sources_make_one_dag_with_one_task_that_owns_the_outlets(folder):
    write_source(folder, "one")
    write_source(folder, "two")
    (dag,) = audit_ingest.build(folder).values()
    assert dag.dag_id == "x_audit_ingest"
    assert isinstance(dag.timetable, CronPartitionTimetable)
    assert (dag.catchup, dag.max_active_runs) == (False, 8)
    (task,) = dag.tasks
    assert [asset.uri for asset in task.outlets] == ["elasticsearch://elasticsearch_default/logs-acme.audit-test"]
    assert task.partition == "{{ partition_key or params.day }}"
    assert task.project_folder == str(folder)
    assert "read = indexed + duplicate + rejected" in dag.doc_md
    assert {"elastic-ml", "acme", "ingest"} <= set(dag.tags)


def test_hourly_sources_make_a_second_dag(folder):
    write_source(folder, "one")
    write_source(folder, "two", partition="hour", reader={"kind": "files", "path": "/x/{day}/{hour}"})
    assert sorted(audit_ingest.build(folder)) == ["x_audit_ingest", "x_audit_ingest_hourly"]


def test_an_invalid_source_file_does_not_take_the_dag_away(folder):
    write_source(folder, "one")
    (folder / "sources" / "bad.yml").write_text("nonsense: 1\n")
    assert list(audit_ingest.build(folder)) == ["x_audit_ingest"]


def test_the_first_run_can_be_held_back_by_configuration(folder, monkeypatch):
    write_source(folder, "one")
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__START_DATE", "2031-05-01")
    (dag,) = audit_ingest.build(folder).values()
    assert dag.start_date == datetime(2031, 5, 1, tzinfo=UTC)
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__START_DATE", "soon")
    with pytest.raises(ValueError, match=r"\[elastic_ml\] start_date is 'soon'"):
        audit_ingest.build(folder)
