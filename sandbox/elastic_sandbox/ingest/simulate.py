"""`_ingest/pipeline/_simulate`: run documents without indexing them, whole or step by step."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, illegal_argument
from elastic_sandbox.ingest.configuration import Config
from elastic_sandbox.ingest.document import DROPPED, Failure, IngestDocument, Result
from elastic_sandbox.ingest.pipeline import Pipeline, Step, clear_failure, put_failure

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_NO_VERSION: Final = -3  # Versions.MATCH_ANY, which the server shows as the text "-3"


def read_documents(config: Config, timestamp: str) -> list[IngestDocument]:
    """The `docs` of a simulate request."""
    docs = config.array("docs")
    if not docs:
        raise illegal_argument("must specify at least one document in [docs]")
    documents = []
    for entry in docs:
        if not isinstance(entry, dict):
            raise illegal_argument("malformed [docs] section, should include an inner object")
        reader = Config(entry)
        metadata: dict[str, Any] = {
            "_index": reader.template("_index", "_index"),
            "_id": reader.template("_id", "_id"),
            "_version": reader.integer("_version", _NO_VERSION),
        }
        for name in ("_index", "_id"):
            if not isinstance(metadata[name], str):
                metadata[name] = metadata[name].source
        for name in ("_routing", "_version_type"):
            if entry.get(name) is not None:
                metadata[name] = str(entry[name])
        documents.append(IngestDocument(reader.map("_source"), metadata, {"timestamp": timestamp}))
    return documents


def shown(document: IngestDocument) -> dict[str, Any]:
    """A document as simulate answers it."""
    metadata = {key: value for key, value in document.metadata.items() if value is not None}
    if "_version" in metadata:
        metadata["_version"] = str(metadata["_version"])
    return {"doc": {**metadata, "_source": document.source, "_ingest": dict(document.ingest)}}


def simulate(backend: Backend, pipeline: Pipeline, documents: list[IngestDocument], verbose: bool) -> dict[str, Any]:
    """The answer of `_simulate`: per document the result, its error, or null for a dropped one."""
    if verbose:
        return {"docs": [{"processor_results": Trace(backend, pipeline).of(document)} for document in documents]}
    results = backend.ingest.execute(pipeline, documents)
    answers: list[dict[str, Any] | None] = []
    for document, result in zip(documents, results, strict=True):
        if result is None:
            answers.append(shown(document))
        elif result is DROPPED:
            answers.append(None)
        else:
            answers.append({"error": _error_of(result).body()["error"]})
    return {"docs": answers}


def _error_of(result: Result) -> ElasticError:
    if isinstance(result, Failure):
        return result.error
    assert isinstance(result, ElasticError)
    return result


class Trace:
    """Runs one document through a pipeline and notes what every processor did to it."""

    def __init__(self, backend: Backend, pipeline: Pipeline) -> None:
        self._backend = backend
        self._pipeline = pipeline
        self._entries: list[dict[str, Any]] = []

    def of(self, document: IngestDocument) -> list[dict[str, Any]]:
        """The `processor_results` of a document."""
        self._pipeline_result(self._pipeline, document)
        return self._entries

    def _pipeline_result(self, pipeline: Pipeline, document: IngestDocument) -> Result:
        before = document.ingest.get("pipeline")
        document.ingest["pipeline"] = pipeline.id
        result = self._steps(pipeline.steps, document)
        if isinstance(result, Failure) and pipeline.on_failure:
            result = self._recover(pipeline.on_failure, document, result)
        document.ingest["pipeline"] = before
        if before is None:
            del document.ingest["pipeline"]
        return result

    def _recover(self, steps: Sequence[Step], document: IngestDocument, failure: Failure) -> Result:
        put_failure(document, failure)
        result = self._steps(steps, document)
        clear_failure(document)
        return result

    def _steps(self, steps: Sequence[Step], document: IngestDocument) -> Result:
        for step in steps:
            result = self._step(step, document)
            if result is not None:
                return result
        return None

    def _step(self, step: Step, document: IngestDocument) -> Result:
        entry: dict[str, Any] = {"processor_type": step.type, "status": "success"}
        if step.description is not None:
            entry["description"] = step.description
        if step.tag is not None:
            entry["tag"] = step.tag
        if step.condition is not None:
            try:
                holds = step.condition.holds(document)
            except ElasticError as error:
                self._entries.append({**entry, "processor_type": "conditional", "status": "error", **error_part(error)})
                return step.failure(error, "conditional")
            entry["if"] = {"condition": step.condition.script.source, "result": holds}
            if not holds:
                self._entries.append({**entry, "status": "skipped"})
                return None
        if step.type == "pipeline":
            return self._called(step, document, entry)
        result = step.processor.execute([document])[0]
        return self._settle(step, document, entry, result)

    def _called(self, step: Step, document: IngestDocument, entry: dict[str, Any]) -> Result:
        from elastic_sandbox.ingest.processors.control import PipelineProcessor

        assert isinstance(step.processor, PipelineProcessor)
        called = step.processor.target(document)
        if isinstance(called, ElasticError):
            return self._settle(step, document, entry, called)
        if called is not None:
            # The server tries the whole call first, so a cycle is the caller's error and not the last link's.
            tried = self._backend.ingest.execute(called, [copy.deepcopy(document)])[0]
            if isinstance(tried, ElasticError | Failure) and _error_of(tried).reason.startswith("Cycle detected"):
                return self._settle(step, document, entry, _error_of(tried))
        self._entries.append(entry)
        if called is None:
            return None
        result = self._pipeline_result(called, document)
        if isinstance(result, ElasticError | Failure):
            return self._failed(step, document, result)
        return result

    def _settle(self, step: Step, document: IngestDocument, entry: dict[str, Any], result: Result) -> Result:
        if result is None:
            self._entries.append({**entry, **copy.deepcopy(shown(document))})
            return None
        if result is DROPPED:
            self._entries.append({**entry, "status": "dropped"})
            return result
        error = _error_of(result)
        if step.ignore_failure:
            ignored = {"status": "error_ignored", "ignored_error": error_part(error)}
            self._entries.append({**entry, **ignored, **copy.deepcopy(shown(document))})
            return None
        self._entries.append({**entry, "status": "error", **error_part(error)})
        return self._failed(step, document, result)

    def _failed(self, step: Step, document: IngestDocument, result: Result) -> Result:
        if step.ignore_failure:
            return None
        failure = result if isinstance(result, Failure) else step.failure(_error_of(result))
        return self._recover(step.on_failure, document, failure) if step.on_failure else failure


def error_part(error: ElasticError) -> dict[str, Any]:
    """The `error` member of a result."""
    return {"error": error.body()["error"]}
