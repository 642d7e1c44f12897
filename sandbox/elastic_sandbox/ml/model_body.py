"""The body of `PUT _ml/trained_models/{model_id}`: strict reading, and the definition in it."""

from __future__ import annotations

import base64
import binascii
import gzip
from typing import Any, Final

import orjson

from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.ml.strict import bad_request, byte_size, check_consistent_id, check_id, parse_strict

GENERATED: Final = (
    "created_by", "version", "create_time", "estimated_operations", "license_level", "estimated_heap_memory_usage_bytes"
)  # fmt: skip
_BODY = {
    "model_id": str,
    "model_type": str,
    "definition": dict,
    "compressed_definition": str,
    "description": str,
    "inference_config": dict,
    "input": dict,
    "metadata": dict,
    "model_size_bytes": (int, str),
    "tags": list,
    "default_field_map": dict,
    "platform_architecture": str,
    "prefix_strings": dict,
}


def check_model_body(model_id: str, body: Any) -> None:
    """Refuse what no tree model can be put with: 400 in the server's words, 501 for other kinds of model."""
    for name in GENERATED:
        if isinstance(body, dict) and body.get(name) is not None:
            raise bad_request(f"illegal to set [{name}] at inference model creation")
    parse_strict("trained_model_config", body, _BODY)
    check_consistent_id("model_id", body.get("model_id"), model_id)
    check_id("model_id", model_id)
    kind = body.get("model_type")
    if kind not in {None, "tree_ensemble"}:
        raise unsupported(f"trained model of model_type [{kind}]")
    if body.get("definition") is None and body.get("compressed_definition") is None:
        raise bad_request("[model_type] must be set if [definition] is not defined")
    if body.get("inference_config") is None:
        raise bad_request("[inference_config] must not be null")
    if body.get("input") is None:
        raise bad_request("[input] must not be null")
    if not input_fields(body):
        raise bad_request("[input.field_names] must not be empty")
    tags = body.get("tags") or []
    if model_id in tags:
        raise bad_request(f"The provided tags {[model_id]} must not match existing model_ids".replace("'", ""))


def input_fields(body: dict[str, Any]) -> list[str]:
    """The fields a body says its model reads."""
    parse_strict("trained_model_config_input", body["input"], {"field_names": (list, str)})
    names = body["input"].get("field_names") or []
    return [names] if isinstance(names, str) else list(names)


def byte_count(value: Any) -> int:
    """`model_size_bytes`, a number or a text with a unit."""
    return value if isinstance(value, int) else byte_size("model_size_bytes", value)


def definition_of(body: dict[str, Any]) -> Any:
    """The definition of a body, inflated if it came compressed."""
    if body.get("definition") is not None:
        if body.get("compressed_definition") is not None:
            raise bad_request("both [compressed_definition] and [definition] cannot be set")
        return body["definition"]
    try:
        return orjson.loads(gzip.decompress(base64.b64decode(body["compressed_definition"])))
    except (binascii.Error, OSError, EOFError, ValueError) as error:
        raise illegal_argument(f"[compressed_definition] could not be inflated and parsed: {error}") from error
