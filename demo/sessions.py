"""Programs started for the tour, each in a session of its own, and none of them left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
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


@contextlib.contextmanager
def only_tour(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it however the process ends.

    :raises TourError: another tour of the folder is running.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TourError(
                f"A demo is running in {folder} already (process {lock.read().strip() or 'unknown'}): wait for it, "
                "stop it with Ctrl-C, or use another clone."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


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
        with _started_sessions(self.folder).open("a") as record:
            record.write(f"{process.pid} {psutil.Process(process.pid).create_time()}\n")
        return process

    def check(self, name: str) -> None:
        """Raise when a program that should be running has ended."""
        code = self.started[name].poll()
        if code is not None:
            log = self.folder / "logs" / f"{name}.log"
            raise TourError(f"{name} ended with exit code {code}. Its last words ({log}):\n{_tail(log)}")

    def stop(self) -> None:
        """End every process of every session, latest first: politely, then for good."""
        if not self.started:
            return
        for process in reversed(self.started.values()):
            end_processes(session_members(process.pid))
            process.wait()
        self.started.clear()
        _started_sessions(self.folder).unlink(missing_ok=True)


def end_leftovers(folder: Path) -> int:
    """End what an earlier, killed tour of the same folder left running; return how many processes that were."""
    sessions = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                sessions.add(os.getsid(process.pid))
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess, ProcessLookupError):
            continue
    # Airflow's workers and servers write their titles over their environment. They are found by their session, even
    # when its first process has died with the tour.
    sessions |= _recorded(folder)
    left = [member for session in sorted(sessions - {os.getsid(0)}) for member in session_members(session)]
    end_processes(left)
    return len(left)


def _started_sessions(folder: Path) -> Path:
    return folder / "logs" / "sessions"


def _recorded(folder: Path) -> set[int]:
    """Return the sessions of an earlier tour whose number no other program has taken since."""
    record = _started_sessions(folder)
    found = set()
    for line in record.read_text().splitlines() if record.exists() else []:
        session, _, born = line.partition(" ")
        try:
            # The number of a session is not given away while it has members, so a leader that died is still ours.
            other = abs(psutil.Process(int(session)).create_time() - float(born)) > 1
        except psutil.NoSuchProcess:
            other = False
        if not other:
            found.add(int(session))
    return found


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
