"""The loop under _reindex and _delete_by_query: a page, a bulk, a pause; slice by slice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from elastic_sandbox.documents import BulkOperation, Hit
from elastic_sandbox.search import Scan

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index
    from elastic_sandbox.tasks import Task

_POLL_SECONDS = 0.01


@dataclass
class Job:
    """What to read, what to make of it, and how fast.

    :param write: the operation for one hit
    :param slices: into how many parts the source is divided by the hash of ``_id``
    :param requests_per_second: documents a second over all slices; -1 does not throttle
    :param counts: which of ``updated``, ``created``, ``deleted`` the status shows
    """

    indices: Callable[[], list[Index]]
    query: dict[str, Any] | None
    write: Callable[[Hit], BulkOperation]
    counts: tuple[str, ...]
    source: Any = True
    sort: list[Any] | None = None
    batch: int = 1000
    max_docs: int | None = None
    slices: int | Literal["auto"] = 1
    requests_per_second: float = -1.0
    conflicts_proceed: bool = False
    refresh: bool = False


@dataclass
class _Slice:
    number: int | None
    scan: Scan
    counts: dict[str, int]
    total: int = 0
    done: int = 0
    batches: int = 0
    version_conflicts: int = 0
    throttled_ms: int = 0
    throttled_until_ms: int = 0
    exhausted: bool = False
    failures: list[dict[str, Any]] = field(default_factory=list)


class Runner:
    """One execution of a job by a task."""

    def __init__(self, backend: Backend, job: Job, task: Task) -> None:
        self._backend = backend
        self._job = job
        self._task = task
        self._started = time.monotonic()
        self._slices: list[_Slice] = []
        self._touched: set[str] = set()
        task.requests_per_second = job.requests_per_second

    def run(self) -> dict[str, Any]:
        """Work to the end, the first failure, or cancellation; the response."""
        job = self._job
        indices = job.indices()
        wanted = _automatic(indices) if job.slices == "auto" else job.slices
        try:
            for number in range(wanted):
                part = None if wanted == 1 else (number, wanted)
                scan = Scan(self._backend, indices, job.query, source=job.source, sort=job.sort, part=part)
                counts = dict.fromkeys(job.counts, 0)
                self._slices.append(_Slice(None if wanted == 1 else number, scan, counts, scan.total()))
            self._limit_totals()
            self._task.status = self._status()
            while self._round():
                pass
        finally:
            for piece in self._slices:
                piece.scan.__exit__()
        if job.refresh:
            self._refresh()
        return self._response()

    def _limit_totals(self) -> None:
        left = self._job.max_docs
        if left is None:
            return
        # max_docs is shared out evenly, the remainder to the first slices.
        share, more = divmod(left, len(self._slices))
        for at, piece in enumerate(self._slices):
            piece.total = min(piece.total, share + (1 if at < more else 0))

    def _round(self) -> bool:
        """One batch of every slice; False when there is nothing left to do."""
        worked = False
        for piece in self._slices:
            if self._task.cancelled or self._failed():
                return False
            if not piece.exhausted:
                self._batch(piece)
                worked = True
        return worked and not (self._task.cancelled or self._failed())

    def _failed(self) -> bool:
        return any(piece.failures for piece in self._slices)

    def _batch(self, piece: _Slice) -> None:
        job = self._job
        size = min(job.batch, piece.total - piece.done)
        hits = piece.scan.next(size) if size > 0 else []
        if not hits:
            piece.exhausted = True
            return
        began_ms = self._backend.clock.now_ms()
        piece.batches += 1
        piece.done += len(hits)
        items = self._backend.documents.bulk([job.write(hit) for hit in hits])
        for item in items:
            [(action, answer)] = item.items()
            self._count(piece, action, answer)
        self._task.status = self._status()
        if not self._failed():
            self._pause(piece, len(hits), began_ms)

    def _count(self, piece: _Slice, action: str, answer: dict[str, Any]) -> None:
        error = answer.get("error")
        if error is not None:
            if answer["status"] == 409:
                piece.version_conflicts += 1
                if self._job.conflicts_proceed:
                    return
            piece.failures.append(
                {"index": answer["_index"], "id": answer["_id"], "cause": error, "status": answer["status"]}
            )
            return
        self._touched.add(answer["_index"])
        if action == "delete":
            piece.counts["deleted"] += 1
        elif answer["result"] == "created":
            piece.counts["created"] += 1
        else:
            # What a pipeline dropped answers "noop" and is counted here too: the server looks at the operation's type
            # and whether it created (AbstractAsyncBulkByPaginatedSearchAction.onBulkResponse).
            piece.counts["updated"] += 1

    def _pause(self, piece: _Slice, documents: int, began_ms: int) -> None:
        """Wait until the batch has taken as long as the rate allows; cancelling and rethrottling cut it short."""
        clock = self._backend.clock
        entered = clock.now_ms()
        while not self._task.cancelled:
            rate = self._task.requests_per_second
            due = began_ms if rate <= 0 else began_ms + documents * 1000 / rate
            left = due - clock.now_ms()
            if left <= 0:
                break
            piece.throttled_until_ms = max(1, int(left))
            self._task.status = self._status()
            time.sleep(_POLL_SECONDS)
        piece.throttled_until_ms = 0
        # A wait that rethrottling ended counts as it was, not as it was planned.
        piece.throttled_ms += clock.now_ms() - entered if self._task.requests_per_second > 0 else 0
        self._task.status = self._status()

    def _refresh(self) -> None:
        indices = [index for name in sorted(self._touched) if (index := self._backend.indices.get(name)) is not None]
        self._backend.documents.refresh(indices)

    # Status ---------------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        status = self._sum(self._slices)
        if len(self._slices) > 1:
            status["slices"] = [
                {"slice_id": piece.number, **self._sum([piece], share=1 / len(self._slices))} for piece in self._slices
            ]
        return status

    def _sum(self, pieces: list[_Slice], share: float = 1.0) -> dict[str, Any]:
        def add(name: str) -> int:
            return sum(getattr(piece, name) for piece in pieces)

        rate = self._task.requests_per_second
        return {
            "total": add("total"),
            **{name: sum(piece.counts[name] for piece in pieces) for name in self._job.counts},
            "batches": add("batches"),
            "version_conflicts": add("version_conflicts"),
            "noops": 0,
            "retries": {"bulk": 0, "search": 0},
            "throttled_millis": add("throttled_ms"),
            "requests_per_second": -1.0 if rate <= 0 else rate * share,
            "throttled_until_millis": max((piece.throttled_until_ms for piece in pieces), default=0),
        }

    def _response(self) -> dict[str, Any]:
        status = self._status()
        self._task.status = status
        response: dict[str, Any] = {
            "took": int((time.monotonic() - self._started) * 1000),
            "timed_out": False,
            **status,
        }
        if self._task.cancelled:
            response["canceled"] = self._task.cancel_reason
            self._task.status = {**status, "canceled": self._task.cancel_reason}
        response["failures"] = [failure for piece in self._slices for failure in piece.failures]
        return response


def _automatic(indices: list[Index]) -> int:
    """``slices=auto``: as many as the source index with the fewest shards has."""
    return max(1, min((int(index.settings.get("index.number_of_shards", 1)) for index in indices), default=1))
