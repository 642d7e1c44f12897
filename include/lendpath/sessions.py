"""The sessions of one work day: who signs in when, from where and for what, honest or not; reproducible per day.

A work day is a person's own local date. It reaches into the following UTC day, never further: every session has ended
twelve hours into it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from functools import lru_cache
from typing import Any

import numpy as np

from lendpath.behaviour import (
    ABROAD,
    ABROAD_COUNTRIES,
    ADMIN_MEANS,
    AFTER_HOURS,
    BATCH,
    CORPORATE_VPN,
    COUNTRIES,
    HANDOVER,
    HOME,
    HOSTING,
    HOSTING_COUNTRIES,
    HOURS,
    MAINTENANCE,
    MFA_SHARES,
    MOBILE,
    MONTH_END,
    NETWORK_SHARES,
    OFFICE,
    ON_CALL,
    ROUTINE,
    SCORE_DEVIATION,
    STATEMENT_MEANS,
    STATEMENT_SPREAD,
    TRAVEL,
    per_kind,
    score_mean,
)
from lendpath.calendars import (
    BRANCH_ZONE,
    busyness,
    is_business_day,
    is_closing,
    mean_busyness,
    midnight_ms,
    utc_offsets,
)
from lendpath.people import BATCH_ROLE, BRANCHES, EMPLOYEES, PEOPLE, ROLES, World, make_world
from lendpath.scenarios import SCENARIOS, Parameters, plans_on

HOUR_MS = 3_600_000
BATCH_EVENT_SHARE = 0.06
_BATCH_LENGTH = 60
_EVENTS_PER_SESSION = 12.45  # of people, with signing in and out
_MAINTENANCE_PER_DAY = 0.14  # sessions on each dormant account, at the reference
_ON_CALL_PER_DAY = 1.3
_AFTER_HOURS_SHARE, _MONTH_END_SHARE, _HANDOVER_SHARE = 0.05, 0.2, 0.25
_CLOSING_ROLES = [ROLES.index(name) for name in ("loan_officer", "processor", "underwriter", "closer", "auditor")]
_ON_CALL_ROLES = [ROLES.index(name) for name in ("administrator", "dba")]
_TRIP_CELL, _TRIP_CHANCE, _TRIP_DAYS = 28, 0.1, (3, 6)
_BRANCH_COUNTRY = np.asarray([COUNTRIES.index(branch.country) for branch in BRANCHES])


@dataclass(frozen=True)
class Sessions:
    """Sessions in the order of their start; every array has one entry per session. `kind` and `plan` are the truth."""

    person: np.ndarray
    role: np.ndarray
    kind: np.ndarray
    plan: np.ndarray  # index into `plans_on` of the work day, -1 for honest ones
    number: np.ndarray  # within the work day
    start_ms: np.ndarray  # milliseconds since the epoch, UTC
    start_hour: np.ndarray  # local hour with its fraction
    offset: np.ndarray  # hours from UTC at the start, in the person's zone
    network: np.ndarray
    country: np.ndarray
    address: np.ndarray  # IPv4 as an unsigned number
    device: np.ndarray
    new_device: np.ndarray
    mfa: np.ndarray
    failed_sign_ins: np.ndarray
    score: np.ndarray  # PingOne Protect's, 0 to 100
    length: np.ndarray  # events of the internal trail, with signing in and out
    signs_out: np.ndarray
    statements: np.ndarray
    admin_acts: np.ndarray

    def __len__(self) -> int:
        return len(self.person)

    def __getitem__(self, chosen: slice | np.ndarray) -> Sessions:
        return Sessions(**{item.name: getattr(self, item.name)[chosen] for item in fields(self)})


def choose(rng: np.random.Generator, table: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Draw one column per entry of ``row`` from the distributions in the rows of ``table``, shape (rows, columns)."""
    columns = table.shape[1]
    edges = (np.cumsum(table, axis=1) + np.arange(len(table))[:, None]).ravel()
    found = np.searchsorted(edges, row + rng.random(len(row)), side="right") - row * columns
    return np.clip(found, 0, columns - 1)


@lru_cache(maxsize=16)
def draw_sessions(parameters: Parameters, day: int) -> Sessions:
    """Draw the sessions of one work day (ordinal); the same for the same parameters and day on any machine."""
    world = make_world(parameters.seed)
    rng = np.random.default_rng([parameters.seed, day, 1])
    parts = [*_honest(rng, world, parameters, day), *_malicious(rng, world, parameters, day)]
    person, kind, plan, length = (np.concatenate(column) for column in zip(*parts, strict=True))
    sessions = _describe(rng, world, date.fromordinal(day), person.astype(int), kind.astype(int), plan, length)
    order = np.argsort(sessions.start_ms, kind="stable")
    ordered = sessions[order]
    ordered.number[:] = np.arange(len(ordered))
    return ordered


_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # person, kind, plan, length (0: drawn later)


def _part(person: np.ndarray, kind: Any, plan: int = -1, length: Any = 0) -> _Part:
    size = len(person)
    return person, np.broadcast_to(kind, size), np.broadcast_to(plan, size), np.broadcast_to(length, size)


def _honest(rng: np.random.Generator, world: World, parameters: Parameters, day: int) -> list[_Part]:
    today = date.fromordinal(day)
    seated = world.employed(day)
    here = seated[seated >= 0]
    role = world.role[here]
    harm = [SCENARIOS[i].share * _events_per_harm(i) for i in range(len(SCENARIOS))]
    of_people = parameters.events_per_day * (1 - BATCH_EVENT_SHARE - 0.012 - parameters.prevalence * sum(harm))
    rate = of_people / _EVENTS_PER_SESSION / mean_busyness()[world.seat_role].sum()
    count = rng.poisson(rate * busyness(today)[role] * world.diligence[here])
    person = np.repeat(here, count)
    draw = rng.random(len(person))
    kind = np.where(draw < (_AFTER_HOURS_SHARE if is_business_day(today) else 0.6), AFTER_HOURS, ROUTINE)
    if is_closing(today):
        busy = np.isin(world.role[person], _CLOSING_ROLES)
        kind[busy & (draw > 1 - _MONTH_END_SHARE)] = MONTH_END
    leaving = np.asarray([who for who, _ in world.leavers(day, day + 14)], dtype=int)
    kind[np.isin(person, leaving) & (draw > 1 - _HANDOVER_SHARE)] = HANDOVER
    kind[_travels(world, day)[person]] = TRAVEL
    return [
        _part(person, kind),
        _part(_on_call(rng, world, parameters, day, seated), ON_CALL),
        *_batches(rng, world, parameters),
    ]


def _events_per_harm(scenario: int) -> float:
    """Return how many events the sessions of a scenario have for each that does harm."""
    chosen = SCENARIOS[scenario]
    length = np.mean([per_kind("length")[k] + 1 + per_kind("signs_out")[k] for k in chosen.kinds])
    return float(length / chosen.harm_per_session)


def _travels(world: World, day: int) -> np.ndarray:
    """Return who is on a trip, shape (people,): trips are drawn per four weeks."""
    rng = np.random.default_rng([world.seed, 0x7219, day // _TRIP_CELL])
    days = rng.integers(_TRIP_DAYS[0], _TRIP_DAYS[1] + 1, size=PEOPLE)
    first = np.floor(rng.random(PEOPLE) * (_TRIP_CELL - days))
    since = day % _TRIP_CELL - first
    return (rng.random(PEOPLE) < _TRIP_CHANCE) & (since >= 0) & (since < days) & (np.arange(PEOPLE) < EMPLOYEES)


def _on_call(
    rng: np.random.Generator, world: World, parameters: Parameters, day: int, seated: np.ndarray
) -> np.ndarray:
    """Return the night sessions of the two who are on call this week."""
    rota = np.random.default_rng([world.seed, 0x0CA1, day // 7])
    ready = seated[(seated >= 0) & np.isin(world.seat_role, _ON_CALL_ROLES)]
    pair = rota.choice(ready, size=min(2, len(ready)), replace=False)
    return np.repeat(pair, rng.poisson(_ON_CALL_PER_DAY * parameters.activity, size=len(pair)))


def _batches(rng: np.random.Generator, world: World, parameters: Parameters) -> list[_Part]:
    live, dormant = world.live_services, world.dormant_services
    events = BATCH_EVENT_SHARE * parameters.events_per_day / len(live)
    runs = max(1, round(events / _BATCH_LENGTH))
    person = np.repeat(live, runs)
    length = 1 + rng.poisson(max(1.0, events / runs - 2), size=len(person))
    manual = np.repeat(dormant, rng.poisson(_MAINTENANCE_PER_DAY * parameters.activity, size=len(dormant)))
    return [_part(person, BATCH, length=length), _part(manual, MAINTENANCE)]


def _malicious(rng: np.random.Generator, world: World, parameters: Parameters, day: int) -> list[_Part]:
    parts = []
    seated = set(world.employed(day).tolist())
    for number, plan in enumerate(plans_on(parameters, day)):
        count = int(rng.poisson(plan.mean_sessions(day) * parameters.activity))
        first, last = SCENARIOS[plan.scenario].kinds
        kind = np.where(rng.random(count) < plan.share_of_first_kind(day), first, last)
        if plan.person in seated or plan.person >= EMPLOYEES:
            parts.append(_part(np.full(count, plan.person), kind, number))
    return parts


def _describe(
    rng: np.random.Generator,
    world: World,
    day: date,
    person: np.ndarray,
    kind: np.ndarray,
    plan: np.ndarray,
    length: np.ndarray,
) -> Sessions:
    """Draw what belongs to a session as a whole."""
    size = len(person)
    role, branch = world.role[person], world.branch[person]
    zone = BRANCH_ZONE[branch]
    hour = choose(rng, HOURS, kind) + rng.random(size) + np.where(per_kind("own_hours")[kind], world.shift[person], 0.0)
    batch = kind == BATCH
    hour[batch] = world.batch_hour[person[batch] - EMPLOYEES] + rng.exponential(0.12, size=int(batch.sum()))
    hour = np.clip(hour, 0.0, 23.99)
    offset = utc_offsets(day)[zone, hour.astype(int)]
    # A work day never begins before its UTC date: nobody east of Greenwich is up that early.
    start_ms = midnight_ms(day) + (np.maximum(hour - offset, 0.0) * HOUR_MS).astype(np.int64)
    network = choose(rng, NETWORK_SHARES, kind)
    country = _BRANCH_COUNTRY[branch]
    country = np.where(network == ABROAD, choose(rng, ABROAD_COUNTRIES, kind), country)
    country = np.where(network == HOSTING, choose(rng, HOSTING_COUNTRIES[None, :], np.zeros(size, dtype=int)), country)
    new_device = rng.random(size) < per_kind("new_device")[kind]
    known = world.devices[person, (network == MOBILE).astype(int)]
    failed = rng.poisson(per_kind("failed_sign_ins")[kind])
    mean = score_mean(network, new_device, failed) + per_kind("lift")[kind]
    signs_out = rng.random(size) < per_kind("signs_out")[kind]
    inner = np.where(length > 0, length, rng.geometric(1 / per_kind("length")[kind]))
    means = STATEMENT_MEANS[kind, role] * rng.gamma(STATEMENT_SPREAD, 1 / STATEMENT_SPREAD, size=size)
    # The data center's databases answer a batch in bulk: its statements grow with its length.
    means = np.where(batch, inner * 0.4, means)
    return Sessions(
        person=person.astype(np.int32),
        role=role.astype(np.int8),
        kind=kind.astype(np.int8),
        plan=plan.astype(np.int32),
        number=np.zeros(size, dtype=np.int32),
        start_ms=start_ms,
        start_hour=hour,
        offset=offset,
        network=network.astype(np.int8),
        country=country.astype(np.int8),
        address=_addresses(rng, world, person, branch, network, country),
        device=np.where(new_device, rng.integers(1000, 9999, size=size), known).astype(np.int32),
        new_device=new_device,
        mfa=choose(rng, MFA_SHARES, kind).astype(np.int8),
        failed_sign_ins=failed.astype(np.int16),
        score=np.round(np.clip(rng.normal(mean, SCORE_DEVIATION), 0, 100), 1),
        length=(inner + 1 + signs_out).astype(np.int32),
        signs_out=signs_out,
        statements=rng.poisson(means).astype(np.int32),
        admin_acts=rng.poisson(ADMIN_MEANS[kind, role]).astype(np.int16),
    )


def _addresses(
    rng: np.random.Generator,
    world: World,
    person: np.ndarray,
    branch: np.ndarray,
    network: np.ndarray,
    country: np.ndarray,
) -> np.ndarray:
    """Return IPv4 addresses from ranges that are nobody's: private, carrier-grade NAT, benchmarking (RFC 2544)."""
    size = len(person)
    low, pool = rng.integers(1, 41, size=size), rng.integers(0, 4, size=size)
    third, fourth = world.home_network[person].T
    host = person % 250 + 1
    service = world.role[person] == BATCH_ROLE
    return np.select(
        [service & np.isin(network, (OFFICE, HOME, MOBILE)), network == OFFICE, network == HOME, network == MOBILE,
         network == CORPORATE_VPN, network == ABROAD],
        [_ip(10, 99, 0, host), _ip(10, 10 + branch, person // 250, host), _ip(100, 64 + third % 60, fourth, host),
         _ip(100, 127, pool, low), _ip(10, 200, pool, low), _ip(198, 18, country, low)],
        _ip(198, 19, country, low),
    ).astype(np.uint32)  # fmt: skip


def _ip(*parts: int | np.ndarray) -> np.ndarray:
    total: np.ndarray = np.zeros(1, dtype=np.int64)
    for part in parts:
        total = total * 256 + part
    return total
