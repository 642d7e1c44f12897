"""promote_<model>, task by task, against a cluster."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from clinic.world import FIRST, STREAM, clinic_event
from harness.task_runner import crash_after

from elastic_ml.exceptions import GateError, JobFailedError, LockHeldError, NotReadyError, SupersededError
from elastic_ml.operators.champion import SwitchChampionOperator

PASSED = ("evaluated", "success", None)
BOUND = "/_ingest/pipeline/misuse@score/_simulate"


def put_in_production(clinic: Any, **card: Any) -> str:
    """A champion from before, with its score pipeline, as an earlier promotion would have left it."""
    from elastic_ml.project import load_project
    from elastic_ml.registry.champion_switch import ChampionSwitch

    old = clinic.another_version(**card)
    project = load_project(clinic.folder)
    switch = ChampionSwitch(clinic.client, project, project.model("misuse"), old)
    switch.apply({"champion": None, "previous": None, "pipeline": None})
    return old


def compared_with(clinic: Any, champion: str, *, high: float = 0.1) -> None:
    """Say in the candidate's card that it was judged against this champion."""
    difference = {"value": high - 0.1, "low": high - 0.2, "high": high, "confidence": 0.95}
    metrics = {**clinic.card["metrics"], "difference": {"auc_roc": difference}}
    clinic.client.update(
        index=clinic.names.model_cards,
        id=clinic.model_id,
        doc={"champion": champion, "compared": champion, "metrics": metrics},
        refresh=True,
    )


def in_place(clinic: Any) -> dict[str, Any]:
    """Everything that serving depends on."""
    from elastic_ml.registry.model_cards import model_behind

    pipelines = clinic.client.ingest.get_pipeline()
    return {
        "champion": clinic.champion(),
        "previous": model_behind(clinic.client, clinic.names.previous("misuse")),
        "pipeline": pipelines.get("misuse@score"),
    }


def index_event(clinic: Any, number: int) -> dict[str, Any]:
    document, _ = clinic_event(number, datetime(2026, 11, 16, 9, tzinfo=UTC), random.Random(number))
    clinic.client.create(index=STREAM, id=document["event"]["id"], document=document, refresh=True)
    hits = clinic.client.search(index=STREAM, query={"term": {"event.id": document["event"]["id"]}})["hits"]["hits"]
    return dict(hits[0]["_source"])


# The way into production ------------------------------------------------------------------------------------------


def test_an_approved_candidate_scores_the_next_event_with_its_corrected_probability(trained: Any) -> None:
    assert "ml" not in index_event(trained, 900_001)
    assert trained.gate().state == "success"
    assert trained.answer(reason="figures are fine").state == "success"
    switched = trained.run("promote_misuse", "switch")
    assert switched.state == "success", switched.error
    assert switched.value["approved_by"] == "ana"
    assert trained.run("promote_misuse", "record").state == "success"

    scored = index_event(trained, 900_002)["ml"]["misuse"]
    assert scored["model_id"] == trained.model_id == trained.champion()
    assert 0 <= scored["score"] <= 1
    assert "top_classes" not in scored
    assert "feature_importance" not in scored
    assert len(scored["reason"]) == 3
    assert all(reason.split("=")[0] in trained.card["features"] for reason in scored["reason"])
    kept = trained.card["kept"]["false"]
    raw = scored["prediction_probability"] if scored["prediction"] == "true" else 1 - scored["prediction_probability"]
    assert scored["score"] == pytest.approx(raw / (raw + (1 - raw) / kept), rel=1e-6)
    assert trained.events() == [PASSED, ("transitioned", "success", "ana"), ("deployed", "success", "ana")]
    assert trained.client.get(index=trained.names.model_cards, id=trained.model_id)["_source"]["stage"] == "champion"


def test_an_event_that_cannot_be_scored_is_indexed_with_the_reason(trained: Any) -> None:
    trained.client.ml.delete_trained_model(model_id=put_in_production(trained), force=True)
    document = index_event(trained, 900_003)
    assert "misuse_champion" in document["ml"]["misuse"]["error"]
    assert document["event"]["action"]


def test_a_list_is_scored_as_it_was_learned_and_the_event_keeps_it(trained: Any) -> None:
    trained.gate()
    trained.answer()
    assert trained.run("promote_misuse", "switch").state == "success"
    document, _ = clinic_event(900_004, datetime(2026, 11, 16, 9, tzinfo=UTC), random.Random(4))
    alone, listed = (
        trained.client.ingest.simulate(
            id="misuse@score",
            docs=[{"_source": {**document, "event": {**document["event"], "action": action}}}],
        )["docs"][0]["doc"]["_source"]
        for action in ("export", ["export"])
    )
    assert listed["ml"] == alone["ml"]
    assert listed["event"]["action"] == ["export"]
    assert set(listed) == set(document) | {"ml"}


def test_a_score_that_an_event_brings_along_is_not_believed(trained: Any) -> None:
    put_in_production(trained)
    forged = {"score": 0.0, "model_id": "me", "error": "none", "reason": ["trust me"]}
    document, _ = clinic_event(900_005, datetime(2026, 11, 16, 9, tzinfo=UTC), random.Random(5))
    docs = [{"_source": {**document, **more}} for more in ({}, {"ml": {"misuse": forged}})]
    honest, brought = trained.client.ingest.simulate(id="misuse@score", docs=docs)["docs"]
    assert brought["doc"]["_source"]["ml"] == honest["doc"]["_source"]["ml"]


def test_a_second_promotion_keeps_the_way_back(trained: Any) -> None:
    old = put_in_production(trained)
    compared_with(trained, old)
    assert trained.gate().state == "success"
    trained.answer()
    assert trained.run("promote_misuse", "switch").state == "success"
    assert in_place(trained)["champion"] == trained.model_id
    assert in_place(trained)["previous"] == old
    script = next(p["script"] for p in in_place(trained)["pipeline"]["processors"] if "script" in p)
    assert set(script["params"]["kept"]) == {old, trained.model_id}
    assert trained.events(old) == [("transitioned", "success", "ana")]


def test_a_run_that_a_candidate_starts_takes_the_model_from_its_payload(trained: Any) -> None:
    runner = trained.runner("promote_misuse", "gate", user=None)
    asset = dict(zip(("name", "uri"), trained.names.candidate_asset("misuse"), strict=True))
    runner.api.dag_run["consumed_asset_events"] = [
        {
            "asset": {**asset, "extra": {}},
            "extra": {"model_id": trained.model_id},
            "source_task_id": "candidate",
            "source_dag_id": "train_misuse",
            "source_run_id": "manual__1",
            "source_map_index": -1,
            "source_aliases": [],
            "timestamp": "2026-11-16T04:00:00+00:00",
            "partition_key": trained.card["job_id"],
        }
    ]
    result = runner.run()
    assert result.state == "success", result.error
    assert result.value["model_id"] == trained.model_id
    assert result.value["requested_by"] == "bo"


# The gate ----------------------------------------------------------------------------------------------------------


def test_a_candidate_below_the_limit_is_rejected_and_says_by_how_much(trained: Any) -> None:
    path = trained.folder / "models" / "misuse.yml"
    path.write_text(path.read_text().replace("auc_roc: 0.7", "auc_roc: 0.999"))
    result = trained.gate()
    assert isinstance(result.error, GateError)
    assert result.state == "failed", "another try changes nothing"
    assert f"auc_roc is {trained.card['figures']['auc_roc']:.3f}, and the gate asks for 0.999" in str(result.error)
    assert trained.events() == [("rejected", "success", None)]


def test_a_candidate_worse_than_the_champion_beyond_doubt_is_rejected(trained: Any) -> None:
    compared_with(trained, put_in_production(trained), high=-0.02)
    assert "worse than the champion's on the same rows by 0.120" in str(trained.gate().error)
    assert trained.events() == [("rejected", "success", None)]


def test_a_candidate_that_is_champion_already_ends_the_run_before_anybody_is_asked(trained: Any) -> None:
    trained.client.ml.put_trained_model_alias(model_id=trained.model_id, model_alias="misuse_champion")
    assert trained.gate().state == "skipped"
    record = trained.run("promote_misuse", "record")
    assert record.state == "skipped"
    assert trained.events() == []


def test_figures_against_another_champion_are_no_figures(trained: Any) -> None:
    put_in_production(trained)
    result = trained.gate()
    assert isinstance(result.error, SupersededError)
    assert "Clear `evaluate`" in str(result.error)
    assert trained.events() == [], "it was not judged, so it is not rejected"


def test_a_model_without_a_card_or_of_another_name_is_not_promoted(trained: Any) -> None:
    other = trained.another_version(model_name="stay")
    assert "not of misuse" in str(trained.gate(other).error)
    trained.client.delete(index=trained.names.model_cards, id=other, refresh=True)
    assert "card of misuse-20260101-abcdef01-1 is missing" in str(trained.gate(other).error)
    assert isinstance(trained.gate("misuse-20250101-00000000-1").error, NotReadyError)


@pytest.mark.parametrize(
    ("then", "now", "sentence"),
    [
        (
            'positive_class: "true"',
            'positive_class: "false"',
            "the positive class is false, and the model learned true",
        ),
        ("audit.distance, ", "", "audit.distance is no feature any more"),
    ],
)
def test_a_model_file_that_changed_since_the_training_is_noticed(
    trained: Any, then: str, now: str, sentence: str
) -> None:
    path = trained.folder / "models" / "misuse.yml"
    assert then in path.read_text()
    path.write_text(path.read_text().replace(then, now))
    result = trained.gate()
    assert isinstance(result.error, NotReadyError)
    assert sentence in str(result.error)
    assert "Train again" in str(result.error)
    assert trained.events() == [], "it was not judged, so it is not rejected"


@pytest.mark.parametrize("part", ["baseline", "importance", "limits", "compared"])
def test_an_incomplete_card_names_what_is_missing(trained: Any, part: str) -> None:
    card = {name: value for name, value in trained.card.items() if name != part}
    trained.client.index(index=trained.names.model_cards, id=trained.model_id, document=card, refresh=True)
    assert f"incomplete: {part}" in str(trained.gate().error)


def test_a_passed_gate_is_in_the_registry_with_the_figures(trained: Any) -> None:
    for _ in range(2):
        assert trained.gate().state == "success"
    assert trained.events() == [PASSED], "once per run"
    (event,) = trained.client.search(index=trained.names.registry)["hits"]["hits"]
    assert event["_source"]["metrics"] == trained.card["figures"]
    assert event["_source"]["reason"] == "passed its gate against no champion"


# The person --------------------------------------------------------------------------------------------------------


def test_a_rejection_is_recorded_with_its_reason_and_nothing_moves(trained: Any) -> None:
    before = in_place(trained)
    trained.gate()
    trained.answer("Reject", user="ana", reason="too many false alarms in nursing")
    record = trained.run("promote_misuse", "record")
    assert record.state == "success"
    assert record.value["reason"] == "too many false alarms in nursing"
    assert in_place(trained) == before
    assert trained.events() == [PASSED, ("rejected", "success", "ana")]
    assert trained.run("train_misuse", "candidate").state == "skipped"


def test_silence_is_a_rejection(trained: Any) -> None:
    trained.gate()
    trained.answer("Reject", user=None)
    assert trained.run("promote_misuse", "record").value["timed_out"] is True
    assert trained.events() == [PASSED, ("rejected", "success", None)]


def test_whoever_had_it_trained_cannot_approve_but_may_reject(trained: Any) -> None:
    trained.gate()
    refused = trained.answer(user="bo")
    assert refused.state == "up_for_retry"
    assert "bo had this model trained and cannot approve it" in str(refused.error)
    assert "decision" not in refused.xcoms
    assert trained.answer("Reject", user="bo").state == "success"


@pytest.mark.parametrize(
    ("user", "sentence"),
    [("Anonymous", "Somebody without a name cannot approve"), ("cid", "cid is not among the approvers")],
)
def test_only_a_named_approver_approves_whatever_airflow_let_through(trained: Any, user: str, sentence: str) -> None:
    trained.gate()
    refused = trained.answer(user=user)
    assert refused.state == "up_for_retry"
    assert sentence in str(refused.error)
    assert "decision" not in refused.xcoms
    assert trained.answer().state == "success"


def test_a_dag_of_ones_own_promotes_without_a_person_only_where_the_configuration_allows_it(trained: Any) -> None:
    assert trained.gate().state == "success"
    runner = trained.runner("promote_misuse", "switch")
    runner.make_task = lambda: SwitchChampionOperator(
        task_id="switch", project_folder=str(trained.folder), model="misuse", approval="auto"
    )
    refused = runner.run()
    assert isinstance(refused.error, NotReadyError)
    assert "[elastic_ml] allow_auto_approval = True" in str(refused.error)
    with pytest.raises(ValueError, match="person or auto"):
        SwitchChampionOperator(task_id="switch", project_folder="", model="", approval="automatic")


def test_without_a_person_the_registry_says_auto(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained.folder / "models" / "misuse.yml"
    path.write_text(
        path.read_text().replace("approval: {mode: person, approvers: [ana], timeout: 1h}", "approval: {mode: auto}")
    )
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__ALLOW_AUTO_APPROVAL", "True")
    assert trained.gate().state == "success"
    assert trained.run("promote_misuse", "approve").state == "success"
    assert trained.run("promote_misuse", "switch").value["approved_by"] == "auto"
    assert trained.events()[1:] == [("transitioned", "success", "auto"), ("deployed", "success", "auto")]


def test_without_a_decision_nothing_is_switched(trained: Any) -> None:
    trained.gate()
    result = trained.run("promote_misuse", "switch")
    assert "No approval by a person was found" in str(result.error)
    assert in_place(trained)["champion"] is None


# The switch --------------------------------------------------------------------------------------------------------


def test_a_failed_simulation_by_id_changes_nothing(trained: Any) -> None:
    trained.gate()
    trained.answer()
    trained.sandbox.faults.add(method="*", path="/_ingest/pipeline/_simulate", status=500, reason="broken")
    before = in_place(trained)
    assert trained.run("promote_misuse", "switch").state == "up_for_retry"
    assert in_place(trained) == before


@pytest.mark.parametrize("first", [True, False], ids=["first promotion", "with a champion"])
def test_a_failure_after_the_switch_puts_everything_back_and_says_so(trained: Any, first: bool) -> None:
    if not first:
        compared_with(trained, put_in_production(trained))
    before = in_place(trained)
    assert trained.gate().state == "success"
    trained.answer()
    trained.sandbox.faults.add(method="*", path=BOUND, status=500, reason="broken", times=None)
    runner = trained.runner("promote_misuse", "switch")
    assert runner.run().state == "up_for_retry"
    after = in_place(trained)
    assert (after["champion"], after["previous"]) == (before["champion"], before["previous"])
    assert (after["pipeline"] or {}).get("processors") == (before["pipeline"] or {}).get("processors")
    assert ("deployed", "error", "ana") in trained.events()
    trained.sandbox.faults.clear()
    assert runner.run().state == "success", "the next try switches"
    assert trained.champion() == trained.model_id


def test_a_wrong_score_after_the_switch_is_noticed(trained: Any) -> None:
    """A pipeline whose kept shares do not name the model would leave events without a score."""
    from elastic_ml.project import load_project
    from elastic_ml.registry.champion_switch import ChampionSwitch

    project = load_project(trained.folder)
    switch = ChampionSwitch(trained.client, project, project.model("misuse"), trained.model_id)
    switch.apply({"champion": None, "previous": None, "pipeline": None})
    trained.client.ml.put_trained_model_alias(
        model_id=trained.another_version(), model_alias="misuse_champion", reassign=True
    )
    with pytest.raises(JobFailedError, match="no kept shares for model misuse-20260101-abcdef01-1"):
        switch.try_bound(switch.recent_events())


@pytest.mark.parametrize("first", [True, False], ids=["first promotion", "with a champion"])
def test_crashes_all_along_the_switch_are_finished_by_the_next_try(trained: Any, first: bool) -> None:
    if not first:
        compared_with(trained, put_in_production(trained))
    old = trained.champion()
    trained.gate()
    trained.answer()
    runner = trained.runner("promote_misuse", "switch")
    for point in range(2 + first, 60, 3):
        with crash_after(point) as sent:
            crashed = runner.run()
        if crashed.state == "success":
            break
        assert crashed.state == "killed", (point, sent, crashed.error)
        # Whatever the moment: an event is either scored by a known model, or not at all; it is never lost.
        assert trained.champion() in {old, trained.model_id}
        if point % 4 == 0:
            index_event(trained, 910_000 + point + 1000 * first)
    assert crashed.state == "success"
    assert in_place(trained)["champion"] == trained.model_id
    assert in_place(trained)["previous"] == old
    assert trained.events()[-2:] == [("transitioned", "success", "ana"), ("deployed", "success", "ana")]
    assert len(trained.events()) == 3, "recorded once"


def test_a_champion_that_changed_while_people_thought_supersedes_the_run(trained: Any) -> None:
    trained.gate()
    trained.answer()
    other = put_in_production(trained)
    result = trained.run("promote_misuse", "switch")
    assert result.state == "skipped"
    assert trained.champion() == other
    assert trained.events() == [PASSED]


def test_a_newer_candidate_supersedes_the_run_unless_it_would_not_pass(trained: Any) -> None:
    trained.gate()
    trained.answer()
    weak = {"challenger": {**trained.card["metrics"]["challenger"], "auc_roc": {"value": 0.5}}, "difference": {}}
    newer = trained.another_version("misuse-20261117-abcdef01-1", day="2026-11-17")
    assert trained.run("promote_misuse", "switch").state == "skipped"
    trained.client.update(index=trained.names.model_cards, id=newer, doc={"metrics": weak}, refresh=True)
    assert trained.run("promote_misuse", "switch").state == "success"


def test_a_newer_candidate_that_a_person_rejected_stands_in_nobodys_way(trained: Any) -> None:
    older = trained.model_id
    newer = trained.another_version("misuse-20261117-abcdef01-1", day="2026-11-17")
    assert trained.gate(newer).state == "success"
    trained.answer("Reject")
    assert trained.run("promote_misuse", "record").state == "success"
    assert trained.client.get(index=trained.names.model_cards, id=newer)["_source"]["stage"] == "retired"
    trained.xcoms.pop(("approve", "decision"))
    assert trained.gate(older).state == "success"
    trained.answer()
    assert trained.run("promote_misuse", "switch").state == "success"
    assert trained.champion() == older


def test_a_switch_that_paused_until_its_lock_was_taken_writes_nothing(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from elastic_ml.ingest.ledger import Ledger
    from elastic_ml.operators import champion
    from elastic_ml.registry.champion_switch import ChampionSwitch

    tried = ChampionSwitch.try_challenger
    others: list[Any] = []

    def pause(self: ChampionSwitch, events: Any) -> None:
        tried(self, events)
        ledger = Ledger(trained.client, trained.names.ledger)
        others.append(
            ledger.claim("lock|model|misuse", owner="rollback", ttl=timedelta(minutes=1), change=lambda _: {})
        )

    monkeypatch.setattr(champion, "LOCK", timedelta(0))
    monkeypatch.setattr(ChampionSwitch, "try_challenger", pause)
    trained.gate()
    trained.answer()
    before = in_place(trained)
    result = trained.run("promote_misuse", "switch")
    others[0].release({"state": "free"})
    assert isinstance(result.error, LockHeldError)
    assert "held by rollback" in str(result.error)
    assert in_place(trained) == before
    assert trained.events() == [PASSED]


def test_the_switch_waits_for_its_lock_and_names_the_holder(trained: Any) -> None:
    from datetime import timedelta

    from elastic_ml.ingest.ledger import Ledger

    trained.gate()
    trained.answer()
    with Ledger(trained.client, trained.names.ledger).lock("model|misuse", owner="rollback", ttl=timedelta(minutes=1)):
        result = trained.run("promote_misuse", "switch")
    assert result.state == "up_for_retry"
    assert "rollback" in str(result.error)
    assert trained.champion() is None


def test_a_cluster_without_room_for_another_inference_processor_is_named(trained: Any) -> None:
    crowd = {"inference": {"model_id": trained.model_id, "target_field": "crowd"}}
    # The server counts those behind a failure, too.
    behind = {"set": {"field": "a", "value": 1, "on_failure": [crowd] * 20}}
    trained.client.ingest.put_pipeline(id="crowd", processors=[crowd] * 30 + [behind])
    try:
        trained.gate()
        trained.answer()
        result = trained.run("promote_misuse", "switch")
        assert "50 inference processors" in str(result.error)
        assert "xpack.ml.max_inference_processors" in str(result.error)
    finally:
        trained.client.ingest.delete_pipeline(id="crowd")


def test_the_challenger_is_measured_against_a_champion_on_the_same_rows(trained: Any) -> None:
    """A champion from before is beaten by the model that learned; both figures stand side by side in the card."""
    old = put_in_production(
        trained, windows={**trained.card["windows"], "train_end": FIRST.strftime("%Y-%m-%dT%H:%M:%SZ")}, kept={}
    )
    again = trained.train(run_id="manual__2")
    card = trained.client.get(index=trained.names.model_cards, id=again["model_id"])["_source"]
    assert card["champion"] == card["compared"] == old
    assert card["metrics"]["champion"]["auc_roc"]["value"] < card["metrics"]["challenger"]["auc_roc"]["value"]
    assert card["metrics"]["difference"]["auc_roc"]["low"] > 0
    assert set(card["evaluate"]) == {"challenger", "champion"}
    assert trained.gate().state == "success"


def test_a_champion_that_learned_the_holdout_is_not_compared_and_the_gate_says_so(trained: Any) -> None:
    put_in_production(trained, windows={**trained.card["windows"], "train_end": "2026-11-20T00:00:00Z"})
    trained.train(run_id="manual__2")
    result = trained.gate()
    assert isinstance(result.error, GateError)
    assert "train for a later day" in str(result.error)
