"""The registry stream: each event once, and none lost without a word."""

from typing import Any

import pytest

from elastic_ml.exceptions import IngestError, NotReadyError
from elastic_ml.registry.events import decision_on, deterministic_id, events_of, write_event

VERSION = "misuse-20261116-abcdef01-1"


def record(clinic: Any, event_type: Any = "registered", **more: Any) -> bool:
    event: dict[str, Any] = {"event_id": deterministic_id(event_type, VERSION), "model_version": VERSION, **more}
    return write_event(clinic.client, clinic.names, event_type=event_type, model_name="misuse", **event)


def test_an_event_is_recorded_once_also_when_the_stream_rolled_over_in_between(clinic: Any) -> None:
    assert record(clinic) is True
    assert record(clinic) is False
    clinic.client.indices.rollover(alias=clinic.names.registry)
    assert record(clinic) is False
    (event,) = events_of(clinic.client, clinic.names, VERSION)
    assert event["environment"] == clinic.names.environment


def test_an_event_that_only_the_failure_store_took_is_an_error(clinic: Any) -> None:
    """Elasticsearch answers 201 for it, and nobody who reads the registry would ever see it."""
    refusing = {"processors": [{"fail": {"message": "no"}}]}
    clinic.client.ingest.put_pipeline(id=clinic.names.ml_logs_normalize, body=refusing)
    with pytest.raises(IngestError, match=r"could not index the event rejected of misuse-20261116.*failure store"):
        record(clinic, "rejected")


def test_without_its_stream_the_registry_says_what_to_run(clinic: Any) -> None:
    clinic.client.indices.delete_data_stream(name=clinic.names.registry)
    with pytest.raises(NotReadyError, match="elastic_setup with mode=apply"):
        record(clinic)
    assert events_of(clinic.client, clinic.names, VERSION) == []


def test_the_last_word_on_a_version_counts_and_a_failed_deployment_is_none(clinic: Any) -> None:
    record(clinic, "deployed", status="error")
    assert decision_on(clinic.client, clinic.names, VERSION) is None
    record(clinic, "rejected")
    assert decision_on(clinic.client, clinic.names, VERSION) == "rejected"
    record(clinic, "deployed", event_id="second")
    assert decision_on(clinic.client, clinic.names, VERSION) == "promoted"
