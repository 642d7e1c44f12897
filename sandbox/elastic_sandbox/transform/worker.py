"""The indexer of a started transform: checkpoint after checkpoint, as far as the clock lets it.

A batch transform makes one checkpoint and stops. A continuous one looks every `frequency` for documents whose sync
field lies between the last checkpoint's upper bound and now less `delay`, and writes the buckets they fall into again,
whole: so a late document rewrites its bucket (documentation page "How transform checkpoints work").
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.search.aggregations.rounding import rounding_of
from elastic_sandbox.transform.config import DEFAULT_FREQUENCY, DEFAULT_PAGE, DEFAULT_RETRIES
from elastic_sandbox.transform.pivot import Pivot, Query
from elastic_sandbox.transform.transform import Checkpoint, Transform

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.02
# ExceptionRootCauseFinder.IRRECOVERABLE_REST_STATUSES
_IRRECOVERABLE = frozenset({400, 401, 403, 404, 405, 406, 410, 501})


class StoppedError(Exception):
    """Somebody stopped the transform, or the cluster was reset."""


class _IndexingError(ElasticError):
    """Documents were refused; the reason says how many and why the first."""


class Worker:
    """What a started transform does; to be called in a thread of its own."""

    def __init__(self, backend: Backend, transform: Transform) -> None:
        self._backend = backend
        self._transform = transform
        # A transform that is started again gets a new event: this worker goes by the one it was born with.
        self._stop = transform.stop_requested

    def __call__(self) -> None:
        """Run until stopped, failed, or done."""
        try:
            while True:
                began = self._backend.clock.now_ms()
                self._trigger()
                if not self._transform.continuous or self._transform.stop_at_checkpoint:
                    self._end("stopped")
                    return
                self._transform.indexing = False
                # An update takes effect here, at the next checkpoint.
                frequency = self._transform.config.get("frequency")
                seconds = DEFAULT_FREQUENCY if frequency is None else duration_seconds(frequency, "frequency")
                while self._backend.clock.now_ms() < began + seconds * 1000:
                    if self._stop.wait(_LOOK_SECONDS) or self._transform.stop_at_checkpoint:
                        raise StoppedError
        except StoppedError:
            self._end("stopped")
        except ElasticError as error:
            self._end("failed", error.reason)
        except Exception as error:  # the thread has no caller: what went wrong must show in the transform
            if self._stop.is_set():  # its indices may be gone already
                self._end("stopped")
                return
            log.exception("transform [%s] failed", self._transform.id)
            self._end("failed", f"{type(error).__name__}: {error}")

    def _end(self, task: Any, reason: str | None = None) -> None:
        with self._backend.lock, self._transform.lock:
            if self._backend.transforms.runs(self._transform, self._stop):
                self._transform.task, self._transform.reason, self._transform.next = task, reason, None
                self._transform.indexing = False
                self._transform.stop_at_checkpoint = False
                self._transform.save(self._backend)

    def _trigger(self) -> None:
        """One look at the source, and a checkpoint if it changed; a failure that may pass is tried again next time."""
        transform = self._transform
        # It is indexing from the trigger on, while it still looks for changes (AsyncTwoPhaseIndexer).
        transform.indexing = True
        transform.counters["trigger_count"] += 1
        retries = transform.config["settings"].get("num_failure_retries")
        allowed = DEFAULT_RETRIES if retries is None else retries
        while True:
            try:
                return self._checkpoint()
            except ElasticError as error:
                kind = "index" if isinstance(error, _IndexingError) else "search"
                transform.counters[f"{kind}_failures"] += 1
                if error.status in _IRRECOVERABLE:
                    prefix = "" if kind == "index" else "task encountered irrecoverable failure: "
                    raise ElasticError(error.status, error.type, f"{prefix}{error.reason}") from None
                transform.failures += 1
                if allowed != -1 and transform.failures > allowed:
                    latest = f"task encountered more than {allowed} failures; latest failure: {error.reason}"
                    raise ElasticError(error.status, error.type, latest) from None
                if transform.continuous:
                    return None
                if self._stop.wait(0.1):
                    raise StoppedError from None

    def _checkpoint(self) -> None:
        transform, config = self._transform, self._transform.config
        pivot = Pivot(self._backend, config)
        now = self._backend.clock.now_ms()
        made = Checkpoint(
            transform.last.number + 1, now, self._upper(pivot, now), self._backend.transforms.sequences(config)
        )
        filters: list[Query] = [config["source"]["query"]]
        transform.searched_ms = now
        if transform.continuous:
            field = config["sync"]["time"]["field"]
            before = {"lt": made.upper_ms, "format": "epoch_millis"}
            if transform.last.upper_ms:
                window = {"range": {field: {**before, "gte": transform.last.upper_ms}}}
                changed = pivot.changes({"bool": {"filter": [*filters, window]}}, field)
                if changed is None:
                    return
                filters += changed
            filters.append({"range": {field: before}})
        transform.changes_ms = now
        transform.next = made
        self._apply(pivot, {"bool": {"filter": filters}}, made)

    def _upper(self, pivot: Pivot, now: int) -> int:
        transform = self._transform
        if not transform.continuous:
            return 0
        time_ = transform.config["sync"]["time"]
        upper = now - int(duration_seconds(time_["delay"], "delay") * 1000)
        # TimeBasedCheckpointProvider aligns only with a date histogram over the very field that it syncs by.
        if transform.config["settings"].get("align_checkpoints", True):
            for kind, options in pivot.groups.values():
                if kind == "date_histogram" and options["field"] == time_["field"]:
                    return rounding_of(options, "date_histogram").key(upper)
        return upper

    def _apply(self, pivot: Pivot, query: Query, made: Checkpoint) -> None:
        transform, backend = self._transform, self._backend
        settings, dest = transform.config["settings"], transform.config["dest"]
        page = settings.get("max_page_search_size") or transform.config["pivot"].get("max_page_search_size")
        page = page or DEFAULT_PAGE
        read = pivot.reader(pivot.destination_types())
        started = time.monotonic()
        total = pivot.search(query, {})["total"]
        indexed = processed = 0
        counters = transform.counters
        for buckets in pivot.buckets(query):
            for at in range(0, len(buckets), page):
                part = buckets[at : at + page]
                documents = [read(bucket) for bucket in part]
                with backend.lock:
                    if self._stop.is_set() or not backend.transforms.runs(transform, self._stop):
                        raise StoppedError
                    operations = [BulkOperation("index", dest["index"], i, source) for i, source in documents]
                    items = backend.documents.bulk(operations, pipeline=dest.get("pipeline"))
                backend.turns.release()
                _check(items)
                indexed += len(part)
                processed += sum(bucket["doc_count"] for bucket in part)
                for name in ("pages_processed", "search_total", "processing_total", "index_total"):
                    counters[name] += 1
                counters["documents_indexed"] += len(part)
                counters["documents_processed"] += sum(bucket["doc_count"] for bucket in part)
                transform.progress = {
                    "total_docs": total,
                    "docs_remaining": max(0, total - processed),
                    "percent_complete": 100.0 * processed / total if total else 100.0,
                    "docs_indexed": indexed,
                    "docs_processed": processed,
                }
        duration = (time.monotonic() - started) * 1000
        counters["index_time_in_ms"] += int(duration)
        counters["pages_processed"] += 1  # the empty page that ends it
        with backend.lock, transform.lock:
            if not backend.transforms.runs(transform, self._stop):
                raise StoppedError
            transform.checkpointed(made, duration, indexed, processed)
            transform.save(backend)


def _check(items: list[dict[str, Any]]) -> None:
    failed = [answer for item in items for answer in item.values() if "error" in answer]
    if not failed:
        return
    fatal = next((answer for answer in failed if answer["status"] in _IRRECOVERABLE), None)
    if fatal is None:
        error = failed[0]["error"]
        said = f"Significant failures: [{error['type']}] message [{error['reason']}]"
        raise _IndexingError(429, "bulk_indexing_exception", f"Bulk index experienced [{len(failed)}] failures. {said}")
    raise _IndexingError(
        400,
        "bulk_indexing_exception",
        "Failed to index documents into destination index due to permanent error: "
        "[org.elasticsearch.xpack.transform.transforms.BulkIndexingException: Bulk index experienced "
        f"[{len(failed)}] failures and at least 1 irrecoverable [{fatal['error']['reason']}]. Other failures: ]",
    )
