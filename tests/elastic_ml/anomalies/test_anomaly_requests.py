"""Every request that the anomaly operators send, against Elastic's API specification of 9.2 and of Serverless."""

import json

from harness.specification import specification
from harness.task_runner import TaskRunner

from elastic_ml.operators.anomaly_job import AnomalyJobOperator
from elastic_ml.operators.anomaly_snapshots import RevertModelSnapshotOperator
from elastic_sandbox.testing import serve


def problems_of(spec, requests):
    """What the specification says to requests: unknown APIs, parameters and properties."""
    found = set()
    for entry in requests:
        call = spec.api_of(entry.method, entry.path)
        if call is None:
            found.add(f"unknown: {entry.method} {entry.path}")
            continue
        known = spec.query_params(call.api)
        found |= {f"{call.api}: parameter {name}" for name in entry.params if name not in known}
        if entry.body is not None:
            found |= {f"{call.api}: {one}" for one in spec.check_request(call.api, json.loads(json.dumps(entry.body)))}
    return found


def test_what_a_life_of_a_job_sends_is_in_the_specification_of_9_2(four_days):
    spec = specification(stack=(9, 2))
    four_days.forget()
    four_days.learn(0, 1)
    four_days.add(day=1)
    four_days.job["description"] = "Another"
    four_days.job["analysis_limits"] = {"model_memory_limit": "32mb"}
    four_days.datafeed["frequency"] = "10m"
    four_days.learn(1)
    del four_days.datafeed["frequency"]
    assert four_days.keeper(run="realtime").run().state == "success"
    [first, _] = four_days.learnt()["2026-03-03"]
    assert four_days.runner(RevertModelSnapshotOperator, job_id="sign_ins", snapshot_id=first).run().state == "success"
    four_days.job["analysis_config"]["bucket_span"] = "2h"
    assert four_days.keeper(if_exists="replace").run().state == "success"
    assert problems_of(spec, four_days.sandbox.requests) == set()


def test_what_a_job_in_real_time_sends_on_serverless_is_public_there():
    spec = specification(serverless=True)
    body = {
        "analysis_config": {"bucket_span": "1h", "detectors": [{"function": "count"}]},
        "data_description": {"time_field": "@timestamp"},
    }

    def keep(sandbox, **more):
        task = TaskRunner(
            lambda: AnomalyJobOperator(
                task_id="detect",
                job_id="sign_ins",
                run="realtime",
                datafeed={"indices": ["sign-ins"], **more},
                body=body,
            ),
            connections={"elasticsearch_default": sandbox.elasticsearch_url},
        )
        assert task.run().state == "success"

    with serve(flavor="serverless") as sandbox:
        from elasticsearch import Elasticsearch

        with Elasticsearch(sandbox.elasticsearch_url) as client:
            client.indices.create(index="sign-ins", mappings={"properties": {"@timestamp": {"type": "date"}}})
            sandbox.requests.clear()
            keep(sandbox)
            keep(sandbox, query_delay="90s")
            assert problems_of(spec, sandbox.requests) == set()
            assert client.ml.get_datafeed_stats(datafeed_id="datafeed-sign_ins")["datafeeds"][0]["state"] == "started"
