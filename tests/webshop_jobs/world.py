"""A shop with one anomaly job, whose records tests write into the results index as Elastic's own YAML tests do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.task_runner import Result, TaskRunner

from elastic_ml.project import load_project
from elastic_ml.project.anomaly_bodies import datafeed_body, job_body
from elastic_sandbox.testing import Sandbox

WEBSHOP = Path(__file__).parents[1] / "elastic_ml" / "project" / "webshop"
JOB = "logins"
ALERTS = "logs-shop.alerts-eu"
DAY = 1_780_272_000_000  # 2026-06-01T00:00Z
HOUR = 3_600_000
JOB_FILE = """
owner: security
description: Sign-ins by user
groups: [shop]
job:
  analysis_config:
    bucket_span: 1h
    detectors:
      - function: high_count
        partition_field_name: user.id
        custom_rules:
          - {actions: [skip_result], scope: {user.id: {filter_id: robots, filter_type: include}}}
    influencers: [user.id, source.ip]
datafeed:
  indices: [logs-shop.audit-eu]
  query: {term: {event.action: login}}
alert_score: 60
calendars:
  free_days: {holidays: true, timezone: Europe/Berlin}
  works:
    timezone: Europe/Berlin
    events:
      - {description: Move to another data centre, start: 2026-06-06T20:00:00, end: 2026-06-07T06:00:00}
filters:
  robots: {items: [crawler, monitoring]}
schedule: "0 1 * * *"
"""


class Shop:
    """The project on a cluster, its client, and the tasks that tests run."""

    def __init__(self, sandbox: Sandbox, folder: Path, client: Any) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.client = client
        self.project = load_project(folder)

    def write(self, old: str, new: str) -> None:
        """Change the job file."""
        path = self.folder / "anomaly_jobs" / f"{JOB}.yml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def job(self) -> Any:
        """The job file as it is now."""
        return self.project.anomaly_job(JOB)

    def put_job(self) -> None:
        """The job and its datafeed on the cluster, without data; with its filter, which its rules name."""
        self.client.ml.put_filter(filter_id=f"{JOB}-robots", items=["crawler"])
        self.client.ml.put_job(job_id=JOB, **job_body(self.project, self.job(), {}))
        feed = datafeed_body(self.project, self.job(), JOB)
        self.client.ml.put_datafeed(datafeed_id=f"datafeed-{JOB}", **feed)

    def put_record(self, at: int, user: str, score: float, *, job: str = JOB, **more: Any) -> None:
        """A record as the analysis would write it."""
        record = {
            "job_id": job, "result_type": "record", "timestamp": at, "bucket_span": 3600, "detector_index": 0,
            "is_interim": False, "record_score": score, "initial_record_score": score, "probability": 1e-9,
            "function": "high_count", "function_description": "count", "typical": [1.5], "actual": [12.0],
            "partition_field_name": "user.id", "partition_field_value": user,
            "influencers": [
                {"influencer_field_name": "user.id", "influencer_field_values": [user]},
                {"influencer_field_name": "source.ip", "influencer_field_values": ["10.0.0.9", "10.0.0.7"]},
            ],
        }  # fmt: skip
        name = f"{job}_record_{at}_3600_0_{user}"
        self.client.index(index=".ml-anomalies-shared-000001", id=name, document=record | more, refresh=True)

    def delete_record(self, at: int, user: str) -> None:
        """What a revert with its intervening results does to it."""
        self.client.delete(index=".ml-anomalies-shared-000001", id=f"{JOB}_record_{at}_3600_0_{user}", refresh=True)

    def runner(self, operator: Any, **arguments: Any) -> TaskRunner:
        """A task on this project."""
        return TaskRunner(
            lambda: operator(task_id="task", **arguments),
            connections={
                "elasticsearch_default": self.sandbox.elasticsearch_url,
                "kibana_default": {"conn_type": "kibana", "host": self.sandbox.kibana_url},
            },
        )

    def complete(self, operator: Any, **arguments: Any) -> Any:
        """Run a task to its end; its result."""
        result: Result = self.runner(operator, **arguments).complete()
        assert result.state == "success", result.error
        return result.value

    def alerts(self) -> list[dict[str, Any]]:
        """The documents of the alerts stream, by time and message."""
        self.client.indices.refresh(index=ALERTS)
        hits = self.client.search(index=ALERTS, size=1000)["hits"]["hits"]
        return sorted((hit["_source"] for hit in hits), key=lambda one: (one["@timestamp"], one["message"]))

    def empty(self) -> None:
        """As it was after setup."""
        ml = self.client.ml
        for job in ml.get_jobs()["jobs"]:
            ml.delete_job(job_id=job["job_id"], force=True)
        for calendar in ml.get_calendars()["calendars"]:
            ml.delete_calendar(calendar_id=calendar["calendar_id"])
        for one in ml.get_filters()["filters"]:
            ml.delete_filter(filter_id=one["filter_id"])
        self.client.delete_by_query(index=ALERTS, query={"match_all": {}}, refresh=True)
        self.sandbox.faults.clear()


def copy_shop(directory: Path) -> Path:
    """The webshop's folder with the job file, at ``directory``."""
    folder = Path(shutil.copytree(WEBSHOP, directory / "webshop"))
    (folder / "anomaly_jobs").mkdir()
    (folder / "anomaly_jobs" / f"{JOB}.yml").write_text(JOB_FILE)
    project = folder / "project.yml"
    project.write_text(project.read_text().replace("  - {dataset: auth0.logs, namespace: prod, managed: false}\n", ""))
    return folder
