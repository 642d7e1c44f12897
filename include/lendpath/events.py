"""One day of the internal audit trail, drawn with numpy and reproducible per (seed, day)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from lendpath.behaviour import (
    ACTIONS,
    BATCH,
    BATCH_EVENT_SHARE,
    CAMOUFLAGE,
    COUNTRIES,
    DISCOUNTED,
    HONEST,
    HONEST_SHARES,
    KINDS,
    MALICIOUS,
    MALICIOUS_SHARES,
    MFA,
)
from lendpath.people import BRANCHES, ROLES, World, make_world

_DAY_MS = 86_400_000
_SESSION_LENGTH = 11


@dataclass(frozen=True)
class EventDay:
    """The events of one UTC day in time order; every array has one entry per event.

    `kind` and `malicious` are the truth. They stay here: `raw` never writes them.
    """

    world: World
    day: date
    time_ms: np.ndarray  # milliseconds since the epoch, UTC
    local_hour: np.ndarray  # 0 to 23 in the person's own zone
    ids: list[str]
    person: np.ndarray
    session: np.ndarray
    position: np.ndarray  # 1 for the first event of the session
    action: np.ndarray
    failed: np.ndarray
    country: np.ndarray
    mfa: np.ndarray
    new_device: np.ndarray
    vpn: np.ndarray
    records: np.ndarray
    gap_seconds: np.ndarray
    discount_bps: np.ndarray
    failures: np.ndarray
    kind: np.ndarray
    malicious: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def raw(self) -> Iterator[bytes]:
        """Yield the events as LendPath's application writes them: one JSON object a line, without a line end."""
        import orjson

        world = self.world
        zones = [world.time_zone(person) for person in range(len(world.user_ids))]
        for i in range(len(self.ids)):
            person = int(self.person[i])
            network = world.networks[person]
            device = int(world.devices[person]) + (7_000 + i if self.new_device[i] else 0)
            yield orjson.dumps(
                {
                    "id": self.ids[i],
                    "time": _timestamp(int(self.time_ms[i])),
                    "zone": zones[person],
                    "actor": {
                        "id": world.user_ids[person],
                        "name": world.names[person],
                        "role": ROLES[world.roles[person]],
                        "branch": BRANCHES[world.branches[person]][0],
                    },
                    "action": ACTIONS[self.action[i]],
                    "result": "failure" if self.failed[i] else "success",
                    "client": {
                        "ip": f"10.{network[0]}.{network[1]}.{person % 250 + 1}"
                        if self.country[i] == 0
                        else f"198.51.{100 + int(self.country[i])}.{person % 250 + 1}",
                        "country": COUNTRIES[self.country[i]],
                        "device": f"dev-{device}",
                        "new_device": bool(self.new_device[i]),
                        "vpn": bool(self.vpn[i]),
                        "mfa": MFA[self.mfa[i]],
                    },
                    "session": {
                        "id": f"s-{self.day:%Y%m%d}-{int(self.session[i]):05d}",
                        "event": int(self.position[i]),
                    },
                    "records": int(self.records[i]),
                    "gap_seconds": round(float(self.gap_seconds[i]), 1),
                    "discount_bps": int(self.discount_bps[i]),
                    "failures_last_hour": int(self.failures[i]),
                }
            )


def _timestamp(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def make_day(seed: int, day: date, *, events: int = 4000, prevalence: float = 0.015) -> EventDay:
    """Draw the events of one UTC day.

    :param seed: of the world and of the day; the same seed and day give the same bytes on any machine.
    :param day: the UTC day. Working hours are those of each person's own zone, so local evenings of the
        west coast appear in the first hours of the UTC day.
    :param events: how many events, at least 100.
    :param prevalence: share of malicious events, between 0.001 and 0.05.
    :raises ValueError: a parameter is out of its range.
    """
    if events < 100 or not 0.001 <= prevalence <= 0.05:
        raise ValueError(f"events={events} (at least 100) or prevalence={prevalence} (0.001 to 0.05) is out of range")
    world = make_world(seed)
    rng = np.random.default_rng([seed, day.toordinal()])
    bad = round(events * prevalence)
    camouflage = round(bad * CAMOUFLAGE / (1 - CAMOUFLAGE))
    batch = round(events * BATCH_EVENT_SHARE)
    people = np.flatnonzero(~world.is_service)
    service = np.flatnonzero(world.is_service)
    parts = [
        _sessions(rng, events - bad - camouflage - batch, people, np.asarray(HONEST), HONEST_SHARES),
        _sessions(rng, batch, service, np.asarray([BATCH]), np.ones(1)),
        _sessions(rng, bad + camouflage, people, np.asarray(MALICIOUS), MALICIOUS_SHARES),
    ]
    person, session_kind, session, position = _join(parts)
    kind = session_kind.copy()
    from_attacker = np.flatnonzero(np.isin(session_kind, MALICIOUS))
    kind[rng.choice(from_attacker, size=camouflage, replace=False)] = HONEST[0]
    return _draw(rng, world, day, kind, session_kind, person, session, position)


def _sessions(
    rng: np.random.Generator, events: int, people: np.ndarray, kinds: np.ndarray, shares: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return person, kind, session number and position of exactly ``events`` events in sessions of random length."""
    count = max(1, round(events / _SESSION_LENGTH * 2))
    lengths = 2 + rng.geometric(1 / (_SESSION_LENGTH - 2), size=count)
    while lengths.sum() < events:
        lengths = np.concatenate([lengths, 2 + rng.geometric(1 / (_SESSION_LENGTH - 2), size=count)])
    used = int(np.searchsorted(np.cumsum(lengths), events)) + 1
    lengths = lengths[:used]
    session = np.repeat(np.arange(used), lengths)[:events]
    position = (np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths))[:events] + 1
    who = rng.choice(people, size=used)
    what = rng.choice(kinds, size=used, p=shares)
    return who[session], what[session], session, position


def _join(parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    numbers, start = [], 0
    for _, _, session, _ in parts:
        numbers.append(session + start)
        start += int(session[-1]) + 1
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate(numbers),
        np.concatenate([part[3] for part in parts]),
    )


def _draw(
    rng: np.random.Generator,
    world: World,
    day: date,
    kind: np.ndarray,
    session_kind: np.ndarray,
    person: np.ndarray,
    session: np.ndarray,
    position: np.ndarray,
) -> EventDay:
    size = len(kind)
    role = world.roles[person]
    action = _choice(rng, np.stack([k.action_shares() for k in KINDS])[kind, role])
    gap = np.exp(rng.normal(*_pair("gap", kind)))
    time_ms, hour = _times(rng, world, day, session_kind, person, session, gap)
    discounted = np.isin(action, DISCOUNTED)
    discount = np.where(discounted, np.exp(rng.normal(*_pair("discount", kind))), 0.0)
    failures = rng.poisson(_per_kind("failures", kind))
    order = np.argsort(time_ms, kind="stable")
    hexadecimal = rng.bytes(16 * size).hex()
    fields = {
        "person": person,
        "session": session,
        "position": position,
        "action": action,
        "failed": rng.random(size) < _per_kind("failure", kind),
        "country": _choice(rng, np.stack([k.countries for k in KINDS])[kind]),
        "mfa": _choice(rng, np.stack([k.mfa for k in KINDS])[kind]),
        "new_device": rng.random(size) < _per_kind("new_device", kind),
        "vpn": rng.random(size) < _per_kind("vpn", kind),
        "records": np.floor(np.exp(rng.normal(*_pair("records", kind)))).astype(int),
        "gap_seconds": gap,
        "discount_bps": np.ceil(discount).astype(int),
        "failures": failures,
        "kind": kind,
        "malicious": np.isin(kind, MALICIOUS),
        "time_ms": time_ms,
        "local_hour": hour,
    }
    return EventDay(
        world=world,
        day=day,
        ids=[hexadecimal[i * 32 : i * 32 + 32] for i in range(size)],
        **{name: values[order] for name, values in fields.items()},
    )


def _times(
    rng: np.random.Generator,
    world: World,
    day: date,
    session_kind: np.ndarray,
    person: np.ndarray,
    session: np.ndarray,
    gap: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return UTC milliseconds and the local hour: a session starts at its kind's hour and runs on by its gaps."""
    first = np.flatnonzero(np.diff(session, prepend=-1))
    start_hour = _choice(rng, np.stack([k.hours for k in KINDS])[session_kind[first]])
    offset = world.utc_offset_hours(day)[person[first]]
    start = ((start_hour + rng.random(len(first)) - offset) % 24) * 3_600_000
    elapsed = np.cumsum(gap) - np.repeat(np.cumsum(gap)[first], np.diff(np.append(first, len(gap))))
    of_session = np.cumsum(np.isin(np.arange(len(gap)), first)) - 1
    since_midnight = np.minimum(start[of_session] + elapsed * 1000, _DAY_MS - 1).astype(np.int64)
    local = (since_midnight / 3_600_000 + offset[of_session]) % 24
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    return midnight + since_midnight, np.floor(local).astype(int)


def _choice(rng: np.random.Generator, shares: np.ndarray) -> np.ndarray:
    """Draw one category per row of ``shares``, shape (rows, categories)."""
    drawn = rng.random(len(shares))[:, None] > np.cumsum(shares, axis=1)
    return np.minimum(drawn.sum(axis=1), shares.shape[1] - 1)


def _per_kind(name: str, kind: np.ndarray) -> np.ndarray:
    return np.asarray([getattr(k, name) for k in KINDS])[kind]


def _pair(name: str, kind: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = _per_kind(name, kind)
    return pairs[:, 0], pairs[:, 1]
