"""The model of `rare`: how seldom a value shows in its partition, compared with everything that shows there.

The probability of a value is the chance that an appearance is of it or of anything as seldom. A partition borrows a
little from all partitions together, so that a value new to a user but common elsewhere is less rare than one that
nobody ever had. With an `over` field the appearances of a value are the persons that have had it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_HALF_LIFE_DAYS: Final = 60.0
_BORROWED: Final = 4.0
_NEW: Final = 0.5


class RareModel:
    """Decayed appearances of values by partition; an appearance is a bucket (or person) in which the value shows."""

    def __init__(self, span: int) -> None:
        self.keep = 0.5 ** (span / (_HALF_LIFE_DAYS * 86400))
        self.seen = np.zeros((0, 0))

    def grow(self, partitions: int, values: int) -> None:
        """Make room."""
        rows, columns = self.seen.shape
        if rows < partitions or columns < values:
            grown = np.zeros((max(rows, partitions), max(columns, values)))
            grown[:rows, :columns] = self.seen
            self.seen = grown

    def step(self, partitions: Ints, values: Ints, learn: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """(surprise, probability) of each appearance in a bucket, before it is learnt."""
        overall = self.seen.sum(axis=0)
        total = overall.sum()
        common = (overall + _NEW / max(len(overall), 1)) / (total + _NEW)
        chances = self.seen[partitions] + _BORROWED * common
        chances /= chances.sum(axis=1, keepdims=True)
        own = chances[np.arange(len(values)), values][:, None]
        probability = np.where(chances <= own * (1 + 1e-9), chances, 0.0).sum(axis=1)
        # An unseen value competes with all that may still come.
        evidence = self.seen[partitions].sum(axis=1) + 1.0
        surprise = -np.log10(np.clip(probability, 1e-300, 1.0))
        self.seen *= self.keep
        np.add.at(self.seen, (partitions[learn], values[learn]), 1.0)
        return np.where(evidence < 5, np.minimum(surprise, 1.0), surprise), probability

    def to_state(self) -> dict[str, Any]:
        """Arrays to keep."""
        return {"seen": self.seen}

    def restore(self, state: dict[str, Any]) -> None:
        """Back from `to_state`."""
        self.seen = np.array(state["seen"], dtype=np.float64)
