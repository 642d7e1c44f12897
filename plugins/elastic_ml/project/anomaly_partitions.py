"""Which partitions an anomaly job has learnt, by which snapshot each ended, and what a run of a partition has to do.

The record lies in the job's own `custom_settings`, under `partitions`. It is read with the job, in one request; it dies
with the job, as the snapshots do that it names; it travels with the job to a `<job>_v2`; and it needs no index of ours.
The ledger of ingestion would be a second truth about objects that somebody may delete, reset or restore without it.

    {"start": "2026-11-01T00:00:00Z", "base": "empty",
     "ends": {"2026-11-02T00:00:00Z": ["1762041600", 4012], "2026-11-03T00:00:00Z": ["1762128000", null]}}

Each end of a partition has the model snapshot taken there and the documents that the datafeed found between the end
before it and this one. `null` in place of the documents: a replay is under way (or died there), and the snapshot
belongs to a past that is being replaced. `base` is the snapshot at `start`, `empty` for a model that has seen nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from elastic_ml.exceptions import InvalidRequestError

EMPTY = "empty"
"""The model before any data, as the revert API calls it."""
KEY = "partitions"


def iso(moment: datetime) -> str:
    """`2026-11-10T00:00:00Z`: how every time here is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(written: str) -> datetime:
    """Read `iso`'s form."""
    return datetime.fromisoformat(written).astimezone(UTC)


def millis(at: datetime) -> int:
    """Epoch milliseconds."""
    return round(at.timestamp() * 1000)


@dataclass(frozen=True)
class Closing:
    """How a partition ended: its snapshot, and how many documents it had; None while it has to be learnt again."""

    snapshot: str
    documents: int | None


@dataclass(frozen=True)
class Learnt:
    """What a job has learnt, partition by partition.

    :param start: begin of the first partition that can be told from the ones before; None for a job without any.
    :param base: the snapshot at `start`.
    :param ends: closings by the end of their partition, in order.
    """

    start: datetime | None = None
    base: str = EMPTY
    ends: Mapping[datetime, Closing] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> Learnt:
        """Read the record of a job as `ml.get_jobs` shows it; a job without one has learnt what its snapshot holds."""
        kept = (job.get("custom_settings") or {}).get(KEY)
        if not isinstance(kept, Mapping) or not kept:
            return cls(base=str(job.get("model_snapshot_id") or EMPTY))
        ends = {moment(end): Closing(str(one[0]), one[1]) for end, one in (kept.get("ends") or {}).items()}
        return cls(moment(kept["start"]), str(kept["base"]), dict(sorted(ends.items())))

    def to_settings(self) -> dict[str, Any]:
        """What is kept under `custom_settings.partitions`."""
        assert self.start is not None
        ends = {iso(end): [closing.snapshot, closing.documents] for end, closing in self.ends.items()}
        return {"start": iso(self.start), "base": self.base, "ends": ends}

    @property
    def newest(self) -> datetime | None:
        """The end of the newest partition, learnt or to be learnt again."""
        return max(self.ends, default=self.start)

    @property
    def pending(self) -> list[datetime]:
        """Ends of the partitions that have to be learnt again."""
        return [end for end, closing in self.ends.items() if closing.documents is None]

    def checkpoint(self, at: datetime) -> tuple[datetime, str]:
        """The last end at or before a moment whose snapshot counts, and that snapshot; `start` and `base` if none."""
        assert self.start is not None
        known = [(end, one.snapshot) for end, one in self.ends.items() if end <= at and one.documents is not None]
        return max(known, default=(self.start, self.base))

    def documents_after(self, at: datetime) -> int:
        """Documents of all partitions that end later."""
        return sum(closing.documents or 0 for end, closing in self.ends.items() if end > at)

    def expecting(self, start: datetime, ends: Iterable[datetime]) -> Learnt:
        """The record while what ends behind `start` has to be learnt, once more or for the first time."""
        known = {end: replace(one, documents=None) if end > start else one for end, one in self.ends.items()}
        missing = {end: Closing(EMPTY, None) for end in ends if end > start}
        begin = start if self.start is None else min(self.start, start)
        return Learnt(begin, self.base, dict(sorted((missing | known).items())))

    def as_found(self, snapshot: str) -> Learnt:
        """The record beside the snapshot that the job has: somebody may have reset the job, or taken it back.

        A snapshot that the record does not know changes nothing: the server takes some of its own.
        """
        newest = self.newest
        if newest is None or not self.ends or self.pending or snapshot == self.ends[newest].snapshot:
            return self
        if snapshot == EMPTY:
            return Learnt()
        at = [end for end, one in self.ends.items() if one.snapshot == snapshot]
        return self.expecting(max(at), ()) if at else self

    def since(self, snapshot: str, latest_record: int) -> Learnt:
        """The record once the job was taken back to a snapshot by hand.

        :param latest_record: newest record of that snapshot, epoch ms; -1 for none. What ends later is to be learnt
            again: of a snapshot in the middle of a partition, that partition too.
        """
        assert self.start is not None
        own = [end for end, one in self.ends.items() if one.snapshot == snapshot and one.documents is not None]
        before = [end for end in self.ends if millis(end) <= latest_record]
        if own or before:
            return self.expecting(max([*own, *before]), ())
        # Further back than any partition that is known: what the job was at `start` counts no more.
        start = min(self.start, datetime.fromtimestamp(latest_record / 1000, UTC)) if latest_record >= 0 else self.start
        return replace(self.expecting(start, ()), base=snapshot)

    def next_end(self, at: datetime, until: datetime) -> datetime:
        """Where a run that has come to `at` stops next on its way to `until`."""
        return min((end for end in self.pending if end > at), default=until)

    def closed(self, begin: datetime, end: datetime, closing: Closing, keep: timedelta) -> tuple[Learnt, list[str]]:
        """The record with one more partition, and the snapshots that need not be retained any longer.

        :param begin: begin of what was learnt; becomes `start` of a job that had learnt nothing.
        :param keep: how far back from the newest end partitions can be run again.
        """
        before = self.ends.get(end)
        start = begin if self.start is None else min(self.start, begin)
        ends = dict(sorted({**self.ends, end: closing}.items()))
        released = [before.snapshot] if before and before.snapshot != closing.snapshot else []
        base, horizon = self.base, max(ends) - keep
        for old in [one for one in ends if one <= horizon and one != end]:
            if ends[old].documents is None:
                break
            released.append(base)
            start, base = old, ends.pop(old).snapshot
        kept = {base, *(one.snapshot for one in ends.values())}
        return Learnt(start, base, ends), [one for one in released if one != EMPTY and one not in kept]


@dataclass(frozen=True)
class Plan:
    """What a run of a partition does.

    :param start: from when on data is learnt.
    :param until: the last end to reach.
    :param revert_to: snapshot to go back to first; None to go on where the job is.
    """

    start: datetime
    until: datetime
    revert_to: str | None = None


def plan(
    learnt: Learnt,
    begin: datetime,
    end: datetime,
    *,
    keep: timedelta,
    count: Callable[[datetime, datetime], int],
    replay: Literal["changed", "always"] = "changed",
) -> Plan | None:
    """Decide what a run of the partition [begin, end) does; None when it was learnt, and its documents are the same.

    :param keep: how far back from the newest end partitions can be run again.
    :param count: documents that the datafeed finds between two moments.
    :param replay: `always` learns a partition again although nothing was added to it since.
    :raises InvalidRequestError: the partition is older than what can be run again.
    """
    newest = learnt.newest
    if newest is None or learnt.start is None:
        return Plan(begin, end)
    pending = learnt.pending
    if end > newest and not pending:
        # The job goes on where it is, so a partition that no run took is learnt too.
        return Plan(newest, end)
    goal = min([begin, *pending]) if begin < newest else pending[0]
    # What has to be learnt again anyway has no age: without it the job could never go on.
    redone = pending and begin >= learnt.checkpoint(pending[0])[0]
    if begin < newest - keep and not redone:
        raise InvalidRequestError(
            f"The partition that begins at {iso(begin)} is too old to be run again: the job has learnt up to "
            f"{iso(newest)}, and going back would delete all results since, from data that may be gone.",
            remedy=f"Partitions can be run again for {keep.days} days; raise replay_days for those to come.",
        )
    if goal < learnt.start and learnt.base != EMPTY:
        raise InvalidRequestError(
            f"The partition that begins at {iso(begin)} lies before what this job can tell apart "
            f"({iso(learnt.start)}, where it had learnt already).",
            remedy="Reset the job (POST _ml/anomaly_detectors/<job>/_reset) and run its partitions from the first.",
        )
    at, snapshot = (begin, EMPTY) if goal < learnt.start else learnt.checkpoint(min(goal, begin))
    until = max(newest, end)
    asked = not pending and replay == "changed" and at >= learnt.start and end <= newest
    if asked and count(at, newest) == learnt.documents_after(at):
        return None
    return Plan(at, until, snapshot)


def successor_plan(old: Learnt, earliest: datetime | None, begin: datetime, end: datetime) -> Plan:
    """What the first run of a `_v2` does: learn what the job before it learnt.

    :param old: record of the job before.
    :param earliest: its first record.
    """
    newest = max(end, old.newest or end)
    return Plan(min(one for one in (earliest, old.start, begin) if one is not None), newest)


def expectation(learnt: Learnt, old: Learnt, start: datetime, ends: Iterable[datetime]) -> Learnt:
    """The record of a job that sets out from `start`: it stops wherever `old` stopped, and at `ends`.

    :param learnt: its record so far.
    :param old: that record, or the one of the job before it.
    """
    return learnt.expecting(start, [*old.ends, *ends, *([old.start] if old.start else [])])
