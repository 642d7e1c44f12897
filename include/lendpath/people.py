"""The people of LendPath: seats and who sits in them over the years, service accounts, loans; made once from a seed."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

import numpy as np

ROLES = (
    "loan_officer",
    "processor",
    "underwriter",
    "closer",
    "servicing",
    "auditor",
    "administrator",
    "dba",
    "batch",
)
BATCH_ROLE = ROLES.index("batch")
_ROLE_SHARES = (0.26, 0.21, 0.15, 0.11, 0.13, 0.05, 0.05, 0.04)


@dataclass(frozen=True)
class Branch:
    """An office: IANA zone, ISO country, and the region that groups peers."""

    city: str
    zone: str
    country: str
    region: str


BRANCHES = (
    Branch("Boston", "America/New_York", "US", "east"),
    Branch("Atlanta", "America/New_York", "US", "east"),
    Branch("Chicago", "America/Chicago", "US", "central"),
    Branch("Dallas", "America/Chicago", "US", "central"),
    Branch("Denver", "America/Denver", "US", "mountain"),
    Branch("Phoenix", "America/Phoenix", "US", "mountain"),
    Branch("Seattle", "America/Los_Angeles", "US", "west"),
    Branch("San Diego", "America/Los_Angeles", "US", "west"),
    Branch("Monterrey", "America/Monterrey", "MX", "offshore"),
    Branch("Cluj", "Europe/Bucharest", "RO", "offshore"),
    Branch("Hyderabad", "Asia/Kolkata", "IN", "offshore"),
)
DATA_CENTER = BRANCHES.index(next(b for b in BRANCHES if b.city == "Chicago"))
_BRANCH_SHARES = np.asarray([0.115] * 8 + [0.025, 0.02, 0.035])
_OFFSHORE_ROLES = (ROLES.index("processor"), ROLES.index("servicing"))

SEATS = 240
_TENURES = 4  # people who sit in one seat, one after the other, between the two dates below
_FIRST, _LAST = date(2020, 1, 1).toordinal(), date(2032, 1, 1).toordinal()
_SHORTEST_TENURE = 120
LIVE_SERVICES = (
    "nightly-interest", "credit-refresh", "document-archive", "rate-feed",
    "escrow-sync", "statement-print", "tax-report", "investor-feed",
)  # fmt: skip
DORMANT_SERVICES = ("legacy-loader", "mers-bridge", "form-1098", "branch-migrator", "fax-gateway", "credit-pull")
EMPLOYEES = SEATS * _TENURES
PEOPLE = EMPLOYEES + len(LIVE_SERVICES) + len(DORMANT_SERVICES)
LOANS = 22_000
# Names and branches do not depend on the seed, so that one name table (include/names.csv) serves every world.
_DIRECTORY_SEED = 2020


@lru_cache(maxsize=1)
def seat_branches() -> np.ndarray:
    """Return the branch of each seat."""
    rng = np.random.default_rng([_DIRECTORY_SEED, 0xB4A])
    return rng.choice(len(BRANCHES), size=SEATS, p=_BRANCH_SHARES / _BRANCH_SHARES.sum())


@dataclass(frozen=True)
class Directory:
    """How each person is called; index = person, service accounts last."""

    user_ids: tuple[str, ...]  # the scalar identity, `u-0007` or `svc-rate-feed`
    names: tuple[str, ...]
    emails: tuple[str, ...]  # PingOne's user name
    logins: tuple[str, ...]  # operating system, and in capitals the database user
    ping_ids: tuple[str, ...]
    homes: tuple[str, ...]  # town

    def name_table(self) -> list[tuple[str, str, str]]:
        """Return (raw name, person, IANA zone) of every name, as `names:` of a source file wants it."""
        zones = [BRANCHES[branch].zone for branch in np.tile(seat_branches(), _TENURES)]
        zones += [BRANCHES[DATA_CENTER].zone] * (PEOPLE - EMPLOYEES)
        return sorted(
            (raw, person, zone)
            for raws in (self.emails, self.logins)
            for raw, person, zone in zip(raws, self.user_ids, zones, strict=True)
        )


@lru_cache(maxsize=1)
def directory() -> Directory:
    """Make the names with Faker; the same in every world."""
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(_DIRECTORY_SEED)
    names: list[str] = []
    logins: list[str] = []
    seen: set[str] = set()
    while len(names) < EMPLOYEES:
        first, last = fake.first_name(), fake.last_name()
        login = f"{first[0]}{last}".lower()
        if f"{first} {last}" in seen:
            continue
        seen.add(f"{first} {last}")
        while login in seen:
            login = f"{first[: len(login) - len(last) + 1]}{last}".lower() + ("x" if len(login) > 20 else "")
        seen.add(login)
        names.append(f"{first} {last}")
        logins.append(login)
    services = (*LIVE_SERVICES, *DORMANT_SERVICES)
    emails = [f"{name.replace(' ', '.').lower()}@lendpath.example" for name in names]
    space = uuid.UUID(int=_DIRECTORY_SEED)
    user_ids = [f"u-{i:04d}" for i in range(EMPLOYEES)] + [f"svc-{name}" for name in services]
    return Directory(
        user_ids=tuple(user_ids),
        names=(*names, *services),
        emails=(*emails, *(f"{name}@services.lendpath.example" for name in services)),
        logins=(*logins, *(f"svc_{name.replace('-', '_')}" for name in services)),
        ping_ids=tuple(str(uuid.uuid5(space, user)) for user in user_ids),
        homes=(*(fake.city() for _ in names), *("Chicago" for _ in services)),
    )


@dataclass(frozen=True)
class World:
    """One seed's company. Arrays named `seat_*` have one entry per seat, all others one per person or loan."""

    seed: int
    seat_role: np.ndarray  # index into ROLES
    seat_branch: np.ndarray  # index into BRANCHES
    seat_manager: np.ndarray  # person index of the seat that leads the branch
    handover: np.ndarray  # (seats, tenures - 1): ordinal of the first day on which the seat's next person is due
    vacancy: np.ndarray  # (seats, tenures - 1): days that pass before the next person comes
    shift: np.ndarray  # hours by which a person's day starts later than the office's
    diligence: np.ndarray  # how much more a person does than the mean of the role
    devices: np.ndarray  # (people, 2): numbers of laptop and telephone
    home_network: np.ndarray  # (people, 2): last two octets of the address at home
    loan_amount: np.ndarray  # US dollars; loan i belongs to branch i % len(BRANCHES)
    batch_hour: np.ndarray  # (services,): local hour of the data center at which a service account's batch starts

    @cached_property
    def role(self) -> np.ndarray:
        """Index into ROLES of each person."""
        services = np.full(PEOPLE - EMPLOYEES, BATCH_ROLE)
        return np.concatenate([np.tile(self.seat_role, _TENURES), services])

    @cached_property
    def branch(self) -> np.ndarray:
        """Index into BRANCHES of each person; service accounts run in the data center."""
        services = np.full(PEOPLE - EMPLOYEES, DATA_CENTER)
        return np.concatenate([np.tile(self.seat_branch, _TENURES), services])

    @property
    def live_services(self) -> np.ndarray:
        """Person indices of the service accounts with a nightly batch."""
        return EMPLOYEES + np.arange(len(LIVE_SERVICES))

    @property
    def dormant_services(self) -> np.ndarray:
        """Person indices of the service accounts that nothing runs on any more, but a rare manual job."""
        return EMPLOYEES + len(LIVE_SERVICES) + np.arange(len(DORMANT_SERVICES))

    def employed(self, day: int) -> np.ndarray:
        """Return who sits in each seat on a day (ordinal): person index, -1 while the seat is vacant."""
        tenure = (self.handover <= day).sum(axis=1)
        person = tenure * SEATS + np.arange(SEATS)
        last = self.handover[np.arange(SEATS), np.maximum(tenure - 1, 0)]
        gap = self.vacancy[np.arange(SEATS), np.maximum(tenure - 1, 0)]
        return np.where((tenure > 0) & (day < last + gap), -1, person)

    def leavers(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return (person, ordinal of the last day) of who leaves with first <= last day <= last."""
        seat, tenure = np.nonzero((self.handover - 1 >= first) & (self.handover - 1 <= last))
        return [(int(k) * SEATS + int(s), int(self.handover[s, k]) - 1) for s, k in zip(seat, tenure, strict=True)]

    def peer_group(self, person: int) -> str:
        """Return whom a person is compared with: role and region."""
        return f"{ROLES[self.role[person]]}/{BRANCHES[self.branch[person]].region}"

    def manager(self, person: int, day: int) -> int:
        """Return the person who leads the branch on a day; -1 while that seat is vacant, and for service accounts."""
        if person >= EMPLOYEES:
            return -1
        return int(self.employed(day)[self.seat_manager[person % SEATS]])

    def time_zone(self, person: int) -> str:
        """Return the IANA zone that a person's events carry."""
        return BRANCHES[self.branch[person]].zone


@lru_cache(maxsize=8)
def make_world(seed: int) -> World:
    """Make the world of ``seed``; the same on every worker, kept for the process."""
    rng = np.random.default_rng([seed, 0xC0FFEE])
    role = rng.choice(len(_ROLE_SHARES), size=SEATS, p=_ROLE_SHARES)
    # Every role is in every world, whatever the seed draws.
    role[: 3 * len(_ROLE_SHARES)] = np.tile(np.arange(len(_ROLE_SHARES)), 3)
    branch = seat_branches()
    offshore = np.asarray([place.region == "offshore" for place in BRANCHES])[branch]
    role = np.where(offshore, rng.choice(_OFFSHORE_ROLES, size=SEATS), role)
    leads = np.asarray([np.flatnonzero(branch == b)[0] if (branch == b).any() else 0 for b in range(len(BRANCHES))])
    shares = rng.exponential(size=(SEATS, _TENURES))
    free = _LAST - _FIRST - _TENURES * _SHORTEST_TENURE
    tenures = _SHORTEST_TENURE + np.floor(free * shares / shares.sum(axis=1, keepdims=True)).astype(int)
    return World(
        seed=seed,
        seat_role=role,
        seat_branch=branch,
        seat_manager=leads[branch],
        handover=_FIRST + np.cumsum(tenures, axis=1)[:, :-1],
        vacancy=rng.integers(5, 31, size=(SEATS, _TENURES - 1)),
        shift=np.clip(rng.normal(0, 0.75, size=PEOPLE), -1.8, 1.8),
        diligence=np.exp(rng.normal(-0.03, 0.25, size=PEOPLE)),
        devices=rng.integers(1000, 9999, size=(PEOPLE, 2)),
        home_network=rng.integers(0, 256, size=(PEOPLE, 2)),
        loan_amount=np.round(np.exp(rng.normal(12.6, 0.5, size=LOANS)), -2).astype(np.int64),
        batch_hour=rng.choice([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 23.0], size=PEOPLE - EMPLOYEES),
    )
