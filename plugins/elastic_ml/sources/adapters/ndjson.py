"""The `ndjson` adapter: JSON objects, one per line, or rows and items that a reader parsed already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elastic_ml.sources.adapters.fields import FieldMap
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, Raw, Rejected
from elastic_ml.sources.strict_json import parse_object


class NdjsonAdapter:
    """Maps JSON objects by a field map. Blank lines are no records; everything else is a document or a reject."""

    def __init__(
        self,
        source: str,
        fields: Mapping[str, str],
        constants: Mapping[str, Any] | None = None,
        people: NameTable | None = None,
        *,
        keep_original: bool = False,
    ) -> None:
        self._map = FieldMap(source, fields, constants or {}, people)
        self._keep_original = keep_original

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per line."""
        for raw in records:
            data = raw.data
            if raw.problem:
                yield Rejected.of(raw, raw.problem)
                continue
            if not data or data.isspace():
                continue
            try:
                record = raw.record
                if record is None:
                    record = parse_object(data)
                document = self._map.document(record, data)
            except (ValueError, RecursionError) as error:
                yield Rejected.of(raw, reason_of(error))
                continue
            if self._keep_original:
                document["event"]["original"] = data.decode("utf-8", "replace")
            yield document


def reason_of(error: Exception) -> str:
    """Why a record was rejected, from what it raised."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
