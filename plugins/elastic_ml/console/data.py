"""Scripts of `audit_ingest`, `record_verdict` and the anomaly jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.console.script import Request, Script
from elastic_ml.ingest.labels import latest_verdict
from elastic_ml.project.anomaly_bodies import calendar_bodies, datafeed_body, filter_bodies, job_body
from elastic_ml.sources.records import get_path
from elastic_ml.sources.verdicts import verdict_document

if TYPE_CHECKING:
    from elastic_ml.console.example import Example
    from elastic_ml.project.anomaly_job import AnomalyJob


def ingest(example: Example) -> Script:
    """A few documents as an ingestion sends them."""
    lines: list[dict[str, Any]] = []
    for stream, document in example.samples:
        lines += [{"create": {"_index": stream, "_id": document["event"]["id"]}}, document]
    streams = sorted({stream for stream, _ in example.samples})
    return Script(
        example.project.names.dag_id("audit_ingest"),
        3,
        "Sends single audit events to their streams.",
        "to try pipelines and mappings. Audit that arrives by an Elastic Agent, a Beat or Logstash needs none of it.",
        "the second answer: `@timestamp` is the event's own, `event.ingested` and `audit.hour` come from the pipeline.",
        "reads files, tables or an API, turns each record into ECS, keeps a ledger of partitions, sends history to "
        "indices of its own, counts at the end, and repeats without a duplicate.",
        [
            Request(
                "POST", "/_bulk?refresh=true", lines, why="A second time each is refused with 409: once is enough."
            ),
            Request("GET", f"/{','.join(streams)}/_search", {"sort": [{"@timestamp": "desc"}], "size": 5}),
        ]
        if lines
        else [],
    )


def verdict(example: Example) -> Script:
    """One verdict: into the stream of all decisions, and as the event's latest."""
    names = example.project.names
    judged = ("@timestamp", "user.id")
    document = next(
        (
            document
            for stream, document in example.samples
            if names.stream(stream) and all(get_path(document, field) for field in judged)
        ),
        None,
    )
    return Script(
        names.dag_id("record_verdict"),
        4,
        "Says what an event was: none, suspicious or confirmed.",
        "when somebody has judged an event.",
        "the last answer: one document per judged event, the latest decision.",
        "looks up time and person of the event, and notes who triggered it.",
        list(_verdict(example, document)) if document else [],
    )


def _verdict(example: Example, document: Mapping[str, Any]) -> Iterator[Request]:
    names = example.project.names
    decided = datetime(example.day.year, example.day.month, example.day.day, 9, tzinfo=UTC) - timedelta(days=1)
    kept = verdict_document(
        {
            "decision_id": f"by-hand-{document['event']['id']}",
            "event_id": document["event"]["id"],
            "event_time": document["@timestamp"],
            "user_id": document["user"]["id"],
            "verdict": "confirmed",
            "decided_at": decided.isoformat(),
            "decided_by": "you",
            "reason": "tried by hand",
        }
    )
    latest = latest_verdict(kept["verdict"], kept["verdict"]["event_time"], kept["verdict"]["user_id"])
    version = json.loads(latest.action)["index"]["version"]
    event_id = document["event"]["id"]
    yield Request(
        "PUT",
        f"/{names.labels_stream}/_create/{kept['event']['id']}?refresh=true",
        kept,
        why="Every decision is kept; the same one twice is refused.",
    )
    yield Request(
        "PUT",
        f"/{names.labels}/_doc/{event_id}?version={version}&version_type=external_gte&refresh=true",
        json.loads(latest.source),
        why="The version is the time of the decision in milliseconds: an older one never replaces a newer one.",
    )
    yield Request("GET", f"/{names.labels}/_doc/{event_id}")


def anomalies(example: Example, job: AnomalyJob, order: int) -> Script:
    """An anomaly job from its parts to its records."""
    project, name = example.project, example.project.names.anomaly_job(job.name)
    differs = (
        "keeps the datafeed running, and writes records above `alert_score` as alerts."
        if job.mode == "realtime"
        else "goes on from where the job is, keeps a model snapshot per partition, learns a changed partition again, "
        "and writes records above `alert_score` as alerts."
    )
    return Script(
        project.names.dag_id("anomalies", job.name),
        order,
        f"Lets the anomaly job {name} learn, and reads what was out of the ordinary.",
        "to try a job file on data that is there.",
        "the records: `record_score` from 0 to 100. A job needs about three weeks before its scores mean much.",
        differs,
        list(_anomalies(example, job, name)),
    )


def _anomalies(example: Example, job: AnomalyJob, name: str) -> Iterator[Request]:
    project = example.project
    feed = project.names.datafeed(name)
    for one, body in filter_bodies(project, job).items():
        yield Request("PUT", f"/_ml/filters/{one}", body)
    yield Request("PUT", f"/_ml/anomaly_detectors/{name}", job_body(project, job, {}))
    for one, body in calendar_bodies(project, job).items():
        events = body.pop("events", [])
        yield Request("PUT", f"/_ml/calendars/{one}", {**body, "job_ids": [name]})
        if events:
            yield Request("POST", f"/_ml/calendars/{one}/events", {"events": events})
    body = datafeed_body(project, job, name)
    yield Request("PUT", f"/_ml/datafeeds/{feed}", body, why="Refused while an index that it names does not exist.")
    yield Request("POST", f"/_ml/anomaly_detectors/{name}/_open")
    end = f"{example.day.isoformat()}T00:00:00Z"
    start = f"{(example.day - timedelta(days=60)).isoformat()}T00:00:00Z"
    yield Request("POST", f"/_ml/datafeeds/{feed}/_start", {"start": start, "end": end})
    yield Request(
        "GET",
        f"/_ml/datafeeds/{feed}/_stats",
        until=("datafeeds.0.state", "stopped"),
        why="It stops by itself at its end.",
    )
    yield Request("POST", f"/_ml/anomaly_detectors/{name}/_close")
    yield Request(
        "GET",
        f"/_ml/anomaly_detectors/{name}/results/records",
        {"sort": "record_score", "desc": True, "page": {"size": 10}},
    )
