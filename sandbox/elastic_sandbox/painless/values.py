"""Java's values and operators over Python objects.

Integers are Java `int`s while they fit 32 bits and `long`s beyond. Where Java would silently wrap a 32-bit result the
sandbox cannot know the declared width of a value that came from JSON, so it refuses instead of guessing
(`Overflow`); `long` literals, `long` variables and doubles are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from typing import Any, Final

from elastic_sandbox.painless import java_time
from elastic_sandbox.painless.doc_values import DocValues
from elastic_sandbox.painless.errors import ScriptThrow, class_cast

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1


class Overflow(Exception):  # noqa: N818 - turned into a 501 that names the operator
    """A result beyond 32 bits whose Java type is not known."""


def is_map(value: Any) -> bool:
    """Whether a script sees a `Map`."""
    return isinstance(value, dict) or isinstance(value, MutableMapping)  # noqa: SIM101 - the union is far slower


def is_number(value: Any) -> bool:
    """Whether a script sees a `Number` (a Python bool is none)."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def java_class(value: Any) -> str:
    """The Java class a script would print for a value."""
    if isinstance(value, bool):
        return "java.lang.Boolean"
    if isinstance(value, int):
        return "java.lang.Integer" if INT_MIN <= value <= INT_MAX else "java.lang.Long"
    if isinstance(value, float):
        return "java.lang.Double"
    if isinstance(value, str):
        return "java.lang.String"
    if isinstance(value, list):
        return value.java_class if isinstance(value, DocValues) else "java.util.ArrayList"
    if is_map(value):
        return "java.util.HashMap"
    if isinstance(value, java_time.JavaTime):
        return java_time.class_of(value)
    return "null" if value is None else type(value).__name__


def double_to_string(value: float) -> str:
    """`Double.toString`: shortest digits, plain between 1e-3 and 1e7, else `d.dddE±n`."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    mantissa, _, exponent_text = f"{value!r}".partition("e")
    if 1e-3 <= abs(value) < 1e7:
        if not exponent_text:
            return mantissa if "." in mantissa else mantissa + ".0"
        return f"{value:.17f}".rstrip("0")
    sign = "-" if value < 0 else ""
    digits = mantissa.lstrip("-")
    whole, _, fraction = digits.partition(".")
    exponent = int(exponent_text or 0) + len(whole) - 1
    significant = whole + fraction
    stripped = significant.lstrip("0")
    if whole == "0":
        exponent -= len(significant) - len(stripped)
    stripped = stripped.rstrip("0") or "0"
    return f"{sign}{stripped[0]}.{stripped[1:] or '0'}E{exponent}"


def to_string(value: Any) -> str:
    """What Java's string concatenation makes of a value."""
    if type(value) is str:
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return double_to_string(value)
    if isinstance(value, list):
        return "[" + ", ".join(to_string(item) for item in value) + "]"
    if is_map(value):
        return "{" + ", ".join(f"{to_string(key)}={to_string(item)}" for key, item in value.items()) + "}"
    return str(value)


def equal(left: Any, right: Any) -> bool:
    """`==` on `def`s: numbers by value across types, null-safe, a boolean never equals a number."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def truth(value: Any) -> bool:
    """A condition's value; anything but a boolean is the cast error Java would throw."""
    if value is True:
        return True
    if value is False:
        return False
    if value is None:
        raise ScriptThrow(
            "null_pointer_exception", 'Cannot invoke "java.lang.Boolean.booleanValue()" because value is null'
        )
    raise class_cast(f"class {java_class(value)} cannot be cast to class java.lang.Boolean")


def _operands(operator: str, left: Any, right: Any) -> None:
    for side, value in (("leftObject", left), ("rightObject", right)):
        if value is None:
            raise ScriptThrow("null_pointer_exception", f'Cannot invoke "Object.getClass()" because "{side}" is null')
    if not (is_number(left) and is_number(right)):
        raise class_cast(
            f"Cannot apply [{operator}] operation to types [{java_class(left)}] and [{java_class(right)}]."
        )


def _whole(value: int, *operands: int, wide: bool) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    if wide or any(not INT_MIN <= operand <= INT_MAX for operand in operands):
        return (value + 2**63) % 2**64 - 2**63
    raise Overflow


def add(left: Any, right: Any, wide: bool = False) -> Any:
    """`+`: concatenation when one side is a string, else addition."""
    if isinstance(left, str) or isinstance(right, str):
        return to_string(left) + to_string(right)
    _operands("+", left, right)
    result = left + right
    return result if isinstance(result, float) else _whole(result, left, right, wide=wide)


def subtract(left: Any, right: Any, wide: bool = False) -> Any:
    """`-`."""
    _operands("-", left, right)
    result = left - right
    return result if isinstance(result, float) else _whole(result, left, right, wide=wide)


def multiply(left: Any, right: Any, wide: bool = False) -> Any:
    """`*`."""
    _operands("*", left, right)
    result = left * right
    return result if isinstance(result, float) else _whole(result, left, right, wide=wide)


def divide(left: Any, right: Any, wide: bool = False) -> Any:
    """`/`: truncating between whole numbers, IEEE 754 as soon as one side is a double."""
    _operands("/", left, right)
    if isinstance(left, float) or isinstance(right, float):
        if right == 0:
            if left == 0 or math.isnan(left):
                return math.nan
            return math.copysign(math.inf, left) * math.copysign(1.0, right)
        return left / right
    if right == 0:
        raise ScriptThrow("arithmetic_exception", "/ by zero")
    quotient = abs(left) // abs(right)
    return _whole(quotient if (left < 0) == (right < 0) else -quotient, left, right, wide=wide)


def remainder(left: Any, right: Any, wide: bool = False) -> Any:
    """`%`: the sign of the dividend."""
    _operands("%", left, right)
    if isinstance(left, float) or isinstance(right, float):
        if right == 0 or math.isinf(left):
            return math.nan
        return math.fmod(left, right)
    if right == 0:
        raise ScriptThrow("arithmetic_exception", "/ by zero")
    return int(math.copysign(1, left)) * (abs(left) % abs(right))


def negate(value: Any, wide: bool = False) -> Any:
    """Unary `-`."""
    return subtract(0, value, wide) if not isinstance(value, float) else -value


ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "+": add,
    "-": subtract,
    "*": multiply,
    "/": divide,
    "%": remainder,
}


def less(left: Any, right: Any) -> bool:
    """`<`."""
    _operands("<", left, right)
    return bool(left < right)


def less_or_equal(left: Any, right: Any) -> bool:
    """`<=`."""
    _operands("<=", left, right)
    return bool(left <= right)


def greater(left: Any, right: Any) -> bool:
    """`>`."""
    _operands(">", left, right)
    return bool(left > right)


def greater_or_equal(left: Any, right: Any) -> bool:
    """`>=`."""
    _operands(">=", left, right)
    return bool(left >= right)


RELATIONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": less,
    "<=": less_or_equal,
    ">": greater,
    ">=": greater_or_equal,
}

WHOLE_TYPES: Final = {"int", "long", "byte", "short", "Integer", "Long"}
DOUBLE_TYPES: Final = {"double", "float", "Double", "Float"}
_INSTANCES: Final[dict[str, Callable[[Any], bool]]] = {
    "Map": is_map,
    "HashMap": is_map,
    "List": lambda value: isinstance(value, list),
    "ArrayList": lambda value: isinstance(value, list),
    "Collection": lambda value: isinstance(value, list),
    "Iterable": lambda value: isinstance(value, list),
    "String": lambda value: isinstance(value, str),
    "Number": is_number,
    "Integer": lambda value: is_number(value) and isinstance(value, int) and INT_MIN <= value <= INT_MAX,
    "Long": lambda value: is_number(value) and isinstance(value, int) and not INT_MIN <= value <= INT_MAX,
    "Double": lambda value: isinstance(value, float),
    "Boolean": lambda value: isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "ZonedDateTime": lambda value: isinstance(value, java_time.ZonedDateTime),
    "Instant": lambda value: isinstance(value, java_time.Instant),
    "ZoneId": lambda value: isinstance(value, java_time.Zone),
    "DayOfWeek": lambda value: java_class(value) == "java.time.DayOfWeek",
    "Month": lambda value: java_class(value) == "java.time.Month",
    "Object": lambda value: value is not None,
    "def": lambda value: value is not None,
}


def instance_test(type_name: str) -> Callable[[Any], bool] | None:
    """The test behind `instanceof`, or None for a type the subset does not know."""
    return _INSTANCES.get(type_name)


def convert(type_name: str, value: Any, explicit: bool = False) -> Any:
    """A value as it lands in a variable of a declared type; `explicit` is a cast, which may narrow.

    Raises the `class_cast_exception` Java throws for a `def` that does not fit.
    """
    if type_name in {"def", "Object"}:
        return value
    if type_name in DOUBLE_TYPES or type_name in WHOLE_TYPES or type_name == "boolean":
        return _to_primitive(type_name, value, explicit)
    if value is None:
        return None
    test = _INSTANCES.get(type_name)
    if test is not None and not test(value):
        raise class_cast(f"Cannot cast {java_class(value)} to {type_name}")
    return value


def _to_primitive(type_name: str, value: Any, explicit: bool) -> Any:
    if value is None:
        if type_name[0].isupper():
            return None
        raise ScriptThrow("null_pointer_exception", f"cannot cast null to a primitive type [{type_name}]")
    if type_name in DOUBLE_TYPES and is_number(value):
        return float(value)
    if type_name in WHOLE_TYPES and is_number(value):
        if isinstance(value, int):
            return value
        if explicit:
            return _truncate(value)
    if type_name == "boolean" and isinstance(value, bool):
        return value
    raise class_cast(f"Cannot cast from [{java_class(value)}] to [{type_name}].")


def _truncate(value: float) -> int:
    if math.isnan(value):
        return 0
    return max(
        -(2**63), min(2**63 - 1, math.trunc(value) if not math.isinf(value) else int(math.copysign(2**63, value)))
    )
