"""The latest verdict per event, in the lookup index that training and dashboards join with.

The verdict stream keeps every decision; this index keeps one document per judged event, `_id` = the event's id, written
with `version_type: external_gte` and the time of the decision as version: whatever order decisions arrive in, and
however often they are read again, the newest wins.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import IngestError
from elastic_ml.ingest.bulk import BulkWriter
from elastic_ml.ingest.encoding import Chunk, Operation, encode
from elastic_ml.ingest.history import unsealed_history
from elastic_ml.sources.records import get_path, parse_time
from elastic_ml.sources.verdicts import RANKS, judged_user

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)


class LatestVerdicts:
    """Writes the verdicts of one chunk into the lookup index, after the stream has them.

    A verdict whose event is in no audit stream (not ingested yet, or its retention is over) is written all the same,
    without `user_hour`: training by event joins by id alone and must not lose it, while the join by user-hour has
    nothing to hang it on. Reading the verdict again once the event is there completes it.

    :param index: the lookup index, `project.names.labels`.
    :param audit_streams: where a missing event time or user is looked up.
    """

    def __init__(
        self, client: Elasticsearch, index: str, audit_streams: Sequence[str], *, stop: threading.Event | None = None
    ) -> None:
        self._client = client
        self._index = index
        self._streams = list(audit_streams)
        self._unsealed: list[str] | None = None
        self._writer = BulkWriter(client, index, data_stream=False, stop=stop)
        self._index_exists = False
        self.without_event = 0

    def write(self, verdicts: Iterable[dict[str, Any]]) -> None:
        """Write verdicts (`verdict` objects of the stream's documents).

        :raises IngestError: the lookup index is missing or refused one; the stream has it, and a re-run writes it here.
        """
        verdicts = list(verdicts)
        if not verdicts:
            return
        self._check_index()
        found = self._events([v["event_id"] for v in verdicts if not (v.get("event_time") and v.get("user_id"))])
        operations = []
        for verdict in verdicts:
            time, user = found.get(verdict["event_id"], (None, None))
            time, user = verdict.get("event_time") or time, verdict.get("user_id") or user
            operations.append(latest_verdict(verdict, time, user))
            self.without_event += operations[-1].subject is None
        result = self._writer.write(Chunk(operations))
        if result.reasons:
            raise IngestError(
                f"{len(result.reasons)} verdicts could not be written to {self._index}: "
                f"{next(iter(result.reasons.values()))}",
                remedy="The verdict stream has them. Compare its mapping with elastic_setup (mode=verify), then "
                "run the partition again.",
            )

    def _check_index(self) -> None:
        """A missing index would be made up by the first write, with a guessed mapping and no lookup mode."""
        if self._index_exists:
            return
        if not self._client.indices.exists(index=self._index):
            raise IngestError(
                f"The index {self._index} of the latest verdicts does not exist.",
                remedy="Run the DAG elastic_setup with mode=apply; then run the partition again, which writes them.",
            )
        self._index_exists = True

    def _events(self, ids: list[str]) -> dict[str, tuple[str | None, str | None]]:
        """Time and user of events, by id, as far as the audit streams and their unsealed history hold them."""
        if not ids or not self._streams:
            return {}
        if self._unsealed is None:
            self._unsealed = [index.name for index in unsealed_history(self._client, self._streams)]
        asked = dict.fromkeys(ids)
        # In streams of somebody else an event's id need not be its document's.
        either = [{"terms": {field: list(asked)}} for field in ("_id", "event.id")]
        hits = self._client.search(
            index=",".join([*self._streams, *self._unsealed]),
            query={"bool": {"filter": {"bool": {"should": either}}}},
            source={"includes": ["@timestamp", "event.id", "user.id"]},
            size=10_000,
            track_total_hits=False,
            ignore_unavailable=True,
            allow_no_indices=True,
        )["hits"]["hits"]
        return {
            event_id: (hit["_source"].get("@timestamp"), judged_user(get_path(hit["_source"], "user.id")))
            for hit in hits
            for event_id in {hit["_id"], str(get_path(hit["_source"], "event.id"))} & asked.keys()
        }


def latest_verdict(verdict: dict[str, Any], event_time: str | None, user_id: str | None) -> Operation:
    """Return the write of a verdict as its event's latest; an older decision is refused by the server."""
    event_id = verdict["event_id"]
    decided = parse_time(verdict["decided_at"])
    document: dict[str, Any] = {
        "event": {"id": event_id},
        "verdict": verdict["decision"],
        "rank": RANKS[verdict["decision"]],
        "decided_at": verdict["decided_at"],
    }
    user_hour = None
    if event_time and user_id:
        user_hour = f"{user_id}|{parse_time(event_time).astimezone(UTC):%Y-%m-%dT%H}"
        document["user_hour"] = user_hour
    version = round(decided.timestamp() * 1000)
    action = {"index": {"_id": event_id, "version": version, "version_type": "external_gte"}}
    return Operation(event_id, encode(action), encode(document), subject=user_hour)
