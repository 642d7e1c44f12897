"""Saved objects, connectors, rules and spaces, as Kibana behaves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from elastic.real_stack import Kibana, until

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Names = Callable[[str], str]


@pytest.fixture
def new_id(kibana: Kibana) -> Iterator[Callable[[str], str]]:
    """Ids of version 4; the object at that path is deleted afterwards."""
    made: list[str] = []

    def one(path: str) -> str:
        name = str(uuid.uuid4())
        made.append(f"{path}/{name}")
        return name

    yield one
    kibana.forget(*made)


def view(name: str, title: str = "nothing-*") -> dict[str, Any]:
    return {"type": "index-pattern", "id": name, "attributes": {"title": title, "name": name}, "references": []}


def test_an_import_in_conflict_is_a_200_without_success_and_writes_nothing(kibana: Kibana, new_id: Any):
    first, second = (new_id("/api/data_views/data_view") for _ in range(2))
    assert kibana.bundle(view(first))["success"] is True
    answer = kibana.bundle(view(first), view(second))
    assert answer["success"] is False
    assert [error["error"]["type"] for error in answer["errors"]] == ["conflict"]
    kibana.ask("GET", f"/api/data_views/data_view/{second}", status=404)
    assert kibana.bundle(view(first), view(second), overwrite="true")["success"] is True


def test_an_import_whose_data_view_is_missing_names_it(kibana: Kibana, new_id: Any):
    board, missing = new_id("/api/dashboards/dashboard"), str(uuid.uuid4())
    dashboard = {
        "type": "dashboard",
        "id": board,
        "attributes": {"title": "Behaviour", "panelsJSON": "[]", "optionsJSON": "{}", "timeRestore": False},
        "references": [{"type": "index-pattern", "id": missing, "name": "p1:indexpattern-datasource-layer-l1"}],
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": "10.3.0",
    }
    [error] = kibana.bundle(dashboard)["errors"]
    assert error["error"]["type"] == "missing_references"
    assert error["error"]["references"] == [{"type": "index-pattern", "id": missing}]


def test_an_export_of_what_is_not_there_is_refused_as_a_whole(kibana: Kibana, new_id: Any):
    there = new_id("/api/data_views/data_view")
    kibana.bundle(view(there))
    objects = [{"type": "index-pattern", "id": name} for name in (there, str(uuid.uuid4()))]
    kibana.ask("POST", "/api/saved_objects/_export", {"objects": objects}, status=400)


def test_a_connector_takes_random_uuids_only(kibana: Kibana, new_id: Any):
    body = {"name": "behaviour", "connector_type_id": ".index", "config": {"index": "behaviour-alerts"}}
    kibana.ask("POST", "/api/actions/connector/behaviour-alerts", body, status=400)
    name = new_id("/api/actions/connector")
    assert kibana.ask("POST", f"/api/actions/connector/{name}", body)["id"] == name


def test_an_execution_that_failed_is_a_200_with_an_error(kibana: Kibana, new_id: Any, es: Elasticsearch, mine: Names):
    es.indices.create(index=mine("strict"), mappings={"dynamic": "strict", "properties": {}})
    name = new_id("/api/actions/connector")
    config = {"index": mine("strict"), "refresh": True}
    kibana.ask(
        "POST",
        f"/api/actions/connector/{name}",
        {"name": "behaviour", "connector_type_id": ".index", "config": config},
    )
    answer = kibana.ask("POST", f"/api/actions/connector/{name}/_execute", {"params": {"documents": [{"n": 1}]}})
    assert answer["status"] == "error"


def rule(index: str) -> dict[str, Any]:
    params = {
        "searchType": "esqlQuery",
        "esqlQuery": {"esql": f'FROM "{index}" | STATS n = COUNT(*) BY model | WHERE n > 0'},
        "timeField": "@timestamp",
        "timeWindowSize": 5,
        "timeWindowUnit": "m",
        "size": 0,
        "threshold": [0],
        "thresholdComparator": ">",
        "groupBy": "row",
    }
    return {
        "name": "Behaviour",
        "consumer": "stackAlerts",
        "rule_type_id": ".es-query",
        "schedule": {"interval": "1h"},
        "params": params,
        "actions": [],
        "tags": [],
    }


@pytest.fixture
def stored_rule(kibana: Kibana, new_id: Any, es: Elasticsearch, mine: Names) -> tuple[str, dict[str, Any]]:
    fields = {"@timestamp": {"type": "date"}, "model": {"type": "keyword"}}
    es.indices.create(index=mine("calls"), mappings={"properties": fields})
    name, body = new_id("/api/alerting/rule"), rule(mine("calls"))
    kibana.ask("POST", f"/api/alerting/rule/{name}", body)
    return name, body


def test_a_new_rule_runs_at_once_and_opens_an_alert_per_row_named_by_its_group(
    kibana: Kibana, new_id: Any, es: Elasticsearch, mine: Names
):
    fields = {"@timestamp": {"type": "date"}, "model": {"type": "keyword"}}
    es.indices.create(index=mine("calls"), mappings={"properties": fields})
    now = datetime.now(UTC).isoformat()
    for model in ("fraud", "churn"):
        es.index(index=mine("calls"), document={"@timestamp": now, "model": model}, refresh=True)
    name = new_id("/api/alerting/rule")
    kibana.ask("POST", f"/api/alerting/rule/{name}", rule(mine("calls")))

    def opened() -> set[str]:
        found = es.search(
            index=".alerts-stack.alerts-default*",
            query={"term": {"kibana.alert.rule.uuid": name}},
            ignore_unavailable=True,
        )
        return {hit["_source"]["kibana.alert.instance.id"] for hit in found["hits"]["hits"]}

    assert until(opened) == {"fraud", "churn"}
    assert kibana.ask("GET", f"/api/alerting/rule/{name}")["execution_status"]["status"] in {"ok", "active"}


def test_an_update_leaves_a_rule_switched_off(kibana: Kibana, stored_rule: tuple[str, dict[str, Any]]):
    name, body = stored_rule
    kibana.ask("POST", f"/api/alerting/rule/{name}/_disable", {}, status=204)
    change = {key: value for key, value in body.items() if key not in {"consumer", "rule_type_id"}}
    changed = kibana.ask("PUT", f"/api/alerting/rule/{name}", {**change, "name": "Behaviour 2"})
    assert (changed["name"], changed["enabled"]) == ("Behaviour 2", False)


def test_an_update_leaves_a_rule_muted(kibana: Kibana, stored_rule: tuple[str, dict[str, Any]]):
    name, body = stored_rule
    kibana.ask("POST", f"/api/alerting/rule/{name}/_mute_all", status=204)
    change = {key: value for key, value in body.items() if key not in {"consumer", "rule_type_id"}}
    assert kibana.ask("PUT", f"/api/alerting/rule/{name}", change)["mute_all"] is True


def test_an_id_of_a_rule_is_taken_once(kibana: Kibana, stored_rule: tuple[str, dict[str, Any]]):
    kibana.ask("POST", f"/api/alerting/rule/{stored_rule[0]}", stored_rule[1], status=409)


def test_a_space_that_does_not_exist_is_not_refused(kibana: Kibana):
    lost = str(uuid.uuid4())
    space = f"/s/nowhere-{lost[:8]}"
    try:
        kibana.ask("POST", f"{space}/api/data_views/data_view", {"data_view": {"id": lost, "title": "nothing"}})
        kibana.ask("GET", f"/api/data_views/data_view/{lost}", status=404)
    finally:
        kibana.forget(f"{space}/api/data_views/data_view/{lost}")


def test_a_request_that_changes_something_needs_kbn_xsrf(kibana: Kibana):
    kibana.ask("POST", "/api/data_views/data_view", {"data_view": {"title": "x"}}, status=400,
               headers={"kbn-xsrf": None})  # fmt: skip
