"""The `files` reader: local files, globs and object storage, plain or compressed, line by line."""

from __future__ import annotations

import contextlib
import glob
import gzip
import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.records import KEPT_BYTES, LONGEST_RECORD, Raw

if TYPE_CHECKING:
    from elastic_ml.project.source import Source


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Yield every line of the partition's files, in the order of their names.

    ``path`` may hold ``{day}`` (2026-11-10), ``{year}``, ``{month}``, ``{hour}`` or strftime codes (``%Y/%m/%d``), and
    glob characters. With ``conn_id`` or a scheme (``s3://``) it is an Airflow ObjectStoragePath. A path with a glob
    that matches nothing is an empty partition; a path without one must exist, unless ``options.missing: empty``.

    :raises IngestError: no such file, no decompressor, damaged compression.
    """
    pattern = expand(str(source.reader.path), partition)
    for name, path in _found(source, pattern):
        yield from _lines(source, name, path)


def expand(path: str, partition: Partition) -> str:
    """Fill the placeholders of a path with the partition's start, UTC."""
    start = partition.start
    for placeholder, code in (("{day}", "%Y-%m-%d"), ("{year}", "%Y"), ("{month}", "%m"), ("{hour}", "%H")):
        path = path.replace(placeholder, code)
    return start.strftime(path) if "%" in path else path


def _found(source: Source, pattern: str) -> list[tuple[str, Any]]:
    if source.reader.conn_id or "://" in pattern:
        return _found_in_object_storage(source, pattern)
    if glob.has_magic(pattern):
        return [(name, Path(name)) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
    if not Path(pattern).is_file():
        return _missing(source, pattern)
    return [(pattern, Path(pattern))]


def _found_in_object_storage(source: Source, pattern: str) -> list[tuple[str, Any]]:
    from airflow.sdk import ObjectStoragePath

    if "://" not in pattern:
        raise IngestError(
            f"The source {source.name} names the connection {source.reader.conn_id}, and its path {pattern} no scheme.",
            remedy="Write the path as s3://bucket/key, gs://bucket/key or the like.",
        )
    scheme, _, rest = pattern.partition("://")
    bucket, _, key = rest.partition("/")
    root = ObjectStoragePath(f"{scheme}://{bucket}/", conn_id=source.reader.conn_id)
    if not glob.has_magic(key):
        path = root / key
        return [(pattern, path)] if path.is_file() else _missing(source, pattern)
    matches = sorted(root.glob(key), key=str)
    return [(str(path), path) for path in matches if path.is_file()]


def _missing(source: Source, pattern: str) -> list[tuple[str, Any]]:
    if source.reader.options.get("missing") == "empty":
        return []
    raise IngestError(
        f"The source {source.name} reads {pattern}, which does not exist.",
        remedy="Deliver the file and run the partition again; if a day may have no file, use a glob in the path or "
        "`options: {missing: empty}`.",
    )


def _lines(source: Source, name: str, path: Any) -> Iterator[Raw]:
    short = name.rsplit("/", 1)[-1]
    with contextlib.ExitStack() as stack:
        stream = _opened(source, name, path, stack)
        number = 0
        while True:
            try:
                line = stream.readline(LONGEST_RECORD + 1)
                problem = ""
                if len(line) > LONGEST_RECORD:
                    problem = f"the line is longer than {LONGEST_RECORD // 1024 // 1024} MiB"
                    line, rest = line[:KEPT_BYTES], line
                    while rest and not rest.endswith(b"\n"):
                        rest = stream.readline(LONGEST_RECORD)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                raise IngestError(
                    f"{name} of the source {source.name} cannot be read past line {number} ({error}).",
                    remedy="The file is damaged or was cut off: deliver it again, then run the partition again; what "
                    "was read before counts as duplicate then.",
                ) from error
            if not line:
                return
            number += 1
            yield Raw(line.removesuffix(b"\n").removesuffix(b"\r"), f"{short}:{number}", problem, first=number == 1)


def _opened(source: Source, name: str, path: Any, stack: contextlib.ExitStack) -> IO[bytes]:
    try:
        plain = cast("IO[bytes]", stack.enter_context(path.open("rb")))
    except OSError as error:
        raise IngestError(
            f"{name} of the source {source.name} cannot be opened ({error}).",
            remedy="Check the rights of the user that Airflow's workers run as.",
        ) from error
    if name.endswith(".gz"):
        return cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=plain)))
    if name.endswith((".zst", ".zstd")):
        return _zstd(source, name, plain, stack)
    return plain


def _zstd(source: Source, name: str, plain: IO[bytes], stack: contextlib.ExitStack) -> IO[bytes]:
    for library in ("compression.zstd", "backports.zstd", "pyzstd"):  # the first is Python 3.14's own
        with contextlib.suppress(ImportError):
            module: Any = importlib.import_module(library)
            return cast("IO[bytes]", stack.enter_context(module.ZstdFile(plain)))
    raise IngestError(
        f"{name} of the source {source.name} is compressed with zstd, and no zstd library is installed.",
        remedy="Install `backports.zstd` where the Airflow workers run, or deliver gzip.",
    )
