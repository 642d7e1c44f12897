"""Oracle audit files: cut into records without losing a neighbour, mapped without losing a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.adapters.oracle_records import Block, read_values, split
from elastic_ml.sources.adapters.oracle_sql import sql_object, verb
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Raw, Rejected

FIXTURE = Path(__file__).parent / "fixtures" / "lend_ora_4711_1.aud"
TIME = b"Tue Mar  3 09:15:02 2026 +01:00"


def raws(data: bytes, name: str = "x.aud") -> list[Raw]:
    lines = data.split(b"\n")
    return [Raw(line, f"{name}:{number}", first=number == 1) for number, line in enumerate(lines, 1)]


def record(sql: bytes, status: bytes = b"0", declared: int | None = None) -> bytes:
    length = len(sql) if declared is None else declared
    return b"\n".join(
        [
            TIME,
            b"LENGTH : '300'",
            b"ACTION :[%d] '%s'" % (length, sql),
            b"DATABASE USER:[3] 'ana'",
            b"STATUS:[%d] '%s'" % (len(status), status),
            b"ACTION NUMBER:[1] '3'",
        ]
    )


def adapted(data: bytes, people: NameTable | None = None) -> list:
    return list(OracleAdapter(people)(raws(data)))


@pytest.fixture(scope="module")
def documents() -> list[dict]:
    return list(OracleAdapter()(raws(FIXTURE.read_bytes(), FIXTURE.name)))


def test_both_record_shapes_of_one_file_become_documents_and_the_preamble_does_not(documents):
    assert len(documents) == 6
    assert not [item for item in documents if isinstance(item, Rejected)]


def test_sql_with_blank_lines_stays_one_record(documents):
    assert documents[1]["oracle"]["database_audit"]["action"] == (
        "begin dbms_stats.gather_table_stats('LOANS', 'RATES'); end;"
    )
    assert documents[1]["audit"]["verb"] == "BEGIN"


def test_the_outcome_comes_from_status_and_return_code(documents):
    assert [d["event"]["outcome"] for d in documents] == [
        "success", "success", "success", "failure", "success", "failure",
    ]  # fmt: skip


def test_time_is_utc_and_the_zone_is_kept(documents):
    assert documents[0]["@timestamp"] == "2026-03-03T08:15:02.000Z"
    assert documents[0]["event"]["timezone"] == "+01:00"


def test_an_administrators_acts_are_marked(documents):
    assert [d["audit"]["privileged"] for d in documents] == [True, False, True, False, False, False]
    assert documents[2]["user"]["roles"] == ["SYSDBA"]
    assert documents[2]["oracle"]["database_audit"]["privilege"] == "SYSDBA"


def test_object_schema_and_database_user_survive(documents):
    select, session = documents[3], documents[4]
    assert (select["audit"]["schema"], select["audit"]["object"]) == ("LOANS", "BORROWERS")
    assert session["oracle"]["database_audit"]["obj"] == {"creator": "LOANS", "name": "BORROWERS"}
    assert session["oracle"]["database_audit"]["database"] == {"id": "1199887766", "user": "REPORT"}
    assert session["oracle"]["database_audit"]["ses_actions"] == "---------S------"
    assert session["oracle"]["database_audit"]["entry"]["id"] == 1
    assert session["audit"]["verb"] == "SESSION REC"


def test_addresses_are_ip_or_domain(documents):
    assert documents[1]["client"] == {"address": "10.20.0.31", "ip": "10.20.0.31", "user": {"name": "jmertens"}}
    assert documents[3]["client"]["domain"] == "desk-17.example.net"
    assert documents[5]["client"]["ip"] == "10.20.0.44", "the address of a failed logon is in COMMENT$TEXT"


def test_the_process_id_is_in_the_file_name(documents):
    assert documents[0]["process"]["pid"] == 4711


def test_the_person_is_found_by_any_of_the_names_else_it_is_marked_unresolved():
    people = NameTable("oracle", {"KBrandt": "karl.brandt", "report": "svc.report"})
    documents = list(OracleAdapter(people)(raws(FIXTURE.read_bytes())))
    ids = [document["user"]["id"] for document in documents]
    assert ids == [
        "unresolved:oracle:oracle", "unresolved:oracle:jmertens", "unresolved:oracle:oracle",
        "svc.report", "svc.report", "karl.brandt",
    ]  # fmt: skip
    assert people.unresolved == 3


def test_the_same_record_always_has_the_same_id():
    first, second = adapted(record(b"select 1 from dual") + b"\n\n" + record(b"select 2 from dual"))
    (again,) = adapted(record(b"select 1 from dual") + b"\n\n\n")
    assert first["event"]["id"] == again["event"]["id"] != second["event"]["id"]
    assert len(first["event"]["id"]) == 64


def test_sql_that_contains_a_whole_audit_record_does_not_become_one():
    forged = record(b"drop table x")
    sql = b"select '\n\n" + forged + b"\n\n' from dual"
    (document,) = adapted(record(sql))
    assert document["audit"]["verb"] == "SELECT"


def test_a_wrong_length_spoils_at_most_its_own_record():
    good, odd, after = adapted(
        b"\n\n".join([record(b"select 1"), record(b"select 2\n\nfrom dual", declared=7), record(b"select 3")])
    )
    assert good["audit"]["verb"] == after["audit"]["verb"] == "SELECT"
    assert odd["oracle"]["database_audit"]["action"] == "select 2 from dual"
    assert odd["oracle"]["database_audit"]["status"] == "0"


def test_garbage_between_records_is_rejected_with_its_place():
    items = adapted(record(b"select 1") + b"\n\nnonsense here\nmore of it\n\n" + record(b"select 2"))
    assert [type(item) for item in items] == [dict, Rejected, dict]
    assert items[1].data == b"nonsense here\nmore of it"
    assert items[1].position == "x.aud:8"


def test_a_record_that_was_cut_off_is_rejected_and_the_next_file_is_read():
    cut = raws(TIME + b"\nLENGTH : '300'\nACTION :[500] 'select", "a.aud") + raws(record(b"select 2"), "b.aud")
    rejected, document = list(OracleAdapter()(cut))
    assert isinstance(rejected, Rejected)
    assert document["audit"]["verb"] == "SELECT"


def test_a_time_without_an_offset_is_refused_rather_than_guessed():
    (rejected,) = adapted(record(b"select 1").replace(b" +01:00", b""))
    assert "offset" in rejected.reason


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from a.b", "SELECT"),
        ("/* x */ -- y\n (select 1)", "SELECT"),
        ("with q as (select 1) select * from q", "SELECT"),
        ("ALTER USER scott IDENTIFIED BY x", "ALTER"),
        ("", None),
    ],
)
def test_the_verb_is_the_first_word_of_the_sql(sql, expected):
    assert verb(sql, "") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select * from loans.rates r", ("LOANS", "RATES")),
        ('insert into "Mixed" values (1)', (None, "Mixed")),
        ("drop table hr.people", ("HR", "PEOPLE")),
        ("commit", (None, None)),
    ],
)
def test_the_object_is_the_first_one_that_the_sql_names(sql, expected):
    assert sql_object(sql) == expected


def blocks(data: bytes) -> list[Block]:
    return list(split(raws(data)))


lines = st.one_of(
    st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"")),
    st.sampled_from([
        TIME, b"LENGTH : '392'", b'LENGTH: "385"', b"", b"  ", b"ACTION :[3] 'abc'", b"ACTION :[9] 'abc", b"'",
        b"ACTION :[999999999] 'x", b"STATUS:[1] '0'", b'SESSIONID:[2] "12" ENTRYID:[1] "1"', b"Audit file /x/y_1_1.aud",
        b"ACTION :[0] ''", b"DBID:[10] '1", b"ACTION NUMBER:[1] '3'",
    ]),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(lines, max_size=25))
def test_every_line_that_is_not_blank_ends_up_in_exactly_one_block(given_lines):
    data = b"\n".join(given_lines)
    found = blocks(data)
    kept = [line for block in found for line in block.data.split(b"\n") if line.strip()]
    assert kept == [line for line in given_lines if line.strip()]


@settings(max_examples=100, deadline=None)
@given(st.lists(lines, max_size=25))
def test_the_adapter_never_crashes_and_gives_one_item_per_block(given_lines):
    data = b"\n".join(given_lines)
    items = adapted(data)
    assert len(items) == len([block for block in blocks(data) if block.kind != "preamble"])


@pytest.mark.parametrize("blank", [b"\n \n", b"\n\t\n", b"\n\n"])
@pytest.mark.parametrize("rest", [b"", b"\n", b"STATUS:[1] '0'", b"STATUS:[1] '0'\n"])
def test_a_record_ends_at_a_blank_line_whatever_piece_it_came_in(blank, rest):
    """Else its bytes, and so its id, would be others when a reader cuts the file at other places."""
    data = TIME + b"\nLENGTH : '300'\nACTION :[3] 'abc'" + blank + rest
    whole = [Raw(data, "x.aud:1", first=True)]
    assert [(b.kind, b.data, b.position) for b in split(whole)] == [(b.kind, b.data, b.position) for b in blocks(data)]


sql_text = st.text(
    alphabet=st.one_of(st.characters(codec="utf-8", exclude_characters="\x00\r"), st.sampled_from("'\n \"")),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(sql_text, min_size=1, max_size=5))
def test_whatever_sql_says_each_record_stays_whole_and_its_neighbours_too(statements):
    """With right lengths nothing that SQL contains can move a record's border."""
    data = b"\n\n".join(record(sql.encode()) for sql in statements)
    found = blocks(data)
    assert [block.kind for block in found] == ["record"] * len(statements)
    for block, sql in zip(found, statements, strict=True):
        values, leftover = read_values(block.data)
        assert values["ACTION"] == sql.strip()
        assert values["STATUS"] == "0"
        assert not leftover


@settings(max_examples=50, deadline=None)
@example([""], 3)  # the first piece looks like a whole record
@example(["a", "b"], 3)
@example(["a", "b"], 5)  # pieces that end with a record, and with the blank line after it
@given(st.lists(sql_text, min_size=1, max_size=4), st.integers(min_value=1, max_value=200))
def test_the_splitter_does_not_care_how_its_input_arrives(statements, size):
    """A reader may yield lines, whole records or anything that ends at a line end."""
    data = b"\n\n".join(record(sql.encode()) for sql in statements)
    all_lines = data.split(b"\n")
    pieces = [b"\n".join(all_lines[start : start + size]) for start in range(0, len(all_lines), size)]
    assert [b.data for b in split([Raw(piece, "p") for piece in pieces])] == [b.data for b in blocks(data)]
