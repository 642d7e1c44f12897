"""Airflow's own backfill of a year: tasks die, requests fail, partitions run twice at once, some fail for good.

Partitions that failed for good are backfilled again as people do it, with `reprocess_behavior: failed`.
`CHAOS_YEAR_DAYS=40 make chaos` makes it a short year.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from chaos.running_stack import RunningStack, running_stack, wait_until

from elastic_ml.ingest.history import unsealed_history
from elastic_ml.ingest.ledger import Ledger
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.readers import read
from elastic_ml.sources.records import Rejected

DAYS = int(os.environ.get("CHAOS_YEAR_DAYS", "365"))
EVENTS_PER_DAY = 100
DOOMED = 3
"""Partitions whose every try is killed, so that their runs fail."""
TWICE = 12
"""Partitions that somebody triggers by hand while the backfill runs."""
SECONDS_BETWEEN_KILLS = 8.0
FAULTS: list[dict[str, Any]] = [
    {"path": "/*-lendpath*/_bulk", "status": 429, "share": 0.0125},
    {"path": "/*-lendpath*/_bulk", "status": 503, "share": 0.0125},
    {"path": "/*-lendpath*/_bulk", "action": "cut_after", "share": 0.0125},
    {"path": "/*-lendpath*/_bulk", "action": "cut_before", "share": 0.0125},
]


@pytest.mark.timeout(5400)
def test_a_backfilled_year_holds_each_event_once_whatever_happened_to_its_runs(
    tmp_path: Path, show: Callable[..., None]
) -> None:
    draw = random.Random(5)
    last = datetime.now(UTC).date() - timedelta(days=1)
    days = [f"{last - timedelta(days=n)}" for n in reversed(range(DAYS))]
    with running_stack(tmp_path, events_per_day=EVENTS_PER_DAY, start_date=date.fromisoformat(days[0])) as stack:
        for fault in FAULTS:
            stack.sandbox.faults.add(times=None, **fault)
        doomed = set(draw.sample(days[: DAYS // 2], DOOMED))
        began = time.monotonic()
        _start_backfill(stack, days, "none")
        # Older partitions are begun first: these are triggered before, while and after the backfill reaches them.
        twice = draw.sample(days, TWICE)
        for day in twice:
            stack.airflow.trigger("audit_ingest", partition_key=day)
        killed = _kill_until_done(stack, doomed, draw)
        failed = _failed_partitions(stack)
        minutes = (time.monotonic() - began) / 60
        assert doomed <= failed, "a partition whose every try was killed has not failed"
        stack.sandbox.faults.clear()
        stack.finish_backfills()
        _start_backfill(stack, days, "failed")
        wait_until(lambda: not _unfinished(stack), "the failed partitions to be backfilled again", every=2.0)

        figures = {name: _check(stack, name, days) for name in stack.project.sources()}
        assert unsealed_history(stack.client, sorted({one["stream"] for one in figures.values()})) == []
        show(
            f"{DAYS} partitions in {minutes:.1f} min: {sum(killed.values())} tasks killed in {len(killed)} partitions, "
            f"{len(failed)} runs failed and were backfilled again, {len(twice)} partitions run twice",
            figures,
        )


def _start_backfill(stack: RunningStack, days: list[str], reprocess: str) -> None:
    stack.airflow.call(
        "POST",
        "backfills",
        json={
            "dag_id": "audit_ingest",
            "from_date": f"{days[0]}T00:00:00Z",
            "to_date": f"{days[-1]}T00:00:00Z",
            "max_active_runs": 8,
            "reprocess_behavior": reprocess,
        },
    )
    wait_until(lambda: _unfinished(stack), "the backfill to begin")


def _unfinished(stack: RunningStack) -> list[dict[str, Any]]:
    return stack.airflow.unfinished("audit_ingest")


def _failed_partitions(stack: RunningStack) -> set[str]:
    return {run["partition_key"] for run in stack.airflow.runs("audit_ingest", state=["failed"])}


def _kill_until_done(stack: RunningStack, doomed: set[str], draw: random.Random) -> Counter[str]:
    """Kill the process of a running task every few seconds, and each one of a doomed partition; count by partition."""
    killed: Counter[str] = Counter()
    next_kill = time.monotonic()
    until = time.monotonic() + 5000
    while (running := stack.airflow.runs("audit_ingest", state=["running"])) or _unfinished(stack):
        assert time.monotonic() < until, f"{len(_unfinished(stack))} runs are still unfinished"
        victims = [run for run in running if run["partition_key"] in doomed]
        # Three kills are a failed run: of the others none gets as many.
        others = [run for run in running if run["partition_key"] not in doomed and killed[run["partition_key"]] < 2]
        if others and time.monotonic() >= next_kill:
            victims.append(draw.choice(others))
            next_kill = time.monotonic() + SECONDS_BETWEEN_KILLS
        for run in victims:
            if _kill_task_of(stack, run["dag_run_id"]):
                killed[run["partition_key"]] += 1
        time.sleep(0.3)
    return killed


def _kill_task_of(stack: RunningStack, run: str) -> bool:
    task = stack.task("audit_ingest", run, "ingest")
    if task["state"] != "running":
        return False
    try:
        runner, _ = stack.task_processes(task["id"])
        runner.kill()
    except (AssertionError, psutil.NoSuchProcess):
        return False  # it ended meanwhile, or is being started
    return True


def _check(stack: RunningStack, name: str, days: list[str]) -> dict[str, Any]:
    """Assert that a source's stream holds what it delivered, once; return its line of the table."""
    source = stack.project.source(name)
    people = NameTable.read(name, stack.project.folder / source.names) if source.names else None
    delivered: Counter[str] = Counter()
    for day in days:
        for document in adapt(source, read(source, Partition.parse(day)), people):
            assert not isinstance(document, Rejected)
            delivered[document["event"]["id"]] += 1
    stored = Counter(_event_ids(stack, source.stream))
    assert set(stored) == set(delivered), "lost or invented"
    assert set(stored.values()) == {1}, "twice in the stream"
    ledger = Ledger(stack.client, stack.project.names.ledger)
    records = [ledger.partition(name, day) or {} for day in days]
    assert {(record.get("state"), record.get("owner")) for record in records} == {("done", None)}
    assert sum(record["indexed"] for record in records) == len(stored)
    return {
        "stream": source.stream,
        "distinct": len(delivered),
        "in the stream": stored.total(),
        "attempts": sum(len(record["attempts"]) for record in records),
    }


def _event_ids(stack: RunningStack, stream: str) -> Iterator[str]:
    """The event id of every document, backing index by backing index: a copy in another one is seen."""
    stack.client.indices.refresh(index=stream)
    for index in stack.client.indices.get_data_stream(name=stream)["data_streams"][0]["indices"]:
        after = None
        while hits := stack.client.search(
            index=index["index_name"],
            size=5_000,
            source=["event.id"],
            sort=[{"event.id": "asc"}],
            search_after=after,
            track_total_hits=False,
        )["hits"]["hits"]:
            yield from (hit["_source"]["event"]["id"] for hit in hits)
            after = hits[-1]["sort"]
