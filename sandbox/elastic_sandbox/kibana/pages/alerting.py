"""Rules with their state and last values, alerts, connectors."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.alert_documents import ALIAS
from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.pages import formats
from elastic_sandbox.kibana.pages.html import Cell, Facts, Page, Table, Text, segment
from elastic_sandbox.kibana.pages.times import instant, rison, shown
from elastic_sandbox.kibana.rule_types import window_seconds
from elastic_sandbox.kibana.rules import STATE
from elastic_sandbox.kibana.saved_objects import CONNECTOR, RULE, SavedObject

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_AT: Final = "/app/management/insightsAndAlerting/triggersActions"
_CRUMBS: Final = [("Home", "/app/home"), ("Rules", f"{_AT}/rules")]
_TONES: Final = {"ok": "good", "active": "bad", "error": "bad", "warning": "warning", "recovered": "good"}
_ROWS: Final = 50


def rules(backend: Backend, request: KibanaRequest) -> Page:
    """All rules, or those of a link's tags: state, last run, what is open."""
    state = rison(request.params["_a"]) if request.params.get("_a") else {}
    wanted = {str(one) for one in (state.get("tags") or [])} if isinstance(state, dict) else set()
    rows = []
    for saved in sorted(backend.kibana.objects.all(RULE, request.space), key=lambda one: one["attributes"]["name"]):
        attributes, opened = saved["attributes"], _open(backend, saved)
        if wanted and not wanted & set(attributes["tags"]):
            continue
        said = "; ".join((attributes.get("last_run") or {}).get("outcome_msg") or [])
        rows.append([
            Cell(attributes["name"], f"{_AT}/rule/{segment(saved['id'])}"),
            _status(attributes),
            Cell(str(len(opened)), tone="bad" if opened else ""),
            Cell(", ".join(opened)),
            Cell(said or _glance(backend, attributes) if attributes["enabled"] else ""),
            Cell(attributes["schedule"]["interval"]),
            _moment(attributes["execution_status"].get("last_execution_date")),
            Cell(", ".join(attributes["tags"])),
        ])  # fmt: skip
    columns = ["Rule", "State", "Open alerts", "For", "Values now", "Every", "Last run", "Tags"]
    title = f"Rules: {', '.join(sorted(wanted))}" if wanted else "Rules"
    return Page(title, [Table(columns, rows)], [("Home", "/app/home"), ("Alerts", f"{_AT}/alerts")])


def rule(backend: Backend, request: KibanaRequest) -> Page:
    """One rule: what it looks at, what its query says now, its alerts."""
    saved = backend.kibana.objects.get(RULE, request.path_params["id"], request.space)
    attributes = saved["attributes"]
    params, status = attributes["params"], attributes["execution_status"]
    window = f"{params['timeWindowSize']} {params['timeWindowUnit']}"
    facts = [
        ("State", _status(attributes)),
        ("Runs every", Cell(attributes["schedule"]["interval"])),
        ("Looks back", Cell(window)),
        ("Last run", _moment(status.get("last_execution_date"))),
        ("Next run", _moment(attributes.get("next_run"))),
        ("Tags", Cell(", ".join(attributes["tags"]) or formats.NOTHING)),
        ("Actions", Cell(", ".join(_action(backend, one, request.space) for one in attributes["actions"]) or "none")),
        ("Muted", Cell("yes" if attributes["mute_all"] else ", ".join(attributes["muted_alert_ids"]) or "no")),
    ]
    problem = (status.get("error") or status.get("warning") or {}).get("message")
    guide = ((attributes.get("artifacts") or {}).get("investigation_guide") or {}).get("blob")
    blocks: list[Any] = [
        Facts(facts),
        *([Text(problem, "What the last run said", "bad")] if problem else []),
        *_values(backend, attributes, window),
        _alerts(backend, request.space, saved["id"], title="Alerts"),
        Text(params["esqlQuery"]["esql"], "Query", form="code"),
        *([Text(guide, "Investigation guide", form="markdown")] if guide else []),
    ]
    return Page(attributes["name"], blocks, _CRUMBS)


def alerts(backend: Backend, request: KibanaRequest) -> Page:
    """The alerts of all rules, the newest first."""
    return Page("Alerts", [_alerts(backend, request.space)], _CRUMBS)


def connectors(backend: Backend, request: KibanaRequest) -> Page:
    """Where alerts are told."""
    objects = backend.kibana.objects
    users = [one["id"] for saved in objects.all(RULE, request.space) for one in saved["attributes"]["actions"]]
    rows = [
        [Cell(str(saved["attributes"].get("name"))), Cell(str(saved["attributes"]["actionTypeId"])), Cell(saved["id"]),
         Cell(str(users.count(saved["id"])), number=True), Cell(json.dumps(saved["attributes"].get("config") or {}))]
        for saved in objects.all(CONNECTOR, request.space)
    ]  # fmt: skip
    failed = [[Cell(name), Cell(alert), Cell(str(answer.get("message") or answer), tone="bad")]
              for name, alert, answer in reversed(backend.kibana.failed_actions)]  # fmt: skip
    log = [[Cell(level), Cell(message)] for level, message in reversed(backend.kibana.server_log)]
    return Page(
        "Connectors",
        [
            Table(["Name", "Type", "Id", "Actions that use it", "Configuration"], rows),
            Table(
                ["Rule", "Alert", "Answer"], failed, "Actions that failed", "None has failed since the sandbox started."
            ),
            Table(["Level", "Message"], log, "Server log", "Nothing was written by a connector of type .server-log."),
        ],
        _CRUMBS,
    )


def _open(backend: Backend, saved: SavedObject) -> list[str]:
    return sorted((backend.state.get(STATE, saved["id"]) or {}).get("active", {}))


def _status(attributes: dict[str, Any]) -> Cell:
    if not attributes["enabled"]:
        return Cell("switched off", tone="quiet")
    status = str(attributes["execution_status"]["status"])
    return Cell(status, tone=_TONES.get(status, "quiet"))


def _action(backend: Backend, action: dict[str, Any], space: str) -> str:
    found = backend.kibana.objects.find(CONNECTOR, action["id"], space)
    return f"{found['attributes']['name'] if found else action['id']} when {action['group']}"


def _moment(text: Any) -> Cell:
    at = instant(text) if isinstance(text, str) else None
    return Cell(formats.NOTHING if at is None else shown(at), whole=True)


def _values(backend: Backend, attributes: dict[str, Any], window: str) -> list[Any]:
    """What the query sees now: the rows that it would open alerts for, and all rows before its last conditions."""
    params = attributes["params"]
    query, end = params["esqlQuery"]["esql"], backend.clock.now()
    start = end - timedelta(seconds=window_seconds(params))
    tables: list[Any] = []
    matching = _rows(backend, query, params["timeField"], start, end)
    tables.append(Table(*matching, title=f"Matching now, over the last {window}", empty="Nothing matches: no alert.")
                  if isinstance(matching, tuple) else Text(matching, "Matching now", "bad"))  # fmt: skip
    before, condition = _without_conditions(query)
    if condition:
        every = _rows(backend, before, params["timeField"], start, end)
        if isinstance(every, tuple):
            empty = f"No documents in the last {window}."
            tables.append(Table(*every, title=f"Values now, before {condition}", empty=empty))
    return tables


def _glance(backend: Backend, attributes: dict[str, Any]) -> str:
    """The first rows of the query before its last conditions, in one line."""
    params, end = attributes["params"], backend.clock.now()
    query = _without_conditions(params["esqlQuery"]["esql"])[0]
    found = _rows(backend, query, params["timeField"], end - timedelta(seconds=window_seconds(params)), end)
    if isinstance(found, str):
        return found
    columns, rows = found
    lines = [", ".join(f"{name} {cell.text}" for name, cell in zip(columns, row, strict=True)) for row in rows[:2]]
    return "; ".join([*lines, *([f"and {len(rows) - 2} more"] if len(rows) > 2 else [])])


def _rows(backend: Backend, query: str, field: str, start: Any, end: Any) -> tuple[list[str], list[list[Cell]]] | str:
    first, last = (one.isoformat(timespec="milliseconds").replace("+00:00", "Z") for one in (start, end))
    window = {"range": {field: {"gt": first, "lte": last, "format": "strict_date_optional_time"}}}
    named = [{"_tstart": first}, {"_tend": last}]
    try:
        found = backend.esql.query(f"{query} | LIMIT {_ROWS}", params=named, filter=window)
    except ElasticError as error:
        return error.reason
    types = [column["type"] for column in found.columns]
    rows = [[formats.cell(value, kind) for value, kind in zip(row, types, strict=True)] for row in found.values]
    return [column["name"] for column in found.columns], rows


def _without_conditions(query: str) -> tuple[str, str]:
    """The query without what follows its last STATS from the first WHERE on; and those conditions."""
    from elastic_sandbox.esql.parser import parse

    try:
        commands = parse(query)
    except ElasticError:
        return query, ""
    last = max((at for at, one in enumerate(commands) if one.kind == "stats"), default=0)
    where = next((one for one in commands[last + 1 :] if one.kind == "where"), None)
    if where is None:
        return query, ""
    lines = query.split("\n")
    offset = sum(len(line) + 1 for line in lines[: where.node.line - 1]) + where.node.column - 1
    return query[:offset].rstrip().removesuffix("|"), " ".join(where.node.text.split())


_ALERT: Final = ("status", "rule.name", "instance.id", "start", "end", "flapping", "reason", "rule.uuid")


def _alerts(backend: Backend, space: str, rule_id: str = "", title: str = "") -> Table:
    clauses = [{"term": {"kibana.space_ids": space}}]
    if rule_id:
        clauses.append({"term": {"kibana.alert.rule.uuid": rule_id}})
    found: list[list[Any]] = []
    if backend.indices.resolve(ALIAS, ignore_unavailable=True, expand_wildcards="all"):
        kept = ", ".join(f"kibana.alert.{name}" for name in _ALERT)
        query = f"FROM {ALIAS} | SORT kibana.alert.start DESC | LIMIT {_ROWS} | KEEP {kept}"
        found = backend.esql.query(query, filter={"bool": {"filter": clauses}}).values
    rows = [
        [
            Cell(status, tone=_TONES.get(status, "quiet")),
            Cell(name, f"{_AT}/rule/{segment(uuid)}"),
            Cell(alert),
            _moment(since),
            _moment(until),
            Cell("yes" if flapping else "no"),
            Cell(str(reason)),
        ]
        for status, name, alert, since, until, flapping, reason, uuid in found
    ]
    columns = ["State", "Rule", "For", "Since", "Until", "Flapping", "Reason"]
    empty = "This rule has opened no alert yet." if rule_id else "No rule has opened an alert yet."
    note = f"The newest {_ROWS}." if len(rows) == _ROWS else ""
    return Table(columns, rows, title, empty, note)


PAGES: Final = {
    _AT: rules,
    f"{_AT}/rules": rules,
    f"{_AT}/rule/{{id}}": rule,
    f"{_AT}/alerts": alerts,
    f"{_AT}/connectors": connectors,
}
