"""Keeps an anomaly job and its datafeed on a cluster as they are wanted: compared, created, updated, said."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.clients.anomaly_jobs import close_job, get_job, stop_datafeed
from elastic_ml.exceptions import AlreadyExistsError
from elastic_ml.project.anomaly_differences import datafeed_changes, job_changes
from elastic_ml.project.bodies import MANAGED_BY, body_hash

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.anomaly_differences import DatafeedChanges, JobChanges

Body = dict[str, Any]
IfExists = Literal["reuse", "fail", "replace"]
State = Literal["created", "updated", "unchanged", "edited by hand"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """A job and its datafeed as a file or a task wants them; bodies as the API takes them, without ids."""

    job: Mapping[str, Any]
    datafeed: Mapping[str, Any]

    @cached_property
    def hash(self) -> str:
        """Kept in the job's `custom_settings`, so that a later run can tell a changed file from a change by hand."""
        return body_hash({"job": dict(self.job), "datafeed": dict(self.datafeed)})

    def changes(self, job: Mapping[str, Any]) -> tuple[JobChanges, DatafeedChanges | None]:
        """What separates a job on the server, and its datafeed, from this; None for a job without a datafeed."""
        feed = job.get("datafeed_config")
        return job_changes(self.job, job), datafeed_changes(self.datafeed, feed) if feed else None


@dataclass(frozen=True)
class Kept:
    """What `keep` found or did.

    :param said: what differed, one sentence fragment each.
    """

    job_id: str
    datafeed_id: str
    state: State
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One version of a job on the server: `<name>` is the first, `<name>_v2` the second."""

    number: int
    job: Mapping[str, Any] = field(repr=False)

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.job["job_id"])


def default_datafeed_id(job_id: str) -> str:
    """`datafeed-<job>`, as Kibana names them."""
    return f"datafeed-{job_id}"


def version_id(name: str, number: int) -> str:
    """`<name>`, `<name>_v2`, `<name>_v3`, ..."""
    return name if number == 1 else f"{name}_v{number}"


def versions(client: Elasticsearch, name: str) -> list[Version]:
    """Every version of a job that is there, the newest last."""
    form = re.compile(rf"{re.escape(name)}(?:_v([0-9]+))?")
    found = client.ml.get_jobs(job_id=f"{name}*", allow_no_match=True)["jobs"]
    numbered = ((form.fullmatch(job["job_id"]), job) for job in found)
    return sorted((Version(int(match[1] or 1), job) for match, job in numbered if match), key=lambda v: v.number)


def keep(
    client: Elasticsearch,
    job_id: str,
    wanted: Wanted,
    *,
    if_exists: IfExists = "reuse",
    labels: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite_edited: bool = False,
) -> Kept:
    """Bring a job and its datafeed to the wanted bodies; writes nothing when nothing differs.

    A running datafeed is stopped before it is updated, and an open job closed where the update needs that: whoever
    calls this starts them again.

    :param if_exists: `reuse` what is there and update it; `fail` when it is there; `replace` a job that cannot be
        updated, with all it has learnt and found.
    :param labels: origin of the job for its `custom_settings`: dag, task and run.
    :param settings: more `custom_settings` of a job that is created.
    :param overwrite_edited: also take back what somebody changed by hand since the last run.
    :raises AlreadyExistsError: the job is there (`fail`), or what differs cannot be updated (`reuse`).
    """
    job = get_job(client, job_id)
    if job is not None and if_exists == "fail":
        raise AlreadyExistsError(
            f"Anomaly job {job_id} exists already.",
            remedy="Delete it, give the new one another id, or set if_exists='reuse'.",
            status=400,
        )
    if job is not None and (anew := job_changes(wanted.job, job).anew):
        if if_exists != "replace":
            raise AlreadyExistsError(
                f"Anomaly job {job_id} exists and cannot be updated to what is wanted: {'; '.join(anew)}.",
                remedy="Give the new one another id, or set if_exists='replace' to lose what this one has learnt.",
                status=400,
            )
        client.ml.delete_job(job_id=job_id, force=True, wait_for_completion=True)
        job = None
    if job is None:
        made = _create(client, job_id, wanted, {**(settings or {}), **about(wanted, labels)})
        if made is not None:
            return made
        # Our own answer was lost and the request sent again, or somebody was faster: compare with what is there.
        return keep(client, job_id, wanted, labels=labels, overwrite_edited=overwrite_edited)
    return _update(client, job, wanted, labels, overwrite_edited)


def _create(client: Elasticsearch, job_id: str, wanted: Wanted, settings: Body) -> Kept | None:
    feed = {**wanted.datafeed, "job_id": job_id, "datafeed_id": default_datafeed_id(job_id)}
    body = {**wanted.job, "custom_settings": {**(wanted.job.get("custom_settings") or {}), **settings}}
    try:
        # One request: Elasticsearch takes the job back when its datafeed is refused.
        client.ml.put_job(job_id=job_id, body={**body, "datafeed_config": feed})
    except AlreadyExistsError:
        if get_job(client, job_id) is None:
            # The name belongs to a group of jobs, or the datafeed's to another job.
            raise
        return None
    return Kept(job_id, feed["datafeed_id"], "created")


def _update(
    client: Elasticsearch, job: Body, wanted: Wanted, labels: Mapping[str, str] | None, overwrite_edited: bool
) -> Kept:
    job_id = str(job["job_id"])
    changes, feed_changes = wanted.changes(job)
    datafeed_id = str((job.get("datafeed_config") or {}).get("datafeed_id") or default_datafeed_id(job_id))
    said = (*changes.said, *(feed_changes.said if feed_changes else ("the datafeed is missing",)))
    if not said:
        return Kept(job_id, datafeed_id, "unchanged")
    kept = job.get("custom_settings") or {}
    if kept.get("hash") == wanted.hash and feed_changes is not None and not overwrite_edited:
        # Rules and descriptions are edited in Kibana for good reasons; the file's next change decides.
        log.warning("Anomaly job %s was changed by hand and stays so: %s.", job_id, "; ".join(said))
        return Kept(job_id, datafeed_id, "edited by hand", said)
    _write_datafeed(client, job_id, datafeed_id, wanted, feed_changes)
    if changes.closed:
        close_job(client, job_id)
    # Last, because the hash in it says that everything before was done.
    settings = {**kept, **changes.update.get("custom_settings", {}), **about(wanted, labels)}
    client.ml.update_job(job_id=job_id, body={**changes.update, "custom_settings": settings})
    return Kept(job_id, datafeed_id, "updated", said)


def _write_datafeed(
    client: Elasticsearch, job_id: str, datafeed_id: str, wanted: Wanted, changes: DatafeedChanges | None
) -> None:
    if changes is not None and not changes.said:
        return
    if changes is not None:
        stop_datafeed(client, datafeed_id)
    if changes is None or changes.recreate:
        if changes is not None:
            client.ml.delete_datafeed(datafeed_id=datafeed_id)
        client.ml.put_datafeed(datafeed_id=datafeed_id, body={**wanted.datafeed, "job_id": job_id})
    else:
        client.ml.update_datafeed(datafeed_id=datafeed_id, body=changes.update)


def about(wanted: Wanted, labels: Mapping[str, str] | None) -> Body:
    """`custom_settings` that say where a job comes from, and from which bodies."""
    return {**(labels or {}), "managed_by": MANAGED_BY, "hash": wanted.hash}
