"""What all filters share: settings as Logstash coerces them, and `add_field` and its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from elastic_sandbox.logstash.config import ConfigError, Plugin
from elastic_sandbox.logstash.event import Event
from elastic_sandbox.logstash.settings import PLUGINS

_COMMON = frozenset({"id", "enable_metric", "add_field", "remove_field", "add_tag", "remove_tag", "ecs_compatibility"})


class Settings(dict[str, Any]):
    """A plugin's settings with variables replaced; what Logstash coerces is coerced when it is taken."""

    def __init__(self, plugin: Plugin, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.plugin = plugin

    def list(self, name: str) -> list[Any]:
        """A list; one value is a list of it."""
        value = self.get(name, [])
        return value if isinstance(value, list) else [value]

    def hash(self, name: str) -> dict[str, Any]:
        """A hash."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise self.error(f"{name} must be a hash: {{ ... }}")
        return {str(key): item for key, item in value.items()}

    def flag(self, name: str, default: bool) -> bool:
        """`true` or `false`, a word in a configuration."""
        value = str(self.get(name, default)).lower()
        if value not in {"true", "false"}:
            raise self.error(f"{name} must be true or false, not {value!r}")
        return value == "true"

    def error(self, problem: str) -> ConfigError:
        """A sentence with the plugin's name and place."""
        return ConfigError(f"{self.plugin.place}: {self.plugin.name}: {problem}")


class Filter:
    """The part that all filters have: `add_field` and its kind, applied when the filter did its work.

    :param supported: settings that the runner executes; others are refused.
    """

    supported: frozenset[str] = frozenset()

    def __init__(self, settings: Settings) -> None:
        declared = PLUGINS["filter", settings.plugin.name].names
        for name in settings:
            if name not in declared:
                raise settings.error(f"Unknown setting '{name}'")
            if name not in self.supported and name not in _COMMON:
                raise settings.error(f"the setting {name} is not supported by the runner; a real Logstash has it")
        if missing := PLUGINS["filter", settings.plugin.name].required - settings.keys():
            raise settings.error(f"Missing a required setting: {', '.join(sorted(missing))}")
        self.add_field = settings.hash("add_field")
        self.remove_field = settings.list("remove_field")
        self.add_tag = settings.list("add_tag")
        self.remove_tag = settings.list("remove_tag")

    def __call__(self, event: Event) -> None:
        """Filter one event."""
        raise NotImplementedError

    def matched(self, event: Event) -> None:
        """base.rb, filter_matched: fields are added, then removed, then tags."""
        for name, value in self.add_field.items():
            field = event.sprintf(name)
            for item in value if isinstance(value, list) else [value]:
                text = event.sprintf(item)
                event.set(field, [*array(event.get(field)), text] if event.include(field) else text)
        for name in self.remove_field:
            event.remove(event.sprintf(name))
        if self.add_tag:
            event.set("tags", [*array(event.get("tags")), *(event.sprintf(tag) for tag in self.add_tag)])
        if self.remove_tag and (tags := event.get("tags")):
            gone = {event.sprintf(tag) for tag in self.remove_tag}
            event.set("tags", [tag for tag in array(tags) if tag not in gone])


def array(value: Any) -> list[Any]:
    """Ruby's Array(): nothing is an empty list, one value a list of it."""
    return [] if value is None else value if isinstance(value, list) else [value]


def references(settings: dict[str, Any]) -> Iterator[str]:
    """Every `%{...}` in a plugin's settings."""
    for value in settings.values():
        for text in _texts(value):
            yield from re.findall(r"%\{([^}+{]+)\}", text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
