"""Waiting until the data of a training run has arrived, without a worker slot."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import WaitTimeoutError
from elastic_ml.links.kibana import DiscoverLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.kibana_pages import names_of, partitions
from elastic_ml.operators.readiness import VERDICT_POLICY
from elastic_ml.sensors.look import LookSensor
from elastic_ml.triggers.look import LookTrigger

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

    from elastic_ml.ingest.arrivals import Questions, Window


class DataSensor(LookSensor):
    """Base of the sensors that wait, without a worker slot, until data has arrived.

    :param project_folder: the project folder.
    :raises WaitTimeoutError: the data did not arrive in time.
    """

    operator_extra_links = (DiscoverLink(),)

    def __init__(self, *, project_folder: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder

    def pages(self, context: Any) -> Mapping[str, str]:
        """The ledger, which tells what is missing."""
        return {"DiscoverLink": partitions(names_of(self.project_folder))}

    def questions(self) -> "Questions":
        """Return what to ask; sends nothing."""
        raise NotImplementedError

    def look(self, context: Any, deadline: float) -> dict[str, Any]:
        """Ask until nothing is missing: the ledger is the truth."""
        from elastic_ml.ingest.arrivals import judge

        asked = self.questions()
        requests = asked.requests
        while True:
            missing = judge([getattr(self.client, api)(**arguments) for api, arguments in requests], requests)
            if not missing:
                return asked.found
            self.log.info("Waiting for data: %s", " ".join(missing))
            if time.time() >= deadline:
                raise WaitTimeoutError(
                    f"{asked.subject} did not arrive in time: {' '.join(missing)}",
                    remedy="Look at the ingest runs named here; clear this task once they are done.",
                )
            self.wait(TrainingDataTrigger, deadline, requests=[[api, arguments] for api, arguments in requests])


class TrainingDataSensor(DataSensor):
    """Wait until everything a training run learns from has arrived.

    Of each source that feeds the model's streams, and of the verdicts' sources: the last partition before `day` is
    `done` in the ledger, and none in the window is `running` or `failed`. Of a stream that no source feeds: its
    newest `@timestamp` is at or after the end of the holdout. Partitions that were never attempted are readiness's
    question, not this one's.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `training.RUN_TEMPLATE` (templated).
    """

    template_fields: Sequence[str] = sorted_fields("run")
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}
    purpose: ClassVar[str] = "train"

    def __init__(
        self,
        *,
        model: str,
        run: Mapping[str, Any],
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", VERDICT_POLICY)
        super().__init__(**kwargs)
        self.model = model
        self.run = run

    def questions(self) -> "Questions":
        """Ask about the window's partitions and streams."""
        from elastic_ml.ingest.arrivals import Questions, of_window

        window = self.window()
        return Questions(
            of_window(window, warn=self.log.warning),
            window.found,
            f"The data to {self.purpose} {self.model} for {window.day}",
        )

    def window(self) -> "Window":
        """Return what has to be there."""
        from elastic_ml.ingest.arrivals import Window
        from elastic_ml.training.run import TrainingRun

        run = TrainingRun.of(self.project_folder, self.model, dict(self.run))
        return Window(
            run.project, run.model, run.day, run.train_start, run.holdout_end, {"job_id": run.job_id, **run.windows}
        )


class TrainingDataTrigger(LookTrigger):
    """Asks the same questions as the sensor until nothing is missing or the deadline has passed.

    :param requests: `[method of the client, its arguments]` as `ingest.arrivals` makes them.
    :param elastic_conn_id: connection to the cluster.
    :param deadline: seconds since the epoch.
    :param poll_interval: seconds between two looks.
    """

    arguments: ClassVar[tuple[str, ...]] = ("requests", *LookTrigger.arguments)
    opaque_id: ClassVar[str] = "elastic-ml-wait-data"

    def __init__(
        self, requests: Sequence[Sequence[Any]], elastic_conn_id: str, deadline: float, poll_interval: float = 60.0
    ) -> None:
        super().__init__(elastic_conn_id, deadline, poll_interval)
        self.requests: list[Any] = [[str(api), dict(arguments)] for api, arguments in requests]

    async def over(self, client: "AsyncElasticsearch") -> bool:
        """Ask everything once."""
        from elastic_ml.ingest.arrivals import judge

        answers = [await getattr(client, api)(**arguments) for api, arguments in self.requests]
        return not judge(answers, self.requests)
