"""JSON files as a stream of records: objects one after another, arrays of them, pages of an API that hold an array.

Nothing is asked of the layout: one object per line, pretty-printed, a whole array on one line. So the grammar is loose:
objects, separated by white space, commas and brackets. What is no object is rejected up to where the next one can
start; an object in the middle of a broken page or array is found again, and nothing good is lost with the bad.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from elastic_ml.sources.records import KEPT_BYTES, LONGEST_RECORD, Raw, get_path
from elastic_ml.sources.strict_json import DECODER, encode_record

_BETWEEN = re.compile(r"[\s,\[\]]*")
# After garbage a record may start where a line, an item or an object before it ended.
_NEXT_START = re.compile(r"(?<=[\n,\[}])[ \t\r]*(?=\{)")
_MAY_CONTINUE = 12  # characters of an escape or a literal that the end of the buffer may have cut


def looks_like_lines(chunks: Iterator[bytes], items: str) -> tuple[bool, Iterator[bytes]]:
    """Whether a file holds one record per line, judged by its first line; and its chunks, none taken.

    :param items: dotted path of the records in a page: a line with a whole page is no record.
    """
    taken: list[bytes] = []
    head = b""
    for chunk in chunks:
        taken.append(chunk)
        head = (head + chunk).lstrip()
        if b"\n" in head or len(head) > LONGEST_RECORD:
            break
    first, newline, _ = head.partition(b"\n")
    line = first.strip()
    whole = itertools.chain(taken, chunks)
    if not line.startswith((b"{", b"[", b"\xef\xbb\xbf")):
        return True, whole
    try:
        value = DECODER.decode(line.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        # Laid out over lines, or a page or array that was cut off; else a bad first line before many good ones.
        laid_out = line.endswith((b"{", b"[", b",")) or not newline
        return not laid_out and f'"{items.rpartition(".")[2]}"'.encode() not in line, whole
    return isinstance(value, dict) and not isinstance(get_path(value, items), list), whole


def json_records(chunks: Iterable[bytes], name: str, items: str) -> Iterator[Raw]:
    """Yield every object of a JSON file, or every item of the arrays at `items`, in memory of the longest record.

    :param name: of the file, for positions: ``name:<line> record <number>``.
    :param items: dotted path of the array in a page; empty: every object is a record.
    """
    return _Stream(chunks, name, items).records()


class _Stream:
    def __init__(self, chunks: Iterable[bytes], name: str, items: str) -> None:
        self._chunks = iter(chunks)
        self._name = name
        self._items = items
        # Bytes that are no UTF-8 stay with their record instead of ending the file.
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self._text = ""
        self._at = 0
        self._line = 1
        self._number = 0
        self._ended = False
        self._bad: list[str] = []
        self._bad_size = 0
        self._bad_position = ""
        self._reason = ""

    def records(self) -> Iterator[Raw]:
        while True:
            self._skip(_BETWEEN.match(self._text, self._at).end())  # type: ignore[union-attr]
            if self._at == len(self._text):
                if not self._more():
                    break
                continue
            end, value, problem = self._object()
            if problem == "more":
                self._more()
            elif problem:
                self._reject_up_to(self._next_start(), problem)
            else:
                yield from self._rejected()
                yield from self._made(value, self._text[self._at : end])
                self._skip(end)
        yield from self._rejected()

    def _object(self) -> tuple[int, Any, str]:
        """End and value of the object that starts here; or the problem, which is `more` when the buffer cuts it."""
        if self._text[self._at] != "{":
            return 0, None, "no JSON object starts here"
        held = len(self._text) - self._at
        try:
            value, end = DECODER.raw_decode(self._text, self._at)
        except RecursionError:
            return 0, None, "nested too deeply"
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _MAY_CONTINUE
            if not cut:
                return 0, None, f"no JSON: {error.msg} at character {error.pos - self._at + 1}"
            if self._ended:
                return 0, None, "the file ends in the middle of a record"
            if held > LONGEST_RECORD:
                return 0, None, f"longer than {LONGEST_RECORD // 1024 // 1024} MiB"
            return 0, None, "more"
        except ValueError as error:
            return 0, None, str(error)
        return end, value, ""

    def _made(self, value: Any, text: str) -> Iterator[Raw]:
        self._number += 1
        place = f"{self._name}:{self._line} record {self._number}"
        first = self._number == 1
        items = get_path(value, self._items) if self._items else None
        data = text.encode("utf-8", "surrogateescape")
        if not text.isascii() and data.decode("utf-8", "replace") != text:
            yield Raw(data[:KEPT_BYTES], place, "not UTF-8", first)
        elif len(data) > LONGEST_RECORD and not isinstance(items, list):
            yield Raw(data[:KEPT_BYTES], place, f"longer than {LONGEST_RECORD // 1024 // 1024} MiB", first)
        elif isinstance(items, list):
            for number, item in enumerate(items, 1):
                record = item if isinstance(item, dict) else None
                yield Raw(encode_record(item), f"{place} item {number}", "", first and number == 1, record)
        else:
            yield Raw(data, place, "", first, value)

    def _next_start(self) -> int:
        """Where the next record may start; the end of what is there when none does."""
        found = _NEXT_START.search(self._text, self._at + 1)
        return found.end() if found else len(self._text)

    def _reject_up_to(self, end: int, reason: str) -> None:
        if not self._bad:
            self._bad_position = f"{self._name}:{self._line} record {self._number + 1}"
            self._reason = reason
        part = self._text[self._at : end]
        if self._bad_size < KEPT_BYTES:
            self._bad.append(part[:KEPT_BYTES])
            self._bad_size += len(part)
        self._skip(end)

    def _rejected(self) -> Iterator[Raw]:
        if self._bad:
            self._number += 1
            data = "".join(self._bad).rstrip(" \t\r\n,[]").encode("utf-8", "surrogateescape")
            yield Raw(data[:KEPT_BYTES], self._bad_position, self._reason, self._number == 1)
            self._bad, self._bad_size = [], 0

    def _skip(self, end: int) -> None:
        self._line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Take at least as much again as is waiting, so that a long record is not tried over and over."""
        rest = self._text[self._at - 1 :] if self._at else self._text
        kept = 1 if self._at else 0  # the character before decides whether a record may start here
        parts = [rest]
        wanted = max(1, len(rest))
        while wanted > 0 and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._ended = True
            text = self._decode(chunk or b"", final=chunk is None)
            parts.append(text)
            wanted -= len(text)
        self._text, self._at = "".join(parts), kept
        return len(self._text) > kept or not self._ended
