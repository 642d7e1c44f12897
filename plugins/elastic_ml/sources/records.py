"""What flows from a reader through an adapter: raw records in, documents and rejects out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple, Protocol

Document = dict[str, Any]
"""An ECS document as nested objects; ``event.id`` is set."""

KEPT_BYTES = 32 * 1024
"""How much of a record that cannot be used is kept in the dead letters."""

LONGEST_ID_BYTES = 512
"""Elasticsearch's own limit of ``_id``; one longer id would have it refuse the whole bulk request."""

LONGEST_RECORD = 8 * 1024 * 1024
"""Bytes, as much as one bulk request. A longer record is rejected without being held in memory."""


class Raw(NamedTuple):  # a tuple, since one is made per line: a frozen dataclass takes four times as long
    """One piece of raw input as the reader saw it.

    :param data: the bytes, without the line end; of a row or item, its JSON.
    :param position: where it is, for a person: ``audit.ndjson.gz:1207`` or ``record 12``.
    :param problem: why the reader could not read it whole (too long, cut off); empty when it could.
    :param first: whether a new file or stream starts with it: no record reaches across, and CSV has its header there.
    :param record: what ``data`` says, where the reader parsed it already (rows, items of a JSON page).
    """

    data: bytes
    position: str
    problem: str = ""
    first: bool = False
    record: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that became no document.

    :param reason: what is wrong with it, as a sentence.
    :param position: where it is in its source.
    :param data: its first 32 KiB.
    :param header: of a CSV row, the header of its file, without which it cannot be read again.
    """

    reason: str
    position: str
    data: bytes
    header: bytes = b""

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
        kept: dict[str, Any] = {}
        for key, item in value.items():
            if isinstance(item, dict | list):
                item = pruned(item)  # noqa: PLW2901
                if item:
                    kept[key] = item
            elif item is not None and item != "":
                kept[key] = item
        return kept
    if isinstance(value, list):
        return [inner for item in value if (inner := pruned(item)) is not None and inner not in ("", [], {})]
    return value


def timestamp(moment: datetime) -> str:
    """``2022-08-08T15:31:08.237Z``: UTC with milliseconds, as Elasticsearch prints dates.

    :raises ValueError: in UTC it is outside the years 1 to 9999.
    """
    try:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is outside the years 1 to 9999") from None


is_plain_time = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII).fullmatch
"""Whether a time is written as pipelines and Elasticsearch read it, ``2022-08-08T15:31:08.237Z``. Python reads more:
weeks, basic formats, commas."""


def parse_time(text: object, zone: tzinfo = UTC) -> datetime:
    """An ISO 8601 time or epoch milliseconds.

    :param zone: of a time that names none.
    :raises ValueError: neither.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{str(text)[:80]!r} is no time")  # noqa: TRY004 - a record's fault, not a caller's
    try:
        if isinstance(text, int | float):
            return datetime.fromtimestamp(text / 1000, UTC)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{str(text)[:80]!r} is no ISO 8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
