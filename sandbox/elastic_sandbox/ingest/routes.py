"""`/_ingest`: pipelines and their simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.ingest.configuration import Config
from elastic_sandbox.ingest.definition import compile_pipeline
from elastic_sandbox.ingest.simulate import read_documents, simulate

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()


def _body(request: Request) -> dict[str, Any]:
    body = request.json()
    if body is None:
        raise ElasticError(400, "parse_exception", "request body is required")
    if not isinstance(body, dict):
        raise ElasticError(400, "parse_exception", "Failed to parse content to map")
    return body


def _shown(backend: Backend, request: Request, expression: str) -> dict[str, Any]:
    """Pipelines by id; `human=true` adds the dates as text."""
    found = backend.ingest.definitions(expression)
    if request.flag("human"):
        for body in found.values():
            for name in ("created_date", "modified_date"):
                body[name] = format_date(body[f"{name}_millis"])
    return found


@routes.route("PUT", "/_ingest/pipeline/{id}")
def put_pipeline(backend: Backend, request: Request) -> Response:
    """Create or replace a pipeline."""
    request.unsupported_parameters("if_version")
    request.allow("master_timeout", "timeout")
    backend.ingest.put(request.path_params["id"], _body(request))
    return {"acknowledged": True}


@routes.route("GET", "/_ingest/pipeline")
def get_pipelines(backend: Backend, request: Request) -> Response:
    """All pipelines by id."""
    request.unsupported_parameters("summary")
    request.allow("master_timeout")
    return _shown(backend, request, "*")


@routes.route("GET", "/_ingest/pipeline/{id}")
def get_pipeline(backend: Backend, request: Request) -> Response:
    """Pipelines by id, list or wildcard; an empty object with 404 when there is none."""
    request.unsupported_parameters("summary")
    request.allow("master_timeout")
    found = _shown(backend, request, request.path_params["id"])
    return (200 if found else 404), found


@routes.route("DELETE", "/_ingest/pipeline/{id}")
def delete_pipeline(backend: Backend, request: Request) -> Response:
    """Delete pipelines by id or wildcard."""
    request.allow("master_timeout", "timeout")
    backend.ingest.delete(request.path_params["id"])
    return {"acknowledged": True}


@routes.route("GET|POST", "/_ingest/pipeline/_simulate")
def simulate_inline(backend: Backend, request: Request) -> Response:
    """Run documents through the pipeline of the request."""
    request.allow("verbose")
    config = Config(_body(request))
    pipeline = compile_pipeline(backend, "_simulate_pipeline", config.map("pipeline"))
    documents = read_documents(config, backend.clock.now_iso())
    return simulate(backend, pipeline, documents, request.flag("verbose"))


@routes.route("GET|POST", "/_ingest/pipeline/{id}/_simulate")
def simulate_stored(backend: Backend, request: Request) -> Response:
    """Run documents through a stored pipeline."""
    request.allow("verbose")
    pipeline_id = request.path_params["id"]
    config = Config(_body(request))
    pipeline = backend.ingest.pipeline(pipeline_id)
    if pipeline is None:
        raise illegal_argument(f"pipeline [{pipeline_id}] does not exist")
    documents = read_documents(config, backend.clock.now_iso())
    return simulate(backend, pipeline, documents, request.flag("verbose"))
