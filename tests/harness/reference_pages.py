"""The examples of docs/reference, run as they are printed: each task of each DAG, in order."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elastic_sandbox.testing import Sandbox
from harness.task_runner import ExecutionApi, TaskRunner

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
OWN_WORLD = {
    "anomaly-files": "provider/test_project_reference_pages.py",
    "anomaly-results": "anomaly_files/test_anomaly_reference_page.py",
    "ingest": "ingest/test_ingest_reference_page.py",
    "operations": "provider/test_project_reference_pages.py",
    "setup": "provider/test_project_reference_pages.py",
    "trained-models": "lifecycle/test_lifecycle_reference_page.py",
    "training": "lifecycle/test_training_reference_page.py",
    "transforms": "provider/test_project_reference_pages.py",
}
"""Pages whose examples need a project folder, and the test under `tests/elastic_ml` that has one to run them in."""


def examples(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    text = (REFERENCE / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def run_example(
    block: str,
    sandbox: Sandbox,
    *,
    file: Path = Path("dags/example.py"),
    conf: Mapping[str, Any] | None = None,
    partition_key: str | None = None,
    api: type[ExecutionApi] = ExecutionApi,
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the DAG of a block, task by task; returns what each task returned.

    :param file: what the block takes for its own path; a project folder is found from there.
    :param answer: what a person answers to a task that asks.
    """
    names = _parsed(block, file)
    dag = names["dag"]
    xcoms: dict[tuple[str, str], Any] = {}
    results: dict[str, Any] = {}
    tasks = dag.topological_sort()
    assert tasks
    for task in tasks:

        def example(task_id: str = task.task_id) -> Any:
            return _parsed(block, file)["dag"].get_task(task_id)

        runner = TaskRunner(
            example,
            connections={
                "elasticsearch_default": sandbox.elasticsearch_url,
                "kibana_default": {"conn_type": "kibana", "host": sandbox.kibana_url},
            },
            dag_id=dag.dag_id,
            conf=conf,
            partition_key=partition_key,
            triggering_user_name="ana",
        )
        runner.api = api(**vars(runner.api))
        runner.api.xcoms = xcoms
        result = runner.complete()
        if result.state == "awaiting_input" and answer:
            result = runner._leg(("execute_complete", {"event": dict(answer)}))
        assert result.state == "success", (task.task_id, result.error)
        results[task.task_id] = result.value
    return results


def _parsed(block: str, file: Path) -> dict[str, Any]:
    names: dict[str, Any] = {"__file__": str(file)}
    exec(compile(block, str(file), "exec"), names)
    return names
