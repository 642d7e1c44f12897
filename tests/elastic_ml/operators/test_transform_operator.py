"""One month of user-hours by a task, whatever happens in between, against the sandbox."""

import shutil
from pathlib import Path

import pytest
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.job_status import JobState, transform_status
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import JobFailedError
from elastic_ml.operators.transform import BatchTransformOperator
from elastic_ml.project import load_project
from elastic_ml.project.desired_state import desired_objects
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import serve

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
INDEX = "features-shop.user_hour"
NAME = f"{INDEX}-2024.05"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = Path(shutil.copytree(WEBSHOP, tmp_path_factory.mktemp("project") / "webshop"))
    text = (
        (folder / "project.yml").read_text().replace("  - {dataset: auth0.logs, namespace: prod, managed: false}\n", "")
    )
    (folder / "project.yml").write_text(f"{text}features: {{dataset: shop.user_hour}}\n")
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, load_project(folder), server_facts(client), mode="apply").raise_for_state()
        client.transform.stop_transform(transform_id=INDEX, wait_for_completion=True)
        operations = []
        for number in range(30):
            event = {"id": f"e{number}", "dataset": "shop.audit", "action": "login"}
            moment = f"2024-05-{number + 1:02}T10:00:00Z"
            operations += [{"create": {}}, {"@timestamp": moment, "user": {"id": "ana"}, "event": event}]
        client.bulk(index="logs-shop.audit-eu", operations=operations, refresh=True)
        yield sandbox


@pytest.fixture
def sandbox(served, folder):
    """The cluster with its events, without user-hours and without what an earlier test left."""
    with connect(ElasticsearchSettings(url=served.elasticsearch_url)) as client:
        client.options(ignore_status=404).transform.delete_transform(transform_id=NAME, force=True)
        client.delete_by_query(index=INDEX, query={"match_all": {}}, refresh=True)
        prepare = next(o for o in desired_objects(load_project(folder)) if o.name == f"{INDEX}@prepare")
        client.ingest.put_pipeline(id=prepare.name, body=prepare.body)
    served.requests.clear()
    return served


@pytest.fixture
def elasticsearch(sandbox):
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        yield client


def runner(sandbox, folder, **more):
    return TaskRunner(
        lambda: BatchTransformOperator(
            task_id="month", project_folder=str(folder), month="2024.05", poll_interval=0.05, **more
        ),
        connections={
            "elasticsearch_default": sandbox.elasticsearch_url,
            "kibana_default": {"host": sandbox.kibana_url},
        },
    )


def transforms(elasticsearch):
    return [t["id"] for t in elasticsearch.transform.get_transform()["transforms"]]


def user_hours(elasticsearch):
    elasticsearch.indices.refresh(index=INDEX)
    return elasticsearch.count(index=INDEX)["count"]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_month_is_written_and_its_transform_deleted(sandbox, elasticsearch, folder, deferrable):
    result = runner(sandbox, folder, deferrable=deferrable).complete()
    assert result.state == "success", result.error
    assert result.value == {"transform": NAME, "month": "2024.05", "index": INDEX, "user_hours": 30}
    assert (transforms(elasticsearch), user_hours(elasticsearch)) == ([INDEX], 30)


def test_the_transform_carries_where_it_comes_from(sandbox, elasticsearch, folder):
    runner(sandbox, folder).complete()
    [put] = sandbox.requests.matching("PUT", f"/_transform/{NAME}")
    meta = put.body["_meta"]
    assert (meta["airflow_dag"], meta["airflow_task"], meta["project"], meta["month"]) == (
        "dag", "month", "webshop", "2024.05"
    )  # fmt: skip


REQUESTS = 7
"""Stats, DELETE (nothing there), PUT, GET, start, stats, DELETE; further looks at the stats come before the last."""


@pytest.mark.parametrize("calls", range(REQUESTS + 1))
def test_a_worker_that_dies_after_any_request_leaves_one_month_and_no_transform(sandbox, elasticsearch, folder, calls):
    task = runner(sandbox, folder, deferrable=False)
    with crash_after(calls):
        assert task.run().state == "killed"
    result = task.complete()
    assert result.state == "success", result.error
    assert (transforms(elasticsearch), user_hours(elasticsearch)) == ([INDEX], 30)
    assert len([r for r in sandbox.requests if (r.method, r.path) == ("PUT", f"/_transform/{NAME}")]) <= 2


def test_another_runs_leftover_is_replaced(sandbox, elasticsearch, folder):
    elasticsearch.transform.put_transform(
        transform_id=NAME,
        source={"index": "logs-shop.audit-eu", "query": {"match_none": {}}},
        dest={"index": INDEX},
        pivot={
            "group_by": {"u": {"terms": {"field": "user.id"}}},
            "aggregations": {"n": {"value_count": {"field": "@timestamp"}}},
        },
    )
    assert runner(sandbox, folder).complete().value["user_hours"] == 30


def test_a_failed_transform_fails_the_task_with_the_servers_reason(sandbox, elasticsearch, folder):
    elasticsearch.ingest.put_pipeline(
        id=f"{INDEX}@prepare", processors=[{"set": {"field": "events", "value": "no number"}}]
    )
    result = runner(sandbox, folder).complete()
    assert isinstance(result.error, JobFailedError)
    assert "Failed to index documents into destination index" in str(result.error)


def test_killing_the_deferred_task_stops_the_transform(sandbox, elasticsearch, folder):
    # An error of status 500 is tried again for about a second: so long it runs.
    elasticsearch.ingest.put_pipeline(id=f"{INDEX}@prepare", processors=[{"fail": {"message": "not now"}}])
    task = runner(sandbox, folder, defer_after=0)
    assert task.run().state == "deferred"
    task.kill_deferred()
    [stats] = elasticsearch.transform.get_transform_stats(transform_id=NAME)["transforms"]
    assert stats["state"] == "stopped"


@pytest.mark.parametrize(
    ("stats", "state"),
    [
        ({"state": "stopped", "checkpointing": {"last": {"checkpoint": 1}}}, JobState.DONE),
        ({"state": "stopped", "checkpointing": {"last": {"checkpoint": 0}}}, JobState.STOPPED),
        ({"state": "indexing", "checkpointing": {"last": {"checkpoint": 0}}}, JobState.RUNNING),
        ({"state": "waiting", "reason": "destination index is blocked", "checkpointing": {}}, JobState.WAITING),
        ({"state": "failed", "reason": "why", "checkpointing": {}}, JobState.FAILED),
    ],
)
def test_states_are_read_from_stats(stats, state):
    found = transform_status({"id": "t", **stats})
    assert (found.state, found.reason) == (state, stats.get("reason", ""))


def test_progress_is_the_checkpoints():
    checkpointing = {"last": {"checkpoint": 0}, "next": {"checkpoint_progress": {"percent_complete": 41.7}}}
    assert transform_status({"id": "t", "state": "indexing", "checkpointing": checkpointing}).phase == "documents 41 %"
