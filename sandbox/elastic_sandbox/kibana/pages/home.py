"""The first page, and what Kibana has and the sandbox answers with a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.pages.html import Cell, Page, Table, Text
from elastic_sandbox.kibana.saved_objects import CONNECTOR, DATA_VIEW, RULE

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_ALERTING: Final = "/app/management/insightsAndAlerting/triggersActions"


def home(backend: Backend, request: KibanaRequest) -> Page:
    """How much of each there is."""
    objects, space, anomaly = backend.kibana.objects, request.space, backend.ml.anomaly
    counts = (
        ("Dashboards", "/app/dashboards", len(objects.all("dashboard", space))),
        ("Data views", "/app/management/kibana/dataViews", len(objects.all(DATA_VIEW, space))),
        ("Rules", f"{_ALERTING}/rules", len(objects.all(RULE, space))),
        ("Connectors", f"{_ALERTING}/connectors", len(objects.all(CONNECTOR, space))),
        ("Analytics jobs", "/app/management/ml/analytics", len(backend.ml.jobs.expand(None, allow_no_match=True))),
        (
            "Trained models",
            "/app/management/ml/trained_models",
            len(backend.ml.models.expand(None, allow_no_match=True)),
        ),
        ("Anomaly jobs", "/app/ml/explorer", len(anomaly.jobs.all())),
        ("Indices and data streams", "/app/management/data/index_management/indices", len(backend.indices.all())),
    )
    table = Table(
        ["What", "How many"], [[Cell(name, path), Cell(f"{count:,}", number=True)] for name, path, count in counts]
    )
    words = (
        "These pages show what is in this sandbox, at Kibana's paths. They change nothing; the API beside them does."
    )
    return Page("Sandbox", [table], description=words)


def console(_backend: Backend, _request: KibanaRequest) -> Page:
    """What a console of the developer tools would be for."""
    words = (
        "The sandbox has no console. Any request of the developer tools can be sent to Elasticsearch's port with curl: "
        '`GET /_cat/indices` is `curl "$ELASTICSEARCH_URL/_cat/indices"`; one with a body adds '
        "`-H 'content-type: application/json' -d '{...}'`. ES|QL can be asked in Discover."
    )
    return Page("Console", [Text(words, form="markdown")], [("Home", "/app/home")])


PAGES: Final = {
    "/": home,
    "/app": home,
    "/app/home": home,
    "/app/dev_tools": console,
    "/app/dev_tools/console": console,
}
