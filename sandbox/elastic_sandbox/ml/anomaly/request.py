"""What the routes of anomaly detection share: registration with its checks, and reading of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elastic_sandbox.http import Handler, Request, Response, Router
from elastic_sandbox.ml.anomaly import AnomalyDetection
from elastic_sandbox.ml.anomaly.times import parse_time
from elastic_sandbox.ml.strict import bad_request, parse_strict

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
INDEX_OPTIONS: tuple[str, ...] = ("allow_no_indices", "expand_wildcards", "ignore_throttled", "ignore_unavailable")
Answer = Callable[[AnomalyDetection, Request], Response]


def route(methods: str, *paths: str, allow: tuple[str, ...] = (), private: bool = False) -> Callable[[Answer], Answer]:
    """Register ``answer(anomaly, request)``: parameters checked, licence needed, refused on Serverless if private."""

    def register(answer: Answer) -> Answer:
        def handle(backend: Backend, request: Request) -> Response:
            request.allow(*allow)
            if private:
                backend.require_not_serverless(request.method, request.path)
            backend.require_ml()
            return answer(backend.ml.anomaly, request)

        handler: Handler = handle
        for path in paths:
            routes.route(methods, path)(handler)
        return answer

    return register


def read_body(request: Request, parser: str, **fields: Any) -> dict[str, Any]:
    """The optional body, whose fields win over parameters of the same name, put among the parameters."""
    body = request.object(required=False)
    parse_strict(parser, body, fields)
    for name, value in body.items():
        if value is not None and not isinstance(value, dict):
            request.params[name] = str(value).lower() if isinstance(value, bool) else str(value)
    page = body.get("page") or {}
    parse_strict("page", page, {"from": int, "size": int})
    request.params |= {name: str(value) for name, value in page.items()}
    return body


def moment(request: Request, name: str, *, now_ms: int | None = None) -> int | None:
    """Epoch milliseconds of a time parameter, None when it is not given."""
    value = request.params.get(name)
    return None if value in {None, ""} else parse_time(name, value, now_ms=now_ms)


def page_of(request: Request) -> tuple[int, int]:
    """(from, size)."""
    first, size = request.integer("from", 0), request.integer("size", 100)
    if first < 0:
        raise bad_request("Parameter [from] cannot be < 0")
    if size < 0:
        raise bad_request("Parameter [size] cannot be < 0")
    return first, size


def node_shown(backend: Backend) -> dict[str, Any] | None:
    """The node jobs run on; None on Serverless, which shows none."""
    if backend.flavor == "serverless":
        return None
    node = backend.tasks.node
    return {"id": node, "name": "sandbox", "ephemeral_id": node, "transport_address": "127.0.0.1:9300",
            "attributes": {"ml.machine_memory": str(4 << 30), "ml.max_jvm_size": str(1 << 30)}}  # fmt: skip


def in_task(backend: Backend, action: str, work: Callable[[], None], *, wait: bool) -> Response:
    """Do the work and acknowledge, or start a task for it and answer its id."""
    if wait:
        work()
        return {"acknowledged": True}

    def run(_: Any) -> dict[str, Any]:
        work()
        return {"acknowledged": True}

    task = backend.tasks.start(f"cluster:admin/xpack/ml/job/{action}", action, run, cancellable=False)
    return {"task": task.id}
