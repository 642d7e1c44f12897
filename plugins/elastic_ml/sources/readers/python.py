"""The `python` reader: a function of the user's own yields the raw records."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.records import Raw

if TYPE_CHECKING:
    from elastic_ml.project.source import Source


def load_function(named: str, what: str) -> Callable[..., Any]:
    """The function that ``module:function`` names; raises IngestError saying what is missing.

    :param what: what it is, for the sentence, such as ``reader of the source internal``.
    """
    module_name, _, function_name = named.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise IngestError(
            f"The {what} is {named}, and the module {module_name} cannot be imported ({error}).",
            remedy="Install it where the Airflow workers run, or put it on their PYTHONPATH.",
        ) from error
    except AttributeError as error:
        raise IngestError(
            f"The {what} is {named}, and the module {module_name} has no {function_name}.", remedy="Correct the name."
        ) from error
    if not callable(function):
        raise IngestError(f"The {what} is {named}, which is no function.", remedy="Name a function.")
    return function


def read(source: Source, partition: Partition) -> Iterator[Raw]:
    """Call ``function(partition_start, partition_end, **options)`` and number what it yields (bytes or text)."""
    function = load_function(str(source.reader.path), f"reader of the source {source.name}")
    records: Iterable[bytes | str] = function(partition.start, partition.end, **source.reader.options)
    for number, record in enumerate(records, 1):
        data = record.encode() if isinstance(record, str) else record
        if not isinstance(data, bytes | bytearray | memoryview):
            raise IngestError(
                f"{source.reader.path}, the reader of the source {source.name}, yielded {type(record).__name__} as "
                f"record {number}.",
                remedy="Yield bytes, one raw record each.",
            )
        yield Raw(bytes(data), f"record {number}", first=number == 1)
