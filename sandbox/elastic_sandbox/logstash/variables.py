"""`${NAME}` and `${NAME:default}` in settings (substitution_variables.rb of elastic/logstash).

Logstash looks into its keystore first, then into the environment; the runner takes both from one mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from elastic_sandbox.logstash.config import ConfigError, Plugin

PLACEHOLDER = re.compile(r"\$\{(?P<name>[a-zA-Z_.][a-zA-Z0-9_.]*)(?::(?P<default>[^}]*))?\}")


def substituted(value: Any, variables: Mapping[str, str], *, refine: bool = False) -> Any:
    """The value with its variables replaced, at any depth (keys are left alone).

    :param refine: in settings of plugins, a variable's quotes are taken off, and `[a, b]` becomes a list.
    :raises ConfigError: a variable is not set and has no default.
    """
    if isinstance(value, Plugin):
        return value
    if isinstance(value, dict):
        return {key: substituted(item, variables, refine=refine) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, variables, refine=refine) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value

    def one(found: re.Match[str]) -> str:
        held = variables.get(found["name"], found["default"])
        if held is None:
            raise ConfigError(
                f"the variable {found['name']} is not set and has no default: set it in the keystore or environment"
            )
        return held

    text = PLACEHOLDER.sub(one, value)
    if not refine or text == value:
        return text
    text = _unquoted(text)
    return [_unquoted(part.strip()) for part in text[1:-1].split(",")] if text[:1] == "[" and text[-1:] == "]" else text


def names(value: Any) -> Iterator[tuple[str, str | None]]:
    """Every variable in a value, with its default."""
    if isinstance(value, Plugin):
        value = value.settings
    if isinstance(value, dict):
        for item in value.values():
            yield from names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from names(item)
    elif isinstance(value, str):
        yield from ((found["name"], found["default"]) for found in PLACEHOLDER.finditer(value))


def read_example(file: Path) -> dict[str, str]:
    """`NAME=value` lines of the example environment; comments and blank lines are left out."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#") and "=" in line)


def _unquoted(text: str) -> str:
    for quote in "'\"":
        if len(text) > 1 and text[0] == text[-1] == quote:
            text = text[1:-1]
    return text
