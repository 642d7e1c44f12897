"""The DAG files as Airflow's DAG processor reads them: in an interpreter of their own, again and again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted(path.name for path in (ROOT / "dags").glob("*.py"))
HEAVY = ("elasticsearch", "elastic_transport", "duckdb", "xgboost", "sklearn", "holidays", "numpy")

CODE = """
import airflow.sdk, json, runpy, sys, time
files, heavy = json.loads(sys.argv[1])
found = {}
for name in files:
    dags = [value.dag_id for value in runpy.run_path(f"dags/{name}").values() if isinstance(value, airflow.sdk.DAG)]
    brought, warm = [module for module in heavy if module in sys.modules], 9.0
    for _ in range(15):
        began = time.process_time()
        runpy.run_path(f"dags/{name}")
        warm = min(warm, time.process_time() - began)
        if warm < 0.020 * max(1, len(dags)):
            break
    found[name] = {"dags": dags, "heavy": brought, "warm": warm}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict[str, Any]]:
    """Of each file the ids of its DAGs, what heavy it imported, and how long it takes once warm, in seconds."""
    arguments = json.dumps([FILES, HEAVY])
    out = subprocess.run([sys.executable, "-c", CODE, arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(out.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_imports_no_client_and_nothing_heavy(name: str, parsed: dict[str, dict[str, Any]]) -> None:
    assert parsed[name]["heavy"] == []


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_parses_in_20_ms_for_each_of_its_dags_once_warm(
    name: str, parsed: dict[str, dict[str, Any]]
) -> None:
    assert parsed[name]["warm"] < 0.020 * max(1, len(parsed[name]["dags"]))


def test_every_file_but_the_one_that_checks_has_dags(parsed: dict[str, dict[str, Any]]) -> None:
    assert [name for name in FILES if not parsed[name]["dags"]] == ["check_model_files.py"]
