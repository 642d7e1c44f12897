"""What users of other tools report about analytics jobs and models, each with a test of its name."""

from typing import Any

import pytest
from harness.task_runner import TaskRunner

from elastic_ml.exceptions import JobFailedError
from elastic_ml.operators.api import ElasticsearchApiOperator
from elastic_ml.operators.data_frame_analytics import DataFrameAnalyticsOperator
from elastic_ml.operators.desired_state import ApplyObjectsOperator

BODY: dict[str, Any] = {
    "source": {"index": ["rows"], "query": {"range": {"a": {"lt": 9}}}},
    "dest": {"index": "results"},
    "analysis": {"classification": {"dependent_variable": "y", "num_top_classes": -1, "max_trees": 5}},
    "analyzed_fields": ["a", "y"],
}


@pytest.fixture
def rows(elasticsearch):
    fields = {"a": {"type": "double"}, "y": {"type": "keyword"}}
    elasticsearch.indices.create(index="rows", mappings={"properties": fields})
    lines: list[Any] = []
    for n in range(120):
        lines += [{"index": {"_id": str(n)}}, {"a": float(n % 10), "y": "true" if n % 10 > 5 else "false"}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)


def run(sandbox, operator, **arguments: Any) -> Any:
    runner = TaskRunner(
        lambda: operator(task_id="task", **arguments),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )
    result = runner.complete()
    if result.error:
        raise result.error
    return result.value


def train(sandbox, job_id: str = "job", **more: Any) -> Any:
    body = {**BODY, "dest": {"index": f"results-{job_id}"}, **more}
    return run(sandbox, DataFrameAnalyticsOperator, job_id=job_id, body=body, poll_interval=0.1)


def requests_of(sandbox, method: str, ending: str) -> list[Any]:
    return [entry for entry in sandbox.requests if entry.method == method and entry.path.endswith(ending)]


def test_pain_create_is_not_idempotent(sandbox, rows):
    """elastic/elasticsearch#128109: applying a job again reads it, and trains no second model."""
    first = train(sandbox)
    sandbox.requests.clear()
    assert train(sandbox) == first
    assert {entry.method for entry in sandbox.requests} == {"GET"}


def test_pain_the_memory_limit_is_guesswork(sandbox, elasticsearch, rows):
    """elastic/elasticsearch#61505, elastic/elasticsearch#44699: a limit below the estimate is only a warning at start,
    and what is needed is known after reindexing; it is asked and the limit raised before PUT.
    """
    train(sandbox, model_memory_limit="1mb")
    job = elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]
    assert job["model_memory_limit"] != "1mb"
    methods = [f"{e.method} {e.path.rsplit('/', 1)[-1]}" for e in sandbox.requests]
    assert methods.index("POST _explain") < methods.index("PUT job")


def test_pain_the_largest_limit_is_a_dead_end(sandbox, elasticsearch, rows):
    """elastic/kibana#60486: where the estimate is above it, the largest is tried, and what is needed is said."""
    sandbox.backend.ml.max_model_memory_limit = "2mb"
    with pytest.raises(
        JobFailedError, match=r"needs \d+mb of memory, and this cluster allows 2mb \(xpack.ml.max_model"
    ):
        train(sandbox, model_memory_limit="1mb")
    assert elasticsearch.ml.get_data_frame_analytics(id="job")["data_frame_analytics"][0]["model_memory_limit"] == "2mb"


def test_pain_the_estimate_ignores_the_query(sandbox, rows):
    """elastic/elasticsearch#49454: what is estimated is the source with its query."""
    train(sandbox)
    [explain] = requests_of(sandbox, "POST", "_explain")
    assert explain.body["source"]["query"] == BODY["source"]["query"]


def test_pain_a_job_cannot_be_run_again(sandbox, elasticsearch, rows):
    """elastic/kibana#174125, elastic/kibana#80825: the same body under another id trains anew; the first stays."""
    first, second = train(sandbox, "monday"), train(sandbox, "tuesday")
    assert first["model_id"] != second["model_id"]
    assert elasticsearch.ml.get_trained_models(model_id=f"{first['model_id']},{second['model_id']}")["count"] == 2


def test_pain_a_failed_job_cannot_be_stopped(sandbox, elasticsearch, rows):
    """elastic/elasticsearch#48931: what a kill stops is stopped, and a retry starts it anew."""
    sandbox.faults.lazy_assignment = True
    task = TaskRunner(
        lambda: DataFrameAnalyticsOperator(task_id="task", job_id="job", body=BODY),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )
    assert task.run().state == "deferred"
    task.kill_deferred()
    stats = elasticsearch.ml.get_data_frame_analytics_stats(id="job")["data_frame_analytics"][0]
    assert stats["state"] == "stopped"
    sandbox.faults.lazy_assignment = False
    assert task.complete().state == "success"


def test_pain_replacing_a_model_means_editing_every_pipeline(sandbox, elasticsearch, rows):
    """elastic/elasticsearch#68922: a pipeline names an alias, and moving that writes no pipeline."""
    old, new = train(sandbox, "monday")["model_id"], train(sandbox, "tuesday")["model_id"]
    alias = {"model_alias": "fraud_champion", "reassign": True}

    def switch(model_id: str) -> None:
        run(
            sandbox,
            ElasticsearchApiOperator,
            api="ml.put_trained_model_alias",
            arguments={**alias, "model_id": model_id},
        )

    switch(old)
    body = {"processors": [{"inference": {"model_id": "fraud_champion", "target_field": "ml.fraud"}}]}
    objects = [{"kind": "ingest_pipeline", "name": "score", "body": body}]
    run(sandbox, ApplyObjectsOperator, objects=objects, mode="apply")
    for model_id in (new, new):
        switch(model_id)
        run(sandbox, ApplyObjectsOperator, objects=objects, mode="verify")
        [scored] = elasticsearch.ingest.simulate(id="score", docs=[{"_source": {"a": 3.0}}])["docs"]
        assert scored["doc"]["_source"]["ml"]["fraud"]["y_prediction"] == "false"
    assert len(requests_of(sandbox, "PUT", "/_ingest/pipeline/score")) == 1


def test_pain_an_alias_can_only_be_read_from_the_models(sandbox, rows):
    """Review remark in elastic/elasticsearch#68922: there is no "get alias"; asking for the alias gives its model."""
    model_id = train(sandbox)["model_id"]
    arguments = {"model_id": model_id, "model_alias": "fraud_champion"}
    run(sandbox, ElasticsearchApiOperator, api="ml.put_trained_model_alias", arguments=arguments)
    found = run(
        sandbox, ElasticsearchApiOperator, api="ml.get_trained_models", arguments={"model_id": "fraud_champion"}
    )
    assert [config["model_id"] for config in found["trained_model_configs"]] == [model_id]


@pytest.mark.parametrize(
    ("api", "arguments"),
    [
        ("ml.upgrade_job_snapshot", {"wait_for_completion": True}),
        ("ml.update_model_snapshot", {"retain": True}),
        ("ml.revert_model_snapshot", {}),
    ],
)
def test_elasticsearch_134541_a_results_index_that_is_read_only_is_named_with_the_remedy_and_not_retried(
    sandbox, api: str, arguments: dict[str, Any]
):
    """Snapshots are kept beside the results: what is marked read-only for an upgrade lets none be upgraded."""
    index = ".ml-anomalies-shared"
    refused = sandbox.faults.add(
        path="*/model_snapshots/*", status=403, type="cluster_block_exception",
        reason=f"index [{index}] blocked by: [FORBIDDEN/8/index write (api)];", times=None,
    )  # fmt: skip
    task = TaskRunner(
        lambda: ElasticsearchApiOperator(
            task_id="task", api=api, arguments={"job_id": "job", "snapshot_id": "1", **arguments}
        ),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
        retries=3,
    )
    result = task.run()
    assert result.state == "failed", "another try would be refused alike"
    assert refused.hits == 1
    assert f"index [{index}] blocked by" in str(result.error)
    assert "somebody made it read-only" in str(result.error)


def test_eland_708_one_package_works_with_every_minor_version_alike(sandbox, rows):
    """The client is newer than the server, and asks an older one nothing that it does not know."""
    asked: list[list[str]] = []
    for version in ("9.2.0", "9.3.0", "9.5.0"):
        sandbox.backend.version = version
        sandbox.requests.clear()
        job = f"job-{version.replace('.', '-')}"
        model_id = str(train(sandbox, job)["model_id"])
        distinct = dict.fromkeys(f"{one.method} {one.path}".replace(model_id, "model") for one in sandbox.requests)
        asked.append([line.replace(job, "job") for line in distinct])
    assert asked[0] == asked[1] == asked[2]
    assert "PUT /_ml/data_frame/analytics/job" in asked[0]
