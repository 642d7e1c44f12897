"""The package's bulk writer beside `helpers.parallel_bulk`: the same documents into the same server, in turn."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from typing import Any

DOCUMENTS = 60_000
ROUNDS = 3
_MAPPING = {"dynamic": True, "properties": {"@timestamp": {"type": "date"}}}


def run() -> None:
    """Print rates, ratios and this process's peak memory."""
    context = multiprocessing.get_context("spawn")
    address: Queue[str] = context.Queue()
    stop = context.Event()
    server = context.Process(target=_serve, args=(address, stop))
    server.start()
    try:
        _compare(address.get(timeout=60))
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
