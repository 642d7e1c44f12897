"""Aggregate functions: one piece of SQL over a group. Every value of a list counts.

Percentiles interpolate between the two nearest values. Elasticsearch's t-digest does the same, to rounding, as long
as it holds all values (some thousands; csv-spec ``stats_percentile``); beyond that it approximates and this does not.
COUNT_DISTINCT is exact, as Elasticsearch's is below its precision threshold (3,000 by default).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.esql.errors import Problem
from elastic_sandbox.esql.functions.registry import function
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import Value

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions


def _all(value: Value) -> str:
    """SQL of the list of all values of a group."""
    return f"flatten(list({value.sql}))"


@function("count", "any*", minimum=0, aggregate=True)
def count(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Values, or rows without an argument."""
    if not arguments:
        return Value("count(*)", "long", node)
    value = arguments[0]
    made = f"coalesce(sum(len({value.sql})), 0)::BIGINT" if value.multi else f"count({value.sql})"
    return Value(made, "long", node)


@function("count_distinct", "any*", "whole", minimum=1, aggregate=True)
def count_distinct(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Different values."""
    if len(arguments) == 2 and not arguments[1].constant:
        raise _not_constant(node, arguments[1])
    value = arguments[0]
    if value.multi:
        return Value(f"coalesce(len(list_distinct({_all(value)})), 0)::BIGINT", "long", node)
    return Value(f"count(DISTINCT {value.sql})", "long", node)


def _not_constant(node: Node, value: Value) -> Problem:
    return Problem(node, f"second argument of [{node.text}] must be a constant, received [{value.node.text}]")


def _total(value: Value) -> str:
    """Doubles are summed with compensation, as Elasticsearch does."""
    if value.type == "double":
        return f"kahan_sum(list_aggregate({value.sql}, 'kahan_sum'))" if value.multi else f"kahan_sum({value.sql})"
    return f"sum(list_sum({value.sql}))" if value.multi else f"sum({value.sql})"


@function("sum", "summable*", aggregate=True)
def total(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A long for whole numbers."""
    value = arguments[0]
    if value.type == "double":
        return Value(_total(value), "double", node)
    return Value(f"CAST({_total(value)} AS BIGINT)", "long", node)


@function("avg", "summable*", aggregate=True)
def average(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A double."""
    value = arguments[0]
    counted = f"sum(len({value.sql}))" if value.multi else f"count({value.sql})"
    return Value(f"({_total(value)}::DOUBLE / nullif({counted}, 0))", "double", node)


def _extreme(name: str) -> None:
    @function(name, "orderable*", aggregate=True)
    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        value = arguments[0]
        made = f"{name}(list_{name}({value.sql}))" if value.multi else f"{name}({value.sql})"
        return Value(made, "keyword" if value.type == "text" else value.type, node)


_extreme("min")
_extreme("max")


def _quantile(value: Value, share: float) -> str:
    if value.multi:
        return f"list_aggregate({_all(value)}::DOUBLE[], 'quantile_cont', {share!r})"
    number = value.sql if value.type == "double" else f"{value.sql}::DOUBLE"
    return f"quantile_cont({number}, {share!r})"


@function("median", "measurable*", aggregate=True)
def median(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """PERCENTILE(x, 50)."""
    return Value(_quantile(arguments[0], 0.5), "double", node)


@function("percentile", "ranked*", "numeric", aggregate=True)
def percentile(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A double; null for a percentile outside 0 to 100 (csv-spec ``stats_percentile``, invalidPercentile)."""
    value, share = arguments
    if not share.constant:
        raise _not_constant(node, share)
    wanted = float(expressions.compilation.fold(share)) / 100
    if not 0 <= wanted <= 1:
        return Value(f"CASE WHEN count({value.sql}) < 0 THEN 0::DOUBLE END", "double", node)
    return Value(_quantile(value, wanted), "double", node)


@function("std_dev", "measurable*", aggregate=True)
def standard_deviation(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Of the population."""
    value = arguments[0]
    if value.multi:
        return Value(f"list_aggregate({_all(value)}::DOUBLE[], 'stddev_pop')", "double", node)
    return Value(f"stddev_pop({value.sql}::DOUBLE)", "double", node)


@function("values", "any*", aggregate=True)
def values(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Each value once. Elasticsearch promises no order; here it is ascending."""
    value = arguments[0]
    if value.multi:
        made = f"list_sort(list_distinct({_all(value)}))"
    else:
        made = f"list_sort(list(DISTINCT {value.sql}) FILTER (WHERE {value.sql} IS NOT NULL))"
    kind = "keyword" if value.type == "text" else value.type
    return Value(f"nullif({made}, [])", kind, node, multi=True)


@function("top", "orderable*", "integer", "string", aggregate=True)
def top(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The first values of an order, with repetitions."""
    value, limit, order = arguments
    number, direction = expressions.compilation.fold(limit), str(expressions.compilation.fold(order)).upper()
    if not limit.constant or number is None or number <= 0:
        raise Problem(node, f"Limit must be greater than 0 in [{node.text}], found [{limit.node.text}]")
    if direction not in {"ASC", "DESC"}:
        raise Problem(node, f"Invalid order value in [{node.text}], expected [ASC, DESC] but got [{order.literal}]")
    listed = _all(value) if value.multi else f"list({value.sql}) FILTER (WHERE {value.sql} IS NOT NULL)"
    made = f"list_sort({listed}, '{direction}')[1:{number}]"
    return Value(f"nullif({made}, [])", "keyword" if value.type == "text" else value.type, node, multi=True)
