"""An index of sign-ins and a job on it, as small as they can be: 24 documents a day by three users."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import helpers
from harness.task_runner import TaskRunner

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from elasticsearch import Elasticsearch

    from elastic_sandbox.testing import Sandbox

FIRST = datetime(2026, 3, 2, tzinfo=UTC)
JOB: dict[str, Any] = {
    "description": "Sign-ins by user",
    "groups": ["audit"],
    "analysis_config": {
        "bucket_span": "1h",
        "detectors": [{"function": "high_count", "partition_field_name": "user"}],
        "influencers": ["user"],
    },
    "data_description": {"time_field": "@timestamp"},
    "analysis_limits": {"model_memory_limit": "16mb"},
}
DATAFEED: dict[str, Any] = {"indices": ["sign-ins"], "query": {"term": {"kind": "sign-in"}}, "query_delay": "60s"}


@dataclass
class SignIns:
    """The cluster with its sign-ins; `JOB` and `DATAFEED` are copies that a test may change."""

    sandbox: Sandbox
    client: Elasticsearch
    job: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(JOB))
    datafeed: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(DATAFEED))

    def day(self, number: int) -> str:
        """The key of the partition of a day, 0 for the first."""
        return (FIRST + timedelta(days=number)).strftime("%Y-%m-%d")

    def index(self, days: int) -> None:
        """One sign-in an hour for some days, each hour's user in turn."""
        rows = (
            {
                "_index": "sign-ins",
                "@timestamp": (FIRST + timedelta(hours=hour, minutes=30)).isoformat(),
                "user": f"u{hour % 3}",
                "kind": "sign-in",
            }
            for hour in range(24 * days)
        )
        helpers.bulk(self.client, rows, refresh=True)

    def add(self, day: int, hour: int = 12, user: str = "late", times: int = 1) -> None:
        """Sign-ins that come late, or all at once."""
        at = FIRST + timedelta(days=day, hours=hour)
        rows = [
            {
                "_index": "sign-ins",
                "@timestamp": (at + timedelta(seconds=n)).isoformat(),
                "user": user,
                "kind": "sign-in",
            }
            for n in range(times)
        ]
        helpers.bulk(self.client, rows, refresh=True)

    def runner(self, operator: type[BaseOperator], **arguments: Any) -> TaskRunner:
        """A task on this cluster; it waits in the worker and looks often, unless told otherwise."""
        arguments = {"deferrable": False, "poll_interval": 0.05, **arguments}
        return TaskRunner(
            lambda: operator(task_id="detect", **arguments),  # type: ignore[arg-type]
            connections={
                "elasticsearch_default": self.sandbox.elasticsearch_url,
                "kibana_default": {"host": self.sandbox.kibana_url},
            },
            dag_id="anomalies_sign_ins",
        )

    def keeper(self, **arguments: Any) -> TaskRunner:
        """A task that keeps the job `sign_ins`."""
        from elastic_ml.operators.anomaly_job import AnomalyJobOperator

        return self.runner(
            AnomalyJobOperator, **{"job_id": "sign_ins", "body": self.job, "datafeed": self.datafeed, **arguments}
        )

    def learner(self, day: int | str, **arguments: Any) -> TaskRunner:
        """A task that lets the job `sign_ins` learn a day."""
        from elastic_ml.operators.anomaly_partition import AnomalyPartitionOperator

        key = self.day(day) if isinstance(day, int) else day
        return self.runner(
            AnomalyPartitionOperator,
            **{"job_id": "sign_ins", "body": self.job, "datafeed": self.datafeed, "partition": key, **arguments},
        )

    def learn(self, *days: int, **arguments: Any) -> dict[str, Any]:
        """Learn days in order; the last one's result."""
        value: dict[str, Any] = {}
        for day in days:
            result = self.learner(day, **arguments).run()
            assert result.state == "success", result.error
            value = result.value
        return value

    def config(self, job_id: str = "sign_ins") -> dict[str, Any]:
        """A job as the server shows it."""
        return dict(self.client.ml.get_jobs(job_id=job_id)["jobs"][0])

    def learnt(self, job_id: str = "sign_ins") -> dict[str, list[Any]]:
        """What the job's record says of each end of a partition, by its date."""
        ends = self.config(job_id)["custom_settings"]["partitions"]["ends"]
        return {end[:10]: closing for end, closing in ends.items()}

    def states(self, job_id: str = "sign_ins") -> tuple[str, str]:
        """States of the job and of its datafeed."""
        feed = self.client.ml.get_datafeed_stats(datafeed_id=f"datafeed-{job_id}")["datafeeds"][0]["state"]
        return self.client.ml.get_job_stats(job_id=job_id)["jobs"][0]["state"], feed

    def buckets(self, job_id: str = "sign_ins") -> list[tuple[str, int]]:
        """(begin, events) of every bucket, in order."""
        found = self.client.ml.get_buckets(job_id=job_id, size=10_000)["buckets"]
        return [
            (f"{datetime.fromtimestamp(one['timestamp'] / 1000, UTC):%Y-%m-%dT%H}", one["event_count"]) for one in found
        ]

    def expected_buckets(self, days: int, extra: dict[str, int] | None = None) -> list[tuple[str, int]]:
        """What `buckets` are after that many days: every hour once, with one event, and `extra` by hour."""
        hours = [f"{FIRST + timedelta(hours=hour):%Y-%m-%dT%H}" for hour in range(24 * days)]
        return [(hour, 1 + (extra or {}).get(hour, 0)) for hour in hours]

    def retained(self, job_id: str = "sign_ins") -> set[str]:
        """Ids of the retained snapshots."""
        found = self.client.ml.get_model_snapshots(job_id=job_id, size=1000)["model_snapshots"]
        return {one["snapshot_id"] for one in found if one["retain"]}

    def writes(self) -> list[str]:
        """The requests since `forget` that change something, as `METHOD path`."""
        sent = [f"{r.method} {r.path}" for r in self.sandbox.requests if r.method != "GET"]
        return [line for line in sent if not re.search(r"/_search$|/model_snapshots/[^/]+$", line)]

    def forget(self) -> None:
        """Begin a new list of requests."""
        self.sandbox.requests.clear()


@pytest.fixture
def sign_ins(sandbox: Sandbox, elasticsearch: Elasticsearch) -> SignIns:
    """An empty index of sign-ins."""
    kinds = {"@timestamp": "date", "user": "keyword", "kind": "keyword"}
    elasticsearch.indices.create(
        index="sign-ins", mappings={"properties": {name: {"type": kind} for name, kind in kinds.items()}}
    )
    return SignIns(sandbox, elasticsearch)


@pytest.fixture
def four_days(sign_ins: SignIns) -> SignIns:
    """Four days of sign-ins."""
    sign_ins.index(days=4)
    return sign_ins


Operator = Callable[[], "BaseOperator"]
