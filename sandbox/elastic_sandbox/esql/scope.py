"""A query while it is compiled: its rows as SQL so far, what is wrong with it, and where it may fail at run time."""

# Statements are made of generated names; every text of a request is a parameter.

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem
from elastic_sandbox.esql.runtime import Runtime
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import SQL, Value
from elastic_sandbox.search.view import Parameters

if TYPE_CHECKING:
    import duckdb

_TEMPORARY = re.compile(r"\bt\d+\b")


@dataclass
class Compilation:
    """What all commands of one query share.

    ``definitions`` holds the SQL of every temporary column, ``sites`` the places that may fail while rows are read.
    """

    runtime: Runtime
    cursor: duckdb.DuckDBPyConnection
    now_ms: int
    version: str
    number: int
    parameters: Parameters = field(default_factory=Parameters)
    problems: list[str] = field(default_factory=list)
    sites: list[tuple[Node, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)

    def problem(self, problem: Problem) -> None:
        """Remember what is wrong; the query goes on, so that all problems are told at once."""
        self.problems.append(str(problem))

    def fail(self, node: Node, message: str, sql_type: str, result: str = "null") -> str:
        """SQL for NULL that notes a failure of ``node``.

        :param message: SQL of the exception's class and words
        :param result: what the warning says the result is treated as
        """
        site = (node, result)
        if site not in self.sites:
            self.sites.append(site)
        return f"CAST(esql_fail({self.number}, {self.sites.index(site)}, {message}) AS {sql_type})"

    def text(self, value: str) -> str:
        """A text as SQL."""
        return self.parameters.add(value)

    def literal(self, value: Any, kind: str, node: Node) -> Value:
        """A constant."""
        if isinstance(value, list):
            items = ", ".join(self._scalar(item, kind) for item in value)
            return Value(f"([{items}]::{SQL[kind]}[])", kind, node, multi=True, atom=True, constant=True, literal=value)
        return Value(self._scalar(value, kind), kind, node, atom=True, constant=True, literal=value)

    def _scalar(self, value: Any, kind: str) -> str:
        if value is None:
            return "NULL" if kind == "null" else f"CAST(NULL AS {SQL[kind]})"
        if isinstance(value, str):
            return f"CAST({self.parameters.add(value)} AS VARCHAR)"
        if isinstance(value, bool):
            return "true" if value else "false"
        return f"CAST({value!r} AS {SQL[kind]})"

    def fold(self, value: Value) -> Any:
        """The Python value of a constant.

        :raises ElasticError: 501 for what is none, in a place where the server would read it row by row
        """
        if value.known or value.type == "null":
            return value.literal
        if not value.constant:
            raise unsupported(f"[{value.node.text}], which is not constant, in this place of an ES|QL function")
        sql = value.sql
        while _TEMPORARY.search(sql):
            sql = _TEMPORARY.sub(lambda match: f"({self.definitions[match[0]]})", sql)
        row = self.cursor.execute(f"SELECT {sql}", self.parameters.of(sql)).fetchone()
        return None if row is None else row[0]


@dataclass
class Rows:
    """The rows between two commands.

    Expressions that are needed twice become temporary columns, computed layer by layer below whatever comes next.

    :param sql: a SELECT
    :param columns: what the query can name, in order
    :param order: sort keys in force, as ORDER BY items over temporary columns
    """

    compilation: Compilation
    sql: str
    columns: dict[str, Value]
    order: list[str] = field(default_factory=list)
    guard: str | None = None
    _pending: dict[str, int] = field(default_factory=dict)
    _bound: dict[str, str] = field(default_factory=dict)

    def bind(self, value: Value) -> Value:
        """The same value as a column, which may be written many times."""
        if value.atom:
            return value
        sql = value.sql if self.guard is None else f"CASE WHEN {self.guard} THEN {value.sql} END"
        name = self._bound.get(sql)
        if name is None:
            definitions = self.compilation.definitions
            name = f"t{len(definitions)}"
            definitions[name] = sql
            self._bound[sql] = name
            self._pending[name] = 1 + max((self._pending.get(used, 0) for used in _TEMPORARY.findall(sql)), default=0)
        return replace(value, sql=name, atom=True)

    @contextmanager
    def only_where(self, condition: str) -> Iterator[None]:
        """Columns bound inside are computed for rows that satisfy ``condition`` only, so that others cannot fail."""
        before = self.guard
        self.guard = condition if before is None else f"({before} AND {condition})"
        try:
            yield
        finally:
            self.guard = before

    def flushed(self) -> str:
        """The rows with every temporary column bound so far."""
        for level in sorted(set(self._pending.values())):
            added = [name for name, its in self._pending.items() if its == level]
            listed = ", ".join(f"{self.compilation.definitions[name]} AS {name}" for name in added)
            self.sql = f"SELECT *, {listed} FROM ({self.sql})"
        self._pending = {}
        return self.sql

    def ordered(self) -> str:
        """The ORDER BY in force, or nothing."""
        return f" ORDER BY {', '.join(self.order)}" if self.order else ""
