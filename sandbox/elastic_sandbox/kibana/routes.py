"""Kibana's HTTP API as far as it goes: the status page that says it is there."""

from __future__ import annotations

from elastic_sandbox.backend import Backend
from elastic_sandbox.http import Request, Response, Router

routes = Router()


@routes.route("GET", "/api/status")
def status(backend: Backend, request: Request) -> Response:
    """Name, version and overall level, always available."""
    level = {"level": "available", "summary": "All services and plugins are available"}
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
    }
