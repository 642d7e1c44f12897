"""Pipelines, wired as `pipelines.yml` says, and events run through them one after the other.

What is kept of Logstash: pipelines hand events to each other with `@metadata`; filters in order, only where their
conditions hold; each output takes a copy; a condition that fails on an event, and a document that Elasticsearch answers
with 400 or 404, go to the dead letter queue of their pipeline, if it has one, and from there to whoever reads it. What
is left out: workers, batches over time, queues on disk, metrics, TLS.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from elastic_sandbox.logstash.conditions import ConditionError, Test, build
from elastic_sandbox.logstash.config import SECTIONS, ConfigError, Plugin, Section, Statement, parse, plugins
from elastic_sandbox.logstash.event import Event, FieldError, timestamp_text
from elastic_sandbox.logstash.filters import FILTERS
from elastic_sandbox.logstash.inputs import decode_beats, decode_http
from elastic_sandbox.logstash.output import DLQ_CODES, Answer, Kept, Sink
from elastic_sandbox.logstash.plugin import Settings
from elastic_sandbox.logstash.settings import PLUGINS
from elastic_sandbox.logstash.variables import read_example, substituted

BATCH = 125
HOME = "PIPELINES_HOME"
"""The variable that says where pipelines and patterns lie; the runner sets it to the folder that it was given."""


class PipelineStopped(Exception):  # noqa: N818 - what happened, not an error of the runner
    """An event stops a pipeline, again after a restart: a filter that catches nothing sets a field inside a value."""


class Written(NamedTuple):
    """A document that was sent, and what Elasticsearch answered."""

    stream: str
    document: dict[str, Any]
    answer: Answer


class DeadLetter(NamedTuple):
    """An event in a dead letter queue."""

    event: Event
    reason: str
    plugin_id: str
    plugin_type: str


@dataclass
class Pipeline:
    """One entry of `pipelines.yml` with its configuration."""

    id: str
    settings: dict[str, Any]
    files: list[str]
    sections: dict[Section, tuple[Statement, ...]]
    filters: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    @property
    def dead_letters(self) -> bool:
        """Whether it has a dead letter queue."""
        return str(self.settings.get("dead_letter_queue.enable", False)).lower() == "true"


def read(folder: Path, variables: Mapping[str, str]) -> list[Pipeline]:
    """The pipelines of a folder with `config/pipelines.yml`: parsed, not yet built.

    :raises ConfigError: a file is missing or is no configuration.
    """
    overview = folder / "config" / "pipelines.yml"
    if not overview.is_file():
        raise ConfigError(f"{overview} does not exist: name the folder that holds config/pipelines.yml")
    general = folder / "config" / "logstash.yml"
    defaults = (
        substituted(yaml.safe_load(general.read_text(encoding="utf-8")) or {}, variables) if general.is_file() else {}
    )
    found = []
    for entry in substituted(yaml.safe_load(overview.read_text(encoding="utf-8")) or [], variables):
        name = entry["pipeline.id"]
        files = sorted(glob.glob(entry["path.config"]))
        if not files:
            raise ConfigError(f"{overview}: the pipeline {name} has no file: {entry['path.config']}")
        sections: dict[Section, tuple[Statement, ...]] = dict.fromkeys(SECTIONS, ())
        for file in files:
            shown = str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file
            for section, statements in parse(Path(file).read_text(encoding="utf-8"), shown).items():
                sections[section] += statements
        found.append(Pipeline(name, {**defaults, **entry}, files, sections))
    return found


def variables_of(folder: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the runner replaces variables with: the folder's example environment, and what is given."""
    example = folder / "env.example"
    return {**(read_example(example) if example.is_file() else {}), HOME: str(folder), **(given or {})}


class Runner:
    """Runs events through all pipelines of a folder.

    :param folder: with `config/pipelines.yml`.
    :param variables: environment and keystore in one, beside those of the folder's `env.example`.
    :param sink: takes the documents; they are kept in memory without one.
    :param now: the time of events that bring none.
    :raises ConfigError: Logstash would not start with it, or the runner does not execute something in it.
    """

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        sink: Sink | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.variables = variables_of(folder, variables)
        self.sink: Sink = sink or Kept()
        self.now = now
        self.written: list[Written] = []
        self.lost: list[DeadLetter] = []
        self.pipelines = {each.id: each for each in read(folder, self.variables)}
        self._inputs: dict[str, tuple[Pipeline, Plugin]] = {}
        self._addresses: dict[str, Pipeline] = {}
        self._readers: dict[str, tuple[Pipeline, Plugin]] = {}
        self._waiting: deque[tuple[Pipeline, Event]] = deque()
        self._documents: list[tuple[Pipeline, Plugin, Event, str, dict[str, Any], frozenset[int]]] = []
        for pipeline in self.pipelines.values():
            pipeline.filters = [self._statement(each, self._filter) for each in pipeline.sections["filter"]]
            pipeline.outputs = [self._statement(each, self._output(pipeline)) for each in pipeline.sections["output"]]
            for plugin in plugins(pipeline.sections["input"]):
                self._input(pipeline, plugin)
        for pipeline in self.pipelines.values():
            for plugin in plugins(pipeline.sections["output"]):
                for address in Settings(plugin, self._settings(plugin)).list("send_to"):
                    if address not in self._addresses:
                        raise ConfigError(
                            f"{plugin.place}: no pipeline listens at {address!r}: events would wait forever"
                        )

    # Events in.

    def beats(self, hashes: list[dict[str, Any]], input_id: str | None = None) -> None:
        """Events as Filebeat or Elastic Agent sends them."""
        pipeline, plugin = self._input_of("beats", input_id)
        self._receive(pipeline, plugin, [decode_beats(each, self._settings(plugin), self.now()) for each in hashes])

    def http(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, input_id: str | None = None
    ) -> None:
        """One request to the http input."""
        pipeline, plugin = self._input_of("http", input_id)
        self._receive(
            pipeline, plugin, decode_http(path, body, headers or {}, plugin, self._settings(plugin), self.now())
        )

    def drain(self) -> None:
        """Run until nothing waits: neither events nor documents nor dead letters."""
        while self._waiting or self._documents:
            while self._waiting:
                self._run(*self._waiting.popleft())
                if len(self._documents) >= BATCH:
                    self._flush()
            self._flush()

    def _receive(self, pipeline: Pipeline, plugin: Plugin, events: list[Event]) -> None:
        settings = Settings(plugin, self._settings(plugin))
        for event in events:
            for name, value in settings.hash("add_field").items():
                event.set(name, event.sprintf(value))
            for tag in settings.list("tags"):
                event.tag(tag)
            self._waiting.append((pipeline, event))

    def _input_of(self, kind: str, input_id: str | None) -> tuple[Pipeline, Plugin]:
        for name, (pipeline, plugin) in self._inputs.items():
            if (input_id or name) == name and (
                plugin.name == kind or (kind, plugin.name) == ("beats", "elastic_agent")
            ):
                return pipeline, plugin
        raise ConfigError(f"there is no {kind} input{f' with the id {input_id}' if input_id else ''}")

    # Through a pipeline.

    def _run(self, pipeline: Pipeline, event: Event) -> None:
        try:
            for step in pipeline.filters:
                step(event)
                if event.cancelled:
                    return
            for step in pipeline.outputs:
                step(event)
        except FieldError as error:
            raise PipelineStopped(f"the pipeline {pipeline.id} would stop on an event: {error}") from error
        except ConditionError as error:
            self._dead(
                pipeline, DeadLetter(event, f"condition evaluation error, {error}", "if-statement", "if-statement")
            )

    def _statement(
        self, statement: Statement, leaf: Callable[[Plugin], Callable[[Event], None]]
    ) -> Callable[[Event], None]:
        if isinstance(statement, Plugin):
            return leaf(statement)
        arms: list[tuple[Test, list[Callable[[Event], None]]]] = []
        for condition, body in statement.arms:
            try:
                test = build(condition, self._value) if condition else _always
            except ConfigError as error:
                raise ConfigError(f"{statement.file}:{statement.line}: {error}") from None
            arms.append((test, [self._statement(each, leaf) for each in body]))

        def branch(event: Event) -> None:
            for test, steps in arms:
                if test(event):
                    for step in steps:
                        step(event)
                        if event.cancelled:
                            return
                    return

        return branch

    def _filter(self, plugin: Plugin) -> Callable[[Event], None]:
        kind = FILTERS.get(plugin.name)
        if kind is None:
            raise ConfigError(f"{plugin.place}: the filter {plugin.name} is not supported by the runner")
        return kind(Settings(plugin, self._settings(plugin)))

    def _output(self, pipeline: Pipeline) -> Callable[[Plugin], Callable[[Event], None]]:
        def built(plugin: Plugin) -> Callable[[Event], None]:
            settings = Settings(plugin, self._settings(plugin))
            if plugin.name == "pipeline":
                addresses = settings.list("send_to")

                def hand_on(event: Event) -> None:
                    self._waiting.extend((self._addresses[address], event.clone()) for address in addresses)

                return hand_on
            if plugin.name != "elasticsearch":
                raise ConfigError(f"{plugin.place}: the output {plugin.name} is not supported by the runner")
            return self._data_stream(pipeline, plugin, settings)

        return built

    def _data_stream(self, pipeline: Pipeline, plugin: Plugin, settings: Settings) -> Callable[[Event], None]:
        if str(settings.get("data_stream")) != "true":
            raise settings.error("the runner writes to data streams only: data_stream => true")
        routing = settings.flag("data_stream_auto_routing", default=True)
        sync = settings.flag("data_stream_sync_fields", default=True)
        default = {"type": settings.get("data_stream_type", "logs"),
                   "dataset": settings.get("data_stream_dataset", "generic"),
                   "namespace": settings.get("data_stream_namespace", "default")}  # fmt: skip
        codes = DLQ_CODES | {int(code) for code in settings.list("dlq_custom_codes")}

        def send(event: Event) -> None:
            document = event.document()
            given = document.get("data_stream")
            own = {k: v for k, v in given.items() if v is not None} if isinstance(given, dict) else {}
            place = {**default, **{k: v for k, v in own.items() if k in default}} if routing else default
            if sync:
                document["data_stream"] = {**own, **place}
            stream = f"{place['type']}-{place['dataset']}-{place['namespace']}"
            self._documents.append((pipeline, plugin, event, stream, document, codes))

        return send

    def _flush(self) -> None:
        sent, self._documents = self._documents, []
        for start in range(0, len(sent), BATCH):
            batch = sent[start : start + BATCH]
            answers = self.sink([(stream, document) for _, _, _, stream, document, _ in batch])
            for (pipeline, plugin, event, stream, document, codes), answer in zip(batch, answers, strict=True):
                self.written.append(Written(stream, document, answer))
                if answer.status in codes:
                    reason = (
                        f"Could not index event to Elasticsearch. status: {answer.status}, response: {answer.error}"
                    )
                    self._dead(pipeline, DeadLetter(event, reason, str(plugin.settings.get("id")), plugin.name))
                elif answer.status not in {200, 201, 409}:
                    raise OSError(
                        f"Elasticsearch still refuses a document of {stream} with {answer.status}: {answer.error}"
                    )

    def _dead(self, pipeline: Pipeline, letter: DeadLetter) -> None:
        reader = self._readers.get(pipeline.id)
        if not pipeline.dead_letters or reader is None:
            self.lost.append(letter)
            return
        event = letter.event.clone()
        event.metadata["dead_letter_queue"] = {
            "reason": letter.reason,
            "plugin_id": letter.plugin_id,
            "plugin_type": letter.plugin_type,
            "entry_time": timestamp_text(self.now()),
        }
        self._receive(*reader, [event])

    # Building.

    def _input(self, pipeline: Pipeline, plugin: Plugin) -> None:
        settings = Settings(plugin, self._settings(plugin))
        declared = PLUGINS.get(("input", plugin.name))
        if declared is None or plugin.name not in {"beats", "elastic_agent", "http", "pipeline", "dead_letter_queue"}:
            raise ConfigError(f"{plugin.place}: the input {plugin.name} is not supported by the runner")
        if plugin.name == "pipeline":
            address = settings.get("address")
            if address in self._addresses:
                raise settings.error(f"the address {address!r} is taken by another pipeline")
            self._addresses[str(address)] = pipeline
        elif plugin.name == "dead_letter_queue":
            self._readers[str(settings.get("pipeline_id", "main"))] = (pipeline, plugin)
        else:
            self._inputs[str(settings.get("id", plugin.place))] = (pipeline, plugin)

    def _settings(self, plugin: Plugin) -> dict[str, Any]:
        try:
            return {k: substituted(v, self.variables, refine=True) for k, v in plugin.settings.items()}
        except ConfigError as error:
            raise ConfigError(f"{plugin.place}: {plugin.name}: {error}") from None

    def _value(self, value: Any) -> Any:
        return substituted(value, self.variables)


def _always(_: Event) -> bool:
    return True
