"""The mapping of one index: its fields, its updates, and the parsing of documents by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.indices.column_parser import Columns, read_columns
from elastic_sandbox.indices.document_parser import (
    Compiled,
    Field,
    FieldError,
    ObjectField,
    ObjectNode,
    Parsed,
    State,
    compile_mapping,
)
from elastic_sandbox.indices.dynamic_mapping import properties_for
from elastic_sandbox.indices.mapping_definition import Definition, merge, normalise, paths

__all__ = ["Field", "Mapping", "ObjectField", "Parsed"]


class Mapping:
    """What an index knows about its fields.

    :param definition: a mapping as ``PUT`` bodies carry it, validated here
    :param settings: the index's flat settings; ``index.mapping.*`` and ``index.mode`` matter
    :param on_change: called after every change with the new definition, to make it durable
    """

    def __init__(
        self,
        definition: Definition | None = None,
        settings: dict[str, Any] | None = None,
        on_change: Callable[[Definition], None] | None = None,
    ) -> None:
        self._settings = settings or {}
        self._on_change = on_change
        self._definition = normalise(definition or {})
        self._compiled = self._compile(self._definition)
        self._check_limit(self._definition)

    @property
    def fields(self) -> dict[str, Field]:
        """Every field and multi-field by full dotted path; objects are in :attr:`objects`."""
        return self._compiled.fields

    @property
    def objects(self) -> dict[str, ObjectField]:
        """Every object and nested object by full dotted path."""
        return self._compiled.objects

    @property
    def root(self) -> ObjectNode:
        """The compiled top-level object; another one after every change."""
        return self._compiled.root

    @property
    def definition(self) -> Definition:
        """The canonical definition; not to be changed."""
        return self._definition

    def to_json(self) -> Definition:
        """What ``GET _mapping`` shows: properties sorted by name."""
        shown = {key: value for key, value in self._definition.items() if key != "properties"}
        if self._definition.get("properties"):
            shown["properties"] = _sorted(self._definition["properties"])
        return shown

    def update(self, definition: Definition, *, dry_run: bool = False) -> None:
        """Merge an update in.

        :raises ElasticError: 400 when it contradicts the mapping or exceeds the limit of fields.
        """
        merged = merge(self._definition, normalise(definition))
        self._check_limit(merged)
        compiled = self._compile(merged)
        if not dry_run and merged != self._definition:
            self._replace(merged, compiled)

    def settings_changed(self, settings: dict[str, Any]) -> None:
        """Parse by new index settings from now on."""
        self._settings = settings
        self._replace(self._definition, self._compile(self._definition), notify=False)

    def parse(self, source: dict[str, Any], doc_id: str | None = None) -> Parsed:
        """Turn a document into typed values, extending the mapping where it is dynamic.

        :raises ElasticError: 400 document_parsing_exception or strict_dynamic_mapping_exception; the mapping is then
            what it was before.
        """
        try:
            state = State()
            self._compiled.root.walk(source, state)
            if self._definition.get("_data_stream_timestamp"):
                self._check_timestamp(state)
            if not state.unmapped and not state.constants:
                return Parsed(state.values, state.ignored, state.nested)
            return self._parse_dynamic(source, state)
        except FieldError as error:
            raise self._worded(error, source, doc_id) from None

    def columns(self, sources: list[dict[str, Any]]) -> Columns | None:
        """The documents field by field, when all of them are plain; else None, and :meth:`parse` has the say."""
        columns = read_columns(self._compiled.root, sources)
        if columns is not None and self._definition.get("_data_stream_timestamp"):
            times = columns.get("@timestamp")
            if times is None or None in times or list in set(map(type, times)):
                return None
        return columns

    def _parse_dynamic(self, source: dict[str, Any], state: State) -> Parsed:
        added, left_out = self._dynamic_update(state)
        for path, value in state.constants.items():
            _place(
                added,
                path.split("."),
                {**_without_type(self.fields[path].params), "type": "constant_keyword", "value": value},
            )
        before_definition, before = self._definition, self._compiled
        merged = merge(self._definition, {"properties": added})
        compiled = self._compile(merged)
        again = State()
        compiled.root.walk(source, again)
        again.ignored.extend(path for path in left_out if path not in again.ignored)
        if merged != before_definition:
            self._replace(merged, compiled)
        new_fields = {path: item.type for path, item in compiled.fields.items() if path not in before.fields}
        return Parsed(again.values, again.ignored, again.nested, new_fields)

    def _dynamic_update(self, state: State) -> tuple[Definition, list[str]]:
        """The properties to add, and the paths left out because the mapping is full."""
        added = properties_for(state.unmapped, self._definition)
        limit = self._limit()
        room = limit - len(list(paths(self._definition.get("properties", {}))))
        wanted = len(list(paths(added)))
        if wanted <= room or not added:
            return added, []
        if self._setting("index.mapping.total_fields.ignore_dynamic_beyond_limit") != "true":
            reason = f"Limit of total fields [{limit}] has been exceeded while adding new fields [{wanted}]"
            cause = {"type": "illegal_argument_exception", "reason": reason}
            raise FieldError("", f"failed to parse: {reason}", cause)
        kept: Definition = {}
        left_out = []
        for path, value in state.unmapped:
            one = properties_for([(path, value)], self._definition)
            size = len(list(paths(one)))
            if size <= room:
                kept = merge({"properties": kept}, {"properties": one})["properties"]
                room -= size
            else:
                left_out.append(path)
        return kept, left_out

    def _check_timestamp(self, state: State) -> None:
        count = len(state.values.get("@timestamp", ()))
        if count == 1:
            return
        problem = "is missing" if count == 0 else "encountered multiple values"
        reason = f"data stream timestamp field [@timestamp] {problem}"
        raise FieldError("", f"failed to parse: {reason}", {"type": "illegal_argument_exception", "reason": reason})

    def _worded(self, error: FieldError, source: dict[str, Any], doc_id: str | None) -> ElasticError:
        reason = error.reason.replace("\0", doc_id or "")
        return ElasticError(400, error.type, f"[1:{_column(source, error.path)}] {reason}", caused_by=error.cause)

    def _replace(self, definition: Definition, compiled: Compiled, *, notify: bool = True) -> None:
        self._definition, self._compiled = definition, compiled
        if notify and self._on_change is not None:
            self._on_change(definition)

    def _compile(self, definition: Definition) -> Compiled:
        above = self._setting("index.mapping.ignore_above")
        tolerant = self._setting("index.mapping.ignore_malformed") == "true"
        return _compiled(orjson.dumps(definition), tolerant, None if above is None else int(above))

    def _setting(self, name: str) -> str | None:
        value = self._settings.get(name)
        if value is None and self._settings.get("index.mode") == "logsdb":
            value = _LOGSDB_DEFAULTS.get(name)
        return None if value is None else str(value).lower()

    def _limit(self) -> int:
        return int(self._setting("index.mapping.total_fields.limit") or 1000)

    def _check_limit(self, definition: Definition) -> None:
        if len(list(paths(definition.get("properties", {})))) > self._limit():
            raise illegal_argument(f"Limit of total fields [{self._limit()}] has been exceeded")


@lru_cache(maxsize=256)
def _compiled(definition: bytes, ignore_malformed: bool, ignore_above: int | None) -> Compiled:
    """The parsers of a definition, which a stream's indices share with the templates that they came from."""
    return compile_mapping(orjson.loads(definition), ignore_malformed=ignore_malformed, ignore_above=ignore_above)


# Elasticsearch reference, "Logs data stream": what index.mode logsdb changes for parsing.
_LOGSDB_DEFAULTS = {
    "index.mapping.ignore_malformed": "true",
    "index.mapping.ignore_above": "8191",
    "index.mapping.total_fields.ignore_dynamic_beyond_limit": "true",
}


def _without_type(params: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != "type"}


def _place(properties: Definition, path: list[str], body: Definition) -> None:
    for piece in path[:-1]:
        properties = properties.setdefault(piece, {}).setdefault("properties", {})
    properties[path[-1]] = body


def _column(source: dict[str, Any], path: str) -> int:
    """Where the field's value starts if the document is written compactly; near enough to find it by."""
    text = orjson.dumps(source, default=str).decode()
    for key in (path, path.rsplit(".", maxsplit=1)[-1]):
        found = text.find(f'"{key}":') if key else -1
        if found >= 0:
            return found + len(key) + 4
    return 2


def _sorted(properties: Definition) -> Definition:
    shown = {}
    for name in sorted(properties):
        body = dict(properties[name])
        if "properties" in body:
            body["properties"] = _sorted(body["properties"])
        shown[name] = body
    return shown
