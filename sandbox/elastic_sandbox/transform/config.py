"""What a transform's body may say, and what the server keeps and echoes of it.

Parsers, limits and words: transforms_crud.yml, transforms_update.yml and preview_transforms.yml of Elastic's YAML
tests, the transform API specification, and TransformMessages where the tests match only a part of the sentence.
"""

from __future__ import annotations

import re
from typing import Any, Final

from elastic_sandbox.errors import (
    ElasticError,
    action_request_validation,
    illegal_argument,
    status_exception,
    unsupported,
)
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.indices.names import name_problem
from elastic_sandbox.ml.strict import check_consistent_id, parse_error, parse_strict
from elastic_sandbox.search.aggregations import parse_aggregations
from elastic_sandbox.search.query_parser import query_of

Config = dict[str, Any]

CONFIG_VERSION: Final = "10.0.0"
"""TransformConfigVersion.CURRENT; it no longer follows the release."""
DEFAULT_FREQUENCY: Final = 60.0
DEFAULT_PAGE: Final = 500
DEFAULT_RETRIES: Final = 10
AGGREGATIONS: Final = frozenset({"avg", "cardinality", "filter", "max", "min", "sum", "value_count"})
# The list that TransformAggregations calls supported, less AGGREGATIONS.
_ONLY_REAL = frozenset({
    "bucket_script", "bucket_selector", "extended_stats", "geo_bounds", "geo_centroid", "geo_line",
    "median_absolute_deviation", "missing", "percentiles", "range", "rare_terms", "scripted_metric", "stats", "terms",
    "top_metrics", "weighted_avg"
})  # fmt: skip
_ID = re.compile(r"[a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])?")
_SETTINGS: dict[str, Any] = {
    "align_checkpoints": bool, "dates_as_epoch_millis": bool, "deduce_mappings": bool, "docs_per_second": float,
    "max_page_search_size": int, "num_failure_retries": int, "unattended": bool, "use_point_in_time": bool,
}  # fmt: skip
_UPDATABLE: dict[str, Any] = {
    "source": dict, "dest": dict, "frequency": str, "sync": dict, "description": str, "settings": dict, "_meta": dict,
    "retention_policy": dict,
}  # fmt: skip
_FIELDS: dict[str, Any] = {**_UPDATABLE, "id": str, "pivot": dict, "latest": dict, "headers": dict,
                           "create_time": None, "version": None}  # fmt: skip
GROUPS: dict[str, dict[str, Any]] = {
    "terms": {"field": str, "missing_bucket": bool, "script": dict},
    "date_histogram": {"field": str, "missing_bucket": bool, "script": dict, "fixed_interval": str,
                       "calendar_interval": str, "time_zone": str, "offset": None},
}  # fmt: skip


def parse_config(transform_id: str, body: Any, *, now_ms: int) -> Config:
    """A new transform's configuration, with defaults.

    :raises ElasticError: 400 for what the server refuses, 501 for what the sandbox cannot run.
    """
    parse_strict("data_frame_transform_config", body, _FIELDS)
    check_consistent_id("id", body.get("id"), transform_id)
    for name in ("headers", "create_time", "version"):
        if body.get(name) is not None:
            raise illegal_argument(f"Found [{name}], not allowed for strict parsing")
    missing = [name for name in ("source", "dest") if body.get(name) is None]
    if missing:
        raise illegal_argument(f"Required [{', '.join(missing)}]")
    if (body.get("pivot") is None) == (body.get("latest") is None):
        raise illegal_argument("Transform configuration must specify exactly 1 function")
    config: Config = {
        "id": transform_id,
        "version": CONFIG_VERSION,
        "create_time": now_ms,
        "settings": {},
        **_common(body),
        "pivot": _pivot(body),
    }
    problems = _problems(config)
    if not _ID.fullmatch(transform_id):
        problems.append(
            f"Invalid id; '{transform_id}' can contain lowercase alphanumeric (a-z and 0-9), hyphens or underscores; "
            "must start and end with alphanumeric"
        )
    if len(transform_id) > 64:
        problems.append("The id cannot contain more than 64 characters.")
    if problems:
        raise action_request_validation(problems)
    return config


def parse_update(config: Config, body: Any) -> Config:
    """The configuration after an update; what the body does not name stays, settings are merged one by one."""
    parse_strict("data_frame_transform_config_update", body, _UPDATABLE)
    change = _common(body)
    if "sync" in change and "sync" not in config:
        raise status_exception(
            400,
            f"Cannot change the current sync configuration of transform [{config['id']}] from [null] to [time]",
        )
    if "settings" in change:
        merged = {**config["settings"], **change["settings"]}
        change["settings"] = {key: value for key, value in merged.items() if value is not None}
    updated = {**config, **change}
    problems = _problems(updated)
    if problems:
        raise action_request_validation(problems)
    return updated


def shown(config: Config, *, exclude_generated: bool = False) -> Config:
    """The configuration as `GET _transform` answers it."""
    generated = {"version", "create_time", "authorization"} if exclude_generated else set()
    return {key: value for key, value in config.items() if key not in generated}


def _common(body: Config) -> Config:
    if body.get("latest") is not None:
        raise unsupported("[latest] of a transform")
    if body.get("retention_policy") is not None:
        raise unsupported("[retention_policy] of a transform")
    found: Config = {}
    if body.get("source") is not None:
        found["source"] = _source(body["source"])
    if body.get("dest") is not None:
        parse_strict("data_frame_config_dest", body["dest"], {"index": str, "pipeline": str, "aliases": list})
        if body["dest"].get("aliases"):
            raise unsupported("[dest.aliases] of a transform")
        found["dest"] = {key: value for key, value in body["dest"].items() if value is not None}
        if "index" not in found["dest"]:
            raise illegal_argument("Required [index]")
    if body.get("sync") is not None:
        found["sync"] = _sync(body["sync"])
    if body.get("settings") is not None:
        parse_strict("transform_config_settings", body["settings"], _SETTINGS)
        if body["settings"].get("unattended"):
            raise unsupported("[settings.unattended] of a transform")
        found["settings"] = dict(body["settings"])
    for name in ("frequency", "description", "_meta"):
        if body.get(name) is not None:
            found[name] = body[name]
    return found


def _source(body: Config) -> Config:
    parse_strict("data_frame_config_source", body, {"index": (str, list), "query": dict, "runtime_mappings": dict})
    if body.get("runtime_mappings"):
        raise unsupported("[source.runtime_mappings] of a transform")
    index = body.get("index") or []
    names = [index] if isinstance(index, str) else index
    if not names or not all(isinstance(name, str) and name for name in names):
        raise illegal_argument("index must not be empty" if not names else "must specify at least one index")
    return {"index": names, "query": body.get("query") or {"match_all": {}}}


def _sync(body: Config) -> Config:
    if list(body) != ["time"]:
        raise parse_error("data_frame_transform_config", f"unknown field [{next(iter(body), '')}]")
    time = body["time"]
    parse_strict("data_frame_transform_pivot_sync_time", time, {"field": str, "delay": str})
    if not time.get("field"):
        raise illegal_argument("Required [field]")
    delay = time.get("delay") or "60s"
    duration_seconds(delay, "delay")
    return {"time": {"field": time["field"], "delay": delay}}


def _pivot(body: Config) -> Config:
    pivot = body.get("pivot") or {}
    known = {"group_by": dict, "aggregations": dict, "aggs": dict, "max_page_search_size": int}
    parse_strict("data_frame_transform_pivot", pivot, known)
    if pivot.get("group_by") is None:
        raise illegal_argument("Required [group_by]")
    if pivot.get("aggregations") is not None and pivot.get("aggs") is not None:
        raise illegal_argument("Found two aggregation definitions: [aggs] and [aggregations]")
    aggregations = pivot.get("aggregations") or pivot.get("aggs")
    if aggregations is None:
        raise illegal_argument("Required [aggregations]")
    for name, group in pivot["group_by"].items():
        if not isinstance(group, dict) or len(group) != 1:
            raise parse_error("data_frame_transform_pivot", f"group_by [{name}] needs exactly one source")
        [(kind, options)] = group.items()
        if kind in {"geotile_grid", "histogram"}:
            raise unsupported(f"group_by [{kind}] of a transform")
        if kind not in GROUPS:
            raise parse_error("data_frame_transform_pivot", f"invalid grouping type [{kind}]")
        parse_strict(f"data_frame_{kind}_group", options, GROUPS[kind])
        if options.get("script") is not None:
            raise unsupported("a script in group_by of a transform")
    found = {"group_by": pivot["group_by"], "aggregations": aggregations}
    if pivot.get("max_page_search_size") is not None:
        found["max_page_search_size"] = pivot["max_page_search_size"]
    return found


def _problems(config: Config) -> list[str]:
    """What the server finds before it looks at any index, in its words."""
    problems = []
    for where, size in (
        ("settings", config["settings"].get("max_page_search_size")),
        ("pivot", config["pivot"].get("max_page_search_size")),
    ):
        if size is not None and not 10 <= size <= 65_536:
            problems.append(
                f"{where}.max_page_search_size [{size}] is out of range. The minimum value is 10 and the maximum is "
                "65536"
            )
    retries = config["settings"].get("num_failure_retries")
    if retries is not None and not -1 <= retries <= 100:
        problems.append(
            f"settings.num_failure_retries [{retries}] is out of range. The minimum value is -1 (infinity) and the "
            "maximum is 100"
        )
    if not config["pivot"]["group_by"]:
        problems.append("Pivot transform configuration must specify at least 1 group_by")
    if not config["pivot"]["aggregations"]:
        problems.append("Pivot transform configuration must specify at least 1 aggregation")
    problems += _name_problems([*config["pivot"]["group_by"], *config["pivot"]["aggregations"]])
    dest = config["dest"]["index"]
    if dest != dest.lower():
        problems.append(f"Destination index [{dest}] must be lowercase")
    elif (problem := name_problem(dest)) is not None:
        problems.append(f"Invalid index name [{dest}], {problem}")
    if "frequency" in config:
        seconds = duration_seconds(config["frequency"], "frequency")
        if seconds < 1:
            problems.append("minimum permitted [frequency] is [1s]")
        elif seconds > 3600:
            problems.append("highest permitted [frequency] is [1h]")
    if len(config.get("description", "")) > 1000:
        raise illegal_argument("[description] must be less than 1000 characters in length.")
    return problems


def _name_problems(names: list[str]) -> list[str]:
    ordered = sorted(names)
    problems = []
    for name, following in zip(ordered, [*ordered[1:], None], strict=True):
        if name == following:
            problems.append(f"duplicate field [{name}] detected")
        elif any(other.startswith(f"{name}.") for other in ordered):
            problems.append(f"field [{name}] cannot be both an object and a field")
        if name.startswith(".") or name.endswith("."):
            problems.append(f"field [{name}] must not start/end with '.'")
    return problems


def check_function(config: Config) -> None:
    """Refuse a query or aggregations that no search would run."""
    _check_aggregations(config["pivot"]["aggregations"])
    query_of(config["source"]["query"])


def _check_aggregations(aggregations: Config) -> None:
    for definition in aggregations.values():
        kind = next((key for key in definition if key not in {"aggs", "aggregations", "meta"}), "")
        if kind in _ONLY_REAL:
            raise unsupported(f"aggregation [{kind}] in a transform")
        if kind not in AGGREGATIONS:
            raise ElasticError(
                400, "validation_exception", f"Validation Failed: 1: Unsupported aggregation type [{kind}];"
            )
        _check_aggregations(definition.get("aggregations") or definition.get("aggs") or {})
    parse_aggregations(aggregations)
