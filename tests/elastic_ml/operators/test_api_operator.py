from datetime import UTC, datetime

import pytest
from airflow.sdk import DAG, task
from elasticsearch import Elasticsearch
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import InvalidRequestError, JobFailedError, NotFoundError, PartialFailureError
from elastic_ml.operators.api import ElasticsearchApiOperator, apis, method_of


def runner(sandbox, api, arguments=None, **more):
    return TaskRunner(
        lambda: ElasticsearchApiOperator(
            task_id="call", api=api, arguments=arguments, poll_interval=0.05, defer_after=0, **more
        ),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        params={"index": "shelf"},
    )


def books(elasticsearch, number=50):
    elasticsearch.indices.create(index="shelf", mappings={"properties": {"n": {"type": "integer"}}})
    operations = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"n": n})]
    elasticsearch.bulk(index="shelf", operations=operations, refresh=True)


COPY = {"source": {"index": "shelf"}, "dest": {"index": "copy"}, "wait_for_completion": False}


def test_the_answer_is_the_result_and_arguments_are_templated(sandbox, elasticsearch):
    books(elasticsearch)
    result = runner(sandbox, "count", {"index": "{{ params.index }}", "query": {"range": {"n": {"lt": 10}}}}).run()
    assert result.state == "success"
    assert result.value["count"] == 10


def test_a_head_request_gives_a_boolean(sandbox):
    assert runner(sandbox, "indices.exists", {"index": "nothing"}).run().value is False


def test_text_is_wrapped_since_a_result_is_json(sandbox, elasticsearch):
    books(elasticsearch)
    value = runner(sandbox, "cat.indices", {"index": "shelf", "format": "json"}).run().value
    assert value[0]["index"] == "shelf"


def test_a_task_of_the_server_is_waited_for_without_a_worker_slot(sandbox, elasticsearch):
    books(elasticsearch)
    task = runner(sandbox, "reindex", {**COPY, "requests_per_second": 500, "source": {"index": "shelf", "size": 10}})
    first = task.run()
    assert first.state == "deferred"
    assert first.deferral.trigger_kwargs["kind"] == "task"
    result = task.resume(task.fire())
    assert result.state == "success", result.error
    assert result.value["created"] == 50


def test_a_lost_answer_and_a_crash_start_no_second_task(sandbox, elasticsearch):
    books(elasticsearch)
    sandbox.faults.add(method="POST", path="/_reindex", action="cut_after", times=1)
    slow = {**COPY, "source": {"index": "shelf", "size": 5}, "requests_per_second": 100}
    task = runner(sandbox, "reindex", slow)
    first = task.run()
    assert first.state == "deferred", first.error
    again = task.run()
    assert again.state in {"deferred", "success"}, again.error
    if again.state == "deferred":
        again = task.resume(task.fire())
    assert again.value["created"] == 50
    assert len(sandbox.requests.matching("POST", "/_reindex")) == 1


def test_killing_the_deferred_task_stops_the_servers(sandbox, elasticsearch):
    books(elasticsearch)
    task = runner(sandbox, "reindex", {**COPY, "source": {"index": "shelf", "size": 5}, "requests_per_second": 10})
    assert task.run().state == "deferred"
    task.kill_deferred()
    (task_id,) = {entry.path.split("/")[2] for entry in sandbox.requests.matching("POST", "/_tasks/*/_cancel")}
    assert elasticsearch.tasks.get(task_id=task_id.replace("%3A", ":"), wait_for_completion=True)["completed"]
    # It may have been stopped before it made the index.
    assert elasticsearch.count(index="copy", ignore_unavailable=True)["count"] < 50


def test_a_crash_right_after_the_start_finds_the_task_again(sandbox, elasticsearch):
    books(elasticsearch)
    task = runner(sandbox, "reindex", {**COPY, "source": {"index": "shelf", "size": 10}, "requests_per_second": 100})
    with crash_after(1, only="POST /_reindex"):
        assert task.run().state == "killed"
    result = task.complete()
    assert result.state == "success", result.error
    assert result.value["created"] == 50
    assert len(sandbox.requests.matching("POST", "/_reindex")) == 1


def test_a_failed_task_is_an_error_with_its_reason(sandbox, elasticsearch):
    books(elasticsearch)
    elasticsearch.indices.create(index="copy", mappings={"dynamic": "strict"})
    result = runner(sandbox, "reindex", COPY).complete()
    assert isinstance(result.error, JobFailedError)
    assert "strict" in str(result.error)


def test_a_retry_after_a_failed_task_starts_another(sandbox, elasticsearch):
    books(elasticsearch)
    elasticsearch.indices.create(index="copy", mappings={"dynamic": "strict"})
    task = runner(sandbox, "reindex", COPY)
    assert isinstance(task.complete().error, JobFailedError)
    elasticsearch.indices.put_mapping(index="copy", dynamic=True)
    assert task.complete().value["created"] == 50


def test_wait_for_completion_of_a_method_without_a_task_is_explained(sandbox, elasticsearch):
    books(elasticsearch)
    arguments = {"index": "shelf", "wait_for_completion": False}
    assert runner(sandbox, "count", arguments).run().state == "failed"


def test_a_misspelt_method_names_the_nearest_one(sandbox):
    error = runner(sandbox, "ml.put_calender", {"calendar_id": "x"}).run().error
    assert isinstance(error, InvalidRequestError)
    assert "'ml.put_calendar'" in str(error)


@pytest.mark.parametrize("api", ["close", "options", "__init__", "ml._client.close", "ml.", "", "perform_request"])
def test_what_is_no_api_is_refused(api):
    with Elasticsearch("http://127.0.0.1:1") as client, pytest.raises(InvalidRequestError):
        method_of(client, api)


def test_a_wrong_argument_is_refused_before_anything_is_sent(sandbox):
    error = runner(sandbox, "indices.delete", {"idnex": "x"}).run().error
    assert isinstance(error, InvalidRequestError)
    assert "idnex" in str(error)
    assert sandbox.requests.matching("DELETE", "/*") == []


def test_an_ignored_status_is_an_answer(sandbox):
    assert isinstance(runner(sandbox, "indices.delete", {"index": "nothing"}).run().error, NotFoundError)
    value = runner(sandbox, "indices.delete", {"index": "nothing"}, ignore_status=[404]).run().value
    assert value["status"] == 404


def test_every_method_of_the_client_can_be_named():
    with Elasticsearch("http://127.0.0.1:1") as client:
        names = apis(client)
        assert {"search", "ml.put_job", "esql.query", "indices.put_data_lifecycle"} <= set(names)
        assert len(names) > 400
        assert all(callable(method_of(client, name)) for name in names)


def test_the_arguments_may_be_another_tasks_result(sandbox, elasticsearch):
    books(elasticsearch)

    @task
    def ask():
        return {"index": "shelf"}

    with DAG("d", schedule=None):
        assert ElasticsearchApiOperator(task_id="call", api="count", arguments=ask()).upstream_task_ids == {"ask"}
    made = TaskRunner(
        lambda: ElasticsearchApiOperator(task_id="call", api="count", arguments=ask()),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        xcoms={("ask", "return_value"): {"index": "shelf"}},
    )
    assert made.run().value["count"] == 50


def test_times_in_arguments_are_sent_as_the_client_writes_them(sandbox, elasticsearch):
    books(elasticsearch)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    result = runner(sandbox, "count", {"index": "shelf", "query": {"range": {"at": {"gte": since}}}}).run()
    assert result.value["count"] == 0
    [asked] = [r for r in sandbox.requests if r.path == "/shelf/_count"]
    assert asked.body["query"]["range"]["at"]["gte"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"index": "shelf", "query": {"terms": {"n": {1}}}}, "are no JSON: {1} is a set"),
        ("{{ params.index }}", "are a str, not an object. One template"),
        (["shelf"], "are a list, not an object"),
    ],
    ids=["set", "text", "list"],
)
def test_arguments_that_cannot_be_kept_are_refused_before_anything_is_sent(sandbox, arguments, says):
    error = runner(sandbox, "count", arguments).run().error
    assert isinstance(error, InvalidRequestError)
    assert says in str(error)
    assert list(sandbox.requests) == []


def test_a_bulk_request_that_left_items_undone_fails_and_names_them(sandbox, elasticsearch):
    books(elasticsearch, 2)
    lines = [{"create": {"_id": "0"}}, {"n": 0}, {"index": {"_id": "9"}}, {"n": "no number"}, {"index": {}}, {"n": 3}]
    result = runner(sandbox, "bulk", {"index": "shelf", "operations": lines, "refresh": True}).run()
    assert isinstance(result.error, PartialFailureError)
    assert list(result.error.failures) == ["item 0, create of 0 in shelf", "item 1, index of 9 in shelf"]
    assert "version_conflict_engine_exception" in str(result.error)
    assert elasticsearch.count(index="shelf")["count"] == 3, "what could be done was done"
    known = runner(sandbox, "bulk", {"index": "shelf", "operations": lines[:2]}, ignore_status=[409]).run()
    assert known.state == "success", "there already, and that is no error to whoever says so"


def test_a_method_that_gives_a_secret_is_refused_before_anything_is_sent(sandbox):
    task = runner(sandbox, "security.create_api_key", {"name": "ingest"})
    sandbox.requests.clear()
    result = task.run()
    assert isinstance(result.error, InvalidRequestError)
    assert "ElasticHook" in str(result.error)
    assert not [entry for entry in sandbox.requests if "api_key" in entry.path]
