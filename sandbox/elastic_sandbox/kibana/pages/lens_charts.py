"""Lens' kinds of charts: lines, areas and bars, figures, tables, heatmaps; each from its layers' rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from elastic_sandbox.kibana.errors import unsupported
from elastic_sandbox.kibana.pages import charts, formats
from elastic_sandbox.kibana.pages.html import Cell, Chart, Figure, Figures, Table, plain_color
from elastic_sandbox.kibana.pages.lens import Column, Layer, Question, mapped_colors

Layers = dict[str, Layer]
State = dict[str, Any]
ROWS_AT_MOST: Final = 200
_POINTS_AT_MOST: Final = 20_000
_LAYER: Final = frozenset({"layerId", "layerType", "seriesType", "xAccessor", "accessors", "splitAccessor", "palette",
                           "splitAccessors", "yConfig", "colorMapping", "isHistogram", "simpleView"})  # fmt: skip
_TABLE_COLUMN: Final = frozenset({"columnId", "hidden", "width", "isTransposed", "isMetric", "alignment", "colorMode",
                                  "palette", "colorMapping", "oneClickFilter", "transposable"})  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a chart goes; ``left`` takes the names of what is not drawn."""

    question: Question
    width: float
    height: float
    title: str
    left: list[str]


def _xy(read: Layers, vis: State, place: Place) -> Chart:
    chart = charts.XY([], None, ({}, {}))
    timed, horizontal = False, False
    for spec in vis.get("layers") or []:
        place.left.extend(f"{name} of a layer" for name in spec if name not in _LAYER and spec[name])
        layer, kind = read.get(spec.get("layerId", "")), spec.get("layerType", "data")
        if layer is None or kind != "data":
            place.left.append(f"a layer of type {kind}")
            continue
        if "percentage" in spec["seriesType"]:
            raise unsupported(f"drawing the series type [{spec['seriesType']}]")
        x = layer.column(spec.get("xAccessor"))
        timed = x is not None and x.type in formats.DATES
        horizontal = "horizontal" in spec["seriesType"]
        chart.series += _series(layer, spec, x, timed=timed, y=chart.y)
    if len(chart.series) > charts.SERIES_AT_MOST:
        place.left.append(f"{len(chart.series) - charts.SERIES_AT_MOST} of {len(chart.series)} series")
        del chart.series[charts.SERIES_AT_MOST :]
    _axes(vis, chart, place.left)
    legend = vis.get("legend") or {}
    chart.horizontal = horizontal
    chart.legend = str(legend.get("position") or "right") if legend.get("isVisible", True) else ""
    if timed:
        # What lies outside of the range, such as a bucket that began before it, is shown too.
        time, found = place.question.time, [x for one in chart.series for x, _ in one.points]
        chart.ends = min([time.start_ms, *found]), max([time.end_ms, *found])
        if vis.get("fittingFunction", "None") == "None":
            charts.break_gaps(chart.series)
    return chart.draw(place.width, place.height, place.title, place.question.colors)


def _series(layer: Layer, spec: State, x: Column | None, *, timed: bool, y: tuple[State, State]) -> list[charts.Series]:
    names = spec.get("splitAccessors") or ([spec["splitAccessor"]] if spec.get("splitAccessor") else [])
    splits, accessors = [layer.needed(name) for name in names], spec.get("accessors") or []
    settings = {one.get("forAccessor"): one for one in spec.get("yConfig") or []}
    kind, colors = str(spec["seriesType"]), mapped_colors(spec.get("colorMapping"))
    found: dict[tuple[str, str], charts.Series] = {}
    for accessor in accessors:
        column, setting = layer.needed(accessor), settings.get(accessor) or {}
        right = setting.get("axisMode") == "right"
        y[right].setdefault("format", column.format)
        y[right].setdefault("label", column.label)
        for row in layer.rows[:_POINTS_AT_MOST]:
            at = "" if x is None else x.moment(row) if timed else x.text(row)
            if at is None:
                continue
            split = " › ".join(one.text(row) for one in splits)
            name = column.label if not splits else split if len(accessors) == 1 else f"{split} › {column.label}"
            color = plain_color(setting.get("color")) or colors.get(split, "")
            new = charts.Series(name, [], kind.partition("_")[0], kind.endswith("stacked"), right, color)
            one = found.setdefault((accessor, split), new)
            one.points = [*one.points, (at, column.number(row))]
    for one in found.values() if timed else ():
        one.points = sorted(one.points, key=lambda point: point[0])
    # By name, as rows of one moment come in any order: colours must not change from look to look.
    return [found[key] for key in sorted(found, key=lambda key: (accessors.index(key[0]), key[1]))]


def _axes(vis: State, chart: charts.XY, left: list[str]) -> None:
    shown = vis.get("axisTitlesVisibilitySettings") or {}
    for options, name, title in zip(chart.y, ("yLeft", "yRight"), ("yTitle", "yRightTitle"), strict=True):
        extent = vis.get(f"{name}Extent") or {}
        options["zero"] = extent.get("mode", "full") != "dataBounds"
        if extent.get("mode") == "custom" and None not in {extent.get("lowerBound"), extent.get("upperBound")}:
            options["domain"] = [extent["lowerBound"], extent["upperBound"]]
        scale = vis.get(f"{name}Scale", "linear")
        options["log"] = scale == "log"
        if scale not in {"linear", "log"}:
            left.append(f"a {scale} scale")
        if shown.get(name, True):
            options["title"] = vis.get(title) or options.get("label")


def _bounds(column: Column, rows: list[list[Any]]) -> tuple[float, float]:
    numbers = [found for row in rows if (found := column.number(row)) is not None]
    return min(numbers, default=0), max(numbers, default=0)


def _metric(read: Layers, vis: State, _place: Place) -> Figures:
    layer = read[vis["layerId"]]
    value, by = layer.needed(vis.get("metricAccessor")), layer.column(vis.get("breakdownByAccessor"))
    second, most = layer.column(vis.get("secondaryMetricAccessor")), layer.column(vis.get("maxAccessor"))
    rows = layer.rows[:ROWS_AT_MOST] if by else layer.rows[:1]
    bounds, figures = _bounds(value, rows), []
    for row in rows:
        found, limit = value.number(row), most.number(row) if most else None
        shade = formats.color(found, vis.get("palette"), *bounds) or str(vis.get("color") or "")
        prefix = str(vis.get("secondaryPrefix") or vis.get("secondaryLabel") or (second.label if second else ""))
        subtitle = str(vis.get("subtitle") or "") or (value.label if by else "")
        fill = vis.get("applyColorTo", "background") == "background"
        share = max(0.0, min(1.0, found / limit)) if found is not None and limit else None
        look = Cell(value.text(row), color=shade if found is not None else "", fill=fill)
        figures.append(Figure(look, by.text(row) if by else value.label, subtitle,
                              f"{prefix} {second.text(row)}" if second else "", share))  # fmt: skip
    return Figures(figures)


def _table(read: Layers, vis: State, place: Place) -> Table:
    layer = read[vis["layerId"]]
    specs = [one for one in vis.get("columns") or [] if not one.get("hidden")]
    place.left.extend(f"{name} of a column" for one in specs for name in one if name not in _TABLE_COLUMN and one[name])
    if any(one.get("isTransposed") for one in specs):
        raise unsupported("drawing a table with transposed columns (isTransposed)")
    columns = [(one, layer.needed(one["columnId"])) for one in specs]
    rows, sorting = layer.rows, vis.get("sorting") or {}
    if sorting.get("direction") in {"asc", "desc"}:
        at = layer.needed(sorting.get("columnId")).at
        known = [row for row in rows if row[at] is not None]
        known.sort(key=lambda row: _order(row[at]), reverse=sorting["direction"] == "desc")
        rows = [*known, *(row for row in rows if row[at] is None)]
    shades = [_shade(spec, column, layer.rows) for spec, column in columns]
    cells = [
        [replace(column.cell(row), color=shade(row), fill=spec.get("colorMode") == "cell")
         for (spec, column), shade in zip(columns, shades, strict=True)]
        for row in rows[:ROWS_AT_MOST]
    ]  # fmt: skip
    note = f"The first {ROWS_AT_MOST} of {len(rows):,} rows." if len(rows) > ROWS_AT_MOST else ""
    widths = [int(spec.get("width") or 0) for spec in specs]
    return Table([column.label for _, column in columns], cells, note=note, widths=widths)


def _order(value: Any) -> tuple[bool, Any]:
    """Numbers before texts, as two types in one column cannot be compared."""
    value = value[0] if isinstance(value, list) else value
    return (False, value) if isinstance(value, int | float) else (True, str(value))


def _shade(spec: State, column: Column, rows: list[list[Any]]) -> Callable[[list[Any]], str]:
    if spec.get("colorMode", "none") == "none":
        return lambda _row: ""
    mapped, bounds = mapped_colors(spec.get("colorMapping")), _bounds(column, rows)
    return lambda row: mapped.get(column.text(row)) or formats.color(column.number(row), spec.get("palette"), *bounds)


def _heatmap(read: Layers, vis: State, place: Place) -> Chart:
    layer = read[vis["layerId"]]
    value, x, y = (
        layer.needed(vis.get("valueAccessor")),
        layer.needed(vis.get("xAccessor")),
        layer.column(vis.get("yAccessor")),
    )
    time, palette, bounds = x.type in formats.DATES, vis.get("palette"), _bounds(value, layer.rows)
    rows = [(x.moment(row) if time else x.text(row), row) for row in layer.rows[:_POINTS_AT_MOST]]
    cells = [(at, y.text(row) if y else value.label, number, formats.color(number, palette, *bounds))
             for at, row in rows if at is not None and (number := value.number(row)) is not None]  # fmt: skip
    stops = ((palette or {}).get("params") or {}).get("colorStops") or []
    legend = [
        (f"from {formats.number(one['stop'])}", plain_color(one["color"])) for one in stops if one["stop"] is not None
    ]
    height = place.height - (20 if legend else 0)
    drawn = charts.heatmap(cells, place.width, height, place.title, time=time, form=value.format)
    return Chart(drawn, legend=legend, position="bottom")


CHARTS: Final[dict[str, Callable[[Layers, State, Place], Any]]] = {
    "lnsXY": _xy, "lnsMetric": _metric, "lnsDatatable": _table, "lnsHeatmap": _heatmap,
}  # fmt: skip
