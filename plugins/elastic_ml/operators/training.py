"""Materialising a training set, and training on it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import JobFailedError, NotFoundError, NotReadyError
from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.data_frame_analytics import DataFrameAnalyticsOperator
from elastic_ml.operators.reindex import reindex_job, submit_reindex
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.training.run import TrainingRun

ENRICH, COPY = "enrich", "copy"
RUN_TEMPLATE = {
    "day": "{{ params.day or dag_run.run_after.strftime('%Y-%m-%d') }}",
    "label_delay": "{{ params.get('label_delay') or '' }}",
    "train_window": "{{ params.get('train_window') or '' }}",
    "holdout_window": "{{ params.get('holdout_window') or '' }}",
    "requested_by": "{{ params.requested_by or '' }}",
    "triggered_by": "{{ dag_run.triggering_user_name or '' }}",
    "run_type": "{{ dag_run.run_type }}",
}
"""What the operators of a training DAG template to know their run. Partitioned and asset-triggered runs have no logical
date, so the day is a parameter, or the day the run was due."""

AFTER_TRAINING = {**RUN_TEMPLATE, "job_id": "{{ (ti.xcom_pull(task_ids='train') or {}).get('job_id', '') }}"}
"""The same for the tasks after `train`: they go on with the job that it started, whatever would be rendered now."""


class TrainingSetOperator(RemoteJobOperator):
    """Copy a window of events into the training set of a job: labelled, down-sampled, the model's features only.

    Sends, in this order: the enrich policy's execution (under the lock `enrich|<policy>`, skipped when no verdict
    changed since the last one), the index with its explicit mapping, the pipeline `<job>@training`, and a sliced
    `_reindex` task. The kept shares are decided once, from the class counts of the readiness report, and kept in the
    index's `_meta`, so that a second try samples as the first did. A job that has its trained model already is left
    as it is.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `RUN_TEMPLATE` (templated).
    :param readiness_task_id: the task whose report holds the class counts.
    :return: `{job_id, index, documents, kept, classes, reused}`; `documents` by `_count`, `kept` the share per class.
    :raises JobFailedError: documents failed on the way, or none arrived.
    """

    template_fields: Sequence[str] = sorted_fields("run")
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}
    operator_extra_links = (IndexLink(),)
    kind = "task"

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        run: Mapping[str, Any],
        readiness_task_id: str = "readiness",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.run = run
        self.readiness_task_id = readiness_task_id

    def execute(self, context: Any) -> Any:
        """Materialise the training set unless the job has learned from it already."""
        from elastic_ml.clients.remote_jobs import job_status, models_of
        from elastic_ml.training.training_set import recorded_sampling

        run = self._run()
        if run.model.supervised:
            learned = bool(models_of(self.client, run.job_id))
        else:
            learned = job_status(self.client, "data_frame_analytics", run.job_id).done
        if learned:
            known = recorded_sampling(self.client, run)
            if known is not None:
                self.log.info("Job %s has done its work already: its training set is left as it is.", run.job_id)
                return {"job_id": run.job_id, "index": run.train_index, **known, "reused": True}
        return super().execute(context)

    def prepare(self, context: Any) -> RemoteJob:
        """Decide what is kept of each class, once, and describe the copy; changes nothing."""
        from elastic_ml.evaluation.sampling import plan_sampling
        from elastic_ml.training.features import feature_types, joined_features
        from elastic_ml.training.training_set import policy_of, source_fields

        run = self._run()
        report = context["ti"].xcom_pull(task_ids=self.readiness_task_id) or {}
        classes = (report.get("train") or {}).get("classes") or {}
        label = run.model.label
        if run.model.kind == "classification" and not classes:
            raise NotReadyError(
                f"The class counts of {self.model} are unknown: task {self.readiness_task_id} left no report.",
                remedy=f"Clear {self.readiness_task_id} and this task.",
            )
        sampling = plan_sampling(classes, label.positive_class if label else None)
        types = feature_types(self.client, run.project, run.model)
        copy = reindex_job(
            source=run.model.source.index,
            dest=run.train_index,
            pipeline=run.project.names.training_pipeline(run.job_id),
            query=run.query(run.train_start, run.holdout_start),
            source_fields=source_fields(run),
        )
        return copy._replace(
            spec={
                **copy.spec,
                "step": ENRICH,
                "policy": policy_of(self.client, run),
                "owner": owner_of(context),
                "types": types,
                "joined": joined_features(types),
                "sampling": {"majority": sampling.majority, "steps": sampling.steps, "classes": dict(sampling.classes)},
            },
        )

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Refresh the verdicts' snapshot, then start the copy; a try that finds the copy at work keeps the snapshot."""
        from elastic_ml.training.training_set import refresh_verdicts

        if job.spec["step"] == ENRICH:
            refresh_verdicts(self.client, self._run(), job.spec["policy"], owner=job.spec["owner"])
            job = job._replace(spec={**job.spec, "step": COPY})
            self._store(context, job)
        return self._submit_copy(job)

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Count what arrived and record it beside the kept shares."""
        from elastic_ml.training.training_set import recorded_sampling

        run = self._run()
        self.client.indices.refresh(index=run.train_index)
        documents = int(self.client.count(index=run.train_index)["count"])
        if documents == 0:
            raise JobFailedError(
                f"The training set {run.train_index} stayed empty: every event of the window was dropped.",
                remedy=f"Look at the pipeline {run.label_pipeline}: it has to set the field `label`."
                if run.model.supervised
                else "Look at the window of the run and at the model's query.",
            )
        known = recorded_sampling(self.client, run) or {}
        self.log.info("Training set %s: %d documents, kept %s.", run.train_index, documents, known.get("kept"))
        return {"job_id": run.job_id, "index": run.train_index, **known, "documents": documents, "reused": False}

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the training set."""
        return {"IndexLink": str(job.spec["dest"]["index"])}

    def _run(self) -> "TrainingRun":
        from elastic_ml.training.run import TrainingRun

        return TrainingRun.of(self.project_folder, self.model, dict(self.run))

    def _submit_copy(self, job: RemoteJob) -> RemoteJob:
        from elastic_ml.clients.rendered_bodies import create_index, put_pipeline
        from elastic_ml.evaluation.sampling import Sampling
        from elastic_ml.project.clock import model_clock
        from elastic_ml.training.training_set import index_meta, source_fields

        run = self._run()
        templates, names = run.project.templates, run.project.names
        body = templates.render(
            "model/train_index.json.j2",
            fields=job.spec["types"],
            label_type=run.label_type if run.model.supervised else None,
            about={**run.about, "sampling": job.spec["sampling"]},
        )
        create_index(self.client, run.train_index, body)
        # What the index says counts: an earlier try, or an earlier run, may have decided on other class counts.
        meta = index_meta(self.client, run.train_index)
        sampling = Sampling(**(meta or {}).get("sampling", job.spec["sampling"]))
        label = run.model.label
        pipeline = templates.render(
            "model/training.json.j2",
            job=run.job_id,
            label_pipeline=run.label_pipeline if run.model.supervised else None,
            kept=run.model.features if run.model.supervised else source_fields(run),
            clock=model_clock(run.project, run.model),
            joined=job.spec["joined"],
            sampling=sampling,
            sample_field="user_hour" if label and label.verdicts == "by_user_hour" else "event.id",
        )
        put_pipeline(self.client, names.training_pipeline(run.job_id), run.project.stamp(pipeline))
        return submit_reindex(self.client, job, can_list_tasks=not self.hook.facts.serverless)


class TrainModelOperator(DataFrameAnalyticsOperator):
    """Train one model on its training set: `_explain` for the memory, PUT, `_start`, and wait without a worker slot.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `RUN_TEMPLATE` (templated).
    :param training_set_task_id: the task that makes the training set.
    :return: as `DataFrameAnalyticsOperator`: `{job_id, model_id, model_ids, documents, skipped_documents}`.
    """

    template_fields: Sequence[str] = sorted_fields("run")
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}

    def __init__(
        self,
        *,
        project_folder: str,
        model: str,
        run: Mapping[str, Any],
        training_set_task_id: str = "training_set",
        **kwargs: Any,
    ) -> None:
        super().__init__(job_id="", body={}, **kwargs)
        self.training_set_task_id = training_set_task_id
        self.project_folder = project_folder
        self.model = model
        self.run = run

    def prepare(self, context: Any) -> RemoteJob:
        """Return the job's id and body, which follow from the run; nothing is sent."""
        run = self._run()
        # No package version here: the job's hash is over this body, and an upgrade must find the job that is there.
        about = {key: value for key, value in run.about.items() if key != "version"}
        body = run.analytics_body(train_index=run.train_index, results_index=run.results_index, about=about)
        return RemoteJob(kind=self.kind, id=run.job_id, spec={"body": body, "if_exists": self.if_exists})

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the training or attach to it.

        :raises NotFoundError: the training set is gone, as after a cluster lost its indices.
        """
        from elastic_ml.training.training_set import index_meta

        try:
            return super().submit(context, job)
        except NotFoundError as error:
            index = self._run().train_index
            if index_meta(self.client, index) is not None:
                raise
            raise NotFoundError(
                f"Job {job.id} cannot learn: its training set {index} is gone. {error.message}",
                status=error.status,
                remedy=f"Clear the task {self.training_set_task_id} and those after it: it makes the training set "
                "again.",
                error_type=error.error_type,
            ) from error

    def _run(self) -> "TrainingRun":
        from elastic_ml.training.run import TrainingRun

        return TrainingRun.of(self.project_folder, self.model, dict(self.run))


def owner_of(context: Any) -> str:
    """Return who holds a lock: the task of this run, whichever try."""
    ti = context["ti"]
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}"
