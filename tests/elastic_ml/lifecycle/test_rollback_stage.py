"""rollback_<model> against a cluster: what comes back, what is left out, and what a crash leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from clinic.lifecycle import InProduction
from clinic.world import STREAM
from harness.task_runner import crash_after

from elastic_ml.exceptions import JobFailedError, LockHeldError, NotReadyError, PartialFailureError
from elastic_ml.ingest.ledger import Ledger, iso
from elastic_ml.stages import rollback

BOUND = "/_ingest/pipeline/misuse@score/_simulate"


def rolled_back(production: InProduction, to: str = "previous", run: str = "rollback__1") -> Any:
    result = production.rollback(to, run=run).run()
    assert result.state == "success", result.error
    return result.value


def lock_of(production: InProduction) -> Ledger:
    return Ledger(production.clinic.client, production.clinic.names.ledger)


# Where it goes ------------------------------------------------------------------------------------------------------


def test_the_previous_model_scores_the_next_document_with_its_own_correction(production: InProduction) -> None:
    assert production.index_event(920_001)["ml"]["misuse"]["model_id"] == production.new
    value = rolled_back(production)
    assert value == {
        "model_id": production.old,
        "previous_version": production.new,
        "previous": None,
        "reason": "flooded",
        "user": "cid",
    }
    scored = production.index_event(920_002)["ml"]["misuse"]
    assert scored["model_id"] == production.old
    assert "error" not in scored
    assert production.in_place()["champion"] == production.old


def test_each_step_is_in_the_registry_with_user_and_reason(production: InProduction) -> None:
    rolled_back(production)
    assert production.history()[-3:] == [
        ("rolled_back", "success", production.old, "champion", "cid"),
        ("transitioned", "success", production.old, "champion", "cid"),
        ("transitioned", "success", production.new, "retired", "cid"),
    ]
    client, names = production.clinic.client, production.clinic.names
    (event,) = client.search(index=names.registry, query={"term": {"event_type": "rolled_back"}})["hits"]["hits"]
    assert event["_source"]["reason"] == "flooded"
    assert event["_source"]["previous_version"] == production.new
    assert production.stage(production.old) == "champion"
    assert production.stage(production.new) == "retired"


def test_an_ordinary_rollback_is_one_alias_call_and_writes_no_pipeline(production: InProduction) -> None:
    production.clinic.sandbox.requests.clear()
    rolled_back(production)
    requests = production.clinic.sandbox.requests
    assert not requests.matching("PUT", "/_ingest/pipeline/*")
    assert [r.path for r in requests.matching("PUT", "/_ml/trained_models/*")] == [
        f"/_ml/trained_models/{production.old}/model_aliases/misuse_champion"
    ]


def test_a_second_rollback_goes_further_back_and_never_to_the_model_that_was_taken_out(
    production: InProduction,
) -> None:
    oldest = production.clinic.another_version("misuse-20250101-abcdef01-1")
    production.put(oldest)
    production.put(production.old)
    first = rolled_back(production)
    assert (first["model_id"], first["previous"]) == (oldest, production.new)
    assert production.stage(production.new) == "previous"
    second = rolled_back(production, run="rollback__2")
    assert (second["model_id"], second["previous"]) == (production.new, production.old)


def test_a_named_model_comes_back_even_when_it_was_taken_out_before(production: InProduction) -> None:
    rolled_back(production)
    value = rolled_back(production, to=production.new, run="rollback__2")
    assert value["model_id"] == production.new
    # Its own promotion replaced the old one, which it would go back to again.
    assert value["previous"] is None
    assert production.index_event(920_003)["ml"]["misuse"]["model_id"] == production.new


def test_the_pipeline_learns_the_shares_of_a_model_that_it_does_not_know(production: InProduction) -> None:
    clinic = production.clinic
    production.put(clinic.another_version("misuse-20261101-abcdef01-1"))
    production.put(clinic.another_version("misuse-20261102-abcdef01-1"))
    script = next(p["script"] for p in production.in_place()["pipeline"]["processors"] if "script" in p)
    assert production.old not in script["params"]["kept"]
    rolled_back(production, to=production.old)
    scored = production.index_event(920_004)["ml"]["misuse"]
    assert scored["model_id"] == production.old
    assert "score" in scored


@pytest.mark.parametrize("to", ["misuse-20200101-00000000-1", "*"])
def test_a_model_that_does_not_exist_is_refused_with_the_choices(production: InProduction, to: str) -> None:
    result = production.rollback(to).run()
    assert isinstance(result.error, NotReadyError)
    assert production.old in str(result.error)
    assert production.in_place()["champion"] == production.new


def test_a_model_that_was_never_in_production_cannot_be_rolled_back_to(production: InProduction) -> None:
    """Or a rollback would be a promotion without gate and approval."""
    candidate = production.clinic.another_version("misuse-20261120-abcdef01-1")
    result = production.rollback(candidate).run()
    assert "was never in production as misuse" in str(result.error)
    assert "promote_misuse" in str(result.error)


def test_after_a_first_promotion_there_is_nothing_to_roll_back_to_but_none(trained: Any) -> None:
    production = InProduction(trained)
    production.put(production.new)
    result = production.rollback().run()
    assert "there is nothing to roll misuse back to" in str(result.error)
    assert "or to `none`" in str(result.error)
    assert production.in_place()["champion"] == production.new


def test_a_model_that_scores_already_is_skipped(production: InProduction) -> None:
    before = production.in_place()
    assert production.rollback(production.new).run().state == "skipped"
    assert production.in_place() == before


# Out of scoring -----------------------------------------------------------------------------------------------------


def test_none_takes_the_model_out_of_scoring_and_events_are_still_indexed(production: InProduction) -> None:
    assert rolled_back(production, to="none")["model_id"] is None
    document = production.index_event(920_010)
    assert "misuse" not in document.get("ml", {})
    assert document["event"]["action"]
    assert production.in_place() == {"champion": None, "previous": production.old, "pipeline": None}
    assert production.stage(production.new) == "retired"
    assert production.history()[-2:] == [
        ("rolled_back", "success", production.new, "retired", "cid"),
        ("transitioned", "success", production.new, "retired", "cid"),
    ]
    assert production.rollback("none", run="rollback__2").run().state == "skipped"


def test_after_none_a_promotion_works_as_a_first_one(production: InProduction) -> None:
    rolled_back(production, to="none")
    production.promote(production.new)
    assert production.index_event(920_011)["ml"]["misuse"]["model_id"] == production.new
    assert production.in_place()["previous"] == production.old
    assert production.stage(production.old) == "previous"


def test_after_none_the_previous_model_can_be_put_back_into_scoring(production: InProduction) -> None:
    rolled_back(production, to="none")
    assert rolled_back(production, run="rollback__2")["model_id"] == production.old
    assert production.index_event(920_012)["ml"]["misuse"]["model_id"] == production.old


# Beside promotions --------------------------------------------------------------------------------------------------


def test_a_promotion_that_waits_for_its_approval_ends_as_superseded(production: InProduction) -> None:
    other = production.clinic.another_version("misuse-20261118-abcdef01-1", day="2026-11-18")
    run = production.waiting(other)
    rolled_back(production)
    assert production.switch(run).state == "skipped"
    assert production.in_place()["champion"] == production.old


def test_a_promotion_is_superseded_even_when_its_champion_is_in_production_again(production: InProduction) -> None:
    other = production.clinic.another_version("misuse-20261118-abcdef01-1", day="2026-11-18")
    run = production.waiting(other)
    rolled_back(production)
    rolled_back(production, to=production.new, run="rollback__2")
    assert production.switch(run).state == "skipped"
    assert production.in_place()["champion"] == production.new


def test_a_rollback_does_not_queue_behind_an_approval(production: InProduction) -> None:
    folder = production.clinic.folder
    dag = rollback.build(folder)["rollback_misuse"]
    assert [task.task_id for task in dag.tasks] == ["rollback"]
    assert dag.timetable.can_be_scheduled is False
    production.waiting(production.clinic.another_version("misuse-20261118-abcdef01-1", day="2026-11-18"))
    assert rolled_back(production)["model_id"] == production.old


def test_a_living_holder_of_the_lock_is_named_and_nothing_moves(
    production: InProduction, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elastic_ml.operators import rollback as operator

    monkeypatch.setattr(operator, "LOCK", timedelta(seconds=-5))
    before = production.in_place()
    with lock_of(production).lock("model|misuse", owner="promote_misuse/run/switch", ttl=timedelta(minutes=1)):
        result = production.rollback().run()
    assert isinstance(result.error, LockHeldError)
    assert "promote_misuse/run/switch" in str(result.error)
    assert production.in_place() == before


def test_the_lease_of_a_dead_worker_is_waited_for_and_taken_over(production: InProduction) -> None:
    ledger = lock_of(production)
    dead = ledger.claim(
        "lock|model|misuse",
        owner="promote_misuse/dead/switch",
        ttl=timedelta(seconds=1),
        change=lambda _: {"kind": "lock", "name": "model|misuse", "state": "held"},
    )
    began = datetime.now(UTC)
    assert rolled_back(production)["model_id"] == production.old
    assert datetime.now(UTC) - began >= timedelta(seconds=0.9)
    entry = ledger.read("lock|model|misuse")
    assert entry is not None
    assert entry.document["rollbacks"] == dead.document.get("rollbacks", 0) + 1
    assert entry.document["state"] == "free"
    assert entry.document["expires_at"] <= iso(datetime.now(UTC))


# What goes wrong ----------------------------------------------------------------------------------------------------


def test_a_model_that_cannot_score_recent_events_changes_nothing(production: InProduction) -> None:
    clinic = production.clinic
    clinic.sandbox.faults.add(method="*", path="/_ingest/pipeline/_simulate", status=400, reason="broken")
    before = production.in_place()
    assert production.rollback().run().state != "success"
    assert production.in_place() == before


@pytest.mark.parametrize("to", ["previous", "none"])
def test_a_failure_after_the_change_puts_everything_back_and_says_so(production: InProduction, to: str) -> None:
    faults = production.clinic.sandbox.faults
    path = BOUND if to == "previous" else "/_ingest/pipeline/clinic-audit@score/_simulate"
    faults.add(method="*", path=path, status=400, reason="broken", times=None)
    before = production.in_place()
    runner = production.rollback(to)
    assert runner.run().state == "failed"
    after = production.in_place()
    assert (after["champion"], after["previous"]) == (before["champion"], before["previous"])
    assert after["pipeline"]["processors"] == before["pipeline"]["processors"]
    version = production.old if to == "previous" else production.new
    assert [event[:3] for event in production.history()[-1:]] == [("rolled_back", "error", version)]
    assert "misuse" in production.index_event(920_020 + len(to))["ml"]
    faults.clear()
    assert runner.run().state == "success"


def test_a_wrong_score_after_the_change_is_a_failure_too(production: InProduction) -> None:
    """The pipeline in place says it has the model's shares; edited by hand, it scores with something else."""
    client = production.clinic.client
    body = production.in_place()["pipeline"]
    for processor in body["processors"]:
        if "script" in processor:
            processor["script"]["source"] = f"ctx.ml.misuse.score = 7.0; {''}"
    client.ingest.put_pipeline(id="misuse@score", processors=body["processors"], meta=body["_meta"])
    result = production.rollback().run()
    assert isinstance(result.error, JobFailedError)
    assert "the score 7.0 is no probability" in str(result.error)
    assert production.in_place()["champion"] == production.new


def test_putting_back_that_fails_too_says_what_is_where(production: InProduction) -> None:
    faults = production.clinic.sandbox.faults
    faults.add(method="*", path=BOUND, status=400, reason="broken", times=None)
    faults.add(
        method="PUT",
        path=f"/_ml/trained_models/{production.new}/model_aliases/misuse_champion",
        status=400,
        reason="no",
        times=None,
    )
    runner = production.rollback()
    result = runner.run()
    assert isinstance(result.error, PartialFailureError)
    assert "misuse_champion" in str(result.error)
    faults.clear()
    assert runner.run().state == "success", "the next try finishes from its state"
    assert production.in_place()["champion"] == production.old


def test_without_room_for_inference_processors_a_rollback_still_works(production: InProduction) -> None:
    crowd = {"inference": {"model_id": production.new, "target_field": "crowd"}}
    client = production.clinic.client
    client.ingest.put_pipeline(id="crowd", processors=[{"set": {"field": "a", "value": 1, "on_failure": [crowd] * 49}}])
    try:
        assert rolled_back(production)["model_id"] == production.old
    finally:
        client.ingest.delete_pipeline(id="crowd")


def test_without_any_event_to_try_it_on_a_rollback_still_works(production: InProduction) -> None:
    path = production.clinic.folder / "models" / "misuse.yml"
    path.write_text(path.read_text().replace("query: {match_all: {}}", 'query: {term: {event.action: "never"}}'))
    assert rolled_back(production)["model_id"] == production.old


# Crashes and repetition ---------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("to", ["previous", "none"])
def test_crashes_all_along_are_finished_by_the_next_try(production: InProduction, to: str) -> None:
    runner = production.rollback(to)
    for point in range(2, 60, 2):
        with crash_after(point) as sent:
            result = runner.run()
        if result.state == "success":
            break
        assert result.state == "killed", (point, sent, result.error)
        assert production.in_place()["champion"] in {production.old, production.new, None}
        if point % 6 == 0:
            document = production.index_event(930_000 + point + (1000 if to == "none" else 0))
            assert "error" not in document.get("ml", {}).get("misuse", {})
    assert result.state == "success"
    assert production.in_place()["champion"] == (production.old if to == "previous" else None)
    rolled = [event for event in production.history() if event[0] == "rolled_back"]
    assert len(rolled) == 1, "recorded once"


def test_running_the_task_again_changes_nothing(production: InProduction) -> None:
    """Cleared by a person, it has lost its state; `previous` would now mean another model."""
    oldest = production.clinic.another_version("misuse-20250101-abcdef01-1")
    production.put(oldest)
    production.put(production.old)
    runner = production.rollback()
    first = runner.run()
    before, history = production.in_place(), production.history()
    runner.clear()
    again = runner.run()
    assert again.state == "success"
    assert again.value == first.value
    assert production.in_place() == before
    assert production.history() == history


def test_a_rollback_that_was_overtaken_is_not_repeated(production: InProduction) -> None:
    runner = production.rollback()
    assert runner.run().state == "success"
    production.promote(production.new)
    runner.clear()
    assert runner.run().state == "skipped"
    assert production.in_place()["champion"] == production.new


def test_a_rollback_that_was_interrupted_and_overtaken_does_not_undo_what_came_after(
    production: InProduction,
) -> None:
    runner = production.rollback()
    with crash_after(1, only="/model_aliases/"):
        assert runner.run().state == "killed"
    other = production.clinic.another_version("misuse-20261119-abcdef01-1", day="2026-11-19")
    client = production.clinic.client
    client.delete(index=production.clinic.names.ledger, id="lock|model|misuse", refresh=True)
    production.promote(other)
    assert runner.run().state == "skipped"
    assert production.in_place()["champion"] == other


def test_the_stream_holds_nothing_artificial(production: InProduction) -> None:
    client = production.clinic.client
    client.indices.refresh(index=STREAM)
    before = client.count(index=STREAM)["count"]
    rolled_back(production)
    client.indices.refresh(index=STREAM)
    assert client.count(index=STREAM)["count"] == before
