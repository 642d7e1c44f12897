"""Texts. Positions count characters from 1; results are keywords."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from elastic_sandbox.documents.columns import ip_to_column
from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.errors import Problem
from elastic_sandbox.esql.functions.registry import function, template
from elastic_sandbox.esql.tree import Node
from elastic_sandbox.esql.types import Value

if TYPE_CHECKING:
    from elastic_sandbox.esql.expressions import Expressions

_BLANKS = r"E' \t\n\r\f\x0B\x1C\x1D\x1E\x1F'"  # Character.isWhitespace, in ASCII

template("length", "integer", "length({})::BIGINT", "string")
template("starts_with", "boolean", "starts_with({}, {})", "string", "string")
template("ends_with", "boolean", "ends_with({}, {})", "string", "string")
template("trim", "keyword", f"trim({{}}, {_BLANKS})", "string")
template("ltrim", "keyword", f"ltrim({{}}, {_BLANKS})", "string")
template("rtrim", "keyword", f"rtrim({{}}, {_BLANKS})", "string")
template("left", "keyword", "left({}, greatest({}, 0))", "string", "integer")
template("right", "keyword", "right({}, greatest({}, 0))", "string", "integer")


@function("concat", "string", "string", more=True)
def concat(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Null when any is."""
    joined = " || ".join(one.sql for one in arguments)
    return Value(f"({joined})", "keyword", node, constant=all(one.constant for one in arguments))


@function("substring", "string", "integer", "integer", minimum=2)
def substring(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """From a position, counted from the end when negative (csv-spec ``string``)."""
    text, start = expressions.rows.bind(arguments[0]).sql, expressions.rows.bind(arguments[1]).sql
    # 0 is read as 1; a start before the text is its beginning.
    place = (
        f"CASE WHEN {start} > 0 THEN {start} WHEN {start} = 0 THEN 1 ELSE greatest(length({text}) + {start} + 1, 1) END"
    )
    if len(arguments) == 2:
        return Value(f"substring({text}, {place})", "keyword", node)
    length = expressions.rows.bind(arguments[2]).sql
    words = (
        "'java.lang.IllegalArgumentException: Length parameter cannot be negative, found [' || "
        f"{length}::VARCHAR || ']'"
    )
    failed = expressions.compilation.fail(node, words, "VARCHAR")
    made = f"CASE WHEN {length} < 0 THEN {failed} ELSE substring({text}, {place}, {length}) END"
    return Value(made, "keyword", node)


@function("split", "string", "string")
def split(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The pieces between a delimiter."""
    delimiter = arguments[1]
    if not delimiter.known or len(str(delimiter.literal).encode()) != 1:
        raise unsupported("SPLIT by anything but one constant character")
    return Value(f"string_split({arguments[0].sql}, {delimiter.sql})", "keyword", node, multi=True)


@function("locate", "string", "string", "integer", minimum=2)
def locate(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """The position of a text in another; 0 when it is not there."""
    text, part = arguments[0].sql, arguments[1].sql
    if len(arguments) == 2:
        return Value(f"instr({text}, {part})::BIGINT", "integer", node)
    start = f"greatest({expressions.rows.bind(arguments[2]).sql}, 1)"
    found = expressions.rows.bind(Value(f"instr(substring({text}, {start}), {part})::BIGINT", "integer", node)).sql
    return Value(f"CASE WHEN {found} = 0 THEN 0 ELSE {found} + {start} - 1 END", "integer", node)


@function("replace", "string", "string", "string")
def replace_all(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Every match of a regular expression by a text that may name groups as ``$1``."""
    regex, new = arguments[1], arguments[2]
    if not regex.known or not new.known:
        raise unsupported("REPLACE with a pattern or replacement that is not constant")
    pattern = str(regex.literal)
    if re.search(r"\(\?(?!:)|\\[^\\.*+?()\[\]{}|^$/\-dDsSwWbtnr]|&&|[*+?}]\+", pattern):
        raise unsupported(f"REPLACE with the pattern [{pattern}]")
    made = re.sub(r"\$(\d)", r"\\\1", str(new.literal).replace("\\", "\\\\"))
    compilation = expressions.compilation
    return Value(
        f"regexp_replace({arguments[0].sql}, {compilation.text(pattern)}, {compilation.text(made)}, 'g')",
        "keyword",
        node,
    )


def _cased(name: str, sql: str) -> None:
    # DuckDB maps letter by letter; Java, as Python, makes SS of ß.
    mapped = f"CASE WHEN strlen({{0}}) = length({{0}}) THEN {sql}({{0}}) ELSE esql_text('{sql}', {{0}}, '') END"

    @function(name, "string*")
    def handler(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
        text = expressions.rows.bind(arguments[0])
        made = mapped.format(text.sql)
        if text.multi:
            made = f"list_transform({text.sql}, lambda x: {mapped.format('x')})"
        return Value(made, "keyword", node, multi=text.multi, constant=text.constant)


_cased("to_lower", "lower")
_cased("to_upper", "upper")


@function("cidr_match", "ip", "string", more=True)
def cidr_match(expressions: Expressions, node: Node, arguments: list[Value]) -> Value:
    """Whether an address lies in any of some networks."""
    import ipaddress

    address = expressions.rows.bind(arguments[0]).sql
    ranges = []
    for block in arguments[1:]:
        if not block.known:
            raise unsupported("CIDR_MATCH with a network that is not constant")
        try:
            network = ipaddress.ip_network(str(block.literal), strict=False)
        except ValueError:
            raise Problem(block.node, f"'{block.literal}' is not an IP string literal.") from None
        low, high = ip_to_column(str(network[0])), ip_to_column(str(network[-1]))
        ranges.append(f"{address} BETWEEN '{low}' AND '{high}'")
    return Value(f"({' OR '.join(ranges)})", "boolean", node)
