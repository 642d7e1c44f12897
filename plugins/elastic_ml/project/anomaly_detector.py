"""A detector of an anomaly job in Elasticsearch's words, and what its server refuses of one."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Literal

from pydantic import model_validator

from elastic_ml.project.elastic_values import Number, number, one_of
from elastic_ml.project.yaml_files import Body, FileModel, InvalidValueError

_OF_A_FIELD = frozenset(
    f"{side}{function}"
    for function in ("distinct_count", "info_content", "mean", "avg", "median", "sum", "non_null_sum")
    for side in ("", "high_", "low_")
) | {"metric", "min", "max", "varp", "high_varp", "low_varp", "lat_long"}
_OF_EVENTS = frozenset(
    f"{side}{function}" for function in ("count", "non_zero_count") for side in ("", "high_", "low_")
) | {"rare", "freq_rare", "time_of_day", "time_of_week"}
_LONG_NAMES = {
    f"{side}{short}": f"{side}{function}"
    for short, function in (("nzc", "non_zero_count"), ("dc", "distinct_count"))
    for side in ("", "high_", "low_")
}
FUNCTIONS = _OF_A_FIELD | _OF_EVENTS | _LONG_NAMES.keys()
"""The functions of a detector; the last ones are Elasticsearch's short names."""

SPLITS = ("by_field_name", "over_field_name", "partition_field_name")
"""The keys of a detector that divide its data."""

_WITHOUT_CONDITIONS = ("lat_long", "metric", "rare", "freq_rare")
"""Functions with no single value, or none that anybody could foresee; conditions on time are taken."""


def check_field_name(name: str | None, *place: int | str) -> None:
    """Refuse what the server refuses as the name of an analysed field."""
    if name is not None and (name == "." or re.search(r'["\\\x00-\x1f\x7f-\x9f]', name)):
        raise InvalidValueError(
            f"{name!r} can be no field's name here", 'leave out ", \\ and control characters', *place
        )


class FilterReference(FileModel):
    """A filter of this file by its name, and whether the rule is for its values or for all others."""

    filter_id: str
    filter_type: Annotated[str, one_of("include", "exclude")] | None = None


class Condition(FileModel):
    """A comparison of a result, or of the time in epoch seconds, with a number."""

    applies_to: Annotated[str, one_of("actual", "typical", "diff_from_typical", "time")]
    operator: Annotated[str, one_of("gt", "gte", "lt", "lte")]
    value: Annotated[Number, number()]


class Rule(FileModel):
    """What is done with results of some values (`scope`), or of some size (`conditions`)."""

    actions: list[Annotated[str, one_of("skip_result", "skip_model_update", "force_time_shift")]] | None = None
    scope: dict[str, FilterReference] | None = None
    conditions: list[Condition] | None = None
    params: Body | None = None

    @model_validator(mode="after")
    def _says_when(self) -> Rule:
        if not self.scope and not self.conditions:
            raise InvalidValueError("the rule does not say when it applies", "add `scope:` or `conditions:`")
        shifts = "force_time_shift" in (self.actions or ())
        if shifts != bool((self.params or {}).get("force_time_shift")):
            raise InvalidValueError(
                "the action force_time_shift and its amount belong together",
                "write `params: {force_time_shift: {time_shift_amount: 3600}}` with it, or neither",
                "actions" if shifts else "params",
            )
        return self


class Detector(FileModel):
    """What is watched: a function, of a field, split by others. Elasticsearch's own words."""

    function: str
    field_name: str | None = None
    by_field_name: str | None = None
    over_field_name: str | None = None
    partition_field_name: str | None = None
    detector_description: str | None = None
    exclude_frequent: Literal["all", "none", "by", "over"] | None = None
    use_null: bool | None = None
    custom_rules: list[Rule] | None = None

    @property
    def splits(self) -> dict[str, str]:
        """The fields that divide its data, by their keys; an empty name is none."""
        return {key: value for key in SPLITS if (value := getattr(self, key))}

    @model_validator(mode="after")
    def _has_what_its_function_needs(self) -> Detector:
        if self.function not in FUNCTIONS:
            near = difflib.get_close_matches(self.function, sorted(FUNCTIONS), n=1)
            remedy = f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(FUNCTIONS))}"
            raise InvalidValueError(f"{self.function!r} is no function", remedy, "function")
        function = _LONG_NAMES.get(self.function, self.function)
        if function in _OF_A_FIELD and not self.field_name:
            raise InvalidValueError(f"{self.function} is computed of a field", "add `field_name:`", "function")
        if function in _OF_EVENTS and self.field_name:
            raise InvalidValueError(f"{self.function} has no field", "remove field_name", "field_name")
        if function.endswith("rare") and not self.by_field_name:
            raise InvalidValueError(
                f"{self.function} needs the field whose values are rare", "add `by_field_name:`", "function"
            )
        if function == "freq_rare" and not self.over_field_name:
            raise InvalidValueError("freq_rare needs a population", "add `over_field_name:`", "function")
        if function.endswith("non_zero_count") and self.over_field_name:
            raise InvalidValueError(
                f"{self.function} compares with no population", "write by_field_name, or count", "over_field_name"
            )
        self._check_fields()
        for position, rule in enumerate(self.custom_rules or ()):
            self._check_rule(function, rule, position)
        return self

    def _check_fields(self) -> None:
        for key in ("field_name", *SPLITS):
            check_field_name(getattr(self, key), key)
        seen: dict[str, str] = {}
        for key, name in self.splits.items():
            if name in seen:
                raise InvalidValueError(f"{name} is {seen[name]} already", "split by another field, or remove it", key)
            seen[name] = key
            if key != "partition_field_name" and name in {"count", "by", "over"}:
                raise InvalidValueError(
                    f"{name} can be no field here: it is a word of Elasticsearch's",
                    "give it another name in the datafeed's runtime_mappings",
                    key,
                )

    def _check_rule(self, function: str, rule: Rule, position: int) -> None:
        place = ("custom_rules", position)
        known = [name for key in SPLITS if (name := getattr(self, key)) is not None]
        for field in rule.scope or ():
            if field not in known:
                near = difflib.get_close_matches(field, known, n=1)
                use = f"use {' or '.join(known)}" if known else f"add `partition_field_name: {field}`"
                raise InvalidValueError(
                    f"the detector is not split by {field}", f"did you mean {near[0]}?" if near else use,
                    *place, "scope", field,
                )  # fmt: skip
        # The server looks at the first condition only: time first, and it takes the others.
        if rule.conditions and function in _WITHOUT_CONDITIONS and rule.conditions[0].applies_to != "time":
            raise InvalidValueError(
                f"{self.function} takes no condition on {rule.conditions[0].applies_to}",
                "write a condition on time, or a scope",
                *place, "conditions", 0, "applies_to",
            )  # fmt: skip

    def filters(self) -> list[tuple[str, tuple[int | str, ...]]]:
        """The filters that its rules name, each with its place in the detector."""
        return [
            (reference.filter_id, ("custom_rules", position, "scope", field, "filter_id"))
            for position, rule in enumerate(self.custom_rules or [])
            for field, reference in (rule.scope or {}).items()
        ]
