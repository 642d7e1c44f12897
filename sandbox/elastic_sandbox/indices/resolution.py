"""From an index expression to indices: names, wildcards, exclusions, aliases, data streams, ``::failures``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.errors import ElasticError, illegal_argument, index_not_found, unsupported
from elastic_sandbox.indices.index import Index
from elastic_sandbox.indices.names import matches

if TYPE_CHECKING:
    from elastic_sandbox.indices import Indices


def split_selector(expression: str) -> tuple[str, str]:
    """``logs-x::failures`` → (``logs-x``, ``failures``); without a selector it is ``data``."""
    name, _, selector = expression.partition("::")
    if not selector:
        return name, "data"
    if selector not in {"data", "failures"}:
        raise ElasticError(
            400,
            "invalid_index_name_exception",
            f"Invalid index name [{expression}], invalid usage of :: separator, [{selector}] is not a "
            "recognized selector",
            index_uuid="_na_",
            index=expression,
        )
    return name, selector


def resolve(
    indices: Indices,
    expression: str,
    *,
    allow_no_indices: bool,
    ignore_unavailable: bool,
    expand_wildcards: str,
    failures: bool,
) -> list[Index]:
    """All indices an expression names, each once, sorted by name within each part of the expression."""
    states = set(expand_wildcards.split(","))
    unknown = states - {"open", "closed", "hidden", "none", "all"}
    if unknown:
        raise illegal_argument(f"No valid expand wildcard value [{sorted(unknown)[0]}]")
    hidden = bool(states & {"hidden", "all"})
    found: dict[str, Index] = {}
    wildcard_seen = False
    for piece in expression.split(",") if expression else ["*"]:
        if piece.startswith("<"):
            raise unsupported("date math in index names")
        name, selector = split_selector(piece)
        if ":" in name:
            raise unsupported(f"cross-cluster index expression [{piece}]")
        want_failures = failures or selector == "failures"
        if wildcard_seen and name.startswith("-"):
            for excluded in _expand(indices, name[1:], hidden=True, failures=want_failures):
                found.pop(excluded.name, None)
            continue
        if "*" in name or name == "_all":
            wildcard_seen = True
            if "none" in states:
                continue
            pattern = "*" if name == "_all" else name
            hits = _expand(indices, pattern, hidden=hidden, failures=want_failures)
            if not hits and not allow_no_indices:
                raise index_not_found(piece)
        else:
            named = _named(indices, name, failures=want_failures)
            if named is None:
                if ignore_unavailable:
                    continue
                raise index_not_found(name)
            hits = named
        for index in hits:
            found[index.name] = index
    if not found and not allow_no_indices:
        raise index_not_found(expression)
    return list(found.values())


def _named(indices: Indices, name: str, *, failures: bool) -> list[Index] | None:
    index = indices.get(name)
    if index is not None:
        return [] if failures else [index]
    if indices.streams.get(name) is not None:
        return _of_stream(indices, name, failures=failures)
    targets = indices.alias_targets(name)
    if not targets:
        return None
    found = []
    for target in targets:
        found += _named(indices, target, failures=failures) or []
    return found


def _of_stream(indices: Indices, name: str, *, failures: bool) -> list[Index]:
    stream = indices.streams.get(name)
    names = [] if stream is None else stream["failure_indices" if failures else "indices"]
    return [index for index in (indices.get(name) for name in names) if index is not None]


def _expand(indices: Indices, pattern: str, *, hidden: bool, failures: bool) -> list[Index]:
    found: dict[str, Index] = {}

    def visible(name: str, is_hidden: bool) -> bool:
        # A pattern that starts with a dot reaches hidden names that do, too.
        return not is_hidden or hidden or (pattern.startswith(".") and name.startswith("."))

    if not failures:
        for index in indices.all():
            if matches(pattern, index.name) and visible(index.name, index.hidden):
                found[index.name] = index
        for alias in indices.alias_names():
            if matches(pattern, alias):
                for target in indices.alias_targets(alias):
                    for index in _named(indices, target, failures=False) or []:
                        if index.data_stream is not None or visible(index.name, index.hidden):
                            found[index.name] = index
    for name in indices.streams.names():
        stream = indices.streams.get(name)
        if stream is not None and matches(pattern, name) and visible(name, stream["hidden"]):
            for index in _of_stream(indices, name, failures=failures):
                found[index.name] = index
    return [found[name] for name in sorted(found)]
