"""A failed task is told: once, as an alert document and through a connector, without secrets."""

from typing import Any

import pytest
from airflow.sdk.log import mask_secret
from harness.task_runner import TaskRunner

from elastic_ml.notifications.failure import ElasticFailureNotifier
from elastic_ml.operators.esql import EsqlCheckOperator

ALERTS = "logs-ml.alerts-default"
CONNECTOR = "9c3c7c3e-5b0a-4c9e-8f0e-2f4b1f3c9a11"


@pytest.fixture
def alerts(elasticsearch):
    fields = {"@timestamp": {"type": "date"}, "kind": {"type": "keyword"}, "message": {"type": "text"}}
    elasticsearch.indices.put_index_template(
        name="alerts",
        index_patterns=[ALERTS],
        data_stream={},
        priority=501,
        template={"mappings": {"properties": fields}},
    )
    elasticsearch.indices.create_data_stream(name=ALERTS)


def failing(sandbox, notifier: ElasticFailureNotifier, **more: Any) -> TaskRunner:
    query = 'ROW person = "ana" | WHERE person IS NOT NULL'
    return TaskRunner(
        lambda: EsqlCheckOperator(task_id="check", query=query, expect="no_rows", on_failure_callback=notifier, **more),
        connections={
            "elasticsearch_default": sandbox.elasticsearch_url,
            "kibana_default": {"conn_type": "kibana", "host": sandbox.kibana_url},
        },
    )


def written(elasticsearch) -> list[dict[str, Any]]:
    elasticsearch.indices.refresh(index=ALERTS)
    return [hit["_source"] for hit in elasticsearch.search(index=ALERTS)["hits"]["hits"]]


def test_a_failure_is_an_alert_document_with_its_reason(sandbox, elasticsearch, alerts):
    assert failing(sandbox, ElasticFailureNotifier()).run().state == "failed"
    [alert] = written(elasticsearch)
    assert (alert["kind"], alert["event_type"], alert["status"]) == ("rule", "task_failed", "error")
    assert alert["message"].startswith("Task dag.check of run manual__1 failed: Check check failed: person = 'ana'.")
    assert alert["labels"]["airflow_task"] == "check"


def test_telling_it_twice_writes_one_document(sandbox, elasticsearch, alerts):
    for _ in range(2):
        failing(sandbox, ElasticFailureNotifier()).run()
    assert len(written(elasticsearch)) == 1


def test_a_masked_value_stays_masked(sandbox, elasticsearch, alerts):
    mask_secret("hunter2-and-more")
    failing(sandbox, ElasticFailureNotifier(message="the password is hunter2-and-more")).run()
    assert written(elasticsearch)[0]["message"] == "the password is ***"


def test_a_connector_is_executed_with_rendered_parameters(sandbox):
    from elastic_ml.clients.kibana import KibanaClient
    from elastic_ml.clients.settings import KibanaSettings

    with KibanaClient(KibanaSettings(url=sandbox.kibana_url)) as kibana:
        kibana.request(
            "POST",
            f"/api/actions/connector/{CONNECTOR}",
            body={"name": "log", "connector_type_id": ".server-log", "config": {}, "secrets": {}},
        )
    params = {"message": "{{ ti.task_id }} failed", "level": "error"}
    failing(sandbox, ElasticFailureNotifier(alerts=None, connector_id=CONNECTOR, connector_params=params)).run()
    assert list(sandbox.backend.kibana.server_log) == [("error", "Server log: check failed")]


def test_what_could_not_be_told_does_not_keep_the_rest_from_being_told(sandbox, elasticsearch, alerts, capsys):
    result = failing(sandbox, ElasticFailureNotifier(connector_id=CONNECTOR)).run()
    assert result.state == "failed"
    assert len(written(elasticsearch)) == 1
    assert "A failure could not be told everywhere: connector:" in capsys.readouterr().out


def test_a_notifier_that_tells_nobody_is_refused():
    with pytest.raises(ValueError, match="nobody would hear"):
        ElasticFailureNotifier(alerts=None)


def test_one_notifier_of_several_tasks_tells_each_failure_in_its_own_words(sandbox, elasticsearch, alerts):
    """Airflow renders in place, and a DAG processor calls one notifier for several runs."""
    notifier = ElasticFailureNotifier(message="run {{ run_id }} failed")
    for run in ("first", "second"):
        task = failing(sandbox, notifier)
        task.run_id = task.api.dag_run["run_id"] = run
        task.run()
    assert {alert["message"] for alert in written(elasticsearch)} == {"run first failed", "run second failed"}
