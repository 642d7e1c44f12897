"""BulkIngestOperator on Airflow's own task runner: sources in turn, retries, clears, kills, asset events."""

from __future__ import annotations

import json
import logging

import pytest
from airflow.sdk import Asset
from harness.task_runner import TaskRunner

from elastic_ml.exceptions import IngestError, PartialFailureError, UnavailableError
from elastic_ml.lineage import DataLineage
from elastic_ml.operators.ingest import BulkIngestOperator, table

STREAM = "logs-acme.audit-test"
ASSET = Asset(name=STREAM, uri=f"elasticsearch://elasticsearch_default/{STREAM}")


@pytest.fixture
def runner(acme):
    def make(partition_key=None, connections=None, **operator):
        return TaskRunner(
            lambda: BulkIngestOperator(
                task_id="ingest", project_folder=str(acme.folder), **{"outlets": [ASSET], "retries": 2, **operator}
            ),
            connections={"elasticsearch_default": acme.sandbox.elasticsearch_url, **(connections or {})},
            partition_key=acme.day if partition_key is None else partition_key,
            params={"day": None},
            retries=2,
        )

    return make


def test_all_sources_are_taken_in_turn_and_counted(acme, runner):
    acme.write_source("verdicts", kind="labels", stream="logs-acme.labels-test", fields={})
    acme.deliver(acme.events(30))
    verdict = {
        "decision_id": "d",
        "event_id": "e-000004",
        "verdict": "confirmed",
        "decided_at": f"{acme.day}T12:00:00Z",
    }
    acme.deliver([verdict], "verdicts")
    executed = []
    result = runner(post_execute=lambda context, _: executed.append(context["task"])).run()
    assert result.state == "success", result.error
    assert executed[0].lineage() == DataLineage(writes=(STREAM, "logs-acme.labels-test", "ml-labels"))
    assert result.value == {
        "trail": {"stream": STREAM, "read": 30, "indexed": 30, "duplicate": 0, "rejected": 0},
        "verdicts": {"stream": "logs-acme.labels-test", "read": 1, "indexed": 1, "duplicate": 0, "rejected": 0},
    }
    label = acme.client.get(index="ml-labels", id="e-000004")["_source"]
    assert label["user_hour"] == f"ana|{acme.day}T10", "events come before verdicts, so the event was found"


def test_names_that_nobody_bears_are_counted_beside_the_figures(acme, runner):
    (acme.folder / "names.csv").write_text("name,user_id\nana,u-1\n")
    acme.write_source("trail", names="names.csv")
    acme.deliver([{**event, "user": "ana" if n else "root"} for n, event in enumerate(acme.events(3))])
    result = runner().run()
    assert result.state == "success", result.error
    figures = {"stream": STREAM, "read": 3, "indexed": 3, "duplicate": 0, "rejected": 0, "unresolved": 1}
    assert result.value == {"trail": figures}
    assert (
        acme.client.get(index=STREAM, id="e-000000", realtime=True)["_source"]["user"]["id"] == "unresolved:trail:root"
    )
    other = {**figures, "stream": "other"}
    del other["unresolved"]
    shown = table(acme.day, {"trail": figures, "other": other}, {}).splitlines()
    assert shown[1].endswith("unresolved")
    assert shown[2].endswith(" 1")
    assert shown[3].endswith(" 0"), "no name table, no figure"


def test_the_outlet_carries_the_figures_and_the_partition(acme, runner):
    acme.deliver(acme.events(3))
    result = runner().run()
    (event,) = result.outlet_events
    assert event["extra"]["partition"] == acme.day
    assert event["extra"]["sources"]["trail"]["indexed"] == 3
    assert acme.day in json.dumps(event)


def test_a_failing_source_does_not_stop_the_others_and_a_retry_takes_only_it(acme, runner):
    acme.write_source("broken", reader={"kind": "files", "path": f"{acme.folder}/missing-{{day}}"})
    acme.deliver(acme.events(10))
    run = runner()
    first = run.run()
    assert first.state == "up_for_retry"
    assert "failed for 1 of the sources. broken: The source broken reads" in str(first.error)
    assert len(acme.ids()) == 10
    assert first.outlet_events == []
    (acme.folder / f"missing-{acme.day}").write_text(json.dumps(acme.events(1, 500)[0]))
    acme.deliver(acme.events(20))
    second = run.run()
    assert second.state == "success"
    assert second.value["trail"]["read"] == 10, "done by the first try, not read again"
    assert second.value["broken"]["indexed"] == 1
    assert len(acme.ids()) == 11


def test_a_cleared_run_reads_everything_again(acme, runner):
    acme.deliver(acme.events(10))
    run = runner()
    run.run()
    run.clear()
    assert run.run().value["trail"] == {"stream": STREAM, "read": 10, "indexed": 0, "duplicate": 10, "rejected": 0}


def test_an_invalid_source_file_fails_its_own_turn_without_retries(acme, runner):
    (acme.folder / "sources" / "wrong.yml").write_text("stream: 5\n")
    acme.deliver(acme.events(5))
    result = runner().run()
    assert result.state == "failed", "another try would read the same file"
    assert "wrong.yml" in str(result.error)
    assert len(acme.ids()) == 5


def test_a_full_disk_stops_all_sources_without_retries(acme, runner):
    acme.write_source("second", reader={"kind": "files", "path": f"{acme.folder}/trail-{{day}}.ndjson"})
    acme.deliver(acme.events(5))
    acme.sandbox.faults.flood_stage_pattern = "*logs-acme.audit*"
    result = runner().run()
    assert result.state == "failed"
    assert "flood-stage" in str(result.error)
    assert acme.ids() == []


def test_a_cluster_that_is_gone_is_one_error_and_tried_for_one_source_only(acme, runner, monkeypatch, caplog):
    monkeypatch.setattr("elastic_ml.clients.elasticsearch.MAX_RETRIES", 2)
    monkeypatch.setattr("elastic_ml.clients.elasticsearch.BACKOFF_BASE_SECONDS", 0.01)
    for name in ("billing", "payroll"):
        acme.write_source(name)
    gone = "http://127.0.0.1:9"
    with caplog.at_level(logging.INFO):
        result = runner(connections={"elasticsearch_default": gone}).run()
    assert result.state == "up_for_retry"
    assert isinstance(result.error, UnavailableError)
    said = str(result.error)
    assert said.startswith(f"Ingesting {acme.day} stopped, as Elasticsearch does not answer. GET /ml-ledger/")
    assert f"cannot connect to {gone}" in said
    assert "Check that the cluster runs" in said
    assert said.count("cannot connect") == 1
    assert "payroll" not in caplog.text
    assert "Traceback" not in caplog.text
    assert len(caplog.text.splitlines()) < 25


def test_a_source_that_is_unavailable_does_not_stop_the_others(acme, runner, monkeypatch):
    monkeypatch.setattr("elastic_ml.sources.readers.http_client.MOST_ATTEMPTS", 1)
    window = {"from": "{start}", "to": "{end}"}
    reader = {"kind": "http", "conn_id": "identity", "path": "/activities", "options": {"params": window}}
    acme.write_source("away", adapter="ping_one", reader=reader, fields={})
    acme.deliver(acme.events(2))
    result = runner(connections={"identity": "http://127.0.0.1:9"}).run()
    assert isinstance(result.error, PartialFailureError)
    assert list(result.error.failures) == ["away"]
    assert len(acme.ids()) == 2


@pytest.mark.parametrize("partition", ["None", "yesterday"])
def test_without_a_partition_it_says_what_to_set(acme, runner, partition):
    result = runner(partition=partition).run()
    assert result.state == "failed"
    assert "set the param `day`" in str(result.error)


def test_a_mistyped_key_of_the_conf_is_named_beside_those_that_there_are(acme):
    run = TaskRunner(
        lambda: BulkIngestOperator(task_id="ingest", project_folder=str(acme.folder)),
        connections={"elasticsearch_default": acme.sandbox.elasticsearch_url},
        params={"day": None, "replay": None},
        conf={"dya": acme.day},
    )
    result = run.run()
    assert result.state == "failed"
    assert "The run's conf has the unknown key dya; known: day, replay." in str(result.error)


def test_a_mistyped_key_beside_a_partition_is_a_warning(acme, capsys):
    acme.deliver(acme.events(4))
    run = TaskRunner(
        lambda: BulkIngestOperator(task_id="ingest", project_folder=str(acme.folder)),
        connections={"elasticsearch_default": acme.sandbox.elasticsearch_url},
        params={"day": None, "replay": None},
        conf={"day": acme.day, "repaly": "failures"},
    )
    assert run.run().value["trail"]["indexed"] == 4
    assert "unknown key repaly; known: day, replay. It changes nothing." in capsys.readouterr().out


def test_where_no_source_is_done_the_error_does_not_say_so(acme, runner):
    acme.write_source("broken", reader={"kind": "files", "path": f"{acme.folder}/missing-{{day}}"})
    result = runner().run()
    assert result.error.remedy == "No source is done; a retry takes them all."
    acme.deliver(acme.events(1))
    assert runner().run().error.remedy == "Done: trail; a retry takes only the others."


def test_a_run_by_hand_takes_the_day_from_its_params(acme):
    acme.deliver(acme.events(4))
    run = TaskRunner(
        lambda: BulkIngestOperator(task_id="ingest", project_folder=str(acme.folder)),
        connections={"elasticsearch_default": acme.sandbox.elasticsearch_url},
        params={"day": acme.day},
    )
    assert run.run().value["trail"]["indexed"] == 4


def test_only_sources_of_the_partitions_size_and_after_their_start_are_taken(acme, runner):
    acme.write_source("hourly", partition="hour", reader={"kind": "files", "path": f"{acme.folder}/h-{{hour}}.ndjson"})
    acme.write_source("future", start_date="2999-01-01")
    path = acme.folder / "sources" / "future.yml"
    path.write_text(path.read_text().replace("'2999-01-01'", "2999-01-01"))
    acme.deliver(acme.events(2))
    assert list(runner().run().value) == ["trail"]
    (acme.folder / "h-10.ndjson").write_text(json.dumps(acme.events(1)[0]))
    assert list(runner(partition_key=f"{acme.day}T10").run().value) == ["hourly"]


def test_sources_can_be_named_and_an_unknown_one_is_refused(acme, runner):
    acme.deliver(acme.events(2))
    assert list(runner(sources=["trail"]).run().value) == ["trail"]
    assert "has no source trial; it has trail" in str(runner(sources=["trial"]).run().error)


def test_a_killed_task_gives_its_lease_up(acme):
    acme.deliver(acme.events(10))
    operator = BulkIngestOperator(task_id="ingest", project_folder=str(acme.folder))
    attempt = acme.prepared()
    account = attempt._account

    def kill(result):
        operator.on_kill()
        account(result)

    attempt._account = kill
    operator._running = attempt
    with pytest.raises(Exception, match="stopped"):
        attempt.run()
    assert acme.record()["owner"] is None


def test_the_log_ends_with_a_table():
    figures = {"stream": STREAM, "read": 1234, "indexed": 1200, "duplicate": 30, "rejected": 4}
    assert table("2026-11-10", {"trail": figures}, {"second": IngestError("no file")}).splitlines() == [
        "Partition 2026-11-10",
        "source  stream                 read  indexed  duplicate  rejected",
        "trail   logs-acme.audit-test  1,234    1,200         30         4",
        "second  failed",
    ]


def test_a_replay_reads_what_was_rejected_and_not_the_sources(acme, runner):
    acme.deliver([*acme.events(3), "not json"])
    assert runner().run().value["trail"]["rejected"] == 1
    assert runner(replay="failures").run().value["trail"] == {
        "stream": STREAM, "read": 1, "indexed": 0, "duplicate": 0, "rejected": 1,
    }  # fmt: skip
    refused = runner(replay="everything").run()
    assert refused.state == "failed"
    assert "Write `failures`" in str(refused.error)


def test_a_killed_task_begins_no_other_source(acme, runner, monkeypatch):
    """Airflow's handler of SIGTERM returns to where the task was."""
    acme.write_source("second")
    acme.deliver(acme.events(3))
    acme.deliver(acme.events(3), "second")
    ingest = BulkIngestOperator._ingest
    begun = []

    def killed(self, context, project, source, partition):
        begun.append(source.name)
        self.on_kill()
        return ingest(self, context, project, source, partition)

    monkeypatch.setattr(BulkIngestOperator, "_ingest", killed)
    error = runner().run().error
    assert isinstance(error, PartialFailureError)
    assert len(begun) == 1
    assert "was not begun: the task was killed" in str(error)
