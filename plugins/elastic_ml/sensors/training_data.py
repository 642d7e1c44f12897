"""Waiting until the data of a training run has arrived, without a worker slot."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from elastic_ml.exceptions import ProjectFileError, WaitTimeoutError
from elastic_ml.links.kibana import DiscoverLink
from elastic_ml.operators.base import sorted_fields
from elastic_ml.operators.kibana_pages import names_of, partitions
from elastic_ml.operators.readiness import VERDICT_POLICY
from elastic_ml.sensors.look import LookSensor
from elastic_ml.triggers.look import LookTrigger

if TYPE_CHECKING:
    from elasticsearch import AsyncElasticsearch

    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

MENTIONED = 20

Request = tuple[str, dict[str, Any]]


class Window(NamedTuple):
    """What a sensor waits for: the partitions of [start, day), and events up to `end` where no source feeds a stream.

    :param found: what the task returns once all is there.
    """

    project: "Project"
    model: "Model"
    day: date
    start: datetime
    end: datetime
    found: dict[str, Any]


class Questions(NamedTuple):
    """What a sensor asks the cluster.

    :param requests: as `requests_of` makes them; `judge` says what their answers lack.
    :param found: what the task returns once nothing is lacking.
    :param subject: names the data in the sentence about a time-out.
    """

    requests: list[Request]
    found: dict[str, Any]
    subject: str


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

    def questions(self) -> Questions:
        """Return what to ask; sends nothing."""
        raise NotImplementedError

    def look(self, context: Any, deadline: float) -> dict[str, Any]:
        """Ask until nothing is missing: the ledger is the truth."""
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

    def questions(self) -> Questions:
        """Ask about the window's partitions and streams."""
        window = self.window()
        return Questions(
            requests_of(window, warn=self.log.warning),
            window.found,
            f"The data to {self.purpose} {self.model} for {window.day}",
        )

    def window(self) -> Window:
        """Return what has to be there."""
        from elastic_ml.training.run import TrainingRun

        run = TrainingRun.of(self.project_folder, self.model, dict(self.run))
        return Window(
            run.project, run.model, run.day, run.train_start, run.holdout_end, {"job_id": run.job_id, **run.windows}
        )


class TrainingDataTrigger(LookTrigger):
    """Asks the same questions as the sensor until nothing is missing or the deadline has passed.

    :param requests: `[method of the client, its arguments]` as `requests_of` makes them.
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
        answers = [await getattr(client, api)(**arguments) for api, arguments in self.requests]
        return not judge(answers, self.requests)


def requests_of(run: Window, warn: Any) -> list[Request]:
    """Return what to ask the cluster: `(method of the client, arguments)`, JSON only.

    :param warn: called with a sentence for a source file that cannot be read; it is left out.
    """
    project, names, model = run.project, run.project.names, run.model
    last_ids: list[str] = []
    feeding: list[str] = []
    fed: set[str] = set()
    for name in project.sources():
        try:
            source = project.source(name)
        except ProjectFileError as error:
            warn("Source %s is left out: %s", name, error)
            continue
        judged = source.kind == "labels" and model.label is not None and model.label.verdicts is not None
        if source.stream not in model.source.index and not judged:
            continue
        fed.add(source.stream)
        yesterday = run.day - timedelta(days=1)
        if source.start_date > yesterday:
            continue
        key = yesterday.isoformat() if source.partition == "day" else f"{yesterday.isoformat()}T23"
        feeding.append(name)
        last_ids.append(names.partition_id(name, key))
    requests: list[Request] = []
    if feeding:
        requests.append(("mget", {"index": names.ledger, "ids": last_ids}))
        unsettled = [
            {"term": {"kind": "partition"}},
            {"terms": {"source": feeding}},
            {"terms": {"state": ["running", "failed"]}},
            {"range": {"partition": {"gte": run.start.date().isoformat(), "lt": run.day.isoformat()}}},
        ]
        requests.append(
            (
                "search",
                {
                    "index": names.ledger,
                    "size": MENTIONED,
                    "query": {"bool": {"filter": unsettled}},
                    "sort": [{"partition": "asc"}],
                },
            )
        )
    unfed = [index for index in model.source.index if index not in fed]
    since = {"range": {"@timestamp": {"gte": run.end.strftime("%Y-%m-%dT%H:%M:%SZ")}}}
    requests.extend(("search", {"index": index, "size": 0, "query": since, "track_total_hits": 1}) for index in unfed)
    return requests


def judge(answers: Sequence[Any], requests: Sequence[Any]) -> list[str]:
    """Return what is still missing, one sentence each; nothing when all has arrived."""
    missing: list[str] = []
    for answer, (api, arguments) in zip(answers, requests, strict=True):
        if api == "mget":
            for document in answer["docs"]:
                _, source, partition = document["_id"].split("|", 2)
                state = document["_source"]["state"] if document.get("found") else "not attempted"
                if state != "done":
                    missing.append(f"Partition {partition} of source {source} is {state}.")
        elif arguments["size"]:
            missing.extend(_unsettled(hit["_source"]) for hit in answer["hits"]["hits"])
        elif answer["hits"]["total"]["value"] == 0:
            since = arguments["query"]["range"]["@timestamp"]["gte"]
            missing.append(f"Stream {arguments['index']} has no event at or after {since} yet.")
    return list(dict.fromkeys(missing))


def _unsettled(entry: Mapping[str, Any]) -> str:
    sentence = f"Partition {entry['partition']} of source {entry['source']} is {entry['state']}."
    expires = entry.get("expires_at")
    if entry["state"] == "running" and expires and datetime.fromisoformat(expires) < datetime.now(UTC):
        sentence += f" Its writer {entry.get('owner')} has been silent since before {expires}: clear that ingest task."
    return sentence
