"""Partial updates: merging ``doc`` into a stored document."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import orjson

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.errors import ElasticError, unsupported, version_conflict, x_content_parse

if TYPE_CHECKING:
    from elastic_sandbox.indices import Index

_KNOWN = {"doc", "doc_as_upsert", "upsert", "detect_noop"}


def updated_document(operation: BulkOperation, index: Index, stored: bytes | None) -> dict[str, Any] | None:
    """The document after the update; None when the update changes nothing (``detect_noop``).

    :param stored: the source as it is, None when the document is not there
    :raises ElasticError: 404 document_missing_exception, 400 for a body with neither script nor doc,
        501 for scripts
    """
    body = operation.source or {}
    for key in body:
        if key in {"script", "scripted_upsert"}:
            raise unsupported(f"[{key}] in an update")
        if key in {"if_seq_no", "if_primary_term", "_source"}:
            raise unsupported(f"[{key}] in the body of an update")
        if key not in _KNOWN:
            raise x_content_parse(f"[1:1] [UpdateRequest] unknown field [{key}]")
    doc = body.get("doc")
    if doc is None:
        raise ElasticError(
            400, "action_request_validation_exception", "Validation Failed: 1: script or doc is missing;"
        )
    if not isinstance(doc, dict):
        raise x_content_parse("[1:1] [UpdateRequest] doc doesn't support values of type: VALUE_STRING")
    if stored is None:
        if operation.if_seq_no is not None and not (body.get("doc_as_upsert") or "upsert" in body):
            raise version_conflict(
                index.name,
                index.uuid,
                operation.id or "",
                f"required seqNo [{operation.if_seq_no}], primary term [{operation.if_primary_term}]. "
                "but no document was found",
            )
        if body.get("doc_as_upsert"):
            return doc
        if "upsert" in body:
            return dict(body["upsert"])
        raise ElasticError(
            404,
            "document_missing_exception",
            f"[{operation.id}]: document missing",
            index_uuid=index.uuid,
            shard="0",
            index=index.name,
        )
    before: dict[str, Any] = orjson.loads(stored)
    after = merge(before, doc)
    if body.get("detect_noop", True) and after == before:
        return None
    return after


def merge(into: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A new document: objects merged key by key, everything else replaced."""
    merged = dict(into)
    for key, value in changes.items():
        present = merged.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            merged[key] = merge(present, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
