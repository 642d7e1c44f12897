"""The ingest part: stored pipelines, and running documents through them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from elastic_sandbox.errors import ElasticError, illegal_argument, resource_not_found, unsupported
from elastic_sandbox.ingest.definition import compile_pipeline
from elastic_sandbox.ingest.document import DROPPED, Failure, IngestDocument, Result
from elastic_sandbox.ingest.pipeline import Counter, Pipeline

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

KIND: Final = "pipeline"
_NONE: Final = "_none"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a document left ingest.

    `kept`: index `document` as it is now, under its (possibly new) `_id`. `dropped`: the write is a no-op. `failed`:
    `error`, with the place it happened in; `pipeline_trace` leads to `pipeline`, outermost first.
    """

    document: IngestDocument
    state: Literal["kept", "dropped", "failed"]
    error: ElasticError | None = None
    pipeline: str | None = None
    processor_type: str | None = None
    processor_tag: str | None = None
    pipeline_trace: tuple[str, ...] = ()


class Ingest:
    """Stored pipelines, compiled on first use, and their counters since the start of the process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.RLock()
        self._compiled: dict[str, Pipeline] = {}
        self._total = Counter()
        self._running = threading.local()

    def reset(self) -> None:
        """Forget compiled pipelines and counters; the definitions go with the cluster state."""
        with self._lock:
            self._compiled.clear()
            self._total = Counter()

    def close(self) -> None:
        """Nothing is held open."""

    # definitions

    def put(self, pipeline_id: str, body: dict[str, Any]) -> None:
        """Create or replace a pipeline; counters of an unchanged one go on."""
        pipeline = compile_pipeline(self._backend, pipeline_id, body)
        with self._lock:
            stored = self._backend.state.get(KIND, pipeline_id)
            now = self._backend.clock.now_ms()
            created = now
            if stored is not None:
                if stored["body"] == body:
                    return
                created = stored["created_date_millis"]
            document = {"body": body, "created_date_millis": created, "modified_date_millis": now}
            self._backend.state.put(KIND, pipeline_id, document)
            _carry_over_counters(self._compiled.get(pipeline_id), pipeline)
            self._compiled[pipeline_id] = pipeline

    def definition(self, pipeline_id: str) -> dict[str, Any] | None:
        """A pipeline as it was put, or None."""
        stored = self._backend.state.get(KIND, pipeline_id)
        return None if stored is None else stored["body"]

    def definitions(self, expression: str = "*") -> dict[str, dict[str, Any]]:
        """Pipelines by id as `GET _ingest/pipeline` shows them, with the dates the server adds since 9.2."""
        found = {}
        for name in self.names(expression):
            stored = self._backend.state.get(KIND, name)
            if stored is not None:
                dates = {key: stored[key] for key in ("created_date_millis", "modified_date_millis")}
                found[name] = {**stored["body"], **dates}
        return found

    def names(self, expression: str = "*") -> list[str]:
        """Ids that match a comma-separated list of ids and wildcards, sorted."""
        patterns = expression.split(",")
        return [
            name
            for name in self._backend.state.names(KIND)
            if any(fnmatchcase(name, pattern.replace("[", "[[]")) for pattern in patterns)
        ]

    def delete(self, expression: str) -> None:
        """Delete by id or wildcard; 404 when nothing matches, 400 when an index still uses one of them."""
        with self._lock:
            names = self.names(expression)
            if not names and expression != "*":
                raise resource_not_found(f"pipeline [{expression}] is missing")
            for name in names:
                self._refuse_when_used(name)
            for name in names:
                self._backend.state.delete(KIND, name)
                self._compiled.pop(name, None)

    def _refuse_when_used(self, name: str) -> None:
        uses = []
        for setting, word in (("index.default_pipeline", "default"), ("index.final_pipeline", "final")):
            indices = [
                index.name
                for index in self._backend.indices.resolve("*", expand_wildcards="all")
                if index.settings.get(setting) == name
            ]
            if indices:
                listed = ",".join(sorted(indices)[:3])
                uses.append(f"the {word} pipeline for {len(indices)} index(es) including [{listed}]")
        if uses:
            raise illegal_argument(f"pipeline [{name}] cannot be deleted because it is {' and '.join(uses)}")

    def pipeline(self, pipeline_id: str) -> Pipeline | None:
        """The compiled pipeline, or None when there is none of that id."""
        found = self._compiled.get(pipeline_id)
        if found is not None:
            return found
        with self._lock:
            body = self.definition(pipeline_id)
            if body is None:
                return None
            pipeline = self._compiled.get(pipeline_id)
            if pipeline is None:
                pipeline = self._compiled[pipeline_id] = compile_pipeline(self._backend, pipeline_id, body)
            return pipeline

    def pipelines_with(self, type_name: str, option: str, value: str) -> list[str]:
        """Ids of pipelines that hold a processor of a type, anywhere in them, whose `option` is `value`."""
        names = []
        for name in self.names():
            body = self.definition(name) or {}
            if any(found.get(option) == value for found in _configurations(body, type_name)):
                names.append(name)
        return names

    # running

    def run(self, documents: list[IngestDocument], pipelines: list[str]) -> list[Outcome]:
        """Run a batch through pipelines, in order (the default pipeline, then the final one).

        Documents are changed in place. The outcomes are in the order of the documents.
        """
        for document in documents:
            document.ingest.setdefault("timestamp", self._backend.clock.now_iso())
        results: list[Result] = [None] * len(documents)
        alive = list(range(len(documents)))
        started = self._total.begin(len(documents))
        try:
            for position, pipeline_id in enumerate(name for name in pipelines if name and name != _NONE):
                batch = [documents[index] for index in alive]
                outcomes = self._run_one(pipeline_id, batch, first=position == 0)
                for index, outcome in zip(alive, outcomes, strict=True):
                    results[index] = outcome
                alive = [index for index in alive if results[index] is None]
                if not alive:
                    break
        finally:
            failed = sum(isinstance(result, Failure) for result in results)
            self._total.end(len(documents), failed, started)
        return [_outcome(document, result) for document, result in zip(documents, results, strict=True)]

    def _run_one(self, pipeline_id: str, documents: list[IngestDocument], *, first: bool) -> list[Result]:
        pipeline = self.pipeline(pipeline_id)
        if pipeline is None:
            error = illegal_argument(f"pipeline with id [{pipeline_id}] does not exist")
            return [Failure(error, "pipeline", None, pipeline_id)] * len(documents)
        indices = [document.metadata.get("_index") for document in documents]
        if first:
            pipeline.bytes_in += sum(len(document.encoded or orjson.dumps(document.source)) for document in documents)
        results = self.execute(pipeline, documents)
        produced = 0
        for position, document in enumerate(documents):
            if results[position] is not None:
                continue
            if document.metadata.get("_index") != indices[position]:
                raise unsupported(f"a pipeline that changes _index (pipeline [{pipeline_id}])")
            try:
                # The copy gives back what orjson over-allocates.
                document.encoded = bytes(memoryview(orjson.dumps(document.source)))
                produced += len(document.encoded)
            except TypeError:  # a script put ctx, or a map into itself, where only JSON can be
                error = illegal_argument(f"Failed to generate the source document for ingest pipeline [{pipeline_id}]")
                results[position] = Failure(error, "pipeline", None, pipeline_id)
        if first:
            pipeline.bytes_out += produced
        return results

    def execute(self, pipeline: Pipeline, documents: list[IngestDocument]) -> list[Result]:
        """Run one compiled pipeline inside the calling ones; a pipeline that calls itself fails its documents."""
        stack: list[str] = getattr(self._running, "stack", [])
        if pipeline.id in stack:
            error = ElasticError(500, "illegal_state_exception", f"Cycle detected for pipeline: {pipeline.id}")
            return [error] * len(documents)
        self._running.stack = [*stack, pipeline.id]
        try:
            return pipeline.run(documents)
        finally:
            self._running.stack = stack

    # statistics

    def stats(self, pipeline_ids: list[str] | None = None) -> dict[str, Any]:
        """The `ingest` section of `_nodes/stats`, for some pipelines or all; `total` is of all documents."""
        names = self.names() if pipeline_ids is None else pipeline_ids
        found = {}
        for name in names:
            pipeline = self.pipeline(name)
            if pipeline is None:
                continue
            processors = [
                {step.display_name: {"type": step.display_type, "stats": step.counter.to_json()}}
                for step in pipeline.steps
            ]
            found[name] = {
                **pipeline.counter.to_json(),
                "ingested_as_first_pipeline_in_bytes": pipeline.bytes_in,
                "produced_as_first_pipeline_in_bytes": pipeline.bytes_out,
                "processors": processors,
            }
        return {"total": self._total.to_json(), "pipelines": found}


def _outcome(document: IngestDocument, result: Result) -> Outcome:
    if result is None:
        return Outcome(document, "kept")
    if isinstance(result, Failure):
        return Outcome(
            document,
            "failed",
            result.error,
            result.pipeline,
            result.processor_type,
            result.processor_tag,
            result.trace,
        )
    if isinstance(result, ElasticError):
        return Outcome(document, "failed", result)
    assert result is DROPPED
    return Outcome(document, "dropped")


def _carry_over_counters(old: Pipeline | None, new: Pipeline) -> None:
    """Keep the counters over a replacement, as the server does: per processor only when the types still line up."""
    if old is None:
        return
    new.counter = old.counter
    new.bytes_in, new.bytes_out = old.bytes_in, old.bytes_out
    if [step.display_name for step in old.steps] == [step.display_name for step in new.steps]:
        for before, after in zip(old.steps, new.steps, strict=True):
            after.counter = before.counter


def _configurations(node: Any, type_name: str) -> list[dict[str, Any]]:
    found = []
    if isinstance(node, dict):
        for key, value in node.items():
            if key == type_name and isinstance(value, dict):
                found.append(value)
            found += _configurations(value, type_name)
    elif isinstance(node, list):
        for item in node:
            found += _configurations(item, type_name)
    return found
