"""What the demo says of its dashboards: which of their queries show nothing, asked over the dashboards' own time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from demo.panels import PanelQuery, panel_queries, silent_panels
from elastic_ml.exceptions import InvalidRequestError

NUMBER, TEXT = ("n", "number"), ("who", "string")


def layer(esql: str, *columns: tuple[str, str]) -> dict[str, Any]:
    shown = [{"fieldName": name, "meta": {"type": kind}} for name, kind in columns]
    return {"query": {"esql": esql}, "timeField": "@timestamp", "columns": shown}


def dashboard(**panels: dict[str, dict[str, Any]]) -> dict[str, Any]:
    drawn = [
        {
            "type": "lens",
            "panelIndex": name,
            "embeddableConfig": {
                "attributes": {"state": {"datasourceStates": {"textBased": {"layers": layers}}}},
                **({"timeRange": {"from": "now-1h"}} if name == "newest" else {}),
            },
        }
        for name, layers in panels.items()
    ]
    panels_json = json.dumps([*drawn, {"type": "DASHBOARD_MARKDOWN", "panelIndex": "text"}])
    return {"type": "dashboard", "id": "d", "attributes": {"timeFrom": "now-7d", "panelsJSON": panels_json}}


class Elastic:
    """Answers each query with the rows that are given for it, and keeps what was asked."""

    def __init__(self, **rows: Any) -> None:
        self.rows = rows
        self.asked: list[dict[str, Any]] = []

    @property
    def esql(self) -> Elastic:
        return self

    def query(self, *, query: str, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        rows = self.rows[query.split()[1]]
        if isinstance(rows, Exception):
            raise rows
        return {"columns": [{"name": "n"}, {"name": "who"}], "values": rows}


def test_panels_without_rows_or_figures_and_queries_that_fail_are_named() -> None:
    bundle = [
        {"type": "tag"},
        dashboard(
            full={"layer_0": layer("FROM full", NUMBER)},
            newest={"layer_0": layer("FROM none", NUMBER)},
            null={"layer_0": layer("FROM null", NUMBER, TEXT), "layer_limit": layer("FROM null", NUMBER)},
            wrong={"layer_0": layer("FROM wrong", NUMBER)},
        ),
    ]
    wrong = InvalidRequestError("Unknown column.", remedy="Mend it.")
    client: Any = Elastic(full=[[0, None]], none=[], null=[[None, "ana"]], wrong=wrong)
    asked, silent = silent_panels(client, bundle)
    assert asked == 5
    assert silent == {
        "d/newest": "no row since now-1h",
        "d/null": "no figure since now-7d",
        "d/wrong": str(wrong),
    }


@pytest.mark.parametrize(("rows", "shown"), [([["-", "ana"]], True), ([[None, None]], False), ([], False)])
def test_a_table_without_figures_shows_its_texts(rows: list[Any], shown: bool) -> None:
    (query,) = panel_queries([dashboard(names={"layer_0": layer("FROM names", TEXT)})])
    client: Any = Elastic(names=rows)
    assert query.shows(query.ask(client)) is shown


def test_a_query_is_asked_over_its_own_time() -> None:
    query = PanelQuery("d", "p", "layer_0", "FROM x | WHERE at > ?_tstart", "@timestamp", "now-24h", (NUMBER,))
    client: Any = Elastic(x=[[1, None]])
    query.ask(client, now=datetime(2026, 11, 21, tzinfo=UTC))
    (asked,) = client.asked
    begin, end = "2026-11-20T00:00:00.000Z", "2026-11-21T00:00:00.000Z"
    assert asked["params"] == [{"_tstart": begin}]
    assert asked["filter"] == {"bool": {"filter": [{"range": {"@timestamp": {"gte": begin, "lte": end}}}]}}
