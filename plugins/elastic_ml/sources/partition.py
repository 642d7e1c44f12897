"""The partition: one delivery day or hour of a source, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from elastic_ml.exceptions import IngestError

_KEY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}))?")
# Of these years the neighbours of every partition have a key too; no audit trail is older.
_FIRST_YEAR, _LAST_YEAR = 1970, 9998


@dataclass(frozen=True)
class Partition:
    """One delivery day (``2026-11-10``) or hour (``2026-11-10T13``), UTC; ``start`` is in it, ``end`` is not."""

    key: str
    start: datetime
    end: datetime

    @classmethod
    def parse(cls, key: str) -> Partition:
        """Read a key; raises IngestError naming the accepted forms."""
        found = _KEY.fullmatch(key.strip()) if isinstance(key, str) else None
        try:
            if found is None:
                raise ValueError("unknown form")
            start = datetime.strptime(found[1], "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(hours=int(found[2] or 0))
            if found[2] and int(found[2]) > 23:
                raise ValueError("hour")
            if not _FIRST_YEAR <= start.year <= _LAST_YEAR:
                raise ValueError("year")
        except ValueError:
            raise IngestError(
                f"{key!r} is no partition.",
                remedy="Write a UTC day as 2026-11-10 or an hour as 2026-11-10T13; when a DAG is triggered by hand, "
                "set the param `day`.",
            ) from None
        length = timedelta(hours=1) if found[2] else timedelta(days=1)
        return cls(found[0], start, start + length)

    @property
    def size(self) -> Literal["day", "hour"]:
        """What a source file calls it: ``day`` or ``hour``."""
        return "hour" if "T" in self.key else "day"

    @property
    def previous(self) -> Partition:
        """The partition before this one, of the same length."""
        start = self.start - (self.end - self.start)
        return Partition(start.strftime("%Y-%m-%dT%H" if self.size == "hour" else "%Y-%m-%d"), start, self.start)
