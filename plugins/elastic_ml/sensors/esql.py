"""Waiting until an ES|QL query says yes, without a worker slot."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.clients.esql import COMPARISONS, Comparison, met, number_of, run_query
from elastic_ml.exceptions import InvalidRequestError, WaitTimeoutError
from elastic_ml.operators.base import sorted_fields
from elastic_ml.sensors.look import LookSensor

if TYPE_CHECKING:
    from elastic_ml.lineage import DataLineage


class EsqlThresholdSensor(LookSensor):
    """Wait until the one number that an ES|QL query gives is on the right side of a threshold.

    ::

        EsqlThresholdSensor(
            task_id="enough_predictions",
            query="FROM logs-ml.predictions-* | WHERE event_type == \\"predict\\" | STATS n = SUM(count)",
            comparison="at_least",
            threshold=500,
        )

    It looks once and goes on at once where the threshold is met already; otherwise it defers. No row, and null, count
    as not met.

    :param query: gives one row with one column (templated).
    :param comparison: ``at_least``, ``at_most``, ``above``, ``below`` or ``equal``.
    :param threshold: what the number is compared with (templated).
    :param parameters: values of the query's parameters (templated).
    :param filter: Query DSL that the source is filtered with (templated).
    :param deferrable: wait in the triggerer; False looks again in the worker.
    :param poll_interval: seconds between two looks.
    :param timeout: how long to wait before the task fails with the last number.
    :return: the number.
    :raises InvalidRequestError: the query is wrong, or gives more than one row or column, or no number.
    :raises WaitTimeoutError: the threshold was not met in time.
    """

    template_fields: Sequence[str] = sorted_fields("query", "parameters", "filter", "threshold")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "filter": "json", "query": "sql"}

    def __init__(
        self,
        *,
        query: str,
        threshold: float | str,
        comparison: Comparison = "at_least",
        parameters: Sequence[Any] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (the API's own word)
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if comparison not in COMPARISONS:
            raise ValueError(f"comparison is {comparison!r}: write one of {', '.join(COMPARISONS)}")
        self.query = query
        self.threshold = threshold
        self.comparison = comparison
        self.parameters = parameters
        self.filter = filter

    def lineage(self) -> "DataLineage":
        """Return what the query reads."""
        from elastic_ml.lineage import lineage_of_query

        return lineage_of_query(self.query)

    def look(self, context: Any, deadline: float) -> float:
        """Run the query until its number is on the right side."""
        from elastic_ml.triggers.esql import EsqlThresholdTrigger

        try:
            threshold = float(self.threshold)
        except (TypeError, ValueError):
            raise InvalidRequestError(
                f"The threshold of sensor {self.task_id} is {self.threshold!r}.", remedy="Write a number."
            ) from None
        while True:
            value = number_of(
                run_query(self.client, self.query, limit=2, parameters=self.parameters, filter=self.filter)
            )
            if met(value, self.comparison, threshold):
                assert value is not None
                return value
            self.log.info("The query gives %s, waiting for %s %g", value, self.comparison.replace("_", " "), threshold)
            if time.time() >= deadline:
                raise WaitTimeoutError(
                    f"The query of sensor {self.task_id} gave {value} to the end; "
                    f"{self.comparison.replace('_', ' ')} {threshold:g} was waited for.",
                    remedy="Run the query in Discover; clear this task once the data is there.",
                )
            self.wait(
                EsqlThresholdTrigger,
                deadline,
                query=self.query,
                parameters=None if self.parameters is None else list(self.parameters),
                filter=None if self.filter is None else dict(self.filter),
                comparison=self.comparison,
                threshold=threshold,
            )
