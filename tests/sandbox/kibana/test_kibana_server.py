"""Kibana's HTTP: spaces, headers, errors, connectors, licences, the machine-learning sync."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sandbox.kibana.conftest import CONNECTOR, Kibana

from elastic_sandbox.testing import serve

INDEX = {"name": "Alerts", "connector_type_id": ".index", "config": {"index": "history"}}


def test_a_request_that_changes_something_has_to_carry_kbn_xsrf(kibana: Kibana) -> None:
    answer = kibana.http.post("/api/spaces/space", json={"id": "x", "name": "X"})
    assert answer.status_code == 400
    assert answer.json() == {
        "statusCode": 400,
        "error": "Bad Request",
        "message": "Request must contain a kbn-xsrf header.",
    }
    assert kibana.http.get("/api/spaces/space").status_code == 200


def test_an_unknown_version_of_an_api_is_refused_where_apis_are_versioned(kibana: Kibana) -> None:
    wrong = {"elastic-api-version": "2020-01-01"}
    said = kibana.ask("GET", "/api/data_views", status=400, headers=wrong)["message"]
    assert said == 'No version "2020-01-01" available for [get] [/api/data_views]. Available versions are: 2023-10-31'
    kibana.ask("GET", "/api/data_views", headers={"elastic-api-version": "2023-10-31"})


def test_what_is_not_there_says_so_and_what_the_sandbox_lacks_too(kibana: Kibana) -> None:
    assert kibana.ask("GET", "/nowhere", status=404) == {
        "statusCode": 404,
        "error": "Not Found",
        "message": "Not Found",
    }
    lacking = kibana.ask("GET", "/api/workflows", status=501)
    assert "GET /api/workflows is not supported" in lacking["message"]


def test_faults_answer_in_kibanas_form(kibana: Kibana) -> None:
    kibana.sandbox.faults.add(path="/api/data_views", status=503, reason="busy")
    assert kibana.ask("GET", "/api/data_views", status=503)["message"] == "busy"
    kibana.ask("GET", "/api/data_views")


def test_who_is_nobody_sees_how_kibana_is_and_nothing_else() -> None:
    with serve(user="ana:secret") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        assert http.get("/api/status").json() == {"status": {"overall": {"level": "available"}}}
        denied = http.get("/api/spaces/space")
        assert (denied.status_code, denied.json()["statusCode"]) == (401, 401)
        assert http.get("/api/status", auth=("ana", "secret")).json()["version"]["number"] == "9.5.0"


def test_spaces_are_made_read_changed_and_deleted_with_what_is_in_them(kibana: Kibana) -> None:
    space = {"id": "blue", "name": "Blue", "description": "sea"}
    assert kibana.ask("POST", "/api/spaces/space", space) == {**space, "disabledFeatures": []}
    assert kibana.ask("POST", "/api/spaces/space", space, status=409)["message"].startswith(
        "A space with the identifier"
    )
    assert [one["id"] for one in kibana.ask("GET", "/api/spaces/space")] == ["default", "blue"]
    assert kibana.ask("PUT", "/api/spaces/space/blue", {**space, "name": "Sea"})["name"] == "Sea"
    kibana.ask("POST", "/s/blue/api/data_views/data_view", {"data_view": {"id": "dv", "title": "x"}})
    kibana.ask("DELETE", "/api/spaces/space/blue", status=204)
    assert kibana.ask("GET", "/api/spaces/space/blue", status=404)["message"] == "Saved object [space/blue] not found"
    kibana.ask("POST", "/api/data_views/data_view", {"data_view": {"id": "dv", "title": "x"}})
    kibana.ask("DELETE", "/api/spaces/space/default", status=400)


def test_a_space_that_does_not_exist_takes_what_is_written_and_nobody_sees_it(kibana: Kibana) -> None:
    """on_post_auth_interceptor.ts looks at spaces of pages only."""
    kibana.ask("POST", "/s/nowhere/api/data_views/data_view", {"data_view": {"id": "lost", "title": "x"}})
    kibana.ask("GET", "/api/data_views/data_view/lost", status=404)


def test_an_index_connector_keeps_its_defaults_and_writes_documents(kibana: Kibana) -> None:
    made = kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", INDEX)
    assert made == {
        "id": CONNECTOR,
        "is_preconfigured": False,
        "is_deprecated": False,
        "is_system_action": False,
        "is_connector_type_deprecated": False,
        "name": "Alerts",
        "connector_type_id": ".index",
        "is_missing_secrets": False,
        "config": {"index": "history", "refresh": False, "executionTimeField": None},
    }
    assert kibana.ask("GET", f"/api/actions/connector/{CONNECTOR}") == made
    body = {"params": {"documents": [{"testing": [1, 2, 3]}]}}
    answer = kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}/_execute", body)
    assert (answer["status"], answer["connector_id"]) == ("ok", CONNECTOR)
    assert kibana.found("history") == [{"testing": [1, 2, 3]}]


def test_an_index_connector_writes_into_a_data_stream_with_its_own_time(kibana: Kibana) -> None:
    url = kibana.sandbox.elasticsearch_url
    template = {"index_patterns": ["alerts-x"], "data_stream": {}, "priority": 600}
    kibana.http.put(f"{url}/_index_template/alerts-x", json=template).raise_for_status()
    config = {"index": "alerts-x", "refresh": True, "executionTimeField": "@timestamp"}
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", {**INDEX, "config": config})
    body = {"params": {"documents": [{"n": 1}]}}
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}/_execute", body)
    (document,) = kibana.found("alerts-x")
    assert sorted(document) == ["@timestamp", "n"]


def test_an_execution_that_fails_is_answered_with_200(kibana: Kibana) -> None:
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", INDEX)
    kibana.http.put(f"{kibana.sandbox.elasticsearch_url}/history", json={"mappings": {"dynamic": "strict"}})
    body = {"params": {"documents": [{"a": 1}, {"b": 1}]}}
    answer = kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}/_execute", body)
    assert (answer["status"], answer["message"]) == ("error", "error indexing documents")
    assert answer["service_message"].count("strict") == 2


def test_a_server_log_connector_logs(kibana: Kibana) -> None:
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", {"name": "log", "connector_type_id": ".server-log"})
    path = f"/api/actions/connector/{CONNECTOR}/_execute"
    assert kibana.ask("POST", path, {"params": {"level": "warn", "message": "hello"}})["status"] == "ok"
    assert list(kibana.sandbox.backend.kibana.server_log) == [("warn", "Server log: hello")]
    wrong = kibana.ask("POST", path, {"params": {"level": "loud", "message": "x"}})
    assert wrong["status"] == "error"
    assert wrong["message"].startswith("error validating action params: [level]: types that failed validation")


@pytest.mark.parametrize("name", ["alerts", "6f5c4a3e-1b2d-9c3e-8f90-123456789abc", "6f5c4a3e1b2d4c3e8f90123456789abc"])
def test_an_id_that_is_no_uuid_is_refused(kibana: Kibana, name: str) -> None:
    answer = kibana.ask("POST", f"/api/actions/connector/{name}", INDEX, status=400)
    assert answer["message"].startswith("Predefined IDs are not allowed for saved objects with encrypted attributes")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({**INDEX, "config": {}}, "error validating action type config: [index]: expected value of type [string]"),
        ({**INDEX, "secrets": {"key": "x"}}, "error validating action type secrets: [key]"),
        ({**INDEX, "connector_type_id": ".made-up"}, 'Action type ".made-up" is not registered.'),
        ({**INDEX, "name": " "}, "[request body.name]: value '' is not valid"),
        ({"name": "x"}, "[request body.connector_type_id]: expected value of type [string] but got [undefined]"),
    ],
)
def test_a_connector_that_does_not_fit_is_refused(kibana: Kibana, body: dict[str, Any], said: str) -> None:
    assert said in kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", body, status=400)["message"]


def test_a_connector_is_changed_counted_and_deleted(kibana: Kibana) -> None:
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", INDEX)
    change = {"name": "More", "config": {"index": "other"}}
    assert kibana.ask("PUT", f"/api/actions/connector/{CONNECTOR}", change)["config"]["index"] == "other"
    (listed,) = kibana.ask("GET", "/api/actions/connectors")
    assert (listed["name"], listed["referenced_by_count"]) == ("More", 0)
    kibana.ask("DELETE", f"/api/actions/connector/{CONNECTOR}", status=204)
    gone = kibana.ask("GET", f"/api/actions/connector/{CONNECTOR}", status=404)
    assert gone["message"] == f"Saved object [action/{CONNECTOR}] not found"


def test_types_of_connectors_follow_licence_and_flavor() -> None:
    slack = {"name": "x", "connector_type_id": ".slack"}
    with serve(license="basic") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        one = Kibana(sandbox, http)
        types = {kind["id"]: kind for kind in one.ask("GET", "/api/actions/connector_types")}
        assert types[".index"]["enabled"]
        assert not types[".slack"]["enabled_in_license"]
        one.ask("POST", f"/api/actions/connector/{CONNECTOR}", slack, status=501)
        one.ask("POST", f"/api/actions/connector/{CONNECTOR}", INDEX)
    with serve(flavor="serverless") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        one = Kibana(sandbox, http)
        log = {"name": "log", "connector_type_id": ".server-log"}
        refused = one.ask("POST", f"/api/actions/connector/{CONNECTOR}", log, status=403)
        assert refused["message"].endswith("is not enabled in the Kibana config xpack.actions.enabledActionTypes")


def test_jobs_made_through_elasticsearch_are_synced_once(kibana: Kibana) -> None:
    job = {
        "analysis_config": {"bucket_span": "15m", "detectors": [{"function": "count"}]},
        "data_description": {"time_field": "@timestamp"},
    }
    url = f"{kibana.sandbox.elasticsearch_url}/_ml/anomaly_detectors/calls"
    kibana.http.put(url, json=job).raise_for_status()
    made = {"anomaly-detector": {"calls": {"success": True}}}
    assert kibana.ask("GET", "/api/ml/saved_objects/sync?simulate=true")["savedObjectsCreated"] == made
    assert kibana.ask("GET", "/api/ml/saved_objects/sync")["savedObjectsCreated"] == made
    assert kibana.ask("GET", "/api/ml/saved_objects/sync")["savedObjectsCreated"] == {}
    kibana.http.delete(url).raise_for_status()
    assert kibana.ask("GET", "/api/ml/saved_objects/sync")["savedObjectsDeleted"] == made
