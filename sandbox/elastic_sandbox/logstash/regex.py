"""Ruby's regular expressions (Onigmo) as Python's, and grok patterns on top of them.

What differs and is translated: `^` and `$` are always those of a line; `(?m:` lets the dot match a newline; `\\h`,
`\\z`, `\\Z`; names of groups that are references to fields. `\\d`, `\\w`, `\\s` are ASCII in both. What cannot be
translated is refused. Source: doc/RE of k-takata/Onigmo, "Syntax: Ruby".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from elastic_sandbox.logstash.config import ConfigError

_ESCAPES = {"h": "[0-9a-fA-F]", "H": "[^0-9a-fA-F]", "z": r"\Z", "Z": r"(?=\n?\Z)", "/": "/", '"': '"', "'": "'"}
_NOT_SUPPORTED = "RXKGpPgkyYuoN"
_GROK = re.compile(r"%\{(?P<name>[A-Z0-9_]+)(?::(?P<field>[^:}]+))?(?::(?P<type>[^}]+))?\}")

# The patterns of logstash-patterns-core (ecs-v1) that pipelines here may use, written anew; see its grok-patterns.
CORE = {
    "SPACE": r"\s*",
    "NOTSPACE": r"\S+",
    "DATA": r".*?",
    "GREEDYDATA": r".*",
    "WORD": r"\b\w+\b",
    "INT": r"(?:[+-]?[0-9]+)",
    "NUMBER": r"(?:(?<![0-9.+-])(?>[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)))",
    "UUID": r"[A-Fa-f0-9]{8}-(?:[A-Fa-f0-9]{4}-){3}[A-Fa-f0-9]{12}",
    "YEAR": r"(?>\d\d){1,2}",
    "MONTHNUM": r"(?:0?[1-9]|1[0-2])",
    "MONTHDAY": r"(?:0[1-9]|[12][0-9]|3[01]|[1-9])",
    "HOUR": r"(?:2[0123]|[01]?[0-9])",
    "MINUTE": r"(?:[0-5][0-9])",
    "SECOND": r"(?:(?:[0-5]?[0-9]|60)(?:[:.,][0-9]+)?)",
    "ISO8601_TIMEZONE": r"(?:Z|[+-]%{HOUR}(?::?%{MINUTE}))",
    "TIMESTAMP_ISO8601": "%{YEAR}-%{MONTHNUM}-%{MONTHDAY}[T ]%{HOUR}:?%{MINUTE}(?::?%{SECOND})?%{ISO8601_TIMEZONE}?",
    "LOGLEVEL": "([Aa]lert|ALERT|[Tt]race|TRACE|[Dd]ebug|DEBUG|[Nn]otice|NOTICE|[Ii]nfo?(?:rmation)?|INFO?(?:RMATION)?|"
    "[Ww]arn?(?:ing)?|WARN?(?:ING)?|[Ee]rr?(?:or)?|ERR?(?:OR)?|[Cc]rit?(?:ical)?|CRIT?(?:ICAL)?|[Ff]atal|FATAL|"
    "[Ss]evere|SEVERE|EMERG(?:ENCY)?|[Ee]merg(?:ency)?)",
}


class Capture(NamedTuple):
    """A group of a grok pattern: the field it fills and the type it is read as."""

    group: str
    field: str
    type: str | None


class Grok(NamedTuple):
    """A compiled grok pattern."""

    pattern: re.Pattern[str]
    captures: tuple[Capture, ...]


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression of Ruby.

    :raises ConfigError: it is none, or uses what Python's has not.
    """
    return _compile(translated(pattern)[0], pattern)


def grok(pattern: str, definitions: Mapping[str, str]) -> Grok:
    """A grok pattern with its captures in order; a field may be captured at several places.

    :param definitions: the pipeline's own patterns, which win over the built-in ones.
    :raises ConfigError: a pattern of that name does not exist, or the whole is no regular expression.
    """
    types: dict[str, str | None] = {}
    expanded = _expanded(pattern, definitions, types, ())
    text, names = translated(expanded)
    captures = tuple(Capture(group, field.split("\0")[0], types.get(field)) for group, field in names.items())
    return Grok(_compile(text, pattern), captures)


def read_patterns(folder: Path) -> dict[str, str]:
    """The definitions in the files of a `patterns_dir`: a name, a space, the pattern.

    :raises ConfigError: the folder does not exist; Logstash would start and then know none of its names.
    """
    if not folder.is_dir():
        raise ConfigError(f"the patterns_dir {folder} does not exist: correct the variable that names it")
    definitions = {}
    for file in sorted(folder.iterdir()):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, pattern = line.strip().partition(" ")
            if name and not name.startswith("#"):
                definitions[name] = pattern.strip()
    return definitions


def _expanded(
    pattern: str, definitions: Mapping[str, str], types: dict[str, str | None], inside: tuple[str, ...]
) -> str:
    def one(found: re.Match[str]) -> str:
        name, field, kind = found["name"], found["field"], found["type"]
        definition = definitions.get(name) or CORE.get(name)
        if definition is None:
            raise ConfigError(f"grok knows no pattern {name}: define it in a file of patterns_dir")
        if name in inside:
            raise ConfigError(f"the grok pattern {name} contains itself")
        if kind not in {None, "int", "float", "string"}:
            raise ConfigError(f"grok converts to int and float only, not to {kind}")
        inner = _expanded(definition, definitions, types, (*inside, name))
        if not field:
            return f"(?:{inner})"
        unique = f"{field}\0{len(types)}"
        types[unique] = kind
        return f"(?<{unique}>{inner})"

    return _GROK.sub(one, pattern)


def translated(pattern: str) -> tuple[str, dict[str, str]]:
    """Python's spelling, and group → name as written."""
    out: list[str] = []
    names: dict[str, str] = {}
    at, in_class, size = 0, False, len(pattern)
    while at < size:
        char = pattern[at]
        if char == "\\":
            following = pattern[at + 1 : at + 2]
            if following in _NOT_SUPPORTED and following:
                raise ConfigError(f"\\{following} in the regular expression {pattern!r} is not supported by the runner")
            escape = _ESCAPES.get(following)
            if escape and in_class and following in "hH":
                escape = "0-9a-fA-F" if following == "h" else None
            out.append(escape if escape else char + following)
            at += 2
            continue
        if in_class:
            if char == "[" or pattern.startswith("&&", at):
                raise ConfigError(f"a class inside a class in {pattern!r} is not supported by the runner")
            in_class = char != "]"
        elif char == "[":
            in_class = True
            if pattern[at + 1 : at + 2] == "^":
                out.append(char)
                at, char = at + 1, "^"
            if pattern[at + 1 : at + 2] == "]":
                raise ConfigError(f"an empty class in {pattern!r}")
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in ("=", "!"):
            end = pattern.index(">", at)
            names[f"g{len(names)}"] = pattern[at + 3 : end]
            out.append(f"(?P<g{len(names) - 1}>")
            at = end + 1
            continue
        elif flags := re.match(r"\(\?([mix]*)(-[mix]+)?([:)])", pattern[at:]):
            if flags[3] == ")" or flags[2]:
                raise ConfigError(f"{flags[0]} in {pattern!r} is not supported by the runner: write (?m: ... )")
            out.append(f"(?{flags[1].replace('m', 's')}:")
            at += flags.end()
            continue
        out.append(char)
        at += 1
    return "".join(out), names


def _compile(text: str, written: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.MULTILINE | re.ASCII)
    except re.error as error:
        raise ConfigError(f"{written!r} is no regular expression that the runner can read: {error}") from None
