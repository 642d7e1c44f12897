"""The cluster's transforms: created, started, stopped, changed, previewed.

States, conflicts and words: transforms_crud.yml, transforms_start_stop.yml, transforms_update.yml and
preview_transforms.yml of Elastic's YAML tests; TransformMessages for the sentences they do not spell out.
"""

from __future__ import annotations

import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import (
    ElasticError,
    action_request_validation,
    illegal_argument,
    resource_already_exists,
    resource_not_found,
    status_exception,
    unsupported,
)
from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.ml.strict import expand_expression, matches
from elastic_sandbox.search.dates import bound
from elastic_sandbox.search.failures import ShardFailure
from elastic_sandbox.transform.config import CONFIG_VERSION, Config, check_function, parse_config, parse_update
from elastic_sandbox.transform.pivot import Pivot
from elastic_sandbox.transform.transform import KIND, Checkpoint, Transform, zero_counters
from elastic_sandbox.transform.worker import Worker

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

PREVIEW_BUCKETS = 100


class Transforms:
    """`backend.transforms`; a transform that was started before the process ended goes on when it begins again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._transforms = {name: Transform.from_document(doc) for name, doc in backend.state.items(KIND)}

    def resume(self) -> None:
        """Go on with what was started before the process ended; called once all parts exist."""
        for transform in self._transforms.values():
            if transform.task == "started":
                self._work(transform)

    def halt(self) -> list[threading.Thread]:
        """Stop all workers; the threads that end by and by. What they do is as it was saved."""
        transforms, self._transforms = self._transforms, {}
        for transform in transforms.values():
            transform.stop_requested.set()
        return [transform.worker for transform in transforms.values() if transform.worker is not None]

    def reset(self) -> None:
        """Forget everything; the workers were halted."""
        self._transforms = {}

    def close(self) -> None:
        """Nothing is left to do: the workers were halted, started transforms stay started."""

    def runs(self, transform: Transform, stop: threading.Event) -> bool:
        """Whether the worker with this stop event is still the one of a transform of this cluster."""
        return self._transforms.get(transform.id) is transform and transform.stop_requested is stop

    def sequences(self, config: Config) -> dict[str, int]:
        """Highest sequence number of each source index, by its uuid; what is missing is left out."""
        documents = self._backend.documents
        found = self._backend.indices.resolve(",".join(config["source"]["index"]), ignore_unavailable=True)
        return {index.uuid: documents.max_seq_no(index) for index in found}

    # Configuration --------------------------------------------------------------------------------------------------

    def put(self, name: str, body: Any, *, defer_validation: bool) -> None:
        """Create a transform; it does not run yet."""
        config = parse_config(name, body, now_ms=self._backend.clock.now_ms())
        config["authorization"] = self._backend.authorization
        with self._backend.lock:
            self._validate(config, defer=defer_validation)
            if name in self._transforms:
                raise resource_already_exists(f"Transform with id [{name}] already exists")
            transform = Transform(config)
            transform.save(self._backend)
            self._transforms[name] = transform

    def update(self, name: str, body: Any, *, defer_validation: bool) -> Config:
        """Change what can be changed; a running transform takes it up at its next checkpoint."""
        with self._backend.lock:
            transform = self.get(name)
            # It runs with the rights of whoever updated it last (update transforms API, documentation).
            config = parse_update(transform.config, body) | {"authorization": self._backend.authorization}
            self._validate(config, defer=defer_validation)
            with transform.lock:
                transform.config = config
                transform.save(self._backend)
            return config

    def get(self, name: str) -> Transform:
        """A transform by id; 404 when there is none."""
        transform = self._transforms.get(name)
        if transform is None:
            raise _not_found(name)
        return transform

    def expand(self, expression: str | None, *, allow_no_match: bool) -> list[Transform]:
        """The transforms an expression selects, by id."""
        chosen, missing = expand_expression(expression, self._transforms)
        if missing or (not chosen and not allow_no_match):
            raise _not_found(",".join(missing) or str(expression))
        return [self._transforms[name] for name in chosen]

    def delete(self, name: str, *, force: bool, delete_dest_index: bool) -> None:
        """Delete a transform, and on request its destination; a running one only when forced."""
        with self._backend.lock:
            transform = self.get(name)
            if transform.task != "stopped":
                if not force:
                    raise _running("delete", name)
                self._stop(transform)
            dest = transform.config["dest"]["index"]
            if delete_dest_index and self._backend.indices.get(dest) is not None:
                self._backend.indices.delete(dest)
            self._transforms.pop(name, None)
            self._backend.state.delete(KIND, name)

    def reset_one(self, name: str, *, force: bool) -> None:
        """Forget checkpoints and counters, and delete the destination if the transform created it."""
        with self._backend.lock:
            transform = self.get(name)
            if transform.task != "stopped":
                if not force:
                    raise _running("reset", name)
                self._stop(transform)
            index = self._backend.indices.get(transform.config["dest"]["index"])
            if index is not None and index.mapping.to_json().get("_meta", {}).get("created_by") == "transform":
                self._backend.indices.delete(index.name)
            with transform.lock:
                transform.last, transform.counters = Checkpoint(), zero_counters()
                transform.changes_ms = transform.searched_ms = 0
                transform.save(self._backend)

    def _validate(self, config: Config, *, defer: bool) -> None:
        check_function(config)
        if defer:
            # What a search of the source would refuse is found when the transform starts.
            return
        self._check_source_and_destination(config)
        self._check_pipeline(config)
        Pivot(self._backend, config).search(config["source"]["query"], {})

    def _check_pipeline(self, config: Config) -> None:
        pipeline = config["dest"].get("pipeline")
        if pipeline is not None and self._backend.state.get("pipeline", pipeline) is None:
            raise status_exception(400, f"Pipeline with id [{pipeline}] could not be found")

    def _check_source_and_destination(self, config: Config) -> None:
        indices, problems, sources = self._backend.indices, [], []
        for expression in config["source"]["index"]:
            if ":" in expression and "::" not in expression:
                raise unsupported("a remote source index of a transform")
            try:
                sources += [index.name for index in indices.resolve(expression)]
            except ElasticError as error:
                if error.status == 501:
                    raise
                problems.append(error.reason)
        problems += self._destination_problems(config["dest"]["index"], sources, config["source"]["index"])
        if problems:
            numbered = "".join(f"{number}: {problem};" for number, problem in enumerate(problems, 1))
            raise ElasticError(400, "validation_exception", f"Validation Failed: {numbered}")

    def _destination_problems(self, dest: str, sources: list[str], expressions: list[str]) -> list[str]:
        """As SourceDestValidator: by the expressions first, then by what they and an alias stand for."""
        included = "Destination index [{}] is included in source expression [{}]"
        if found := [included.format(dest, part) for part in expressions if matches(part, dest)]:
            return found
        if not self._backend.indices.is_alias(dest):
            return [included.format(dest, ",".join(expressions))] if dest in sources else []
        targets = self._backend.indices.alias_targets(dest)
        if len(targets) > 1:
            return [
                f"no write index is defined for alias [{dest}]. The write index may be explicitly disabled using "
                "is_write_index=false or the alias points to multiple indices without one being designated as a "
                "write index"
            ]
        return [included.format(targets[0], ",".join(sorted(sources)))] if targets[0] in sources else []

    # Start and stop -------------------------------------------------------------------------------------------------

    def start(self, name: str, *, from_text: str | None) -> None:
        """Start a transform: its destination is made if it is not there, then its worker."""
        with self._backend.lock:
            transform = self.get(name)
            start_ms = 0 if from_text is None else self._from(transform, from_text)
            self._check_pipeline(transform.config)
            self._check_source_and_destination(transform.config)
            check_function(transform.config)
            if transform.task == "failed":
                raise status_exception(
                    409,
                    f"Unable to start transform [{name}] as it is in a failed state with failure: "
                    f"[{transform.reason}]. Use force stop and then restart the transform once error is resolved.",
                )
            if transform.task == "started":
                raise status_exception(409, f"Cannot start transform [{name}] as it is already started.")
            if not transform.continuous and transform.last.number:
                # Whether a completed batch transform works again depends on its source's shards: not decided here.
                raise unsupported(
                    f"starting batch transform [{name}] once more after it has completed, without _reset,"
                )
            self._make_destination(transform.config)
            with transform.lock:
                if start_ms:
                    transform.last = Checkpoint(upper_ms=start_ms)
                transform.task, transform.failures = "started", 0
                transform.stop_requested, transform.stop_at_checkpoint = threading.Event(), False
                transform.save(self._backend)
            self._work(transform)

    def _from(self, transform: Transform, text: str) -> int:
        if not transform.continuous:
            raise illegal_argument("[from] parameter is currently not supported for batch (non-continuous) transforms")
        try:
            now = self._backend.clock.now_ms()
            return bound(text, "strict_date_optional_time||epoch_millis", UTC, now, round_up=False)
        except ShardFailure:
            raise ElasticError(400, "parse_exception", "Failed to parse date for [from]") from None

    def _work(self, transform: Transform) -> None:
        worker = Worker(self._backend, transform)
        transform.worker = threading.Thread(target=worker, name=f"transform-{transform.id}", daemon=True)
        transform.worker.start()

    def _make_destination(self, config: Config) -> None:
        dest = config["dest"]["index"]
        if not self._backend.indices.resolve(dest, ignore_unavailable=True):
            body = self._generated_index(config)
            self._backend.indices.create(dest, {key: body[key] for key in ("settings", "mappings")}, internal=True)

    def _generated_index(self, config: Config) -> dict[str, Any]:
        mappings: dict[str, Any] = {
            "_meta": {
                "created_by": "transform",
                "_transform": {
                    "transform": config["id"],
                    "version": {"created": CONFIG_VERSION},
                    "creation_date_in_millis": self._backend.clock.now_ms(),
                },
            }
        }
        if config["settings"].get("deduce_mappings", True):
            deduced = Pivot(self._backend, config).deduced()
            mappings["properties"] = {path: {"type": type_} for path, type_ in sorted(deduced.items())}
        settings = {"index": {"number_of_shards": "1", "auto_expand_replicas": "0-1"}}
        return {"mappings": mappings, "settings": settings, "aliases": {}}

    def stop(
        self, expression: str, *, allow_no_match: bool, force: bool, wait_seconds: float | None, at_checkpoint: bool
    ) -> None:
        """Stop the selected transforms.

        :param wait_seconds: wait so long for their workers to end; 408 when they do not. None does not wait.
        :param at_checkpoint: let a checkpoint that is being made come to its end
        """
        if force and at_checkpoint:
            raise action_request_validation(["cannot set both [force] and [wait_for_checkpoint] to true"])
        transforms = self.expand(expression, allow_no_match=allow_no_match)
        failed = [transform for transform in transforms if transform.task == "failed"]
        if failed and not force:
            raise _failed_stop(failed)
        self._backend.turns.leave()
        workers = [(t.id, worker) for t in transforms if (worker := self._ask_to_stop(t, at_checkpoint)) is not None]
        for name, worker in workers:
            worker.join(wait_seconds if wait_seconds is not None else 0.0)
            if wait_seconds is not None and worker.is_alive():
                timeout = f"{wait_seconds:g}s"
                raise status_exception(408, f"Timed out after [{timeout}] while waiting for transform [{name}] to stop")

    def _ask_to_stop(self, transform: Transform, at_checkpoint: bool) -> threading.Thread | None:
        with self._backend.lock, transform.lock:
            if transform.task == "failed":
                self._stop(transform)
                return None
            if transform.task != "started":
                return None
            if at_checkpoint and transform.next is not None:
                transform.stop_at_checkpoint = True
            else:
                transform.stop_requested.set()
            return transform.worker

    def _stop(self, transform: Transform) -> None:
        """At once: the worker finds that it is no longer the transform's, and ends without writing."""
        with transform.lock:
            transform.stop_requested.set()
            transform.stop_requested = threading.Event()
            transform.task, transform.reason, transform.next, transform.failures = "stopped", None, None, 0
            transform.stop_at_checkpoint = transform.indexing = False
            transform.save(self._backend)

    # Preview --------------------------------------------------------------------------------------------------------

    def preview(self, name: str | None, body: Any) -> dict[str, Any]:
        """The first documents that a transform would write, through its pipeline, and the index it would make."""
        if name is None and not body:
            raise illegal_argument("Please provide a transform [id] or the config object")
        if name is not None and body:
            raise illegal_argument("Please provide either a transform [id] or the config object but not both")
        if name is not None:
            config = self.get(name).config
        else:
            body = {**body, "dest": {"index": "unused-transform-preview-index", **(body.get("dest") or {})}}
            config = parse_config(body.get("id", "transform-preview"), body, now_ms=self._backend.clock.now_ms())
        self._check_source_and_destination(config)
        self._check_pipeline(config)
        check_function(config)
        pivot = Pivot(self._backend, config)
        read = pivot.reader(pivot.deduced())
        pages = pivot.buckets(config["source"]["query"], limit=PREVIEW_BUCKETS)
        found = [read(bucket) for buckets in pages for bucket in buckets]
        preview = [source for _, source in found]
        if (pipeline := config["dest"].get("pipeline")) is not None:
            preview = self._through(pipeline, config["dest"]["index"], found)
        return {"preview": preview, "generated_dest_index": self._generated_index(config)}

    def _through(self, pipeline: str, dest: str, found: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        from elastic_sandbox.ingest.document import IngestDocument

        ingest = {"timestamp": format_date(self._backend.clock.now_ms())}
        documents = [IngestDocument(source, {"_index": dest, "_id": i}, dict(ingest)) for i, source in found]
        outcomes = self._backend.ingest.run(documents, [pipeline])
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [d.source for d, outcome in zip(documents, outcomes, strict=True) if outcome.state != "dropped"]


def _not_found(name: str) -> ElasticError:
    return resource_not_found(f"Transform with id [{name}] could not be found")


def _running(verb: str, name: str) -> ElasticError:
    return status_exception(409, f"Cannot {verb} transform [{name}] as the task is running. Stop the task first")


def _failed_stop(failed: list[Transform]) -> ElasticError:
    if len(failed) == 1:
        return status_exception(
            409,
            f"Unable to stop transform [{failed[0].id}] as it is in a failed state with reason [{failed[0].reason}]. "
            "Use force stop to stop the transform.",
        )
    names, reasons = (", ".join(str(getattr(t, n)) for t in failed) for n in ("id", "reason"))
    return status_exception(
        409,
        f"Unable to stop transforms. The following transforms are in a failed state [{names}] with reasons "
        f"[{reasons}]. Use force stop to stop the transforms.",
    )
