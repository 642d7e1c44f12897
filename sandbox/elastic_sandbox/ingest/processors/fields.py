"""Processors that move whole values about: set, remove, rename, append, dot_expander, json."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.errors import unsupported
from elastic_sandbox.ingest.document import METADATA, IngestDocument, illegal, java_type
from elastic_sandbox.ingest.processors import EachProcessor, register
from elastic_sandbox.ingest.templates import Template, ValueSource

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config

_JSON_SCALARS = (str, int, float, bool, type(None))


def fresh(value: Any) -> Any:
    """A copy that shares nothing mutable with the original."""
    return value if isinstance(value, _JSON_SCALARS) else copy.deepcopy(value)


class SetProcessor(EachProcessor):
    """`set`: a constant, a template or another field's value."""

    type = "set"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: Template = config.template("field")
        self._copy_from: str | None = config.string("copy_from", None)
        self._value: ValueSource | None = None
        if self._copy_from is None:
            self._value = config.value_source("value")
        elif config.pop("value", None) is not None:
            raise config.error("copy_from", "cannot set both `copy_from` and `value` in the same processor")
        self._override = config.boolean("override", True)
        self._ignore_empty = config.boolean("ignore_empty_value")

    def process(self, document: IngestDocument) -> None:
        """Set the field unless `override: false` finds a value there."""
        field = self._field(document)
        if not self._override and document.find(field) is not None:
            return
        if self._copy_from is not None:
            value = document.find(self._copy_from) if self._ignore_empty else document.get(self._copy_from)
            value = fresh(value)
        else:
            assert self._value is not None
            value = self._value(document)
        if self._ignore_empty and (value is None or value == ""):
            return
        document.set(field, value)


class RemoveProcessor(EachProcessor):
    """`remove`: fields away, or everything but some fields."""

    type = "remove"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._fields = self._templates(config, "field")
        self._keep = self._templates(config, "keep")
        if not self._fields and not self._keep:
            raise config.error("keep", "or [field] must be specified")
        if self._fields and self._keep:
            raise config.error("keep", "and [field] cannot both be used in the same processor")
        self._ignore_missing = config.boolean("ignore_missing")

    @staticmethod
    def _templates(config: Config, name: str) -> list[Template]:
        return [Template(text) for text in config.strings(name)] if config.get(name) is not None else []

    def process(self, document: IngestDocument) -> None:
        """Remove, or keep."""
        if self._keep:
            keep = [template(document) for template in self._keep]
            _keep_only(document.source, keep, "")
            return
        for template in self._fields:
            path = template(document)
            if not (self._ignore_missing and not (path and document.has(path))):
                document.remove(path)


def _keep_only(node: dict[str, Any], keep: list[str], prefix: str) -> None:
    for key in list(node):
        path = prefix + key
        if any(path == kept or path.startswith(kept + ".") for kept in keep):
            continue
        if any(kept.startswith(path + ".") for kept in keep):
            if isinstance(node[key], dict):
                _keep_only(node[key], keep, path + ".")
            continue
        del node[key]


class RenameProcessor(EachProcessor):
    """`rename`: a value to another place."""

    type = "rename"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: Template = config.template("field")
        self._target: Template = config.template("target_field")
        self._ignore_missing = config.boolean("ignore_missing")
        self._override = config.boolean("override")

    def process(self, document: IngestDocument) -> None:
        """Move the value; what stands at the target already is an error unless `override`."""
        field = self._field(document)
        if not field or not document.has(field):
            if self._ignore_missing:
                return
            if not field:
                raise illegal("field path cannot be null nor empty")
            raise illegal(f"field [{field}] doesn't exist")
        target = self._target(document)
        if not self._override and document.has(target):
            raise illegal(f"field [{target}] already exists")
        value = document.get(field)
        document.remove(field)
        try:
            document.set(target, value)
        except Exception:
            document.set(field, value)
            raise


class AppendProcessor(EachProcessor):
    """`append`: values to a list, which is made when it is not there."""

    type = "append"

    def __init__(self, _backend: Backend, config: Config) -> None:
        for option in ("copy_from", "ignore_empty_values"):
            if option in config:
                raise unsupported(f"option [{option}] of processor [append]")
        self._field: Template = config.template("field")
        self._value = config.value_source("value")
        self._allow_duplicates = config.boolean("allow_duplicates", True)

    def process(self, document: IngestDocument) -> None:
        """Append."""
        document.append(self._field(document), self._value(document), allow_duplicates=self._allow_duplicates)


class DotExpanderProcessor(EachProcessor):
    """`dot_expander`: a key with dots becomes objects, which is what all other processors look for."""

    type = "dot_expander"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: str = config.string("field")
        if self._field != "*":
            if "." not in self._field:
                raise config.error("field", "field does not contain a dot and is not a wildcard")
            if self._field.startswith(".") or self._field.endswith("."):
                raise config.error("field", "Field can't start or end with a dot")
            if ".." in self._field:
                raise config.error("field", "No space between dots")
        self._path: str | None = config.string("path", None)
        self._override = config.boolean("override")

    def process(self, document: IngestDocument) -> None:
        """Expand one key, or all that hold a dot."""
        parent = document.source if self._path is None else document.get(self._path)
        if not isinstance(parent, dict):
            raise illegal(f"field [{self._path}] of type [{java_type(parent)}] cannot be cast to [java.util.Map]")
        fields = [key for key in parent if "." in key.strip(".")] if self._field == "*" else [self._field]
        for field in fields:
            self._expand(document, parent, field)

    def _expand(self, document: IngestDocument, parent: dict[str, Any], field: str) -> None:
        path = field if self._path is None else f"{self._path}.{field}"
        if field not in parent:
            return
        if document.has(path):
            value = parent.pop(field)
            if self._override:
                document.set(path, value)
            else:
                document.append(path, value)
            return
        parts = path.split(".")
        for end in range(1, len(parts)):
            partial = ".".join(parts[:end])
            if not document.has(partial):
                break
            if not isinstance(document.get(partial), dict):
                raise illegal(f"cannot expand [{path}], because [{partial}] is not an object field, but a value field")
        document.set(path, parent.pop(field))


class JsonProcessor(EachProcessor):
    """`json`: a string of JSON into its value."""

    type = "json"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: str = config.string("field")
        target = config.string("target_field", None)
        self._add_to_root = config.boolean("add_to_root")
        strategy = config.string("add_to_root_conflict_strategy", None)
        for option in ("allow_duplicate_keys", "strict_json_parsing"):
            if option in config and config.boolean(option) is not (option == "strict_json_parsing"):
                raise unsupported(f"option [{option}] of processor [json]")
        if self._add_to_root and target is not None:
            raise config.error("target_field", "Cannot set a target field while also setting `add_to_root` to true")
        if not self._add_to_root and strategy is not None:
            raise config.error(
                "add_to_root_conflict_strategy", "Cannot set `add_to_root_conflict_strategy` if `add_to_root` is false"
            )
        if strategy not in {None, "replace", "merge"}:
            raise config.error("add_to_root_conflict_strategy", f"conflict strategy [{strategy}] not supported")
        self._merge = strategy == "merge"
        self._target = target or self._field

    def process(self, document: IngestDocument) -> None:
        """Parse and set, or lay the object over the source."""
        raw = document.get(self._field)
        if isinstance(raw, list | dict):
            # The server parses Java's text of it, which is JSON only by luck.
            raise unsupported(f"processor [json] on a value of type [{java_type(raw)}]")
        try:
            value = orjson.loads(raw) if isinstance(raw, str) else raw
        except orjson.JSONDecodeError as problem:
            error = illegal(f"field [{self._field}] is not valid JSON")
            error.caused_by = {"type": "x_content_parse_exception", "reason": str(problem)}
            raise error from None
        if not self._add_to_root:
            document.set(self._target, value)
            return
        if not isinstance(value, dict):
            raise illegal("cannot add non-map fields to root of document")
        for key, item in value.items():
            if key in METADATA:
                document.set(key, item)
            elif self._merge and isinstance(document.source.get(key), dict) and isinstance(item, dict):
                _merge(document.source[key], item)
            else:
                document.source[key] = item


def _merge(target: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(target.get(key), dict) and isinstance(value, dict):
            _merge(target[key], value)
        else:
            target[key] = value


register("set", SetProcessor)
register("remove", RemoveProcessor)
register("rename", RenameProcessor)
register("append", AppendProcessor)
register("dot_expander", DotExpanderProcessor)
register("json", JsonProcessor)
