"""Documents as lines of a bulk request, in chunks bounded by count and bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from elastic_ml.sources.records import LONGEST_ID_BYTES
from elastic_ml.sources.strict_json import without_surrogates

MOST_DOCUMENTS = 5_000
FEWEST_DOCUMENTS = 50
MOST_BYTES = 10 * 1024 * 1024
FEWEST_BYTES = 256 * 1024
QUICK_SECONDS = 1.0
SLOW_SECONDS = 5.0
"""Answers quicker than the first let requests grow, slower than the second make them shrink."""


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


# Made once: json.dumps with options builds an encoder per document, which is what bare helpers pay for.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain).encode


def encode(document: dict[str, Any]) -> bytes:
    """The document as one line of UTF-8 JSON, without the line end.

    Unpaired surrogates, which JSON input can smuggle into strings and UTF-8 cannot hold, become U+FFFD.

    :raises ValueError: it holds something that JSON does not (NaN, an object of a class); the message says what.
    """
    try:
        text = _encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        return without_surrogates(text).encode()


def create_action(document_id: str) -> bytes:
    """The action line that creates a document under an id.

    :raises ValueError: the id is longer than Elasticsearch takes.
    """
    quoted = encode_basestring(document_id).encode("utf-8", "replace")
    if len(quoted) > LONGEST_ID_BYTES + 2 and len(document_id.encode("utf-8", "replace")) > LONGEST_ID_BYTES:
        raise ValueError(f"its event.id is longer than {LONGEST_ID_BYTES} bytes")
    return b'{"create":{"_id":' + quoted + b"}}"


@dataclass(slots=True)
class Operation:
    """One line pair of a bulk request.

    :param id: the document's ``_id``.
    :param action: the action line.
    :param source: the document line.
    :param subject: what the caller wants back with the outcome (a verdict); None for events.
    :param kept: where the document was read from, when that is a copy to be deleted once it has another outcome.
    """

    id: str
    action: bytes
    source: bytes
    subject: Any = None
    kept: Any = None


@dataclass
class ChunkSize:
    """How much a request carries, in documents and in bytes, whichever is reached first.

    Halved when the cluster pushes back (429, unavailable, too large), less by a fifth when it answers slowly, more by a
    quarter when it answers a full request quickly.

    :param most: documents that no request exceeds.
    """

    documents: int = 1_000
    bytes: int = 2 * 1024 * 1024
    most: int = MOST_DOCUMENTS

    def shrink(self) -> None:
        """The cluster pushed back."""
        self._scale(0.5)

    def answered(self, documents: int, size: int, seconds: float) -> None:
        """A request of so many documents and bytes was answered after `seconds`."""
        if seconds > SLOW_SECONDS:
            self._scale(0.8)
        elif seconds < QUICK_SECONDS and (documents >= self.documents or size >= self.bytes * 0.9):
            self._scale(1.25)

    def _scale(self, factor: float) -> None:
        self.documents = max(min(FEWEST_DOCUMENTS, self.most), min(self.most, int(self.documents * factor)))
        self.bytes = max(FEWEST_BYTES, min(MOST_BYTES, int(self.bytes * factor)))


@dataclass
class Chunk:
    """The operations of one request."""

    operations: list[Operation] = field(default_factory=list)
    bytes: int = 0


def chunks(operations: Iterable[Operation], size: ChunkSize) -> Iterator[Chunk]:
    """Cut a stream of operations into chunks; at most one chunk is held."""
    chunk = Chunk()
    for operation in operations:
        weight = len(operation.action) + len(operation.source) + 2
        if chunk.operations and chunk.bytes + weight > size.bytes:
            yield chunk
            chunk = Chunk()
        chunk.operations.append(operation)
        chunk.bytes += weight
        if len(chunk.operations) >= size.documents:
            yield chunk
            chunk = Chunk()
    if chunk.operations:
        yield chunk
