"""Configuration of a datafeed: strict reading, defaults, and the rules an aggregation has to keep.

Defaults and refusals: Elasticsearch's YAML test `datafeeds_crud`, its class `DatafeedConfig` and its `Messages`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

from elastic_sandbox.errors import ElasticError, illegal_argument, unsupported
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.ml.runtime_mappings import check_runtime_mappings
from elastic_sandbox.ml.strict import bad_request, check_consistent_id, check_id, parse_error, parse_strict, required

_FIELDS: Final[dict[str, Any]] = {
    "datafeed_id": str, "job_id": str, "indices": (list, str), "indexes": (list, str), "query": dict,
    "aggregations": dict, "aggs": dict, "query_delay": str, "frequency": str, "scroll_size": int,
    "chunking_config": dict, "delayed_data_check_config": dict, "max_empty_searches": int, "indices_options": dict,
    "runtime_mappings": dict, "script_fields": dict, "_force_rekeying": bool,
}  # fmt: skip
_OPTIONS: Final = ("ignore_unavailable", "allow_no_indices", "ignore_throttled", "expand_wildcards")


def parse_datafeed(datafeed_id: str | None, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """A datafeed as it is kept and shown.

    :param options: index options of the URL, which win
    :raises ElasticError: 400 for a bad body, 501 for script fields
    """
    parse_strict("datafeed_config", body, _FIELDS)
    if datafeed_id is not None:
        check_consistent_id("datafeed_id", body.get("datafeed_id"), datafeed_id)
    datafeed_id = datafeed_id or body.get("datafeed_id") or "preview_id"
    check_id("datafeed_id", datafeed_id)
    job_id = body.get("job_id")
    if job_id is None:
        raise bad_request("Invalid job_id value 'null' in datafeed configuration")
    indices = _indices(body)
    if not indices:
        raise bad_request("Invalid indices value '[]' in datafeed configuration")
    config: dict[str, Any] = {
        "datafeed_id": datafeed_id, "job_id": job_id,
        # Between 60 and 120 s, so that not all datafeeds search at once; Elasticsearch draws it by the job's id.
        "query_delay": f"{60_000 + zlib.crc32(job_id.encode()) % 60_000}ms",
        "indices": indices, "query": {"match_all": {}}, "scroll_size": 1000,
        "delayed_data_check_config": {"enabled": True},
        "indices_options": {"expand_wildcards": ["open"], "ignore_unavailable": False, "allow_no_indices": True,
                            "ignore_throttled": True},
    }  # fmt: skip
    _apply(config, body, options)
    if "chunking_config" not in config:
        config["chunking_config"] = _default_chunks(config.get("aggregations"))
    return config


def updated(config: dict[str, Any], body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """The datafeed after an update."""
    parse_strict("datafeed_update", body, _FIELDS)
    if body.get("job_id") not in {None, config["job_id"]}:
        raise bad_request("Datafeed's job_id cannot be changed")
    changed = dict(config)
    if _indices(body):
        changed["indices"] = _indices(body)
    _apply(changed, body, options)
    return changed


def _indices(body: dict[str, Any]) -> list[str]:
    given = body.get("indices", body.get("indexes")) or []
    return [given] if isinstance(given, str) else list(given)


def _apply(config: dict[str, Any], body: dict[str, Any], options: dict[str, Any]) -> None:
    if body.get("script_fields"):
        raise unsupported("[script_fields] of a datafeed")
    if body.get("runtime_mappings") is not None:
        check_runtime_mappings(body["runtime_mappings"])
        config["runtime_mappings"] = body["runtime_mappings"]
    if not config.get("runtime_mappings"):
        config.pop("runtime_mappings", None)  # none are not shown (DatafeedConfig.toXContent)
    if body.get("query") is not None:
        _check_query(body["query"])
        config["query"] = body["query"]
    _apply_aggregations_and_times(config, body)
    if body.get("scroll_size") is not None:
        if body["scroll_size"] < 0:
            raise bad_request(f"Invalid scroll_size value '{body['scroll_size']}' in datafeed configuration")
        config["scroll_size"] = body["scroll_size"]
    if body.get("chunking_config") is not None:
        config["chunking_config"] = _chunking(body["chunking_config"])
    if body.get("delayed_data_check_config") is not None:
        check = body["delayed_data_check_config"]
        parse_strict("delayed_data_check_config", check, {"enabled": bool, "check_window": str})
        if check.get("enabled") is None:
            raise required("delayed_data_check_config", "enabled")
        config["delayed_data_check_config"] = check
    limit = body.get("max_empty_searches")
    if limit == -1:  # takes the limit away (YAML test datafeeds_crud)
        config.pop("max_empty_searches", None)
    elif limit is not None:
        if limit <= 0:
            raise bad_request(f"Invalid max_empty_searches value '{limit}' in datafeed configuration")
        config["max_empty_searches"] = limit
    _apply_index_options(config, {**(body.get("indices_options") or {}), **options})


def _apply_aggregations_and_times(config: dict[str, Any], body: dict[str, Any]) -> None:
    aggregations = body.get("aggregations", body.get("aggs"))
    if aggregations is not None:
        Histogram.of(aggregations)
        config["aggregations"] = aggregations
    for name in ("query_delay", "frequency"):
        if body.get(name) is not None:
            seconds = duration_seconds(body[name], name)
            if seconds < 0 or (name == "frequency" and seconds == 0):
                raise illegal_argument(
                    f"{name} cannot be less {'than 0' if seconds < 0 else 'or equal than 0'}. Value = {body[name]}"
                )
            config[name] = body[name]


def _apply_index_options(config: dict[str, Any], given: dict[str, Any]) -> None:
    parse_strict("indices_options", given, dict.fromkeys(_OPTIONS))
    if given:
        merged = {**config["indices_options"], **given}
        wildcards = merged["expand_wildcards"]
        wildcards = wildcards.split(",") if isinstance(wildcards, str) else wildcards
        merged["expand_wildcards"] = [
            one for one in ("open", "closed", "hidden") if one in wildcards or "all" in wildcards
        ]
        for name in _OPTIONS[:3]:
            merged[name] = merged[name] in {True, "true", ""}
        config["indices_options"] = merged


def _check_query(query: dict[str, Any]) -> None:
    from elastic_sandbox.search.query_parser import query_of

    try:
        query_of(query)
    except ElasticError as error:
        if error.status == 501:
            raise
        raise parse_error("datafeed_config", "failed to parse field [query]") from None


def _chunking(body: dict[str, Any]) -> dict[str, Any]:
    parse_strict("chunking_config", body, {"mode": str, "time_span": str})
    if body.get("mode") is None:
        raise required("chunking_config", "mode")
    mode = body["mode"].lower()
    if mode not in {"auto", "manual", "off"}:
        raise parse_error("chunking_config", "failed to parse field [mode]")
    if (mode == "manual") != (body.get("time_span") is not None):
        raise illegal_argument(
            "when chunk mode is manual time_span is required" if mode == "manual" else
            "chunk time_span may only be set when mode is manual"
        )  # fmt: skip
    return body | {"mode": mode}


def _default_chunks(aggregations: dict[str, Any] | None) -> dict[str, Any]:
    if aggregations is None:
        return {"mode": "auto"}
    histogram = Histogram.of(aggregations)
    if histogram.kind == "composite":
        return {"mode": "off"}
    return {"mode": "manual", "time_span": f"{1000 * histogram.interval_ms}ms"}


@dataclass(frozen=True)
class Histogram:
    """The one histogram over time that a datafeed's aggregations must have at their top.

    :param kind: ``date_histogram``, ``histogram`` or ``composite``
    :param time_field: the field whose maximum is each bucket's time
    :param body: the sub-aggregations below it
    """

    name: str
    kind: str
    interval_ms: int
    time_field: str
    below: dict[str, Any]

    @classmethod
    def of(cls, aggregations: dict[str, Any]) -> Histogram:
        """Find and check it.

        :raises ElasticError: 400 in the words of `Messages`; intervals of a calendar other than fixed are 501
        """
        if len(aggregations) != 1:
            raise bad_request(
                "The date_histogram (or histogram) aggregation cannot have sibling aggregations"
                if aggregations else "A date_histogram (or histogram) aggregation is required"
            )  # fmt: skip
        [(name, body)] = aggregations.items()
        below = body.get("aggregations", body.get("aggs")) or {}
        kind = next((one for one in ("date_histogram", "histogram", "composite") if one in body), None)
        if kind is None:
            raise bad_request("A date_histogram (or histogram) aggregation is required")
        if any({"date_histogram", "histogram"} & set(sub) for sub in below.values()):
            raise bad_request("Aggregations can only have 1 date_histogram or histogram aggregation")
        definition = body[kind]
        if kind == "composite":
            sources = [next(iter(source.values())) for source in definition.get("sources", [])]
            dated = [source["date_histogram"] for source in sources if "date_histogram" in source]
            if len(dated) != 1:
                raise bad_request(f"Composite aggregation [{name}] must have exactly one date_histogram source")
            definition = dated[0]
        field = definition.get("field")
        if not any(sub.get("max", {}).get("field") == field for sub in below.values()):
            raise bad_request(f"Date histogram must have nested max aggregation for time_field [{field}]")
        interval = definition.get("fixed_interval", definition.get("interval", definition.get("calendar_interval")))
        milliseconds = _interval(interval)
        if milliseconds <= 0:
            raise bad_request("Aggregation interval must be greater than 0")
        return cls(name, kind, milliseconds, str(field), below)


_CALENDAR_MS: Final = {"1s": 1000, "second": 1000, "1m": 60_000, "minute": 60_000, "1h": 3_600_000, "hour": 3_600_000,
                       "1d": 86_400_000, "day": 86_400_000, "1w": 604_800_000, "week": 604_800_000}  # fmt: skip


def _interval(value: Any) -> int:
    if isinstance(value, int | float):
        return int(value)
    if value in _CALENDAR_MS:
        return _CALENDAR_MS[value]
    if value is None or str(value).endswith(("M", "q", "y")):
        raise bad_request(
            f"When specifying a date_histogram calendar interval [{value}], ML does not accept intervals longer than a "
            "week because of variable lengths of periods greater than a week"
        )
    return int(duration_seconds(str(value), "interval") * 1000)


def check_against_job(config: dict[str, Any], job: dict[str, Any]) -> None:
    """What a datafeed must be for its job: summary counts for aggregations, buckets that divide the span.

    :raises ElasticError: 400 in the words of `Messages`
    """
    aggregations = config.get("aggregations")
    if aggregations is None:
        return
    analysis = job["analysis_config"]
    if not analysis.get("summary_count_field_name"):
        raise bad_request(
            "A job configured with a datafeed with aggregations must set summary_count_field_name; use doc_count or "
            "suitable alternative"
        )
    histogram = Histogram.of(aggregations)
    span = analysis["bucket_span"]
    span_ms = int(duration_seconds(span, "bucket_span") * 1000)
    if histogram.interval_ms > span_ms:
        raise bad_request(
            f"Aggregation interval [{histogram.interval_ms}ms] must be less than or equal to the bucket_span [{span}]"
        )
    if span_ms % histogram.interval_ms:
        raise bad_request(
            f"Aggregation interval [{histogram.interval_ms}ms] must be a divisor of the bucket_span [{span}]"
        )
    if histogram.time_field != job["data_description"]["time_field"]:
        raise bad_request(f"Missing max aggregation for time_field [{job['data_description']['time_field']}]")


def frequency_seconds(config: dict[str, Any], span_seconds: float) -> float:
    """How often a real-time datafeed searches; by default a sensible share of the bucket span."""
    if "frequency" in config:
        return duration_seconds(config["frequency"], "frequency")
    # DatafeedConfig's own default: half of up to two minutes, then a minute, ten minutes, an hour.
    if span_seconds <= 120:
        chosen = max(1.0, span_seconds // 2)
    elif span_seconds <= 1200:
        chosen = 60.0
    else:
        chosen = 600.0 if span_seconds <= 43_200 else 3600.0
    if "aggregations" in config:
        interval = Histogram.of(config["aggregations"]).interval_ms / 1000
        chosen = max(interval, chosen - chosen % interval)
    return chosen
