"""The people of LendPath: made once from a seed, the same on every worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

ROLES = (
    "loan_officer",
    "processor",
    "underwriter",
    "closer",
    "servicing",
    "auditor",
    "administrator",
    "batch",
)
BRANCHES = (
    ("Boston", "America/New_York"),
    ("Atlanta", "America/New_York"),
    ("Chicago", "America/Chicago"),
    ("Dallas", "America/Chicago"),
    ("Denver", "America/Denver"),
    ("Phoenix", "America/Phoenix"),
    ("Seattle", "America/Los_Angeles"),
    ("San Diego", "America/Los_Angeles"),
)
_ROLE_SHARES = (0.27, 0.22, 0.16, 0.12, 0.14, 0.04, 0.05)
_SERVICE_ACCOUNTS = ("nightly-interest", "credit-refresh", "document-archive", "rate-feed")


@dataclass(frozen=True)
class World:
    """Everybody who can appear in an audit event; every array has one entry per person.

    The last entries are service accounts (role ``batch``), which work at night in UTC.
    """

    seed: int
    user_ids: tuple[str, ...]
    names: tuple[str, ...]
    roles: np.ndarray  # int index into ROLES
    branches: np.ndarray  # int index into BRANCHES
    networks: np.ndarray  # shape (people, 2): second and third octet of the home network
    devices: np.ndarray  # int, number of the usual device

    @property
    def is_service(self) -> np.ndarray:
        """Boolean mask of the service accounts."""
        return self.roles == ROLES.index("batch")

    def utc_offset_hours(self, day: date) -> np.ndarray:
        """Return each person's offset from UTC at noon of ``day``, in hours (negative west of Greenwich)."""
        noon = datetime(day.year, day.month, day.day, 18, tzinfo=UTC)
        by_branch = [_offset(zone, noon) for _, zone in BRANCHES]
        return np.where(self.is_service, 0.0, np.asarray(by_branch)[self.branches])

    def time_zone(self, person: int) -> str:
        """Return the IANA zone that a person's events carry."""
        return "UTC" if self.is_service[person] else BRANCHES[self.branches[person]][1]


def _offset(zone: str, moment: datetime) -> float:
    return (ZoneInfo(zone).utcoffset(moment.astimezone(ZoneInfo(zone))) or timedelta()).total_seconds() / 3600


@lru_cache(maxsize=16)
def make_world(seed: int, people: int = 240) -> World:
    """Make the world of ``seed``: ``people`` employees and a handful of service accounts."""
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(seed)
    rng = np.random.default_rng([seed, 0xC0FFEE])
    names = [fake.unique.name() for _ in range(people)] + list(_SERVICE_ACCOUNTS)
    service = len(_SERVICE_ACCOUNTS)
    roles = np.concatenate(
        [
            rng.choice(len(_ROLE_SHARES), size=people, p=_ROLE_SHARES),
            np.full(service, ROLES.index("batch")),
        ]
    )
    return World(
        seed=seed,
        user_ids=tuple(f"u-{i:04d}" for i in range(people)) + tuple(f"svc-{name}" for name in _SERVICE_ACCOUNTS),
        names=tuple(names),
        roles=roles,
        branches=rng.integers(0, len(BRANCHES), size=people + service),
        networks=rng.integers(1, 255, size=(people + service, 2)),
        devices=rng.integers(1000, 9999, size=people + service),
    )
