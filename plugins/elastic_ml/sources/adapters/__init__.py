"""Adapters: raw records of one source into ECS documents, and what every document gets whatever adapter made it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from elastic_ml.exceptions import ElasticMLError, IngestError
from elastic_ml.project.source import ADAPTERS, is_zone
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import (
    KEPT_BYTES,
    Adapter,
    Document,
    Raw,
    Rejected,
    is_plain_time,
    parse_time,
    record_id,
)
from elastic_ml.sources.verdicts import verdict_document

if TYPE_CHECKING:
    from elastic_ml.project.source import Source

_MOST_LINES = 1000
"""Lines of one record that are remembered, in case it has to be rejected."""


def adapter_for(source: Source, people: NameTable | None = None) -> Adapter:
    """The adapter that the source file names.

    :param people: the project's name table for this source, None when it has none.
    :raises IngestError: a ``module:function`` that cannot be imported, or a field map that contradicts itself.
    """
    keep = source.keep_original
    if source.adapter == "ping_one":
        from elastic_ml.sources.adapters.ping_one import PingOneAdapter

        return PingOneAdapter(people, keep_original=keep)
    if source.adapter == "oracle":
        from elastic_ml.sources.adapters.oracle import OracleAdapter

        # The default is no statement about the database; a time without an offset then stays unknown.
        zone = zone_of(source.timezone) if "timezone" in source.model_fields_set else None
        return OracleAdapter(people, zone=zone, keep_original=keep)
    if source.adapter == "ndjson":
        from elastic_ml.sources.adapters.ndjson import NdjsonAdapter

        return NdjsonAdapter(source.name, source.fields, source.constants, people, keep_original=keep)
    if source.adapter == "csv":
        from elastic_ml.sources.adapters.delimited import CsvAdapter

        return CsvAdapter(source.name, source.fields, source.constants, people, keep_original=keep)
    from elastic_ml.sources.readers.python import load_function

    return load_function(source.adapter, f"adapter of the source {source.name}")


def adapt(source: Source, records: Iterable[Raw], people: NameTable | None = None) -> Iterator[Document | Rejected]:
    """Run the source's adapter over its records: one document or reject per record, none lost.

    Documents get ``event.dataset`` from the stream's name when they bring none, ``event.timezone`` from the name table,
    the record or the source, in this order, and are rejected without a usable ``@timestamp``; verdict records become
    documents of the verdict stream. What the reader could not read whole never reaches a project's own adapter and
    comes out as a reject.

    :raises IngestError: the adapter itself failed; the sentence names it and the record it was at.
    """
    at = "the first record"
    problems: deque[Rejected] = deque()
    fresh: list[Raw] = []
    read: list[Raw] = []
    own = source.adapter not in ADAPTERS

    def watched() -> Iterator[Raw]:
        nonlocal at  # `fresh` is replaced outside, and looked up anew here for each record
        for raw in records:
            at = raw.position
            if own and raw.problem:
                problems.append(Rejected.of(raw, raw.problem))
            else:
                if len(fresh) < _MOST_LINES:
                    fresh.append(raw)
                yield raw

    adapter = adapter_for(source, people)
    complete = _Completion(source, people, None if own else getattr(adapter, "rejected", None))
    items = iter(adapter(watched()))
    while True:
        try:
            item = next(items)
        except StopIteration:
            break
        except ElasticMLError:
            raise
        except Exception as error:
            raise IngestError(
                f"The adapter {source.adapter} of the source {source.name} failed near {at}: "
                f"{type(error).__name__}: {error}.",
                remedy="An adapter yields a Rejected for a record that it cannot use. Correct it, then run the "
                "partition again.",
            ) from error
        while problems:
            yield problems.popleft()
        if fresh:
            read, fresh = fresh, []
        # Without a new record it is one more document of the last one.
        yield item if isinstance(item, Rejected) else complete(item, at, read)
    yield from problems


def stream_dataset(stream: str) -> str:
    """The dataset in a data stream's name: ``logs-oracle.database_audit-default`` → ``oracle.database_audit``."""
    parts = stream.split("-", 2)
    return parts[1] if len(parts) == 3 else stream


@lru_cache(maxsize=64)
def zone_of(name: str) -> tzinfo:
    """The time zone of a name or offset that :func:`elastic_ml.project.source.is_zone` accepts."""
    if name[0] in "+-":
        minutes = int(name[1:3]) * 60 + int(name[4:6])
        return timezone(timedelta(minutes=-minutes if name[0] == "-" else minutes))
    return ZoneInfo(name)


_is_zone: Callable[[str], bool] = lru_cache(maxsize=1024)(is_zone)


class _Completion:
    """What every document of one source gets, whatever adapter made it.

    :param rejected: makes a reject of the adapter's newest document, where the adapter knows what it made it of.
    """

    def __init__(
        self, source: Source, people: NameTable | None, rejected: Callable[[str], Rejected] | None = None
    ) -> None:
        self._source = source
        self._rejected_by_adapter = rejected
        self._labels = source.kind == "labels"
        self._dataset = stream_dataset(source.stream)
        self._timezone = source.timezone
        self._zone = zone_of(source.timezone)
        self._people = people

    def __call__(self, document: Document, at: str, read: list[Raw]) -> Document | Rejected:
        """The document, complete; or the reject that says why it cannot be.

        :param at: position of the newest record read.
        :param read: the records it was made of, as far as that can be told from outside the adapter.
        """
        source = self._source
        if not isinstance(document, dict):
            raise IngestError(
                f"The adapter {source.adapter} of the source {source.name} yielded {type(document).__name__} near "
                f"{at}.",
                remedy="Yield dictionaries (ECS documents) or elastic_ml.sources.records.Rejected.",
            )
        try:
            if self._labels:
                document = verdict_document(document)
            event = document.get("event")
            if event is None:
                event = document["event"] = {}
            elif type(event) is not dict:
                raise ValueError("`event` is a value and no object")
            self._check_time(document)
            if not self._labels:
                self._set_zone(document, event)
        except (ValueError, RecursionError) as error:
            return self._rejected(str(error), document, at, read)
        event.setdefault("dataset", self._dataset)
        event_id = event.get("id")
        if event_id is None or event_id == "":
            # Only a user's own adapter gets here; without the raw record the document itself is what identifies it.
            event["id"] = record_id(json.dumps(document, sort_keys=True, default=str).encode("utf-8", "replace"))
        return document

    def _rejected(self, reason: str, document: Document, at: str, read: list[Raw]) -> Rejected:
        """With what the source delivered, so that a replay can give it to the adapter again; else with the document."""
        if self._rejected_by_adapter is not None:
            return self._rejected_by_adapter(reason)
        raws = [raw for raw in read if raw.data and not raw.data.isspace()]
        # Oracle's adapter reads ahead: what it has just read belongs to the next record.
        if self._source.adapter == "oracle" or not raws or len(read) >= _MOST_LINES:
            return Rejected(reason, at, _shown(document))
        return Rejected(reason, raws[0].position, b"\n".join(raw.data for raw in raws)[:KEPT_BYTES])

    def _check_time(self, document: Document) -> None:
        written = document.get("@timestamp")
        try:
            moment = parse_time(written, self._zone)
            if not (type(written) is str and is_plain_time(written)):
                timespec = "auto" if moment.microsecond % 1000 else "milliseconds"
                document["@timestamp"] = moment.isoformat(timespec=timespec)
        except ValueError as error:
            raise ValueError(f"@timestamp is missing or unusable: {error}") from None

    def _set_zone(self, document: Document, event: dict[str, Any]) -> None:
        """The person's zone, else the record's, else the source's; the hour of day is computed from it."""
        if self._people is not None:
            user = document.get("user")
            zone = self._people.zone(user.get("id")) if type(user) is dict else None
            if zone is not None:
                event["timezone"] = zone
                return
        zone = event.get("timezone")
        if zone is None or zone == "":
            event["timezone"] = self._timezone
        elif type(zone) is not str or not _is_zone(zone):
            raise ValueError(f"event.timezone {str(zone)[:80]!r} is no time zone")


def _shown(document: Document) -> bytes:
    """The document of a reject, as the dead letters keep it."""
    try:
        text = json.dumps(document, ensure_ascii=False, default=str)
    except (RecursionError, ValueError, TypeError):
        return b"(cannot be shown)"
    return text.encode("utf-8", "replace")[:KEPT_BYTES]
