"""The client's words for assets that no operator has: execute a connector, run a rule, compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from elastic_ml.clients import kibana_assets as assets
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.exceptions import ConflictError, ElasticMLError, InvalidRequestError, NotFoundError, UnavailableError
from elastic_sandbox.testing import Sandbox

CONNECTOR = "6f5c4a3e-1b2d-4c3e-8f90-123456789abc"
INDEX = {"name": "Told", "connector_type_id": ".index", "config": {"index": "told", "refresh": True}}
RULE: dict[str, Any] = {
    "name": "Errors",
    "consumer": "stackAlerts",
    "rule_type_id": ".es-query",
    "schedule": {"interval": "1h"},
    "params": {
        "searchType": "esqlQuery",
        "esqlQuery": {"esql": "ROW n = 1"},
        "timeField": "@timestamp",
        "timeWindowSize": 5,
        "timeWindowUnit": "m",
        "size": 0,
        "threshold": [0],
        "thresholdComparator": ">",
    },
}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[KibanaClient]:
    sandbox.backend.kibana.scheduler.by_hand = True
    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as made:
        yield made


def test_executing_a_connector_does_what_it_is_for(client: KibanaClient, elasticsearch: Any) -> None:
    assets.upsert_connector(client, CONNECTOR, INDEX)
    assert assets.execute_connector(client, CONNECTOR, {"documents": [{"a": 1}, {"a": 2}]})["errors"] is False
    assert elasticsearch.count(index="told")["count"] == 2


def test_an_execution_that_failed_with_status_200_is_an_error(client: KibanaClient, elasticsearch: Any) -> None:
    elasticsearch.indices.create(index="told", mappings={"dynamic": "strict"})
    assets.upsert_connector(client, CONNECTOR, INDEX)
    with pytest.raises(ElasticMLError, match=rf"{CONNECTOR} failed: .*strict"):
        assets.execute_connector(client, CONNECTOR, {"documents": [{"a": 1}]})
    with pytest.raises(ElasticMLError, match="failed"):
        assets.execute_connector(client, CONNECTOR, {"documents": "none"})
    with pytest.raises(NotFoundError):
        assets.execute_connector(client, CONNECTOR.replace("6", "7"), {"documents": []})


def test_an_execution_that_another_try_may_help_is_for_another_try(
    client: KibanaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"status": "error", "message": "an error", "service_message": "busy", "retry": True}
    monkeypatch.setattr(KibanaClient, "request", lambda *_, **__: said)
    with pytest.raises(UnavailableError, match="failed: an error: busy"):
        assets.execute_connector(client, CONNECTOR, {})


def test_a_rule_runs_when_told_so_unless_it_is_switched_off(client: KibanaClient, sandbox: Sandbox) -> None:
    assets.upsert_rule(client, "errors", RULE)
    sandbox.backend.kibana.scheduler.run_due()
    assets.run_rule_soon(client, "errors")
    sandbox.backend.kibana.scheduler.run_due()
    ran = client.request("GET", "/api/alerting/rule/errors")["execution_status"]
    assert ran["status"] in {"ok", "active"}
    client.request("POST", "/api/alerting/rule/errors/_disable")
    with pytest.raises(ConflictError, match="did not run"):
        assets.run_rule_soon(client, "errors")


def test_a_type_is_never_changed(client: KibanaClient) -> None:
    assets.upsert_connector(client, CONNECTOR, INDEX)
    with pytest.raises(ConflictError, match="cannot be changed"):
        assets.upsert_connector(client, CONNECTOR, {**INDEX, "connector_type_id": ".server-log"})


def test_a_field_that_kibana_does_not_know_is_refused(client: KibanaClient) -> None:
    with pytest.raises(InvalidRequestError, match="definition for this key is missing"):
        assets.upsert_data_view(client, "calls", {"title": "calls*", "colour": "red"})


@pytest.mark.parametrize(
    ("wanted", "actual", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, ["a.b: [2] → [1]"]),
        ({"a": None}, {}, []),
        ({}, {"a": "x" * 99}, [f'a: "{"x" * 76}... → null']),
    ],
)
def test_differences_are_told_by_path(wanted: Any, actual: Any, found: list[str]) -> None:
    assert assets.differences(wanted, actual) == found
