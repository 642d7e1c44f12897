"""STATS: groups, aggregates, and expressions over both.

Three layers: the arguments and keys of each row; one row per group; what is computed from its aggregates.
"""

# Statements are made of generated names; every text of a request is a parameter.

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem, unknown
from elastic_sandbox.esql.expressions import Expressions, missing_function
from elastic_sandbox.esql.functions import FUNCTIONS
from elastic_sandbox.esql.functions.registry import Function, bound_arguments, checked_count
from elastic_sandbox.esql.scope import Rows
from elastic_sandbox.esql.tree import Field, Node
from elastic_sandbox.esql.types import AMOUNTS, SQL, Value, unresolved


def stats(
    rows: Rows,
    aggregates: tuple[Field, ...],
    groups: tuple[Field, ...],
    matching: str | None,
) -> Rows:
    """The rows after ``STATS aggregates BY groups``.

    :param matching: why ``:`` may not be used here; None where it may
    """
    return _Stats(rows, matching).run(aggregates, groups)


class _Before(Expressions):
    """Expressions of the rows that are grouped: arguments of aggregates, keys, conditions."""

    def __init__(self, rows: Rows, owner: _Stats, matching: str | None, place: str) -> None:
        super().__init__(rows, matching=matching)
        self._owner = owner
        self._place = place
        self._around: str | None = None

    def _call(self, node: Node) -> Value:
        function = self._owner.function(node)
        if function is None:
            return super()._call(node)
        if function.aggregate:
            raise Problem(node, self._place.replace("{}", node.text))
        if function.grouping:
            known = self._owner.key_of(node)
            if known is not None and "grouping" not in self._place:
                return replace(known, node=node)
            if "grouping" not in self._place:
                raise Problem(node, f"can only use grouping function [{node.text}] as part of the BY clause")
            if self._around is not None:
                raise Problem(node, f"cannot nest grouping functions; found [{node.text}] inside [{self._around}]")
            self._around = node.text
            try:
                return self.apply(function, node)
            finally:
                self._around = None
        return super()._call(node)


@dataclass
class _Key:
    """A group: as it was written, its column before and after grouping."""

    name: str
    field: Field
    before: Value
    after: Value


@dataclass
class _Stats:
    rows: Rows
    matching: str | None
    keys: list[_Key] = field(default_factory=list)
    aggregated: dict[str, str] = field(default_factory=dict)

    def run(self, aggregates: tuple[Field, ...], groups: tuple[Field, ...]) -> Rows:
        compilation = self.rows.compilation
        for group in groups:
            self._group(group)
        outer = dict(self.rows.columns)
        # An aggregate may name a key, by its alias too.
        self.rows.columns = {**outer, **{key.name: key.before for key in self.keys}}
        rewritten: list[tuple[str, Field, Node | None]] = []
        for aggregate in aggregates:
            try:
                rewritten.append((str(aggregate.name), aggregate, self._aggregate(aggregate)))
            except Problem as problem:
                compilation.problem(problem)
                rewritten.append((str(aggregate.name), aggregate, None))
        after = Rows(compilation, self._grouped(), {})
        columns: list[tuple[str, Node, Value]] = []
        for name, aggregate, node in rewritten:
            value = unresolved(aggregate.node)
            if node is not None:
                value = after.bind(Expressions(after).value(node))
            columns.append((name, aggregate.node, value))
        columns += [(key.name, key.field.node, key.after) for key in self.keys]
        after.columns = self._named_once(columns)
        return after

    def _named_once(self, columns: list[tuple[str, Node, Value]]) -> dict[str, Value]:
        """The last of several columns of one name, with a warning for those before it."""
        last = {name: node for name, node, _ in columns}
        found: dict[str, Value] = {}
        for name, node, value in columns:
            winner = last[name]
            if winner is not node:
                self.rows.compilation.notes.append(
                    f"Line {node.line}:{node.column}: Field '{name}' shadowed by field at line "
                    f"{winner.line}:{winner.column}"
                )
                continue
            found[name] = value
        return found

    # Groups ---------------------------------------------------------------------------------------------------------

    def function(self, node: Node) -> Function | None:
        """The function a call means; None when it is not ours."""
        return FUNCTIONS.get(node.args[0].lower())

    def _group(self, group: Field) -> None:
        expressions = _Before(self.rows, self, self.matching, "cannot use an aggregate [{}] for grouping")
        value = expressions.value(group.expression)
        if value.type in AMOUNTS | {"_source", "geo_point"}:
            self.rows.compilation.problem(
                Problem(
                    group.expression, f"cannot group by on [{value.type}] type for grouping [{group.expression.text}]"
                )
            )
        before = self.rows.bind(value)
        if value.constant and value.atom:
            before = self.rows.bind(replace(value, atom=False, constant=False, literal=None))
        before = replace(before, constant=False, literal=None, field=None)
        name = str(group.name)
        after = replace(before, sql=f"g{len(self.keys)}", multi=False)
        if before.type == "text":
            after = replace(after, type="text")
        self.keys.append(_Key(name, group, before, after))

    def key_of(self, node: Node) -> Value | None:
        """The key that an expression repeats, before grouping."""
        return next((key.before for key in self.keys if _same(key.field.expression, node)), None)

    def _grouped(self) -> str:
        """One row per group."""
        sql = self.rows.flushed()
        selected = []
        for number, key in enumerate(self.keys):
            column = key.before.sql
            if key.before.multi:
                # A row belongs to the group of each of its values (csv-spec ``string``, groupByMv).
                listed = f"CASE WHEN len({column}) > 0 THEN list_distinct({column}) ELSE [NULL] END"
                sql = f"SELECT *, unnest({listed}) AS k{number} FROM ({sql})"
                column = f"k{number}"
            if key.before.type in {"null", "unresolved"}:
                column = "CAST(NULL AS BOOLEAN)"
            selected.append(f"{column} AS g{number}")
        selected += [
            f"{made} AS {name}"
            for made, name in zip(_together(list(self.aggregated)), self.aggregated.values(), strict=True)
        ]
        grouped = f" GROUP BY {', '.join(str(n + 1) for n in range(len(self.keys)))}" if self.keys else ""
        return f"SELECT {', '.join(selected) or '1 AS nothing'} FROM ({sql}){grouped}"

    # Aggregates -----------------------------------------------------------------------------------------------------

    def _aggregate(self, aggregate: Field) -> Node:
        expression = aggregate.expression
        key = next((key for key in self.keys if self._repeats(key, expression)), None)
        if key is not None and key.before.type == "unresolved":
            return Node("value", expression.text, expression.line, expression.column, (key.before,))
        if key is not None:
            called = expression.kind == "call" and (found := self.function(expression)) is not None and found.grouping
            if called:
                raise Problem(
                    expression,
                    f"grouping function [{expression.text}] cannot be used as an aggregate once declared in the "
                    "STATS BY clause",
                )
            raise Problem(expression, f"grouping key [{expression.text}] already specified in the STATS BY clause")
        calls = list(self._calls(expression))
        if aggregate.condition is not None and not calls:
            raise Problem(
                aggregate.node if isinstance(aggregate.name, str) and aggregate.name == aggregate.node.text
                else expression,
                f"WHERE clause allowed only for aggregate functions, none found in [{aggregate.node.text}]",
            )  # fmt: skip
        if not calls and _constant(expression):
            raise Problem(expression, f"expected an aggregate function but found [{expression.text}]")
        condition = None
        if aggregate.condition is not None:
            condition = self._condition(aggregate)
        return self._rewritten(expression, condition)

    @staticmethod
    def _repeats(key: _Key, expression: Node) -> bool:
        return _same(key.field.expression, expression) or (
            expression.kind == "column" and expression.args[0] == key.name
        )

    def _calls(self, node: Any) -> Any:
        if isinstance(node, tuple):
            for one in node:
                yield from self._calls(one)
        elif isinstance(node, Node):
            if node.kind == "call" and (found := self.function(node)) is not None and found.aggregate:
                yield node
            yield from self._calls(node.args)

    def _condition(self, aggregate: Field) -> str:
        from elastic_sandbox.esql.commands import boolean_condition

        assert aggregate.condition is not None
        place = f"cannot use aggregate function [{{}}] in aggregate WHERE clause [{aggregate.node.text}]"
        expressions = _Before(self.rows, self, self.matching, place)
        value = expressions.value(aggregate.condition)
        sql = boolean_condition(self.rows.compilation, expressions, value)
        return self.rows.bind(Value(sql, "boolean", aggregate.condition)).sql

    def _rewritten(self, node: Node, condition: str | None) -> Node:
        """The expression over groups: aggregates and keys have become values."""
        for key in self.keys:
            if _same(key.field.expression, node) or (node.kind == "column" and node.args[0] == key.name):
                return Node("value", node.text, node.line, node.column, (replace(key.after, node=node),))
        if node.kind == "column":
            raise self._bare(node)
        if node.kind == "call":
            function = self.function(node)
            if function is None:
                raise missing_function(node)
            if function.aggregate:
                return Node("value", node.text, node.line, node.column, (self._computed(function, node, condition),))
            if function.grouping:
                raise Problem(node, f"can only use grouping function [{node.text}] as part of the BY clause")
        return replace(node, args=tuple(self._inside(part, condition) for part in node.args))

    def _inside(self, part: Any, condition: str | None) -> Any:
        if isinstance(part, Node):
            return self._rewritten(part, condition)
        if isinstance(part, tuple):
            return tuple(self._inside(one, condition) for one in part)
        return part

    def _bare(self, node: Node) -> Problem:
        name = node.args[0]
        if name not in self.rows.columns:
            return Problem(node, unknown("column", name, self.rows.columns))
        for key in self.keys:
            if key.field.expression.kind != "column" and name in _columns(key.field.expression):
                return Problem(
                    node,
                    f"column [{name}] cannot be used as an aggregate once declared in the STATS BY grouping key "
                    f"[{key.field.node.text}]",
                )
        return Problem(node, f"column [{name}] must appear in the STATS BY clause or be used in an aggregate function")

    def _computed(self, function: Function, node: Node, condition: str | None) -> Value:
        """An aggregate as a column of the groups."""
        counts_rows = function.name == "count" and (not node.args[1] or node.args[1][0].kind == "star")
        if counts_rows:
            made = Value("count(*)" if condition is None else f"count(*) FILTER (WHERE {condition})", "long", node)
            return self._column(made, node)
        checked_count(function, node)
        place = f"nested aggregations [{{}}] not allowed inside other aggregations [{node.text}]"
        expressions = _Before(self.rows, self, self.matching, place)
        values = expressions.values(node.args[1])
        if any(value.type == "unresolved" for value in values):
            return unresolved(node)
        if values[0].type == "null" and not function.name.startswith("count"):
            # Its type is null or the function's own, depending on the version (csv-spec ``null``).
            raise unsupported(f"an aggregation of null, [{node.text}]")
        arguments = bound_arguments(expressions, function, node, values)
        arguments[0] = self._argument(arguments[0], condition)
        return self._column(function.handler(expressions, node, arguments), node)

    def _argument(self, value: Value, condition: str | None) -> Value:
        if condition is not None:
            value = replace(value, sql=f"CASE WHEN {condition} THEN {value.sql} END", atom=False)
        if value.type == "null":
            value = replace(value, sql=f"CAST({value.sql} AS {SQL['null']})", atom=False)
        return replace(self.rows.bind(value), constant=False, literal=None)

    def _column(self, made: Value, node: Node) -> Value:
        name = self.aggregated.setdefault(made.sql, f"a{len(self.aggregated)}")
        return replace(made, sql=name, node=node, atom=True, constant=False, literal=None, field=None)


def _together(aggregates: list[str]) -> list[str]:
    """Percentiles of one column in one pass: DuckDB computes an aggregate once that is written twice alike."""
    found = [re.fullmatch(r"quantile_cont\((.+), ([\d.]+)\)", made) for made in aggregates]
    shares: dict[str, list[str]] = {}
    for match in found:
        if match is not None:
            shares.setdefault(match[1], []).append(match[2])
    return [
        f"quantile_cont({match[1]}, [{', '.join(shares[match[1]])}])[{shares[match[1]].index(match[2]) + 1}]"
        if match is not None and len(shares[match[1]]) > 1
        else made
        for match, made in zip(found, aggregates, strict=True)
    ]


def _columns(node: Any) -> set[str]:
    if isinstance(node, tuple):
        return {name for one in node for name in _columns(one)}
    if not isinstance(node, Node):
        return set()
    return {node.args[0]} if node.kind == "column" else _columns(node.args)


def _constant(node: Node) -> bool:
    return not _columns(node)


def _same(left: Any, right: Any) -> bool:
    """Whether two expressions are written alike, wherever they stand."""
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, Node) and isinstance(right, Node):
        return left.kind == right.kind and _same(left.args, right.args)
    return bool(left == right)
