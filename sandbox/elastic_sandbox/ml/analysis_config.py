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
from elastic_sandbox.shapes import check_shape

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
_BOOSTED = {
    "dependent_variable": str,
    "prediction_field_name": str,
    "training_percent": float,
    "randomize_seed": int,
    "num_top_feature_importance_values": int,
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
ANALYSES: Final[dict[str, dict[str, Any]]] = {
    "classification": _BOOSTED | {"num_top_classes": int, "class_assignment_objective": str},
    "regression": _BOOSTED | {"loss_function": str, "loss_function_parameter": float},
    "outlier_detection": {
        "n_neighbors": int,
        "method": str,
        "feature_influence_threshold": float,
        "compute_feature_influence": bool,
        "outlier_fraction": float,
        "standardization_enabled": bool,
    },
}
_UNIT_INTERVAL = (0, True, 1, "in [0, 1]")
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
    "loss_function_parameter": (0, False, math.inf, "a positive double"),
    "n_neighbors": (1, True, math.inf, "a positive integer"),
    "feature_influence_threshold": _UNIT_INTERVAL,
    "outlier_fraction": _UNIT_INTERVAL,
}
# option -> (its Java enumeration, the values it has)
_ENUMERATIONS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "class_assignment_objective": (
        "Classification.ClassAssignmentObjective",
        ("maximize_accuracy", "maximize_minimum_recall"),
    ),
    "loss_function": ("Regression.LossFunction", ("mse", "msle", "huber")),
    "method": ("OutlierDetection.Method", ("lof", "ldof", "distance_kth_nn", "distance_knn")),
}
DEPRECATED_MAX_TREES: Final = "Deprecated field [maximum_number_trees] used, expected [max_trees] instead"


def analysis_of(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a job's analysis, and its options."""
    kind, options = next(iter(config["analysis"].items()))
    return str(kind), options


def parse_config(job_id: str, body: Any, *, now_ms: int, max_memory: str | None) -> dict[str, Any]:
    """A job's configuration, complete with defaults, from the body of PUT or `_explain`.

    :param max_memory: the cluster's `xpack.ml.max_model_memory_limit`, if set
    :raises ElasticError: 400 with the server's words; 501 for the options that are not there (loss functions other
        than mse, feature processors, runtime mappings).
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
    if body.get("index") is None:
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
        body = {"includes": body}
    parse_strict(name, body, _FILTER)
    listed = {key: [value] if isinstance(value, str) else value for key, value in body.items() if value is not None}
    check_shape(name, listed, {"includes": [str], "excludes": [str]})
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
    kind, options = next(iter(body.items()))
    if kind not in ANALYSES:
        raise ElasticError(400, "named_object_not_found_exception", f"[1:1] unknown field [{kind}]")
    parse_strict(kind, options, ANALYSES[kind])
    given = {name: value for name, value in options.items() if value is not None}
    if "maximum_number_trees" in given:
        given["max_trees"] = given.pop("maximum_number_trees")
    if kind != "outlier_detection" and "dependent_variable" not in given:
        raise required(kind, "dependent_variable")
    _check_options(given)
    return {kind: _with_defaults(kind, given)}


def _check_options(given: dict[str, Any]) -> None:
    for name, (low, low_allowed, high, words) in _RANGES.items():
        value = given.get(name)
        if value is not None and not ((low <= value if low_allowed else low < value) and value <= high):
            raise bad_request(f"[{name}] must be {words}")
    for name, (enumeration, members) in _ENUMERATIONS.items():
        if name not in given:
            continue
        given[name] = given[name].lower()
        if given[name] not in members:
            raise illegal_argument(
                f"No enum constant org.elasticsearch.xpack.core.ml.dataframe.analyses.{enumeration}."
                f"{given[name].upper()}"
            )
    if given.get("loss_function", "mse") != "mse":
        raise unsupported(f"loss_function [{given['loss_function']}] of a regression (only mse)")
    if given.pop("feature_processors", None):
        raise unsupported("feature_processors of data frame analytics")


def _with_defaults(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    if kind == "outlier_detection":
        return {"compute_feature_influence": True, "outlier_fraction": 0.05, "standardization_enabled": True} | given
    defaults: dict[str, Any] = {
        "prediction_field_name": f"{given['dependent_variable']}_prediction",
        "training_percent": 100.0,
        "randomize_seed": secrets.randbits(62),
        "early_stopping_enabled": True,
    }
    if kind == "classification":
        defaults |= {"class_assignment_objective": "maximize_minimum_recall", "num_top_classes": 2}
    else:
        defaults["loss_function"] = "mse"
    complete = defaults | given
    complete["training_percent"] = float(complete["training_percent"])
    if complete.get("num_top_feature_importance_values") == 0:
        del complete["num_top_feature_importance_values"]  # zero is the default and is not echoed
    return complete


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
