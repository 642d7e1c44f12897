"""Documents: what is stored, by whom it may be changed, and when a search sees it."""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from elastic_sandbox.documents.batches import Row, Stored
from elastic_sandbox.documents.bulk import BulkRequest, Created, write_plain
from elastic_sandbox.documents.columns import Schema
from elastic_sandbox.documents.operations import BulkOperation, Plain
from elastic_sandbox.documents.table import TABLES, IndexTable, UnsettledError, create_catalog
from elastic_sandbox.documents.translog import ROLL_BYTES, Record, Translog
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import duration_seconds

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index
    from elastic_sandbox.indices.mapping import Parsed

log = logging.getLogger(__name__)

BUFFER_DOCUMENTS = 20_000
"""A buffer this long is refreshed at once; Elasticsearch does the same when its indexing buffer is full."""


@dataclass(slots=True)
class Hit:
    """One document of a scan."""

    index: str
    id: str
    source: dict[str, Any]
    seq_no: int
    version: int
    routing: str | None = None


@dataclass
class Snapshot:
    """A consistent view of some indices: a read transaction of its own, and the columns as they were then."""

    cursor: duckdb.DuckDBPyConnection
    views: list[tuple[Index, Schema]]

    def close(self) -> None:
        """End the view, and its transaction with it."""
        self.cursor.close()


class Documents:
    """All documents of the sandbox.

    Writes go through :meth:`bulk`; get by id is real-time; searches read a :meth:`snapshot` of refreshed documents.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writer = backend.cursor()
        self._reader = backend.cursor()
        self._reading = threading.Lock()
        self._tables: dict[str, IndexTable] = {}
        self._refresher = ThreadPoolExecutor(1, "sandbox-refresh")
        create_catalog(self._writer)
        self._drop_orphans()
        self.translog = Translog(backend.data)
        self._replay()

    # Writes ---------------------------------------------------------------------------------------------------------

    def bulk(
        self, operations: list[BulkOperation], *, refresh: bool | str = False, pipeline: str | None = None
    ) -> list[dict[str, Any]]:
        """Write, and answer the items of a bulk response, in order.

        :param refresh: True or ``"wait_for"`` makes the writes visible to searches before returning
        :param pipeline: for operations that name none; replaces the default pipeline
        """
        return self.execute(operations, refresh=refresh, pipeline=pipeline)[0]

    def execute(
        self, operations: list[BulkOperation], *, refresh: bool | str = False, pipeline: str | None = None
    ) -> tuple[list[dict[str, Any]], bool]:
        """As :meth:`bulk`; also whether a pipeline ran."""
        if pipeline is not None:
            for operation in operations:
                operation.pipeline = operation.pipeline or pipeline
        request = BulkRequest(self._backend, self, operations)
        items = request.run()
        self._written(request.written.values(), refresh)
        if refresh is True:
            _say_refreshed(next(iter(item.values())) for item in items)
        return items, request.ingested

    def write_plain(self, plain: Plain, refresh: bool | str) -> Created | None:
        """Write a plain request the short way; None when the long one has to decide, and nothing was written."""
        indices, faults = self._backend.indices, self._backend.faults
        if faults.requests or faults.flood_stage_pattern is not None:
            return None
        try:
            index = indices.write_target(plain.index, op_type=plain.action)
        except ElasticError:
            return None
        for pipeline in (indices.default_pipeline(plain.index, index), indices.final_pipeline(plain.index, index)):
            if pipeline is not None:
                return None
        log: list[Record] = []
        with self._backend.lock:
            table = self.table(index)
            created = write_plain(self._backend, table, plain, log)
            if created is None:
                return None
            self.translog.append(log)
        self._written([table], refresh)
        return created

    def _written(self, tables: Iterable[IndexTable], refresh: bool | str) -> None:
        with self._backend.lock:
            for table in tables:
                if refresh:
                    table.refresh(self._writer)
                elif table.buffered >= BUFFER_DOCUMENTS:
                    self._refresher.submit(self._refresh_full, table)
            self._roll_translog()

    def _refresh_full(self, table: IndexTable) -> None:
        """Refresh a long buffer behind the writer's back, while it prepares its next request."""
        with self._backend.lock:
            # A second request may have found the buffer long before the first one's refresh came.
            if self._tables.get(table.index.uuid) is not table or table.buffered < BUFFER_DOCUMENTS:
                return
            try:
                table.refresh(self._writer)
            except (duckdb.Error, OSError):
                log.exception("refresh of [%s] failed; the next one is done while its caller waits", table.index.name)

    def parse(self, index: Index, source: dict[str, Any], doc_id: str) -> Parsed:
        """What the mapping makes of a document; fields it brings are added to the mapping.

        :raises ElasticError: 400 document_parsing_exception or strict_dynamic_mapping_exception
        """
        return index.mapping.parse(source, doc_id)

    # Reads ----------------------------------------------------------------------------------------------------------

    def get(self, index: Index, doc_id: str) -> Stored | None:
        """The document as of now, refreshed or not.

        Without the backend's lock, which a refresh holds for long. A write puts a document's new place into the id map
        before the place is filled, so what a reader finds is the state before or after the write, or a place that is
        still empty (or a table that is gone); then it asks again under the lock.
        """
        table = self._tables.get(index.uuid)
        if table is not None:
            try:
                with self._reading:
                    return table.get(self._reader, doc_id)
            except (UnsettledError, duckdb.Error) as error:
                log.debug("get of [%s] in [%s] waits for the lock: %s", doc_id, index.name, error)
        with self._backend.lock:
            return self.table(index).get(self._writer, doc_id)

    def snapshot(self, indices: list[Index]) -> Snapshot:
        """A view of the refreshed documents of ``indices``; the caller closes it."""
        with self._backend.lock:
            for index in indices:
                self._refresh_if_due(index)
            cursor = self._backend.cursor()
            cursor.execute("BEGIN TRANSACTION")
            # DuckDB takes the snapshot at the first read of a transaction, not at BEGIN; reading no row will do.
            cursor.execute(f"SELECT 0 FROM {TABLES} LIMIT 0")
            return Snapshot(cursor, [(index, self.table(index).schema) for index in indices])

    @contextmanager
    def view(self, indices: list[Index]) -> Iterator[Snapshot]:
        """:meth:`snapshot` as a context."""
        snapshot = self.snapshot(indices)
        try:
            yield snapshot
        finally:
            snapshot.close()

    def scan(
        self,
        expression: str,
        query: dict[str, Any] | None = None,
        *,
        source: bool | list[str] | dict[str, Any] = True,
        sort: list[Any] | None = None,
        batch: int = 5000,
    ) -> Iterator[Hit]:
        """Every refreshed document that matches, from one consistent view, in constant memory.

        :param expression: names, wildcards, aliases, data streams, ``<stream>::failures``
        :param query: query DSL; everything when None
        :param source: as ``_source`` of a search
        :param sort: as ``sort`` of a search; index order when None
        """
        yield from self._backend.search.scan(expression, query, source=source, sort=sort, batch=batch)

    def count(self, expression: str, query: dict[str, Any] | None = None) -> int:
        """How many refreshed documents match."""
        return self._backend.search.count(expression, query)

    def number(self, index: Index) -> int:
        """Live documents of an index, refreshed or not."""
        with self._backend.lock:
            return len(self.table(index).live)

    def max_seq_no(self, index: Index) -> int:
        """The highest sequence number given out; -1 when none was. It changes with every write."""
        with self._backend.lock:
            return self.table(index).max_seq_no

    def size_in_bytes(self, index: Index) -> int:
        """Bytes of the refreshed sources, the nearest thing to a store size."""
        with self._backend.lock:
            schema = self.table(index).schema
            if not schema.created:
                return 0
            row = self._writer.execute(f"SELECT coalesce(sum(strlen(_source)), 0) FROM {schema.table}").fetchone()
            return 0 if row is None else int(row[0])

    def newest_ms(self, index: Index) -> int:
        """The greatest refreshed ``@timestamp`` in epoch milliseconds; 0 when there is none."""
        with self._backend.lock:
            schema = self.table(index).schema
            column = schema.columns.get("@timestamp")
            if not schema.created or column is None:
                return 0
            value = f"list_max({column.name})" if column.multi else column.name
            row = self._writer.execute(f"SELECT coalesce(max({value}), 0) FROM {schema.table}").fetchone()
            return 0 if row is None else int(row[0])

    # Visibility -----------------------------------------------------------------------------------------------------

    def refresh(self, indices: list[Index]) -> None:
        """Make everything written so far visible to searches."""
        with self._backend.lock:
            for index in indices:
                self.table(index).refresh(self._writer)
            self._roll_translog()

    def _refresh_if_due(self, index: Index) -> None:
        # Elasticsearch refreshes every index.refresh_interval; doing it when somebody looks is indistinguishable.
        table = self.table(index)
        if table.dirty_since is None:
            return
        text = str(index.settings.get("index.refresh_interval", "1s"))
        interval = duration_seconds(text, "index.refresh_interval")
        if interval < 0:
            return
        wall, clock_ms = table.dirty_since
        passed = max(time.monotonic() - wall, (self._backend.clock.now_ms() - clock_ms) / 1000)
        if passed >= interval:
            table.refresh(self._writer)

    # Tables ---------------------------------------------------------------------------------------------------------

    def table(self, index: Index) -> IndexTable:
        """The table of an index; call it under the backend's lock."""
        table = self._tables.get(index.uuid)
        if table is None:
            table = self._tables[index.uuid] = IndexTable(self._writer, index, durable=self._backend.data is not None)
        table.index = index
        return table

    def drop(self, index: Index) -> None:
        """The index was deleted: so are its documents."""
        with self._backend.lock:
            self.table(index).drop(self._writer)
            del self._tables[index.uuid]

    def reset(self) -> None:
        """No documents."""
        with self._backend.lock:
            for table in self._tables.values():
                table.drop(self._writer)
            self._tables.clear()
            self.translog.truncate()

    def close(self) -> None:
        """Flush everything; the translog is empty after a clean stop."""
        self._refresher.shutdown(wait=False, cancel_futures=True)
        with self._backend.lock:
            self._flush()
            # A refresh that is still to come finds no table, and no closed connection.
            self._tables.clear()
            self.translog.close()

    def _flush(self) -> None:
        for table in self._tables.values():
            table.refresh(self._writer)
        self.translog.truncate()

    def _roll_translog(self) -> None:
        if self.translog.size == 0:
            return
        dirty = any(table.dirty_since is not None for table in self._tables.values())
        if not dirty:
            self.translog.truncate()
        elif self.translog.size > ROLL_BYTES:
            self._flush()

    def _drop_orphans(self) -> None:
        known = {index.uuid for index in self._backend.indices.all()}
        stored = self._writer.execute(f"SELECT uuid FROM {TABLES}").fetchall()
        for (uuid,) in stored:
            if uuid not in known:
                self._writer.execute(f'DROP TABLE IF EXISTS "docs_{uuid}"')
                self._writer.execute(f"DELETE FROM {TABLES} WHERE uuid = ?", [uuid])

    def _replay(self) -> None:
        """Apply what was acknowledged but not yet flushed when the process ended."""
        now_ms = self._backend.clock.now_ms()
        for name, uuid, doc_id, seq_no, version, source, routing in self.translog.replay():
            index = self._backend.indices.get(name)
            if index is None or index.uuid != uuid:
                continue
            table = self.table(index)
            if seq_no <= table.max_seq_no:
                continue  # flushed before the end came
            if source is None:
                table.remove(doc_id, seq_no, version, now_ms)
                continue
            operation = BulkOperation("index", name, doc_id, raw=source.encode())
            parsed = self.parse(index, operation.document(), doc_id)
            table.put(Row(doc_id, operation.encoded(), seq_no, version, routing), parsed, now_ms)
        self._flush()


def _say_refreshed(answers: Iterable[dict[str, Any]]) -> None:
    for answer in answers:
        if "result" in answer and answer["result"] != "noop":
            answer["forced_refresh"] = True
