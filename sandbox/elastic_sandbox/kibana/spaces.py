"""`/api/spaces/space`: the spaces of this Kibana.

The default space is always there. A space that does not exist is **not** refused by the other APIs: only pages are
(spaces/server/lib/request_interceptors/on_post_auth_interceptor.ts), so what is written into it is there and cannot be
seen by anybody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import DEFAULT_SPACE
from elastic_sandbox.kibana.errors import KibanaError, bad_request, not_found
from elastic_sandbox.kibana.saved_objects import KIND as OBJECT
from elastic_sandbox.kibana.validation import FLAG, TEXT, Field, body_of, list_of

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
KIND: Final = "kibana_space"
_FIELDS: Final = {
    "id": Field(TEXT, required=True),
    "name": Field(TEXT, required=True),
    "description": Field(TEXT),
    "initials": Field(TEXT),
    "color": Field(TEXT),
    "disabledFeatures": Field(list_of(TEXT)),
    "imageUrl": Field(TEXT),
    "solution": Field(TEXT),
    "_reserved": Field(FLAG),
}
_DEFAULT: Final = {
    "id": DEFAULT_SPACE,
    "name": "Default",
    "description": "This is your default space!",
    "color": "#00bfb3",
    "disabledFeatures": [],
    "_reserved": True,
}


def _space(backend: Backend, name: str) -> dict[str, Any]:
    stored = backend.state.get(KIND, name)
    if stored is None:
        if name == DEFAULT_SPACE:
            return dict(_DEFAULT)
        raise not_found("space", name)
    return stored


@routes.route("GET", "/api/spaces/space")
def get_spaces(backend: Backend, _request: Request) -> Response:
    """All spaces."""
    return [
        _space(backend, DEFAULT_SPACE),
        *(body for name, body in backend.state.items(KIND) if name != DEFAULT_SPACE),
    ]


@routes.route("GET", "/api/spaces/space/{id}")
def get_space(backend: Backend, request: Request) -> Response:
    """One space."""
    return _space(backend, request.path_params["id"])


@routes.route("POST", "/api/spaces/space")
def create_space(backend: Backend, request: Request) -> Response:
    """Create a space; an id in use is a conflict."""
    body = _checked(request)
    if body["id"] == DEFAULT_SPACE or backend.state.get(KIND, body["id"]) is not None:
        raise KibanaError(409, f"A space with the identifier {body['id']} already exists.")
    backend.state.put(KIND, body["id"], body)
    return body


@routes.route("PUT", "/api/spaces/space/{id}")
def update_space(backend: Backend, request: Request) -> Response:
    """Replace what is known of a space."""
    body = {**_checked(request), "id": request.path_params["id"]}
    _space(backend, body["id"])
    backend.state.put(KIND, body["id"], body)
    return body


@routes.route("DELETE", "/api/spaces/space/{id}")
def delete_space(backend: Backend, request: Request) -> Response:
    """Delete a space and everything in it."""
    name = request.path_params["id"]
    _space(backend, name)
    if name == DEFAULT_SPACE:
        raise bad_request("The default space cannot be deleted because it is reserved.")
    backend.state.delete(KIND, name)
    for key, saved in backend.state.items(OBJECT):
        if saved["namespaces"] == [name]:
            backend.state.delete(OBJECT, key)
    return 204, None


def _checked(request: Request) -> dict[str, Any]:
    body = body_of(request, _FIELDS)
    if not re.fullmatch(r"[a-z0-9_\-]+", body["id"]):
        raise bad_request(
            "[request body.id]: must be lower case, a-z, 0-9, '_', and '-' are allowed, and cannot start with a space"
        )
    body.pop("_reserved", None)
    body.setdefault("disabledFeatures", [])
    return body
