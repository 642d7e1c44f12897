"""Readers: files by path, glob and placeholder, compressed or not; functions; name tables."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import types
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.exceptions import IngestError
from elastic_ml.project.source import Source
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import files, read

DAY = Partition.parse("2026-11-10")


def source(**reader: Any) -> Source:
    return Source.model_validate(
        {
            "name": "trail",
            "stream": "logs-acme.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {"kind": "files", **reader},
            "adapter": "ndjson",
        }
    )


def test_a_day_and_an_hour_are_partitions_in_utc():
    hour = Partition.parse("2026-11-10T23")
    assert (hour.start, hour.end) == (datetime(2026, 11, 10, 23, tzinfo=UTC), datetime(2026, 11, 11, tzinfo=UTC))
    assert (hour.size, DAY.size) == ("hour", "day")
    assert (hour.previous.key, DAY.previous.key) == ("2026-11-10T22", "2026-11-09")


@pytest.mark.parametrize(
    "key",
    ["None", "", "2026-13-01", "2026-11-10T24", "10.11.2026", "2026-11-10T1", "9999-12-31", "0001-01-01", "٢٠٢٦-11-10"],
)
def test_anything_else_is_refused_with_the_forms_that_are_accepted(key):
    with pytest.raises(IngestError, match="Write a UTC day as 2026-11-10"):
        Partition.parse(key)


def test_lines_come_with_their_place_whatever_ends_them(tmp_path):
    (tmp_path / "a-2026-11-10.log").write_bytes(b"one\r\n\ntwo\nlast")
    raws = list(read(source(path=str(tmp_path / "a-{day}.log")), DAY))
    assert [(r.data, r.position, r.first) for r in raws] == [
        (b"one", "a-2026-11-10.log:1", True),
        (b"", "a-2026-11-10.log:2", False),
        (b"two", "a-2026-11-10.log:3", False),
        (b"last", "a-2026-11-10.log:4", False),
    ]


def test_globs_are_read_in_the_order_of_their_names_and_gzip_by_its_suffix(tmp_path):
    folder = tmp_path / "2026" / "11"
    folder.mkdir(parents=True)
    (folder / "b.gz").write_bytes(gzip.compress(b"3\n"))
    (folder / "a.gz").write_bytes(gzip.compress(b"1\n2\n"))
    raws = list(read(source(path=str(tmp_path / "%Y" / "%m" / "*.gz")), DAY))
    assert [r.data for r in raws] == [b"1", b"2", b"3"]


def test_placeholders_are_the_partitions_start():
    assert files.expand("s3://b/{year}/{month}/{day}T{hour}-%d", Partition.parse("2026-11-10T07")) == (
        "s3://b/2026/11/2026-11-10T07-10"
    )


def test_a_missing_file_is_an_error_unless_the_source_says_otherwise(tmp_path):
    path = str(tmp_path / "{day}.log")
    with pytest.raises(IngestError, match=r"source trail reads .*2026-11-10\.log, which does not exist"):
        list(read(source(path=path), DAY))
    assert list(read(source(path=path, options={"missing": "empty"}), DAY)) == []
    assert list(read(source(path=str(tmp_path / "*.log")), DAY)) == []


def test_an_endless_line_is_rejected_in_bounded_memory_and_its_neighbours_survive(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_RECORD", 1024 * 1024)
    with (tmp_path / "x.log").open("wb") as file:
        file.write(b"before\n")
        for _ in range(40):
            file.write(b"x" * 1024 * 1024)
        file.write(b"\nafter\n")
    tracemalloc.start()
    raws = list(read(source(path=str(tmp_path / "x.log")), DAY))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.data for r in raws if not r.problem] == [b"before", b"after"]
    assert [len(r.data) for r in raws if r.problem] == [32 * 1024]
    assert peak < 8 * 1024 * 1024


def test_object_storage_is_read_through_airflows_paths(tmp_path):
    (tmp_path / "o-2026-11-10.log").write_bytes(b"1\n2\n")
    raws = list(read(source(path=f"file://{tmp_path}/o-{{day}}.log"), DAY))
    assert [r.data for r in raws] == [b"1", b"2"]


def test_a_connection_needs_a_path_with_a_scheme():
    with pytest.raises(IngestError, match="Write the path as s3://"):
        list(read(source(path="bucket/key", conn_id="aws"), DAY))


@pytest.fixture
def feed():
    module = types.ModuleType("own_feed")
    sys.modules["own_feed"] = module
    yield module
    del sys.modules["own_feed"]


def test_a_function_gets_the_partition_and_the_options(feed):
    feed.rows = lambda start, end, *, n: (f"{start:%H}-{end:%d}-{i}".encode() for i in range(n))
    raws = list(read(source(kind="python", path="own_feed:rows", options={"n": 2}), DAY))
    assert [(r.data, r.position) for r in raws] == [(b"00-11-0", "record 1"), (b"00-11-1", "record 2")]


def test_a_function_that_yields_no_bytes_is_named(feed):
    feed.rows = lambda start, end: iter([{"a": 1}])
    with pytest.raises(IngestError, match="own_feed:rows, the reader of the source trail, yielded dict as record 1"):
        list(read(source(kind="python", path="own_feed:rows"), DAY))


@pytest.mark.parametrize("path", ["own_feed:nothing", "no_such_feed:rows"])
def test_a_function_that_does_not_exist_is_named(feed, path):
    with pytest.raises(IngestError, match=f"The reader of the source trail is {path}"):
        list(read(source(kind="python", path=path), DAY))


def test_name_tables_are_yaml_json_or_csv(tmp_path: Path):
    for name, text in {"n.yml": "SCOTT: ana", "n.json": '{"SCOTT": "ana"}', "n.csv": "SCOTT,ana\n"}.items():
        (tmp_path / name).write_text(text)
        people = NameTable.read("db", tmp_path / name)
        assert people.person(" scott ") == "ana"
        assert people.person("x") == "unresolved:db:x"


@pytest.mark.parametrize(
    ("name", "text"), [("n.yml", "- a"), ("n.yml", "a: ["), ("n.csv", "a,b,c"), ("missing.yml", None)]
)
def test_a_broken_name_table_is_named(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(IngestError, match=name):
        NameTable.read("db", tmp_path / name)
