"""ES|QL on a day of 1,000,000 predictions: what the panels and rules of model operations ask, each the best of five."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

DOCUMENTS = 1_000_000
_BATCH = 20_000
_START_MS = 1_772_323_200_000  # 2026-03-01
_FIELDS = {
    "@timestamp": "date", "model_name": "keyword", "model_version": "keyword", "status": "keyword",
    "event_type": "keyword", "latency_ms": "float", "count": "long",
}  # fmt: skip
_DAY = '"2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"'

QUERIES = {
    "panel: latency by time and model": f"""FROM predictions
        | WHERE @timestamp >= "2026-03-01" AND event_type == "predict"
        | STATS p50 = PERCENTILE(latency_ms, 50), p95 = PERCENTILE(latency_ms, 95), p99 = PERCENTILE(latency_ms, 99),
            n = SUM(count) BY b = BUCKET(@timestamp, 50, {_DAY}), model_name
        | SORT b""",
    "panel: throughput per 5 minutes": """FROM predictions
        | STATS per_minute = SUM(count) / 5 BY b = BUCKET(@timestamp, 5 minutes), model_name | SORT b""",
    "panel: error rate by version": """FROM predictions
        | STATS errors = SUM(count) WHERE status == "error", n = SUM(count) BY model_name, model_version
        | EVAL rate = ROUND(100.0 * errors / n, 2) | KEEP model_name, model_version, rate""",
    "rule: latency against baseline": """FROM predictions
        | STATS p99 = PERCENTILE(latency_ms, 99), n = SUM(count) BY model_name, model_version
        | EVAL model_key = CONCAT(model_name, "@", model_version) | LOOKUP JOIN baselines ON model_key
        | WHERE n >= 50 AND p99 > 2 * baseline_p99_ms""",
    "table: newest errors": """FROM predictions | WHERE status == "error" | SORT @timestamp DESC | LIMIT 100""",
}
BUDGET_MS = 300


def run() -> None:
    """Print each query's time on the sandbox's engine, and how long a translation takes."""
    from elastic_sandbox.backend import Backend

    backend = Backend()
    try:
        began = time.monotonic()
        _load(backend)
        print(f"  {DOCUMENTS:,} documents indexed in {time.monotonic() - began:.0f} s")
        for name, query in QUERIES.items():
            took = _best(lambda query=query: backend.esql.query(query))  # type: ignore[misc]
            print(f"  {name:34}{took:8.0f} ms   (at most {BUDGET_MS})", flush=True)
        print(f"  translation, median               {_translation_ms(backend):8.1f} ms   (at most 5)")
    finally:
        backend.close()


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times) * 1000


def _load(backend: object) -> None:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import BulkOperation

    assert isinstance(backend, Backend)
    properties = {name: {"type": kind} for name, kind in _FIELDS.items()}
    backend.indices.create("predictions", {"mappings": {"properties": properties}})
    backend.indices.create(
        "baselines",
        {
            "settings": {"index.mode": "lookup"},
            "mappings": {"properties": {"model_key": {"type": "keyword"}, "baseline_p99_ms": {"type": "double"}}},
        },
    )
    source = b'{"model_key":"audit_fraud@v1","baseline_p99_ms":20}'
    backend.documents.bulk([BulkOperation("index", "baselines", "1", raw=source)], refresh=True)
    draw = random.Random(1)
    models = ("audit_fraud", "privileged_access", "session_duration")
    for start in range(0, DOCUMENTS, _BATCH):
        operations = []
        for number in range(start, start + _BATCH):
            status = "error" if draw.random() < 0.02 else "success"
            raw = (
                f'{{"@timestamp":{_START_MS + number * 86},"model_name":"{models[number % 3]}",'
                f'"model_version":"v{number % 2}","status":"{status}","event_type":"predict",'
                f'"latency_ms":{draw.lognormvariate(3, 0.5):.3f},"count":1}}'
            )
            operations.append(BulkOperation("create", "predictions", str(number), raw=raw.encode()))
        backend.documents.bulk(operations)
    backend.documents.refresh(backend.indices.resolve("predictions"))


def _translation_ms(backend: object) -> float:
    """Processor time of parsing, typing and writing the SQL of the first panel, its text new each time, not run."""
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.esql import service

    assert isinstance(backend, Backend)
    query = next(iter(QUERIES.values()))
    times = []
    original = service.Esql._run
    service.Esql._run = staticmethod(lambda compilation, sql: [])  # type: ignore[method-assign]
    try:
        for number in range(30):
            began = time.thread_time()
            backend.esql.query(query + " " * number)
            times.append(time.thread_time() - began)
    finally:
        service.Esql._run = original  # type: ignore[method-assign]
    return statistics.median(times) * 1000
