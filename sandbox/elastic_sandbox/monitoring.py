"""What health checks read: ``_cat/indices``, disks of nodes, sizes of data streams, API keys."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elastic_sandbox.backend import Backend
from elastic_sandbox.cluster import CLUSTER_NAME
from elastic_sandbox.errors import ElasticError, illegal_argument, resource_not_found, unsupported
from elastic_sandbox.http import Request, Response, Router
from elastic_sandbox.tasks import NODE_NAME

if TYPE_CHECKING:
    from elastic_sandbox.indices import Index

routes = Router()

_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4, "pb": 1024**5}

# Column → its short names and what it shows; those of the default table come first (cat indices API, column list).
_COLUMNS: dict[str, tuple[tuple[str, ...], Callable[[Backend, Index], Any]]] = {
    "health": (("h",), lambda _, index: "green"),
    "status": (("s",), lambda _, index: "open"),
    "index": (("i", "idx"), lambda _, index: index.name),
    "uuid": (("id",), lambda _, index: index.uuid),
    "pri": (("p", "shards.primary"), lambda _, index: index.settings["index.number_of_shards"]),
    "rep": (("r", "shards.replica"), lambda _, index: index.settings["index.number_of_replicas"]),
    "docs.count": (("dc", "docsCount"), lambda backend, index: backend.documents.number(index)),
    "docs.deleted": (("dd", "docsDeleted"), lambda _, index: 0),
    "store.size": (("ss", "storeSize"), lambda backend, index: backend.documents.size_in_bytes(index)),
    "pri.store.size": ((), lambda backend, index: backend.documents.size_in_bytes(index)),
    "dataset.size": ((), lambda backend, index: backend.documents.size_in_bytes(index)),
    "creation.date": (("cd",), lambda _, index: index.created_ms),
}
_DEFAULT_COLUMNS = [name for name in _COLUMNS if name != "creation.date"]
_BY_SHORT_NAME = {short: name for name, (shorts, _) in _COLUMNS.items() for short in (name, *shorts)}
_TEXT = {"health", "status", "index", "uuid"}


@routes.route("GET", "/_cat/indices")
@routes.route("GET", "/_cat/indices/{index}")
def cat_indices(backend: Backend, request: Request) -> Response:
    """Indices with their counts and sizes, as a table or as JSON; ``h`` chooses columns, ``s`` sorts."""
    request.allow("h", "s", "v", "bytes", "health", "expand_wildcards", "include_unloaded_segments", "pri", "time",
                  "master_timeout", "help")  # fmt: skip
    request.unsupported_parameters("pri", "help")
    # Asked for JSON alone, the tables answer JSON; the client's `text/plain,application/json` means text.
    alone = request.headers.get("accept", "").partition(";")[0] in {
        "application/json",
        "application/vnd.elasticsearch+json",
    }
    shown = request.params.get("format", "json" if alone else "text")
    if shown not in {"json", "text"}:
        raise unsupported(f"format={shown} of GET /_cat/indices")
    expression = request.path_params.get("index", "*")
    wildcards = request.params.get("expand_wildcards", "all" if expression == "*" else "open")
    chosen = backend.indices.resolve(expression, expand_wildcards=wildcards)
    if request.params.get("health", "green") != "green":
        chosen = []
    # An unknown column is left out in silence, as the server does.
    headers = [
        name for name in request.params.get("h", ",".join(_DEFAULT_COLUMNS)).split(",") if name in _BY_SHORT_NAME
    ]
    keys = [_sort_key(piece) for piece in request.params.get("s", "").split(",") if piece]
    wanted = {_BY_SHORT_NAME[name] for name in headers} | {column for column, _ in keys}
    rows = [{column: _COLUMNS[column][1](backend, index) for column in wanted} for index in chosen]
    for column, descending in reversed(keys):
        rows.sort(key=lambda row, column=column: row[column], reverse=descending)  # type: ignore[misc]
    unit = request.params.get("bytes")
    cells = [{name: _cell(row[_BY_SHORT_NAME[name]], _BY_SHORT_NAME[name], unit) for name in headers} for row in rows]
    return cells if shown == "json" else _table(headers, cells, header=request.flag("v"))


def _sort_key(piece: str) -> tuple[str, bool]:
    name, _, order = piece.partition(":")
    if name not in _BY_SHORT_NAME:
        raise ElasticError(500, "unsupported_operation_exception", f"Unable to sort by unknown sort key `{name}`")
    return _BY_SHORT_NAME[name], order == "desc"


def _cell(value: Any, column: str, unit: str | None) -> str:
    return human_size(value, unit) if column.endswith(".size") else str(value)


def human_size(size: int, unit: str | None = None) -> str:
    """``1.2kb``, or the whole number of a unit, as ByteSizeValue prints it."""
    if unit is not None:
        if unit not in _UNITS:
            raise illegal_argument(f"Failed to parse setting [bytes] with value [{unit}] as a size in bytes")
        return str(size // _UNITS[unit])
    name = next((name for name in ("pb", "tb", "gb", "mb", "kb") if size >= _UNITS[name]), "b")
    return f"{int(size / _UNITS[name] * 10) / 10:g}{name}"


def _table(headers: list[str], cells: list[dict[str, str]], *, header: bool) -> str:
    rows = ([{name: name for name in headers}] if header else []) + cells
    widths = {name: max((len(row[name]) for row in rows), default=0) for name in headers}
    lines = []
    for row in rows:
        aligned = [
            row[name].ljust(widths[name]) if _BY_SHORT_NAME[name] in _TEXT else row[name].rjust(widths[name])
            for name in headers
        ]
        lines.append(" ".join(aligned) + "\n")
    return "".join(lines)


@routes.route("GET", "/_nodes/stats")
@routes.route("GET", "/_nodes/stats/{metric}")
@routes.route("GET", "/_nodes/{node_id}/stats/{metric}")
def node_stats(backend: Backend, request: Request) -> Response:
    """The disk of the one node: the file system of ``--data``, or of temporary files when all is in memory."""
    request.allow("timeout", "level", "types", "fields", "groups", "include_segment_file_sizes", "master_timeout")
    backend.require_not_serverless(request.method, request.path)
    if request.path_params.get("metric") != "fs":
        raise unsupported("GET /_nodes/stats with a metric other than [fs]")
    node = request.path_params.get("node_id", "_all")
    if node not in {"_all", "_local", NODE_NAME, backend.tasks.node}:
        raise unsupported(f"node filter [{node}]")
    path = str(backend.data or tempfile.gettempdir())
    disk = shutil.disk_usage(path)
    now, free = backend.clock.now_ms(), disk.free
    if backend.faults.disk_used_percent is not None:
        free = int(disk.total * (1 - backend.faults.disk_used_percent / 100))
    total = {"total_in_bytes": disk.total, "free_in_bytes": free, "available_in_bytes": free}
    stats = {
        "timestamp": now,
        "name": NODE_NAME,
        "transport_address": "127.0.0.1:9300",
        "host": "127.0.0.1",
        "ip": "127.0.0.1:9300",
        "roles": ["data", "ingest", "master", "ml"],
        "attributes": {},
        "fs": {"timestamp": now, "total": total, "data": [{"path": path, "mount": path, "type": "ext4", **total}]},
    }
    return {
        "_nodes": {"total": 1, "successful": 1, "failed": 0},
        "cluster_name": CLUSTER_NAME,
        "nodes": {backend.tasks.node: stats},
    }


@routes.route("GET", "/_data_stream/_stats")
@routes.route("GET", "/_data_stream/{name}/_stats")
def data_stream_stats(backend: Backend, request: Request) -> Response:
    """Sizes and newest event of data streams; failure stores are left out."""
    request.allow("expand_wildcards")
    backend.require_not_serverless(request.method, request.path)
    found = backend.indices.streams.select(request.path_params.get("name"))
    streams = []
    for stream in found:
        indices = [index for index in map(backend.indices.get, stream["indices"]) if index is not None]
        streams.append(
            {
                "data_stream": stream["name"],
                "backing_indices": len(indices),
                "store_size_bytes": sum(backend.documents.size_in_bytes(index) for index in indices),
                "maximum_timestamp": max((backend.documents.newest_ms(index) for index in indices), default=0),
            }
        )
        if request.flag("human"):
            streams[-1]["store_size"] = human_size(streams[-1]["store_size_bytes"])
    shards = sum(stream["backing_indices"] for stream in streams)
    total = sum(stream["store_size_bytes"] for stream in streams)
    return {
        "_shards": {"total": 2 * shards, "successful": shards, "failed": 0},
        "data_stream_count": len(streams),
        "backing_indices": shards,
        **({"total_store_size": human_size(total)} if request.flag("human") else {}),
        "total_store_size_bytes": total,
        "data_streams": streams,
    }


@routes.route("GET", "/_security/_authenticate")
def authenticate(backend: Backend, request: Request) -> Response:
    """Who asks: the key that the sandbox was told, else its one user (authenticate API, documentation)."""
    request.allow()
    by_key = backend.api_key_id is not None and request.headers.get("authorization", "").lower().startswith("apikey")
    realm = {"name": "_es_api_key", "type": "_es_api_key"} if by_key else {"name": "reserved", "type": "reserved"}
    return {
        "username": "elastic",
        "roles": [] if by_key else ["superuser"],
        "full_name": None,
        "email": None,
        "metadata": {},
        "enabled": True,
        "authentication_realm": realm,
        "lookup_realm": realm,
        "authentication_type": "api_key" if by_key else "realm",
        **({"api_key": {"id": backend.api_key_id, "name": "sandbox", "managed_by": "elasticsearch"}} if by_key else {}),
    }


@routes.route("GET", "/_security/api_key")
def api_keys(backend: Backend, request: Request) -> Response:
    """The key callers present, when the sandbox was told one; the fault ``api_key_expires`` gives it an end."""
    request.allow("id", "name", "owner", "username", "realm_name", "with_limited_by", "active_only", "with_profile_uid")
    request.unsupported_parameters("with_limited_by", "with_profile_uid")
    keys = [] if backend.api_key_id is None else [_shown_key(backend, backend.api_key_id)]
    wanted = request.params.get("id")
    if wanted is not None and wanted != backend.api_key_id:
        raise resource_not_found(f"api key with id [{wanted}] not found")
    if request.flag("active_only"):
        keys = [key for key in keys if key.get("expiration", backend.clock.now_ms() + 1) > backend.clock.now_ms()]
    return {"api_keys": keys}


def _shown_key(backend: Backend, key_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": key_id,
        "name": "sandbox",
        "type": "rest",
        "creation": backend.started_ms,
        "invalidated": False,
        "username": "elastic",
        "realm": "reserved",
        "realm_type": "reserved",
        "metadata": {},
        "role_descriptors": {},
    }
    if backend.faults.api_key_expires is not None:
        shown["expiration"] = backend.faults.api_key_expires_ms
    return shown
