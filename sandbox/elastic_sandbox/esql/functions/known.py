"""Every function that Elasticsearch's documentation lists, so that a missing one is told from a misspelt one."""

from __future__ import annotations

from functools import cache

from elastic_sandbox.esql.functions.registry import FUNCTIONS

OTHER_FUNCTIONS = frozenset({
    "absent", "absent_over_time", "acos", "all_first", "all_last", "asin", "atan", "atan2", "avg_over_time",
    "bit_length", "byte_length", "categorize", "cbrt", "chunk", "clamp", "clamp_max", "clamp_min", "contains",
    "copysign", "cos", "cosh", "count_distinct_over_time", "count_over_time", "day_name", "decay", "delta",
    "deriv", "e", "earliest", "embedding", "exp", "extract_snippets", "first", "first_over_time", "from_base64",
    "hash", "hypot", "idelta", "increase", "instr", "ip_prefix", "irate", "json_extract", "knn", "kql", "last",
    "last_over_time", "latest", "match", "match_phrase", "max_over_time", "md5", "median_absolute_deviation",
    "min_over_time", "month_name", "multi_match", "mv_append", "mv_contains", "mv_difference", "mv_intersection",
    "mv_intersects", "mv_median", "mv_median_absolute_deviation", "mv_percentile", "mv_pseries_weighted_sum",
    "mv_union", "mv_zip", "network_direction", "percentile_over_time", "pi", "present", "present_over_time",
    "qstr", "random", "range_max", "range_min", "range_within", "rate", "repeat", "reverse", "round_to", "sample",
    "scalb", "score", "sha1", "sha256", "signum", "sin", "sinh", "space", "sparkline", "st_buffer",
    "st_centroid_agg", "st_contains", "st_disjoint", "st_distance", "st_envelope", "st_extent_agg", "st_geohash",
    "st_geohex", "st_geotile", "st_intersects", "st_npoints", "st_simplify", "st_within", "st_x", "st_xmax",
    "st_xmin", "st_y", "st_ymax", "st_ymin", "stddev_over_time", "sum_over_time", "tan", "tanh", "tau", "tbucket",
    "term", "text_embedding", "to_aggregate_metric_double", "to_base64", "to_cartesianpoint", "to_cartesianshape",
    "to_date_nanos", "to_date_range", "to_dateperiod", "to_degrees", "to_dense_vector", "to_geohash", "to_geohex",
    "to_geopoint", "to_geoshape", "to_geotile", "to_gauge", "to_radians", "to_timeduration", "to_tdigest",
    "to_ul", "to_ulong", "to_unsigned_long", "to_ver", "to_version", "top_snippets", "trange", "url_decode",
    "url_encode", "url_encode_component", "v_cosine", "v_dot_product", "v_hamming", "v_l1_norm", "v_l2_norm",
    "v_magnitude", "variance", "variance_over_time", "weighted_avg",
})  # fmt: skip


@cache
def known_functions() -> tuple[str, ...]:
    """All names, ours and theirs."""
    return tuple(sorted({*FUNCTIONS, *OTHER_FUNCTIONS}))
