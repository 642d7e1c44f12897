"""What a boosted forest learns: classes, or numbers; everything in which the two trainings differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Rows = NDArray[np.bool_]


@dataclass
class Target:
    """The dependent variable of the training rows.

    :param values: (rows,) class index, or the number
    :param labels: the classes' names; None for a regression
    :param prior: where the trees start: the logarithms of the class shares, or the mean
    :param scale: what one unit of the trees' outputs is worth: 1 for classes, the standard deviation of the numbers
    """

    values: Floats
    labels: list[str] | None
    prior: Floats
    scale: float = 1.0

    @classmethod
    def of_classes(cls, classes: Integers, labels: list[str]) -> Target:
        """A classification's: (rows,) index into labels; every class occurs."""
        shares = np.bincount(classes, minlength=len(labels)) / len(classes)
        return cls(classes.astype(np.float64), labels, np.log(shares))

    @classmethod
    def of_numbers(cls, numbers: Floats) -> Target:
        """A regression's."""
        return cls(numbers, None, np.array([numbers.mean()]), float(numbers.std()) or 1.0)

    def part(self, rows: Integers) -> Target:
        """The same target of some rows; it starts where the whole does."""
        return Target(self.values[rows], self.labels, self.prior, self.scale)

    @property
    def strata(self) -> Integers:
        """(rows,) what folds and shares are drawn evenly of: the class; one stratum for numbers."""
        return self.values.astype(np.int64) if self.labels else np.zeros(len(self.values), dtype=np.int64)

    @property
    def loss_type(self) -> str:
        """The name `_stats` has for the loss."""
        if self.labels is None:
            return "mse"
        return "binomial_logistic" if len(self.labels) == 2 else "multinomial_logistic"

    def columns(self) -> dict[str, Floats]:
        """What target mean encodings average: name suffix → (rows,) the number, class 1 of two, or each class."""
        if self.labels is None:
            return {"": self.values}
        if len(self.labels) == 2:
            return {"": self.values}
        return {f"_{label}": (self.values == index).astype(np.float64) for index, label in enumerate(self.labels)}

    # What xgboost is told ------------------------------------------------------------------------------------------

    @property
    def objective(self) -> dict[str, Any]:
        """Objective and metric; base_score says nothing, as the prior enters as base margin."""
        if self.labels is None:
            return {"objective": "reg:squarederror", "eval_metric": "rmse", "base_score": 0.0}
        if len(self.labels) == 2:
            return {"objective": "binary:logistic", "eval_metric": "logloss", "base_score": 0.5}
        classes = {"num_class": len(self.labels)}
        return {"objective": "multi:softprob", "eval_metric": "mlogloss", "base_score": 0.5, **classes}

    def trained(self, rows: Rows) -> Floats:
        """(rows,) the labels the trees learn."""
        values = self.values[rows]
        return values if self.labels else (values - self.prior[0]) / self.scale

    def margins(self, rows: int) -> Floats:
        """Where the trees start, per row and output."""
        if self.labels is None:
            return np.zeros(rows)
        if len(self.labels) == 2:
            return np.full(rows, self.prior[1] - self.prior[0])
        return np.tile(self.prior, (rows, 1))

    # What comes back -----------------------------------------------------------------------------------------------

    def predicted(self, output: Floats) -> Floats:
        """xgboost's predictions as (rows,) numbers or (rows, classes) probabilities."""
        if self.labels is None:
            return output * self.scale + self.prior[0]
        return output if output.ndim == 2 else np.stack([1.0 - output, output], axis=1)

    def average(self, rows: int) -> Floats:
        """The prediction for rows of which nothing is known."""
        if self.labels is None:
            return np.full(rows, self.prior[0])
        return np.tile(np.exp(self.prior), (rows, 1))

    def can_train(self, rows: Rows) -> bool:
        """Whether some rows are enough to learn from: any number, or all classes."""
        return bool(rows.any()) if self.labels is None else len(np.unique(self.values[rows])) == len(self.labels)

    def loss(self, predicted: Floats, rows: Rows) -> float:
        """Mean squared error, or mean logarithmic loss."""
        if self.labels is None:
            return float(np.mean((predicted - self.values[rows]) ** 2))
        own = predicted[np.arange(len(predicted)), self.values[rows].astype(np.int64)]
        return float(-np.log(np.clip(own, 1e-12, 1.0)).mean())
