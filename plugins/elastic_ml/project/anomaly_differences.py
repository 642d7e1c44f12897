"""Compares an anomaly job and its datafeed with what the server echoes, and says how to get from one to the other.

A server does not answer with the body it was sent: defaults appear, sizes become megabytes, short function names become
long ones, `results_index_name` gets a prefix. What a file does not say is compared with the server's default where that
is a constant, and left alone where the server draws or computes it (`query_delay`, `chunking_config`, a detector's
description), so that nothing drifts by itself.

What `_update` takes, and that detectors' functions and fields and `bucket_span` are not among it: Elastic's YAML tests
`jobs_crud` ("Test update job") and `datafeeds_crud`, and the API specification of `ml.update_job`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]

_SECONDS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_BYTES = {"b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30, "t": 2**40, "tb": 2**40}
_LONG_NAMES = {
    f"{side}{short}": f"{side}{name}"
    for short, name in {"c": "count", "dc": "distinct_count", "nzc": "non_zero_count", "avg": "mean"}.items()
    for side in ("", "high_", "low_")
}
_SPLITS = ("field_name", "by_field_name", "over_field_name", "partition_field_name")
_INDICES_OPTIONS = {
    "expand_wildcards": ["open"],
    "ignore_unavailable": False,
    "allow_no_indices": True,
    "ignore_throttled": True,
}


@dataclass(frozen=True)
class JobChanges:
    """What separates a job from the wanted one.

    :param update: body for `ml.update_job`; empty when there is nothing to update.
    :param said: what changes, one sentence fragment each.
    :param anew: what no update can change; where there is any, the wanted job is another job.
    :param closed: the update is refused while the job is open.
    """

    update: Body = field(default_factory=dict)
    said: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    closed: bool = False


@dataclass(frozen=True)
class DatafeedChanges:
    """What separates a datafeed from the wanted one.

    :param update: body for `ml.update_datafeed`, taken only while the datafeed is stopped.
    :param said: what changes, one sentence fragment each.
    :param recreate: something is to go that no update can take away: the datafeed is deleted and made again, which
        loses nothing, since the job knows how far it has come.
    """

    update: Body = field(default_factory=dict)
    said: tuple[str, ...] = ()
    recreate: bool = False


def job_changes(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> JobChanges:
    """Compare a wanted job's body with the server's echo of a job; `custom_settings` that others set are left alone."""
    ours, theirs = _fixed(wanted), _fixed(actual)
    if "categorization_analyzer" not in (wanted.get("analysis_config") or {}):
        theirs["categorization_analyzer"] = ours["categorization_analyzer"]
    anew = tuple(_sentence(name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name])
    if anew:
        return JobChanges(anew=anew)
    update: Body = {}
    said: list[str] = []

    def change(name: str, value: Any, ours: Any, theirs: Any) -> None:
        if ours != theirs:
            update[name] = value
            said.append(_sentence(name, ours, theirs))

    for name in ("description", "renormalization_window_days", "results_retention_days"):
        if wanted.get(name) is not None:
            change(name, wanted[name], wanted[name], actual.get(name))
    change("groups", list(wanted.get("groups") or []), _names(wanted.get("groups")), _names(actual.get("groups")))
    for name, default in (("model_snapshot_retention_days", 10), ("allow_lazy_open", False)):
        change(name, wanted.get(name, default), wanted.get(name, default), actual.get(name, default))
    name = "daily_model_snapshot_retention_after_days"
    if wanted.get(name) is not None:
        change(name, wanted[name], wanted[name], actual.get(name))
    name = "background_persist_interval"
    if wanted.get(name) is not None:
        change(name, wanted[name], _duration(wanted[name]), _duration(actual.get(name)))
    _compare_analysis(wanted, actual, change)
    plot = wanted.get("model_plot_config") or {"enabled": False}
    there = {"enabled": False, **(actual.get("model_plot_config") or {})}
    change("model_plot_config", plot, plot, {key: there.get(key) for key in plot})
    limits = _limits(wanted, actual)
    if limits:
        update["analysis_limits"] = limits
        theirs_limits = actual.get("analysis_limits") or {}
        said += [_sentence(f"analysis_limits.{key}", value, theirs_limits.get(key)) for key, value in limits.items()]
    settings = wanted.get("custom_settings") or {}
    kept = actual.get("custom_settings") or {}
    if missing := {key: value for key, value in settings.items() if kept.get(key) != value}:
        update["custom_settings"] = {**kept, **settings}
        said += [_sentence(f"custom_settings.{key}", value, kept.get(key)) for key, value in missing.items()]
    return JobChanges(update, tuple(said), (), closed="analysis_limits" in update)


def datafeed_changes(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> DatafeedChanges:
    """Compare a wanted datafeed's body with the server's echo of a datafeed."""
    update: Body = {}
    said: list[str] = []
    recreate = False
    for name, ours, theirs, value in _datafeed_pairs(wanted, actual):
        if ours == theirs:
            continue
        said.append(_sentence(name, ours, theirs))
        if value is None:
            recreate = True
        else:
            update[name] = value
    return DatafeedChanges(update, tuple(said), recreate)


def _fixed(body: Mapping[str, Any]) -> Body:
    """What makes a job this job: whatever no update can change, with the server's defaults."""
    analysis = body.get("analysis_config") or {}
    data = body.get("data_description") or {}
    index = str(body.get("results_index_name") or "shared").removeprefix("custom-")
    return {
        "bucket_span": _duration(analysis.get("bucket_span") or "5m"),
        "detectors": [_detector(one) for one in analysis.get("detectors") or ()],
        "influencers": _names(analysis.get("influencers")),
        "summary_count_field_name": analysis.get("summary_count_field_name") or None,
        "latency": _duration(analysis.get("latency") or 0),
        "multivariate_by_fields": bool(analysis.get("multivariate_by_fields")),
        "categorization_field_name": analysis.get("categorization_field_name"),
        "categorization_analyzer": analysis.get("categorization_analyzer"),
        "time_field": data.get("time_field") or "time",
        "time_format": data.get("time_format") or "epoch_ms",
        "results_index_name": index,
    }


def _detector(detector: Mapping[str, Any]) -> Body:
    function = str(detector.get("function", "")).lower()
    shown = {"function": _LONG_NAMES.get(function, function)}
    shown |= {name: detector[name] for name in _SPLITS if detector.get(name)}
    if detector.get("use_null"):
        shown["use_null"] = "true"
    if detector.get("exclude_frequent") not in {None, "none"}:
        shown["exclude_frequent"] = str(detector["exclude_frequent"]).lower()
    return shown


def _compare_analysis(wanted: Mapping[str, Any], actual: Mapping[str, Any], change: Any) -> None:
    ours, theirs = wanted.get("analysis_config") or {}, actual.get("analysis_config") or {}
    name = "model_prune_window"
    if ours.get(name) is not None:
        change(name, ours[name], _duration(ours[name]), _duration(theirs.get(name)))
    name = "categorization_filters"
    change(name, list(ours.get(name) or []), list(ours.get(name) or []), list(theirs.get(name) or []))
    name = "per_partition_categorization"
    if ours.get(name) is not None:
        there = theirs.get(name) or {"enabled": False}
        change(name, ours[name], ours[name], {key: there.get(key, False) for key in ours[name]})
    updates = []
    pairs = zip(ours.get("detectors") or (), theirs.get("detectors") or (), strict=True)
    for number, (detector, there) in enumerate(pairs):
        update: Body = {}
        described = detector.get("detector_description")
        if described is not None and described != there.get("detector_description"):
            update["description"] = described
        if _rules(detector) != _rules(there):
            update["custom_rules"] = detector.get("custom_rules") or []
        if update:
            updates.append({"detector_index": number, **update})
    change("detectors", updates, updates, [])


def _rules(detector: Mapping[str, Any]) -> list[Body]:
    return [
        {
            "actions": sorted(rule.get("actions") or ["skip_result"]),
            "scope": {
                name: {"filter_type": "include", **reference} for name, reference in (rule.get("scope") or {}).items()
            },
            "conditions": [{**one, "value": float(one["value"])} for one in rule.get("conditions") or ()],
        }
        for rule in detector.get("custom_rules") or ()
    ]


def _limits(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> Body:
    ours, theirs = wanted.get("analysis_limits") or {}, actual.get("analysis_limits") or {}
    changed: Body = {}
    if (limit := ours.get("model_memory_limit")) is not None and (
        _megabytes(limit) != _megabytes(theirs.get("model_memory_limit"))
    ):
        changed["model_memory_limit"] = limit
    examples = ours.get("categorization_examples_limit")
    if examples is not None and examples != theirs.get("categorization_examples_limit", 4):
        changed["categorization_examples_limit"] = examples
    return changed


def _datafeed_pairs(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """(name, wanted, actual, what an update sends; None where an update cannot take the value away)."""
    aggregations = ours.get("aggregations", ours.get("aggs"))
    pairs = [
        ("indices", _list(ours.get("indices", ours.get("indexes"))), _list(theirs.get("indices"))),
        ("query", ours.get("query") or {"match_all": {}}, _plain_match_all(theirs.get("query"))),
        ("aggregations", aggregations, theirs.get("aggregations", theirs.get("aggs"))),
        ("scroll_size", ours.get("scroll_size", 1000), theirs.get("scroll_size", 1000)),
        ("runtime_mappings", ours.get("runtime_mappings") or {}, theirs.get("runtime_mappings") or {}),
        ("script_fields", ours.get("script_fields") or None, theirs.get("script_fields") or None),
        ("indices_options", _options(ours), _options(theirs)),
    ]
    triples = [(name, mine, there, mine) for name, mine, there in pairs]
    check, there = ({"enabled": True, **(body.get("delayed_data_check_config") or {})} for body in (ours, theirs))
    triples.append(("delayed_data_check_config", check, there, check))
    for name in ("query_delay", "frequency"):
        value = ours.get(name)
        # The server draws a delay between 60 and 120 s where none is given, and says so.
        if value is not None or name == "frequency":
            triples.append((name, _duration(value), _duration(theirs.get(name)), value))
    if (chunks := ours.get("chunking_config")) is not None:
        triples.append(("chunking_config", _chunks(chunks), _chunks(theirs.get("chunking_config") or {}), chunks))
    limit = ours.get("max_empty_searches")
    limit = None if limit == -1 else limit
    # -1 takes the limit away (YAML test datafeeds_crud).
    triples.append(("max_empty_searches", limit, theirs.get("max_empty_searches"), -1 if limit is None else limit))
    return triples


def _plain_match_all(query: Any) -> Any:
    # Older servers echo the default with its boost.
    return {"match_all": {}} if query in (None, {"match_all": {"boost": 1.0}}) else query


def _options(body: Mapping[str, Any]) -> Body:
    given = body.get("indices_options") or {}
    # A server may know more options than these, and echo their defaults.
    merged = {name: given.get(name, default) for name, default in _INDICES_OPTIONS.items()}
    wildcards = merged["expand_wildcards"]
    wildcards = wildcards.split(",") if isinstance(wildcards, str) else wildcards
    if "all" in wildcards:
        wildcards = ["open", "closed", "hidden"]
    return {**merged, "expand_wildcards": sorted(set(wildcards) - {"none"})}


def _chunks(body: Mapping[str, Any]) -> Body:
    return {"mode": str(body.get("mode", "")).lower(), "time_span": _duration(body.get("time_span"))}


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _names(value: Any) -> list[str]:
    return sorted(set(value or ()))


def _duration(written: Any) -> Any:
    """Seconds of a duration; a bare number is seconds already, as in `bucket_span`. Anything else stays as it is."""
    if written is None or isinstance(written, int | float):
        return written
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(nanos|micros|ms|s|m|h|d)?\s*", str(written).lower())
    return float(found[1]) * _SECONDS[found[2] or "s"] if found else written


def _megabytes(written: Any) -> Any:
    """Whole megabytes of a size; a bare number is megabytes already (YAML test `jobs_crud`)."""
    if written is None or isinstance(written, int):
        return written
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?b?)\s*", str(written).lower())
    if not found:
        return written
    return int(float(found[1]) * (_BYTES[found[2]] if found[2] else 2**20)) >> 20


def _sentence(name: str, wanted: Any, actual: Any) -> str:
    return f"{name} is {_shown(actual)} (wanted {_shown(wanted)})"


def _shown(value: Any, most: int = 160) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= most else f"{text[: most - 3]}..."
