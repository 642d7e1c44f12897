"""Routes: _reindex, _delete_by_query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from elastic_sandbox.documents import BulkOperation, Hit
from elastic_sandbox.errors import (
    ElasticError,
    action_request_validation,
    illegal_argument,
    parsing,
    unsupported,
    x_content_parse,
)
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.reindex.job import Job, Runner
from elastic_sandbox.search.query_parser import query_of
from elastic_sandbox.search.strict import well_formed
from elastic_sandbox.tasks import NODE_NAME

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index
    from elastic_sandbox.tasks import Task

routes = Router()

REINDEX = "indices:data/write/reindex"
DELETE_BY_QUERY = "indices:data/write/delete/byquery"

_SOURCE_KEYS = {"index", "query", "_source", "size", "sort"}
_SOURCE_OTHER = {"remote", "slice", "runtime_mappings"}
_DEST_KEYS = {"index", "op_type", "pipeline", "version_type", "routing"}


@routes.route("POST", "/_reindex")
def reindex(backend: Backend, request: Request) -> Response:
    """Copy documents from one index to another."""
    request.allow(
        "refresh", "timeout", "wait_for_active_shards", "wait_for_completion", "requests_per_second", "scroll",
        "slices", "max_docs", "require_alias",
    )  # fmt: skip
    body = request.object()
    for key in body:
        if key == "script":
            raise unsupported("[script] of a reindex")
        if key not in {"source", "dest", "conflicts", "max_docs", "size"}:
            raise x_content_parse(f"[1:2] [reindex] unknown field [{key}]")
    source, dest = _source(body), _dest(body)
    expression = _expression(source.get("index"))
    problems = []
    if not expression:
        problems.append("use _all if you really want to copy from all existing indexes")
    if not dest.get("index"):
        problems.append("index must be specified")
    max_docs = _max_docs(request, body)
    slices = _slices(request)
    if max_docs is not None and slices != "auto" and max_docs < slices:
        problems.append("[max_docs] should be >= [slices]")
    if problems:
        raise action_request_validation(problems)
    query_of(source.get("query"))
    target = dest["index"]
    require_alias = request.flag("require_alias")

    def write(hit: Hit) -> BulkOperation:
        external = dest.get("version_type", "internal") != "internal"
        return BulkOperation(
            dest.get("op_type", "index"),
            target,
            hit.id,
            hit.source,
            version=hit.version if external else None,
            version_type=dest.get("version_type", "internal"),
            routing=_routing(dest.get("routing", "keep"), hit.routing),
            pipeline=dest.get("pipeline"),
            require_alias=require_alias,
        )

    def indices() -> list[Index]:
        found = backend.indices.resolve(expression)
        written = _written(backend, target)
        reading = next((index.name for index in found if index.name in written), None)
        if reading is not None:
            raise action_request_validation([f"reindex cannot write into an index its reading from [{target}]"])
        if dest.get("pipeline") and backend.ingest.definition(dest["pipeline"]) is None:
            raise illegal_argument(f"pipeline with id [{dest['pipeline']}] does not exist")
        return found

    job = Job(
        indices,
        source.get("query"),
        write,
        ("updated", "created", "deleted"),
        source=source.get("_source", True),
        sort=_sort(source.get("sort")),
        batch=_batch(source.get("size", 1000)),
        max_docs=max_docs,
        slices=slices,
        requests_per_second=_rate(request),
        conflicts_proceed=_conflicts(body.get("conflicts", "abort")),
        refresh=request.flag("refresh"),
    )
    return _start(backend, request, job, REINDEX, f"reindex from [{expression}] to [{target}]")


@routes.route("POST", "/{index}/_delete_by_query")
def delete_by_query(backend: Backend, request: Request) -> Response:
    """Delete the documents that match a query."""
    request.allow(
        "refresh", "timeout", "wait_for_active_shards", "wait_for_completion", "requests_per_second", "scroll",
        "slices", "max_docs", "conflicts", "scroll_size", "allow_no_indices", "ignore_unavailable", "expand_wildcards",
        "preference", "request_cache", "routing", "search_timeout", "search_type", "q", "df", "default_operator",
        "analyzer", "analyze_wildcard", "lenient", "from", "sort", "stats", "terminate_after", "version",
    )  # fmt: skip
    request.unsupported_parameters(
        "q", "df", "default_operator", "analyzer", "analyze_wildcard", "lenient", "from", "sort", "stats",
        "terminate_after", "version", "routing",
    )  # fmt: skip
    body = request.object(required=False)
    for key in body:
        if key in {"slice", "sort"}:
            raise unsupported(f"[{key}] of a delete by query")
        if key == "stored_fields":
            raise action_request_validation(["stored_fields is not supported in this context"])
        if key not in {"query", "max_docs", "size", "conflicts"}:
            raise parsing(f"unknown key [{key}] for a delete by query")
    max_docs = _max_docs(request, body)
    slices = _slices(request)
    problems = []
    if "query" not in body:
        problems.append("query is missing")
    if max_docs is not None and slices != "auto" and max_docs < slices:
        problems.append("[max_docs] should be >= [slices]")
    if problems:
        raise action_request_validation(problems)
    query_of(body["query"])
    expression = request.path_params["index"]

    def write(hit: Hit) -> BulkOperation:
        return BulkOperation("delete", hit.index, hit.id, if_seq_no=hit.seq_no, if_primary_term=1, routing=hit.routing)

    def indices() -> list[Index]:
        return backend.indices.resolve(
            expression,
            allow_no_indices=request.flag("allow_no_indices", True),
            ignore_unavailable=request.flag("ignore_unavailable"),
            expand_wildcards=request.params.get("expand_wildcards", "open"),
        )

    job = Job(
        indices,
        body["query"],
        write,
        ("deleted",),
        source=False,
        batch=_batch(request.integer("scroll_size", 1000)),
        max_docs=max_docs,
        slices=slices,
        requests_per_second=_rate(request),
        conflicts_proceed=_conflicts(request.params.get("conflicts", body.get("conflicts", "abort"))),
        refresh=request.flag("refresh"),
    )
    return _start(backend, request, job, DELETE_BY_QUERY, f"delete-by-query [{expression}]")


@routes.route("POST", "/_reindex/{task_id}/_rethrottle")
def rethrottle(backend: Backend, request: Request) -> Response:
    """Change the rate of a running reindex or delete by query; one that waits goes on when the new rate allows."""
    request.allow("requests_per_second", "group_by")
    request.unsupported_parameters("group_by")
    if "requests_per_second" not in request.params:
        raise illegal_argument("requests_per_second is a required parameter")
    rate = _rate(request)
    task_id = request.path_params["task_id"]
    task = backend.tasks.get(task_id)
    node = backend.tasks.node
    # A delete by query is rethrottled by this path too: delete_by_query/80_slices.yml.
    if task is None or task.action not in {REINDEX, DELETE_BY_QUERY}:
        failure = {
            "type": "failed_node_exception",
            "reason": f"Failed node [{node}]",
            "node_id": node,
            "caused_by": {"type": "resource_not_found_exception", "reason": f"task [{task_id}] is missing"},
        }
        return {"node_failures": [failure], "nodes": {}}
    task.requests_per_second = rate
    shown = {**task.info(), "status": {**task.status, "requests_per_second": rate}}
    return {"nodes": {node: {"name": NODE_NAME, "tasks": {task.id: shown}}}}


def _start(backend: Backend, request: Request, job: Job, action: str, description: str) -> Response:
    wait = request.flag("wait_for_completion", True)
    if wait:
        # A caller who waits gets the failure itself; one who does not finds it in the task's result.
        job = replace(job, indices=_resolved(job))
    raised: list[ElasticError] = []

    def run(task: Task) -> dict[str, Any]:
        try:
            return Runner(backend, job, task).run()
        except ElasticError as error:
            raised.append(error)
            raise

    task = backend.tasks.start(action, description, run, opaque_id=request.opaque_id)
    if not wait:
        return {"task": task.id}
    task.wait()
    if raised:
        raise raised[0]
    if task.response is None:
        raise RuntimeError(f"task {task.id} ended without a response: {task.error}")
    status = max((failure["status"] for failure in task.response["failures"]), default=200)
    return status, task.response


def _resolved(job: Job) -> Any:
    found = job.indices()
    return lambda: found


# Parsing ------------------------------------------------------------------------------------------------------------


def _source(body: dict[str, Any]) -> dict[str, Any]:
    source = body.get("source", {})
    if not isinstance(source, dict):
        raise x_content_parse("[1:2] [reindex] source doesn't support values of type: VALUE_STRING")
    for key, value in source.items():
        if key in _SOURCE_OTHER:
            raise unsupported(f"[{key}] in the source of a reindex")
        if key == "from":
            raise action_request_validation(["from is not supported in this context"])
        if key == "stored_fields":
            raise action_request_validation(["stored_fields is not supported in this context"])
        if key not in _SOURCE_KEYS:
            token = "START_OBJECT" if isinstance(value, dict) else "VALUE_STRING"
            raise parsing(f"Unknown key for a {token} in [{key}].")
    if source.get("_source") is False:
        raise action_request_validation(["_source:false is not supported in this context"])
    return source


def _dest(body: dict[str, Any]) -> dict[str, Any]:
    dest = body.get("dest", {})
    if not isinstance(dest, dict):
        raise x_content_parse("[1:2] [reindex] dest doesn't support values of type: VALUE_STRING")
    for key in dest:
        if key not in _DEST_KEYS:
            raise x_content_parse(
                "[1:2] [reindex] failed to parse field [dest]",
                caused_by={"type": "x_content_parse_exception", "reason": f"[1:2] [dest] unknown field [{key}]"},
            )
    for key, value in dest.items():
        if not isinstance(value, str):
            raise x_content_parse(f"[1:2] [dest] {key} doesn't support values of type: START_OBJECT")
    if dest.get("op_type", "index") not in {"index", "create"}:
        raise illegal_argument(f"opType must be 'create' or 'index', found: [{dest['op_type']}]")
    if dest.get("version_type", "internal") not in {"internal", "external", "external_gt", "external_gte"}:
        raise illegal_argument(f"No version type match [{dest['version_type']}]")
    return dest


def _expression(index: Any) -> str:
    if isinstance(index, list):
        return ",".join(str(name) for name in index)
    return str(index or "")


def _sort(sort: Any) -> list[Any] | None:
    return None if sort is None else sort if isinstance(sort, list) else [sort]


def _routing(rule: str, routing: str | None) -> str | None:
    if rule == "keep":
        return routing
    if rule == "discard":
        return None
    if rule.startswith("="):
        return rule[1:]
    raise illegal_argument(f"Unsupported routing command [{rule}]")


def _written(backend: Backend, target: str) -> set[str]:
    """The index a write to ``target`` reaches; for a stream the reading of any backing index counts."""
    try:
        found = backend.indices.resolve(target)
    except ElasticError:
        return set()
    streams = {index.data_stream for index in found if index.data_stream}
    if target in streams or len(found) <= 1:
        return {index.name for index in found}
    try:
        return {backend.indices.write_target(target, op_type="index").name}
    except ElasticError:
        return {index.name for index in found}


def _batch(size: Any) -> int:
    try:
        number = int(size)
    except (TypeError, ValueError):
        raise ElasticError(400, "number_format_exception", f'For input string: "{size}"') from None
    if number <= 0:
        raise illegal_argument(
            f"[size] parameter cannot be negative, found [{number}]"
            if number < 0
            else "[size] cannot be [0] in a scroll context"
        )
    if number > 10_000:
        raise illegal_argument(
            f"Batch size is too large, size must be less than or equal to: [10000] but was [{number}]. Scroll "
            "batch sizes cost as "
            "much memory as result windows so they are controlled by the [index.max_result_window] index level setting."
        )
    return number


def _max_docs(request: Request, body: dict[str, Any]) -> int | None:
    given = [body[key] for key in ("max_docs", "size") if key in body]
    if "max_docs" in request.params:
        given.insert(0, request.integer("max_docs", 0))
    found: int | None = None
    for value in given:
        with well_formed("max_docs"):
            number = int(value)
        if number == -1:
            continue
        if number < 0:
            raise illegal_argument(f"[max_docs] parameter cannot be negative, found [{number}]")
        if found is not None and found != number:
            raise illegal_argument(f"[max_docs] set to two different values [{number}] and [{found}]")
        found = number
    return found


def _slices(request: Request) -> int | Literal["auto"]:
    text = request.params.get("slices", "1")
    if text == "auto":
        return "auto"
    try:
        slices = int(text)
    except ValueError:
        slices = 0
    if slices < 1:
        raise illegal_argument('[slices] must be a positive integer or the string "auto"')
    return slices


def _rate(request: Request) -> float:
    text = request.params.get("requests_per_second", "-1")
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if rate == -1:
        return rate
    if not 0 < rate < float("inf"):
        raise illegal_argument("[requests_per_second] must be a float greater than 0. Use -1 to disable throttling.")
    return rate


def _conflicts(value: Any) -> bool:
    if value not in ["proceed", "abort"]:
        raise illegal_argument(f'conflicts may only be "proceed" or "abort" but was [{value}]')
    return value == "proceed"
