"""``POST /_data_stream/_modify``: attach indices to data streams and detach them, all actions or none.

Behaviour and words: Elastic's test 170_modify_data_stream.yml and its DataStreamTests (generation, alias and
membership checks); "the index is hidden / unhidden as part of this operation": API reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse
from elastic_sandbox.indices.index import Index
from elastic_sandbox.shapes import EACH, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Stream = dict[str, Any]
_ACTIONS = ("add_backing_index", "remove_backing_index")
_KEYS = {"data_stream", "index", "failure_store"}


def modify(backend: Backend, body: dict[str, Any]) -> None:
    """Apply the actions of a ``_modify`` body in order.

    :raises ElasticError: 400 when one of them cannot be; then none was applied.
    """
    for key in body:
        if key != "actions":
            raise x_content_parse(f"[1:1] [data_stream_actions] unknown field [{key}]")
    target = {"data_stream": str, "index": str, "failure_store": bool}
    check_shape("data_stream_actions", body, {"actions": [EACH(target)]})
    actions = body.get("actions")
    if not actions or not all(actions):
        raise illegal_argument("no data stream actions specified, at least one must be specified")
    parsed = [_parsed(backend, action) for action in actions]
    with backend.lock:
        changes = _Modification(backend)
        for kind, stream, index, failures in parsed:
            changes.act(kind, stream, index, "failure_indices" if failures else "indices")
        changes.apply()


def _parsed(backend: Backend, action: dict[str, Any]) -> tuple[str, str, str, bool]:
    for kind, target in action.items():
        if kind == "delete_backing_index" and backend.knows("delete_backing_index"):
            raise unsupported("action [delete_backing_index] of POST /_data_stream/_modify")
        if kind not in _ACTIONS:
            raise x_content_parse(f"[1:1] [data_stream_action] unknown field [{kind}]")
        for key in target:
            if key not in _KEYS:
                raise x_content_parse(f"[1:1] [{kind}] unknown field [{key}]")
    if len(action) > 1:
        raise illegal_argument("too many data stream operations declared on operation entry")
    [(kind, target)] = action.items()
    for key in ("data_stream", "index"):
        if not target.get(key):
            raise illegal_argument(f"[{key}] is required")
    return kind, target["data_stream"], target["index"], target.get("failure_store", False) is True


class _Modification:
    """What the actions would make of streams and indices, apart from both until every action was found possible."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._streams: dict[str, Stream] = {}
        self._touched: dict[str, Index] = {}
        self._added: set[str] = set()

    def act(self, kind: str, stream_name: str, index_name: str, part: str) -> None:
        stream = self._stream(stream_name)
        if kind == "add_backing_index":
            self._add(stream, index_name, part)
        else:
            self._remove(stream, index_name, part)

    def _stream(self, name: str) -> Stream:
        if name not in self._streams:
            found = self._backend.indices.streams.get(name)
            if found is None:
                raise illegal_argument(f"data stream [{name}] not found")
            self._streams[name] = found
        return self._streams[name]

    def _add(self, stream: Stream, name: str, part: str) -> None:
        index = self._backend.indices.get(name)
        if index is None:
            raise illegal_argument(f"index [{name}] not found")
        _check_timestamp(index)
        owner, owner_part = self._owner(index)
        if owner is not None:
            if (owner["name"], owner_part) == (stream["name"], part):
                return
            role = "failure store" if owner_part == "failure_indices" else "backing"
            raise _refused(name, stream, f"because it is already a {role} index on data stream [{owner['name']}]")
        if index.aliases:
            listed = ",".join(sorted(index.aliases))
            several = len(index.aliases) > 1
            raise _refused(
                name,
                stream,
                f"until its {'aliases' if several else 'alias'} [{listed}] {'are' if several else 'is'} removed",
            )
        stream[part].insert(0, name)
        stream["generation"] += 1
        self._touched[name] = index
        self._added.add(name)

    def _remove(self, stream: Stream, name: str, part: str) -> None:
        if name not in stream[part]:
            raise illegal_argument(f"index [{name}] not found")
        if name == stream[part][-1]:
            if part == "indices":
                raise illegal_argument(
                    f"cannot remove backing index [{name}] of data stream [{stream['name']}] because it is the write "
                    "index"
                )
            stream["failure_rollover_on_write"] = True
        stream[part].remove(name)
        stream["generation"] += 1
        index = self._backend.indices.get(name)
        if index is not None:
            self._touched[name] = index
        self._added.discard(name)

    def _owner(self, index: Index) -> tuple[Stream | None, str]:
        """The stream an index belongs to after the actions so far, and as what."""
        candidates = {**self._streams}
        if index.data_stream is not None and index.name not in self._touched:
            candidates[index.data_stream] = self._stream(index.data_stream)
        for stream in candidates.values():
            for part in ("indices", "failure_indices"):
                if index.name in stream[part]:
                    return stream, part
        return None, ""

    def apply(self) -> None:
        for stream in self._streams.values():
            self._backend.indices.streams.save(stream)
        for name, index in self._touched.items():
            owner, part = self._owner(index)
            index.data_stream = None if owner is None else owner["name"]
            index.failure_store = part == "failure_indices"
            index.settings["index.hidden"] = "true" if name in self._added else "false"
            if name in self._added:
                index.mapping.update({"_data_stream_timestamp": {"enabled": True}})
            index.save()


def _refused(index: str, stream: Stream, why: str) -> ElasticError:
    return illegal_argument(f"cannot add index [{index}] to data stream [{stream['name']}] {why}")


def _check_timestamp(index: Index) -> None:
    if not index.mapping.definition.get("properties"):
        raise illegal_argument(f"backing index [{index.name}] must have mappings for a timestamp field")
    field = index.mapping.fields.get("@timestamp")
    if field is None:
        raise illegal_argument("data stream timestamp field [@timestamp] does not exist")
    if field.type != "date":
        raise illegal_argument(
            f"data stream timestamp field [@timestamp] is of type [{field.type}], but [date,date_nanos] is expected"
        )
    if field.params.get("ignore_malformed") in {True, "true"}:
        raise illegal_argument(
            "data stream timestamp field [@timestamp] has disallowed [ignore_malformed] attribute specified"
        )
