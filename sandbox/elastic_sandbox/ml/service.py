"""Machine learning as one part of the backend: jobs, models, upgrade mode, info."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.ml import inference_processor as _registers_itself  # noqa: F401
from elastic_sandbox.ml.anomaly import AnomalyDetection
from elastic_sandbox.ml.jobs import MAX_MEMORY_SETTING, AnalyticsJobs
from elastic_sandbox.ml.strict import byte_size, byte_text
from elastic_sandbox.ml.trained_models import TrainedModels

if TYPE_CHECKING:
    import threading

    from elastic_sandbox.backend import Backend

_UPGRADE_MODE: Final = "ml_upgrade_mode"
DEFAULT_MAX_INFERENCE_PROCESSORS: Final = 50


class MachineLearning:
    """`backend.ml`: `jobs` (data frame analytics), `models` (trained models) and `anomaly` (anomaly detection)."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.max_inference_processors = DEFAULT_MAX_INFERENCE_PROCESSORS
        """`xpack.ml.max_inference_processors`; there is no PUT _cluster/settings here, so a test sets it directly."""
        self.max_model_memory_limit: str | None = None
        """`xpack.ml.max_model_memory_limit`, likewise."""
        self.jobs = AnalyticsJobs(backend)
        self.models = TrainedModels(backend)
        self.anomaly = AnomalyDetection(backend)

    def halt(self) -> list[threading.Thread]:
        """Stop all workers; the threads that end by and by. What they have done so far stays."""
        return [*self.anomaly.halt(), *self.jobs.halt()]

    def reset(self) -> None:
        """Forget everything; whoever began to work after the others were halted is stopped, too."""
        self.halt()
        self.models.reset()
        self.max_inference_processors = DEFAULT_MAX_INFERENCE_PROCESSORS
        self.max_model_memory_limit = None

    def close(self) -> None:
        """Stop whoever began to work after the others were halted."""
        self.halt()

    @property
    def upgrade_mode(self) -> bool:
        """Whether ML tasks are paused, by the API or as an injected fault."""
        return self._backend.faults.upgrade_mode or self._backend.state.get("settings", _UPGRADE_MODE) is not None

    def set_upgrade_mode(self, enabled: bool) -> None:
        """Pause or resume all ML tasks."""
        if enabled:
            self._backend.state.put("settings", _UPGRADE_MODE, {"enabled": True})
        else:
            self._backend.state.delete("settings", _UPGRADE_MODE)

    def info(self) -> dict[str, Any]:
        """`GET _ml/info`."""
        limit = self.max_model_memory_limit
        default_limit = 1 << 30
        total = 2 << 30
        limits: dict[str, Any] = {
            "max_single_ml_node_processors": 2,
            "total_ml_processors": 2,
            "effective_max_model_memory_limit": byte_text(total),
            "total_ml_memory": f"{total >> 20}mb",
        }
        if limit is not None:
            size = byte_size(MAX_MEMORY_SETTING, limit)
            limits["max_model_memory_limit"] = byte_text(size)
            limits["effective_max_model_memory_limit"] = byte_text(min(size, total))
            default_limit = min(default_limit, size)
        return {
            "defaults": {
                "anomaly_detectors": {
                    "categorization_analyzer": {
                        "char_filter": ["first_line_with_letters"],
                        "tokenizer": "ml_standard",
                    },
                    "model_memory_limit": byte_text(default_limit),
                    "categorization_examples_limit": 4,
                    "model_snapshot_retention_days": 10,
                    "daily_model_snapshot_retention_after_days": 1,
                },
                "datafeeds": {"scroll_size": 1000},
                "model_platform_variant": "linux-x86_64",
            },
            "upgrade_mode": self.upgrade_mode,
            "native_code": {"version": self._backend.version, "build_hash": "sandbox"},
            "limits": limits,
        }
