import time
from datetime import timedelta

import pytest
from airflow.sdk.module_loading import import_string
from harness.task_runner import TaskRunner

from elastic_ml.clients.esql import rows_of
from elastic_ml.exceptions import GateError, InvalidRequestError, PartialFailureError, WaitTimeoutError
from elastic_ml.operators.esql import EsqlCheckOperator, EsqlQueryOperator
from elastic_ml.sensors.esql import EsqlThresholdSensor
from elastic_ml.triggers.esql import EsqlThresholdTrigger

COUNT = "FROM predictions | WHERE status == ?status | STATS n = COUNT(*)"


@pytest.fixture
def predictions(elasticsearch):
    fields = {"model": {"type": "keyword"}, "status": {"type": "keyword"}, "ms": {"type": "double"}}
    elasticsearch.indices.create(index="predictions", mappings={"properties": fields})
    documents = [("fraud", "success", 12.0), ("fraud", "error", 90.0), ("churn", "success", 7.5)]
    add(elasticsearch, documents)


def add(elasticsearch, documents):
    lines = [
        line
        for model, status, ms in documents
        for line in ({"index": {}}, {"model": model, "status": status, "ms": ms})
    ]
    elasticsearch.bulk(index="predictions", operations=lines, refresh=True)


def runner(sandbox, operator, **arguments):
    return TaskRunner(
        lambda: operator(task_id="ask", **arguments),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        params={"status": "error"},
    )


def test_rows_come_back_as_dictionaries(sandbox, predictions):
    query = "FROM predictions | STATS slowest = MAX(ms), n = COUNT(*) BY model | SORT model"
    assert runner(sandbox, EsqlQueryOperator, query=query).run().value == [
        {"slowest": 7.5, "n": 1, "model": "churn"},
        {"slowest": 90.0, "n": 2, "model": "fraud"},
    ]


def test_values_are_parameters_and_templated(sandbox, predictions):
    task = runner(sandbox, EsqlQueryOperator, query=COUNT, parameters=[{"status": "{{ params.status }}"}])
    assert task.run().value == [{"n": 1}]


def test_a_filter_narrows_the_source(sandbox, predictions):
    query = "FROM predictions | STATS n = COUNT(*)"
    task = runner(sandbox, EsqlQueryOperator, query=query, filter={"term": {"model": "fraud"}})
    assert task.run().value == [{"n": 2}]


def test_a_wrong_query_fails_with_line_and_column(sandbox, predictions):
    error = runner(sandbox, EsqlQueryOperator, query="FROM predictions | WHERE nobody > 1").run().error
    assert isinstance(error, InvalidRequestError)
    assert "line 1:26: Unknown column [nobody]" in str(error)


def test_more_rows_than_an_xcom_should_hold_are_refused(sandbox, predictions):
    error = runner(sandbox, EsqlQueryOperator, query="FROM predictions // all", max_rows=2).run().error
    assert isinstance(error, InvalidRequestError)
    assert "more than 2 rows" in str(error)


def test_a_partial_answer_is_no_answer():
    with pytest.raises(PartialFailureError):
        rows_of({"is_partial": True, "columns": [], "values": []})


def test_rows_of_a_check_for_none_are_complaints(sandbox, predictions):
    query = 'FROM predictions | WHERE status == "error" | KEEP model, ms'
    error = runner(sandbox, EsqlCheckOperator, query=query, expect="no_rows").run().error
    assert isinstance(error, GateError)
    assert "model = 'fraud', ms = 90.0" in str(error)
    nothing = runner(sandbox, EsqlCheckOperator, query=f"{query} | WHERE ms > 1000", expect="no_rows")
    assert nothing.run().state == "success"


@pytest.mark.parametrize(("query", "state"), [("ms < 100", "success"), ("ms < 50", "failed"), ("null", "failed")])
def test_a_check_wants_every_cell_to_be_true(sandbox, predictions, query, state):
    task = runner(sandbox, EsqlCheckOperator, query=f"FROM predictions | EVAL good = {query} | KEEP good")
    assert task.run().state == state


def test_a_check_without_any_row_has_checked_nothing(sandbox, predictions):
    error = runner(sandbox, EsqlCheckOperator, query="FROM predictions | WHERE ms > 1000").run().error
    assert "no row at all" in str(error)


def sensor(sandbox, threshold, **more):
    query = "FROM predictions | STATS n = COUNT(*)"
    arguments = {"query": query, "threshold": threshold, "poll_interval": 0.05, **more}
    return runner(sandbox, EsqlThresholdSensor, **arguments)


def test_a_threshold_that_is_met_needs_no_wait(sandbox, predictions):
    assert sensor(sandbox, 3).run().value == 3.0


def test_a_threshold_is_waited_for_without_a_worker_slot(sandbox, elasticsearch, predictions):
    task = sensor(sandbox, 5)
    assert task.run().state == "deferred"
    add(elasticsearch, [("fraud", "success", 3.0)] * 2)
    sandbox.faults.add(method="POST", path="/_query", status=503, times=1)
    result = task.resume(task.fire())
    assert (result.state, result.value) == ("success", 5.0)


def test_in_the_worker_the_last_number_is_in_the_error(sandbox, predictions):
    error = sensor(sandbox, 5, deferrable=False, timeout=timedelta(seconds=0.2)).run().error
    assert isinstance(error, WaitTimeoutError)
    assert "gave 3.0 to the end; at least 5 was waited for" in str(error)


def test_a_trigger_ends_at_its_deadline_and_the_task_says_why(sandbox, predictions):
    task = sensor(sandbox, 5, timeout=timedelta(seconds=0.5))
    assert task.run().state == "deferred"
    event = task.fire()
    assert event["status"] == "timeout"
    assert isinstance(task.resume(event).error, WaitTimeoutError)


def test_no_row_and_null_are_not_met(sandbox, predictions):
    for query in (
        "FROM predictions | WHERE ms > 1e9 | STATS n = MAX(ms)",
        "FROM predictions | WHERE ms > 1e9 | KEEP ms",
    ):
        task = sensor(sandbox, 0, query=query)
        assert task.run().state == "deferred"


@pytest.mark.parametrize("query", ["FROM predictions | KEEP ms", "FROM predictions | LIMIT 1 | KEEP model"])
def test_what_is_not_one_number_is_refused(sandbox, predictions, query):
    assert isinstance(sensor(sandbox, 0, query=query).run().error, InvalidRequestError)


def test_a_query_that_becomes_wrong_while_waiting_fails_in_the_task(sandbox, elasticsearch, predictions):
    task = sensor(sandbox, 5)
    assert task.run().state == "deferred"
    elasticsearch.indices.delete(index="predictions")
    event = task.fire()
    assert event["status"] == "look"
    assert "Unknown index [predictions]" in str(task.resume(event).error)


def test_the_trigger_survives_serialisation():
    made = EsqlThresholdTrigger("FROM a | STATS n = COUNT(*)", "above", 1, "c", 2, parameters=["x"], filter={"a": 1})
    path, arguments = made.serialize()
    again = import_string(path)(**arguments)
    assert vars(again).items() >= arguments.items()
    assert again.serialize() == made.serialize()


def test_a_misspelt_comparison_is_refused_when_the_dag_is_parsed():
    with pytest.raises(ValueError, match="at_least"):
        EsqlThresholdSensor(task_id="s", query="", threshold=1, comparison="more")
    with pytest.raises(ValueError, match="no_rows"):
        EsqlCheckOperator(task_id="c", query="", expect="nothing")


def test_a_threshold_that_is_no_number_once_it_is_rendered_is_refused(sandbox, predictions):
    error = sensor(sandbox, "{{ 'many' }}").run().error
    assert isinstance(error, InvalidRequestError)
    assert "is 'many'. Write a number" in str(error)


@pytest.mark.parametrize("wrong", [{"poll_interval": 0}, {"timeout": 30}, {"timeout": timedelta(seconds=-1)}], ids=str)
def test_times_that_make_no_sense_are_refused_when_the_dag_is_parsed(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is .*: write"):
        EsqlThresholdSensor(task_id="t", query="ROW n = 1", threshold=1, **wrong)


def test_a_busy_cluster_is_not_asked_beyond_the_deadline(sandbox, elasticsearch, predictions):
    """The client's own retries would go on for minutes, beside the trigger's loop."""
    task = sensor(sandbox, 5, timeout=timedelta(seconds=0.4), poll_interval=0.1)
    assert task.run().state == "deferred"
    sandbox.faults.add(method="POST", path="/_query", status=503, times=None)
    began = time.monotonic()
    assert task.fire()["status"] == "timeout"
    assert time.monotonic() - began < 0.9
