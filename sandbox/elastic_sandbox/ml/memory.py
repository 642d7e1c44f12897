"""What a classification would need: the estimate `_explain` gives, and what a job checks its limit against.

The figure is the sandbox's own, of the order Elasticsearch gives for small data; compare it with nothing.
"""

from __future__ import annotations

from typing import Final

_BASE_BYTES: Final = 10 << 20
_BYTES_PER_CELL: Final = 24
_BYTES_PER_ROW: Final = 200
_MEGABYTE: Final = 1 << 20


def estimate_bytes(rows: int, features: int) -> int:
    """Memory of an analysis of so many rows and fields, in whole megabytes."""
    needed = _BASE_BYTES + rows * (_BYTES_PER_ROW + features * _BYTES_PER_CELL)
    return -(-needed // _MEGABYTE) * _MEGABYTE


def memory_estimation(rows: int, features: int) -> dict[str, str]:
    """The `memory_estimation` object of `_explain`."""
    without_disk = estimate_bytes(rows, features)
    with_disk = -(-without_disk // (2 * _MEGABYTE)) * _MEGABYTE
    return {
        "expected_memory_without_disk": f"{without_disk // _MEGABYTE}mb",
        "expected_memory_with_disk": f"{with_disk // _MEGABYTE}mb",
    }
