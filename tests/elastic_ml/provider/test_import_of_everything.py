"""What the whole provider costs whoever imports it, and what it must not bring along."""

import json
import os
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import elastic_ml

ROOMS = ("hooks", "links", "notifications", "operators", "sensors", "triggers")
MODULES = ("assets", "exceptions", "get_provider_info", "lineage", "plugin")
"""The provider: whatever Airflow takes from a provider's metadata or a DAG file of the user's own may name."""

STAGES = ("stages",)
"""DAG files of ours. They read a project by pydantic and bring Airflow's timetables: each costs once per parsing of its
file, so they have a bound of their own beside the provider's."""

ON_USE = (
    "clients", "evaluation", "ingest", "kibana", "kibana_bundle", "prediction_log", "project", "sources",
)  # fmt: skip
"""Imported by what is above: at its import what is needed there, which is counted, and the rest when a task runs."""

COMMANDS = ("__main__", "cli", "console")
"""What a person types; no process of Airflow's imports it."""

BANNED = (
    "elasticsearch", "elastic_transport", "duckdb", "xgboost", "sklearn", "holidays", "numpy", "requests", "yaml",
)  # fmt: skip

CODE = """
import time
began = time.process_time()
# airflow.plugins_manager is what imports elastic_ml.plugin; the rest any DAG with an operator of its own asks for,
# since airflow.sdk gives its names lazily.
import airflow.plugins_manager, airflow.triggers.base
from airflow.sdk import BaseHook, BaseNotifier, BaseOperator, BaseOperatorLink, ExceptionRetryPolicy, conf
from airflow.sdk.exceptions import AirflowException
airflow = time.process_time() - began

import gc, importlib, json, sys
provider, stages, banned = json.loads(sys.argv[1])
ours = [name for name in sys.modules if name.startswith("elastic_ml.")]
foreign = {name for name in banned if name in sys.modules}
# A pass of the collector over Airflow's own objects may fall into any import; it takes longer than all of ours.
gc.collect()
gc.freeze()

def seconds(names):
    began = time.process_time()
    for name in names:
        importlib.import_module(name)
    return time.process_time() - began

took = seconds(provider)
heavy = [name for name in banned if name in sys.modules and name not in foreign]
print(json.dumps({"airflow": airflow, "provider": took, "stages": seconds(stages), "before": ours, "heavy": heavy}))
"""


BOUNDS = {"provider": 0.030, "stages": 0.060}
"""Seconds of processor time."""
QUIET = 0.9
"""What Airflow's own part of `CODE` takes where 30 ms are 30 ms.

The core of a busy machine is slower by whatever its neighbours do. Airflow is imported by the same interpreter right
before, so it is slowed down alike, and the bounds are stretched by as much as it is.
"""
AT_MOST = 6


def names(*rooms: str) -> list[str]:
    """Names of all modules of these rooms, or the rooms themselves where they are modules."""
    found = []
    for room in rooms:
        modules = [module.name for module in pkgutil.iter_modules([f"{elastic_ml.__path__[0]}/{room}"])]
        found += [f"elastic_ml.{room}.{module}" for module in modules] or [f"elastic_ml.{room}"]
    return found


def first_import() -> dict[str, Any]:
    """Import all of it in an interpreter of its own: a fork would pay for every page that it shares with its parent."""
    arguments = json.dumps([names(*ROOMS, *MODULES), names(*STAGES), BANNED])
    # Bytecode is kept, as wherever a package is installed; some environments of tests switch that off.
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run([sys.executable, "-c", CODE, arguments], capture_output=True, text=True, check=True, env=kept)
    return json.loads(done.stdout.splitlines()[-1])


def bound(samples: list[dict[str, Any]], what: str) -> float:
    return BOUNDS[what] * max(1, min(sample["airflow"] for sample in samples) / QUIET)


def quickest(samples: list[dict[str, Any]], what: str) -> float:
    return min(sample[what] for sample in samples)


@pytest.fixture(scope="module")
def samples() -> list[dict[str, Any]]:
    """As few first imports as show the bounds kept: the quickest counts. The first may have to write the bytecode."""
    found: list[dict[str, Any]] = []
    while len(found) < AT_MOST and not (found and all(quickest(found, what) < bound(found, what) for what in BOUNDS)):
        found.append(first_import())
    return found


def test_every_part_of_the_package_is_measured_or_said_to_be_no_part_of_the_provider():
    parts = [module.name for module in pkgutil.iter_modules(elastic_ml.__path__)]
    assert sorted(parts) == sorted({*ROOMS, *MODULES, *STAGES, *ON_USE, *COMMANDS})
    assert len(names(*ROOMS, *MODULES)) > 70


def test_the_whole_provider_imports_no_client_and_nothing_heavy(samples):
    assert samples[0]["before"] == ["elastic_ml.get_provider_info"], "all that Airflow reads by itself"
    assert samples[0]["heavy"] == []


@pytest.mark.parametrize("what", BOUNDS)
def test_the_whole_provider_adds_under_30_ms_to_airflow(samples, what):
    took, at_most = quickest(samples, what), bound(samples, what)
    assert took < at_most, f"{1000 * took:.1f} ms; {1000 * at_most:.1f} where Airflow takes as long as here: {samples}"
