"""Taking turns: what jobs do in the background gives way to requests.

A worker does its work in slices of a few milliseconds, and before each it lets the requests that are there end. So a
request waits for one slice at most, however often it needs the cluster's lock, and has the interpreter to itself: next
to a worker that never waits it would lose its turn at each of the dozen times that it gives the interpreter back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

PATIENCE_SECONDS: Final = 0.05
"""A request that takes longer is long by itself, or waits for the job; nobody gives way to it any more."""
_BREATH_SECONDS: Final = 0.0005


class _Visit:
    """One request that is being answered."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = time.monotonic() + PATIENCE_SECONDS


_serving: ContextVar[_Visit | None] = ContextVar("serving", default=None)


class Turns:
    """Who is being served, for those who give way."""

    def __init__(self) -> None:
        self._ended = threading.Condition()
        self._visits: set[_Visit] = set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around the answering of a request."""
        visit = _Visit()
        token = _serving.set(visit)
        with self._ended:
            self._visits.add(visit)
        try:
            yield
        finally:
            _serving.reset(token)
            self._leave(visit)

    def leave(self) -> None:
        """Called by a request that is about to wait for a worker, which must not wait for it in turn."""
        visit = _serving.get()
        if visit is not None:
            self._leave(visit)

    def _leave(self, visit: _Visit) -> None:
        with self._ended:
            self._visits.discard(visit)
            self._ended.notify_all()

    def release(self) -> None:
        """Give way after a hold of the cluster's lock: whoever wants the lock and is no request gets it, too."""
        # A thread that releases a lock and wants it again at once gets it: whoever waits is still waking up.
        time.sleep(_BREATH_SECONDS)
        self.give_way()

    def give_way(self) -> None:
        """Let the requests that are there end, between two slices of work; never with a lock held.

        Not those that come meanwhile: callers without a pause would leave the job no turn at all.
        """
        if _serving.get() is not None:  # a slice of a request's own work
            return
        with self._ended:
            waited = self._visits.copy()
            while waited and (left := max(visit.until for visit in waited) - time.monotonic()) > 0:
                self._ended.wait(left)
                waited &= self._visits
