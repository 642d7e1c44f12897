"""LendPath's feeds as an ingestion reads them: the raw records of one partition, as the source delivers them.

Each is a function `(start, end, *, seed, events_per_day, prevalence)` that yields bytes, and that
`include/sources/*.yml` names as a reader. Memory stays that of a block, however many events a day has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np

from lendpath import raw_internal, raw_oracle, raw_ping_one
from lendpath import verdicts as reviewed
from lendpath.events import Block, block, block_spans
from lendpath.scenarios import Parameters

_Render = Callable[[Block, np.ndarray], list[bytes]]


def internal_audit(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield the internal audit trail's records with start <= time < end (UTC), as NDJSON lines without line ends."""
    return _in_time(Parameters(seed, events_per_day, prevalence), start, end, "internal", raw_internal.records)


def ping_one(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield PingOne's activities with start <= recordedAt < end, one JSON object each, as the API returns them."""
    return _in_time(Parameters(seed, events_per_day, prevalence), start, end, "ping_one", raw_ping_one.records)


def oracle_audit(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield the database's audit records of the time as `.aud` text: several lines each, a blank line between."""
    for record in _in_time(Parameters(seed, events_per_day, prevalence), start, end, "oracle", raw_oracle.records):
        yield record + b"\n"


def oracle_unified(
    start: datetime, end: datetime, *, seed: int = 11, events_per_day: int = 4000, prevalence: float = 0.015
) -> Iterator[bytes]:
    """Yield the same statements as rows of UNIFIED_AUDIT_TRAIL, one JSON object each with the view's column names."""
    return _in_time(Parameters(seed, events_per_day, prevalence), start, end, "oracle", raw_oracle.unified_rows)


def verdicts(
    start: datetime,
    end: datetime,
    *,
    seed: int = 11,
    events_per_day: int = 4000,
    prevalence: float = 0.015,
    longest_delay_hours: float = reviewed.LONGEST_HOURS,
) -> Iterator[bytes]:
    """Yield the verdicts decided with start <= time < end as NDJSON lines, about events of the days before, too."""
    parameters = Parameters(seed, events_per_day, prevalence)
    return reviewed.delivered(parameters, _ms(start), _ms(end), longest_hours=longest_delay_hours)


def _ms(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _in_time(parameters: Parameters, start: datetime, end: datetime, trail: str, render: _Render) -> Iterator[bytes]:
    """Merge the blocks' events by time: what lies before the next block's first moment can be given out."""
    first, last = _ms(start), _ms(end)
    waiting: list[tuple[Block, np.ndarray]] = []
    pending = _spans(parameters, first, last)
    for position, (_, day, number) in enumerate(pending):
        found = block(parameters, day, number)
        time_ms = getattr(found, trail).time_ms
        rows = np.flatnonzero((time_ms >= first) & (time_ms < last))
        waiting.append((found, rows[np.argsort(time_ms[rows], kind="stable")]))
        until = pending[position + 1][0] if position + 1 < len(pending) else last
        ready = []
        for held, order in waiting:
            cut = int(np.searchsorted(getattr(held, trail).time_ms[order], until))
            ready.append((held, order[:cut]))
        waiting = [(held, order[len(now) :]) for (held, order), (_, now) in zip(waiting, ready, strict=True)]
        waiting = [(held, order) for held, order in waiting if len(order)]
        yield from _rendered([part for part in ready if len(part[1])], trail, render)


def _spans(parameters: Parameters, first_ms: int, last_ms: int) -> list[tuple[int, int, int]]:
    """Return (first moment, work day, number) of every block that may have an event in the time, in that order."""
    first_day = datetime.fromtimestamp(first_ms / 1000, UTC).toordinal() - 1
    last_day = datetime.fromtimestamp((last_ms - 1) / 1000, UTC).toordinal()
    return sorted(
        (begin, day, number)
        for day in range(first_day, last_day + 1)
        for number, (begin, end) in enumerate(block_spans(parameters, day))
        if begin < last_ms and end >= first_ms
    )


def _rendered(parts: list[tuple[Block, np.ndarray]], trail: str, render: _Render) -> Iterator[bytes]:
    if len(parts) == 1:
        yield from render(*parts[0])
    elif parts:
        lines = [line for part in parts for line in render(*part)]
        times = np.concatenate([getattr(held, trail).time_ms[order] for held, order in parts])
        for i in np.argsort(times, kind="stable").tolist():
            yield lines[i]
