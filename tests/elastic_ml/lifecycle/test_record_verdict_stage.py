"""record_verdict against a cluster: the stream and the lookup index agree, whatever happens in between."""

from datetime import UTC, datetime
from typing import Any

import pytest
from clinic.world import STREAM, Clinic
from harness.task_runner import TaskRunner, crash_after

from elastic_ml.exceptions import IngestError, NotReadyError
from elastic_ml.stages import record_verdict

EVENT = "access-000004"


@pytest.fixture
def judged(trained: Clinic) -> Clinic:
    """A clinic whose verdict stream is empty."""
    trained.client.indices.delete_data_stream(name=trained.names.labels_stream)
    trained.client.indices.create_data_stream(name=trained.names.labels_stream)
    return trained


def verdict(
    clinic: Clinic,
    event_id: str = EVENT,
    given: str = "confirmed",
    *,
    run: str = "manual__v1",
    user: str | None = "eve",
) -> TaskRunner:
    return clinic.runner(
        "record_verdict", "record", run_id=run, user=user, event_id=event_id, verdict=given, reason="asked the ward"
    )


def kept(clinic: Clinic) -> list[dict[str, Any]]:
    stream = clinic.names.labels_stream
    clinic.client.indices.refresh(index=stream)
    hits = clinic.client.search(index=stream, sort=[{"@timestamp": "asc"}], size=100)["hits"]["hits"]
    return [{"_id": hit["_id"], **hit["_source"]} for hit in hits]


def latest(clinic: Clinic, event_id: str = EVENT) -> dict[str, Any]:
    return dict(clinic.client.get(index=clinic.names.labels, id=event_id)["_source"])


def test_stream_and_lookup_index_say_the_same(judged: Clinic) -> None:
    result = verdict(judged).run()
    assert result.state == "success", result.error
    (document,) = kept(judged)
    event = judged.client.search(index=STREAM, query={"ids": {"values": [EVENT]}})["hits"]["hits"][0]["_source"]
    given = document["verdict"]
    assert document["_id"] == document["event"]["id"] == result.value["decision_id"]
    assert (given["event_id"], given["decision"], given["decided_by"]) == (EVENT, "confirmed", "eve")
    assert given["reason"] == "asked the ward"
    assert given["user_id"] == event["user"]["id"]
    assert datetime.fromisoformat(given["event_time"]) == datetime.fromisoformat(event["@timestamp"])
    assert latest(judged) == {
        "event": {"id": EVENT},
        "verdict": "confirmed",
        "rank": 2,
        "decided_at": given["decided_at"],
        "user_hour": f"{event['user']['id']}|{event['@timestamp'][:13]}",
    }


def test_the_same_run_again_adds_nothing(judged: Clinic) -> None:
    runner = verdict(judged)
    first = runner.run().value
    before = kept(judged), latest(judged)
    runner.clear()
    assert runner.run().value == {**first, "duplicate": True}
    assert (kept(judged), latest(judged)) == before


def test_a_rollover_between_two_tries_lets_no_copy_in(judged: Clinic) -> None:
    runner = verdict(judged)
    runner.run()
    judged.client.indices.rollover(alias=judged.names.labels_stream)
    runner.clear()
    assert runner.run().value["duplicate"] is True
    assert len(kept(judged)) == 1


def test_every_decision_is_kept_and_the_later_one_counts(judged: Clinic) -> None:
    verdict(judged, given="confirmed").run()
    verdict(judged, given="none", run="manual__v2").run()
    assert [document["verdict"]["decision"] for document in kept(judged)] == ["confirmed", "none"]
    assert latest(judged)["rank"] == 0


def test_an_older_decision_that_is_written_late_does_not_replace_a_newer_one(judged: Clinic) -> None:
    late = verdict(judged, given="confirmed")
    late.api.dag_run["run_after"] = datetime(2026, 11, 17, tzinfo=UTC).isoformat()
    verdict(judged, given="none", run="manual__v2").run()
    assert late.run().state == "success"
    assert len(kept(judged)) == 2
    assert latest(judged)["verdict"] == "none"


def test_crashes_all_along_leave_one_decision_in_both(judged: Clinic) -> None:
    runner = verdict(judged, event_id="access-000009", given="suspicious")
    for point in range(1, 20):
        with crash_after(point):
            result = runner.run()
        if result.state == "success":
            break
        assert result.state == "killed"
    assert result.state == "success"
    assert len(kept(judged)) == 1
    assert latest(judged, "access-000009")["rank"] == 1


def test_an_event_that_nobody_has_seen_is_not_judged(judged: Clinic) -> None:
    result = verdict(judged, event_id="access-nowhere").run()
    assert isinstance(result.error, NotReadyError)
    assert "No event access-nowhere is in logs-clinic.access-eu" in str(result.error)
    assert kept(judged) == []


def test_an_event_of_a_month_that_is_not_sealed_yet_is_found(judged: Clinic) -> None:
    client = judged.client
    meta = {"history": {"stream": STREAM, "month": "2026.08", "number": 1}}
    client.indices.create(index=f"history-{STREAM}-2026.08-1", mappings={"_meta": meta})
    try:
        document = {"@timestamp": "2026-08-03T10:00:00Z", "event": {"id": "access-august"}, "user": {"id": "nurse1"}}
        client.index(index=f"history-{STREAM}-2026.08-1", id="access-august", document=document, refresh=True)
        assert verdict(judged, event_id="access-august").run().state == "success"
        assert latest(judged, "access-august")["user_hour"] == "nurse1|2026-08-03T10"
    finally:
        client.indices.delete(index=f"history-{STREAM}-2026.08-1")


def test_somebody_has_to_have_decided(judged: Clinic) -> None:
    result = verdict(judged, user=None).run()
    assert "Nobody says who decided" in str(result.error)
    assert kept(judged) == []


def test_a_missing_stream_is_named_and_nothing_is_made_up(judged: Clinic) -> None:
    stream = judged.names.labels_stream
    judged.client.indices.delete_data_stream(name=stream)
    try:
        result = verdict(judged).run()
        assert isinstance(result.error, IngestError)
        assert f"The data stream {stream} does not exist" in str(result.error)
    finally:
        judged.client.indices.create_data_stream(name=stream)


def test_the_form_offers_the_three_verdicts(judged: Clinic) -> None:
    dag = record_verdict.build(judged.folder)["record_verdict"]
    assert dag.params.get_param("verdict").schema["enum"] == ["confirmed", "suspicious", "none"]
    assert [task.task_id for task in dag.tasks] == ["record"]


@pytest.mark.parametrize(("users", "user"), [(["ana"], "ana"), (["ana", "ben"], None)])
def test_an_event_with_a_list_of_users_is_judged_and_hangs_on_a_user_hour_only_if_there_is_one(
    judged: Clinic, users: list[str], user: str | None
) -> None:
    source = judged.client.search(index=STREAM, query={"ids": {"values": [EVENT]}})["hits"]["hits"][0]["_source"]
    source["user"] = {"id": users}
    source["event"]["id"] = event_id = f"of-{len(users)}"
    judged.client.create(index=STREAM, id=event_id, document=source, refresh=True)
    result = verdict(judged, event_id=event_id).run()
    assert result.state == "success", result.error
    assert result.value["user_id"] == user
    hour = latest(judged, event_id).get("user_hour")
    assert hour == (f"{user}|{source['@timestamp'][:13]}" if user else None)
