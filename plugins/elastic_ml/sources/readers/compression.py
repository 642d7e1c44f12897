"""Bytes of a file as chunks, whatever compresses it: gzip with any number of members, zstd with any number of frames.

A generator ends where the file ends well; one that was cut off or is damaged raises after the last byte it could make
out, so that what was read stays usable.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

CHUNK = 256 * 1024
# One byte of zstd can stand for 32 KiB, and a whole piece is decompressed at once: 1 KiB keeps that under 32 MiB.
_ZSTD_PIECE = 1024

DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, zlib.error)
"""What the chunks of a file raise when it is cut off, damaged or unreadable."""


def plain(file: IO[bytes]) -> Iterator[bytes]:
    """The file as it is."""
    while chunk := file.read(CHUNK):
        yield chunk


def gunzip(file: IO[bytes]) -> Iterator[bytes]:
    """All members of a gzip file."""
    with gzip.GzipFile(fileobj=file) as stream:
        # read() would lose what it holds when the file ends too early; read1() hands it out first.
        while chunk := stream.read1(CHUNK):
            yield chunk


def unzstd(file: IO[bytes]) -> Iterator[bytes]:
    """All frames of a zstd file.

    :raises ImportError: the package `zstandard` is not installed.
    :raises EOFError: it ends inside a frame.
    :raises ValueError: it is damaged.
    """
    import zstandard

    decompressor = zstandard.ZstdDecompressor()
    # zstandard's own reader ends without a word inside a frame; only this object says whether the frame was complete.
    frame: Any = None
    for chunk in plain(file):
        made: list[bytes] = []
        for start in range(0, len(chunk), _ZSTD_PIECE):
            rest = chunk[start : start + _ZSTD_PIECE]
            while rest:
                frame = frame or decompressor.decompressobj()
                try:
                    made.append(frame.decompress(rest))
                except zstandard.ZstdError as error:
                    yield b"".join(made)
                    raise ValueError(str(error)) from None
                rest, frame = (frame.unused_data, None) if frame.eof else (b"", frame)
            if sum(map(len, made)) >= CHUNK:
                yield b"".join(made)
                made = []
        yield b"".join(made)
    if frame is not None:
        raise EOFError("the file ends inside a zstd frame")


DECOMPRESS: dict[str, Callable[[IO[bytes]], Iterator[bytes]]] = {".gz": gunzip, ".zst": unzstd, ".zstd": unzstd}
"""By the end of the file's name."""

UNREADABLE = (".bz2", ".xz", ".zip", ".7z", ".lz4", ".lzo", ".sz", ".br", ".Z", ".tar", ".tgz", ".parquet", ".avro")
"""Ends of names of files that would only come out as a heap of rejected lines."""
