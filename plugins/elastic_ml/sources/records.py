"""What flows from a reader through an adapter: raw records in, documents and rejects out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

Document = dict[str, Any]
"""An ECS document as nested objects; ``event.id`` is set."""

KEPT_BYTES = 32 * 1024
"""How much of a record that cannot be used is kept in the dead letters."""

LONGEST_RECORD = 16 * 1024 * 1024
"""Bytes. A record longer than this is rejected without being held in memory."""


@dataclass(frozen=True, slots=True)
class Raw:
    """One piece of raw input as the reader saw it.

    :param data: the bytes, without the line end.
    :param position: where it is, for a person: ``audit.ndjson.gz:1207`` or ``record 12``.
    :param problem: why the reader could not read it whole (too long); empty when it could.
    :param first: whether a new file or stream starts with it: no record reaches across, and CSV has its header there.
    """

    data: bytes
    position: str
    problem: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that became no document.

    :param reason: what is wrong with it, as a sentence.
    :param position: where it is in its source.
    :param data: its first 32 KiB.
    """

    reason: str
    position: str
    data: bytes

    @classmethod
    def of(cls, raw: Raw, reason: str) -> Rejected:
        """Reject one raw record."""
        return cls(reason, raw.position, raw.data[:KEPT_BYTES])


class Adapter(Protocol):
    """Turns a stream of raw records into a stream of documents and rejects: nothing is dropped silently."""

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """Yield one item per record, in order; raise only for what concerns the whole source."""
        ...


def record_id(data: bytes) -> str:
    """The ``event.id`` of a record that brings none: SHA-256 of its bytes in hex, the same formula in Logstash."""
    return hashlib.sha256(data).hexdigest()


def get_path(record: Any, path: str) -> Any:
    """The value at a dotted path, None when it is not there; a number picks from a list (``resources.0.type``).

    A key that itself contains the dots wins, as in a record of flattened names.
    """
    if isinstance(record, dict) and path in record:
        return record[path]
    current = record
    for step in path.split("."):
        if isinstance(current, dict):
            current = current.get(step)
        elif isinstance(current, list) and step.isdigit() and int(step) < len(current):
            current = current[int(step)]
        else:
            return None
    return current


def set_path(document: Document, path: str, value: Any) -> None:
    """Set a dotted path, making the objects on the way.

    :raises ValueError: the path goes through a value that is no object.
    """
    *parents, last = path.split(".")
    current = document
    for step in parents:
        current = current.setdefault(step, {})
        if not isinstance(current, dict):
            raise ValueError(f"{path} goes through {step}, which is a value and no object")  # noqa: TRY004
    current[last] = value


def pruned(value: Any) -> Any:
    """The value without nulls, empty strings, empty lists and empty objects, at any depth (False and 0 stay)."""
    if isinstance(value, dict):
        return {key: inner for key, item in value.items() if not _empty(inner := pruned(item))}
    if isinstance(value, list):
        return [inner for item in value if not _empty(inner := pruned(item))]
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def timestamp(moment: datetime) -> str:
    """``2022-08-08T15:31:08.237Z``: UTC with milliseconds, as Elasticsearch prints dates."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: object) -> datetime:
    """An ISO 8601 time (no zone means UTC) or epoch milliseconds.

    :raises ValueError: neither.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{text!r} is no time")  # noqa: TRY004 - a record's fault, not a caller's
    try:
        if isinstance(text, int | float):
            return datetime.fromtimestamp(text / 1000, UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is no ISO 8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
