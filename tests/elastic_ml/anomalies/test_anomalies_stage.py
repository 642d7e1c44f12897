"""The DAGs `anomalies_<job>`: shape, waiting for data, and the job of a file with its filters and calendars."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, CronPartitionTimetable, CronTriggerTimetable
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from webshop_jobs.world import JOB, Shop, copy_shop

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import WaitTimeoutError
from elastic_ml.operators.anomaly_detection import (
    DetectPartitionOperator,
    DetectRealtimeOperator,
    ForecastOnDemandOperator,
)
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_ml.sensors.anomaly_data import AnomalyDataSensor
from elastic_ml.stages import anomalies
from elastic_sandbox.testing import serve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy_shop(tmp_path)


def change(folder: Path, old: str, new: str, job: str = JOB) -> None:
    path = folder / "anomaly_jobs" / f"{job}.yml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def edges(dag: Any) -> list[tuple[str, str]]:
    return sorted((task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids)


# Shape ------------------------------------------------------------------------------------------------------------


def test_a_job_by_partitions_has_four_tasks_one_run_at_a_time_and_a_partition_each(folder):
    [(dag_id, dag)] = anomalies.build(folder).items()
    assert dag_id == "anomalies_logins"
    assert edges(dag) == [("alerts", "forecast"), ("detect", "alerts"), ("wait_for_data", "detect")]
    assert dag.max_active_runs == 1
    assert isinstance(dag.timetable, CronPartitionTimetable)
    assert set(dag.params) == {"day", "replay", "forecast"}
    assert dag.tags == {"anomalies", "elastic-ml", "logins", "shop", "webshop"}
    assert {task.owner for task in dag.tasks} == {"security"}
    assert all(task.retries == 2 and task.retry_policy for task in dag.tasks)


def test_a_job_in_real_time_waits_for_no_partition(folder):
    change(folder, 'schedule: "0 1 * * *"', "mode: realtime")
    dag = anomalies.build(folder)["anomalies_logins"]
    assert edges(dag) == [("alerts", "forecast"), ("detect", "alerts")]
    assert isinstance(dag.timetable, CronTriggerTimetable)
    assert set(dag.params) == {"since", "forecast"}


def test_a_population_job_has_no_forecast(folder):
    change(folder, "partition_field_name: user.id", "over_field_name: user.id")
    assert edges(anomalies.build(folder)["anomalies_logins"]) == [("detect", "alerts"), ("wait_for_data", "detect")]


@pytest.mark.parametrize(
    ("cron", "hours"), [("15 1 * * *", False), ("@daily", False), ("20 * * * *", True), ("@hourly", True)]
)
def test_an_hourly_schedule_has_partitions_of_an_hour(cron, hours):
    assert anomalies.hourly(cron) is hours


def test_the_page_names_the_job_and_every_param(folder):
    dag = anomalies.build(folder)["anomalies_logins"]
    assert dag.doc_md.startswith("anomalies_logins: ")
    assert "<job>" not in dag.doc_md
    change(folder, 'schedule: "0 1 * * *"', "mode: realtime")
    params = {*dag.params, *anomalies.build(folder)["anomalies_logins"].params}
    assert all(f"| `{name}` |" in dag.doc_md for name in params)


def test_params_are_checked(folder):
    params = anomalies.build(folder)["anomalies_logins"].params
    for name, wrong in {"day": "yesterday", "replay": "maybe", "forecast": "long"}.items():
        with pytest.raises(ParamValidationError):
            params.get_param(name).resolve(wrong)


def test_an_invalid_file_costs_its_own_dag_only(folder):
    (folder / "anomaly_jobs" / "broken.yml").write_text("owner: me\n")
    assert list(anomalies.build(folder)) == ["anomalies_logins"]


def test_the_dags_survive_serialization(folder):
    dag = anomalies.build(folder)["anomalies_logins"]
    assert DagSerialization.from_dict(DagSerialization.to_dict(dag)).dag_id == "anomalies_logins"


def test_the_example_on_the_docs_page_is_a_dag():
    page = (Path(__file__).parents[3] / "docs" / "anomaly-jobs.md").read_text()
    made: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], made)
    [dag] = [one for one in made.values() if isinstance(one, DAG)]
    assert [task.task_type for task in dag.tasks] == ["AnomalyPartitionOperator"]


# Waiting ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _served(tmp_path_factory):
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        project = load_project(copy_shop(tmp_path_factory.mktemp("setup")))
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        yield sandbox


@pytest.fixture
def shop(_served, folder):
    with connect(ElasticsearchSettings(url=_served.elasticsearch_url)) as client:
        made = Shop(_served, folder, client)
        made.empty()
        ledger = made.project.names.ledger
        client.delete_by_query(index=ledger, query={"match_all": {}}, refresh=True)
        _served.requests.clear()
        yield made


def ingested(shop: Shop, partition: str, state: str = "done") -> None:
    names = shop.project.names
    document = {"kind": "partition", "source": "shop", "partition": partition, "state": state}
    shop.client.index(index=names.ledger, id=names.partition_id("shop", partition), document=document, refresh=True)


def sensor(shop: Shop, partition: str = "2026-06-01", **more: Any) -> Any:
    arguments = {"project_folder": str(shop.folder), "job": JOB, "partition": partition, "poll_interval": 0.05}
    return shop.runner(AnomalyDataSensor, **{**arguments, **more})


def test_an_ingested_partition_is_not_waited_for(shop):
    ingested(shop, "2026-06-01")
    assert sensor(shop).run().value == {"partition": "2026-06-01"}


def test_a_partition_that_is_missing_is_waited_for_without_a_slot(shop):
    task = sensor(shop)
    assert task.run().state == "deferred"
    ingested(shop, "2026-06-01")
    assert task.resume(task.fire()).state == "success"


def test_the_deadline_names_what_is_missing(shop):
    ingested(shop, "2026-06-01", state="failed")
    error = sensor(shop, timeout=timedelta(0)).run().error
    assert isinstance(error, WaitTimeoutError)
    assert "Partition 2026-06-01 of source shop is failed." in str(error)


def test_a_stream_that_no_source_writes_is_ready_once_it_has_an_event_behind_the_partition(shop):
    for source in (shop.folder / "sources").glob("*.yml"):
        source.unlink()
    task = sensor(shop)
    assert task.run().state == "deferred"
    shop.client.index(
        index="logs-shop.audit-eu",
        op_type="create",
        document={"@timestamp": "2026-06-02T00:00:01Z", "event": {"id": "e1"}},
        refresh=True,
    )
    assert task.resume(task.fire()).state == "success"


# Detecting ----------------------------------------------------------------------------------------------------------


def detect(shop: Shop, **more: Any) -> Any:
    arguments = {"project_folder": str(shop.folder), "job": JOB, "partition": "2026-06-01", "deferrable": False}
    return shop.runner(DetectPartitionOperator, **{**arguments, "poll_interval": 0.05, **more})


def test_filters_job_datafeed_and_calendars_are_made_from_the_file_and_a_second_run_only_reads(shop):
    value = detect(shop).run().value
    assert (value["job_id"], value["state"]) == ("logins", "created")
    [job] = shop.client.ml.get_jobs(job_id="logins")["jobs"]
    assert job["analysis_config"]["detectors"][0]["custom_rules"][0]["scope"]["user.id"]["filter_id"] == "logins-robots"
    assert job["datafeed_config"]["indices"] == ["logs-shop.audit-eu"]
    assert job["custom_settings"]["project"] == "webshop", "removal and housekeeping go by it"
    assert shop.client.ml.get_filters(filter_id="logins-robots")["filters"][0]["items"] == ["crawler", "monitoring"]
    calendars = shop.client.ml.get_calendars(calendar_id="logins-*")["calendars"]
    assert {one["calendar_id"] for one in calendars} == {"logins-free_days", "logins-works"}
    assert all("logins" in one["job_ids"] for one in calendars)
    shop.sandbox.requests.clear()
    assert detect(shop).run().value["state"] == "unchanged"
    sent = {r.path for r in shop.sandbox.requests if r.method != "GET"}
    assert sent == {"/logs-shop.audit-eu/_search", "/_ml/calendars/logins-*"}, "both only read"


def test_the_files_replay_days_count(shop):
    shop.write("alert_score: 60", "alert_score: 60\nreplay_days: 3")
    task = detect(shop)
    assert task.run().state == "success"
    assert task.api.state_store["remote_job"]["spec"]["replay_days"] == 3


def test_a_v2_gets_the_calendars_too(shop):
    detect(shop).run()
    shop.write("bucket_span: 1h", "bucket_span: 2h")
    assert detect(shop, partition="2026-06-02").run().value["job_id"] == "logins_v2"
    [calendar] = shop.client.ml.get_calendars(calendar_id="logins-works")["calendars"]
    assert "logins_v2" in calendar["job_ids"]


def test_real_time_keeps_the_job_at_work_as_the_file_says(shop):
    shop.write('schedule: "0 1 * * *"', "mode: realtime")
    arguments = {"project_folder": str(shop.folder), "job": JOB}
    value = shop.complete(DetectRealtimeOperator, **arguments)
    assert (value["job_id"], value["state"]) == ("logins", "created")
    [feed] = shop.client.ml.get_datafeed_stats(datafeed_id="datafeed-logins")["datafeeds"]
    assert feed["state"] == "started"
    shop.write("bucket_span: 1h", "bucket_span: 2h")
    assert shop.complete(DetectRealtimeOperator, **arguments)["job_id"] == "logins_v2"


def test_an_invalid_file_is_named_and_nothing_is_sent(shop):
    shop.write("function: high_count", "function: high_cuont")
    error = detect(shop).run().error
    assert "did you mean high_count" in str(error).lower()
    assert [r for r in shop.sandbox.requests if r.method != "GET"] == []


def test_a_forecast_that_nobody_asked_for_is_skipped(shop):
    assert shop.runner(ForecastOnDemandOperator, job_id="logins", duration="").run().state == "skipped"
