"""The worker of one running datafeed: look-back in chunks, then real time on the sandbox's clock.

A look-back that reaches its end stops the datafeed and closes the job, as in Elasticsearch; without an end the datafeed
goes on, every `frequency`, `query_delay` behind now, and finishes the buckets it has passed. The bucket it is in has
interim results, in real time as at the end of a look-back: each flush of Elasticsearch's DatafeedJob asks for them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.ml.anomaly.datafeed_config import frequency_seconds
from elastic_sandbox.ml.anomaly.extraction import Extractor
from elastic_sandbox.ml.anomaly.process import Process, ProcessStoppedError

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ml.anomaly.datafeeds import Datafeed
    from elastic_sandbox.ml.anomaly.job import AnomalyJob

log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.02
_PERSIST: Final = "3h"
"""How often a real-time job takes a snapshot when `background_persist_interval` is not set: Elasticsearch takes 3 to 4
hours, drawn by the job's id."""


class ExtractionProblemError(Exception):
    """A search of the datafeed failed: its index is gone, or a script failed on a document.

    It is no failure of the job (Elasticsearch's `DatafeedRunner`): a look-back with an end ends here, and the job is
    closed; in real time the same range is searched again the next time.
    """


class DatafeedRun:
    """One run of a datafeed, from start to stopped."""

    def __init__(self, backend: Backend, feed: Datafeed, job: AnomalyJob) -> None:
        self._backend = backend
        self._feed = feed
        self._job = job
        self._stop = feed.stop_requested
        self._empty_searches = 0
        self._at = 0

    def __call__(self) -> None:
        """Run to the end; what the job is then depends on why it ended."""
        ended = False
        try:
            ended = self._run()
        except ProcessStoppedError:
            log.debug("datafeed [%s]: its job was closed", self._feed.id)
        except ElasticError as error:  # the disk is full, or the sandbox lacks what a script wants
            log.error("datafeed [%s] ends: %s", self._feed.id, error)
            if not self._stop.is_set():
                self._backend.ml.anomaly.jobs.fail(self._job, error.reason)
        except Exception as error:  # the thread has no caller: what went wrong must show in the job
            if not self._stop.is_set():
                log.exception("datafeed [%s] failed", self._feed.id)
                self._backend.ml.anomaly.jobs.fail(self._job, f"{type(error).__name__}: {error}")
        if self._feed.isolated or self._stop.is_set():
            return
        if ended:
            self._backend.ml.anomaly.jobs.close_one(self._job)
        self._feed.state, self._feed.worker = "stopped", None
        self._backend.ml.anomaly.datafeeds.save(self._feed)

    def _run(self) -> bool:
        """Whether the datafeed came to its end by itself."""
        process = self._process()
        assert self._feed.asked is not None
        start, end = self._feed.asked
        extractor = Extractor(self._backend, self._feed.config, self._job.config)
        delay_ms = int(duration_seconds(self._feed.config["query_delay"], "query_delay") * 1000)
        now = self._backend.clock.now_ms()
        lookback_end = now - delay_ms if end is None else min(end, now)
        at = self._continue_at(process, start)
        if at < lookback_end:
            self._at = at
            try:
                at = self._look_back(process, extractor, at, lookback_end)
                process.flush(interim=True)
            except ExtractionProblemError as problem:
                self._report(problem)
                if end is not None:
                    return True
                at = self._at
        process.persist()
        if end is not None and end <= now:
            return True
        self._at = at
        return self._follow(process, extractor, lookback_end, end, delay_ms)

    def _process(self) -> Process:
        """The open job's process, once there is one."""
        jobs = self._backend.ml.anomaly.jobs
        while jobs.state(self._job) == "opening":
            if self._stop.wait(_LOOK_SECONDS):
                raise ProcessStoppedError
        process = self._job.process
        if process is None:
            raise ProcessStoppedError
        self._feed.state = "started"
        return process

    def _continue_at(self, process: Process, start: int) -> int:
        """Where to begin: behind what was seen; a later start skips to its bucket (DatafeedJob.skipToStartTime)."""
        last = self._job.last_time
        if last is None:
            return start
        if last + 1 > start:
            return last + 1
        process.skip(start)
        return process.analysis.next_bucket or start

    def _pause_in_upgrade_mode(self) -> None:
        while self._backend.ml.upgrade_mode:
            if self._stop.wait(_LOOK_SECONDS):
                raise ProcessStoppedError

    def _look_back(self, process: Process, extractor: Extractor, start: int, end: int) -> int:
        self._refresh()
        with extraction():
            chunks = list(extractor.chunks(start, end, self._job.span_ms))
        for at, until in chunks:
            self._backend.turns.give_way()
            self._pause_in_upgrade_mode()
            if self._stop.is_set():
                raise ProcessStoppedError
            self._search(process, extractor, at, until)
            self._at = until
        return end

    def _report(self, problem: ExtractionProblemError) -> None:
        log.error("datafeed [%s] is encountering errors extracting data: %s", self._feed.id, problem)

    def _refresh(self) -> None:
        names = ",".join(self._feed.config["indices"])
        self._backend.documents.refresh(self._backend.indices.resolve(names, ignore_unavailable=True))

    def _search(self, process: Process, extractor: Extractor, start: int, end: int) -> int:
        self._feed.interval = (start, end)
        started, searches = time.monotonic(), extractor.searches
        with extraction():
            records = extractor.read(start, end)
        took = (time.monotonic() - started) * 1000
        buckets = self._job.counts["bucket_count"]
        size = len(records.times)
        if size:
            process.feed(records, input_fields=sum(size - column.count(None) for column in records.fields.values()),
                         input_bytes=_bytes(records.fields, size))  # fmt: skip
        timing = self._feed.timing
        timing["search_count"] += extractor.searches - searches
        timing["bucket_count"] += self._job.counts["bucket_count"] - buckets
        timing["total_search_time_ms"] += took
        if timing["bucket_count"]:
            timing["average_search_time_per_bucket_ms"] = timing["total_search_time_ms"] / timing["bucket_count"]
        hours = max((end - start) / 3_600_000, 1e-3)
        before = timing["exponential_average_search_time_per_hour_ms"]
        timing["exponential_average_search_time_per_hour_ms"] = before + 0.1 * (took / hours - before)
        return size

    # Real time ------------------------------------------------------------------------------------------------------

    def _follow(self, process: Process, extractor: Extractor, tried: int, end: int | None, delay_ms: int) -> bool:
        """Search what is new every `frequency`; ``tried`` is how far was searched, with or without success."""
        span = self._job.span_ms / 1000
        every = int(frequency_seconds(self._feed.config, span) * 1000)
        persist = int(duration_seconds(self._job.config.get("background_persist_interval", _PERSIST), "persist") * 1000)
        self._feed.real_time = True
        clock = self._backend.clock
        at = self._at
        while True:
            now = clock.now_ms()
            until = now - delay_ms - (now - delay_ms) % every
            if end is not None:
                until = min(until, end) if now < end + delay_ms else end
            if until > max(at, tried):
                self._pause_in_upgrade_mode()
                self._refresh()
                try:
                    found = self._search(process, extractor, at, until)
                except ExtractionProblemError as problem:
                    self._report(problem)
                    tried = until
                    continue
                process.advance(until)
                process.flush(interim=True)
                at = until
                if self._gives_up(found):
                    return True
                if clock.now_ms() - process.last_snapshot_ms >= persist:
                    process.persist()
            if end is not None and at >= end:
                return True
            if self._stop.wait(_LOOK_SECONDS) or process.killed.is_set():
                if not self._feed.isolated and not process.killed.is_set():
                    process.flush()
                raise ProcessStoppedError

    def _gives_up(self, found: int) -> bool:
        """Whether `max_empty_searches` in a row, before any data was seen, end a real-time datafeed."""
        self._empty_searches = 0 if found else self._empty_searches + 1
        limit = self._feed.config.get("max_empty_searches")
        return limit is not None and self._empty_searches >= limit and not self._job.counts["input_record_count"]


@contextmanager
def extraction() -> Iterator[None]:
    """What a search refuses is a problem of the extraction; what the sandbox lacks is not, and shall be seen."""
    try:
        yield
    except ElasticError as error:
        if error.status == 501:
            raise
        shards = error.metadata.get("failed_shards") or [{}]
        reason = shards[0].get("reason", {})
        cause = reason.get("caused_by", {}).get("reason", reason.get("reason", ""))
        raise ExtractionProblemError(f"{error.reason}: {cause}" if cause else error.reason) from error


def _bytes(fields: dict[str, list[Any]], size: int) -> int:
    """About what the records would take as JSON lines."""
    total = 24 * size
    for name, values in fields.items():
        total += (len(name) + 6) * size + sum(len(value) if isinstance(value, str) else 8 for value in values)
    return total
