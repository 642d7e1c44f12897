"""Has the data of a window or a partition arrived? What to ask the ledger and the streams, and what the answers lack.

Questions are JSON, since triggers carry them: `[method of the client, arguments]`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.exceptions import ProjectFileError

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob
    from elastic_ml.project.model import Model
    from elastic_ml.project.source import Source
    from elastic_ml.sources.partition import Partition

MENTIONED = 20

Request = tuple[str, dict[str, Any]]
Warn = Callable[..., None]


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

    :param requests: `judge` says what their answers lack.
    :param found: what the task returns once nothing is lacking.
    :param subject: names the data in the sentence about a time-out.
    """

    requests: list[Request]
    found: dict[str, Any]
    subject: str


def of_window(window: Window, warn: Warn) -> list[Request]:
    """Return what to ask about the partitions and streams of a model's window.

    :param warn: called with a sentence for a source file that cannot be read; it is left out.
    """
    project, model = window.project, window.model
    yesterday = window.day - timedelta(days=1)
    ids: dict[str, str] = {}
    fed: set[str] = set()
    for name, source, _ in feeding(project, model, warn):
        fed.add(source.stream)
        if source.start_date <= yesterday:
            key = yesterday.isoformat() if source.partition == "day" else f"{yesterday.isoformat()}T23"
            ids[name] = project.names.partition_id(name, key)
    partitions = {"gte": window.start.date().isoformat(), "lt": window.day.isoformat()}
    unfed = [index for index in model.source.index if index not in fed]
    return _requests(project, ids, partitions, unfed, window.end)


def feeding(project: "Project", model: "Model", warn: Warn) -> "Iterator[tuple[str, Source, bool]]":
    """Yield the sources that a model learns from, each with whether it brings verdicts rather than events.

    :param warn: as in `of_window`.
    """
    for name, source in _readable(project, warn):
        judges = source.kind == "labels" and model.label is not None and model.label.verdicts is not None
        if judges or source.stream in model.source.index:
            yield name, source, judges


def of_partition(project: "Project", job: "AnomalyJob", partition: "Partition", warn: Warn) -> list[Request]:
    """Return what to ask about the sources and indices of one partition of an anomaly job.

    :param warn: as in `of_window`.
    """
    day = partition.key[:10]
    # A day's hours, `2026-11-10T00` to `2026-11-10T23`, and the day itself.
    last = f"{day}T23" if partition.size == "day" else partition.key
    ids: dict[str, str] = {}
    fed: set[str] = set()
    for name, source in _readable(project, warn):
        if source.stream not in job.datafeed.indices:
            continue
        fed.add(source.stream)
        if source.start_date <= partition.start.date():
            ids[name] = project.names.partition_id(name, day if source.partition == "day" else last)
    unfed = [index for index in job.datafeed.indices if index not in fed]
    return _requests(project, ids, {"gte": day, "lte": last}, unfed, partition.end)


def _readable(project: "Project", warn: Warn) -> "Iterator[tuple[str, Source]]":
    for name in project.sources():
        try:
            yield name, project.source(name)
        except ProjectFileError as error:
            warn("Source %s is left out: %s", name, error)


def _requests(
    project: "Project", ids: Mapping[str, str], partitions: Mapping[str, str], unfed: Sequence[str], end: datetime
) -> list[Request]:
    """Ask for the last partition of each source, for unsettled ones, and of unfed streams for an event since the end.

    :param ids: the last partition's ledger id of each source.
    :param partitions: range of their keys.
    """
    ledger = project.names.ledger
    requests: list[Request] = []
    if ids:
        unsettled = [
            {"term": {"kind": "partition"}},
            {"terms": {"source": list(ids)}},
            {"terms": {"state": ["running", "failed"]}},
            {"range": {"partition": dict(partitions)}},
        ]
        query = {"bool": {"filter": unsettled}}
        requests.append(("mget", {"index": ledger, "ids": list(ids.values())}))
        requests.append(
            ("search", {"index": ledger, "size": MENTIONED, "query": query, "sort": [{"partition": "asc"}]})
        )
    since = {"range": {"@timestamp": {"gte": end.strftime("%Y-%m-%dT%H:%M:%SZ")}}}
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
