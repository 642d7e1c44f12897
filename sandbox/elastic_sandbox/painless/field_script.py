"""The context of a runtime field's script: `doc`, `params` with `_source`, and `emit`.

Sources: "Runtime fields context" of the Painless reference, Elastic's YAML tests `runtime_fields` and the tests of its
field scripts. `doc` is read by names that stand in the script, so that a search knows which columns it needs: a name
that is computed is refused with a 501, and so is whatever else would hide one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from lark import Token, Tree

from elastic_sandbox.documents.columns import ip_to_column
from elastic_sandbox.errors import unsupported
from elastic_sandbox.painless import Script, doc_values, parse, values
from elastic_sandbox.painless.compiler import Compiler
from elastic_sandbox.painless.doc_values import Doc
from elastic_sandbox.painless.errors import ScriptThrow, compile_error
from elastic_sandbox.painless.expressions import _BOOLEAN_NODES, Closure, Frame

MAX_VALUES: Final = 100
MAX_CHARACTERS: Final = 1024 * 1024
_DOC: Final = 1
_EMITTED: Final = 3
_VARIABLES: Final = ("doc", "params", "#emitted")
_JAVA: Final = {"keyword": "java.lang.String", "ip": "java.lang.String", "long": "long", "date": "long",
                "double": "double", "boolean": "boolean"}  # fmt: skip
_WIDENS: Final = {
    "long": {"byte", "short", "char", "int", "long", "Byte", "Short", "Integer", "Long"},
    "double": {"byte", "short", "char", "int", "long", "float", "double", "Byte", "Short", "Integer", "Long", "Float",
               "Double"},
    "boolean": {"boolean", "Boolean"},
    "java.lang.String": {"String"},
}  # fmt: skip
_PRIMITIVES: Final = ("int", "long", "float", "double")
_BOXED: Final = {"String", "Integer", "Long", "Double", "Float", "Boolean"}
_UNBOXED: Final = {"java.lang.Boolean": "boolean", "java.lang.Integer": "int", "java.lang.Long": "long",
                   "java.lang.Double": "double"}  # fmt: skip
_OPERATIONS: Final = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division", "%": "remainder"}
_STATEMENTS: Final = {"assignment", "step_before", "step_after", "method", "static_method", "function", "new"}


@dataclass(frozen=True, slots=True)
class FieldScript:
    """A compiled script.

    :param reads: the fields it names
    :param source: whether it looks into `_source`
    """

    script: Script
    reads: tuple[str, ...]
    source: bool

    def values(self, doc: Doc, params: dict[str, Any]) -> list[Any]:
        """What it emits for one document, in the order of its calls.

        :raises ElasticError: 400 script_exception `runtime error`
        """
        emitted: list[Any] = []
        self.script.run(doc, params, emitted)
        return emitted


def compile_field_script(name: str, kind: str, source: str, parse_date: Callable[[str], int] | None) -> FieldScript:
    """Compile the script of a runtime field.

    :param kind: type of the field
    :param parse_date: the `parse` of a date field, by its format
    :raises ElasticError: 400 script_exception `compile error`, 501 for Painless beyond the subset
    """
    if re.search(r"\b_fields\b", source):
        raise unsupported(f"Painless [params._fields] of [{source}]")
    compiler = _FieldCompiler(name, kind, source, parse_date)
    closure = compiler.compile(parse(source))
    script = Script(source, closure, compiler.slots)
    return FieldScript(script, tuple(compiler.reads), re.search(r"\b_source\b", source) is not None)


class _FieldCompiler(Compiler):
    def __init__(self, name: str, kind: str, source: str, parse_date: Callable[[str], int] | None) -> None:
        super().__init__(source, _VARIABLES)
        self._name = name
        self._kind = kind
        self._parse_date = parse_date
        self.reads: dict[str, None] = {}
        self._longs: set[str] = set()

    def compile(self, tree: Tree[Token]) -> Closure:
        self._longs = self._doc_variables(tree)
        for node in tree.find_data("run"):
            self._check_statement(node.children[0])
        return super().compile(tree)

    # emit and parse

    def _get_function(self, node: Tree[Token]) -> Closure:
        name, arguments = str(node.children[0]), node.children[1]
        given = [] if arguments is None else arguments.children  # type: ignore[union-attr]
        known = name == "emit" or (name == "parse" and self._parse_date is not None)
        if not known:
            if name in {"field", "grok", "dissect"}:
                raise self._unsupported(node, f"function [{name}]")
            raise self._error(node, f"Unknown call [{name}] with [{len(given)}] arguments.")
        if len(given) != 1:
            raise self._error(node, f"Unknown call [{name}] with [{len(given)}] arguments.")
        argument = self._expression(given[0])
        if name == "parse":
            parse_date = self._parse_date
            assert parse_date is not None
            return self._located(lambda frame: parse_date(values.to_string(argument(frame))), node)
        self._check_cast(given[0])
        return self._located(_emit(self._name, self._kind, argument, self._is_long(given[0])), node)

    def _check_cast(self, node: Any) -> None:
        wanted, given = _JAVA[self._kind], self._java_type(node)
        if given is not None and given not in _WIDENS[wanted]:
            shown = f"java.lang.{given}" if given in _BOXED else given
            reason = f"Cannot cast from [{shown}] to [{wanted}]."
            raise compile_error(self._source, self._offset(node), reason, "class_cast_exception")

    def _java_type(self, node: Any) -> str | None:
        """The type of an expression as far as it stands in the script; None is `def`, or not known here."""
        kind = str(getattr(node, "data", ""))
        if kind in {"variable", "cast"}:
            declared = self._resolve(node.children[0])[1] if kind == "variable" else str(node.children[0])
            return None if declared in {"def", "Object"} else declared
        if kind == "decimal":
            return "float" if str(node.children[0])[-1] in "fF" else "double"
        if kind == "integer":
            return "long" if self._is_long(node) else "int"
        if kind == "signed":
            return self._java_type(node.children[1])
        if kind == "arithmetic":
            sides = [self._java_type(node.children[0]), self._java_type(node.children[2])]
            if str(node.children[1]) == "+" and "String" in sides:
                return "String"
            widest = max((_PRIMITIVES.index(side) if side in _PRIMITIVES else len(_PRIMITIVES)) for side in sides)
            return (*_PRIMITIVES, None)[widest]
        return "String" if kind == "string" else "boolean" if kind in _BOOLEAN_NODES else None

    def _check_statement(self, node: Any) -> None:
        if not isinstance(node, Tree) or node.data in _STATEMENTS:
            return
        reason = {
            "field": "result of dot operator [.] not used",
            "index": "result of brace operator not used",
            "ternary": "result not used from conditional operation [?:]",
        }.get(str(node.data))
        if node.data == "variable":
            reason = f"variable [{node.children[0]}] not used"
        elif node.data == "arithmetic":
            operator = str(node.children[1])
            reason = f"result not used from {_OPERATIONS[operator]} operation [{operator}]"
        if reason is None:
            raise self._unsupported(node, f"expression [{node.data}] that is no statement")
        raise self._error(node, f"not a statement: {reason}")

    def _do_return_value(self, node: Tree[Token]) -> Closure:
        raise self._unsupported(node, "return of a value from a runtime field's script")

    # doc

    def _is_doc(self, node: Any) -> bool:
        return isinstance(node, Tree) and node.data == "variable" and str(node.children[0]) == "doc"

    def _get_variable(self, node: Tree[Token]) -> Closure:
        if self._is_doc(node):
            raise self._unsupported(node, "[doc] other than doc['a name'] and doc.containsKey(...)")
        return super()._get_variable(node)

    def _read(self, name: str, node: Any) -> Closure:
        self.reads[name] = None
        return self._located(lambda frame: frame[_DOC].load(name), node)

    def _read_value(self, owner: Any, node: Any) -> Closure:
        """`doc['name'].value` in one step: most of what scripts do."""
        key = owner.children[1] if owner.data == "index" else owner.children[2]
        self._expression(owner)  # refuses a computed name, and notes a plain one
        name = str(key) if isinstance(key, Token) else self._expression(key)([])
        load = self._located(lambda frame: frame[_DOC].load(name), key)
        first = self._located(doc_values.first, node.children[1])  # type: ignore[arg-type]

        def value(frame: Frame) -> Any:
            values = load(frame)
            return values[0] if values else first(values)

        return value

    def _get_index(self, node: Tree[Token]) -> Closure:
        owner, key = node.children
        if not self._is_doc(owner):
            return super()._get_index(node)
        if not isinstance(key, Tree) or key.data != "string":
            raise self._unsupported(key, "[doc] with a computed name")
        return self._read(self._expression(key)([]), key)

    def _get_field(self, node: Tree[Token]) -> Closure:
        owner, _, name = node.children
        if self._is_doc(owner):
            return self._read(str(name), node)
        if self._is_value(node):
            return self._read_value(owner, node)
        return super()._get_field(node)

    def _get_method(self, node: Tree[Token]) -> Closure:
        owner, _, name, arguments_node = node.children
        if not self._is_doc(owner):
            return super()._get_method(node)
        given = [] if arguments_node is None else arguments_node.children  # type: ignore[union-attr]
        if str(name) == "containsKey" and len(given) == 1:
            argument = self._expression(given[0])
            return lambda frame: frame[_DOC].contains(argument(frame))
        if str(name) == "get" and len(given) == 1 and isinstance(given[0], Tree) and given[0].data == "string":
            return self._read(self._expression(given[0])([]), given[0])
        raise self._unsupported(name, f"[doc.{name}]")

    def _reads_doc(self, node: Any) -> bool:
        return isinstance(node, Tree) and node.data in {"index", "field"} and self._is_doc(node.children[0])

    def _is_value(self, node: Any) -> bool:
        """Whether an expression is `doc['name'].value`."""
        return (
            isinstance(node, Tree)
            and node.data == "field"
            and str(node.children[2]) == "value"
            and self._reads_doc(node.children[0])
        )

    def _doc_variables(self, tree: Tree[Token]) -> set[str]:
        """Variables that hold a document's value all their life: `def v = doc['a'].value`, `for (def v : doc['a'])`."""
        given = [(str(node.children[0]), self._is_value(node.children[1])) for node in tree.find_data("declarator")]
        given += [(str(node.children[1]), self._reads_doc(node.children[2])) for node in tree.find_data("for_each")]
        for kind, at in (("assignment", 0), ("step_before", 1), ("step_after", 0)):
            targets = [node.children[at] for node in tree.find_data(kind)]
            given += [(str(one.children[0]), False) for one in targets if one.data == "variable"]  # type: ignore[union-attr]
        others = {name for name, is_value in given if not is_value}
        return {name for name, is_value in given if is_value} - others

    def _is_long(self, node: Any) -> bool:
        # Whole numbers of documents are Java longs, whatever the width of their field.
        if isinstance(node, Tree) and node.data == "variable" and str(node.children[0]) in self._longs:
            return self._resolve(node.children[0])[1] in {"def", "Object", "long", "Long"}
        return self._is_value(node) or super()._is_long(node)

    def _assign(self, target: Any, value: Closure) -> Closure:
        root = target
        while isinstance(root, Tree) and root.data in {"field", "index", "element"}:
            root = root.children[0]
        if isinstance(root, Tree) and root.data == "variable" and str(root.children[0]) in {"doc", "params"}:
            if root is target:
                return super()._assign(target, value)
            raise self._unsupported(target, f"assignment to a member of [{root.children[0]}]")
        return super()._assign(target, value)


def _emit(name: str, kind: str, argument: Closure, is_long: bool) -> Closure:
    accept = _ACCEPT[kind]

    def emit(frame: Frame) -> None:
        value = argument(frame)
        emitted = frame[_EMITTED]
        if len(emitted) >= MAX_VALUES:
            raise _limit(name, f"[{MAX_VALUES + 1}] values", MAX_VALUES)
        accepted = accept(value)
        if accepted is None:
            raise _not_accepted(kind, value, is_long)
        emitted.append(accepted)
        if kind == "keyword" and len(accepted) + len(emitted) > 10_000:
            characters = sum(map(len, emitted))
            if characters > MAX_CHARACTERS:
                raise _limit(name, f"[{characters}] characters", MAX_CHARACTERS)

    return emit


def _limit(name: str, what: str, most: int) -> ScriptThrow:
    return ScriptThrow(
        "illegal_argument_exception",
        f"Runtime field [{name}] is emitting {what} while the maximum number of values allowed is [{most}]",
    )


def _address(value: Any) -> str | None:
    if type(value) is not str:
        return None
    try:
        return ip_to_column(value)
    except ValueError:
        raise ScriptThrow("illegal_argument_exception", f"'{value}' is not an IP string literal.") from None


def _whole(value: Any) -> int | None:
    return value if type(value) is int and -(2**63) <= value < 2**63 else None


_ACCEPT: Final[dict[str, Callable[[Any], Any]]] = {
    "keyword": lambda value: value if type(value) is str else None,
    "ip": _address,
    "long": _whole,
    "date": _whole,
    "double": lambda value: float(value) if type(value) in {int, float} else None,
    "boolean": lambda value: value if type(value) is bool else None,
}


def _not_accepted(kind: str, value: Any, is_long: bool) -> Exception:
    """Painless's implicit casts of a `def` (its class `Def`)."""
    wanted = _JAVA[kind]
    if value is None:
        what = '"String.length()" because "v"' if kind == "keyword" else '"Object.getClass()" because "value"'
        return ScriptThrow("null_pointer_exception", f"Cannot invoke {what} is null")
    given = values.java_class(value)
    shown = "long" if is_long and type(value) is int else _UNBOXED.get(given, given)
    implicitly = "" if kind == "boolean" else "implicitly "
    return ScriptThrow("class_cast_exception", f"cannot {implicitly}cast def [{shown}] to {wanted}")
