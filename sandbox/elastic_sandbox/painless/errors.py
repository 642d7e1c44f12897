"""What goes wrong in a script: as Java throws it inside, as Elasticsearch reports it outside."""

from __future__ import annotations

from typing import Any

from elastic_sandbox.errors import ElasticError


class ScriptThrow(Exception):  # noqa: N818 - the name Java's own throw has, not a defect of the sandbox
    """A Java exception raised while a script runs; `type` is Elasticsearch's spelling of its class."""

    def __init__(self, exception_type: str, reason: str) -> None:
        super().__init__(f"{exception_type}: {reason}")
        self.type = exception_type
        self.reason = reason


def null_pointer(member: str) -> ScriptThrow:
    """Access to a member of null."""
    return ScriptThrow("null_pointer_exception", f"cannot access method/field [{member}] from a null def reference")


def class_cast(reason: str) -> ScriptThrow:
    """A value of the wrong type."""
    return ScriptThrow("class_cast_exception", reason)


def _script_stack(source: str, offset: int) -> list[str]:
    start = max(0, offset - 25)
    end = min(len(source), offset + 25)
    leading = "... " if start > 0 else ""
    trailing = " ..." if end < len(source) else ""
    pointer = " " * (len(leading) + offset - start) + "^---- HERE"
    return [leading + source[start:end].replace("\n", " ") + trailing, pointer]


def _script_exception(phase: str, source: str, offset: int, caused_by: dict[str, Any]) -> ElasticError:
    return ElasticError(
        400,
        "script_exception",
        phase,
        caused_by=caused_by,
        script_stack=_script_stack(source, offset),
        script=source,
        lang="painless",
        position={"offset": offset, "start": max(0, offset - 25), "end": min(len(source), offset + 25)},
    )


def compile_error(
    source: str, offset: int, reason: str, exception_type: str = "illegal_argument_exception"
) -> ElasticError:
    """400 script_exception `compile error`: the script is not Painless, or names something unknown."""
    return _script_exception("compile error", source, offset, {"type": exception_type, "reason": reason})


def runtime_error(source: str, offset: int, thrown: ScriptThrow) -> ElasticError:
    """400 script_exception `runtime error`, caused by the Java exception the script threw."""
    return _script_exception("runtime error", source, offset, {"type": thrown.type, "reason": thrown.reason})
