"""The queries of a bundle's dashboards, asked as Kibana asks them: over their own time, `?_tstart` to `?_tend`."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_OWN = "layer_0"


@dataclass(frozen=True)
class PanelQuery:
    """One layer of one panel.

    :param begin: where its time begins, as `now-7d`: the panel's own where it has one, else the dashboard's.
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
        """How it is named in tests and sentences."""
        return "/".join([self.dashboard, self.panel, *([] if self.layer == _OWN else [self.layer])])

    def ask(
        self, client: Elasticsearch, *, now: datetime | None = None, filters: Iterable[dict[str, Any]] = ()
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

    def shows(self, answer: dict[str, Any]) -> bool:
        """Whether a person sees anything: rows, and in them a figure, or in a table without figures a text.

        A threshold is drawn beside a chart that has points; it is enough that it has a row for them.
        """
        rows = answer["values"]
        if self.layer != _OWN:
            return bool(rows)
        drawn = {name for name, kind in self.columns if kind == "number"} or {name for name, _ in self.columns}
        places = [place for place, column in enumerate(answer["columns"]) if column["name"] in drawn]
        return any(row[place] is not None for row in rows for place in places)


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


def silent_panels(client: Elasticsearch, objects: Iterable[dict[str, Any]]) -> tuple[int, dict[str, str]]:
    """Ask every query; return how many there are, and those that show nothing, each with the reason.

    :param objects: the saved objects of a bundle.
    """
    from elastic_ml.exceptions import ElasticMLError

    asked = 0
    silent: dict[str, str] = {}
    for query in panel_queries(objects):
        asked += 1
        try:
            answer = query.ask(client)
        except ElasticMLError as error:
            silent[str(query)] = str(error)
            continue
        if not query.shows(answer):
            silent[str(query)] = f"{'no figure' if answer['values'] else 'no row'} since {query.begin}"
    return asked, silent


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
