"""The documents of `.alerts-stack.alerts-default`: one per alert, rewritten while it lives.

Fields: alerts_client/lib/alert_builder/*.ts and format_rule.ts of the alerting plugin, executor.ts of stack_alerts. The
copies of ECS fields that Kibana takes from the query's rows are left out. Kibana makes the index when it starts, the
sandbox with the first rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.kibana.alerts import Alert, Outcome
from elastic_sandbox.kibana.rule_types import RECOVERED

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

ALIAS: Final = ".alerts-stack.alerts-default"
"""The index is not aware of spaces: `kibana.space_ids` tells them apart."""
INDEX: Final = ".internal.alerts-stack.alerts-default-000001"
_KEYWORD: Final = {"type": "keyword", "ignore_above": 1024}
_DATE: Final = {"type": "date"}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "@timestamp": _DATE,
    "event.action": _KEYWORD,
    "event.kind": _KEYWORD,
    "kibana.alert.action_group": _KEYWORD,
    "kibana.alert.consecutive_matches": {"type": "long"},
    "kibana.alert.duration.us": {"type": "long"},
    "kibana.alert.end": _DATE,
    "kibana.alert.evaluation.conditions": _KEYWORD,
    "kibana.alert.evaluation.threshold": {"type": "scaled_float", "scaling_factor": 100},
    "kibana.alert.evaluation.value": _KEYWORD,
    "kibana.alert.flapping": {"type": "boolean"},
    "kibana.alert.flapping_history": {"type": "boolean"},
    "kibana.alert.instance.id": _KEYWORD,
    "kibana.alert.maintenance_window_ids": _KEYWORD,
    "kibana.alert.previous_action_group": _KEYWORD,
    "kibana.alert.reason": {**_KEYWORD, "fields": {"text": {"type": "match_only_text"}}},
    "kibana.alert.rule.category": _KEYWORD,
    "kibana.alert.rule.consumer": _KEYWORD,
    "kibana.alert.rule.execution.timestamp": _DATE,
    "kibana.alert.rule.execution.uuid": _KEYWORD,
    "kibana.alert.rule.name": _KEYWORD,
    "kibana.alert.rule.parameters": {"type": "flattened", "ignore_above": 4096},
    "kibana.alert.rule.producer": _KEYWORD,
    "kibana.alert.rule.revision": {"type": "long"},
    "kibana.alert.rule.rule_type_id": _KEYWORD,
    "kibana.alert.rule.tags": _KEYWORD,
    "kibana.alert.rule.uuid": _KEYWORD,
    "kibana.alert.severity_improving": {"type": "boolean"},
    "kibana.alert.start": _DATE,
    "kibana.alert.status": _KEYWORD,
    "kibana.alert.title": _KEYWORD,
    "kibana.alert.url": {"type": "keyword", "index": False, "ignore_above": 2048},
    "kibana.alert.uuid": _KEYWORD,
    "kibana.alert.workflow_status": _KEYWORD,
    "kibana.space_ids": _KEYWORD,
    "kibana.version": _KEYWORD,
    "tags": _KEYWORD,
}


class AlertDocuments:
    """Writes the documents of one rule's alerts."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def install(self) -> None:
        """Make the index, or on Serverless the data stream, unless it is there."""
        indices = self._backend.indices
        with self._backend.lock:
            if self._backend.flavor == "serverless":
                if indices.streams.get(ALIAS) is None:
                    template = {
                        "index_patterns": [ALIAS],
                        "data_stream": {"hidden": True},
                        "priority": 7,
                        "template": {"mappings": {"dynamic": False, "properties": _nested(_FIELDS)}},
                    }
                    indices.templates.put_index(f"{ALIAS}-index-template", template)
                    indices.streams.create(ALIAS)
            elif indices.get(INDEX) is None:
                body = {
                    "settings": {"index.hidden": True},
                    "mappings": {"dynamic": False, "properties": _nested(_FIELDS)},
                    "aliases": {ALIAS: {"is_write_index": True, "is_hidden": True}},
                }
                indices.create(INDEX, body, internal=True)

    def write(self, found: Outcome, rule: dict[str, Any], now: str, reports: dict[str, dict[str, Any]]) -> None:
        """Write what a run changed.

        :param rule: `kibana.alert.rule.*` and what else every document carries
        :param reports: the rule type's own fields by alert id
        """
        operations: list[BulkOperation] = []
        for name, alert in found.active.items():
            index, old = self._old(alert)
            fields = reports.get(name, {})
            body = _new(alert, rule, now) if old is None else _ongoing(old, alert, rule, now)
            operations.append(self._operation(alert, index, {**body, **fields}))
        for name, alert in found.tracked_recovered.items():
            index, old = self._old(alert)
            if old is None:
                continue
            if name in found.recovered:
                body = {**old, **_closed(old, alert, rule, now), **reports.get(name, {})}
            else:
                body = {**old, "kibana.alert.flapping": alert.flapping, "kibana.alert.flapping_history": alert.history}
            operations.append(self._operation(alert, index, body))
        if operations:
            self._backend.documents.bulk(operations, refresh="wait_for")

    def untrack(self, alerts: dict[str, Alert], now: str) -> None:
        """Mark the active alerts of a rule that was switched off."""
        operations = []
        for alert in alerts.values():
            index, old = self._old(alert)
            if old is not None:
                ended = {"kibana.alert.status": "untracked", "kibana.alert.end": now, "@timestamp": now}
                operations.append(self._operation(alert, index, {**old, **ended}))
        if operations:
            self._backend.documents.bulk(operations, refresh="wait_for")

    def _old(self, alert: Alert) -> tuple[str | None, dict[str, Any] | None]:
        for index in self._backend.indices.resolve(ALIAS, ignore_unavailable=True, expand_wildcards="all"):
            stored = self._backend.documents.get(index, alert.uuid)
            if stored is not None:
                return index.name, orjson.loads(stored.source)
        return None, None

    def _operation(self, alert: Alert, index: str | None, body: dict[str, Any]) -> BulkOperation:
        body = {name: value for name, value in body.items() if value is not None}
        if index is None:
            return BulkOperation("create", ALIAS, alert.uuid, body)
        index_object = self._backend.indices.get(index)
        assert index_object is not None
        stored = self._backend.documents.get(index_object, alert.uuid)
        assert stored is not None
        return BulkOperation("index", index, alert.uuid, body, if_seq_no=stored.seq_no, if_primary_term=1)


def _common(alert: Alert, rule: dict[str, Any], now: str) -> dict[str, Any]:
    return {
        **rule,
        "@timestamp": now,
        "event.kind": "signal",
        "kibana.alert.rule.execution.timestamp": now,
        "kibana.alert.flapping": alert.flapping,
        "kibana.alert.flapping_history": alert.history,
        "kibana.alert.instance.id": alert.id,
        "kibana.alert.maintenance_window_ids": [],
        "kibana.alert.consecutive_matches": alert.active_count,
        "kibana.alert.uuid": alert.uuid,
        "kibana.alert.duration.us": alert.duration_ms * 1000,
    }


def _new(alert: Alert, rule: dict[str, Any], now: str) -> dict[str, Any]:
    return {
        **_common(alert, rule, now),
        "event.action": "open",
        "kibana.alert.action_group": "query matched",
        "kibana.alert.status": "active",
        "kibana.alert.severity_improving": False,
        "kibana.alert.workflow_status": "open",
        "kibana.alert.start": alert.start,
        "kibana.alert.time_range": {"gte": alert.start},
    }


def _ongoing(old: dict[str, Any], alert: Alert, rule: dict[str, Any], now: str) -> dict[str, Any]:
    group = old.get("kibana.alert.action_group")
    return {
        **old,
        **_common(alert, rule, now),
        "event.action": "active",
        "kibana.alert.previous_action_group": group,
        "kibana.alert.time_range": {"gte": alert.start},
    }


def _closed(old: dict[str, Any], alert: Alert, rule: dict[str, Any], now: str) -> dict[str, Any]:
    return {
        **_common(alert, rule, now),
        "event.action": "close",
        "kibana.alert.action_group": RECOVERED,
        "kibana.alert.previous_action_group": old.get("kibana.alert.action_group"),
        "kibana.alert.status": "recovered",
        "kibana.alert.severity_improving": True,
        "kibana.alert.start": alert.start,
        "kibana.alert.end": alert.end,
        "kibana.alert.time_range": {"gte": alert.start, "lte": alert.end},
    }


def _nested(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for path, definition in fields.items():
        *above, last = path.split(".")
        place = properties
        for part in above:
            place = place.setdefault(part, {}).setdefault("properties", {})
        place[last] = definition
    return properties
