"""One attempt at one partition as the ledger keeps it: who works on it, until when, and what it came to."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from elastic_ml.exceptions import ElasticMLError
from elastic_ml.ingest.bulk import StoppedError
from elastic_ml.ingest.counts import Counts
from elastic_ml.ingest.ledger import Document, Lease, Ledger, iso, partition_id
from elastic_ml.ingest.stream import AuditStream
from elastic_ml.project.source import Source
from elastic_ml.sources.partition import Partition

log = logging.getLogger(__name__)

KEPT_ATTEMPTS = 50
PROGRESS_SECONDS = 10.0


class Attempt:
    """The lease of a partition and its record.

    :param owner: who writes, such as ``dag/run/task``; the same owner takes its own lease over after a crash.
    :param counts: of this attempt, which the record follows.
    :param stop: set when the attempt is to end.
    :param abandoned: whether nobody supervises this process any more.
    :param replay: what is read again (``failures``); None for an ordinary attempt, which reads the source.
    """

    def __init__(
        self,
        ledger: Ledger,
        source: Source,
        partition: Partition,
        *,
        owner: str,
        counts: Counts,
        stop: threading.Event,
        now: Callable[[], datetime],
        abandoned: Callable[[], bool],
        replay: str | None = None,
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._partition = partition
        self._owner = owner
        self._counts = counts
        self._stop = stop
        self._now = now
        self._abandoned = abandoned
        self._replay = replay
        self._lease: Lease | None = None
        self._state_before: str | None = None
        self._progress_at = time.monotonic()

    def begin(self, choose: Callable[[str | None], AuditStream], *, ttl: timedelta, wait: timedelta) -> AuditStream:
        """Become the partition's only writer; returns where it writes to.

        :param choose: called with the target that an earlier attempt recorded, None at the first.
        :raises LockHeldError: another run writes this partition.
        """
        chosen: list[AuditStream] = []

        def claimed(before: Document | None) -> Document:
            stream = choose((before or {}).get("target"))
            chosen.append(stream)
            self._state_before = (before or {}).get("state")
            return self._claimed(before, stream)

        identity = partition_id(self._source.name, self._partition.key)
        self._lease = self._ledger.claim(identity, owner=self._owner, ttl=ttl, wait=wait, change=claimed)
        return chosen[-1]

    def _claimed(self, before: Document | None, stream: AuditStream) -> Document:
        attempts = list((before or {}).get("attempts", []))[-KEPT_ATTEMPTS:]
        number = attempts[-1]["number"] + 1 if attempts else 1
        started: Document = {"number": number, "owner": self._owner, "started_at": iso(self._now()), "state": "running"}
        if self._replay:
            started["replay"] = self._replay
        return {
            "kind": "partition",
            "source": self._source.name,
            "partition": self._partition.key,
            "stream": stream.name,
            "target": stream.target,
            "state": "running",
            "reason": None,
            "counts": self._counts.figures(),
            "write_index": stream.write_index,
            "attempts": [*attempts, started],
        }

    @property
    def document(self) -> Document:
        """The ledger's document of the partition."""
        return self._held.document

    @property
    def first(self) -> bool:
        """Whether nobody attempted this partition before."""
        return len(self.document["attempts"]) == 1

    @property
    def first_began(self) -> str:
        """When the first attempt began, as the ledger writes times."""
        return str(self.document["attempts"][0]["started_at"])

    @property
    def before(self) -> int:
        """Documents of the partition that were there when this attempt began, as far as the ledger knows."""
        return int(self.document.get("indexed") or 0)

    def correct(self, indexed: int) -> None:
        """Write down what earlier attempts really left behind; one that was killed could not."""
        self._held.renew({"indexed": indexed})

    def alive(self) -> None:
        """Renew the lease when it is due, and say how far the attempt is.

        :raises StoppedError: nobody supervises this process any more.
        :raises LockHeldError: the lease is lost.
        """
        label = f"{self._source.name}|{self._partition.key}"
        if self._abandoned():
            raise StoppedError(
                f"{label}: the process that supervised this attempt is gone.",
                remedy="Nothing: Airflow runs the task again once it misses the supervisor's heartbeats.",
            )
        if self._held.due and not self._stop.is_set():
            self._held.renew(self._record("running"))
        if time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = time.monotonic()
            log.info("%s: %s so far", label, self._counts.figures())

    def done(self, **facts: Any) -> None:
        """Give the lease up with the figures of a finished attempt.

        A replay reads what was rejected, not the source: it leaves a partition that was never read to its end
        `failed`.
        """
        record = self._record("done")
        if self._replay:
            facts["replayed"] = int(self.document.get("replayed") or 0) + self._counts.read
            if self._state_before != "done":
                record |= {"state": "failed", "reason": "replayed, but its source was never read to the end: run it"}
        self._held.release(record | facts)

    def failed(self, reason: str) -> None:
        """Give the lease up and say why; does nothing before :meth:`begin`."""
        if self._lease is None:
            return
        # The cluster may be what failed; the lease then simply expires.
        with contextlib.suppress(ElasticMLError):
            self._lease.release(self._record("failed", reason[:4000]))

    @property
    def _held(self) -> Lease:
        assert self._lease is not None, "begin() comes first"
        return self._lease

    def _record(self, state: str, reason: str | None = None) -> Document:
        attempts = list(self.document["attempts"])
        attempts[-1] = {
            **attempts[-1],
            "state": state,
            "counts": self._counts.figures(),
            "ended_at": None if state == "running" else iso(self._now()),
            "reason": reason,
        }
        return {"state": state, "reason": reason, "counts": self._counts.figures(), "attempts": attempts}
