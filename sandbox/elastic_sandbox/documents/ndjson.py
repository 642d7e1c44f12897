"""Parsing of a bulk body: action lines and source lines."""

from __future__ import annotations

from typing import Any

import orjson

from elastic_sandbox.documents.operations import BulkOperation, Plain
from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse

Values = list[dict[str, Any]]
_ACTIONS = ("create", "delete", "index", "update")
_PLAIN = {"_index", "_id"}
_METADATA = {
    "_index",
    "_id",
    "routing",
    "op_type",
    "version",
    "version_type",
    "retry_on_conflict",
    "pipeline",
    "_source",
    "if_seq_no",
    "if_primary_term",
    "require_alias",
    "require_data_stream",
    "dynamic_templates",
    "list_executed_pipelines",
}


def parse_bulk(
    body: bytes,
    *,
    index: str | None = None,
    pipeline: str | None = None,
    routing: str | None = None,
    require_alias: bool = False,
    require_data_stream: bool = False,
    values: Values | None = None,
) -> list[BulkOperation]:
    """The operations of a bulk body; the keywords are the request's defaults.

    :param values: what :func:`values_of` made of the body's lines, when that is known already

    :raises ElasticError: 400 as the server words it for a malformed action line, a missing final newline or an
        empty body; nothing of the request is applied then.
    """
    lines = split_lines(body)
    if values is None:
        values = values_of(lines)
    operations = []
    at = 0
    while at < len(lines):
        line = lines[at].strip()
        at += 1
        if not line:
            continue
        action, metadata = _action_line(_loaded(line, at) if values is None else values[at - 1], at)
        operation = _operation(action, metadata, at, index, pipeline, routing, require_alias, require_data_stream)
        if action != "delete":
            if at >= len(lines):
                # As the server: an action whose source line is missing is silently not there, and if nothing is
                # left the request is empty.
                break
            operation.raw = bytes(lines[at].rstrip(b"\r"))
            if values is not None:
                operation.source = values[at]
            at += 1
            if action == "update":
                operation.source = _update_body(operation.raw)
        operations.append(operation)
    if not operations:
        raise ElasticError(400, "action_request_validation_exception", "Validation Failed: 1: no requests added;")
    missing = [number for number, operation in enumerate(operations, 1) if not operation.index]
    if missing:
        numbered = "".join(f"{number}: index is missing;" for number in range(1, len(missing) + 1))
        raise ElasticError(400, "action_request_validation_exception", f"Validation Failed: {numbered}")
    return operations


def split_lines(body: bytes) -> list[bytes]:
    """The lines of a bulk body.

    :raises ElasticError: 400 for an empty body and for one without its last newline
    """
    if not body.strip():
        raise ElasticError(400, "parse_exception", "request body is required")
    if not body.endswith(b"\n"):
        raise illegal_argument("The bulk request must be terminated by a newline [\\n]")
    lines = body.split(b"\n")
    lines.pop()
    return lines


def parse_plain(lines: list[bytes], index: str | None) -> Plain | None:
    """The request as :class:`Plain`, when its action lines differ in nothing but the id."""
    heads, raws = lines[::2], lines[1::2]
    values = values_of(heads[:1])
    action = next(iter(values[0]), "") if values else ""
    target = values[0][action] if values and len(values[0]) == 1 and action in {"create", "index"} else None
    if len(heads) != len(raws) or type(target) is not dict or not target.keys() <= _PLAIN:
        return None
    name, doc_id = target.get("_index") or index, target.get("_id")
    if not isinstance(name, str) or type(doc_id) is not str:
        return None
    before, quoted, after = heads[0].partition(b'"_id":"' + doc_id.encode() + b'"')
    if not quoted:
        return None
    before, after = before + b'"_id":"', b'"' + after
    joined = b"\n".join(heads)
    try:
        # Every newline is one of ours, so as many pieces as lines means that each line is this one with another id.
        ids = joined[len(before) : -len(after)].decode().split((after + b"\n" + before).decode())
    except UnicodeDecodeError:
        return None
    if len(ids) != len(heads) or not joined.startswith(before) or not joined.endswith(after):
        return None
    # 128 characters are at most 512 bytes; a carriage return before the newline is no part of the document.
    shortest, longest, text = min(map(len, ids)), max(map(len, ids)), "".join(ids)
    if not 0 < shortest <= longest <= 128 or '"' in text or "\\" in text or not text.isprintable():
        return None
    if raws[0][-1:] == b"\r":
        return None
    return Plain(action, name, ids, None, raws, [None] * len(ids))


def values_of(lines: list[bytes]) -> Values | None:
    """All lines parsed in one call, which is faster; None when not every line is a JSON object of its own."""
    if not all(line[:1] == b"{" and line[-1:] == b"}" for line in lines):
        return None
    try:
        values: list[Any] = orjson.loads(b"[" + b",".join(lines) + b"]")
    except orjson.JSONDecodeError:
        return None
    return values if len(values) == len(lines) and set(map(type, values)) == {dict} else None


def _loaded(line: bytes, number: int) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise x_content_parse(f"[{number}:{error.colno}] {error.msg}") from None


def _action_line(parsed: Any, number: int) -> tuple[str, dict[str, Any]]:
    if not isinstance(parsed, dict):
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], expected START_OBJECT but found [{_token(parsed)}]"
        )
    if not parsed:
        raise illegal_argument(f"Malformed action/metadata line [{number}], expected FIELD_NAME but found [END_OBJECT]")
    action, metadata = next(iter(parsed.items()))
    if action not in _ACTIONS:
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], expected field [create], [delete], [index] or [update] "
            f"but found [{action}]"
        )
    if not isinstance(metadata, dict):
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], expected START_OBJECT but found [{_token(metadata)}]"
        )
    if len(parsed) > 1:
        raise illegal_argument(f"Malformed action/metadata line [{number}], expected END_OBJECT but found [FIELD_NAME]")
    for key, value in metadata.items():
        if key not in _METADATA:
            raise illegal_argument(f"Action/metadata line [{number}] contains an unknown parameter [{key}]")
        if isinstance(value, list | dict) and key not in {"_source", "dynamic_templates"}:
            raise illegal_argument(
                f"Malformed action/metadata line [{number}], expected a simple value for field [{key}] but found "
                f"[{_token(value)}]"
            )
    for key in ("_source", "dynamic_templates", "list_executed_pipelines"):
        if metadata.get(key):
            raise unsupported(f"[{key}] in a bulk action line")
    return action, metadata


def _operation(
    action: Any,
    metadata: dict[str, Any],
    number: int,
    index: str | None,
    pipeline: str | None,
    routing: str | None,
    require_alias: bool,
    require_data_stream: bool,
) -> BulkOperation:
    op_type = metadata.get("op_type")
    if action == "index" and op_type is not None:
        if op_type not in {"index", "create"}:
            raise illegal_argument(f"opType must be 'create' or 'index', found: [{op_type}]")
        action = op_type
    doc_id = metadata.get("_id")
    if metadata.keys() <= _PLAIN:  # nearly every line there is
        return BulkOperation(
            action,
            metadata.get("_index") or index or "",
            None if doc_id is None else str(doc_id),
            routing=routing,
            pipeline=pipeline,
            require_alias=require_alias,
            require_data_stream=require_data_stream,
        )
    return BulkOperation(
        action=action,
        index=metadata.get("_index") or index or "",
        id=None if doc_id is None else str(doc_id),
        version=_whole(metadata, "version", number),
        version_type=metadata.get("version_type", "internal"),
        if_seq_no=_whole(metadata, "if_seq_no", number),
        if_primary_term=_whole(metadata, "if_primary_term", number),
        routing=metadata.get("routing", routing),
        pipeline=metadata.get("pipeline", pipeline),
        require_alias=_truth(metadata.get("require_alias", require_alias)),
        require_data_stream=_truth(metadata.get("require_data_stream", require_data_stream)),
        retry_on_conflict=_whole(metadata, "retry_on_conflict", number) or 0,
    )


def _whole(metadata: dict[str, Any], key: str, number: int) -> int | None:
    value = metadata.get(key)
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise illegal_argument(
            f"Malformed action/metadata line [{number}], [{key}] is not a whole number: [{value}]"
        ) from None


def _truth(value: Any) -> bool:
    return value in {True, "true", ""}


def _update_body(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise x_content_parse(f"[{error.lineno}:{error.colno}] {error.msg}") from None
    if not isinstance(body, dict):
        raise x_content_parse(f"[1:1] [UpdateRequest] Expected START_OBJECT but was: {_token(body)}")
    return body


def _token(value: Any) -> str:
    if isinstance(value, bool):
        return "VALUE_BOOLEAN"
    if value is None:
        return "VALUE_NULL"
    if isinstance(value, int | float):
        return "VALUE_NUMBER"
    if isinstance(value, str):
        return "VALUE_STRING"
    return "START_ARRAY" if isinstance(value, list) else "START_OBJECT"
