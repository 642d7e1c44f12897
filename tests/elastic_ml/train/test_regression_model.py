"""A model that predicts a number, from its training through a second champion to what an event gets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clinic.world import STREAM, Clinic, open_clinic, short_waits

from elastic_ml.registry.events import events_of
from elastic_sandbox.testing import serve

DAYS = ("2026-11-14", "2026-11-16")


def train(clinic: Clinic, day: str) -> dict[str, Any]:
    """Train `stay` for a day; returns its card."""
    clinic.train("stay", day=day, run_id=f"manual__{day}")
    card: dict[str, Any] = clinic.client.get(index=clinic.names.model_cards, id=clinic.model_id)["_source"]
    return card


def promote(clinic: Clinic, task_id: str, day: str) -> Any:
    return clinic.run("promote_stay", task_id, model_id=clinic.model_id, run_id=f"manual__{day}")


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Clinic, list[dict[str, Any]]]]:
    """The clinic after two models were promoted by the gate alone, and their cards."""
    with (
        serve() as sandbox,
        short_waits(),
        pytest.MonkeyPatch.context() as environment,
        open_clinic(sandbox, tmp_path_factory.mktemp("stay")) as clinic,
    ):
        environment.setenv("AIRFLOW__ELASTIC_ML__ALLOW_AUTO_APPROVAL", "True")
        clinic.fill()
        cards = []
        for day in DAYS:
            cards.append(train(clinic, day))
            for task_id, state in (("gate", "success"), ("approve", "success"), ("switch", "success")):
                result = promote(clinic, task_id, day)
                assert result.state == state, (task_id, result.error)
        yield clinic, cards


def test_the_card_of_a_regression_says_how_far_off_it_is(promoted: Any) -> None:
    clinic, (card, _) = promoted
    figures = card["metrics"]["challenger"]
    assert figures["r_squared"]["value"] > 0.9
    assert figures["mean_absolute_error"]["low"] < figures["mean_absolute_error"]["value"] < 1
    served = card["evaluate"]["challenger"]
    assert set(served) == {"mse", "r_squared", "huber"}
    assert served["r_squared"]["value"] == pytest.approx(figures["r_squared"]["value"], abs=1e-9)
    assert [item["feature"] for item in card["importance"]] == ["audit.records", "audit.distance", "event.action"]
    assert "R squared" in card["markdown"]
    assert card["rows"]["train"] == 1050
    assert card["positive_class"] is None
    assert clinic.names.train_index(card["job_id"]).endswith(card["job_id"])


def test_the_second_model_is_compared_with_the_first_on_the_same_rows(promoted: Any) -> None:
    clinic, (first, second) = promoted
    assert second["champion"] == second["compared"] == first["model_id"]
    assert second["metrics"]["champion"]["r_squared"]["value"] > 0.9
    assert "mean_absolute_error" in second["metrics"]["difference"]
    models = clinic.client.ml.get_trained_models(model_id="stay_champion")["trained_model_configs"]
    assert models[0]["model_id"] == second["model_id"]
    assert models[0]["inference_config"]["regression"]["num_top_feature_importance_values"] == 2
    told = [event["event_type"] for event in events_of(clinic.client, clinic.names, second["model_id"])]
    assert told == ["registered", "evaluated", "evaluated", "transitioned", "deployed"], "the gate says so, too"


def test_an_event_gets_the_predicted_number_and_why(promoted: Any) -> None:
    clinic, (_, second) = promoted
    document = {
        "@timestamp": "2026-11-17T10:00:00Z",
        "event": {"id": "late-1", "action": "view", "dataset": "clinic.access", "timezone": "Europe/Berlin"},
        "user": {"id": "nurse1"},
        "audit": {"records": 5, "distance": 2.0},
    }
    clinic.client.index(index=STREAM, id="late-1", document=document, op_type="create", refresh=True)
    hits = clinic.client.search(index=STREAM, query={"term": {"event.id": "late-1"}})["hits"]["hits"]
    scored = hits[0]["_source"]["ml"]["stay"]
    assert scored["model_id"] == second["model_id"]
    assert scored["prediction"] == scored["score"] == pytest.approx(2 * 5 + 0.5 * 2.0, abs=1.5)
    assert scored["reason"] == ["audit.records=5", "audit.distance=2.0"]
    assert "error" not in scored


def test_a_limit_on_r_squared_holds_a_regression_back(promoted: Any) -> None:
    clinic, _ = promoted
    file = Path(clinic.folder) / "models" / "stay.yml"
    text = file.read_text()
    file.write_text(text.replace("{r_squared: 0.5}", "{r_squared: 0.9999}"))
    try:
        train(clinic, "2026-11-15")
        result = promote(clinic, "gate", "2026-11-15")
    finally:
        file.write_text(text)
    assert result.state != "success"
    assert "r_squared" in str(result.error)
