"""Pipelines as they run: steps over batches of documents, conditions, failure handling and counters.

A batch goes through one step after the other, so that a step (an inference) sees all its documents at once; documents
never look at each other, so the result is the same as one by one. What fails or is dropped leaves the batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import Failure, IngestDocument, Result
from elastic_sandbox.ingest.processors import Processor
from elastic_sandbox.painless import Script

_FAILURE_FIELDS: Final = (
    "on_failure_message",
    "on_failure_processor_type",
    "on_failure_processor_tag",
    "on_failure_pipeline",
)


class Counter:
    """What `_nodes/stats` and `_ml/trained_models/_stats` count of a pipeline or a processor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.count = 0
        self.failed = 0
        self.current = 0
        self.nanoseconds = 0

    def begin(self, documents: int) -> int:
        """Note documents under way; answers the start time for `end`."""
        with self._lock:
            self.current += documents
        return time.perf_counter_ns()

    def end(self, documents: int, failed: int, started: int) -> None:
        """Note documents as done."""
        elapsed = time.perf_counter_ns() - started
        with self._lock:
            self.current -= documents
            self.count += documents
            self.failed += failed
            self.nanoseconds += elapsed

    def to_json(self) -> dict[str, int]:
        """`{count, time_in_millis, current, failed}`."""
        return {
            "count": self.count,
            "time_in_millis": self.nanoseconds // 1_000_000,
            "current": self.current,
            "failed": self.failed,
        }


@dataclass
class Condition:
    """An `if`: its source and the compiled script with its params."""

    script: Script
    params: dict[str, Any]

    def holds(self, document: IngestDocument) -> bool:
        """Whether the document passes; raises the script's error."""
        return self.script.test(document.ctx(read_only=True), self.params)


@dataclass
class Step:
    """One processor in its place in a pipeline."""

    type: str
    tag: str | None
    description: str | None
    processor: Processor
    pipeline_id: str
    condition: Condition | None = None
    ignore_failure: bool = False
    on_failure: list[Step] = field(default_factory=list)
    counter: Counter = field(default_factory=Counter)

    @property
    def display_name(self) -> str:
        """The key of the step in statistics: `type:tag`, `pipeline:<name>:tag`.

        One with both an `if` and failure handling has the server's stranger name, `compound:CompoundProcessor-<tags>`.
        """
        if self.condition is not None and (self.ignore_failure or self.on_failure):
            return "compound:CompoundProcessor-" + "-".join(self._compound_tags())
        name = getattr(self.processor, "display_name", None)
        return ":".join(part for part in (self.type, name, self.tag) if part)

    @property
    def display_type(self) -> str:
        """The type in statistics: `conditional` for a step with an `if`."""
        return self.type if self.condition is None else "conditional"

    def _compound_tags(self) -> list[str]:
        """The tags a compound processor is named by: its own, then those of its failure handlers."""
        tags = ["null" if self.tag is None else self.tag]
        for step in self.on_failure:
            nested = step.condition is None and (step.ignore_failure or step.on_failure)
            tags += step._compound_tags() if nested else ["null" if step.tag is None else step.tag]
        return tags

    def failure(self, error: ElasticError, processor_type: str | None = None) -> Failure:
        """An error bound to this step."""
        return Failure(error, processor_type or self.type, self.tag, self.pipeline_id)

    def run(self, documents: list[IngestDocument]) -> list[Result]:
        """Process a batch; a failed condition is a failure of its own, which `ignore_failure` does not cover."""
        if self.condition is None:
            return self._execute(documents)
        results: list[Result] = [None] * len(documents)
        chosen: list[int] = []
        holds = self.condition.holds
        for index, document in enumerate(documents):
            try:
                if holds(document):
                    chosen.append(index)
            except ElasticError as error:
                _raise_unsupported(error)
                results[index] = self.failure(error, "conditional")
        if chosen:
            for index, result in zip(chosen, self._execute([documents[index] for index in chosen]), strict=True):
                results[index] = result
        return results

    def _execute(self, documents: list[IngestDocument]) -> list[Result]:
        started = self.counter.begin(len(documents))
        failed = 0
        try:
            results = self.processor.execute(documents)
            failing = [index for index, result in enumerate(results) if isinstance(result, ElasticError | Failure)]
            failed = len(failing)
            for index in failing:
                _raise_unsupported(results[index])
        finally:
            self.counter.end(len(documents), failed, started)
        if failing:
            self._handle(documents, results, failing)
        return results

    def _handle(self, documents: list[IngestDocument], results: list[Result], failing: list[int]) -> None:
        if self.ignore_failure:
            for index in failing:
                results[index] = None
            return
        for index in failing:
            result = results[index]
            if isinstance(result, ElasticError):
                results[index] = self.failure(result)
        if self.on_failure:
            recover(self.on_failure, documents, results, failing)


def _raise_unsupported(result: Result) -> None:
    """What only the sandbox lacks must not look like a failure that `on_failure` or a failure store can take."""
    if isinstance(result, ElasticError) and result.status == 501:
        raise result


def run_steps(steps: Sequence[Step], documents: list[IngestDocument]) -> list[Result]:
    """Run a batch through a list of steps; a document that fails or is dropped skips the rest."""
    results: list[Result] = [None] * len(documents)
    alive = range(len(documents)) if documents else []
    batch = documents
    for step in steps:
        if not batch:
            break
        outcomes = step.run(batch)
        if any(outcome is not None for outcome in outcomes):
            kept = []
            for index, outcome in zip(alive, outcomes, strict=True):
                if outcome is None:
                    kept.append(index)
                else:
                    results[index] = outcome
            alive = kept
            batch = [documents[index] for index in kept]
    return results


def recover(steps: Sequence[Step], documents: list[IngestDocument], results: list[Result], failing: list[int]) -> None:
    """Run the failed documents of a batch through `on_failure` steps; their outcome replaces the failure."""
    for index in failing:
        failure = results[index]
        assert isinstance(failure, Failure)
        put_failure(documents[index], failure)
    outcomes = run_steps(steps, [documents[index] for index in failing])
    for index, outcome in zip(failing, outcomes, strict=True):
        clear_failure(documents[index])
        results[index] = outcome


def put_failure(document: IngestDocument, failure: Failure) -> None:
    """Make a failure readable under `_ingest.on_failure_*`; the message is that of the innermost cause."""
    cause = failure.error.caused_by
    message = failure.error.reason
    while cause is not None:
        message = cause.get("reason", message)
        cause = cause.get("caused_by")
    document.ingest["on_failure_message"] = message
    document.ingest["on_failure_processor_type"] = failure.processor_type
    document.ingest["on_failure_processor_tag"] = failure.processor_tag
    document.ingest["on_failure_pipeline"] = failure.pipeline


def clear_failure(document: IngestDocument) -> None:
    """Take `_ingest.on_failure_*` away again."""
    for name in _FAILURE_FIELDS:
        document.ingest.pop(name, None)


@dataclass
class Pipeline:
    """A compiled pipeline."""

    id: str
    body: dict[str, Any]
    steps: list[Step]
    on_failure: list[Step]
    counter: Counter = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0

    def run(self, documents: list[IngestDocument]) -> list[Result]:
        """Run a batch; failures that the pipeline's own `on_failure` handles count as kept."""
        previous = [document.ingest.get("pipeline") for document in documents]
        for document in documents:
            document.ingest["pipeline"] = self.id
        started = self.counter.begin(len(documents))
        failed = 0
        try:
            results = run_steps(self.steps, documents)
            failing = [index for index, result in enumerate(results) if isinstance(result, Failure)]
            if failing and self.on_failure:
                recover(self.on_failure, documents, results, failing)
            for index in failing:
                result = results[index]
                if isinstance(result, Failure):
                    failed += 1
                    results[index] = replace(result, trace=(self.id, *result.trace))
        finally:
            self.counter.end(len(documents), failed, started)
        for document, before in zip(documents, previous, strict=True):
            if before is None:
                document.ingest.pop("pipeline", None)
            else:
                document.ingest["pipeline"] = before
        return results

    def all_steps(self) -> list[Step]:
        """Every step, those of `on_failure` included."""
        found: list[Step] = []

        def walk(steps: Sequence[Step]) -> None:
            for step in steps:
                found.append(step)
                walk(step.on_failure)
                inner = getattr(step.processor, "steps", None)
                if inner:
                    walk(inner)

        walk(self.steps)
        walk(self.on_failure)
        return found
