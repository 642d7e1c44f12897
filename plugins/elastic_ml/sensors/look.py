"""The frame of the sensors that ask a question of their own until the answer is yes, without a worker slot."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ElasticMLError
from elastic_ml.operators.base import ElasticBaseOperator, check_times, sorted_fields

if TYPE_CHECKING:
    from elastic_ml.triggers.look import LookTrigger

DEFAULT_TIMEOUT = timedelta(hours=12)


class LookSensor(ElasticBaseOperator):
    """Base of these sensors: looks once and goes on at once where the answer is yes, otherwise defers.

    :param deferrable: wait in the triggerer; False looks again in the worker.
    :param poll_interval: seconds between two looks.
    :param timeout: how long to wait before the task fails, saying what is missing.
    :raises WaitTimeoutError: the answer stayed no.
    """

    template_fields: Sequence[str] = sorted_fields()

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float = 60.0,
        timeout: timedelta = DEFAULT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_times(poll_interval=poll_interval, timeout=timeout, look_once=True)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.timeout = timeout

    def look(self, context: Any, deadline: float) -> Any:
        """Look, and :meth:`wait` between two looks; return what the task returns.

        :param deadline: seconds since the epoch; a look after it is the last one.
        """
        raise NotImplementedError

    def execute(self, context: Any) -> Any:
        """Look once; go on at once when the answer is yes, else wait."""
        return self.look(context, time.time() + self.timeout.total_seconds())

    def resume(self, context: Any, event: Any = None) -> Any:
        """Look again: an event is a hint, the cluster is the truth."""
        from elastic_ml.triggers.look import EVENT_STATUSES

        if not isinstance(event, dict) or event.get("status") not in EVENT_STATUSES:
            raise ElasticMLError(
                f"Task {self.task_id} was resumed with an event that this package does not know: {event!r}.",
                remedy="Are worker and triggerer on the same version of airflow-provider-elastic-ml?",
            )
        return self.look(context, float(event["deadline"]))

    def wait(self, trigger: type["LookTrigger"], deadline: float, **arguments: Any) -> None:
        """Defer until it is worth another look, or sleep in the worker and return.

        :param trigger: the trigger that asks the same question.
        :param arguments: its own arguments.
        """
        if self._may_defer():
            arguments |= {"elastic_conn_id": self.elastic_conn_id, "poll_interval": self.poll_interval}
            self.defer(trigger=trigger(deadline=deadline, **arguments), method_name="resume")
        time.sleep(min(self.poll_interval, max(0.0, deadline - time.time())))
