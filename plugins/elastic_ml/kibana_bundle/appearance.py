"""Units, colours and levels, in the words of Kibana's Lens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from elastic_ml.kibana_bundle.description import Colour, Column, Level

COLOURS: Final[dict[Colour, str]] = {
    "good": "#209280",
    "warning": "#D6BF57",
    "bad": "#CC5642",
    "plain": "#6092C0",
    "muted": "#98A2B3",
    "accent": "#9170B8",
}
"""From Elastic's palettes: told apart by people who do not tell red from green."""

FORMATS: Final[dict[str, dict[str, Any]]] = {
    "count": {"id": "number", "params": {"decimals": 0}},
    "decimal": {"id": "number", "params": {"decimals": 3}},
    "percent": {"id": "percent", "params": {"decimals": 1}},
    "milliseconds": {"id": "number", "params": {"decimals": 1, "suffix": " ms"}},
    "seconds": {"id": "duration", "params": {"decimals": 1, "fromUnit": "seconds", "toUnit": "humanizePrecise"}},
    "hours": {"id": "number", "params": {"decimals": 1, "suffix": " h"}},
    "days": {"id": "number", "params": {"decimals": 1, "suffix": " d"}},
    "bytes": {"id": "bytes", "params": {"decimals": 1}},
    "per_minute": {"id": "number", "params": {"decimals": 1, "suffix": " / min"}},
}
"""Lens' ValueFormatConfig per unit; `time` and `text` are shown as they are."""


def kind_of(column: Column, default: str = "number") -> str:
    """Type of a column as Lens calls it: number, date or string."""
    if column.unit is None:
        return default
    return {"time": "date", "text": "string"}.get(column.unit, "number")


def palette(levels: Sequence[Level]) -> dict[str, Any]:
    """Colours by value: `colorStops` say where a colour begins, `stops` where it ends; the last is open above."""
    colours = [COLOURS[level.color] for level in levels]
    begins = [level.from_ for level in levels]
    ends = [*begins[1:], begins[-1] + 1]
    return {
        "name": "custom",
        "type": "palette",
        "params": {
            "name": "custom",
            "continuity": "above",
            "progression": "fixed",
            "rangeType": "number",
            "rangeMin": begins[0],
            "rangeMax": None,
            "reverse": False,
            "maxSteps": max(5, len(levels)),
            "steps": len(levels),
            "colorStops": [{"color": color, "stop": begin} for color, begin in zip(colours, begins, strict=True)],
            "stops": [{"color": color, "stop": end} for color, end in zip(colours, ends, strict=True)],
        },
    }
