"""What the states of jobs and datafeeds mean for whoever waits."""

import pytest

from elastic_ml.clients.job_status import ANOMALY_JOB, DATAFEED, JobState, anomaly_job_status, datafeed_status
from elastic_ml.clients.job_status import job_statuses as statuses_of
from elastic_ml.exceptions import ElasticMLError

NODE = {"name": "n"}


@pytest.mark.parametrize(
    ("stats", "state"),
    [
        ({"state": "opened", "node": NODE, "assignment_explanation": ""}, JobState.DONE),
        ({"state": "opened", "assignment_explanation": ""}, JobState.DONE),  # Serverless shows no node
        ({"state": "opened", "assignment_explanation": "upgrade mode"}, JobState.WAITING),
        ({"state": "opening", "assignment_explanation": "no node has room"}, JobState.WAITING),
        ({"state": "closing"}, JobState.RUNNING),
        ({"state": "closed"}, JobState.STOPPED),
        ({"state": "failed"}, JobState.FAILED),
    ],
)
def test_a_job_is_ready_once_it_is_open_on_a_node(stats, state):
    assert anomaly_job_status(stats).state is state


@pytest.mark.parametrize(
    ("stats", "state"),
    [
        ({"state": "started", "node": NODE}, JobState.RUNNING),
        ({"state": "started", "assignment_explanation": "upgrade mode"}, JobState.WAITING),
        ({"state": "starting", "assignment_explanation": "the job is opening"}, JobState.WAITING),
        ({"state": "stopping", "node": NODE}, JobState.RUNNING),
        ({"state": "stopped"}, JobState.DONE),
    ],
)
def test_a_look_back_is_over_once_its_datafeed_has_stopped(stats, state):
    assert datafeed_status(stats).state is state


def test_why_it_waits_and_how_far_it_is_are_told():
    assert anomaly_job_status({"state": "opening", "assignment_explanation": "no room"}).phase == "waiting: no room"
    running = {"search_interval": {"start_ms": 0, "end_ms": 1772496000000}}
    assert datafeed_status({"state": "started", "node": NODE, "running_state": running}).phase == (
        "running, up to 2026-03-03 00:00 UTC"
    )


@pytest.mark.parametrize("read", [anomaly_job_status, datafeed_status])
def test_an_unknown_state_is_an_error_that_names_it(read):
    with pytest.raises(ElasticMLError, match="'hibernating'"):
        read({"state": "hibernating", "job_id": "j", "datafeed_id": "d"})


async def _statuses(sandbox, kind, ids):
    from elasticsearch import AsyncElasticsearch

    client = AsyncElasticsearch(sandbox.elasticsearch_url, node_class="httpxasync")
    try:
        return await statuses_of(client, kind, ids)
    finally:
        await client.close()


@pytest.mark.parametrize(("kind", "prefix"), [(ANOMALY_JOB, ""), (DATAFEED, "datafeed-")])
def test_one_request_answers_for_all_who_wait(sign_ins, kind, prefix):
    import asyncio

    for name in ("one", "two"):
        assert sign_ins.keeper(job_id=name).run().state == "success"
    sign_ins.forget()
    found = asyncio.run(_statuses(sign_ins.sandbox, kind, [f"{prefix}one", f"{prefix}two", "gone"]))
    assert [status.state for status in found.values()][-1] is JobState.MISSING
    assert len(sign_ins.sandbox.requests) == 1
