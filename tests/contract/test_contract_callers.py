"""The sandbox beside its callers: nothing that is called is missing, nothing that is there is called by nobody."""

import re
from pathlib import Path

import pytest

from contract.callers import Route, called, called_routes, client_routes, words
from elastic_sandbox import inventory

SANDBOX = Path(inventory.__file__).parent

# Called in code that never runs against the sandbox, or that a 501 answers as well as it should.
NOT_NEEDED = {
    Route("POST", "/_tasks/_cancel"): "another form of tasks.cancel, which names its task",
    Route("POST", "/_transform/_stop"): "the client's other form",
    Route("GET", "/_nodes/{}/stats/{}/{}"): "a form of nodes.stats for index metrics",
    **{Route("GET", f"/_{end}"): "the end of a path of Kibana" for end in ("execute", "run_soon", "update_api_key")},
    Route("GET", "/_lifecycle"): "the end of a data stream's path",
    Route("POST", "/_security/user/{}/_has_privileges"): "another form of has_privileges, about somebody else",
}

A_PERSON = "what a person asks at a console to see what the package made"
NO_STAGE_YET = "for a stage that is designed and not built yet: "
ANOMALIES = NO_STAGE_YET + "anomalies_<job>"
FAKE = "answered with a 501 of its own, so that the refusal names what it is"
ASSETS = "clients.kibana_assets, whose paths are put together"
HELPERS = "helpers.scan of the official client"

# Routes without a caller among the sources: pattern of `METHOD path` → who asks.
WHY = {
    r"\w+ /_aliases|\w+ (/\{\})?/_alias(es)?(/\{\})?": A_PERSON,
    r"GET /_cluster/health(/\{\})?": A_PERSON,
    r"GET /_enrich/_stats": A_PERSON,
    r"(GET|POST) /(_ilm/(move/\{\}|start|status|stop)|\{\}/_ilm/\w+)": A_PERSON,
    r"GET /\{\}/_lifecycle/explain": A_PERSON,
    r"POST /\{\}/_rollover(/\{\})?": A_PERSON,
    r"(GET|HEAD) /\{\}/_source/\{\}": A_PERSON,
    r"POST /\{\}/_doc": A_PERSON,
    r"POST /\{\}/_delete_by_query": A_PERSON,
    r"POST /_reindex/\{\}/_rethrottle": NO_STAGE_YET + "rescore",
    r"\w+ /_search/scroll(/\{\})?": HELPERS,
    r"(GET|POST) /_transform/(\{\}/)?_preview": A_PERSON,
    r"POST /_transform/\{\}/_reset": A_PERSON,
    r"GET /_nodes(/\{\})?/stats(/\{\})?": "other forms of nodes.stats",
    r"\w+ /_ml/(anomaly_detectors|calendars|datafeeds|filters)\b.*": ANOMALIES,
    r"\w+ /_ml/(memory|_delete_expired_data|set_upgrade_mode)\b.*": ANOMALIES,
    r"(GET|POST) /_ml/data_frame/analytics/(\{\}/)?_preview": A_PERSON,
    r"POST /_ml/trained_models/\{\}/_infer": A_PERSON,
    r"POST /_query/async": FAKE,
    r"GET /api/(status|spaces/space/\{\})|POST /api/saved_objects/_(im|ex)port": "clients.kibana",
    r"\w+ /api/(actions/connector|alerting/rule|data_views/data_view)(/\{\})?": ASSETS,
    r"GET /api/(actions/connectors|actions/connector_types|alerting/rule_types|ml/saved_objects/sync)": ASSETS,
    r"POST /(api/actions/connector/\{\}/_execute|(api|internal)/alerting/rule/\{\}/_(enable|disable|run_soon))": ASSETS,
    r"POST /internal/kibana/management/saved_objects/_bulk_delete": "clients.kibana_saved_objects",
    r"GET /api/alerting/rules/_find|POST /api/alerting/rule/\{\}/_update_api_key": "maintenance.credentials",
    r"POST /api/alerting/rule/\{\}/(_(un)?mute_all|alert/\{\}/_(un)?mute|snooze_schedule)": A_PERSON,
    r"GET /api/(data_views|spaces/space)": A_PERSON,
    r"\w+ /api/data_views/default": A_PERSON,
    r"POST /api/(spaces/space|saved_objects/_resolve_import_errors)|(PUT|DELETE) /api/spaces/space/\{\}": A_PERSON,
}

# Names that no shipped body has, and why they are there.
INTEGRATIONS = "field types of streams that Elastic's integrations own"
PANELS = "panels and rules to come"
NAMES = {
    "field types": {
        INTEGRATIONS: {
            "byte", "constant_keyword", "flattened", "geo_point", "half_float", "match_only_text", "scaled_float",
            "unsigned_long",
        },
    },
    "queries": {A_PERSON: {"constant_score", "match_none", "wildcard"}},
    "aggregations": {PANELS: {"composite", "extended_stats", "histogram", "percentiles"}},
    "ingest processors": {
        "what an adopter's own pipelines before ours use": {
            "append", "dot_expander", "fail", "foreach", "gsub", "lowercase", "rename", "split", "trim", "uppercase",
        },
    },
    "anomaly detector functions": {ANOMALIES: set(inventory.parts()["anomaly detector functions"])},
    "ES|QL commands": {PANELS: set(inventory.parts()["ES|QL commands"])},
    "ES|QL functions": {PANELS: set(inventory.parts()["ES|QL functions"])},
}  # fmt: skip

# Lines of Python per family, docstrings and blank lines included: a ceiling to argue about, not a target.
CEILINGS = {
    "documents": 2750,  # 250 of them read plain documents from their bytes, for the rate of streaming_bulk
    "enrich": 550,
    "esql": 4600,
    "indices": 6000,
    "ingest": 3100,
    "kibana": 6050,  # 2270 of them are the pages, which are loaded with the first look at one
    "logstash": 3150,  # the language, its conditions and dates, nine filters, the lint
    "ml": 11200,  # 130 of them are interim results of anomaly jobs
    "painless": 2300,  # 600 of them are scripts of runtime fields: doc, emit, dates and zones
    "reindex": 700,
    "search": 5100,  # 550 of them are runtime fields
    "transform": 1450,
}


def implemented() -> set[Route]:
    """Every route of the sandbox."""
    return {
        Route(method, re.sub(r"\{\w+\}", "{}", path))
        for paths in inventory.routes().values()
        for path, methods in paths
        for method in methods.split(", ")
    }


def surplus() -> list[str]:
    """Routes that no source asks for; another method of a path that somebody asks for is none."""
    paths = {route.path for route in called_routes()}
    return sorted(f"{method} {path}" for method, path in implemented() if path not in paths)


def test_everything_that_the_package_calls_is_there() -> None:
    missing = {route: by for route, by in called_routes().items() if route not in implemented()}
    assert {route: by for route, by in missing.items() if route not in NOT_NEEDED} == {}


def test_every_other_route_has_a_reason() -> None:
    assert [line for line in surplus() if not any(re.fullmatch(pattern, line) for pattern in WHY)] == []


def test_every_reason_still_stands_for_a_route() -> None:
    assert [pattern for pattern in WHY if not any(re.fullmatch(pattern, line) for line in surplus())] == []


@pytest.mark.parametrize("kind", inventory.parts())
def test_every_name_is_in_a_shipped_body_or_has_a_reason(kind: str) -> None:
    language = kind.startswith("ES|QL")
    used = words()["functions" if language else "keys"]
    known = set().union(*NAMES.get(kind, {}).values())
    unused = [name for name in inventory.parts()[kind] if (name.upper() if language else name) not in used]
    assert [name for name in unused if name not in known] == []
    assert known <= set(inventory.parts()[kind]), "a reason for something that is not there"


def test_the_calls_are_really_read_from_the_sources() -> None:
    """Otherwise the tests above would compare nothing with nothing."""
    assert {"bulk", "search", "ml.put_data_frame_analytics", "indices.put_index_template", "reindex"} <= set(called())
    assert len(called()) > 60
    assert client_routes()["search"] == {Route("POST", "/_search"), Route("POST", "/{}/_search")}
    assert {"fingerprint", "pipeline", "date_histogram"} <= words()["keys"]


@pytest.mark.parametrize("family", CEILINGS)
def test_no_family_outgrows_its_ceiling(family: str) -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (SANDBOX / family).rglob("*.py"))
    assert lines <= CEILINGS[family], f"{family}: {lines} lines. Simplify it, or raise the ceiling and say why."


def test_the_page_about_the_sandbox_is_current() -> None:
    page = SANDBOX.parents[1] / "docs" / "sandbox.md"
    text = page.read_text(encoding="utf-8")
    assert inventory.renewed(text) == text, "python -m elastic_sandbox.inventory docs/sandbox.md"
