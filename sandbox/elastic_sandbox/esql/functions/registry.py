"""What a function is: its name, how many arguments of which kinds, and who compiles it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import parsing_error, wrong_type
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import SQL, Value

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

Handler = Callable[["Expressions", Node, list[Any]], Value]

KINDS: dict[str, tuple[frozenset[str], str, str]] = {
    "numeric": (frozenset({"integer", "long", "double"}), "numeric", "integer"),
    "whole": (frozenset({"integer", "long"}), "whole number except unsigned_long or counter types", "integer"),
    "integer": (frozenset({"integer"}), "integer", "integer"),
    "string": (frozenset({"keyword", "text"}), "string", "keyword"),
    "date": (frozenset({"date"}), "date_nanos or datetime", "date"),
    "boolean": (frozenset({"boolean"}), "boolean", "boolean"),
    "ip": (frozenset({"ip"}), "ip", "ip"),
    "amount": (frozenset({"date_period", "time_duration"}), "dateperiod or timeduration", "time_duration"),
    "summable": (
        frozenset({"integer", "long", "double"}),
        "aggregate_metric_double or numeric except unsigned_long or counter types",
        "integer",
    ),
    "measurable": (
        frozenset({"integer", "long", "double"}),
        "numeric except unsigned_long or counter types",
        "integer",
    ),
    "ranked": (frozenset({"integer", "long", "double"}), "numeric except unsigned_long", "integer"),
    "orderable": (
        frozenset({"keyword", "text", "integer", "long", "double", "date", "boolean", "ip"}),
        "representable except unsigned_long and spatial types",
        "null",
    ),
    "any": (
        frozenset({"keyword", "text", "integer", "long", "unsigned_long", "double", "date", "boolean", "ip"}),
        "any type except counter types",
        "null",
    ),
}
"""Kind of an argument: the types it takes, how the server calls them, and the type of a null."""

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True)
class Function:
    """One function.

    :param kinds: of its arguments; the last repeats when there may be more. ``*`` after it: lists as they are
    :param lazy: its handler gets nodes, because not every argument is evaluated on every row
    :param converts: its arguments may be fields of several types
    """

    name: str
    minimum: int
    maximum: int | None
    kinds: tuple[str, ...]
    handler: Handler
    aggregate: bool = False
    grouping: bool = False
    lazy: bool = False
    converts: bool = False


FUNCTIONS: dict[str, Function] = {}


def function(
    names: str, *kinds: str, minimum: int | None = None, more: bool = False, **options: Any
) -> Callable[[Handler], Handler]:
    """Register a handler under one or more names.

    :param minimum: how many of the arguments must be given; all by default
    :param more: the last argument may come any number of times
    """

    def register(handler: Handler) -> Handler:
        for name in names.split():
            FUNCTIONS[name] = Function(
                name,
                len(kinds) if minimum is None else minimum,
                None if more else len(kinds),
                kinds,
                handler,
                **options,
            )
        return handler

    return register


def template(names: str, result: str, sql: str, *kinds: str) -> None:
    """Register a function that is one piece of SQL over single values; ``same`` is the first argument's type."""

    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        made = sql.format(*(one.sql for one in arguments))
        constant = all(one.constant for one in arguments)
        return Value(made, arguments[0].type if result == "same" else result, node, constant=constant)

    function(names, *kinds)(handler)


def checked_count(found: Function, node: Node) -> None:
    """Refuse a call with too few or too many arguments, in FunctionRegistry's words."""
    given = len(node.args[1])
    if found.minimum <= given and (found.maximum is None or given <= found.maximum):
        return
    words = {0: "no", 1: "one", 2: "two", 3: "three", 4: "four"}
    low, high = words[found.minimum], words[found.maximum or 0]
    plural = "" if (found.maximum or found.minimum) == 1 else "s"
    if found.maximum is None:
        expected = f"expects at least {low} argument{plural}"
    elif found.minimum == found.maximum:
        expected = f"expects exactly {low} argument{plural}" if given or found.minimum else "expects no arguments"
    else:
        expected = f"expects {low} or {high} arguments"
    raise parsing_error(node.line, node.column, f"error building [{found.name}]: {expected}")


def bound_arguments(expressions: Expressions, found: Function, node: Node, arguments: list[Value]) -> list[Value]:
    """The arguments, of the right types and single where the function wants single values.

    :raises Problem: one is of a wrong type
    """
    bound = []
    several = found.maximum is None or found.maximum > 1
    for position, argument in enumerate(arguments):
        kind = found.kinds[min(position, len(found.kinds) - 1)]
        listed = kind.endswith("*")
        one = _typed(expressions, node, argument, kind.rstrip("*"), position if several else None)
        bound.append(one if listed else expressions.single(one, node))
    return bound


def _typed(expressions: Expressions, node: Node, argument: Value, kind: str, position: int | None) -> Value:
    allowed, words, null = KINDS[kind]
    if argument.type in allowed or (kind == "any" and argument.type in {"null", "unsupported"}):
        return argument
    if argument.type == "null":
        return replace(argument, type=null, sql=f"CAST(NULL AS {SQL.get(null, 'BIGINT')})")
    if argument.type == "keyword" and argument.known and not argument.multi:
        from elastic_sandbox.esql.functions.conversion import literal_as

        if kind in {"date", "ip", "boolean"}:
            return literal_as(expressions, argument, kind)
        if kind == "amount":
            return literal_as(expressions, argument, "amount")
        raise unsupported(f"a text where [{node.text}] wants a number")
    ordinal = "" if position is None else f"{ORDINALS[position]} "
    raise wrong_type(node, words, argument, ordinal)
