"""`airflow dags test` without Airflow's database: the DAG files of a page's own folder."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from clinic.world import ClinicApi
from harness.task_runner import TaskRunner

from elastic_sandbox.testing import Sandbox

PER_FILE = {"train", "promote", "rollback", "monitor", "anomalies"}
"""Stages whose file makes a DAG per model or job: `train.py` makes train_<model>."""


def run(folder: Path, dag_id: str, sandbox: Sandbox, conf: dict[str, Any]) -> list[str]:
    """Run the tasks of a DAG in order; returns the lines of their logs.

    :raises AssertionError: a task failed; its error.
    """
    xcoms: dict[tuple[str, str], Any] = {}
    said = StringIO()
    with redirect_stdout(said):
        for task in _dag(folder, dag_id).topological_sort():

            def make(task_id: str = task.task_id) -> Any:
                return _dag(folder, dag_id).get_task(task_id)

            runner = TaskRunner(
                make,
                connections={"elasticsearch_default": sandbox.elasticsearch_url},
                dag_id=dag_id,
                conf=conf,
                triggering_user_name="ana",
            )
            runner.api = ClinicApi(**vars(runner.api))
            runner.api.xcoms = xcoms
            result = runner.complete()
            assert result.state in {"success", "skipped"}, f"{dag_id}, {task.task_id}: {result.error}"
    return said.getvalue().splitlines()


def _dag(folder: Path, dag_id: str) -> DAG:
    stage = dag_id.partition("_")[0]
    file = folder / "dags" / f"{stage if stage in PER_FILE else dag_id}.py"
    names: dict[str, Any] = {"__file__": str(file)}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), names)
    dag: DAG = names[dag_id]
    return dag
