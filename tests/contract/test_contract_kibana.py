"""The sandbox's Kibana against Elastic's schemas of Kibana's API: what the product sends, and what it is answered."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.esql import syntax_errors
from harness.specification import CONTRACTS

from elastic_ml.clients import kibana_assets as assets
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.kibana.connectors import Connector, actions_for, connectors_of
from elastic_ml.kibana.rules import Rule, rules_of
from elastic_ml.kibana_bundle import asset_folders, build_bundle
from elastic_ml.project import load_project
from elastic_sandbox.kibana.routes import routes
from elastic_sandbox.testing import Sandbox

LENDPATH = load_project(Path(__file__).parents[2] / "include")
RULES = rules_of(LENDPATH, asset_folders(LENDPATH))
CONNECTORS = connectors_of(LENDPATH, asset_folders(LENDPATH))
# What an execution of each type takes, for an alert that opens and for one that recovers.
TYPES = {
    ".email": ("run_message_email", "run_message_email"),
    ".index": ("run_documents", "run_documents"),
    ".pagerduty": ("run_trigger_pagerduty", "run_acknowledge_resolve_pagerduty"),
    ".server-log": ("run_message_serverlog", "run_message_serverlog"),
    ".slack": ("run_message_slack", "run_message_slack"),
}
CONNECTOR = "6f5c4a3e-1b2d-4c3e-8f90-123456789abc"
RULE = {
    "name": "Errors",
    "consumer": "stackAlerts",
    "rule_type_id": ".es-query",
    "schedule": {"interval": "5m"},
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
    "actions": [
        {
            "id": CONNECTOR,
            "group": "query matched",
            "params": {"documents": [{"alert": "{{alert.id}}"}]},
            "frequency": {"summary": False, "notify_when": "onActionGroupChange", "throttle": None},
        }
    ],
}

# Routes that Kibana has and the schemas have not.
UNSPECIFIED = {
    ("GET", "/api/alerting/rule_types"): "no schema in the bundle",
    ("POST", "/api/actions/connector"): "the form without an id",
    ("POST", "/api/alerting/rule"): "the form without an id",
    ("POST", "/internal/alerting/rule/{id}/_run_soon"): "internal",
    ("POST", "/internal/kibana/management/saved_objects/_bulk_delete"): "internal",
}

# What the schema says and the server does not do: operation → pattern of the validator's complaint → why.
KNOWN = {
    "connectors.post-actions-connector-id-execute": {
        r".*": "the schema of the answer is that of a connector; execute_connector answers its result",
    },
    "saved-objects.post-saved-objects-import": {
        r"\$: '(errors|successResults)' is a required property": "import_saved_objects.ts leaves out empty lists",
    },
    "spaces.get-spaces-space": {r"\$: \[.* is not of type 'object'": "the schema is that of no answer; it is a list"},
    "system.get-status": {r"\$: \{'name'": "one of two shapes, and what is the larger is also the smaller"},
}


@cache
def schemas() -> Any:
    """Kibana's schemas, or the test is skipped."""
    path = CONTRACTS / "kibana_validator.py"
    if not path.exists():
        pytest.skip(f"Kibana's schemas are not in {CONTRACTS} (set ELASTIC_CONTRACTS)")
    pytest.importorskip("jsonschema", reason="the schemas of Kibana are JSON Schemas")
    found = importlib.util.spec_from_file_location("kibana_validator", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.KibanaSpec(CONTRACTS / "kibana")


def operation_of(method: str, path: str) -> str | None:
    for name, (its_method, template) in schemas().operations().items():
        pattern = re.sub(r"\{\w+\}", "[^/]+", template)
        # `/api/data_views/default` is no data view called "default", and the like: a text beats a placeholder.
        if its_method == method and re.fullmatch(pattern, path) and ("{" not in template or not _literal(method, path)):
            return str(name)
    return None


def _literal(method: str, path: str) -> bool:
    return (method, path) in {(its, template) for its, template in schemas().operations().values()}


def complaints(operation: str, found: list[str]) -> list[str]:
    known = KNOWN.get(operation, {})
    return [line for line in found if not any(re.match(pattern, line) for pattern in known)]


def test_every_route_is_in_the_schemas() -> None:
    asked = {(method, re.sub(r"\{\w+\}", "x", path)): (method, path) for method, path, _ in routes.entries}
    assert {route for made, route in asked.items() if operation_of(*made) is None} == set(UNSPECIFIED)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[KibanaClient]:
    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as made:
        yield made


def everything_of_the_product(client: KibanaClient) -> None:
    """Each request that the product can send, at least once."""
    connector = {"name": "told", "connector_type_id": ".index", "config": {"index": "told", "refresh": True}}
    view: dict[str, Any] = {"title": "calls*", "name": "Calls", "timeFieldName": "@timestamp", "allowNoIndex": True}
    client.facts()
    client.require_space()
    assets.upsert_connector(client, CONNECTOR, connector)
    assets.upsert_connector(client, CONNECTOR, {**connector, "name": "told again"})
    assets.execute_connector(client, CONNECTOR, {"documents": [{"a": 1}]})
    assets.upsert_rule(client, "errors", RULE)
    assets.upsert_rule(client, "errors", {**RULE, "tags": ["others"], "enabled": False}, enforce_enabled=True)
    assets.upsert_rule(client, "errors", {**RULE, "tags": ["others"]}, enforce_enabled=True)
    assets.run_rule_soon(client, "errors")
    assets.upsert_data_view(client, "calls", view)
    assets.upsert_data_view(client, "calls", {**view, "name": "All calls"})
    assets.sync_ml(client)
    dashboard = {"type": "dashboard", "id": "d", "attributes": {"title": "D"}, "references": []}
    client.import_saved_objects(json.dumps(dashboard).encode())
    client.import_saved_objects(json.dumps(dashboard).encode(), existing="keep")
    client.export_saved_objects([("dashboard", "d")])
    assets.delete_rule(client, "errors")
    assets.delete_connector(client, CONNECTOR)
    assets.delete_data_view(client, "calls")


def everything_of_a_person(sandbox: Sandbox) -> None:
    """Each route that only a person asks for, and refusals."""
    with httpx.Client(base_url=sandbox.kibana_url, headers={"kbn-xsrf": "test"}) as http:

        def ask(method: str, path: str, body: Any = None, status: int = 200) -> None:
            answer = http.request(method, path, json=body)
            assert answer.status_code == status, (method, path, answer.text)

        ask("POST", "/api/spaces/space", {"id": "fraud", "name": "Fraud"})
        ask("PUT", "/api/spaces/space/fraud", {"id": "fraud", "name": "Frauds", "color": "#aabbcc"})
        ask("GET", "/api/spaces/space")
        ask("GET", "/api/spaces/space/fraud")
        ask("DELETE", "/api/spaces/space/fraud", status=204)
        rule = {**RULE, "actions": []}
        ask("POST", "/api/alerting/rule/r", rule)
        ask("POST", "/api/alerting/rule/r", rule, 409)
        ask("POST", "/api/alerting/rule/s", {**rule, "params": {}}, 400)
        ask("GET", "/api/alerting/rules/_find")
        for verb in ("_mute_all", "_unmute_all", "_update_api_key", "alert/a/_mute", "alert/a/_unmute"):
            ask("POST", f"/api/alerting/rule/r/{verb}", status=204)
        ask("GET", "/api/actions/connectors")
        ask("GET", "/api/actions/connector/none", status=404)
        ask("POST", "/api/data_views/data_view", {"data_view": {"title": "a*"}})
        ask("GET", "/api/data_views")
        ask("POST", "/api/data_views/default", {"data_view_id": "none", "force": True})
        ask("GET", "/api/data_views/default")


def logged(sandbox: Sandbox) -> list[tuple[str, Any]]:
    """(operation, request) of everything that Kibana was asked."""
    found = [(operation_of(one.method, one.path), one) for one in sandbox.kibana_requests]
    return [(operation, one) for operation, one in found if operation]


def test_what_the_product_sends_is_what_kibana_takes(sandbox: Sandbox, client: KibanaClient) -> None:
    everything_of_the_product(client)
    problems = {}
    for operation, request in logged(sandbox):
        if request.method == "GET" or "multipart" in request.headers.get("content-type", ""):
            continue
        found = complaints(operation, schemas().check_request(operation, request.body or {}))
        if found:
            problems[operation] = (found, request.body)
    assert problems == {}


def test_what_the_sandbox_answers_is_what_kibana_answers(sandbox: Sandbox, client: KibanaClient) -> None:
    everything_of_the_product(client)
    everything_of_a_person(sandbox)
    problems, seen = {}, set()
    for operation, request in logged(sandbox):
        seen.add(operation)
        if (
            200 <= (request.status or 0) < 300
            and request.response is not None
            and not isinstance(request.response, str)
        ):
            found = complaints(operation, schemas().check_response(operation, request.response))
            if found:
                problems[operation] = (found, request.response)
    assert problems == {}
    assert len(seen) > 25


@pytest.mark.parametrize("kept", [RULE, {**RULE, "enabled": False, "alert_delay": {"active": 3}}])
def test_a_rule_is_one_of_its_type(kept: dict[str, Any]) -> None:
    assert schemas().check_rule(".es-query", kept) == []


def actions_of(kind: str, rule: Rule) -> list[dict[str, Any]]:
    connector = Connector(CONNECTOR, kind, [rule.severity], to=["a@example.org"])
    variables = {"severity": rule.severity, "rule": rule.name}
    return actions_for(LENDPATH, asset_folders(LENDPATH), connector, variables) or []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_shipped_rule_is_one_of_its_type_and_its_query_parses(rule: Rule) -> None:
    actions = [action for kind in TYPES for action in actions_of(kind, rule)]
    assert schemas().check_rule(".es-query", {**rule.body, "actions": actions}) == []
    assert syntax_errors(rule.body["params"]["esqlQuery"]["esql"]) == []


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_connector_is_told_is_what_its_type_takes(kind: str) -> None:
    """An alert that opens and one that recovers; the schema of an execution's body takes anything, so each its own."""
    from jsonschema import Draft202012Validator

    actions = actions_of(kind, RULES[0])
    assert [action["group"] for action in actions] == ["query matched", "recovered"]
    for action, name in zip(actions, TYPES[kind], strict=True):
        schema = schemas().defs["$defs"][name]
        assert [error.message for error in Draft202012Validator(schema).iter_errors(action["params"])] == []
        assert set(action["params"]) <= set(schema["properties"])


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda connector: connector.type)
def test_a_shipped_connector_is_one_of_its_type(connector: Connector) -> None:
    assert schemas().check_request("connectors.post-actions-connector-id", dict(connector.body or {})) == []


def test_a_shipped_data_view_is_one_that_the_api_would_take() -> None:
    views = [one for one in build_bundle(LENDPATH).objects if one["type"] == "index-pattern"]
    assert views
    for view in views:
        shown = {name: view["attributes"][name] for name in ("title", "name", "allowNoIndex")}
        body = {"data_view": {"id": view["id"], **shown, "timeFieldName": view["attributes"].get("timeFieldName", "")}}
        assert schemas().check_request("data-views.create-data-view-default", body) == []


def test_the_schemas_really_refuse() -> None:
    """Otherwise the tests above would prove nothing."""
    assert schemas().check_request("alerting.post-alerting-rule-id", {**RULE, "schedule": {}})
    assert schemas().check_response("ml.ml-sync", {"savedObjectsCreated": 1})
