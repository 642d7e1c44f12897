"""After each seal the user-hours of the months that it brought events of; and Serverless, where no ILM is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import ElasticMLError
from elastic_ml.ingest.history import history_indices, month_bounds, origination_date, unsealed_history
from elastic_ml.ingest.ledger import Ledger
from elastic_ml.ingest.partition import PartitionIngest
from elastic_ml.project import Project, load_project
from elastic_ml.project.setup import run_setup
from elastic_ml.sources.partition import Partition

MONTH = (datetime.now(UTC) - timedelta(days=100)).strftime("%Y.%m")
FIRST, END = month_bounds(MONTH)
LAST_DAY = (END - timedelta(days=1)).date()
STREAM, SECOND = "logs-hours.audit-test", "logs-hours.access-test"


class Hours:
    """A project with user-hours whose two streams have one source each, both beginning with the month's last day."""

    def __init__(self, folder: Path, url: str, **project: Any) -> None:
        body = {
            "name": "hours",
            "namespace": "test",
            "streams": [{"dataset": "hours.audit"}, {"dataset": "hours.access"}],
            "lifecycle": {"audit": {"delete_after": "400d"}},
            **project,
        }
        (folder / "sources").mkdir()
        (folder / "project.yml").write_text(yaml.safe_dump(body))
        for name, stream in (("audit", STREAM), ("access", SECOND)):
            source = {
                "stream": stream,
                "start_date": LAST_DAY,
                "reader": {"kind": "files", "path": f"{folder}/{name}-{{day}}.ndjson", "options": {"missing": "empty"}},
                "adapter": "ndjson",
                "fields": {"@timestamp": "time", "event.id": "id", "user.id": "user"},
            }
            (folder / "sources" / f"{name}.yml").write_text(yaml.safe_dump(source))
        self.project: Project = load_project(folder)
        self.client = connect(ElasticsearchSettings(url=url, http_compress=False))
        run_setup(self.client, self.project, server_facts(self.client), mode="apply").raise_for_state()

    def ingest(self, name: str, times: list[str], day: str = f"{LAST_DAY}") -> dict[str, int]:
        lines = [json.dumps({"time": time, "id": f"{name}-{time}", "user": "ana"}) + "\n" for time in times]
        (self.project.folder / f"{name}-{day}.ndjson").write_text("".join(lines))
        source = self.project.source(name)
        return PartitionIngest(self.client, self.project, source, Partition.parse(day), owner=f"dag/{name}").run()

    def user_hours(self) -> list[str]:
        index = str(self.project.names.features)
        self.client.indices.refresh(index=index)
        hits = self.client.search(index=index, size=1000)["hits"]["hits"]
        return sorted(hit["_source"]["user_hour"] for hit in hits)

    def noted(self, stream: str = STREAM) -> list[str]:
        entry = Ledger(self.client, self.project.names.ledger).read(f"lock|{stream}|{MONTH}")
        return entry.document.get("user_hours", []) if entry else []


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Hours]]:
    from elastic_sandbox.testing import serve

    with serve() as sandbox:

        def made(**project: Any) -> Hours:
            hours = Hours(tmp_path, sandbox.elasticsearch_url, **project)
            hours.sandbox = sandbox  # type: ignore[attr-defined]
            return hours

        yield made


def test_sealing_writes_the_user_hours_of_every_month_it_brought_events_of(make):
    hours = make(features={"dataset": "hours.user_hour"})
    before = (FIRST - timedelta(hours=3)).strftime("%Y-%m-%dT%H")
    hours.ingest("access", [])
    hours.ingest("audit", [f"{LAST_DAY}T10:05:00Z", f"{LAST_DAY}T10:15:00Z", f"{before}:30:00Z"])
    assert hours.user_hours() == [f"ana|{before}", f"ana|{LAST_DAY}T10"], "a late event belongs to an earlier month"
    assert hours.noted() == []


def test_user_hours_wait_for_the_other_streams_of_their_month(make):
    hours = make(features={"dataset": "hours.user_hour"})
    path = hours.project.folder / "sources" / "access.yml"
    text = path.read_text()
    path.write_text(text.replace(f"{LAST_DAY}", f"{LAST_DAY - timedelta(days=1)}"))
    hours.ingest("access", [f"{LAST_DAY}T11:00:00Z"])
    hours.ingest("audit", [f"{LAST_DAY}T10:05:00Z"])
    assert hours.user_hours() == [], "an hour without one of its sources would be wrong"
    assert hours.noted() == [MONTH]
    hours.ingest("access", [], day=f"{LAST_DAY - timedelta(days=1)}")
    assert hours.user_hours() == [f"ana|{LAST_DAY}T10", f"ana|{LAST_DAY}T11"]


def test_a_crash_before_the_user_hours_is_mended_by_the_next_run(make):
    hours = make(features={"dataset": "hours.user_hour"})
    hours.ingest("access", [])
    hours.sandbox.faults.add(method="PUT", path="/_transform/*", status=500, type="exception", times=None)
    with pytest.raises(ElasticMLError):
        hours.ingest("audit", [f"{LAST_DAY}T10:05:00Z"])
    assert unsealed_history(hours.client, [STREAM]) == [], "sealed before"
    assert hours.noted() == [MONTH]
    hours.sandbox.faults.clear()
    assert hours.ingest("audit", [f"{LAST_DAY}T10:05:00Z"])["duplicate"] == 1
    assert hours.user_hours() == [f"ana|{LAST_DAY}T10"]
    assert hours.noted() == []


def test_on_serverless_the_data_stream_lifecycle_ages_what_is_sealed(tmp_path):
    from elastic_sandbox.testing import serve

    with serve(flavor="serverless") as sandbox:
        hours = Hours(tmp_path, sandbox.elasticsearch_url)
        hours.ingest("audit", [f"{LAST_DAY}T10:05:00Z"])
        (index,) = history_indices(hours.client, STREAM)
        stream = hours.client.indices.get_data_stream(name=STREAM)["data_streams"][0]
        assert index.name in [backing["index_name"] for backing in stream["indices"]]
        assert stream["lifecycle"]["data_retention"] == "400d"
        settings = hours.client.indices.get_settings(index=index.name, flat_settings=True)[index.name]["settings"]
        assert settings["index.lifecycle.origination_date"] == str(origination_date(MONTH))
        assert "index.lifecycle.name" not in settings
        assert "index.lifecycle.indexing_complete" not in settings
