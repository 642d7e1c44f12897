"""Anomaly detection jobs: create, update, open, close, delete, reset, feed, flush, and what they report.

States, conflicts and words: Elasticsearch's YAML tests `jobs_crud`, `jobs_get_stats`, `post_data`, `reset_job`,
`delete_job_force`, `set_upgrade_mode`, and its `Messages`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from elastic_sandbox.errors import ElasticError, resource_already_exists, unsupported
from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.analysis import Records
from elastic_sandbox.ml.anomaly.config import memory_mb, name_clash, parse_job, shown, updated
from elastic_sandbox.ml.anomaly.job import (
    KIND,
    LAZY_EXPLANATION,
    UPGRADE_EXPLANATION,
    AnomalyJob,
    new_counts,
    new_sizes,
    new_timing,
)
from elastic_sandbox.ml.anomaly.process import Process, ProcessStoppedError
from elastic_sandbox.ml.strict import bad_request, conflict, matches, not_found

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

log = logging.getLogger(__name__)
OPEN_ACTION: Final = "cluster:admin/xpack/ml/job/open"


class AnomalyJobs:
    """The cluster's anomaly jobs. Locks are taken in one order: a process's, the backend's, a job's."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._jobs: dict[str, AnomalyJob] = {
            job_id: AnomalyJob(**document) for job_id, document in backend.state.items(KIND)
        }

    def halt(self) -> None:
        """Stop all processes; what they have not kept by snapshot is lost, as when a node dies."""
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            if job.process is not None:
                job.process.killed.set()

    def save(self, job: AnomalyJob) -> None:
        """Write a job through, unless it was deleted or the cluster reset meanwhile."""
        with self._backend.lock:
            if self._jobs.get(job.id) is job:
                with job.lock:
                    self._backend.state.put(KIND, job.id, job.to_document())

    # Finding --------------------------------------------------------------------------------------------------------

    def all(self) -> list[AnomalyJob]:
        """Every job, by id."""
        return [self._jobs[job_id] for job_id in sorted(self._jobs)]

    def get(self, job_id: str) -> AnomalyJob:
        """A job by id; 404 when there is none."""
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found(f"No known job with id '{job_id}'")
        return job

    def expand(self, expression: str | None, *, allow_no_match: bool = True) -> list[AnomalyJob]:
        """Jobs by ids, wildcards and groups, by id.

        :raises ElasticError: 404 for a plain name that is neither, or for no match when that is not allowed
        """
        if expression in {None, "", "_all", "*"}:
            chosen = self.all()
        else:
            found: dict[str, AnomalyJob] = {}
            for part in str(expression).split(","):
                hits = [
                    job for job in self.all()
                    if matches(part, job.id) or any(matches(part, group) for group in job.config.get("groups", []))
                ]  # fmt: skip
                if not hits and ("*" not in part or not allow_no_match):
                    raise not_found(f"No known job with id '{part}'")
                found |= {job.id: job for job in hits}
            chosen = [found[job_id] for job_id in sorted(found)]
        if not chosen and not allow_no_match:
            raise not_found(f"No known job with id '{expression}'")
        return chosen

    def names_of(self, name: str) -> set[str]:
        """What calendars may call a job (its id and groups), or a group."""
        job = self._jobs.get(name)
        if job is not None:
            return {name, *job.config.get("groups", []), "_all"}
        if any(name in job.config.get("groups", []) for job in self._jobs.values()):
            return {name}
        raise not_found(f"No known job with id '{name}'")

    def shown(self, job: AnomalyJob, *, exclude_generated: bool = False) -> dict[str, Any]:
        """The job as `GET` answers it, its datafeed included."""
        datafeed = self._backend.ml.anomaly.datafeeds.of_job(job.id)
        feed = None if datafeed is None else datafeed.shown(exclude_generated=exclude_generated)
        config = dict(job.config)
        if job.blocked is not None:
            config["blocked"] = job.blocked
        return shown(config, feed, exclude_generated=exclude_generated)

    # Configuration --------------------------------------------------------------------------------------------------

    def put(self, job_id: str, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """Create a job, and with ``datafeed_config`` its datafeed.

        :param options: index options of the URL, for the datafeed
        """
        backend, now = self._backend, self._backend.clock.now_ms()
        config = parse_job(job_id, body, now_ms=now, max_memory=backend.ml.max_model_memory_limit)
        with backend.lock:
            if job_id in self._jobs:
                raise resource_already_exists(
                    f"The job cannot be created with the Id '{job_id}'. The Id is already used."
                )
            self._check_names(job_id, config.get("groups", []))
            feed = body.get("datafeed_config")
            if feed is not None:
                feed = backend.ml.anomaly.datafeeds.check_inline(config, feed, options)
            results.ensure_index(backend, job_id, config["results_index_name"])
            results.delete(backend, job_id, [])  # what a job of that name left behind, had it been removed by hand
            job = self._jobs[job_id] = AnomalyJob.new(config, now)
            self.save(job)
            if feed is not None:
                backend.ml.anomaly.datafeeds.put(feed["datafeed_id"], feed, {})
        return self.shown(job)

    def _check_names(self, job_id: str, groups: Iterable[str]) -> None:
        taken = {group for job in self._jobs.values() if job.id != job_id for group in job.config.get("groups", [])}
        if job_id in taken:
            raise name_clash(job_id)
        for group in groups:
            if group in self._jobs:
                raise name_clash(group)

    def update(self, job_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change what can be changed; an open job takes it over at its next input."""
        if job_id == "_all" or "*" in job_id:
            raise bad_request("job_id [_all] cannot be updated: name one job")
        with self._backend.lock:
            job = self.get(job_id)
            config = updated(
                job.config, body, opened=job.state != "closed", used_mb=-(-job.sizes["model_bytes"] >> 20),
                max_memory=self._backend.ml.max_model_memory_limit,
            )  # fmt: skip
            self._check_names(job_id, config.get("groups", []))
            with job.lock:
                job.config = config
            self.save(job)
        return self.shown(job)

    # States ---------------------------------------------------------------------------------------------------------

    def state(self, job: AnomalyJob) -> str:
        """The state now: a job that waited for a node is opened as soon as there is one."""
        if job.state == "opening" and not self._backend.faults.lazy_assignment:
            with self._backend.lock, job.lock:
                if job.state == "opening":
                    self._start(job)
        return job.state

    def open(self, job_id: str) -> str:
        """Open a job; the node's id, empty while it waits for one.

        :raises ElasticError: 429 in upgrade mode or without a node, 409 when it is open or blocked
        """
        backend = self._backend
        job = self.get(job_id)
        if backend.ml.upgrade_mode:
            raise ElasticError(
                429, "status_exception", f"Cannot perform {OPEN_ACTION} action while upgrade mode is enabled"
            )
        with backend.lock, job.lock:
            if job.blocked is not None:
                raise conflict(f"Cannot open job [{job_id}] because it is executing [{job.blocked['reason']}]")
            if job.state != "closed":
                raise conflict(f"Cannot open job [{job_id}] because it has already been opened")
            waits = backend.faults.lazy_assignment
            if waits and not job.config["allow_lazy_open"]:
                raise ElasticError(
                    429,
                    "status_exception",
                    f"Could not open job because no suitable nodes were found, allocation explanation "
                    f"[{self._lazy(job)}]",
                )
            job.config.pop("finished_time", None)
            results.ensure_index(backend, job_id, job.config["results_index_name"])
            if waits:
                job.state = "opening"
            else:
                self._start(job)
            self.save(job)
        return "" if waits else backend.tasks.node

    def _start(self, job: AnomalyJob) -> None:
        job.process = Process(self._backend, job, self._backend.ml.anomaly.snapshots.state(job))
        job.state, job.opened_ms = "opened", self._backend.clock.now_ms()

    def _lazy(self, job: AnomalyJob) -> str:
        megabytes = memory_mb(job.config["analysis_limits"]["model_memory_limit"]) or 0
        return LAZY_EXPLANATION.format(id=job.id, memory=megabytes << 20)

    def fail(self, job: AnomalyJob, reason: str) -> None:
        """The analysis cannot go on."""
        log.error("anomaly job [%s] failed: %s", job.id, reason)
        with self._backend.lock, job.lock:
            job.state = "failed"
            if job.process is not None:
                job.process.killed.set()
                job.process = None
            self.save(job)

    def close(self, expression: str, *, allow_no_match: bool, force: bool, timeout: float) -> None:
        """Close jobs, their datafeeds first; no error when they are closed already.

        :raises ElasticError: 404; 409 for a failed job without force
        """
        jobs = self.expand(expression, allow_no_match=allow_no_match)
        failed = [job for job in jobs if job.state == "failed"]
        if failed and not force:
            if len(jobs) == 1:
                raise conflict(f"cannot close job [{jobs[0].id}] because it failed, use force close")
            raise conflict("one or more jobs have state failed, use force close")
        for job in jobs:
            datafeed = self._backend.ml.anomaly.datafeeds.of_job(job.id)
            if datafeed is not None and job.state != "closed":
                self._backend.ml.anomaly.datafeeds.stop_one(datafeed, force=force, timeout=timeout)
        for job in jobs:
            self.close_one(job, force=force)

    def close_one(self, job: AnomalyJob, *, force: bool = False) -> None:
        """Close one job: keep its model, unless forced."""
        with job.lock:
            if job.state == "closed":
                return
            process, job.state = job.process, "closing"
        if process is not None and not force:
            with process.work:
                if not process.killed.is_set():
                    process.persist(final=True)
        with self._backend.lock, job.lock:
            if process is not None:
                process.killed.set()
            job.process, job.state, job.opened_ms = None, "closed", None
            job.config["finished_time"] = self._backend.clock.now_ms()
            self.save(job)

    def opened(self, job_id: str) -> tuple[AnomalyJob, Process]:
        """An open job and its process; 409 when it is not open."""
        job = self.get(job_id)
        self.state(job)
        process = job.process
        if process is None or job.state != "opened":
            raise conflict(f"Cannot perform requested action because job [{job_id}] is not open")
        return job, process

    def delete(self, job_id: str, *, force: bool, timeout: float = 60.0) -> None:
        """Delete a job with its datafeed, results and snapshots; an open one only when forced."""
        job = self.get(job_id)
        if job.state != "closed" and not force:
            raise conflict(f"Cannot delete job [{job_id}] because the job is {self.state(job)}")
        job.blocked = {"reason": "delete"}
        datafeed = self._backend.ml.anomaly.datafeeds.of_job(job_id)
        if datafeed is not None:
            self._backend.ml.anomaly.datafeeds.delete(datafeed.id, force=True)
        self.close_one(job, force=True)
        with self._backend.lock:
            self._erase(job)
            results.remove_aliases(self._backend, job_id)
            self._backend.ml.anomaly.calendars.forget_job(job_id)
            self._jobs.pop(job_id, None)
            self._backend.state.delete(KIND, job_id)
            name = f"{results.RESULTS_PREFIX}{job.config['results_index_name']}-000001"
            shared = any(other.config["results_index_name"] == job.config["results_index_name"] for other in self.all())
            if not shared and job.config["results_index_name"] != "shared" and self._backend.indices.get(name):
                self._backend.indices.drop(name)

    def _erase(self, job: AnomalyJob) -> None:
        results.delete(self._backend, job.id, [])
        self._backend.ml.anomaly.snapshots.forget(job.id)
        self._backend.ml.anomaly.forecasts.forget(job.id)

    def reset(self, job_id: str) -> None:
        """Make a closed job as if it were new."""
        job = self.get(job_id)
        with self._backend.lock, job.lock:
            if job.state != "closed":
                raise conflict("Can only reset a job when it is closed.")
            self._erase(job)
            now = self._backend.clock.now_ms()
            for name in ("model_snapshot_id", "model_snapshot_min_version", "finished_time"):
                job.config.pop(name, None)
            job.counts, job.sizes, job.timing = new_counts(job_id), new_sizes(job_id, now), new_timing(job_id)
            job.last_bucket_end, job.interim = None, False
            self.save(job)

    # Data -----------------------------------------------------------------------------------------------------------

    def post_data(self, job_id: str, documents: list[dict[str, Any]], size: int) -> dict[str, Any]:
        """Analyse documents of a request; the counts of this input alone.

        :param size: bytes of the request's body
        """
        job, process = self.opened(job_id)
        description = job.config["data_description"]
        name, time_format = description["time_field"], description["time_format"]
        summary = job.config["analysis_config"].get("summary_count_field_name")
        rows, invalid = [], 0
        for document in documents:
            moment = _record_time(document.get(name), time_format)
            if moment is None:
                invalid += 1
            else:
                rows.append((moment, document))
        in_order: list[tuple[int, dict[str, Any]]] = []
        late, newest = 0, job.counts.get("latest_record_timestamp", 0)
        floor = process.analysis.floor
        for moment, document in rows:
            # A record before the bucket of its predecessors comes too late; inside a bucket the order is free.
            if moment < floor(newest):
                late += 1
                continue
            newest = max(newest, moment)
            in_order.append((moment, document))
        in_order.sort(key=lambda row: row[0])
        fields = {field: [row[1].get(field) for row in in_order] for field in process.analysis.fields}
        counts = None if summary is None else np.array([float(row[1].get(summary) or 0) for row in in_order])
        records = Records(np.array([row[0] for row in in_order], dtype=np.int64), fields, counts)
        inputs = sum(len(document) - (name in document) for document in documents)
        answer = self._guarded(job, lambda: process.feed(records, input_fields=inputs, input_bytes=size,
                                                         invalid_dates=invalid))  # fmt: skip
        if late:
            with job.lock:
                for counter in (job.counts, answer):
                    counter["out_of_order_timestamp_count"] += late
                    counter["input_record_count"] += late
        self.save(job)
        return answer

    def flush(
        self, job_id: str, *, advance: int | None, skip: int | None, interim: bool = False, start: int | None = None,
        end: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Finish what can be finished and make it visible; in this order (AutodetectControlMsgWriter).

        :param interim: then judge the bucket that is under way, or those in [start, end), as if they ended now
        """
        job, process = self.opened(job_id)
        if skip is not None:
            process.skip(skip)
        if advance is not None:
            self._guarded(job, lambda: process.advance(advance))
        final = self._guarded(job, lambda: process.flush(interim=interim, start=start, end=end))
        self.save(job)
        return {"flushed": True} if final is None else {"flushed": True, "last_finalized_bucket_end": final}

    def _guarded(self, job: AnomalyJob, work: Any) -> Any:
        try:
            return work()
        except ProcessStoppedError:
            raise conflict(f"Cannot perform requested action because job [{job.id}] is not open") from None
        except ElasticError as error:
            self.fail(job, error.reason)
            raise

    # Statistics -----------------------------------------------------------------------------------------------------

    def stats(self, job: AnomalyJob, node: dict[str, Any] | None) -> dict[str, Any]:
        """One entry of `_stats`.

        :param node: where it runs; None where nodes are not shown (the API specification has it for the stack only)
        """
        state = self.state(job)
        with job.lock:
            found: dict[str, Any] = {
                "job_id": job.id, "data_counts": dict(job.counts), "model_size_stats": dict(job.sizes),
                "forecasts_stats": self._backend.ml.anomaly.forecasts.stats(job.id), "state": state,
                "timing_stats": dict(job.timing),
            }  # fmt: skip
            if state != "closed":
                upgrading = self._backend.ml.upgrade_mode
                found["assignment_explanation"] = (
                    UPGRADE_EXPLANATION if upgrading else self._lazy(job) if state == "opening" else ""
                )
                if node is not None and state != "opening" and not upgrading:
                    found["node"] = node
                if job.opened_ms is not None:
                    found["open_time"] = f"{max(0, self._backend.clock.now_ms() - job.opened_ms) // 1000}s"
            if job.blocked is not None and job.blocked["reason"] == "delete":
                found["deleting"] = True
        return found


def _record_time(value: Any, time_format: str) -> int | None:
    """Epoch milliseconds of a record's time field, None when it is no time."""
    if time_format not in {"epoch", "epoch_ms"}:
        raise unsupported(f"data_description.time_format [{time_format}] of posted data")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number * 1000 if time_format == "epoch" else number)
