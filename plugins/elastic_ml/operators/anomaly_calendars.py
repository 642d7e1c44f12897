"""Calendars and filters of an anomaly job as one task."""

from collections.abc import Sequence
from typing import Any

from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields


class AnomalyCalendarsOperator(ElasticBaseOperator):
    """Bring the calendars and filters of an anomaly job file to what the file says.

    Creates, adds and removes only what differs, so a second run writes nothing. Logs a table and returns it:
    ``{"job_id", "rows": [{"kind", "name", "state", "detail"}]}``.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file (templated).
    :param job_id: id of the job that the calendars are for, which need not exist yet; by default the first version's
        (templated).
    :raises ProjectFileError: the job file is invalid; nothing was sent.
    :raises AlreadyExistsError: a calendar or filter of that id is somebody else's.
    """

    template_fields: Sequence[str] = sorted_fields("job", "job_id", "project_folder")

    def __init__(self, *, project_folder: str, job: str, job_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.job = job
        self.job_id = job_id

    def execute(self, context: Any) -> dict[str, Any]:
        """Apply filters, then calendars."""
        from elastic_ml.project import load_project
        from elastic_ml.project.anomaly_calendars import apply_calendars, apply_filters
        from elastic_ml.project.reconcile import table

        project = load_project(self.project_folder)
        job = project.anomaly_job(self.job)
        job_id = self.job_id or project.names.anomaly_job(job.name)
        rows = [
            *apply_filters(self.client, project, job),
            *apply_calendars(self.client, project, job, job_id),
        ]
        if rows:
            self.log.info("Calendars and filters of %s:\n%s", job_id, table(rows))
        return {"job_id": job_id, "rows": [row.as_dict() for row in rows]}
