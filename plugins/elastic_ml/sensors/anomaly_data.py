"""Waiting until the data of an anomaly job's partition has arrived, without a worker slot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.operators.base import sorted_fields
from elastic_ml.sensors.training_data import MENTIONED, DataSensor, Questions, Request

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob
    from elastic_ml.sources.partition import Partition


class AnomalyDataSensor(DataSensor):
    """Wait until everything that a partition of an anomaly job is about has arrived.

    Of each source that feeds one of the datafeed's indices: the partition is ``done`` in the ledger (of a daily source
    the day, of an hourly one the last hour), and none in it is ``running`` or ``failed``. Of an index that no source
    feeds: it has an event at or after the partition's end.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file.
    :param partition: UTC day ``2026-11-10`` or hour ``2026-11-10T13`` (templated).
    """

    template_fields: Sequence[str] = sorted_fields("partition", "project_folder")

    def __init__(
        self,
        *,
        job: str,
        partition: str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.partition = partition

    def questions(self) -> Questions:
        """Ask about the partition's sources and indices."""
        from elastic_ml.project import load_project
        from elastic_ml.sources.partition import Partition

        partition = Partition.parse(self.partition)
        project = load_project(self.project_folder)
        return Questions(
            requests_of(project, project.anomaly_job(self.job), partition, warn=self.log.warning),
            {"partition": partition.key},
            f"The data of {partition.key} for anomaly job {self.job}",
        )


def requests_of(project: "Project", job: "AnomalyJob", partition: "Partition", warn: Any) -> list[Request]:
    """Return what to ask the cluster: ``(method of the client, arguments)``, JSON only.

    :param warn: called with a sentence for a source file that cannot be read; it is left out.
    """
    day = partition.key[:10]
    ids: list[str] = []
    feeding: list[str] = []
    fed: set[str] = set()
    for name in project.sources():
        try:
            source = project.source(name)
        except ProjectFileError as error:
            warn("Source %s is left out: %s", name, error)
            continue
        if source.stream not in job.datafeed.indices:
            continue
        fed.add(source.stream)
        if source.start_date > partition.start.date():
            continue
        last = f"{day}T23" if partition.size == "day" else partition.key
        feeding.append(name)
        ids.append(project.names.partition_id(name, day if source.partition == "day" else last))
    requests: list[Request] = []
    if feeding:
        unsettled = [
            {"term": {"kind": "partition"}},
            {"terms": {"source": feeding}},
            {"terms": {"state": ["running", "failed"]}},
            # A day's hours, `2026-11-10T00` to `2026-11-10T23`, and the day itself.
            {"range": {"partition": {"gte": day, "lte": f"{day}T23" if partition.size == "day" else partition.key}}},
        ]
        ledger = project.names.ledger
        requests.append(("mget", {"index": ledger, "ids": ids}))
        query = {"bool": {"filter": unsettled}}
        requests.append(
            ("search", {"index": ledger, "size": MENTIONED, "query": query, "sort": [{"partition": "asc"}]})
        )
    since = {"range": {"@timestamp": {"gte": partition.end.strftime("%Y-%m-%dT%H:%M:%SZ")}}}
    unfed = [index for index in job.datafeed.indices if index not in fed]
    requests.extend(("search", {"index": index, "size": 0, "query": since, "track_total_hits": 1}) for index in unfed)
    return requests
