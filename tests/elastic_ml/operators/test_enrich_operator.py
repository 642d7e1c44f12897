import pytest
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import NotFoundError
from elastic_ml.operators.enrich import ExecuteEnrichPolicyOperator


@pytest.fixture
def policy(elasticsearch):
    elasticsearch.indices.create(
        index="labels", mappings={"properties": {"id": {"type": "keyword"}, "verdict": {"type": "keyword"}}}
    )
    elasticsearch.index(index="labels", id="1", document={"id": "1", "verdict": "none"}, refresh=True)
    elasticsearch.enrich.put_policy(
        name="by-id", match={"indices": "labels", "match_field": "id", "enrich_fields": ["verdict"]}
    )


def runner(sandbox, policy="by-id", **more):
    return TaskRunner(
        lambda: ExecuteEnrichPolicyOperator(task_id="enrich", policy=policy, poll_interval=0.1, **more),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )


def joined(elasticsearch):
    answer = elasticsearch.ingest.simulate(
        pipeline={"processors": [{"enrich": {"policy_name": "by-id", "field": "id", "target_field": "label"}}]},
        docs=[{"_source": {"id": "2"}}],
    )
    return answer["docs"][0]["doc"]["_source"].get("label")


def test_an_execution_makes_new_documents_joinable(sandbox, elasticsearch, policy):
    assert runner(sandbox).complete().value == {"policy": "by-id"}
    assert joined(elasticsearch) is None
    elasticsearch.index(index="labels", id="2", document={"id": "2", "verdict": "confirmed"}, refresh=True)
    assert joined(elasticsearch) is None
    assert runner(sandbox).complete().state == "success"
    assert joined(elasticsearch)["verdict"] == "confirmed"


def test_a_lock_is_waited_for_without_a_worker_slot(sandbox, policy):
    reason = "Could not obtain lock because policy execution for [by-id] is already in progress."
    sandbox.faults.add(
        method="PUT",
        path="/_enrich/policy/by-id/_execute",
        status=429,
        type="es_rejected_execution_exception",
        reason=reason,
    )
    task = runner(sandbox)
    result = task.run()
    assert result.state == "deferred"
    assert result.deferral.trigger_kwargs["kind"] == "pause"
    result = task.resume(task.fire())
    while result.state == "deferred":
        result = task.resume(task.fire())
    assert result.state == "success", result.error


def test_a_policy_that_is_not_there_fails_with_its_name(sandbox):
    error = runner(sandbox, policy="nobody").run().error
    assert isinstance(error, NotFoundError)
    assert "nobody" in str(error)


def test_a_try_after_a_crash_executes_once_more_and_needs_no_task(sandbox, policy):
    """The cluster keeps no result of an execution, so only an answer proves one."""
    task = runner(sandbox)
    with crash_after(1, only="PUT /_enrich"):
        assert task.run().state == "killed"
    assert task.run().state == "success"
    assert len(sandbox.requests.matching("PUT", "/_enrich/policy/*/_execute")) == 2
    assert sandbox.requests.matching("GET", "/_tasks*") == []
