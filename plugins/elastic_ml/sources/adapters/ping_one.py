"""The `ping_one` adapter: PingOne activities (one JSON object each) as Elastic's integration stores them, and more.

Facts of the raw event and of the mapping: `packages/ping_one/data_stream/audit` of elastic/integrations. Deliberate
differences, with their reasons, are listed in docs/sources.md: the `ping_one.audit.*` copies stay (features are read
from them), the outcome knows the words of PingOne's sign-on events too, and what a model learns from stands as scalars
under `audit.*` beside the ECS arrays.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from elastic_ml.sources.adapters.ndjson import reason_of
from elastic_ml.sources.people import NameTable
from elastic_ml.sources.records import (
    Document,
    Raw,
    Rejected,
    get_path,
    is_plain_time,
    parse_time,
    pruned,
    record_id,
    timestamp,
)
from elastic_ml.sources.strict_json import parse_object

ECS_VERSION = "8.11.0"

_OUTCOMES = {
    **dict.fromkeys(("success", "succeeded"), "success"),
    **dict.fromkeys(("failure", "failed", "blocked", "denied", "error"), "failure"),
}
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
_OWN_PLACE = frozenset({
    "_links", "_embedded", "id", "recordedAt", "createdAt", "correlationId", "actors", "action", "resources", "result",
    "tags",
})  # fmt: skip
_URL = re.compile(
    r"(?P<scheme>[A-Za-z][\w+.-]*)://(?:[^/?#@]*@)?(?P<domain>[^/?#:]*|\[[^\]]*\])(?::(?P<port>\d{1,5}))?"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)


class _Action(NamedTuple):
    """What the name of an action says; the same for every event of it."""

    name: str
    categories: list[str]
    types: list[str]
    privileged: bool


class PingOneAdapter:
    """Maps PingOne activities; `user.id` is the person when there is a name table, else PingOne's own user id."""

    def __init__(self, people: NameTable | None = None, *, keep_original: bool = False) -> None:
        self._people = people
        self._keep_original = keep_original

    def __call__(self, records: Iterable[Raw]) -> Iterator[Document | Rejected]:
        """One document or reject per activity."""
        for raw in records:
            data = raw.data
            if raw.problem:
                yield Rejected.of(raw, raw.problem)
                continue
            if not data or data.isspace():
                continue
            try:
                record = raw.record
                if record is None:
                    record = parse_object(data)
                document = self._document(record, data)
            except (ValueError, RecursionError) as error:
                yield Rejected.of(raw, reason_of(error))
                continue
            if self._keep_original:
                document["event"]["original"] = data.decode("utf-8", "replace")
            yield document

    def _document(self, raw: dict[str, Any], data: bytes) -> Document:
        moment = _time(raw.get("recordedAt") or raw.get("createdAt"), "recordedAt")
        action = raw.get("action")
        kind = action.get("type") if isinstance(action, dict) else None
        if not isinstance(kind, str) or not kind:
            raise ValueError("no PingOne activity: action.type is missing")
        known = _action(kind)
        actors = pruned(raw.get("actors"))
        client, user = (_object(get_path(actors, role)) for role in ("client", "user"))
        client_id, client_name = _text(client, "id", "client"), _text(client, "name", "client")
        user_id, user_name = _text(user, "id", "user"), _text(user, "name", "user")
        resources = [item for item in pruned(_list(raw.get("resources"))) if isinstance(item, dict)]
        tags = pruned(_list(raw.get("tags")))
        result = raw.get("result")
        result = pruned(result) if isinstance(result, dict) else {}
        activity_id = raw.get("id")
        if isinstance(activity_id, dict | list | bool):
            raise ValueError(f"no PingOne activity: id is {type(activity_id).__name__}")  # noqa: TRY004 - a record's fault
        audit: dict[str, Any] = {
            "recorded_at": moment,
            "action": pruned(action),
            **_kept(raw, activity_id, actors, resources, result, tags),
        }
        # Scalars for learning: analytics skips every row in which a feature is an array.
        learned: dict[str, Any] = {
            "category": ",".join(known.categories),
            "type": ",".join(known.types),
            "resource_count": len(resources),
            "admin": "adminIdentityEvent" in tags,
            "privileged": known.privileged,
        }
        if resources:
            for name in ("type", "name"):
                if isinstance(value := resources[0].get(name), str):
                    learned[f"resource_{name}"] = value
        if "level" in result and "score" in result:
            _protect(result, audit, learned)
        document: Document = {
            "@timestamp": moment,
            "ecs": {"version": ECS_VERSION},
            "event": {
                "kind": "event",
                "id": record_id(data) if activity_id is None or activity_id == "" else str(activity_id),
                "dataset": "ping_one.audit",
                "action": known.name,
                "category": known.categories.copy(),
                "type": known.types.copy(),
                "outcome": _OUTCOMES.get(str(result.get("status")).lower(), "unknown"),
            },
            "ping_one": {"audit": audit},
            "audit": learned,
        }
        if client_id or client_name:
            document["client"] = {"user": _named(client_id, client_name)}
        if user_id or user_name:
            document["user"] = _named(self._person(user_id, user_name), user_name)
        if related := [name for name in dict.fromkeys((client_id, client_name, user_id, user_name)) if name]:
            document["related"] = {"user": related}
        if resources and isinstance(href := resources[-1].get("href"), str):
            document["url"] = _url(href)
        if tags:
            document["tags"] = tags.copy()
        if "_embedded" in raw and (address := _address(get_path(raw, "_embedded.riskEvaluation.event.ip"))):
            document["source"] = {"ip": address}
        return document

    def _person(self, user_id: str | None, user_name: str | None) -> str | None:
        if self._people is None:
            return user_id
        return self._people.first_person([name for name in (user_name, user_id) if name])


def _kept(
    raw: dict[str, Any], activity_id: Any, actors: Any, resources: list[Any], result: dict[str, Any], tags: list[Any]
) -> dict[str, Any]:
    """Everything else of the activity, under the integration's names; what it has no name for under `other`."""
    kept: dict[str, Any] = {"id": None if activity_id is None else str(activity_id)}
    if created := raw.get("createdAt"):
        kept["created_at"] = _time(created, "createdAt")
    if correlation := raw.get("correlationId"):
        kept["correlation"] = {"id": correlation}
    if actors:
        kept["actors"] = actors
    if resources:
        kept["resources"] = resources
    if result:
        kept["result"] = result
    if tags:
        kept["tags"] = tags
    if embedded := pruned(raw.get("_embedded")):
        kept["embedded"] = embedded
    if href := get_path(raw, "_links.self.href"):
        kept["links"] = {"self": {"href": href}}
    if not raw.keys() <= _OWN_PLACE and (
        other := pruned({name: value for name, value in raw.items() if name not in _OWN_PLACE})
    ):
        kept["other"] = other
    if kept["id"] in {None, ""}:
        del kept["id"]
    return kept


def _protect(result: dict[str, Any], audit: dict[str, Any], learned: dict[str, Any]) -> None:
    """PingOne Protect's evaluation (`Risk Evaluation Created`): level, score, source, recommendedAction."""
    level, score = result["level"], result["score"]
    audit["protect"] = {
        name: result[written]
        for name, written in (
            ("level", "level"), ("score", "score"), ("source", "source"), ("recommended_action", "recommendedAction"),
        )
        if written in result
    }  # fmt: skip
    if isinstance(level, str):
        learned["risk_level"] = level
    if isinstance(score, int | float) and not isinstance(score, bool):
        learned["risk_score"] = score


@lru_cache(maxsize=4096)
def _action(kind: str) -> _Action:
    name = kind.lower()
    categories = ["iam"]
    if any(word in name for word in _CONFIGURATION):
        categories.append("configuration")
    if "password.check_succeeded" in name or "password.check_failed" in name:
        categories.append("authentication")
    if "email" in name:
        categories.append("email")
    types = [ecs for word, ecs in _TYPES if word in name] or ["info"]
    return _Action(name, categories, types, any(word in name for word in _PRIVILEGED))


def _time(written: Any, name: str) -> str:
    if written is None:
        raise ValueError(f"no PingOne activity: {name} is missing")
    if type(written) is str and len(written) == 24 and is_plain_time(written):
        try:
            datetime.fromisoformat(written)
        except ValueError:
            pass
        else:
            return written  # as Elasticsearch prints it already
    try:
        return timestamp(parse_time(written))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(actor: dict[str, Any], name: str, role: str) -> str | None:
    value = actor.get(name)
    if value is None or type(value) is str:
        return value
    if isinstance(value, dict | list | bool):
        raise ValueError(f"actors.{role}.{name} is {type(value).__name__}")  # noqa: TRY004 - a record's fault
    return str(value)


def _named(identifier: str | None, name: str | None) -> dict[str, Any]:
    if identifier and name:
        return {"id": identifier, "name": name}
    return {"id": identifier} if identifier else {"name": name}


def _address(value: Any) -> str | None:
    """Where the evaluated sign-in came from, as PingOne Protect embeds it; None when it is no address."""
    try:
        return str(ipaddress.ip_address(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _url(href: str) -> dict[str, Any]:
    url: dict[str, Any] = {"original": href}
    if found := _URL.match(href):
        url |= {name: value for name, value in found.groupdict().items() if value}
        if "port" in url:
            url["port"] = int(url["port"])
    return url
