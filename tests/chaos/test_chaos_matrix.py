"""Every task of every DAG: run twice it changes nothing, and killed after any write its next try finishes the job.

One row per task. An undisturbed run is compared with itself run again, object by object and document by document, and
with each run whose worker died right after one of its writes was answered. `CHAOS_TASKS=promote_misuse,rollback` walks
only the steps whose names contain one of these, and lets the others just happen.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matrix.story import STORY
from matrix.walk import walk

CHOSEN = [name for name in os.environ.get("CHAOS_TASKS", "").split(",") if name]


@pytest.mark.timeout(7200)
def test_each_task_run_twice_changes_nothing_and_killed_anywhere_is_finished(
    tmp_path: Path, show: Callable[..., None]
) -> None:
    rows = list(walk(tmp_path, STORY, kill=lambda step: not CHOSEN or any(name in step.name for name in CHOSEN)))
    table: dict[str, dict[str, Any]] = {row.step.name: row.cells() for row in rows}
    writes = sum(len(row.crashes) for row in rows)
    show(f"{len(rows)} tasks, {writes} times killed after a write", table)
    assert [line for row in rows for line in row.problems] == []
