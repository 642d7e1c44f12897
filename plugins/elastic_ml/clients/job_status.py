"""Asking the cluster what state long work is in: for one piece of it, or for all that is waited for at once.

The kinds of work, their states and how each answer is read are in :mod:`elastic_ml.clients.job_states`; its names can
be imported from here too.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from elastic_ml.clients.job_states import (
    ANALYTICS,
    ANOMALY_JOB,
    DATAFEED,
    FORECAST,
    KINDS,
    PAUSE,
    REQUEST,
    TASK,
    TRANSFORM,
    UPGRADE_MODE,
    JobState,
    JobStatus,
    analytics_status,
    anomaly_job_status,
    datafeed_status,
    forecast_status,
    readable,
    task_status,
    transform_status,
    upgrade_mode_status,
)
from elastic_ml.exceptions import ElasticMLError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch, Elasticsearch

__all__ = [
    "ANALYTICS",
    "ANOMALY_JOB",
    "ANOMALY_RESULTS",
    "DATAFEED",
    "FORECAST",
    "KINDS",
    "PAUSE",
    "REQUEST",
    "TASK",
    "TRANSFORM",
    "UPGRADE_MODE",
    "JobState",
    "JobStatus",
    "analytics_status",
    "anomaly_job_status",
    "datafeed_status",
    "forecast_status",
    "forecasts_query",
    "job_status",
    "job_statuses",
    "task_status",
    "transform_status",
    "upgrade_mode_status",
]

ANOMALY_RESULTS = ".ml-anomalies-*"
STATS_PAGE = 1000
"""Analytics jobs or transforms per ``_stats`` request: all of them, not a list of ids that would not fit a URL."""


def forecasts_query(job_ids: Iterable[str], forecast_ids: Iterable[str] | None = None) -> dict[str, Any]:
    """Query for the states of forecasts of some jobs; no API gives them, Kibana reads them so as well."""
    wanted = [] if forecast_ids is None else [{"terms": {"forecast_id": sorted(forecast_ids)}}]
    kind = {"term": {"result_type": "model_forecast_request_stats"}}
    return {"bool": {"filter": [{"terms": {"job_id": sorted(job_ids)}}, kind, *wanted]}}


def _of_forecasts(ids: Iterable[str]) -> dict[str, Any]:
    pairs = [one.split("/", 1) for one in ids]
    query = forecasts_query({job for job, _ in pairs}, {forecast for _, forecast in pairs})
    return {"index": ANOMALY_RESULTS, "query": query, "size": len(pairs)}


def _forecast_entries(hits: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    found = (hit["_source"] for hit in hits)
    return {f"{one['job_id']}/{one['forecast_id']}": one for one in found}


def _lost(kind: str, job_id: str) -> JobStatus:
    reason = (
        f"the cluster knows no task {job_id}; the node that ran it may have left"
        if kind == TASK
        else f"the cluster knows no {kind} {job_id}"
    )
    return JobStatus(JobState.MISSING, reason=reason)


def job_status(client: "Elasticsearch", kind: str, job_id: str) -> JobStatus:
    """Ask the cluster for the state of one piece of work.

    :raises ElasticMLError: the question itself failed; a missing job is a state, not an error.
    """
    try:
        if kind == ANALYTICS:
            entries = client.ml.get_data_frame_analytics_stats(id=job_id)["data_frame_analytics"]
            return analytics_status(entries[0]) if entries else _lost(kind, job_id)
        if kind == TASK:
            return task_status(client.tasks.get(task_id=job_id).body)
        if kind == TRANSFORM:
            # For an id that does not exist the server answers an empty list, no error.
            entries = client.transform.get_transform_stats(transform_id=job_id)["transforms"]
            return transform_status(entries[0]) if entries else _lost(kind, job_id)
        if kind == ANOMALY_JOB:
            entries = client.ml.get_job_stats(job_id=job_id)["jobs"]
            return anomaly_job_status(entries[0]) if entries else _lost(kind, job_id)
        if kind == DATAFEED:
            entries = client.ml.get_datafeed_stats(datafeed_id=job_id)["datafeeds"]
            return datafeed_status(entries[0]) if entries else _lost(kind, job_id)
        if kind == FORECAST:
            stats = _forecast_entries(client.search(**_of_forecasts([job_id]))["hits"]["hits"])
            return forecast_status(stats[job_id]) if job_id in stats else _lost(kind, job_id)
        if kind == REQUEST:
            return JobStatus(JobState.DONE)
        if kind == UPGRADE_MODE:
            return upgrade_mode_status(client.ml.info().body)
    except NotFoundError:
        return _lost(kind, job_id)
    raise _unknown_kind(kind)


async def job_statuses(client: "AsyncElasticsearch", kind: str, job_ids: Iterable[str]) -> dict[str, JobStatus]:
    """Ask for the states of all work of one kind: by one ``_stats`` for all, or one list of all tasks.

    :return: id → status; a job that the cluster does not know is :attr:`JobState.MISSING`.
    """
    wanted = list(dict.fromkeys(job_ids))
    if kind in {ANALYTICS, TRANSFORM}:
        found: dict[str, JobStatus] = {}
        seen, total = 0, 1
        while seen < total:
            # By _all with an explicit size: the default is 100 jobs, and 200 ids do not belong into a URL.
            if kind == ANALYTICS:
                page = await client.ml.get_data_frame_analytics_stats(id="_all", size=STATS_PAGE, from_=seen)
                entries = page["data_frame_analytics"]
            else:
                page = await client.transform.get_transform_stats(transform_id="_all", size=STATS_PAGE, from_=seen)
                entries = page["transforms"]
            total = int(page["count"])
            seen += len(entries)
            found |= {e["id"]: readable(kind, e) for e in entries if e["id"] in wanted}
            if not entries:
                break
        return {job_id: found.get(job_id) or _lost(kind, job_id) for job_id in wanted}
    if kind in {ANOMALY_JOB, DATAFEED}:
        # These two take no page: the answer has all of them.
        if kind == ANOMALY_JOB:
            stats = {e["job_id"]: e for e in (await client.ml.get_job_stats(job_id="_all"))["jobs"]}
        else:
            stats = {e["datafeed_id"]: e for e in (await client.ml.get_datafeed_stats(datafeed_id="_all"))["datafeeds"]}
        return {i: readable(kind, stats[i]) if i in stats else _lost(kind, i) for i in wanted}
    if kind == FORECAST:
        entries = _forecast_entries((await client.search(**_of_forecasts(wanted)))["hits"]["hits"])
        return {i: readable(kind, entries[i]) if i in entries else _lost(kind, i) for i in wanted}
    if kind == TASK:
        return await _task_statuses(client, wanted)
    if kind == UPGRADE_MODE:
        status = upgrade_mode_status((await client.ml.info()).body)
        return dict.fromkeys(wanted, status)
    raise _unknown_kind(kind)


async def _task_statuses(client: "AsyncElasticsearch", wanted: list[str]) -> dict[str, JobStatus]:
    """By one list of all that run; a task that is not in it has ended and is asked for by itself, once."""
    running: dict[str, Any] = {}
    if len(wanted) > 1 and await _can_list_tasks(client):
        nodes = (await client.tasks.list(detailed=True)).get("nodes", {})
        running = {task_id: task for node in nodes.values() for task_id, task in node.get("tasks", {}).items()}
    statuses = {}
    for job_id in wanted:
        if job_id in running:
            statuses[job_id] = task_status({"completed": False, "task": running[job_id]})
            continue
        try:
            statuses[job_id] = task_status((await client.tasks.get(task_id=job_id)).body)
        except NotFoundError:
            statuses[job_id] = _lost(TASK, job_id)
    return statuses


_lists_tasks: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


async def _can_list_tasks(client: "AsyncElasticsearch") -> bool:
    """Whether this is no Serverless project, where listing tasks is private; asked once per connection pool."""
    known = _lists_tasks.get(client.transport)
    if known is None:
        known = (await client.info())["version"].get("build_flavor") != "serverless"
        _lists_tasks[client.transport] = known
    return known


def _unknown_kind(kind: str) -> ElasticMLError:
    return ElasticMLError(f"There is no remote work of kind {kind!r}.", remedy=f"Known kinds: {', '.join(KINDS)}.")
