"""Conditions, as EventCondition.java of elastic/logstash evaluates them.

Traps kept: a regular expression matches strings only; `"x" in [field]` looks into a string or a list; a number never
equals a string; comparing with < a field that is missing, or of another type, fails the event.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from elastic_sandbox.logstash.config import Condition, ConfigError, Regexp, Selector
from elastic_sandbox.logstash.event import Event, path_of, text_of
from elastic_sandbox.logstash.regex import compiled

Test = Callable[[Event], bool]


class ConditionError(Exception):
    """A condition could not be evaluated: Logstash writes the event to the pipeline's dead letter queue."""


def build(condition: Condition, substituted: Callable[[Any], Any]) -> Test:
    """A function that says whether an event fulfils the condition.

    :param substituted: replaces environment variables in values.
    :raises ConfigError: the operands do not go together; Logstash would not start.
    """
    operator, operands = condition.operator, condition.operands
    if operator in {"and", "or"}:
        tests = [build(each, substituted) for each in operands]
        return (lambda e: all(t(e) for t in tests)) if operator == "and" else (lambda e: any(t(e) for t in tests))
    if operator == "not":
        inner = build(operands[0], substituted)
        return lambda event: not inner(event)
    values = [value if isinstance(value, Selector | Regexp) else substituted(value) for value in operands]
    for value in values:
        if isinstance(value, Selector):
            path_of(value.reference)
    if operator == "truthy":
        return _truthy(values[0])
    left, right = values
    if operator == "=~":
        return _matches(left, right)
    if isinstance(left, Regexp) or isinstance(right, Regexp):
        raise ConfigError(f"a regular expression does not go with {operator}: write =~ or !~")
    if operator == "in":
        return _contains(left, right)
    take_left, take_right = _getter(left), _getter(right)
    if operator == "==":
        return lambda event: _equal(take_left(event), take_right(event))
    if operator == "!=":
        return lambda event: not _equal(take_left(event), take_right(event))
    return lambda event: _ordered(operator, take_left(event), take_right(event))


def _getter(value: Any) -> Callable[[Event], Any]:
    if isinstance(value, Selector):
        reference = value.reference
        return lambda event: event.get(reference)
    return lambda event: value


def _truthy(value: Any) -> Test:
    take = _getter(value)
    # An empty string and the string "false" are no truths, 0 is one (valueIsTruthy).
    return lambda event: (found := take(event)) is not None and text_of(found) not in ("", "false")


def _matches(left: Any, right: Any) -> Test:
    pattern = compiled(right.pattern)
    if not isinstance(left, Selector | str):
        raise ConfigError(f"=~ needs a field or a string on its left, not {left!r}")
    take = _getter(left)
    return lambda event: isinstance(found := take(event), str) and pattern.search(found) is not None


def _contains(left: Any, right: Any) -> Test:
    if isinstance(right, list):
        if not isinstance(left, Selector):
            raise ConfigError("a constant in a constant list is the same for every event")
        texts = [text_of(item) for item in right]
        take = _getter(left)
        return lambda event: (found := take(event)) is not None and text_of(found) in texts
    take_left, take_right = _getter(left), _getter(right)

    def inside(event: Event) -> bool:
        needle, found = take_left(event), take_right(event)
        if isinstance(needle, str) and isinstance(found, str):
            return needle in found
        if isinstance(needle, list | dict) or needle is None:
            return False
        return any(_equal(needle, item) for item in found) if isinstance(found, list) else _equal(needle, found)

    return inside


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        # `true` without quotes is a word in a configuration, and so the string "true": never equal to a boolean.
        return left is right
    return type(left) is type(right) and bool(left == right)


def _ordered(operator: str, left: Any, right: Any) -> bool:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if not numbers and not (type(left) is type(right) and isinstance(left, str | datetime)):
        raise ConditionError(f"{left!r} {operator} {right!r} cannot be compared")
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
