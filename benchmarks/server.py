"""A sandbox in a process of its own, as a user has it: what it does never waits for the one who measures.

It also tells what its jobs kept others from: the longest time that one held the cluster's lock or the interpreter, as
time of work. Work is the same however busy the machine is, and the slowest answer on a busy machine is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from elastic_sandbox.running import load_ahead, prefer_short_answers
from elastic_sandbox.testing import serve

JOBS = ("analytics-", "datafeed-")
"""How the threads of jobs are named."""


class Served:
    """The other process: its address, and what its jobs held since the last time it was asked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def holds(self) -> dict[str, float]:
        """The longest holds of ``lock`` and ``interpreter``, milliseconds of work."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._line())
        return found


@contextmanager
def served() -> Iterator[Served]:
    """An empty sandbox until the block ends."""
    command = [sys.executable, "-m", "benchmarks.server"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    try:
        yield Served(server)
    finally:
        server.stdin.close()
        server.wait(30)


class _TimedLock:
    """The cluster's lock, which knows how much work was done under it at most."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._began = 0.0
        self.longest = 0.0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._depth == 1:
            self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.longest = max(self.longest, time.thread_time() - self._began)
        self._lock.release()


class _Watch:
    """Wakes every millisecond; when it wakes late, the work of a job's thread meanwhile is what kept it."""

    def __init__(self) -> None:
        self.longest = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            before, asleep = self._work(), time.perf_counter()
            time.sleep(0.001)
            late = time.perf_counter() - asleep - 0.001
            if late > 0.002:
                after = self._work()
                work = max((after[job] - spent for job, spent in before.items() if job in after), default=0.0)
                self.longest = max(self.longest, min(late, work))

    @staticmethod
    def _work() -> dict[int, float]:
        spent = {}
        for thread in threading.enumerate():
            if thread.name.startswith(JOBS) and thread.ident is not None:
                with suppress(OSError):  # it has just ended
                    spent[thread.ident] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        return spent


def _main() -> None:
    prefer_short_answers()
    with serve() as sandbox:
        lock: Any = _TimedLock()
        sandbox.backend.lock = lock
        load_ahead().join()
        watch = _Watch()
        print(sandbox.elasticsearch_url, flush=True)
        for _ in sys.stdin:
            print(json.dumps({"lock": 1000 * lock.longest, "interpreter": 1000 * watch.longest}), flush=True)
            lock.longest = watch.longest = 0.0


if __name__ == "__main__":
    _main()
