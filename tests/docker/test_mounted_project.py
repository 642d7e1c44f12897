"""The compose Airflow has the wheel and what is mounted, nothing else of this folder: that is enough for every DAG."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docker.compose import ROOT, services

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]
UV = Path(sys.executable).with_name("uv")
AIRFLOW = services()["airflow-scheduler"]
# What only the image or the other services have.
ONLY_THERE = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__AUTH_MANAGER")
LIST = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors}))
"""


def run(*command: object, **more: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def test_every_dag_of_the_mounted_folders_loads_beside_the_wheel(tmp_path: Path):
    run(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", tmp_path, ROOT)
    [wheel] = tmp_path.glob("airflow_provider_elastic_ml-*.whl")
    run(UV, "venv", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--python", python, "--constraint", ROOT / "requirements.txt", wheel)
    for volume in AIRFLOW["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            shutil.copytree(ROOT / source, tmp_path / target.lstrip("/"), ignore=shutil.ignore_patterns("__pycache__"))
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))}
    inside = {name: value.replace("/opt/project", f"{tmp_path}/opt/project") for name, value in
              AIRFLOW["environment"].items() if name not in ONLY_THERE and "${" not in value}  # fmt: skip
    environment = {**outside, **inside, "AIRFLOW_HOME": str(tmp_path / "home")}

    run(python.with_name("airflow"), "db", "migrate", env=environment, cwd=tmp_path)
    found = json.loads(run(python, "-W", "ignore", "-c", LIST, env=environment, cwd=tmp_path).splitlines()[-1])
    assert found["errors"] == {}
    assert {"elastic_setup", "audit_ingest", "train_audit_fraud", "kibana_deploy"} <= set(found["dags"])
    run(python, "-c", "import lendpath.feeds", env=environment, cwd=tmp_path)  # the example's sources
