"""PingOne, NDJSON and CSV adapters, verdict records, and the adapters that a project brings itself."""

from __future__ import annotations

import json
import sys
import types
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_ml.exceptions import IngestError
from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.adapters.delimited import CsvAdapter
from elastic_ml.sources.adapters.ndjson import NdjsonAdapter
from elastic_ml.sources.adapters.ping_one import PingOneAdapter
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Raw, Rejected, record_id

FIXTURES = Path(__file__).parent / "fixtures"


def raws(data: bytes) -> list[Raw]:
    return [Raw(line, f"f:{n}", first=n == 1) for n, line in enumerate(data.split(b"\n"), 1)]


def source(**changes: Any) -> Source:
    return Source.model_validate(
        {
            "name": "internal",
            "stream": "logs-acme.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {"kind": "python", "path": "a:b"},
            "adapter": "ndjson",
            "fields": {"@timestamp": "time", "event.id": "id"},
            **changes,
        }
    )


@pytest.fixture(scope="module")
def ping_one() -> list[dict]:
    return list(PingOneAdapter()(raws((FIXTURES / "ping_one.ndjson").read_bytes())))


def test_ping_one_outcomes_know_failure_words(ping_one):
    assert [d["event"]["outcome"] for d in ping_one[:3]] == ["success", "failure", "success"]


def test_ping_one_categories_and_types_follow_the_integration(ping_one):
    assert ping_one[0]["event"]["category"] == ["iam", "configuration"]
    assert ping_one[0]["event"]["type"] == ["user", "info", "access"]
    assert ping_one[1]["event"]["category"] == ["iam", "authentication"]
    assert ping_one[3]["event"]["category"] == ["iam", "email"]
    assert ping_one[3]["event"]["type"] == ["info"]


def test_ping_one_keeps_what_features_are_read_from_as_scalars(ping_one):
    assert ping_one[2]["audit"] == {
        "category": "iam,configuration",
        "type": "creation",
        "resource_type": "USER",
        "resource_name": "mira.holt@example.net",
        "resource_count": 1,
        "admin": True,
        "privileged": True,
    }
    assert ping_one[0]["ping_one"]["audit"]["action"]["type"] == "USER.ACCESS_ALLOWED"


def test_ping_one_protect_level_and_score_are_kept(ping_one):
    assert ping_one[4]["ping_one"]["audit"]["protect"] == {
        "level": "HIGH",
        "score": 80.0,
        "source": "AGGREGATED_SCORES",
        "recommended_action": "BOT_MITIGATION",
    }


def test_a_ping_one_event_without_actors_has_no_user(ping_one):
    assert "user" not in ping_one[5]
    assert "related" not in ping_one[5]


def test_the_name_table_makes_user_id_the_person():
    people = NameTable("ping", {"Mira.Holt@example.net": "mira.holt"})
    document = next(iter(PingOneAdapter(people)(raws((FIXTURES / "ping_one.ndjson").read_bytes()))))
    assert document["user"] == {"id": "mira.holt", "name": "mira.holt@example.net"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "type", "actors", "user", "client", "action", "resources", "result", "name", "tags", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
odd_lines = st.one_of(
    st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"")),
    json_values.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(
        st.sampled_from(["recordedAt", "action", "actors", "resources", "result", "tags", "id", "time", "who"]),
        json_values | st.just("2026-03-03T08:00:00Z") | st.just({"type": "USER.CREATED"}),
        max_size=6,
    ).map(lambda v: json.dumps(v).encode()),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(odd_lines, max_size=10))
@pytest.mark.parametrize("adapter", ["ndjson", "ping_one"])
def test_line_adapters_never_crash_and_answer_for_every_line(adapter, lines):
    made = (
        PingOneAdapter()
        if adapter == "ping_one"
        else NdjsonAdapter("s", {"@timestamp": "time", "user.id": "who", "event.id": "id"})
    )
    items = list(made([Raw(line, str(n)) for n, line in enumerate(lines)]))
    assert len(items) == len([line for line in lines if line.strip()])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), odd_lines), max_size=8))
def test_a_bad_line_never_takes_its_neighbours_with_it(pairs):
    """Good and arbitrary lines alternate; every good one comes out, in order."""
    lines = []
    for text, odd in pairs:
        lines += [json.dumps({"time": 1, "id": text}).encode(), odd]
    items = list(NdjsonAdapter("s", {"@timestamp": "time", "event.id": "id"})([Raw(line, "") for line in lines]))
    at = 0
    for text, odd in pairs:
        assert items[at]["event"]["id"] == text
        at += 1 + bool(odd.strip())


def test_values_keep_their_types_and_nulls_are_left_out():
    adapter = NdjsonAdapter(
        "s",
        {"@timestamp": "t", "audit.n": "n", "audit.f": "f", "audit.b": "a.b", "audit.z": "z"},
        {"event.kind": "event"},
    )
    line = b'{"t": "2026-03-03T08:00:00Z", "n": 3, "f": 0.5, "a": {"b": false}, "z": null}'
    (document,) = adapter([Raw(line, "1")])
    assert document["audit"] == {"n": 3, "f": 0.5, "b": False}
    assert document["event"] == {"kind": "event", "id": record_id(line)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"time": "yesterday"}', "no ISO 8601 time"),
        (b'{"time": "2026-03-03", "id": {"a": 1}}', "event.id is dict"),
        (b'{"time": NaN}', "NaN"),
        (b"[1]", "list and no object"),
        (b'{"time": "2026-', "no JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(line, reason):
    (rejected,) = NdjsonAdapter("s", {"@timestamp": "time", "event.id": "id"})([Raw(line, "f:1")])
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason
    assert rejected.data == line[:32768]


def test_a_field_map_that_contradicts_itself_is_refused():
    with pytest.raises(IngestError, match=r"user\.id goes through user"):
        NdjsonAdapter("internal", {"user": "a", "user.id": "b"})


def test_csv_has_its_header_per_file_and_quoted_line_ends():
    data = [*raws(b'time,who,note\n2026-03-03,ana,"two\nlines"\n2026-03-03,bo,'), *raws(b"who,time\ncy,2026-03-04")]
    documents = list(CsvAdapter("s", {"@timestamp": "time", "user.id": "who", "audit.note": "note"})(data))
    assert [d["user"]["id"] for d in documents] == ["ana", "bo", "cy"]
    assert documents[0]["audit"]["note"] == "two\nlines"
    assert "audit" not in documents[1]


def test_an_unclosed_quote_in_csv_spoils_its_own_line_only():
    rows = b"\n".join(b"2026-03-03,u%d" % n for n in range(300))
    items = list(CsvAdapter("s", {"@timestamp": "time", "user.id": "who"})(raws(b'time,who\n2026-03-03,"x\n' + rows)))
    assert [type(item) for item in items[:2]] == [Rejected, dict]
    assert len(items) == 301


def test_a_csv_row_with_too_few_values_is_rejected():
    items = list(CsvAdapter("s", {"@timestamp": "time"})(raws(b"time,who\n2026-03-03\n2026-03-03,ana")))
    assert items[0].reason == "1 values for 2 columns"
    assert items[1]["@timestamp"] == "2026-03-03"


def test_what_the_reader_could_not_read_whole_comes_out_as_a_reject_in_its_place():
    records = [
        Raw(b'{"time": 1, "id": "a"}', "1"),
        Raw(b"xxx", "2", problem="too long"),
        Raw(b'{"time": 2, "id": "b"}', "3"),
    ]
    items = list(adapt(source(), records))
    assert [item.reason if isinstance(item, Rejected) else item["event"]["id"] for item in items] == [
        "a",
        "too long",
        "b",
    ]


def test_every_document_gets_its_dataset_and_needs_a_time():
    good, bad = adapt(source(fields={"@timestamp": "t", "event.id": "id"}), raws(b'{"t": 1, "id": "a"}\n{"id": "b"}'))
    assert good["event"]["dataset"] == "acme.audit"
    assert good["@timestamp"] == "1970-01-01T00:00:00.001+00:00", "as pipelines read it"
    assert isinstance(bad, Rejected)
    assert "@timestamp is missing" in bad.reason


def verdict(**changes: Any) -> bytes:
    return json.dumps(
        {
            "decision_id": "d-1",
            "event_id": "e-1",
            "event_time": "2026-03-03T08:15:00+01:00",
            "user_id": "ana",
            "verdict": "confirmed",
            "decided_at": "2026-03-04T10:00:00Z",
            "decided_by": "reviewer",
            "reason": "seen",
            **changes,
        }
    ).encode()


LABELS = {"kind": "labels", "stream": "logs-acme.labels-test", "fields": {}}


def test_a_verdict_record_becomes_a_document_of_the_verdict_stream():
    (document,) = adapt(source(**LABELS), [Raw(verdict(), "1")])
    assert document == {
        "@timestamp": "2026-03-04T10:00:00.000Z",
        "event": {"id": "d-1", "kind": "event", "action": "verdict", "dataset": "acme.labels"},
        "verdict": {
            "event_id": "e-1",
            "event_time": "2026-03-03T07:15:00.000Z",
            "user_id": "ana",
            "decision": "confirmed",
            "decided_at": "2026-03-04T10:00:00.000Z",
            "decided_by": "reviewer",
            "reason": "seen",
        },
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": "maybe"}, "'maybe' is none of"),
        ({"event_id": None}, "event_id is missing"),
        ({"decided_at": "x"}, "no ISO"),
        ({"decided_at": "1969-12-31T23:59:59Z"}, "is before 1970"),
        ({"event_id": "é" * 257}, "event_id is longer than 512 bytes"),
        ({"user_id": ["ana"]}, "user_id is list"),
    ],
)
def test_a_verdict_that_says_nothing_is_rejected(changes, reason):
    (rejected,) = adapt(source(**LABELS), [Raw(verdict(**changes), "1")])
    assert reason in rejected.reason


@pytest.fixture
def own_module():
    module = types.ModuleType("own_adapter")
    sys.modules["own_adapter"] = module
    yield module
    del sys.modules["own_adapter"]


def test_a_projects_own_adapter_may_leave_the_id_to_us(own_module):
    own_module.adapt = lambda records: ({"@timestamp": 5, "n": raw.data.decode()} for raw in records)
    one, two = adapt(source(adapter="own_adapter:adapt", fields={}), [Raw(b"1", "1"), Raw(b"2", "2")])
    again = next(adapt(source(adapter="own_adapter:adapt", fields={}), [Raw(b"1", "9")]))
    assert one["event"]["id"] == again["event"]["id"] != two["event"]["id"]


def test_an_adapter_that_fails_is_named_with_the_place(own_module):
    own_module.adapt = lambda records: (1 / len(raw.data) for raw in records)
    with pytest.raises(IngestError, match=r"adapter own_adapter:adapt of the source internal failed near f:7"):
        list(adapt(source(adapter="own_adapter:adapt", fields={}), [Raw(b"", "f:7")]))


def test_an_adapter_that_does_not_exist_is_a_sentence():
    with pytest.raises(IngestError, match="module no_such_module cannot be imported"):
        list(adapt(source(adapter="no_such_module:adapt", fields={}), []))
