"""Hashes of bodies, and the `_meta` that marks an object as this package's."""

from __future__ import annotations

import hashlib
import json
from typing import Any

MANAGED_BY = "airflow-provider-elastic-ml"


def body_hash(body: Any) -> str:
    """16 hex digits of the SHA-256 of the body's canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
