"""Splits Oracle audit files (`.aud`) into records, as a stream, and reads the values of one record.

Two shapes lie in one file, both opened by a time line and a `LENGTH` line::

    Wed Oct  7 11:58:08 2020 -04:00          Wed Oct  7 11:58:08 2020 -04:00
    LENGTH : '392'                           LENGTH: "385"
    ACTION :[151] 'select ...                SESSIONID:[5] "12354" ENTRYID:[1] "1" ... RETURNCODE:[1] "0"
    ...'
    STATUS:[1] '0'

The number in brackets is the length of the value in bytes. It is what keeps records apart: SQL may hold blank lines,
and whoever writes SQL could otherwise write lines that look like the next record. Where a length is wrong the record is
read by its lines alone, and still never takes a neighbour with it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from elastic_ml.sources.records import Raw

LONGEST_AUDIT_RECORD = 4 * 1024 * 1024

TIME_LINE = re.compile(
    rb"^[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) {1,2}(?P<day>\d{1,2}) (?P<time>\d{2}:\d{2}:\d{2})(?:\.\d+)?"
    rb" (?P<year>\d{4})"
    rb"(?: (?P<offset>[+-]\d{2}:\d{2}|Z|UTC))?\s*$"
)
_LENGTH_LINE = re.compile(rb"^LENGTH\s*:\s*['\"]")
_VALUE = re.compile(rb"(?P<key>[A-Z][A-Z0-9_$# ]*?) ?:\[(?P<length>\d{1,9})\] (?P<quote>['\"])")
_LOOSE_VALUE = re.compile(
    rb"(?:^|(?<=\s))(?P<key>[A-Z][A-Z0-9_$#]*(?: [A-Z0-9_$#]+)*) ?: ?(?:\[\d+\])? ?(?P<quote>['\"])"
)
_PREAMBLE = (b"Audit file ", b"Oracle Database ", b"Oracle9i ", b"Oracle10g ")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of the input: a record, or what belongs to none.

    :param kind: `record`; `preamble` (what the database writes at the head of each file); `stray` (neither).
    :param data: its lines, joined by newlines, without trailing blank lines.
    :param position: where its first line is.
    """

    kind: Literal["record", "preamble", "stray"]
    data: bytes
    position: str


def split(records: Iterable[Raw]) -> Iterator[Block]:
    """Cut a stream of lines into blocks. Every line that is not blank ends up in exactly one of them.

    A block that would exceed 4 MiB is cut there, and its rest becomes stray blocks: memory stays bounded.
    """
    lines = _Lines(records)
    block: _Open | None = None
    while (line := lines.take()) is not None:
        if line.first or (block is not None and block.size > LONGEST_AUDIT_RECORD):
            yield from _closed(block)
            block = None
        text = line.data
        if _starts_record(text, lines, strict=block is not None and block.loose):
            yield from _closed(block)
            block = _Open("record", line.position)
            block.add(text)
        elif not text.strip():
            if block is not None and ((block.kind == "record" and not block.loose) or block.kind == "stray"):
                yield from _closed(block)
                block = None
            elif block is not None:
                block.add(text)
        elif block is None:
            block = _Open("preamble" if text.startswith(_PREAMBLE) else "stray", line.position)
            block.add(text)
        elif block.kind == "record" and (found := _VALUE.match(text)):
            block.add(text)
            rest = lines.take_value(text[found.end() :], int(found["length"]), found["quote"])
            if rest is None:
                block.loose = True
            else:
                block.extend(rest)
        else:
            block.add(text)
    yield from _closed(block)


def read_values(data: bytes) -> tuple[dict[str, str], str]:
    """The values of one record, keyed by Oracle's own names, and what was left over that is no value.

    :param data: a record block: time line, LENGTH line, values in either shape.
    """
    values: dict[str, str] = {}
    leftover: list[bytes] = []
    body = data.split(b"\n", 1)[1] if b"\n" in data else b""
    at = 0
    while at < len(body):
        if body[at : at + 1].isspace():
            at += 1
            continue
        end = _read_value(body, at, values)
        if end is None:
            newline = body.find(b"\n", at)
            newline = len(body) if newline < 0 else newline
            leftover.append(body[at:newline])
            end = newline
        at = end
    return values, b"\n".join(leftover).decode("utf-8", "replace")


def _read_value(body: bytes, at: int, values: dict[str, str]) -> int | None:
    """Read the value that starts at `at` into `values`; its end, or None when none starts there."""
    found = _VALUE.match(body, at)
    if found:
        start, length = found.end(), int(found["length"])
        end = start + length
        after = body[end + 1 : end + 2]
        if body[end : end + 1] == found["quote"] and (not after or after.isspace()):
            values[_text(found["key"])] = _text(body[start:end])
            return end + 1
    # No length, or one that does not fit: the value ends at the quote before the next key, or at the last quote.
    loose = _LOOSE_VALUE.match(body, at)
    if loose is None:
        return None
    quote, start = loose["quote"], loose.end()
    following = re.compile(re.escape(quote) + rb"(?=\s+[A-Z][A-Z0-9_$# ]*? ?:(?: ?\[\d+\])? ?['\"]|\s*$)").search(
        body, start
    )
    if following is None:
        return None
    values[_text(loose["key"])] = _text(body[start : following.start()])
    return following.end()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()


def _starts_record(text: bytes, lines: _Lines, *, strict: bool) -> bool:
    if not TIME_LINE.match(text):
        return False
    return not strict or bool(_LENGTH_LINE.match(lines.peek()))


class _Open:
    """A block that is still growing; `loose` once a length in it did not fit, so that blank lines may be SQL."""

    def __init__(self, kind: Literal["record", "preamble", "stray"], position: str) -> None:
        self.kind = kind
        self.position = position
        self.lines: list[bytes] = []
        self.size = 0
        self.loose = False

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line) + 1

    def extend(self, lines: list[bytes]) -> None:
        for line in lines:
            self.add(line)


def _closed(block: _Open | None) -> Iterator[Block]:
    if block is not None:
        while block.lines and not block.lines[-1].strip():
            block.lines.pop()
        yield Block(block.kind, b"\n".join(block.lines), block.position)


class _Lines:
    """The raw records as single lines, with a look ahead that is bounded by the longest record."""

    def __init__(self, records: Iterable[Raw]) -> None:
        self._records = iter(records)
        self._ahead: deque[Raw] = deque()

    def take(self) -> Raw | None:
        """The next line, None at the end."""
        if not self._ahead:
            for raw in self._records:
                if b"\n" not in raw.data:
                    return raw
                parts = raw.data.split(b"\n")
                self._ahead.extend(
                    Raw(part.removesuffix(b"\r"), raw.position, first=raw.first and not number)
                    for number, part in enumerate(parts)
                )
                break
        return self._ahead.popleft() if self._ahead else None

    def peek(self) -> bytes:
        """The line after, without taking it; empty at the end."""
        line = self.take()
        if line is None:
            return b""
        self._ahead.appendleft(line)
        return line.data

    def take_value(self, rest: bytes, length: int, quote: bytes) -> list[bytes] | None:
        """Take the further lines of a value of `length` bytes whose first line ends with `rest`.

        None, and nothing taken, when the closing quote is not where the length says.
        """
        if len(rest) > length:
            return [] if rest[length : length + 1] == quote else None
        taken: list[Raw] = []
        size = len(rest)
        while size <= length <= LONGEST_AUDIT_RECORD:
            line = self.take()
            if line is None or line.first:
                if line is not None:
                    taken.append(line)
                break
            taken.append(line)
            size += 1 + len(line.data)
        last = taken[-1].data if taken else b""
        if size == length + 1 + len(last) - len(last.rstrip()) and last.rstrip().endswith(quote):
            return [line.data for line in taken]
        self._ahead.extendleft(reversed(taken))
        return None
