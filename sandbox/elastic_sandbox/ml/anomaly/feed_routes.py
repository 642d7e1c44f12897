"""The HTTP surface of datafeeds, calendars and filters."""

from __future__ import annotations

from typing import Final

from elastic_sandbox.http import Request, Response, duration_seconds
from elastic_sandbox.ml.anomaly import AnomalyDetection
from elastic_sandbox.ml.anomaly.request import INDEX_OPTIONS, moment, node_shown, page_of, read_body, route
from elastic_sandbox.ml.strict import bad_request, parse_strict

_FEEDS: Final = "/_ml/datafeeds"


# Datafeeds ----------------------------------------------------------------------------------------------------------


@route("PUT", f"{_FEEDS}/{{datafeed_id}}", allow=INDEX_OPTIONS)
def put_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """Create a datafeed."""
    options = {name: request.params[name] for name in INDEX_OPTIONS if name in request.params}
    return anomaly.datafeeds.put(request.path_params["datafeed_id"], request.object(), options)


@route("GET", _FEEDS, f"{_FEEDS}/{{datafeed_id}}", allow=("allow_no_match", "exclude_generated"))
def get_datafeeds(anomaly: AnomalyDetection, request: Request) -> Response:
    """Configurations of datafeeds."""
    feeds = anomaly.datafeeds.expand(
        request.path_params.get("datafeed_id"), allow_no_match=request.flag("allow_no_match", True)
    )
    generated = request.flag("exclude_generated")
    return {"count": len(feeds), "datafeeds": [feed.shown(exclude_generated=generated) for feed in feeds]}


@route("GET", f"{_FEEDS}/_stats", f"{_FEEDS}/{{datafeed_id}}/_stats", allow=("allow_no_match",))
def get_datafeed_stats(anomaly: AnomalyDetection, request: Request) -> Response:
    """States of datafeeds."""
    feeds = anomaly.datafeeds.expand(
        request.path_params.get("datafeed_id"), allow_no_match=request.flag("allow_no_match", True)
    )
    node = node_shown(anomaly.backend)
    return {"count": len(feeds), "datafeeds": [anomaly.datafeeds.stats(feed, node) for feed in feeds]}


@route("POST", f"{_FEEDS}/{{datafeed_id}}/_update", allow=(*INDEX_OPTIONS, "_force_rekeying"))
def update_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """Change a stopped datafeed."""
    options = {name: request.params[name] for name in INDEX_OPTIONS if name in request.params}
    return anomaly.datafeeds.update(request.path_params["datafeed_id"], request.object(), options)


@route("DELETE", f"{_FEEDS}/{{datafeed_id}}", allow=("force",))
def delete_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete a datafeed."""
    anomaly.datafeeds.delete(request.path_params["datafeed_id"], force=request.flag("force"))
    return {"acknowledged": True}


@route("POST", f"{_FEEDS}/{{datafeed_id}}/_start", allow=("start", "end", "timeout"))
def start_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """Start a datafeed."""
    read_body(request, "start_datafeed_request", datafeed_id=str, start=(str, int), end=(str, int), timeout=str)
    now = anomaly.backend.clock.now_ms()
    start, end = moment(request, "start", now_ms=now), moment(request, "end", now_ms=now)
    node = anomaly.datafeeds.start(request.path_params["datafeed_id"], start or 0, end)
    return {"started": True, "node": node}


@route("POST", f"{_FEEDS}/{{datafeed_id}}/_stop", allow=("allow_no_match", "force", "timeout", "close_job"))
def stop_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """Stop datafeeds."""
    read_body(request, "stop_datafeed_request", datafeed_id=str, allow_no_match=bool, force=bool, timeout=str,
          close_job=bool)  # fmt: skip
    anomaly.datafeeds.stop(
        request.path_params["datafeed_id"], allow_no_match=request.flag("allow_no_match", True),
        force=request.flag("force"), timeout=duration_seconds(request.params.get("timeout", "5m"), "timeout"),
        close_job=request.flag("close_job"),
    )  # fmt: skip
    return {"stopped": True}


@route("GET|POST", f"{_FEEDS}/_preview", f"{_FEEDS}/{{datafeed_id}}/_preview", allow=("start", "end"))
def preview_datafeed(anomaly: AnomalyDetection, request: Request) -> Response:
    """The first records a datafeed would send."""
    body = request.object(required=False)
    parse_strict("preview_datafeed_action", body, {"datafeed_config": dict, "job_config": dict})
    now = anomaly.backend.clock.now_ms()
    start, end = moment(request, "start", now_ms=now), moment(request, "end", now_ms=now)
    return anomaly.datafeeds.preview(request.path_params.get("datafeed_id"), body, start, end)


# Calendars and filters ----------------------------------------------------------------------------------------------

_CALENDARS: Final = "/_ml/calendars"
_FILTERS: Final = "/_ml/filters"


@route("PUT", f"{_CALENDARS}/{{calendar_id}}")
def put_calendar(anomaly: AnomalyDetection, request: Request) -> Response:
    """Create a calendar."""
    return anomaly.calendars.put(request.path_params["calendar_id"], request.object(required=False))


@route("GET|POST", _CALENDARS, f"{_CALENDARS}/{{calendar_id}}", allow=("from", "size"))
def get_calendars(anomaly: AnomalyDetection, request: Request) -> Response:
    """Calendars by id or by page."""
    body = read_body(request, "calendar_request", calendar_id=str, page=dict)
    calendar_id = request.path_params.get("calendar_id")
    if calendar_id not in {None, "_all", "*"} and ({"from", "size"} & set(request.params) or body.get("page")):
        raise bad_request("Params [from, size] are incompatible with [calendar_id].")
    found, (first, size) = anomaly.calendars.expand(calendar_id), page_of(request)
    return {"count": len(found), "calendars": found[first : first + size]}


@route("DELETE", f"{_CALENDARS}/{{calendar_id}}")
def delete_calendar(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete a calendar with its events."""
    anomaly.calendars.delete(request.path_params["calendar_id"])
    return {"acknowledged": True}


@route("PUT", f"{_CALENDARS}/{{calendar_id}}/jobs/{{job_id}}")
def put_calendar_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Add jobs to a calendar."""
    return anomaly.calendars.change_jobs(request.path_params["calendar_id"], request.path_params["job_id"], add=True)


@route("DELETE", f"{_CALENDARS}/{{calendar_id}}/jobs/{{job_id}}")
def delete_calendar_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Take jobs out of a calendar."""
    return anomaly.calendars.change_jobs(request.path_params["calendar_id"], request.path_params["job_id"], add=False)


@route("POST", f"{_CALENDARS}/{{calendar_id}}/events")
def post_calendar_events(anomaly: AnomalyDetection, request: Request) -> Response:
    """Add events."""
    return {"events": anomaly.calendars.post_events(request.path_params["calendar_id"], request.object())}


@route("GET", f"{_CALENDARS}/{{calendar_id}}/events", allow=("start", "end", "from", "size", "job_id"))
def get_calendar_events(anomaly: AnomalyDetection, request: Request) -> Response:
    """Events by calendar, time or job."""
    found = anomaly.calendars.events(
        request.path_params["calendar_id"], start=moment(request, "start"), end=moment(request, "end"),
        job_id=request.params.get("job_id"),
    )  # fmt: skip
    first, size = page_of(request)
    return {"count": len(found), "events": found[first : first + size]}


@route("DELETE", f"{_CALENDARS}/{{calendar_id}}/events/{{event_id}}")
def delete_calendar_event(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete an event."""
    anomaly.calendars.delete_event(request.path_params["calendar_id"], request.path_params["event_id"])
    return {"acknowledged": True}


@route("PUT", f"{_FILTERS}/{{filter_id}}")
def put_filter(anomaly: AnomalyDetection, request: Request) -> Response:
    """Create a filter."""
    return anomaly.filters.put(request.path_params["filter_id"], request.object())


@route("GET", _FILTERS, f"{_FILTERS}/{{filter_id}}", allow=("from", "size"))
def get_filters(anomaly: AnomalyDetection, request: Request) -> Response:
    """Filters."""
    found, (first, size) = anomaly.filters.expand(request.path_params.get("filter_id")), page_of(request)
    return {"count": len(found), "filters": found[first : first + size]}


@route("POST", f"{_FILTERS}/{{filter_id}}/_update")
def update_filter(anomaly: AnomalyDetection, request: Request) -> Response:
    """Change a filter's items."""
    return anomaly.filters.update(request.path_params["filter_id"], request.object())


@route("DELETE", f"{_FILTERS}/{{filter_id}}")
def delete_filter(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete a filter no job uses."""
    anomaly.filters.delete(request.path_params["filter_id"])
    return {"acknowledged": True}
