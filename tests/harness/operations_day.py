"""A day in the life of two models, written through the product's own templates and pipelines.

Known figures, for tests to find again: see the constants. Times are relative to `now`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

FRAUD, HOURS = "audit_fraud", "privileged_access"
CHAMPION, FORMER = "audit_fraud-20261101-aaaaaaaa-1", "audit_fraud-20261001-bbbbbbbb-1"
PREDICTIONS = 48 * (90 + 10) + 48 * 40 + 200
"""Of all predictions; 48 half hours of each champion, 200 requests of a service."""
FAILED = 48 * 10 + 20
BASELINE_MS = 10.0
OPEN_ALERTS = 2
"""A rule's and an anomaly's; others recovered or were withdrawn."""
AUDITED, SCORED, RISKY, JUDGED_RISKY, CONFIRMED = 60, 57, 20, 8, 6
"""Events of the internal audit trail; scored ones; those of 0.5 at least; of these, judged and confirmed."""

Document = dict[str, Any]


def write_day(client: Any, project: Any, now: datetime) -> None:
    """Write everything that dashboards show, the newest documents a minute before `now`."""
    names = project.names
    operations: list[Document] = []
    for stream, documents in {
        names.predictions: _predictions(now),
        names.registry: _registry(now),
        names.drift: _drift(now),
        names.alerts: _alerts(now),
        names.health: _health(now, names),
        names.dead_letter: _dead_letters(now),
        names.labels_stream: _decisions(now),
        **{stream.name: _audit(now, stream.dataset) for stream in names.audit_streams},
    }.items():
        for document in documents:
            operations += [{"create": {"_index": stream}}, document]
    for index, keyed in {
        names.labels: _verdicts(now),
        names.baselines: iter([(f"{FRAUD}@{CHAMPION}", {"baseline_p99_ms": BASELINE_MS})]),
        names.ledger: _partitions(now),
        names.features: _user_hours(now),
    }.items():
        for name, document in keyed:
            shown = {"model_key": name, **document} if index == names.baselines else document
            operations += [{"index": {"_index": index, "_id": name}}, shown]
    items = client.bulk(operations=operations, refresh=True)["items"]
    refused = [result for item in items for result in item.values() if result["status"] not in {200, 201}]
    assert not refused, refused[:2]
    lost = [result for item in items for result in item.values() if result.get("failure_store") == "used"]
    assert len(lost) == 1, lost  # the one that is meant to be


def _at(now: datetime, **ago: float) -> str:
    return (now - timedelta(**ago)).isoformat(timespec="milliseconds")


def _predictions(now: datetime) -> Iterator[Document]:
    common = {"stage": "champion", "environment": "demo", "provider": "pipeline"}
    for half_hour in range(48):
        at = _at(now, minutes=30 * half_hour + 1)
        for model, version, counted in ((FRAUD, CHAMPION, 90), (HOURS, f"{HOURS}-1", 40)):
            one = {"@timestamp": at, "model_name": model, "model_version": version, **common}
            scored = {**one, "event_type": "predict", "count": counted, "latency_ms": 8.0}
            yield {**scored, "status": "success"}
            yield {**one, "event_type": "heartbeat", "status": "success", "expected": 100, "min_expected": 10}
            if model == FRAUD:
                yield {**scored, "status": "error", "count": 10}
        # First scores of user-hours are no predictions: panels must leave them out.
        yield {**one, "event_type": "scored", "status": "success", "count": 1, "value": 0.2}
    for request in range(200):
        failed = request % 10 == 0
        yield {
            "@timestamp": _at(now, minutes=5 * request + 1), "model_name": "pricing", "model_version": "2.1",
            "event_type": "predict", "provider": "service", "environment": "demo", "count": 1,
            "request_id": f"r{request}", "latency_ms": 20.0 + request % 7, "status": "error" if failed else "success",
        }  # fmt: skip


def _registry(now: datetime) -> Iterator[Document]:
    for days, event, version, more in (
        (26, "registered", FORMER, {"stage": "candidate", "metrics": {"auc_roc": 0.91, "average_precision": 0.5}}),
        (25, "deployed", FORMER, {"stage": "champion", "user": {"name": "ana"}}),
        (5, "registered", CHAMPION, {"stage": "candidate", "metrics": {"auc_roc": 0.94, "average_precision": 0.6}}),
        (4, "deployed", CHAMPION, {"stage": "candidate", "status": "error", "reason": "pipeline refused"}),
        (3, "transitioned", FORMER, {"stage": "previous", "user": {"name": "ana"}}),
        (3, "deployed", CHAMPION, {"stage": "champion", "user": {"name": "ana"}, "previous_version": FORMER}),
        (2, "rejected", f"{HOURS}-2", {"stage": "retired", "model_name": HOURS}),
        (1, "rolled_back", f"{HOURS}-1", {"stage": "champion", "model_name": HOURS}),
        (1, "deleted", f"{HOURS}-0", {"stage": "retired", "model_name": HOURS}),
    ):
        yield {
            "@timestamp": _at(now, days=days), "event_type": event, "status": "success", "model_name": FRAUD,
            "model_version": version, "environment": "demo", "message": f"{version}: {event}", **more,
        }  # fmt: skip


def _drift(now: datetime) -> Iterator[Document]:
    for day in range(1, 11):
        common = {
            "@timestamp": _at(now, days=day), "event_type": "drift", "model_name": FRAUD, "model_version": CHAMPION,
            "environment": "demo", "message": "against its own holdout",
        }  # fmt: skip
        for feature in ("event.action", "audit.hour", "_score"):
            psi = 0.35 if feature == "audit.hour" and day < 3 else 0.03
            breached = psi > 0.2
            yield {
                **common, "feature": feature, "psi": psi, "limit": 0.2, "breached": breached,
                "status": "error" if breached else "success",
            }  # fmt: skip
        for feature, value in (("_coverage", 0.97), ("_precision", 0.4)):
            yield {**common, "feature": feature, "value": value, "limit": 0.2, "breached": False, "status": "success"}


def _alerts(now: datetime) -> Iterator[Document]:
    rule = {"event_type": "alert", "kind": "rule", "environment": "demo", "event": {"kind": "alert"}}
    slow = {**rule, "severity": "P2", "name": "P99 latency", "message": "P99 latency: audit_fraud,v1"}
    failed = {**rule, "severity": "P1", "name": "Errors", "message": "Errors: audit_fraud"}
    yield {"@timestamp": _at(now, minutes=50), "state": "query matched", "status": "error", **slow}
    yield {"@timestamp": _at(now, minutes=40), "state": "query matched", "status": "error", **failed}
    yield {"@timestamp": _at(now, minutes=20), "state": "recovered", "status": "success", **failed}
    strange = {
        "event_type": "anomaly", "kind": "anomaly", "status": "success", "name": "bulk_reads", "job_id": "bulk_reads",
        "record_score": 91.5, "severity": "critical", "typical": 12.0, "actual": 480.0, "user": {"id": "u7"},
        "influencers": ["user.id=u7", "audit.role=processor"], "environment": "demo", "event": {"kind": "alert"},
    }  # fmt: skip
    yield {"@timestamp": _at(now, hours=9), "state": "open", "message": "u7 read 40 times as much", **strange}
    yield {"@timestamp": _at(now, hours=8), "state": "withdrawn", "message": "u8 read much", **strange}
    # A failed task has no state: it happened, and is not open.
    yield {
        "@timestamp": _at(now, hours=2), "event_type": "task_failed", "kind": "rule", "status": "error",
        "name": "train_audit_fraud", "severity": "high", "message": "train failed", "environment": "demo",
    }  # fmt: skip


def _health(now: datetime, names: Any) -> Iterator[Document]:
    common = {"event_type": "health", "environment": "demo"}
    for hours in (30, 6, 0.05):
        one = {"@timestamp": _at(now, hours=hours), **common}
        used = 81.5 if hours < 1 else 60.0
        yield {
            **one, "kind": "disk", "name": "node-1", "state": "high" if used > 80 else "ok", "value": used,
            "limit": 80.0, "status": "error" if used > 80 else "success", "message": f"{used} % is used.",
        }  # fmt: skip
        for stream in (*(stream.name for stream in names.audit_streams), names.predictions):
            yield {
                **one, "kind": "stream", "name": stream, "state": "ok", "value": 1e6 / (1 + hours), "age_seconds": 90,
                "status": "success", "message": f"{stream} is fine.",
            }  # fmt: skip
        recovered = hours < 1
        yield {
            **one, "kind": "job", "name": "bulk_reads", "state": "opened" if recovered else "failed",
            "status": "success" if recovered else "error", "message": "bulk_reads.",
        }  # fmt: skip
        yield {**one, "kind": "transform", "name": names.features, "state": "started", "status": "success"}


def _dead_letters(now: datetime) -> Iterator[Document]:
    for number in range(6):
        yield {
            "@timestamp": _at(now, hours=number + 1), "event_type": "record_rejected", "status": "error",
            "environment": "demo", "reason": "no JSON" if number % 3 else "no timestamp", "partition": "2026-11-20",
            "source": {"name": "oracle_audit" if number % 2 else "ping_one"}, "position": f"line {number}",
            "message": f"line {number}", "raw": "{",
        }  # fmt: skip


def _audit(now: datetime, dataset: str) -> Iterator[Document]:
    for number in range(AUDITED):
        document: Document = {
            "@timestamp": _at(now, hours=2 * number + 0.1),
            "event": {
                "id": f"{dataset}-{number}", "dataset": dataset, "action": ("loan.read", "loan.approve")[number % 2],
                "outcome": "failure" if number % 9 == 0 else "success",
            },
            "user": {"id": f"u{number % 8}"},
            "source": {"geo": {"country_iso_code": ("US", "CA", "RO")[number % 3]}},
        }  # fmt: skip
        if dataset == "lendpath.audit":
            if number < SCORED:
                score = 0.95 - number * 0.02 if number < RISKY else 0.01
                score = max(score, 0.5) if number < RISKY else score
                reason = ["source.geo.country_iso_code=RO", "audit.hour=3"]
                document["ml"] = {FRAUD: {"score": score, "model_id": CHAMPION, "reason": reason}}
            elif number == SCORED:
                document["ml"] = {FRAUD: {"error": "no such field", "model_id": CHAMPION}}
        yield document
    if dataset == "lendpath.audit":
        yield {"@timestamp": _at(now, hours=1), "event": {"id": "broken", "dataset": dataset, "duration": "long"}}


def _decisions(now: datetime) -> Iterator[Document]:
    for number in range(JUDGED_RISKY + 2):
        decided = "confirmed" if number < CONFIRMED else "suspicious" if number < JUDGED_RISKY else "none"
        yield {
            "@timestamp": _at(now, hours=number + 1), "event": {"id": f"d{number}", "dataset": "lendpath.labels"},
            "verdict": {
                "event_id": f"lendpath.audit-{number}", "user_id": f"u{number % 8}", "decision": decided,
                "decided_by": "ana", "reason": "asked",
            },
        }  # fmt: skip


def _verdicts(now: datetime) -> Iterator[tuple[str, Document]]:
    for number in range(JUDGED_RISKY):
        verdict, rank = ("confirmed", 2) if number < CONFIRMED else ("suspicious", 1)
        name = f"lendpath.audit-{number}"
        hour = _user_hour(now, number % 2)
        yield name, {"event": {"id": name}, "user_hour": hour, "verdict": verdict, "rank": rank, "decided_at": _at(now)}


def _user_hour(now: datetime, number: int) -> str:
    return f"u{number}|{now - timedelta(hours=number + 2):%Y-%m-%dT%H}"


def _user_hours(now: datetime) -> Iterator[tuple[str, Document]]:
    for number in range(10):
        yield f"hour-{number}", {
            "@timestamp": _at(now, hours=number + 2), "user": {"id": f"u{number}"},
            "user_hour": _user_hour(now, number), "identity": {"events": 3}, "database": {"events": number},
            "application": {"events": 12},
            "ml": {HOURS: {"score": 0.9 - number / 20, "model_id": f"{HOURS}-1", "reason": ["database.events=9"]}},
        }  # fmt: skip


def _partitions(now: datetime) -> Iterator[tuple[str, Document]]:
    for source in ("ping_one", "oracle_audit", "internal_audit"):
        for day in range(1, 4):
            partition = (now - timedelta(days=day)).strftime("%Y-%m-%d")
            done = source != "oracle_audit" or day > 1
            yield f"partition|{source}|{partition}", {
                "kind": "partition", "source": source, "partition": partition, "state": "done" if done else "failed",
                "updated_at": _at(now, days=day - 0.5),
                "counts": {"read": 100, "indexed": 95, "duplicate": 3, "rejected": 2},
            }  # fmt: skip
