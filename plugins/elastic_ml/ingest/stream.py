"""One data stream as the ingestion sees it: its backing indices, which ids it holds, how many of a partition.

A past month that is being loaded is not in its stream yet: it lies in plain *history* indices
(:mod:`elastic_ml.ingest.history`). Ids are therefore looked up in both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import IngestError, NotFoundError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

log = logging.getLogger(__name__)

LOOKUP_BATCH = 2_000
PAGE = 5_000

Target = Literal["stream", "history"]


class AuditStream:
    """A data stream that a partition is written to.

    :param unsealed: names of the stream's history indices that are not in it yet, asked for when first needed.
    :raises IngestError: there is no data stream of that name.
    """

    target: Target = "stream"
    data_stream = True
    """Whether documents go to a data stream (and a plain index of its name would be a mistake)."""

    def __init__(self, client: Elasticsearch, name: str) -> None:
        self._client = client
        self.name = name
        self.backing_indices = self._read_backing_indices()
        self._first_write_index = self.backing_indices[-1]
        self._unsealed: list[str] | None = None

    # where documents go

    @property
    def write_index(self) -> str | None:
        """The index that new documents go to; None when it is only made with the first of them."""
        return self.backing_indices[-1]

    def destination(self) -> str:
        """What a bulk request names; asked before each one."""
        return self.name

    @property
    def spread(self) -> bool:
        """Whether what was written since this object was made can lie in more than one index."""
        return self.backing_indices[-1] != self._first_write_index

    def sealed(self, destination: str) -> None:
        """Called when `destination` refused documents because it became a backing index meanwhile."""
        raise IngestError(
            f"{destination} is a backing index and takes no documents of its own; they go to its data stream.",
            remedy="Correct `stream:` in the source file.",
        )

    def properties(self) -> tuple[str, Mapping[str, Any]]:
        """Where the first documents will go, for a sentence, and the mapping `properties` they will meet there."""
        return self.backing_indices[-1], properties_of(self._client, self.backing_indices[-1])

    # what it holds

    @property
    def unsealed(self) -> list[str]:
        """The stream's history indices that are not in it yet."""
        if self._unsealed is None:
            from elastic_ml.ingest.history import history_indices

            found = history_indices(self._client, self.name)
            self._unsealed = [index.name for index in found if index.name not in self.backing_indices]
        return self._unsealed

    def reload(self) -> None:
        """Ask again for the indices: the stream may have rolled over, a month may have been sealed."""
        self.backing_indices = self._read_backing_indices()
        self._unsealed = None

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

    @property
    def holding(self) -> str:
        """Where the documents of a partition of this target can be."""
        return self.name

    @property
    def _everywhere(self) -> str:
        return ",".join([self.name, *self.unsealed])

    def refresh(self) -> None:
        """Make everything written so far visible to searches and counts, in the failure store too."""
        # A refresh of the stream's name reaches its backing indices only.
        self._client.indices.refresh(
            index=f"{self.holding},{self.name}::failures", ignore_unavailable=True, allow_no_indices=True
        )

    def lookup(self, ids: Sequence[str], refresh: bool) -> tuple[set[str], set[str]]:
        """Which of the ids stream or unsealed history hold, and which of the others the failure store holds."""
        if refresh:
            self.refresh()
        stored: set[str] = set()
        failed: set[str] = set()
        for start in range(0, len(ids), LOOKUP_BATCH):
            batch = list(dict.fromkeys(ids[start : start + LOOKUP_BATCH]))
            stored.update(hit["_id"] for hit in self._hits(self._everywhere, "_id", batch, source=False))
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
                "run the partition with `replay: failures` to have them tried once more",
                self.name,
                len(failed),
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
        """How many documents of the partition there are; refresh first."""
        query = {"term": {"labels.partition": partition_label}}
        return int(self._client.count(index=self.holding, query=query, ignore_unavailable=True)["count"])

    def remove_copies(
        self, partition_label: str, *, everywhere: bool = False, alive: Callable[[], None] = lambda: None
    ) -> int:
        """Delete what of the partition lies twice, in different indices; the older copy stays.

        `_id` is unique inside one index only: a rollover or a sealed month between two attempts lets the same event in
        again. Deleting from a backing index is allowed; writing is not.

        :param everywhere: also look into indices that hold nothing of the partition, where another one may have put the
            same event; its copy stays. Of two partitions only one at a time may do that.
        :param alive: called between batches.
        :return: how many copies were deleted.
        """
        self.reload()
        query = {"term": {"labels.partition": partition_label}}
        indices = [*self.backing_indices, *self.unsealed]
        holding = [index for index in indices if self._client.count(index=index, query=query)["count"]]
        others = [index for index in indices if index not in holding] if everywhere else []
        if others and holding:
            self._client.indices.refresh(index=",".join(others), ignore_unavailable=True)
        removed = 0
        for position, index in enumerate(holding):
            older = ",".join([*others, *holding[:position]])
            for ids in self._ids(index, query) if older else ():
                alive()
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


def properties_of(client: Elasticsearch, index: str) -> dict[str, Any]:
    """The mapping `properties` of one index."""
    mapping = client.indices.get_mapping(index=index)
    return dict(next(iter(mapping.values()))["mappings"].get("properties", {}))
