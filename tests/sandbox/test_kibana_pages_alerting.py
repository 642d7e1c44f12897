"""Rules, alerts and connectors as pages: what they say is what the API says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from harness.repeated_work import PLAIN_HTTP
from sandbox.pages_world import NOON, Pages, es_query

from elastic_sandbox.testing import Sandbox

RULES = "/app/management/insightsAndAlerting/triggersActions"
CONNECTOR = "6f5c4a3e-1b2d-4c3e-8f90-123456789abc"
QUERY = "FROM calls\n| STATS p = MAX(ms), n = SUM(n) BY model\n| WHERE n >= 4 AND p > 20"


@pytest.fixture
def watched(sandbox: Sandbox) -> Iterator[Pages]:
    """Two models of which one is slow, a rule that says so, and a server-log connector."""
    sandbox.clock.freeze(NOON)
    sandbox.backend.kibana.scheduler.by_hand = True
    with httpx.Client(base_url=sandbox.kibana_url, timeout=60, verify=PLAIN_HTTP) as http:
        pages = Pages(sandbox, http)
        pages.calls()
        pages.post(f"/api/actions/connector/{CONNECTOR}", {"name": "Told", "connector_type_id": ".server-log"})
        pages.post("/api/alerting/rule/slow", {
            "name": "Slow <models>", "consumer": "stackAlerts", "rule_type_id": ".es-query", "tags": ["P2"],
            "schedule": {"interval": "5m"},
            "params": es_query(QUERY, groupBy="row", timeWindowSize=10),
            "actions": [{"id": CONNECTOR, "group": "query matched", "params": {"message": "{{alert.id}} is slow"},
                         "frequency": {"summary": False, "notify_when": "onActionGroupChange", "throttle": None}}],
            "artifacts": {"investigation_guide": {"blob": "## First\n\n[Runbook](https://runbooks.example/slow)"}},
        })  # fmt: skip
        yield pages


def run(pages: Pages) -> None:
    pages.sandbox.backend.kibana.scheduler.run_due()


def test_a_rule_is_listed_with_its_state_and_what_it_opened(watched: Pages) -> None:
    assert "Slow <models> pending 0" in watched.get(f"{RULES}/rules").text
    run(watched)
    page = watched.get(f"{RULES}/rules")
    assert (
        "Slow <models> active 1 fraud p 33, n 4, model fraud; p 5, n 4, model outliers 5m 2026-03-02 12:00 P2"
        in page.text
    )
    assert f"{RULES}/rule/slow" in {one["href"] for one in page.all("a")}
    watched.sandbox.clock.advance(3600)
    run(watched)
    assert "Slow <models> ok 0" in watched.get(f"{RULES}/rules").text
    assert "Slow <models>" in watched.get(f"{RULES}/rules?_a=(tags:!(P2))").text
    assert "Slow <models>" not in watched.get(f"{RULES}/rules?_a=(tags:!(P1))").text
    watched.post("/api/alerting/rule/slow/_disable", {})
    assert "Slow <models> switched off 0" in watched.get(f"{RULES}/rules").text


def test_a_rule_s_page_has_the_values_of_now_before_its_condition_too(watched: Pages) -> None:
    run(watched)
    page = watched.get(f"{RULES}/rule/slow")
    matching, _, before = page.text.partition("Values now, before WHERE n >= 4 AND p > 20")
    assert "Matching now, over the last 10 m p n model 33 4 fraud" in matching
    assert "5 4 outliers" in before
    assert "outliers" not in matching
    assert "Told when query matched" in page.text
    assert "https://runbooks.example/slow" in {one["href"] for one in page.all("a")}
    assert "active Slow <models> fraud 2026-03-02 12:00 – no Document count is 1" in page.text


def test_a_rule_that_fails_shows_what_it_was_answered(watched: Pages) -> None:
    watched.elastic("DELETE", "/calls")
    run(watched)
    page = watched.get(f"{RULES}/rule/slow")
    assert page.text.count("Unknown index [calls]") == 2, "what the last run said, and what the query says now"
    assert "Slow <models> error 0" in watched.get(f"{RULES}/rules").text


def test_alerts_of_all_rules_are_listed_with_their_end(watched: Pages) -> None:
    assert "No rule has opened an alert yet." in watched.get(f"{RULES}/alerts").text
    run(watched)
    watched.sandbox.clock.advance(timedelta(hours=1).total_seconds())
    run(watched)
    text = watched.get(f"{RULES}/alerts").text
    assert "recovered Slow <models> fraud 2026-03-02 12:00 2026-03-02 13:00 no" in text


def test_connectors_are_listed_with_what_they_wrote(watched: Pages) -> None:
    run(watched)
    text = watched.get(f"{RULES}/connectors").text
    assert f"Told .server-log {CONNECTOR} 1 {{}}" in text
    assert "fraud is slow" in text


def test_an_alert_s_link_leads_to_its_rows_in_discover(watched: Pages) -> None:
    run(watched)
    watched.elastic("POST", "/.alerts-stack.alerts-default/_refresh")
    found = watched.elastic("POST", "/.alerts-stack.alerts-default/_search", {})["hits"]["hits"][0]["_source"]
    moved = watched.http.get(found["kibana.alert.url"])
    assert moved.status_code == 302
    page = watched.get(moved.headers["location"])
    assert "33 8 fraud" in page.text, "Discover takes the window's first moment too"
    assert "The link's parameters cannot be read" in watched.get("/app/r?l=DISCOVER_APP_LOCATOR&p=x", status=400).text
