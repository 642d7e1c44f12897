"""Bad records among good ones: each is rejected by itself, with place and reason, and every good one keeps its id."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_ml.ingest.encoding import encode
from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.readers.files import lines, paragraphs
from elastic_ml.sources.records import KEPT_BYTES, Raw, Rejected

FIELDS = {"@timestamp": "time", "event.id": "id", "user.id": "who"}
TIME = b"Tue Mar  3 09:15:02 2026 +01:00"


def source(adapter: str, **changes: Any) -> Source:
    return Source.model_validate(
        {
            "name": "trail",
            "stream": "logs-acme.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {"kind": "files", "path": "/x"},
            "adapter": adapter,
            "fields": FIELDS if adapter in {"ndjson", "csv"} else {},
            **changes,
        }
    )


def adapted(adapter: str, data: bytes, **changes: Any) -> list[Any]:
    cut = paragraphs if adapter == "oracle" else lines
    return list(adapt(source(adapter, **changes), cut(iter([data]), "f")))


def good(adapter: str, number: int) -> bytes:
    """A record of which only the number differs."""
    if adapter == "csv":
        return b"2026-03-03T08:00:00Z,e-%d,ana" % number
    if adapter == "ndjson":
        return b'{"time": "2026-03-03T08:00:00Z", "id": "e-%d", "who": "ana"}' % number
    if adapter == "ping_one":
        return b'{"id": "e-%d", "recordedAt": "2026-03-03T08:00:00.000Z", "action": {"type": "USER.READ"}}' % number
    if adapter == "rows":
        return b'{"EVENT_TIMESTAMP_UTC": "2026-03-03T08:00:00", "ACTION_NAME": "LOGON", "ENTRY_ID": %d}' % number
    sql = b"select %d from dual" % number
    return TIME + b"\nLENGTH : '300'\nACTION :[%d] '%s'\nDATABASE USER:[3] 'ana'\nSTATUS:[1] '0'\n" % (len(sql), sql)


BAD = [
    b"nonsense",
    b"\xff\xfe{\x00}\x00", b"\x00" * 64, b'{"id": "x', b"[" * 5000, b'{"a":' * 3000, b"{}", b"[1]", b"null",
    b'{"time": NaN}', '{"who": "Jörg"}'.encode("latin-1"),
    '{"id": "x"}'.encode("utf-16"), b'{"time": 1e999, "id": "x"}',
    b'{"time": "0001-01-01T00:00:00+14:00", "recordedAt": "0001-01-01T00:00:00+14:00", "action": {"type": "A"}}',
    b'{"recordedAt": [], "action": []}',
    b'{"time": "2026-03-03", "id": {"a": 1}}', b'{"time": "2026-03-03", "who": ["a"]}',
    b'{"time": ' + b"9" * 5000 + b"}", b'"', b",,,,,,", b"\r", b"{" + b'"a":1,' * 9 + b"}", b'{"EVENT_TIMESTAMP": 5}',
    TIME, TIME + b"\nLENGTH : '300'", TIME + b"\nLENGTH : '300'\nACTION :[2] 'abc'def", TIME + b"\nJunk: x",
    TIME.replace(b"Mar", b"Foo") + b"\nLENGTH : '300'\nACTION :[1] 'a'\n",
    TIME.replace(b" 3 ", b"39 ") + b"\nLENGTH : '300'\nACTION :[1] 'a'\n",
    TIME + b"\nLENGTH : '300'\nACTION :[8] 'J\xf6rg \xe4\xe4' x",
]  # fmt: skip


def bad_for(adapter: str) -> st.SearchStrategy[bytes]:
    """Bytes that are no good record, and do not start one either."""
    usable = [b for b in BAD if adapter == "oracle" or b"\n" not in b]
    noise = st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"").replace(b'"', b""))
    if adapter == "oracle":
        # A value whose declared length is right may hold anything, the next record too: that is no bad record.
        return st.sampled_from(usable) | noise.map(lambda b: b.replace(b":[", b""))
    return st.sampled_from(usable) | noise


def id_of(adapter: str, number: int) -> str:
    header = b"time,id,who\n" if adapter == "csv" else b""
    (document,) = adapted("oracle" if adapter == "rows" else adapter, header + good(adapter, number))
    return document["event"]["id"]


@pytest.mark.parametrize("adapter", ["ndjson", "ping_one", "csv", "oracle", "rows"])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(data=st.data())
def test_good_records_survive_whatever_stands_between_them(adapter, data):
    numbers = data.draw(st.lists(st.integers(0, 9999), unique=True, max_size=5))
    parts = [b"time,id,who"] if adapter == "csv" else []
    for number in numbers:
        parts += [*data.draw(st.lists(bad_for(adapter), max_size=2)), good(adapter, number)]
    parts += data.draw(st.lists(bad_for(adapter), max_size=2))
    between = b"\n\n" if adapter == "oracle" else b"\n"
    items = adapted("oracle" if adapter == "rows" else adapter, between.join(parts))
    documents = [item["event"]["id"] for item in items if not isinstance(item, Rejected)]
    expected = [id_of(adapter, number) for number in numbers]
    assert [found for found in documents if found in expected] == expected
    for item in items:
        if isinstance(item, Rejected):
            assert item.reason
            assert item.position.startswith("f:")
            assert len(item.data) <= KEPT_BYTES


@pytest.mark.parametrize("junk", [[TIME], [TIME, b"nonsense"], [b"nonsense", TIME], [TIME, TIME]])
def test_a_row_after_a_lone_time_line_is_a_row(junk):
    items = adapted("oracle", b"\n".join([*junk, good("rows", 7), good("rows", 8)]))
    assert [item["event"]["id"] for item in items if not isinstance(item, Rejected)] == [
        id_of("rows", 7),
        id_of("rows", 8),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("2026-03-03T08:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "id", "type", "name", "user", "client", "event", "@timestamp", "event.id", "time", "verdict", "decision",
            "actors", "action", "resources", "result", "tags", "recordedAt", "level", "score", "href", "who",
            "EVENT_TIMESTAMP_UTC", "ACTION_NAME", "SQL_TEXT", "_embedded", "timezone", "decision_id",
            "event_id", "decided_at",
        ]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("adapter", ["ndjson", "mapped", "ping_one", "oracle", "labels"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(records=st.lists(json_values, max_size=4))
def test_no_json_makes_an_adapter_fail(adapter, records):
    changes: dict[str, Any] = {"fields": {}} if adapter == "ndjson" else {}
    if adapter == "mapped":
        changes = {"fields": {**FIELDS, "event.timezone": "timezone", "audit.x": "actors.0.user"}}
    if adapter == "labels":
        changes = {"fields": {}, "kind": "labels"}
    made = {"mapped": "ndjson", "labels": "ndjson"}.get(adapter, adapter)
    raws = [Raw(json.dumps(record).encode(), f"f:{n}") for n, record in enumerate(records)]
    items = list(adapt(source(made, **changes), raws))
    assert len(items) == len(records) or made == "oracle"
    for item in items:
        if not isinstance(item, Rejected):
            assert item["@timestamp"]


@pytest.mark.parametrize(
    ("adapter", "data", "reason"),
    [
        ("ndjson", '{"id": "é"}'.encode("latin-1"), "not UTF-8 at byte 8"),
        ("ndjson", '{"id": "x"}'.encode("utf-16"), "not UTF-8 at byte 0 (UTF-16?)"),
        ("ndjson", '{"id": "x"}'.encode("utf-16-le"), "NUL bytes: UTF-16?"),
        ("ndjson", b"[" * 100_000, "nested too deeply"),
        ("ndjson", b'{"time": "2026-03-03", "who": ["a", "b"]}', "user.id is list"),
        ("ndjson", b'{"time": 12345678901234567890}', "is no ISO 8601 time"),
        ("ping_one", b'{"id": "x"}', "no PingOne activity: recordedAt is missing"),
        ("ping_one", b'{"recordedAt": "2026-03-03T08:00:00Z"}', "no PingOne activity: action.type is missing"),
        (
            "ping_one",
            b'{"recordedAt": "2026-03-03", "action": {"type": "A"}, "actors": {"user": {"name": ["x"]}}}',
            "actors.user.name is list",
        ),
        ("ping_one", b'{"recordedAt": "soon", "action": {"type": "A"}}', "recordedAt: 'soon' is no ISO 8601 time"),
        ("csv", b"time,id,who\n2026-03-03,a", "2 values for 3 columns"),
        ("csv", b"time,id,who\n2026-03-03,\xe9,x", "not UTF-8 at byte 11"),
        ("csv", b"time,id,who\n2026-03-03,\0,x", "it holds NUL bytes"),
        ("csv", b'time,id,who\n2026-03-03,"a,x', "no CSV"),
        ("oracle", TIME + b"\nLENGTH : '30'\nACTION :[4] 'J\xf6rg'", "not UTF-8 at byte"),
        ("oracle", TIME + b"\nLENGTH : '30'\nACTION :[1] '\0'", "it holds NUL bytes"),
        ("oracle", TIME.replace(b"Mar", b"Mrz") + b"\nLENGTH : '30'\nACTION :[1] 'x'", "Mrz is no month"),
        ("oracle", b'{"ACTION_NAME": "LOGON"}', "no Oracle audit row: none of EVENT_TIMESTAMP_UTC"),
        ("oracle", b'{"EVENT_TIMESTAMP": "2026-03-03", "ACTION_NAME": "LOGON"}', "EVENT_TIMESTAMP has no UTC offset"),
    ],
)  # fmt: skip
def test_every_reason_is_a_sentence_about_the_record(adapter, data, reason):
    *_, rejected = adapted(adapter, data)
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason


def test_rows_of_a_file_whose_header_is_broken_never_get_another_files_header():
    raws = [
        *lines(iter([b"time,id,who\n2026-03-03,a,ana\n"]), "one.csv"),
        *lines(iter([b"time,id,\xff\n2026-03-03,b,ana\n"]), "two.csv"),
        *lines(iter([b"\n\nid,time,who\nc,2026-03-03,ana\n"]), "three.csv"),
    ]
    items = list(adapt(source("csv"), raws))
    assert [item.position if isinstance(item, Rejected) else item["event"]["id"] for item in items] == [
        "a", "two.csv:1", "two.csv:2", "c",
    ]  # fmt: skip
    assert items[2].reason == "the header of its file cannot be read"


def test_a_header_that_the_reader_could_not_read_whole_spoils_its_file_only():
    raws = [
        Raw(b"x", "a:1", "too long", first=True),
        Raw(b"2026-03-03,a,b", "a:2"),
        Raw(b"time,id,who", "b:1", first=True),
    ]
    items = list(adapt(source("csv"), [*raws, Raw(b"2026-03-03,b,ana", "b:2")]))
    assert [getattr(item, "reason", None) for item in items] == [
        "too long",
        "the header of its file cannot be read",
        None,
    ]


def test_a_part_of_an_oracle_record_that_could_not_be_read_spoils_its_record_only():
    before, after = good("oracle", 1), good("oracle", 2)
    raws = [
        *lines(iter([before + b"\n" + TIME + b"\nLENGTH : '9'\n"]), "f"),
        Raw(b"ACTION :[9999999] 'x", "f:9", "too long"),
    ]
    raws += lines(iter([b"STATUS:[1] '0'\n\n" + after]), "g")
    # The rest of the broken record stands before the next file's first line in truth.
    raws = [raw._replace(first=False) if raw.position == "g:1" else raw for raw in raws]
    items = list(adapt(source("oracle"), raws))
    assert [getattr(item, "reason", "document") for item in items] == ["document", "too long", "document"]
    assert items[1].data.startswith(TIME)


def test_what_comes_twice_or_out_of_order_keeps_its_place_and_id():
    records = [good("ndjson", n) for n in (3, 1, 3, 2)]
    items = adapted("ndjson", b"\n".join(records))
    assert [item["event"]["id"] for item in items] == ["e-3", "e-1", "e-3", "e-2"]
    twice = adapted("oracle", good("oracle", 1) + b"\n" + good("oracle", 1))
    assert twice[0]["event"]["id"] == twice[1]["event"]["id"]


def test_deep_json_that_can_be_parsed_can_be_sent_or_is_rejected():
    for depth in (50, 400, 900, 990, 2000):
        deep = b'{"a":' * depth + b"1" + b"}" * depth
        line = b'{"recordedAt": "2026-03-03T08:00:00Z", "action": {"type": "A"}, "x": %s}' % deep
        (item,) = adapted("ping_one", line)
        if isinstance(item, Rejected):
            assert item.reason == "nested too deeply"
        elif depth < 900:
            assert encode(item)
        else:
            with contextlib.suppress(ValueError):  # what cannot be sent is rejected by the ingestion, as a ValueError
                encode(item)


def test_the_fixtures_of_this_folder_hold_no_reject():
    folder = Path(__file__).parent / "fixtures"
    assert not [i for i in adapted("oracle", (folder / "lend_ora_4711_1.aud").read_bytes()) if isinstance(i, Rejected)]
    assert not [i for i in adapted("ping_one", (folder / "ping_one.ndjson").read_bytes()) if isinstance(i, Rejected)]
