"""Which days the tour covers, kept so that a second tour covers the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from demo.sessions import TourError

HISTORY_DAYS = 14
TRAIN_WINDOW, HOLDOUT_WINDOW, LABEL_DELAY = 9, 3, 2
# Verdicts on a day come up to 40 hours after it.
_FOLLOWING = 2
_RENEW_AFTER = 10


@dataclass(frozen=True)
class Days:
    """Fourteen days of history, the day that the models are trained for (`last`), and those since.

    :param until: the newest day that is over.
    """

    last: date
    until: date | None = field(default=None, compare=False)

    @property
    def history(self) -> list[date]:
        """The fourteen days that are backfilled, oldest first."""
        return [self.last - timedelta(days=n) for n in range(HISTORY_DAYS, 0, -1)]

    @property
    def holdout(self) -> list[date]:
        """The days on which the model is judged: they end LABEL_DELAY days before the day of training."""
        end = self.last - timedelta(days=LABEL_DELAY)
        return [end - timedelta(days=n) for n in range(HOLDOUT_WINDOW, 0, -1)]

    @property
    def live(self) -> list[date]:
        """The days that are scored as they arrive: `last`, and those since, which bring the verdicts on it."""
        newest = max(self.last, self.until or self.last)
        return [self.last + timedelta(days=n) for n in range((newest - self.last).days + 1)]


def choose_days(folder: Path, today: date | None = None) -> tuple[Days, bool]:
    """Return the tour's days and whether an older tour had to be given up.

    The last day is kept in ``<folder>/anchor.json``. One older than ten days would soon count as history, so the
    folder is cleared and the tour begins anew.

    :raises TourError: the file holds something else.
    """
    today = today or datetime.now(UTC).date()
    until = today - timedelta(days=1)
    anchor = folder / "anchor.json"
    renewed = False
    if anchor.exists():
        kept = _last_day(anchor)
        if today - kept <= timedelta(days=_RENEW_AFTER) and kept < today:
            return Days(kept, until), False
        shutil.rmtree(folder)
        renewed = True
    # Airflow's database and its logs are nobody else's.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    last = until - timedelta(days=_FOLLOWING)
    # Whole or not at all: a full disk or a kill must not leave half a date.
    partial = anchor.with_suffix(".partial")
    partial.write_text(json.dumps({"last_day": last.isoformat()}))
    partial.replace(anchor)
    return Days(last, until), renewed


def _last_day(anchor: Path) -> date:
    try:
        return date.fromisoformat(json.loads(anchor.read_text())["last_day"])
    except (ValueError, TypeError, KeyError) as error:
        raise TourError(
            f"{anchor} does not hold the demo's last day ({error}): run `make clean`, then the demo again."
        ) from error
