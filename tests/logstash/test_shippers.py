"""Filebeat's and Elastic Agent's configurations: what can be checked of them without either."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from shipped_pipelines.world import PIPELINES

from elastic_sandbox.logstash.config import Branch, parse
from lendpath import feeds

# Names from docs/reference/filebeat/filebeat-input-filestream.md and multiline-examples.md of elastic/beats.
_STREAM = {
    "id": {"type": "string", "pattern": "^[a-z][a-z0-9-]+$"},
    "paths": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "prospector.scanner.fingerprint.length": {"type": "integer", "minimum": 64, "maximum": 1024},
    "message_max_bytes": {"type": "integer", "maximum": 10485760},
    "parsers": {
        "type": "array",
        "items": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "properties": {
                "ndjson": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["target", "overwrite_keys", "expand_keys", "add_error_key"],
                    "properties": {
                        "target": {"const": ""}, "overwrite_keys": {"const": True}, "expand_keys": {"const": True},
                        "add_error_key": {"const": True},
                    },
                },
                "multiline": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["type", "pattern", "negate", "match"],
                    "properties": {
                        "type": {"const": "pattern"}, "pattern": {"type": "string"}, "negate": {"type": "boolean"},
                        "match": {"enum": ["after", "before"]}, "max_lines": {"type": "integer"},
                        "max_bytes": {"type": "integer"}, "timeout": {"type": "string"},
                    },
                },
            },
        },
    },
}  # fmt: skip
_STRICT = {"type": "object", "additionalProperties": False}
_NEEDED = ["id", "paths", "prospector.scanner.fingerprint.length"]
SCHEMAS = {
    "filebeat/filebeat.yml": {
        **_STRICT,
        "properties": {**_STREAM, "type": {"const": "filestream"}, "processors": {"type": "array"}},
        "required": [*_NEEDED, "type", "processors"],
    },
    "elastic-agent/elastic-agent.yml": {
        **_STRICT,
        "properties": {
            "type": {"const": "filestream"},
            "id": _STREAM["id"],
            "use_output": {"const": "default"},
            "data_stream.namespace": {"type": "string"},
            "streams": {
                "type": "array",
                "items": {
                    **_STRICT,
                    "properties": {**_STREAM, "data_stream": {"type": "object", "required": ["type", "dataset"]}},
                    "required": [*_NEEDED, "data_stream"],
                },
            },
        },
        "required": ["type", "id", "use_output", "streams"],
    },
}


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((PIPELINES / name).read_text())


def streams(name: str) -> list[tuple[str, dict[str, Any]]]:
    """Dataset and settings of each stream."""
    if name.startswith("filebeat"):
        inputs = read(name)["filebeat.inputs"]
        return [(each["processors"][0]["add_fields"]["fields"]["dataset"], each) for each in inputs]
    return [(s["data_stream"]["dataset"], s) for each in read(name)["inputs"] for s in each["streams"]]


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_input_has_the_settings_of_filestream_and_no_other(name: str):
    inputs = read(name).get("filebeat.inputs") or read(name)["inputs"]
    validator = Draft202012Validator(SCHEMAS[name])
    assert [error.message for each in inputs for error in validator.iter_errors(each)] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_ids_are_there_and_differ(name: str):
    ids = re.findall(r"^\s*-? ?id: (\S+)|\bid: (\S+)$", (PIPELINES / name).read_text(), re.MULTILINE)
    found = [one or other for one, other in ids]
    assert len(found) == len(set(found)) >= 5


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_dataset_has_a_pipeline(name: str):
    routed = set(
        re.findall(r'== "(?:\$\{\w+:)?([^"}]+)\}?(\.\w+)?"', (PIPELINES / "pipelines/inputs.conf").read_text())
    )
    datasets = {"".join(each) for each in routed}
    assert {dataset for dataset, _ in streams(name)} <= datasets


def test_the_distributor_is_made_of_one_chain():
    [branch] = parse((PIPELINES / "pipelines/inputs.conf").read_text(), "inputs.conf")["output"]
    assert isinstance(branch, Branch)
    assert branch.arms[-1][0] is None


def test_both_shippers_say_the_same():
    beat, agent = (dict(streams(name)) for name in SCHEMAS)
    assert beat.keys() == agent.keys()
    for dataset, stream in beat.items():
        assert stream.get("parsers") == agent[dataset].get("parsers")
        assert (
            stream["prospector.scanner.fingerprint.length"] == agent[dataset]["prospector.scanner.fingerprint.length"]
        )


def test_rotated_files_are_read_to_their_end():
    for dataset, stream in streams("filebeat/filebeat.yml"):
        assert dataset == "oracle.database_audit" or all(path.endswith("*}") for path in stream["paths"])


def test_tls_is_on_and_no_secret_is_written():
    for name in SCHEMAS:
        text = (PIPELINES / name).read_text()
        assert "ssl.enabled: true" in text
        assert "verification_mode: full" in text
        assert not re.search(r"(password|passphrase): (?!\"\$\{)\S", text)


def joined(lines: list[str], multiline: dict[str, Any]) -> list[str]:
    """What Filebeat's multiline parser makes of lines, for `negate: true` and `match: after`."""
    assert (multiline["negate"], multiline["match"]) == (True, "after")
    records: list[list[str]] = []
    for line in lines:
        if re.search(multiline["pattern"], line) or not records:
            records.append([])
        records[-1].append(line)
    return ["\n".join(record) for record in records]


def test_an_audit_file_is_cut_into_its_records():
    from datetime import UTC, datetime, timedelta
    from itertools import islice

    day = datetime(2026, 5, 4, tzinfo=UTC)
    records = list(islice(feeds.oracle_audit(day, day + timedelta(days=1), seed=11, events_per_day=400), 40))
    multiline = dict(streams("filebeat/filebeat.yml"))["oracle.database_audit"]["parsers"][0]["multiline"]
    head = "Audit file /u01/app/oracle/admin/x/adump/x_ora_1.aud\nOracle Database 19c\n"
    text = head + b"".join(records).decode()
    found = joined(text.splitlines(), multiline)
    assert [each.rstrip() for each in found[1:]] == [each.decode().rstrip() for each in records]


def test_the_example_environment_holds_every_variable_of_the_pipelines():
    text = (PIPELINES / "env.example").read_text()
    described = set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE))
    used: set[str] = set()
    for file in [*PIPELINES.rglob("*.conf"), Path(PIPELINES / "config/pipelines.yml")]:
        used |= set(re.findall(r"\$\{([A-Z_]+)", file.read_text()))
    assert used == described
