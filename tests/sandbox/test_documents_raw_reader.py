"""Documents read from their bytes against the same documents read one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson
import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation, routes, table
from elastic_sandbox.documents.columns import Column
from elastic_sandbox.documents.raw_reader import RawReader, raw_reader
from elastic_sandbox.http import Request
from elastic_sandbox.indices import Index

MAPPING = {
    "dynamic": "false",
    "properties": {
        "@timestamp": {"type": "date"},
        "k": {"type": "keyword"},
        "short": {"type": "keyword", "ignore_above": 20},
        "l": {"type": "long"},
        "i": {"type": "integer"},
        "b": {"type": "byte"},
        "d": {"type": "double"},
        "f": {"type": "float"},
        "t": {"type": "boolean"},
        "ip": {"type": "ip"},
        "o": {"properties": {"k": {"type": "keyword"}, "p": {"properties": {"n": {"type": "short"}}}}},
        "tags": {"type": "keyword"},
        "times": {"type": "date"},
        "ips": {"type": "ip"},
        "off": {"type": "object", "enabled": False},
        "name": {"type": "keyword", "fields": {"text": {"type": "text"}}},
    },
}
# With it every field has its column, and tags, times and ips have columns of lists.
FIRST = {
    "@timestamp": "2026-01-01T00:00:00Z", "k": "", "short": "x", "l": 1, "i": 1, "b": 1, "d": 1.5, "f": 1.5, "t": True,
    "ip": "::1", "o": {"k": "x", "p": {"n": 1}}, "tags": ["a", "b"], "name": "Ana Lind",
    "times": ["2026-01-01", "2026-01-02"], "ips": ["10.0.0.1", "::1"],
}  # fmt: skip

TEXTS = st.text(st.sampled_from('aZ é€😀\\"/\n\t\x00\x1e{}[]:,'), max_size=24) | st.sampled_from([8191, 8192]).map(
    lambda length: "x" * length
)
ODD_TIMES: list[Any] = [
    "2026-02-28", "2026-02-29", "2024-02-29T23:59:59Z", "2026-01-01T10:00:00.9999+00:00",
    "2026-01-01T10:00:00.123456789Z", "2026-01-01T10:00:00+02:00", "1969-12-31T23:59:59.9Z", "nonsense", 1767225600000,
    "1767225600000", "2026",
    "2026-04-31", "2026-01-01T24:00:00Z",
]  # fmt: skip
TIMES = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    st.sampled_from(ODD_TIMES),
)
ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(["010.0.0.1", "1.2.3", "256.0.0.1", "::ffff:1.2.3.4", "x"])
ODD_NUMBERS: list[Any] = [2**15, -(2**15), 2**31, 2**63, "7", 7.9, True]
INTEGERS = st.integers(-(2**64), 2**64) | st.integers(-200, 200) | st.sampled_from(ODD_NUMBERS)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(-1e6, 1e6), INTEGERS, st.just(-0.0)
)
OTHERS: list[Any] = [{}, [], {"x.y": [1, {"z": None}]}]
VALUES = st.none() | st.booleans() | TEXTS | INTEGERS | st.sampled_from(OTHERS)


def _or_anything(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what the field expects: one odd document sends a whole request another way."""
    return st.integers(0, 30).flatmap(lambda chance: VALUES if chance == 30 else usual)


def _several(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return usual | st.lists(usual, max_size=3)


INNER: dict[str, st.SearchStrategy[Any]] = {
    "k": _or_anything(TEXTS),
    "p": st.fixed_dictionaries({}, optional={"n": st.integers(-40000, 40000)}) | st.none(),
    "other": VALUES,
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "@timestamp": _or_anything(TIMES),
    "k": _or_anything(TEXTS),
    "short": _or_anything(TEXTS),
    "l": _or_anything(INTEGERS),
    "i": _or_anything(st.integers(-(2**31), 2**31)),
    "b": _or_anything(st.integers(-129, 128)),
    "d": _or_anything(FLOATS),
    "f": _or_anything(FLOATS),
    "t": _or_anything(st.booleans()),
    "ip": _or_anything(ADDRESSES),
    "o": _or_anything(st.fixed_dictionaries({}, optional=INNER)),
    "tags": _several(TEXTS),
    "times": _several(TIMES),
    "ips": _several(ADDRESSES),
    "off": VALUES,
    "name": TEXTS,
    "unknown": VALUES,
    "Unknown-2": VALUES,
    "a.b": VALUES,
    "_id": st.just("x"),
}
DOCUMENTS = st.fixed_dictionaries({}, optional=FIELDS)
LINES = DOCUMENTS.map(lambda document: json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
NAMES = count()


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    """With documents read from their bytes in requests of any length."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "RAW_FROM", 1)
        patch.setattr(routes, "PLAIN_FROM", 1)
        backend = Backend()
        yield backend
        backend.close()


def _index(backend: Backend, mapping: dict[str, Any], tolerant: bool = False) -> Index:
    setting = {"index.mapping.ignore_malformed": str(tolerant).lower()}
    index = backend.indices.create(f"i{next(NAMES)}", {"mappings": mapping, "settings": setting})
    backend.documents.bulk([BulkOperation("create", index.name, "first", dict(FIRST))], refresh=True)
    return index


@pytest.fixture(scope="module")
def twins(backend: Backend) -> dict[bool, tuple[Index, Index]]:
    """Two indices alike, that ignore what is malformed or not; they get the same documents."""
    return {
        tolerant: (_index(backend, MAPPING, tolerant), _index(backend, MAPPING, tolerant)) for tolerant in (True, False)
    }


@pytest.fixture(scope="module")
def reader(backend: Backend, twins: dict[bool, tuple[Index, Index]]) -> RawReader:
    index = twins[False][0]
    reader = raw_reader(index.mapping, backend.documents.table(index).schema.columns)
    assert reader is not None
    return reader


def _together(backend: Backend, index: Index, documents: dict[str, bytes]) -> list[Any]:
    body = b"".join(b'{"create":{"_id":"%b"}}\n%b\n' % (name.encode(), line) for name, line in documents.items())
    answer: Any = routes.bulk(backend, Request("POST", "/_bulk", {"index": index.name}, {}, {}, body))
    return list((orjson.loads(answer) if isinstance(answer, bytes) else answer)["items"])


def _one_by_one(backend: Backend, index: Index, documents: dict[str, bytes]) -> list[Any]:
    bulk = backend.documents.bulk
    return [bulk([BulkOperation("create", index.name, name, raw=line)])[0] for name, line in documents.items()]


def _stored(backend: Backend, index: Index, after: int) -> list[Any]:
    """The documents after a sequence number as the index's table has them, field by field."""
    backend.documents.refresh([index])
    schema = backend.documents.table(index).schema
    columns = sorted(schema.columns.values(), key=lambda column: column.path)
    lists = [c.name if c.multi else f"CASE WHEN {c.name} IS NULL THEN NULL ELSE [{c.name}] END" for c in columns]
    cursor = backend.cursor()
    return cursor.execute(
        f"SELECT _id, _source, _seq_no, _version, _routing, coalesce(_ignored, []), {', '.join(lists)} "
        f"FROM {schema.table} WHERE _seq_no > {after} ORDER BY _seq_no"
    ).fetchall()


def _same(items: list[Any]) -> list[Any]:
    return [{**item["create"], "_index": ""} for item in items]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, min_size=1, max_size=4), tolerant=st.booleans())
@example(lines=[b'{"o":{"k":"a"},"tags":["x"],"times":["2026-01-01"],"ips":"10.0.0.1"}'], tolerant=False)
@example(lines=[b'{"f":340282360000000000000000000000000000000}', b'{"d":0.1,"f":0.1}'], tolerant=False)
@example(lines=[b'{"times":"2000-01-01T00:00:00.000500"}'], tolerant=False)
@example(lines=[b'{"k":"a","k":"b","o":{"k":"c"},"o":{}}'], tolerant=False)
def test_what_is_read_together_is_answered_and_stored_as_what_is_read_one_by_one(
    backend: Backend, twins: dict[bool, tuple[Index, Index]], lines: list[bytes], tolerant: bool
) -> None:
    together, single = twins[tolerant]
    documents = {f"d{next(NAMES)}": line for line in lines}
    after = backend.documents.max_seq_no(together)
    assert _same(_together(backend, together, documents)) == _same(_one_by_one(backend, single, documents))
    assert _stored(backend, together, after) == _stored(backend, single, after)
    assert together.mapping.definition == single.mapping.definition


PATCHES = (b"", b",", b"}", b'"', b"{", b"]", b"\\", b"1", b" ", b"\xc3", b'"k":"x",')


@settings(max_examples=200, deadline=None)
@given(line=LINES, cut=st.integers(0, 200), patch=st.sampled_from([*PATCHES]))
def test_what_is_no_json_is_never_plain(reader: RawReader, line: bytes, cut: int, patch: bytes) -> None:
    changed = line[:cut] + patch + line[cut:]
    if reader.matches([changed]):
        twice: set[str] = set()
        json.loads(changed, object_pairs_hook=lambda pairs: twice.update(_twice(pairs)) or dict(pairs))
        assert not twice & {*FIELDS, *INNER, "n"} - {"other", "unknown", "Unknown-2", "off"}, "a known field twice"


def _twice(pairs: list[tuple[str, Any]]) -> list[str]:
    names = [name for name, _ in pairs]
    return [name for name in names if names.count(name) > 1]


def test_ordinary_documents_are_plain(reader: RawReader) -> None:
    """Otherwise the comparisons above would compare the long way with itself."""
    plain: list[dict[str, Any]] = [
        {},
        {
            "@timestamp": "2026-10-01T00:00:00.000Z",
            "k": "Zoë €",
            "l": -5,
            "i": 0,
            "b": -127,
            "d": 1,
            "f": -0.25,
            "t": False,
        },
        {"o": {"p": {"n": 32}, "k": 'a \\ "quoted" name'}, "ip": "10.1.2.3"},
        {"o": None, "ip": None, "tags": ["x", "y"], "times": ["2026-01-01"], "ips": ["10.0.0.1"]},
        {"unknown": ["thing", 1], "off": {"x": 1}},
        {"@timestamp": "2026-10-01T00:00:00.123456+00:00"},
    ]
    for document in plain:
        assert reader.matches([json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()]), document


@pytest.mark.parametrize(
    "line",
    [
        b'{"k":"a","k":"b"}', b'{"o":{"k":"a"},"o":{}}', b'{"k":"a",}', b'{"k":1}', b'{"b":128}', b'{"ip":"::1"}',
        b'{"k":["a","b"]}', b'{"tags":[]}', b'{"tags":["a",null]}', b'{"short":"123456789012345678901"}', b'{"l":-0}',
        b'{"@timestamp":"2026-02-30"}', b'{"name":"has a text of its own"}', b'{"a.b":1}', b'{"_id":"x"}', b'{"}',
        b'{"":1}', b'{"k":"\xc3"}',
    ],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_read_another_way(reader: RawReader, line: bytes) -> None:
    assert not reader.matches([line])


def test_a_document_of_a_stream_is_plain_only_with_its_time(backend: Backend) -> None:
    backend.indices.templates.put_index(
        "with-time", {"index_patterns": ["with-time"], "data_stream": {}, "template": {"mappings": MAPPING}}
    )
    backend.documents.bulk([BulkOperation("create", "with-time", "1", dict(FIRST))])
    index = backend.indices.resolve("with-time")[0]
    backend.documents.refresh([index])
    reader = raw_reader(index.mapping, backend.documents.table(index).schema.columns)
    assert reader is not None
    assert reader.matches([b'{"k":"x","@timestamp":"2026-01-01T00:00:00Z"}'])
    assert not reader.matches([b'{"k":"x"}'])
    assert not reader.matches([b'{"o":{"@timestamp":"2026-01-01T00:00:00Z"}}'])
    assert not reader.matches([b'{"@timestamp":null}'])


def test_the_first_bulk_of_a_stream_finds_no_column_for_its_time(elasticsearch: Elasticsearch) -> None:
    template = {"mappings": MAPPING}
    elasticsearch.indices.put_index_template(
        name="first", index_patterns=["first-*"], data_stream={}, template=template, priority=500
    )
    lines = [line for number in range(600) for line in ({"create": {"_id": f"{number}"}}, FIRST)]
    answer = elasticsearch.bulk(index="first-stream", operations=lines)
    assert {item["create"]["status"] for item in answer["items"]} == {201}


def test_fields_that_differ_in_case_only_are_read_one_by_one(backend: Backend) -> None:
    index = backend.indices.create(
        "cased", {"mappings": {"properties": {"k": {"type": "long"}, "K": {"type": "long"}}}}
    )
    columns = {path: Column(f"c{at}", path, "long", False) for at, path in enumerate("kK")}
    assert raw_reader(index.mapping, columns) is None


def test_the_documents_are_really_read_from_their_bytes(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    index = _index(backend, MAPPING)

    def parsed(*_: object) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(table, "values_of", parsed)
    documents = {str(number): b'{"k":"x","o":{"k":"y"}}' for number in range(40)}
    assert {item["create"]["status"] for item in _together(backend, index, documents)} == {201}
    stored = backend.documents.get(index, "7")
    assert stored is not None
    assert (stored.source, stored.seq_no, stored.version) == (b'{"k":"x","o":{"k":"y"}}', 8, 1)
