"""Strict reading of JSON bodies, in Elasticsearch's words.

Its object parsers answer 400 `x_content_parse_exception` for an unknown field or a wrong type, wrapped once per object;
the innermost reason is what people read and what tests match, so that is what is raised here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from elastic_sandbox.errors import ElasticError

_ID = re.compile(r"[a-z0-9](?:[a-z0-9_\-]*[a-z0-9])?")
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|tb|pb)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}
_NAMES = {
    dict: "START_OBJECT",
    list: "START_ARRAY",
    str: "VALUE_STRING",
    bool: "VALUE_BOOLEAN",
    type(None): "VALUE_NULL",
}


def bad_request(reason: str) -> ElasticError:
    """400 `status_exception`, what Elasticsearch's `ExceptionsHelper.badRequestException` renders."""
    return ElasticError(400, "status_exception", reason)


def conflict(reason: str) -> ElasticError:
    """409 `status_exception`."""
    return ElasticError(409, "status_exception", reason)


def not_found(reason: str) -> ElasticError:
    """404 `resource_not_found_exception`."""
    return ElasticError(404, "resource_not_found_exception", reason)


def parse_error(parser: str, reason: str) -> ElasticError:
    """400 `x_content_parse_exception` of the named parser."""
    return ElasticError(400, "x_content_parse_exception", f"[1:1] [{parser}] {reason}")


def required(parser: str, *names: str) -> ElasticError:
    """The error for absent constructor arguments of a parser."""
    return parse_error(parser, f"Required {list(names)}".replace("'", ""))


def parse_strict(parser: str, body: Any, fields: Mapping[str, Any]) -> None:
    """Check that body is an object with known fields of the given types.

    fields maps a name to a type or a tuple of types; `float` accepts any number, `int` integral numbers, None anything.
    Null is accepted for every field (Elasticsearch skips it or complains later).
    """
    if not isinstance(body, dict):
        raise parse_error(parser, f"Expected START_OBJECT but was: {_NAMES.get(type(body), 'VALUE_NUMBER')}")
    for name, value in body.items():
        if name not in fields:
            close = get_close_matches(name, list(fields), n=1)
            hint = f" did you mean [{close[0]}]?" if close else ""
            raise parse_error(parser, f"unknown field [{name}]{hint}")
        wanted = fields[name]
        if wanted is None or value is None:
            continue
        kinds = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(_fits(value, kind) for kind in kinds):
            raise parse_error(
                parser, f"{name} doesn't support values of type: {_NAMES.get(type(value), 'VALUE_NUMBER')}"
            )


def _fits(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    return isinstance(value, kind)


def check_id(name: str, value: str) -> None:
    """Refuse an id that is not lowercase alphanumeric with hyphens and underscores inside, or is over 64 characters."""
    if not _ID.fullmatch(value):
        raise bad_request(
            f"Invalid {name}; '{value}' can contain lowercase alphanumeric (a-z and 0-9), hyphens or underscores; "
            "must start and end with alphanumeric"
        )
    if len(value) > 64:
        raise bad_request(f"Invalid {name}; '{value}' cannot contain more than 64 characters.")


def check_consistent_id(name: str, in_body: Any, in_url: str) -> None:
    """Refuse a body whose id differs from the one in the path."""
    if in_body is not None and in_body != in_url:
        raise ElasticError(
            400,
            "illegal_argument_exception",
            f"Inconsistent {name}; '{in_body}' specified in the body differs from '{in_url}' specified as a URL "
            "argument",
        )


def byte_size(setting: str, value: Any) -> int:
    """Bytes of a size such as `100mb`."""
    match = _BYTES.fullmatch(str(value).strip())
    if match is None or match.group(2) is None:
        raise ElasticError(
            400,
            "parse_exception",
            f"failed to parse setting [{setting}] with value [{value}] as a size in bytes: "
            "unit is missing or unrecognized",
        )
    return int(float(match.group(1)) * _UNITS[match.group(2).lower()])


def byte_text(size: int) -> str:
    """A size as Elasticsearch writes it: the largest unit that divides it, at least one."""
    for unit in ("gb", "mb", "kb"):
        if size >= _UNITS[unit] and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return f"{size}b"


def matches(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern in which `*` stands for anything."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None


def expand_expression(expression: str | None, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The sorted names a comma separated expression selects, and the parts without wildcard that match nothing."""
    known = sorted(names)
    if expression in {None, "", "_all", "*"}:
        return known, []
    chosen: set[str] = set()
    missing: list[str] = []
    for part in (expression or "").split(","):
        found = [name for name in known if matches(part, name)] if part != "_all" else known
        if not found and "*" not in part and part != "_all":
            missing.append(part)
        chosen.update(found)
    return sorted(chosen), missing
