"""Ingest: pipelines of processors that change documents before they are indexed.

- `document.py`: what a processor sees of a document, and the rules of field paths
- `processors/`: the processors and their registry
- `definition.py`, `configuration.py`, `templates.py`: from JSON to a compiled pipeline
- `pipeline.py`: running batches, conditions, failure handling, counters
- `service.py`: stored pipelines (`Ingest`); `simulate.py`, `routes.py`: the HTTP side
"""

from __future__ import annotations

from elastic_sandbox.ingest.document import DROPPED, Failure, IngestDocument
from elastic_sandbox.ingest.service import Ingest, Outcome

__all__ = ["DROPPED", "Failure", "Ingest", "IngestDocument", "Outcome"]
