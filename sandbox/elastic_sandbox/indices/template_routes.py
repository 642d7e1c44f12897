"""HTTP routes of component templates and index templates."""

from __future__ import annotations

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices.templates import COMPONENT, INDEX, shown_template

routes = Router()

_TIMEOUTS = ("master_timeout", "timeout")


@routes.route("PUT|POST", "/_component_template/{name}")
def put_component(backend: Backend, request: Request) -> Response:
    """Create or replace a component template."""
    request.allow(*_TIMEOUTS, "create", "cause")
    with backend.lock:
        backend.indices.templates.put_component(
            request.path_params["name"], request.object(), create=request.flag("create")
        )
    return {"acknowledged": True}


@routes.route("GET", "/_component_template")
@routes.route("GET", "/_component_template/{name}")
def get_component(backend: Backend, request: Request) -> Response:
    """Component templates by name or wildcard."""
    request.allow(*_TIMEOUTS, "flat_settings", "local", "include_defaults", "settings_filter")
    request.unsupported_parameters("include_defaults", "settings_filter")
    flat = request.flag("flat_settings")
    found = backend.indices.templates.get(COMPONENT, request.path_params.get("name"))
    return {
        "component_templates": [
            {"name": name, "component_template": shown_template(body, flat_settings=flat)} for name, body in found
        ]
    }


@routes.route("HEAD", "/_component_template/{name}")
def component_exists(backend: Backend, request: Request) -> Response:
    """200 or 404."""
    request.allow(*_TIMEOUTS, "local")
    return _exists(backend, COMPONENT, request.path_params["name"])


@routes.route("DELETE", "/_component_template/{name}")
def delete_component(backend: Backend, request: Request) -> Response:
    """Delete component templates that no index template uses."""
    request.allow(*_TIMEOUTS)
    with backend.lock:
        backend.indices.templates.delete(COMPONENT, request.path_params["name"])
    return {"acknowledged": True}


@routes.route("PUT|POST", "/_index_template/{name}")
def put_index(backend: Backend, request: Request) -> Response:
    """Create or replace an index template."""
    request.allow(*_TIMEOUTS, "create", "cause")
    with backend.lock:
        backend.indices.templates.put_index(
            request.path_params["name"], request.object(), create=request.flag("create")
        )
    return {"acknowledged": True}


@routes.route("GET", "/_index_template")
@routes.route("GET", "/_index_template/{name}")
def get_index(backend: Backend, request: Request) -> Response:
    """Index templates by name or wildcard."""
    request.allow(*_TIMEOUTS, "flat_settings", "local", "include_defaults")
    request.unsupported_parameters("include_defaults")
    flat = request.flag("flat_settings")
    found = backend.indices.templates.get(INDEX, request.path_params.get("name"))
    return {
        "index_templates": [
            {"name": name, "index_template": shown_template(body, flat_settings=flat)} for name, body in found
        ]
    }


@routes.route("HEAD", "/_index_template/{name}")
def index_exists(backend: Backend, request: Request) -> Response:
    """200 or 404."""
    request.allow(*_TIMEOUTS, "local", "flat_settings")
    return _exists(backend, INDEX, request.path_params["name"])


def _exists(backend: Backend, kind: str, name: str) -> Response:
    try:
        found = backend.indices.templates.get(kind, name)
    except ElasticError as error:
        if error.status == 404:
            return 404, None
        raise
    return (200 if found else 404), None


@routes.route("DELETE", "/_index_template/{name}")
def delete_index(backend: Backend, request: Request) -> Response:
    """Delete index templates that no data stream depends on."""
    request.allow(*_TIMEOUTS)
    with backend.lock:
        backend.indices.templates.delete(INDEX, request.path_params["name"])
    return {"acknowledged": True}


@routes.route("POST", "/_index_template/_simulate_index/{name}")
def simulate_index(backend: Backend, request: Request) -> Response:
    """What an index of that name would get, and which templates lose."""
    request.allow(*_TIMEOUTS, "create", "cause", "include_defaults")
    request.unsupported_parameters("include_defaults")
    body = request.object(required=False)
    simulated = backend.indices.templates.simulate_index(request.path_params["name"], body or None)
    return {} if simulated is None else simulated
