"""CASE, COALESCE, GREATEST, LEAST.

The arms of CASE and COALESCE are computed only for the rows that need them, as in the server, so that
``CASE(n > 0, x / n, 0)`` warns of nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from elastic_sandbox.esql.errors import wrong_type
from elastic_sandbox.esql.functions.multivalue import as_list
from elastic_sandbox.esql.functions.registry import ORDINALS, function
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import SQL, Value, shown, unresolved, wider

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

_UNRESOLVED = "unresolved"


def common(node: Node, values: list[tuple[int, Value]]) -> str:
    """The type of a result that is one of ``values``, given with their places among the arguments.

    :raises Problem: one does not go with those before it
    """
    kind = "null"
    for position, value in values:
        found = wider(kind, value.type)
        if found is None:
            raise wrong_type(node, f"{shown(kind)}", value, f"{ORDINALS[min(position, 5)]} ")
        kind = found
    return "keyword" if kind == "text" else kind


def _unified(expressions: Expressions, value: Value, kind: str, multi: bool) -> str:
    if value.type == "null":
        return f"CAST(NULL AS {SQL[kind]}{'[]' if multi else ''})"
    cast = replace(value, sql=expressions.cast_to(value, kind), type=kind, atom=value.atom and value.type == kind)
    return as_list(expressions, cast) if multi else cast.sql


@function("case", "any*", "any*", more=True, minimum=2, lazy=True)
def case(expressions: Expressions, node: Node, arguments: list[Node]) -> Value:
    """``CASE(condition, value, ..., otherwise)``."""
    conditions: list[str] = []
    arms: list[tuple[int, Value]] = []
    failed = False
    with ExitStack() as stack:
        for position in range(0, len(arguments) - 1, 2):
            condition = expressions.value(arguments[position])
            if condition.type not in {"boolean", "null", _UNRESOLVED}:
                raise wrong_type(node, "boolean", condition, f"{ORDINALS[min(position, 5)]} ")
            failed = failed or condition.type == _UNRESOLVED
            # A list is false here, not null (csv-spec ``conditional``, caseOnMv).
            single = expressions.single(condition, node, result="false")
            sql = expressions.rows.bind(single).sql if single.type == "boolean" else "false"
            conditions.append(sql)
            with expressions.rows.only_where(sql):
                arms.append((position + 1, expressions.value(arguments[position + 1])))
            stack.enter_context(expressions.rows.only_where(f"({sql}) IS NOT TRUE"))
        if len(arguments) % 2:
            arms.append((len(arguments) - 1, expressions.value(arguments[-1])))
        if failed or any(arm.type == _UNRESOLVED for _, arm in arms):
            return unresolved(node)
        kind = common(node, arms)
        multi = any(arm.multi for _, arm in arms)
        parts = [_unified(expressions, arm, kind, multi) for _, arm in arms]
    listed = " ".join(f"WHEN {condition} THEN {part}" for condition, part in zip(conditions, parts, strict=False))
    otherwise = parts[-1] if len(arguments) % 2 else f"CAST(NULL AS {SQL[kind]}{'[]' if multi else ''})"
    return Value(f"CASE {listed} ELSE {otherwise} END", kind, node, multi=multi)


@function("coalesce", "any*", more=True, lazy=True)
def coalesce(expressions: Expressions, node: Node, arguments: list[Node]) -> Value:
    """The first that is not null."""
    values: list[tuple[int, Value]] = []
    with ExitStack() as stack:
        for position, argument in enumerate(arguments):
            value = expressions.value(argument)
            if position + 1 < len(arguments) and value.type != _UNRESOLVED:
                value = expressions.rows.bind(value)
                stack.enter_context(expressions.rows.only_where(f"{value.sql} IS NULL"))
            values.append((position, value))
        if any(value.type == _UNRESOLVED for _, value in values):
            return unresolved(node)
        kind = common(node, values)
        multi = any(value.multi for _, value in values)
        parts = [_unified(expressions, value, kind, multi) for _, value in values]
    return Value(f"coalesce({', '.join(parts)})", kind, node, multi=multi)


def _extreme(name: str, sql: str) -> None:
    @function(name, "any*", more=True)
    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        kind = common(node, list(enumerate(arguments)))
        if kind == "null":
            return Value("NULL", "null", node, atom=True)
        parts = []
        for argument in arguments:
            one = expressions.cast_to(argument, kind) if argument.type != "null" else f"CAST(NULL AS {SQL[kind]})"
            parts.append(f"list_{'max' if sql == 'greatest' else 'min'}({one})" if argument.multi else one)
        bound = [expressions.rows.bind(Value(part, kind, node)).sql for part in parts]
        # SQL's greatest() skips nulls; here one null makes the result null.
        missing = " OR ".join(f"{part} IS NULL" for part in bound)
        return Value(f"CASE WHEN {missing} THEN NULL ELSE {sql}({', '.join(bound)}) END", kind, node)


_extreme("greatest", "greatest")
_extreme("least", "least")
