"""The bundle's saved objects: compared with what Kibana holds, and imported where they differ.

Kibana keeps an imported object in its own, newer form, so the two cannot simply be compared. What was imported last is
therefore noted in the description of the bundle's tags: an object that Kibana shows otherwise is as it was imported,
unless it was updated after the tag, which is imported in the same request: then a person edited it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.kibana_changes import differences
from elastic_ml.exceptions import InvalidRequestError

SavedObject = Mapping[str, Any]
Key = tuple[str, str]
WORDS = {"index-pattern": "data view"}
"""What people call a type of saved object, where Kibana's own word is another."""
_SAME_REQUEST = timedelta(seconds=10)
"""Objects of one import are written within this time."""
_NOTE = re.compile(r"(?:^| )Imported as (?P<hash>[0-9a-f]{12})(?:; edited by hand since: (?P<edited>.*))?\.$")


@dataclass(frozen=True)
class Finding:
    """What is to be done with one object.

    :param state: ``missing``, ``differs``, ``same`` or ``edited`` (by hand, since it was imported).
    :param detail: what differs.
    """

    key: Key
    state: str
    detail: str = ""


@dataclass(frozen=True)
class Imported:
    """What the tag says of the last import."""

    hash: str
    at: datetime
    edited: frozenset[str]


def last_import(client: KibanaClient, bundle: Sequence[SavedObject]) -> Imported | None:
    """What the bundle's tags note of the last import; None where there was none, or a person removed the note."""
    held = _held(client, [key_of(one) for one in bundle if one["type"] == "tag"])
    return next((found for found in map(_note, held.values()) if found), None)


def edited_since(one: SavedObject, imported: Imported) -> bool:
    """Whether a person edited an object, as Kibana holds it, since it was imported."""
    return f"{one['type']} {one['id']}" in imported.edited or _updated(one) > imported.at + _SAME_REQUEST


def compare(client: KibanaClient, bundle: Sequence[SavedObject]) -> list[Finding]:
    """Say of each object of the bundle how Kibana's own stands to it; only reads."""
    held = _held(client, [key_of(one) for one in bundle])
    notes = [_note(held[key]) for key in map(key_of, bundle) if key[0] == "tag" and key in held]
    imported = next((found for found in notes if found), None)
    return [_finding(one, held.get(key_of(one)), imported, digest(bundle)) for one in bundle]


def with_note(bundle: Sequence[SavedObject], edited: Sequence[Key]) -> list[dict[str, Any]]:
    """The bundle with a note on its tags of what is imported, and of what was left as a person made it."""
    since = f"; edited by hand since: {', '.join(f'{kind} {name}' for kind, name in sorted(edited))}" if edited else ""
    note = f"Imported as {digest(bundle)}{since}."

    def noted(attributes: Mapping[str, Any]) -> dict[str, Any]:
        return {**attributes, "description": f"{attributes.get('description', '')} {note}".strip()}

    return [{**one, "attributes": noted(one["attributes"])} if one["type"] == "tag" else dict(one) for one in bundle]


def digest(bundle: Sequence[SavedObject]) -> str:
    """Twelve hex digits over all that a bundle holds."""
    return hashlib.sha256(json.dumps(bundle, sort_keys=True).encode()).hexdigest()[:12]


def key_of(one: SavedObject) -> Key:
    """Type and id."""
    return str(one["type"]), str(one["id"])


def _finding(wanted: SavedObject, actual: SavedObject | None, imported: Imported | None, hashed: str) -> Finding:
    key = key_of(wanted)
    if actual is None:
        return Finding(key, "missing")
    found = differences(_content(wanted), _content(actual, like=wanted))
    if not found:
        return Finding(key, "same")
    if key[0] != "tag" and imported is not None:
        if edited_since(actual, imported):
            return Finding(key, "edited", "; ".join(found[:4]))
        if imported.hash == hashed:
            return Finding(key, "same", "in the form that this Kibana keeps")
    return Finding(key, "differs", "; ".join(found[:4]))


def _content(one: SavedObject, like: SavedObject | None = None) -> dict[str, Any]:
    """What counts of an object: attributes that the wanted one has, JSON inside texts parsed, and its references."""
    attributes: Mapping[str, Any] = one.get("attributes") or {}
    names = attributes.keys() if like is None else like["attributes"].keys()
    shown = {name: _parsed(attributes.get(name)) for name in names}
    if one["type"] == "tag" and isinstance(shown.get("description"), str):
        shown["description"] = _NOTE.sub("", shown["description"])
    references = sorted((r["type"], r["id"], r["name"]) for r in one.get("references") or [])
    return {"attributes": shown, "references": [list(reference) for reference in references]}


def _parsed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _parsed(inner) for name, inner in value.items()}
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _note(tag: SavedObject) -> Imported | None:
    found = _NOTE.search((tag.get("attributes") or {}).get("description") or "")
    if found is None:
        return None
    edited = frozenset((found["edited"] or "").split(", ")) - {""}
    return Imported(found["hash"], _updated(tag), edited)


def _updated(one: SavedObject) -> datetime:
    return datetime.fromisoformat(str(one["updated_at"]))


def _held(client: KibanaClient, keys: Sequence[Key]) -> dict[Key, SavedObject]:
    """What Kibana holds of these; an export is refused as a whole when one of its objects is not there."""
    try:
        return {key_of(one): one for one in client.export_saved_objects(keys)}
    except InvalidRequestError as error:
        if "Error fetching objects to export" not in error.message:
            raise
    return {key: one for key in keys for one in _single(client, key)}


def _single(client: KibanaClient, key: Key) -> Iterator[SavedObject]:
    try:
        yield from client.export_saved_objects([key])
    except InvalidRequestError as error:
        if "Error fetching objects to export" not in error.message:
            raise
