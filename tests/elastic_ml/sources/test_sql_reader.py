"""The `sql` reader through Airflow's own hooks: a partition's rows, bound and not written, in constant memory."""

from __future__ import annotations

import json
import sqlite3
import sys
import tracemalloc
import types
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.exceptions import ConnectionSettingsError, IngestError
from elastic_ml.project.source import Source, SqlOptions
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers import read, sql
from elastic_ml.sources.records import Rejected

DAY = Partition.parse("2026-11-10")
UNIFIED = (
    "audit_type text, sessionid int, os_username text, userhost text, terminal text, dbid int,"
    " authentication_type text, dbusername text, client_program_name text, entry_id int, statement_id int,"
    " event_timestamp text, event_timestamp_utc text, action_name text, return_code int,"
    " object_schema text, object_name text, sql_text text, system_privilege_used text"
)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """An SQLite database that is the Airflow connection `trail`."""
    monkeypatch.setenv("AIRFLOW_CONN_TRAIL", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "trail.db")}))
    connection = sqlite3.connect(tmp_path / "trail.db", isolation_level=None)
    connection.execute("pragma synchronous = off")
    return connection


def source(path: str, adapter: str = "ndjson", partition: str = "day", **options: Any) -> Source:
    return Source.model_validate(
        {
            "name": "trail",
            "stream": "logs-oracle.database_audit-test",
            "start_date": date(2026, 1, 1),
            "partition": partition,
            "reader": {"kind": "sql", "conn_id": "trail", "path": path, "options": options},
            "adapter": adapter,
        }
    )


def filled(database: sqlite3.Connection, rows: int = 48) -> None:
    database.execute("create table events (at text, id int, note text)")
    start = datetime(2026, 11, 9, 12, tzinfo=UTC)
    values = [
        ((start + timedelta(hours=n)).strftime("%Y-%m-%d %H:%M:%S"), n, None if n % 2 else "a%b:c") for n in range(rows)
    ]
    database.execute("begin")
    database.executemany("insert into events values (?, ?, ?)", values)
    database.execute("commit")


def test_the_rows_of_a_table_in_the_partition_come_as_json_in_the_order_of_time(database):
    filled(database)
    raws = list(read(source("events", time_column="at", bind="text"), DAY))
    assert [raw.record["id"] for raw in raws] == list(range(12, 36))
    assert (raws[0].data, raws[0].position, raws[0].first) == (
        b'{"at":"2026-11-10 00:00:00","id":12,"note":"a%b:c"}', "row 1", True,
    )  # fmt: skip
    assert raws[1].record == {"at": "2026-11-10 01:00:00", "id": 13}, "NULL is left out"


def test_an_hour_is_a_partition_too(database):
    filled(database)
    raws = list(
        read(source("events", partition="hour", time_column="at", bind="text"), Partition.parse("2026-11-10T07"))
    )
    assert [raw.record["id"] for raw in raws] == [19]


def test_a_query_of_ones_own_gets_the_window_bound(database):
    filled(database)
    query = "select id, ':end' as mark -- of :start\nfrom events where at >= :start and at < :end and note like 'a%';"
    raws = list(read(source(query, bind="text"), DAY))
    assert [raw.record for raw in raws][:2] == [{"id": 12, "mark": ":end"}, {"id": 14, "mark": ":end"}]


def test_columns_can_be_chosen(database):
    filled(database)
    raws = list(read(source("events", time_column="at", columns=["id"], bind="text"), DAY))
    assert raws[0].record == {"id": 12}


@pytest.mark.parametrize(
    ("style", "text", "values"),
    [
        ("named", "select '%', x from t where a >= :start and b < :end or a > :start", {"start": 1, "end": 2}),
        (
            "pyformat",
            "select '%%', x from t where a >= %(start)s and b < %(end)s or a > %(start)s",
            {"start": 1, "end": 2},
        ),
        ("format", "select '%%', x from t where a >= %s and b < %s or a > %s", [1, 2, 1]),
        ("qmark", "select '%', x from t where a >= ? and b < ? or a > ?", [1, 2, 1]),
        ("numeric", "select '%', x from t where a >= :1 and b < :2 or a > :3", [1, 2, 1]),
    ],
)
def test_parameters_are_marked_as_the_driver_wants_them(style, text, values):
    query = "select '%', x from t where a >= :start and b < :end or a > :start"
    assert sql._bound_query(query, {"start": 1, "end": 2}, style) == (text, values)


def test_what_only_looks_like_a_parameter_is_left_alone():
    query = "select ':start', \"x:end\", a::date, b /* :end */ from t -- :start\nwhere a >= :start and a < :end"
    assert sql._bound_query(query, {"start": 1, "end": 2}, "qmark") == (
        "select ':start', \"x:end\", a::date, b /* :end */ from t -- :start\nwhere a >= ? and a < ?", [1, 2],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bind", "value"),
    [
        ("utc", datetime(2026, 11, 10)),  # noqa: DTZ001
        ("aware", datetime(2026, 11, 10, tzinfo=UTC)),
        ("text", "2026-11-10 00:00:00"),
        ("epoch_ms", 1794268800000),
    ],
)
def test_the_window_is_bound_as_the_column_is_kept(bind, value):
    assert sql._BIND[bind](DAY.start) == value


class Lob:
    def __init__(self, value: Any) -> None:
        self.value = value

    def size(self) -> int:
        return len(self.value)

    def read(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (Decimal("7"), 7), (Decimal("0.5"), 0.5), (Decimal("1E+20"), 10**20), (b"\x0f\xa0", "0fa0"), (True, True),
        (memoryview(b"\x01"), "01"),
        (datetime(2026, 1, 2, 3, 4, 5, 678), "2026-01-02T03:04:05.000678"),  # noqa: DTZ001
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T00:00:00+02:00"),
        (date(2026, 1, 2), "2026-01-02"), (timedelta(seconds=90), 90.0), (Lob("select 1"), "select 1"),
        (Lob(b"\xff"), "ff"), ("\ud800", "�"),
    ],
)  # fmt: skip
def test_values_of_every_kind_become_json(value, written):
    raw = sql._raw(["x"], (value,), 1)
    assert not raw.problem
    assert json.loads(raw.data) == {"x": written}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Lob("x" * 9 * 1024 * 1024)])
def test_a_value_that_json_cannot_hold_rejects_its_row_only(value):
    raw = sql._raw(["x"], (value,), 4)
    assert raw.problem
    assert raw.position == "row 4"


def test_unified_audit_rows_become_documents(database):
    database.execute(f"create table unified_audit_trail ({UNIFIED})")
    database.executemany(
        f"insert into unified_audit_trail values ({','.join('?' * 19)})",
        [
            (
                "Standard", 88112, "kbrandt", "desk-18", "pts/4", 1199887766,
                "(TYPE=(DATABASE));(CLIENT ADDRESS=((PROTOCOL=tcp)(HOST=10.20.0.44)(PORT=51830)))", "REPORT", "sqlplus",
                entry, 1, "2026-11-10 01:00:00.250", "2026-11-10T00:00:00.250", "SELECT", code, "LOANS", "BORROWERS",
                "select *\n\nfrom loans.borrowers", "SELECT ANY TABLE",
            )
            for entry, code in ((1, 0), (2, 942))
        ],
    )  # fmt: skip
    audit = source("unified_audit_trail", adapter="oracle", bind="text")
    first, second = adapt(audit, read(audit, DAY))
    assert first["@timestamp"] == "2026-11-10T00:00:00.250Z"
    assert (first["event"]["outcome"], second["event"]["outcome"]) == ("success", "failure")
    assert first["audit"] == {"privileged": True, "verb": "SELECT", "schema": "LOANS", "object": "BORROWERS"}
    assert first["client"] == {"address": "10.20.0.44", "ip": "10.20.0.44", "user": {"name": "kbrandt"}}
    assert first["user"] == {"id": "kbrandt", "name": "kbrandt", "roles": ["SELECT ANY TABLE"]}
    assert first["event"]["id"] != second["event"]["id"]


def test_a_connection_that_is_no_database_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TRAIL", json.dumps({"conn_type": "elastic", "host": "https://x"}))
    with pytest.raises(ConnectionSettingsError, match=r"has the type elastic, (which is no SQL database|for which)"):
        list(read(source("events", time_column="at"), DAY))


def test_a_connection_of_an_unknown_type_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_TRAIL", json.dumps({"conn_type": "no_such_database", "host": "x"}))
    with pytest.raises(ConnectionSettingsError, match="Install the Airflow provider of that database"):
        list(read(source("events", time_column="at"), DAY))


def test_a_query_that_the_database_refuses_is_a_sentence(database):
    with pytest.raises(
        IngestError, match=r"connection trail failed before its first row of 2026-11-10 .* no such table: no_such"
    ):
        list(read(source("no_such", time_column="at", bind="text"), DAY))


def test_a_database_that_fails_in_the_middle_says_after_which_row_and_keeps_what_came_before(database, monkeypatch):
    filled(database)
    audit = source("events", time_column="at", bind="text", arraysize=5)
    rows = read(audit, DAY)
    taken = [next(rows) for _ in range(5)]

    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sql, "_raw", broken)
    with pytest.raises(IngestError, match=r"failed after row 6 .*disk I/O error"):
        next(rows)
    assert [raw.record["id"] for raw in taken] == [12, 13, 14, 15, 16]


def test_leaving_early_closes_the_database(database):
    filled(database)
    rows = read(source("events", time_column="at", bind="text"), DAY)
    next(rows)
    rows.close()
    database.execute("drop table events")


def test_memory_does_not_grow_with_the_rows(database):
    database.execute("create table events (at text, note text)")
    database.execute("begin")
    database.executemany("insert into events values ('2026-11-10 01:00:00', ?)", (("x" * 500,) for _ in range(20_000)))
    database.execute("commit")
    rows = read(source("events", time_column="at", bind="text", arraysize=500), DAY)
    next(rows)
    tracemalloc.start()
    count = sum(1 for _ in rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 19_999
    assert peak < 3 * 1024 * 1024, "all rows are 10 MB"


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """A stand-in for a driver that is not installed here; only how a cursor is asked for is looked at."""

    def make(name: str) -> types.ModuleType:
        module = types.ModuleType(name)
        cursors = types.ModuleType(f"{name}.cursors")
        cursors.SSCursor = "unbuffered"
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(sys.modules, f"{name}.cursors", cursors)

        class Cursor:
            itersize = 0

        class Connection:
            __module__ = f"{name}.extensions"
            asked: tuple = ()

            def cursor(self, *arguments: object) -> Cursor:
                self.asked = arguments
                return Cursor()

        module.Connection = Connection
        return module

    return make


@pytest.mark.parametrize(
    ("name", "asked"),
    [("psycopg2", ("elastic_ml",)), ("psycopg", ("elastic_ml",)), ("pymysql", ("unbuffered",)), ("oracledb", ())],
)
def test_drivers_that_would_fetch_everything_are_asked_for_a_cursor_on_the_server(driver, name, asked):
    connection = driver(name).Connection()
    cursor = sql._cursor(connection, 700)
    assert connection.asked == asked
    assert (cursor.arraysize, cursor.itersize) == (700, 700)


def test_the_driver_itself_says_how_parameters_are_marked(driver):
    module = driver("oracledb")
    module.paramstyle = "named"
    assert sql.paramstyle(module.Connection()) == "named"
    assert sql.paramstyle(sqlite3.connect(":memory:")) == "qmark"


def test_the_query_over_a_view_is_ordered_by_time():
    assert sql.query_of("audsys.unified_audit_trail", SqlOptions()) == (
        "SELECT * FROM audsys.unified_audit_trail WHERE event_timestamp_utc >= :start AND event_timestamp_utc < :end "
        "ORDER BY event_timestamp_utc"
    )


def test_a_row_that_is_no_audit_row_is_rejected_with_its_place(database):
    filled(database)
    audit = source("events", adapter="oracle", time_column="at", bind="text")
    items = list(adapt(audit, read(audit, DAY)))
    assert {type(item) for item in items} == {Rejected}
    assert items[0].position == "row 1"
