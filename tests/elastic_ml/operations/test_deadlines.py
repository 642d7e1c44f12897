"""A run that is not done in time leaves one alert document."""

import asyncio
import json
from datetime import timedelta

import pytest
from airflow.sdk.definitions.deadline import DeadlineReference
from airflow.sdk.module_loading import import_string
from clinic.operations import Operations

from elastic_ml.notifications.deadline import deadline, missed

CONTEXT = {"dag_run": {"dag_id": "elastic_health", "dag_run_id": "scheduled__1"}, "deadline": {"id": "x"}}


def test_a_missed_deadline_is_an_alert_and_a_second_call_adds_none(
    clinic: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "elastic", "host": clinic.sandbox.elasticsearch_url}
    monkeypatch.setenv("AIRFLOW_CONN_ELASTICSEARCH_DEFAULT", json.dumps(connection))
    given = {"elastic_conn_id": "elasticsearch_default", "alerts": clinic.names.alerts, "seconds": 900.0}
    for _ in range(2):
        asyncio.run(missed(**given, context=CONTEXT))
    (alert,) = clinic.documents(clinic.names.alerts)
    assert (alert["event_type"], alert["status"], alert["name"]) == ("deadline", "error", "elastic_health")
    assert "scheduled__1 of elastic_health is not done 0:15:00 after it was queued" in alert["message"]


def test_the_deadline_counts_from_the_queue_and_names_a_callback_that_is_there() -> None:
    alert = deadline(timedelta(hours=1), elastic_conn_id="elasticsearch_default", alerts="logs-ml.alerts-default")
    assert alert.reference == DeadlineReference.DAGRUN_QUEUED_AT
    assert import_string(alert.callback.path) is missed
    assert alert.callback.kwargs["seconds"] == 3600


def test_airflow_dags_test_runs_without_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["airflow", "dags", "test", "elastic_setup"])
    assert deadline(timedelta(hours=1), elastic_conn_id="elasticsearch_default", alerts="x") is None
