"""One anomaly job between requests: configuration, state, counts; kept in memory and written through."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.http import duration_seconds

if TYPE_CHECKING:
    from elastic_sandbox.ml.anomaly.process import Process

KIND: Final = "anomaly_job"
UPGRADE_EXPLANATION: Final = "persistent task cannot be assigned while upgrade mode is enabled."
LAZY_EXPLANATION: Final = (
    "Not opening job [{id}] on node [sandbox], because node has insufficient available memory. Available memory for ML "
    "[0], memory required by existing jobs [0], estimated memory required for this job [{memory}]"
)
_COUNTS: Final = ("processed_record_count", "processed_field_count", "input_bytes", "input_field_count",
                  "invalid_date_count", "missing_field_count", "out_of_order_timestamp_count", "empty_bucket_count",
                  "sparse_bucket_count", "bucket_count", "input_record_count")  # fmt: skip


def new_counts(job_id: str) -> dict[str, Any]:
    """`data_counts` of a job that has seen nothing."""
    return {"job_id": job_id, **dict.fromkeys(_COUNTS, 0)}


def new_sizes(job_id: str, now_ms: int) -> dict[str, Any]:
    """`model_size_stats` of an empty model."""
    return {
        "job_id": job_id, "result_type": "model_size_stats", "model_bytes": 0, "peak_model_bytes": 0,
        "model_bytes_exceeded": 0, "model_bytes_memory_limit": 0, "total_by_field_count": 0,
        "total_over_field_count": 0, "total_partition_field_count": 0, "bucket_allocation_failures_count": 0,
        "memory_status": "ok", "categorized_doc_count": 0, "total_category_count": 0, "frequent_category_count": 0,
        "rare_category_count": 0, "dead_category_count": 0, "failed_category_count": 0,
        "categorization_status": "ok", "log_time": now_ms,
    }  # fmt: skip


def new_timing(job_id: str) -> dict[str, Any]:
    """`timing_stats` before the first bucket: minimum, maximum and averages are absent (YAML test jobs_get_stats)."""
    return {
        "job_id": job_id, "bucket_count": 0, "total_bucket_processing_time_ms": 0.0,
        "exponential_average_bucket_processing_time_per_hour_ms": 0.0,
    }  # fmt: skip


@dataclass
class AnomalyJob:
    """`lock` guards every change; `process` is there while the job is open."""

    config: dict[str, Any]
    counts: dict[str, Any]
    sizes: dict[str, Any]
    timing: dict[str, Any]
    state: str = "closed"
    blocked: dict[str, Any] | None = None
    opened_ms: int | None = None
    last_bucket_end: int | None = None
    """Where final results end, epoch milliseconds."""
    interim: bool = False
    """Whether there may be interim results, which the next results replace."""
    process: Process | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.config["job_id"])

    @property
    def span_ms(self) -> int:
        """The bucket span in milliseconds."""
        return int(duration_seconds(self.config["analysis_config"]["bucket_span"], "bucket_span") * 1000)

    @classmethod
    def new(cls, config: dict[str, Any], now_ms: int) -> AnomalyJob:
        """A job that has seen nothing."""
        job_id = config["job_id"]
        return cls(config, new_counts(job_id), new_sizes(job_id, now_ms), new_timing(job_id))

    def to_document(self) -> dict[str, Any]:
        """What is kept in the cluster state."""
        return {
            "config": self.config,
            "counts": self.counts,
            "sizes": self.sizes,
            "timing": self.timing,
            "state": self.state,
            "opened_ms": self.opened_ms,
            "last_bucket_end": self.last_bucket_end,
            "interim": self.interim,
        }

    @property
    def last_time(self) -> int | None:
        """The last moment a datafeed need not look at again: a started one continues one millisecond later."""
        ends = [self.counts.get("latest_record_timestamp")]
        ends.append(None if self.last_bucket_end is None else self.last_bucket_end - 1)
        return max((end for end in ends if end is not None), default=None)
