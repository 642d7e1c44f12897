"""The open job: takes records, writes the results of finished buckets, keeps counts, takes snapshots.

It stands where Elasticsearch's native process does. One thread at a time works with it (`work` is its lock); statistics
are read without waiting for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.analysis import Analysis, Bucket, Records
from elastic_sandbox.ml.anomaly.config import memory_mb
from elastic_sandbox.ml.anomaly.snapshots import pack

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ml.anomaly.job import AnomalyJob

_WRITE_BUCKETS: Final = 50
_WRITE_DOCUMENTS: Final = 100
"""Results per write: others wait for the lock as long as one takes."""
_REFRESHED: Final = 500
"""Results per refresh, for the same reason: who searches next would have to make all of them visible."""


class ProcessStoppedError(Exception):
    """The job was closed by force, deleted or reset while something worked with its process."""


class Process:
    """One job's analysis between open and close."""

    def __init__(self, backend: Backend, job: AnomalyJob, state: Any) -> None:
        self._backend = backend
        self._job = job
        self.work = threading.RLock()
        self.killed = threading.Event()
        self.analysis = Analysis(job.config["analysis_config"])
        self._fresh = state is None
        self._changed = False
        self._unrefreshed = 0
        self._superseded = True
        if state is not None:
            self.analysis.restore(state)
        self.last_snapshot_ms = backend.clock.now_ms()

    def configure(self) -> None:
        """Take over what may have changed since: calendars, filters, custom rules of the job."""
        anomaly = self._backend.ml.anomaly
        self.analysis.events = anomaly.calendars.events_for(self._job)
        self.analysis.filters = anomaly.filters.items()
        for detection, detector in zip(
            self.analysis.detections, self._job.config["analysis_config"]["detectors"], strict=True
        ):
            detection.rules = detector.get("custom_rules", [])

    def feed(self, records: Records, *, input_fields: int, input_bytes: int, invalid_dates: int = 0) -> dict[str, Any]:
        """Analyse records, sorted by time; the counts of this input alone.

        :param input_fields: how many fields the records had, the time left out
        :raises ProcessStoppedError: the job is closed by force meanwhile
        """
        with self.work:
            self.configure()
            finished, late = self.analysis.add(records)
            size = len(records.times)
            taken = records.part(late, size)
            present = sum(size - late - column.count(None) for column in taken.fields.values())
            counts = {
                "processed_record_count": size - late,
                "processed_field_count": present,
                "input_bytes": input_bytes,
                "input_field_count": input_fields,
                "invalid_date_count": invalid_dates,
                "missing_field_count": len(taken.fields) * (size - late) - present,
                "out_of_order_timestamp_count": late,
                "input_record_count": size + invalid_dates,
            }
            now = self._backend.clock.now_ms()
            times = {}
            if size > late:
                times = {
                    "earliest_record_timestamp": int(taken.times[0]),
                    "latest_record_timestamp": int(taken.times[-1]),
                }
                self._changed = True
            with self._job.lock:
                kept = self._job.counts
                for name, number in counts.items():
                    kept[name] += number
                if times:
                    kept.setdefault("earliest_record_timestamp", times["earliest_record_timestamp"])
                    kept["latest_record_timestamp"] = max(
                        kept.get("latest_record_timestamp", 0), times["latest_record_timestamp"]
                    )
                kept |= {"last_data_time": now, "log_time": now}
            empty, buckets = self._finish(finished)
            return {"job_id": self._job.id, **counts, "empty_bucket_count": empty, "sparse_bucket_count": 0,
                    "bucket_count": buckets, **times, "last_data_time": now, "log_time": now}  # fmt: skip

    def advance(self, time_ms: int) -> None:
        """Finish every bucket that ends at or before a moment."""
        with self.work:
            self.configure()
            self._finish(self.analysis.advance(time_ms))

    def skip(self, time_ms: int) -> None:
        """Leave out all data up to the end of the bucket a moment lies in; see `Analysis.skip`."""
        with self.work:
            self.analysis.skip(time_ms)
            self._job.last_bucket_end = self.analysis.next_bucket
            self._changed = True

    def flush(self, *, interim: bool = False, start: int | None = None, end: int | None = None) -> int | None:
        """Make results visible; where final results end, None before any data.

        :param interim: write interim results of the bucket that is under way, or of those in [start, end)
        """
        with self.work:
            if interim:
                self.configure()
                self._finish(self.analysis.interim(start, end))
            self._superseded = True
            self._refresh()
            return self.analysis.next_bucket

    def _replace_interim(self, *, interim: bool) -> None:
        """Before results are written: delete the interim ones of earlier flushes.

        Elasticsearch's AutodetectResultProcessor does it with the first bucket, interim or not, after a flush and after
        the job was opened. Until then they stay, in a closed job too (InterimResultsDeletedAfterReopeningJobIT).
        """
        job, was = self._job, self._job.interim
        if self._superseded and was:
            with self._backend.lock:
                self._check()
                results.delete(self._backend, job.id, [{"term": {"is_interim": True}}])
        job.interim = interim or (was and not self._superseded)
        self._superseded = False
        if job.interim != was:
            self._backend.ml.anomaly.jobs.save(job)

    def _finish(self, buckets: Iterable[Bucket]) -> tuple[int, int]:
        empty = number = 0
        for chunk in _chunked(buckets, _WRITE_BUCKETS, self._backend.turns.give_way):
            documents: list[tuple[str, dict[str, Any]]] = []
            interim = chunk[0][0].interim
            self._replace_interim(interim=interim)
            for bucket, took in chunk:
                documents += results.documents_of(
                    self._job.id, self._job.config["analysis_config"], self.analysis.span, bucket, round(took)
                )
                empty += bucket.event_count == 0
            number += len(chunk)
            self._write(documents)
            self._time(chunk)
            if not interim:
                self._count(chunk)
        return empty, number

    def _write(self, documents: list[tuple[str, dict[str, Any]]]) -> None:
        for at in range(0, len(documents), _WRITE_DOCUMENTS):
            part = documents[at : at + _WRITE_DOCUMENTS]
            self._unrefreshed += len(part)
            with self._backend.lock:  # a reset holds this lock: nothing may be written after it
                self._check()
                results.write(self._backend, self._job.id, part)
            self._backend.turns.release()
            if self._unrefreshed >= _REFRESHED:
                self._unrefreshed = 0
                self._refresh()
                self._backend.turns.release()

    def _check(self) -> None:
        if self.killed.is_set():
            raise ProcessStoppedError

    def _refresh(self) -> None:
        indices = self._backend.indices.resolve(results.write_alias(self._job.id), ignore_unavailable=True)
        self._backend.documents.refresh(indices)

    def _time(self, chunk: list[tuple[Bucket, float]]) -> None:
        """`timing_stats`: of every bucket, interim ones too (AutodetectResultProcessor.processResult)."""
        span_ms = self.analysis.span * 1000
        with self._job.lock:
            timing = self._job.timing
            for _, took in chunk:
                timing["bucket_count"] += 1
                timing["total_bucket_processing_time_ms"] += took
                timing["minimum_bucket_processing_time_ms"] = min(
                    timing.get("minimum_bucket_processing_time_ms", took), took
                )
                timing["maximum_bucket_processing_time_ms"] = max(
                    timing.get("maximum_bucket_processing_time_ms", took), took
                )
                timing["average_bucket_processing_time_ms"] = (
                    timing["total_bucket_processing_time_ms"] / timing["bucket_count"]
                )
                before = timing.get("exponential_average_bucket_processing_time_ms", took)
                timing["exponential_average_bucket_processing_time_ms"] = before + 0.01 * (took - before)
            timing["exponential_average_bucket_processing_time_per_hour_ms"] = (
                timing["exponential_average_bucket_processing_time_ms"] * 3_600_000 / span_ms
            )

    def _count(self, chunk: list[tuple[Bucket, float]]) -> None:
        span_ms = self.analysis.span * 1000
        with self._job.lock:
            counts = self._job.counts
            for bucket, _ in chunk:
                counts["bucket_count"] += 1
                counts["latest_bucket_timestamp"] = bucket.start
                if bucket.event_count == 0:
                    counts["empty_bucket_count"] += 1
                    counts["latest_empty_bucket_timestamp"] = bucket.start
            self._job.last_bucket_end = chunk[-1][0].start + span_ms
            self._measure()

    def _measure(self) -> None:
        """`model_size_stats`: the bytes of the model's arrays and names, and how many values there are."""
        size = sum(_bytes(detection.to_state()) for detection in self.analysis.detections)
        sizes = self._job.sizes
        limit = (memory_mb(self._job.config["analysis_limits"]["model_memory_limit"]) or 0) << 20
        totals = {kind: sum(d.sizes[kind] for d in self.analysis.detections) for kind in ("by", "over", "partition")}
        now = self._backend.clock.now_ms()
        sizes |= {
            "model_bytes": size, "peak_model_bytes": max(size, sizes["peak_model_bytes"]),
            "model_bytes_memory_limit": limit, "model_bytes_exceeded": max(0, size - limit),
            "memory_status": "hard_limit" if size > limit else "soft_limit" if size > 0.6 * limit else "ok",
            "assignment_memory_basis": "current_model_bytes", "output_memory_allocator_bytes": 0,
            **{f"total_{kind}_field_count": number for kind, number in totals.items()},
            "log_time": now, "timestamp": self._job.counts["latest_bucket_timestamp"],
        }  # fmt: skip

    def persist(self, *, final: bool = False) -> None:
        """Take a snapshot if anything came since the last one, and write the job's statistics as documents."""
        with self.work:
            if self._changed:
                self._snapshot()
            with self._backend.lock:
                self._check()
                self._keep(final=final)

    def _snapshot(self) -> None:
        job, end, now = self._job, self.analysis.next_bucket, self._backend.clock.now_ms()
        newest = None if end is None or not job.counts["bucket_count"] else end - job.span_ms
        latest = job.counts.get("latest_record_timestamp")
        self._backend.ml.anomaly.snapshots.take(job, pack(self.analysis.to_state()), latest, newest, self._check)
        self._changed = False
        self.last_snapshot_ms = now

    def _keep(self, *, final: bool) -> None:
        job, backend = self._job, self._backend
        documents = [
            (f"{job.id}_data_counts", dict(job.counts)),
            (f"{job.id}_timing_stats", {**job.timing, "result_type": "timing_stats"}),
        ]
        if "timestamp" in job.sizes:
            documents.append((f"{job.id}_model_size_stats_{job.sizes['log_time']}", dict(job.sizes)))
        results.write(backend, job.id, documents, refresh=final)
        backend.ml.anomaly.jobs.save(job)


def _chunked(buckets: Iterable[Bucket], size: int, between: Callable[[], None]) -> Iterator[list[tuple[Bucket, float]]]:
    """Buckets with the milliseconds each took, some at a time; ``between`` is called after each."""
    chunk: list[tuple[Bucket, float]] = []
    started = time.perf_counter()
    for bucket in buckets:
        now = time.perf_counter()
        chunk.append((bucket, (now - started) * 1000))
        if len(chunk) == size:
            yield chunk
            chunk = []
        between()
        started = time.perf_counter()
    if chunk:
        yield chunk


def _bytes(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    if isinstance(value, list):
        return sum(map(_bytes, value))
    return len(value) if isinstance(value, str) else 8
