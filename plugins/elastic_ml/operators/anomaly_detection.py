"""Running the anomaly job of a file of the project: its filters, the job with its datafeed, its calendars."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from elastic_ml.operators.anomaly_job import AnomalyJobOperator
from elastic_ml.operators.anomaly_partition import AnomalyPartitionOperator
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.forecast import AnomalyForecastOperator
from elastic_ml.operators.remote_job import RemoteJob

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob
    from elastic_ml.project.anomaly_server import Wanted


class _FromFile(AnomalyJobOperator):
    """An anomaly job as `anomaly_jobs/<job>.yml` has it.

    :param project_folder: folder with `project.yml` (templated).
    :param job: name of the job file.
    """

    def __init__(self, *, project_folder: str, job: str, **kwargs: Any) -> None:
        super().__init__(job_id=job, **kwargs)
        self.project_folder = project_folder
        self.job = job

    def wanted(self, context: Any) -> "Wanted":
        """Return the bodies, rendered from the file."""
        from elastic_ml.project.anomaly_bodies import datafeed_body, job_body

        project, file = self._file()
        self.job_id = project.names.anomaly_job(file.name)
        # Removal deletes what names its project.
        self.body = job_body(project, file, {"project": project.name})
        feed = datafeed_body(project, file, project.names.anomaly_job(file.name))
        self.datafeed = {key: value for key, value in feed.items() if key != "job_id"}
        return super().wanted(context)

    def before_keeping(self, context: Any) -> None:
        """Apply the file's filters, which the job's rules name."""
        from elastic_ml.project.anomaly_calendars import apply_filters

        self._say(apply_filters(self.client, *self._file()))

    def after_keeping(self, context: Any, job_id: str) -> None:
        """Apply the file's calendars to the job."""
        from elastic_ml.project.anomaly_calendars import apply_calendars

        self._say(apply_calendars(self.client, *self._file(), job_id))

    def _file(self) -> "tuple[Project, AnomalyJob]":
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        return project, project.anomaly_job(self.job)

    def _say(self, rows: Any) -> None:
        from elastic_ml.project.reconcile import table

        if rows:
            self.log.info("\n%s", table(rows))


class DetectPartitionOperator(_FromFile, AnomalyPartitionOperator):
    """Let the anomaly job of a file learn one partition; see :class:`AnomalyPartitionOperator`.

    The file's filters are applied before the job, its calendars after it. How far back partitions can be run again is
    the file's ``replay_days``.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file.
    :param partition: UTC day ``2026-11-10`` or hour ``2026-11-10T13`` (templated).
    :param replay: ``changed`` or ``always`` (templated).
    :raises ProjectFileError: the job file is invalid; nothing was sent.
    """

    template_fields: Sequence[str] = sorted_fields(*AnomalyPartitionOperator.template_fields, "job", "project_folder")

    def prepare(self, context: Any) -> RemoteJob:
        """Return the version of the job and the plan for the partition."""
        self.replay_days = self._file()[1].replay_days
        return super().prepare(context)


class DetectRealtimeOperator(_FromFile):
    """Keep the anomaly job of a file at work in real time: as the file says, open, its datafeed started.

    A run over a job that is at work as the file says sends nothing but GETs. The file's filters are applied before the
    job, its calendars after it. A killed task stops what it waits for to start, never a datafeed that runs.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file.
    :raises ProjectFileError: the job file is invalid; nothing was sent.
    """

    template_fields: Sequence[str] = sorted_fields(*AnomalyJobOperator.template_fields, "job", "project_folder")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(run="realtime", **kwargs)


class ForecastOnDemandOperator(AnomalyForecastOperator):
    """Forecast an anomaly job where the run asks for it, else skip; see :class:`AnomalyForecastOperator`.

    :param duration: how far to look ahead, such as ``7d``; empty skips the task (templated).
    """

    def execute(self, context: Any) -> Any:
        """Skip without a duration."""
        if not self.duration:
            raise AirflowSkipException("This run asks for no forecast: set the param `forecast`, such as 7d.")
        return super().execute(context)
