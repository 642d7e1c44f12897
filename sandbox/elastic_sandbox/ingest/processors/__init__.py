"""The registry of ingest processors: a type name, and a factory that builds one from its configuration.

A factory is called as `factory(backend, config)` when a pipeline is put or simulated. It takes the options it knows
out of the `Config`; whatever is left afterwards is the server's "doesn't support one or more provided configuration
parameters" error, so a factory never needs to check for unknown options.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from elastic_sandbox.errors import ElasticError
from elastic_sandbox.ingest.document import DROPPED, IngestDocument, Result

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config


class Processor(Protocol):
    """Something that changes documents in place, a batch at a time.

    `execute` answers one result per document, in order: `None` (kept), `DROPPED`, or the error that failed it. It
    raises nothing for a bad document; what it raises is a defect of the sandbox.
    """

    type: str

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Process a batch."""
        ...


Factory = Callable[["Backend", "Config"], Processor]
_factories: dict[str, Factory] = {}


def register(type_name: str, factory: Factory) -> None:
    """Make a processor type known; a later registration of the same name replaces the earlier one."""
    _factories[type_name] = factory


def factory_of(type_name: str) -> Factory | None:
    """The factory of a type, or None when no such processor exists."""
    return _factories.get(type_name)


def load_processors() -> None:
    """Import the processors this package brings; done before the first pipeline is compiled, not at start."""
    for module in ("fields", "strings", "conversion", "dates", "hashing", "control", "unsupported"):
        import_module(f"elastic_sandbox.ingest.processors.{module}")
    import_module("elastic_sandbox.enrich.processor")


def supported() -> list[str]:
    """The names of the types that do something rather than answer 501, sorted."""
    refused = f"{__name__}.unsupported"
    return sorted(name for name, factory in _factories.items() if factory.__module__ != refused)


class EachProcessor:
    """Base of the processors that look at one document at a time: write `process`, get `execute`."""

    type: str

    def process(self, document: IngestDocument) -> Any:
        """Change one document; raise `ElasticError` to fail it, answer `DROPPED` to drop it, anything else keeps it."""
        raise NotImplementedError

    def execute(self, documents: list[IngestDocument]) -> list[Result]:
        """Process a batch, document by document."""
        results: list[Result] = []
        process = self.process
        add = results.append
        for document in documents:
            try:
                add(DROPPED if process(document) is DROPPED else None)
            except ElasticError as error:
                add(error)
        return results
