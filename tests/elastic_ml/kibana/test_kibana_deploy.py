"""Deploying a project's assets: what is written, what is left, what is skipped, and what another try makes good."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from harness.dag_runs import DagRuns
from harness.task_runner import Result, TaskRunner
from watched.watch import FOLDER

from elastic_ml.clients import kibana as kibana_client
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.exceptions import ConnectionSettingsError, ProjectFileError, UnavailableError, VersionError
from elastic_ml.kibana.__main__ import main
from elastic_ml.kibana.connectors import connector_id
from elastic_ml.kibana.deployment import Choices, Deployment, DeployReport
from elastic_ml.operators.kibana_deploy import KibanaDeployOperator
from elastic_ml.project import load_project
from elastic_ml.stages import kibana_deploy
from elastic_sandbox.testing import Sandbox, serve

ROOT = Path(__file__).parents[3]
SHIPPED = "0f6c2f4e-5c1d-4a7b-9c58-2f6a9d1e7b30"
LOG = "1b7f0a52-6a0c-4f0e-9f6e-0d5f1a2b3c4d"
RULE = """
id: "{{ names.prefix }}-calls"
name: Calls
severity: P1
every: 5m
window: 10m
values: {calls: 9}
esql: FROM {{ names.predictions }} | STATS n = COUNT(*) BY model_name | WHERE n > {{ values.calls }}
dashboards: [calls]
guide: Look at the calls.
"""
CONNECTOR = """
id: 0f6c2f4e-5c1d-4a7b-9c58-2f6a9d1e7b30
name: Told
connector_type_id: .index
severities: [P1]
config: {index: told}
"""
ACTIONS = """
actions:
  - {group: query matched, params: {documents: [{rule: "[[ rule ]]", alert: "{{alert.id}}"}]}}
"""
TAG = {"type": "tag", "id": "calls-tag", "attributes": {"name": "calls", "description": "", "color": "#209280"}}


def dashboard(name: str = "watched-calls", title: str = "Calls") -> dict[str, Any]:
    references = [{"type": "tag", "id": "calls-tag", "name": "tag-ref-calls-tag"}]
    attributes = {"title": title, "panelsJSON": '[{"type": "lens", "panelIndex": "a"}]'}
    return {"type": "dashboard", "id": name, "attributes": attributes, "references": references}


BUNDLE = [{**TAG, "references": []}, dashboard()]


class Desk:
    """A project whose assets can be changed, and a Kibana that a person also works on."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.space = ""
        for name, text in (("rules/calls", RULE), ("connectors/told", CONNECTOR), ("actions/index", ACTIONS)):
            self.write(f"assets/{name}.yml", text)
        self.settings(folders=["assets"])

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def settings(self, **kibana: Any) -> None:
        known = yaml.safe_load((FOLDER / "project.yml").read_text(encoding="utf-8"))
        kept = yaml.safe_load((self.folder / "project.yml").read_text(encoding="utf-8")).get("kibana") or {}
        self.write("project.yml", yaml.safe_dump({**known, "kibana": {**kept, **kibana}}))

    def deploy(
        self, *, mode: Any = "apply", bundle: list[dict[str, Any]] | None = None, **choices: bool
    ) -> DeployReport:
        with KibanaClient(KibanaSettings(url=self.sandbox.kibana_url, space=self.space)) as client:
            project = load_project(self.folder)
            made = BUNDLE if bundle is None else bundle
            return Deployment(client, project, made, mode=mode, choices=Choices(**choices)).run()

    def states(self, **arguments: Any) -> dict[str, str]:
        return {row.name: row.state for row in self.deploy(**arguments).rows if row.kind != "ML objects"}

    def why(self, name: str, **arguments: Any) -> tuple[str, str]:
        (row,) = (row for row in self.deploy(**arguments).rows if row.name == name)
        return row.state, row.detail

    def by_hand(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        headers = {"kbn-xsrf": "by hand"}
        answer = httpx.request(method, self.sandbox.kibana_url + path, json=body, headers=headers, **more)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def edit_dashboard(self) -> None:
        """What saving in Kibana does, some time later."""
        self.sandbox.clock.advance(60)
        store = self.sandbox.backend.kibana.objects
        store.update("dashboard", "watched-calls", "default", lambda attributes: attributes.update(title="Mine"))

    def writes(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.sandbox.kibana_requests if one.method not in {"GET"}
                and not one.path.endswith("_export")]  # fmt: skip


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(kibana_client, "BACKOFF_SECONDS", 0.01)
    sandbox.backend.kibana.scheduler.by_hand = True
    return Desk(sandbox, Path(shutil.copytree(FOLDER, tmp_path / "watched")))


# Twice, and after a crash -------------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_names_everything(desk: Desk) -> None:
    report = desk.deploy(mode="plan")
    assert [(row.kind, row.state) for row in report.rows] == [
        (kind, "would create") for kind in ("tag", "dashboard", "connector", "rule")
    ]
    assert desk.writes() == []


def test_the_first_time_creates_and_the_second_changes_nothing(desk: Desk) -> None:
    assert {row.state for row in desk.deploy().rows if row.kind != "ML objects"} == {"created"}
    written = desk.writes()
    report = desk.deploy()
    assert {row.state for row in report.rows} == {"unchanged"}
    assert desk.writes() == written
    assert report.table().splitlines()[1].split() == ["tag", "calls-tag", "unchanged"]


def test_a_crash_after_any_write_is_made_good_by_the_next_try(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    sent = KibanaClient.request
    left = 0

    def request(client: KibanaClient, method: str, path: str, **more: Any) -> Any:
        nonlocal left
        answer = sent(client, method, path, **more)
        if method != "GET" and not path.endswith("_export"):
            left -= 1
            if left == 0:
                raise Killed
        return answer

    monkeypatch.setattr(KibanaClient, "request", request)
    crashes = 0
    for position in range(1, 10):
        desk.sandbox.reset()
        desk.sandbox.backend.kibana.scheduler.by_hand = True
        left = position
        try:
            desk.deploy()
        except Killed:
            crashes += 1
        else:
            break
        desk.deploy()
        assert set(desk.states().values()) == {"unchanged"}
        assert len(desk.writes()) == 3
    assert crashes == 3


def test_a_kibana_that_stays_busy_ends_the_try_and_keeps_the_table_so_far(desk: Desk) -> None:
    desk.sandbox.faults.add(path="/api/alerting/**", status=503, times=50)
    with KibanaClient(KibanaSettings(url=desk.sandbox.kibana_url)) as client:
        deployment = Deployment(client, load_project(desk.folder), BUNDLE, mode="apply")
        with pytest.raises(UnavailableError):
            deployment.run()
    assert [row.state for row in deployment.report.rows] == ["created"] * 3
    desk.sandbox.faults.requests.clear()
    assert set(desk.states().values()) == {"unchanged", "created"}


# Saved objects ------------------------------------------------------------------------------------------------------


def test_a_changed_bundle_replaces_what_it_changes(desk: Desk) -> None:
    desk.deploy()
    bundle = [BUNDLE[0], dashboard(title="More calls")]
    assert desk.deploy(bundle=bundle, mode="plan").counts() == {"differs": 1, "unchanged": 3}
    found = {row.kind: row for row in desk.deploy(bundle=bundle).rows}
    assert found["dashboard"].state == "changed"
    assert found["dashboard"].detail == 'attributes.title: "Calls" → "More calls"'
    assert found["tag"].state == found["rule"].state == "unchanged"
    assert desk.deploy(bundle=bundle).counts() == {"unchanged": 5}


def test_a_dashboard_that_a_person_edited_is_left_until_somebody_asks(desk: Desk) -> None:
    desk.deploy()
    desk.edit_dashboard()
    for _ in range(2):
        assert {row.kind: row.state for row in desk.deploy().rows}["dashboard"] == "left"
    # Another bundle imports the tag again, and remembers that this dashboard is somebody's.
    bundle = [{**BUNDLE[0], "attributes": {**BUNDLE[0]["attributes"], "color": "#000000"}}, dashboard(title="New")]
    for _ in range(2):
        found = {row.kind: row for row in desk.deploy(bundle=bundle).rows}
        assert found["dashboard"].state == "left"
        assert "edited by hand; overwrite_edited takes it back" in found["dashboard"].detail
    assert {row.kind: row.state for row in desk.deploy(bundle=bundle, overwrite_edited=True).rows}["dashboard"] == (
        "changed"
    )
    assert desk.deploy(bundle=bundle).counts() == {"unchanged": 5}


def test_what_kibana_keeps_in_another_form_is_not_imported_again(desk: Desk) -> None:
    """A newer Kibana rewrites what is imported, in the same moment."""
    desk.sandbox.clock.freeze()
    desk.deploy()
    store = desk.sandbox.backend.kibana.objects
    store.update("dashboard", "watched-calls", "default", lambda attributes: attributes.update(panelsJSON="[]"))
    row = next(row for row in desk.deploy().rows if row.kind == "dashboard")
    assert (row.state, row.detail) == ("unchanged", "in the form that this Kibana keeps")


def test_an_import_that_is_refused_names_each_object_and_the_rest_goes_on(desk: Desk) -> None:
    broken = dashboard("watched-broken")
    broken["references"] = [{"type": "index-pattern", "id": "gone", "name": "a:indexpattern-datasource-layer-a"}]
    report = desk.deploy(bundle=[*BUNDLE, broken])
    found = {row.name: row for row in report.rows if row.kind in {"tag", "dashboard"}}
    assert found["watched-broken"].detail == "it refers to index-pattern gone, which does not exist"
    assert {row.state for row in found.values()} == {"refused"}
    assert found["calls-tag"].detail == "not imported, since others were refused"
    assert {row.kind: row.state for row in report.rows}["rule"] == "created"
    with pytest.raises(Exception, match=r"refused 3 of 6 objects.*index-pattern gone"):
        report.raise_for_state()


# Rules --------------------------------------------------------------------------------------------------------------


def test_a_rule_that_a_person_switched_off_stays_off_until_somebody_asks(desk: Desk) -> None:
    desk.deploy()
    desk.by_hand("POST", "/api/alerting/rule/watched-calls/_disable")
    desk.settings(rules={"calls": {"calls": 99}})
    report = desk.deploy()
    row = next(row for row in report.rows if row.kind == "rule")
    assert row.state == "changed"
    assert "left switched off, as it was found" in row.detail
    assert desk.by_hand("GET", "/api/alerting/rule/watched-calls")["enabled"] is False
    assert desk.deploy(mode="plan", enforce_enabled=True).counts()["differs"] == 1
    desk.deploy(enforce_enabled=True)
    assert desk.by_hand("GET", "/api/alerting/rule/watched-calls")["enabled"] is True


def test_a_rule_without_a_file_is_named_and_deleted_only_when_somebody_asks(desk: Desk) -> None:
    desk.deploy()
    desk.by_hand("POST", "/api/alerting/rule/mine", {
        **{name: value for name, value in desk.by_hand("GET", "/api/alerting/rule/watched-calls").items()
           if name in {"name", "consumer", "rule_type_id", "schedule", "params"}}, "tags": ["elastic-ml"]})  # fmt: skip
    desk.settings(rules={"calls": False})
    assert [(row.name, row.state) for row in desk.deploy().rows if row.kind == "rule"] == [("watched-calls", "left")]
    assert desk.deploy(mode="plan", delete_retired=True).counts()["would delete"] == 1
    assert desk.deploy(delete_retired=True).counts()["deleted"] == 1
    assert desk.by_hand("GET", "/api/alerting/rules/_find")["total"] == 1  # somebody's own, of another project


def test_a_rule_links_to_dashboards_that_there_are_and_to_its_runbook(desk: Desk) -> None:
    desk.write("assets/rules/calls.yml", RULE.replace("[calls]", "[calls, nowhere]"))
    desk.settings(runbooks="https://docs.example/alert-rules.html")
    desk.deploy()
    artifacts = desk.by_hand("GET", "/api/alerting/rule/watched-calls")["artifacts"]
    assert artifacts["dashboards"] == [{"id": "watched-calls"}]
    assert artifacts["investigation_guide"]["blob"] == (
        "Look at the calls.\n\nRunbook: [calls](https://docs.example/alert-rules.html#calls)\n"
    )


def test_an_id_that_another_space_holds_is_refused_and_the_rest_is_done(desk: Desk) -> None:
    desk.by_hand("POST", "/api/spaces/space", {"id": "one", "name": "One"})
    desk.space = "one"
    assert desk.deploy().space == "one"
    desk.space = ""
    report = desk.deploy(bundle=[])
    assert {row.kind: row.state for row in report.rows}["rule"] == "refused"
    with pytest.raises(Exception, match="another space"):
        report.raise_for_state()


# Connectors ---------------------------------------------------------------------------------------------------------


def test_rules_also_tell_connectors_of_kibanas_own_configuration_as_far_as_they_are_there(desk: Desk) -> None:
    told = {"name": "Own", "connector_type_id": ".server-log", "config": {}}
    desk.by_hand("POST", f"/api/actions/connector/{LOG}", told)
    desk.write(
        "assets/actions/server-log.yml",
        'actions: [{group: recovered, params: {level: info, message: "[[ severity ]]"}}]',
    )
    desk.settings(notify=[{"connector": "ops-slack"}, {"connector": LOG, "severities": ["P1"]}])
    report = desk.deploy()
    found = {row.name: row for row in report.rows if row.kind == "connector"}
    assert found["ops-slack"].state == "skipped"
    assert "xpack.actions.preconfigured" in found["ops-slack"].detail
    actions = desk.by_hand("GET", "/api/alerting/rule/watched-calls")["actions"]
    assert [(one["id"], one["params"]) for one in actions] == [
        (connector_id(SHIPPED, "watched"), {"documents": [{"rule": "calls", "alert": "{{alert.id}}"}]}),
        (LOG, {"level": "info", "message": "P1"}),
    ]
    assert set(desk.deploy().counts()) == {"unchanged", "skipped"}


@pytest.mark.parametrize(
    ("kind", "licensed", "to", "why"),
    [
        (".email", True, [], "an email needs recipients: add `to` beside it in project.yml"),
        (".email", False, ["a@b.c"], "The licence does not contain connector type .email: it needs gold."),
        (".pagerduty", None, [], "This Kibana does not offer connector type .pagerduty"),
        (".email", True, ["a@b.c"], "of Kibana's own configuration"),
    ],
)
def test_a_connector_of_kibanas_own_that_cannot_be_told_says_why(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: str, licensed: bool | None, to: list[str], why: str
) -> None:
    """The sandbox keeps no connector that has secrets: what Kibana lists is a short play."""
    sent = KibanaClient.request
    offered = {"id": kind, "enabled_in_license": licensed, "minimum_license_required": "gold"}

    def request(client: KibanaClient, method: str, path: str, **more: Any) -> Any:
        answer = sent(client, method, path, **more)
        if path == "/api/actions/connectors":
            return [*answer, {"id": "own", "connector_type_id": kind, "is_preconfigured": True}]
        if path == "/api/actions/connector_types":
            return [*(one for one in answer if one["id"] != kind), *([] if licensed is None else [offered])]
        return answer

    monkeypatch.setattr(KibanaClient, "request", request)
    desk.write("assets/actions/email.yml", 'actions: [{group: recovered, params: {to: "[[ to ]]"}}]')
    desk.settings(notify=[{"connector": "own", "to": to}])
    assert why in desk.why("own", mode="plan")[1]


def test_projects_on_one_cluster_have_connectors_of_their_own_with_ids_that_kibana_takes() -> None:
    found = {connector_id(SHIPPED, prefix) for prefix in ("ml", "watched", "stage")}
    assert SHIPPED in found
    assert len(found) == 3
    assert {uuid.UUID(one).version for one in found} == {4}


def test_a_connector_of_a_type_that_no_folder_knows_is_skipped(desk: Desk) -> None:
    desk.by_hand("POST", f"/api/actions/connector/{LOG}", {"name": "Own", "connector_type_id": ".server-log"})
    desk.settings(notify=[{"connector": LOG}])
    assert desk.why(LOG) == ("skipped", "no asset folder has actions/server-log.yml")


# Versions, flavors, licences, spaces --------------------------------------------------------------------------------


def test_serverless_gets_everything_but_disks_and_the_servers_log(tmp_path: Path) -> None:
    with serve(flavor="serverless") as sandbox:
        sandbox.backend.kibana.scheduler.by_hand = True
        with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as client:
            report = Deployment(client, load_project(FOLDER), [], mode="apply").run()
    skipped = {row.name: row.detail for row in report.rows if row.state == "skipped"}
    assert set(skipped) == {"watched-node-disk", "watched alerts in Kibana's log"}
    assert skipped["watched-node-disk"] == "makes no sense on Serverless"
    report.raise_for_state()


def test_everything_works_on_9_2_with_a_basic_licence() -> None:
    with serve(version="9.2.0", license="basic") as sandbox:
        sandbox.backend.kibana.scheduler.by_hand = True
        with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as client:
            report = Deployment(client, load_project(FOLDER), BUNDLE, mode="apply").run()
    assert {row.state for row in report.rows if row.kind != "ML objects"} == {"created"}


def test_an_older_kibana_and_a_space_that_does_not_exist_get_nothing(desk: Desk, monkeypatch: Any) -> None:
    desk.space = "nowhere"
    with pytest.raises(ConnectionSettingsError, match="no space 'nowhere'"):
        desk.deploy()
    facts = kibana_client.KibanaFacts((9, 1, 0), serverless=False, level="available")
    monkeypatch.setattr(KibanaClient, "facts", lambda _: facts)
    with pytest.raises(VersionError, match=r"9\.1\.0.*9\.2"):
        desk.deploy()
    assert desk.writes() == []


def test_a_failed_sync_is_a_line_and_no_failure(desk: Desk) -> None:
    desk.sandbox.faults.add(path="/api/ml/**", status=403, times=None)
    report = desk.deploy()
    assert report.rows[-1].state == "skipped"
    assert "Kibana will do it by itself" in report.rows[-1].detail
    report.raise_for_state()


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("assets/rules/calls.yml", RULE.replace("values.calls }", "values.cals }"), r"calls\.yml:8: esql: .*cals"),
        ("assets/rules/calls.yml", RULE.replace("severity: P1", "severity: P9"), r"calls\.yml:4: severity"),
        ("assets/rules/calls.yml", RULE.replace("window:", "windw:"), r"calls\.yml:6: windw: unknown key"),
        ("assets/actions/index.yml", ACTIONS.replace("rule ]]", "rul ]]"), r"index\.yml:3: actions\.0\..*rul"),
    ],
)
def test_a_wrong_file_is_named_with_line_and_field_before_anything_is_sent(
    desk: Desk, file: str, text: str, words: str
) -> None:
    desk.write(file, text)
    with pytest.raises(ProjectFileError, match=words):
        desk.deploy()
    assert desk.writes() == [] or file.startswith("assets/actions")


@pytest.mark.parametrize(
    ("rules", "words"),
    [({"cals": False}, "there is no rule cals.*calls"), ({"calls": {"n": 1}}, "the rule calls has no value n.*calls")],
)
def test_project_yml_changes_only_rules_and_values_that_there_are(desk: Desk, rules: Any, words: str) -> None:
    desk.settings(rules=rules)
    with pytest.raises(ProjectFileError, match=rf"(?i)project\.yml:\d+: kibana\.rules.*{words}"):
        desk.deploy()


# As a task, and from a shell ----------------------------------------------------------------------------------------


def run(desk: Desk, **arguments: Any) -> Result:
    fields = {"conn_type": "kibana", "host": desk.sandbox.kibana_url, "extra": {"public_url": "https://k.example"}}
    return TaskRunner(
        lambda: KibanaDeployOperator(task_id="deploy", project_folder=str(desk.folder), **arguments),
        connections={"kibana_default": fields},
        params={"mode": "apply"},
    ).run()


def test_the_task_returns_the_table_and_links_to_the_rules(desk: Desk) -> None:
    result = run(desk, mode="{{ params.mode }}")
    assert result.state == "success", result.error
    assert result.value["counts"] == {"created": 2, "unchanged": 1}
    assert result.value["rows"][0] == {"kind": "connector", "name": "Told", "state": "created", "detail": ""}
    links = {value for key, value in result.xcoms.items() if key != "return_value"} - {""}
    assert links == {"https://k.example/app/management/insightsAndAlerting/triggersActions/rules?_a=(tags:!(watched))"}


def test_the_task_fails_for_good_when_something_was_refused_and_for_now_when_kibana_was_away(desk: Desk) -> None:
    desk.sandbox.faults.add(path="/api/alerting/rule/*", method="POST", status=400, times=None)
    result = run(desk, mode="apply")
    assert result.state == "failed"
    assert "Kibana refused 1 of 3 objects: rule watched-calls" in str(result.error)
    assert run(desk, mode="sideways").state == "failed"
    desk.write("assets/dashboards/calls.yml", "title: Calls\n")
    result = run(desk, mode="apply", retries=1)
    assert (result.state, "calls.yml" in str(result.error)) == ("failed", True)


def test_the_stage_builds_one_dag_that_plans_unless_asked() -> None:
    (dag,) = kibana_deploy.build(FOLDER).values()
    assert dag.dag_id == "kibana_deploy"
    assert dag.params.dump() == {
        "mode": "plan", "overwrite_edited": False, "enforce_enabled": False, "delete_retired": False,
    }  # fmt: skip
    assert {"elastic-ml", "kibana", "watched"} == set(dag.tags)
    (task,) = dag.tasks
    assert task.retries == 2
    assert dag.doc_md.startswith("kibana_deploy: brings dashboards")


@pytest.mark.long
def test_the_dag_plans_then_applies_then_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    home = tmp_path / "airflow"
    shutil.copytree(desk.folder, home / "include")
    connections = {"kibana_default": {"conn_type": "kibana", "host": desk.sandbox.kibana_url}}
    with DagRuns(home, [ROOT / "dags" / "kibana_deploy.py"], connections) as airflow:
        runs = [airflow.run("kibana_deploy", conf) for conf in ({}, {"mode": "apply"}, {"mode": "apply"})]
        assert [run.state for run in runs] == ["success"] * 3, airflow.log()[-3000:]
    assert [run.values["deploy"]["counts"] for run in runs] == [
        {"would create": 2}, {"created": 2, "unchanged": 1}, {"unchanged": 3},
    ]  # fmt: skip


def test_the_command_does_the_same_and_says_so(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIBANA_URL", desk.sandbox.kibana_url)
    monkeypatch.delenv("ELASTIC_API_KEY", raising=False)
    assert main(["deploy", str(desk.folder)]) == 0
    assert "plan in space default: 2 would create" in capsys.readouterr().out
    assert main(["deploy", str(desk.folder), "--mode", "apply"]) == 0
    assert "2 created" in capsys.readouterr().out
    assert main(["deploy", str(desk.folder), "--space", "nowhere"]) == 1
    assert "no space 'nowhere'" in capsys.readouterr().err
    monkeypatch.delenv("KIBANA_URL")
    assert main(["deploy", str(desk.folder)]) == 1
    assert "Set KIBANA_URL" in capsys.readouterr().err
