"""Painless, the subset that ingest pipelines and runtime fields of this kind use.

`compile_script` turns a source into a `Script`; running it evaluates closures, not a tree. Real Painless outside the
subset is refused with a 501 that names the construct and its position; broken scripts and scripts that throw answer
Elasticsearch's `script_exception`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.painless.access import Position
from elastic_sandbox.painless.errors import ScriptThrow, compile_error, runtime_error
from elastic_sandbox.painless.grammar import UNSUPPORTED, UNSUPPORTED_PAIRS, parser

if TYPE_CHECKING:
    from lark import Token, Tree


class Script:
    """A compiled script: call `run` with one value per variable it was compiled for."""

    __slots__ = ("_closure", "_slots", "source")

    def __init__(self, source: str, closure: Callable[[list[Any]], Any], slots: int) -> None:
        self.source = source
        self._closure = closure
        self._slots = slots

    def run(self, *variables: Any) -> Any:
        """The value of the script; what it throws is an `ElasticError` 400 script_exception `runtime error`."""
        frame = [None, *variables]
        frame.extend([None] * (self._slots - len(frame)))
        try:
            return self._closure(frame)
        except Position as located:
            raise runtime_error(self.source, located.offset, located.thrown) from None
        except ScriptThrow as thrown:
            raise runtime_error(self.source, 0, thrown) from None

    def test(self, *variables: Any) -> bool:
        """The value of a condition; anything but a boolean is a `runtime error`."""
        value = self.run(*variables)
        if value is True or value is False:
            return bool(value)
        from elastic_sandbox.painless.values import truth

        try:
            return truth(value)
        except ScriptThrow as thrown:
            raise runtime_error(self.source, 0, thrown) from None


def compile_script(source: str, variables: tuple[str, ...] = ("ctx", "params")) -> Script:
    """Compile a script whose context provides `variables`.

    Raises 400 script_exception `compile error` for what Painless refuses, 501 for what only the sandbox lacks.
    """
    from elastic_sandbox.painless.compiler import Compiler

    compiler = Compiler(source, variables)
    closure = compiler.compile(parse(source))
    return Script(source, closure, compiler.slots)


def parse(source: str) -> Tree[Token]:
    """The syntax tree of a script; the errors are those of :func:`compile_script`."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

    try:
        try:
            return parser().parse(source)
        except UnexpectedToken as problem:
            if problem.token.type != "$END":
                raise
            # The end of the script stands for the last semicolon also inside `if (x) y = 1`.
            return parser().parse(source + ";")
    except (UnexpectedCharacters, UnexpectedToken, UnexpectedEOF) as problem:
        found = problem.pos_in_stream
        offset = min(found, len(source)) if isinstance(found, int) else len(source)
        for start, known in ((offset - 1, UNSUPPORTED_PAIRS), (offset, UNSUPPORTED_PAIRS), (offset, UNSUPPORTED)):
            construct = known.match(source, max(start, 0))
            if construct is not None:
                raise unsupported(f"Painless [{construct[0]}] at position {start} of [{source}]") from None
        near = source[offset : offset + 20].split("\n", maxsplit=1)[0]
        reason = f"unexpected token ['{near}']." if near else "unexpected end of script."
        raise compile_error(source, offset, reason) from None
