"""What the cluster's answers say of long work: one reader for each kind, all giving the same states.

Kinds of remote work:

- ``data_frame_analytics``: id = the job's id.
- ``task``: id = ``node:number``, a reindex in Elasticsearch's task management.
- ``transform``: id = the id of a batch transform, done after its one checkpoint.
- ``anomaly_job``: not work but a wait, until an anomaly job is open; id = the job's id.
- ``datafeed``: a look-back of a datafeed, done when it has stopped; id = the datafeed's id. Whether it stopped at its
  end or was stopped, its ``_stats`` do not say: the operator compares what the job has seen with the data.
- ``forecast``: id = ``<job id>/<forecast id>``; its state is a document among the job's results.
- ``request``: one synchronous request, done once it was answered; there is nothing to look at.
- ``upgrade_mode``: not work but a wait, until machine learning leaves upgrade mode; id = ``machine_learning``.
- ``pause``: not work but a wait until somebody else's lock is worth another try; known only to the trigger.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from elastic_ml.exceptions import ElasticMLError

ANALYTICS = "data_frame_analytics"
TASK = "task"
TRANSFORM = "transform"
ANOMALY_JOB = "anomaly_job"
DATAFEED = "datafeed"
FORECAST = "forecast"
REQUEST = "request"
UPGRADE_MODE = "upgrade_mode"
PAUSE = "pause"
KINDS = (ANALYTICS, TASK, TRANSFORM, ANOMALY_JOB, DATAFEED, FORECAST, UPGRADE_MODE, PAUSE)


class JobState(StrEnum):
    """State of remote work, whatever its kind."""

    WAITING = "waiting"
    """Accepted but not running yet: lazy assignment, upgrade mode."""
    RUNNING = "running"
    STOPPED = "stopped"
    """Neither running nor finished: not started yet, or stopped by somebody."""
    DONE = "done"
    FAILED = "failed"
    MISSING = "missing"
    """The cluster does not know it (any more)."""


class JobStatus(NamedTuple):
    """What the cluster says about remote work.

    :param state: see :class:`JobState`.
    :param progress: percent by phase, in order; empty where the kind has no phases.
    :param reason: why it waits or failed, in the server's words.
    :param raw: the server's own answer for this job.
    """

    state: JobState
    progress: tuple[tuple[str, int], ...] = ()
    reason: str = ""
    raw: Mapping[str, Any] = {}

    @property
    def done(self) -> bool:
        """Whether it finished with its result."""
        return self.state is JobState.DONE

    @property
    def failed(self) -> bool:
        """Whether it ended without its result."""
        return self.state is JobState.FAILED

    @property
    def active(self) -> bool:
        """Whether waiting makes sense."""
        return self.state in {JobState.WAITING, JobState.RUNNING}

    @property
    def phase(self) -> str:
        """The phase at work and its percent, such as ``final_training 40 %``; the state where there are none."""
        if self.state is JobState.WAITING:
            return f"waiting: {self.reason}" if self.reason else "waiting"
        for name, percent in self.progress:
            if percent < 100:
                return f"{name} {percent} %"
        if self.progress:
            return f"{self.progress[-1][0]} 100 %"
        return f"{self.state}, {self.reason}" if self.reason and self.active else str(self.state)


def analytics_status(stats: Mapping[str, Any]) -> JobStatus:
    """Read one entry of ``_ml/data_frame/analytics/_stats``.

    A new job and a finished job are both ``stopped``: finished is stopped with every phase at 100 %.

    :raises ElasticMLError: a state this package does not know.
    """
    progress = tuple((str(p["phase"]), int(p["progress_percent"])) for p in stats.get("progress", ()))
    server_state = str(stats.get("state"))
    explanation = str(stats.get("assignment_explanation") or "")
    finished = bool(progress) and all(percent == 100 for _, percent in progress)
    if server_state == "failed":
        state, reason = JobState.FAILED, str(stats.get("failure_reason") or explanation or "no reason given")
    elif server_state == "stopped":
        state, reason = (JobState.DONE if finished else JobState.STOPPED), explanation
    elif server_state == "starting" or (server_state == "started" and explanation and not stats.get("node")):
        state, reason = JobState.WAITING, explanation or "starting"
    elif server_state in {"started", "stopping"}:
        state, reason = JobState.RUNNING, explanation
    else:
        raise _unknown_state(f"Data frame analytics job {stats.get('id')}", server_state)
    return JobStatus(state, progress, reason, raw=dict(stats))


def task_status(answer: Mapping[str, Any]) -> JobStatus:
    """Read the answer of ``GET _tasks/{id}``."""
    status = answer.get("task", {}).get("status") or {}
    progress: tuple[tuple[str, int], ...] = ()
    total = int(status.get("total") or 0)
    if total:
        handled = sum(int(status.get(k) or 0) for k in ("created", "updated", "deleted", "noops", "version_conflicts"))
        progress = (("documents", min(100, 100 * handled // total)),)
    if not answer.get("completed"):
        return JobStatus(JobState.RUNNING, progress, raw=dict(answer))
    error = answer.get("error")
    response = answer.get("response") or {}
    canceled = response.get("canceled") or status.get("canceled")
    if canceled or (isinstance(error, dict) and error.get("type") == "task_cancelled_exception"):
        return JobStatus(JobState.STOPPED, progress, f"cancelled: {canceled or 'by request'}", raw=dict(answer))
    if error:
        return JobStatus(JobState.FAILED, progress, _reason(error), raw=dict(answer))
    failures = response.get("failures") or []
    if failures:
        first = failures[0]
        which, why = first.get("id") or first.get("index"), _reason(first.get("cause") or first.get("reason"))
        text = f"{len(failures)} failures, the first on {which}: {why}"
        return JobStatus(JobState.FAILED, progress, text, raw=dict(answer))
    return JobStatus(JobState.DONE, (("documents", 100),) if progress else (), raw=dict(answer))


def _reason(error: object) -> str:
    if isinstance(error, dict):
        return f"{error.get('type', 'error')}: {error.get('reason', 'no reason given')}"[:600]
    return str(error or "no reason given")[:600]


def transform_status(stats: Mapping[str, Any]) -> JobStatus:
    """Read one entry of ``_transform/_stats`` of a batch transform: stopped after a checkpoint is done.

    :raises ElasticMLError: a state this package does not know.
    """
    server_state, reason = str(stats.get("state")), str(stats.get("reason") or "")
    checkpoints = stats.get("checkpointing") or {}
    made = int((checkpoints.get("last") or {}).get("checkpoint") or 0) > 0
    percent = ((checkpoints.get("next") or {}).get("checkpoint_progress") or {}).get("percent_complete")
    progress = (("documents", 100),) if made else (("documents", int(percent)),) if percent is not None else ()
    if server_state == "failed":
        state, reason = JobState.FAILED, reason or "no reason given"
    elif server_state == "stopped":
        state = JobState.DONE if made else JobState.STOPPED
    elif server_state == "waiting":
        state = JobState.WAITING
    elif server_state in {"started", "indexing", "stopping", "aborting"}:
        state = JobState.RUNNING
    else:
        raise _unknown_state(f"Transform {stats.get('id')}", server_state)
    return JobStatus(state, progress, reason, raw=dict(stats))


def anomaly_job_status(stats: Mapping[str, Any]) -> JobStatus:
    """Read one entry of ``_ml/anomaly_detectors/_stats`` as the wait for an open job: done is ``opened``.

    :raises ElasticMLError: a state this package does not know.
    """
    server_state, explanation = str(stats.get("state")), str(stats.get("assignment_explanation") or "")
    if server_state == "failed":
        state, explanation = JobState.FAILED, explanation or "the job's messages in Kibana say why"
    elif server_state == "closed":
        state = JobState.STOPPED
    elif server_state == "opening" or (server_state == "opened" and explanation and not stats.get("node")):
        # An open job without a node has lost it, or waits in upgrade mode: it can do nothing.
        state, explanation = JobState.WAITING, explanation or "opening"
    elif server_state == "opened":
        state = JobState.DONE
    elif server_state == "closing":
        state = JobState.RUNNING
    else:
        raise _unknown_state(f"Anomaly job {stats.get('job_id')}", server_state)
    return JobStatus(state, (), explanation, raw=dict(stats))


def datafeed_status(stats: Mapping[str, Any]) -> JobStatus:
    """Read one entry of ``_ml/datafeeds/_stats`` as a look-back: done is ``stopped``.

    :raises ElasticMLError: a state this package does not know.
    """
    server_state, explanation = str(stats.get("state")), str(stats.get("assignment_explanation") or "")
    interval = (stats.get("running_state") or {}).get("search_interval") or {}
    if server_state == "stopped":
        state = JobState.DONE
    elif server_state == "starting" or (server_state == "started" and explanation and not stats.get("node")):
        state, explanation = JobState.WAITING, explanation or "starting"
    elif server_state in {"started", "stopping"}:
        state = JobState.RUNNING
        if until := interval.get("end_ms"):
            explanation = f"up to {datetime.fromtimestamp(int(until) / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    else:
        raise _unknown_state(f"Datafeed {stats.get('datafeed_id')}", server_state)
    return JobStatus(state, (), explanation, raw=dict(stats))


def forecast_status(stats: Mapping[str, Any]) -> JobStatus:
    """Read a forecast's ``model_forecast_request_stats`` document.

    :raises ElasticMLError: a state this package does not know.
    """
    server_state, said = str(stats.get("forecast_status")), "; ".join(stats.get("forecast_messages") or ())
    progress = (("forecast", round(100 * float(stats.get("forecast_progress") or 0))),)
    states = {
        "scheduled": JobState.WAITING, "started": JobState.RUNNING, "ok": JobState.RUNNING, "stopped": JobState.STOPPED,
        "finished": JobState.DONE, "failed": JobState.FAILED,
    }  # fmt: skip
    if server_state not in states:
        raise _unknown_state(f"Forecast {stats.get('forecast_id')}", server_state)
    return JobStatus(states[server_state], progress, said, raw=dict(stats))


def upgrade_mode_status(answer: Mapping[str, Any]) -> JobStatus:
    """Read ``_ml/info``: done once upgrade mode is over."""
    if answer.get("upgrade_mode"):
        return JobStatus(JobState.WAITING, reason="machine learning is in upgrade mode", raw=dict(answer))
    return JobStatus(JobState.DONE, raw=dict(answer))


def readable(kind: str, stats: Mapping[str, Any]) -> JobStatus:
    """Read one entry among others: an unknown state is that job's trouble, not that of all who wait."""
    try:
        return _READERS[kind](stats)
    except ElasticMLError as error:
        return JobStatus(JobState.FAILED, reason=str(error), raw=dict(stats))


_READERS: Mapping[str, Callable[[Mapping[str, Any]], JobStatus]] = {
    ANALYTICS: analytics_status,
    TRANSFORM: transform_status,
    ANOMALY_JOB: anomaly_job_status,
    DATAFEED: datafeed_status,
    FORECAST: forecast_status,
}


def _unknown_state(work: str, state: str) -> ElasticMLError:
    return ElasticMLError(
        f"{work} is in a state unknown to this package: {state!r}.",
        remedy="A newer Elasticsearch may have introduced it: upgrade airflow-provider-elastic-ml.",
    )
