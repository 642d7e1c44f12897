"""What the reviewers decided, hours or days later, with misses and mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from lendpath.events import EventDay, make_day

SHORTEST_HOURS, LONGEST_HOURS = 6.0, 40.0
CONFIRMED, SUSPICIOUS, CLEARED = "confirmed", "suspicious", "none"
# Of malicious events: confirmed, only suspected, never looked at. Of honest events: reviewed at all, and how that ends.
_CAUGHT, _SUSPECTED = 0.92, 0.04
_REVIEWED, _MISTAKEN, _DOUBTED = 0.004, 0.02, 0.12
_REVIEWERS = ("ana", "bruno", "chidi")


@dataclass(frozen=True)
class Verdicts:
    """The decisions about one day's events; `event` indexes into the day."""

    events: EventDay
    event: np.ndarray
    verdict: list[str]
    decided_ms: np.ndarray
    reviewer: np.ndarray


def decide(events: EventDay) -> Verdicts:
    """Draw the verdicts on a day's events: the same for the same seed and day."""
    rng = np.random.default_rng([events.world.seed, events.day.toordinal(), 0x7E2D1C7])
    draw = rng.random(len(events))
    mistake = rng.random(len(events))
    looked_at = np.where(events.malicious, draw < _CAUGHT + _SUSPECTED, draw < _REVIEWED)
    confirmed = np.where(events.malicious, draw < _CAUGHT, mistake < _MISTAKEN)
    doubted = np.where(events.malicious, draw >= _CAUGHT, mistake < _MISTAKEN + _DOUBTED)
    delay = rng.uniform(SHORTEST_HOURS, LONGEST_HOURS, size=len(events)) * 3_600_000
    reviewer = rng.integers(0, len(_REVIEWERS), size=len(events))
    event = np.flatnonzero(looked_at)
    names = [CONFIRMED if confirmed[i] else SUSPICIOUS if doubted[i] else CLEARED for i in event]
    return Verdicts(
        events=events,
        event=event,
        verdict=names,
        decided_ms=(events.time_ms[event] + delay[event]).astype(np.int64),
        reviewer=reviewer[event],
    )


def delivered(seed: int, day: date, *, events: int, prevalence: float) -> Iterator[bytes]:
    """Yield the verdict records decided on one UTC day, one JSON object a line, about events of that day or before."""
    import orjson

    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    begin_ms, end_ms = (int(moment.timestamp() * 1000) for moment in (begin, begin + timedelta(days=1)))
    for back in range(int(LONGEST_HOURS // 24) + 1, -1, -1):
        event_day = day - timedelta(days=back)
        verdicts = decide(make_day(seed, event_day, events=events, prevalence=prevalence))
        today = verdicts.events
        for index, verdict, decided, reviewer in zip(
            verdicts.event, verdicts.verdict, verdicts.decided_ms, verdicts.reviewer, strict=True
        ):
            if begin_ms <= decided < end_ms:
                yield orjson.dumps(
                    {
                        "decision_id": f"d-{today.ids[index]}",
                        "event_id": today.ids[index],
                        "event_time": _iso(int(today.time_ms[index])),
                        "user_id": today.world.user_ids[today.person[index]],
                        "verdict": verdict,
                        "decided_at": _iso(int(decided)),
                        "decided_by": _REVIEWERS[reviewer],
                        "reason": _REASONS[verdict],
                    }
                )


_REASONS = {
    CONFIRMED: "the account's owner did not do this",
    SUSPICIOUS: "the owner could not explain it",
    CLEARED: "explained by the owner",
}


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
