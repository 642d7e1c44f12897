"""Columns of records as a detector needs them: numbers, texts, and groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def as_number(value: Any) -> float:
    """A value as a number; NaN when it is none."""
    if value is None:
        return float("nan")
    if isinstance(value, list):
        return as_number(value[0]) if len(value) == 1 else float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def as_text(value: Any) -> str | None:
    """A value as text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):  # arrays reach the analysis as one comma separated value
        return ",".join(as_text(item) or "" for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def as_numbers(values: list[Any]) -> Floats:
    """A column as numbers; NaN where a record has none."""
    try:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        return np.array([as_number(value) for value in values], dtype=np.float64)


def as_texts(values: list[Any]) -> list[str | None]:
    """A column as texts: arrays joined by commas, as they reach the native process."""
    plain = set(map(type, values)) <= {str, type(None)}
    return values if plain else [as_text(value) for value in values]


def are_given(values: list[Any]) -> NDArray[np.bool_]:
    """Which records have a value."""
    if None not in values:
        return np.ones(len(values), dtype=bool)
    return np.array([value is not None for value in values], dtype=bool)


def grouped(key: Ints) -> tuple[Ints, Ints]:
    """(distinct keys in order, the place of each key among them); by counting where that is cheaper than sorting."""
    if int(key.max()) > 50 * len(key) + 1_000_000:
        unique, place = np.unique(key, return_inverse=True)
        return unique, place
    there = np.bincount(key) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[key]
