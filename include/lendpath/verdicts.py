"""What the reviewers decided, hours or days later, with misses and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from lendpath import raw_internal, raw_oracle, raw_ping_one
from lendpath.behaviour import MALICIOUS
from lendpath.events import Block, blocks
from lendpath.people import directory
from lendpath.scenarios import Parameters

SHORTEST_HOURS, LONGEST_HOURS = 6.0, 40.0
CONFIRMED, SUSPICIOUS, CLEARED = "confirmed", "suspicious", "none"
# Sessions that did harm are found out as a whole, or not; of the harmful events of those found out, nearly all are
# confirmed, a few only suspected. In numbers of harmful events: 92 % confirmed, 4 % suspected, 4 % missed.
FOUND_OUT, CAUGHT, SUSPECTED = 0.97, 0.95, 0.04
# Of honest events: how many are reviewed at all, and of those, how many are confirmed by mistake or left in doubt.
REVIEWED, MISTAKEN, DOUBTED = 0.01, 0.04, 0.30
# Of confirmed events: how many were first called suspicious, at half the time. The later decision counts.
REVISED = 0.1
_REVIEWERS = ("ana", "bruno", "chidi")
_REASONS = {
    CONFIRMED: "the account's owner did not do this, or had no right to",
    SUSPICIOUS: "the owner could not explain it",
    CLEARED: "explained by the owner",
}
TRAILS: dict[str, Callable[[Block, np.ndarray], list[str]]] = {
    "internal": raw_internal.event_ids,
    "ping_one": raw_ping_one.event_ids,
    "oracle": raw_oracle.event_ids,
}


@dataclass(frozen=True)
class Verdicts:
    """The last decisions about the events of one trail of a block; `event` indexes into the trail."""

    event: np.ndarray
    verdict: np.ndarray  # of CONFIRMED, SUSPICIOUS, CLEARED
    decided_ms: np.ndarray
    suspected_ms: np.ndarray  # when it was first called suspicious, -1 if it was not
    reviewer: np.ndarray

    def confirmed(self, size: int) -> np.ndarray:
        """Return which of the trail's ``size`` events were confirmed."""
        found = np.zeros(size, dtype=bool)
        found[self.event[self.verdict == CONFIRMED]] = True
        return found


def decide(block: Block, trail: str = "internal", *, longest_hours: float = LONGEST_HOURS) -> Verdicts:
    """Draw the verdicts on one trail of a block: the same whenever they are asked for.

    :param trail: ``internal``, ``ping_one`` or ``oracle``.
    :param longest_hours: the slowest decision; the quickest takes six hours.
    """
    events, sessions, parameters = getattr(block, trail), block.sessions, block.parameters
    of_session = np.random.default_rng([parameters.seed, block.day, 3, block.number])
    found_out = (of_session.random(len(sessions)) < FOUND_OUT) & MALICIOUS[sessions.kind]
    delay_ms = of_session.uniform(SHORTEST_HOURS, longest_hours, size=len(sessions)) * 3_600_000
    session_reviewer = of_session.integers(0, len(_REVIEWERS), size=len(sessions))
    rng = np.random.default_rng([parameters.seed, block.day, 4, block.number, list(TRAILS).index(trail)])
    draw, doubt, revised = rng.random((3, len(events)))
    caught = events.harm & found_out[events.session]
    seen = np.where(events.harm, caught & (draw < CAUGHT + SUSPECTED), draw < REVIEWED)
    confirmed = np.where(events.harm, draw < CAUGHT, doubt < MISTAKEN)
    suspected = np.where(events.harm, draw >= CAUGHT, doubt < MISTAKEN + DOUBTED)
    own_delay = rng.uniform(SHORTEST_HOURS, longest_hours, size=len(events)) * 3_600_000
    event = np.flatnonzero(seen)
    delay = np.where(events.harm, delay_ms[events.session], own_delay)[event]
    verdict = np.where(confirmed, CONFIRMED, np.where(suspected, SUSPICIOUS, CLEARED))[event]
    twice = (verdict == CONFIRMED) & (revised[event] < REVISED)
    own_reviewer = rng.integers(0, len(_REVIEWERS), size=len(events))
    return Verdicts(
        event=event,
        verdict=verdict,
        decided_ms=(events.time_ms[event] + delay).astype(np.int64),
        suspected_ms=np.where(twice, events.time_ms[event] + delay / 2, -1).astype(np.int64),
        reviewer=np.where(events.harm, session_reviewer[events.session], own_reviewer)[event],
    )


def delivered(
    parameters: Parameters, first_ms: int, last_ms: int, *, longest_hours: float = LONGEST_HOURS
) -> Iterator[bytes]:
    """Yield the records decided with first <= time < last, one JSON object a line, whatever day they are about."""
    if not SHORTEST_HOURS < longest_hours <= 30 * 24:
        raise ValueError(f"longest_delay_hours={longest_hours} is out of range: more than 6, at most 720")
    reach = int((longest_hours + 36) * 3_600_000)  # a work day lasts 36 hours of UTC
    first_day = datetime.fromtimestamp((first_ms - reach) / 1000, UTC).toordinal()
    for day in range(first_day, datetime.fromtimestamp((last_ms - 1) / 1000, UTC).toordinal() + 1):
        for block in blocks(parameters, day):
            for trail in TRAILS:
                yield from _records(block, trail, decide(block, trail, longest_hours=longest_hours), first_ms, last_ms)


def _records(block: Block, trail: str, verdicts: Verdicts, first_ms: int, last_ms: int) -> Iterator[bytes]:
    events = getattr(block, trail)
    final = (verdicts.decided_ms >= first_ms) & (verdicts.decided_ms < last_ms)
    before = (verdicts.suspected_ms >= first_ms) & (verdicts.suspected_ms < last_ms)
    chosen = np.flatnonzero(final | before)
    if not len(chosen):
        return
    people = directory().user_ids
    for i, identity in zip(chosen.tolist(), TRAILS[trail](block, verdicts.event[chosen]), strict=True):
        event = verdicts.event[i]
        decisions = []
        if before[i]:
            decisions.append((f"d-{identity[:36]}-1", SUSPICIOUS, verdicts.suspected_ms[i]))
        if final[i]:
            decisions.append((f"d-{identity[:36]}", str(verdicts.verdict[i]), verdicts.decided_ms[i]))
        for decision_id, verdict, decided in decisions:
            yield json.dumps(
                {
                    "decision_id": decision_id,
                    "event_id": identity,
                    "event_time": iso(int(events.time_ms[event])),
                    "user_id": people[block.sessions.person[events.session[event]]],
                    "verdict": verdict,
                    "decided_at": iso(int(decided)),
                    "decided_by": _REVIEWERS[verdicts.reviewer[i]],
                    "reason": _REASONS[verdict],
                },
                separators=(",", ":"),
            ).encode()


def iso(milliseconds: int) -> str:
    """Return ``2026-11-03T14:02:07.123Z``."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
