"""What waits for a refresh, single documents and batches of new ones, and how it gets into DuckDB.

DuckDB does the reading, without Python's global lock: a refresh runs beside the next request instead of before it.
"""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson

from elastic_sandbox.documents.columns import SQL_TYPES, Schema
from elastic_sandbox.documents.operations import Plain

if TYPE_CHECKING:
    import duckdb

    from elastic_sandbox.documents.raw_reader import RawReader

SLICE = 20_000
"""Documents of one statement, which bounds its memory."""
# No JSON text contains it: control characters are escaped inside strings, and outside only white space is allowed.
_SEPARATOR = b"\x1e"
_FEW = 4
"""Documents that are put in one by one: a statement of their values is planned faster than one that reads JSON."""


class Encoder(NamedTuple):
    """Where a field's values go in JSON, and what is done to them first."""

    single: str
    several: str
    convert: Callable[[list[Any]], Any] | None
    listed: bool


@dataclass(slots=True, frozen=True)
class Stored:
    """A document as get returns it."""

    id: str
    source: bytes
    seq_no: int
    version: int
    routing: str | None


@dataclass(slots=True)
class Row:
    """The newest state of one document; ``line`` is its columns as JSON."""

    id: str
    source: bytes
    seq_no: int
    version: int
    routing: str | None
    line: bytes = b"{}"


class Batch:
    """New documents that were written together; their columns were read already, or a reader finds them in the bytes.

    :param first: sequence number of the first; the others follow without a gap
    """

    __slots__ = ("_columns", "_ids", "_raws", "_reader", "_routings", "first")

    def __init__(
        self, plain: Plain, first: int, columns: list[tuple[Encoder, list[Any]]] | None, reader: RawReader | None
    ) -> None:
        self.first = first
        self._ids, self._raws, self._routings = plain.ids, plain.raws, plain.routings
        self._columns = columns or []
        self._reader = reader

    def __len__(self) -> int:
        return len(self._ids)

    def stored(self, seq_no: int) -> Stored | None:
        """The document of a sequence number; None when it is in another batch."""
        at = seq_no - self.first
        if not 0 <= at < len(self):
            return None
        return Stored(self._ids[at], self._raws[at], seq_no, 1, self._routings[at])

    def with_next(self, other: Batch) -> Batch | None:
        """This and the following batch as one; None when they are not neighbours that the same reader reads."""
        if self._reader is None or self._reader is not other._reader or self.first + len(self) != other.first:
            return None
        ids, raws = self._ids + other._ids, self._raws + other._raws
        both = Plain("create", "", ids, None, raws, self._routings + other._routings)
        return Batch(both, self.first, None, self._reader)

    def insert(self, cursor: duckdb.DuckDBPyConnection, schema: Schema) -> None:
        """Put the documents into their table."""
        for start in range(0, len(self), SLICE):
            part = slice(start, start + SLICE)
            ids = self._ids[part]
            known: dict[str, Any] = {"_id": ids, "_routing": self._routings[part]}
            shape: dict[str, Any] = {"_id": ["VARCHAR"], "_routing": ["VARCHAR"]}
            if self._reader is None:
                found, parameters, values = "", [], self._known_values(schema, part, known, shape)
            else:
                found, parameters = ", from_json(_source, ?) AS r", [orjson.dumps(self._reader.shape(schema)).decode()]
                values = self._reader.values(schema)
            lists = "".join(f", unnest(known.{name}) AS {name}" for name in shape)
            cursor.execute(
                f"INSERT INTO {schema.table} (_id, _source, _seq_no, _version, _routing"
                f"{''.join(f', {name}' for name in values)}) "
                f"SELECT _id, _source, _seq_no, 1, _routing{''.join(f', {value}' for value in values.values())} "
                f"FROM (SELECT *{found} "
                f"FROM (SELECT unnest(string_split(?, chr(30))) AS _source, unnest(range(?, ?)) AS _seq_no{lists} "
                "FROM (SELECT from_json(?, ?) AS known)))",
                [
                    *parameters,
                    _SEPARATOR.join(self._raws[part]).decode(),
                    self.first + start,
                    self.first + start + len(ids),
                    orjson.dumps(known).decode(),
                    orjson.dumps(shape).decode(),
                ],
            )

    def _known_values(
        self, schema: Schema, part: slice, known: dict[str, Any], shape: dict[str, Any]
    ) -> dict[str, str]:
        """Add the columns that were read to what is handed over; by column name the SQL of its value."""
        columns = {column.name: column for column in schema.columns.values()}
        values: dict[str, str] = {}
        for encoder, column in self._columns:
            held = columns[encoder.single]
            kind = SQL_TYPES[held.type]
            lists = _lists(encoder, column[part])
            if lists is None:
                known[held.name], shape[held.name] = column[part], [kind]
                values[held.name] = _listed(held.name) if held.multi else held.name
            elif held.multi:
                known[held.name], shape[held.name] = lists, [[kind]]
                values[held.name] = held.name
            else:
                known[held.name], shape[held.name] = [value and value[0] for value in lists], [kind]
                values[held.name] = held.name
        return values


def joined(batches: list[Batch]) -> list[Batch]:
    """The same documents in fewer batches: a statement costs as much as a thousand documents."""
    fewer: list[Batch] = []
    for batch in batches:
        both = fewer[-1].with_next(batch) if fewer else None
        if both is None:
            fewer.append(batch)
        else:
            fewer[-1] = both
    return fewer


def _lists(encoder: Encoder, column: list[Any]) -> list[list[Any] | None] | None:
    """Every document's values as a list, or None for none; None when the column can stay as it is."""
    if encoder.convert is None and not encoder.listed and list not in set(map(type, column)):
        return None
    lists: list[list[Any] | None] = []
    for value in column:
        values = value if type(value) is list else [] if value is None else [value]
        kept = values if encoder.convert is None or not values else encoder.convert(values)
        lists.append((kept or None) if not encoder.listed or not values else kept)
    return lists


def _insert_row(cursor: duckdb.DuckDBPyConnection, schema: Schema, row: Row) -> None:
    """Put one document in, in a third of the time that the reading of JSON takes to be planned."""
    record = orjson.loads(row.line)
    names = ["_id", "_source", "_seq_no", "_version", "_routing", "_ignored"]
    values = [row.id, row.source.decode(), row.seq_no, row.version, row.routing, record.get("_ignored")]
    for column in schema.columns.values():
        several = "m" + column.name[1:]
        if (value := record.get(several)) is None:
            value = record.get(column.name)
            if value is None:
                continue
            value = [value] if column.multi else value
        names.append(column.name)
        values.append(value)
    cursor.execute(f"INSERT INTO {schema.table} ({', '.join(names)}) VALUES ({', '.join('?' * len(values))})", values)


def _listed(value: str) -> str:
    return f"CASE WHEN {value} IS NULL THEN NULL ELSE [{value}] END"


def insert_rows(cursor: duckdb.DuckDBPyConnection, schema: Schema, rows: list[Row]) -> None:
    """Put single documents into their table."""
    if len(rows) <= _FEW:
        for row in rows:
            _insert_row(cursor, schema, row)
        return
    # One JSON text per row, taken apart by DuckDB into a struct: without pyarrow the fastest way in
    # (several hundred thousand rows a second; executemany reaches some ten thousand).
    shape = {"_ignored": "VARCHAR[]"}
    values = ["r._ignored"]
    for column in schema.columns.values():
        single = SQL_TYPES[column.type]
        shape[column.name] = single
        if column.multi:
            several = "m" + column.name[1:]
            shape[several] = single + "[]"
            values.append(f"coalesce(r.{several}, {_listed(f'r.{column.name}')})")
        else:
            values.append(f"r.{column.name}")
    incoming = {
        "id": np.array([row.id for row in rows], dtype=object),
        "source": np.array([row.source.decode() for row in rows], dtype=object),
        "seq_no": np.array([row.seq_no for row in rows], dtype=np.int64),
        "version": np.array([row.version for row in rows], dtype=np.int64),
        "routing": np.array([row.routing for row in rows], dtype=object),
        "line": np.array([row.line.decode() for row in rows], dtype=object),
    }
    cursor.register("incoming", incoming)
    try:
        cursor.execute(
            f"INSERT INTO {schema.table} (_id, _source, _seq_no, _version, _routing, _ignored"
            f"{''.join(f', {column.name}' for column in schema.columns.values())}) "
            f"SELECT id, source, seq_no, version, routing::VARCHAR, {', '.join(values)} "
            "FROM (SELECT id, source, seq_no, version, routing, from_json(line, ?) AS r FROM incoming)",
            [orjson.dumps(shape).decode()],
        )
    finally:
        cursor.unregister("incoming")
