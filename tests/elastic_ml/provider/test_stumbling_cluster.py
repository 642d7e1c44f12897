"""Operators of remote work on a cluster that is busy, has no licence, forgets what it was given, or says new words."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from harness.task_runner import TaskRunner

from elastic_ml.clients import elasticsearch as client
from elastic_ml.clients import job_states
from elastic_ml.exceptions import ElasticMLError, JobFailedError, LicenseError
from elastic_ml.operators.api import ElasticsearchApiOperator
from elastic_ml.operators.data_frame_analytics import DataFrameAnalyticsOperator
from elastic_ml.operators.desired_state import ApplyObjectsOperator
from elastic_ml.operators.enrich import ExecuteEnrichPolicyOperator
from elastic_ml.operators.reindex import ReindexOperator

ANALYTICS = {
    "source": {"index": "rows"},
    "dest": {"index": "scored"},
    "analysis": {"classification": {"dependent_variable": "y", "max_trees": 5}},
}
COPY = {"source": {"index": "rows"}, "dest": {"index": "by-api"}, "wait_for_completion": False}
WORK: dict[str, Callable[[], Any]] = {
    "analytics": lambda: DataFrameAnalyticsOperator(task_id="t", job_id="job", body=ANALYTICS, poll_interval=0.1),
    "reindex": lambda: ReindexOperator(task_id="t", source="rows", dest="copy", poll_interval=0.1),
    "enrich": lambda: ExecuteEnrichPolicyOperator(task_id="t", policy="people", poll_interval=0.1),
    "any other": lambda: ElasticsearchApiOperator(task_id="t", api="reindex", arguments=COPY, poll_interval=0.1),
    "desired state": lambda: ApplyObjectsOperator(
        task_id="t", objects=[{"kind": "ilm_policy", "name": "p", "body": {"phases": {}}}], mode="apply"
    ),
}


@pytest.fixture
def world(sandbox, elasticsearch, monkeypatch):
    monkeypatch.setattr(client, "_wait_before_retry", lambda *_: 0.01)
    fields = {"a": {"type": "double"}, "y": {"type": "keyword"}}
    elasticsearch.indices.create(index="rows", mappings={"properties": fields})
    lines: list[Any] = []
    for n in range(60):
        lines += [{"index": {"_id": str(n)}}, {"a": float(n % 10), "y": "true" if n % 10 > 5 else "false"}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)
    match = {"indices": "rows", "match_field": "y", "enrich_fields": ["a"]}
    elasticsearch.enrich.put_policy(name="people", match=match)
    sandbox.requests.clear()
    return sandbox


def runner(sandbox, make: Callable[[], Any]) -> TaskRunner:
    return TaskRunner(make, connections={"elasticsearch_default": sandbox.elasticsearch_url})


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("work", WORK)
def test_a_burst_of_refusals_is_survived_and_nothing_is_done_twice(world, work: str, status: int):
    world.faults.add(status=status, times=3)
    result = runner(world, WORK[work]).complete()
    assert result.state == "success", result.error
    done = [f"{r.method} {r.path}" for r in world.requests if r.status < 300 and r.method in {"PUT", "POST"}]
    assert [line for line in set(done) if done.count(line) > 1] == []


@pytest.mark.parametrize("work", ["analytics", "enrich"])
def test_a_licence_that_lacks_the_feature_is_named_and_nothing_is_left(world, work: str):
    world.faults.add(
        status=403, type="security_exception", reason="current license is non-compliant for [ml]", times=None
    )
    result = runner(world, WORK[work]).complete()
    assert isinstance(result.error, LicenseError)
    assert result.state == "failed", "no retry buys a licence"
    assert "Platinum" in str(result.error)


def test_work_that_somebody_deletes_while_it_is_waited_for_can_be_started_again(world, elasticsearch):
    world.faults.lazy_assignment = True
    task = runner(world, WORK["analytics"])
    assert task.run().state == "deferred"
    elasticsearch.ml.delete_data_frame_analytics(id="job", force=True)
    result = task.resume(task.fire())
    assert isinstance(result.error, JobFailedError)
    assert "Somebody deleted it, or its node left: clear the task to start it again." in str(result.error)
    world.faults.lazy_assignment = False
    task.clear()
    assert task.complete().state == "success"


READERS: Mapping[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "data_frame_analytics": (job_states.analytics_status, {"id": "x", "state": "dreaming"}),
    "transform": (job_states.transform_status, {"id": "x", "state": "dreaming"}),
    "anomaly_job": (job_states.anomaly_job_status, {"job_id": "x", "state": "dreaming"}),
    "datafeed": (job_states.datafeed_status, {"datafeed_id": "x", "state": "dreaming"}),
    "forecast": (job_states.forecast_status, {"forecast_id": "x", "forecast_status": "dreaming"}),
}


@pytest.mark.parametrize("kind", READERS)
def test_a_state_of_a_newer_server_fails_that_task_and_no_other(kind: str):
    read, stats = READERS[kind]
    with pytest.raises(ElasticMLError, match=r"'dreaming'\. A newer Elasticsearch may have introduced it: upgrade"):
        read(stats)
    among_others = job_states.readable(kind, stats)
    assert (among_others.failed, "dreaming" in among_others.reason) == (True, True)
