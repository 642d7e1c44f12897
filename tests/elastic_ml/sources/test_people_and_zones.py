"""Who did it and where their clock stands: one scalar `user.id`, `event.timezone` of the person, and the raw record."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.exceptions import IngestError
from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers.files import lines
from elastic_ml.sources.records import Rejected

FIXTURES = Path(__file__).parent / "fixtures"


def source(adapter: str = "ndjson", **changes: Any) -> Source:
    fields = {"@timestamp": "time", "event.id": "id", "user.id": "who", "event.timezone": "zone"}
    return Source.model_validate(
        {
            "name": "trail",
            "stream": "logs-acme.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {"kind": "files", "path": "/x"},
            "adapter": adapter,
            "fields": fields if adapter in {"ndjson", "csv"} else {},
            **changes,
        }
    )


def adapted(made: Source, *records: Any, people: NameTable | None = None) -> list[Any]:
    data = b"\n".join(record if isinstance(record, bytes) else json.dumps(record).encode() for record in records)
    return list(adapt(made, lines(iter([data]), "f"), people))


@pytest.fixture
def people(tmp_path: Path) -> NameTable:
    (tmp_path / "names.csv").write_text("SCOTT,ana.lind,Europe/Berlin\nana@acme.example,ana.lind\nbo,bo.berg,\n")
    return NameTable.read("trail", tmp_path / "names.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n.csv", "SCOTT,ana,Europe/Berlin\nana@x,ana\n"),
        ("n.yml", "SCOTT: {id: ana, timezone: Europe/Berlin}\nana@x: ana\n"),
        ("n.json", '{"SCOTT": {"id": "ana", "timezone": "Europe/Berlin"}, "ana@x": "ana"}'),
        ("n.csv", "\ufeffSCOTT,ana,Europe/Berlin\n\nana@x,ana,\n"),
    ],
)
def test_a_name_table_gives_people_and_their_zones(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = NameTable.read("db", tmp_path / name)
    assert (table.person("scott"), table.person(" ANA@X ")) == ("ana", "ana")
    assert table.zone("ana") == "Europe/Berlin"
    assert table.zone("nobody") is None


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("n.csv", "a,ana,Mars/Phobos", "gives ana the time zone 'Mars/Phobos', which does not exist"),
        ("n.csv", "a,ana\nA ,bo", "gives 'A ' to two people, ana and bo"),
        ("n.csv", "a,ana,UTC\nb,ana,Europe/Berlin", "gives ana two time zones, UTC and Europe/Berlin"),
        ("n.csv", "a,", "Row 1 of the name table"),
        ("n.csv", "a,b,UTC,d", "Row 1 of the name table"),
        ("n.yml", "a: {id: ana, zone: UTC}", "is no mapping of names to people"),
        ("n.yml", "a: {timezone: UTC}", "is no mapping of names to people"),
        ("n.yml", "a: 5", "is no mapping of names to people"),
        ("n.yml", "a: 2026-13-01", "is no valid YAML: month must be in 1..12"),
        ("n.yml", "SCOTT: ana\nSCOTT: bo", "gives 'SCOTT' to two people, ana and bo"),
        ("n.yml", "[a, b]: ana", "is no mapping of names to people"),
        ("n.yml", "'  ': ana", "is no mapping of names to people"),
        ("n.yml", "a: ''", "is no mapping of names to people"),
        ("n.csv", 'a,"ana\nb,bo\n', "is no valid CSV: unexpected end of data"),
    ],
)
def test_a_name_table_that_is_wrong_is_a_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(IngestError, match=sentence):
        NameTable.read("db", tmp_path / name)


def test_a_name_is_what_is_written_whatever_yaml_takes_it_for(tmp_path):
    (tmp_path / "n.yml").write_text("no: ana\n007123: bo\n1_0: cy\n2026-01-01: di\nnull: ed\n")
    table = NameTable.read("db", tmp_path / "n.yml")
    names = ["NO", "007123", "1_0", "2026-01-01", "null", "false", "3667", "10", "None"]
    assert [table.person(name) for name in names[:5]] == ["ana", "bo", "cy", "di", "ed"]
    assert all(table.person(name).startswith("unresolved:db:") for name in names[5:])


def test_people_of_three_sources_are_one_person(people):
    (ping,) = adapted(
        source("ping_one"),
        {
            "recordedAt": "2026-03-03T08:00:00.000Z",
            "action": {"type": "USER.READ"},
            "actors": {"user": {"id": "7f", "name": "Ana@acme.example"}},
        },
        people=people,
    )
    row = {
        "EVENT_TIMESTAMP_UTC": "2026-03-03T08:00:00",
        "ACTION_NAME": "LOGON",
        "DBUSERNAME": "scott",
        "OS_USERNAME": "x",
    }
    (database,) = adapted(source("oracle"), row, people=people)
    (internal,) = adapted(source(), {"time": "2026-03-03T08:00:00Z", "who": "SCOTT"}, people=people)
    assert {document["user"]["id"] for document in (ping, database, internal)} == {"ana.lind"}
    assert {document["event"]["timezone"] for document in (ping, database, internal)} == {"Europe/Berlin"}


def test_a_name_that_is_in_no_table_stays_visible_and_is_counted(people):
    records = [{"time": "2026-03-03T08:00:00Z", "id": n, "who": who} for n, who in enumerate(["x", "y", "x", "bo"])]
    documents = adapted(source(), *records, people=people)
    assert [d["user"]["id"] for d in documents] == [
        "unresolved:trail:x",
        "unresolved:trail:y",
        "unresolved:trail:x",
        "bo.berg",
    ]
    assert people.unresolved == 3
    assert people.unresolved_names == {"x": 2, "y": 1}


def test_the_names_that_are_kept_are_bounded(people):
    for number in range(1500):
        people.person(f"robot-{number}")
    assert people.unresolved == 1500
    assert len(people.unresolved_names) == 1000


@pytest.mark.parametrize(
    ("who", "zone", "expected"),
    [
        ("SCOTT", "America/New_York", "Europe/Berlin"),
        ("bo", "America/New_York", "America/New_York"),
        ("bo", "+02:00", "+02:00"),
        ("bo", None, "Asia/Tokyo"),
        ("stranger", None, "Asia/Tokyo"),
    ],
    ids=["the person's", "the record's", "an offset", "the source's", "a stranger's"],
)
def test_the_zone_is_the_persons_else_the_records_else_the_sources(people, who, zone, expected):
    record = {"time": "2026-03-03T08:00:00Z", "who": who, "zone": zone}
    (document,) = adapted(source(timezone="Asia/Tokyo"), record, people=people)
    assert document["event"]["timezone"] == expected


def test_without_any_zone_it_is_utc():
    (document,) = adapted(source(), {"time": "2026-03-03T08:00:00Z"})
    assert document["event"]["timezone"] == "UTC"


def test_a_zone_that_elasticsearch_could_not_read_rejects_the_record():
    (rejected,) = adapted(source(), {"time": "2026-03-03T08:00:00Z", "zone": "Mars/Phobos"})
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "event.timezone 'Mars/Phobos' is no time zone"


def test_a_time_without_a_zone_is_in_the_zone_of_its_source():
    (local,) = adapted(source(timezone="Europe/Berlin"), {"time": "2026-07-03 08:00:00"})
    (utc,) = adapted(source(), {"time": "2026-07-03 08:00:00"})
    (epoch,) = adapted(source(timezone="Europe/Berlin"), {"time": 1783065600000})
    assert local["@timestamp"] == "2026-07-03T08:00:00.000+02:00"
    assert utc["@timestamp"] == "2026-07-03T08:00:00.000+00:00"
    assert epoch["@timestamp"] == "2026-07-03T08:00:00.000+00:00"


def test_oracles_time_without_an_offset_needs_a_zone_that_somebody_wrote_down():
    record = b"Fri Jul  3 08:00:00 2026\nLENGTH : '9'\nACTION :[1] 'x'"
    row = {"EVENT_TIMESTAMP": "2026-07-03T08:00:00.5", "ACTION_NAME": "LOGON"}
    for written in (record, row):
        (refused,) = adapted(source("oracle"), written)
        assert "no UTC offset" in refused.reason
        (document,) = adapted(source("oracle", timezone="Europe/Berlin"), written)
        assert document["@timestamp"][:19] == "2026-07-03T06:00:00"
        assert document["event"]["timezone"] == "Europe/Berlin"


def test_the_fraction_of_oracles_second_is_kept():
    (document,) = adapted(source("oracle"), b"Fri Jul  3 08:00:00.123456 2026 +02:00\nLENGTH : '9'\nACTION :[1] 'x'")
    assert document["@timestamp"] == "2026-07-03T06:00:00.123Z"


def test_verdicts_have_no_zone():
    verdict = {"decision_id": "d", "event_id": "e", "verdict": "none", "decided_at": "2026-03-03T08:00:00Z"}
    (document,) = adapted(source(kind="labels", fields={}), verdict)
    assert "timezone" not in document["event"]


@pytest.mark.parametrize(
    ("adapter", "data"),
    [
        ("ndjson", b'{"time": "2026-03-03T08:00:00Z",  "x": 1}'),
        ("ping_one", b'{"recordedAt": "2026-03-03T08:00:00Z", "action":  {"type": "A"}}'),
        ("oracle", b"Tue Mar  3 09:15:02 2026 +01:00\nLENGTH : '300'\nACTION :[10] 'select\n\n 1'"),
        ("oracle", b'{"EVENT_TIMESTAMP_UTC": "2026-03-03T08:00:00",  "ACTION_NAME": "LOGON"}'),
    ],
)
def test_the_raw_record_is_kept_on_request_and_only_then(adapter, data):
    (kept,) = adapted(source(adapter, keep_original=True), data)
    (plain,) = adapted(source(adapter), data)
    assert kept["event"].pop("original") == data.decode()
    assert kept == plain


def test_the_raw_row_of_csv_is_kept_with_its_line_ends():
    data = b'time,who\n2026-03-03T08:00:00Z,"ana\nlind"'
    (document,) = adapted(source("csv", keep_original=True), data)
    assert document["event"]["original"] == '2026-03-03T08:00:00Z,"ana\nlind"'


def test_a_row_keeps_its_id_whatever_session_and_columns_order_read_it():
    row = {"EVENT_TIMESTAMP_UTC": "2026-03-03T08:00:00", "ACTION_NAME": "LOGON", "ENTRY_ID": 1, "EVENT_TIMESTAMP": "x"}
    other = {name.lower(): value for name, value in reversed(row.items())} | {"event_timestamp": "y"}
    first, second, third = adapted(source("oracle"), row, other, {**row, "ENTRY_ID": 2})
    assert first["event"]["id"] == second["event"]["id"] != third["event"]["id"]


def test_rows_of_the_older_view_are_understood():
    row = {
        "OS_USERNAME": "kbrandt", "USERNAME": "REPORT", "USERHOST": "desk-18", "TERMINAL": "pts/4", "OWNER": "HR",
        "OBJ_NAME": "PEOPLE", "ACTION": 7, "ACTION_NAME": "DELETE", "RETURNCODE": 1031, "SESSIONID": 9, "ENTRYID": 3,
        "EXTENDED_TIMESTAMP": "2026-03-03T09:00:00+01:00", "PRIV_USED": "DELETE ANY TABLE", "OS_PROCESS": "4711",
        "COMMENT_TEXT": "Client address: (ADDRESS=(PROTOCOL=tcp)(HOST=10.20.0.44)(PORT=51830))",
    }  # fmt: skip
    (document,) = adapted(source("oracle"), row)
    assert document["@timestamp"] == "2026-03-03T08:00:00.000Z"
    assert document["event"]["timezone"] == "+01:00"
    assert document["event"]["outcome"] == "failure"
    assert document["audit"] == {"privileged": True, "verb": "DELETE", "schema": "HR", "object": "PEOPLE"}
    assert document["client"]["ip"] == "10.20.0.44"
    assert document["process"] == {"pid": 4711}
    assert document["oracle"]["database_audit"]["returncode"] == "1031"
    assert document["oracle"]["database_audit"]["action_number"] == "7"


def test_nothing_of_an_activity_is_lost():
    raw = json.loads((FIXTURES / "ping_one.ndjson").read_text().splitlines()[4])
    raw |= {"source": {"ipAddress": "10.0.0.1"}, "internalCorrelation": {"sessionId": "s-1"}}
    raw["_embedded"] = {"riskEvaluation": {"event": {"ip": "10.1.2.3"}}}
    (document,) = adapted(source("ping_one"), raw)
    told = json.dumps(document)
    values: list[str] = []

    def leaves(value: Any) -> None:
        if isinstance(value, dict | list):
            for item in value.values() if isinstance(value, dict) else value:
                leaves(item)
        else:
            values.append(json.dumps(value))

    leaves(raw)
    assert [value for value in values if value not in told] == []
    assert document["source"] == {"ip": "10.1.2.3"}
    assert document["audit"]["risk_level"] == "HIGH"
    assert document["audit"]["risk_score"] == 80.0


def test_flattened_names_become_objects_when_there_is_no_map():
    (document,) = adapted(
        source(fields={}), {"@timestamp": "2026-03-03T08:00:00Z", "event.id": "e-1", "user.name": "ana"}
    )
    assert document["event"]["id"] == "e-1"
    assert document["user"] == {"name": "ana"}


def test_an_object_that_is_written_in_both_ways_is_one_and_two_values_for_a_field_are_refused():
    both = {"event.id": "e-1", "event": {"kind": "event", "id": "e-1"}, "user": {"id": "7"}, "user.name": "ana"}
    twice = {"user.name": "ana", "user": {"name": "bo"}}
    time = {"@timestamp": "2026-03-03T08:00:00Z"}
    document, rejected = adapted(source(fields={}), {**time, **both}, {**time, **twice})
    assert (document["event"]["id"], document["event"]["kind"]) == ("e-1", "event")
    assert document["user"] == {"id": "7", "name": "ana"}
    assert rejected.reason == "user.name has two values"


@pytest.mark.parametrize(
    "written", ["2026-W10-2T08:00:00.000Z", "2026-03-03T08:00:00,000Z", "2026-03-03T080000.0000Z", "20260303T080000Z"]
)
def test_a_time_that_only_python_reads_is_written_as_pipelines_read_it(written):
    (document,) = adapted(source(), {"time": written})
    (activity,) = adapted(source("ping_one"), {"recordedAt": written, "action": {"type": "A"}})
    assert document["@timestamp"] == "2026-03-03T08:00:00.000+00:00"
    assert activity["@timestamp"] == "2026-03-03T08:00:00.000Z"
