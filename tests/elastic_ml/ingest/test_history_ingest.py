"""A past month: into an index of its own, and into the stream when it is complete, with the retention of its date."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from elastic_ml.exceptions import ElasticMLError, IngestError
from elastic_ml.ingest import history, sealing
from elastic_ml.ingest.encoding import ChunkSize
from elastic_ml.ingest.history import history_indices, month_bounds, origination_date, unsealed_history
from elastic_ml.ingest.ledger import Ledger

STREAM = "logs-acme.audit-test"
DEAD_LETTERS = "logs-ml.dead_letter-default"


@pytest.fixture
def month() -> str:
    """A month that ended long enough ago, and not too long."""
    return (datetime.now(UTC) - timedelta(days=100)).strftime("%Y.%m")


@pytest.fixture
def days(month) -> list[str]:
    """The last three days of that month; the source starts with the first of them."""
    end = month_bounds(month)[1]
    return [(end - timedelta(days=back)).date().isoformat() for back in (3, 2, 1)]


@pytest.fixture
def past(acme, days):
    """A source that begins three days before the end of the month, and ten events for each day."""
    acme.write_source("trail", start_date=date.fromisoformat(days[0]))
    for number, day in enumerate(days):
        acme.deliver(events(day, 10, number * 10), day=day)
    return acme


def events(day: str, count: int, start: int = 0, **more) -> list[dict]:
    return [
        {"time": f"{day}T10:00:{n % 60:02d}.000Z", "id": f"h-{n:05d}", "action": "read", "user": "ana", **more}
        for n in range(start, start + count)
    ]


def all_ids(acme) -> list[str]:
    """Every event id of stream and unsealed history, with repetitions."""
    found = []
    for target in [STREAM, *(index.name for index in unsealed_history(acme.client, [STREAM]))]:
        found += acme.ids(target)
    return sorted(found)


def settings_of(acme, index: str) -> dict[str, str]:
    return acme.client.indices.get_settings(index=index, flat_settings=True)[index]["settings"]


def backing(acme) -> list[str]:
    shown = acme.client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"]
    return [index["index_name"] for index in shown]


def test_history_waits_beside_its_stream_with_the_streams_own_settings_and_mapping(past, days, month, counted):
    assert counted(past.ingest(day=days[0])) == {"read": 10, "indexed": 10, "duplicate": 0, "rejected": 0}
    (index,) = unsealed_history(past.client, [STREAM])
    assert (index.name, index.month, index.number) == (f"history-{STREAM}-{month}-1", month, 1)
    assert past.ids() == [], "not in the stream yet"
    settings = settings_of(past, index.name)
    assert settings["index.default_pipeline"] == "acme-audit@normalize"
    assert settings["index.mode"] == "logsdb"
    assert "index.lifecycle.name" not in settings, "ILM would delete or shrink it while it is being filled"
    assert settings["index.lifecycle.origination_date"] == str(origination_date(month))
    mappings = past.client.indices.get_mapping(index=index.name)[index.name]["mappings"]
    assert mappings["_meta"]["history"] == {"stream": STREAM, "month": month, "number": 1}
    assert mappings["_meta"]["project"] == "acme"
    assert mappings["properties"]["source"]["properties"]["ip"] == {"type": "ip"}
    document = past.client.get(index=index.name, id="h-00003")["_source"]
    assert document["audit"]["hour"] == 10, "the stream's pipeline ran"
    record = past.record(day=days[0])
    assert (record["target"], record["write_index"], record["state"]) == ("history", index.name, "done")


def test_the_run_that_completes_a_month_seals_it_in_the_order_that_a_crash_cannot_spoil(past, days, month):
    past.deliver([], day=days[1])
    past.ingest(day=days[2])
    past.ingest(day=days[0])
    assert past.ids() == []
    past.sandbox.requests.clear()
    past.ingest(day=days[1])
    assert len(past.ids()) == 20
    assert unsealed_history(past.client, [STREAM]) == []
    name = f"history-{STREAM}-{month}-1"
    assert backing(past)[0] == name
    settings = settings_of(past, name)
    assert settings["index.lifecycle.name"] == "acme-audit"
    assert settings["index.lifecycle.indexing_complete"] == "true"
    assert settings["index.hidden"] == "true"
    changes = [
        (r.method, r.path)
        for r in past.sandbox.requests
        if r.path.endswith(("_modify", "_settings")) and r.method != "GET"
    ]
    assert changes == [("POST", "/_data_stream/_modify"), ("PUT", f"/{name}/_settings")]


def test_ilm_ages_a_sealed_month_from_its_own_end(past, days, month):
    for day in days:
        past.ingest(day=day)
    name = f"history-{STREAM}-{month}-1"
    explained = past.client.ilm.explain_lifecycle(index=name)["indices"][name]
    assert explained["lifecycle_date_millis"] == origination_date(month)
    assert explained["policy"] == "acme-audit"


def test_a_re_run_of_a_sealed_month_adds_nothing_and_makes_no_index(past, days, month, counted):
    for day in days:
        past.ingest(day=day)
    assert counted(past.ingest(day=days[1])) == {"read": 10, "indexed": 0, "duplicate": 10, "rejected": 0}
    assert [index.number for index in history_indices(past.client, STREAM)] == [1]
    assert len(past.ids()) == 30


def test_what_arrives_for_a_sealed_month_goes_into_its_next_index_and_is_sealed_alike(past, days, month, counted):
    for day in days:
        past.ingest(day=day)
    past.deliver([*events(days[1], 10, 10), *events(days[1], 5, 100)], day=days[1])
    assert counted(past.ingest(day=days[1])) == {"read": 15, "indexed": 5, "duplicate": 10, "rejected": 0}
    assert [index.number for index in history_indices(past.client, STREAM)] == [1, 2]
    assert unsealed_history(past.client, [STREAM]) == []
    assert len(past.ids()) == 35
    assert settings_of(past, f"history-{STREAM}-{month}-2")["index.lifecycle.name"] == "acme-audit"
    assert past.record(day=days[1])["indexed"] == 15


def test_a_month_is_complete_only_with_every_source_of_its_stream(past, days):
    past.write_source("second", start_date=date.fromisoformat(days[2]))
    for day in days:
        past.ingest(day=day)
    ledger = Ledger(past.client, "ml-ledger")
    assert past.ids() == []
    month = unsealed_history(past.client, [STREAM])[0].month
    assert sealing.open_partitions(past.project, ledger, STREAM, month) == {"second": [days[2]]}
    past.deliver(events(days[2], 1, 500), "second", days[2])
    past.ingest("second", day=days[2])
    assert len(past.ids()) == 31, "both sources share the index of the month"


def test_a_partition_that_failed_keeps_its_month_out_of_the_stream(past, days):
    past.ingest(day=days[0])
    past.ingest(day=days[1])
    (past.folder / f"trail-{days[2]}.ndjson").unlink()
    with pytest.raises(IngestError, match="does not exist"):
        past.ingest(day=days[2])
    assert past.ids() == []
    past.deliver([], day=days[2])
    past.ingest(day=days[2])
    assert len(past.ids()) == 20


def test_a_month_beyond_the_retention_is_refused_with_a_sentence(acme):
    with pytest.raises(IngestError, match=r"older than the retention of logs-acme.audit-test \(400 d\).*Leave it out"):
        acme.ingest(day="2025-06-10", now=lambda: datetime(2026, 11, 10, tzinfo=UTC))
    assert history_indices(acme.client, STREAM) == []


def test_the_first_attempt_decides_the_target_and_re_runs_keep_it(past, days, month, counted):
    early = datetime.fromisoformat(f"{days[2]}T12:00:00+00:00")
    past.ingest(day=days[0], now=lambda: early)
    assert past.record(day=days[0])["target"] == "stream"
    assert counted(past.ingest(day=days[0]))["duplicate"] == 10
    past.ingest(day=days[1])
    past.ingest(day=days[2])
    assert past.record(day=days[2])["target"] == "history"
    assert unsealed_history(past.client, [STREAM]) == [], "what went to the stream counts for the month too"
    assert len(past.ids()) == 30


def test_events_come_late_and_in_any_zone_and_lie_in_the_month_they_were_delivered_in(past, days, month):
    first = month_bounds(month)[0].date().isoformat()
    late = [
        {"time": f"{first}T00:30:00+02:00", "id": "before-the-month", "user": "ana"},
        {"time": f"{days[0]}T23:30:00-08:00", "id": "next-day-in-utc", "user": "ana"},
    ]
    past.deliver(late, day=days[0])
    past.ingest(day=days[0])
    (index,) = unsealed_history(past.client, [STREAM])
    assert index.month == month
    found = past.client.search(index=index.name, query={"range": {"@timestamp": {"lt": f"{first}T00:00:00Z"}}})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["before-the-month"]


def test_an_event_delivered_again_in_the_next_month_is_a_duplicate(past, days, month, counted):
    for day in days:
        past.ingest(day=day)
    following = month_bounds(month)[1].date().isoformat()
    past.deliver([*events(days[2], 3, 20), *events(following, 4, 200)], day=following)
    assert counted(past.ingest(day=following)) == {"read": 7, "indexed": 4, "duplicate": 3, "rejected": 0}
    assert len(set(all_ids(past))) == len(all_ids(past)) == 34


@pytest.mark.parametrize("first_to_close", [0, 1])
def test_neighbours_across_a_month_that_run_at_the_same_time_keep_a_shared_event_once(
    past, days, month, counted, first_to_close
):
    """Neither finds the other's copy before it writes; whoever closes first gives its own up."""
    following = month_bounds(month)[1].date().isoformat()
    shared = events(days[2], 3, 500)
    past.deliver([*events(days[2], 5, 20), *shared], day=days[2])
    past.deliver([*shared, *events(following, 4, 200)], day=following)
    pair = [past.prepared(day=day, owner=f"dag/{day}/ingest") for day in (days[2], following)]
    written, closed = threading.Barrier(2, timeout=30), threading.Event()
    figures = {}

    def run(number, attempt):
        close = attempt._close

        def together(stream):
            written.wait()
            if number != first_to_close:
                assert closed.wait(30)
            close(stream)
            closed.set()

        attempt._close = together
        figures[number] = counted(attempt.run())

    threads = [threading.Thread(target=run, args=each) for each in enumerate(pair)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (figures[first_to_close]["duplicate"], figures[1 - first_to_close]["duplicate"]) == (3, 0)
    assert len(set(all_ids(past))) == len(all_ids(past)) == 12
    assert [past.record(day=day)["indexed"] for day in (days[2], following)] == [figures[n]["indexed"] for n in (0, 1)]
    for day in days[:2]:
        past.ingest(day=day)
    assert past.ingest(day=days[2])["indexed"] == past.ingest(day=following)["indexed"] == 0
    assert len(set(all_ids(past))) == len(all_ids(past)) == 32


def test_of_neighbours_that_close_at_once_only_one_gives_a_shared_event_up(past, days, month):
    following = month_bounds(month)[1].date().isoformat()
    pair = (days[2], following)
    for day in pair:
        past.deliver(events(days[2], 40, 500), day=day)
    attempts = [past.prepared(day=day, owner=f"dag/{day}/ingest") for day in pair]
    written, errors = threading.Barrier(2, timeout=30), []

    def run(attempt):
        met = attempt._met
        attempt._met = lambda stream: (met(stream), written.wait())[0]
        try:
            attempt.run()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(all_ids(past))) == len(all_ids(past)) == 40
    assert sorted(past.record(day=day)["indexed"] for day in pair) == [0, 40]


def test_a_crash_after_meeting_a_neighbour_is_mended_by_the_next_run(past, days, month, counted):
    following = month_bounds(month)[1].date().isoformat()
    for day in (days[2], following):
        past.deliver(events(days[2], 6, 500), day=day)
    late = past.prepared(day=days[2], owner="dag/late/ingest")
    write = late._look_back

    def neighbour_first(stream):
        check = write(stream)
        past.ingest(day=following, owner="dag/next/ingest")
        return check

    def die(stream):
        raise RuntimeError("killed before closing")

    late._look_back, late._close = neighbour_first, die
    with pytest.raises(RuntimeError):
        late.run()
    assert len(all_ids(past)) == 12
    assert counted(past.ingest(day=days[2], owner="dag/late/ingest"))["indexed"] == 0
    assert len(all_ids(past)) == 6
    assert past.record(day=days[2])["indexed"] == 0


def test_a_partition_that_nobody_ran_beside_closes_without_the_lock(past, days):
    for day in days:
        past.ingest(day=day)
    assert not past.client.exists(index="ml-ledger", id="lock|closing|trail")


def test_a_recent_partition_looks_its_ids_up_in_unsealed_history_too(past, days, counted):
    past.ingest(day=days[0])
    past.deliver(past.events(5))
    past.ingest()
    past.deliver([*past.events(5), *events(days[0], 2)])
    assert counted(past.ingest()) == {"read": 7, "indexed": 0, "duplicate": 7, "rejected": 0}


def test_what_history_cannot_index_is_a_dead_letter_since_it_has_no_failure_store(past, days, counted):
    past.write_source(
        "trail",
        start_date=date.fromisoformat(days[0]),
        fields={"@timestamp": "time", "event.id": "id", "source.ip": "ip"},
    )
    rows = [*events(days[0], 9, ip="10.0.0.1"), *events(days[0], 1, 90, ip="nowhere")]
    past.deliver(rows, day=days[0])
    assert counted(past.ingest(day=days[0])) == {"read": 10, "indexed": 9, "duplicate": 0, "rejected": 1}
    past.client.indices.refresh(index=DEAD_LETTERS)
    (hit,) = past.client.search(index=DEAD_LETTERS)["hits"]["hits"]
    assert (hit["_source"]["position"], hit["_source"]["record"]) == ("event.id h-00090", "document")
    assert "nowhere" in hit["_source"]["reason"]


def test_a_mapping_that_conflicts_keeps_the_month_out_and_says_what_to_do(past, days, month):
    past.ingest(day=days[0])
    name = f"history-{STREAM}-{month}-1"
    past.client.indices.put_mapping(index=name, properties={"audit": {"properties": {"odd": {"type": "keyword"}}}})
    past.client.indices.put_mapping(index=STREAM, properties={"audit": {"properties": {"odd": {"type": "double"}}}})
    past.ingest(day=days[1])
    with pytest.raises(IngestError, match=r"maps audit.odd as keyword, and \.ds-.* as double.*run any partition"):
        past.ingest(day=days[2])
    assert past.record(day=days[2])["state"] == "done", "its documents are safe"
    assert past.ids() == []
    past.client.indices.rollover(alias=STREAM)
    past.ingest(day=days[2])
    assert len(past.ids()) == 30


def test_an_alias_has_to_go_before_the_month_can_be_sealed(past, days, month):
    past.ingest(day=days[0])
    past.ingest(day=days[1])
    name = f"history-{STREAM}-{month}-1"
    past.client.indices.put_alias(index=name, name="peek")
    with pytest.raises(IngestError, match=rf"has the alias peek. DELETE /{name}/_alias"):
        past.ingest(day=days[2])
    past.client.indices.delete_alias(index=name, name="peek")
    past.ingest(day=days[0])
    assert len(past.ids()) == 30


def test_a_name_that_is_taken_is_not_written_to(past, days, month):
    name = f"history-{STREAM}-{month}-1"
    past.client.indices.create(index=name)
    with pytest.raises(IngestError, match="exists and is no history index"):
        past.ingest(day=days[0])
    assert past.client.count(index=name)["count"] == 0


@pytest.mark.parametrize("step", ["_data_stream/_modify", f"history-{STREAM}", "after"])
def test_a_crash_while_sealing_is_mended_by_the_next_run(past, days, month, step):
    past.client = past.client.options(max_retries=0)
    past.ingest(day=days[0])
    past.ingest(day=days[1])
    method, path = {
        "_data_stream/_modify": ("POST", "/_data_stream/_modify"),
        f"history-{STREAM}": ("PUT", f"/history-{STREAM}-{month}-1/_settings"),
        "after": ("PUT", "/ml-ledger/_doc/lock*"),
    }[step]
    fault = past.sandbox.faults.add(method=method, path=path, action="cut_after", times=None)
    with pytest.raises(ElasticMLError):
        past.ingest(day=days[2])
    assert fault.hits
    past.sandbox.faults.clear()
    past.ingest(day=days[1])
    assert len(past.ids()) == 30
    assert settings_of(past, f"history-{STREAM}-{month}-1")["index.lifecycle.name"] == "acme-audit"
    assert backing(past).count(f"history-{STREAM}-{month}-1") == 1


def test_sealing_twice_is_sealing_once(past, days, month):
    for day in days:
        past.ingest(day=day)
    before = past.client.indices.get_data_stream(name=STREAM)["data_streams"][0]
    ledger = Ledger(past.client, "ml-ledger")
    assert sealing.seal_month(past.client, past.project, ledger, STREAM, month, owner="again").sealed == []
    assert past.client.indices.get_data_stream(name=STREAM)["data_streams"][0] == before


def test_a_writer_whose_month_is_sealed_under_it_goes_on_in_the_next_index(past, days, month, counted):
    """A paused worker: somebody cleared the ledger's record of it, and the month was sealed without it."""
    past.ingest(day=days[0])
    past.ingest(day=days[1])
    past.deliver(events(days[2], 30, 300), day=days[2])
    attempt = past.prepared(day=days[2], size=ChunkSize(documents=10, most=10))
    account, done = attempt._account, []

    def sealed_meanwhile(result):
        account(result)
        done.append(result)
        if len(done) == 1:
            action = {"data_stream": STREAM, "index": f"history-{STREAM}-{month}-1"}
            past.client.indices.modify_data_stream(actions=[{"add_backing_index": action}])

    attempt._account = sealed_meanwhile
    assert counted(attempt.run()) == {"read": 30, "indexed": 30, "duplicate": 0, "rejected": 0}
    assert [index.number for index in history_indices(past.client, STREAM)] == [1, 2]
    assert len(past.ids()) == len(set(past.ids())) == 50


def test_partitions_of_a_month_in_parallel_share_one_index_and_seal_it_once(past, days, month):
    figures, errors = {}, []

    def run(day):
        try:
            figures[day] = past.ingest(day=day, owner=f"dag/{day}/ingest")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(day,)) for day in days]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [figures[day]["indexed"] for day in days] == [10, 10, 10]
    assert [index.number for index in history_indices(past.client, STREAM)] == [1]
    assert len(past.ids()) == 30


def test_hourly_partitions_complete_a_month_hour_by_hour(acme, month):
    end = month_bounds(month)[1]
    day = (end - timedelta(days=1)).date().isoformat()
    acme.write_source(
        "hourly",
        partition="hour",
        start_date=date.fromisoformat(day),
        reader={"kind": "files", "path": f"{acme.folder}/hourly-{{day}}T{{hour}}.ndjson"},
    )
    ledger = Ledger(acme.client, "ml-ledger")
    keys = [f"{day}T{hour:02d}" for hour in range(24)]
    (acme.project.folder / "sources" / "trail.yml").unlink()
    assert sealing.open_partitions(acme.project, ledger, STREAM, month) == {"hourly": keys}
    for number, key in enumerate(keys):
        acme.deliver(events(day, 2, number * 2), "hourly", key)
        acme.ingest("hourly", day=key)
    assert len(acme.ids()) == 48


def test_verdicts_of_a_past_month_are_history_of_their_own_stream(past, days, month):
    stream = "logs-acme.labels-test"
    past.write_source("verdicts", kind="labels", stream=stream, fields={}, start_date=date.fromisoformat(days[2]))
    verdict = {
        "decision_id": "d-1", "event_id": "h-00004", "verdict": "confirmed", "decided_at": f"{days[2]}T12:00:00Z",
    }  # fmt: skip
    past.deliver([verdict], "verdicts", days[2])
    past.ingest(day=days[0])
    past.ingest("verdicts", day=days[2])
    assert past.ids(stream) == ["d-1"]
    label = past.client.get(index="ml-labels", id="h-00004")["_source"]
    assert label["user_hour"] == f"ana|{days[0]}T10", "found although its month is not sealed yet"


def test_a_window_of_two_months_seals_each(past, days, month):
    following = month_bounds(month)[1]
    past.write_source("trail", start_date=(following - timedelta(days=1)).date())
    assert history.month_of(past.prepared(day=following.date().isoformat())._partition) != month
    past.ingest(day=days[2])
    assert len(past.ids()) == 10
