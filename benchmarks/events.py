"""LendPath's events per second, beside Faker drawing the same fields one event at a time: three trails, one core."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from faker import Faker

from lendpath import feeds
from lendpath.behaviour import ACTIONS, COUNTRIES, MFA, STATEMENTS
from lendpath.events import PING_TYPES, blocks
from lendpath.scenarios import Parameters

PER_DAY = 100_000
_FIRST = date(2026, 3, 2)


def run() -> None:
    """Print rates and ratios per trail and for the three together."""
    plain = {name: rate_of(make, Faker("en_US"), 2000) for name, make in FAKER.items()}
    drawn, raw, counts = measure(5)
    print(f"  {'':14}{'Faker':>12}{'drawn':>14}{'':>8}{'raw records':>14}   (events per second)")
    for name in FAKER:
        print(
            f"  {name:14}{plain[name]:12,.0f}{drawn[name]:14,.0f}{drawn[name] / plain[name]:7,.0f}x"
            f"{raw[name]:14,.0f}{raw[name] / plain[name]:7,.0f}x"
        )
    total = sum(counts.values())
    together = [total / sum(counts[name] / rates[name] for name in counts) for rates in (plain, drawn, raw)]
    print(
        f"  {'together':14}{together[0]:12,.0f}{together[1]:14,.0f}{together[1] / together[0]:7,.0f}x"
        f"{together[2]:14,.0f}{together[2] / together[0]:7,.0f}x   (at least 100x and 40x)"
    )


def measure(days: int) -> tuple[dict[str, float], dict[str, float], dict[str, int]]:
    """Return events per second before serialisation and as raw records, and how many events, per trail.

    The time of the sessions, which the trails share, is counted in full for the internal trail, which needs them first.
    """
    parameters = Parameters(seed=11, events_per_day=PER_DAY)
    trails = {"internal_audit": "internal", "ping_one": "ping_one", "oracle_audit": "oracle"}
    for name in trails:  # warm: the world, the tables of fragments
        sum(1 for _ in _feed(name, _FIRST - timedelta(days=9), 1))
    seconds, counts = dict.fromkeys(trails, 0.0), dict.fromkeys(trails, 0)
    for n in range(days):
        day = (_FIRST + timedelta(days=30 + n)).toordinal()
        for name, trail in trails.items():
            began = time.perf_counter()
            counts[name] += sum(len(getattr(block, trail)) for block in blocks(parameters, day))
            seconds[name] += time.perf_counter() - began
    drawn = {name: counts[name] / seconds[name] for name in trails}
    raw = {}
    for name in trails:
        began = time.perf_counter()
        records = sum(1 for _ in _feed(name, _FIRST, days))
        raw[name] = records / (time.perf_counter() - began)
    return drawn, raw, counts


def _feed(name: str, first: date, days: int) -> Any:
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return getattr(feeds, name)(start, start + timedelta(days=days), seed=11, events_per_day=PER_DAY)


def rate_of(make: Callable[[Faker, int], Any], fake: Faker, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        json.dumps(make(fake, number))
    return count / (time.perf_counter() - began)


def _internal(fake: Faker, number: int) -> dict[str, Any]:
    return {
        "id": fake.uuid4(),
        "time": fake.iso8601(),
        "action": fake.random_element(ACTIONS),
        "result": fake.random_element(("success", "failure")),
        "records": fake.random_int(0, 200),
        "gap_seconds": fake.pyfloat(min_value=0, max_value=600),
        "discount_bps": fake.random_int(0, 90),
        "failures_last_hour": fake.random_int(0, 5),
        "loan": {"id": fake.bothify("LN#######"), "amount": fake.random_int(50_000, 900_000)},
        "session": {"event": fake.random_int(1, 30), "id": fake.bothify("s-#####")},
        "zone": fake.timezone(),
        "actor": {
            "id": f"u-{number % 240}",
            "name": fake.name(),
            "role": fake.job(),
            "branch": fake.city(),
            "peer_group": fake.word(),
        },
        "client": {
            "ip": fake.ipv4(),
            "country": fake.random_element(COUNTRIES),
            "city": fake.city(),
            "device": fake.bothify("dev-####"),
            "new_device": fake.pybool(),
            "vpn": fake.pybool(),
            "mfa": fake.random_element(MFA),
        },
    }


def _ping_one(fake: Faker, _: int) -> dict[str, Any]:
    environment = {"id": fake.uuid4()}
    user = {"id": fake.uuid4(), "name": fake.email(), "environment": environment, "population": {"id": fake.uuid4()}}
    user |= {"href": fake.url(), "type": "USER"}
    name = fake.random_element(PING_TYPES)
    return {
        "_links": {"self": {"href": fake.url()}},
        "id": fake.uuid4(),
        "recordedAt": fake.iso8601(),
        "createdAt": fake.iso8601(),
        "correlationId": fake.uuid4(),
        "actors": {"client": {"id": fake.word(), "name": fake.word(), "environment": environment}, "user": user},
        "action": {"type": name, "description": name.title()},
        "result": {"status": fake.random_element(("SUCCESS", "FAILED")), "description": fake.sentence()},
        "resources": [{"type": "SESSION", "id": fake.uuid4(), "name": fake.email(), "href": fake.url()}],
    }


def _oracle(fake: Faker, _: int) -> str:
    login, loan = fake.user_name(), fake.numerify("#######")
    sql = fake.random_element(STATEMENTS).sql.replace("{loan}", loan)
    values = {
        "ACTION ": sql,
        "DATABASE USER": login.upper(),
        "PRIVILEGE ": fake.random_element(("NONE", "SYSDBA")),
        "CLIENT USER": login,
        "CLIENT TERMINAL": fake.bothify("WS####"),
        "STATUS": str(fake.random_element((0, 942, 1031))),
        "DBID": fake.numerify("##########"),
        "SESSIONID": fake.numerify("##########"),
        "USERHOST": fake.hostname(),
        "CLIENT ADDRESS": fake.ipv4(),
        "ACTION NUMBER": fake.numerify("#"),
    }
    moment = f"{fake.date_time():%a %b %d %H:%M:%S %Y} -06:00"
    return "\n".join([moment, *(f"{key}:[{len(value)}] '{value}'" for key, value in values.items())])


FAKER: dict[str, Callable[[Faker, int], Any]] = {
    "internal_audit": _internal,
    "ping_one": _ping_one,
    "oracle_audit": _oracle,
}
