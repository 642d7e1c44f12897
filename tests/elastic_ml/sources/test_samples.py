"""The real events beside the repository: every one becomes a document that indexes, as Elastic's own pipelines make it.

The deliberate differences from Elastic's documents are listed here, each with its reason; anything else is a failure.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.sources.adapters.oracle import OracleAdapter
from elastic_ml.sources.adapters.ping_one import PingOneAdapter
from elastic_ml.sources.records import Raw, Rejected

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason="../shared/samples (real events of elastic/integrations) is not beside the repository"
)

DROPPED = {
    "data_stream": "set by the stream's own template, not by documents",
    "input": "says how Elastic Agent received it; nothing was received by an agent here",
    "tags": "Agent's own processing marks (preserve_original_event, forwarded)",
}
ADDED = {
    "event.id": "deterministic id that every document needs (Oracle: SHA-256 of the record)",
    "event.dataset": "every audit event carries it",
    "event.timezone": "every audit event carries it; PingOne writes UTC",
    "audit": "scalars for learning, since analytics skips arrays",
    "user.id": "the person, by name table, else the raw name",
    "user.name": "who did it; the integration says so only under client and server",
    "oracle.database_audit.database.user": "kept under Oracle's own name; the integration moves it to server.user.name",
    "oracle.database_audit.privilege": "kept as a scalar; the integration moves it into the array user.roles",
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
