"""The sandbox beside an empty endpoint, and what a million documents cost it."""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

BULK_DOCUMENTS, ROUNDS = 100_000, 5
DOCUMENTS, CHUNK = 1_000_000, 5_000
_MAPPING = {
    "dynamic": False,
    "properties": {
        "@timestamp": {"type": "date"},
        "event": {"properties": {name: {"type": "keyword"} for name in ("id", "kind", "action", "outcome")}},
        "user": {"properties": {"id": {"type": "keyword"}, "name": {"type": "keyword"}}},
        "source": {"properties": {"ip": {"type": "ip"}, "country": {"type": "keyword"}}},
        "audit": {"properties": {"hour": {"type": "byte"}, "vpn": {"type": "boolean"}, "seconds": {"type": "double"}}},
    },
}
_ITEM = (
    b'{"create":{"_index":"bulk0","_id":"bulk0-12345","_version":1,"result":"created",'
    b'"_shards":{"total":2,"successful":1,"failed":0},"_seq_no":12345,"_primary_term":1,"status":201}}'
)
_AGGREGATIONS = {
    "over_time": {"date_histogram": {"field": "@timestamp", "calendar_interval": "day"}},
    "seconds": {"percentiles": {"field": "audit.seconds", "percents": [50, 95, 99]}},
    "users": {"terms": {"field": "user.id", "size": 10}},
}


def run() -> None:
    """Print rates, their ratio, latencies and memory."""
    with _Served(_sandbox) as sandbox, _Served(_empty) as empty:
        ratios, started = [], (empty.processor_seconds(), sandbox.processor_seconds())
        for number in range(ROUNDS):
            nothing, real = _streaming_bulk(empty.url, f"bulk{number}"), _streaming_bulk(sandbox.url, f"bulk{number}")
            ratios.append(real / nothing)
            print(
                f"  streaming_bulk: empty endpoint {nothing:,.0f} documents/s   sandbox {real:,.0f}   {ratios[-1]:.2f}"
            )
        print(f"  median ratio {statistics.median(ratios):.2f} (at least 0.8)")
        # On a busy machine the clock on the wall measures its other work, too; processor time does not.
        documents = ROUNDS * BULK_DOCUMENTS
        servers = [
            server.processor_seconds() - before for server, before in zip((empty, sandbox), started, strict=True)
        ]
        spent = [time.process_time() / 2, *servers]
        client, nothing, real = [1e6 * seconds / documents for seconds in spent]
        print(f"  processor time a document: client {client:.1f} us, empty endpoint {nothing:.1f}, sandbox {real:.1f}")
    with _Served(_sandbox) as sandbox:
        _million(sandbox)


def _million(server: _Served) -> None:
    from elasticsearch import Elasticsearch

    with Elasticsearch(server.url, request_timeout=120) as client:
        client.indices.create(index="million", mappings=_MAPPING, settings={"index.number_of_replicas": 0})
        before, began = server.resident_mb(), time.perf_counter()
        for body in _bodies():
            answer = client.perform_request(
                "POST",
                "/million/_bulk?filter_path=errors",
                headers={"content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=9",
                         "accept": "application/vnd.elasticsearch+json; compatible-with=9"},
                body=body,
            )  # fmt: skip
            if answer.body["errors"]:
                raise RuntimeError("documents of the benchmark were refused")
        client.indices.refresh(index="million")
        rate = DOCUMENTS / (time.perf_counter() - began)
        print(f"  {DOCUMENTS:,} documents at {rate:,.0f}/s; resident {server.resident_mb():,.0f} MB "
              f"(at most 1,000; {before:,.0f} when empty)")  # fmt: skip
        search = _median_ms(lambda: client.search(index="million", size=0, aggs=_AGGREGATIONS), 9)
        print(f"  date_histogram + percentiles + terms {search:6.1f} ms (at most 150)")
        identifiers = iter(random.Random(5).sample(range(DOCUMENTS), 400))
        get = _median_ms(lambda: client.get(index="million", id=f"e-{next(identifiers)}"), 300)
        print(f"  get by id                            {get:6.2f} ms (at most 2)")


def _median_ms(call: Callable[[], Any], times: int) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _streaming_bulk(url: str, index: str) -> float:
    from elasticsearch import Elasticsearch, helpers

    with Elasticsearch(url) as client:
        client.indices.create(index=index, mappings=_MAPPING)
        actions = (
            {"_op_type": "create", "_index": index, "_id": f"{index}-{number}", **document}
            for number, document in enumerate(_documents(BULK_DOCUMENTS))
        )
        began = time.perf_counter()
        done = sum(1 for succeeded, _ in helpers.streaming_bulk(client, actions, chunk_size=CHUNK) if succeeded)
        if done != BULK_DOCUMENTS:
            raise RuntimeError(f"{done} of {BULK_DOCUMENTS} documents were accepted")
        return done / (time.perf_counter() - began)


def _documents(number: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(7)
    for position in range(number):
        day, hour = position % 28 + 1, position % 24
        yield {
            "@timestamp": f"2026-10-{day:02d}T{hour:02d}:{position % 60:02d}:00.000Z",
            "event": {
                "id": f"e-{position}",
                "kind": "event",
                "action": f"action-{position % 23}",
                "outcome": "success",
            },
            "user": {"id": f"u-{position % 997:04d}", "name": "Ana Lind"},
            "source": {"ip": f"10.1.{position % 200}.3", "country": "US"},
            "audit": {"hour": hour, "vpn": position % 3 == 0, "seconds": round(chance.random() * 100, 3)},
        }


def _bodies() -> Iterator[bytes]:
    import orjson

    lines: list[bytes] = []
    for document in _documents(DOCUMENTS):
        lines += [orjson.dumps({"create": {"_id": document["event"]["id"]}}), orjson.dumps(document)]
        if len(lines) == 2 * CHUNK:
            yield b"\n".join([*lines, b""])
            lines = []


class _Served:
    """A server in a process of its own."""

    def __init__(self, serve: Callable[[Queue[str], Event], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._address: Queue[str] = context.Queue()
        self._stop = context.Event()
        self._process = context.Process(target=serve, args=(self._address, self._stop))

    def __enter__(self) -> _Served:
        self._process.start()
        self.url = self._address.get(timeout=60)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._process.join(20)

    def processor_seconds(self) -> float:
        """Processor time of all threads of the process."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Memory of the process that is in RAM."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def _sandbox(address: Queue[str], stop: Event) -> None:
    from elastic_sandbox.testing import serve

    with serve(kept_bytes=0) as running:
        address.put(running.elasticsearch_url)
        stop.wait()


def _empty(address: Queue[str], stop: Event) -> None:
    """What answers a bulk with as many successes as it has documents, and everything else with nothing.

    An item says all that Elasticsearch's says, so that the client has the same to read from both.
    """
    import socket
    import threading

    import uvicorn

    async def application(scope: Any, receive: Any, send: Any) -> None:
        number, more = 0, True
        while more:
            message = await receive()
            number += message.get("body", b"").count(b"\n")
            more = message.get("more_body", False)
        items = b",".join([_ITEM] * (number // 2))
        body = b'{"errors":false,"items":[' + items + b"]}"
        headers = [(b"content-type", b"application/json"), (b"x-elastic-product", b"Elasticsearch")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application, loop="asyncio", lifespan="off", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    address.put(f"http://127.0.0.1:{listening.getsockname()[1]}")
    stop.wait()
    server.should_exit = True
    thread.join(10)
