"""Content negotiation: what a request says its body is, what it accepts, and compression."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported

MAX_BODY_BYTES = 100 * 1024 * 1024  # http.max_content_length
JSON = "application/json"
_VENDOR = "application/vnd.elasticsearch+"
_BODIES = {JSON, "application/x-ndjson", f"{_VENDOR}json", f"{_VENDOR}x-ndjson"}
# Binary formats and CSV, which Elasticsearch speaks and the sandbox does not.
_OTHERS = {"application/yaml", "application/smile", "application/cbor", "text/csv", "text/tab-separated-values",
           "application/vnd.apache.arrow.stream", f"{_VENDOR}cbor", f"{_VENDOR}smile", f"{_VENDOR}yaml"}  # fmt: skip
_MAJOR = 9


class BareError(ElasticError):
    """An error whose ``error`` is a bare sentence rather than an object (RestResponse.createSimpleErrorResponse)."""

    def body(self) -> dict[str, Any]:
        """``{"error": "...", "status": n}``."""
        return {"error": self.reason, "status": self.status}


def check(headers: Mapping[str, str], *, has_body: bool) -> None:
    """Refuse media types and versions that a server would not negotiate.

    :raises ElasticError: 406 for a body of an unknown type or without one, 400 media_type_header_exception for
        versions of the REST API that are too old, or that differ between the two headers
    """
    accept, content = headers.get("accept", ""), headers.get("content-type", "")
    versions = {"Accept": _version(accept)}
    if has_body:
        kind = _kind(content)
        if not content:
            raise BareError(406, "media_type", "Content-Type header is missing")
        if kind not in _BODIES:
            raise BareError(406, "media_type", f"Content-Type header [{content}] is not supported")
        versions["Content-Type"] = _version(content)
    for name, version in versions.items():
        if version is not None and version not in {_MAJOR, _MAJOR - 1}:
            value = headers.get(name.lower(), "")
            words = (
                f"{name} version must be either version {_MAJOR} or {_MAJOR - 1}, but found {version}. {name}={value}"
            )
            raise _media_type(words)
    # RestCompatibleVersionHelper: a versioned header on one side only counts as a mismatch.
    if has_body and accept and versions["Accept"] != versions["Content-Type"]:
        raise _media_type(
            "A compatible version is required on both Content-Type and Accept headers if either one has requested a "
            f"compatible version and the compatible versions must match. Accept={accept}, Content-Type={content}"
        )
    first = _kind(accept.partition(",")[0])
    if first in _OTHERS:
        raise unsupported(f"an answer as [{first}]")


def answer_type(headers: Mapping[str, str], *, text: bool) -> str:
    """The media type of an answer: in kind when the vendor type was asked for, plain JSON otherwise."""
    if text:
        return "text/plain; charset=UTF-8"
    accept = headers.get("accept", "").partition(",")[0]
    if _kind(accept).startswith(_VENDOR):
        return f"{_VENDOR}json;compatible-with={_version(accept) or _MAJOR}"
    return JSON


def unzipped(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The body without its compression; never more than :data:`MAX_BODY_BYTES`.

    :raises ElasticError: 400 for what is not gzip, 413 for what is too long
    """
    if headers.get("content-encoding", "").strip().lower() == "gzip" and body:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            body = unpacker.decompress(body, MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise illegal_argument(f"request body is not valid gzip: {error}") from None
        if len(body) <= MAX_BODY_BYTES and not unpacker.eof:
            raise illegal_argument("request body is not valid gzip: it ends before its end-of-stream marker")
    if len(body) > MAX_BODY_BYTES:
        raise too_large(len(body))
    return body


def too_large(size: int) -> ElasticError:
    """413 for a body over the limit."""
    return ElasticError(413, "content_too_large_exception", f"entity content is too large [{size}]")


def _kind(header: str) -> str:
    return header.partition(";")[0].strip().lower()


def _version(header: str) -> int | None:
    match = re.search(r";\s*compatible-with\s*=\s*(\d{1,3})\s*(?:;|,|$)", header)
    return int(match[1]) if match is not None and _kind(header).startswith(_VENDOR) else None


def _media_type(why: str) -> ElasticError:
    return ElasticError(
        400,
        "media_type_header_exception",
        "Invalid media-type value on headers [Accept, Content-Type]",
        caused_by={"type": "status_exception", "reason": why},
    )
