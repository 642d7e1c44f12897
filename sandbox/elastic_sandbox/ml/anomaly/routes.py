"""The HTTP surface of anomaly jobs, their results and snapshots.

What Serverless keeps from its users is refused with 410, by the availability in the API specification.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from elastic_sandbox.cluster import CLUSTER_NAME
from elastic_sandbox.errors import illegal_argument, unsupported, x_content_parse
from elastic_sandbox.http import Request, Response
from elastic_sandbox.ml.anomaly import AnomalyDetection, results
from elastic_sandbox.ml.anomaly import feed_routes as _registers_itself  # noqa: F401
from elastic_sandbox.ml.anomaly.config import memory_mb, parse_job
from elastic_sandbox.ml.anomaly.detectors import parse_detector
from elastic_sandbox.ml.anomaly.request import (
    INDEX_OPTIONS,
    in_task,
    moment,
    node_shown,
    page_of,
    read_body,
    route,
    routes,
)
from elastic_sandbox.ml.anomaly.times import parse_time
from elastic_sandbox.ml.strict import bad_request, not_found, parse_error
from elastic_sandbox.tasks import NODE_NAME

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_JOBS: Final = "/_ml/anomaly_detectors"
_NATIVE_CODE: Final = 30 << 20
"""Bytes of the native processes' code, once there is a job (NATIVE_EXECUTABLE_CODE_OVERHEAD, 30 MB)."""


# Jobs ---------------------------------------------------------------------------------------------------------------


@route("PUT", f"{_JOBS}/{{job_id}}", allow=INDEX_OPTIONS)
def put_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Create a job, and its datafeed when the body has one."""
    options = {name: request.params[name] for name in INDEX_OPTIONS if name in request.params}
    return anomaly.jobs.put(request.path_params["job_id"], request.object(), options)


@route("GET", _JOBS, f"{_JOBS}/{{job_id}}", allow=("allow_no_match", "exclude_generated"))
def get_jobs(anomaly: AnomalyDetection, request: Request) -> Response:
    """Configurations of jobs."""
    jobs = anomaly.jobs.expand(request.path_params.get("job_id"), allow_no_match=request.flag("allow_no_match", True))
    generated = request.flag("exclude_generated")
    return {"count": len(jobs), "jobs": [anomaly.jobs.shown(job, exclude_generated=generated) for job in jobs]}


@route("POST", f"{_JOBS}/{{job_id}}/_update")
def update_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Change a job."""
    return anomaly.jobs.update(request.path_params["job_id"], request.object())


@route("DELETE", f"{_JOBS}/{{job_id}}", allow=("force", "wait_for_completion", "delete_user_annotations"))
def delete_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete a job with its datafeed and results; there are no annotations here to keep or delete."""
    job_id, force = request.path_params["job_id"], request.flag("force")
    if anomaly.jobs.get(job_id).state != "closed" and not force:
        anomaly.jobs.delete(job_id, force=False)
    wait = request.flag("wait_for_completion", True)
    return in_task(anomaly.backend, "delete", lambda: anomaly.jobs.delete(job_id, force=force), wait=wait)


@route("POST", f"{_JOBS}/{{job_id}}/_reset", allow=("wait_for_completion", "delete_user_annotations"))
def reset_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete what a job has learnt and found."""
    job_id, wait = request.path_params["job_id"], request.flag("wait_for_completion", True)
    if anomaly.jobs.get(job_id).state != "closed":
        anomaly.jobs.reset(job_id)
    return in_task(anomaly.backend, "reset", lambda: anomaly.jobs.reset(job_id), wait=wait)


@route("POST", f"{_JOBS}/{{job_id}}/_open", allow=("timeout",))
def open_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Open a job."""
    read_body(request, "open_job_request", job_id=str, timeout=str)
    return {"opened": True, "node": anomaly.jobs.open(request.path_params["job_id"])}


@route("POST", f"{_JOBS}/{{job_id}}/_close", allow=("allow_no_match", "force", "timeout"))
def close_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Close jobs, their datafeeds first."""
    read_body(request, "close_job_request", job_id=str, allow_no_match=bool, force=bool, timeout=str)
    anomaly.jobs.close(
        request.path_params["job_id"], allow_no_match=request.flag("allow_no_match", True),
        force=request.flag("force"), timeout=request.duration_seconds("timeout", 1800),
    )  # fmt: skip
    return {"closed": True}


@route("GET", f"{_JOBS}/_stats", f"{_JOBS}/{{job_id}}/_stats", allow=("allow_no_match",))
def get_job_stats(anomaly: AnomalyDetection, request: Request) -> Response:
    """State and counts of jobs."""
    jobs = anomaly.jobs.expand(request.path_params.get("job_id"), allow_no_match=request.flag("allow_no_match", True))
    node = node_shown(anomaly.backend)
    return {"count": len(jobs), "jobs": [anomaly.jobs.stats(job, node) for job in jobs]}


@route("POST", f"{_JOBS}/_validate", private=True)
def validate(anomaly: AnomalyDetection, request: Request) -> Response:
    """Check a configuration without creating the job."""
    body = request.object()
    if "model_snapshot_id" in body:  # unknown to this parser alone (YAML test validate)
        raise parse_error("job_details", "unknown field [model_snapshot_id]")
    parse_job(None, body, now_ms=0, max_memory=anomaly.backend.ml.max_model_memory_limit)
    return {"acknowledged": True}


@route("POST", f"{_JOBS}/_validate/detector", private=True)
def validate_detector(anomaly: AnomalyDetection, request: Request) -> Response:
    """Check one detector."""
    parse_detector(request.object(), 0)
    return {"acknowledged": True}


@route("POST", f"{_JOBS}/{{job_id}}/_data", allow=("reset_start", "reset_end"), private=True)
def post_data(anomaly: AnomalyDetection, request: Request) -> Response:
    """Analyse the documents of the body: JSON objects in an array, or one after the other."""
    _deprecated(anomaly, request, "Posting data directly to anomaly detection jobs")
    start, end = moment(request, "reset_start"), moment(request, "reset_end")
    anomaly.jobs.get(request.path_params["job_id"])
    if start is not None or end is not None:
        raise unsupported("[reset_start] and [reset_end] of posted data")
    return 202, anomaly.jobs.post_data(request.path_params["job_id"], _objects(request.body), len(request.body))


def _deprecated(anomaly: AnomalyDetection, request: Request, what: str) -> None:
    text = f"{what} is deprecated, in a future major version it will be compulsory to use a datafeed"
    request.response_headers["warning"] = f'299 Elasticsearch-{anomaly.backend.version} "{text}"'


def _objects(body: bytes) -> list[dict[str, Any]]:
    text = body.strip()
    try:
        if text.startswith(b"["):
            found = orjson.loads(text)
        else:
            found = [orjson.loads(line) for line in text.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise x_content_parse(f"[{error.lineno}:{error.colno}] {error.msg}") from None
    if not all(isinstance(one, dict) for one in found):
        raise x_content_parse("[1:1] records must be JSON objects")
    return found


@route("POST", f"{_JOBS}/{{job_id}}/_flush", allow=("advance_time", "calc_interim", "end", "skip_time", "start"))
def flush_job(anomaly: AnomalyDetection, request: Request) -> Response:
    """Finish what can be finished; with `calc_interim` judge the buckets that are under way.

    What goes with what, and the words: FlushJobParams and TimeRange, in whole seconds; an open job comes first.
    """
    read_body(request, "cluster:admin/xpack/ml/job/flush", job_id=str, calc_interim=bool, start=str, end=str,
              advance_time=str, skip_time=str)  # fmt: skip
    _deprecated(anomaly, request, "Forcing any buffered data to be processed")  # since 9.0 (RestFlushJobAction)
    job_id, interim = request.path_params["job_id"], request.flag("calc_interim")
    anomaly.jobs.opened(job_id)
    start, end = _second(anomaly, request, "start"), _second(anomaly, request, "end")
    if start is not None and (end is None or end == start):
        end = start + 1000
    if start is not None and end is not None and end < start:
        raise illegal_argument(
            f"Invalid time range: end time '{request.params['end']}' is earlier than start time "
            f"'{request.params['start']}'."
        )
    if interim and start is None and end is not None:
        raise illegal_argument("Invalid flush parameters: 'start' has not been specified.")
    for name, given in (("start", start), ("end", end)):
        if not interim and given is not None:
            raise illegal_argument(f"Invalid flush parameters: unexpected '{name}'.")
    advance, skip = _second(anomaly, request, "advance_time"), _second(anomaly, request, "skip_time")
    if advance is not None and skip is not None and advance <= skip:
        raise bad_request(
            f"advance_time [{request.params['advance_time']}] must be later than skip_time "
            f"[{request.params['skip_time']}]"
        )
    return anomaly.jobs.flush(job_id, advance=advance, skip=skip, interim=interim, start=start, end=end)


def _second(anomaly: AnomalyDetection, request: Request, name: str) -> int | None:
    found = moment(request, name, now_ms=anomaly.backend.clock.now_ms())
    return None if found is None else found - found % 1000


@route("POST", f"{_JOBS}/{{job_id}}/_forecast", allow=("duration", "expires_in", "max_model_memory"))
def forecast(anomaly: AnomalyDetection, request: Request) -> Response:
    """Forecast an open job."""
    read_body(request, "forecast_job_request", job_id=str, duration=str, expires_in=str, max_model_memory=(str, int))
    params = request.params
    forecast_id = anomaly.forecasts.make(
        request.path_params["job_id"], params.get("duration"), params.get("expires_in"), params.get("max_model_memory")
    )
    return {"acknowledged": True, "forecast_id": forecast_id}


@route("DELETE", f"{_JOBS}/{{job_id}}/_forecast", f"{_JOBS}/{{job_id}}/_forecast/{{forecast_id}}",
        allow=("allow_no_forecasts", "timeout"), private=True)  # fmt: skip
def delete_forecast(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete forecasts."""
    anomaly.forecasts.delete(
        request.path_params["job_id"], request.path_params.get("forecast_id"),
        allow_none=request.flag("allow_no_forecasts", True),
    )  # fmt: skip
    return {"acknowledged": True}


@route("DELETE", "/_ml/_delete_expired_data", "/_ml/_delete_expired_data/{job_id}",
        allow=("requests_per_second", "timeout"), private=True)  # fmt: skip
def delete_expired_data(anomaly: AnomalyDetection, request: Request) -> Response:
    """Apply retentions."""
    read_body(request, "delete_expired_data_request", job_id=str, requests_per_second=float, timeout=str)
    anomaly.delete_expired(request.path_params.get("job_id"))
    return {"deleted": True}


# Results ------------------------------------------------------------------------------------------------------------

_BOUNDS: Final = ("start", "end", "from", "size", "sort", "desc", "exclude_interim")
_RECORD_TIES: Final = (
    "record_score", "over_field_value", "partition_field_value", "by_field_value", "field_name", "function"
)  # fmt: skip
# What a result shows that a document written by hand may lack: the numbers of the server's Bucket, AnomalyRecord and
# Influencer begin at 0.
_UNSET: Final[dict[str, dict[str, Any]]] = {
    "bucket": {
        "anomaly_score": 0.0, "initial_anomaly_score": 0.0, "event_count": 0, "bucket_influencers": [],
        "processing_time_ms": 0,
    },
    "record": {"probability": 0.0, "record_score": 0.0, "initial_record_score": 0.0, "detector_index": 0},
    "influencer": {"probability": 0.0, "influencer_score": 0.0, "initial_influencer_score": 0.0},
}  # fmt: skip


def _results(
    anomaly: AnomalyDetection, request: Request, kind: str, score: str, default_sort: str, *, desc: bool
) -> tuple[int, list[dict[str, Any]]]:
    job = anomaly.jobs.get(request.path_params["job_id"])
    query: list[dict[str, Any]] = [{"term": {"result_type": kind}}]
    start, end = moment(request, "start"), moment(request, "end")
    bounds: dict[str, Any] = {name: value for name, value in (("gte", start), ("lt", end)) if value is not None}
    if bounds:
        query.append({"range": {"timestamp": {**bounds, "format": "epoch_millis"}}})
    if score in request.params:
        query.append({"range": {score: {"gte": _float(request, score)}}})
    if request.flag("exclude_interim"):
        query.append({"bool": {"must_not": [{"term": {"is_interim": True}}]}})
    order = "desc" if request.flag("desc", desc) else "asc"
    sort = request.params.get("sort", default_sort)
    # Ties are told apart in the same direction: records by RecordsQueryBuilder.SECONDARY_SORT, all by time (YAML test
    # jobs_get_result_buckets). The results index maps every result's field, so another name is an error of the search.
    ties = [name for name in (*(_RECORD_TIES if kind == "record" else ()), "timestamp") if name != sort]
    keys: list[Any] = [{name: order} for name in (sort, *ties)]
    first, size = page_of(request)
    count, found = results.find(anomaly.backend, job.id, query, keys, first, size)
    return count, [_result(kind, one) for one in found]


def _float(request: Request, name: str) -> float:
    try:
        return float(request.params[name])
    except ValueError:
        raise bad_request(f"Failed to parse double parameter [{name}] with value [{request.params[name]}]") from None


def _result(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    stamp = document.get("timestamp")
    shown = {"is_interim": False, **_UNSET[kind], **document}
    if isinstance(stamp, str):
        shown["timestamp"] = parse_time("timestamp", stamp)
    return shown


@route("GET|POST", f"{_JOBS}/{{job_id}}/results/buckets", f"{_JOBS}/{{job_id}}/results/buckets/{{timestamp}}",
        allow=(*_BOUNDS, "anomaly_score", "expand", "timestamp"), private=True)  # fmt: skip
def get_buckets(anomaly: AnomalyDetection, request: Request) -> Response:
    """Buckets by time, or one of a moment; with ``expand`` their records."""
    read_body(request, "get_buckets_request", job_id=str, timestamp=(str, int), start=(str, int), end=(str, int),
          anomaly_score=(float, str), sort=str, desc=bool, exclude_interim=bool, expand=bool, page=dict,
          **{"from": (int, str), "size": int})  # fmt: skip
    stamp = request.path_params.get("timestamp") or request.params.get("timestamp")
    if stamp is not None:
        clash = [
            name for name in ("start", "end", "from", "size", "anomaly_score", "sort", "desc") if name in request.params
        ]
        if clash:
            raise bad_request(f"[timestamp] must not be given together with [{clash[0]}]")
        instant = parse_time("timestamp", stamp)
        request.params |= {"start": str(instant), "end": str(instant + 1)}
    count, buckets = _results(anomaly, request, "bucket", "anomaly_score", "timestamp", desc=False)
    if stamp is not None and not buckets:
        raise not_found(f"No bucket with timestamp [{stamp}] exists")
    if request.flag("expand"):
        for bucket in buckets:
            one: list[dict[str, Any]] = [{"term": {"result_type": "record"}}, {"range": {"timestamp": {
                "gte": bucket["timestamp"], "lte": bucket["timestamp"], "format": "epoch_millis"}}}]  # fmt: skip
            _, records = results.find(anomaly.backend, request.path_params["job_id"], one, [{"record_score": "desc"}])
            bucket["records"] = [_result("record", record) for record in records]
    return {"count": count, "buckets": buckets}


@route("GET|POST", f"{_JOBS}/{{job_id}}/results/records", allow=(*_BOUNDS, "record_score"), private=True)
def get_records(anomaly: AnomalyDetection, request: Request) -> Response:
    """Records, the highest score first."""
    read_body(request, "get_records_request", job_id=str, start=(str, int), end=(str, int), record_score=float,
              sort=str, desc=bool, exclude_interim=bool, page=dict)  # fmt: skip
    count, found = _results(anomaly, request, "record", "record_score", "record_score", desc=True)
    return {"count": count, "records": found}


@route("GET|POST", f"{_JOBS}/{{job_id}}/results/influencers", allow=(*_BOUNDS, "influencer_score"), private=True)
def get_influencers(anomaly: AnomalyDetection, request: Request) -> Response:
    """Influencers, the highest score first."""
    read_body(request, "get_influencers_request", job_id=str, start=(str, int), end=(str, int), influencer_score=float,
          sort=str, desc=bool, exclude_interim=bool, page=dict)  # fmt: skip
    count, found = _results(anomaly, request, "influencer", "influencer_score", "influencer_score", desc=True)
    return {"count": count, "influencers": found}


# Snapshots ----------------------------------------------------------------------------------------------------------

_SNAPSHOTS: Final = f"{_JOBS}/{{job_id}}/model_snapshots"


@route("GET|POST", _SNAPSHOTS, f"{_SNAPSHOTS}/{{snapshot_id}}",
        allow=("start", "end", "from", "size", "sort", "desc"), private=True)  # fmt: skip
def get_model_snapshots(anomaly: AnomalyDetection, request: Request) -> Response:
    """Snapshots, the newest first."""
    read_body(request, "get_model_snapshots_request", job_id=str, snapshot_id=str, start=(str, int), end=(str, int),
          sort=str, desc=bool, page=dict)  # fmt: skip
    job = anomaly.jobs.get(request.path_params["job_id"])
    first, size = page_of(request)
    count, found = anomaly.snapshots.list(
        job.id, request.path_params.get("snapshot_id"), sort=request.params.get("sort", "timestamp"),
        desc=request.flag("desc", True), first=first, size=size, start=moment(request, "start"),
        end=moment(request, "end"),
    )  # fmt: skip
    return {"count": count, "model_snapshots": found}


@route("POST", f"{_SNAPSHOTS}/{{snapshot_id}}/_update", private=True)
def update_model_snapshot(anomaly: AnomalyDetection, request: Request) -> Response:
    """Describe or retain a snapshot."""
    job_id, snapshot_id = request.path_params["job_id"], request.path_params["snapshot_id"]
    anomaly.jobs.get(job_id)
    return {"acknowledged": True, "model": anomaly.snapshots.update(job_id, snapshot_id, request.object())}


@route("POST", f"{_SNAPSHOTS}/{{snapshot_id}}/_revert", allow=("delete_intervening_results",), private=True)
def revert_model_snapshot(anomaly: AnomalyDetection, request: Request) -> Response:
    """Go back to a snapshot."""
    read_body(request, "revert_model_snapshot_request", job_id=str, snapshot_id=str, delete_intervening_results=bool)
    return {"model": anomaly.revert(
        request.path_params["job_id"], request.path_params["snapshot_id"],
        delete_intervening=request.flag("delete_intervening_results"),
    )}  # fmt: skip


@route("DELETE", f"{_SNAPSHOTS}/{{snapshot_id}}", private=True)
def delete_model_snapshot(anomaly: AnomalyDetection, request: Request) -> Response:
    """Delete a snapshot."""
    job = anomaly.jobs.get(request.path_params["job_id"])
    anomaly.snapshots.delete(job, request.path_params["snapshot_id"])
    return {"acknowledged": True}


# Memory -------------------------------------------------------------------------------------------------------------


@route("GET", "/_ml/memory/_stats", "/_ml/memory/{node_id}/_stats", allow=("timeout", "master_timeout"), private=True)
def memory_stats(anomaly: AnomalyDetection, request: Request) -> Response:
    """What machine learning may take and has reserved on the one node; a reservation is a job's limit, as it starts."""
    backend = anomaly.backend
    if request.path_params.get("node_id", "_all") not in {"_all", "_local", "ml:true", NODE_NAME, backend.tasks.node}:
        raise unsupported(f"node filter [{request.path_params['node_id']}]")
    detectors = sum(
        (memory_mb(job.config["analysis_limits"]["model_memory_limit"]) or 0) << 20
        for job in anomaly.jobs.all()
        if job.state != "closed"
    )
    analytics = backend.ml.jobs.reserved_bytes()
    node = node_shown(backend) or {}
    machine, heap = int(node["attributes"]["ml.machine_memory"]), int(node["attributes"]["ml.max_jvm_size"])
    shown = {
        "name": node["name"],
        "ephemeral_id": node["ephemeral_id"],
        "transport_address": node["transport_address"],
        "attributes": node["attributes"],
        "roles": ["data", "ingest", "master", "ml"],
        "mem": {
            "total_in_bytes": machine,
            "adjusted_total_in_bytes": machine,
            "ml": {
                "max_in_bytes": machine // 2,
                "native_code_overhead_in_bytes": _NATIVE_CODE if detectors or analytics else 0,
                "anomaly_detectors_in_bytes": detectors,
                "data_frame_analytics_in_bytes": analytics,
                "native_inference_in_bytes": 0,
            },
        },
        # The cache of models in pipelines: 40 % of the heap (xpack.ml.inference_model.cache_size); not counted here.
        "jvm": {
            "heap_max_in_bytes": heap,
            "java_inference_max_in_bytes": heap * 2 // 5,
            "java_inference_in_bytes": 0,
        },
    }
    nodes = {"total": 1, "successful": 1, "failed": 0}
    return {"_nodes": nodes, "cluster_name": CLUSTER_NAME, "nodes": {node["id"]: shown}}


# Not here -----------------------------------------------------------------------------------------------------------


def _absent(methods: str, what: str, *paths: str, private: bool = True) -> None:
    def refuse(backend: Backend, request: Request) -> Response:
        """Not supported."""
        if private:
            backend.require_not_serverless(request.method, request.path)
        raise unsupported(what)

    for path in paths:
        routes.route(methods, path)(refuse)


_CATEGORIES = f"{_JOBS}/{{job_id}}/results/categories"
_absent("GET|POST", "categorization results", _CATEGORIES, f"{_CATEGORIES}/{{category_id}}")
_absent("GET|POST", "overall buckets", f"{_JOBS}/{{job_id}}/results/overall_buckets", private=False)
_absent("POST", "an estimate of an anomaly job's memory", f"{_JOBS}/_estimate_model_memory", private=False)
_absent("POST", "upgrading a model snapshot", f"{_SNAPSHOTS}/{{snapshot_id}}/_upgrade")
_absent("GET", "model snapshot upgrades", f"{_SNAPSHOTS}/{{snapshot_id}}/_upgrade/_stats")
