"""Objects that run with the key of whoever updated them last, and how each gets another."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.anomaly_jobs import open_job, start_datafeed, stop_datafeed
from elastic_ml.clients.kibana_rules import rules_with_tags
from elastic_ml.exceptions import (
    ConflictError,
    ElasticMLError,
    InvalidRequestError,
    LicenseError,
    NotFoundError,
    SecurityError,
    VersionError,
)
from elastic_ml.maintenance.steps import Step

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.clients.kibana import KibanaClient
    from elastic_ml.project.project import Project

log = logging.getLogger(__name__)

ROTATED, OLD = "rotated", "still on the old key"


def presented(client: "Elasticsearch") -> str:
    """Return whose key a connection presents."""
    answer = client.security.authenticate().body
    return _runs_as({"authorization": {key: answer[key] for key in ("api_key", "roles") if answer.get(key)}})


def transforms_of(client: "Elasticsearch", project: "Project") -> list[Mapping[str, Any]]:
    """Return the project's transforms: the user-hours, and months that are being computed."""
    if project.names.features is None:
        return []
    return list(client.transform.get_transform(transform_id=f"{project.names.features}*", size=1000)["transforms"])


def datafeeds_of(client: "Elasticsearch", project: "Project") -> list[Mapping[str, Any]]:
    """Return the datafeeds of the project's anomaly jobs, of all their versions."""
    jobs = project.anomaly_jobs()
    if not jobs:
        return []
    ours = re.compile(f"({'|'.join(re.escape(project.names.on_cluster(job)) for job in jobs)})(_v[0-9]+)?")
    try:
        found = client.ml.get_datafeeds(datafeed_id="*")["datafeeds"]
    except (LicenseError, VersionError):
        return []
    return [feed for feed in found if ours.fullmatch(str(feed["job_id"]))]


class Halted:
    """Datafeeds that are stopped for an update, remembered so that a try after a crash starts them again.

    :param state: the task's state store.
    """

    KEY = "halted"

    def __init__(self, client: "Elasticsearch", state: Any) -> None:
        self.client = client
        self.state = state

    def update(self, client: "Elasticsearch", shown: Mapping[str, Any]) -> str:
        """Update a datafeed; a running one is refused, so it is stopped, and goes on where it was."""
        name = str(shown["datafeed_id"])
        stats = client.ml.get_datafeed_stats(datafeed_id=name)["datafeeds"][0]
        running = stats["state"] in {"started", "starting"}
        if running and not (stats.get("running_state") or {}).get("real_time_configured"):
            # Started again it would have no end, and feed its job in real time.
            raise ConflictError(
                f"{name} feeds a partition right now, or is only starting.",
                remedy="Run this again when the partition is done.",
            )
        if running:
            self.state.set(self.KEY, [*(self.state.get(self.KEY) or []), name])
            stop_datafeed(client, name)
        try:
            return _runs_as(client.ml.update_datafeed(datafeed_id=name, job_id=shown["job_id"]).body)
        finally:
            self.resume()

    def resume(self) -> None:
        """Start what was stopped; without a start time it goes on after the last record that its job has seen."""
        for name in self.state.get(self.KEY) or []:
            try:
                feed = self.client.ml.get_datafeeds(datafeed_id=name)["datafeeds"][0]
                open_job(self.client, feed["job_id"])
                start_datafeed(self.client, name)
            except NotFoundError:
                log.warning("Datafeed %s or its job was deleted while it was stopped: there is nothing to start.", name)
        if self.state.get(self.KEY):
            self.state.delete(self.KEY)


def rotated_rules(client: "KibanaClient", project: "Project", *, apply: bool) -> Iterator[Step]:
    """Give each of the project's rules a new key: rules say whose key they run with, never which."""
    for rule in rules_with_tags(client, ["elastic-ml", project.name]):
        if not apply:
            yield Step("rule", rule["name"], "would rotate", f"runs with a key of {rule.get('api_key_owner')}")
            continue
        try:
            client.request("POST", f"/api/alerting/rule/{rule['id']}/_update_api_key")
            yield Step("rule", rule["name"], ROTATED)
        except ElasticMLError as error:
            yield Step("rule", rule["name"], OLD, error.message)


def rotated(
    client: "Elasticsearch",
    kind: str,
    objects: Sequence[Mapping[str, Any]],
    asker: str,
    update: "Callable[[Elasticsearch, Mapping[str, Any]], str] | bool",
) -> Iterator[Step]:
    """Update each object that runs with another key than `asker`; without `update` only say which do."""
    for shown in objects:
        name = str(shown["id"] if kind == "transform" else shown["datafeed_id"])
        before = _runs_as(shown)
        if before == asker:
            yield Step(kind, name, "current", before)
        elif not callable(update):
            yield Step(kind, name, "would rotate", f"runs with {before}")
        else:
            try:
                after = update(client, shown)
            except NotFoundError:
                yield Step(kind, name, "gone", "deleted while this ran")
                continue
            except (ConflictError, InvalidRequestError, SecurityError) as error:
                yield Step(kind, name, OLD, str(error))
                continue
            yield Step(kind, name, ROTATED if after == asker else OLD, f"ran with {before}, now with {after}")


def update_transform(client: "Elasticsearch", shown: Mapping[str, Any]) -> str:
    """Update a transform with what it says already; returns with whose rights it runs now."""
    # Its own description: an update that says nothing new still takes the rights of whoever sends it, as these are
    # part of what the server compares (TransformConfigUpdate.isNoop looks at the headers, too).
    answer = client.transform.update_transform(transform_id=shown["id"], description=shown.get("description") or "")
    return _runs_as(answer.body)


def _runs_as(shown: Mapping[str, Any]) -> str:
    """Say with whose rights an object runs, as servers show it in `authorization`."""
    found = shown.get("authorization") or {}
    if "api_key" in found:
        return f"API key {found['api_key'].get('name')} ({found['api_key'].get('id')})"
    if "service_account" in found:
        return f"service account {found['service_account']}"
    return f"roles {', '.join(found['roles'])}" if found.get("roles") else "unknown rights"
