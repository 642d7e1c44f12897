"""Processors that decide or call: script, drop, fail, pipeline, foreach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import DROPPED, Failure, IngestDocument, Result, illegal
from elastic_sandbox.ingest.processors import EachProcessor, register
from elastic_sandbox.ingest.processors.strings import cannot_cast
from elastic_sandbox.ingest.templates import Template

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config
    from elastic_sandbox.ingest.pipeline import Pipeline, Step


class ScriptProcessor(EachProcessor):
    """`script`: Painless with `ctx` and `params`."""

    type = "script"

    def __init__(self, _backend: Backend, config: Config) -> None:
        from elastic_sandbox.ingest.definition import read_script

        self._script, self._params = read_script(config)

    def process(self, document: IngestDocument) -> None:
        """Run; the script changes the document through `ctx`."""
        self._script.run(document.ctx(), self._params)


class DropProcessor(EachProcessor):
    """`drop`: the document is not indexed, which is no error."""

    type = "drop"

    def __init__(self, _backend: Backend, _config: Config) -> None:
        pass

    def process(self, _document: IngestDocument) -> Any:
        """Drop."""
        return DROPPED


class FailProcessor(EachProcessor):
    """`fail`: an error with a message of the pipeline's own."""

    type = "fail"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._message: Template = config.template("message")

    def process(self, document: IngestDocument) -> None:
        """Fail."""
        raise ElasticError(500, "fail_processor_exception", self._message(document))


class PipelineProcessor:
    """`pipeline`: another pipeline, by a name that may depend on the document."""

    type = "pipeline"

    def __init__(self, backend: Backend, config: Config) -> None:
        self._backend = backend
        self._name: Template = config.template("name")
        self._ignore_missing = config.boolean("ignore_missing_pipeline")

    @property
    def display_name(self) -> str:
        """The pipeline's name as statistics show it: rendered without a document."""
        return self._name(IngestDocument({}))

    def target(self, document: IngestDocument) -> Pipeline | ElasticError | None:
        """The pipeline to run; None when there is none and that is allowed, else the error."""
        name = self._name(document)
        pipeline = self._backend.ingest.pipeline(name)
        if pipeline is None and not self._ignore_missing:
            return ElasticError(
                500,
                "illegal_state_exception",
                f"Pipeline processor configured for non-existent pipeline [{name}]",
            )
        return pipeline

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Run each document through its pipeline, those with the same one together."""
        results: list[Result] = [None] * len(documents)
        groups: dict[str, tuple[Pipeline, list[int]]] = {}
        for index, document in enumerate(documents):
            called = self.target(document)
            if isinstance(called, ElasticError):
                results[index] = called
            elif called is not None:
                groups.setdefault(called.id, (called, []))[1].append(index)
        for called, indices in groups.values():
            outcomes = self._backend.ingest.execute(called, [documents[index] for index in indices])
            for index, outcome in zip(indices, outcomes, strict=True):
                results[index] = outcome
        return results


class ForeachProcessor:
    """`foreach`: one processor for every element of a list or value of an object, as `_ingest._value`."""

    type = "foreach"

    def __init__(self, backend: Backend, config: Config) -> None:
        from elastic_sandbox.ingest.definition import build_step

        self._field: str = config.string("field")
        self._ignore_missing = config.boolean("ignore_missing")
        inner = config.map("processor")
        if len(inner) != 1:
            raise config.error("processor", "Must specify exactly one processor type")
        type_name, options = next(iter(inner.items()))
        self.steps: list[Step] = [build_step(backend, config.pipeline_id, type_name, options)]

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Run the processor element by element; the first failure ends a document's loop."""
        return [self._loop(document) for document in documents]

    def _loop(self, document: IngestDocument) -> Result:
        try:
            values = document.find(self._field) if self._ignore_missing else document.get(self._field)
            if values is None:
                if self._ignore_missing:
                    return None
                raise illegal(f"field [{self._field}] is null, cannot loop over its elements.")
            if isinstance(values, list):
                return self._over_list(document, values)
            if isinstance(values, dict):
                return self._over_map(document, values)
            raise cannot_cast(self._field, values, "java.util.List")
        except ElasticError as error:
            return error

    def _over_list(self, document: IngestDocument, values: list[Any]) -> Result:
        changed = []
        for value in list(values):
            result, value_after, _ = self._one(document, value, None)
            if result is not None:
                return result
            changed.append(value_after)
        document.set(self._field, changed)
        return None

    def _over_map(self, document: IngestDocument, values: dict[str, Any]) -> Result:
        changed: dict[str, Any] = {}
        for key, value in list(values.items()):
            result, value_after, key_after = self._one(document, value, key)
            if result is not None:
                return result
            if key_after is not None:
                changed[key_after] = value_after
        document.set(self._field, changed)
        return None

    def _one(self, document: IngestDocument, value: Any, key: str | None) -> tuple[Result, Any, Any]:
        outer: dict[str, Any] = {name: document.ingest[name] for name in ("_value", "_key") if name in document.ingest}
        document.ingest["_value"] = value
        if key is not None:
            document.ingest["_key"] = key
        result = self.steps[0].run([document])[0]
        after = document.ingest.pop("_value", None), document.ingest.pop("_key", None)
        document.ingest.update(outer)
        if isinstance(result, Failure):
            # The loop's own step binds the error again, with the pipeline it stands in.
            result = result.error
        return result, *after


register("script", ScriptProcessor)
register("drop", DropProcessor)
register("fail", FailProcessor)
register("pipeline", PipelineProcessor)
register("foreach", ForeachProcessor)
