"""One index's documents: the id map, the write buffer, and the DuckDB table that searches read.

A write changes the id map and the buffer; a refresh moves the buffer into the table in one transaction. So a get by
id is real-time and a search sees refreshed documents only, as in Elasticsearch.
"""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import time
from bisect import bisect_left
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import duckdb
import orjson

from elastic_sandbox.documents.batches import Batch, Encoder, Row, Stored, insert_rows, joined
from elastic_sandbox.documents.columns import ALWAYS_LISTS, JSON_TYPES, SQL_TYPES, Column, Schema, one_of
from elastic_sandbox.documents.ndjson import values_of
from elastic_sandbox.documents.raw_reader import RAW_FROM, RawReader, raw_reader

if TYPE_CHECKING:
    from elastic_sandbox.documents.operations import Plain
    from elastic_sandbox.indices import Index
    from elastic_sandbox.indices.mapping import Parsed

TABLES = "document_tables"


class UnsettledError(RuntimeError):
    """The id map names a document that its table does not hold: a write is under way, which the lock waits for."""


def create_catalog(cursor: duckdb.DuckDBPyConnection) -> None:
    """Make the table of tables."""
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {TABLES} (uuid VARCHAR, max_seq_no BIGINT, columns VARCHAR)")


class IndexTable:
    """The documents of one index. All writing methods are called under the backend's lock."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, index: Index, *, durable: bool) -> None:
        self.index = index
        self._durable = durable
        self.max_seq_no = -1
        self.live: dict[str, int] = {}
        self.versions: dict[str, int] = {}
        self.tombstones: dict[str, tuple[int, int]] = {}
        self._rows: dict[str, Row] = {}
        self._batches: list[Batch] = []
        self.dirty_since: tuple[float, int] | None = None
        self._stale: list[int] = []
        self._encoders: dict[str, Encoder | None] = {}
        self._added: dict[str, Column] = {}
        self._several: set[str] = set()
        self._reader: tuple[Any, RawReader | None] = (None, None)
        self.schema = Schema(f'"docs_{index.uuid}"', {}, created=False)
        if durable:
            self._load(cursor)

    def _load(self, cursor: duckdb.DuckDBPyConnection) -> None:
        stored = cursor.execute(
            f"SELECT max_seq_no, columns FROM {TABLES} WHERE uuid = ?", [self.index.uuid]
        ).fetchone()
        if stored is None:
            return
        self.max_seq_no = stored[0]
        self.schema = Schema.from_json(self.schema.table, stored[1])
        rows = cursor.execute(f"SELECT _id, _seq_no, _version FROM {self.schema.table}").fetchall()
        self.live = {row[0]: row[1] for row in rows}
        self.versions = {row[0]: row[2] for row in rows if row[2] != 1}

    @property
    def buffered(self) -> int:
        """Documents that wait for a refresh."""
        return len(self._rows) + sum(map(len, self._batches))

    # Versions -------------------------------------------------------------------------------------------------------

    def current(self, doc_id: str) -> tuple[int, int] | None:
        """(_seq_no, _version) of a live document."""
        seq_no = self.live.get(doc_id)
        return None if seq_no is None else (seq_no, self.versions.get(doc_id, 1))

    # Writes ---------------------------------------------------------------------------------------------------------

    def put(self, row: Row, parsed: Parsed, now_ms: int) -> None:
        """Make ``row``, whose source the mapping read as ``parsed``, the newest state of its document."""
        row.line = self._encode(parsed)
        self._retire(row.id)
        self.live[row.id] = row.seq_no
        if row.version != 1:
            self.versions[row.id] = row.version
        else:
            self.versions.pop(row.id, None)
        self.tombstones.pop(row.id, None)
        self._rows[row.id] = row
        self._wrote(row.seq_no, now_ms)

    def batch(self, plain: Plain) -> Batch | None:
        """What :meth:`put_new` takes; None when the documents have to be read one by one."""
        first = self.max_seq_no + 1
        if plain.sources is None:
            reader = self._raw_reader() if len(plain.ids) >= RAW_FROM else None
            if reader is not None and reader.matches(plain.raws):
                return Batch(plain, first, None, reader)
            plain.sources = values_of(plain.raws)
        columns = None if plain.sources is None else self.index.mapping.columns(plain.sources)
        if columns is None:
            return None
        kept = []
        for path, column in columns.items():
            encoder = self._encoders.get(path, _UNKNOWN)
            if encoder is _UNKNOWN:
                encoder = self._encoders[path] = self._encoder(path)
            if encoder is None:
                continue
            kept.append((encoder, column))
            if self.index.mapping.fields[path].type in JSON_TYPES:
                continue
            lists = list in set(map(type, column))
            if encoder.listed or (lists and any(type(value) is list and len(value) > 1 for value in column)):
                self._several.add(path)
        return Batch(plain, first, kept, None)

    def _raw_reader(self) -> RawReader | None:
        """The reader for the mapping and the columns as they are now."""
        columns = {**self.schema.columns, **self._added}
        for path in self._several & columns.keys():
            columns[path] = replace(columns[path], multi=True)
        key = (self.index.mapping.root, columns)
        if self._reader[0] != key:
            self._reader = (key, raw_reader(self.index.mapping, columns))
        return self._reader[1]

    def put_new(self, plain: Plain, batch: Batch, now_ms: int) -> None:
        """As :meth:`put`, for the documents of a batch, whose ids are free and were never used."""
        self.live.update(zip(plain.ids, count(batch.first)))
        self._batches.append(batch)
        self._wrote(batch.first + len(batch) - 1, now_ms)

    def remove(self, doc_id: str, seq_no: int, version: int, now_ms: int) -> None:
        """Delete a document; its version is remembered, so that it can be created again with a higher one."""
        self._retire(doc_id)
        self.live.pop(doc_id, None)
        self.versions.pop(doc_id, None)
        self.tombstones[doc_id] = (seq_no, version)
        self._wrote(seq_no, now_ms)

    def _retire(self, doc_id: str) -> None:
        if self._rows.pop(doc_id, None) is None and doc_id in self.live:
            self._stale.append(self.live[doc_id])

    def _wrote(self, seq_no: int, now_ms: int) -> None:
        self.max_seq_no = max(self.max_seq_no, seq_no)
        if self.dirty_since is None:
            self.dirty_since = (time.monotonic(), now_ms)

    def _encode(self, parsed: Parsed) -> bytes:
        """The columns as JSON: ``c3`` for a single value, ``m3`` for a list.

        Encoded while the document is written and kept as bytes, so that a long buffer is nothing for Python's garbage
        collector to walk through (it took a third of the time of a large bulk).
        """
        record: dict[str, Any] = {}
        if parsed.ignored:
            record["_ignored"] = parsed.ignored
        encoders = self._encoders
        for path, values in parsed.values.items():
            encoder = encoders.get(path, _UNKNOWN)
            if encoder is _UNKNOWN:
                encoder = encoders[path] = self._encoder(path)
            if encoder is None or not values:
                continue
            single, several, convert, listed = encoder
            kept = values if convert is None else convert(values)
            if len(kept) == 1 and not listed:
                record[single] = kept[0]
            else:
                record[several] = kept
                self._several.add(path)
        for path, objects in parsed.nested.items():
            encoder = encoders.get(path, _UNKNOWN)
            if encoder is _UNKNOWN:
                encoder = encoders[path] = self._encoder(path)
            if encoder is not None:
                record[encoder.single] = orjson.dumps(objects).decode()
        # The copy gives back what orjson over-allocates.
        return bytes(memoryview(orjson.dumps(record)))

    def _encoder(self, path: str) -> Encoder | None:
        """How a field is written; a field seen for the first time gets the next free column."""
        column = self.schema.columns.get(path)
        if column is None:
            mapping = self.index.mapping
            mapped = mapping.fields.get(path) or mapping.objects.get(path)
            if mapped is None or mapped.type not in SQL_TYPES:
                return None
            column = Column(
                f"c{len(self.schema.columns) + len(self._added)}", path, mapped.type, mapped.type in ALWAYS_LISTS
            )
            self._added[path] = column
        return Encoder(column.name, "m" + column.name[1:], column.encoder(), column.type in ALWAYS_LISTS)

    # Refresh --------------------------------------------------------------------------------------------------------

    def refresh(self, cursor: duckdb.DuckDBPyConnection) -> bool:
        """Make everything written so far visible to searches; False when nothing was."""
        if self.dirty_since is None:
            return False
        together = not self._is_one_insertion()
        if together:
            cursor.execute("BEGIN TRANSACTION")
        try:
            schema = self._fitting_schema(cursor)
            self._insert(cursor, schema)
            if self._stale:
                chosen, given = one_of(self._stale)
                cursor.execute(f"DELETE FROM {schema.table} WHERE _seq_no {chosen}", [given])
            if self._durable:  # nobody starts again from a table in memory
                cursor.execute(f"DELETE FROM {TABLES} WHERE uuid = ?", [self.index.uuid])
                cursor.execute(
                    f"INSERT INTO {TABLES} VALUES (?, ?, ?)", [self.index.uuid, self.max_seq_no, schema.to_json()]
                )
            if together:
                cursor.execute("COMMIT")
        except BaseException:
            # A COMMIT that failed (the disk is full) has ended the transaction; that must not hide its reason.
            with suppress(duckdb.TransactionException):
                cursor.execute("ROLLBACK")
            raise
        self.schema = schema
        self._rows, self._batches = {}, []
        self._stale = []
        self._added = {}
        self._several = set()
        self.dirty_since = None
        return True

    def _is_one_insertion(self) -> bool:
        """Whether a refresh is a single statement: a transaction of its own would take half as long as that."""
        written = len(self._rows) == 1 and not (self._batches or self._stale or self._durable)
        columns = self.schema.columns
        return written and self.schema.created and not self._added and all(columns[one].multi for one in self._several)

    def _insert(self, cursor: duckdb.DuckDBPyConnection, schema: Schema) -> None:
        """Everything buffered, in the order of sequence numbers, which keeps a look-up by them short."""
        rows = list(self._rows.values())
        for batch in joined(self._batches):
            before = bisect_left(rows, batch.first, key=lambda row: row.seq_no)
            if before:
                insert_rows(cursor, schema, rows[:before])
                del rows[:before]
            batch.insert(cursor, schema)
        if rows:
            insert_rows(cursor, schema, rows)

    def _fitting_schema(self, cursor: duckdb.DuckDBPyConnection) -> Schema:
        """Create the table, or add and widen columns, so that the buffered rows fit."""
        columns = {**self.schema.columns, **self._added}
        widened = []
        for path in self._several:
            column = columns[path]
            if not column.multi:
                columns[path] = Column(column.name, path, column.type, True)
                if path in self.schema.columns:
                    widened.append(columns[path])
        table = self.schema.table
        if not self.schema.created:
            listed = "".join(f", {column.name} {column.sql_type}" for column in columns.values())
            cursor.execute(
                f"CREATE TABLE {table} (_id VARCHAR, _source VARCHAR, _seq_no BIGINT, _version BIGINT, "
                f"_routing VARCHAR, _ignored VARCHAR[]{listed})"
            )
        else:
            for path in self._added:
                cursor.execute(f"ALTER TABLE {table} ADD COLUMN {columns[path].name} {columns[path].sql_type}")
            for column in widened:
                cursor.execute(
                    f"ALTER TABLE {table} ALTER {column.name} TYPE {column.sql_type} "
                    f"USING CASE WHEN {column.name} IS NULL THEN NULL ELSE [{column.name}] END"
                )
        return Schema(table, columns, created=True)

    # Reads ----------------------------------------------------------------------------------------------------------

    def get(self, cursor: duckdb.DuckDBPyConnection, doc_id: str) -> Stored | None:
        """The document as of this moment, refreshed or not."""
        batches = self._batches  # before the id map is asked: a refresh empties it afterwards
        row = self._rows.get(doc_id)
        if row is not None:
            return Stored(row.id, row.source, row.seq_no, row.version, row.routing)
        seq_no = self.live.get(doc_id)
        if seq_no is None:
            return None
        for batch in batches:
            stored = batch.stored(seq_no)
            if stored is not None:
                return stored
        found = cursor.execute(
            f"SELECT _source, _version, _routing FROM {self.schema.table} WHERE _seq_no = ?", [seq_no]
        ).fetchone()
        if found is None:
            raise UnsettledError(f"document [{doc_id}] of [{self.index.name}] is in the id map but not in its table")
        return Stored(doc_id, found[0].encode(), seq_no, found[1], found[2])

    def drop(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Forget the index."""
        cursor.execute(f"DROP TABLE IF EXISTS {self.schema.table}")
        if self._durable:
            cursor.execute(f"DELETE FROM {TABLES} WHERE uuid = ?", [self.index.uuid])


_UNKNOWN = Encoder("", "", None, False)
