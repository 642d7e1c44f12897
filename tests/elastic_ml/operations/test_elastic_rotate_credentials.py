"""Rotation: everything that runs with another key than the connection's gets the connection's."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.operations import Operations
from clinic.world import STREAM
from elastic_transport import Transport
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.clients.kibana import KibanaClient
from elastic_ml.clients.settings import KibanaSettings
from elastic_ml.maintenance import credentials
from elastic_ml.stages import rotate_credentials

OLD, NEW = "old-key", "new-key"
JOB, FEED, TRANSFORM = "bursts", "datafeed-bursts", "features-clinic.user_hour"
JOB_FILE = """
owner: privacy
mode: realtime
job:
  analysis_config: {bucket_span: 15m, detectors: [{function: count}]}
datafeed: {indices: [logs-clinic.access-eu]}
"""


@pytest.fixture
def aged(clinic: Operations) -> Iterator[Operations]:
    """The clinic with a transform and a running datafeed of the old key; the connection presents the new one."""
    backend = clinic.sandbox.backend
    folder = Path(clinic.folder) / "anomaly_jobs"
    folder.mkdir()
    (folder / f"{JOB}.yml").write_text(JOB_FILE)
    backend.api_key_id = OLD
    clinic.client.transform.update_transform(transform_id=TRANSFORM, description="by the old key")
    clinic.client.ml.put_job(
        job_id=JOB,
        analysis_config={"bucket_span": "15m", "detectors": [{"function": "count"}]},
        data_description={"time_field": "@timestamp"},
    )
    clinic.client.ml.put_datafeed(datafeed_id=FEED, job_id=JOB, indices=[STREAM])
    clinic.client.ml.open_job(job_id=JOB)
    clinic.client.ml.start_datafeed(datafeed_id=FEED)
    backend.api_key_id = NEW
    yield clinic
    backend.api_key_id = None


def runner(clinic: Operations, **params: Any) -> TaskRunner:
    key = base64.b64encode(f"{NEW}:secret".encode()).decode()
    task = clinic.runner(rotate_credentials, "elastic_rotate_credentials", "rotate", **params)
    task.connections["elasticsearch_default"] = {
        "conn_type": "elastic",
        "host": clinic.sandbox.elasticsearch_url,
        "extra": f'{{"api_key": "{key}"}}',
    }
    return task


def run(clinic: Operations, **params: Any) -> dict[str, str]:
    """What the table says: kind and name → action."""
    result = runner(clinic, **params).complete()
    assert result.state == "success", result.error
    return {f"{step['kind']} {step['name']}": step["action"] for step in result.value["steps"]}


def keys(clinic: Operations) -> list[str]:
    shown = [
        clinic.client.transform.get_transform(transform_id=TRANSFORM)["transforms"][0],
        clinic.client.ml.get_datafeeds(datafeed_id=FEED)["datafeeds"][0],
    ]
    return [one["authorization"]["api_key"]["id"] for one in shown]


def feed_state(clinic: Operations) -> str:
    return str(clinic.client.ml.get_datafeed_stats(datafeed_id=FEED)["datafeeds"][0]["state"])


def test_without_apply_it_only_lists_what_is_on_another_key(aged: Operations) -> None:
    listed = run(aged)
    assert listed == {f"transform {TRANSFORM}": "would rotate", f"datafeed {FEED}": "would rotate"}
    assert keys(aged) == [OLD, OLD]


def test_everything_runs_with_the_new_key_and_a_real_time_datafeed_runs_on(aged: Operations) -> None:
    done = run(aged, apply=True)
    assert set(done.values()) == {"rotated"}
    assert keys(aged) == [NEW, NEW]
    assert feed_state(aged) == "started"
    # Nothing but whose rights it has is another.
    assert aged.client.transform.get_transform(transform_id=TRANSFORM)["transforms"][0]["description"] == (
        "by the old key"
    )


def test_datafeeds_get_the_key_of_learn_and_transforms_that_of_setup(aged: Operations) -> None:
    project = Path(aged.folder) / "project.yml"
    project.write_text(project.read_text() + "\nconnections: {learn: elastic_learn}\n")
    task = runner(aged, apply=True)
    task.connections["elastic_learn"] = dict(task.connections["elasticsearch_default"])
    key = base64.b64encode(f"{NEW}:of learn".encode()).decode()
    task.connections["elastic_learn"]["extra"] = f'{{"api_key": "{key}"}}'
    sent: dict[str, str] = {}
    perform = Transport.perform_request

    def watched(self: Any, method: str, target: str, **more: Any) -> Any:
        sent[f"{method} {target}"] = str((more.get("headers") or {}).get("authorization", ""))
        return perform(self, method, target, **more)

    with pytest.MonkeyPatch.context() as patch:
        # The sandbox's log keeps no credentials.
        patch.setattr(Transport, "perform_request", watched)
        result = task.complete()
    assert result.state == "success", result.error
    assert sent[f"POST /_ml/datafeeds/{FEED}/_update"] == f"ApiKey {key}"
    assert sent[f"POST /_transform/{TRANSFORM}/_update"] not in {"", f"ApiKey {key}"}


def test_a_second_run_sends_no_update(aged: Operations) -> None:
    run(aged, apply=True)
    aged.sandbox.requests.clear()
    assert set(run(aged, apply=True).values()) == {"current"}
    assert {entry.method for entry in aged.sandbox.requests} == {"GET"}


def test_a_datafeed_that_feeds_a_partition_is_left_and_listed(aged: Operations) -> None:
    aged.client.ml.stop_datafeed(datafeed_id=FEED)
    aged.index(5)
    # With an end to come it stays `started` until then.
    aged.client.ml.start_datafeed(datafeed_id=FEED, end="2099-01-01T00:00:00Z")
    result = runner(aged, apply=True).complete()
    assert result.state == "up_for_retry"
    assert "feeds a partition right now" in str(result.error)
    assert keys(aged) == [NEW, OLD]


def test_a_crash_after_any_request_leaves_no_datafeed_stopped(aged: Operations) -> None:
    task = runner(aged, apply=True)
    steps = 0
    while True:
        with crash_after(steps):
            result = task.run()
        if result.state != "killed":
            break
        steps += 1
    assert result.state == "success", result.error
    assert keys(aged) == [NEW, NEW]
    assert feed_state(aged) == "started"
    assert task.api.state_store == {}


def test_rules_of_the_project_get_a_new_key_and_others_do_not(aged: Operations) -> None:
    query = {"esqlQuery": {"esql": f"FROM {STREAM} | LIMIT 1"}}
    rule = {
        "rule_type_id": ".es-query",
        "consumer": "stackAlerts",
        "schedule": {"interval": "5m"},
        "actions": [],
        "params": {
            "searchType": "esqlQuery",
            **query,
            "size": 0,
            "threshold": [0],
            "thresholdComparator": ">",
            "timeField": "@timestamp",
            "timeWindowSize": 5,
            "timeWindowUnit": "m",
        },
    }
    with KibanaClient(KibanaSettings(url=aged.sandbox.kibana_url)) as kibana:
        for name, tags in (("ours", ["elastic-ml", "clinic"]), ("theirs", ["elastic-ml"])):
            kibana.request("POST", "/api/alerting/rule", body={**rule, "name": name, "tags": tags})
        before = updated_at(kibana)
    task = runner(aged, apply=True)
    task.connections["kibana_default"] = {"conn_type": "kibana", "host": aged.sandbox.kibana_url}
    result = task.complete()
    assert result.state == "success", result.error
    rules = [step for step in result.value["steps"] if step["kind"] == "rule"]
    assert [(step["name"], step["action"]) for step in rules] == [("ours", "rotated")]
    with KibanaClient(KibanaSettings(url=aged.sandbox.kibana_url)) as kibana:
        after = updated_at(kibana)
    assert after["ours"] > before["ours"]
    assert after["theirs"] == before["theirs"]


def updated_at(kibana: KibanaClient) -> dict[str, str]:
    return {rule["name"]: rule["updated_at"] for rule in kibana.request("GET", "/api/alerting/rules/_find")["data"]}


def test_no_secret_reaches_the_result_or_an_error(aged: Operations) -> None:
    aged.sandbox.faults.add(
        method="POST", path="/_transform/*/_update", status=403, type="security_exception", times=99
    )
    result = runner(aged, apply=True).complete()
    assert "still on the old key" in str(result.error)
    said = f"{result.error} {result.xcoms}"
    assert "secret" not in said
    assert base64.b64encode(f"{NEW}:secret".encode()).decode() not in said


def test_a_datafeed_that_is_deleted_while_it_is_stopped_does_not_keep_the_others_from_the_new_key(
    aged: Operations,
) -> None:
    task = runner(aged, apply=True)
    steps = 0
    while feed_state(aged) == "started":
        with crash_after(steps):
            assert task.run().state == "killed"
        steps += 1
    aged.client.ml.delete_datafeed(datafeed_id=FEED, force=True)
    result = task.complete()
    assert result.state == "success", result.error
    assert [step["kind"] for step in result.value["steps"]] == ["transform"]
    assert task.api.state_store == {}


def test_what_is_deleted_between_the_look_and_the_update_is_gone_not_on_the_old_key(
    aged: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = credentials.datafeeds_of

    def deleted_meanwhile(client: Any, project: Any) -> Any:
        found = listed(client, project)
        client.ml.delete_datafeed(datafeed_id=FEED, force=True)
        return found

    monkeypatch.setattr(credentials, "datafeeds_of", deleted_meanwhile)
    assert run(aged, apply=True)[f"datafeed {FEED}"] == "gone"
