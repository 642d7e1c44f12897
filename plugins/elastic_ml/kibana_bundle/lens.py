"""A chart as Kibana's Lens keeps it: ES|QL (text based), by value, in the form that 9.2 to 9.5 all read.

Portable means: no `version` in the attributes (Kibana then runs every upgrade step that it knows), `splitAccessor`
instead of the plural of 9.4, colours per series and by value instead of colour mappings, whose form changed. A
threshold is a second layer with a line of its own, since Lens draws reference lines for data views only.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final

from elastic_ml.kibana_bundle.appearance import COLOURS, FORMATS, kind_of, palette
from elastic_ml.kibana_bundle.description import HORIZONTAL, XY, Column, Limit, Panel

_SOURCES: Final = re.compile(r"^\s*FROM\s+(.+?)(?:\s+METADATA\b.*?)?\s*(?:\||$)", re.IGNORECASE | re.DOTALL)
_LAYER, _LIMIT = "layer_0", "layer_limit"


def attributes(panel: Panel) -> dict[str, Any]:
    """The `attributes` of a panel's by-value Lens state; any chart but `text`."""
    if panel.chart in XY:
        kind, (visualization, layers) = "lnsXY", _xy(panel)
    else:
        kind, (visualization, layers) = {"metric": _metric, "table": _table, "heatmap": _heatmap}[panel.chart](panel)
    pattern = index_pattern(str(panel.esql))
    time_field = None if panel.time_field == "none" else panel.time_field
    # Any id that is unique will do; the hash of what it stands for is the same in every build.
    view = sha256(f"{pattern}|{time_field}".encode()).hexdigest()
    timed = {} if time_field is None else {"timeField": time_field}
    return {
        "title": panel.title,
        "type": "lens",
        "visualizationType": kind,
        "references": [],
        "state": {
            "adHocDataViews": {view: _ad_hoc(view, pattern, time_field)},
            "datasourceStates": {
                "textBased": {
                    "indexPatternRefs": [{"id": view, "title": pattern, **timed}],
                    "layers": {
                        name: {
                            "index": view,
                            "query": {"esql": query},
                            "columns": columns,
                            "allColumns": columns,
                            **timed,
                        }
                        for name, (query, columns) in layers.items()
                    },
                }
            },
            "visualization": visualization,
            "filters": [],
            "query": {"esql": str(panel.esql)},
            "internalReferences": [],
        },
    }


def index_pattern(esql: str) -> str:
    """What a query reads, as an index pattern."""
    found = _SOURCES.match(esql)
    return ",".join(part.strip() for part in found[1].split(",")) if found else ""


def limit_query(panel: Panel, limit: Limit, x: Column) -> str:
    """The query of a threshold's line: the panel's own, and the threshold at each of its points."""
    query = str(panel.esql).rstrip()
    if limit.column is not None:
        return f"{query}\n| STATS threshold = MAX({limit.column}) BY {x.column}\n| SORT {x.column}\n| LIMIT 10000"
    return f"{query}\n| STATS BY {x.column}\n| EVAL threshold = {limit.value}\n| SORT {x.column}\n| LIMIT 10000"


Layers = dict[str, tuple[str, list[dict[str, Any]]]]


def _ad_hoc(view: str, pattern: str, time_field: str | None) -> dict[str, Any]:
    return {
        "id": view,
        "title": pattern,
        "name": pattern,
        "type": "esql",
        "allowNoIndex": False,
        "allowHidden": False,
        "fieldFormats": {},
        "runtimeFieldMap": {},
        "sourceFilters": [],
        "managed": False,
        **({} if time_field is None else {"timeFieldName": time_field}),
    }


def _column(role: str, column: Column, *, kind: str = "number", metric: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = {
        "columnId": f"{role}_{column.column}",
        "fieldName": column.column,
        "meta": {"type": kind_of(column, kind)},
    }
    if metric:
        made["inMetricDimension"] = True
    if column.label is not None:
        made |= {"label": column.label, "customLabel": True}
    if column.unit in FORMATS:
        made["params"] = {"format": FORMATS[column.unit]}
    return made


def _xy(panel: Panel) -> tuple[dict[str, Any], Layers]:
    assert panel.x is not None
    horizontal = panel.chart in HORIZONTAL
    x = _column("x", panel.x, kind="string" if horizontal else "date")
    y = [_column("y", column, metric=True) for column in panel.y]
    split = [_column("split", panel.split, kind="string")] if panel.split else []
    layers: Layers = {_LAYER: (str(panel.esql), [x, *split, *y])}
    drawn: list[dict[str, Any]] = [
        {
            "layerId": _LAYER,
            "layerType": "data",
            "seriesType": panel.chart,
            "xAccessor": x["columnId"],
            "accessors": [one["columnId"] for one in y],
            **({"splitAccessor": split[0]["columnId"]} if split else {}),
            "yConfig": [_series(one["columnId"], column) for one, column in zip(y, panel.y, strict=True)],
        }
    ]
    if panel.limit:
        line = Column(column="threshold", label=panel.limit.label, unit=panel.y[0].unit, color=panel.limit.color)
        threshold = _column("limit", line, metric=True)
        limit_x = {**x, "columnId": f"limit_{x['columnId']}"}
        layers[_LIMIT] = (limit_query(panel, panel.limit, panel.x), [limit_x, threshold])
        drawn.append(
            {
                "layerId": _LIMIT,
                "layerType": "data",
                "seriesType": "line",
                "xAccessor": limit_x["columnId"],
                "accessors": [threshold["columnId"]],
                "yConfig": [_series(threshold["columnId"], line)],
            }
        )
    many = bool(panel.split) or len(y) + len(drawn) > 2
    return {
        "legend": {"isVisible": many, "position": "bottom" if not horizontal else "right", "showSingleSeries": False},
        "preferredSeriesType": panel.chart,
        "valueLabels": "hide",
        # What was not measured is a gap, not a line drawn across it.
        "fittingFunction": "None",
        "hideEndzones": True,
        "axisTitlesVisibilitySettings": {"x": False, "yLeft": not many, "yRight": True},
        "tickLabelsVisibilitySettings": {"x": True, "yLeft": True, "yRight": True},
        "gridlinesVisibilitySettings": {"x": False, "yLeft": True, "yRight": False},
        "labelsOrientation": {"x": 0, "yLeft": 0, "yRight": 0},
        "yLeftExtent": {"mode": "full"},
        "layers": drawn,
    }, layers


def _series(column_id: str, column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {"forAccessor": column_id, "axisMode": column.axis}
    return {**made, "color": COLOURS[column.color]} if column.color else made


def _metric(panel: Panel) -> tuple[str, tuple[dict[str, Any], Layers]]:
    assert panel.value is not None
    value = _column("value", panel.value, metric=True)
    split = [_column("split", panel.split, kind="string")] if panel.split else []
    drawn: dict[str, Any] = {
        "layerId": _LAYER,
        "layerType": "data",
        "metricAccessor": value["columnId"],
        "showBar": False,
        **({"breakdownByAccessor": split[0]["columnId"]} if split else {}),
    }
    if panel.value.levels:
        drawn |= {"palette": palette(panel.value.levels), "applyColorTo": "background"}
    elif panel.value.color:
        drawn["color"] = COLOURS[panel.value.color]
    return "lnsMetric", (drawn, {_LAYER: (str(panel.esql), [*split, value])})


def _table(panel: Panel) -> tuple[str, tuple[dict[str, Any], Layers]]:
    columns = [_column("column", column, kind=_cell(column)) for column in panel.columns]
    drawn = []
    for one, column in zip(columns, panel.columns, strict=True):
        shown: dict[str, Any] = {"columnId": one["columnId"], "isTransposed": False}
        if column.width:
            shown["width"] = column.width
        if column.levels:
            shown |= {"colorMode": "cell", "palette": palette(column.levels)}
        drawn.append(shown)
    table = {
        "layerId": _LAYER,
        "layerType": "data",
        "columns": drawn,
        "rowHeight": "auto",
        "headerRowHeight": "auto",
        "paging": {"enabled": True, "size": 20},
    }
    return "lnsDatatable", (table, {_LAYER: (str(panel.esql), columns)})


def _cell(column: Column) -> str:
    return "number" if column.levels else "string"


def _heatmap(panel: Panel) -> tuple[str, tuple[dict[str, Any], Layers]]:
    assert panel.x is not None
    assert panel.rows is not None
    assert panel.value is not None
    x, y = _column("x", panel.x, kind="date"), _column("rows", panel.rows, kind="string")
    value = _column("value", panel.value, metric=True)
    drawn: dict[str, Any] = {
        "layerId": _LAYER,
        "layerType": "data",
        "shape": "heatmap",
        "valueAccessor": value["columnId"],
        "xAccessor": x["columnId"],
        "yAccessor": y["columnId"],
        "gridConfig": {
            "type": "heatmap_grid",
            "isCellLabelVisible": False,
            "isXAxisLabelVisible": True,
            "isXAxisTitleVisible": False,
            "isYAxisLabelVisible": True,
            "isYAxisTitleVisible": False,
        },
        "legend": {"isVisible": True, "position": "right", "type": "heatmap_legend"},
    }
    if panel.value.levels:
        drawn["palette"] = {**palette(panel.value.levels), "accessor": value["columnId"]}
    return "lnsHeatmap", (drawn, {_LAYER: (str(panel.esql), [x, y, value])})
