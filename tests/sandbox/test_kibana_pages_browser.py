"""The pages in a browser: what its script does with a fragment, and the pictures of `make preview`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest
from sandbox.pages_world import NOON, Pages, metric, xy

from demo.preview import find_browser, photograph
from elastic_sandbox.testing import Sandbox

BROWSER = find_browser()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium on this machine (CHROMIUM names one)")


def dom(url: str, profile: Path) -> str:
    """The document after the browser has followed and run everything."""
    own = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [str(BROWSER), "--headless=new", "--disable-gpu", "--no-first-run", *own, f"--user-data-dir={profile}",
               "--virtual-time-budget=4000", "--dump-dom", url]  # fmt: skip
    return subprocess.run(command, check=True, timeout=60, capture_output=True).stdout.decode()


def test_a_link_with_a_fragment_leads_to_the_drawn_dashboard(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.clock.freeze(NOON)
    with httpx.Client(base_url=sandbox.kibana_url, timeout=60) as http:
        pages = Pages(sandbox, http)
        pages.calls()
        query = "FROM calls | STATS p = AVG(ms) BY at = BUCKET(@timestamp, 5 minutes), model"
        pages.dashboard(xy("line", query, "at", "p", "model"), metric("FROM calls | STATS calls = COUNT(*)", "calls"))
    text = dom(f"{sandbox.kibana_url}/app/dashboards#/view/watch?_g=(time:(from:now-1h,to:now))", tmp_path / "profile")
    assert "2026-03-02 11:00 to 2026-03-02 12:00 UTC" in text
    assert "role-mark" in text
    assert '<span class="value">24</span>' in text


def test_a_photograph_is_a_png_of_the_page(sandbox: Sandbox, tmp_path: Path) -> None:
    assert BROWSER is not None
    photograph(BROWSER, f"{sandbox.kibana_url}/app/home", tmp_path / "home.png", height=600)
    content = (tmp_path / "home.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert (int.from_bytes(content[16:20]), int.from_bytes(content[20:24])) == (1440, 600)
