"""Waiting for an anomaly record, beside hundreds of other waits in one event loop."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from elastic_ml.exceptions import ElasticMLError, UnavailableError


class AnomalyRecordsTrigger(BaseTrigger):
    """Fires once: ``look`` when a record may be there or the question is refused, ``timeout`` at the deadline.

    A cluster that cannot answer is asked again; what it refuses is the task's to report. The question is a ``_search``
    on the results indices, which every flavor answers.

    :param job_id: the anomaly job.
    :param start: epoch milliseconds from which a record's bucket counts.
    :param end: epoch milliseconds before which it has to begin; None: no end.
    :param min_score: lowest score that is waited for.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two looks.
    """

    def __init__(
        self,
        job_id: str,
        start: int,
        end: int | None,
        min_score: float,
        elastic_conn_id: str,
        deadline: float,
        poll_interval: float = 60.0,
    ) -> None:
        super().__init__()
        self.job_id = job_id
        self.start = int(start)
        self.end = None if end is None else int(end)
        self.min_score = float(min_score)
        self.elastic_conn_id = elastic_conn_id
        self.deadline = float(deadline)
        self.poll_interval = float(poll_interval)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments, all of them JSON."""
        names = ("job_id", "start", "end", "min_score", "elastic_conn_id", "deadline", "poll_interval")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire one event."""
        from elastic_ml.clients.anomaly_records import RESULTS, records_query
        from elastic_ml.hooks.elastic import ElasticHook

        query = records_query(self.job_id, self.start, self.end, self.min_score)
        client = await ElasticHook(self.elastic_conn_id, opaque_id="elastic-ml-records-sensor").async_client()
        try:
            while (remaining := self.deadline - time.time()) > 0:
                await asyncio.sleep(min(self.poll_interval, remaining))
                try:
                    answer = await client.search(
                        index=RESULTS, query=query, size=1, source=False, track_total_hits=False
                    )
                    over = bool(answer["hits"]["hits"])
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
