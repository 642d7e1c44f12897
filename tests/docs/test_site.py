"""The site builds strictly, no link leads nowhere, and its pages ask no other host for anything but Mermaid."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.pages import ROOT, pages

LINK = re.compile(r'(?:href|src)="([^"]*)"')
LOADED = re.compile(r'<(?:script|img|iframe|source)\b[^>]*?\bsrc="([^"]*)"|<link\b[^>]*?\bhref="([^"]*)"')
ANCHOR = re.compile(r'\b(?:id|name)="([^"]+)"')
MARKDOWN_LINK = re.compile(r"\]\(([^)\s]+)\)")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def build(folder: Path) -> tuple[int, str]:
    """Build a folder's site as `make docs` does; returns the exit code, and what it says in plain text."""
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    made = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=60)
    return made.returncode, COLOUR.sub("", made.stdout + made.stderr.partition("Traceback")[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the documentation."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    code, said = build(folder)
    assert code == 0, said
    return folder / "build" / "site"


def test_every_link_anchor_and_picture_of_the_site_is_there(site: Path) -> None:
    said = {path.relative_to(site): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {path: set(map(html.unescape, ANCHOR.findall(text))) for path, text in said.items()}
    assert len(said) > 50
    broken = []
    for path, text in said.items():
        for link in set(LINK.findall(text)):
            parts = urlsplit(html.unescape(link))
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (site / path.parent / unquote(parts.path)).resolve() if parts.path else site / path
            target = target / "index.html" if target.is_dir() else target
            page = target.relative_to(site)
            gone = page in anchors and parts.fragment and unquote(parts.fragment) not in anchors[page]
            if not target.exists() or (gone and not parts.fragment.startswith("__")):
                broken.append(f"{path}: {link}")
    assert broken == []


def test_a_page_without_a_diagram_fetches_nothing_from_elsewhere(site: Path) -> None:
    fetched = {
        address
        for path in site.rglob("*.html")
        for found in LOADED.findall(path.read_text(encoding="utf-8"))
        for address in found
        if urlsplit(address).netloc
    }
    assert fetched == set()


def test_every_page_is_in_the_navigation() -> None:
    def files(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for each in entry.values() if isinstance(entry, dict) else entry:  # type: ignore[attr-defined]
                yield from files(each)

    listed = list(files(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert len(listed) == len(set(listed))
    assert set(listed) == there, "name each page in `nav` of zensical.toml, once"


def test_a_broken_link_or_anchor_fails_the_build(tmp_path: Path) -> None:
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    (tmp_path / "zensical.toml").write_text(re.sub(r"^nav = \[.*?^\]$", "", config, flags=re.DOTALL | re.MULTILINE))
    (tmp_path / "docs").mkdir()
    links = "[a](gone.md) [b](index.md#gone) [c](#gone) [d](../README.md)"
    (tmp_path / "docs" / "index.md").write_text(f"# Home\n{links}\n")
    code, said = build(tmp_path)
    assert code != 0
    assert "4 issues found" in said


def test_every_link_between_files_holds_where_the_repository_is_read() -> None:
    """On a forge, the README and the pages are read as they lie there, and headings have the forge's anchors."""
    broken = []
    for page in [*pages(), ROOT / "CHANGELOG.md"]:
        for link in MARKDOWN_LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists() or (parts.fragment and parts.fragment not in _anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")
    assert broken == []


def _anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings} | set(ANCHOR.findall(text))
