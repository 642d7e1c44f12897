"""Model snapshots: a document each among the results, and the model's state beside it in the cluster state.

Which APIs there are and what they refuse: Elasticsearch's YAML tests `get_model_snapshots`, `revert_model_snapshot`,
`update_model_snapshot`, and its `Messages`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from elastic_sandbox.ml.anomaly import results
from elastic_sandbox.ml.anomaly.config import CONFIG_VERSION
from elastic_sandbox.ml.anomaly.job import new_sizes
from elastic_sandbox.ml.strict import conflict, not_found, parse_strict

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ml.anomaly.job import AnomalyJob

_KIND: Final = "anomaly_state"
_DAY_MS: Final = 86_400_000
EMPTY: Final = "empty"
_FIELDS: Final = [{"exists": {"field": "snapshot_doc_count"}}]


def pack(state: Any) -> str:
    """Nested dictionaries, lists, plain values and arrays as one text."""
    return base64.b64encode(zlib.compress(orjson.dumps(_plain(state)), 1)).decode()


def unpack(text: str) -> Any:
    """Back from `pack`; arrays come back bit by bit."""
    return _arrays(orjson.loads(zlib.decompress(base64.b64decode(text))))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"$": base64.b64encode(value.astype("<f8").tobytes()).decode(), "shape": list(value.shape)}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _arrays(value: Any) -> Any:
    if isinstance(value, dict):
        if "$" in value:
            return np.frombuffer(base64.b64decode(value["$"]), dtype="<f8").reshape(value["shape"]).copy()
        return {key: _arrays(item) for key, item in value.items()}
    return [_arrays(item) for item in value] if isinstance(value, list) else value


class Snapshots:
    """The snapshots of all jobs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def take(
        self,
        job: AnomalyJob,
        packed: str,
        latest_record: int | None,
        latest_result: int | None,
        check: Callable[[], None],
    ) -> str:
        """Keep the model as it is, make the snapshot the job's current one, prune; its id.

        The id is the second it was taken, as Elasticsearch's is; two in a second get successive ones. Call it without
        the cluster's lock, which others want while megabytes are written.

        :param check: raises when the job is gone meanwhile; called under the lock before the snapshot is seen
        """
        now = self._backend.clock.now_ms()
        number = now // 1000
        while self._backend.state.get(_KIND, f"{job.id}|{number}") is not None:
            number += 1
        snapshot_id = str(number)
        document: dict[str, Any] = {
            "job_id": job.id, "min_version": "8.3.0", "timestamp": now, "snapshot_id": snapshot_id,
            "description": "State persisted due to job close at "
            f"{self._backend.clock.now().strftime('%Y-%m-%dT%H:%M:%S+0000')}",
            "snapshot_doc_count": 1, "model_size_stats": job.sizes, "retain": False,
        }  # fmt: skip
        if latest_record is not None:
            document["latest_record_time_stamp"] = latest_record
        if latest_result is not None:
            document["latest_result_time_stamp"] = latest_result
        self._backend.state.put(_KIND, f"{job.id}|{snapshot_id}", {"state": packed})
        with self._backend.lock:
            try:
                check()
            except BaseException:
                self._backend.state.delete(_KIND, f"{job.id}|{snapshot_id}")
                raise
            self._write(job.id, document)
            with job.lock:
                job.config |= {"model_snapshot_id": snapshot_id, "model_snapshot_min_version": CONFIG_VERSION}
        self.prune(job)
        return snapshot_id

    def _write(self, job_id: str, document: dict[str, Any]) -> None:
        doc_id = f"{job_id}_model_snapshot_{document['snapshot_id']}"
        results.write(self._backend, job_id, [(doc_id, document)], refresh=True)

    def state(self, job: AnomalyJob) -> Any:
        """The model of the job's current snapshot; None when it has none."""
        snapshot_id = job.config.get("model_snapshot_id")
        kept = None if snapshot_id is None else self._backend.state.get(_KIND, f"{job.id}|{snapshot_id}")
        return None if kept is None else unpack(kept["state"])

    def list(
        self, job_id: str, snapshot_id: str | None = None, *, sort: str = "timestamp", desc: bool = True,
        first: int = 0, size: int = 100, start: int | None = None, end: int | None = None,
    ) -> tuple[int, list[dict[str, Any]]]:  # fmt: skip
        """(count, one page); newest first unless told otherwise."""
        query: list[dict[str, Any]] = list(_FIELDS)
        if snapshot_id not in {None, "", "_all", "*"}:
            clauses = [("wildcard" if "*" in part else "term", part) for part in str(snapshot_id).split(",")]
            query.append({"bool": {"should": [{kind: {"snapshot_id": {"value": part}}} for kind, part in clauses]}})
        if start is not None or end is not None:
            bounds = {name: value for name, value in (("gte", start), ("lt", end)) if value is not None}
            query.append({"range": {"timestamp": {**bounds, "format": "epoch_millis"}}})
        order = "desc" if desc else "asc"
        found, page = results.find(self._backend, job_id, query, [{sort: order}, {"snapshot_id": order}], first, size)
        return found, [_shown(document) for document in page]

    def get(self, job_id: str, snapshot_id: str) -> dict[str, Any]:
        """One snapshot; 404 when there is none."""
        _, page = results.find(self._backend, job_id, [*_FIELDS, {"term": {"snapshot_id": snapshot_id}}], [])
        if not page:
            raise not_found(f"No model snapshot with id [{snapshot_id}] exists for job [{job_id}]")
        return page[0]

    def update(self, job_id: str, snapshot_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Describe or retain a snapshot; the snapshot as it is then."""
        parse_strict("update_model_snapshot_request", body, {
            "job_id": str, "snapshot_id": str, "description": str, "retain": bool})  # fmt: skip
        document = self.get(job_id, snapshot_id)
        document |= {name: body[name] for name in ("description", "retain") if body.get(name) is not None}
        self._write(job_id, document)
        return _shown(document)

    def delete(self, job: AnomalyJob, snapshot_id: str) -> None:
        """Remove a snapshot that is not the job's current one."""
        self.get(job.id, snapshot_id)
        if job.config.get("model_snapshot_id") == snapshot_id:
            raise conflict(
                f"Model snapshot '{snapshot_id}' is the active snapshot for job '{job.id}', so cannot be deleted"
            )
        self._remove(job.id, snapshot_id)

    def _remove(self, job_id: str, snapshot_id: str) -> None:
        self._backend.state.delete(_KIND, f"{job_id}|{snapshot_id}")
        results.delete(self._backend, job_id, [*_FIELDS, {"term": {"snapshot_id": snapshot_id}}])

    def forget(self, job_id: str) -> None:
        """Remove the states of a job that is deleted or reset; its documents go with the results."""
        for name in self._backend.state.names(_KIND):
            if name.startswith(f"{job_id}|"):
                self._backend.state.delete(_KIND, name)

    def prune(self, job: AnomalyJob) -> int:
        """Delete what is older than the retention, counted from the newest; later thin to one a day.

        Retained snapshots and the current one stay (documentation, "Model snapshots").
        """
        _, found = self.list(job.id, size=10_000)
        if not found:
            return 0
        newest = found[0]["timestamp"]
        keep_ms = job.config["model_snapshot_retention_days"] * _DAY_MS
        thin_ms = job.config["daily_model_snapshot_retention_after_days"] * _DAY_MS
        days: set[int] = set()
        doomed = []
        for snapshot in reversed(found):  # of a day the first stays
            age, day = newest - snapshot["timestamp"], snapshot["timestamp"] // _DAY_MS
            spared = snapshot.get("retain") or snapshot["snapshot_id"] == job.config.get("model_snapshot_id")
            if not spared and (age > keep_ms or (age > thin_ms and day in days)):
                doomed.append(snapshot["snapshot_id"])
            elif age > thin_ms:
                days.add(day)
        for snapshot_id in doomed:
            self._remove(job.id, snapshot_id)
        return len(doomed)

    def revert(self, job: AnomalyJob, snapshot_id: str, *, delete_intervening: bool) -> dict[str, Any]:
        """Make a snapshot the current one; with ``delete_intervening`` later results go, and data is fed again.

        ``empty`` is the model before any data (documentation, "Revert model snapshots").
        """
        now = self._backend.clock.now_ms()
        if snapshot_id == EMPTY:
            snapshot: dict[str, Any] = {
                "job_id": job.id, "min_version": "8.3.0", "timestamp": 0, "snapshot_id": EMPTY,
                "description": "empty snapshot", "snapshot_doc_count": 0, "retain": False,
                "model_size_stats": new_sizes(job.id, now),
            }  # fmt: skip
        else:
            snapshot = _shown(self.get(job.id, snapshot_id))
        with job.lock:
            if snapshot_id == EMPTY:
                job.config.pop("model_snapshot_id", None)
                job.config.pop("model_snapshot_min_version", None)
            else:
                job.config |= {"model_snapshot_id": snapshot_id, "model_snapshot_min_version": CONFIG_VERSION}
            job.sizes = dict(snapshot["model_size_stats"])
        if delete_intervening:
            after = snapshot.get("latest_result_time_stamp")
            results.delete(self._backend, job.id, [
                {"terms": {"result_type": ["bucket", "record", "influencer", "bucket_influencer"]}},
                {"range": {"timestamp": {"gt": 0 if after is None else after, "format": "epoch_millis"}}},
            ])  # fmt: skip
            with job.lock:
                latest = snapshot.get("latest_record_time_stamp")
                job.counts.pop("latest_record_timestamp", None)
                if latest is not None:
                    job.counts["latest_record_timestamp"] = latest
                span_end = None if after is None else after + job.span_ms
                job.last_bucket_end = span_end
        return snapshot


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """A snapshot with what a document that was indexed by hand may lack."""
    from elastic_sandbox.indices.dates import parse_date

    stamp = document["timestamp"]
    shown = {"retain": False, "min_version": "8.3.0", **document}
    shown["timestamp"] = (
        parse_date(stamp, "strict_date_optional_time||epoch_millis") if isinstance(stamp, str) else stamp
    )
    return shown
