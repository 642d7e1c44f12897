"""Many documents read by one mapping at once, field by field: the way a bulk of ordinary documents takes.

Checking a column of values costs a third of checking them document by document. Whatever is out of the ordinary in
any of the documents (a value that does not fit, a field the mapping does not know, nested objects, dotted names) makes
:func:`read_columns` give up; the documents then go one by one through :class:`Mapping.parse`, which decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elastic_sandbox.indices.field_types import Convert, MalformedError, TooLongError

if TYPE_CHECKING:
    from elastic_sandbox.indices.document_parser import ObjectNode

Columns = dict[str, list[Any]]
"""Field path to one value for each document: None where there is none, a list where there are several."""

_EMPTY: dict[str, Any] = {}
_NONE = type(None)
_SAFE_LENGTH = 8191  # a longer keyword may exceed Lucene's 32,766 bytes
_WHOLE_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}


@dataclass(frozen=True, slots=True)
class Leaf:
    """How one field and its multi-fields read a column."""

    path: str
    convert: Convert
    as_is: Callable[[list[Any]], bool] | None
    """Whether values that are all of the field's own JSON type need no conversion."""
    own_type: type | None
    subs: tuple[Leaf, ...]
    objects: bool = False
    """Whether a value is an object (flattened)."""

    def read(self, column: list[Any], into: Columns) -> bool:
        """Add the field's column; False when a value is not plain."""
        types = set(map(type, column))
        types.discard(_NONE)
        if dict in types and not (self.objects and types == {dict}):
            return False
        if self.own_type is not None and types == {self.own_type}:
            assert self.as_is is not None
            present = column if None not in column else [value for value in column if value is not None]
            if not self.as_is(present):
                return False
            into[self.path] = column
        else:
            convert = self._converted if list in types else self.convert
            try:
                into[self.path] = [None if value is None else convert(value) for value in column]
            except (MalformedError, TooLongError, _NotPlainError):
                return False
        return all(sub.read(column, into) for sub in self.subs)

    def _converted(self, value: Any) -> Any:
        if type(value) is not list:
            return self.convert(value)
        if any(item is None or type(item) in {list, dict} for item in value):
            raise _NotPlainError
        return [self.convert(item) for item in value]


class _NotPlainError(Exception):
    pass


def make_leaf(path: str, kind: str, params: dict[str, Any], convert: Convert, subs: list[Leaf]) -> Leaf | None:
    """The column reader of a field; None when its values are never plain."""
    if kind in {"geo_point", "constant_keyword"} or params.get("null_value") is not None:
        return None
    own_type: type | None = None
    as_is: Callable[[list[Any]], bool] | None = None
    if kind in {"keyword", "wildcard"} and params.get("normalizer") is None:
        limit = min(int(params.get("ignore_above", _SAFE_LENGTH)), _SAFE_LENGTH)
        own_type, as_is = str, lambda values: max(map(len, values)) <= limit
    elif kind in _WHOLE_BITS:
        high = 2 ** (_WHOLE_BITS[kind] - 1)
        own_type, as_is = int, lambda values: -high <= min(values) and max(values) < high
    elif kind == "boolean":
        own_type, as_is = bool, lambda _values: True
    return Leaf(path, convert, as_is, own_type, tuple(subs), kind == "flattened")


def read_columns(root: ObjectNode, sources: list[dict[str, Any]]) -> Columns | None:
    """The columns of documents that are all plain, else None."""
    columns: Columns = {}
    return columns if _walk(root, sources, columns) else None


def _walk(node: ObjectNode, sources: list[dict[str, Any]], into: Columns) -> bool:
    for key in set().union(*sources):
        leaf = node.leaves.get(key)
        if leaf is not None:
            try:
                column = [source[key] for source in sources]
            except KeyError:
                column = [source.get(key) for source in sources]
            if not leaf.read(column, into):
                return False
            continue
        inner = node.objects.get(key)
        if inner is not None:
            below = [source.get(key, _EMPTY) for source in sources]
            if None in below:
                below = [_EMPTY if value is None else value for value in below]
            types = set(map(type, below))
            if types == {dict}:
                if not _walk(inner, below, into):
                    return False
            elif not types <= {dict, list} or not _walk_lists(inner, below, into):
                return False
        elif key in node.ignored:
            continue
        elif key in node.children or node.dynamic != "false" or "." in key or not key.strip():
            return False
    return True


def _walk_lists(node: ObjectNode, below: list[Any], into: Columns) -> bool:
    """As :func:`_walk` where some documents have a list of objects: a field's values are those of all of them."""
    objects: list[dict[str, Any]] = []
    owners: list[int] = []
    for owner, value in enumerate(below):
        for item in value if type(value) is list else (value,):
            objects.append(item)
            owners.append(owner)
    found: Columns = {}
    if not set(map(type, objects)) <= {dict} or not _walk(node, objects, found):
        return False
    for path, column in found.items():
        joined: list[Any] = [None] * len(below)
        for owner, value in zip(owners, column, strict=True):
            if value is not None:
                before = joined[owner]
                joined[owner] = value if before is None else [*_listed(before), *_listed(value)]
        into[path] = joined
    return True


def _listed(value: Any) -> list[Any]:
    return value if type(value) is list else [value]
