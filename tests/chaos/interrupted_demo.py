"""The tour in a copy of the tree, so that it can be ended at any stage and its folder looked at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from chaos.running_stack import runs_still, wait_until

from demo.__main__ import TITLES
from demo.airflow_server import ROOT
from demo.sessions import end_leftovers, end_processes, session_members

PARTS = ("demo", "dags", "plugins", "include", "sandbox", "kibana")
REAL_CLUSTER = ("ELASTICSEARCH_URL", "KIBANA_URL", "ELASTIC_API_KEY")
RUN_SECONDS = 600.0


@dataclass
class DemoTree:
    """A copy of the tree, and the tours that were run in it."""

    root: Path
    started: set[psutil.Process] = field(default_factory=set)

    @classmethod
    def make(cls, root: Path) -> DemoTree:
        """Copy what a tour needs."""
        for part in PARTS:
            shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        return cls(root)

    @property
    def folder(self) -> Path:
        """Where a tour in this tree keeps everything."""
        return self.root / "build" / "demo"

    def run(self) -> dict[str, Any]:
        """Run the tour to its end; return its summary."""
        with self._tour() as tour:
            code = tour.wait(RUN_SECONDS)
        assert code == 0, f"the demo ended with {code}:\n{self.output()}"
        assert self.alive() == [], "processes of a finished demo"
        return json.loads((self.folder / "summary.json").read_text())

    def interrupt(self, stage: str, number: signal.Signals, after_seconds: float) -> dict[str, Any]:
        """Run the tour until it is some seconds into a stage, then send it a signal; return what happened."""
        with self._tour() as tour:
            stages = ["", *TITLES]
            before = stages[stages.index(stage) - 1]
            sign = f"done   {TITLES[before]}" if before else "lifecycle"
            wait_until(
                lambda: sign in self.output() or tour.poll() is not None,
                f"stage {stage}",
                seconds=RUN_SECONDS,
                every=0.05,
            )
            assert self.alive() == [], "the demo did not end what the killed one before it had left"
            time.sleep(after_seconds)
            self._remember(tour)
            assert tour.poll() is None, f"the demo ended by itself before it was interrupted:\n{self.output()}"
            assert f"done   {TITLES[stage]}" not in self.output(), f"{stage} was over before the signal came"
            tour.send_signal(number)
            sent = time.monotonic()
            code = tour.wait(60)
        expected = {signal.SIGINT: 130, signal.SIGTERM: 130, signal.SIGKILL: -signal.SIGKILL}[number]
        assert code == expected, f"the demo ended with {code} after {number.name}:\n{self.output()}"
        left = self.alive()
        if number != signal.SIGKILL:
            assert left == [], f"processes left by a demo that could clean up: {left}"
        return {
            "exit code": code,
            "stopped in s": round(time.monotonic() - sent, 1),
            "left running": len(left),
        }

    def alive(self) -> list[psutil.Process]:
        """Return what earlier tours started and is still there."""
        return [process for process in self.started if runs_still(process)]

    def end(self) -> None:
        """End whatever is left, so that a failed test leaves nothing."""
        end_leftovers(self.folder)
        end_processes(self.alive())

    def output(self) -> str:
        """Return what the newest tour has printed so far."""
        return (self.root / "output.txt").read_text(errors="replace")

    def _tour(self) -> _Tour:
        paths = [self.root, *(self.root / part for part in ("plugins", "include", "sandbox"))]
        environment = {key: value for key, value in os.environ.items() if key not in REAL_CLUSTER}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONUNBUFFERED": "1", "COLUMNS": "160"}
        output = self.root / "output.txt"
        with output.open("wb") as target:
            return _Tour(
                [sys.executable, "-m", "demo"],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _remember(self, tour: subprocess.Popen) -> None:
        """Note every process the tour has started by now, by its ancestors and by their sessions."""
        family = psutil.Process(tour.pid).children(recursive=True)
        sessions = {os.getsid(process.pid) for process in family if runs_still(process)} - {os.getsid(tour.pid)}
        self.started |= {member for session in sessions for member in session_members(session)} | set(family)


class _Tour(subprocess.Popen):
    """A tour that does not outlive the block it is used in."""

    def __exit__(self, *arguments: Any) -> None:
        if self.poll() is None:
            self.kill()
        super().__exit__(*arguments)
