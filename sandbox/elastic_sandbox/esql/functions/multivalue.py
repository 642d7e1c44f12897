"""MV_*: functions of the values of one field. A single value is a list of one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem
from elastic_sandbox.esql.functions.registry import function
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import SQL, Value, null_of

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions


@function("mv_count", "any*")
def mv_count(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """How many values; null for none."""
    one = arguments[0]
    made = f"len({one.sql})::BIGINT" if one.multi else f"CASE WHEN {one.sql} IS NOT NULL THEN 1::BIGINT END"
    return Value(made, "integer", node)


def _picked(name: str, sql: str) -> None:
    @function(name, "any*")
    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        one = arguments[0]
        kind = "keyword" if one.type == "text" else one.type
        if not one.multi:
            return replace(one, type=kind, node=node, field=None)
        return Value(sql.format(one.sql), kind, node, constant=one.constant)


_picked("mv_first", "({})[1]")
_picked("mv_last", "({})[-1]")
_picked("mv_min", "list_min({})")
_picked("mv_max", "list_max({})")


@function("mv_sum", "numeric*")
def mv_sum(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Of the field's type; beyond it null with a warning (csv-spec ``math``, mvSumIntsOverflow)."""
    one = arguments[0]
    if not one.multi:
        return replace(one, node=node, field=None)
    if one.type == "double":
        return Value(f"list_aggregate({one.sql}, 'kahan_sum')", "double", node)
    return expressions.in_range(node, f"list_sum({one.sql})", one.type)


@function("mv_avg", "numeric*")
def mv_avg(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A double."""
    one = arguments[0]
    if not one.multi:
        return Value(f"{one.sql}::DOUBLE", "double", node)
    listed = expressions.rows.bind(one).sql
    total = f"list_aggregate({listed}, 'kahan_sum')" if one.type == "double" else f"list_sum({listed})"
    return Value(f"({total}::DOUBLE / len({listed}))", "double", node)


@function("mv_concat", "string*", "string")
def mv_concat(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The values joined by a delimiter."""
    one, delimiter = arguments
    if not one.multi:
        return replace(one, type="keyword", node=node, field=None)
    between = expressions.compilation.fold(delimiter)
    if between is None:
        return null_of(node, "keyword")
    return Value(f"array_to_string({one.sql}, {expressions.compilation.text(between)})", "keyword", node)


@function("mv_dedupe", "any*")
def mv_dedupe(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Each value once, in the order of its first appearance."""
    one = arguments[0]
    kind = "keyword" if one.type == "text" else one.type
    if not one.multi:
        return replace(one, type=kind, node=node, field=None)
    listed = expressions.rows.bind(one).sql
    made = f"list_filter({listed}, lambda x, i: list_position({listed}, x) = i)"
    return Value(made, kind, node, multi=True)


@function("mv_sort", "any*", "string", minimum=1)
def mv_sort(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Ascending, or as the second argument says."""
    one = arguments[0]
    order = "ASC"
    if len(arguments) == 2:
        order = str(expressions.compilation.fold(arguments[1])).upper()
        if order not in {"ASC", "DESC"}:
            raise Problem(node, f"Invalid order value in [{node.text}], expected one of [ASC, DESC] but got "
                                f"[{arguments[1].literal}]")  # fmt: skip
    if not one.multi:
        return replace(one, node=node, field=None)
    return Value(f"list_sort({one.sql}, '{order}')", one.type, node, multi=True)


@function("mv_slice", "any*", "integer", "integer", minimum=2)
def mv_slice(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Values from one position to another, from 0, or from -1 at the end."""
    bounds = [expressions.compilation.fold(one) for one in arguments[1:]]
    start = bounds[0]
    end = bounds[-1]
    if None in bounds or (start < 0) != (end < 0) or start > end:
        raise unsupported("MV_SLICE with mixed, reversed or null bounds")
    one = arguments[0]
    if not one.multi:
        keep = "true" if start in {0, -1} or end == -1 else "false"
        return Value(f"CASE WHEN {keep} THEN {one.sql} END", one.type, node)
    shift = 1 if start >= 0 else 0
    listed = expressions.rows.bind(one).sql
    low = str(start + shift) if start >= 0 else f"greatest(len({listed}) + {start} + 1, 1)"
    high = str(end + shift) if end >= 0 else f"len({listed}) + {end} + 1"
    kept = expressions.rows.bind(Value(f"({listed})[({low}):({high})]", one.type, node, multi=True)).sql
    return Value(f"CASE WHEN len({kept}) > 0 THEN {kept} END", one.type, node, multi=True)


def as_list(expressions: Expressions, value: Value) -> str:
    """SQL of all values as a list; null for none."""
    if value.multi:
        return value.sql
    one = expressions.rows.bind(value).sql
    return f"CASE WHEN {one} IS NOT NULL THEN [{one}]::{SQL[value.type]}[] END"
