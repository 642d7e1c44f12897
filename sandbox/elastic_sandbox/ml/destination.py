"""The destination index of an analysis: its mapping and settings, made from the source indices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from elastic_sandbox.ml.analysis_config import CONFIG_VERSION, analysis_of
from elastic_sandbox.ml.field_selection import INCREMENTAL_ID
from elastic_sandbox.ml.strict import bad_request

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_COPIED_SETTINGS = re.compile(r"index\.(number_of_shards|number_of_replicas|mapping\..*\.limit)")
"""Settings that are copied, the largest of all sources (Elastic's DestinationIndexTests)."""
_KEYWORD, _DOUBLE = {"type": "keyword"}, {"type": "double"}


def _nested(**properties: Any) -> dict[str, Any]:
    """As Elasticsearch's analyses map their lists of objects (OutlierDetection, MapUtils)."""
    return {"type": "nested", "dynamic": "false", "properties": properties}


def result_mappings(config: dict[str, Any], dependent_type: str | None) -> dict[str, Any]:
    """Mappings of the results: classes typed like the dependent variable, numbers as double."""
    kind, options = analysis_of(config)
    importance = {"feature_name": _KEYWORD, "importance": _DOUBLE}
    if kind == "outlier_detection":
        influence = _nested(feature_name=_KEYWORD, influence=_DOUBLE)
        results: dict[str, Any] = {"outlier_score": _DOUBLE, "feature_influence": influence}
    else:
        results = {options["prediction_field_name"]: _DOUBLE, "is_training": {"type": "boolean"}}
        if kind == "classification":
            name = {"type": dependent_type}
            results[options["prediction_field_name"]] = name
            results["top_classes"] = {
                "type": "nested",
                "properties": {"class_name": name, "class_probability": _DOUBLE, "class_score": _DOUBLE},
            }
            importance["classes"] = _nested(class_name=_KEYWORD, importance=_DOUBLE)
        results["feature_importance"] = _nested(**importance)
    return {INCREMENTAL_ID: {"type": "long"}, config["dest"]["results_field"]: {"properties": results}}


def _check_results_field(config: dict[str, Any], properties: dict[str, Any]) -> None:
    field = config["dest"]["results_field"]
    if field in properties:
        raise bad_request(
            f"A field that matches the dest.results_field [{field}] already exists; "
            "please set a different results_field"
        )


def _merge(into: dict[str, Any], properties: dict[str, Any], where: str = "") -> None:
    for name, body in properties.items():
        known = into.get(name)
        if known is None:
            into[name] = body
        elif "properties" in known and "properties" in body:
            _merge(known["properties"], body["properties"], f"{where}{name}.")
        elif known != body:
            raise bad_request(f"cannot merge [{where}{name}] mapping because of differences: {known} and {body}")


def prepare_destination(backend: Backend, config: dict[str, Any], indices: list[Any]) -> None:
    """Create the destination with the source's mapping and the results', or add the results' to an existing one.

    :raises ElasticError: 400 when the results field is already a field, or source mappings contradict each other.
    """
    name = config["dest"]["index"]
    existing = backend.indices.get(name) or next(iter(backend.indices.resolve(name, ignore_unavailable=True)), None)
    dependent = analysis_of(config)[1].get("dependent_variable")
    fields = [index.mapping.fields[dependent] for index in indices if dependent in index.mapping.fields]
    additions = result_mappings(config, fields[0].type if fields else None)
    if existing is not None:
        _check_results_field(config, existing.mapping.to_json().get("properties", {}))
        backend.indices.put_mapping(existing, {"properties": additions})
        return
    properties: dict[str, Any] = {}
    for index in indices:
        _merge(properties, index.mapping.to_json().get("properties", {}))
    _check_results_field(config, properties)
    settings: dict[str, Any] = {}
    for key, value in (
        item for index in indices for item in index.settings.items() if _COPIED_SETTINGS.fullmatch(item[0])
    ):
        settings[key] = max(int(value), settings.get(key, 0))
    metadata = {
        "created_by": "data-frame-analytics",
        "creation_date_in_millis": backend.clock.now_ms(),
        "version": {"created": CONFIG_VERSION},
        "analytics": config["id"],
    }
    mappings = {"_meta": metadata, "properties": properties | additions}
    backend.indices.create(name, {"settings": settings, "mappings": mappings}, internal=True)
