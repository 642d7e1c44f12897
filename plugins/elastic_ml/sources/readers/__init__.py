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
    :raises ConnectionSettingsError: the connection that the source names cannot work as it is set.
    """
    if source.reader.kind == "files":
        from elastic_ml.sources.readers import files

        return files.read(source, partition)
    if source.reader.kind == "sql":
        from elastic_ml.sources.readers import sql

        return sql.read(source, partition)
    if source.reader.kind == "http":
        from elastic_ml.sources.readers import http

        return http.read(source, partition)
    from elastic_ml.sources.readers import python

    return python.read(source, partition)
