"""Trains the demo's model for ten seeds through the product's own tasks and shows whether each passes its gate."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

SEEDS = range(11, 21)
LAST = date(2026, 11, 16)
_CONFIGURATION = {"day": LAST.isoformat(), "label_delay": "2d", "train_window": "9d", "holdout_window": "3d"}
_TASKS = ("wait_for_data", "readiness", "training_set", "train", "evaluate")


def run() -> None:
    """Print AUC and average precision per seed beside the gate."""
    os.environ |= {"AIRFLOW__ELASTIC_ML__POLL_INTERVAL": "0.2", "AIRFLOW__ELASTIC_ML__DEFER_AFTER": "60"}
    logging.disable(logging.WARNING)
    passed = 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as directory:
            folder = _project(Path(directory) / "include", seed)
            # The tasks' own logs go to standard output.
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                figures, gate = _train(folder)
        good = all(figures[name] >= limit for name, limit in gate.items())
        passed += good
        print(
            f"  seed {seed}: AUC {figures['auc_roc']:.3f}, average precision {figures['average_precision']:.3f}"
            f"   {'passes' if good else 'FAILS'} {gate}",
            flush=True,
        )
    print(f"  {passed} of {len(SEEDS)} seeds pass")


def _project(folder: Path, seed: int) -> Path:
    """Copy the use case with another seed in its sources."""
    shutil.copytree(Path(__file__).parents[1] / "include", folder)
    for path in (folder / "sources").glob("*.yml"):
        source = yaml.safe_load(path.read_text())
        source["reader"]["options"]["seed"] = seed
        path.write_text(yaml.safe_dump(source))
    return folder


def _train(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    from clinic.world import ClinicApi
    from harness.task_runner import TaskRunner

    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup
    from elastic_ml.stages import audit_ingest, train
    from elastic_sandbox.testing import serve

    project = load_project(folder)
    xcoms: dict[tuple[str, str], Any] = {}
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply")

        def task(stage: Any, dag_id: str, task_id: str, configuration: dict[str, str]) -> None:
            runner = TaskRunner(
                lambda: stage.build(folder)[dag_id].get_task(task_id),
                connections={"elasticsearch_default": sandbox.elasticsearch_url},
                xcoms=xcoms,
                dag_id=dag_id,
                conf=configuration,
            )
            runner.api = ClinicApi(**vars(runner.api))
            result = runner.complete()
            if result.state != "success":
                raise RuntimeError(f"{dag_id}.{task_id} is {result.state}: {result.error}")
            xcoms.update({(task_id, key): value for key, value in result.xcoms.items()})

        for back in range(14, 0, -1):
            task(audit_ingest, "audit_ingest", "ingest", {"day": (LAST - timedelta(days=back)).isoformat()})
        for task_id in _TASKS:
            task(train, "train_audit_fraud", task_id, _CONFIGURATION)
        model_id = xcoms["evaluate", "return_value"]["model_id"]
        card = client.get(index=project.names.model_cards, id=model_id)["_source"]
    gate = project.model("audit_fraud").gate
    return card["figures"], gate.limits() if gate else {}
