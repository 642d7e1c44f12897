"""Each operator of Kibana's assets against the sandbox: made, there already, changed by hand, refused, busy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.task_runner import Result, TaskRunner

from elastic_ml.clients import kibana as kibana_client
from elastic_ml.exceptions import (
    ConflictError,
    ConnectionSettingsError,
    InvalidRequestError,
    LicenseError,
    NotFoundError,
    PartialFailureError,
    UnavailableError,
    VersionError,
)
from elastic_ml.operators import kibana as operators
from elastic_sandbox.testing import Sandbox, serve

CONNECTOR = "6f5c4a3e-1b2d-4c3e-8f90-123456789abc"
INDEX = {"name": "Told", "connector_type_id": ".index", "config": {"index": "told", "refresh": True}}
VIEW = {"title": "calls*", "name": "Calls", "timeFieldName": "@timestamp", "allowNoIndex": True}
RULE: dict[str, Any] = {
    "name": "Errors",
    "consumer": "stackAlerts",
    "rule_type_id": ".es-query",
    "schedule": {"interval": "1h"},
    "tags": ["models"],
    "params": {
        "searchType": "esqlQuery",
        "esqlQuery": {"esql": "FROM calls | STATS n = COUNT(*) | WHERE n > 9"},
        "timeField": "@timestamp",
        "timeWindowSize": 5,
        "timeWindowUnit": "m",
        "size": 0,
        "threshold": [0],
        "thresholdComparator": ">",
        "groupBy": "row",
    },
}
BELL = {"id": CONNECTOR, "group": "query matched", "params": {"documents": [{"a": "{{alert.id}}"}]},
        "frequency": {"summary": False, "notify_when": "onActionGroupChange", "throttle": None}}  # fmt: skip


def dashboard(name: str, *references: tuple[str, str], **more: Any) -> dict[str, Any]:
    made = [{"type": kind, "id": one, "name": f"ref_{one}"} for kind, one in references]
    return {"type": "dashboard", "id": name, "attributes": {"title": name}, "references": made, **more}


class Kibana:
    """Runs operators against a sandbox, and does by hand what a person does in Kibana."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def run(
        self, operator: str, *, connection: dict[str, Any] | None = None, tries: int = 1, **arguments: Any
    ) -> Result:
        made = getattr(operators, f"Kibana{operator}Operator")
        fields = {"conn_type": "kibana", "host": self.sandbox.kibana_url, **(connection or {})}
        connections = {"kibana_default": fields, "secrets": {"extra": {"webhookUrl": "https://hook/t0psecret"}}}
        return TaskRunner(
            lambda: made(task_id="kibana", retries=tries - 1, **arguments),
            connections=connections,
            params={"name": "errors"},
            retries=tries - 1,
        ).run()

    def by_hand(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(method, self.sandbox.kibana_url + path, json=body, headers={"kbn-xsrf": "by hand"})
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def writes(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.sandbox.kibana_requests if one.method != "GET"]


@pytest.fixture
def kibana(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Kibana:
    monkeypatch.setattr(kibana_client, "BACKOFF_SECONDS", 0.01)
    sandbox.backend.kibana.scheduler.by_hand = True
    return Kibana(sandbox)


def succeeded(result: Result, **of_value: Any) -> Any:
    assert result.state == "success", result.error
    assert {name: result.value[name] for name in of_value} == of_value
    return result.value


def failed(result: Result, kind: type[Exception], *words: str) -> str:
    assert result.state in {"failed", "up_for_retry"}, result.state
    assert isinstance(result.error, kind), repr(result.error)
    for word in words:
        assert word in str(result.error)
    return str(result.error)


# Every operator: made, there already, gone --------------------------------------------------------------------------

ASSETS = {
    "Rule": {"rule_id": "errors", "rule": RULE},
    "Connector": {"connector_id": CONNECTOR, "connector": INDEX},
    "DataView": {"data_view_id": "calls", "data_view": VIEW},
}
assets = pytest.mark.parametrize("kind", ASSETS)


@assets
def test_it_is_made_once_and_left_alone_afterwards(kibana: Kibana, kind: str) -> None:
    succeeded(kibana.run(kind, **ASSETS[kind]), state="created")
    made = kibana.writes()
    assert len(made) == 1
    succeeded(kibana.run(kind, **ASSETS[kind]), state="unchanged", detail="")
    assert kibana.writes() == made


@assets
def test_it_is_deleted_only_when_asked_and_twice_is_no_error(kibana: Kibana, kind: str) -> None:
    kibana.run(kind, **ASSETS[kind])
    (name,) = [value for key, value in ASSETS[kind].items() if key.endswith("_id")]
    gone = {key: value for key, value in ASSETS[kind].items() if key.endswith("_id")}
    succeeded(kibana.run(kind, **gone, state="absent"), state="deleted", id=name)
    succeeded(kibana.run(kind, **gone, state="absent"), state="absent", id=name)


@assets
@pytest.mark.parametrize("status", [429, 503])
def test_a_burst_of_refusals_is_sat_out(kibana: Kibana, kind: str, status: int) -> None:
    kibana.sandbox.faults.add(path="/api/**", status=status, times=2)
    succeeded(kibana.run(kind, **ASSETS[kind]), state="created")


@assets
def test_a_kibana_that_stays_busy_is_for_a_later_try(kibana: Kibana, kind: str) -> None:
    kibana.sandbox.faults.add(path="/api/**", status=503, times=50)
    result = kibana.run(kind, **ASSETS[kind], tries=2)
    failed(result, UnavailableError)
    assert result.state == "up_for_retry"


@assets
def test_a_lost_answer_to_a_creation_makes_no_second_one(kibana: Kibana, kind: str) -> None:
    kibana.sandbox.faults.add(method="POST", path="/api/**", action="cut_after", times=1)
    result = kibana.run(kind, **ASSETS[kind], tries=2)
    assert result.state == "up_for_retry", result.error
    succeeded(kibana.run(kind, **ASSETS[kind]), state="unchanged")
    assert len(kibana.writes()) == 1


@assets
def test_a_lost_answer_to_a_deletion_is_a_deletion(kibana: Kibana, kind: str) -> None:
    kibana.run(kind, **ASSETS[kind])
    kibana.sandbox.faults.add(method="DELETE", path="/api/**", action="cut_after", times=1)
    gone = {key: value for key, value in ASSETS[kind].items() if key.endswith("_id")}
    succeeded(kibana.run(kind, **gone, state="absent"), state="deleted")


@assets
def test_a_space_that_does_not_exist_is_a_wrong_setting(kibana: Kibana, kind: str) -> None:
    failed(kibana.run(kind, **ASSETS[kind], space="nowhere"), ConnectionSettingsError, "no space 'nowhere'")
    assert kibana.writes() == []


@assets
def test_the_space_of_the_task_beats_that_of_the_connection(kibana: Kibana, kind: str) -> None:
    for space in ("one", "two"):
        kibana.by_hand("POST", "/api/spaces/space", {"id": space, "name": space})
    result = kibana.run(kind, **ASSETS[kind], space="two", connection={"extra": {"space": "one"}})
    succeeded(result, state="created")
    assert kibana.writes()[-1].split()[1].startswith("/s/two/api/")


@assets
def test_an_id_of_another_space_is_told_as_such(kibana: Kibana, kind: str) -> None:
    kibana.by_hand("POST", "/api/spaces/space", {"id": "one", "name": "One"})
    succeeded(kibana.run(kind, **ASSETS[kind], space="one"), state="created")
    failed(kibana.run(kind, **ASSETS[kind]), ConflictError, "of another space")


@pytest.mark.parametrize("kind", ["Rule", "Connector", "DataView", "Import", "MlSync"])
def test_what_every_operator_has(kind: str) -> None:
    operator = getattr(operators, f"Kibana{kind}Operator")
    assert list(operator.template_fields) == sorted(operator.template_fields)
    assert {"kibana_conn_id", "space"} <= set(operator.template_fields)
    assert set(operator.template_fields_renderers) <= set(operator.template_fields)


# Rules --------------------------------------------------------------------------------------------------------------


def test_a_rule_changed_by_hand_is_brought_back_and_the_change_is_told(kibana: Kibana) -> None:
    kibana.run("Rule", rule_id="errors", rule=RULE)
    edited = {**{name: RULE[name] for name in ("name", "schedule", "params")}, "tags": ["mine"]}
    kibana.by_hand("PUT", "/api/alerting/rule/errors", {**edited, "schedule": {"interval": "5h"}})
    value = succeeded(kibana.run("Rule", rule_id="errors", rule=RULE), state="changed")
    assert value["detail"] == 'schedule.interval: "5h" → "1h"; tags: ["mine"] → ["models"]'
    succeeded(kibana.run("Rule", rule_id="errors", rule=RULE), state="unchanged")


def test_a_rule_that_a_person_switched_off_stays_off(kibana: Kibana) -> None:
    kibana.run("Rule", rule_id="errors", rule=RULE)
    kibana.by_hand("POST", "/api/alerting/rule/errors/_disable")
    value = succeeded(kibana.run("Rule", rule_id="errors", rule={**RULE, "tags": []}), state="changed")
    assert value["detail"] == 'tags: ["models"] → []; left switched off, as it was found'
    assert kibana.by_hand("GET", "/api/alerting/rule/errors")["enabled"] is False
    value = succeeded(kibana.run("Rule", rule_id="errors", rule={**RULE, "tags": []}), state="unchanged")
    assert value["detail"] == "left switched off, as it was found"
    enforced = kibana.run("Rule", rule_id="errors", rule={**RULE, "tags": []}, enforce_enabled=True)
    succeeded(enforced, state="changed", detail="enabled: false → true")
    assert kibana.by_hand("GET", "/api/alerting/rule/errors")["enabled"] is True


def test_a_muted_rule_stays_muted(kibana: Kibana) -> None:
    kibana.run("Rule", rule_id="errors", rule=RULE)
    kibana.by_hand("POST", "/api/alerting/rule/errors/_mute_all")
    succeeded(kibana.run("Rule", rule_id="errors", rule={**RULE, "tags": []}), state="changed")
    assert kibana.by_hand("GET", "/api/alerting/rule/errors")["mute_all"] is True


def test_an_action_that_stays_keeps_its_memory(kibana: Kibana) -> None:
    kibana.run("Connector", connector_id=CONNECTOR, connector=INDEX)
    rule = {**RULE, "actions": [BELL, {**BELL, "group": "recovered"}]}
    kibana.run("Rule", rule_id="errors", rule=rule)
    before = [one["uuid"] for one in kibana.by_hand("GET", "/api/alerting/rule/errors")["actions"]]
    changed = {**rule, "actions": [{**BELL, "group": "recovered"}, BELL], "tags": []}
    succeeded(kibana.run("Rule", rule_id="errors", rule=changed), state="changed")
    after = [one["uuid"] for one in kibana.by_hand("GET", "/api/alerting/rule/errors")["actions"]]
    assert after == before[::-1]


def test_a_rule_needs_its_connectors_before_it_is_written(kibana: Kibana) -> None:
    failed(kibana.run("Rule", rule_id="errors", rule={**RULE, "actions": [BELL]}), NotFoundError, CONNECTOR)
    assert kibana.writes() == []


def test_another_type_of_rule_is_not_replaced(kibana: Kibana) -> None:
    kibana.run("Rule", rule_id="errors", rule=RULE)
    failed(
        kibana.run("Rule", rule_id="errors", rule={**RULE, "consumer": "alerts"}), ConflictError, "cannot be changed"
    )


def test_a_body_that_kibana_refuses_is_refused_in_its_words(kibana: Kibana) -> None:
    rule = {**RULE, "params": {**RULE["params"], "thresholdComparator": "about"}}
    failed(kibana.run("Rule", rule_id="errors", rule=rule), InvalidRequestError, "thresholdComparator")


def test_ids_and_bodies_are_templates(kibana: Kibana) -> None:
    rule = {**RULE, "name": "{{ params.name }} of the shop"}
    succeeded(kibana.run("Rule", rule_id="{{ params.name }}", rule=rule), id="errors")
    assert kibana.by_hand("GET", "/api/alerting/rule/errors")["name"] == "errors of the shop"


@assets
def test_an_id_that_is_empty_once_it_is_rendered_makes_no_asset_of_a_random_one(kibana: Kibana, kind: str) -> None:
    of_id = next(name for name in ASSETS[kind] if name.endswith("_id"))
    result = kibana.run(kind, **{**ASSETS[kind], of_id: "{{ '' }}"})
    failed(result, InvalidRequestError, f"{of_id} of task", "is ''")
    assert kibana.writes() == []


# Licences, versions, flavors ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lesser() -> Iterator[Sandbox]:
    """A basic licence on 9.2."""
    with serve(version="9.2.0", license="basic") as sandbox:
        sandbox.backend.kibana.scheduler.by_hand = True
        yield sandbox


SLACK = {"name": "S", "connector_type_id": ".slack", "config": {}}
ANOMALIES = {**RULE, "rule_type_id": "xpack.ml.anomaly_detection_alert"}


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "words"),
    [
        ("Connector", {"connector_id": CONNECTOR, "connector": SLACK}, LicenseError, ".slack: it needs gold"),
        ("Rule", {"rule_id": "a", "rule": ANOMALIES}, LicenseError, "needs platinum"),
        ("Rule", {"rule_id": "a", "rule": {**RULE, "rule_type_id": "made.up"}}, VersionError, "made.up"),
        (
            "Rule",
            {"rule_id": "a", "rule": {**RULE, "flapping": {"look_back_window": 10, "status_change_threshold": 3,
                                                          "enabled": False}}},
            VersionError,
            "flapping.enabled, which Kibana knows since 9.3",
        ),
    ],
)  # fmt: skip
def test_what_a_kibana_cannot_take_fails_or_skips_with_a_sentence(
    lesser: Sandbox, kind: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    kibana = Kibana(lesser)
    failed(kibana.run(kind, **arguments), error, words)
    assert kibana.run(kind, **arguments, when_unavailable="skip").state == "skipped"
    assert kibana.writes() == []


def test_serverless_offers_no_connector_to_the_servers_log() -> None:
    log = {"name": "Log", "connector_type_id": ".server-log", "config": {}}
    with serve(flavor="serverless") as sandbox:
        failed(Kibana(sandbox).run("Connector", connector_id=CONNECTOR, connector=log), VersionError, "does not offer")


# Connectors ---------------------------------------------------------------------------------------------------------


def test_a_connector_changed_by_hand_is_brought_back(kibana: Kibana) -> None:
    kibana.run("Connector", connector_id=CONNECTOR, connector=INDEX)
    kibana.by_hand("PUT", f"/api/actions/connector/{CONNECTOR}", {"name": "Mine", "config": {"index": "mine"}})
    value = succeeded(kibana.run("Connector", connector_id=CONNECTOR, connector=INDEX), state="changed")
    assert 'config.index: "mine" → "told"' in value["detail"]
    assert 'name: "Mine" → "Told"' in value["detail"]
    succeeded(kibana.run("Connector", connector_id=CONNECTOR, connector=INDEX), state="unchanged")


def test_an_id_that_kibana_would_not_take_is_refused_before(kibana: Kibana) -> None:
    failed(kibana.run("Connector", connector_id="alerts", connector=INDEX), InvalidRequestError, "UUIDs only")
    assert kibana.writes() == []


def test_a_connector_that_rules_notify_is_not_deleted(kibana: Kibana) -> None:
    kibana.run("Connector", connector_id=CONNECTOR, connector=INDEX)
    kibana.run("Rule", rule_id="errors", rule={**RULE, "actions": [BELL]})
    failed(kibana.run("Connector", connector_id=CONNECTOR, state="absent"), ConflictError, "1 rules notify")


def test_secrets_come_from_a_connection_and_are_told_to_nobody(kibana: Kibana, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox keeps no connector that has secrets, so this Kibana is a short play."""
    kept: dict[str, Any] = {}
    sent: list[Any] = []

    def request(_: Any, method: str, path: str, *, body: Any = None, **__: Any) -> Any:
        if path.endswith("connector_types"):
            return [{"id": ".slack", "enabled_in_config": True, "enabled_in_license": True}]
        if method == "GET" and not kept:
            raise NotFoundError("none")
        if method != "GET":
            sent.append(body["secrets"])
            kept.update({"is_missing_secrets": False, "config": {}, "connector_type_id": ".slack", "name": "S"})
        return kept

    monkeypatch.setattr(kibana_client.KibanaClient, "request", request)
    arguments = {"connector_id": CONNECTOR, "connector": SLACK, "secrets_conn_id": "secrets"}
    result = kibana.run("Connector", **arguments)
    succeeded(result, state="created")
    assert "t0psecret" not in json.dumps(result.xcoms)
    succeeded(kibana.run("Connector", **arguments), state="unchanged")
    rotated = kibana.run("Connector", **arguments, rotate_secrets=True)
    succeeded(rotated, state="changed", detail="secrets: sent again")
    kept["is_missing_secrets"] = True
    succeeded(kibana.run("Connector", **arguments), state="changed")
    assert sent == [{"webhookUrl": "https://hook/t0psecret"}] * 3


# Data views ---------------------------------------------------------------------------------------------------------


def test_a_data_view_changed_by_hand_is_brought_back_and_stays_the_default(kibana: Kibana) -> None:
    kibana.run("DataView", data_view_id="calls", data_view=VIEW)
    kibana.by_hand("POST", "/api/data_views/default", {"data_view_id": "calls", "force": True})
    kibana.by_hand("POST", "/api/data_views/data_view/calls", {"data_view": {"title": "mine*"}})
    value = succeeded(kibana.run("DataView", data_view_id="calls", data_view=VIEW), state="changed")
    assert value["detail"] == 'title: "mine*" → "calls*"'
    assert kibana.by_hand("GET", "/api/data_views/default") == {"data_view_id": "calls"}


def test_another_data_view_of_that_name_is_not_replaced(kibana: Kibana) -> None:
    kibana.by_hand("POST", "/api/data_views/data_view", {"data_view": {"title": "mine*", "name": "Calls", "id": "m"}})
    failed(kibana.run("DataView", data_view_id="calls", data_view=VIEW), ConflictError, "called 'Calls'")
    assert kibana.by_hand("GET", "/api/data_views/data_view/m")["data_view"]["title"] == "mine*"


# Saved objects ------------------------------------------------------------------------------------------------------


def test_a_bundle_is_imported_and_imported_again(kibana: Kibana, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.ndjson"
    tag = {"type": "tag", "id": "t", "attributes": {"name": "T", "description": "", "color": "#ffffff"}}
    bundle.write_text("\n".join(json.dumps(one) for one in (tag, dashboard("d", ("tag", "t")))) + "\n")
    first = kibana.run("Import", bundle=str(bundle))
    succeeded(first, imported=2, overwritten=0, kept=[])
    succeeded(kibana.run("Import", bundle=str(bundle)), imported=2, overwritten=2, kept=[])


def test_what_a_person_changed_is_replaced_or_kept_or_a_failure(kibana: Kibana) -> None:
    bundle = [dashboard("d")]
    kibana.run("Import", bundle=[dashboard("d", attributes={"title": "mine"})])

    def title() -> Any:
        with kibana_client.KibanaClient(kibana_client.KibanaSettings(url=kibana.sandbox.kibana_url)) as client:
            (one,) = client.export_saved_objects([("dashboard", "d")])
        return one["attributes"]["title"]

    failed(kibana.run("Import", bundle=bundle, existing="fail"), PartialFailureError, "exists already")
    succeeded(kibana.run("Import", bundle=[*bundle, dashboard("e")], existing="keep"), imported=1, kept=["dashboard d"])
    assert title() == "mine"
    succeeded(kibana.run("Import", bundle=bundle), imported=1, overwritten=1)
    assert title() == "d"


def test_an_import_that_failed_in_part_is_a_failure_with_every_error(kibana: Kibana) -> None:
    bundle = [dashboard("good"), dashboard("a", ("index-pattern", "logs")), {"type": "made-up", "id": "b"}]
    result = kibana.run("Import", bundle=bundle, tries=3)
    failed(result, PartialFailureError, "wrote nothing", "index-pattern logs, which does not exist", "no such type")
    assert result.error.failures.keys() == {"dashboard a", "made-up b"}  # type: ignore[union-attr]


def test_an_import_says_what_was_written_where_not_all_was(kibana: Kibana) -> None:
    failed(
        kibana.run("Import", bundle=[dashboard("good"), {"type": "made-up", "id": "b"}]),
        PartialFailureError, "wrote 1 saved objects", "refused 1",
    )  # fmt: skip


@pytest.mark.parametrize("bundle", ["/no/such/file.ndjson", ""])
def test_a_bundle_that_cannot_be_read_says_so(kibana: Kibana, bundle: str) -> None:
    failed(kibana.run("Import", bundle=bundle), InvalidRequestError, "cannot be read")


def test_a_bundle_for_a_space_that_does_not_exist_goes_nowhere(kibana: Kibana) -> None:
    failed(kibana.run("Import", bundle=[dashboard("d")], space="nowhere"), ConnectionSettingsError, "nowhere")
    assert kibana.writes() == []


@pytest.mark.parametrize("status", [429, 503])
def test_an_import_sits_out_a_burst(kibana: Kibana, status: int) -> None:
    kibana.sandbox.faults.add(path="/api/**", status=status, times=2)
    succeeded(kibana.run("Import", bundle=[dashboard("d")]), imported=1)


# Machine learning, links --------------------------------------------------------------------------------------------


def test_jobs_are_shown_in_kibana(kibana: Kibana) -> None:
    job = {"source": {"index": "calls"}, "dest": {"index": "out"}, "analysis": {"outlier_detection": {}}}
    url = kibana.sandbox.elasticsearch_url
    httpx.put(f"{url}/calls", json={"mappings": {"properties": {"n": {"type": "long"}}}}).raise_for_status()
    httpx.put(f"{url}/_ml/data_frame/analytics/job", json=job).raise_for_status()
    assert succeeded(kibana.run("MlSync"))["added"] > 0
    assert succeeded(kibana.run("MlSync")) == {"added": 0, "removed": 0}


def test_a_sync_that_fails_fails_the_task_only_when_asked(kibana: Kibana) -> None:
    kibana.sandbox.faults.add(path="/api/ml/**", status=403, times=None)
    result = kibana.run("MlSync")
    assert (result.state, result.value) == ("success", None)
    assert kibana.run("MlSync", strict=True).state == "failed"


@pytest.mark.parametrize(
    ("kind", "key", "page"),
    [
        ("Rule", "rule", "/app/management/insightsAndAlerting/triggersActions/rule/errors"),
        ("DataView", "data_view", "/app/management/kibana/dataViews/dataView/calls"),
        ("Import", "dashboard", "/app/dashboards#/view/d"),
    ],
)
def test_a_link_shows_the_object_in_its_space(kibana: Kibana, kind: str, key: str, page: str) -> None:
    kibana.by_hand("POST", "/api/spaces/space", {"id": "two", "name": "Two"})
    arguments = ASSETS.get(kind) or {"bundle": [dashboard("d")]}
    connection = {"extra": {"public_url": "https://kibana.example/base/"}}
    result = kibana.run(kind, **arguments, space="two", connection=connection)
    links = {name: value for name, value in result.xcoms.items() if name != "return_value"}
    assert list(links.values()) == [f"https://kibana.example/base/s/two{page}"], key


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Rule", {"rule_id": "a"}),
        ("Rule", {"rule_id": "a", "rule": RULE, "state": "gone"}),
        ("Import", {"bundle": [], "existing": "merge"}),
        ("MlSync", {"when_unavailable": "shrug"}),
    ],
)
def test_arguments_that_cannot_work_fail_when_the_dag_is_parsed(kind: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is needed|choose"):
        getattr(operators, f"Kibana{kind}Operator")(task_id="x", **arguments)
