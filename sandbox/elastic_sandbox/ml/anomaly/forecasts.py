"""Forecasts: what the model expects next, as documents, and their statistics.

Refusals: Elasticsearch's YAML tests `forecast` and `delete_forecast`, and its class `TransportForecastJobAction`.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from elastic_sandbox.http import duration_seconds
from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.config import memory_mb
from elastic_sandbox.ml.anomaly.rare import RareModel
from elastic_sandbox.ml.strict import bad_request, matches, not_found

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_KIND: Final = "anomaly_forecast"
_MAX_DAYS: Final = 3650
_MAX_DOCUMENTS: Final = 50_000


class Forecasts:
    """Forecasts of all jobs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def make(self, job_id: str, duration: str | None, expires_in: str | None, max_memory: str | None) -> str:
        """Forecast an open job; the forecast's id.

        :raises ElasticError: 400 for bad limits and population jobs, 409 when the job is not open
        """
        seconds = self._checked(duration, expires_in, max_memory)
        job, process = self._backend.ml.anomaly.jobs.opened(job_id)
        span = job.span_ms // 1000
        if duration is not None and seconds < span:
            raise bad_request(
                f"[duration] must be greater or equal to the bucket span: "
                f"[{duration}/{job.config['analysis_config']['bucket_span']}]"
            )
        detectors = job.config["analysis_config"]["detectors"]
        if any("over_field_name" in detector for detector in detectors):
            raise bad_request("Cannot run forecast: Forecast cannot be executed as job contains population analysis")
        if all(detector["function"] == "rare" for detector in detectors):
            raise bad_request("Cannot run forecast: Forecast cannot be executed as there is no model for it")
        started = time.monotonic()
        with process.work:
            begin = process.analysis.next_bucket
            if begin is None or not job.counts["bucket_count"]:
                raise bad_request(
                    "Cannot run forecast: Forecast cannot be executed as job requires data to have been processed and "
                    "modeled"
                )
            documents = self._documents(process.analysis.detections, detectors, job_id, begin, span, seconds)
        forecast_id = uuid.uuid4().hex[:20]
        now = self._backend.clock.now_ms()
        lifetime = 14 * 86400.0 if expires_in is None else duration_seconds(expires_in, "expires_in")
        stats = {
            "job_id": job_id, "result_type": "model_forecast_request_stats", "forecast_id": forecast_id,
            "processed_record_count": len(documents), "forecast_messages": [], "timestamp": begin,
            "forecast_start_timestamp": begin, "forecast_end_timestamp": begin + int(seconds * 1000),
            "forecast_create_timestamp": now, "forecast_expiry_timestamp": now + int(lifetime * 1000),
            "forecast_memory_bytes": 64 * len(documents), "forecast_progress": 1.0, "forecast_status": "finished",
            "processing_time_ms": int((time.monotonic() - started) * 1000),
        }  # fmt: skip
        written = [(f"{job_id}_model_forecast_request_stats_{forecast_id}", stats)]
        for document in documents:
            values = [
                document[f"{kind}_field_value"] for kind in ("by", "partition") if f"{kind}_field_value" in document
            ]
            key = f"{document['timestamp']}_{span}_{document['detector_index']}_{results.values_id(values)}"
            written.append((f"{job_id}_model_forecast_{forecast_id}_{key}", {**document, "forecast_id": forecast_id}))
        results.write(self._backend, job_id, written, refresh=True)
        self._backend.state.put(_KIND, f"{job_id}|{forecast_id}", stats)
        return forecast_id

    @staticmethod
    def _checked(duration: str | None, expires_in: str | None, max_memory: str | None) -> float:
        seconds = 86400.0
        if duration is not None:
            if duration.startswith("-") or (seconds := duration_seconds(duration, "duration")) <= 0:
                shown = "-1" if duration.startswith("-") else duration
                raise bad_request(f"[duration] must be positive: [{shown}]")
            if seconds > _MAX_DAYS * 86400:
                raise bad_request(f"[duration] must be {_MAX_DAYS}d or less: [{duration}]")
        if expires_in is not None and expires_in.startswith("-"):
            raise bad_request("[expires_in] must be non-negative: [-1]")
        if max_memory is not None and (memory_mb(max_memory) or 0) >= 500:
            raise bad_request("[max_model_memory] must be less than 500mb")
        return seconds

    @staticmethod
    def _documents(
        detections: list[Any], detectors: list[dict[str, Any]], job_id: str, begin: int, span: int, seconds: float
    ) -> list[dict[str, Any]]:
        documents: list[dict[str, Any]] = []
        steps = int(seconds // span)
        for detection in detections:
            model, detector = detection.model, detectors[detection.index]
            if isinstance(model, RareModel):
                continue
            if steps * model.size > _MAX_DOCUMENTS:
                raise bad_request(
                    f"Cannot run forecast: {steps} buckets of {model.size} series are more than the {_MAX_DOCUMENTS} "
                    "documents the sandbox writes; forecast a shorter duration"
                )
            made: dict[int, tuple[Any, ...]] = {}
            for step in range(steps):
                start = begin + step * span * 1000
                slot = (start // 3_600_000 + 72) % 168
                if slot not in made:
                    made[slot] = tuple(np.asarray(part, dtype=float).tolist() for part in model.forecast(slot))
                for series, (expected, lower, upper) in enumerate(zip(*made[slot], strict=True)):
                    document = {
                        "job_id": job_id, "result_type": "model_forecast", "timestamp": start, "bucket_span": span,
                        "detector_index": detection.index, "model_feature": f"'{detection.function.feature}'",
                        "forecast_prediction": expected, "forecast_lower": lower, "forecast_upper": upper,
                    }  # fmt: skip
                    values = detection.series_values(series)
                    for kind in ("by", "partition"):
                        if f"{kind}_field_name" in detector:
                            document[f"{kind}_field_name"] = detector[f"{kind}_field_name"]
                            document[f"{kind}_field_value"] = values[f"{kind}_field_value"]
                    documents.append(document)
        return documents

    def _of(self, job_id: str) -> list[dict[str, Any]]:
        return [kept for name, kept in self._backend.state.items(_KIND) if name.startswith(f"{job_id}|")]

    def delete(self, job_id: str, expression: str | None, *, allow_none: bool) -> None:
        """Delete forecasts; none is only fine for all, and when it is allowed."""
        wanted = expression or "_all"
        chosen = [
            kept for kept in self._of(job_id)
            if wanted in {"_all", "*"} or any(matches(part, kept["forecast_id"]) for part in wanted.split(","))
        ]  # fmt: skip
        if not chosen and not (wanted in {"_all", "*"} and allow_none):
            raise not_found(f"No forecast(s) [{wanted}] exists for job [{job_id}]")
        for kept in chosen:
            self._remove(job_id, kept["forecast_id"])

    def _remove(self, job_id: str, forecast_id: str) -> None:
        results.delete(self._backend, job_id, [{"term": {"forecast_id": forecast_id}}])
        self._backend.state.delete(_KIND, f"{job_id}|{forecast_id}")

    def expire(self, job_id: str) -> None:
        """Delete what has passed its time."""
        now = self._backend.clock.now_ms()
        for kept in self._of(job_id):
            if kept["forecast_expiry_timestamp"] < now:
                self._remove(job_id, kept["forecast_id"])

    def forget(self, job_id: str) -> None:
        """The job is deleted or reset."""
        for kept in self._of(job_id):
            self._backend.state.delete(_KIND, f"{job_id}|{kept['forecast_id']}")

    def stats(self, job_id: str) -> dict[str, Any]:
        """`forecasts_stats` of a job."""
        found = self._of(job_id)
        if not found:
            return {"total": 0, "forecasted_jobs": 0}
        shown: dict[str, Any] = {"total": len(found), "forecasted_jobs": 1}
        for name, source in (("memory_bytes", "forecast_memory_bytes"), ("records", "processed_record_count"),
                             ("processing_time_ms", "processing_time_ms")):  # fmt: skip
            numbers = [float(kept[source]) for kept in found]
            shown[name] = {"total": sum(numbers), "min": min(numbers), "avg": sum(numbers) / len(numbers),
                           "max": max(numbers)}  # fmt: skip
        return shown | {"status": {"finished": len(found)}}
