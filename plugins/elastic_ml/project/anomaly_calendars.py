"""Calendars and filters of an anomaly job: read, compared, and only the difference is written.

A calendar's events suspend results or learning; a filter is a list of values that a detector's rules refer to. Neither
has metadata, so what is this project's carries its mark at the end of the description: `Christmas Day [shop]`.
Whatever somebody adds in Kibana without the mark stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import AlreadyExistsError, ConflictError, NotFoundError
from elastic_ml.project.anomaly_bodies import calendar_bodies, filter_bodies, mark_of
from elastic_ml.project.reconcile import Row

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project import Project
    from elastic_ml.project.anomaly_job import AnomalyJob

_PAGE = 1000
Body = dict[str, Any]

# Filters ----------------------------------------------------------------------------------------------------------


def apply_filters(client: Elasticsearch, project: Project, job: AnomalyJob) -> list[Row]:
    """Create and change the filters of a job file; those it no longer has are deleted unless a job uses them.

    A list is the file's: what somebody added to it in Kibana is taken out again, and the row says what.

    :raises AlreadyExistsError: a filter of that id is somebody else's.
    """
    mark = mark_of(project)
    wanted = filter_bodies(project, job)
    found = client.ml.get_filters(filter_id=project.names.anomaly_filter(job.name, "*"))["filters"]
    present = {one["filter_id"]: one for one in found}
    rows = []
    for name, body in wanted.items():
        actual = present.get(name)
        if actual is None:
            client.ml.put_filter(filter_id=name, **body)
            rows.append(Row("filter", name, "created", f"{len(body['items'])} items"))
            continue
        _must_be_ours("filter", name, actual, mark)
        add = sorted(set(body["items"]) - set(actual["items"]))
        remove = sorted(set(actual["items"]) - set(body["items"]))
        if not add and not remove and actual.get("description") == body["description"]:
            rows.append(Row("filter", name, "unchanged"))
            continue
        client.ml.update_filter(filter_id=name, add_items=add, remove_items=remove, description=body["description"])
        rows.append(Row("filter", name, "changed", _difference(add, remove) or "description"))
    gone = [name for name in sorted(present.keys() - wanted.keys()) if marked(present[name], mark)]
    return [*rows, *(_without_filter(client, name) for name in gone)]


def _without_filter(client: Elasticsearch, name: str) -> Row:
    try:
        client.ml.delete_filter(filter_id=name)
    except ConflictError as error:
        # An older version of the job still names it; housekeeping deletes that job, a later run this filter.
        return Row("filter", name, "conflict", error.message)
    except NotFoundError:
        pass
    return Row("filter", name, "removed")


# Calendars --------------------------------------------------------------------------------------------------------


def apply_calendars(client: Elasticsearch, project: Project, job: AnomalyJob, job_id: str) -> list[Row]:
    """Bring the calendars of a job file to what it says, for the job ``job_id``, which need not exist yet.

    Adds missing events, removes events of this project that are no longer wanted or are there twice, and puts the job
    into the calendar. A calendar that the file no longer has is deleted, unless it holds events of somebody else.

    :raises AlreadyExistsError: a calendar of that id is somebody else's.
    """
    mark = mark_of(project)
    wanted = calendar_bodies(project, job)
    found = client.ml.get_calendars(calendar_id=project.names.anomaly_calendar(job.name, "*"))["calendars"]
    present = {one["calendar_id"]: one for one in found}
    rows = [_calendar(client, name, body, present.get(name), job_id, mark) for name, body in wanted.items()]
    gone = [name for name in sorted(present.keys() - wanted.keys()) if marked(present[name], mark)]
    return [*rows, *(_without_calendar(client, name, mark) for name in gone)]


def _calendar(client: Elasticsearch, name: str, body: Body, actual: Body | None, job_id: str, mark: str) -> Row:
    said = []
    if actual is None:
        client.ml.put_calendar(calendar_id=name, job_ids=[job_id], description=body["description"])
        there = []
    else:
        _must_be_ours("calendar", name, actual, mark)
        if job_id not in actual["job_ids"]:
            client.ml.put_calendar_job(calendar_id=name, job_id=job_id)
            said = [f"for {job_id}"]
        there = [event for event in _events(client, name) if marked(event, mark)]
    ours = {_key(event): event for event in there}
    kept = {_key(event) for event in body["events"]}
    missing = [event for event in body["events"] if _key(event) not in ours]
    surplus = [event for event in there if _key(event) not in kept or ours[_key(event)] is not event]
    if missing:
        # Sent once: after a lost answer a copy would add every event again. The task's next try looks first.
        client.options(max_retries=0).ml.post_calendar_events(calendar_id=name, events=missing)
    for event in surplus:
        _delete_event(client, name, event["event_id"])
    if actual is None:
        return Row("calendar", name, "created", f"{len(missing)} events")
    if difference := _difference([_shown(e) for e in missing], [_shown(e) for e in surplus]):
        said.append(difference)
    return Row("calendar", name, "changed" if said else "unchanged", "; ".join(said))


def _without_calendar(client: Elasticsearch, name: str, mark: str) -> Row:
    events = list(_events(client, name))
    others = [event for event in events if not marked(event, mark)]
    if not others:
        client.ml.delete_calendar(calendar_id=name)
        return Row("calendar", name, "removed", f"{len(events)} events")
    for event in events:
        if marked(event, mark):
            _delete_event(client, name, event["event_id"])
    return Row("calendar", name, "edited by hand", f"stays for {len(others)} events that somebody added")


def _events(client: Elasticsearch, calendar: str) -> Iterator[Body]:
    seen, total = 0, 1
    while seen < total:
        page = client.ml.get_calendar_events(calendar_id=calendar, from_=seen, size=_PAGE)
        total = int(page["count"])
        yield from page["events"]
        seen += len(page["events"])
        if not page["events"]:
            return


def _delete_event(client: Elasticsearch, calendar: str, event_id: str) -> None:
    try:
        client.ml.delete_calendar_event(calendar_id=calendar, event_id=event_id)
    except NotFoundError:
        return  # an earlier request whose answer was lost


def _key(event: Body) -> tuple[Any, ...]:
    skips = (bool(event.get("skip_result", True)), bool(event.get("skip_model_update", True)))
    return (event["description"], int(event["start_time"]), int(event["end_time"]), *skips)


def _shown(event: Body) -> str:
    from datetime import UTC, datetime

    return f"{event['description']} {datetime.fromtimestamp(int(event['start_time']) / 1000, UTC):%Y-%m-%d}"


def marked(thing: Body, mark: str) -> bool:
    """Whether a calendar, event or filter is the project's whose mark this is."""
    return str(thing.get("description", "")).endswith(f" {mark}")


def _must_be_ours(kind: str, name: str, actual: Body, mark: str) -> None:
    if not marked(actual, mark):
        raise AlreadyExistsError(
            f"The {kind} {name} exists and is not this project's: its description "
            f"({actual.get('description', 'none')!r}) does not end in {mark}.",
            remedy=f"Delete it, end its description in {mark} to hand it over, or rename the {kind} in the job file.",
        )


def _difference(add: Sequence[str], remove: Sequence[str], most: int = 5) -> str:
    parts = []
    for word, items in (("added", add), ("removed", remove)):
        if items:
            rest = f" and {len(items) - most} more" if len(items) > most else ""
            parts.append(f"{word} {', '.join(items[:most])}{rest}")
    return "; ".join(parts)
