"""A query in Elasticsearch's own words: one clause, whose options are an object; `bool` holds more of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator

from elastic_ml.project.yaml_files import Body, InvalidValueError

_CLAUSES = ("must", "filter", "should", "must_not", "mustNot")
_OPTIONS = ("minimum_should_match", "boost", "adjust_pure_negative", "_name")


KNOWN = frozenset({
    "bool", "boosting", "combined_fields", "common", "constant_score", "dis_max", "distance_feature", "exists",
    "function_score", "fuzzy", "geo_bounding_box", "geo_distance", "geo_grid", "geo_polygon", "geo_shape",
    "has_child", "has_parent", "ids", "intervals", "knn", "match", "match_all", "match_bool_prefix", "match_none",
    "match_phrase", "match_phrase_prefix", "more_like_this", "multi_match", "nested", "parent_id", "percolate",
    "pinned", "prefix", "query_string", "range", "rank_feature", "regexp", "rule", "script", "script_score",
    "semantic", "shape", "simple_query_string", "span_containing", "span_field_masking", "span_first", "span_multi",
    "span_near", "span_not", "span_or", "span_term", "span_within", "sparse_vector", "term", "terms", "terms_set",
    "text_expansion", "type", "weighted_tokens", "wildcard", "wrapper",
})  # fmt: skip
"""Elasticsearch's own queries; a plugin of it may bring others."""


def check_query(query: Any, *place: int | str) -> Any:
    """Return a query as it is written; raises InvalidValueError for what `AbstractQueryBuilder` would not parse."""
    if not isinstance(query, dict) or not query:
        raise InvalidValueError("the query is empty", "write a query, as `{match_all: {}}`, or remove it", *place)
    if len(query) > 1:
        raise InvalidValueError(
            f"a query is one clause, and here are {', '.join(map(str, query))}",
            "write them below `bool: {filter: [...]}`",
            *place,
        )
    [(name, options)] = query.items()
    if not isinstance(options, dict):
        raise InvalidValueError(f"{name} has no options", f"write an object, as `{name}: {{...}}`", *place, str(name))
    if name == "bool":
        for inner, where in clauses(options, *place, "bool"):
            check_query(inner, *where)
        for key, value in options.items():
            if key not in (*_CLAUSES, *_OPTIONS) or (key in _CLAUSES and not isinstance(value, dict | list | None)):
                raise InvalidValueError(
                    f"bool takes no {key} of that kind", f"it takes lists of queries in {', '.join(_CLAUSES[:4])}",
                    *place, "bool", str(key),
                )  # fmt: skip
    return query


def clauses(options: dict[str, Any], *place: int | str) -> Iterator[tuple[Any, tuple[int | str, ...]]]:
    """The queries inside a `bool`, each with its place."""
    for key in _CLAUSES:
        value = options.get(key)
        if isinstance(value, list):
            yield from ((one, (*place, key, position)) for position, one in enumerate(value))
        elif isinstance(value, dict):
            yield value, (*place, key)


def unknown_queries(query: dict[str, Any], *place: int | str) -> Iterator[tuple[str, tuple[int | str, ...]]]:
    """Names in a checked query, and in each `bool` of it, that are no query of Elasticsearch's own."""
    for name, options in query.items():
        if name not in KNOWN:
            yield str(name), (*place, str(name))
        if name == "bool":
            for inner, where in clauses(options, *place, "bool"):
                yield from unknown_queries(inner, *where)


Query = Annotated[Body, AfterValidator(check_query)]
"""A query, in Elasticsearch's own words."""
