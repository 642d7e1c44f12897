"""Streams that somebody else manages: one processor hooks scoring in, and what it lacks on their side is said.

Nothing of such a stream is written but that processor. Whether scores reach it, and can be searched there, is up to
whoever manages it: its pipeline has to call the `@custom` pipeline, its mapping has to take `ml.<model>.*`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.reconcile import Mode, Row
from elastic_ml.project.server_objects import COMPONENT_TEMPLATE, DATES, PIPELINE, Body, differences
from elastic_ml.project.streams import simulated_template

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.names import Stream
    from elastic_ml.project.project import Project

_FRACTIONS = frozenset({"float", "double", "half_float", "scaled_float"})
MOST_HOPS = 10
"""Pipelines between a stream's own and its `@custom` one; integrations have one or two."""


class Index(NamedTuple):
    """An index of the stream, or what its template will make of the next one."""

    name: str
    mappings: Body
    settings: Body


class UnmanagedStreams:
    """Hooks scoring into the streams with `managed: false`; like `reconcile`, only `apply` writes.

    `problems` collects sentences for whoever manages such a stream, `notes` what is worth knowing.
    """

    def __init__(self, client: Elasticsearch, project: Project, mode: Mode) -> None:
        self._client = client
        self._project = project
        self._mode = mode
        self.problems: list[str] = []
        self.notes: list[str] = []

    def run(self) -> list[Row]:
        """One row per mapping that scores go into and per pipeline that is hooked into."""
        unmanaged = [stream for stream in self._project.names.audit_streams if not stream.managed]
        rows = [row for stream in unmanaged for row in self._look_at(stream)]
        return rows + [self._hook(pipeline, streams) for pipeline, streams in hooks(self._project).items()]

    def _look_at(self, stream: Stream) -> Iterator[Row]:
        written = write_index(self._client, stream.name)
        following = self._next_index(stream.name)
        if written is None:
            self.notes.append(
                f"{stream.name} does not exist yet: correct its name in project.yml, or wait for its first event. Until"
                " then the index template that fits its name is looked at."
            )
        elif not self._client.field_caps(index=stream.name, fields=["event.ingested"])["fields"]:
            self.notes.append(
                f"No event of {stream.name} says when it arrived (event.ingested, which Elastic Agent's final pipeline "
                "sets): elastic_health and monitor cannot tell which events should have got a score."
            )
        known = [index for index in (written, following) if index is not None]
        if known and not calls(self._client, known[0], stream.custom_pipeline):
            own = known[0].settings.get("index.default_pipeline") or "none"
            processor = {"pipeline": {"name": stream.custom_pipeline, "ignore_missing_pipeline": True}}
            self.notes.append(
                f"Nothing calls {stream.custom_pipeline}, where scoring is hooked in: the default pipeline of "
                f"{known[0].name} is {own}. Unless the shipper names a pipeline that calls it, whoever manages "
                f"{stream.name} has to add {json.dumps(processor)} as its last processor."
            )
        served = _served(self._project, stream.name)
        gaps = [gap for index in known for gap in score_gaps(self._project, index, served)]
        if gaps:
            self.problems.append(f"{stream.name}: {'; '.join(gaps)}. {self._remedy(stream, served)}")
            yield Row("mapping", stream.name, "conflict", "; ".join(gaps))
        elif known and served:
            yield Row("mapping", stream.name, "unchanged", f"takes ml.* of {', '.join(model.name for model in served)}")

    def _next_index(self, stream: str) -> Index | None:
        answer = simulated_template(self._client, stream, self._mode)
        template = answer.body.get("template") if answer.meta.status == 200 else None
        if template is None:
            return None
        settings = _flat(template.get("settings") or {})
        return Index(f"the next index of {stream}", template.get("mappings") or {}, settings)

    def _remedy(self, stream: Stream, served: Sequence[Model]) -> str:
        """What whoever manages the stream pastes into Dev Tools, with what their component template holds already."""
        added = {"properties": score_fields(self._project, served)}
        name = self._component(stream)
        body = {} if name is None else (COMPONENT_TEMPLATE.read(self._client, name) or {})
        kept = {key: value for key, value in body.items() if key not in DATES}
        merged = _merged(kept, {"template": {"mappings": added}})
        where = f"PUT _component_template/{name or f'{stream.type}-{stream.dataset}@custom'} {json.dumps(merged)}"
        if name is None:
            where += ", named in `composed_of` of the stream's index template"
        return (
            f"Whoever manages the stream adds the fields: {where}; for the index that is written now also "
            f"PUT {stream.name}/_mapping {json.dumps(added)}, or where a type differs, POST {stream.name}/_rollover."
        )

    def _component(self, stream: Stream) -> str | None:
        """The component template of the stream's index template that is meant for additions; None without one."""
        found = self._client.indices.get_index_template().body["index_templates"]
        templates = [item["index_template"] for item in found if _matches(item["index_template"], stream.name)]
        if not templates:
            return None
        composed = max(templates, key=lambda template: int(template.get("priority") or 0)).get("composed_of") or []
        custom = [name for name in composed if name.endswith("@custom")]
        own = f"{stream.type}-{stream.dataset}@custom"
        return own if own in custom else (custom[-1] if custom else None)

    def _hook(self, name: str, streams: Sequence[str]) -> Row:
        """Call our scoring from `<type>-<dataset>@custom`; whatever else is in that pipeline stays."""
        ours = hook_processor(self._project, streams)
        tag = ours["pipeline"]["tag"]
        current = PIPELINE.read(self._client, name)
        processors = list((current or {}).get("processors", []))
        self._note_others(name, streams, processors)
        at = next((i for i, p in enumerate(processors) if next(iter(p.values())).get("tag") == tag), None)
        detail = ""
        if at is not None:
            detail = "; ".join(differences(PIPELINE.canonical(ours), PIPELINE.canonical(processors[at])))
            if not detail:
                return Row("ingest pipeline", name, "unchanged", "calls our scoring")
            processors[at] = ours
        else:
            processors.append(ours)
        if self._mode != "apply":
            return Row(
                "ingest pipeline", name, "differs" if current else "would create", detail or "one processor added"
            )
        kept = {key: value for key, value in (current or {}).items() if key not in DATES}
        self._client.ingest.put_pipeline(id=name, body={**kept, "processors": processors})
        return Row("ingest pipeline", name, "changed" if current else "created", detail or "one processor added")

    def _note_others(self, name: str, streams: Sequence[str], processors: Sequence[Body]) -> None:
        """Say which other projects score the same events: their fields are told apart by models' names alone."""
        ours = f"{MANAGED_BY}:{self._project.name}"
        bodies = [next(iter(processor.values())) for processor in processors]
        others = sorted(
            str(body["tag"]).partition(":")[2]
            for body in bodies
            if str(body.get("tag", "")).startswith(f"{MANAGED_BY}:")
            and body["tag"] != ours
            and any(f"'{stream}'" in str(body.get("if", "")) for stream in streams)
        )
        served = sorted({model.name for stream in streams for model in _served(self._project, stream)})
        if others and served:
            self.notes.append(
                f"{name} also calls the scoring of {', '.join(others)} for the same events. Scores lie in ml.<model>, "
                f"whatever the project: where one has a model called {' or '.join(served)}, the project that is "
                "called last overwrites the other's scores. Rename one of the two model files."
            )


def hooks(project: Project) -> dict[str, list[str]]:
    """`@custom` pipelines of the streams that somebody else manages, each with the streams that pass it."""
    found: dict[str, list[str]] = {}
    for stream in project.names.audit_streams:
        if not stream.managed:
            found.setdefault(stream.custom_pipeline, []).append(stream.name)
    return found


def hook_processor(project: Project, streams: Sequence[str]) -> Body:
    """The processor that calls the project's scoring for events of these streams, tagged as the project's."""
    return project.templates.render(
        "pipelines/custom.yml.j2",
        tag=f"{MANAGED_BY}:{project.name}",
        managed_by=MANAGED_BY,
        condition=" || ".join(f"ctx._index == '{stream}'" for stream in streams),
    )


def obstacles(client: Elasticsearch, project: Project, model: Model) -> list[str]:
    """Why events of the model's unmanaged streams would not be scored, or their scores be lost: one sentence each."""
    found = []
    for stream in map(project.names.stream, model.source.index):
        if stream is None or stream.managed or model.serve is None:
            continue
        tag = hook_processor(project, [stream.name])["pipeline"]["tag"]
        processors = (PIPELINE.read(client, stream.custom_pipeline) or {}).get("processors", [])
        if not any(next(iter(processor.values())).get("tag") == tag for processor in processors):
            found.append(
                f"The pipeline {stream.custom_pipeline} does not call our scoring: run the DAG elastic_setup with "
                "mode=apply."
            )
        index = write_index(client, stream.name)
        found += [
            f"{stream.name}: {gap}. elastic_setup with mode=plan says what to ask of whoever manages the stream."
            for gap in (score_gaps(project, index, [model]) if index else [])
        ]
    return found


def score_fields(project: Project, models: Sequence[Model]) -> Body:
    """Mapping properties of everything that scoring writes."""
    return project.templates.render("component_templates/scores.yml.j2", models=models)


def write_index(client: Elasticsearch, stream: str) -> Index | None:
    """The index that the stream's documents go to now; None before the first one."""
    found = client.options(ignore_status=404).indices.get_data_stream(name=stream)
    if found.meta.status == 404 or not found.body["data_streams"]:
        return None
    name = found.body["data_streams"][0]["indices"][-1]["index_name"]
    index = client.indices.get(index=name, flat_settings=True).body[name]
    return Index(name, index["mappings"], index["settings"])


def score_gaps(project: Project, index: Index, models: Sequence[Model]) -> list[str]:
    """Why scores of the models would be lost in an index, or lose the event with them; nothing where they fit."""
    gaps = []
    for model in models:
        wanted = score_fields(project, [model])["ml"]["properties"][model.name]["properties"]
        properties, dynamic = _inside(index.mappings, ("ml", model.name))
        missing = [f"ml.{model.name}.{field}" for field in wanted if field not in properties]
        if missing and dynamic == "strict":
            gaps.append(f"{index.name} refuses every scored event (dynamic: strict, without {', '.join(missing)})")
        elif missing and dynamic == "false":
            gaps.append(f"in {index.name} no score can be searched (dynamic: false, without {', '.join(missing)})")
        gaps += [
            f"ml.{model.name}.{field} is {properties[field].get('type', 'object')} in {index.name} "
            f"(wanted {definition['type']})"
            for field, definition in wanted.items()
            if field in properties and not _as_good(definition["type"], properties[field].get("type", "object"))
        ]
    return gaps


def calls(client: Elasticsearch, index: Index, wanted: str) -> bool:
    """Whether a document that is indexed with no other pipeline passes the pipeline `wanted`."""
    settings = (index.settings.get(f"index.{which}_pipeline") for which in ("default", "final"))
    ahead = {name for name in settings if name and name != "_none"}
    seen: set[str] = set()
    for _ in range(MOST_HOPS):
        if wanted in ahead:
            return True
        seen |= ahead
        # One by one: a name that does not exist must not make an error of the others.
        bodies = [PIPELINE.read(client, name) for name in sorted(ahead)]
        ahead = {called for body in bodies for called in _called(body or {})} - seen
    return False


def _called(body: Any) -> Iterator[str]:
    """Names of the pipelines that a pipeline calls, also in `foreach` and `on_failure`."""
    if isinstance(body, list):
        for item in body:
            yield from _called(item)
    elif isinstance(body, Mapping):
        for key, value in body.items():
            if key == "pipeline" and isinstance(value, Mapping):
                yield str(value.get("name"))
            yield from _called(value)


def _served(project: Project, stream: str) -> list[Model]:
    """Models that score events of the stream."""
    models = (project.model(name) for name in project.models())
    return [model for model in models if model.serve is not None and stream in model.source.index]


def _inside(mappings: Body, path: Sequence[str]) -> tuple[Body, str]:
    """Properties of the object at a path, and what happens to new fields there."""
    dynamic, properties = str(mappings.get("dynamic", "true")).lower(), mappings.get("properties") or {}
    for step in path:
        inner = properties.get(step) or {}
        dynamic = str(inner.get("dynamic", dynamic)).lower()
        properties = inner.get("properties") or {}
    return properties, dynamic


def _as_good(wanted: str, actual: str) -> bool:
    return wanted == actual or (wanted in _FRACTIONS and actual in _FRACTIONS)


def _matches(template: Body, stream: str) -> bool:
    patterns = template["index_patterns"]
    return any(fnmatchcase(stream, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def _merged(body: Body, more: Body) -> Body:
    """The body with everything of `more` in it."""
    inner = {key: _merged(body.get(key) or {}, value) for key, value in more.items() if isinstance(value, dict)}
    return {**body, **more, **inner}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Body:
    flat: Body = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
