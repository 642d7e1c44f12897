"""The model of real values: means, sums, minima and maxima, of series and of populations, on a logarithmic scale."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.anomaly.model import (
    HOURS,
    MULTI_PENALTY,
    OUTLIER,
    WINDOW,
    Floats,
    Ints,
    Judged,
    SeriesModel,
    surprise_of,
)

_T_FREEDOM: Final = 12.0


def to_log(values: Any) -> Any:
    """The scale of `MetricModel`: logarithmic away from 0, linear around it, odd."""
    return np.sign(values) * np.log1p(np.abs(values))


def from_log(values: Any) -> Any:
    """Back from `to_log`."""
    return np.sign(values) * np.expm1(np.minimum(np.abs(values), 700))


class MetricModel(SeriesModel):
    """Real values: level plus hour of the week on a logarithmic scale, variance falling with the events averaged.

    A bucket may hold one value per series, or (a population) one value per person of the series' population.
    """

    per_series = ("weight", "level", "spread", "noise", "run", "square", "past", "long")
    per_slot = ("slot_weight", "slot_shift")
    fading = ("slot_weight", "profile_weight")
    weight: Floats
    level: Floats
    spread: Floats
    noise: Floats
    square: Floats
    past: Floats
    long: Floats
    slot_weight: Floats
    slot_shift: Floats

    def __init__(self, side: int, span: int, *, by_count: bool) -> None:
        super().__init__(side, span)
        self.by_count = by_count
        self.profile_weight = np.zeros(HOURS)
        self.profile_shift = np.zeros(HOURS)
        self.pooled = np.zeros(8)
        """Sums over all series: weight, level, level squared; then of residuals r: 1, 1/n, 1/n², r², r²/n."""

    def _pooled(self) -> Floats:
        return np.concatenate([self.profile_weight, self.profile_shift, self.pooled])

    def _set_pooled(self, pooled: Floats) -> None:
        self.profile_weight, self.profile_shift = pooled[:HOURS].copy(), pooled[HOURS : 2 * HOURS].copy()
        self.pooled = pooled[2 * HOURS :].copy()

    def _variance_split(self) -> tuple[float, float]:
        """(a, b) of variance = a + b / n over all series, by least squares on squared residuals."""
        ones, inverse, inverse2, square, square_inverse = self.pooled[3:8].tolist()
        if ones < 10:
            return 1.0, 0.0
        mean = square / ones
        determinant = ones * inverse2 - inverse**2
        if not self.by_count or determinant < 1e-6 * ones**2:
            return max(mean, 1e-6), 0.0
        b = (ones * square_inverse - inverse * square) / determinant
        b = min(max(b, 0.0), square / max(inverse, 1e-9))
        return max((square - b * inverse) / ones, 0.02 * mean, 1e-6), b

    def _predict(self, series: Ints, slot: int, inverse: Floats) -> tuple[Floats, Floats, Floats]:
        """(mean, variance of a value, the same with doubt about the level) on the logarithmic scale."""
        a, b = self._variance_split()
        total = max(self.pooled[0], 1e-9)
        overall = self.pooled[1] / total
        between = max(self.pooled[2] / total - overall**2, 0.25) if total >= 5 else 1.0
        weight = self.weight[series]
        base = a + b * inverse
        # The scatter of a series, by its own residuals as they become many, else as all series' have it.
        scale = (self.square[series] + 10.0) / (self.noise[series] + 10.0)
        variance = np.maximum(base * scale, 1e-6)
        trust = weight / (weight + variance / between)
        slot_weight = self.slot_weight[series, slot]
        shared = self.profile_shift[slot] * self.profile_weight[slot] / (self.profile_weight[slot] + 2.0)
        season = (self.slot_shift[series, slot] * slot_weight + 3.0 * shared) / (slot_weight + 3.0)
        mean = trust * self.level[series] + (1 - trust) * overall + season
        doubt = between * (1 - trust) + variance * (0.3 / (slot_weight + 1.0) + 0.3 / (weight + 1.0))
        return mean, variance, variance + doubt

    def step(self, series: Ints, values: Floats, counts: Floats, learn: NDArray[np.bool_]) -> Judged:
        """Judge the values of a bucket (``counts`` is how many events each stands for), then learn from them."""
        from scipy.special import stdtr  # type: ignore[import-untyped]

        slot = self.slot
        y = to_log(values)
        inverse = 1.0 / np.maximum(counts, 1.0)
        mean, variance, wide = self._predict(series, slot, inverse)
        deviation = np.sqrt(wide)
        z = (y - mean) / deviation

        # One event can be anything; the mean of many is nearly normal. Judged alike, single outliers at quiet hours
        # would set how large a surprise has to be, and hide a slow quarter of an hour at a busy one.
        freedom = 4.0 + 2.0 * counts if self.by_count else np.full(len(y), _T_FREEDOM)

        def tail(at: Floats) -> Floats:
            return surprise_of(lambda: stdtr(freedom, -at), lambda: stdtr(freedom, at), self.side)

        single = tail(z)
        # The run of the last buckets: the mean of its z has variance (1 + 2 correlations) / n, learnt from the past.
        long = self.long[series]
        run_spread = np.sqrt(np.maximum(self.spread[series] / np.maximum(long, 1.0), 1.0 / WINDOW))
        past = self.past[series]
        smooth = past + (np.minimum(np.maximum(z, -6), 6) - past) / WINDOW
        several = tail(smooth / run_spread) - MULTI_PENALTY
        # A run is only reported by buckets that are part of it, and once its usual size is known.
        several = np.where((long >= 4 * WINDOW) & (z * smooth > 0), several, 0.0)
        surprise = np.maximum(single, several)
        multi = np.minimum(np.maximum(5 * (several - single) / np.maximum(surprise, 0.5), -5), 5)
        typical = from_log(mean)
        judged = Judged(surprise, typical, from_log(mean - 3 * deviation), from_log(mean + 3 * deviation), multi)
        self._learn(series, y, inverse, learn, (mean, variance, z, single, smooth))
        return judged

    def _learn(
        self, series: Ints, y: Floats, inverse: Floats, learn: NDArray[np.bool_], now: tuple[Floats, ...]
    ) -> None:
        if not learn.all():
            series, y, inverse = series[learn], y[learn], inverse[learn]
            now = tuple(part[learn] for part in now)
        mean, variance, z, surprise, smooth = now
        if not len(series):
            return
        n, slot = self.size, self.slot
        residual = np.minimum(np.maximum(z, -4), 4) * np.sqrt(variance)
        fresh = self.weight[series] < 3  # the first values are all there is to know
        residual = np.where(fresh, y - mean, residual)
        unusual = surprise > OUTLIER
        present = np.bincount(series, minlength=n)
        rows = np.flatnonzero(present)
        share = 1.0 / present[rows]

        def average(part: Floats) -> Floats:
            return np.bincount(series, part, minlength=n)[rows] * share

        run = self.run[rows]
        self.run[rows] = run = np.where(average(unusual.astype(float)) > 0.5, run + 1, run * 0.5)
        shifted = run >= self._shift_after
        taken = np.where(shifted, average(y - mean), average(residual))
        self.weight[rows] = weight = self.weight[rows] * np.where(shifted, 0.2, self._keep) + 1.0
        moved = 1.0 / weight * taken
        # A first value sets the level; later ones move it by their share.
        first = weight <= 1.0
        self.level[rows] = level = np.where(first, average(y) - self._shared(slot), self.level[rows] + moved)
        left = np.where(first, 0.0, taken - moved)
        self._learn_hour(rows, left, shifted, slot)
        self._learn_scatter(series, inverse, residual, fresh, n)
        self.pooled[:3] *= self._keep
        self.pooled[:3] += (len(rows), level.sum(), (level**2).sum())
        self.past[rows] = past = average(smooth)
        quiet = ~shifted
        at = rows[quiet]
        spread, long = self.spread[at], self.long[at]
        usual = np.maximum(spread / np.maximum(long, 1.0), 1.0 / WINDOW)
        self.spread[at] = spread * self._keep + np.minimum(past[quiet] ** 2, 9 * usual)
        self.long[at] = long * self._keep + 1.0

    def _shared(self, slot: int) -> float:
        weight = self.profile_weight[slot]
        return float(self.profile_shift[slot] * weight / (weight + 2.0))

    def _learn_hour(self, rows: Ints, left: Floats, shifted: NDArray[np.bool_], slot: int) -> None:
        left = np.where(shifted, 0.0, left)
        self.slot_weight[rows, slot] = weight = self.slot_weight[rows, slot] + 1.0
        self.slot_shift[rows, slot] += left / weight
        self.profile_weight[slot] += len(rows)
        self.profile_shift[slot] += float(left.sum()) / self.profile_weight[slot]

    def _learn_scatter(self, series: Ints, inverse: Floats, residual: Floats, fresh: NDArray[np.bool_], n: int) -> None:
        usable = ~fresh
        if not usable.any():
            return
        series, inverse, square = series[usable], inverse[usable], residual[usable] ** 2
        a, b = self._variance_split()
        # A clipped normal has 0.99 of its variance within 4 deviations: nothing to correct.
        self.pooled[3:8] *= self._keep**0.5
        self.pooled[3:8] += (len(series), inverse.sum(), (inverse**2).sum(), square.sum(), (square * inverse).sum())
        relative = np.bincount(series, np.minimum(square / (a + b * inverse), 16.0), minlength=n)
        count = np.bincount(series, minlength=n).astype(float)
        fade = np.where(count > 0, self._keep**0.5, 1.0)
        self.square[:n] = self.square[:n] * fade + relative
        self.noise[:n] = self.noise[:n] * fade + count

    def forecast(self, slot: int) -> tuple[Floats, Floats, Floats]:
        """(prediction, lower, upper) of every series for a bucket of the hour, at 95 %."""
        mean, _, wide = self._predict(np.arange(self.size), slot, np.full(self.size, 0.1))
        deviation = 1.96 * np.sqrt(wide)
        return from_log(mean), from_log(mean - deviation), from_log(mean + deviation)
