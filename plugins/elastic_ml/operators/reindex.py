"""Copying documents on the cluster: throttled, sliced, resumable."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.remote_job import RemoteJob, RemoteJobOperator, attach_or_start

if TYPE_CHECKING:
    from elastic_ml.clients.remote_jobs import JobStatus


class ReindexOperator(RemoteJobOperator):
    """Copy documents from one or several indices into another and return how many are there.

    Documents are created, never overwritten (``op_type: create``, ``conflicts: proceed``): running it again copies only
    what is missing, which is its resume. The task's ``X-Opaque-Id`` is derived from source, destination and query, so a
    try that follows a crash finds the running task even when its id was never stored.

    :param source: index names or patterns (templated).
    :param dest: destination index (templated); it has to exist where its mapping matters.
    :param pipeline: ingest pipeline that every document passes (templated).
    :param query: which documents (templated); all by default.
    :param source_fields: only these fields of ``_source``; all by default.
    :param slices: number of parallel slices, or ``auto`` (one per shard).
    :param requests_per_second: documents per second, -1 for no limit.
    :return: ``{"index", "documents", "created", "skipped", "task"}``: ``documents`` by ``_count`` of the destination;
        ``created`` as the task says, where rows that the pipeline dropped may count too; ``skipped`` those that were
        there already.
    :raises JobFailedError: documents failed, with the first failure in the server's words.
    """

    template_fields: Sequence[str] = sorted_fields("dest", "pipeline", "query", "source")
    template_fields_renderers: ClassVar[dict[str, str]] = {"query": "json", "source": "json"}
    operator_extra_links = (IndexLink(),)
    kind = "task"

    def __init__(
        self,
        *,
        source: str | Sequence[str],
        dest: str,
        pipeline: str | None = None,
        query: Mapping[str, Any] | None = None,
        source_fields: Sequence[str] | None = None,
        slices: int | str = "auto",
        requests_per_second: float = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.dest = dest
        self.pipeline = pipeline
        self.query = query
        self.source_fields = source_fields
        self.slices = slices
        self.requests_per_second = requests_per_second

    def prepare(self, context: Any) -> RemoteJob:
        """Return what is copied and the deterministic ``X-Opaque-Id``; nothing is sent."""
        return reindex_job(
            source=self.source,
            dest=self.dest,
            pipeline=self.pipeline,
            query=self.query,
            source_fields=self.source_fields,
            slices=self.slices,
            requests_per_second=self.requests_per_second,
        )

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Start the reindex, or attach to the task that runs already."""
        return submit_reindex(self.client, job, can_list_tasks=not self.hook.serverless)

    def finish(self, context: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
        """Count the destination."""
        return reindex_result(self.client, job, status)

    def link_names(self, job: RemoteJob) -> Mapping[str, str]:
        """Return the destination index."""
        return {"IndexLink": str(job.spec["dest"]["index"])}


def reindex_job(
    *,
    source: str | Sequence[str],
    dest: str,
    pipeline: str | None = None,
    query: Mapping[str, Any] | None = None,
    source_fields: Sequence[str] | None = None,
    slices: int | str = "auto",
    requests_per_second: float = -1,
) -> RemoteJob:
    """Return a reindex as remote work, for :class:`ReindexOperator` and operators with several steps."""
    from elastic_ml.clients.remote_jobs import content_hash

    from_: dict[str, Any] = {"index": [source] if isinstance(source, str) else list(source)}
    if query:
        from_["query"] = dict(query)
    if source_fields:
        from_["_source"] = list(source_fields)
    to: dict[str, Any] = {"index": dest}
    if pipeline:
        to["pipeline"] = pipeline
    name = f"elastic-ml-reindex-{dest}-{content_hash({'source': from_, 'dest': to})[:8]}"
    spec = {
        "source": from_,
        "dest": to,
        "slices": slices,
        "requests_per_second": requests_per_second,
        "opaque_id": name,
    }
    return RemoteJob(kind="task", id="", spec=spec)


def submit_reindex(client: Any, job: RemoteJob, *, can_list_tasks: bool = True) -> RemoteJob:
    """Start what :func:`reindex_job` described unless it runs or is done.

    :param can_list_tasks: False on Serverless: then only a stored task id re-attaches, and a second copy of the
        work finds every document in place.
    """
    from elastic_ml.clients.remote_jobs import find_task, start_reindex

    spec = job.spec
    return attach_or_start(
        client,
        job,
        start=lambda: start_reindex(
            client,
            source=spec["source"],
            dest=spec["dest"],
            opaque_id=spec["opaque_id"],
            slices=spec["slices"],
            requests_per_second=spec["requests_per_second"],
            look_first=False,
            can_list_tasks=can_list_tasks,
        ),
        find=lambda: find_task(client, spec["opaque_id"]) if can_list_tasks else None,
    )


def reindex_result(client: Any, job: RemoteJob, status: "JobStatus") -> dict[str, Any]:
    """Return what a finished reindex left in its destination, counted there."""
    index = str(job.spec["dest"]["index"])
    response = status.raw.get("response") or {}
    client.indices.refresh(index=index)
    return {
        "index": index,
        "documents": int(client.count(index=index)["count"]),
        "created": int(response.get("created") or 0),
        "skipped": int(response.get("version_conflicts") or 0),
        "task": job.id,
    }
