"""Dashboards as Kibana keeps them, imported through its API, and their pages as a browser would read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import httpx

from elastic_sandbox.testing import Sandbox

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CALLS = {
    "@timestamp": {"type": "date"},
    "model": {"type": "keyword"},
    "environment": {"type": "keyword"},
    "ms": {"type": "double"},
    "n": {"type": "long"},
}


class Reader(HTMLParser):
    """Elements and texts of a page; what it does not close is no page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


class Pages:
    """A sandbox with an index of calls, and its pages."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client) -> None:
        self.sandbox, self.http = sandbox, http

    def get(self, path: str, *, status: int = 200) -> Reader:
        answer = self.http.get(path)
        assert answer.status_code == status, (path, answer.status_code, answer.text[:2000])
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return Reader(answer.text)

    def post(self, path: str, body: Any) -> Any:
        answer = self.http.post(path, json=body, headers={"kbn-xsrf": "test"})
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def elastic(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{self.sandbox.elasticsearch_url}{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def index(self, name: str, documents: list[dict[str, Any]], properties: dict[str, Any] | None = None) -> None:
        self.elastic("PUT", f"/{name}", {"mappings": {"properties": properties or CALLS}})
        lines = "".join(f'{{"create":{{}}}}\n{json.dumps(one)}\n' for one in documents)
        headers = {"content-type": "application/x-ndjson"}
        url = f"{self.sandbox.elasticsearch_url}/{name}/_bulk?refresh=true"
        answer = self.http.post(url, content=lines.encode(), headers=headers).json()
        assert not answer["errors"], answer

    def calls(self, **more: Any) -> None:
        """Every five minutes of two hours before noon: fraud 10 to 33 ms, outliers always 5 ms."""
        documents = []
        for step in range(24):
            moment = (NOON - timedelta(minutes=5 * (24 - step))).isoformat()
            for model, ms in (("fraud", 10.0 + step), ("outliers", 5.0)):
                documents.append(
                    {"@timestamp": moment, "model": model, "environment": "production", "ms": ms, "n": 4, **more}
                )
        self.index("calls", documents)

    def save(self, *objects: dict[str, Any], space: str = "") -> None:
        text = "\n".join(json.dumps(one) for one in objects)
        files = {"file": ("bundle.ndjson", text.encode(), "application/ndjson")}
        path = f"{space}/api/saved_objects/_import?overwrite=true"
        answer = self.http.post(path, files=files, headers={"kbn-xsrf": "test"}).json()
        assert answer["success"], answer

    def dashboard(self, *panels: dict[str, Any], query: str = "", space: str = "", **more: Any) -> Reader:
        """Import a dashboard of the last two hours with these panels and read its page."""
        self.save(dashboard(*panels, **more), space=space)
        return self.get(f"{space}/app/dashboards/view/watch{query}")


def dashboard(*panels: dict[str, Any], references: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    placed = []
    for number, panel in enumerate(panels):
        grid = {"x": 24 * (number % 2), "y": 12 * (number // 2), "w": 24, "h": 12, "i": f"p{number}"}
        placed.append({"panelIndex": f"p{number}", "gridData": grid, **panel})
    attributes = {"title": "Watch", "description": "What models do", "timeRestore": True, "timeFrom": "now-2h",
                  "timeTo": "now", "panelsJSON": json.dumps(placed), **more}  # fmt: skip
    return {"type": "dashboard", "id": "watch", "attributes": attributes, "references": references or [],
            "coreMigrationVersion": "8.8.0", "typeMigrationVersion": "10.2.0"}  # fmt: skip


def lens(
    kind: str, query: str, columns: list[str] | list[dict[str, Any]], vis: dict[str, Any], *, title: str = "Panel",
    layers: dict[str, Any] | None = None, **config: Any,
) -> dict[str, Any]:  # fmt: skip
    """A panel on ES|QL by value; a column's id is its name."""
    named = [one if isinstance(one, dict) else {"columnId": one, "fieldName": one} for one in columns]
    layer = {"index": "v", "query": {"esql": query}, "columns": named, "timeField": "@timestamp"}
    state = {"visualization": {"layerId": "l", "layerType": "data", **vis}, "filters": [], "query": {"esql": query},
             "adHocDataViews": {"v": {"id": "v", "title": "calls", "timeFieldName": "@timestamp"}},
             "datasourceStates": {"textBased": {"layers": {"l": layer, **(layers or {})}}}}  # fmt: skip
    attributes = {"title": title, "type": "lens", "visualizationType": kind, "references": [], "state": state}
    return {"type": "lens", "embeddableConfig": {"title": title, "attributes": attributes, **config}}


def xy(series: str, query: str, x: str, y: str, split: str | None = None, **vis: Any) -> dict[str, Any]:
    drawn = {"layerId": "l", "layerType": "data", "seriesType": series, "xAccessor": x, "accessors": [y],
             **({"splitAccessor": split} if split else {}), **vis.pop("layer", {})}  # fmt: skip
    look = {
        "legend": {"isVisible": True, "position": "bottom"},
        "preferredSeriesType": series,
        "layers": [drawn],
        **vis,
    }
    return lens("lnsXY", query, [x, y, *([split] if split else [])], look)


def table(query: str, *columns: Any, **vis: Any) -> dict[str, Any]:
    names = [one if isinstance(one, dict) else {"columnId": one} for one in columns]
    return lens("lnsDatatable", query, [one["columnId"] for one in names], {"columns": names, **vis})


def metric(query: str, column: str, **vis: Any) -> dict[str, Any]:
    others = [vis[name] for name in ("breakdownByAccessor", "secondaryMetricAccessor", "maxAccessor") if name in vis]
    return lens("lnsMetric", query, [column, *others], {"metricAccessor": column, **vis})


def palette(*levels: tuple[float, str]) -> dict[str, Any]:
    begins = [begin for begin, _ in levels]
    ends = [*begins[1:], begins[-1] + 1]
    stops = [{"stop": end, "color": color} for end, (_, color) in zip(ends, levels, strict=True)]
    starts = [{"stop": begin, "color": color} for begin, color in levels]
    params = {"stops": stops, "colorStops": starts, "rangeType": "number", "continuity": "above", "rangeMin": begins[0]}
    return {"type": "palette", "name": "custom", "params": params}


def es_query(query: str, **more: Any) -> dict[str, Any]:
    """The `params` of a rule."""
    return {"searchType": "esqlQuery", "esqlQuery": {"esql": query}, "timeField": "@timestamp", "timeWindowSize": 5,
            "timeWindowUnit": "m", "size": 0, "threshold": [0], "thresholdComparator": ">", **more}  # fmt: skip


def columns_of(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns of a panel's layer, to be changed."""
    layers = panel["embeddableConfig"]["attributes"]["state"]["datasourceStates"]["textBased"]["layers"]
    return list(layers["l"]["columns"])
