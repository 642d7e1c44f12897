"""The running analysis of one job: records in, results of finished buckets out.

Time is data time only. A bucket is finished when a record beyond it arrives or time is advanced; whatever the cut of
the input into requests, the same buckets give the same results, down to the last bit. A bucket that is under way can be
judged as if it ended now (`interim`), by a copy: what the analysis finds later does not depend on who looked before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.http import duration_seconds
from elastic_sandbox.ml.anomaly.detection import Detection, Finding

Ints = NDArray[np.int64]
_BATCH: Final = 96
"""Buckets aggregated at once: what keeps a slice of work short enough for requests to be answered between two."""


@dataclass
class Records:
    """Input records by column, in the order of time.

    :param times: epoch milliseconds
    :param fields: values by field name, None where a record has none
    :param counts: how many events each record stands for; None when each is one
    """

    times: Ints
    fields: dict[str, list[Any]]
    counts: NDArray[np.float64] | None = None

    def part(self, start: int, end: int) -> Records:
        """The records from index ``start`` to before ``end``."""
        fields = {name: values[start:end] for name, values in self.fields.items()}
        return Records(self.times[start:end], fields, None if self.counts is None else self.counts[start:end])

    @staticmethod
    def join(parts: list[Records]) -> Records:
        """Several runs of records as one."""
        if len(parts) == 1:
            return parts[0]
        fields = {name: [value for part in parts for value in part.fields[name]] for name in parts[0].fields}
        counts = None
        if parts[0].counts is not None:
            counts = np.concatenate([part.counts for part in parts if part.counts is not None])
        return Records(np.concatenate([part.times for part in parts]), fields, counts)


@dataclass
class Bucket:
    """What a finished bucket has to say, or (``interim``) one that is not; ``start`` in epoch milliseconds."""

    start: int
    event_count: int
    interim: bool = False
    findings: list[Finding] = field(default_factory=list)
    scheduled_events: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ScheduledEvent:
    """A calendar's event, in epoch milliseconds."""

    description: str
    start: int
    end: int
    skip_result: bool = True
    skip_model_update: bool = True


class Analysis:
    """All detectors of a job, the bucket they are at, and the records of it that have come so far."""

    def __init__(self, analysis_config: dict[str, Any]) -> None:
        self.span = int(duration_seconds(analysis_config["bucket_span"], "bucket_span"))
        self.influencers: list[str] = analysis_config["influencers"]
        self.detections = [
            Detection(detector, self.span, self.influencers) for detector in analysis_config["detectors"]
        ]
        self.fields = sorted(
            {name for detection in self.detections for name in detection.fields} | set(self.influencers)
        )
        self.next_bucket: int | None = None
        self.events: list[ScheduledEvent] = []
        self.filters: dict[str, frozenset[str]] = {}
        self._day: int | None = None
        self._reached = 0
        self._interim = False
        self._waiting: list[Records] = []

    def add(self, records: Records) -> tuple[Iterator[Bucket], int]:
        """Take records, sorted by time; (the buckets that finished, how many came too late for their bucket)."""
        late = 0
        if self.next_bucket is not None:
            late = int(np.searchsorted(records.times, self.next_bucket))
            records = records.part(late, len(records.times))
        if not len(records.times):
            return iter(()), late
        if self.next_bucket is None:
            self.next_bucket = self.floor(int(records.times[0]))
        self._waiting.append(records)
        return self.advance(int(records.times[-1])), late

    def floor(self, time_ms: int) -> int:
        """The start of the bucket that holds a moment."""
        return time_ms - time_ms % (self.span * 1000)

    def advance(self, time_ms: int) -> Iterator[Bucket]:
        """Finish every bucket that ends at or before a moment."""
        self._reached = max(self._reached, time_ms)
        if self.next_bucket is not None and self.floor(time_ms) > self.next_bucket:
            yield from self._finish(self.next_bucket, self.floor(time_ms))

    def interim(self, start: int | None = None, end: int | None = None) -> Iterator[Bucket]:
        """Judge buckets that are not finished by what has come for them, and learn nothing from it.

        The one under way, or those that [start, end) touches (CAnomalyJob::outputResultsWithinRange): finished ones are
        left out, later ones are empty.
        """
        if self.next_bucket is None:
            return
        first = self.next_bucket if start is None else max(self.next_bucket, self.floor(start))
        last = self.next_bucket + self.span * 1000 if end is None else self.floor(end + self.span * 1000 - 1)
        if first >= last:
            return
        trial = copy.copy(self)
        trial.detections, trial._interim = copy.deepcopy(self.detections), True
        if self._waiting:
            waiting = Records.join(self._waiting)
            trial._waiting = [waiting.part(int(np.searchsorted(waiting.times, first)), len(waiting.times))]
        yield from trial._finish(first, last)

    def _finish(self, start: int, until: int) -> Iterator[Bucket]:
        self.next_bucket = start
        records = Records.join(self._waiting) if self._waiting else None
        self._waiting = []
        at = 0
        while self.next_bucket < until:
            end = min(self.next_bucket + _BATCH * self.span * 1000, until)
            stop = at if records is None else int(np.searchsorted(records.times, end))
            yield from self._batch(None if records is None else records.part(at, stop), self.next_bucket, end)
            at = stop
        if records is not None and at < len(records.times):
            self._waiting = [records.part(at, len(records.times))]

    def skip(self, time_ms: int) -> None:
        """Forget what has come for unfinished buckets; go on with the first that begins at a moment or later."""
        if self.next_bucket is not None:
            self.next_bucket = max(self.next_bucket, self.floor(time_ms + self.span * 1000 - 1))
            self._waiting = []

    def _batch(self, records: Records | None, start: int, end: int) -> Iterator[Bucket]:
        step = self.span * 1000
        starts = range(start, end, step)
        if records is not None and len(records.times):
            bucket_of = (records.times - start) // step
            edges = np.searchsorted(bucket_of, np.arange(len(starts) + 1))
            weights = records.counts
            totals: Any = np.bincount(bucket_of, weights, minlength=len(starts))
        else:
            records, edges, totals = None, np.zeros(len(starts) + 1, dtype=np.int64), np.zeros(len(starts))
        prepared = [detection.prepare(records, edges, len(starts)) for detection in self.detections]
        for number, bucket_start in enumerate(starts):
            self._begin(bucket_start)
            bucket = Bucket(bucket_start, round(float(totals[number])), self._interim)
            share = float(np.clip((self._reached - bucket_start) / step, 0, 1)) if self._interim else 1.0
            active = [event for event in self.events if event.start <= bucket_start < event.end]
            bucket.scheduled_events = [event.description for event in active]
            skip_result = any(event.skip_result for event in active)
            skip_update = self._interim or any(event.skip_model_update for event in active)
            for detection, input_ in zip(self.detections, prepared, strict=True):
                findings = detection.step(
                    input_, number, bucket_start, self.filters, learn=not skip_update, share=share
                )
                if not skip_result:
                    bucket.findings += findings
            self.next_bucket = bucket_start + step
            yield bucket

    def _begin(self, bucket_start: int) -> None:
        day = bucket_start // 86_400_000
        if self._day is not None and day > self._day:
            for detection in self.detections:
                detection.tail.next_day(float(day - self._day))
        self._day = day

    # Keeping --------------------------------------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """Everything needed to go on later: arrays and plain values, the unfinished bucket's records included."""
        waiting = Records.join(self._waiting) if self._waiting else None
        return {
            "next_bucket": self.next_bucket,
            "day": self._day,
            "detections": [detection.to_state() for detection in self.detections],
            "waiting": None
            if waiting is None
            else {
                "times": waiting.times.tolist(),
                "fields": waiting.fields,
                "counts": None if waiting.counts is None else waiting.counts.tolist(),
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `to_state`."""
        self.next_bucket, self._day = state["next_bucket"], state["day"]
        for detection, kept in zip(self.detections, state["detections"], strict=True):
            detection.restore(kept)
        waiting = state["waiting"]
        self._waiting = []
        if waiting is not None:
            counts = None if waiting["counts"] is None else np.array(waiting["counts"], dtype=np.float64)
            self._waiting = [Records(np.array(waiting["times"], dtype=np.int64), waiting["fields"], counts)]
            self._reached = int(waiting["times"][-1])
