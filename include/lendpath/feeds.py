"""LendPath's feeds as an ingestion reads them: the raw records of one partition, as the source delivers them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from lendpath import verdicts as reviewed
from lendpath.events import make_day


def internal_audit(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield the internal audit trail's records with start <= time < end (UTC), as NDJSON lines without line ends."""
    first, last = int(start.timestamp() * 1000), int(end.timestamp() * 1000)
    for day in _days(start, end):
        events = make_day(seed, day, events=events_per_day, prevalence=prevalence)
        for time_ms, record in zip(events.time_ms, events.raw(), strict=True):
            if first <= time_ms < last:
                yield record


def verdicts(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield the verdicts decided on each day of [start, end) as NDJSON lines, some about the days before it."""
    for day in _days(start, end):
        yield from reviewed.delivered(seed, day, events=events_per_day, prevalence=prevalence)


def _days(start: datetime, end: datetime) -> list[date]:
    return [date.fromordinal(n) for n in range(start.toordinal(), end.toordinal() + (end.time() > datetime.min.time()))]
