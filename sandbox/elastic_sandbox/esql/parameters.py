"""Parameters of a query: ``?``, ``?1`` and ``?name`` for values, ``??name`` for names of columns and functions.

They are put into the tree before it is compiled, so that a parsed query serves every call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from elastic_sandbox.errors import illegal_argument, unsupported
from elastic_sandbox.esql.errors import parsing_error
from elastic_sandbox.esql.tree import Command, Field, Name, Node, Sort

Given = dict[str, tuple[str, Any]]
"""(type, value) by name and by number; the type is ``identifier`` for a name."""


def parameters_of(params: list[Any]) -> Given:
    """The ``params`` of a request: values in order, or ``{name: value}`` each.

    :raises ElasticError: 400 for both at once
    """
    given: Given = {}
    named = [isinstance(one, dict) for one in params]
    if any(named) and not all(named):
        raise illegal_argument("Params cannot contain both named and unnamed parameters")
    for position, one in enumerate(params, 1):
        if not isinstance(one, dict):
            given[str(position)] = _typed(one)
            continue
        if len(one) != 1:
            raise illegal_argument(f"Cannot parse more than one key:value pair as parameter, found [{one}]")
        ((name, value),) = one.items()
        given[name] = given[str(position)] = _named(value)
    return given


def _named(value: Any) -> tuple[str, Any]:
    if not isinstance(value, dict):
        return _typed(value)
    how, inner = next(iter(value.items())) if len(value) == 1 else ("", None)
    if how == "identifier":
        return "identifier", inner
    if how == "value":
        return _typed(inner)
    raise unsupported(f"a query parameter of kind [{how}]")


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, list):
        kinds = {_typed(one)[0] for one in value}
        if len(kinds) != 1:
            raise unsupported(f"a list of mixed types as a query parameter [{value}]")
        return kinds.pop(), value
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int):
        small = -(2**31) <= value < 2**31
        return ("integer" if small else "long" if -(2**63) <= value < 2**63 else "unsigned_long"), value
    return ("double" if isinstance(value, float) else "keyword"), value


def bound(commands: tuple[Command, ...], given: Given) -> tuple[Command, ...]:
    """The commands with every parameter replaced by what it stands for.

    :raises ElasticError: 400 parsing_exception for one that is missing or of the wrong kind
    """
    anonymous = sorted((node for node in _parameters(commands) if not node.args[0]), key=lambda node: node.args[2])
    many = sum(1 for key in given if key.isdigit())
    if len(anonymous) > many:
        node = anonymous[many]
        raise parsing_error(node.line, node.column, f"Not enough actual parameters {many}")
    numbers = {node.args[2]: str(number) for number, node in enumerate(anonymous, 1)}
    return _Binder(given, numbers).put(commands) if anonymous or _parameters(commands) else commands


class _Binder:
    def __init__(self, given: Given, numbers: dict[int, str]) -> None:
        self._given = given
        self._numbers = numbers

    def put(self, part: Any) -> Any:
        """A part of the tree without parameters."""
        if isinstance(part, tuple):
            return tuple(self.put(one) for one in part)
        if isinstance(part, Node):
            return self._node(part)
        if isinstance(part, Command):
            return replace(part, parts=self.put(part.parts))
        if isinstance(part, Field):
            return self._field(part)
        if isinstance(part, Name):
            return replace(part, name=self._identifier(part.name)) if isinstance(part.name, Node) else part
        return replace(part, expression=self.put(part.expression)) if isinstance(part, Sort) else part

    def _node(self, node: Node) -> Node:
        if node.kind == "parameter":
            kind, value = self._value(node)
            if kind == "identifier":
                return replace(node, kind="column", args=(value,))
            return replace(node, kind="list" if isinstance(value, list) else "literal", args=(value, kind))
        if node.kind == "call" and isinstance(node.args[0], Node):
            node = replace(node, args=(self._identifier(node.args[0]), *node.args[1:]))
        return replace(node, args=self.put(node.args))

    def _field(self, field: Field) -> Field:
        name = field.name
        if isinstance(name, Node):
            kind, value = self._value(name)
            # Without a name of its own, a parameter's value is named by its source, an identifier by itself.
            name = str(value) if kind == "identifier" else field.node.text
            if kind != "identifier" and field.name is not field.expression:
                name = self._identifier(field.name)
        condition = None if field.condition is None else self.put(field.condition)
        return replace(field, name=name, expression=self.put(field.expression), condition=condition)

    def _identifier(self, node: Any) -> str:
        kind, value = self._value(node)
        if kind != "identifier":
            raise parsing_error(
                node.line,
                node.column,
                f"Query parameter [{node.text}] with value [{value}] declared as a constant, cannot be used as an "
                "identifier or pattern",
            )
        return str(value)

    def _value(self, node: Node) -> tuple[str, Any]:
        key, doubled, position = node.args
        key = key or self._numbers[position]
        if key not in self._given:
            many = f", did you mean any of [{', '.join(self._given)}]?" if self._given else ""
            raise parsing_error(node.line, node.column, f"Unknown query parameter [{key}]{many}")
        kind, value = self._given[key]
        return ("identifier", value) if doubled and kind == "keyword" else (kind, value)


def _parameters(part: Any) -> list[Node]:
    if isinstance(part, tuple):
        return [node for one in part for node in _parameters(one)]
    if isinstance(part, Node):
        return [part] if part.kind == "parameter" else _parameters(part.args)
    if isinstance(part, Command):
        return _parameters(part.parts)
    if isinstance(part, Field):
        named = () if part.name is part.expression else part.name
        return _parameters((named, part.expression, part.condition))
    if isinstance(part, Name):
        return _parameters(part.name)
    return _parameters(part.expression) if isinstance(part, Sort) else []
