"""Outlier scores from one nearest-neighbour search.

Four published measures, the methods the API names: `distance_kth_nn` (Ramaswamy, Rastogi and Shim 2000),
`distance_knn`, the mean distance to the neighbours (Angiulli and Pizzuti 2002), `lof`, the local outlier factor
(Breunig et al. 2000) and `ldof`, the local distance-based outlier factor (Zhang, Hutter and Jin 2009). The ensemble,
which is the default, is the mean of all four on a common scale. The scores are the sandbox's own, not Elasticsearch's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DEFAULT_NEIGHBORS: Final = 15
SAMPLE_ROWS: Final = 50_000
"""Above so many rows, neighbours are looked for in a sample of them: the search grows with the square."""
_CHUNK: Final = 2_000
_TINY: Final = 1e-12
_STEEPNESS: Final = float(np.log(99.0))
"""The median row gets a score of 0.01, the row at the assumed outlier fraction 0.5, one twice as far out 0.99."""


@dataclass
class Neighborhoods:
    """The neighbours of every row."""

    x: Floats
    """(rows, features), standardized where asked for."""
    sample: Integers
    """The rows that may be neighbours: all, or SAMPLE_ROWS of them."""
    distances: Floats
    """(rows, neighbours), ascending."""
    nearest: Integers
    """(rows, neighbours) positions in `sample`."""

    @property
    def reference(self) -> Floats:
        """(sampled rows, features)."""
        return self.x[self.sample]


@dataclass
class Outliers:
    """Scores of all rows, and why."""

    scores: Floats
    """(rows,) in [0, 1]."""
    neighborhoods: Neighborhoods

    @property
    def neighbors(self) -> int:
        """How many neighbours each row was compared with."""
        return int(self.neighborhoods.nearest.shape[1])

    def influence(self, row: int) -> Floats:
        """(features,) share of each feature in the squared distances to the row's neighbours; they sum to 1."""
        around = self.neighborhoods
        squares = ((around.x[around.sample[around.nearest[row]]] - around.x[row]) ** 2).sum(axis=0)
        total = float(squares.sum())
        shares: Floats = squares / total if total > 0 else np.full(len(squares), 1.0 / len(squares))
        return shares


def detect_outliers(x: Floats, options: dict[str, Any], progress: Callable[[int], None] = lambda _: None) -> Outliers:
    """Score rows without missing values.

    x: (rows, features); options: the job's outlier_detection object, with defaults; progress is called with percents
    and may raise to stop.
    """
    progress(0)
    if options["standardization_enabled"]:
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    around = find_neighbors(x, int(options.get("n_neighbors") or DEFAULT_NEIGHBORS), progress)
    levels = np.zeros(len(x))
    chosen = [options["method"]] if options.get("method") else list(MEASURES)
    if not around.nearest.shape[1]:  # a lone row has nothing to be compared with
        return Outliers(levels, around)
    for done, method in enumerate(chosen, 1):
        levels += _level(MEASURES[method](around), options["outlier_fraction"]) / len(chosen)
        progress(70 + 30 * done // len(chosen))
    return Outliers(1.0 / (1.0 + np.exp(-_STEEPNESS * np.clip(levels - 1.0, -50.0, 50.0))), around)


def find_neighbors(x: Floats, wanted: int, progress: Callable[[int], None] = lambda _: None) -> Neighborhoods:
    """The nearest rows of every row but itself, at most as many as there are; progress runs to 70."""
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    sample = np.arange(len(x))
    if len(x) > SAMPLE_ROWS:
        sample = np.sort(np.random.default_rng(0).permutation(len(x))[:SAMPLE_ROWS])
    neighbors = min(wanted, len(sample) - 1)
    distances, nearest = np.empty((len(x), neighbors)), np.empty((len(x), neighbors), dtype=np.int64)
    search = NearestNeighbors(n_neighbors=neighbors + 1, n_jobs=1).fit(x[sample])
    position = np.full(len(x), -1, dtype=np.int64)
    position[sample] = np.arange(len(sample))
    for start in range(0, len(x), _CHUNK):
        rows = slice(start, start + _CHUNK)
        with threadpool_limits(1):  # n_jobs does not count the threads of OpenMP; requests need a core, too
            found, at = search.kneighbors(x[rows])
        distances[rows], nearest[rows] = _others(found, at, position[rows])
        progress(int(70 * min(1.0, (start + _CHUNK) / len(x))))
    return Neighborhoods(x, sample, distances, nearest)


def _others(distances: Floats, nearest: Integers, own: Integers) -> tuple[Floats, Integers]:
    """Drop the row itself from its neighbours; where it is not among them, the farthest."""
    is_own = nearest == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    shape = (len(nearest), nearest.shape[1] - 1)
    return distances[~is_own].reshape(shape), nearest[~is_own].reshape(shape)


def distance_kth_nn(around: Neighborhoods) -> Floats:
    """(rows,) distance to the farthest of the neighbours."""
    return around.distances[:, -1]


def distance_knn(around: Neighborhoods) -> Floats:
    """(rows,) mean distance to the neighbours."""
    mean: Floats = around.distances.mean(axis=1)
    return mean


def lof(around: Neighborhoods) -> Floats:
    """(rows,) mean local reachability density of the neighbours over the row's own; about 1 for an inlier."""
    own_kth = around.distances[around.sample, -1]
    reach = np.maximum(around.distances, own_kth[around.nearest]).mean(axis=1)
    density = 1.0 / np.maximum(reach[around.sample], _TINY)
    factor: Floats = reach * density[around.nearest].mean(axis=1)
    return factor


def ldof(around: Neighborhoods) -> Floats:
    """(rows,) mean distance to the neighbours over the mean distance among them."""
    reference, inner = around.reference, np.empty(len(around.x))
    for start in range(0, len(around.x), _CHUNK):
        group = reference[around.nearest[start : start + _CHUNK]]
        squares = (group**2).sum(axis=2)
        products = squares[:, :, None] + squares[:, None, :] - 2.0 * group @ group.transpose(0, 2, 1)
        pairs = max(1, group.shape[1] * (group.shape[1] - 1))
        inner[start : start + _CHUNK] = np.sqrt(np.maximum(products, 0.0)).sum(axis=(1, 2)) / pairs
    factor: Floats = around.distances.mean(axis=1) / np.maximum(inner, _TINY)
    return factor


MEASURES: Final[dict[str, Callable[[Neighborhoods], Floats]]] = {
    "lof": lof,
    "ldof": ldof,
    "distance_kth_nn": distance_kth_nn,
    "distance_knn": distance_knn,
}


def _level(raw: Floats, fraction: float) -> Floats:
    """A measure on the common scale: 0 at the median of the inliers, 1 where the assumed share of outliers begins."""
    high = float(np.quantile(raw, 1.0 - fraction))
    low = float(np.quantile(raw, (1.0 - fraction) / 2.0)) if fraction < 1 else 0.0
    if high - low <= _TINY:  # most rows are alike: the next value above theirs stands out
        above = raw[raw > low + _TINY]
        if not len(above):
            return np.zeros(len(raw))
        high = float(above.min())
    level: Floats = (raw - low) / (high - low)
    return level
