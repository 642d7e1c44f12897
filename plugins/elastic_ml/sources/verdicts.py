"""The verdict record: what a person decided about one event, and the document that keeps the decision."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from elastic_ml.sources.records import LONGEST_ID_BYTES, Document, get_path, parse_time, timestamp
from elastic_ml.sources.strict_json import without_surrogates

RANKS = {"none": 0, "suspicious": 1, "confirmed": 2}
"""The three verdicts, in the order in which one outweighs the other."""

# The version of the latest verdict per event is the time of the decision; a negative one would have Elasticsearch
# refuse the whole bulk request.
_FIRST_DECISION = datetime.fromtimestamp(0, UTC)


def judged_user(value: Any) -> str | None:
    """The user of a judged event, whose `user.id` may be a list.

    None where there are several: the verdict then counts for the event alone, as a user-hour is one person's.
    """
    users = {str(user) for user in (value if isinstance(value, list) else [value]) if user is not None and user != ""}
    return users.pop() if len(users) == 1 else None


def verdict_document(record: dict[str, Any]) -> Document:
    """The document of one verdict record, as the verdict stream keeps it.

    :param record: ``{decision_id, event_id, event_time, user_id, verdict, decided_at, decided_by, reason}``; time and
        user of the event may be missing. One that a field map brought into the stream's own fields is taken too.
    :raises ValueError: it is no verdict; the message says why.
    """
    if "verdict" in record and isinstance(record["verdict"], dict):
        record = {
            "decision_id": get_path(record, "event.id"),
            **record["verdict"],
            "verdict": record["verdict"].get("decision"),
        }
    for name in ("decision_id", "event_id", "verdict", "decided_at", "user_id"):
        written = record.get(name)
        if (written is None or written == "") and name != "user_id":
            raise ValueError(f"no verdict: {name} is missing")
        if isinstance(written, dict | list | bool):
            allowed = f"; it has to be one of {', '.join(RANKS)}" if name == "verdict" else ""
            raise ValueError(f"no verdict: {name} is {type(written).__name__}{allowed}")  # noqa: TRY004 - a record's fault
    if record["verdict"] not in RANKS:
        raise ValueError(f"the verdict {str(record['verdict'])[:80]!r} is none of {', '.join(RANKS)}")
    event_id = without_surrogates(str(record["event_id"]))
    if len(event_id.encode()) > LONGEST_ID_BYTES:
        raise ValueError(f"no verdict: event_id is longer than {LONGEST_ID_BYTES} bytes")
    moment = parse_time(record["decided_at"])
    if moment < _FIRST_DECISION:
        raise ValueError(f"no verdict: decided_at {timestamp(moment)} is before 1970")
    decided_at = timestamp(moment)
    event_time = record.get("event_time")
    verdict = {
        "event_id": event_id,
        "event_time": timestamp(parse_time(event_time)) if event_time else None,
        "user_id": str(record["user_id"]) if record.get("user_id") else None,
        "decision": record["verdict"],
        "decided_at": decided_at,
        "decided_by": record.get("decided_by"),
        "reason": record.get("reason"),
    }
    return {
        "@timestamp": decided_at,
        "event": {"id": str(record["decision_id"]), "kind": "event", "action": "verdict"},
        "verdict": {name: value for name, value in verdict.items() if value is not None and value != ""},
    }
