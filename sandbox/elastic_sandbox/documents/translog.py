"""The translog: every acknowledged write, on disk before the answer leaves.

Documents reach DuckDB only at a refresh. What lies between is appended here first, so that killing the process
loses nothing that was acknowledged. An ``write(2)`` survives the death of the process; a power cut may lose the last
moments, as an Elasticsearch with ``index.translog.durability: async`` would.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

_LENGTH = struct.Struct("<I")
ROLL_BYTES = 64 * 1024 * 1024
"""Past this size everything is flushed to DuckDB and the file starts anew."""

Record = tuple[str, str, str, int, int, str | None, str | None]
"""(index name, index uuid, _id, _seq_no, _version, _source or None for a delete, _routing)."""


class Translog:
    """An append-only file of length-prefixed JSON records; one record holds the operations of one request.

    :param directory: where the file lies; None keeps nothing (in-memory sandbox)
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = None if directory is None else directory / "translog" / "operations.log"
        self._file: Any = None
        self._owed: list[Record] = []
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._cut_torn_record()
            # Unbuffered: a record is with the operating system when append() returns.
            self._file = self._path.open("ab", buffering=0)

    @property
    def enabled(self) -> bool:
        """Whether there is a file; without one nothing has to be logged."""
        return self._file is not None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return 0 if self._file is None else self._file.tell()

    def append(self, operations: list[Record]) -> None:
        """Write the operations of one request as one record.

        :raises OSError: the disk is full; the operations are written with the next ones
        """
        if self._file is None or not (operations or self._owed):
            return
        # What a full disk refused is in memory already, and a repeated request conflicts with it: it comes first.
        self._owed += operations
        payload = orjson.dumps(self._owed)
        record = _LENGTH.pack(len(payload)) + payload
        start = self._file.tell()
        try:
            written = self._file.write(record)
            while written < len(record):
                written += self._file.write(record[written:])
        except OSError:
            # The part that fitted on the disk would hide from a replay all that follows it.
            self._file.truncate(start)
            self._file.seek(start)
            raise
        self._owed = []

    def replay(self) -> Iterator[Record]:
        """Every operation in the file, oldest first."""
        for payload in self._records():
            yield from (tuple(operation) for operation in orjson.loads(payload))

    def truncate(self) -> None:
        """Forget everything: DuckDB has it."""
        self._owed = []
        if self._file is not None and self._file.tell():
            self._file.truncate(0)
            self._file.seek(0)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _records(self) -> Iterator[bytes]:
        if self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            while len(head := file.read(_LENGTH.size)) == _LENGTH.size:
                length = _LENGTH.unpack(head)[0]
                payload = file.read(length)
                if len(payload) < length:
                    return
                yield payload

    def _cut_torn_record(self) -> None:
        # A record cut short by a kill was never acknowledged; left in place it would hide what follows it.
        assert self._path is not None
        if not self._path.exists():
            return
        whole = sum(_LENGTH.size + len(payload) for payload in self._records())
        if whole < self._path.stat().st_size:
            with self._path.open("r+b") as file:
                file.truncate(whole)
