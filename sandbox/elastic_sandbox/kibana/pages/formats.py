"""Values as people read them: numbers with units, moments in UTC, colours by threshold."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import quote

from elastic_sandbox.kibana.pages.html import Cell, plain_color
from elastic_sandbox.kibana.pages.times import instant, shown

Format = dict[str, Any]
"""``{"id": "percent", "params": {"decimals": 1}}``, as a column of Lens or a data view has it."""
NUMBERS: Final = frozenset({"double", "integer", "long", "unsigned_long"})
DATES: Final = frozenset({"date", "date_nanos"})
NOTHING: Final = "–"
_MS: Final = {
    "nanoseconds": 1e-6,
    "microseconds": 1e-3,
    "milliseconds": 1.0,
    "seconds": 1e3,
    "minutes": 6e4,
    "hours": 3.6e6,
}
_DURATIONS: Final = ((8.64e7, "d"), (3.6e6, "h"), (6e4, "min"), (1e3, "s"), (0, "ms"))
_SIZES: Final = ((2**40, "TB"), (2**30, "GB"), (2**20, "MB"), (2**10, "KB"), (0, "B"))


def _parts(form: Format | None) -> tuple[str, int | None, str, float]:
    """Name, decimals, suffix, and milliseconds of a unit, of a format."""
    params = (form or {}).get("params") or {}
    unit = _MS.get(str(params.get("fromUnit")), 1e3)
    return str((form or {}).get("id") or "number"), params.get("decimals"), str(params.get("suffix") or ""), unit


def number(value: float, form: Format | None = None) -> str:
    """A number in its format; without one, at most three digits behind the point."""
    name, decimals, suffix, unit = _parts(form)
    if name == "percent":
        return _plain(value * 100, 2 if decimals is None else decimals, fixed=decimals is not None) + "%" + suffix
    if name in {"duration", "bytes"}:
        value, units = (value * unit, _DURATIONS) if name == "duration" else (value, _SIZES)
        size, word = next(one for one in units if abs(value) >= one[0])
        return f"{_plain(value / (size or 1), 1)} {word}{suffix}"
    return _plain(value, 3 if decimals is None else decimals, fixed=decimals is not None) + suffix


def _plain(value: float, decimals: int, *, fixed: bool = False) -> str:
    if value and abs(value) < 10**-decimals and not fixed:
        return f"{value:.2g}"
    text = f"{value:,.{decimals}f}"
    return text if fixed or "." not in text else text.rstrip("0").rstrip(".")


def text(value: Any, kind: str = "", form: Format | None = None) -> str:
    """A value of an ES|QL column."""
    if value is None or value == []:
        return NOTHING
    if isinstance(value, list):
        return ", ".join(text(one, kind, form) for one in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value, form)
    if kind in DATES:
        ms = instant(str(value))
        return str(value) if ms is None else shown(ms)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cell(value: Any, kind: str = "", form: Format | None = None) -> Cell:
    """A value as a cell; with the format ``url`` it is a link, as data views write them."""
    if (form or {}).get("id") == "url" and isinstance(value, str) and value:
        params = (form or {}).get("params") or {}
        address = _filled(params.get("urlTemplate"), value, quote(value, safe=""))
        return Cell(_filled(params.get("labelTemplate"), value, value), href=address)
    return Cell(text(value, kind, form), number=kind in NUMBERS, whole=kind in DATES or _is_day(value))


def _is_day(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None


def _filled(template: str | None, value: str, encoded: str) -> str:
    return re.sub(
        r"\{\{(value|rawValue)\}\}", lambda found: encoded if found[1] == "value" else value, template or "{{rawValue}}"
    )


def axis(form: Format | None) -> dict[str, Any]:
    """How an axis of Vega writes numbers of a format."""
    name, decimals, suffix, unit = _parts(form)
    if name == "percent":
        return {"format": ".2~%" if decimals is None else f".{decimals}~%"}
    if name in {"duration", "bytes"}:
        value = f"(datum.value * {unit})" if name == "duration" else "datum.value"
        made = "''"
        for size, word in reversed(_DURATIONS if name == "duration" else _SIZES):
            made = f"abs({value}) >= {size} ? format({value} / {size or 1}, '.3~g') + ' {word}' : {made}"
        return {"labelExpr": made}
    if suffix:
        return {"labelExpr": f"format(datum.value, ',~r') + {json.dumps(suffix)}"}
    return {"labelExpr": "abs(datum.value) >= 10000 ? format(datum.value, '~s') : format(datum.value, ',~g')"}


def color(value: Any, palette: dict[str, Any] | None, low: float, high: float) -> str:
    """The colour of a number by a palette's steps (workoutColorForValue of kbn-palettes).

    :param low: smallest value of the data, for palettes in percent; ``high`` the largest
    """
    params = (palette or {}).get("params") or {}
    stops = params.get("stops") or []
    if not stops or not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    if params.get("rangeType") == "percent":
        value = 100 * (value - low) / (high - low) if high > low else 100
    continuity, least, most = params.get("continuity", "above"), params.get("rangeMin"), params.get("rangeMax")
    if least is not None and value < least and continuity not in {"below", "all"}:
        return ""
    if most is not None and value > most and continuity not in {"above", "all"}:
        return ""
    # A stop is where its colour ends.
    return plain_color(next((one for one in stops if one["stop"] is None or value < one["stop"]), stops[-1])["color"])
