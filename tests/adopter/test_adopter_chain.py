"""A bank that adopts the package: its own repository and names, one model on a stream that Elastic Agent fills."""

import json
import random
import runpy
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from clinic.world import short_waits

from adopter.bank import NORTHBANK, WINDOWS, Adopter, identity_event, moments
from adopter.integration import THEIRS, agents_fields, install, write
from elastic_ml.cli.main import main
from elastic_ml.clients.documents import dig
from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.console import __main__ as console
from elastic_sandbox.testing import serve

STREAM, CUSTOM, MODEL = "logs-ping_one.audit-default", "logs-ping_one.audit@custom", "risky_identity"
WORKFLOWS = NORTHBANK / "workflows" / "security_ml"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adopter]:
    """The bank after its first promotion, from audit that was there before."""
    folder = tmp_path_factory.mktemp("northbank") / "workflows"
    shutil.copytree(NORTHBANK / "workflows", folder)
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client, short_waits():
        install(client, "ping_one.audit")
        chance = random.Random(11)
        events = [identity_event(number, moment, chance) for number, moment in enumerate(moments(110))]
        # The integration's pipeline makes the document's id from two fields; it is not event.id.
        ids = [f"fingerprint-{number}" for number in range(len(events))]
        write(client, STREAM, [event | agents_fields("ping_one.audit") for event, _ in events], ids)
        bank = Adopter(sandbox.elasticsearch_url, folder / "security_ml", client)
        bank.set_up()
        bank.judge({event["event"]["id"]: event for event, harmful in events if harmful})
        bank.card = bank.train(MODEL)
        bank.promote(MODEL, bank.card["model_id"])
        yield bank


def newest(bank: Adopter, number: int, stream: str = STREAM, **more: Any) -> dict[str, Any]:
    """Index one event as it would arrive; returns it as it was stored."""
    event, _ = identity_event(number, moments(110)[-1] + timedelta(hours=number - 9000), random.Random(number))
    [found] = write(bank.client, stream, [event | agents_fields("ping_one.audit", stream.rpartition("-")[2]) | more])
    hits = bank.client.search(index=stream, query={"ids": {"values": [found]}})["hits"]["hits"]
    return dict(hits[0]["_source"])


def test_its_stage_files_are_those_that_init_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "ml/project", "--name", "northbank", "--stream", STREAM, "--dags", "ml"]) == 0
    written = {path.name: path.read_text() for path in (tmp_path / "ml").glob("*.py")}
    assert {path.name: path.read_text() for path in WORKFLOWS.glob("*.py")} == written


def test_check_finds_nothing_in_its_project_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(WORKFLOWS / "project")]) == 0, capsys.readouterr()


def test_the_same_by_hand_hooks_into_the_cluster_team_s_pipeline(tmp_path: Path) -> None:
    assert console.main([str(WORKFLOWS / "project"), str(tmp_path)]) == 0
    [script] = tmp_path.glob("*elastic_setup.console")
    _, _, request = script.read_text().partition(f"PUT /_ingest/pipeline/{CUSTOM}\n")
    body, _ = json.JSONDecoder().raw_decode(request)
    assert body["processors"][0]["pipeline"]["name"] == "northbank-audit@score"
    assert STREAM in body["processors"][0]["pipeline"]["if"]


def test_every_dag_has_the_bank_s_prefix_and_its_own_connections() -> None:
    dags = {}
    for file in sorted(WORKFLOWS.glob("*.py")):
        found = runpy.run_path(str(file))
        dags |= {name: dag for name, dag in found.items() if hasattr(dag, "dag_id")}
    assert len(dags) > 12
    assert all(name.startswith("secml_") and dag.dag_id == name for name, dag in dags.items())
    used = {
        getattr(task, which)
        for dag in dags.values()
        for task in dag.tasks
        for which in ("elastic_conn_id", "kibana_conn_id")
        if hasattr(task, which)
    }
    assert {name for name in used if name and not name.startswith("northbank_")} == set()


def test_the_model_learns_from_the_integration_s_documents_and_the_time_of_day(bank: Adopter) -> None:
    figures = bank.card["metrics"]["challenger"]
    assert 0.8 < figures["auc_roc"]["value"] < 1
    important = [item["feature"] for item in bank.card["importance"]]
    assert set(important[:3]) == {"event.action", "audit.hour", "ping_one.audit.actors.user.population.id"}
    assert bank.card["classes"]["true"] > 50


def test_what_cannot_be_learned_from_these_documents_is_named(bank: Adopter) -> None:
    file = bank.folder / "project" / "models" / f"{MODEL}.yml"
    text = file.read_text()
    more = ["ping_one.audit.resources.type", "ping_one.audit.action.type", "ping_one.audit.actors.client.type"]
    file.write_text(text.replace("  - event.action\n", "".join(f"  - {name}\n" for name in ["event.action", *more])))
    try:
        result = bank.runner("train", f"train_{MODEL}", "readiness", **WINDOWS).complete()
    finally:
        file.write_text(text)
    assert result.state == "failed"
    said = str(result.error)
    assert "The feature ping_one.audit.resources.type is in a list of objects" in said
    assert "The feature ping_one.audit.action.type is not mapped" in said
    assert any("actors.client.type has one single value" in warning for warning in result.xcoms["report"]["warnings"])


def test_a_new_event_is_scored_and_stays_as_it_came_but_for_the_score(bank: Adopter) -> None:
    event = newest(bank, 9001)
    scored = event["ml"][MODEL]
    assert 0 <= scored["score"] <= 1
    assert scored["model_id"] == bank.card["model_id"]
    assert any(reason.startswith("audit.hour=") for reason in scored["reason"]), scored["reason"]
    assert event["organization"]["name"] == "Northbank", "what the cluster team has in the pipeline goes on"
    assert "ingested" in event["event"]
    assert set(event) == {
        "@timestamp", "client", "data_stream", "ecs", "event", "ml", "organization", "ping_one", "tags", "user"
    }  # fmt: skip
    assert event["event"]["category"] == ["iam", "configuration"], "joined for the model, never in the event"


def test_the_hour_is_the_same_in_training_and_when_scoring(bank: Adopter) -> None:
    """Of the event's own clock where it names one, else of UTC; what is no zone gives none."""
    rows = bank.client.search(index=bank.project.names.train_index(bank.card["job_id"]), size=2000)["hits"]["hits"]
    times = moments(110)
    assert len(rows) > 500
    for row in rows:
        moment = times[int(row["_id"].rpartition("-")[2])]
        assert dig(row["_source"], "audit.hour") == moment.hour
        assert dig(row["_source"], "audit.weekday") == moment.isoweekday()

    name = bank.project.names.score_pipeline(MODEL)
    steps = bank.client.ingest.get_pipeline(id=name)[name]["processors"]
    assert steps[-1]["remove"]["tag"] == "scalars_only"
    zones = {None: 23, "Asia/Tokyo": 8, "-03:30": 19, "nowhere": None}
    docs = [{"_source": {"@timestamp": "2026-12-24T23:15:00Z", "event": {"timezone": zone}}} for zone in zones]
    answer = bank.client.ingest.simulate(docs=docs, pipeline={"processors": steps[:-1]})["docs"]
    inputs = [doc["doc"]["_source"]["joined_inputs"] for doc in answer]
    assert [found.get("hour") for found in inputs] == list(zones.values())
    assert [found.get("weekday") for found in inputs] == [4, 5, 4, None]
    assert [found["holiday"] for found in inputs] == [False, True, False, False], "Christmas has begun in Tokyo"


def test_another_namespace_of_the_dataset_passes_by(bank: Adopter) -> None:
    assert "ml" not in newest(bank, 9200, "logs-ping_one.audit-test")


def test_scores_are_mapped_as_they_arrive_and_can_be_searched(bank: Adopter) -> None:
    newest(bank, 9300)
    found = bank.client.search(index=STREAM, query={"range": {f"ml.{MODEL}.score": {"gte": 0}}})
    assert found["hits"]["total"]["value"] >= 1
    caps = bank.client.field_caps(index=STREAM, fields=[f"ml.{MODEL}.*"])["fields"]
    assert set(caps[f"ml.{MODEL}.model_id"]) == {"keyword"}


def test_setup_changes_nothing_on_the_second_run_and_knows_the_bank_s_own_template(bank: Adopter) -> None:
    report = bank.set_up("verify")
    assert {row["state"] for row in report["rows"]} == {"unchanged"}
    assert report["problems"] == []
    phases = bank.client.ilm.get_lifecycle(name="nbml-logs")["nbml-logs"]["policy"]["phases"]
    assert phases["hot"]["actions"]["rollover"]["max_primary_shard_size"] == "10gb"
    assert phases["delete"]["min_age"] == "1826d"


def test_nothing_of_the_cluster_team_s_was_written_but_one_processor(bank: Adopter) -> None:
    theirs = bank.client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]
    assert (theirs["description"], theirs["version"], theirs["processors"][0]) == ("Of the cluster team.", 4, THEIRS)
    assert [next(iter(processor)) for processor in theirs["processors"]] == ["set", "pipeline"]
    template = bank.client.indices.get_data_stream(name=STREAM)["data_streams"][0]["template"]
    assert template == "logs-ping_one.audit"


def test_a_day_of_it_is_monitored_on_the_integration_s_own_fields(bank: Adopter) -> None:
    measured = bank.run("monitor", f"monitor_{MODEL}", "measure", day="2026-11-15").value
    judged = {finding["feature"] for finding in measured["findings"]}
    assert {"event.action", "ping_one.audit.actors.user.population.id"} <= judged
    assert "audit.hour" not in judged, "no event has it"


def test_the_past_is_scored_beside_the_cluster_team_s_stream(bank: Adopter) -> None:
    done = bank.run("rescore", "rescore", "rescore", model=MODEL, window="3d", until="2026-11-16").value
    assert (done["documents"], done["unscored"]) == (330, 0)
    rows = bank.client.search(index=bank.project.names.scores_alias(MODEL), size=1)["hits"]["hits"]
    assert set(rows[0]["_source"]["ml"][MODEL]) >= {"score", "reason", "model_id"}


def test_health_counts_what_should_have_been_scored(bank: Adopter) -> None:
    newest(bank, 9350)
    bank.run("elastic_health", "elastic_health", "look")
    names = bank.project.names
    bank.client.indices.refresh(index=names.predictions)
    query = {"term": {"event_type": "heartbeat"}}
    [beat] = bank.client.search(index=names.predictions, query=query)["hits"]["hits"]
    assert beat["_source"]["model_name"] == MODEL
    assert beat["_source"]["expected"] >= 1


def test_a_person_s_verdict_finds_the_event_by_either_id(bank: Adopter) -> None:
    for given in ("activity-000007", "fingerprint-7"):
        value = bank.run("record_verdict", "record_verdict", "record", event_id=given, verdict="suspicious").value
        assert value["event_id"] == "activity-000007", "training joins by event.id"
        assert value["user_id"]


def test_rollback_takes_the_model_out_and_leaves_the_cluster_team_s_pipeline(bank: Adopter) -> None:
    before = bank.client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"]
    bank.run("rollback", f"rollback_{MODEL}", "rollback", to="none", reason="flooded the desk")
    event = newest(bank, 9400)
    assert "ml" not in event
    assert event["organization"]["name"] == "Northbank"
    assert bank.client.ingest.get_pipeline(id=CUSTOM)[CUSTOM]["processors"] == before
