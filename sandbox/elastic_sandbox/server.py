"""The HTTP side: one ASGI application for Elasticsearch's port, one for Kibana's.

A request is authenticated, matched, run in a worker thread and answered in the media type it asked for. Every
answer carries ``X-Elastic-Product``, without which the official client refuses to talk.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import gzip
import hmac
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import anyio.to_thread
import orjson
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse

from elastic_sandbox import filter_path
from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError, cluster_block, security, unsupported
from elastic_sandbox.http import Handler, Request, Router
from elastic_sandbox.media import MAX_BODY_BYTES, BareError, answer_type, check, unzipped
from elastic_sandbox.request_log import RequestLog

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger(__name__)

FAMILIES = ("cluster", "monitoring", "privileges", "indices.routes", "documents.routes", "search.routes",
            "reindex.routes", "ingest.routes", "enrich.routes", "ml.routes", "transform.routes",
            "esql.routes")  # fmt: skip
# Long polls (_tasks?wait_for_completion) hold a thread each, so there must be more than the usual 40.
WORKER_THREADS = 96
GZIP_FROM_BYTES = 1024


class Credentials:
    """What a caller has to present; nothing configured means everyone may.

    :param api_key: the encoded key, ``base64(id:key)``, as it stands in ``Authorization: ApiKey ...``
    :param user: ``name:password`` for basic authentication
    """

    def __init__(self, api_key: str | None = None, user: str | None = None) -> None:
        self._api_key = api_key
        self._user = user

    @property
    def api_key_id(self) -> str | None:
        """The public half of the key."""
        if self._api_key is None:
            return None
        return base64.b64decode(self._api_key + "==").decode(errors="replace").partition(":")[0]

    def check(self, header: str | None, path: str, *, key_expired: bool) -> None:
        """Raise 401 security_exception unless ``header`` presents a configured credential."""
        if self._api_key is None and self._user is None:
            return
        if not header:
            raise security(401, f"missing authentication credentials for REST request [{path}]")
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "apikey":
            if self._api_key is None or not hmac.compare_digest(value.strip().encode(), self._api_key.encode()):
                raise _unable("API key: unable to find apikey")
            if key_expired:
                raise _unable("API key: api key is expired")
            return
        if scheme.lower() == "basic" and self._user is not None:
            try:
                given = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                given = b""
            if hmac.compare_digest(given, self._user.encode()):
                return
            name = given.split(b":", maxsplit=1)[0].decode(errors="replace")
            raise security(401, f"unable to authenticate user [{name}] for REST request [{path}]")
        raise security(401, f"unable to authenticate with provided credentials for REST request [{path}]")


def _unable(why: str) -> ElasticError:
    # As a 9.x cluster answered a wrong key; the id is not repeated.
    return security(
        401,
        "unable to authenticate with provided credentials and anonymous access is not allowed for this request",
        additional_unsuccessful_credentials=why,
    )


class Application:
    """An ASGI application over a backend.

    :param router: the routes of this port
    :param requests: where requests are noted for tests; None in a long-running server
    """

    def __init__(
        self,
        backend: Backend,
        router: Router,
        credentials: Credentials,
        requests: RequestLog | None = None,
        *,
        product_header: bool = True,
    ) -> None:
        self._backend = backend
        self._router = router
        self._credentials = credentials
        backend.api_key_id = credentials.api_key_id
        self._requests = requests
        self._headers = {"x-elastic-product": "Elasticsearch"} if product_header else {}
        self._threads: anyio.CapacityLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and stop."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        http = HttpRequest(scope, receive)
        try:
            raw = await _body(http)
        except ClientDisconnect:
            return
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(WORKER_THREADS)
        with self._backend.turns.request():
            answer = await anyio.to_thread.run_sync(self._answer, http, raw, limiter=self._threads)
            if answer is None:
                await _cut(scope)
                return
            await answer(scope, receive, send)

    def _answer(self, http: HttpRequest, raw: bytes) -> HttpResponse | None:
        """Do the work in a worker thread; None means the connection is to be cut."""
        raw_path = http.scope["raw_path"].decode("latin-1").split("?")[0]
        params = dict(http.query_params)
        method, path = http.method, http.url.path
        entry = None if self._requests is None else self._requests.open(method, path, params, raw, http.headers)
        request = Request(method, path, {}, params, http.headers, raw, http.headers.get("x-opaque-id"))
        faults = self._backend.faults
        try:
            if faults.take(method, path, {"cut_before"}) is not None:
                return None
            status, body = self._run(request, raw_path)
            headers = request.response_headers
        except ElasticError as error:
            status, body, headers = error.status, error.body(), error.headers
        except Exception as error:
            log.exception("%s %s failed", method, path)
            failure = _unexpected(error)
            status, body, headers = failure.status, failure.body(), {}
        if faults.take(method, path, {"cut_after"}) is not None:
            if entry is not None:
                entry.close(status, b"")
            return None
        content = b"" if body is None or method == "HEAD" else self._json(body, pretty=_pretty(request))
        if entry is not None:
            entry.close(status, content)
        return self._response(http, status, content, answer_type(http.headers, text=isinstance(body, str)), headers)

    def _run(self, request: Request, raw_path: str) -> tuple[int, Any]:
        expired = self._backend.faults.api_key_expired(self._backend.clock.now_ms())
        self._credentials.check(request.headers.get("authorization"), request.path, key_expired=expired)
        request.body = unzipped(request.body, request.headers)
        check(request.headers, has_body=bool(request.body))
        handler, path_params = self._match(request, raw_path)
        request.path_params = {name: unquote(value) for name, value in path_params.items()}
        self._backend.faults.before(request.method, request.path)
        self._backend.indices.tick()
        result = handler(self._backend, request)
        status, body = result if isinstance(result, tuple) else (200, result)
        expression = request.params.get("filter_path")
        if expression and status < 300:
            body = filter_path.apply(body, expression)
        return status, body

    def _match(self, request: Request, raw_path: str) -> tuple[Handler, dict[str, str]]:
        found = self._router.match(request.method, raw_path)
        if found is None:
            raise unsupported(f"{request.method} {request.path}")
        if isinstance(found, set):
            allowed = ", ".join(sorted(found))
            raise _not_allowed(request, allowed)
        return found

    @staticmethod
    def _json(body: Any, *, pretty: bool = False) -> bytes:
        if isinstance(body, bytes):
            return body
        if isinstance(body, str):
            return body.encode()
        options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if pretty else 0)
        return orjson.dumps(body, option=options)

    def _response(
        self, http: HttpRequest, status: int, content: bytes, media_type: str, extra: dict[str, str]
    ) -> HttpResponse:
        headers = {**self._headers, **extra}
        if len(content) >= GZIP_FROM_BYTES and "gzip" in http.headers.get("accept-encoding", ""):
            content = gzip.compress(content, 3)
            headers["content-encoding"] = "gzip"
        return HttpResponse(content, status, headers, media_type=media_type)


def _unexpected(error: Exception) -> ElasticError:
    """A full disk is answered as a cluster's flood stage; anything else is a fault of the sandbox itself: 500."""
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or "No space left on device" in str(error):
        return cluster_block("_all")
    return ElasticError(500, "sandbox_failure", f"{type(error).__name__}: {error}")


def _pretty(request: Request) -> bool:
    return request.params.get("pretty", "false") != "false"


def _not_allowed(request: Request, allowed: str) -> ElasticError:
    return BareError(
        405,
        "method_not_allowed",
        f"Incorrect HTTP method for uri [{request.path}] and method [{request.method}], allowed: [{allowed}]",
        headers={"allow": allowed.replace(" ", "")},
    )


async def _body(http: HttpRequest) -> bytes:
    """The body as sent; of one that is too long only what shows it."""
    chunks, size = [], 0
    async for chunk in http.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES + len(chunk):
            chunks.append(chunk)
    return b"".join(chunks)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _cut(scope: Scope) -> None:
    """Close the connection without a byte of answer, as a proxy or a dying node does."""
    scope["elastic_sandbox.transport"].abort()
    await asyncio.sleep(0.01)


def elasticsearch_router() -> Router:
    """All routes of the Elasticsearch port."""
    router = Router()
    for family in FAMILIES:
        router.include(import_module(f"elastic_sandbox.{family}").routes)
    return router
