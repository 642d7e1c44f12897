"""The life of a rule's alerts from run to run: new, ongoing, recovered, delayed, flapping.

The steps and their order are those of the alerting plugin of Kibana 9.x
(x-pack/platform/plugins/shared/alerting/server): lib/process_alerts.ts,
lib/flapping/determine_flapping_alerts.ts, lib/determine_delayed_alerts.ts,
lib/flapping/optimize_task_state_for_flapping.ts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

DEFAULT_FLAPPING: Final = {"enabled": True, "look_back_window": 20, "status_change_threshold": 4}


@dataclass
class Alert:
    """One alert of a rule.

    :param id: what the rule calls it: the values that its row was grouped by
    :param start: when it became active
    :param history: one entry per run: whether the alert changed between active and recovered
    """

    id: str
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    start: str | None = None
    end: str | None = None
    duration_ms: int = 0
    flapping: bool = False
    history: list[bool] = field(default_factory=list)
    active_count: int = 0
    pending_recovered: int = 0
    last_group: str | None = None
    last_actions: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    reported: bool = False

    @classmethod
    def load(cls, name: str, document: dict[str, Any]) -> Alert:
        """From what :meth:`saved` gave."""
        return cls(name, **document)

    def saved(self, *, recovered: bool = False) -> dict[str, Any]:
        """What the next run needs; of a recovered alert only what flapping looks at."""
        kept: dict[str, Any] = {"uuid": self.uuid, "flapping": self.flapping, "history": self.history}
        if recovered:
            return {**kept, "active_count": self.active_count}
        return {
            **kept,
            "start": self.start,
            "duration_ms": self.duration_ms,
            "active_count": self.active_count,
            "pending_recovered": self.pending_recovered,
            "last_group": self.last_group,
            "last_actions": self.last_actions,
        }


@dataclass
class Outcome:
    """What a run made of a rule's alerts.

    :param new: alerts that start to be told of now; they are in ``active`` too
    :param tracked_active: what the next run takes for active: delayed ones included
    :param tracked_recovered: recovered alerts that flapping still looks at
    """

    new: dict[str, Alert]
    active: dict[str, Alert]
    recovered: dict[str, Alert]
    tracked_active: dict[str, Alert]
    tracked_recovered: dict[str, Alert]


def next_alerts(
    existing: dict[str, Alert],
    before: dict[str, Alert],
    reported: dict[str, dict[str, Any]],
    now: str,
    *,
    flapping: dict[str, Any],
    delay: int,
    limit_reached: bool = False,
) -> Outcome:
    """Take a run's reports into the rule's alerts.

    :param existing: active after the last run
    :param before: recovered in earlier runs and still looked at
    :param reported: contexts by alert id
    :param delay: how many runs in a row an alert must be active until anybody is told
    :param limit_reached: then nothing recovers, since it may only have been cut off
    """
    found = _processed(existing, reported, now, limit_reached=limit_reached)
    for alert in (*found.active.values(), *found.recovered.values()):
        alert.flapping = _is_flapping(alert, flapping)
    _write_history(found, before, flapping)
    _hold_flapping(found, flapping)
    _delay(found, delay, now)
    for name, alert in list(found.tracked_recovered.items()):
        if not alert.flapping and not any(alert.history):
            del found.tracked_recovered[name]
    return found


def _processed(
    existing: dict[str, Alert], reported: dict[str, dict[str, Any]], now: str, *, limit_reached: bool
) -> Outcome:
    new: dict[str, Alert] = {}
    active: dict[str, Alert] = {}
    recovered: dict[str, Alert] = {}
    for name, context in reported.items():
        alert = existing.get(name)
        if alert is None:
            alert = new[name] = Alert(name, start=now)
        alert.context, alert.reported = context, True
        active[name] = alert
    for name, alert in existing.items():
        if alert.start is not None:
            alert.duration_ms = _ms_between(alert.start, now)
        if name not in reported:
            if limit_reached:
                active[name] = alert
            else:
                alert.end = now
                recovered[name] = alert
    return Outcome(new, active, recovered, {}, {})


def _write_history(found: Outcome, before: dict[str, Alert], settings: dict[str, Any]) -> None:
    waiting = dict(before)
    for name, alert in found.active.items():
        found.tracked_active[name] = alert
        again = waiting.pop(name, None) if name in found.new else None
        if again is not None:
            alert.history = again.history
        _remember(alert, name in found.new, settings)
    for name, alert in found.recovered.items():
        found.tracked_recovered[name] = alert
        _remember(alert, True, settings)
    for name, alert in waiting.items():
        found.tracked_recovered[name] = alert
        _remember(alert, False, settings)


def _hold_flapping(found: Outcome, settings: dict[str, Any]) -> None:
    """A flapping alert recovers only after it was gone for some runs in a row."""
    for alert in found.active.values():
        alert.pending_recovered = 0
    for name, alert in list(found.recovered.items()):
        if not alert.flapping:
            continue
        alert.pending_recovered += 1
        if alert.pending_recovered < settings["status_change_threshold"]:
            alert.end = None
            found.active[name] = found.tracked_active[name] = alert
            del found.recovered[name], found.tracked_recovered[name]
        else:
            alert.pending_recovered = 0


def _delay(found: Outcome, delay: int, now: str) -> None:
    for name, alert in list(found.active.items()):
        alert.active_count += 1
        if alert.active_count < delay:
            found.new.pop(name, None)
            del found.active[name]
        elif alert.active_count == delay:
            alert.start, alert.duration_ms = now, 0
            found.new[name] = alert
    for name, alert in list(found.recovered.items()):
        if alert.active_count < delay:
            del found.recovered[name], found.tracked_recovered[name]
        alert.active_count = 0


def _remember(alert: Alert, changed: bool, settings: dict[str, Any]) -> None:
    if settings["enabled"]:
        alert.history = [*alert.history, changed][-settings["look_back_window"] :]


def _is_flapping(alert: Alert, settings: dict[str, Any]) -> bool:
    if not settings["enabled"]:
        return False
    changes = sum(alert.history)
    if alert.flapping:
        return not (len(alert.history) >= settings["look_back_window"] and changes == 0)
    return bool(changes >= settings["status_change_threshold"])


def _ms_between(start: str, end: str) -> int:
    return int((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() * 1000)
