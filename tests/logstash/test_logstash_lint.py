"""The lint finds what Logstash's own check lets pass, and explains it."""

from pathlib import Path

import pytest
from shipped_pipelines.world import PIPELINES

from elastic_sandbox.logstash.__main__ import main
from elastic_sandbox.logstash.lint import lint

USUAL = """
input { beats { port => 5044 tags => ["model-logs"] ssl => true } }
filter {
  if "model-logs" in [tags] {
    grok { match => { "message" => "%{TIMESTAMP_ISO8601:ts} %{LOGLEVEL:level} %{DATA:event_type} model=%{DATA:model} user=%{DATA:user}" } }
    grok { match => { "message" => "%{TIMESTAMP_ISO8601:ts} PREDICT id=%{UUID:id} latency=%{NUMBER:latency:float}" } }
    mutate { add_field => { "environment" => "%{[fields][env]}" } }
    date { match => ["ts", "ISO8601"] }
  }
}
output {
  elasticsearch { hosts => ["elasticsearch:9200"] index => "model-logs-%{+YYYY.MM.dd}" ilm_enabled => true ilm_policy => "p" }
}
"""  # noqa: E501


def rules(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "a.conf"
    file.write_text(text)
    return {finding.rule: str(finding) for finding in lint(file)}


def test_the_shipped_pipelines_have_nothing_to_mend():
    assert lint(PIPELINES) == []
    assert main(["lint", str(PIPELINES)]) == 0


def test_the_usual_example_is_explained(tmp_path: Path):
    found = rules(tmp_path, USUAL)
    assert set(found) == {
        "obsolete-setting", "no-id", "no-tls", "last-data", "unanchored", "flat-name", "sequential-groks", "unresolved",
        "no-zone", "ilm-ignored",
    }  # fmt: skip
    assert "a.conf:6: sequential-groks: this grok follows that of line 5" in found["sequential-groks"]
    assert "write ssl_enabled" in found["obsolete-setting"]
    assert "%{[fields][env]} is stored as it is written" in found["unresolved"]


@pytest.mark.parametrize(
    ("text", "rule", "words"),
    [
        ('filter { mutate { id => "a" nope => 1 } }', "unknown-setting", "has no setting nope"),
        ('filter { ruby { id => "a" code => "x" } }', "unknown-plugin", "the filter ruby"),
        ('filter { json { id => "a" } }', "missing-setting", "without source"),
        ('filter { drop { id => "a" } drop { id => "a" } }', "same-id", "is taken by a.conf:1"),
        ('output { elasticsearch { id => "a" data_stream => true ilm_policy => "p" } }', "ilm-and-data-stream", "ilm"),
        ('output { elasticsearch { id => "a" data_stream => true index => "p" } }', "index-and-data-stream", "index"),
        ('output { elasticsearch { id => "a" } }', "no-data-stream", "in silence"),
        ('output { elasticsearch { id => "a" data_stream => true api_key => "x:y" } }', "secret", "api_key"),
        ('output { elasticsearch { id => "a" data_stream => true hosts => ["http://x"] } }', "no-tls", "http://x"),
        ('filter { grok { id => "a" match => { "m" => "\\A%{NOPE:a}" } } }', "unknown-pattern", "NOPE"),
        ('filter { mutate { id => "a" copy => { "x" => "y" } lowercase => ["y"] } }', "mutate-order", "[y] is changed"),
        (
            'filter { mutate { id => "a" replace => { "y" => "1" } add_field => { "x" => "%{y}" } } }',
            "mutate-order", "add_field comes last",
        ),
        ('filter { if [a] in ["x"] { drop { id => "a" } } }', "one-in-a-list", '["x"] is read as the field'),
        ("filter { mutate { id => 1 }", "refused", "a name is expected"),
    ],
)  # fmt: skip
def test_each_rule_names_the_thing(tmp_path: Path, text: str, rule: str, words: str):
    assert words in rules(tmp_path, text)[rule]


@pytest.mark.parametrize(
    "text",
    [
        'filter { if [x][y] { mutate { id => "a" add_field => { "z" => "%{[x][y]}" } } } }',
        'filter { mutate { id => "a" copy => { "q" => "x" } } mutate { id => "b" add_field => { "z" => "%{x}" } } }',
        'filter { grok { id => "a" match => { "m" => "\\A%{WORD:x}" } } mutate { id => "b" update => {"z" => "%{x}"}}}',
        'filter { date { id => "a" match => ["t", "yyyy-MM-dd HH:mm:ssZ"] } }',
    ],
)
def test_what_is_guarded_is_not_complained_of(tmp_path: Path, text: str):
    assert rules(tmp_path, text) == {}


def folder(tmp_path: Path, overview: str, **files: str) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pipelines.yml").write_text(overview)
    for name, text in files.items():
        (tmp_path / f"{name}.conf").write_text(text)
    return tmp_path


def test_pipelines_that_do_not_hang_together(tmp_path: Path):
    one = 'input { pipeline { id => "i" address => "a" } } output { pipeline { id => "o" send_to => ["nobody"] } }'
    two = 'input { dead_letter_queue { id => "d" path => "/x" pipeline_id => "two" } }'
    overview = "".join(
        f'- {{pipeline.id: {name}, path.config: "${{PIPELINES_HOME}}/{name}.conf", {more}}}\n'
        for name, more in (("one", "dead_letter_queue.enable: true, nope: 1"), ("two", "queue.type: persisted"))
    )
    found = {finding.rule: finding.sentence for finding in lint(folder(tmp_path, overview, one=one, two=two))}
    assert "one keeps its events in memory" in found["memory-queue"]
    assert "nobody reads the dead letter queue of one" in found["unread-dead-letters"]
    assert "two has no dead letter queue" in found["no-dead-letters"]
    assert "nope is no setting of a pipeline" in found["unknown-setting"]


def test_an_address_that_nobody_has_is_found(tmp_path: Path):
    one = 'input { pipeline { id => "i" address => "a" } } output { pipeline { id => "o" send_to => ["nobody"] } }'
    overview = '- {pipeline.id: one, path.config: "${PIPELINES_HOME}/one.conf", queue.type: persisted}\n'
    [finding] = lint(folder(tmp_path, overview, one=one))
    assert "no pipeline listens at 'nobody'" in finding.sentence
