"""Rollover of aliases and data streams, with conditions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import (
    ElasticError,
    action_request_validation,
    illegal_argument,
    unsupported,
    x_content_parse,
)
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.resolution import split_selector
from elastic_sandbox.shapes import check_shape

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4, "pb": 1024**5}


def rollover(
    backend: Backend, target: str, new_index: str | None, body: dict[str, Any], *, dry_run: bool, lazy: bool
) -> dict[str, Any]:
    """Do (or, with ``dry_run``, foretell) a rollover and say what came of it.

    :raises ElasticError: 400 when the target is neither a data stream nor an alias with a write index.
    """
    for key in body:
        if key not in {"conditions", "settings", "mappings", "aliases"}:
            raise x_content_parse(f"[1:1] [rollover] unknown field [{key}]")
    check_shape("rollover", body, {"conditions": (dict, None)})
    conditions = check_conditions(body.get("conditions") or {})
    if conditions and not any(name.startswith("max_") for name in conditions):
        raise action_request_validation(
            ["at least one max_* rollover condition must be set when using min_* conditions"]
        )
    name, selector = split_selector(target)
    failures = selector == "failures"
    with backend.lock:
        if backend.indices.streams.get(name) is not None:
            if new_index is not None:
                raise illegal_argument("new index name may not be specified when rolling over a data stream")
            if {"settings", "mappings", "aliases"} & set(body):
                raise illegal_argument(
                    "aliases, mappings, and index settings may not be specified when rolling over a data stream"
                )
            if lazy:
                return _lazy(backend, name, dry_run, failures)
            return _roll_stream(backend, name, body.get("conditions") or {}, dry_run, failures)
        if lazy:
            raise illegal_argument("lazy rollover can be applied only on a data stream")
        return _roll_alias(backend, name, new_index, body, dry_run)


def byte_size(value: Any, setting: str) -> float:
    """Bytes of a size such as ``50gb``; ``setting`` names it in the error."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtp]?b)", str(value).strip().lower())
    if match is None:
        raise ElasticError(
            400,
            "parse_exception",
            f"failed to parse setting [{setting}] with value [{value}] as a size in bytes: unit is missing or "
            "unrecognized",
        )
    return float(match[1]) * _UNITS[match[2]]


def _whole(value: Any, _setting: str) -> float:
    return int(value)


def _seconds(value: Any, setting: str) -> float:
    return duration_seconds(str(value), setting)


_MEASURES: dict[str, Callable[[Any, str], float]] = {
    "age": _seconds,
    "docs": _whole,
    "primary_shard_docs": _whole,
    "size": byte_size,
    "primary_shard_size": byte_size,
}


def _lazy(backend: Backend, name: str, dry_run: bool, failures: bool) -> dict[str, Any]:
    old, new = backend.indices.streams.next_name(name, failures=failures)
    if not dry_run:
        backend.indices.streams.mark_lazy(name, failures=failures)
    return _answer(old, new, {}, rolled=False, dry_run=dry_run, lazy=True, acknowledged=not dry_run)


def _roll_stream(
    backend: Backend, name: str, conditions: dict[str, Any], dry_run: bool, failures: bool
) -> dict[str, Any]:
    streams = backend.indices.streams
    old, new = streams.next_name(name, failures=failures)
    results = evaluate(backend, backend.indices.get(old), conditions)
    if dry_run or not met(results):
        return _answer(old, new, results, rolled=False, dry_run=dry_run)
    old, new = streams.roll(name, failures=failures)
    return _answer(old, new, results, rolled=True, dry_run=False)


def _roll_alias(
    backend: Backend, alias: str, new_index: str | None, body: dict[str, Any], dry_run: bool
) -> dict[str, Any]:
    indices = backend.indices
    targets = indices.alias_targets(alias)
    if not targets:
        if indices.get(alias) is None:
            raise illegal_argument(f"rollover target [{alias}] does not exist")
        raise illegal_argument("rollover target is a [concrete index] but one of [alias,data_stream] was expected")
    writers = [target for target in targets if indices.aliases_of(target)[alias].get("is_write_index")]
    if not writers and len(targets) == 1:
        writers = targets
    if not writers:
        raise illegal_argument(f"rollover target [{alias}] does not point to a write index")
    old = indices.get(writers[0])
    if old is None:
        raise unsupported("rollover of an alias that points at a data stream")
    new_name = new_index or _next(old.name)
    results = evaluate(backend, old, body.get("conditions") or {})
    if dry_run or not met(results):
        return _answer(old.name, new_name, results, rolled=False, dry_run=dry_run)
    old.rolled[alias] = backend.clock.now_ms()
    old.save()
    explicit = indices.aliases_of(old.name)[alias].get("is_write_index")
    indices.create(new_name, {key: body[key] for key in ("settings", "mappings", "aliases") if key in body})
    if explicit:
        indices.set_alias(old.name, alias, {**indices.aliases_of(old.name)[alias], "is_write_index": False})
        indices.set_alias(new_name, alias, {"is_write_index": True})
    else:
        indices.set_alias(old.name, alias, None)
        indices.set_alias(new_name, alias, {})
    return _answer(old.name, new_name, results, rolled=True, dry_run=False)


def _next(name: str) -> str:
    match = re.fullmatch(r"(.*-)(\d+)", name)
    if match is None:
        raise illegal_argument(f"index name [{name}] does not match pattern '^.*-\\d+$'")
    return f"{match[1]}{int(match[2]) + 1:06d}"


def evaluate(backend: Backend, index: Index | None, conditions: dict[str, Any]) -> dict[str, bool]:
    """Which conditions hold, ``{"[max_age: 30d]": False}``; sizes are those of the stored sources."""
    limits = check_conditions(conditions)
    return {
        f"[{name}: {value}]": index is not None and _measure(backend, index, name[4:]) >= limits[name]
        for name, value in conditions.items()
    }


def check_conditions(conditions: dict[str, Any]) -> dict[str, float]:
    """The limits as numbers: seconds, documents, bytes.

    :raises ElasticError: 400 for a condition that does not exist or a value it cannot have
    """
    limits: dict[str, float] = {}
    for name, value in conditions.items():
        if name[:4] not in {"max_", "min_"} or name[4:] not in _MEASURES:
            raise x_content_parse(f"[1:1] [conditions] unknown field [{name}]")
        try:
            limits[name] = _MEASURES[name[4:]](value, name)
        except (TypeError, ValueError):
            raise x_content_parse(f"[1:1] [conditions] failed to parse field [{name}]") from None
    return limits


def _measure(backend: Backend, index: Index, kind: str) -> float:
    if kind == "age":
        return (backend.clock.now_ms() - index.created_ms) / 1000
    shards = int(index.settings["index.number_of_shards"]) if kind.startswith("primary_shard") else 1
    if kind.endswith("docs"):
        return backend.documents.number(index) / shards
    return backend.documents.size_in_bytes(index) / shards


def met(results: dict[str, bool]) -> bool:
    """Any max_ condition and all min_ conditions; none at all is always met."""
    reached = [met for name, met in results.items() if name.startswith("[max_")]
    needed = [met for name, met in results.items() if name.startswith("[min_")]
    return (any(reached) or not reached) and all(needed)


def _answer(
    old: str,
    new: str,
    results: dict[str, bool],
    *,
    rolled: bool,
    dry_run: bool,
    lazy: bool = False,
    acknowledged: bool | None = None,
) -> dict[str, Any]:
    done = rolled if acknowledged is None else acknowledged
    return {
        "acknowledged": done,
        "shards_acknowledged": done,
        "old_index": old,
        "new_index": new,
        "rolled_over": rolled,
        "dry_run": dry_run,
        "lazy": lazy,
        "conditions": results,
    }
