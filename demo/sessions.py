"""Programs started for the tour, each in a session of its own, and none of them left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

# Every program of a tour carries the tour's folder in this variable, so that a later tour finds what a killed one left.
MARK = "ELASTIC_ML_DEMO"


class TourError(Exception):
    """The tour cannot go on; the message says what failed and what to do."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@dataclass
class Sessions:
    """What the tour has started, in order.

    A process group is not enough: Airflow's task processes have groups of their own, but share their session.
    """

    folder: Path
    started: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
        """Start a program in a new session, its output in ``<folder>/logs/<name>.log``."""
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environment, MARK: str(self.folder)},
                start_new_session=True,
            )
        self.started[name] = process
        return process

    def check(self, name: str) -> None:
        """Raise when a program that should be running has ended."""
        code = self.started[name].poll()
        if code is not None:
            log = self.folder / "logs" / f"{name}.log"
            raise TourError(f"{name} ended with exit code {code}. Its last words ({log}):\n{_tail(log)}")

    def stop(self) -> None:
        """End every process of every session, latest first: politely, then for good."""
        for process in reversed(self.started.values()):
            end_processes(session_members(process.pid))
            process.wait()
        self.started.clear()


def end_leftovers(folder: Path) -> int:
    """End what an earlier, killed tour of the same folder left running; return how many processes that were."""
    left = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder):
                left.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    end_processes(left)
    return len(left)


def end_processes(processes: Sequence[psutil.Process], patience: float = 10.0) -> None:
    """Send SIGTERM, wait up to ``patience`` seconds for all of them, then send SIGKILL to the rest."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        _, processes = psutil.wait_procs(processes, timeout=patience)
        if not processes:
            return


def session_members(session: int) -> list[psutil.Process]:
    """Return the processes of a session, whatever group they are in."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                members.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def wait_for_port(sessions: Sessions, name: str, port: int, seconds: float = 30.0) -> None:
    """Wait until ``name`` listens on ``port`` of this machine; raise when it ends or takes longer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sessions.check(name)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TourError(
        f"{name} did not listen on port {port} within {seconds:.0f} s; see {sessions.folder}/logs/{name}.log"
    )


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
