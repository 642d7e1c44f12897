"""What a DAG file pays for importing the operators."""

import json
import pkgutil
import subprocess
import sys

import pytest

import elastic_ml.operators

MODULES = sorted(f"elastic_ml.operators.{m.name}" for m in pkgutil.iter_modules(elastic_ml.operators.__path__))
CORE = [f"elastic_ml.operators.{n}" for n in ("base", "remote_job", "data_frame_analytics", "reindex", "enrich")]

CODE = """
import airflow.sdk, airflow.triggers.base, importlib, json, sys, time
from airflow.sdk import BaseOperator, BaseOperatorLink, ExceptionRetryPolicy, conf, get_current_context
core, everything = json.loads(sys.argv[1])
seconds = []
for _ in range(3):
    for name in [n for n in sys.modules if n.startswith("elastic_ml")]:
        del sys.modules[name]
    started = time.process_time()
    for name in core:
        importlib.import_module(name)
    seconds.append(time.process_time() - started)
for name in everything:
    importlib.import_module(name)
banned = ("elasticsearch", "elastic_transport", "duckdb", "xgboost", "sklearn", "holidays")
print(json.dumps({"seconds": seconds, "heavy": [n for n in banned if n in sys.modules]}))
"""


@pytest.fixture(scope="module")
def imported():
    out = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps([CORE, MODULES])], capture_output=True, text=True, check=True
    ).stdout
    return json.loads(out.strip().splitlines()[-1])


def test_no_operator_module_imports_the_client_or_anything_heavy(imported):
    assert imported["heavy"] == []


def test_the_operators_of_this_room_add_under_30_ms_to_airflow(imported):
    assert min(imported["seconds"]) < 0.030, f"{imported['seconds']} s of CPU"
