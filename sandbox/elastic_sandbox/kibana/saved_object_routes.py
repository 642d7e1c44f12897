"""`/api/saved_objects`: import, resolution of its errors, export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.errors import KibanaError, bad_request, unsupported
from elastic_sandbox.kibana.importing import MOST_OBJECTS, Import, Retry
from elastic_sandbox.kibana.multipart import parts
from elastic_sandbox.kibana.saved_objects import OTHERS, TYPES, SavedObject
from elastic_sandbox.kibana.validation import (
    FLAG,
    TEXT,
    Field,
    InvalidError,
    allow,
    body_of,
    checked,
    flag_of,
    list_of,
    mapping,
    object_of,
)

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()

_OBJECT: Final = object_of({"type": Field(TEXT, required=True), "id": Field(TEXT, required=True)})
_EXPORT: Final = {
    "type": Field(lambda value, path: TEXT(value, path) if not isinstance(value, list) else list_of(TEXT)(value, path)),
    "objects": Field(list_of(_OBJECT, most=MOST_OBJECTS)),
    "search": Field(TEXT),
    "hasReference": Field(lambda value, path: (list_of(_OBJECT) if isinstance(value, list) else _OBJECT)(value, path)),
    "includeReferencesDeep": Field(FLAG, default=False),
    "excludeExportDetails": Field(FLAG, default=False),
}
_SWAP: Final = object_of({name: Field(TEXT, required=True) for name in ("type", "from", "to")})
_RETRY: Final = {
    "type": Field(TEXT, required=True),
    "id": Field(TEXT, required=True),
    "overwrite": Field(FLAG),
    "destinationId": Field(TEXT),
    "replaceReferences": Field(list_of(_SWAP)),
    "createNewCopy": Field(FLAG),
    "ignoreMissingReferences": Field(FLAG),
}
# What an export leaves to the Kibana it came from.
_EXPORTED: Final = ("attributes", "coreMigrationVersion", "created_at", "id", "managed", "originId", "references",
                    "type", "typeMigrationVersion", "updated_at", "version")  # fmt: skip


@routes.route("POST", "/api/saved_objects/_import")
def import_objects(backend: Backend, request: Request) -> Response:
    """Import an NDJSON file; a partial failure is answered with 200 and `success: false`."""
    allow(request, "overwrite", "createNewCopies", "compatibilityMode")
    overwrite, copies, compatible = (
        flag_of(request, name) for name in ("overwrite", "createNewCopies", "compatibilityMode")
    )
    if overwrite and copies:
        raise bad_request("[request query]: cannot use [overwrite] with [createNewCopies]")
    if copies and compatible:
        raise bad_request("[request query]: cannot use [createNewCopies] with [compatibilityMode]")
    if compatible:
        raise unsupported("parameter [compatibilityMode] of an import")
    file, _ = _upload(request)
    with backend.lock:
        run = Import(backend.kibana.objects, request_of(request).space, overwrite, copies)
        return run.run(file)


@routes.route("POST", "/api/saved_objects/_resolve_import_errors")
def resolve_import_errors(backend: Backend, request: Request) -> Response:
    """Import the objects that `retries` names, each as it says."""
    allow(request, "createNewCopies", "compatibilityMode")
    if flag_of(request, "compatibilityMode"):
        raise unsupported("parameter [compatibilityMode] of an import")
    file, fields = _upload(request)
    if "retries" not in fields:
        raise bad_request("[request body.retries]: expected value of type [array] but got [undefined]")
    retries = _retries(fields["retries"])
    with backend.lock:
        run = Import(
            backend.kibana.objects,
            request_of(request).space,
            create_new_copies=flag_of(request, "createNewCopies"),
            retries=retries,
        )
        return run.run(file)


@routes.route("POST", "/api/saved_objects/_export")
def export_objects(backend: Backend, request: Request) -> Response:
    """NDJSON of objects by id or by type, then a line of figures unless that is left out."""
    body = body_of(request, _EXPORT)
    store, space = backend.kibana.objects, request_of(request).space
    if "type" in body and "objects" in body:
        raise bad_request('Can\'t specify both "types" and "objects" properties when exporting')
    if "type" not in body and "objects" not in body:
        raise bad_request("Either `type` or `objects` are required.")
    if "objects" in body and "hasReference" in body:
        raise bad_request('Can\'t specify both "references" and "objects" properties when exporting')
    if "search" in body:
        raise unsupported("[search] of an export")
    if "type" in body:
        kinds = [body["type"]] if isinstance(body["type"], str) else body["type"]
        _check_kinds(kinds)
        chosen = [
            one
            for kind in sorted(set(kinds))
            for one in store.all(kind, space)
            if _refers(one, body.get("hasReference"))
        ]
    else:
        _check_kinds([one["type"] for one in body["objects"]])
        found = [(one, store.find(one["type"], one["id"], space)) for one in body["objects"]]
        missing = [_missing(one) for one, saved in found if saved is None]
        if missing:
            raise KibanaError(400, "Error fetching objects to export", attributes={"objects": missing})
        chosen = [saved for _, saved in found if saved is not None]
    absent: list[dict[str, str]] = []
    if body["includeReferencesDeep"]:
        chosen, absent = _with_references(backend, chosen, space)
    lines: list[dict[str, Any]] = [{name: one[name] for name in _EXPORTED if name in one} for one in chosen]
    if not body["excludeExportDetails"]:
        lines.append(
            {
                "excludedObjects": [],
                "excludedObjectsCount": 0,
                "exportedCount": len(chosen),
                "missingRefCount": len(absent),
                "missingReferences": absent,
            }
        )
    request.response_headers["content-type"] = "application/ndjson"
    request.response_headers["content-disposition"] = 'attachment; filename="export.ndjson"'
    return "\n".join(orjson.dumps(line).decode() for line in lines)


def _refers(saved: SavedObject, wanted: Any) -> bool:
    """Whether an object refers to one of these; to be referred to by any of several is enough."""
    listed = wanted if isinstance(wanted, list) else [wanted]
    keys = {(one["type"], one["id"]) for one in saved["references"]}
    return wanted is None or any((one["type"], one["id"]) in keys for one in listed)


def _check_kinds(kinds: list[str]) -> None:
    for kind in kinds:
        if kind in OTHERS:
            raise unsupported(f"exporting saved objects of type [{kind}]")
    unknown = sorted({kind for kind in kinds if kind not in TYPES})
    if unknown:
        raise bad_request(f"Trying to export non-exportable type(s): {', '.join(unknown)}")


def _missing(one: dict[str, str]) -> dict[str, Any]:
    message = f"Saved object [{one['type']}/{one['id']}] not found"
    return {**one, "error": {"statusCode": 404, "error": "Not Found", "message": message}}


def _with_references(
    backend: Backend, chosen: list[SavedObject], space: str
) -> tuple[list[SavedObject], list[dict[str, str]]]:
    found = {(one["type"], one["id"]): one for one in chosen}
    absent: dict[tuple[str, str], dict[str, str]] = {}
    waiting = list(chosen)
    while waiting:
        for reference in waiting.pop()["references"]:
            key = (reference["type"], reference["id"])
            if key in found or key in absent:
                continue
            saved = backend.kibana.objects.find(*key, space)
            if saved is None:
                absent[key] = {"type": key[0], "id": key[1]}
            else:
                found[key] = saved
                waiting.append(saved)
    return list(found.values()), list(absent.values())


def _upload(request: Request) -> tuple[bytes, dict[str, bytes]]:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise KibanaError(415, "Unsupported Media Type")
    found = parts(request.headers["content-type"], request.body)
    if "file" not in found:
        raise bad_request("[request body.file]: expected value of type [Stream] but got [undefined]")
    filename, content = found["file"]
    if not (filename or "").endswith(".ndjson"):
        extension = (filename or "").rpartition(".")[2]
        raise bad_request(f"Invalid file extension .{extension}")
    return content, {name: value for name, (_, value) in found.items() if name != "file"}


def _retries(text: bytes) -> dict[tuple[str, str], Retry]:
    try:
        listed = orjson.loads(text)
        list_of(mapping)(listed, "request body.retries")
        bodies = [checked(one, _RETRY, f"request body.retries.{at}") for at, one in enumerate(listed)]
    except orjson.JSONDecodeError:
        raise bad_request("[request body.retries]: could not parse array value from json input") from None
    except InvalidError as problem:
        raise bad_request(str(problem)) from None
    made = {}
    for one in bodies:
        key = (one["type"], one["id"])
        if key in made:
            raise bad_request(f"Non-unique retry objects: [{key[0]}:{key[1]}]")
        made[key] = Retry(
            *key,
            overwrite=one.get("overwrite", False),
            destination_id=one.get("destinationId"),
            replace_references=tuple(one.get("replaceReferences", [])),
            ignore_missing_references=one.get("ignoreMissingReferences", False),
            create_new_copy=one.get("createNewCopy", False),
        )
    return made
