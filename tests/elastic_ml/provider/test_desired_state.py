"""Objects kept by a task: compared, written once, updated in place; and what users of other tools suffer from."""

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import ConflictError, InvalidRequestError, VersionError
from elastic_ml.operators.desired_state import ApplyObjectsOperator
from elastic_ml.project.objects import wanted_objects
from elastic_sandbox.testing import serve

POLICY = {
    "phases": {
        "hot": {"actions": {"rollover": {"max_age": "30d"}, "set_priority": {"priority": 100}}},
        "delete": {"min_age": "90d", "actions": {"delete": {}}},
    }
}
COMPONENT = {
    "template": {"settings": {"number_of_shards": 1}, "mappings": {"properties": {"user": {"type": "keyword"}}}}
}
TEMPLATE = {"index_patterns": "clicks-*", "composed_of": ["clicks@parts"], "data_stream": {}, "priority": 300}
ENRICH = {"match": {"indices": "people", "match_field": "user", "enrich_fields": ["team"]}}
PIPELINE = {"processors": [{"enrich": {"policy_name": "people", "field": "user", "target_field": "who"}}]}
TRANSFORM = {
    "source": {"index": "visits"},
    "dest": {"index": "visits-by-user"},
    "pivot": {"group_by": {"user": {"terms": {"field": "user"}}}, "aggs": {"n": {"value_count": {"field": "user"}}}},
    "sync": {"time": {"field": "@timestamp"}},
    "frequency": "5m",
}


def entry(kind: str, body: Any, name: str = "clicks") -> dict[str, Any]:
    return {"kind": kind, "name": name, "body": body}


EVERYTHING = [
    # In no order that a cluster would take them in.
    entry("transform", TRANSFORM, "visits"),
    entry("index_template", TEMPLATE),
    entry("ingest_pipeline", PIPELINE),
    entry("enrich_policy", ENRICH, "people"),
    entry("component_template", COMPONENT, "clicks@parts"),
    entry("ilm_policy", POLICY),
]


def runner(sandbox, objects: Any, mode: str = "apply", **more: Any) -> TaskRunner:
    return TaskRunner(
        lambda: ApplyObjectsOperator(task_id="keep", objects=objects, mode=mode, **more),
        connections={"elasticsearch_default": sandbox.elasticsearch_url},
    )


def states(result) -> dict[tuple[str, str], str]:
    assert result.state == "success", result.error
    return {(row["kind"], row["name"]): row["state"] for row in result.value["rows"]}


def writes(sandbox) -> list[str]:
    return [f"{r.method} {r.path}" for r in sandbox.requests if r.method not in {"GET", "HEAD"}]


@pytest.fixture
def world(sandbox, elasticsearch):
    """The indices that a policy and a transform read."""
    elasticsearch.index(index="people", id="1", document={"user": "ana", "team": "risk"}, refresh=True)
    visits = {"properties": {"user": {"type": "keyword"}, "@timestamp": {"type": "date"}}}
    elasticsearch.indices.create(index="visits", mappings=visits)
    sandbox.requests.clear()
    return sandbox


# What the operator does ----------------------------------------------------------------------------------------------


def test_plan_writes_nothing_apply_everything_and_verify_finds_it(world, elasticsearch):
    assert set(states(runner(world, EVERYTHING, "plan").run()).values()) == {"would create"}
    assert writes(world) == []
    refused = runner(world, EVERYTHING, "verify").run()
    assert isinstance(refused.error, AirflowFailException)
    assert "6 of 6 objects" in str(refused.error)
    assert set(states(runner(world, EVERYTHING).run()).values()) == {"created", "changed"}
    assert elasticsearch.transform.get_transform_stats(transform_id="visits")["transforms"][0]["state"] in {
        "started",
        "indexing",
    }
    assert set(states(runner(world, EVERYTHING, "verify").run()).values()) == {"unchanged"}


def test_what_is_written_says_which_task_wrote_it_and_keeps_the_users_own_meta(sandbox, elasticsearch):
    body = {**COMPONENT, "_meta": {"owner": "web"}, "version": 3}
    runner(sandbox, [entry("component_template", body)]).run()
    found = elasticsearch.cluster.get_component_template(name="clicks")["component_templates"][0]["component_template"]
    assert (found["_meta"]["owner"], found["_meta"]["airflow_task"], found["version"]) == ("web", "keep", 3)
    assert "managed_by" in found["_meta"]
    body["_meta"], body["version"] = {"owner": "shop"}, 4
    [row] = runner(sandbox, [entry("component_template", body)], "plan").run().value["rows"]
    assert row["detail"] == "_meta.owner is web (wanted shop); version is 3 (wanted 4)"


def test_a_file_of_objects_is_rendered_and_its_bodies_too(sandbox, elasticsearch, tmp_path: Path):
    (tmp_path / "policy.yml").write_text("phases: {delete: {min_age: '{{ params.days }}d', actions: {delete: {}}}}\n")
    (tmp_path / "objects.yml").write_text('- {kind: ilm_policy, name: a, body: \'{"phases": {"hot": {}}}\'}\n')
    for objects in ("objects.yml", [entry("ilm_policy", "policy.yml")]):

        def make(objects=objects):
            task = ApplyObjectsOperator(task_id="keep", objects=objects, mode="apply")
            task.dag.template_searchpath = [str(tmp_path)]
            task.resolve_template_files()
            return task

        result = TaskRunner(
            make, connections={"elasticsearch_default": sandbox.elasticsearch_url}, params={"days": 7}
        ).run()
        assert result.state == "success", result.error
    policies = elasticsearch.ilm.get_lifecycle()
    assert policies["clicks"]["policy"]["phases"]["delete"]["min_age"] == "7d"
    assert "hot" in policies["a"]["policy"]["phases"]


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([{"kind": "ilm_policy", "name": "x"}], "Object 1 is not made of kind, name and body"),
        ([entry("policy", {})], "kind 'policy'"),
        ([entry("ilm_policy", POLICY), entry("ilm_policy", POLICY)], "comes twice"),
        ([entry("ilm_policy", [])], "its body is no object"),
    ],
)
def test_what_is_no_object_is_refused_with_its_place(objects, words):
    with pytest.raises(InvalidRequestError, match=words):
        wanted_objects(objects)


def test_text_that_is_no_yaml_is_refused(sandbox):
    error = runner(sandbox, [entry("ilm_policy", "{hot: [")]).run().error
    assert isinstance(error, InvalidRequestError)
    assert "clicks is neither YAML nor JSON" in str(error)


def test_retention_of_a_data_stream_is_kept_without_a_template(sandbox, elasticsearch):
    elasticsearch.indices.put_index_template(name="c", index_patterns=["clicks-*"], data_stream={}, priority=300)
    elasticsearch.indices.create_data_stream(name="clicks-web")
    for retention, state in (("7d", "created"), ("7d", "unchanged"), ("9d", "changed")):
        wanted = [entry("data_stream_lifecycle", {"data_retention": retention}, "clicks-web")]
        assert set(states(runner(sandbox, wanted).run()).values()) == {state}
    found = elasticsearch.indices.get_data_lifecycle(name="clicks-web")["data_streams"][0]["lifecycle"]
    assert found["data_retention"] == "9d"


def test_serverless_is_told_what_keeps_its_retention():
    with serve(flavor="serverless") as sandbox:
        error = runner(sandbox, [entry("ilm_policy", POLICY)]).run().error
    assert isinstance(error, VersionError)
    assert "data_stream_lifecycle" in str(error)


def test_an_action_that_was_taken_away_is_a_difference(sandbox, elasticsearch):
    """`readonly: {}` says something although it is empty."""
    wanted = json.loads(json.dumps(POLICY))
    elasticsearch.ilm.put_lifecycle(name="clicks", policy=wanted)
    del wanted["phases"]["hot"]["actions"]["set_priority"]
    wanted["phases"]["hot"]["actions"]["rollover"] = {"max_age": "7d"}
    [row] = runner(sandbox, [entry("ilm_policy", wanted)], "plan").run().value["rows"]
    assert "policy.phases.hot.actions.rollover.max_age is 30d (wanted 7d)" in row["detail"]
    assert "set_priority.priority is 100 (not wanted)" in row["detail"]


def test_an_edit_by_hand_is_left_alone_where_the_task_says_so(sandbox, elasticsearch):
    keep = [entry("ilm_policy", POLICY)]
    runner(sandbox, keep).run()
    elasticsearch.ilm.put_lifecycle(name="clicks", policy={"phases": {"delete": {"actions": {"delete": {}}}}})
    before = writes(sandbox)
    assert states(runner(sandbox, keep, keep_edited=True).run()) == {("ILM policy", "clicks"): "edited by hand"}
    assert writes(sandbox) == before
    assert states(runner(sandbox, keep).run()) == {("ILM policy", "clicks"): "changed"}


@pytest.mark.parametrize("calls", range(1, 17, 3))
def test_a_worker_that_dies_after_any_answer_leaves_what_the_next_try_finishes(world, elasticsearch, calls):
    task = runner(world, EVERYTHING)
    with crash_after(calls):
        task.run()
    states(task.run())
    world.requests.clear()
    assert set(states(runner(world, EVERYTHING).run()).values()) == {"unchanged"}
    assert writes(world) == []


# What users of other tools report, by the numbers of the issues in their trackers -----------------------------------


def test_pain_create_is_not_idempotent(world):
    """elastic/elasticsearch#128109, elastic/terraform-provider-elasticstack#520: creating again is a conflict."""
    runner(world, EVERYTHING).run()
    world.requests.clear()
    assert set(states(runner(world, EVERYTHING).run()).values()) == {"unchanged"}
    assert writes(world) == []


def test_pain_update_of_what_runs_needs_stop_and_start(world, elasticsearch):
    """elastic/terraform-provider-elasticstack#813 (datafeeds): a transform is updated while it runs, and goes on."""
    runner(world, [entry("transform", TRANSFORM)]).run()
    made = elasticsearch.transform.get_transform(transform_id="clicks")["transforms"][0]["create_time"]
    world.requests.clear()
    changed = {**TRANSFORM, "frequency": "10m", "sync": {"time": {"field": "@timestamp", "delay": "2m"}}}
    [row, state] = runner(world, [entry("transform", changed)]).run().value["rows"]
    assert row["detail"] == "frequency is 5m (wanted 10m); sync.time.delay is missing (wanted 2m)"
    assert writes(world) == ["POST /_transform/clicks/_update"]
    assert state["state"] == "unchanged"
    assert elasticsearch.transform.get_transform(transform_id="clicks")["transforms"][0]["create_time"] == made


def test_pain_what_is_no_longer_wanted_stays(world, elasticsearch):
    """An update keeps what it does not name: settings, frequency and description go back to what a server assumes."""
    first = {**TRANSFORM, "description": "old", "settings": {"docs_per_second": 500, "max_page_search_size": 100}}
    runner(world, [entry("transform", first)]).run()
    bare = {key: value for key, value in TRANSFORM.items() if key != "frequency"}
    [row, _] = runner(world, [entry("transform", {**bare, "settings": {"docs_per_second": 500}})]).run().value["rows"]
    assert row["state"] == "changed"
    found = elasticsearch.transform.get_transform(transform_id="clicks")["transforms"][0]
    assert (found["frequency"], found["description"], found["settings"]) == ("1m", "", {"docs_per_second": 500})
    again = runner(world, [entry("transform", {**bare, "settings": {"docs_per_second": 500}})], "verify").run()
    assert set(states(again).values()) == {"unchanged"}


def test_pain_drift_on_start(world):
    """elastic/terraform-provider-elasticstack#1557: what starting and running add is no difference."""
    runner(world, [entry("transform", TRANSFORM)]).run()
    world.clock.advance(3600)
    assert set(states(runner(world, [entry("transform", TRANSFORM)], "verify").run()).values()) == {"unchanged"}


def test_pain_a_stopped_or_failed_one_stays_down(world, elasticsearch):
    """elastic/terraform-provider-elasticstack#1337: the wanted state is the body and that it runs."""
    runner(world, [entry("transform", TRANSFORM)]).run()
    elasticsearch.transform.stop_transform(transform_id="clicks", wait_for_completion=True)
    refused = runner(world, [entry("transform", TRANSFORM)], "verify").run()
    assert "transform state clicks (differs) stopped (wanted started)" in str(refused.error)
    after = states(runner(world, [entry("transform", TRANSFORM)]).run())
    assert after == {("transform", "clicks"): "unchanged", ("transform state", "clicks"): "changed"}


def test_pain_a_replacement_destroys_without_asking(world, elasticsearch):
    """A new pivot is said before anything is written, and done only by `replace`; the destination stays."""
    runner(world, [entry("transform", TRANSFORM)]).run()
    elasticsearch.index(index="visits-by-user", id="kept", document={"user": "ana"}, refresh=True)
    pivot = {**TRANSFORM["pivot"], "aggs": {"last": {"max": {"field": "@timestamp"}}}}
    wanted = [entry("transform", {**TRANSFORM, "pivot": pivot})]
    world.requests.clear()
    refused = runner(world, wanted).run()
    assert isinstance(refused.error, AirflowFailException)
    assert "the function of a transform cannot be changed: pivot.aggregations.last" in str(refused.error)
    assert writes(world) == []
    assert set(states(runner(world, wanted, replace=True).run()).values()) == {"changed"}
    assert elasticsearch.exists(index="visits-by-user", id="kept")
    assert set(states(runner(world, wanted, "verify").run()).values()) == {"unchanged"}


def test_pain_an_enrich_policy_cannot_be_changed(world, elasticsearch):
    """Said with what differs; replaced only when asked for, and never while a pipeline names it."""
    runner(world, [entry("enrich_policy", ENRICH, "people")]).run()
    other = {"match": {**ENRICH["match"], "match_field": "team", "enrich_fields": ["user"]}}
    wanted = [entry("enrich_policy", other, "people")]
    assert "an enrich policy cannot be changed" in str(runner(world, wanted).run().error)
    assert states(runner(world, wanted, replace=True).run()) == {("enrich policy", "people"): "changed"}
    runner(world, [*wanted, entry("ingest_pipeline", PIPELINE)]).run()
    refused = runner(world, [entry("enrich_policy", ENRICH, "people")], replace=True).run()
    assert isinstance(refused.error, ConflictError)
    assert elasticsearch.enrich.get_policy(name="people")["policies"][0]["config"]["match"]["match_field"] == "team"


def test_pain_a_pipeline_before_its_model(sandbox, elasticsearch):
    """elastic/elasticsearch#100760: a missing model is only a log line, and then every document fails."""
    scoring = {"processors": [{"foreach": {"field": "a", "processor": {"inference": {"model_id": "fraud_champion"}}}}]}
    for mode in ("apply", "verify"):
        refused = runner(sandbox, [entry("ingest_pipeline", scoring)], mode).run()
        assert "no trained model or alias is called fraud_champion" in str(refused.error)
    assert writes(sandbox) == []
    assert set(states(runner(sandbox, [entry("ingest_pipeline", scoring)], check_models=False).run()).values()) == {
        "created"
    }


def test_pain_an_unhelpful_error_of_an_inference_processor(sandbox):
    """elastic/elasticsearch#129864: input_output beside field_map is named before it is sent."""
    processor = {"model_id": "m", "input_output": {"input_field": "a", "output_field": "b"}, "field_map": {"a": "b"}}
    refused = runner(sandbox, [entry("ingest_pipeline", {"processors": [{"inference": processor}]})]).run()
    assert "input_output beside target_field or field_map" in str(refused.error)
    assert writes(sandbox) == []


def test_pain_a_refusal_fails_late_and_hides_what_was_done(world, elasticsearch):
    """The table of what was done before a refusal is in the log, and the next try goes on from there."""
    wrong = [entry("ilm_policy", POLICY), entry("index_template", {**TEMPLATE, "composed_of": ["nowhere"]})]
    refused = runner(world, wrong).run()
    assert isinstance(refused.error, InvalidRequestError)
    assert "nowhere" in str(refused.error)
    assert list(elasticsearch.ilm.get_lifecycle(name="clicks")) == ["clicks"]
