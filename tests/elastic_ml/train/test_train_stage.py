"""train_<model>, task by task, against a cluster."""

from datetime import timedelta
from typing import Any

import pytest
from clinic.world import CLINIC, DAY, DAYS, FIRST
from harness.task_runner import crash_after

from elastic_ml.exceptions import NotReadyError, WaitTimeoutError
from elastic_ml.training.run import TrainingRun


def job_of(clinic: Any) -> str:
    return str(clinic.xcoms["evaluate", "return_value"]["job_id"])


def analytics_puts(clinic: Any) -> list[Any]:
    return list(clinic.sandbox.requests.matching("PUT", "/_ml/data_frame/analytics/*"))


# What one training leaves -----------------------------------------------------------------------------------------


def test_the_training_set_holds_every_positive_a_share_of_the_negatives_and_only_the_features(trained: Any) -> None:
    result = trained.xcoms["training_set", "return_value"]
    index = trained.names.train_index(job_of(trained))
    hits = trained.client.search(index=index, size=2000)["hits"]["hits"]
    labels = [hit["_source"]["label"] for hit in hits]
    assert labels.count("true") == result["classes"]["true"]
    assert labels.count("false") == pytest.approx(result["classes"]["false"] * result["kept"]["false"], rel=0.1)
    assert result["kept"]["true"] == 1.0
    assert labels.count("false") <= 11 * labels.count("true")
    assert all(set(hit["_source"]) == {"event", "audit", "label"} for hit in hits)
    assert all(set(hit["_source"]["event"]) == {"action"} for hit in hits)
    assert all(hit["_id"].startswith("clinic.access|access-") for hit in hits)


def test_the_holdout_is_whole_later_than_training_and_scored_by_the_challenger(trained: Any) -> None:
    index = trained.names.holdout_index(job_of(trained))
    hits = trained.client.search(index=index, size=1000)["hits"]["hits"]
    assert len(hits) == 3 * 150
    assert min(hit["_source"]["@timestamp"] for hit in hits) >= trained.card["windows"]["train_end"][:19]
    assert {hit["_source"]["ml"]["challenger"]["model_id"] for hit in hits} == {trained.model_id}


def test_the_card_says_what_a_decision_needs(trained: Any) -> None:
    card = trained.card
    auc = card["metrics"]["challenger"]["auc_roc"]
    assert card["evaluate"]["challenger"]["auc_roc"]["value"] == pytest.approx(auc["value"], abs=0.01), (
        "the server's own figure agrees with ours"
    )
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["value"] > 0.75
    assert card["metrics"]["challenger"]["calibration_error"] < 0.06
    assert {item["feature"] for item in card["importance"]} == set(card["features"])
    assert card["importance"][-1]["feature"] == "audit.hour", "the hour has nothing to do with it"
    assert set(card["baseline"]) == {*card["features"], "_score"}
    assert sum(card["baseline"]["event.action"]["counts"]) == 450
    assert card["triggered"]["by"] == "bo"
    assert card["rows"]["holdout"] == 450
    assert "down-sampled" in " ".join(card["limits"])
    assert f"| AUC | {auc['value']:.3f}" in card["markdown"]
    assert card["html"].count("<polyline") == 3
    assert trained.model_id in card["html"]


def test_pipelines_of_the_job_are_gone_and_the_registry_knows_the_model(trained: Any) -> None:
    left = [name for name in trained.client.ingest.get_pipeline() if job_of(trained) in name]
    assert left == []
    assert trained.registered == [("registered", "success", "bo"), ("evaluated", "success", "bo")]


def test_the_candidate_event_carries_the_job_as_key_and_the_model_in_its_payload(trained: Any) -> None:
    result = trained.run("train_misuse", "candidate")
    (event,) = result.outlet_events
    assert event["partition_key"] == job_of(trained)
    assert event["extra"]["model_id"] == trained.model_id
    assert event["extra"]["requested_by"] == "bo"


def test_the_card_is_written_last_so_that_whoever_finds_it_finds_the_registrys_events(trained: Any) -> None:
    trained.client.delete(index=trained.names.model_cards, id=trained.model_id, refresh=True)
    runner = trained.runner("train_misuse", "evaluate")
    with crash_after(2, only="PUT /logs-clinicml.registry-default"):
        assert runner.complete().state == "killed"
    assert trained.events() == [("registered", "success", "bo"), ("evaluated", "success", "bo")]
    assert not trained.client.exists(index=trained.names.model_cards, id=trained.model_id)
    assert runner.complete().state == "success"
    assert len(trained.events()) == 2
    assert trained.client.exists(index=trained.names.model_cards, id=trained.model_id)


# Doing it again ---------------------------------------------------------------------------------------------------


def test_a_second_run_finds_its_job_trains_nothing_and_offers_it_again_while_undecided(trained: Any) -> None:
    trained.sandbox.requests.clear()
    again = trained.train(run_id="manual__2")
    assert again["model_id"] == trained.card["model_id"]
    assert again["reused"] is True
    assert analytics_puts(trained) == []
    assert not trained.sandbox.requests.matching("POST", "/_reindex")
    assert trained.run("train_misuse", "candidate").state == "success"


@pytest.mark.parametrize("decision", ["rejected", "deployed"])
def test_a_model_that_was_decided_on_is_not_offered_again(trained: Any, decision: Any) -> None:
    from elastic_ml.registry.events import write_event

    write_event(
        trained.client,
        trained.names,
        event_type=decision,
        model_name="misuse",
        model_version=trained.model_id,
        event_id=decision,
    )
    result = trained.run("train_misuse", "candidate")
    assert result.state == "skipped"
    assert result.outlet_events == []


def test_the_job_id_follows_from_what_is_learned_and_why() -> None:
    def job(**rendered: str) -> str:
        return TrainingRun.of(str(CLINIC), "misuse", {"day": DAY.isoformat(), **rendered}).job_id

    assert job() == job(requested_by="ana", run_type="manual")
    assert len({job(), job(run_type="scheduled"), job(run_type="asset_triggered"), job(train_window="8d")}) == 4
    assert job().startswith("misuse-20261116-")


@pytest.mark.parametrize(
    ("run_type", "word"), [("manual", "manual"), ("scheduled", "schedule"), ("asset_triggered", "drift")]
)
def test_the_job_of_a_run_says_why_it_was_started(trained: Any, run_type: str, word: str) -> None:
    trained.ingested()
    runner = trained.runner("train_misuse", "wait_for_data")
    runner.api.dag_run["run_type"] = run_type
    expected = TrainingRun.of(str(CLINIC), "misuse", {"day": DAY.isoformat(), "run_type": run_type})
    assert expected.word == word
    assert runner.run().value["job_id"] == expected.job_id


def test_a_training_set_that_is_gone_is_made_again_by_its_own_task(trained: Any) -> None:
    def run(task_id: str) -> Any:
        return trained.run("train_misuse", task_id, train_window="8d")

    run("readiness")
    index = run("training_set").value["index"]
    trained.client.indices.delete(index=index)
    result = run("train")
    assert result.state == "failed"
    assert f"its training set {index} is gone" in str(result.error)
    assert "Clear the task training_set and those after it" in str(result.error)
    assert "elastic_setup" not in str(result.error)
    assert run("training_set").value["documents"] > 0
    trained.client.indices.delete(index=index)


def test_without_a_day_the_run_is_for_the_day_it_was_due(trained: Any) -> None:
    runner = trained.runner("train_misuse", "wait_for_data", day=None)
    runner.api.dag_run["run_after"] = "2026-11-16T03:00:00+00:00"
    trained.ingested()
    assert runner.run().value["holdout_end"] == "2026-11-14T00:00:00Z"


@pytest.mark.long
def test_crashes_at_many_points_leave_one_job_one_model_and_no_double_row(filled: Any) -> None:
    assert filled.run("train_misuse", "readiness").state == "success"
    for task_id, points in (("training_set", (4, 9, 13)), ("train", (2, 4)), ("evaluate", (6, 10, 16))):
        runner = filled.runner("train_misuse", task_id)
        for point in points:
            with crash_after(point):
                assert runner.run().state == "killed", f"{task_id} ended before request {point}"
        result = runner.complete()
        assert result.state == "success", (task_id, result.error)
        filled.keep(task_id, result)
    job = job_of(filled)
    models = filled.client.ml.get_trained_models(tags=job)["trained_model_configs"]
    assert [model["model_id"] for model in models] == [filled.model_id]
    assert len(analytics_puts(filled)) == 1
    kept = filled.xcoms["training_set", "return_value"]["kept"]["false"]
    rows = filled.client.count(index=filled.names.train_index(job))["count"]
    assert rows == pytest.approx(96 + 1254 * kept, rel=0.1)
    assert filled.client.count(index=filled.names.holdout_index(job))["count"] == 450
    assert len(filled.events()) == 2


def test_verdicts_are_joined_anew_only_when_one_changed(filled: Any) -> None:
    def executions() -> int:
        return len(filled.sandbox.requests.matching("PUT", "/_enrich/policy/*/_execute"))

    def materialise(run_id: str, holdout_window: str) -> None:
        for task_id in ("readiness", "training_set"):
            result = filled.run("train_misuse", task_id, run_id=run_id, holdout_window=holdout_window)
            assert result.state == "success", result.error

    filled.sandbox.requests.clear()  # elastic_setup executes a new policy once
    materialise("manual__1", "3d")
    materialise("manual__2", "4d")
    assert executions() == 1
    operations: list[Any] = []
    filled.verdict("access-000003", {"@timestamp": FIRST.isoformat(), "user": {"id": "nurse3"}}, operations)
    filled.client.bulk(index=filled.names.labels, operations=operations, refresh=True)
    materialise("manual__3", "2d")
    assert executions() == 2


def test_two_verdicts_that_swap_are_a_change(filled: Any) -> None:
    """Number, ranks and the newest time stay as they were; what training would learn does not."""
    from elastic_ml.training.training_set import _verdicts

    def decide(event_id: str, verdict: str, rank: int, day: int) -> None:
        decided = {"verdict": verdict, "rank": rank, "decided_at": f"2026-11-{day:02d}T00:00:00Z"}
        filled.client.index(index=filled.names.labels, id=event_id, document={"event": {"id": event_id}, **decided})

    decide("newest", "none", 0, 20)
    decide("a", "confirmed", 2, 10)
    decide("b", "none", 0, 10)
    before = _verdicts(filled.client, filled.names.labels)
    assert _verdicts(filled.client, filled.names.labels) == before
    decide("a", "none", 0, 11)
    decide("b", "confirmed", 2, 11)
    assert _verdicts(filled.client, filled.names.labels) != before


def test_a_judgement_without_the_kept_shares_is_refused_rather_than_uncorrected(trained: Any) -> None:
    trained.client.delete(index=trained.names.model_cards, id=trained.model_id, refresh=True)
    del trained.xcoms["training_set", "return_value"]
    result = trained.run("train_misuse", "evaluate", run_id="manual__2")
    assert isinstance(result.error, NotReadyError)
    assert "The kept shares of misuse-20261116-" in str(result.error)


# Is there enough to learn from? -----------------------------------------------------------------------------------


def no_go(clinic: Any, **params: Any) -> str:
    result = clinic.run("train_misuse", "readiness", **params)
    assert result.state == "failed", "the same data would give the same answer"
    assert isinstance(result.error, NotReadyError)
    return str(result.error)


def test_an_empty_window_is_named_with_its_dates(trained: Any) -> None:
    assert "no document between 2026-08-18T00:00:00Z and 2026-08-27T00:00:00Z" in no_go(trained, day="2026-09-01")


def test_too_few_verdicts_are_counted(trained: Any) -> None:
    sentence = no_go(trained, train_window="1d")
    assert "too few of a class" in sentence
    assert "at least 50 needed" in sentence


def test_a_feature_that_is_the_answer_an_unknown_and_an_identifier_are_refused_at_once(trained: Any) -> None:
    path = trained.folder / "models" / "misuse.yml"
    path.write_text(path.read_text().replace("audit.hour]", "audit.hour, audit.case, audit.typo, event.id]"))
    result = trained.run("train_misuse", "readiness")
    assert isinstance(result.error, NotReadyError)
    assert "The feature audit.case alone separates the classes (AUC 1.000)" in str(result.error)
    assert "The feature audit.typo is not mapped" in str(result.error)
    assert "The feature event.id is different in nearly every event" in str(result.error)
    report = result.xcoms["report"]
    assert report["go"] is False
    assert any("audit.case is missing in" in warning for warning in report["warnings"])
    alone = {item["feature"]: item["auc"] for item in report["features"]}
    assert 0.5 <= alone["audit.hour"] < alone["audit.distance"] < 0.9


def test_history_that_is_not_sealed_is_said_when_the_windows_reach_into_it(trained: Any) -> None:
    names = trained.names
    stream = names.audit_streams[0].name
    for month in ("2026.09", "2026.11"):  # one before the windows, one that they reach into
        about = {"history": {"stream": stream, "month": month, "number": 1}}
        trained.client.indices.create(index=names.history_index(stream, month, 1), mappings={"_meta": about})
    result = trained.run("train_misuse", "readiness")
    assert result.state == "success", result.error
    [warning] = [sentence for sentence in result.value["warnings"] if "sealed" in sentence]
    assert warning.startswith(f"2026.11 of {stream} is not sealed")
    trained.client.indices.delete(index=names.history_index(stream, "2026.11", 1))
    left = trained.run("train_misuse", "readiness").value["warnings"]
    trained.client.indices.delete(index=names.history_index(stream, "2026.09", 1))
    assert not any("sealed" in sentence for sentence in left)


def test_a_model_file_without_setup_is_told_to_run_setup(trained: Any) -> None:
    source = trained.folder / "models" / "misuse.yml"
    (trained.folder / "models" / "newcomer.yml").write_text(source.read_text())
    result = trained.run("train_newcomer", "readiness")
    assert "newcomer@label is missing" in str(result.error)
    assert "ml.newcomer.score" in str(result.error)
    assert "elastic_setup with mode=apply" in str(result.error)


# Waiting for data --------------------------------------------------------------------------------------------------


def test_the_sensor_goes_on_at_once_when_everything_is_ingested(trained: Any) -> None:
    trained.ingested()
    result = trained.runner("train_misuse", "wait_for_data").run()
    assert result.state == "success"
    assert result.value["holdout_end"] == "2026-11-14T00:00:00Z"


def test_the_sensor_waits_for_the_last_partition_and_wakes_when_it_is_done(trained: Any) -> None:
    trained.ingested()
    last = (FIRST + timedelta(days=DAYS - 1)).date()
    trained.ledger("verdicts", last, "running")
    runner = trained.runner("train_misuse", "wait_for_data")
    result = runner.run()
    assert result.state == "deferred"
    result.deferral.trigger_kwargs["poll_interval"] = 0.1
    trained.ledger("verdicts", last, "done")
    assert runner.resume(runner.fire()).state == "success"


def test_a_failed_partition_in_the_window_is_named_when_time_is_up(trained: Any) -> None:
    trained.ingested()
    trained.ledger("access", (FIRST + timedelta(days=3)).date(), "failed")
    runner = trained.runner("train_misuse", "wait_for_data")
    result = runner.run()
    assert result.state == "deferred"
    late = runner.resume({"status": "timeout", "deadline": 0.0})
    assert isinstance(late.error, WaitTimeoutError)
    assert "Partition 2026-11-05 of source access is failed." in str(late.error)


def test_a_stream_that_no_source_feeds_is_judged_by_its_newest_event(trained: Any) -> None:
    for file in (trained.folder / "sources").iterdir():
        file.unlink()
    assert trained.runner("train_misuse", "wait_for_data").run().state == "success"
    later = trained.runner("train_misuse", "wait_for_data", day="2026-12-24").run()
    assert later.state == "deferred"


def test_a_day_of_verdicts_that_nobody_ever_took_is_named(trained: Any) -> None:
    def said() -> list[str]:
        report = trained.run("train_misuse", "readiness").value
        return [sentence for sentence in report["warnings"] if "source verdicts were never taken" in sentence]

    assert said()[0].startswith("14 of 14 partitions of source verdicts were never taken (2026-11-02, ")
    ids = [trained.names.partition_id("verdicts", f"2026-11-{day:02}") for day in range(2, 16)]
    missing = ids.pop(9)
    taken = [line for name in ids for line in ({"index": {"_id": name}}, {"kind": "partition", "state": "done"})]
    trained.client.bulk(index=trained.names.ledger, operations=taken, refresh=True)
    assert said() == [
        f"1 of 14 partitions of source verdicts were never taken ({missing[-10:]}): what they judge counts as not "
        "judged. Run audit_ingest for them, then clear this task."
    ]
    trained.client.delete_by_query(index=trained.names.ledger, query={"ids": {"values": ids}}, refresh=True)
