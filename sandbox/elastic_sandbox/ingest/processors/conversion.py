"""`convert`: a value to another type, strictly."""

from __future__ import annotations

import ipaddress
import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import IngestDocument, illegal
from elastic_sandbox.ingest.processors import EachProcessor, register
from elastic_sandbox.painless.values import to_string

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config

_WHOLE: Final = re.compile(r"([+-]?)(?:(0[xX]|#)([0-9a-fA-F]+)|(\d+))")
_REAL: Final = re.compile(r"[+-]?(?:NaN|Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFdD]?")


def _unable(value: Any, type_name: str) -> ElasticError:
    text = to_string(value)
    error = illegal(f"unable to convert [{text}] to {type_name}")
    error.caused_by = {"type": "number_format_exception", "reason": f'For input string: "{text}"'}
    return error


def _whole(type_name: str, bits: int) -> Callable[[Any], int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)

    def convert(value: Any) -> int:
        if type(value) is int and low <= value < high:
            return value
        if type(value) is str and len(value) < 10 and value.isascii() and value.isdigit() and int(value) < high:
            return int(value)
        match = _WHOLE.fullmatch(to_string(value))
        if match is None:
            raise _unable(value, type_name)
        number = int(match[3], 16) if match[3] else int(match[4])
        number = -number if match[1] == "-" else number
        if not low <= number < high:
            raise _unable(value, type_name)
        return number

    return convert


def _real(type_name: str) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        text = to_string(value).strip()
        if _REAL.fullmatch(text) is None:
            raise _unable(value, type_name)
        number = float(re.sub(r"(?<=[\d.])[fFdD]$", "", text).replace("Infinity", "inf"))
        return _single(number) if type_name == "float" else number

    return convert


def _single(number: float) -> float:
    """The nearest 32-bit float, as the shortest decimal that names it: 0.1 stays 0.1."""
    if not math.isfinite(number):
        return number
    try:
        packed = struct.pack("<f", number)
    except OverflowError:
        return math.copysign(math.inf, number)
    for digits in range(1, 10):
        candidate = float(f"{number:.{digits}g}")
        if abs(candidate) <= 3.4028235e38 and struct.pack("<f", candidate) == packed:
            return candidate
    return float(struct.unpack("<f", packed)[0])


def _boolean(value: Any) -> bool:
    text = to_string(value)
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    raise illegal(f"[{text}] is not a boolean value, cannot convert to boolean")


def _ip(value: Any) -> str:
    text = to_string(value)
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise illegal(f"'{text}' is not an IP string literal.") from None
    return text


def _auto(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for name in ("boolean", "integer", "long", "float"):
        try:
            return CONVERSIONS[name](value)
        except ElasticError:
            continue
    return value


CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "integer": _whole("integer", 32),
    "long": _whole("long", 64),
    "float": _real("float"),
    "double": _real("double"),
    "boolean": _boolean,
    "ip": _ip,
    "string": to_string,
    "auto": _auto,
}


class ConvertProcessor(EachProcessor):
    """`convert`: the field, or every element of a list, to a type."""

    type = "convert"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: str = config.string("field")
        wanted = config.string("type")
        self._target: str = config.string("target_field", self._field)
        self._type_name = wanted.lower()
        if self._type_name not in CONVERSIONS:
            raise config.error("type", f"type [{wanted}] not supported, cannot convert field.")
        self._convert = CONVERSIONS[self._type_name]
        self._ignore_missing = config.boolean("ignore_missing")

    def process(self, document: IngestDocument) -> None:
        """Convert into the target."""
        value = document.find(self._field) if self._ignore_missing else document.get(self._field)
        if value is None:
            if self._ignore_missing:
                return
            raise illegal(f"Field [{self._field}] is null, cannot be converted to type [{self._type_name}]")
        if isinstance(value, list):
            document.set(self._target, [self._convert(item) for item in value])
        else:
            document.set(self._target, self._convert(value))


register("convert", ConvertProcessor)
