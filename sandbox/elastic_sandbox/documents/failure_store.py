"""The document that a data stream's failure store keeps of a document that failed."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.documents.operations import BulkOperation
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.indices.dates import format_date


def failure_document(
    operation: BulkOperation, source: dict[str, Any], error: ElasticError, now_ms: int, origin: dict[str, Any]
) -> dict[str, Any]:
    """What FailureStoreDocumentConverter of Elasticsearch writes.

    :param source: the document as it was when it failed
    :param origin: ``pipeline``, ``pipeline_trace``, ``processor_tag``, ``processor_type`` when a pipeline failed it
    """
    document: dict[str, Any] = {}
    if operation.id is not None:
        document["id"] = operation.id
    if operation.routing is not None:
        document["routing"] = operation.routing
    document["index"] = operation.index
    document["source"] = source
    java_name = "".join(part.capitalize() for part in error.type.split("_"))
    return {
        "@timestamp": format_date(now_ms),
        "document": document,
        "error": {
            "type": error.type,
            "message": error.reason,
            "stack_trace": f"o.e.sandbox.{java_name}: {error.reason}",
            **origin,
        },
    }
