"""LendPath's feeds with three things put in on the last day; only lines that some anomaly job reads, and not all.

Named as readers by the sources of a copied project folder. All days but the last are delivered at once, with the day
before it: an ingestion goes by the day of delivery, the jobs by the events' own time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from lendpath import feeds

START = datetime(2026, 8, 31, tzinfo=UTC)  # a Monday
DAYS = 23
LAST = START + timedelta(days=DAYS - 1)  # a Tuesday
SHIPPED = {"seed": 11, "events_per_day": 1000, "prevalence": 0.001}
ACTS = [f'"action":"{action}"'.encode() for action in ("user_created", "permission_changed", "api_key_created")]
EXPORT = LAST + timedelta(hours=15)
GUESSING = LAST + timedelta(hours=16)
DELETION = LAST + timedelta(hours=17)


def ping_one(start: datetime, end: datetime) -> Iterator[bytes]:
    """PingOne's failures and administrative acts; on the last day an hour of guessing, and an act nobody ever did."""
    failed = admin = None
    for line in feeds.ping_one(*_delivered(start, end), **SHIPPED):
        if b'"status":"FAILED"' in line and b"PASSWORD.CHECK_FAILED" in line:
            failed = failed or line
        elif b"adminIdentityEvent" in line:
            admin = admin or line
        elif b'"status":"FAILED"' not in line:
            continue
        yield line
    if start == LAST:
        assert failed is not None
        assert admin is not None
        for number in range(14):
            yield _ping(failed, f"guess-{number}", GUESSING + timedelta(minutes=number))
        yield _ping(admin, "deletion", DELETION, "POLICY.DELETED")


def internal_audit(start: datetime, end: datetime) -> Iterator[bytes]:
    """What processors read, and privileged acts; on the last day a processor exports 20,000 records."""
    reader = None
    for line in feeds.internal_audit(*_delivered(start, end), **SHIPPED):
        if b'"role":"processor"' in line and b'"records":0,' not in line:
            reader = reader or line
        elif not any(act in line for act in ACTS):
            continue
        yield line
    if start == LAST:
        assert reader is not None
        for number in range(10):
            at = EXPORT + timedelta(minutes=2 * number)
            yield json.dumps(json.loads(reader) | {"id": f"{number:032x}", "records": 2000, "time": _iso(at)}).encode()


def _delivered(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    return (START, end) if end == LAST else (start, end)


def _ping(line: bytes, name: str, at: datetime, act: str | None = None) -> bytes:
    event: dict[str, Any] = json.loads(line)
    event |= {"id": name, "recordedAt": _iso(at), "createdAt": _iso(at)}
    if act:
        event["action"] = {"type": act, "description": act}
    return json.dumps(event, separators=(",", ":")).encode()


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
