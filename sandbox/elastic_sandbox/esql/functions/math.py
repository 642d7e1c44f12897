"""Numbers. A result that is not finite, or an argument outside a function's domain, is null with a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.esql.functions.registry import function, template
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import Value

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

_ARITHMETIC = "java.lang.ArithmeticException: "

template("abs", "same", "abs({})", "numeric")


@function("ceil", "numeric")
def ceil(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The next whole number; whole numbers stay what they are."""
    return _rounded("ceil", node, arguments[0])


@function("floor", "numeric")
def floor(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The whole number before."""
    return _rounded("floor", node, arguments[0])


def _rounded(sql: str, node: Node, number: Value) -> Value:
    made = f"{sql}({number.sql})" if number.type == "double" else number.sql
    return Value(made, number.type, node, constant=number.constant)


@function("round", "numeric", "whole", minimum=1)
def round_to(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Half away from zero, to decimals or (below zero) to tens; of the argument's type."""
    number = arguments[0]
    if len(arguments) == 1:
        made = f"round({number.sql})" if number.type == "double" else number.sql
    elif number.type == "double":
        made = f"round({number.sql}, CAST({arguments[1].sql} AS INTEGER))"
    else:
        decimals = expressions.rows.bind(arguments[1]).sql
        made = (
            f"CASE WHEN {decimals} >= 0 THEN {number.sql} "
            f"ELSE CAST(round({number.sql}::HUGEINT::DOUBLE, CAST({decimals} AS INTEGER)) AS BIGINT) END"
        )
    return Value(made, number.type, node, constant=all(one.constant for one in arguments))


def _finite(expressions: Expressions, node: Node, sql: str) -> Value:
    words = f"'{_ARITHMETIC}not a finite double number: ' || CASE WHEN isnan({{}}) THEN 'NaN' ELSE 'Infinity' END"
    return expressions.checked(node, sql, "double", "isfinite({})", words)


@function("pow", "numeric", "numeric")
def power(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Always a double (csv-spec ``math``, powIntIntPlusInt)."""
    base, exponent = (one.sql for one in arguments)
    return _finite(expressions, node, f"pow({base}::DOUBLE, {exponent}::DOUBLE)")


def _within(expressions: Expressions, node: Node, number: Value, good: str, sql: str, words: str) -> Value:
    """``sql`` of a number that lies where ``good`` says, else a failure."""
    one = expressions.rows.bind(Value(f"{number.sql}::DOUBLE", "double", node)).sql
    failed = expressions.compilation.fail(node, f"'{_ARITHMETIC}{words}'", "DOUBLE")
    made = f"CASE WHEN {good.format(one)} THEN {sql.format(one)} WHEN {one} IS NOT NULL THEN {failed} END"
    return Value(made, "double", node, constant=number.constant)


@function("sqrt", "numeric")
def square_root(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A double."""
    return _within(expressions, node, arguments[0], "{} >= 0", "sqrt({})", "Square root of negative")


@function("log10", "numeric")
def common_logarithm(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """A double."""
    return _within(expressions, node, arguments[0], "{} > 0", "log10({})", "Log of non-positive number")


@function("log", "numeric", "numeric", minimum=1)
def logarithm(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Natural, or with the base first."""
    if len(arguments) == 1:
        return _within(expressions, node, arguments[0], "{} > 0", "ln({})", "Log of non-positive number")
    base, number = (expressions.rows.bind(Value(f"{one.sql}::DOUBLE", "double", node)).sql for one in arguments)
    positive = expressions.compilation.fail(node, f"'{_ARITHMETIC}Log of non-positive number'", "DOUBLE")
    one = expressions.compilation.fail(node, f"'{_ARITHMETIC}Log of base 1'", "DOUBLE")
    made = (
        f"CASE WHEN {base} IS NULL OR {number} IS NULL THEN NULL WHEN {base} <= 0 OR {number} <= 0 THEN {positive} "
        f"WHEN {base} = 1 THEN {one} ELSE log10({number}) / log10({base}) END"
    )
    return Value(made, "double", node)
