"""What an anomaly job found, as documents that people and rules read: the alerts stream."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.documents import scan
from elastic_ml.clients.translation import error_from_answer
from elastic_ml.exceptions import NotFoundError, NotReadyError
from elastic_ml.monitoring.operations_log import Entry, append
from elastic_ml.registry.events import deterministic_id

if TYPE_CHECKING:
    from datetime import datetime

    from elasticsearch import Elasticsearch

    from elastic_ml.clients.anomaly_records import Record
    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob

CHUNK = 500
_COMPARED = (
    "job_id", "record_score", "severity", "actual", "typical", "influencers", "state", "message", "reason",
)  # fmt: skip
Document = dict[str, Any]


class Alerts:
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
        """The alerts stream."""
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
