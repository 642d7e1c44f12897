"""What the whole provider costs whoever imports it, and what it must not bring along."""

import json
import os
import pkgutil
import subprocess
import sys

import pytest

import elastic_ml

ROOMS = ("hooks", "links", "notifications", "operators", "sensors", "triggers")
BANNED = ("elasticsearch", "elastic_transport", "duckdb", "xgboost", "sklearn", "holidays", "numpy", "requests", "yaml")

CODE = """
import gc, importlib, json, sys, time
import airflow.sdk, airflow.triggers.base
from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, BaseOperatorLink, ExceptionRetryPolicy, conf
from airflow.sdk.exceptions import AirflowException
names, banned = json.loads(sys.argv[1])
foreign = [n for n in banned if n in sys.modules]
# Of the standard provider, and imported by the one operator that extends it.
import airflow.providers.standard.operators.hitl
# A pass of the collector over Airflow's own objects may fall into any import; it takes longer than all of ours.
gc.collect()
gc.freeze()

def again(loaded, names):
    kept = {name: sys.modules.pop(name) for name in loaded}
    started = time.process_time()
    for name in names:
        importlib.import_module(name)
    return time.process_time() - started, kept

seconds, yardstick = [], []
asyncio = [n for n in sys.modules if n.split(".")[0] == "asyncio"]
for _ in range(8):
    seconds.append(again([n for n in sys.modules if n.startswith("elastic_ml")], names)[0])
    took, kept = again(asyncio, asyncio)
    yardstick.append(took)
    sys.modules.update(kept)
heavy = [n for n in banned if n in sys.modules and n not in foreign]
print(json.dumps({"seconds": seconds, "yardstick": min(yardstick), "heavy": heavy, "modules": len(names)}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    names = [
        f"elastic_ml.{room}.{module.name}"
        for room in ROOMS
        for module in pkgutil.iter_modules([f"{elastic_ml.__path__[0]}/{room}"])
    ]
    arguments = json.dumps([[*names, "elastic_ml.assets", "elastic_ml.lineage", "elastic_ml.plugin"], BANNED])
    # Bytecode is kept, as wherever a package is installed; some environments of tests switch that off.
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("pyc"))}
    out = subprocess.run(
        [sys.executable, "-c", CODE, arguments], capture_output=True, text=True, check=True, env=kept
    ).stdout
    return json.loads(out.strip().splitlines()[-1])


def test_the_whole_provider_imports_no_client_and_nothing_heavy(imported):
    assert imported["modules"] > 30
    assert imported["heavy"] == []


def test_the_whole_provider_adds_under_30_ms_to_airflow(imported):
    """Beside other work a core is slower than that: then it is measured by importing asyncio, which suffers alike."""
    assert min(imported["seconds"]) < max(0.030, 5.5 * imported["yardstick"]), imported
