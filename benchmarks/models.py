"""What a hundred model files cost Airflow: parsing, serialised DAGs, and each task with nothing left to do.

The project is the shipped one with its model `audit_fraud` under a hundred names. Parse and size come from the shipped
stage files as the dag-processor runs them; a task's cost is that of a process of its own, as an executor starts it.
"""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

MODELS = 100
_ROOT = Path(__file__).parents[1]
_PER_MODEL = ("train", "promote", "rollback", "monitor")
_LOOKS = 5
_RUNS_A_DAY = {
    # The shipped schedules: trained weekly, promoted as often, monitored daily, looked at together every five minutes.
    "train": MODELS / 7,
    "promote": MODELS / 7,
    "rollback": 0,
    "monitor": MODELS,
    "elastic_health": 24 * 12,
}
_TASK = """
import resource, runpy, sys, time
import airflow.sdk.execution_time.task_runner
began = time.process_time()
dag = runpy.run_path(sys.argv[1])[sys.argv[2]]
dag.get_task(sys.argv[3])
print(time.process_time() - began, time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run() -> None:
    """Print the table and what it comes to in a day."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        _project(home)
        rows = sum(_parse(home / "dags" / f"{stage}.py") for stage in (*_PER_MODEL, "elastic_health"))
        print(f"  task instances a day        {rows:8,.0f}")
        _task(home)
        _look(home)


def _project(home: Path) -> None:
    shutil.copytree(_ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(_ROOT / "include", home / "include", ignore=shutil.ignore_patterns("__pycache__"))
    models = home / "include" / "models"
    text = (models / "audit_fraud.yml").read_text()
    for path in models.glob("*.yml"):
        path.unlink()
    for number in range(MODELS):
        letters = f"{chr(97 + number // 26)}{chr(97 + number % 26)}"
        (models / f"model_{letters}.yml").write_text(text)


def _parse(file: Path) -> float:
    """Print what one stage file costs the dag-processor; return its task instances a day."""
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    times = []
    for _ in range(_LOOKS):
        began = time.process_time()
        dags = [value for value in runpy.run_path(str(file)).values() if isinstance(value, DAG)]
        times.append(time.process_time() - began)
    began = time.process_time()
    bodies = [json.dumps(DagSerialization.to_dict(dag)).encode() for dag in dags]
    serialising = time.process_time() - began
    size = sum(map(len, bodies))
    packed = sum(len(zlib.compress(body)) for body in bodies)
    tasks = sum(len(dag.tasks) for dag in dags)
    a_day = _RUNS_A_DAY[file.stem] * tasks / len(dags)
    print(
        f"  {file.stem:15} {len(dags):4} DAGs, {tasks:4} tasks: parsed in {1000 * min(times):6.0f} ms, serialised in "
        f"{1000 * serialising:5.0f} ms to {size / 1024:6,.0f} KB ({packed / 1024:5,.0f} KB packed); "
        f"{a_day:6,.0f} task instances a day",
        flush=True,
    )
    return a_day


def _task(home: Path) -> None:
    """What a task's process costs before it does anything: Airflow's SDK, then the one DAG of its own."""
    import os

    environment = {**os.environ, "_AIRFLOW_PARSING_CONTEXT_DAG_ID": "monitor_model_aa"}
    found = []
    for _ in range(_LOOKS):
        arguments = [str(home / "dags" / "monitor.py"), "monitor_model_aa", "measure"]
        answer = subprocess.run(
            [sys.executable, "-c", _TASK, *arguments], capture_output=True, text=True, check=True, env=environment
        )
        found.append([float(figure) for figure in answer.stdout.split()])
    parse, cpu, memory = (min(column) for column in zip(*found, strict=True))
    print(
        f"  a task's process            {cpu:6.2f} s of one core, {1000 * parse:.0f} ms of them for its own DAG among "
        f"{MODELS} models; {memory:.0f} MB"
    )


def _look(home: Path) -> None:
    """One look of `elastic_health` and one day of `monitor_<model>`, on a sandbox with that many models served."""
    from harness.task_runner import TaskRunner

    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup
    from elastic_ml.stages import elastic_health
    from elastic_sandbox.testing import serve

    folder = home / "include"
    project = load_project(folder)
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply")
        # Of a cluster: PUT _cluster/settings. The default is 50, for all pipelines together.
        sandbox.backend.ml.max_inference_processors = 2 * MODELS
        for name in project.models():
            _serve_model(client, project, name)
        times, asked = [], 0
        for number in range(_LOOKS):
            sandbox.requests.clear()
            runner = TaskRunner(
                lambda: elastic_health.build(folder)["elastic_health"].get_task("look"),
                connections={"elasticsearch_default": sandbox.elasticsearch_url},
                dag_id="elastic_health",
                run_id=f"look__{number}",
            )
            began = time.perf_counter(), time.process_time()
            result: Any = _quietly(runner)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            if result.state != "success":
                raise RuntimeError(f"elastic_health is {result.state}: {result.error}")
            asked = len(sandbox.requests)
    wall, cpu = min(times)
    print(f"  one look at {MODELS} models      {wall:6.2f} s ({cpu:.2f} s of one core, the sandbox's own among them)")
    print(f"  requests of a look          {asked:6}   one task for all models")


def _quietly(runner: Any) -> Any:
    """Tasks log to standard output."""
    import contextlib
    import logging
    import os

    logging.disable(logging.WARNING)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            return runner.run()
    finally:
        logging.disable(logging.NOTSET)


def _serve_model(client: Any, project: Any, name: str) -> None:
    """Put a small model into production by the package's own pipeline."""
    from clinic.operations import TREE

    from elastic_ml.registry.champion_switch import score_pipeline

    model_id = f"{name}-20260101-0000aaaa-1"
    client.ml.put_trained_model(
        model_id=model_id,
        input={"field_names": ["audit.records"]},
        inference_config={"classification": {"num_top_classes": -1}},
        definition={"trained_model": {"tree": TREE}},
    )
    alias, kept = project.names.champion(name), {model_id: {"false": 1.0, "true": 1.0}}
    client.ml.put_trained_model_alias(model_id=model_id, model_alias=alias)
    body = score_pipeline(project, project.model(name), reference=alias, kept=kept)
    client.ingest.put_pipeline(id=project.names.score_pipeline(name), body=project.stamp(body))
