"""Assignments, plain, compound and by one, as closures over the frame."""

from __future__ import annotations

from typing import Any

from lark import Token, Tree

from elastic_sandbox.painless import values
from elastic_sandbox.painless.access import write_element
from elastic_sandbox.painless.expressions import Closure, Expressions, Frame


class Assignments(Expressions):
    """Compiles what stores: into variables, fields and elements."""

    def _get_assignment(self, node: Tree[Token]) -> Closure:
        target, operator, value_node = node.children
        value = self._expression(value_node)
        if operator == "=":
            return self._assign(target, value)
        apply = values.ARITHMETIC[str(operator)[0]]
        wide = self._is_long(target) or self._is_long(value_node)
        current = self._expression(target)
        narrow = self._is_whole_variable(target)

        def combined(frame: Frame) -> Any:
            result = apply(current(frame), value(frame), wide)
            # A compound assignment casts back: `int i; i += 0.5` stays whole.
            return values.convert("long", result, explicit=True) if narrow else result

        return self._assign(target, self._located(combined, operator))

    def _get_step_before(self, node: Tree[Token]) -> Closure:
        step, target = node.children
        return self._assign(target, self._stepped(target, step))

    def _get_step_after(self, node: Tree[Token]) -> Closure:
        target, step = node.children
        current = self._expression(target)
        assign = self._assign(target, self._stepped(target, step))

        def step_after(frame: Frame) -> Any:
            before = current(frame)
            assign(frame)
            return before

        return step_after

    def _stepped(self, target: Any, step: Any) -> Closure:
        current = self._expression(target)
        apply = values.ARITHMETIC[str(step)[0]]
        wide = self._is_long(target)
        return self._located(lambda frame: apply(current(frame), 1, wide), step)

    def _assign(self, target: Any, value: Closure) -> Closure:
        if target.data == "variable":
            slot, type_name = self._resolve(target.children[0])
            if str(target.children[0]) in self._read_only:
                raise self._error(target, f"cannot assign a value to read-only variable [{target.children[0]}]")
            return self._located(_assign_slot(slot, type_name, value), target)
        if target.data in {"field", "index", "element"}:
            owner = self._expression(target.children[0])
            key: Closure
            if target.data == "index":
                key = self._expression(target.children[1])
            else:
                member = str(target.children[2])
                constant: Any = int(member) if target.data == "element" else member
                key = lambda frame: constant  # noqa: E731 - one of two ways to get a key
            offset = self._offset(target)

            def assign(frame: Frame) -> Any:
                container, name, new = owner(frame), key(frame), value(frame)
                write_element(container, name, new, offset)
                return new

            return assign
        raise self._error(
            target, "cannot assign a value to an expression that is not a variable, a field or an element"
        )


def _assign_slot(slot: int, type_name: str, value: Closure) -> Closure:
    def assign(frame: Frame) -> Any:
        frame[slot] = new = values.convert(type_name, value(frame))
        return new

    return assign
