"""One partition of one source, from its first raw record to the proof that Elasticsearch holds it."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import IngestError, LockHeldError
from elastic_ml.ingest.attempt import Attempt
from elastic_ml.ingest.bulk import BulkWriter, ChunkResult, StoppedError, write_all
from elastic_ml.ingest.counts import Counts
from elastic_ml.ingest.dead_letters import dead_letter
from elastic_ml.ingest.encoding import Chunk, ChunkSize, Operation, chunks, create_action, encode
from elastic_ml.ingest.history import HistoryMonth, month_of, partition_at, target_of
from elastic_ml.ingest.labels import LatestVerdicts
from elastic_ml.ingest.ledger import LEASE_TTL, Ledger, utc_now
from elastic_ml.ingest.schema import SAMPLE, check_label, check_schema
from elastic_ml.ingest.sealing import seal_month
from elastic_ml.ingest.stream import AuditStream
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import read
from elastic_ml.sources.records import Rejected
from elastic_ml.sources.strict_json import without_surrogates

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project import Project
    from elastic_ml.project.source import Source

log = logging.getLogger(__name__)

DEAD_LETTERS_AT_ONCE = 200


class PartitionIngest:
    """Reads one partition of one source and writes it; :meth:`run` gives the four figures.

    The ledger's document of the partition is the lease (one writer at a time) and the record of every attempt. It never
    makes a run skip anything: a partition that is read again is written again, and what is there counts as duplicate.

    :param client: a client of :func:`elastic_ml.clients.elasticsearch.connect`.
    :param owner: who writes, such as ``dag/run/task``; the same owner takes its own lease over after a crash.
    :param now: the clock for expiries and for what counts as history.
    :param size: how much one request carries at the beginning.
    :param abandoned: whether nobody supervises this process any more; then the attempt stops and gives its
        lease up. A task whose supervisor was killed goes on writing, unheard, while Airflow tries again.
    """

    replay: str | None = None
    """What is read instead of the source."""

    def __init__(
        self,
        client: Elasticsearch,
        project: Project,
        source: Source,
        partition: Partition,
        *,
        owner: str,
        now: Callable[[], datetime] = utc_now,
        wait_for_lease: timedelta = LEASE_TTL + timedelta(seconds=10),
        lease_ttl: timedelta = LEASE_TTL,
        size: ChunkSize | None = None,
        backoff_seconds: float = 0.5,
        abandoned: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._project = project
        self._source = source
        self._partition = partition
        self._owner = owner
        self._now = now
        self._wait_for_lease = wait_for_lease
        self._lease_ttl = lease_ttl
        self._size = size or ChunkSize()
        self._stop = threading.Event()
        self._ledger = Ledger(client, project.names.ledger, now=now)
        self._counts = Counts()
        self._attempt = Attempt(
            self._ledger,
            source,
            partition,
            owner=owner,
            counts=self._counts,
            stop=self._stop,
            now=now,
            abandoned=abandoned,
            replay=self.replay,
        )
        self._label = project.names.partition_label(source.name, partition.key)
        self._letters: list[Operation] = []
        self._people = NameTable.read(source.name, project.folder / source.names) if source.names else None
        more: dict[str, Any] = {"stop": self._stop, "backoff_seconds": backoff_seconds}
        self._letter_writer = BulkWriter(client, project.names.dead_letter, data_stream=True, **more)
        self._writer_options = {**more, "size": self._size}
        self._verdicts: LatestVerdicts | None = None
        if source.kind == "labels":
            streams = [stream.name for stream in project.names.audit_streams]
            self._verdicts = LatestVerdicts(client, project.names.labels, streams, stop=self._stop)

    def run(self) -> dict[str, int]:
        """Read, write, count; and when that completed a past month, seal it into its stream.

        :return: ``{"read", "indexed", "duplicate", "rejected"}`` of this attempt; the first is the sum of the others.
            With a name table also ``unresolved``: records whose person it does not hold, whatever became of them.
        :raises LockHeldError: another run writes this partition.
        :raises IngestError: what cannot work (no such input, no such stream, a mapping that conflicts, a month beyond
            the retention), or a closing count that does not add up. The ledger says ``failed`` and a re-run mends it.
        """
        stream = self._attempt.begin(self._choose, ttl=self._lease_ttl, wait=self._wait_for_lease)
        try:
            self._write(stream)
        except LockHeldError:
            raise  # the lease is somebody else's now: nothing of theirs is touched
        except Exception as error:
            self._attempt.failed(str(error))
            raise
        self._attempt.done(write_index=stream.write_index, indexed=self._before + self._counts.indexed)
        if stream.target == "history":
            self._seal()
        return self._figures()

    def _figures(self) -> dict[str, int]:
        """The four figures; with a name table also how many records had nobody behind them, which are in `read` too."""
        people = {} if self._people is None else {"unresolved": self._people.unresolved}
        return {**self._counts.figures(), **people}

    def stop(self, reason: str) -> None:
        """End the attempt from outside (the task was killed): stop sending, and give the lease up."""
        self._stop.set()
        # This runs in a signal handler, which may have interrupted the client in the middle of a lock of its own.
        releasing = threading.Thread(target=self._attempt.failed, args=(reason,), daemon=True)
        releasing.start()
        releasing.join(timeout=10)

    # what is written, and where

    def _choose(self, recorded: str | None) -> AuditStream:
        """The stream, or its history: what the first attempt recorded, else by the month's age."""
        if target_of(self._project, self._source.stream, self._partition, self._now(), recorded) == "stream":
            return AuditStream(self._client, self._source.stream)
        return HistoryMonth(self._client, self._project, self._source.stream, month_of(self._partition))

    def _seal(self) -> None:
        month = month_of(self._partition)
        seal_month(
            self._client, self._project, self._ledger, self._source.stream, month, owner=self._owner, stop=self._stop
        )

    # reading and writing

    def _write(self, stream: AuditStream) -> None:
        check_ids = self._look_back(stream)
        writer = self._writer(stream)
        write_all(
            chunks(self._operations(stream), self._size),
            lambda chunk: self._send(writer, chunk, check_ids),
            each=self._account,
            stop=self._stop,
            alive=self._attempt.alive,
        )
        self._flush_letters()
        self._close(stream)

    def _writer(self, stream: AuditStream) -> BulkWriter:
        return BulkWriter(self._client, stream, lookup=stream.lookup, **self._writer_options)

    def _look_back(self, stream: AuditStream) -> bool:
        """What earlier attempts left behind, and whether ids have to be checked before writing."""
        if not self._attempt.first:
            stream.refresh()
            self._remove_copies(stream)
            if self._met(stream):
                self._remove_met(stream)
        self._before = stream.count(self._label)
        if self._before != self._attempt.before:
            log.warning(
                "%s: %s holds %d documents of earlier attempts and the ledger knows of %d; %s is right",
                self._label,
                stream.name,
                self._before,
                self._attempt.before,
                stream.name,
            )
            self._attempt.correct(self._before)
        return not self._attempt.first or self._before > 0 or self._moved_on(stream)

    def _moved_on(self, stream: AuditStream) -> bool:
        """Whether a copy of an event could lie in another index, where `create` does not see it."""
        if stream.target == "stream" and len(stream.backing_indices) == 1:
            return False
        # The same event is delivered twice in neighbouring partitions, if at all.
        before = self._partition.previous.key
        after = partition_at(self._partition.end, self._partition.size).key
        records = self._ledger.partitions(self._source.name, [before, after])
        attempted = [record for record in records.values() if record is not None]
        return records[before] is None or any(record.get("write_index") != stream.write_index for record in attempted)

    def _operations(self, stream: AuditStream) -> Iterator[Operation]:
        items = adapt(self._source, read(self._source, self._partition), self._people)
        first = list(itertools.islice(items, SAMPLE))
        if first:
            index, properties = stream.properties()
            check_schema(
                properties,
                index,
                [item for item in first if not isinstance(item, Rejected)],
                stream=stream.name,
                source=self._source.name,
                remedy=f"Correct the field map in sources/{self._source.name}.yml; or correct the template of "
                f"{stream.name} and roll it over (POST {stream.name}/_rollover): new documents get the new mapping.",
            )
        for item in itertools.chain(first, items):
            if isinstance(item, Rejected):
                self._reject(item)
                continue
            operation = self._operation(item)
            if operation is not None:
                yield operation

    def _operation(self, document: dict[str, Any]) -> Operation | None:
        event_id = str(document["event"]["id"])
        if not event_id.isascii():
            event_id = without_surrogates(event_id)
        document["event"]["id"] = event_id
        labels = document.get("labels")
        if labels is None:
            labels = document["labels"] = {}
        try:
            if not isinstance(labels, dict):
                raise ValueError("`labels` is a value and no object")  # noqa: TRY004 - a record's fault, not a caller's
            labels["partition"] = self._label
            return Operation(event_id, create_action(event_id), encode(document), subject=document.get("verdict"))
        except ValueError as error:
            text = str(document).encode("utf-8", "replace")
            self._reject(Rejected(str(error), f"event.id {event_id[:200]}", text))
            return None

    def _send(self, writer: BulkWriter, chunk: Chunk, check_ids: bool) -> ChunkResult:
        result = writer.write(chunk, check_ids=check_ids)
        if self._verdicts is not None:
            # The stream first: it is the history of decisions, and what is derived from it can be written again.
            kept = zip(result.operations, result.outcomes, strict=True)
            self._verdicts.write([operation.subject for operation, outcome in kept if outcome != "rejected"])
        return result

    def _account(self, result: ChunkResult) -> None:
        self._counts.add(result.counts)
        for position, reason in result.reasons.items():
            # Refused, and not kept by a failure store: kept here instead.
            operation = result.operations[position]
            self._letter(Rejected(reason, f"event.id {operation.id}", operation.source), record="document")

    def _reject(self, rejected: Rejected) -> None:
        self._counts.read += 1
        self._counts.rejected += 1
        self._letter(rejected)

    def _letter(self, rejected: Rejected, *, record: Literal["raw", "document"] = "raw") -> None:
        self._letters.append(
            dead_letter(
                rejected,
                source=self._source.name,
                partition=self._partition.key,
                environment=self._project.settings.environment,
                now=self._now(),
                record=record,
            )
        )
        if len(self._letters) >= DEAD_LETTERS_AT_ONCE:
            self._flush_letters()

    def _flush_letters(self) -> None:
        if self._letters:
            letters, self._letters = self._letters, []
            result = self._letter_writer.write(Chunk(letters))
            if result.reasons:
                raise IngestError(
                    f"{len(result.reasons)} rejected records of {self._label} could not be kept in "
                    f"{self._project.names.dead_letter}: {next(iter(result.reasons.values()))}",
                    remedy="Run elastic_setup with mode=verify: the template of the operations streams differs.",
                )

    # the proof

    def _close(self, stream: AuditStream) -> None:
        if self._stop.is_set():
            raise StoppedError(f"{self._label} was stopped.", remedy="Run the task again.")
        stream.refresh()
        stream.reload()
        removed = self._remove_copies(stream) if stream.spread or not self._attempt.first else 0
        if self._met(stream):
            removed += self._remove_met(stream)
        held = stream.count(self._label)
        added = held + removed - self._before
        if not self._counts.settle(added) or not self._counts.balanced:
            index, properties = stream.properties()
            check_label(properties, index, stream=stream.name, source=self._source.name)
            raise IngestError(
                f"The count of {self._label} does not add up: {stream.name} gained {added} documents, and this attempt "
                f"indexed {self._counts.indexed} ({self._counts.uncertain} more without an answer) of "
                f"{self._counts.read} read.",
                remedy="Another writer uses the same labels.partition, an ingest pipeline drops documents, or somebody "
                "deleted some. Run the partition again: it counts anew from what the stream holds.",
            )
        ours = min(removed, self._counts.indexed)
        self._counts.indexed -= ours
        self._counts.duplicate += ours
        self._before -= removed - ours  # written by an earlier attempt, and found beside a neighbour's only now
        if self._people is not None and self._people.unresolved:
            most = sorted(self._people.unresolved_names.items(), key=lambda item: (-item[1], item[0]))[:5]
            log.warning(
                "%s: %d records name nobody in the name table %s; most often %s",
                self._label,
                self._people.unresolved,
                self._source.names,
                ", ".join(f"{name} ({times})" for name, times in most),
            )
        if self._verdicts is not None and self._verdicts.without_event:
            log.warning(
                "%s: %d verdicts judge events that no audit stream holds; they have no user_hour",
                self._label,
                self._verdicts.without_event,
            )
        log.info("%s: done, %s", self._label, self._figures())

    def _remove_copies(self, stream: AuditStream) -> int:
        return stream.remove_copies(self._label) if len(stream.backing_indices) + len(stream.unsealed) > 1 else 0

    def _met(self, stream: AuditStream) -> bool:
        """Whether a neighbouring partition was written at the same time as this one, into another index.

        What both delivered neither of them could find before writing it. An event that is delivered twice comes in
        neighbouring partitions.
        """
        if len(stream.backing_indices) + len(stream.unsealed) == 1:
            return False
        began = self._attempt.first_began
        month = month_of(self._partition)
        neighbours = [self._partition.previous, partition_at(self._partition.end, self._partition.size)]
        records = self._ledger.partitions(self._source.name, [neighbour.key for neighbour in neighbours])
        for neighbour in neighbours:
            record = records[neighbour.key]
            if record is None or (record["state"] != "running" and record["updated_at"] < began):
                continue
            together = record.get("target") == "history" == stream.target and month_of(neighbour) == month
            theirs = record.get("write_index")
            # An index of history is made with its first document: the neighbour's record may not name it yet.
            if theirs != stream.write_index and not (together and theirs is None):
                return True
        return False

    def _remove_met(self, stream: AuditStream) -> int:
        """Delete what a neighbour that was written at the same time holds too; its copy stays.

        Under a lock, as two that close at once would each delete its own copy.
        """
        name, owner = f"closing|{self._source.name}", f"{self._owner} {self._label}"
        with self._ledger.waited_lock(name, owner=owner, ttl=LEASE_TTL, alive=self._attempt.alive) as lease:

            def alive() -> None:
                self._attempt.alive()
                if lease.due:
                    lease.renew()

            return stream.remove_copies(self._label, everywhere=True, alive=alive)


def starts_later(source: Source, partition: Partition) -> bool:
    """Whether the source delivers nothing yet in that partition."""
    return partition.end <= datetime.combine(source.start_date, datetime.min.time(), UTC)
