"""How commands speak: aligned text for people, one JSON object for programs, failures on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any


class Output:
    """Where a command's result goes.

    :param json: print results as one JSON object instead of text.
    """

    def __init__(self, *, json: bool) -> None:
        self.json = json

    def result(self, text: str, data: dict[str, Any]) -> None:
        """Print the text, or where JSON was asked for, the data."""
        print(json.dumps(data, indent=2, ensure_ascii=False) if self.json else text)  # noqa: T201 - a command line

    def failure(self, sentence: str) -> None:
        """Print why the command did not do its work."""
        if self.json:
            print(json.dumps({"ok": False, "error": sentence}, ensure_ascii=False))  # noqa: T201
        print(sentence, file=sys.stderr)  # noqa: T201


def counted(number: int, what: str) -> str:
    """`1 model`, `2 models`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns, the last of them as long as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    )
