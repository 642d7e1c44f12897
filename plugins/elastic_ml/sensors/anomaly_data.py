"""Waiting until the data of an anomaly job's partition has arrived, without a worker slot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.operators.base import sorted_fields
from elastic_ml.sensors.training_data import DataSensor

if TYPE_CHECKING:
    from elastic_ml.ingest.arrivals import Questions


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

    def questions(self) -> "Questions":
        """Ask about the partition's sources and indices."""
        from elastic_ml.ingest.arrivals import Questions, of_partition
        from elastic_ml.project import load_project
        from elastic_ml.sources.partition import Partition

        partition = Partition.parse(self.partition)
        project = load_project(self.project_folder)
        return Questions(
            of_partition(project, project.anomaly_job(self.job), partition, warn=self.log.warning),
            {"partition": partition.key},
            f"The data of {partition.key} for anomaly job {self.job}",
        )
