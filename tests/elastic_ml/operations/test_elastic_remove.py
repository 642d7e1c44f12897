"""Removal: what is ours goes, what streams need stays with them, and data goes only when asked for."""

from pathlib import Path
from typing import Any

import pytest
from clinic.operations import MODEL_ID, Operations
from clinic.world import STREAM
from harness.task_runner import crash_after

from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.project import load_project
from elastic_ml.project.anomaly_bodies import datafeed_body, job_body
from elastic_ml.project.anomaly_calendars import apply_calendars, apply_filters
from elastic_ml.project.bodies import MANAGED_BY
from elastic_ml.project.setup import run_setup
from elastic_ml.stages import remove

SOMEBODYS = {"description": "of another team", "processors": [{"set": {"field": "a", "value": 1}}]}


@pytest.fixture
def estate(own_clinic: Operations) -> Operations:
    """The clinic in production, on a cluster that others use as well."""
    own_clinic.promote(MODEL_ID)
    own_clinic.index(5)
    client = own_clinic.client
    client.ingest.put_pipeline(id="theirs", body=SOMEBODYS)
    client.indices.create(index="theirs")
    client.indices.put_index_template(
        name="theirs", index_patterns=["theirs-*"], meta={"managed_by": "airflow-provider-elastic-ml", "project": "b"}
    )
    return own_clinic


def run(clinic: Operations, **params: Any) -> Any:
    result = clinic.runner(remove, "elastic_remove", "remove", **params).complete()
    assert result.state == "success", result.error
    return result.value


def everything(clinic: Operations) -> set[str]:
    """All objects of the cluster, as kind and name."""
    client = clinic.client
    transforms = client.transform.get_transform()["transforms"]
    return {
        *(f"pipeline {name}" for name in client.ingest.get_pipeline().body),
        *(f"template {t['name']}" for t in client.indices.get_index_template()["index_templates"]),
        *(f"policy {p}" for p in client.ilm.get_lifecycle().body),
        *(f"stream {s['name']}" for s in client.indices.get_data_stream(name="*")["data_streams"]),
        *(f"index {i}" for i in client.indices.get(index="*").body if not i.startswith(".ds-")),
        *(f"transform {t['id']}" for t in transforms),
        *(f"model {m['model_id']}" for m in client.ml.get_trained_models()["trained_model_configs"]),
    }


def test_without_apply_nothing_is_deleted(estate: Operations) -> None:
    before = everything(estate)
    report = run(estate, data=True)
    assert not report["applied"]
    assert report["counts"]["delete data stream"] >= 8
    assert everything(estate) == before


def test_without_the_projects_name_nothing_is_deleted(estate: Operations) -> None:
    before = everything(estate)
    result = estate.runner(remove, "elastic_remove", "remove", retries=0, apply=True, confirm="clinics").complete()
    assert result.state == "failed"
    assert "write clinic" in str(result.error)
    assert everything(estate) == before


def test_data_stays_with_what_its_streams_need_and_events_go_on_being_indexed(estate: Operations) -> None:
    before = everything(estate)
    run(estate, apply=True, confirm="clinic")
    after = everything(estate)
    gone = before - after
    assert {f"stream {STREAM}", "template clinic-audit", "policy clinic-audit", f"model {MODEL_ID}"} <= after
    assert {"pipeline clinic-audit@normalize", "pipeline clinic-audit@score"} <= after
    assert {"pipeline misuse@score", "pipeline misuse@label", "transform features-clinic.user_hour"} <= gone
    assert not any(name.startswith(("stream ", "index ", "model ")) for name in gone)
    estate.index(5, first=100)
    assert estate.client.count(index=STREAM)["count"] == 10
    newest = estate.client.search(index=STREAM, query={"ids": {"values": ["access-000100"]}})["hits"]["hits"][0]
    assert "ml" not in newest["_source"], "nothing scores it any more"


def test_with_data_nothing_of_ours_is_left_and_everything_of_others_is(estate: Operations) -> None:
    run(estate, apply=True, confirm="clinic", data=True)
    left = everything(estate)
    assert {"pipeline theirs", "index theirs", "template theirs"} <= left
    assert not [name for name in left if "clinic" in name or "misuse" in name or "stay" in name]


def test_a_pipeline_called_after_somebodys_own_alias_of_our_model_stays(estate: Operations) -> None:
    estate.client.ingest.put_pipeline(id="somebodys@score", body=SOMEBODYS)
    estate.client.ml.put_trained_model_alias(model_id=MODEL_ID, model_alias="somebodys")
    run(estate, apply=True, confirm="clinic", data=True)
    left = everything(estate)
    assert "pipeline somebodys@score" in left
    assert f"model {MODEL_ID}" not in left


def test_a_second_removal_finds_nothing(estate: Operations) -> None:
    run(estate, apply=True, confirm="clinic", data=True)
    again = run(estate, apply=True, confirm="clinic", data=True)
    assert [step["action"] for step in again["steps"] if step["kind"] != "Kibana"] == []


def test_without_a_connection_to_kibana_the_table_says_so(estate: Operations) -> None:
    first = run(estate)["steps"][0]
    assert first == {
        "kind": "Kibana",
        "name": "kibana_default",
        "action": "keep",
        "reason": "there is no such connection: nothing of it was looked at",
    }


def test_a_crash_after_any_request_is_finished_by_another_run(estate: Operations) -> None:
    task = estate.runner(remove, "elastic_remove", "remove", apply=True, confirm="clinic", data=True)
    steps = 0
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        steps += 5
    assert result.state == "success", result.error
    assert not [name for name in everything(estate) if "clinic" in name or "misuse" in name]


def test_a_removed_project_can_be_set_up_again(estate: Operations) -> None:
    run(estate, apply=True, confirm="clinic")
    project = load_project(estate.folder)
    report = run_setup(estate.client, project, server_facts(estate.client), mode="apply")
    assert report.problems == []
    assert run_setup(estate.client, project, server_facts(estate.client), mode="verify").drift == []


def test_of_a_pipeline_that_others_own_only_our_processor_goes(estate: Operations) -> None:
    path = Path(estate.folder) / "project.yml"
    path.write_text(path.read_text().replace("streams:\n", "streams:\n  - {dataset: okta.system, managed: false}\n"))
    custom = "logs-okta.system@custom"
    estate.client.ingest.put_pipeline(id=custom, body=SOMEBODYS)
    project = load_project(estate.folder)
    run_setup(estate.client, project, server_facts(estate.client), mode="apply")
    assert len(estate.client.ingest.get_pipeline(id=custom)[custom]["processors"]) == 2
    run(estate, apply=True, confirm="clinic")
    left = estate.client.ingest.get_pipeline(id=custom)[custom]
    assert left["processors"] == SOMEBODYS["processors"]
    assert left["description"] == "of another team"


def test_what_the_server_refuses_is_named(estate: Operations) -> None:
    estate.client.indices.create(index="borrower", settings={"index.default_pipeline": "misuse@label"})
    result = estate.runner(remove, "elastic_remove", "remove", retries=0, apply=True, confirm="clinic").complete()
    assert result.state == "failed"
    assert "misuse@label" in str(result.error)
    assert "borrower" in str(result.error)
    estate.client.indices.delete(index="borrower")
    run(estate, apply=True, confirm="clinic")


JOB = """
owner: privacy
mode: partition
job:
  analysis_config:
    bucket_span: 1h
    detectors:
      - function: count
        by_field_name: user.id
        custom_rules:
          - {actions: [skip_result], scope: {user.id: {filter_id: robots, filter_type: include}}}
datafeed: {indices: [logs-clinic.access-eu]}
calendars:
  works:
    timezone: Europe/Berlin
    events: [{description: Move, start: 2026-06-06T20:00:00, end: 2026-06-07T06:00:00}]
filters:
  robots: {items: [crawler]}
"""


@pytest.fixture
def watching(estate: Operations) -> Operations:
    """The clinic with an anomaly job, its calendar and its filter, and a calendar of somebody else."""
    folder = Path(estate.folder) / "anomaly_jobs"
    folder.mkdir()
    (folder / "bursts.yml").write_text(JOB)
    project, client = load_project(estate.folder), estate.client
    job = project.anomaly_job("bursts")
    apply_filters(client, project, job)
    apply_calendars(client, project, job, "bursts")
    client.ml.put_job(job_id="bursts", **job_body(project, job, {"project": project.name, "managed_by": MANAGED_BY}))
    client.ml.put_datafeed(datafeed_id="datafeed-bursts", **datafeed_body(project, job, "bursts"))
    client.ml.open_job(job_id="bursts")
    client.ml.start_datafeed(datafeed_id="datafeed-bursts")
    client.ml.put_calendar(calendar_id="theirs", description="of another team")
    client.ml.put_filter(filter_id="theirs", items=["a"])
    return estate


def schedules(clinic: Operations) -> set[str]:
    ml = clinic.client.ml
    calendars = (calendar["calendar_id"] for calendar in ml.get_calendars()["calendars"])
    return {*calendars, *(one["filter_id"] for one in ml.get_filters()["filters"])}


def test_calendars_and_filters_stay_with_the_jobs_and_go_with_them(watching: Operations) -> None:
    everything_there = {"bursts-works", "bursts-robots", "theirs"}
    assert schedules(watching) == everything_there
    run(watching, apply=True, confirm="clinic")
    assert schedules(watching) == everything_there
    run(watching, apply=True, confirm="clinic", data=True)
    assert schedules(watching) == {"theirs"}
    assert watching.client.ml.get_jobs()["count"] == 0


def test_an_analytics_job_that_runs_goes_with_the_data(estate: Operations) -> None:
    estate.sandbox.faults.lazy_assignment = True
    job_id = "misuse-20261116-0000aaaa"
    estate.client.ml.put_data_frame_analytics(
        id=job_id,
        source={"index": [STREAM]},
        dest={"index": estate.names.results_index(job_id)},
        analysis={"classification": {"dependent_variable": "event.action"}},
        allow_lazy_start=True,
        meta={"managed_by": MANAGED_BY, "project": "clinic"},
    )
    estate.client.ml.start_data_frame_analytics(id=job_id)
    run(estate, apply=True, confirm="clinic", data=True)
    assert estate.client.ml.get_data_frame_analytics()["count"] == 0
