"""What a candidate has to reach to be promoted."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_ml.project.model import Model


def shortcomings(card: Mapping[str, Any], model: "Model") -> list[str]:
    """Return why a candidate may not be promoted, by its figures; nothing when it may."""
    problems: list[str] = []
    for metric, limit in (model.gate.limits() if model.gate else {}).items():
        value = (card["metrics"]["challenger"].get(metric) or {}).get("value")
        if value is None:
            problems.append(f"{metric} is not defined on the holdout, and the gate asks for {limit}")
        elif value < limit:
            problems.append(f"{metric} is {value:.3f}, and the gate asks for {limit}")
    for metric, difference in card["metrics"]["difference"].items():
        if difference["high"] is not None and difference["high"] < 0:
            problems.append(
                f"{metric} is worse than the champion's on the same rows by {-difference['value']:.3f} "
                f"({-difference['high']:.3f} to {-difference['low']:.3f})"
            )
    return problems
