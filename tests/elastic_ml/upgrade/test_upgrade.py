"""A cluster that an earlier release has set up, with work in flight, under this release; and the other way round."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from clinic.world import STREAM, Clinic, ClinicApi, short_waits
from harness.task_runner import Result, TaskRunner

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.exceptions import NotReadyError
from elastic_ml.ingest.ledger import Ledger
from elastic_ml.operators.remote_job import STATE_KEY, RemoteJob
from elastic_ml.project import load_project
from elastic_ml.project.check import findings
from elastic_ml.project.objects import KINDS
from elastic_ml.project.server_objects import INDEX, TRANSFORM
from elastic_ml.project.setup import SetupReport, run_setup
from elastic_ml.project.streams import managed_streams
from elastic_sandbox.testing import serve

RECORDED = Path(__file__).parent / "release-0.0.9"
BY_WORD = {kind.word: kind for kind in (*KINDS.values(), INDEX)}
OLD_POLICY = next(one["name"] for one in json.loads((RECORDED / "objects.json").read_text()) if "enrich" in one["kind"])


@dataclass
class Upgraded:
    """The clinic as the earlier release left it, and as this one finds it."""

    clinic: Clinic
    reports: dict[str, SetupReport] = field(default_factory=dict)
    trained: Result | None = None
    started: RemoteJob | None = None
    work: list[tuple[str, str]] = field(default_factory=list)

    def setup(self, mode: str, **more: Any) -> SetupReport:
        client = self.clinic.client
        project = load_project(self.clinic.folder)
        return run_setup(client, project, server_facts(client), mode=mode, **more)  # type: ignore[arg-type]

    def task(self, stage: str, dag: str, task_id: str, **conf: Any) -> TaskRunner:
        runner = TaskRunner(
            lambda: import_module(f"elastic_ml.stages.{stage}").build(self.clinic.folder)[dag].get_task(task_id),
            connections={"elasticsearch_default": self.clinic.sandbox.elasticsearch_url},
            xcoms=self.clinic.xcoms,
            dag_id=dag,
            conf=conf,
            triggering_user_name="bo",
            retries=3,
        )
        runner.api = ClinicApi(**vars(runner.api))
        return runner


def leave_behind(client: Any) -> None:
    """What the earlier release's elastic_setup did."""
    for one in json.loads((RECORDED / "objects.json").read_text(encoding="utf-8")):
        kind = BY_WORD[one["kind"]]
        if kind is TRANSFORM:
            continue
        if one["executes"]:
            client.enrich.execute_policy(name=one["executes"], wait_for_completion=True)
        kind.write(client, one["name"], one["body"])
    project = load_project(RECORDED / "include")
    for stream in managed_streams(project):
        client.indices.create_data_stream(name=stream.name)
    client.indices.create(index=project.names.features)
    transform = json.loads((RECORDED / "objects.json").read_text(encoding="utf-8"))[-1]
    TRANSFORM.write(client, transform["name"], transform["body"])
    client.transform.start_transform(transform_id=transform["name"])


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """The upgrade, with a training deferred and an anomaly job in real time: setup's reports by what was asked."""
    folder = tmp_path_factory.mktemp("upgrade") / "include"
    shutil.copytree(RECORDED / "include", folder)
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client, short_waits():
        clinic = Clinic(sandbox, folder, client)
        it = Upgraded(clinic)
        leave_behind(client)
        clinic.fill()
        client.indices.refresh(index="*")
        model = folder / "models" / "misuse.yml"
        text = model.read_text()
        # As the earlier release rendered the analytics job: the same model now gives a job of another id.
        model.write_text(text.replace("max_trees: 20", "max_trees: 20, randomize_seed: 7"))
        for task_id in ("readiness", "training_set"):
            result = clinic.run("train_misuse", task_id)
            assert result.state == "success", result.error
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("AIRFLOW__ELASTIC_ML__DEFER_AFTER", "0")
            training = clinic.runner("train_misuse", "train")
            left = training.run()
        assert left.state == "deferred", left.error
        it.started = RemoteJob.from_json(training.api.state_store[STATE_KEY])
        detect = it.task("anomalies", "anomalies_live", "detect").complete()
        assert detect.state == "success", detect.error

        model.write_text(text)  # this release renders another body
        it.reports["plan"] = it.setup("plan")
        it.work = states(client)
        it.reports["apply"] = it.setup("apply")
        it.reports["again"] = it.setup("apply")
        it.trained = training.resume(training.fire())
        if it.trained.state == "deferred":
            it.trained = training.complete()
        clinic.keep("train", it.trained)
        yield it


def states(client: Any) -> list[tuple[str, str]]:
    """Jobs and datafeeds with their states."""
    ml = client.ml
    return [
        *((one["job_id"], one["state"]) for one in ml.get_job_stats()["jobs"]),
        *((one["datafeed_id"], one["state"]) for one in ml.get_datafeed_stats()["datafeeds"]),
    ]


def rows(report: SetupReport) -> dict[tuple[str, str], str]:
    return {(row.kind, row.name): row.state for row in report.rows}


# the upgrade


def test_the_plan_names_each_difference(upgraded: Upgraded) -> None:
    plan = rows(upgraded.reports["plan"])
    assert {each for each, state in plan.items() if state == "differs" and "-0000" not in each[1]} == {
        ("ILM policy", "clinic-audit"), ("index", "clinicml-ledger"), ("index", "clinicml-model-cards"),
        ("ingest pipeline", "misuse@label"), ("ingest pipeline", "clinic-audit@normalize"),
        ("component template", "clinic-audit@mappings"), ("index template", "clinicml-logs"),
        ("transform", "features-clinic.user_hour"),
    }  # fmt: skip
    assert [name for (kind, name), state in plan.items() if state == "would create"] == [
        "clinicml-labels-by-event-c199533b"
    ]
    details = {row.name: row.detail for row in upgraded.reports["plan"].rows if row.state == "differs"}
    assert "rollover.max_age is 7d (wanted 30d)" in details["clinic-audit"]
    assert details["features-clinic.user_hour"].startswith("updated in place: ")


def test_apply_writes_them_and_a_second_apply_nothing(upgraded: Upgraded) -> None:
    assert set(rows(upgraded.reports["apply"]).values()) == {"changed", "created", "unchanged"}
    assert set(rows(upgraded.reports["again"]).values()) == {"unchanged"}
    assert all(not report.problems for report in upgraded.reports.values())


def test_what_was_written_says_which_release_wrote_it(upgraded: Upgraded) -> None:
    from elastic_ml import __version__

    pipelines = upgraded.clinic.client.ingest.get_pipeline(id="clinic-audit*").body
    versions = {name: body["_meta"]["version"] for name, body in pipelines.items()}
    assert versions["clinic-audit@normalize"] == __version__
    assert versions["clinic-audit@score"] == "0.0.9", "what did not change was not written"


def test_running_streams_take_up_what_is_new(upgraded: Upgraded) -> None:
    client = upgraded.clinic.client
    write_index = client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"][-1]["index_name"]
    mapped = client.indices.get_mapping(index=write_index)[write_index]["mappings"]["properties"]["audit"]["properties"]
    assert mapped["holiday"]["type"] == "boolean"
    event = {"@timestamp": "2026-11-16T08:00:00Z", "event": {"id": "after", "timezone": "Europe/Berlin"}}
    client.index(index=STREAM, id="after", document=event, op_type="create", refresh=True)
    assert client.get(index=write_index, id="after")["_source"]["audit"]["holiday"] is False


def test_verdicts_are_joined_by_the_new_policy_and_the_old_one_stays_for_who_still_names_it(upgraded: Upgraded) -> None:
    client = upgraded.clinic.client
    named = json.dumps(client.ingest.get_pipeline(id="misuse@label").body)
    assert "clinicml-labels-by-event-c199533b" in named
    assert OLD_POLICY not in named
    assert client.enrich.get_policy(name=OLD_POLICY)["policies"]


def test_the_training_in_flight_ends_well_under_the_id_it_was_started_with(upgraded: Upgraded) -> None:
    assert upgraded.trained is not None
    assert upgraded.started is not None
    assert upgraded.trained.state == "success", upgraded.trained.error
    assert upgraded.trained.value["job_id"] == upgraded.started.id
    jobs = upgraded.clinic.client.ml.get_data_frame_analytics()["data_frame_analytics"]
    assert [job["id"] for job in jobs] == [upgraded.started.id], "a second job would be an orphan"


def test_the_anomaly_job_in_real_time_was_not_touched(upgraded: Upgraded) -> None:
    assert upgraded.work == [("live", "opened"), ("datafeed-live", "started")]
    assert states(upgraded.clinic.client) == upgraded.work
    again = upgraded.task("anomalies", "anomalies_live", "detect").complete()
    assert (again.state, again.value["job_id"]) == ("success", "live")


def test_the_model_of_the_training_in_flight_is_judged(upgraded: Upgraded) -> None:
    assert upgraded.started is not None
    judged = upgraded.clinic.run("train_misuse", "evaluate")
    assert judged.state == "success", judged.error
    assert judged.value["job_id"] == upgraded.started.id
    assert judged.value["model_id"] == upgraded.trained.value["model_id"]  # type: ignore[union-attr]
    left = upgraded.clinic.client.ingest.get_pipeline().body
    assert [name for name in left if name.endswith(("@training", "@holdout"))] == []


def test_a_training_whose_job_was_not_started_yet_says_which_set_it_misses(upgraded: Upgraded) -> None:
    model = upgraded.clinic.folder / "models" / "misuse.yml"
    text = model.read_text()
    model.write_text(text.replace("max_trees: 20", "max_trees: 20, randomize_seed: 9"))
    failed = upgraded.clinic.runner("train_misuse", "train", run_id="another").run()
    model.write_text(text)
    assert failed.state != "success"
    assert "clinicml-train-misuse-" in str(failed.error)


# what an earlier release wrote is read


def test_the_files_of_an_earlier_release_are_right(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(RECORDED / "include", tmp_path / "include"))
    assert list(findings(folder)) == []
    assert load_project(folder).model("misuse").kind == "classification"
    assert load_project(folder).anomaly_job("live").mode == "realtime"


def test_a_task_s_state_with_keys_of_another_release_is_read() -> None:
    stored = {
        "kind": "data_frame_analytics",
        "id": "misuse-20261116-abcdef01",
        "attempt": 3,
        "spec": {"body": {}, "x": 1},
    }
    assert RemoteJob.from_json(stored).id == "misuse-20261116-abcdef01"
    assert RemoteJob.from_json({"kind": "task", "id": "n:1"}).recoveries == ()


def test_a_ledger_record_with_keys_of_another_release_is_read_and_keeps_them(upgraded: Upgraded) -> None:
    client, names = upgraded.clinic.client, upgraded.clinic.names
    identity = names.partition_id("access", "2026-11-01")
    record = {"kind": "partition", "source": "access", "partition": "2026-11-01", "state": "done", "shard_hint": 7}
    client.index(index=names.ledger, id=identity, document=record, refresh=True)
    ledger = Ledger(client, names.ledger)
    found = ledger.partition("access", "2026-11-01")
    assert found is not None
    assert found["state"] == "done"
    ledger.claim(
        identity, owner="this release", ttl=timedelta(minutes=1), change=lambda seen: {"state": "running"}
    ).release()
    kept = client.get(index=names.ledger, id=identity)["_source"]
    assert (kept["state"], kept["shard_hint"]) == ("running", 7)


# the other way round


@pytest.mark.parametrize(
    ("kind", "name"),
    [("ingest pipeline", "clinic-audit@normalize"), ("transform", "features-clinic.user_hour")],
)
def test_a_downgrade_is_refused_before_anything_is_written(upgraded: Upgraded, kind: str, name: str) -> None:
    client, of = upgraded.clinic.client, BY_WORD[kind]
    before = of.read(client, name)
    assert before is not None
    newer = _of_a_newer_release(of, before)
    of.write(client, name, newer)
    client.ingest.delete_pipeline(id="stay@label")
    upgraded.clinic.sandbox.requests.clear()
    report = upgraded.setup("apply", overwrite_edited=True)
    sent = [entry for entry in upgraded.clinic.sandbox.requests if entry.method not in {"GET", "HEAD"}]
    with pytest.raises(NotReadyError) as refused:
        report.raise_for_state()
    of.write(client, name, {key: value for key, value in before.items() if key in newer})
    upgraded.setup("apply").raise_for_state()
    said = str(refused.value)
    assert f"{kind} {name} was written by release 99.1.0, this is 0.1.0: nothing was written" in said
    assert "Install the release that wrote it" in said
    assert [f"{entry.method} {entry.path}" for entry in sent if "_simulate_index" not in entry.path] == []


def _of_a_newer_release(kind: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The object as another release writes it: something else in it, its version and its hash."""
    body = json.loads(json.dumps(body))
    for served in (*kind.ignored, "modified_date", "created_date"):
        body.pop(served, None)
    if kind.word == "ingest pipeline":
        body["processors"].append({"set": {"field": "labels.release", "value": "99"}})
    else:
        body["frequency"] = "17m"
    meta = {**kind.metadata(body), "version": "99.1.0", "hash": kind.hash(body)}
    return dict(kind.with_metadata(body, meta))
