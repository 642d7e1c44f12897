"""Aliases of indices and data streams: actions, validation, showing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported, x_content_parse
from elastic_sandbox.indices.names import check_alias_name, matches
from elastic_sandbox.shapes import STRINGS, check_shape

if TYPE_CHECKING:
    from elastic_sandbox.indices import Indices

_ALIAS_KEYS = {"is_write_index", "is_hidden", "filter", "routing", "index_routing", "search_routing"}
ALIAS_ACTION = {"index": STRINGS, "indices": [str], "alias": STRINGS, "aliases": [str], "is_write_index": bool,
                "is_hidden": bool, "must_exist": bool}  # fmt: skip
"""The shape of one action of ``POST _aliases``."""
_ACTION_KEYS = _ALIAS_KEYS | {"index", "indices", "alias", "aliases", "must_exist"}


def alias_body(body: dict[str, Any]) -> dict[str, Any]:
    """Validate what an alias carries and return it as it is kept."""
    check_shape("alias", body, ALIAS_ACTION)
    for key in body:
        if key not in _ALIAS_KEYS:
            raise x_content_parse(f"[1:1] [alias] unknown field [{key}]")
    for key in ("filter", "routing", "index_routing", "search_routing"):
        if body.get(key):
            raise unsupported(f"{key} of an alias")
    return {key: bool(body[key]) for key in ("is_write_index", "is_hidden") if key in body}


def apply_actions(indices: Indices, actions: Any) -> None:
    """Apply ``POST _aliases`` actions all together: checked first, then done.

    :raises ElasticError: 404 aliases_not_found_exception for a removal of what is not there, 400 otherwise.
    """
    if not isinstance(actions, list) or not actions:
        raise illegal_argument("No action specified")
    steps: list[tuple[str, str, str, dict[str, Any]]] = []
    for action in actions:
        if not isinstance(action, dict) or len(action) != 1:
            raise x_content_parse("[1:1] [alias_action] Expected a single action")
        [(kind, body)] = action.items()
        if kind not in {"add", "remove", "remove_index"}:
            raise x_content_parse(f"[1:1] [alias_action] unknown field [{kind}]")
        for key in body:
            if key not in _ACTION_KEYS:
                raise x_content_parse(f"[1:1] [{kind}] unknown field [{key}]")
        steps += _steps(indices, kind, body)
    for kind, _target, alias, _body in steps:
        if kind == "add":
            _check_new(indices, alias)
    _check_write_indices(indices, steps)
    for kind, target, alias, body in steps:
        if kind == "remove_index":
            indices.delete(target)
        else:
            indices.set_alias(target, alias, body if kind == "add" else None)


def _steps(indices: Indices, kind: str, body: dict[str, Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    expressions = _listed(body, "index", "indices")
    if not expressions:
        raise illegal_argument(f"One of [index] or [indices] is required for action [{kind}]")
    targets: list[str] = []
    for expression in expressions:
        targets += indices.alias_hosts(expression)
    if kind == "remove_index":
        return [(kind, target, "", {}) for target in targets]
    names = _listed(body, "alias", "aliases")
    if not names:
        raise illegal_argument(f"One of [alias] or [aliases] is required for action [{kind}]")
    steps: list[tuple[str, str, str, dict[str, Any]]] = []
    for name in names:
        if kind == "add":
            kept = alias_body({key: value for key, value in body.items() if key in _ALIAS_KEYS})
            steps += [("add", target, name, kept) for target in targets]
            continue
        hits = [(target, alias) for target in targets for alias in indices.aliases_of(target) if matches(name, alias)]
        if not hits and body.get("must_exist", True) and "*" not in name:
            raise ElasticError(
                404,
                "aliases_not_found_exception",
                f"aliases [{name}] missing",
            ).with_resource("aliases", name)
        steps += [("remove", target, alias, {}) for target, alias in hits]
    return steps


def _listed(body: dict[str, Any], one: str, many: str) -> list[str]:
    value = body.get(one, body.get(many, []))
    return value.split(",") if isinstance(value, str) else list(value)


def _check_new(indices: Indices, alias: str) -> None:
    check_alias_name(alias)
    if indices.get(alias) is not None or indices.streams.get(alias) is not None:
        raise ElasticError(
            400,
            "invalid_alias_name_exception",
            f"Invalid alias name [{alias}]: an index or data stream exists with the same name as the alias",
        )


def _check_write_indices(indices: Indices, steps: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    for alias in {alias for kind, _, alias, _ in steps if kind == "add"}:
        after = {target: indices.aliases_of(target)[alias] for target in indices.alias_targets(alias)}
        for kind, target, name, body in steps:
            if name == alias and kind == "remove":
                after.pop(target, None)
            elif name == alias and kind == "add":
                after[target] = body
        writers = sorted(target for target, body in after.items() if body.get("is_write_index"))
        if len(writers) > 1:
            raise ElasticError(
                500,
                "illegal_state_exception",
                f"alias [{alias}] has more than one write index [{','.join(writers)}]",
            )
        streams = {target for target in after if indices.streams.get(target) is not None}
        if streams and set(after) - streams:
            raise illegal_argument(
                f"expressions {sorted(after)} that include data streams and indices cannot share an alias"
            )


def alias_filter(indices: Indices, expression: str | None) -> dict[str, Any] | None:
    """The query that filtered aliases add to a search; None when no index is reached through such aliases alone.

    Only anomaly jobs make filtered aliases here (``.ml-anomalies-<job>``); those of users are unsupported.
    """
    pieces = [] if expression is None else expression.split(",")
    clauses: list[dict[str, Any]] = []
    for index in indices.all():
        filters = {name: body["filter"] for name, body in index.aliases.items() if "filter" in body}
        if not filters or any(matches(piece, index.name) for piece in pieces):
            continue
        if any(matches(piece, name) for piece in pieces for name in index.aliases if name not in filters):
            continue
        reached = [query for name, query in filters.items() if any(matches(piece, name) for piece in pieces)]
        if reached:
            inside = {"term": {"_index": index.name}}
            clauses.append({"bool": {"should": [{"bool": {"must_not": [inside]}}, *reached]}})
    return {"bool": {"filter": clauses}} if clauses else None
