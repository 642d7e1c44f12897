"""Sealing: a complete past month becomes part of its stream.

The order makes a crash at any point harmless, and sealing twice the same as sealing once:

1. what the ledger knows: every partition of the month, of every source of the stream, is `done`;
2. the mappings of the month's index and of the stream agree, and it has no alias;
3. the months whose user-hours have to be computed again are noted in the lock's ledger document;
4. the index is attached (``_data_stream/_modify``): from here on searches of the stream see it;
5. only then its lifecycle policy is set, with ``indexing_complete`` so that nothing waits for a rollover. With a policy
   from the start, ILM would shrink, freeze or delete an index that is years old by its origination date while it is
   being filled. Where the data stream lifecycle rules (Serverless), attaching is all: it goes by the same date;
6. user-hours, by a batch transform over each month that has events in what was sealed; the note is crossed out. A month
   of which another audit stream still has unsealed history waits for that: user-hours are computed across sources.

Steps 1 to 5 hold the lock `<stream>|<month>`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import IngestError, ProjectFileError
from elastic_ml.ingest.history import (
    HistoryIndex,
    history_indices,
    month_bounds,
    partition_at,
    policy_of,
    unsealed_history,
)
from elastic_ml.ingest.stream import AuditStream, properties_of

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.ingest.ledger import Lease, Ledger
    from elastic_ml.project import Project
    from elastic_ml.project.source import Source

log = logging.getLogger(__name__)

_NOTE = "user_hours"


@dataclass
class Month:
    """What became of a month.

    :param open: partitions that are not `done`, by source; while there are some, nothing is sealed.
    :param sealed: indices that this call attached to the stream.
    """

    open: dict[str, list[str]] = field(default_factory=dict)
    sealed: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """Which partitions are missing, for a log or an error."""
        return "; ".join(
            f"{source}: {len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for source, keys in self.open.items()
        )


def seal_month(
    client: Elasticsearch,
    project: Project,
    ledger: Ledger,
    stream: str,
    month: str,
    *,
    owner: str,
    stop: threading.Event | None = None,
) -> Month:
    """Seal a month into its stream if it is complete; safe to call at any time, and again.

    :param month: `yyyy.MM`.
    :param owner: who seals, shown to whoever waits for the lock.
    :param stop: ends the wait for user-hours when set.
    :raises IngestError: the index cannot be attached: its mapping conflicts with the stream's, or it has an alias.
    """
    found = Month(open=open_partitions(project, ledger, stream, month))
    if found.open:
        log.info("%s %s is not complete; to come: %s", stream, month, found.sentence())
        return found
    name = f"{stream}|{month}"
    with ledger.waited_lock(name, owner=owner) as lease:
        found.sealed = _seal(client, project, stream, month, lease)
        noted = list(lease.document.get(_NOTE) or [])
    if noted:
        unsealed = unsealed_history(client, [audit.name for audit in project.names.audit_streams])
        ready = sorted(set(noted) - {index.month for index in unsealed})
        _user_hours(client, project, ready, stop)
        with ledger.waited_lock(name, owner=owner) as lease:
            lease.renew({_NOTE: [left for left in lease.document.get(_NOTE) or [] if left not in ready]})
    return found


def open_partitions(project: Project, ledger: Ledger, stream: str, month: str) -> dict[str, list[str]]:
    """The partitions of a month that are not `done`, by source of the stream; empty ones have to be `done` too."""
    missing = {}
    for source in _sources_of(project, stream):
        keys = list(_partitions(source, month))
        records = ledger.partitions(source.name, keys)
        left = [key for key in keys if (records[key] or {}).get("state") != "done"]
        if left:
            missing[source.name] = left
    return missing


def _sources_of(project: Project, stream: str) -> Iterator[Source]:
    for name in project.sources():
        try:
            source = project.source(name)
        except ProjectFileError as error:
            raise IngestError(
                f"Whether a month of {stream} is complete cannot be told while the source {name} is invalid: {error}",
                remedy="Correct the file, then run any partition of the month again; its documents are safe.",
            ) from error
        if source.stream == stream:
            yield source


def _partitions(source: Source, month: str) -> Iterator[str]:
    """The keys of a source's partitions in a month, from its `start_date` on."""
    start, end = month_bounds(month)
    first = datetime.combine(source.start_date, datetime.min.time(), UTC)
    moment = max(start, first)
    while moment < end:
        partition = partition_at(moment, source.partition)
        yield partition.key
        moment = partition.end


def _seal(client: Elasticsearch, project: Project, stream: str, month: str, lease: Lease) -> list[str]:
    sealed = []
    shown = client.indices.get_data_stream(name=stream)["data_streams"][0]["indices"]
    backing = {index["index_name"]: index for index in shown}
    policy: str | None = ""
    for index in (index for index in history_indices(client, stream) if index.month == month):
        if policy == "":
            policy = policy_of(client, stream)
        if index.name not in backing:
            _check(client, stream, index)
            _note(client, project, index, lease)
            action = {"add_backing_index": {"data_stream": stream, "index": index.name}}
            client.indices.modify_data_stream(actions=[action])
            sealed.append(index.name)
        if policy and not backing.get(index.name, {}).get("ilm_policy"):
            settings = {"index.lifecycle.name": policy, "index.lifecycle.indexing_complete": True}
            client.indices.put_settings(index=index.name, settings=settings)
    for name in sealed:
        log.info("%s %s: sealed %s into the stream", stream, month, name)
    return sealed


def _check(client: Elasticsearch, stream: str, index: HistoryIndex) -> None:
    aliases = client.indices.get_alias(index=index.name)[index.name]["aliases"]
    if aliases:
        raise IngestError(
            f"{index.name} cannot become part of {stream}: it has the alias {', '.join(sorted(aliases))}.",
            remedy=f"DELETE /{index.name}/_alias/<name>, then run any partition of {index.month} again.",
        )
    write_index = AuditStream(client, stream).backing_indices[-1]
    theirs = dict(_types(properties_of(client, write_index)))
    for path, kind in _types(properties_of(client, index.name)):
        if theirs.get(path, kind) != kind:
            raise IngestError(
                f"{index.name} cannot become part of {stream}: it maps {path} as {kind}, and {write_index} as "
                f"{theirs[path]}. Analytics and ES|QL read all backing indices as one and would refuse the field.",
                remedy=f"Correct the template (elastic_setup). If the stream is wrong: POST {stream}/_rollover. If the "
                f"history is wrong: DELETE /{index.name} and clear the partitions of {index.month}, which are read "
                "again. Then run any partition of that month.",
            )


def _types(properties: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, body in properties.items():
        yield f"{prefix}{name}", body.get("type", "object")
        yield from _types(body.get("properties", {}), f"{prefix}{name}.")


# user-hours


def _note(client: Elasticsearch, project: Project, index: HistoryIndex, lease: Lease) -> None:
    """Write down which months get user-hours; an event that came late belongs to an earlier one than its index."""
    if project.names.features is None or index.stream == project.names.labels_stream:
        return
    client.indices.refresh(index=index.name)
    answer = client.search(
        index=index.name,
        size=0,
        track_total_hits=False,
        aggs={"months": {"date_histogram": {"field": "@timestamp", "calendar_interval": "month", "min_doc_count": 1}}},
    )
    months = {
        datetime.fromtimestamp(bucket["key"] / 1000, UTC).strftime("%Y.%m")
        for bucket in answer["aggregations"]["months"]["buckets"]
    }
    lease.renew({_NOTE: sorted(months | set(lease.document.get(_NOTE) or []))})


def _user_hours(client: Elasticsearch, project: Project, months: list[str], stop: threading.Event | None) -> None:
    from elastic_ml.project.features import run_month

    for month in months:
        written = run_month(client, project, month, stop=stop)
        log.info("user-hours of %s: %s written", month, "another run's" if written is None else f"{written:,}")
