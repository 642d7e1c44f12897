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
from types import SimpleNamespace

import psutil
import pytest

from demo.approvals import Approvals
from demo.days import Days, choose_days
from demo.lifecycle import Lifecycle
from demo.screen import Stage
from demo.sessions import Sessions, TourError, _recorded, end_leftovers, only_tour, wait_for_port

# A child in a process group of its own, as Airflow's task processes are: it survives a signal to its parent's group.
GRANDCHILD = "import subprocess, time; subprocess.Popen(['sleep', '60'], process_group=0); time.sleep(60)"


def test_the_days_stay_the_same_until_they_are_too_old(tmp_path: Path):
    folder = tmp_path / "demo"
    first, renewed = choose_days(folder, today=date(2026, 11, 21))
    assert (first.last, renewed) == (date(2026, 11, 18), False)
    assert choose_days(folder, today=date(2026, 11, 28)) == (first, False)
    (folder / "kept").touch()
    assert choose_days(folder, today=date(2026, 12, 15)) == (Days(date(2026, 12, 12)), True)
    assert not (folder / "kept").exists()


def test_training_ends_where_the_holdout_starts_and_the_holdout_before_the_label_delay():
    days = Days(date(2026, 11, 20))
    assert (days.history[0], days.history[-1]) == (date(2026, 11, 6), date(2026, 11, 19))
    assert days.holdout == [date(2026, 11, 15), date(2026, 11, 16), date(2026, 11, 17)]


def test_two_days_are_over_after_the_one_that_is_scored_so_that_its_verdicts_have_come(tmp_path: Path):
    days, _ = choose_days(tmp_path / "demo", today=date(2026, 11, 21))
    assert days.live == [date(2026, 11, 18), date(2026, 11, 19), date(2026, 11, 20)]
    later, _ = choose_days(tmp_path / "demo", today=date(2026, 11, 23))
    assert (later.last, later.live[-1]) == (days.last, date(2026, 11, 22))


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


def test_what_wrote_its_title_over_its_environment_is_ended_with_its_session(tmp_path: Path):
    untitled = "import subprocess, time; subprocess.Popen(['sleep', '60'], env={}, process_group=0); time.sleep(60)"
    process = Sessions(tmp_path).start("left", [sys.executable, "-c", untitled], os.environ)
    _wait_until(lambda: len(_session(process.pid)) == 2)
    assert end_leftovers(tmp_path) == 2
    process.wait()
    assert _session(process.pid) == []


def test_a_leftover_is_found_by_its_session_when_its_leader_is_dead_and_its_environment_unreadable(tmp_path: Path):
    sessions = Sessions(tmp_path)
    leader = sessions.start("family", [sys.executable, "-c", GRANDCHILD], {**os.environ})
    _wait_until(lambda: len(_session(leader.pid)) == 2)
    leader.kill()
    leader.wait()
    # Whatever the child's environment says: another folder's mark is not asked for.
    assert _recorded(tmp_path) == {leader.pid}
    assert end_leftovers(tmp_path) == 1
    assert _session(leader.pid) == []


def test_a_session_number_that_another_program_took_is_left_alone(tmp_path: Path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "sessions").write_text(f"{os.getpid()} 1.0\n")
    assert _recorded(tmp_path) == set()


def test_a_second_tour_of_the_folder_is_refused_while_the_first_runs(tmp_path: Path):
    folder = tmp_path / "build" / "demo"
    said = rf"running in .*demo already \(process {os.getpid()}\).*Ctrl-C"
    with only_tour(folder), pytest.raises(TourError, match=said), only_tour(folder):
        pass
    with only_tour(folder):
        pass


def test_a_program_that_ends_early_is_reported_with_its_last_words(tmp_path: Path):
    sessions = Sessions(tmp_path)
    sessions.start("sandbox", [sys.executable, "-c", "print('port 9200 is taken'); raise SystemExit(3)"], os.environ)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(TourError, match=r"sandbox ended with exit code 3[\s\S]*port 9200 is taken"):
            wait_for_port(sessions, "sandbox", unused.getsockname()[1], seconds=10)


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


def test_an_approval_that_airflow_asks_for_again_is_answered_again():
    """Answered within a tick of the pause, the scheduler takes the try for lost, and its retry forgets the answer."""
    approve = {"task_id": "approve", "state": "awaiting_input"}
    seen = [
        [{**approve, "try_number": 1}],
        [{**approve, "try_number": 1}],
        [{**approve, "state": "up_for_retry", "try_number": 1}],
        [{**approve, "try_number": 2}],
        [{**approve, "state": "success", "try_number": 2}],
    ]

    class Airflow:
        answers = 0

        def unfinished(self, dag_id: str) -> list[dict]:
            return [{"dag_run_id": "run"}]

        def tasks(self, *_: str) -> list[dict]:
            return seen.pop(0)

        def call(self, method: str, *_: str, **__: object) -> dict:
            assert method == "PATCH"
            self.answers += 1
            return {"chosen_options": ["Approve"]}

    airflow = Airflow()
    approvals = Approvals(airflow, ["promote_audit_fraud"], patience=0.0)  # type: ignore[arg-type]
    while seen:
        approvals.answer()
    assert airflow.answers == 2
    assert approvals.runs == {"promote_audit_fraud": "run"}


def test_a_run_that_the_tour_can_do_without_becomes_a_note_and_the_others_go_on():
    def chain(ends: int, failure: TourError | None = None):
        for _ in range(ends):
            yield [{"task_id": "work", "state": "running"}]
        if failure:
            raise failure

    lifecycle = Lifecycle(SimpleNamespace(unfinished=lambda dag_id: []), Days(date(2026, 11, 20)))  # type: ignore[arg-type]
    stage = Stage("Look")
    chains = {"needed": chain(3), "beside": chain(1, TourError("kibana_deploy: no rights"))}
    assert set(lifecycle._side_by_side(stage, chains, tolerated={"beside"})) == {"needed", "beside"}
    assert lifecycle.notes == ["beside was left out: kibana_deploy: no rights"]
    with pytest.raises(TourError, match="no rights"):
        lifecycle._side_by_side(stage, {"needed": chain(1, TourError("no rights"))})
