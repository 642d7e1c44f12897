"""Sends chunks with ``_bulk`` until every document has an outcome: indexed, duplicate or rejected.

What a failure means decides what is done:

- 429 (of the request or of an item): the cluster did not take it. Wait, send again, smaller.
- 502, 503, 504, a timeout, a lost connection: the cluster may have taken it. Wait, refresh, look which ids are there,
  send the rest. What is there is *uncertain* (ours or an older copy) until the closing count of the partition.
- ``failure_store: used``: reported as a success, but the document is in the failure store: rejected.
- 409 on ``create``: the id is there: duplicate.
- the index became a backing index meanwhile (its month was sealed): the rest goes where the destination says now.
- a full disk, a missing privilege, a missing stream: no document of this chunk or the next would do better; raised.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from elastic_ml.clients.translation import error_from_answer
from elastic_ml.exceptions import (
    DiskFullError,
    IngestError,
    InvalidRequestError,
    NotFoundError,
    SecurityError,
    UnavailableError,
)
from elastic_ml.ingest.counts import Counts
from elastic_ml.ingest.encoding import Chunk, ChunkSize, Operation

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)

Outcome = Literal["indexed", "duplicate", "rejected", "uncertain"]

MOST_ATTEMPTS = 12
"""Tries of one chunk in a row without any progress; with the back-off below about four minutes."""
LONGEST_WAIT_SECONDS = 30.0

# What an answer is asked for: the rest of it (shards, versions, sequence numbers) would only be parsed and dropped.
_FILTER = "errors,items.*.status,items.*.error,items.*.failure_store"
_RETRIED_ITEMS = frozenset({429, 502, 503, 504})
# Elasticsearch's words where `create` names a backing index (test 20_unsupported_apis.yml of its data streams).
_SEALED = "targeting backing indices is disallowed"


class StoppedError(IngestError):
    """Somebody asked the writer to stop."""


@dataclass
class ChunkResult:
    """Outcomes of one chunk, in the order of its operations.

    :param reasons: why an operation was rejected, by its position; those in the failure store are not in it.
    """

    operations: Sequence[Operation]
    outcomes: list[Outcome]
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def counts(self) -> Counts:
        """Its four figures."""
        return Counts(
            read=len(self.outcomes),
            indexed=self.outcomes.count("indexed"),
            duplicate=self.outcomes.count("duplicate"),
            rejected=self.outcomes.count("rejected"),
            uncertain=self.outcomes.count("uncertain"),
        )


Lookup = Callable[[Sequence[str], bool], tuple[set[str], set[str]]]
"""Called as ``lookup(ids, refresh)``; which of them the target holds, and which its failure store."""


class Destination(Protocol):
    """Where a writer's documents go, when that can change while it writes (:class:`~.history.HistoryMonth`)."""

    data_stream: bool
    name: str

    def destination(self) -> str:
        """What the next request names."""
        ...

    def sealed(self, destination: str) -> None:
        """Called when `destination` refused documents because it became a backing index."""
        ...


class BulkWriter:
    """Writes chunks into one data stream or index.

    :param client: a client of :func:`elastic_ml.clients.elasticsearch.connect`; its own retries are turned off here.
    :param target: data stream or index, or what says it before each request.
    :param data_stream: refuse to create a plain index by mistake (``require_data_stream``).
    :param lookup: which ids are there already; without it a request whose answer was lost is simply sent again, which
        is right only where writing twice does no harm (external versions, dead letters).
    :param size: shared with whoever cuts the chunks.
    :param stop: set to end all waiting.
    """

    def __init__(
        self,
        client: Elasticsearch,
        target: str | Destination,
        *,
        data_stream: bool | None = None,
        lookup: Lookup | None = None,
        size: ChunkSize | None = None,
        stop: threading.Event | None = None,
        backoff_seconds: float = 0.5,
    ) -> None:
        # The client must not send a request twice on its own: what happened in between has to be looked at.
        self._client = client.options(max_retries=0, retry_on_timeout=False)
        self._moving = None if isinstance(target, str) else target
        self._target = target if isinstance(target, str) else target.name
        self._data_stream = self._moving.data_stream if self._moving and data_stream is None else bool(data_stream)
        self._lookup = lookup
        self._size = size or ChunkSize()
        self._stop = stop or threading.Event()
        self._backoff = backoff_seconds

    def write(self, chunk: Chunk, *, check_ids: bool = False) -> ChunkResult:
        """Send one chunk until each of its operations has an outcome.

        :param check_ids: look first which ids are there, in older backing indices and in the failure store too.
        :raises UnavailableError: the cluster did not recover in time.
        :raises DiskFullError: flood stage; at once.
        :raises IngestError: the stream does not exist, or stop was asked for.
        """
        operations = chunk.operations
        state = _ChunkState(operations)
        if check_ids and self._lookup is not None:
            state.found(*self._lookup([operation.id for operation in operations], False), after="duplicate")
        attempt = 0
        while pending := state.pending:
            self._check_stop()
            if self._lookup is not None and state.unchecked:
                lost = [operations[position].id for position in pending if position in state.unchecked]
                state.found(*self._lookup(lost, True), after="uncertain")
                state.unchecked.clear()
                if not (pending := state.pending):
                    break
            state.problem, state.crowded = None, False
            try:
                progressed = self._request(state, pending)
            except UnavailableError as error:
                state.problem = error
                progressed = False
                state.crowded = error.status == 429
                if not state.crowded:
                    state.answer_lost(pending[: state.most])
            attempt = 0 if progressed else attempt + 1
            if state.problem is None:
                continue
            if attempt >= MOST_ATTEMPTS:
                raise UnavailableError(
                    f"{len(state.pending)} documents for {self._target} could not be written in {attempt} tries "
                    f"({state.problem}).",
                    status=getattr(state.problem, "status", None),
                    remedy="Run the task again when the cluster is less busy: what is written counts as duplicate.",
                ) from state.problem
            self._size.shrink()
            # What the cluster had no room for may fit in parts.
            state.most = max(1, min(state.most, len(state.pending)) // 2) if state.crowded else state.most
            self._wait(attempt, state.problem)
        return ChunkResult(operations, state.outcomes(), state.reasons)

    def _request(self, state: _ChunkState, pending: list[int]) -> bool:
        """One bulk request; whether any operation got its outcome."""
        sent = pending[: state.most]
        body = b"\n".join(
            part for position in sent for part in (state.operations[position].action, state.operations[position].source)
        )
        target = self._moving.destination() if self._moving else self._target
        started = time.monotonic()
        try:
            answer = self._client.bulk(
                index=target,
                operations=[body],  # type: ignore[list-item]  # encoded lines are taken as they are
                filter_path=_FILTER,
                require_data_stream=self._data_stream or None,
            )
        except InvalidRequestError as error:
            if error.status != 413:
                raise
            return state.too_large(sent, str(error))
        self._size.answered(len(sent), len(body), time.monotonic() - started)
        items = answer.get("items") or []
        if len(items) != len(sent):
            raise IngestError(
                f"{self._target} answered a bulk request of {len(sent)} documents with {len(items)} items.",
                remedy="A proxy between Airflow and the cluster changes answers; connect to the cluster itself.",
            )
        if not answer.get("errors"):
            state.settle_all(sent, items)
            return True
        done = [
            self._settle(state, position, next(iter(item.values()))) for position, item in zip(sent, items, strict=True)
        ]
        if state.sealed and self._moving:
            self._moving.sealed(target)
            # The next index knows none of the ids in the sealed one: look before sending.
            state.answer_lost(state.sealed)
            state.sealed = []
            return True
        return any(done)

    def _settle(self, state: _ChunkState, position: int, item: dict[str, Any]) -> bool:
        status = item["status"]
        if status in {200, 201}:
            state.settle(position, "rejected" if _failed(item) else "indexed")
            return True
        if status == 409:
            state.settle(position, "uncertain" if position in state.lost else "duplicate")
            return True
        error = error_from_answer(status, item.get("error"), doing=f"Writing into {self._target}")
        if isinstance(error, NotFoundError):
            raise IngestError(
                f"The data stream {self._target} does not exist ({error.message})",
                status=404,
                remedy="Run the DAG elastic_setup with mode=apply; it makes the stream and its template.",
            )
        if isinstance(error, DiskFullError | SecurityError) or error.error_type == "cluster_block_exception":
            raise error
        if self._moving and status == 400 and _SEALED in (item.get("error") or {}).get("reason", ""):
            state.sealed.append(position)
            return False
        if status in _RETRIED_ITEMS:
            state.problem = error
            if status != 429:
                state.answer_lost([position])
            return False
        state.settle(position, "rejected")
        state.reasons[position] = str(error)
        return True

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError(
                f"Writing into {self._target} was stopped.",
                remedy="Run the task again: what is written stays and counts.",
            )

    def _wait(self, attempt: int, reason: Exception | None) -> None:
        span = min(LONGEST_WAIT_SECONDS, self._backoff * 2 ** min(attempt, 10))
        seconds = random.uniform(span / 2, span)  # noqa: S311 - jitter
        log.warning("%s: waiting %.1f s (%s)", self._target, seconds, reason)
        self._stop.wait(seconds)


class _ChunkState:
    """What is known about each operation of one chunk.

    `lost` are those that were sent once without an answer; `unchecked` those of them that were not looked up since.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.reasons: dict[int, str] = {}
        self.lost: set[int] = set()
        self.unchecked: set[int] = set()
        self.problem: Exception | None = None
        self.most = len(operations)
        self.crowded = False
        self.sealed: list[int] = []
        self._outcomes: list[Outcome | None] = [None] * len(operations)

    @property
    def pending(self) -> list[int]:
        return [position for position, outcome in enumerate(self._outcomes) if outcome is None]

    def outcomes(self) -> list[Outcome]:
        return [outcome for outcome in self._outcomes if outcome is not None]

    def settle(self, position: int, outcome: Outcome) -> None:
        self._outcomes[position] = outcome

    def settle_all(self, positions: Iterable[int], items: Sequence[dict[str, Any]]) -> None:
        """Settle a request without a single error, which is nearly every one."""
        for position, item in zip(positions, items, strict=True):
            (result,) = item.values()
            self._outcomes[position] = "rejected" if "failure_store" in result and _failed(result) else "indexed"

    def answer_lost(self, positions: Iterable[int]) -> None:
        positions = list(positions)
        self.lost.update(positions)
        self.unchecked.update(positions)

    def found(self, stored: set[str], failed: set[str], *, after: Outcome) -> None:
        for position in self.pending:
            document_id = self.operations[position].id
            if document_id in stored:
                self.settle(position, after)
            elif document_id in failed:
                self.settle(position, "rejected")

    def too_large(self, sent: list[int], reason: str) -> bool:
        """The request was refused for its size: send half of it, or give up a single document."""
        if len(sent) > 1:
            self.most = max(1, len(sent) // 2)
            return True
        self.settle(sent[0], "rejected")
        self.reasons[sent[0]] = reason
        return True


def _failed(item: dict[str, Any]) -> bool:
    """Whether a document that was taken went to the failure store and not to the stream."""
    return item.get("failure_store") == "used"


def write_all(
    chunks: Iterable[Chunk],
    write: Callable[[Chunk], Any],
    *,
    each: Callable[[Any], None],
    stop: threading.Event,
    alive: Callable[[], None] = lambda: None,
    requests: int = 2,
    alive_every_seconds: float = 5.0,
) -> None:
    """Cut, send and account at once: while `requests` chunks are on their way, the next one is made.

    :param chunks: made lazily in this thread; at most ``requests`` + 1 exist at any time.
    :param write: called in a helper thread per chunk.
    :param each: called in this thread with what `write` returned, in the order of the chunks.
    :param stop: set on the first error, so that helper threads end their waiting.
    :param alive: called before each chunk is handed over and every few seconds while waiting (lease renewal).
    """
    on_their_way: deque[Future[Any]] = deque()

    def collect() -> None:
        while not wait([on_their_way[0]], timeout=alive_every_seconds, return_when=FIRST_COMPLETED).done:
            alive()
        each(on_their_way.popleft().result())

    with ThreadPoolExecutor(requests, thread_name_prefix="bulk") as pool:
        try:
            for chunk in chunks:
                while len(on_their_way) >= requests:
                    collect()
                alive()
                on_their_way.append(pool.submit(write, chunk))
            while on_their_way:
                collect()
        except BaseException:
            stop.set()
            for future in on_their_way:
                future.cancel()
            raise
