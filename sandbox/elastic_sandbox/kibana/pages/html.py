"""A page as blocks of text, tables and pictures, and its HTML. Everything that comes from data is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from jinja2 import Environment

    from elastic_sandbox.kibana.pages.times import TimeRange

FOLDER: Final = Path(__file__).parent / "templates"
NEEDED: Final = (
    "Kibana's pages need the Python packages jinja2, markdown-it-py and vl-convert-python: `make sandbox` installs "
    "them, `pip install jinja2 markdown-it-py vl-convert-python` does elsewhere."
)
LONGEST: Final = 1000
"""Characters of a value that are shown; all of them are in the document."""
_COLOR: Final = re.compile(r"#(?:[0-9a-fA-F]{3}){1,2}")


@dataclass(frozen=True)
class Cell:
    """A value in a table or a list of facts.

    :param href: where it leads; anything but a path of this server, http or https is shown as text
    :param tone: ``good``, ``warning``, ``bad`` or ``quiet``: a badge of that colour
    :param whole: stays on one line
    :param color: background or text colour, ``#rrggbb``
    """

    text: str
    href: str = ""
    tone: str = ""
    number: bool = False
    whole: bool = False
    color: str = ""
    fill: bool = True

    @property
    def shown(self) -> str:
        """The text, cut where it is too long for a page."""
        return self.text if len(self.text) <= LONGEST else f"{self.text[:LONGEST]}… ({len(self.text):,} characters)"

    @property
    def link(self) -> str:
        """The address, or nothing where it is none that a page may lead to."""
        return self.href if safe(self.href) else ""

    @property
    def style(self) -> str:
        """The colours as CSS; black or white letters, whichever can be read."""
        if not plain_color(self.color):
            return ""
        return f"background:{self.color};color:{ink(self.color)}" if self.fill else f"color:{self.color}"


@dataclass
class Table:
    """Rows of cells; ``empty`` says why there are none."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    empty: str = "There are none yet."
    note: str = ""
    widths: Sequence[int] = ()


@dataclass
class Facts:
    """Names and values, one below the other."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, Cell]]
    title: str = ""


@dataclass
class Chart:
    """A picture, as SVG made by this server; the legend has names and their colours."""

    kind: ClassVar[str] = "chart"
    svg: str
    title: str = ""
    legend: Sequence[tuple[str, str]] = ()
    position: str = "bottom"


@dataclass
class Figure:
    """One big number; ``share`` of its limit."""

    value: Cell
    label: str = ""
    subtitle: str = ""
    second: str = ""
    share: float | None = None


@dataclass
class Figures:
    """Big numbers, side by side."""

    kind: ClassVar[str] = "figures"
    figures: list[Figure]


@dataclass
class Text:
    """A sentence, or Markdown, or something to be read as code."""

    kind: ClassVar[str] = "text"
    text: str
    title: str = ""
    tone: str = ""
    form: str = "plain"


@dataclass(frozen=True)
class Choice:
    """A control of a page: a selection, or a text of its own when ``options`` is None."""

    name: str
    label: str
    value: str
    options: Sequence[tuple[str, str]] | None = None
    wide: bool = False


@dataclass
class Page:
    """What a page shows.

    :param crumbs: (title, path) of the pages above
    :param time: shown in UTC, and to be changed there
    """

    title: str
    blocks: Sequence[Any] = ()
    crumbs: Sequence[tuple[str, str]] = ()
    description: str = ""
    notes: Sequence[str] = ()
    time: TimeRange | None = None
    choices: Sequence[Choice] = ()
    refresh_seconds: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def rendered(page: Page, *, base: str, path: str, version: str, now: str) -> str:
    """The HTML of a page.

    :param base: ``/s/<space>``, or nothing in the default space
    """
    return environment().get_template("page.html").render(page=page, base=base, path=path, version=version, now=now)


@cache
def environment() -> Environment:
    """The templates; loaded with the first page."""
    from jinja2 import Environment, FileSystemLoader

    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    made.filters["markdown"] = markdown
    return made


@cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    # HTML in it stays text, and links may not run scripts: what is written here comes from saved objects.
    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table")


def markdown(text: str) -> str:
    """Markdown as HTML."""
    from markupsafe import Markup

    return Markup(_markdown().render(text))  # noqa: S704 (html is off in the renderer)


def safe(address: str) -> bool:
    """Whether a link may lead there."""
    return bool(re.match(r"(https?://|/(?![/\\])|\?|#)", address)) and not re.search(r"[\x00-\x20]", address)


def plain_color(color: Any) -> str:
    """A colour as ``#rrggbb``, or nothing where it is something else: it will stand in a style."""
    return color if isinstance(color, str) and _COLOR.fullmatch(color) else ""


def ink(color: str) -> str:
    """Black or white, whichever is read better on a colour."""
    digits = color.lstrip("#")
    digits = "".join(letter * 2 for letter in digits) if len(digits) == 3 else digits
    red, green, blue = (int(digits[at : at + 2], 16) for at in (0, 2, 4))
    return "#1a1c21" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"


def segment(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")
