"""Data streams: creation, backing and failure indices, rollover, options and lifecycle."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import (
    illegal_argument,
    index_not_found,
    resource_already_exists,
    unsupported,
)
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.mapping_definition import merge_templates
from elastic_sandbox.indices.names import check_data_stream_name, matches
from elastic_sandbox.indices.stream_lifecycle import check_lifecycle, check_options, shown_lifecycle
from elastic_sandbox.indices.templates import Composed, Template

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Stream = dict[str, Any]
_KIND = "data_stream"

# What DataStreamFailureStoreDefinition maps; ``document.source`` is kept and not indexed.
_FAILURE_MAPPING: dict[str, Any] = {
    "_data_stream_timestamp": {"enabled": True},
    "dynamic": "false",
    "properties": {
        "@timestamp": {"type": "date"},
        "document": {
            "properties": {
                "id": {"type": "keyword"},
                "routing": {"type": "keyword"},
                "index": {"type": "keyword"},
                "source": {"type": "object", "enabled": False},
            }
        },
        "error": {
            "properties": {
                "message": {"type": "text"},
                "stack_trace": {"type": "text"},
                "type": {"type": "keyword"},
                "pipeline": {"type": "keyword"},
                "pipeline_trace": {"type": "keyword"},
                "processor_tag": {"type": "keyword"},
                "processor_type": {"type": "keyword"},
            }
        },
    },
}


class DataStreams:
    """The data streams of a cluster; their indices live in :class:`Indices`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    # Reading --------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names, sorted."""
        return self._backend.state.names(_KIND)

    def get(self, name: str) -> Stream | None:
        """The kept document of a stream: its generation, indices, failure_indices, options, lifecycle, aliases."""
        return self._backend.state.get(_KIND, name)

    def select(self, expression: str | None, *, hidden: bool = False) -> list[Stream]:
        """Streams by name or wildcard; a plain name that is missing is 404."""
        found: list[Stream] = []
        for piece in (expression or "*").split(","):
            if "*" not in piece and piece != "_all":
                stream = self.get(piece)
                if stream is None:
                    raise index_not_found(piece)
                found.append(stream)
                continue
            for name, stream in self._backend.state.items(_KIND):
                wanted = piece == "_all" or matches(piece, name)
                if wanted and (hidden or not stream["hidden"]) and stream not in found:
                    found.append(stream)
        return found

    def write_index(self, name: str) -> Index:
        """The backing index that takes new documents; a lazy rollover happens here."""
        stream = self.get(name)
        if stream is None:
            raise index_not_found(name)
        if stream["rollover_on_write"]:
            self._roll(stream)
        return self._index(stream["indices"][-1])

    def policy(self, name: str) -> str | None:
        """The ILM policy the stream's template names."""
        hit = self._backend.indices.templates.winner(name)
        if hit is None:
            return None
        return self._backend.indices.templates.compose(hit[1]).settings.get("index.lifecycle.name")

    # Writing --------------------------------------------------------------------------------------------------------

    def create(self, name: str) -> Index:
        """Create a stream with its first backing index.

        :raises ElasticError: 400 when it exists, has no data stream template, or a name no stream can have.
        """
        check_data_stream_name(name)
        if self.get(name) is not None:
            raise resource_already_exists(f"data_stream [{name}] already exists")
        if self._backend.indices.get(name) is not None or self._backend.indices.is_alias(name):
            raise illegal_argument(f"data stream [{name}] conflicts with existing index or alias")
        template_name, template = self._template(name)
        composed = self._backend.indices.templates.compose(template, stream=name)
        stream: Stream = {
            "name": name,
            "generation": 0,
            "indices": [],
            "failure_indices": [],
            "hidden": template["data_stream"]["hidden"],
            "options": composed.data_stream_options,
            "lifecycle": None if composed.lifecycle is None else {"enabled": True, **composed.lifecycle},
            "aliases": {alias: {} for alias in composed.aliases},
            "rollover_on_write": False,
            "template": template_name,
        }
        if template.get("_meta") is not None:
            stream["_meta"] = template["_meta"]
        return self._add_backing_index(stream, composed)

    def delete(self, expression: str) -> None:
        """Delete streams with all their indices."""
        for stream in self.select(expression, hidden=True):
            self._backend.state.delete(_KIND, stream["name"])
            for name in [*stream["indices"], *stream["failure_indices"]]:
                self._backend.indices.drop(name)

    def failure_index(self, name: str) -> Index | None:
        """The failure store's write index, created on first use; None when the failure store is off."""
        stream = self.get(name)
        if stream is None or not self.failure_store_enabled(stream):
            return None
        if not stream["failure_indices"] or stream.get("failure_rollover_on_write"):
            self._add_failure_index(stream)
        return self._index(stream["failure_indices"][-1])

    def failure_store_enabled(self, stream: Stream) -> bool:
        """Whether failed documents of the stream are kept; an option without ``enabled`` means yes."""
        store = (stream["options"] or {}).get("failure_store")
        return store is not None and bool(store.get("enabled", True))

    def put_options(self, expression: str, body: dict[str, Any]) -> None:
        """Set the options of streams."""
        check_options(body)
        for stream in self.select(expression):
            stream["options"] = deepcopy(body)
            self.save(stream)

    def put_lifecycle(self, expression: str, body: dict[str, Any]) -> None:
        """Set the data stream lifecycle of streams."""
        check_lifecycle(body, self._backend)
        for stream in self.select(expression):
            stream["lifecycle"] = {"enabled": True, **body}
            self.save(stream)

    def delete_lifecycle(self, expression: str) -> None:
        """Take the data stream lifecycle away from streams."""
        for stream in self.select(expression):
            stream["lifecycle"] = None
            self.save(stream)

    def set_alias(self, name: str, alias: str, body: dict[str, Any] | None) -> None:
        """Point an alias at a stream, or take it away with None."""
        stream = self.get(name)
        if stream is None:
            raise index_not_found(name)
        if body is None:
            stream["aliases"].pop(alias, None)
        else:
            stream["aliases"][alias] = body
        self.save(stream)

    def roll(self, name: str, *, failures: bool) -> tuple[str, str]:
        """Add a new write index; returns the names of the old and the new one."""
        stream = self.get(name)
        if stream is None:
            raise index_not_found(name)
        names = stream["failure_indices"] if failures else stream["indices"]
        old = names[-1] if names else ""
        new = self._add_failure_index(stream) if failures else self._roll(stream)
        return old, new.name

    def next_name(self, name: str, *, failures: bool) -> tuple[str, str]:
        """The current write index and the one a rollover would create."""
        stream = self.get(name)
        if stream is None:
            raise index_not_found(name)
        names = stream["failure_indices"] if failures else stream["indices"]
        return (names[-1] if names else ""), self._next_name(stream, failures=failures)

    def mark_lazy(self, name: str, *, failures: bool) -> None:
        """Roll over at the next write."""
        stream = self.get(name)
        if stream is not None:
            stream["failure_rollover_on_write" if failures else "rollover_on_write"] = True
            self.save(stream)

    def _roll(self, stream: Stream) -> Index:
        _, template = self._template(stream["name"])
        stream["rollover_on_write"] = False
        return self._add_backing_index(stream, self._backend.indices.templates.compose(template, stream=stream["name"]))

    def _template(self, name: str) -> tuple[str, Template]:
        hit = self._backend.indices.templates.winner(name)
        if hit is None:
            raise illegal_argument(f"no matching index template found for data stream [{name}]")
        if hit[1].get("data_stream") is None:
            raise illegal_argument(
                f"matching index template [{hit[0]}] for data stream [{name}] has no data stream template"
            )
        return hit

    def _next_name(self, stream: Stream, *, failures: bool) -> str:
        # The failure store shares the generation with the backing indices.
        prefix = ".fs-" if failures else ".ds-"
        day = self._backend.clock.now().strftime("%Y.%m.%d")
        return f"{prefix}{stream['name']}-{day}-{stream['generation'] + 1:06d}"

    def _add_backing_index(self, stream: Stream, composed: Composed) -> Index:
        name = self._next_name(stream, failures=False)
        self._rolled(stream["name"], stream["indices"])
        mapping = timestamped(composed.mappings)
        index = self._backend.indices.add(
            name, {**composed.settings, "index.hidden": "true"}, mapping, data_stream=stream["name"]
        )
        stream["generation"] += 1
        stream["indices"].append(name)
        self.save(stream)
        return index

    def _add_failure_index(self, stream: Stream) -> Index:
        name = self._next_name(stream, failures=True)
        self._rolled(stream["name"], stream["failure_indices"])
        index = self._backend.indices.add(
            name, {"index.hidden": "true"}, deepcopy(_FAILURE_MAPPING), data_stream=stream["name"], failure_store=True
        )
        stream["generation"] += 1
        stream["failure_rollover_on_write"] = False
        stream["failure_indices"].append(name)
        self.save(stream)
        return index

    def _rolled(self, stream: str, names: list[str]) -> None:
        if names:
            old = self._index(names[-1])
            old.rolled[stream] = self._backend.clock.now_ms()
            old.save()

    def _index(self, name: str) -> Index:
        index = self._backend.indices.get(name)
        assert index is not None, f"index {name} of a data stream is gone"
        return index

    def save(self, stream: Stream) -> None:
        """Keep what was changed in a stream's document."""
        self._backend.state.put(_KIND, stream["name"], stream)

    # Showing --------------------------------------------------------------------------------------------------------

    def shown(self, stream: Stream) -> dict[str, Any]:
        """One stream as ``GET _data_stream`` shows it."""
        policy = self.policy(stream["name"])
        manager = self._manager(policy, stream, prefer_ilm=True)
        hit = self._backend.indices.templates.winner(stream["name"])
        shown: dict[str, Any] = {
            "name": stream["name"],
            "timestamp_field": {"name": "@timestamp"},
            "indices": [self._shown_index(stream, name) for name in stream["indices"]],
            "generation": stream["generation"],
        }
        if "_meta" in stream:
            shown["_meta"] = stream["_meta"]
        shown |= {
            # The sandbox is one node: with a replica configured, a cluster of one would be yellow too.
            "status": "GREEN",
            "template": hit[0] if hit else stream["template"],
        }
        if stream["lifecycle"] is not None:
            shown["lifecycle"] = shown_lifecycle(stream["lifecycle"])
        if policy is not None:
            shown["ilm_policy"] = policy
        return shown | {
            "next_generation_managed_by": manager,
            "prefer_ilm": True,
            "hidden": stream["hidden"],
            "system": False,
            "allow_custom_routing": False,
            "replicated": False,
            "rollover_on_write": stream["rollover_on_write"],
            "index_mode": self._index(stream["indices"][-1]).mode,
            "settings": {},
            "mappings": {},
            "failure_store": {
                "enabled": self.failure_store_enabled(stream),
                "rollover_on_write": bool(stream.get("failure_rollover_on_write")),
                "indices": [self._shown_index(stream, name) for name in stream["failure_indices"]],
            },
        }

    def _shown_index(self, stream: Stream, name: str) -> dict[str, Any]:
        index = self._index(name)
        policy = index.settings.get("index.lifecycle.name")
        prefer = index.settings.get("index.lifecycle.prefer_ilm", "true") == "true"
        shown: dict[str, Any] = {"index_name": name, "index_uuid": index.uuid}
        if index.failure_store:
            return shown | {"managed_by": "Unmanaged"}
        shown |= {"prefer_ilm": prefer, "managed_by": self._manager(policy, stream, prefer_ilm=prefer)}
        if policy is not None:
            shown["ilm_policy"] = policy
        return shown | {"index_mode": index.mode}

    def _manager(self, policy: str | None, stream: Stream, *, prefer_ilm: bool) -> str:
        lifecycle = stream["lifecycle"] is not None and stream["lifecycle"].get("enabled", True)
        if policy is not None and (prefer_ilm or not lifecycle):
            return "Index Lifecycle Management"
        return "Data stream lifecycle" if lifecycle else "Unmanaged"

    def shown_lifecycles(self, expression: str) -> dict[str, Any]:
        """The answer of ``GET _data_stream/{name}/_lifecycle``."""
        streams = []
        for stream in self.select(expression):
            shown = {"name": stream["name"]}
            if stream["lifecycle"] is not None:
                shown["lifecycle"] = shown_lifecycle(stream["lifecycle"])
            streams.append(shown)
        return {"data_streams": streams, "global_retention": {}}

    def shown_options(self, expression: str) -> dict[str, Any]:
        """The answer of ``GET _data_stream/{name}/_options``."""
        streams = []
        for stream in self.select(expression):
            shown = {"name": stream["name"]}
            if stream["options"]:
                shown["options"] = stream["options"]
            streams.append(shown)
        return {"data_streams": streams}


def timestamped(mappings: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a backing index: what the template says over the ``@timestamp`` every stream has."""
    mapping = merge_templates(
        {"_data_stream_timestamp": {"enabled": True}, "properties": {"@timestamp": {"type": "date"}}}, mappings
    )
    kind = mapping["properties"]["@timestamp"].get("type")
    if kind == "date_nanos":
        raise unsupported("field type [date_nanos] of [@timestamp]")
    if kind != "date":
        raise illegal_argument(
            f"data stream timestamp field [@timestamp] is of type [{kind}], but [date,date_nanos] is expected"
        )
    if mapping["properties"]["@timestamp"].get("ignore_malformed") in {True, "true"}:
        raise illegal_argument(
            "data stream timestamp field [@timestamp] has disallowed [ignore_malformed] attribute specified"
        )
    return mapping
