"""Waiting until an anomaly job finds something, without a worker slot."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from elastic_ml.exceptions import InvalidRequestError, WaitTimeoutError
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.sensors.look import LookSensor

if TYPE_CHECKING:
    from elastic_ml.clients.anomaly_records import Record
    from elastic_ml.lineage import DataLineage

STATE_KEY = "since"


class AnomalyRecordsSensor(LookSensor):
    """Wait until an anomaly job has a final record at or above a score, whose bucket begins in a window.

    ::

        AnomalyRecordsSensor(task_id="intruder", job_id="failed_authentications", min_score=90, start="2026-11-01")

    It looks once and goes on at once where there is such a record; otherwise it defers.

    :param job_id: id of the anomaly job (templated).
    :param min_score: lowest score that counts, 0 to 100 (templated).
    :param start: begin of the window, ISO or epoch milliseconds (templated); by default when the task first ran.
    :param end: its end, exclusive (templated); by default there is none.
    :param deferrable: wait in the triggerer; False looks again in the worker.
    :param poll_interval: seconds between two looks.
    :param timeout: how long to wait.
    :param soft_fail: skip the task instead of failing it when nothing was found in time.
    :return: the record with the highest score: ``{"job_id", "bucket", "score", "function", "field", "split", ...}``.
    :raises NotFoundError: there is no such job.
    :raises WaitTimeoutError: nothing was found in time.
    """

    template_fields: Sequence[str] = sorted_fields("end", "job_id", "min_score", "start")

    def __init__(
        self,
        *,
        job_id: str,
        min_score: float | str = 75,
        start: str | None = None,
        end: str | None = None,
        soft_fail: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.min_score = min_score
        self.start = start
        self.end = end
        self.soft_fail = soft_fail

    def lineage(self) -> "DataLineage":
        """Return the alias of the job's results."""
        from elastic_ml.lineage import DataLineage

        return DataLineage((f".ml-anomalies-{self.job_id}",))

    def look(self, context: Any, deadline: float) -> dict[str, Any]:
        """Look for the highest record until there is one."""
        from elastic_ml.triggers.anomaly_records import AnomalyRecordsTrigger

        start, end, score = self._wanted(context)
        while True:
            found = self._highest(start, end, score)
            if found is not None:
                self.log.info("Found: %s", found)
                record = asdict(found)
                return {**record, "bucket": found.bucket.isoformat(), "split": [list(one) for one in found.split]}
            said = f"job {self.job_id} has no record with a score of {score:g} or more from {start.isoformat()}"
            said += f" to {end.isoformat()}" if end else ""
            if time.time() >= deadline:
                if self.soft_fail:
                    raise AirflowSkipException(f"Nothing found in time: {said}.")
                raise WaitTimeoutError(
                    f"Sensor {self.task_id} waited to the end: {said}.",
                    remedy="See the Anomaly Explorer in Kibana; set soft_fail=True where a quiet time is no failure.",
                )
            self.log.info("Waiting: %s", said)
            self.wait(
                AnomalyRecordsTrigger,
                deadline,
                job_id=self.job_id,
                start=round(start.timestamp() * 1000),
                end=round(end.timestamp() * 1000) if end else None,
                min_score=score,
            )

    def _wanted(self, context: Any) -> tuple[datetime, datetime | None, float]:
        from elastic_ml.clients.anomaly_records import moment

        refuse_empty(self.task_id, job_id=self.job_id)
        start = self.start
        if not start:
            # Kept, so that a retry and a resumed task wait for the same window.
            store = context["task_state_store"]
            start = store.get(STATE_KEY)
            if start is None:
                start = datetime.now(UTC).isoformat()
                store.set(STATE_KEY, start)
        try:
            begin, end, score = moment(start), moment(self.end) if self.end else None, float(self.min_score)
            if not 0 <= score <= 100:
                raise ValueError(f"a score of {score:g} is never reached")
            if end is not None and end <= begin:
                raise ValueError(f"the window ends at {end.isoformat()}, before it begins at {begin.isoformat()}")
            return begin, end, score
        except (TypeError, ValueError) as error:
            raise InvalidRequestError(
                f"Sensor {self.task_id} cannot read its window or score: {error}.",
                remedy="Write ISO dates or times, or epoch milliseconds, and a score from 0 to 100.",
            ) from error

    def _highest(self, start: datetime, end: datetime | None, score: float) -> "Record | None":
        from elastic_ml.clients.anomaly_records import highest_record

        return highest_record(
            self.client, self.job_id, start=start, end=end, min_score=score, serverless=self.hook.serverless
        )
