"""The bodies that setup would send, rendered for each flavor, against Elastic's own specification."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.specification import CONTRACTS, specification

from elastic_ml.project import load_project
from elastic_ml.project.clock import holiday_dates
from elastic_ml.project.desired_state import DesiredObject, desired_objects
from elastic_ml.project.source import Source
from elastic_ml.project.streams import field_types
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.records import Raw, Rejected

INCLUDE = Path(__file__).parents[3] / "include"
WEBSHOP = Path(__file__).parent / "webshop"

APIS = {
    "ILM policy": "ilm.put_lifecycle",
    "component template": "cluster.put_component_template",
    "index template": "indices.put_index_template",
    "ingest pipeline": "ingest.put_pipeline",
    "enrich policy": "enrich.put_policy",
    "index": "indices.create",
}


def objects(folder: Path, *, serverless: bool = False) -> dict[str, DesiredObject]:
    return {f"{o.kind.word} {o.name}": o for o in desired_objects(load_project(folder), serverless=serverless)}


@pytest.mark.parametrize("serverless", [False, True], ids=["default", "serverless"])
@pytest.mark.parametrize("folder", [INCLUDE, WEBSHOP], ids=["include", "webshop"])
def test_every_body_is_valid_by_the_specification(folder: Path, serverless: bool):
    spec = specification()
    problems = {
        name: found
        for name, wanted in objects(folder, serverless=serverless).items()
        if (found := spec.check_request(APIS[wanted.kind.word], wanted.body))
    }
    assert problems == {}


def test_the_specification_would_notice_a_wrong_body():
    assert specification().check_request("ingest.put_pipeline", {"processors": [{"set": {"feild": "a"}}]})


def test_serverless_bodies_have_no_ilm_shards_or_replicas():
    bodies = {name: wanted.body for name, wanted in objects(INCLUDE, serverless=True).items()}
    text = json.dumps(bodies)
    assert not [name for name in bodies if name.startswith("ILM")]
    assert not re.findall(r'"index\.lifecycle|number_of_|auto_expand_replicas|"rollover"', text)
    for template, retention in (("lendpath-audit", "2557d"), ("lendpath-labels", "2557d"), ("ml-logs", "400d")):
        body = bodies[f"index template {template}"]
        assert body["template"]["lifecycle"] == {"data_retention": retention}
        assert "lifecycle" not in body["template"].get("settings", {}).get("index", {})


def test_index_templates_match_exactly_the_managed_streams_and_outrank_integrations():
    found = objects(INCLUDE)
    audit = found["index template lendpath-audit"].body
    assert audit["index_patterns"] == [
        "logs-ping_one.audit-lendpath",
        "logs-oracle.database_audit-lendpath",
        "logs-lendpath.audit-lendpath",
    ]
    assert objects(WEBSHOP)["index template webshop-audit"].body["index_patterns"] == ["logs-shop.audit-eu"]
    templates = [wanted for name, wanted in found.items() if name.startswith("index template")]
    assert {t.body["priority"] for t in templates} == {501}
    streams = [t for t in templates if "data_stream" in t.body]
    assert {t.name for t in templates} - {t.name for t in streams} == {"lendpath-features"}
    assert all(t.body["template"]["data_stream_options"]["failure_store"]["enabled"] for t in streams)
    assert not [t.name for t in templates if "@" in t.name]


def test_malformed_values_are_never_dropped_silently():
    found = objects(INCLUDE)
    for name in (
        "component template lendpath-audit@settings",
        "index template lendpath-labels",
        "index template ml-logs",
    ):
        index = found[name].body["template"]["settings"]["index"]
        assert index["mode"] == "logsdb"
        assert index["mapping"]["ignore_malformed"] is False
        assert index["mapping"]["total_fields"]["ignore_dynamic_beyond_limit"] is False


def test_retention_is_the_design_s():
    phases = objects(INCLUDE)["ILM policy lendpath-audit"].body["policy"]["phases"]
    assert phases["hot"]["actions"]["rollover"] == {"max_primary_shard_size": "50gb", "max_age": "30d"}
    assert {name: phase["min_age"] for name, phase in phases.items()} == {
        "hot": "0ms",
        "warm": "30d",
        "cold": "180d",
        "delete": "2557d",
    }
    assert {action for name in ("warm", "cold") for action in phases[name]["actions"]} == {"set_priority"}
    operations = objects(INCLUDE)["ILM policy ml-logs"].body["policy"]["phases"]
    assert set(operations) == {"hot", "delete"}
    assert operations["delete"]["min_age"] == "400d"


def test_scoring_calls_each_served_model_where_its_events_are():
    processors = objects(WEBSHOP)["ingest pipeline webshop-audit@score"].body["processors"]
    assert processors == [
        {
            "pipeline": {
                "tag": "refund_abuse",
                "name": "refund_abuse@score",
                "ignore_missing_pipeline": True,
                "if": "(ctx.event?.dataset == 'shop.audit') && (ctx.event?.action == 'refund')",
            }
        }
    ]


def test_each_labelled_model_gets_its_label_pipeline_after_its_policy_was_executed():
    found = objects(WEBSHOP)
    policy = next(wanted.name for name, wanted in found.items() if name.startswith("enrich policy"))
    assert re.fullmatch(r"shop-labels-by-event-[0-9a-f]{8}", policy)
    verdicts = found["ingest pipeline refund_abuse@label"]
    assert verdicts.executes == policy
    assert policy in json.dumps(verdicts.body)
    assert found["ingest pipeline visit_length@label"].executes is None
    assert "ingest pipeline odd_accounts@label" not in found
    order = list(found)
    assert order.index("index shop-labels") < order.index(f"enrich policy {policy}")
    assert order.index(f"enrich policy {policy}") < order.index("ingest pipeline refund_abuse@label")


def test_model_scores_are_mapped_for_each_supervised_model():
    mappings = objects(WEBSHOP)["component template webshop-audit@mappings"].body["template"]["mappings"]
    scored = mappings["properties"]["ml"]["properties"]
    assert set(scored) == {"refund_abuse", "visit_length"}
    assert scored["refund_abuse"]["properties"]["score"] == {"type": "float"}
    assert scored["refund_abuse"]["properties"]["prediction"]["type"] == "keyword"
    assert scored["visit_length"]["properties"]["prediction"]["type"] == "double"
    assert mappings["dynamic"] is False


@pytest.mark.parametrize(
    ("adapter", "sample"), [("ping_one", "pingone/audit-events.ndjson"), ("oracle", "oracle/database-audit.aud")]
)
def test_every_field_of_the_real_samples_is_mapped(adapter: str, sample: str):
    path = CONTRACTS.parent / "samples" / sample
    if not path.exists():
        pytest.skip(f"the real sample {path} is not here")
    source = Source.model_construct(
        name="x", stream="logs-x-y", kind="events", adapter=adapter, fields={}, constants={}, names=None
    )
    lines = path.read_bytes().split(b"\n")
    raws = [Raw(line, str(number), first=number == 0) for number, line in enumerate(lines)]
    documents = [item for item in adapt(source, raws) if not isinstance(item, Rejected)]
    template = objects(INCLUDE)["component template lendpath-audit@mappings"].body["template"]
    mapped = field_types(template["mappings"]["properties"])
    assert len(documents) > 10
    assert {path for document in documents for path in leaves(document)} - set(mapped) == set()


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    elif not path.startswith(("audit.", "labels.")):  # mapped dynamically
        yield path


def test_holidays_are_those_of_the_country_and_its_subdivision():
    bavaria = holiday_dates(load_project(WEBSHOP))
    assert "2024-11-01" in bavaria, "All Saints is a holiday in Bavaria"
    assert bavaria == sorted(set(bavaria))
    assert {day[:4] for day in bavaria} == {"2024", "2025"}
    assert "2026-07-03" in holiday_dates(load_project(INCLUDE)), "Independence Day 2026 is observed on Friday"


def test_rendering_twice_gives_the_same_hashes():
    def hashes() -> dict[str, str]:
        return {name: wanted.kind.hash(wanted.body) for name, wanted in objects(INCLUDE).items()}

    assert hashes() == hashes()


def test_every_object_says_who_manages_it():
    for wanted in objects(INCLUDE).values():
        if wanted.kind.meta is not None:
            meta = wanted.kind.metadata(wanted.body)
            assert (meta["managed_by"], meta["project"]) == ("airflow-provider-elastic-ml", "lendpath")
            assert meta["hash"] == wanted.kind.hash(wanted.body)


def test_nothing_shipped_in_the_package_names_the_use_case():
    templates = Path(__file__).parents[3] / "plugins" / "elastic_ml"
    assert not [p for p in templates.rglob("*.j2") if re.search("lendpath", p.read_text(), re.IGNORECASE)]
