"""A Lens state with ES|QL: its queries asked, its layers as columns and rows, and what the panel then shows.

What a state has and this cannot draw is named in a note; a panel is never drawn as if it were not there. States:
LensConfigBuilder of Kibana 9.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.kibana.errors import bad_request, unsupported
from elastic_sandbox.kibana.pages import formats
from elastic_sandbox.kibana.pages.html import Cell, Text, plain_color
from elastic_sandbox.kibana.pages.times import TimeRange, instant, shown

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.esql.answer import Result


@dataclass
class Question:
    """With what the queries of a page are asked.

    :param filters: queries that every document must match, next to the time range
    :param colors: that names have been given: a model has one colour in all panels of a page
    """

    backend: Backend
    time: TimeRange
    filters: list[dict[str, Any]] = field(default_factory=list)
    colors: dict[str, str] = field(default_factory=dict)

    def ask(self, query: str, time_field: str | None = None) -> Result:
        """The rows of a query within the time range."""
        start, end = self.time.iso
        params = [{name: value} for name, value in (("_tstart", start), ("_tend", end)) if f"?{name}" in query]
        clauses = [*self.filters, *([self.time.filter(time_field)] if time_field else [])]
        return self.backend.esql.query(query, params=params, filter={"bool": {"filter": clauses}} if clauses else None)


@dataclass
class Drawn:
    """What a panel shows, what it cannot show, and what it asked: queries with their time fields."""

    blocks: list[Any]
    notes: list[str] = field(default_factory=list)
    queries: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Column:
    """A column of a layer: where its values are in a row, and how they are shown."""

    at: int
    label: str
    type: str
    format: dict[str, Any] | None

    def cell(self, row: list[Any]) -> Cell:
        """The value in a row."""
        return formats.cell(row[self.at], self.type, self.format)

    def text(self, row: list[Any]) -> str:
        """The value in a row, as a text."""
        return formats.text(row[self.at], self.type, self.format)

    def number(self, row: list[Any]) -> float | None:
        """The value in a row where it is a number."""
        value = row[self.at]
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def moment(self, row: list[Any]) -> int | None:
        """The value in a row where it is a date."""
        value = row[self.at]
        return instant(value) if isinstance(value, str) else None


class Layer:
    """A layer's columns by id, and its rows."""

    def __init__(self, question: Question, state: dict[str, Any], views: dict[str, Any]) -> None:
        view = views.get(state.get("index", "")) or {}
        self.query = str((state.get("query") or {}).get("esql") or "")
        self.time_field = state.get("timeField") or view.get("timeFieldName")
        result = question.ask(self.query, self.time_field)
        self.rows = result.values
        found = {column["name"]: (at, column["type"]) for at, column in enumerate(result.columns)}
        kept = view.get("fieldFormats") or {}
        self._columns: dict[str, Column] = {}
        for column in state.get("columns") or []:
            name = column.get("fieldName")
            if name not in found:
                raise bad_request(f"The query answers no column [{name}]; it answers [{', '.join(found)}].")
            form = (column.get("params") or {}).get("format") or kept.get(name)
            self._columns[column["columnId"]] = Column(
                found[name][0], column.get("label") or name, found[name][1], form
            )

    def column(self, name: str | None) -> Column | None:
        """A column by its id; None where no id is given."""
        return self.needed(name) if name else None

    def needed(self, name: str | None) -> Column:
        """A column that the chart cannot be without."""
        if name not in self._columns:
            raise bad_request(f"The chart names the column [{name}], which its layer does not have.")
        return self._columns[name]


# Drawn, or without a meaning of their own; whatever else is set is named.
_KNOWN: Final = frozenset({
    "layerId", "layerType", "layers", "legend", "preferredSeriesType", "valueLabels", "fittingFunction",
    "emphasizeFitting", "endValue", "curveType", "hideEndzones", "showCurrentTimeMarker", "valuesInLegend",
    "fillOpacity", "minBarHeight", "axisTitlesVisibilitySettings", "xTitle", "yTitle", "tickLabelsVisibilitySettings",
    "gridlinesVisibilitySettings", "labelsOrientation", "yRightTitle", "yLeftExtent", "yRightExtent", "yLeftScale",
    "yRightScale", "metricAccessor", "secondaryMetricAccessor", "maxAccessor", "breakdownByAccessor", "subtitle",
    "color", "palette", "showBar", "progressDirection", "secondaryPrefix", "secondaryLabel", "secondaryTrend", "icon",
    "iconAlign", "titlesTextAlign", "valuesTextAlign", "titleWeight", "valueFontMode", "maxCols", "applyColorTo",
    "density", "columns", "sorting", "paging", "rowHeight", "rowHeightLines", "headerRowHeight",
    "headerRowHeightLines", "shape", "valueAccessor", "xAccessor", "yAccessor", "gridConfig",
})  # fmt: skip


def draw(question: Question, attributes: dict[str, Any], width: float, height: float) -> Drawn:
    """A Lens panel.

    :raises ElasticError: what the query was answered, 501 for a kind of chart or of data that cannot be drawn
    """
    from elastic_sandbox.kibana.pages.lens_charts import CHARTS, Place

    state = attributes.get("state") or {}
    kind, vis = str(attributes.get("visualizationType")), state.get("visualization") or {}
    if kind not in CHARTS:
        raise unsupported(f"drawing the visualization [{kind}]")
    sources = state.get("datasourceStates") or {}
    layers = (sources.get("textBased") or {}).get("layers") or {}
    if not layers:
        raise unsupported(f"drawing a panel on {', '.join(sources) or 'no data'} instead of textBased (ES|QL)")
    read = {name: Layer(question, layer, state.get("adHocDataViews") or {}) for name, layer in layers.items()}
    drawn = Drawn([], queries=[(layer.query, layer.time_field or "") for layer in read.values()])
    left = [name for name in vis if name not in _KNOWN and vis[name]] + (["filters"] if state.get("filters") else [])
    if all(not layer.rows for layer in read.values()):
        drawn.blocks = [Text(_why_empty(question, next(iter(read.values()))), tone="quiet")]
    else:
        place = Place(question, width, height, str(attributes.get("title") or "chart"), left)
        drawn.blocks = [CHARTS[kind](read, vis, place)]
    if left:
        drawn.notes.append(f"Not drawn here: {', '.join(dict.fromkeys(left))}.")
    return drawn


def _why_empty(question: Question, layer: Layer) -> str:
    """Nothing there at all, nothing in the time range, or nothing that matches."""
    from elastic_sandbox.esql.commands import source_names
    from elastic_sandbox.esql.parser import parse

    commands = parse(layer.query)
    patterns = source_names(commands)[0] if commands[0].kind == "from" else []
    if not patterns or not layer.time_field:
        return "The query answered no rows."
    source = ", ".join(f'"{name}"' for name in patterns)
    try:
        newest = question.backend.esql.query(f"FROM {source} | STATS newest = MAX(`{layer.time_field}`)").values[0][0]
    except ElasticError as error:
        return error.reason
    at = instant(newest) if isinstance(newest, str) else None
    named = patterns[0] + (f" and {len(patterns) - 1} more" if len(patterns) > 1 else "")
    if at is None:
        return f"Nothing has been written to {named} yet."
    where = (
        "This time range is empty" if at < question.time.start_ms else "Nothing in this time range answers the query"
    )
    return f"{where}: the newest document of {named} is of {shown(at)} UTC."


def mapped_colors(mapping: dict[str, Any] | None) -> dict[str, str]:
    """Colours that values were given by hand (colorMapping)."""
    found: dict[str, str] = {}
    for one in (mapping or {}).get("assignments") or []:
        code = plain_color((one.get("color") or {}).get("colorCode"))
        for rule in [one["rule"]] if one.get("rule") else one.get("rules") or []:
            values = rule.get("values") or [rule.get("value", rule.get("pattern"))]
            found |= {str(value): code for value in values if value is not None and code}
    return found
