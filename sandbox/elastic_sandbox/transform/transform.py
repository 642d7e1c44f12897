"""One transform: its configuration, its task, its checkpoints and counters, and what `_stats` shows of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.transform.config import Config

KIND: Final = "transform"
_COUNTERS = (
    "pages_processed", "documents_processed", "documents_indexed", "documents_deleted", "trigger_count",
    "index_time_in_ms", "index_total", "index_failures", "search_time_in_ms", "search_total", "search_failures",
    "processing_time_in_ms", "processing_total", "delete_time_in_ms",
)  # fmt: skip
_AVERAGES = (
    "exponential_avg_checkpoint_duration_ms", "exponential_avg_documents_indexed",
    "exponential_avg_documents_processed",
)  # fmt: skip
_ALPHA: Final = 2.0 / 11  # TransformIndexerStats: a window of ten checkpoints


def zero_counters() -> dict[str, float]:
    """The counters of a transform that never ran."""
    return {**dict.fromkeys(_COUNTERS, 0), **dict.fromkeys(_AVERAGES, 0.0)}


@dataclass
class Checkpoint:
    """What the source held when a checkpoint was made.

    :param upper_ms: documents ingested before it are in; 0 for a batch transform
    :param sequences: highest sequence number by index uuid
    """

    number: int = 0
    timestamp_ms: int = 0
    upper_ms: int = 0
    sequences: dict[str, int] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """As in `checkpointing`; times that are zero are left out."""
        times = {"timestamp_millis": self.timestamp_ms, "time_upper_bound_millis": self.upper_ms}
        return {"checkpoint": self.number, **{name: ms for name, ms in times.items() if ms > 0}}

    def behind(self, current: dict[str, int]) -> int:
        """How many operations the source is ahead of it."""
        return sum(max(0, seq_no - self.sequences.get(uuid, -1)) for uuid, seq_no in current.items())


@dataclass
class Transform:
    """A transform and its persistent task; change it under :attr:`lock`."""

    config: Config
    task: Literal["stopped", "started", "failed"] = "stopped"
    reason: str | None = None
    last: Checkpoint = field(default_factory=Checkpoint)
    counters: dict[str, float] = field(default_factory=zero_counters)
    changes_ms: int = 0
    searched_ms: int = 0
    failures: int = 0
    indexing: bool = False
    next: Checkpoint | None = None
    progress: dict[str, float] = field(default_factory=dict)
    stop_requested: threading.Event = field(default_factory=threading.Event)
    stop_at_checkpoint: bool = False
    worker: threading.Thread | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def id(self) -> str:
        """The transform's id."""
        return str(self.config["id"])

    @property
    def continuous(self) -> bool:
        """Whether it goes on after its first checkpoint."""
        return "sync" in self.config

    @property
    def state(self) -> str:
        """State as `_stats` shows it."""
        if self.task != "started":
            return self.task
        if self.stop_requested.is_set() or self.stop_at_checkpoint:
            return "stopping"
        return "indexing" if self.indexing else "started"

    def to_document(self) -> dict[str, Any]:
        """What survives the process."""
        return {
            "config": self.config,
            "task": self.task,
            "reason": self.reason,
            "last": vars(self.last),
            "counters": self.counters,
            "changes_ms": self.changes_ms,
            "searched_ms": self.searched_ms,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Transform:
        """A transform as it was saved; its worker is not running."""
        return cls(**{**document, "last": Checkpoint(**document["last"])})

    def save(self, backend: Backend) -> None:
        """Make the present state durable."""
        backend.state.put(KIND, self.id, self.to_document())

    def checkpointed(self, made: Checkpoint, duration_ms: float, indexed: int, processed: int) -> None:
        """A checkpoint was completed."""
        self.last, self.next, self.failures = made, None, 0
        values = dict(zip(_AVERAGES, (float(duration_ms), float(indexed), float(processed)), strict=True))
        if any(self.counters[name] for name in _AVERAGES):
            values = {n: _ALPHA * v + (1 - _ALPHA) * self.counters[n] for n, v in values.items()}
        self.counters |= values

    def stats(self, backend: Backend, sequences: dict[str, int]) -> dict[str, Any]:
        """One entry of `_stats`.

        :param sequences: highest sequence number of each source index now, by its uuid
        """
        checkpointing: dict[str, Any] = {"last": self.last.shown()}
        if self.next is not None:
            checkpointing["next"] = {**self.next.shown(), "checkpoint_progress": dict(self.progress)}
        behind = self.last.behind(sequences) if self.last.number else 0
        times = {"changes_last_detected_at": self.changes_ms, "last_search_time": self.searched_ms}
        checkpointing |= {"operations_behind": behind} if behind else {}
        checkpointing |= {name: ms for name, ms in times.items() if ms}
        shown: dict[str, Any] = {"id": self.id, "state": self.state}
        if self.reason is not None:
            shown["reason"] = self.reason
        if self.task != "stopped" and backend.flavor != "serverless":
            shown["node"] = {
                "id": backend.tasks.node,
                "name": "sandbox",
                "ephemeral_id": backend.tasks.node,
                "transport_address": "127.0.0.1:9300",
                "attributes": {},
            }
        return {**shown, "stats": dict(self.counters), "checkpointing": checkpointing, "health": self._health()}

    def _health(self) -> dict[str, Any]:
        if self.task != "failed":
            return {"status": "green"}
        issue = {"type": "transform_task_failed", "issue": "Transform task state is [failed]", "count": 1}
        return {"status": "red", "issues": [{**issue, "details": self.reason or ""}]}
