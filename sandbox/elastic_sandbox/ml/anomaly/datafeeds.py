"""Datafeeds: create, update, delete, start, stop, preview, and what they report.

States, conflicts and words: Elasticsearch's YAML tests `datafeeds_crud`, `get_datafeeds`, `get_datafeed_stats`,
`start_stop_datafeed`, `preview_datafeed`, and its `Messages`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, resource_already_exists
from elastic_sandbox.ml.anomaly.config import parse_job
from elastic_sandbox.ml.anomaly.datafeed_config import check_against_job, parse_datafeed, updated
from elastic_sandbox.ml.anomaly.extraction import Extractor
from elastic_sandbox.ml.anomaly.job import UPGRADE_EXPLANATION, AnomalyJob
from elastic_sandbox.ml.strict import bad_request, conflict, expand_expression, not_found

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

KIND: Final = "anomaly_datafeed"
START_ACTION: Final = "cluster:admin/xpack/ml/datafeed/start"
_PREVIEWED: Final = 1000


@dataclass
class Datafeed:
    """A datafeed between requests and its worker thread."""

    config: dict[str, Any]
    state: str = "stopped"
    timing: dict[str, Any] = field(default_factory=dict)
    asked: tuple[int, int | None] | None = None
    """Start and end of the run that is under way, epoch milliseconds; no end is real-time."""
    real_time: bool = False
    interval: tuple[int, int] | None = None
    closes_job: bool = False
    stop_requested: threading.Event = field(default_factory=threading.Event)
    isolated: bool = False
    worker: threading.Thread | None = None

    @property
    def id(self) -> str:
        """The datafeed's id."""
        return str(self.config["datafeed_id"])

    @property
    def job_id(self) -> str:
        """The job it feeds."""
        return str(self.config["job_id"])

    def to_document(self) -> dict[str, Any]:
        """What is kept in the cluster state."""
        return {"config": self.config, "state": self.state, "timing": self.timing, "asked": self.asked}

    def shown(self, *, exclude_generated: bool = False) -> dict[str, Any]:
        """The datafeed as `GET` answers it; for export without generated values and defaults."""
        config = self.config
        if exclude_generated:
            hidden = {"authorization", "query_delay", "chunking_config"}
            defaults = {"scroll_size": 1000, "query": None, "indices_options": None}
            return {k: v for k, v in config.items() if k not in hidden and defaults.get(k, object()) != v}
        return dict(config)


class Datafeeds:
    """The cluster's datafeeds and their workers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._feeds: dict[str, Datafeed] = {}
        for datafeed_id, kept in backend.state.items(KIND):
            asked = kept["asked"]
            self._feeds[datafeed_id] = Datafeed(kept["config"], kept["state"], kept["timing"],
                                                None if asked is None else (asked[0], asked[1]))  # fmt: skip

    def halt(self) -> list[threading.Thread]:
        """Stop all workers without a trace, as when a node dies; the threads that end by and by."""
        feeds, self._feeds = self._feeds, {}
        for feed in feeds.values():
            feed.isolated = True
            feed.stop_requested.set()
        return [feed.worker for feed in feeds.values() if feed.worker is not None]

    def save(self, feed: Datafeed) -> None:
        """Write a datafeed through, unless it was deleted meanwhile."""
        with self._backend.lock:
            if self._feeds.get(feed.id) is feed:
                self._backend.state.put(KIND, feed.id, feed.to_document())

    # Finding --------------------------------------------------------------------------------------------------------

    def get(self, datafeed_id: str) -> Datafeed:
        """A datafeed by id; 404 when there is none."""
        feed = self._feeds.get(datafeed_id)
        if feed is None:
            raise not_found(f"No datafeed with id [{datafeed_id}] exists")
        return feed

    def of_job(self, job_id: str) -> Datafeed | None:
        """The datafeed of a job."""
        return next((feed for feed in self._feeds.values() if feed.job_id == job_id), None)

    def expand(self, expression: str | None, *, allow_no_match: bool) -> list[Datafeed]:
        """Datafeeds by an expression, by id; 404 for a plain id that is not there, or when nothing may not be."""
        chosen, missing = expand_expression(expression, self._feeds)
        if missing or (not chosen and not allow_no_match):
            raise not_found(f"No datafeed with id [{','.join(missing) or expression}] exists")
        return [self._feeds[datafeed_id] for datafeed_id in chosen]

    # Configuration --------------------------------------------------------------------------------------------------

    def put(self, datafeed_id: str, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """Create a datafeed for a job that has none."""
        config = parse_datafeed(datafeed_id, {k: v for k, v in body.items() if k != "authorization"}, options)
        config["authorization"] = self._backend.authorization
        with self._backend.lock:
            if datafeed_id in self._feeds:
                raise resource_already_exists(f"A datafeed with id [{datafeed_id}] already exists")
            job = self._backend.ml.anomaly.jobs.get(config["job_id"])
            other = self.of_job(job.id)
            if other is not None:
                raise conflict(f"A datafeed [{other.id}] already exists for job [{job.id}]")
            check_against_job(config, job.config)
            feed = self._feeds[datafeed_id] = Datafeed(config, timing=_new_timing(job.id))
            self.save(feed)
        return feed.shown()

    def check_inline(self, job: dict[str, Any], body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """The body of a datafeed inside a job's, checked, its ids defaulting to the job's."""
        body = {"datafeed_id": job["job_id"], "job_id": job["job_id"], **body}
        if body["job_id"] != job["job_id"]:
            raise bad_request(f"datafeed job_id [{body['job_id']}] does not match job_id [{job['job_id']}]")
        config = parse_datafeed(body["datafeed_id"], body, options)
        if body["datafeed_id"] in self._feeds:
            raise resource_already_exists(f"A datafeed with id [{body['datafeed_id']}] already exists")
        check_against_job(config, job)
        return config

    def update(self, datafeed_id: str, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """Change a stopped datafeed."""
        with self._backend.lock:
            feed = self.get(datafeed_id)
            if feed.state != "stopped":
                raise conflict(f"Cannot update datafeed [{datafeed_id}] while its status is {feed.state}")
            # It runs with the rights of whoever updated it last (update datafeeds API, documentation).
            config = updated(feed.config, body, options) | {"authorization": self._backend.authorization}
            check_against_job(config, self._backend.ml.anomaly.jobs.get(feed.job_id).config)
            feed.config = config
            self.save(feed)
        return feed.shown()

    def delete(self, datafeed_id: str, *, force: bool) -> None:
        """Delete a datafeed; a running one only when forced."""
        feed = self.get(datafeed_id)
        if feed.state != "stopped":
            if not force:
                raise conflict(f"Cannot delete datafeed [{datafeed_id}] while its status is {feed.state}")
            self.stop_one(feed, force=True, timeout=20)
        with self._backend.lock:
            self._feeds.pop(datafeed_id, None)
            self._backend.state.delete(KIND, datafeed_id)

    # Start and stop -------------------------------------------------------------------------------------------------

    def start(self, datafeed_id: str, start: int, end: int | None) -> str:
        """Start a datafeed; the node's id.

        :param start: epoch milliseconds; a datafeed that has run before continues behind what it has seen
        :param end: exclusive; None goes on in real time
        :raises ElasticError: 404, 409 for states, 400 for a bad range or field, 429 in upgrade mode
        """
        if self._backend.ml.upgrade_mode:
            raise ElasticError(
                429, "status_exception", f"Cannot perform {START_ACTION} action while upgrade mode is enabled"
            )
        if end is not None and end <= start:
            raise bad_request(f"Invalid datafeed range: start [{start}] must be earlier than end [{end}]")
        feed = self.get(datafeed_id)
        jobs = self._backend.ml.anomaly.jobs
        job = jobs.get(feed.job_id)
        check_against_job(feed.config, job.config)
        state = jobs.state(job)
        if state not in {"opening", "opened"}:
            raise conflict(f"cannot start datafeed [{datafeed_id}] because job [{job.id}] is {state}")
        Extractor(self._backend, feed.config, job.config)
        with self._backend.lock:
            if feed.state != "stopped":
                raise conflict(f"cannot start datafeed [{datafeed_id}] because it has already been started")
            feed.asked = (start, end)
            self._run(feed, job)
            self.save(feed)
        return "" if state == "opening" else self._backend.tasks.node

    def _run(self, feed: Datafeed, job: AnomalyJob) -> None:
        from elastic_sandbox.ml.anomaly.datafeed_run import DatafeedRun

        with self._backend.lock:  # whoever stops it must find a thread that can be joined
            feed.state = "starting" if job.state == "opening" else "started"
            feed.real_time, feed.interval, feed.isolated, feed.closes_job = False, None, False, False
            feed.stop_requested = threading.Event()
            feed.worker = threading.Thread(
                target=DatafeedRun(self._backend, feed, job), name=f"datafeed-{feed.id}", daemon=True
            )
            feed.worker.start()

    def resume(self) -> None:
        """After a restart: datafeeds that ran go on, each job from its last snapshot, as after a node was lost.

        Results behind the snapshot are deleted first, so that going over that data again gives what it gave.
        """
        anomaly = self._backend.ml.anomaly
        for job in anomaly.jobs.all():
            if job.state in {"closed", "failed"}:
                continue
            feed = self.of_job(job.id)
            if job.state == "closing":
                job.state = "closed"
                anomaly.jobs.save(job)
                continue
            if feed is not None and feed.state != "stopped":
                snapshot_id = job.config.get("model_snapshot_id", "empty")
                anomaly.snapshots.revert(job, snapshot_id, delete_intervening=True)
            job.state = "opening"
            anomaly.jobs.state(job)
            if feed is not None and feed.state in {"started", "starting"} and feed.asked is not None:
                self._run(feed, job)
        for feed in self._feeds.values():
            if feed.state != "stopped" and feed.worker is None:
                feed.state = "stopped"
                self.save(feed)

    def stop(self, expression: str, *, allow_no_match: bool, force: bool, timeout: float, close_job: bool) -> None:
        """Stop datafeeds and wait until they have; no error when they are stopped already."""
        for feed in self.expand(expression, allow_no_match=allow_no_match):
            ran = feed.state != "stopped"
            self.stop_one(feed, force=force, timeout=timeout)
            if close_job and ran:
                self._backend.ml.anomaly.jobs.close_one(self._backend.ml.anomaly.jobs.get(feed.job_id), force=force)

    def stop_one(self, feed: Datafeed, *, force: bool, timeout: float) -> None:
        """Stop one datafeed; a forced stop does not wait for the search that is under way to be analysed."""
        with self._backend.lock:
            if feed.state == "stopped":
                return
            feed.state, feed.isolated = "stopping", force
            feed.stop_requested.set()
            worker = feed.worker
        if worker is not None and worker is not threading.current_thread():
            self._backend.turns.leave()
            worker.join(timeout)
            if worker.is_alive():
                raise ElasticError(
                    408,
                    "status_exception",
                    f"Timed out when waiting for datafeed [{feed.id}] to stop",
                )
        feed.state = "stopped"
        self.save(feed)

    # Preview and statistics -----------------------------------------------------------------------------------------

    def preview(
        self, datafeed_id: str | None, body: dict[str, Any], start: int | None, end: int | None
    ) -> list[dict[str, Any]]:
        """The first records a datafeed would send: of a stored one, or of a datafeed and a job in the body."""
        jobs = self._backend.ml.anomaly.jobs
        feed_body, job_body = body.get("datafeed_config"), body.get("job_config")
        if datafeed_id is not None:
            if feed_body is not None or job_body is not None:
                raise bad_request(
                    "[datafeed_id] cannot be supplied when either [job_config] or [datafeed_config] is supplied"
                )
            config = self.get(datafeed_id).config
            job = jobs.get(config["job_id"]).config
        else:
            inline = (job_body or {}).get("datafeed_config")
            if (feed_body is None) == (inline is None):
                raise bad_request("[datafeed_config] must be supplied once: in the body, or in its [job_config]")
            feed_body = dict(feed_body or inline or {})
            if job_body is None:
                job = jobs.get(str(feed_body.get("job_id"))).config
            else:
                job = parse_job(None, job_body, now_ms=0, max_memory=None)
            config = parse_datafeed(None, {"job_id": job["job_id"], **feed_body}, {})
            check_against_job(config, job)
        extractor = Extractor(self._backend, config, job)
        time_field = job["data_description"]["time_field"]
        if "aggregations" in config:
            return extractor.flattened(start, end, _PREVIEWED)
        records = extractor.read(start, end, min(_PREVIEWED, config["scroll_size"]))
        rows = []
        for number, moment in enumerate(records.times.tolist()):
            row = {time_field: moment}
            row |= {name: values[number] for name, values in records.fields.items() if values[number] is not None}
            rows.append(row)
        return rows

    def stats(self, feed: Datafeed, node: dict[str, Any] | None) -> dict[str, Any]:
        """One entry of `_stats`; node None where nodes are not shown."""
        jobs = self._backend.ml.anomaly.jobs
        jobs.state(jobs.get(feed.job_id))
        found: dict[str, Any] = {"datafeed_id": feed.id, "state": feed.state, "timing_stats": dict(feed.timing)}
        if feed.state == "stopped":
            return found
        upgrading = self._backend.ml.upgrade_mode
        waiting = feed.state == "starting"
        found["assignment_explanation"] = (
            UPGRADE_EXPLANATION if upgrading else
            f"cannot start datafeed [{feed.id}], because the job's [{feed.job_id}] state is [opening] while state "
            "[opened] is required" if waiting else ""
        )  # fmt: skip
        if node is not None and not waiting and not upgrading:
            found["node"] = node
        if not waiting and feed.asked is not None:
            running: dict[str, Any] = {
                "real_time_configured": feed.asked[1] is None, "real_time_running": feed.real_time,
            }  # fmt: skip
            if feed.interval is not None:
                running["search_interval"] = {"start_ms": feed.interval[0], "end_ms": feed.interval[1]}
            found["running_state"] = running
        return found


def _new_timing(job_id: str) -> dict[str, Any]:
    return {
        "job_id": job_id, "search_count": 0, "bucket_count": 0, "total_search_time_ms": 0.0,
        "exponential_average_search_time_per_hour_ms": 0.0,
    }  # fmt: skip
