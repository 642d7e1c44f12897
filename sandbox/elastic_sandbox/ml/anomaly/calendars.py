"""Calendars with their scheduled events, and filters: what jobs leave out on purpose.

Statuses and words: Elasticsearch's YAML tests `calendar_crud` and `filter_crud`.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import action_request_validation, illegal_argument, unsupported
from elastic_sandbox.indices.dates import format_date
from elastic_sandbox.ml.anomaly.analysis import ScheduledEvent
from elastic_sandbox.ml.anomaly.times import parse_time
from elastic_sandbox.ml.strict import (
    bad_request,
    check_consistent_id,
    check_id,
    expand_expression,
    not_found,
    parse_strict,
    required,
)

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ml.anomaly.job import AnomalyJob

_CALENDAR: Final = "anomaly_calendar"
_EVENT: Final = "anomaly_event"
_FILTER: Final = "anomaly_filter"
_MAX_ITEMS: Final = 10_000
_EVENT_FIELDS: Final = {
    "calendar_id": str, "event_id": str, "description": str, "start_time": (str, int), "end_time": (str, int),
    "skip_result": bool, "skip_model_update": bool, "force_time_shift": int,
}  # fmt: skip


class Calendars:
    """Calendars and their events."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._state = backend.state

    def get(self, calendar_id: str) -> dict[str, Any]:
        """A calendar; 404 when there is none."""
        found = self._state.get(_CALENDAR, calendar_id)
        if found is None:
            raise not_found(f"No calendar with id [{calendar_id}]")
        return found

    def put(self, calendar_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a calendar; 400 when the id is taken or no id."""
        parse_strict("calendar", body, {"calendar_id": str, "job_ids": list, "description": str})
        check_consistent_id("calendar_id", body.get("calendar_id"), calendar_id)
        if calendar_id == "_all":
            raise bad_request(f"Cannot create a Calendar with the reserved name [{calendar_id}]")
        check_id("calendar_id", calendar_id)
        with self._backend.lock:
            if self._state.get(_CALENDAR, calendar_id) is not None:
                raise bad_request(f"Cannot create calendar with id [{calendar_id}] as it already exists")
            calendar: dict[str, Any] = {"calendar_id": calendar_id, "job_ids": sorted(set(body.get("job_ids") or []))}
            if body.get("description") is not None:
                calendar["description"] = body["description"]
            self._state.put(_CALENDAR, calendar_id, calendar)
        return calendar

    def expand(self, expression: str | None) -> list[dict[str, Any]]:
        """Calendars by an expression; 404 for a plain id that is not there."""
        chosen, missing = expand_expression(expression, self._state.names(_CALENDAR))
        if missing:
            raise not_found(f"No calendar with id [{missing[0]}]")
        return [self.get(name) for name in chosen]

    def delete(self, calendar_id: str) -> None:
        """Remove a calendar with its events."""
        with self._backend.lock:
            self.get(calendar_id)
            self._state.delete(_CALENDAR, calendar_id)
            for event in self._events():
                if event["calendar_id"] == calendar_id:
                    self._state.delete(_EVENT, event["event_id"])

    def change_jobs(self, calendar_id: str, expression: str, *, add: bool) -> dict[str, Any]:
        """Add or remove jobs or groups; a name that is neither yet may be added, as it may become a group."""
        with self._backend.lock:
            calendar = self.get(calendar_id)
            names = expression.split(",")
            for name in names:
                if not add and name not in calendar["job_ids"]:
                    raise not_found(f"Cannot remove [{name}] as it is not present in calendar [{calendar_id}]")
            kept = set(calendar["job_ids"])
            calendar["job_ids"] = sorted(kept | set(names) if add else kept - set(names))
            self._state.put(_CALENDAR, calendar_id, calendar)
            return calendar

    def forget_job(self, job_id: str) -> None:
        """A deleted job leaves its calendars."""
        for calendar in self.expand(None):
            if job_id in calendar["job_ids"]:
                calendar["job_ids"].remove(job_id)
                self._state.put(_CALENDAR, calendar["calendar_id"], calendar)

    def _events(self) -> list[dict[str, Any]]:
        return sorted((event for _, event in self._state.items(_EVENT)),
                      key=lambda event: (event["start_time"], event["description"], event["event_id"]))  # fmt: skip

    def post_events(self, calendar_id: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Add events; nothing is added when one is wrong."""
        parse_strict("post_calendar_event_request", body, {"events": list})
        if body.get("events") is None:
            raise required("post_calendar_event_request", "events")
        if not body["events"]:
            raise action_request_validation(["At least 1 event is required"])
        made = [self._event(calendar_id, event) for event in body["events"]]
        with self._backend.lock:
            self.get(calendar_id)
            for event in made:
                self._state.put(_EVENT, event["event_id"], event)
        return made

    def _event(self, calendar_id: str, body: Any) -> dict[str, Any]:
        parse_strict("scheduled_event", body, _EVENT_FIELDS)
        if body.get("calendar_id") not in {None, calendar_id}:
            raise bad_request(
                f"Inconsistent calendar_id; '{body['calendar_id']}' specified in the body differs from '{calendar_id}' "
                "specified as a URL argument"
            )
        if body.get("force_time_shift") is not None:
            raise unsupported("[force_time_shift] of a calendar event")
        for name in ("description", "start_time", "end_time"):
            if body.get(name) is None:
                raise bad_request(f"Field [{name}] cannot be null")
        start, end = (parse_time(name, body[name]) for name in ("start_time", "end_time"))
        if start >= end:
            raise bad_request(f"Event start time [{_instant(start)}] must come before end time [{_instant(end)}]")
        return {
            "calendar_id": calendar_id, "event_id": base64.urlsafe_b64encode(os.urandom(15)).decode(),
            "description": body["description"], "start_time": start, "end_time": end,
            "skip_result": body.get("skip_result", True), "skip_model_update": body.get("skip_model_update", True),
        }  # fmt: skip

    def events(
        self, calendar_id: str, *, start: int | None, end: int | None, job_id: str | None
    ) -> list[dict[str, Any]]:
        """Events by calendars, by time (those that touch it), or of one job or group (then of ``_all`` calendars)."""
        if job_id is not None and calendar_id != "_all":
            raise action_request_validation(
                [f"If job_id is used calendar_id must be '_all' or '*' but was [{calendar_id}]"]
            )
        calendars = self.expand(calendar_id)
        if job_id is not None:
            names = self._backend.ml.anomaly.jobs.names_of(job_id)
            calendars = [one for one in calendars if names & set(one["job_ids"])]
        chosen = {calendar["calendar_id"] for calendar in calendars}
        return [
            event
            for event in self._events()
            if event["calendar_id"] in chosen
            and (start is None or event["end_time"] > start)
            and (end is None or event["start_time"] < end)
        ]

    def delete_event(self, calendar_id: str, event_id: str) -> None:
        """Remove one event of a calendar."""
        self.get(calendar_id)
        event = self._state.get(_EVENT, event_id)
        if event is None:
            raise not_found(f"No event with id [{event_id}]")
        if event["calendar_id"] != calendar_id:
            raise bad_request(
                f"Event [{event_id}] has calendar_id [{event['calendar_id']}] which does not match the request "
                f"calendar_id [{calendar_id}]"
            )
        self._state.delete(_EVENT, event_id)

    def events_for(self, job: AnomalyJob) -> list[ScheduledEvent]:
        """The events of all calendars that name the job, one of its groups, or all jobs."""
        names = {job.id, *job.config.get("groups", []), "_all"}
        calendars = {name for name, calendar in self._state.items(_CALENDAR) if names & set(calendar["job_ids"])}
        return [
            ScheduledEvent(event["description"], event["start_time"], event["end_time"], event["skip_result"],
                           event["skip_model_update"])
            for event in self._events() if event["calendar_id"] in calendars
        ]  # fmt: skip


def _instant(time_ms: int) -> str:
    return format_date(time_ms).replace(".000Z", "Z")


class Filters:
    """Lists of strings that custom rules refer to."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._state = backend.state

    def put(self, filter_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create a filter."""
        parse_strict("filter", body, {"filter_id": str, "description": str, "items": list})
        check_consistent_id("filter_id", body.get("filter_id"), filter_id)
        check_id("filter_id", filter_id)
        if self._state.get(_FILTER, filter_id) is not None:
            from elastic_sandbox.errors import resource_already_exists

            raise resource_already_exists(f"A filter with id [{filter_id}] already exists")
        return self._keep({"filter_id": filter_id, "items": body.get("items") or []}, body.get("description"))

    def _keep(self, kept: dict[str, Any], description: str | None) -> dict[str, Any]:
        if len(kept["items"]) > _MAX_ITEMS:
            raise bad_request(
                f"Filter [{kept['filter_id']}] contains too many items; up to [{_MAX_ITEMS}] items are allowed"
            )
        kept["items"] = sorted(set(kept["items"]))
        if description is not None:
            kept["description"] = description
        self._state.put(_FILTER, kept["filter_id"], kept)
        return kept

    def get(self, filter_id: str) -> dict[str, Any]:
        """A filter; 404 when there is none."""
        found = self._state.get(_FILTER, filter_id)
        if found is None:
            raise not_found(f"No filter with id [{filter_id}] exists")
        return found

    def expand(self, expression: str | None) -> list[dict[str, Any]]:
        """Filters by an expression; 404 for a plain id that is not there."""
        chosen, missing = expand_expression(expression, self._state.names(_FILTER))
        if missing:
            raise not_found("Unable to find filter [" + missing[0] + "]")
        return [self.get(name) for name in chosen]

    def update(self, filter_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add and remove items; what is removed must be there."""
        parse_strict("update_filter_action", body, {
            "filter_id": str, "description": str, "add_items": list, "remove_items": list})  # fmt: skip
        with self._backend.lock:
            kept = self.get(filter_id)
            items = set(kept["items"]) | set(body.get("add_items") or [])
            for item in body.get("remove_items") or []:
                if item not in items:
                    raise illegal_argument(f"Cannot remove item [{item}] as it is not present in filter [{filter_id}]")
                items.remove(item)
            return self._keep(kept | {"items": list(items)}, body.get("description"))

    def delete(self, filter_id: str) -> None:
        """Remove a filter that no job's rules name."""
        with self._backend.lock:
            users = sorted(
                job.id
                for job in self._backend.ml.anomaly.jobs.all()
                for detector in job.config["analysis_config"]["detectors"]
                for rule in detector.get("custom_rules", [])
                if any(reference["filter_id"] == filter_id for reference in rule.get("scope", {}).values())
            )
            if users:
                from elastic_sandbox.ml.strict import conflict

                raise conflict(f"Cannot delete filter [{filter_id}] currently used by jobs [{', '.join(users)}]")
            self.get(filter_id)
            self._state.delete(_FILTER, filter_id)

    def items(self) -> dict[str, frozenset[str]]:
        """The items of every filter."""
        return {name: frozenset(kept["items"]) for name, kept in self._state.items(_FILTER)}
