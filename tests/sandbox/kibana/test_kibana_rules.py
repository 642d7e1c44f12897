"""Rules that really run: what opens an alert, what closes it, and who is told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox.kibana.conftest import CONNECTOR, NOON, QUERY, Kibana, action, rule_body

from elastic_sandbox.testing import serve


def status(kibana: Kibana, name: str = "errors") -> Any:
    return kibana.ask("GET", f"/api/alerting/rule/{name}")


def test_a_rule_opens_on_bad_data_for_the_model_that_has_it_and_recovers(watched: Kibana) -> None:
    watched.rule()
    watched.calls("fraud", 3)
    watched.calls("churn", 2)
    watched.run()
    (opened,) = watched.alerts(status="active")
    assert opened["kibana.alert.instance.id"] == "fraud"
    assert opened["event.action"] == "open"
    assert opened["kibana.alert.start"] == "2026-03-02T12:00:00.000Z"
    assert status(watched)["execution_status"]["status"] == "active"
    watched.pass_time()
    (ongoing,) = watched.alerts(status="active")
    assert (ongoing["event.action"], ongoing["kibana.alert.duration.us"]) == ("active", 60_000_000)
    assert ongoing["kibana.alert.uuid"] == opened["kibana.alert.uuid"]
    watched.pass_time(300)
    (closed,) = watched.alerts()
    assert (closed["kibana.alert.status"], closed["event.action"]) == ("recovered", "close")
    assert closed["kibana.alert.action_group"] == "recovered"
    assert closed["kibana.alert.time_range"] == {"gte": "2026-03-02T12:00:00.000Z", "lte": "2026-03-02T12:06:00.000Z"}
    assert status(watched)["execution_status"]["status"] == "ok"
    assert status(watched)["last_run"]["alerts_count"] == {"active": 0, "new": 0, "recovered": 1, "ignored": 0}


def test_good_data_opens_nothing(watched: Kibana) -> None:
    watched.rule()
    for minute in range(5):
        watched.calls("fraud", 1 if minute % 3 == 0 else 0)
        watched.pass_time()
    assert watched.alerts() == []


def test_the_window_is_open_at_its_start_and_closed_at_its_end(watched: Kibana) -> None:
    """fetch_esql_query.ts: gt start, lte end."""
    watched.calls("fraud", 5)
    watched.sandbox.clock.advance(300)
    watched.rule("old")
    watched.run()
    assert watched.alerts() == []
    watched.calls("churn", 5)
    watched.rule("new")
    watched.run()
    assert [one["kibana.alert.instance.id"] for one in watched.alerts()] == ["churn"]


def test_a_lookup_join_is_not_filtered_by_the_window_and_a_baseline_in_the_data_is(watched: Kibana) -> None:
    """real-stack.md, Watching: why baselines lie in a lookup index."""
    url = watched.sandbox.elasticsearch_url
    body = {
        "settings": {"index.mode": "lookup"},
        "mappings": {"properties": {"model": {"type": "keyword"}, "baseline": {"type": "long"}}},
    }
    watched.http.put(f"{url}/baselines", json=body).raise_for_status()
    watched.http.put(f"{url}/baselines/_doc/1?refresh=true", json={"model": "fraud", "baseline": 1})
    joined = "FROM calls | STATS n = SUM(count) BY model | LOOKUP JOIN baselines ON model | WHERE n > 2 * baseline"
    inside = "FROM calls | STATS n = MAX(count), low = MIN(count) BY model | WHERE n > 2 * low"
    watched.calls("fraud", 1)
    watched.sandbox.clock.advance(3600)
    watched.calls("fraud", 3)
    watched.rule("joined", params={"esqlQuery": {"esql": joined}})
    watched.rule("inside", params={"esqlQuery": {"esql": inside}})
    watched.run()
    assert [one["kibana.alert.rule.uuid"] for one in watched.alerts()] == ["joined"]


def test_a_model_that_falls_silent_gives_no_row_and_so_the_rule_recovers(watched: Kibana) -> None:
    """Why silence is told by heartbeats: the rows of a model that sends nothing do not exist."""
    quiet = "FROM calls | STATS n = COUNT(*) BY model | WHERE n == 0"
    watched.rule(params={"esqlQuery": {"esql": quiet}})
    watched.calls("fraud", 1)
    watched.pass_time(600)
    assert watched.alerts() == []


def test_actions_are_told_once_per_change_of_the_group(watched: Kibana) -> None:
    watched.rule(actions=[action(), action("recovered")])
    watched.calls("fraud", 3)
    for _ in range(4):
        watched.pass_time()
    watched.pass_time(300)
    watched.pass_time()
    assert [(one["alert"], one["group"]) for one in watched.found("told")] == [
        ("fraud", "query matched"),
        ("fraud", "recovered"),
    ]


def test_actions_on_every_run_are_told_every_run(watched: Kibana) -> None:
    watched.rule(actions=[action(when="onActiveAlert")])
    watched.calls("fraud", 3)
    for _ in range(3):
        watched.pass_time()
    assert len(watched.found("told")) == 3


def test_a_throttled_action_waits_for_its_interval(watched: Kibana) -> None:
    throttled = action(when="onThrottleInterval")
    throttled["frequency"]["throttle"] = "3m"
    watched.rule(actions=[throttled])
    for _ in range(7):
        watched.calls("fraud", 3)
        watched.pass_time()
    assert len(watched.found("told")) == 3


def test_variables_of_an_action_reach_rows_whose_column_names_have_dots(watched: Kibana) -> None:
    by_user = "FROM calls | STATS n = SUM(count) BY user.name | WHERE n > 0"
    told = {
        "rule": "{{rule.name}}",
        "id": "{{alert.id}}",
        "user": "{{context.hits.0._source.user.name}}",
        "n": "{{context.hits.0._source.n}}",
        "none": "{{context.nothing}}",
        "tags": "{{#rule.tags}}<{{.}}>{{/rule.tags}}",
    }
    watched.rule(params={"esqlQuery": {"esql": by_user}}, actions=[action(**told)], tags=["a", "b"])
    watched.calls("fraud", 3, **{"user.name": "ana"})
    watched.run()
    assert watched.found("told") == [
        {"rule": "Errors per model", "id": "ana", "user": "ana", "n": "3", "none": "", "tags": "<a><b>"}
    ]


def test_a_connector_that_fails_leaves_the_rule_well_and_is_noted(watched: Kibana) -> None:
    watched.rule(actions=[action()])
    watched.ask("DELETE", f"/api/actions/connector/{CONNECTOR}", status=204)
    broken = {"name": "told", "connector_type_id": ".index", "config": {"index": "Bad Name"}}
    watched.ask("POST", f"/api/actions/connector/{CONNECTOR}", broken)
    watched.calls("fraud", 3)
    watched.pass_time()
    assert status(watched)["execution_status"]["status"] == "active"
    ((rule, alert, answer),) = watched.sandbox.backend.kibana.failed_actions
    assert (rule, alert, answer["message"]) == ("errors", "fraud", "error indexing documents")


def test_a_muted_rule_writes_alerts_and_tells_nobody(watched: Kibana) -> None:
    watched.rule(actions=[action()])
    watched.ask("POST", "/api/alerting/rule/errors/_mute_all", status=204)
    watched.calls("fraud", 3)
    watched.pass_time()
    assert len(watched.alerts(status="active")) == 1
    assert watched.found("told") == []
    watched.ask("POST", "/api/alerting/rule/errors/_unmute_all", status=204)
    watched.pass_time()
    assert len(watched.found("told")) == 1


def test_one_alert_can_be_muted_alone(watched: Kibana) -> None:
    watched.rule(actions=[action()])
    watched.ask("POST", "/api/alerting/rule/errors/alert/fraud/_mute", status=204)
    watched.calls("fraud", 3)
    watched.calls("churn", 3)
    watched.pass_time()
    assert [one["alert"] for one in watched.found("told")] == ["churn"]
    assert status(watched)["muted_alert_ids"] == ["fraud"]


def test_a_rule_that_is_switched_off_rests_and_forgets(watched: Kibana) -> None:
    watched.rule()
    watched.calls("fraud", 3)
    watched.run()
    watched.ask("POST", "/api/alerting/rule/errors/_disable", {"untrack": True}, status=204)
    assert [one["kibana.alert.status"] for one in watched.alerts()] == ["untracked"]
    watched.pass_time()
    assert status(watched)["execution_status"]["last_execution_date"] == "2026-03-02T12:00:00.000Z"
    assert "scheduled_task_id" not in status(watched)
    watched.ask("POST", "/api/alerting/rule/errors/_enable", status=204)
    watched.run()
    assert sorted(one["kibana.alert.status"] for one in watched.alerts()) == ["active", "untracked"]


def test_run_soon_does_not_wait_for_the_schedule(watched: Kibana) -> None:
    watched.rule(schedule={"interval": "1d"})
    watched.run()
    watched.calls("fraud", 3)
    watched.pass_time()
    assert watched.alerts() == []
    internal = {"x-elastic-internal-origin": "Kibana"}
    watched.ask("POST", "/internal/alerting/rule/errors/_run_soon", status=204, headers=internal)
    watched.run()
    assert len(watched.alerts()) == 1
    watched.ask("POST", "/api/alerting/rule/errors/_disable", status=204)
    said = watched.ask("POST", "/internal/alerting/rule/errors/_run_soon", headers=internal)
    assert said == "Error running rule: rule is disabled"
    watched.ask("POST", "/internal/alerting/rule/errors/_run_soon", status=400)


def test_a_query_that_fails_is_the_rules_status(watched: Kibana) -> None:
    watched.rule(params={"esqlQuery": {"esql": "FROM nowhere | LIMIT 1"}})
    watched.run()
    shown = status(watched)
    assert shown["execution_status"]["status"] == "error"
    assert "Unknown index [nowhere]" in shown["execution_status"]["error"]["message"]
    assert shown["last_run"]["outcome"] == "failed"


def test_rows_of_one_alert_id_are_a_warning(watched: Kibana) -> None:
    both = "FROM calls | STATS n = SUM(count) BY model, kind = count | KEEP n, model"
    watched.rule(params={"esqlQuery": {"esql": both}})
    watched.calls("fraud", 3)
    watched.calls("fraud", 4)
    watched.run()
    assert len(watched.alerts()) == 1
    assert status(watched)["execution_status"]["warning"]["message"].endswith("duplicate results for alert IDs: fraud")


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (QUERY, {"fraud"}),
        (f"{QUERY} | RENAME model AS which", {"fraud"}),
        ("FROM calls | STATS n = SUM(count) BY model, user.name", {"fraud,ana", "churn"}),
        ("FROM calls | STATS n = SUM(count) BY which = model | KEEP n, which", {"3,fraud", "1,churn"}),
        ("FROM calls METADATA _id | WHERE count > 2 | KEEP model", {"fraud"}),
        ("FROM calls | STATS n = SUM(count) BY model | DROP model | SORT n", {"3", "1"}),
    ],
)
def test_the_id_of_an_alert_is_what_its_row_was_grouped_by(watched: Kibana, query: str, ids: set[str]) -> None:
    watched.rule(params={"esqlQuery": {"esql": query}})
    watched.calls("fraud", 3, **{"user.name": "ana"})
    watched.calls("churn", 1)
    watched.run()
    assert {one["kibana.alert.instance.id"] for one in watched.alerts()} == ids


def test_without_rows_as_groups_there_is_one_alert_for_all(watched: Kibana) -> None:
    watched.rule(params={"groupBy": "all"}, actions=[action(n="{{context.value}}")])
    watched.calls("fraud", 3)
    watched.calls("churn", 3)
    watched.run()
    (one,) = watched.alerts()
    assert one["kibana.alert.instance.id"] == "query matched"
    assert one["kibana.alert.evaluation.value"] == "2"
    assert watched.found("told") == [{"n": "2"}]


def test_the_scheduler_runs_rules_by_the_sandboxs_clock_alone(watched: Kibana) -> None:
    watched.sandbox.backend.kibana.scheduler.by_hand = False
    watched.rule(schedule={"interval": "10m"})
    _until(lambda: status(watched)["execution_status"]["status"] == "ok")
    watched.sandbox.clock.advance(3600)
    _until(lambda: status(watched)["execution_status"]["last_execution_date"] == "2026-03-02T13:00:00.000Z")
    # What was missed is run once.
    assert status(watched)["next_run"] == "2026-03-02T13:10:00.000Z"


def test_rules_alerts_and_connectors_outlive_the_process(tmp_path: Path) -> None:
    with serve(data=tmp_path) as first, httpx.Client(base_url=first.kibana_url) as http:
        first.clock.freeze(NOON)
        first.backend.kibana.scheduler.by_hand = True
        one = Kibana(first, http)
        one.http.put(
            f"{first.elasticsearch_url}/calls", json={"mappings": {"properties": {"model": {"type": "keyword"}}}}
        )
        one.calls("fraud", 3)
        one.rule()
        one.run()
        (before,) = one.alerts()
    with serve(data=tmp_path) as second, httpx.Client(base_url=second.kibana_url) as http:
        two = Kibana(second, http)
        # The new process goes on by itself; its clock is past the rule's next run.
        _until(lambda: two.alerts()[0]["event.action"] != "open")
        (after,) = two.alerts()
        assert after["kibana.alert.uuid"] == before["kibana.alert.uuid"]


def test_on_serverless_alerts_are_a_data_stream_and_the_query_comes_15_seconds_late() -> None:
    with serve(flavor="serverless") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        sandbox.clock.freeze(NOON)
        sandbox.backend.kibana.scheduler.by_hand = True
        one = Kibana(sandbox, http)
        one.http.put(
            f"{sandbox.elasticsearch_url}/calls", json={"mappings": {"properties": {"model": {"type": "keyword"}}}}
        )
        one.calls("fraud", 3)
        one.rule()
        one.run()
        assert one.alerts() == []
        one.pass_time()
        one.pass_time()
        (alert,) = one.alerts()
        assert alert["event.action"] == "active"
        streams = one.http.get(f"{sandbox.elasticsearch_url}/_data_stream/.alerts*?expand_wildcards=all").json()
        assert [stream["name"] for stream in streams["data_streams"]] == [".alerts-stack.alerts-default"]
        fast = one.rule("fast", schedule={"interval": "30s"}, status=400)
        assert "less than the allowed minimum interval of 1m" in fast["message"]


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"params": {"threshold": [1]}}, "params invalid: [threshold]: is required to be 0"),
        ({"params": {"thresholdComparator": "<"}}, "[thresholdComparator]: is required to be greater than"),
        ({"params": {"index": ["calls"]}}, "[index]: a value wasn't expected to be present"),
        ({"params": {"groupBy": "rows"}}, "invalid groupBy"),
        ({"params": {"timeWindowUnit": "w"}}, "invalid timeWindowUnit"),
        ({"params": {"size": -1}}, "[size]: Value must be equal to or greater than [0]."),
        ({"params": {"sizes": 1}}, "[sizes]: definition for this key is missing"),
        ({"rule_type_id": ".made-up"}, 'Rule type ".made-up" is not registered.'),
        ({"schedule": {"interval": "fast"}}, 'Invalid duration "fast"'),
        ({"actions": [{"id": "gone", "group": "query matched", "params": {}}]}, "Failed to load action gone (404)"),
        ({"actions": [{**action(), "group": "fired"}]}, "Invalid action groups: fired"),
        ({"actions": [{"id": CONNECTOR, "group": "recovered"}]}, "Actions missing frequency parameters: recovered"),
        ({"notify_when": "onActiveAlert", "actions": [action()]}, "Cannot specify per-action frequency params"),
        ({"flapping": {"look_back_window": 2, "status_change_threshold": 4}}, "must be equal to or greater than"),
        ({"colour": "red"}, "[request body.colour]: definition for this key is missing"),
        ({"tags": "x"}, "[request body.tags]: expected value of type [array] but got [string]"),
    ],
)
def test_a_body_that_kibana_would_refuse_is_refused_in_its_words(
    watched: Kibana, changes: dict[str, Any], said: str
) -> None:
    answer = watched.rule(status=400, **changes)
    assert said in answer["message"]
    assert watched.ask("GET", "/api/alerting/rules/_find")["total"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"rule_type_id": ".index-threshold"},
        {"params": {"searchType": "esQuery"}},
        {"actions": [{**action(), "frequency": {"summary": True, "notify_when": "onActiveAlert"}}]},
        {"actions": [action(text="{{#FormatDate}}{{date}}{{/FormatDate}}")]},
    ],
)
def test_what_only_the_sandbox_lacks_is_a_501(watched: Kibana, changes: dict[str, Any]) -> None:
    assert "sandbox_unsupported" in watched.rule(status=501, **changes)["message"]


def test_ids_are_taken_in_all_spaces_at_once_and_seen_in_one(watched: Kibana) -> None:
    watched.ask("POST", "/api/spaces/space", {"id": "blue", "name": "Blue"})
    watched.rule()
    assert watched.rule(status=409)["message"] == "Saved object [alert/errors] conflict"
    assert watched.rule(path="/s/blue", status=409)["statusCode"] == 409
    gone = watched.ask("GET", "/s/blue/api/alerting/rule/errors", status=404)
    assert gone == {"statusCode": 404, "error": "Not Found", "message": "Saved object [alert/errors] not found"}


def test_an_update_raises_the_revision_when_it_changes_something_and_leaves_the_switch(watched: Kibana) -> None:
    watched.rule(enabled=False, flapping={"look_back_window": 10, "status_change_threshold": 3})
    body = {name: value for name, value in rule_body().items() if name not in {"consumer", "rule_type_id"}}
    same = watched.ask("PUT", "/api/alerting/rule/errors", body)
    assert (same["revision"], same["enabled"]) == (0, False)
    assert same["flapping"]["look_back_window"] == 10
    assert watched.ask("PUT", "/api/alerting/rule/errors", {**body, "tags": ["x"]})["revision"] == 1
    wrong = watched.ask("PUT", "/api/alerting/rule/errors", {**body, "enabled": True}, status=400)
    assert wrong["message"] == "[request body.enabled]: definition for this key is missing"


def test_the_licence_decides_over_types_of_rules() -> None:
    with serve(license="basic") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        one = Kibana(sandbox, http)
        types = {kind["id"]: kind for kind in one.ask("GET", "/api/alerting/rule_types")}
        assert types[".es-query"]["enabled_in_license"]
        assert not types["xpack.ml.anomaly_detection_alert"]["enabled_in_license"]
        refused = one.rule(rule_type_id="xpack.ml.anomaly_detection_alert", consumer="ml", status=403)
        assert "your basic license does not support it" in refused["message"]


def test_a_part_of_the_body_that_came_later_is_unknown_to_9_2() -> None:
    flapping = {"look_back_window": 10, "status_change_threshold": 3, "enabled": False}
    with serve(version="9.2.0") as sandbox, httpx.Client(base_url=sandbox.kibana_url) as http:
        Kibana(sandbox, http).rule(flapping=flapping, status=400)


def _until(done: Any) -> None:
    for _ in range(200):
        if done():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")
