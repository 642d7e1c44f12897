"""One document on its way into an index: source, metadata and the `_ingest` scratch map.

Field paths follow Elasticsearch's *classic* access pattern: `a.b` looks for `b` inside the object `a` and never for a
key that is literally called `a.b` (the `dot_expander` processor exists for those). A path that starts with `_ingest.`
addresses the scratch map, `_source.` is a spelling of the source root, and the metadata names (`_index`, `_id`, ...)
are plain fields of the root.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from elastic_sandbox.errors import ElasticError

METADATA: Final = frozenset(
    {
        "_index",
        "_id",
        "_routing",
        "_version",
        "_version_type",
        "_if_seq_no",
        "_if_primary_term",
        "_dynamic_templates",
        "_op_type",
    }
)
_ABSENT: Final = object()


class _Dropped:
    """The outcome of the `drop` processor."""

    def __repr__(self) -> str:
        return "DROPPED"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error with the place it happened in: the processor, its pipeline, and the pipelines that led there."""

    error: ElasticError
    processor_type: str
    processor_tag: str | None
    pipeline: str
    trace: tuple[str, ...] = ()


DROPPED: Final = _Dropped()
Result = ElasticError | Failure | _Dropped | None
"""What happened to one document: `None` kept it, `DROPPED` dropped it, an error failed it.

Processors answer plain errors; the pipeline binds them to their place as a `Failure`.
"""


def illegal(reason: str) -> ElasticError:
    """The 400 `illegal_argument_exception` every bad value in a document ends in."""
    return ElasticError(400, "illegal_argument_exception", reason)


def java_type(value: Any) -> str:
    """The class name Elasticsearch prints for a JSON value, as in `cannot be cast to [java.lang.Integer]`."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        return "java.lang.Integer" if -(2**31) <= value < 2**31 else "java.lang.Long"
    names: dict[type, str] = {
        str: "java.lang.String",
        float: "java.lang.Double",
        list: "java.util.ArrayList",
        dict: "java.util.HashMap",
    }
    return names.get(type(value), type(value).__name__)


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A parsed field path: the text as written, the map it starts in and the keys to walk."""

    text: str
    in_ingest: bool
    keys: tuple[str, ...]

    @property
    def in_metadata(self) -> bool:
        """Whether the path names a metadata field such as `_id`."""
        return not self.in_ingest and self.keys[0] in METADATA


@lru_cache(maxsize=8192)
def field_path(text: str) -> FieldPath:
    """Parse a dotted path; empty paths and lone dots are the server's `illegal_argument_exception`."""
    if not text:
        raise illegal("path cannot be null nor empty")
    in_ingest = text.startswith("_ingest.")
    rest = text.removeprefix("_ingest.") if in_ingest else text.removeprefix("_source.")
    keys = rest.split(".")
    while keys and not keys[-1]:  # Java's String.split drops trailing empty parts
        keys.pop()
    if not keys:
        raise illegal(f"path [{text}] is not valid")
    return FieldPath(text, in_ingest, tuple(keys))


class Ctx(MutableMapping[str, Any]):
    """The `ctx` of a script: the source with the metadata fields laid over it.

    `read_only` is how an `if` condition sees it: the server refuses to let a condition change the document.
    """

    __slots__ = ("_metadata", "_source", "read_only")

    def __init__(self, document: IngestDocument, read_only: bool = False) -> None:
        self._source = document.source
        self._metadata = document.metadata
        self.read_only = read_only

    def get(self, key: str, default: Any = None) -> Any:
        """The value under a key, `default` when there is none; the fast path of every script."""
        return (self._metadata if key in METADATA else self._source).get(key, default)

    def __getitem__(self, key: str) -> Any:
        return (self._metadata if key in METADATA else self._source)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._refuse_when_read_only()
        if key in METADATA:
            _set_metadata(self._metadata, key, value)
        else:
            self._source[key] = value

    def __delitem__(self, key: str) -> None:
        self._refuse_when_read_only()
        del (self._metadata if key in METADATA else self._source)[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._source
        yield from self._metadata

    def __len__(self) -> int:
        return len(self._source) + len(self._metadata)

    def __contains__(self, key: object) -> bool:
        return key in (self._metadata if key in METADATA else self._source)

    def _refuse_when_read_only(self) -> None:
        if self.read_only:
            raise ElasticError(
                400,
                "unsupported_operation_exception",
                "Mutating ingest documents in conditionals is not supported",
            )


def _set_metadata(metadata: dict[str, Any], key: str, value: Any) -> None:
    if key == "_index" and value is None:
        raise illegal("_index cannot be null")
    if key in {"_index", "_id", "_routing", "_version_type", "_op_type"} and not isinstance(value, str | None):
        raise illegal(
            f"{key} [{value}] is wrong type, expected assignable to [java.lang.String], not [{java_type(value)}]"
        )
    metadata[key] = value


@dataclass(slots=True)
class IngestDocument:
    """A document as processors see it.

    `metadata` holds `_index`, `_id` (None until it is known), `_version`, `_routing`, ...; `ingest` holds `timestamp`
    (ISO 8601, UTC) and what failing, looping and calling processors leave there. Processors change the document in
    place; values are JSON values.
    """

    source: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    ingest: dict[str, Any] = field(default_factory=dict)
    encoded: bytes | None = None
    """The source as JSON where that is known: as it was sent, then as the last pipeline left it."""

    def _root(self, path: FieldPath) -> dict[str, Any]:
        if path.in_ingest:
            return self.ingest
        return self.metadata if path.keys[0] in METADATA else self.source

    def get(self, path: str) -> Any:
        """The value at a path; an absent one is the server's `illegal_argument_exception`."""
        parsed = field_path(path)
        value: Any = self._root(parsed)
        for key in parsed.keys:
            if type(value) is dict:
                found = value.get(key, _ABSENT)
                if found is _ABSENT:
                    raise illegal(f"field [{key}] not present as part of path [{path}]")
                value = found
            elif type(value) is list:
                value = value[_array_index(key, value, path)]
            elif value is None:
                raise illegal(f"cannot resolve [{key}] from null as part of path [{path}]")
            else:
                raise illegal(
                    f"cannot resolve [{key}] from object of type [{java_type(value)}] as part of path [{path}]"
                )
        return value

    def find(self, path: str, default: Any = None) -> Any:
        """The value at a path, or `default` where `get` would raise."""
        parsed = field_path(path)
        value: Any = self._root(parsed)
        for key in parsed.keys:
            if type(value) is dict:
                value = value.get(key, _ABSENT)
                if value is _ABSENT:
                    return default
            elif type(value) is list and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                return default
        return value

    def has(self, path: str) -> bool:
        """Whether something, possibly null, stands at the path."""
        return self.find(path, _ABSENT) is not _ABSENT

    def set(self, path: str, value: Any) -> None:
        """Put a value at a path, creating the objects on the way."""
        parsed = field_path(path)
        if parsed.in_metadata and len(parsed.keys) == 1:
            _set_metadata(self.metadata, parsed.keys[0], value)
            return
        parent = self._parent(parsed, create=True)
        key = parsed.keys[-1]
        if type(parent) is dict:
            parent[key] = value
        elif type(parent) is list:
            parent[_array_index(key, parent, path)] = value
        elif parent is None:
            raise illegal(f"cannot set [{key}] with null parent as part of path [{path}]")
        else:
            raise illegal(
                f"cannot set [{key}] with parent object of type [{java_type(parent)}] as part of path [{path}]"
            )

    def remove(self, path: str) -> None:
        """Take the value at a path away; an absent one is an `illegal_argument_exception`."""
        parsed = field_path(path)
        parent = self._parent(parsed, create=False)
        key = parsed.keys[-1]
        if type(parent) is dict:
            if key not in parent:
                raise illegal(f"field [{key}] not present as part of path [{path}]")
            del parent[key]
        elif type(parent) is list:
            del parent[_array_index(key, parent, path)]
        elif parent is None:
            raise illegal(f"cannot remove [{key}] from null as part of path [{path}]")
        else:
            raise illegal(f"cannot remove [{key}] from object of type [{java_type(parent)}] as part of path [{path}]")

    def append(self, path: str, value: Any, *, allow_duplicates: bool = True) -> None:
        """Add one value or a list of values to the list at a path; a scalar there becomes the list's first element."""
        values = value if isinstance(value, list) else [value]
        present = self.find(path, _ABSENT)
        if present is _ABSENT:
            self.set(path, _without_duplicates([], values, allow_duplicates))
            return
        target = present if isinstance(present, list) else [present]
        if allow_duplicates:
            target.extend(values)
        else:
            unique = _without_duplicates(target, values, allow_duplicates)
            if len(unique) == len(target):
                return  # nothing new: a scalar stays a scalar
            target = unique
        if target is not present:
            self.set(path, target)

    def ctx(self, *, read_only: bool = False) -> Ctx:
        """The map a Painless script knows as `ctx`."""
        return Ctx(self, read_only)

    def _parent(self, path: FieldPath, *, create: bool) -> Any:
        value: Any = self._root(path)
        for key in path.keys[:-1]:
            if type(value) is dict:
                found = value.get(key, _ABSENT)
                if found is _ABSENT:
                    if not create:
                        raise illegal(f"field [{key}] not present as part of path [{path.text}]")
                    found = value[key] = {}
                value = found
            elif type(value) is list:
                value = value[_array_index(key, value, path.text)]
            elif value is None:
                raise illegal(f"cannot resolve [{key}] from null as part of path [{path.text}]")
            else:
                raise illegal(
                    f"cannot resolve [{key}] from object of type [{java_type(value)}] as part of path [{path.text}]"
                )
        return value


def _array_index(key: str, values: list[Any], path: str) -> int:
    if not key.lstrip("-").isdigit():
        raise illegal(f"[{key}] is not an integer, cannot be used as an index as part of path [{path}]")
    index = int(key)
    if not 0 <= index < len(values):
        raise illegal(f"[{index}] is out of bounds for array with length [{len(values)}] as part of path [{path}]")
    return index


def _without_duplicates(present: list[Any], values: list[Any], allow: bool) -> list[Any]:
    if allow:
        return [*present, *values]
    kept = list(present)
    for value in values:
        if value not in kept:
            kept.append(value)
    return kept
