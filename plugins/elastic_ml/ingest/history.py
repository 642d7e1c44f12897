"""A past month: plain indices beside its stream until the month is complete, so that it keeps its own retention.

Elasticsearch ages a backing index from the day it was filled. A month loaded years later into the stream's write index
would therefore live years too long. So history is written to an index `history-<stream>-<yyyy.MM>-<n>` with the
stream's settings and mapping, without its lifecycle, and with `index.lifecycle.origination_date` at the end of the
month, by which ILM and the data stream lifecycle compute the age. :mod:`elastic_ml.ingest.sealing` puts it into the
stream when the month is complete.

What an index is stands in its `_meta`, not in its name, which ILM changes (`partial-...`, `shrink-...`) and a restored
snapshot may change too. The month is that of the partitions, the days of delivery: an event that came weeks late lies
in the month it came in, with its own `@timestamp`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import AlreadyExistsError, IngestError, NotFoundError
from elastic_ml.ingest.stream import AuditStream, Target, properties_of
from elastic_ml.sources.partition import Partition

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project import Project

log = logging.getLogger(__name__)

_META = "history"


@dataclass(frozen=True)
class HistoryIndex:
    """An index that was made for a past month of a stream, sealed into it or not.

    :param month: `yyyy.MM`, UTC.
    :param number: 1, and one more for each index that the same month needed after the one before was sealed.
    """

    name: str
    stream: str
    month: str
    number: int


def partition_at(moment: datetime, size: str) -> Partition:
    """The partition of a size (`day` or `hour`) that begins at a moment."""
    return Partition.parse(moment.strftime("%Y-%m-%dT%H" if size == "hour" else "%Y-%m-%d"))


def month_of(partition: Partition) -> str:
    """The month that a partition belongs to, `yyyy.MM`."""
    return partition.start.strftime("%Y.%m")


def month_bounds(month: str) -> tuple[datetime, datetime]:
    """First instant of a month (`yyyy.MM`, UTC) and of the month after it."""
    start = datetime.strptime(month, "%Y.%m").replace(tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)


def history_indices(client: Elasticsearch, stream: str) -> list[HistoryIndex]:
    """Every history index of a stream, sealed or not, by month and number."""
    # The pattern only spares other indices' mappings the journey; a sealed one is found through its stream.
    mappings = client.indices.get_mapping(
        index=f"*history-{stream}-*,{stream}",
        expand_wildcards="all",
        ignore_unavailable=True,
        allow_no_indices=True,
        filter_path="*.mappings._meta",
    )
    found = []
    for name, body in mappings.items():
        facts = body["mappings"]["_meta"].get(_META)
        if isinstance(facts, dict) and facts.get("stream") == stream:
            found.append(HistoryIndex(name, stream, facts["month"], int(facts["number"])))
    return sorted(found, key=lambda index: (index.month, index.number))


def unsealed_history(client: Elasticsearch, streams: list[str]) -> list[HistoryIndex]:
    """What of these streams' history is not in them yet: no search of a stream sees it."""
    found = []
    for stream in streams:
        with contextlib.suppress(IngestError):  # a stream that was never set up has no history
            held = AuditStream(client, stream)
            found += [index for index in history_indices(client, stream) if index.name not in held.backing_indices]
    return found


def target_of(project: Project, stream: str, partition: Partition, now: datetime, recorded: str | None) -> Target:
    """`stream` or `history`: as recorded by the first attempt, else by the age of the partition's month.

    :raises IngestError: the month is older than the stream's retention and would be deleted at once.
    """
    settings = project.settings
    age = now - month_bounds(month_of(partition))[1]
    old = age > settings.backfill_after if recorded is None else recorded == "history"
    target: Target = "history" if old else "stream"
    retention = settings.lifecycle.audit.delete_after
    if target == "history" and age > retention:
        raise IngestError(
            f"The partition {partition.key} is older than the retention of {stream} ({retention.days} d): "
            "Elasticsearch would delete it at once.",
            remedy="Leave it out; or raise lifecycle.audit.delete_after in project.yml and run elastic_setup.",
        )
    return target


class HistoryMonth(AuditStream):
    """A stream as the partitions of a past month see it: written are history indices, searched is everything."""

    target: Target = "history"
    data_stream = False

    def __init__(self, client: Elasticsearch, project: Project, stream: str, month: str) -> None:
        self._lock = threading.Lock()
        self._project = project
        self.month = month
        self._indices: list[HistoryIndex] = []
        self._written: set[str] = set()
        super().__init__(client, stream)
        self._read_history()

    @property
    def write_index(self) -> str | None:
        """The month's index that is not sealed yet; None while there is none."""
        return next((index.name for index in self._indices if index.name not in self.backing_indices), None)

    def destination(self) -> str:
        """The month's index that is not sealed yet; made when there is none."""
        with self._lock:
            name = self.write_index or self._create()
            self._written.add(name)
            return name

    @property
    def spread(self) -> bool:
        """See :meth:`AuditStream.spread`."""
        return len(self._written) > 1

    def sealed(self, destination: str) -> None:
        """Somebody sealed the month while we were writing: what is left goes to the next index."""
        with self._lock:
            if destination not in self.backing_indices:
                log.info("%s was sealed into %s: going on in the month's next index", destination, self.name)
                self._reread()
            if destination not in self.backing_indices:
                raise IngestError(
                    f"{destination} takes no documents, as the backing index of another stream than {self.name}.",
                    remedy="Look at its mapping's _meta.history and at GET _data_stream; detach it from that stream.",
                )

    def properties(self) -> tuple[str, Mapping[str, Any]]:
        """See :meth:`AuditStream.properties`."""
        if self.write_index:
            return self.write_index, properties_of(self._client, self.write_index)
        return f"history of {self.name}", self._template()["mappings"].get("properties", {})

    @property
    def unsealed(self) -> list[str]:
        """The history indices of all months that are not in the stream yet."""
        return [name for name in self._all if name not in self.backing_indices]

    @property
    def holding(self) -> str:
        """The stream and the month's indices that are not in it."""
        return ",".join([self.name, *(i.name for i in self._indices if i.name not in self.backing_indices)])

    def reload(self) -> None:
        """See :meth:`AuditStream.reload`."""
        with self._lock:
            self._reread()

    def _reread(self) -> None:
        self.backing_indices = self._read_backing_indices()
        self._read_history()

    def _read_history(self) -> None:
        found = history_indices(self._client, self.name)
        self._all = [index.name for index in found]
        self._indices = [index for index in found if index.month == self.month]

    # making the index

    def _template(self) -> dict[str, Any]:
        """Settings and mappings that a new backing index of the stream would get."""
        try:
            template = self._client.indices.simulate_index_template(name=self.name).get("template")
        except NotFoundError:
            template = None
        if not template:
            raise IngestError(
                f"No index template covers {self.name}, so its history has no mapping.",
                remedy="Run the DAG elastic_setup with mode=apply.",
            )
        return dict(template)

    def _create(self) -> str:
        for _ in range(3):
            number = max((index.number for index in self._indices), default=0) + 1
            name = self._project.names.history_index(self.name, self.month, number)
            try:
                self._client.indices.create(index=name, **self._body(number))
            except AlreadyExistsError:
                # Another partition of the month was faster, or the name is taken.
                self._reread()
                if self.write_index:
                    return self.write_index
                if not any(index.name == name for index in self._indices):
                    break
                continue
            log.info("%s: history of %s goes to %s", self.name, self.month, name)
            self._all.append(name)
            self._indices.append(HistoryIndex(name, self.name, self.month, number))
            return name
        raise IngestError(
            f"The index {name} exists and is no history index of {self.name} (its mapping says nothing in _meta).",
            remedy=f"Look at what it holds; then rename it by reindexing, or delete it: DELETE /{name}.",
        )

    def _body(self, number: int) -> dict[str, Any]:
        template = self._template()
        settings = {**template.get("settings", {})}
        index = {**settings.get("index", {})}
        # With its policy the index would be shrunk, made read-only or deleted while it is being filled.
        index["lifecycle"] = {"origination_date": origination_date(self.month)}
        mappings = self._project.stamp(template.get("mappings", {}))
        # Belongs to backing indices; attaching adds it.
        mappings.pop("_data_stream_timestamp", None)
        mappings["_meta"][_META] = {"stream": self.name, "month": self.month, "number": number}
        return {"settings": {**settings, "index": index}, "mappings": mappings}


def origination_date(month: str) -> int:
    """What a month's age counts from: its last millisecond, in milliseconds since 1970."""
    return int(month_bounds(month)[1].timestamp() * 1000) - 1


def policy_of(client: Elasticsearch, stream: str) -> str | None:
    """The ILM policy of new backing indices; None where the data stream lifecycle ages them (Serverless)."""
    template = client.indices.simulate_index_template(name=stream).get("template") or {}
    policy = template.get("settings", {}).get("index", {}).get("lifecycle", {}).get("name")
    return str(policy) if policy else None
