"""Importing saved objects: the steps of Kibana's own importer, and the answers that it gives.

Order and rules: import_saved_objects.ts and its helpers in
src/core/packages/saved-objects/import-export-server-internal.
A partial failure is an answer with status 200. As long as one object has a conflict or a missing reference **nothing**
is written, although `successCount` counts what would have been.
"""

from __future__ import annotations

import copy
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.kibana.errors import KibanaError, bad_request, unsupported
from elastic_sandbox.kibana.saved_objects import OTHERS, TYPES, SavedObject, check_attributes, title_of
from elastic_sandbox.kibana.validation import InvalidError

if TYPE_CHECKING:
    from elastic_sandbox.kibana.saved_objects import SavedObjects

MOST_OBJECTS: Final = 10_000
_RESOLVABLE: Final = frozenset({"conflict", "ambiguous_conflict", "missing_references"})
_CHECKED_REFERENCES: Final = frozenset({"index-pattern", "search"})
Key = tuple[str, str]


@dataclass(frozen=True)
class Retry:
    """What a person decided about one object of an import that failed."""

    type: str
    id: str
    overwrite: bool = False
    destination_id: str | None = None
    replace_references: tuple[dict[str, str], ...] = ()
    ignore_missing_references: bool = False
    create_new_copy: bool = False


@dataclass
class Import:
    """One import into one space.

    :param retries: of `_resolve_import_errors`: only these objects are imported
    """

    store: SavedObjects
    space: str
    overwrite: bool = False
    create_new_copies: bool = False
    retries: dict[Key, Retry] | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    destinations: dict[Key, str] = field(default_factory=dict)
    without_origin: set[Key] = field(default_factory=set)
    overwrites: set[Key] = field(default_factory=set)

    def run(self, file: bytes) -> dict[str, Any]:
        """Import an NDJSON file and return the answer."""
        objects = self._collected(file)
        self._check_references(objects)
        if self.create_new_copies:
            for one in objects:
                self.destinations[_key(one)] = str(uuid.uuid4())
                self.without_origin.add(_key(one))
        else:
            self._check_ids(objects)
        created = self._create(objects)
        answer: dict[str, Any] = {
            "successCount": len(created),
            "success": not self.errors,
            "warnings": [],
        }
        if created:
            answer["successResults"] = [self._success(one) for one in created]
        if self.errors:
            answer["errors"] = [self._failure(error) for error in self.errors]
        return answer

    # The steps ------------------------------------------------------------------------------------------------------

    def _collected(self, file: bytes) -> list[SavedObject]:
        objects: list[SavedObject] = []
        seen: set[Key] = set()
        twice: list[str] = []
        for one in _lines(file):
            key = _key(one)
            if key in seen:
                twice.append(f"{one['type']}:{one['id']}")
            seen.add(key)
            if one["type"] in OTHERS:
                raise unsupported(f"importing a saved object of type [{one['type']}]")
            if one["type"] not in TYPES:
                self._error(one, {"type": "unsupported_type"})
            elif self.retries is None or key in self.retries:
                objects.append(one)
        if len(seen) > MOST_OBJECTS:
            raise bad_request(f"Can't import more than {MOST_OBJECTS} objects")
        if twice:
            raise bad_request(f"Non-unique import objects detected: [{','.join(twice)}]")
        return objects

    def _check_references(self, objects: list[SavedObject]) -> None:
        included = {_key(one) for one in objects}
        for one in objects:
            retry = self._retry(one)
            for reference in one["references"]:
                for swap in retry.replace_references:
                    if (reference["type"], reference["id"]) == (swap["type"], swap["from"]):
                        reference["id"] = swap["to"]
            if retry.ignore_missing_references:
                continue
            missing = {}
            for reference in one["references"]:
                key = (reference["type"], reference["id"])
                known = key in included or self.store.find(*key, self.space) is not None
                if reference["type"] in _CHECKED_REFERENCES and not known:
                    missing[key] = {"type": reference["type"], "id": reference["id"]}
            if missing:
                self._error(one, {"type": "missing_references", "references": list(missing.values())})

    def _check_ids(self, objects: list[SavedObject]) -> None:
        unchanged = []
        for one in objects:
            key, retry = _key(one), self._retry(one)
            if retry.create_new_copy:
                self.destinations[key] = retry.destination_id or str(uuid.uuid4())
                self.without_origin.add(key)
                continue
            if retry.destination_id:
                self.destinations[key] = retry.destination_id
            wanted: str = retry.destination_id or one["id"]
            existing = self.store.anywhere(one["type"], wanted)
            if existing is None:
                unchanged.append(one)
            elif self.space not in existing["namespaces"]:
                # The id belongs to an object of another space: a new one is made, so that the import succeeds.
                self.destinations[key] = str(uuid.uuid4())
                unchanged.append(one)
            elif self.overwrite or retry.overwrite:
                self.overwrites.add(key)
            else:
                destination = {"destinationId": retry.destination_id} if retry.destination_id else {}
                self._error(one, {"type": "conflict", **destination})
        self._check_origins(unchanged, {_key(one) for one in objects})

    def _check_origins(self, objects: list[SavedObject], included: set[Key]) -> None:
        """Objects of other ids that came from the same source."""
        for one in objects:
            key, retry = _key(one), self._retry(one)
            if retry.destination_id:
                continue
            origin = one.get("originId") or one["id"]
            same = [
                found
                for found in self.store.all(one["type"], self.space)
                if (found["id"] == origin or found.get("originId") == origin) and _key(found) not in included
            ]
            if len(same) == 1:
                if self.overwrite or retry.overwrite:
                    self.destinations[key] = same[0]["id"]
                    self.overwrites.add(key)
                else:
                    self._error(one, {"type": "conflict", "destinationId": same[0]["id"]})
            elif same:
                newest_first = sorted(same, key=lambda found: found["updated_at"], reverse=True)
                shown = [
                    {"id": found["id"], "title": title_of(found), "updatedAt": found["updated_at"]}
                    for found in newest_first
                ]
                self._error(one, {"type": "ambiguous_conflict", "destinations": shown})

    def _create(self, objects: list[SavedObject]) -> list[SavedObject]:
        failed = {(error["type"], error["id"]) for error in self.errors}
        wanted = [one for one in objects if _key(one) not in failed]
        write = not any(error["error"]["type"] in _RESOLVABLE for error in self.errors)
        created = []
        for one in wanted:
            _check_version(one)
        for one in wanted:
            if write:
                try:
                    check_attributes(one)
                except InvalidError as problem:
                    cause = {"statusCode": 400, "error": "Bad Request", "message": f"{problem}: Bad Request"}
                    self._error(one, {**cause, "type": "unknown"})
                    continue
                self._write(one)
            created.append(one)
        return created

    def _write(self, one: SavedObject) -> None:
        key = _key(one)
        name: str = self.destinations.get(key) or one["id"]
        references = [
            {**reference, "id": self.destinations.get((reference["type"], reference["id"]), reference["id"])}
            for reference in one["references"]
        ]
        origin = one.get("originId")
        if key in self.destinations:
            origin = None if key in self.without_origin else origin or one["id"]
        kept = self.store.anywhere(one["type"], name) if key in self.overwrites else None
        self.store.write(
            {
                "id": name,
                "type": one["type"],
                "namespaces": kept["namespaces"] if kept else [self.space],
                "attributes": one["attributes"],
                "references": references,
                "managed": bool(one.get("managed", False)),
                "coreMigrationVersion": one.get("coreMigrationVersion", "8.8.0"),
                "typeMigrationVersion": one.get("typeMigrationVersion") or TYPES[one["type"]].version,
                **({"created_at": kept["created_at"]} if kept else {}),
                **({"originId": origin} if origin else {}),
            }
        )

    # Answers --------------------------------------------------------------------------------------------------------

    def _retry(self, one: SavedObject) -> Retry:
        return (self.retries or {}).get(_key(one)) or Retry(one["type"], one["id"])

    def _error(self, one: SavedObject, cause: dict[str, Any]) -> None:
        title = title_of(one)
        meta = {} if title is None else {"title": title}
        self.errors.append({"id": one["id"], "type": one["type"], "meta": meta, "error": cause})

    def _failure(self, error: dict[str, Any]) -> dict[str, Any]:
        known = TYPES.get(error["type"])
        shown = {**error, "meta": {**error["meta"], **({"icon": known.icon} if known else {})}}
        return {**shown, "overwrite": True} if (error["type"], error["id"]) in self.overwrites else shown

    def _success(self, one: SavedObject) -> dict[str, Any]:
        key = _key(one)
        title = title_of(one)
        shown: dict[str, Any] = {
            "type": one["type"],
            "id": one["id"],
            "meta": {**({} if title is None else {"title": title}), "icon": TYPES[one["type"]].icon},
            "managed": bool(one.get("managed", False)),
        }
        if key in self.overwrites:
            shown["overwrite"] = True
        if key in self.destinations:
            shown["destinationId"] = self.destinations[key]
            if key in self.without_origin and not self.create_new_copies:
                shown["createNewCopy"] = True
        return shown


def _lines(file: bytes) -> list[SavedObject]:
    objects = []
    for line in file.splitlines():
        if not line.strip():
            continue
        try:
            one = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise bad_request(f"Unexpected token in JSON: {error.msg}") from None
        if not isinstance(one, dict):
            raise bad_request(f"Unexpected line in the import file: {str(one)[:60]}")
        if "exportedCount" in one:
            continue  # the export's last line
        if not isinstance(one.get("type"), str) or not isinstance(one.get("id"), str):
            raise bad_request("every line of an import needs [type] and [id]")
        one.setdefault("attributes", {})
        one["references"] = copy.deepcopy(one.get("references") or [])
        objects.append(one)
    return objects


def _check_version(one: SavedObject) -> None:
    newest = TYPES[one["type"]].version
    own = one.get("typeMigrationVersion")
    if own and _parsed(own) > _parsed(newest):
        # DocumentUpgradePipeline.assertCompatibility: Boom.badData, which ends the whole request.
        raise KibanaError(
            422,
            f'Document "{one["id"]}" belongs to a more recent version of Kibana [{own}] when the last known version is '
            f"[{newest}].",
        )


def _parsed(version: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise bad_request(f"Invalid Version: {version}")
    return tuple(int(part) for part in version.split("."))


def _key(one: SavedObject) -> Key:
    return one["type"], one["id"]
