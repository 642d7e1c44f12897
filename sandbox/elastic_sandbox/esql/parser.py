"""From the text of a query to its commands."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.esql.errors import parsing_error
from elastic_sandbox.esql.grammar import OTHER_COMMANDS, parser
from elastic_sandbox.esql.tree import Command, Field, Name, Node, Sort

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 400

_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", '"': '"', "\\": "\\"}


@lru_cache(maxsize=256)
def parse(query: str) -> tuple[Command, ...]:
    """The commands of a query; parameters stay parameters, so that the answer serves every call.

    :raises ElasticError: 400 parsing_exception, or 501 for a command that only the sandbox lacks
    """
    from lark.exceptions import UnexpectedEOF, UnexpectedInput, UnexpectedToken

    if len(query) > MAX_CHARACTERS:
        raise parsing_error(1, 1, f"ESQL statement is too large [{len(query)} characters > {MAX_CHARACTERS}]")
    try:
        tree = parser().parse(query)
        return _Builder(query).commands(tree)
    except UnexpectedInput as error:
        ended = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
        raise _stopped(query, len(query) if ended else error.pos_in_stream or 0) from None
    except RecursionError:
        raise parsing_error(1, 1, _TOO_DEEP) from None


def _stopped(query: str, offset: int) -> ElasticError:
    """Where and at what the parser gave up; ANTLR goes on to list what it expected, which is left out here."""
    _refuse_other_command(query, offset)
    line, column = _position(query, offset)
    rest = query[offset:].split("\n", 1)[0]
    if offset == len(query):
        return parsing_error(line, column, "mismatched input '<EOF>'")
    if rest[0] in "\"`#$&^~;'\\":
        return parsing_error(line, column, f"token recognition error at: '{rest}'")
    word = re.match(r"\w+|[=!<>]=|.", rest)
    return parsing_error(line, column, f"mismatched input '{word[0] if word else rest}'")


_TOO_DEEP = f"ESQL statement exceeded the maximum expression depth allowed ({MAX_DEPTH})"


def _position(query: str, offset: int) -> tuple[int, int]:
    before = query[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _refuse_other_command(query: str, offset: int) -> None:
    """501 where the parser gave up at a command that Elasticsearch has."""
    before = query[:offset].rstrip()
    word = re.match(r"[A-Za-z_]+", query[offset:])
    if word is None or (before and not before.endswith("|")):
        return
    if word[0].lower() in OTHER_COMMANDS:
        raise unsupported(f"the ES|QL command {word[0].upper()}")


def unquote(text: str) -> str:
    """A qualified name without its backquotes: ``a.`b.c` `` → ``a.b.c``."""
    if "`" not in text:
        return str(text)
    return re.sub(r"`((?:[^`]|``)+)`", lambda match: match[1].replace("``", "`"), text)


def _string(token: str) -> str:
    if token.startswith('"""'):
        return token[3:-3]
    return re.sub(r'\\([tnr"\\])', lambda match: _ESCAPES[match[1]], token[1:-1])


class _Builder:
    """Turns lark's tree into commands."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._depth = 0

    def commands(self, tree: Any) -> tuple[Command, ...]:
        return tuple(self._command(child) for child in tree.children)

    def _command(self, tree: Any) -> Command:
        kind = tree.data.rstrip("_")
        parts = [child for child in tree.children if not (_is_token(child) and child.type in _NOISE)]
        return Command(kind, self._node(kind, tree), tuple(getattr(self, "_" + kind)(parts)))

    # Commands -------------------------------------------------------------------------------------------------------

    def _from(self, parts: list[Any]) -> list[Any]:
        metadata = [self._name(part) for part in parts[1:] if part is not None]
        return [tuple(self._source(source) for source in parts[0].children), tuple(metadata)]

    def _source(self, tree: Any) -> tuple[str, Node]:
        token = tree.children[0]
        return (_string(token) if token.type == "STRING" else str(token)), self._node("source", tree)

    def _row(self, parts: list[Any]) -> list[Any]:
        return [self._field(field) for field in parts[0].children]

    _eval = _row

    def _where(self, parts: list[Any]) -> list[Any]:
        return [self.expression(parts[0])]

    def _stats(self, parts: list[Any]) -> list[Any]:
        found: dict[str, tuple[Field, ...]] = {"aggregates": (), "fields": ()}
        for part in parts:
            if part is not None:
                found[part.data] = tuple(self._field(field) for field in part.children)
        return [found["aggregates"], found["fields"]]

    def _sort(self, parts: list[Any]) -> list[Any]:
        keys = []
        for part in parts:
            words = {child.type for child in part.children if _is_token(child)}
            nulls = True if "FIRST" in words else False if "LAST" in words else None
            keys.append(Sort(self.expression(part.children[0]), "DESC" in words, nulls))
        return keys

    def _limit(self, parts: list[Any]) -> list[Any]:
        token = parts[0]
        node = self._node_at("parameter", token)
        return [Node("parameter", node.text, node.line, node.column, self._parameter(token))
                if token.type == "PARAMETER" else self._constant_token(token)]  # fmt: skip

    def _keep(self, parts: list[Any]) -> list[Any]:
        return [self._name(part.children[0]) for part in parts[0].children]

    _drop = _keep

    def _rename(self, parts: list[Any]) -> list[Any]:
        renamed = []
        for part in parts:
            names = [self._name(child.children[0]) for child in part.children if not _is_token(child)]
            if part.data == "renaming_reversed":
                names.reverse()
            renamed.append((*names, self._node("renaming", part)))
        return renamed

    def _mv_expand(self, parts: list[Any]) -> list[Any]:
        return [self._name(parts[0].children[0])]

    def _lookup_join(self, parts: list[Any]) -> list[Any]:
        trees = [part for part in parts if part is not None and not _is_token(part)]
        if any(_is_token(part) for part in parts if part is not None):
            raise unsupported("an alias in LOOKUP JOIN")
        return [self._source(trees[0]), tuple(self._name(key.children[0]) for key in trees[1:])]

    # Names ----------------------------------------------------------------------------------------------------------

    def _name(self, token: Any) -> Name:
        node = self._node_at("name", token)
        if token.type == "PARAMETER":
            parameter = Node("parameter", node.text, node.line, node.column, self._parameter(token))
            return Name(parameter, False, node)
        bare = re.sub(r"`(?:[^`]|``)+`", "", token)
        if token.type == "PATTERN" and "*" in bare:
            if "`" in token:
                raise unsupported(f"a name pattern with quoted parts [{token}]")
            return Name(str(token), True, node)
        return Name(unquote(token), False, node)

    def _field(self, tree: Any) -> Field:
        token, body, *rest = tree.children
        condition = next((child for child in rest if child is not None and not _is_token(child)), None)
        expression = self.expression(body)
        node = self._node("field", tree)
        if token is None:
            # `a` keeps its name; anything else is named by its source.
            plain = condition is None and expression.text == node.text
            name: str | Node = node.text
            if plain and expression.kind == "column":
                name = expression.args[0]
            elif plain and expression.kind == "parameter":
                name = expression
        elif token.type == "PARAMETER":
            name = Node("parameter", str(token), token.line, token.column, self._parameter(token))
        else:
            name = unquote(token)
        return Field(name, expression, None if condition is None else self.expression(condition), node)

    # Expressions ----------------------------------------------------------------------------------------------------

    def expression(self, tree: Any) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            node = self._node("", tree)
            raise parsing_error(node.line, node.column, _TOO_DEEP)
        try:
            if tree.data in _LITERALS:
                return self._constant(tree)
            return getattr(self, "_build_" + tree.data.rstrip("_"))(tree)
        finally:
            self._depth -= 1

    def _build_column(self, tree: Any) -> Node:
        return self._node("column", tree, unquote(tree.children[0]))

    def _build_inner(self, tree: Any) -> Node:
        return self.expression(tree.children[0])

    def _build_call(self, tree: Any) -> Node:
        token, arguments = tree.children
        name: Any = str(token)
        if token.type == "PARAMETER":
            name = Node("parameter", name, token.line, token.column, self._parameter(token))
        given: list[Any] = [] if arguments is None else list(arguments.children)
        if given and not _is_token(given[0]):
            if given[-1] is not None:
                raise unsupported(f"options of the function {name}")
            given.pop()
        parts = [self._node_at("star", one) if _is_token(one) else self.expression(one) for one in given]
        return self._node("call", tree, name, tuple(parts))

    def _build_cast(self, tree: Any) -> Node:
        return self._node("cast", tree, self.expression(tree.children[0]), str(tree.children[1]).lower())

    def _build_unary(self, tree: Any) -> Node:
        operator, operand = str(tree.children[0]), self.expression(tree.children[1])
        if (
            operand.kind == "literal"
            and operand.args[1] in _NUMBERS
            and tree.children[1].data in {"integer", "decimal"}
        ):
            value = -operand.args[0] if operator == "-" else operand.args[0]
            kind = operand.args[1] if operand.args[1] == "double" else _whole_type(value)
            return self._node("literal", tree, float(value) if kind == "double" else value, kind)
        return self._node("unary", tree, operator, operand)

    def _operation(self, kind: str, tree: Any) -> Node:
        left, operator, right = tree.children
        return self._node(kind, tree, str(operator), self.expression(left), self.expression(right))

    def _build_arithmetic(self, tree: Any) -> Node:
        return self._operation("arithmetic", tree)

    def _build_compare(self, tree: Any) -> Node:
        return self._operation("compare", tree)

    def _build_and(self, tree: Any) -> Node:
        return self._node("and", tree, self.expression(tree.children[0]), self.expression(tree.children[2]))

    def _build_or(self, tree: Any) -> Node:
        return self._node("or", tree, self.expression(tree.children[0]), self.expression(tree.children[2]))

    def _build_not(self, tree: Any) -> Node:
        return self._node("not", tree, self.expression(tree.children[1]))

    def _negated(self, tree: Any, made: Node) -> Node:
        negated = any(_is_token(child) and child.type == "NOT" for child in tree.children)
        return Node("not", made.text, made.line, made.column, (made,)) if negated else made

    def _build_in(self, tree: Any) -> Node:
        left, *items = [child for child in tree.children if child is not None and not _is_token(child)]
        listed = tuple(self.expression(item) for item in items)
        return self._negated(tree, self._node("in", tree, self.expression(left), listed))

    def _build_null_check(self, tree: Any) -> Node:
        return self._negated(tree, self._node("null", tree, self.expression(tree.children[0])))

    def _build_like(self, tree: Any) -> Node:
        operand, *patterns = [child for child in tree.children if child is not None and not _is_token(child)]
        kind = "rlike" if any(_is_token(child) and child.type == "RLIKE" for child in tree.children) else "like"
        texts = tuple(self.expression(pattern) for pattern in patterns)
        return self._negated(tree, self._node(kind, tree, self.expression(operand), texts))

    def _build_match(self, tree: Any) -> Node:
        token, constant = tree.children
        column = self._node_at("column", token)
        column = Node("column", column.text, column.line, column.column, (unquote(token),))
        return self._node("match", tree, column, self.expression(constant))

    # Constants ------------------------------------------------------------------------------------------------------

    def _constant(self, tree: Any) -> Node:
        kind, children = tree.data, tree.children
        if kind == "null":
            return self._node("literal", tree, None, "null")
        if kind == "span":
            return self._node("span", tree, int(children[0]), str(children[1]).lower())
        if kind == "parameter":
            return self._node("parameter", tree, *self._parameter(children[0]))
        if kind == "list":
            return self._list(tree)
        return self._constant_token(children[0], tree)

    def _constant_token(self, token: Any, tree: Any = None) -> Node:
        value, kind = _value_of(token)
        if tree is None:
            node = self._node_at("literal", token)
            return Node("literal", node.text, node.line, node.column, (value, kind))
        return self._node("literal", tree, value, kind)

    def _list(self, tree: Any) -> Node:
        found = []
        for item in tree.children:
            sign, token = item.children if len(item.children) == 2 else (None, item.children[0])
            value, kind = _value_of(token)
            if sign is not None and str(sign) == "-":
                value = -value
                kind = kind if kind == "double" else _whole_type(value)
            found.append((value, kind))
        kinds = {kind for _, kind in found}
        if len(kinds) > 1 and not kinds <= _NUMBERS:
            node = self._node("list", tree)
            raise parsing_error(node.line, node.column, f"mismatched input '{node.text}'")
        kind = max(kinds, key=_WIDENING.index) if kinds <= _NUMBERS else kinds.pop()
        return self._node("list", tree, [float(v) if kind == "double" else v for v, _ in found], kind)

    @staticmethod
    def _parameter(token: Any) -> tuple[str, bool, int]:
        """What it is called, whether it names an identifier, and where it stands (for the order of ``?``)."""
        return str(token).lstrip("?"), str(token).startswith("??"), token.start_pos

    # Places ---------------------------------------------------------------------------------------------------------

    def _node(self, kind: str, tree: Any, *args: Any) -> Node:
        meta = tree.meta
        return Node(kind, self._query[meta.start_pos : meta.end_pos], meta.line, meta.column, args)

    def _node_at(self, kind: str, token: Any) -> Node:
        return Node(kind, str(token), token.line, token.column)


_LITERALS = frozenset({"null", "span", "integer", "decimal", "boolean", "string", "parameter", "list"})
_NUMBERS = frozenset({"integer", "long", "unsigned_long", "double"})
_WIDENING = ["integer", "long", "unsigned_long", "double"]
_NOISE = frozenset({
    "FROM", "METADATA", "ROW", "WHERE", "EVAL", "STATS", "BY", "SORT", "LIMIT", "KEEP", "DROP", "RENAME", "MV_EXPAND",
    "LOOKUP", "JOIN", "AS", "ON",
})  # fmt: skip


def _is_token(child: Any) -> bool:
    return hasattr(child, "type")


def _whole_type(value: int) -> str:
    if -(2**31) <= value < 2**31:
        return "integer"
    if -(2**63) <= value < 2**63:
        return "long"
    return "unsigned_long" if 0 <= value < 2**64 else "double"


def _value_of(token: Any) -> tuple[Any, str]:
    if token.type == "STRING":
        return _string(token), "keyword"
    if token.type == "DECIMAL":
        return float(token), "double"
    if token.type == "INTEGER":
        value = int(token)
        kind = _whole_type(value)
        return (float(value) if kind == "double" else value), kind
    return token.type == "TRUE", "boolean"
