"""Bodies of an anomaly job file as they are sent: job, datafeed, calendars with their events, filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_ml.project.anomaly_job import AnomalyJob, Calendar
    from elastic_ml.project.project import Project

Body = dict[str, Any]


def job_body(project: Project, job: AnomalyJob, about: Mapping[str, Any]) -> Body:
    """Body for `ml.put_job`.

    :param about: goes into `custom_settings`, beside what the file has there: origin and hash.
    """
    body = job.job.model_dump(exclude_none=True)
    for detector in body["analysis_config"]["detectors"]:
        for rule in detector.get("custom_rules", ()):
            for scope in (rule.get("scope") or {}).values():
                scope["filter_id"] = project.names.anomaly_filter(job.name, scope["filter_id"])
    return project.templates.render("anomaly/job.json.j2", job=job, body=body, about=dict(about))


def datafeed_body(project: Project, job: AnomalyJob, job_id: str) -> Body:
    """Body for `ml.put_datafeed`, with the job's id."""
    body = job.datafeed.model_dump(exclude_none=True)
    return project.templates.render("anomaly/datafeed.json.j2", job=job, body=body, job_id=job_id)


def mark_of(project: Project) -> str:
    """What the descriptions of this project's calendars, events and filters end in: they have no `_meta`."""
    return f"[{project.name}]"


def calendar_bodies(project: Project, job: AnomalyJob) -> dict[str, Body]:
    """Calendars of the file by id: `description`, and `events` as `ml.post_calendar_events` takes them."""
    return {
        project.names.anomaly_calendar(job.name, name): project.templates.render(
            "anomaly/calendar.json.j2",
            job=job,
            part=name,
            calendar=calendar,
            mark=mark_of(project),
            events=[*_holidays(project, calendar), *_written(calendar)],
        )
        for name, calendar in job.calendars.items()
    }


def filter_bodies(project: Project, job: AnomalyJob) -> dict[str, Body]:
    """Filters of the file by id: `description` and sorted `items`."""
    return {
        project.names.anomaly_filter(job.name, name): project.templates.render(
            "anomaly/filter.json.j2", job=job, part=name, filter=settings, mark=mark_of(project)
        )
        for name, settings in job.filters.items()
    }


def _written(calendar: Calendar) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end (epoch ms) of each event of the file."""
    for event in calendar.events:
        yield event.description, _millis(calendar.instant(event.start)), _millis(calendar.instant(event.end))


def _holidays(project: Project, calendar: Calendar) -> Iterator[tuple[str, int, int]]:
    """Name, begin and end of each holiday of project.yml: a local day, 23 to 25 hours long."""
    if not calendar.holidays:
        return
    from elastic_ml.project.clock import holidays_of

    for day, name in holidays_of(project).items():
        begin, end = (calendar.instant(_midnight(one)) for one in (day, day + timedelta(days=1)))
        yield name, _millis(begin), _millis(end)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the calendar says in which zone


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
