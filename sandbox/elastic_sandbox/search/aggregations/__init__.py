"""Aggregations over the documents a query matches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument, parsing, unsupported
from elastic_sandbox.search.aggregations.base import Aggregation, Run
from elastic_sandbox.search.aggregations.buckets import Filter, Filters, Missing, Range
from elastic_sandbox.search.aggregations.composite import Composite
from elastic_sandbox.search.aggregations.histograms import Histogram
from elastic_sandbox.search.aggregations.metrics import Metric
from elastic_sandbox.search.aggregations.terms import Terms
from elastic_sandbox.search.aggregations.top_hits import TopHits
from elastic_sandbox.search.failures import ShardFailure, all_shards_failed
from elastic_sandbox.search.strict import well_formed

if TYPE_CHECKING:
    from elastic_sandbox.search.plan import Plan

_VALUES = {"field", "missing"}
AGGREGATIONS: dict[str, set[str] | None] = {
    "terms": {*_VALUES, "size", "shard_size", "order", "min_doc_count", "shard_min_doc_count", "include", "exclude",
              "show_term_doc_count_error", "execution_hint", "collect_mode", "format"},
    "filter": None,
    "filters": {"filters", "other_bucket", "other_bucket_key"},
    "missing": _VALUES,
    "range": {*_VALUES, "ranges", "keyed"},
    "histogram": {*_VALUES, "interval", "offset", "min_doc_count", "extended_bounds", "keyed", "order"},
    "date_histogram": {*_VALUES, "fixed_interval", "calendar_interval", "interval", "time_zone", "offset",
                       "min_doc_count", "extended_bounds", "keyed", "order", "format"},
    "min": _VALUES,
    "max": _VALUES,
    "avg": _VALUES,
    "sum": _VALUES,
    "stats": _VALUES,
    "extended_stats": {*_VALUES, "sigma"},
    "value_count": _VALUES,
    "cardinality": {*_VALUES, "precision_threshold", "execution_hint"},
    "percentiles": {*_VALUES, "percents", "keyed", "tdigest", "hdr"},
    "top_hits": None,
    "composite": {"sources", "size", "after"},
}  # fmt: skip
"""The aggregations there are and the keys of each; None where the aggregation checks its own."""
_LEAVES = frozenset({"min", "max", "avg", "sum", "stats", "extended_stats", "value_count", "cardinality", "percentiles",
                     "top_hits"})  # fmt: skip
_OPTIONS_NOT_HERE = frozenset({"script", "value_type", "hard_bounds", "rehash", "format", "time_zone"})

OTHER_AGGREGATIONS = frozenset({
    "adjacency_matrix", "auto_date_histogram", "avg_bucket", "boxplot", "bucket_correlation",
    "bucket_count_ks_test", "bucket_script", "bucket_selector", "bucket_sort", "cardinality", "categorize_text",
    "change_point", "children", "cumulative_cardinality", "cumulative_sum", "date_range", "derivative",
    "diversified_sampler", "extended_stats_bucket", "frequent_item_sets", "geo_bounds", "geo_centroid",
    "geo_distance", "geo_line", "geohash_grid", "geohex_grid", "geotile_grid", "global", "inference", "ip_prefix",
    "ip_range", "matrix_stats", "max_bucket", "median_absolute_deviation", "min_bucket", "moving_fn",
    "moving_percentiles", "multi_terms", "nested", "normalize", "parent", "percentile_ranks", "percentiles_bucket",
    "random_sampler", "rare_terms", "rate", "reverse_nested", "sampler", "scripted_metric", "serial_diff",
    "significant_terms", "significant_text", "stats_bucket", "string_stats", "sum_bucket", "t_test", "time_series",
    "top_metrics", "variable_width_histogram", "weighted_avg"
})  # fmt: skip
"""Aggregations Elasticsearch has and the sandbox has not."""

_NAME = re.compile(r"[^\[\]>]+")


def parse_aggregations(body: dict[str, Any]) -> list[Aggregation]:
    """The tree of an ``aggs`` object.

    :raises ElasticError: 400 parsing_exception as the server's, 501 for what it has and the sandbox has not
    """
    nodes = []
    for name, definition in body.items():
        if not _NAME.fullmatch(name):
            raise parsing(
                f"Invalid aggregation name [{name}]. Aggregation names can contain any character except '[', ']', "
                "and '>'"
            )
        if not isinstance(definition, dict):
            raise parsing(
                f"Aggregation definition for [{name} starts with a [VALUE_STRING], expected a [START_OBJECT]."
            )
        nodes.append(_parse_one(name, definition))
    return nodes


def _parse_one(name: str, definition: dict[str, Any]) -> Aggregation:
    children = definition.get("aggs", definition.get("aggregations")) or {}
    kinds = [key for key in definition if key not in {"aggs", "aggregations", "meta"}]
    if "meta" in definition:
        raise unsupported(f"[meta] of aggregation [{name}]")
    if not kinds:
        raise parsing(f"Missing definition for aggregation [{name}]")
    if len(kinds) > 1:
        raise parsing(f"Found two aggregation type definitions in [{name}]: [{kinds[0]}] and [{kinds[1]}]")
    [kind] = kinds
    body = definition[kind]
    if kind not in AGGREGATIONS:
        if kind in OTHER_AGGREGATIONS:
            raise unsupported(f"aggregation [{kind}]")
        raise parsing(
            f"Unknown aggregation type [{kind}]",
            caused_by={"type": "named_object_not_found_exception", "reason": f"[1:1] unknown field [{kind}]"},
        )
    if not isinstance(body, dict):
        raise parsing(f"Expected [START_OBJECT] under [{kind}], but got a [VALUE_STRING] in [{name}]")
    known = AGGREGATIONS[kind]
    for key in body:
        if known is not None and key not in known:
            if key in _OPTIONS_NOT_HERE:
                raise unsupported(f"[{key}] of a {kind} aggregation")
            raise ElasticError(400, "x_content_parse_exception", f"[1:1] [{kind}] unknown field [{key}]")
    if children and kind in _LEAVES:
        raise ElasticError(
            400,
            "aggregation_initialization_exception",
            f"Aggregator [{name}] of type [{kind}] cannot accept sub-aggregations",
        )
    return _node(kind, name, body, parse_aggregations(children))


def _node(kind: str, name: str, body: dict[str, Any], children: list[Aggregation]) -> Aggregation:
    if kind in _LEAVES - {"top_hits"}:
        return Metric(name, body, children, kind=kind)
    if kind in {"histogram", "date_histogram"}:
        return Histogram(name, body, children, dates=kind == "date_histogram")
    made: type[Aggregation] = {
        "terms": Terms,
        "filter": Filter,
        "filters": Filters,
        "missing": Missing,
        "range": Range,
        "composite": Composite,
        "top_hits": TopHits,
    }[kind]
    return made(name, body, children)


def run_aggregations(plan: Plan, body: dict[str, Any]) -> dict[str, Any]:
    """The ``aggregations`` of an answer.

    :raises ElasticError: what parsing raises, and 400 search_phase_execution_exception where a field cannot be
        aggregated
    """
    run = Run(plan)
    try:
        with well_formed("aggregation"):
            nodes = parse_aggregations(body)
            for node in nodes:
                _check_composite(node)
            for node in nodes:
                _prepare(node, run)
        answer = run.children(nodes, run.base(len(nodes)), 1)[0]
        run.close()
    except ShardFailure as failure:
        index = plan.views[0].index if plan.views else None
        where = ("_na_", "_na_") if index is None else (index.name, index.uuid)
        raise all_shards_failed([(failure, *where)], plan.node) from None
    return answer


def _prepare(node: Aggregation, run: Run) -> None:
    node.prepare(run)
    for child in node.children:
        _prepare(child, run)


def _check_composite(node: Aggregation) -> None:
    for child in node.children:
        if isinstance(child, Composite):
            raise illegal_argument(
                "[composite] aggregation cannot be used with a parentAggregation of type: "
                f"[{type(node).__name__}AggregatorFactory]"
            )
        _check_composite(child)
