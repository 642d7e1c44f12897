"""An anomaly job and its datafeed on the cluster: read, open, feed, flush, close; each so that twice is once."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ConflictError, JobFailedError, LockHeldError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Job = Mapping[str, Any]

log = logging.getLogger(__name__)


def get_job(client: Elasticsearch, job_id: str) -> dict[str, Any] | None:
    """A job with its datafeed, None when there is none.

    :raises LockHeldError: it is being deleted, reset or reverted, which will be over.
    """
    try:
        job = dict(client.ml.get_jobs(job_id=job_id)["jobs"][0])
    except (NotFoundError, IndexError):
        return None
    if job.get("deleting") or (job.get("blocked") or {}).get("reason"):
        doing = (job.get("blocked") or {}).get("reason") or "delete"
        raise LockHeldError(
            f"Anomaly job {job_id} is busy with: {doing}.", remedy="Wait until that has ended; GET _tasks shows it."
        )
    return job


def existing_job(client: Elasticsearch, job_id: str) -> dict[str, Any]:
    """A job with its datafeed.

    :raises JobFailedError: somebody deleted it.
    :raises LockHeldError: it is being deleted, reset or reverted.
    """
    job = get_job(client, job_id)
    if job is None:
        raise JobFailedError(
            f"Anomaly job {job_id} is gone: somebody deleted it.",
            remedy="Clear the task to make it again; it learns from the partition that this run is for.",
        )
    return job


def write_settings(client: Elasticsearch, job: Job, changes: Mapping[str, Any]) -> None:
    """Change keys of a job's `custom_settings`, which an update replaces as a whole; nothing is sent for no change."""
    kept = dict(job.get("custom_settings") or {})
    if {**kept, **changes} != kept:
        client.ml.update_job(job_id=job["job_id"], custom_settings={**kept, **changes})


# Feeding ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """What a datafeed would find between two moments: how many documents, and the time of the newest.

    :param newest: epoch ms; -1 where there is nothing.
    """

    documents: int
    newest: int


def data_between(client: Elasticsearch, job: Job, start_ms: int, end_ms: int) -> Data:
    """Count what a job's datafeed would read in [start, end), by its indices and query."""
    feed = job["datafeed_config"]
    time_field = (job.get("data_description") or {}).get("time_field") or "time"
    options = feed.get("indices_options") or {}
    within = {"range": {time_field: {"gte": start_ms, "lt": end_ms, "format": "epoch_millis"}}}
    arguments: dict[str, Any] = {name: options[name] for name in _OPTIONS if name in options}
    if feed.get("runtime_mappings"):
        arguments["runtime_mappings"] = feed["runtime_mappings"]
    answer = client.search(
        index=feed["indices"],
        size=0,
        track_total_hits=True,
        query={"bool": {"filter": [feed.get("query") or {"match_all": {}}, within]}},
        aggregations={"newest": {"max": {"field": time_field}}},
        **arguments,
    )
    newest = answer["aggregations"]["newest"]["value"]
    return Data(int(answer["hits"]["total"]["value"]), -1 if newest is None else int(newest))


_OPTIONS = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")


@dataclass(frozen=True)
class Progress:
    """Where a job is: its state, and the time of the newest record it has seen (epoch ms; a revert takes it back)."""

    state: str
    latest: int


def progress(client: Elasticsearch, job_id: str) -> Progress:
    """Ask where a job is: `closed`, `opening`, `opened` or `failed`; `latest` is -1 before any record.

    :raises LockHeldError: it is closing, which will be over.
    """
    stats = client.ml.get_job_stats(job_id=job_id)["jobs"][0]
    if stats["state"] == "closing":
        raise LockHeldError(f"Anomaly job {job_id} is closing.", remedy="Wait until it is closed.")
    latest = stats["data_counts"].get("latest_record_timestamp")
    return Progress(str(stats["state"]), -1 if latest is None else int(latest))


def open_job(client: Elasticsearch, job_id: str) -> None:
    """Open a job; one that is open is fine.

    :raises UpgradeModeError: machine learning is in upgrade mode.
    :raises UnavailableError: no node has room for it, and it may not wait for one (`allow_lazy_open`).
    """
    try:
        client.ml.open_job(job_id=job_id)
    except ConflictError as error:
        # The answer to our own request was lost and it was sent again, or somebody was faster.
        if "already been opened" not in error.message:
            raise


def start_datafeed(
    client: Elasticsearch, datafeed_id: str, *, start: int | None = None, end: int | None = None
) -> bool:
    """Start a datafeed; False when it runs already, or ran meanwhile.

    :param start: epoch ms; where the job has come further, the datafeed goes on there. None for the oldest data.
    :param end: epoch ms, not included; the datafeed then stops there and closes its job. None for real time.
    """
    first, last = (None if at is None else str(at) for at in (start, end))
    try:
        client.ml.start_datafeed(datafeed_id=datafeed_id, start=first, end=last)
    except ConflictError as error:
        # The answer to our own request was lost and it was sent again: the datafeed runs, or has come to its end and
        # closed its job. Whoever waits for it sees how far it came.
        if not re.search(r"already been started|because job \[.*\] is (closed|closing)", error.message):
            raise
        return False
    return True


def stop_datafeed(client: Elasticsearch, datafeed_id: str) -> None:
    """Stop a datafeed; a stopped one is fine, one that does not stop is stopped by force."""
    try:
        client.ml.stop_datafeed(datafeed_id=datafeed_id)
    except ConflictError:
        client.ml.stop_datafeed(datafeed_id=datafeed_id, force=True)


def close_job(client: Elasticsearch, job_id: str) -> None:
    """Close a job, its datafeed first; a closed one is fine, a failed or opening one is closed by force.

    Force on a job that works would lose what it learnt since its last snapshot.
    """
    try:
        client.ml.close_job(job_id=job_id)
    except ConflictError:
        state = client.ml.get_job_stats(job_id=job_id)["jobs"][0]["state"]
        if state not in {"failed", "opening"}:
            raise
        client.ml.close_job(job_id=job_id, force=True)


def settle(client: Elasticsearch, job_id: str, until_ms: int) -> None:
    """Finish every bucket of an open job up to a moment, then close it.

    A look-back ends with its last bucket unfinished, and what is anomalous in it unsaid until the next data comes.
    """
    client.ml.flush_job(job_id=job_id, advance_time=str(until_ms))
    close_job(client, job_id)


# Snapshots ----------------------------------------------------------------------------------------------------------


def snapshot_of(client: Elasticsearch, job_id: str, snapshot_id: str) -> dict[str, Any] | None:
    """A model snapshot, None when there is none of that id."""
    try:
        found = client.ml.get_model_snapshots(job_id=job_id, snapshot_id=snapshot_id)["model_snapshots"]
    except NotFoundError:
        return None
    return dict(found[0]) if found else None


def release_snapshots(client: Elasticsearch, job_id: str, snapshots: Iterable[str]) -> None:
    """Let Elasticsearch prune snapshots by age again; those that are gone are fine."""
    for snapshot_id in snapshots:
        try:
            client.ml.update_model_snapshot(job_id=job_id, snapshot_id=snapshot_id, retain=False)
        except NotFoundError:
            log.info("Model snapshot %s of job %s is gone already.", snapshot_id, job_id)
