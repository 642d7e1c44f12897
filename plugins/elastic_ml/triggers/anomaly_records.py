"""Waiting for an anomaly record, beside hundreds of other waits in one event loop."""

from typing import TYPE_CHECKING, ClassVar

from elastic_ml.triggers.look import LookTrigger

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch


class AnomalyRecordsTrigger(LookTrigger):
    """Fires once: ``look`` when a record may be there or the question is refused, ``timeout`` at the deadline.

    The question is a ``_search`` on the results indices, which every flavor answers.

    :param job_id: the anomaly job.
    :param start: epoch milliseconds from which a record's bucket counts.
    :param end: epoch milliseconds before which it has to begin; None: no end.
    :param min_score: lowest score that is waited for.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two looks.
    """

    arguments: ClassVar[tuple[str, ...]] = ("job_id", "start", "end", "min_score", *LookTrigger.arguments)
    opaque_id: ClassVar[str] = "elastic-ml-records-sensor"

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
        super().__init__(elastic_conn_id, deadline, poll_interval)
        self.job_id = job_id
        self.start = int(start)
        self.end = None if end is None else int(end)
        self.min_score = float(min_score)

    async def over(self, client: "AsyncElasticsearch") -> bool:
        """Look for one such record."""
        from elastic_ml.clients.anomaly_records import RESULTS, records_query

        query = records_query(self.job_id, self.start, self.end, self.min_score)
        answer = await client.search(index=RESULTS, query=query, size=1, source=False, track_total_hits=False)
        return bool(answer["hits"]["hits"])
