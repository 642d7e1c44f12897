"""Going back to an earlier model of an anomaly job."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import NotFoundError, VersionError
from elastic_ml.links.kibana import AnomalyExplorerLink
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus


class RevertModelSnapshotOperator(RemoteJobOperator):
    """Take an anomaly job back to one of its model snapshots, for instance after it learnt an outage as normal.

    Stops the datafeed and closes the job first, since an open job refuses it, and leaves both so: the datafeed, started
    again, goes on where the snapshot was taken. Of a job that is run by partitions (``AnomalyPartitionOperator``), the
    partitions after the snapshot are marked, and the next run learns them again. A job that is at the snapshot already
    is left as it is.

    :param job_id: id of the job, with its `_v2` (templated).
    :param snapshot_id: id of the snapshot (templated); ``empty`` for a model that has seen nothing.
    :param delete_intervening_results: delete the results since, so that the same time can be learnt again; otherwise
        they stay, and the job takes no data of that time any more.
    :return: ``{"job_id", "snapshot_id", "reverted", "latest_record", "latest_result"}``, times in epoch milliseconds.
    :raises NotFoundError: there is no such job or snapshot.
    :raises VersionError: Serverless, where Elastic keeps the snapshot APIs to itself.
    """

    template_fields: Sequence[str] = sorted_fields("job_id", "snapshot_id")
    operator_extra_links = (AnomalyExplorerLink(),)
    kind = "request"

    def __init__(
        self, *, job_id: str, snapshot_id: str, delete_intervening_results: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.snapshot_id = snapshot_id
        self.delete_intervening_results = delete_intervening_results

    def prepare(self, context: Any) -> RemoteJob:
        """Return what to go back to; reads only."""
        from elastic_ml.clients.anomaly_jobs import snapshot_of
        from elastic_ml.project.anomaly_partitions import EMPTY

        refuse_empty(self.task_id, job_id=self.job_id, snapshot_id=self.snapshot_id)
        if self.hook.serverless:
            raise VersionError(
                f"Job {self.job_id} cannot go back to a snapshot: this is a Serverless project, where Elastic keeps "
                "the model snapshot APIs to itself.",
                remedy="Reset the job (POST _ml/anomaly_detectors/<job>/_reset) to let it learn anew.",
            )
        known: dict[str, Any] | None = (
            {} if self.snapshot_id == EMPTY else snapshot_of(self.client, self.job_id, self.snapshot_id)
        )
        if known is None:
            raise NotFoundError(
                f"Job {self.job_id} has no model snapshot {self.snapshot_id}.",
                remedy="GET _ml/anomaly_detectors/<job>/model_snapshots lists them; old ones go unless retained.",
                status=404,
            )
        spec = {
            "job_id": self.job_id,
            "snapshot_id": self.snapshot_id,
            "delete": self.delete_intervening_results,
            "latest_record": known.get("latest_record_time_stamp"),
            "latest_result": known.get("latest_result_time_stamp"),
            "reverted": False,
        }
        return RemoteJob(kind=self.kind, id=self.job_id, spec=spec)

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Revert, unless the job is there already."""
        from elastic_ml.clients.anomaly_jobs import close_job, existing_job, progress, write_settings
        from elastic_ml.project.anomaly_partitions import EMPTY, KEY, Learnt

        spec, job_id = job.spec, job.spec["job_id"]
        config, here = existing_job(self.client, job_id), progress(self.client, job_id)
        at = -1 if spec["latest_record"] is None else int(spec["latest_record"])
        same = str(config.get("model_snapshot_id") or EMPTY) == spec["snapshot_id"]
        if same and here.state == "closed" and (here.latest == at or not spec["delete"]):
            self.log.info("Job %s is at snapshot %s already.", job_id, spec["snapshot_id"])
            return job
        close_job(self.client, job_id)
        learnt = Learnt.of(config)
        if learnt.start is not None and spec["delete"]:
            write_settings(self.client, config, {KEY: learnt.since(spec["snapshot_id"], at).to_settings()})
        self.client.ml.revert_model_snapshot(
            job_id=job_id, snapshot_id=spec["snapshot_id"], delete_intervening_results=spec["delete"]
        )
        return job._replace(spec={**spec, "reverted": True})

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return where the job is now."""
        spec = job.spec
        return {name: spec[name] for name in ("job_id", "snapshot_id", "reverted", "latest_record", "latest_result")}

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the job."""
        return {"AnomalyExplorerLink": str(job.spec["job_id"])}
