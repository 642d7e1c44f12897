"""The tour's own parts: its days, the programs it starts, and what it says when something is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import psutil
import pytest

from demo.cluster import open_cluster
from demo.days import Days, choose_days
from demo.sessions import Sessions, TourError, end_leftovers, wait_for_port

# A child in a process group of its own, as Airflow's task processes are: it survives a signal to its parent's group.
GRANDCHILD = "import subprocess, time; subprocess.Popen(['sleep', '60'], process_group=0); time.sleep(60)"


def test_the_days_stay_the_same_until_they_are_too_old(tmp_path: Path):
    folder = tmp_path / "demo"
    first, renewed = choose_days(folder, today=date(2026, 11, 21))
    assert (first.last, renewed) == (date(2026, 11, 20), False)
    assert choose_days(folder, today=date(2026, 11, 30)) == (first, False)
    (folder / "kept").touch()
    assert choose_days(folder, today=date(2026, 12, 15)) == (Days(date(2026, 12, 14)), True)
    assert not (folder / "kept").exists()


def test_training_ends_where_the_holdout_starts_and_the_holdout_before_the_label_delay():
    days = Days(date(2026, 11, 20))
    assert (days.history[0], days.history[-1]) == (date(2026, 11, 6), date(2026, 11, 19))
    assert days.holdout == [date(2026, 11, 15), date(2026, 11, 16), date(2026, 11, 17)]


def test_stopping_a_session_ends_processes_that_left_its_group(tmp_path: Path):
    sessions = Sessions(tmp_path)
    process = sessions.start("family", [sys.executable, "-c", GRANDCHILD], os.environ)
    _wait_until(lambda: len(_session(process.pid)) == 2)
    sessions.stop()
    assert _session(process.pid) == []


def test_what_a_killed_tour_left_is_found_by_its_folder_and_ended(tmp_path: Path):
    code = (
        "import os, time; from pathlib import Path; from demo.sessions import Sessions;"
        f"Sessions(Path({str(tmp_path)!r})).start('left', ['sleep', '60'], os.environ);"
        "print('up', flush=True); time.sleep(60)"
    )
    tour = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert tour.stdout is not None
    tour.stdout.readline()
    tour.send_signal(signal.SIGKILL)
    tour.wait()
    assert end_leftovers(tmp_path) == 1
    assert end_leftovers(tmp_path) == 0


def test_a_program_that_ends_early_is_reported_with_its_last_words(tmp_path: Path):
    sessions = Sessions(tmp_path)
    sessions.start("sandbox", [sys.executable, "-c", "print('port 9200 is taken'); raise SystemExit(3)"], os.environ)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(TourError, match=r"sandbox ended with exit code 3[\s\S]*port 9200 is taken"):
            wait_for_port(sessions, "sandbox", unused.getsockname()[1], seconds=10)


@pytest.mark.parametrize("kibana", ["", "localhost:5601"])
def test_a_url_that_is_none_is_named(tmp_path: Path, kibana: str):
    with pytest.raises(TourError, match="KIBANA_URL="):
        open_cluster(Sessions(tmp_path), {"ELASTICSEARCH_URL": "http://127.0.0.1:1", "KIBANA_URL": kibana})


def _session(session: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def _wait_until(condition, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
