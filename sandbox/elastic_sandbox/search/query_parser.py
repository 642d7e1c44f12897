"""From query DSL to the query tree, as strict as the server: what it refuses is refused in its words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from elastic_sandbox.errors import illegal_argument, parsing, unsupported
from elastic_sandbox.search.query import (
    Bool,
    ConstantScore,
    Exists,
    FunctionScore,
    Ids,
    Match,
    MatchAll,
    MatchNone,
    Nested,
    Pattern,
    Query,
    Range,
    Term,
    Terms,
)
from elastic_sandbox.search.strict import well_formed

MAX_TERMS = 65_536
_MAX_DEPTH = 30

OTHER_QUERIES = frozenset({
    "boosting", "combined_fields", "dis_max", "distance_feature", "fuzzy", "geo_bounding_box", "geo_distance",
    "geo_grid", "geo_polygon", "geo_shape", "has_child", "has_parent", "intervals", "knn", "match_bool_prefix",
    "match_phrase", "match_phrase_prefix", "more_like_this", "multi_match", "parent_id", "percolate", "pinned",
    "query_string", "rank_feature", "regexp", "rule", "rule_query", "script", "script_score", "semantic", "shape",
    "simple_query_string", "span_containing", "span_field_masking", "span_first", "span_gap", "span_multi",
    "span_near", "span_not", "span_or", "span_term", "span_within", "sparse_vector", "terms_set", "text_expansion",
    "type", "weighted_tokens", "wrapper"
})  # fmt: skip
"""Queries Elasticsearch has and the sandbox has not."""


def parse_query(body: Any, *, depth: int = 0) -> Query:
    """The tree of one query object.

    :raises ElasticError: 400 parsing_exception as the server's, or 501 for a query it has and the sandbox has not
    """
    if not isinstance(body, dict):
        raise parsing("[_na] query malformed, must start with start_object")
    if not body:
        raise illegal_argument("query malformed, empty clause found")
    if depth > _MAX_DEPTH:
        raise illegal_argument(
            "The nested depth of the query exceeds the maximum nested depth for queries set in "
            "[indices.query.bool.max_nested_depth]"
        )
    name, inner = next(iter(body.items()))
    if len(body) > 1:
        raise parsing(f"[{name}] malformed query, expected [END_OBJECT] but found [FIELD_NAME]")
    parser = QUERIES.get(name)
    if parser is None:
        if name in OTHER_QUERIES:
            raise unsupported(f"query [{name}]")
        raise parsing(
            f"unknown query [{name}]",
            caused_by={"type": "named_object_not_found_exception", "reason": f"[1:1] unknown field [{name}]"},
        )
    if not isinstance(inner, dict):
        raise parsing(f"[{name}] query malformed, no start_object after query name")
    return parser(inner, depth)


def _options(name: str, body: dict[str, Any], *known: str) -> float:
    """Refuse what the query does not know; the boost is returned."""
    for key in body:
        if key not in {*known, "boost", "_name"}:
            raise parsing(f"[{name}] query does not support [{key}]")
    if "_name" in body:
        raise unsupported(f"[_name] of a {name} query")
    return float(body.get("boost", 1.0))


def _single(name: str, body: dict[str, Any]) -> tuple[str, Any]:
    """The one field of a leaf query."""
    fields = list(body.items())
    if not fields:
        raise illegal_argument(
            "fieldName must not be null or empty" if name == "match" else "field name is null or empty"
        )
    if len(fields) > 1:
        raise parsing(f"[{name}] query doesn't support multiple fields, found [{fields[0][0]}] and [{fields[1][0]}]")
    return fields[0]


def _match_all(body: dict[str, Any], _depth: int) -> Query:
    return MatchAll(boost=_options("match_all", body))


def _match_none(body: dict[str, Any], _depth: int) -> Query:
    return MatchNone(boost=_options("match_none", body))


def _term(body: dict[str, Any], _depth: int) -> Query:
    path, value = _single("term", body)
    if isinstance(value, list):
        raise parsing("[term] query does not support array of values")
    if not isinstance(value, dict):
        value = {"value": value}
    boost = _options("term", value, "value", "case_insensitive")
    if value.get("value") is None:
        raise illegal_argument("value cannot be null")
    return Term(path, value["value"], bool(value.get("case_insensitive", False)), boost=boost)


def _terms(body: dict[str, Any], _depth: int) -> Query:
    boost = float(body.get("boost", 1.0))
    if "_name" in body:
        raise unsupported("[_name] of a terms query")
    fields = {key: value for key, value in body.items() if key != "boost"}
    if len(fields) != 1:
        raise parsing(
            "[terms] query requires a field name, followed by array of terms or a document lookup specification"
            if not fields
            else "[terms] query does not support multiple fields"
        )
    path, values = next(iter(fields.items()))
    if isinstance(values, dict):
        raise unsupported("terms lookup of a terms query")
    if not isinstance(values, list):
        raise parsing(f"[terms] query does not support [{path}]")
    if len(values) > MAX_TERMS:
        raise illegal_argument(
            f"The number of terms [{len(values)}] used in the Terms Query request has exceeded the allowed maximum of "
            f"[{MAX_TERMS}]. This maximum can be set by changing the [index.max_terms_count] index level setting."
        )
    return Terms(path, tuple(values), boost=boost)


def _ids(body: dict[str, Any], _depth: int) -> Query:
    boost = _options("ids", body, "values")
    values = body.get("values", [])
    if not isinstance(values, list):
        values = [values]
    return Ids(tuple(str(value) for value in values), boost=boost)


_RANGE_OLD = {"from", "to", "include_lower", "include_upper"}


def _range(body: dict[str, Any], _depth: int) -> Query:
    path, value = _single("range", {key: item for key, item in body.items() if key not in {"boost", "_name"}})
    if not isinstance(value, dict):
        raise parsing("[range] query malformed, no start_object after query name")
    for key in value:
        if key in _RANGE_OLD or key == "relation":
            raise unsupported(f"[{key}] of a range query")
    boost = _options("range", value, "gt", "gte", "lt", "lte", "format", "time_zone")
    bounds = {key: value[key] for key in ("gt", "gte", "lt", "lte") if key in value}
    return Range(path, bounds, value.get("format"), value.get("time_zone"), boost=boost)


def _exists(body: dict[str, Any], _depth: int) -> Query:
    boost = _options("exists", body, "field")
    if not body.get("field"):
        raise parsing("[exists] must be provided with a [field]")
    return Exists(body["field"], boost=boost)


def _pattern(kind: str) -> Callable[[dict[str, Any], int], Query]:
    def parse(body: dict[str, Any], _depth: int) -> Query:
        path, value = _single(kind, body)
        if not isinstance(value, dict):
            value = {"value": value}
        known = ("value", "case_insensitive", "rewrite") + (("wildcard",) if kind == "wildcard" else ())
        boost = _options(kind, value, *known)
        text = value.get("value", value.get("wildcard"))
        if text is None:
            raise illegal_argument("value cannot be null")
        return Pattern(kind, path, str(text), bool(value.get("case_insensitive", False)), boost=boost)

    return parse


_MATCH_OTHER = (
    "analyzer", "fuzziness", "minimum_should_match", "cutoff_frequency", "fuzzy_rewrite", "zero_terms_query",
    "prefix_length", "max_expansions", "fuzzy_transpositions", "lenient", "auto_generate_synonyms_phrase_query",
)  # fmt: skip


def _match(body: dict[str, Any], _depth: int) -> Query:
    path, value = _single("match", body)
    if not isinstance(value, dict):
        value = {"query": value}
    for key in _MATCH_OTHER:
        if key in value:
            raise unsupported(f"[{key}] of a match query")
    boost = _options("match", value, "query", "operator")
    if value.get("query") is None:
        raise illegal_argument("[match] requires query value")
    operator = str(value.get("operator", "or")).lower()
    if operator not in {"or", "and"}:
        raise illegal_argument(f"No enum constant org.elasticsearch.index.query.Operator.{operator.upper()}")
    return Match(path, value["query"], operator, boost=boost)


def _bool(body: dict[str, Any], depth: int) -> Query:
    boost = _options("bool", body, "must", "filter", "should", "must_not", "mustNot", "minimum_should_match")

    def clauses(key: str) -> tuple[Query, ...]:
        value = body.get(key, [])
        return tuple(parse_query(item, depth=depth + 1) for item in (value if isinstance(value, list) else [value]))

    return Bool(
        clauses("must"),
        clauses("filter"),
        clauses("should"),
        clauses("must_not"),
        _minimum(body.get("minimum_should_match")),
        boost=boost,
    )


def _minimum(value: Any) -> int | None:
    if value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise unsupported(f"minimum_should_match [{value}] of a bool query") from None


def _constant_score(body: dict[str, Any], depth: int) -> Query:
    boost = _options("constant_score", body, "filter")
    if "filter" not in body:
        raise parsing("[constant_score] requires a 'filter' element")
    return ConstantScore(parse_query(body["filter"], depth=depth + 1), boost=boost)


def _nested(body: dict[str, Any], depth: int) -> Query:
    if "inner_hits" in body:
        raise unsupported("[inner_hits] of a nested query")
    boost = _options("nested", body, "path", "query", "ignore_unmapped", "score_mode")
    if "path" not in body:
        raise illegal_argument("[nested] requires 'path' field")
    if "query" not in body:
        raise illegal_argument("[nested] requires 'query' field")
    return Nested(
        body["path"], parse_query(body["query"], depth=depth + 1), bool(body.get("ignore_unmapped", False)), boost=boost
    )


def _function_score(body: dict[str, Any], depth: int) -> Query:
    for key in ("script_score", "field_value_factor", "weight", "gauss", "linear", "exp", "max_boost", "min_score"):
        if key in body:
            raise unsupported(f"[{key}] of a function_score query")
    boost = _options("function_score", body, "query", "random_score", "functions", "boost_mode", "score_mode")
    functions = list(body.get("functions", []))
    if "random_score" in body:
        if functions:
            raise parsing(
                "failed to parse [function_score] query. already found [functions] array, now encountering "
                "[random_score]."
            )
        functions.append({"random_score": body["random_score"]})
    if len(functions) != 1 or set(functions[0]) != {"random_score"}:
        raise unsupported("a function_score query that is not one random_score")
    random = functions[0]["random_score"]
    for key in random:
        if key not in {"seed", "field"}:
            raise parsing(f"random_score query does not support [{key}]")
    if "seed" not in random:
        raise unsupported("random_score without a seed")
    if random.get("field", "_seq_no") != "_seq_no":
        raise unsupported(f"random_score by field [{random['field']}]")
    mode = body.get("boost_mode", "multiply")
    if mode not in {"multiply", "replace"}:
        raise unsupported(f"boost_mode [{mode}] of a function_score query")
    inner = parse_query(body["query"], depth=depth + 1) if "query" in body else MatchAll()
    return FunctionScore(inner, _seed(random["seed"]), mode, boost=boost)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise parsing("random_score seed must be an int, long or string, not '" + str(value) + "'")
    try:
        return int(value)
    except ValueError:
        return sum(ord(letter) * 31**at for at, letter in enumerate(reversed(str(value)))) & 0x7FFFFFFF


QUERIES: dict[str, Callable[[dict[str, Any], int], Query]] = {
    "match_all": _match_all,
    "match_none": _match_none,
    "term": _term,
    "terms": _terms,
    "ids": _ids,
    "range": _range,
    "exists": _exists,
    "prefix": _pattern("prefix"),
    "wildcard": _pattern("wildcard"),
    "match": _match,
    "bool": _bool,
    "constant_score": _constant_score,
    "nested": _nested,
    "function_score": _function_score,
}


def query_of(body: Any) -> Query:
    """The query of a request body that may have none."""
    if body is None:
        return MatchAll()
    with well_formed("query"):
        return parse_query(body)
