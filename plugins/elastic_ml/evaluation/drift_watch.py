"""When drift is worth a new training: not after one bad day, and not every day while the answer is on its way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

AGAIN_AFTER = timedelta(days=7)
"""How long one request for a training holds; a champion that still drifts then is asked for once more."""

Judged = tuple[date, bool]
"""A day, and whether the feature was beyond its limit."""


def days_in_a_row(history: Iterable[Judged], until: date) -> int:
    """Return for how many judged days in a row, up to `until`, a feature has been beyond its limit.

    A day that could not be judged (no events, an outage) neither counts nor ends the row.
    """
    row = 0
    for _, breached in sorted(((day, breached) for day, breached in history if day <= until), reverse=True):
        if not breached:
            break
        row += 1
    return row


def lasting(histories: Mapping[str, Sequence[Judged]], until: date, days: int) -> list[str]:
    """Return the features that have been beyond their limits for at least `days` judged days in a row.

    :param histories: feature → its judged days, in any order.
    """
    return sorted(feature for feature, history in histories.items() if days_in_a_row(history, until) >= days)


def asked_lately(asked: Iterable[date], day: date) -> date | None:
    """Return the newest day before `day` on which a training was asked for and which still holds, else None."""
    return max((earlier for earlier in asked if day - AGAIN_AFTER < earlier < day), default=None)
