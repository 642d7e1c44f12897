"""What monitor_<model> finds in one day, and when it asks for a training."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.serde import serialize
from clinic.operations import MODEL_ID, Operations, snapshot, steady
from clinic.world import STREAM
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.clients.documents import IN_HISTORY
from elastic_ml.evaluation.drift_watch import asked_lately, days_in_a_row, lasting
from elastic_ml.stages import monitor

DAY = date(2026, 11, 10)
ODD = """
owner: privacy
source: {index: [logs-clinic.access-eu]}
features: [audit.records, audit.distance]
windows: {train: 14d}
analysis: {outlier_detection: {}}
"""


@pytest.fixture
def watched(production: Operations) -> Operations:
    """The clinic in production, its model judged on five October days, and deployed before the days that follow."""
    production.card()
    production.deployed(MODEL_ID, datetime(2026, 11, 1, tzinfo=UTC))
    return production


def exports(document: dict[str, Any]) -> None:
    """What drift looks like: everybody exports."""
    document["event"]["action"] = "export"


def task(clinic: Operations, task_id: str, day: date, *, model: str = "misuse", **more: Any) -> TaskRunner:
    run_id = f"scheduled__{day}"
    return clinic.runner(monitor, f"monitor_{model}", task_id, run_id=run_id, day=day.isoformat(), **more)


def measure(clinic: Operations, day: date, *, model: str = "misuse") -> dict[str, Any]:
    result = task(clinic, "measure", day, model=model).complete()
    assert result.state == "success", result.error
    return dict(result.value)


def drift(clinic: Operations, measured: dict[str, Any]) -> Any:
    runner = task(clinic, "drift", date.fromisoformat(measured["day"]))
    runner.api.xcoms["measure", "return_value"] = serialize(measured)
    return runner.run()


def found(measured: dict[str, Any], feature: str) -> dict[str, Any]:
    return next(finding for finding in measured["findings"] if finding["feature"] == feature)


def breached(measured: dict[str, Any]) -> list[str]:
    return [finding["feature"] for finding in measured["findings"] if finding["breached"]]


def test_an_ordinary_day_is_measured_and_nothing_is_breached(watched: Operations) -> None:
    watched.day(DAY)
    measured = measure(watched, DAY)
    assert breached(measured) == []
    assert {"_score", "_coverage", "event.action", "audit.records"} <= {f["feature"] for f in measured["findings"]}
    assert found(measured, "_coverage")["value"] == 1.0
    assert not measured["drifted"]
    (document,) = watched.documents(watched.names.drift, feature="event.action")
    assert document["psi"] < document["limit"]
    assert (document["model_version"], document["breached"]) == (MODEL_ID, False)
    assert document["@timestamp"] == "2026-11-11T00:00:00Z"


def test_a_drifted_day_is_flagged_at_once_and_asked_a_training_for_when_it_lasts(watched: Operations) -> None:
    for offset in range(3):
        watched.day(DAY + timedelta(days=offset), change=exports if offset else lambda _: None)
    assert breached(measure(watched, DAY)) == []
    first = measure(watched, DAY + timedelta(days=1))
    assert "event.action" in breached(first)
    assert not first["drifted"], "one bad day is no drift"
    assert drift(watched, first).state == "skipped"
    second = measure(watched, DAY + timedelta(days=2))
    assert second["drifted"]
    assert "event.action" in second["features"]
    emitted = drift(watched, second)
    assert emitted.state == "success", emitted.error
    (event,) = emitted.outlet_events
    assert event["dest_asset_key"]["name"] == "clinicml_misuse_drift"
    assert event["extra"]["model_id"] == MODEL_ID
    # Plain consumers such as train_<model> never see a keyed event.
    assert not event.get("partition_keys")
    assert not event.get("partition_key")


def test_a_training_that_was_asked_for_is_not_asked_for_again_the_next_day(watched: Operations) -> None:
    for offset in range(4):
        watched.day(DAY + timedelta(days=offset), change=exports)
    for offset, expected in enumerate([False, True, False, False]):
        measured = measure(watched, DAY + timedelta(days=offset))
        assert measured["drifted"] is expected, offset
        assert drift(watched, measured).state == ("success" if expected else "skipped")


def test_a_new_champion_starts_with_a_clean_slate(watched: Operations) -> None:
    for offset in range(2):
        watched.day(DAY + timedelta(days=offset), change=exports)
        measure(watched, DAY + timedelta(days=offset))
    later = "misuse-20261117-abcdef02-1"
    watched.promote(later)
    watched.card(later)
    third = DAY + timedelta(days=2)
    watched.day(third, change=exports)
    measured = measure(watched, third)
    assert measured["model_id"] == later
    assert "event.action" in breached(measured)
    assert not measured["drifted"]


def test_measuring_a_day_again_adds_nothing(watched: Operations) -> None:
    watched.day(DAY)
    first = measure(watched, DAY)
    before = snapshot(watched)
    assert measure(watched, DAY) == first
    assert snapshot(watched) == before


def test_a_quiet_day_is_judged_with_those_before_it_and_does_not_count_towards_the_row(watched: Operations) -> None:
    watched.day(DAY, change=exports)
    watched.day(DAY + timedelta(days=1), a_day=20)
    assert "event.action" in breached(measure(watched, DAY))
    sunday = measure(watched, DAY + timedelta(days=1))
    assert found(sunday, "event.action")["quiet"]
    assert not sunday["drifted"], "the same bad day was counted twice"


def test_a_day_without_events_says_nothing(watched: Operations) -> None:
    watched.day(DAY - timedelta(days=1))
    measured = measure(watched, DAY)
    assert measured["findings"] == []
    assert watched.documents(watched.names.drift) == []


def test_events_without_a_score_lower_the_coverage_and_ask_for_no_training(watched: Operations) -> None:
    watched.day(DAY)
    scoring = watched.client.ingest.get_pipeline(id="clinic-audit@score")["clinic-audit@score"]["processors"]
    watched.client.ingest.put_pipeline(id="clinic-audit@score", processors=[])
    operations: list[dict[str, Any]] = []
    for document in steady(DAY + timedelta(days=400), 50):
        document["@timestamp"] = f"{DAY}T12:00:00Z"
        operations += [{"create": {"_id": document["event"]["id"]}}, document]
    watched.client.bulk(index=STREAM, operations=operations, refresh=True)
    watched.client.ingest.put_pipeline(id="clinic-audit@score", processors=scoring)
    coverage = found(measure(watched, DAY), "_coverage")
    assert coverage["value"] == pytest.approx(150 / 200)
    assert coverage["breached"]
    assert not coverage["retrains"]


@pytest.mark.parametrize(("promoted", "covered"), [("2026-11-12", [1.0]), ("2126-11-12", [])])
def test_coverage_is_of_events_that_came_after_the_first_promotion_whenever_they_happened(
    production: Operations, promoted: str, covered: list[float]
) -> None:
    production.card()
    production.deployed(MODEL_ID, datetime.fromisoformat(f"{promoted}T00:00:00+00:00"))
    production.day(DAY)
    findings = measure(production, DAY)["findings"]
    assert [finding["value"] for finding in findings if finding["feature"] == "_coverage"] == covered


def test_precision_is_judged_when_the_verdicts_have_come(watched: Operations) -> None:
    watched.day(DAY)
    reviewed = watched.client.search(
        index=STREAM, size=5, sort=[{"ml.misuse.score": "desc"}, {"@timestamp": "asc"}], source=False
    )["hits"]["hits"]
    verdicts: list[dict[str, Any]] = []
    for number, hit in enumerate(reviewed):
        verdict = "confirmed" if number < 4 else "none"
        document = {"event": {"id": hit["_id"]}, "user_hour": "-", "verdict": verdict, "rank": 2 if number < 4 else 0}
        verdicts += [{"index": {"_id": hit["_id"]}}, {**document, "decided_at": f"{DAY}T20:00:00Z"}]
    watched.client.bulk(index=watched.names.labels, operations=verdicts, refresh=True)
    assert not [f for f in measure(watched, DAY)["findings"] if f["feature"] == "_precision"]
    # label_delay is two days; ten judged ones are needed, and the clinic reviews five a day.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elastic_ml.monitoring.measures.FEWEST_JUDGED", 3)
        watched.day(DAY + timedelta(days=2))
        precision = found(measure(watched, DAY + timedelta(days=2)), "_precision")
    assert 0 < precision["value"] <= 0.8
    assert precision["limit"] == pytest.approx(0.4)


def test_the_latency_baseline_is_filled_once_after_a_day_and_five_hundred_predictions(watched: Operations) -> None:
    def served(at: str, count: int, latency: float) -> None:
        watched.client.index(
            index=watched.names.predictions,
            op_type="create",
            refresh=True,
            document={
                "@timestamp": at,
                "event_type": "predict",
                "status": "success",
                "model_name": "misuse",
                "model_version": MODEL_ID,
                "count": count,
                "latency_ms": latency,
            },
        )

    watched.day(DAY)
    served(f"{DAY}T06:00:00Z", 600, 3.0)
    assert measure(watched, DAY)["baseline"] == [], "it has served for eighteen hours"
    served(f"{DAY + timedelta(days=1)}T06:00:00Z", 100, 5.0)
    assert measure(watched, DAY + timedelta(days=1))["baseline"] == [f"misuse@{MODEL_ID}"]
    kept = watched.client.get(index=watched.names.baselines, id=f"misuse@{MODEL_ID}")["_source"]
    assert 3.0 < kept["baseline_p99_ms"] <= 5.0
    served(f"{DAY + timedelta(days=2)}T06:00:00Z", 1000, 50.0)
    assert measure(watched, DAY + timedelta(days=2))["baseline"] == []
    assert watched.client.get(index=watched.names.baselines, id=f"misuse@{MODEL_ID}")["_source"] == kept


def test_a_version_with_an_empty_baseline_gets_one(watched: Operations) -> None:
    key = f"misuse@{MODEL_ID}"
    watched.client.index(index=watched.names.baselines, id=key, document={"model_key": key}, refresh=True)
    for at in (f"{DAY}T00:00:00Z", f"{DAY}T23:00:00Z"):
        watched.client.index(
            index=watched.names.predictions,
            op_type="create",
            document={
                "@timestamp": at, "event_type": "predict", "status": "success", "model_name": "misuse",
                "model_version": MODEL_ID, "count": 400, "latency_ms": 2.0,
            },
            refresh=True,
        )  # fmt: skip
    assert measure(watched, DAY)["baseline"] == [key]


def test_nothing_in_production_is_a_skip_with_a_sentence(clinic: Operations) -> None:
    assert task(clinic, "measure", DAY).complete().state == "skipped"


def test_a_champion_without_a_card_is_watched_for_coverage_only(production: Operations) -> None:
    production.deployed(MODEL_ID, datetime(2026, 11, 1, tzinfo=UTC))
    production.client.delete(index=production.names.model_cards, id=MODEL_ID, refresh=True)
    production.day(DAY)
    assert [f["feature"] for f in measure(production, DAY)["findings"]] == ["_coverage"]


def test_an_outlier_model_is_compared_with_the_rows_it_scored(production: Operations) -> None:
    (Path(production.folder) / "models" / "odd_access.yml").write_text(ODD)
    results = production.names.results_index("odd_access-20261101-00000000")
    rows: list[dict[str, Any]] = []
    for offset in range(5):
        for document in steady(DAY - timedelta(days=10 + offset)):
            rows += [{"index": {}}, document]
    production.client.bulk(index=results, operations=rows, refresh=True)
    production.client.indices.put_alias(index=results, name=production.names.results_alias("odd_access"))
    production.day(DAY)
    assert breached(measure(production, DAY, model="odd_access")) == []

    def larger(document: dict[str, Any]) -> None:
        document["audit"]["records"] += 20

    production.day(DAY + timedelta(days=1), change=larger)
    measured = measure(production, DAY + timedelta(days=1), model="odd_access")
    assert breached(measured) == ["audit.records"]
    assert measured["model_id"] == results


def test_a_crash_after_any_request_is_finished_by_the_retry(watched: Operations) -> None:
    watched.day(DAY)
    runner, steps = task(watched, "measure", DAY), 0
    while True:
        with crash_after(steps):
            result = runner.run()
        if result.state != "killed":
            break
        steps += 2
    assert result.state == "success", result.error
    ids = [d["event"]["id"] for d in watched.documents(watched.names.drift)]
    assert len(ids) == len(set(ids)) == 5


def test_the_day_is_waited_for(watched: Operations) -> None:
    waiting = task(watched, "wait_for_data", DAY).run()
    assert waiting.state == "deferred"
    for source in ("access", "verdicts"):
        watched.clinic.ledger(source, DAY, "done")
    done = task(watched, "wait_for_data", DAY).run()
    assert done.state == "success", done.error
    assert done.value == {"day": DAY.isoformat()}


# when it asks


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], 0),
        ([(0, True)], 1),
        ([(0, True), (1, True), (2, False), (3, True)], 2),
        ([(0, False), (1, True)], 0),
        ([(0, True), (3, True)], 2),
    ],
)
def test_days_in_a_row_pass_over_days_that_could_not_be_judged(history: list[Any], expected: int) -> None:
    assert days_in_a_row([(DAY - timedelta(days=ago), bad) for ago, bad in history], DAY) == expected


def test_one_feature_has_to_last_not_one_today_and_another_tomorrow() -> None:
    yesterday = DAY - timedelta(days=1)
    histories = {"a": [(yesterday, True), (DAY, False)], "b": [(yesterday, False), (DAY, True)]}
    assert lasting(histories, DAY, 2) == []
    assert lasting({**histories, "c": [(yesterday, True), (DAY, True)]}, DAY, 2) == ["c"]


def test_a_request_holds_for_a_week() -> None:
    asked = [DAY - timedelta(days=6)]
    assert asked_lately(asked, DAY) == asked[0]
    assert asked_lately(asked, DAY + timedelta(days=1)) is None
    assert asked_lately([DAY], DAY) is None, "the same day may ask again, as a retry does"


def test_repaired_history_is_history_still_and_a_stream_of_that_name_is_not(clinic: Operations) -> None:
    """Events of history have no score by design: counted as without one, they would breach the coverage of old days."""
    history = ("history-logs-a.b-eu-2026.01-1", "repaired-0a1b2c3d-history-logs-a.b-eu-2026.01-1")
    streams = ("audit-history-eu", "repaired-0a1b2c3d-logs-history-eu-2026.01.01-000001")
    for index in (*history, *streams):
        clinic.client.index(index=index, document={"n": 1}, refresh=True)
    hits = clinic.client.search(
        index=[*history, *streams], query={"bool": {"must_not": IN_HISTORY}}, expand_wildcards="all"
    )["hits"]["hits"]
    assert {hit["_index"] for hit in hits} == set(streams)
    clinic.client.indices.delete(index=[*history, *streams])
