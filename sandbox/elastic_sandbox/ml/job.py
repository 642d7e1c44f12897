"""One data frame analytics job: its state, progress and statistics, kept in memory and written through."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.ml.analysis_config import analysis_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

KIND: Final = "analytics"
_BOOSTED_PHASES = (
    "reindexing",
    "loading_data",
    "feature_selection",
    "coarse_parameter_search",
    "fine_tuning_parameters",
    "final_training",
    "writing_results",
    "inference",
)
PHASES: Final[dict[str, tuple[str, ...]]] = {
    "classification": _BOOSTED_PHASES,
    "regression": _BOOSTED_PHASES,
    "outlier_detection": ("reindexing", "loading_data", "computing_outliers", "writing_results"),
}
RESTARTED: Final = (
    "the sandbox was restarted while the job ran; force stop the job and start it again, and it goes on after its last "
    "whole step"
)
RUNNING: Final = frozenset({"starting", "started", "stopping"})
UPGRADE_EXPLANATION: Final = "persistent task cannot be assigned while upgrade mode is enabled."
LAZY_EXPLANATION: Final = (
    "Not opening job [{id}] on node [{node}], because node has insufficient available memory. Available memory for ML "
    "[0], memory required by existing jobs [0], estimated memory required for this job [{memory}]"
)


class JobStoppedError(Exception):
    """The worker noticed that its job shall stop."""


class JobFailedError(Exception):
    """The analysis cannot go on; the message becomes the job's failure_reason."""


@dataclass
class Job:
    """State of a job between requests and its worker thread; `lock` guards every change."""

    config: dict[str, Any]
    state: str = "stopped"
    progress: dict[str, int] = field(default_factory=dict)
    data_counts: dict[str, int] = field(
        default_factory=lambda: {"training_docs_count": 0, "test_docs_count": 0, "skipped_docs_count": 0}
    )
    memory_usage: dict[str, Any] = field(default_factory=lambda: {"peak_usage_bytes": 0, "status": "ok"})
    analysis_stats: dict[str, Any] = field(default_factory=dict)
    failure_reason: str | None = None
    assignment_explanation: str = ""
    stop_requested: threading.Event = field(default_factory=threading.Event)
    worker: threading.Thread | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.progress = self.progress or dict.fromkeys(self.phases, 0)

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases of its kind of analysis, in order."""
        return PHASES[analysis_of(self.config)[0]]

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.config["id"])

    @property
    def running(self) -> bool:
        """Whether a worker is, or is about to be, at it."""
        return self.state in RUNNING

    @property
    def finished(self) -> bool:
        """Whether all of it is done; a new and a finished job are both `stopped`, only progress tells them apart."""
        return all(percent == 100 for percent in self.progress.values())

    @property
    def begun(self) -> bool:
        """Whether it ever got anywhere."""
        return any(self.progress.values())

    def to_document(self) -> dict[str, Any]:
        """What is kept in the cluster state."""
        return {
            "config": self.config,
            "state": self.state,
            "progress": self.progress,
            "data_counts": self.data_counts,
            "memory_usage": self.memory_usage,
            "analysis_stats": self.analysis_stats,
            "failure_reason": self.failure_reason,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Job:
        """A job as it was when the process ended; one that ran then has failed, as one whose process died."""
        job = cls(**document)
        if job.running:
            job.state, job.failure_reason = "failed", RESTARTED
        return job

    def stats(self, node: str | None, *, verbose: bool = False) -> dict[str, Any]:
        """One entry of `_stats`; the losses of single folds are shown only when verbose.

        :param node: where it runs; None where nodes are not shown (the API specification has `node` for the stack only)
        """
        with self.lock:
            shown: dict[str, Any] = {
                "id": self.id,
                "state": self.state,
                "progress": [{"phase": p, "progress_percent": percent} for p, percent in self.progress.items()],
                "data_counts": dict(self.data_counts),
                "memory_usage": dict(self.memory_usage),
            }
            if self.failure_reason is not None:
                shown["failure_reason"] = self.failure_reason
            if self.analysis_stats:
                shown["analysis_stats"] = self.analysis_stats if verbose else _without_folds(self.analysis_stats)
            if node is not None and self.state == "started" and not self.assignment_explanation:
                shown["node"] = {
                    "id": node,
                    "name": "sandbox",
                    "ephemeral_id": node,
                    "transport_address": "127.0.0.1:9300",
                    "attributes": {},
                }
            if self.running or self.assignment_explanation:
                shown["assignment_explanation"] = self.assignment_explanation
            return shown


def _without_folds(analysis_stats: dict[str, Any]) -> dict[str, Any]:
    return {
        kind: stats | {"validation_loss": {"loss_type": loss["loss_type"]}}
        if (loss := stats.get("validation_loss"))
        else stats
        for kind, stats in analysis_stats.items()
    }


class Journal:
    """Writes one job's changes through, never for a job that was deleted or reset meanwhile.

    Locks are taken in one order everywhere: the backend's, then the job's.
    """

    def __init__(self, backend: Backend, job: Job) -> None:
        self._backend = backend
        self._job = job

    def save(self) -> None:
        """Make the job's present state durable; JobStoppedError when the job is not there any more."""
        with self._backend.lock:
            if not self._backend.ml.jobs.holds(self._job):
                raise JobStoppedError
            with self._job.lock:
                self._backend.state.put(KIND, self._job.id, self._job.to_document())

    def advance(self, phase: str, percent: int) -> None:
        """Move a phase forward, never back; durable when the phase ends."""
        with self._job.lock:
            before = self._job.progress[phase]
            self._job.progress[phase] = max(before, min(100, percent))
            ended = before < 100 <= percent
        if ended:
            self.save()
