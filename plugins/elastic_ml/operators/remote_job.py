"""The frame of every operator that starts something long on the cluster.

A subclass says three things: what the work is called (:meth:`RemoteJobOperator.prepare`), how it is started so that
starting twice is starting once (:meth:`~RemoteJobOperator.submit`), and what it leaves behind
(:meth:`~RemoteJobOperator.finish`). The frame does the rest:

- The work's id and specification lie in the task state store **before** the first request that changes anything, so a
  try that follows a crash finds them and re-attaches, also when an upgraded package would now render something else.
- It looks once and finishes at once when the work is done; otherwise it defers and holds no worker slot.
- A deadline (``timeout``, or ``execution_timeout``, which Airflow does not enforce on deferred tasks), a kill of the
  running task and a kill of the deferred task all stop the work.
- Upgrade mode and somebody else's lock are waited for. A licence, a full disk, a failed job and a timeout are errors
  of their own, each with its next step.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from elastic_ml.exceptions import (
    ElasticMLError,
    JobFailedError,
    LockHeldError,
    UpgradeModeError,
    WaitTimeoutError,
)
from elastic_ml.links.kibana import store_links
from elastic_ml.operators.base import ElasticBaseOperator, check_times, sorted_fields

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.clients.remote_jobs import JobStatus
    from elastic_ml.lineage import DataLineage

STATE_KEY = "remote_job"
DEFAULT_TIMEOUT = timedelta(hours=24)
# Kinds of elastic_ml.clients.job_status, repeated because that module is imported at run time only.
TASK = "task"
UPGRADE_MODE = "upgrade_mode"
PAUSE = "pause"


class RemoteJob(NamedTuple):
    """One piece of remote work, as it is kept in the task state store (JSON, at most 64 KB).

    :param kind: ``data_frame_analytics``, ``task``, or ``request`` (done once it was answered).
    :param id: the work's id; empty for a task that was not started yet, since the server chooses its id.
    :param spec: everything that :meth:`RemoteJobOperator.submit` needs to start it, as JSON.
    :param reattached: an earlier try started it, or it was found running.
    :param recoveries: what this try already did to bring it back (``restart``, ``memory``), each once.
    """

    kind: str
    id: str
    spec: Mapping[str, Any] = {}
    reattached: bool = False
    recoveries: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        return {**self._asdict(), "spec": dict(self.spec), "recoveries": list(self.recoveries)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RemoteJob":
        """Read what was stored, by this version of the package or another; unknown keys are ignored."""
        return cls(
            kind=str(stored["kind"]),
            id=str(stored["id"]),
            spec=dict(stored.get("spec") or {}),
            reattached=bool(stored.get("reattached")),
            recoveries=tuple(stored.get("recoveries") or ()),
        )


class RemoteJobOperator(ElasticBaseOperator):
    """Base of the operators that start something long; see the module's docstring.

    :param deferrable: wait in the triggerer; False waits in the worker.
    :param poll_interval: seconds between two looks; default ``[elastic_ml] poll_interval``.
    :param defer_after: seconds to wait in the worker before deferring, since a deferral costs about three; default
        ``[elastic_ml] defer_after``.
    :param timeout: how long to wait before the work is stopped and the task fails; default ``execution_timeout``, else
        24 hours. Counts from the start of each try.
    :param cancel_on_kill: stop the work when the task is killed, marked or cleared.
    """

    template_fields: Sequence[str] = sorted_fields()
    kind: ClassVar[str] = ""

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float | None = None,
        defer_after: float | None = None,
        timeout: timedelta | None = None,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_times(poll_interval=poll_interval, defer_after=defer_after, timeout=timeout)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.defer_after = defer_after
        self.timeout = timeout
        self.cancel_on_kill = cancel_on_kill
        self._job: RemoteJob | None = None
        self._killed = False

    # What a subclass says ---------------------------------------------------------------------------------------------

    def prepare(self, context: Any) -> RemoteJob:
        """Return the work's deterministic id and its specification; sends nothing that changes anything."""
        raise NotImplementedError

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the work unless it runs or is done. Called again after a crash, a lost answer and a recovery.

        Returns the job, with the id that the server chose and ``reattached=True`` where it was found at work.
        """
        raise NotImplementedError

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> Any:
        """Return the task's result. Called once the work is done, also by a try that only re-attached."""
        raise NotImplementedError

    def following(self, context: Any, job: RemoteJob, status: "JobStatus") -> RemoteJob | None:
        """Return the next piece of work of the same task, or None when this was the last one."""
        return None

    def recover(self, context: Any, job: RemoteJob, status: "JobStatus") -> str | None:
        """Mend work that ended without its result, so that :meth:`submit` may start it again.

        :return: what was done, one word; it is not tried twice in a try. None when nothing can be done.
        """
        return None

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the object that each link shows, by the link's class name."""
        return {}

    def lineage(self) -> "DataLineage | None":
        """Return source and destination as the work's specification has them."""
        from elastic_ml.lineage import lineage_of_spec

        return lineage_of_spec(self._job.spec) if self._job else None

    # The frame --------------------------------------------------------------------------------------------------------

    def pre_execute(self, context: Any) -> None:
        """Nothing yet: what the links show is known with the work, and they are stored before it is started."""

    def execute(self, context: Any) -> Any:
        """Start the work or re-attach to it, then wait for it."""
        # Before anything is started: a trigger with a wrong interval cannot be made, and the work would run unwatched.
        check_times(poll_interval=self._seconds_between_looks(), timeout=None)
        stored = context["task_state_store"].get(STATE_KEY)
        if stored is None:
            job = self.prepare(context)
            self._store(context, job)
        else:
            job = RemoteJob.from_json(stored)._replace(reattached=True, recoveries=())
            self.log.info("An earlier try left %s %s: looking for it.", job.kind, job.id or "(not started)")
        return self._drive(context, job, deadline=time.time() + self._seconds_to_wait(), submit=True)

    def resume(self, context: Any, event: Any = None) -> Any:
        """Go on after a deferral: read the job again, whatever the event says.

        :raises WaitTimeoutError: the trigger's deadline passed; the work is stopped.
        """
        if not isinstance(event, dict) or event.get("status") not in {
            "done",
            "failed",
            "stopped",
            "missing",
            "timeout",
            "check",
        }:
            raise ElasticMLError(
                f"Task {self.task_id} was resumed with an event that this package does not know: {event!r}.",
                remedy="Are worker and triggerer on the same version of airflow-provider-elastic-ml?",
            )
        stored = context["task_state_store"].get(STATE_KEY)
        if stored is None:
            self.log.warning("The task state is gone; going on with what would be started now.")
            job = self.prepare(context)
            if event["kind"] == job.kind:
                job = job._replace(id=event["job_id"], reattached=True)
        else:
            job = RemoteJob.from_json(stored)
        if event["status"] == "check":
            self.log.warning("The triggerer could not watch the job and asks to look here: %s", event.get("reason"))
        if event["status"] == "timeout":
            raise self._timed_out(job, event.get("reason", ""))
        waited_for_permission = event["kind"] in {UPGRADE_MODE, PAUSE}
        return self._drive(context, job, deadline=float(event["deadline"]), submit=waited_for_permission)

    def on_kill(self) -> None:
        """Stop the work: the running task was killed."""
        self._killed = True
        self._stop_killed()

    def _stop_killed(self) -> None:
        if self._job is None or not self.cancel_on_kill or not self._job.id:
            return
        from elastic_ml.clients.remote_jobs import stop

        self.log.info("The task was killed: stopping %s %s.", self._job.kind, self._job.id)
        try:
            stop(self.client.options(max_retries=1), self._job.kind, self._job.id)
        except ElasticMLError:
            self.log.exception("%s %s could not be stopped.", self._job.kind, self._job.id)

    def _end_if_killed(self) -> None:
        """End a task that was killed.

        Airflow's handler of SIGTERM returns to where the task was, and some seconds pass before SIGKILL: the task would
        find its work stopped and start it again, or start what it was about to.

        :raises JobFailedError: the task was killed; whatever was started meanwhile is stopped.
        """
        if not self._killed:
            return
        self._stop_killed()
        raise JobFailedError(
            f"Task {self.task_id} was killed while it worked.", remedy="Clear it to go on where it stopped."
        )

    def _drive(self, context: Any, job: RemoteJob, *, deadline: float, submit: bool) -> Any:
        from elastic_ml.clients.remote_jobs import job_status

        self._push_links(context, job)
        while True:
            self._job = job
            self._end_if_killed()
            if submit:
                try:
                    job = self.submit(context, job)
                except UpgradeModeError as error:
                    self._wait(context, job, deadline, kind=UPGRADE_MODE, job_id="machine_learning", reason=str(error))
                    continue
                except LockHeldError as error:
                    self._wait(context, job, deadline, kind=PAUSE, job_id=job.id or self.task_id, reason=str(error))
                    continue
                self._store(context, job)
                self._end_if_killed()
            submit = True
            status = job_status(self.client, job.kind, job.id)
            self.log.info("%s %s: %s", job.kind, job.id, status.phase)
            if status.active:
                self._wait(context, job, deadline, kind=job.kind, job_id=job.id)
                submit = False
            elif status.done:
                following = self.following(context, job, status)
                if following is None:
                    return self.finish(context, job, status)
                job = following
                self._store(context, job)
                self._push_links(context, job)
            else:
                job = self._recovered(context, job, status)
                self._store(context, job)

    def _recovered(self, context: Any, job: RemoteJob, status: "JobStatus") -> RemoteJob:
        action = None
        # Clearing a deferred task lets the new try re-attach, and the old trigger's on_kill stops the work some seconds
        # later: it is started again, once. So is a task whose node left; a job that somebody deleted is not.
        stopped_under_us = status.state == "stopped" and job.reattached
        lost = status.state == "missing" and job.kind == TASK
        if (stopped_under_us or lost) and "restart" not in job.recoveries:
            action = "restart"
        action = self.recover(context, job, status) or action
        if action and action not in job.recoveries:
            self.log.warning(
                "%s %s is %s (%s): %s.", job.kind, job.id, status.state, status.reason or "no reason", action
            )
            return job._replace(recoveries=(*job.recoveries, action))
        happened = {"stopped": "was stopped by somebody", "missing": "is gone"}.get(str(status.state), "failed")
        raise JobFailedError(
            f"{job.kind} {job.id} {happened} before it ended ({status.reason or 'no reason given'}; {status.phase}).",
            remedy="Somebody deleted it, or its node left: clear the task to start it again."
            if status.state == "missing"
            else "See its messages in Kibana. Clear the task to go on with it; correct the body first if the data or "
            "a setting is the reason.",
        )

    def _wait(self, context: Any, job: RemoteJob, deadline: float, *, kind: str, job_id: str, reason: str = "") -> None:
        """Defer, or in the worker return once the work is no longer active.

        :raises WaitTimeoutError: the deadline passed in the worker; the work is stopped.
        """
        if reason:
            self.log.info("Waiting: %s", reason)
        interval = self._seconds_between_looks()
        if self._may_defer():
            grace = self._configured("defer_after", self.defer_after, 0.0)
            if not self._over_within(kind, job_id, min(time.time() + grace, deadline), min(interval, 0.5)):
                from elastic_ml.triggers.remote_job import RemoteJobTrigger

                self.defer(
                    trigger=RemoteJobTrigger(
                        kind=kind,
                        job_id=job_id,
                        elastic_conn_id=self.elastic_conn_id,
                        deadline=deadline,
                        poll_interval=interval,
                        stop_on_kill=self.cancel_on_kill,
                    ),
                    method_name="resume",
                )
        elif not self._over_within(kind, job_id, deadline, interval):
            raise self._timed_out(job, reason)

    def _over_within(self, kind: str, job_id: str, until: float, interval: float) -> bool:
        """Poll in the worker; True as soon as the work is not active any more, False when ``until`` has passed."""
        from elastic_ml.clients.remote_jobs import job_status

        said = ""
        while (remaining := until - time.time()) > 0:
            time.sleep(min(interval, remaining))
            self._end_if_killed()
            if kind == PAUSE:
                return time.time() < until
            status = job_status(self.client, kind, job_id)
            if not status.active:
                return True
            if status.phase != said:
                said = status.phase
                self.log.info("%s %s: %s", kind, job_id, said)
        return False

    def _timed_out(self, job: RemoteJob, phase: str) -> WaitTimeoutError:
        from elastic_ml.clients.remote_jobs import stop

        how = "was stopped"
        try:
            if job.id and not stop(self.client, job.kind, job.id):
                how = "is left to finish, since Serverless has no API to stop it"
        except ElasticMLError as error:
            how = f"could not be stopped ({error})"
        at = f" ({phase})" if phase else ""
        return WaitTimeoutError(
            f"{job.kind} {job.id or '(not started)'} did not end in time{at} and {how}.",
            remedy="Raise the task's timeout, or give the job less data or more memory; clearing the task goes on "
            "where it stopped.",
        )

    def _seconds_between_looks(self) -> float:
        return self._configured("poll_interval", self.poll_interval, 5.0)

    def _seconds_to_wait(self) -> float:
        return (self.timeout or self.execution_timeout or DEFAULT_TIMEOUT).total_seconds()

    @staticmethod
    def _configured(option: str, value: float | None, fallback: float) -> float:
        if value is not None:
            return float(value)
        from airflow.sdk import conf

        return float(conf.getfloat("elastic_ml", option, fallback=fallback))

    def _store(self, context: Any, job: RemoteJob) -> None:
        self._job = job
        context["task_state_store"].set(STATE_KEY, job.to_json())

    def _push_links(self, context: Any, job: RemoteJob) -> None:
        """Store the links before anything is started or waited for; what they show is known only now."""
        store_links(self, context, lambda: self.link_names(job))


def attach_or_start(
    client: "Elasticsearch",
    job: RemoteJob,
    start: Callable[[], str],
    find: Callable[[], str | None] = lambda: None,
) -> RemoteJob:
    """Return ``job`` with the id of a task that runs or is done: its own, one that is found, or a new one.

    For :meth:`RemoteJobOperator.submit` of work of kind ``task``.

    :param start: starts the task and returns its id.
    :param find: looks for a running task whose id was never stored (the worker died before).
    """
    from elastic_ml.clients.remote_jobs import JobState, job_status

    if job.id and job_status(client, TASK, job.id).state in {JobState.RUNNING, JobState.WAITING, JobState.DONE}:
        return job._replace(reattached=True)
    if found := find():
        return job._replace(id=found, reattached=True)
    return job._replace(id=start())
