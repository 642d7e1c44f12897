"""Five ways to do harm, as episodes over hours or weeks: who, which days, and what kind of sessions on each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np

from lendpath.behaviour import HARM, KINDS, NAMES, STRANGER
from lendpath.calendars import is_business_day
from lendpath.people import ROLES, World, make_world

REFERENCE_EVENTS = 4000  # a day of this many events is what the number of sessions of an episode refers to
_CELL_DAYS = 28  # episodes are drawn per four weeks, so that any day can be made without those before


@dataclass(frozen=True)
class Parameters:
    """What a data set is made from.

    :param seed: of the world and of every draw.
    :param events_per_day: mean number of internal audit events a day over a year, at least 100; the directory adds
        about a third, the database about a half of that.
    :param prevalence: share of internal audit events that do harm, from 0.001 to 0.05, over a year.
    :raises ValueError: a parameter is out of its range.
    """

    seed: int = 11
    events_per_day: int = 4000
    prevalence: float = 0.015

    def __post_init__(self) -> None:
        """Refuse what the probabilities were not made for."""
        for name, low, high in (("seed", 0, 2**63), ("events_per_day", 100, 10**8), ("prevalence", 0.001, 0.05)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name)} is out of range: from {low} to {high:,}")

    @property
    def activity(self) -> float:
        """How much everybody does, 1 at the reference."""
        return self.events_per_day / REFERENCE_EVENTS


@dataclass(frozen=True)
class Scenario:
    """One way to do harm; `kinds` are what its first and its last sessions look like, and between they mix."""

    name: str
    share: float  # of all events that do harm
    days: tuple[int, int]  # shortest and longest
    sessions: float  # mean per episode, at the reference
    kinds: tuple[int, int]
    roles: dict[str, float]  # weights of who does it, or whose account it is
    office_days: bool = False  # only on business days, as the person's own work
    leaving: bool = False  # by somebody who leaves soon after

    @property
    def harm_per_session(self) -> float:
        """Mean number of internal audit events of a session that do harm."""
        return float(np.mean([HARM[k] * (KINDS[k].length + STRANGER[k]) for k in self.kinds]))


def _kinds(first: str, last: str) -> tuple[int, int]:
    return NAMES.index(first), NAMES.index(last)


SCENARIOS = (
    Scenario("account_takeover", 0.36, (1, 3), 2.5, _kinds("takeover", "takeover_use"),
             {"loan_officer": 3, "processor": 2, "underwriter": 2, "closer": 1, "servicing": 2, "auditor": 0.5,
              "administrator": 0.7, "dba": 0.4}),
    Scenario("privilege_creep", 0.16, (10, 21), 5.0, _kinds("privilege_creep", "creep_use"),
             {"processor": 3, "servicing": 3, "closer": 2, "administrator": 0.5, "dba": 0.5}, office_days=True),
    Scenario("bulk_export", 0.12, (7, 21), 5.0, _kinds("bulk_export", "bulk_export"),
             dict.fromkeys(ROLES[:8], 1.0), office_days=True, leaving=True),
    Scenario("rate_insider", 0.21, (10, 21), 5.0, _kinds("rate_insider", "rate_insider"),
             {"loan_officer": 5, "underwriter": 2, "closer": 1}, office_days=True),
    Scenario("dormant_account", 0.15, (2, 7), 3.0, _kinds("dormant_account", "dormant_account"), {"batch": 1}),
)  # fmt: skip
# Who takes data along leaves within this many days after: the time of notice, and a little to spare.
_NOTICE_DAYS = 75


@dataclass(frozen=True)
class Plan:
    """One episode before its sessions are drawn; days are ordinals."""

    scenario: int
    person: int
    first: int
    days: int

    def mean_sessions(self, day: int) -> float:
        """Return the mean number of sessions on a day, at the reference."""
        scenario = SCENARIOS[self.scenario]
        if not self.first <= day < self.first + self.days:
            return 0.0
        open_days = _open_days(self.first, self.days) if scenario.office_days else tuple(range(self.days))
        if day - self.first not in open_days:
            return 0.0
        return scenario.sessions / len(open_days)

    def share_of_first_kind(self, day: int) -> float:
        """Return how likely a session of that day is still of the scenario's first kind."""
        return 1 - (day - self.first + 0.25) / self.days


@lru_cache(maxsize=4096)
def _open_days(first: int, days: int) -> tuple[int, ...]:
    found = tuple(n for n in range(days) if is_business_day(date.fromordinal(first + n)))
    return found or (0,)


def starts_per_day(scenario: Scenario, prevalence: float) -> float:
    """Return how many episodes of a scenario begin per day, to reach its share of the prevalence."""
    return scenario.share * prevalence * REFERENCE_EVENTS / (scenario.sessions * scenario.harm_per_session)


def plans_on(parameters: Parameters, day: int) -> list[Plan]:
    """Return the episodes that are under way on a day (ordinal), whatever day is asked for first."""
    cells = (day // _CELL_DAYS - 1, day // _CELL_DAYS)
    found = [plan for cell in cells for plan in _cell(parameters.seed, parameters.prevalence, cell)]
    return [plan for plan in found if plan.first <= day < plan.first + plan.days]


@lru_cache(maxsize=256)
def _cell(seed: int, prevalence: float, cell: int) -> tuple[Plan, ...]:
    """Draw the episodes that begin within four weeks."""
    world = make_world(seed)
    plans: list[Plan] = []
    for number, scenario in enumerate(SCENARIOS):
        rng = np.random.default_rng([seed, 0x5CE0, number, cell])
        count = int(starts_per_day(scenario, prevalence) * _CELL_DAYS + rng.random())
        for part in range(count):
            # One start per equal part of the four weeks: no crowd, no drought.
            first = cell * _CELL_DAYS + int((part + rng.random()) * _CELL_DAYS / count)
            days = int(rng.integers(scenario.days[0], scenario.days[1] + 1))
            plans.append(Plan(number, _culprit(rng, world, scenario, first, days), first, days))
    return tuple(plans)


def _culprit(rng: np.random.Generator, world: World, scenario: Scenario, first: int, days: int) -> int:
    """Return who does it, or whose account is used."""
    if scenario.leaving:
        candidates = np.asarray([person for person, _ in world.leavers(first + days, first + days + _NOTICE_DAYS)])
        candidates = np.intersect1d(candidates, world.employed(first))
        if len(candidates):
            return int(rng.choice(candidates))
    if "batch" in scenario.roles:
        return int(rng.choice(world.dormant_services))
    candidates = world.employed(first)
    candidates = candidates[candidates >= 0]
    weights = np.asarray([scenario.roles.get(role, 0.0) for role in ROLES])[world.role[candidates]]
    return int(rng.choice(candidates, p=weights / weights.sum()))
