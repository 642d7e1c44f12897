"""Data frame analytics jobs: create, explain, start, stop, update, delete, and what they report."""

from __future__ import annotations

import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, resource_already_exists
from elastic_sandbox.indices.names import name_problem
from elastic_sandbox.ml.analysis_config import parse_config, parse_update
from elastic_sandbox.ml.encodings import text_of
from elastic_sandbox.ml.field_selection import Selection, merge_mappings, select_fields
from elastic_sandbox.ml.job import KIND, Job, Journal
from elastic_sandbox.ml.job_run import JobRun
from elastic_sandbox.ml.memory import memory_estimation
from elastic_sandbox.ml.rows import load_rows
from elastic_sandbox.ml.strict import bad_request, byte_size, conflict, expand_expression, not_found
from elastic_sandbox.search.request import parse_body

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.indices import Index

START_ACTION: Final = "cluster:admin/xpack/ml/data_frame/analytics/start"
MAX_MEMORY_SETTING: Final = "xpack.ml.max_model_memory_limit"
MAX_CLASSES: Final = 100
PREVIEWED_ROWS: Final = 100
_RESTART_NEEDED = ("model_memory_limit", "max_num_threads")


class AnalyticsJobs:
    """The cluster's data frame analytics jobs and their workers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._jobs: dict[str, Job] = {}
        for job_id, document in backend.state.items(KIND):
            self._jobs[job_id] = Job.from_document(document)

    def halt(self) -> list[threading.Thread]:
        """Stop all workers; the threads that end by and by, those that wait for the cluster's lock when they get it."""
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.stop_requested.set()
        return [job.worker for job in jobs.values() if job.worker is not None]

    def holds(self, job: Job) -> bool:
        """Whether this very job is still one of the cluster's."""
        return self._jobs.get(job.id) is job

    # Configuration --------------------------------------------------------------------------------------------------

    def put(self, job_id: str, body: Any) -> dict[str, Any]:
        """Create a job; returns its configuration with defaults.

        :raises ElasticError: 400 for a bad body or an id in use, 501 for options that are not there.
        """
        config = self._parse(job_id, body)
        with self._backend.lock:
            self._check_source_and_destination(config)
            if job_id in self._jobs:
                raise resource_already_exists(f"A data frame analytics with id [{job_id}] already exists")
            job = Job(config)
            self._backend.state.put(KIND, job_id, job.to_document())
            self._jobs[job_id] = job
        return config

    def _parse(self, job_id: str, body: Any) -> dict[str, Any]:
        now, limit = self._backend.clock.now_ms(), self._backend.ml.max_model_memory_limit
        return parse_config(job_id, body, now_ms=now, max_memory=limit)

    def _check_source_and_destination(self, config: dict[str, Any]) -> None:
        dest: str = config["dest"]["index"]
        problem = name_problem(dest)
        if problem is not None:
            raise ElasticError(
                400,
                "invalid_index_name_exception",
                f"Invalid index name [{dest}], {problem}",
                index_uuid="_na_",
                index=dest,
            )
        problems = []
        sources = []
        for name in config["source"]["index"]:
            if ":" in name and "::" not in name:
                problems.append("remote source indices are not supported")
                continue
            try:
                sources += self._backend.indices.resolve(name)
            except ElasticError as error:
                if error.status == 501:
                    raise
                problems.append(error.reason)
        if dest != dest.lower():
            problems.append(f"Destination index [{dest}] must be lowercase")
        problems += self._destination_problems(dest, {index.name for index in sources}, config["source"]["index"])
        if problems:
            listed = "".join(f"{number}: {text};" for number, text in enumerate(problems, 1))
            raise ElasticError(400, "validation_exception", f"Validation Failed: {listed}")

    def _destination_problems(self, dest: str, sources: set[str], expressions: list[str]) -> list[str]:
        indices = self._backend.indices
        if indices.is_alias(dest):
            targets = indices.alias_targets(dest)
            if len(targets) > 1:
                return [
                    f"no write index is defined for alias [{dest}]. The write index may be explicitly disabled using "
                    "is_write_index=false or the alias points to multiple indices without one being designated as a "
                    "write index"
                ]
            dest = targets[0]
        if dest in sources:
            return [f"Destination index [{dest}] is included in source expression [{','.join(expressions)}]"]
        return []

    def get(self, job_id: str) -> Job:
        """A job by id; 404 when there is none."""
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found(f"No known data frame analytics with id [{job_id}]")
        return job

    def expand(self, expression: str | None, *, allow_no_match: bool) -> list[Job]:
        """The jobs an expression selects, by id.

        :raises ElasticError: 404 for an id that is not there, or for no match at all when allow_no_match is false.
        """
        chosen, missing = expand_expression(expression, self._jobs)
        if missing or (not chosen and not allow_no_match):
            raise not_found(f"No known data frame analytics with id [{','.join(missing) or expression}]")
        return [self._jobs[job_id] for job_id in chosen]

    def update(self, job_id: str, body: Any) -> dict[str, Any]:
        """Change description, memory limit, threads or lazy start; 409 when a running job would need a restart."""
        with self._backend.lock:
            job = self.get(job_id)
            change = parse_update(job_id, body, max_memory=self._backend.ml.max_model_memory_limit)
            with job.lock:
                matters = any(name in change and change[name] != job.config[name] for name in _RESTART_NEEDED)
                if matters and job.state != "stopped":
                    raise conflict(f"Cannot update analytics [{job_id}] unless it's stopped")
                job.config = job.config | change
                self._backend.state.put(KIND, job_id, job.to_document())
                return job.config

    def delete(self, job_id: str, *, force: bool, timeout: float) -> None:
        """Delete a job; its destination index and model stay. A running one only when forced, which stops it first."""
        job = self.get(job_id)
        if job.state != "stopped":
            if not force:
                raise conflict(f"Cannot delete data frame analytics [{job_id}] while its status is [{job.state}]")
            self._stop(job, timeout)
        with self._backend.lock:
            self._jobs.pop(job_id, None)
            self._backend.state.delete(KIND, job_id)

    # Explain --------------------------------------------------------------------------------------------------------

    def reserved_bytes(self) -> int:
        """The memory limits of the jobs that run."""
        running = [job for job in self._jobs.values() if job.state not in {"stopped", "failed"}]
        return sum(byte_size("model_memory_limit", job.config["model_memory_limit"]) for job in running)

    def explain(self, config: dict[str, Any]) -> dict[str, Any]:
        """Field selection and memory estimate for a configuration."""
        selection = self._select(config)
        rows = self._backend.documents.count(",".join(config["source"]["index"]), config["source"]["query"])
        return {
            "field_selection": selection.field_selection,
            "memory_estimation": memory_estimation(rows, len(selection.features)),
        }

    def given_config(self, job_id: str | None, body: Any) -> dict[str, Any]:
        """The configuration `_explain` and `_preview` are about: a stored job's, or a body (`dest` may be missing).

        :raises ElasticError: 400 for neither or both of them, and for an id that selects several jobs.
        """
        if not job_id and not body:
            raise bad_request("Please provide a job [id] or the config object")
        if job_id and body:
            raise bad_request("Please provide either a job [id] or the config object but not both")
        if job_id:
            found = self.expand(job_id, allow_no_match=False)
            if len(found) > 1:
                listed = ", ".join(job.id for job in found)
                raise bad_request(f"expected only one config but matched [{listed}]")
            return found[0].config
        if isinstance(body, dict):
            body = {"dest": {"index": "unused_dest_index"}} | body
            body.pop("id", None)
        return self._parse("dummy", body)

    def preview(self, config: dict[str, Any]) -> list[dict[str, str]]:
        """The first rows as the analysis would read them, values as text; fields without a value are left out."""
        selection = self._select(config)
        source = ",".join(config["source"]["index"])
        hits = islice(self._backend.documents.scan(source, config["source"]["query"]), PREVIEWED_ROWS)
        rows = load_rows(((hit.id, hit.source) for hit in hits), selection)
        columns = dict(rows.columns)
        if selection.dependent_variable is not None:
            columns[selection.dependent_variable] = rows.targets
        shown = {name: [_shown(value) for value in column] for name, column in columns.items()}
        return [
            {name: text for name, column in shown.items() if (text := column[row]) is not None}
            for row in range(len(rows.ids))
        ]

    def _select(self, config: dict[str, Any]) -> Selection:
        indices = self._backend.indices.resolve(",".join(config["source"]["index"]))
        selection = select_fields(config, merge_mappings(indices))
        dependent = selection.dependent_variable
        if selection.kind != "classification" or dependent is None:
            return selection
        distinct = self._distinct_labels(indices, config["source"]["query"], dependent)
        if distinct < 2:
            raise bad_request(f"Field [{dependent}] must have at least [2] distinct values but there were [{distinct}]")
        if distinct > MAX_CLASSES:
            raise bad_request(
                f"Field [{dependent}] must have at most [{MAX_CLASSES}] distinct values but there were at least "
                f"[{distinct}]"
            )
        return selection

    def _distinct_labels(self, indices: list[Index], query: dict[str, Any], path: str) -> int:
        """How many values the dependent variable has, counted up to one more than are allowed."""
        labels = {"labels": {"terms": {"field": path, "size": MAX_CLASSES + 1}}}
        answer = self._backend.search.search(indices, parse_body({"size": 0, "query": query, "aggs": labels}))
        return len(answer["aggregations"]["labels"]["buckets"])

    # Start and stop -------------------------------------------------------------------------------------------------

    def start(self, job_id: str) -> str:
        """Start a job's worker; returns the node's id (empty while it waits for a node).

        :raises ElasticError: 404; 429 in upgrade mode; 409 when it runs; 400 when it has finished or cannot be run.
        """
        backend = self._backend
        job = self.get(job_id)
        if backend.ml.upgrade_mode:
            raise ElasticError(
                429, "status_exception", f"Cannot perform {START_ACTION} action while upgrade mode is enabled"
            )
        with job.lock:
            self._check_startable(job)
        self._check_source_and_destination(job.config)
        self._check_data(job)
        waits = backend.faults.lazy_assignment
        if waits and not job.config["allow_lazy_start"]:
            raise ElasticError(
                429,
                "status_exception",
                f"Could not start data frame analytics task, allocation explanation [No ML nodes with sufficient "
                f"capacity were found for job [{job_id}]]",
            )
        with backend.lock, job.lock:
            self._check_startable(job)
            job.state = "starting"
            job.failure_reason = None
            job.memory_usage = {"peak_usage_bytes": 0, "status": "ok"}
            if job.progress["reindexing"] < 100:
                job.progress = job.progress | dict.fromkeys(job.phases[1:], 0)
            else:  # the analysis starts over, on the copied documents
                job.progress = dict.fromkeys(job.phases, 0) | {"reindexing": 100}
            job.stop_requested = threading.Event()
            Journal(backend, job).save()
            run = JobRun(backend, job)
            job.worker = threading.Thread(target=run, name=f"analytics-{job_id}", daemon=True)
            job.worker.start()
        return "" if waits else backend.tasks.node

    def _check_startable(self, job: Job) -> None:
        if job.running or job.state == "failed":
            raise conflict(f"Cannot start data frame analytics [{job.id}] because it has already been started")
        if job.finished:
            raise bad_request("Cannot start because the job has already finished")

    def _check_data(self, job: Job) -> None:
        """What is checked before the task starts: usable fields, enough classes, documents, an empty destination."""
        source = ",".join(job.config["source"]["index"])
        self._backend.documents.refresh(self._backend.indices.resolve(source))
        selection = self._select(job.config)
        needed = selection.features if selection.dependent_variable is None else []
        filters = [job.config["source"]["query"], *({"exists": {"field": name}} for name in needed)]
        if not self._backend.documents.count(source, {"bool": {"filter": filters}}):
            raise bad_request(
                f"Unable to start {job.id} as no documents in the source indices [{source}] contained all the fields "
                "selected for analysis. If you are relying on automatic field selection then there are currently "
                "mapped fields that do not exist in any indexed documents, and you will have to switch to explicit "
                "field selection and include only fields that exist in indexed documents."
            )
        dest = job.config["dest"]["index"]
        existing = self._backend.indices.resolve(dest, ignore_unavailable=True)
        if existing and not job.begun:
            self._backend.documents.refresh(existing)
            if self._backend.documents.count(dest):
                raise bad_request(f"dest index [{dest}] must be empty")

    def stop(self, expression: str, *, allow_no_match: bool, force: bool, timeout: float) -> None:
        """Stop the selected jobs and wait until they have.

        :raises ElasticError: 404; 409 for a failed job without force; 408 when one does not stop in time.
        """
        jobs = self.expand(expression, allow_no_match=allow_no_match)
        failed = sorted(job.id for job in jobs if job.state == "failed")
        if failed and not force:
            if len(failed) == 1:
                raise conflict(
                    f"cannot close data frame analytics [{failed[0]}] because it failed, use force stop instead"
                )
            listed = ", ".join(failed)
            raise conflict(
                f"one or more data frame analytics are in failed state, use force stop instead. Failed: [{listed}]"
            )
        for job in jobs:
            self._stop(job, timeout)

    def _stop(self, job: Job, timeout: float) -> None:
        with self._backend.lock, job.lock:
            if job.state == "failed":
                job.state = "stopped"
                job.failure_reason = None
                Journal(self._backend, job).save()
                return
            if not job.running:
                return
            job.state = "stopping"
            job.stop_requested.set()
            worker = job.worker
        if worker is not None:
            self._backend.turns.leave()
            worker.join(timeout)
            if worker.is_alive():
                raise ElasticError(
                    408,
                    "status_exception",
                    f"Timed out when waiting for persistent task [data_frame_analytics-{job.id}]",
                )


def _shown(value: Any) -> str | None:
    """A value as the analysis process would be sent it: whole numbers without a fraction."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return text_of(value)
