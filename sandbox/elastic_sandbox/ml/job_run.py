"""The worker of one analytics job: from copying the source to the written results, phase by phase.

It runs in a thread of its own. Between chunks it looks whether the job shall stop, and while ML upgrade mode or a lazy
assignment holds, it waits. Everything it has done is kept: a job that is started again goes on after its last whole
step (a copied destination is not copied again, the analysis starts over).
What differs between the analyses is in `forest_analysis` and `outlier_analysis`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ml.analysis_config import is_filtered_out
from elastic_sandbox.ml.destination import prepare_destination
from elastic_sandbox.ml.field_selection import INCREMENTAL_ID, Selection, merge_mappings, select_fields
from elastic_sandbox.ml.forest_analysis import run_forest
from elastic_sandbox.ml.job import (
    LAZY_EXPLANATION,
    UPGRADE_EXPLANATION,
    Job,
    JobFailedError,
    JobStoppedError,
    Journal,
)
from elastic_sandbox.ml.memory import estimate_bytes
from elastic_sandbox.ml.outlier_analysis import run_outliers
from elastic_sandbox.ml.rows import Rows, load_rows
from elastic_sandbox.ml.strict import byte_size, byte_text
from elastic_sandbox.ml.training import TrainingCancelledError

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents.documents import Hit

log = logging.getLogger(__name__)
_COPIED: Final = 500
"""Documents of one write of the copy, which a refresh follows: others wait for the lock as long as either takes, and
every write of new documents is a statement of the refresh."""
_CHUNK: Final = 100
"""Results of one write: documents that are there already are written one by one, which takes four times as long."""
_REFRESHED: Final = 500
"""Documents per refresh; fewer would hardly shorten it, as most of its time is its statements'."""


class JobRun:
    """One run of a job, from `_start` to `stopped` or `failed`, and what the analyses use of it."""

    def __init__(self, backend: Backend, job: Job) -> None:
        self.backend = backend
        self.job = job
        self._journal = Journal(backend, job)
        self._dest = job.config["dest"]["index"]
        self._started = time.monotonic()
        self._unrefreshed = 0

    def __call__(self) -> None:
        """Run to the end; the outcome is the job's state."""
        try:
            self._wait_for_node()
            self._run()
            self._end("stopped")
        except (JobStoppedError, TrainingCancelledError):
            self._end("stopped")
        except JobFailedError as error:
            self._end("failed", str(error))
        except ElasticError as error:
            self._end("failed", error.reason)
        except Exception as error:  # the thread has no caller: what went wrong must show in the job
            if self.job.stop_requested.is_set():  # its indices may be gone already
                log.debug("data frame analytics [%s] was interrupted", self.job.id, exc_info=error)
                self._end("stopped")
                return
            log.exception("data frame analytics [%s] failed", self.job.id)
            self._end("failed", f"{type(error).__name__}: {error}")

    def _end(self, state: str, reason: str | None = None) -> None:
        try:
            with self.backend.lock, self.job.lock:
                self.job.state = state
                self.job.failure_reason = reason
                self.job.assignment_explanation = ""
                self._journal.save()
        except JobStoppedError:
            log.debug("data frame analytics [%s] was deleted while it ran", self.job.id)

    # Waiting and stopping -------------------------------------------------------------------------------------------

    def _wait_for_node(self) -> None:
        faults = self.backend.faults
        slow_until = self.backend.clock.now_ms() + faults.slow_start_seconds * 1000
        memory = byte_size("model_memory_limit", self.job.config["model_memory_limit"])
        waiting = LAZY_EXPLANATION.format(id=self.job.id, node="{sandbox}", memory=memory)
        while faults.lazy_assignment or self.backend.clock.now_ms() < slow_until:
            with self.job.lock:
                self.job.assignment_explanation = waiting if faults.lazy_assignment else ""
            self._pause()
        with self.job.lock:
            self.job.state = "started"
            self.job.assignment_explanation = ""
        self._journal.save()

    def _pause(self) -> None:
        if self.job.stop_requested.wait(0.05):
            raise JobStoppedError

    def _stop_if_asked(self) -> None:
        """Stop when the job must; unlike `_checkpoint` it never waits, so it may be called under the cluster's lock."""
        if self.job.stop_requested.is_set():
            raise JobStoppedError

    def _checkpoint(self) -> None:
        """Called between chunks of work, without a lock: stops or waits when the job must."""
        self._stop_if_asked()
        self.backend.turns.give_way()
        if self.backend.ml.upgrade_mode:
            with self.job.lock:
                self.job.assignment_explanation = UPGRADE_EXPLANATION
            while self.backend.ml.upgrade_mode:
                self._pause()
            with self.job.lock:
                self.job.assignment_explanation = ""

    def is_cancelled(self) -> bool:
        """Whether the job shall stop; asked between trees, lets requests go first."""
        self.backend.turns.give_way()
        return self.job.stop_requested.is_set()

    def advance(self, phase: str, percent: int) -> None:
        """Report progress; stops or waits when the job must."""
        self._checkpoint()
        self._journal.advance(phase, percent)

    @property
    def elapsed_ms(self) -> int:
        """How long the run has taken so far."""
        return int((time.monotonic() - self._started) * 1000)

    def report(self, kind: str, stats: dict[str, Any]) -> None:
        """Keep the analysis' statistics of `_stats`."""
        with self.job.lock:
            self.job.analysis_stats = {kind: {"timestamp": self.backend.clock.now_ms()} | stats}
        self._journal.save()

    # The phases -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        indices = self.backend.indices.resolve(",".join(self.job.config["source"]["index"]))
        selection = select_fields(self.job.config, merge_mappings(indices))
        if self.job.progress["reindexing"] < 100:
            self._reindex(indices)
        rows = self._load(selection)
        if not rows.ids:
            raise JobFailedError(
                f"no document of the destination index [{self._dest}] can be analysed: each has several values in an "
                "analysed field, or none where the analysis needs one"
            )
        try:
            if selection.dependent_variable is None:
                run_outliers(self, rows, selection)
            else:
                run_forest(self, rows, selection)
        finally:
            rows.release()

    def _reindex(self, indices: list[Any]) -> None:
        """Copy the matching source documents to the destination, which a run that was interrupted begins afresh."""
        config = self.job.config
        self._checkpoint()
        with self.backend.lock:
            self._stop_if_asked()
            if self.job.begun and self.backend.indices.get(self._dest) is not None:
                self.backend.indices.delete(self._dest)
            prepare_destination(self.backend, config, indices)
        self._journal.advance("reindexing", 1)
        expression = ",".join(config["source"]["index"])
        query = config["source"]["query"]
        total = max(1, self.backend.documents.count(expression, query))
        source_filter = config["source"].get("_source")
        done = 0
        for chunk in _chunks(self.backend.documents.scan(expression, query, batch=_COPIED), _COPIED):
            documents = []
            for hit in chunk:
                source = hit.source if source_filter is None else _filtered(hit.source, source_filter)
                documents.append((hit.id, source | {INCREMENTAL_ID: done}))
                done += 1
            self._index(documents)
            self._journal.advance("reindexing", min(99, 1 + int(98 * done / total)))
        self._refresh()
        self._journal.advance("reindexing", 100)

    def _index(self, documents: Sequence[tuple[str, dict[str, Any]]]) -> None:
        from elastic_sandbox.documents.operations import BulkOperation

        operations = [
            BulkOperation(action="index", index=self._dest, id=doc_id, source=source, pipeline="_none")
            for doc_id, source in documents
        ]
        for operation in operations:
            operation.encoded()  # here, not under the lock
        self._checkpoint()
        with self.backend.lock:  # a reset holds this lock: nothing may be written after it
            self._stop_if_asked()
            items = self.backend.documents.bulk(operations)
        self.backend.turns.release()
        for item in items:
            error = next(iter(item.values())).get("error")
            if error is not None:
                raise JobFailedError(
                    f"failed to write to the destination index [{self._dest}]: {error.get('reason', error)}"
                )
        self._unrefreshed += len(documents)
        if self._unrefreshed >= _REFRESHED:
            self._refresh()

    def _refresh(self) -> None:
        self._unrefreshed = 0
        self._checkpoint()
        with self.backend.lock:
            self._stop_if_asked()
            self.backend.documents.refresh(self.backend.indices.resolve(self._dest))
        self.backend.turns.release()

    def _load(self, selection: Selection) -> Rows:
        total = max(1, self.backend.documents.count(self._dest))

        def documents() -> Iterator[tuple[str, dict[str, Any]]]:
            for done, hit in enumerate(self.backend.documents.scan(self._dest, batch=_COPIED)):
                if done % _CHUNK == 0:
                    self._checkpoint()
                    self._journal.advance("loading_data", min(99, int(100 * done / total)))
                yield hit.id, hit.source

        rows = load_rows(documents(), selection)
        self._journal.advance("loading_data", 100)
        return rows

    def admit(self, rows: Rows, selection: Selection, training: int) -> None:
        """Report the counts, and fail the job when its memory limit is far below what so many rows take."""
        estimate = estimate_bytes(training, len(selection.features))
        limit = byte_size("model_memory_limit", self.job.config["model_memory_limit"])
        usage: dict[str, Any] = {
            "timestamp": self.backend.clock.now_ms(),
            "peak_usage_bytes": min(estimate, limit),
            "status": "ok",
        }
        if limit * 2 < estimate:  # the estimate is generous; only a limit far below it makes the real process give up
            usage |= {"status": "hard_limit", "memory_reestimate_bytes": estimate}
        with self.job.lock:
            self.job.data_counts = {
                "training_docs_count": training,
                "test_docs_count": len(rows.ids) - training,
                "skipped_docs_count": rows.skipped,
            }
            self.job.memory_usage = usage
        self._journal.save()
        if usage["status"] == "hard_limit":
            raise JobFailedError(
                f"Input error: memory limit [{byte_text(limit)}] has been exceeded. Please force stop the job, "
                f"increase to new value [{byte_text(estimate)}] and restart."
            )

    def write_results(
        self, positions: dict[str, int], results: Callable[[list[int]], Sequence[dict[str, Any]]], phase: str
    ) -> None:
        """Write the results of some rows into their documents and end the phase.

        :param positions: document id → row
        :param results: from rows to the objects to be put under the results field
        """
        field = self.job.config["dest"]["results_field"]
        done = 0
        for chunk in _chunks(self.backend.documents.scan(self._dest, batch=_COPIED), _CHUNK) if positions else ():
            hits = [hit for hit in chunk if hit.id in positions]
            found = results([positions[hit.id] for hit in hits])
            self._index([(hit.id, hit.source | {field: one}) for hit, one in zip(hits, found, strict=True)])
            done += len(hits)
            self._journal.advance(phase, min(99, int(100 * done / len(positions))))
        self._refresh()
        self._journal.advance(phase, 100)


def _chunks(hits: Iterator[Hit], size: int) -> Iterator[list[Hit]]:
    chunk = []
    for hit in hits:
        chunk.append(hit)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _filtered(source: dict[str, Any], source_filter: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    kept = {}
    for key, value in source.items():
        path = prefix + key
        if isinstance(value, dict):
            inner = _filtered(value, source_filter, path + ".")
            if inner:
                kept[key] = inner
        elif not is_filtered_out(source_filter, path):
            kept[key] = value
    return kept
