"""The wheel as adopters get it: beside Airflow in an empty environment, with our requirements as constraints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
ONLY_HERE = ("duckdb", "xgboost", "faker", "lark", "elastic_sandbox", "lendpath", "demo")
OFFICIAL = "apache-airflow-providers-elasticsearch"

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
    run(UV, "pip", "install", "--python", found, "--constraint", ROOT / "requirements.txt", wheel, OFFICIAL)
    return found


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
