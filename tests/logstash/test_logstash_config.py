"""The configuration language is read as Logstash reads it, and refused where Logstash refuses it."""

import random
from pathlib import Path

import pytest
from shipped_pipelines.world import PIPELINES

from elastic_sandbox.logstash.config import Branch, Condition, ConfigError, Plugin, Regexp, Selector, parse, plugins

FILES = sorted(PIPELINES.rglob("*.conf"))


def filters(text: str) -> tuple:
    return parse(f"filter {{ {text} }}", "a.conf")["filter"]


def condition(text: str) -> Condition:
    [branch] = filters(f"if {text} {{ drop {{}} }}")
    assert isinstance(branch, Branch)
    found = branch.arms[0][0]
    assert found is not None
    return found


def test_values_keep_their_kind_and_strings_their_backslashes():
    [plugin] = filters(
        r"""mutate { id => "a\d" a => word b => 5 c => -1.5 d => ['x', 2] e => { "k" => [1] } 'f' => '"' }"""
    )
    assert isinstance(plugin, Plugin)
    assert plugin.settings == {
        "id": r"a\d", "a": "word", "b": 5, "c": -1.5, "d": ["x", 2], "e": {"k": [1]}, "f": '"',
    }  # fmt: skip


def test_a_repeated_hash_is_one_and_other_repeated_settings_become_lists():
    [plugin] = filters('grok { match => { "a" => "1" } match => { "b" => "2" } tag => "x" tag => "y" l => [1] l => 2 }')
    assert plugin.settings == {"match": {"a": "1", "b": "2"}, "tag": ["x", "y"], "l": [1, 2]}


def test_a_codec_has_settings_of_its_own():
    [http] = parse('input { http { codec => line { charset => "UTF-8" } additional_codecs => {} } }', "a.conf")["input"]
    assert http.settings["codec"].settings == {"charset": "UTF-8"}
    assert http.settings["additional_codecs"] == {}


def test_and_binds_stronger_than_or_and_not_takes_brackets():
    found = condition('[a] or [b] == "x" and !([c] in [d] or "t" not in [tags])')
    assert found.operator == "or"
    assert found.operands[0] == Condition("truthy", (Selector("[a]"),))
    both = found.operands[1]
    assert both.operator == "and"
    assert both.operands[0] == Condition("==", (Selector("[b]"), "x"))
    assert both.operands[1].operands[0].operands[1].operator == "not"


def test_regular_expressions_may_hold_slashes_and_be_strings():
    assert condition(r"[a] =~ /x\/y/").operands[1] == Regexp(r"x\/y")
    assert condition('[a] !~ "^x"') == Condition("not", (Condition("=~", (Selector("[a]"), Regexp("^x"))),))


def test_a_list_of_one_is_a_field():
    assert condition('[a] in ["x"]').operands[1] == Selector('["x"]')
    assert condition('[a] in ["x", "y"]').operands[1] == ["x", "y"]


def test_else_if_and_comments_between():
    [branch] = filters("if [a] { } # one\n else # two\n if [b] { drop {} }\n else { json { source => xx } }")
    assert [(condition is None, len(body)) for condition, body in branch.arms] == [(False, 0), (False, 1), (True, 1)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("input { beats { port => 5044 }", "a name is expected"),
        ('filter { grok { match => { "m" => "a" "m" => "b" } } }', "duplicate keys"),
        ("input { stdin { codec => json codec => plain } }", "several codecs"),
        ('filter { mutate { id => "a"add => "b" } }', "white space"),
        ('filter { mutate { a => ["x" "y"] } }', ", is expected"),
        ("filter { if [a] xor [b] { drop {} } }", "xor and nand"),
        ("filter { if ! { drop {} } }", "field or a bracket"),
        ("filter {} # no line end", "input, filter or output"),
        ("filters { }", "{ is expected"),
        ("filter { mutate { a => x b => } }", "value is expected"),
    ],
)
def test_what_logstash_does_not_start_with_is_refused_with_its_line(text: str, problem: str):
    with pytest.raises(ConfigError, match=r"a\.conf:1: ") as refused:
        parse(text, "a.conf")
    assert problem in str(refused.value)


def test_every_shipped_plugin_has_a_line():
    lines = [
        plugin.line for file in FILES for s in parse(file.read_text(), file.name).values() for plugin in plugins(s)
    ]
    assert len(lines) > 100
    assert all(lines)


def test_another_parser_agrees_on_the_shipped_files_and_on_broken_ones():
    """logstash-pipeline-parser is the second opinion; its known false accepts are missing commas and white space."""
    library = pytest.importorskip("logstash_pipeline_parser", reason="logstash-pipeline-parser is not installed")
    generator = random.Random(7)
    texts = [file.read_text() for file in FILES if len(file.read_text()) < 6000]
    broken = []
    for text in texts:
        at = generator.randrange(len(text))
        broken.append(text[:at] + generator.choice(["", "{", "}", '"', "=>"]) + text[at + 1 :])
    differ = [text for text in texts + broken if _accepts(text) != _library_accepts(library, text)]
    assert all(not _accepts(text) for text in differ), "accepted here, refused there"
    assert len(differ) <= 2


def _accepts(text: str) -> bool:
    try:
        parse(text, "a.conf")
    except ConfigError:
        return False
    return True


def _library_accepts(library, text: str) -> bool:
    try:
        library.Pipeline(text).parse()
    except Exception:  # its own error and those of pyparsing
        return False
    return True


def test_reading_a_folder_names_what_is_missing(tmp_path: Path):
    from elastic_sandbox.logstash.runner import read

    with pytest.raises(ConfigError, match=r"name the folder that holds config/pipelines\.yml"):
        read(tmp_path, {})
