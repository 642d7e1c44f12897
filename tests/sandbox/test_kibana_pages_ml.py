"""Machine learning as pages, and every link of the package: each leads to a page of what it names."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from harness.repeated_work import PLAIN_HTTP
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox.pages_world import NOON, Pages, dashboard, es_query

from elastic_ml.hooks.kibana import KibanaAddress
from elastic_ml.links import kibana as links
from elastic_sandbox.kibana.pages.times import rison
from elastic_sandbox.testing import Sandbox

OWN = "Scores and probabilities are the sandbox's own"
LATENCY = {
    "analysis_config": {
        "bucket_span": "1h",
        "detectors": [{"function": "mean", "field_name": "ms", "partition_field_name": "model"}],
        "influencers": ["model"],
    },
    "data_description": {"time_field": "@timestamp"},
}

TREE = {"feature_names": ["ms"], "tree_structure": [{"node_index": 0, "leaf_value": 0.5}], "target_type": "regression"}
MODEL = {
    "input": {"field_names": ["ms"]},
    "inference_config": {"regression": {}},
    "definition": {"trained_model": {"tree": TREE}},
}


@pytest.fixture
def pages(sandbox: Sandbox) -> Iterator[Pages]:
    sandbox.clock.freeze(NOON)
    with httpx.Client(base_url=sandbox.kibana_url, timeout=60, verify=PLAIN_HTTP) as http:
        yield Pages(sandbox, http)


@pytest.fixture
def spike(pages: Pages) -> Pages:
    """Ten days of two models' hourly latencies, of which fraud's is tenfold in one hour; analysed and forecast."""
    documents = []
    for hour in range(240):
        moment = NOON - timedelta(hours=240 - hour)
        for model, usual in (("fraud", 20.0), ("outliers", 5.0)):
            slow = 10 if (model, hour) == ("fraud", 220) else 1
            ms = usual * slow * (1 + 0.05 * ((hour * 7) % 5))
            documents.append({"@timestamp": moment.isoformat(), "model": model, "ms": ms})
    pages.index("calls", documents)
    pages.elastic("PUT", "/_ml/anomaly_detectors/latency", LATENCY)
    pages.elastic("PUT", "/_ml/datafeeds/datafeed-latency", {"job_id": "latency", "indices": ["calls"]})
    pages.elastic("POST", "/_ml/anomaly_detectors/latency/_open")
    pages.elastic("POST", f"/_ml/datafeeds/datafeed-latency/_start?start=0&end={int(NOON.timestamp() * 1000)}")
    deadline = time.monotonic() + 30
    while (state := _state(pages)) != "closed" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state == "closed"
    pages.elastic("POST", "/_ml/anomaly_detectors/latency/_open")
    pages.elastic("POST", "/_ml/anomaly_detectors/latency/_forecast?duration=1d")
    return pages


def _state(pages: Pages) -> str:
    return str(pages.elastic("GET", "/_ml/anomaly_detectors/latency/_stats")["jobs"][0]["state"])


def test_the_explorer_and_the_viewer_show_what_a_job_found(spike: Pages) -> None:
    page = spike.get("/app/ml/explorer")
    assert OWN in page.text
    assert "critical 2026-03-01 16:00" in page.text, "the time of the bucket, in UTC"
    assert {"Overall", "fraud"} <= set(page.texts), "a swim lane for the job and one for the model"
    assert "#fe5050" in {one.get("fill") for one in page.all("path")}
    (link,) = {str(one["href"]) for one in page.all("a") if "entity=fraud" in str(one["href"])}
    page = spike.get(link)
    assert OWN in page.text
    assert "actual" in page.texts
    assert {"typical, where unusual", "critical", "forecast, prediction"} <= set(page.texts)
    assert "critical 2026" not in spike.get("/app/ml/timeseriesexplorer?entity=outliers").text
    page = spike.get("/app/ml/explorer?from=now-90d&to=now-60d")
    assert "No such record in this time range; the newest bucket is of 2026-03-02 11:00 UTC" in page.text
    assert "critical 2026" not in spike.get("/app/ml/explorer?severity=75&from=now-12h").text
    assert "There is no anomaly job [x]." in spike.get("/app/ml/explorer?job=x", status=404).text


def test_a_model_and_its_job_are_shown_in_full(pages: Pages) -> None:
    body = {**MODEL, "tags": ["shop"]}
    pages.elastic("PUT", "/_ml/trained_models/slow-1", body)
    pages.elastic("PUT", "/_ml/trained_models/slow-1/model_aliases/slow_champion")
    page = pages.get("/app/management/ml/trained_models")
    assert "slow-1 slow_champion regression shop" in page.text
    assert OWN in page.text
    assert '"model_aliases": [' in pages.get("/app/management/ml/trained_models?id=slow_champion").text
    pages.index("calls", [{"@timestamp": NOON.isoformat(), "ms": 1.0, "n": 1}])
    job = {"source": {"index": "calls"}, "dest": {"index": "far"}, "analysis": {"outlier_detection": {}}}
    pages.elastic("PUT", "/_ml/data_frame/analytics/outliers", job)
    page = pages.get("/app/management/ml/analytics?id=outliers")
    assert "outliers outlier_detection stopped 0 %" in page.text
    assert '"model_memory_limit"' in page.text
    assert "There is no job [x]." in pages.get("/app/management/ml/analytics?id=x").text


# Links ----------------------------------------------------------------------------------------------------------------

SHOWN = {
    "DataFrameAnalyticsLink": ("outliers-1", "outliers-1 outlier_detection"),
    "TrainedModelLink": ("slow-1", "slow-1"),
    "ConsoleLink": ("GET /", "The sandbox has no console"),
    "IndexLink": ("calls", "Documents 1"),
    "IndicesLink": ("calls", "calls"),
    "DiscoverLink": ("FROM calls | KEEP model", "FROM calls | KEEP model"),
    "EnrichPolicyLink": ("by-model", "by-model"),
    "DashboardLink": ("watch", "What models do"),
    "ModelDashboardLink": ("watch/a", "What models do"),
    "RuleLink": ("slow", "Slow models"),
    "RulesLink": ("shop", "Slow models"),
    "DataViewLink": ("calls view", "calls view"),
    "AnomalyExplorerLink": (
        "latency/2026-03-01T00:00:00Z/2026-03-02T00:00:00Z",
        "2026-03-01 00:00 to 2026-03-02 00:00 UTC",
    ),
    "SingleMetricViewerLink": ("latency//", "Single metric viewer"),
}
KINDS = [one for one in vars(links).values() if isinstance(one, type) and one.__name__.endswith("Link")
         and one.__name__ not in {"KibanaLink", "BaseOperatorLink"}]  # fmt: skip


@pytest.fixture
def full(pages: Pages) -> Pages:
    """One object of each kind that a link may name."""
    pages.sandbox.backend.kibana.scheduler.by_hand = True
    pages.index("calls", [{"@timestamp": NOON.isoformat(), "model": "a", "ms": 1.0}])
    pages.elastic("PUT", "/_ml/anomaly_detectors/latency", LATENCY)
    job = {"source": {"index": "calls"}, "dest": {"index": "far"}, "analysis": {"outlier_detection": {}}}
    pages.elastic("PUT", "/_ml/data_frame/analytics/outliers-1", job)
    pages.elastic("PUT", "/_ml/trained_models/slow-1", MODEL)
    policy = {"match": {"indices": "calls", "match_field": "model", "enrich_fields": ["ms"]}}
    pages.elastic("PUT", "/_enrich/policy/by-model", policy)
    attributes = {"title": "calls", "name": "calls view"}
    pages.save({"type": "index-pattern", "id": "calls view", "attributes": attributes, "references": []}, dashboard())
    rule = {"name": "Slow models", "consumer": "stackAlerts", "tags": ["shop"], "rule_type_id": ".es-query",
            "actions": [],
            "schedule": {"interval": "5m"}, "params": es_query("FROM calls | STATS n = COUNT(*)")}  # fmt: skip
    pages.post("/api/alerting/rule/slow", rule)
    return pages


def test_every_link_of_the_package_leads_to_a_page_of_what_it_names(full: Pages) -> None:
    assert {one.__name__ for one in KINDS} == set(SHOWN)
    address = KibanaAddress(full.sandbox.kibana_url)
    for kind in KINDS:
        name, words = SHOWN[kind.__name__]
        url = urlsplit(kind().url(address, name))
        # What a browser's script does with a fragment: fragment.js.
        path = url.path + (url.fragment if url.fragment.startswith("/") else "")
        page = full.get(f"{path}?{url.query}" if url.query else path)
        assert words in page.text, (kind.__name__, path, page.text[:1500])
    assert "by-model calls model ms" in full.get("/app/management/data/index_management/enrich_policies").text
    assert "There is no index [nope]." in full.get(links.IndexLink.path("nope"), status=404).text


def test_every_page_of_the_menu_is_there_when_there_is_nothing_yet(pages: Pages) -> None:
    menu = [str(one["href"]) for one in pages.get("/").all("a")]
    assert len(menu) > 8
    for path in menu:
        nothing_to_show = path == "/app/ml/explorer"
        pages.get(path, status=404 if nothing_to_show else 200)


def _written(value: Any) -> str:
    """Rison as Kibana writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "!t", False: "!f", None: "!n"}[value]
    if isinstance(value, dict):
        return "(" + ",".join(f"{_written(name)}:{_written(one)}" for name, one in value.items()) + ")"
    if isinstance(value, list):
        return "!(" + ",".join(_written(one) for one in value) + ")"
    return "'" + value.replace("!", "!!").replace("'", "!'") + "'" if isinstance(value, str) else str(value)


STATES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(STATES)
def test_a_page_state_is_read_as_it_was_written(state: Any) -> None:
    assert rison(_written(state)) == state
