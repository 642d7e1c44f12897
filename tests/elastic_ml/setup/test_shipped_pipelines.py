"""What the shipped pipelines do to documents, in the streams that setup makes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import Sandbox

WEBSHOP = Path(__file__).parents[1] / "project" / "webshop"
STREAM = "logs-shop.audit-eu"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        run_setup(client, load_project(WEBSHOP), server_facts(client), mode="apply").raise_for_state()
        yield client


@pytest.fixture
def stored(client: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Index one event as a shipper would, without an id of its own, and read it back."""

    def through(document: dict[str, Any], stream: str = STREAM) -> dict[str, Any]:
        answer = client.index(index=stream, document=document, op_type="create")
        assert answer.get("failure_store") in {None, "not_applicable_or_unknown"}, answer
        return dict(client.get(index=answer["_index"], id=answer["_id"]))

    return through


def policy_of(client: Any) -> str:
    return client.enrich.get_policy()["policies"][0]["config"]["match"]["name"]


def event(time: str, **more: Any) -> dict[str, Any]:
    return {"@timestamp": time, "event": {"id": "e1", "action": "refund", "dataset": "shop.audit"} | more}


def test_local_time_decides_hour_weekday_date_and_holiday(stored):
    found = stored(event("2024-05-01T02:30:00.000Z", timezone="America/New_York"))["_source"]
    assert found["audit"] == {"hour": 22, "weekday": 2, "date": "2024-04-30", "holiday": False}


def test_without_a_zone_it_is_utc_and_labour_day_is_a_holiday(stored):
    found = stored(event("2024-05-01T02:30:00.000Z"))["_source"]
    assert found["audit"] == {"hour": 2, "weekday": 3, "date": "2024-05-01", "holiday": True}
    assert found["event"]["timezone"] == "UTC"


@pytest.mark.parametrize(("zone", "hour"), [("+05:30", 8), ("Europe/Berlin", 4), ("-04:00", 22)])
def test_zones_are_names_or_offsets(stored, zone: str, hour: int):
    assert stored(event("2024-05-01T02:30:00.000Z", timezone=zone))["_source"]["audit"]["hour"] == hour


def test_an_event_gets_its_own_id_kind_and_time_of_arrival(stored):
    found = stored(event("2024-05-01T02:30:00.000Z"))
    assert found["_id"] == "e1"
    assert found["_source"]["event"]["kind"] == "event"
    assert found["_source"]["event"]["ingested"]


def test_days_of_the_week_count_from_monday(stored):
    days = [
        stored({"@timestamp": f"2024-06-{day:02d}T12:00:00Z", "event": {"id": str(day)}})["_source"]["audit"]["weekday"]
        for day in range(3, 10)
    ]
    assert days == [1, 2, 3, 4, 5, 6, 7]


def test_an_unusable_zone_sends_the_event_to_the_failure_store(client):
    answer = client.index(index=STREAM, document=event("2024-05-01T02:30:00Z", timezone="Mars/Base"), op_type="create")
    assert answer["failure_store"] == "used"


def test_a_value_that_does_not_fit_goes_to_the_failure_store_and_not_to_null(client):
    answer = client.index(
        index=STREAM, document={**event("2024-05-01T02:30:00Z"), "source": {"ip": "not an ip"}}, op_type="create"
    )
    assert answer["failure_store"] == "used"


def test_an_operations_event_gets_ecs_copies_and_a_count(stored):
    found = stored(
        {"@timestamp": "2024-05-01T00:00:00Z", "event": {"id": "r1"}, "event_type": "deployed", "status": "error"},
        "logs-shop.registry-eu",
    )
    assert (found["_id"], found["_source"]["count"]) == ("r1", 1)
    assert (found["_source"]["event"]["action"], found["_source"]["event"]["outcome"]) == ("deployed", "failure")
    counted = stored(
        {"@timestamp": "2024-05-01T00:00:00Z", "event_type": "predict", "status": "success", "count": 40},
        "logs-shop.predictions-eu",
    )
    assert (counted["_source"]["count"], counted["_source"]["event"]["outcome"]) == (40, "success")


def test_a_model_without_a_pipeline_yet_scores_nothing_and_fails_nothing(stored, client):
    assert "ml" not in stored(event("2024-05-01T02:30:00Z"))["_source"]
    client.ingest.put_pipeline(
        id="refund_abuse@score", processors=[{"set": {"field": "ml.refund_abuse.score", "value": 0.5}}]
    )
    scored = stored(
        {**event("2024-05-01T02:30:00Z"), "event": {"id": "e2", "action": "refund", "dataset": "shop.audit"}}
    )
    assert scored["_source"]["ml"] == {"refund_abuse": {"score": 0.5}}
    other = stored(event("2024-05-01T02:30:00Z", id="e3", dataset="other"))
    assert "ml" not in other["_source"]


def test_only_a_confirmed_verdict_makes_the_label_true(client):
    for event_id, verdict, rank in (("a", "confirmed", 2), ("b", "suspicious", 1), ("c", "none", 0)):
        judged = {"event": {"id": event_id}, "verdict": verdict, "rank": rank}
        client.index(index="shop-labels", id=event_id, document=judged)
    client.indices.refresh(index="shop-labels")
    client.enrich.execute_policy(name=policy_of(client))
    docs = [{"_id": f"row-{e}", "_source": {"event": {"id": e}}} for e in "abcd"]
    found = client.ingest.simulate(id="refund_abuse@label", docs=docs)["docs"]
    assert {item["doc"]["_source"]["event"]["id"]: item["doc"]["_source"]["label"] for item in found} == {
        "a": "true",
        "b": "false",
        "c": "false",
        "d": "false",
    }
    assert set(found[0]["doc"]["_source"]) == {"event", "label"}


def test_a_row_without_event_id_is_judged_by_its_document_id(client):
    client.index(index="shop-labels", id="x", document={"event": {"id": "x"}, "verdict": "confirmed", "rank": 2})
    client.indices.refresh(index="shop-labels")
    client.enrich.execute_policy(name=policy_of(client))
    found = client.ingest.simulate(id="refund_abuse@label", docs=[{"_id": "x", "_source": {}}])["docs"]
    assert found[0]["doc"]["_source"]["label"] == "true"


def test_a_label_in_the_event_is_copied_as_it_is(client):
    docs = [{"_source": {"session": {"duration": 12.5}}}, {"_source": {}}]
    found = client.ingest.simulate(id="visit_length@label", docs=docs)["docs"]
    assert found[0]["doc"]["_source"]["label"] == 12.5
    assert "label" not in found[1]["doc"]["_source"]
