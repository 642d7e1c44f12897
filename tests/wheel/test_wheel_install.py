"""The wheel as adopters get it: beside Airflow in an empty environment.

Our requirements are the constraints, or the file that WHEEL_CONSTRAINTS names, such as Airflow's own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
ONLY_HERE = ("duckdb", "xgboost", "faker", "lark", "elastic_sandbox", "lendpath", "demo")
OFFICIAL = "apache-airflow-providers-elasticsearch"
CONSTRAINTS = os.environ.get("WHEEL_CONSTRAINTS") or ROOT / "requirements.txt"
ADOPTED = (
    "anomalies_failures_by_user", "audit_ingest", "elastic_health", "elastic_housekeeping", "elastic_remove",
    "elastic_rotate_credentials", "elastic_setup", "export_model", "import_model", "kibana_deploy",
    "monitor_risky_identity", "promote_risky_identity", "record_verdict", "rescore", "rollback_risky_identity",
    "train_risky_identity",
)  # fmt: skip
"""What the foreign repository of tests/adopter has, after its prefix."""

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(900)]


def run(*command: object, **more: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adopter")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    run(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder, ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(folder: Path, wheel: Path) -> Path:
    run(UV, "venv", "--python", sys.executable, folder / "venv")
    found = folder / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--python", found, "--constraint", CONSTRAINTS, wheel, OFFICIAL)
    return found


def folder_of(python: Path) -> Path:
    return python.parents[2]


def airflow(python: Path, *arguments: str) -> str:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))}
    home = {"AIRFLOW_HOME": str(python.parents[2] / "home")}
    return run(python.with_name("airflow"), *arguments, env={**outside, **home}, cwd=python.parents[2])


def test_the_provider_is_listed_once(python: Path):
    listed = json.loads(airflow(python, "providers", "list", "--output", "json"))
    assert [one["package_name"] for one in listed if "elastic-ml" in one["package_name"]] == [
        "airflow-provider-elastic-ml"
    ]


def test_both_connection_types_are_ours_and_the_official_one_is_there_beside_them(python: Path):
    hooks = {
        one["connection_type"]: one for one in json.loads(airflow(python, "providers", "hooks", "--output", "json"))
    }
    assert hooks["elastic"]["class"] == "elastic_ml.hooks.elastic.ElasticHook"
    assert hooks["kibana"]["class"] == "elastic_ml.hooks.kibana.KibanaHook"
    assert hooks["elasticsearch"]["package_name"] == OFFICIAL


def test_the_configuration_section_is_known(python: Path):
    assert airflow(python, "config", "get-value", "elastic_ml", "poll_interval").strip().splitlines()[-1] == "5"


def test_nothing_of_the_stand_in_or_the_tour_comes_along(python: Path):
    code = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert run(python, "-c", code, *ONLY_HERE, cwd=python.parents[2]).strip() == "[]"


def test_every_module_imports_and_the_templates_are_there(python: Path):
    code = (
        "import importlib, pkgutil, elastic_ml\n"
        "found = pkgutil.walk_packages(elastic_ml.__path__, 'elastic_ml.')\n"
        "names = [module.name for module in found if '__main__' not in module.name]\n"
        "[importlib.import_module(name) for name in names]\n"
        "from importlib.resources import files\n"
        "assert (files('elastic_ml') / 'templates/model/score.json.j2').is_file()\n"
        "print(len(names))"
    )
    assert int(run(python, "-W", "ignore", "-c", code, cwd=python.parents[2]).split()[-1]) > 80


def test_what_people_see_in_kibana_comes_along(python: Path):
    """The word `platform` of project.yml means the package's own, wherever it is installed."""
    code = (
        "import sys\n"
        "from elastic_ml.kibana.connectors import connectors_of\n"
        "from elastic_ml.kibana.rules import rules_of\n"
        "from elastic_ml.kibana_bundle import asset_folders, build_bundle\n"
        "from elastic_ml.project import load_project\n"
        "project = load_project(sys.argv[1])\n"
        "folders = asset_folders(project)\n"
        "assert ['site-packages' in str(one) for one in folders] == [True], folders\n"
        "dashboards = [one for one in build_bundle(project).objects if one['type'] == 'dashboard']\n"
        "print(len(dashboards), len(rules_of(project, folders)), len(connectors_of(project, folders)))"
    )
    folder = ROOT / "tests" / "watched" / "folder"
    printed = run(python, "-W", "ignore", "-c", code, folder, cwd=python.parents[2]).split()
    dashboards, rules, connectors = map(int, printed[-3:])
    assert (dashboards >= 2, rules >= 10, connectors) == (True, True, 2)


@pytest.fixture(scope="module")
def workflows(folder: Path) -> Path:
    """The foreign repository's dags folder, somewhere else: no clone around it."""
    return Path(shutil.copytree(ROOT / "tests" / "adopter" / "northbank" / "workflows", folder / "workflows"))


def test_a_foreign_repository_s_dags_all_parse(python: Path, workflows: Path):
    """As the DAG processor reads them: a dags folder with another team's DAG, and the project folder inside it."""
    code = (
        "import json, sys, elastic_ml\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1])\n"
        "print(json.dumps([elastic_ml.__file__, sorted(bag.dags), bag.import_errors]))"
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))}
    environment = {**outside, "AIRFLOW_HOME": str(folder_of(python) / "home")}
    printed = run(python, "-W", "ignore", "-c", code, workflows, cwd=folder_of(python), env=environment)
    imported, dags, errors = json.loads(printed.strip().splitlines()[-1])
    assert "site-packages" in imported
    assert errors == {}
    assert {dag for dag in dags if not dag.startswith("secml_")} == {"treasury_cutoff"}
    assert {f"secml_{name}" for name in ADOPTED} == set(dags) - {"treasury_cutoff"}


def test_its_ci_checks_the_project_folder_with_the_wheel_alone(python: Path, workflows: Path):
    printed = run(
        python, "-m", "elastic_ml", "check", workflows / "security_ml" / "project", "--json", cwd=folder_of(python)
    )
    assert json.loads(printed) == {"ok": True, "findings": [], "warnings": []}


def test_init_writes_the_model_files_of_both_integrations(python: Path):
    there = folder_of(python) / "begun"
    streams = ["--stream", "logs-ping_one.audit-default", "--stream", "logs-oracle.database_audit-default"]
    there.mkdir()
    run(python, "-m", "elastic_ml", "init", "ml/project", "--name", "bank", "--dags", "ml", *streams, cwd=there)
    assert {path.name for path in (there / "ml/project/models").iterdir()} == {
        "identity_misuse.yml",
        "database_misuse.yml",
    }
    assert "is right" in run(python, "-m", "elastic_ml", "check", "ml/project", cwd=there)
