"""A worker is killed while a partition is partly indexed: nothing is lost, nothing is doubled, the figures add up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from chaos.running_stack import EVENTS_PER_DAY, RunningStack, generated, kill, runs_still, wait_until

from elastic_ml.ingest.ledger import Ledger

# Which processes die, and which two of the days are theirs.
CASES = {
    "runner": (("runner",), slice(0, 2)),
    "runner and supervisor": (("runner", "supervisor"), slice(2, 4)),
    "supervisor alone": (("supervisor",), slice(4, 6)),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("victims", CASES)
def test_a_worker_killed_in_the_middle_of_ingest_loses_and_doubles_nothing(
    victims: str, stack: RunningStack, show: Callable[..., None]
):
    processes, days = CASES[victims]
    partitions = stack.history[days]
    killed_day = partitions[0]
    stack.finish_backfills()
    runs = stack.backfill(partitions)

    run = wait_until(lambda: runs().get(killed_day), f"the run of {killed_day}")["dag_run_id"]
    first = wait_until(lambda: _running(stack, run), "the ingest task to run")
    indexed = wait_until(lambda: _partly(stack, killed_day), f"{killed_day} to be partly indexed")
    runner, supervisor = stack.task_processes(first["id"])
    kill(*({"runner": runner, "supervisor": supervisor}[name] for name in processes))
    killed_at = time.monotonic()
    at_the_kill = stack.count("internal_audit", killed_day)
    assert at_the_kill < EVENTS_PER_DAY, "the kill came too late to mean anything"

    if "runner" not in processes:
        # Nobody listens to it any more, and its successor will write the same events.
        wait_until(lambda: not runs_still(runner), "the task without a supervisor to end itself", seconds=60)
        assert stack.count("internal_audit", killed_day) < EVENTS_PER_DAY, "the orphan went on to the end"

    retried = wait_until(lambda: _retried(stack, run), "Airflow to try again")
    noticed = time.monotonic() - killed_at
    for partition in partitions:
        stack.wait_for_run("audit_ingest", runs()[partition]["dag_run_id"])
    assert retried["try_number"] == 2

    table = {}
    for partition in partitions:
        for source in ("internal_audit", "verdicts"):
            table[f"{partition} {source}"] = _check(stack, runs()[partition]["dag_run_id"], source, partition)
    show(
        f"Killed: {victims}, when {indexed:,} of {EVENTS_PER_DAY:,} events of {killed_day} were there "
        f"(tried again after {noticed:.0f} s)",
        table,
    )


def _running(stack: RunningStack, run: str) -> dict[str, Any] | None:
    task = stack.task("audit_ingest", run, "ingest")
    return task if task["state"] == "running" else None


def _retried(stack: RunningStack, run: str) -> dict[str, Any] | None:
    task = stack.task("audit_ingest", run, "ingest")
    return task if task["try_number"] == 2 and task["state"] in {"running", "success"} else None


def _partly(stack: RunningStack, day: str) -> int:
    indexed = stack.count("internal_audit", day)
    return indexed if indexed >= EVENTS_PER_DAY // 20 else 0


def _check(stack: RunningStack, run: str, source: str, partition: str) -> dict[str, Any]:
    """Assert what has to hold for one partition of one source; return its line of the table."""
    delivered = generated(stack.project, source, partition)
    distinct = set(delivered)
    documents = stack.documents_of(source, partition)
    record = Ledger(stack.client, stack.project.names.ledger).partition(source, partition)
    assert record is not None
    counts = record["counts"]
    reported = stack.airflow.xcom("audit_ingest", run, "ingest")[source]

    assert set(documents) == distinct, "lost or invented events"
    assert set(documents.values()) == {1}, "an event lies twice in the stream"
    assert record["state"] == "done"
    assert record["owner"] is None
    assert record["indexed"] == len(distinct)
    assert counts["read"] == counts["indexed"] + counts["duplicate"] + counts["rejected"] == len(delivered)
    assert {name: reported[name] for name in counts} == counts
    return {
        "events": len(distinct),
        "documents": sum(documents.values()),
        **counts,
        "attempts": len(record["attempts"]),
        "ledger": record["state"],
    }
