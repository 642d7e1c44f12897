"""Expressions as closures over the frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lark import Token, Tree

from elastic_sandbox.errors import unsupported
from elastic_sandbox.painless import java_time, methods, values
from elastic_sandbox.painless.access import (
    Position,
    call_method,
    no_method,
    number,
    read_element,
    read_field,
)
from elastic_sandbox.painless.errors import ScriptThrow, compile_error, null_pointer

Frame = list[Any]
Closure = Callable[[Frame], Any]

_BOOLEAN_NODES: Final = {"equality", "relation", "both", "either", "negation", "instance_of", "true", "false"}


class Expressions:
    """Compiles expressions; knows the script's variables and their slots in the frame.

    `variables` are the names the context provides, in slots 1, 2, ...; slot 0 is for the script's value.
    """

    def __init__(self, source: str, variables: tuple[str, ...]) -> None:
        self._source = source
        self._scopes: list[dict[str, tuple[int, str]]] = [
            {name: (slot, "def") for slot, name in enumerate(variables, start=1)}
        ]
        self._read_only = set(variables)
        self.slots = len(variables) + 1

    # expressions

    def _expression(self, node: Any) -> Closure:
        build = getattr(self, f"_get_{node.data}", None)
        if build is None:
            raise self._unsupported(node, f"expression [{node.data}]")
        return build(node)

    def _condition(self, node: Any) -> Closure:
        value = self._expression(node)
        if isinstance(node, Tree) and node.data in _BOOLEAN_NODES:
            return value
        return self._located(lambda frame: values.truth(value(frame)), node)

    def _get_integer(self, node: Tree[Token]) -> Closure:
        text = str(node.children[0])
        number = int(text.rstrip("lL"), 16 if text[:2].lower() == "0x" else 10)
        if not text.endswith(("l", "L")) and number > values.INT_MAX:
            raise self._error(
                node, f"Invalid int constant [{text}]. If you want a long constant then change it to [{text}L]."
            )
        return lambda frame: number

    def _get_decimal(self, node: Tree[Token]) -> Closure:
        number = float(str(node.children[0]).rstrip("dDfF"))
        return lambda frame: number

    def _get_string(self, node: Tree[Token]) -> Closure:
        raw = str(node.children[0])
        quote = raw[0]
        text = raw[1:-1].replace("\\" + quote, quote).replace("\\\\", "\\")
        return lambda frame: text

    def _get_true(self, _node: Tree[Token]) -> Closure:
        return lambda frame: True

    def _get_false(self, _node: Tree[Token]) -> Closure:
        return lambda frame: False

    def _get_null(self, _node: Tree[Token]) -> Closure:
        return lambda frame: None

    def _get_list(self, node: Tree[Token]) -> Closure:
        items = [self._expression(child) for child in node.children]
        return lambda frame: [item(frame) for item in items]

    def _get_map(self, node: Tree[Token]) -> Closure:
        entries = [
            (self._expression(entry.children[0]), self._expression(entry.children[1]))  # type: ignore[union-attr]
            for entry in node.children
        ]
        return lambda frame: {key(frame): value(frame) for key, value in entries}

    def _get_new(self, node: Tree[Token]) -> Closure:
        type_name, arguments = str(node.children[0]), self._arguments(node.children[1])
        if type_name in {"ArrayList", "HashMap", "LinkedHashMap"} and len(arguments) <= 1:
            empty: type = list if type_name == "ArrayList" else dict
            if not arguments:
                return lambda frame: empty()
            copied = arguments[0]
            return lambda frame: empty(copied(frame))
        raise self._unsupported(node, f"[new {type_name}]")

    def _get_variable(self, node: Tree[Token]) -> Closure:
        slot, _ = self._resolve(node.children[0])
        return lambda frame: frame[slot]

    def _get_function(self, node: Tree[Token]) -> Closure:
        name = node.children[0]
        raise self._unsupported(node, f"function [{name}]")

    def _get_field(self, node: Tree[Token]) -> Closure:
        owner_node, dot, name_token = node.children
        name = str(name_token)
        owner = self._expression(owner_node)
        offset = self._offset(dot)
        safe = dot == "?."

        def field(frame: Frame) -> Any:
            target = owner(frame)
            if type(target) is dict:
                return target.get(name)
            if target is None:
                if safe:
                    return None
                raise Position(null_pointer(name), offset)
            return read_field(target, name, offset)

        return field

    def _get_element(self, node: Tree[Token]) -> Closure:
        owner_node, dot, number = node.children
        owner = self._expression(owner_node)
        constant = int(str(number))
        return self._indexed(owner, lambda frame: constant, self._offset(dot), safe=dot == "?.")

    def _get_index(self, node: Tree[Token]) -> Closure:
        owner_node, key_node = node.children
        return self._indexed(
            self._expression(owner_node), self._expression(key_node), self._offset(key_node), safe=False
        )

    @staticmethod
    def _indexed(owner: Closure, key: Closure, offset: int, *, safe: bool) -> Closure:
        def element(frame: Frame) -> Any:
            target = owner(frame)
            if type(target) is dict:
                return target.get(key(frame))
            if target is None and safe:
                return None
            return read_element(target, key(frame), offset)

        return element

    def _get_method(self, node: Tree[Token]) -> Closure:
        owner_node, dot, name_token, arguments_node = node.children
        name = str(name_token)
        arguments = self._arguments(arguments_node)
        static_type = self._static_type(owner_node)
        if static_type is not None:
            return self._static_call(node, static_type, name, arguments)
        if name not in methods.KNOWN:
            raise self._unsupported(name_token, f"method [{name}]")
        owner = self._expression(owner_node)
        offset = self._offset(dot)
        safe = dot == "?."

        def call(frame: Frame) -> Any:
            target = owner(frame)
            if target is None:
                if safe:
                    return None
                raise Position(null_pointer(name), offset)
            return call_method(target, name, [argument(frame) for argument in arguments], offset)

        return call

    def _get_static_method(self, node: Tree[Token]) -> Closure:
        type_name, name, arguments = node.children
        return self._static_call(node, str(type_name), str(name), self._arguments(arguments))

    def _get_static_field(self, node: Tree[Token]) -> Closure:
        type_name, name = (str(child) for child in node.children)
        constants = {
            ("Integer", "MAX_VALUE"): values.INT_MAX,
            ("Integer", "MIN_VALUE"): values.INT_MIN,
            ("Long", "MAX_VALUE"): 2**63 - 1,
            ("Double", "NaN"): float("nan"),
            **java_time.CONSTANTS,
        }
        if (type_name, name) not in constants:
            raise self._unsupported(node, f"[{type_name}.{name}]")
        constant = constants[type_name, name]
        return lambda frame: constant

    def _static_call(self, node: Any, type_name: str, name: str, arguments: list[Closure]) -> Closure:
        function = methods.STATIC.get((type_name, name))
        if function is None:
            raise self._unsupported(node, f"method [{type_name}.{name}]")
        numeric = (type_name, name) in methods.NUMERIC_STATIC
        offset = self._offset(node)

        def call(frame: Frame) -> Any:
            given = [argument(frame) for argument in arguments]
            if numeric:
                given = [number(value, offset) for value in given]
            try:
                return function(*given)
            except ScriptThrow as thrown:
                raise Position(thrown, offset) from None
            except (TypeError, AttributeError):
                raise Position(no_method(type_name, name, given), offset) from None

        return call

    def _get_instance_of(self, node: Tree[Token]) -> Closure:
        value, type_name = self._expression(node.children[0]), str(node.children[1])
        test = values.instance_test(type_name)
        if test is None:
            raise self._unsupported(node, f"instanceof {type_name}")
        return lambda frame: test(value(frame))

    def _get_cast(self, node: Tree[Token]) -> Closure:
        type_name, value = str(node.children[0]), self._expression(node.children[1])
        return self._located(lambda frame: values.convert(type_name, value(frame), explicit=True), node)

    def _get_negation(self, node: Tree[Token]) -> Closure:
        condition = self._condition(node.children[0])
        return lambda frame: not condition(frame)

    def _get_signed(self, node: Tree[Token]) -> Closure:
        sign, operand = node.children
        value = self._expression(operand)
        wide = self._is_long(operand)
        if sign == "+":
            return value
        return self._located(lambda frame: values.negate(value(frame), wide), node)

    def _get_arithmetic(self, node: Tree[Token]) -> Closure:
        left_node, operator, right_node = node.children
        left, right = self._expression(left_node), self._expression(right_node)
        apply = values.ARITHMETIC[str(operator)]
        wide = self._is_long(left_node) or self._is_long(right_node)
        return self._located(lambda frame: apply(left(frame), right(frame), wide), operator)

    def _get_equality(self, node: Tree[Token]) -> Closure:
        left_node, operator, right_node = node.children
        left, right = self._expression(left_node), self._expression(right_node)
        same = str(operator) in {"==", "==="}
        if _is_null(right_node):
            return (lambda frame: left(frame) is None) if same else (lambda frame: left(frame) is not None)
        if same:
            return lambda frame: values.equal(left(frame), right(frame))
        return lambda frame: not values.equal(left(frame), right(frame))

    def _get_relation(self, node: Tree[Token]) -> Closure:
        left_node, operator, right_node = node.children
        left, right = self._expression(left_node), self._expression(right_node)
        compare = values.RELATIONS[str(operator)]
        return self._located(lambda frame: compare(left(frame), right(frame)), operator)

    def _get_both(self, node: Tree[Token]) -> Closure:
        left, right = (self._condition(child) for child in node.children)
        return lambda frame: left(frame) and right(frame)

    def _get_either(self, node: Tree[Token]) -> Closure:
        left, right = (self._condition(child) for child in node.children)
        return lambda frame: left(frame) or right(frame)

    def _get_elvis(self, node: Tree[Token]) -> Closure:
        left, right = (self._expression(child) for child in node.children)

        def elvis(frame: Frame) -> Any:
            value = left(frame)
            return right(frame) if value is None else value

        return elvis

    def _get_ternary(self, node: Tree[Token]) -> Closure:
        condition = self._condition(node.children[0])
        then, otherwise = self._expression(node.children[1]), self._expression(node.children[2])
        return lambda frame: then(frame) if condition(frame) else otherwise(frame)

    # names and positions

    def _declare(self, name: Any, type_name: str) -> int:
        if any(str(name) in scope for scope in self._scopes):
            raise self._error(name, f"variable [{name}] is already defined")
        slot = self.slots
        self.slots += 1
        self._scopes[-1][str(name)] = (slot, type_name)
        return slot

    def _resolve(self, name: Any) -> tuple[int, str]:
        for scope in reversed(self._scopes):
            if str(name) in scope:
                return scope[str(name)]
        raise self._error(name, f"cannot resolve symbol [{name}]")

    def _static_type(self, node: Any) -> str | None:
        """`Math` in `Math.max(...)`: a name that is no variable but a class of the subset."""
        if node.data != "variable":
            return None
        name = str(node.children[0])
        declared = any(name in scope for scope in self._scopes)
        return None if declared or not name[0].isupper() else name

    def _is_long(self, node: Any) -> bool:
        if not isinstance(node, Tree):
            return False
        if node.data == "integer":
            return str(node.children[0]).endswith(("l", "L"))
        if node.data == "variable":
            return self._resolve(node.children[0])[1] in {"long", "Long"}
        if node.data == "cast":
            return str(node.children[0]) in {"long", "Long"}
        return node.data in {"arithmetic", "signed"} and any(self._is_long(child) for child in node.children)

    def _is_whole_variable(self, node: Any) -> bool:
        return node.data == "variable" and self._resolve(node.children[0])[1] in values.WHOLE_TYPES

    def _arguments(self, node: Any) -> list[Closure]:
        return [] if node is None else [self._expression(child) for child in node.children]

    def _located(self, closure: Closure, node: Any) -> Closure:
        """The closure, with what it throws bound to a place in the script."""
        offset = self._offset(node)

        def located(frame: Frame) -> Any:
            try:
                return closure(frame)
            except ScriptThrow as thrown:
                raise Position(thrown, offset) from None
            except values.Overflow:
                where = f"at position {offset} of [{self._source}]"
                raise unsupported(
                    f"Painless integer arithmetic beyond 32 bits {where} (make one side a long or a double)"
                ) from None

        return located

    @staticmethod
    def _offset(node: Any) -> int:
        if isinstance(node, Token):
            return node.start_pos or 0
        return getattr(node.meta, "start_pos", 0) if isinstance(node, Tree) else 0

    def _error(self, node: Any, reason: str) -> Exception:
        return compile_error(self._source, self._offset(node), reason)

    def _unsupported(self, node: Any, what: str) -> Exception:
        return unsupported(f"Painless {what} at position {self._offset(node)} of [{self._source}]")


def _is_null(node: Any) -> bool:
    return isinstance(node, Tree) and node.data == "null"
