"""The functions, by family; importing this package registers them all."""

from __future__ import annotations

from elastic_sandbox.esql.functions import (
    aggregates,
    conditional,
    conversion,
    dates,
    math,
    multivalue,
    strings,
)
from elastic_sandbox.esql.functions.known import known_functions
from elastic_sandbox.esql.functions.registry import FUNCTIONS

__all__ = ["FUNCTIONS", "known_functions", "names"]

# Each registers its functions when it is imported.
_FAMILIES = (aggregates, conditional, conversion, dates, math, multivalue, strings)


def names() -> list[str]:
    """The functions that the sandbox has."""
    return sorted(FUNCTIONS)
