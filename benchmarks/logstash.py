"""Lines per second through the runner of the shipped Logstash pipelines, from the input to the documents."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from elastic_sandbox.logstash.runner import Runner

LINES = 5_000
PIPELINES = Path(__file__).parents[1] / "logstash"
TEXT = "2026-05-28T10:15:30.123Z PREDICT request_id=r-{} model=fraud version=3 latency=12.7 status=success user=svc"
KINDS: dict[str, tuple[str, str]] = {
    "predictions, text": ("ml.predictions", TEXT),
    "predictions, JSON": (
        "ml.predictions",
        json.dumps({"event_type": "predict", "status": "success", "model_name": "fraud", "request_id": "r-@"}),
    ),
    "PingOne": (
        "ping_one.audit",
        json.dumps({
            "id": "a-@", "recordedAt": "2026-05-28T10:15:30.250Z", "action": {"type": "ROLE_ASSIGNMENT.CREATED"},
            "actors": {"user": {"id": "u1", "name": "ana"}}, "result": {"status": "SUCCESS"},
            "resources": [{"type": "ROLE", "id": "r1", "href": "https://api.example/v1/roles/r1"}],
        }),
    ),
    "dead letters": ("ml.registry", "what nobody can read {}"),
}  # fmt: skip


def run() -> None:
    """Print the rates of one core."""
    began = time.process_time()
    runner = Runner(PIPELINES)
    print(f"  read and built           {1000 * (time.process_time() - began):8.0f} ms")
    for kind, (dataset, template) in KINDS.items():
        events: list[dict[str, Any]] = [
            {"message": template.replace("@", str(n)).replace("{}", str(n)), "data_stream": {"dataset": dataset}}
            for n in range(LINES)
        ]
        began = time.process_time()
        runner.beats(events)
        runner.drain()
        print(f"  {kind:22} {LINES / (time.process_time() - began):10.0f} lines/s")
    assert len(runner.written) == LINES * len(KINDS)
