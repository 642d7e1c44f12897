"""The destination index of an analysis: its mapping and settings, made from the source indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.ml.analysis_config import CONFIG_VERSION
from elastic_sandbox.ml.field_selection import INCREMENTAL_ID
from elastic_sandbox.ml.strict import bad_request

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_COPIED_SETTINGS = ("index.number_of_shards", "index.number_of_replicas", "index.mapping.total_fields.limit")


def result_mappings(config: dict[str, Any], dependent_mapping: dict[str, Any]) -> dict[str, Any]:
    """Mappings of the results: predictions typed like the dependent variable, `top_classes` nested."""
    options = config["analysis"]["classification"]
    results = {
        options["prediction_field_name"]: dependent_mapping,
        "is_training": {"type": "boolean"},
        "top_classes": {
            "type": "nested",
            "properties": {
                "class_name": dependent_mapping,
                "class_probability": {"type": "double"},
                "class_score": {"type": "double"},
            },
        },
        "feature_importance": {
            "dynamic": "true",
            "properties": {
                "feature_name": {"type": "keyword"},
                "classes": {
                    "dynamic": "true",
                    "properties": {"class_name": {"type": "keyword"}, "importance": {"type": "double"}},
                },
            },
        },
    }
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
    dependent = config["analysis"]["classification"]["dependent_variable"]
    field = next(index.mapping.fields[dependent] for index in indices if dependent in index.mapping.fields)
    additions = result_mappings(config, {"type": field.type})
    if existing is not None:
        _check_results_field(config, existing.mapping.to_json().get("properties", {}))
        backend.indices.put_mapping(existing, {"properties": additions})
        return
    properties: dict[str, Any] = {}
    for index in indices:
        _merge(properties, index.mapping.to_json().get("properties", {}))
    _check_results_field(config, properties)
    settings: dict[str, Any] = {}
    for key in _COPIED_SETTINGS:
        values = [int(index.settings[key]) for index in indices if key in index.settings]
        if values:
            settings[key] = max(values)
    metadata = {
        "created_by": "data-frame-analytics",
        "creation_date_in_millis": backend.clock.now_ms(),
        "version": {"created": CONFIG_VERSION},
        "analytics": config["id"],
    }
    mappings = {"_meta": metadata, "properties": properties | additions}
    backend.indices.create(name, {"settings": settings, "mappings": mappings}, internal=True)
