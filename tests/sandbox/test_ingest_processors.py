"""Ingest processors one by one: what they do to a document, and how they fail."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_sandbox.backend import Backend
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest import DROPPED, Failure, IngestDocument
from elastic_sandbox.ingest.definition import compile_pipeline
from elastic_sandbox.ingest.processors.hashing import METHODS, value_bytes


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    backend = Backend()
    yield backend
    backend.close()


class Ran:
    """One document after one processor."""

    def __init__(self, backend: Backend, processor: dict[str, Any], source: dict[str, Any]) -> None:
        self.document = IngestDocument(
            source, {"_index": "logs", "_id": "7"}, {"timestamp": "2026-01-31T10:00:00.000Z"}
        )
        pipeline = compile_pipeline(backend, "p", {"processors": [processor]})
        self.result = pipeline.run([self.document])[0]

    @property
    def source(self) -> dict[str, Any]:
        assert self.result is None, self.result
        return self.document.source

    @property
    def reason(self) -> str:
        assert isinstance(self.result, Failure), self.document.source
        return self.result.error.reason


@pytest.mark.parametrize(
    ("processor", "source", "expected"),
    [
        ({"set": {"field": "a.b", "value": 1}}, {}, {"a": {"b": 1}}),
        ({"set": {"field": "a", "value": "{{x}} in {{_index}}/{{{_id}}}"}}, {"x": 5}, {"x": 5, "a": "5 in logs/7"}),
        ({"set": {"field": "a", "value": "{{{_ingest.timestamp}}}"}}, {}, {"a": "2026-01-31T10:00:00.000Z"}),
        ({"set": {"field": "a", "value": "{{x}}|{{{x}}}"}}, {"x": 'q"'}, {"x": 'q"', "a": 'q\\"|q"'}),
        ({"set": {"field": "a", "value": "{{x}}", "media_type": "text/plain"}}, {"x": '"'}, {"x": '"', "a": '"'}),
        ({"set": {"field": "a", "value": {"k": ["{{x}}", 2]}}}, {"x": 1}, {"x": 1, "a": {"k": ["1", 2]}}),
        ({"set": {"field": "{{x}}.c", "value": 1}}, {"x": "b"}, {"x": "b", "b": {"c": 1}}),
        ({"set": {"field": "a", "value": 2, "override": False}}, {"a": 1}, {"a": 1}),
        ({"set": {"field": "a", "value": 2, "override": False}}, {"a": None}, {"a": 2}),
        ({"set": {"field": "a", "value": "{{b}}", "ignore_empty_value": True}}, {"a": 1}, {"a": 1}),
        ({"set": {"field": "a", "copy_from": "b.c"}}, {"b": {"c": [1]}}, {"b": {"c": [1]}, "a": [1]}),
        ({"set": {"field": "l.0.x", "value": 1}}, {"l": [{}]}, {"l": [{"x": 1}]}),
        ({"remove": {"field": ["a", "b.c"]}}, {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2}}),
        ({"remove": {"field": "a", "ignore_missing": True}}, {}, {}),
        (
            {"remove": {"keep": ["a", "b.c"]}},
            {"a": {"x": 1}, "b": {"c": 1, "d": 1}, "e": 1},
            {"a": {"x": 1}, "b": {"c": 1}},
        ),
        ({"rename": {"field": "a.b", "target_field": "c"}}, {"a": {"b": 1}}, {"a": {}, "c": 1}),
        ({"rename": {"field": "a", "target_field": "c", "ignore_missing": True}}, {}, {}),
        ({"append": {"field": "t", "value": ["x", "{{y}}"]}}, {"y": "z"}, {"y": "z", "t": ["x", "z"]}),
        ({"append": {"field": "t", "value": "x"}}, {"t": "w"}, {"t": ["w", "x"]}),
        ({"append": {"field": "t", "value": ["x", "w"], "allow_duplicates": False}}, {"t": ["w"]}, {"t": ["w", "x"]}),
        ({"append": {"field": "t", "value": "w", "allow_duplicates": False}}, {"t": "w"}, {"t": "w"}),
        ({"rename": {"field": "{{nope}}", "target_field": "c", "ignore_missing": True}}, {"a": 1}, {"a": 1}),
        ({"dot_expander": {"field": "a.b"}}, {"a.b": 1, "a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"json": {"field": "j", "target_field": "o"}}, {"j": '{"a": 1}'}, {"j": '{"a": 1}', "o": {"a": 1}}),
        ({"json": {"field": "j", "add_to_root": True}}, {"j": '{"a": 1}'}, {"j": '{"a": 1}', "a": 1}),
        ({"lowercase": {"field": "a"}}, {"a": ["X", "Y"]}, {"a": ["x", "y"]}),
        ({"uppercase": {"field": "a", "target_field": "b"}}, {"a": "x"}, {"a": "x", "b": "X"}),
        ({"trim": {"field": "a"}}, {"a": " x\t\n"}, {"a": "x"}),
        ({"trim": {"field": "a", "ignore_missing": True}}, {"a": None}, {"a": None}),
        ({"gsub": {"field": "a", "pattern": r"(\w)-(\w)", "replacement": "$2.$1"}}, {"a": "x-y"}, {"a": "y.x"}),
        ({"split": {"field": "a", "separator": r"\s+"}}, {"a": "x y  z "}, {"a": ["x", "y", "z"]}),
        ({"split": {"field": "a", "separator": ",", "preserve_trailing": True}}, {"a": "x,,"}, {"a": ["x", "", ""]}),
        ({"join": {"field": "a", "separator": "-"}}, {"a": ["x", 1, True]}, {"a": "x-1-true"}),
        ({"convert": {"field": "a", "type": "integer"}}, {"a": ["1", "0x10", 3]}, {"a": [1, 16, 3]}),
        ({"convert": {"field": "a", "type": "long"}}, {"a": "3000000000"}, {"a": 3_000_000_000}),
        ({"convert": {"field": "a", "type": "double"}}, {"a": "1e3"}, {"a": 1000.0}),
        ({"convert": {"field": "a", "type": "float"}}, {"a": "0.1"}, {"a": 0.1}),
        ({"convert": {"field": "a", "type": "boolean"}}, {"a": "TRUE"}, {"a": True}),
        ({"convert": {"field": "a", "type": "string", "target_field": "b"}}, {"a": 1.0}, {"a": 1.0, "b": "1.0"}),
        ({"convert": {"field": "a", "type": "ip"}}, {"a": "::1"}, {"a": "::1"}),
        ({"convert": {"field": "a", "type": "auto"}}, {"a": ["true", "7", "1.5", "x"]}, {"a": [True, 7, 1.5, "x"]}),
        ({"convert": {"field": "a", "type": "long", "ignore_missing": True}}, {}, {}),
        (
            {"foreach": {"field": "l", "processor": {"uppercase": {"field": "_ingest._value.n"}}}},
            {"l": [{"n": "a"}, {"n": "b"}]},
            {"l": [{"n": "A"}, {"n": "B"}]},
        ),
        (
            {
                "foreach": {
                    "field": "m",
                    "processor": {"set": {"field": "_ingest._value", "value": "{{_ingest._key}}!"}},
                }
            },
            {"m": {"a": 1}},
            {"m": {"a": "a!"}},
        ),
        ({"script": {"source": "ctx.a = params.k + ctx.b.size()", "params": {"k": 1}}}, {"b": [1]}, {"b": [1], "a": 2}),
        ({"script": "ctx.remove('a'); ctx.tag = ctx._index"}, {"a": 1}, {"tag": "logs"}),
        ({"script": "if (ctx.ml == null) { ctx.ml = [:] } ctx.ml.x = 1"}, {}, {"ml": {"x": 1}}),
    ],
)
def test_processors_change_the_document(
    backend: Backend, processor: dict[str, Any], source: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert Ran(backend, processor, source).source == expected


@pytest.mark.parametrize(
    ("processor", "source", "reason"),
    [
        ({"set": {"field": "a", "copy_from": "b.c"}}, {"b": {}}, "field [c] not present as part of path [b.c]"),
        (
            {"set": {"field": "a.b", "value": 1}},
            {"a": "text"},
            "cannot set [b] with parent object of type [java.lang.String] as part of path [a.b]",
        ),
        (
            {"set": {"field": "l.5", "value": 1}},
            {"l": [1]},
            "[5] is out of bounds for array with length [1] as part of path [l.5]",
        ),
        (
            {"set": {"field": "l.x", "value": 1}},
            {"l": [1]},
            "[x] is not an integer, cannot be used as an index as part of path [l.x]",
        ),
        ({"remove": {"field": "a.b"}}, {"a": {}}, "field [b] not present as part of path [a.b]"),
        ({"rename": {"field": "a", "target_field": "b"}}, {}, "field [a] doesn't exist"),
        ({"rename": {"field": "a", "target_field": "b"}}, {"a": 1, "b": 1}, "field [b] already exists"),
        ({"lowercase": {"field": "a"}}, {}, "field [a] not present as part of path [a]"),
        ({"lowercase": {"field": "a"}}, {"a": None}, "field [a] is null, cannot process it."),
        (
            {"lowercase": {"field": "a"}},
            {"a": 1},
            "field [a] of type [java.lang.Integer] cannot be cast to [java.lang.String]",
        ),
        ({"convert": {"field": "a", "type": "integer"}}, {"a": "1.5"}, "unable to convert [1.5] to integer"),
        (
            {"convert": {"field": "a", "type": "integer"}},
            {"a": "3000000000"},
            "unable to convert [3000000000] to integer",
        ),
        (
            {"convert": {"field": "a", "type": "boolean"}},
            {"a": "yes"},
            "[yes] is not a boolean value, cannot convert to boolean",
        ),
        ({"convert": {"field": "a", "type": "ip"}}, {"a": "10.0.0"}, "'10.0.0' is not an IP string literal."),
        (
            {"convert": {"field": "a", "type": "long"}},
            {"a": None},
            "Field [a] is null, cannot be converted to type [long]",
        ),
        (
            {"join": {"field": "a", "separator": "-"}},
            {"a": "x"},
            "field [a] of type [java.lang.String] cannot be cast to [java.util.List]",
        ),
        ({"fail": {"message": "no {{x}}"}}, {"x": "luck"}, "no luck"),
        ({"fingerprint": {"fields": ["a"]}}, {}, "missing field [a] when calculating fingerprint"),
        ({"pipeline": {"name": "nope"}}, {}, "Pipeline processor configured for non-existent pipeline [nope]"),
        ({"set": {"field": "_index", "value": {}}}, {}, None),
        (
            {"dot_expander": {"field": "a.b"}},
            {"a.b": 1, "a": 2},
            "cannot expand [a.b], because [a] is not an object field, but a value field",
        ),
    ],
)
def test_processors_fail_with_the_server_s_words(
    backend: Backend, processor: dict[str, Any], source: dict[str, Any], reason: str | None
) -> None:
    failed = Ran(backend, processor, source).reason
    assert reason is None or failed == reason


def test_a_dotted_key_is_not_the_path_of_an_object(backend: Backend) -> None:
    ran = Ran(backend, {"set": {"field": "x", "copy_from": "event.id", "ignore_empty_value": True}}, {"event.id": "1"})
    assert ran.source == {"event.id": "1"}
    assert Ran(backend, {"set": {"field": "x", "copy_from": "event.id"}}, {"event.id": "1"}).reason == (
        "field [event] not present as part of path [event.id]"
    )


def test_metadata_fields_are_not_part_of_the_source(backend: Backend) -> None:
    ran = Ran(backend, {"set": {"field": "_id", "value": "{{event.id}}"}}, {"event": {"id": "e1"}})
    assert ran.source == {"event": {"id": "e1"}}
    assert ran.document.metadata["_id"] == "e1"


def test_drop_is_neither_kept_nor_failed(backend: Backend) -> None:
    assert Ran(backend, {"drop": {"if": "ctx.n > 1"}}, {"n": 2}).result is DROPPED
    assert Ran(backend, {"drop": {"if": "ctx.n > 1"}}, {"n": 1}).result is None


@pytest.mark.parametrize(
    ("options", "source", "expected"),
    [
        ({"formats": ["ISO8601"]}, "2026-01-31T10:00:00+02:00", "2026-01-31T08:00:00.000Z"),
        ({"formats": ["ISO8601"]}, "2026-01-31", "2026-01-31T00:00:00.000Z"),
        ({"formats": ["ISO8601"]}, "2026-01-31T10:00:00.123456Z", "2026-01-31T10:00:00.123Z"),
        ({"formats": ["ISO8601"], "timezone": "Europe/Berlin"}, "2026-07-01T10:00", "2026-07-01T10:00:00.000+02:00"),
        ({"formats": ["UNIX"]}, "1767225600.5", "2026-01-01T00:00:00.500Z"),
        ({"formats": ["UNIX"]}, 1767225600, "2026-01-01T00:00:00.000Z"),
        ({"formats": ["UNIX_MS"]}, 1767225600123, "2026-01-01T00:00:00.123Z"),
        ({"formats": ["dd/MMM/yyyy:HH:mm:ss Z"]}, "02/Feb/2026:10:00:00 +0100", "2026-02-02T09:00:00.000Z"),
        ({"formats": ["yyyy-MM-dd HH:mm:ss[.SSS]"]}, "2026-02-02 10:00:00", "2026-02-02T10:00:00.000Z"),
        ({"formats": ["yyyy-MM-dd HH:mm:ss[.SSS]"]}, "2026-02-02 10:00:00.250", "2026-02-02T10:00:00.250Z"),
        ({"formats": ["UNIX_MS", "yyyyMMdd"]}, "20260202", "1970-01-01T05:37:40.202Z"),
        ({"formats": ["MM/dd/yy hh:mm a"]}, "02/03/26 12:05 AM", "2026-02-03T00:05:00.000Z"),
    ],
)
def test_date_reads_its_formats(backend: Backend, options: dict[str, Any], source: Any, expected: str) -> None:
    ran = Ran(backend, {"date": {"field": "t", **options}}, {"t": source})
    assert ran.source["@timestamp"] == expected


def test_date_gives_local_hour_weekday_and_date(backend: Backend) -> None:
    def local(pattern: str) -> str:
        options = {"field": "@timestamp", "formats": ["ISO8601"], "timezone": "{{{tz}}}", "target_field": "out"}
        source = {"@timestamp": "2026-01-04T23:30:00.000Z", "tz": "Europe/Berlin"}
        return str(Ran(backend, {"date": {**options, "output_format": pattern}}, source).source["out"])

    assert local("H") == "0"
    assert local("yyyy-MM-dd") == "2026-01-05"
    assert local("e") == "1"  # Monday: the output is formatted in the root locale, whose week starts on Monday
    assert local("EEE d MMM yyyy, HH:mm:ss.SSS XXX") == "Mon 5 Jan 2026, 00:30:00.000 +01:00"
    assert local("'T'HHmm''VV") == "T0030'Europe/Berlin"


@pytest.mark.parametrize(
    ("options", "value", "cause"),
    [
        ({"formats": ["ISO8601"]}, "yesterday", "failed to parse date field [yesterday] with format [iso8601]"),
        ({"formats": ["ISO8601"]}, "2026-02-30", None),
        ({"formats": ["ISO8601"], "timezone": "{{{tz}}}"}, "2026-01-31", "Invalid ID for ZoneId, invalid format: "),
        ({"formats": ["ISO8601"], "timezone": "Mars/Olympus"}, "2026-01-31", "Unknown time-zone ID: Mars/Olympus"),
        ({"formats": ["UNIX_MS"]}, None, "text is null"),
    ],
)
def test_a_date_that_cannot_be_read_names_the_value(
    backend: Backend, options: dict[str, Any], value: Any, cause: str | None
) -> None:
    ran = Ran(backend, {"date": {"field": "t", **options}}, {"t": value})
    assert ran.reason == f"unable to parse date [{'null' if value is None else value}]"
    assert isinstance(ran.result, Failure)
    assert ran.result.error.caused_by is not None
    assert cause is None or ran.result.error.caused_by["reason"] == cause


# Vectors of Elasticsearch's own FingerprintProcessorTests.
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("MD5", "b+3QyaPYdnUF1lb5IKE+1g=="),
        ("SHA-1", "SX/93t223OurJvgMUOCtSl9hcpg="),
        ("SHA-256", "zDQYTy34tBlmNedlDdn++N7NN+wBY15mCoPDINmUxXc="),
        ("SHA-512", "xNIpYyJzRmg5R0T44ZORC2tgh8N4tVtTFzD5AdBqxmdOuRUjibQQ64lgefkbuZFl8Hv9ze9U6PAmrlgJPcRPGA=="),
        ("MurmurHash3", "yjfaOoy2UQ3EHZRAzFK9sw=="),
    ],
)
def test_fingerprints_equal_elasticsearch_s(backend: Backend, method: str, expected: str) -> None:
    ran = Ran(backend, {"fingerprint": {"fields": ["foo", "bar"], "method": method}}, {"foo": "foo", "bar": "bar"})
    assert ran.source["fingerprint"] == expected


@pytest.mark.parametrize(
    ("options", "source", "expected"),
    [
        ({"fields": ["foo", "bar"]}, {"foo": "fooValue", "bar": "barValue"}, "IgxzmZVknx4+Og/eUpvIlqH9PdI="),
        ({"fields": ["foo"], "salt": "salt"}, {"foo": "foo"}, "rWTTCYvRPQAzKXydmKwyC+//dmM="),
        ({"fields": ["foo", "bar", "baz"], "ignore_missing": True}, {"foo": "foo"}, "WoyqQDn9vALAGmScjA9Z2yg7sos="),
        (
            {"fields": ["foo", "bar", "baz"], "ignore_missing": True},
            {"foo": "foo", "bar": "foo", "baz": "foo"},
            "2Ozd89kaee2AnbrjU8zB6QGn9Wo=",
        ),
    ],
)
def test_fingerprints_salt_and_skip_as_elasticsearch_does(
    backend: Backend, options: dict[str, Any], source: dict[str, Any], expected: str
) -> None:
    assert Ran(backend, {"fingerprint": options}, source).source["fingerprint"] == expected


def test_a_fingerprint_walks_lists_and_maps_in_a_fixed_order(backend: Backend) -> None:
    source = {"foo": {"list": [True, {"abc": "def"}, 3.14], "alpha": 7}, "bar": None}
    seen = b"".join(
        b"\x00" + part
        for part in (b"alpha", struct.pack("<i", 7), b"list", b"\x01", b"abc", b"def", struct.pack("<d", 3.14))
    )
    expected = base64.b64encode(hashlib.sha1(seen).digest()).decode()
    ran = Ran(backend, {"fingerprint": {"fields": ["foo", "bar"], "ignore_missing": True}}, source)
    assert ran.source["fingerprint"] == expected
    assert len(value_bytes(2**40)) == 8


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40))
def test_murmur_hash_3_is_the_128_bit_variant_of_the_published_algorithm(data: bytes) -> None:
    assert METHODS["MurmurHash3"](data) == _murmur3_x64_128(data)


def _murmur3_x64_128(data: bytes) -> bytes:
    """Austin Appleby's MurmurHash3_x64_128 with seed 0, written from its description; halves big-endian."""
    mask = 2**64 - 1
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F

    def rotate(value: int, bits: int) -> int:
        return ((value << bits) | (value >> (64 - bits))) & mask

    def mix(value: int) -> int:
        value = ((value ^ (value >> 33)) * 0xFF51AFD7ED558CCD) & mask
        value = ((value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53) & mask
        return value ^ (value >> 33)

    h1 = h2 = 0
    whole = len(data) // 16 * 16
    for at in range(0, whole, 16):
        k1, k2 = struct.unpack_from("<QQ", data, at)
        h1 ^= rotate(k1 * c1 & mask, 31) * c2 & mask
        h1 = ((rotate(h1, 27) + h2) * 5 + 0x52DCE729) & mask
        h2 ^= rotate(k2 * c2 & mask, 33) * c1 & mask
        h2 = ((rotate(h2, 31) + h1) * 5 + 0x38495AB5) & mask
    tail = data[whole:]
    h2 ^= rotate(int.from_bytes(tail[8:], "little") * c2 & mask, 33) * c1 & mask
    h1 ^= rotate(int.from_bytes(tail[:8], "little") * c1 & mask, 31) * c2 & mask
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & mask
    h2 = (h2 + h1) & mask
    h1, h2 = mix(h1), mix(h2)
    h1 = (h1 + h2) & mask
    h2 = (h2 + h1) & mask
    return struct.pack(">QQ", h1, h2)


@pytest.mark.parametrize("processor", ["grok", "dissect", "geoip", "user_agent", "kv", "reroute"])
def test_processors_the_sandbox_lacks_are_refused_when_the_pipeline_is_put(backend: Backend, processor: str) -> None:
    with pytest.raises(ElasticError, match=rf"ingest processor \[{processor}\]") as caught:
        compile_pipeline(backend, "p", {"processors": [{processor: {"field": "message"}}]})
    assert caught.value.status == 501
