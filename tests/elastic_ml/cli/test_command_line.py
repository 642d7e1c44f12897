"""`python -m elastic_ml` as a person and a CI job use it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import elastic_ml
from elastic_ml.cli import doctor, project_checks
from elastic_ml.cli.main import main
from elastic_ml.project import load_project
from elastic_ml.project.privileges import KEYS, ROLES, role_descriptor
from elastic_sandbox.testing import serve

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


def written(there: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in there.rglob("*") if path.is_file()}


def test_init_refuses_the_folder_of_a_project_with_another_name(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    (there / "dags/train.py").unlink()
    before = written(there)
    assert main(["init", "include", "--name", "bank"]) == 2
    assert "include holds the project shop, not bank" in said(capsys)
    assert written(there) == before


def test_init_without_a_name_adds_to_the_project_that_is_there(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    (there / "include/sources/audit.yml").unlink()
    assert main(["init", "include"]) == 0
    assert "shop.audit" in (there / "include/sources/audit.yml").read_text()


@pytest.mark.parametrize("dags", ["scaffold", "shipped"])
def test_init_refuses_dag_files_of_another_project_folder_and_proposes_another(there: Path, capsys, dags):
    main(["init", "include", "--name", "shop"])
    if dags == "shipped":
        for path in (INCLUDE.parent / "dags").glob("*.py"):
            (there / "dags" / path.name).write_text(path.read_text())
    before = written(there)
    capsys.readouterr()
    assert main(["init", "bank"]) == 2
    printed = said(capsys)
    assert f"for {there / 'include'}; nothing was written" in printed
    assert "--dags dags/bank" in printed
    assert written(there) == before
    assert main(["init", "include"]) == 0, "its own folder's are kept"
    assert main(["init", "bank", "--dags", "dags/bank"]) == 0
    assert "../../bank" in (there / "dags/bank/train.py").read_text()


@pytest.mark.parametrize("typed", [["afile"], ["afile/include"], ["include", "--dags", "afile"]])
def test_a_file_where_init_needs_a_folder_is_a_sentence_with_a_remedy(there: Path, capsys, typed):
    (there / "afile").touch()
    assert main(["init", *typed]) == 2
    assert "afile is a file, and init makes folders; nothing was written. Give a folder" in said(capsys)
    assert [path.name for path in there.iterdir()] == ["afile"]


def test_init_says_what_to_keep_out_of_git_unless_gitignore_does(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    assert "Keep out of git: .airflow/, .venv/" in said(capsys)
    (there / ".gitignore").write_text(".venv\n/.airflow/\n")
    main(["init", "include"])
    assert "Keep out of git" not in said(capsys)


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


def test_warnings_alone_are_shown_and_leave_the_exit_code_0(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    (there / "include/models/other.yaml").write_text("owner: me\n")
    capsys.readouterr()
    assert main(["check", "include"]) == 0
    text = said(capsys)
    assert "include is right" in text
    assert "1 warning, which may be meant so:\n  include/models/other.yaml: nobody reads this file" in text
    assert main(["check", "include", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["findings"]) == (True, [])
    assert [one["file"] for one in answer["warnings"]] == ["include/models/other.yaml"]
    assert answer["warnings"][0]["remedy"]


def test_check_renders_the_bodies_of_both_flavors(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    override = there / "include/templates/indices"
    override.mkdir(parents=True)
    (override / "ledger.yml.j2").write_text("mappings: {% if serverless %}{{ nobody }}{% else %}{}{% endif %}\n")
    capsys.readouterr()
    assert main(["check", "include"]) == 1
    assert "ledger.yml.j2:1: nobody" in said(capsys)


PACKAGE = Path(elastic_ml.__file__).parent / "templates"


BROKEN = [
    ("model/score.json.j2", "{# ", "{% if %}{# ", "score.json.j2:1: "),
    ("model/score.json.j2", "model.name", "model.nmae", "nmae: 'elastic_ml.project.model.Model object' has no"),
    ("model/training.json.j2", "sample_field", "sampel_field", "'sampel_field' is not given to this template"),
    ("model/holdout_index.json.j2", '"mappings"', ', "mappings"', "renders to invalid JSON or YAML"),
    ("model/card.md.j2", "card.", "crad.", "crad: 'crad' is not given to this template. Use "),
    ("anomaly/alert.json.j2", "{#", "{% for %}{#", "alert.json.j2:1: "),
]


def test_check_finds_what_is_wrong_with_bodies_that_only_a_training_sends(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    own = there / "include/templates"
    for name, *_ in BROKEN:
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text((PACKAGE / name).read_text())
    assert main(["check", "include"]) == 0, said(capsys)
    for name, old, new, sentence in BROKEN:
        right = (own / name).read_text()
        assert old in right
        (own / name).write_text(right.replace(old, new))
        capsys.readouterr()
        assert main(["check", "include"]) == 1
        assert f"include/templates/{name}" in (text := said(capsys))
        assert sentence in text
        (own / name).write_text(right)


@pytest.mark.parametrize(
    ("table", "said"),
    [(None, "cannot be read"), ("SCOTT\n", "has not two or three columns"), ("A,ana\na,ben\n", "to two people")],
)
def test_check_reads_the_name_tables(there: Path, capsys, table: str | None, said: str):
    main(["init", "include", "--name", "shop"])
    source = there / "include/sources/audit.yml"
    source.write_text(f"{source.read_text().rstrip()}\nnames: people.csv\n")
    people = there / "include/people.csv"
    people.write_text("SCOTT,ana\n")
    assert main(["check", "include"]) == 0
    people.unlink() if table is None else people.write_text(table)
    capsys.readouterr()
    assert main(["check", "include", "--json"]) == 1
    [found] = json.loads(capsys.readouterr().out)["findings"]
    assert (Path(found["file"]).name, found["field"]) == ("audit.yml", "names")
    assert source.read_text().splitlines()[found["line"] - 1] == "names: people.csv"
    assert said in found["problem"]
    assert found["remedy"]


def test_check_finds_what_kibana_would_not_show(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    own = there / "include/kibana"
    (own / "dashboards").mkdir(parents=True)
    (own / "rules").mkdir()
    (own / "dashboards/sales.yml").write_text("title: Sales\npanels: []\ntimee: {from: now-1d}\n")
    (own / "rules/late.yml").write_text("id: shop-late\nname: Late\nseverity: P9\n")
    settings = there / "include/project.yml"
    text = settings.read_text()
    settings.write_text(f"{text}\nkibana:\n  folders: [platform, kibana]\n  rules: {{latencyy: false}}\n")
    capsys.readouterr()
    assert main(["check", "include", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert all(one["line"] and one["field"] and one["remedy"] for one in found)
    assert [(Path(one["file"]).name, one["field"]) for one in found][:1] == [("sales.yml", "timee")]
    assert found[-1]["field"] == "kibana.rules.latencyy"
    settings.write_text(f"{text}\nkibana: {{folders: [platform, kibana]}}\n")
    assert main(["check", "include", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert ("late.yml", 3, "severity") in [(Path(one["file"]).name, one["line"], one["field"]) for one in found]


def test_a_hundred_models_are_checked_in_two_seconds(tmp_path: Path):
    """Processor time of a fresh interpreter, imports included."""
    import resource

    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "project.yml").write_text((INCLUDE / "project.yml").read_text())
    shutil.copytree(INCLUDE.parent / "kibana", tmp_path / "kibana")
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


def test_one_of_a_kind_is_counted_in_the_singular(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    main(["check", "include"])
    assert "1 model, 1 anomaly job, 2 sources, every body" in said(capsys)


def test_a_key_that_roles_does_not_know_is_refused_with_those_it_knows(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    assert main(["roles", "include", "--role", "lern"]) == 2
    assert "lern is no key of this package. Write setup, ingest, learn" in said(capsys)


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
    kibana = next(one for one in report["checks"] if one["check"] == "connection kibana_default")
    assert kibana["verdict"] == "warning"
    assert "kibana_deploy do nothing" in kibana["seen"]


def kibana_rows(connection: dict[str, str], capsys, monkeypatch) -> list[tuple[str, str, str]]:
    monkeypatch.setenv("AIRFLOW_CONN_KIBANA_DEFAULT", json.dumps({"conn_type": "kibana", **connection}))
    main(["init", "include", "--name", "shop"])
    capsys.readouterr()
    main(["doctor", "include", "--url", "http://127.0.0.1:9", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return [(one["check"], one["verdict"], one["seen"]) for one in checks if "kibana" in one["check"].lower()]


def test_the_doctor_asks_kibana_for_its_version_and_its_space(there: Path, sandbox, capsys, monkeypatch):
    answered, space = kibana_rows({"host": sandbox.kibana_url}, capsys, monkeypatch)
    assert answered[:2] == ("connection kibana_default", "ok")
    assert f"{sandbox.kibana_url}, Kibana 9." in answered[2]
    assert space == ("Kibana space", "ok", "default")


def test_the_doctor_finds_a_space_that_is_not_there(there: Path, sandbox, capsys, monkeypatch):
    rows = kibana_rows({"host": sandbox.kibana_url, "extra": json.dumps({"space": "nowhere"})}, capsys, monkeypatch)
    assert [row[:2] for row in rows] == [("connection kibana_default", "ok"), ("Kibana space", "wrong")]
    assert "no space 'nowhere'" in rows[1][2]


def test_the_doctor_finds_a_kibana_that_does_not_answer(there: Path, capsys, monkeypatch):
    ((check, verdict, seen),) = kibana_rows({"host": "http://127.0.0.1:9"}, capsys, monkeypatch)
    assert (check, verdict) == ("connection kibana_default", "wrong")
    assert "no answer from http://127.0.0.1:9" in seen


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ('{"conn_type": "elastic", "password": "hush" "host": "x"}', "it is no JSON: Expecting ',' delimiter"),
        ('{"conn_type": "elastic", "hots": "hush"}', "it is JSON with a key"),
    ],
)
def test_a_connection_of_the_environment_that_cannot_be_read_is_not_called_absent(
    there: Path, capsys, monkeypatch, value, why
):
    main(["init", "include", "--name", "shop"])
    for name in ("ELASTICSEARCH_DEFAULT", "KIBANA_DEFAULT"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", value)
    capsys.readouterr()
    assert main(["doctor", "include"]) == 1
    printed = said(capsys)
    assert f"AIRFLOW_CONN_ELASTICSEARCH_DEFAULT is set, but {why}" in printed
    assert f"AIRFLOW_CONN_KIBANA_DEFAULT is set, but {why}" in printed
    assert "no connection" not in printed.lower()
    assert "hush" not in printed


def test_a_password_in_the_url_is_not_printed(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    main(["doctor", "include", "--url", "http://joe:hush@127.0.0.1:9"])
    printed = said(capsys)
    assert "cluster http://127.0.0.1:9" in printed
    assert "hush" not in printed


def test_the_doctor_lists_the_libraries_that_pip_did_not_bring(tmp_path: Path):
    """As after `pip install --no-deps`: a fresh interpreter that finds neither pydantic nor yaml."""
    program = """
import sys
from importlib import metadata

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"pydantic", "yaml", "pydantic_core"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

version = metadata.version
def without(name):
    if name in {"pydantic", "pyyaml"}:
        raise metadata.PackageNotFoundError(name)
    return version(name)

sys.meta_path.insert(0, Absent())
metadata.version = without
from elastic_ml.cli.main import main
print(main(["doctor", "include"]), main(["check", "include"]))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=INCLUDE.parent
    )
    assert "Not installed: pydantic<3,>=2.11, pyyaml>=6.0.2." in run.stdout, run.stdout + run.stderr
    assert "include cannot be looked at: No module named 'pydantic'" in run.stdout
    assert run.stdout.splitlines()[-1] == "1 2"
    assert "What else is missing: python -m elastic_ml doctor." in run.stderr


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
    found = project_checks._rights(Client(), load_project("include"), "learn", facts)
    assert found.verdict == "wrong"
    assert found.seen == "Missing: manage_ml, write on ml-ledger."
    assert "roles include --role learn" in found.remedy


def test_the_doctor_goes_on_when_a_connection_is_wrong(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    capsys.readouterr()
    assert main(["doctor", "include", "--url", "http://127.0.0.1:9"]) == 1
    printed = said(capsys)
    assert "wrong" in printed
    assert "cluster http://127.0.0.1:9" in printed
    assert "connection elasticsearch_default" not in printed
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


@pytest.mark.parametrize(
    ("distribution", "version", "check", "remedy"),
    [
        ("elasticsearch", "9.1.3", "client", "Install elasticsearch>=9.2,<10"),
        ("elasticsearch", "10.0.0", "client", "Install elasticsearch>=9.2,<10"),
        ("elasticsearch", None, "client", "pip install 'elasticsearch>=9.2,<10'"),
        ("airflow-provider-elastic-ml", None, "package", "pip install airflow-provider-elastic-ml instead of copying"),
        ("airflow-provider-elastic-ml", "9.9.9", "package", "pip install --force-reinstall"),
    ],
)
def test_a_distribution_that_is_missing_or_does_not_fit_is_one_line_with_its_remedy(
    distribution: str, version: str | None, check: str, remedy: str, capsys, monkeypatch
):
    installed = doctor.metadata.version

    def found(name: str) -> str:
        if name == distribution and version is None:
            raise doctor.metadata.PackageNotFoundError(name)
        return version if name == distribution and version else installed(name)

    monkeypatch.setattr(doctor.metadata, "version", found)
    assert main(["doctor", "--json"]) == 1
    [line] = [one for one in json.loads(capsys.readouterr().out)["checks"] if one["check"] == check]
    assert line["verdict"] == "wrong"
    assert remedy in line["remedy"]


def test_a_python_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (3, 99))
    python = next(doctor._installation())
    assert (python.check, python.verdict, python.remedy[:17]) == ("Python", "wrong", "Use Python 3.11 o")


def test_a_licence_without_machine_learning_is_a_warning_that_says_what_works(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    with serve(license="basic") as basic:
        capsys.readouterr()
        main(["doctor", "include", "--url", basic.elasticsearch_url, "--json"])
    checks = {one["check"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert "licence basic" in checks[f"cluster {basic.elasticsearch_url}"]["seen"]
    assert checks["machine learning"]["verdict"] == "warning"
    assert "Ingestion works without" in checks["machine learning"]["remedy"]


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
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) > 6
    assert not typed or f"\nexamples:\n  python -m elastic_ml {typed[0]}" in shown


def test_the_scaffold_is_yaml_with_comments(there: Path, capsys):
    main(["init", "include", "--name", "shop"])
    for path in (there / "include").rglob("*.yml"):
        assert "#" in path.read_text()
        assert isinstance(yaml.safe_load(path.read_text()), dict)
