"""The time range of a page, and the page states that Kibana puts into its addresses (rison)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana.errors import bad_request
from elastic_sandbox.search.dates import bound

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_FORMAT: Final = "strict_date_optional_time||epoch_millis"
PRESETS: Final = (("15 min", "now-15m"), ("1 h", "now-1h"), ("24 h", "now-24h"), ("7 d", "now-7d"), ("30 d", "now-30d"),
                  ("90 d", "now-90d"))  # fmt: skip


@dataclass(frozen=True)
class TimeRange:
    """From when until when, as given and as instants in epoch milliseconds."""

    start: str
    end: str
    start_ms: int
    end_ms: int

    @property
    def iso(self) -> tuple[str, str]:
        """Both ends as Elasticsearch reads them."""
        return _iso(self.start_ms), _iso(self.end_ms)

    @property
    def shown(self) -> str:
        """For people, in UTC."""
        return f"{shown(self.start_ms)} to {shown(self.end_ms)} UTC"

    @property
    def presets(self) -> tuple[tuple[str, str], ...]:
        """Ranges that are one click away: label and start."""
        return PRESETS

    def filter(self, field: str) -> dict[str, Any]:
        """The range as a query."""
        start, end = self.iso
        return {"range": {field: {"gte": start, "lte": end, "format": "strict_date_optional_time"}}}


def time_range(backend: Backend, params: Mapping[str, str], default: tuple[str, str] = ("now-24h", "now")) -> TimeRange:
    """The range that ``from`` and ``to`` name, else Kibana's ``_g``, else the default.

    :raises KibanaError: 400 for what is no time
    """
    state = rison(params["_g"]) if params.get("_g") else {}
    given = state.get("time") if isinstance(state, dict) else None
    kept = given if isinstance(given, dict) else {}
    start = params.get("from") or str(kept.get("from") or default[0])
    end = params.get("to") or str(kept.get("to") or default[1])
    now = backend.clock.now_ms()
    try:
        found = TimeRange(start, end, bound(start, _FORMAT, UTC, now, round_up=False),
                          bound(end, _FORMAT, UTC, now, round_up=True))  # fmt: skip
    except Exception as error:
        raise bad_request(f"[{start}] to [{end}] is no time range: write now-24h, or 2026-01-31T12:00:00Z") from error
    if found.start_ms > found.end_ms:
        raise bad_request(f"The time range ends before it starts: {found.shown}")
    return found


def shown(ms: int) -> str:
    """An instant for people, in UTC; seconds only where there are some."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return moment.strftime("%Y-%m-%d %H:%M" if moment.second == 0 else "%Y-%m-%d %H:%M:%S")


def instant(text: str) -> int | None:
    """Epoch milliseconds of a date as ES|QL answers it."""
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (TypeError, ValueError):
        return None


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Rison (github.com/Nanonid/rison), as far as page states use it ------------------------------------------------------

_TOKEN: Final = re.compile(r"'((?:[^'!]|!.)*)'|([^'!:(),\s]+)")


def rison(text: str) -> Any:
    """A page state as a value.

    :raises KibanaError: 400 for a text that is none
    """
    try:
        value, at = _value(text, 0)
    except (IndexError, RecursionError):
        at = -1
    if at != len(text):
        raise bad_request(f"[{text[:200]}] is no page state")
    return value


def _value(text: str, at: int) -> tuple[Any, int]:
    if text.startswith("!(", at):
        items, at = [], at + 2
        while text[at] != ")":
            item, at = _value(text, at + (text[at] == ","))
            items.append(item)
        return items, at + 1
    if text[at] == "(":
        members, at = {}, at + 1
        while text[at] != ")":
            name, at = _value(text, at + (text[at] == ","))
            if text[at] != ":":
                raise IndexError
            members[str(name)], at = _value(text, at + 1)
        return members, at + 1
    if text[at] == "!":
        return {"t": True, "f": False, "n": None}.get(text[at + 1]), at + 2
    found = _TOKEN.match(text, at)
    if found is None:
        raise IndexError
    if found[1] is not None:
        return re.sub(r"!(.)", r"\1", found[1]), found.end()
    plain = found[2]
    return (float(plain) if re.fullmatch(r"-?\d+(\.\d+)?", plain) else plain), found.end()
