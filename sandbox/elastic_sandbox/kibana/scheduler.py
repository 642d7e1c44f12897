"""When rules run: Kibana's task manager, by the sandbox's clock.

A rule runs at once when it is switched on, then an interval after each start. What was missed while the clock jumped is
run once, not once per interval.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from elastic_sandbox.kibana.rule_run import run
from elastic_sandbox.kibana.rules import STATE
from elastic_sandbox.kibana.saved_objects import RULE

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

log = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 0.05


class Scheduler:
    """One thread that runs what is due; it exists while there is a rule to run.

    :ivar by_hand: set by tests that call :meth:`run_due` themselves: the thread then runs nothing
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.by_hand = False
        self._running = threading.Lock()
        """Held while rules run, so that a test that runs them itself and the thread never do at once."""
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._woken = threading.Event()

    def wake(self) -> None:
        """Look now; called when a rule was switched on, changed, or is to run soon."""
        with self._guard:
            if self._thread is None or not self._thread.is_alive():
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._work, args=(self._stop,), name="kibana-rules", daemon=True)
                self._thread.start()
        self._woken.set()

    def resume(self) -> None:
        """Go on with the rules of a data directory."""
        if self._backend.state.names(STATE):
            self.wake()

    def halt(self) -> list[threading.Thread]:
        """Stop; the thread that ends by and by, if there is one."""
        self.by_hand = False
        with self._guard:
            thread, self._thread = self._thread, None
            self._stop.set()
            self._woken.set()
        return [] if thread is None else [thread]

    def run_due(self) -> int:
        """Run every rule whose time has come, one after another; returns how many."""
        ran = 0
        with self._running:
            for name, state in self._backend.state.items(STATE):
                saved = self._backend.kibana.objects.anywhere(RULE, name)
                due = state.get("next_run_ms", 0) <= self._backend.clock.now_ms()
                if due and saved is not None and saved["attributes"]["enabled"] and not self._stop.is_set():
                    run(self._backend, saved)
                    ran += 1
        return ran

    def _work(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._woken.clear()
            try:
                if not self.by_hand:
                    self.run_due()
            except Exception:
                if stop.is_set():  # the cluster was reset or closed under it
                    return
                log.exception("the rules could not be run")
            self._woken.wait(_LOOK_SECONDS)
