"""Charts as Vega-Lite specifications, drawn to SVG by vl-convert: in this process, without a browser or a network.

The specifications are written here and not through altair, which takes seconds to import and a tenth of one to check
each chart. Legends are HTML beside the picture, where any browser's letters fit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from elastic_sandbox.kibana.errors import unsupported
from elastic_sandbox.kibana.pages.formats import Format, axis
from elastic_sandbox.kibana.pages.html import Chart

COLORS: Final = ("#5794f2", "#16b5a8", "#a77bdb", "#e8a33d", "#e377b0", "#7d8a2e", "#3f6fb5", "#8c6a4f", "#5fb3d9",
                 "#b35c8e", "#4d9a57", "#8593a8")  # fmt: skip
"""None of them red, which is for what is bad."""
SERIES_AT_MOST: Final = 50
_COLUMNS_AT_MOST: Final = 1500
_LETTERS_AT_MOST: Final = 2000
_NOT_XML: Final = re.compile("[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufffd]")
_TEXT, _LINE, _DAY = "#69707d", "#d3dae6", 86_400_000
_AXIS: Final = {"labelColor": _TEXT, "titleColor": _TEXT, "gridColor": _LINE, "domainColor": _LINE, "tickColor": _LINE,
                "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "tickSize": 4, "labelPadding": 4,
                "labelOverlap": "greedy"}  # fmt: skip
_CONFIG: Final = {"background": "transparent", "view": {"stroke": None}, "axis": _AXIS, "line": {"strokeWidth": 1.8}}
_STEPS: Final = (60_000, 300_000, 900_000, 1_800_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000, _DAY, 2 * _DAY,
                 7 * _DAY, 14 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)  # fmt: skip


@dataclass
class Series:
    """Points of one name; moments are epoch milliseconds.

    :param form: ``line``, ``area``, ``bar`` or ``point``
    :param right: whether its values belong to the second axis
    """

    name: str
    points: Sequence[tuple[Any, float | None]]
    form: str = "line"
    stacked: bool = False
    right: bool = False
    color: str = ""


@dataclass
class XY:
    """Series over time, or over categories.

    :param ends: of the time axis; None where x are categories
    :param y: options of the two axes of values: ``format``, ``title``, ``zero``, ``domain``, ``log``
    :param colors: of names on this page; new names are added
    """

    series: list[Series]
    ends: tuple[float, float] | None
    y: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    horizontal: bool = False
    legend: str = "bottom"

    def draw(self, width: float, height: float, label: str, colors: dict[str, str] | None = None) -> Chart:
        """The picture and its legend."""
        names = list(dict.fromkeys(one.name for one in self.series))
        shades = _shades(self.series, {} if colors is None else colors)
        legend = [(name, shades[name]) for name in names] if len(names) > 1 and self.legend else []
        if legend and self.legend in {"left", "right"}:
            width -= 150
        elif legend:
            height -= 20
        scale = {"domain": names, "range": [shades[name] for name in names]}
        color = {"field": "s", "type": "nominal", "scale": scale, "legend": None}
        sides = [layers for right in (False, True) if (layers := self._marks(right, color, width))]
        spec: dict[str, Any] = {"layer": [{"layer": layers} for layers in sides]}
        if len(sides) > 1:
            spec["resolve"] = {"scale": {"x" if self.horizontal else "y": "independent"}}
        return Chart(svg(spec, width, height, label), legend=legend, position=self.legend)

    def _marks(self, right: bool, color: dict[str, Any], width: float) -> list[dict[str, Any]]:
        marks = []
        for form, stacked in dict.fromkeys((one.form, one.stacked) for one in self.series if one.right == right):
            group = [one for one in self.series if (one.right, one.form, one.stacked) == (right, form, stacked)]
            rows, spread = self._rows(group, form, stacked), form in {"area", "bar"}
            encoding: dict[str, Any] = {"x": self._x(width), "y": self._y(right, spread, width), "color": color}
            if spread:
                encoding["y2"] = {"field": "y2"}
            if form == "bar" and self.ends:
                encoding["x2"] = {"field": "x2"}
            elif form == "bar" and not stacked and len(bars := self._bars()) > 1:
                encoding["xOffset"] = {"field": "s", "scale": {"domain": bars}}
            mark: dict[str, Any] = {"type": form, "clip": self.ends is not None and form != "point"}
            if form == "point":
                mark |= {"filled": True, "size": 55, "opacity": 1}
            elif form == "area":
                mark |= {"opacity": 0.75 if stacked else 0.35, "line": {"strokeWidth": 1}}
            elif form == "line" and (len(rows) <= 40 * len(group) or any(row["y"] is None for row in rows)):
                mark["point"] = {"size": 18, "filled": True}
            if self.horizontal:
                swapped = {"x": "y", "y": "x", "x2": "y2", "y2": "x2", "xOffset": "yOffset"}
                encoding = {swapped.get(name, name): value for name, value in encoding.items()}
            marks.append({"data": {"values": rows}, "mark": mark, "encoding": encoding})
        return marks

    def _bars(self) -> list[str]:
        """Names of the bars that stand side by side, be it on different axes."""
        return list(dict.fromkeys(one.name for one in self.series if one.form == "bar" and not one.stacked))

    def _rows(self, group: list[Series], form: str, stacked: bool) -> list[dict[str, Any]]:
        """One row per point; what is stacked lies on what came before it."""
        if form in {"line", "point"}:
            return [{"x": x, "y": y, "s": one.name} for one in group for x, y in one.points]
        places = list(dict.fromkeys(x for one in group for x, _ in one.points))
        step = 0.0
        if self.ends:
            places.sort()
            alone = (self.ends[1] - self.ends[0]) / 30
            step = 0.9 * min((b - a for a, b in pairwise(places) if b > a), default=alone)
        top, bars, rows = dict.fromkeys(places, 0.0), self._bars(), []
        for one in group:
            known = dict(one.points)
            share = step if stacked or form == "area" else step / len(bars)
            begin = 0 if stacked or form == "area" else bars.index(one.name) * share
            for x in places if stacked and form == "area" else known:
                below, y = top[x] if stacked else 0.0, known.get(x) or 0.0
                row = {"x": x, "y": below + y, "y2": below, "s": one.name}
                rows.append({**row, "x": x + begin, "x2": x + begin + share} if step and form == "bar" else row)
                top[x] = below + y
        return rows

    def _x(self, width: float) -> dict[str, Any]:
        if self.ends:
            scale = {"type": "utc", "domain": list(self.ends)}
            return {"field": "x", "type": "temporal", "scale": scale, "axis": {**_time_axis(*self.ends, width)}}
        names = list(dict.fromkeys(x for one in self.series for x, _ in one.points))
        crowded = not self.horizontal and sum(min(len(str(name)), 20) for name in names) * 7 > width
        shown = {"title": None, "labelAngle": -40 if crowded else 0, "grid": False,
                 "labelLimit": int(width * 0.4) if self.horizontal else 140}  # fmt: skip
        return {"field": "x", "type": "nominal", "sort": names, "axis": shown}

    def _y(self, right: bool, spread: bool, width: float) -> dict[str, Any]:
        options = self.y[right]
        scale: dict[str, Any] = {"zero": spread or options.get("zero", True), "nice": True}
        if options.get("domain"):
            scale = {"domain": options["domain"], "clamp": True}
        if options.get("log"):
            scale = {"type": "symlog"}
        orient = ("top" if right else "bottom") if self.horizontal else ("right" if right else "left")
        ticks = max(2, int(width // 110)) if self.horizontal else 5
        shown = {"title": options.get("title") or None, "orient": orient, "tickCount": ticks, "domain": False,
                 "grid": not right, **axis(options.get("format"))}  # fmt: skip
        return {"field": "y", "type": "quantitative", "scale": scale, "axis": shown}


def _shades(series: list[Series], known: dict[str, str]) -> dict[str, str]:
    """A colour for each name: its own, else the one it has on this page, else one that is free."""
    shades = {one.name: one.color for one in series if one.color}
    for one in series:
        if one.name not in shades and one.name not in known:
            taken = {*known.values(), *shades.values()}
            known[one.name] = next((color for color in COLORS if color not in taken), COLORS[len(known) % len(COLORS)])
    return {**{one.name: known.get(one.name, "") for one in series}, **shades}


def break_gaps(series: list[Series]) -> None:
    """Where a moment was not measured a line ends, rather than being drawn across."""
    places = sorted({x for one in series for x, _ in one.points})
    step = min((b - a for a, b in pairwise(places) if b > a), default=0)
    for one in series:
        if one.form == "line":
            gaps = [(a + step, None) for (a, _), (b, _) in pairwise(one.points) if step and b - a > 1.5 * step]
            one.points = sorted([*one.points, *gaps], key=lambda point: point[0])


def _ticks(start: float, end: float, width: float) -> tuple[int, str]:
    """How far ticks are apart, and how they are written."""
    step = next((one for one in _STEPS if (end - start) / one <= width / 90), max(1, int((end - start) / 5)))
    return step, "%b %d" if step >= _DAY else "%H:%M" if end - start <= 1.5 * _DAY else "%b %d %H:%M"


def _time_axis(start: float, end: float, width: float) -> dict[str, Any]:
    """Ticks at whole hours or days of UTC, as many as fit."""
    step, pattern = _ticks(start, end, width)
    first = -int(-start // step) * step
    return {"title": None, "format": pattern, "values": list(range(first, int(end) + 1, step)), "grid": False}


def heatmap(
    cells: Sequence[tuple[Any, Any, Any, str]], width: float, height: float, label: str, *, time: bool = False,
    form: Format | None = None, ends: tuple[int, int] | None = None, step: int = 0, lines: Sequence[str] = (),
) -> str:  # fmt: skip
    """Coloured squares as SVG.

    :param cells: x, y, value and its colour; without colours the value makes them
    :param time: x are epoch milliseconds: every moment has its place, also where nothing was measured
    :param ends: the first and the last moment, ``step`` what is between two of them; else as the cells have it
    :param lines: all y, from top to bottom
    """
    columns = list(dict.fromkeys(x for x, *_ in cells))
    shown: dict[str, Any] = {"title": None, "labelAngle": 0, "grid": False, "labelOverlap": True}
    if time:
        columns.sort()
        first, last = ends or (columns[0], columns[-1])
        step = step or min((b - a for a, b in pairwise(columns)), default=1)
        if (last - first) // step <= _COLUMNS_AT_MOST:
            columns = sorted({*range(first, last + 1, step), *columns})
        tick, pattern = _ticks(first, last, width * 0.8)
        tick = max(tick, step)
        # The moment is written under the column that it falls into.
        place = f"ceil(toNumber(datum.value) / {tick}) * {tick}"
        shown |= {
            "labelExpr": f"utcFormat({place}, '{pattern}')",
            "values": [one for one in columns if -one % tick < step],
        }
    own = any(color for *_, color in cells)
    color: dict[str, Any] = (
        {"field": "c", "type": "nominal", "scale": None}
        if own
        else {
            "field": "v",
            "type": "quantitative",
            "scale": {"scheme": "blues"},
            "legend": {"title": None, "labelColor": _TEXT, **axis(form)},
        }
    )
    lane = {"title": None, "grid": False, "labelLimit": int(width * 0.3)}
    y = {
        "field": "y",
        "type": "nominal",
        "sort": None,
        "axis": lane,
        "scale": {"domain": list(lines)} if lines else {},
    }
    x = {"field": "x", "type": "nominal", "scale": {"domain": columns}, "axis": shown}
    rows = [{"x": x, "y": y, "v": value, "c": shade} for x, y, value, shade in cells]
    mark = {"type": "rect", "stroke": "#ffffff", "strokeOpacity": 0.15}
    return svg(
        {"data": {"values": rows}, "mark": mark, "encoding": {"x": x, "y": y, "color": color}}, width, height, label
    )


def svg(spec: dict[str, Any], width: float, height: float, label: str) -> str:
    """A specification as an SVG element that fills its place."""
    full = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "width": int(width), "height": int(height),
            "autosize": {"type": "fit", "contains": "padding"}, "padding": 4, "config": _CONFIG,
            "description": label, **spec}  # fmt: skip
    return _drawn(json.dumps(_drawable(full), sort_keys=True))


def _drawable(value: Any) -> Any:
    """Texts, none too long, without what ends vl-convert, and with it the process: what XML cannot hold.

    Characters of two code units go too, since it fails on the half of one where a label is cut.
    """
    if isinstance(value, dict):
        return {name: _drawable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_drawable(one) for one in value]
    return _NOT_XML.sub("\ufffd", value)[:_LETTERS_AT_MOST] if isinstance(value, str) else value


@lru_cache(maxsize=128)
def _drawn(spec: str) -> str:
    import vl_convert

    try:
        drawn: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    except ValueError as error:
        raise unsupported(f"this chart ({' '.join(str(error).split())[:200]})") from error
    # Ids are the page's, not the picture's: those of two pictures must differ.
    prefix = f"v{abs(hash(spec)):x}"
    drawn = re.sub(r'(\bid="|url\(#)(clip|gradient)', rf"\1{prefix}\2", drawn)
    return re.sub(r'^<svg([^>]*?) width="[^"]*" height="[^"]*"', r"<svg\1", drawn, count=1)
