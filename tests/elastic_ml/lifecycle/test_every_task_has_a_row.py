"""The matrix of `make chaos` (tests/chaos/test_chaos_matrix.py) has a row for every task of every DAG that ships."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.dag_runs import ROOT
from matrix.picture import differences, timeless, without
from matrix.story import STORY
from matrix.world import STARTED, write_project

from elastic_ml.stages.pages import built

Task = tuple[str, str, str]


def tasks(files: dict[str, list[Any]]) -> dict[Task, str]:
    """(stage file, task id, operator) → the DAG, of every task."""
    return {
        (file, task.task_id, type(task).__name__): dag.dag_id
        for file, dags in files.items()
        for dag in dags
        for task in dag.tasks
    }


def test_every_task_that_ships_is_in_the_matrix_and_every_row_is_a_task(tmp_path: Path) -> None:
    home = tmp_path / "world"
    home.mkdir()
    write_project(home)
    there = built(home / "dags")
    by_name = {
        (dag.dag_id, task.task_id): (file, task) for file, dags in there.items() for dag in dags for task in dag.tasks
    }
    rows = {(step.dag, step.task) for step in STORY}
    assert rows - by_name.keys() == set(), "a row without its task"
    covered = {(by_name[row][0], row[1], type(by_name[row][1]).__name__) for row in rows}
    shipped = tasks(built(ROOT / "dags"))
    missing = {task: dag for task, dag in shipped.items() if task not in covered}
    assert missing == {}, "write a step for each of these into tests/matrix/story.py"


def test_two_pictures_differ_by_what_came_about_and_not_by_when() -> None:
    later = STARTED + timedelta(minutes=3)
    one = {
        "document/ledger/a": {"state": "done", "at": STARTED.isoformat(), "attempts": [1]},
        f"job/x-{int(STARTED.timestamp() * 1000)}": {"made": int(STARTED.timestamp() * 1000)},
    }
    other = {
        "document/ledger/a": {"state": "done", "at": later.isoformat(), "attempts": [1, 2]},
        f"job/x-{int(later.timestamp() * 1000)}": {"made": int(later.timestamp() * 1000)},
    }

    def seen(shown: dict[str, Any]) -> dict[str, Any]:
        return timeless(without(shown, "^document/ledger/#attempts"), STARTED)

    assert differences(seen(one), seen(other)) == []
    other["document/ledger/a"]["state"] = "running"
    other["document/ledger/b"] = {}
    assert differences(seen(one), seen(other)) == [
        'document/ledger/a: state "done" -> "running"',
        "document/ledger/b is new: {}",
    ]
    before_that = (STARTED - timedelta(days=1)).isoformat()
    assert differences(timeless({"a": before_that}, STARTED), timeless({"a": "then"}, STARTED)) != []
