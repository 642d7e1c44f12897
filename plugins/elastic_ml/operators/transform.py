"""Bringing a sealed month into the user-hours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ConflictError
from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus


class BatchTransformOperator(RemoteJobOperator):
    """Write the user-hours of one month, by the pivot of the project's continuous transform.

    For a month that was sealed into its stream, or whose user-hours have to be made again: history was ingested before
    the continuous transform's last checkpoint and is never seen by it. Sends PUT and ``_start`` of a batch transform,
    waits without a worker slot, and deletes it. Documents have deterministic ids and are overwritten whole, so running
    it twice, or again after a crash, gives the same.

    :param project_folder: folder with ``project.yml`` (templated).
    :param month: month in UTC, ``yyyy.MM`` (templated).
    :return: ``{"transform", "month", "index", "user_hours"}``.
    :raises ProjectFileError: the project has no ``features:``, or its transform template is invalid.
    :raises JobFailedError: the transform failed, with the server's reason, or was deleted by somebody.
    """

    template_fields: Sequence[str] = sorted_fields("month", "project_folder")
    operator_extra_links = (IndexLink(),)
    kind = "transform"

    def __init__(self, *, project_folder: str, month: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.month = month

    def prepare(self, context: Any) -> RemoteJob:
        """Return the transform's id and body; nothing is sent."""
        from elastic_ml.project import load_project
        from elastic_ml.project.features import month_transform

        project = load_project(self.project_folder)
        body = project.stamp(month_transform(project, self.month))
        body["_meta"] |= self.labels(context)
        name = project.names.month_transform(self.month)
        return RemoteJob(kind=self.kind, id=name, spec={"body": body, "month": self.month})

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the transform; the one of an earlier try goes on, another run's is replaced: this one sees more."""
        from elastic_ml.clients.remote_jobs import job_status, stop
        from elastic_ml.project.features import replace_transform

        status = job_status(self.client, job.kind, job.id)
        if job.reattached and (status.active or status.done):
            return job
        if job.reattached and status.failed:
            stop(self.client, job.kind, job.id)
        elif not job.reattached or status.state == "missing":
            replace_transform(self.client, job.id, job.spec["body"])
        try:
            self.client.transform.start_transform(transform_id=job.id)
        except ConflictError as error:
            # The answer to our own start was lost and the request sent again.
            if "already started" not in error.message:
                raise
        return job

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Delete the transform; what it wrote stays."""
        from elastic_ml.project.features import delete_transform

        delete_transform(self.client, job.id)
        written = int((status.raw.get("stats") or {}).get("documents_indexed") or 0)
        index = job.spec["body"]["dest"]["index"]
        return {"transform": job.id, "month": job.spec["month"], "index": index, "user_hours": written}

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the index of the user-hours."""
        return {"IndexLink": job.spec["body"]["dest"]["index"]}
