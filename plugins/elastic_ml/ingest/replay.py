"""`replay: failures`: what an earlier attempt rejected, read again from where it was kept, after a fix.

Two places keep what was rejected: the stream's failure store (documents that mapping or pipeline refused) and the dead
letters (records that the adapter could not use, and documents refused by a history index, which has no failure store).
A replay sends them through today's adapter, pipeline and mapping, and deletes a kept copy once its document has
another outcome, so that what is left there is what is still wrong. Interrupted at any point it can be run again: the
copy goes last, and a document that is there already is a duplicate.

A replay counts as an attempt of its own: read = indexed + duplicate + rejected over the copies it read. Where the
source can still be read, running the partition again mends dead letters too; a replay is for when it cannot, and for
the failure store, which an ordinary run leaves alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from elastic_ml.exceptions import SecurityError
from elastic_ml.ingest.bulk import BulkWriter, ChunkResult
from elastic_ml.ingest.counts import Counts
from elastic_ml.ingest.encoding import Operation
from elastic_ml.ingest.ledger import iso
from elastic_ml.ingest.partition import PartitionIngest
from elastic_ml.ingest.stream import AuditStream
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.records import KEPT_BYTES, Raw, Rejected

log = logging.getLogger(__name__)

PAGE = 500
# Failures are dated by the cluster's clock, attempts by the worker's.
_CLOCKS_APART = timedelta(hours=1)


@dataclass(frozen=True)
class Kept:
    """Where a copy of something rejected lies; `letter`: among the dead letters, else in the failure store."""

    index: str
    id: str
    letter: bool


class FailureReplay(PartitionIngest):
    """Reads what earlier attempts of a partition rejected, and writes it; :meth:`run` gives the four figures.

    The parameters are those of :class:`~elastic_ml.ingest.partition.PartitionIngest`.
    """

    replay = "failures"

    def run(self) -> dict[str, int]:
        """Read the kept copies, write, count; a partition that was never attempted has none.

        :raises LockHeldError: another run writes this partition.
        :raises IngestError: as for an ordinary run.
        """
        record = self._ledger.partition(self._source.name, self._partition.key)
        if record is None:
            log.info("%s was never ingested: there is nothing to replay", self._label)
            return Counts().figures()
        self._since = iso(datetime.fromisoformat(record["attempts"][0]["started_at"]) - _CLOCKS_APART)
        self._spent: list[Kept] = []
        return super().run()

    def _writer(self, stream: AuditStream) -> BulkWriter:
        def lookup(ids: Any, refresh: bool) -> tuple[set[str], set[str]]:
            # That the failure store holds an id is why it is here.
            return stream.lookup(ids, refresh)[0], set()

        return BulkWriter(self._client, stream, lookup=lookup, **self._writer_options)

    # reading

    def _operations(self, stream: AuditStream) -> Iterator[Operation]:
        for hit in self._kept(
            f"{stream.name}::failures", {"range": {"@timestamp": {"gte": self._since}}}, "document.id"
        ):
            document = hit["_source"]["document"].get("source") or {}
            if (document.get("labels") or {}).get("partition") == self._label:
                yield from self._again([document], hit, letter=False)
        letters = self._project.names.dead_letter
        self._client.indices.refresh(index=letters)
        for hit in self._kept(letters, {"term": {"labels.partition": self._label}}, "event.id"):
            documents = self._documents(hit["_source"])
            if documents:
                yield from self._again(documents, hit, letter=True)
            else:
                self._counts.read += 1
                self._counts.rejected += 1

    def _kept(self, target: str, query: dict[str, Any], identity: str) -> Iterator[dict[str, Any]]:
        """The hits in the order they were kept in; those that the replay adds while it runs come last."""
        after: list[Any] | None = None
        while True:
            hits = self._client.search(
                index=target,
                query=query,
                size=PAGE,
                sort=[{"@timestamp": "asc"}, {identity: "asc"}],
                search_after=after,
                track_total_hits=False,
                ignore_unavailable=True,
                allow_no_indices=True,
            )["hits"]["hits"]
            yield from hits
            if len(hits) < PAGE:
                return
            after = hits[-1]["sort"]

    def _documents(self, letter: dict[str, Any]) -> list[dict[str, Any]]:
        """What today's adapter makes of a dead letter; nothing when it still cannot use it."""
        header, text = str(letter.get("header", "")), str(letter.get("raw", ""))
        if any(len(part.encode()) >= KEPT_BYTES or "\ufffd" in part for part in (header, text)):
            # Cut off, or not the bytes that were delivered: only the source has the whole record.
            return []
        if letter.get("record") == "document":
            return [json.loads(text)]
        if self._source.adapter == "csv" and not header:
            return []
        # An object of a JSON file may be laid out over lines; all else came line by line.
        one = self._source.adapter in {"ndjson", "ping_one"} or self._source.reader.options.get("format") == "json"
        lines = [text] if one else "\n".join([*([header] if header else []), text]).split("\n")
        raws = [
            Raw(line.encode(), str(letter.get("position", "")), first=number == 0) for number, line in enumerate(lines)
        ]
        items = list(adapt(self._source, raws, self._people))
        return [] if any(isinstance(item, Rejected) for item in items) else items  # type: ignore[return-value]

    def _again(self, documents: list[dict[str, Any]], hit: dict[str, Any], *, letter: bool) -> Iterator[Operation]:
        operations = [operation for document in documents if (operation := self._operation(document)) is not None]
        if operations:
            operations[-1].kept = Kept(hit["_index"], hit["_id"], letter)
        yield from operations

    # what is left of the copies

    def _account(self, result: ChunkResult) -> None:
        still = {position for position in result.reasons if getattr(result.operations[position].kept, "letter", False)}
        # A dead letter that is refused again stays as it is; anything else gets a letter as in an ordinary run.
        rest = {position: reason for position, reason in result.reasons.items() if position not in still}
        super()._account(ChunkResult(result.operations, result.outcomes, rest))
        self._spent += [
            operation.kept
            for position, operation in enumerate(result.operations)
            if operation.kept is not None and position not in still
        ]
        if len(self._spent) >= PAGE:
            self._flush_letters()

    def _flush_letters(self) -> None:
        super()._flush_letters()
        if not self._spent:
            return
        spent, self._spent = self._spent, []
        deletes = [{"delete": {"_index": kept.index, "_id": kept.id}} for kept in spent]
        try:
            answer = self._client.bulk(operations=deletes, filter_path="items.*.status,items.*.error")
        except SecurityError as refused:
            log.warning("%s: what was replayed stays among the failures, where the next replay finds it again as "
                        "duplicate: %s", self._label, refused)  # fmt: skip
            return
        left = [item["delete"] for item in answer["items"] if item["delete"]["status"] not in {200, 404}]
        if left:
            log.warning(
                "%s: %d of what was replayed could not be deleted and will be read again as duplicate: %s",
                self._label,
                len(left),
                left[0].get("error"),
            )
