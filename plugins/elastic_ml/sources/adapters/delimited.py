"""The `csv` adapter: a header line, then one record per line; quoted values may hold line ends."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from elastic_ml.sources.adapters.fields import FieldMap
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, Raw, Rejected

LONGEST_QUOTE_LINES = 100
"""Lines that one quoted value may reach across. An unclosed quote beyond that spoils its own line only."""

csv.field_size_limit(16 * 1024 * 1024)


class CsvAdapter:
    """Maps CSV rows by a field map whose right side names columns; every file starts with its header.

    Values are text, as CSV has no types; the stream's mapping converts them. Empty values are left out.
    """

    def __init__(
        self,
        source: str,
        fields: Mapping[str, str],
        constants: Mapping[str, Any] | None = None,
        people: NameTable | None = None,
    ) -> None:
        self._map = FieldMap(source, fields, constants or {}, people)

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per row; the header is no row."""
        header: list[str] = []
        for raw, text in _rows(records):
            if text is None:
                yield Rejected.of(raw, "not UTF-8")
                continue
            try:
                values = next(csv.reader([text], strict=True))
            except (csv.Error, StopIteration) as error:
                yield Rejected.of(raw, f"no CSV: {error or 'an empty row'}")
                continue
            if raw.first:
                header = [name.strip().removeprefix("\ufeff") for name in values]
                continue
            if len(values) != len(header):
                yield Rejected.of(raw, f"{len(values)} values for {len(header)} columns")
                continue
            try:
                yield self._map.document(dict(zip(header, values, strict=True)), raw.data)
            except ValueError as error:
                yield Rejected.of(raw, str(error))


def _rows(records: Iterable[Raw]) -> Iterator[tuple[Raw, str | None]]:
    """Join the lines of a quoted value; a quote that never closes is given back line by line."""
    waiting: list[Raw] = []
    source = iter(records)
    while True:
        raw = waiting.pop(0) if waiting else next(source, None)
        if raw is None:
            return
        if not raw.data.strip():
            continue
        taken = [raw]
        while sum(part.data.count(b'"') for part in taken) % 2 and len(taken) <= LONGEST_QUOTE_LINES:
            following = waiting.pop(0) if waiting else next(source, None)
            if following is None:
                break
            taken.append(following)
            if following.first:
                break
        if sum(part.data.count(b'"') for part in taken) % 2 or (taken[-1].first is not raw.first and taken[-1].first):
            waiting = taken[1:] + waiting
            taken = [raw]
        data = b"\n".join(part.data for part in taken)
        try:
            yield Raw(data, raw.position, first=raw.first), data.decode()
        except UnicodeDecodeError:
            yield Raw(data, raw.position, first=raw.first), None
