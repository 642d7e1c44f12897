"""The mutate filter: many operations in an order of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from elastic_sandbox.logstash.event import Event, FieldError, copied, text_of
from elastic_sandbox.logstash.plugin import Filter, Settings, array
from elastic_sandbox.logstash.regex import compiled


class Mutate(Filter):
    """logstash-filter-mutate, mutate.rb: whatever the order in the file, that of `ORDER`; then add_field and its kind.

    Trap: an operation that fails ends the others and tags the event `_mutate_error`.
    """

    ORDER = (
        "coerce", "rename", "update", "replace", "convert", "gsub", "uppercase", "capitalize", "lowercase", "strip",
        "split", "join", "merge", "copy",
    )  # fmt: skip
    supported = frozenset(ORDER) - {"coerce", "capitalize"} | {"tag_on_failure"}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.tag = settings.get("tag_on_failure", "_mutate_error")
        if wrong := set(settings.hash("convert").values()) - {"integer", "float", "boolean", "string"}:
            raise settings.error(f"convert to {', '.join(sorted(wrong))} is not supported by the runner")
        listed = {"uppercase", "lowercase", "strip"}
        self.steps: list[Callable[[Event], None]] = []
        for name in self.ORDER:
            if name == "gsub":
                triples = settings.list("gsub")
                if len(triples) % 3:
                    raise settings.error("gsub takes three values at a time: field, pattern, replacement")
                for at in range(0, len(triples), 3):
                    if "%{" in str(triples[at + 1]) or "\\" in str(triples[at + 2]):
                        raise settings.error(
                            "gsub: %{} in a pattern, \\ in a replacement are not supported by the runner"
                        )
                    self.steps.append(_gsub(triples[at], compiled(str(triples[at + 1])), str(triples[at + 2])))
            elif name in listed:
                self.steps += [_strings(field, _CASES[name]) for field in settings.list(name)]
            elif name in settings:
                step = getattr(self, f"_{name}")
                self.steps += [partial(step, field=field, value=value) for field, value in settings.hash(name).items()]

    def __call__(self, event: Event) -> None:  # noqa: D102
        try:
            for step in self.steps:
                step(event)
            self.matched(event)
        except (FieldError, ValueError, TypeError):
            event.tag(self.tag)

    @staticmethod
    def _rename(event: Event, field: str, value: str) -> None:
        old = event.sprintf(field)
        if event.include(old):
            event.set(event.sprintf(value), event.remove(old))

    @staticmethod
    def _update(event: Event, field: str, value: Any) -> None:
        if event.include(field):
            event.set(field, event.sprintf(value))

    @staticmethod
    def _replace(event: Event, field: str, value: Any) -> None:
        event.set(field, event.sprintf(value))

    @staticmethod
    def _convert(event: Event, field: str, value: str) -> None:
        held, converted = event.get(field), _CONVERTERS[value]
        if isinstance(held, list):
            event.set(field, [item if item is None else converted(item) for item in held])
        elif held is not None and not isinstance(held, dict):
            event.set(field, converted(held))

    @staticmethod
    def _split(event: Event, field: str, value: str) -> None:
        if isinstance(held := event.get(field), str):
            parts = held.split(value) if value != " " else held.split()
            while parts and not parts[-1]:  # Ruby leaves out empty parts at the end
                parts.pop()
            event.set(field, parts)

    @staticmethod
    def _join(event: Event, field: str, value: str) -> None:
        if isinstance(held := event.get(field), list):
            event.set(field, value.join(text_of(item) for item in held))

    @staticmethod
    def _merge(event: Event, field: str, value: Any) -> None:
        for source in array(value):
            held, added = event.get(field), event.get(source)
            if isinstance(held, dict) != isinstance(added, dict):
                continue  # logged as an error, no more
            event.set(field, {**held, **added} if isinstance(held, dict) else [*array(held), *array(added)])

    @staticmethod
    def _copy(event: Event, field: str, value: str) -> None:
        held = event.get(field)
        if held is not None:
            event.set(value, copied(held))


def _gsub(field: str, pattern: re.Pattern[str], replacement: str) -> Callable[[Event], None]:
    def step(event: Event) -> None:
        value, text = event.get(field), event.sprintf(replacement)
        if isinstance(value, str):
            event.set(field, pattern.sub(lambda _: text, value))
        elif isinstance(value, list):
            event.set(field, [pattern.sub(lambda _: text, i) if isinstance(i, str) else i for i in value])

    return step


def _strings(field: str, change: Callable[[str], str]) -> Callable[[Event], None]:
    def step(event: Event) -> None:
        value = event.get(field)
        if isinstance(value, str):
            event.set(field, change(value))
        elif isinstance(value, list):
            event.set(field, [change(item) if isinstance(item, str) else item for item in value])

    return step


_CASES: dict[str, Callable[[str], str]] = {
    "uppercase": str.upper,
    "lowercase": str.lower,
    "strip": lambda text: text.strip("\0\t\n\v\f\r "),
}


def _integer(value: Any) -> int:
    if isinstance(value, str):
        text = value.strip().replace(",", "")
        if re.match(r"[+-]?0[xX]", text):
            return int(text, 16)
        if "e" in text:
            return int(float(text))
        return int(found[0]) if (found := re.match(r"[+-]?\d+", text)) else 0  # String#to_i never fails
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, str):
        value = value.strip().replace(",", "")
        if not re.fullmatch(r"[+-]?(\d[\d_]*)(\.\d+)?([eE][+-]?\d+)?", value):
            raise ValueError(f"invalid value for Float(): {value!r}")
    return float(value)


def _boolean(value: Any) -> Any:
    text = text_of(value)
    if re.search(r"^(true|t|yes|y|1|1.0)$", text, re.IGNORECASE | re.MULTILINE):
        return True
    if not text or re.search(r"^(false|f|no|n|0|0.0)$", text, re.IGNORECASE | re.MULTILINE):
        return False
    return value  # with a warning in the log


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "float": _float,
    "boolean": _boolean,
    "string": text_of,
}
