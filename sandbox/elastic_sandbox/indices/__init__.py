"""Indices and everything that decides what they are: templates, data streams, aliases, lifecycle policies."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64encode
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import (
    ElasticError,
    illegal_argument,
    index_not_found,
    resource_already_exists,
    unsupported,
    x_content_parse,
)
from elastic_sandbox.indices.aliases import alias_body, apply_actions
from elastic_sandbox.indices.data_streams import DataStreams
from elastic_sandbox.indices.ilm import IndexLifecycle
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.lifecycle import LifecyclePolicies
from elastic_sandbox.indices.mapping import Field, Mapping, Parsed
from elastic_sandbox.indices.mapping_definition import merge_templates, normalise
from elastic_sandbox.indices.names import check_alias_name, check_index_name, matches
from elastic_sandbox.indices.resolution import resolve, split_selector
from elastic_sandbox.indices.settings import FINAL, Settings, flatten, is_dynamic, refuse_on_serverless, validate
from elastic_sandbox.indices.stream_lifecycle import StreamLifecycle
from elastic_sandbox.indices.templates import Templates
from elastic_sandbox.indices.write_target import refuse_append, write_index
from elastic_sandbox.shapes import EACH, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

__all__ = ["Field", "Index", "Indices", "Mapping", "Parsed", "split_selector"]

_KIND = "index"


class Indices:
    """The indices of a cluster, and the way to them.

    ``templates``, ``streams`` and ``policies`` hold the objects that shape indices.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._indices: dict[str, Index] = {}
        self.templates = Templates(backend)
        self.streams = DataStreams(backend)
        self.policies = LifecyclePolicies(backend)
        self.ilm = IndexLifecycle(backend)
        self.stream_lifecycle = StreamLifecycle(backend)
        # The parts look at each other through backend.indices, which is only assigned when this returns.
        backend.indices = self
        self._load()

    def _load(self) -> None:
        self._indices = {
            name: Index.from_state(name, kept, self._save) for name, kept in self._backend.state.items(_KIND)
        }
        self.templates.install_builtin()
        self.policies.install_builtin()

    def reset(self) -> None:
        """Forget all indices; a fresh cluster's templates and policies are there again."""
        self._load()
        self.ilm.reset()
        self.stream_lifecycle.reset()

    def tick(self) -> None:
        """Let the lifecycles do what has become due by the clock or by a change of indices."""
        self.ilm.tick()
        self.stream_lifecycle.tick()

    def close(self) -> None:
        """Nothing is held open: the state is written through."""

    # Finding --------------------------------------------------------------------------------------------------------

    def get(self, name: str) -> Index | None:
        """The index of exactly that name."""
        return self._indices.get(name)

    def all(self) -> list[Index]:
        """Every index, hidden ones included, sorted by name."""
        return [self._indices[name] for name in sorted(self._indices)]

    def resolve(
        self,
        expression: str,
        *,
        allow_no_indices: bool = True,
        ignore_unavailable: bool = False,
        expand_wildcards: str = "open",
        failures: bool = False,
    ) -> list[Index]:
        """Indices named by an expression: names, wildcards, aliases, data streams, ``stream::failures``.

        :raises ElasticError: 404 index_not_found_exception for a plain name that is missing.
        """
        return resolve(
            self,
            expression,
            allow_no_indices=allow_no_indices,
            ignore_unavailable=ignore_unavailable,
            expand_wildcards=expand_wildcards,
            failures=failures,
        )

    def data_stream_of(self, index: Index) -> str | None:
        """The data stream an index belongs to."""
        return index.data_stream

    def default_pipeline(self, target_name: str, index: Index) -> str | None:
        """``index.default_pipeline`` of the index a write to ``target_name`` reaches; ``_none`` is None."""
        return _pipeline(index, "index.default_pipeline")

    def final_pipeline(self, target_name: str, index: Index) -> str | None:
        """``index.final_pipeline``, likewise."""
        return _pipeline(index, "index.final_pipeline")

    def failure_index(self, stream: str) -> Index | None:
        """The failure store's write index of a data stream, created on first use; None when it is off."""
        with self._backend.lock:
            return self.streams.failure_index(stream)

    def write_target(
        self, name: str, *, op_type: str, require_data_stream: bool = False, conditional: bool = False
    ) -> Index:
        """The index a write to ``name`` goes to, created from templates when nothing has that name.

        :param op_type: ``create``, ``index``, ``update`` or ``delete``
        :param conditional: the write carries ``if_seq_no`` and ``if_primary_term``
        :raises ElasticError: 400 where the target does not take that kind of write, 404 where it must exist.
        """
        with self._backend.lock:
            index = write_index(self, name, op_type, require_data_stream=require_data_stream)
        if index.name == name and index.data_stream is not None:
            refuse_append(index, op_type, conditional=conditional)
        index.check_writable()
        return index

    # Creating, changing, deleting -----------------------------------------------------------------------------------

    def create(self, name: str, body: dict[str, Any], *, internal: bool = False) -> Index:
        """Create an index from its body laid over the template that covers its name.

        :param internal: the server's own work, which may set what Serverless keeps from its users
        :raises ElasticError: 400 for a bad name, a name in use, or a bad body.
        """
        for key in body:
            if key not in {"settings", "mappings", "aliases"}:
                raise ElasticError(400, "parse_exception", f"unknown key [{key}] for create index")
        check_index_name(name)
        with self._backend.lock:
            self._check_free(name)
            settings: Settings = {}
            mapping: dict[str, Any] = {}
            aliases: dict[str, Any] = {}
            hit = self.templates.winner(name)
            if hit is not None:
                if hit[1].get("data_stream") is not None:
                    raise illegal_argument(
                        f"cannot create index with name [{name}], because it matches with template [{hit[0]}] "
                        "that creates data streams only, use create data stream api instead"
                    )
                composed = self.templates.compose(hit[1])
                settings, mapping, aliases = composed.settings, composed.mappings, composed.aliases
            check_shape("create_index_request", body, {"aliases": (EACH((dict, None)), None)})
            own = flatten(body.get("settings") or {})
            validate(own)
            if self._backend.flavor == "serverless" and not internal:
                refuse_on_serverless(own)
            settings = {**settings, **own}
            mapping = merge_templates(mapping, normalise(body.get("mappings") or {}))
            for alias, alias_settings in {**aliases, **(body.get("aliases") or {})}.items():
                check_alias_name(alias)
                aliases[alias] = alias_body(alias_settings or {})
            index = self.add(name, settings, mapping)
            index.aliases = aliases
            index.save()
            return index

    def add(
        self,
        name: str,
        settings: Settings,
        mapping: dict[str, Any],
        *,
        data_stream: str | None = None,
        failure_store: bool = False,
    ) -> Index:
        """Add an index whose settings and mapping are already joined; the callers are create and data streams."""
        if name in self._indices:
            raise resource_already_exists(
                f"index [{name}/{self._indices[name].uuid}] already exists",
                index_uuid=self._indices[name].uuid,
                index=name,
            )
        settings = {key: value for key, value in settings.items() if value is not None}
        validate(settings)
        if settings.get("index.mode") == "time_series":
            raise unsupported("index.mode time_series")
        if settings.get("index.mode") == "logsdb":
            mapping = merge_templates({"properties": {"@timestamp": {"type": "date"}}}, mapping)
        now = self._backend.clock.now_ms()
        identity = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        full = {
            "index.number_of_shards": "1",
            "index.number_of_replicas": "1",
            **self.templates.tier_preference(stream=data_stream is not None),
            **settings,
            "index.creation_date": str(now),
            "index.provided_name": name,
            "index.uuid": identity,
            "index.version.created": _index_version(self._backend.version),
        }
        index = Index(
            name,
            identity,
            full,
            mapping,
            now,
            data_stream=data_stream,
            failure_store=failure_store,
            save=self._save,
        )
        self._indices[name] = index
        index.save()
        self.ilm.changed = True
        return index

    def _check_free(self, name: str) -> None:
        existing = self._indices.get(name)
        if existing is not None:
            raise resource_already_exists(
                f"index [{name}/{existing.uuid}] already exists", index_uuid=existing.uuid, index=name
            )
        if self.streams.get(name) is not None:
            raise resource_already_exists(f"data_stream [{name}] already exists")
        if self.is_alias(name):
            raise ElasticError(
                400,
                "invalid_index_name_exception",
                f"Invalid index name [{name}], already exists as alias",
                index_uuid="_na_",
                index=name,
            )

    def delete(self, expression: str, *, ignore_unavailable: bool = False, allow_no_indices: bool = True) -> None:
        """Delete indices by name or wildcard; aliases, data streams and write indices of streams are refused."""
        with self._backend.lock:
            for piece in expression.split(","):
                if self.is_alias(piece):
                    raise illegal_argument(
                        f"The provided expression [{piece}] matches an alias, specify the corresponding "
                        "concrete indices instead."
                    )
                if self.streams.get(piece) is not None:
                    raise illegal_argument(
                        f"The provided expression [{piece}] matches a data stream, specify the corresponding "
                        "concrete indices instead."
                    )
            found = self.resolve(expression, ignore_unavailable=ignore_unavailable, allow_no_indices=allow_no_indices)
            # A wildcard reaches plain indices only: backing indices go with their stream or by name.
            doomed = [index for index in found if index.data_stream is None or index.name in expression.split(",")]
            for index in doomed:
                self._check_deletable(index)
            for index in doomed:
                self._detach(index)
                self.drop(index.name)

    def _check_deletable(self, index: Index) -> None:
        if index.data_stream is None:
            return
        stream = self.streams.get(index.data_stream)
        if stream is not None and stream["indices"][-1] == index.name:
            raise illegal_argument(
                f"index [{index.name}] is the write index for data stream [{index.data_stream}] and cannot be deleted"
            )

    def _detach(self, index: Index) -> None:
        if index.data_stream is not None:
            stream = self.streams.get(index.data_stream)
            if stream is not None:
                for key in ("indices", "failure_indices"):
                    stream[key] = [name for name in stream[key] if name != index.name]
                # Elastic's test 50_delete_backing_indices.yml: the deletion counts as a generation.
                stream["generation"] += 1
                self.streams.save(stream)

    def drop(self, name: str) -> None:
        """Remove an index and its documents, without questions."""
        index = self._indices.pop(name, None)
        if index is not None:
            self._backend.state.delete(_KIND, name)
            self._backend.documents.drop(index)

    def put_mapping(self, index: Index, definition: dict[str, Any]) -> None:
        """Merge a mapping update into an index."""
        with self._backend.lock:
            index.mapping.update(definition)

    def put_settings(self, targets: list[Index], body: dict[str, Any], *, preserve_existing: bool = False) -> None:
        """Change dynamic settings; null returns one to its default.

        :raises ElasticError: 400 for a setting that cannot change on an open index.
        """
        if set(body) == {"settings"} and isinstance(body["settings"], dict):
            body = body["settings"]
        changes = flatten(body)
        if not changes:
            raise x_content_parse("[1:1] no settings to update")
        validate(changes)
        if self._backend.flavor == "serverless":
            refuse_on_serverless(changes)
        fixed = sorted(name for name in changes if not is_dynamic(name))
        final = sorted(FINAL & set(fixed))
        if final and targets:
            raise illegal_argument(f"final {targets[0].name} setting [{final[0]}], not updateable")
        if fixed:
            raise illegal_argument(_not_updatable(fixed, targets))
        with self._backend.lock:
            for index in targets:
                for name, value in changes.items():
                    if value is None:
                        index.settings.pop(name, None)
                    elif not (preserve_existing and name in index.settings):
                        index.settings[name] = value
                index.mapping.settings_changed(index.settings)
                index.save()
            self.ilm.changed = True

    # Aliases --------------------------------------------------------------------------------------------------------

    def is_alias(self, name: str) -> bool:
        """Whether an alias of that name exists."""
        return bool(self.alias_targets(name))

    def alias_names(self) -> list[str]:
        """All alias names, sorted."""
        hosts = [*self._indices, *self.streams.names()]
        return sorted({alias for host in hosts for alias in self.aliases_of(host)})

    def alias_targets(self, alias: str) -> list[str]:
        """Names of the indices and data streams an alias points at."""
        return sorted(host for host in [*self._indices, *self.streams.names()] if alias in self.aliases_of(host))

    def aliases_of(self, host: str) -> dict[str, dict[str, Any]]:
        """Aliases of an index or data stream."""
        index = self._indices.get(host)
        if index is not None:
            return index.aliases
        stream = self.streams.get(host)
        return {} if stream is None else stream["aliases"]

    def alias_hosts(self, expression: str, *, hidden: bool = False) -> list[str]:
        """Indices and data streams that an expression of an alias action names.

        :param hidden: whether wildcards reach hidden indices
        """
        hosts = []
        for piece in expression.split(","):
            if self._indices.get(piece) is not None or self.streams.get(piece) is not None:
                hosts.append(piece)
            elif "*" in piece or piece == "_all":
                visible = [index.name for index in self.all() if hidden or not index.hidden]
                hosts += [name for name in [*visible, *self.streams.names()] if piece == "_all" or matches(piece, name)]
            elif self.is_alias(piece):
                raise illegal_argument(
                    f"The provided expression [{piece}] matches an alias, specify the corresponding "
                    "concrete indices instead."
                )
            else:
                raise index_not_found(piece)
        return hosts

    def set_alias(self, host: str, alias: str, body: dict[str, Any] | None) -> None:
        """Point an alias at an index or data stream, or take it away with None."""
        index = self._indices.get(host)
        if index is None:
            self.streams.set_alias(host, alias, body)
            return
        if body is None:
            index.aliases.pop(alias, None)
        else:
            index.aliases[alias] = body
        index.save()

    def update_aliases(self, actions: Any) -> None:
        """Apply alias actions, all or none."""
        with self._backend.lock:
            apply_actions(self, actions)

    def _save(self, index: Index) -> None:
        # A mapping that grows while its index is being made saves before the index is known; the last save counts.
        self._backend.state.put(_KIND, index.name, deepcopy(index.to_state()))


def _pipeline(index: Index, setting: str) -> str | None:
    name = index.settings.get(setting)
    return None if name in {None, "_none"} else name


def _not_updatable(names: list[str], targets: list[Index]) -> str:
    listed = ", ".join(names)
    indices = ", ".join(f"[{index.name}/{index.uuid}]" for index in targets)
    return f"Can't update non dynamic settings [[{listed}]] for open indices [{indices}]"


def _index_version(version: str) -> str:
    major, minor, *_ = [int(piece) for piece in version.split("-", maxsplit=1)[0].split(".")]
    return str(9_000_000 + (major - 9) * 100_000 + minor * 10_000)
