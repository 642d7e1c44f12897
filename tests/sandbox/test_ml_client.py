"""The official client's whole `client.ml`, each method once with the least it takes: a proper answer, or 501."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import ApiError, Elasticsearch
from sandbox.ml_contract import by_the_specification  # noqa: F401
from sandbox.ml_world import events, index_events, job_body, tree_model, wait_for

pytestmark = pytest.mark.usefixtures("by_the_specification")

# Called in tests/sandbox/test_anomaly_client.py.
ANOMALY_DETECTION = {
    "close_job", "delete_calendar", "delete_calendar_event", "delete_calendar_job", "delete_datafeed",
    "delete_expired_data", "delete_filter", "delete_forecast", "delete_job", "delete_model_snapshot",
    "estimate_model_memory", "flush_job", "forecast", "get_buckets", "get_calendar_events", "get_calendars",
    "get_categories", "get_datafeed_stats", "get_datafeeds", "get_filters", "get_influencers", "get_job_stats",
    "get_jobs", "get_memory_stats", "get_model_snapshot_upgrade_stats", "get_model_snapshots", "get_overall_buckets",
    "get_records", "open_job", "post_calendar_events", "post_data", "preview_datafeed", "put_calendar",
    "put_calendar_job", "put_datafeed", "put_filter", "put_job", "reset_job", "revert_model_snapshot", "start_datafeed",
    "stop_datafeed", "update_datafeed", "update_filter", "update_job", "update_model_snapshot", "upgrade_job_snapshot",
    "validate", "validate_detector",
}  # fmt: skip

Call = Callable[[Elasticsearch], Any]
JUDGED = {"classification": {"actual_field": "label", "predicted_field": "kind", "metrics": {"accuracy": {}}}}
UNPLACED = {name: part for name, part in job_body().items() if name != "dest"}

# In the order of a life: each finds what the ones before it made.
ANSWERED: dict[str, tuple[Call, set[str]]] = {
    "info": (lambda es: es.ml.info(), {"defaults", "limits", "native_code", "upgrade_mode"}),
    "set_upgrade_mode": (lambda es: es.ml.set_upgrade_mode(), {"acknowledged"}),
    "explain_data_frame_analytics": (
        lambda es: es.ml.explain_data_frame_analytics(**UNPLACED),
        {"field_selection", "memory_estimation"},
    ),
    "preview_data_frame_analytics": (
        lambda es: es.ml.preview_data_frame_analytics(config=UNPLACED),
        {"feature_values"},
    ),
    "put_data_frame_analytics": (
        lambda es: es.ml.put_data_frame_analytics(id="job", **job_body()),
        {"id", "source", "dest", "analysis", "model_memory_limit", "create_time", "version", "authorization",
         "allow_lazy_start", "max_num_threads", "analyzed_fields"},
    ),
    "get_data_frame_analytics": (lambda es: es.ml.get_data_frame_analytics(), {"count", "data_frame_analytics"}),
    "get_data_frame_analytics_stats": (
        lambda es: es.ml.get_data_frame_analytics_stats(),
        {"count", "data_frame_analytics"},
    ),
    "update_data_frame_analytics": (
        lambda es: es.ml.update_data_frame_analytics(id="job"),
        {"id", "source", "dest", "analysis", "model_memory_limit", "create_time", "version", "authorization",
         "allow_lazy_start", "max_num_threads", "analyzed_fields"},
    ),
    "start_data_frame_analytics": (lambda es: es.ml.start_data_frame_analytics(id="job"), {"acknowledged", "node"}),
    "stop_data_frame_analytics": (lambda es: es.ml.stop_data_frame_analytics(id="job"), {"stopped"}),
    "delete_data_frame_analytics": (lambda es: es.ml.delete_data_frame_analytics(id="job"), {"acknowledged"}),
    "evaluate_data_frame": (
        lambda es: es.ml.evaluate_data_frame(index="events", evaluation=JUDGED),
        {"classification"},
    ),
    "put_trained_model": (
        lambda es: es.ml.put_trained_model(model_id="model", **tree_model()),
        {"model_id", "model_type", "created_by", "version", "create_time", "model_size_bytes", "estimated_operations",
         "license_level", "tags", "input", "inference_config", "description"},
    ),
    "get_trained_models": (lambda es: es.ml.get_trained_models(), {"count", "trained_model_configs"}),
    "get_trained_models_stats": (lambda es: es.ml.get_trained_models_stats(), {"count", "trained_model_stats"}),
    "infer_trained_model": (
        lambda es: es.ml.infer_trained_model(model_id="model", docs=[{"field1": 1}]),
        {"inference_results"},
    ),
    "put_trained_model_alias": (
        lambda es: es.ml.put_trained_model_alias(model_id="model", model_alias="live"),
        {"acknowledged"},
    ),
    "delete_trained_model_alias": (
        lambda es: es.ml.delete_trained_model_alias(model_id="model", model_alias="live"),
        {"acknowledged"},
    ),
    "delete_trained_model": (lambda es: es.ml.delete_trained_model(model_id="model"), {"acknowledged"}),
}  # fmt: skip

# PyTorch models and their deployments: the sandbox evaluates trees.
UNSUPPORTED: dict[str, Call] = {
    "clear_trained_model_deployment_cache": lambda es: es.ml.clear_trained_model_deployment_cache(model_id="m"),
    "put_trained_model_definition_part": lambda es: es.ml.put_trained_model_definition_part(
        model_id="m", part=0, definition="AA==", total_definition_length=1, total_parts=1
    ),
    "put_trained_model_vocabulary": lambda es: es.ml.put_trained_model_vocabulary(model_id="m", vocabulary=["a"]),
    "start_trained_model_deployment": lambda es: es.ml.start_trained_model_deployment(model_id="m"),
    "stop_trained_model_deployment": lambda es: es.ml.stop_trained_model_deployment(model_id="m"),
    "update_trained_model_deployment": lambda es: es.ml.update_trained_model_deployment(model_id="m"),
}


def test_every_method_of_the_client_has_a_case() -> None:
    client = Elasticsearch("http://127.0.0.1:9200")
    methods = {name for name in dir(client.ml) if not name.startswith("_")} - {"perform_request", "transport"}
    assert methods == ANSWERED.keys() | UNSUPPORTED.keys() | ANOMALY_DETECTION


def test_the_methods_of_anomaly_detection_are_called_in_the_files_that_are_for_them() -> None:
    files = list(Path(__file__).parent.glob("test_anomaly_*.py"))
    texts = "".join(file.read_text(encoding="utf-8") for file in files)
    called = set(re.findall(r'(?:\bml\.|\(")(\w+)', texts))
    assert ANOMALY_DETECTION - called == set()


def test_each_method_answers_in_its_shape(elasticsearch: Elasticsearch) -> None:
    index_events(elasticsearch, events(60))
    for name, (call, keys) in ANSWERED.items():
        answer = call(elasticsearch)
        assert set(answer.body) == keys, name
        if name == "start_data_frame_analytics":
            wait_for(elasticsearch, "job", "stopped")


@pytest.mark.parametrize("name", sorted(UNSUPPORTED))
def test_deployments_of_language_models_answer_501_by_name(elasticsearch: Elasticsearch, name: str) -> None:
    with pytest.raises(ApiError) as refused:
        UNSUPPORTED[name](elasticsearch)
    assert refused.value.status_code == 501
    assert refused.value.body["error"]["type"] == "sandbox_unsupported"
    assert "/_ml/trained_models/m/" in refused.value.body["error"]["reason"]
