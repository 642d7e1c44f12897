"""Kibana over HTTP, and rules that run when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from harness.repeated_work import PLAIN_HTTP

from elastic_sandbox.testing import Sandbox

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
QUERY = "FROM calls | STATS errors = SUM(count) BY model | WHERE errors >= 3"
CONNECTOR = "6f5c4a3e-1b2d-4c3e-8f90-123456789abc"


class Kibana:
    """Short words for requests; every answer is checked for a crash of the sandbox."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client) -> None:
        self.sandbox = sandbox
        self.http = http

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        headers = {"kbn-xsrf": "test", **more.pop("headers", {})}
        answer = self.http.request(method, path, json=body, headers=headers, **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if answer.content and is_json else answer.text

    def bundle(self, *lines: dict[str, Any] | str, path: str = "/api/saved_objects/_import", **more: Any) -> Any:
        import json

        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        files = {"file": ("bundle.ndjson", text.encode(), "application/ndjson")}
        return self.ask("POST", path, files=files, **more)

    # Rules: the clock stands still, and nothing runs unless `pass_time` lets it.

    def rule(self, name: str = "errors", *, path: str = "", status: int = 200, **changes: Any) -> Any:
        return self.ask("POST", f"{path}/api/alerting/rule/{name}", rule_body(**changes), status=status)

    def pass_time(self, seconds: float = 60) -> None:
        self.sandbox.clock.advance(seconds)
        self.run()

    def run(self) -> None:
        self.sandbox.backend.kibana.scheduler.run_due()

    def calls(self, model: str, count: int, **more: Any) -> None:
        document = {"@timestamp": self.sandbox.clock.now_iso(), "model": model, "count": count, **more}
        self.http.post(f"{self.sandbox.elasticsearch_url}/calls/_doc?refresh=true", json=document).raise_for_status()

    def alerts(self, **terms: Any) -> list[dict[str, Any]]:
        found = self.found(".alerts-stack.alerts-default")
        return [one for one in found if all(one.get(f"kibana.alert.{name}") == value for name, value in terms.items())]

    def found(self, index: str) -> list[dict[str, Any]]:
        url = f"{self.sandbox.elasticsearch_url}/{index}"
        self.http.post(f"{url}/_refresh")
        answer = self.http.post(f"{url}/_search", json={"size": 100, "sort": ["_doc"]}).json()
        return [hit["_source"] for hit in answer.get("hits", {"hits": []})["hits"]]


def rule_body(**changes: Any) -> dict[str, Any]:
    params = {
        "searchType": "esqlQuery",
        "esqlQuery": {"esql": QUERY},
        "timeField": "@timestamp",
        "timeWindowSize": 5,
        "timeWindowUnit": "m",
        "size": 0,
        "threshold": [0],
        "thresholdComparator": ">",
        "groupBy": "row",
        **changes.pop("params", {}),
    }
    return {
        "name": "Errors per model",
        "consumer": "stackAlerts",
        "rule_type_id": ".es-query",
        "schedule": {"interval": "1m"},
        "tags": ["models"],
        "params": params,
        "actions": [],
        **changes,
    }


def action(group: str = "query matched", *, when: str = "onActionGroupChange", **document: str) -> dict[str, Any]:
    return {
        "id": CONNECTOR,
        "group": group,
        "params": {"documents": [document or {"alert": "{{alert.id}}", "group": "{{alert.actionGroup}}"}]},
        "frequency": {"summary": False, "notify_when": when, "throttle": None},
    }


@pytest.fixture
def kibana(sandbox: Sandbox) -> Any:
    with httpx.Client(base_url=sandbox.kibana_url, timeout=30, verify=PLAIN_HTTP) as http:
        yield Kibana(sandbox, http)


@pytest.fixture
def watched(kibana: Kibana) -> Kibana:
    """An index of calls, an index connector, and a clock that stands still."""
    kibana.sandbox.clock.freeze(NOON)
    kibana.sandbox.backend.kibana.scheduler.by_hand = True
    mappings = {"properties": {"@timestamp": {"type": "date"}, "model": {"type": "keyword"}, "count": {"type": "long"},
                               "user.name": {"type": "keyword"}}}  # fmt: skip
    kibana.http.put(f"{kibana.sandbox.elasticsearch_url}/calls", json={"mappings": mappings}).raise_for_status()
    connector = {"name": "told", "connector_type_id": ".index", "config": {"index": "told", "refresh": True}}
    kibana.ask("POST", f"/api/actions/connector/{CONNECTOR}", connector)
    return kibana
