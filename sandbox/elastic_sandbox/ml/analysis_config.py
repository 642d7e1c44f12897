"""The body of `PUT _ml/data_frame/analytics/{id}`: strict reading, ranges, and the defaults Elasticsearch echoes.

Sources: Elastic's YAML test data_frame_analytics_crud (names, ranges, words), elasticsearch-specification (types).
"""

from __future__ import annotations

import math
import secrets
from typing import Any, Final

from elastic_sandbox.errors import ElasticError, illegal_argument, parsing, unsupported
from elastic_sandbox.ml.strict import (
    bad_request,
    byte_size,
    byte_text,
    check_consistent_id,
    check_id,
    matches,
    parse_strict,
    required,
)

DEFAULT_MEMORY_LIMIT: Final = "1gb"
CONFIG_VERSION: Final = "12.0.0"
"""MlConfigVersion of every 9.x release; it is not the release's own version."""
_CONFIG = {
    "id": str,
    "description": str,
    "source": dict,
    "dest": dict,
    "analysis": dict,
    "analyzed_fields": (dict, list, str),
    "model_memory_limit": (str, int),
    "max_num_threads": int,
    "allow_lazy_start": bool,
    "_meta": dict,
}
_UPDATE = {
    name: _CONFIG[name] for name in ("id", "description", "model_memory_limit", "max_num_threads", "allow_lazy_start")
}
_SOURCE = {"index": (str, list), "query": dict, "_source": (dict, list, str), "runtime_mappings": dict}
_FILTER = {"includes": (list, str), "excludes": (list, str)}
_CLASSIFICATION = {
    "dependent_variable": str,
    "prediction_field_name": str,
    "training_percent": float,
    "randomize_seed": int,
    "num_top_classes": int,
    "num_top_feature_importance_values": int,
    "class_assignment_objective": str,
    "early_stopping_enabled": bool,
    "feature_processors": list,
    "lambda": float,
    "gamma": float,
    "eta": float,
    "max_trees": int,
    "maximum_number_trees": int,
    "feature_bag_fraction": float,
    "alpha": float,
    "eta_growth_rate_per_tree": float,
    "soft_tree_depth_limit": float,
    "soft_tree_depth_tolerance": float,
    "downsample_factor": float,
    "max_optimization_rounds_per_hyperparameter": int,
}
# name -> (lowest, lowest allowed?, highest, words after "must be")
_RANGES: Final[dict[str, tuple[float, bool, float, str]]] = {
    "training_percent": (0, False, 100, "a positive double in (0, 100]"),
    "lambda": (0, True, math.inf, "a non-negative double"),
    "gamma": (0, True, math.inf, "a non-negative double"),
    "alpha": (0, True, math.inf, "a non-negative double"),
    "eta": (0.001, True, 1, "a double in [0.001, 1]"),
    "max_trees": (1, True, 2000, "an integer in [1, 2000]"),
    "feature_bag_fraction": (0, False, 1, "a double in (0, 1]"),
    "downsample_factor": (0, False, 1, "a double in (0, 1]"),
    "eta_growth_rate_per_tree": (0.5, True, 2, "a double in [0.5, 2.0]"),
    "soft_tree_depth_limit": (0, True, math.inf, "a double greater than or equal to 0"),
    "soft_tree_depth_tolerance": (0.01, True, math.inf, "a double greater than or equal to 0.01"),
    "max_optimization_rounds_per_hyperparameter": (0, True, 20, "an integer in [0, 20]"),
    "num_top_feature_importance_values": (0, True, math.inf, "a non-negative integer"),
    "num_top_classes": (-1, True, 1000, "an integer in [0, 1000] or a special value -1"),
}
OBJECTIVES: Final = ("maximize_accuracy", "maximize_minimum_recall")


def parse_config(job_id: str, body: Any, *, now_ms: int, max_memory: str | None) -> dict[str, Any]:
    """A job's configuration, complete with defaults, from the body of PUT or `_explain`.

    :param max_memory: the cluster's `xpack.ml.max_model_memory_limit`, if set
    :raises ElasticError: 400 with the server's words; 501 for analyses that are not there yet.
    """
    parse_strict("data_frame_analytics_config", body, _CONFIG)
    check_consistent_id("id", body.get("id"), job_id)
    check_id("id", job_id)
    for name in ("source", "dest", "analysis"):
        if body.get(name) is None:
            raise illegal_argument(f"[{name}] must not be null.")
    config: dict[str, Any] = {"id": job_id, "create_time": now_ms, "version": CONFIG_VERSION}
    config["authorization"] = {"roles": ["superuser"]}
    if body.get("description") is not None:
        config["description"] = body["description"]
    config["source"] = _source(body["source"])
    config["dest"] = _dest(body["dest"])
    config["analysis"] = _analysis(body["analysis"])
    if body.get("analyzed_fields") is not None:
        config["analyzed_fields"] = _filter("analyzed_fields", body["analyzed_fields"])
        _check_not_excluded_by_source(config)
    config["model_memory_limit"] = _memory_limit(body.get("model_memory_limit"), max_memory)
    config["allow_lazy_start"] = bool(body.get("allow_lazy_start", False))
    config["max_num_threads"] = _threads(body.get("max_num_threads"))
    if body.get("_meta") is not None:
        config["_meta"] = body["_meta"]
    return config


def parse_update(job_id: str, body: Any, *, max_memory: str | None) -> dict[str, Any]:
    """The changed members of an `_update` body."""
    parse_strict("data_frame_analytics_config_update", body, _UPDATE)
    check_consistent_id("id", body.get("id"), job_id)
    change = {name: value for name, value in body.items() if name != "id" and value is not None}
    if "model_memory_limit" in change:
        change["model_memory_limit"] = _memory_limit(change["model_memory_limit"], max_memory)
    if "max_num_threads" in change:
        change["max_num_threads"] = _threads(change["max_num_threads"])
    return change


def _source(body: dict[str, Any]) -> dict[str, Any]:
    parse_strict("data_frame_analytics_source", body, _SOURCE)
    if "index" not in body:
        raise required("data_frame_analytics_source", "index")
    indices = [body["index"]] if isinstance(body["index"], str) else list(body["index"])
    if not indices:
        raise illegal_argument("source.index must specify at least one index")
    if any(not isinstance(name, str) or not name for name in indices):
        raise illegal_argument("source.index must contain non-null and non-empty strings")
    names = [name for entry in indices for name in entry.split(",")]
    source: dict[str, Any] = {"index": names, "query": body.get("query") or {"match_all": {}}}
    if body.get("runtime_mappings"):
        raise unsupported("source.runtime_mappings of data frame analytics")
    if body.get("_source") is not None:
        source["_source"] = _filter("_source", body["_source"])
    return source


def _dest(body: dict[str, Any]) -> dict[str, Any]:
    parse_strict("data_frame_analytics_dest", body, {"index": str, "results_field": str})
    if "index" not in body:
        raise required("data_frame_analytics_dest", "index")
    if not body["index"]:
        raise illegal_argument("[index] must be non-empty")
    return {"index": body["index"], "results_field": body.get("results_field") or "ml"}


def _filter(name: str, body: Any) -> dict[str, Any]:
    if isinstance(body, str):
        body = [body]
    if isinstance(body, list):
        return {"includes": body, "excludes": []}
    parse_strict(name, body, _FILTER)
    listed = {key: [value] if isinstance(value, str) else value for key, value in body.items() if value is not None}
    return {"includes": listed.get("includes", []), "excludes": listed.get("excludes", [])}


def is_filtered_out(source_filter: dict[str, Any] | None, path: str) -> bool:
    """Whether `source._source` keeps a field away from the analysis."""
    if not source_filter:
        return False

    def covers(patterns: list[str]) -> bool:
        return any(matches(pattern, path) or path.startswith(pattern + ".") for pattern in patterns)

    return (bool(source_filter["includes"]) and not covers(source_filter["includes"])) or covers(
        source_filter["excludes"]
    )


def _check_not_excluded_by_source(config: dict[str, Any]) -> None:
    for field in config["analyzed_fields"]["includes"]:
        if "*" not in field and is_filtered_out(config["source"].get("_source"), field):
            raise bad_request(f"field [{field}] is included in [analyzed_fields] but not in [source._source]")


def _analysis(body: dict[str, Any]) -> dict[str, Any]:
    if len(body) != 1:
        raise parsing(
            "[1:1] [data_frame_analytics_config] failed to parse field [analysis]: expected exactly one analysis type"
        )
    name, options = next(iter(body.items()))
    if name in {"regression", "outlier_detection"}:
        raise unsupported(f"data frame analysis [{name}]")
    if name != "classification":
        raise ElasticError(400, "named_object_not_found_exception", f"[1:1] unknown field [{name}]")
    return {"classification": _classification(options)}


def _classification(options: Any) -> dict[str, Any]:
    parse_strict("classification", options, _CLASSIFICATION)
    given = {name: value for name, value in options.items() if value is not None}
    if "maximum_number_trees" in given:
        given["max_trees"] = given.pop("maximum_number_trees")
    if "dependent_variable" not in given:
        raise required("classification", "dependent_variable")
    if given.get("feature_processors"):
        raise unsupported("feature_processors of a classification")
    given.pop("feature_processors", None)
    for name, (low, low_allowed, high, words) in _RANGES.items():
        value = given.get(name)
        if value is not None and not ((low <= value if low_allowed else low < value) and value <= high):
            raise bad_request(f"[{name}] must be {words}")
    objective = str(given.get("class_assignment_objective", "maximize_minimum_recall")).lower()
    if objective not in OBJECTIVES:
        raise illegal_argument(
            "No enum constant org.elasticsearch.xpack.core.ml.dataframe.analyses.Classification."
            f"ClassAssignmentObjective.{objective.upper()}"
        )
    given["class_assignment_objective"] = objective
    given.setdefault("prediction_field_name", f"{given['dependent_variable']}_prediction")
    given.setdefault("training_percent", 100.0)
    given.setdefault("randomize_seed", secrets.randbits(62))
    given.setdefault("num_top_classes", 2)
    given.setdefault("early_stopping_enabled", True)
    given["training_percent"] = float(given["training_percent"])
    if given.get("num_top_feature_importance_values") == 0:
        del given["num_top_feature_importance_values"]  # zero is the default and is not echoed
    return given


def _memory_limit(value: Any, max_memory: str | None) -> str:
    limit = None if max_memory is None else byte_size("xpack.ml.max_model_memory_limit", max_memory)
    if value is None:
        default = byte_size("model_memory_limit", DEFAULT_MEMORY_LIMIT)
        return byte_text(limit) if limit is not None and limit < default else DEFAULT_MEMORY_LIMIT
    text = f"{value}mb" if isinstance(value, int) else value
    size = byte_size("model_memory_limit", text)
    if limit is not None and size > limit:
        raise bad_request(
            f"model_memory_limit [{byte_text(size)}] must be less than the value of the "
            f"xpack.ml.max_model_memory_limit setting [{byte_text(limit)}]"
        )
    if size < 1024:
        raise bad_request("[model_memory_limit] must be at least [1kb]")
    return byte_text(size)


def _threads(value: Any) -> int:
    if value is not None and value < 1:
        raise bad_request(f"[max_num_threads] must be a positive integer. Value = {value}")
    return int(value or 1)


def shown(config: dict[str, Any], *, exclude_generated: bool = False) -> dict[str, Any]:
    """A configuration as GET shows it."""
    if not exclude_generated:
        return config
    return {k: v for k, v in config.items() if k not in {"id", "create_time", "version", "authorization"}}
