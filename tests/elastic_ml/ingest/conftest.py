"""A small project of its own, set up in the sandbox, and what the tests of this folder say over and over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ElasticMLError
from elastic_ml.ingest.partition import PartitionIngest
from elastic_ml.project import Project, load_project
from elastic_ml.project.setup import run_setup
from elastic_ml.sources.partition import Partition

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
STREAM = "logs-acme.audit-test"
LABELS = "logs-acme.labels-test"


@dataclass
class Acme:
    """A project `acme` whose sources read files of its folder, and a client on the sandbox."""

    project: Project
    client: Elasticsearch
    sandbox: Sandbox
    day: str = YESTERDAY

    @property
    def folder(self) -> Path:
        return self.project.folder

    def write_source(self, name: str, **changes: Any) -> None:
        body = {
            "stream": STREAM,
            "start_date": datetime(2020, 1, 1, tzinfo=UTC).date(),
            "reader": {"kind": "files", "path": f"{self.folder}/{name}-{{day}}.ndjson"},
            "adapter": "ndjson",
            "fields": {"@timestamp": "time", "event.id": "id", "event.action": "action", "user.id": "user"},
            **changes,
        }
        (self.folder / "sources").mkdir(exist_ok=True)
        (self.folder / "sources" / f"{name}.yml").write_text(yaml.safe_dump(body))

    def deliver(self, records: Iterable[dict[str, Any] | str], name: str = "trail", day: str | None = None) -> None:
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (self.folder / f"{name}-{day or self.day}.ndjson").write_text("".join(line + "\n" for line in lines))

    def events(self, count: int, start: int = 0) -> list[dict[str, Any]]:
        return [
            {
                "time": f"{self.day}T10:{n // 60 % 60:02d}:{n % 60:02d}.000Z",
                "id": f"e-{n:06d}",
                "action": "read",
                "user": "ana",
            }
            for n in range(start, start + count)
        ]

    def ingest(self, name: str = "trail", day: str | None = None, **more: Any) -> dict[str, int]:
        return self.prepared(name, day, **more).run()

    def prepared(self, name: str = "trail", day: str | None = None, **more: Any) -> PartitionIngest:
        more = {"owner": "dag/run/ingest", "backoff_seconds": 0.01, **more}
        return PartitionIngest(
            self.client, self.project, self.project.source(name), Partition.parse(day or self.day), **more
        )

    def empty(self) -> None:
        """Make the project look as if it had just been set up."""
        self.sandbox.faults.clear()
        assert emptied(self.client, self.project)

    def ids(self, target: str = STREAM) -> list[str]:
        """Every `event.id` of a stream, sorted, with its repetitions."""
        self.client.indices.refresh(index=target)
        hits = self.client.search(index=target, size=10_000, source={"includes": ["event.id"]})["hits"]["hits"]
        return sorted(hit["_source"]["event"]["id"] for hit in hits)

    def record(self, name: str = "trail", day: str | None = None) -> dict[str, Any]:
        """What the ledger says of a partition."""
        found = self.client.get(index="ml-ledger", id=f"partition|{name}|{day or self.day}")
        return dict(found["_source"])


PROJECT = {
    "name": "acme",
    "namespace": "test",
    "streams": [{"dataset": "acme.audit"}],
    "labels": {"dataset": "acme.labels"},
    "lifecycle": {"audit": {"delete_after": "400d"}},
}


@pytest.fixture(scope="session")
def acme_sandbox() -> Iterator[Sandbox]:
    """A sandbox of this folder's own: setting a project up takes longer than most of these tests."""
    from elastic_sandbox.testing import serve

    with serve() as served:
        yield served


def emptied(client: Elasticsearch, project: Project) -> bool:
    """Make a project that was set up before look as if it had just been set up; False when a test broke it."""
    names = project.names
    streams = [STREAM, LABELS, names.dead_letter]
    for index in client.indices.get(index="history-*", expand_wildcards="all"):
        # What is sealed goes with its stream.
        with contextlib.suppress(ElasticMLError):
            client.indices.delete(index=index)
    if not all(client.indices.exists(index=name) for name in [*streams, names.ledger, names.labels]):
        return False
    for stream in streams:
        client.indices.delete_data_stream(name=stream)
        client.indices.create_data_stream(name=stream)
    for index, template in ((names.ledger, "indices/ledger.yml.j2"), (names.labels, "indices/labels.yml.j2")):
        # Deleting the documents instead would leave their versions behind, which external versions are compared with.
        client.indices.delete(index=index)
        client.indices.create(index=index, **project.templates.render(template, serverless=False))
    return True


@pytest.fixture
def acme(acme_sandbox: Sandbox, tmp_path: Path) -> Acme:
    (tmp_path / "project.yml").write_text(yaml.safe_dump(PROJECT))
    project = load_project(tmp_path)
    client = connect(ElasticsearchSettings(url=acme_sandbox.elasticsearch_url, http_compress=False))
    acme_sandbox.faults.clear()
    if not emptied(client, project):
        acme_sandbox.reset()
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
    acme_sandbox.requests.clear()
    made = Acme(project, client, acme_sandbox)
    made.write_source("trail")
    return made


@pytest.fixture
def counted() -> Callable[[dict[str, int]], dict[str, int]]:
    """Checks that four figures add up, and gives them back."""

    def check(figures: dict[str, int]) -> dict[str, int]:
        assert figures["read"] == figures["indexed"] + figures["duplicate"] + figures["rejected"]
        return figures

    return check
