"""Enrich: joining documents with a frozen copy of another index while they are ingested.

- `service.py`: policies, their execution, and the copies it makes (`Enrich`)
- `processor.py`: the `enrich` ingest processor; `routes.py`: the HTTP side

Only `match` policies exist here; `range` and `geo_match` are refused with a 501.
"""

from __future__ import annotations

from elastic_sandbox.enrich.service import Enrich

__all__ = ["Enrich"]
