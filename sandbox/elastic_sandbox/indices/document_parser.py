"""From a mapping to compiled parsers, and from a document to typed values by field.

This is the hot path of ``_bulk``: every field becomes one closure, an object is a dictionary of closures, and
a document costs one dictionary look-up and one call per value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from elastic_sandbox.indices.column_parser import Leaf, make_leaf
from elastic_sandbox.indices.field_types import FIELD_TYPES, Convert, MalformedError, TooLongError, preview
from elastic_sandbox.indices.mapping_definition import Definition, is_object

METADATA_FIELDS = frozenset({"_id", "_index", "_source", "_seq_no", "_version", "_ignored", "_routing", "_field_names",
                             "_doc_count", "_tier", "_data_stream_timestamp", "_nested_path"})  # fmt: skip


@dataclass
class Field:
    """One field (or multi-field) of a mapping.

    ``parent`` is the field a multi-field belongs to; ``nested`` the path of the innermost nested object around it.
    """

    path: str
    type: str
    params: dict[str, Any]
    parent: str | None = None
    nested: str | None = None


@dataclass
class ObjectField:
    """One object or nested object of a mapping."""

    path: str
    type: str
    dynamic: str
    enabled: bool = True


@dataclass(slots=True)
class Parsed:
    """What one document says, by full field path.

    :param values: every field's values in document order: str for keyword, text and ip, int, float, bool, epoch
        milliseconds for date, the raw JSON value for geo_point and flattened. Fields inside nested objects are absent.
    :param ignored: ``_ignored``: fields whose value was malformed or too long
    :param nested: per nested path, one ``values`` dictionary for each nested object
    :param new_fields: fields this document added to the mapping, path to type
    """

    values: dict[str, list[Any]]
    ignored: list[str]
    nested: dict[str, list[dict[str, list[Any]]]]
    new_fields: dict[str, str] = field(default_factory=dict)


class FieldError(Exception):
    """A document that does not fit its mapping, before it is worded for an answer."""

    def __init__(self, path: str, reason: str, cause: dict[str, Any] | None = None, kind: str = "") -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason
        self.cause = cause
        self.type = kind or "document_parsing_exception"


class State:
    """What is collected while one document is walked."""

    __slots__ = ("constants", "ignored", "nested", "unmapped", "values")

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}
        self.ignored: list[str] = []
        self.nested: dict[str, list[dict[str, list[Any]]]] = {}
        self.unmapped: list[tuple[str, Any]] = []
        self.constants: dict[str, str] = {}


Put = Callable[[Any, State], None]


class ObjectNode:
    """A compiled object: what to do with each key."""

    __slots__ = ("children", "dynamic", "ignored", "leaves", "objects", "path")

    def __init__(self, path: str, dynamic: str) -> None:
        self.path = path
        self.dynamic = dynamic
        self.children: dict[str, Put] = {}
        self.objects: dict[str, ObjectNode] = {}
        self.leaves: dict[str, Leaf] = {}
        self.ignored: set[str] = set()

    def walk(self, source: dict[str, Any], state: State) -> None:
        """Hand every value of ``source`` to its field."""
        children = self.children
        for key, value in source.items():
            child = children.get(key)
            if child is None:
                self._unknown(key, value, state)
            else:
                child(value, state)

    def _unknown(self, key: str, value: Any, state: State) -> None:
        if "." in key:
            self._dotted(key, value, state)
            return
        if not key.strip():
            raise FieldError(self.path, "field name cannot be an empty string")
        if value is None or value == []:
            return
        path = f"{self.path}.{key}" if self.path else key
        if self.dynamic == "strict":
            within = self.path or "_doc"
            reason = f"mapping set to strict, dynamic introduction of [{key}] within [{within}] is not allowed"
            raise FieldError(path, reason, kind="strict_dynamic_mapping_exception")
        if self.dynamic == "true":
            state.unmapped.append((path, value))

    def _dotted(self, key: str, value: Any, state: State) -> None:
        """``{"a.b": 1}`` means ``{"a": {"b": 1}}``; a path that resolves is remembered as a child of its own."""
        node = self
        pieces = key.split(".")
        if any(not piece.strip() for piece in pieces):
            raise FieldError(self.path, f"field name cannot contain only whitespace: ['{key}']")
        for piece in pieces[:-1]:
            inner = node.objects.get(piece)
            if inner is None:
                break
            node = inner
        else:
            put = node.children.get(pieces[-1])
            if put is not None:
                self.children[key] = put
                put(value, state)
                return
        first, rest = key.split(".", 1)
        child = self.children.get(first)
        if child is not None:
            child({rest: value}, state)
        else:
            self._unknown(first, {rest: value}, state)


@dataclass
class Compiled:
    """A mapping ready to parse with."""

    root: ObjectNode
    fields: dict[str, Field]
    objects: dict[str, ObjectField]


def compile_mapping(definition: Definition, *, ignore_malformed: bool, ignore_above: int | None) -> Compiled:
    """Build the parsers of a canonical definition.

    :param ignore_malformed: index default, for fields that do not say
    :param ignore_above: index default for keywords, None for no limit
    """
    fields: dict[str, Field] = {}
    objects: dict[str, ObjectField] = {}
    data_stream = bool(definition.get("_data_stream_timestamp", {}).get("enabled"))

    def leaf(body: Definition, path: str, parent: str | None, nested: str | None) -> tuple[Put, Leaf | None]:
        params = {key: value for key, value in body.items() if key not in {"type", "fields"}}
        if ignore_above is not None and "ignore_above" in FIELD_TYPES[body["type"]].parameters:
            params.setdefault("ignore_above", ignore_above)
        tolerant = params.get("ignore_malformed", ignore_malformed and not (data_stream and path == "@timestamp"))
        tolerant = tolerant in {True, "true"} and "ignore_malformed" in FIELD_TYPES[body["type"]].parameters
        subs = [leaf(sub, f"{path}.{name}", path, nested) for name, sub in body.get("fields", {}).items()]
        fields[path] = Field(path, body["type"], params, parent, nested)
        if body["type"] == "constant_keyword":
            return _constant_put(path, params.get("value")), None
        convert = FIELD_TYPES[body["type"]].converter(path, params)
        put = _leaf_put(path, body["type"], params, convert, [sub for sub, _ in subs], tolerant)
        plain = [column for _, column in subs if column is not None]
        column = make_leaf(path, body["type"], params, convert, plain) if len(plain) == len(subs) else None
        return put, column

    def node(body: Definition, path: str, dynamic: str, nested: str | None) -> ObjectNode:
        made = ObjectNode(path, body.get("dynamic", dynamic))
        for name, child in body.get("properties", {}).items():
            child_path = f"{path}.{name}" if path else name
            if not is_object(child):
                made.children[name], column = leaf(child, child_path, None, nested)
                if column is not None:
                    made.leaves[name] = column
                continue
            kind, enabled = child.get("type", "object"), child.get("enabled", True)
            objects[child_path] = ObjectField(child_path, kind, child.get("dynamic", made.dynamic), enabled)
            if not enabled:
                made.children[name] = _ignore
                made.ignored.add(name)
            elif kind == "nested":
                inner = node(child, child_path, made.dynamic, child_path)
                made.children[name] = _nested_put(inner)
            else:
                inner = node(child, child_path, made.dynamic, nested)
                made.objects[name] = inner
                made.children[name] = _object_put(inner)
        return made

    root = node(definition, "", "true", None)
    for name in METADATA_FIELDS:
        root.children[name] = _metadata_put(name)
    return Compiled(root, fields, objects)


def _leaf_put(path: str, kind: str, params: dict[str, Any], convert: Convert, subs: list[Put], tolerant: bool) -> Put:
    null_value = params.get("null_value")
    whole_list = kind == "geo_point"

    def put(value: Any, state: State) -> None:
        if value is None:
            if null_value is None:
                return
            value = null_value
        elif type(value) is list and not (whole_list and value and type(value[0]) in {int, float}):
            for item in value:
                put(item, state)
            return
        try:
            converted = convert(value)
        except TooLongError:
            if path not in state.ignored:
                state.ignored.append(path)
        except MalformedError as malformed:
            if not tolerant:
                raise FieldError(path, _failed(path, kind, value), malformed.cause) from None
            if path not in state.ignored:
                state.ignored.append(path)
        else:
            values = state.values.get(path)
            if values is None:
                state.values[path] = [converted]
            else:
                values.append(converted)
        for sub in subs:
            sub(value, state)

    return put


def _failed(path: str, kind: str, value: Any) -> str:
    # The document's id stands where Mapping.parse puts it.
    shown = preview(value)
    return (
        f"failed to parse field [{path}] of type [{kind}] in document with id '\0'. Preview of field's value: '{shown}'"
    )


def _constant_put(path: str, constant: str | None) -> Put:
    def put(value: Any, state: State) -> None:
        if value is None:
            return
        if type(value) is list:
            for item in value:
                put(item, state)
            return
        text = preview(value)
        expected = state.constants.get(path) if constant is None else constant
        if expected is None:
            state.constants[path] = text
        elif text != expected:
            reason = (
                f"[constant_keyword] field [{path}] only accepts values that are equal to the value defined in the "
                f"mappings [{expected}], but got [{text}]"
            )
            cause = {"type": "illegal_argument_exception", "reason": reason}
            raise FieldError(path, _failed(path, "constant_keyword", value), cause)
        state.values[path] = [text]

    return put


def _object_put(node: ObjectNode) -> Put:
    walk, path = node.walk, node.path

    def put(value: Any, state: State) -> None:
        if type(value) is dict:
            walk(value, state)
        elif type(value) is list:
            for item in value:
                put(item, state)
        elif value is not None:
            raise FieldError(path, _concrete(path))

    return put


def _concrete(path: str) -> str:
    leaf = path.rsplit(".", maxsplit=1)[-1]
    return f"object mapping for [{path}] tried to parse field [{leaf}] as object, but found a concrete value"


def _nested_put(node: ObjectNode) -> Put:
    path = node.path

    def put(value: Any, state: State) -> None:
        if type(value) is list:
            for item in value:
                put(item, state)
        elif type(value) is dict:
            outer, state.values = state.values, {}
            try:
                node.walk(value, state)
                state.nested.setdefault(path, []).append(state.values)
            finally:
                state.values = outer
        elif value is not None:
            raise FieldError(path, _concrete(path))

    return put


def _ignore(_value: Any, _state: State) -> None:
    """``enabled: false``: any JSON is kept in the source and nothing is indexed."""


def _metadata_put(name: str) -> Put:
    def put(_value: Any, _state: State) -> None:
        raise FieldError(
            name,
            f"Field [{name}] is a metadata field and cannot be added inside a document. Use the index API request "
            "parameters.",
        )

    return put
