"""The `ping_one` adapter: PingOne activities (one JSON object per line) as Elastic's integration stores them.

Facts of the raw event and of the mapping: `packages/ping_one/data_stream/audit` of elastic/integrations. Where it
differs, on purpose: the `ping_one.audit.*` copies stay (features are read from them), the outcome also knows the words
of PingOne's sign-on events, and what a model learns from stands as scalars under `audit.*` beside the ECS arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from elastic_ml.sources.adapters.ndjson import parse_object
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import Document, Raw, Rejected, get_path, parse_time, pruned, record_id, timestamp

ECS_VERSION = "8.11.0"

_SUCCESS = frozenset({"success", "succeeded"})
_FAILURE = frozenset({"failure", "failed", "blocked", "denied", "error"})
_TYPES = (
    ("created", "creation"),
    ("deleted", "deletion"),
    ("updated", "change"),
    ("user", "user"),
    ("group", "group"),
    ("allowed", "info"),
    ("denied", "denied"),
    ("started", "start"),
    ("access_allowed", "access"),
)
_CONFIGURATION = ("created", "deleted", "updated", "access_allowed")
_PRIVILEGED = ("role_assignment", "secret.read", "policy", "admin", "group")


class PingOneAdapter:
    """Maps PingOne activities; `user.id` is the person when there is a name table, else PingOne's own user id."""

    def __init__(self, people: NameTable | None = None) -> None:
        self._people = people

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per line."""
        for raw in records:
            if not raw.data.strip():
                continue
            try:
                yield self._document(parse_object(raw.data), raw.data)
            except ValueError as error:
                yield Rejected.of(raw, str(error))

    def _document(self, raw: dict[str, Any], data: bytes) -> Document:
        recorded = raw.get("recordedAt") or raw.get("createdAt")
        if recorded is None:
            raise ValueError("no PingOne activity: recordedAt is missing")
        moment = timestamp(parse_time(recorded))
        action = get_path(raw, "action.type")
        if not isinstance(action, str) or not action:
            raise ValueError("no PingOne activity: action.type is missing")
        client, user = _actor(raw, "client"), _actor(raw, "user")
        resources = [item for item in _list(raw.get("resources")) if isinstance(item, dict)]
        tags = _list(raw.get("tags"))
        status = get_path(raw, "result.status")
        name = action.lower()
        document: Document = {
            "@timestamp": moment,
            "ecs": {"version": ECS_VERSION},
            "event": {
                "kind": "event",
                "id": str(raw.get("id") or record_id(data)),
                "dataset": "ping_one.audit",
                "action": name,
                "category": _categories(name),
                "type": [kind for word, kind in _TYPES if word in name] or ["info"],
                "outcome": _outcome(status),
                "timezone": "UTC",
            },
            "client": {"user": {"id": client.get("id"), "name": client.get("name")}},
            "user": {"id": self._person(user), "name": user.get("name")},
            "related": {"user": _distinct(client.get("id"), client.get("name"), user.get("id"), user.get("name"))},
            "url": _url(resources),
            "tags": tags,
            "ping_one": {
                "audit": {
                    "id": raw.get("id"),
                    "recorded_at": moment,
                    "created_at": raw.get("createdAt"),
                    "correlation": {"id": raw.get("correlationId")},
                    "action": {"type": action, "description": get_path(raw, "action.description")},
                    "actors": {"client": client, "user": user},
                    "resources": resources,
                    "result": raw.get("result"),
                    "tags": tags,
                    "embedded": raw.get("_embedded"),
                    "links": {"self": {"href": get_path(raw, "_links.self.href")}},
                    **_protect(raw),
                }
            },
            # Scalars for learning: analytics skips every row in which a feature is an array.
            "audit": {
                "resource_type": _scalar(resources[0].get("type")) if resources else None,
                "resource_name": _scalar(resources[0].get("name")) if resources else None,
                "resource_count": len(resources),
                "admin": "adminIdentityEvent" in tags,
                "privileged": any(word in name for word in _PRIVILEGED),
            },
        }
        return pruned(document)

    def _person(self, user: dict[str, Any]) -> str | None:
        if self._people is None:
            return user.get("id")
        raw = user.get("name") or user.get("id")
        return self._people.person(str(raw)) if raw else None


def _actor(raw: dict[str, Any], role: str) -> dict[str, Any]:
    actor = get_path(raw, f"actors.{role}")
    return actor if isinstance(actor, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _scalar(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _categories(action: str) -> list[str]:
    categories = ["iam"]
    if any(word in action for word in _CONFIGURATION):
        categories.append("configuration")
    if "password.check_succeeded" in action or "password.check_failed" in action:
        categories.append("authentication")
    if "email" in action:
        categories.append("email")
    return categories


def _outcome(status: object) -> str:
    """ECS outcome of a PingOne result status; a word that is neither is `unknown`, never a silent success."""
    word = str(status).lower()
    return "success" if word in _SUCCESS else "failure" if word in _FAILURE else "unknown"


def _protect(raw: dict[str, Any]) -> dict[str, Any]:
    """PingOne Protect's evaluation (`Risk Evaluation Created`), where the activity carries one."""
    result = raw.get("result")
    if not isinstance(result, dict) or not {"level", "score"} <= result.keys():
        return {}
    return {
        "protect": {
            "level": result["level"],
            "score": result["score"],
            "source": result.get("source"),
            "recommended_action": result.get("recommendedAction"),
        }
    }


def _url(resources: list[dict[str, Any]]) -> dict[str, Any]:
    href = resources[-1].get("href") if resources else None
    if not isinstance(href, str):
        return {}
    try:
        parts = urlsplit(href)
    except ValueError:
        return {"original": href}
    return {"original": href, "scheme": parts.scheme, "domain": parts.netloc, "path": parts.path, "query": parts.query}


def _distinct(*values: object) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values if value))
