"""A step of the long walk: where a block is typed, and what its reader sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from docs.reader_world import World

Sees = Callable[[World, str, str], None]
"""Called after a command with the command and what it printed; raises AssertionError where the page says otherwise."""


@dataclass(frozen=True)
class Step:
    """One block of shell in a reader's hands.

    :param starts: how the block starts, so that a step stands for no other one.
    :param where: the terminal, whose first word is the folder that it opened in; one per command, if they differ.
    :param file: the block goes into this file of that folder and is not typed.
    :param before: what the page asks for in words before the block, or takes for granted.
    :param stays: words of the command that does not return.
    """

    starts: str
    where: str | tuple[str, ...]
    sees: Sees | None = None
    file: str = ""
    before: Callable[[World], None] | None = None
    stays: str = "stays in this terminal"


@dataclass(frozen=True)
class Walk:
    """A page, all of it, or the folder into which the files go that it shows."""

    steps: tuple[Step, ...]
    files: str = ""
