"""Dashboards: the list, and each one from its saved object and live data."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.pages import html, lens
from elastic_sandbox.kibana.pages.html import Cell, Choice, Page, Table, Text
from elastic_sandbox.kibana.pages.lens import Drawn, Question
from elastic_sandbox.kibana.pages.times import TimeRange, rison, time_range
from elastic_sandbox.kibana.saved_objects import DATA_VIEW, SavedObject

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_COLUMNS: Final = 48
_WIDTH, _ROW, _GAP, _FRAME = 1392, 20, 8, 24
"""Pixels that a chart is drawn for: the width of a page, a row of the grid, between panels, around a panel's inside."""
_OPTIONS_AT_MOST: Final = 100


@dataclass
class Panel:
    """One panel: where it lies, what it shows, what it asked."""

    title: str
    description: str
    place: dict[str, int]
    drawn: Drawn = field(default_factory=lambda: Drawn([]))
    problem: bool = False
    took_ms: int = 0
    time: str = ""

    @property
    def style(self) -> str:
        """The place on the grid as CSS."""
        at = self.place
        return f"grid-area:{at['y'] + 1}/{at['x'] + 1}/span {at['h']}/span {at['w']}"

    def fail(self, why: str) -> None:
        """Show why there is nothing to show."""
        self.problem, self.drawn = True, Drawn([Text(why, tone="bad")])

    @property
    def empty(self) -> bool:
        """Whether it has nothing to show."""
        return any(getattr(one, "tone", "") == "quiet" for one in self.drawn.blocks)


@dataclass
class Grid:
    """Panels on Kibana's grid, of the dashboard or of one of its sections."""

    kind: ClassVar[str] = "grid"
    panels: list[Panel]
    title: str = ""


@dataclass
class Links:
    """Links side by side."""

    kind: ClassVar[str] = "links"
    links: list[Cell]
    vertical: bool = False


def dashboards(backend: Backend, request: KibanaRequest) -> Page:
    """All dashboards of the space."""
    rows = []
    for saved in sorted(backend.kibana.objects.all("dashboard", request.space), key=_title):
        named = [one["id"] for one in saved["references"] if one["type"] == "tag"]
        tags = [tag for one in named if (tag := backend.kibana.objects.find("tag", one, request.space))]
        names = ", ".join(str(tag["attributes"].get("name", "")) for tag in tags)
        about = str(saved["attributes"].get("description") or "")
        rows.append([Cell(_title(saved), _path(saved["id"])), Cell(about), Cell(names)])
    empty = "No dashboard was imported yet: POST /api/saved_objects/_import takes a bundle."
    return Page("Dashboards", [Table(["Title", "Description", "Tags"], rows, empty=empty)], [("Home", "/app/home")])


def dashboard(backend: Backend, request: KibanaRequest) -> Page:
    """One dashboard."""
    saved = backend.kibana.objects.get("dashboard", request.path_params["id"], request.space)
    attributes = saved["attributes"]
    kept = (attributes.get("timeFrom"), attributes.get("timeTo")) if attributes.get("timeRestore") else (None, None)
    span = time_range(backend, request.params, (kept[0] or "now-15m", kept[1] or "now"))
    question = Question(backend, span)
    references = {one["name"]: one for one in saved["references"]}
    drawing = _Drawing(backend, request, question, references)
    try:
        choices = drawing.controls(attributes.get("controlGroupInput") or {})
        drawing.search()
        drawing.refuse_own_filters(attributes)
        grids = drawing.grids(json.loads(attributes.get("panelsJSON") or "[]"), attributes.get("sections") or [])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise bad_request(f"The dashboard cannot be read: {type(error).__name__}: {error}") from error
    refresh = attributes.get("refreshInterval") or {}
    return Page(
        _title(saved),
        grids or [Text("This dashboard has no panels.", tone="quiet")],
        [("Home", "/app/home"), ("Dashboards", "/app/dashboards")],
        description=str(attributes.get("description") or ""),
        notes=drawing.notes,
        time=span,
        choices=choices,
        refresh_seconds=0 if refresh.get("pause", True) else max(10, int(refresh.get("value", 0)) // 1000),
    )


class _Drawing:
    """A dashboard while it is drawn."""

    def __init__(
        self, backend: Backend, request: KibanaRequest, question: Question, references: Mapping[str, dict[str, str]]
    ) -> None:
        self._backend = backend
        self._request = request
        self._question = question
        self._references = references
        self.notes: list[str] = []
        self.filters: list[dict[str, Any]] = []
        self.refused = ""

    def controls(self, group: dict[str, Any]) -> list[Choice]:
        """The selections above the panels; what is chosen becomes a filter of all queries."""
        choices = []
        panels = json.loads(group.get("panelsJSON") or "{}")
        for name, control in sorted(panels.items(), key=lambda item: item[1].get("order", 0)):
            state = control.get("explicitInput") or {}
            title = str(state.get("title") or state.get("fieldName") or name)
            if control.get("type") != "optionsListControl":
                self.notes.append(f"The control {title} of type {control.get('type')} is not drawn here.")
                continue
            if state.get("selectedOptions") or state.get("exclude") or state.get("existsSelected"):
                self.notes.append(f"What is chosen in the control {title} from the start is not taken over here.")
            chosen = self._request.params.get(f"control.{name}", "")
            try:
                options = self._options(str(state.get("dataViewRefName")), state)
            except ElasticError as error:
                options = []
                self.notes.append(f"The control {title} has no options: {error.reason}")
            if chosen:
                self.filters.append({"term": {state["fieldName"]: chosen}})
            shown = [(one, one or "All") for one in dict.fromkeys(["", *([chosen] if chosen else []), *options])]
            choices.append(Choice(f"control.{name}", title, chosen, shown))
        # Only now, as what is chosen in one must not take the options of the next.
        self._question.filters.extend(self.filters)
        return choices

    def _options(self, reference: str, state: dict[str, Any]) -> list[str]:
        view = self._backend.kibana.objects.get(
            DATA_VIEW, self._references.get(reference, {}).get("id", ""), self._request.space
        )
        name = str(state["fieldName"]).replace("`", "``")
        source = ", ".join(f'"{one.strip()}"' for one in view["attributes"]["title"].split(","))
        query = f"FROM {source} | STATS n = COUNT(*) BY `{name}` | SORT n DESC | LIMIT {_OPTIONS_AT_MOST}"
        found = self._question.ask(query, view["attributes"].get("timeFieldName"))
        return [str(one) for _, one in found.values if one is not None]

    def search(self) -> None:
        """What the address searches for, as links write it: of KQL only ``field:"value"``; the rest is named."""
        state = rison(self._request.params["_a"]) if self._request.params.get("_a") else {}
        if not isinstance(state, dict):
            return
        query = state.get("query")
        text = str(query.get("query") or "") if isinstance(query, dict) else ""
        if found := re.fullmatch(r'([\w.@]+)\s*:\s*"([^"\\*]*)"', text):
            self._question.filters.append({"term": {found[1]: found[2]}})
            self.notes.append(f"Only what fits {text}, as the address asks.")
        elif text:
            self.notes.append(f"The search {text} of the address is not understood here: the panels show everything.")
        if others := sorted(name for name in state if name != "query" and state[name]):
            self.notes.append(f"Of the address {', '.join(others)} is not taken over here.")

    def refuse_own_filters(self, attributes: dict[str, Any]) -> None:
        """A dashboard with a search or filters of its own would show other numbers than Kibana: it shows none."""
        source = json.loads((attributes.get("kibanaSavedObjectMeta") or {}).get("searchSourceJSON") or "{}")
        filters = [one for one in source.get("filter") or [] if not (one.get("meta") or {}).get("disabled")]
        if filters or (source.get("query") or {}).get("query"):
            self.refused = "drawing a dashboard that has a search or filters of its own"

    # Panels ---------------------------------------------------------------------------------------------------------

    def grids(self, panels: list[dict[str, Any]], sections: list[dict[str, Any]]) -> list[Grid]:
        """The panels that are in no section, then those of each, from top to bottom."""
        sections = sorted(sections, key=lambda one: (one.get("gridData") or {}).get("y", 0))
        made = [("", ""), *((str(one.get("title") or ""), str(one["gridData"]["i"])) for one in sections)]
        grids = []
        for title, name in made:
            own = [one for one in panels if str((one.get("gridData") or {}).get("sectionId") or "") == name]
            own.sort(key=lambda one: (one["gridData"]["y"], one["gridData"]["x"]))
            if own:
                grids.append(Grid([self._panel(one) for one in own], title))
        return grids

    def _panel(self, raw: dict[str, Any]) -> Panel:
        config, grid = raw.get("embeddableConfig") or {}, raw["gridData"]
        attributes = config.get("attributes") or {}
        hidden = config.get("hidePanelTitles") or config.get("hide_title")
        title = "" if hidden else str(config.get("title") or attributes.get("title") or "")
        place = {name: int(grid[name]) for name in ("x", "y", "w", "h")}
        panel = Panel(title, str(config.get("description") or attributes.get("description") or ""), place)
        began = time.monotonic()
        try:
            if self.refused:
                raise unsupported(self.refused)
            panel.drawn = self._drawn(raw, config, panel)
        except ElasticError as error:
            panel.fail(error.reason)
        except ImportError as error:
            panel.fail(f"{html.NEEDED} ({error})")
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            # A state that no Kibana writes must not take the other panels with it.
            panel.fail(f"The panel's state cannot be read: {type(error).__name__}: {error}")
        panel.took_ms = int((time.monotonic() - began) * 1000)
        return panel

    def _drawn(self, raw: dict[str, Any], config: dict[str, Any], panel: Panel) -> Drawn:
        kind = raw.get("type")
        if kind == "lens":
            return self._lens(config, panel)
        if kind == "links":
            return Drawn([self._links(str(raw.get("panelIndex")), config)])
        vis = config.get("savedVis") or {}
        if kind == "visualization" and vis.get("type") == "markdown":
            return Drawn([Text(str((vis.get("params") or {}).get("markdown") or ""), form="markdown")])
        if kind in {"markdown", "DASHBOARD_MARKDOWN"}:
            return Drawn([Text(str(config.get("content") or ""), form="markdown")])
        raise unsupported(f"drawing a panel of type [{kind}{'/' + str(vis['type']) if vis.get('type') else ''}]")

    def _lens(self, config: dict[str, Any], panel: Panel) -> Drawn:
        if "attributes" not in config:
            raise unsupported("drawing a panel that is a reference to another saved object")
        question, own = self._question, config.get("timeRange") or config.get("time_range")
        if own:
            span = time_range(self._backend, {"from": str(own["from"]), "to": str(own["to"])})
            question, panel.time = replace(question, time=span), _own_range(span)
        width = panel.place["w"] * _WIDTH / _COLUMNS - _GAP - _FRAME
        height = panel.place["h"] * (_ROW + _GAP) - _GAP - _FRAME - (26 if panel.title else 0)
        return lens.draw(question, config["attributes"], max(width, 80), max(height, 40))

    def _links(self, panel: str, config: dict[str, Any]) -> Links:
        attributes = config.get("attributes") or config
        links = []
        for one in sorted(attributes.get("links") or [], key=lambda one: one.get("order", 0)):
            target = str(one.get("destination") or "")
            if one.get("type") == "dashboardLink":
                name = str(one.get("destinationRefName") or "")
                reference = self._references.get(f"{panel}:{name}") or self._references.get(name)
                target = reference["id"] if reference else target
                found = self._backend.kibana.objects.find("dashboard", target, self._request.space)
                label = one.get("label") or (_title(found) if found else target)
                links.append(Cell(str(label), _path(target) if found else "", "" if found else "bad"))
            else:
                links.append(Cell(str(one.get("label") or target), target))
        return Links(links, attributes.get("layout") == "vertical")


def _own_range(span: TimeRange) -> str:
    recent = span.end == "now" and span.start.startswith("now-")
    return f"last {span.start[4:]}" if recent else f"{span.start} to {span.end}"


def _title(saved: SavedObject) -> str:
    return str(saved["attributes"].get("title") or saved["id"])


def _path(name: str) -> str:
    return f"/app/dashboards/view/{html.segment(name)}"


PAGES: Final = {"/app/dashboards": dashboards, "/app/dashboards/view/{id}": dashboard}
