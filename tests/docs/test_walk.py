"""The documentation is walked: its commands are typed into terminals, with a real Airflow and `make sandbox`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from docs.elsewhere import elsewhere
from docs.pages import ROOT, Block
from docs.reader_world import World, reader_world
from docs.steps import Step
from docs.terminal import lines
from docs.walk import WALK, zip_steps

LONGEST_SECONDS = 2400
pytestmark = [pytest.mark.long, pytest.mark.timeout(LONGEST_SECONDS)]
TOOK = ROOT / "build" / "walk.txt"
FIRST = next(iter(WALK))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    # The pages count days from today, whose end the walk must not see.
    midnight = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    if (left := (midnight - datetime.now(UTC)).total_seconds()) < LONGEST_SECONDS / 3:
        time.sleep(left)
    TOOK.parent.mkdir(exist_ok=True)
    TOOK.unlink(missing_ok=True)
    with reader_world(tmp_path_factory.mktemp("reader")) as world:
        yield world


@pytest.mark.parametrize("page", WALK)
def test_a_reader_of_a_page_sees_what_it_says(page: str, machine: World) -> None:
    if page != FIRST:
        assert FIRST in machine.walked, f"{FIRST} was not walked to its end, and sets up what this page needs"
    walk(machine, page)


def walk(world: World, page: str) -> None:
    for block, step in zip_steps(page):
        if step is None:
            path = world.folder / WALK[page].files / world.here(block.file or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(world.here(block.text) + "\n")
        else:
            follow(world, block, step)
    world.walked.add(page)


def follow(world: World, block: Block, step: Step) -> None:
    if step.before:
        step.before(world)
    text = world.here(block.text)
    places = [step.where] if isinstance(step.where, str) else step.where
    if step.file:
        (world.folder / places[0].split()[0] / step.file).write_text(text + "\n")
        return
    for number, line in enumerate(lines(text)):
        if elsewhere(" ".join(shlex.split(line, comments=True))):
            continue
        terminal = world.terminal(places[min(number, len(places) - 1)])
        begun = time.monotonic()
        said = ""
        if step.stays in line:
            terminal.begin(line)
        else:
            said = terminal.type(line)
        returned = time.monotonic()
        if step.sees:
            step.sees(world, line, said)
        note(block, line, returned - begun, time.monotonic() - returned)


def note(block: Block, line: str, typed: float, seen: float) -> None:
    """Keep in build/walk.txt how long a command took, and what the page says comes of it."""
    with TOOK.open("a", encoding="utf-8") as took:
        took.write(f"{typed:6.1f} s {seen:6.1f} s  {block}  {line}\n")
