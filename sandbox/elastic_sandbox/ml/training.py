"""Training a classifier: boosted trees by xgboost, handed over as an Elastic model definition.

The steps are those Elasticsearch names its phases after: encode (feature_selection), search the hyperparameters nobody
gave (coarse_parameter_search, fine_tuning_parameters), train (final_training). The search is small and bounded, so that
a laptop trains thousands of rows in seconds; with the same rows and seed the result is the same to the last digit.

How Elasticsearch's hyperparameters are used: `eta`, `gamma`, `lambda` and `feature_bag_fraction` are xgboost's of the
same meaning, `downsample_factor` is the row share per tree, `soft_tree_depth_limit` rounds to the depth limit,
`eta_growth_rate_per_tree` multiplies eta each tree. `alpha` (a penalty on deep trees) has no counterpart: it raises
gamma by its value at the root for the given depth limit and tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from elastic_sandbox.ml.class_assignment import class_weights
from elastic_sandbox.ml.definition import Definition, feature_matrix
from elastic_sandbox.ml.definition_export import to_definition
from elastic_sandbox.ml.encodings import Lookup, Preprocessor, fit_preprocessors, target_means, text_of
from elastic_sandbox.ml.importance import Explainer

if TYPE_CHECKING:
    from xgboost import Booster

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Progress = Callable[[str, int], None]

FOLDS: Final = 3
SEARCH_ROWS: Final = 3000
MAX_TREES: Final = 120
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
class Classifier:
    """A trained model and what is reported about its training."""

    definition: Definition
    hyperparameters: dict[str, float]
    supplied: set[str]
    rounds: int
    fold_losses: list[float]
    total_importance: list[dict[str, Any]] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    """Log-odds of an average row: one number for two classes, one per class for more."""


@dataclass
class _Data:
    x: Floats
    classes: Integers
    folds: Integers
    prior: Floats
    seed: int


def train_classifier(
    columns: dict[str, list[Any]],
    categorical: list[str],
    classes: Integers,
    labels: list[str],
    options: dict[str, Any],
    progress: Progress = lambda phase, percent: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Classifier:
    """Train on rows that all have a label.

    columns: raw columns (feature name → list of JSON values, None = missing); categorical: which of them are encoded;
    classes: (rows,) class index into labels; options: the job's classification object with its randomize_seed.
    progress is called with phase and percent; is_cancelled is asked between trees and ends in TrainingCancelledError.
    """
    seed = int(options.get("randomize_seed") or 0) % (2**31)
    run = _Run(options, seed, progress, is_cancelled)
    progress("feature_selection", 0)
    preprocessors = fit_preprocessors(columns, categorical, classes, labels)
    encoded = {p.field for p in preprocessors}
    names = [n for n in columns if n not in encoded and n not in categorical]
    names += [output for p in preprocessors for output in p.outputs]
    folds = stratified_folds(classes, FOLDS, seed)
    x = _without_leakage(
        feature_matrix(preprocessors, names, columns), preprocessors, names, columns, classes, labels, folds
    )
    prior = np.log(np.bincount(classes, minlength=len(labels)) / len(classes))
    data = _Data(x, classes, folds, prior, seed)
    progress("feature_selection", 100)
    parameters, rounds, losses = run.search(data)
    booster, margins = run.final(data, parameters)
    weights = class_weights(options.get("class_assignment_objective") or "maximize_minimum_recall", margins, classes)
    definition = to_definition(booster, preprocessors, names, labels, prior, weights, x)
    result = Classifier(definition, parameters, run.given, rounds, losses)
    matrix = definition.matrix(columns)
    result.total_importance, result.baseline = summarise_importance(definition, matrix[:2000])
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
    classes: Integers,
    labels: list[str],
    folds: Integers,
) -> Floats:
    """Replace target means by those of the other folds: a row must not see its own label through its category."""
    fields = {p.field for p in preprocessors if isinstance(p, Lookup) and p.kind == "target_mean_encoding"}
    x = x.copy()
    for name in sorted(fields):
        texts = [text_of(value) for value in columns[name]]
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            if not len(inside) or not len(outside):
                continue
            for encoding in target_means(name, [texts[i] for i in outside], classes[outside], labels):
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
        """The best of a few parameter sets by cross-validated log loss on a sample of the rows."""
        sample = np.arange(len(data.classes))
        if len(sample) > SEARCH_ROWS:
            chosen = stratified_folds(data.classes, math.ceil(len(sample) / SEARCH_ROWS), self.seed + 1) == 0
            sample = np.flatnonzero(chosen)
        part = _Data(data.x[sample], data.classes[sample], data.folds[sample], data.prior, data.seed)
        best, best_losses, rounds = self.base, self._losses(part, self.base), 1
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
                    losses = self._losses(part, candidate)
                    rounds += 1
                    if np.mean(losses) < np.mean(best_losses):
                        best, best_losses = candidate, losses
                self.progress(phase, int(100 * (index + 1) / len(candidates)))
            self.progress(phase, 100)
        return best, rounds, best_losses

    def _losses(self, data: _Data, parameters: dict[str, float]) -> list[float]:
        """Log loss on each of two folds, with as many trees as help there."""
        losses = []
        for fold in range(2):
            self._check()
            held = data.folds == fold
            if len(np.unique(data.classes[~held])) < len(data.prior) or not held.any():
                losses.append(float("inf"))
                continue
            trees = min(60, int(parameters["max_trees"]))
            booster = self._boost(data, ~held, parameters, trees)
            losses.append(_log_loss(_probabilities(booster, data, held), data.classes[held]))
        return losses

    def final(self, data: _Data, parameters: dict[str, float]) -> tuple[Booster, Floats]:
        """The model on all rows, and out-of-fold probabilities to choose the class weights on."""
        self.progress("final_training", 0)
        out_of_fold = np.tile(np.exp(data.prior), (len(data.classes), 1))
        trees = int(parameters["max_trees"])
        counts = []
        for fold in range(FOLDS):
            self._check()
            held = data.folds == fold
            if not held.any() or len(np.unique(data.classes[~held])) < len(data.prior):
                continue
            booster = self._boost(data, ~held, parameters, trees, watch=held if self.early_stopping else None)
            counts.append(booster.num_boosted_rounds())
            out_of_fold[held] = _probabilities(booster, data, held)
            self.progress("final_training", 20 * (fold + 1))
        if self.early_stopping and counts:
            trees = max(1, min(trees, int(np.median(counts))))
        parameters["max_trees"] = trees
        everything = np.ones(len(data.classes), dtype=np.bool_)
        return self._boost(data, everything, parameters, trees), out_of_fold

    def _check(self) -> None:
        if self.is_cancelled():
            raise TrainingCancelledError

    def _boost(
        self,
        data: _Data,
        rows: NDArray[np.bool_],
        parameters: dict[str, float],
        trees: int,
        watch: NDArray[np.bool_] | None = None,
    ) -> Booster:
        import xgboost

        classes = len(data.prior)
        settings = _xgboost_parameters(parameters, classes, data.seed)
        train = _dmatrix(data, rows)
        callbacks: list[Any] = [_stop_callback(self.is_cancelled)]
        growth = parameters["eta_growth_rate_per_tree"]
        if growth != 1.0:
            eta = parameters["eta"]
            callbacks.append(xgboost.callback.LearningRateScheduler(lambda round_: min(1.0, eta * growth**round_)))
        evals = []
        if watch is not None:
            evals = [(_dmatrix(data, watch), "held")]
            callbacks.append(xgboost.callback.EarlyStopping(rounds=12, save_best=True, min_delta=1e-5))
        booster = xgboost.train(settings, train, trees, evals=evals, verbose_eval=False, callbacks=callbacks)
        self._check()
        return booster


def _stop_callback(is_cancelled: Callable[[], bool]) -> Any:
    import xgboost

    class Stop(xgboost.callback.TrainingCallback):
        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            return is_cancelled()

    return Stop()


def _xgboost_parameters(parameters: dict[str, float], classes: int, seed: int) -> dict[str, Any]:
    limit, tolerance = parameters["soft_tree_depth_limit"], max(parameters["soft_tree_depth_tolerance"], 0.01)
    root_penalty = 2 * math.exp(min(50.0, (1 - limit) / tolerance)) - math.exp(min(50.0, -limit / tolerance))
    settings: dict[str, Any] = {
        "objective": "binary:logistic" if classes == 2 else "multi:softprob",
        "eval_metric": "logloss" if classes == 2 else "mlogloss",
        "base_score": 0.5,  # the class shares enter as base margin, so the trees start from them
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
    if classes > 2:
        settings["num_class"] = classes
    return settings


def _dmatrix(data: _Data, rows: NDArray[np.bool_]) -> Any:
    import xgboost

    x = data.x[rows].astype(np.float32)
    return xgboost.DMatrix(
        x, label=data.classes[rows], base_margin=_margins(data.prior, len(x)), missing=np.nan, nthread=1
    )


def _margins(prior: Floats, rows: int) -> Floats:
    if len(prior) == 2:
        return np.full(rows, prior[1] - prior[0])
    return np.tile(prior, (rows, 1))


def _probabilities(booster: Booster, data: _Data, rows: NDArray[np.bool_]) -> Floats:
    predicted = np.asarray(booster.predict(_dmatrix(data, rows)), dtype=np.float64)
    return predicted if predicted.ndim == 2 else np.stack([1.0 - predicted, predicted], axis=1)


def _log_loss(probabilities: Floats, classes: Integers) -> float:
    own = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.clip(own, 1e-12, 1.0)).mean())


def summarise_importance(definition: Definition, x: Floats) -> tuple[list[dict[str, Any]], list[float]]:
    """`total_feature_importance` (mean magnitude, smallest and largest contribution per class) and the baseline."""
    explainer = Explainer(definition)
    contributions, baseline = explainer.contributions(x)
    if contributions.shape[1] == 1:  # two classes: one log-odds, seen from both sides
        contributions = np.concatenate([-contributions, contributions], axis=1)
    summary = []
    for index, name in enumerate(explainer.features):
        classes = []
        for position in range(contributions.shape[1]):
            values = contributions[:, position, index]
            importance = {
                "mean_magnitude": float(np.abs(values).mean()),
                "min": float(values.min()),
                "max": float(values.max()),
            }
            classes.append({"class": position, "importance": importance})
        summary.append({"feature_name": name, "classes": classes})
    return summary, [float(value) for value in baseline]
