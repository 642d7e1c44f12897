"""Long work on the cluster: start it so that starting twice is starting once, and stop it.

The states are in :mod:`elastic_ml.clients.job_status`; their names can be imported from here too.
"""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.clients.job_status import (
    ANALYTICS,
    ANOMALY_JOB,
    DATAFEED,
    FORECAST,
    KINDS,
    PAUSE,
    TASK,
    TRANSFORM,
    UPGRADE_MODE,
    JobState,
    JobStatus,
    job_status,
    job_statuses,
)
from elastic_ml.exceptions import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
    VersionError,
)

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch, Elasticsearch

__all__ = [
    "ANALYTICS",
    "ANOMALY_JOB",
    "DATAFEED",
    "FORECAST",
    "KINDS",
    "PAUSE",
    "TASK",
    "TRANSFORM",
    "UPGRADE_MODE",
    "JobState",
    "JobStatus",
    "content_hash",
    "enough_memory",
    "estimate_memory",
    "find_task",
    "get_analytics",
    "job_status",
    "job_statuses",
    "memory_bytes",
    "models_of",
    "put_analytics",
    "start_analytics",
    "start_reindex",
    "stop",
    "stop_async",
]

log = logging.getLogger(__name__)

IfExists = Literal["reuse", "fail", "replace"]


# Stopping --------------------------------------------------------------------------------------------------------


def stop(client: "Elasticsearch", kind: str, job_id: str) -> bool:
    """Stop remote work; stopping what does not run, or is not there, is fine.

    :return: False where the server cannot stop it (tasks on Serverless): it is left to finish, and logged.
    """
    from elastic_ml.clients.anomaly_jobs import close_job

    try:
        if kind == ANALYTICS:
            try:
                client.ml.stop_data_frame_analytics(id=job_id)
            except ConflictError:
                # A failed job can only be stopped by force.
                client.ml.stop_data_frame_analytics(id=job_id, force=True)
        elif kind == TASK:
            if _serverless(client.info().body):
                return _left_to_finish(job_id)
            client.tasks.cancel(task_id=job_id)
        elif kind == TRANSFORM:
            client.transform.stop_transform(transform_id=job_id, force=True, wait_for_completion=True)
        elif kind == DATAFEED:
            feed = client.ml.get_datafeeds(datafeed_id=job_id)["datafeeds"][0]
            try:
                client.ml.stop_datafeed(datafeed_id=job_id)
            except (ConflictError, UnavailableError):
                client.ml.stop_datafeed(datafeed_id=job_id, force=True)
            # Not every stop closes the job (elastic/elasticsearch#74354, #139024): it is closed by name.
            close_job(client, feed["job_id"])
        elif kind == ANOMALY_JOB:
            close_job(client, job_id)
        elif kind == FORECAST:
            owner = job_id.partition("/")[0]
            if _is_idle(owner, client.ml.get_datafeed_stats(datafeed_id="_all")["datafeeds"]):
                close_job(client, owner)
    except NotFoundError:
        return True
    return True


def _is_idle(job_id: str, datafeeds: list[Mapping[str, Any]]) -> bool:
    """Whether a job has a datafeed that does not run: then it is open for a forecast only, which ends with it.

    No API stops a forecast. A job that is fed in real time, or by somebody's own program, stays open and finishes it.
    """
    states = [one["state"] for one in datafeeds if (one.get("timing_stats") or {}).get("job_id") == job_id]
    if states and set(states) == {"stopped"}:
        return True
    log.warning("The forecast of job %s cannot be stopped while the job is fed, and is left to finish.", job_id)
    return False


async def stop_async(client: "AsyncElasticsearch", kind: str, job_id: str) -> bool:
    """Stop remote work from a trigger; see :func:`stop`."""
    try:
        if kind == ANALYTICS:
            try:
                await client.ml.stop_data_frame_analytics(id=job_id)
            except ConflictError:
                await client.ml.stop_data_frame_analytics(id=job_id, force=True)
        elif kind == TASK:
            if _serverless((await client.info()).body):
                return _left_to_finish(job_id)
            await client.tasks.cancel(task_id=job_id)
        elif kind == TRANSFORM:
            await client.transform.stop_transform(transform_id=job_id, force=True, wait_for_completion=True)
        elif kind == DATAFEED:
            feed = (await client.ml.get_datafeeds(datafeed_id=job_id))["datafeeds"][0]
            try:
                await client.ml.stop_datafeed(datafeed_id=job_id)
            except (ConflictError, UnavailableError):
                await client.ml.stop_datafeed(datafeed_id=job_id, force=True)
            await _close_job_async(client, feed["job_id"])
        elif kind == ANOMALY_JOB:
            await _close_job_async(client, job_id)
        elif kind == FORECAST:
            owner = job_id.partition("/")[0]
            if _is_idle(owner, (await client.ml.get_datafeed_stats(datafeed_id="_all"))["datafeeds"]):
                await _close_job_async(client, owner)
    except NotFoundError:
        return True
    return True


async def _close_job_async(client: "AsyncElasticsearch", job_id: str) -> None:
    """As `elastic_ml.clients.anomaly_jobs.close_job`: force on a job that works would lose what it learnt."""
    try:
        await client.ml.close_job(job_id=job_id)
    except ConflictError:
        if (await client.ml.get_job_stats(job_id=job_id))["jobs"][0]["state"] not in {"failed", "opening"}:
            raise
        await client.ml.close_job(job_id=job_id, force=True)


def _serverless(info: Mapping[str, Any]) -> bool:
    return info["version"].get("build_flavor") == "serverless"


def _left_to_finish(job_id: str) -> bool:
    # Cancelling tasks is private on Serverless, so it is not even tried.
    log.warning("Task %s cannot be stopped on Serverless and is left to finish.", job_id)
    return False


# Data frame analytics ----------------------------------------------------------------------------------------------


def content_hash(body: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of the body as canonical JSON."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def put_analytics(
    client: "Elasticsearch",
    job_id: str,
    body: Mapping[str, Any],
    *,
    if_exists: IfExists = "reuse",
    labels: Mapping[str, str] | None = None,
    adjust: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> Literal["created", "reused"]:
    """Create a data frame analytics job unless it is there already.

    The hash of ``body`` is kept in the job's ``_meta``, beside ``labels``, so that a later call can tell whether the
    job that exists is the one asked for.

    :param if_exists: ``reuse`` the same job and refuse another body under its id; ``fail`` in any case; ``replace``
        another body (its job is deleted; the destination index is not touched).
    :param labels: origin of the job for its ``_meta``: dag, task and run.
    :param adjust: fits the body to this cluster (memory) just before it is sent; the hash stays that of ``body``.
    :raises AlreadyExistsError: the id is taken by another body (``reuse``), or taken at all (``fail``).
    """
    digest = content_hash(body)
    existing = get_analytics(client, job_id)
    if existing is not None and if_exists == "replace" and _hash_of(existing) != digest:
        client.ml.delete_data_frame_analytics(id=job_id, force=True)
        existing = None
    if existing is None:
        meta = {**body.get("_meta", {}), **(labels or {}), "managed_by": "airflow-provider-elastic-ml", "hash": digest}
        arguments = {key: value for key, value in adjust(body).items() if key not in {"_meta", "id"}}
        try:
            client.ml.put_data_frame_analytics(id=job_id, meta=meta, **arguments)
        except TypeError as error:
            raise InvalidRequestError(
                f"The body of data frame analytics job {job_id} has a key that the client does not know: {error}.",
                remedy="Is it misspelt? A key of a newer Elasticsearch needs a newer client.",
            ) from None
        except AlreadyExistsError:
            # Our own answer was lost and the request sent again, or somebody was faster: look once more.
            existing = get_analytics(client, job_id)
            if existing is None or _hash_of(existing) != digest:
                raise
            return "reused" if if_exists != "fail" else "created"
        return "created"
    if if_exists == "fail" or _hash_of(existing) != digest:
        raise AlreadyExistsError(
            f"Data frame analytics job {job_id} exists already"
            + ("" if if_exists == "fail" else " with another body")
            + ".",
            remedy="Delete it, give the new one another id, or set if_exists='replace'.",
            status=400,
        )
    return "reused"


def get_analytics(client: "Elasticsearch", job_id: str) -> dict[str, Any] | None:
    """Return the job's configuration, or None when there is no such job."""
    try:
        found = client.ml.get_data_frame_analytics(id=job_id)["data_frame_analytics"]
    except NotFoundError:
        return None
    return dict(found[0]) if found else None


def _hash_of(job: Mapping[str, Any]) -> str:
    return str((job.get("_meta") or {}).get("hash", ""))


def estimate_memory(client: "Elasticsearch", body: Mapping[str, Any]) -> str | None:
    """Return the memory that Elasticsearch expects the job to need without disk, such as ``128mb``.

    :return: None where the API is missing (Serverless).
    """
    wanted = ("source", "dest", "analysis", "analyzed_fields", "model_memory_limit", "max_num_threads", "description")
    arguments = {key: body[key] for key in wanted if key in body}
    try:
        answer = client.ml.explain_data_frame_analytics(**arguments)
    except VersionError:
        return None
    return str(answer["memory_estimation"]["expected_memory_without_disk"])


_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}


def memory_bytes(text: str) -> int:
    """Return the bytes of a size as Elasticsearch writes it, such as ``128mb``.

    :raises InvalidRequestError: it is no such size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb)\s*", text.lower())
    if not match:
        raise InvalidRequestError(f"{text!r} is no size in memory.", remedy="Write it as 128mb or 2gb.")
    return int(float(match[1]) * _UNITS[match[2]])


def enough_memory(limit: str | None, estimate_bytes: int) -> str | None:
    """Return the limit to set so that ``estimate_bytes`` fit, or None when the present one is enough.

    The server's default is 1gb. An estimate is rounded up to whole megabytes.
    """
    if memory_bytes(limit or "1gb") >= estimate_bytes:
        return None
    return f"{-(-estimate_bytes // 2**20)}mb"


def start_analytics(client: "Elasticsearch", job_id: str) -> Literal["started", "running", "finished"]:
    """Start a job if it neither runs nor finished; a failed one is stopped by force and started again.

    :raises UpgradeModeError: machine learning is in upgrade mode.
    :raises NotFoundError: there is no such job.
    """
    status = job_status(client, ANALYTICS, job_id)
    if status.state is JobState.DONE:
        return "finished"
    if status.active:
        return "running"
    if status.failed:
        client.ml.stop_data_frame_analytics(id=job_id, force=True)
    try:
        client.ml.start_data_frame_analytics(id=job_id)
    except ConflictError as error:
        if "already been started" not in error.message:
            raise
        return "running"
    except InvalidRequestError as error:
        if "already finished" not in error.message:
            raise
        return "finished"
    return "started"


def models_of(client: "Elasticsearch", job_id: str) -> list[str]:
    """Return the ids of the trained models that a job made, newest first; they carry its id as a tag."""
    configs = client.ml.get_trained_models(tags=job_id, size=100, allow_no_match=True)["trained_model_configs"]
    return [c["model_id"] for c in sorted(configs, key=lambda c: int(c.get("create_time") or 0), reverse=True)]


# Reindex -----------------------------------------------------------------------------------------------------------


def start_reindex(
    client: "Elasticsearch",
    *,
    source: Mapping[str, Any],
    dest: Mapping[str, Any],
    opaque_id: str,
    slices: int | str = "auto",
    requests_per_second: float = -1,
    look_first: bool = True,
    can_list_tasks: bool = True,
) -> str:
    """Start a reindex as a task, or find the one that runs already under the same ``opaque_id``.

    Documents are created, never overwritten, and conflicts are passed over: running it again copies what is missing.

    :param source: ``{"index": ..., "query": ...}`` as the API takes it.
    :param dest: ``{"index": ..., "pipeline": ...}``; ``op_type`` becomes ``create``.
    :param opaque_id: deterministic name of this piece of work; it is the task's ``X-Opaque-Id``.
    :param slices: number of slices, or ``auto``.
    :param requests_per_second: documents per second, -1 for no limit.
    :param look_first: False where the caller just looked for a running task.
    :param can_list_tasks: False on Serverless, where a running task cannot be found.
    :return: the task's id.
    :raises UnavailableError: the answer was lost and no such task is seen; a retry looks again.
    """
    from elastic_ml.clients.elasticsearch import header_safe

    opaque_id = header_safe(opaque_id)
    if look_first and can_list_tasks and (running := find_task(client, opaque_id)):
        return running
    # Sent once: a second copy after a lost answer would be a second task. What a lost answer left behind is looked for.
    once = client.options(max_retries=0, opaque_id=opaque_id)
    try:
        answer = once.reindex(
            source=dict(source),
            dest={**dest, "op_type": "create"},
            conflicts="proceed",
            slices=slices,
            requests_per_second=requests_per_second,
            refresh=True,
            wait_for_completion=False,
        )
    except UnavailableError:
        running_after = find_task(client, opaque_id) if can_list_tasks else None
        if running_after is None:
            raise
        return running_after
    return str(answer["task"])


def find_task(client: "Elasticsearch", opaque_id: str, *, actions: str = "*reindex*") -> str | None:
    """Return the id of the running task (not of a slice) that carries this ``X-Opaque-Id``.

    :return: None when there is none, or where tasks cannot be listed.
    """
    from elastic_ml.clients.elasticsearch import header_safe

    wanted = header_safe(opaque_id)
    try:
        answer = client.tasks.list(actions=actions, detailed=True)
    except VersionError:
        return None
    for node in answer.get("nodes", {}).values():
        for task_id, task in node.get("tasks", {}).items():
            if task.get("headers", {}).get("X-Opaque-Id") == wanted and not task.get("parent_task_id"):
                return str(task_id)
    return None
