"""What a search knows of one index while its SQL is written: columns, types, now, and the parameters so far."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from elastic_sandbox.documents.columns import JSON_TYPES, SQL_TYPES, TEXT_TYPES
from elastic_sandbox.errors import unsupported

if TYPE_CHECKING:
    from elastic_sandbox.documents.columns import Schema
    from elastic_sandbox.indices import Index
    from elastic_sandbox.search.runtime_fields import RuntimeField

KINDS = {
    "keyword": "keyword",
    "wildcard": "keyword",
    "constant_keyword": "keyword",
    "ip": "ip",
    "text": "text",
    "match_only_text": "text",
    "long": "long",
    "integer": "long",
    "short": "long",
    "byte": "long",
    "unsigned_long": "long",
    "double": "double",
    "float": "double",
    "half_float": "double",
    "scaled_float": "double",
    "date": "date",
    "boolean": "boolean",
    "flattened": "flattened",
    "geo_point": "geo_point",
}
"""Field type to the family whose queries, sorts and aggregations it shares."""

KIND_SQL = {
    "keyword": "VARCHAR",
    "ip": "VARCHAR",
    "long": "BIGINT",
    "double": "DOUBLE",
    "date": "BIGINT",
    "boolean": "BOOLEAN",
}

_PARAMETER = re.compile(r"\$(__p\d+)\b")


class Parameters:
    """Values of one SQL statement, passed by name and never written into its text."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The placeholder for a value."""
        name = f"__p{len(self._values)}"
        self._values[name] = value
        return "$" + name

    def of(self, sql: str) -> dict[str, Any]:
        """The values that ``sql`` uses; DuckDB refuses any others."""
        return {name: self._values[name] for name in set(_PARAMETER.findall(sql))}


@dataclass(frozen=True)
class Target:
    """A field as one index stores it.

    :param sql: expression for its value, or list of values when ``multi``; None when no document has had one yet
    """

    path: str
    kind: str
    type: str
    params: dict[str, Any]
    sql: str | None
    multi: bool

    def any(self, predicate: Any) -> str:
        """SQL that is true when any value satisfies ``predicate(expression)``."""
        if self.sql is None:
            return "false"
        if not self.multi:
            return str(predicate(self.sql))
        return f"len(list_filter({self.sql}, lambda v: {predicate('v')})) > 0"


@dataclass
class IndexView:
    """One index of a search.

    ``runtime`` are the runtime fields of the request, ``evaluated`` those that have columns by now.
    ``inside`` is the nested path whose objects the current query looks at, one at a time, as ``element``.
    """

    index: Index
    schema: Schema
    ordinal: int
    now_ms: int
    parameters: Parameters
    names: frozenset[str] = frozenset()
    inside: str | None = None
    element: str | None = None
    runtime: dict[str, RuntimeField] = field(default_factory=dict)
    evaluated: frozenset[str] = frozenset()
    fields: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.fields = self.index.mapping.fields

    def within(self, path: str) -> IndexView:
        """The view of one nested object."""
        inner = IndexView(self.index, self.schema, self.ordinal, self.now_ms, self.parameters, self.names, path, "n")
        inner.runtime = self.runtime
        return inner

    def expand(self, pattern: str) -> list[str]:
        """Field names a name or ``*`` pattern means here."""
        if "*" not in pattern:
            return [pattern]
        from elastic_sandbox.search.source import wildcard_regex

        regex = wildcard_regex(pattern)
        return [path for path in self.fields if regex.fullmatch(path)]

    def target(self, path: str) -> Target | None:
        """The field, or None when it is not mapped here (a query for it matches nothing)."""
        if path in self.runtime:
            self._check_evaluated(path)
        mapped = self.fields.get(path)
        if mapped is None:
            return self._flattened_key(path)
        kind = KINDS[mapped.type]
        if mapped.nested != self.inside:
            # Outside a nested query nested fields are other documents; inside one, the outer fields are.
            return None if mapped.nested is not None or self.inside is not None else self._leaf(mapped, kind)
        if self.inside is not None:
            sql_type = SQL_TYPES.get(mapped.type, "VARCHAR")
            sql = f"CAST(json_extract({self.element}, '$.\"{_quoted(path)}\"') AS {sql_type}[])"
            return Target(path, kind, mapped.type, mapped.params, sql, True)
        return self._leaf(mapped, kind)

    def _check_evaluated(self, path: str) -> None:
        if self.inside is not None:
            raise unsupported(f"runtime field [{path}] inside a nested query")
        if self.schema.created and path not in self.evaluated:
            raise RuntimeError(f"runtime field [{path}] is read, but the request did not say that it would be")

    def _leaf(self, mapped: Any, kind: str) -> Target:
        if mapped.type == "constant_keyword":
            value = mapped.params.get("value")
            sql = None if value is None else f"CAST({self.parameters.add(str(value))} AS VARCHAR)"
            return Target(mapped.path, kind, mapped.type, mapped.params, sql, False)
        column = self.schema.columns.get(mapped.path)
        if column is None:
            return Target(mapped.path, kind, mapped.type, mapped.params, None, False)
        return Target(mapped.path, kind, mapped.type, mapped.params, column.name, column.multi)

    def _flattened_key(self, path: str) -> Target | None:
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            root = self.fields.get(".".join(parts[:cut]))
            if root is not None and root.type == "flattened":
                raise unsupported(f"querying a key of flattened field [{root.path}] ({path})")
        return None

    def nested_column(self, path: str) -> str | None:
        """The JSON column of a nested object; None when no document has one."""
        column = self.schema.columns.get(path)
        return None if column is None else column.name


def _quoted(path: str) -> str:
    return path.replace("'", "''").replace('"', '\\"')


def is_text(target: Target) -> bool:
    """Whether the column holds tokens."""
    return target.type in TEXT_TYPES


def is_json(target: Target) -> bool:
    """Whether the column holds JSON that no query can look into."""
    return target.type in JSON_TYPES
