"""Byte fragments, made once and joined per record: how a hundred thousand raw records a second come from Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from lendpath.behaviour import ABROAD, COUNTRIES, HOSTING, OFFICE
from lendpath.people import BRANCHES, directory
from lendpath.sessions import Sessions

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_CITIES = (
    "Chicago",
    "Toronto",
    "Monterrey",
    "London",
    "Frankfurt",
    "Mumbai",
    "Amsterdam",
    "Sao Paulo",
    "Lagos",
    "Iasi",
)
# The database server's clock, which Oracle writes its times in.
_DATABASE_ZONE = ZoneInfo("America/Chicago")


compact = json.JSONEncoder(separators=(",", ":")).encode
"""A value as JSON without spaces; `json.dumps` would make the encoder anew for each."""


def fragments(texts: Sequence[bytes]) -> np.ndarray:
    """Return a table of byte strings that `pick` indexes into."""
    table = np.empty(len(texts), dtype=object)
    table[:] = texts
    return table


def pick(table: np.ndarray, index: np.ndarray) -> list[bytes]:
    """Return the table's entry for each index."""
    return table.take(index).tolist()


@lru_cache(maxsize=16)
def numbers(before: bytes, after: bytes = b"", count: int = 10_000, divisor: int = 1) -> np.ndarray:
    """Return the fragments of the numbers 0 to ``count`` - 1, each divided by ``divisor``."""
    texts = (b"%d" % n if divisor == 1 else repr(n / divisor).encode() for n in range(count))
    return fragments([before + text + after for text in texts])


def number_list(before: bytes, values: np.ndarray, after: bytes = b"", divisor: int = 1) -> list[bytes]:
    """Return the fragments of numbers of any size; the small ones come from a table."""
    table = numbers(before, after, 10_000, divisor)
    found = pick(table, np.minimum(values, len(table) - 1))
    for i in np.flatnonzero(values >= len(table)).tolist():
        value = int(values[i])
        found[i] = before + (b"%d" % value if divisor == 1 else repr(value / divisor).encode()) + after
    return found


def hexadecimal(ids: bytes, chosen: np.ndarray, *, dashed: bool = False) -> list[str]:
    """Return the chosen ids of 16 bytes each in hexadecimal, dashed as a UUID if asked to."""
    text = ids.hex()
    if not dashed:
        return [text[i : i + 32] for i in (chosen * 32).tolist()]
    cut = [text[i : i + 32] for i in (chosen * 32).tolist()]
    return [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in cut]


@lru_cache(maxsize=1)
def _seconds_utc() -> np.ndarray:
    return fragments([b"%02d.%03dZ" % divmod(n, 1000) for n in range(_MINUTE_MS)])


@lru_cache(maxsize=256)
def _minutes_utc(hour: int) -> np.ndarray:
    begin = datetime.fromtimestamp(hour * 3600, UTC)
    return fragments([f"{begin:%Y-%m-%dT%H:}{minute:02d}:".encode() for minute in range(60)])


def iso_times(time_ms: np.ndarray) -> tuple[list[bytes], list[bytes]]:
    """Return the two halves of ``2026-11-03T14:02:`` ``07.123Z``, for each time."""
    hour, within = np.divmod(time_ms, _HOUR_MS)
    first = int(hour.min())
    table = np.concatenate([_minutes_utc(h) for h in range(first, int(hour.max()) + 1)])
    minute, rest = np.divmod(within, _MINUTE_MS)
    return pick(table, (hour - first) * 60 + minute), pick(_seconds_utc(), rest)


@lru_cache(maxsize=256)
def _minutes_of_database(hour: int) -> tuple[np.ndarray, bytes]:
    begin = datetime.fromtimestamp(hour * 3600, UTC).astimezone(_DATABASE_ZONE)
    offset = f"{begin:%z}"
    head = f"{begin:%a %b} {begin.day:2d} {begin:%H}:"
    minutes = fragments([f"{head}{minute:02d}:".encode() for minute in range(60)])
    return minutes, f" {begin:%Y} {offset[:3]}:{offset[3:]}".encode()


def audit_times(time_ms: np.ndarray) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Return the three parts of ``Tue Nov  3 08:02:`` ``07`` `` 2026 -06:00``, an Oracle record's time line."""
    hour, within = np.divmod(time_ms, _HOUR_MS)
    first = int(hour.min())
    hours = [_minutes_of_database(h) for h in range(first, int(hour.max()) + 1)]
    minute, rest = np.divmod(within, _MINUTE_MS)
    heads = pick(np.concatenate([minutes for minutes, _ in hours]), (hour - first) * 60 + minute)
    tails = pick(fragments([tail for _, tail in hours]), hour - first)
    return heads, pick(_seconds(), rest // 1000), tails


@lru_cache(maxsize=1)
def _seconds() -> np.ndarray:
    return fragments([b"%02d" % n for n in range(60)])


def per_session(sessions: Sessions, used: np.ndarray, render: Callable[[Sessions, int], object]) -> np.ndarray:
    """Render the fragment, or fragments, of each session that is used; the others stay empty."""
    table = np.empty(len(sessions), dtype=object)
    for i in np.unique(used).tolist():
        table[i] = render(sessions, i)
    return table


def dotted(address: int) -> str:
    """Return an IPv4 address as text."""
    return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"


def city(sessions: Sessions, i: int, branch: int) -> str:
    """Return the town that a session's address is looked up to."""
    network = sessions.network[i]
    if network in {ABROAD, HOSTING}:
        return _CITIES[sessions.country[i]]
    return BRANCHES[branch].city if network == OFFICE else directory().homes[sessions.person[i]]


def country(sessions: Sessions, i: int) -> str:
    """Return the ISO code of a session's country."""
    return COUNTRIES[sessions.country[i]]
