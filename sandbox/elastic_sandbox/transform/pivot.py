"""The pivot: pages of a composite aggregation become documents with deterministic ids."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.search.aggregations.rounding import rounding_of
from elastic_sandbox.search.request import parse_body

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.transform.config import Config

Query = dict[str, Any]
_NAME: Final = "_transform"
_INTEGRAL = frozenset({"long", "integer", "short", "byte", "unsigned_long"})
_FRACTIONAL = frozenset({"double", "float", "half_float", "scaled_float"})
# TransformAggregations: the type an aggregation's result is mapped to; min and max keep the source's.
_RESULT_TYPE = {"avg": "double", "sum": "double", "cardinality": "long", "value_count": "long", "filter": "long"}
_PAGE: Final = 10_000
"""Buckets read at once: a composite page costs a whole grouping here, so the configured size is only counted."""


class Pivot:
    """The function of one transform's configuration."""

    def __init__(self, backend: Backend, config: Config) -> None:
        self._backend = backend
        self._config = config
        self.groups: dict[str, tuple[str, dict[str, Any]]] = {
            name: next(iter(group.items())) for name, group in config["pivot"]["group_by"].items()
        }

    # Reading --------------------------------------------------------------------------------------------------------

    def search(self, query: Query, aggregations: dict[str, Any]) -> dict[str, Any]:
        """Aggregations over the source; empty when no index matches a wildcard.

        :raises ElasticError: as a search does, 404 for an index that is not there
        """
        indices = self._backend.indices.resolve(",".join(self._config["source"]["index"]))
        body = {"size": 0, "track_total_hits": True, "query": query, "aggs": aggregations}
        answer = self._backend.search.search(indices, parse_body(body))
        return {**answer.get("aggregations", {}), "total": answer["hits"]["total"]["value"]}

    def buckets(self, query: Query, *, limit: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """Pages of buckets, keys in order."""
        # Date histograms come first, whatever the order in the body (preview_transforms.yml shows it).
        ordered = sorted(self.groups.items(), key=lambda item: item[1][0] != "date_histogram")
        composite: dict[str, Any] = {
            "size": limit or _PAGE,
            "sources": [{name: {kind: options}} for name, (kind, options) in ordered],
        }
        tree = {_NAME: {"composite": composite, "aggs": self._config["pivot"]["aggregations"]}}
        while True:
            found = self.search(query, tree).get(_NAME, {"buckets": []})
            if found["buckets"]:
                yield found["buckets"]
            if limit is not None or "after_key" not in found or len(found["buckets"]) < composite["size"]:
                return
            composite["after"] = found["after_key"]

    def changes(self, window: Query, sync_field: str) -> list[Query] | None:
        """Filters that hold every bucket which documents of ``window`` fall into; None when there are none.

        As CompositeBucketsChangeCollector: the changed terms, and of a date histogram the span from the first to the
        last changed bucket; so some unchanged buckets between are written again, to the same content.
        """
        tree: dict[str, Any] = {}
        terms = {name: options for name, (kind, options) in self.groups.items() if kind == "terms"}
        dates = {name: options for name, (kind, options) in self.groups.items() if kind == "date_histogram"}
        for at, options in enumerate(dates.values()):
            tree |= {f"{side}{at}": {side: {"field": options["field"]}} for side in ("min", "max")}
        found = self.search(window, tree)
        if not found["total"]:
            return None
        filters = [self._changed_terms(window, options) for options in terms.values()]
        for at, options in enumerate(dates.values()):
            low, high = found.get(f"min{at}", {}).get("value"), found.get(f"max{at}", {}).get("value")
            if options.get("missing_bucket") or low is None:
                continue
            rounding = rounding_of(options, "date_histogram")
            bounds: dict[str, Any] = {"gte": rounding.key(int(low)), "format": "epoch_millis"}
            if options["field"] != sync_field:
                bounds["lt"] = rounding.next(rounding.key(int(high)))
            filters.append({"range": {options["field"]: bounds}})
        return filters

    def _changed_terms(self, window: Query, options: dict[str, Any]) -> Query:
        source = {"terms": {"field": options["field"], "missing_bucket": bool(options.get("missing_bucket"))}}
        composite: dict[str, Any] = {"size": 65_536, "sources": [{"term": source}]}
        values: list[Any] = []
        while True:
            found = self.search(window, {_NAME: {"composite": composite}})[_NAME]
            values += [bucket["key"]["term"] for bucket in found["buckets"]]
            if len(found["buckets"]) < composite["size"]:
                break
            composite["after"] = found["after_key"]
        changed: Query = {"terms": {options["field"]: [value for value in values if value is not None]}}
        if None not in values:
            return changed
        absent = {"bool": {"must_not": [{"exists": {"field": options["field"]}}]}}
        return {"bool": {"should": [changed, absent]}}

    # Types ----------------------------------------------------------------------------------------------------------

    def deduced(self) -> dict[str, str]:
        """Field → type of the destination, from the source's mappings; parents of dotted fields are objects."""
        sources = self._backend.indices.resolve(",".join(self._config["source"]["index"]))
        types = {path: field.type for index in sources for path, field in index.mapping.fields.items()}
        found: dict[str, str] = {}
        _results(self._config["pivot"]["aggregations"], "", types, found)
        for name, (_, options) in self.groups.items():
            found[name] = types.get(options["field"], "keyword")
        for name in list(found):
            parts = name.split(".")
            for end in range(1, len(parts)):
                found.setdefault(".".join(parts[:end]), "object")
        return found

    def destination_types(self) -> dict[str, str]:
        """Field → type of the destination as it is mapped now."""
        targets = self._backend.indices.resolve(self._config["dest"]["index"], ignore_unavailable=True)
        return {path: field.type for index in targets for path, field in index.mapping.fields.items()}

    # Documents ------------------------------------------------------------------------------------------------------

    def reader(self, types: Mapping[str, str]) -> Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]:
        """What makes id and source of a bucket, for fields of the given types."""
        epoch = self._config["settings"].get("dates_as_epoch_millis")
        # A date is written as text where the destination has a date, else as the number that the bucket has.
        dates = {
            name
            for name, (kind, _) in self.groups.items()
            if kind == "date_histogram" and types.get(name) in {"date", "date_nanos"} and not epoch
        }
        aggregations = self._config["pivot"]["aggregations"].items()
        values = [(name, _reader(definition, name, types)) for name, definition in aggregations]

        def read(bucket: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
            made: dict[str, Any] = {}
            for name, key in bucket["key"].items():
                _put(made, name, format_date(key) if name in dates and key is not None else key)
            for name, value in values:
                _put(made, name, value(bucket[name]))
            return document_id(bucket["key"]), made

        return read


def _results(aggregations: dict[str, Any], prefix: str, types: Mapping[str, str], found: dict[str, str]) -> None:
    for name, definition in aggregations.items():
        path = f"{prefix}{name}"
        inner = _inner(definition)
        kind = next(key for key in definition if key not in {"aggs", "aggregations"})
        if inner:
            _results(inner, f"{path}.", types, found)
        elif kind in _RESULT_TYPE:
            found[path] = _RESULT_TYPE[kind]
        elif (source := types.get(definition[kind].get("field", ""))) is not None:
            found[path] = "float" if source == "scaled_float" else source


def _inner(definition: dict[str, Any]) -> dict[str, Any]:
    return definition.get("aggregations") or definition.get("aggs") or {}


def _reader(definition: dict[str, Any], path: str, types: Mapping[str, str]) -> Callable[[dict[str, Any]], Any]:
    """What makes the value of one aggregation's result."""
    type_ = types.get(path)
    if inner := _inner(definition):
        readers = [(name, _reader(each, f"{path}.{name}", types)) for name, each in inner.items()]
        return lambda result: {name: read(result[name]) for name, read in readers}
    if "filter" in definition:
        return lambda result: result["doc_count"]
    if type_ in _INTEGRAL:
        return lambda result: None if result["value"] is None else int(result["value"])
    if type_ in _FRACTIONAL:
        return lambda result: None if result["value"] is None else float(result["value"])

    def text(result: dict[str, Any]) -> Any:
        """What is no number in the destination, a date or a boolean, is written as its text."""
        value = result["value"]
        return None if value is None else result.get("value_as_string", float(value))

    return text


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    while "." in path:
        parent, path = path.split(".", 1)
        document = document.setdefault(parent, {})
    document[path] = value


def document_id(key: Mapping[str, Any]) -> str:
    """The id of a bucket: the first bytes of its values and their MurmurHash3, by the names of the groups.

    As IDGenerator: seed 19, each value followed by ``$``, base64url of 24 bytes (its buffer's unused end included).
    """
    import mmh3

    buffer, first = b"", b""
    for name in sorted(key):
        value = _bytes(key[name])
        buffer += value + b"$"
        if len(first) <= 5:
            first += value[:1]
    high, low = mmh3.hash64(buffer, seed=19, x64arch=True, signed=False)
    return base64.urlsafe_b64encode((first + struct.pack(">QQ", high, low)).ljust(24, b"\0")).decode().rstrip("=")


def _bytes(value: Any) -> bytes:
    if value is None:
        return b"__NULL_VALUE__"
    if isinstance(value, bool):
        return str(value).lower().encode()
    if isinstance(value, int):
        return struct.pack(">q", value)
    if isinstance(value, float):
        return struct.pack(">d", value)
    return str(value).encode() or b"__EMPTY_VALUE__"
