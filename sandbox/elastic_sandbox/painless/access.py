"""Reading, writing and calling on values whose type is known only when the script runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.painless import doc_values, java_time, methods, values
from elastic_sandbox.painless.errors import ScriptThrow, null_pointer


class Position(Exception):  # noqa: N818 - carries where, while the error travels up the closures
    """Wraps what a script threw with the offset of the construct that threw it."""

    def __init__(self, thrown: ScriptThrow, offset: int) -> None:
        super().__init__(str(thrown))
        self.thrown = thrown
        self.offset = offset


def read_field(target: Any, name: str, offset: int) -> Any:
    """`target.name` for anything but a plain dict and null."""
    getter = getattr(target, "get", None)  # of all values a script can hold, maps alone have one
    if getter is not None:
        return getter(name)
    # `x.empty` is `x.isEmpty()` and `x.hour` is `x.getHour()`, for every type.
    table, property_name = methods.table_of(target), name[:1].upper() + name[1:]
    read = table.get(f"get{property_name}") or table.get(f"is{property_name}")
    if read is not None:
        with suppress(TypeError):  # a method that takes arguments is no property
            try:
                return read(target)
            except ScriptThrow as thrown:
                raise Position(thrown, offset) from None
    if isinstance(target, java_time.JavaTime):
        raise unsupported(f"Painless [{name}] of a {values.java_class(target)}")
    raise Position(
        ScriptThrow("illegal_argument_exception", f"dynamic getter [{values.java_class(target)}, {name}] not found"),
        offset,
    )


def read_element(target: Any, key: Any, offset: int) -> Any:
    """`target[key]` for anything but a plain dict."""
    if values.is_map(target):
        return target.get(key)
    if target is None:
        raise Position(null_pointer(str(key)), offset)
    if isinstance(target, list):
        try:
            if isinstance(target, doc_values.DocValues):
                return doc_values.at(target, key)
            return target[methods.list_index(target, key)]
        except ScriptThrow as thrown:
            raise Position(thrown, offset) from None
    raise Position(
        ScriptThrow(
            "illegal_argument_exception",
            f"Attempting to address a non-array-like type [{values.java_class(target)}] as an array.",
        ),
        offset,
    )


def write_element(target: Any, key: Any, value: Any, offset: int) -> None:
    """`target[key] = value`, and `target.key = value`."""
    if values.is_map(target):
        target[key] = value
    elif target is None:
        raise Position(null_pointer(str(key)), offset)
    elif isinstance(target, list):
        try:
            target[methods.list_index(target, key)] = value
        except ScriptThrow as thrown:
            raise Position(thrown, offset) from None
    else:
        raise Position(
            ScriptThrow("illegal_argument_exception", f"dynamic setter [{values.java_class(target)}, {key}] not found"),
            offset,
        )


def no_method(type_name: str, name: str, arguments: list[Any]) -> ScriptThrow:
    """The complaint about a method that the type does not have."""
    return ScriptThrow("illegal_argument_exception", f"dynamic method [{type_name}, {name}/{len(arguments)}] not found")


def call_method(target: Any, name: str, arguments: list[Any], offset: int) -> Any:
    """`target.name(arguments)` for anything but null."""
    method = methods.table_of(target).get(name)
    if method is None:
        if isinstance(target, java_time.JavaTime):
            raise unsupported(f"Painless [{name}] of a {values.java_class(target)}")
        raise Position(no_method(values.java_class(target), name, arguments), offset)
    try:
        return method(target, *arguments)
    except ScriptThrow as thrown:
        raise Position(thrown, offset) from None
    except (TypeError, AttributeError):
        raise Position(_argument_problem(target, name, arguments), offset) from None


def _argument_problem(target: Any, name: str, arguments: list[Any]) -> ScriptThrow:
    if any(argument is None for argument in arguments):
        return ScriptThrow("null_pointer_exception", f"argument of [{name}] is null")
    if isinstance(target, str):
        wrong = next((value for value in arguments if not isinstance(value, str)), None)
        if wrong is not None:
            return ScriptThrow("class_cast_exception", f"Cannot cast {values.java_class(wrong)} to java.lang.String")
    return no_method(values.java_class(target), name, arguments)


def number(value: Any, offset: int) -> Any:
    """The value, when a numeric parameter can take it."""
    if value is None:
        raise Position(ScriptThrow("null_pointer_exception", "cannot cast null to a primitive type [double]"), offset)
    if not values.is_number(value):
        raise Position(
            ScriptThrow("class_cast_exception", f"Cannot cast from [{values.java_class(value)}] to [double]."), offset
        )
    return value
