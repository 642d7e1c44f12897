"""Splits Oracle audit into records, as a stream, and reads the values of one record of an audit file (`.aud`).

Two shapes lie in one file, both opened by a time line and a `LENGTH` line::

    Wed Oct  7 11:58:08 2020 -04:00          Wed Oct  7 11:58:08 2020 -04:00
    LENGTH : '392'                           LENGTH: "385"
    ACTION :[151] 'select ...                SESSIONID:[5] "12354" ENTRYID:[1] "1" ... RETURNCODE:[1] "0"
    ...'
    STATUS:[1] '0'

The number in brackets is the length of the value in bytes. It is what keeps records apart: SQL may hold blank lines,
and whoever writes SQL could otherwise write lines that look like the next record. Where a length is wrong the record is
read by its lines alone, and still never takes a neighbour with it.

A line outside of such a record that starts a JSON object is a row of an audit view, and a record by itself; so is one
after a lone time line, where a record would go on with its length.

Nearly all records are well-formed and hold no blank line: those are read at once, by :func:`read_exactly`. Everything
else goes line by line.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

from elastic_ml.sources.records import Raw

LONGEST_AUDIT_RECORD = 4 * 1024 * 1024

TIME_LINE = re.compile(
    rb"^[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) {1,2}(?P<day>\d{1,2}) (?P<time>\d{2}:\d{2}:\d{2})"
    rb"(?:\.(?P<fraction>\d+))? (?P<year>\d{4})"
    rb"(?: (?P<offset>[+-]\d{2}:\d{2}|Z|UTC))?\s*$"
)
_LONGEST_TIME_LINE = 64
_LENGTH_LINE = re.compile(rb"^LENGTH\s*:\s*['\"]")
_VALUE = re.compile(rb"(?P<key>[A-Z][A-Z0-9_$# ]*?) ?:\[(?P<length>\d{1,9})\] (?P<quote>['\"])")
_LOOSE_VALUE = re.compile(
    rb"(?:^|(?<=\s))(?P<key>[A-Z][A-Z0-9_$#]*(?: [A-Z0-9_$#]+)*) ?: ?(?:\[\d+\])? ?(?P<quote>['\"])"
)
_ROW = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"')
_PREAMBLE = (b"Audit file ", b"Oracle Database ", b"Oracle9i ", b"Oracle10g ")

_EXACT_LENGTH = re.compile(r"LENGTH ?: ?(?P<quote>['\"])(?P<length>\d+)(?P=quote)(?:[^\S\n]+|[^\S\n]*\n[^\S\n]*)")
_EXACT_VALUE = re.compile(r"([A-Z][A-Z0-9_$# ]*?) ?:\[(\d{1,9})\] (['\"])")
_BLANK = re.compile(r"\s+")
# The first shape with every value on one line, as most records are; all values of a record in one call.
_ONE_PER_LINE = re.compile(r"([A-Z][A-Z0-9_$# ]*):\[(\d{1,9})\] '([^\n]*)'(?:\n|$)")
_AROUND = len(":[] ''\n")


class Block(NamedTuple):
    """Consecutive lines of the input: a record, or what belongs to none.

    :param kind: `record`; `row`; `preamble` (what the database writes at the head of each file); `stray`: none of them.
    :param data: its lines, joined by newlines, without trailing blank lines.
    :param position: where its first line is.
    :param problem: why the reader could not read it whole; empty when it could.
    :param values: of a record, where :func:`read_exactly` could read them.
    :param row: of a row, where the reader parsed it already.
    """

    kind: Literal["record", "row", "preamble", "stray"]
    data: bytes
    position: str
    problem: str = ""
    values: dict[str, str] | None = None
    row: dict[str, Any] | None = None


def split(records: Iterable[Raw]) -> Iterator[Block]:
    """Cut a stream of lines into blocks. Every line that is not blank ends up in exactly one of them.

    A block that would exceed 4 MiB is cut there, and its rest becomes stray blocks: memory stays bounded.
    """
    lines = _Lines(records)
    block: _Open | None = None
    while True:
        if block is None:
            yield from lines.take_whole()
        line = lines.take()
        if line is None:
            break
        if line.first or (block is not None and block.size > LONGEST_AUDIT_RECORD):
            yield from _closed(block)
            block = None
        text = line.data
        if block is None and (whole := _whole_record(line, lines)):
            yield whole
        elif line.problem:
            block = block or _Open("stray", line.position)
            block.fail(line)
        elif (block is None or block.kind != "record" or not block.begun) and _ROW.match(text):
            yield from _closed(block)
            block = None
            yield Block("row", text, line.position)
        elif _starts_record(text, lines, strict=block is not None and block.loose):
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
            block.begun = True
            block.add(text)
            rest = lines.take_value(text[found.end() :], int(found["length"]), found["quote"])
            if rest is None:
                block.loose = True
            else:
                block.extend(rest)
        else:
            block.begun = block.begun or _LENGTH_LINE.match(text) is not None
            block.add(text)
    yield from _closed(block)


def _whole_record(line: Raw, lines: _Lines) -> Block | None:
    """The record that starts with this line and ends at the next blank one; None, and nothing taken, if it is not so.

    Right lengths alone decide: a value that reaches over a blank line is no whole record here.
    """
    if line.problem or not _is_time_line(line.data):
        return None
    taken: list[Raw] = []
    parts = [line.data]
    size = len(line.data)
    while (following := lines.take()) is not None:
        data = following.data
        if following.first or following.problem or size > LONGEST_AUDIT_RECORD or _is_time_line(data):
            taken.append(following)
            break
        taken.append(following)
        if not data or data.isspace():
            break
        parts.append(data)
        size += len(data) + 1
    whole = b"\n".join(parts)
    values = read_exactly(whole)
    if values is None:
        lines.give_back(taken)
        return None
    lines.give_back(taken[len(parts) - 1 :])  # what ended it
    return Block("record", whole, line.position, "", values)


def read_exactly(data: bytes) -> dict[str, str] | None:
    """The values of a record in which every length is right and nothing is left over; None of any other.

    :param data: time line, LENGTH line, values in either shape.
    """
    if not data.isascii() or b"\0" in data:
        return None  # lengths count bytes; and what is wrong is found out with care
    text = data.decode("ascii")
    at = text.find("\n") + 1
    found = _EXACT_LENGTH.match(text, at) if at else None
    if found is None:
        return None
    values = {"LENGTH": found["length"]}
    at = found.end()
    end_of_text = len(text)
    size = at - 1  # the last value has no line end
    for key, length, value in _ONE_PER_LINE.findall(text, at):
        if len(value) != int(length):
            break
        values[key.rstrip()] = value.strip()
        size += len(key) + len(length) + len(value) + _AROUND
    else:
        if size == end_of_text:
            return values
    values = {"LENGTH": found["length"]}
    match = _EXACT_VALUE.match
    while at < end_of_text:
        value = match(text, at)
        if value is None:
            return None
        key, length, quote = value.groups()
        start = value.end()
        end = start + int(length)
        if text[end : end + 1] != quote or key in values:
            return None
        values[key] = text[start:end].strip()
        at = end + 1
        if at < end_of_text:
            if text[at] not in "\n ":
                return None
            end = _BLANK.match(text, at).end()  # type: ignore[union-attr]
            if text.count("\n", at, end) > (end < end_of_text):
                return None  # a blank line between two values, or after the last: there a record ends
            at = end
    return values


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


def _is_time_line(text: bytes) -> bool:
    return text[3:4] == b" " and len(text) <= _LONGEST_TIME_LINE and TIME_LINE.match(text) is not None


def _starts_record(text: bytes, lines: _Lines, *, strict: bool) -> bool:
    return _is_time_line(text) and (not strict or bool(_LENGTH_LINE.match(lines.peek())))


class _Open:
    """A block that is still growing.

    `begun` once a record has its length or a value; until then it may be a lone time line and junk. `loose` once a
    length in it did not fit, so that blank lines may be SQL.
    """

    def __init__(self, kind: Literal["record", "preamble", "stray"], position: str) -> None:
        self.kind = kind
        self.position = position
        self.lines: list[bytes] = []
        self.size = 0
        self.begun = False
        self.loose = False
        self.problem = ""

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.size += len(line) + 1

    def extend(self, lines: list[bytes]) -> None:
        for line in lines:
            self.add(line)

    def fail(self, line: Raw) -> None:
        """A line of it could not be read whole, so what it says is not known."""
        self.add(line.data)
        self.problem = self.problem or line.problem
        self.loose = True


def _closed(block: _Open | None) -> Iterator[Block]:
    if block is not None:
        while block.lines and not block.lines[-1].strip():
            block.lines.pop()
        yield Block(block.kind, b"\n".join(block.lines), block.position, block.problem)


class _Lines:
    """The raw records as single lines, with a look ahead that is bounded by the longest record."""

    def __init__(self, records: Iterable[Raw]) -> None:
        self._records = iter(records)
        self._ahead: deque[Raw] = deque()

    def take(self) -> Raw | None:
        """The next line, None at the end."""
        if self._ahead:
            return self._ahead.popleft()
        raw = next(self._records, None)
        if raw is not None:
            self._cut(raw)
        return self._ahead.popleft() if raw is not None else None

    def take_whole(self) -> Iterator[Block]:
        """The records and rows that the reader gave in one piece each, up to the first piece that is none.

        A piece is known to be a whole record by the blank line that it ends with. One without it may go on in the next
        piece, however well its lengths fit, and is read line by line.
        """
        while not self._ahead:
            raw = next(self._records, None)
            if raw is None:
                return
            data = raw.data
            if raw.record is not None and not raw.problem:
                yield Block("row", data, raw.position, "", None, raw.record)
                continue
            if raw.problem or data[-1:] != b"\n" or not _is_time_line(data[: data.index(b"\n")]):
                self._cut(raw)
                return
            data = data.rstrip(b"\n")
            values = read_exactly(data)
            if values is None:
                self._cut(raw)
                return
            yield Block("record", data, raw.position, "", values)

    def _cut(self, raw: Raw) -> None:
        if raw.problem or b"\n" not in raw.data:
            self._ahead.append(raw)
            return
        file, _, line = raw.position.rpartition(":")
        for number, part in enumerate(raw.data.split(b"\n")):
            position = f"{file}:{int(line) + number}" if line.isdecimal() else raw.position
            self._ahead.append(Raw(part.removesuffix(b"\r"), position, "", raw.first and not number))

    def give_back(self, taken: list[Raw]) -> None:
        """Put lines back in front, in their order."""
        self._ahead.extendleft(reversed(taken))

    def peek(self) -> bytes:
        """The line after, without taking it; empty at the end."""
        line = self.take()
        if line is None:
            return b""
        self._ahead.appendleft(line)
        return b"" if line.first or line.problem else line.data

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
            if line is None:
                break
            taken.append(line)
            if line.first or line.problem:
                break
            size += 1 + len(line.data)
        last = taken[-1].data if taken else b""
        broken = bool(taken) and (taken[-1].first or bool(taken[-1].problem))
        if not broken and size == length + 1 + len(last) - len(last.rstrip()) and last.rstrip().endswith(quote):
            return [line.data for line in taken]
        self.give_back(taken)
        return None
