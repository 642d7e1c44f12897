"""Filters that take texts apart: json, grok, kv, date."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elastic_sandbox.logstash import dates
from elastic_sandbox.logstash.config import ConfigError
from elastic_sandbox.logstash.event import TIMESTAMP, Event, FieldError, text_of, timestamp_of
from elastic_sandbox.logstash.plugin import Filter, Settings, array
from elastic_sandbox.logstash.regex import compiled, grok, read_patterns


class Json(Filter):
    """logstash-filter-json, json.rb. Into the root it goes key by key: what came before a failing key stays."""

    supported = frozenset({"source", "target", "tag_on_failure", "skip_on_invalid_json"})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.source = settings["source"]
        self.target = settings.get("target")
        self.tags = settings.list("tag_on_failure") if "tag_on_failure" in settings else ["_jsonparsefailure"]

    def __call__(self, event: Event) -> None:  # noqa: D102
        source = event.get(self.source)
        if source is None:
            return
        try:
            parsed = _load(source)
            if self.target:
                event.set(self.target, parsed)
            else:
                self._into_root(event, parsed)
        except (ValueError, RecursionError, FieldError, TypeError):
            for tag in self.tags:
                event.tag(tag)
            return
        self.matched(event)

    @staticmethod
    def _into_root(event: Event, parsed: Any) -> None:
        if not isinstance(parsed, dict):
            raise ValueError("no object")  # noqa: TRY004
        given = parsed.pop(TIMESTAMP, None)
        for key, value in parsed.items():
            event.set(key, value)
        if given is None:
            return
        moment = timestamp_of(given)
        if moment is None:
            event.tag("_timestampparsefailure")
            event.set("_@timestamp", text_of(given))
        else:
            event.set(TIMESTAMP, moment)


class GrokFilter(Filter):
    """logstash-filter-grok, grok.rb; empty captures are no fields, a second capture of a field makes a list."""

    supported = frozenset({"match", "patterns_dir", "pattern_definitions", "break_on_match", "overwrite",
                           "tag_on_failure", "timeout_millis"})  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        definitions: dict[str, str] = {}
        try:
            for folder in settings.list("patterns_dir"):
                definitions |= read_patterns(Path(folder))
            definitions |= settings.hash("pattern_definitions")
            self.groks = [
                (field, [grok(pattern, definitions) for pattern in (each if isinstance(each, list) else [each])])
                for field, each in settings.hash("match").items()
            ]
        except ConfigError as error:
            raise settings.error(str(error)) from None
        self.break_on_match = settings.flag("break_on_match", default=True)
        self.overwrite = set(settings.list("overwrite"))
        self.tags = settings.list("tag_on_failure") if "tag_on_failure" in settings else ["_grokparsefailure"]

    def __call__(self, event: Event) -> None:  # noqa: D102
        matched = False
        for field, groks in self.groks:
            value = event.get(field)
            for text in value if isinstance(value, list) else [value]:
                matched |= self._match(event, groks, text_of(text))
            if matched and self.break_on_match:
                break
        if matched:
            self.matched(event)
        for tag in () if matched else self.tags:
            event.tag(tag)

    def _match(self, event: Event, groks: list[Any], text: str) -> bool:
        matched = False
        for each in groks:
            found = each.pattern.search(text)
            if found is None:
                continue
            matched = True
            for group, field, kind in each.captures:
                captured = found[group]
                if captured:
                    self._keep(event, field, _typed(captured, kind))
            if self.break_on_match:
                break
        return matched

    def _keep(self, event: Event, field: str, value: Any) -> None:
        held = None if field in self.overwrite else event.get(field)
        if held is None:
            event.set(field, value)
        elif isinstance(held, list | str):
            event.set(field, [*array(held), value])


class Date(Filter):
    """logstash-filter-date, DateFilter.java; a field that is missing is no failure."""

    supported = frozenset({"match", "target", "timezone", "locale", "tag_on_failure"})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.field, *formats = settings.list("match") or [""]
        if not formats:
            raise settings.error("match names a field and at least one format")
        try:
            zone = settings.get("timezone")
            self.parsers = [dates.parser(each, zone, settings.get("locale")) for each in formats]
        except ConfigError as error:
            raise settings.error(str(error)) from None
        self.target = settings.get("target", TIMESTAMP)
        self.tags = settings.list("tag_on_failure") if "tag_on_failure" in settings else ["_dateparsefailure"]

    def __call__(self, event: Event) -> None:  # noqa: D102
        value = event.get(self.field)
        if value is None:
            return
        for parse in self.parsers:
            if moment := parse(value):
                event.set(self.target, moment)
                self.matched(event)
                return
        for tag in self.tags:
            event.tag(tag)


class KeyValue(Filter):
    """logstash-filter-kv, kv.rb: one regular expression of key, splitter and value is scanned over the text."""

    supported = frozenset({"source", "target", "field_split", "field_split_pattern", "value_split",
                           "value_split_pattern", "whitespace", "include_keys", "include_brackets",
                           "transform_key", "allow_duplicate_values", "tag_on_failure", "timeout_millis"})  # fmt: skip

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.source = settings.get("source", "message")
        self.target = settings.get("target")
        self.keys = settings.list("include_keys")
        self.transform: Callable[[str], str] = {"lowercase": str.lower, "uppercase": str.upper}.get(
            settings.get("transform_key", ""), str
        )
        self.duplicates = settings.flag("allow_duplicate_values", default=True)
        split, value_split = settings.get("field_split", " "), settings.get("value_split", "=")
        field = settings.get("field_split_pattern") or f"[{split}]"
        divider = settings.get("value_split_pattern") or f"[{value_split}]"
        if settings.get("whitespace", "lenient") == "lenient":
            divider = f" *{divider} *"
        by_pattern = "field_split_pattern" in settings or "value_split_pattern" in settings
        key = _until(divider, field) if by_pattern else _outside(value_split + split)
        brackets = (("(", ")"), ("[", "]"), ("<", ">")) if settings.flag("include_brackets", default=True) else ()
        values = [
            f"{re.escape(first)}{_outside(re.escape(last))}?{re.escape(last)}"
            for first, last in (('"', '"'), ("'", "'"), *brackets)
        ]
        values.append(_until(field) if "field_split_pattern" in settings else _outside(split))
        self.scan = compiled(f"{key}(?:{divider})(?:{'|'.join(values)})?(?:{field}|$)")
        self.divider = compiled(divider)

    def __call__(self, event: Event) -> None:  # noqa: D102
        value = event.get(self.source)
        pairs: dict[str, Any] = {}
        for text in array(value):
            if isinstance(text, str) and self.divider.search(text):
                self._parse(text, pairs)
        if not pairs:
            return
        if self.target:
            event.set(self.target, pairs)
        else:
            for key, found in pairs.items():
                event.set(key, found)
        self.matched(event)

    def _parse(self, text: str, pairs: dict[str, Any]) -> None:
        for found in self.scan.finditer(text):
            key, value = self.transform(found[1]), next((group for group in found.groups()[1:] if group), "")
            if not value or (self.keys and key not in self.keys):
                continue
            if key not in pairs:
                pairs[key] = value
            elif self.duplicates or value not in pairs[key]:
                pairs[key] = [*array(pairs[key]), value]


def _load(source: Any) -> Any:
    """JSON as Jackson reads it: no NaN, and of a key that is there twice the last."""
    if not isinstance(source, str):
        raise ValueError("no text")  # noqa: TRY004

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is no JSON")

    return json.loads(source, parse_constant=refuse)


def _typed(text: str, kind: str | None) -> Any:
    if kind == "int":
        return int(found[0]) if (found := re.match(r"[+-]?\d+", text)) else 0
    if kind == "float":
        return float(found[0]) if (found := re.match(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", text)) else 0.0
    return text


def _outside(characters: str) -> str:
    return rf"((?:\\.|[^{characters}])+)"


def _until(*patterns: str) -> str:
    return rf"((?:(?!{'|'.join(f'(?:{each})' for each in patterns)})(?:\\.|.))+)"
