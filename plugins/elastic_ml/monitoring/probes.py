"""What `elastic_health` asks about everything that is no model: disks, streams, jobs, transforms, keys."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import (
    ElasticMLError,
    LicenseError,
    NotFoundError,
    ProjectFileError,
    UnavailableError,
    VersionError,
)
from elastic_ml.monitoring.operations_log import Entry
from elastic_ml.registry.events import deterministic_id

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

Kind = Literal["disk", "stream", "job", "transform", "credential"]
DISK_LIMIT = 80.0
"""Percent of a node's disk, below Elasticsearch's own low watermark of 85."""
KEY_WARNING = timedelta(days=14)
GONE = frozenset({"stopped", "closed"})


class Probes:
    """Asks the questions one after the other; what one may not ask does not keep the others from asking.

    :param at: the time that the documents carry.
    :param serverless: asks only what Serverless answers: no disks of nodes, sizes from `_cat/indices`.
    """

    def __init__(self, project: "Project", at: datetime, *, serverless: bool) -> None:
        self.project = project
        self.names = project.names
        self.at = at
        self.serverless = serverless
        self.sentences: list[str] = []
        """About what could not be read, for the task's log."""
        self.failures: list[str] = []
        """What another try may find out."""

    def run(self, client: "Elasticsearch", keys: "Mapping[str, Elasticsearch]") -> list[Entry]:
        """Return the documents of the health stream.

        :param keys: connection id → client, for each connection whose key is watched.
        """
        probes: list[tuple[Kind, Callable[[], Iterator[Entry]]]] = [
            ("stream", lambda: self._streams(client)),
            ("job", lambda: self._analytics(client)),
            ("job", lambda: self._anomaly_jobs(client)),
            ("transform", lambda: self._transforms(client)),
            *(("credential", lambda c=conn_id, k=key: self._key(c, k)) for conn_id, key in keys.items()),
        ]
        if not self.serverless:
            probes.insert(0, ("disk", lambda: self._disks(client)))
        entries: dict[str, Entry] = {}
        for kind, probe in probes:
            try:
                found = list(probe())
            except LicenseError:
                continue  # no machine learning, no jobs
            except UnavailableError as error:
                self.failures.append(f"{kind}: {error.message}")
                continue
            except ElasticMLError as error:
                # A missing right, most of the time; silence would look like health.
                self.sentences.append(f"{kind}: {error}")
                found = [self._entry(kind, "*", "unreadable", bad=True, message=str(error))]
            entries |= {entry.id: entry for entry in found}
        return list(entries.values())

    def _disks(self, client: "Elasticsearch") -> Iterator[Entry]:
        nodes = client.nodes.stats(metric="fs", filter_path="nodes.*.name,nodes.*.roles,nodes.*.fs.total")["nodes"]
        for node in nodes.values():
            total = (node.get("fs") or {}).get("total") or {}
            size = total.get("total_in_bytes", 0)
            if size <= 0 or not any(role.startswith("data") for role in node["roles"]):
                continue  # a node for coordination or machine learning holds no data
            used = round(100 * (1 - total["available_in_bytes"] / size), 2)
            full = used > DISK_LIMIT
            yield self._entry(
                "disk",
                node["name"],
                "high" if full else "ok",
                bad=full,
                value=used,
                limit=DISK_LIMIT,
                message=f"{used:g} % of the disk of {node['name']} is used.",
            )

    def _streams(self, client: "Elasticsearch") -> Iterator[Entry]:
        wanted = [
            *(stream.name for stream in self.names.audit_streams),
            self.names.labels_stream,
            *self.names.operations_streams,
        ]
        sizes = self._sizes_serverless(client, wanted) if self.serverless else self._sizes(client, wanted)
        for name in wanted:
            if name not in sizes:
                yield self._entry(
                    "stream",
                    name,
                    "missing",
                    bad=True,
                    message=f"{name} does not exist. Run elastic_setup with mode=apply.",
                )
                continue
            size, newest = sizes[name]
            age = None if newest is None else max(0, int(self.at.timestamp() - newest / 1000))
            yield self._entry(
                "stream",
                name,
                "empty" if newest is None else "ok",
                value=size,
                age_seconds=age,
                message=f"{name} holds {size:,} bytes; "
                + ("no event yet." if age is None else f"its newest event is {timedelta(seconds=age)} old."),
            )

    def _sizes(self, client: "Elasticsearch", wanted: list[str]) -> dict[str, tuple[int, int | None]]:
        # Patterns, so that a missing stream is no error.
        patterns = sorted({f"{name}*" for name in wanted})
        answer = client.indices.data_streams_stats(name=patterns, expand_wildcards="all")
        return {
            stream["data_stream"]: (stream["store_size_bytes"], stream["maximum_timestamp"] or None)
            for stream in answer["data_streams"]
        }

    def _sizes_serverless(self, client: "Elasticsearch", wanted: list[str]) -> dict[str, tuple[int, int | None]]:
        streams = client.indices.get_data_stream(
            name=sorted({f"{name}*" for name in wanted}),
            filter_path="data_streams.name,data_streams.indices.index_name",
        ).get("data_streams", [])
        rows: Any = client.cat.indices(h=["index", "store.size"], bytes="b", format="json", expand_wildcards="all").body
        size_of = {row["index"]: int(row.get("store.size") or 0) for row in rows}
        names = [stream["name"] for stream in streams if stream["name"] in wanted]
        newest: dict[str, int | None] = {}
        if names:
            aggs = {
                name: {
                    "filter": {"prefix": {"_index": f".ds-{name}-"}},
                    "aggs": {"newest": {"max": {"field": "@timestamp"}}},
                }
                for name in names
            }
            found = client.search(index=names, size=0, track_total_hits=False, aggs=aggs).get("aggregations", {})
            newest = {
                name: int(value) if (value := found[name]["newest"]["value"]) is not None else None for name in names
            }
        return {
            stream["name"]: (
                sum(size_of.get(index["index_name"], 0) for index in stream["indices"]),
                newest[stream["name"]],
            )
            for stream in streams
            if stream["name"] in names
        }

    def _analytics(self, client: "Elasticsearch") -> Iterator[Entry]:
        """Analytics jobs of the project's models that run or failed; hundreds of finished ones say nothing."""
        models = "|".join(re.escape(self.names.on_cluster(name)) for name in self.project.models()) or "-"
        ours = re.compile(f"({models})-[0-9]{{8}}-[0-9a-f]{{8}}")
        answer = client.ml.get_data_frame_analytics_stats(
            id="*",
            size=1000,
            filter_path="data_frame_analytics.id,data_frame_analytics.state,data_frame_analytics.failure_reason,"
            "data_frame_analytics.assignment_explanation",
        )
        for job in answer.get("data_frame_analytics", []):
            if job["state"] not in GONE and ours.fullmatch(job["id"]):
                yield self._job(job["id"], job["state"], job["state"] == "failed", _why(job))

    def _anomaly_jobs(self, client: "Elasticsearch") -> Iterator[Entry]:
        jobs = self.project.anomaly_jobs()
        if not jobs:
            return
        ours = re.compile(f"({'|'.join(re.escape(self.names.on_cluster(job)) for job in jobs)})(_v[0-9]+)?")
        for job in client.ml.get_job_stats(job_id="*")["jobs"]:
            if not ours.fullmatch(job["job_id"]):
                continue
            memory = job.get("model_size_stats", {}).get("memory_status", "ok")
            why = _why(job) or ("" if memory != "hard_limit" else "It reached its memory limit and learns nothing new.")
            yield self._job(job["job_id"], job["state"], job["state"] == "failed" or memory == "hard_limit", why)
        realtime = self._realtime(jobs)
        feeds = client.ml.get_datafeed_stats(datafeed_id="*")["datafeeds"]
        names = {str(feed["datafeed_id"]).removeprefix("datafeed-") for feed in feeds}
        for feed in feeds:
            found = ours.fullmatch(str(feed["datafeed_id"]).removeprefix("datafeed-"))
            if found:
                successor = f"{found[1]}_v{int((found[2] or '_v1')[2:]) + 1}"
                # One that feeds partitions is stopped most of the time; one in real time never should be, before
                # another version has taken over.
                silent = (
                    self.names.in_project(found[1]) in realtime
                    and successor not in names
                    and feed["state"] == "stopped"
                )
                yield self._job(feed["datafeed_id"], feed["state"], silent, _why(feed))

    def _realtime(self, jobs: list[str]) -> set[str]:
        found = set()
        for name in jobs:
            try:
                if self.project.anomaly_job(name).mode == "realtime":
                    found.add(name)
            except ProjectFileError as error:
                self.sentences.append(f"job: {error}")
        return found

    def _job(self, name: str, state: str, bad: bool, why: str) -> Entry:
        return self._entry("job", name, state, bad=bad, message=f"{name} is {state}. {why}".strip())

    def _transforms(self, client: "Elasticsearch") -> Iterator[Entry]:
        if self.names.features is None:
            return
        found = client.transform.get_transform_stats(transform_id=f"{self.names.features}*")["transforms"]
        for transform in found:
            name, state = transform["id"], transform["state"]
            continuous = name == self.names.features
            status = (transform.get("health") or {}).get("status", "green")
            # A month's transform stops when it is done; the continuous one never does by itself.
            bad = state in {"failed", "aborting"} or status == "red" or (continuous and state == "stopped")
            why = str(transform.get("reason") or "") or "; ".join(
                str(issue.get("issue") or issue.get("details") or "")
                for issue in (transform.get("health") or {}).get("issues", [])
            )
            yield self._entry("transform", name, state, bad=bad, message=f"{name} is {state}. {why}".strip())
        if self.names.features not in {transform["id"] for transform in found}:
            yield self._entry(
                "transform",
                self.names.features,
                "missing",
                bad=True,
                message=f"The transform {self.names.features} does not exist. Run elastic_setup with mode=apply.",
            )

    def _key(self, conn_id: str, client: "Elasticsearch") -> Iterator[Entry]:
        """The API key that a connection presents; a user with a password has none."""
        key = client.security.authenticate().get("api_key") or {}
        if "id" not in key:
            return
        try:
            # A key may always look at itself; any other needs manage_api_key.
            found = client.security.get_api_key(id=key["id"])["api_keys"]
        except (NotFoundError, VersionError):
            return
        for shown in found:
            expiration = shown.get("expiration")
            name = f"{conn_id}: {shown.get('name')}"
            if expiration is None:
                yield self._entry("credential", name, "ok", message=f"The key of {conn_id} does not expire.")
                continue
            ends = datetime.fromtimestamp(expiration / 1000, UTC)
            days = (ends - self.at) / timedelta(days=1)
            close = ends - self.at <= KEY_WARNING
            yield self._entry(
                "credential",
                name,
                ("expired" if days <= 0 else "expiring") if close else "ok",
                bad=close,
                value=round(days, 2),
                limit=float(KEY_WARNING.days),
                message=f"The key of {conn_id} expires on {ends:%Y-%m-%d %H:%M} UTC. "
                + ("Replace it in the connection, then run elastic_rotate_credentials." if close else ""),
            )

    def _entry(
        self,
        kind: Kind,
        name: str,
        state: str,
        *,
        bad: bool = False,
        value: float | None = None,
        limit: float | None = None,
        age_seconds: int | None = None,
        message: str = "",
    ) -> Entry:
        at = self.at.strftime("%Y-%m-%dT%H:%M:%SZ")
        optional = {"value": value, "limit": limit, "age_seconds": age_seconds}
        document = {
            "@timestamp": at,
            "event": {"kind": "state" if kind != "disk" else "metric"},
            "event_type": "health",
            "status": "error" if bad else "success",
            "kind": kind,
            "name": name,
            "state": state,
            "environment": self.project.settings.environment,
            "message": message.strip(),
            **{key: given for key, given in optional.items() if given is not None},
        }
        return Entry(self.names.health, deterministic_id("health", kind, name, at), document)


def _why(stats: Mapping[str, Any]) -> str:
    return str(stats.get("failure_reason") or stats.get("assignment_explanation") or "")
