"""Rules, connectors and data views of Kibana, brought to a wanted state: read, compared, and only then written.

Nothing here deletes, or switches on what a person switched off, unless it is asked to. What this Kibana cannot take
(version, flavor, licence, privilege) is an error that says so, before anything is written.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal
from urllib.parse import quote

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.exceptions import (
    ConflictError,
    ElasticMLError,
    InvalidRequestError,
    LicenseError,
    NotFoundError,
    UnavailableError,
    VersionError,
)

State = Literal["created", "changed", "unchanged", "deleted", "absent"]
JSON = Mapping[str, Any]

RULES, CONNECTORS, DATA_VIEWS = "/api/alerting/rule", "/api/actions/connector", "/api/data_views/data_view"
# What a rule's body may hold only since a version of Kibana.
RULE_FIELDS_SINCE = {("flapping", "enabled"): (9, 3)}
# What Kibana adds to the parameters of a rule (response-ops/rule_params/es_query/v1.ts).
PARAMS_DEFAULTS: dict[str, dict[str, Any]] = {
    ".es-query": {
        "aggType": "count",
        "excludeHitsFromPreviousRun": True,
        "groupBy": "all",
        "searchType": "esQuery",
    },
}
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_DATA_VIEW_FIELDS = ("fieldFormats", "name", "runtimeFieldMap", "sourceFilters", "timeFieldName", "title")
"""What an update of a data view changes; Kibana ignores the rest."""


@dataclass(frozen=True)
class Change:
    """What became of one object.

    :param kind: ``rule``, ``connector`` or ``data view``.
    :param id: its id.
    :param state: ``created``, ``changed``, ``unchanged``, ``deleted`` or ``absent`` (it was to be deleted and is not
        there).
    :param detail: what differed, or what was left as it is and why.
    """

    kind: str
    id: str
    state: State
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """JSON-able, for an XCom or a table."""
        return asdict(self)


# Rules --------------------------------------------------------------------------------------------------------------


def upsert_rule(client: KibanaClient, rule_id: str, body: JSON, *, enforce_enabled: bool = False) -> Change:
    """Create a rule, or update what differs.

    :param rule_id: its id; any text, taken in all spaces at once.
    :param body: what ``POST /api/alerting/rule/{id}`` takes. ``enabled`` counts when the rule is created.
    :param enforce_enabled: also switch an existing rule on or off as the body says. Otherwise it stays as it is.
    :raises ConflictError: the id belongs to a rule of another type or consumer, or to a rule in another space.
    :raises LicenseError: the licence does not contain the type of rule.
    :raises VersionError: this Kibana has no such type of rule, or knows a part of the body only since a later version.
    :raises NotFoundError: a connector of its actions does not exist.
    """
    client.require_space()
    actual = _found(client, RULES, rule_id)
    if actual is None:
        _check_rule(client, rule_id, body)
        if not _create(client, RULES, "rule", rule_id, dict(body)):
            return upsert_rule(client, rule_id, body, enforce_enabled=enforce_enabled)
        return Change("rule", rule_id, "created", "" if body.get("enabled", True) else "switched off")
    for name in ("rule_type_id", "consumer"):
        if actual[name] != body[name]:
            raise ConflictError(
                f"Kibana's rule {rule_id} has {name} {actual[name]!r}, wanted is {body[name]!r}, which cannot be "
                "changed.",
                remedy="Choose another id, or delete that rule first.",
            )
    wanted = _rule_of(body)
    found = differences(wanted, _comparable_rule(actual, wanted))
    if found:
        _check_rule(client, rule_id, body)
        wanted["actions"] = _with_uuids(wanted["actions"], actual.get("actions", []))
        client.request("PUT", f"{RULES}/{quote(rule_id, safe='')}", body=wanted)
    enabled = body.get("enabled", True)
    if enabled != actual["enabled"]:
        if enforce_enabled:
            verb = "_enable" if enabled else "_disable"
            client.request("POST", f"{RULES}/{quote(rule_id, safe='')}/{verb}")
            found.append(f"enabled: {json.dumps(actual['enabled'])} → {json.dumps(enabled)}")
        else:
            state = "on" if actual["enabled"] else "off"
            left = f"left switched {state}, as it was found"
            return Change("rule", rule_id, "changed" if found else "unchanged", "; ".join([*found, left]))
    return Change("rule", rule_id, "changed" if found else "unchanged", "; ".join(found))


def run_rule_soon(client: KibanaClient, rule_id: str) -> None:
    """Let a rule run now, without waiting for its schedule.

    :raises ConflictError: it is switched off, or running already.
    """
    said = client.request("POST", f"/internal/alerting/rule/{quote(rule_id, safe='')}/_run_soon")
    if said:
        raise ConflictError(f"Kibana's rule {rule_id} did not run: {said}.", remedy="Switch it on first.")


def delete_rule(client: KibanaClient, rule_id: str) -> Change:
    """Delete a rule; its alert documents stay."""
    return _delete(client, RULES, "rule", rule_id)


def _check_rule(client: KibanaClient, rule_id: str, body: JSON) -> None:
    for (name, part), since in RULE_FIELDS_SINCE.items():
        if part in (body.get(name) or {}) and client.facts().version < since:
            raise VersionError(
                f"Rule {rule_id} sets {name}.{part}, which Kibana knows since {'.'.join(map(str, since))}.",
                remedy="Leave it out for this Kibana.",
            )
    kind = body["rule_type_id"]
    types = {one["id"]: one for one in client.request("GET", "/api/alerting/rule_types")}
    _check_type("rule type", kind, types.get(kind))
    needed = {action["id"] for action in body.get("actions", [])}
    if needed:
        there = {one["id"] for one in client.request("GET", "/api/actions/connectors")}
        if needed - there:
            raise NotFoundError(
                f"Rule {rule_id} notifies connectors that Kibana does not have here: "
                f"{', '.join(sorted(needed - there))}.",
                remedy="Create them first, or add them to xpack.actions.preconfigured in kibana.yml.",
            )


def _rule_of(body: JSON) -> dict[str, Any]:
    """The body of an update, with what stands for absent parts."""
    defaults = PARAMS_DEFAULTS.get(body["rule_type_id"], {})
    return {
        "name": body["name"],
        "tags": list(body.get("tags", [])),
        "schedule": dict(body["schedule"]),
        "params": {**defaults, **body.get("params", {})},
        "actions": [_action(one) for one in body.get("actions", [])],
        "alert_delay": dict(body.get("alert_delay") or {"active": 1}),
        "flapping": body.get("flapping"),
        **{name: body[name] for name in ("artifacts", "notify_when", "throttle") if name in body},
    }


def _comparable_rule(actual: JSON, wanted: JSON) -> dict[str, Any]:
    """A rule as the server tells it, in the form of :func:`_rule_of`."""
    made = {name: actual.get(name) for name in wanted}
    made["actions"] = [_action(one) for one in actual.get("actions", [])]
    made["alert_delay"] = actual.get("alert_delay") or {"active": 1}
    flapping, own = wanted.get("flapping"), actual.get("flapping")
    if flapping and own:
        # Some versions do not tell `enabled`: what is not told is taken for what is wanted.
        made["flapping"] = {**{name: flapping[name] for name in flapping if name not in own}, **own}
    if "artifacts" in wanted and "artifacts" not in actual:
        # Before it was part of the answer, a change of nothing but the guide cannot be seen.
        made["artifacts"] = wanted["artifacts"]
    if actual["rule_type_id"] not in PARAMS_DEFAULTS:
        made["params"] = {name: value for name, value in actual["params"].items() if name in wanted["params"]}
    return made


def _action(action: JSON) -> dict[str, Any]:
    made = {name: action[name] for name in ("group", "id", "params", "alerts_filter") if name in action}
    made.setdefault("params", {})
    if action.get("frequency"):
        made["frequency"] = {"throttle": None, **action["frequency"]}
    return made


def _with_uuids(wanted: Iterable[JSON], actual: Iterable[JSON]) -> list[dict[str, Any]]:
    """Keep the id of an action that stays, since Kibana remembers by it when the action last ran."""
    known: dict[tuple[Any, Any], list[str]] = {}
    for one in actual:
        if one.get("uuid"):
            known.setdefault((one.get("group"), one["id"]), []).append(one["uuid"])
    made = []
    for one in wanted:
        uuids = known.get((one.get("group"), one["id"]))
        made.append({**one, "uuid": uuids.pop(0)} if uuids else dict(one))
    return made


# Connectors ---------------------------------------------------------------------------------------------------------


def upsert_connector(
    client: KibanaClient, connector_id: str, body: JSON, *, secrets: JSON | None = None, rotate_secrets: bool = False
) -> Change:
    """Create a connector, or update what differs.

    Kibana never tells secrets, so they cannot be compared: they are sent when the connector is created, when something
    else of it changes, when Kibana says that they are missing, or with ``rotate_secrets``.

    :param connector_id: a UUID, the only form that Kibana takes; or the id of a preconfigured connector, which is left
        as it is.
    :param body: ``name``, ``connector_type_id`` and ``config``.
    :raises ConflictError: the id belongs to a connector of another type, or to one in another space.
    :raises InvalidRequestError: the id is no UUID.
    :raises LicenseError: the licence does not contain the type.
    :raises VersionError: this Kibana does not offer the type, as Serverless does not offer ``.server-log``.
    """
    client.require_space()
    actual = _found(client, CONNECTORS, connector_id)
    kind = body["connector_type_id"]
    config = dict(body.get("config", {}))
    if actual is None:
        if not _UUID.fullmatch(connector_id):
            raise InvalidRequestError(
                f"{connector_id!r} cannot be the id of a connector: Kibana takes UUIDs only.",
                remedy="Make one with `python -c 'import uuid; print(uuid.uuid4())'` and keep it.",
            )
        _check_connector_type(client, kind)
        wanted = {"name": body["name"], "connector_type_id": kind, "config": config, "secrets": dict(secrets or {})}
        if not _create(client, CONNECTORS, "connector", connector_id, wanted):
            return upsert_connector(client, connector_id, body, secrets=secrets, rotate_secrets=rotate_secrets)
        return Change("connector", connector_id, "created")
    if actual["connector_type_id"] != kind:
        raise ConflictError(
            f"Kibana's connector {connector_id} has type {actual['connector_type_id']}, wanted is {kind}, which cannot "
            "be changed.",
            remedy="Choose another id, or delete that connector first.",
        )
    if actual.get("is_preconfigured"):
        return Change("connector", connector_id, "unchanged", "preconfigured in kibana.yml")
    found = differences(
        {"name": body["name"], "config": config},
        {"name": actual["name"], "config": _told(actual.get("config") or {}, config)},
    )
    if secrets and (rotate_secrets or actual.get("is_missing_secrets")):
        found.append("secrets: sent again")
    if not found:
        return Change("connector", connector_id, "unchanged")
    _check_connector_type(client, kind)
    wanted = {"name": body["name"], "config": config, "secrets": dict(secrets or {})}
    client.request("PUT", f"{CONNECTORS}/{quote(connector_id, safe='')}", body=wanted)
    return Change("connector", connector_id, "changed", "; ".join(found))


def execute_connector(client: KibanaClient, connector_id: str, params: JSON) -> Any:
    """Run a connector once and return what it answered.

    Kibana answers 200 for an execution that failed, too.

    :param params: what the type takes: ``{"documents": [...]}`` of an ``.index`` connector.
    :raises ElasticMLError: it failed; :class:`UnavailableError` where Kibana says that another try may help.
    :raises NotFoundError: there is no such connector in this space.
    """
    path = f"{CONNECTORS}/{quote(connector_id, safe='')}/_execute"
    answer = client.request("POST", path, body={"params": dict(params)})
    if answer.get("status") == "ok":
        return answer.get("data")
    why = ": ".join(str(answer[name]) for name in ("message", "service_message") if answer.get(name))
    error = UnavailableError if answer.get("retry") else ElasticMLError
    raise error(
        f"Kibana's connector {connector_id} failed: {why or 'no reason given'}.",
        remedy="Test it in Kibana under Stack Management, Connectors.",
    )


def delete_connector(client: KibanaClient, connector_id: str) -> Change:
    """Delete a connector that no rule uses.

    :raises ConflictError: rules notify it.
    """
    used = {one["id"]: one["referenced_by_count"] for one in client.request("GET", "/api/actions/connectors")}
    if used.get(connector_id):
        raise ConflictError(
            f"{used[connector_id]} rules notify Kibana's connector {connector_id}, so it was not deleted.",
            remedy="Delete or change these rules first.",
        )
    return _delete(client, CONNECTORS, "connector", connector_id)


def _check_connector_type(client: KibanaClient, kind: str) -> None:
    types = {one["id"]: one for one in client.request("GET", "/api/actions/connector_types")}
    _check_type("connector type", kind, types.get(kind))


# Data views ---------------------------------------------------------------------------------------------------------


def upsert_data_view(client: KibanaClient, data_view_id: str, body: JSON) -> Change:
    """Create a data view, or update what differs; the default data view is never touched.

    :param data_view_id: its id.
    :param body: ``title`` (the index pattern), ``name``, ``timeFieldName``, ``allowNoIndex`` and the like.
    :raises ConflictError: another data view has that name, or one in another space has that id.
    """
    client.require_space()
    answer = _found(client, DATA_VIEWS, data_view_id)
    if answer is None:
        # `override` is never sent: it deletes whichever data view has the same name.
        wanted = {"data_view": {**body, "id": data_view_id}}
        try:
            client.request("POST", DATA_VIEWS, body=wanted)
        except InvalidRequestError as error:
            if "Duplicate data view" in error.message:
                raise ConflictError(
                    f"Kibana has another data view called {body.get('name') or body['title']!r}.",
                    remedy=f"Rename or delete that one, or give {data_view_id} another name.",
                    status=error.status,
                ) from None
            raise
        except ConflictError as error:
            if _found(client, DATA_VIEWS, data_view_id) is None:
                raise _elsewhere("data view", data_view_id, error) from None
            return upsert_data_view(client, data_view_id, body)
        return Change("data view", data_view_id, "created")
    actual = answer["data_view"]
    wanted = {"name": body["title"], **{name: body[name] for name in _DATA_VIEW_FIELDS if name in body}}
    found = differences(wanted, {name: actual.get(name) for name in wanted})
    if not found:
        return Change("data view", data_view_id, "unchanged")
    client.request("POST", f"{DATA_VIEWS}/{quote(data_view_id, safe='')}", body={"data_view": wanted})
    return Change("data view", data_view_id, "changed", "; ".join(found))


def delete_data_view(client: KibanaClient, data_view_id: str) -> Change:
    """Delete a data view."""
    return _delete(client, DATA_VIEWS, "data view", data_view_id)


# Machine learning ---------------------------------------------------------------------------------------------------


def sync_ml(client: KibanaClient) -> dict[str, int]:
    """Show jobs and models that were made through Elasticsearch in Kibana's machine-learning pages of this space.

    :return: how many were added and removed.
    """
    client.require_space()
    answer = client.request("GET", "/api/ml/saved_objects/sync")
    return {
        word: sum(len(names) for names in (answer.get(key) or {}).values())
        for word, key in (("added", "savedObjectsCreated"), ("removed", "savedObjectsDeleted"))
    }


# Together -----------------------------------------------------------------------------------------------------------


def differences(wanted: Any, actual: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as ``path: actual → wanted``; lists are compared as a whole."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        found = []
        for name in sorted({*wanted, *actual}):
            inner = f"{path}.{name}" if path else name
            found += differences(wanted.get(name), actual.get(name), inner)
        return found
    if wanted == actual:
        return []
    return [f"{path}: {_short(actual)} → {_short(wanted)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _told(actual: JSON, wanted: JSON) -> dict[str, Any]:
    """What the server tells, without what it fills in for what was not wanted."""
    return {name: value for name, value in actual.items() if name in wanted or value not in (None, False, "", [], {})}


def _found(client: KibanaClient, base: str, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.request("GET", f"{base}/{quote(name, safe='')}")
    except NotFoundError:
        return None
    return found


def _create(client: KibanaClient, base: str, kind: str, name: str, body: JSON) -> bool:
    """Create an object; False when it is there now: an answer was lost, or somebody else was faster."""
    try:
        client.request("POST", f"{base}/{quote(name, safe='')}", body=dict(body))
    except ConflictError as error:
        if _found(client, base, name) is None:
            raise _elsewhere(kind, name, error) from None
        return False
    return True


def _elsewhere(kind: str, name: str, error: ConflictError) -> ConflictError:
    return ConflictError(
        f"Kibana has no {kind} {name} in this space, yet the id is taken: by a {kind} of another space.",
        remedy="Ids are taken in all spaces at once: choose another one, or delete that object where it is.",
        status=error.status,
    )


def _delete(client: KibanaClient, base: str, kind: str, name: str) -> Change:
    client.require_space()
    if _found(client, base, name) is None:
        return Change(kind, name, "absent")
    # It is gone already where the answer of a first try was lost.
    with contextlib.suppress(NotFoundError):
        client.request("DELETE", f"{base}/{quote(name, safe='')}")
    return Change(kind, name, "deleted")


def _check_type(what: str, kind: str, offered: JSON | None) -> None:
    if offered is None or offered.get("enabled_in_config") is False:
        raise VersionError(
            f"This Kibana does not offer {what} {kind}: its version, its configuration, a Serverless project's flavor "
            "or the rights of this user lack it."
        )
    if not offered.get("enabled_in_license", True):
        raise LicenseError(
            f"The licence does not contain {what} {kind}: it needs {offered.get('minimum_license_required')}.",
            remedy="Leave it out, or get that licence.",
        )
