"""Appending to the operations streams, so that a second attempt adds nothing."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.clients.documents import IDS_PER_REQUEST, batches
from elastic_ml.clients.translation import error_from_answer
from elastic_ml.exceptions import ElasticMLError, IngestError, NotFoundError, NotReadyError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch


class Entry(NamedTuple):
    """One document of an operations stream.

    :param stream: the data stream.
    :param id: what it is about, see `registry.deterministic_id`; the second document with this id is not written.
    :param document: without `event.id`.
    """

    stream: str
    id: str
    document: Mapping[str, Any]

    def source(self) -> dict[str, Any]:
        """The document as it is sent."""
        event = {**self.document.get("event", {}), "id": self.id}
        return {**self.document, "event": event}


def iso(moment: datetime) -> str:
    """Return a moment as the documents of these streams have it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def append(client: "Elasticsearch", entries: Sequence[Entry], *, refresh: bool = True) -> int:
    """Append what the streams do not hold yet; return how many documents are new.

    :raises NotReadyError: a stream does not exist and nothing would create it.
    :raises IngestError: a stream's failure store took a document, so nobody who asks the stream would see it.
    """
    held = _held(client, entries)
    new = [entry for entry in entries if (entry.stream, entry.id) not in held]
    items: list[Mapping[str, Any]] = []
    for start in range(0, len(new), IDS_PER_REQUEST):
        operations: list[Mapping[str, Any]] = []
        for entry in new[start : start + IDS_PER_REQUEST]:
            operations += [{"create": {"_index": entry.stream, "_id": entry.id}}, entry.source()]
        items += client.bulk(operations=operations, refresh=refresh, require_data_stream=True)["items"]
    written = 0
    problem: ElasticMLError | None = None
    for entry, item in zip(new, items, strict=True):
        result = item["create"]
        if result.get("failure_store") == "used":
            problem = problem or IngestError(
                f"The stream {entry.stream} could not index a document; it lies in its failure store.",
                remedy=f"Read `{entry.stream}::failures` for the reason, run elastic_setup with mode=verify, and clear "
                "this task.",
            )
        elif result["status"] < 300:
            written += 1
        elif result["status"] != 409:
            problem = problem or _refusal(entry, result)
    if problem is not None:
        raise problem
    return written


def _held(client: "Elasticsearch", entries: Sequence[Entry]) -> set[tuple[str, str]]:
    """What earlier attempts wrote: `create` looks into the write index only, and the stream may have rolled over."""
    streams: dict[str, list[str]] = {}
    for entry in entries:
        streams.setdefault(entry.stream, []).append(entry.id)
    found: set[tuple[str, str]] = set()
    for stream, ids in streams.items():
        for batch in batches(ids):
            try:
                hits = client.search(index=stream, query={"ids": {"values": batch}}, size=len(batch), source=False)[
                    "hits"
                ]["hits"]
            except NotFoundError as missing:
                raise _missing(stream) from missing
            found |= {(stream, hit["_id"]) for hit in hits}
    return found


def _missing(stream: str) -> NotReadyError:
    return NotReadyError(
        f"The operations stream {stream} does not exist.", remedy="Run the DAG elastic_setup with mode=apply."
    )


def _refusal(entry: Entry, result: Mapping[str, Any]) -> ElasticMLError:
    error = error_from_answer(result["status"], result["error"], doing=f"create of {entry.id} in {entry.stream}")
    return _missing(entry.stream) if isinstance(error, NotFoundError) else error
