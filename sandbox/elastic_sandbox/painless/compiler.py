"""From syntax tree to Python closures.

A script is compiled once: every node becomes a function of one argument, the frame, a list whose slots hold `ctx`,
`params` and the script's variables. Names are resolved to slots and constants folded into the closures here, so that
running a condition costs a handful of Python calls and no look-ups by node type.

Statements answer how they ended (`None`, or one of `RETURN`, `BREAK`, `CONTINUE`); a returned value lies in slot 0.
"""

from __future__ import annotations

from typing import Any, Final

from lark import Token, Tree

from elastic_sandbox.painless import values
from elastic_sandbox.painless.access import Position
from elastic_sandbox.painless.assignments import Assignments
from elastic_sandbox.painless.errors import ScriptThrow, null_pointer
from elastic_sandbox.painless.expressions import Closure, Frame

RESULT: Final = 0
RETURN: Final = 1
BREAK: Final = 2
CONTINUE: Final = 3


class Compiler(Assignments):
    """Compiles one script."""

    def compile(self, tree: Tree[Token]) -> Closure:
        """The whole script as a closure that answers its value."""
        statements = [child for child in tree.children if child is not None]
        last = statements[-1] if statements else None
        closures = [self._statement(child) for child in statements[:-1]]
        if isinstance(last, Tree) and last.data == "run":
            # A script's last expression is its value, as in `ctx.a == 1`.
            value = self._expression(last.children[0])
            if not closures:
                return value
            body = _sequence(closures)

            def run_then_value(frame: Frame) -> Any:
                return frame[RESULT] if body(frame) == RETURN else value(frame)

            return run_then_value
        body = _sequence([*closures, *([self._statement(last)] if last is not None else [])])

        def run(frame: Frame) -> Any:
            body(frame)
            return frame[RESULT]

        return run

    # statements

    def _statement(self, node: Any) -> Closure:
        build = getattr(self, f"_do_{node.data}", None)
        if build is None:
            raise self._unsupported(node, f"statement [{node.data}]")
        return build(node)

    def _do_run(self, node: Tree[Token]) -> Closure:
        value = self._expression(node.children[0])

        def run(frame: Frame) -> None:
            value(frame)

        return run

    def _do_nothing(self, _node: Tree[Token]) -> Closure:
        return lambda frame: None

    def _do_block(self, node: Tree[Token]) -> Closure:
        self._scopes.append({})
        closures = [self._statement(child) for child in node.children if child is not None]
        self._scopes.pop()
        return _sequence(closures)

    def _do_declaration(self, node: Tree[Token]) -> Closure:
        type_name = str(node.children[0])
        closures = []
        for declarator in node.children[1:]:
            name, initial = declarator.children  # type: ignore[union-attr]
            value = None if initial is None else self._expression(initial)
            slot = self._declare(name, type_name)
            closures.append(self._located(_store(slot, type_name, value), declarator))
        return _sequence(closures)

    def _do_return_value(self, node: Tree[Token]) -> Closure:
        value = self._expression(node.children[0])

        def give(frame: Frame) -> int:
            frame[RESULT] = value(frame)
            return RETURN

        return give

    def _do_return_nothing(self, _node: Tree[Token]) -> Closure:
        return lambda frame: RETURN

    def _do_break_loop(self, _node: Tree[Token]) -> Closure:
        return lambda frame: BREAK

    def _do_continue_loop(self, _node: Tree[Token]) -> Closure:
        return lambda frame: CONTINUE

    def _do_if_else(self, node: Tree[Token]) -> Closure:
        condition = self._condition(node.children[0])
        then = self._statement(node.children[1])
        otherwise = self._statement(node.children[2]) if node.children[2] is not None else None

        def choose(frame: Frame) -> Any:
            if condition(frame):
                return then(frame)
            return None if otherwise is None else otherwise(frame)

        return choose

    def _do_for_each(self, node: Tree[Token]) -> Closure:
        type_name, name, iterable, body = node.children
        source = self._expression(iterable)
        self._scopes.append({})
        declared = str(type_name or "def")
        slot = self._declare(name, declared)
        inner = self._statement(body)
        self._scopes.pop()
        offset = self._offset(iterable)

        def loop(frame: Frame) -> Any:
            items = source(frame)
            if not isinstance(items, list):
                if items is None:
                    raise Position(null_pointer("iterator"), offset)
                raise Position(
                    ScriptThrow("illegal_argument_exception", f"Cannot iterate over [{values.java_class(items)}]"),
                    offset,
                )
            for item in list(items):
                frame[slot] = values.convert(declared, item)
                ended = inner(frame)
                if ended == RETURN:
                    return RETURN
                if ended == BREAK:
                    break
            return None

        return self._located(loop, node)

    def _do_for_loop(self, node: Tree[Token]) -> Closure:
        self._scopes.append({})
        start, condition_node, step_node, body = node.children
        begin = self._statement(start) if start is not None else None
        condition = self._condition(condition_node) if condition_node is not None else None
        step = self._statement(step_node) if step_node is not None else None
        inner = self._statement(body)
        self._scopes.pop()

        def loop(frame: Frame) -> Any:
            if begin is not None:
                begin(frame)
            turns = 0
            while condition is None or condition(frame):
                turns += 1
                if turns > 1_000_000:
                    raise ScriptThrow(
                        "painless_error",
                        "The maximum number of statements that can be executed in a loop has been reached.",
                    )
                ended = inner(frame)
                if ended == RETURN:
                    return RETURN
                if ended == BREAK:
                    break
                if step is not None:
                    step(frame)
            return None

        return self._located(loop, node)


def _sequence(closures: list[Closure]) -> Closure:
    def run(frame: Frame) -> Any:
        for closure in closures:
            ended = closure(frame)
            if ended:
                return ended
        return None

    return run


_EMPTY: Final = {"double": 0.0, "float": 0.0, "int": 0, "long": 0, "short": 0, "byte": 0, "boolean": False}


def _store(slot: int, type_name: str, value: Closure | None) -> Closure:
    empty = _EMPTY.get(type_name)

    def store(frame: Frame) -> None:
        frame[slot] = empty if value is None else values.convert(type_name, value(frame))

    return store
