"""One bulk request in twenty fails and workers are killed at random moments: the stream holds each event once.

Recent days go to the stream, which rolls over in between; the last days of a past month go to history and are sealed.
Each partition is attempted by workers that are killed, and then by one that may finish, or by two of them at once.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.ingest.history import month_bounds, unsealed_history
from elastic_ml.ingest.ledger import Ledger
from elastic_ml.project import Project, load_project
from elastic_ml.project.setup import run_setup

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

STREAM = "logs-chaos.audit-test"
EVENTS = 3_000
KILLS = 2
MONTH_END = month_bounds((datetime.now(UTC) - timedelta(days=100)).strftime("%Y.%m"))[1]
DAYS = {
    "history": [f"{(MONTH_END - timedelta(days=n)).date()}" for n in (3, 2, 1)],
    "recent": [f"{datetime.now(UTC).date() - timedelta(days=n)}" for n in (3, 2, 1)],
}
# Together more than one bulk request in twenty (the sandbox draws each by the same seed, so they come in bursts); of
# the items, one in five hundred.
FAULTS: list[dict[str, Any]] = [
    {"path": f"/*{STREAM}*/_bulk", "status": 429, "share": 0.025},
    {"path": f"/*{STREAM}*/_bulk", "status": 503, "share": 0.025},
    {"path": f"/*{STREAM}*/_bulk", "action": "cut_after", "share": 0.025},
    {"path": f"/*{STREAM}*/_bulk", "action": "cut_before", "share": 0.025},
    {"path": "*chaos.audit*", "action": "bulk_items", "status": 429, "share": 0.001},
    {"path": "*chaos.audit*", "action": "bulk_items", "status": 503, "share": 0.001},
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    from elastic_sandbox.testing import serve

    with serve() as served:
        yield served


@pytest.fixture
def project(sandbox: Sandbox, tmp_path: Path) -> Project:
    sandbox.reset()
    (tmp_path / "sources").mkdir()
    settings = {
        "name": "chaos",
        "namespace": "test",
        "streams": [{"dataset": "chaos.audit"}],
        "lifecycle": {"audit": {"delete_after": "400d"}},
    }
    (tmp_path / "project.yml").write_text(yaml.safe_dump(settings))
    for target, days in DAYS.items():
        source = {
            "stream": STREAM,
            "start_date": datetime.fromisoformat(days[0]).date(),
            "reader": {"kind": "files", "path": f"{tmp_path}/{target}-{{day}}.ndjson"},
            "adapter": "ndjson",
            "fields": {"@timestamp": "time", "event.id": "id", "user.id": "user"},
        }
        (tmp_path / "sources" / f"{target}.yml").write_text(yaml.safe_dump(source))
    return load_project(tmp_path)


def deliver(project: Project, target: str, draw: random.Random) -> dict[str, list[str]]:
    """Write each day's file; some events come twice, some once more on the day after. Returns the ids by day."""
    delivered: dict[str, list[str]] = {}
    late: list[str] = []
    for day in DAYS[target]:
        ids = [f"{target}-{day}-{n}" for n in range(EVENTS)]
        ids += draw.choices(ids, k=EVENTS // 20) + late
        late = draw.sample(ids[:EVENTS], EVENTS // 50)
        draw.shuffle(ids)
        lines = (json.dumps({"time": f"{day}T10:00:00Z", "id": one, "user": "ana"}) for one in ids)
        (project.folder / f"{target}-{day}.ndjson").write_text("\n".join(lines) + "\n")
        delivered[day] = ids
    return delivered


class Workers:
    """Starts workers on one partition after the other."""

    def __init__(self, url: str, project: Project) -> None:
        self._url = url
        self._project = project
        self.killed_at: list[int] = []

    def start(self, source: str, day: str, owner: str) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("ingest_worker.py")
        command = [sys.executable, str(script), self._url, str(self._project.folder), source, day, owner]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        return process

    def kill(self, client: Elasticsearch, source: str, day: str, at: int) -> None:
        """Start one and send it SIGKILL when the partition has so many documents."""
        process = self.start(source, day, "dag/run/ingest")
        deadline = time.monotonic() + 60
        while process.poll() is None and _held(client, source, day) < at:
            assert time.monotonic() < deadline, f"{day} does not get to {at} documents"
            time.sleep(0.1)
        process.kill()
        process.communicate()
        if process.returncode == -9:
            self.killed_at.append(_held(client, source, day))

    def finish(self, *processes: subprocess.Popen[str]) -> list[dict[str, int]]:
        """Wait for workers that nobody kills; returns their figures."""
        figures = []
        for process in processes:
            out, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors[-3000:]
            figures.append(json.loads(out.strip().splitlines()[-1]))
        return figures


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", DAYS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bulk_faults_and_killed_workers_leave_each_event_in_the_stream_once(
    target: str, seed: int, sandbox: Sandbox, project: Project, show: Callable[..., None]
):
    draw = random.Random(seed)
    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url, http_compress=False))
    run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
    delivered = deliver(project, target, draw)
    requests = sandbox.faults.add(path=f"/*{STREAM}*/_bulk", action="delay", seconds=0.0, times=None)  # counts only
    faults = [sandbox.faults.add(times=None, **fault) for fault in FAULTS]
    workers = Workers(sandbox.elasticsearch_url, project)

    for day in DAYS[target]:
        for at in sorted(draw.sample(range(EVENTS), KILLS)):
            workers.kill(client, target, day, at)
        if draw.random() < 0.5:
            client.indices.rollover(alias=STREAM)
    for number, day in enumerate(draw.sample(DAYS[target], len(DAYS[target]))):
        # Two of different runs at once: one waits for the other's lease and reads everything again.
        runs = ("first", "second") if number == 0 else ("first",)
        for figures in workers.finish(*[workers.start(target, day, f"dag/{run}/ingest") for run in runs]):
            assert figures["read"] == len(delivered[day]) == figures["indexed"] + figures["duplicate"]

    sandbox.faults.clear()
    assert any(0 < there < EVENTS for there in workers.killed_at), "no kill came in the middle of a partition"
    failed = sum(fault.hits for fault in faults[:4])
    assert failed >= requests.hits * 0.05, "too few requests failed to mean anything"
    distinct = {one for ids in delivered.values() for one in ids}
    stored = Counter(_ids(client))
    assert unsealed_history(client, [STREAM]) == [], "a complete month is in its stream"
    assert set(stored) == distinct, "lost or invented"
    assert set(stored.values()) == {1}, "twice in the stream"
    ledger = Ledger(client, project.names.ledger)
    records = [ledger.partition(target, day) or {} for day in DAYS[target]]
    assert [(record["state"], record["owner"]) for record in records] == [("done", None)] * len(records)
    assert sum(record["indexed"] for record in records) == len(distinct)
    show(
        f"{target}, seed {seed}: workers killed at {workers.killed_at} of {EVENTS} documents",
        {
            "": {
                "delivered": sum(map(len, delivered.values())),
                "distinct": len(distinct),
                "in the stream": sum(stored.values()),
                "attempts": sum(len(record["attempts"]) for record in records),
                "bulk requests": requests.hits,
                "requests failed": failed,
                "items failed": sum(fault.hits for fault in faults[4:]),
            }
        },
    )


def _held(client: Elasticsearch, source: str, day: str) -> int:
    """Documents of a partition in stream and history."""
    where = f"{STREAM},history-{STREAM}-*"
    client.indices.refresh(index=where)
    return int(client.count(index=where, query={"term": {"labels.partition": f"{source}|{day}"}})["count"])


def _ids(client: Elasticsearch) -> Iterator[str]:
    """The id of every document, index by index: a copy in another index is seen as one."""
    client.indices.refresh(index=STREAM)
    for index in client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]:
        after = None
        while hits := client.search(
            index=index["index_name"],
            size=5_000,
            source=False,
            sort=[{"event.id": "asc"}],
            search_after=after,
            track_total_hits=False,
        )["hits"]["hits"]:
            yield from (hit["_id"] for hit in hits)
            after = hits[-1]["sort"]
