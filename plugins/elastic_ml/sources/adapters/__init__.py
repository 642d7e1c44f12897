"""Adapters: raw records of one source into ECS documents, and what every document gets whatever adapter made it."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ElasticMLError, IngestError
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import (
    KEPT_BYTES,
    Adapter,
    Document,
    Raw,
    Rejected,
    parse_time,
    record_id,
)
from elastic_ml.sources.verdicts import verdict_document

if TYPE_CHECKING:
    from elastic_ml.project.source import Source


def adapter_for(source: Source, people: NameTable | None = None) -> Adapter:
    """The adapter that the source file names.

    :param people: the project's name table for this source, None when it has none.
    :raises IngestError: a ``module:function`` that cannot be imported, or a field map that contradicts itself.
    """
    if source.adapter == "ping_one":
        from elastic_ml.sources.adapters.ping_one import PingOneAdapter

        return PingOneAdapter(people)
    if source.adapter == "oracle":
        from elastic_ml.sources.adapters.oracle import OracleAdapter

        return OracleAdapter(people)
    if source.adapter == "ndjson":
        from elastic_ml.sources.adapters.ndjson import NdjsonAdapter

        return NdjsonAdapter(source.name, source.fields, source.constants, people)
    if source.adapter == "csv":
        from elastic_ml.sources.adapters.delimited import CsvAdapter

        return CsvAdapter(source.name, source.fields, source.constants, people)
    from elastic_ml.sources.readers.python import load_function

    return load_function(source.adapter, f"adapter of the source {source.name}")


def adapt(source: Source, records: Iterable[Raw], people: NameTable | None = None) -> Iterator[Document | Rejected]:
    """Run the source's adapter over its records: one document or reject per record, none lost.

    Documents get ``event.dataset`` from the stream's name when they bring none, and are rejected without a usable
    ``@timestamp``; verdict records become documents of the verdict stream. What the reader could not read whole never
    reaches the adapter and comes out as a reject.

    :raises IngestError: the adapter itself failed; the sentence names it and the record it was at.
    """
    problems: deque[Rejected] = deque()
    at = "the first record"

    def whole() -> Iterator[Raw]:
        nonlocal at
        for raw in records:
            at = raw.position
            if raw.problem:
                problems.append(Rejected.of(raw, raw.problem))
            else:
                yield raw

    dataset = stream_dataset(source.stream)
    items = iter(adapter_for(source, people)(whole()))
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
        yield item if isinstance(item, Rejected) else _completed(source, item, dataset, at)
    yield from problems


def stream_dataset(stream: str) -> str:
    """The dataset in a data stream's name: ``logs-oracle.database_audit-default`` → ``oracle.database_audit``."""
    parts = stream.split("-", 2)
    return parts[1] if len(parts) == 3 else stream


def _completed(source: Source, document: Document, dataset: str, at: str) -> Document | Rejected:
    if not isinstance(document, dict):
        raise IngestError(
            f"The adapter {source.adapter} of the source {source.name} yielded {type(document).__name__} near {at}.",
            remedy="Yield dictionaries (ECS documents) or elastic_ml.sources.records.Rejected.",
        )
    try:
        if source.kind == "labels":
            document = verdict_document(document)
        event = _event_of(document)
    except ValueError as error:
        text = json.dumps(document, ensure_ascii=False, default=str)
        return Rejected(str(error), at, text.encode("utf-8", "replace")[:KEPT_BYTES])
    event.setdefault("dataset", dataset)
    if event.get("id") in {None, ""}:
        # Only a user's own adapter gets here; without the raw record the document itself is what identifies it.
        event["id"] = record_id(json.dumps(document, sort_keys=True, default=str).encode("utf-8", "replace"))
    return document


def _event_of(document: Document) -> dict[str, Any]:
    event = document.setdefault("event", {})
    if not isinstance(event, dict):
        raise ValueError("`event` is a value and no object")  # noqa: TRY004 - a record's fault, not a caller's
    written = document.get("@timestamp")
    try:
        moment = parse_time(written)
    except ValueError as error:
        raise ValueError(f"@timestamp is missing or unusable: {error}") from None
    if not (isinstance(written, str) and len(written) >= 20 and written[10] == "T" and written[-1] == "Z"):
        # Ingest pipelines and Elasticsearch's date format read less than Python does: no spaces, no numbers as text.
        document["@timestamp"] = moment.isoformat(timespec="auto" if moment.microsecond % 1000 else "milliseconds")
    return event
