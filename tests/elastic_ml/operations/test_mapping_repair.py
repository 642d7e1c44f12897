"""The repair of old backing indices: the template's types, every document, no gap, and nothing lost on the way."""

from typing import Any

import pytest
from clinic.operations import Operations
from clinic.world import STREAM
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_ml.stages import elastic_setup


@pytest.fixture
def drifted(own_clinic: Operations) -> Operations:
    """The clinic with a backing index in which `audit.records` is a keyword, as an older template had it."""
    clinic = own_clinic
    client = clinic.client
    template = "clinic-audit@mappings"
    body = client.cluster.get_component_template(name=template)["component_templates"][0]["component_template"]
    older = {key: value for key, value in body.items() if not key.endswith(("_date", "_date_millis"))}
    properties = older["template"]["mappings"]["properties"]
    types = properties["audit"]["properties"]
    right = dict(types["records"]) if "records" in types else None
    types["records"] = {"type": "keyword"}
    client.cluster.put_component_template(name=template, body=older)
    client.indices.rollover(alias=STREAM)
    clinic.index(30)
    types.pop("records") if right is None else types.update(records=right)
    if right is None:
        types["records"] = {"type": "long"}
    client.cluster.put_component_template(name=template, body=older)
    client.indices.rollover(alias=STREAM)
    clinic.index(12, first=100)
    return clinic


def repair(clinic: Operations, stream: str | None = STREAM) -> TaskRunner:
    return clinic.runner(elastic_setup, "elastic_setup", "repair", repair=stream)


def types(clinic: Operations) -> list[str]:
    found = clinic.client.indices.get_mapping(index=STREAM).body
    backing = clinic.client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]
    return [
        found[index["index_name"]]["mappings"]["properties"]["audit"]["properties"]
        .get("records", {"type": "none"})["type"]
        for index in backing
    ]  # fmt: skip


def documents(clinic: Operations) -> dict[str, Any]:
    clinic.client.indices.refresh(index=STREAM)
    hits = clinic.client.search(index=STREAM, size=1000)["hits"]["hits"]
    assert len(hits) == len({hit["_id"] for hit in hits}), "a document is there twice"
    return {hit["_id"]: hit["_source"] for hit in hits}


def indices(clinic: Operations) -> list[str]:
    found = clinic.client.indices.get(index="*clinic.access*", expand_wildcards="all").body
    return sorted(name for name in found if name not in backing(clinic))


def backing(clinic: Operations) -> list[str]:
    shown = clinic.client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]
    return [index["index_name"] for index in shown]


def test_setup_names_the_field_the_indices_and_the_repair(drifted: Operations) -> None:
    project = load_project(drifted.folder)
    report = run_setup(drifted.client, project, server_facts(drifted.client), mode="plan")
    (problem,) = [p for p in report.problems if "audit.records" in p]
    assert "keyword in .ds-" in problem
    assert "repair=" in problem


def test_the_old_index_gets_the_templates_types_and_keeps_every_document(drifted: Operations) -> None:
    before = documents(drifted)
    assert "keyword" in types(drifted)
    result = repair(drifted).complete()
    assert result.state == "success", result.error
    assert [done["documents"] for done in result.value["repaired"]] == [30]
    assert "keyword" not in types(drifted)
    assert documents(drifted) == before
    assert indices(drifted) == [], "the replaced index is gone"
    numbers = drifted.client.search(index=STREAM, size=0, aggs={"sum": {"sum": {"field": "audit.records"}}})
    assert numbers["aggregations"]["sum"]["value"] == sum(d["audit"]["records"] for d in before.values())
    (copied,) = [name for name in backing(drifted) if name.startswith("repaired-")]
    settings = drifted.client.indices.get(index=copied, flat_settings=True)[copied]["settings"]
    assert settings["index.lifecycle.name"] == "clinic-audit"
    assert settings["index.lifecycle.indexing_complete"] == "true"
    assert int(settings["index.lifecycle.origination_date"]) > 0
    assert "index.default_pipeline" not in settings


def test_afterwards_setup_finds_nothing_and_neither_does_a_second_repair(drifted: Operations) -> None:
    assert repair(drifted).complete().state == "success"
    project = load_project(drifted.folder)
    report = run_setup(drifted.client, project, server_facts(drifted.client), mode="plan")
    assert [problem for problem in report.problems if "audit.records" in problem] == []
    assert repair(drifted).complete().state == "skipped"


@pytest.mark.long
def test_a_crash_after_any_request_is_finished_by_the_retry(drifted: Operations) -> None:
    before = documents(drifted)
    task, steps = repair(drifted), 0
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        steps += 2
        # Whoever reads in between sees every document once.
        assert len(documents(drifted)) == len(before)
    assert result.state in {"success", "skipped"}, result.error
    assert "keyword" not in types(drifted)
    assert documents(drifted) == before
    assert indices(drifted) == []


@pytest.mark.long
def test_a_crash_and_a_clear_leave_nothing_behind_either(drifted: Operations) -> None:
    task, steps = repair(drifted), 0
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        task.clear()
        steps += 3
    assert result.state in {"success", "skipped"}, result.error
    assert repair(drifted).complete().state == "skipped"
    assert indices(drifted) == []


def test_a_value_that_the_new_type_refuses_leaves_the_stream_as_it_was(drifted: Operations) -> None:
    old = next(name for name, kind in zip(backing(drifted), types(drifted), strict=True) if kind == "keyword")
    drifted.client.update(index=old, id="access-000000", doc={"audit": {"records": "many"}}, refresh=True)
    before, there = documents(drifted), backing(drifted)
    result = repair(drifted).complete()
    assert result.state == "up_for_retry"
    assert "records" in str(result.error)
    assert documents(drifted) == before
    assert backing(drifted) == there


def test_without_the_param_nothing_is_repaired(drifted: Operations) -> None:
    assert repair(drifted, None).complete().state == "skipped"
    assert "keyword" in types(drifted)


def test_a_stream_that_is_not_ours_is_refused(drifted: Operations) -> None:
    result = repair(drifted, "logs-of-others").complete()
    assert "Repair one of" in str(result.error)
