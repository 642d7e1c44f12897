"""docs/operating.md answers, one line and one action each, what people ask at night."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "operating.md").read_text(encoding="utf-8")
SITUATIONS = (
    "the new model floods us",
    "first promotion, and nothing to roll back to",
    "bulk answers 429 for ever",
    "a key expired",
    "dead letters grow",
    "a lock is held by a dead worker",
    "the approver slept",
    "the cluster is upgrading",
    "Elasticsearch was restored from a backup",
    "Airflow's database was restored from a backup",
    "a backfill hurts search",
)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_situation_has_one_line_with_what_it_means_and_what_to_do(situation: str) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| **{situation}**")]
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(cells) == 3
    assert all(len(cell) > 3 for cell in cells)


def test_the_operations_dags_that_it_sends_people_to_are_there() -> None:
    named = set(re.findall(r"`(elastic_[a-z_]+)`", PAGE))
    stages = Path(__file__).parents[3] / "plugins" / "elastic_ml" / "stages"
    built = {
        name for path in stages.glob("*.py") for name in re.findall(r'single_dag\(folder, "(\w+)"', path.read_text())
    }
    assert named
    assert named <= built
