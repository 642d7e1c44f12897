"""Configuration of an anomaly detection job: strict reading, defaults, what an update may change.

Defaults and refusals: Elasticsearch's YAML tests `jobs_crud`, `jobs_get`, `validate`, and its `Messages`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.ml.anomaly.detectors import parse_detector, parse_rule
from elastic_sandbox.ml.strict import bad_request, check_consistent_id, check_id, parse_error, parse_strict, required

CONFIG_VERSION: Final = "12.0.0"
RESULTS_PREFIX: Final = ".ml-anomalies-"
_DAYS: Final = ("model_snapshot_retention_days", "daily_model_snapshot_retention_after_days", "results_retention_days",
                "renormalization_window_days")  # fmt: skip
_FIELDS: Final[dict[str, Any]] = {
    "job_id": str, "job_type": str, "groups": list, "description": str, "analysis_config": dict,
    "analysis_limits": dict, "data_description": dict, "model_plot_config": dict, "custom_settings": dict,
    "background_persist_interval": str, "results_index_name": str, "allow_lazy_open": bool, "datafeed_config": dict,
    "model_snapshot_id": str, "create_time": None, "finished_time": None, "job_version": str,
    "model_snapshot_min_version": str, **dict.fromkeys(_DAYS, int),
}  # fmt: skip
GENERATED: Final = ("job_type", "job_version", "create_time", "finished_time", "model_snapshot_id",
                    "model_snapshot_min_version")  # fmt: skip
_ANALYSIS: Final[dict[str, Any]] = {
    "bucket_span": (str, int), "detectors": list, "influencers": list, "summary_count_field_name": str,
    "categorization_field_name": str, "categorization_filters": list, "categorization_analyzer": None,
    "per_partition_categorization": dict, "latency": str, "multivariate_by_fields": bool, "model_prune_window": str,
}  # fmt: skip
_UPDATE: Final[dict[str, Any]] = {
    "job_id": str, "groups": list, "description": str, "detectors": list, "model_plot_config": dict,
    "analysis_limits": dict, "background_persist_interval": str, "custom_settings": dict, "allow_lazy_open": bool,
    "categorization_filters": list, "per_partition_categorization": dict, "model_prune_window": str,
    **dict.fromkeys(_DAYS, int),
}  # fmt: skip
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*(b|k|kb|m|mb|g|gb|t|tb)", re.IGNORECASE)


def parse_job(job_id: str | None, body: Any, *, now_ms: int, max_memory: str | None) -> dict[str, Any]:
    """A job's configuration as it is kept and shown, without its datafeed.

    :raises ElasticError: 400 for a bad body; 501 for categorization, model plot and functions not modelled here
    """
    parse_strict("job_details", body, _FIELDS)
    if job_id is not None:
        check_consistent_id("job_id", body.get("job_id"), job_id)
    job_id = job_id or body.get("job_id") or "no-id"
    check_id("job_id", job_id)
    if set_by_server := [name for name in GENERATED if body.get(name) is not None and name != "job_type"]:
        raise illegal_argument(
            f"The job is configured with fields [{', '.join(set_by_server)}] that are illegal to set at job creation"
        )
    if body.get("analysis_config") is None:
        raise illegal_argument("An analysis_config must be set")
    if body.get("data_description") is None:
        raise illegal_argument("A data_description must be set")
    analysis = _analysis(body["analysis_config"])
    description = _data_description(body["data_description"])
    if description["time_field"] in analysed_fields(analysis):
        raise illegal_argument("data_description.time_field may not be used in the analysis_config")
    config: dict[str, Any] = {
        "job_id": job_id, "job_type": "anomaly_detector", "job_version": CONFIG_VERSION, "create_time": now_ms,
    }  # fmt: skip
    if body.get("groups"):
        config["groups"] = check_groups(body["groups"], job_id)
    if body.get("description") is not None:
        config["description"] = body["description"]
    config |= {
        "analysis_config": analysis,
        "analysis_limits": parse_limits(body.get("analysis_limits") or {}, max_memory),
        "data_description": description,
        "model_snapshot_retention_days": 10,
        "results_index_name": _index_suffix(body.get("results_index_name")),
        "allow_lazy_open": bool(body.get("allow_lazy_open", False)),
    }
    _plain_settings(config, body)
    config.setdefault("daily_model_snapshot_retention_after_days", min(1, config["model_snapshot_retention_days"]))
    check_retention(config)
    return config


def _analysis(body: Any) -> dict[str, Any]:
    parse_strict("analysis_config", body, _ANALYSIS)
    for name in ("categorization_field_name", "categorization_filters", "categorization_analyzer"):
        if body.get(name) is not None:
            raise unsupported(f"categorization (analysis_config.{name})")
    for name in ("per_partition_categorization", "multivariate_by_fields"):
        given = body.get(name)
        if given and given != {"enabled": False}:
            raise unsupported(f"analysis_config.{name}")
    if body.get("latency") not in {None, "0", "0s", "0ms"}:
        raise unsupported("analysis_config.latency")
    span = str(body.get("bucket_span") or "5m")
    span = f"{span}s" if span.isdigit() else span
    seconds = duration_seconds(span, "bucket_span")
    if seconds <= 0:
        raise illegal_argument(f"bucket_span cannot be less or equal than 0. Value = {span}")
    if seconds != int(seconds):
        raise illegal_argument(f"bucket_span has to be a multiple of [1s]; actual was '{span}'")
    detectors = body.get("detectors")
    if detectors is None:
        raise required("analysis_config", "detectors")
    if not detectors:
        raise illegal_argument("No detectors configured")
    parsed = [parse_detector(detector, number) for number, detector in enumerate(detectors)]
    # A description does not make a detector another one; YAML test validate, "duplicate detector configurations".
    plain = [{k: v for k, v in one.items() if k not in {"detector_index", "detector_description"}} for one in parsed]
    if any(one in plain[:number] for number, one in enumerate(plain)):
        raise illegal_argument("Duplicate detectors are not allowed")
    config: dict[str, Any] = {"bucket_span": span, "detectors": parsed, "influencers": body.get("influencers") or []}
    if body.get("summary_count_field_name"):
        if any(detector["function"].endswith("rare") for detector in parsed):
            raise illegal_argument("The 'rare' function cannot be used in jobs that will take pre-summarized input")
        config["summary_count_field_name"] = body["summary_count_field_name"]
    days = max(30, -(-int(seconds) * 20 // 86400))
    config["model_prune_window"] = body.get("model_prune_window") or f"{days}d"
    if duration_seconds(config["model_prune_window"], "model_prune_window") < 2 * seconds:
        raise illegal_argument(
            f"model_prune_window [{config['model_prune_window']}] must be at least 2 times greater than bucket_span "
            f"[{span}]"
        )
    return config


def analysed_fields(analysis: dict[str, Any]) -> list[str]:
    """Every field an analysis reads beside the time, sorted; ``doc_count`` of aggregations is none."""
    found = {detector[key] for detector in analysis["detectors"] for key in
             ("field_name", "by_field_name", "over_field_name", "partition_field_name") if key in detector}  # fmt: skip
    found |= set(analysis["influencers"])
    if "summary_count_field_name" in analysis:
        found.add(analysis["summary_count_field_name"])
    return sorted(found)


def _data_description(body: Any) -> dict[str, Any]:
    parse_strict("data_description", body, {"format": str, "time_field": str, "time_format": str,
                                            "field_delimiter": str, "quote_character": str})  # fmt: skip
    if str(body.get("format", "xcontent")).lower() not in {"xcontent", "delimited"}:
        raise parse_error("data_description", "failed to parse field [format]")
    return {"time_field": body.get("time_field") or "time", "time_format": body.get("time_format") or "epoch_ms"}


def parse_limits(body: Any, max_memory: str | None) -> dict[str, Any]:
    """``analysis_limits`` with its defaults; memory in whole megabytes, as the server shows it."""
    parse_strict("analysis_limits", body, {"model_memory_limit": (str, int), "categorization_examples_limit": int})
    given = body.get("model_memory_limit")
    megabytes = min(1024, memory_mb(max_memory) or 1024) if given is None else memory_mb(given)
    if megabytes is None or megabytes < 1:
        raise illegal_argument(f"model_memory_limit must be at least 1 MiB. Value = {megabytes or 0}")
    if max_memory is not None and megabytes > (memory_mb(max_memory) or 0):
        raise illegal_argument(
            f"model_memory_limit [{_short(megabytes)}] must be less than the value of the "
            f"xpack.ml.max_model_memory_limit setting [{_short(memory_mb(max_memory) or 0)}]"
        )
    return {
        "model_memory_limit": f"{megabytes}mb",
        "categorization_examples_limit": int(body.get("categorization_examples_limit", 4)),
    }


def memory_mb(value: Any) -> int | None:
    """Whole megabytes of a size; a bare number is megabytes already (YAML test jobs_crud)."""
    if value is None:
        return None
    if isinstance(value, int) or str(value).isdigit():
        return int(value)
    match = _MEMORY.fullmatch(str(value).strip())
    if match is None:
        raise ElasticError(
            400,
            "parse_exception",
            f"failed to parse setting [model_memory_limit] with value [{value}] as a size in bytes: unit is missing "
            "or unrecognized",
        )
    power = "bkmgt".index(match[2][0].lower())
    return int(float(match[1]) * 1024**power) >> 20


def _short(megabytes: int) -> str:
    return f"{megabytes >> 10}gb" if megabytes % 1024 == 0 else f"{megabytes}mb"


def _index_suffix(name: str | None) -> str:
    if name in {None, "shared"}:
        return "shared"
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9_\-.]*[a-z0-9])?", str(name)):
        raise bad_request(
            f"Invalid results_index_name; '{name}' can contain lowercase alphanumeric (a-z and 0-9), hyphens or "
            "underscores; must start and end with alphanumeric"
        )
    return str(name) if str(name).startswith("custom-") else f"custom-{name}"


def check_groups(groups: Any, job_id: str) -> list[str]:
    """Group names, once each."""
    for group in groups:
        if not isinstance(group, str) or not re.fullmatch(r"[a-z0-9](?:[a-z0-9_\-]*[a-z0-9])?", group):
            raise illegal_argument(
                f"Invalid group id '{group}'; must be non-empty string and may contain lowercase alphanumeric (a-z and "
                "0-9), hyphens or underscores; must start and end with alphanumeric"
            )
        if group == job_id:
            raise name_clash(group)
    return sorted(set(groups))


def name_clash(name: str) -> ElasticError:
    """400: jobs and groups share one namespace."""
    return ElasticError(
        400,
        "resource_already_exists_exception",
        f"job and group names must be unique but job [{name}] and group [{name}] have the same name",
    )


def _plain_settings(config: dict[str, Any], body: dict[str, Any]) -> None:
    plot = body.get("model_plot_config")
    if plot is not None:
        parse_strict("model_plot_config", plot, {"enabled": bool, "terms": str, "annotations_enabled": bool})
        if plot.get("enabled") or plot.get("annotations_enabled"):
            raise unsupported("an enabled model_plot_config")
        config["model_plot_config"] = {"enabled": False, **plot, "annotations_enabled": False}
    for name in _DAYS:
        if body.get(name) is not None:
            if body[name] < 0:
                raise illegal_argument(f"{name} cannot be less than 0. Value = {body[name]}")
            config[name] = int(body[name])
    if body.get("background_persist_interval") is not None:
        interval = body["background_persist_interval"]
        if duration_seconds(interval, "background_persist_interval") < 3600:
            raise illegal_argument(f"background_persist_interval cannot be less than 1h. Value = {interval}")
        config["background_persist_interval"] = interval
    if body.get("custom_settings") is not None:
        config["custom_settings"] = body["custom_settings"]


def check_retention(config: dict[str, Any]) -> None:
    """Daily thinning cannot begin after snapshots are deleted anyway."""
    daily, days = config["daily_model_snapshot_retention_after_days"], config["model_snapshot_retention_days"]
    if daily > days:
        raise illegal_argument(
            f"The value of daily_model_snapshot_retention_after_days [{daily}] cannot be greater than "
            f"model_snapshot_retention_days [{days}]"
        )


def updated(config: dict[str, Any], body: Any, *, opened: bool, used_mb: int, max_memory: str | None) -> dict[str, Any]:
    """The configuration after an update.

    :param used_mb: megabytes the model has taken, below which the limit cannot go
    :raises ElasticError: 400 for what cannot be updated (bucket_span, functions and fields of detectors are unknown
        fields to the update parser, as on the server)
    """
    parse_strict("job_update", body, _UPDATE)
    for name in ("categorization_filters", "per_partition_categorization"):
        if body.get(name) is not None:
            raise unsupported(f"categorization ({name})")
    changed = {**config, "analysis_config": {**config["analysis_config"]}}
    if body.get("analysis_limits") is not None:
        if opened:
            raise bad_request("Cannot update analysis_limits while the job is open")
        limits = parse_limits(config["analysis_limits"] | body["analysis_limits"], max_memory)
        if (memory_mb(limits["model_memory_limit"]) or 0) < used_mb:
            raise illegal_argument(
                "Invalid update value for analysis_limits: model_memory_limit cannot be decreased below current "
                f"usage; current usage [{used_mb}mb], update had [{limits['model_memory_limit']}]"
            )
        changed["analysis_limits"] = limits
    if body.get("groups") is not None:
        changed["groups"] = check_groups(body["groups"], config["job_id"])
        if not changed["groups"]:
            del changed["groups"]
    for name in ("description", "allow_lazy_open"):
        if body.get(name) is not None:
            changed[name] = body[name]
    if body.get("model_prune_window") is not None:
        changed["analysis_config"]["model_prune_window"] = body["model_prune_window"]
    _plain_settings(changed, body)
    check_retention(changed)
    detectors = _updated_detectors(config["analysis_config"]["detectors"], body.get("detectors") or [])
    changed["analysis_config"]["detectors"] = detectors
    return changed


def _updated_detectors(detectors: list[dict[str, Any]], changes: list[Any]) -> list[dict[str, Any]]:
    detectors = [dict(detector) for detector in detectors]
    for change in changes:
        parse_strict("detector_update", change, {"detector_index": int, "description": str, "custom_rules": list})
        if change.get("detector_index") is None:
            raise required("detector_update", "detector_index")
        number = change["detector_index"]
        if number >= len(detectors):
            raise bad_request(f"Supplied detector_index [{number}] is >= the number of detectors [{len(detectors)}]")
        if change.get("description") is not None:
            detectors[number]["detector_description"] = change["description"]
        if change.get("custom_rules") is not None:
            index = detectors[number].pop("detector_index")
            detectors[number]["custom_rules"] = [parse_rule(rule, detectors[number]) for rule in change["custom_rules"]]
            detectors[number]["detector_index"] = index
    return detectors


def shown(config: dict[str, Any], datafeed: dict[str, Any] | None, *, exclude_generated: bool) -> dict[str, Any]:
    """A job as ``GET`` answers it; for export without what the server generated."""
    out = dict(config)
    if exclude_generated:
        defaults = {"model_snapshot_retention_days": 10, "daily_model_snapshot_retention_after_days": 1,
                    "allow_lazy_open": False, "results_index_name": "shared"}  # fmt: skip
        # The specification wants these.
        kept = {"allow_lazy_open", "results_index_name", "model_snapshot_retention_days"}
        out = {k: v for k, v in out.items()
               if k not in {*GENERATED, "blocked"} and (k in kept or defaults.get(k) != v)}  # fmt: skip
    if datafeed is not None:
        out["datafeed_config"] = datafeed
    return out
