"""What a project has on a cluster: jobs, models and indices that its trainings and anomaly jobs made."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import LicenseError, NotFoundError, ProjectFileError, VersionError
from elastic_ml.project.bodies import MANAGED_BY

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

PAGE = 1000


class Possessions:
    """Reads what is this project's; a cluster without machine learning has none."""

    def __init__(self, client: "Elasticsearch", project: "Project") -> None:
        self.client = client
        self.project = project
        self.names = project.names
        models = "|".join(re.escape(self.names.on_cluster(name)) for name in project.models()) or "-"
        self._job = re.compile(rf"(?P<model>{models})-\d{{8}}-[0-9a-f]{{8}}")

    def _machine_learning(self, ask: Callable[[], Any]) -> list[Any]:
        try:
            return list(ask())
        except (LicenseError, VersionError):
            return []

    def _analytics_jobs(self) -> list[dict[str, Any]]:
        jobs = self._machine_learning(
            lambda: self.client.ml.get_data_frame_analytics(id="*", size=PAGE)["data_frame_analytics"]
        )
        return [job for job in jobs if self._job.fullmatch(job["id"]) and self._ours(job.get("_meta"))]

    def _models(self) -> list[dict[str, Any]] | None:
        """Every trained model; None where this cluster does not tell (a licence that ended, ML switched off)."""
        try:
            return list(self.client.ml.get_trained_models(size=10_000)["trained_model_configs"])
        except (LicenseError, VersionError):
            return None

    def _carded(self) -> set[str]:
        try:
            hits = self.client.search(
                index=self.names.model_cards, size=10_000, source={"includes": ["model_id"]}, track_total_hits=False
            )["hits"]["hits"]
        except NotFoundError:
            return set()
        return {hit["_source"]["model_id"] for hit in hits}

    def _anomaly_jobs(self) -> list[dict[str, Any]]:
        files = set(map(self.names.on_cluster, self.project.anomaly_jobs()))
        if not files:
            return []
        jobs = self._machine_learning(lambda: self.client.ml.get_jobs(job_id="*")["jobs"])
        return [job for job in jobs if versioned(job["job_id"])[0] in files and self._ours(job.get("custom_settings"))]

    def _realtime(self, job_id: str) -> bool:
        try:
            return self.project.anomaly_job(self.names.in_project(versioned(job_id)[0])).mode == "realtime"
        except ProjectFileError:
            return True

    def _indices(self, prefixes: set[str], *, jobs: bool = True) -> Iterator[tuple[str, datetime]]:
        patterns = sorted(f"{prefix}*" for prefix in prefixes)
        if not patterns:
            return
        settings = self.client.indices.get_settings(
            index=patterns, flat_settings=True, name="index.creation_date", allow_no_indices=True
        )
        for index, found in settings.body.items():
            rest = next((index.removeprefix(prefix) for prefix in prefixes if index.startswith(prefix)), "")
            if not jobs or self._job.fullmatch(rest):
                yield index, when(int(found["settings"]["index.creation_date"]))

    def _aliased_indices(self) -> dict[str, list[str]]:
        answer = self.client.indices.get_alias(index=f"{self.names.prefix}-*", allow_no_indices=True)
        return {index: sorted(found["aliases"]) for index, found in answer.body.items() if found["aliases"]}

    def _ours(self, meta: Mapping[str, Any] | None) -> bool:
        found = meta or {}
        return found.get("managed_by") == MANAGED_BY and found.get("project", self.project.name) == self.project.name


def versioned(job_id: str) -> tuple[str, int]:
    """An anomaly job's id as the name of its file and its version."""
    found = re.fullmatch(r"(.+)_v(\d+)", job_id)
    return (found[1], int(found[2])) if found else (job_id, 1)


def when(epoch_ms: Any) -> datetime:
    """Epoch milliseconds as a moment."""
    return datetime.fromtimestamp(int(epoch_ms) / 1000, UTC)
