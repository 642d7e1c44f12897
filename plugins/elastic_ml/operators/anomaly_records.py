"""What an anomaly job found, as documents that people and rules read: the alerts stream."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import InvalidRequestError
from elastic_ml.links.kibana import AnomalyExplorerLink, DiscoverLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.kibana_pages import names_of, newest

if TYPE_CHECKING:
    from datetime import datetime

    from elastic_ml.lineage import DataLineage


class AnomalyAlertsOperator(ElasticBaseOperator):
    """Write the records of an anomaly job at or above its ``alert_score`` as documents of the alerts stream.

    Reads the final records whose bucket begins in [start, end), and appends one document each to
    ``logs-<prefix>.alerts-<namespace>``, with what it is about (``field=value``), typical and actual value, severity.
    The id follows from the job file's name, the bucket, the detector and what the record is about, so

    - a second run writes nothing;
    - a bucket that is analysed again, also by another version of the job, gives the same alert, updated in place where
      its score or values changed;
    - an alert of the window that no longer holds (its bucket was replayed, or Elasticsearch has since lowered the
      score, or the file's ``alert_score`` was raised) stays, since somebody may have acted on it, but its ``state``
      becomes ``withdrawn`` and ``reason`` says why. It becomes ``open`` again when the record is found again.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file (templated).
    :param start: begin of the window: ISO date or time, or epoch milliseconds (templated).
    :param end: its end, exclusive (templated).
    :param job_id: id of the job; by default the first version's (templated).
    :return: ``{"job_id", "start", "end", "alerts", "new", "changed", "withdrawn", "highest"}``.
    :raises NotFoundError: there is no such job.
    :raises NotReadyError: the alerts stream does not exist.
    :raises IngestError: the failure store took an alert.
    """

    template_fields: Sequence[str] = sorted_fields("end", "job", "job_id", "project_folder", "start")
    operator_extra_links = (AnomalyExplorerLink(), DiscoverLink())

    def __init__(
        self, *, project_folder: str, job: str, start: str, end: str, job_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.job = job
        self.start = start
        self.end = end
        self.job_id = job_id

    def pages(self, context: Any) -> Mapping[str, str]:
        """What the job found in the window, and the alerts."""
        names = names_of(self.project_folder)
        job_id = self.job_id or names.anomaly_job(self.job)
        start, end = (at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in _window(self.start, self.end))
        return {
            "AnomalyExplorerLink": f"{job_id}/{start}/{end}",
            "DiscoverLink": newest(names.alerts, {"name": self.job}),
        }

    def lineage(self) -> "DataLineage":
        """Return the alias of the job's results, and the stream of alerts."""
        from elastic_ml.lineage import DataLineage

        names = names_of(self.project_folder)
        return DataLineage((f".ml-anomalies-{self.job_id or names.anomaly_job(self.job)}",), (names.alerts,))

    def execute(self, context: Any) -> dict[str, Any]:
        """Read the records, write what is new or changed, withdraw what no longer holds."""
        from elastic_ml.clients.anomaly_records import read_records
        from elastic_ml.monitoring.alerts import Alerts
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        job = project.anomaly_job(self.job)
        job_id = self.job_id or project.names.anomaly_job(job.name)
        start, end = _window(self.start, self.end)
        records = read_records(
            self.client, job_id, start=start, end=end, min_score=job.alert_score, serverless=self.hook.serverless
        )
        written = Alerts(self.client, project, job)
        for record in written.publish(records):
            self.log.info("%s", record)
        written.withdraw(start, end)
        return {
            "job_id": job_id,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "alerts": len(written.ids),
            "new": written.new,
            "changed": written.changed,
            "withdrawn": written.withdrawn,
            "highest": written.highest,
        }


def _window(start: str, end: str) -> "tuple[datetime, datetime]":
    from elastic_ml.clients.anomaly_records import moment

    try:
        window = moment(start), moment(end)
    except ValueError as error:
        raise InvalidRequestError(
            f"The window {start!r} to {end!r} cannot be read: {error}.",
            remedy="Write ISO dates or times, or epoch milliseconds.",
        ) from error
    if window[0] > window[1]:
        raise InvalidRequestError(f"The window ends ({end}) before it begins ({start}).", remedy="Swap the two.")
    return window
