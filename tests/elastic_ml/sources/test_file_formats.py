"""Files as they are delivered: gzip and zstd in any number of pieces, cut off and damaged; JSON in any layout."""

from __future__ import annotations

import gzip
import itertools
import json
import sys
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_ml.exceptions import IngestError
from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers import files, read
from elastic_ml.sources.readers.json_stream import json_records
from elastic_ml.sources.records import LONGEST_RECORD, Raw, Rejected

DAY = Partition.parse("2026-11-10")
LINES = b"".join(b'{"n": %d, "filler": "%d"}\n' % (n, n * 7919 % 104729) for n in range(3000))
FIXTURES = Path(__file__).parent / "fixtures"


def source(path: Path | str, adapter: str = "ndjson", **options: Any) -> Source:
    return Source.model_validate(
        {
            "name": "trail",
            "stream": "logs-acme.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {"kind": "files", "path": str(path), "options": options},
            "adapter": adapter,
        }
    )


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


CHECKSUMMED = zstandard.ZstdCompressor(write_checksum=True).compress(LINES)


def in_pieces(compress: Callable[[bytes], bytes]) -> bytes:
    """Three members or frames, cut in the middle of lines."""
    return b"".join(compress(part) for part in (LINES[:10_000], LINES[10_000:10_007], LINES[10_007:]))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.gz", in_pieces(gzip.compress)),
        ("x.zst", in_pieces(zstd)),
        ("x.zstd", zstd(LINES)),
        ("x.zst", b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" + zstd(LINES)),
        ("x.gz", gzip.compress(b"") + gzip.compress(LINES)),
    ],
    ids=["gzip members", "zstd frames", "zstd", "a skippable frame", "an empty member"],
)
def test_everything_in_a_compressed_file_is_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert b"".join(raw.data + b"\n" for raw in read(source(tmp_path / name), DAY)) == LINES


@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("zst", zstd)])
@pytest.mark.parametrize("kept", [0.5, 0.99, 1.3])
def test_a_file_that_was_cut_off_names_itself_and_its_place_after_everything_before(tmp_path, suffix, compress, kept):
    whole = compress(LINES)
    data = whole[: int(len(whole) * kept)] if kept < 1 else whole + compress(LINES)[: int(len(whole) * 0.3)]
    (tmp_path / f"x.{suffix}").write_bytes(data)
    got: list[Raw] = []
    with pytest.raises(IngestError, match=rf"x\.{suffix} of the source trail cannot be read past") as caught:
        got.extend(read(source(tmp_path / f"x.{suffix}"), DAY))
    assert [raw.data for raw in got] == LINES.splitlines()[: len(got)] if kept < 1 else len(got) >= 3000
    if got:
        assert got[-1].position in str(caught.value)
    if kept >= 0.99 and suffix == "gz":
        assert len(got) > 2500
    assert "what was read before counts as duplicate" in str(caught.value)


@pytest.mark.parametrize(("name", "data"), [
    ("x.gz", b"plain text\n"), ("x.zst", b"plain text\n"), ("x.gz", gzip.compress(LINES)[:-8] + b"\0" * 8),
    ("x.zst", CHECKSUMMED[:200] + b"\xff" * 50 + CHECKSUMMED[250:]),
], ids=["no gzip", "no zstd", "checksum", "damaged"])  # fmt: skip
def test_a_damaged_file_is_a_sentence(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(IngestError, match="The file is damaged or was cut off: deliver it again"):
        list(read(source(tmp_path / name), DAY))


def test_zstd_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "x.zst").write_bytes(zstd(LINES))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        IngestError, match=r"Install `airflow-provider-elastic-ml\[zstd\]` where the Airflow workers run"
    ):
        list(read(source(tmp_path / "x.zst"), DAY))


def test_a_format_that_is_not_known_is_no_heap_of_rejected_lines(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(
        IngestError, match=r"x\.zip of the source trail is in a format that the files reader does not know"
    ):
        list(read(source(tmp_path / "x.zip"), DAY))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_object_storage_in_memory_is_read_with_globs_and_compression(suffix):
    import fsspec
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach

    attach(protocol="memory", fs=fsspec.filesystem("memory"))
    bucket = uuid.uuid4().hex
    folder = ObjectStoragePath(f"memory://{bucket}/day=2026-11-10")
    folder.mkdir(parents=True)
    packed = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[suffix]
    for number in (2, 1):
        (folder / f"part-{number}.ndjson{suffix}").write_bytes(packed(b'{"n": %d}\n' % number))
    found = list(read(source(f"memory://{bucket}/day={{day}}/*.ndjson{suffix}"), DAY))
    assert [raw.data for raw in found] == [b'{"n": 1}', b'{"n": 2}']
    assert [raw.first for raw in found] == [True, True]
    one = list(read(source(f"memory://{bucket}/day={{day}}/part-2.ndjson{suffix}"), DAY))
    assert [raw.position for raw in one] == [f"part-2.ndjson{suffix}:1"]
    with pytest.raises(IngestError, match="which does not exist"):
        list(read(source(f"memory://{bucket}/nothing"), DAY))


def test_a_storage_that_airflow_cannot_open_is_a_sentence():
    with pytest.raises(IngestError, match=r"nosuchscheme://.*(which Airflow cannot open here|cannot be opened)"):
        list(read(source("nosuchscheme://bucket/key"), DAY))


def test_a_ten_megabyte_line_is_rejected_alone_whatever_surrounds_it(tmp_path):
    long = b'{"n": 2, "x": "' + b"y" * (10 * 1024 * 1024) + b'"}'
    (tmp_path / "x").write_bytes(b'{"n": 1}\n' + long + b'\n{"n": 3}\n' + long)
    raws = list(read(source(tmp_path / "x"), DAY))
    assert [raw.problem for raw in raws] == ["", "the line is longer than 8 MiB", "", "the line is longer than 8 MiB"]
    assert [raw.position for raw in raws] == ["x:1", "x:2", "x:3", "x:4"]
    assert raws[1].data == long[: 32 * 1024]
    assert (raws[0].data, raws[2].data) == (b'{"n": 1}', b'{"n": 3}')


def test_a_line_of_exactly_the_longest_length_is_a_record(tmp_path):
    line = b'"' + b"x" * (LONGEST_RECORD - 2) + b'"'
    (tmp_path / "x").write_bytes(line + b"\n" + line + b"y\n")
    assert [raw.problem == "" for raw in read(source(tmp_path / "x"), DAY)] == [True, False]


chunk_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=30), max_size=8), chunk_sizes)
def test_lines_do_not_depend_on_how_the_bytes_arrive(parts, sizes):
    data = b"\n".join(parts)
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    found = list(files.lines(cut(data, sizes), "f"))
    assert [raw.data for raw in found] == [line.removesuffix(b"\r") for line in expected]
    assert [raw.position for raw in found] == [f"f:{n}" for n in range(1, len(expected) + 1)]


audit_text = st.lists(
    st.sampled_from([
        (FIXTURES / "lend_ora_4711_1.aud").read_bytes().split(b"\n\n")[n] for n in range(1, 5)
    ] + [
        b"garbage", b"", b"  ", b"\xff\xfe", b"a\r\nb",
        b"Tue Mar  3 09:15:02 2026 +01:00\nLENGTH : '9'\nACTION :[90] 'x'",
    ]),
    max_size=8,
).map(b"\n\n".join)  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(audit_text, chunk_sizes)
def test_audit_files_give_the_same_in_paragraphs_as_in_lines(data, sizes):
    """Reading whole records at once is only faster: documents, rejects and places are those of line by line."""

    def told(raws: Iterator[Raw]) -> list[Any]:
        return [
            (item.reason, item.position, item.data) if isinstance(item, Rejected) else item
            for item in OracleAdapter()(raws)
        ]

    assert told(files.paragraphs(cut(data, sizes), "f.aud")) == told(files.lines(cut(data, sizes), "f.aud"))


def test_an_endless_line_in_an_audit_file_spoils_its_record_only(tmp_path):
    records = (FIXTURES / "lend_ora_4711_1.aud").read_bytes().split(b"\n\n")
    spoilt = records[1].replace(b"CONNECT", b"x" * (9 * 1024 * 1024))
    (tmp_path / "x.aud").write_bytes(b"\n\n".join([records[2], spoilt, records[1]]))
    # The second record of the fixture holds blank lines, and its pieces are three.
    items = list(adapt(source(tmp_path / "x.aud", "oracle"), read(source(tmp_path / "x.aud", "oracle"), DAY)))
    reasons = [item.reason for item in items if isinstance(item, Rejected)]
    assert reasons[-1] == "the line is longer than 8 MiB"
    assert isinstance(items[-1], dict)
    assert items[-1]["oracle"]["database_audit"]["action"] == "CONNECT"


ACTIVITIES = [json.loads(line) for line in (FIXTURES / "ping_one.ndjson").read_text().splitlines() if line]
PAGE = {"_links": {"self": {"href": "x"}}, "_embedded": {"activities": ACTIVITIES}, "size": len(ACTIVITIES)}


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(a) for a in ACTIVITIES),
        json.dumps(PAGE),
        json.dumps(PAGE, indent=2),
        json.dumps(ACTIVITIES),
        json.dumps(ACTIVITIES, indent=1),
        "\ufeff" + json.dumps(ACTIVITIES),
        "[" + ",\n".join(json.dumps(a) for a in ACTIVITIES) + "]",
        "\n".join(json.dumps(a) + "," for a in ACTIVITIES),
        "\n".join(json.dumps(a, indent=4) for a in ACTIVITIES),
        json.dumps({**PAGE, "_embedded": {"activities": ACTIVITIES[:2]}})
        + "\n"
        + json.dumps({**PAGE, "_embedded": {"activities": ACTIVITIES[2:]}}),
    ],
    ids=[
        "lines", "a page", "a page laid out", "an array", "an array laid out", "a byte order mark", "an array of lines",
        "lines with commas", "objects laid out", "a page per line",
    ],
)  # fmt: skip
def test_ping_one_files_are_read_whatever_their_layout(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    audit = source(tmp_path / "a.json", "ping_one")
    items = list(adapt(audit, read(audit, DAY)))
    assert [item["event"]["id"] for item in items] == [f"act-{n}" for n in range(1, 7)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.dictionaries(st.text(max_size=4), json_values, max_size=3), max_size=5),
    st.sampled_from(["array", "laid out", "lines", "page"]),
    st.booleans(),
    chunk_sizes,
)
def test_json_gives_the_same_records_whatever_the_layout_and_the_chunks(records, layout, ascii_only, sizes):
    text = {
        "array": lambda: json.dumps(records, ensure_ascii=ascii_only),
        "laid out": lambda: json.dumps(records, ensure_ascii=ascii_only, indent=2),
        "lines": lambda: "\n".join(json.dumps(record, ensure_ascii=ascii_only) for record in records),
        "page": lambda: json.dumps({"first": 1, "rows": records, "next": None}, ensure_ascii=ascii_only),
    }[layout]()
    found = list(json_records(cut(text.encode("utf-8", "replace"), sizes), "f", "rows" if layout == "page" else ""))
    assert [raw.record for raw in found] == records or any("\ud800" <= c <= "\udfff" for c in text)
    assert not any(raw.problem for raw in found) or any("\ud800" <= c <= "\udfff" for c in text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 999),
            st.sampled_from([
                b"", b"nonsense", b'{"a": ', b'{"a": "b}', b'{"a": NaN}', b'{"a" 1}', b"\xff\xfe", b"\0\0",
                b"]", b"]}}",
            ]),
        ),
        max_size=6,
    ),
    chunk_sizes,
)  # fmt: skip
def test_a_bad_object_in_a_json_file_never_takes_its_neighbours_with_it(pairs, sizes):
    data = b"".join(b'{"n": %d}\n%s\n' % (n, bad) for n, bad in pairs)
    found = [raw.record["n"] for raw in json_records(cut(data, sizes), "f", "") if raw.record and not raw.problem]
    assert found == [n for n, _ in pairs]


def test_the_activities_of_a_broken_page_are_found_again_but_the_broken_one():
    text = json.dumps(PAGE).replace('"act-3"', '"act-3', 1).encode()
    found = [raw for raw in json_records([text], "f", files.PING_ONE_ITEMS) if raw.record and not raw.problem]
    kept = {raw.record["id"] for raw in found if str(raw.record.get("id")).startswith("act-")}
    assert {"act-1", "act-2", "act-5", "act-6"} <= kept


def test_a_page_that_was_cut_off_gives_the_activities_before(tmp_path):
    (tmp_path / "a.json").write_bytes(json.dumps(PAGE).encode()[:-400])
    audit = source(tmp_path / "a.json", "ping_one")
    items = list(adapt(audit, read(audit, DAY)))
    documents = [item["event"]["id"] for item in items if isinstance(item, dict)]
    assert documents[:5] == [f"act-{n}" for n in range(1, 6)]
    assert any(
        "no JSON" in item.reason or "ends in the middle" in item.reason for item in items if isinstance(item, Rejected)
    )


def test_bytes_that_are_no_utf8_reject_their_object_only():
    found = list(json_records([b'[{"n":1},{"n":"\xe9"},{"n":3}]'], "f", ""))
    assert [(raw.problem, raw.position) for raw in found] == [
        ("", "f:1 record 1"), ("not UTF-8", "f:1 record 2"), ("", "f:1 record 3"),
    ]  # fmt: skip
    assert found[1].data == b'{"n":"\xe9"}'


def test_a_huge_array_on_one_line_needs_the_memory_of_a_chunk():
    item = json.dumps({"id": "x" * 500}).encode()

    def chunks() -> Iterator[bytes]:
        yield b"["
        for _ in range(200):
            yield b",".join([item] * 100) + b","
        yield item + b"]"

    tracemalloc.start()
    count = sum(1 for _ in json_records(chunks(), "f", ""))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_001
    assert peak < 2 * 1024 * 1024, "the array is 10 MB"


def test_mysqls_audit_file_of_objects_with_commas_is_read_as_json(tmp_path):
    (tmp_path / "m.json").write_text('[\n{"a": 1},\n{"a": 2},\n]\n')
    assert [raw.record for raw in read(source(tmp_path / "m.json", format="json"), DAY)] == [{"a": 1}, {"a": 2}]
