"""HTTP routes of indices, mappings, settings and aliases; templates and streams have files of their own."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.indices import lifecycle_routes, stream_routes, template_routes
from elastic_sandbox.indices.aliases import ALIAS_ACTION, alias_body
from elastic_sandbox.indices.field_caps import FILTERS, field_caps
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.names import matches
from elastic_sandbox.indices.rollover import rollover
from elastic_sandbox.indices.settings import nest
from elastic_sandbox.shapes import EACH, STRINGS, check_shape

routes = Router()
routes.include(template_routes.routes)
routes.include(stream_routes.routes)
routes.include(lifecycle_routes.routes)

_TIMEOUTS = ("timeout", "master_timeout")
_SELECTION = ("ignore_unavailable", "allow_no_indices", "expand_wildcards", "local")


def selected(backend: Backend, request: Request, *, default_wildcards: str = "open") -> list[Index]:
    """The indices a request's ``{index}`` names, by its selection parameters."""
    return backend.indices.resolve(
        request.path_params.get("index", "*"),
        ignore_unavailable=request.flag("ignore_unavailable"),
        allow_no_indices=request.flag("allow_no_indices", True),
        expand_wildcards=request.params.get("expand_wildcards", default_wildcards),
    )


def _without_selectors(expression: str) -> None:
    """Refuse ``::failures`` and ``::data`` where the server does.

    ``allowSelectors(false)`` in the options of DeleteIndexRequest, PutMappingRequest and GetAliasesRequest; the words
    are UnsupportedSelectorException's.
    """
    for piece in expression.split(","):
        if "::" in piece:
            reason = "Index component selectors are not supported in this context but found selector in expression"
            raise ElasticError(400, "unsupported_selector_exception", f"{reason} [{piece}]")


@routes.route("PUT", "/{index}")
def create(backend: Backend, request: Request) -> Response:
    """Create an index."""
    request.allow(*_TIMEOUTS, "wait_for_active_shards")
    index = backend.indices.create(request.path_params["index"], request.object(required=False))
    return {"acknowledged": True, "shards_acknowledged": True, "index": index.name}


@routes.route("HEAD", "/{index}")
def exists(backend: Backend, request: Request) -> Response:
    """200 or 404, without a body."""
    request.allow(*_SELECTION, "flat_settings", "include_defaults")
    try:
        found = selected(backend, request, default_wildcards="all")
    except ElasticError as error:
        if error.status == 404:
            return 404, None
        raise
    return (200 if found else 404), None


@routes.route("GET", "/{index}")
def get(backend: Backend, request: Request) -> Response:
    """Aliases, mappings and settings of indices."""
    request.allow(*_SELECTION, *_TIMEOUTS, "flat_settings", "include_defaults", "features")
    request.unsupported_parameters("include_defaults")
    features = request.params.get("features", "aliases,mappings,settings").split(",")
    flat = request.flag("flat_settings")
    answer: dict[str, Any] = {}
    for index in selected(backend, request):
        shown: dict[str, Any] = {
            "aliases": index.aliases,
            "mappings": index.mapping.to_json(),
            "settings": index.shown_settings(flat=flat),
        }
        answer[index.name] = {name: part for name, part in shown.items() if name in features}
        if index.data_stream is not None:
            answer[index.name]["data_stream"] = index.data_stream
    return answer


@routes.route("DELETE", "/{index}")
def delete(backend: Backend, request: Request) -> Response:
    """Delete indices by name or wildcard."""
    request.allow(*_SELECTION, *_TIMEOUTS)
    expression = request.path_params["index"]
    _without_selectors(expression)
    if any(piece in {"*", "_all"} for piece in expression.split(",")):
        # action.destructive_requires_name is true since 8.0.
        raise ElasticError(400, "illegal_argument_exception", "Wildcard expressions or all indices are not allowed")
    if "*" in expression:
        raise ElasticError(400, "illegal_argument_exception", "Wildcard expressions or all indices are not allowed")
    backend.indices.delete(
        expression,
        ignore_unavailable=request.flag("ignore_unavailable"),
        allow_no_indices=request.flag("allow_no_indices", True),
    )
    return {"acknowledged": True}


@routes.route("GET", "/_mapping")
@routes.route("GET", "/{index}/_mapping")
def get_mapping(backend: Backend, request: Request) -> Response:
    """Mappings by index."""
    request.allow(*_SELECTION, *_TIMEOUTS)
    return {index.name: {"mappings": index.mapping.to_json()} for index in selected(backend, request)}


@routes.route("PUT|POST", "/{index}/_mapping")
def put_mapping(backend: Backend, request: Request) -> Response:
    """Merge a mapping update into every index named, into none when one refuses."""
    request.allow(*_SELECTION, *_TIMEOUTS, "write_index_only")
    body = request.object()
    _without_selectors(request.path_params["index"])
    targets = selected(backend, request)
    if request.flag("write_index_only"):
        raise unsupported("parameter [write_index_only] of PUT /{index}/_mapping")
    for index in targets:
        index.mapping.update(body, dry_run=True)
    for index in targets:
        backend.indices.put_mapping(index, body)
    return {"acknowledged": True}


@routes.route("GET", "/_settings")
@routes.route("GET", "/{index}/_settings")
@routes.route("GET", "/{index}/_settings/{name}")
def get_settings(backend: Backend, request: Request) -> Response:
    """Settings by index; ``include_defaults`` adds those the sandbox honours."""
    request.allow(*_SELECTION, *_TIMEOUTS, "flat_settings", "include_defaults")
    flat, pattern = request.flag("flat_settings"), request.path_params.get("name", "*")
    answer: dict[str, Any] = {}
    for index in selected(backend, request):
        own = {name: value for name, value in sorted(index.settings.items()) if matches(pattern, name)}
        answer[index.name] = {"settings": own if flat else nest(own)}
        if request.flag("include_defaults"):
            defaults = {
                name: value
                for name, value in _defaults(index).items()
                if name not in index.settings and matches(pattern, name)
            }
            answer[index.name]["defaults"] = defaults if flat else nest(defaults)
    return answer


def _defaults(index: Index) -> dict[str, str]:
    logsdb = index.mode == "logsdb"
    return {
        "index.mode": "standard",
        "index.refresh_interval": "1s",
        "index.hidden": "false",
        "index.default_pipeline": "_none",
        "index.final_pipeline": "_none",
        "index.max_result_window": "10000",
        "index.mapping.total_fields.limit": "1000",
        "index.mapping.total_fields.ignore_dynamic_beyond_limit": "true" if logsdb else "false",
        "index.mapping.ignore_malformed": "true" if logsdb else "false",
        "index.mapping.coerce": "true",
        "index.mapping.ignore_above": "8191" if logsdb else "2147483647",
        "index.lifecycle.prefer_ilm": "true",
        "index.lifecycle.indexing_complete": "false",
        "index.lifecycle.origination_date": "-1",
    }


@routes.route("PUT", "/_settings")
@routes.route("PUT", "/{index}/_settings")
def put_settings(backend: Backend, request: Request) -> Response:
    """Change dynamic settings."""
    request.allow(*_SELECTION, *_TIMEOUTS, "flat_settings", "preserve_existing", "reopen")
    request.unsupported_parameters("reopen")
    backend.indices.put_settings(
        selected(backend, request), request.object(), preserve_existing=request.flag("preserve_existing")
    )
    return {"acknowledged": True}


# Aliases ------------------------------------------------------------------------------------------------------------


@routes.route("POST", "/_aliases")
def update_aliases(backend: Backend, request: Request) -> Response:
    """Several alias actions, all or none."""
    request.allow(*_TIMEOUTS)
    body = request.object()
    for key in body:
        if key != "actions":
            raise x_content_parse(f"[1:1] [aliases] unknown field [{key}]")
    check_shape("aliases", body, {"actions": [EACH(ALIAS_ACTION)]})
    backend.indices.update_aliases(body.get("actions"))
    return {"acknowledged": True, "errors": False}


@routes.route("PUT|POST", "/{index}/_alias/{name}")
@routes.route("PUT|POST", "/{index}/_aliases/{name}")
def put_alias(backend: Backend, request: Request) -> Response:
    """Point one alias at indices or data streams."""
    request.allow(*_TIMEOUTS)
    body = request.object(required=False)
    alias_body(body)
    action = {"add": {"index": request.path_params["index"], "alias": request.path_params["name"], **body}}
    backend.indices.update_aliases([action])
    return {"acknowledged": True}


@routes.route("DELETE", "/{index}/_alias/{name}")
@routes.route("DELETE", "/{index}/_aliases/{name}")
def delete_alias(backend: Backend, request: Request) -> Response:
    """Take aliases away."""
    request.allow(*_TIMEOUTS)
    action = {"remove": {"index": request.path_params["index"], "alias": request.path_params["name"]}}
    backend.indices.update_aliases([action])
    return {"acknowledged": True, "errors": False}


@routes.route("GET", "/_alias")
@routes.route("GET", "/_alias/{name}")
@routes.route("GET", "/{index}/_alias")
@routes.route("GET", "/{index}/_alias/{name}")
def get_alias(backend: Backend, request: Request) -> Response:
    """Aliases by index; a plain alias name that is missing is 404 with what was found beside the error."""
    request.allow(*_SELECTION, *_TIMEOUTS)
    found, missing = _aliases(backend, request)
    if missing:
        plural = "aliases" if len(missing) > 1 else "alias"
        return 404, {"error": f"{plural} [{','.join(missing)}] missing", "status": 404, **found}
    return found


@routes.route("HEAD", "/_alias/{name}")
@routes.route("HEAD", "/{index}/_alias/{name}")
def alias_exists(backend: Backend, request: Request) -> Response:
    """200 when every alias named exists, 404 otherwise."""
    request.allow(*_SELECTION, *_TIMEOUTS)
    try:
        found, missing = _aliases(backend, request)
    except ElasticError as error:
        if error.status == 404:
            return 404, None
        raise
    return (200 if found and not missing else 404), None


def _aliases(backend: Backend, request: Request) -> tuple[dict[str, Any], list[str]]:
    indices = backend.indices
    expression, wanted = request.path_params.get("index"), request.path_params.get("name")
    if expression is None:
        hosts = [index.name for index in indices.all()] + indices.streams.names()
    elif indices.is_alias(expression):
        hosts = indices.alias_targets(expression)
    else:
        _without_selectors(expression)
        # GetAliasesRequest expands to hidden indices, too, unless it is told otherwise (strictExpandHidden).
        states = request.params.get("expand_wildcards", "all").split(",")
        try:
            hosts = indices.alias_hosts(expression, hidden=bool({"all", "hidden"} & set(states)))
        except ElasticError:
            if not request.flag("ignore_unavailable"):
                raise
            hosts = []
    patterns = ["*"] if wanted in {None, "_all"} else str(wanted).split(",")
    found: dict[str, Any] = {}
    hit: set[str] = set()
    for host in hosts:
        shown = {}
        for alias, body in sorted(indices.aliases_of(host).items()):
            covering = [pattern for pattern in patterns if matches(pattern, alias)]
            hit.update(covering)
            if covering:
                shown[alias] = body
        # Without a name every index is listed, aliases or not; with one, only those that have it.
        if shown or (wanted is None and expression is not None) or (wanted is None and indices.get(host)):
            found[host] = {"aliases": shown}
    return found, sorted(pattern for pattern in patterns if "*" not in pattern and pattern not in hit)


# Rollover, field capabilities -------------------------------------------------------------------------------------


@routes.route("POST", "/{index}/_rollover")
@routes.route("POST", "/{index}/_rollover/{new_index}")
def roll_over(backend: Backend, request: Request) -> Response:
    """Give an alias or a data stream a new write index."""
    request.allow(*_TIMEOUTS, "dry_run", "lazy", "wait_for_active_shards", "include_type_name")
    return rollover(
        backend,
        request.path_params["index"],
        request.path_params.get("new_index"),
        request.object(required=False),
        dry_run=request.flag("dry_run"),
        lazy=request.flag("lazy"),
    )


@routes.route("GET|POST", "/_field_caps")
@routes.route("GET|POST", "/{index}/_field_caps")
def get_field_caps(backend: Backend, request: Request) -> Response:
    """Types of fields over many indices."""
    request.allow(*_SELECTION, "fields", "include_unmapped", "filters", "types", "include_empty_fields")
    if not request.flag("include_empty_fields", True):
        raise unsupported("parameter [include_empty_fields=false] of _field_caps")
    body = request.object(required=False)
    if "index_filter" in body or "runtime_mappings" in body:
        raise unsupported("index_filter or runtime_mappings of _field_caps")
    check_shape("field_caps_request", body, {"fields": STRINGS})
    wanted = request.params.get("fields") or body.get("fields") or []
    patterns = wanted.split(",") if isinstance(wanted, str) else list(wanted)
    if not patterns:
        raise ElasticError(400, "action_request_validation_exception", "Validation Failed: 1: no fields specified;")
    types = request.params["types"].split(",") if "types" in request.params else None
    filters = frozenset(filter(None, request.params.get("filters", "").split(",")))
    if "+dimension" in filters:
        raise unsupported("[+dimension] in filters of _field_caps")
    for name in sorted(filters - FILTERS):
        raise illegal_argument(f"Unknown field caps filter [{name}]")
    return field_caps(
        selected(backend, request),
        patterns,
        unmapped=request.flag("include_unmapped"),
        types=types,
        filters=filters,
    )
