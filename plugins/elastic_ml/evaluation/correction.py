"""Undoes what down-sampling does to probabilities.

A classifier trained on a share of one class sees that class less often than the world holds it, and overstates the
others. Dividing each probability by its class's kept share and renormalising gives the probability before sampling
(Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, theorem 2, for any number of classes). The same
arithmetic runs in the `<model>@score` pipeline, so a threshold means the same in a dashboard and in a model card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def correct_probabilities(probabilities: ArrayLike, kept: ArrayLike) -> NDArray[np.float64]:
    """Return class probabilities as they would be without down-sampling.

    :param probabilities: shape (rows, classes), each in [0, 1]; rows need not sum to one exactly.
    :param kept: shape (classes,), the share of each class that was kept for training, in (0, 1]; 1 = all rows.
    :return: shape (rows, classes); every row sums to 1. A row of zeros stays a row of zeros.
    :raises ValueError: a kept share outside (0, 1] or shapes that do not fit.
    """
    values = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    shares = np.asarray(kept, dtype=np.float64)
    if shares.ndim != 1 or shares.shape[0] != values.shape[1]:
        raise ValueError(f"kept needs one share per class: {values.shape[1]} classes, {shares.size} shares")
    if np.any(shares <= 0) or np.any(shares > 1):
        raise ValueError(f"a kept share lies in (0, 1]: {shares.tolist()}")
    weighted = values / shares
    total = weighted.sum(axis=1, keepdims=True)
    return np.divide(weighted, total, out=np.zeros_like(weighted), where=total > 0)


def positive_score(
    top_classes: Sequence[Mapping[str, object]], positive_class: str, kept: Mapping[str, float]
) -> float:
    """Return the corrected probability of one class from one document's `top_classes`.

    :param top_classes: `[{class_name, class_probability}]` as an inference processor writes them, all classes
        (`num_top_classes: -1`); class names may be booleans or numbers, they are compared as text.
    :param positive_class: the class whose probability is wanted.
    :param kept: share kept per class name; a class that is not named was kept whole.
    :return: a probability in [0, 1]; 0 when the class is not among `top_classes`.
    """
    positive = total = 0.0
    for entry in top_classes:
        name = str(entry["class_name"])
        weight = float(entry["class_probability"]) / kept.get(name, 1.0)  # type: ignore[arg-type]
        total += weight
        if name == positive_class:
            positive = weight
    return positive / total if total > 0 else 0.0
