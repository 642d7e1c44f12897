"""Alerting rules: read, compared, and only then written; never switched on again behind somebody's back."""

import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_changes import JSON, Change, check_type, create_in, delete_from, differences, found_in
from elastic_ml.exceptions import ConflictError, NotFoundError, VersionError

RULES = "/api/alerting/rule"
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
_PAGE = 100


def upsert_rule(
    client: KibanaClient, rule_id: str, body: JSON, *, enforce_enabled: bool = False, write: bool = True
) -> Change:
    """Create a rule, or update what differs.

    :param rule_id: its id; any text, taken in all spaces at once.
    :param body: what ``POST /api/alerting/rule/{id}`` takes. ``enabled`` counts when the rule is created.
    :param enforce_enabled: also switch an existing rule on or off as the body says. Otherwise it stays as it is.
    :param write: False only says what would be done; connectors of its actions may then be missing yet.
    :raises ConflictError: the id belongs to a rule of another type or consumer, or to a rule in another space.
    :raises LicenseError: the licence does not contain the type of rule.
    :raises VersionError: this Kibana has no such type of rule, or knows a part of the body only since a later version.
    :raises NotFoundError: a connector of its actions does not exist.
    """
    client.require_space()
    actual = found_in(client, RULES, rule_id)
    if actual is None:
        _check_rule(client, rule_id, body, connectors=write)
        if not write:
            return Change("rule", rule_id, "would create")
        if not create_in(client, RULES, "rule", rule_id, dict(body)):
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
        _check_rule(client, rule_id, body, connectors=write)
        if write:
            wanted["actions"] = _with_uuids(wanted["actions"], actual.get("actions", []))
            client.request("PUT", f"{RULES}/{quote(rule_id, safe='')}", body=wanted)
    enabled, left = body.get("enabled", True), []
    if enabled != actual["enabled"]:
        if enforce_enabled:
            if write:
                verb = "_enable" if enabled else "_disable"
                client.request("POST", f"{RULES}/{quote(rule_id, safe='')}/{verb}")
            found.append(f"enabled: {json.dumps(actual['enabled'])} → {json.dumps(enabled)}")
        else:
            left = [f"left switched {'on' if actual['enabled'] else 'off'}, as it was found"]
    state = ("changed" if write else "differs") if found else "unchanged"
    return Change("rule", rule_id, state, "; ".join([*found, *left]))  # type: ignore[arg-type]


def rules_with_tags(client: KibanaClient, tags: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The rules of the space that carry all these tags, in no order."""
    wanted, page, seen = set(tags), 1, 0
    while True:
        answer = client.request("GET", "/api/alerting/rules/_find", params={"page": page, "per_page": _PAGE})
        yield from (rule for rule in answer["data"] if wanted <= set(rule.get("tags") or []))
        page, seen = page + 1, seen + len(answer["data"])
        if not answer["data"] or seen >= answer["total"]:
            return


def run_rule_soon(client: KibanaClient, rule_id: str) -> None:
    """Let a rule run now, without waiting for its schedule.

    :raises ConflictError: it is switched off, or running already.
    """
    said = client.request("POST", f"/internal/alerting/rule/{quote(rule_id, safe='')}/_run_soon")
    if said:
        raise ConflictError(f"Kibana's rule {rule_id} did not run: {said}.", remedy="Switch it on first.")


def delete_rule(client: KibanaClient, rule_id: str, *, write: bool = True) -> Change:
    """Delete a rule; its alert documents stay."""
    return delete_from(client, RULES, "rule", rule_id, write=write)


def _check_rule(client: KibanaClient, rule_id: str, body: JSON, *, connectors: bool) -> None:
    for (name, part), since in RULE_FIELDS_SINCE.items():
        if part in (body.get(name) or {}) and client.facts().version < since:
            raise VersionError(
                f"Rule {rule_id} sets {name}.{part}, which Kibana knows since {'.'.join(map(str, since))}.",
                remedy="Leave it out for this Kibana.",
            )
    kind = body["rule_type_id"]
    types = {one["id"]: one for one in client.request("GET", "/api/alerting/rule_types")}
    check_type("rule type", kind, types.get(kind))
    needed = {action["id"] for action in body.get("actions", [])}
    if needed and connectors:
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
