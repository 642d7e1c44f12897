"""What a cluster says about itself: version, licence, health, settings, tasks."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError, resource_not_found, unsupported
from elastic_sandbox.http import Request, Response, Router, duration_seconds
from elastic_sandbox.indices.names import matches
from elastic_sandbox.indices.settings import nest
from elastic_sandbox.tasks import NODE_NAME, Task

routes = Router()

CLUSTER_NAME = "elastic-sandbox"
_UUID = "c2FuZGJveC1jbHVzdGVyLQ"

# Defaults that callers read; the sandbox has no other cluster settings.
_DEFAULTS = {
    "xpack.ml.max_inference_processors": "50",
    "xpack.ml.enabled": "true",
    "action.auto_create_index": "true",
    "indices.id_field_data.enabled": "false",
    "data_streams.lifecycle.retention.default": "-1",
    "cluster.logsdb.enabled": "true",
}


@routes.route("GET|HEAD", "/")
def info(backend: Backend, request: Request) -> Response:
    """Name and version."""
    request.allow()
    return {
        "name": NODE_NAME,
        "cluster_name": CLUSTER_NAME,
        "cluster_uuid": _UUID,
        "version": {
            "number": backend.version,
            "build_flavor": backend.flavor,
            "build_type": "docker",
            "build_hash": "0" * 40,
            "build_date": "2026-01-01T00:00:00.000000000Z",
            "build_snapshot": False,
            "lucene_version": "10.3.2",
            "minimum_wire_compatibility_version": "8.19.0",
            "minimum_index_compatibility_version": "8.0.0",
        },
        "tagline": "You Know, for Search",
    }


@routes.route("GET", "/_license")
def get_license(backend: Backend, request: Request) -> Response:
    """The licence; basic and platinum never expire here, a trial lasts 30 days from the cluster's first look."""
    request.allow("accept_enterprise", "local")
    issued = 1_767_225_600_000
    shown: dict[str, Any] = {
        "status": "active",
        "uid": "5a6e6f78-0000-4000-8000-73616e64626f",
        "type": backend.license,
        "issue_date": "2026-01-01T00:00:00.000Z",
        "issue_date_in_millis": issued,
        "max_nodes": 1000,
        "max_resource_units": None,
        "issued_to": CLUSTER_NAME,
        "issuer": "elasticsearch",
        "start_date_in_millis": -1,
    }
    if backend.license == "trial":
        expiry = backend.clock.now_ms() + 30 * 86_400_000
        shown |= {"expiry_date_in_millis": expiry}
    return {"license": shown}


@routes.route("GET", "/_cluster/health")
@routes.route("GET", "/_cluster/health/{index}")
def health(backend: Backend, request: Request) -> Response:
    """Always green: there is one node, and what it holds it holds."""
    request.allow("wait_for_status", "timeout", "master_timeout", "level", "local", "wait_for_active_shards",
                  "wait_for_no_relocating_shards", "wait_for_no_initializing_shards", "expand_wildcards",
                  "wait_for_events", "wait_for_nodes")  # fmt: skip
    backend.require_not_serverless(request.method, request.path)
    if request.params.get("level", "cluster") != "cluster":
        raise unsupported("parameter [level] of GET /_cluster/health")
    expression = request.path_params.get("index")
    chosen = (
        backend.indices.all() if expression is None else backend.indices.resolve(expression, expand_wildcards="all")
    )
    shards = sum(int(index.settings["index.number_of_shards"]) for index in chosen)
    return {
        "cluster_name": CLUSTER_NAME,
        "status": "green",
        "timed_out": False,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": shards,
        "active_shards": shards,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "unassigned_primary_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    }


@routes.route("GET", "/_cluster/settings")
def cluster_settings(backend: Backend, request: Request) -> Response:
    """No setting is ever changed here, so persistent and transient are empty."""
    request.allow("include_defaults", "flat_settings", "master_timeout", "timeout")
    backend.require_not_serverless(request.method, request.path)
    shown: dict[str, Any] = {"persistent": {}, "transient": {}}
    if request.flag("include_defaults"):
        shown["defaults"] = dict(_DEFAULTS) if request.flag("flat_settings") else nest(_DEFAULTS)
    return shown


@routes.route("GET", "/_tasks")
def list_tasks(backend: Backend, request: Request) -> Response:
    """Running tasks, grouped by their (only) node."""
    request.allow("actions", "detailed", "group_by", "nodes", "parent_task_id", "wait_for_completion", "timeout")
    backend.require_not_serverless(request.method, request.path)
    request.unsupported_parameters("parent_task_id", "nodes")
    running = [task for task in backend.tasks.list() if _wanted(task, request.params.get("actions"))]
    if request.flag("wait_for_completion"):
        for task in running:
            task.wait(request.duration_seconds("timeout", 30))
    group = request.params.get("group_by", "nodes")
    shown = {task.id: _shown(task, detailed=request.flag("detailed")) for task in running}
    if group == "none":
        return {"tasks": list(shown.values())}
    if group == "parents":
        return {"tasks": shown}
    return _by_node(backend, shown)


def _wanted(task: Task, actions: str | None) -> bool:
    return actions is None or any(matches(pattern, task.action) for pattern in actions.split(","))


def _shown(task: Task, *, detailed: bool) -> dict[str, Any]:
    shown = task.info()
    if not detailed:
        del shown["description"]
        shown.pop("status", None)
    return shown


def _by_node(backend: Backend, tasks: dict[str, Any]) -> dict[str, Any]:
    if not tasks:
        return {"nodes": {}}
    node = {
        "name": NODE_NAME,
        "transport_address": "127.0.0.1:9300",
        "host": "127.0.0.1",
        "ip": "127.0.0.1:9300",
        "roles": ["data", "ingest", "master", "ml"],
        "tasks": tasks,
    }
    return {"nodes": {backend.tasks.node: node}}


@routes.route("GET", "/_tasks/{task_id}")
def get_task(backend: Backend, request: Request) -> Response:
    """One task, running or ended; with ``wait_for_completion`` until it ends or the timeout passes."""
    request.allow("wait_for_completion", "timeout")
    task_id = _checked_id(request)
    task = backend.tasks.get(task_id)
    if task is not None and request.flag("wait_for_completion"):
        task.wait(duration_seconds(request.params.get("timeout", "30s"), "timeout"))
    stored = backend.tasks.stored(task_id)
    if stored is not None:
        return stored
    if task is not None:
        # A task whose result is not kept answers whoever waited for it with what it was, and nobody after that.
        return task.result() if not task.completed else {"completed": True, "task": task.info()}
    raise resource_not_found(f"task [{task_id}] isn't running and hasn't stored its results")


@routes.route("POST", "/_tasks/{task_id}/_cancel")
def cancel_task(backend: Backend, request: Request) -> Response:
    """Ask one task to stop; what is not running is reported among the node's failures, as the server does."""
    request.allow("actions", "nodes", "parent_task_id", "wait_for_completion")
    backend.require_not_serverless(request.method, request.path)
    request.unsupported_parameters("actions", "nodes", "parent_task_id")
    task_id = _checked_id(request)
    task = backend.tasks.cancel(task_id)
    if task is None:
        missing = {"type": "resource_not_found_exception", "reason": f"task [{task_id}] is not found"}
        node = backend.tasks.node
        failure = {
            "type": "failed_node_exception",
            "reason": f"Failed node [{node}]",
            "node_id": node,
            "caused_by": missing,
        }
        return {"node_failures": [failure], "nodes": {}}
    if request.flag("wait_for_completion"):
        task.wait(60)
    return _by_node(backend, {task.id: task.info()})


def _checked_id(request: Request) -> str:
    task_id = request.path_params["task_id"]
    node, _, number = task_id.partition(":")
    if not node or not number.isdigit():
        raise ElasticError(400, "illegal_argument_exception", f"malformed task id {task_id}")
    return task_id
