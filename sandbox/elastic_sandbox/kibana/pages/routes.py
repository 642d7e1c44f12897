"""Which page is at which path. They are Kibana's own paths, so that a link which works here works there.

A fragment (``/app/dashboards#/view/<id>``) never reaches a server: a few lines of script ask for it as a path.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.http import Handler, Request, Response, Router
from elastic_sandbox.kibana.application import DEFAULT_SPACE, KibanaRequest, request_of
from elastic_sandbox.kibana.errors import KibanaError
from elastic_sandbox.kibana.pages import html
from elastic_sandbox.kibana.spaces import KIND as SPACE

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

Maker = Callable[["Backend", KibanaRequest], html.Page]
_FAMILIES: Final = ("home", "dashboards", "alerting", "ml", "anomalies", "data")
_FILES: Final = {"sandbox.css": "text/css", "fragment.js": "text/javascript"}
_POLICY: Final = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing of another host is loaded and no script of the data runs, even where something was not escaped."""


def find(method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """The handler of a page's path; one that says so where there is no such page."""
    found = _router().match("GET" if method == "HEAD" else method, path)
    if found is None or isinstance(found, set):
        return _handler(_absent), {}
    return found


@cache
def _router() -> Router:
    router = Router()
    for family in _FAMILIES:
        for path, make in import_module(f"elastic_sandbox.kibana.pages.{family}").PAGES.items():
            router.route("GET", path)(_handler(make))
    router.route("GET", "/ui/{file}")(_file)
    return router


def _handler(make: Maker) -> Handler:
    def answer(backend: Backend, request: Request) -> Response:
        asked = request_of(request)
        base = "" if asked.space == DEFAULT_SPACE else f"/s/{asked.space}"
        now = backend.clock.now().strftime("%Y-%m-%d %H:%M UTC")
        try:
            try:
                if asked.space != DEFAULT_SPACE and backend.state.get(SPACE, asked.space) is None:
                    raise KibanaError(404, f"There is no space [{asked.space}].")
                page = make(backend, asked)
            except ElasticError as error:
                page = _problem(error)
            content = html.rendered(page, base=base, path=base + asked.path, version=backend.version, now=now)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("elastic_sandbox"):
                raise
            return 501, f"{html.NEEDED} ({error})"
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": _POLICY,
                   "cache-control": "no-store", "referrer-policy": "no-referrer"}  # fmt: skip
        if page.headers.get("location", "").startswith("/"):
            headers["location"] = base + page.headers["location"]
        request.response_headers.update(headers)
        return page.status, content

    return answer


def _problem(error: ElasticError) -> html.Page:
    words = html.Text(error.reason, tone="bad")
    return html.Page(f"{error.status} {error.type}", [words], [("Home", "/app/home")], status=error.status)


def _absent(_backend: Backend, request: KibanaRequest) -> html.Page:
    raise KibanaError(404, f"The sandbox's Kibana has no page {request.path}; a real Kibana may have it.")


def _file(_backend: Backend, request: Request) -> Response:
    name = request.path_params["file"]
    if name not in _FILES:
        raise KibanaError(404, "Not Found")
    request.response_headers["content-type"] = f"{_FILES[name]}; charset=utf-8"
    return _content(name)


@cache
def _content(name: str) -> Any:
    return (html.FOLDER / name).read_bytes()
