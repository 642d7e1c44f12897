"""Whole DAG runs by `dag.test()`, in a child process with an Airflow database of its own.

    with DagRuns(tmp_path, dag_files=["dags/anomalies.py"], connections={...}) as airflow:
        run = airflow.run("anomalies_logins", {"day": "2026-06-01"})
        assert run.states == {"wait_for_data": "success", ...}

The database and Airflow's imports cost five seconds once; a run costs a tenth of a second and what its tasks do. Called
as a module it is that child: it reads one run per line from stdin and answers one line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class DagRun:
    """What a run came to: its state, that of each task, and what each task returned."""

    state: str
    states: dict[str, str]
    values: dict[str, Any]


class DagRuns:
    """An Airflow in which the DAGs of some files are run one after the other.

    :param home: folder for the database and the log.
    :param dag_files: stage files; each is copied, its project folder being `<home>/include`.
    :param connections: connection id → URL or fields, as environment variables have them.
    """

    module = "harness.dag_runs"
    """What the child process runs."""

    def __init__(
        self, home: Path, dag_files: Iterable[Path], connections: Mapping[str, Mapping[str, Any]], **settings: str
    ) -> None:
        dags = home / "dags"
        dags.mkdir(parents=True)
        for file in dag_files:
            (dags / file.name).write_text(file.read_text())
        configuration = {
            "CORE__DAGS_FOLDER": str(dags),
            "CORE__LOAD_EXAMPLES": "False",
            "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "ELASTIC_ML__POLL_INTERVAL": "0.1",
            "ELASTIC_ML__DEFER_AFTER": "20",
            **settings,
        }
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
        environment |= {f"AIRFLOW__{key}": value for key, value in configuration.items()}
        environment |= {f"AIRFLOW_CONN_{name.upper()}": json.dumps(one) for name, one in connections.items()}
        environment |= {"AIRFLOW_HOME": str(home), "PYTHONPATH": str(ROOT / "tests")}
        self._log = (home / "runs.log").open("w")
        self._child = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment,
        )  # fmt: skip

    def run(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> DagRun:
        """Run a DAG to its end; a failed run is a result, too."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"dag_id": dag_id, "conf": dict(conf or {})}) + "\n")
        self._child.stdin.flush()
        answer = self._child.stdout.readline()
        assert answer, f"Airflow died:\n{self.log()[-4000:]}"
        return DagRun(**json.loads(answer))

    def log(self) -> str:
        """What Airflow and the tasks have said so far."""
        self._log.flush()
        return Path(self._log.name).read_text()

    def __enter__(self) -> DagRuns:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        self._child.wait(timeout=30)
        self._log.close()


def main() -> None:
    """Answer runs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever tasks print belongs into the log
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    for line in sys.stdin:
        asked = json.loads(line)
        # Anew for each run: dag.test() leaves a run's conf in the DAG's own params.
        bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
        if bag.import_errors:
            raise SystemExit(str(bag.import_errors))
        answers.write(json.dumps(_run(bag.dags[asked["dag_id"]], asked["conf"]), default=str) + "\n")
        answers.flush()


def _run(dag: Any, conf: dict[str, Any]) -> dict[str, Any]:
    from airflow.models.xcom import XComModel  # noqa: TID251 - this process is the metadata database's side
    from airflow.utils.session import create_session

    # `dag.test()` of 3.3.2 takes the alert itself for the id of one in the database, and fails.
    dag.deadline = None
    run = dag.test(run_conf=conf)
    with create_session() as session:
        states = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
        values = {}
        for task_id in states:
            found = session.scalar(
                XComModel.get_many(run_id=run.run_id, dag_ids=dag.dag_id, task_ids=task_id, key="return_value")
            )
            values[task_id] = None if found is None else XComModel.deserialize_value(found)
    return {"state": str(run.state), "states": states, "values": values}


if __name__ == "__main__":
    main()
