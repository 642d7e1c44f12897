"""The real events beside the repository: every one becomes a document that indexes, as Elastic's own pipelines make it.

The deliberate differences from Elastic's documents are listed here, each with its reason; anything else is a failure.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.adapters.ping_one import PingOneAdapter
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers import read
from elastic_ml.sources.records import Raw, Rejected

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="../shared/samples (real events of elastic/integrations) is not beside the repository"
)

DROPPED = {
    "data_stream": "set by the stream's own template, not by documents",
    "input": "says how Elastic Agent received it; nothing was received by an agent here",
    "tags": "Agent's processing marks (`preserve_original_event`, `forwarded`); PingOne's own tags stay",
}
ADDED = {
    "event.id": "every document needs one that stays the same (Oracle: SHA-256 of the record)",
    "event.dataset": "every audit event carries it",
    "event.timezone": "the hour of day is computed from it; Oracle's offset is the same in both",
    "audit": "scalars for learning, since analytics skips rows with arrays",
    "user.id": "the person, by name table, else the raw name",
    "user.name": "who did it; the integration says so only under client and server",
    "oracle.database_audit.database.user": "kept under Oracle's name; the integration moves it to `server.user.name`",
    "oracle.database_audit.privilege": "kept as a scalar; the integration moves it into the array `user.roles`",
}
# Elastic's sample events do not reach these; the adapters' own tests do.
OTHERWISE = {
    "_id": "`event.id`; the integration takes a fingerprint of `recordedAt` and `id` (PingOne) or none (Oracle)",
    "event.outcome": "from STATUS or the return code; the integration writes `success` for every Oracle record. "
    "`unknown` where PingOne's status is neither a success nor a failure; the integration then leaves it out",
    "event.category": "`authentication` for `password.check_failed` too, not only for `password.check_succeeded`",
    "ping_one.audit": "copies stay, as with the tag `preserve_duplicate_custom_fields`; unknown keys go to `other`",
    "source.ip": "from PingOne Protect's embedded evaluation, which the integration leaves where it is",
    "oracle.database_audit.obj": "object audit records are parsed too: creator and name, entry, statement, return code",
}


def raws(path: Path) -> list[Raw]:
    return [Raw(line, f"{path.name}:{n}", first=n == 1) for n, line in enumerate(path.read_bytes().split(b"\n"), 1)]


def flat(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            fields |= flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = (
                sorted(value) if value and isinstance(value, list) and isinstance(value[0], str) else value
            )
    return fields


def under(field: str, names: dict[str, str]) -> bool:
    return any(field == name or field.startswith(f"{name}.") for name in names)


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    mine, elastic = flat(ours), flat(theirs)
    return {
        field: (mine.get(field), elastic.get(field))
        for field in sorted(mine.keys() | elastic.keys())
        if mine.get(field) != elastic.get(field)
        and not (field not in mine and under(field, DROPPED))
        and not (field not in elastic and under(field, ADDED))
    }


@needs_samples
def test_every_oracle_record_becomes_a_document():
    documents = list(OracleAdapter()(raws(SAMPLES / "oracle" / "database-audit.aud")))
    assert len(documents) == 14
    assert not [item for item in documents if isinstance(item, Rejected)]


@needs_samples
def test_the_first_three_oracle_documents_are_those_of_elastics_pipeline():
    expected = json.loads((SAMPLES / "oracle" / "expected_ecs_first3.json").read_text())
    documents = list(OracleAdapter()(raws(SAMPLES / "oracle" / "database-audit.aud")))
    for ours, theirs in zip(documents, expected, strict=False):
        assert differences(ours, theirs) == {}


@needs_samples
def test_every_ping_one_event_becomes_a_document():
    documents = list(PingOneAdapter()(raws(SAMPLES / "pingone" / "audit-events.ndjson")))
    assert len(documents) == 20
    assert not [item for item in documents if isinstance(item, Rejected)]
    assert {document["event"]["outcome"] for document in documents} == {"success"}


@needs_samples
def test_the_ping_one_document_is_that_of_elastics_pipeline():
    (theirs,) = json.loads((SAMPLES / "pingone" / "expected_ecs_sample_event.json").read_text())
    audit = theirs["ping_one"]["audit"]
    raw = {
        "id": audit["id"],
        "recordedAt": audit["recorded_at"],
        "actors": audit["actors"],
        "action": audit["action"],
        "resources": audit["resources"],
        "result": audit["result"],
    }
    (ours,) = PingOneAdapter()([Raw(json.dumps(raw).encode(), "1")])
    assert differences(ours, theirs) == {}


def test_the_documentation_lists_every_deliberate_difference():
    page = (Path(__file__).resolve().parents[3] / "docs" / "sources.md").read_text()
    for names in (DROPPED, ADDED, OTHERWISE):
        for name, reason in names.items():
            assert f"| `{name}` | " in page, f"{name} is not in the table of docs/sources.md"
            assert reason in page, f"docs/sources.md gives another reason for {name}"


def test_documents_that_differ_anywhere_else_are_noticed():
    theirs = {"event": {"action": "x", "outcome": "success"}, "related": {"user": ["a", "b"]}, "tags": ["forwarded"]}
    assert differences({"event": {"id": "1", **theirs["event"]}, "related": {"user": ["b", "a"]}}, theirs) == {}
    assert set(differences({"event": {"action": "y"}, "related": {"user": ["a"]}, "x": 1}, theirs)) == {
        "event.action", "event.outcome", "related.user", "x",
    }  # fmt: skip


@needs_samples
def test_elastics_document_of_a_ping_one_event_comes_out_of_a_file_too(tmp_path):
    """Through reader, adapter and completion, with the raw event kept."""
    path = SAMPLES / "pingone" / "audit-events.ndjson"
    items = documents_of(path, "ping_one", keep_original=True)
    assert [json.loads(item["event"]["original"]) for item in items] == [
        json.loads(line) for line in path.read_text().splitlines() if line
    ]


@needs_samples
def test_the_original_of_every_oracle_record_is_its_text():
    path = SAMPLES / "oracle" / "database-audit.aud"
    items = documents_of(path, "oracle", keep_original=True)
    assert "\n\n".join(item["event"]["original"] for item in items) == path.read_text().strip()


@needs_samples
def test_comparable_sources_need_a_field_map_only():
    okta = documents_of(
        SAMPLES / "okta_system_event.json",
        "ndjson",
        fields={
            "@timestamp": "published", "event.id": "uuid", "event.action": "eventType",
            "event.outcome": "outcome.result",
            "user.id": "actor.alternateId", "source.ip": "client.ipAddress", "audit.hop": "request.ipChain.0.version",
        },
    )  # fmt: skip
    assert okta[0]["@timestamp"] == "2020-02-14T20:18:57.718Z"
    assert (okta[0]["source"], okta[0]["audit"]) == ({"ip": "108.255.197.247"}, {"hop": "V4"})
    mysql = documents_of(
        SAMPLES / "mysql_enterprise_audit.ndjson",
        "ndjson",
        options={"format": "json"},
        timezone="Europe/Berlin",
        fields={
            "@timestamp": "timestamp", "event.action": "event", "user.id": "account.user",
            "audit.command": "general_data.sql_command", "audit.status": "general_data.status",
        },
    )  # fmt: skip
    assert len(mysql) == 5
    assert len({document["event"]["id"] for document in mysql}) == 5
    assert mysql[0]["@timestamp"] == "2020-10-19T19:21:33.000+02:00"
    assert mysql[4]["audit"] == {"command": "grant", "status": 1064}


def documents_of(path: Path, adapter: str, options: dict[str, Any] | None = None, **more: Any) -> list[dict[str, Any]]:
    source = Source.model_validate(
        {
            "name": "sample",
            "stream": "logs-acme.audit-test",
            "start_date": date(2020, 1, 1),
            "reader": {"kind": "files", "path": str(path), "options": options or {}},
            "adapter": adapter,
            **more,
        }
    )
    items = list(adapt(source, read(source, Partition.parse("2026-11-10"))))
    assert not [item for item in items if isinstance(item, Rejected)]
    return items


@needs_samples
@pytest.mark.parametrize(
    ("adapter", "dataset", "path", "records"),
    [
        ("oracle", "oracle.database_audit", "oracle/database-audit.aud", 14),
        ("ping_one", "ping_one.audit", "pingone/audit-events.ndjson", 20),
    ],
)
def test_every_sample_indexes_through_the_audit_templates_without_a_mapping_error(
    sandbox, tmp_path, adapter, dataset, path, records
):
    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup

    (tmp_path / "project.yml").write_text(
        yaml.safe_dump(
            {
                "name": "acme",
                "namespace": "test",
                "streams": [{"dataset": dataset}],
                "lifecycle": {"audit": {"delete_after": "400d"}},
            }
        )
    )
    project = load_project(tmp_path)
    client = connect(ElasticsearchSettings(url=sandbox.elasticsearch_url, http_compress=False))
    run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
    stream = f"logs-{dataset}-test"
    made = PingOneAdapter() if adapter == "ping_one" else OracleAdapter()
    # The sample's ids are masked and repeat; ids of their own show that each single document indexes.
    for number, document in enumerate(made(raws(SAMPLES / path))):
        answer = client.create(index=stream, id=str(number), document=document)
        assert answer["_index"].startswith(".ds-"), f"record {number} went to the failure store"
    client.indices.refresh(index=stream)
    assert client.count(index=stream)["count"] == records
    for field in ("audit.privileged", "event.outcome", "user.id", "audit.weekday"):
        found = client.count(index=stream, query={"exists": {"field": field}})["count"]
        assert found > 0, f"{field} is not indexed"
