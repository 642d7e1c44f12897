"""Routes: _search, _count, _search/scroll, _pit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument, parsing, unsupported
from elastic_sandbox.http import Request, Response, Router, duration_seconds
from elastic_sandbox.indices.aliases import alias_filter
from elastic_sandbox.search.query import Bool
from elastic_sandbox.search.query_parser import query_of
from elastic_sandbox.search.request import UNSUPPORTED_PARAMETERS, parse_search
from elastic_sandbox.shapes import STRINGS, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index

routes = Router()

_INDEX_OPTIONS = ("allow_no_indices", "ignore_unavailable", "expand_wildcards", "ignore_throttled")


def resolve(backend: Backend, request: Request, expression: str | None) -> list[Index]:
    """The indices a request's expression and options name."""
    return backend.indices.resolve(
        expression or "_all",
        allow_no_indices=request.flag("allow_no_indices", True),
        ignore_unavailable=request.flag("ignore_unavailable"),
        expand_wildcards=request.params.get("expand_wildcards", "open"),
    )


@routes.route("GET|POST", "/_search")
@routes.route("GET|POST", "/{index}/_search")
def search(backend: Backend, request: Request) -> Response:
    """Hits and aggregations."""
    parsed = parse_search(request)
    expression = request.path_params.get("index")
    if parsed.pit is not None:
        if expression is not None:
            raise ElasticError(
                400,
                "action_request_validation_exception",
                "Validation Failed: 1: [indices] cannot be used with point in time. Do not specify any index "
                "with point in "
                "time.;",
            )
        indices: list[Index] = []
    else:
        indices = sorted(resolve(backend, request, expression), key=lambda index: index.name)
        through = alias_filter(backend.indices, expression)
        if through is not None:
            parsed = replace(parsed, query=Bool(must=(parsed.query,), filter=(query_of(through),)))
    answer = backend.search.search(indices, parsed)
    return _totals_as_int(request, answer)


def _totals_as_int(request: Request, answer: dict[str, Any]) -> dict[str, Any]:
    if request.flag("rest_total_hits_as_int"):
        total = answer["hits"].get("total", {"value": -1, "relation": "eq"})
        if total["relation"] != "eq":
            raise illegal_argument(
                "[rest_total_hits_as_int] cannot be used if the tracking of total hits is not accurate, got "
                f"{total['value']}"
            )
        answer["hits"]["total"] = total["value"]
    return answer


@routes.route("GET|POST", "/_count")
@routes.route("GET|POST", "/{index}/_count")
def count(backend: Backend, request: Request) -> Response:
    """How many documents match."""
    request.allow(*_INDEX_OPTIONS, "preference", "routing", *UNSUPPORTED_PARAMETERS)
    request.unsupported_parameters(*UNSUPPORTED_PARAMETERS)
    body = request.object(required=False)
    for key in body:
        if key != "query":
            raise parsing(f"request does not support [{key}]")
    indices = resolve(backend, request, request.path_params.get("index"))
    query, through = body.get("query"), alias_filter(backend.indices, request.path_params.get("index"))
    if through is not None:
        query = {"bool": {"filter": [through, *([query] if query else [])]}}
    found, shards = backend.search.count_in(indices, query)
    return {"count": found, "_shards": shards}


@routes.route("GET|POST", "/_search/scroll")
@routes.route("GET|POST", "/_search/scroll/{scroll_id}")
def scroll(backend: Backend, request: Request) -> Response:
    """The next page of a scroll."""
    request.allow("scroll", "scroll_id", "rest_total_hits_as_int")
    body = request.object(required=False)
    for key in body:
        if key not in {"scroll_id", "scroll"}:
            raise illegal_argument(
                f"Unknown parameter [{key}] in request body or parameter is of the wrong type[VALUE_STRING] "
            )
    check_shape("scroll", body, {"scroll": str, "scroll_id": str})
    scroll_id = body.get("scroll_id") or request.path_params.get("scroll_id") or request.params.get("scroll_id")
    if not scroll_id:
        raise ElasticError(400, "action_request_validation_exception", "Validation Failed: 1: scrollId is missing;")
    keep_alive = body.get("scroll") or request.params.get("scroll")
    answer = backend.search.scroll(
        str(scroll_id), None if keep_alive is None else duration_seconds(keep_alive, "scroll")
    )
    return _totals_as_int(request, answer)


@routes.route("DELETE", "/_search/scroll")
@routes.route("DELETE", "/_search/scroll/{scroll_id}")
def clear_scroll(backend: Backend, request: Request) -> Response:
    """Close scrolls."""
    request.allow()
    body = request.object(required=False)
    check_shape("clear_scroll", body, {"scroll_id": STRINGS})
    ids = body.get("scroll_id") or request.path_params.get("scroll_id", "").split(",")
    keys = ids if isinstance(ids, list) else [ids]
    if keys == ["_all"]:
        keys = backend.search.contexts.scrolls()
    freed = backend.search.contexts.close(keys)
    return (200 if freed or not keys else 404), {"succeeded": True, "num_freed": freed}


@routes.route("POST", "/{index}/_pit")
def open_pit(backend: Backend, request: Request) -> Response:
    """Keep a view of the indices."""
    request.allow(
        *_INDEX_OPTIONS,
        "keep_alive",
        "preference",
        "routing",
        "allow_partial_search_results",
        "max_concurrent_shard_requests",
    )
    if "keep_alive" not in request.params:
        raise ElasticError(
            400, "action_request_validation_exception", "Validation Failed: 1: [keep_alive] is not specified;"
        )
    if request.body.strip():
        raise unsupported("a body of POST /{index}/_pit (index_filter)")
    indices = sorted(resolve(backend, request, request.path_params["index"]), key=lambda index: index.name)
    keep_alive = request.duration_seconds("keep_alive", 0)
    context = backend.search.contexts.open(backend.documents.snapshot(indices), keep_alive)
    shards = {"total": len(indices), "successful": len(indices), "failed": 0, "skipped": 0}
    return {"id": context.id, "_shards": shards}


@routes.route("DELETE", "/_pit")
def close_pit(backend: Backend, request: Request) -> Response:
    """Let a view go."""
    request.allow()
    body = request.object()
    if "id" not in body:
        raise illegal_argument("Required [id]")
    check_shape("close_point_in_time", body, {"id": str})
    freed = backend.search.contexts.close([body["id"]])
    return (200 if freed else 404), {"succeeded": True, "num_freed": freed}
