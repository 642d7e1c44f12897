"""Time features: what hour, weekday and holiday it was for the person when the event happened.

Events of managed streams get them where they are normalised. Nobody does that to the events of a stream that somebody
else manages; there the model's own pipelines compute them, by the same processors in training, on the holdout and when
scoring, and the event stays without them.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project

CLOCK_TYPES: Final = {"audit.hour": "short", "audit.weekday": "short", "audit.holiday": "boolean"}
"""The time features and their mapping types."""


def clock_features(project: Project, model: Model) -> list[str]:
    """The model's features that its own pipelines compute: time features, if a source is a stream of somebody else."""
    streams = [project.names.stream(index) for index in model.source.index]
    if all(stream is None or stream.managed for stream in streams):
        return []
    return [feature for feature in model.features if feature in CLOCK_TYPES]


def normalized_clock(project: Project) -> list[dict[str, Any]]:
    """The processors that compute time features of an event with `event.timezone`, under `audit`."""
    return _processors(project, into="audit", zone="event.timezone", holidays=holiday_dates(project))


def model_clock(project: Project, model: Model, *, into: str = "audit") -> list[dict[str, Any]]:
    """The same for a model's own pipeline, under `into`; none where the model has no time features to compute.

    Without `event.timezone` the hours are those of UTC. A zone that is none leaves the features empty: the event is
    somebody else's and must pass.
    """
    wanted = clock_features(project, model)
    if not wanted:
        return []
    zone = f"{into}.timezone"
    holidays = holiday_dates(project) if "audit.holiday" in wanted else []
    found: list[dict[str, Any]] = [
        {"set": {"tag": "utc", "field": zone, "value": "UTC"}},
        {"set": {"tag": "zone", "field": zone, "copy_from": "event.timezone", "ignore_empty_value": True}},
        *_processors(project, into=into, zone=zone, holidays=holidays),
    ]
    return [{kind: {**body, "ignore_failure": True}} for processor in found for kind, body in processor.items()]


def _processors(project: Project, *, into: str, zone: str, holidays: list[str]) -> list[dict[str, Any]]:
    body = project.templates.render("pipelines/clock.yml.j2", into=into, zone=zone, holidays=holidays)
    return list(body["processors"])


def holiday_dates(project: Project) -> list[str]:
    """The holidays of project.yml's country and years as `yyyy-MM-dd`, sorted; empty when it names none."""
    return [day.isoformat() for day in holidays_of(project)]


def holidays_of(project: Project) -> dict[date, str]:
    """The holidays of project.yml's country and years with their names, in order; empty when it names none."""
    chosen = project.settings.holidays
    if chosen is None:
        return {}
    import holidays

    first, last = chosen.years
    try:
        calendar = holidays.country_holidays(
            chosen.country,
            subdiv=chosen.subdivision,
            years=range(first, last + 1),
            expand=False,
            language="en_US",  # or the country's own; by default names would follow the worker's locale
        )
    except NotImplementedError as error:
        from elastic_ml.project.yaml_files import file_error, line_of_key

        parts = holidays.list_supported_countries().get(chosen.country)
        field = "country" if parts is None else "subdivision"
        known = ", ".join(parts) if parts else "none" if parts is not None else "two letters, as in US or DE"
        path = project.folder / "project.yml"
        raise file_error(
            path, line_of_key(path, "holidays", field), f"holidays.{field}", str(error), f"write one of these: {known}"
        ) from None
    return {day: calendar[day] for day in sorted(day for day in calendar if isinstance(day, date))}
