"""anomalies_<job> of all four shipped jobs, whole runs: what was put in becomes an alert, and a re-run changes nothing.

Three weeks of LendPath's identity and internal audit go through the product's own ingestion. The first day is learnt by
its task alone; the run of the last day then learns all days since, as a run after days of silence does. Scores are the
sandbox's own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness.dag_runs import DagRun, DagRuns
from harness.task_runner import TaskRunner
from lendpath_alarms.feeds import DAYS, DELETION, EXPORT, GUESSING, LAST, START

from elastic_ml.clients.elasticsearch import connect, server_facts
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_ml.monitoring.operations_log import Entry, append
from elastic_ml.operators.anomaly_detection import DetectPartitionOperator
from elastic_ml.operators.ingest import BulkIngestOperator
from elastic_ml.project import load_project
from elastic_ml.project.setup import run_setup
from elastic_sandbox.testing import Sandbox, serve

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]
SLOW = LAST + timedelta(hours=14)
DAY = f"{LAST:%Y-%m-%d}"


@dataclass
class Lender:
    """LendPath on a cluster, its data ingested, and an Airflow that runs its anomaly DAGs."""

    client: Any
    airflow: DagRuns

    def run(self, job: str, **conf: Any) -> DagRun:
        """A successful run of `anomalies_<job>`."""
        run = self.airflow.run(f"anomalies_{job}", conf)
        assert run.state == "success", (run.states, self.airflow.log()[-6000:])
        return run

    def alerts(self, job: str) -> list[dict[str, Any]]:
        """The job's alerts, the highest first."""
        self.client.indices.refresh(index="logs-ml.alerts-default")
        found = self.client.search(index="logs-ml.alerts-default", query={"term": {"name": job}}, size=1000,
                                   sort=[{"record_score": "desc"}, {"@timestamp": "asc"}])  # fmt: skip
        return [hit["_source"] for hit in found["hits"]["hits"]]

    def learnt(self, job: str) -> tuple[Any, ...]:
        """What a run that changes nothing leaves as it is: the data that was seen, the snapshots, the settings."""
        [config] = self.client.ml.get_jobs(job_id=job)["jobs"]
        [stats] = self.client.ml.get_job_stats(job_id=job)["jobs"]
        snapshots = self.client.ml.get_model_snapshots(job_id=job)["model_snapshots"]
        return (
            stats["data_counts"]["processed_record_count"],
            sorted((one["snapshot_id"], one["retain"]) for one in snapshots),
            config["custom_settings"],
        )


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lender]:
    home = tmp_path_factory.mktemp("airflow")
    folder = _project(home / "include")
    with serve() as sandbox, connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        project = load_project(folder)
        run_setup(client, project, server_facts(client), mode="apply").raise_for_state()
        for day in (LAST - timedelta(days=1), LAST):
            _task(sandbox, BulkIngestOperator, project_folder=str(folder), partition=f"{day:%Y-%m-%d}")
        append(client, [Entry(project.names.predictions, f"p{n}", one) for n, one in enumerate(_predictions())])
        client.indices.refresh(index="logs-*")
        kibana = {"conn_type": "kibana", "host": sandbox.kibana_url}
        connections = {
            "elasticsearch_default": {"conn_type": "elastic", "host": sandbox.elasticsearch_url},
            "kibana_default": kibana,
        }
        for job in ("failed_authentications", "rare_privileged_actions", "bulk_reads"):
            _task(sandbox, DetectPartitionOperator, project_folder=str(folder), job=job, partition=f"{START:%Y-%m-%d}",
                  deferrable=False, poll_interval=0.05)  # fmt: skip
        with DagRuns(home, [ROOT / "dags" / "anomalies.py"], connections) as airflow:
            yield Lender(client, airflow)


def _project(folder: Path) -> Path:
    """LendPath's folder with the two sources that the jobs read, both from this test's feeds."""
    shutil.copytree(ROOT / "include", folder, ignore=shutil.ignore_patterns("lendpath", "models", "__pycache__"))
    for source in (folder / "sources").glob("*.yml"):
        if source.stem not in {"ping_one", "internal_audit"}:
            source.unlink()
            continue
        text = source.read_text().replace("lendpath.feeds:", "lendpath_alarms.feeds:")
        source.write_text("\n".join(line for line in text.splitlines() if "events_per_day" not in line) + "\n")
    settings = (folder / "project.yml").read_text()
    # The days lie in the past, so that the data is always the same; history would wait for its month to be complete.
    settings = settings.replace("backfill_after: 30d", "backfill_after: 36500d")
    # No anomaly job reads user-hours.
    before, after = settings.index("features:"), settings.index("lifecycle:")
    (folder / "project.yml").write_text(settings[:before] + settings[after:])
    return folder


def _task(sandbox: Sandbox, operator: Any, **arguments: Any) -> None:
    connections = {"elasticsearch_default": sandbox.elasticsearch_url}
    result = TaskRunner(lambda: operator(task_id="task", **arguments), connections=connections).run()
    assert result.state == "success", result.error


def _predictions() -> Iterator[dict[str, Any]]:
    """A model's answers, three an hour; slow by four times in one half hour."""
    rng = np.random.default_rng(5)
    for hour in range(DAYS * 24):
        for minute in (5, 10, 20, 25, 50):
            at = START + timedelta(hours=hour, minutes=minute)
            slow = 4.0 if SLOW <= at < SLOW + timedelta(minutes=30) else 1.0
            yield {"@timestamp": at.isoformat(), "event_type": "predict", "status": "success", "count": 1,
                   "model_name": "audit_fraud", "latency_ms": float(22 * slow * rng.lognormal(0, 0.2))}  # fmt: skip


def of_hour(alerts: list[dict[str, Any]], begin: datetime) -> list[dict[str, Any]]:
    return [one for one in alerts if begin <= datetime.fromisoformat(one["@timestamp"]) < begin + timedelta(hours=1)]


PARTITIONED = {
    "failed_authentications": (GUESSING, "user.id="),
    "rare_privileged_actions": (DELETION, "event.action=policy.deleted"),
    "bulk_reads": (EXPORT, "audit.role=processor"),
}


@pytest.mark.parametrize("job", PARTITIONED)
def test_what_was_put_in_becomes_an_alert_and_a_re_run_changes_nothing(lender: Lender, job: str) -> None:
    begin, about = PARTITIONED[job]
    # Two of the three compare with a population and can have no forecast.
    asked = {"forecast": "2h"} if job == "failed_authentications" else {}
    run = lender.run(job, day=DAY, **asked)
    assert run.states == dict.fromkeys(["wait_for_data", "detect", "alerts", *asked], "success")
    [alert] = of_hour(lender.alerts(job), begin)
    assert (alert["severity"], alert["state"]) == ("critical", "open")
    assert any(one.startswith(about) for one in alert["influencers"]), alert["influencers"]
    assert alert["user"]["id"].startswith("u-")
    assert run.values["alerts"]["new"] == len(lender.alerts(job))

    before = lender.alerts(job), lender.learnt(job)
    again = lender.run(job, day=DAY, **asked)
    assert [again.values["alerts"][what] for what in ("new", "changed", "withdrawn")] == [0, 0, 0]
    assert (lender.alerts(job), lender.learnt(job)) == before
    if asked:
        assert again.values["forecast"] == run.values["forecast"]
        assert run.values["forecast"]["records"] > 0
        [stats] = lender.client.ml.get_job_stats(job_id=job)["jobs"]
        assert stats["state"] == "closed"


def test_a_partition_that_is_learnt_again_gives_the_same_alerts(lender: Lender) -> None:
    job = "failed_authentications"
    before = lender.alerts(job) or (lender.run(job, day=DAY), lender.alerts(job))[1]
    again = lender.run(job, day=DAY, replay="always")
    assert again.values["detect"]["reverted_to"]
    assert again.values["alerts"]["new"] == 0
    assert [(one["event"]["id"], one["state"]) for one in lender.alerts(job)] == [
        (one["event"]["id"], one["state"]) for one in before
    ]


def test_a_slow_model_is_found_in_real_time_and_a_re_run_changes_nothing(lender: Lender) -> None:
    job = "prediction_latency"
    since = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    lender.run(job, since=since)
    _caught_up(lender.client, f"datafeed-{job}")
    run = lender.run(job, since=since)
    alerts = of_hour(lender.alerts(job), SLOW)
    assert alerts
    assert {(one["model_name"], one["severity"]) for one in alerts} == {("audit_fraud", "critical")}
    before = lender.alerts(job)
    assert lender.run(job, since=since).values["alerts"]["alerts"] == run.values["alerts"]["alerts"]
    assert lender.alerts(job) == before
    [stats] = lender.client.ml.get_datafeed_stats(datafeed_id=f"datafeed-{job}")["datafeeds"]
    assert stats["state"] == "started"


def _caught_up(client: Any, datafeed: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while True:
        [stats] = client.ml.get_datafeed_stats(datafeed_id=datafeed)["datafeeds"]
        if (stats.get("running_state") or {}).get("real_time_running"):
            return
        assert time.monotonic() < until, stats
        time.sleep(0.1)
