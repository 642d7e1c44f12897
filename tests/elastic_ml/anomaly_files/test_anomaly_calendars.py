"""Calendars and filters: what is missing is written, what is not ours stays, a second run writes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from harness.task_runner import TaskRunner, crash_after
from webshop_jobs.world import JOB, Shop

from elastic_ml.exceptions import AlreadyExistsError, UnavailableError
from elastic_ml.operators.anomaly_calendars import AnomalyCalendarsOperator

HOLIDAYS, WORKS, ROBOTS = f"{JOB}-free_days", f"{JOB}-works", f"{JOB}-robots"
MOVE = "      - {description: Move to another data centre, start: 2026-06-06T20:00:00, end: 2026-06-07T06:00:00}\n"


def apply(shop: Shop, **more: Any) -> dict[str, tuple[str, str]]:
    """Run the operator; state and detail by name."""
    value = shop.complete(AnomalyCalendarsOperator, project_folder=str(shop.folder), job=JOB, **more)
    return {row["name"]: (row["state"], row["detail"]) for row in value["rows"]}


def runner(shop: Shop) -> TaskRunner:
    return shop.runner(AnomalyCalendarsOperator, project_folder=str(shop.folder), job=JOB)


def events(shop: Shop, calendar: str) -> list[dict[str, Any]]:
    return list(shop.client.ml.get_calendar_events(calendar_id=calendar, size=1000)["events"])


def descriptions(shop: Shop, calendar: str) -> list[str]:
    return [event["description"] for event in events(shop, calendar)]


def writes(shop: Shop) -> list[str]:
    lines = [f"{one.method} {one.path}" for one in shop.sandbox.requests if one.method not in {"GET", "HEAD"}]
    return [line for line in lines if line != f"POST /_ml/calendars/{JOB}-*"]  # which reads, however it looks


def test_everything_is_created_before_the_job_exists(shop: Shop) -> None:
    rows = apply(shop)
    assert {name: state for name, (state, _) in rows.items()} == dict.fromkeys([ROBOTS, HOLIDAYS, WORKS], "created")
    assert len(events(shop, HOLIDAYS)) == 24  # Bavaria's of two years
    [calendar] = shop.client.ml.get_calendars(calendar_id=WORKS)["calendars"]
    assert calendar["job_ids"] == [JOB]
    assert shop.client.ml.get_filters(filter_id=ROBOTS)["filters"][0]["items"] == ["crawler", "monitoring"]


def test_a_second_run_writes_nothing(shop: Shop) -> None:
    apply(shop)
    shop.sandbox.requests.clear()
    assert {state for state, _ in apply(shop).values()} == {"unchanged"}
    assert writes(shop) == []


def test_only_the_difference_is_written_and_named(shop: Shop) -> None:
    apply(shop)
    added = MOVE.replace("Move to another data centre", "Reorganisation").replace("2026-06", "2026-09")
    shop.write(MOVE, added)
    shop.write("[crawler, monitoring]", "[crawler, backup]")
    shop.sandbox.requests.clear()
    rows = apply(shop)
    assert rows[WORKS] == (
        "changed",
        "added Reorganisation [webshop] 2026-09-06; removed Move to another data centre [webshop] 2026-06-06",
    )
    assert rows[ROBOTS] == ("changed", "added backup; removed monitoring")
    assert rows[HOLIDAYS][0] == "unchanged"
    assert len(writes(shop)) == 3
    assert descriptions(shop, WORKS) == ["Reorganisation [webshop]"]


def test_what_somebody_added_in_kibana_stays(shop: Shop) -> None:
    apply(shop)
    theirs = {"description": "Fire drill", "start_time": 1_780_000_000_000, "end_time": 1_780_003_600_000}
    shop.client.ml.post_calendar_events(calendar_id=WORKS, events=[theirs])
    shop.client.ml.put_calendar_job(calendar_id=WORKS, job_id="another")
    assert apply(shop)[WORKS] == ("unchanged", "")
    shop.write(MOVE, MOVE.replace("Move", "Moving"))
    apply(shop)
    assert sorted(descriptions(shop, WORKS)) == ["Fire drill", "Moving to another data centre [webshop]"]
    assert shop.client.ml.get_calendars(calendar_id=WORKS)["calendars"][0]["job_ids"] == ["another", JOB]


def test_a_calendar_the_file_no_longer_has_is_deleted_unless_somebody_uses_it(shop: Shop) -> None:
    apply(shop)
    shop.client.ml.post_calendar_events(
        calendar_id=WORKS, events=[{"description": "Fire drill", "start_time": 1_000, "end_time": 2_000}]
    )
    text = (shop.folder / "anomaly_jobs" / f"{JOB}.yml").read_text()
    (shop.folder / "anomaly_jobs" / f"{JOB}.yml").write_text(
        text[: text.index("calendars:")] + text[text.index("filters:") :]
    )
    rows = apply(shop)
    assert rows[HOLIDAYS] == ("removed", "24 events")
    assert rows[WORKS] == ("edited by hand", "stays for 1 events that somebody added")
    assert descriptions(shop, WORKS) == ["Fire drill"]


def test_a_filter_the_file_no_longer_has_is_deleted_once_no_job_names_it(shop: Shop) -> None:
    apply(shop)
    shop.client.ml.put_job(
        job_id="old",
        data_description={"time_field": "@timestamp"},
        analysis_config={"bucket_span": "1h", "detectors": [{
            "function": "count", "partition_field_name": "user.id",
            "custom_rules": [{"actions": ["skip_result"], "scope": {"user.id": {"filter_id": ROBOTS}}}],
        }]},
    )  # fmt: skip
    rule = "{actions: [skip_result], scope: {user.id: {filter_id: robots, filter_type: include}}}"
    rules = f"custom_rules:\n          - {rule}\n"
    shop.write(rules, "use_null: false\n")
    shop.write("filters:\n  robots: {items: [crawler, monitoring]}\n", "")
    state, detail = apply(shop)[ROBOTS]
    assert state == "conflict"
    assert "currently used by jobs [old]" in detail
    shop.client.ml.delete_job(job_id="old")
    assert apply(shop)[ROBOTS] == ("removed", "")
    assert shop.client.ml.get_filters()["filters"] == []


def test_a_new_version_of_the_job_joins_the_calendars(shop: Shop) -> None:
    apply(shop)
    assert apply(shop, job_id=f"{JOB}_v2")[WORKS] == ("changed", f"for {JOB}_v2")
    assert shop.client.ml.get_calendars(calendar_id=WORKS)["calendars"][0]["job_ids"] == [JOB, f"{JOB}_v2"]


@pytest.mark.parametrize("kind", ["calendar", "filter"])
def test_somebody_elses_object_of_that_name_is_an_error_not_overwritten(shop: Shop, kind: str) -> None:
    if kind == "calendar":
        shop.client.ml.put_calendar(calendar_id=WORKS, description="ours")
    else:
        shop.client.ml.put_filter(filter_id=ROBOTS, items=["x"], description="ours")
    result = runner(shop).run()
    assert isinstance(result.error, AlreadyExistsError)
    assert "is not this project's" in str(result.error)
    assert "[webshop]" in str(result.error)


@pytest.mark.parametrize("calls", range(8))
def test_a_worker_that_dies_after_any_request_leaves_each_event_once(shop: Shop, calls: int) -> None:
    task = runner(shop)
    with crash_after(calls) as sent:
        first = task.run()
    if first.state == "success":
        assert len(sent) <= calls
    assert task.run().state == "success"
    assert set(Counter(descriptions(shop, WORKS)).values()) == {1}
    assert (len(events(shop, HOLIDAYS)), len(events(shop, WORKS))) == (24, 1)


def test_an_answer_that_is_lost_while_events_are_added_doubles_none(shop: Shop) -> None:
    shop.sandbox.faults.add(action="cut_after", method="POST", path=f"/_ml/calendars/{HOLIDAYS}/events", times=1)
    task = runner(shop)
    assert isinstance(task.run().error, UnavailableError)
    assert task.run().state == "success"
    assert len(events(shop, HOLIDAYS)) == 24


def test_events_that_are_there_twice_become_one(shop: Shop) -> None:
    apply(shop)
    [event] = events(shop, WORKS)
    again = {key: event[key] for key in ("description", "start_time", "end_time")}
    shop.client.ml.post_calendar_events(calendar_id=WORKS, events=[again])
    state, detail = apply(shop)[WORKS]
    assert (state, detail) == ("changed", "removed Move to another data centre [webshop] 2026-06-06")
    assert len(events(shop, WORKS)) == 1
