"""Forecasts by a task: made once, waited for, the job left as it was found, population jobs refused."""

from __future__ import annotations

from typing import Any

import pytest
from harness.specification import specification
from harness.task_runner import TaskRunner, crash_after
from webshop_jobs.world import DAY, HOUR, JOB, Shop

from elastic_ml.clients.job_status import JobState, forecast_status, job_status
from elastic_ml.exceptions import ElasticMLError, InvalidRequestError, JobFailedError, NotFoundError, UnavailableError
from elastic_ml.links.kibana import SingleMetricViewerLink
from elastic_ml.operators.forecast import AnomalyForecastOperator

RESULTS = ".ml-anomalies-shared-000001"


def forecast(shop: Shop, **more: Any) -> TaskRunner:
    return shop.runner(AnomalyForecastOperator, **{"job_id": JOB, "poll_interval": 0.05, "duration": "6h"} | more)


def made(shop: Shop) -> list[dict[str, Any]]:
    query = {"term": {"result_type": "model_forecast_request_stats"}}
    shop.client.indices.refresh(index=RESULTS)
    return [hit["_source"] for hit in shop.client.search(index=RESULTS, query=query)["hits"]["hits"]]


def state(shop: Shop, job: str = JOB) -> str:
    return str(shop.client.ml.get_job_stats(job_id=job)["jobs"][0]["state"])


def rewrite(shop: Shop, forecast_id: str, **fields: Any) -> None:
    """Put a forecast into another state, as a busy node would show it."""
    name = f"{JOB}_model_forecast_request_stats_{forecast_id}"
    shop.client.update(index=RESULTS, id=name, doc=fields, refresh=True)


@pytest.fixture
def learned(shop: Shop) -> Shop:
    """A closed job that has seen two days of counts, its last hour unfinished."""
    shop.client.ml.put_job(
        job_id=JOB,
        data_description={"time_field": "@timestamp"},
        analysis_config={"bucket_span": "1h", "detectors": [{"function": "count"}]},
    )
    indices = {"indices": ["logs-shop.audit-eu"], "job_id": JOB}
    shop.client.ml.put_datafeed(datafeed_id=f"datafeed-{JOB}", **indices)
    shop.client.ml.open_job(job_id=JOB)
    lines = [{"@timestamp": DAY + hour * HOUR + minute * 60_000} for hour in range(48) for minute in range(0, 60, 20)]
    shop.client.ml.post_data(job_id=JOB, data=lines)
    shop.client.ml.close_job(job_id=JOB)
    shop.sandbox.requests.clear()
    return shop


def test_a_closed_job_is_opened_forecast_and_closed(learned: Shop) -> None:
    value = forecast(learned).complete().value
    [stats] = made(learned)
    assert value == {
        "job_id": JOB, "forecast_id": stats["forecast_id"], "start": DAY + 47 * HOUR, "end": DAY + 53 * HOUR,
        "records": 6, "expires": stats["forecast_create_timestamp"] + 14 * 24 * HOUR,
    }  # fmt: skip
    assert state(learned) == "closed"


def test_the_link_leads_to_the_viewer_of_the_job(learned: Shop) -> None:
    xcoms = forecast(learned).complete().xcoms
    assert "/app/ml/timeseriesexplorer?_g=(ml:(jobIds:!('logins'))" in xcoms[SingleMetricViewerLink().xcom_key]


def test_an_open_job_stays_open(learned: Shop) -> None:
    learned.client.ml.open_job(job_id=JOB)
    assert forecast(learned).complete().state == "success"
    assert state(learned) == "opened"


def test_a_second_run_makes_no_second_forecast(learned: Shop) -> None:
    first = forecast(learned).complete().value
    assert forecast(learned).complete().value == first
    assert len(made(learned)) == 1
    assert forecast(learned, duration="12h").complete().value["forecast_id"] != first["forecast_id"]


def test_new_data_gives_a_new_forecast(learned: Shop) -> None:
    first = forecast(learned).complete().value
    learned.client.ml.open_job(job_id=JOB)
    learned.sandbox.clock.advance(5)
    learned.client.ml.post_data(job_id=JOB, data=[{"@timestamp": DAY + (48 + hour) * HOUR} for hour in range(3)])
    learned.client.ml.close_job(job_id=JOB)
    assert forecast(learned).complete().value["start"] > first["start"]


@pytest.mark.parametrize("calls", range(13))
def test_a_worker_that_dies_after_any_request_leaves_one_forecast_and_a_closed_job(learned: Shop, calls: int) -> None:
    task = forecast(learned, deferrable=False)
    with crash_after(calls):
        task.run()
    result = task.run()
    assert result.state == "success", result.error
    assert (len(made(learned)), state(learned)) == (1, "closed")


def test_a_forecast_whose_answer_is_lost_is_found_again(learned: Shop) -> None:
    learned.sandbox.faults.add(
        action="cut_after", method="POST", path=f"/_ml/anomaly_detectors/{JOB}/_forecast", times=1
    )
    assert forecast(learned).complete().state == "success"
    assert len(made(learned)) == 1


def test_a_forecast_that_was_never_made_is_asked_for_by_the_next_try(learned: Shop) -> None:
    path = f"/_ml/anomaly_detectors/{JOB}/_forecast"
    learned.sandbox.faults.add(status=503, method="POST", path=path, times=1)
    task = forecast(learned)
    assert isinstance(task.run().error, UnavailableError)
    assert task.run().state == "success"
    assert len(made(learned)) == 1


def deferred(shop: Shop) -> tuple[TaskRunner, str]:
    """A task that waits in the triggerer for a forecast that takes its time."""
    task = forecast(shop)
    forecast(shop).complete()
    [stats] = made(shop)
    rewrite(shop, stats["forecast_id"], forecast_status="started", forecast_progress=0.4)
    assert task.run().state == "deferred"
    return task, stats["forecast_id"]


def test_a_long_forecast_is_waited_for_without_a_worker(learned: Shop) -> None:
    task, forecast_id = deferred(learned)
    assert task.deferral is not None
    assert task.deferral.trigger_kwargs["job_id"] == f"{JOB}/{forecast_id}"
    rewrite(learned, forecast_id, forecast_status="finished", forecast_progress=1.0)
    event = task.fire()
    assert event["status"] == "done"
    assert task.resume(event).value["forecast_id"] == forecast_id


def test_killing_the_deferred_task_closes_a_job_that_is_open_for_the_forecast_alone(learned: Shop) -> None:
    task, _ = deferred(learned)
    learned.client.ml.open_job(job_id=JOB)
    task.kill_deferred()
    assert state(learned) == "closed"


def test_killing_the_deferred_task_leaves_a_job_open_that_is_fed_in_real_time(learned: Shop) -> None:
    task, _ = deferred(learned)
    learned.client.ml.open_job(job_id=JOB)
    learned.client.ml.start_datafeed(datafeed_id=f"datafeed-{JOB}")
    task.kill_deferred()
    assert state(learned) == "opened"
    learned.client.ml.stop_datafeed(datafeed_id=f"datafeed-{JOB}")


def test_a_forecast_that_failed_says_why_and_the_next_try_makes_another(learned: Shop) -> None:
    task, forecast_id = deferred(learned)
    rewrite(learned, forecast_id, forecast_status="failed", forecast_messages=["disk space ran out"])
    task.api.state_store["remote_job"]["reattached"] = False
    error = task.resume(task.fire()).error
    assert isinstance(error, JobFailedError)
    assert "disk space ran out" in str(error)
    assert task.run().value["forecast_id"] != forecast_id


def test_upgrade_mode_is_waited_for(learned: Shop) -> None:
    learned.sandbox.faults.upgrade_mode = True
    task = forecast(learned)
    assert task.run().state == "deferred"
    assert task.deferral is not None
    assert task.deferral.trigger_kwargs["kind"] == "upgrade_mode"
    learned.sandbox.faults.upgrade_mode = False
    assert task.resume(task.fire()).state == "success"
    assert (len(made(learned)), state(learned)) == (1, "closed")


def test_a_population_job_has_no_forecast_and_the_error_says_so(shop: Shop) -> None:
    shop.client.ml.put_job(
        job_id="peers",
        data_description={"time_field": "@timestamp"},
        analysis_config={"detectors": [{"function": "count", "over_field_name": "user.id"}]},
    )
    error = forecast(shop, job_id="peers").run().error
    assert isinstance(error, InvalidRequestError)
    assert "peers compares with a population" in str(error)
    assert not [one for one in shop.sandbox.requests if "_open" in one.path or "_forecast" in one.path]


def test_a_job_without_data_has_no_forecast_and_is_not_opened(shop: Shop) -> None:
    shop.put_job()
    error = forecast(shop).run().error
    assert isinstance(error, InvalidRequestError)
    assert "has seen no data" in str(error)
    assert "the DAG anomalies_<file>, whatever version (_v2, ...) its id ends in" in str(error)
    assert state(shop) == "closed"


def test_an_unknown_job_and_a_wrong_duration_are_said(learned: Shop) -> None:
    assert isinstance(forecast(learned, job_id="nobody").run().error, NotFoundError)
    error = forecast(learned, duration="a week").run().error
    assert isinstance(error, InvalidRequestError)
    assert "'a week' is no duration" in str(error)


def test_a_duration_the_server_refuses_leaves_the_job_closed(learned: Shop) -> None:
    error = forecast(learned, duration="5m").run().error
    assert isinstance(error, InvalidRequestError)
    assert "bucket span" in str(error)
    assert state(learned) == "closed"


def test_every_state_of_a_forecast_is_known_and_another_is_an_error() -> None:
    states = {name: forecast_status({"forecast_status": name}).state for name in
              ("scheduled", "started", "ok", "finished", "stopped", "failed")}  # fmt: skip
    assert states == {
        "scheduled": JobState.WAITING, "started": JobState.RUNNING, "ok": JobState.RUNNING,
        "finished": JobState.DONE, "stopped": JobState.STOPPED, "failed": JobState.FAILED,
    }  # fmt: skip
    with pytest.raises(ElasticMLError, match="'dreaming'"):
        forecast_status({"forecast_status": "dreaming"})


def test_a_forecast_that_is_not_there_is_missing(learned: Shop) -> None:
    assert job_status(learned.client, "forecast", f"{JOB}/none").state is JobState.MISSING


def test_what_is_sent_fits_the_specification(learned: Shop) -> None:
    spec = specification()
    forecast(learned).complete()
    apis = [spec.api_of(one.method, one.path).api for one in learned.sandbox.requests]
    assert {"ml.forecast", "ml.open_job", "ml.close_job"} <= set(apis)
    for one, api in zip(learned.sandbox.requests, apis, strict=True):
        assert one.body is None or spec.check_request(api, one.body) == [], (api, one.body)
