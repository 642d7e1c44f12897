"""Walking the story: each task undisturbed, once more, and killed after each of its writes."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.task_runner import Result, TaskRunner

from elastic_sandbox.testing import serve
from matrix.picture import Picture, differences, picture, timeless, without
from matrix.story import STORY, Step
from matrix.world import STARTED, Checkpoint, World, killed_after, opened, write_project

TRIES = 4
OF_THE_WAY = (
    # The ledger tells of each attempt at a partition and of each lease when it was and what it added.
    *(
        f"^document/clinicml-ledger/#{field}"
        for field in ("attempts", "acquired_at", "expires_at", "updated_at", "nonce", "counts")
    ),
    # How long the server took, and how often it began a bucket.
    r"^document/\.ml-anomalies-#processing_time_ms",
    r"^document/\.ml-anomalies-.*_(timing_stats|data_counts)$",
)
"""What tells how it came about, and not what came about."""


@dataclass
class Row:
    """One line of the table.

    :param writes: the requests by which an undisturbed run changes something, in order.
    :param again: what a second run changed.
    :param crashes: per write, what was different in the end; empty lists are as it should be.
    """

    step: Step
    writes: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    crashes: list[list[str]] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Everything that does not hold, as sentences."""
        found = [f"{self.step.name}, run again: {line}" for line in self.again]
        for number, lines in enumerate(self.crashes):
            found += [f"{self.step.name}, killed after {self.writes[number]} ({number + 1}): {line}" for line in lines]
        return found

    def cells(self) -> dict[str, object]:
        """The line as the table shows it."""
        whole = sum(not lines for lines in self.crashes)
        return {
            "writes": len(self.writes),
            "run again": "the same" if not self.again else f"{len(self.again)} differences",
            "killed after each write": f"{whole} of {len(self.crashes)} the same"
            if self.crashes
            else ("not killed" if self.writes else "writes nothing"),
        }


def beginning(home: Path) -> Checkpoint:
    """An empty cluster beside the project."""
    home.mkdir(parents=True)
    write_project(home)
    with serve(data=home / "data"):
        pass
    return Checkpoint(home, {}, STARTED)


def walk(
    folder: Path, story: Iterable[Step] = STORY, *, kill: Callable[[Step], bool] = lambda step: True
) -> Iterator[Row]:
    """Let each step have its turn; yields its row as soon as it is known.

    :param folder: for the checkpoints; a step takes a few megabytes while it lasts.
    :param kill: whether a step is also killed; else it is only run, and run again.
    """
    here = beginning(folder / "begin")
    for number, step in enumerate(story):
        before = prepared(here, step, folder / f"{number}-before")
        row, after = turn(before, step, folder / f"{number}-after", kill=kill(step))
        yield row
        if step.aside:
            shutil.rmtree(after.home)
            if before is not here:
                shutil.rmtree(before.home)
        else:
            shutil.rmtree(here.home, ignore_errors=True)
            if before is not here:
                shutil.rmtree(before.home)
            here = after


def prepared(here: Checkpoint, step: Step, home: Path) -> Checkpoint:
    """The checkpoint with what happened before the step."""
    with opened(here, home.with_suffix(".work")) as world:
        step.before(world)
        xcoms, now = world.xcoms, world.sandbox.clock.now()
        world.keep_at = home
    return Checkpoint(home, xcoms, now)


def turn(before: Checkpoint, step: Step, home: Path, *, kill: bool = True) -> tuple[Row, Checkpoint]:
    """One step: undisturbed, again, and killed; returns its line and the checkpoint after it."""
    row = Row(step)
    with opened(before, home.with_suffix(".work")) as world:
        step.each_time(world)
        _at_rest(world)
        with killed_after(None) as row.writes:
            result = run(world, step)
        assert result.state == step.ends, (step.name, result.state, result.error)
        undisturbed, events = seen(world), len(result.outlet_events)
        again = run(world, step)
        # A task that finds its work done may as well skip.
        if again.state not in {step.ends, "skipped"}:
            row.again.append(f"ended as {again.state}: {again.error}")
        ignored = (*OF_THE_WAY, *step.varies)
        row.again += differences(without(undisturbed, *ignored), without(seen(world), *ignored))
        world.keep(step.dag, step.task, result)
        xcoms = world.xcoms
        world.keep_at = home
    expected = comparable(undisturbed, step)
    for writes in range(1, len(row.writes) + 1) if kill else ():
        row.crashes.append(killed(before, step, writes, expected, events, home.with_suffix(".work")))
    return row, Checkpoint(home, xcoms, before.now)


def killed(before: Checkpoint, step: Step, writes: int, expected: Picture, events: int, home: Path) -> list[str]:
    """Kill the worker after so many writes, let Airflow try again, and compare what there is in the end."""
    with opened(before, home) as world:
        step.each_time(world)
        _at_rest(world)
        runner = runner_of(world, step)
        with killed_after(writes):
            result = step.complete(runner)
        if result.state != "killed":
            return [f"it was not killed but ended as {result.state}: {result.error!r}"]
        for _ in range(TRIES):
            result = step.complete(runner)
            if result.state != "up_for_retry":
                break
        if result.state != step.ends:
            return [f"the next try ended as {result.state}: {result.error}"]
        found = differences(expected, comparable(seen(world), step))
        if len(result.outlet_events) != events:
            found.append(f"{len(result.outlet_events)} asset events instead of {events}")
        return found


def runner_of(world: World, step: Step) -> TaskRunner:
    """The step's task, as its DAG run would start it."""
    return world.runner(step.dag, step.task, params=step.params_in(world))


def run(world: World, step: Step) -> Result:
    """One run of the step's task, from its start to its end."""
    return step.complete(runner_of(world, step))


def seen(world: World) -> Picture:
    """The cluster, Kibana, and files that are exchanged."""
    _at_rest(world)
    shown = picture(world.client, world.sandbox.kibana_url)
    for file in sorted((world.home / "exchange").glob("*")):
        shown[f"file/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return shown


def _at_rest(world: World) -> None:
    """Wait until transforms and datafeeds in real time have done what there was to do; it is nothing of the task's."""

    def at_work() -> list[object]:
        transforms = world.client.transform.get_transform_stats(transform_id="*")["transforms"]
        jobs = world.client.ml.get_job_stats()["jobs"]
        return [[one["state"], one["checkpointing"]["last"]] for one in transforms] + [
            [one["state"], one["data_counts"]] for one in jobs
        ]

    before: list[object] = []
    for _ in range(100):
        now = at_work()
        if now == before and "indexing" not in str(now):
            return
        before = now
        time.sleep(0.1 if now else 0)
    raise AssertionError(f"never at rest: {before}")


def comparable(shown: Picture, step: Step) -> Picture:
    """What two runs of the same step must agree on."""
    return timeless(without(shown, *OF_THE_WAY, *step.varies), STARTED)
