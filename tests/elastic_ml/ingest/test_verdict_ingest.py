"""Verdicts: every decision in its stream, the latest per event in the lookup index."""

from __future__ import annotations

import pytest

from elastic_ml.exceptions import IngestError, UnavailableError

STREAM = "logs-acme.labels-test"


@pytest.fixture
def verdicts(acme):
    acme.write_source("verdicts", kind="labels", stream=STREAM, fields={})
    return acme


def verdict(number: int, event: str, decision: str = "confirmed", hour: int = 12, **changes) -> dict:
    return {
        "decision_id": f"d-{number}",
        "event_id": event,
        "event_time": "2026-11-10T08:15:00+01:00",
        "user_id": "ana",
        "verdict": decision,
        "decided_at": f"2026-11-11T{hour:02d}:00:00Z",
        "decided_by": "reviewer",
        "reason": "seen",
        **changes,
    }


def latest(acme) -> dict[str, dict]:
    acme.client.indices.refresh(index="ml-labels")
    hits = acme.client.search(index="ml-labels", size=100)["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


def test_every_decision_is_kept_and_the_latest_wins_in_any_order(verdicts, counted):
    verdicts.deliver(
        [verdict(1, "e-1", "suspicious", 9), verdict(2, "e-1", "confirmed", 15), verdict(3, "e-1", "none", 11)],
        "verdicts",
    )
    assert counted(verdicts.ingest("verdicts")) == {"read": 3, "indexed": 3, "duplicate": 0, "rejected": 0}
    assert verdicts.ids(STREAM) == ["d-1", "d-2", "d-3"]
    assert latest(verdicts) == {
        "e-1": {
            "event": {"id": "e-1"},
            "user_hour": "ana|2026-11-10T07",
            "verdict": "confirmed",
            "rank": 2,
            "decided_at": "2026-11-11T15:00:00.000Z",
        }
    }


def test_reading_them_again_changes_nothing_and_an_older_day_does_not_win(verdicts, counted):
    verdicts.deliver([verdict(2, "e-1", "confirmed", 15)], "verdicts")
    verdicts.ingest("verdicts")
    before = latest(verdicts)
    verdicts.deliver([verdict(1, "e-1", "none", 9), verdict(2, "e-1", "confirmed", 15)], "verdicts")
    assert counted(verdicts.ingest("verdicts")) == {"read": 2, "indexed": 1, "duplicate": 1, "rejected": 0}
    assert latest(verdicts) == before


def test_missing_time_and_user_are_looked_up_in_the_audit_streams(verdicts):
    verdicts.deliver(verdicts.events(3))
    verdicts.ingest("trail")
    verdicts.deliver(
        [verdict(1, "e-000001", event_time=None, user_id=None), verdict(2, "e-000002", user_id=None)], "verdicts"
    )
    verdicts.ingest("verdicts")
    found = latest(verdicts)
    assert found["e-000001"]["user_hour"] == f"ana|{verdicts.day}T10"
    assert found["e-000002"]["user_hour"] == "ana|2026-11-10T07", "what the record says comes first"


def test_a_verdict_on_an_unknown_event_is_kept_without_a_user_hour_and_completed_later(verdicts):
    verdicts.deliver([verdict(1, "e-000001", event_time=None, user_id=None)], "verdicts")
    verdicts.ingest("verdicts")
    assert latest(verdicts)["e-000001"] == {
        "event": {"id": "e-000001"},
        "verdict": "confirmed",
        "rank": 2,
        "decided_at": "2026-11-11T12:00:00.000Z",
    }
    verdicts.deliver(verdicts.events(3))
    verdicts.ingest("trail")
    verdicts.ingest("verdicts")
    assert latest(verdicts)["e-000001"]["user_hour"] == f"ana|{verdicts.day}T10"


def test_what_is_no_verdict_is_rejected(verdicts, counted):
    verdicts.deliver([verdict(1, "e-1"), verdict(2, "e-2", "perhaps"), {"event_id": "e-3"}], "verdicts")
    assert counted(verdicts.ingest("verdicts")) == {"read": 3, "indexed": 1, "duplicate": 0, "rejected": 2}
    assert list(latest(verdicts)) == ["e-1"]


def test_a_crash_between_stream_and_lookup_index_is_mended_by_the_next_run(verdicts, counted, monkeypatch):
    monkeypatch.setattr("elastic_ml.ingest.bulk.MOST_ATTEMPTS", 2)
    verdicts.deliver([verdict(n, f"e-{n}") for n in range(20)], "verdicts")
    verdicts.sandbox.faults.add(method="PUT", path="/ml-labels/_bulk", status=503, times=None)
    with pytest.raises(UnavailableError):
        verdicts.ingest("verdicts")
    assert len(verdicts.ids(STREAM)) == 20
    assert latest(verdicts) == {}
    verdicts.sandbox.faults.clear()
    assert counted(verdicts.ingest("verdicts")) == {"read": 20, "indexed": 0, "duplicate": 20, "rejected": 0}
    assert len(latest(verdicts)) == 20


def test_answers_lost_on_both_ways_leave_every_decision_once(verdicts, counted):
    verdicts.deliver([verdict(n, f"e-{n % 7}", hour=n % 24) for n in range(40)], "verdicts")
    verdicts.sandbox.faults.add(method="PUT", path="/ml-labels/_bulk", action="cut_after", times=1)
    verdicts.sandbox.faults.add(method="PUT", path=f"/{STREAM}/_bulk", action="cut_after", times=1)
    assert counted(verdicts.ingest("verdicts")) == {"read": 40, "indexed": 40, "duplicate": 0, "rejected": 0}
    assert len(latest(verdicts)) == 7


def test_a_missing_lookup_index_is_a_sentence_and_is_not_made_up(verdicts):
    verdicts.client.indices.delete(index="ml-labels")
    verdicts.deliver([verdict(1, "e-1")], "verdicts")
    with pytest.raises(IngestError, match=r"ml-labels of the latest verdicts does not exist.*elastic_setup"):
        verdicts.ingest("verdicts")
    assert not verdicts.client.indices.exists(index="ml-labels")
