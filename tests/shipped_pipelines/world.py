"""The shipped pipelines, and a cluster with the streams that they write to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from elastic_sandbox.logstash.output import Elasticsearch
from elastic_sandbox.logstash.runner import Runner
from elastic_sandbox.testing import Sandbox

PIPELINES = Path(__file__).parents[2] / "logstash"
NOW = datetime(2026, 5, 28, 12, tzinfo=UTC)
PROJECT = {
    "name": "acme",
    "namespace": "default",
    "environment": "test",
    "streams": [{"dataset": "ping_one.audit"}, {"dataset": "oracle.database_audit"}, {"dataset": "internal.audit"}],
    "labels": {"dataset": "acme.labels"},
    "lifecycle": {"audit": {"delete_after": "400d"}},
}
STREAMS = ("registry", "predictions", "dead_letter")


class Cluster:
    """A cluster after elastic_setup, and a runner of the shipped pipelines that writes to it."""

    def __init__(self, sandbox: Sandbox, client: Any) -> None:
        self.sandbox, self.client = sandbox, client

    def runner(self, **variables: str) -> Runner:
        sink = Elasticsearch(self.sandbox.elasticsearch_url, pause=0.01)
        return Runner(PIPELINES, {"ENVIRONMENT": "test", **variables}, sink, now=lambda: NOW)

    def documents(self, stream: str) -> list[dict[str, Any]]:
        self.client.indices.refresh(index=stream)
        hits = self.client.search(index=stream, size=1000, sort=[{"@timestamp": "asc"}])["hits"]["hits"]
        return [{"_id": hit["_id"], **hit["_source"]} for hit in hits]

    def empty(self) -> None:
        self.sandbox.faults.clear()
        for stream in (f"logs-ml.{name}-default" for name in STREAMS):
            self.client.indices.delete_data_stream(name=stream)
            self.client.indices.create_data_stream(name=stream)
