"""Detectors: functions, the fields each takes, custom rules, and what is refused.

Rules and words: Elasticsearch's `Messages` and its YAML tests `jobs_crud` and `validate`; functions: the documentation
page "Anomaly detection function reference".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.ml.strict import parse_error, parse_strict, required


@dataclass(frozen=True)
class Function:
    """What a detector function computes in a bucket, and on which side it looks.

    :param feature: ``count``, ``distinct_count``, ``mean``, ``sum``, ``min``, ``max`` or ``rare``
    :param side: 1 for high, -1 for low, 0 for both
    :param null_is_zero: a bucket without data has the value 0; otherwise it has none
    :param shown: ``function_description`` of the results
    """

    name: str
    feature: str
    side: int
    null_is_zero: bool
    shown: str


def _functions() -> dict[str, Function]:
    made = {}
    families = [("count", True, True, "count"), ("distinct_count", True, True, "distinct_count"),
                ("mean", False, True, "mean"), ("avg", False, True, "mean"), ("sum", True, True, "sum"),
                ("non_null_sum", False, True, "sum"), ("min", False, False, "min"), ("max", False, False, "max"),
                ("rare", False, False, "rare")]  # fmt: skip
    for name, null_is_zero, sided, feature in families:
        for prefix, side in (("", 0), ("high_", 1), ("low_", -1)) if sided else (("", 0),):
            made[prefix + name] = Function(prefix + name, feature, side, null_is_zero, feature)
    return made


FUNCTIONS: Final = _functions()
SHORT_NAMES: Final = {"c": "count", "high_c": "high_count", "low_c": "low_count", "dc": "distinct_count",
                      "high_dc": "high_distinct_count", "low_dc": "low_distinct_count"}  # fmt: skip
KNOWN_ELSEWHERE: Final = frozenset(
    prefix + name
    for name in ("non_zero_count", "nzc", "info_content", "metric", "median", "varp", "freq_rare", "time_of_day",
                 "time_of_week", "lat_long")
    for prefix in ("", "high_", "low_")
)  # fmt: skip
FIELD_NAMES: Final = ("field_name", "by_field_name", "over_field_name", "partition_field_name")
_DETECTOR: Final = dict.fromkeys(FIELD_NAMES, str) | {
    "detector_description": str, "function": str, "use_null": bool, "exclude_frequent": str, "custom_rules": list,
    "detector_index": int,
}  # fmt: skip
ACTIONS: Final = ("skip_result", "skip_model_update", "force_time_shift")
_APPLIES_TO: Final = ("actual", "typical", "diff_from_typical", "time")
_OPERATORS: Final = ("gt", "gte", "lt", "lte")


def parse_detector(body: Any, index: int) -> dict[str, Any]:
    """A detector as it is kept and shown: function by its long name, description and index filled in.

    :raises ElasticError: 400 for a bad combination, 501 for a function that the sandbox has not
    """
    parse_strict("detector", body, _DETECTOR)
    if body.get("function") is None:
        raise illegal_argument("function must be set")
    given = body["function"].lower()
    name = SHORT_NAMES.get(given, given)
    function = FUNCTIONS.get(name)
    if function is None:
        if name in KNOWN_ELSEWHERE:
            raise unsupported(f"the detector function [{name}]")
        raise illegal_argument(f"Unknown function '{given}'")
    fields = {field: body[field] for field in FIELD_NAMES if body.get(field) is not None}
    _check_fields(function, fields)
    if body.get("exclude_frequent") not in {None, "none"}:
        raise unsupported("[exclude_frequent] of a detector")
    detector: dict[str, Any] = {"function": name, **fields}
    if body.get("use_null"):
        detector["use_null"] = True
    if body.get("custom_rules"):
        detector["custom_rules"] = [parse_rule(rule, detector) for rule in body["custom_rules"]]
    description = body.get("detector_description") or default_description(detector)
    return {"detector_description": description, **detector, "detector_index": index}


def _check_fields(function: Function, fields: dict[str, str]) -> None:
    name = function.name
    for value in fields.values():
        if re.search(r'["\\]', value):
            raise illegal_argument(
                f"Invalid field name '{value}'. Field names including over, by and partition fields cannot contain "
                'any of these characters: ",\\'
            )
        if not value:
            raise illegal_argument("field names cannot be empty")
    if function.feature in {"count", "rare"}:
        if "field_name" in fields:
            raise illegal_argument(f"field_name cannot be used with function '{name}'")
    elif "field_name" not in fields:
        if "by_field_name" not in fields and "over_field_name" not in fields:
            raise illegal_argument(
                "Unless a count or temporal function is used one of field_name, by_field_name or over_field_name "
                "must be set"
            )
        raise illegal_argument(f"field_name must be set when the '{name}' function is used")
    if function.feature == "rare" and "by_field_name" not in fields:
        raise illegal_argument(f"by_field_name must be set when the '{name}' function is used")
    splits = [(field, fields[field]) for field in ("partition_field_name", "by_field_name", "over_field_name")
              if field in fields]  # fmt: skip
    for number, (field, value) in enumerate(splits):
        for other, same in splits[number + 1 :]:
            if value == same:
                raise illegal_argument(f"{field} and {other} cannot be the same: '{value}'")
        if value in {"count", "by", "over"}:
            raise illegal_argument(f"'{value}' is not a permitted value for {field}")


def default_description(detector: dict[str, Any]) -> str:
    """The description of a detector that brings none, for example ``mean(bytes) by "user.name"``."""
    text = str(detector["function"])
    if "field_name" in detector:
        text += f"({_quoted(detector['field_name'])})"
    for word, field in ((" by ", "by_field_name"), (" over ", "over_field_name")):
        if field in detector:
            text += word + _quoted(detector[field])
    if detector.get("use_null"):
        text += " usenull=true"
    if "partition_field_name" in detector:
        text += " partitionfield=" + _quoted(detector["partition_field_name"])
    return text


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r"\W", name) else name


def parse_rule(body: Any, detector: dict[str, Any]) -> dict[str, Any]:
    """A custom rule with its defaults."""
    parse_strict("detection_rule", body, {"actions": list, "scope": dict, "conditions": list})
    actions = body.get("actions") or ["skip_result"]
    if unknown := [action for action in actions if action not in ACTIONS]:
        raise parse_error("detection_rule", f"failed to parse field [actions]: no such action [{unknown[0]}]")
    if "force_time_shift" in actions:
        raise unsupported("the rule action [force_time_shift]")
    rule: dict[str, Any] = {"actions": actions}
    available = [detector[f] for f in ("by_field_name", "over_field_name", "partition_field_name") if f in detector]
    for name, reference in (body.get("scope") or {}).items():
        parse_strict("filter_ref", reference, {"filter_id": str, "filter_type": str})
        if reference.get("filter_id") is None:
            raise required("filter_ref", "filter_id")
        if not available:
            raise illegal_argument(
                f"Invalid detector rule: scope field '{name}' is invalid; detector has no available fields for scoping"
            )
        if name not in available:
            raise illegal_argument(
                f"Invalid detector rule: scope field '{name}' is invalid; select from [{', '.join(sorted(available))}]"
            )
        kind = reference.get("filter_type", "include")
        if kind not in {"include", "exclude"}:
            raise parse_error("filter_ref", "failed to parse field [filter_type]")
        rule.setdefault("scope", {})[name] = {"filter_id": reference["filter_id"], "filter_type": kind}
    for condition in body.get("conditions") or []:
        rule.setdefault("conditions", []).append(_parse_condition(condition, detector["function"]))
    judged = {condition["applies_to"] for condition in rule.get("conditions", [])} & {"typical", "diff_from_typical"}
    if judged and "skip_model_update" in actions:  # the model here learns a value in the step that judges it
        raise unsupported(f"the rule action [skip_model_update] under a condition on [{min(judged)}]")
    if len(rule) == 1:
        raise illegal_argument("Invalid detector rule: at least scope or a condition is required")
    return rule


def _parse_condition(body: Any, function: str) -> dict[str, Any]:
    parse_strict("rule_condition", body, {"applies_to": str, "operator": str, "value": float})
    missing = [name for name in ("applies_to", "operator", "value") if body.get(name) is None]
    if missing:
        raise required("rule_condition", *missing)
    if body["applies_to"] not in _APPLIES_TO or body["operator"] not in _OPERATORS:
        bad = "applies_to" if body["applies_to"] not in _APPLIES_TO else "operator"
        raise parse_error("rule_condition", f"failed to parse field [{bad}]")
    if function == "rare" and body["applies_to"] != "time":
        raise illegal_argument(
            f"Invalid detector rule: function {function} only supports conditions that apply to time"
        )
    return {"applies_to": body["applies_to"], "operator": body["operator"], "value": float(body["value"])}


def rule_applies(
    rule: dict[str, Any], values: dict[str, str], filters: dict[str, frozenset[str]], numbers: dict[str, float]
) -> bool:
    """Whether a rule holds for one value of a detector.

    :param values: the by, over and partition values by field name
    :param filters: the items of every filter that the job's rules name
    :param numbers: ``actual``, ``typical``, ``diff_from_typical`` and ``time`` (epoch seconds of the bucket)
    """
    for name, reference in rule.get("scope", {}).items():
        inside = _listed(values.get(name, ""), filters.get(reference["filter_id"], frozenset()))
        if inside != (reference["filter_type"] == "include"):
            return False
    for condition in rule.get("conditions", []):
        number, limit = numbers.get(condition["applies_to"]), condition["value"]
        if number is None:
            return False
        holds = {"gt": number > limit, "gte": number >= limit, "lt": number < limit, "lte": number <= limit}
        if not holds[condition["operator"]]:
            return False
    return True


def _listed(value: str, items: frozenset[str]) -> bool:
    # A filter's item may begin or end with a wildcard (documentation, "Add filter lists").
    return value in items or any(
        "*" in item and re.fullmatch(".*".join(map(re.escape, item.split("*"))), value) is not None for item in items
    )
