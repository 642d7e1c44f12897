"""Days and clocks: bank holidays, month-end closing, how busy a day is, and offsets from UTC across clock changes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from lendpath.people import BRANCHES, ROLES

ZONES = tuple(dict.fromkeys(branch.zone for branch in BRANCHES))
BRANCH_ZONE = np.asarray([ZONES.index(branch.zone) for branch in BRANCHES])
_CLOSING_DAYS = 3
# Monday to Friday an office, Friday the peak of funding; then Saturday, Sunday and bank holidays.
_OFFICE = (1.0, 1.02, 1.0, 1.0, 1.08, 0.06, 0.04)
_WEEK = {
    "servicing": (1.05, 1.0, 1.0, 1.0, 1.0, 0.45, 0.05),
    "administrator": (1.0, 1.0, 1.0, 1.0, 0.95, 0.2, 0.18),
    "dba": (1.0, 1.0, 1.0, 1.0, 0.95, 0.25, 0.25),
    "batch": (1.0,) * 7,
}
_CLOSING = {"loan_officer": 1.3, "processor": 1.35, "underwriter": 1.25, "closer": 1.6, "auditor": 1.2}
_SUNDAY = 6


@lru_cache(maxsize=64)
def bank_holidays(year: int) -> frozenset[date]:
    """Return the days on which US banks are closed: federal holidays, without the Fridays before a Saturday one.

    Federal offices rest on that Friday, the Federal Reserve Banks work (Federal Reserve, "Holiday Schedule").
    """
    import holidays

    found = holidays.country_holidays("US", years=year)
    return frozenset(day for day, name in found.items() if not ("observed" in name and day.weekday() == 4))


def is_business_day(day: date) -> bool:
    """Return whether banks are open."""
    return day.weekday() < 5 and day not in bank_holidays(day.year)


@lru_cache(maxsize=512)
def is_closing(day: date) -> bool:
    """Return whether a day is one of the last three business days of its month, when loans are funded and booked."""
    if not is_business_day(day):
        return False
    following, later = day + timedelta(days=1), 0
    while following.month == day.month:
        later += is_business_day(following)
        following += timedelta(days=1)
    return later < _CLOSING_DAYS


@lru_cache(maxsize=512)
def busyness(day: date) -> np.ndarray:
    """Return how busy each role is on a day, shape (roles,); 1 is an ordinary Monday."""
    holiday = day in bank_holidays(day.year)
    factors = [_WEEK.get(role, _OFFICE)[_SUNDAY if holiday else day.weekday()] for role in ROLES]
    if is_closing(day):
        factors = [factor * _CLOSING.get(role, 1.0) for factor, role in zip(factors, ROLES, strict=True)]
    return np.asarray(factors)


@lru_cache(maxsize=1)
def mean_busyness() -> np.ndarray:
    """Return the mean of `busyness` over a year, shape (roles,): what an average of events per day is built on."""
    first = date(2025, 1, 1).toordinal()
    return np.mean([busyness(date.fromordinal(first + n)) for n in range(365)], axis=0)


@lru_cache(maxsize=64)
def utc_offsets(day: date) -> np.ndarray:
    """Return each zone's offset from UTC in hours, shape (zones, 48), at local hours 0 to 47 of a day.

    A table per hour, since clocks change in the small hours, when on-call people and batches work.
    """
    table = np.empty((len(ZONES), 48))
    for row, name in enumerate(ZONES):
        zone = ZoneInfo(name)
        for hour in range(48):
            local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(hours=hour)
            table[row, hour] = (local.utcoffset() or timedelta()).total_seconds() / 3600
    return table


def midnight_ms(day: date) -> int:
    """Return the first millisecond of a UTC day since the epoch."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
