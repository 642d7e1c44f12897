"""The examples of docs/reference, run as they are printed: each task of each DAG, in order, against the sandbox."""

import re
from pathlib import Path
from typing import Any

import pytest
from harness.task_runner import TaskRunner

DOCS = Path(__file__).parents[3] / "docs" / "reference"
PAGES = sorted(path for path in DOCS.glob("*.md") if "```python" in path.read_text(encoding="utf-8"))


@pytest.fixture
def world(sandbox, elasticsearch, monkeypatch):
    """What the pages read."""
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__POLL_INTERVAL", "0.1")
    visits = {"user": {"type": "keyword"}, "@timestamp": {"type": "date"}}
    elasticsearch.indices.create(index="visits", mappings={"properties": visits})
    fields = {"amount": {"type": "double"}, "items": {"type": "double"}, "fraud": {"type": "keyword"}}
    elasticsearch.indices.create(index="refunds", mappings={"properties": fields})
    lines: list[Any] = [{"index": {"_index": "people"}}, {"user": "ana", "team": "risk"}]
    for n in range(100):
        visit = {"user": "ana" if n % 3 else "ben", "@timestamp": f"2026-11-01T10:{n % 60:02}:00Z"}
        refund = {"amount": n % 10, "items": n % 4, "fraud": str(n % 10 > 6).lower()}
        lines += [{"index": {"_index": "visits"}}, visit, {"index": {"_index": "refunds"}}, refund]
    elasticsearch.bulk(operations=lines, refresh=True)
    return sandbox


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_example_runs(page: Path, world):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        names: dict[str, Any] = {}
        exec(compile(block, page.name, "exec"), names)
        tasks = names["dag"].topological_sort()
        assert tasks
        for task in tasks:

            def example(task_id: str = task.task_id, block: str = block) -> Any:
                again: dict[str, Any] = {}
                exec(compile(block, page.name, "exec"), again)
                return again["dag"].get_task(task_id)

            runner = TaskRunner(
                example,
                connections={
                    "elasticsearch_default": world.elasticsearch_url,
                    "kibana_default": {"conn_type": "kibana", "host": world.kibana_url},
                },
                dag_id=names["dag"].dag_id,
            )
            result = runner.complete()
            assert result.state == "success", (task.task_id, result.error)


def test_every_page_of_a_family_has_an_example():
    without = {path.name for path in DOCS.glob("*.md")} - {path.name for path in PAGES}
    assert without == {"README.md", "client-methods.md"}


def test_every_page_is_listed():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (DOCS / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in DOCS.glob("*.md")} - {"README.md"}
