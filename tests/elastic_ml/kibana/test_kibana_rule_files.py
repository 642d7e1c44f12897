"""What every shipped rule file says, and that its page says the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_rules import upsert_rule
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.kibana.connectors import connectors_of
from elastic_ml.kibana.rules import Rule, rules_of
from elastic_ml.kibana_bundle import asset_folders, build_bundle, platform_folder
from elastic_ml.kibana_bundle.folders import files_of
from elastic_ml.project import load_project
from elastic_sandbox.testing import Sandbox

ROOT = Path(__file__).parents[3]
PROJECT = load_project(ROOT / "include")
DASHBOARDS = {str(one["id"]) for one in build_bundle(PROJECT).objects if one["type"] == "dashboard"}
RULES = rules_of(PROJECT, asset_folders(PROJECT), DASHBOARDS)
PAGE = (ROOT / "docs" / "alert-rules.md").read_text(encoding="utf-8")
MINUTES = {"m": 1, "h": 60}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_complete(rule: Rule) -> None:
    body = rule.body
    assert rule.id.startswith(f"ml-{rule.name}")
    assert set(body["tags"]) == {"elastic-ml", "lendpath", rule.severity}
    assert body["flapping"] == {"look_back_window": 20, "status_change_threshold": 4}
    guide = body["artifacts"]["investigation_guide"]["blob"]
    assert guide.endswith(f"under `{rule.name}`\n")
    assert "{{" not in str(body) + guide
    window, unit = body["params"]["timeWindowSize"], body["params"]["timeWindowUnit"]
    every = body["schedule"]["interval"]
    assert window * MINUTES[unit] >= int(every[:-1]) * MINUTES[every[-1]], "events between two runs would be lost"
    assert rule.name == "anomaly" or body["artifacts"].get("dashboards"), "a person has to see more than a name"


def test_every_dashboard_that_a_shipped_rule_names_is_there() -> None:
    linked = {one["id"] for rule in RULES for one in rule.body["artifacts"].get("dashboards", [])}
    assert linked == {"ml-model-operations", "ml-data-and-pipelines", "ml-fraud-operations"}


def test_the_page_says_what_the_rules_do_and_has_a_runbook_for_each() -> None:
    names = {rule.name for rule in RULES}
    assert set(re.findall(r"^### (\S+)$", PAGE, re.MULTILINE)) == names
    lines = {found[1]: line for line in PAGE.splitlines() if (found := re.match(r"\| \[`([\w-]+)`\]", line))}
    assert set(lines) == names
    for rule in RULES:
        cells = [cell.strip() for cell in lines[rule.name].strip("|").split("|")]
        params = rule.body["params"]
        if "by_user_hour" in rule.body["name"] or rule.id.endswith("privileged_access"):
            continue  # user-hours have a longer window of their own
        unit = {"m": "min", "h": "h"}
        assert f"**{rule.severity}**" in cells[0], rule.name
        every = rule.body["schedule"]["interval"]
        assert cells[3] == f"{every[:-1]} {unit[every[-1]]}", rule.name
        assert cells[4] == f"{params['timeWindowSize']} {unit[params['timeWindowUnit']]}", rule.name


def test_lendpaths_own_rule_opens_for_the_person_of_a_session_that_is_far_too_long(
    sandbox: Sandbox, elasticsearch: Any
) -> None:
    sandbox.backend.kibana.scheduler.by_hand = True
    (rule,) = (rule for rule in RULES if rule.name == "long-session")
    number = {"type": "double"}
    mappings = {
        "properties": {
            "@timestamp": {"type": "date"},
            "user": {"properties": {"id": {"type": "keyword"}}},
            "session": {"properties": {"duration": number}},
            "ml": {"properties": {"session_duration": {"properties": {"score": number}}}},
        }
    }
    elasticsearch.indices.create(index="long-sessions", mappings=mappings)
    elasticsearch.indices.put_alias(index="long-sessions", name="logs-lendpath.audit-lendpath")
    for user, duration, expected in (
        ("long", 9000, 2000),
        ("usual", 9000, 3000),
        ("short", 3000, 100),
        ("new", 9000, None),
    ):
        score = {} if expected is None else {"ml": {"session_duration": {"score": expected}}}
        document = {"@timestamp": sandbox.clock.now_iso(), "user": {"id": user}, "session": {"duration": duration}}
        elasticsearch.index(index="long-sessions", document={**document, **score}, refresh=True)
    sandbox.clock.advance(60)
    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as client:
        upsert_rule(client, rule.id, rule.body)
    sandbox.backend.kibana.scheduler.run_due()
    elasticsearch.indices.refresh(index=".alerts-stack.alerts-default")
    hits = elasticsearch.search(index=".alerts-stack.alerts-default")["hits"]["hits"]
    assert [hit["_source"]["kibana.alert.instance.id"] for hit in hits] == ["long"]


def test_nothing_of_the_platform_names_the_example() -> None:
    files = [path for path in platform_folder().rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path.name for path in files if re.search("lendpath", path.read_text(encoding="utf-8"), re.IGNORECASE)] == []


def test_shipped_connectors_need_no_secret_and_each_type_of_connector_has_its_actions() -> None:
    assert [(one.type, list(one.severities)) for one in connectors_of(PROJECT, [platform_folder()])] == [
        (".index", ["P1", "P2", "P3"]),
        (".server-log", []),
    ]
    assert set(files_of([platform_folder()], "actions")) == {"email", "index", "pagerduty", "server-log", "slack"}


def test_rules_of_two_projects_on_one_cluster_do_not_meet() -> None:
    other = load_project(ROOT / "tests" / "watched" / "folder")
    assert not {rule.id for rule in rules_of(other, asset_folders(other))} & {rule.id for rule in RULES}
