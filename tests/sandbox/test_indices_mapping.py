"""Mappings: how documents are parsed, what dynamic mapping adds, which updates are refused."""

from __future__ import annotations

from typing import Any

import pytest
from elasticsearch import BadRequestError, Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.indices.dates import format_date, parse_date
from elastic_sandbox.indices.mapping import Mapping


def mapping(properties: dict[str, Any], settings: dict[str, str] | None = None, **root: Any) -> Mapping:
    return Mapping({"properties": properties, **root}, settings)


@pytest.mark.parametrize(
    ("kind", "value", "indexed"),
    [
        ("keyword", "a", "a"),
        ("keyword", 5, "5"),
        ("keyword", True, "true"),
        ("long", "12", 12),
        ("long", 12.7, 12),
        ("integer", -2147483648, -2147483648),
        ("double", "1.5", 1.5),
        ("float", 0.1, 0.10000000149011612),
        ("boolean", "true", True),
        ("boolean", "", False),
        ("date", "2026-01-31T12:00:00.123+02:00", 1769853600123),
        ("date", 1769853600123, 1769853600123),
        ("date", "2026", 1767225600000),
        ("ip", "2001:DB8::1", "2001:db8::1"),
        ("geo_point", {"lat": 1, "lon": 2}, {"lat": 1, "lon": 2}),
        ("geo_point", [2.0, 1.0], [2.0, 1.0]),
        ("flattened", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("unsigned_long", 2**64 - 1, 2**64 - 1),
    ],
)
def test_a_value_becomes_what_its_field_indexes(kind: str, value: Any, indexed: Any) -> None:
    assert mapping({"f": {"type": kind}}).parse({"f": value}).values == {"f": [indexed]}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("long", "z", 'For input string: "z"'),
        ("short", 40000, "Value [40000] is out of range for a short"),
        ("integer", 2**31, "Value [2147483648] is out of range for an integer"),
        ("float", 1e39, "[float] supports only finite values, but got [1e+39]"),
        ("boolean", "yes", "Failed to parse value [yes] as only [true] or [false] are allowed."),
        ("ip", "host", "'host' is not an IP string literal."),
        ("date", "soon", "failed to parse date field [soon] with format [strict_date_optional_time||epoch_millis]"),
        ("date", "2026-01-31 12:00:00", "failed to parse date field [2026-01-31 12:00:00] with format "
         "[strict_date_optional_time||epoch_millis]"),
        ("keyword", {"a": 1}, "Can't get text on a START_OBJECT at 1:1"),
    ],
)  # fmt: skip
def test_a_malformed_value_fails_the_document(kind: str, value: Any, reason: str) -> None:
    with pytest.raises(ElasticError) as failed:
        mapping({"o": {"properties": {"f": {"type": kind}}}}).parse({"o": {"f": value}}, "7")

    assert failed.value.status == 400
    assert failed.value.type == "document_parsing_exception"
    shown = "{a=1}" if isinstance(value, dict) else value
    assert failed.value.reason.endswith(
        f"failed to parse field [o.f] of type [{kind}] in document with id '7'. Preview of field's value: '{shown}'"
    )
    assert failed.value.caused_by is not None
    assert failed.value.caused_by["reason"] == reason


def test_ignore_malformed_keeps_the_document_and_names_the_field() -> None:
    parsed = mapping({"n": {"type": "long", "ignore_malformed": True}, "m": {"type": "long"}}).parse({"n": "z", "m": 1})

    assert (parsed.values, parsed.ignored) == ({"m": [1]}, ["n"])


def test_logsdb_ignores_malformed_values_by_default_and_a_setting_takes_that_back() -> None:
    fields = {"n": {"type": "long"}}

    assert mapping(fields, {"index.mode": "logsdb"}).parse({"n": "z"}).ignored == ["n"]
    with pytest.raises(ElasticError):
        mapping(fields, {"index.mode": "logsdb", "index.mapping.ignore_malformed": "false"}).parse({"n": "z"})


def test_a_keyword_beyond_ignore_above_is_ignored_on_its_own() -> None:
    fields = {"t": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 3}}}}

    assert mapping(fields).parse({"t": "abc"}).values == {"t": ["abc"], "t.keyword": ["abc"]}
    parsed = mapping(fields).parse({"t": "abcd"})
    assert (parsed.values, parsed.ignored) == ({"t": ["abcd"]}, ["t.keyword"])


def test_an_immense_keyword_is_refused_unless_a_limit_ignores_it() -> None:
    with pytest.raises(ElasticError, match="failed to parse field"):
        mapping({"k": {"type": "keyword"}}).parse({"k": "x" * 40_000})
    assert mapping({"k": {"type": "keyword"}}, {"index.mode": "logsdb"}).parse({"k": "x" * 40_000}).ignored == ["k"]


def test_dotted_names_and_objects_mean_the_same() -> None:
    fields = {"a": {"properties": {"b": {"properties": {"c": {"type": "long"}}}}}}
    made = mapping(fields)

    for source in (
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a": {"b.c": 1}},
        {"a.b": {"c": 1}},
        {"a": [{"b": {"c": 1}}]},
    ):
        assert made.parse(source).values == {"a.b.c": [1]}
    assert mapping({"a.b.c": {"type": "long"}}).to_json() == made.to_json()


def test_values_keep_their_order_over_arrays_of_objects() -> None:
    assert mapping({"a": {"properties": {"n": {"type": "long"}}}}).parse(
        {"a": [{"n": [3, None, 1]}, {"n": 2}]}
    ).values == {"a.n": [3, 1, 2]}


def test_nested_objects_stay_apart() -> None:
    fields = {"top": {"type": "nested", "properties": {"class": {"type": "keyword"}, "p": {"type": "double"}}}}
    parsed = mapping(fields).parse({"top": [{"class": "true", "p": 0.9}, {"class": "false", "p": 0.1}]})

    assert parsed.values == {}
    assert parsed.nested == {"top": [{"top.class": ["true"], "top.p": [0.9]}, {"top.class": ["false"], "top.p": [0.1]}]}


def test_null_value_stands_for_null() -> None:
    fields = {"k": {"type": "keyword", "null_value": "none"}, "n": {"type": "long"}}
    assert mapping(fields).parse({"k": None, "n": None}).values == {"k": ["none"]}


def test_a_disabled_object_takes_anything_and_indexes_nothing() -> None:
    parsed = mapping({"raw": {"type": "object", "enabled": False}}).parse({"raw": {"a": [1, {"b": "x"}]}})
    assert (parsed.values, parsed.new_fields) == ({}, {})


def test_an_object_field_refuses_a_concrete_value() -> None:
    with pytest.raises(ElasticError, match=r"object mapping for \[a\] tried to parse field \[a\] as object"):
        mapping({"a": {"properties": {"b": {"type": "long"}}}}).parse({"a": 1})


def test_metadata_fields_are_refused_inside_documents() -> None:
    with pytest.raises(ElasticError, match=r"Field \[_id\] is a metadata field"):
        mapping({}).parse({"_id": "1"})


class TestConstantKeyword:
    def test_the_first_document_sets_the_value(self) -> None:
        made = mapping({"dataset": {"type": "constant_keyword"}})
        made.parse({"dataset": "a"})

        assert made.to_json()["properties"]["dataset"] == {"type": "constant_keyword", "value": "a"}
        with pytest.raises(ElasticError) as refused:
            made.parse({"dataset": "b"})
        assert refused.value.caused_by is not None
        assert refused.value.caused_by["reason"].endswith("defined in the mappings [a], but got [b]")

    def test_a_failed_document_sets_nothing(self) -> None:
        made = mapping({"dataset": {"type": "constant_keyword"}, "n": {"type": "long"}})
        with pytest.raises(ElasticError):
            made.parse({"dataset": "a", "n": "z"})
        made.parse({"dataset": "b", "n": 1})


class TestDynamic:
    def test_types_follow_json_and_strings_get_a_keyword(self) -> None:
        made = mapping({})
        parsed = made.parse(
            {"s": "x", "n": 1, "d": 1.5, "b": True, "t": "2026-01-31", "o": {"k": "y"}, "e": [], "z": None}
        )

        assert parsed.new_fields == {
            "s": "text", "s.keyword": "keyword", "n": "long", "d": "float", "b": "boolean", "t": "date",
            "o.k": "text", "o.k.keyword": "keyword",
        }  # fmt: skip
        assert parsed.values["o.k.keyword"] == ["y"]
        assert made.parse({"s": "x", "n": 2}).new_fields == {}

    def test_false_ignores_and_strict_refuses_what_is_unknown(self) -> None:
        assert mapping({}, dynamic=False).parse({"a": 1}).values == {}
        with pytest.raises(ElasticError) as refused:
            mapping({}, dynamic="strict").parse({"a": 1})
        assert refused.value.type == "strict_dynamic_mapping_exception"
        assert "dynamic introduction of [a] within [_doc] is not allowed" in refused.value.reason

    def test_an_object_has_its_own_rule(self) -> None:
        made = mapping({"open": {"dynamic": "true", "properties": {}}}, dynamic="false")
        assert made.parse({"open": {"a": 1}, "b": 1}).new_fields == {"open.a": "long"}

    def test_the_first_template_that_matches_decides(self) -> None:
        templates = [
            {"ips": {"path_match": "*.ip", "match_mapping_type": "string", "mapping": {"type": "ip"}}},
            {"longs": {"match": ["n_*", "m_*"], "unmatch": "*_text", "mapping": {"type": "long"}}},
            {"rest": {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 9}}},
        ]
        parsed = mapping({}, dynamic_templates=templates).parse(
            {"source": {"ip": "10.0.0.1"}, "n_a": "5", "n_text": "5", "m_x": 1}
        )
        assert parsed.new_fields == {"source.ip": "ip", "n_a": "long", "n_text": "keyword", "m_x": "long"}

    def test_a_template_without_a_type_takes_the_values_type(self) -> None:
        templates = [{"all": {"match_mapping_type": "*", "mapping": {"type": "{dynamic_type}", "index": False}}}]
        assert mapping({}, dynamic_templates=templates).parse({"a": 1, "b": True}).new_fields == {
            "a": "long",
            "b": "boolean",
        }

    def test_a_document_that_fails_adds_no_field(self) -> None:
        made = mapping({"n": {"type": "long"}})
        with pytest.raises(ElasticError):
            made.parse({"new": 1, "n": "z"})
        assert "new" not in made.fields

    def test_date_detection_can_be_switched_off(self) -> None:
        assert mapping({}, date_detection=False).parse({"t": "2026-01-31"}).new_fields["t"] == "text"

    def test_the_limit_of_fields_refuses_or_ignores(self) -> None:
        limit = {"index.mapping.total_fields.limit": "2"}
        with pytest.raises(
            ElasticError, match=r"Limit of total fields \[2\] has been exceeded while adding new fields"
        ):
            mapping({"a": {"type": "long"}}, limit).parse({"b": 1, "c": 1})

        tolerant = {**limit, "index.mapping.total_fields.ignore_dynamic_beyond_limit": "true"}
        parsed = mapping({"a": {"type": "long"}}, tolerant).parse({"b": 1, "c": 1})
        assert (list(parsed.new_fields), parsed.ignored) == (["b"], ["c"])


class TestUpdates:
    def test_fields_and_multi_fields_are_added(self) -> None:
        made = mapping({"a": {"type": "keyword"}, "o": {"properties": {"x": {"type": "long"}}}})
        made.update(
            {"properties": {"a": {"type": "keyword", "fields": {"t": {"type": "text"}}}, "o.y": {"type": "ip"}}}
        )
        assert set(made.fields) == {"a", "a.t", "o.x", "o.y"}

    @pytest.mark.parametrize(
        ("update", "reason"),
        [
            ({"a": {"type": "long"}}, "mapper [a] cannot be changed from type [keyword] to [long]"),
            ({"o": {"type": "keyword"}}, "can't merge a non object mapping [o] with an object mapping"),
            ({"o": {"type": "nested"}}, "can't merge a non-nested mapping [o] with a nested mapping"),
            (
                {"a": {"type": "keyword", "doc_values": False}},
                "Mapper for [a] conflicts with existing mapper:\n"
                "\tCannot update parameter [doc_values] from [true] to [false]",
            ),
        ],
    )
    def test_a_contradiction_is_refused_and_changes_nothing(self, update: dict[str, Any], reason: str) -> None:
        made = mapping({"a": {"type": "keyword"}, "o": {"properties": {"x": {"type": "long"}}}})
        before = made.to_json()
        with pytest.raises(ElasticError) as refused:
            made.update({"properties": update})
        assert refused.value.reason == reason
        assert made.to_json() == before

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({"properties": {"a": {"type": "nope"}}}, "The mapper type [nope] declared on field [a] does not exist."),
            (
                {"properties": {"a": {"type": "keyword", "x": 1}}},
                "unknown parameter [x] on mapper [a] of type [keyword]",
            ),
            ({"propertys": {}}, "Root mapping definition has unsupported parameters:  [propertys : {}]"),
            ({"properties": {"a": {"analyzer": "x"}}}, "No type specified for field [a]"),
        ],
    )
    def test_a_definition_that_cannot_be_is_refused(self, body: dict[str, Any], reason: str) -> None:
        with pytest.raises(ElasticError) as refused:
            Mapping(body)
        assert refused.value.type == "mapper_parsing_exception"
        assert refused.value.reason.startswith(f"Failed to parse mapping: {reason}")

    def test_what_the_sandbox_has_not_is_a_501(self) -> None:
        for body in (
            {"type": "dense_vector"},
            {"type": "keyword", "copy_to": "all"},
            {"type": "text", "analyzer": "english"},
        ):
            with pytest.raises(ElasticError) as refused:
                mapping({"a": body})
            assert refused.value.status == 501


def test_a_mapping_read_back_makes_the_same_mapping(elasticsearch: Elasticsearch) -> None:
    properties = {
        "o": {"properties": {"x": {"type": "scaled_float", "scaling_factor": 100.0}}},
        "n": {"type": "nested", "properties": {"k": {"type": "keyword"}}},
        "t": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}},
    }
    elasticsearch.indices.create(
        index="a", mappings={"_meta": {"by": "test"}, "dynamic": "strict", "properties": properties}
    )
    shown = elasticsearch.indices.get_mapping(index="a")["a"]["mappings"]

    elasticsearch.indices.create(index="b", mappings=shown)
    elasticsearch.indices.put_mapping(index="a", **shown)

    assert elasticsearch.indices.get_mapping(index="b")["b"]["mappings"] == shown
    assert elasticsearch.indices.get_mapping(index="a")["a"]["mappings"] == shown
    assert shown["properties"] == properties
    with pytest.raises(BadRequestError, match=r"mapper \[t\] cannot be changed from type \[text\] to \[keyword\]"):
        elasticsearch.indices.put_mapping(index="a", properties={"t": {"type": "keyword"}})


@pytest.mark.parametrize(
    ("text", "pattern", "ms"),
    [
        ("2026-01-31T12:00:00Z", "strict_date_optional_time", 1769860800000),
        ("2026-01-31T12", "strict_date_optional_time", 1769860800000),
        ("2026-01", "strict_date_optional_time", 1767225600000),
        ("31/01/2026 12:00:00", "dd/MM/yyyy HH:mm:ss", 1769860800000),
        ("31-JAN-26 12.00.00 PM +02:00", "dd-MMM-yy hh.mm.ss a XXX", 1769853600000),
        ("1769860800", "epoch_second", 1769860800000),
        ("20260131", "basic_date||epoch_millis", 1769817600000),
    ],
)
def test_dates_are_read_by_format(text: str, pattern: str, ms: int) -> None:
    assert parse_date(text, pattern) == ms


@given(st.integers(min_value=-2_000_000_000_000, max_value=4_000_000_000_000))
def test_a_printed_date_reads_back(ms: int) -> None:
    assert parse_date(format_date(ms)) == ms
    assert parse_date(format_date(ms, "yyyy-MM-dd HH:mm:ss.SSS"), "yyyy-MM-dd HH:mm:ss.SSS") == ms


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (270_000_000_000_000, "+10525-12-17T00:00:00.000Z"),  # a sum of 150 dates, as an aggregation prints it
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "+10000-01-01T00:00:00.000Z"),
        (-62_167_219_200_001, "-0001-12-31T23:59:59.999Z"),
    ],
)
def test_a_date_beyond_four_digits_is_printed_with_its_sign(ms: int, text: str) -> None:
    assert format_date(ms) == text
    assert format_date(ms, "yyyy-MM-dd") == text[: text.index("T")]
