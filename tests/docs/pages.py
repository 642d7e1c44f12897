"""The pages as blocks of code, in the order in which a reader meets them.

A comment on the line above a block, which no reader sees, tells the tests what they cannot guess:

    <!-- not run: it needs a certificate of yours -->     the reason why nothing is done with it
    <!-- given: client, request -->                       names that an example takes from around it
    <!-- lines: ml.registry -->                           a log of that dataset, which Logstash understands
    <!-- long: it takes seconds -->                       the reason why it, and what follows, is left to `make chaos`
    <!-- printed -->                                      lines, or parts, of what the command before it gives
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\S*)\s*$")
MARKER = re.compile(r"^ *<!-- (not run|given|lines|long|printed)(?:: (.+))? -->$")
FILE = re.compile(r"`((?:include/|dags/|/tmp/shop/)[\w./-]+\.\w+)`")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it stands, its language and text, and what the lines above it say of it."""

    page: Path
    line: int
    language: str
    text: str
    above: str
    marker: str = ""
    said: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The path that the sentence above gives the block: its last one."""
        return found[-1] if (found := FILE.findall(self.above)) else None


def pages() -> list[Path]:
    """All that a reader may open: the README and its neighbours, and everything under docs/."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; raises AssertionError for one that is never closed."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, start=1):
        fence = FENCE.match(line)
        if fence and opened is None:
            opened = (number, fence[1], fence[2])
        elif fence and opened is not None:
            first, indent, language = opened
            text = "\n".join(each.removeprefix(indent) for each in lines[first : number - 1])
            found.append(Block(page, first, language, text, *_above(lines[: first - 1])))
            opened = None
    assert opened is None, f"{page}:{opened}: this block is never closed"
    return found


def _above(lines: list[str]) -> tuple[str, str, str]:
    """The sentence before a block, its marker, and what the marker says."""
    rest = [line for line in lines[-6:] if line.strip()]
    marker = MARKER.match(rest[-1]) if rest else None
    if marker:
        rest.pop()
    return (rest[-1] if rest else "", *(marker.groups("") if marker else ("", "")))
