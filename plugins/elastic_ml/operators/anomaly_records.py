"""What an anomaly job found, as documents that people and rules read: the alerts stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import InvalidRequestError, NotFoundError, NotReadyError
from elastic_ml.links.kibana import AnomalyExplorerLink, DiscoverLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.documents import scan
from elastic_ml.operators.kibana_pages import names_of, newest
from elastic_ml.operators.operations_log import Entry, append
from elastic_ml.operators.registry import deterministic_id

if TYPE_CHECKING:
    from datetime import datetime

    from elasticsearch import Elasticsearch

    from elastic_ml.clients.anomaly_records import Record
    from elastic_ml.lineage import DataLineage
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob

CHUNK = 500
_COMPARED = (
    "job_id", "record_score", "severity", "actual", "typical", "influencers", "state", "message", "reason",
)  # fmt: skip
Document = dict[str, Any]


class AnomalyAlertsOperator(ElasticBaseOperator):
    """Write the records of an anomaly job at or above its ``alert_score`` as documents of the alerts stream.

    Reads the final records whose bucket begins in [start, end), and appends one document each to
    ``logs-<prefix>.alerts-<namespace>``, with what it is about (``field=value``), typical and actual value, severity.
    The id follows from the job file's name, the bucket, the detector and what the record is about, so

    - a second run writes nothing;
    - a bucket that is analysed again, also by another version of the job, gives the same alert, updated in place where
      its score or values changed;
    - an alert of the window that no longer holds (its bucket was replayed, or Elasticsearch has since lowered the
      score, or the file's ``alert_score`` was raised) stays, since somebody may have acted on it, but its ``state``
      becomes ``withdrawn`` and ``reason`` says why. It becomes ``open`` again when the record is found again.

    :param project_folder: folder with ``project.yml`` (templated).
    :param job: name of the job file (templated).
    :param start: begin of the window: ISO date or time, or epoch milliseconds (templated).
    :param end: its end, exclusive (templated).
    :param job_id: id of the job; by default the first version's (templated).
    :return: ``{"job_id", "start", "end", "alerts", "new", "changed", "withdrawn", "highest"}``.
    :raises NotFoundError: there is no such job.
    :raises NotReadyError: the alerts stream does not exist.
    :raises IngestError: the failure store took an alert.
    """

    template_fields: Sequence[str] = sorted_fields("end", "job", "job_id", "project_folder", "start")
    operator_extra_links = (AnomalyExplorerLink(), DiscoverLink())

    def __init__(
        self, *, project_folder: str, job: str, start: str, end: str, job_id: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.job = job
        self.start = start
        self.end = end
        self.job_id = job_id

    def pages(self, context: Any) -> Mapping[str, str]:
        """What the job found in the window, and the alerts."""
        names = names_of(self.project_folder)
        job_id = self.job_id or names.anomaly_job(self.job)
        start, end = (at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in _window(self.start, self.end))
        return {
            "AnomalyExplorerLink": f"{job_id}/{start}/{end}",
            "DiscoverLink": newest(names.alerts, {"name": self.job}),
        }

    def lineage(self) -> "DataLineage":
        """Return the alias of the job's results, and the stream of alerts."""
        from elastic_ml.lineage import DataLineage

        names = names_of(self.project_folder)
        return DataLineage((f".ml-anomalies-{self.job_id or names.anomaly_job(self.job)}",), (names.alerts,))

    def execute(self, context: Any) -> dict[str, Any]:
        """Read the records, write what is new or changed, withdraw what no longer holds."""
        from elastic_ml.clients.anomaly_records import read_records
        from elastic_ml.project import load_project

        project = load_project(self.project_folder)
        job = project.anomaly_job(self.job)
        job_id = self.job_id or project.names.anomaly_job(job.name)
        start, end = _window(self.start, self.end)
        records = read_records(
            self.client, job_id, start=start, end=end, min_score=job.alert_score, serverless=self.hook.serverless
        )
        written = _Alerts(self.client, project, job)
        for record in written.publish(records):
            self.log.info("%s", record)
        written.withdraw(start, end)
        return {
            "job_id": job_id,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "alerts": len(written.ids),
            "new": written.new,
            "changed": written.changed,
            "withdrawn": written.withdrawn,
            "highest": written.highest,
        }


def _window(start: str, end: str) -> "tuple[datetime, datetime]":
    from elastic_ml.clients.anomaly_records import moment

    try:
        window = moment(start), moment(end)
    except ValueError as error:
        raise InvalidRequestError(
            f"The window {start!r} to {end!r} cannot be read: {error}.",
            remedy="Write ISO dates or times, or epoch milliseconds.",
        ) from error
    if window[0] > window[1]:
        raise InvalidRequestError(f"The window ends ({end}) before it begins ({start}).", remedy="Swap the two.")
    return window


class _Alerts:
    """The alerts of one job in one window, as they are written a chunk at a time; ids are all that is kept."""

    def __init__(self, client: "Elasticsearch", project: "Project", job: "AnomalyJob") -> None:
        self.client = client
        self.project = project
        self.job = job
        self.ids: set[str] = set()
        self.new = 0
        self.changed = 0
        self.withdrawn = 0
        self.highest = 0.0

    @property
    def stream(self) -> str:
        return self.project.names.alerts

    def publish(self, records: "Iterable[Record]") -> Iterator[str]:
        """Write each record's document unless it is there as it should be; yields a line for each one written."""
        for chunk in _chunks(records):
            wanted = {alert_id(self.job, record): alert_document(self.project, self.job, record) for record in chunk}
            self.ids |= wanted.keys()
            self.highest = max(self.highest, *(record.score for record in chunk))
            there = self._there(wanted)
            self.new += append(
                self.client,
                [Entry(self.stream, name, document) for name, document in wanted.items() if name not in there],
            )
            changes = {
                name: (hit["_index"], {key: wanted[name].get(key) for key in _COMPARED})
                for name, hit in there.items()
                if any(hit["_source"].get(key) != wanted[name].get(key) for key in _COMPARED)
            }
            self.changed += self._update(changes)
            yield from (wanted[name]["message"] for name in wanted if name not in there or name in changes)

    def withdraw(self, start: "datetime", end: "datetime") -> None:
        """Mark the open alerts of the window that were not found now."""
        window = {"gte": round(start.timestamp() * 1000), "lt": round(end.timestamp() * 1000)}
        filters = [
            {"term": {"kind": "anomaly"}},
            {"term": {"name": self.job.name}},
            {"term": {"state": "open"}},
            {"range": {"@timestamp": {**window, "format": "epoch_millis"}}},
        ]
        change = {
            "state": "withdrawn",
            "reason": f"No record with a score of {self.job.alert_score:g} or more is there any more: the bucket was "
            "analysed again, or the score was lowered.",
        }
        gone = (
            hit
            for hit in scan(self.client, self.stream, {"bool": {"filter": filters}}, False)
            if hit["_id"] not in self.ids
        )
        for chunk in _chunks(gone):
            self.withdrawn += self._update({hit["_id"]: (hit["_index"], change) for hit in chunk})

    def _there(self, wanted: Mapping[str, Document]) -> dict[str, Any]:
        try:
            hits = self.client.search(index=self.stream, query={"ids": {"values": list(wanted)}}, size=len(wanted))[
                "hits"
            ]["hits"]
        except NotFoundError as missing:
            raise NotReadyError(
                f"The alerts stream {self.stream} does not exist.", remedy="Run the DAG elastic_setup with mode=apply."
            ) from missing
        return {hit["_id"]: hit for hit in hits}

    def _update(self, changes: Mapping[str, tuple[str, Document]]) -> int:
        """Change documents where they lie: a stream itself only takes new ones."""
        from elastic_ml.clients.translation import error_from_answer

        if not changes:
            return 0
        operations: list[Document] = []
        for name, (index, change) in changes.items():
            operations += [{"update": {"_index": index, "_id": name, "retry_on_conflict": 3}}, {"doc": change}]
        for item in self.client.bulk(operations=operations, refresh=True)["items"]:
            result = item["update"]
            if result["status"] >= 300:
                raise error_from_answer(
                    result["status"], result["error"], doing=f"update of alert {result['_id']} in {result['_index']}"
                )
        return len(changes)


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def alert_id(job: "AnomalyJob", record: "Record") -> str:
    """Return the id of a record's alert; the same for every version of the job and every analysis of the bucket.

    Detectors are told apart by what they compute of what: their order may differ between versions. Where two of them
    compute the same, by different rules, the later ones go by their place as well.
    """
    return deterministic_id(
        "anomaly", job.name, record.bucket.isoformat(), record.function, record.field,
        *(":".join(split) for split in record.split), *_place(job, record.detector),
    )  # fmt: skip


def _place(job: "AnomalyJob", detector: int) -> list[str]:
    """The detector's place among those of the file that compute the same; nothing for the first of them."""
    told = [
        (d.function, d.field_name, d.partition_field_name, d.by_field_name, d.over_field_name)
        for d in job.job.analysis_config.detectors
    ]
    if detector >= len(told):
        return []  # of a version of the job that had more detectors than the file has now
    place = told[:detector].count(told[detector])
    return [f"detector:{place}"] if place else []


def alert_document(project: "Project", job: "AnomalyJob", record: "Record") -> Document:
    """Return a record as a document of the alerts stream, without its id."""
    named = [(split.field, split.value) for split in record.split]
    named += [(name, value) for name, values in record.influencers.items() for value in values]
    about = sorted({f"{name}={value}" for name, value in named})
    severity = severity_of(record.score)
    what = f"{record.function}({record.field})" if record.field else record.function
    seen = f"{_number(record.actual)}, typically {_number(record.typical)}" if record.actual else "unusual"
    message = (
        f"{job.name}: {what} of {', '.join(about) or 'all events'} was {seen} from "
        f"{record.bucket:%Y-%m-%d %H:%M} UTC (score {record.score:.0f}, {severity})"
    )
    return project.templates.render(
        "anomaly/alert.json.j2", record=record, job=job, about=about, severity=severity, message=message
    )


def severity_of(score: float) -> str:
    """Return Kibana's word for a score: critical from 75, major from 50, minor from 25, else warning."""
    return next((word for least, word in ((75, "critical"), (50, "major"), (25, "minor")) if score >= least), "warning")


def _number(values: Sequence[float]) -> str:
    return "/".join(f"{value:.4g}" for value in values)
