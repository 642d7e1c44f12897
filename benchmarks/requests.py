"""How requests fare while a job runs, beside the same to an idle server at the same time on the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from benchmarks.server import Served, served

BUDGET_MS = 50


def ask_until(client: Elasticsearch, server: Served, calls: list[Callable[[], Any]], ended: Callable[[], bool]) -> None:
    """Ask in turn until the job has ended, and print how long the answers took."""
    with served() as idle, Elasticsearch(idle.url, request_timeout=120) as control:
        client.info()
        control.info()
        server.holds()
        answers: list[float] = []
        controls: list[float] = []
        over = False
        while not over:
            answers += [_timed(call) for call in calls]
            controls.append(_timed(control.info))
            started = time.perf_counter()
            over = ended()
            answers.append(1000 * (time.perf_counter() - started))
            time.sleep(0.02)
        held = server.holds()
    print(f"    {len(answers)} requests meanwhile   {_said(answers)} (budget {BUDGET_MS} ms)")
    print(f"    an idle server's answers  {_said(controls)}")
    print(
        f"    held at most              the lock {held['lock']:.0f} ms, the interpreter {held['interpreter']:.0f} ms "
        "(work of the server, whatever else the machine does)",
        flush=True,
    )


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _said(times: list[float]) -> str:
    median, late, slowest = np.quantile(times, [0.5, 0.99, 1.0])
    return f"median {median:.0f} ms, p99 {late:.0f} ms, slowest {slowest:.0f} ms"
