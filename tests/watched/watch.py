"""A watched project: its streams and rules, and what happens in them. On the sandbox, or on a real stack.

Time passes on the sandbox by moving its clock. On a real stack, where it cannot be moved, the past is deleted instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from elastic_ml.clients import kibana_assets as assets
from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_rules import rules_with_tags
from elastic_ml.clients.settings import ElasticsearchSettings, KibanaSettings
from elastic_ml.kibana.connectors import connectors_of
from elastic_ml.kibana.deployment import Deployment
from elastic_ml.kibana_bundle import asset_folders
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup

FOLDER = Path(__file__).with_name("folder")
ALERTS = ".alerts-stack.alerts-default"
LONGER_THAN_ANY_WINDOW = timedelta(hours=27)
Document = tuple[str, dict[str, Any]]
"""Stream (`registry`, `audit`, ...) and fields; `minutes_ago` is taken out of them."""


class Watch:
    """The project on a stack."""

    def __init__(self, stack: Any, client: KibanaClient, elasticsearch: Any) -> None:
        self.stack, self.client, self.elasticsearch = stack, client, elasticsearch
        self.project = load_project(FOLDER)
        names = self.project.names
        self.streams = {
            "registry": names.registry,
            "predictions": names.predictions,
            "drift": names.drift,
            "health": names.health,
            "alerts": names.alerts,
            "audit": names.audit_streams[0].name,
        }
        self.rules: list[str] = []

    @property
    def now(self) -> datetime:
        return self.stack.sandbox.clock.now() if self.stack.sandbox else datetime.now(UTC)

    def deploy(self) -> None:
        facts = server_facts(self.elasticsearch)
        run_setup(self.elasticsearch, self.project, facts, mode="apply").raise_for_state()
        report = Deployment(self.client, self.project, [], mode="apply").run()
        report.raise_for_state()
        self.rules = [row.name for row in report.rows if row.kind == "rule" and row.state in {"created", "unchanged"}]

    def happens(self, *documents: Document) -> None:
        """Write documents as their writers would, at `minutes_ago` before now."""
        operations: list[Any] = []
        for stream, fields in documents:
            shown = dict(fields)
            moment = self.now - timedelta(minutes=shown.pop("minutes_ago", 1))
            body = {"@timestamp": moment.isoformat(timespec="milliseconds"), **shown}
            operations += [{"create": {"_index": self.streams[stream]}}, body]
        answer = self.elasticsearch.bulk(operations=operations, refresh=True)
        refused = [item["create"] for item in answer["items"] if item["create"]["status"] != 201]
        refused += [item["create"] for item in answer["items"] if item["create"].get("failure_store") == "used"]
        assert not refused, refused[0]

    def baseline(self, key: str, p99: float) -> None:
        document = {"model_key": key, "baseline_p99_ms": p99}
        self.elasticsearch.index(index=self.project.names.baselines, id=key, document=document, refresh=True)

    def forget(self) -> None:
        """So much time passes that no rule sees what was."""
        if self.stack.sandbox:
            self.stack.sandbox.clock.advance(LONGER_THAN_ANY_WINDOW.total_seconds())
            return
        for stream in self.streams.values():
            self.elasticsearch.delete_by_query(index=stream, query={"match_all": {}}, refresh=True)

    def open_alerts(self) -> dict[str, list[str]]:
        """Let every rule run once; rule (by the name of its file) → ids of its alerts that are active."""
        began = self.now
        if self.stack.sandbox:
            self.stack.sandbox.backend.kibana.scheduler.run_due()
        else:
            self._run_all(began)
        for rule in rules_with_tags(self.client, ("elastic-ml", "watched")):
            assert rule["execution_status"]["status"] in {"ok", "active"}, (rule["id"], rule["execution_status"])
        self.elasticsearch.indices.refresh(index=ALERTS, ignore_unavailable=True)
        active = [{"term": {"kibana.alert.status": "active"}}, {"term": {"kibana.alert.rule.tags": "watched"}}]
        found = self.elasticsearch.search(
            index=ALERTS, query={"bool": {"filter": active}}, size=100, ignore_unavailable=True
        )
        opened: dict[str, list[str]] = {}
        for hit in found["hits"]["hits"]:
            rule = hit["_source"]["kibana.alert.rule.uuid"].removeprefix("watched-")
            opened.setdefault(rule, []).append(hit["_source"]["kibana.alert.instance.id"])
        return {rule: sorted(ids) for rule, ids in sorted(opened.items())}

    def _run_all(self, began: datetime) -> None:
        for name in self.rules:
            assets.run_rule_soon(self.client, name)
        patience = time.monotonic() + 60
        for name in self.rules:
            while time.monotonic() < patience:
                status = self.client.request("GET", f"/api/alerting/rule/{name}")["execution_status"]
                if datetime.fromisoformat(status["last_execution_date"]) > began and status["status"] != "pending":
                    break
                time.sleep(0.5)

    def undo(self) -> None:
        """Take rules and connectors off a real stack; a sandbox is emptied anyway."""
        if self.stack.sandbox is None:
            for rule in list(rules_with_tags(self.client, ("elastic-ml", "watched"))):
                assets.delete_rule(self.client, rule["id"])
            for one in connectors_of(self.project, asset_folders(self.project)):
                assets.delete_connector(self.client, one.id)


@contextmanager
def watching(stack: Any) -> Iterator[Watch]:
    """The project, set up and deployed."""
    if stack.sandbox:
        stack.sandbox.clock.freeze(datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
        stack.sandbox.backend.kibana.scheduler.by_hand = True
    ca_certs = None if stack.sandbox else os.environ.get("ELASTIC_CA_CERTS")
    kibana = KibanaClient(KibanaSettings(url=stack.kibana_url, api_key=stack.api_key, ca_certs=ca_certs))
    elasticsearch = ElasticsearchSettings(url=stack.elasticsearch_url, api_key=stack.api_key, ca_certs=ca_certs)
    with kibana, connect(elasticsearch) as client:
        watch = Watch(stack, kibana, client)
        try:
            watch.deploy()
            yield watch
        finally:
            watch.undo()
