"""What is wrong with dashboards before anybody sees them: Kibana imports nearly anything and shows the error later.

Descriptions are checked for what a person wrote, saved objects for what the builder made of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from elastic_ml.kibana_bundle.builder import VERSIONS, SavedObject, panel_id
from elastic_ml.kibana_bundle.columns import answer_of, commands
from elastic_ml.kibana_bundle.description import COLUMNS, XY, Dashboard, Panel
from elastic_ml.kibana_bundle.lens import index_pattern
from elastic_ml.project.yaml_files import file_error, line_of_key

if TYPE_CHECKING:
    from elastic_ml.exceptions import ProjectFileError
    from elastic_ml.kibana_bundle.assets import Asset, Assets

_RELATIVE: Final = re.compile(r"now-[1-9][0-9]*[smhdwMy](/[dwMy])?")
_BOUNDED: Final = re.compile(r"\?_t(start|end)\b")
_ACCESSOR: Final = re.compile(r".*[aA]ccessors?$")


def problems_of(assets: Assets, objects: Sequence[SavedObject]) -> list[ProjectFileError]:
    """One error per problem: file, line, panel or field, remedy."""
    # A mistake in a file would be told a second time of the object that was made of it.
    return list(_description_problems(assets)) or list(object_problems(objects))


# Descriptions -------------------------------------------------------------------------------------------------------


def _description_problems(assets: Assets) -> Iterator[ProjectFileError]:
    yield from _names(assets)
    known = {view.name for view in assets.data_views}
    for dashboard in assets.dashboards:
        yield from _dashboard(dashboard, known)
        for number, panel in enumerate(dashboard.content.panels):
            yield from _Panel(dashboard, number, panel).problems()
        yield from _grid(dashboard)


def _problem(asset: Asset[Any], place: Sequence[int | str], field: str, problem: str, remedy: str) -> ProjectFileError:
    return file_error(asset.path, line_of_key(asset.path, *place), field, problem, remedy)


def _names(assets: Assets) -> Iterator[ProjectFileError]:
    """Ids come from names of files, and Kibana takes two data views of one name for the same."""
    every: list[Asset[Any]] = [*assets.dashboards, *assets.data_views]
    for asset in every:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", asset.name):
            remedy = "rename it to small letters, digits and hyphens: its name is the object's id"
            yield file_error(asset.path, None, "", f"{asset.name!r} can be no id", remedy)
    for field, shown in (
        ("title", [(asset, asset.content.title) for asset in assets.dashboards]),
        ("called", [(asset, asset.content.called) for asset in assets.data_views]),
    ):
        counts = Counter(name for _, name in shown)
        for asset, name in shown:
            if counts[name] > 1:
                yield _problem(asset, [field], field, f"{name!r} is the name of two", "give each its own")


def _dashboard(asset: Asset[Dashboard], data_views: set[str]) -> Iterator[ProjectFileError]:
    dashboard = asset.content
    if dashboard.time is None:
        remedy = "add `time: {from: now-24h}`: without it a dashboard opens with whatever was looked at before"
        yield _problem(asset, [], "time", "no time range is restored", remedy)
    else:
        yield from _time(asset, ["time"], dashboard.time.from_, dashboard.time.to)
    if not dashboard.tags:
        yield _problem(asset, [], "tags", "the dashboard has no tag", "add `tags: [elastic-ml]`, so that it is found")
    for number, control in enumerate(dashboard.controls):
        if control.data_view not in data_views:
            there = ", ".join(sorted(data_views)) or "none yet"
            field = f"controls.{number}.data_view"
            problem = f"there is no data view {control.data_view!r}"
            yield _problem(asset, ["controls", number, "data_view"], field, problem, f"use one that is there: {there}")
    ids = [panel_id(panel.title) for panel in dashboard.panels]
    for number, name in enumerate(ids):
        if name in ids[:number] or name in {"links", "what-an-empty-panel-means", ""}:
            problem = f"another panel is called {dashboard.panels[number].title!r}, or its id is taken"
            yield _problem(
                asset, ["panels", number, "title"], f"panels.{number}.title", problem, "choose another title"
            )


def _time(asset: Asset[Dashboard], place: Sequence[int | str], begin: str, end: str) -> Iterator[ProjectFileError]:
    field = ".".join(map(str, place))
    if not _RELATIVE.fullmatch(begin):
        remedy = "write it as now-24h or now-7d: any other time is wrong tomorrow"
        yield _problem(asset, [*place, "from"], f"{field}.from", f"{begin!r} is no time relative to now", remedy)
    if end != "now":
        remedy = "write now: what ends earlier hides what happens at this moment"
        yield _problem(asset, [*place, "to"], f"{field}.to", f"{end!r} is not now", remedy)


def _grid(asset: Asset[Dashboard]) -> Iterator[ProjectFileError]:
    panels = list(enumerate(asset.content.panels))
    for number, panel in panels:
        if panel.at.x + panel.at.w > COLUMNS:
            problem = f"{panel.title!r} ends in column {panel.at.x + panel.at.w} of {COLUMNS}"
            yield _problem(asset, ["panels", number, "at"], f"panels.{number}.at", problem, "make it narrower")
    for (_, one), (number, other) in combinations(panels, 2):
        a, b = one.at, other.at
        if a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h:
            problem = f"{other.title!r} overlaps {one.title!r}"
            yield _problem(asset, ["panels", number, "at"], f"panels.{number}.at", problem, "move one of them")


class _Panel:
    def __init__(self, asset: Asset[Dashboard], number: int, panel: Panel) -> None:
        self.asset, self.number, self.panel = asset, number, panel

    def problems(self) -> Iterator[ProjectFileError]:
        if self.panel.time is not None:
            yield from _time(self.asset, ["panels", self.number, "time"], self.panel.time.from_, self.panel.time.to)
        if self.panel.esql is not None:
            yield from self._query(self.panel.esql)

    def _query(self, esql: str) -> Iterator[ProjectFileError]:
        if not index_pattern(esql):
            yield self._wrong("esql", "the query reads nothing", "start it with FROM")
        parts = commands(esql)
        answer = answer_of(esql)
        if answer.open:
            remedy = "end it with KEEP (after a LOOKUP JOIN, too), so that its columns can be checked"
            yield self._wrong("esql", "which columns it answers with depends on the index", remedy)
        else:
            for part, column in self.panel.shown():
                if column.column not in answer.columns:
                    remedy = f"use one of {', '.join(answer.columns)}"
                    yield self._wrong(part, f"the query has no column {column.column!r}", remedy)
        if self.panel.chart != "metric" and "LIMIT" not in {name for name, _ in parts}:
            yield self._wrong("esql", "the query ends after 1000 rows without a word", "end it with a LIMIT")
        if self.panel.chart in XY and "SORT" not in {name for name, _ in parts}:
            yield self._wrong("esql", "the order of its rows is by chance", "SORT it, by time for a line")
        filters = " ".join(rest for name, rest in parts if name == "WHERE")
        if re.search(r"\bNOW\s*\(", filters, re.IGNORECASE) and self.panel.time_field != "none":
            remedy = "remove it: Kibana filters by the time range; a panel that needs its own has `time:`"
            yield self._wrong("esql", "NOW() in WHERE fights the time range that a person chooses", remedy)
        if _BOUNDED.search(esql) and self.panel.time_field == "none":
            remedy = "give it a time_field, or a BUCKET of a fixed length"
            yield self._wrong("time_field", "?_tstart and ?_tend need a time field", remedy)

    def _wrong(self, field: str, problem: str, remedy: str) -> ProjectFileError:
        place: list[int | str] = ["panels", self.number, field]
        return _problem(self.asset, place, f"panels.{self.number}.{field} ({self.panel.title})", problem, remedy)


# Saved objects ------------------------------------------------------------------------------------------------------


def object_problems(objects: Sequence[SavedObject]) -> Iterator[ProjectFileError]:
    """What would not import, or not be drawn; any saved objects, also ones that Kibana exported."""
    present = {(one["type"], one["id"]) for one in objects}
    counts = Counter((one["type"], one["id"]) for one in objects)
    for one in objects:
        where = f"{one['type']} {one['id']}"
        if counts[one["type"], one["id"]] > 1:
            yield _object(where, "id", "two objects have this id", "rename a file")
        if one.get("typeMigrationVersion") != VERSIONS.get(one["type"]) or "version" in one:
            yield _object(where, "typeMigrationVersion", "no version that 9.2 to 9.5 all read", f"use {VERSIONS}")
        names = Counter(reference["name"] for reference in one["references"])
        for reference in one["references"]:
            if names[reference["name"]] > 1:
                yield _object(where, reference["name"], "two references have this name", "give each its own")
            if (reference["type"], reference["id"]) not in present:
                problem = f"refers to {reference['type']} {reference['id']}, which is not in the bundle"
                yield _object(where, reference["name"], problem, "add it, or remove what refers to it")
        if one["type"] == "dashboard":
            yield from _dashboard_object(where, one)


def _dashboard_object(where: str, saved: SavedObject) -> Iterator[ProjectFileError]:
    attributes = saved["attributes"]
    if not attributes.get("timeRestore"):
        yield _object(where, "timeRestore", "no time range is restored", "add a time range")
    if not any(reference["type"] == "tag" for reference in saved["references"]):
        yield _object(where, "references", "the dashboard has no tag", "add a tag")
    names = {reference["name"] for reference in saved["references"]}
    controls = json.loads(attributes.get("controlGroupInput", {}).get("panelsJSON", "{}"))
    wanted = [control["explicitInput"].get("dataViewRefName") for control in controls.values()]
    panels = json.loads(attributes["panelsJSON"])
    seen: Counter[str] = Counter(panel["panelIndex"] for panel in panels)
    for panel in panels:
        index = panel["panelIndex"]
        if seen[index] > 1 or panel["gridData"]["i"] != index:
            yield _object(where, index, "the panel's ids are not its own, or differ", "give the panel one id")
        state = panel["embeddableConfig"].get("attributes", {})
        wanted += [f"{index}:{link['destinationRefName']}" for link in state.get("links", [])]
        wanted += [f"{index}:{reference['name']}" for reference in state.get("references", [])]
        if panel["type"] == "lens":
            for problem in _lens_problems(state):
                yield _object(where, index, problem, "build it anew: this is the builder's work")
    for name in wanted:
        if name and name not in names:
            yield _object(where, name, "the dashboard lacks this reference", "repeat it among the references")


def _lens_problems(attributes: dict[str, Any]) -> Iterator[str]:
    if "version" in attributes:
        yield "a Lens state with a version is not read by every Kibana"
    state = attributes["state"]
    columns = set()
    for name, layer in state["datasourceStates"].get("textBased", {}).get("layers", {}).items():
        if layer["index"] not in state["adHocDataViews"]:
            yield f"layer {name} names no ad-hoc data view"
        if _BOUNDED.search(layer["query"]["esql"]) and not layer.get("timeField"):
            yield f"layer {name} has no time field"
        columns |= {column["columnId"] for column in layer["columns"]}
    for accessor in _accessors(state["visualization"]):
        if accessor not in columns:
            yield f"{accessor} is no column of its layers"


def _accessors(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _accessors(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _accessors(one, key)
    elif isinstance(value, str) and (_ACCESSOR.fullmatch(key) or key == "columnId"):
        yield value


def _object(where: str, field: str, problem: str, remedy: str) -> ProjectFileError:
    return file_error(where, None, field, problem, remedy)
