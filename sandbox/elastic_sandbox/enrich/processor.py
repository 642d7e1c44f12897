"""The `enrich` ingest processor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import IngestDocument, illegal
from elastic_sandbox.ingest.processors import EachProcessor, register

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config
    from elastic_sandbox.ingest.templates import Template


class EnrichProcessor(EachProcessor):
    """`enrich`: puts the documents that match a field's value under `target_field`.

    A policy that was never executed is refused when the pipeline is put, as the server does: execute first.
    """

    type = "enrich"

    def __init__(self, backend: Backend, config: Config) -> None:
        self._backend = backend
        self._policy: str = config.string("policy_name")
        if backend.enrich.snapshot(self._policy) is None:
            raise illegal(f"no enrich index exists for policy with name [{self._policy}]")
        self._field: Template = config.template("field")
        self._ignore_missing = config.boolean("ignore_missing")
        self._override = config.boolean("override", True)
        self._target: Template = config.template("target_field")
        self._max_matches: int = config.integer("max_matches", 1)
        if not 1 <= self._max_matches <= 128:
            raise config.error("max_matches", "should be between 1 and 128")

    def process(self, document: IngestDocument) -> None:
        """Look the value up; no match leaves the document as it is."""
        field = self._field(document)
        value = document.find(field) if self._ignore_missing else document.get(field)
        if value is None:
            return
        snapshot = self._backend.enrich.snapshot(self._policy)
        if snapshot is None:
            raise ElasticError(404, "index_not_found_exception", f"no such index [.enrich-{self._policy}]")
        found = snapshot.matches(value, self._max_matches)
        if not found:
            return
        target = self._target(document)
        if self._override or not document.has(target):
            document.set(target, found[0] if self._max_matches == 1 else found)


register("enrich", EnrichProcessor)
