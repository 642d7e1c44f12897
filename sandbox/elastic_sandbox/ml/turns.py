"""Taking turns: the workers of jobs share the cluster's lock and the interpreter with requests."""

from __future__ import annotations

import time
from typing import Final

_BREATH_SECONDS: Final = 0.0005


def give_way() -> None:
    """Let requests go first, between two slices of work and after each hold of the cluster's lock.

    A thread that releases a lock and wants it again at once gets it: whoever waits is still waking up.
    """
    time.sleep(_BREATH_SECONDS)
