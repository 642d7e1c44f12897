"""One data stream as the ingestion sees it: its backing indices, which ids it holds, how many of a partition."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import IngestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)

LOOKUP_BATCH = 2_000
PAGE = 5_000


class AuditStream:
    """A data stream that a partition is written to.

    :raises IngestError: there is no data stream of that name.
    """

    def __init__(self, client: Elasticsearch, name: str) -> None:
        self._client = client
        self.name = name
        self.backing_indices = self._read_backing_indices()

    @property
    def write_index(self) -> str:
        """The backing index that new documents go to."""
        return self.backing_indices[-1]

    def reload(self) -> None:
        """Ask again for the backing indices: the stream may have rolled over."""
        self.backing_indices = self._read_backing_indices()

    def _read_backing_indices(self) -> list[str]:
        try:
            streams = self._client.indices.get_data_stream(name=self.name)["data_streams"]
        except NotFoundError:
            streams = []
        if not streams:
            raise IngestError(
                f"The data stream {self.name} does not exist.",
                status=404,
                remedy="Run the DAG elastic_setup with mode=apply; it makes the stream and its template.",
            )
        return [index["index_name"] for index in streams[0]["indices"]]

    def refresh(self) -> None:
        """Make everything written so far visible to searches and counts, in the failure store too."""
        # A refresh of the stream's name reaches its backing indices only.
        self._client.indices.refresh(
            index=f"{self.name},{self.name}::failures", ignore_unavailable=True, allow_no_indices=True
        )

    def lookup(self, ids: Sequence[str], refresh: bool) -> tuple[set[str], set[str]]:
        """Which of the ids the stream holds in any backing index, and which of them its failure store holds."""
        if refresh:
            self.refresh()
        stored: set[str] = set()
        failed: set[str] = set()
        for start in range(0, len(ids), LOOKUP_BATCH):
            batch = list(dict.fromkeys(ids[start : start + LOOKUP_BATCH]))
            stored.update(hit["_id"] for hit in self._hits(self.name, "_id", batch, source=False))
            rest = [document_id for document_id in batch if document_id not in stored]
            failed.update(
                hit["_source"]["document"]["id"]
                for hit in self._hits(
                    f"{self.name}::failures", "document.id", rest, source={"includes": ["document.id"]}
                )
            )
        if failed:
            log.info(
                "%s: %d documents are in the failure store since an earlier attempt and are not sent again; "
                "delete them from %s::failures to have them tried once more",
                self.name,
                len(failed),
                self.name,
            )
        return stored, failed

    def _hits(self, target: str, field: str, ids: list[str], *, source: bool | dict[str, Any]) -> list[dict[str, Any]]:
        if not ids:
            return []
        answer = self._client.search(
            index=target,
            query={"terms": {field: ids}},
            source=source,
            size=10_000,
            track_total_hits=False,
            ignore_unavailable=True,
            allow_no_indices=True,
        )
        return list(answer["hits"]["hits"])

    def count(self, partition_label: str) -> int:
        """How many documents of the partition the stream holds; refresh first."""
        query = {"term": {"labels.partition": partition_label}}
        return int(self._client.count(index=self.name, query=query)["count"])

    def remove_copies(self, partition_label: str) -> int:
        """Delete what of the partition lies twice in different backing indices; the older copy stays.

        `_id` is unique inside one backing index only: a rollover between two attempts lets the same event in again.
        Deleting from a backing index is allowed; writing is not.

        :return: how many copies were deleted.
        """
        self.reload()
        query = {"term": {"labels.partition": partition_label}}
        holding = [index for index in self.backing_indices if self._client.count(index=index, query=query)["count"]]
        removed = 0
        for position, index in enumerate(holding[1:], 1):
            older = ",".join(holding[:position])
            for ids in self._ids(index, query):
                copies = {hit["_id"] for hit in self._hits(older, "_id", ids, source=False)}
                if copies:
                    log.warning("%s: deleting %d copies in %s of what %s holds", self.name, len(copies), index, older)
                    self._client.bulk(index=index, operations=[{"delete": {"_id": copy}} for copy in sorted(copies)])
                    removed += len(copies)
        if removed:
            self.refresh()
        return removed

    def _ids(self, index: str, query: dict[str, Any]) -> Iterator[list[str]]:
        after: list[Any] | None = None
        while True:
            hits = self._client.search(
                index=index,
                query=query,
                source=False,
                size=PAGE,
                sort=[{"event.id": "asc"}],
                track_total_hits=False,
                search_after=after,
            )["hits"]["hits"]
            if not hits:
                return
            after = hits[-1]["sort"]
            for start in range(0, len(hits), LOOKUP_BATCH):
                yield [hit["_id"] for hit in hits[start : start + LOOKUP_BATCH]]
