"""`/api/alerting`: rules over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.rule_types import TYPES
from elastic_sandbox.kibana.rules import shown
from elastic_sandbox.kibana.saved_objects import RULE
from elastic_sandbox.kibana.validation import (
    FLAG,
    TEXT,
    Field,
    allow,
    body_of,
    list_of,
    mapping,
    number,
    object_of,
    of_type,
    one_of,
)

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()

_WHENS: Final = ("onActionGroupChange", "onActiveAlert", "onThrottleInterval")
_NULLABLE_TEXT: Final = of_type(str, nullable=True)


def _nullable(check: Any) -> Any:
    return lambda value, path: None if value is None else check(value, path)


_FREQUENCY: Final = {
    "summary": Field(FLAG, required=True),
    "notify_when": Field(one_of(*_WHENS), required=True),
    "throttle": Field(_NULLABLE_TEXT),
}
_ACTION: Final = {
    "group": Field(TEXT),
    "id": Field(TEXT, required=True),
    "params": Field(mapping),
    "frequency": Field(object_of(_FREQUENCY)),
    "uuid": Field(TEXT),
    "alerts_filter": Field(mapping),
    "use_alert_data_for_template": Field(FLAG),
}
_FLAPPING: Final = {
    "look_back_window": Field(number(least=2, most=20), required=True),
    "status_change_threshold": Field(number(least=2, most=20), required=True),
    "enabled": Field(FLAG),
}
_ARTIFACTS: Final = {
    "dashboards": Field(list_of(object_of({"id": Field(TEXT, required=True)}))),
    "investigation_guide": Field(object_of({"blob": Field(TEXT, required=True)})),
}
_UPDATE: Final = {
    "name": Field(TEXT, required=True),
    "tags": Field(list_of(TEXT)),
    "schedule": Field(object_of({"interval": Field(TEXT, required=True)}), required=True),
    "throttle": Field(_NULLABLE_TEXT),
    "params": Field(mapping),
    "actions": Field(list_of(object_of(_ACTION))),
    "notify_when": Field(_nullable(one_of(*_WHENS))),
    "alert_delay": Field(object_of({"active": Field(number(least=1), required=True)})),
    "flapping": Field(_nullable(object_of(_FLAPPING))),
    "artifacts": Field(object_of(_ARTIFACTS)),
}
_CREATE: Final = {
    **_UPDATE,
    "consumer": Field(TEXT, required=True),
    "rule_type_id": Field(TEXT, required=True),
    "enabled": Field(FLAG),
    "template_id": Field(TEXT),
}


@routes.route("GET", "/api/alerting/rule_types")
def rule_types(backend: Backend, _request: Request) -> Response:
    """The types of rules, and whether the licence covers each."""
    return [kind.shown(backend) for kind in TYPES.values()]


@routes.route("POST", "/api/alerting/rule")
@routes.route("POST", "/api/alerting/rule/{id}")
def create_rule(backend: Backend, request: Request) -> Response:
    """Create a rule; 409 for an id that is taken, be it in another space."""
    body = _checked(backend, request, _CREATE)
    return shown(backend.kibana.rules.create(request.path_params.get("id"), body, request_of(request).space))


@routes.route("PUT", "/api/alerting/rule/{id}")
def update_rule(backend: Backend, request: Request) -> Response:
    """Update a rule; it stays switched on or off, and gets a new key."""
    body = _checked(backend, request, _UPDATE)
    return shown(backend.kibana.rules.update(request.path_params["id"], body, request_of(request).space))


@routes.route("GET", "/api/alerting/rule/{id}")
def get_rule(backend: Backend, request: Request) -> Response:
    """One rule with its status."""
    return shown(backend.kibana.objects.get(RULE, request.path_params["id"], request_of(request).space))


@routes.route("DELETE", "/api/alerting/rule/{id}")
def delete_rule(backend: Backend, request: Request) -> Response:
    """Delete a rule."""
    backend.kibana.rules.delete(request.path_params["id"], request_of(request).space)
    return 204, None


@routes.route("GET", "/api/alerting/rules/_find")
def find_rules(backend: Backend, request: Request) -> Response:
    """The rules of the space by name, in pages; a search is over name and tags."""
    allow(request, "page", "per_page", "search", "default_search_operator", "search_fields", "sort_field",
          "sort_order", "has_reference", "fields", "filter", "filter_consumers")  # fmt: skip
    for name in set(request.params) - {"page", "per_page"}:
        raise unsupported(f"parameter [{name}] of GET /api/alerting/rules/_find")
    page, size = _whole(request, "page", 1), _whole(request, "per_page", 10)
    found = [shown(saved) for saved in backend.kibana.objects.all(RULE, request_of(request).space)]
    start = (page - 1) * size
    return {"page": page, "per_page": size, "total": len(found), "data": found[start : start + size]}


@routes.route("POST", "/api/alerting/rule/{id}/_enable")
def enable_rule(backend: Backend, request: Request) -> Response:
    """Switch on."""
    backend.kibana.rules.enable(request.path_params["id"], request_of(request).space)
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/_disable")
def disable_rule(backend: Backend, request: Request) -> Response:
    """Switch off; with `untrack` its active alerts are marked so."""
    body = body_of(request, {"untrack": Field(FLAG, default=False)}, optional=True)
    untrack = bool(body.get("untrack"))
    backend.kibana.rules.disable(request.path_params["id"], request_of(request).space, untrack=untrack)
    return 204, None


@routes.route("POST", "/internal/alerting/rule/{id}/_run_soon")
def run_soon(backend: Backend, request: Request) -> Response:
    """Run now: 204, or 200 with the sentence that says why not."""
    allow(request, "force")
    said = backend.kibana.rules.run_soon(request.path_params["id"], request_of(request).space)
    return (204, None) if said is None else (200, said)


@routes.route("POST", "/api/alerting/rule/{id}/_update_api_key")
def update_api_key(backend: Backend, request: Request) -> Response:
    """Let the rule run with a new key, of whoever asks."""
    now = backend.clock.now_iso()
    _change(backend, request, updated_at=now, api_key_owner="elastic", api_key_created_by_user=False)
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/_mute_all")
def mute_all(backend: Backend, request: Request) -> Response:
    """Its alerts go on, its actions do not."""
    _change(backend, request, mute_all=True, muted_alert_ids=[])
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/_unmute_all")
def unmute_all(backend: Backend, request: Request) -> Response:
    """Let its actions run again."""
    _change(backend, request, mute_all=False, muted_alert_ids=[])
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/alert/{alert_id}/_mute")
def mute_alert(backend: Backend, request: Request) -> Response:
    """No actions for one alert."""
    _mute(backend, request, muted=True)
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/alert/{alert_id}/_unmute")
def unmute_alert(backend: Backend, request: Request) -> Response:
    """Actions again for one alert."""
    _mute(backend, request, muted=False)
    return 204, None


@routes.route("POST", "/api/alerting/rule/{id}/snooze_schedule")
def snooze(_backend: Backend, _request: Request) -> Response:
    """Not supported."""
    raise unsupported("POST /api/alerting/rule/{id}/snooze_schedule")


def _checked(backend: Backend, request: Request, fields: dict[str, Field]) -> dict[str, Any]:
    body = body_of(request, fields)
    flapping = body.get("flapping")
    if flapping is not None:
        if "enabled" in flapping and not backend.knows("kibana.flapping_enabled"):
            raise bad_request("[request body.flapping.enabled]: definition for this key is missing")
        if flapping["look_back_window"] < flapping["status_change_threshold"]:
            raise bad_request(
                "[request body.flapping]: Rule flapping settings are invalid: look back window "
                f"({flapping['look_back_window']}) must be equal to or greater than the status change threshold "
                f"({flapping['status_change_threshold']})"
            )
    return body


def _change(backend: Backend, request: Request, **attributes: Any) -> None:
    backend.kibana.rules.change(request.path_params["id"], request_of(request).space, **attributes)


def _mute(backend: Backend, request: Request, *, muted: bool) -> None:
    name, space = request.path_params["id"], request_of(request).space
    alert = request.path_params["alert_id"]
    with backend.lock:
        known = backend.kibana.objects.get(RULE, name, space)["attributes"]["muted_alert_ids"]
        kept = [one for one in known if one != alert]
        backend.kibana.rules.change(name, space, muted_alert_ids=[*kept, alert] if muted else kept)


def _whole(request: Request, name: str, default: int) -> int:
    value = request.params.get(name, str(default))
    if not value.isdigit() or int(value) < 1:
        raise bad_request(f"[request query.{name}]: expected value of type [number] but got [string]")
    return int(value)
