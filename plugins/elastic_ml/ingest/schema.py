"""Before the first write: can the stream's mapping take these documents at all?

A single odd record is the failure store's business. What is refused here is a whole source that disagrees with its
stream: a field that the mapping says is a number and that the records fill with names.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from elastic_ml.exceptions import IngestError
from elastic_ml.sources.records import parse_time

SAMPLE = 200
"""How many of the first documents are compared."""

_WHOLE = frozenset({"long", "integer", "short", "byte", "unsigned_long"})
_REAL = frozenset({"float", "double", "half_float", "scaled_float"})
_TAKES_OBJECTS = frozenset({
    "flattened", "nested", "geo_point", "geo_shape", "point", "shape", "join", "histogram", "passthrough",
    "aggregate_metric_double", "integer_range", "long_range", "float_range", "double_range", "date_range", "ip_range",
})  # fmt: skip


def check_schema(
    properties: Mapping[str, Any],
    index: str,
    documents: Iterable[Mapping[str, Any]],
    *,
    stream: str,
    source: str,
    remedy: str,
) -> None:
    """Compare the first documents with the mapping of the index that they will be written to.

    :param properties: of that mapping.
    :param index: where they will go, for the sentence.
    :raises IngestError: at least half of the documents that carry a field cannot be indexed because of it; the sentence
        names field, mapped type, index and an example.
    """
    check_label(properties, index, stream=stream, source=source)
    seen: Counter[str] = Counter()
    clashing: Counter[str] = Counter()
    examples: dict[str, tuple[str, Any]] = {}
    for document in documents:
        fields: dict[str, str | None] = {}
        for path, mapped, value in _compared(properties, document, ""):
            fields.setdefault(path, None)
            if not _fits(mapped, value):
                fields[path] = mapped
                examples.setdefault(path, (mapped, value))
        seen.update(fields.keys())
        clashing.update(path for path, mapped in fields.items() if mapped is not None)
    worst = [path for path, times in clashing.most_common() if times * 2 >= seen[path]]
    if worst:
        mapped, value = examples[worst[0]]
        more = f" (and {len(worst) - 1} more: {', '.join(worst[1:6])})" if len(worst) > 1 else ""
        raise IngestError(
            f"The stream {stream} cannot take the documents of the source {source}: the field {worst[0]} is mapped as "
            f"{mapped} in {index}, and the records bring {_described(value)}{more}. Nothing was written.",
            remedy=remedy,
        )


def check_label(properties: Mapping[str, Any], index: str, *, stream: str, source: str) -> None:
    """Refuse a stream whose `labels.partition` is no keyword: what a partition holds could never be counted.

    :param properties: the mapping of the index; where it does not name the field yet, nothing is said.
    """
    mapped = properties.get("labels", {}).get("properties", {}).get("partition", {}).get("type", "keyword")
    if mapped not in {"keyword", "constant_keyword", "wildcard"}:
        raise IngestError(
            f"The stream {stream} cannot take the documents of the source {source}: labels.partition, by which a "
            f"partition is counted, is mapped as {mapped} in {index}. The index was made without the project's "
            "template.",
            remedy=f"Run elastic_setup with mode=apply, roll the stream over (POST {stream}/_rollover) and run the "
            "partition again: nothing is written twice.",
        )


def _compared(properties: Mapping[str, Any], value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, Any]]:
    """Every mapped field that the document fills, as (path, mapped type, value)."""
    for key, inner in value.items():
        path = f"{prefix}{key}"
        node = properties.get(key)
        if node is None or node.get("enabled") is False:
            continue
        mapped = node.get("type", "object")
        for item in _single(inner):
            if item is None or path == "labels.partition":  # written over before anything is sent
                continue
            if mapped in {"object", "nested"} and isinstance(item, dict):
                yield from _compared(node.get("properties", {}), item, f"{path}.")
            else:
                yield path, mapped, item


def _single(value: Any) -> Iterator[Any]:
    """The values of a field; an array of arrays is one array to Elasticsearch."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            yield item


def _fits(mapped: str, value: Any) -> bool:
    if isinstance(value, dict):
        return mapped in _TAKES_OBJECTS
    check = _CHECKS.get(mapped)
    return check is None or check(value)


def _number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _date(value: Any) -> bool:
    # Formats differ per field, so only what no format reads is refused: text without a digit, booleans.
    if isinstance(value, bool):
        return False
    try:
        parse_time(value)
    except ValueError:
        return isinstance(value, str) and any(character.isdigit() for character in value)
    return True


def _ip(value: Any) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return isinstance(value, str)


def _boolean(value: Any) -> bool:
    return isinstance(value, bool) or value in {"true", "false", ""}


_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_WHOLE | _REAL, _number),
    "date": _date,
    "date_nanos": _date,
    "ip": _ip,
    "boolean": _boolean,
    "object": lambda _: False,
    "nested": lambda _: False,
}


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(sorted(value)[:3])}"
    kind = "the text " if isinstance(value, str) else "the boolean " if isinstance(value, bool) else ""
    return f"{kind}{str(value)[:80]!r}" if isinstance(value, str) else f"{kind}{str(value).lower()[:80]}"
