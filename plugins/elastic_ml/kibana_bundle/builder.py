"""Turns descriptions into saved objects of Kibana 9.2 to 9.5, the same bytes for the same files.

Ids are `<prefix>-<name of the file>`, so a second import changes what the first one made, and two projects on one
cluster do not meet. Versions are the oldest that all these Kibanas read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from elastic_ml.kibana_bundle import lens
from elastic_ml.kibana_bundle.description import COLUMNS, Dashboard, DataView, Panel, Time

if TYPE_CHECKING:
    from elastic_ml.kibana_bundle.assets import Asset

SavedObject = dict[str, Any]

VERSIONS: Final = {"dashboard": "10.2.0", "index-pattern": "8.0.0", "tag": "8.0.0"}
"""`typeMigrationVersion` per type; a Kibana refuses what is newer than itself."""
CORE_VERSION: Final = "8.8.0"
LINKS_HEIGHT: Final = 2
_QUERY: Final = {"query": {"query": "", "language": "kuery"}, "filter": []}
_TAG_COLOURS: Final = ("#209280", "#6092C0", "#9170B8", "#CA8EAE", "#AA6556", "#B9A888")


def object_id(prefix: str, name: str) -> str:
    """Id of an asset's saved object."""
    return f"{prefix}-{name}"


def panel_id(title: str) -> str:
    """Id of a panel: its title in small letters."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def tag_object(prefix: str, tag: str) -> SavedObject:
    """A tag; its colour follows from its name."""
    colour = _TAG_COLOURS[sha256(tag.encode()).digest()[0] % len(_TAG_COLOURS)]
    return _saved("tag", object_id(prefix, f"tag-{tag}"), {"name": tag, "description": "", "color": colour})


def data_view_object(prefix: str, view: DataView) -> SavedObject:
    """A data view; it may exist before what it names."""
    attributes = {
        "title": view.pattern,
        "name": view.called,
        **({} if view.time_field is None else {"timeFieldName": view.time_field}),
        "allowNoIndex": True,
        "allowHidden": False,
        **dict.fromkeys(("fields", "sourceFilters"), "[]"),
        **dict.fromkeys(("fieldAttrs", "fieldFormatMap", "runtimeFieldMap"), "{}"),
    }
    return _saved("index-pattern", object_id(prefix, view.name), attributes)


def dashboard_object(prefix: str, dashboard: Dashboard, siblings: Sequence[Asset[Dashboard]]) -> SavedObject:
    """A dashboard: a row of links to its siblings, the panels, and what an empty panel means.

    :param siblings: every dashboard of the bundle, itself included.
    """
    references = [_reference(f"tag-ref-{tag}", "tag", object_id(prefix, f"tag-{tag}")) for tag in dashboard.tags]
    panels: list[dict[str, Any]] = []
    others = [other.content for other in siblings if other.name != dashboard.name]
    if others:
        panel, found = _links(prefix, others)
        panels.append(panel)
        references += found
    top = LINKS_HEIGHT if others else 0
    panels += [_panel(panel, top) for panel in dashboard.panels]
    bottom = top + max(panel.at.y + panel.at.h for panel in dashboard.panels)
    explained = _explanation(dashboard)
    height = max(6, ceil(explained.count("\n") * 1.3) + 3)
    place = {"x": 0, "y": bottom, "w": COLUMNS, "h": height}
    panels.append(_markdown("What an empty panel means", explained, place))
    controls, found = _controls(prefix, dashboard)
    time = dashboard.time
    refresh = time.refresh if time else None
    attributes = {
        "title": dashboard.title,
        "description": dashboard.description,
        "timeRestore": time is not None,
        **({"timeFrom": time.from_, "timeTo": time.to} if time else {}),
        "refreshInterval": {
            "pause": refresh is None,
            "value": 60_000 if refresh is None else int(refresh.total_seconds() * 1000),
        },
        "kibanaSavedObjectMeta": {"searchSourceJSON": _dumps(_QUERY)},
        "optionsJSON": _dumps(
            {
                "useMargins": True,
                # One model has one colour in all panels.
                "syncColors": True,
                "syncCursor": True,
                "syncTooltips": False,
                "hidePanelTitles": False,
            }
        ),
        "controlGroupInput": controls,
        "panelsJSON": _dumps(panels),
    }
    return _saved("dashboard", object_id(prefix, dashboard.name), attributes, references + found)


def _panel(panel: Panel, top: int) -> dict[str, Any]:
    place = panel.at.model_dump() | {"y": panel.at.y + top}
    if panel.chart == "text":
        return _markdown(panel.title, str(panel.text), place)
    described = " ".join(
        part.strip() for part in (panel.description, f"When empty: {panel.empty}" if panel.empty else None) if part
    )
    state: dict[str, Any] = {
        "title": panel.title,
        "description": described,
        "enhancements": {},
        "attributes": lens.attributes(panel),
    }
    if panel.time is not None:
        # Kibana 9.4 and later read the camel case, too (transformTimeRangeOut).
        state["timeRange"] = _range(panel.time)
    return _envelope("lens", panel_id(panel.title), place, state)


def _markdown(title: str, text: str, place: Mapping[str, int]) -> dict[str, Any]:
    # By value, as Fleet's packages ship it for every 9.x.
    saved = {
        "title": "",
        "description": "",
        "id": "",
        "type": "markdown",
        "params": {"fontSize": 12, "openLinksInNewTab": False, "markdown": text},
        "uiState": {},
        "data": {"aggs": [], "searchSource": _QUERY},
    }
    state = {"title": title, "description": "", "enhancements": {}, "savedVis": saved}
    return _envelope("visualization", panel_id(title), place, state)


def _links(prefix: str, others: Sequence[Dashboard]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    links, references = [], []
    for order, other in enumerate(others):
        # The state of 9.1, which every later Kibana converts (transformLegacyState).
        links.append(
            {
                "id": other.name,
                "type": "dashboardLink",
                "order": order,
                "label": other.title,
                "destinationRefName": f"link_{other.name}_dashboard",
                "options": {"openInNewTab": False, "useCurrentDateRange": False, "useCurrentFilters": False},
            }
        )
        references.append(_reference(f"links:link_{other.name}_dashboard", "dashboard", object_id(prefix, other.name)))
    place = {"x": 0, "y": 0, "w": COLUMNS, "h": LINKS_HEIGHT}
    state = {"enhancements": {}, "hidePanelTitles": True, "attributes": {"layout": "horizontal", "links": links}}
    return _envelope("links", "links", place, state), references


def _controls(prefix: str, dashboard: Dashboard) -> tuple[dict[str, Any], list[dict[str, str]]]:
    panels, references = {}, []
    for order, control in enumerate(dashboard.controls):
        name = panel_id(control.title)
        reference = f"controlGroup_{name}:optionsListDataView"
        panels[name] = {
            "order": order,
            "width": "medium",
            "grow": False,
            "type": "optionsListControl",
            "explicitInput": {
                "id": name,
                "fieldName": control.field,
                "title": control.title,
                "dataViewRefName": reference,
                "searchTechnique": "prefix",
                "selectedOptions": [],
                "sort": {"by": "_count", "direction": "desc"},
            },
        }
        references.append(_reference(reference, "index-pattern", object_id(prefix, control.data_view)))
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "showApplySelections": False,
        "ignoreParentSettingsJSON": _dumps(
            {"ignoreFilters": False, "ignoreQuery": False, "ignoreTimerange": False, "ignoreValidations": False}
        ),
        "panelsJSON": _dumps(panels),
    }, references


def _explanation(dashboard: Dashboard) -> str:
    reasons: dict[str, list[str]] = {}
    for panel in dashboard.panels:
        if panel.empty:
            reasons.setdefault(" ".join(panel.empty.split()), []).append(panel.title)
    rows = [f"| {', '.join(titles)} | {reason} |" for reason, titles in reasons.items()]
    table = "\n".join(["| panel | nothing is shown when |", "|---|---|", *rows])
    return f"{table}\n\n{dashboard.help.strip()}\n" if dashboard.help else f"{table}\n"


def _envelope(kind: str, name: str, place: Mapping[str, int], state: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "panelIndex": name, "gridData": {**place, "i": name}, "embeddableConfig": state}


def _range(time: Time) -> dict[str, str]:
    return {"from": time.from_, "to": time.to}


def _reference(name: str, kind: str, target: str) -> dict[str, str]:
    return {"name": name, "type": kind, "id": target}


def _saved(
    kind: str, name: str, attributes: Mapping[str, Any], references: Sequence[dict[str, str]] = ()
) -> SavedObject:
    # No `version`, `created_at` or `updated_at`: the first is a token that an import must not invent.
    return {
        "type": kind,
        "id": name,
        "attributes": dict(attributes),
        "references": sorted(references, key=lambda reference: reference["name"]),
        "managed": False,
        "coreMigrationVersion": CORE_VERSION,
        "typeMigrationVersion": VERSIONS[kind],
    }


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
