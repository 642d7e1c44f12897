import asyncio
import json
import time

import pytest
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize

from elastic_ml.triggers.remote_job import RemoteJobTrigger

CONN = "es"


@pytest.fixture(autouse=True)
def connection(request, monkeypatch):
    if "sandbox" in request.fixturenames:
        url = request.getfixturevalue("sandbox").elasticsearch_url
        monkeypatch.setenv("AIRFLOW_CONN_ES", json.dumps({"conn_type": "elastic", "host": url}))


def trigger(kind="data_frame_analytics", job_id="job", **more):
    more = {"deadline": time.time() + 20, "poll_interval": 0.1, **more}
    return RemoteJobTrigger(kind=kind, job_id=job_id, elastic_conn_id=CONN, **more)


async def event_of(waiting, timeout=20):
    events = waiting.run()
    try:
        return (await asyncio.wait_for(anext(events), timeout)).payload
    finally:
        await events.aclose()


def put_source(elasticsearch, rows=40):
    elasticsearch.indices.create(
        index="rows", mappings={"properties": {"a": {"type": "double"}, "y": {"type": "keyword"}}}
    )
    lines = []
    for n in range(rows):
        lines += [{"index": {"_id": str(n)}}, {"a": float(n % 7), "y": "true" if n % 7 > 3 else "false"}]
    elasticsearch.bulk(index="rows", operations=lines, refresh=True)


def put_job(elasticsearch, job_id="job"):
    elasticsearch.ml.put_data_frame_analytics(
        id=job_id,
        source={"index": ["rows"]},
        dest={"index": f"out-{job_id}"},
        analysis={"classification": {"dependent_variable": "y", "max_trees": 5}},
        analyzed_fields=["a", "y"],
        allow_lazy_start=True,
    )


def stats_requests(sandbox):
    return [
        r for r in sandbox.requests if r.path.startswith("/_ml/data_frame/analytics/") and r.path.endswith("/_stats")
    ]


def test_a_trigger_survives_being_serialised():
    one = trigger(stop_on_kill=False)
    path, kwargs = one.serialize()
    again = import_string(path)(**deserialize(serialize(kwargs)))
    assert again.serialize() == one.serialize()
    json.dumps(kwargs)


@pytest.mark.parametrize(
    "wrong", [{"kind": "pipeline"}, {"job_id": ""}, {"job_id": None}, {"deadline": float("inf")}, {"poll_interval": 0}]
)
def test_arguments_that_would_fail_in_the_triggerer_are_refused_where_they_are_written(wrong):
    with pytest.raises(ValueError, match=r"kind|job_id|deadline|poll_interval"):
        trigger(**wrong)


def test_a_finished_job_fires_done(sandbox, elasticsearch):
    put_source(elasticsearch)
    put_job(elasticsearch)
    elasticsearch.ml.start_data_frame_analytics(id="job")
    event = asyncio.run(event_of(trigger()))
    assert (event["status"], event["kind"], event["job_id"]) == ("done", "data_frame_analytics", "job")


def test_a_job_that_is_not_there_fires_missing(sandbox):
    assert asyncio.run(event_of(trigger(job_id="nowhere")))["status"] == "missing"
    assert asyncio.run(event_of(trigger(kind="task", job_id="abcdefghijklmnopqrstuv:99999")))["status"] == "missing"


def test_a_job_that_was_never_started_fires_stopped(sandbox, elasticsearch):
    put_source(elasticsearch)
    put_job(elasticsearch)
    assert asyncio.run(event_of(trigger()))["status"] == "stopped"


def test_the_deadline_stops_the_job_and_fires_timeout(sandbox, elasticsearch):
    put_source(elasticsearch)
    put_job(elasticsearch)
    sandbox.faults.lazy_assignment = True
    elasticsearch.ml.start_data_frame_analytics(id="job")
    event = asyncio.run(event_of(trigger(deadline=time.time() + 0.5)))
    assert event["status"] == "timeout"
    stats = elasticsearch.ml.get_data_frame_analytics_stats(id="job")["data_frame_analytics"][0]
    assert stats["state"] in {"stopped", "stopping"}


def test_on_kill_stops_the_job_unless_told_otherwise(sandbox, elasticsearch):
    put_source(elasticsearch)
    put_job(elasticsearch)
    sandbox.faults.lazy_assignment = True
    elasticsearch.ml.start_data_frame_analytics(id="job")
    asyncio.run(trigger(stop_on_kill=False).on_kill())
    state = elasticsearch.ml.get_data_frame_analytics_stats(id="job")["data_frame_analytics"][0]["state"]
    assert state in {"starting", "started"}
    asyncio.run(trigger().on_kill())
    state = elasticsearch.ml.get_data_frame_analytics_stats(id="job")["data_frame_analytics"][0]["state"]
    assert state in {"stopped", "stopping"}


def test_thirty_waits_cost_one_request_per_interval(sandbox, elasticsearch):
    put_source(elasticsearch)
    sandbox.faults.lazy_assignment = True
    names = [f"job-{n}" for n in range(30)]
    for name in names:
        put_job(elasticsearch, name)
        elasticsearch.ml.start_data_frame_analytics(id=name)
    before = len(stats_requests(sandbox))

    async def wait_for_all():
        waits = [asyncio.create_task(event_of(trigger(job_id=n, poll_interval=0.2))) for n in names]
        await asyncio.sleep(1.1)
        asked = len(stats_requests(sandbox)) - before
        elasticsearch.ml.stop_data_frame_analytics(id="job-*")
        return asked, await asyncio.gather(*waits)

    asked, events = asyncio.run(wait_for_all())
    assert 2 <= asked <= 6
    assert {e["status"] for e in events} == {"stopped"}


def test_a_cluster_that_stumbles_does_not_end_the_wait(sandbox, elasticsearch):
    put_source(elasticsearch)
    put_job(elasticsearch)
    for status in (429, 503, 502):
        sandbox.faults.add(path="/_ml/data_frame/analytics/*_stats", status=status)
    sandbox.faults.add(path="/_ml/data_frame/analytics/*_stats", action="cut_before")
    elasticsearch.options(max_retries=0).ml.start_data_frame_analytics(id="job")
    assert asyncio.run(event_of(trigger()))["status"] == "done"


def test_a_refusal_asks_the_operator_to_look_itself(sandbox, elasticsearch):
    sandbox.faults.add(path="/_ml/data_frame/analytics/*_stats", status=401, times=None)
    event = asyncio.run(event_of(trigger()))
    assert event["status"] == "check"
    assert "the server does not know who we are" in event["reason"]


def test_upgrade_mode_is_waited_for(sandbox, elasticsearch):
    elasticsearch.ml.set_upgrade_mode(enabled=True)

    async def wait():
        waiting = asyncio.create_task(event_of(trigger(kind="upgrade_mode", job_id="machine_learning")))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        elasticsearch.ml.set_upgrade_mode(enabled=False)
        return await waiting

    assert asyncio.run(wait())["status"] == "done"


def test_a_pause_ends_by_itself_and_knows_its_deadline():
    assert asyncio.run(event_of(trigger(kind="pause", poll_interval=0.05)))["status"] == "done"
    assert (
        asyncio.run(event_of(trigger(kind="pause", deadline=time.time() + 0.05, poll_interval=9)))["status"]
        == "timeout"
    )
