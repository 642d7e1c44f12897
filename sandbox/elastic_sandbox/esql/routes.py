"""Routes: _query."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import action_request_validation, illegal_argument, unsupported, x_content_parse
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.versions import knows

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

routes = Router()

_KNOWN = {
    "query", "columnar", "params", "filter", "locale", "profile", "tables", "include_ccs_metadata",
    "include_execution_metadata", "pragma", "accept_pragma_risks", "time_zone", "approximation",
}  # fmt: skip


@routes.route("POST", "/_query")
def query(backend: Backend, request: Request) -> Response:
    """Rows as JSON, by rows or by columns."""
    request.allow("allow_partial_results", "delimiter", "drop_null_columns")
    if request.params.get("format", "json") != "json":
        raise unsupported(f"format [{request.params['format']}] of POST /_query")
    request.flag("allow_partial_results", True)
    request.unsupported_parameters("delimiter")
    if request.flag("drop_null_columns"):
        raise unsupported("[drop_null_columns] of POST /_query")
    body = request.object()
    _check(backend, body)
    started = time.monotonic()
    result = backend.esql.query(body["query"], params=body.get("params"), filter=body.get("filter"))
    if result.warnings:
        # One header holds them all, as HTTP allows: `Warning: 299 agent "text", 299 agent "text"`.
        agent = f"299 Elasticsearch-{backend.version}-{'0' * 40}"
        request.response_headers["warning"] = ", ".join(f'{agent} "{_escaped(text)}"' for text in result.warnings)
    return {
        "took": int((time.monotonic() - started) * 1000),
        "is_partial": False,
        "columns": result.columns,
        "values": result.columnar() if body.get("columnar") else result.values,
    }


@routes.route("POST", "/_query/async")
def async_query(backend: Backend, request: Request) -> Response:
    """Not supported."""
    raise unsupported("POST /_query/async")


def _check(backend: Backend, body: dict[str, Any]) -> None:
    for key in body:
        if key not in _KNOWN or (key == "time_zone" and not knows(backend.version, "esql.time_zone")):
            raise x_content_parse(f"[1:{2}] [esql/query] unknown field [{key}]")
    for key in ("tables", "pragma", "accept_pragma_risks", "approximation"):
        if key in body:
            raise unsupported(f"[{key}] of POST /_query")
    for key in ("profile", "include_ccs_metadata", "include_execution_metadata"):
        if body.get(key):
            raise unsupported(f"[{key}] of POST /_query")
    if str(body.get("locale", "en")).lower().replace("_", "-") not in {"en", "en-us", "en-gb", "root"}:
        raise unsupported(f"locale [{body['locale']}] of POST /_query")
    if body.get("time_zone", "UTC") not in {"UTC", "Z"}:
        raise unsupported(f"time_zone [{body['time_zone']}] of POST /_query")
    text = body.get("query")
    if not text:
        raise action_request_validation(["[query] is required"])
    if not isinstance(text, str):
        raise x_content_parse("[1:2] [esql/query] query doesn't support values of type: VALUE_NUMBER")
    if not isinstance(body.get("params", []), list):
        raise x_content_parse("[1:2] [esql/query] failed to parse field [params]")
    if "columnar" in body and not isinstance(body["columnar"], bool):
        raise illegal_argument("Failed to parse value [columnar] as only [true] or [false] are allowed.")


def _escaped(text: str) -> str:
    """As HeaderWarning writes it: quotes and backslashes escaped, ``%`` and what is not ASCII percent-encoded."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(
        letter if " " <= letter <= "~" and letter != "%" else "".join(f"%{byte:02X}" for byte in letter.encode())
        for letter in quoted
    )
