"""Filters do what Logstash's do, in its order, with its traps."""

from datetime import UTC, datetime
from typing import Any

import pytest

from elastic_sandbox.logstash.conditions import ConditionError, build
from elastic_sandbox.logstash.config import Branch, ConfigError, parse, plugins
from elastic_sandbox.logstash.event import Event, FieldError
from elastic_sandbox.logstash.filters import FILTERS
from elastic_sandbox.logstash.inputs import utf8
from elastic_sandbox.logstash.plugin import Settings
from elastic_sandbox.logstash.regex import compiled, grok
from elastic_sandbox.logstash.variables import substituted

NOW = datetime(2026, 5, 28, 12, tzinfo=UTC)


def run(text: str, **fields: Any) -> Event:
    """The event after the filters in `text`."""
    event = Event(fields, NOW)
    for plugin in plugins(parse(f"filter {{ {text} }}", "a.conf")["filter"]):
        FILTERS[plugin.name](Settings(plugin, plugin.settings))(event)
    return event


def holds(text: str, **fields: Any) -> bool:
    [branch] = parse(f"filter {{ if {text} {{ drop {{}} }} }}", "a.conf")["filter"]
    assert isinstance(branch, Branch)
    assert branch.arms[0][0] is not None
    return build(branch.arms[0][0], lambda value: value)(Event(fields, NOW))


def test_mutate_has_an_order_of_its_own():
    event = run(
        'mutate { copy => { "a" => "b" } uppercase => ["a"] replace => { "a" => "x%{c}" } rename => { "d" => "c" } }',
        d="y",
    )
    assert (event.get("a"), event.get("b")) == ("XY", "XY")


def test_an_operation_that_fails_ends_the_others_and_tags():
    event = run('mutate { convert => { "a" => "float" } copy => { "a" => "b" } add_field => { "c" => "1" } }', a="fast")
    assert event.get("tags") == ["_mutate_error"]
    assert (event.get("b"), event.get("c")) == (None, None)


def test_add_field_makes_a_list_of_a_field_that_is_there():
    event = run(
        'mutate { add_field => { "a" => "2" "[b][c]" => "%{a}" } remove_field => ["d"] add_tag => ["t"] }', a="1", d=0
    )
    assert event.get("a") == ["1", "2"]
    assert event.get("[b][c]") == "1,2"
    assert event.get("tags") == ["t"]
    assert not event.include("d")


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("integer", "12abc", 12), ("integer", "1,234", 1234), ("integer", "0x1A", 26), ("integer", True, 1),
        ("float", "12.7", 12.7), ("float", 3, 3.0), ("boolean", "yes", True), ("boolean", "0", False),
        ("boolean", "perhaps", "perhaps"), ("string", 12.5, "12.5"), ("string", True, "true"),
        ("integer", ["1", None], [1, None]), ("float", {"a": "1"}, {"a": "1"}),
    ],
)  # fmt: skip
def test_conversions(kind: str, value: Any, expected: Any):
    assert run(f'mutate {{ convert => {{ "a" => "{kind}" }} }}', a=value).get("a") == expected


def test_strings_are_cut_joined_merged_and_replaced():
    event = run(
        'mutate { gsub => ["a", "\\s+", " "] split => { "b" => "," } join => { "c" => "-" } merge => { "d" => "e" }'
        ' strip => ["f"] }',
        a="x \n y", b="1,2,,", c=["1", 2], d="1", e=["2"], f="  z ",
    )  # fmt: skip
    assert [event.get(name) for name in "abcdf"] == ["x y", ["1", "2"], "1-2", ["1", "2"], "z"]


def test_grok_drops_empty_captures_lists_second_ones_and_converts():
    event = run(
        'grok { match => { "message" => "\\Aa=%{NUMBER:a:float} (?<[b][c]>x*)%{WORD:w} %{WORD:w}" } }',
        message="a=1.5 q r",
    )
    assert event.get("a") == 1.5
    assert event.get("b") is None
    assert event.get("w") == ["q", "r"]


def test_two_groks_on_one_field_tag_every_event_and_a_lazy_end_is_empty():
    usual = (
        'grok { match => { "message" => "%{TIMESTAMP_ISO8601:t} %{WORD:event} user=%{DATA:user}" } }'
        'grok { match => { "message" => "%{TIMESTAMP_ISO8601:t} PREDICT id=%{WORD:id}" } }'
    )
    event = run(usual, message="2026-05-28T10:15:30Z moved user=alice")
    assert event.get("tags") == ["_grokparsefailure"]
    assert event.get("user") is None


def test_line_anchors_are_those_of_a_line_and_text_anchors_those_of_the_text():
    assert compiled("^b$").search("a\nb\nc")
    assert not compiled(r"\Ab\z").search("a\nb\nc")
    assert compiled(r"a\Z").search("a\n")
    assert not compiled("a.b").search("a\nb")
    assert compiled("(?m:a.b)").search("a\nb")
    assert compiled(r"\h+").fullmatch("0aF")
    assert not compiled(r"\w").search("é")


@pytest.mark.parametrize("pattern", [r"\p{L}", r"\K", "[a[b]]", "[[:alpha:]]", "(?m)a.b", "a(", r"\R"])
def test_what_python_cannot_do_is_refused(pattern: str):
    with pytest.raises(ConfigError):
        compiled(pattern)


def test_unknown_and_circular_grok_patterns_are_refused():
    with pytest.raises(ConfigError, match="knows no pattern NOPE"):
        grok("%{NOPE:a}", {})
    with pytest.raises(ConfigError, match="contains itself"):
        grok("%{A}", {"A": "%{B}", "B": "%{A}"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-28T10:15:30Z", "2026-05-28T10:15:30+00:00"),
        ("2026-05-28T10:15:30.123456+02:00", "2026-05-28T08:15:30.123000+00:00"),
        ("2026-05-28T10:15:30,5", "2026-05-28T08:15:30.500000+00:00"),
        ("2026-05-28 10:15:30.123", "2026-05-28T08:15:30.123000+00:00"),
        ("2026-05-28 10:15:30,123Z", "2026-05-28T10:15:30.123000+00:00"),
        ("2026-05-28", "2026-05-27T22:00:00+00:00"),
        ("2026-05-28 10:15:30", None),
        ("2026/05/28 10:15:30", None),
        ("2026-02-31T10:15:30Z", None),
        ("28", None),
    ],
)
def test_iso8601_is_joda_s_and_the_four_spellings_beside_it(text: str, expected: str | None):
    event = run('date { match => ["t", "ISO8601"] timezone => "Europe/Berlin" }', t=text)
    if expected is None:
        assert event.get("tags") == ["_dateparsefailure"]
        assert event.get("@timestamp") == NOW
    else:
        assert event.get("@timestamp").isoformat() == expected


def test_a_pattern_of_joda_s_names_months_in_english():
    event = run(
        'date { match => ["t", "MMM d HH:mm:ss yyyy ZZ"] locale => "en" timezone => "UTC" }',
        t="Oct 7 11:58:08 2026 -04:00",
    )
    assert event.get("@timestamp").isoformat() == "2026-10-07T15:58:08+00:00"
    with pytest.raises(ConfigError, match="locale"):
        run('date { match => ["t", "MMM d yyyy"] timezone => "UTC" }', t="Oct 7 2026")


def test_json_goes_into_the_root_or_a_target_and_tags_what_is_none():
    assert (
        run('json { source => "message" }', message='{"a":{"b":1},"@timestamp":"2026-01-01T00:00:00Z"}').get("[a][b]")
        == 1
    )
    late = run('json { source => "message" }', message='{"@timestamp":"yesterday"}')
    assert late.get("tags") == ["_timestampparsefailure"]
    assert late.get("_@timestamp") == "yesterday"
    for text in ("[1]", "{", "NaN", '{"tags":{"a":1}}'):
        assert run('json { source => "message" tag_on_failure => ["x"] }', message=text).get("tags") == ["x"]
    assert run('json { source => "message" target => "d" }', message="[1]").get("d") == [1]


def test_pairs_with_spaces_quotes_and_repeats():
    text = (
        'kv { source => "m" target => "p" field_split_pattern => "\\s+(?=[a-z]+=)" whitespace => "strict"'
        " include_brackets => false }"
    )
    assert run(text, m='a=x y b="q r" c= d=1 d=2 e=O\'Neil (f)').get("p") == {
        "a": "x y", "b": "q r", "d": ["1", "2"], "e": "O'Neil (f)",
    }  # fmt: skip
    assert run('kv { source => "m" }', m="a = 1 b=[x y] c").get("b") == "x y"


def test_fingerprints_are_those_of_the_plugin():
    event = run('fingerprint { source => ["a"] target => "h" method => "SHA256" }', a="abc")
    assert event.get("h") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    both = 'fingerprint { source => ["b", "a"] target => "h" method => "SHA256" concatenate_sources => true }'
    alone = run('fingerprint { source => ["x"] target => "h" method => "SHA256" }', x="|a|1|b|2.5|").get("h")
    assert run(both, a="1", b=2.5).get("h") == alone


def test_texts_are_cut_between_characters_and_looked_up():
    assert run('truncate { fields => ["a"] length_bytes => 3 }', a="äää").get("a") == "ä"
    look = 'translate { source => "a" target => "b" dictionary => { "1" => "one" } fallback => "no %{a}" }'
    assert run(look, a="1").get("b") == "one"
    assert run(look, a=2).get("b") == "no 2"
    assert run(look, a="1", b="kept").get("b") == "kept"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('mutate { nope => 1 }', "Unknown setting 'nope'"),
        ('mutate { capitalize => ["a"] }', "not supported by the runner"),
        ('json { target => "a" }', "Missing a required setting: source"),
        ('date { match => ["t", "UNIX"] }', "UNIX is not supported"),
        ('date { match => ["t", "yyyy"] timezone => "Mars/Base" }', "is no time zone"),
        ('grok { match => { "a" => "%{WORD:b:bool}" } }', "int and float only"),
        ('grok { break_on_match => maybe }', "true or false"),
        ('fingerprint { method => "MURMUR3" }', "MURMUR3 is not supported"),
    ],
)  # fmt: skip
def test_what_is_not_executed_is_refused_naming_plugin_and_setting(text: str, problem: str):
    with pytest.raises(ConfigError, match=r"a\.conf:1: ") as refused:
        run(text)
    assert problem in str(refused.value)


def test_conditions_compare_as_logstash_does():
    assert holds('[a] == "1"', a="1")
    assert not holds('[a] == "1"', a=1)
    assert not holds("[a] == 1", a=True)
    assert holds("[a]", a=0)
    assert not holds("[a]", a="")
    assert not holds("[a]", a=False)
    assert holds('"b" in [a]', a="abc")
    assert holds('"b" in [a]', a=["a", "b"])
    assert holds('[a] in ["1", "2"]', a=1)
    assert not holds('[a] in ["b"]', a="b")
    assert not holds("[a] =~ /1/", a=1)
    assert holds("[a] !~ /1/")
    assert holds('[a][-1] == "z"', a=["y", "z"])
    with pytest.raises(ConditionError):
        holds("[a] > 5", a="6")


def test_references_that_are_none_and_values_in_the_way_are_errors():
    event = Event({"a": "text"}, NOW)
    for reference, value in (("[a][b]", 1), ("a[b", 1), ("tags", {"x": 1}), ("@timestamp", "now"), ("@metadata", 1)):
        with pytest.raises(FieldError):
            event.set(reference, value)
    assert event.sprintf("%{[a][b]} %{a} %{@timestamp}") == "%{[a][b]} text 2026-05-28T12:00:00.000Z"


def test_variables_come_from_one_place_have_defaults_and_may_be_lists():
    assert substituted(["${A}", "${B:x}-${A}"], {"A": "1"}) == ["1", "x-1"]
    assert substituted("${A}", {"A": '["a", "b"]'}, refine=True) == ["a", "b"]
    with pytest.raises(ConfigError, match="the variable C is not set"):
        substituted({"a": "${C}"}, {})


def test_bytes_that_are_no_utf8_are_escaped_with_the_text_around_them():
    assert utf8("ä".encode()) == "ä"
    assert utf8(b'\xffa\tb\\"\xc3\xa4') == '\\xFFa\\tb\\\\\\"ä'
