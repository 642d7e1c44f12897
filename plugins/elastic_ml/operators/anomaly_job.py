"""Keeping an anomaly detection job and its datafeed: created, updated in place, succeeded by a `_v2`, fed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elastic_ml.exceptions import InvalidRequestError, JobFailedError
from elastic_ml.links.kibana import AnomalyExplorerLink, SingleMetricViewerLink
from elastic_ml.operators.base import refuse_empty, sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator

if TYPE_CHECKING:
    from elastic_ml.clients.anomaly_jobs import Data
    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.project.anomaly_server import Version, Wanted

Body = Mapping[str, Any]
Run = Literal["keep", "lookback", "realtime"]

# Kinds of elastic_ml.clients.job_status, repeated because that module is imported at run time only.
REQUEST, ANOMALY_JOB, DATAFEED = "request", "anomaly_job", "datafeed"

KEEP, WATCH, FEED, SETTLE, DONE = "keep", "watch", "feed", "settle", "done"
"""What a task is at: bodies compared; real time begun; a look-back under way; its last bucket finished; all said."""
RESTART = "restart"


class AnomalyJobOperator(RemoteJobOperator):
    """Bring an anomaly job and its datafeed to what is wanted, then feed it, and say what changed.

    Sends: GET of all versions of the job; if there is none, one PUT of the job with its datafeed. What differs and can
    be updated is updated in place: the datafeed is stopped for it, and the job closed where that is needed. What
    Elasticsearch cannot update (detectors, `bucket_span`, influencers, ...) becomes a new job `<job_id>_v2` that looks
    back over what the old one learnt from, as far as the data is still there; the old one keeps its results and is
    closed. Nothing is written when nothing differs, and what somebody edited by hand in Kibana since the last run stays
    (and is logged) until the wanted bodies change.

    :param job_id: id of the job's first version (templated).
    :param body: job body as `ml.put_job` takes it, without ids (templated), or a function
        ``(context, jinja_env)`` that returns it: Airflow calls it where it would render a template.
    :param datafeed: datafeed body, without ids (templated), or such a function; its id is `datafeed-<job id>`.
    :param run: `keep` only compares and writes; `lookback` feeds [`start`, `end`), finishes the last bucket and closes
        the job; `realtime` opens the job, starts the datafeed without an end and leaves it at work.
    :param start: begin of a look-back, ISO time (templated); default: the oldest data. Where the job has come further,
        it goes on from there.
    :param end: end of a look-back, not included, ISO time (templated).
    :param if_exists: `reuse` and update the job; `fail` when this task did not make it; `replace` a job that cannot be
        updated, under its own id, with all that it has learnt and found.
    :param overwrite_edited: also take back what somebody edited by hand.
    :return: `{"job_id", "datafeed_id", "state", "changes", "start", "end"}`; state is `created`, `updated`, `unchanged`
        or `edited by hand`.
    :raises AlreadyExistsError: the job is there (`if_exists="fail"`).
    :raises JobFailedError: the job failed, or its datafeed was stopped before its end.
    """

    template_fields: Sequence[str] = sorted_fields("body", "datafeed", "end", "job_id", "start")
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "json", "datafeed": "json"}
    operator_extra_links = (AnomalyExplorerLink(), SingleMetricViewerLink())
    kind = "anomaly_job"

    def __init__(
        self,
        *,
        job_id: str,
        body: Body | Callable[..., Body] | None = None,
        datafeed: Body | Callable[..., Body] | None = None,
        run: Run = "keep",
        start: str | None = None,
        end: str | None = None,
        if_exists: Literal["reuse", "fail", "replace"] = "reuse",
        overwrite_edited: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.body = body
        self.datafeed = datafeed
        self.run = run
        self.start = start
        self.end = end
        self.if_exists = if_exists
        self.overwrite_edited = overwrite_edited

    # What a subclass may say of its own -------------------------------------------------------------------------------

    def wanted(self, context: Any) -> "Wanted":
        """Return the wanted bodies."""
        from elastic_ml.project.anomaly_server import Wanted

        body, datafeed = self.body, self.datafeed
        if not body or not datafeed:
            raise InvalidRequestError(
                f"Task {self.task_id} has no body of the {'datafeed' if body else 'job'} of {self.job_id}.",
                remedy="Set the operator's `body` and `datafeed`.",
            )
        if not isinstance(body, Mapping) or not isinstance(datafeed, Mapping):
            raise InvalidRequestError(
                f"The body or the datafeed of task {self.task_id} is no object.",
                remedy="One template for all of it needs render_template_as_native_obj=True of the DAG.",
            )
        # Cloud autoscaling begins with no ML node: a job that may not open lazily would be refused there.
        return Wanted({"allow_lazy_open": True, **body}, dict(datafeed))

    def before_keeping(self, context: Any) -> None:
        """Bring about what the job refers to, such as filters."""

    def after_keeping(self, context: Any, job_id: str) -> None:
        """Bring about what refers to the job, such as calendars."""

    # The steps --------------------------------------------------------------------------------------------------------

    def prepare(self, context: Any) -> RemoteJob:
        """Return which version of the job this is about, and what to do with it; reads only."""
        self._check()
        if self.run == "lookback" and not self.end:
            raise InvalidRequestError(
                f"Task {self.task_id} looks back without an end.", remedy="Set `end`, or run='realtime'."
            )
        wanted = self.wanted(context)
        target, current = self.target(wanted)
        first, last = (None if at in {None, ""} else _utc(str(at)) for at in (self.start, self.end))
        spec = {**self._spec(wanted, target, current), "start": first, "end": last}
        return RemoteJob(kind=REQUEST, id=target, spec={**spec, "run": self.run})

    def target(self, wanted: "Wanted") -> "tuple[str, Version | None]":
        """Return the id of the version to keep, and the newest version that is there."""
        from elastic_ml.project.anomaly_server import version_id, versions

        refuse_empty(self.task_id, job_id=self.job_id)
        found = versions(self.client, self.job_id)
        if not found:
            return self.job_id, None
        current = found[-1]
        anew = wanted.changes(current.job)[0].anew
        if not anew or self.if_exists != "reuse":
            return current.id, current
        successor = version_id(self.job_id, current.number + 1)
        self.log.warning("Job %s cannot be updated (%s): %s takes over.", current.id, "; ".join(anew), successor)
        return successor, current

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Do the step that the job is at, unless it is done."""
        steps = {KEEP: self._keep, WATCH: self._open, FEED: self._feed, SETTLE: self._open}
        step = steps.get(job.spec["phase"])
        return step(context, job) if step else job

    def following(self, context: Any, job: RemoteJob, status: "JobStatus") -> RemoteJob | None:
        """Go from one step to the next."""
        phase = job.spec["phase"]
        if phase == KEEP:
            return self.after_keep(context, job)
        if phase == WATCH:
            self._watch(job)
            return None
        if phase == FEED:
            return self._fed(job)
        return self._settled(context, job) if phase == SETTLE else None

    def after_keep(self, context: Any, job: RemoteJob) -> RemoteJob | None:
        """Return the first step that feeds the job, None when there is nothing to feed."""
        run = job.spec["run"]
        if run == "keep":
            return None
        if run == "realtime":
            return job._replace(kind=ANOMALY_JOB, spec={**job.spec, "phase": WATCH})
        return self.look_back(job, job.spec["start"], job.spec["end"])

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Return what was kept, and what was fed."""
        spec = job.spec
        return {
            "job_id": spec["job_id"],
            "datafeed_id": spec["datafeed_id"],
            "state": spec["state"],
            "changes": list(spec["changes"]),
            "start": spec["start"],
            "end": spec["end"],
        }

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the job and the time it is fed."""
        name = "/".join([str(job.spec["job_id"]), job.spec.get("start") or "", job.spec.get("end") or ""])
        return {"AnomalyExplorerLink": name, "SingleMetricViewerLink": name}

    # KEEP ---------------------------------------------------------------------------------------------------------

    def _spec(self, wanted: "Wanted", target: str, current: "Version | None") -> dict[str, Any]:
        from elastic_ml.project.anomaly_server import default_datafeed_id

        predecessor = current.id if current is not None and current.id != target else None
        feed = (current.job.get("datafeed_config") or {}) if current is not None and predecessor is None else {}
        return {
            "phase": KEEP,
            "job_id": target,
            "datafeed_id": str(feed.get("datafeed_id") or default_datafeed_id(target)),
            "predecessor": predecessor,
            "job": dict(wanted.job),
            "datafeed": dict(wanted.datafeed),
            "if_exists": self.if_exists,
            "state": "unchanged",
            "changes": [],
        }

    def _keep(self, context: Any, job: RemoteJob) -> RemoteJob:
        from elastic_ml.project.anomaly_server import Wanted, keep

        spec = job.spec
        self.before_keeping(context)
        kept = keep(
            self.client,
            spec["job_id"],
            Wanted(spec["job"], spec["datafeed"]),
            # The job that is there is this task's own, made by an earlier try.
            if_exists="reuse" if job.reattached and spec["if_exists"] == "fail" else spec["if_exists"],
            labels=self.labels(context),
            settings=self.settings_at_birth(job),
            overwrite_edited=self.overwrite_edited,
        )
        self.after_keeping(context, kept.job_id)
        self.log.info("Anomaly job %s: %s. %s", kept.job_id, kept.state, "; ".join(kept.said))
        if kept.state == "unchanged" and job.reattached:
            # An earlier try did it and died before it could say so.
            return job._replace(spec={**spec, "datafeed_id": kept.datafeed_id})
        done = {"state": kept.state, "changes": list(kept.said), "datafeed_id": kept.datafeed_id}
        return job._replace(spec={**spec, **done})

    def settings_at_birth(self, job: RemoteJob) -> Mapping[str, Any]:
        """Return `custom_settings` of a job that is created, beside its origin and hash."""
        return {}

    # Opening, watching ------------------------------------------------------------------------------------------------

    def _open(self, context: Any, job: RemoteJob, state: str | None = None) -> RemoteJob:
        """Open the job unless it is open.

        :param state: its state, where the caller has just asked.
        """
        from elastic_ml.clients.anomaly_jobs import close_job, open_job, progress

        state = state or progress(self.client, job.spec["job_id"]).state
        if state == "failed":
            self.log.warning("Job %s had failed and is closed by force.", job.spec["job_id"])
            close_job(self.client, job.spec["job_id"])
        if state in {"failed", "closed"}:
            open_job(self.client, job.spec["job_id"])
        if state == "opened" and job.spec["phase"] == WATCH:
            # At work already, maybe for weeks: nothing that a kill of this task should stop.
            return job._replace(kind=REQUEST)
        return job

    def _watch(self, job: RemoteJob) -> None:
        """Start the datafeed for good; end the version before."""
        from elastic_ml.clients.anomaly_jobs import close_job, start_datafeed

        began = start_datafeed(self.client, job.spec["datafeed_id"])
        self.log.info("Datafeed %s %s.", job.spec["datafeed_id"], "started" if began else "is at work")
        if job.spec["predecessor"]:
            close_job(self.client, job.spec["predecessor"])

    # Looking back -----------------------------------------------------------------------------------------------------

    def look_back(self, job: RemoteJob, start: str | None, end: str | None, **more: Any) -> RemoteJob:
        """Return the step that feeds [start, end)."""
        step = {"phase": FEED, "from": start, "to": end, "documents": None}
        return job._replace(kind=DATAFEED, id=job.spec["datafeed_id"], recoveries=(), spec={**job.spec, **step, **more})

    def _feed(self, context: Any, job: RemoteJob) -> RemoteJob:
        from elastic_ml.clients.anomaly_jobs import existing_job, progress, start_datafeed, write_settings

        spec = job.spec
        data, here = self._data(job), progress(self.client, spec["job_id"])
        if spec["documents"] is None:
            # Counted before they are read: what arrives meanwhile makes a later count differ, and so is not forgotten.
            job = job._replace(spec={**spec, "documents": data.documents})
        if here.state == "failed":
            self.mend(context, job)
            here = progress(self.client, spec["job_id"])
        elif data.newest <= here.latest:
            # Nothing to read, or an earlier try read it all.
            return job
        # Housekeeping stops a datafeed whose run is over: by the run that made the job it would stop this one.
        write_settings(self.client, existing_job(self.client, spec["job_id"]), self.labels(context))
        self._open(context, job, here.state)
        # A job that has seen data goes on where it is, told by a start in the past; a start behind that would make it
        # skip what it has not finished of its last bucket (DatafeedJob.skipToStartTime).
        start = 0 if here.latest >= 0 else _millis(spec["from"])
        began = start_datafeed(self.client, spec["datafeed_id"], start=start, end=_millis(spec["to"]))
        self.log.info("Datafeed %s %s.", spec["datafeed_id"], "started" if began else "is at work already")
        return job._replace(reattached=job.reattached or not began)

    def mend(self, context: Any, job: RemoteJob) -> None:
        """Make a failed job fit to go on; by default it is only closed by force and opened again."""

    def _data(self, job: RemoteJob) -> "Data":
        from elastic_ml.clients.anomaly_jobs import data_between, existing_job

        config = existing_job(self.client, job.spec["job_id"])
        return data_between(self.client, config, _millis(job.spec["from"]) or 0, _millis(job.spec["to"]) or 0)

    def _fed(self, job: RemoteJob) -> RemoteJob:
        """Tell a look-back that came to its end from one that was stopped: by what the job has seen."""
        from elastic_ml.clients.anomaly_jobs import progress

        spec = job.spec
        data, here = self._data(job), progress(self.client, spec["job_id"])
        if here.state != "failed" and data.newest <= here.latest:
            return job._replace(kind=ANOMALY_JOB, id=spec["job_id"], spec={**spec, "phase": SETTLE})
        # Clearing a deferred task lets the old trigger stop the datafeed under the new try; so may a person, and
        # documents may have become visible behind the datafeed. It goes on where the job is, once.
        if here.state == "failed" or RESTART in job.recoveries:
            raise JobFailedError(
                f"Datafeed {spec['datafeed_id']} ended at {_iso(here.latest)}, and there are documents up to "
                f"{_iso(data.newest)}; its job {spec['job_id']} is {here.state}.",
                remedy="See the job's messages in Kibana. A retry goes on with it.",
            )
        self.log.warning("Datafeed %s ended early, at %s: started again.", spec["datafeed_id"], _iso(here.latest))
        return job._replace(recoveries=(*job.recoveries, RESTART))

    def _settled(self, context: Any, job: RemoteJob) -> RemoteJob | None:
        from elastic_ml.clients.anomaly_jobs import close_job, settle

        settle(self.client, job.spec["job_id"], _millis(job.spec["to"]) or 0)
        if job.spec["predecessor"]:
            close_job(self.client, job.spec["predecessor"])
        return None

    # Checks -----------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self.if_exists not in {"reuse", "fail", "replace"}:
            raise InvalidRequestError(f"if_exists is reuse, fail or replace, not {self.if_exists!r}.")
        if self.run not in {"keep", "lookback", "realtime"}:
            raise InvalidRequestError(f"run is keep, lookback or realtime, not {self.run!r}.")


def _utc(written: str) -> str:
    """Return an ISO time in UTC; one without an offset is in UTC."""
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise InvalidRequestError(f"{written!r} is no time.", remedy="Write it as 2026-11-10T00:00:00Z.") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _millis(written: str | None) -> int | None:
    return None if written is None else round(datetime.fromisoformat(written).timestamp() * 1000)


def _iso(at: int) -> str:
    return "nothing" if at < 0 else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
