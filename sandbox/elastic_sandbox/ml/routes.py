"""The HTTP surface of machine learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.ml.analysis_config import DEPRECATED_MAX_TREES, analysis_of, shown
from elastic_sandbox.ml.anomaly.routes import routes as anomaly_routes
from elastic_sandbox.ml.evaluation import evaluate
from elastic_sandbox.ml.inference_config import check_update
from elastic_sandbox.ml.strict import bad_request, check_consistent_id, parse_strict, required

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
_ANALYTICS = "/_ml/data_frame/analytics"
_MODELS = "/_ml/trained_models"


def _page(request: Request, items: list[Any]) -> list[Any]:
    first, size = request.integer("from", 0), request.integer("size", 100)
    if first < 0:
        raise bad_request("Parameter [from] cannot be < 0")
    if size < 0:
        raise bad_request("Parameter [size] cannot be < 0")
    return items[first : first + size]


def _warn(backend: Backend, request: Request, warnings: list[str]) -> None:
    if warnings:
        agent = f"Elasticsearch-{backend.version}"
        request.response_headers["warning"] = ", ".join(f'299 {agent} "{text}"' for text in warnings)


@routes.route("GET", "/_ml/info")
def info(backend: Backend, request: Request) -> Response:
    """Defaults, limits and upgrade mode."""
    request.allow()
    backend.require_not_serverless(request.method, request.path)
    backend.require_ml()
    return backend.ml.info()


@routes.route("POST", "/_ml/set_upgrade_mode")
def set_upgrade_mode(backend: Backend, request: Request) -> Response:
    """Pause or resume ML tasks."""
    request.allow("enabled", "timeout")
    backend.require_not_serverless(request.method, request.path)
    backend.require_ml()
    backend.ml.set_upgrade_mode(request.flag("enabled", False))
    return {"acknowledged": True}


# Data frame analytics -----------------------------------------------------------------------------------------------


@routes.route("PUT", f"{_ANALYTICS}/{{id}}")
def put_analytics(backend: Backend, request: Request) -> Response:
    """Create a job."""
    request.allow()
    backend.require_ml()
    config = backend.ml.jobs.put(request.path_params["id"], request.object())
    if "maximum_number_trees" in analysis_of(request.object())[1]:
        _warn(backend, request, [DEPRECATED_MAX_TREES])
    return config


@routes.route("GET", _ANALYTICS)
@routes.route("GET", f"{_ANALYTICS}/{{id}}")
def get_analytics(backend: Backend, request: Request) -> Response:
    """Configurations of jobs."""
    request.allow("allow_no_match", "from", "size", "exclude_generated")
    backend.require_ml()
    jobs = backend.ml.jobs.expand(request.path_params.get("id"), allow_no_match=request.flag("allow_no_match", True))
    generated = request.flag("exclude_generated", False)
    configs = [shown(job.config, exclude_generated=generated) for job in _page(request, jobs)]
    return {"count": len(jobs), "data_frame_analytics": configs}


@routes.route("GET", f"{_ANALYTICS}/_stats")
@routes.route("GET", f"{_ANALYTICS}/{{id}}/_stats")
def get_analytics_stats(backend: Backend, request: Request) -> Response:
    """State, progress and counts of jobs."""
    request.allow("allow_no_match", "from", "size", "verbose")
    backend.require_ml()
    jobs = backend.ml.jobs.expand(request.path_params.get("id"), allow_no_match=request.flag("allow_no_match", True))
    verbose = request.flag("verbose", False)
    node = None if backend.flavor == "serverless" else backend.tasks.node
    stats = [job.stats(node, verbose=verbose) for job in _page(request, jobs)]
    return {"count": len(jobs), "data_frame_analytics": stats}


@routes.route("GET|POST", f"{_ANALYTICS}/_explain")
@routes.route("GET|POST", f"{_ANALYTICS}/{{id}}/_explain")
def explain_analytics(backend: Backend, request: Request) -> Response:
    """Which fields would be used, and how much memory."""
    request.allow()
    backend.require_ml()
    backend.require_not_serverless(request.method, request.path)
    jobs = backend.ml.jobs
    return jobs.explain(jobs.given_config(request.path_params.get("id"), request.object(required=False)))


@routes.route("GET|POST", f"{_ANALYTICS}/_preview")
@routes.route("GET|POST", f"{_ANALYTICS}/{{id}}/_preview")
def preview_analytics(backend: Backend, request: Request) -> Response:
    """The first rows as the analysis would read them."""
    request.allow()
    backend.require_ml()
    jobs, body = backend.ml.jobs, request.object(required=False)
    parse_strict("preview_data_frame_analytics", body, {"config": dict})
    config = jobs.given_config(request.path_params.get("id"), body.get("config"))
    return {"feature_values": jobs.preview(config)}


@routes.route("POST", f"{_ANALYTICS}/{{id}}/_start")
def start_analytics(backend: Backend, request: Request) -> Response:
    """Start a job."""
    request.allow("timeout")
    backend.require_ml()
    _check_body_id(request)
    return {"acknowledged": True, "node": backend.ml.jobs.start(request.path_params["id"])}


@routes.route("POST", f"{_ANALYTICS}/{{id}}/_stop")
def stop_analytics(backend: Backend, request: Request) -> Response:
    """Stop jobs and wait for them."""
    request.allow("allow_no_match", "force", "timeout")
    backend.require_ml()
    _check_body_id(request)
    backend.ml.jobs.stop(
        request.path_params["id"],
        allow_no_match=request.flag("allow_no_match", True),
        force=request.flag("force", False),
        timeout=request.duration_seconds("timeout", 20.0),
    )
    return {"stopped": True}


def _check_body_id(request: Request) -> None:
    body = request.object(required=False)
    parse_strict("request", body, {"id": str, "allow_no_match": bool, "force": bool, "timeout": str})
    check_consistent_id("id", body.get("id"), request.path_params["id"])
    for name in ("allow_no_match", "force", "timeout"):
        if body.get(name) is not None:
            request.params.setdefault(name, str(body[name]).lower())


@routes.route("POST", f"{_ANALYTICS}/{{id}}/_update")
def update_analytics(backend: Backend, request: Request) -> Response:
    """Change what can be changed of a job."""
    request.allow()
    backend.require_ml()
    return backend.ml.jobs.update(request.path_params["id"], request.object())


@routes.route("DELETE", f"{_ANALYTICS}/{{id}}")
def delete_analytics(backend: Backend, request: Request) -> Response:
    """Delete a job."""
    request.allow("force", "timeout")
    backend.require_ml()
    backend.ml.jobs.delete(
        request.path_params["id"],
        force=request.flag("force", False),
        timeout=request.duration_seconds("timeout", 60.0),
    )
    return {"acknowledged": True}


@routes.route("POST", "/_ml/data_frame/_evaluate")
def evaluate_data_frame(backend: Backend, request: Request) -> Response:
    """Metrics over predicted documents."""
    request.allow()
    backend.require_ml()
    return evaluate(backend, request.object())


# Trained models -----------------------------------------------------------------------------------------------------


@routes.route("GET", _MODELS)
@routes.route("GET", f"{_MODELS}/{{model_id}}")
def get_models(backend: Backend, request: Request) -> Response:
    """Trained models by id, alias, wildcard, tags."""
    request.allow("allow_no_match", "decompress_definition", "exclude_generated", "from", "include", "size", "tags")
    backend.require_ml()
    models = backend.ml.models
    ids = models.expand(
        request.path_params.get("model_id"),
        allow_no_match=request.flag("allow_no_match", True),
        tags=_csv(request, "tags"),
    )
    includes = set(_csv(request, "include"))
    whole = bool({"definition", "definition_status"} & includes)
    configs = models.shown(
        ids if whole else _page(request, ids),
        includes,
        exclude_generated=request.flag("exclude_generated", False),
        decompress=request.flag("decompress_definition", True),
    )
    return {"count": len(ids), "trained_model_configs": configs}


def _csv(request: Request, name: str) -> list[str]:
    return [part for part in request.params.get(name, "").split(",") if part]


@routes.route("GET", f"{_MODELS}/_stats")
@routes.route("GET", f"{_MODELS}/{{model_id}}/_stats")
def get_model_stats(backend: Backend, request: Request) -> Response:
    """Sizes, inference counts and pipelines of trained models."""
    request.allow("allow_no_match", "from", "size")
    backend.require_ml()
    models = backend.ml.models
    ids = models.expand(request.path_params.get("model_id"), allow_no_match=request.flag("allow_no_match", True))
    return {"count": len(ids), "trained_model_stats": [models.stats(model_id) for model_id in _page(request, ids)]}


@routes.route("PUT", f"{_MODELS}/{{model_id}}")
def put_model(backend: Backend, request: Request) -> Response:
    """Store a model from its definition."""
    request.allow("defer_definition_decompression", "wait_for_completion")
    backend.require_ml()
    defer = request.flag("defer_definition_decompression", False)
    return backend.ml.models.put(request.path_params["model_id"], request.object(), defer=defer)


@routes.route("DELETE", f"{_MODELS}/{{model_id}}")
def delete_model(backend: Backend, request: Request) -> Response:
    """Delete a model and its aliases."""
    request.allow("force", "timeout")
    backend.require_ml()
    backend.ml.models.delete(request.path_params["model_id"], force=request.flag("force", False))
    return {"acknowledged": True}


@routes.route("PUT", f"{_MODELS}/{{model_id}}/model_aliases/{{model_alias}}")
def put_model_alias(backend: Backend, request: Request) -> Response:
    """Point an alias at a model."""
    request.allow("reassign")
    backend.require_ml()
    warnings = backend.ml.models.put_alias(
        request.path_params["model_id"],
        request.path_params["model_alias"],
        reassign=request.flag("reassign", False),
    )
    _warn(backend, request, warnings)
    return {"acknowledged": True}


@routes.route("DELETE", f"{_MODELS}/{{model_id}}/model_aliases/{{model_alias}}")
def delete_model_alias(backend: Backend, request: Request) -> Response:
    """Remove an alias."""
    request.allow()
    backend.require_ml()
    backend.ml.models.delete_alias(request.path_params["model_id"], request.path_params["model_alias"])
    return {"acknowledged": True}


@routes.route("POST", f"{_MODELS}/{{model_id}}/_infer")
def infer_model(backend: Backend, request: Request) -> Response:
    """Run documents of the request through a model."""
    request.allow("timeout")
    backend.require_ml()
    body = request.object()
    parse_strict("infer_trained_model_request", body, {"docs": (list, dict), "inference_config": dict})
    documents = body.get("docs")
    if documents is None:
        raise required("infer_trained_model_request", "docs")
    documents = [documents] if isinstance(documents, dict) else documents
    if any(not isinstance(document, dict) for document in documents):
        raise bad_request("[docs] must be objects of field names and values")
    update = body.get("inference_config")
    model = backend.ml.models.load(request.path_params["model_id"])
    results = backend.ml.models.infer(model, documents, None if update is None else check_update(update))
    return {"inference_results": results}


routes.include(anomaly_routes)
