"""One job, one start, whatever happens in between, against the sandbox."""

import re
from datetime import timedelta

import pytest
from harness.task_runner import TaskRunner, WorkerKilledError, crash_after

from elastic_ml.exceptions import (
    AlreadyExistsError,
    InvalidRequestError,
    JobFailedError,
    LicenseError,
    SecurityError,
    WaitTimeoutError,
)
from elastic_ml.operators.data_frame_analytics import DataFrameAnalyticsOperator

BODY = {
    "source": {"index": ["rows"]},
    "dest": {"index": "results"},
    "analysis": {
        "classification": {
            "dependent_variable": "y",
            "num_top_classes": -1,
            "prediction_field_name": "y_hat",
            "max_trees": 5,  # what it learns is not looked at here
        }
    },
    "analyzed_fields": ["a", "b", "y"],
}


@pytest.fixture
def source(elasticsearch):
    elasticsearch.indices.create(
        index="rows",
        mappings={"properties": {"a": {"type": "double"}, "b": {"type": "double"}, "y": {"type": "keyword"}}},
    )
    lines = []
    for n in range(200):
        a, b = n % 10, (n * 7) % 13
        lines += [{"index": {"_id": str(n)}}, {"a": float(a), "b": float(b), "y": "true" if a > 5 else "false"}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)


def runner(sandbox, **more):
    arguments = {"job_id": "job", "body": BODY, "poll_interval": 0.1, **more}
    return TaskRunner(
        lambda: DataFrameAnalyticsOperator(task_id="train", **arguments),
        connections={
            "elasticsearch_default": sandbox.elasticsearch_url,
            "kibana_default": {"host": sandbox.kibana_url},
        },
    )


def sent(sandbox, method, ending):
    return [r for r in sandbox.requests if r.method == method and r.path.endswith(ending)]


def state_of(elasticsearch, job_id="job"):
    return elasticsearch.ml.get_data_frame_analytics_stats(id=job_id)["data_frame_analytics"][0]["state"]


def test_a_job_is_made_trained_and_its_model_returned(sandbox, elasticsearch, source):
    result = runner(sandbox).complete()
    assert result.state == "success", result.error
    value = result.value
    assert value["job_id"] == "job"
    assert value["documents"] == 200
    assert value["model_id"].startswith("job-")
    assert elasticsearch.ml.get_trained_models(model_id=value["model_id"])["count"] == 1


def test_the_job_carries_where_it_comes_from(sandbox, elasticsearch, source):
    runner(sandbox).complete()
    meta = elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]["_meta"]
    assert (meta["airflow_dag"], meta["airflow_task"], meta["airflow_run"]) == ("dag", "train", "manual__1")


def test_a_run_over_a_finished_job_only_reads(sandbox, elasticsearch, source):
    first = runner(sandbox).complete()
    sandbox.requests.clear()
    second = runner(sandbox).run()
    assert second.state == "success"
    assert second.value == first.value
    assert {r.method for r in sandbox.requests} == {"GET"}


REQUESTS_BEFORE_WAITING = 7
"""GET job, flavor, explain, PUT, stats, start, stats; the next test keeps this number honest."""


def test_the_crash_matrix_covers_every_request_before_the_task_waits(sandbox, elasticsearch, source):
    sandbox.faults.lazy_assignment = True
    with crash_after(1000) as sent_requests:
        assert runner(sandbox).run().state == "deferred"
    assert len(sent_requests) == REQUESTS_BEFORE_WAITING


@pytest.mark.parametrize("calls", range(REQUESTS_BEFORE_WAITING + 1))
def test_a_crash_after_any_request_gives_one_put_and_one_start(sandbox, elasticsearch, source, calls):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox)
    with crash_after(calls) as sent_requests:
        assert task.run().state == "killed"
    assert len(sent_requests) == calls
    sandbox.faults.lazy_assignment = False
    result = task.complete()
    assert result.state == "success", result.error
    assert len(sent(sandbox, "PUT", "/analytics/job")) == 1
    assert len(sent(sandbox, "POST", "/_start")) == 1
    assert elasticsearch.ml.get_trained_models(tags="job")["count"] == 1


@pytest.mark.parametrize("ending", ["PUT /_ml/data_frame/analytics/job", "POST /_ml/data_frame/analytics/job/_start"])
def test_a_lost_answer_makes_no_second_job(sandbox, elasticsearch, source, ending):
    method, path = ending.split()
    sandbox.faults.add(method=method, path=path, action="cut_after")
    result = runner(sandbox).complete()
    assert result.state == "success", result.error
    assert elasticsearch.ml.get_data_frame_analytics(id="_all")["count"] == 1
    assert elasticsearch.ml.get_trained_models(tags="job")["count"] == 1


def test_another_body_under_the_same_id_is_refused(sandbox, source):
    runner(sandbox).complete()
    result = runner(sandbox, body={**BODY, "description": "another"}).complete()
    assert isinstance(result.error, AlreadyExistsError)
    assert "job" in str(result.error)


def test_another_body_replaces_the_job_when_asked(sandbox, elasticsearch, source):
    runner(sandbox).complete()
    body = {**BODY, "description": "another", "dest": {"index": "results-2"}}
    result = runner(sandbox, body=body, if_exists="replace").complete()
    assert result.state == "success", result.error
    assert elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]["description"] == "another"


def test_a_job_of_somebody_else_fails_the_task_when_asked(sandbox, source):
    runner(sandbox).complete()
    assert isinstance(runner(sandbox, if_exists="fail").complete().error, AlreadyExistsError)


def test_if_exists_fail_still_reattaches_to_its_own_job(sandbox, source):
    task = runner(sandbox, if_exists="fail")
    with crash_after(5):
        assert task.run().state == "killed"
    assert task.complete().state == "success"


def test_an_upgraded_package_reattaches_to_the_stored_job(sandbox, elasticsearch, source):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox)
    assert task.run().state == "deferred"
    task.make_task = lambda: DataFrameAnalyticsOperator(
        task_id="train", job_id="renamed", body={**BODY, "description": "rendered anew"}, poll_interval=0.1
    )
    assert task.run().state == "deferred"
    sandbox.faults.lazy_assignment = False
    result = task.resume(task.fire())
    assert result.value["job_id"] == "job"
    assert len(sent(sandbox, "PUT", "/analytics/renamed")) == 0


def test_clearing_a_deferred_task_reattaches_and_survives_the_old_triggers_kill(sandbox, elasticsearch, source):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox)
    assert task.run().state == "deferred"
    old = task.deferral
    task.clear()
    assert task.run().state == "deferred"
    with task.environment():
        old.kill()
    assert state_of(elasticsearch) == "stopped"
    sandbox.faults.lazy_assignment = False
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.state == "success", result.error
    assert len(sent(sandbox, "PUT", "/analytics/job")) == 1


def test_a_job_that_somebody_stopped_fails_with_a_sentence_and_a_retry_goes_on(sandbox, elasticsearch, source):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox)
    assert task.run().state == "deferred"
    elasticsearch.ml.stop_data_frame_analytics(id="job")
    result = task.resume(task.fire())
    assert isinstance(result.error, JobFailedError)
    assert "stopped by somebody" in str(result.error)
    sandbox.faults.lazy_assignment = False
    assert task.complete().state == "success"


def test_the_deadline_stops_the_job(sandbox, elasticsearch, source):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox, timeout=timedelta(seconds=0.4))
    assert task.run().state == "deferred"
    result = task.resume(task.fire())
    assert isinstance(result.error, WaitTimeoutError)
    assert state_of(elasticsearch) == "stopped"


def test_execution_timeout_is_passed_on_as_the_deadline(sandbox, source):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox, execution_timeout=timedelta(seconds=60))
    import time

    left = task.run().deferral.trigger_kwargs["deadline"] - time.time()
    assert 50 < left <= 60


class TerminatedWhileWaiting(DataFrameAnalyticsOperator):
    """Gets SIGTERM, whose handler calls on_kill, as soon as it waits in the worker."""

    def _over_within(self, *args):
        self.on_kill()
        raise WorkerKilledError


@pytest.mark.parametrize(("cancel", "state"), [(True, "stopped"), (False, "starting")])
def test_killing_the_running_task_stops_the_job_unless_told_otherwise(sandbox, elasticsearch, source, cancel, state):
    sandbox.faults.lazy_assignment = True
    task = TaskRunner(
        lambda: TerminatedWhileWaiting(
            task_id="train", job_id="job", body=BODY, deferrable=False, cancel_on_kill=cancel
        ),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )
    assert task.run().state == "killed"
    assert state_of(elasticsearch) == state


def test_upgrade_mode_is_waited_for_and_nothing_fails(sandbox, elasticsearch, source):
    elasticsearch.ml.set_upgrade_mode(enabled=True)
    task = runner(sandbox)
    result = task.run()
    assert result.state == "deferred", result.error
    assert result.deferral.trigger_kwargs["kind"] == "upgrade_mode"
    elasticsearch.ml.set_upgrade_mode(enabled=False)
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.state == "success", result.error


def test_a_missing_licence_says_which(sandbox, source):
    sandbox.faults.add(
        path="/_ml/*",
        status=403,
        type="security_exception",
        reason="current license is non-compliant for [ml]",
        times=None,
    )
    error = runner(sandbox).run().error
    assert isinstance(error, LicenseError)
    assert "Platinum" in str(error)


def test_a_missing_right_is_not_taken_for_a_licence(sandbox, source):
    sandbox.faults.add(
        path="/_ml/*", status=403, type="security_exception", reason="action [x] is unauthorized", times=None
    )
    assert isinstance(runner(sandbox).run().error, SecurityError)


def test_a_memory_limit_below_the_estimate_is_raised_before_the_job_is_made(sandbox, elasticsearch, source):
    from elastic_ml.clients.remote_jobs import memory_bytes

    result = runner(sandbox, body={**BODY, "model_memory_limit": "1mb"}).complete()
    assert result.state == "success", result.error
    made = elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]
    assert memory_bytes(made["model_memory_limit"]) > memory_bytes("1mb")
    assert runner(sandbox, body={**BODY, "model_memory_limit": "1mb"}).run().value == result.value


def test_a_job_that_hits_its_memory_limit_gets_what_elasticsearch_reestimated_once(sandbox, elasticsearch, source):
    from elastic_ml.clients.elasticsearch import connect
    from elastic_ml.clients.remote_jobs import memory_bytes, put_analytics
    from elastic_ml.clients.settings import ElasticsearchSettings

    body = {**BODY, "model_memory_limit": "1mb"}
    put_analytics(connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)), "job", body)
    result = runner(sandbox, body=body).complete()
    assert result.state == "success", result.error
    made = elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]
    assert memory_bytes(made["model_memory_limit"]) > memory_bytes("1mb")
    assert len(sent(sandbox, "POST", "/_update")) == 1
    assert len(sent(sandbox, "POST", "/_start")) == 2


def test_progress_is_told_in_the_task_log_while_the_task_waits(sandbox, source, capsys):
    sandbox.faults.lazy_assignment = True
    task = runner(sandbox)
    assert task.run().state == "deferred"
    capsys.readouterr()
    with task.environment():
        import asyncio
        import threading

        threading.Timer(0.6, lambda: setattr(sandbox.faults, "lazy_assignment", False)).start()
        asyncio.run(_first_event(task.deferral.trigger()))
    lines = re.findall(r"data_frame_analytics job: (.*?)\s*\[", capsys.readouterr().out)
    assert lines[0].startswith("waiting: ")
    assert any(line.endswith(" %") for line in lines)
    assert len(lines) == len(set(lines)), "only changes are told"


async def _first_event(trigger):
    return await anext(trigger.run())


def test_both_links_are_stored_before_the_task_waits(sandbox, source):
    sandbox.faults.lazy_assignment = True
    result = runner(sandbox).run()
    assert result.state == "deferred"
    assert result.xcoms["_link_DataFrameAnalyticsLink"] == (
        f"{sandbox.kibana_url}/app/management/ml/analytics?_a=('':(queryText:'id:job'))"
    )
    assert result.xcoms["_link_IndexLink"].endswith("indexName=results")


def test_the_body_may_be_a_function_that_airflow_calls_with_the_context(sandbox, elasticsearch, source):
    def body(context, jinja_env):
        return {**BODY, "description": context["ti"].task_id}

    assert runner(sandbox, body=body).complete().state == "success"
    assert elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]["description"] == "train"


@pytest.mark.parametrize(
    ("body", "says"),
    [("{{ 1 }}", "is a str, not an object"), ({**BODY, "analysys": 1}, "unexpected keyword argument 'analysys'")],
    ids=["text", "misspelt key"],
)
def test_a_body_that_cannot_be_sent_is_refused_and_not_tried_again(sandbox, source, body, says):
    error = runner(sandbox, body=body).run().error
    assert isinstance(error, InvalidRequestError)
    assert says in str(error)
    assert sent(sandbox, "PUT", "/job") == []
