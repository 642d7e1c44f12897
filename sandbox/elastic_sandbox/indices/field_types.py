"""Field types: which parameters each takes and how it turns a JSON value into what is indexed."""

from __future__ import annotations

import ipaddress
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from elastic_sandbox.errors import illegal_argument
from elastic_sandbox.indices.dates import DEFAULT_FORMAT, parser

Convert = Callable[[Any], Any]
"""One JSON scalar to the value that is indexed; raises :class:`MalformedError` or :class:`TooLongError`."""


class MalformedError(Exception):
    """A value that its field cannot take; carries the inner cause of the server's error."""

    def __init__(self, reason: str, kind: str = "illegal_argument_exception", caused_by: Any = None) -> None:
        super().__init__(reason)
        self.cause: dict[str, Any] = {"type": kind, "reason": reason}
        if caused_by is not None:
            self.cause["caused_by"] = caused_by


class TooLongError(Exception):
    """A keyword beyond ``ignore_above``: kept in the source, not indexed, noted in ``_ignored``."""


@dataclass(frozen=True)
class FieldType:
    """One type: its parameters, those a mapping update may change, and its converter's maker."""

    name: str
    parameters: frozenset[str]
    updatable: frozenset[str]
    converter: Callable[[str, dict[str, Any]], Convert]


def _describe(value: Any) -> str:
    """A JSON value as Java's Map.toString prints it, which is what error previews hold."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_describe(item) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


preview = _describe


def _text_of(value: Any) -> str:
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        raise MalformedError("Can't get text on a START_OBJECT at 1:1", "illegal_state_exception")
    return str(value)


def _keyword(path: str, params: dict[str, Any]) -> Convert:
    limit = params.get("ignore_above", 2147483647)
    lowercase = params.get("normalizer") == "lowercase"

    def convert(value: Any) -> str:
        text = value if type(value) is str else _text_of(value)
        if len(text) > limit:
            raise TooLongError
        if len(text) > 8191 and len(text.encode()) > 32766:
            raise MalformedError(
                f'Document contains at least one immense term in field="{path}" (whose UTF8 encoding is longer than '
                "the max length 32766), all of which were skipped.",
                caused_by={
                    "type": "max_bytes_length_exceeded_exception",
                    "reason": f"bytes can be at most 32766 in length; got {len(text.encode())}",
                },
            )
        return text.lower() if lowercase else text

    return convert


def _text(_path: str, _params: dict[str, Any]) -> Convert:
    return _text_of


_INTEGER_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}


def _number_of(value: Any, coerce: bool) -> float | int:
    if type(value) is int or type(value) is float:
        return value
    if isinstance(value, (dict, bool)) or not isinstance(value, str):
        kind = "START_OBJECT" if isinstance(value, dict) else "VALUE_BOOLEAN"
        raise MalformedError(
            "Cannot parse object as number"
            if kind == "START_OBJECT"
            else f"Current token (VALUE_{preview(value).upper()}) not numeric, can not use numeric value accessors",
            "illegal_argument_exception" if kind == "START_OBJECT" else "input_coercion_exception",
        )
    if not coerce:
        raise MalformedError(f"{value} value passed as String", "illegal_argument_exception")
    text = value.strip()
    try:
        return int(text) if "_" not in text else float("x")
    except ValueError:
        pass
    try:
        return float(text) if "_" not in text else float("x")
    except ValueError:
        raise MalformedError("empty String" if not text else f'For input string: "{value}"') from None


def _whole(low: int, high: int, type_name: str) -> Callable[[str, dict[str, Any]], Convert]:
    def make(_path: str, params: dict[str, Any]) -> Convert:
        coerce = params.get("coerce", True)

        def convert(value: Any) -> int:
            if type(value) is not int:
                number = _number_of(value, coerce)
                if type(number) is float:
                    if not math.isfinite(number):
                        raise MalformedError(f'For input string: "{value}"')
                    if number != int(number) and not coerce:
                        raise MalformedError(
                            f"{value} cannot be converted to {type_name.capitalize()} without data loss"
                        )
                value = int(number)
            if low <= value <= high:
                return value
            article = "an" if type_name == "integer" else "a"
            raise MalformedError(f"Value [{value}] is out of range for {article} {type_name}")

        return convert

    return make


def _single_precision(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _half_precision(value: float) -> float:
    return float(struct.unpack("<e", struct.pack("<e", value))[0])


def _floating(type_name: str, rounding: Callable[[float], float]) -> Callable[[str, dict[str, Any]], Convert]:
    def make(_path: str, params: dict[str, Any]) -> Convert:
        coerce = params.get("coerce", True)

        def convert(value: Any) -> float:
            number = float(_number_of(value, coerce))
            try:
                number = rounding(number)
            except OverflowError:
                number = math.inf
            if not math.isfinite(number):
                raise MalformedError(f"[{type_name}] supports only finite values, but got [{_java_float(value)}]")
            return number

        return convert

    return make


def _java_float(value: Any) -> str:
    text = str(value)
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(text, text)


def _scaled(path: str, params: dict[str, Any]) -> Convert:
    factor = params.get("scaling_factor")
    if factor is None:
        raise illegal_argument(f"Field [{path}] misses required parameter [scaling_factor]")
    inner = _floating("scaled_float", lambda number: round(number * factor) / factor)
    return inner(path, params)


def _boolean(_path: str, _params: dict[str, Any]) -> Convert:
    def convert(value: Any) -> bool:
        if type(value) is bool:
            return value
        if isinstance(value, str) and value in {"true", "false", ""}:
            return value == "true"
        raise MalformedError(f"Failed to parse value [{_describe(value)}] as only [true] or [false] are allowed.")

    return convert


def _date(path: str, params: dict[str, Any]) -> Convert:
    date_format = params.get("format", DEFAULT_FORMAT)
    parse = parser(date_format)

    @lru_cache(maxsize=8192)
    def convert_text(text: str) -> int:
        return parse(text)

    def convert(value: Any) -> int:
        try:
            if type(value) is str:
                return convert_text(value)
            if type(value) is int or type(value) is float:
                return convert_text(str(value))
        except (ValueError, OverflowError):
            pass
        if isinstance(value, dict):
            raise MalformedError("Can't get text on a START_OBJECT at 1:1", "illegal_state_exception")
        raise MalformedError(
            f"failed to parse date field [{_describe(value)}] with format [{date_format}]",
            caused_by={"type": "date_time_parse_exception", "reason": "Failed to parse with all enclosed parsers"}
            if "||" in date_format
            else {
                "type": "date_time_parse_exception",
                "reason": f"Text '{_describe(value)}' could not be parsed at index 0",
            },
        )

    return convert


@lru_cache(maxsize=65536)
def _ip_text(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _ip(_path: str, _params: dict[str, Any]) -> Convert:
    def convert(value: Any) -> str:
        text = _text_of(value)
        try:
            return _ip_text(text)
        except ValueError:
            raise MalformedError(f"'{text}' is not an IP string literal.") from None

    return convert


def _kept(_path: str, _params: dict[str, Any]) -> Convert:
    return lambda value: value


def _flattened(_path: str, _params: dict[str, Any]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict):
            raise MalformedError(
                "Failed to parse object: expecting token of type [START_OBJECT] but found [VALUE_STRING]",
                "parsing_exception",
            )
        return value

    return convert


_COMMON = {"type", "meta", "index", "store", "doc_values", "copy_to", "fields", "null_value", "boost",
           "on_script_error", "script", "time_series_dimension"}  # fmt: skip
_NUMERIC = _COMMON | {"coerce", "ignore_malformed", "time_series_metric"}
_KEYWORD = _COMMON | {"ignore_above", "normalizer", "eager_global_ordinals", "index_options", "norms", "similarity",
                      "split_queries_on_whitespace"}  # fmt: skip
_TEXT = _COMMON | {"analyzer", "search_analyzer", "search_quote_analyzer", "eager_global_ordinals",
                   "fielddata", "index_options", "fielddata_frequency_filter", "index_prefixes", "index_phrases",
                   "norms", "position_increment_gap", "similarity", "term_vector"}  # fmt: skip
_FLATTENED = {"type", "meta", "depth_limit", "doc_values", "eager_global_ordinals", "ignore_above", "index",
              "index_options", "null_value", "similarity", "split_queries_on_whitespace"}  # fmt: skip
_UPDATABLE = {"meta", "fields", "copy_to", "ignore_above", "ignore_malformed", "coerce", "eager_global_ordinals",
              "search_analyzer", "fielddata", "fielddata_frequency_filter", "split_queries_on_whitespace"}  # fmt: skip


def _type(name: str, parameters: set[str], converter: Callable[[str, dict[str, Any]], Convert]) -> FieldType:
    return FieldType(name, frozenset(parameters), frozenset(_UPDATABLE & parameters), converter)


FIELD_TYPES: dict[str, FieldType] = {
    kind.name: kind
    for kind in [
        _type("keyword", _KEYWORD, _keyword),
        _type("wildcard", {"type", "meta", "ignore_above", "null_value", "fields", "copy_to"}, _keyword),
        _type("text", _TEXT, _text),
        _type("match_only_text", {"type", "meta", "fields", "copy_to", "analyzer", "search_analyzer"}, _text),
        *(
            _type(name, _NUMERIC, _whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, name))
            for name, bits in _INTEGER_BITS.items()
        ),
        _type("unsigned_long", _NUMERIC - {"coerce", "copy_to"}, _whole(0, 2**64 - 1, "unsigned_long")),
        _type("double", _NUMERIC, _floating("double", float)),
        _type("float", _NUMERIC, _floating("float", _single_precision)),
        _type("half_float", _NUMERIC, _floating("half_float", _half_precision)),
        _type("scaled_float", _NUMERIC | {"scaling_factor"}, _scaled),
        _type("boolean", _COMMON | {"ignore_malformed"}, _boolean),
        _type("date", _COMMON | {"format", "locale", "ignore_malformed"}, _date),
        _type("ip", _COMMON | {"ignore_malformed"}, _ip),
        _type("geo_point", _COMMON | {"ignore_malformed", "ignore_z_value", "time_series_metric"}, _kept),
        _type("flattened", _FLATTENED, _flattened),
        _type("constant_keyword", {"type", "meta", "value", "fields", "copy_to"}, _text),
    ]
}  # fmt: skip

# Types Elasticsearch has and the sandbox does not: 501 instead of "no handler for type".
OTHER_TYPES = frozenset({
    "aggregate_metric_double", "alias", "annotated_text", "binary", "completion", "counted_keyword", "date_nanos",
    "date_range", "dense_vector", "double_range", "exponential_histogram", "float_range", "geo_shape", "histogram",
    "integer_range", "ip_range", "join", "long_range", "murmur3", "passthrough", "pattern_text", "percolator", "point",
    "rank_feature", "rank_features", "rank_vectors", "search_as_you_type", "semantic_text", "shape", "sparse_vector",
    "token_count", "version",
})  # fmt: skip
