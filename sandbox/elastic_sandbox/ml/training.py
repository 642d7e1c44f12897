"""Training a classifier or a regression: boosted trees by xgboost, handed over as an Elastic model definition.

The steps are those Elasticsearch names its phases after: encode (feature_selection), search the hyperparameters nobody
gave (coarse_parameter_search, fine_tuning_parameters), train (final_training). The search is small and bounded, so that
a laptop trains thousands of rows in seconds; with the same rows and seed the result is the same to the last digit.

How Elasticsearch's hyperparameters are used: `eta`, `gamma`, `lambda` and `feature_bag_fraction` are xgboost's of the
same meaning, `downsample_factor` is the row share per tree, `soft_tree_depth_limit` rounds to the depth limit,
`eta_growth_rate_per_tree` multiplies eta each tree. `alpha` (a penalty on deep trees) has no counterpart: it raises
gamma by its value at the root for the given depth limit and tolerance. A regression is trained on numbers of mean 0
and variance 1, so that gamma and lambda mean the same whatever the unit; losses are reported in the unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.class_assignment import class_weights
from elastic_sandbox.ml.definition import Definition, feature_matrix
from elastic_sandbox.ml.definition_export import to_definition
from elastic_sandbox.ml.encodings import Lookup, Preprocessor, fit_preprocessors, target_means, text_of
from elastic_sandbox.ml.importance import Explainer
from elastic_sandbox.ml.target import Target

if TYPE_CHECKING:
    from xgboost import Booster, DMatrix

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Progress = Callable[[str, int], None]

FOLDS: Final = 3
SEARCH_ROWS: Final = 3000
MAX_TREES: Final = 120
EXPLAINED_ROWS: Final = 2000
_EXPLAINED_AT_ONCE: Final = 200
"""Rows between two looks whether to stop or give way."""
DEFAULTS: Final[dict[str, float]] = {
    "alpha": 0.0,
    "downsample_factor": 0.8,
    "eta": 0.12,
    "eta_growth_rate_per_tree": 1.0,
    "feature_bag_fraction": 0.6,
    "gamma": 0.5,
    "lambda": 1.0,
    "max_attempts_to_add_tree": 3,
    "max_optimization_rounds_per_hyperparameter": 2,
    "max_trees": MAX_TREES,
    "num_folds": FOLDS,
    "num_splits_per_feature": 75,
    "soft_tree_depth_limit": 4.0,
    "soft_tree_depth_tolerance": 0.15,
}
COARSE: Final[list[dict[str, float]]] = [
    {},
    {"soft_tree_depth_limit": 3.0, "lambda": 3.0},
    {"soft_tree_depth_limit": 5.0, "gamma": 1.0, "lambda": 3.0},
]
FINE: Final[list[dict[str, float]]] = [
    {"lambda": 10.0},
    {"feature_bag_fraction": 0.35},
    {"gamma": 2.0},
    {"downsample_factor": 0.6},
]


class TrainingCancelledError(Exception):
    """The job was stopped while it trained."""


@dataclass
class TrainedForest:
    """A trained model and what is reported about its training."""

    definition: Definition
    hyperparameters: dict[str, float]
    supplied: set[str]
    rounds: int
    fold_losses: list[float]
    total_importance: list[dict[str, Any]] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    """Prediction for an average row: the number, the log-odds of two classes, one log-odds per class for more."""


@dataclass
class _Data:
    x: Floats
    target: Target
    folds: Integers

    def part(self, rows: NDArray[np.int64]) -> _Data:
        return _Data(self.x[rows], self.target.part(rows), self.folds[rows])


def train_forest(
    columns: dict[str, list[Any]],
    categorical: list[str],
    target: Target,
    options: dict[str, Any],
    progress: Progress = lambda phase, percent: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> TrainedForest:
    """Train on rows whose target is known.

    columns: raw columns (feature name → list of JSON values, None = missing); categorical: which of them are encoded;
    options: the job's classification or regression object with its randomize_seed.
    progress is called with phase and percent; is_cancelled is asked between trees and ends in TrainingCancelledError.
    """
    seed = int(options.get("randomize_seed") or 0) % (2**31)
    run = _Run(options, seed, progress, is_cancelled)
    progress("feature_selection", 0)
    encoded = target.columns()
    preprocessors = fit_preprocessors(columns, categorical, encoded)
    progress("feature_selection", 40)
    made = {p.field for p in preprocessors}
    names = [n for n in columns if n not in made and n not in categorical]
    names += [output for p in preprocessors for output in p.outputs]
    folds = stratified_folds(target.strata, FOLDS, seed)
    x = feature_matrix(preprocessors, names, columns)
    data = _Data(_without_leakage(x, preprocessors, names, columns, encoded, folds), target, folds)
    progress("feature_selection", 100)
    parameters, rounds, losses = run.search(data)
    booster, out_of_fold = run.final(data, parameters)
    objective = options.get("class_assignment_objective") or "maximize_minimum_recall"
    weights = class_weights(objective, out_of_fold, target.strata) if target.labels else None
    definition = to_definition(booster, preprocessors, names, target, weights, data.x)
    progress("final_training", 95)
    result = TrainedForest(definition, parameters, run.given, rounds, losses)
    result.total_importance, result.baseline = summarise_importance(definition, x[:EXPLAINED_ROWS], is_cancelled)
    progress("final_training", 100)
    return result


def stratified_folds(classes: Integers, folds: int, seed: int) -> Integers:
    """A fold number per row, each class spread evenly, drawn from the seed."""
    generator = np.random.default_rng(seed)
    result = np.zeros(len(classes), dtype=np.int64)
    for index in np.unique(classes):
        rows = np.flatnonzero(classes == index)
        result[generator.permutation(rows)] = np.arange(len(rows)) % folds
    return result


def _without_leakage(
    x: Floats,
    preprocessors: list[Preprocessor],
    names: list[str],
    columns: dict[str, list[Any]],
    encoded: dict[str, Floats],
    folds: Integers,
) -> Floats:
    """Replace target means by those of the other folds: a row must not see its own target through its category."""
    fields = {p.field for p in preprocessors if isinstance(p, Lookup) and p.kind == "target_mean_encoding"}
    x = x.copy()
    for name in sorted(fields):
        texts = [text_of(value) for value in columns[name]]
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            if not len(inside) or not len(outside):
                continue
            others = {suffix: values[outside] for suffix, values in encoded.items()}
            for encoding in target_means(name, [texts[i] for i in outside], others):
                made = encoding.apply([texts[i] for i in inside])
                x[inside, names.index(encoding.feature_name)] = made[encoding.feature_name]
    return x


class _Run:
    """One training: the parameters given, and where to report."""

    def __init__(
        self, options: dict[str, Any], seed: int, progress: Progress, is_cancelled: Callable[[], bool]
    ) -> None:
        self.given = {name for name in DEFAULTS if options.get(name) is not None}
        self.base = {name: float(options[name]) if name in self.given else value for name, value in DEFAULTS.items()}
        self.early_stopping = options.get("early_stopping_enabled", True)
        self.seed = seed
        self.progress = progress
        self.is_cancelled = is_cancelled

    def search(self, data: _Data) -> tuple[dict[str, float], int, list[float]]:
        """The best of a few parameter sets by cross-validated loss on a sample of the rows."""
        sample = np.arange(len(data.x))
        if len(sample) > SEARCH_ROWS:
            shares = stratified_folds(data.target.strata, math.ceil(len(sample) / SEARCH_ROWS), self.seed + 1)
            sample = np.flatnonzero(shares == 0)
        part = data.part(sample)
        halves = [_half(part, fold) for fold in range(2)]
        best, best_losses, rounds = self.base, self._losses(part.target, halves, self.base), 1
        for phase, candidates in (("coarse_parameter_search", COARSE[1:]), ("fine_tuning_parameters", FINE)):
            self.progress(phase, 0)
            limit = (
                len(candidates)
                if phase.startswith("coarse")
                else int(2 * self.base["max_optimization_rounds_per_hyperparameter"])
            )
            for index, change in enumerate(candidates[:limit]):
                free = {name: value for name, value in change.items() if name not in self.given}
                if free:
                    candidate = best | free
                    losses = self._losses(part.target, halves, candidate)
                    rounds += 1
                    if np.mean(losses) < np.mean(best_losses):
                        best, best_losses = candidate, losses
                self.progress(phase, int(100 * (index + 1) / len(candidates)))
            self.progress(phase, 100)
        return best, rounds, best_losses

    def _losses(self, target: Target, halves: list[_Half | None], parameters: dict[str, float]) -> list[float]:
        """The loss on each of two folds, with as many trees as help there."""
        losses = []
        for half in halves:
            self._check()
            if half is None:
                losses.append(float("inf"))
                continue
            booster = self._boost(target, half.train, parameters, min(60, int(parameters["max_trees"])))
            losses.append(target.loss(_predicted(booster, target, half.test), half.held))
        return losses

    def final(self, data: _Data, parameters: dict[str, float]) -> tuple[Booster, Floats]:
        """The model on all rows, and out-of-fold predictions to choose the class weights on."""
        self.progress("final_training", 0)
        out_of_fold = data.target.average(len(data.x))
        trees = int(parameters["max_trees"])
        counts = []
        for fold in range(FOLDS):
            self._check()
            half = _half(data, fold)
            if half is None:
                continue
            watch = half.test if self.early_stopping else None
            booster = self._boost(data.target, half.train, parameters, trees, watch)
            counts.append(booster.num_boosted_rounds())
            out_of_fold[half.held] = _predicted(booster, data.target, half.test)
            self.progress("final_training", 20 * (fold + 1))
        if self.early_stopping and counts:
            trees = max(1, min(trees, int(np.median(counts))))
        parameters["max_trees"] = trees
        everything = np.ones(len(data.x), dtype=np.bool_)
        booster = self._boost(data.target, _dmatrix(data, everything), parameters, trees)
        self.progress("final_training", 80)
        return booster, out_of_fold

    def _check(self) -> None:
        if self.is_cancelled():
            raise TrainingCancelledError

    def _boost(
        self, target: Target, train: DMatrix, parameters: dict[str, float], trees: int, watch: DMatrix | None = None
    ) -> Booster:
        import xgboost

        settings = _xgboost_parameters(parameters, self.seed) | target.objective
        callbacks: list[Any] = [_stop_callback()(self.is_cancelled)]
        growth = parameters["eta_growth_rate_per_tree"]
        if growth != 1.0:
            eta = parameters["eta"]
            callbacks.append(xgboost.callback.LearningRateScheduler(lambda round_: min(1.0, eta * growth**round_)))
        evals = []
        if watch is not None:
            evals = [(watch, "held")]
            callbacks.append(xgboost.callback.EarlyStopping(rounds=12, save_best=True, min_delta=1e-5))
        booster = xgboost.train(settings, train, trees, evals=evals, verbose_eval=False, callbacks=callbacks)
        self._check()
        return booster


@cache
def _stop_callback() -> Callable[[Callable[[], bool]], Any]:
    import xgboost

    class Stop(xgboost.callback.TrainingCallback):
        def __init__(self, is_cancelled: Callable[[], bool]) -> None:
            self._is_cancelled = is_cancelled

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return self._is_cancelled()

    return Stop


def _xgboost_parameters(parameters: dict[str, float], seed: int) -> dict[str, Any]:
    limit, tolerance = parameters["soft_tree_depth_limit"], max(parameters["soft_tree_depth_tolerance"], 0.01)
    root_penalty = 2 * math.exp(min(50.0, (1 - limit) / tolerance)) - math.exp(min(50.0, -limit / tolerance))
    return {
        "tree_method": "hist",
        "max_bin": max(8, int(parameters["num_splits_per_feature"])),
        "max_depth": max(1, round(limit)),
        "eta": parameters["eta"],
        "gamma": parameters["gamma"] + parameters["alpha"] * max(0.0, root_penalty),
        "lambda": parameters["lambda"],
        "subsample": parameters["downsample_factor"],
        "colsample_bynode": parameters["feature_bag_fraction"],
        "seed": seed,
        "nthread": 1,  # histograms are summed per thread, so one thread keeps the result the same everywhere
        "verbosity": 0,
    }


@dataclass
class _Half:
    """One fold of the rows and all the others, as xgboost takes them: sorted into bins once for all parameters."""

    held: NDArray[np.bool_]
    test: DMatrix
    train: DMatrix


def _half(data: _Data, fold: int) -> _Half | None:
    """None where the fold is empty, or nothing can be learned from the others."""
    held = data.folds == fold
    if not data.target.can_train(~held) or not held.any():
        return None
    return _Half(held, _dmatrix(data, held), _dmatrix(data, ~held))


def _dmatrix(data: _Data, rows: NDArray[np.bool_]) -> DMatrix:
    import xgboost

    x = data.x[rows].astype(np.float32)
    label, margin = data.target.trained(rows), data.target.margins(len(x))
    return xgboost.DMatrix(x, label=label, base_margin=margin, missing=np.nan, nthread=1)


def _predicted(booster: Booster, target: Target, rows: DMatrix) -> Floats:
    return target.predicted(np.asarray(booster.predict(rows), dtype=np.float64))


def summarise_importance(
    definition: Definition, x: Floats, is_cancelled: Callable[[], bool] = lambda: False
) -> tuple[list[dict[str, Any]], list[float]]:
    """`total_feature_importance` (mean magnitude, smallest and largest contribution) and the baseline.

    A classification has one summary per class under `classes`, a regression one per feature.
    """
    explainer = Explainer(definition, threads=1)
    parts = []
    for start in range(0, max(1, len(x)), _EXPLAINED_AT_ONCE):
        if is_cancelled():
            raise TrainingCancelledError
        parts.append(explainer.contributions(x[start : start + _EXPLAINED_AT_ONCE]))
    contributions, baseline = np.concatenate([part for part, _ in parts]), parts[0][1]
    if definition.target_type == "classification" and contributions.shape[1] == 1:
        contributions = np.concatenate([-contributions, contributions], axis=1)  # one log-odds, seen from both sides
    summary: list[dict[str, Any]] = []
    for index, name in enumerate(explainer.features):
        found = [_summary(contributions[:, position, index]) for position in range(contributions.shape[1])]
        if definition.target_type == "regression":
            summary.append({"feature_name": name, "importance": found[0]})
        else:
            classes = [{"class": position, "importance": importance} for position, importance in enumerate(found)]
            summary.append({"feature_name": name, "classes": classes})
    return summary, [float(value) for value in baseline]


def _summary(values: Floats) -> dict[str, float]:
    return {"mean_magnitude": float(np.abs(values).mean()), "min": float(values.min()), "max": float(values.max())}
