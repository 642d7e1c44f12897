"""docs/dags.md, written from the DAGs."""

from pathlib import Path

import pytest
from airflow.sdk import DAG

from elastic_ml.stages import pages

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def built() -> dict[str, list[DAG]]:
    return pages.built(ROOT / "dags")


def test_the_page_is_current(built: dict[str, list[DAG]]) -> None:
    said = (ROOT / "docs" / "dags.md").read_text(encoding="utf-8")
    assert said == pages.markdown(built), "run: python -m elastic_ml.stages.pages dags docs/dags.md"


def test_every_dag_has_a_heading_a_drawing_its_params_and_what_to_do_when_it_fails(built: dict[str, list[DAG]]) -> None:
    page = pages.markdown(built)
    sections = page.split("\n## ")[1:]
    for dag in (dag for dags in built.values() for dag in dags):
        (section,) = [one for one in sections if f"`{dag.dag_id}`" in one.splitlines()[0]]
        assert "When it fails" in section, dag.dag_id
        assert "```mermaid" in section
        assert all(f'"{task.task_id}<br/>' in section for task in dag.tasks), dag.dag_id
        assert all(f"| `{name}` |" in section for name in dag.params), dag.dag_id


def test_a_drawing_has_every_arrow_and_every_asset(built: dict[str, list[DAG]]) -> None:
    monitor = next(dag for dags in built.values() for dag in dags if dag.dag_id.startswith("monitor_"))
    drawing = "\n".join(pages.graph(monitor))
    assert "wait_for_data --> measure" in drawing
    assert "measure --> drift" in drawing
    assert "drift -. asset .-> " in drawing
    assert 'wait_for_data[/"wait_for_data' in drawing
