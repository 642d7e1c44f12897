"""Reading many documents in constant memory, and one value out of a document."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

PAGE = 5000
IDS_PER_REQUEST = 1000
IN_HISTORY: list[dict[str, Any]] = [
    {"prefix": {"_index": "history-"}},
    # A repaired backing index has the name of what it replaced behind `repaired-<8 hex>-`. `_index` knows no `?`; the
    # dashes tell `history-<type>-<dataset>-<namespace>-...` from a stream whose dataset is called history.
    {"wildcard": {"_index": "repaired-*-history-*-*-*-*"}},
]
"""Matches what came in as history, which no pipeline scores: `rescore` does, into an index of its own."""


def scan(
    client: "Elasticsearch",
    index: str | Sequence[str],
    query: Mapping[str, Any],
    source: Sequence[str] | bool,
    *,
    page: int = PAGE,
) -> Iterator[dict[str, Any]]:
    """Yield every hit of a query, from one point in time, in no particular order.

    :param source: fields of `_source` to bring along; False for ids only.
    """
    pit = client.open_point_in_time(index=index, keep_alive="5m")["id"]
    try:
        after: list[Any] | None = None
        while True:
            answer = client.search(
                pit={"id": pit, "keep_alive": "5m"},
                query=dict(query),
                source=source if isinstance(source, bool) else {"includes": list(source)},
                sort=[{"_shard_doc": "asc"}],
                search_after=after,
                size=page,
                track_total_hits=False,
            )
            hits = answer["hits"]["hits"]
            yield from hits
            if len(hits) < page:
                return
            after, pit = hits[-1]["sort"], answer.get("pit_id", pit)
    finally:
        client.close_point_in_time(id=pit)


def batches(values: Sequence[str], size: int = IDS_PER_REQUEST) -> Iterator[list[str]]:
    """Yield the values in lists of at most `size`, so that a `terms` query stays small."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def in_object_list(source: Mapping[str, Any], path: str) -> bool:
    """Whether the path leads through a list of objects: indexed all the same, but no model finds a value there."""
    parts = path.split(".")
    above = (dig(source, ".".join(parts[:end])) for end in range(1, len(parts)))
    return any(isinstance(value, list) and any(isinstance(item, Mapping) for item in value) for value in above)


def dig(source: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, whether `_source` nests it or has the dots in its keys; None when absent."""
    if path in source:
        return source[path]
    head, _, rest = path.partition(".")
    while rest:
        inner = source.get(head)
        if isinstance(inner, Mapping):
            found = dig(inner, rest)
            if found is not None:
                return found
        step, _, rest = rest.partition(".")
        head = f"{head}.{step}"
    return None
