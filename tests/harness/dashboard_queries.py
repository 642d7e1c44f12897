"""The queries of a bundle's dashboards, asked as Kibana asks them: time range as a filter, `?_tstart` and `?_tend`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class PanelQuery:
    """One layer of one panel.

    :param columns: (column of the answer, type that Lens expects) of what is drawn.
    """

    dashboard: str
    panel: str
    layer: str
    esql: str
    time_field: str | None
    begin: str
    columns: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        """How the test of it is named."""
        return "/".join([self.dashboard, self.panel, *([] if self.layer == "layer_0" else [self.layer])])

    def ask(
        self, client: Any, *, now: datetime | None = None, filters: Iterable[dict[str, Any]] = ()
    ) -> dict[str, Any]:
        """What Elasticsearch answers."""
        end = now or datetime.now(UTC)
        number, unit = re.fullmatch(r"now-(\d+)([mhd])", self.begin).groups()  # type: ignore[union-attr]
        begin = end - timedelta(**{_UNITS[unit]: int(number)})
        bounds = {"_tstart": _iso(begin), "_tend": _iso(end)}
        given = [{name: value} for name, value in bounds.items() if f"?{name}" in self.esql]
        wanted = list(filters)
        if self.time_field:
            wanted.append({"range": {self.time_field: {"gte": bounds["_tstart"], "lte": bounds["_tend"]}}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(client.esql.query(query=self.esql, params=given or None, filter={"bool": {"filter": wanted}}))


def panel_queries(objects: Iterable[dict[str, Any]]) -> Iterator[PanelQuery]:
    """Every query of every dashboard among saved objects."""
    for one in objects:
        if one["type"] != "dashboard":
            continue
        for panel in json.loads(one["attributes"]["panelsJSON"]):
            if panel["type"] != "lens":
                continue
            state = panel["embeddableConfig"]
            begin = state.get("timeRange", {}).get("from", one["attributes"]["timeFrom"])
            layers = state["attributes"]["state"]["datasourceStates"]["textBased"]["layers"]
            for name, layer in layers.items():
                columns = tuple((column["fieldName"], column["meta"]["type"]) for column in layer["columns"])
                yield PanelQuery(
                    one["id"], panel["panelIndex"], name, layer["query"]["esql"], layer.get("timeField"), begin, columns
                )


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
