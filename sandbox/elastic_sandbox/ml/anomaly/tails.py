"""From tail probabilities to scores of 0 to 100: what a job has seen so far decides how rare a value is.

A model's probabilities are never quite right, least of all far out. So the extremes are judged by the extremes that
this detector has produced before, by peaks over threshold (Pickands 1975; Balkema and de Haan 1974): surprises
``x = -log10 p`` above a high threshold ``u`` fall off exponentially, the rate is learnt from the largest ones, and a
new surprise is expressed as ``y``: minus log10 of how often per week the whole detector yields one as large. The score
is a fixed function of ``y``: 75 is once in thirty weeks. Scores are the sandbox's own, not Elasticsearch's.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BIN: Final = 0.02
_BINS: Final = 1500
_EXTREMES: Final = 100
_HALF_LIFE_DAYS: Final = 42.0
_PRIOR_FALL: Final = 0.8
BLIND_DAYS: Final = 3
"""Days of data before a detector reports anything."""
CAUTIOUS_DAYS: Final = 8
"""Days of data before a score can pass `CAUTIOUS_Y`: every hour of the week must have been seen."""
CAUTIOUS_Y: Final = 0.9

_Y: Final = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0])
_SCORE: Final = np.array([0.0, 1.0, 8.0, 25.0, 50.0, 75.0, 84.0, 92.0, 97.0, 99.0, 100.0])


def score_of(y: Any) -> Any:
    """The score, 0 to 100, of expecting 10**-y such surprises a week."""
    return np.interp(y, _Y, _SCORE)


class Tail:
    """The surprises of one detector: decayed counts by size, and the rate at which they fall off.

    The fit is renewed when a data day begins, from earlier days only: no value is judged by itself, and the answer
    does not depend on how the data was cut into requests.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS)
        self.weight_days = 0.0
        self.days = 0.0
        self._today = np.zeros(_BINS)
        self._fit: tuple[float, float, float] | None = None

    def add(self, surprises: Floats) -> None:
        """Count surprises of the current bucket."""
        bins = np.minimum((surprises / _BIN).astype(np.int64), _BINS - 1)
        np.add.at(self._today, bins, 1.0)

    def next_day(self, days: float = 1.0) -> None:
        """A data day is over (or ``days`` of them, when data paused)."""
        keep = 0.5 ** (days / _HALF_LIFE_DAYS)
        self.counts = self.counts * keep + self._today
        self.weight_days = self.weight_days * keep + 1.0
        self.days += days
        self._today = np.zeros(_BINS)
        self._fit = None

    def _fitted(self) -> tuple[float, float, float]:
        """(threshold u, log10 of the weekly rate above it, fall of log10 rate per unit of x)."""
        weeks = max(self.weight_days, 1.0) / 7
        above = np.cumsum(self.counts[::-1])[::-1]
        total = float(above[0])
        if total < 20:
            return 0.0, float(np.log10(max(total, 1.0) / weeks)), 1.0
        wanted = float(np.clip(total * 0.02, 10, _EXTREMES))
        at = int(np.nonzero(above >= wanted)[0][-1])
        count = float(above[at])
        # The median excess is hardly moved by the few anomalies among the extremes; ln 2 / rate for an exponential.
        # A tail that is heavier far out shows among the largest quarter first.
        rate = min(self._fall(above, count), self._fall(above, max(count / 4, 8.0)))
        rate = float(np.clip((count * rate + 20.0 * _PRIOR_FALL) / (count + 20.0), 0.2, 3.0))
        return at * _BIN, float(np.log10(count / weeks)), rate

    @staticmethod
    def _fall(above: Floats, count: float) -> float:
        start, middle = (int(np.nonzero(above >= wanted)[0][-1]) for wanted in (count, count / 2))
        return float(np.log10(2.0)) / max((middle - start + 0.5) * _BIN, _BIN)

    def rarity(self, surprises: Floats) -> Floats:
        """``y`` of each surprise; minus infinity while the detector is blind."""
        if self.days < BLIND_DAYS:
            return np.full(len(surprises), -np.inf)
        if self._fit is None:
            self._fit = self._fitted()
        threshold, log_rate, fall = self._fit
        # Below the threshold all are common: the line is only ever followed upwards.
        y = np.where(surprises >= threshold, -log_rate + (surprises - threshold) * fall, -np.inf)
        return np.minimum(y, CAUTIOUS_Y) if self.days < CAUTIOUS_DAYS else y

    def to_state(self) -> dict[str, Any]:
        """Arrays and numbers to keep."""
        return {"counts": self.counts, "today": self._today, "numbers": np.array([self.weight_days, self.days])}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tail:
        """Back from `to_state`."""
        tail = cls()
        tail.counts, tail._today = state["counts"].astype(float), state["today"].astype(float)
        tail.weight_days, tail.days = (float(number) for number in state["numbers"])
        return tail
