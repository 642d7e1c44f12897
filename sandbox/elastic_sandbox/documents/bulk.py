"""A bulk request: targets, pipelines in one batch, then one write after the other.

Every write of the sandbox takes this path, the single-document APIs and reindex included, so that ids, versions,
pipelines and the failure store mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.documents.failure_store import failure_document
from elastic_sandbox.documents.operations import (
    AUTO_GENERATED,
    NO_VERSION,
    BulkOperation,
    Plain,
    generated_id,
    next_version,
    validate,
)
from elastic_sandbox.documents.table import IndexTable, Row
from elastic_sandbox.documents.update import updated_document
from elastic_sandbox.errors import ElasticError, index_not_found, unsupported
from elastic_sandbox.indices.dates import format_date

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.documents import Documents
    from elastic_sandbox.documents.translog import Record
    from elastic_sandbox.indices import Index
    from elastic_sandbox.ingest.service import Outcome

PLAIN_FROM = 16
"""Requests with fewer documents gain nothing from being read by columns."""
_CREATIONS = ("create", "index")
_RESULT_STATUS = {"created": 201, "updated": 200, "deleted": 200, "noop": 200, "not_found": 404}


@dataclass(slots=True)
class _Item:
    operation: BulkOperation
    index: Index | None = None
    stream: str | None = None
    answer: dict[str, Any] | None = None
    error: ElasticError | None = None
    redirectable: bool = False
    origin: dict[str, Any] = field(default_factory=dict)


class BulkRequest:
    """One request's operations on their way through.

    :param documents: where they are written
    """

    def __init__(self, backend: Backend, documents: Documents, operations: list[BulkOperation]) -> None:
        self._backend = backend
        self._documents = documents
        self._items = [_Item(operation) for operation in operations]
        self._targets: dict[tuple[str, str, bool, bool, bool], Index | ElasticError] = {}
        self._log: list[Record] = []
        self.ingested = False
        self.written: dict[str, IndexTable] = {}

    def run(self) -> list[dict[str, Any]]:
        """The items of the answer, ``{"create": {...}}`` each, in the order of the operations."""
        for item in self._items:
            self._guard(item, self._target)
        self._run_pipelines()
        with self._backend.lock:
            try:
                self._write_plain()
                for item in self._items:
                    if item.answer is None and item.error is None:
                        self._guard(item, self._write)
                    if item.error is not None and item.answer is None:
                        self._fail(item)
            finally:
                self._documents.translog.append(self._log)
        return [{item.operation.action: item.answer} for item in self._items]

    def _guard(self, item: _Item, step: Any) -> None:
        try:
            step(item)
        except ElasticError as error:
            item.error = error

    # Targets --------------------------------------------------------------------------------------------------------

    def _target(self, item: _Item) -> None:
        operation = item.operation
        if operation.error is not None:
            raise operation.error
        if self._backend.faults.requests:
            fault = self._backend.faults.bulk_item(operation.index)
            if fault is not None:
                raise fault
        validate(operation)
        key = (
            operation.index,
            operation.action,
            operation.require_alias,
            operation.require_data_stream,
            operation.if_seq_no is not None,
        )
        target = self._targets.get(key)
        if target is None:
            try:
                target = self._resolve(operation)
            except ElasticError as error:
                target = error
            self._targets[key] = target
        if isinstance(target, ElasticError):
            raise target
        item.index = target
        item.stream = None if target.failure_store else target.data_stream

    def _resolve(self, operation: BulkOperation) -> Index:
        indices = self._backend.indices
        name = operation.index
        self._backend.faults.check_flood_stage(name)
        if operation.require_alias and not indices.is_alias(name):
            error = index_not_found(name)
            error.reason = (
                f"no such index [{name}] and [require_alias] request flag is [true] and [{name}] is not an alias"
            )
            raise error
        index = indices.write_target(
            name,
            op_type=operation.action,
            require_data_stream=operation.require_data_stream,
            conditional=operation.if_seq_no is not None,
        )
        if index.name != name:
            self._backend.faults.check_flood_stage(index.name)
        return index

    # Pipelines ------------------------------------------------------------------------------------------------------

    def _run_pipelines(self) -> None:
        groups: dict[tuple[str, ...], list[_Item]] = {}
        for item in self._items:
            if item.error is None and item.index is not None and item.operation.action != "delete":
                pipelines = self._pipelines(item)
                if pipelines:
                    if item.operation.action == "update":
                        if "upsert" in (item.operation.source or {}) or (item.operation.source or {}).get(
                            "doc_as_upsert"
                        ):
                            item.error = unsupported(
                                f"upsert into [{item.operation.index}], whose documents pass pipeline [{pipelines[0]}],"
                            )
                        continue
                    groups.setdefault(pipelines, []).append(item)
        for pipelines, items in groups.items():
            self._run_group(list(pipelines), items)

    def _pipelines(self, item: _Item) -> tuple[str, ...]:
        assert item.index is not None
        indices = self._backend.indices
        operation = item.operation
        default = operation.pipeline or indices.default_pipeline(operation.index, item.index)
        final = indices.final_pipeline(operation.index, item.index)
        return tuple(name for name in (default, final) if name and name != "_none")

    def _run_group(self, pipelines: list[str], items: list[_Item]) -> None:
        from elastic_sandbox.ingest.document import IngestDocument

        now = format_date(self._backend.clock.now_ms())
        batch: list[tuple[_Item, IngestDocument]] = []
        for item in items:
            operation = item.operation
            try:
                source = operation.document()
            except ElasticError as error:
                item.error = error
                continue
            if item.stream is not None:
                operation.encoded()  # processors change the document in place; the failure store wants it as it was
            metadata: dict[str, Any] = {
                "_index": operation.index,
                "_id": operation.id,
                "_version": NO_VERSION if operation.version is None else operation.version,
                "_version_type": operation.version_type,
                "_op_type": operation.action,
            }
            if operation.routing is not None:
                metadata["_routing"] = operation.routing
            batch.append((item, IngestDocument(source, metadata, {"timestamp": now}, operation.raw)))
        if not batch:
            return
        self.ingested = True
        outcomes = self._backend.ingest.run([document for _, document in batch], pipelines)
        for (item, document), outcome in zip(batch, outcomes, strict=True):
            if outcome.error is not None:
                item.error = outcome.error
                item.redirectable = True
                item.origin = _origin(outcome, pipelines)
            elif outcome.state == "dropped":
                item.answer = {
                    "_index": item.operation.index,
                    "_id": item.operation.id or AUTO_GENERATED,
                    "_version": NO_VERSION,
                    "result": "noop",
                    "_shards": {"total": 0, "successful": 0, "failed": 0},
                    "_seq_no": -2,
                    "_primary_term": 0,
                    "status": 200,
                }
            else:
                self._take_back(item, document)

    def _take_back(self, item: _Item, document: Any) -> None:
        operation = item.operation
        metadata = document.metadata
        if metadata.get("_index") != operation.index:
            item.error = unsupported("a pipeline that changes [_index]")
            return
        operation.source, operation.raw = document.source, document.encoded
        operation.id = metadata.get("_id")
        operation.routing = metadata.get("_routing", operation.routing)

    # Writes ---------------------------------------------------------------------------------------------------------

    def _write(self, item: _Item) -> None:
        operation = item.operation
        index = item.index
        assert index is not None
        table = self._table(index)
        if operation.action == "delete":
            self._delete(item, table)
        elif operation.action == "update":
            self._update(item, table)
        else:
            item.answer = self._store(item, table)

    def _write_plain(self) -> None:
        """Write a run of ordinary creations of new documents in one go, when the request is nothing else.

        What this leaves without an answer is written one by one.
        """
        items = self._items
        if len(items) < PLAIN_FROM:
            return
        index, action = items[0].index, items[0].operation.action
        if index is None or action not in _CREATIONS:
            return
        for item in items:
            operation = item.operation
            if (
                item.index is not index
                or item.error is not None
                or item.answer is not None
                or operation.action != action
                or operation.version is not None
                or operation.if_seq_no is not None
                or operation.id is None
                or operation.source is None
            ):
                return
        plain = Plain(
            action,
            index.name,
            [str(item.operation.id) for item in items],
            [item.operation.source or {} for item in items],
            [item.operation.encoded() for item in items],
            [item.operation.routing for item in items],
        )
        created = write_plain(self._backend, self._table(index), plain, self._log)
        if created is not None:
            for item, answer in zip(items, created.answers(), strict=True):
                item.answer = answer

    def _table(self, index: Index) -> IndexTable:
        table = self.written.get(index.uuid)
        if table is None:
            table = self.written[index.uuid] = self._documents.table(index)
        return table

    def _store(self, item: _Item, table: IndexTable) -> dict[str, Any]:
        operation = item.operation
        index = table.index
        doc_id = operation.id or generated_id()
        current = table.current(doc_id)
        version = next_version(operation, index.name, index.uuid, current, table.tombstones.get(doc_id))
        source = operation.document()
        item.redirectable = True
        parsed = self._documents.parse(index, source, doc_id)
        item.redirectable = False
        seq_no = table.max_seq_no + 1
        row = Row(doc_id, operation.encoded(), seq_no, version, operation.routing)
        table.put(row, parsed, self._backend.clock.now_ms())
        self._log.append((index.name, index.uuid, row.id, seq_no, version, row.source.decode(), operation.routing))
        result = "created" if current is None else "updated"
        return _answer(index, row.id, version, result, seq_no)

    def _delete(self, item: _Item, table: IndexTable) -> None:
        operation = item.operation
        index = table.index
        assert operation.id is not None
        current = table.current(operation.id)
        tombstone = table.tombstones.get(operation.id)
        version = next_version(operation, index.name, index.uuid, current, tombstone)
        seq_no = table.max_seq_no + 1
        table.remove(operation.id, seq_no, version, self._backend.clock.now_ms())
        self._log.append((index.name, index.uuid, operation.id, seq_no, version, None, None))
        result = "not_found" if current is None else "deleted"
        item.answer = _answer(index, operation.id, version, result, seq_no)

    def _update(self, item: _Item, table: IndexTable) -> None:
        operation = item.operation
        index = table.index
        assert operation.id is not None
        stored = self._documents.get(index, operation.id)
        if stored is not None:
            # A stale if_seq_no is a conflict even when the update would change nothing.
            next_version(operation, index.name, index.uuid, (stored.seq_no, stored.version), None)
        document = updated_document(operation, index, None if stored is None else stored.source)
        if document is None:
            assert stored is not None
            item.answer = _answer(index, operation.id, stored.version, "noop", stored.seq_no)
            item.answer["_shards"] = {"total": 0, "successful": 0, "failed": 0}
            return
        write = BulkOperation(
            "create" if stored is None else "index",
            operation.index,
            operation.id,
            document,
            routing=operation.routing if stored is None else stored.routing,
        )
        item.answer = self._store(_Item(write, index, item.stream), table)

    # Failures -------------------------------------------------------------------------------------------------------

    def _fail(self, item: _Item) -> None:
        error = item.error
        assert error is not None
        operation = item.operation
        store = None
        in_stream = item.stream is not None and operation.action == "create" and item.redirectable
        if in_stream and error.status != 501:
            assert item.stream is not None
            store = self._backend.indices.failure_index(item.stream)
        if store is not None:
            self._redirect(item, store, error)
            return
        item.answer = {
            "_index": operation.index if item.index is None else item.index.name,
            "_id": operation.id if operation.id is not None else AUTO_GENERATED,
            "status": error.status,
        }
        if in_stream:
            item.answer["failure_store"] = "not_enabled"
        item.answer["error"] = error.cause()

    def _redirect(self, item: _Item, store: Index, error: ElasticError) -> None:
        operation = item.operation
        source = orjson.loads(operation.encoded()) if item.origin else operation.document()
        document = failure_document(operation, source, error, self._backend.clock.now_ms(), item.origin)
        write = _Item(BulkOperation("create", store.name, generated_id(), document), store)
        item.answer = self._store(write, self._table(store))
        item.answer["failure_store"] = "used"


@dataclass(frozen=True, slots=True)
class Created:
    """What is answered for documents that were all new: only ids and sequence numbers differ."""

    index: Index
    action: str
    ids: list[str]
    first: int

    def answers(self) -> list[dict[str, Any]]:
        """One answer for each document."""
        model = _answer(self.index, "", 1, "created", 0)
        return [{**model, "_id": doc_id, "_seq_no": seq_no} for seq_no, doc_id in enumerate(self.ids, self.first)]

    def rendered(self, *, refreshed: bool) -> bytes:
        """The ``items`` of a bulk answer as JSON, for ids that need no escaping."""
        model = _answer(self.index, "\0", 1, "created", 0)
        if refreshed:
            model["forced_refresh"] = True
        model["_seq_no"] = "\0"
        before, between, after = orjson.dumps({self.action: model}).decode().split(r"\u0000")
        between, after = between[:-1], after[1:]
        next_item = f"{after},{before}"
        # f-string by f-string; the quotes around the sequence number belong to the placeholder
        items = next_item.join([f"{doc_id}{between}{seq_no}" for seq_no, doc_id in enumerate(self.ids, self.first)])
        return f"[{before}{items}{after}]".encode()


def write_plain(backend: Backend, table: IndexTable, plain: Plain, log: list[Record] | None = None) -> Created | None:
    """Write new documents together; None when they are not all new and plain.

    Call it under the backend's lock. ``log`` gets what the translog has to keep.
    """
    known = plain.ids
    if (
        len(set(known)) < len(known)
        or not table.live.keys().isdisjoint(known)
        or not table.tombstones.keys().isdisjoint(known)
    ):
        return None
    batch = table.batch(plain)
    if batch is None:
        return None
    table.put_new(plain, batch, backend.clock.now_ms())
    if log is not None and backend.documents.translog.enabled:
        name, uuid = table.index.name, table.index.uuid
        log += [
            (name, uuid, doc_id, seq_no, 1, raw.decode(), routing)
            for seq_no, (doc_id, raw, routing) in enumerate(
                zip(plain.ids, plain.raws, plain.routings, strict=True), batch.first
            )
        ]
    return Created(table.index, plain.action, known, batch.first)


def _origin(outcome: Outcome, pipelines: list[str]) -> dict[str, Any]:
    """Where a pipeline failed; the trace is given when the failing pipeline was called by no other."""
    origin: dict[str, Any] = {"pipeline": outcome.pipeline}
    if outcome.pipeline in pipelines:
        origin = {"pipeline_trace": [outcome.pipeline], **origin}
    if outcome.processor_tag is not None:
        origin["processor_tag"] = outcome.processor_tag
    if outcome.processor_type is not None:
        origin["processor_type"] = outcome.processor_type
    return origin


def _answer(index: Index, doc_id: str, version: int, result: str, seq_no: int) -> dict[str, Any]:
    replicas = int(index.settings.get("index.number_of_replicas", 1) or 0)
    return {
        "_index": index.name,
        "_id": doc_id,
        "_version": version,
        "result": result,
        "_shards": {"total": 1 + replicas, "successful": 1, "failed": 0},
        "_seq_no": seq_no,
        "_primary_term": 1,
        "status": _RESULT_STATUS[result],
    }
