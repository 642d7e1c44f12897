"""One partition: counted, proved, repeatable, and refused with a sentence where it cannot work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from elastic_ml.exceptions import ElasticMLError, IngestError, LockHeldError
from elastic_ml.ingest.encoding import ChunkSize
from elastic_ml.ingest.ledger import Ledger

STREAM = "logs-acme.audit-test"
DEAD_LETTERS = "logs-ml.dead_letter-default"


def test_every_record_is_indexed_once_and_counted(acme, counted):
    acme.deliver(acme.events(500))
    assert counted(acme.ingest()) == {"read": 500, "indexed": 500, "duplicate": 0, "rejected": 0}
    assert acme.ids() == [f"e-{n:06d}" for n in range(500)]
    document = acme.client.get(
        index=acme.client.indices.get_data_stream(name=STREAM)["data_streams"][0]["indices"][0]["index_name"],
        id="e-000007",
    )["_source"]
    assert document["labels"] == {"partition": f"trail|{acme.day}"}
    assert document["event"]["dataset"] == "acme.audit"
    assert document["audit"]["hour"] == 10, "the stream's own pipeline ran"


def test_the_ledger_tells_what_happened(acme):
    acme.deliver(acme.events(20))
    acme.ingest()
    record = acme.record()
    assert record["state"] == "done"
    assert record["target"] == "stream"
    assert record["owner"] is None
    assert record["indexed"] == 20
    assert record["counts"] == {"read": 20, "indexed": 20, "duplicate": 0, "rejected": 0}
    assert [(a["number"], a["state"], a["counts"]["indexed"]) for a in record["attempts"]] == [(1, "done", 20)]


def test_a_second_run_reads_everything_again_and_adds_nothing(acme, counted):
    acme.deliver(acme.events(300))
    acme.ingest()
    again = counted(acme.ingest(owner="another/run/ingest"))
    assert again == {"read": 300, "indexed": 0, "duplicate": 300, "rejected": 0}
    assert len(acme.ids()) == 300
    assert acme.record()["indexed"] == 300


def test_a_second_delivery_adds_what_is_new(acme, counted):
    acme.deliver(acme.events(100))
    acme.ingest()
    acme.deliver(acme.events(150))
    assert counted(acme.ingest()) == {"read": 150, "indexed": 50, "duplicate": 100, "rejected": 0}
    assert acme.record()["indexed"] == 150


def test_an_event_that_is_delivered_twice_is_a_duplicate(acme, counted):
    acme.deliver([*acme.events(40), *acme.events(40)])
    assert counted(acme.ingest()) == {"read": 80, "indexed": 40, "duplicate": 40, "rejected": 0}


def test_an_empty_partition_is_done(acme):
    acme.deliver([])
    assert acme.ingest() == {"read": 0, "indexed": 0, "duplicate": 0, "rejected": 0}
    assert acme.record()["state"] == "done"


def test_what_cannot_be_parsed_is_kept_with_reason_and_place_and_only_once(acme, counted):
    lines = [*acme.events(3), "not json", {"id": "no-time"}, *acme.events(3, 10), '{"time": "2026-']
    acme.deliver(lines)
    assert counted(acme.ingest()) == {"read": 9, "indexed": 6, "duplicate": 0, "rejected": 3}
    assert counted(acme.ingest()) == {"read": 9, "indexed": 0, "duplicate": 6, "rejected": 3}
    acme.client.indices.refresh(index=DEAD_LETTERS)
    hits = acme.client.search(index=DEAD_LETTERS, size=100)["hits"]["hits"]
    letters = {hit["_source"]["position"]: hit["_source"] for hit in hits}
    assert len(hits) == 3
    letter = letters[f"trail-{acme.day}.ndjson:4"]
    assert letter["raw"] == "not json"
    assert "no JSON" in letter["reason"]
    assert letter["source"] == {"name": "trail"}
    assert letter["partition"] == acme.day
    assert "@timestamp is missing" in letters[f"trail-{acme.day}.ndjson:5"]["reason"]


def test_a_dead_letter_keeps_the_first_32_kib(acme):
    acme.deliver(["x" * 100_000])
    acme.ingest()
    acme.client.indices.refresh(index=DEAD_LETTERS)
    (hit,) = acme.client.search(index=DEAD_LETTERS)["hits"]["hits"]
    assert len(hit["_source"]["raw"]) == 32 * 1024


def test_what_cannot_be_indexed_goes_to_the_failure_store_and_counts_as_rejected(acme, counted):
    acme.write_source("odd", fields={"@timestamp": "time", "event.id": "id", "source.ip": "ip"})
    good = [{"time": f"{acme.day}T01:00:00Z", "id": f"i-{n}", "ip": "10.0.0.1"} for n in range(10)]
    acme.deliver([*good, {"time": f"{acme.day}T01:00:00Z", "id": "bad", "ip": "nowhere"}], "odd")
    assert counted(acme.ingest("odd")) == {"read": 11, "indexed": 10, "duplicate": 0, "rejected": 1}
    assert counted(acme.ingest("odd")) == {"read": 11, "indexed": 0, "duplicate": 10, "rejected": 1}
    acme.client.indices.refresh(index=f"{STREAM}::failures")
    failures = acme.client.search(index=f"{STREAM}::failures")["hits"]["hits"]
    assert [hit["_source"]["document"]["id"] for hit in failures] == ["bad"], "the second run did not send it again"


def test_a_source_that_disagrees_with_its_stream_is_refused_before_anything_is_written(acme):
    acme.write_source("odd", fields={"@timestamp": "time", "event.id": "id", "source.ip": "who"})
    acme.deliver([{"time": f"{acme.day}T01:00:00Z", "id": str(n), "who": "ana"} for n in range(10)], "odd")
    with pytest.raises(IngestError) as refused:
        acme.ingest("odd")
    sentence = str(refused.value)
    assert "the field source.ip is mapped as ip in .ds-logs-acme.audit-test" in sentence
    assert "'ana'" in sentence
    assert "sources/odd.yml" in sentence
    assert "_rollover" in sentence
    assert acme.ids() == []
    assert acme.record("odd")["state"] == "failed"


def test_an_object_where_the_stream_has_a_value_is_refused_too(acme):
    acme.write_source("odd", fields={"@timestamp": "time", "event.id": "id", "user.name": "who"})
    acme.deliver([{"time": f"{acme.day}T01:00:00Z", "id": "1", "who": {"first": "ana"}}], "odd")
    with pytest.raises(IngestError, match=r"user.name is mapped as keyword .* the records bring an object with first"):
        acme.ingest("odd")


def test_values_that_elasticsearch_takes_in_arrays_of_arrays_are_taken_and_a_number_of_any_size_is_a_sentence(acme):
    acme.write_source(
        "odd", fields={"@timestamp": "time", "event.id": "id", "source.port": "n", "labels.partition": "p"}
    )
    event = {"time": f"{acme.day}T01:00:00Z", "id": "1", "n": [[1], [2]], "p": {"a": 1}}
    acme.deliver([event], "odd")
    assert [acme.ingest("odd")["indexed"] for _ in range(2)] == [1, 0]
    acme.deliver([{**event, "n": 10**400}], "odd")
    with pytest.raises(IngestError, match=r"source.port is mapped as long .* the records bring 1000"):
        acme.ingest("odd")


def test_an_object_that_is_null_is_none(acme, counted):
    acme.write_source("plain", fields={})
    nothing = dict.fromkeys(["labels", "audit", "event", "user", "source"])
    acme.deliver([{**nothing, "@timestamp": f"{acme.day}T01:00:00Z", "event.id": "1"}], "plain")
    assert counted(acme.ingest("plain")) == {"read": 1, "indexed": 1, "duplicate": 0, "rejected": 0}


def test_an_id_that_is_no_text_of_utf8_is_the_same_id_in_every_run(acme, counted):
    acme.deliver(
        [{**event, "id": f"{number}\ud800" + "x" * 600 * number} for number, event in enumerate(acme.events(2))]
    )
    assert counted(acme.ingest()) == {"read": 2, "indexed": 1, "duplicate": 0, "rejected": 1}
    assert counted(acme.ingest()) == {"read": 2, "indexed": 0, "duplicate": 1, "rejected": 1}
    assert acme.ids() == ["0\ufffd"]


def test_a_stream_that_was_never_set_up_is_a_sentence(acme):
    acme.client.indices.delete_data_stream(name=STREAM)
    acme.deliver(acme.events(1))
    with pytest.raises(
        IngestError, match=r"data stream logs-acme.audit-test does not exist. Run the DAG elastic_setup"
    ):
        acme.ingest()


def test_a_ledger_that_was_never_set_up_is_a_sentence_and_is_not_made_up(acme):
    acme.client.indices.delete(index="ml-ledger")
    acme.deliver(acme.events(1))
    with pytest.raises(IngestError, match=r"'ml-ledger' does not exist. Run the DAG elastic_setup"):
        acme.ingest()
    assert not acme.client.indices.exists(index="ml-ledger")


def test_a_partition_keeps_its_target_when_its_month_becomes_history(acme):
    acme.deliver(acme.events(5))
    acme.ingest()
    later = datetime.now(UTC) + timedelta(days=90)
    assert acme.ingest(now=lambda: later)["duplicate"] == 5


def test_two_writers_at_once_one_wins_and_the_other_is_told(acme):
    acme.deliver(acme.events(10))
    ledger = Ledger(acme.client, "ml-ledger")
    lease = ledger.claim(
        f"partition|trail|{acme.day}", owner="other/run/ingest", ttl=timedelta(minutes=3), change=lambda _: {}
    )
    with pytest.raises(LockHeldError, match=r"is held by other/run/ingest until 20") as held:
        acme.ingest(wait_for_lease=timedelta(0))
    assert held.value.owner == "other/run/ingest"
    assert acme.ids() == []
    lease.release()
    assert acme.ingest()["indexed"] == 10


def test_a_writer_that_lost_its_lease_stops(acme):
    """It was paused for longer than its lease; another one took over meanwhile."""
    acme.deliver(acme.events(30))
    attempt = acme.prepared(lease_ttl=timedelta(milliseconds=1), size=ChunkSize(documents=10, most=10))
    ledger = Ledger(acme.client, "ml-ledger")
    account = attempt._account

    def paused(result):
        account(result)
        ledger.claim(f"partition|trail|{acme.day}", owner="other", ttl=timedelta(minutes=3), change=lambda _: {})

    attempt._account = paused
    with pytest.raises(LockHeldError, match=r"lost .* while it was working"):
        attempt.run()
    assert acme.record()["owner"] == "other", "what the other one holds was not touched"


def test_a_rollover_between_two_attempts_lets_no_copy_in(acme, counted):
    acme.deliver(acme.events(60))
    acme.ingest()
    acme.client.indices.rollover(alias=STREAM)
    assert counted(acme.ingest()) == {"read": 60, "indexed": 0, "duplicate": 60, "rejected": 0}
    assert len(acme.ids()) == 60


def test_a_rollover_since_the_partition_before_is_looked_back_over(acme, counted):
    """The same event delivered on two days, with a rollover in between: `create` alone would take it twice."""
    day_before = (datetime.fromisoformat(acme.day) - timedelta(days=1)).date().isoformat()
    acme.deliver(acme.events(20), day=day_before)
    acme.ingest(day=day_before)
    acme.client.indices.rollover(alias=STREAM)
    acme.deliver(acme.events(25))
    assert counted(acme.ingest()) == {"read": 25, "indexed": 5, "duplicate": 20, "rejected": 0}
    assert len(acme.ids()) == 25


def test_a_first_attempt_into_a_stream_that_never_rolled_over_checks_no_ids(acme):
    acme.deliver(acme.events(50))
    acme.sandbox.requests.clear()
    acme.ingest()
    assert not list(acme.sandbox.requests.matching("POST", "*_search"))


def test_copies_in_two_backing_indices_are_removed_when_the_partition_closes(acme, counted):
    """A paused writer can slip past every check; the closing count finds what it left."""
    acme.deliver(acme.events(30))
    attempt = acme.prepared()
    close = attempt._close

    def roll_over_and_copy(stream):
        acme.client.indices.rollover(alias=STREAM)
        for event in acme.events(4):
            source = {
                "@timestamp": event["time"],
                "event": {"id": event["id"]},
                "labels": {"partition": f"trail|{acme.day}"},
            }
            acme.client.create(index=STREAM, id=event["id"], document=source)
        attempt._counts.indexed += 4
        attempt._counts.read += 4
        close(stream)

    attempt._close = roll_over_and_copy
    assert counted(attempt.run()) == {"read": 34, "indexed": 30, "duplicate": 4, "rejected": 0}
    assert acme.ids() == [f"e-{n:06d}" for n in range(30)]


def test_a_closing_count_that_does_not_add_up_fails_and_a_re_run_mends_it(acme, counted):
    acme.deliver(acme.events(30))
    attempt = acme.prepared()
    close = attempt._close

    def lose_one(stream):
        acme.client.delete(index=stream.write_index, id="e-000003")
        close(stream)

    attempt._close = lose_one
    with pytest.raises(IngestError, match=r"gained 29 documents, and this attempt indexed 30 .* of 30 read"):
        attempt.run()
    assert acme.record()["state"] == "failed"
    assert counted(acme.ingest()) == {"read": 30, "indexed": 1, "duplicate": 29, "rejected": 0}
    assert acme.record()["indexed"] == 30


def test_a_document_that_is_no_json_or_has_an_endless_id_is_rejected(acme, counted):
    (acme.folder / "own_adapter_acme.py").write_text(
        "def adapt(records):\n"
        "    for raw in records:\n"
        "        yield {'@timestamp': 1, 'event': {'id': 'x' * 600}}\n"
        "        yield {'@timestamp': 1, 'event': {'id': 'nan'}, 'audit': {'n': float('nan')}}\n"
        "        yield {'@timestamp': 1, 'event': {'id': 'set'}, 'audit': {'n': {1}}}\n"
        "        yield {'@timestamp': 1, 'event': {'id': 'lone'}, 'audit': {'n': 'a\\ud800b'}}\n"
    )
    import sys

    sys.path.insert(0, str(acme.folder))
    try:
        acme.write_source("own", adapter="own_adapter_acme:adapt", fields={})
        acme.deliver(["x"], "own")
        assert counted(acme.ingest("own")) == {"read": 4, "indexed": 1, "duplicate": 0, "rejected": 3}
    finally:
        sys.path.remove(str(acme.folder))
        sys.modules.pop("own_adapter_acme", None)
    assert acme.ids() == ["lone"]


def test_the_reader_failing_half_way_keeps_what_was_written_and_a_re_run_mends_it(acme, counted):
    acme.write_source("zipped", reader={"kind": "files", "path": f"{acme.folder}/zipped-{{day}}.gz"})
    import gzip
    import json

    whole = gzip.compress("\n".join(json.dumps(e) for e in acme.events(4000)).encode())
    (acme.folder / f"zipped-{acme.day}.gz").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ElasticMLError, match="cannot be read past"):
        acme.ingest("zipped")
    record = acme.record("zipped")
    assert record["state"] == "failed"
    assert "cannot be read past" in record["reason"]
    (acme.folder / f"zipped-{acme.day}.gz").write_bytes(whole)
    figures = counted(acme.ingest("zipped"))
    assert figures["read"] == 4000
    assert 0 < figures["duplicate"] < 4000
    assert len(acme.ids()) == 4000
    assert acme.record("zipped")["indexed"] == 4000


def test_a_stream_made_without_the_project_s_template_is_refused_and_the_remedy_mends_it(acme, counted):
    indices = acme.client.indices
    indices.delete_data_stream(name=STREAM)
    by_hand = {"properties": {"@timestamp": {"type": "date"}}}
    indices.put_index_template(
        name="by-hand", index_patterns=[STREAM], priority=600, data_stream={}, template={"mappings": by_hand}
    )
    indices.create_data_stream(name=STREAM)
    acme.deliver(acme.events(20))
    for _ in range(2):
        with pytest.raises(IngestError, match=r"labels\.partition.* is mapped as text in .* roll the stream over"):
            acme.ingest()

    indices.delete_index_template(name="by-hand")
    indices.rollover(alias=STREAM)
    assert counted(acme.ingest()) == {"read": 20, "indexed": 0, "duplicate": 20, "rejected": 0}
    assert len(acme.ids()) == 20
