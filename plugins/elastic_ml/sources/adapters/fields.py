"""The field map of the `ndjson` and `csv` adapters: ECS field → where it is in the raw record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, get_path, parse_time, record_id, set_path


class FieldMap:
    """Builds documents from records by a map; values keep their types, what is null or empty is left out.

    :param fields: document field → dotted path in the record; ``event.id: id``. Without a map the record itself is the
        document (it is ECS already).
    :param constants: document field → value, set on every document.
    :raises IngestError: two fields of the map contradict each other.
    """

    def __init__(
        self, source: str, fields: Mapping[str, str], constants: Mapping[str, Any], people: NameTable | None
    ) -> None:
        self._fields = list(fields.items())
        self._constants = list(constants.items())
        self._people = people
        probe: Document = {}
        for field in sorted([*fields, *constants]):
            try:
                set_path(probe, field, 0)
            except ValueError as error:
                raise IngestError(
                    f"The field map of the source {source} contradicts itself: {error}.",
                    remedy="A field cannot be a value and an object at once; correct `fields:` and `constants:`.",
                ) from None

    def document(self, record: dict[str, Any], data: bytes) -> Document:
        """The document of one record.

        :param record: the parsed record.
        :param data: its raw bytes: their SHA-256 is the ``event.id`` of a record that brings none.
        :raises ValueError: the record cannot become a document; the message is the reason.
        """
        if self._fields:
            document: Document = {}
            for field, path in self._fields:
                value = record.get(path) if path in record else get_path(record, path)
                if value is not None and value != "":
                    set_path(document, field, value)
        else:
            document = record
        for field, value in self._constants:
            set_path(document, field, value)
        self._check(document)
        event = document.setdefault("event", {})
        if event.get("id") in {None, ""}:
            event["id"] = record_id(data)
        elif not isinstance(event["id"], str):
            event["id"] = str(event["id"])
        if self._people is not None:
            self._resolve(document)
        return document

    @staticmethod
    def _check(document: Document) -> None:
        for group in ("event", "user"):
            if not isinstance(document.get(group, {}), dict):
                raise ValueError(f"`{group}` is a value and no object")  # noqa: TRY004 - a record's fault, not a caller's
        event_id = document.get("event", {}).get("id")
        if isinstance(event_id, dict | list | bool):
            raise ValueError(f"event.id is {type(event_id).__name__}")  # noqa: TRY004
        if "@timestamp" in document:
            parse_time(document["@timestamp"])

    def _resolve(self, document: Document) -> None:
        user = document.get("user")
        raw = (user.get("id") or user.get("name")) if user else None
        if raw and self._people is not None:
            document["user"]["id"] = self._people.person(str(raw))
