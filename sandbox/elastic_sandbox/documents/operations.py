"""Write operations: what a bulk line, a single-document request or another room asks to be written."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from elastic_sandbox.errors import ElasticError, version_conflict

Action = Literal["index", "create", "update", "delete"]
AUTO_GENERATED = "auto-generated"
"""The ``_id`` of a dropped or failed item that never got one (IngestService's own constant)."""
NO_VERSION = -3
"""Versions.MATCH_ANY: the version of a document that was dropped before it had one."""
VERSION_TYPES = ("internal", "external", "external_gt", "external_gte")


@dataclass(slots=True)
class BulkOperation:
    """One write.

    :param action: ``create`` fails with 409 where ``index`` replaces
    :param index: name of an index, alias or data stream
    :param id: generated when None (``index`` and ``create`` only)
    :param source: the document; for ``update`` its body (``doc``, ``doc_as_upsert``, ``upsert``, ...)
    :param raw: the document as the client sent it, kept byte for byte unless a pipeline changes it
    :param version: with ``version_type`` external or external_gte
    :param pipeline: replaces the default pipeline; ``_none`` runs none
    :param error: why the line could not become an operation; answered as the item's error
    """

    action: Action
    index: str
    id: str | None = None
    source: dict[str, Any] | None = None
    raw: bytes | None = None
    version: int | None = None
    version_type: str = "internal"
    if_seq_no: int | None = None
    if_primary_term: int | None = None
    routing: str | None = None
    pipeline: str | None = None
    require_alias: bool = False
    require_data_stream: bool = False
    retry_on_conflict: int = 0
    error: ElasticError | None = None

    def document(self) -> dict[str, Any]:
        """The parsed document.

        :raises ElasticError: 400 document_parsing_exception when it is no JSON object.
        """
        if self.source is None:
            try:
                parsed = orjson.loads(self.raw or b"")
            except orjson.JSONDecodeError as error:
                raise ElasticError(
                    400,
                    "document_parsing_exception",
                    f"[{error.lineno}:{error.colno}] failed to parse",
                    caused_by={
                        "type": "x_content_parse_exception",
                        "reason": f"[{error.lineno}:{error.colno}] {error.msg}",
                    },
                ) from None
            if not isinstance(parsed, dict):
                raise ElasticError(
                    400,
                    "document_parsing_exception",
                    "[1:1] failed to parse",
                    caused_by={
                        "type": "not_x_content_exception",
                        "reason": "Compressor detection can only be called on some xcontent bytes or compressed "
                        "xcontent bytes",
                    },
                )
            self.source = parsed
        return self.source

    def encoded(self) -> bytes:
        """The document as bytes to store, copied out of any larger buffer."""
        if self.raw is None:
            # bytes(bytearray()) gives back what orjson over-allocated: 4 KiB for a 250 B document otherwise.
            self.raw = bytes(bytearray(orjson.dumps(self.source)))
        return self.raw


@dataclass(slots=True)
class Plain:
    """A request of nothing but creations with ids in one index, and nothing else said about them.

    :param sources: the parsed documents; None when nobody has parsed them yet
    """

    action: str
    index: str
    ids: list[str]
    sources: list[dict[str, Any]] | None
    raws: list[bytes]
    routings: list[str | None]


def generated_id() -> str:
    """20 URL-safe characters, as Elasticsearch makes them."""
    return base64.urlsafe_b64encode(os.urandom(15)).decode()


def validate(operation: BulkOperation) -> None:
    """Refuse what no index could accept: empty ids, impossible mixes of versions and actions."""
    problems = []
    if operation.id == "":
        raise ElasticError(400, "illegal_argument_exception", "if _id is specified it must not be empty")
    if operation.id is not None and len(operation.id.encode()) > 512:
        problems.append("id is too long, must be no longer than 512 bytes but was: " + str(len(operation.id.encode())))
    if operation.id is None and operation.action in {"update", "delete"}:
        problems.append("id is missing")
    if operation.version_type not in VERSION_TYPES:
        raise ElasticError(400, "illegal_argument_exception", f"No version type match [{operation.version_type}]")
    external = operation.version_type != "internal"
    if operation.action == "create":
        if external or operation.version is not None:
            problems.append(
                "create operations only support internal versioning. use index instead"
                if external
                else "create operations do not support explicit versions. use index instead"
            )
        if operation.if_seq_no is not None:
            problems.append("create operations do not support compare and set. use index instead")
    elif (operation.action == "update" and (external or operation.version is not None)) or (
        not external and operation.version is not None
    ):
        problems.append(
            "internal versioning can not be used for optimistic concurrency control. Please use `if_seq_no` and "
            "`if_primary_term` instead"
        )
    elif external and operation.version is None:
        problems.append(f"illegal version value [-3] for version type [{operation.version_type.upper()}]")
    elif external and operation.if_seq_no is not None:
        problems.append("compare and write operations can not use versioning")
    if (operation.if_seq_no is None) != (operation.if_primary_term is None):
        problems.append(
            "ifSeqNo is set, but primary term is [0]"
            if operation.if_primary_term is None
            else f"ifSeqNo is unassigned, but primary term is [{operation.if_primary_term}]"
        )
    if problems:
        numbered = "".join(f"{number}: {problem};" for number, problem in enumerate(problems, 1))
        raise ElasticError(400, "action_request_validation_exception", f"Validation Failed: {numbered}")


def next_version(
    operation: BulkOperation,
    index: str,
    uuid: str,
    current: tuple[int, int] | None,
    tombstone: tuple[int, int] | None,
) -> int:
    """The version this write makes.

    :param current: (_seq_no, _version) of the live document
    :param tombstone: the same of a deleted one
    :raises ElasticError: 409 version_conflict_engine_exception
    """
    doc_id = operation.id or ""
    if operation.action == "create" and current is not None:
        raise version_conflict(index, uuid, doc_id, f"document already exists (current version [{current[1]}])")
    if operation.if_seq_no is not None:
        wanted = f"required seqNo [{operation.if_seq_no}], primary term [{operation.if_primary_term}]"
        if current is None:
            raise version_conflict(index, uuid, doc_id, f"{wanted}. but no document was found")
        if (operation.if_seq_no, operation.if_primary_term) != (current[0], 1):
            raise version_conflict(
                index, uuid, doc_id, f"{wanted}. current document has seqNo [{current[0]}] and primary term [1]"
            )
    known = current or tombstone
    if operation.version_type == "internal" or operation.version is None:
        return 1 if known is None else known[1] + 1
    if known is not None:
        if operation.version_type == "external_gte":
            if operation.version < known[1]:
                raise version_conflict(
                    index,
                    uuid,
                    doc_id,
                    f"current version [{known[1]}] is higher than the one provided [{operation.version}]",
                )
        elif operation.version <= known[1]:
            raise version_conflict(
                index,
                uuid,
                doc_id,
                f"current version [{known[1]}] is higher or equal to the one provided [{operation.version}]",
            )
    return operation.version
