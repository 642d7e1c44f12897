"""LendPath's events per second, beside Faker drawing the same fields one event at a time."""

from __future__ import annotations

import json
import time
from datetime import date, timedelta

from faker import Faker

from lendpath.behaviour import ACTIONS, COUNTRIES, MFA
from lendpath.events import make_day

_PER_DAY = 100_000


def run() -> None:
    """Print rates and ratios."""
    make_day(11, date(2026, 1, 1), events=_PER_DAY)
    began = time.perf_counter()
    days = [make_day(11, date(2026, 1, 2) + timedelta(days=n), events=_PER_DAY) for n in range(5)]
    drawn = 5 * _PER_DAY / (time.perf_counter() - began)
    began = time.perf_counter()
    records = sum(1 for day in days[:2] for _ in day.raw())
    raw = 1 / (1 / drawn + (time.perf_counter() - began) / records)
    plain = _faker(3000)
    print(f"  Faker, one by one          {plain:12,.0f} events/s")
    print(f"  drawn, before serialising  {drawn:12,.0f} events/s   {drawn / plain:6.0f} times")
    print(f"  as raw records             {raw:12,.0f} events/s   {raw / plain:6.0f} times")


def _faker(count: int) -> float:
    fake = Faker("en_US")
    began = time.perf_counter()
    for number in range(count):
        json.dumps(
            {
                "id": fake.uuid4(),
                "time": fake.iso8601(),
                "zone": fake.timezone(),
                "actor": {"id": f"u-{number % 240}", "name": fake.name(), "role": fake.job(), "branch": fake.city()},
                "action": fake.random_element(ACTIONS),
                "result": fake.random_element(("success", "failure")),
                "client": {
                    "ip": fake.ipv4(),
                    "country": fake.random_element(COUNTRIES),
                    "device": fake.bothify("dev-####"),
                    "new_device": fake.pybool(),
                    "vpn": fake.pybool(),
                    "mfa": fake.random_element(MFA),
                },
                "session": {"id": fake.bothify("s-#####"), "event": fake.random_int(1, 30)},
                "records": fake.random_int(0, 200),
                "gap_seconds": fake.pyfloat(min_value=0, max_value=600),
                "discount_bps": fake.random_int(0, 90),
                "failures_last_hour": fake.random_int(0, 5),
            }
        )
    return count / (time.perf_counter() - began)
