"""TO_* functions and ``::`` casts, over single values and lists alike.

A value of a list that cannot be converted is left out, with a warning; a list of none is null (csv-spec ``ints``,
convertLongToInt). Words of the failures: csv-spec ``ints``, ``floats``, ``docs``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem, wrong_type
from elastic_sandbox.esql.functions.registry import function
from elastic_sandbox.esql.runtime import DATE_FORMAT, parse_date, parse_ip
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import AMOUNTS, SQL, Amount, Value, amount_of, null_of, shown

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

CASTS = {
    "keyword": "keyword", "string": "keyword", "text": "keyword", "long": "long", "integer": "integer",
    "int": "integer", "double": "double", "boolean": "boolean", "bool": "boolean", "datetime": "date", "date": "date",
    "ip": "ip", "date_period": "date_period", "time_duration": "time_duration",
}  # fmt: skip
"""Names of types after ``::``."""

_INVALID = "org.elasticsearch.xpack.esql.core.InvalidArgumentException: "
_ILLEGAL = "java.lang.IllegalArgumentException: "

# (from, to) → (SQL of one value {}, failure's words as SQL; None when every value converts).
_NOT_A_NUMBER = f"'{_INVALID}Cannot parse number [' || {{}} || ']'"


def _out_of(kind: str, printed: str = "{}::VARCHAR") -> str:
    return f"'{_INVALID}[' || {printed} || '] out of [{kind}] range'"


_DOUBLE_TEXT = "esql_text('double', {}::VARCHAR, '')"
_ROUNDED = "floor({} + 0.5)"  # Math.round
_TABLE: dict[tuple[str, str], tuple[str, str | None]] = {
    ("integer", "keyword"): ("{}::VARCHAR", None),
    ("long", "keyword"): ("{}::VARCHAR", None),
    ("unsigned_long", "keyword"): ("{}::VARCHAR", None),
    ("double", "keyword"): (_DOUBLE_TEXT, None),
    ("boolean", "keyword"): ("{}::VARCHAR", None),
    ("date", "keyword"): ("strftime(epoch_ms({}), '%Y-%m-%dT%H:%M:%S.%gZ')", None),
    ("ip", "keyword"): ("esql_text('ip', {}, '')", None),
    ("keyword", "long"): ("esql_text('to_whole', {}, '64')::BIGINT", _NOT_A_NUMBER),
    ("keyword", "integer"): ("esql_text('to_whole', {}, '32')::BIGINT", _NOT_A_NUMBER),
    ("keyword", "double"): ("esql_text('to_double', {}, '')::DOUBLE", _NOT_A_NUMBER),
    ("keyword", "boolean"): ("(lower({}) = 'true')", None),
    ("keyword", "ip"): ("esql_text('to_ip', {}, '')", f"'{_ILLEGAL}''' || {{}} || ''' is not an IP string literal.'"),
    ("keyword", "date"): (
        "esql_text('to_date', {}, '')::BIGINT",
        f"'{_ILLEGAL}failed to parse date field [' || {{}} || '] with format [{DATE_FORMAT}]'",
    ),
    ("integer", "long"): ("{}", None),
    ("integer", "double"): ("{}::DOUBLE", None),
    ("integer", "boolean"): ("({} <> 0)", None),
    ("integer", "date"): ("{}", None),
    ("long", "integer"): ("CASE WHEN {} BETWEEN -2147483648 AND 2147483647 THEN {} END", _out_of("integer")),
    ("long", "double"): ("{}::DOUBLE", None),
    ("long", "boolean"): ("({} <> 0)", None),
    ("long", "date"): ("{}", None),
    ("double", "long"): (
        f"CASE WHEN {_ROUNDED} >= -9223372036854775808 AND {_ROUNDED} < 9223372036854775808 "
        f"THEN {_ROUNDED}::BIGINT END",
        _out_of("long", _DOUBLE_TEXT),
    ),
    ("double", "integer"): (
        f"CASE WHEN {_ROUNDED} BETWEEN -2147483648 AND 2147483647 THEN {_ROUNDED}::BIGINT END",
        _out_of("integer", _DOUBLE_TEXT),
    ),
    ("double", "boolean"): ("({} <> 0)", None),
    ("boolean", "integer"): ("{}::BIGINT", None),
    ("boolean", "long"): ("{}::BIGINT", None),
    ("boolean", "double"): ("{}::DOUBLE", None),
    ("date", "long"): ("{}", None),
    ("date", "double"): ("{}::DOUBLE", None),
    ("date", "integer"): ("CASE WHEN {} BETWEEN -2147483648 AND 2147483647 THEN {} END", _out_of("integer")),
}

_ACCEPTED = {
    "ip": "ip or string",
    "boolean": "boolean or numeric or string",
    "date": "datetime or date_nanos or numeric or string",
    "double": "boolean or counter or datetime or date_nanos or numeric or string",
    "long": "boolean or counter or datetime or date_nanos or numeric or string",
    "integer": "boolean or counter_integer or datetime or date_nanos or numeric or string",
}


def convert(expressions: Expressions, node: Node, value: Value, kind: str) -> Value:
    """``value`` as another type.

    :raises Problem: no value of its type is one of the other
    """
    if value.type == "unsupported":
        return _union(expressions, node, value, kind)
    if kind in AMOUNTS:
        return _amount(node, value, kind)
    if value.type == "null":
        return null_of(node, kind)
    start = "keyword" if value.type == "text" else value.type
    if start == kind:
        return replace(value, type=kind, node=node, field=value.field if value.type == kind else None)
    rule = _TABLE.get((start, kind))
    if rule is None:
        if "unsigned_long" in {start, kind} or kind not in _ACCEPTED:
            raise unsupported(f"converting [{shown(value.type)}] to [{kind}]")
        raise wrong_type(node, f"{_ACCEPTED[kind]}", value)
    sql, words = rule
    one = expressions.rows.bind(value)

    def element(name: str) -> str:
        made = sql.replace("{}", name)
        if words is None:
            return made
        failed = expressions.compilation.fail(node, words.replace("{}", name), SQL[kind])
        return f"coalesce({made}, CASE WHEN {name} IS NOT NULL THEN {failed} END)"

    if not value.multi:
        return Value(element(one.sql), kind, node, constant=value.constant)
    listed = f"list_filter(list_transform({one.sql}, lambda x: {element('x')}), lambda y: y IS NOT NULL)"
    kept = expressions.rows.bind(Value(listed, kind, node, multi=True))
    return Value(f"CASE WHEN len({kept.sql}) > 0 THEN {kept.sql} END", kind, node, multi=True, constant=value.constant)


def _union(expressions: Expressions, node: Node, value: Value, kind: str) -> Value:
    """A field of several types, each converted where it is one (REST test 160_union_types)."""
    variants = value.field.variants()
    if not variants:
        raise Problem(value.node, value.field.refusal())
    converted = []
    for variant in variants:
        start = "keyword" if variant.type == "text" else variant.type
        if start != kind and (start, kind) not in _TABLE:
            raise Problem(value.node, value.field.refusal())
        converted.append(convert(expressions, node, replace(variant, node=value.node), kind))
    multi = any(one.multi for one in converted)
    parts = [one.sql if one.multi or not multi else f"[{one.sql}]" for one in converted]
    if multi:
        bound = [expressions.rows.bind(one) for one in converted]
        parts = [b.sql if b.multi else f"CASE WHEN {b.sql} IS NOT NULL THEN [{b.sql}] END" for b in bound]
    return Value(f"coalesce({', '.join(parts)})", kind, node, multi=multi)


def _amount(node: Node, value: Value, kind: str) -> Value:
    if value.type == kind:
        return replace(value, node=node)
    if value.type != "keyword" or not value.known:
        raise wrong_type(node, f"{kind} or string", value)
    found = amount_of_text(str(value.literal))
    if found is None or found.type != kind:
        raise Problem(node, f"Cannot convert string [{value.literal}] to [{kind.upper()}]")
    return Value("NULL", kind, node, atom=True, constant=True, literal=found)


def amount_of_text(text: str) -> Amount | None:
    """``"3 days"``."""
    number, _, unit = text.strip().partition(" ")
    if not number.lstrip("-").isdigit():
        return None
    return amount_of(int(number), unit.strip().lower())


def literal_as(expressions: Expressions, value: Value, kind: str) -> Value:
    """A constant text read as the type that its place wants, at once.

    :raises Problem: it cannot be
    """
    text = str(value.literal)
    if kind == "amount":
        amount = amount_of_text(text)
        if amount is None:
            raise Problem(value.node, f"Cannot convert string [{text}] to [DATE_PERIOD or TIME_DURATION]")
        return Value("NULL", amount.type, value.node, atom=True, constant=True, literal=amount)
    if kind == "boolean":
        return expressions.compilation.literal(text.lower() == "true", "boolean", value.node)
    read = parse_date(text) if kind == "date" else parse_ip(text)
    if read is None:
        said = (
            f"failed to parse date field [{text}] with format [{DATE_FORMAT}]"
            if kind == "date"
            else f"'{text}' is not an IP string literal."
        )
        raise Problem(value.node, f"Cannot convert string [{text}] to [{shown(kind).upper()}], error [{said}]")
    return expressions.compilation.literal(int(read) if kind == "date" else read, kind, value.node)


def _register(names: str, kind: str) -> None:
    @function(names, "any*", converts=True)
    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        return convert(expressions, node, arguments[0], kind)


_register("to_string to_str", "keyword")
_register("to_long", "long")
_register("to_integer to_int", "integer")
_register("to_double to_dbl", "double")
_register("to_boolean to_bool", "boolean")
_register("to_datetime to_dt", "date")
_register("to_ip", "ip")
