"""Asking an ES|QL query again and again, beside hundreds of other waits in one event loop."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.triggers.look import LookTrigger

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch


class EsqlThresholdTrigger(LookTrigger):
    """Fires once: ``look`` when the threshold may be met or the query is refused, ``timeout`` at the deadline.

    :param query: gives one number.
    :param comparison: see :class:`elastic_ml.sensors.esql.EsqlThresholdSensor`.
    :param threshold: what the number is compared with.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param parameters: values of its parameters, as the API takes them.
    :param filter: Query DSL that the source is filtered with.
    :param poll_interval: seconds between two looks.
    """

    arguments: ClassVar[tuple[str, ...]] = (
        "query", "comparison", "threshold", "parameters", "filter", *LookTrigger.arguments,
    )  # fmt: skip
    opaque_id: ClassVar[str] = "elastic-ml-esql-sensor"

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
        super().__init__(elastic_conn_id, deadline, poll_interval)
        self.query = query
        self.comparison = comparison
        self.threshold = float(threshold)
        self.parameters = None if parameters is None else list(parameters)
        self.filter = None if filter is None else dict(filter)

    async def over(self, client: "AsyncElasticsearch") -> bool:
        """Run the query once."""
        from elastic_ml.clients.esql import met, number_of, rows_of

        more: dict[str, Any] = {"params": self.parameters} if self.parameters else {}
        if self.filter:
            more["filter"] = self.filter
        answer = await client.esql.query(query=f"{self.query}\n| LIMIT 2", **more)
        return met(number_of(rows_of(answer.body)), self.comparison, self.threshold)
