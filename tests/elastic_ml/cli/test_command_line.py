"""`python -m elastic_ml` as a person and a CI job use it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from elastic_ml.cli import doctor
from elastic_ml.cli.main import main
from elastic_ml.project import load_project
from elastic_ml.project.privileges import KEYS, ROLES, role_descriptor

INCLUDE = Path(__file__).parents[3] / "include"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, and no cluster named by the environment."""
    for name in ("ELASTICSEARCH_URL", "ELASTIC_API_KEY", "ELASTIC_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


# init and check


@pytest.mark.parametrize(
    "more", [[], ["--stream", "logs-ping_one.audit-default", "--stream", "logs-oracle.database_audit-eu"]]
)
def test_what_init_writes_passes_check_and_makes_dags(there: Path, capsys, more):
    assert main(["init", "etc/ml", "--name", "bank", "--dags", "airflow/dags", *more]) == 0
    assert main(["check", "etc/ml"]) == 0, said(capsys)
    names = load_project("etc/ml").names
    assert [stream.managed for stream in names.audit_streams] == ([False, False] if more else [True])
    assert load_project("etc/ml").sources() == (["verdicts"] if more else ["audit", "verdicts"])
    stage = (there / "airflow/dags/elastic_setup.py").read_text()
    scope: dict = {"__file__": str(there / "airflow/dags/elastic_setup.py")}
    exec(compile(stage, "elastic_setup.py", "exec"), scope)
    assert scope["elastic_setup"].dag_id == "elastic_setup"


def test_every_stage_gets_a_dag_file(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    shipped = {path.name for path in (INCLUDE.parent / "dags").glob("*.py")}
    assert {path.name for path in (there / "dags").glob("*.py")} == shipped


def test_a_second_init_keeps_what_is_there(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    (there / "include/models/unusual_action.yml").write_text("owner: me\n")
    (there / "dags/train.py").unlink()
    capsys.readouterr()
    assert main(["init", "include", "--name", "shop", "--json"]) == 1, "the file that is kept is invalid"
    assert "unusual_action.yml" in said(capsys)
    assert (there / "include/models/unusual_action.yml").read_text() == "owner: me\n"
    assert (there / "dags/train.py").exists()


@pytest.mark.parametrize(("typed", "named"), [(["--name", "My Shop"], "'My Shop'"), (["--stream", "audit"], "'audit'")])
def test_init_refuses_what_elasticsearch_would_and_writes_nothing(there: Path, capsys, typed, named):
    assert main(["init", "include", *typed]) == 2
    assert named in said(capsys)
    assert list(there.iterdir()) == []


def test_check_names_file_line_field_and_remedy_of_each_finding(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    model = there / "include/models/unusual_action.yml"
    model.write_text(model.read_text().replace("pipeline: shop-audit@score", "pipeline: shop-audits@score"))
    (there / "include/templates/ilm").mkdir()
    (there / "include/templates/ilm/audits.yml.j2").write_text("{}")
    capsys.readouterr()
    assert main(["check", "include", "--json"]) == 1
    found = {Path(one["file"]).name: one for one in json.loads(capsys.readouterr().out)["findings"]}
    line = model.read_text().splitlines()[found["unusual_action.yml"]["line"] - 1]
    assert "shop-audits@score" in line
    assert found["unusual_action.yml"]["field"] == "serve.pipeline"
    assert found["unusual_action.yml"]["remedy"] == "Write shop-audit@score."
    assert "never rendered" in found["audits.yml.j2"]["problem"]


def test_check_renders_the_bodies_of_both_flavors(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    override = there / "include/templates/indices"
    override.mkdir(parents=True)
    (override / "ledger.yml.j2").write_text("mappings: {% if serverless %}{{ nobody }}{% else %}{}{% endif %}\n")
    capsys.readouterr()
    assert main(["check", "include"]) == 1
    assert "ledger.yml.j2:1: nobody" in said(capsys)


def test_a_hundred_models_are_checked_in_two_seconds(tmp_path: Path):
    """Processor time of a fresh interpreter, imports included."""
    import resource

    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "project.yml").write_text((INCLUDE / "project.yml").read_text())
    model = (INCLUDE / "models/audit_fraud.yml").read_text()
    for number in range(100):
        (folder / "models" / f"m{number:03}_x.yml").write_text(model)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [sys.executable, "-m", "elastic_ml", "check", str(folder)], capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "100 models" in run.stdout
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 2.0


def test_a_folder_that_is_not_there_is_a_sentence(there: Path, capsys):
    assert main(["check", "nowhere"]) == 1
    assert "nowhere/project.yml: the file does not exist." in said(capsys)


# plan and verify


def test_plan_shows_what_is_missing_and_verify_fails_until_it_is_there(
    there: Path, sandbox, elasticsearch, capsys, monkeypatch
):
    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.project.setup import run_setup

    main(["init", "include", "--name", "shop"])
    monkeypatch.setenv("ELASTICSEARCH_URL", sandbox.elasticsearch_url)
    capsys.readouterr()
    assert main(["plan", "include"]) == 0
    planned = said(capsys)
    assert "shop-audit@normalize" in planned
    assert "would create" in planned
    assert main(["verify", "include", "--json"]) == 1
    assert not json.loads(capsys.readouterr().out)["ok"]
    assert {entry.method for entry in sandbox.requests} <= {"GET", "HEAD", "POST"}
    assert [entry.path for entry in sandbox.requests if entry.method == "POST" and "_simulate" not in entry.path] == []

    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url))
    run_setup(client, load_project("include"), server_facts(client), mode="apply").raise_for_state()
    assert main(["verify", "include"]) == 0, said(capsys)


def test_a_server_that_does_not_answer_is_a_sentence_with_code_2(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    assert main(["plan", "include", "--url", "http://127.0.0.1:9"]) == 2
    assert "127.0.0.1:9" in said(capsys)


def test_without_a_named_cluster_airflows_connection_is_used(there: Path, sandbox, capsys, monkeypatch):
    main(["init", "include", "--name", "shop"])
    settings = {"conn_type": "elastic", "host": sandbox.elasticsearch_url}
    monkeypatch.setenv("AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", json.dumps(settings))
    assert main(["plan", "include"]) == 0
    assert sandbox.elasticsearch_url in said(capsys)


# doctor and roles


def test_the_doctor_finds_nothing_wrong_with_a_whole_installation(there: Path, sandbox, capsys, monkeypatch):
    main(["init", "include", "--name", "shop"])
    monkeypatch.setenv("ELASTICSEARCH_URL", sandbox.elasticsearch_url)
    capsys.readouterr()
    code = main(["doctor", "include", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0, report
    assert {f"rights {role}" for role in ROLES} <= {one["check"] for one in report["checks"]}


def test_the_doctor_names_a_right_that_is_missing(there: Path, sandbox, capsys, monkeypatch):
    main(["init", "include", "--name", "shop"])
    monkeypatch.setenv("ELASTICSEARCH_URL", sandbox.elasticsearch_url)
    answer = {
        "username": "ml",
        "has_all_requested": False,
        "cluster": {"monitor": True, "manage_ml": False},
        "index": {"ml-ledger": {"write": False}},
        "application": {},
    }

    class Security:
        def has_privileges(self, **asked):
            return answer

    class Client:
        security = Security()

    facts = type("Facts", (), {"serverless": False})()
    found = doctor._rights(Client(), load_project("include"), "learn", facts)
    assert found.verdict == "wrong"
    assert found.seen == "Missing: manage_ml, write on ml-ledger."
    assert "roles include --role learn" in found.remedy


def test_the_doctor_goes_on_when_a_connection_is_wrong(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    capsys.readouterr()
    assert main(["doctor", "include", "--url", "http://127.0.0.1:9"]) == 1
    printed = said(capsys)
    assert "wrong" in printed
    assert "connection elasticsearch_default" in printed
    assert "checks failed." in printed


def test_two_copies_of_the_package_are_noticed(tmp_path: Path):
    for name in ("plugins", "site-packages"):
        (tmp_path / name / "elastic_ml").mkdir(parents=True)
        (tmp_path / name / "elastic_ml" / "__init__.py").touch()
    found = doctor._copies([str(tmp_path / "plugins"), str(tmp_path / "site-packages"), str(tmp_path / "plugins")])
    assert len(found) == 2


@pytest.mark.parametrize("version", ["3.2.1", "4.0.0"])
def test_a_version_that_does_not_fit_is_wrong(version: str, monkeypatch):
    monkeypatch.setattr(doctor.metadata, "version", lambda name: version)
    found = doctor._distribution("Airflow", "apache-airflow-core", (3, 3), (4,), "apache-airflow>=3.3,<4")
    assert found.verdict == "wrong"
    assert version in found.seen


def test_an_unmanaged_stream_is_never_granted_more_than_reading(there: Path, capsys):
    main(["init", "include", "--name", "shop", "--stream", "logs-ping_one.audit-default"])
    project = load_project("include")
    for role in ROLES:
        for entry in role_descriptor(project, role)["indices"]:
            if "logs-ping_one.audit-default" in entry["names"]:
                assert set(entry["privileges"]) <= {"read", "view_index_metadata", "monitor"}


def test_roles_are_printed_for_dev_tools_and_as_json(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    capsys.readouterr()
    assert main(["roles", "include", "--role", "ingest"]) == 0
    assert "PUT /_security/role/shop-ingest" in capsys.readouterr().out
    assert main(["roles", "include", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {f"shop-{key}" for key in KEYS}


@pytest.mark.parametrize("typed", [[], ["init"], ["check"], ["plan"], ["verify"], ["roles"], ["doctor"]])
def test_help_teaches(typed, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*typed, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 6


def test_the_scaffold_is_yaml_with_comments(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    for path in (there / "include").rglob("*.yml"):
        assert "#" in path.read_text()
        assert isinstance(yaml.safe_load(path.read_text()), dict)
