"""rescore against a cluster: which rows it leaves, how it goes on after a crash, and what a kill stops."""

from pathlib import Path
from typing import Any

import pytest
from clinic.lifecycle import InProduction
from clinic.world import EVENTS_A_DAY, STREAM, open_clinic
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import JobFailedError, NotReadyError
from elastic_ml.operators.rescore import RescoreOperator
from elastic_ml.project import load_project
from elastic_ml.registry.champion_switch import ChampionSwitch
from elastic_sandbox.testing import serve

WINDOW = {"model": "misuse", "window": "2d", "until": "2026-11-16"}


@pytest.fixture(autouse=True)
def _no_scores_yet(trained: Any) -> None:
    for index in trained.client.indices.get(index="clinicml-scores-*"):
        trained.client.indices.delete(index=index)


def rescoring(production: InProduction, **params: Any) -> TaskRunner:
    return production.clinic.runner("rescore", "rescore", **{**WINDOW, "documents_per_second": -1, **params})


def scores(production: InProduction, index: str = "misuse_scores") -> list[dict[str, Any]]:
    client = production.clinic.client
    client.indices.refresh(index=index)
    return [{"_id": hit["_id"], **hit["_source"]} for hit in client.search(index=index, size=5000)["hits"]["hits"]]


def test_each_event_of_the_window_has_one_row_with_the_champions_own_score(production: InProduction) -> None:
    result = rescoring(production).complete()
    assert result.state == "success", result.error
    value = result.value
    assert value["index"] == production.clinic.names.scores_index("misuse", production.new)
    assert (value["documents"], value["created"], value["skipped"], value["unscored"]) == (2 * EVENTS_A_DAY, 300, 0, 0)
    assert (value["start"], value["end"]) == ("2026-11-14T00:00:00Z", "2026-11-16T00:00:00Z")
    rows = scores(production)
    assert len(rows) == value["documents"]
    row = rows[0]
    assert row["_id"] == f"clinic.access|{row['event']['id']}"
    assert set(row) == {"_id", "@timestamp", "event", "user", "ml"}
    assert {row["ml"]["misuse"]["model_id"] for row in rows} == {production.new}
    # As the score pipeline itself would have scored it, correction included.
    client, project = production.clinic.client, load_project(production.clinic.folder)
    switch = ChampionSwitch(client, project, project.model("misuse"), production.new)
    event = client.get(index=client.search(index=STREAM, query={"ids": {"values": [row["event"]["id"]]}})["hits"][
        "hits"
    ][0]["_index"], id=row["event"]["id"])["_source"]  # fmt: skip
    docs = [{"_source": {name: part for name, part in event.items() if name != "ml"}}]
    answer = client.ingest.simulate(docs=docs, pipeline=switch.body(production.new, [production.new]))
    assert row["ml"]["misuse"] == answer["docs"][0]["doc"]["_source"]["ml"]["misuse"]


def test_events_stay_as_they_were_and_nothing_of_the_rescoring_is_left_behind(production: InProduction) -> None:
    client = production.clinic.client

    def events() -> dict[str, Any]:
        hits = client.search(index=STREAM, size=5000, seq_no_primary_term=True)["hits"]["hits"]
        return {hit["_id"]: (hit["_index"], hit["_seq_no"], hit["_source"]) for hit in hits}

    before = events()
    assert rescoring(production).complete().state == "success"
    assert events() == before
    # A pipeline that names the model would keep it from ever being deleted.
    assert "misuse@rescore" not in client.ingest.get_pipeline()
    mapping = client.indices.get_mapping(index="misuse_scores")
    ((_, body),) = mapping.items()
    assert body["mappings"]["_meta"]["model_id"] == production.new
    assert body["mappings"]["_meta"]["managed_by"]
    assert str(body["mappings"]["dynamic"]).lower() == "false"


def test_a_larger_window_copies_what_is_missing(production: InProduction) -> None:
    assert rescoring(production, window="1d").complete().value["created"] == EVENTS_A_DAY
    value = rescoring(production).complete().value
    assert (value["documents"], value["created"], value["skipped"]) == (2 * EVENTS_A_DAY, EVENTS_A_DAY, EVENTS_A_DAY)


def test_the_alias_moves_to_the_scores_of_the_champion_of_the_moment(production: InProduction) -> None:
    client, names = production.clinic.client, production.clinic.names
    assert rescoring(production, window="1d").complete().state == "success"
    production.put(production.old)
    assert rescoring(production, window="1d").complete().state == "success"
    assert sorted(client.indices.get_alias(name="misuse_scores")) == [names.scores_index("misuse", production.old)]
    assert client.indices.exists(index=names.scores_index("misuse", production.new)), "it is kept beside"


def test_a_champion_that_came_and_was_rescored_meanwhile_keeps_the_alias(production: InProduction) -> None:
    late = rescoring(production, window="1d")
    with crash_after(1, only="POST /_reindex"):
        assert late.run().state == "killed"
    production.put(production.old)
    assert rescoring(production, window="12h").complete().state == "success"
    finished = late.complete()
    # The pipeline was the other's by then, and had to be: what is left of the first copy fails, or was through before.
    assert finished.state == "success" or isinstance(finished.error, JobFailedError)
    client, names = production.clinic.client, production.clinic.names
    assert sorted(client.indices.get_alias(name="misuse_scores")) == [names.scores_index("misuse", production.old)]
    assert {row["ml"]["misuse"]["model_id"] for row in scores(production)} == {production.old}


def test_another_rescoring_of_the_model_cannot_mix_its_scores_in(production: InProduction) -> None:
    client, names = production.clinic.client, production.clinic.names
    runner = rescoring(production)
    with crash_after(1, only="PUT /_ingest/pipeline/misuse"):
        assert runner.run().state == "killed"
    body = client.ingest.get_pipeline(id="misuse@rescore")["misuse@rescore"]
    doc = client.search(index=STREAM, size=1)["hits"]["hits"][0]["_source"]
    other = {"_index": names.scores_index("misuse", production.old), "_source": doc}
    own = {"_index": names.scores_index("misuse", production.new), "_source": doc}
    answer = client.ingest.simulate(docs=[own, other], pipeline={"processors": body["processors"]})
    assert "doc" in answer["docs"][0]
    assert f"misuse@rescore scores with {production.new}" in answer["docs"][1]["error"]["reason"]


def test_events_that_the_model_does_not_score_live_are_not_scored_here(production: InProduction) -> None:
    path = production.clinic.folder / "models" / "misuse.yml"
    path.write_text(path.read_text().replace("ctx.event?.action != null", "ctx.event?.action == 'export'"))
    value = rescoring(production).complete().value
    assert 0 < value["documents"] < 100


def test_without_a_champion_there_is_nothing_to_score_with(trained: Any) -> None:
    result = rescoring(InProduction(trained)).run()
    assert isinstance(result.error, NotReadyError)
    assert "promote_misuse" in str(result.error)


def test_crashes_all_along_leave_one_row_per_event(production: InProduction) -> None:
    runner = rescoring(production)
    reindexes = production.clinic.sandbox.requests
    for point in range(2, 60, 2):
        with crash_after(point) as sent:
            result = runner.complete()
        if result.state == "success":
            break
        assert result.state == "killed", (point, sent, result.error)
    assert result.state == "success"
    assert result.value["documents"] == 2 * EVENTS_A_DAY
    assert len(reindexes.matching("POST", "/_reindex")) == 1, "a try that follows a crash finds the task"
    again = rescoring(production).complete().value
    assert (again["documents"], again["created"], again["skipped"]) == (300, 0, 300)


def test_a_killed_task_cancels_the_copy_and_clearing_it_goes_on(production: InProduction) -> None:
    clinic = production.clinic
    runner = TaskRunner(
        lambda: RescoreOperator(
            task_id="rescore",
            project_folder=str(clinic.folder),
            defer_after=0,
            documents_per_second=40,
            **WINDOW,
        ),
        connections={"elasticsearch_default": clinic.sandbox.elasticsearch_url},
    )
    assert runner.run().state == "deferred"
    assert clinic.client.tasks.list(actions="*reindex*")["nodes"]
    runner.kill_deferred()
    (task,) = [r.response["task"] for r in clinic.sandbox.requests.matching("POST", "/_reindex")]
    assert clinic.client.tasks.get(task_id=task, wait_for_completion=True)["response"]["canceled"]
    value = rescoring(production).complete().value
    assert value["documents"] == 2 * EVENTS_A_DAY


def test_on_serverless_a_killed_copy_is_left_to_finish_and_a_later_run_finds_its_rows(tmp_path: Path) -> None:
    with serve(flavor="serverless") as sandbox, open_clinic(sandbox, tmp_path) as clinic:
        clinic.fill()
        clinic.card = {"model_name": "misuse", "kept": {"true": 1.0, "false": 0.5}}
        production = InProduction(clinic)
        production.put(production.old)
        arguments = {"defer_after": 0, "documents_per_second": 600, **WINDOW}
        runner = TaskRunner(
            lambda: RescoreOperator(task_id="rescore", project_folder=str(clinic.folder), **arguments),
            connections={"elasticsearch_default": sandbox.elasticsearch_url},
        )
        assert runner.run().state == "deferred"
        runner.kill_deferred()
        value = rescoring(production).complete().value
        assert value["documents"] == 2 * EVENTS_A_DAY
        assert not sandbox.requests.matching("*", "/_tasks")
        assert not sandbox.requests.matching("POST", "/_tasks/*")
        assert [r for r in sandbox.requests if r.status == 410] == []
