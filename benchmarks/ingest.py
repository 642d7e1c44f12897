"""The package's bulk writer beside `helpers.parallel_bulk`: the same documents into the same server, in turn.

And the peak memory of one partition of 100,000 events and of ten times as many (`BENCH_EVENTS=5000000` for more), each
in a fresh process, from raw records to the closing count. The larger one delivers the same 100,000 events again and
again: what grows is what passes through the package, not the server.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import yaml

DOCUMENTS = 60_000
ROUNDS = 3
SMALL = 100_000
LARGE = int(os.environ.get("BENCH_EVENTS", "1000000"))
_MAPPING = {"dynamic": True, "properties": {"@timestamp": {"type": "date"}}}


def run() -> None:
    """Print rates, ratios and this process's peak memory."""
    context = multiprocessing.get_context("spawn")
    address: Queue[str] = context.Queue()
    stop = context.Event()
    server = context.Process(target=_serve, args=(address, stop))
    server.start()
    try:
        url = address.get(timeout=60)
        _compare(url)
        _memory(url)
    finally:
        stop.set()
        server.join(20)


def _serve(address: Queue[str], stop: Event) -> None:
    from elastic_sandbox.testing import serve

    with serve() as sandbox:
        address.put(sandbox.elasticsearch_url)
        stop.wait()


def _compare(url: str) -> None:
    from elasticsearch import Elasticsearch

    from elastic_ml.clients.elasticsearch import connect
    from elastic_ml.clients.settings import ElasticsearchSettings

    ratios = []
    with Elasticsearch(url) as bare, connect(ElasticsearchSettings(url=url, http_compress=False)) as ours:
        for number in range(ROUNDS):
            reference, measured = _bare(bare, f"bare{number}"), _ours(ours, f"ours{number}")
            ratios.append(measured / reference)
            print(f"  parallel_bulk {reference:8,.0f} documents/s   package {measured:8,.0f}   {ratios[-1]:.2f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"  median ratio {statistics.median(ratios):.2f} (at least 0.9); peak memory {memory:.0f} MB (at most 300)")


def _memory(url: str) -> None:
    peaks = []
    for events in (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as folder:
            context = multiprocessing.get_context("spawn")
            answer: Queue[tuple[float, float]] = context.Queue()
            process = context.Process(target=_partition, args=(url, folder, events, answer))
            process.start()
            peak, seconds = answer.get(timeout=3600)
            process.join()
        peaks.append(peak)
        print(f"  one partition of {events:10,} events: peak memory {peak:4.0f} MB, {events / seconds:8,.0f} events/s")
    print(f"  {peaks[1] - peaks[0]:+.0f} MB for {LARGE // SMALL} times the events (at most 300 MB, flat)")


def _partition(url: str, folder: str, events: int, answer: Queue[tuple[float, float]]) -> None:
    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.ingest.partition import PartitionIngest
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup
    from elastic_ml.sources.partition import Partition

    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    source = {
        "stream": "logs-bench.audit-test",
        "start_date": yesterday,
        "reader": {"kind": "python", "path": "benchmarks.ingest:records", "options": {"events": events}},
        "adapter": "ndjson",
        "fields": {"@timestamp": "time", "event.id": "id", "event.action": "action", "user.id": "user"},
    }
    (Path(folder) / "sources").mkdir()
    (Path(folder) / "sources" / "events.yml").write_text(yaml.safe_dump(source))
    settings = {
        "name": "bench",
        "namespace": "test",
        "streams": [{"dataset": "bench.audit"}],
        "lifecycle": {"audit": {"delete_after": "400d"}},
    }
    (Path(folder) / "project.yml").write_text(yaml.safe_dump(settings))
    project = load_project(folder)
    with connect(ElasticsearchSettings(url=url, http_compress=False)) as client:
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        ingest = PartitionIngest(
            client, project, project.source("events"), Partition.parse(f"{yesterday}"), owner=f"bench/{events}"
        )
        began = time.perf_counter()
        figures = ingest.run()
        seconds = time.perf_counter() - began
    if figures["read"] != events:
        raise RuntimeError(f"{figures} for {events} events")
    answer.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, seconds))


def records(start: datetime, end: datetime, *, events: int) -> Iterator[bytes]:
    """Raw records of one partition, of which SMALL are distinct."""
    for number in range(events):
        yield (
            f'{{"time":"{start:%Y-%m-%d}T10:00:00.000Z","id":"e-{number % SMALL}","action":"read",'
            f'"user":"u-{number % 97}","text":"{"x" * 200}"}}'
        ).encode()


def _bare(client: Any, index: str) -> float:
    from elasticsearch import helpers

    client.indices.create(index=index, mappings=_MAPPING)
    actions = (
        {"_op_type": "create", "_index": index, "_id": document["event"]["id"], **document}
        for document in _documents(index)
    )
    began = time.perf_counter()
    done = sum(1 for succeeded, _ in helpers.parallel_bulk(client, actions) if succeeded)
    return done / (time.perf_counter() - began)


def _ours(client: Any, index: str) -> float:
    from elastic_ml.ingest.bulk import BulkWriter, write_all
    from elastic_ml.ingest.counts import Counts
    from elastic_ml.ingest.encoding import ChunkSize, Operation, chunks, create_action, encode

    client.indices.create(index=index, mappings=_MAPPING)
    size, stop, total = ChunkSize(), threading.Event(), Counts()
    writer = BulkWriter(client, index, data_stream=False, size=size, stop=stop)
    operations = (
        Operation(document["event"]["id"], create_action(document["event"]["id"]), encode(document))
        for document in _documents(index)
    )
    began = time.perf_counter()
    write_all(chunks(operations, size), writer.write, each=lambda result: total.add(result.counts), stop=stop)
    seconds = time.perf_counter() - began
    if total.indexed != DOCUMENTS:
        raise RuntimeError(f"{total.indexed} of {DOCUMENTS} documents were indexed")
    return total.indexed / seconds


def _documents(tag: str) -> Iterator[dict[str, Any]]:
    for number in range(DOCUMENTS):
        yield {
            "@timestamp": "2026-11-20T10:00:00.000Z",
            "event": {"id": f"{tag}-{number}", "kind": "event", "action": "document_viewed", "outcome": "success"},
            "user": {"id": f"u-{number % 97:04d}", "name": "Ana Lind", "roles": ["officer"]},
            "source": {"ip": "10.1.2.3", "geo": {"country_iso_code": "US"}},
            "audit": {"role": "officer", "device": "laptop", "vpn": True, "records": number % 40, "gap_seconds": 12.5},
            "labels": {"partition": "internal_audit|2026-11-20"},
        }
