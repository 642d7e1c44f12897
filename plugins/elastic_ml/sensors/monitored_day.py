"""Waiting until the day that is monitored has arrived, without a worker slot."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.operators.base import sorted_fields
from elastic_ml.sensors.training_data import TrainingDataSensor

if TYPE_CHECKING:
    from elastic_ml.ingest.arrivals import Window


class MonitoredDaySensor(TrainingDataSensor):
    """Wait until the events of one day have arrived: its partitions are `done`, or a later event is there.

    Asks like `TrainingDataSensor`, of one day instead of a window.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param day: the day, UTC (templated).
    """

    template_fields: Sequence[str] = sorted_fields("day", "run")
    purpose: ClassVar[str] = "monitor"

    def __init__(self, *, day: str, **kwargs: Any) -> None:
        super().__init__(run={}, **kwargs)
        self.day = day

    def window(self) -> "Window":
        """Return the one day."""
        from elastic_ml.ingest.arrivals import Window
        from elastic_ml.project import load_project
        from elastic_ml.training.run import read_day

        project = load_project(self.project_folder)
        start = datetime.combine(read_day(self.day), datetime.min.time(), UTC)
        end = start + timedelta(days=1)
        return Window(project, project.model(self.model), end.date(), start, end, {"day": start.date().isoformat()})
