"""Rules: how they are kept, checked and changed. They are `alert` saved objects.

Checks and their words: application/rule/methods/{create,update,enable,disable,run_soon} and rules_client/lib/
validate_actions.ts of the alerting plugin.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana import mustache
from elastic_sandbox.kibana.actions import groups_of
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.rule_types import checked_params, seconds_of, type_of
from elastic_sandbox.kibana.saved_objects import CONNECTOR, RULE, SavedObject

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

STATE: Final = "kibana_rule_state"
"""Kind of what a rule remembers between runs, which Kibana keeps in the rule's task."""
_LEAST_ON_SERVERLESS: Final = 60
# An update that changes one of these raises the revision (rules_client/lib/increment_revision.ts).
_REVISED: Final = ("name", "tags", "schedule", "params", "actions", "throttle", "notify_when", "alert_delay",
                   "flapping", "artifacts")  # fmt: skip
_USER: Final = "elastic"


class Rules:
    """The rules of all spaces."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def create(self, name: str | None, body: dict[str, Any], space: str) -> SavedObject:
        """Create a rule; an enabled one runs at once."""
        backend = self._backend
        kind = type_of(backend, body["rule_type_id"], body["consumer"])
        params = checked_params(body.get("params", {}))
        self._check_interval(body["schedule"]["interval"], "creating")
        actions = self._actions(body, space, kind.id)
        now = backend.clock.now_iso()
        enabled = body.get("enabled", True)
        attributes: dict[str, Any] = {
            "name": body["name"],
            "tags": body.get("tags", []),
            "rule_type_id": kind.id,
            "consumer": body["consumer"],
            "schedule": {"interval": body["schedule"]["interval"]},
            "params": params,
            "actions": actions,
            "enabled": enabled,
            "throttle": body.get("throttle"),
            "notify_when": _notify_when(body),
            "mute_all": False,
            "muted_alert_ids": [],
            "revision": 0,
            "created_by": _USER,
            "updated_by": _USER,
            "created_at": now,
            "updated_at": now,
            "api_key_owner": _USER if enabled else None,
            "api_key_created_by_user": False if enabled else None,
            "execution_status": {"status": "pending", "last_execution_date": now},
            **{key: body[key] for key in ("alert_delay", "flapping", "artifacts") if body.get(key) is not None},
        }
        with backend.lock:
            saved = backend.kibana.objects.create(RULE, attributes, space, name=name)
            backend.kibana.documents.install()
            if enabled:
                self._schedule(saved)
        return saved

    def update(self, name: str, body: dict[str, Any], space: str) -> SavedObject:
        """Replace what can be replaced; what is left out goes back to its default."""
        backend = self._backend
        with backend.lock:
            saved = backend.kibana.objects.get(RULE, name, space)
            attributes = saved["attributes"]
            kind = type_of(backend, attributes["rule_type_id"], attributes["consumer"])
            params = checked_params(body.get("params", {}))
            self._check_interval(body["schedule"]["interval"], "updating")
            changed = {
                "name": body["name"],
                "tags": body.get("tags", []),
                "schedule": {"interval": body["schedule"]["interval"]},
                "params": params,
                "actions": self._actions(body, space, kind.id),
                "throttle": body.get("throttle"),
                "notify_when": _notify_when(body),
                "artifacts": body.get("artifacts") or {},
            }
            for key in ("alert_delay", "flapping"):
                # Not given, they stay as they are: the new attributes are laid over the old ones.
                if key in body:
                    changed[key] = body[key]
            before = {key: attributes.get(key) or None for key in _REVISED}
            attributes.update(changed)
            if before != {key: attributes.get(key) or None for key in _REVISED}:
                attributes["revision"] += 1
            attributes.update(updated_at=backend.clock.now_iso(), updated_by=_USER)
            saved = backend.kibana.objects.write(saved)
            if attributes["enabled"] and before["schedule"] != attributes["schedule"]:
                self._reschedule(saved)
        return saved

    def enable(self, name: str, space: str) -> None:
        """Switch on: it runs at once, with a new key."""
        backend = self._backend
        with backend.lock:
            saved = backend.kibana.objects.get(RULE, name, space)
            attributes = saved["attributes"]
            if attributes["enabled"]:
                return
            now = backend.clock.now_iso()
            attributes.update(enabled=True, updated_at=now, updated_by=_USER, api_key_owner=_USER)
            attributes.update(api_key_created_by_user=False)
            attributes["execution_status"] = {"status": "pending", "last_execution_date": now}
            self._schedule(backend.kibana.objects.write(saved))

    def disable(self, name: str, space: str, *, untrack: bool) -> None:
        """Switch off, and forget what was active."""
        backend = self._backend
        with backend.lock:
            saved = backend.kibana.objects.get(RULE, name, space)
            attributes = saved["attributes"]
            if untrack:
                backend.kibana.untrack(name)
            if attributes["enabled"]:
                attributes.update(enabled=False, updated_at=backend.clock.now_iso(), updated_by=_USER)
                attributes.pop("next_run", None)
                backend.kibana.objects.write(saved)
                backend.state.delete(STATE, name)

    def delete(self, name: str, space: str) -> None:
        """Delete; its alert documents stay."""
        with self._backend.lock:
            self._backend.kibana.objects.delete(RULE, name, space)
            self._backend.state.delete(STATE, name)

    def run_soon(self, name: str, space: str) -> str | None:
        """Let it run with the next look of the scheduler; a sentence where it will not."""
        with self._backend.lock:
            saved = self._backend.kibana.objects.get(RULE, name, space)
            if not saved["attributes"]["enabled"]:
                return "Error running rule: rule is disabled"
            state = self._backend.state.get(STATE, name) or {}
            self._backend.state.put(STATE, name, {**state, "next_run_ms": self._backend.clock.now_ms()})
        self._backend.kibana.scheduler.wake()
        return None

    def change(self, name: str, space: str, **attributes: Any) -> SavedObject:
        """Set attributes that are no part of the rule's definition: muting, a new key."""
        return self._backend.kibana.objects.update(RULE, name, space, lambda known: known.update(attributes))

    # Checks ---------------------------------------------------------------------------------------------------------

    def _check_interval(self, interval: str, doing: str) -> None:
        if seconds_of(interval) < _LEAST_ON_SERVERLESS and self._backend.flavor == "serverless":
            raise bad_request(f"Error {doing} rule: the interval is less than the allowed minimum interval of 1m")

    def _actions(self, body: dict[str, Any], space: str, kind: str) -> list[dict[str, Any]]:
        actions = body.get("actions", [])
        problems = []
        types = {}
        for action in actions:
            if "alerts_filter" in action or action.get("use_alert_data_for_template"):
                raise unsupported("alerts_filter and use_alert_data_for_template of a rule's action")
            if "group" not in action:
                raise bad_request(f"Group is not defined in action {action['id']}")
            connector = self._backend.kibana.objects.find(CONNECTOR, action["id"], space)
            if connector is None:
                raise bad_request(
                    f"Failed to load action {action['id']} (404): Saved object [action/{action['id']}] not found"
                )
            types[action["id"]] = connector["attributes"]["actionTypeId"]
            mustache.check(action.get("params", {}))
        unknown = [action["group"] for action in actions if action["group"] not in groups_of(kind)]
        if unknown:
            problems.append(f"Invalid action groups: {', '.join(unknown)}")
        problems += _frequency_problems(body, actions)
        if problems:
            said = problems[0] if len(problems) == 1 else "\n- ".join(["", *problems]).strip()
            count = "error:" if len(problems) == 1 else f"{len(problems)} errors:"
            raise bad_request(f"Failed to validate actions due to the following {count} {said}")
        return [
            {
                "group": action["group"],
                "id": action["id"],
                "params": action.get("params", {}),
                "connector_type_id": types[action["id"]],
                **({"frequency": {"throttle": None, **action["frequency"]}} if action.get("frequency") else {}),
                "uuid": action.get("uuid") or str(uuid.uuid4()),
            }
            for action in actions
        ]

    # Schedule -------------------------------------------------------------------------------------------------------

    def _schedule(self, saved: SavedObject) -> None:
        now = self._backend.clock.now_ms()
        self._backend.state.put(STATE, saved["id"], {"next_run_ms": now})
        self._backend.kibana.scheduler.wake()

    def _reschedule(self, saved: SavedObject) -> None:
        state = self._backend.state.get(STATE, saved["id"]) or {}
        last = state.get("last_run_ms", self._backend.clock.now_ms())
        state["next_run_ms"] = last + seconds_of(saved["attributes"]["schedule"]["interval"]) * 1000
        self._backend.state.put(STATE, saved["id"], state)
        self._backend.kibana.scheduler.wake()


def _notify_when(body: dict[str, Any]) -> str | None:
    """getRuleNotifyWhenType: a throttle of the rule stands for onThrottleInterval."""
    if body.get("notify_when"):
        return str(body["notify_when"])
    return "onThrottleInterval" if body.get("throttle") else None


def _frequency_problems(body: dict[str, Any], actions: list[dict[str, Any]]) -> list[str]:
    problems = []
    if body.get("notify_when") or body.get("throttle"):
        both = [action["group"] for action in actions if action.get("frequency")]
        if both:
            problems.append(
                "Cannot specify per-action frequency params when notify_when or throttle are defined at the rule "
                f"level: {', '.join(both)}"
            )
        return problems
    without = [action["group"] for action in actions if not action.get("frequency")]
    if without:
        problems.append(f"Actions missing frequency parameters: {', '.join(without)}")
    interval = seconds_of(body["schedule"]["interval"])
    short = []
    for action in actions:
        frequency = action.get("frequency") or {}
        if frequency.get("summary"):
            raise unsupported("an action that sends summaries (frequency.summary)")
        if frequency.get("notify_when") == "onThrottleInterval" and seconds_of(frequency["throttle"]) < interval:
            short.append(f"{action['group']} ({frequency['throttle']})")
    if short:
        problems.append(
            "Action frequency cannot be shorter than the schedule interval of "
            f"{body['schedule']['interval']}: {', '.join(short)}"
        )
    return problems


def shown(saved: SavedObject) -> dict[str, Any]:
    """A rule as the API shows it (routes/rule/transforms/transform_rule_to_rule_response)."""
    attributes = {key: value for key, value in saved["attributes"].items() if value is not None or key in _NULLABLE}
    task = {"scheduled_task_id": saved["id"]} if attributes["enabled"] else {}
    return {"id": saved["id"], **attributes, **task, "running": False}


_NULLABLE: Final = frozenset({"throttle", "notify_when", "api_key_owner", "api_key_created_by_user", "created_by",
                              "updated_by"})  # fmt: skip
