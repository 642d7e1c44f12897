"""`/internal/kibana/management/saved_objects/_bulk_delete`: how Kibana's own page of saved objects deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.errors import KibanaError, bad_request, unsupported
from elastic_sandbox.kibana.saved_objects import OTHERS, TYPES
from elastic_sandbox.kibana.validation import TEXT, Field, InvalidError, json_of, list_of, object_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
_OBJECTS: Final = list_of(object_of({"type": Field(TEXT, required=True), "id": Field(TEXT, required=True)}))


@routes.route("POST", "/internal/kibana/management/saved_objects/_bulk_delete")
def bulk_delete(backend: Backend, request: Request) -> Response:
    """A status per object; by `force`, one that several spaces share goes from all (routes/bulk_delete.ts)."""
    objects, space = json_of(request), request_of(request).space
    try:
        _OBJECTS(objects, "request body")
    except InvalidError as problem:
        raise bad_request(str(problem)) from None
    if others := sorted({one["type"] for one in objects} & OTHERS):
        raise unsupported(f"deleting saved objects of type [{', '.join(others)}]")
    with backend.lock:
        return [{"id": one["id"], "type": one["type"], **_deleted(backend, one, space)} for one in objects]


def _deleted(backend: Backend, one: dict[str, str], space: str) -> dict[str, Any]:
    # Words: test/api_integration/apis/saved_objects_management/bulk_delete.ts.
    if one["type"] not in TYPES:
        message = f"Unsupported saved object type: '{one['type']}': Bad Request"
        return {"success": False, "error": {"statusCode": 400, "error": "Bad Request", "message": message}}
    try:
        backend.kibana.objects.delete(one["type"], one["id"], space)
    except KibanaError as error:
        return {"success": False, "error": error.body()}
    return {"success": True}
