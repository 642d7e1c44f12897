"""Routes: _bulk, _doc, _create, _update, _mget, _refresh."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.documents.bulk import PLAIN_FROM
from elastic_sandbox.documents.ndjson import parse_bulk, parse_plain, split_lines, values_of
from elastic_sandbox.documents.operations import Action, BulkOperation
from elastic_sandbox.errors import (
    ElasticError,
    action_request_validation,
    illegal_argument,
    index_not_found,
    unsupported,
)
from elastic_sandbox.http import COMMON_PARAMETERS, Request, Response, Router
from elastic_sandbox.search.source import SourceFilter, source_filter_of_request
from elastic_sandbox.search.strict import well_formed

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index

routes = Router()

_WRITE_PARAMETERS = (
    "refresh",
    "timeout",
    "wait_for_active_shards",
    "routing",
    "pipeline",
    "require_alias",
    "require_data_stream",
)
# What makes a bulk request more than a list of documents.
_CHANGES_WRITES = frozenset({"pipeline", "routing", "require_alias", "require_data_stream"})
_SOURCE_PARAMETERS = ("_source", "_source_includes", "_source_excludes")


def refresh_of(request: Request) -> bool | str:
    """The ``refresh`` parameter: True, False or ``wait_for``."""
    value = request.params.get("refresh", "false")
    if value == "wait_for":
        return value
    if value in {"", "true"}:
        return True
    if value == "false":
        return False
    raise illegal_argument(f"Unknown value for refresh: [{value}].")


@routes.route("POST|PUT", "/_bulk")
@routes.route("POST|PUT", "/{index}/_bulk")
def bulk(backend: Backend, request: Request) -> Response:
    """Many writes in one request; items fail one by one."""
    request.allow(*_WRITE_PARAMETERS, *_SOURCE_PARAMETERS, "list_executed_pipelines", "include_source_on_error")
    request.unsupported_parameters(*_SOURCE_PARAMETERS, "list_executed_pipelines")
    started = time.monotonic()
    with _uncollected():
        return _bulk(backend, request, started)


def _bulk(backend: Backend, request: Request, started: float) -> Response:
    index, refresh = request.path_params.get("index"), refresh_of(request)
    lines = split_lines(request.body)
    if len(lines) >= 2 * PLAIN_FROM and not request.params.keys() & _CHANGES_WRITES:
        plain = parse_plain(lines, index)
        created = None if plain is None else backend.documents.write_plain(plain, refresh)
        if created is not None:
            rendered = created.rendered(refreshed=refresh is True)
            answer = b'{"errors":false,"took":%d,"items":%b}' % (_took(started), rendered)
            # Only as it is can it go out as bytes.
            return orjson.loads(answer) if request.params.keys() & COMMON_PARAMETERS else answer
    operations = parse_bulk(
        request.body,
        index=index,
        pipeline=request.params.get("pipeline"),
        routing=request.params.get("routing"),
        require_alias=request.flag("require_alias"),
        require_data_stream=request.flag("require_data_stream"),
        values=values_of(lines),
    )
    items, ingested = backend.documents.execute(operations, refresh=refresh)
    took = _took(started)
    body: dict[str, Any] = {
        "errors": any("error" in next(iter(item.values())) for item in items),
        "took": took,
        "items": items,
    }
    if ingested:
        body["ingest_took"] = took
    return body


def _took(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the garbage collector, which walks a request's many small objects again and again (a third of the time).

    They die together by their reference counts.
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _write(backend: Backend, request: Request, action: Action, doc_id: str | None) -> Response:
    operation = BulkOperation(
        action,
        request.path_params["index"],
        doc_id,
        raw=None if action == "delete" else request.body,
        version=request.integer("version", 0) if "version" in request.params else None,
        version_type=request.params.get("version_type", "internal"),
        if_seq_no=request.integer("if_seq_no", 0) if "if_seq_no" in request.params else None,
        if_primary_term=request.integer("if_primary_term", 0) if "if_primary_term" in request.params else None,
        routing=request.params.get("routing"),
        pipeline=request.params.get("pipeline"),
        require_alias=request.flag("require_alias"),
        require_data_stream=request.flag("require_data_stream"),
    )
    if action == "update":
        operation.source = request.object()
    elif action != "delete" and not request.body.strip():
        raise ElasticError(400, "action_request_validation_exception", "Validation Failed: 1: source is missing;")
    [item] = backend.documents.bulk([operation], refresh=refresh_of(request))
    answer: dict[str, Any] = next(iter(item.values()))
    status = answer.pop("status")
    if "error" in answer:
        cause = answer["error"]
        return status, {
            "error": {"root_cause": [{k: v for k, v in cause.items() if k != "caused_by"}], **cause},
            "status": status,
        }
    return status, answer


_INDEX_PARAMETERS = (*_WRITE_PARAMETERS, "op_type", "version", "version_type", "if_seq_no", "if_primary_term")


@routes.route("PUT|POST", "/{index}/_doc/{id}")
def index_with_id(backend: Backend, request: Request) -> Response:
    """Create or replace one document."""
    request.allow(*_INDEX_PARAMETERS, "include_source_on_error")
    return _write(backend, request, _op_type(request, "index"), request.path_params["id"])


@routes.route("POST", "/{index}/_doc")
def index_without_id(backend: Backend, request: Request) -> Response:
    """Create one document under a new id."""
    request.allow(*_INDEX_PARAMETERS, "include_source_on_error")
    # RestIndexAction.AutoIdHandler: without an id nothing can be replaced, so the default is create.
    return _write(backend, request, _op_type(request, "create"), None)


@routes.route("PUT|POST", "/{index}/_create/{id}")
def create(backend: Backend, request: Request) -> Response:
    """Create one document; 409 when the id is taken."""
    request.allow(*_WRITE_PARAMETERS, "version", "version_type", "include_source_on_error")
    return _write(backend, request, "create", request.path_params["id"])


@routes.route("DELETE", "/{index}/_doc/{id}")
def delete(backend: Backend, request: Request) -> Response:
    """Delete one document."""
    request.allow(
        "refresh",
        "timeout",
        "wait_for_active_shards",
        "routing",
        "version",
        "version_type",
        "if_seq_no",
        "if_primary_term",
    )
    return _write(backend, request, "delete", request.path_params["id"])


@routes.route("POST", "/{index}/_update/{id}")
def update(backend: Backend, request: Request) -> Response:
    """Merge ``doc`` into one document."""
    request.allow(
        *_WRITE_PARAMETERS,
        *_SOURCE_PARAMETERS,
        "if_seq_no",
        "if_primary_term",
        "retry_on_conflict",
        "lang",
        "include_source_on_error",
    )
    request.unsupported_parameters(*_SOURCE_PARAMETERS, "lang")
    return _write(backend, request, "update", request.path_params["id"])


def _op_type(request: Request, default: Action) -> Action:
    value = request.params.get("op_type")
    if value is None:
        return default
    if value not in {"index", "create"}:
        raise illegal_argument(f"opType must be 'create' or 'index', found: [{value}]")
    return "create" if value == "create" else "index"


@routes.route("GET|HEAD", "/{index}/_doc/{id}")
def get(backend: Backend, request: Request) -> Response:
    """One document by id, as of now."""
    request.allow(
        *_SOURCE_PARAMETERS, "realtime", "refresh", "routing", "preference", "stored_fields", "version", "version_type"
    )
    request.unsupported_parameters("stored_fields", "version", "version_type")
    index = _single_index(backend, request.path_params["index"])
    if request.flag("refresh"):
        backend.documents.refresh([index])
    if not request.flag("realtime", True):
        raise unsupported("[realtime=false] of a get")
    document = _found(backend, index, request.path_params["id"], source_filter_of_request(request))
    return (200 if document["found"] else 404), document


@routes.route("GET|HEAD", "/{index}/_source/{id}")
def get_source(backend: Backend, request: Request) -> Response:
    """The source of one document, bare."""
    request.allow(*_SOURCE_PARAMETERS, "realtime", "refresh", "routing", "preference")
    index = _single_index(backend, request.path_params["index"])
    document = _found(backend, index, request.path_params["id"], source_filter_of_request(request))
    if not document["found"]:
        raise ElasticError(
            404, "resource_not_found_exception", f"Document not found [{index.name}]/[{request.path_params['id']}]"
        )
    return document["_source"]


def _single_index(backend: Backend, name: str) -> Index:
    indices = backend.indices.resolve(name)
    if not indices:
        raise index_not_found(name)
    if len(indices) > 1:
        listed = ", ".join(index.name for index in indices)
        raise illegal_argument(
            f"alias [{name}] has more than one index associated with it [{listed}], can't execute a single index op"
        )
    return indices[0]


def _found(backend: Backend, index: Index, doc_id: str, source: SourceFilter) -> dict[str, Any]:
    stored = backend.documents.get(index, doc_id)
    if stored is None:
        return {"_index": index.name, "_id": doc_id, "found": False}
    document: dict[str, Any] = {
        "_index": index.name,
        "_id": doc_id,
        "_version": stored.version,
        "_seq_no": stored.seq_no,
        "_primary_term": 1,
        "found": True,
    }
    if stored.routing is not None:
        document["_routing"] = stored.routing
    if source.enabled:
        document["_source"] = source.apply(orjson.loads(stored.source))
    return document


@routes.route("GET|POST", "/_mget")
@routes.route("GET|POST", "/{index}/_mget")
def mget(backend: Backend, request: Request) -> Response:
    """Several documents by id."""
    request.allow(*_SOURCE_PARAMETERS, "realtime", "refresh", "routing", "preference", "stored_fields")
    request.unsupported_parameters("stored_fields")
    default_index = request.path_params.get("index")
    default_source = source_filter_of_request(request)
    body = request.object()
    for key in body:
        if key not in {"docs", "ids"}:
            raise ElasticError(
                400, "parse_exception", f"unknown key [{key}] for a START_ARRAY, expected [docs] or [ids]"
            )
    with well_formed("_mget"):
        wanted = _wanted(body, default_index)
    documents = []
    for item in wanted:
        name, doc_id = str(item.get("_index", default_index)), str(item["_id"])
        source = SourceFilter.parse(item["_source"]) if "_source" in item else default_source
        try:
            documents.append(_found(backend, _single_index(backend, name), doc_id, source))
        except ElasticError as error:
            documents.append({"_index": name, "_id": doc_id, "error": error.body()["error"]})
    return {"docs": documents}


def _wanted(body: dict[str, Any], default_index: str | None) -> list[dict[str, Any]]:
    wanted: list[dict[str, Any]] = list(body.get("docs", []))
    wanted += [{"_id": doc_id} for doc_id in body.get("ids", [])]
    problems = []
    if not wanted:
        problems.append("no documents to get")
    for at, item in enumerate(wanted):
        if "_id" not in item:
            problems.append(f"id is missing for doc {at}")
        if not item.get("_index", default_index):
            problems.append(f"index is missing for doc {at}")
        for key in item:
            if key not in {"_index", "_id", "_source", "routing"}:
                raise unsupported(f"[{key}] of a document in _mget")
    if problems:
        raise action_request_validation(problems)
    return wanted


@routes.route("GET|POST", "/_refresh")
@routes.route("GET|POST", "/{index}/_refresh")
def refresh(backend: Backend, request: Request) -> Response:
    """Make everything written so far visible to searches."""
    request.allow("ignore_unavailable", "allow_no_indices", "expand_wildcards")
    expression = request.path_params.get("index", "_all")
    indices = backend.indices.resolve(
        expression,
        allow_no_indices=request.flag("allow_no_indices", True),
        ignore_unavailable=request.flag("ignore_unavailable"),
        expand_wildcards=request.params.get("expand_wildcards", "open"),
    )
    backend.documents.refresh(indices)
    shards = sum(1 + int(index.settings.get("index.number_of_replicas", 1) or 0) for index in indices)
    return {"_shards": {"total": shards, "successful": len(indices), "failed": 0}}
