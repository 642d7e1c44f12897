"""Asking an ES|QL query again and again, beside hundreds of other waits in one event loop."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from elastic_ml.clients.esql import met, number_of, rows_of
from elastic_ml.exceptions import ElasticMLError, UnavailableError


class EsqlThresholdTrigger(BaseTrigger):
    """Fires once: ``look`` when the threshold may be met or the query is refused, ``timeout`` at the deadline.

    A cluster that cannot answer is asked again; a query that it refuses is the task's to report.

    :param query: gives one number.
    :param parameters: values of its parameters, as the API takes them.
    :param filter: Query DSL that the source is filtered with.
    :param comparison: see :class:`elastic_ml.sensors.esql.EsqlThresholdSensor`.
    :param threshold: what the number is compared with.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two looks.
    """

    def __init__(
        self,
        query: str,
        comparison: str,
        threshold: float,
        elastic_conn_id: str,
        deadline: float,
        parameters: Sequence[Any] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (the API's own word)
        poll_interval: float = 60.0,
    ) -> None:
        super().__init__()
        self.query = query
        self.comparison = comparison
        self.threshold = float(threshold)
        self.elastic_conn_id = elastic_conn_id
        self.deadline = float(deadline)
        self.parameters = None if parameters is None else list(parameters)
        self.filter = None if filter is None else dict(filter)
        self.poll_interval = float(poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments, all of them JSON."""
        names = (
            "query", "comparison", "threshold", "elastic_conn_id", "deadline", "parameters", "filter", "poll_interval",
        )  # fmt: skip
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire one event."""
        from elastic_ml.hooks.elastic import ElasticHook

        more: dict[str, Any] = {"params": self.parameters} if self.parameters else {}
        if self.filter:
            more["filter"] = self.filter
        client = await ElasticHook(self.elastic_conn_id, opaque_id="elastic-ml-esql-sensor").async_client()
        try:
            while (remaining := self.deadline - time.time()) > 0:
                await asyncio.sleep(min(self.poll_interval, remaining))
                try:
                    answer = await client.esql.query(query=f"{self.query}\n| LIMIT 2", **more)
                    over = met(number_of(rows_of(answer.body)), self.comparison, self.threshold)
                except UnavailableError as error:
                    self.log.info("The cluster could not answer, looking again: %s", error)
                    continue
                except ElasticMLError:
                    over = True  # the task meets the same error, with its log and its retry policy
                if over:
                    yield TriggerEvent({"status": "look", "deadline": self.deadline})
                    return
            yield TriggerEvent({"status": "timeout", "deadline": self.deadline})
        finally:
            await client.close()
