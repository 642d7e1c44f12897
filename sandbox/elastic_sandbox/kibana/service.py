"""The part of the backend that is Kibana."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana.alert_documents import AlertDocuments
from elastic_sandbox.kibana.alerts import Alert
from elastic_sandbox.kibana.rules import STATE, Rules
from elastic_sandbox.kibana.saved_objects import SavedObjects
from elastic_sandbox.kibana.scheduler import Scheduler

if TYPE_CHECKING:
    import threading

    from elastic_sandbox.backend import Backend

_KEPT: Final = 200


class Kibana:
    """`backend.kibana`: saved objects, rules and what they did.

    :ivar server_log: level and message of the newest `.server-log` executions
    :ivar failed_actions: rule, alert and answer of the newest actions that failed
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.objects = SavedObjects(backend)
        self.rules = Rules(backend)
        self.documents = AlertDocuments(backend)
        self.scheduler = Scheduler(backend)
        self.server_log: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self.failed_actions: deque[tuple[str, str, dict[str, Any]]] = deque(maxlen=_KEPT)

    def resume(self) -> None:
        """Go on with what was there before the process ended; called once all parts exist."""
        self.scheduler.resume()

    def halt(self) -> list[threading.Thread]:
        """Stop running rules; the threads that end by and by."""
        return self.scheduler.halt()

    def untrack(self, rule: str) -> None:
        """Mark the alerts of a rule that is switched off as no longer looked after."""
        state = self._backend.state.get(STATE, rule) or {}
        alerts = {name: Alert.load(name, document) for name, document in state.get("active", {}).items()}
        self.documents.untrack(alerts, self._backend.clock.now_iso())

    def reset(self) -> None:
        """Forget what was logged; everything else went with the cluster state."""
        self.server_log.clear()
        self.failed_actions.clear()

    def close(self) -> None:
        """Nothing is held open."""
