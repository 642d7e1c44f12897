"""Run the whole lifecycle on this machine and show what came of it: `python -m demo`, or `make demo`."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import sys
import time
from types import FrameType

import requests
from rich.console import Console

from demo.airflow_server import INCLUDE, ROOT, AirflowServer, start_airflow, wait_until_healthy
from demo.cluster import Cluster, named_cluster, refuse_without_ml, start_sandbox
from demo.days import HISTORY_DAYS, choose_days
from demo.lifecycle import Lifecycle
from demo.screen import Screen, show_failure, show_summary
from demo.sessions import Sessions, TourError, end_leftovers, only_tour
from demo.user_hours import missing_events
from elastic_ml.exceptions import ElasticMLError
from elastic_ml.project import load_project

FOLDER = ROOT / "build" / "demo"
_NEEDED_MEGABYTES = 500
# With less than this left, writes of Airflow, its SQLite or the sandbox have failed, whatever the symptom.
_FULL_MEGABYTES = 10
_OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
}  # fmt: skip
TITLES = {
    "start": "Start Elasticsearch and Airflow",
    "setup": "Set up templates, streams and pipelines",
    "ingest": f"Backfill {HISTORY_DAYS} days of audit events",
    "train": "Train and judge two models",
    "promote": "Promote them, with a person's approval",
    "score": "Ingest the days since, scored on arrival",
    "look": "Measure drift, look around, show it",
    "summary": "Collect the figures and draw pictures",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the tour; return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Audit logs in, a model trained, judged, approved, promoted and scoring: real DAG runs on a real "
        "Airflow, against the embedded sandbox, or the cluster that ELASTICSEARCH_URL, KIBANA_URL and "
        "ELASTIC_API_KEY name.",
    )
    parser.add_argument("--keep", action="store_true", help="leave Airflow and the sandbox running, and say where")
    options = parser.parse_args(arguments)
    console = Console()
    # SIGTERM ends the tour the way Ctrl-C does: everything it started is stopped.
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    sessions = Sessions(FOLDER)
    try:
        with only_tour(FOLDER):
            return _tour(console, sessions, keep=options.keep)
    except KeyboardInterrupt:
        console.print("\nInterrupted. Stopping what was started; `make demo` goes on from here.")
        return 130
    except (TourError, ElasticMLError, requests.RequestException) as failure:
        show_failure(console, _explained(failure), f"{FOLDER}/logs")
        return 1
    except OSError as failure:
        if failure.errno not in _OF_THE_DISK:
            raise
        show_failure(
            console, f"{failure.strerror}: {failure.filename or FOLDER}. Free space or rights there.", str(FOLDER)
        )
        return 1
    finally:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sessions.stop()


def _tour(console: Console, sessions: Sessions, *, keep: bool) -> int:
    started = time.monotonic()
    _check_disk()
    named = named_cluster(os.environ)
    left = end_leftovers(FOLDER)
    days, renewed = choose_days(FOLDER)
    console.print(
        f"[bold]The Elastic machine-learning lifecycle[/bold], {days.history[0]} to {days.last}, "
        f"in {FOLDER.relative_to(ROOT)}/",
        highlight=False,
    )
    if left:
        console.print(f"Ended {left} processes of an earlier demo.")
    if renewed:
        console.print("The earlier demo's days were too old; starting afresh.")
    with Screen(console, TITLES) as screen:
        cluster, airflow = _start(sessions, screen, named)
        client, project = cluster.client(), load_project(INCLUDE)
        lifecycle = Lifecycle(
            airflow,
            days,
            check=lambda: _check_going_on(sessions),
            unseen=lambda: missing_events(client, project.names.features),
        )
        with screen.stage("setup") as stage:
            lifecycle.prepare()
            lifecycle.set_up(stage)
        with screen.stage("ingest") as stage:
            lifecycle.ingest_history(stage)
        refuse_without_ml(cluster)
        with screen.stage("train") as stage:
            offered = lifecycle.train(stage)
        with screen.stage("promote") as stage:
            lifecycle.promote(stage, offered=offered)
        with screen.stage("score") as stage:
            lifecycle.ingest_live_days(stage)
        with screen.stage("look") as stage:
            lifecycle.look(stage)
        with screen.stage("summary") as stage:
            from demo.summary import collect

            summary, notes = collect(cluster, project, days, lifecycle, FOLDER)
            stage.detail = "summary.json and three pictures"
    from demo.summary import write_summary

    summary["seconds"] = screen.seconds() | {"total": round(time.monotonic() - started, 1)}
    write_summary(FOLDER, summary)
    show_summary(console, summary, [*lifecycle.notes, *notes])
    if keep:
        _keep_running(console, sessions, cluster, airflow)
    return 0


def _start(sessions: Sessions, screen: Screen, named: Cluster | None) -> tuple[Cluster, AirflowServer]:
    with screen.stage("start") as stage:
        stage.detail = "Airflow takes half a minute"
        airflow = start_airflow(sessions, first_live_day="2100-01-01")
        cluster = named or start_sandbox(sessions)
        wait_until_healthy(sessions, airflow)
        for connection in cluster.connections():
            airflow.put_connection(connection)
        stage.detail = f"{cluster.address}  {airflow.url}"
    return cluster, airflow


def _check_going_on(sessions: Sessions) -> None:
    """Raise when a program has ended or the disk is full: Airflow would be waited for in vain."""
    for name in sessions.started:
        sessions.check(name)
    if _free_megabytes() < _FULL_MEGABYTES:
        raise TourError("nothing can be written any more.")


def _explained(failure: Exception) -> str:
    """What stopped the tour: a full disk shows itself in many ways, so it is looked for."""
    free = _free_megabytes()
    if free >= _FULL_MEGABYTES:
        return str(failure)
    return (
        f"The disk of {FOLDER.parent} is full ({free} MB left), and Airflow and the sandbox need it: free "
        f"{_NEEDED_MEGABYTES} MB, then run it again.\nIt showed itself as: {failure}"
    )


def _free_megabytes() -> int:
    return shutil.disk_usage(FOLDER.parent).free // 2**20


def _check_disk() -> None:
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    free = _free_megabytes()
    if free < _NEEDED_MEGABYTES:
        raise TourError(
            f"{FOLDER.parent} has {free} MB left, the demo needs {_NEEDED_MEGABYTES} MB: free some, then run it again."
        )


def _keep_running(console: Console, sessions: Sessions, cluster: Cluster, airflow: AirflowServer) -> None:
    console.print("\n[bold]Still running[/bold], until Ctrl-C:")
    console.print(f"  Airflow        {airflow.url}", highlight=False)
    for user, password in airflow.passwords.items():
        console.print(f"                 user {user}, password {password}", highlight=False)
    console.print(f"  Elasticsearch  {cluster.address}", highlight=False)
    console.print(f"  Kibana         {cluster.kibana_url}", highlight=False)
    try:
        while True:
            for name in sessions.started:
                sessions.check(name)
            time.sleep(1)
    except KeyboardInterrupt:
        console.print("\nStopping. `make demo KEEP=1` starts it again with all its data.")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
