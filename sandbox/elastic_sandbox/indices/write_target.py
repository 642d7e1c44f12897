"""Which index a document write reaches, and which writes are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.errors import ElasticError, illegal_argument, index_not_found
from elastic_sandbox.indices.index import Index

if TYPE_CHECKING:
    from elastic_sandbox.indices import Indices


def write_index(indices: Indices, name: str, op_type: str, *, require_data_stream: bool) -> Index:
    """The write index behind an index, alias or data stream; what does not exist is created from templates.

    :raises ElasticError: 400 where the target does not take that kind of write, 404 where it must exist.
    """
    found = _existing(indices, name, op_type, require_data_stream)
    return found or _auto_create(indices, name, op_type, require_data_stream)


def _existing(indices: Indices, name: str, op_type: str, require_data_stream: bool) -> Index | None:
    index = indices.get(name)
    if index is not None:
        if require_data_stream:
            raise _not_a_data_stream(name)
        return index
    target = name
    targets = indices.alias_targets(name)
    if targets:
        target = _write_alias(indices, name, targets)
    if indices.streams.get(target) is not None:
        if op_type != "create":
            raise illegal_argument("only write ops with an op_type of create are allowed in data streams")
        return indices.streams.write_index(target)
    if targets and require_data_stream:
        raise _not_a_data_stream(name)
    return indices.get(target)


def _write_alias(indices: Indices, alias: str, targets: list[str]) -> str:
    bodies = {target: indices.aliases_of(target)[alias] for target in targets}
    writers = [target for target, body in bodies.items() if body.get("is_write_index")]
    if writers:
        return writers[0]
    if len(targets) == 1 and bodies[targets[0]].get("is_write_index") is not False:
        return targets[0]
    raise illegal_argument(
        f"no write index is defined for alias [{alias}]. The write index may be explicitly disabled using "
        "is_write_index=false or the alias points to multiple indices without one being designated as a write index"
    )


def _auto_create(indices: Indices, name: str, op_type: str, require_data_stream: bool) -> Index:
    if op_type == "delete":
        raise index_not_found(name)
    hit = indices.templates.winner(name)
    if hit is not None and hit[1].get("allow_auto_create") is False:
        patterns = ", ".join(hit[1]["index_patterns"])
        raise index_not_found(
            name, f"no such index [{name}] and composable template [{patterns}] forbids index auto creation"
        )
    if hit is not None and hit[1].get("data_stream") is not None:
        index = indices.streams.create(name)
        if op_type != "create":
            raise illegal_argument("only write ops with an op_type of create are allowed in data streams")
        return index
    if require_data_stream:
        raise _no_stream_template(name)
    return indices.create(name, {})


def refuse_append(index: Index, op_type: str, *, conditional: bool) -> None:
    """Refuse what would append to a backing index past its data stream: updates and deletes are allowed."""
    if op_type == "create":
        raise illegal_argument(
            "index request with op_type=create targeting backing indices is disallowed, "
            f"target corresponding data stream [{index.data_stream}] instead"
        )
    if op_type == "index" and not conditional:
        raise illegal_argument(
            "index request with op_type=index and no if_primary_term and if_seq_no set targeting backing indices is "
            f"disallowed, target corresponding data stream [{index.data_stream}] instead"
        )


def _not_a_data_stream(name: str) -> ElasticError:
    return index_not_found(
        name,
        f"no such index [{name}] and [require_data_stream] request flag is [true] and [{name}] is not a data stream",
    )


def _no_stream_template(name: str) -> ElasticError:
    return index_not_found(
        name,
        f"no such index [{name}] and the index creation request requires a data stream, but no matching index template "
        "with data stream template was found for it",
    )
