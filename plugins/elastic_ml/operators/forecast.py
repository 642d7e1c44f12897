"""What an anomaly job expects next."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, UnavailableError
from elastic_ml.links.kibana import SingleMetricViewerLink
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.lineage import DataLineage

FORECAST = "forecast"
ANOMALY_JOB = "anomaly_job"


class AnomalyForecastOperator(RemoteJobOperator):
    """Forecast an anomaly job from the end of its data, and wait for it without a worker slot.

    A closed job is opened for it and closed again. A forecast of the same length that was made since the job last got
    data is taken as it is, so a second run, and a retry after a lost answer, make none. No API stops a forecast:
    killing the task closes a job that is open for it alone.

    :param job_id: id of the anomaly job (templated).
    :param duration: how far to look ahead, from one bucket span to 3650d (templated).
    :param expires_in: how long Elasticsearch keeps the forecast (templated).
    :return: ``{"job_id", "forecast_id", "start", "end", "records", "expires"}``, times in epoch milliseconds.
    :raises NotFoundError: there is no such job.
    :raises InvalidRequestError: a population job (no forecast exists of these), a job without data, a bad duration.
    :raises JobFailedError: the forecast failed, with the server's messages.
    """

    template_fields: Sequence[str] = sorted_fields("duration", "expires_in", "job_id")
    operator_extra_links = (SingleMetricViewerLink(),)
    kind = FORECAST

    def __init__(self, *, job_id: str, duration: str = "1d", expires_in: str = "14d", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.duration = duration
        self.expires_in = expires_in

    def prepare(self, context: Any) -> RemoteJob:
        """Refuse what can have no forecast, and look whether the job has to be opened."""
        refuse_empty(self.task_id, job_id=self.job_id)
        try:
            from elastic_ml.project.durations import parse_duration

            seconds = parse_duration(self.duration).total_seconds()
        except ValueError as error:
            raise InvalidRequestError(f"The duration of the forecast is wrong: {error}.") from error
        job = self.client.ml.get_jobs(job_id=self.job_id)["jobs"][0]
        if any(detector.get("over_field_name") for detector in job["analysis_config"]["detectors"]):
            raise InvalidRequestError(
                f"Anomaly job {self.job_id} compares with a population (over_field_name), and Elasticsearch makes no "
                "forecast of such jobs.",
                remedy="Remove the forecast of this job; a job with `by` or `partition` fields can have one.",
            )
        stats = self.client.ml.get_job_stats(job_id=self.job_id)["jobs"][0]
        since = stats["data_counts"].get("last_data_time")
        if since is None:
            raise InvalidRequestError(
                f"Anomaly job {self.job_id} has seen no data, so there is nothing to forecast from.",
                remedy="Run its datafeed first. A job of a project folder is fed by the DAG anomalies_<file>, whatever "
                "version (_v2, ...) its id ends in.",
            )
        spec = {
            "job_id": self.job_id,
            "duration": self.duration,
            "milliseconds": round(1000 * seconds),
            "expires_in": self.expires_in,
            "since": int(since),
            "opened": stats["state"] not in {"opened", "opening"},
        }
        return RemoteJob(kind=FORECAST, id=f"{self.job_id}/", spec=spec)

    def lineage(self) -> "DataLineage":
        """Return the alias of the job's results, where forecasts are kept too."""
        from elastic_ml.lineage import DataLineage

        results = (f".ml-anomalies-{self.job_id}",)
        return DataLineage(results, results)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Ask for the forecast unless it was made already; open a closed job before, which may take a while."""
        from elastic_ml.clients.remote_jobs import job_status

        name = str(job.spec["job_id"])
        if job.kind == FORECAST:
            if not job.id.endswith("/"):
                status = job_status(self.client, job.kind, job.id)
                if status.active or status.done:
                    return job
            if found := self._made(job.spec):
                return job._replace(id=found, reattached=True)
        state = self.client.ml.get_job_stats(job_id=name)["jobs"][0]["state"]
        if job.spec["opened"] and state == "closed":
            self.client.ml.open_job(job_id=name)
        if job.kind == ANOMALY_JOB or (job.spec["opened"] and state != "opened"):
            return job._replace(kind=ANOMALY_JOB, id=name)
        try:
            return job._replace(id=self._ask(job.spec))
        except ElasticMLError:
            self._leave_as_found(job)
            raise

    def _ask(self, spec: Mapping[str, Any]) -> str:
        name = str(spec["job_id"])
        try:
            # Sent once: a second copy after a lost answer would be a second forecast.
            answer = self.client.options(max_retries=0).ml.forecast(
                job_id=name, duration=spec["duration"], expires_in=spec["expires_in"]
            )
        except UnavailableError:
            found = self._made(spec)
            if found is None:
                raise
            return found
        return f"{name}/{answer['forecast_id']}"

    def _leave_as_found(self, job: RemoteJob) -> None:
        """Close the job if it was closed before."""
        from elastic_ml.clients.remote_jobs import stop

        if not job.spec["opened"]:
            return
        try:
            stop(self.client, FORECAST, f"{job.spec['job_id']}/")
        except ElasticMLError:
            # What went wrong before is the news; the next try, or housekeeping, closes the job.
            self.log.exception("Anomaly job %s could not be closed.", job.spec["job_id"])

    def following(self, context: Any, job: RemoteJob, status: "JobStatus") -> RemoteJob | None:
        """After the job was opened comes the forecast."""
        return job._replace(kind=FORECAST, id=f"{job.id}/") if job.kind == ANOMALY_JOB else None

    def recover(self, context: Any, job: RemoteJob, status: "JobStatus") -> str | None:
        """Make another forecast where an earlier try's failed: its job was closed under it."""
        if job.kind == FORECAST and job.reattached and "restart" not in job.recoveries:
            return "restart"
        self._leave_as_found(job)
        return None

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Close the job if it was closed before, and return what was made."""
        self._leave_as_found(job)
        made = status.raw
        return {
            "job_id": made["job_id"],
            "forecast_id": made["forecast_id"],
            "start": made["forecast_start_timestamp"],
            "end": made["forecast_end_timestamp"],
            "records": made["processed_record_count"],
            "expires": made["forecast_expiry_timestamp"],
        }

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the job, whose forecasts the viewer draws."""
        return {"SingleMetricViewerLink": f"{job.spec['job_id']}//"}

    def _made(self, spec: Mapping[str, Any]) -> str | None:
        """Id of a forecast as it is wanted, made since the job last got data; None when there is none."""
        from elastic_ml.clients.job_status import ANOMALY_RESULTS, forecasts_query

        answer = self.client.search(
            index=ANOMALY_RESULTS,
            query=forecasts_query([spec["job_id"]]),
            sort=[{"forecast_create_timestamp": "desc"}],
            size=100,
        )
        for hit in answer["hits"]["hits"]:
            made = hit["_source"]
            long = int(made["forecast_end_timestamp"]) - int(made["forecast_start_timestamp"])
            if (
                int(made["forecast_create_timestamp"]) >= spec["since"]
                and long == spec["milliseconds"]
                and made["forecast_status"] not in {"failed", "stopped"}
            ):
                return f"{made['job_id']}/{made['forecast_id']}"
        return None
