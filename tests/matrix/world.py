"""A hospital with every kind of DAG that the package ships, on a cluster whose whole state can be put back.

The DAGs come from the shipped stage files, the project from `clinic`, with a model of each kind, an anomaly job of each
mode and sources that deliver files. The cluster's clock stands still, so that nothing happens by itself, and its data
directory is copied: what comes after a copy is opened begins where the copy was taken.
"""

from __future__ import annotations

import json
import random
import re
import runpy
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow.sdk import DAG
from clinic.world import CLINIC, ClinicApi, clinic_event
from elastic_transport import Urllib3HttpNode
from harness.task_runner import Result, TaskRunner, WorkerKilledError
from requests.adapters import HTTPAdapter

from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.project import load_project
from elastic_sandbox import backend
from elastic_sandbox.clock import Clock
from elastic_sandbox.testing import Sandbox, serve

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

ROOT = Path(__file__).parents[2]
STREAM = "logs-clinic.access-eu"
STARTED = datetime.now(UTC).replace(microsecond=0)
DAY = STARTED.date() - timedelta(days=1)
"""The last day that has events; models are trained for the day after it."""
DAYS, A_DAY = 14, 150
FIRST = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) - timedelta(days=DAYS - 1)
ACCESS = """
stream: logs-clinic.access-eu
start_date: 2026-01-01
partition: day
reader: {{kind: files, path: "{feed}/access-{{day}}.ndjson"}}
adapter: ndjson
fields:
  "@timestamp": time
  event.id: id
  event.action: action
  event.outcome: outcome
  event.timezone: zone
  user.id: user
  audit.records: records
  audit.distance: distance
  audit.minutes: minutes
constants: {{event.dataset: clinic.access}}
"""
VERDICTS = """
stream: logs-clinic.verdicts-eu
kind: labels
start_date: 2026-01-01
partition: day
reader: {{kind: files, path: "{feed}/verdicts-{{day}}.ndjson"}}
adapter: ndjson
"""
OUTLIERS = """
owner: privacy
source: {index: [logs-clinic.access-eu], query: {match_all: {}}}
windows: {train: 9d}
features: [audit.records, audit.distance]
analysis: {outlier_detection: {}}
"""
JOB = """
owner: privacy
mode: %s
job:
  analysis_config: {bucket_span: 1h, detectors: [%s], influencers: [user.id]}
  analysis_limits: {model_memory_limit: 32mb}
  data_description: {time_field: "@timestamp"}
datafeed: {indices: [logs-clinic.access-eu]}
alert_score: 1
"""
CALENDAR = """
schedule: "0 1 * * *"
calendars:
  works:
    timezone: Europe/Berlin
    events: [{description: Move, start: 2026-06-06T20:00:00, end: 2026-06-07T06:00:00}]
filters:
  robots: {items: [crawler]}
"""
DETECTOR = (
    "{function: high_sum, field_name: audit.records, partition_field_name: user.id, custom_rules: "
    "[{actions: [skip_result], scope: {user.id: {filter_id: robots, filter_type: include}}}]}"
)
READS = re.compile(
    r"/(_search|_msearch|_count|_mget|_query|_field_caps|_evaluate|_explain|_preview|_infer|_validate|_simulate"
    r"|_estimate_model_memory|_estimate_memory_usage|_has_privileges|_pit|_analyze|_refresh"
    r"|results/[a-z_]+|model_snapshots/[^/]*|buckets)(/|$|\?)|/_simulate"
)
"""Requests with a body that change nothing; `POST .../model_snapshots/<id>` is how the client asks for snapshots."""


@dataclass
class Checkpoint:
    """Everything at one moment of the story: the cluster's disk, the project's folder, and what tasks returned."""

    home: Path
    xcoms: dict[str, dict[tuple[str, str], Any]]
    now: datetime


@dataclass
class World:
    """The project on an open cluster."""

    sandbox: Sandbox
    client: Elasticsearch
    home: Path
    xcoms: dict[str, dict[tuple[str, str], Any]] = field(default_factory=dict)
    keep_at: Path | None = None
    """Where the folder goes when the cluster is closed; nowhere by default."""

    @property
    def folder(self) -> Path:
        """The project folder."""
        return self.home / "include"

    @property
    def names(self) -> Any:
        """The project's names."""
        return load_project(self.folder).names

    def runner(self, dag_id: str, task_id: str, *, params: Mapping[str, Any], run_id: str = "manual__1") -> TaskRunner:
        """A new run of a task, with what the tasks before it returned; its run is always due at the same moment."""
        make = _maker(self.home, dag_id, task_id)
        runner = TaskRunner(
            make,
            connections={
                "elasticsearch_default": self.sandbox.elasticsearch_url,
                "kibana_default": {"conn_type": "kibana", "host": self.sandbox.kibana_url},
            },
            xcoms=self.xcoms.get(dag_id, {}),
            dag_id=dag_id,
            run_id=run_id,
            conf=params,
            triggering_user_name="bo",
            retries=3,
        )
        runner.api.dag_run["run_after"] = STARTED.isoformat()
        runner.api = ClinicApi(**vars(runner.api))
        return runner

    def keep(self, dag_id: str, task_id: str, result: Result) -> None:
        """Remember what a task returned, for the tasks after it."""
        kept = self.xcoms.setdefault(dag_id, {})
        for key, value in result.xcoms.items():
            kept[task_id, key] = value


def _maker(home: Path, dag_id: str, task_id: str) -> Callable[[], Any]:
    """Build the DAG anew as each leg of a real task does, from the one stage file that has it."""

    def make() -> Any:
        with mock.patch.dict("os.environ", {"_AIRFLOW_PARSING_CONTEXT_DAG_ID": dag_id}):
            for file in sorted((home / "dags").glob("*.py")):
                if file.name == "check_model_files.py":
                    continue
                for value in runpy.run_path(str(file)).values():
                    if isinstance(value, DAG) and value.dag_id == dag_id:
                        return value.get_task(task_id)
        raise AssertionError(f"no stage file builds {dag_id}")

    return make


def write_project(home: Path) -> None:
    """The shipped stage files beside a project that gives each of them something to build."""
    shutil.copytree(ROOT / "dags", home / "dags", ignore=shutil.ignore_patterns("__pycache__", "*.md"))
    folder = Path(shutil.copytree(CLINIC, home / "include"))
    feed = home / "feed"
    feed.mkdir()
    (folder / "sources" / "access.yml").write_text(ACCESS.format(feed=feed))
    (folder / "sources" / "verdicts.yml").write_text(VERDICTS.format(feed=feed))
    (folder / "models" / "strange.yml").write_text(OUTLIERS)
    (folder / "anomaly_jobs").mkdir()
    (folder / "anomaly_jobs" / "reads.yml").write_text(JOB % ("partition", DETECTOR) + CALENDAR)
    (folder / "anomaly_jobs" / "live.yml").write_text(JOB % ("realtime", "{function: count}"))
    generator = random.Random(5)
    for number in range(DAYS):
        day = FIRST + timedelta(days=number)
        with (
            (feed / f"access-{day.date()}.ndjson").open("w") as events,
            (feed / f"verdicts-{day.date()}.ndjson").open("w") as verdicts,
        ):
            for n in range(A_DAY):
                at = day + timedelta(seconds=int(86_400 * n / A_DAY))
                document, misuse = clinic_event(number * A_DAY + n, at, generator)
                audit, event = document["audit"], document["event"]
                # A burst on the last day, after what is learned from, for the anomaly job to find.
                records = 400 if number == DAYS - 1 and n in {70, 71} else audit["records"]
                record = {
                    "time": document["@timestamp"], "id": event["id"], "action": event["action"],
                    "outcome": event["outcome"], "zone": event["timezone"], "user": document["user"]["id"],
                    "records": records, "distance": audit["distance"], "minutes": audit["minutes"],
                }  # fmt: skip
                events.write(json.dumps(record) + "\n")
                if misuse:
                    decided = (at + timedelta(hours=20)).isoformat()
                    verdict = {
                        "decision_id": f"d-{event['id']}", "event_id": event["id"], "event_time": record["time"],
                        "user_id": record["user"], "verdict": "confirmed", "decided_at": decided,
                        "decided_by": "reviewer", "reason": "seen",
                    }  # fmt: skip
                    verdicts.write(json.dumps(verdict) + "\n")


@contextmanager
def opened(checkpoint: Checkpoint, home: Path) -> Iterator[World]:
    """The world as it was at a checkpoint, in a folder of its own that ends with the block."""
    shutil.copytree(checkpoint.home, home)
    world: World | None = None
    try:
        # The project names its feed by its path.
        for source in (home / "include" / "sources").glob("*.yml"):
            source.write_text(re.sub(r'"[^"]*/feed/', f'"{home}/feed/', source.read_text()))
        with ExitStack() as stack:
            stack.enter_context(mock.patch.dict("os.environ", {
                "AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER": f"file://{home}/exchange/",
                "AIRFLOW__ELASTIC_ML__POLL_INTERVAL": "0.1",
                "AIRFLOW__ELASTIC_ML__DEFER_AFTER": "20",
            }))  # fmt: skip
            clock = Clock()
            clock.freeze(checkpoint.now)
            # From the first moment on: a transform that is resumed would take up what came meanwhile.
            with mock.patch.object(backend, "Clock", return_value=clock):
                sandbox = stack.enter_context(serve(data=home / "data"))
            client = stack.enter_context(connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)))
            world = World(sandbox, client, home, {dag: dict(kept) for dag, kept in checkpoint.xcoms.items()})
            yield world
        if world.keep_at:
            shutil.copytree(home, world.keep_at)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def killed_after(writes: int | None) -> Iterator[list[str]]:
    """Kill the worker right after its n-th write was answered by Elasticsearch or Kibana; None lets it live.

    :return: the writes so far, as `METHOD /path`.
    """
    sent: list[str] = []

    def noted(method: str, path: str) -> None:
        if method not in {"GET", "HEAD"} and not READS.search(path):
            sent.append(f"{method} {path}")

    def die_if_dead() -> None:
        if writes is not None and len(sent) >= writes:
            raise WorkerKilledError

    def perform(node: Any, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
        die_if_dead()
        answer = elastic(node, method, target, *args, **kwargs)
        noted(method, target.partition("?")[0])
        die_if_dead()
        return answer

    def send(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        die_if_dead()
        answer = kibana(adapter, request, *args, **kwargs)
        noted(request.method, request.path_url.partition("?")[0])
        die_if_dead()
        return answer

    elastic, kibana = Urllib3HttpNode.perform_request, HTTPAdapter.send
    with mock.patch.object(Urllib3HttpNode, "perform_request", perform), mock.patch.object(HTTPAdapter, "send", send):
        yield sent
