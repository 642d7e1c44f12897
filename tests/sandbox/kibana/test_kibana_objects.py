"""Saved objects: imports that work, that fail in part, and what comes out again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sandbox.kibana.conftest import Kibana

VIEW = {"type": "index-pattern", "id": "shop-view", "attributes": {"title": "logs-*", "name": "Shop"}, "references": []}
TAG = {"type": "tag", "id": "shop-tag", "attributes": {"name": "shop", "description": "", "color": "#0077cc"}}
DASHBOARD: dict[str, Any] = {
    "type": "dashboard",
    "id": "shop-overview",
    "attributes": {"title": "Overview", "panelsJSON": "[]", "optionsJSON": "{}", "timeRestore": False},
    "references": [
        {"type": "index-pattern", "id": "shop-view", "name": "p1:indexpattern-datasource-layer-l1"},
        {"type": "tag", "id": "shop-tag", "name": "tag-ref-shop-tag"},
    ],
    "coreMigrationVersion": "8.8.0",
    "typeMigrationVersion": "10.3.0",
}
ALL = (TAG, VIEW, DASHBOARD)


def there(kibana: Kibana, kind: str, name: str, path: str = "") -> bool:
    body = {"objects": [{"type": kind, "id": name}]}
    headers = {"kbn-xsrf": "x"}
    return kibana.http.post(f"{path}/api/saved_objects/_export", json=body, headers=headers).status_code == 200


def test_a_bundle_is_imported_and_says_what_it_made(kibana: Kibana) -> None:
    answer = kibana.bundle(*ALL)
    assert answer == {
        "success": True,
        "successCount": 3,
        "warnings": [],
        "successResults": [
            {"type": "tag", "id": "shop-tag", "meta": {"title": "shop", "icon": "tag"}, "managed": False},
            {"type": "index-pattern", "id": "shop-view", "managed": False,
             "meta": {"title": "logs-*", "icon": "indexPatternApp"}},
            {"type": "dashboard", "id": "shop-overview", "managed": False,
             "meta": {"title": "Overview", "icon": "dashboardApp"}},
        ],
    }  # fmt: skip
    # An imported data view is a data view.
    assert kibana.ask("GET", "/api/data_views/data_view/shop-view")["data_view"]["name"] == "Shop"


def test_a_second_import_conflicts_and_overwrites_when_it_is_asked_to(kibana: Kibana) -> None:
    kibana.bundle(*ALL)
    answer = kibana.bundle(*ALL)
    assert (answer["success"], answer["successCount"]) == (False, 0)
    assert [error["error"] for error in answer["errors"]] == [{"type": "conflict"}] * 3
    again = kibana.bundle(*ALL, params={"overwrite": "true"})
    assert again["success"]
    assert [one["overwrite"] for one in again["successResults"]] == [True] * 3


def test_while_one_object_is_in_conflict_nothing_is_written_whatever_the_count_says(kibana: Kibana) -> None:
    kibana.bundle(TAG)
    answer = kibana.bundle(*ALL)
    assert (answer["success"], answer["successCount"]) == (False, 2)
    assert not there(kibana, "index-pattern", "shop-view")
    assert not there(kibana, "dashboard", "shop-overview")


def test_a_missing_data_view_is_an_error_and_a_missing_tag_is_none(kibana: Kibana) -> None:
    answer = kibana.bundle(DASHBOARD)
    assert answer["errors"] == [
        {
            "type": "dashboard",
            "id": "shop-overview",
            "meta": {"title": "Overview", "icon": "dashboardApp"},
            "error": {"type": "missing_references", "references": [{"type": "index-pattern", "id": "shop-view"}]},
        }
    ]
    assert kibana.bundle(VIEW, DASHBOARD)["success"]


def test_an_unknown_type_is_refused_and_the_rest_is_written(kibana: Kibana) -> None:
    strange = {"type": "wigwags", "id": "1", "attributes": {"title": "my title"}}
    answer = kibana.bundle(strange, TAG)
    assert (answer["success"], answer["successCount"]) == (False, 1)
    assert answer["errors"] == [
        {"id": "1", "type": "wigwags", "meta": {"title": "my title"}, "error": {"type": "unsupported_type"}}
    ]
    assert there(kibana, "tag", "shop-tag")


def test_attributes_of_a_wrong_type_are_an_unknown_error(kibana: Kibana) -> None:
    parsed = {**DASHBOARD, "references": [], "attributes": {"title": "Overview", "panelsJSON": []}}
    (error,) = kibana.bundle(parsed)["errors"]
    assert (error["error"]["type"], error["error"]["statusCode"]) == ("unknown", 400)
    assert "[attributes.panelsJSON]: expected value of type [string] but got [Array]" in error["error"]["message"]


def test_an_object_of_a_later_version_ends_the_import(kibana: Kibana) -> None:
    later = {**DASHBOARD, "references": [], "typeMigrationVersion": "10.9.0"}
    answer = kibana.bundle(TAG, later, status=422)
    assert answer["message"] == (
        'Document "shop-overview" belongs to a more recent version of Kibana [10.9.0] when the last known version is '
        "[10.3.0]."
    )
    assert not there(kibana, "tag", "shop-tag")


def test_an_id_of_another_space_gets_a_new_one_and_is_found_again_by_its_origin(kibana: Kibana) -> None:
    kibana.ask("POST", "/api/spaces/space", {"id": "blue", "name": "Blue"})
    kibana.bundle(*ALL)
    first = kibana.bundle(*ALL, path="/s/blue/api/saved_objects/_import")
    assert first["success"]
    renamed = {one["id"]: one["destinationId"] for one in first["successResults"]}
    assert len(renamed) == 3
    exported = kibana.ask(
        "POST",
        "/s/blue/api/saved_objects/_export",
        {"objects": [{"type": "dashboard", "id": renamed["shop-overview"]}], "excludeExportDetails": True},
    )
    one = json.loads(exported)
    assert one["originId"] == "shop-overview"
    assert {reference["id"] for reference in one["references"]} == {renamed["shop-view"], renamed["shop-tag"]}
    clash = kibana.bundle(TAG, path="/s/blue/api/saved_objects/_import")
    assert clash["errors"][0]["error"] == {"type": "conflict", "destinationId": renamed["shop-tag"]}
    second = kibana.bundle(*ALL, path="/s/blue/api/saved_objects/_import", params={"overwrite": "true"})
    assert {one["id"]: one["destinationId"] for one in second["successResults"]} == renamed


def test_new_copies_refer_to_each_other(kibana: Kibana) -> None:
    kibana.bundle(*ALL)
    answer = kibana.bundle(*ALL, params={"createNewCopies": "true"})
    assert answer["success"]
    copies = {one["id"]: one["destinationId"] for one in answer["successResults"]}
    body = {"objects": [{"type": "dashboard", "id": copies["shop-overview"]}], "excludeExportDetails": True}
    one = json.loads(kibana.ask("POST", "/api/saved_objects/_export", body))
    assert {reference["id"] for reference in one["references"]} == {copies["shop-view"], copies["shop-tag"]}
    assert "originId" not in one


def test_errors_are_resolved_object_by_object(kibana: Kibana) -> None:
    kibana.bundle(TAG)
    other = {**VIEW, "id": "other-view", "attributes": {"title": "metrics-*", "name": "Other"}}
    kibana.bundle(other)
    retries = [
        {"type": "tag", "id": "shop-tag", "overwrite": True},
        {"type": "dashboard", "id": "shop-overview",
         "replaceReferences": [{"type": "index-pattern", "from": "shop-view", "to": "other-view"}]},
    ]  # fmt: skip
    path = "/api/saved_objects/_resolve_import_errors"
    answer = kibana.bundle(TAG, DASHBOARD, path=path, data={"retries": json.dumps(retries)})
    assert (answer["success"], answer["successCount"]) == (True, 2)
    body = {"objects": [{"type": "dashboard", "id": "shop-overview"}], "excludeExportDetails": True}
    one = json.loads(kibana.ask("POST", "/api/saved_objects/_export", body))
    assert one["references"][0]["id"] == "other-view"


def test_a_missing_reference_can_be_ignored(kibana: Kibana) -> None:
    retries = [{"type": "dashboard", "id": "shop-overview", "ignoreMissingReferences": True}]
    path = "/api/saved_objects/_resolve_import_errors"
    assert kibana.bundle(DASHBOARD, path=path, data={"retries": json.dumps(retries)})["success"]


def test_what_was_exported_imports_again(kibana: Kibana) -> None:
    kibana.bundle(*ALL)
    body = {"type": ["dashboard"], "includeReferencesDeep": True}
    lines = kibana.ask("POST", "/api/saved_objects/_export", body).splitlines()
    assert json.loads(lines[-1]) == {
        "excludedObjects": [],
        "excludedObjectsCount": 0,
        "exportedCount": 3,
        "missingRefCount": 0,
        "missingReferences": [],
    }
    kibana.sandbox.reset()
    assert kibana.bundle(*lines)["successCount"] == 3


def test_an_export_of_what_is_not_there_names_it(kibana: Kibana) -> None:
    body = {"objects": [{"type": "dashboard", "id": "1"}]}
    answer = kibana.ask("POST", "/api/saved_objects/_export", body, status=400)
    assert answer == {
        "statusCode": 400,
        "error": "Bad Request",
        "message": "Error fetching objects to export",
        "attributes": {
            "objects": [
                {
                    "id": "1",
                    "type": "dashboard",
                    "error": {
                        "statusCode": 404,
                        "error": "Not Found",
                        "message": "Saved object [dashboard/1] not found",
                    },
                }
            ]
        },
    }


def test_requests_that_are_no_import_are_refused(kibana: Kibana) -> None:
    assert kibana.ask("POST", "/api/saved_objects/_import", {}, status=415)["message"] == "Unsupported Media Type"
    twice = kibana.bundle(TAG, TAG, status=400)
    assert twice["message"] == "Non-unique import objects detected: [tag:shop-tag]"
    files = {"file": ("bundle.json", b"{}", "application/json")}
    wrong = kibana.ask("POST", "/api/saved_objects/_import", files=files, status=400)
    assert wrong["message"] == "Invalid file extension .json"
    both = kibana.bundle(TAG, params={"overwrite": "true", "createNewCopies": "true"}, status=400)
    assert "cannot use [overwrite] with [createNewCopies]" in both["message"]
    rule = kibana.bundle({"type": "alert", "id": "1", "attributes": {}}, status=501)
    assert "importing a saved object of type [alert]" in rule["message"]


def test_data_views_are_created_read_changed_and_deleted(kibana: Kibana) -> None:
    mappings = {"properties": {"@timestamp": {"type": "date"}, "user": {"type": "keyword"}, "text": {"type": "text"}}}
    kibana.http.put(f"{kibana.sandbox.elasticsearch_url}/logs-1", json={"mappings": mappings}).raise_for_status()
    spec = {"id": "dv", "title": "logs-*", "name": "Logs", "timeFieldName": "@timestamp"}
    made = kibana.ask("POST", "/api/data_views/data_view", {"data_view": spec})["data_view"]
    assert made["fields"]["user"]["type"] == "string"
    assert made["fields"]["text"]["aggregatable"] is False
    assert made["namespaces"] == ["default"]
    assert kibana.ask("GET", "/api/data_views/default") == {"data_view_id": "dv"}
    change = {"data_view": {"name": "Renamed", "allowNoIndex": True}}
    changed = kibana.ask("POST", "/api/data_views/data_view/dv", change)["data_view"]
    assert (changed["name"], changed["allowNoIndex"], changed["title"]) == ("Renamed", False, "logs-*")
    assert [one["id"] for one in kibana.ask("GET", "/api/data_views")["data_view"]] == ["dv"]
    kibana.ask("DELETE", "/api/data_views/data_view/dv")
    gone = kibana.ask("GET", "/api/data_views/data_view/dv", status=404)
    assert gone["message"] == "Saved object [index-pattern/dv] not found"


def test_a_data_view_is_a_duplicate_by_its_name_and_override_deletes_the_other(kibana: Kibana) -> None:
    path = "/api/data_views/data_view"
    kibana.ask("POST", path, {"data_view": {"id": "a", "title": "logs-*", "name": "Logs"}})
    same_title = {"data_view": {"id": "b", "title": "logs-*", "name": "More logs"}}
    kibana.ask("POST", path, same_title)
    same_name = {"data_view": {"id": "c", "title": "metrics-*", "name": "Logs"}}
    assert kibana.ask("POST", path, same_name, status=400)["message"] == "Duplicate data view: Logs"
    kibana.ask("POST", path, {**same_name, "override": True})
    assert [one["id"] for one in kibana.ask("GET", "/api/data_views")["data_view"]] == ["b", "c"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"data_view": {}}, "[request body.data_view.title]: expected value of type [string] but got [undefined]"),
        (
            {"override": 123, "data_view": {"title": "foo"}},
            "[request body.override]: expected value of type [boolean] but got [number]",
        ),
        (
            {"data_view": {"title": "x", "colour": 1}},
            "[request body.data_view.colour]: definition for this key is missing",
        ),
    ],
)
def test_a_data_view_that_does_not_fit_is_refused_in_kibanas_words(
    kibana: Kibana, body: dict[str, Any], said: str
) -> None:
    assert kibana.ask("POST", "/api/data_views/data_view", body, status=400)["message"] == said
