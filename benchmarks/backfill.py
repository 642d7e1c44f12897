"""A backfill day by day beside what its events cost anyway: generating, parsing, and bare `helpers.parallel_bulk`.

    python -m benchmarks backfill --days 365 --data DIR

Every day is done twice, in turn, on one server: by the package's own task (all sources, ledger, closing counts, months
sealed into their streams with their user-hours), and bare: the same readers and adapters, then `parallel_bulk` into
plain indices with the same settings, mappings and pipeline. Server, package and bare run in a process each; only one of
the latter two works at a time, so both have the server and the second core to themselves. Nothing is extrapolated: the
totals are sums over the days done.

With `--data` it can be interrupted and started again: days that are done are kept in `DIR/progress.json`. Months that
are complete are counted, compared with the bare ones and then deleted on both sides, which bounds disk and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).parents[1]
_SIDES = ("package", "bare")


def run(arguments: list[str] | None = None) -> None:
    """Print a line per ten days and the totals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks backfill")
    parser.add_argument("--days", type=int, default=8, help="how many days, ending yesterday when it is a long time")
    parser.add_argument("--events", type=int, default=20_000, help="events per day over all sources, on average")
    parser.add_argument("--data", type=Path, help="directory of the server and of the progress; kept")
    options = parser.parse_args(arguments or [])
    with contextlib.ExitStack() as stack:
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _backfill(data, options.days, options.events)


def _backfill(data: Path, days: int, events: int) -> None:
    data.mkdir(parents=True, exist_ok=True)
    kept = data / "progress.json"
    first = _first_day(days)
    progress: dict[str, Any] = {"first": f"{first}", "days": {}, "sealing": 0.0, "memory": 0.0}
    if kept.exists():
        progress = json.loads(kept.read_text())
        first = date.fromisoformat(progress["first"])
    folder = _project(data / "include", events, first)
    with _Process(_serve, data / "server") as server, contextlib.ExitStack() as sides:
        url = server.ask("url")
        package = sides.enter_context(_Process(_package, url, folder))
        bare = sides.enter_context(_Process(_bare, url, folder))
        for number in range(days):
            day = first + timedelta(days=number)
            if f"{day}" in progress["days"]:
                continue
            done: dict[str, Any] = {}
            # Who comes second finds caches warm: they take turns in being first.
            for name in _SIDES if number % 2 else reversed(_SIDES):
                done[name] = (package if name == "package" else bare).ask(f"{day}")
            progress["days"][f"{day}"] = {
                "package": done["package"]["seconds"],
                "bare": done["bare"]["seconds"],
                "events": done["bare"]["events"],
                "records": [done[name]["read"] for name in _SIDES],
            }
            progress["sealing"] += done["package"]["sealing"]
            progress["memory"] = max(progress["memory"], done["package"]["memory"])
            kept.write_text(json.dumps(progress))
            if (day + timedelta(days=1)).day == 1:
                print(f"  {bare.ask(f'compare {day:%Y.%m}')}", flush=True)
            if len(progress["days"]) % 10 == 0:
                _show(progress)
    _show(progress)


def _show(progress: dict[str, Any]) -> None:
    days = list(progress["days"].values())
    ours, bare = (sum(day[name] for day in days) for name in _SIDES)
    events = sum(day["events"] for day in days)
    print(
        f"  {len(days):4} days, {events:11,} events: "
        f"package {ours / 60:6.2f} min (sealing {progress['sealing'] / 60:.2f}), "
        f"bare {bare / 60:6.2f} min, {ours / bare:.2f} times (at most 2); peak memory {progress['memory']:.0f} MB",
        flush=True,
    )


def _first_day(days: int) -> date:
    """The last days of a past month for a few days, so that one is sealed; else so that it ends yesterday."""
    today = datetime.now(UTC).date()
    if days > 60:
        return today - timedelta(days=days)
    past = (today - timedelta(days=120)).replace(day=1)
    return past - timedelta(days=days)


def _project(folder: Path, events: int, first: date) -> Path:
    """The use case with as many events, and sources that begin with the first day, so that months become complete."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_ROOT / "include", folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = {path: yaml.safe_load(path.read_text()) for path in sorted((folder / "sources").glob("*.yml"))}
    per_thousand = _records(folder, files, 1_000)
    for path, body in files.items():
        body["start_date"] = first
        body["reader"]["options"]["events_per_day"] = round(1_000 * events / per_thousand)
        path.write_text(yaml.safe_dump(body))
    return folder


def _records(folder: Path, files: dict[Path, dict[str, Any]], events_per_day: int) -> float:
    """Records a day of all sources together, over two weeks."""
    from elastic_ml.project import load_project
    from elastic_ml.sources.adapters import adapt
    from elastic_ml.sources.partition import Partition
    from elastic_ml.sources.readers import read

    total, days = 0, [f"2026-03-{day:02d}" for day in range(2, 16)]
    for path, body in files.items():
        body["reader"]["options"]["events_per_day"] = events_per_day
        path.write_text(yaml.safe_dump(body))
        source = load_project(folder).source(path.stem)
        total += sum(sum(1 for _ in adapt(source, read(source, Partition.parse(day)))) for day in days)
    return total / len(days)


# the processes


class _Process:
    """A process that answers questions, one at a time; leaves when the block ends."""

    def __init__(self, work: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_answering, args=(work, theirs, *arguments))

    def __enter__(self) -> _Process:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._pipe.send(None)
        self._process.join(60)

    def ask(self, question: str) -> Any:
        self._pipe.send(question)
        while not self._pipe.poll(1.0):
            if not self._process.is_alive():
                raise RuntimeError(f"the process asked for {question} has ended; its error is above")
        return self._pipe.recv()


def _answering(work: Any, pipe: Connection, *arguments: Any) -> None:
    logging.disable(logging.WARNING)
    with work(*arguments) as answer:
        while (question := pipe.recv()) is not None:
            pipe.send(answer(question))


@contextlib.contextmanager
def _serve(data: Path) -> Iterator[Any]:
    from elastic_sandbox.testing import serve

    with serve(data=data, kept_bytes=0) as sandbox:
        yield lambda _: sandbox.elasticsearch_url


@contextlib.contextmanager
def _package(url: str, folder: Path) -> Iterator[Any]:
    from harness.task_runner import TaskRunner

    from elastic_ml.clients.elasticsearch import connect, server_facts
    from elastic_ml.clients.settings import ElasticsearchSettings
    from elastic_ml.ingest import partition
    from elastic_ml.project import load_project
    from elastic_ml.project.setup import run_setup
    from elastic_ml.stages import audit_ingest

    with connect(ElasticsearchSettings(url=url, http_compress=False)) as client:
        run_setup(client, load_project(folder), server_facts(client), mode="apply").raise_for_state()
    dag = audit_ingest.build(folder)["audit_ingest"]
    sealing = {"seconds": 0.0}
    seal_month = partition.seal_month

    def timed(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return seal_month(*arguments, **more)
        finally:
            sealing["seconds"] += time.perf_counter() - began

    partition.seal_month = timed

    def day(key: str) -> dict[str, Any]:
        sealing["seconds"] = 0.0
        runner = TaskRunner(
            lambda: dag.get_task("ingest"),
            connections={"elasticsearch_default": url},
            dag_id="audit_ingest",
            conf={"day": key},
        )
        began = time.perf_counter()
        # The task's own log goes to standard output.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            result = runner.run()
        seconds = time.perf_counter() - began
        if result.state != "success":
            raise RuntimeError(f"{key} is {result.state}: {result.error}")
        return {
            "seconds": seconds,
            "sealing": sealing["seconds"],
            "read": sum(source["read"] for source in result.value.values()),
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }

    yield day


@contextlib.contextmanager
def _bare(url: str, folder: Path) -> Iterator[Any]:
    from elasticsearch import Elasticsearch, helpers

    from elastic_ml.project import load_project
    from elastic_ml.sources.adapters import adapt
    from elastic_ml.sources.partition import Partition
    from elastic_ml.sources.people import NameTable
    from elastic_ml.sources.readers import read
    from elastic_ml.sources.records import Rejected

    project = load_project(folder)
    sources = [project.source(name) for name in project.sources()]
    client = Elasticsearch(url, request_timeout=60)

    def index(stream: str, month: str) -> str:
        name = f"bare-{stream}-{month}"
        if not client.indices.exists(index=name):
            made = dict(client.indices.simulate_index_template(name=stream)["template"])
            made["settings"]["index"].pop("lifecycle", None)
            made["mappings"].pop("_data_stream_timestamp", None)
            client.indices.create(index=name, settings=made["settings"], mappings=made["mappings"])
        return name

    def day(key: str) -> dict[str, Any]:
        partition = Partition.parse(key)
        targets = {source.name: index(source.stream, f"{partition.start:%Y.%m}") for source in sources}
        began, read_here, indexed = time.perf_counter(), 0, 0
        for source in sources:
            people = NameTable.read(source.name, project.folder / source.names) if source.names else None
            rejected = 0

            def actions(source: Any = source, people: Any = people) -> Iterator[dict[str, Any]]:
                nonlocal rejected
                for document in adapt(source, read(source, partition), people):
                    if isinstance(document, Rejected):
                        rejected += 1
                        continue
                    event_id = document["event"]["id"]
                    yield {"_op_type": "create", "_index": targets[source.name], "_id": event_id, **document}

            outcomes = [done for done, _ in helpers.parallel_bulk(client, actions(), raise_on_error=False)]
            read_here += len(outcomes) + rejected
            indexed += sum(outcomes)
        return {"seconds": time.perf_counter() - began, "read": read_here, "events": indexed}

    def compare(month: str) -> str:
        """Count a month on both sides, and drop it from both once it is sealed."""
        counts = {}
        for stream in dict.fromkeys(source.stream for source in sources):
            theirs = index(stream, month)
            ours = list(client.indices.get(index=f"history-{stream}-{month}-*", expand_wildcards="all"))
            client.indices.refresh(index=",".join([theirs, *ours]))
            counts[stream] = (
                sum(int(client.count(index=name)["count"]) for name in ours),
                client.count(index=theirs)["count"],
            )
            if ours and counts[stream][0] != counts[stream][1]:
                raise RuntimeError(f"{month}: {ours} hold {counts[stream][0]} documents, {theirs} {counts[stream][1]}")
            for name in [theirs, *ours]:
                client.indices.delete(index=name)
        found = sum(ours for ours, _ in counts.values())
        return f"{month}: {found:,} documents sealed, as many as bare" if found else f"{month}: not history"

    yield lambda question: compare(question.split()[1]) if question.startswith("compare") else day(question)
