"""Search contexts: points in time and scrolls, kept open between requests.

A context holds a read transaction of DuckDB, so what it sees does not change, whatever is written, deleted or even
dropped meanwhile: the same promise Lucene's open readers make.
"""

from __future__ import annotations

import base64
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.search.request import SearchRequest

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import Snapshot

MAX_KEEP_ALIVE_SECONDS = 86_400.0


@dataclass
class Context:
    """One open view; ``request``, ``last`` and ``total`` are those of a scroll."""

    id: str
    snapshot: Snapshot
    expires_ms: int
    request: SearchRequest | None = None
    last: tuple[Any, ...] | None = None
    total: dict[str, Any] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Contexts:
    """All open contexts, by id."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        self._open: dict[str, Context] = {}

    def open(self, snapshot: Snapshot, keep_alive: float) -> Context:
        """Keep a snapshot for ``keep_alive`` seconds from now."""
        try:
            _check_keep_alive(keep_alive)
        except ElasticError:
            snapshot.close()
            raise
        self.expire()
        # Long and opaque, as clients must expect.
        key = base64.urlsafe_b64encode(os.urandom(48)).decode()
        context = Context(key, snapshot, self._backend.clock.now_ms() + int(keep_alive * 1000))
        with self._lock:
            self._open[key] = context
        return context

    def get(self, key: str, keep_alive: float | None) -> Context:
        """An open context; its life is extended by ``keep_alive``.

        :raises ElasticError: 404 search_context_missing_exception
        """
        self.expire()
        with self._lock:
            context = self._open.get(key)
        if context is None:
            raise missing()
        if keep_alive is not None:
            _check_keep_alive(keep_alive)
            expires = self._backend.clock.now_ms() + int(keep_alive * 1000)
            context.expires_ms = max(context.expires_ms, expires)
        return context

    def close(self, keys: list[str] | None) -> int:
        """Close some, or all when None; how many were open."""
        with self._lock:
            doomed = list(self._open) if keys is None else [key for key in keys if key in self._open]
            closed = [self._open.pop(key) for key in dict.fromkeys(doomed)]
        for context in closed:
            with context.lock:
                context.snapshot.close()
        return len(closed)

    def scrolls(self) -> list[str]:
        """Ids of open scrolls."""
        with self._lock:
            return [key for key, context in self._open.items() if context.request is not None]

    def expire(self) -> None:
        """Close what nobody asked for in time."""
        now = self._backend.clock.now_ms()
        with self._lock:
            late = [key for key, context in self._open.items() if context.expires_ms < now]
        if late:
            self.close(late)


def _check_keep_alive(seconds: float) -> None:
    if seconds > MAX_KEEP_ALIVE_SECONDS:
        raise illegal_argument(
            f"Keep alive for request ({seconds / 3600:g}h) is too large. It must be less than (1d). This limit "
            "can be set by "
            "changing the [search.max_keep_alive] cluster level setting."
        )


def missing() -> ElasticError:
    """404 for a context that was closed, has expired, or never was."""
    cause = {"type": "search_context_missing_exception", "reason": "No search context found for id [0]"}
    return ElasticError(
        404,
        "search_phase_execution_exception",
        "all shards failed",
        root_cause=[cause],
        phase="query",
        grouped=True,
        failed_shards=[{"shard": -1, "index": None, "reason": cause}],
    )
