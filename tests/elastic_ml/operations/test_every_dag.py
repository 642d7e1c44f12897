"""What holds for each DAG that ships: its page, params, tags, owner, deadline, retries and few tasks."""

from pathlib import Path

import pytest
from airflow.sdk import DAG

from elastic_ml.stages.pages import built

ROOT = Path(__file__).parents[3]
MOST_TASKS = {"train": 6, "promote": 6, "anomalies": 4}


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    return {dag.dag_id: dag for dags in built(ROOT / "dags").values() for dag in dags}


def test_a_page_says_what_it_is_for_and_what_to_do_when_it_fails(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        assert dag.doc_md is not None
        assert dag.description == dag.doc_md.partition("\n")[0][:240], name
        assert "**When it fails:**" in dag.doc_md, name
        assert all(f"`{param}`" in dag.doc_md for param in dag.params), name


def test_params_have_a_schema_and_a_description(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        for param in dag.params:
            one = dag.params.get_param(param)
            assert one.schema.get("type") or one.schema.get("enum"), (name, param)
            assert one.description, (name, param)


def test_each_is_tagged_and_owned_and_alerts_when_it_is_late(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        assert {"elastic-ml", "lendpath"} < set(dag.tags), name
        assert dag.deadline, name
        for task in dag.tasks:
            assert task.owner != "airflow", (name, task.task_id)
            assert task.retry_policy is not None, (name, task.task_id)
            assert task.retries == (0 if name == "elastic_remove" else 10 if task.task_id == "approve" else 2)


def test_there_are_few_tasks(dags: dict[str, DAG]) -> None:
    for name, dag in dags.items():
        assert len(dag.tasks) <= MOST_TASKS.get(name.partition("_")[0], 3), name
