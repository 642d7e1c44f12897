"""Running an anomaly job partition by partition, so that a partition can be run again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elastic_ml.exceptions import InvalidRequestError, JobFailedError, NotFoundError, NotReadyError, VersionError
from elastic_ml.operators.anomaly_job import DATAFEED, DONE, FEED, KEEP, REQUEST, SETTLE, AnomalyJobOperator
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import RemoteJob

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.project.anomaly_partitions import Plan
    from elastic_ml.project.anomaly_server import Version, Wanted

NOTHING = "nothing"


class AnomalyPartitionOperator(AnomalyJobOperator):
    """Let an anomaly job learn one partition, a UTC day or hour, and keep the model as it was at its end.

    Keeps job and datafeed as :class:`AnomalyJobOperator` does. Then the datafeed runs from where the job is to the end
    of the partition, the last bucket is finished, the job closed, and its closing model snapshot marked
    ``retain: true``; its id is recorded in the job's ``custom_settings``. A partition that no run took is learnt with
    the next one.

    A partition that was learnt already is learnt again when its documents are others in number by now, or
    ``replay="always"``: the job goes back to the snapshot before it, results since are deleted, and the datafeed runs
    forward to the newest partition, each of which gets its snapshot anew. With the same documents nothing is done. A
    replay that died is taken up by the next run, whatever partition that is for.

    What no update can change gives ``<job_id>_v2``, which first learns what the job before it learnt.

    Runs have to come one after the other (``max_active_runs=1``). Not for Serverless, where Elastic keeps the snapshot
    APIs to itself: run jobs in real time there.

    :param partition: UTC day ``2026-11-10`` or hour ``2026-11-10T13`` (templated).
    :param replay_days: how far back from the newest partition one can be run again; older snapshots are released.
    :param replay: ``changed`` or ``always``, see above (templated).
    :param if_exists: ``reuse`` or ``fail``.
    :return: as :class:`AnomalyJobOperator`, and ``partitions`` (learnt by this run), ``reverted_to``, ``snapshot_id``,
        ``documents``; ``start`` and ``end`` are the time that was learnt, for which results are new.
    :raises NotReadyError: the partition is not over.
    :raises VersionError: Serverless.
    :raises InvalidRequestError: the partition is too old to be run again.
    """

    template_fields: Sequence[str] = sorted_fields("body", "datafeed", "job_id", "partition", "replay")
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "json", "datafeed": "json"}

    def __init__(
        self,
        *,
        partition: str,
        replay_days: int = 30,
        replay: Literal["changed", "always"] | str = "changed",
        **kwargs: Any,
    ) -> None:
        super().__init__(run="lookback", **kwargs)
        self.partition = partition
        self.replay_days = replay_days
        self.replay = replay

    # Planning ---------------------------------------------------------------------------------------------------------

    def prepare(self, context: Any) -> RemoteJob:
        """Return which version of the job this is about, and the plan for the partition; reads only."""
        from elastic_ml.project.anomaly_partitions import Plan, iso

        self._check()
        wanted = self.wanted(context)
        self._must_be_possible(wanted)
        begin, end = self._partition()
        target, current = self.target(wanted)
        planned = Plan(begin, end) if current is None else self._planned(current, target, wanted, begin, end)
        spec = {
            **self._spec(wanted, target, current),
            "run": "lookback",
            "partition": [iso(begin), iso(end)],
            "partitions": 0,
            "learnt_documents": 0,
            "snapshot_id": None,
            "reverted_to": planned.revert_to if planned else None,
            "start": iso(planned.start if planned else begin),
            "end": iso(planned.until if planned else end),
            "plan": "learn" if planned else NOTHING,
            "replay_days": self.replay_days,
        }
        if planned and planned.revert_to:
            self.log.info("Job %s goes back to snapshot %s and runs to %s.", target, planned.revert_to, planned.until)
        return RemoteJob(kind=REQUEST, id=target, spec=spec)

    def _planned(
        self, current: "Version", target: str, wanted: "Wanted", begin: datetime, end: datetime
    ) -> "Plan | None":
        from elastic_ml.clients.anomaly_jobs import data_between
        from elastic_ml.project.anomaly_partitions import EMPTY, Learnt, iso, millis, plan, successor_plan

        learnt = Learnt.of(current.job).as_found(str(current.job.get("model_snapshot_id") or EMPTY))
        counts = self.client.ml.get_job_stats(job_id=current.id)["jobs"][0]["data_counts"]
        if target != current.id:
            return successor_plan(learnt, _hour(counts.get("earliest_record_timestamp")), begin, end)
        latest = counts.get("latest_record_timestamp")
        if learnt.start is None and latest is not None and int(latest) >= millis(end):
            raise InvalidRequestError(
                f"Job {target} has data up to {iso(datetime.fromtimestamp(int(latest) / 1000, UTC))}, and its "
                f"custom_settings do not say which snapshot lies before {iso(begin)}.",
                remedy="Run a later partition; or reset the job (POST _ml/anomaly_detectors/<job>/_reset) and run its "
                "partitions from the first.",
            )
        # A query that was changed in the file finds other documents; one that was edited by hand stays as it is.
        same = (current.job.get("custom_settings") or {}).get("hash") == wanted.hash
        feed = (current.job.get("datafeed_config") if same else None) or wanted.datafeed
        config = {**wanted.job, "datafeed_config": feed}
        return plan(
            learnt,
            begin,
            end,
            keep=timedelta(days=self.replay_days),
            count=lambda start, until: data_between(self.client, config, millis(start), millis(until)).documents,
            replay="always" if self.replay == "always" else "changed",
        )

    def _partition(self) -> tuple[datetime, datetime]:
        from elastic_ml.sources.partition import Partition

        partition = Partition.parse(self.partition)
        if partition.end > datetime.now(UTC):
            raise NotReadyError(
                f"The partition {partition.key} is not over yet.", remedy="Run it after its end, which is in UTC."
            )
        return partition.start, partition.end

    def _must_be_possible(self, wanted: "Wanted") -> None:
        if self.replay not in {"changed", "always"}:
            raise InvalidRequestError(f"replay is changed or always, not {self.replay!r}.")
        if self.if_exists == "replace":
            raise InvalidRequestError(
                "if_exists='replace' would lose the partitions that the job has learnt.",
                remedy="Leave it at 'reuse': a job that cannot be updated is succeeded by a `_v2`.",
            )
        if self.hook.serverless:
            raise VersionError(
                f"Job {self.job_id} cannot be run by partitions: this is a Serverless project, where Elastic keeps the "
                "model snapshot APIs to itself.",
                remedy="Write `mode: realtime` into the job's file (or use AnomalyJobOperator with run='realtime').",
            )

    # The steps --------------------------------------------------------------------------------------------------------

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Do the step that the job is at, unless it is done."""
        if job.spec["phase"] == SETTLE and job.reattached:
            state = self._state(job)
            if state == "closed" and self._is_settled(job):
                # The closing snapshot was taken and marked; what is left is to record it.
                return job._replace(kind=REQUEST)
            if state == "failed":
                # What it learnt of this partition is lost: once more.
                job = job._replace(kind=DATAFEED, id=job.spec["datafeed_id"], spec={**job.spec, "phase": FEED})
        job = super().submit(context, job)
        if job.spec["phase"] == KEEP and job.spec["plan"] != NOTHING:
            self._go_back(job) if job.spec["reverted_to"] else self._forget_if_reset(job)
        return job

    def settings_at_birth(self, job: RemoteJob) -> Mapping[str, Any]:
        """Return, for the successor of another job, the partitions that it has to learn."""
        from elastic_ml.clients.anomaly_jobs import existing_job
        from elastic_ml.project.anomaly_partitions import KEY, Learnt, expectation

        if not job.spec["predecessor"]:
            return {}
        old = Learnt.of(existing_job(self.client, job.spec["predecessor"]))
        start, end, until = self._times(job)
        return {KEY: expectation(Learnt(), old, start, {end, until}).to_settings()}

    def _go_back(self, job: RemoteJob) -> None:
        from elastic_ml.clients.anomaly_jobs import close_job, existing_job, write_settings
        from elastic_ml.project.anomaly_partitions import KEY, Learnt, expectation

        job_id, snapshot = job.spec["job_id"], job.spec["reverted_to"]
        close_job(self.client, job_id)
        config = existing_job(self.client, job_id)
        learnt = Learnt.of(config)
        start, end, until = self._times(job)
        # Written first: should this run die between the two, the next one knows what has to be learnt again.
        write_settings(self.client, config, {KEY: expectation(learnt, learnt, start, {end, until}).to_settings()})
        self._revert(job_id, snapshot)

    def _forget_if_reset(self, job: RemoteJob) -> None:
        """Empty the record of a job that somebody reset: its snapshots are gone."""
        from elastic_ml.clients.anomaly_jobs import existing_job, write_settings
        from elastic_ml.project.anomaly_partitions import EMPTY, KEY, Learnt

        config = existing_job(self.client, job.spec["job_id"])
        learnt = Learnt.of(config)
        if learnt.ends and not learnt.as_found(str(config.get("model_snapshot_id") or EMPTY)).ends:
            self.log.warning("Job %s was reset: its partitions are learnt from here on.", job.spec["job_id"])
            write_settings(self.client, config, {KEY: {}})

    def _revert(self, job_id: str, snapshot: str) -> None:
        try:
            self.client.ml.revert_model_snapshot(job_id=job_id, snapshot_id=snapshot, delete_intervening_results=True)
        except NotFoundError as error:
            raise JobFailedError(
                f"Job {job_id} cannot go back: its model snapshot {snapshot} is gone, though it was to be retained.",
                remedy="Run the partition before this one again, which goes back further; or reset the job and run its "
                "partitions from the first.",
            ) from error

    def after_keep(self, context: Any, job: RemoteJob) -> RemoteJob | None:
        """Return the look-back to the end of the first partition."""
        return None if job.spec["plan"] == NOTHING else self._next(job, job.spec["start"])

    def _next(self, job: RemoteJob, at: str) -> RemoteJob | None:
        """Return the look-back from one end of a partition to the next, None at the last."""
        from elastic_ml.clients.anomaly_jobs import existing_job
        from elastic_ml.project.anomaly_partitions import Learnt, iso, moment

        here, until = moment(at), moment(job.spec["end"])
        if here >= until:
            return None
        learnt = Learnt.of(existing_job(self.client, job.spec["job_id"]))
        before = learnt.base if learnt.start is None else learnt.checkpoint(here)[1]
        return self.look_back(job, at, iso(learnt.next_end(here, until)), before=before)

    def mend(self, context: Any, job: RemoteJob) -> None:
        """Take a failed job back to where this step began: what it had learnt since is lost with its process."""
        from elastic_ml.clients.anomaly_jobs import close_job

        self.log.warning("Job %s had failed: back to snapshot %s.", job.spec["job_id"], job.spec["before"])
        close_job(self.client, job.spec["job_id"])
        self._revert(job.spec["job_id"], job.spec["before"])

    def _settled(self, context: Any, job: RemoteJob) -> RemoteJob | None:
        """Finish the last bucket, close, retain the closing snapshot, record it, go on to the next partition."""
        from elastic_ml.clients.anomaly_jobs import (
            close_job,
            existing_job,
            release_snapshots,
            settle,
            write_settings,
        )
        from elastic_ml.project.anomaly_partitions import EMPTY, KEY, Closing, Learnt, millis, moment
        from elastic_ml.project.anomaly_server import Wanted, about

        spec = job.spec
        job_id, begin, end = spec["job_id"], moment(spec["from"]), moment(spec["to"])
        if job.kind != REQUEST:
            settle(self.client, job_id, millis(end))
        config = existing_job(self.client, job_id)
        snapshot = str(config.get("model_snapshot_id") or EMPTY)
        if snapshot != EMPTY and job.kind != REQUEST:
            self.client.ml.update_model_snapshot(
                job_id=job_id, snapshot_id=snapshot, retain=True, description=_mark(spec["to"])
            )
        closing = Closing(snapshot, int(spec["documents"] or 0))
        learnt = Learnt.of(config)
        if learnt.start is None:
            # The snapshot that the job has by now holds this partition already.
            learnt = Learnt(base=spec["before"])
        learnt, released = learnt.closed(begin, end, closing, timedelta(days=int(spec["replay_days"])))
        release_snapshots(self.client, job_id, released)
        origin = about(Wanted(spec["job"], spec["datafeed"]), self.labels(context))
        write_settings(self.client, config, {**origin, KEY: learnt.to_settings()})
        self.log.info("Job %s has learnt up to %s: %s documents.", job_id, spec["to"], closing.documents)
        counted = {
            "partitions": spec["partitions"] + 1,
            "learnt_documents": spec["learnt_documents"] + closing.documents,
            "snapshot_id": snapshot,
        }
        if spec["predecessor"]:
            close_job(self.client, spec["predecessor"])
        job = job._replace(spec={**spec, **counted})
        done = job._replace(kind=REQUEST, id=job_id, spec={**job.spec, "phase": DONE})
        return self._next(job, spec["to"]) or done

    def _state(self, job: RemoteJob) -> str:
        from elastic_ml.clients.anomaly_jobs import progress

        return progress(self.client, job.spec["job_id"]).state

    def _is_settled(self, job: RemoteJob) -> bool:
        from elastic_ml.clients.anomaly_jobs import existing_job, snapshot_of

        current = existing_job(self.client, job.spec["job_id"]).get("model_snapshot_id")
        found = snapshot_of(self.client, job.spec["job_id"], current) if current else None
        return bool(found and found.get("retain") and found.get("description") == _mark(job.spec["to"]))

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return what was kept, what was learnt, and where the job is now."""
        spec = job.spec
        return {
            **super().finish(context, job, status),
            "partitions": spec["partitions"],
            "documents": spec["learnt_documents"],
            "reverted_to": spec["reverted_to"],
            "snapshot_id": spec["snapshot_id"],
        }

    def _times(self, job: RemoteJob) -> tuple[datetime, datetime, datetime]:
        """Start of the plan, end of the partition, end of the plan."""
        from elastic_ml.project.anomaly_partitions import moment

        return moment(job.spec["start"]), moment(job.spec["partition"][1]), moment(job.spec["end"])


def _mark(end: str) -> str:
    return f"At the end of the partition up to {end}"


def _hour(at: int | None) -> datetime | None:
    """The hour that a time (epoch ms) lies in."""
    return None if at is None else datetime.fromtimestamp(int(at) // 3_600_000 * 3600, UTC)
