"""One run of an `.es-query` rule with ES|QL: ask, compare with what was, write, tell.

Query, window and alert ids: rule_types/es_query/lib/fetch_esql_query.ts and common/es_query/esql_query_utils.ts of the
stack_alerts plugin, alerting/server/lib/get_time_range.ts. The documents of FROM are filtered to the window
(start, end], those of LOOKUP JOIN are not; `| limit 1000` is put behind the query.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.actions import notify
from elastic_sandbox.kibana.alerts import DEFAULT_FLAPPING, Alert, next_alerts
from elastic_sandbox.kibana.rule_types import MATCHED, MOST_ALERTS, TYPES, seconds_of, window_seconds
from elastic_sandbox.kibana.rules import STATE
from elastic_sandbox.kibana.saved_objects import RULE, SavedObject

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.esql.answer import Result
    from elastic_sandbox.esql.tree import Field

log = logging.getLogger(__name__)
SERVERLESS_DELAY: Final = 15
"""Seconds by which Serverless asks late (DEFAULT_SERVERLESS_QUERY_DELAY)."""
Group = tuple[str, list[dict[str, Any]]]


def run(backend: Backend, saved: SavedObject) -> None:
    """Run a rule now; what goes wrong becomes its status."""
    began = time.monotonic()
    rule = {"id": saved["id"], **saved["attributes"]}
    (space,) = saved["namespaces"]
    now = backend.clock.now()
    moment = _iso(now)
    state = backend.state.get(STATE, rule["id"]) or {}
    try:
        outcome = _run(backend, rule, space, now, state)
    except ElasticError as error:
        outcome = _failed(f"{error.type}: {error.reason}", moment)
    except Exception as error:  # the scheduler has no caller: what went wrong must show in the rule
        log.exception("rule %s failed", rule["id"])
        outcome = _failed(f"{type(error).__name__}: {error}", moment)
    outcome["execution_status"]["last_duration"] = int((time.monotonic() - began) * 1000)
    next_run_ms = int(now.timestamp() * 1000) + seconds_of(rule["schedule"]["interval"]) * 1000
    with backend.lock:
        current = backend.kibana.objects.anywhere(RULE, rule["id"])
        if current is None or not current["attributes"]["enabled"]:
            return
        state.update(next_run_ms=next_run_ms, last_run_ms=int(now.timestamp() * 1000))
        backend.state.put(STATE, rule["id"], state)
        outcome["next_run"] = _iso(datetime.fromtimestamp(next_run_ms / 1000, tz=now.tzinfo))
        current["attributes"].update(outcome)
        backend.kibana.objects.write(current)


def _run(backend: Backend, rule: dict[str, Any], space: str, now: datetime, state: dict[str, Any]) -> dict[str, Any]:
    params, moment = rule["params"], _iso(now)
    delay = timedelta(seconds=SERVERLESS_DELAY if backend.flavor == "serverless" else 0)
    end = now - delay
    start = end - timedelta(seconds=window_seconds(params))
    groups, twice = ask(backend, params, _iso(start), _iso(end))
    reports = {name: _report(rule, name, hits, moment, _iso(start), _iso(end)) for name, hits in groups}
    existing = {name: Alert.load(name, document) for name, document in state.get("active", {}).items()}
    before = {name: Alert.load(name, document) for name, document in state.get("recovered", {}).items()}
    reached = len(groups) >= MOST_ALERTS
    found = next_alerts(
        existing,
        before,
        {name: context for name, (context, _) in reports.items()},
        moment,
        flapping={**DEFAULT_FLAPPING, **(rule.get("flapping") or {})},
        delay=(rule.get("alert_delay") or {}).get("active", 0),
        limit_reached=reached,
    )
    fields = {name: payload for name, (_, payload) in reports.items()}
    for name, alert in found.recovered.items():
        alert.context, fields[name] = _recovery(rule, name, moment, _iso(start), _iso(end))
    backend.kibana.documents.write(found, _about(backend, rule, space), moment, fields)
    notify(backend, rule, space, found, now)
    state["active"] = {name: alert.saved() for name, alert in found.tracked_active.items()}
    state["recovered"] = {name: alert.saved(recovered=True) for name, alert in found.tracked_recovered.items()}
    return _succeeded(found.active, found.new, found.recovered, found.tracked_active, twice, moment, reached=reached)


# The query ----------------------------------------------------------------------------------------------------------


def ask(backend: Backend, params: dict[str, Any], start: str, end: str) -> tuple[list[Group], list[str]]:
    """The alert ids that the query finds, with their rows, and the ids that several rows share."""
    query = params["esqlQuery"]["esql"]
    window = {"range": {params["timeField"]: {"lte": end, "gt": start, "format": "strict_date_optional_time"}}}
    named = [{"_tstart": start}, {"_tend": end}] if "?_tstart" in query or "?_tend" in query else None
    result = backend.esql.query(f"{query} | limit {MOST_ALERTS}", params=named, filter={"bool": {"filter": [window]}})
    hits: list[dict[str, Any]] = [{"_id": "esql_query_document", "_index": "", "_source": row} for row in result.rows]
    if params["groupBy"] != "row":
        return ([(MATCHED, hits)] if hits else []), []
    fields = id_fields(query, result)
    groups: dict[str, list[dict[str, Any]]] = {}
    twice: list[str] = []
    for hit in hits:
        row: dict[str, Any] = hit["_source"]
        values = [row[name] for name in fields if row[name] is not None]
        if not values:
            continue
        name = ",".join(_text(value) for value in values)
        if name in groups and name not in twice:
            twice.append(name)
        groups.setdefault(name, []).append(hit)
    return list(groups.items()), twice


def id_fields(query: str, result: Result) -> list[str]:
    """Which columns make an alert's id: the plain fields of the last STATS ... BY, else _id, else all of them."""
    # The compiler is loaded with the first rule that runs: most starts of the sandbox never see one.
    from elastic_sandbox.esql.parser import parse

    columns = [column["name"] for column in result.columns]
    commands = parse(query)
    last = max((at for at, command in enumerate(commands) if command.kind == "stats"), default=None)
    if last is not None:
        names = [name for group in commands[last].parts[1] if (name := _plain(group)) is not None]
        for command in commands[last:]:
            if command.kind == "rename":
                renamed = {old.name: new.name for old, new, _ in command.parts}
                names = [str(renamed.get(name, name)) for name in names]
        kept = [name for name in names if name in columns]
        if kept:
            return kept
    metadata = commands[0].parts[1] if commands[0].kind == "from" else ()
    if "_id" in columns and any(name.name == "_id" for name in metadata):
        return ["_id"]
    return columns


def _plain(group: Field) -> str | None:
    """The column of a group that is just one; an alias or a function makes no alert id."""
    bare = group.expression.kind == "column" and group.node.text == group.expression.text
    return str(group.expression.args[0]) if bare else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return ",".join(_text(one) for one in value) if isinstance(value, list) else str(value)


# What is said -------------------------------------------------------------------------------------------------------


def _report(
    rule: dict[str, Any], name: str, hits: list[dict[str, Any]], moment: str, start: str, end: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The context for actions and the fields of the document (es_query/executor.ts, action_context.ts)."""
    return _said(rule, name, len(hits), hits, moment, start, end, recovered=False)


def _recovery(
    rule: dict[str, Any], name: str, moment: str, start: str, end: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    return _said(rule, name, 0, [], moment, start, end, recovered=True)


def _said(
    rule: dict[str, Any],
    name: str,
    value: int,
    hits: list[dict[str, Any]],
    moment: str,
    start: str,
    end: str,
    *,
    recovered: bool,
) -> tuple[dict[str, Any], dict[str, Any]]:
    params = rule["params"]
    group = name if params["groupBy"] == "row" else ""
    verb = "recovered" if recovered else "matched query" + (f" for group {group}" if group else "")
    title = f"rule '{rule['name']}' {verb}"
    window = f"{params['timeWindowSize']}{params['timeWindowUnit']}"
    of_group = f" for {group}" if group else ""
    message = f"Document count is {value} in the last {window}{of_group}. Alert when greater than 0."
    matched = "Query did NOT match documents" if recovered else "Query matched documents"
    conditions = matched + (f' for group "{group}"' if group else "")
    query = {"timeRange": {"from": start, "to": end}, "query": params["esqlQuery"], "isAlertResults": True}
    link = f"/app/r?l=DISCOVER_APP_LOCATOR&p={quote(json.dumps(query, separators=(',', ':')))}"
    context = {
        "title": title,
        "date": moment,
        "value": value,
        "hits": hits,
        "link": link,
        "conditions": conditions,
        "message": message,
    }
    fields = {
        "kibana.alert.url": link,
        "kibana.alert.reason": message,
        "kibana.alert.title": title,
        "kibana.alert.evaluation.conditions": conditions,
        "kibana.alert.evaluation.value": str(value),
        "kibana.alert.evaluation.threshold": params["threshold"][0] if len(params["threshold"]) == 1 else None,
    }
    return context, fields


def _about(backend: Backend, rule: dict[str, Any], space: str) -> dict[str, Any]:
    kind = TYPES[rule["rule_type_id"]]
    return {
        "kibana.alert.rule.category": kind.name,
        "kibana.alert.rule.consumer": rule["consumer"],
        "kibana.alert.rule.execution.uuid": str(uuid.uuid4()),
        "kibana.alert.rule.name": rule["name"],
        "kibana.alert.rule.parameters": rule["params"],
        "kibana.alert.rule.producer": kind.producer,
        "kibana.alert.rule.revision": rule["revision"],
        "kibana.alert.rule.rule_type_id": kind.id,
        "kibana.alert.rule.tags": rule["tags"],
        "kibana.alert.rule.uuid": rule["id"],
        "kibana.space_ids": [space],
        "kibana.version": backend.version,
        "tags": rule["tags"],
    }


def _succeeded(
    active: dict[str, Alert],
    new: dict[str, Alert],
    recovered: dict[str, Alert],
    tracked: dict[str, Alert],
    twice: list[str],
    moment: str,
    *,
    reached: bool,
) -> dict[str, Any]:
    # executionStatusFromState looks at the alerts of the task's state, delayed ones included.
    status: dict[str, Any] = {"status": "active" if tracked else "ok", "last_execution_date": moment}
    warning = None
    if reached:
        warning = ("maxAlerts", "The rule reported more than the maximum number of alerts in a single run.")
    elif twice:
        warning = (
            "ruleExecution",
            "The query returned multiple rows with the same alert ID. There are duplicate results for alert IDs: "
            f"{'; '.join(twice)}",
        )
    if warning:
        status = {**status, "status": "warning", "warning": {"reason": warning[0], "message": warning[1]}}
    counts = {"active": len(active), "new": len(new), "recovered": len(recovered), "ignored": 0}
    last = {
        "outcome": "warning" if warning else "succeeded",
        "outcome_order": 10 if warning else 0,
        "outcome_msg": [warning[1]] if warning else None,
        "warning": warning[0] if warning else None,
        "alerts_count": counts,
    }
    return {"execution_status": status, "last_run": last}


def _failed(message: str, moment: str) -> dict[str, Any]:
    status = {"status": "error", "last_execution_date": moment, "error": {"reason": "execute", "message": message}}
    last = {
        "outcome": "failed",
        "outcome_order": 20,
        "outcome_msg": [message],
        "warning": "execute",
        "alerts_count": {"active": 0, "new": 0, "recovered": 0, "ignored": 0},
    }
    return {"execution_status": status, "last_run": last}


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
