"""No task needs more than its role has, and no role has what nothing needs; by the calls that were recorded."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from harness.specification import specification
from matrix.world import write_project
from rights.judging import data, missing, needs, unused
from rights.page import PAGE, feature_of, page
from rights.recording import CALLS, KIBANA, Call, calls_of, declared, key_of, read, walked, written
from rights.targets import Target

from elastic_ml.cli.main import main
from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import SecurityError
from elastic_ml.kibana.rules import rules_of
from elastic_ml.project import Project, load_project
from elastic_ml.project.privileges import KEYS, KIBANA_FEATURES, ROLES, role_descriptor
from elastic_ml.project.setup import run_setup

RECORDED, DECLARED = read(), declared()
PACKAGE = Path(__file__).parents[3] / "plugins" / "elastic_ml"
REPAIR = "elastic_setup/repair"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project that the calls were recorded with."""
    home = tmp_path_factory.mktemp("world")
    write_project(home)
    return load_project(home / "include")


def lacking(project: Project, calls: list[Call]) -> list[str]:
    """What is missing, as sentences."""
    found = set()
    roles: dict[tuple[str, bool], Any] = {}
    for call in calls:
        key = (call.role, call.task == REPAIR)
        if key not in roles:
            roles[key] = role_descriptor(project, call.role, repair=call.task == REPAIR)  # type: ignore[arg-type]
        found |= {f"{call.role} lacks {need} for {call.api} in {call.task}" for need in missing(roles[key], call)}
    return sorted(found)


@pytest.mark.parametrize("role", ["setup", "ingest", "learn", "read"])
def test_no_task_needs_more_than_its_role(role: str, project: Project) -> None:
    calls = [call for call in RECORDED if call.role == role]
    assert calls
    assert lacking(project, calls) == []


def test_what_rarely_happens_is_allowed_too(project: Project) -> None:
    assert lacking(project, DECLARED) == []


@pytest.mark.parametrize("role", ["setup", "ingest", "learn"])
def test_every_privilege_of_a_role_is_needed(role: Any, project: Project) -> None:
    """`read` is for people, who ask what they like."""
    calls = [call for call in RECORDED + DECLARED if call.role == role]
    assert unused(role_descriptor(project, role), calls) == set()


@pytest.mark.parametrize("role", ["setup", "ingest", "learn"])
def test_a_role_that_lacks_one_privilege_is_found_out(role: Any, project: Project) -> None:
    """Otherwise the tests above would prove nothing."""
    calls = [call for call in RECORDED + DECLARED if call.role == role and call.task != REPAIR]
    whole = role_descriptor(project, role)
    for number, grant in enumerate(whole["indices"]):
        less = {**whole, "indices": [one for position, one in enumerate(whole["indices"]) if position != number]}
        assert any(missing(less, call) for call in calls), (role, grant)
    assert any(missing({**whole, "cluster": []}, call) for call in calls)


def test_only_the_repair_may_rewrite_backing_indices(project: Project) -> None:
    repair = [call for call in RECORDED + DECLARED if call.task == REPAIR]
    setup = role_descriptor(project, "setup")
    lacked = {need for call in repair for need in missing(setup, call)}
    assert {need.index for need in lacked if need.index} == {
        "repaired-~-logs-clinic.access-eu-~", ".ds-logs-clinic.access-eu-~"}  # fmt: skip
    assert {str(need) for need in lacked if need.index is None} == {"cancel_task"}
    calls = [call for call in RECORDED + DECLARED if call.role == "setup"]
    assert unused(role_descriptor(project, "setup", repair=True), calls) == set()


def test_every_api_that_the_package_calls_was_recorded_or_declared() -> None:
    asked = {call.api for call in RECORDED + DECLARED if call.role != KIBANA}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    called = {api for api in specification().E if f".{api}(" in sources and "." in api}
    assert len(called) > 80
    assert sorted(called - asked) == []
    assert set(data()["endpoints"]) == asked


def test_the_recording_went_through_every_dag() -> None:
    dags = {call.task.partition("/")[0] for call in RECORDED}
    assert dags >= {
        "anomalies_live", "anomalies_reads", "audit_ingest", "elastic_health", "elastic_housekeeping", "elastic_remove",
        "elastic_rotate_credentials", "elastic_setup", "export_model", "import_model", "kibana_deploy",
        "monitor_misuse", "promote_misuse", "record_verdict", "rescore", "rollback_misuse", "train_misuse",
        "train_strange",
    }  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_recording_is_current(tmp_path: Path) -> None:
    """A call more or less: run `python -m rights.recording`, then read what changed."""
    assert json.loads(written(walked(tmp_path))) == json.loads(CALLS.read_text(encoding="utf-8"))


# the facts


def test_each_api_s_privileges_are_the_specification_s_or_say_why_not() -> None:
    spec, problems = specification(), []
    for api, entry in data()["endpoints"].items():
        theirs = spec.E[api].get("privileges", {})
        if "from" in entry:
            if entry["from"] not in data()["sources"]:
                problems.append(f"{api}: {entry['from']} is no source")
            if theirs and "because" not in entry:
                problems.append(f"{api}: the specification has a list; say why another one is right")
        else:
            ours = {"cluster": _all(entry.get("cluster")), "index": _all(entry.get("index"))}
            told = {kind: set(theirs.get(kind, ())) for kind in ("cluster", "index")}
            if not theirs or any(not _agree(ours[kind], told[kind]) for kind in told):
                problems.append(f"{api}: {ours}, the specification says {told}")
    assert problems == []


def _agree(ours: set[str], theirs: set[str]) -> bool:
    """`manage` for aliases and for the index a request also makes is more than the list says."""
    return theirs <= ours and ours - theirs <= {"manage"}


def _all(written: Any) -> set[str]:
    if isinstance(written, dict):
        return {one for value in written.values() for one in _all(value)}
    if isinstance(written, list):
        return {one for value in written for one in _all(value)}
    return set(written.split("|")) if written else set()


def test_every_privilege_of_every_key_exists(project: Project) -> None:
    spec = specification()
    # Privileges of the failure store are on the documentation page only.
    for key in KEYS:
        body = role_descriptor(project, key, repair=True)
        for grant in body["indices"]:
            grant["privileges"] = [one for one in grant["privileges"] if not one.endswith("_failure_store")]
        assert spec.check_request("security.put_role", body) == [], key
        known = {kind: {m["name"] for m in spec.T["security._types", kind]["members"]} for kind in
                 ("ClusterPrivilege", "IndexPrivilege")}  # fmt: skip
        assert set(body["cluster"]) <= known["ClusterPrivilege"]
        assert {one for grant in body["indices"] for one in grant["privileges"]} <= known["IndexPrivilege"]


def test_a_wildcard_asks_only_for_what_its_key_may_see(project: Project) -> None:
    learn = role_descriptor(project, "learn")
    there = Call("learn", "", "indices.get_alias", (Target("index", "clinicml-*"),))
    nowhere = Call("learn", "", "indices.get_alias", (Target("index", "elsewhere-*"),))
    assert missing(learn, there) == []
    assert [str(need) for need in missing(learn, nowhere)] == ["view_index_metadata on elsewhere-*"]


def test_an_alias_is_not_covered_by_its_index(project: Project) -> None:
    learn = role_descriptor(project, "learn")
    switch = Call("learn", "", "indices.update_aliases", (
        Target("alias", "misuse_scores"), Target("index", "clinicml-scores-misuse-~")))  # fmt: skip
    assert missing(learn, switch) == []
    without = {**learn, "indices": [one for one in learn["indices"] if "misuse_scores" not in one["names"]]}
    assert [str(need) for need in missing(without, switch)] == ["manage on misuse_scores"]


# Kibana and Logstash


def test_kibana_s_key_has_each_feature_that_its_calls_need() -> None:
    calls = {call.api for call in RECORDED if call.role == KIBANA}
    assert len(calls) > 8
    needed = {feature for call in calls if (feature := feature_of(call))}
    # What an import contains is checked type by type.
    assert needed | {"dashboard_v2", "indexPatterns", "savedObjectsTagging"} == set(KIBANA_FEATURES)


def test_the_path_of_every_call_to_kibana_is_known() -> None:
    paths = {
        path
        for file in PACKAGE.rglob("*.py")
        for path in re.findall(r"[\"']((?:/api/|/internal/)[a-z_/]+)", file.read_text(encoding="utf-8"))
    }
    assert len(paths) > 8
    for path in paths:
        feature_of(f"GET {path}")


def test_what_rules_read_and_alerts_write_is_kibana_s_to_read_and_write(project: Project) -> None:
    from rights.targets import _from

    role = role_descriptor(project, "kibana", space="ml")
    platform = Path(__file__).parents[3] / "kibana" / "platform"
    queries = [rule.body["params"]["esqlQuery"]["esql"] for rule in rules_of(project, [platform])]
    assert len(queries) > 8
    calls = [Call(KIBANA, "", "esql.query", tuple(Target("index", name) for name in _from(q))) for q in queries]
    calls.append(Call(KIBANA, "", "bulk", (Target("create", project.names.alerts),)))
    assert [need for call in calls for need in missing(role, call)] == []
    assert role["applications"][0]["resources"] == ["space:ml"]


def test_logstash_may_add_to_the_streams_it_writes_and_nothing_else(project: Project) -> None:
    role, names = role_descriptor(project, "logstash"), project.names
    for stream in (names.audit_streams[0].name, names.predictions, names.registry, names.dead_letter):
        assert missing(role, Call("logstash", "", "bulk", (Target("create", stream),))) == []
        assert missing(role, Call("logstash", "", "bulk", (Target("index", stream),))) != []
    assert missing(role, Call("logstash", "", "info", ())) == []
    assert missing(role, Call("logstash", "", "bulk", (Target("create", names.alerts),))) != []


# streams of somebody else


def test_setup_beside_an_unmanaged_stream_needs_no_more(sandbox: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    main(["init", "include", "--name", "bank", "--stream", "logs-ping_one.audit-default"])
    project = load_project(tmp_path / "include")
    settings = ElasticsearchSettings(url=sandbox.elasticsearch_url, api_key=key_of("setup"))
    with connect(settings, opaque_id="elastic_setup/run/setup") as client:
        facts = server_facts(client)
        run_setup(client, project, facts, mode="apply")
    calls = list(calls_of(sandbox.requests))
    assert len(calls) > 40
    assert lacking(project, calls) == []
    granted = [
        one for one in role_descriptor(project, "setup")["indices"] if "logs-ping_one.audit-default" in one["names"]
    ]
    assert [one["privileges"] for one in granted] == [["read", "view_index_metadata"]]


# whoever only looks


def test_the_key_of_read_suffices_to_plan_and_verify(
    sandbox: Any, project: Project, monkeypatch: Any, capsys: Any
) -> None:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
    refusal = {
        "status": 403,
        "type": "security_exception",
        "reason": "this action is granted by manage_index_templates",
    }
    for path in ("/_index_template/_simulate_index/*", "/_data_stream/*/_options"):
        sandbox.faults.add(method="*", path=path, times=None, **refusal)
    sandbox.requests.clear()
    settings = ElasticsearchSettings(url=sandbox.elasticsearch_url, api_key=key_of("read"))
    with connect(settings, opaque_id="verify/run/verify") as client:
        report = run_setup(client, project, server_facts(client), mode="verify")
        report.raise_for_state()
        calls = list(calls_of(sandbox.requests))
        assert len(calls) > 40
        refused = {"indices.simulate_index_template", "indices.get_data_stream_options"}
        assert {call.api for call in calls if missing(role_descriptor(project, "read"), call)} == refused
        assert [note.partition(",")[0] for note in report.notes] == [
            "This key may not read the options of data streams",
            "This key may not simulate templates",
        ]
        client.indices.delete_index_template(name=project.names.labels_template)
        assert [row.name for row in run_setup(client, project, server_facts(client), mode="verify").drift] == [
            project.names.labels_template
        ]
    monkeypatch.setenv("ELASTICSEARCH_URL", sandbox.elasticsearch_url)
    assert main(["verify", str(project.folder)]) == 1
    assert "Note: This key may not simulate templates" in capsys.readouterr().out
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client, pytest.raises(SecurityError):
        run_setup(client, project, server_facts(client), mode="apply")


# the page


def test_the_page_of_privileges_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run PYTHONPATH=tests python -m rights.page"


def test_an_api_s_row_names_its_privilege_and_the_keys_that_ask_it() -> None:
    row = next(line for line in page().splitlines() if line.startswith("| `indices.put_index_template`"))
    assert "`manage_index_templates`" in row
    assert row.endswith("| setup |")
    assert set(ROLES) <= {call.role for call in RECORDED}
    assert list(needs(Call("x", "", "close_point_in_time", ()))) == []
