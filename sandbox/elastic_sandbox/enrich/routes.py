"""`/_enrich`: policies and their execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.errors import unsupported
from elastic_sandbox.http import Request, Response, Router

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.enrich.policy import Policy

routes = Router()


def _shown(policies: list[Policy]) -> Response:
    return {"policies": [{"config": {"match": {"name": policy.name, **policy.to_json()}}} for policy in policies]}


@routes.route("PUT", "/_enrich/policy/{name}")
def put_policy(backend: Backend, request: Request) -> Response:
    """Create a policy."""
    request.allow("master_timeout")
    backend.enrich.put(request.path_params["name"], request.object())
    return {"acknowledged": True}


@routes.route("GET", "/_enrich/policy")
def get_policies(backend: Backend, request: Request) -> Response:
    """All policies."""
    request.allow("master_timeout")
    return _shown(backend.enrich.policies())


@routes.route("GET", "/_enrich/policy/{name}")
def get_policy(backend: Backend, request: Request) -> Response:
    """Policies by name, comma-separated; unknown names answer an empty list, not an error."""
    request.allow("master_timeout")
    return _shown(backend.enrich.policies(request.path_params["name"].split(",")))


@routes.route("DELETE", "/_enrich/policy/{name}")
def delete_policy(backend: Backend, request: Request) -> Response:
    """Delete a policy and its copy."""
    request.allow("master_timeout")
    backend.enrich.delete(request.path_params["name"])
    return {"acknowledged": True}


@routes.route("PUT|POST", "/_enrich/policy/{name}/_execute")
def execute_policy(backend: Backend, request: Request) -> Response:
    """Make the copy that processors read; in the background with `wait_for_completion=false`."""
    request.allow("master_timeout", "wait_for_completion")
    name = request.path_params["name"]
    if request.flag("wait_for_completion", True):
        return {"status": backend.enrich.execute(name)}
    return {"task": backend.enrich.execute_as_task(name, request.opaque_id).id}


@routes.route("GET", "/_enrich/_stats")
def stats(_backend: Backend, _request: Request) -> Response:
    """Not supported."""
    raise unsupported("GET /_enrich/_stats")
