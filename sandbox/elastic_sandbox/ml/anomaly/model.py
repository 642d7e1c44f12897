"""The bucket models of series: what a value should be at this hour of the week, and how surprising it is.

`CountModel` is for counts (negative binomial); `MetricModel`, in a module of its own, for real values (Student's t).
Both are functions of the past alone, work on all series of a detector at once, and are described, with their limits, in
docs/decisions/0013-anomaly-model.md. A surprise is ``-log10`` of a tail probability.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HOURS: Final = 168
WINDOW: Final = 12
"""Buckets of the multi-bucket view, as many as Elasticsearch looks back."""
_SLOT_KEEP: Final = 0.8
_SMALLEST: Final = 1e-300
OUTLIER: Final = 3.0
_SHIFT_HOURS: Final = 8.0
MULTI_PENALTY: Final = 0.3


class Judged(NamedTuple):
    """What a model says of some values, as arrays of equal length."""

    surprise: Floats
    """-log10 of the probability, the larger of the single and the multi bucket view."""
    typical: Floats
    lower: Floats
    upper: Floats
    multi: Floats
    """-5 (all in this bucket) to 5 (all in the run of buckets), as ``multi_bucket_impact``."""


class SeriesModel:
    """What both models share: arrays with a row per series that grow, and hours of the week that fade."""

    per_series: tuple[str, ...] = ()
    per_slot: tuple[str, ...] = ()
    fading: tuple[str, ...] = ()
    run: Floats
    level_days = 5.0
    """Half-life of what is known about levels."""

    def __init__(self, side: int, span: int) -> None:
        self.side = side
        self.span = span
        self.size = 0
        self._keep = 0.5 ** (span / (self.level_days * 86400))
        self._shift_after = max(4.0, min(_SHIFT_HOURS * 3600 / span, 48.0))
        for name in self.per_series:
            setattr(self, name, np.zeros(0))
        for name in self.per_slot:
            setattr(self, name, np.zeros((0, HOURS)))
        self.slot = -1

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        if size <= self.size:
            return
        for name in (*self.per_series, *self.per_slot):
            old = getattr(self, name)
            if len(old) < size:  # doubled, so that a job with many series does not copy at each new one
                grown = np.zeros((max(size, 2 * len(old), 16), *old.shape[1:]))
                grown[: len(old)] = old
                setattr(self, name, grown)
        self.size = size

    def enter(self, slot: int) -> None:
        """A bucket of this hour of the week begins; what is known of the hour fades once a week."""
        if slot != self.slot:
            self.slot = slot
            for name in self.fading:
                getattr(self, name)[..., slot] *= _SLOT_KEEP

    def calm(self, series: Ints) -> NDArray[np.bool_]:
        """Which series are not in the middle of something unusual, so that their surprises tell what is usual."""
        calm: NDArray[np.bool_] = self.run[series] < 2
        return calm

    def to_state(self) -> dict[str, Any]:
        """Arrays to keep, in single precision; the same numbers come back whoever reads them."""
        state = {name: getattr(self, name)[: self.size] for name in (*self.per_series, *self.per_slot)}
        return state | {"pooled": self._pooled(), "slot": np.array([self.slot])}

    def restore(self, state: dict[str, Any]) -> None:
        """Back from `to_state`."""
        for name in (*self.per_series, *self.per_slot):
            setattr(self, name, np.array(state[name], dtype=np.float64))
        self.size = len(getattr(self, self.per_series[0]))
        self._set_pooled(np.array(state["pooled"], dtype=np.float64))
        self.slot = int(state["slot"][0])

    def _pooled(self) -> Floats:
        raise NotImplementedError

    def _set_pooled(self, pooled: Floats) -> None:
        raise NotImplementedError


def surprise_of(high: Callable[[], Floats], low: Callable[[], Floats], side: int) -> Floats:
    """-log10 of the tail probability on the side looked at, of the smaller one twice when both are."""
    both = side == 0
    chance = np.minimum(1.0, 2 * np.minimum(high(), low())) if both else high() if side > 0 else low()
    return -np.log10(np.maximum(chance, _SMALLEST))


class CountModel(SeriesModel):
    """Counts per bucket of many series: level times hour of the week, with more variance than Poisson's.

    A series that is new is judged by the spread of levels among all series, so that a first burst stands out.
    """

    per_series = ("seen", "exposure", "run", "surplus", "squares", "multi_surplus", "multi_squares", "past", "expected",
                  "variance")  # fmt: skip
    per_slot = ("slot_seen", "slot_expected")
    fading = ("slot_seen", "slot_expected", "profile_seen", "profile_expected")
    level_days = 10.0
    seen: Floats
    exposure: Floats
    surplus: Floats
    squares: Floats
    multi_surplus: Floats
    multi_squares: Floats
    past: Floats
    expected: Floats
    variance: Floats
    slot_seen: Floats
    slot_expected: Floats
    _PRIOR_SHAPE: Final = 0.3
    _PSEUDO: Final = 4.0

    def __init__(self, side: int, span: int) -> None:
        super().__init__(side, span)
        self.profile_seen = np.zeros(HOURS)
        self.profile_expected = np.zeros(HOURS)
        self.total = np.zeros(2)
        self.recent: list[tuple[Floats, Floats, Floats]] = []

    def _pooled(self) -> Floats:
        recent = np.zeros((len(self.recent), 3, self.size))
        for number, rows in enumerate(self.recent):
            for kind, row in enumerate(rows):
                recent[number, kind, : len(row)] = row
        return np.concatenate([self.profile_seen, self.profile_expected, self.total, recent.ravel()])

    def _set_pooled(self, pooled: Floats) -> None:
        self.profile_seen, self.profile_expected = pooled[:HOURS].copy(), pooled[HOURS : 2 * HOURS].copy()
        self.total = pooled[2 * HOURS : 2 * HOURS + 2].copy()
        rest: Any = pooled[2 * HOURS + 2 :].reshape(-1, 3, self.size) if self.size else []
        self.recent = [(rows[0].copy(), rows[1].copy(), rows[2].copy()) for rows in rest]

    def _predict(self, slot: int) -> tuple[Floats, Floats, Floats, Floats]:
        """(mean, season factor, level, variance) of every series in a bucket of the hour."""
        n = self.size
        pooled_rate = (self.total[0] + 0.1) / (self.total[1] + 1.0)
        shape = self.seen[:n] + self._PRIOR_SHAPE
        level = shape / (self.exposure[:n] + self._PRIOR_SHAPE / pooled_rate)
        shared = (self.profile_seen[slot] + 2.0) / (self.profile_expected[slot] + 2.0)
        evidence = self.slot_expected[:n, slot] + self._PSEUDO
        factor = (self.slot_seen[:n, slot] + self._PSEUDO * shared) / evidence
        mean = np.maximum(level * factor, 1e-9)
        excess = self._dispersion(self.surplus, self.squares) + 1.0 / shape + 0.5 / (evidence + mean)
        return mean, factor, level, mean + excess * mean**2

    def _dispersion(self, surplus: Floats, squares: Floats) -> Floats:
        n = self.size
        pooled = (surplus[:n].sum() + 1.0) / (squares[:n].sum() + 5.0)
        return np.minimum(np.maximum((surplus[:n] + 5.0 * pooled) / (squares[:n] + 5.0), 0.03), 20.0)

    def step(self, values: Floats, learn: NDArray[np.bool_]) -> Judged:
        """Judge a bucket's counts, one per series, then learn from those that may be learnt from."""
        n, slot = self.size, self.slot
        mean, factor, level, variance = self._predict(slot)
        single = self._surprise(values, mean, variance)
        past, expected, spread = (
            self.past[:n] + self._clip(values, mean, variance),
            self.expected[:n] + mean,
            self.variance[:n] + mean,
        )
        wide = spread + self._dispersion(self.multi_surplus, self.multi_squares) * expected**2
        wide += expected**2 / (self.seen[:n] + self._PRIOR_SHAPE)
        several = self._surprise(past, expected, wide) - MULTI_PENALTY
        # A run is only reported by buckets that are part of it.
        beside = values <= mean if self.side >= 0 else values >= mean
        if self.side == 0:
            beside = (values - mean) * (past - expected) <= 0
        several = np.where(beside | (len(self.recent) < WINDOW - 1), 0.0, several)
        surprise = np.maximum(single, several)
        multi = np.minimum(np.maximum(5 * (several - single) / np.maximum(surprise, 0.5), -5), 5)
        deviation = np.sqrt(variance)
        judged = Judged(surprise, mean, np.maximum(0, mean - 3 * deviation), mean + 3 * deviation, multi)
        self._learn(values, learn, (mean, factor, level, variance), (past, expected, spread), single)
        return judged

    @staticmethod
    def _clip(values: Floats, mean: Floats, variance: Floats, deviations: float = 4, beyond: float = 1) -> Floats:
        reach = deviations * np.sqrt(variance)
        # Here and elsewhere no np.clip: what is around it takes longer than the work on a few hundred values.
        return np.minimum(np.maximum(values, mean - reach), mean + reach + beyond)

    def _surprise(self, values: Floats, mean: Floats, variance: Floats) -> Floats:
        from scipy.special import betainc  # type: ignore[import-untyped]

        # Negative binomial of that mean and variance: r failures, success probability mean / variance.
        excess = np.maximum(variance - mean, 1e-9 * mean)
        r = mean**2 / excess
        q = np.minimum(np.maximum(excess / variance, 1e-12), 1 - 1e-12)

        def high() -> Floats:
            chance, some = np.ones(len(values)), values > 0  # most series have nothing in a bucket
            chance[some] = betainc(np.maximum(values[some], 1e-9), r[some], q[some])
            return chance

        return surprise_of(high, lambda: betainc(r, values + 1.0, 1 - q), self.side)

    def _learn(
        self, values: Floats, learn: NDArray[np.bool_], now: tuple[Floats, ...], window: tuple[Floats, ...],
        surprise: Floats,
    ) -> None:  # fmt: skip
        n, slot = self.size, self.slot
        mean, factor, level, variance = now
        past, expected, spread = window
        clipped = self._clip(values, mean, variance)
        unusual = (surprise > OUTLIER) & learn
        self.run[:n] = np.where(unusual, self.run[:n] + 1, np.where(learn, self.run[:n] * 0.5, self.run[:n]))
        # Unusual for hours on end is the new normal: forget the old level and take the values as they are.
        shifted = self.run[:n] >= self._shift_after
        taken = np.where(shifted, values, clipped)
        keep = np.where(shifted, 0.5, self._keep)
        weight = learn.astype(np.float64)
        self.seen[:n] = np.where(learn, self.seen[:n] * keep + taken, self.seen[:n])
        self.exposure[:n] = np.where(learn, self.exposure[:n] * keep + factor, self.exposure[:n])
        self.slot_seen[:n, slot] += weight * np.where(shifted, mean, taken)
        self.slot_expected[:n, slot] += weight * level
        self.profile_seen[slot] += float((weight * np.where(shifted, mean, taken)).sum())
        self.profile_expected[slot] += float((weight * level).sum())
        self.total = self.total * self._keep + (float((weight * taken).sum()), float((weight * factor).sum()))
        slow, calm = self._keep**0.5, self.run[:n] < 2
        several = np.minimum(np.maximum(past, 0), expected + 5 * np.sqrt(spread + expected**2) + 1)
        for prefix, count, typical, noise, share in (
            ("", self._clip(values, mean, variance, 6, 2), mean, mean, 1.0),
            # Each bucket is in WINDOW runs: counted fully, one burst would teach in hours that such runs are usual.
            ("multi_", several, expected, spread, 1.0 / WINDOW),
        ):
            one, other = getattr(self, f"{prefix}surplus")[:n], getattr(self, f"{prefix}squares")[:n]
            one[:] = np.where(learn & calm, one * slow + share * ((count - typical) ** 2 - noise), one)
            other[:] = np.where(learn & calm, other * slow + share * typical**2, other)
        self._remember(np.where(learn, clipped, mean), mean, mean.copy())

    def _remember(self, values: Floats, mean: Floats, noise: Floats) -> None:
        n = self.size
        self.recent.append((values, mean, noise))
        for name, row in (("past", values), ("expected", mean), ("variance", noise)):
            getattr(self, name)[:n] += row
        if len(self.recent) >= WINDOW:
            for name, row in zip(("past", "expected", "variance"), self.recent.pop(0), strict=True):
                getattr(self, name)[: len(row)] -= row

    def forecast(self, slot: int) -> tuple[Floats, Floats, Floats]:
        """(prediction, lower, upper) of every series for a bucket of the hour, at 95 %."""
        mean, _, _, variance = self._predict(slot)
        return mean, np.maximum(0, mean - 1.96 * np.sqrt(variance)), mean + 1.96 * np.sqrt(variance)
