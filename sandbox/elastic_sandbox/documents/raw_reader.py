"""Plain documents read from their bytes: a pattern that says which are plain, and SQL that finds their columns.

Most of a bulk's documents hold known fields with values of the fields' own JSON types. Such a document is told by a
regular expression made from the mapping: one pass in C, no Python object for any value. The columns are taken out of
the same bytes by DuckDB when the refresh comes. What the pattern does not match is not refused: it is read field by
field (column_parser) or one by one (document_parser), and there decided.

So the pattern may be too narrow and must never be too wide: what it lets through is indexed without another look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_sandbox.documents.columns import SQL_TYPES, Column, Schema
from elastic_sandbox.indices.dates import DEFAULT_FORMAT

if TYPE_CHECKING:
    from elastic_sandbox.indices.document_parser import ObjectNode
    from elastic_sandbox.indices.mapping import Mapping as IndexMapping

RAW_FROM = 500
"""Requests with fewer documents are not worth compiling a pattern for."""
_MAX_FIELDS = 200

_CHARACTER = rb'[^"\\\x00-\x1f]'
_ESCAPE = rb'\\["\\/bfnrt]'
_DAY = rb"(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
# Years of the epoch, so that milliseconds are cut off alike by both readers; UTC only.
_DATE = rb'"(?:19[7-9]|20\d)\d-' + _DAY + rb'(?:T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6}+)?(?:Z|\+00:00)?)?"'
_OCTET = rb"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# No negative zero: as a whole number and as a floating one it is two things.
_DECIMAL = rb"(?:-?[1-9]\d{0,14}+(?:\.\d{1,17}+)?|0(?:\.\d{1,17}+)?|-0\.\d{0,16}[1-9])"
_WHOLE = {
    "byte": rb"(?:-?(?:12[0-7]|1[01]\d|[1-9]\d?)|0)",
    "short": rb"(?:-?[1-9]\d{0,3}+|0)",
    "integer": rb"(?:-?[1-9]\d{0,8}+|0)",
    "long": rb"(?:-?[1-9]\d{0,17}+|0)",
}
_NAME = re.compile(r"[\w@-]+")
_ISO_FORMATS = {"strict_date_optional_time", "date_optional_time", "strict_date_optional_time_nanos"}


class _Kind(NamedTuple):
    """How values of a field look, their type for ``from_json``, and the SQL from that to what the column holds."""

    pattern: bytes
    json_type: str
    sql: str = "$"
    """``$`` stands for the value."""


@dataclass(frozen=True)
class RawReader:
    """Reads the plain documents of one mapping.

    :param pattern: matches a whole plain document
    :param fields: path by path the keys that lead to a field, and its kind
    """

    pattern: re.Pattern[bytes]
    fields: dict[str, tuple[tuple[str, ...], _Kind]]

    def matches(self, documents: list[bytes]) -> bool:
        """Whether all are plain."""
        return all(map(self.pattern.fullmatch, documents)) and _utf_8(b"".join(documents))

    def shape(self, schema: Schema) -> dict[str, Any]:
        """The structure that DuckDB's ``from_json`` is to find in a document."""
        shape: dict[str, Any] = {}
        for path, (keys, kind) in self.fields.items():
            inner = shape
            for key in keys[:-1]:
                inner = inner.setdefault(key, {})
            inner[keys[-1]] = "JSON" if schema.columns[path].multi else kind.json_type
        return shape

    def values(self, schema: Schema) -> dict[str, str]:
        """By column name the SQL of its value, from the structure ``r``."""
        values = {}
        for path, (keys, kind) in self.fields.items():
            column = schema.columns[path]
            found = "r" + "".join(f'."{key}"' for key in keys)
            if not column.multi:
                values[column.name] = kind.sql.replace("$", found)
                continue
            each = kind.sql.replace("$", "v")
            values[column.name] = (
                f"CASE WHEN {found} IS NULL THEN NULL ELSE list_transform(CASE WHEN starts_with({found}::VARCHAR, '[') "
                f"THEN from_json({found}, '[\"{kind.json_type}\"]') ELSE [from_json({found}, '\"{kind.json_type}\"')] "
                f"END, lambda v: {each}) END"
            )
        return values


def raw_reader(mapping: IndexMapping, columns: Mapping[str, Column]) -> RawReader | None:
    """The reader for documents whose fields all have columns already; None when no document can be plain.

    :param columns: of the index's table, those to come with the next refresh included
    """
    if len(columns) > _MAX_FIELDS:
        return None
    writing = _Writing(mapping, columns)
    try:
        source = writing.object(mapping.root, ()) + writing.ending()
    except _NotPlainError:
        return None
    return RawReader(re.compile(source), writing.fields)


def _utf_8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class _NotPlainError(Exception):
    pass


class _Writing:
    """A pattern on its way: an object is any of its known keys, each once, in any order."""

    def __init__(self, mapping: IndexMapping, columns: Mapping[str, Column]) -> None:
        self._mapping = mapping
        self._columns = columns
        self._groups: dict[str, int] = {}
        self.fields: dict[str, tuple[tuple[str, ...], _Kind]] = {}

    def object(self, node: ObjectNode, above: tuple[str, ...]) -> bytes:
        """An object's pattern."""
        members = []
        for key in sorted({*node.leaves, *node.objects, *node.ignored}):
            path = ".".join((*above, key))
            value = self._value(node, key, path, (*above, key))
            if value is not None:
                members.append(self._once(path, key, value))
        if len({key.casefold() for key in node.children}) < len(node.children):
            raise _NotPlainError  # DuckDB's structures do not tell such fields apart
        if node.dynamic == "false":
            known = b"|".join(re.escape(key.encode()) for key in sorted(node.children))
            members.append(rb"(?!(?:" + known + rb')")[\w@-]{1,100}+":' + _ANYTHING)
        if not members:
            return rb"\{\}"
        # A comma between members, and none after the last.
        return rb'\{(?:"(?:' + b"|".join(members) + rb')(?:,(?=")|(?=\})))*+\}'

    def ending(self) -> bytes:
        """What remains to be asked at the end: whether a data stream's document has its time."""
        if not self._mapping.definition.get("_data_stream_timestamp"):
            return b""
        group = self._groups.get("@timestamp")
        if group is None:
            raise _NotPlainError
        return b"(?(%d)|(?!))" % group

    def _value(self, node: ObjectNode, key: str, path: str, keys: tuple[str, ...]) -> bytes | None:
        if key in node.ignored:
            return _ANYTHING
        if key in node.objects:
            return self.object(node.objects[key], keys) + rb"|null"
        column, field = self._columns.get(path), self._mapping.fields[path]
        kind = _kind(field.type, field.params)
        if column is None or kind is None or node.leaves[key].subs or not _NAME.fullmatch(key):
            return None
        self.fields[path] = (keys, kind)
        one = kind.pattern
        if path == "@timestamp":
            return one
        several = rb"|\[" + one + rb"(?:," + one + rb")*+\]" if column.multi else b""
        return one + several + rb"|null"

    def _once(self, path: str, key: str, value: bytes) -> bytes:
        # Two members of one name are one to Python (the last) and another to DuckDB (the first).
        group = self._groups[path] = len(self._groups) + 1
        return re.escape(key.encode()) + b'":(?(%d)(?!))(?:' % group + value + b")()"


def _text(limit: int) -> bytes:
    """A string of at most ``limit`` bytes, which is at most as many characters."""
    plain = b'"' + _CHARACTER + b'{0,%d}+"' % limit
    part = limit // 9 - 1
    if part < 1:
        return plain
    piece = _CHARACTER + b"{0,%d}+" % part
    return plain + b'|"(?:' + piece + _ESCAPE + b"){1,8}+" + piece + b'"'


def _kind(field_type: str, params: dict[str, Any]) -> _Kind | None:
    if field_type in {"keyword", "wildcard"} and params.get("normalizer") is None:
        return _Kind(b"(?:" + _text(min(int(params.get("ignore_above", 8191)), 8191)) + b")", "VARCHAR")
    if field_type == "date" and params.get("format", DEFAULT_FORMAT).split("||")[0] in _ISO_FORMATS:
        return _Kind(_DATE, "VARCHAR", "epoch_ms(date_trunc('milliseconds', $::TIMESTAMP))")
    return _KINDS.get(field_type)


def _anything(depth: int) -> bytes:
    scalar = b"(?:" + _text(8191) + b"|true|false|null|" + _DECIMAL + b")"
    if depth == 0:
        return scalar
    inner = _anything(depth - 1)
    member = b'"' + _CHARACTER + b'{0,200}+":' + inner
    return (
        b"(?:" + scalar + rb"|\[(?:" + inner + rb"(?:," + inner + rb")*+)?+\]"
        rb"|\{(?:" + member + rb"(?:," + member + rb")*+)?+\})"
    )


_ANYTHING = _anything(1)
_IP = (
    "format('00000000000000000000ffff{:02x}{:02x}{:02x}{:02x}'"
    + "".join(f", split_part($, '.', {part})::INTEGER" for part in (1, 2, 3, 4))
    + ")"
)
_KINDS = {
    "ip": _Kind(rb'"(?:' + _OCTET + rb"\.){3}" + _OCTET + b'"', "VARCHAR", _IP),
    "boolean": _Kind(b"(?:true|false)", "BOOLEAN"),
    "double": _Kind(_DECIMAL, "DOUBLE"),
    "float": _Kind(_DECIMAL, "DOUBLE", "($)::FLOAT::DOUBLE"),
    **{name: _Kind(pattern, SQL_TYPES[name]) for name, pattern in _WHOLE.items()},
}
