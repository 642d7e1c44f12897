"""Faults that tests and ``--faults FILE`` inject: what a real cluster does on a bad day.

Two kinds. *Request faults* match a method and a path and answer, delay or cut that request. *Conditions* hold
for the whole cluster until lifted, and the room concerned asks for them: flood stage, ML upgrade mode, slow or
lazy starts of analytics jobs, failing bulk items.
"""

from __future__ import annotations

import fnmatch
import random
import re
import threading
import time
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from elastic_sandbox.errors import ElasticError, cluster_block

Action = Literal["answer", "cut_before", "cut_after", "delay", "bulk_items"]


@dataclass
class Fault:
    """One request fault.

    :param method: HTTP method, or ``*``
    :param path: a shell pattern over the path, for example ``/_bulk`` or ``/*/_search``
    :param action: ``answer`` sends ``status`` instead of doing the work; ``cut_before`` and ``cut_after`` close the
        connection before or after the work is done; ``delay`` waits ``seconds`` first; ``bulk_items`` fails items
        of a bulk with ``status`` and ``type``
    :param times: how many requests (or bulk items) it hits; None for all
    :param share: hit only this share of the matching requests or items (0 to 1), by a fixed seed
    """

    method: str = "*"
    path: str = "*"
    action: Action = "answer"
    status: int = 503
    type: str = ""
    reason: str = ""
    times: int | None = 1
    share: float = 1.0
    seconds: float = 0.0
    hits: int = 0
    _random: random.Random = field(default_factory=lambda: random.Random(7), repr=False)  # noqa: S311

    def matches(self, method: str, path: str) -> bool:
        """Whether this fault is meant for the request, leaving counts and shares aside."""
        return self.method in {"*", method} and re.fullmatch(fnmatch.translate(self.path), path) is not None

    def fire(self) -> bool:
        """Count one hit, unless the fault is used up or the share spares this one."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.share < 1.0 and self._random.random() >= self.share:
            return False
        self.hits += 1
        return True

    def error(self) -> ElasticError:
        """The error this fault answers."""
        default_type, default_reason = {
            429: ("es_rejected_execution_exception", "rejected execution of coordinating operation"),
            503: ("unavailable_shards_exception", "primary shard is not active"),
            401: ("security_exception", "unable to authenticate with provided credentials"),
        }.get(self.status, ("exception", f"fault injected by the sandbox with status {self.status}"))
        return ElasticError(self.status, self.type or default_type, self.reason or default_reason)


class Faults:
    """The faults in force. Thread-safe; empty unless a test or ``--faults`` fills it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._initial: list[dict[str, Any]] = []
        self.requests: list[Fault] = []
        self.upgrade_mode = False
        self.lazy_assignment = False
        """Analytics jobs stay ``starting`` with an assignment explanation until this is lifted."""
        self.slow_start_seconds = 0.0
        """Analytics jobs stay ``starting`` for this long."""
        self.flood_stage_pattern: str | None = None
        """Writes to indices matching this shell pattern answer 429 cluster_block_exception."""
        self.disk_used_percent: float | None = None
        """The node's disk reports itself this full."""
        self.api_key_expires: str | None = None
        """The end of the API key in ISO 8601 (with its zone); after it the key is refused."""

    def add(self, **fault: Any) -> Fault:
        """Add a request fault; the keywords are those of :class:`Fault`."""
        known = {item.name for item in fields(Fault)} - {"hits", "_random"}
        unknown = sorted(set(fault) - known)
        if unknown:
            raise ValueError(f"unknown fault key {unknown[0]!r}; known keys: {', '.join(sorted(known))}")
        made = Fault(**fault)
        with self._lock:
            self.requests.append(made)
        return made

    def load(self, document: dict[str, Any]) -> None:
        """Take faults from a parsed ``--faults`` file; :meth:`reset` returns to them.

        ``{"requests": [{"method": "POST", "path": "/_bulk", "status": 429, "times": 3}], "upgrade_mode": false,
        "lazy_assignment": false, "slow_start_seconds": 0, "flood_stage_pattern": "logs-*"}``
        """
        conditions = {"upgrade_mode", "lazy_assignment", "slow_start_seconds", "flood_stage_pattern",
                      "disk_used_percent", "api_key_expires"}  # fmt: skip
        unknown = sorted(set(document) - conditions - {"requests"})
        if unknown:
            known = ", ".join(sorted(conditions | {"requests"}))
            raise ValueError(f"unknown key {unknown[0]!r} in the faults file; known keys: {known}")
        for fault in document.get("requests", []):
            self.add(**fault)
        for name in conditions & set(document):
            setattr(self, name, document[name])
        self._initial.append(document)

    def take(self, method: str, path: str, actions: set[Action]) -> Fault | None:
        """The first fault of these actions that fires for this request."""
        with self._lock:
            for fault in self.requests:
                if fault.action in actions and fault.matches(method, path) and fault.fire():
                    return fault
        return None

    def before(self, method: str, path: str) -> None:
        """Called by the server before the work: waits, or raises the answer of a fault."""
        delay = self.take(method, path, {"delay"})
        if delay is not None:
            time.sleep(delay.seconds)
        answer = self.take(method, path, {"answer"})
        if answer is not None:
            raise answer.error()

    def bulk_item(self, index: str) -> ElasticError | None:
        """The error one bulk item for ``index`` shall fail with, or None; ``path`` of the fault matches the index."""
        fault = self.take("*", index, {"bulk_items"})
        return None if fault is None else fault.error()

    def check_flood_stage(self, index: str) -> None:
        """Raise 429 cluster_block_exception when writes to ``index`` are blocked."""
        pattern = self.flood_stage_pattern
        if pattern is not None and fnmatch.fnmatchcase(index, pattern):
            raise cluster_block(index)

    @property
    def api_key_expires_ms(self) -> int:
        """:attr:`api_key_expires` in epoch milliseconds."""
        return int(datetime.fromisoformat(str(self.api_key_expires)).timestamp() * 1000)

    def api_key_expired(self, now_ms: int) -> bool:
        """Whether the key has an end and it has passed."""
        return self.api_key_expires is not None and now_ms >= self.api_key_expires_ms

    def clear(self) -> None:
        """Lift everything, also what ``--faults`` set."""
        with self._lock:
            self.requests.clear()
        self.upgrade_mode = False
        self.lazy_assignment = False
        self.slow_start_seconds = 0.0
        self.flood_stage_pattern = None
        self.disk_used_percent = None
        self.api_key_expires = None

    def reset(self) -> None:
        """Back to what ``--faults`` set, or to none."""
        self.clear()
        documents, self._initial = self._initial, []
        for document in documents:
            self.load(document)
