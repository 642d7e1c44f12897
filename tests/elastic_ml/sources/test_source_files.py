"""What a source file may say about its reader, and the sentence for everything else: file, line, field, remedy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project.schemas import json_schemas
from elastic_ml.project.source import OPTIONS, Source
from elastic_ml.project.yaml_files import read_file

HEAD = """\
stream: logs-acme.audit-test
start_date: 2026-01-01
"""


def read(folder: Path, text: str) -> Source:
    (folder / "trail.yml").write_text(HEAD + dedent(text))
    return read_file(folder / "trail.yml", Source, defaults={"name": "trail"})


@pytest.mark.parametrize(
    "text",
    [
        "reader: {kind: files, path: '/x/{day}.json', options: {format: json, items: data.rows, missing: empty}}",
        "reader: {kind: sql, conn_id: db, path: unified_audit_trail}",
        "reader: {kind: sql, conn_id: db, path: app.audit, options: {time_column: at, columns: [id, at], bind: text}}",
        "reader: {kind: sql, conn_id: db, path: 'with x as (select 1) select * from x where t >= :start and t < :end'}",
        "reader: {kind: http, conn_id: api, path: /v1/activities, options: {api: ping_one, window: 6h}}",
        "reader: {kind: http, conn_id: api, path: '/v1/{start}/{end}', options: {items: data}}",
        "reader: {kind: python, path: 'own.feed:rows', options: {anything: 1}}",
        "timezone: Europe/Berlin\nkeep_original: true\nreader: {kind: files, path: '/x/{day}'}",
        "timezone: '+05:30'\nreader: {kind: files, path: '/x/{day}'}",
        "partition: hour\nreader: {kind: files, path: '/x/{day}T{hour}'}",
    ],
)
def test_what_readers_understand_is_accepted(tmp_path, text):
    source = read(tmp_path, text + "\nadapter: ndjson\n")
    assert source.name == "trail"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("reader: {kind: sql, path: t}", "trail.yml:3: reader: the sql reader needs a connection. Add `conn_id:`"),
        ("reader: {kind: http, conn_id: a}", "trail.yml:3: reader: the http reader needs a path. Add `path:`."),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: events",
            "trail.yml:6: reader.path: it is not said which column of events decides on the partition. Add `options: "
            "{time_column: <name>}`.",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: delete from events",
            "trail.yml:6: reader.path: path is neither the name of a table or view nor a query.",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: select * from t where a > :start and x::end is null",
            "trail.yml:6: reader.path: the query has no :end, so every partition would read everything.",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: events\n  options:\n    time_column: at; drop table x",
            "trail.yml:8: reader.options.time_column: String should match pattern",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: t\n  options:\n    time_column: at\n    columns: [id, 'a b']",
            "trail.yml:9: reader.options.columns.1: String should match pattern",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: events\n  options: {time_column: at, arraysize: 0}",
            "trail.yml:7: reader.options.arraysize: Input should be greater than or equal to 1.",
        ),
        (
            "reader:\n  kind: sql\n  conn_id: db\n  path: select 1 where :start < :end\n  options: {time_column: at}",
            "trail.yml:7: reader.options.time_column: time_column belongs to a table, and path is a query.",
        ),
        (
            "reader:\n  kind: http\n  conn_id: a\n  path: https://x.example.com/v1",
            "trail.yml:6: reader.path: 'https://x.example.com/v1' is no path below the connection's host.",
        ),
        (
            "reader:\n  kind: http\n  conn_id: a\n  path: /v1\n  options:\n    params: {from: '{start}'}",
            "trail.yml:8: reader.options.params: neither path nor params ask for the partition's time",
        ),
        (
            "reader:\n  kind: http\n  conn_id: a\n  path: /v1\n  options:\n    api: ping_one\n    window: 6 hours",
            "trail.yml:9: reader.options.window: '6 hours' is no duration",
        ),
        (
            "reader:\n  kind: http\n  conn_id: a\n  path: /v1\n  options:\n    api: ping_one\n    page_size: 6",
            "trail.yml:9: reader.options.page_size: the http reader has no such option. Its options are api, items,",
        ),
        (
            "reader:\n  kind: files\n  path: /x\n  options:\n    format: lines\n    items: a",
            "trail.yml:8: reader.options.items: lines have no items. Write `format: json`, or remove items.",
        ),
        (
            "partition: hour\nreader:\n  kind: files\n  path: /x/{day}",
            "trail.yml:6: reader.path: the path is the same for every hour of a day. Add {hour}",
        ),
        (
            "timezone: Mars/Phobos\nreader: {kind: files, path: /x}",
            "trail.yml:3: timezone: 'Mars/Phobos' is no time zone.",
        ),
    ],
)
def test_what_they_do_not_is_a_sentence_with_its_line(tmp_path, text, sentence):
    with pytest.raises(ProjectFileError) as caught:
        read(tmp_path, text + "\nadapter: ndjson\n")
    assert sentence in str(caught.value)


def test_an_adapter_with_a_mapping_of_its_own_takes_no_field_map(tmp_path):
    with pytest.raises(ProjectFileError, match=r"trail.yml:5: fields: the adapter oracle has its own mapping"):
        read(tmp_path, "reader: {kind: files, path: /x}\nadapter: oracle\nfields: {event.id: id}\n")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ('{"@timestap": time}', "trail.yml:5: fields.@timestap: no record gets an @timestamp, so every one would be "
         "rejected. Write @timestamp instead of @timestap."),
        ("{event.id: id}", "trail.yml:5: fields: no record gets an @timestamp, so every one would be rejected. Add "),
    ],
)  # fmt: skip
def test_a_field_map_without_a_time_is_refused(tmp_path, fields, sentence):
    with pytest.raises(ProjectFileError) as caught:
        read(tmp_path, f"reader: {{kind: files, path: /x}}\nadapter: ndjson\nfields: {fields}\n")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("njson", "trail.yml:4: adapter: 'njson' is no adapter. Did you mean ndjson?"),
        ("x.y", "trail.yml:4: adapter: 'x.y' is no adapter. Use ping_one, oracle, ndjson, csv or a module:function"),
    ],
)
def test_an_adapter_that_is_none_is_named(tmp_path, adapter, sentence):
    with pytest.raises(ProjectFileError) as caught:
        read(tmp_path, f"reader: {{kind: files, path: /x}}\nadapter: {adapter}\n")
    assert sentence in str(caught.value)


def test_rows_and_pages_are_not_csv(tmp_path):
    with pytest.raises(ProjectFileError, match="the sql reader yields records with names, not CSV"):
        read(tmp_path, "reader: {kind: sql, conn_id: a, path: unified_audit_trail}\nadapter: csv\n")


def test_the_schema_for_editors_knows_the_options_of_each_reader():
    schema = json_schemas()["source"]
    rules = schema["$defs"]["Reader"]["allOf"]
    options = {rule["if"]["properties"]["kind"]["const"]: rule["then"]["properties"]["options"] for rule in rules}
    assert set(options) == {"files", "sql", "http"}
    assert "time_column" in options["sql"]["properties"]
    assert options["http"]["additionalProperties"] is False
    json.dumps(schema)


DOCS = Path(__file__).resolve().parents[3] / "docs"
EXAMPLES = re.findall(r"```yaml\n(stream:.*?)```", (DOCS / "sources.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.split("\n", 1)[0] for text in EXAMPLES])
def test_the_examples_of_the_documentation_are_source_files(tmp_path, text):
    (tmp_path / "trail.yml").write_text(text)
    source = read_file(tmp_path / "trail.yml", Source, defaults={"name": "trail"})
    assert source.stream.startswith("logs-")


def test_the_documentation_has_a_section_for_every_reader_and_adapter():
    sections = set(re.findall(r"^## (\w+)$", (DOCS / "sources.md").read_text(), re.MULTILINE))
    assert sections >= {"files", "sql", "http", "python", "ndjson", "csv", "ping_one", "oracle"}
    page = (DOCS / "sources.md").read_text()
    for shape in OPTIONS.values():
        assert all(re.search(rf"\b{name}\b", page) for name in shape.model_fields)
