"""What makes an HTTP request one to Kibana: a space in its path, headers of its own, errors of its own form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Request
from elastic_sandbox.kibana.errors import KibanaError, as_kibana, bad_request, unsupported
from elastic_sandbox.media import unzipped
from elastic_sandbox.server import Application

if TYPE_CHECKING:
    from elastic_sandbox.http import Handler

DEFAULT_SPACE: Final = "default"
API_VERSION: Final = "2023-10-31"
_SPACE: Final = re.compile(r"^/s/([a-z0-9_-]+)(?=/|$)")
# Routes registered with router.versioned, which look at elastic-api-version; the others ignore it.
_VERSIONED: Final = ("/api/data_views", "/api/ml/", "/api/spaces/")
_NO_BODY: Final = ("GET", "HEAD", "OPTIONS")


@dataclass
class KibanaRequest(Request):
    """A request, its path without the space."""

    space: str = DEFAULT_SPACE


class KibanaApplication(Application):
    """The ASGI application of Kibana's port."""

    def _run(self, request: Request, raw_path: str) -> tuple[int, Any]:
        try:
            return self._answered(request, raw_path)
        except ElasticError as error:
            raise as_kibana(error) from None

    def _answered(self, request: Request, raw_path: str) -> tuple[int, Any]:
        backend = self._backend
        expired = backend.faults.api_key_expired(backend.clock.now_ms())
        try:
            self._credentials.check(request.headers.get("authorization"), request.path, key_expired=expired)
        except ElasticError:
            if request.path == "/api/status" and "authorization" not in request.headers:
                # Who is nobody sees how Kibana is, and not which one it is.
                return 200, {"status": {"overall": {"level": "available"}}}
            raise
        request.body = unzipped(request.body, request.headers)
        found = _SPACE.match(raw_path)
        space, raw_path = (found[1], raw_path[found.end() :]) if found else (DEFAULT_SPACE, raw_path)
        path = unquote(raw_path) or "/"
        _check_headers(request, path)
        backend.faults.before(request.method, request.path)
        handler, path_params = self._kibana_match(request.method, raw_path, path)
        asked = KibanaRequest(
            request.method,
            path,
            {name: unquote(value) for name, value in path_params.items()},
            request.params,
            request.headers,
            request.body,
            request.opaque_id,
            request.response_headers,
            space,
        )
        request.response_headers.setdefault("kbn-name", "sandbox")
        if path.startswith("/api/"):
            request.response_headers.setdefault("elastic-api-version", API_VERSION)
        result = handler(backend, asked)
        return result if isinstance(result, tuple) else (200, result)

    def _kibana_match(self, method: str, raw_path: str, path: str) -> tuple[Handler, dict[str, str]]:
        if method in _NO_BODY and (path == "/" or path.startswith(("/app", "/ui/"))):
            # Loaded with the first page: most sandboxes are never looked at.
            from elastic_sandbox.kibana.pages import routes as pages

            return pages.find(method, raw_path)
        found = self._router.match(method, raw_path)
        if found is None or isinstance(found, set):
            if path.startswith(("/api/", "/internal/")):
                raise unsupported(f"{method} {path}")
            raise KibanaError(404, "Not Found")
        return found


def _check_headers(request: Request, path: str) -> None:
    headers = request.headers
    if request.method not in _NO_BODY and "kbn-xsrf" not in headers and "kbn-version" not in headers:
        # createXsrfPostAuthHandler; safe methods are exempt.
        raise bad_request("Request must contain a kbn-xsrf header.")
    if path.startswith("/internal/") and "x-elastic-internal-origin" not in headers:
        # createRestrictInternalRoutesPostAuthHandler, on by default since 9.0.
        raise bad_request(
            f"uri [{path}] with method [{request.method.lower()}] exists but is not available with the current "
            "configuration"
        )
    version = headers.get("elastic-api-version")
    if version is not None and version != API_VERSION and path.startswith(_VERSIONED):
        raise bad_request(
            f'No version "{version}" available for [{request.method.lower()}] [{path}]. Available versions are: '
            f"{API_VERSION}"
        )
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.body and media not in {"application/json", "multipart/form-data"}:
        raise KibanaError(415, "Unsupported Media Type")


def request_of(request: Request) -> KibanaRequest:
    """The request as Kibana's handlers get it."""
    assert isinstance(request, KibanaRequest)
    return request
