"""Readers: one partition of a source as a stream of raw records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.records import Raw

if TYPE_CHECKING:
    from elastic_ml.project.source import Source


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Open one partition of a source and yield its raw records in order, one at a time.

    :raises IngestError: the input does not exist, cannot be read, or needs a reader that this release does not have.
    """
    kind = source.reader.kind
    if kind == "files":
        from elastic_ml.sources.readers import files

        return files.read(source, partition)
    if kind == "python":
        from elastic_ml.sources.readers import python

        return python.read(source, partition)
    raise IngestError(
        f"The source {source.name} asks for the {kind} reader, which is not available yet in this release.",
        remedy="Until then export to files and use `reader: {kind: files, path: ...}`, or write a function that yields "
        "the rows as bytes and use `reader: {kind: python, path: module:function}`.",
    )
