"""`replay: failures`: what was rejected is read again after a fix, and the figures still add up."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from elastic_ml.exceptions import ElasticMLError, IngestError
from elastic_ml.ingest.encoding import ChunkSize
from elastic_ml.ingest.history import history_indices, month_bounds
from elastic_ml.ingest.replay import FailureReplay
from elastic_ml.sources.partition import Partition

STREAM = "logs-acme.audit-test"
DEAD_LETTERS = "logs-ml.dead_letter-default"
FIELDS = {"@timestamp": "time", "event.id": "id", "user.id": "user", "audit.amount": "amount"}


@pytest.fixture
def typed(acme):
    """A stream whose `audit.amount` is a number, and a source that brings words in three of ten records."""
    acme.client.indices.put_mapping(index=STREAM, properties={"audit": {"properties": {"amount": {"type": "long"}}}})
    acme.write_source("trail", fields=FIELDS)
    acme.deliver(records(acme))
    return acme


def records(acme, bad: int = 3) -> list[dict]:
    return [{**event, "amount": "many" if n < bad else n} for n, event in enumerate(acme.events(10))]


def replay(acme, name: str = "trail", day: str | None = None, **more) -> dict[str, int]:
    more = {"owner": "dag/replay/ingest", "backoff_seconds": 0.01, **more}
    source, partition = acme.project.source(name), Partition.parse(day or acme.day)
    return FailureReplay(acme.client, acme.project, source, partition, **more).run()


def failures(acme) -> list[str]:
    acme.client.indices.refresh(index=f"{STREAM}::failures", ignore_unavailable=True)
    found = acme.client.search(index=f"{STREAM}::failures", ignore_unavailable=True, size=1000)["hits"]["hits"]
    return sorted(hit["_source"]["document"]["id"] for hit in found)


def letters(acme) -> list[str]:
    acme.client.indices.refresh(index=DEAD_LETTERS)
    return sorted(h["_source"]["raw"] for h in acme.client.search(index=DEAD_LETTERS, size=1000)["hits"]["hits"])


def test_after_the_fix_the_failure_store_is_read_again_and_emptied(typed, counted):
    assert counted(typed.ingest()) == {"read": 10, "indexed": 7, "duplicate": 0, "rejected": 3}
    assert failures(typed) == ["e-000000", "e-000001", "e-000002"]
    typed.client.indices.rollover(alias=STREAM)  # the new index maps the field as the records bring it
    assert counted(replay(typed)) == {"read": 3, "indexed": 3, "duplicate": 0, "rejected": 0}
    assert failures(typed) == []
    assert len(typed.ids()) == 10
    record = typed.record()
    assert (record["state"], record["indexed"], record["replayed"]) == ("done", 10, 3)
    assert [(a.get("replay"), a["counts"]["indexed"]) for a in record["attempts"]] == [(None, 7), ("failures", 3)]
    assert counted(typed.ingest()) == {"read": 10, "indexed": 0, "duplicate": 10, "rejected": 0}


def test_without_a_fix_nothing_is_lost_and_nothing_piles_up(typed, counted):
    typed.ingest()
    for _ in range(3):
        assert counted(replay(typed)) == {"read": 3, "indexed": 0, "duplicate": 0, "rejected": 3}
        assert failures(typed) == ["e-000000", "e-000001", "e-000002"]
    assert typed.record()["indexed"] == 7


def test_a_second_replay_finds_nothing(typed, counted):
    typed.ingest()
    typed.client.indices.rollover(alias=STREAM)
    replay(typed)
    assert counted(replay(typed)) == {"read": 0, "indexed": 0, "duplicate": 0, "rejected": 0}


def test_failures_of_other_partitions_are_left_alone(typed, counted):
    typed.ingest()
    typed.write_source("second", fields=FIELDS)
    typed.deliver([{**event, "id": f"x-{n}"} for n, event in enumerate(records(typed))], "second")
    typed.ingest("second")
    typed.client.indices.rollover(alias=STREAM)
    assert counted(replay(typed))["indexed"] == 3
    assert failures(typed) == ["x-0", "x-1", "x-2"]


@pytest.fixture
def adapter(acme, monkeypatch):
    """An adapter of one's own that is wrong until `mend()` is called."""
    code = (
        "import json\nfrom elastic_ml.sources.records import Rejected\nMENDED = False\n"
        "def adapt(records):\n"
        "    for raw in records:\n"
        "        if not MENDED or not raw.data.startswith(b'{'):\n"
        "            yield Rejected.of(raw, 'not understood')\n"
        "            continue\n"
        "        record = json.loads(raw.data)\n"
        "        yield {'@timestamp': record['time'], 'event': {'id': record['id']}}\n"
    )
    (acme.folder / "adapter_to_mend.py").write_text(code)
    monkeypatch.syspath_prepend(str(acme.folder))
    monkeypatch.delitem(sys.modules, "adapter_to_mend", raising=False)
    acme.write_source("trail", adapter="adapter_to_mend:adapt", fields={})
    yield lambda: setattr(sys.modules["adapter_to_mend"], "MENDED", True)
    sys.modules.pop("adapter_to_mend", None)


def test_dead_letters_go_through_the_mended_adapter_although_the_source_is_gone(acme, adapter, counted):
    acme.deliver([*acme.events(4), "no object"])
    assert counted(acme.ingest()) == {"read": 5, "indexed": 0, "duplicate": 0, "rejected": 5}
    adapter()
    (acme.folder / f"trail-{acme.day}.ndjson").unlink()
    assert counted(replay(acme)) == {"read": 5, "indexed": 4, "duplicate": 0, "rejected": 1}
    assert letters(acme) == ["no object"]
    assert len(acme.ids()) == 4
    assert counted(replay(acme)) == {"read": 1, "indexed": 0, "duplicate": 0, "rejected": 1}


def test_a_record_without_a_time_is_kept_as_delivered_and_replayed_with_a_corrected_field_map(acme, counted):
    acme.write_source("trail", fields={**FIELDS, "@timestamp": "when"})
    acme.deliver(acme.events(3))
    assert counted(acme.ingest()) == {"read": 3, "indexed": 0, "duplicate": 0, "rejected": 3}
    assert [json.loads(letter) for letter in letters(acme)] == acme.events(3)
    acme.write_source("trail", fields=FIELDS)
    assert counted(replay(acme)) == {"read": 3, "indexed": 3, "duplicate": 0, "rejected": 0}
    assert letters(acme) == []
    assert acme.ids() == ["e-000000", "e-000001", "e-000002"]


def test_an_object_of_a_json_file_is_replayed_however_it_is_laid_out(acme, counted):
    reader = {"kind": "files", "path": f"{acme.folder}/day.json", "options": {"format": "json"}}
    acme.write_source("trail", reader=reader, fields={**FIELDS, "@timestamp": "when"})
    (acme.folder / "day.json").write_text(json.dumps(acme.events(2), indent=2))
    assert counted(acme.ingest()) == {"read": 2, "indexed": 0, "duplicate": 0, "rejected": 2}
    (acme.folder / "day.json").unlink()
    acme.write_source("trail", reader=reader, fields=FIELDS)
    assert counted(replay(acme)) == {"read": 2, "indexed": 2, "duplicate": 0, "rejected": 0}
    assert letters(acme) == []


def test_csv_rows_are_replayed_with_the_header_of_their_own_file(acme, counted):
    reader = {"kind": "files", "path": f"{acme.folder}/*.csv"}
    acme.write_source("trail", adapter="csv", reader=reader, fields={**FIELDS, "@timestamp": "when"})
    moment = f"{acme.day}T10:00:00Z"
    (acme.folder / "one.csv").write_text(f'time,id,user,amount\n{moment},a,"an\na",1\n{moment},b\n{moment},c,bo,3\n')
    (acme.folder / "two.csv").write_text(f"id,amount,user,time\nd,4,cy,{moment}\n")
    assert counted(acme.ingest()) == {"read": 4, "indexed": 0, "duplicate": 0, "rejected": 4}
    for file in acme.folder.glob("*.csv"):
        file.unlink()
    acme.write_source("trail", adapter="csv", reader=reader, fields=FIELDS)
    assert counted(replay(acme)) == {"read": 4, "indexed": 3, "duplicate": 0, "rejected": 1}
    assert letters(acme) == [f"{moment},b"], "two values for four columns are still no row"
    assert acme.ids() == ["a", "c", "d"]
    acme.client.indices.refresh(index=STREAM)
    hits = acme.client.search(index=STREAM)["hits"]["hits"]
    users = {hit["_source"]["event"]["id"]: hit["_source"]["user"]["id"] for hit in hits}
    assert users == {"a": "an\na", "c": "bo", "d": "cy"}


def test_a_csv_row_that_was_kept_without_its_header_stays(acme, counted):
    acme.write_source("trail", adapter="csv", fields=FIELDS)
    acme.deliver(["time,id,id", f"{acme.day}T10:00:00Z,a,b"])
    assert counted(acme.ingest())["rejected"] == 2
    assert counted(replay(acme)) == {"read": 2, "indexed": 0, "duplicate": 0, "rejected": 2}


def test_a_bad_verdict_is_kept_as_it_was_written(acme, counted):
    record = {"decision_id": "d", "event_id": "e", "verdict": "maybe", "decided_at": f"{acme.day}T12:00:00Z"}
    acme.write_source("verdicts", kind="labels", stream="logs-acme.labels-test", fields={})
    acme.deliver([record], "verdicts")
    assert counted(acme.ingest("verdicts"))["rejected"] == 1
    assert [json.loads(letter) for letter in letters(acme)] == [record]
    assert counted(replay(acme, "verdicts")) == {"read": 1, "indexed": 0, "duplicate": 0, "rejected": 1}
    assert [json.loads(letter) for letter in letters(acme)] == [record], "not wrapped once more"


def test_what_was_kept_in_part_stays_until_the_source_is_read_again(acme, adapter, counted):
    acme.deliver([{**acme.events(1)[0], "long": "x" * 40_000}])
    assert counted(acme.ingest())["rejected"] == 1
    adapter()
    assert counted(replay(acme)) == {"read": 1, "indexed": 0, "duplicate": 0, "rejected": 1}
    assert counted(acme.ingest()) == {"read": 1, "indexed": 1, "duplicate": 0, "rejected": 0}


@pytest.mark.parametrize("path", ["/_bulk", f"/{STREAM}/_bulk", "/ml-ledger/*"])
def test_a_replay_that_is_interrupted_is_finished_by_the_next(typed, counted, path):
    typed.ingest()
    typed.client.indices.rollover(alias=STREAM)
    client, typed.client = typed.client, typed.client.options(max_retries=0)
    typed.sandbox.faults.add(method="PUT", path=path, status=500, type="exception", times=1, share=1.0)
    with pytest.raises(ElasticMLError):
        replay(typed, size=ChunkSize(documents=1, most=1))
    typed.client = client
    typed.sandbox.faults.clear()
    again = counted(replay(typed))
    assert again["rejected"] == 0
    assert failures(typed) == []
    assert len(typed.ids()) == 10
    assert typed.record()["indexed"] == 10


def test_a_partition_that_was_never_read_has_nothing_to_replay_and_no_record(acme):
    assert replay(acme) == {"read": 0, "indexed": 0, "duplicate": 0, "rejected": 0}
    assert not acme.client.exists(index="ml-ledger", id=f"partition|trail|{acme.day}")


def test_a_replay_does_not_make_a_half_read_partition_look_done(typed):
    attempt = typed.prepared()

    def broken(stream):
        raise IngestError("the worker went away")

    attempt._close = broken
    with pytest.raises(IngestError):
        attempt.run()
    typed.client.indices.rollover(alias=STREAM)
    replay(typed)
    record = typed.record()
    assert record["state"] == "failed"
    assert "never read to the end" in record["reason"]
    assert record["indexed"] == 10


def test_what_a_past_month_refused_is_replayed_into_its_next_index(acme, counted):
    month = (datetime.now(UTC) - timedelta(days=100)).strftime("%Y.%m")
    day = (month_bounds(month)[1] - timedelta(days=1)).date()
    acme.write_source("trail", start_date=day, fields={**FIELDS, "source.ip": "ip"})
    rows = [{**event, "ip": "10.0.0.1" if n else "nowhere"} for n, event in enumerate(acme.events(5))]
    acme.deliver(rows, day=f"{day}")
    assert counted(acme.ingest(day=f"{day}")) == {"read": 5, "indexed": 4, "duplicate": 0, "rejected": 1}
    assert len(acme.ids()) == 4, "sealed"
    lenient = {"properties": {"source": {"properties": {"ip": {"type": "ip", "ignore_malformed": True}}}}}
    acme.client.cluster.put_component_template(name="acme-audit@custom", template={"mappings": lenient})
    assert counted(replay(acme, day=f"{day}")) == {"read": 1, "indexed": 1, "duplicate": 0, "rejected": 0}
    assert [index.number for index in history_indices(acme.client, STREAM)] == [1, 2]
    assert len(acme.ids()) == 5
    assert letters(acme) == []
    acme.client.cluster.put_component_template(name="acme-audit@custom", template={"mappings": {}})
