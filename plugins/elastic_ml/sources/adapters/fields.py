"""The field map of the `ndjson` and `csv` adapters: document field → where it is in the raw record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, get_path, parse_time, record_id, set_path

# One field of a level: name, path in the record (None: a constant or a level below) and its steps where it has dots,
# constant, the level below.
_Field = tuple[str, str | None, "list[str] | None", Any, "list[_Field] | None"]


class FieldMap:
    """Builds documents from records by a map; values keep their types, what is null or empty is left out.

    :param fields: document field → dotted path in the record; ``event.id: id``. Without a map the record itself is the
        document (it is ECS already, nested or with dotted names).
    :param constants: document field → value, set on every document.
    :raises IngestError: two fields of the map contradict each other.
    """

    def __init__(
        self, source: str, fields: Mapping[str, str], constants: Mapping[str, Any], people: NameTable | None
    ) -> None:
        self._has_map = bool(fields)
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
        self._tree = _tree(probe, fields, constants, "")

    def document(self, record: dict[str, Any], data: bytes) -> Document:
        """The document of one record.

        :param record: the parsed record.
        :param data: its raw bytes: their SHA-256 is the ``event.id`` of a record that brings none.
        :raises ValueError: the record cannot become a document; the message is the reason.
        """
        document = _build(self._tree, record) if self._has_map else self._as_it_is(record)
        event = document.get("event")
        if event is None:
            event = document["event"] = {}
        elif type(event) is not dict:
            raise ValueError("`event` is a value and no object")
        event_id = event.get("id")
        if type(event_id) is not str or not event_id:
            if isinstance(event_id, dict | list | bool):
                raise ValueError(f"event.id is {type(event_id).__name__}")
            event["id"] = str(event_id) if event_id not in {None, ""} else record_id(data)
        if "@timestamp" in document:
            parse_time(document["@timestamp"])
        user = document.get("user")
        if user is not None:
            if type(user) is not dict:
                raise ValueError("`user` is a value and no object")
            if isinstance(user.get("id"), dict | list):
                raise ValueError(f"user.id is {type(user['id']).__name__}")
            if self._people is not None and (raw := user.get("id") or user.get("name")):
                user["id"] = self._people.person(str(raw))
        return document

    def _as_it_is(self, record: dict[str, Any]) -> Document:
        document = record
        if any(value is None or "." in name for name, value in record.items()):
            document = {}
            for name, value in record.items():
                if value is not None:  # nothing to Elasticsearch, and no object to a pipeline that sets a field of it
                    _merge(document, name, value)
        for field, value in self._constants:
            set_path(document, field, value)
        return document


def _merge(document: Document, path: str, value: Any, above: str = "") -> None:
    """Set a dotted path of a record that may write an object in both ways, whole and by the names of its fields.

    :raises ValueError: it gives one field two values.
    """
    there = get_path(document, path)
    if isinstance(value, dict) and isinstance(there, dict):
        for name, inner in value.items():
            _merge(there, name, inner, f"{above}{path}.")
    elif there is None:
        set_path(document, path, value)
    elif there != value:
        raise ValueError(f"{above}{path} has two values")


def _tree(probe: Document, fields: Mapping[str, str], constants: Mapping[str, Any], prefix: str) -> list[_Field]:
    """The map as levels of nested objects, so that each object of a document is made once, when it is needed."""
    level: list[_Field] = []
    for name, inner in probe.items():
        field = f"{prefix}{name}"
        if isinstance(inner, dict):
            level.append((name, None, None, None, _tree(inner, fields, constants, f"{field}.")))
        elif field in constants:
            level.append((name, None, None, constants[field], None))
        else:
            path = fields[field]
            level.append((name, path, path.split(".") if "." in path else None, None, None))
    return level


def _build(level: list[_Field], record: dict[str, Any]) -> Document:
    made: Document = {}
    for name, path, steps, constant, below in level:
        if path is not None:
            value = record.get(path)
            if value is None and steps is not None:
                value = record
                for step in steps:
                    if type(value) is dict:
                        value = value.get(step)
                    else:
                        value = get_path(record, path) if type(value) is list else None
                        break
            if value is not None and value != "":
                made[name] = value
        elif below is not None:
            if inner := _build(below, record):
                made[name] = inner
        else:
            made[name] = constant
    return made
