"""The one clock of the sandbox: real time plus whatever a test added, or a moment that stands still."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime


class Clock:
    """What every part asks for the time, so that a test can move all of them at once."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._offset_ms = 0
        self._frozen_ms: int | None = None

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        if self._frozen_ms is not None:
            return self._frozen_ms
        return time.time_ns() // 1_000_000 + self._offset_ms

    def now(self) -> datetime:
        """The same moment as an aware UTC datetime."""
        return datetime.fromtimestamp(self.now_ms() / 1000, UTC)

    def now_iso(self) -> str:
        """The same moment as Elasticsearch prints it: ``2026-01-31T12:00:00.000Z``."""
        return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def advance(self, seconds: float) -> None:
        """Move forward; sleepers whose moment has come wake up."""
        with self._moved:
            if self._frozen_ms is not None:
                self._frozen_ms += int(seconds * 1000)
            else:
                self._offset_ms += int(seconds * 1000)
            self._moved.notify_all()

    def freeze(self, at: datetime | None = None) -> None:
        """Stand still, at ``at`` (aware) or now, until :meth:`advance`, :meth:`set` or :meth:`reset`."""
        with self._moved:
            self._frozen_ms = self.now_ms() if at is None else int(at.timestamp() * 1000)
            self._moved.notify_all()

    def set(self, at: datetime) -> None:
        """Jump to ``at`` (aware) and run on from there; a frozen clock stays frozen."""
        with self._moved:
            target = int(at.timestamp() * 1000)
            if self._frozen_ms is not None:
                self._frozen_ms = target
            else:
                self._offset_ms = target - time.time_ns() // 1_000_000
            self._moved.notify_all()

    def reset(self) -> None:
        """Back to real time."""
        with self._moved:
            self._offset_ms = 0
            self._frozen_ms = None
            self._moved.notify_all()

    def sleep(self, seconds: float) -> None:
        """Return when this clock has passed ``seconds`` from now, by itself or because a test moved it."""
        until = self.now_ms() + seconds * 1000
        with self._moved:
            while (left := until - self.now_ms()) > 0:
                self._moved.wait(None if self._frozen_ms is not None else left / 1000)


class Poll:
    """A moment that comes again every ``seconds`` of a clock; whoever asks after it passed is told so once."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._interval_ms = int(seconds * 1000)
        self.restart()

    def restart(self) -> None:
        """The next moment is one interval from now."""
        self._next_ms = self._clock.now_ms() + self._interval_ms

    def due(self) -> int:
        """How often the moment has come since it was asked for; then the next one is an interval from now."""
        now = self._clock.now_ms()
        # A clock that was set back must not wait until it is where it was.
        self._next_ms = min(self._next_ms, now + self._interval_ms)
        if now < self._next_ms:
            return 0
        passed = 1 + (now - self._next_ms) // self._interval_ms
        self.restart()
        return passed
