"""Readers: one partition of a source as a stream of raw records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elastic_ml.sources.partition import Partition
from elastic_ml.sources.records import Raw

if TYPE_CHECKING:
    from elastic_ml.project.source import Source


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Open one partition of a source and yield its raw records in order, one at a time.

    :raises IngestError: the input does not exist or cannot be read.
    """
    if source.reader.kind == "files":
        from elastic_ml.sources.readers import files

        return files.read(source, partition)
    # The project's files know `sql` and `http`, too, and refuse them in this release.
    from elastic_ml.sources.readers import python

    return python.read(source, partition)
