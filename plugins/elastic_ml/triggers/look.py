"""The loop of the triggers that ask the cluster something of their own until the answer is yes."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

from elastic_ml.exceptions import ElasticMLError, UnavailableError

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

EVENT_STATUSES = frozenset({"look", "timeout"})
"""What a :class:`LookTrigger` reports; the task looks itself, so an event never has to be trusted."""


class LookTrigger(BaseTrigger):
    """Fires once: ``look`` when the task should look itself, ``timeout`` at the deadline.

    A cluster that cannot answer is asked again. What it refuses is the task's to report, with its log and its retry
    policy, so that is a ``look`` too. A subclass names its arguments and asks; its class path and the names of its
    arguments are stored with tasks that wait while the package is upgraded: neither may change.

    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two looks.
    """

    arguments: ClassVar[tuple[str, ...]] = ("elastic_conn_id", "deadline", "poll_interval")
    """Names of the constructor's arguments, which are attributes as well, and JSON."""
    opaque_id: ClassVar[str] = "elastic-ml-look"

    def __init__(self, elastic_conn_id: str, deadline: float, poll_interval: float = 60.0) -> None:
        super().__init__()
        self.elastic_conn_id = elastic_conn_id
        self.deadline = float(deadline)
        self.poll_interval = float(poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments, all of them JSON."""
        kwargs = {name: getattr(self, name) for name in self.arguments}
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def over(self, client: "AsyncElasticsearch") -> bool:
        """Ask once; return whether the task should look itself."""
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire one event."""
        from airflow.sdk.exceptions import AirflowNotFoundException

        status = "timeout"
        shared = _Client.of(self.elastic_conn_id)
        try:
            while (remaining := self.deadline - time.time()) > 0:
                # First: where only the triggerer cannot make a client, task and trigger would else chase each other.
                await asyncio.sleep(min(self.poll_interval, remaining))
                try:
                    # The loop is the retry: the client's own would look far beyond the deadline.
                    client = (await shared.get()).options(opaque_id=self.opaque_id, max_retries=0)
                    over = await self.over(client)
                except UnavailableError as error:
                    self.log.info("The cluster could not answer, looking again: %s", error)
                    continue
                if over:
                    status = "look"
                    break
        except (AirflowNotFoundException, ElasticMLError) as error:
            self.log.warning("The task looks itself: %s", error)
            shared.retire()
            status = "look"
        finally:
            await shared.leave()
        yield TriggerEvent({"status": status, "deadline": self.deadline})


class _Client:
    """One client for all triggers of an event loop that look through one connection: each by itself weighs 0.3 MB."""

    def __init__(self, conn_id: str, among: "dict[str, _Client]") -> None:
        self._conn_id = conn_id
        self._among = among
        self._users = 0
        self._made: asyncio.Task[AsyncElasticsearch] | None = None

    @classmethod
    def of(cls, conn_id: str) -> "_Client":
        """Return the client of this loop and connection; whoever asks for it leaves it."""
        among = _clients.setdefault(asyncio.get_running_loop(), {})
        client = among.setdefault(conn_id, cls(conn_id, among))
        client._users += 1
        return client

    async def get(self) -> "AsyncElasticsearch":
        """Return the official client, made once."""
        from elastic_ml.hooks.elastic import ElasticHook

        if self._made is None:
            self._made = asyncio.get_running_loop().create_task(ElasticHook(self._conn_id).async_client())
        # One trigger that is cancelled takes it from nobody else.
        return await asyncio.shield(self._made)

    def retire(self) -> None:
        """Let the next trigger make another: after a refusal the connection may have been corrected."""
        if self._among.get(self._conn_id) is self:
            del self._among[self._conn_id]

    async def leave(self) -> None:
        """Close it after the last trigger."""
        self._users -= 1
        if self._users:
            return
        self.retire()
        if self._made is not None and not self._made.cancel() and self._made.exception() is None:
            await self._made.result().close()


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Client]] = WeakKeyDictionary()
