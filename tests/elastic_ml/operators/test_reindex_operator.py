"""Crash, kill, clear, lock and failure of a reindex, against the sandbox."""

import pytest
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import JobFailedError, WaitTimeoutError
from elastic_ml.operators.reindex import ReindexOperator

ROWS = 300


@pytest.fixture
def source(elasticsearch):
    elasticsearch.indices.create(index="rows", mappings={"properties": {"n": {"type": "long"}}})
    elasticsearch.indices.create(index="copy", mappings={"properties": {"n": {"type": "long"}}})
    lines = []
    for n in range(ROWS):
        lines += [{"index": {"_id": str(n)}}, {"n": n}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)


def runner(sandbox, **more):
    arguments = {"source": "rows", "dest": "copy", "poll_interval": 0.1, **more}
    return TaskRunner(
        lambda: ReindexOperator(task_id="copy", **arguments),
        connections={
            "elasticsearch_default": sandbox.elasticsearch_url,
            "kibana_default": {"host": sandbox.kibana_url},
        },
    )


def posts(sandbox):
    return [r for r in sandbox.requests if r.method == "POST" and r.path == "/_reindex"]


SLOW = {"requests_per_second": 1}
"""A reindex that is still at work when the task looks."""


def test_documents_are_copied_and_counted(sandbox, elasticsearch, source):
    result = runner(sandbox).complete()
    assert result.state == "success"
    assert result.value["documents"] == ROWS
    assert elasticsearch.count(index="copy")["count"] == ROWS


def test_only_what_the_query_finds_is_copied(sandbox, elasticsearch, source):
    result = runner(sandbox, query={"range": {"n": {"lt": 10}}}).complete()
    assert result.value["documents"] == 10


def test_running_it_again_copies_nothing_twice(sandbox, elasticsearch, source):
    runner(sandbox).complete()
    again = runner(sandbox).complete()
    assert (again.value["documents"], again.value["skipped"]) == (ROWS, ROWS)


def test_the_state_is_stored_before_anything_is_sent(sandbox, source):
    task = runner(sandbox)
    with crash_after(0) as sent:
        assert task.run().state == "killed"
    assert sent == []
    assert task.api.state_store["remote_job"]["spec"]["dest"] == {"index": "copy"}


REQUESTS_BEFORE_WAITING = 4
"""Flavor, list of tasks, reindex, status; the next test keeps this number honest."""


def test_the_crash_matrix_covers_every_request_before_the_task_waits(sandbox, source):
    with crash_after(1000) as sent:
        assert runner(sandbox, **SLOW).run().state == "deferred"
    assert len(sent) == REQUESTS_BEFORE_WAITING


@pytest.mark.parametrize("calls", range(REQUESTS_BEFORE_WAITING + 1))
def test_a_crash_after_any_request_leaves_one_task_and_no_duplicate(sandbox, elasticsearch, source, calls):
    # Slow enough to be at work when the next try looks, fast enough to end.
    task = runner(sandbox, requests_per_second=ROWS / 0.8)
    with crash_after(calls) as sent:
        assert task.run().state == "killed"
    assert len(sent) == calls
    # On a busy machine it may be over before the next try looks.
    result = task.complete()
    assert len(posts(sandbox)) == 1
    assert result.state == "success"
    assert result.value["documents"] == ROWS


def test_a_crash_after_the_end_reads_the_stored_result(sandbox, elasticsearch, source):
    task = runner(sandbox, deferrable=False)
    with crash_after(1, only="copy/_refresh"):
        assert task.run().state == "killed"
    result = task.run()
    assert result.state == "success"
    assert (result.value["documents"], result.value["created"]) == (ROWS, ROWS)
    assert len(posts(sandbox)) == 1


def test_a_lost_answer_finds_the_task_that_was_started(sandbox, elasticsearch, source):
    sandbox.faults.add(method="POST", path="/_reindex", action="cut_after")
    result = runner(sandbox, **SLOW).run()
    assert result.state == "deferred"
    assert len(posts(sandbox)) == 1


def test_clearing_a_deferred_task_reattaches_and_survives_the_old_triggers_kill(sandbox, elasticsearch, source):
    task = runner(sandbox, **SLOW)
    assert task.run().state == "deferred"
    old = task.deferral
    task.clear()
    second = task.run()
    assert second.state == "deferred"
    assert second.deferral.trigger_kwargs["job_id"] == old.trigger_kwargs["job_id"]
    with task.environment():
        old.kill()
    third = task.resume(task.fire())
    assert third.state == "deferred"
    assert third.deferral.trigger_kwargs["job_id"] != old.trigger_kwargs["job_id"]
    assert len(posts(sandbox)) == 2


def test_a_task_that_somebody_cancelled_fails_with_a_sentence(sandbox, elasticsearch, source):
    task = runner(sandbox, **SLOW)
    deferred = task.run().deferral
    elasticsearch.tasks.cancel(task_id=deferred.trigger_kwargs["job_id"])
    result = task.resume(task.fire())
    assert isinstance(result.error, JobFailedError)
    assert "stopped by somebody" in str(result.error)


def test_the_deadline_cancels_the_task(sandbox, elasticsearch, source):
    from datetime import timedelta

    task = runner(sandbox, timeout=timedelta(seconds=0.5), **SLOW)
    deferred = task.run().deferral
    result = task.resume(task.fire())
    assert isinstance(result.error, WaitTimeoutError)
    status = elasticsearch.tasks.get(task_id=deferred.trigger_kwargs["job_id"], wait_for_completion=True, timeout="10s")
    assert status["completed"]


def test_waiting_in_the_worker_has_the_same_deadline(sandbox, elasticsearch, source):
    from datetime import timedelta

    result = runner(sandbox, timeout=timedelta(seconds=0.5), deferrable=False, **SLOW).run()
    assert isinstance(result.error, WaitTimeoutError)


def test_documents_that_the_pipeline_refuses_fail_the_task_in_the_servers_words(sandbox, elasticsearch, source):
    elasticsearch.ingest.put_pipeline(id="refuse", processors=[{"fail": {"message": "not this one"}}])
    result = runner(sandbox, pipeline="refuse").complete()
    assert isinstance(result.error, JobFailedError)
    assert "not this one" in str(result.error)


def test_the_link_is_stored_before_the_task_waits(sandbox, source):
    result = runner(sandbox, **SLOW).run()
    assert result.state == "deferred"
    assert result.xcoms["_link_IndexLink"] == (
        f"{sandbox.kibana_url}/app/management/data/index_management/indices/index_details?indexName=copy"
    )


def test_a_full_disk_is_not_retried(sandbox, elasticsearch, source):
    sandbox.faults.flood_stage_pattern = "copy"
    result = runner(sandbox).complete()
    assert result.state == "failed"
    assert "flood" in str(result.error).lower()
