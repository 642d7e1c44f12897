"""Runtime fields without a script read `_source`, and leave out what does not fit (the server's `emitFromObject`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from elastic_sandbox.documents.columns import ip_to_column
from elastic_sandbox.indices.dates import parser
from elastic_sandbox.painless.values import to_string
from elastic_sandbox.search.runtime_fields import RuntimeField


def from_source(definition: RuntimeField, source: dict[str, Any]) -> list[Any]:
    """The values of a field without a script, as columns hold them."""
    convert = _CONVERT[definition.type]
    values = []
    for value in _extract(source, definition.name.split(".")):
        try:
            converted = convert(value, definition.format)
        except (TypeError, ValueError, OverflowError):
            continue
        if converted is not None:
            values.append(converted)
    return values


def _extract(value: Any, path: Sequence[str]) -> list[Any]:
    """The values at a path, through lists, whether its names are nested or dotted."""
    if isinstance(value, list):
        return [found for item in value for found in _extract(item, path)]
    if not path:
        return [] if value is None else [value]
    if not isinstance(value, dict):
        return []
    return [
        found
        for cut in range(1, len(path) + 1)
        if (key := ".".join(path[:cut])) in value
        for found in _extract(value[key], path[cut:])
    ]


def _long(value: Any, _format: str) -> int | None:
    if isinstance(value, bool):
        return None
    number = int(value) if isinstance(value, int | float) else _parsed_long(str(value))
    return number if -(2**63) <= number < 2**63 else None


def _parsed_long(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _boolean(value: Any, _format: str) -> bool | None:
    return value if isinstance(value, bool) else {"true": True, "false": False}.get(str(value))


_CONVERT: Final[dict[str, Callable[[Any, str], Any]]] = {
    "keyword": lambda value, _: to_string(value),
    "long": _long,
    "double": lambda value, _: None if isinstance(value, bool) else float(value),
    "boolean": _boolean,
    "date": lambda value, date_format: parser(date_format)(to_string(value)),
    "ip": lambda value, _: ip_to_column(str(value)),
}
