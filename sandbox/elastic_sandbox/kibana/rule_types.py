"""The types of rules: what `.es-query` takes, and which licence the others would need."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.kibana.errors import KibanaError, bad_request, unsupported
from elastic_sandbox.kibana.validation import (
    FLAG,
    NUMBER,
    TEXT,
    Field,
    InvalidError,
    checked,
    list_of,
    mapping,
    number,
    object_of,
    one_of,
)

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

ES_QUERY: Final = ".es-query"
MATCHED, RECOVERED = "query matched", "recovered"
MOST_ALERTS: Final = 1000
"""xpack.alerting.rules.run.alerts.max"""
_PAID: Final = frozenset({"platinum", "trial"})


@dataclass(frozen=True)
class RuleType:
    """A type of rule.

    :param consumers: who may own such a rule, besides the producer
    """

    id: str
    name: str
    license: str
    producer: str
    groups: tuple[tuple[str, str], ...]
    consumers: tuple[str, ...] = ()

    def in_license(self, backend: Backend) -> bool:
        """Whether the licence covers it."""
        return self.license == "basic" or backend.license in _PAID

    def check(self, backend: Backend) -> None:
        """Raise 403 where the licence lacks it (alerting/server/lib/license_state.ts)."""
        if not self.in_license(backend):
            raise KibanaError(
                403,
                f"Rule type {self.id} is disabled because your {backend.license} license does not support it. Please "
                "upgrade your license.",
            )

    def shown(self, backend: Backend) -> dict[str, Any]:
        """As `GET /api/alerting/rule_types` lists it."""
        rights = {"read": True, "all": True}
        return {
            "id": self.id,
            "name": self.name,
            "action_groups": [{"id": key, "name": name} for key, name in (*self.groups, (RECOVERED, "Recovered"))],
            "recovery_action_group": {"id": RECOVERED, "name": "Recovered"},
            "default_action_group_id": self.groups[0][0],
            "minimum_license_required": self.license,
            "enabled_in_license": self.in_license(backend),
            "is_exportable": True,
            "producer": self.producer,
            "category": "management",
            "authorized_consumers": dict.fromkeys((self.producer, *self.consumers), rights),
            "action_variables": {"context": [], "state": [], "params": []},
            "auto_recover_alerts": True,
            "does_set_recovery_context": True,
            "has_alerts_mappings": True,
            "has_fields_for_a_a_d": True,
            "rule_task_timeout": "5m",
            "fieldsForAAD": [],
        }


TYPES: Final = {
    kind.id: kind
    for kind in (
        RuleType(
            ES_QUERY, "Elasticsearch query", "basic", "stackAlerts", ((MATCHED, "Query matched"),),
            ("alerts", "discover", "infrastructure", "logs", "ml", "monitoring", "observability", "slo"),
        ),
        RuleType(
            ".index-threshold", "Index threshold", "basic", "stackAlerts", (("threshold met", "Threshold met"),),
            ("alerts",),
        ),
        RuleType(
            "transform_health", "Transform health", "basic", "stackAlerts", (("transform_issue", "Issue detected"),),
            ("alerts",),
        ),
        RuleType(
            "xpack.ml.anomaly_detection_alert", "Anomaly detection alert", "platinum", "ml",
            (("anomaly_score_match", "Anomaly score matched the condition"),), ("alerts", "stackAlerts"),
        ),
        RuleType(
            "xpack.ml.anomaly_detection_jobs_health", "Anomaly detection jobs health", "platinum", "ml",
            (("anomaly_detection_realtime_issue", "Issue detected"),), ("alerts", "stackAlerts"),
        ),
    )
}  # fmt: skip


def type_of(backend: Backend, name: str, consumer: str) -> RuleType:
    """The type of a rule that may be created here by this consumer.

    :raises KibanaError: 400 for what no Kibana knows, 403 for a consumer or a licence, 501 for what only the sandbox
        lacks
    """
    found = TYPES.get(name)
    if found is None:
        raise bad_request(f'Rule type "{name}" is not registered.')
    if consumer not in {found.producer, *found.consumers}:
        raise KibanaError(403, f'Unauthorized by "{consumer}" to create "{name}" rule')
    found.check(backend)
    if name != ES_QUERY:
        raise unsupported(f"rule type [{name}]")
    return found


# .es-query ----------------------------------------------------------------------------------------------------------

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COMPARATORS: Final = (">", "<", ">=", "<=", "between", "notBetween")
# response-ops/rule_params/es_query/v1.ts; the order is the order of its checks.
_FIELDS: Final = {
    "size": Field(number(least=0, most=10_000), required=True),
    "timeWindowSize": Field(number(least=1), required=True),
    "excludeHitsFromPreviousRun": Field(FLAG, default=True),
    "timeWindowUnit": Field(TEXT, required=True),
    "threshold": Field(list_of(NUMBER, least=1, most=2), required=True),
    "thresholdComparator": Field(TEXT, required=True),
    "aggType": Field(TEXT, default="count"),
    "aggField": Field(TEXT),
    "groupBy": Field(TEXT, default="all"),
    "termField": Field(lambda *_: None),
    "termSize": Field(number(least=1)),
    "searchType": Field(one_of("searchSource", "esQuery", "esqlQuery"), default="esQuery"),
    "timeField": Field(TEXT),
    "searchConfiguration": Field(mapping),
    "esQuery": Field(TEXT),
    "index": Field(list_of(TEXT, least=1)),
    "esqlQuery": Field(object_of({"esql": Field(TEXT, required=True)})),
    "sourceFields": Field(list_of(mapping)),
}


def checked_params(params: Any) -> dict[str, Any]:
    """The parameters of an `.es-query` rule with their defaults.

    :raises KibanaError: 400 `params invalid: ...`; 501 for searches other than ES|QL
    """
    try:
        made = checked(params, _FIELDS)
        _check_together(made)
    except InvalidError as problem:
        raise bad_request(f"params invalid: {problem}") from None
    return made


def _check_together(params: dict[str, Any]) -> None:
    if params["timeWindowUnit"] not in _SECONDS:
        raise InvalidError(f'[timeWindowUnit]: invalid timeWindowUnit: "{params["timeWindowUnit"]}"')
    if params["thresholdComparator"] not in _COMPARATORS:
        raise InvalidError(
            f"[thresholdComparator]: invalid thresholdComparator specified: {params['thresholdComparator']}"
        )
    if params["groupBy"] not in {"all", "top", "row"}:
        raise InvalidError(f'[groupBy]: invalid groupBy: "{params["groupBy"]}"')
    if params["searchType"] != "esqlQuery":
        raise unsupported(f"searchType [{params['searchType']}] of an .es-query rule")
    for name in ("searchConfiguration", "esQuery", "index"):
        if name in params:
            raise InvalidError(f"[{name}]: a value wasn't expected to be present")
    if "esqlQuery" not in params:
        raise InvalidError("[esqlQuery.esql]: expected value of type [string] but got [undefined]")
    if not params.get("timeField"):
        raise InvalidError("[timeField]: is required")
    if params["thresholdComparator"] != ">":
        raise InvalidError("[thresholdComparator]: is required to be greater than")
    if params["threshold"][0] != 0:
        raise InvalidError("[threshold]: is required to be 0")


def seconds_of(duration: str) -> int:
    """Seconds of `5m` (alerting/common/parse_duration.ts)."""
    match = re.fullmatch(r"([1-9]\d*)([smhd])", duration)
    if match is None:
        raise bad_request(
            f'Invalid duration "{duration}". Durations must be of the form {{number}}x. Example: 5s, 5m, 5h or 5d"'
        )
    return int(match[1]) * _SECONDS[match[2]]


def window_seconds(params: dict[str, Any]) -> int:
    """How far back a rule looks."""
    return int(params["timeWindowSize"] * _SECONDS[params["timeWindowUnit"]])
