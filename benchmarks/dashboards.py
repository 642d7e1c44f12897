"""Every panel of every dashboard on a day of 1,000,000 predictions and the 1,000,000 scored events behind them.

The small streams hold what the tests of the panels hold. Each query is asked over HTTP as Kibana asks it, time range as
a filter; the best of five.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

DOCUMENTS = 1_000_000
BUDGET_MS = 300
_BATCH = 20_000
_DAY_MS = 86_400_000


def run() -> None:
    """Print each query's time, the slowest first."""
    from harness.operations_day import write_day

    from demo.panels import panel_queries
    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.kibana_bundle import build_bundle
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup
    from elastic_sandbox.testing import serve

    project = load_project(Path(__file__).parents[1] / "include")
    queries = list(panel_queries(build_bundle(project).objects))
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, project, server_facts(client), mode="apply")
        now = datetime.now(UTC)
        write_day(client, project, now)
        began = time.monotonic()
        start = int((now - timedelta(days=1)).timestamp() * 1000)
        _load(sandbox.backend, project.names.predictions, _prediction, start)
        _load(sandbox.backend, project.names.stream("logs-lendpath.audit-lendpath").name, _event, start)
        print(f"  2 x {DOCUMENTS:,} documents indexed in {time.monotonic() - began:.0f} s")
        end = now + timedelta(minutes=1)
        seen = next(query for query in queries if query.panel == "predictions").ask(client, now=end)["values"][0][0]
        assert seen > 0.99 * DOCUMENTS, f"the panels see {seen:,} predictions only"
        took = {str(query): _best(lambda query=query: query.ask(client, now=end)) for query in queries}  # type: ignore[misc]
    for name, milliseconds in sorted(took.items(), key=lambda item: -item[1]):
        print(f"  {name:72}{milliseconds:8.0f} ms")
    slow = sum(milliseconds > BUDGET_MS for milliseconds in took.values())
    print(f"  {len(took)} queries, {slow} above {BUDGET_MS} ms")


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def _load(backend: Any, stream: str, make: Callable[[random.Random, int, int], str], start: int) -> None:
    from elastic_sandbox.documents import BulkOperation

    draw = random.Random(1)
    for batch in _batches():
        operations = []
        for number in batch:
            raw = make(draw, number, start + number * (_DAY_MS // DOCUMENTS))
            # What pipelines would add is written already.
            operations.append(BulkOperation("create", stream, f"{stream}-{number}", raw=raw.encode(), pipeline="_none"))
        failed = [item for item in backend.documents.bulk(operations) if getattr(item, "error", None)]
        assert not failed, failed[:1]
    backend.documents.refresh(backend.indices.resolve(stream))


def _batches() -> Iterator[range]:
    for start in range(0, DOCUMENTS, _BATCH):
        yield range(start, start + _BATCH)


def _prediction(draw: random.Random, number: int, at: int) -> str:
    status = "error" if draw.random() < 0.02 else "success"
    model = ("audit_fraud", "pricing", "session_duration")[number % 3]
    return (
        f'{{"@timestamp":{at},"model_name":"{model}","model_version":"v{number % 2}","status":"{status}",'
        f'"event_type":"predict","latency_ms":{draw.lognormvariate(3, 0.5):.3f},"count":1,"provider":"service",'
        f'"environment":"demo","request_id":"r{number}","event":{{"ingested":{at}}}}}'
    )


def _event(draw: random.Random, number: int, at: int) -> str:
    score = draw.random() ** 12
    country = ("US", "US", "CA", "RO")[number % 4]
    return (
        f'{{"@timestamp":{at},"event":{{"id":"e{number}","dataset":"lendpath.audit","action":"loan.{number % 9}",'
        f'"outcome":"success","ingested":{at}}},"user":{{"id":"u{number % 900}"}},'
        f'"source":{{"geo":{{"country_iso_code":"{country}"}}}},"ml":{{"audit_fraud":{{"score":{score:.5f},'
        f'"model_id":"audit_fraud-1","reason":["audit.hour=3","audit.role=processor"]}}}}}}'
    )
