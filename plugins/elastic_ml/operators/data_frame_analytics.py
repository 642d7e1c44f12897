"""Training by data frame analytics: classification, regression, outlier detection."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elastic_ml.exceptions import InvalidRequestError, JobFailedError
from elastic_ml.links.kibana import DataFrameAnalyticsLink, IndexLink
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus


class DataFrameAnalyticsOperator(RemoteJobOperator):
    """Run one data frame analytics job to its end and return what it made.

    Sends: GET of the job, and if it is not there ``_explain`` (memory; not on Serverless) and PUT; then ``_start``,
    then waits. A job of that id with the same body is reused: one that is done is only read, one that runs is waited
    for, one that failed or was stopped is started again. A job that ran out of memory gets the limit that
    Elasticsearch re-estimated and is started again, once.

    :param job_id: id of the job (templated); deterministic, so that a retry finds its own.
    :param body: source, dest, analysis, analyzed_fields, model_memory_limit... as the API takes them (templated), or a
        function ``(context, jinja_env)`` that returns them: Airflow calls it where it would render a template.
    :param if_exists: ``reuse`` a job with the same body and refuse another one under its id; ``fail`` when this task
        did not make it; ``replace`` a job with another body.
    :return: ``{"job_id", "model_id", "model_ids", "documents", "skipped_documents"}``; ``model_id`` is the newest
        trained model that carries the job's id as a tag, None for outlier detection.
    :raises AlreadyExistsError: the id is taken by another body.
    :raises JobFailedError: the job failed, was stopped by somebody, or ended without a model.
    """

    template_fields: Sequence[str] = sorted_fields("body", "job_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "json"}
    operator_extra_links = (DataFrameAnalyticsLink(), IndexLink())
    kind = "data_frame_analytics"

    def __init__(
        self,
        *,
        job_id: str,
        body: Mapping[str, Any] | Callable[..., Mapping[str, Any]],
        if_exists: Literal["reuse", "fail", "replace"] = "reuse",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.body = body
        self.if_exists = if_exists

    def prepare(self, context: Any) -> RemoteJob:
        """Return the job and its body; nothing is sent."""
        if self.if_exists not in {"reuse", "fail", "replace"}:
            raise InvalidRequestError(f"if_exists is reuse, fail or replace, not {self.if_exists!r}.")
        refuse_empty(self.task_id, job_id=self.job_id)
        body = self.body
        if not isinstance(body, Mapping):
            raise InvalidRequestError(
                f"The body of task {self.task_id} is a {type(body).__name__}, not an object.",
                remedy="One template for all of it needs render_template_as_native_obj=True of the DAG.",
            )
        return RemoteJob(kind=self.kind, id=self.job_id, spec={"body": dict(body), "if_exists": self.if_exists})

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Create the job if needed, and start it if it neither runs nor is done."""
        from elastic_ml.clients.remote_jobs import put_analytics, start_analytics

        if_exists = job.spec["if_exists"]
        if if_exists == "fail" and job.reattached:
            # The job that is there is this task's own, made by an earlier try.
            if_exists = "reuse"
        made = put_analytics(
            self.client,
            job.id,
            job.spec["body"],
            if_exists=if_exists,
            labels=self.labels(context),
            adjust=self._fitted,
        )
        began = start_analytics(self.client, job.id)
        self.log.info("Analytics job %s: %s, %s.", job.id, made, began)
        return job._replace(reattached=job.reattached or (made == "reused" and began == "running"))

    def recover(self, context: Any, job: RemoteJob, status: "JobStatus") -> str | None:
        """Raise the memory limit to what Elasticsearch re-estimated, when the job hit it.

        :raises JobFailedError: the cluster allows no job that much.
        """
        from elastic_ml.clients.remote_jobs import enough_memory, get_analytics, memory_bytes, stop

        usage = status.raw.get("memory_usage") or {}
        needed = int(usage.get("memory_reestimate_bytes") or 0)
        if usage.get("status") != "hard_limit" or not needed or "memory" in job.recoveries:
            return None
        config = get_analytics(self.client, job.id) or {}
        limit = enough_memory(config.get("model_memory_limit"), needed)
        if limit is None:
            return None
        if not self.hook.serverless and memory_bytes(most := self._allowed(limit)) < needed:
            raise JobFailedError(
                f"Analytics job {job.id} needs {limit} of memory, and this cluster allows {most} "
                "(xpack.ml.max_model_memory_limit).",
                remedy="Raise that setting, or give the job fewer features, rows or max_trees.",
            )
        if status.failed:
            stop(self.client, job.kind, job.id)
        self.client.ml.update_data_frame_analytics(id=job.id, model_memory_limit=limit)
        self.log.warning("Analytics job %s hit its memory limit; it is raised to %s.", job.id, limit)
        return "memory"

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return the job's trained models and how many rows it saw."""
        from elastic_ml.clients.remote_jobs import models_of

        analysis = next(iter(job.spec["body"]["analysis"]))
        models = models_of(self.client, job.id) if analysis != "outlier_detection" else []
        if not models and analysis != "outlier_detection":
            raise JobFailedError(
                f"Analytics job {job.id} ended, but no trained model carries its id as a tag.",
                remedy="Somebody deleted the model, or the key may not read it. Delete the job and clear the task to "
                "train again.",
            )
        counts = status.raw.get("data_counts") or {}
        return {
            "job_id": job.id,
            "model_id": models[0] if models else None,
            "model_ids": models,
            "documents": int(counts.get("training_docs_count") or 0) + int(counts.get("test_docs_count") or 0),
            "skipped_documents": int(counts.get("skipped_docs_count") or 0),
        }

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the job and its destination index."""
        dest = job.spec["body"].get("dest", {}).get("index", "")
        return {"DataFrameAnalyticsLink": job.id, "IndexLink": dest}

    def _fitted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the body with a memory limit that Elasticsearch's estimate fits, and lazy start unless it says no.

        Cloud autoscaling begins with no ML node: a job that may not start lazily would be refused there.
        """
        from elastic_ml.clients.remote_jobs import enough_memory, estimate_memory, memory_bytes

        fitted = {"allow_lazy_start": True, **body}
        if self.hook.serverless:
            return fitted
        estimate = estimate_memory(self.client, fitted)
        limit = enough_memory(fitted.get("model_memory_limit"), memory_bytes(estimate)) if estimate else None
        if limit:
            # A limit above the largest is refused, while the estimate is careful: the job may well do with less.
            fitted["model_memory_limit"] = limit = self._allowed(limit)
            self.log.info("The job is expected to need %s: its memory limit becomes %s.", estimate, limit)
        return fitted

    def _allowed(self, limit: str) -> str:
        """Return the limit, or the largest that the cluster takes where that is less."""
        from elastic_ml.clients.remote_jobs import memory_bytes

        most = self.client.ml.info()["limits"].get("max_model_memory_limit")
        return str(most) if most and memory_bytes(most) < memory_bytes(limit) else limit
