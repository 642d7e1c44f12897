"""Who is told of a rule's alerts: the actions of a rule, alert by alert.

Conditions: task_runner/action_scheduler/schedulers/per_alert_action_scheduler.ts of the alerting plugin. Summaries and
alert filters are not supported: a rule that has one is refused when it is written.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana import mustache
from elastic_sandbox.kibana.connectors import execute
from elastic_sandbox.kibana.rule_types import MATCHED, RECOVERED, TYPES, seconds_of
from elastic_sandbox.kibana.saved_objects import CONNECTOR

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.kibana.alerts import Alert, Outcome

log = logging.getLogger(__name__)
_GROUP_NAMES = {MATCHED: "Query matched", RECOVERED: "Recovered"}


def notify(backend: Backend, rule: dict[str, Any], space: str, found: Outcome, now: datetime) -> int:
    """Run the actions that this run's alerts call for; returns how many ran.

    :param rule: the rule's attributes with its id
    """
    if rule["mute_all"]:
        return 0
    ran = 0
    for action in rule["actions"]:
        alerts = found.recovered if action["group"] == RECOVERED else found.active
        for name, alert in alerts.items():
            if name in rule["muted_alert_ids"] or not _wanted(rule, action, alert, now):
                continue
            _run(backend, rule, space, action, alert, now)
            ran += 1
            if action["group"] != RECOVERED:
                alert.last_group = MATCHED
                alert.last_actions[action["uuid"]] = now.isoformat()
    return ran


def _wanted(rule: dict[str, Any], action: dict[str, Any], alert: Alert, now: datetime) -> bool:
    frequency = action.get("frequency") or {"notify_when": rule["notify_when"], "throttle": rule["throttle"]}
    when = frequency["notify_when"]
    if alert.pending_recovered > 0 and when != "onActionGroupChange":
        return False
    if action["group"] == RECOVERED:
        return True
    if when == "onActionGroupChange":
        return alert.last_group != MATCHED
    last = alert.last_actions.get(action["uuid"])
    if when == "onThrottleInterval" and last is not None and alert.last_group == MATCHED:
        return datetime.fromisoformat(last) + timedelta(seconds=seconds_of(frequency["throttle"])) <= now
    return True


def _run(
    backend: Backend, rule: dict[str, Any], space: str, action: dict[str, Any], alert: Alert, now: datetime
) -> None:
    saved = backend.kibana.objects.find(CONNECTOR, action["id"], space)
    if saved is None:
        log.warning("rule %s: connector %s does not exist any more", rule["id"], action["id"])
        return
    params = mustache.render(action["params"], variables(rule, space, action["group"], alert, now))
    try:
        answer = execute(backend, saved, params)
    except ElasticError as error:
        answer = {"status": "error", "message": error.reason}
    if answer["status"] != "ok":
        backend.kibana.failed_actions.append((rule["id"], alert.id, answer))
        log.warning("rule %s, alert %s: %s", rule["id"], alert.id, answer.get("service_message", answer["message"]))


def variables(rule: dict[str, Any], space: str, group: str, alert: Alert, now: datetime) -> dict[str, Any]:
    """What action parameters can name (task_runner/transform_action_params.ts)."""
    when = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    about = {
        "id": rule["id"],
        "name": rule["name"],
        "type": rule["rule_type_id"],
        "spaceId": space,
        "tags": rule["tags"],
        "params": rule["params"],
    }
    return {
        "date": when,
        "rule": about,
        "alert": {
            "id": alert.id,
            "uuid": alert.uuid,
            "actionGroup": group,
            "actionGroupName": _GROUP_NAMES[group],
            "flapping": alert.flapping,
            "consecutiveMatches": alert.active_count,
        },
        "context": alert.context,
        "state": {"start": alert.start, "duration": str(alert.duration_ms * 1_000_000)},
        "params": rule["params"],
        "spaceId": space,
        "tags": rule["tags"],
        "alertId": rule["id"],
        "alertName": rule["name"],
        "alertInstanceId": alert.id,
        "alertActionGroup": group,
        "alertActionGroupName": _GROUP_NAMES[group],
    }


def groups_of(rule_type_id: str) -> set[str]:
    """The groups that an action of this type of rule may name."""
    return {group for group, _ in TYPES[rule_type_id].groups} | {RECOVERED}
