"""Failures of a search: what one shard reports, and what becomes of it when all or some shards fail."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.errors import ElasticError


class ShardFailure(Exception):  # noqa: N818  Elasticsearch calls it so
    """What went wrong on one index while its part of a search was built."""

    def __init__(
        self,
        kind: str,
        reason: str,
        *,
        status: int = 400,
        caused_by: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(reason)
        self.type = kind
        self.reason = reason
        self.status = status
        self.caused_by = caused_by
        self.metadata = metadata or {}

    def cause(self, index: str, uuid: str) -> dict[str, Any]:
        """The error object of this shard."""
        body: dict[str, Any] = {"type": self.type, "reason": self.reason, **self.metadata}
        if self.type == "query_shard_exception":
            body |= {"index_uuid": uuid, "index": index}
        if self.caused_by is not None:
            body["caused_by"] = self.caused_by
        return body


def query_shard(reason: str, caused_by: dict[str, Any] | None = None) -> ShardFailure:
    """A query that this index's mapping cannot run."""
    return ShardFailure("query_shard_exception", reason, caused_by=caused_by)


def failed_query(inner_type: str, reason: str) -> ShardFailure:
    """``failed to create query``, with its inner cause."""
    return query_shard(f"failed to create query: {reason}", {"type": inner_type, "reason": reason})


def fielddata_disabled(path: str, index: str) -> ShardFailure:
    """Sorting or aggregating on text."""
    return ShardFailure(
        "illegal_argument_exception",
        f"Fielddata is disabled on [{path}] in [{index}]. Text fields are not optimised for operations that require "
        "per-document field data like aggregations and sorting, so these operations are disabled by default. Please "
        f"use a keyword field instead. Alternatively, set fielddata=true on [{path}] in order to load field data by "
        "uninverting the inverted index. Note that this can use significant memory.",
    )


def fielddata_of_id() -> ShardFailure:
    """Sorting or aggregating on ``_id``."""
    return ShardFailure(
        "illegal_argument_exception",
        "Fielddata access on the _id field is disallowed, you can re-enable it by updating the dynamic cluster "
        "setting: indices.id_field_data.enabled",
    )


def shard_entry(failure: ShardFailure, index: str, uuid: str, node: str) -> dict[str, Any]:
    """One element of ``_shards.failures``."""
    return {"shard": 0, "index": index, "node": node, "reason": failure.cause(index, uuid)}


def all_shards_failed(failures: list[tuple[ShardFailure, str, str]], node: str) -> ElasticError:
    """The error of a search that failed on every index.

    :param failures: (failure, index name, index uuid)
    """
    first, name, uuid = failures[0]
    root = {key: value for key, value in first.cause(name, uuid).items() if key != "caused_by"}
    # Failures of the same kind are grouped: one entry stands for all of them.
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for failure, index, index_uuid in failures:
        entries.setdefault((failure.type, failure.reason), shard_entry(failure, index, index_uuid, node))
    error = ElasticError(
        first.status,
        "search_phase_execution_exception",
        "all shards failed",
        root_cause=[root],
        phase="query",
        grouped=True,
        failed_shards=list(entries.values()),
    )
    if first.type == "illegal_argument_exception":
        cause = first.cause(name, uuid)
        error.caused_by = {**cause, "caused_by": cause}
    return error
