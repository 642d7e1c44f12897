"""The shipped rules against the sandbox: for each, data on which it must open and data on which it must not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.clients import kibana_assets as assets
from elastic_ml.clients.kibana import KibanaClient, KibanaSettings

PLATFORM = Path(__file__).parents[3] / "kibana" / "platform"
RULES = sorted(path.stem for path in (PLATFORM / "rules").glob("*.yml"))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FIELDS = {
    **dict.fromkeys(("event_type", "status", "model_name", "model_version", "feature", "kind", "name"), "keyword"),
    **dict.fromkeys(("count", "expected", "min_expected"), "long"),
    **dict.fromkeys(("psi", "value", "limit", "latency_ms"), "double"),
    "@timestamp": "date",
    "breached": "boolean",
}
STREAMS = ("registry", "predictions", "health", "drift")


def read(kind: str, name: str) -> tuple[str, dict[str, Any]]:
    body = yaml.safe_load((PLATFORM / kind / f"{name}.yml").read_text(encoding="utf-8"))
    return body.pop("id"), body


class Cluster:
    def __init__(self, sandbox: Any, elasticsearch: Any, client: KibanaClient) -> None:
        self.sandbox, self.elasticsearch, self.client = sandbox, elasticsearch, client

    def has(self, stream: str, minutes_ago: float = 1, **fields: Any) -> None:
        when = (NOON - timedelta(minutes=minutes_ago)).isoformat()
        document = {"@timestamp": when, "model_name": "fraud", "model_version": "v1", **fields}
        self.elasticsearch.index(index=f"logs-ml.{stream}-default", document=document, op_type="create", refresh=True)

    def opens(self, rule: str) -> list[str]:
        """Deploy a rule, let it run once, and return the alerts that are active."""
        name, body = read("rules", rule)
        assets.upsert_rule(self.client, name, body)
        self.sandbox.backend.kibana.scheduler.run_due()
        ran = self.client.request("GET", f"/api/alerting/rule/{name}")
        assert ran["execution_status"]["status"] in {"ok", "active"}, ran["execution_status"]
        if not self.elasticsearch.indices.exists(index=".alerts-stack.alerts-default"):
            return []
        self.elasticsearch.indices.refresh(index=".alerts-stack.alerts-default")
        found = self.elasticsearch.search(
            index=".alerts-stack.alerts-default", query={"term": {"kibana.alert.status": "active"}}
        )
        return sorted(hit["_source"]["kibana.alert.instance.id"] for hit in found["hits"]["hits"])


@pytest.fixture
def cluster(sandbox: Any, elasticsearch: Any) -> Any:
    sandbox.clock.freeze(NOON)
    sandbox.backend.kibana.scheduler.by_hand = True
    mappings = {"properties": {name: {"type": kind} for name, kind in FIELDS.items()}}
    elasticsearch.indices.put_index_template(
        name="logs-ml", index_patterns=["logs-ml.*"], priority=501, data_stream={}, template={"mappings": mappings}
    )
    for stream in STREAMS:
        elasticsearch.indices.create_data_stream(name=f"logs-ml.{stream}-default")
    lookup = {"model_key": {"type": "keyword"}, "baseline_p99_ms": {"type": "double"}}
    elasticsearch.indices.create(
        index="ml-baselines", settings={"index.mode": "lookup"}, mappings={"properties": lookup}
    )
    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as client:
        assets.upsert_connector(client, *read("connectors", "alerts"))
        yield Cluster(sandbox, elasticsearch, client)


def predict(count: int, status: str = "success", **more: Any) -> tuple[str, dict[str, Any]]:
    return "predictions", {"event_type": "predict", "count": count, "status": status, "latency_ms": 10.0, **more}


def heartbeat(expected: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return "predictions", {"event_type": "heartbeat", "expected": expected, "min_expected": 10, **more}


def state(kind: str, status: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "health", {"event_type": "health", "kind": kind, "name": "n", "status": status, **more}


HEALTHY = [heartbeat(100), predict(100)]

OPENS: list[tuple[str, list[Any], list[str]]] = [
    ("deploy-failed", [("registry", {"event_type": "deployed", "status": "error"})], ["fraud,v1"]),
    ("error-rate", [predict(94), predict(6, "error")], ["fraud"]),
    ("latency", [predict(50, latency_ms=201.0)], ["fraud,v1"]),
    ("silent-model", [heartbeat(6), heartbeat(6)], ["fraud"]),
    ("no-heartbeat", [predict(100)], ["query matched"]),
    ("node-disk", [state("disk", "error", value=80.1)], ["n"]),
    ("unwell", [state("job", "success", minutes_ago=9), state("job", "error")], ["job,n"]),
    ("drift", [("drift", {"feature": "hour", "breached": True, "psi": 0.4})], ["fraud,hour"]),
]
QUIET = [
    ("deploy-failed", [("registry", {"event_type": "deployed", "status": "success"})]),
    ("deploy-failed", [("registry", {"event_type": "deployed", "status": "error", "minutes_ago": 6})]),
    ("error-rate", [predict(95), predict(5, "error")]),
    ("error-rate", [predict(43), predict(6, "error")]),
    ("error-rate", [predict(100, "error", minutes_ago=11), predict(100)]),
    ("latency", [predict(50, latency_ms=199.0)]),
    ("latency", [predict(49, latency_ms=900.0)]),
    ("latency", [predict(50, latency_ms=900.0, model_version="v2")]),
    ("silent-model", HEALTHY),
    ("silent-model", [heartbeat(9)]),
    ("silent-model", [heartbeat(100), predict(100, "error")]),
    ("silent-model", [heartbeat(100, minutes_ago=31)]),
    ("no-heartbeat", HEALTHY),
    ("no-heartbeat", [state("stream", "success")]),
    ("node-disk", [state("disk", "success", value=79.9), state("stream", "error", value=99.0)]),
    ("unwell", [state("job", "error", minutes_ago=9), state("job", "success")]),
    ("drift", [("drift", {"feature": "hour", "breached": False, "psi": 0.1})]),
]


def given(cluster: Cluster, data: list[Any]) -> None:
    cluster.elasticsearch.index(
        index="ml-baselines", document={"model_key": "fraud@v1", "baseline_p99_ms": 100.0}, refresh=True
    )
    for stream, fields in data:
        cluster.has(stream, **fields)


@pytest.mark.parametrize(("rule", "data", "alerts"), OPENS, ids=[rule for rule, *_ in OPENS])
def test_a_rule_opens(cluster: Cluster, rule: str, data: list[Any], alerts: list[str]) -> None:
    given(cluster, data)
    assert cluster.opens(rule) == alerts
    cluster.elasticsearch.indices.refresh(index="logs-ml.alerts-default")
    told = cluster.elasticsearch.search(index="logs-ml.alerts-default")["hits"]["hits"]
    assert [one["_source"]["state"] for one in told] == ["query matched"] * len(alerts)


@pytest.mark.parametrize(("rule", "data"), QUIET, ids=[rule for rule, _ in QUIET])
def test_a_rule_stays_quiet(cluster: Cluster, rule: str, data: list[Any]) -> None:
    given(cluster, data)
    assert cluster.opens(rule) == []


def test_every_rule_is_held_to_the_truth() -> None:
    assert sorted(rule for rule, *_ in OPENS) == RULES
    assert {rule for rule, _ in QUIET} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_complete(rule: str) -> None:
    name, body = read("rules", rule)
    assert name == f"ml-{rule}"
    assert {"elastic-ml"} < set(body["tags"]) <= {"elastic-ml", "P1", "P2", "P3"}
    assert body["artifacts"]["investigation_guide"]["blob"]
    connector, _ = read("connectors", "alerts")
    assert {action["id"] for action in body["actions"]} == {connector}
    assert {action["group"] for action in body["actions"]} == {"query matched", "recovered"}


def test_connectors_that_exist_everywhere_and_deploying_twice_change_nothing(cluster: Cluster) -> None:
    for path in sorted((PLATFORM / "connectors").glob("*.yml")):
        assets.upsert_connector(cluster.client, *read("connectors", path.stem))
        assert assets.upsert_connector(cluster.client, *read("connectors", path.stem)).state == "unchanged"
    for rule in RULES:
        assert assets.upsert_rule(cluster.client, *read("rules", rule)).state == "created"
        assert assets.upsert_rule(cluster.client, *read("rules", rule)).state == "unchanged"
