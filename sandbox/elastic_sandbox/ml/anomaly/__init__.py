"""Anomaly detection: jobs, datafeeds, calendars, filters, results, snapshots, forecasts.

`analysis`, `detection`, `model`, `rare` and `tails` are the pure part: records in, scored buckets out; the model is
described in docs/decisions/0013-anomaly-model.md. `process` stands where Elasticsearch's native process does; the rest
ties it to the backend, `routes` is the HTTP surface. Behaviour is Elasticsearch's; scores are the sandbox's own.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.calendars import Calendars, Filters
from elastic_sandbox.ml.anomaly.datafeeds import Datafeeds
from elastic_sandbox.ml.anomaly.forecasts import Forecasts
from elastic_sandbox.ml.anomaly.job import AnomalyJob
from elastic_sandbox.ml.anomaly.jobs import AnomalyJobs
from elastic_sandbox.ml.anomaly.snapshots import Snapshots
from elastic_sandbox.ml.strict import conflict

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

__all__ = ["AnomalyDetection"]
log = logging.getLogger(__name__)
_DAY_MS = 86_400_000


class AnomalyDetection:
    """`backend.ml.anomaly`: the parts, and what concerns all of them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.calendars = Calendars(backend)
        self.filters = Filters(backend)
        self.snapshots = Snapshots(backend)
        self.forecasts = Forecasts(backend)
        self.jobs = AnomalyJobs(backend)
        self.datafeeds = Datafeeds(backend)
        if any(job.state != "closed" for job in self.jobs.all()):
            threading.Thread(target=self._resume, name="anomaly-resume", daemon=True).start()

    def _resume(self) -> None:
        """Go on with what ran when the process ended; the backend is still being made when this begins."""
        while getattr(self.backend, "ml", None) is None:
            time.sleep(0.01)
        try:
            self.datafeeds.resume()
        except Exception:  # the thread has no caller
            log.exception("anomaly jobs could not be resumed")

    def halt(self) -> list[threading.Thread]:
        """Stop all workers and forget what runs; in a file the jobs stay open, and a restart goes on with them."""
        workers = self.datafeeds.halt()
        self.jobs.halt()
        return workers

    def revert(self, job_id: str, snapshot_id: str, *, delete_intervening: bool) -> dict[str, Any]:
        """Make a closed job's model that of a snapshot; the snapshot."""
        job = self.jobs.get(job_id)
        if self.jobs.state(job) != "closed":
            raise conflict("Can only revert to a model snapshot when the job is closed.")
        snapshot = self.snapshots.revert(job, snapshot_id, delete_intervening=delete_intervening)
        self.jobs.save(job)
        return snapshot

    def delete_expired(self, job_id: str | None) -> None:
        """Apply the retention of results, snapshots and forecasts, counted from a job's newest bucket."""
        for job in self.jobs.expand(job_id):
            self._expire(job)

    def _expire(self, job: AnomalyJob) -> None:
        days, end = job.config.get("results_retention_days"), job.last_bucket_end
        if days is not None and end is not None:
            results.delete(self.backend, job.id, [
                {"terms": {"result_type": ["bucket", "record", "influencer", "bucket_influencer"]}},
                {"range": {"timestamp": {"lt": end - days * _DAY_MS, "format": "epoch_millis"}}},
            ])  # fmt: skip
        self.snapshots.prune(job)
        self.forecasts.expire(job.id)
