"""The `files` reader: local files, globs and object storage, plain or compressed, as lines or as JSON.

The only module below the operators that knows Airflow, and only inside functions: object storage is Airflow's, and so
are the connections of the `sql` and `http` readers.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ConnectionSettingsError, IngestError
from elastic_ml.project.source import FILE_PLACEHOLDERS, FilesOptions
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers.compression import DAMAGED, DECOMPRESS, UNREADABLE, plain
from elastic_ml.sources.readers.json_stream import json_records, looks_like_lines
from elastic_ml.sources.records import KEPT_BYTES, LONGEST_RECORD, Raw

if TYPE_CHECKING:
    from elastic_ml.project.source import Source

PING_ONE_ITEMS = "_embedded.activities"


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Yield every record of the partition's files, in the order of their names.

    ``path`` may hold ``{day}`` (2026-11-10), ``{year}``, ``{month}``, ``{hour}`` or strftime codes (``%Y/%m/%d``), and
    glob characters. With ``conn_id`` or a scheme (``s3://``) it is an Airflow ObjectStoragePath. A path with a glob
    that matches nothing is an empty partition; a path without one must exist, unless ``options.missing: empty``.

    :raises IngestError: no such file, no decompressor; or a file that is cut off or damaged, after everything before.
    """
    options = FilesOptions.model_validate(source.reader.options)
    pattern = expand(str(source.reader.path), partition)
    for name, path in _found(source, pattern, options):
        yield from _records(source, name, path, options)


def expand(path: str, partition: Partition) -> str:
    """Fill the placeholders of a path with the partition's start, UTC."""
    start = partition.start
    for placeholder, code in FILE_PLACEHOLDERS.items():
        path = path.replace(f"{{{placeholder}}}", code)
    return start.strftime(path) if "%" in path else path


def airflow_connection(conn_id: str, source: Source) -> Any:
    """The Airflow connection that a source names; raises ConnectionSettingsError when there is none."""
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise ConnectionSettingsError(
            f"The source {source.name} reads through the Airflow connection {conn_id}, which does not exist.",
            remedy="Create it (airflow connections add, or Admin / Connections), or correct `reader.conn_id`.",
        ) from None


def _found(source: Source, pattern: str, options: FilesOptions) -> list[tuple[str, Any]]:
    if source.reader.conn_id or "://" in pattern:
        return _found_in_object_storage(source, pattern, options)
    if glob.has_magic(pattern):
        return [(name, Path(name)) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
    if not Path(pattern).is_file():
        return _missing(source, pattern, options)
    return [(pattern, Path(pattern))]


def _found_in_object_storage(source: Source, pattern: str, options: FilesOptions) -> list[tuple[str, Any]]:
    from airflow.sdk import ObjectStoragePath

    if "://" not in pattern:
        raise IngestError(
            f"The source {source.name} names the connection {source.reader.conn_id}, and its path {pattern} no scheme.",
            remedy="Write the path as s3://bucket/key, gs://bucket/key or the like.",
        )
    if source.reader.conn_id:
        airflow_connection(source.reader.conn_id, source)
    scheme, _, rest = pattern.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        root = ObjectStoragePath(f"{scheme}://{bucket}/", conn_id=source.reader.conn_id)
        if not glob.has_magic(key):
            path = root / key
            return [(pattern, path)] if path.is_file() else _missing(source, pattern, options)
        matches = sorted(root.glob(key), key=str)
        return [(str(path), path) for path in matches if path.is_file()]
    except (ImportError, ValueError) as error:
        raise IngestError(
            f"The source {source.name} reads {scheme}://, which Airflow cannot open here ({error}).",
            remedy=f"Install the Airflow provider of {scheme} with its fsspec file system where the workers run.",
        ) from error


def _missing(source: Source, pattern: str, options: FilesOptions) -> list[tuple[str, Any]]:
    if options.missing == "empty":
        return []
    raise IngestError(
        f"The source {source.name} reads {pattern}, which does not exist.",
        remedy="Deliver the file and run the partition again; if a day may have no file, use a glob in the path or "
        "`options: {missing: empty}`.",
    )


def _records(source: Source, name: str, path: Any, options: FilesOptions) -> Iterator[Raw]:
    """All records of one file; the error of a broken one names the file and how far it could be read."""
    short = name.rsplit("/", 1)[-1]
    last = None
    with contextlib.ExitStack() as stack:
        chunks = _chunks(source, name, path, stack)
        try:
            for raw in _split(source, short, chunks, options):
                last = raw
                yield raw
        except DAMAGED as error:
            after = last.position if last else f"the beginning of {short}"
            raise IngestError(
                f"{name} of the source {source.name} cannot be read past {after} ({error or type(error).__name__}).",
                remedy="The file is damaged or was cut off: deliver it again, then run the partition again; what "
                "was read before counts as duplicate then.",
            ) from error


def _split(source: Source, short: str, chunks: Iterator[bytes], options: FilesOptions) -> Iterator[Raw]:
    items = options.items or (PING_ONE_ITEMS if source.adapter == "ping_one" else "")
    if options.format == "json":
        return json_records(chunks, short, items)
    if options.format is None and source.adapter == "ping_one":
        as_lines, chunks = looks_like_lines(chunks, items)
        if not as_lines:
            return json_records(chunks, short, items)
    if source.adapter == "oracle":
        chunk = next(chunks, b"")
        chunks = itertools.chain([chunk], chunks)
        if not chunk.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
            return paragraphs(chunks, short)
    return lines(chunks, short)


def lines(chunks: Iterator[bytes], short: str) -> Iterator[Raw]:
    """Cut a file's bytes into lines; one that is longer than the longest record keeps its first 32 KiB only.

    When the bytes end in an error, the unfinished line before it is not yielded.
    """
    number = 0
    waiting: list[bytes] = []  # the parts of a line that reaches across chunks, as many as are kept
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        if size <= LONGEST_RECORD:
            waiting.append(first)
        size += len(first)
        if not others:
            continue
        number += 1
        yield _line(b"".join(waiting), size, short, number)
        last = others.pop()
        for line in others:
            number += 1
            yield _line(line, len(line), short, number)
        waiting, size = [last], len(last)
    if size:
        yield _line(b"".join(waiting), size, short, number + 1)


def paragraphs(chunks: Iterator[bytes], short: str) -> Iterator[Raw]:
    """Cut a file's bytes at blank lines, where audit records mostly end: a tenth of the pieces that lines would be.

    Each piece ends with the line end of the blank line after it; its position is that of its first line. Without a
    blank line in 8 MiB a piece ends at some line's end, and a longer line comes by itself, as from :func:`lines`.
    """
    number, rest = 1, b""
    first = True
    skipping = False
    for chunk in chunks:
        data = rest + chunk
        if b"\r" in data:
            held = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n")
            if held:
                rest = data
                continue
        if skipping:
            end = data.find(b"\n")
            rest = b""
            if end < 0:
                continue
            data, skipping, number = data[end + 1 :], False, number + 1
        *pieces, rest = data.split(b"\n\n")
        for piece in pieces:
            yield Raw(piece + b"\n", f"{short}:{number}", "", first)
            number += piece.count(b"\n") + 2
            first = False
        if len(rest) > LONGEST_RECORD:
            end = rest.rfind(b"\n")
            if end >= 0:
                yield Raw(rest[:end], f"{short}:{number}", "", first)
                number += rest.count(b"\n", 0, end) + 1
            else:
                yield _line(rest[:KEPT_BYTES], len(rest), short, number)._replace(first=first)
                skipping = True
            first, rest = False, rest[end + 1 :] if end >= 0 else b""
    if rest:
        yield Raw(rest.removesuffix(b"\n"), f"{short}:{number}", "", first)


def _line(line: bytes, size: int, short: str, number: int) -> Raw:
    if size > LONGEST_RECORD:
        problem = f"the line is longer than {LONGEST_RECORD // 1024 // 1024} MiB"
        return Raw(line[:KEPT_BYTES], f"{short}:{number}", problem, number == 1)
    return Raw(line[:-1] if line[-1:] == b"\r" else line, f"{short}:{number}", "", number == 1)


def _chunks(source: Source, name: str, path: Any, stack: contextlib.ExitStack) -> Iterator[bytes]:
    if name.endswith(UNREADABLE):
        raise IngestError(
            f"{name} of the source {source.name} is in a format that the files reader does not know.",
            remedy="Deliver plain text, gzip (.gz) or zstd (.zst); or read it with a reader of kind python.",
        )
    suffix = next((end for end in DECOMPRESS if name.endswith(end)), "")
    if suffix in {".zst", ".zstd"}:
        try:
            import zstandard  # noqa: F401
        except ImportError:
            raise IngestError(
                f"{name} of the source {source.name} is compressed with zstd, and the package zstandard is not "
                "installed.",
                remedy="Install `airflow-provider-elastic-ml[zstd]` where the Airflow workers run, or deliver gzip.",
            ) from None
    try:
        file = stack.enter_context(path.open("rb"))
    except (OSError, ImportError, ValueError) as error:
        raise IngestError(
            f"{name} of the source {source.name} cannot be opened ({error}).",
            remedy="Check the rights of the user that Airflow's workers run as; of object storage also that its "
            "provider is installed there.",
        ) from error
    return DECOMPRESS.get(suffix, plain)(file)
