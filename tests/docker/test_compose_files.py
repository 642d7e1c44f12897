"""The compose file is valid, confined, and needs nothing that is not written down. No engine runs it here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from docker.compose import COMPOSE, FOLDER, ROOT, WORKFLOWS, is_job, services, variables_used

SERVICES = services()
SERVERS = sorted(name for name, service in SERVICES.items() if not is_job(service))
SECRET_NAMES = ("PASSWORD", "PASS", "PASSPHRASE", "SECRET", "KEY", "SQL_ALCHEMY_CONN")


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("schema", "files"), [("compose-spec", [COMPOSE]), ("github-workflows", WORKFLOWS)], ids=["compose", "workflows"]
)
def test_every_file_is_valid_by_its_schema(schema: str, files: list[Path]):
    assert files
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)


def test_the_linter_finds_nothing_grave():
    run(sys.executable, "-m", "compose_lint", COMPOSE)


@pytest.mark.parametrize("name", sorted(SERVICES))
class TestEveryService:
    def test_it_has_a_memory_limit_and_may_not_gain_privileges(self, name: str):
        assert SERVICES[name]["mem_limit"][-1] in "mg"
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]

    def test_it_listens_on_the_loopback_interface_only(self, name: str):
        for port in SERVICES[name].get("ports", []):
            assert port.startswith("127.0.0.1:"), port

    def test_its_secrets_come_from_variables_without_a_default(self, name: str):
        for variable, value in SERVICES[name].get("environment", {}).items():
            if variable.endswith(SECRET_NAMES) and not str(value).startswith(("certs/", "config/", "/")):
                assert ":?}" in str(value), f"{variable} is written out"

    def test_what_it_waits_for_can_come_true(self, name: str):
        for other, wait in SERVICES[name].get("depends_on", {}).items():
            waited = SERVICES[other]
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in waited, other
            else:
                assert wait["condition"] == "service_completed_successfully"
                assert is_job(waited), other
            assert set(waited.get("profiles", [])) <= set(SERVICES[name].get("profiles", [])), (
                f"{other} would not start"
            )

    def test_what_it_mounts_is_there(self, name: str):
        for volume in SERVICES[name].get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert rest.endswith(":ro"), f"{name} could write into {source}"
            else:
                assert source in yaml.safe_load(COMPOSE.read_text())["volumes"]

    def test_the_script_it_runs_is_there(self, name: str):
        started = [*SERVICES[name].get("entrypoint", []), *_words(SERVICES[name].get("command"))]
        for word in started:
            if word.startswith("/stack/"):
                assert (FOLDER / word.removeprefix("/stack/")).is_file(), word
                assert "./docker:/stack:ro" in SERVICES[name]["volumes"]


def _words(command: Any) -> list[str]:
    return command.split() if isinstance(command, str) else list(command or [])


@pytest.mark.parametrize("name", SERVERS)
def test_every_server_has_a_health_check(name: str):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries"} <= set(check)


def test_every_job_of_the_stack_is_waited_for_so_that_up_wait_knows_its_end():
    """`docker compose up --wait` takes a container that ended for a failure unless another waits for its completion."""
    waited = {
        other
        for service in SERVICES.values()
        for other, wait in service.get("depends_on", {}).items()
        if wait["condition"] == "service_completed_successfully"
    }
    jobs = {name for name, service in SERVICES.items() if is_job(service) and "profiles" not in service}
    assert jobs <= waited


def test_every_variable_is_in_the_example_and_every_example_is_used():
    written = {line.split("=")[0] for line in (FOLDER / "example.env").read_text().splitlines() if "=" in line[:40]}
    written = {name for name in written if name.isupper()}
    assert variables_used() == written | {"ELASTIC_VERSION"}


@pytest.mark.parametrize("version", ["9.2", "9.5"])
def test_each_version_is_pinned_to_a_patch(version: str):
    [line] = [one for one in (FOLDER / f"{version}.env").read_text().splitlines() if not one.startswith("#")]
    name, _, pinned = line.partition("=")
    assert name == "ELASTIC_VERSION"
    assert pinned.startswith(f"{version}.")
    assert pinned.count(".") == 2


def test_no_image_of_elastic_has_a_version_of_its_own():
    for name, service in SERVICES.items():
        if service["image"].startswith("docker.elastic.co/"):
            assert ":${ELASTIC_VERSION:?" in service["image"], name


def test_the_licence_is_basic_until_somebody_starts_a_trial():
    assert SERVICES["elasticsearch"]["environment"]["xpack.license.self_generated.type"] == "basic"


def test_every_setting_of_airflow_exists_in_the_version_that_is_installed():
    from airflow.configuration import conf

    for name in SERVICES["airflow-init"]["environment"]:
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            assert option in conf.configuration_description[section]["options"], name


def test_airflow_s_connections_are_what_the_hooks_read(monkeypatch: pytest.MonkeyPatch):
    from elastic_ml.hooks.elastic import ElasticHook
    from elastic_ml.hooks.kibana import KibanaHook

    for name, value in SERVICES["airflow-scheduler"]["environment"].items():
        if name.startswith("AIRFLOW_CONN_"):
            monkeypatch.setenv(name, re.sub(r"\$\{[A-Z_]+:\?\}", "a-secret", value))
    elastic, kibana = ElasticHook().settings, KibanaHook().client.settings
    assert (elastic.url, elastic.username, elastic.password) == ("https://elasticsearch:9200", "elastic", "a-secret")
    assert (kibana.url, kibana.username, kibana.password) == ("https://kibana:5601", "elastic", "a-secret")
    assert elastic.ca_certs == kibana.ca_certs == "/certs/ca/ca.crt"
    assert "certs:/certs:ro" in SERVICES["airflow-scheduler"]["volumes"]


def test_airflow_has_the_parts_that_airflow_3_needs():
    commands = {_words(service.get("command"))[0] for name, service in SERVICES.items() if name.startswith("airflow-")}
    assert commands == {"version", "api-server", "scheduler", "dag-processor", "triggerer"}


def test_the_image_is_built_of_the_wheel_and_not_of_the_clone():
    dockerfile = (FOLDER / "airflow.Dockerfile").read_text()
    assert "build/dist/airflow_provider_elastic_ml-*.whl" in dockerfile
    assert not [line for line in dockerfile.splitlines() if line.startswith("COPY") and "plugins" in line]
    mounted = {volume.split(":")[0] for volume in SERVICES["airflow-scheduler"]["volumes"]}
    assert "./plugins" not in mounted
    assert "." not in mounted
    installed = yaml.safe_load((ROOT / "include" / "project.yml").read_text())["kibana"]["folders"]
    assert installed == ["platform", "../kibana/lendpath"]
    assert "./kibana/lendpath" in mounted


def test_the_image_has_the_airflow_that_the_suite_runs_on():
    from airflow import __version__

    assert f"ARG AIRFLOW_VERSION={__version__}\n" in (FOLDER / "airflow.Dockerfile").read_text()


def test_all_that_logstash_asks_for_is_given_to_it():
    """Variables without a default, from its environment or the keystore that the script makes."""
    asked = {line.split("=")[0] for line in (ROOT / "logstash" / "env.example").read_text().splitlines()
             if "=" in line and not line.startswith("#")}  # fmt: skip
    script = (FOLDER / "logstash.sh").read_text()
    kept = {line.split()[1] for line in script.splitlines() if line.startswith("put ")}
    assert asked <= kept | set(SERVICES["logstash"]["environment"])


def steps() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for file in WORKFLOWS:
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            found += [(file.name, step) for step in job["steps"]]
    return found


def test_workflows_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {name for _, step in steps() for name in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))}
    assert {"test", "stack-up", "stack-test", "stack-logstash", "record", "wheel-test", "chaos", "docs"} <= called
    assert called <= targets


def test_the_stack_is_tested_on_each_version_that_has_a_file():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "stack.yml").read_text())["jobs"]
    for job in jobs.values():
        assert [f"{version}.env" for version in job["strategy"]["matrix"]["version"]] == sorted(
            file.name for file in FOLDER.glob("[0-9]*.env")
        )


def test_workflows_read_only_end_in_time_and_hold_actions_to_a_version():
    for file in WORKFLOWS:
        body = yaml.safe_load(file.read_text())
        assert body["permissions"] == {"contents": "read"}, file.name
        for name, job in body["jobs"].items():
            assert job["timeout-minutes"] <= 180, name
            assert job["runs-on"] == "ubuntu-24.04"
    for _, step in steps():
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_the_wheel_is_tried_with_the_constraints_of_the_airflow_that_the_image_has():
    from airflow import __version__

    [step] = [step for _, step in steps() if "airflow-constraints.sh" in step.get("run", "")]
    assert f"docker/airflow-constraints.sh {__version__} 3.12 " in step["run"]
    dockerfile = (FOLDER / "airflow.Dockerfile").read_text()
    assert "ARG PYTHON_VERSION=3.12\n" in dockerfile


def test_the_constraints_leave_out_what_the_wheel_asks_for_itself(tmp_path: Path):
    """With a stand-in for curl that answers what Airflow published."""
    published = ["# of that day", "elasticsearch==8.18.1", "elastic-transport==8.17.1", "numpy==1.26.4",
                 "jinja2==3.1.6", "elasticsearch-dsl==8.0"]  # fmt: skip
    said = "\n".join(f"echo '{line}'" for line in published)
    (tmp_path / "curl").write_text(f'#!/bin/sh\necho "$@" >&2\n{said}\n')
    (tmp_path / "curl").chmod(0o755)
    done = subprocess.run(
        [FOLDER / "airflow-constraints.sh", "3.3.2", "3.12"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.strip().endswith("/constraints-3.3.2/constraints-3.12.txt")
    assert done.stdout.splitlines() == [published[0], *published[4:], "apache-airflow==3.3.2"]
