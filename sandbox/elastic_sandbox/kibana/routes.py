"""All routes of Kibana's port, and the status page that says it is there."""

from __future__ import annotations

from elastic_sandbox.backend import Backend
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.kibana import (
    connectors,
    data_views,
    ml_sync,
    rule_routes,
    saved_object_deletion,
    saved_object_routes,
    spaces,
)

routes = Router()
for family in (spaces, saved_object_routes, saved_object_deletion, data_views, connectors, rule_routes, ml_sync):
    routes.include(family.routes)


@routes.route("GET", "/api/status")
def status(backend: Backend, request: Request) -> Response:
    """Name, version and overall level, always available."""
    level = {"level": "available", "summary": "All services and plugins are available", "meta": {}}
    return {
        "name": "sandbox",
        "uuid": "5b2de169-2785-441b-ae8c-186a1936b17d",
        "version": {
            "number": backend.version,
            "build_hash": "0" * 40,
            "build_number": 1,
            "build_snapshot": False,
            "build_flavor": "serverless" if backend.flavor == "serverless" else "traditional",
            "build_date": "2026-01-01T00:00:00.000Z",
        },
        "status": {
            "overall": level,
            "core": {"elasticsearch": level, "savedObjects": level},
            "plugins": {},
        },
        "metrics": {
            "last_updated": backend.clock.now_iso(),
            "collection_interval_in_millis": 5000,
            "elasticsearch_client": {"totalActiveSockets": 0, "totalIdleSockets": 0, "totalQueuedRequests": 0},
        },
    }
