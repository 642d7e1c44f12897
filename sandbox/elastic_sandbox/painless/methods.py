"""The methods of the subset, by the type they are called on.

Each entry takes the receiver and the arguments and does what the Java method does. A name that is in no table is real
Painless that the sandbox does not have (501, at compile time); a name that is only in another type's table is the
server's `dynamic method ... not found`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from elastic_sandbox.painless import doc_values, java_time
from elastic_sandbox.painless.errors import ScriptThrow
from elastic_sandbox.painless.values import _truncate, equal, is_map, is_number, java_class, to_string

Method = Callable[..., Any]


def _compare_strings(left: str, right: str) -> int:
    """`String.compareTo`: the difference of the first differing UTF-16 units, else of the lengths."""
    one, other = left.encode("utf-16-be"), right.encode("utf-16-be")
    for index in range(0, min(len(one), len(other)), 2):
        difference = int.from_bytes(one[index : index + 2]) - int.from_bytes(other[index : index + 2])
        if difference:
            return difference
    return (len(one) - len(other)) // 2


def _substring(text: str, begin: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= begin <= stop <= len(text):
        raise ScriptThrow("string_index_out_of_bounds_exception", f"begin {begin}, end {stop}, length {len(text)}")
    return text[begin:stop]


def _get(values: list[Any], index: int) -> Any:
    return values[list_index(values, index)]


def list_index(values: list[Any], index: Any) -> int:
    """A checked list index, as `List.get` checks it."""
    if not isinstance(index, int) or isinstance(index, bool):
        raise ScriptThrow("class_cast_exception", f"Cannot cast from [{java_class(index)}] to [int].")
    if not 0 <= index < len(values):
        raise ScriptThrow("index_out_of_bounds_exception", f"Index {index} out of bounds for length {len(values)}")
    return index


def _list_add(values: list[Any], *arguments: Any) -> bool | None:
    if len(arguments) == 2:
        index, value = arguments
        if index != len(values):
            list_index(values, index)
        values.insert(index, value)
        return None
    values.append(arguments[0])
    return True


def _list_remove(values: list[Any], index: int) -> Any:
    return values.pop(list_index(values, index))


def _list_set(values: list[Any], index: int, value: Any) -> Any:
    position = list_index(values, index)
    before, values[position] = values[position], value
    return before


def _contains(values: list[Any], wanted: Any) -> bool:
    return wanted in values if isinstance(wanted, str) else _index_of(values, wanted) >= 0


def _index_of(values: list[Any], wanted: Any) -> int:
    return next((index for index, value in enumerate(values) if equal(value, wanted)), -1)


def _put(target: Any, key: Any, value: Any) -> Any:
    before = target.get(key)
    target[key] = value
    return before


def _put_if_absent(target: Any, key: Any, value: Any) -> Any:
    before = target.get(key)
    if before is None:
        target[key] = value
    return before


def _map_remove(target: Any, key: Any) -> Any:
    before = target.get(key)
    if key in target:
        del target[key]
    return before


class Entry:
    """One `Map.Entry`."""

    __slots__ = ("key", "value")

    def __init__(self, key: Any, value: Any) -> None:
        self.key = key
        self.value = value


STRING: Final[dict[str, Method]] = {
    "charAt": lambda text, index: _substring(text, index, index + 1),
    "compareTo": _compare_strings,
    "contains": lambda text, part: part in text,
    "endsWith": lambda text, part: text.endswith(part),
    "equals": equal,
    "equalsIgnoreCase": lambda text, other: isinstance(other, str) and text.lower() == other.lower(),
    "indexOf": lambda text, part, start=0: text.find(part, start),
    "isEmpty": lambda text: not text,
    "lastIndexOf": lambda text, part: text.rfind(part),
    "length": len,
    "replace": lambda text, old, new: text.replace(old, new),
    "splitOnToken": lambda text, token: text.split(token),
    "startsWith": lambda text, part: text.startswith(part),
    "substring": _substring,
    "toLowerCase": str.lower,
    "toString": to_string,
    "toUpperCase": str.upper,
    "trim": str.strip,
}
LIST: Final[dict[str, Method]] = {
    "add": _list_add,
    "addAll": lambda values, more: values.extend(more) or bool(more),
    "clear": list.clear,
    "contains": _contains,
    "equals": equal,
    "get": _get,
    "getLength": len,
    "indexOf": _index_of,
    "isEmpty": lambda values: not values,
    "remove": _list_remove,
    "set": _list_set,
    "size": len,
    "toString": to_string,
}
MAP: Final[dict[str, Method]] = {
    "clear": lambda target: target.clear(),
    "containsKey": lambda target, key: key in target,
    "containsValue": lambda target, wanted: any(equal(value, wanted) for value in target.values()),
    "entrySet": lambda target: [Entry(key, value) for key, value in target.items()],
    "equals": equal,
    "get": lambda target, key: target.get(key),
    "getOrDefault": lambda target, key, default: target.get(key, default),
    "isEmpty": lambda target: len(target) == 0,
    "keySet": list,
    "put": _put,
    "putAll": lambda target, more: target.update(more),
    "putIfAbsent": _put_if_absent,
    "remove": _map_remove,
    "size": len,
    "toString": to_string,
    "values": lambda target: list(target.values()),
}
ENTRY: Final[dict[str, Method]] = {"getKey": lambda entry: entry.key, "getValue": lambda entry: entry.value}


def _compare(left: Any, right: Any) -> int:
    return (left > right) - (left < right)


NUMBER: Final[dict[str, Method]] = {
    "compareTo": _compare,
    "doubleValue": float,
    "equals": equal,
    "floatValue": float,
    "intValue": lambda value: value if isinstance(value, int) else _truncate(value),
    "longValue": lambda value: value if isinstance(value, int) else _truncate(value),
    "toString": to_string,
}
BOOLEAN: Final[dict[str, Method]] = {"booleanValue": bool, "equals": equal, "toString": to_string}
DOC_VALUES: Final[dict[str, Method]] = LIST | doc_values.METHODS
KNOWN: Final = frozenset().union(STRING, LIST, MAP, ENTRY, NUMBER, BOOLEAN, DOC_VALUES, java_time.KNOWN)


def table_of(value: Any) -> dict[str, Method]:
    """The methods of a value's type; empty for a type without any."""
    if isinstance(value, str):
        return STRING
    if isinstance(value, list):
        return DOC_VALUES if isinstance(value, doc_values.DocValues) else LIST
    if is_map(value):
        return MAP
    if isinstance(value, bool):
        return BOOLEAN
    if is_number(value):
        return NUMBER
    if isinstance(value, java_time.JavaTime):
        return java_time.methods_of(value)
    return ENTRY if isinstance(value, Entry) else {}


def _parse_whole(bits: int) -> Method:
    def parse(text: str) -> int:
        try:
            if not text.lstrip("+-").isdigit():
                raise ValueError
            value = int(text)
        except (ValueError, AttributeError):
            raise ScriptThrow("number_format_exception", f'For input string: "{text}"') from None
        if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            raise ScriptThrow("number_format_exception", f'For input string: "{text}"')
        return value

    return parse


def _parse_double(text: str) -> float:
    special = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    stripped = text.strip()
    try:
        return special[stripped] if stripped in special else float(stripped.rstrip("dDfF").replace("_", "?"))
    except ValueError:
        reason = "empty String" if not stripped else f'For input string: "{text}"'
        raise ScriptThrow("number_format_exception", reason) from None


def _log(value: float) -> float:
    if value < 0 or math.isnan(value):
        return math.nan
    return -math.inf if value == 0 else math.log(value)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _pow(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf if base > 0 or exponent % 2 == 0 else -math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan


def _round(value: float) -> int:
    return (
        value
        if isinstance(value, int)
        else _truncate(math.floor(value + 0.5))
        if math.isfinite(value)
        else _truncate(value)
    )


def _promoted(choose: Method) -> Method:
    def apply(left: Any, right: Any) -> Any:
        if isinstance(left, float) or isinstance(right, float):
            return math.nan if math.isnan(left) or math.isnan(right) else float(choose(left, right))
        return choose(left, right)

    return apply


STATIC: Final[dict[tuple[str, str], Method]] = {
    ("Math", "abs"): abs,
    ("Math", "ceil"): lambda value: float(math.ceil(value)),
    ("Math", "exp"): _exp,
    ("Math", "floor"): lambda value: float(math.floor(value)),
    ("Math", "log"): _log,
    ("Math", "log10"): lambda value: _log(value) if value <= 0 else math.log10(value),
    ("Math", "max"): _promoted(max),
    ("Math", "min"): _promoted(min),
    ("Math", "pow"): _pow,
    ("Math", "round"): _round,
    ("Math", "sqrt"): lambda value: math.sqrt(value) if value >= 0 else math.nan,
    ("Boolean", "parseBoolean"): lambda text: isinstance(text, str) and text.lower() == "true",
    ("Double", "isNaN"): math.isnan,
    ("Double", "parseDouble"): _parse_double,
    ("Double", "toString"): to_string,
    ("Integer", "parseInt"): _parse_whole(32),
    ("Integer", "toString"): to_string,
    ("Long", "parseLong"): _parse_whole(64),
    ("Long", "toString"): to_string,
    ("String", "join"): lambda separator, parts: separator.join(to_string(part) for part in parts),
    ("String", "valueOf"): to_string,
    **java_time.STATIC,
}
NUMERIC_STATIC: Final = {name for name in STATIC if name[0] == "Math"} | {("Double", "isNaN")}
