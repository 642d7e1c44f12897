"""`/api/ml/saved_objects/sync`: Kibana's own list of machine-learning jobs and models, brought up to date.

A job made through Elasticsearch is not shown by Kibana until it has a saved object here
(x-pack/platform/plugins/shared/ml/server/saved_objects/sync.ts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana.application import request_of
from elastic_sandbox.kibana.errors import KibanaError
from elastic_sandbox.kibana.validation import allow, flag_of
from elastic_sandbox.ml.anomaly.jobs import KIND as JOB
from elastic_sandbox.ml.jobs import KIND as ANALYTICS
from elastic_sandbox.ml.trained_models import CONFIG as MODEL

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()
KIND: Final = "kibana_ml_object"
_JOBS, _ANALYTICS, _MODELS = "anomaly-detector", "data-frame-analytics", "trained-model"


@routes.route("GET", "/api/ml/saved_objects/sync")
def sync(backend: Backend, request: Request) -> Response:
    """Make what is missing, delete what has lost its job; with `simulate` only say so."""
    allow(request, "simulate")
    if backend.license == "basic":
        raise KibanaError(403, "Forbidden")
    simulate = flag_of(request, "simulate")
    space = request_of(request).space
    answer: dict[str, Any] = {
        "savedObjectsCreated": {},
        "savedObjectsDeleted": {},
        "datafeedsAdded": {},
        "datafeedsRemoved": {},
    }
    with backend.lock:
        there = _there(backend)
        known = dict(backend.state.items(KIND))
        for kind, names in there.items():
            for name in names:
                if f"{kind}:{name}" not in known:
                    answer["savedObjectsCreated"].setdefault(kind, {})[name] = {"success": True}
                    if not simulate:
                        backend.state.put(KIND, f"{kind}:{name}", {"spaces": [space]})
        for key in known:
            kind, _, name = key.partition(":")
            if name not in there[kind]:
                answer["savedObjectsDeleted"].setdefault(kind, {})[name] = {"success": True}
                if not simulate:
                    backend.state.delete(KIND, key)
    return answer


def _there(backend: Backend) -> dict[str, list[str]]:
    state = backend.state
    return {_JOBS: state.names(JOB), _ANALYTICS: state.names(ANALYTICS), _MODELS: state.names(MODEL)}
