"""What would not start, would not do what it looks like, or would lose events: said with file, line and remedy.

`--config.test_and_exit` of Logstash finds the first kind only, and does not look into grok patterns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from elastic_sandbox.logstash.config import SECTIONS, Branch, ConfigError, Plugin, Selector, Statement, parse, plugins
from elastic_sandbox.logstash.plugin import references
from elastic_sandbox.logstash.regex import CORE, read_patterns
from elastic_sandbox.logstash.runner import Pipeline, Runner, read, variables_of
from elastic_sandbox.logstash.settings import NOT_WITH_DATA_STREAMS, PIPELINE_SETTINGS, PLUGINS
from elastic_sandbox.logstash.variables import substituted

ECS_OBJECTS = frozenset(
    [
        "agent",
        "client",
        "container",
        "data_stream",
        "destination",
        "dns",
        "ecs",
        "error",
        "event",
        "file",
        "group",
        "host",
        "http",
        "log",
        "network",
        "observer",
        "organization",
        "process",
        "related",
        "server",
        "service",
        "source",
        "threat",
        "trace",
        "transaction",
        "url",
        "user",
        "user_agent",
    ]
)
_SECRETS = ("password", "passphrase", "api_key", "cloud_auth", "secret")


class Finding(NamedTuple):
    """One thing to mend.

    :param place: `file:line`.
    :param rule: its short name.
    :param sentence: what happens and what to write instead.
    """

    place: str
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}: {self.sentence}"


@dataclass
class _Scope:
    """What is known at a statement: fields that a condition around it names, or that something before it set."""

    pipeline: Pipeline
    variables: Mapping[str, str]
    known: set[str]
    ids: dict[str, str]


def lint(path: Path, variables: Mapping[str, str] | None = None) -> list[Finding]:
    """Findings in a folder with `config/pipelines.yml`, or in one configuration file; none is good.

    :param variables: those that are set where it will run, beside the folder's `env.example`.
    """
    folder = path if path.is_dir() else path.parent
    known = variables_of(folder, variables)
    if path.is_dir():
        try:
            pipelines = read(path, known)
        except ConfigError as error:
            return [_refused(error, path)]
    else:
        try:
            pipelines = [Pipeline(path.stem, {}, [str(path)], parse(path.read_text("utf-8"), path.name))]
        except ConfigError as error:
            return [_refused(error, path)]
    everywhere = {field for each in pipelines for p in plugins(_all(each)) for field in sets(p) if "@metadata" in field}
    findings: list[Finding] = []
    ids: dict[str, str] = {}
    for pipeline in pipelines:
        for section in SECTIONS:
            scope = _Scope(pipeline, known, set(everywhere), ids)
            findings += _statements(pipeline.sections[section], scope)
    if path.is_dir():
        findings += _overview(path, pipelines)
        if not any(finding.rule in {"unknown-plugin", "unknown-setting", "obsolete-setting"} for finding in findings):
            try:
                Runner(path, variables)
            except ConfigError as error:
                findings.append(_refused(error, path))
    return findings


def sets(plugin: Plugin) -> Iterator[str]:
    """The fields that a plugin may set, in brackets."""
    settings = plugin.settings
    for name in ("add_field", "replace", "update"):
        yield from map(_bracketed, settings.get(name, {}))
    for name in ("rename", "copy"):
        yield from (_bracketed(str(value)) for value in settings.get(name, {}).values())
    yield from map(_bracketed, settings.get("merge", {}))
    if isinstance(target := settings.get("target"), str):
        yield _bracketed(target)
    if plugin.name == "grok":
        for pattern in _patterns(plugin):
            yield from (_bracketed(field) for field in re.findall(r"%\{[A-Z0-9_]+:([^:}]+)", pattern))
            yield from (_bracketed(field) for field in re.findall(r"\(\?<([^=!>][^>]*)>", pattern))


def _statements(statements: Iterable[Statement], scope: _Scope) -> Iterator[Finding]:
    grok: Plugin | None = None
    for statement in statements:
        if isinstance(statement, Branch):
            named = set(scope.known)
            for condition, body in statement.arms:
                if condition is not None:
                    named |= set(_selectors(condition))
                    yield from _conditions(condition, statement)
                yield from _statements(body, _Scope(scope.pipeline, scope.variables, set(named), scope.ids))
                scope.known |= {field for plugin in plugins(body) for field in sets(plugin)}
            continue
        for rule in _RULES:
            yield from rule(statement, scope)
        if statement.name == "grok":
            if grok is not None and set(_fields(grok)) & set(_fields(statement)) and _tags(grok) and _tags(statement):
                yield Finding(
                    statement.place,
                    "sequential-groks",
                    f"this grok follows that of line {grok.line} on the same field: what one does not match gets "
                    "_grokparsefailure, so every event does. Write one grok with a list of patterns",
                )
            grok = statement
        scope.known |= set(sets(statement))


# Rules about one plugin.


def _settings(plugin: Plugin, _: _Scope) -> Iterator[Finding]:
    declared = PLUGINS.get((plugin.section, plugin.name))
    if declared is None:
        yield Finding(
            plugin.place, "unknown-plugin", f"the {plugin.section} {plugin.name} is none that these pipelines need"
        )
        return
    for name in plugin.settings:
        if name in declared.obsolete:
            yield Finding(
                plugin.place,
                "obsolete-setting",
                f"{plugin.name} has no {name} any more; Logstash 9 does not start: write {declared.obsolete[name]}",
            )
        elif name not in declared.names:
            yield Finding(
                plugin.place, "unknown-setting", f"{plugin.name} has no setting {name}: Logstash does not start"
            )
    for name in sorted(declared.required - plugin.settings.keys()):
        yield Finding(plugin.place, "missing-setting", f"{plugin.name} does not start without {name}")


def _id(plugin: Plugin, scope: _Scope) -> Iterator[Finding]:
    name = plugin.settings.get("id")
    if name is None:
        yield Finding(
            plugin.place,
            "no-id",
            f"this {plugin.name} has no id: metrics, logs and dead letters name it by a number that changes",
        )
    elif name in scope.ids:
        yield Finding(plugin.place, "same-id", f"the id {name} is taken by {scope.ids[name]}: Logstash does not start")
    else:
        scope.ids[name] = plugin.place


def _data_stream(plugin: Plugin, _: _Scope) -> Iterator[Finding]:
    if (plugin.section, plugin.name) != ("output", "elasticsearch"):
        return
    settings = plugin.settings
    ilm = sorted(name for name in settings if name.startswith("ilm_"))
    if str(settings.get("data_stream")) == "true":
        if wrong := sorted(NOT_WITH_DATA_STREAMS & settings.keys()):
            yield Finding(
                plugin.place,
                "ilm-and-data-stream" if set(ilm) & set(wrong) else "index-and-data-stream",
                f"data_stream => true does not go with {', '.join(wrong)}: Logstash does not start. The stream's index "
                "template names its lifecycle",
            )
        return
    if "index" in settings and ilm and "ilm_rollover_alias" not in settings:
        yield Finding(
            plugin.place,
            "ilm-ignored",
            f"with index and without ilm_rollover_alias the settings {', '.join(ilm)} are ignored in silence, and the "
            "indices live for ever. Write data_stream => true and name the lifecycle in the index template",
        )
    elif "data_stream" not in settings:
        yield Finding(
            plugin.place,
            "no-data-stream",
            "without data_stream => true one wrong setting turns it into an index in silence",
        )


def _grok(plugin: Plugin, scope: _Scope) -> Iterator[Finding]:
    if plugin.name != "grok":
        return
    definitions = dict(CORE)
    for folder in _listed(plugin.settings.get("patterns_dir", [])):
        try:
            definitions |= read_patterns(Path(substituted(folder, scope.variables)))
        except ConfigError as error:
            yield Finding(plugin.place, "no-patterns", str(error))
    definitions |= plugin.settings.get("pattern_definitions", {})
    for pattern in _patterns(plugin):
        shown = pattern if len(pattern) <= 60 else f"{pattern[:40]} ... {pattern[-15:]}"
        for name in dict.fromkeys(re.findall(r"%\{([A-Z0-9_]+)[:}]", pattern)):
            if name not in definitions:
                yield Finding(
                    plugin.place, "unknown-pattern", f"grok knows no pattern {name} here; Logstash does not start"
                )
        if re.search(r"%\{DATA:[^}]+\}\)?\s*$|\.\*\?\)$", pattern):
            yield Finding(
                plugin.place,
                "last-data",
                f"{shown!r} ends with DATA and no anchor: it matches as little as possible, nothing, and the field is "
                "never stored. Write GREEDYDATA or NOTSPACE, and \\z",
            )
        if not pattern.startswith(("^", r"\A")):
            yield Finding(
                plugin.place,
                "unanchored",
                f"{shown!r} has no \\A: it is tried at every position of a line that it does not match, and takes "
                "parts of lines for whole ones",
            )
        for field in re.findall(r"%\{[A-Z0-9_]+:([^:}\[]+)[:}]", pattern):
            if field in ECS_OBJECTS:
                yield Finding(
                    plugin.place,
                    "flat-name",
                    f"the field {field} is an object in ECS: a document with a text there is refused. Write "
                    f"[{field}][name] or what is meant",
                )


def _date(plugin: Plugin, _: _Scope) -> Iterator[Finding]:
    if plugin.name != "date" or "timezone" in plugin.settings:
        return
    formats = _listed(plugin.settings.get("match", []))[1:]
    if any("Z" not in each.replace("'Z'", "") and not each.startswith(("UNIX", "TAI")) for each in formats):
        yield Finding(
            plugin.place,
            "no-zone",
            f"{', '.join(map(str, formats))}: a time without a zone is taken in the zone of the machine: set timezone",
        )


def _unresolved(plugin: Plugin, scope: _Scope) -> Iterator[Finding]:
    own = {_bracketed(str(v)) for n in ("rename", "copy") for v in plugin.settings.get(n, {}).values()}
    known = scope.known | own | (set(sets(plugin)) if plugin.name == "grok" else set())
    for reference in references(
        {k: v for k, v in plugin.settings.items() if k not in {"match", "pattern_definitions"}}
    ):
        field = _bracketed(reference)
        parts = re.findall(r"\[[^\]]+\]", field)
        parents = {"".join(parts[:size]) for size in range(1, len(parts) + 1)}
        covered = parents & known or any(each.startswith(field) for each in known)
        if field != "[@timestamp]" and not covered and not reference.startswith("{"):
            yield Finding(
                plugin.place,
                "unresolved",
                f"%{{{reference}}} is stored as it is written where the field is missing: test it with if, or copy it",
            )


def _mutate_order(plugin: Plugin, _: _Scope) -> Iterator[Finding]:
    if plugin.name != "mutate":
        return
    settings = plugin.settings
    late = {_bracketed(str(value)) for value in settings.get("copy", {}).values()}
    late |= set(map(_bracketed, settings.get("add_field", {})))
    early = {
        _bracketed(field) for name in ("uppercase", "lowercase", "strip") for field in _listed(settings.get(name, []))
    }
    early |= {_bracketed(field) for name in ("convert", "split", "join") for field in settings.get(name, {})}
    early |= {_bracketed(field) for field in _listed(settings.get("gsub", []))[::3]}
    for field in sorted(late & early):
        yield Finding(
            plugin.place,
            "mutate-order",
            f"{field} is changed before copy or add_field sets it, whatever the order here: write two mutates",
        )
    changed = {_bracketed(field) for name in ("rename", "replace", "update") for field in settings.get(name, {})}
    for reference in references({"add_field": settings.get("add_field", {})}):
        if (field := _bracketed(reference)) in changed:
            yield Finding(
                plugin.place,
                "mutate-order",
                f"add_field comes last, whatever is written: %{{{reference}}} is another by then: write two mutates",
            )


def _protected(plugin: Plugin, _: _Scope) -> Iterator[Finding]:
    for name, value in plugin.settings.items():
        if any(word in name for word in _SECRETS) and isinstance(value, str) and not re.search(r"\$\{\w+\}", value):
            yield Finding(plugin.place, "secret", f"{name} is written here: name a variable of the keystore, ${{NAME}}")
    listens = plugin.section == "input" and plugin.name in {"beats", "elastic_agent", "http"}
    if listens and plugin.settings.get("ssl_enabled") != "true":
        yield Finding(plugin.place, "no-tls", f"{plugin.name} takes events in plain text: set ssl_enabled => true")
    if plugin.section == "output" and plugin.name == "elasticsearch":
        for host in _listed(plugin.settings.get("hosts", [])):
            if not str(host).startswith(("https://", "${")):
                yield Finding(
                    plugin.place, "no-tls", f"{host} is reached in plain text, or with a key refused: write https://"
                )


def _conditions(condition: Any, branch: Branch) -> Iterator[Finding]:
    for value in condition.operands:
        if isinstance(value, Selector) and re.fullmatch(r"\[\s*[\"'].*[\"']\s*\]", value.reference):
            yield Finding(
                f"{branch.file}:{branch.line}",
                "one-in-a-list",
                f"{value.reference} is read as the field of that name, quotes and all, not as a list of one: write ==",
            )
        elif hasattr(value, "operands"):
            yield from _conditions(value, branch)


_RULES: tuple[Callable[[Plugin, _Scope], Iterator[Finding]], ...] = (
    _settings, _id, _data_stream, _grok, _date, _unresolved, _mutate_order, _protected,
)  # fmt: skip


def _overview(folder: Path, pipelines: list[Pipeline]) -> Iterator[Finding]:
    """Rules about `pipelines.yml` and how the pipelines hang together."""
    place = f"{folder.name}/config/pipelines.yml"
    read_queues = {
        str(plugin.settings.get("pipeline_id", "main")): pipeline
        for pipeline in pipelines
        for plugin in plugins(pipeline.sections["input"])
        if plugin.name == "dead_letter_queue"
    }
    for pipeline in pipelines:
        for name in pipeline.settings:
            if name not in PIPELINE_SETTINGS and not name.startswith(("api.", "path.", "log.", "config.reload")):
                yield Finding(place, "unknown-setting", f"{name} is no setting of a pipeline")
        if pipeline.settings.get("queue.type") != "persisted":
            yield Finding(place, "memory-queue", f"{pipeline.id} keeps its events in memory: a restart loses them")
        reader = read_queues.get(pipeline.id)
        if pipeline.dead_letters and reader is None:
            yield Finding(place, "unread-dead-letters", f"nobody reads the dead letter queue of {pipeline.id}")
        if reader is not None and not pipeline.dead_letters:
            yield Finding(
                place, "no-dead-letters", f"{pipeline.id} has no dead letter queue, so what is refused is lost"
            )
        if reader is pipeline and pipeline.dead_letters:
            yield Finding(
                place, "own-dead-letters", f"{pipeline.id} would read and refill its own dead letter queue for ever"
            )


def _refused(error: ConfigError, path: Path) -> Finding:
    place, _, sentence = str(error).partition(": ")
    return (
        Finding(place, "refused", sentence) if re.search(r":\d+$", place) else Finding(path.name, "refused", str(error))
    )


def _all(pipeline: Pipeline) -> tuple[Statement, ...]:
    return tuple(statement for section in pipeline.sections.values() for statement in section)


def _selectors(condition: Any) -> Iterator[str]:
    for value in condition.operands:
        if isinstance(value, Selector):
            yield value.reference
        elif hasattr(value, "operands"):
            yield from _selectors(value)


def _patterns(plugin: Plugin) -> list[str]:
    match = plugin.settings.get("match", {})
    return [str(p) for each in match.values() for p in _listed(each)] if isinstance(match, dict) else []


def _fields(plugin: Plugin) -> list[str]:
    match = plugin.settings.get("match", {})
    return list(match) if isinstance(match, dict) else []


def _tags(plugin: Plugin) -> bool:
    return plugin.settings.get("tag_on_failure") != []


def _bracketed(field: str) -> str:
    return field if field.startswith("[") else f"[{field}]"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
