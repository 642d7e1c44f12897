"""Waiting for remote work without a worker slot, and without a request per waiting task.

All triggers of one event loop that wait for the same kind of work on the same connection share one
:class:`_Poller`: thirty waiting analytics jobs cost one ``_stats`` request per interval, not thirty.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

from elastic_ml.exceptions import ElasticMLError, UnavailableError
from elastic_ml.hooks.elastic import ElasticHook

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus

EVENT_STATUSES = frozenset({"done", "failed", "stopped", "missing", "timeout", "check"})
"""What :class:`RemoteJobTrigger` reports; ``check`` asks the operator to look itself, since polling failed."""


class RemoteJobTrigger(BaseTrigger):
    """Fires when remote work is no longer running, or when its deadline has passed.

    The event is ``{"status", "kind", "job_id", "reason", "deadline"}`` with a status of :data:`EVENT_STATUSES`; the
    operator reads the job again, so an event never has to be trusted. At the deadline, and when a user marks or clears
    the deferred task, the trigger stops the work.

    :param kind: see :mod:`elastic_ml.clients.job_status`.
    :param job_id: id of the work.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch after which the work is stopped.
    :param poll_interval: seconds between two looks; the shortest of all waiting triggers counts.
    :param stop_on_kill: whether killing the task stops the work.
    """

    def __init__(
        self,
        kind: str,
        job_id: str,
        elastic_conn_id: str,
        deadline: float,
        poll_interval: float = 5.0,
        stop_on_kill: bool = True,
    ) -> None:
        from elastic_ml.clients.remote_jobs import KINDS

        super().__init__()
        # Airflow serialises these after the work was started: what cannot be serialised has to be refused here.
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}.")
        for name, text in {"job_id": job_id, "elastic_conn_id": elastic_conn_id}.items():
            if not isinstance(text, str) or not text:
                raise ValueError(f"{name} has to be a text that is not empty, not {text!r}.")
        if not math.isfinite(float(deadline)) or not float(poll_interval) > 0:
            raise ValueError("deadline and poll_interval have to be finite numbers of seconds.")
        self.kind = kind
        self.job_id = job_id
        self.elastic_conn_id = elastic_conn_id
        self.deadline = float(deadline)
        self.poll_interval = float(poll_interval)
        self.stop_on_kill = bool(stop_on_kill)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments, all of them JSON."""
        return (
            "elastic_ml.triggers.remote_job.RemoteJobTrigger",
            {
                "kind": self.kind,
                "job_id": self.job_id,
                "elastic_conn_id": self.elastic_conn_id,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "stop_on_kill": self.stop_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire one event."""
        from elastic_ml.clients.remote_jobs import PAUSE

        if self.kind == PAUSE:
            await asyncio.sleep(max(0.0, min(self.poll_interval, self.deadline - time.time())))
            status, reason = ("timeout", "") if time.time() >= self.deadline else ("done", "")
        else:
            status, reason = await self._watched()
        yield TriggerEvent(
            {
                "status": status,
                "kind": self.kind,
                "job_id": self.job_id,
                "reason": reason,
                "deadline": self.deadline,
            }
        )

    async def _watched(self) -> tuple[str, str]:
        updates = subscribe(self.elastic_conn_id, self.kind, self.job_id, self.poll_interval)
        said = ""
        try:
            while (remaining := self.deadline - time.time()) > 0:
                try:
                    # Not wait_for: Python 3.11's loses a cancellation that comes together with an update.
                    async with asyncio.timeout(remaining):
                        update = await updates.get()
                except TimeoutError:
                    continue
                if isinstance(update, Exception):
                    return "check", str(update)
                if not update.active:
                    return str(update.state), update.reason
                if update.phase != said:
                    said = update.phase
                    self.log.info("%s %s: %s", self.kind, self.job_id, said)
        finally:
            updates.close()
        self.log.warning("%s %s did not end before its deadline and is stopped.", self.kind, self.job_id)
        await self._stop()
        return "timeout", said

    async def on_kill(self) -> None:
        """Stop the work: a user marked or cleared the deferred task."""
        if self.stop_on_kill:
            self.log.info("The task was ended by a user: stopping %s %s.", self.kind, self.job_id)
            await self._stop()

    async def _stop(self) -> None:
        from elastic_ml.clients.remote_jobs import PAUSE, stop_async

        if self.kind == PAUSE:
            return
        try:
            client = await ElasticHook(self.elastic_conn_id, opaque_id="elastic-ml-stop").async_client()
            try:
                await stop_async(client, self.kind, self.job_id)
            finally:
                await client.close()
        except ElasticMLError as error:
            # At the deadline the operator stops it once more and fails; after a kill only this line remains.
            self.log.error("%s %s could not be stopped: %s", self.kind, self.job_id, error)


class Subscription:
    """One waiting trigger's view of a shared poller: the states of its own job, newest last."""

    def __init__(self, poller: "_Poller", job_id: str, interval: float) -> None:
        self.job_id = job_id
        self.interval = interval
        self._poller = poller
        self._updates: asyncio.Queue[JobStatus | Exception] = asyncio.Queue()

    async def get(self) -> "JobStatus | Exception":
        """Wait for the next look at the job."""
        return await self._updates.get()

    def put(self, update: "JobStatus | Exception") -> None:
        """Deliver a look at the job."""
        self._updates.put_nowait(update)

    def close(self) -> None:
        """Leave; the last one ends the poller."""
        self._poller.leave(self)


class _Poller:
    """Asks for all jobs of one kind on one connection, as long as somebody waits for one of them."""

    def __init__(self, conn_id: str, kind: str) -> None:
        self.conn_id = conn_id
        self.kind = kind
        self.subscriptions: list[Subscription] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def join(self, job_id: str, interval: float) -> Subscription:
        subscription = Subscription(self, job_id, interval)
        self.subscriptions.append(subscription)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._poll())
        return subscription

    def leave(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
        if not self.subscriptions and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _poll(self) -> None:
        from elastic_ml.clients.remote_jobs import job_statuses

        client = None
        last = time.monotonic()
        try:
            while self.subscriptions:
                await self._until_due(last)
                last = time.monotonic()
                try:
                    if client is None:
                        hook = ElasticHook(self.conn_id, opaque_id=f"elastic-ml-wait-{self.kind}")
                        client = await hook.async_client()
                    # The loop is the retry: the client's own would only delay what everybody waits for.
                    ids = [s.job_id for s in self.subscriptions]
                    statuses = await job_statuses(client.options(max_retries=0), self.kind, ids)
                except UnavailableError:
                    # A restarting cluster is no news for a job: everybody keeps waiting, bounded by their deadlines.
                    continue
                except Exception as error:  # delivered to everybody who waits
                    self._deliver(error)
                    continue
                for subscription in list(self.subscriptions):
                    subscription.put(statuses[subscription.job_id])
        finally:
            if client is not None:
                await client.close()

    async def _until_due(self, last: float) -> None:
        while self.subscriptions:
            due = last + min(s.interval for s in self.subscriptions) - time.monotonic()
            if due <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(due):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _deliver(self, error: Exception) -> None:
        for subscription in list(self.subscriptions):
            subscription.put(error)


_pollers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str], _Poller]] = WeakKeyDictionary()


def subscribe(conn_id: str, kind: str, job_id: str, interval: float) -> Subscription:
    """Join the poller of this event loop, connection and kind; to be called inside the loop."""
    pollers = _pollers.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get((conn_id, kind))
    if poller is None:
        poller = pollers[conn_id, kind] = _Poller(conn_id, kind)
    return poller.join(job_id, interval)
