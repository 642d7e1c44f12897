"""HTTP routes of ILM and of data stream lifecycles."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import x_content_parse
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices.index import Index

routes = Router()

_TIMEOUTS = ("master_timeout", "timeout")


@routes.route("PUT", "/_ilm/policy/{name}")
def put_policy(backend: Backend, request: Request) -> Response:
    """Create or replace a lifecycle policy."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    with backend.lock:
        deprecated = backend.indices.policies.put(request.path_params["name"], request.object())
    for phase in deprecated:
        request.warn(
            f"Use of the [max_size] rollover condition found in phase [{phase}]. This condition has been deprecated in "
            "favour of the [max_primary_shard_size] condition and will be removed in a later version",
            backend.version,
        )
    return {"acknowledged": True}


@routes.route("GET", "/_ilm/policy")
@routes.route("GET", "/_ilm/policy/{name}")
def get_policy(backend: Backend, request: Request) -> Response:
    """Lifecycle policies by name or wildcard."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    return backend.indices.policies.get(request.path_params.get("name"))


@routes.route("DELETE", "/_ilm/policy/{name}")
def delete_policy(backend: Backend, request: Request) -> Response:
    """Delete a lifecycle policy that no index uses."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    with backend.lock:
        backend.indices.policies.delete(request.path_params["name"])
    return {"acknowledged": True}


@routes.route("GET", "/_ilm/status")
def status(backend: Backend, request: Request) -> Response:
    """Whether the service runs."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    return {"operation_mode": backend.indices.ilm.mode}


@routes.route("POST", "/_ilm/start")
@routes.route("POST", "/_ilm/stop")
def start_or_stop(backend: Backend, request: Request) -> Response:
    """Start or stop the service; no step of the sandbox takes time, so it has stopped when this returns."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    backend.indices.ilm.set_mode("RUNNING" if request.path.endswith("start") else "STOPPED")
    return {"acknowledged": True}


@routes.route("GET", "/{index}/_ilm/explain")
def explain(backend: Backend, request: Request) -> Response:
    """Where indices are in their policies."""
    request.allow(*_TIMEOUTS, "only_managed", "only_errors")
    backend.require_not_serverless(request.method, request.path)
    shown = {index.name: backend.indices.ilm.explain(index) for index in _named(backend, request)}
    if request.flag("only_managed") or request.flag("only_errors"):
        shown = {name: one for name, one in shown.items() if one["managed"]}
    if request.flag("only_errors"):
        shown = {name: one for name, one in shown.items() if one.get("step") == "ERROR" or "step" not in one}
    return {"indices": shown}


@routes.route("POST", "/_ilm/move/{index}")
def move(backend: Backend, request: Request) -> Response:
    """Put an index on another step of its policy."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    body = request.object()
    _check_steps(body)
    with backend.lock:
        backend.indices.ilm.move(request.path_params["index"], body["current_step"], body["next_step"])
    return {"acknowledged": True}


def _check_steps(body: dict[str, Any]) -> None:
    for key in body:
        if key not in {"current_step", "next_step"}:
            raise x_content_parse(f"[1:1] [move_to_step_request] unknown field [{key}]")
    for key in ("current_step", "next_step"):
        step = body.get(key)
        if not isinstance(step, dict) or not isinstance(step.get("phase"), str):
            raise x_content_parse(f"[1:1] [move_to_step_request] Required [{key}]")
        if set(step) - {"phase", "action", "name"}:
            raise x_content_parse(f"[1:1] [{key}] unknown field [{min(set(step) - {'phase', 'action', 'name'})}]")


@routes.route("POST", "/{index}/_ilm/retry")
def retry(backend: Backend, request: Request) -> Response:
    """Run the failed step of indices again."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    with backend.lock:
        backend.indices.ilm.retry(request.path_params["index"])
    return {"acknowledged": True}


@routes.route("POST", "/{index}/_ilm/remove")
def remove(backend: Backend, request: Request) -> Response:
    """Take indices out of lifecycle management."""
    request.allow(*_TIMEOUTS)
    backend.require_not_serverless(request.method, request.path)
    with backend.lock:
        backend.indices.ilm.remove(_named(backend, request))
    return {"has_failures": False, "failed_indexes": []}


@routes.route("GET", "/{index}/_lifecycle/explain")
def explain_stream_lifecycle(backend: Backend, request: Request) -> Response:
    """What data stream lifecycles make of indices."""
    request.allow(*_TIMEOUTS, "include_defaults")
    request.unsupported_parameters("include_defaults")
    named = _named(backend, request)
    return {"indices": {index.name: backend.indices.stream_lifecycle.explain(index) for index in named}}


def _named(backend: Backend, request: Request) -> list[Index]:
    return backend.indices.resolve(request.path_params["index"], expand_wildcards="open")
