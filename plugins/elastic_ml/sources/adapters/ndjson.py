"""The `ndjson` adapter: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from elastic_ml.sources.adapters.fields import FieldMap
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, Raw, Rejected


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# A decoder made once: json.loads with options makes one per call.
_decode = json.JSONDecoder(parse_constant=_no_number).decode


def parse_object(data: bytes) -> dict[str, Any]:
    """One JSON object, read strictly: UTF-8, no NaN.

    :raises ValueError: the reason why it cannot be read.
    """
    try:
        record = _decode(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__} and no object")  # noqa: TRY004 - a record's fault
    return record


class NdjsonAdapter:
    """Maps JSON lines by a field map. Blank lines are no records; everything else is a document or a reject."""

    def __init__(
        self,
        source: str,
        fields: Mapping[str, str],
        constants: Mapping[str, Any] | None = None,
        people: NameTable | None = None,
    ) -> None:
        self._map = FieldMap(source, fields, constants or {}, people)

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per line."""
        for raw in records:
            if not raw.data.strip():
                continue
            try:
                yield self._map.document(parse_object(raw.data), raw.data)
            except ValueError as error:
                yield Rejected.of(raw, str(error))
