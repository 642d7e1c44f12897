"""The `csv` adapter: a header line, then one record per line; quoted values may hold line ends."""

from __future__ import annotations

import contextlib
import csv
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from elastic_ml.sources.adapters.fields import FieldMap
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import KEPT_BYTES, LONGEST_RECORD, Document, Raw, Rejected
from elastic_ml.sources.strict_json import not_utf8

LONGEST_QUOTE_LINES = 100
"""Lines that one quoted value may reach across. An unclosed quote beyond that spoils its own line only."""

csv.field_size_limit(LONGEST_RECORD)


class CsvAdapter:
    """Maps CSV rows by a field map whose right side names columns; every file starts with its header.

    Values are text, as CSV has no types; the stream's mapping converts them. Empty values are left out. The rows of a
    file whose header cannot be read are rejected, every one: another file's header would put values under wrong names.
    """

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
        self._row = Rejected("", "", b"")

    def rejected(self, reason: str) -> Rejected:
        """A reject for the row of the newest document, as it was delivered: what is wrong shows after the adapter."""
        return replace(self._row, reason=reason)

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per row; the header is no row."""
        header: list[str] | None = None
        header_line = b""
        lines = _Lines(records)
        while (raw := lines.take()) is not None:
            if raw.first:
                header, header_line = None, b""
            data = raw.data
            try:
                if raw.problem:
                    raise ValueError(raw.problem)
                data, values = _row(raw, lines, header)
                if raw.first:
                    header, header_line = _header(values), data
                    continue
                if header is None:
                    raise ValueError("the header of its file cannot be read")
                if len(values) != len(header):
                    raise ValueError(f"{len(values)} values for {len(header)} columns")
                document = self._map.document(dict(zip(header, values, strict=True)), data)
            except ValueError as error:
                yield Rejected(str(error), raw.position, data[:KEPT_BYTES], header_line)
                continue
            if self._keep_original:
                document["event"]["original"] = data.decode()
            self._row = Rejected("", raw.position, data[:KEPT_BYTES], header_line)
            yield document


def _row(raw: Raw, lines: _Lines, header: list[str] | None) -> tuple[bytes, list[str]]:
    """Bytes and values of the row that starts with this line; a quoted value may take further lines with it.

    :raises ValueError: it is no row; then no further line was taken.
    """
    try:
        return raw.data, _values(raw.data)
    except _OpenQuoteError:
        taken: list[Raw] = []
        data = raw.data
        while len(taken) < LONGEST_QUOTE_LINES and len(data) <= LONGEST_RECORD:
            following = lines.take(blank=True)
            if following is None:
                break
            taken.append(following)
            if following.first or following.problem:
                break
            data += b"\n" + following.data
            if b'"' in following.data:
                with contextlib.suppress(ValueError):
                    values = _values(data)
                    # Only a row with a value for each column shows that the quote was meant.
                    if header is None or len(values) == len(header):
                        return data, values
        lines.give_back(taken)
        raise


class _OpenQuoteError(ValueError):
    """A quoted value is not closed."""


def _values(data: bytes) -> list[str]:
    if b"\0" in data:
        raise ValueError("it holds NUL bytes" + (" (UTF-16?)" if data.count(b"\0") > len(data) // 4 else ""))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(data, error.start)) from None
    try:
        return next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration) as error:
        kind = _OpenQuoteError if "unexpected end" in str(error) else ValueError
        raise kind(f"no CSV: {error or 'an empty row'}") from None


def _header(values: list[str]) -> list[str]:
    header = [name.strip().removeprefix("\ufeff") for name in values]
    if len(set(header)) != len(header):
        raise ValueError("the header names a column twice")
    return header


class _Lines:
    """The raw records with a look ahead; blank lines are none, and a file begins with its first line that is none."""

    def __init__(self, records: Iterable[Raw]) -> None:
        self._records = iter(records)
        self._ahead: deque[Raw] = deque()
        self._first = False

    def take(self, *, blank: bool = False) -> Raw | None:
        """The next line, None at the end.

        :param blank: take a blank line too, as a part of a quoted value.
        """
        while True:
            raw = self._ahead.popleft() if self._ahead else next(self._records, None)
            if raw is None:
                return None
            self._first = self._first or raw.first
            if blank or raw.problem or (raw.data and not raw.data.isspace()):
                first, self._first = self._first, False
                return raw if raw.first is first else raw._replace(first=first)

    def give_back(self, taken: list[Raw]) -> None:
        """Put lines back in front, in their order."""
        self._ahead.extendleft(reversed(taken))
