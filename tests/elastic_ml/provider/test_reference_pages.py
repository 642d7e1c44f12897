"""The examples of docs/reference, run as they are printed: each task of each DAG, in order, against the sandbox."""

import re
from pathlib import Path
from typing import Any

import pytest
from harness.provider_classes import concrete
from harness.reference_pages import OWN_WORLD, REFERENCE, examples, run_example

import elastic_ml

WITH_EXAMPLES = sorted(path.stem for path in REFERENCE.glob("*.md") if examples(path.stem))
ROOMS = Path(__file__).parents[1]


@pytest.fixture
def world(sandbox, elasticsearch, monkeypatch):
    """What the pages read."""
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__POLL_INTERVAL", "0.1")
    visits = {"user": {"type": "keyword"}, "@timestamp": {"type": "date"}}
    elasticsearch.indices.create(index="visits", mappings={"properties": visits})
    elasticsearch.indices.create(index="sign-ins", mappings={"properties": visits})
    fields = {"amount": {"type": "double"}, "items": {"type": "double"}, "fraud": {"type": "keyword"}}
    elasticsearch.indices.create(index="refunds", mappings={"properties": fields})
    lines: list[Any] = [{"index": {"_index": "people"}}, {"user": "ana", "team": "risk"}]
    for n in range(100):
        visit = {"user": "ana" if n % 3 else "ben", "@timestamp": f"2026-11-01T10:{n % 60:02}:00Z"}
        refund = {"amount": n % 10, "items": n % 4, "fraud": str(n % 10 > 6).lower()}
        lines += [{"index": {"_index": "visits"}}, visit, {"index": {"_index": "refunds"}}, refund]
    for hour in range(48):
        sign_in = {"user": f"u{hour % 3}", "@timestamp": f"2026-06-{1 + hour // 24:02}T{hour % 24:02}:30:00Z"}
        lines += [{"index": {"_index": "sign-ins"}}, sign_in]
    elasticsearch.bulk(operations=lines, refresh=True)
    return sandbox


@pytest.mark.parametrize("page", [page for page in WITH_EXAMPLES if page not in OWN_WORLD])
def test_an_example_runs(page: str, world):
    for block in examples(page):
        run_example(block, world, partition_key="2026-06-01" if "partition_key" in block else None)


@pytest.mark.parametrize("page", OWN_WORLD)
def test_an_example_that_needs_a_project_runs_in_its_room(page: str):
    assert f'examples("{page}")' in (ROOMS / OWN_WORLD[page]).read_text(encoding="utf-8")


def test_every_page_of_a_family_has_an_example():
    without = {path.name for path in REFERENCE.glob("*.md")} - {f"{page}.md" for page in WITH_EXAMPLES}
    assert without == {"README.md", "client-methods.md", "privileges.md"}


def test_every_page_is_listed():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (REFERENCE / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in REFERENCE.glob("*.md")} - {"README.md"}


def test_every_module_of_operators_and_sensors_has_an_example_that_runs():
    """A family is a module: one of its classes at least stands in a block that the tests run."""
    blocks = "\n".join(block for page in WITH_EXAMPLES for block in examples(page))
    families: dict[str, list[str]] = {}
    for name, cls in concrete().items():
        families.setdefault(cls.__module__, []).append(name)
    assert len(families) > 30
    shown = {module for module, names in families.items() if any(re.search(rf"\b{name}\b", blocks) for name in names)}
    assert set(families) - shown == set(), "write an example on the page of the family"


def test_every_operator_sensor_and_notifier_is_on_a_page():
    """By its name, on a page of its family or beside the DAG that it belongs to; bases are on the README."""
    package = Path(elastic_ml.__path__[0])
    written = "\n".join(
        path.read_text(encoding="utf-8") for room in ("operators", "sensors", "notifications", "stages")
        for path in (package / room).glob("*.py")
    )  # fmt: skip
    classes = re.findall(r"^class (\w+(?:Operator|Sensor|Notifier))\b", written, re.MULTILINE)
    bases = set(re.findall(r"^class \w+\((\w+)\):", written, re.MULTILINE))
    pages = [*REFERENCE.glob("*.md"), REFERENCE.parent / "dags.md"]
    said = "\n".join(path.read_text(encoding="utf-8") for path in pages if path.name != "client-methods.md")
    assert len(classes) > 40
    assert [name for name in classes if name not in bases and not re.search(rf"\b{name}\b", said)] == []
