"""One running stack for all tests that kill workers, and the tables they print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chaos.running_stack import RunningStack, running_stack
from rich.console import Console
from rich.table import Table


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is chaos, and may take longer than the suite's limit."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.chaos)


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """One stack for all tests that ask for it: starting it takes most of a minute."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print a table to the terminal although pytest captures output: ``show(title, {row: {column: value}})``."""

    def _show(title: str, rows: dict[str, dict[str, Any]]) -> None:
        columns = list(dict.fromkeys(column for row in rows.values() for column in row))
        table = Table(title=title, title_justify="left", header_style="bold")
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        for name, row in rows.items():
            table.add_row(name, *(_text(row.get(column)) for column in columns))
        with capsys.disabled():
            Console(width=140).print("", table)

    return _show


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
