"""How requests fare while a job runs, beside the same to an idle server, in turn, on the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from benchmarks.server import Served

BUDGET_MS = 50
Calls = Callable[[Elasticsearch], list[Callable[[], Any]]]


def ask_until(
    client: Elasticsearch, server: Served, idle: Elasticsearch, calls: Calls, ended: Callable[[], bool]
) -> None:
    """Ask both in turn until the job has ended, and print how long the answers took.

    :param idle: a server that has documents like the other's and nothing to do
    """
    pairs = list(zip(calls(client), calls(idle), strict=True))
    for _, same in pairs:
        same()
    server.holds()
    answers: list[float] = []
    controls: list[float] = []
    over = False
    while not over:
        for call, same in pairs:
            answers.append(_timed(call))
            controls.append(_timed(same))
        started = time.perf_counter()
        over = ended()
        answers.append(1000 * (time.perf_counter() - started))
        time.sleep(0.02)
    held = server.holds()
    print(f"    {len(answers)} requests meanwhile   {_said(answers)} (budget {BUDGET_MS} ms)")
    print(f"    the same of an idle one   {_said(controls)}")
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
