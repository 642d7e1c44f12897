"""User-hours: the transform that keeps them, what its pivot gives, and the batch run over a sealed month.

A continuous transform groups the audit streams by (user, hour in UTC) and writes one document per user-hour. It goes by
`event.ingested`, so a late event rewrites its hour. History that is sealed into a stream was ingested long ago, before
the last checkpoint: `run_month` brings it in, by the same pivot into the same documents.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import (
    AlreadyExistsError,
    ConflictError,
    JobFailedError,
    NotFoundError,
    WaitTimeoutError,
)
from elastic_ml.project.yaml_files import file_error

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

log = logging.getLogger(__name__)

Body = dict[str, Any]
GROUP_BY = {
    "user.id": {"terms": {"field": "user.id"}},
    "@timestamp": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1h"}},
}
"""The key of a user-hour; verdicts, training and the documents' ids go by it, so it is no choice."""

_COUNTS = frozenset({"value_count", "cardinality", "filter", "missing"})
_NUMBERS = frozenset({"avg", "sum", "min", "max", "median_absolute_deviation", "weighted_avg", "bucket_script"})
_MONTH = re.compile(r"(\d{4})\.(0[1-9]|1[0-2])")


@dataclass(frozen=True)
class Feature:
    """One number of a user-hour: its field, and `long` for counts or `double`."""

    path: str
    type: Literal["long", "double"]


def continuous_transform(project: Project) -> Body:
    """Body of the transform `names.features`, without `_meta`.

    Raises ProjectFileError for a pivot that does not group by user and hour, or gives something that is no number.
    """
    settings = project.settings.features
    if settings is None:
        raise _no_features(project)
    body = project.templates.render(settings.transform)
    list(features_of(project, body["pivot"]))
    if body["pivot"].get("group_by") != GROUP_BY:
        raise file_error(
            settings.transform,
            None,
            "pivot.group_by",
            "the pivot does not group by user and hour",
            f"write group_by: {GROUP_BY}",
        )
    return body


def month_transform(project: Project, month: str) -> Body:
    """Body of the batch transform `names.month_transform(month)` over the events of one month (`yyyy.MM`, UTC).

    The same pivot into the same destination as the continuous one, over all audit streams: a user-hour is always
    written whole, whichever stream's month was sealed.
    """
    found = _MONTH.fullmatch(month)
    if found is None:
        raise ValueError(f"{month!r} is no month; write yyyy.MM, as in 2026.03")
    year, number = int(found[1]), int(found[2])
    after = f"{year + number // 12:04}-{number % 12 + 1:02}-01"
    return project.templates.render(
        "transforms/month.yml.j2",
        continuous=continuous_transform(project),
        month=month,
        start=f"{year:04}-{number:02}-01T00:00:00.000Z",
        end=f"{after}T00:00:00.000Z",
    )


def features_of(project: Project, pivot: Mapping[str, Any]) -> Iterator[Feature]:
    """Every number that the pivot gives, in its order; raises ProjectFileError for an aggregation that gives none."""
    settings = project.settings.features
    origin = settings.transform if settings else ""
    for path, kind in _walk(_aggregations(pivot), ""):
        if kind not in _COUNTS | _NUMBERS:
            raise file_error(
                origin,
                None,
                f"pivot.aggregations.{path}",
                f"{kind} gives no single number",
                f"use one of {', '.join(sorted(_COUNTS | _NUMBERS))}",
            )
        yield Feature(path, "long" if kind in _COUNTS else "double")


def sources_of(pivot: Mapping[str, Any]) -> list[str]:
    """Filters of the first level that count their own `events`: each is a source, with a flag `has_<name>`."""
    return [
        name
        for name, definition in _aggregations(pivot).items()
        if "filter" in definition and "events" in _aggregations(definition)
    ]


def mapping_of(features: list[Feature], sources: list[str]) -> Body:
    """Mapping `properties` of the features and flags."""
    properties: Body = {}
    for feature in features:
        *parents, last = feature.path.split(".")
        inner = properties
        for parent in parents:
            inner = inner.setdefault(parent, {"properties": {}})["properties"]
        inner[last] = {"type": feature.type}
    return {**properties, **{f"has_{source}": {"type": "boolean"} for source in sources}}


def _aggregations(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return body.get("aggregations") or body.get("aggs") or {}


def _walk(aggregations: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, definition in aggregations.items():
        kind = next((key for key in definition if key not in {"aggregations", "aggs", "meta"}), "nothing")
        inner = _aggregations(definition)
        if inner and kind in {"filter", "missing"}:
            yield from _walk(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def _no_features(project: Project) -> Exception:
    return file_error(
        project.folder / "project.yml",
        None,
        "features",
        "the project keeps no user-hours",
        "add `features: {dataset: <name>.user_hour}`",
    )


# A sealed month ----------------------------------------------------------------------------------------------------


def run_month(
    client: Elasticsearch,
    project: Project,
    month: str,
    *,
    timeout: timedelta = timedelta(hours=6),
    poll_seconds: float = 1.0,
    stop: threading.Event | None = None,
) -> int | None:
    """Write the user-hours of one month, to be called after an index of that month was sealed into its stream.

    Creates the batch transform, starts it, waits for it and deletes it. Safe to repeat and to interrupt: the documents
    have deterministic ids, and what an interrupted call left behind is replaced by the next one's. A second caller for
    the same month takes over, as its run sees everything that the first one's would.

    :param stop: ends the wait when set; the transform is stopped and deleted.
    :return: how many user-hours were written; None when the project has no `features:`, or another caller took over.
    :raises JobFailedError: the transform failed, with the server's reason.
    :raises WaitTimeoutError: it did not end in time, or `stop` was set; it is stopped and deleted.
    """
    if project.names.features is None:
        return None
    name, body = project.names.month_transform(month), month_transform(project, month)
    created = replace_transform(client, name, project.stamp(body))
    deadline = time.monotonic() + timeout.total_seconds()
    waiting = stop or threading.Event()
    try:
        client.transform.start_transform(transform_id=name)
        while True:
            stats = transform_stats(client, name)
            if stats is None or create_time(client, name) != created:
                log.info("%s was taken over by another run.", name)
                return None
            if stats["state"] == "failed":
                raise JobFailedError(
                    f"Transform {name} failed: {stats.get('reason', 'no reason given')}",
                    remedy="Correct the reason, then seal or run the month again; user-hours are overwritten whole.",
                )
            if stats["state"] == "stopped" and stats["checkpointing"]["last"]["checkpoint"] >= 1:
                return int(stats["stats"]["documents_indexed"])
            if time.monotonic() > deadline or waiting.wait(poll_seconds):
                raise WaitTimeoutError(
                    f"Transform {name} did not end ({stats['state']}) and was stopped.",
                    remedy="Run the month again, with more time; user-hours are overwritten whole.",
                )
    except (NotFoundError, ConflictError):
        # Between our PUT and start the other caller replaced or started it.
        if create_time(client, name) == created:
            raise
        return None
    finally:
        if create_time(client, name) == created:
            delete_transform(client, name)


def replace_transform(client: Elasticsearch, name: str, body: Body) -> int:
    """Create a transform, deleting one of that name before; returns its `create_time`, which tells it from others."""
    for _ in range(5):
        delete_transform(client, name)
        try:
            client.transform.put_transform(transform_id=name, **arguments(body))
        except AlreadyExistsError:
            continue
        made = create_time(client, name)
        if made is not None:
            return made
    raise ConflictError(
        f"Transform {name} is created by somebody else again and again.",
        remedy="End the other runs over this month, then try again.",
    )


def arguments(body: Body) -> Body:
    """The body as keyword arguments of the client, which calls `_meta` `meta`."""
    return {("meta" if key == "_meta" else key): value for key, value in body.items()}


def delete_transform(client: Elasticsearch, name: str) -> None:
    """Stop and delete a transform; one that is not there is fine. Its destination stays."""
    try:
        client.transform.delete_transform(transform_id=name, force=True)
    except NotFoundError:
        return


def create_time(client: Elasticsearch, name: str) -> int | None:
    """When a transform was created (epoch milliseconds), None when there is none."""
    try:
        return int(client.transform.get_transform(transform_id=name)["transforms"][0]["create_time"])
    except NotFoundError:
        return None


def transform_stats(client: Elasticsearch, name: str) -> Body | None:
    """State, checkpoints and counters of a transform, None when there is none."""
    # For an id that does not exist the server answers an empty list, no error.
    found = client.transform.get_transform_stats(transform_id=name)["transforms"]
    return dict(found[0]) if found else None
