"""The errors the sandbox answers: types, words and statuses of Elasticsearch.

One exception class carries everything a body needs; named constructors spell the reasons that several
rooms share, so that no two of them word the same failure differently.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class ElasticError(Exception):
    """A failure as Elasticsearch reports it.

    :param status: HTTP status of the answer
    :param type: Elasticsearch's error type, for example ``illegal_argument_exception``
    :param reason: the sentence of the answer
    :param caused_by: the inner cause, as ``{"type": ..., "reason": ...}``
    :param root_cause: causes to list first; the error itself when not given
    :param metadata: further members of the error object, for example ``index="logs-x"``; see
        :meth:`with_resource` for those whose name holds a dot
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 (the API's own word)
        reason: str,
        *,
        caused_by: dict[str, Any] | None = None,
        root_cause: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
        **metadata: Any,
    ) -> None:
        super().__init__(type, reason)
        self.status = status
        self.type = type
        self.reason = reason
        self.caused_by = caused_by
        self.root_cause = root_cause
        self.headers = headers or {}
        self.metadata = metadata

    def __str__(self) -> str:
        return f"{self.type}: {self.reason}"

    def with_resource(self, kind: str, name: str) -> ElasticError:
        """Name the resource concerned, as ``resource.type`` and ``resource.id``; returns the error itself."""
        self.metadata = {"resource.type": kind, "resource.id": name, **self.metadata}
        return self

    def cause(self) -> dict[str, Any]:
        """The error object as bulk items and ingest failures carry it."""
        cause: dict[str, Any] = {"type": self.type, "reason": self.reason, **self.metadata}
        if self.caused_by is not None:
            cause["caused_by"] = self.caused_by
        return cause

    def body(self) -> dict[str, Any]:
        """The whole answer: ``{"error": {"root_cause": [...], ...}, "status": n}``."""
        own = {"type": self.type, "reason": self.reason, **self.metadata}
        return {
            "error": {"root_cause": self.root_cause or [own], **self.cause()},
            "status": self.status,
        }


def unsupported(what: str) -> ElasticError:
    """What Elasticsearch has and the sandbox has not: 501, naming the thing."""
    return ElasticError(
        501,
        "sandbox_unsupported",
        f"{what} is not supported by the sandbox; run this against a real Elasticsearch, or open an issue naming it",
    )


def illegal_argument(reason: str, **metadata: Any) -> ElasticError:
    """400: the request asks for something that cannot be."""
    return ElasticError(400, "illegal_argument_exception", reason, **metadata)


def parsing(reason: str, **metadata: Any) -> ElasticError:
    """400: the body is JSON, but not the JSON this API reads."""
    return ElasticError(400, "parsing_exception", reason, **metadata)


def x_content_parse(reason: str, **metadata: Any) -> ElasticError:
    """400: a strict object parser met a key or a type it does not know."""
    return ElasticError(400, "x_content_parse_exception", reason, **metadata)


def action_request_validation(problems: Iterable[str]) -> ElasticError:
    """400: a request that failed validation before it ran, all problems numbered in one sentence."""
    numbered = "".join(f"{number}: {problem};" for number, problem in enumerate(problems, 1))
    return ElasticError(400, "action_request_validation_exception", f"Validation Failed: {numbered}")


def index_not_found(name: str, reason: str | None = None) -> ElasticError:
    """404 for an index, alias or data stream that is not there; ``reason`` where the server says more."""
    return ElasticError(
        404,
        "index_not_found_exception",
        reason or f"no such index [{name}]",
        index_uuid="_na_",
        index=name,
    ).with_resource("index_or_alias", name)


def resource_not_found(reason: str, **metadata: Any) -> ElasticError:
    """404 for anything that is not an index: policies, jobs, models, templates."""
    return ElasticError(404, "resource_not_found_exception", reason, **metadata)


def resource_already_exists(reason: str, **metadata: Any) -> ElasticError:
    """400 (not 409: ResourceAlreadyExistsException.status() is BAD_REQUEST)."""
    return ElasticError(400, "resource_already_exists_exception", reason, **metadata)


def version_conflict(index: str, uuid: str, doc_id: str, detail: str) -> ElasticError:
    """409 for a write that lost: ``[id]: version conflict, <detail>``."""
    return ElasticError(
        409,
        "version_conflict_engine_exception",
        f"[{doc_id}]: version conflict, {detail}",
        index_uuid=uuid,
        shard="0",
        index=index,
    )


def status_exception(status: int, reason: str) -> ElasticError:
    """ElasticsearchStatusException: ML's conflicts and bad requests."""
    return ElasticError(status, "status_exception", reason)


def security(status: int, reason: str, **metadata: Any) -> ElasticError:
    """401 for a missing or wrong key, 403 for a right or licence that is missing."""
    headers = {}
    if status == 401:
        challenges = ['Basic realm="security", charset="UTF-8"', 'Bearer realm="security"', "ApiKey"]
        headers = {"www-authenticate": ", ".join(challenges)}
        metadata = {**metadata, "header": {"WWW-Authenticate": challenges}}
    return ElasticError(status, "security_exception", reason, headers=headers, **metadata)


def cluster_block(index: str) -> ElasticError:
    """429 of the flood stage: the disk is full, and retrying does not help."""
    return ElasticError(
        429,
        "cluster_block_exception",
        f"index [{index}] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, "
        "index has read-only-allow-delete block; for more information, see "
        "https://www.elastic.co/docs/troubleshoot/elasticsearch/fix-watermark-errors];",
    )


def not_available_on_serverless(method: str, path: str) -> ElasticError:
    """410: an API that Serverless does not offer.

    Words and type: elasticsearch-differences page of the Serverless documentation, "APIs availability". Which: those
    whose availability in the API specification is ``serverless: private`` or absent.
    """
    return ElasticError(
        410,
        "api_not_available_exception",
        f"Request for uri [{path}] with method [{method}] exists but is not available when running in serverless mode",
    )
