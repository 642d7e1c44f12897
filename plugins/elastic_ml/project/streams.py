"""The project's data streams: that they exist, follow our templates, and mean the same by a field in every index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from elastic_ml.project.durations import print_duration
from elastic_ml.project.reconcile import Mode, Row
from elastic_ml.project.server_objects import Body

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

PRIORITY = 501

LIVE_SETTINGS = ("index.default_pipeline", "index.lifecycle.name")
"""What setup changes in the index that is written now."""
BORN_SETTINGS = (
    "index.mode",
    "index.mapping.ignore_malformed",
    "index.mapping.total_fields.ignore_dynamic_beyond_limit",
)
"""What an index keeps from its creation, and without which an audit trail silently loses values."""


@dataclass(frozen=True)
class ManagedStream:
    """A stream that setup creates, the index template that must win for it, and its retention on Serverless."""

    name: str
    template: str
    retention: str


def simulated_template(client: Elasticsearch, name: str, mode: Mode) -> Any:
    """What a new index of that name would get; 404 where no template fits.

    Whoever only looks may hold read rights alone, and gets 403 for an answer; for `apply` it is an error.
    """
    ignored = [404] if mode == "apply" else [403, 404]
    return client.options(ignore_status=ignored).indices.simulate_index_template(name=name)


def managed_streams(project: Project) -> list[ManagedStream]:
    """Managed audit streams, the verdict stream and the operations streams."""
    names, lifecycle = project.names, project.settings.lifecycle
    audit, operations = print_duration(lifecycle.audit.delete_after), print_duration(lifecycle.operations.delete_after)
    return [
        *(ManagedStream(s.name, names.audit_template, audit) for s in names.audit_streams if s.managed),
        ManagedStream(names.labels_stream, names.labels_template, audit),
        *(ManagedStream(name, names.ml_logs_template, operations) for name in names.operations_streams),
    ]


class StreamSetup:
    """Brings data streams to the wanted state; like `reconcile`, only `apply` writes.

    `problems` collects sentences about what only a person can mend, `notes` what could not be looked at.
    """

    def __init__(self, client: Elasticsearch, project: Project, mode: Mode, *, serverless: bool) -> None:
        self._client = client
        self._project = project
        self._mode = mode
        self._serverless = serverless
        self._resolved: dict[str, Body | None] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def run(self) -> list[Row]:
        """Prove that our templates win, then streams, options, settings and mappings, then the consistency check."""
        streams = managed_streams(self._project)
        rows = self._proof(streams)
        lost = {row.name for row in rows if row.state == "conflict"}
        existing: list[str] = []
        for stream in streams:
            if stream.name in lost:
                continue  # created now, it would be another template's stream
            rows += self._stream(stream, existing)
        return rows + self._consistency(existing)

    # templates

    def _proof(self, streams: list[ManagedStream]) -> list[Row]:
        templates = {
            item["name"]: item["index_template"]
            for item in self._client.indices.get_index_template().body["index_templates"]
        }
        rows = []
        for stream in streams:
            rivals = {
                name: int(template.get("priority") or 0)
                for name, template in templates.items()
                if name != stream.template and _matches(template["index_patterns"], stream.name)
            }
            winner = max(rivals, key=lambda name: rivals[name], default=None)
            wins = winner is None or rivals[winner] < PRIORITY
            if wins and self._mode == "apply" and not self._simulated(stream):
                wins = False
            if wins:
                detail = f"before {winner} (priority {rivals[winner]})" if winner else ""
                rows.append(Row("template proof", stream.name, "unchanged", detail))
                continue
            rival = f"index template {winner} (priority {rivals[winner]})" if winner else "another index template"
            self.problems.append(
                f"{rival} wins over {stream.template} (priority {PRIORITY}) for the stream {stream.name}. "
                f"Lower its priority below {PRIORITY}, narrow its index_patterns, or list the stream as "
                "`managed: false` in project.yml."
            )
            rows.append(Row("template proof", stream.name, "conflict", f"{rival} wins"))
        return rows

    def _simulated(self, stream: ManagedStream) -> bool:
        meta = (self._template(stream) or {}).get("mappings", {}).get("_meta", {})
        return bool(meta.get("index_template") == stream.template)

    def _template(self, stream: ManagedStream) -> Body | None:
        """What a new backing index would get: simulated, so that the user's @custom component is in it."""
        if stream.name not in self._resolved:
            answer = simulated_template(self._client, stream.name, self._mode)
            if answer.meta.status == 403:
                self._not_looked_at(
                    "This key may not simulate templates, which takes the privilege manage_index_templates: mappings "
                    "and settings of what is there already were not compared with what its template says now."
                )
            self._resolved[stream.name] = answer.body.get("template") if answer.meta.status == 200 else None
        return self._resolved[stream.name]

    # streams

    def _stream(self, stream: ManagedStream, existing: list[str]) -> list[Row]:
        found = self._client.options(ignore_status=404).indices.get_data_stream(name=stream.name)
        if found.meta.status == 404:
            if self._mode != "apply":
                return [Row("data stream", stream.name, "would create")]
            self._client.indices.create_data_stream(name=stream.name)
            existing.append(stream.name)
            return [Row("data stream", stream.name, "created")]
        existing.append(stream.name)
        write_index = found.body["data_streams"][0]["indices"][-1]["index_name"]
        return [
            Row("data stream", stream.name, "unchanged"),
            *self._failure_store(stream),
            *(self._retention(stream) if self._serverless else []),
            *self._write_index(stream, write_index),
        ]

    def _failure_store(self, stream: ManagedStream) -> list[Row]:
        client = self._client if self._mode == "apply" else self._client.options(ignore_status=403)
        found = client.indices.get_data_stream_options(name=stream.name)
        if found.meta.status == 403:
            self._not_looked_at(
                "This key may not read the options of data streams, which takes the privilege manage on them: whether "
                "their failure store is on was not looked at."
            )
            return []
        answer = found.body
        options = (answer["data_streams"][0].get("options") if answer["data_streams"] else None) or {}
        enabled = (options.get("failure_store") or {}).get("enabled")
        if enabled:
            return []
        detail = f"failure_store.enabled is {str(enabled).lower()} (wanted true)"
        if self._mode != "apply":
            return [Row("failure store", stream.name, "differs", detail)]
        self._client.indices.put_data_stream_options(name=stream.name, failure_store={"enabled": True})
        return [Row("failure store", stream.name, "changed", detail)]

    def _not_looked_at(self, why: str) -> None:
        if why not in self.notes:
            self.notes.append(why)

    def _retention(self, stream: ManagedStream) -> list[Row]:
        answer = self._client.indices.get_data_lifecycle(name=stream.name).body
        lifecycle = (answer["data_streams"][0].get("lifecycle") if answer["data_streams"] else None) or {}
        if lifecycle.get("data_retention") == stream.retention:
            return []
        detail = f"data_retention is {lifecycle.get('data_retention')} (wanted {stream.retention})"
        if self._mode != "apply":
            return [Row("lifecycle", stream.name, "differs", detail)]
        self._client.indices.put_data_lifecycle(name=stream.name, data_retention=stream.retention)
        return [Row("lifecycle", stream.name, "changed", detail)]

    def _write_index(self, stream: ManagedStream, write_index: str) -> list[Row]:
        """What a changed template means for the index that is written now; older ones stay as they are."""
        template = self._template(stream)
        if template is None:
            return []
        rows = []
        index = self._client.indices.get(index=write_index, flat_settings=True).body[write_index]
        settings = index["settings"]
        wanted = _flat_settings(template.get("settings", {}))
        changed: dict[str, str] = {
            name: wanted[name] for name in LIVE_SETTINGS if name in wanted and settings.get(name) != wanted[name]
        }
        if changed:
            detail = "; ".join(f"{name} is {settings.get(name)} (wanted {value})" for name, value in changed.items())
            if self._mode == "apply":
                self._client.indices.put_settings(index=write_index, settings=changed)
            rows.append(Row("settings", write_index, "changed" if self._mode == "apply" else "differs", detail))
        if older := self._born_otherwise(stream, write_index, settings, wanted):
            rows.append(older)
        missing, retyped = additions(template.get("mappings", {}), index["mappings"])
        if missing:
            detail = "adds " + ", ".join(sorted(field_types(missing, objects=False)))
            if self._mode == "apply":
                self._client.indices.put_mapping(index=write_index, properties=missing)
            rows.append(Row("mapping", write_index, "changed" if self._mode == "apply" else "differs", detail))
        if retyped:
            detail = "; ".join(f"{path} is {actual}, the template says {wants}" for path, actual, wants in retyped)
            self.problems.append(
                f"{write_index}: {detail}. New data: `POST /{stream.name}/_rollover?lazy=true`; old data: reindex "
                "this index, since the type of a field cannot be changed; elastic_setup does both with "
                f"repair={stream.name}."
            )
            rows.append(Row("mapping", write_index, "conflict", detail))
        return rows

    def _born_otherwise(
        self, stream: ManagedStream, write_index: str, settings: Mapping[str, Any], wanted: Mapping[str, str]
    ) -> Row | None:
        found = [
            f"{name} is {settings.get(name, 'not set')} (wanted {wanted[name]})"
            for name in BORN_SETTINGS
            if name in wanted and settings.get(name) != wanted[name].lower()
        ]
        if not found:
            return None
        detail = "; ".join(found)
        self.problems.append(
            f"{write_index}: {detail}. It was made before the template, and an index keeps these settings: "
            f"`POST /{stream.name}/_rollover` gives new documents an index that follows the template."
        )
        return Row("settings", write_index, "conflict", detail)

    # meaning

    def _consistency(self, streams: list[str]) -> list[Row]:
        """Compare the type of every field over all backing indices: models and dashboards read them together."""
        seen: dict[str, dict[str, list[str]]] = {}
        indices = 0
        audit = [s.name for s in self._project.names.audit_streams if s.managed and s.name in streams]
        for stream in audit:
            for index, answer in self._client.indices.get_mapping(index=stream).body.items():
                indices += 1
                for path, kind in field_types(answer["mappings"].get("properties", {})).items():
                    seen.setdefault(path, {}).setdefault(kind, []).append(index)
        conflicts = {path: kinds for path, kinds in seen.items() if len(kinds) > 1}
        rows = []
        for path, kinds in sorted(conflicts.items()):
            detail = "; ".join(f"{kind} in {', '.join(sorted(where))}" for kind, where in sorted(kinds.items()))
            fewest = min(kinds.values(), key=len)
            self.problems.append(
                f"The field {path} is {detail}. Searches, transforms and models that read these indices together fail "
                f"on it. Reindex {', '.join(sorted(fewest))} with the type that the template has; new data is right "
                "after a rollover. elastic_setup does it, with repair=<the stream>."
            )
            rows.append(Row("mapping", path, "conflict", detail))
        if audit and not conflicts:
            rows.append(Row("mapping", "all audit streams", "unchanged", f"consistent over {indices} backing indices"))
        return rows


def _matches(patterns: str | list[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def _flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat.update(_flat_settings(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def field_types(properties: Mapping[str, Any], prefix: str = "", *, objects: bool = True) -> dict[str, str]:
    """Dotted path → type of all fields, objects included: a field here may be an object there."""
    found: dict[str, str] = {}
    for name, definition in properties.items():
        path = f"{prefix}{name}"
        inner = definition.get("properties")
        kind = definition.get("type", "object")
        if objects or inner is None:
            found[path] = kind
        found.update(field_types(inner or {}, f"{path}.", objects=objects))
    return found


def additions(wanted: Body, actual: Body) -> tuple[Body, list[tuple[str, str, str]]]:
    """Properties that `actual` lacks, as a body to PUT, and fields whose type differs: (path, actual, wanted)."""
    missing: Body = {}
    retyped: list[tuple[str, str, str]] = []
    _compare(wanted.get("properties", {}), actual.get("properties", {}), "", missing, retyped)
    return missing, retyped


def _compare(wanted: Body, actual: Body, prefix: str, missing: Body, retyped: list[tuple[str, str, str]]) -> None:
    for name, definition in wanted.items():
        if name not in actual:
            missing[name] = definition
            continue
        ours, theirs = definition.get("type", "object"), actual[name].get("type", "object")
        if ours != theirs:
            retyped.append((f"{prefix}{name}", theirs, ours))
        elif "properties" in definition:
            inner: Body = {}
            _compare(definition["properties"], actual[name].get("properties", {}), f"{prefix}{name}.", inner, retyped)
            if inner:
                missing[name] = {**({"type": ours} if ours != "object" else {}), "properties": inner}
