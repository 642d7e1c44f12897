"""The ledger: who writes which partition or holds which lock, until when, and what every attempt counted.

One index (``names.ledger``) keeps two kinds of documents. Both are a *lease*: an owner and an expiry, changed only by
optimistic concurrency (``_create``, then ``if_seq_no`` / ``if_primary_term``) and read by realtime GET, so that of two
writers exactly one wins and nobody waits for a refresh.

``lock|<name>``
    ``kind: lock``, ``name``, ``state: held | free``, ``owner``, ``expires_at``, ``acquired_at``, ``updated_at``,
    ``nonce``; the lock ``<stream>|<month>`` also keeps ``user_hours``: months whose user-hours are still to be computed

``partition|<source>|<partition>``
    ``kind: partition``, ``source``, ``partition``, ``stream``, ``target: stream | history``,
    ``state: running | done | failed``, ``owner``, ``expires_at``, ``acquired_at``, ``updated_at``, ``nonce``,
    ``reason``, ``counts: {read, indexed, duplicate, rejected}`` (the newest attempt), ``indexed`` (summed over all
    attempts), ``replayed`` (rejected records and documents that replays read again), ``write_index`` (where the newest
    attempt wrote) and ``attempts``: a list of ``{number, owner, started_at, ended_at, state, counts, reason, replay}``
    that is kept, never searched.

Times are ISO 8601 in UTC with milliseconds.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ConflictError, IngestError, LockHeldError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)

Document = dict[str, Any]

LOCK_TTL = timedelta(minutes=15)
LEASE_TTL = timedelta(minutes=3)
WAIT_FOR_OTHERS = timedelta(minutes=5)


def utc_now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """``2026-11-10T08:15:00.000Z``: how every time of the ledger is written."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def lock_id(name: str) -> str:
    """The ledger id of a lock, such as ``lock|model|audit_fraud``."""
    return f"lock|{name}"


def partition_id(source: str, partition: str) -> str:
    """The ledger id of a partition, such as ``partition|internal|2026-11-10``."""
    return f"partition|{source}|{partition}"


@dataclass(frozen=True)
class Entry:
    """One ledger document as it was read: its content and the sequence number that a change of it must name."""

    id: str
    document: Document
    seq_no: int
    primary_term: int

    @property
    def owner(self) -> str | None:
        """Who holds it; None when nobody does."""
        return self.document.get("owner")

    @property
    def expires_at(self) -> datetime:
        """Until when the owner may write; long ago when the document names no expiry."""
        text = self.document.get("expires_at")
        return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)


class Lease:
    """A held ledger document. :meth:`renew` before it expires, :meth:`release` when done.

    Losing the lease (somebody took it over after its expiry) shows at the next renew or release as
    :class:`~elastic_ml.exceptions.LockHeldError`: whoever gets that stops writing at once.
    """

    def __init__(self, ledger: Ledger, entry: Entry, owner: str, ttl: timedelta) -> None:
        self._ledger = ledger
        self._entry = entry
        self.owner = owner
        self.ttl = ttl

    @property
    def id(self) -> str:
        """The id of the ledger document."""
        return self._entry.id

    @property
    def document(self) -> Document:
        """The document as this owner last wrote it."""
        return self._entry.document

    @property
    def due(self) -> bool:
        """Whether a third of the time to live has passed since the last renewal."""
        return self._ledger.now() >= self._entry.expires_at - self.ttl * 2 / 3

    def renew(self, changes: Mapping[str, Any] | None = None) -> None:
        """Extend the expiry and write ``changes`` with it. Raises LockHeldError when the lease was lost."""
        self._write({**(changes or {}), "owner": self.owner, "expires_at": iso(self._ledger.now() + self.ttl)})

    def release(self, changes: Mapping[str, Any] | None = None) -> None:
        """Give it up, writing ``changes`` with it. Raises LockHeldError when it had been lost before."""
        self._write({**(changes or {}), "owner": None, "expires_at": iso(self._ledger.now())})

    def _write(self, changes: Mapping[str, Any]) -> None:
        document = {**self._entry.document, **changes}
        try:
            self._entry = self._ledger.write(self.id, document, self._entry)
        except ConflictError as conflict:
            seen = self._ledger.read(self.id)
            holder = f"{seen.owner} until {iso(seen.expires_at)}" if seen and seen.owner else "nobody"
            raise LockHeldError(
                f"{self.owner} lost {self.id!r} while it was working: it expired and is now held by {holder}. "
                "Nothing more is written by this attempt.",
                remedy="Run it again once the other one has ended.",
                owner=(seen.owner or "") if seen else "",
                expires=iso(seen.expires_at) if seen else "",
            ) from conflict


class Ledger:
    """Locks and partition records in one index.

    :param client: an Elasticsearch client made by :func:`elastic_ml.clients.elasticsearch.connect`.
    :param index: the ledger's index, ``project.names.ledger``. It is made by the DAG ``elastic_setup``; a missing one
        is an :class:`~elastic_ml.exceptions.IngestError`, never created on the fly with a guessed mapping.
    :param now: the clock that expiries are compared with; tests move it.
    :param sleep: how to wait, in seconds.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        *,
        now: Callable[[], datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client = client
        self.index = index
        self.now = now
        self._sleep = sleep
        self._index_exists = False

    @contextlib.contextmanager
    def lock(
        self, name: str, *, owner: str, ttl: timedelta = LOCK_TTL, wait: timedelta = timedelta(0)
    ) -> Iterator[Lease]:
        """Hold the lock ``name`` for the block: ``with ledger.lock("model|audit_fraud", owner=run) as lease: ...``.

        :param name: what is protected; the document is ``lock|<name>``.
        :param owner: who holds it, shown to whoever is refused. The same owner gets its own lock again (a retry after a
            crash), so it must name the run and task, not merely the model.
        :param ttl: after this long without :meth:`Lease.renew` anybody may take it over.
        :param wait: how long to wait for another owner before giving up.
        :raises LockHeldError: somebody else holds it; the sentence names the owner and the expiry.
        """
        lease = self.claim(
            lock_id(name),
            owner=owner,
            ttl=ttl,
            wait=wait,
            change=lambda _: {"kind": "lock", "name": name, "state": "held"},
        )
        try:
            yield lease
        except LockHeldError:
            raise
        except Exception:
            # The block's own error matters more than a lease that was lost meanwhile.
            with contextlib.suppress(LockHeldError):
                lease.release({"state": "free"})
            raise
        else:
            lease.release({"state": "free"})

    @contextlib.contextmanager
    def waited_lock(
        self,
        name: str,
        *,
        owner: str,
        ttl: timedelta = LOCK_TTL,
        patience: timedelta = WAIT_FOR_OTHERS,
        alive: Callable[[], None] = lambda: None,
    ) -> Iterator[Lease]:
        """As :meth:`lock`, for short work that others do too: a holder that is alive is waited for.

        :param patience: how long.
        :param alive: called while waiting and able to end it by raising.
        :raises LockHeldError: somebody else held it all the time.
        """
        deadline = time.monotonic() + patience.total_seconds()
        with contextlib.ExitStack() as held:
            lease = None
            while lease is None:
                alive()
                try:
                    lease = held.enter_context(self.lock(name, owner=owner, ttl=ttl))
                except LockHeldError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)
            yield lease

    def partition(self, source: str, partition: str) -> Document | None:
        """What the ledger says of one partition, or None when it was never attempted."""
        entry = self.read(partition_id(source, partition))
        return entry.document if entry else None

    def partitions(self, source: str, partitions: Sequence[str]) -> dict[str, Document | None]:
        """What the ledger says of several partitions of one source, by key, without attempts; None: never attempted."""
        found: dict[str, Document | None] = {}
        for start in range(0, len(partitions), 500):
            keys = partitions[start : start + 500]
            ids = [partition_id(source, key) for key in keys]
            answer = self.client.mget(index=self.index, ids=ids, source_excludes=["attempts"])
            for key, item in zip(keys, answer["docs"], strict=True):
                found[key] = item["_source"] if item.get("found") else None
        return found

    def claim(
        self,
        id: str,  # noqa: A002
        *,
        owner: str,
        ttl: timedelta,
        wait: timedelta = timedelta(0),
        change: Callable[[Document | None], Document],
    ) -> Lease:
        """Become the owner of a ledger document that is free, expired, or already this owner's.

        :param wait: how long to wait for a holder to expire; one that renews meanwhile is alive and not waited for.
        :param change: called with the current document (None when there is none), gives the fields to write with it.
        :raises LockHeldError: held by somebody else for longer than ``wait``.
        """
        deadline = self.now() + wait
        first: Entry | None = None
        while True:
            seen = self.read(id)
            first = first or seen
            if seen is None or seen.owner in {None, owner} or seen.expires_at <= self.now():
                if seen is not None and seen.owner not in {None, owner}:
                    log.warning(
                        "%s: taking over from %s, whose lease ended at %s", id, seen.owner, iso(seen.expires_at)
                    )
                document = {
                    **(seen.document if seen else {}),
                    **change(seen.document if seen else None),
                    "owner": owner,
                    "acquired_at": iso(self.now()),
                    "expires_at": iso(self.now() + ttl),
                }
                try:
                    return Lease(self, self.write(id, document, seen), owner, ttl)
                except ConflictError:
                    continue  # another writer was faster: read what it wrote
            # A holder that renews is alive, and waiting for its expiry would only hide that.
            renewed = first is not None and seen.seq_no != first.seq_no and seen.owner == first.owner
            if renewed or self.now() >= deadline:
                raise LockHeldError(
                    f"{id!r} is held by {seen.owner} until {iso(seen.expires_at)}.",
                    remedy="Wait for that run to end or, if it is dead, for its lease to expire; then clear this task.",
                    owner=seen.owner or "",
                    expires=iso(seen.expires_at),
                )
            log.info("%s is held by %s until %s: waiting", id, seen.owner, iso(seen.expires_at))
            self._sleep(min(2.0, max(0.05, (seen.expires_at - self.now()).total_seconds())))

    def read(self, id: str) -> Entry | None:  # noqa: A002
        """One document by realtime GET; None when there is none."""
        try:
            answer = self.client.get(index=self.index, id=id)
        except NotFoundError:
            self._check_index()
            return None
        return Entry(id, dict(answer["_source"]), answer["_seq_no"], answer["_primary_term"])

    def write(self, id: str, document: Document, seen: Entry | None) -> Entry:  # noqa: A002
        """Write one document on condition that it is still as ``seen`` (None: that there is none).

        :raises ConflictError: somebody wrote it in between.
        """
        body = {**document, "updated_at": iso(self.now()), "nonce": uuid.uuid4().hex}
        try:
            if seen is None:
                answer = self.client.create(index=self.index, id=id, document=body)
            else:
                answer = self.client.index(
                    index=self.index,
                    id=id,
                    document=body,
                    if_seq_no=seen.seq_no,
                    if_primary_term=seen.primary_term,
                )
        except ConflictError:
            # A request whose answer was lost is sent again by the client and then conflicts with itself.
            current = self.read(id)
            if current is None or current.document.get("nonce") != body["nonce"]:
                raise
            return current
        return Entry(id, body, answer["_seq_no"], answer["_primary_term"])

    def _check_index(self) -> None:
        if self._index_exists:
            return
        if not self.client.indices.exists(index=self.index):
            raise IngestError(
                f"The ledger index {self.index!r} does not exist.",
                remedy="Run the DAG elastic_setup with mode=apply first; it creates the index with its mapping.",
            )
        self._index_exists = True
