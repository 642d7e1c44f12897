"""Anomaly jobs whose datafeed has runtime fields: kept, changed in place, counted and learnt from."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.exceptions import InvalidRequestError

ACTOR = {"type": "keyword", "script": {"source": "emit(doc['user'].value + params.at)", "params": {"at": "@shop"}}}


def kept(task: Any) -> dict[str, Any]:
    result = task.run()
    assert result.state == "success", result.error
    return dict(result.value)


@pytest.fixture
def actors(four_days):
    four_days.job["analysis_config"] = {
        "bucket_span": "1h",
        "detectors": [{"function": "high_count", "partition_field_name": "actor"}],
        "influencers": ["actor"],
    }
    four_days.datafeed |= {"query": {"prefix": {"actor": "u"}}, "runtime_mappings": {"actor": dict(ACTOR)}}
    return four_days


def test_unchanged_runtime_fields_write_nothing_and_changed_ones_are_updated_in_place(actors):
    assert kept(actors.keeper())["state"] == "created"
    actors.forget()
    assert kept(actors.keeper())["state"] == "unchanged"
    assert actors.writes() == []
    actors.datafeed["runtime_mappings"]["actor"] = {"type": "keyword", "script": "emit(doc['user'].value)"}
    value = kept(actors.keeper())
    assert (value["state"], value["job_id"]) == ("updated", "sign_ins")
    assert value["changes"][0].startswith('runtime_mappings is {"actor": ')
    assert "POST /_ml/datafeeds/datafeed-sign_ins/_update" in actors.writes()
    assert not [line for line in actors.writes() if line.startswith(("PUT", "DELETE"))]
    assert actors.config()["datafeed_config"]["runtime_mappings"] == actors.datafeed["runtime_mappings"]
    actors.forget()
    assert kept(actors.keeper())["state"] == "unchanged"
    assert actors.writes() == []


def test_runtime_fields_that_left_the_file_are_taken_from_the_datafeed(actors):
    kept(actors.keeper())
    del actors.datafeed["runtime_mappings"]
    assert kept(actors.keeper())["state"] == "updated"
    assert "runtime_mappings" not in actors.config()["datafeed_config"]
    assert kept(actors.keeper())["state"] == "unchanged"


def test_a_partition_counts_and_learns_what_the_datafeed_finds_by_a_runtime_field(actors):
    actors.add(day=0, user="robot", times=5)  # kept away by the query on the runtime field
    assert actors.learn(0)["documents"] == 24
    assert actors.buckets() == actors.expected_buckets(days=1)
    sizes = actors.client.ml.get_job_stats(job_id="sign_ins")["jobs"][0]["model_size_stats"]
    assert sizes["total_partition_field_count"] == 3


def test_a_changed_runtime_field_is_learnt_anew_when_it_finds_another_number_of_documents(actors):
    actors.add(day=0, user="robot", times=5)
    actors.learn(0)
    actors.datafeed["runtime_mappings"]["actor"] = {"type": "keyword", "script": "emit('u-' + doc['user'].value)"}
    value = actors.learn(0)
    assert (value["state"], value["documents"]) == ("updated", 29)
    assert actors.buckets() == actors.expected_buckets(days=1, extra={"2026-03-02T12": 5})


def test_a_mistake_in_a_script_is_an_error_of_the_task(actors):
    actors.datafeed |= {
        "query": {"match_all": {}},
        "runtime_mappings": {"actor": {"type": "keyword", "script": "emit(1)"}},
    }
    error = actors.learner(0).run().error
    assert isinstance(error, InvalidRequestError)
    assert actors.states() == ("closed", "stopped")


def test_the_example_of_the_page_computes_what_it_says(sandbox, elasticsearch):
    page = (Path(__file__).parents[3] / "docs" / "anomaly-jobs.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    [feed] = [block["datafeed"] for block in blocks if "runtime_mappings" in block.get("datafeed", {})]
    kinds = {"@timestamp": "date", "user.email": "keyword", "source.ip": "ip"}
    mappings = {"properties": {name: {"type": kind} for name, kind in kinds.items()}}
    elasticsearch.indices.create(index="logs", mappings=mappings)
    for at, email in (("2026-07-01T05:30:00Z", "Jo@example.com"), ("2026-01-01T05:30:00Z", "JO@example.com")):
        elasticsearch.index(index="logs", document={"@timestamp": at, "user": {"email": email}})
    elasticsearch.index(index="logs", document={"@timestamp": "2026-01-01T20:00:00Z"}, refresh=True)
    found = elasticsearch.search(
        index="logs", sort=["@timestamp"], fields=["login", "working_hours"], runtime_mappings=feed["runtime_mappings"]
    )
    assert [hit["fields"] for hit in found["hits"]["hits"]] == [
        {"login": ["jo@example.com"], "working_hours": [False]}, {"working_hours": [False]},
        {"login": ["jo@example.com"], "working_hours": [True]},
    ]  # fmt: skip
    free = elasticsearch.search(index="logs", query=feed["query"], runtime_mappings=feed["runtime_mappings"])
    assert free["hits"]["total"]["value"] == 2
