"""The HTTP surface of transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import action_request_validation, illegal_argument
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.transform.config import shown

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
_ONE = "/_transform/{id}"
_ACKNOWLEDGED = {"acknowledged": True}
MAX_PAGE = 1000


def _page(request: Request, items: list[Any]) -> list[Any]:
    first, size = request.integer("from", 0), request.integer("size", 100)
    if first < 0 or size < 0:
        raise illegal_argument(f"Parameter [{'from' if first < 0 else 'size'}] cannot be < 0")
    if size > MAX_PAGE:
        raise action_request_validation([f"Param [size] has a max acceptable value of [{MAX_PAGE}]"])
    return items[first : first + size]


@routes.route("PUT", _ONE)
def put(backend: Backend, request: Request) -> Response:
    """Create a transform."""
    request.allow("defer_validation", "timeout")
    name, defer = request.path_params["id"], request.flag("defer_validation")
    backend.transforms.put(name, request.object(), defer_validation=defer)
    return _ACKNOWLEDGED


@routes.route("GET", "/_transform")
@routes.route("GET", _ONE)
def get(backend: Backend, request: Request) -> Response:
    """Configurations."""
    request.allow("allow_no_match", "from", "size", "exclude_generated")
    allow = request.flag("allow_no_match", True)
    found = backend.transforms.expand(request.path_params.get("id"), allow_no_match=allow)
    generated = request.flag("exclude_generated")
    page = [shown(t.config, exclude_generated=generated) for t in _page(request, found)]
    return {"count": len(found), "transforms": page}


@routes.route("GET", f"{_ONE}/_stats")
def stats(backend: Backend, request: Request) -> Response:
    """State, checkpoints and counters; an id that is not there is no error (TransportGetTransformStatsAction)."""
    request.allow("allow_no_match", "basic", "from", "size", "timeout")
    transforms = backend.transforms
    allow, expression = request.flag("allow_no_match", True), request.path_params["id"]
    known = [t.id for t in transforms.expand("*", allow_no_match=True)]
    if "*" not in expression:
        expression = ",".join(name for name in expression.split(",") if name in known or name == "_all")
    found = transforms.expand(expression, allow_no_match=allow or "*" not in expression) if expression else []
    basic = request.flag("basic")
    page = [t.stats(backend, {} if basic else transforms.sequences(t.config)) for t in _page(request, found)]
    return {"count": len(found), "transforms": page}


@routes.route("DELETE", _ONE)
def delete(backend: Backend, request: Request) -> Response:
    """Delete a transform."""
    request.allow("force", "delete_dest_index", "timeout")
    backend.transforms.delete(
        request.path_params["id"], force=request.flag("force"), delete_dest_index=request.flag("delete_dest_index")
    )
    return _ACKNOWLEDGED


@routes.route("POST", f"{_ONE}/_start")
def start(backend: Backend, request: Request) -> Response:
    """Start a transform."""
    request.allow("timeout", "from")
    backend.transforms.start(request.path_params["id"], from_text=request.params.get("from"))
    return _ACKNOWLEDGED


@routes.route("POST", f"{_ONE}/_stop")
def stop(backend: Backend, request: Request) -> Response:
    """Stop transforms."""
    request.allow("allow_no_match", "force", "timeout", "wait_for_checkpoint", "wait_for_completion")
    timeout = request.duration_seconds("timeout", 30.0)
    backend.transforms.stop(
        request.path_params["id"],
        allow_no_match=request.flag("allow_no_match", True),
        force=request.flag("force"),
        wait_seconds=timeout if request.flag("wait_for_completion") else None,
        at_checkpoint=request.flag("wait_for_checkpoint"),
    )
    return _ACKNOWLEDGED


@routes.route("POST", f"{_ONE}/_reset")
def reset(backend: Backend, request: Request) -> Response:
    """Back to before the first start."""
    request.allow("force", "timeout")
    backend.transforms.reset_one(request.path_params["id"], force=request.flag("force"))
    return _ACKNOWLEDGED


@routes.route("POST", f"{_ONE}/_update")
def update(backend: Backend, request: Request) -> Response:
    """Change a transform; answers what it is now."""
    request.allow("defer_validation", "timeout")
    name, defer = request.path_params["id"], request.flag("defer_validation")
    return shown(backend.transforms.update(name, request.object(), defer_validation=defer))


@routes.route("GET|POST", "/_transform/_preview")
@routes.route("GET|POST", f"{_ONE}/_preview")
def preview(backend: Backend, request: Request) -> Response:
    """What a transform would write."""
    request.allow("timeout")
    return backend.transforms.preview(request.path_params.get("id"), request.object(required=False))
