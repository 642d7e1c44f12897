"""HTTP routes of data streams, their options and lifecycles."""

from __future__ import annotations

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices.stream_modification import modify

routes = Router()

_TIMEOUTS = ("master_timeout", "timeout")


@routes.route("PUT", "/_data_stream/{name}")
def create(backend: Backend, request: Request) -> Response:
    """Create a data stream from the template that covers its name."""
    request.allow(*_TIMEOUTS)
    with backend.lock:
        backend.indices.streams.create(request.path_params["name"])
    return {"acknowledged": True}


@routes.route("GET", "/_data_stream")
@routes.route("GET", "/_data_stream/{name}")
def get(backend: Backend, request: Request) -> Response:
    """Data streams by name or wildcard."""
    request.allow(*_TIMEOUTS, "expand_wildcards", "include_defaults", "verbose")
    request.unsupported_parameters("include_defaults", "verbose")
    streams = backend.indices.streams
    found = streams.select(request.path_params.get("name"), hidden=_hidden(request))
    return {"data_streams": [streams.shown(stream) for stream in found]}


@routes.route("POST", "/_data_stream/_modify")
def modify_streams(backend: Backend, request: Request) -> Response:
    """Attach indices to data streams and detach them, all actions or none."""
    request.allow(*_TIMEOUTS)
    modify(backend, request.object())
    return {"acknowledged": True}


@routes.route("DELETE", "/_data_stream/{name}")
def delete(backend: Backend, request: Request) -> Response:
    """Delete data streams with all their indices."""
    request.allow(*_TIMEOUTS, "expand_wildcards")
    with backend.lock:
        backend.indices.streams.delete(request.path_params["name"])
    return {"acknowledged": True}


@routes.route("GET", "/_data_stream/{name}/_options")
def get_options(backend: Backend, request: Request) -> Response:
    """Options of data streams, the failure store among them."""
    request.allow(*_TIMEOUTS, "expand_wildcards")
    return backend.indices.streams.shown_options(request.path_params["name"])


@routes.route("PUT", "/_data_stream/{name}/_options")
def put_options(backend: Backend, request: Request) -> Response:
    """Set the options of data streams."""
    request.allow(*_TIMEOUTS, "expand_wildcards")
    with backend.lock:
        backend.indices.streams.put_options(request.path_params["name"], request.object())
    return {"acknowledged": True}


@routes.route("GET", "/_data_stream/{name}/_lifecycle")
def get_lifecycle(backend: Backend, request: Request) -> Response:
    """Data stream lifecycles."""
    request.allow(*_TIMEOUTS, "expand_wildcards", "include_defaults")
    request.unsupported_parameters("include_defaults")
    return backend.indices.streams.shown_lifecycles(request.path_params["name"])


@routes.route("PUT", "/_data_stream/{name}/_lifecycle")
def put_lifecycle(backend: Backend, request: Request) -> Response:
    """Set the lifecycle of data streams."""
    request.allow(*_TIMEOUTS, "expand_wildcards")
    with backend.lock:
        backend.indices.streams.put_lifecycle(request.path_params["name"], request.object(required=False))
    return {"acknowledged": True}


@routes.route("DELETE", "/_data_stream/{name}/_lifecycle")
def delete_lifecycle(backend: Backend, request: Request) -> Response:
    """Take the lifecycle away from data streams."""
    request.allow(*_TIMEOUTS, "expand_wildcards")
    backend.require_not_serverless(request.method, request.path)
    with backend.lock:
        backend.indices.streams.delete_lifecycle(request.path_params["name"])
    return {"acknowledged": True}


def _hidden(request: Request) -> bool:
    values = request.params.get("expand_wildcards", "open").split(",")
    if set(values) - {"open", "closed", "hidden", "none", "all"}:
        raise ElasticError(400, "illegal_argument_exception", f"No valid expand wildcard value [{values[0]}]")
    return bool({"hidden", "all"} & set(values))
