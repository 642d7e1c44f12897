"""Which share of the majority class a training set keeps, and how a pipeline keeps exactly that share.

A document is kept when the first two base64 characters of its hash lie below a two-character threshold. Two
characters are 12 bits, so shares come in steps of 1/4096; the order is that of `String.compareTo`, not of base64's
own alphabet.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

STEPS = 4096
LARGEST_RATIO = 10
_ALPHABET = "".join(sorted("+/" + string.digits + string.ascii_letters))


def threshold(steps: int) -> str | None:
    """Return the two characters below which `steps` of 4096 hashes lie; None when all are kept."""
    if not 1 <= steps <= STEPS:
        raise ValueError(f"a kept share lies between 1 and {STEPS} steps of 1/{STEPS}, not {steps}")
    return None if steps == STEPS else _ALPHABET[steps // 64] + _ALPHABET[steps % 64]


@dataclass(frozen=True)
class Sampling:
    """What is kept of each class.

    :param majority: the class that is down-sampled, None when none is.
    :param steps: of 4096, how much of it is kept.
    :param classes: rows per class before sampling.
    """

    majority: str | None
    steps: int
    classes: Mapping[str, int]

    @property
    def threshold(self) -> str | None:
        """The threshold for the pipeline; None when everything is kept."""
        return None if self.majority is None else threshold(self.steps)

    @property
    def kept(self) -> dict[str, float]:
        """Share kept per class, 1.0 for every class that is not down-sampled."""
        return {name: self.steps / STEPS if name == self.majority else 1.0 for name in self.classes}


def plan_sampling(classes: Mapping[str, int], positive_class: str | None, ratio: int = LARGEST_RATIO) -> Sampling:
    """Down-sample the largest class to at most `ratio` times the rest; never the positive class.

    :param classes: rows per class in the training window.
    :param positive_class: the class that is never dropped.
    :param ratio: largest majority : rest; Elastic advises at most 10:1 for its boosted trees.
    """
    if not classes:
        return Sampling(None, STEPS, {})
    majority = max(sorted(classes), key=lambda name: classes[name])
    rest = sum(count for name, count in classes.items() if name != majority)
    if majority == positive_class or rest == 0 or classes[majority] <= ratio * rest:
        return Sampling(None, STEPS, dict(classes))
    return Sampling(majority, max(1, STEPS * ratio * rest // classes[majority]), dict(classes))
