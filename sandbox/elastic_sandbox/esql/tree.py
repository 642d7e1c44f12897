"""The tree of a query, as its parser makes it: commands over expressions, each with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """An expression.

    ``kind`` says what ``args`` hold: ``literal`` (value, type), ``list`` (literals), ``column`` (name), ``parameter``
    (key, doubled), ``span`` (amount, unit), ``star`` (), ``call`` (name or parameter, arguments), ``unary`` (operator,
    operand), ``arithmetic`` and ``compare`` (operator, left, right), ``and``, ``or`` (left, right), ``not``
    (operand), ``in`` (operand, items), ``null`` (operand), ``like`` and ``rlike`` (operand, patterns), ``match``
    (operand, constant), ``cast`` (operand, type name).

    :param text: the source, which names a column that was given no name
    :param line: from 1
    :param column: from 1
    """

    kind: str
    text: str
    line: int
    column: int
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """``name = expression WHERE condition``; the name is the source where none is given.

    A name that is a parameter is replaced by a text, as all parameters are, before anything is compiled.
    """

    name: str | Node
    expression: Node
    condition: Node | None
    node: Node
    """Name, expression and condition together: the place to report."""


@dataclass(frozen=True, slots=True)
class Name:
    """A column name, or a pattern of names, or a parameter that stands for one."""

    name: str | Node
    pattern: bool
    node: Node


@dataclass(frozen=True, slots=True)
class Sort:
    """One key of SORT."""

    expression: Node
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Command:
    """``kind`` is the keyword in lower case; ``parts`` are what follows it."""

    kind: str
    node: Node
    parts: tuple[Any, ...]
